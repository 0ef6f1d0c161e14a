//! A client that keeps its cookies, as a browser does, and can follow redirects.

use super::{SentResponse, TestRequest, TestServer};
use crate::{Method, SameSite};

/// A client that keeps the cookies of one server: [`TestServer::browser`]. Redirects are followed with
/// [`follow_redirects`](Browser::follow_redirects).
///
/// ```
/// use modest::{Cookie, Response, handler_fn, testing};
///
/// let server = testing::serve(handler_fn(|request| {
///     let visits: u32 = request.cookie("visits").and_then(|visits| visits.parse().ok()).unwrap_or(0);
///     Ok(Response::text(format!("{visits}")).with_cookie(Cookie::new("visits", (visits + 1).to_string())))
/// }));
/// let mut ada = server.browser();
/// assert_eq!((ada.get("/").text(), ada.get("/").text()), ("0", "1"));
/// assert_eq!(server.browser().get("/").text(), "0");
/// ```
#[derive(Debug)]
pub struct Browser<'a> {
    server: &'a TestServer,
    cookies: Vec<StoredCookie>,
    follows: bool,
}

/// Browsers give up after as many redirects (Fetch, section 4.4).
const MOST_REDIRECTS: usize = 20;

#[derive(Debug)]
struct StoredCookie {
    name: String,
    value: String,
    path: String,
    same_site: SameSite,
}

impl<'a> Browser<'a> {
    pub(super) fn new(server: &'a TestServer) -> Browser<'a> {
        Browser { server, cookies: Vec::new(), follows: false }
    }

    /// Sets whether redirects to pages of the server are followed. Default: false. Browsers follow up to 20 in a row,
    /// and send the cookies that each response sets. After a 303, and for a POST also after a 301 or 302, they send a
    /// GET. A redirect to another server is returned.
    ///
    /// ```
    /// use modest::{Response, Routes, testing};
    ///
    /// let app = Routes::new()
    ///     .get("/", |_: &(), _| Ok(Response::text("saved")))
    ///     .post("/", |_, _| Ok(Response::redirect("/")));
    /// let server = testing::serve(app.with_state(()));
    /// server.browser().post_form("/", &[]).assert_status(303).assert_header("location", "/");
    /// server.browser().follow_redirects(true).post_form("/", &[]).assert_text("saved");
    /// ```
    pub fn follow_redirects(mut self, follow: bool) -> Browser<'a> {
        self.follows = follow;
        self
    }

    /// Sends a GET.
    ///
    /// # Panics
    /// As [`TestServer::get`].
    pub fn get(&mut self, target: &str) -> SentResponse {
        self.send(TestRequest::new(Method::GET, target))
    }

    /// Sends a form with these fields by POST, as a page of the server does.
    ///
    /// # Panics
    /// As [`TestServer::get`].
    pub fn post_form(&mut self, target: &str, fields: &[(&str, &str)]) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_form(fields))
    }

    /// Sends a form with these fields and files by POST, as a page of the server does: see
    /// [`TestRequest::with_form_data`].
    ///
    /// # Panics
    /// As [`TestServer::get`].
    pub fn post_form_data(
        &mut self,
        target: &str,
        fields: &[(&str, &str)],
        files: &[(&str, &str, &[u8])],
    ) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_form_data(fields, files))
    }

    /// Sends any request, with the cookies for its path. Stores, replaces and removes cookies as the response requests.
    ///
    /// As Chromium does for a page of the server, it adds `Sec-Fetch-Site: same-origin`, and `Origin` except to GET and
    /// HEAD. With `Sec-Fetch-Site: cross-site`, or another `Origin`, a page of another site sends the request: cookies
    /// that such a page can't make Chromium send are left out ([`SameSite`]).
    ///
    /// ```
    /// use modest::layers::Csrf;
    /// use modest::testing::{self, TestRequest};
    /// use modest::{Method, RequestHandler, Response, handler_fn};
    ///
    /// let server = testing::serve(handler_fn(|_| Ok(Response::text("changed"))).layer(Csrf::new()));
    /// assert_eq!(server.browser().send(TestRequest::new(Method::DELETE, "/")).text(), "changed");
    /// let forged = TestRequest::new(Method::DELETE, "/").with_header("Sec-Fetch-Site", "cross-site");
    /// assert_eq!(server.browser().send(forged).status(), 403);
    /// ```
    ///
    /// # Panics
    /// As [`TestServer::get`], and after more than 20 redirects that are followed.
    pub fn send(&mut self, request: impl Into<TestRequest>) -> SentResponse {
        let mut request = with_site(request.into());
        for _ in 0..=MOST_REDIRECTS {
            let sent = self.send_once(&request);
            match self.redirected(&request, &sent) {
                Some(next) => request = next,
                None => return sent,
            }
        }
        panic!("{} {}: more than {MOST_REDIRECTS} redirects", request.method, request.target)
    }

    fn send_once(&mut self, request: &TestRequest) -> SentResponse {
        let only_reads = [Method::GET, Method::HEAD].contains(&request.method);
        let is_foreign = request.field("sec-fetch-site") == Some("cross-site");
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let is_sent = |cookie: &&StoredCookie| match cookie.same_site {
            _ if !is_foreign => true,
            SameSite::None => true,
            SameSite::Lax => only_reads,
            SameSite::Strict => false,
        };
        let cookies = self.cookies.iter().filter(|cookie| path_matches(&cookie.path, &path)).filter(is_sent);
        let cookies: Vec<String> = cookies.map(|StoredCookie { name, value, .. }| format!("{name}={value}")).collect();
        let request = request.clone();
        let sent = self.server.send(match cookies.is_empty() {
            true => request,
            false => request.with_header("Cookie", cookies.join("; ")),
        });
        for cookie in sent.headers().get_all("set-cookie") {
            self.keep(&String::from_utf8_lossy(cookie.as_bytes()), &path);
        }
        sent
    }

    /// Returns the next request, if this response is a redirect to a page of the server.
    fn redirected(&self, request: &TestRequest, sent: &SentResponse) -> Option<TestRequest> {
        let becomes_get = match (sent.status().as_u16(), &request.method) {
            (301 | 302, method) => *method == Method::POST,
            (303, method) => ![Method::GET, Method::HEAD].contains(method),
            (307 | 308, _) => false,
            _ => return None,
        };
        let own = [format!("http://{}", host_of(request)), self.server.url("")];
        let target = resolve(sent.header("location").filter(|_| self.follows)?, &request.target, &own)?;
        let mut next = TestRequest { target, ..request.clone() };
        if becomes_get {
            next.method = Method::GET;
            next.body.clear();
            next.fields.retain(|(name, _)| {
                let name = name.to_ascii_lowercase();
                !name.starts_with("content-") && name != "transfer-encoding" && name != "origin"
            });
        }
        Some(next)
    }

    /// Returns the value of a cookie, if the client has it.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
    }

    /// Sets a cookie for all paths, as a response of the server would.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.keep(&format!("{name}={value}; Path=/"), "/");
    }

    /// Stores a cookie (RFC 6265, section 5.3), for one host.
    fn keep(&mut self, line: &str, asked: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (mut path, mut is_over, mut same_site) = (default_path(asked), false, SameSite::Lax);
        for (attribute, value) in parts.filter_map(|part| part.split_once('=')) {
            match attribute.to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => path = value.to_owned(),
                "samesite" if value.eq_ignore_ascii_case("none") => same_site = SameSite::None,
                "samesite" if value.eq_ignore_ascii_case("strict") => same_site = SameSite::Strict,
                "max-age" => is_over = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        self.cookies.retain(|known| known.name != name || known.path != path);
        if !is_over {
            self.cookies.push(StoredCookie { name: name.to_owned(), value: value.to_owned(), path, same_site });
            self.cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        }
    }
}

/// Adds the fields by which Chromium names the page that sends the request, unless it has them.
fn with_site(request: TestRequest) -> TestRequest {
    let own = format!("http://{}", host_of(&request));
    let site = match (request.field("sec-fetch-site"), request.field("origin")) {
        (Some(site), _) => site.to_owned(),
        (None, Some(origin)) if origin != own => "cross-site".to_owned(),
        (None, _) => "same-origin".to_owned(),
    };
    let origin = if ["same-origin", "none"].contains(&&*site) { own } else { "https://other.example".to_owned() };
    let lacks = |request: &TestRequest, name| request.field(name).is_none();
    let has_origin = ![Method::GET, Method::HEAD].contains(&request.method) && lacks(&request, "origin");
    let request = if has_origin { request.with_header("Origin", origin) } else { request };
    if lacks(&request, "sec-fetch-site") { request.with_header("Sec-Fetch-Site", site) } else { request }
}

fn host_of(request: &TestRequest) -> &str {
    request.field("host").unwrap_or("localhost")
}

/// Returns the target to which this `Location` leads from a page of the server (RFC 3986, section 5.2). `None` if it leads
/// away from the server, which has these `own` origins.
pub(super) fn resolve(location: &str, page: &str, own: &[String]) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let [(path, query), (page_path, _)] =
        [location, page].map(|target| target.split_at(target.find('?').unwrap_or(target.len())));
    let path = path.replace('\\', "/"); // as browsers read it
    let url = if path.starts_with("//") { format!("http:{path}") } else { path.clone() };
    let is_path = |rest: &&str| rest.is_empty() || rest.starts_with('/');
    let path = match own.iter().filter_map(|own| url.strip_prefix(own.as_str())).find(is_path) {
        Some("") => "/",
        Some(path) => path,
        None if url.split('/').next().is_some_and(|start| start.contains(':')) => return None,
        None => &path,
    };
    Some(match path {
        "" if query.is_empty() => page.to_owned(),
        "" => format!("{page_path}{query}"),
        _ if path.starts_with('/') => without_dots(path) + query,
        _ => without_dots(&format!("{}/{path}", page_path.rsplit_once('/')?.0)) + query,
    })
}

/// Removes the dot segments of a path that begins with a slash (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => _ = kept.pop(),
            segment => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Returns the folder of the path (RFC 6265, section 5.1.4).
fn default_path(asked: &str) -> String {
    match asked.rfind('/') {
        Some(slash) if slash > 0 => asked[..slash].to_owned(),
        _ => "/".to_owned(),
    }
}

fn path_matches(cookie: &str, asked: &str) -> bool {
    asked.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}
