//! The files to which names lead.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use modest::{Method, Request};

use super::{Folder, ask, get, line};

fn folder() -> Folder {
    let folder = Folder::new(&[
        ("index.html", "top"),
        ("file", "file"),
        ("a b.txt", "blank"),
        ("100%.txt", "percent"),
        ("q?#.txt", "marks"),
        ("back\\slash", "back"),
        ("\\evil.example/x", "evil"),
        ("ünï/日本.txt", "unicode"),
        ("sub/index.html", "sub"),
        ("sub/inner", "inner"),
        ("bare/x", "x"),
        ("index/index.html/x", "x"),
        (".hidden", "hidden"),
        (".git/config", "config"),
        ("sub/.htaccess", "hidden"),
        (".well-known/security.txt", "security"),
        (".well-known/.hidden", "hidden"),
        ("sub/.well-known/x", "hidden"),
        ("evil.example/index.html", "no site"),
    ]);
    fs::write(folder.as_ref().join(OsStr::from_bytes(b"\xff\xfe")), "bytes").unwrap();
    folder
}

#[test]
fn each_name_leads_to_one_file() {
    let folder = folder();
    let handler = folder.handler();
    let (long, deep) = (format!("/{}", "a".repeat(256)), "/sub".repeat(2000));
    let most = format!("/{}", "a".repeat(255));
    for (target, expected) in [
        ("/", "200 top"),
        ("/?a=b", "200 top"),
        ("/index.html", "200 top"),
        ("/file", "200 file"),
        ("/file?a=b/c", "200 file"),
        ("/%66ile", "200 file"),
        ("/file/", "404"),
        ("/file/.", "301 /file/"),
        ("/file/x", "404"),
        ("/FILE", "404"),
        ("/file%20", "404"),
        ("/nothing", "404"),
        ("/nothing/", "404"),
        ("/a%20b.txt", "200 blank"),
        ("/100%25.txt", "200 percent"),
        ("/q%3F%23.txt", "200 marks"),
        ("/back%5Cslash", "200 back"),
        ("/%C3%BCn%C3%AF/%E6%97%A5%E6%9C%AC.txt", "200 unicode"),
        ("/%c3%bcn%c3%af/%e6%97%a5%e6%9c%ac.txt", "200 unicode"),
        ("/%FF%FE", "200 bytes"),
        ("/sub", "301 /sub/"),
        ("/sub?q=1&r=%20/", "301 /sub/?q=1&r=%20/"),
        ("/sub?", "301 /sub/?"),
        ("/sub/", "200 sub"),
        ("/sub/inner", "200 inner"),
        ("/bare", "301 /bare/"),
        ("/bare/", "200 listing"),
        ("/index/", "200 listing"), // its index.html is a folder
        ("/%C3%BCn%C3%AF", "301 /%C3%BCn%C3%AF/"),
        // dots and empty segments: each file has one name, and a redirect never leads to another site
        ("/sub/../file", "301 /file"),
        ("/sub/%2e%2e/file", "301 /file"),
        ("/./file", "301 /file"),
        ("/sub/./inner?x", "301 /sub/inner?x"),
        ("/sub//inner", "301 /sub/inner"),
        ("//file", "301 /file"),
        ("//", "301 /"),
        ("//evil.example", "301 /evil.example"),
        ("//evil.example/", "301 /evil.example/"),
        ("//evil.example/..", "301 /"),
        ("/evil.example//..", "301 /"),
        ("///evil.example/%2e%2e", "301 /"),
        ("/%5Cevil.example", "301 /%5Cevil.example/"),
        ("/%5C%5Cevil.example/..", "301 /"),
        ("/%2F/evil.example", "404"),
        ("/..", "400"),
        ("/../file", "400"),
        ("/sub/../../file", "400"),
        ("/%2e%2e/%2e%2e/etc/passwd", "400"),
        ("/..%2f..%2fetc/passwd", "404"),
        ("/sub%2Finner", "404"),
        ("/file%00", "400"),
        ("/file%00.html", "400"),
        ("http://localhost/file", "200 file"),
        ("http://localhost", "200 top"),
        // lengths
        (&most, "404"),
        (&long, "404"),
        (&deep, "404"),
        // hidden
        ("/.hidden", "404"),
        ("/%2Ehidden", "404"),
        ("/.git", "404"),
        ("/.git/", "404"),
        ("/.git/config", "404"),
        ("/sub/.htaccess", "404"),
        ("/.well-known", "301 /.well-known/"),
        ("/.well-known/", "200 listing"),
        ("/.well-known/security.txt", "200 security"),
        ("/.well-known/.hidden", "404"),
        ("/sub/.well-known/x", "404"),
    ] {
        assert_eq!(line(&get(&handler, target)), expected, "{target}");
    }
}

#[test]
fn hidden_names_are_served_if_enabled() {
    let folder = folder();
    let handler = folder.handler().hidden(true);
    for (target, expected) in [
        ("/.hidden", "200 hidden"),
        ("/.git", "301 /.git/"),
        ("/.git/config", "200 config"),
        ("/sub/.well-known/x", "200 hidden"),
        ("/..", "400"),
    ] {
        assert_eq!(line(&get(&handler, target)), expected, "{target}");
    }
}

#[test]
fn paths_are_served_beneath_a_prefix() {
    let folder = folder();
    for prefix in ["/static", "static", "/static/"] {
        let handler = folder.handler().prefix(prefix).unwrap();
        for (target, expected) in [
            ("/static/", "200 top"),
            ("/static", "301 /static/"),
            ("/static?q", "301 /static/?q"),
            ("/static/file", "200 file"),
            ("/static/sub", "301 /static/sub/"),
            ("/static/sub/../file", "301 /static/file"),
            ("//static/file", "301 /static/file"),
            ("/static/.hidden", "404"),
            ("/static/.well-known/security.txt", "200 security"),
            ("/static/..", "301 /"),
            ("/static2/file", "404"),
            ("/file", "404"),
            ("/", "404"),
        ] {
            assert_eq!(line(&get(&handler, target)), expected, "{target} behind {prefix}");
        }
    }
    let handler = folder.handler().prefix("/a b/%/").unwrap();
    assert_eq!(line(&get(&handler, "/a%20b/%25/sub")), "301 /a%20b/%25/sub/");
    assert!(folder.handler().prefix("/a/../b").is_err());
}

#[test]
fn only_methods_that_read_are_allowed() {
    let folder = folder();
    let handler = folder.handler().header("access-control-allow-origin", "*").unwrap();
    for (method, status, allow) in [
        ("GET", 200, ""),
        ("HEAD", 200, ""),
        ("OPTIONS", 204, "GET, HEAD, OPTIONS"),
        ("POST", 405, "GET, HEAD, OPTIONS"),
        ("PUT", 405, "GET, HEAD, OPTIONS"),
        ("DELETE", 405, "GET, HEAD, OPTIONS"),
        ("PATCH", 405, "GET, HEAD, OPTIONS"),
        ("TRACE", 405, "GET, HEAD, OPTIONS"),
        ("BREW", 501, ""),
        ("get", 501, ""),
    ] {
        let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), "/file").unwrap();
        let got = ask(&handler, &request);
        assert_eq!((got.status, got.header("allow")), (status, allow), "{method}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{method}");
        assert_eq!(got.header("access-control-allow-origin"), "*", "{method}");
        let early = modest::RequestHandler::before_body(&handler, &request, &mut Default::default());
        let refused = early.err().map_or(0, |error| error.status().as_u16());
        assert_eq!(refused, if status > 400 { status } else { 0 }, "{method}: the rejection from the head");
    }
}
