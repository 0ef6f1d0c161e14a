//! Paths: a reference parser agrees about the path. No file outside the folder is ever sent. No redirect leads to
//! another host or to a second redirect.
#![no_main]

#[path = "../model.rs"]
mod model;
#[path = "../../tests/talk/peer.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest of it")]
mod peer;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use modest::{Http, LogRecord, Request, RequestHandler, Response, Result, StaticFileHandler, UrlPath};
use peer::{Answer, Peer};

fuzz_target!(|data: &[u8]| {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    match UrlPath::parse(raw) {
        Ok(path) => {
            let names = model::names(raw).expect("a path");
            let slash = if raw.ends_with('/') && !names.is_empty() { "/" } else { "" };
            let expected = [b"/", &names.join(&b'/')[..], slash.as_bytes()].concat();
            assert_eq!(path.as_bytes(), expected, "{raw:?}");
            assert!(names.iter().all(|name| !name.contains(&b'/')), "{raw:?}");
            let encoded = path.to_string();
            check_location(&encoded);
            assert_eq!(UrlPath::parse(&encoded).as_ref(), Ok(&path), "{raw:?} as {encoded:?}");
        }
        Err(error) => {
            assert!(!model::is_canonical(raw), "{raw:?} is a path");
            let names = model::names(raw).filter(|names| !names.iter().any(|name| name.contains(&b'/')));
            let meant = error.canonical().map(|path| path.names().map(<[u8]>::to_vec).collect());
            assert_eq!(meant, names, "{raw:?}");
        }
    }
    ask(raw);
});

/// A path on this host: one slash at its start, printable ASCII, and nothing that browsers treat as a second slash.
fn check_location(location: &str) {
    assert!(location.starts_with('/') && !location.starts_with("//"), "{location:?}");
    assert!(location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{location:?}");
}

/// A folder whose files contain their own paths, with a secret file outside the folder, and links to that file.
struct Site {
    folder: tempfile::TempDir,
    http: Http<Quiet>,
}

struct Quiet(StaticFileHandler);

impl RequestHandler for Quiet {
    fn do_get(&self, request: &Request) -> Result<Response> {
        self.0.do_get(request)
    }

    fn log_request(&self, _: &LogRecord<'_>) {}
}

const VISIBLE: [&str; 8] = ["a/b/c.txt", "a/b.txt", "b", "a b", "a%b", "\\evil", "a/index.html", "c/x"];
const HIDDEN: [&str; 2] = [".hidden", ".git/config"];

static SITE: LazyLock<Site> = LazyLock::new(|| {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = folder.path().join("root");
    for name in VISIBLE.iter().chain(&HIDDEN) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("<{name}>")).unwrap();
    }
    fs::write(folder.path().join("secret"), "SECRET").unwrap();
    fs::create_dir(folder.path().join("root2")).unwrap();
    fs::write(folder.path().join("root2/b"), "SECRET").unwrap();
    for (to, from) in
        [("../secret", "s"), ("../root2", "r"), ("/", "top"), ("..", "up"), ("a", "l"), ("../../secret", "a/s")]
    {
        symlink(Path::new(to), root.join(from)).unwrap();
    }
    let http = Http::new(Quiet(StaticFileHandler::new(&root).unwrap()));
    Site { folder, http }
});

/// Checks the response. A redirect leads to the page in one step, or in two if a slash is also missing.
fn ask(raw: &str) {
    if raw.contains(['\r', '\n']) {
        return;
    }
    let Some(location) = redirect_of(raw) else { return };
    let query = |target: &str| target.split_once('?').map(|(_, query)| model::decoded(query));
    assert_eq!(query(&location), query(raw), "{raw:?} is redirected to {location:?}");
    if let Some(second) = redirect_of(&location) {
        let path = model::path_of(&location);
        assert_eq!(second, location.replacen(path, &format!("{path}/"), 1), "{raw:?}");
        assert_eq!(redirect_of(&second), None, "{raw:?}");
    }
}

fn redirect_of(raw: &str) -> Option<String> {
    let mut peer = Peer::new(&SITE.http);
    peer.send(format!("GET {raw} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let answers = Answer::all(&peer.said, &[]);
    assert_eq!(answers.len(), 1, "{raw:?}");
    let answer = &answers[0];
    assert!(!answer.text().contains("SECRET"), "{raw:?} got the secret");
    assert!(
        !answer.text().contains(SITE.folder.path().to_str().unwrap()),
        "the response to {raw:?} contains the path of the folder"
    );
    match answer.status {
        200 if answer.text().starts_with('<') && answer.text().len() < 30 => {
            // A file contains its own path; a folder has its index.
            let names = model::names(model::path_of(raw)).unwrap_or_default();
            let asked = String::from_utf8(names.join(&b'/')).unwrap();
            let asked = if asked == "l" || asked.starts_with("l/") { asked.replacen('l', "a", 1) } else { asked };
            let said = answer.text();
            assert!(said == format!("<{asked}>") || said == format!("<{asked}/index.html>"), "{raw:?} got {said}");
            assert!(!said.contains("/.") && !said.contains("<."), "{raw:?} got the hidden");
        }
        404 => {
            let names = model::names(model::path_of(raw)).unwrap_or_default();
            let is_there = |name: &&str| name.split('/').map(str::as_bytes).eq(names.iter().map(Vec::as_slice));
            let is_file = VISIBLE.iter().any(is_there) && model::is_canonical(model::path_of(raw));
            assert!(!is_file || model::path_of(raw).ends_with('/'), "{raw:?} is a file");
        }
        200 | 400 | 403 | 414 | 431 => {}
        301 => {
            let location = answer.field("location").unwrap_or_default();
            check_location(location);
            return Some(location.to_owned());
        }
        status => panic!("{raw:?} got {status}"),
    }
    None
}
