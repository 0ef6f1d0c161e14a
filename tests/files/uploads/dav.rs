//! WebDAV: what file managers ask for. Real ones are in `tests/clients`.

use std::fs;
use std::os::unix::fs::symlink;

use modest::testing::{TestServer, serve};
use modest::{Overwrite, SentResponse, Uploads};

use super::super::Folder;
use super::{ask, put, tree};

fn propfind(server: &TestServer, target: &str, depth: &str) -> SentResponse {
    let fields: &[(&str, &str)] = if depth.is_empty() { &[] } else { &[("depth", depth)] };
    ask(server, "PROPFIND", target, fields, b"")
}

/// What is told of: where it is, whether it is a folder, and its size.
fn told(got: &SentResponse) -> Vec<String> {
    let between = |text: &str, start: &str, end: &str| {
        text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(found, _)| found.to_owned())
    };
    let responses = got.text().split("<D:response>").skip(1);
    responses
        .map(|text| {
            let href = between(text, "<D:href>", "</D:href>").unwrap();
            let size = between(text, "<D:getcontentlength>", "</D:getcontentlength>");
            assert_eq!(text.contains("<D:collection/>"), href.ends_with('/'), "{text}");
            assert_eq!(size.is_none(), href.ends_with('/'), "{text}");
            format!("{href}{}", size.map(|size| format!(" {size}")).unwrap_or_default())
        })
        .collect()
}

#[test]
fn what_is_known_of_files_and_folders() {
    let outside = Folder::new(&[("secret", "x")]);
    let folder = Folder::new(&[
        ("a.txt", "12345"),
        ("sub/<b>&.txt", "1"),
        ("sub/.hidden", ""),
        ("sub/deep/x", ""),
        ("site/index.html", "x"),
    ]);
    symlink(outside.path("secret"), folder.path("out")).unwrap();
    let server = serve(folder.handler().webdav(true));
    for (target, depth, status, expected) in [
        ("/", "0", 207, &["/"][..]),
        ("/", "1", 207, &["/", "/site/", "/sub/", "/a.txt 5"]),
        ("/sub/", "0", 207, &["/sub/"]),
        ("/sub", "0", 207, &["/sub/"]),
        ("/sub", "1", 207, &["/sub/", "/sub/deep/", "/sub/%3Cb%3E%26.txt 1"]),
        ("/site/", "1", 207, &["/site/", "/site/index.html 1"]),
        ("/a.txt", "0", 207, &["/a.txt 5"]),
        ("/a.txt", "1", 207, &["/a.txt 5"]),
        ("/a.txt", "", 207, &["/a.txt 5"]),
        ("/a.txt/", "0", 404, &[]),
        ("/", "infinity", 403, &[]),
        ("/", "Infinity", 403, &[]),
        ("/", "", 403, &[]),
        ("/", "2", 400, &[]),
        ("/missing", "0", 404, &[]),
        ("/out", "0", 404, &[]),
        ("/sub/.hidden", "0", 404, &[]),
        ("/sub/../..", "0", 400, &[]),
        ("//sub", "0", 301, &[]),
    ] {
        let got = propfind(&server, target, depth);
        assert_eq!(got.status(), status, "{target} {depth}: {}", got.text());
        assert_eq!(told(&got), expected, "{target} {depth}");
        assert!(status != 207 || got.header("content-type") == Some("application/xml; charset=utf-8"), "{got:?}");
    }
    assert!(propfind(&server, "/", "").text().contains("<D:propfind-finite-depth/>"));
    let options = ask(&server, "OPTIONS", "/", &[], b"");
    assert_eq!((options.header("dav"), options.header("allow")), (Some("1"), Some("GET, HEAD, OPTIONS, PROPFIND")));
    // Nobody reads the XML, so none of its tricks work; nor is a long one received.
    for (body, status) in [
        (b"<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><x>&e;</x>".to_vec(), 207),
        (b"<".to_vec(), 207),
        (vec![b'x'; 70_000], 413),
    ] {
        let request =
            modest::testing::TestRequest::new("PROPFIND".parse().unwrap(), "/a.txt").with_header("depth", "0");
        let got = server.send(request.with_body(body));
        assert!(got.status() == status && !got.text().contains("root:"), "{got:?}");
    }
    let unlisted = serve(folder.handler().webdav(true).listing(false));
    assert_eq!(["0", "1"].map(|depth| propfind(&unlisted, "/", depth).status().as_u16()), [207, 403]);
    let mounted = serve(folder.handler().webdav(true).prefix("/p q").unwrap());
    assert_eq!(told(&propfind(&mounted, "/p%20q/sub/", "1"))[1], "/p%20q/sub/deep/");
    assert_eq!(propfind(&serve(folder.handler()), "/", "0").status(), 501, "not unless it is wanted");
    let one = serve(modest::StaticFileHandler::of_file(folder.path("a.txt")).unwrap().webdav(true));
    assert_eq!(["/a.txt", "/", "/sub/"].map(|target| propfind(&one, target, "0").status().as_u16()), [207, 404, 404]);
}

/// A folder of many is streamed, whole.
#[test]
fn many_entries() {
    let folder = Folder::new(&[]);
    for number in 0..2500 {
        folder.write(&format!("{number:04}"), "");
    }
    let got = propfind(&serve(folder.handler().webdav(true)), "/", "1");
    assert_eq!(told(&got).len(), 2501);
    assert!(got.text().ends_with("</D:multistatus>\n"));
}

#[test]
fn moves() {
    let outside = Folder::new(&[]);
    for (policy, target, destination, overwrite, expected, there) in [
        (Overwrite::Refuse, "/a", "/b", "", 201, "b=a"),
        (Overwrite::Refuse, "/a", "http://localhost/sub/b", "", 201, "sub/b=a"),
        (Overwrite::Refuse, "/sub", "/moved/", "", 201, "moved/x=x"),
        (Overwrite::Refuse, "/sub/", "/moved", "F", 201, "moved/x=x"),
        (Overwrite::Refuse, "/a", "/other", "", 412, "other=o"),
        (Overwrite::Replace, "/a", "/other", "", 204, "other=a"),
        (Overwrite::Replace, "/a", "/other", "T", 204, "other=a"),
        (Overwrite::Replace, "/a", "/other", "F", 412, "other=o"),
        (Overwrite::Replace, "/a", "/sub", "", 412, "a=a"),
        (Overwrite::Replace, "/sub", "/a", "", 412, "a=a"),
        (Overwrite::Replace, "/a", "/a", "", 403, "a=a"),
        (Overwrite::Replace, "/a", "/out", "", 412, "a=a"),
        (Overwrite::Replace, "/a", "/out/b", "", 409, "a=a"),
        (Overwrite::Replace, "/out", "/b", "", 404, "a=a"),
        (Overwrite::Replace, "/sub", "/sub/sub", "", 409, "sub/x=x"),
        (Overwrite::Replace, "/a", "/no/such", "", 409, "a=a"),
        (Overwrite::Replace, "/a", "/.hidden", "", 403, "a=a"),
        (Overwrite::Replace, "/a", "/b%0ac", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "/../b", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "/", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "b", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "http://evil.example/b", "", 502, "a=a"),
        (Overwrite::Replace, "/missing", "/b", "", 404, "a=a"),
        (Overwrite::Replace, "/", "/b", "", 403, "a=a"),
    ] {
        let folder = Folder::new(&[("a", "a"), ("other", "o"), ("sub/x", "x")]);
        symlink(outside.as_ref(), folder.path("out")).unwrap();
        let server = serve(folder.handler().uploads(Uploads::new().overwrite(policy).delete(true)));
        let fields = [("destination", destination), ("overwrite", overwrite)];
        let fields: Vec<_> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let got = ask(&server, "MOVE", target, &fields, b"");
        assert_eq!(got.status(), expected, "{policy:?} {target} {destination:?} {overwrite}: {}", got.text());
        assert!(
            tree(folder.as_ref()).contains(&there.to_owned()),
            "{target} {destination}: {:?}",
            tree(folder.as_ref())
        );
        let there =
            ["a", "other", "sub/x", "b", "sub/b", "moved/x"].iter().filter(|name| folder.path(name).exists()).count();
        assert_eq!(there, if expected == 204 { 2 } else { 3 }, "{target} {destination}: nothing is lost");
    }
    assert_eq!(fs::read_dir(outside.as_ref()).unwrap().count(), 0);
    let folder = Folder::new(&[("a", "a")]);
    let server = serve(folder.handler().uploads(Uploads::new()));
    assert_eq!(ask(&server, "MOVE", "/a", &[("destination", "/b")], b"").status(), 501, "nor where nothing is deleted");
    assert_eq!(put(&server, "/b", b"b"), 201);
}
