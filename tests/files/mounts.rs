//! Folders beside other folders and routes: a listing (page, JSON or PROPFIND) and an archive contain what requests for
//! their entries would get.

use modest::layers::{BasicAuth, PathRights};
use modest::testing::{TestRequest, TestServer, serve};
use modest::{Method, Overview, RequestHandler, Response, Routes, SentResponse, Uploads};

use super::Folder;

fn send(server: &TestServer, method: &str, target: &str, fields: &[(&str, &str)]) -> SentResponse {
    let request = TestRequest::new(method.parse::<Method>().unwrap(), target);
    server.send(fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value)))
}

/// The links of rows, objects or responses, or the names in an archive.
fn found(got: &SentResponse) -> Vec<String> {
    let bytes = String::from_utf8_lossy(got.body()).into_owned();
    let between = |text: &str, start: &str, end: &str| -> Vec<String> {
        let parts = text.split(start).skip(1).filter_map(|rest| rest.split_once(end));
        parts.map(|(found, _)| found.to_owned()).collect()
    };
    match got.header("content-type") {
        Some("application/json") => between(&bytes, "{\"name\":\"", "\""),
        Some("application/x-tar") => got.body().chunks(512).filter_map(tar_name).collect(),
        Some(kind) if kind.starts_with("application/xml") => between(&bytes, "<D:href>", "</D:href>"),
        _ => between(&bytes, "<td><a href=\"", "\">"),
    }
}

/// The name in a tar header.
fn tar_name(block: &[u8]) -> Option<String> {
    let is_header = block.get(257..262) == Some(b"ustar");
    let name = block.split(|&byte| byte == 0).next().unwrap_or_default();
    is_header.then(|| String::from_utf8_lossy(name).into_owned())
}

#[test]
fn only_mount_points_are_added_to_listings() {
    let top = Folder::new(&[
        ("a.txt", "a"),
        ("book/hidden", "SECRET"),
        ("sub/b.txt", "b"),
        ("sub/deep/hidden", "SECRET"),
        ("sub/deep2/c", "c"),
        ("status", "SECRET"),
    ]);
    let (book, deep) = (Folder::new(&[("one", "1")]), Folder::new(&[("two", "2")]));
    let paths = ["/book", "/sub/deep", "/sub/new/way"];
    let folder = |of: &Folder| of.handler().webdav(true).beside(paths);
    #[cfg(feature = "archive")]
    let folder = |of: &Folder| folder(of).archives(true);
    let routes = Routes::new()
        .get("/status", |_: &(), _: &_| Ok(Response::text("fine")))
        .mount("/book", folder(&book))
        .mount("/sub/deep", folder(&deep))
        .mount("/sub/new/way", folder(&deep))
        .fallback(folder(&top));
    let server = serve(routes.with_state(()));
    for (method, target, fields, expected) in [
        ("GET", "/", &[][..], "book/ sub/deep/ sub/new/way/ sub/ a.txt"),
        ("GET", "/?format=json", &[], "book sub/deep sub/new/way sub a.txt"),
        ("GET", "/sub/", &[], "../ deep/ new/way/ deep2/ b.txt"),
        ("GET", "/sub/?format=json", &[], "deep new/way deep2 b.txt"),
        ("GET", "/sub/deep/", &[], "two"),
        ("GET", "/sub/deep2/", &[], "../ c"),
        ("PROPFIND", "/", &[("depth", "1")], "/ /book/ /sub/ /a.txt"),
        ("PROPFIND", "/sub/", &[("depth", "1")], "/sub/ /sub/deep/ /sub/deep2/ /sub/b.txt"),
        #[cfg(feature = "archive")]
        (
            "GET",
            "/?archive=tar",
            &[],
            "archive/ archive/a.txt archive/sub/ archive/sub/b.txt archive/sub/deep2/ archive/sub/deep2/c",
        ),
        #[cfg(feature = "archive")]
        ("GET", "/sub/?archive=tar", &[], "sub/ sub/b.txt sub/deep2/ sub/deep2/c"),
    ] {
        for _ in 0..3 {
            let got = send(&server, method, target, fields);
            assert_eq!(found(&got).join(" "), expected, "{method} {target}: {}", got.status());
        }
    }
    let page = send(&server, "GET", "/", &[]);
    assert!(page.text().contains("<span id=n>4 folders, 1 file</span>"), "{}", page.text());
    let json = send(&server, "GET", "/sub/?format=json", &[]);
    let row = "{\"name\":\"new/way\",\"href\":\"new/way\",\"kind\":\"folder\",\"size\":null,\"modified\":null}";
    assert!(json.text().starts_with("[\n") && json.text().contains(row), "{}", json.text());
}

/// A mounted folder does not show its entries whose paths an inner mount serves.
#[test]
fn a_mounted_folder_shows_what_it_serves() {
    let (top, inner) = (Folder::new(&[("a.txt", "a"), ("inner/hidden", "SECRET"), ("b/c", "c")]), Folder::new(&[]));
    let folder = |of: &Folder| of.handler().webdav(true);
    #[cfg(feature = "archive")]
    let folder = |of: &Folder| folder(of).archives(true);
    let routes = Routes::new().mount("/files", folder(&top)).mount("/files/inner", folder(&inner));
    let server = serve(routes.with_state(()));
    for (method, target, fields, expected) in [
        ("GET", "/files/", &[][..], "b/ a.txt"),
        ("PROPFIND", "/files/", &[("depth", "1")], "/files/ /files/b/ /files/a.txt"),
        #[cfg(feature = "archive")]
        ("GET", "/files/?archive=tar", &[], "files/ files/a.txt files/b/ files/b/c"),
    ] {
        let got = send(&server, method, target, fields);
        assert_eq!(found(&got).join(" "), expected, "{method} {target}: {}", got.status());
    }
}

/// An overview page, which has no folder on disk.
#[test]
fn an_overview_is_listed_like_a_folder() {
    let folder = Folder::new(&[("a", "a")]);
    let routes = Routes::new().mount("/my book", folder.handler()).fallback(Overview::new("/", ["/my book"]));
    let server = serve(routes.with_state(()));
    for (target, accept, expected, kind) in [
        ("/", "text/html", "my%20book/", "text/html; charset=utf-8"),
        ("/", "application/json", "my book", "application/json"),
        ("/?format=json", "*/*", "my book", "application/json"),
    ] {
        let got = send(&server, "GET", target, &[("accept", accept)]);
        assert_eq!((got.header("content-type"), got.header("vary")), (Some(kind), Some("Accept")), "{target} {accept}");
        assert_eq!(found(&got).join(" "), expected, "{target} {accept}: {}", got.text());
    }
}

/// A page links to a folder that the user can only write to, without its size and date. The JSON listing leaves it out.
#[test]
fn write_only_folders_are_linked() {
    let top = Folder::new(&[("inbox/secret", "s"), ("open/x", "x"), ("closed/x", "x"), ("file", "f")]);
    let rights =
        ["/=*:read,list", "/inbox=*:write", "/closed=*:none", "/file=*:write", "/drop=*:write", "/inbox=ada:all"];
    let rights = || rights.iter().fold(PathRights::new(), |rights, rule| rights.allow(rule.parse().unwrap()));
    let auth = || BasicAuth::new("r").user("ada", "a").optional(true);
    let ada: &[_] = &[("authorization", "Basic YWRhOmE=")];
    let folder = || top.handler().webdav(true).beside(["/drop"]);
    let server = |files: modest::StaticFileHandler| {
        let routes = Routes::new().mount("/drop", top.handler().uploads(Uploads::new())).fallback(files);
        serve(routes.with_state(()).layer(rights()).layer(auth()))
    };
    let (accepting, reading) = (server(folder().uploads(Uploads::new())), server(folder()));
    for (server, target, fields, expected) in [
        (&accepting, "/", &[][..], "drop/ inbox/ open/"),
        (&accepting, "/", ada, "drop/ inbox/ open/"),
        (&accepting, "/?format=json", &[], "open"),
        (&accepting, "/?format=json", ada, "inbox open"),
        (&reading, "/", &[], "drop/ open/"),
    ] {
        let got = send(server, "GET", target, fields);
        assert_eq!(found(&got).join(" "), expected, "{target} {fields:?}: {}", got.text());
        let is_box = target == "/" && fields.is_empty() && expected.contains("inbox");
        let row = "<tr class=w><td><a href=\"inbox/\">inbox/</a><td>only uploads<td>";
        assert_eq!(got.text().contains(row), is_box, "{target} {fields:?}: {}", got.text());
    }
    let overview = Routes::new()
        .mount("/inbox", top.handler().uploads(Uploads::new()))
        .mount("/open", top.handler())
        .fallback(Overview::new("/", ["/inbox", "/open", "/closed"]));
    let server = serve(overview.with_state(()).layer(rights()).layer(auth()));
    for (target, expected) in [("/", "inbox/ open/"), ("/?format=json", "open")] {
        assert_eq!(found(&send(&server, "GET", target, &[])).join(" "), expected, "{target}");
    }
}

/// With the tag that a move returns, a client can undo the move only if the file is unchanged.
#[test]
fn a_move_returns_the_tag() {
    let folder = Folder::new(&[("a", "a"), ("sub/x", "x")]);
    let server = serve(folder.handler().uploads(Uploads::new().delete(true)));
    let moved = send(&server, "MOVE", "/a", &[("destination", "b")]);
    let tag = moved.header("etag").unwrap_or_else(|| panic!("{moved:?}")).to_owned();
    assert_eq!(Some(&*tag), send(&server, "GET", "/b", &[]).header("etag"));
    folder.write("b", "another");
    let back = |tag: &str| send(&server, "MOVE", "/b", &[("destination", "a"), ("if-match", tag)]).status().as_u16();
    assert_eq!(back(&tag), 412);
    folder.write("b", "a");
    assert_eq!(back(&tag), 201);
    assert_eq!(send(&server, "MOVE", "/sub/", &[("destination", "../c/")]).header("etag"), None, "a folder has no tag");
}
