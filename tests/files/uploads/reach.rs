//! Every name that a request creates is reachable at its URL, from any source: the path of a request,
//! its `Destination`, a form, a resumable upload, a copied folder, or the search for a free name.

use std::os::unix::fs::symlink;

use modest::layers::Redirects;
use modest::testing::{TestServer, serve};
use modest::{Overwrite, RequestHandler, Response, Routes, SentResponse, Uploads};

use super::super::{Folder, at_once};
use super::{ask, tree};

/// How a request names what it creates, which is called `n` if possible.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Put,
    Range,
    Draft,
    Form,
    FormFolder,
    Mkcol,
    #[cfg(feature = "webdav")]
    Lock,
    /// A copy of the entry with this name.
    Copy(&'static str),
    Move(&'static str),
}

const HOWS: &[How] = &[
    How::Put,
    How::Range,
    How::Draft,
    How::Form,
    How::FormFolder,
    How::Mkcol,
    #[cfg(feature = "webdav")]
    How::Lock,
    How::Copy("file"),
    How::Copy("dir"),
    How::Copy("to-file"),
    How::Copy("to-dir"),
    How::Move("file"),
    How::Move("dir"),
    How::Move("to-file"),
    How::Move("to-dir"),
];

impl How {
    fn send(self, server: &TestServer) -> SentResponse {
        let to = &[("destination", "/n")][..];
        match self {
            How::Put => ask(server, "PUT", "/n", &[], b"new"),
            How::Range => ask(server, "PUT", "/n?upload=0123456789abcdef", &[("content-range", "bytes 0-2/3")], b"new"),
            How::Draft => {
                let begun = ask(server, "PUT", "/n", &[("upload-complete", "?0")], b"");
                let Some(at) = begun.header("location").filter(|_| begun.status() == 201) else { return begun };
                let fields = [("upload-complete", "?1"), ("upload-offset", "0"), ("content-length", "3")];
                let request = modest::testing::TestRequest::new("PATCH".parse().unwrap(), at);
                let request =
                    fields[..2].iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
                server.send(request.with_body("new"))
            }
            How::Form => form(server, "name=f; filename=n", "new"),
            How::FormFolder => form(server, "name=folder", "n"),
            How::Mkcol => ask(server, "MKCOL", "/n", &[], b""),
            #[cfg(feature = "webdav")]
            How::Lock => super::dav::lock(server, "/n", &[], super::dav::LOCK),
            How::Copy(from) => ask(server, "COPY", &format!("/{from}"), to, b""),
            How::Move(from) => ask(server, "MOVE", &format!("/{from}"), to, b""),
        }
    }

    fn is_lock(self) -> bool {
        format!("{self:?}") == "Lock"
    }

    fn makes_file(self) -> bool {
        !matches!(self, How::FormFolder | How::Mkcol | How::Copy("dir" | "to-dir") | How::Move("dir" | "to-dir"))
    }
}

fn form(server: &TestServer, disposition: &str, content: &str) -> SentResponse {
    let body = format!("--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n--x--\r\n");
    ask(server, "POST", "/", &[("content-type", "multipart/form-data; boundary=x")], body.as_bytes())
}

/// Mounts or routes next to the folder, by paths without the first slash.
#[derive(Clone, Copy, Debug)]
struct Beside {
    paths: &'static [&'static str],
    /// Mounts serve everything below their paths, routes only the paths themselves.
    are_mounts: bool,
}

impl Beside {
    /// Whether the folder serves this path.
    fn leaves(self, path: &str) -> bool {
        let is_below = |at: &str| path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
        !self.paths.iter().any(|&at| at == path || self.are_mounts && is_below(at))
    }

    /// Whether the folder serves everything below this path as well.
    fn leaves_all(self, path: &str) -> bool {
        let is_below = |at: &str| at.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.leaves(path) && !self.paths.iter().any(|&at| is_below(at))
    }

    /// The name that something new gets. `None` if the request must be rejected.
    fn expected(self, how: How, policy: Overwrite, exists: bool) -> Option<String> {
        let may_have = match how {
            How::Move("file") => self.leaves("n") && self.leaves("file"),
            How::Move(from) => self.leaves_all("n") && self.leaves_all(from),
            How::Copy(from @ ("dir" | "to-dir")) => {
                let is_copied = self.leaves(&format!("{from}/in"));
                self.leaves("n") && self.leaves(from) && (self.leaves("n/in") || !is_copied)
            }
            How::Copy(from) => self.leaves("n") && self.leaves(from),
            _ => self.leaves("n"),
        };
        let is_upload = matches!(how, How::Put | How::Range | How::Draft | How::Form);
        let replaces = is_upload || matches!(how, How::Copy(_) | How::Move(_));
        match policy {
            _ if !may_have => None,
            _ if !exists => Some("n".to_owned()),
            Overwrite::Replace => replaces.then(|| "n".to_owned()),
            Overwrite::Rename if is_upload => {
                (1..).map(|number| format!("n ({number})")).find(|name| self.leaves(name))
            }
            _ => None,
        }
    }

    fn check(self, how: How, policy: Overwrite, exists: bool) {
        let folder = Folder::new(&[("file", "new"), ("dir/in", "new")]);
        let other = Folder::new(&[("kept", "other")]);
        symlink("dir", folder.path("to-dir")).unwrap();
        symlink("file", folder.path("to-file")).unwrap();
        if exists {
            folder.write("n", "old");
        }
        let before = tree(folder.as_ref());
        let uploads = Uploads::new().overwrite(policy).delete(true).resumable(9, super::PATIENCE);
        let routes = self.paths.iter().fold(Routes::new(), |routes, path| match self.are_mounts {
            true => routes.mount(&format!("/{path}"), other.handler()),
            false => routes.get(&format!("/{path}"), |_: &(), _: &_| Ok(Response::text("other"))),
        });
        let handler = folder.handler().uploads(uploads).webdav(true);
        let server = serve(routes.fallback(handler).with_state(()));
        let got = how.send(&server);
        let (status, location) = (got.status().as_u16(), got.header("location").unwrap_or_default().to_owned());
        let (after, expected) = (tree(folder.as_ref()), self.expected(how, policy, exists));
        let case = format!(
            "{how:?}, {policy:?}, exists: {exists}, {self:?}: expected {expected:?}, got {status} {location}, {after:?}"
        );
        assert_eq!(tree(other.as_ref()), ["kept=other"], "{case}");
        for path in after.iter().filter(|path| !before.contains(path)) {
            let path = path.split(['=', '/']).next().unwrap();
            assert!(self.leaves(path), "{path} was created where no URL reaches it: {case}");
        }
        let Some(name) = expected else {
            assert!(status >= 400 || how.is_lock() && exists, "{case}");
            assert_eq!(after, before, "{case}");
            return;
        };
        assert!(matches!(status, 200 | 201 | 204 | 303), "{case}");
        if let How::Move(from) = how {
            assert!(folder.path(from).symlink_metadata().is_err(), "{case}");
        }
        let shown = server.get(&format!("/{}", name.replace(' ', "%20")));
        match how.makes_file() {
            true if how.is_lock() => assert_eq!((shown.status().as_u16(), shown.text()), (200, ""), "{case}"),
            true => assert_eq!(shown.text(), "new", "{case}"),
            false => assert!(folder.path(&name).is_dir(), "{case}"),
        }
        if how.makes_file() && status == 201 && !location.is_empty() {
            assert_eq!(server.get(&location).text(), "new", "{case}");
        }
    }
}

#[test]
fn every_new_name_is_reachable() {
    let paths: &[&'static [&'static str]] = &[
        &[],
        &["n"],
        &["n/in"],
        &["n/deep/er"],
        &["n (1)"],
        &["n (1)/below"],
        &["n (1)", "n (2)", "n (3)"],
        &["n (2)"],
        &["nn"],
        &["file/in"],
        &["dir/in"],
        &["to-dir/in"],
    ];
    use Overwrite::{Refuse, Rename, Replace};
    let besides = paths.iter().flat_map(|&paths| [true, false].map(|are_mounts| Beside { paths, are_mounts }));
    at_once(besides, |beside| {
        for (policy, exists) in [(Replace, false), (Refuse, true), (Rename, true), (Replace, true)] {
            HOWS.iter().for_each(|how| beside.check(*how, policy, exists));
        }
    });
}

/// A rule for everything in a folder leaves the name itself free for a file, but not for a folder: the page of a folder
/// would be redirected.
#[test]
fn no_folder_is_created_whose_page_is_redirected() {
    let folder = Folder::new(&[("dir/in", "new")]);
    let redirects = Redirects::parse("/old/* /new/*\n/deep/er /x\n").unwrap();
    let server = serve(folder.handler().uploads(Uploads::new().delete(true)).webdav(true).layer(redirects));
    let to_old = [("destination", "/old")];
    for (got, expected) in [
        (ask(&server, "MKCOL", "/empty", &[], b""), 201),
        (ask(&server, "COPY", "/empty", &to_old, b""), 409),
        (ask(&server, "MOVE", "/empty", &to_old, b""), 409),
        (ask(&server, "MKCOL", "/old", &[], b""), 409),
        (form(&server, "name=folder", "old"), 409),
        (form(&server, "name=f; filename=old/a", "new"), 409),
        (ask(&server, "COPY", "/dir", &to_old, b""), 409),
        (ask(&server, "MOVE", "/dir", &to_old, b""), 409),
        (ask(&server, "MKCOL", "/deep", &[], b""), 201),
        (ask(&server, "PUT", "/old", &[], b"new"), 201),
    ] {
        assert_eq!(got.status(), expected, "{got:?}");
    }
    assert_eq!(tree(folder.as_ref()), ["deep/", "dir/", "dir/in=new", "empty/", "old=new"]);
}
