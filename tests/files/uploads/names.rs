//! The names under which files are stored, the users who may store them, and how the files are served later.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use modest::testing::serve;
use modest::{Overwrite, StaticFileHandler, Uploads};

use super::dav::{LOCK, lock};
use super::{accepting, ask, put, tree};
use crate::{Folder, STILL, wait_for_age};

#[test]
fn malicious_names_are_rejected() {
    let around = Folder::new(&[("root/in/x", ""), ("beside/y", "")]);
    symlink("../beside", around.path("root/out")).unwrap();
    symlink("in", around.path("root/within")).unwrap();
    symlink("../beside/new", around.path("root/dangling")).unwrap();
    let long = "x".repeat(256);
    for hidden in [false, true] {
        for links in [modest::Symlinks::WithinRoot, modest::Symlinks::Follow] {
            let before = tree(around.as_ref());
            let handler = StaticFileHandler::new(around.path("root")).unwrap().hidden(hidden).symlinks(links);
            let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
            let server = serve(handler.uploads(uploads));
            for (target, expected) in [
                ("/../escape", 400),
                ("/in/../../escape", 400),
                ("/..%2fescape", 404),
                ("/%2e%2e/escape", 400),
                ("/%2e%2e%2fescape", 404),
                ("/in/..%5cescape", 400),
                ("/..%5cescape", 400),
                ("/a%00b", 400),
                ("/a%0ab", 400),
                ("/a%0d%0aX-Evil:%20b", 400),
                ("/a%1b[31m", 400),
                ("/a%7f", 400),
                ("/%e2%80%aegpj.exe", 400),
                ("/%ff", 400),
                (&format!("/{long}"), 400),
                ("//escape", 400),
                ("/./escape", 400),
                ("/", 409),
                ("/in/", 409),
                ("/in", 409),
                ("/in/x/", 409),
                ("/in/x/below", 409),
                ("/no/such/folder", 409),
                ("/out/escape", 409),
                ("/out/y", 409),
                ("/out", 409),
                ("/within", 409),
                ("/dangling", 409),
                ("/.modest-upload-0123456789abcdef", 403),
                ("/.modest-upload-0123456789abcdef/a", 403),
            ] {
                assert_eq!(put(&server, target, b"evil"), expected, "PUT {target}, hidden {hidden}, {links:?}");
                let made = ask(&server, "MKCOL", target, &[], b"");
                assert_ne!(made.status(), 201, "MKCOL {target}");
                let is_reserved = target.starts_with("/.modest-upload-");
                assert_eq!(made.text().contains("Names that start with .modest-upload- are reserved."), is_reserved);
            }
            for target in ["/.htaccess", "/in/.ssh", "/.git/config", "/.."] {
                let status = put(&server, target, b"evil");
                assert!(matches!(status, 400 | 403 | 409) || hidden && status == 201, "{target}: {status}");
            }
            for target in ["/out/y", "/out", "/dangling", "/../beside/y", "/out/", "/", "/in/x/", "/in"] {
                if matches!(target, "/out" | "/out/") && links == modest::Symlinks::Follow {
                    continue; // it is served, so it may be deleted: the link, not its target
                }
                let status = ask(&server, "DELETE", target, &[], b"").status().as_u16();
                assert!(status >= 400, "DELETE {target}: {status}");
            }
            if hidden {
                for name in ["root/.htaccess", "root/in/.ssh"] {
                    fs::remove_file(around.path(name)).unwrap();
                }
            }
            assert_eq!(tree(around.as_ref()), before, "hidden {hidden}, {links:?}");
            // A link that stays within the folder leads to one of its own files.
            assert_eq!(put(&server, "/within/new", b"new"), 201);
            assert_eq!(fs::read(around.path("root/in/new")).unwrap(), b"new");
            fs::remove_file(around.path("root/in/new")).unwrap();
        }
    }
    let server = serve(
        StaticFileHandler::new(around.path("root")).unwrap().symlinks(modest::Symlinks::Deny).uploads(Uploads::new()),
    );
    assert_eq!(put(&server, "/within/new", b"new"), 409, "a link must not be followed");
}

#[test]
fn an_existing_name_is_refused_renamed_or_replaced() {
    use Overwrite::{Refuse, Rename, Replace};
    for (policy, statuses, expected) in [
        (Refuse, [201, 409, 409], &["a.txt=1"][..]),
        (Rename, [201, 201, 201], &["a (1).txt=2", "a (2).txt=3", "a.txt=1"]),
        (Replace, [201, 204, 204], &["a.txt=3"]),
    ] {
        let folder = Folder::new(&[]);
        let server = accepting(&folder, Uploads::new().overwrite(policy));
        assert_eq!(["1", "2", "3"].map(|text| put(&server, "/a.txt", text.as_bytes())), statuses, "{policy:?}");
        assert_eq!(tree(folder.as_ref()), expected, "{policy:?}");
    }
    // A request can ask for a free name.
    for (policy, otherwise) in [(Refuse, 409), (Rename, 201), (Replace, 204)] {
        let folder = Folder::new(&[("a.tar.gz", "1")]);
        let server = accepting(&folder, Uploads::new().overwrite(policy).resumable(1, Duration::from_secs(60)));
        for (target, fields, expected) in [
            ("/a.tar.gz?overwrite=rename", &[][..], "/a%20(1).tar.gz"),
            (
                "/a.tar.gz?upload=0123456789abcdef&overwrite=rename",
                &[("content-range", "bytes 0-0/1")],
                "/a%20(2).tar.gz",
            ),
            ("/new?overwrite=rename", &[], "/new"),
        ] {
            let got = ask(&server, "PUT", target, fields, b"2");
            assert_eq!((got.status().as_u16(), got.header("location")), (201, Some(expected)), "{policy:?}: {target}");
        }
        let half = [("upload-complete", "?0"), ("upload-length", "2")];
        let begun = ask(&server, "POST", "/a.tar.gz?overwrite=rename", &half, b"2");
        let rest = [("upload-complete", "?1"), ("upload-offset", "1"), ("content-type", "application/partial-upload")];
        let got = ask(&server, "PATCH", begun.header("location").unwrap(), &rest, b"2");
        assert_eq!(
            (got.status().as_u16(), got.header("location")),
            (201, Some("/a%20(3).tar.gz")),
            "{policy:?}: {}",
            got.text()
        );
        let expected = ["a (1).tar.gz=2", "a (2).tar.gz=2", "a (3).tar.gz=22", "a.tar.gz=1", "new=2"];
        assert_eq!(tree(folder.as_ref()), expected, "{policy:?}");
        assert_eq!(put(&server, "/a.tar.gz?overwrite=other", b"3"), otherwise, "{policy:?}");
    }
    // A taken name is left unchanged, whatever has it.
    let folder = Folder::new(&[("sub/a", "1"), ("locked", "1")]);
    symlink("locked", folder.path("link")).unwrap();
    let server = serve(folder.handler().uploads(Uploads::new().overwrite(Replace).delete(true)).webdav(true));
    assert_eq!(lock(&server, "/locked", &[], LOCK).status(), 200);
    for (target, fields, expected) in [
        ("/sub", &[][..], (201, Some("/sub%20(1)"))),
        ("/link", &[], (201, Some("/link%20(1)"))),
        ("/locked", &[], (201, Some("/locked%20(1)"))),
        ("/locked", &[("if", "(<urn:uuid:other>)")], (412, None)),
        ("/locked", &[("if-none-match", "*")], (412, None)),
        ("/locked", &[("if-match", "*")], (409, None)),
    ] {
        let got = ask(&server, "PUT", &format!("{target}?overwrite=rename"), fields, b"2");
        assert_eq!((got.status().as_u16(), got.header("location")), expected, "{target} {fields:?}: {}", got.text());
    }
    let folder = Folder::new(&[("a.txt", "1")]);
    let server = accepting(&folder, Uploads::new().overwrite(Rename));
    assert_eq!(ask(&server, "PUT", "/a.txt", &[], b"2").header("location"), Some("/a%20(1).txt"));
    for _ in 0..60 {
        assert_eq!(put(&server, "/a.txt", b"more"), 201);
    }
    assert_eq!(tree(folder.as_ref()).len(), 62);
}

/// Pages of other sites can't write, with any request that they can make a browser send.
#[test]
fn pages_of_other_sites_cannot_write() {
    let folder = Folder::new(&[("old", "x")]);
    let server = accepting(&folder, Uploads::new().overwrite(Overwrite::Replace).delete(true));
    let own = "http://localhost"; // the address that the client of the test uses
    let form = ("content-type", "multipart/form-data; boundary=x");
    let body = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new\"\r\n\r\nnew\r\n--x--\r\n";
    for (fields, is_own) in [
        (&[("sec-fetch-site", "cross-site")][..], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("origin", "http://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true), // `sec-fetch-site` has priority
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("origin", own)], true),
    ] {
        for (method, target, expected) in
            [("PUT", "/put", 201), ("MKCOL", "/made", 201), ("POST", "/", 303), ("DELETE", "/old", 204)]
        {
            let before = tree(folder.as_ref());
            let fields = [fields, &[form]].concat();
            let got = ask(&server, method, target, &fields, body);
            assert_eq!(got.status(), if is_own { expected } else { 403 }, "{method} {fields:?}: {}", got.text());
            assert_eq!(tree(folder.as_ref()) != before, is_own, "{method} {fields:?}");
        }
        if is_own {
            for name in ["put", "new"] {
                fs::remove_file(folder.path(name)).unwrap();
            }
            fs::remove_dir(folder.path("made")).unwrap();
            folder.write("old", "x");
        }
    }
}

#[test]
fn folders_are_created_and_deleted() {
    let folder = Folder::new(&[("full/x", ""), ("file", "x")]);
    symlink("full", folder.path("link")).unwrap();
    let server = accepting(&folder, Uploads::new().delete(true));
    for (method, target, expected) in [
        ("MKCOL", "/a", 201),
        ("MKCOL", "/a", 405),
        ("MKCOL", "/a/", 405),
        ("MKCOL", "/a/b/", 201),
        ("MKCOL", "/c/d", 409),
        ("MKCOL", "/file", 405),
        ("MKCOL", "/file/x", 409),
        ("MKCOL", "/", 405),
        ("MKCOL", "/.hidden", 403),
        ("DELETE", "/full", 409),
        ("DELETE", "/full/", 409),
        ("DELETE", "/a", 409),
        ("DELETE", "/a/b", 204),
        ("DELETE", "/a/", 204),
        ("DELETE", "/a", 404),
        ("DELETE", "/a/b", 404),
        ("DELETE", "/file/", 404),
        ("DELETE", "/file", 204),
        ("DELETE", "/.hidden", 403),
        ("DELETE", "/link", 204), // only the link
        ("DELETE", "/", 403),
        ("PROPPATCH", "/", 501),
    ] {
        assert_eq!(ask(&server, method, target, &[], b"").status(), expected, "{method} {target}");
    }
    assert_eq!(tree(folder.as_ref()), ["full/", "full/x="]);
    assert_eq!(ask(&server, "MKCOL", "/gr%C3%BCn", &[], b"").header("location"), Some("/gr%C3%BCn/"));
}

/// Folders and empty files also count for the reserved space.
#[test]
fn folders_leave_the_reserved_space_free() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, Uploads::new().reserve(u64::MAX / 2));
    let part =
        |field: &str, text: &str| format!("--x\r\nContent-Disposition: form-data; {field}\r\n\r\n{text}\r\n--x--\r\n");
    let form = [("content-type", "multipart/form-data; boundary=x")];
    assert_eq!(ask(&server, "MKCOL", "/d", &[], b"").status(), 507);
    assert_eq!(put(&server, "/f", b""), 507);
    assert_eq!(ask(&server, "POST", "/", &form, part("name=folder", "d").as_bytes()).status(), 507);
    assert_eq!(tree(folder.as_ref()), [""; 0]);
}

/// An uploaded file is never the coding of another file, and uploaded pages are sandboxed.
#[test]
fn uploaded_files_are_not_trusted() {
    let folder = Folder::new(&[("index.html", "<p>mine")]);
    let server = accepting(&folder, Uploads::new());
    assert_eq!(put(&server, "/index.html.gz", b"evil"), 201);
    wait_for_age(folder.as_ref(), STILL);
    let got = ask(&server, "GET", "/", &[("accept-encoding", "gzip")], b"");
    assert_eq!((got.text(), got.header("content-encoding")), ("<p>mine", None));
    for (name, text, sandboxed) in [
        ("page.html", "<script>", true),
        ("page.xhtml", "<html/>", true),
        ("picture.svg", "<svg/>", true),
        ("feed.xml", "<a/>", true),
        ("style.xsl", "<a/>", true),
        ("app.webmanifest", "{}", true),
        ("page.mhtml", "<script>", true),
        ("script.js", "1", true),
        ("movie.mp4", "", false),
        ("paper.pdf", "", false),
        ("what.unknown", "<script>", false), // plain text
        ("what.binary", "\0<script>", false),
        ("notes.txt", "<script>", false),
        ("picture.png", "", false),
    ] {
        assert_eq!(put(&server, &format!("/{name}"), text.as_bytes()), 201);
        let got = server.get(&format!("/{name}"));
        let policy = got.header("content-security-policy").unwrap_or_default();
        assert_eq!(policy.starts_with("sandbox "), sandboxed, "{name}: {policy}");
        assert!(!policy.contains("allow-same-origin"));
    }
    let own = serve(
        folder.handler().uploads(Uploads::new()).header("content-security-policy", "default-src 'self'").unwrap(),
    );
    let policies = |got: &modest::SentResponse| -> Vec<String> {
        let values = got.headers().get_all("content-security-policy").iter();
        values.map(|value| value.to_str().unwrap().split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(policies(&own.get("/page.html")), ["default-src", "sandbox"]);
    assert_eq!(policies(&serve(folder.handler()).get("/page.html")), [""; 0]);
    assert_eq!(policies(&serve(folder.handler().untrusted(true)).get("/page.html")), ["sandbox"]);
    assert_eq!(policies(&serve(folder.handler().uploads(Uploads::new()).untrusted(false)).get("/page.html")), [""; 0]);
    // Markdown as HTML has its own policies and those of its file.
    assert_eq!(put(&server, "/a.md", b"[b](//c) ![d](/e?f)"), 201);
    for (handler, expected) in [
        (folder.handler().uploads(Uploads::new()), &["default-src", "sandbox"][..]),
        (folder.handler(), &["default-src"]),
        (
            folder.handler().untrusted(true).header("content-security-policy", "img-src x").unwrap(),
            &["default-src", "img-src", "sandbox"],
        ),
    ] {
        let got = serve(handler.markdown(true)).get("/a.md?format=html");
        let page = "<!doctype html><meta charset=utf-8><body>\n<p><a href=\"\">b</a> <img src=\"\" alt=\"d\" /></p>\n";
        assert_eq!((got.text(), policies(&got)), (page, expected.iter().map(|policy| policy.to_string()).collect()));
    }
    // Error pages and app pages are sandboxed as well.
    assert_eq!(put(&server, "/404.html", b"<script>"), 201);
    let missing = server.get("/no/such");
    assert_eq!((missing.status().as_u16(), policies(&missing)), (404, vec!["sandbox".to_owned()]));
    let app = serve(folder.handler().uploads(Uploads::new()).app_page("page.html").unwrap());
    let route = app.get("/route");
    assert_eq!((route.text(), policies(&route)), ("<script>", vec!["sandbox".to_owned()]));
}
