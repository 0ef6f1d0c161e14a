//! The link from a missing path to its nearest existing folder; and changes to finished listings.

use std::fs;
use std::os::unix::fs::symlink;

use modest::layers::PathRights;
use modest::{Http, Request, RequestHandler, StaticFileHandler};

use super::{Folder, ask};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn up(handler: &StaticFileHandler, target: &str, accept: &str) -> String {
    let got = ask(handler, &Request::get(target).with_header("accept", accept));
    format!("{} {}", got.status, got.header("link"))
}

#[test]
fn the_up_link_names_the_nearest_visible_folder() {
    let outside = Folder::new(&[("deep/x", "")]);
    let folder = Folder::new(&[("a/b/x", ""), ("a/index.html", "a"), (".hidden/c/x", ""), ("a b/ü/x", "")]);
    symlink(outside.as_ref(), folder.path("out")).unwrap();
    symlink(".", folder.path("loop")).unwrap();
    let listed = || folder.handler().link_up(true);
    let unlisted = || listed().listing(false);
    let deep = format!("/{}x", "loop/".repeat(60));
    let long = format!("/a/{}", "x/".repeat(2000));
    for (handler, target, accept, expected) in [
        (listed(), "/x", BROWSER, "404 <./>; rel=\"up\""),
        (listed(), "/a/b/y", BROWSER, "404 <./>; rel=\"up\""),
        (listed(), "/a/b/y/", BROWSER, "404 <../>; rel=\"up\""),
        (listed(), "/a/b/y/z?q=/", BROWSER, "404 <../>; rel=\"up\""),
        (listed(), "/a/b/x/y/z", BROWSER, "404 <../../>; rel=\"up\""), // below a file
        (listed(), "/a%20b/%C3%BC/y", BROWSER, "404 <./>; rel=\"up\""),
        (listed(), &long, BROWSER, &format!("404 <{}>; rel=\"up\"", "../".repeat(2000))),
        // Nothing that is not shown gets a link: hidden names, names outside, folders without a listing.
        (listed(), "/.hidden/c/y", BROWSER, "404 <../../>; rel=\"up\""),
        (listed(), "/out/deep/y", BROWSER, "404 <../../>; rel=\"up\""),
        (unlisted(), "/a/b/y", BROWSER, "404 <../>; rel=\"up\""), // `a` has an index
        (unlisted(), "/x", BROWSER, "404 "),
        // Only the first 32 folders of a path are searched, even if more seem to exist.
        (listed(), &deep, BROWSER, &format!("404 <{}>; rel=\"up\"", "../".repeat(28))),
        // Only clients that ask for HTML get the link.
        (listed(), "/a/b/y", "*/*", "404 "),
        (listed(), "/a/b/y", "application/json", "404 "),
        (folder.handler(), "/a/b/y", BROWSER, "404 "),
        // An invalid path, and a path that no file can have.
        (listed(), "/..", BROWSER, "400 "),
        (listed(), "/a/%2F", BROWSER, "404 "),
        // Below a prefix, never above it.
        (listed().prefix("/p/q").unwrap(), "/p/q/a/y", BROWSER, "404 <./>; rel=\"up\""),
        (listed().prefix("/p/q").unwrap(), "/p/q/x/y/", BROWSER, "404 <../../>; rel=\"up\""),
        (listed().prefix("/p/q").unwrap(), "/p/x", BROWSER, "404 "),
        // A single file has no folder.
        (StaticFileHandler::of_file(folder.path("a/b/x")).unwrap().link_up(true), "/y", BROWSER, "404 "),
    ] {
        assert_eq!(up(&handler, target, accept), expected, "{target} for {accept}: {handler:?}");
    }
    folder.write("404.html", "own");
    assert_eq!(up(&listed(), "/x", BROWSER), "404 ", "a page of the owner gets no link to the parent");
}

/// A link must not reveal a folder for which the client has no rights.
#[test]
fn up_links_respect_access_rights() {
    let folder = Folder::new(&[("a/b/c/x", ""), ("i/index.html", "i"), ("i/b/x", "")]);
    let rules = ["/a=*:none", "/a/b=*:read,list", "/a/b/c=*:read", "/i=*:none", "/i/b=*:read"];
    let rights = rules.iter().fold(PathRights::new().allow("/=*:read,list".parse().unwrap()), |rights, rule| {
        rights.allow(rule.parse().unwrap())
    });
    let http = Http::new(folder.handler().link_up(true).layer(rights));
    for (target, expected) in [
        ("/a/b/c/y", Some("<../>; rel=\"up\"")), // `c` may be read but not listed
        ("/a/b/y", Some("<./>; rel=\"up\"")),
        ("/i/b/y", Some("<../../>; rel=\"up\"")),
        ("/y", Some("<./>; rel=\"up\"")),
    ] {
        let sent = http.respond(&Request::get(target).with_header("accept", BROWSER));
        assert_eq!((sent.status().as_u16(), sent.header("link")), (404, expected), "{target}");
    }
}

/// The handler checks on each request whether the folder exists. (As root every folder is readable, so the test removes
/// one.)
#[test]
fn a_removed_folder_is_not_linked() {
    let folder = Folder::new(&[("a/b/x", "")]);
    let handler = folder.handler().link_up(true);
    assert_eq!(up(&handler, "/a/b/y", BROWSER), "404 <./>; rel=\"up\"");
    fs::remove_dir_all(folder.path("a/b")).unwrap();
    assert_eq!(up(&handler, "/a/b/y", BROWSER), "404 <../>; rel=\"up\"");
}

#[test]
fn listings_are_compressed_and_files_are_not() {
    let text = "All work and no play makes Jack a dull boy.\n".repeat(100);
    let folder = Folder::new(&[("many/x", ""), ("index.html", &text), ("a.txt", &text)]);
    for number in 0..50 {
        folder.write(&format!("few/a rather long name, number {number}"), "");
    }
    for number in 0..1200 {
        folder.write(&format!("many/a rather long name, number {number}"), "");
    }
    let gzip = modest::layers::Compress::new();
    let handler = folder.handler().finish_listing(move |request, response| gzip.compress(request, response));
    for (target, coding) in [
        ("/few/", "gzip"),
        ("/many/", "gzip"),
        ("/many/?format=json", "gzip"),
        ("/", ""),
        ("/a.txt", ""),
        ("/nothing", ""),
    ] {
        let got = ask(&handler, &Request::get(target).with_header("accept-encoding", "gzip"));
        assert_eq!(got.header("content-encoding"), coding, "{target}");
        let plain = super::get(&handler, target);
        assert_eq!(plain.header("content-encoding"), "", "{target}");
        if coding == "gzip" {
            assert!(got.body.len() * 5 < plain.body.len() * 2, "{target}: {} of {}", got.body.len(), plain.body.len());
            assert!(got.header("etag").starts_with("W/\""), "{target}: {}", got.header("etag"));
            assert_eq!(got.header("vary"), "Accept, Accept-Encoding", "{target}");
        }
    }
    let again = Request::get("/few/").with_header("accept-encoding", "gzip");
    let tag = ask(&handler, &again).header("etag").to_owned();
    let http = modest::Http::new(handler);
    assert_eq!(http.respond(&again.with_header("if-none-match", tag)).status(), 304);
}
