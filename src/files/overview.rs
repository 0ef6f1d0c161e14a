//! `Overview`: the start page of a server that serves folders at several paths, and none at its root. Called by `http`
//! like any handler; `listing` writes the page.

use http::StatusCode;
use http::header::{ALLOW, LINK, VARY};

use super::listing::{Account, Beside, COMPLETE, Controls, Form, Frame, View, push_beside, without_entries};
use super::path;
use crate::{Access, Error, Request, RequestHandler, Response, Result, encode_path};

/// A page with links to folders that are served at other paths, in the style of their listings. It lists the folders
/// that the user can read or write. On request it is JSON, with the folders that the user can read. Other paths are a
/// 404.
///
/// ```
/// use modest::{Http, Overview, Request, Response, Routes};
///
/// let app = Routes::new().get("/book/", |_, _| Ok(Response::text("a book"))).fallback(Overview::new("/", ["/book", "/films"]));
/// let page = Http::new(app.with_state(())).respond(&Request::get("/"));
/// assert!(page.text().contains("<a href=\"book/\">book/</a>"));
/// ```
#[derive(Clone, Debug)]
pub struct Overview {
    root: String,
    paths: Vec<String>,
}

impl Overview {
    /// Creates a page at this path, which ends with a slash, for the folders at these paths below it. All paths are
    /// decoded, from the root of the server.
    pub fn new<P: Into<String>>(root: &str, paths: impl IntoIterator<Item = P>) -> Overview {
        Overview { root: root.to_owned(), paths: paths.into_iter().map(Into::into).collect() }
    }

    fn page(&self, request: &Request) -> Response {
        // The fields are those of a listing.
        self.form(request).with_header(COMPLETE, "?1").with_header(VARY, "Accept")
    }

    fn form(&self, request: &Request) -> Response {
        let beside = beside(request, self.paths.iter(), self.root.as_bytes());
        if View::of(request).form == Form::Json {
            let mut text = "[".to_owned();
            let readable = beside.iter().filter(|beside| !beside.is_box);
            readable.for_each(|beside| push_beside(&mut text, &beside.path));
            return Response::text(text + "\n]\n").with_content_type("application/json");
        }
        let links = request.log_in_links(self.root.as_bytes());
        let account = links.map(|links| Account { links, user: request.user(), is_for_uploads: false });
        let controls = Controls { account, ..Controls::default() };
        let (root, order) = (&self.root[..], Default::default());
        let frame = Frame { root, path: b"", order, controls: &controls, beside: &beside, offers_archives: false };
        controls.protect(Response::html(without_entries(&frame)))
    }
}

/// Returns the paths that are below a folder and that the user can read or write. All are decoded, and the folder's
/// path ends with a slash.
pub(super) fn beside<'a>(request: &Request, paths: impl Iterator<Item = &'a String>, top: &[u8]) -> Vec<Beside> {
    let below = paths.filter_map(|path| {
        let shown = path.as_bytes().strip_prefix(top).filter(|shown| !shown.is_empty())?;
        let is_box = !request.permits(Access::Read, path.as_bytes());
        let is_shown = !is_box || request.permits(Access::Write, path.as_bytes());
        is_shown.then(|| Beside { path: String::from_utf8_lossy(shown).into_owned(), is_box })
    });
    below.collect()
}

impl RequestHandler for Overview {
    fn do_get(&self, request: &Request) -> Result<Response> {
        if request.path() == self.root {
            return Ok(self.page(request));
        }
        if self.root.strip_suffix('/') == Some(request.path()) {
            return Ok(Response::redirect_with(301, path::with_query(encode_path(&self.root), request)));
        }
        let above = format!("<{}>; rel=\"up\"", encode_path(&self.root));
        Err(Error::no_such_name().with_header(LINK, above))
    }

    fn before_body(&self, request: &Request, _: &mut crate::BodyPlan) -> Result<()> {
        match request.method().as_str() {
            "GET" | "HEAD" | "OPTIONS" => Ok(()),
            _ => {
                let error = Error::new(StatusCode::METHOD_NOT_ALLOWED, "This page can only be read.");
                Err(error.with_header(ALLOW, "GET, HEAD"))
            }
        }
    }
}
