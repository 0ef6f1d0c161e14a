//! WebDAV: the requests of file managers. Real ones are in `tests/clients`.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant, SystemTime};

use modest::testing::{TestServer, serve};
use modest::{Layer, Overwrite, Permissions, Request, RequestHandler, SentResponse, Uploads};

use super::super::{Folder, wait_for_age};
use super::{PATIENCE, accepting, answer, ask, connect, put, tree, visible, wait_until};

fn propfind(server: &TestServer, target: &str, depth: &str) -> SentResponse {
    let fields: &[(&str, &str)] = if depth.is_empty() { &[] } else { &[("depth", depth)] };
    ask(server, "PROPFIND", target, fields, b"")
}

/// The entries of a response: path, whether it is a folder, and size.
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

/// A client that follows the path of an entry gets that entry, in every folder and below every prefix.
#[test]
fn paths_in_properties_are_those_of_their_resources() {
    let names = ["a&b", "a&amp;b", "a'b", "a\"b", "<a>", "&lt;a>", "a b", "%26", "ü&"];
    let folder = Folder::new(&[]);
    for at in names {
        fs::create_dir(folder.path(&format!("{at}.d"))).unwrap();
        for name in names {
            fs::write(folder.path(&format!("{at}.d/{name}")), format!("{at} {name}")).unwrap();
        }
    }
    for prefix in ["", "/p&q"] {
        let server = serve(folder.handler().webdav(true).prefix(prefix).unwrap());
        // A path can contain an ampersand unchanged or encoded.
        for ampersand in ["&", "%26"] {
            for at in names {
                let target = format!("{prefix}/{}.d/", modest::encode_segment(at).replace("%26", ampersand));
                let got = propfind(&server, &target, "1");
                assert_eq!(got.status(), 207, "{target}: {}", got.text());
                let hrefs = got.text().split("<D:href>").skip(1).map(|rest| rest.split_once('<').unwrap().0);
                let mut found: Vec<String> = hrefs
                    .filter(|href| !href.ends_with('/'))
                    .map(|href| {
                        let path = ["&quot; \"", "&#39; '", "&lt; <", "&gt; >", "&amp; &"].iter().fold(
                            href.to_owned(),
                            |path, pair| {
                                let (from, to) = pair.split_once(' ').unwrap();
                                path.replace(from, to)
                            },
                        );
                        server.get(&path).text().to_owned()
                    })
                    .collect();
                found.sort();
                let mut expected: Vec<String> = names.iter().map(|name| format!("{at} {name}")).collect();
                expected.sort();
                assert_eq!(found, expected, "{target}: {}", got.text());
                for text in got.text().split('&').skip(1) {
                    let is_escape =
                        ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|escape| text.starts_with(escape));
                    assert!(is_escape, "{target}: &{text}");
                }
            }
        }
    }
}

#[test]
fn propfind_describes_files_and_folders() {
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
    // Document types and long bodies are rejected, so none of the attacks with XML work.
    for (body, status) in [
        (b"<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><x>&e;</x>".to_vec(), 400),
        (b"<".to_vec(), 400),
        (b"<propfind xmlns=\"DAV:\"><allprop/></propfind>".to_vec(), 207),
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
    assert_eq!(propfind(&serve(folder.handler()), "/", "0").status(), 501, "PROPFIND needs the setting webdav");
    let one = serve(modest::StaticFileHandler::of_file(folder.path("a.txt")).unwrap().webdav(true));
    assert_eq!(["/a.txt", "/", "/sub/"].map(|target| propfind(&one, target, "0").status().as_u16()), [207, 404, 404]);
}

/// The response for a folder with many entries is streamed completely.
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
fn a_move_replaces_only_what_it_may() {
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
        (Overwrite::Replace, "/a", "b", "", 201, "b=a"),
        (Overwrite::Replace, "/a", "sub/b", "", 201, "sub/b=a"),
        (Overwrite::Replace, "/sub/x", "../b", "", 201, "b=x"),
        (Overwrite::Replace, "/sub/", "../b/", "", 201, "b/x=x"),
        (Overwrite::Replace, "/a", "../b", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "/b?c", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "b?c", "", 400, "a=a"),
        (Overwrite::Replace, "/a", "http://localhost/b?c", "", 400, "a=a"),
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
        assert_eq!(there, if expected == 204 { 2 } else { 3 }, "{target} {destination}: a file was lost");
    }
    assert_eq!(fs::read_dir(outside.as_ref()).unwrap().count(), 0);
    let folder = Folder::new(&[("a", "a")]);
    let server = serve(folder.handler().uploads(Uploads::new()));
    assert_eq!(
        ask(&server, "MOVE", "/a", &[("destination", "/b")], b"").status(),
        501,
        "MOVE must be rejected where nothing can be deleted"
    );
    assert_eq!(put(&server, "/b", b"b"), 201);
}

/// The files after a COPY, a MOVE or a DELETE of whole folders.
#[test]
fn whole_folders_are_copied_moved_and_deleted() {
    let start = &[
        ("a", "a"),
        ("other", "o"),
        ("tree/x", "x"),
        ("tree/in/y", "y"),
        ("tree/.hidden/z", "z"),
        ("plain/p", "p"),
        ("plain/in/q", "q"),
    ];
    let all = "a=a other=o plain/in/q=q plain/p=p tree/.hidden/z=z tree/in/y=y tree/x=x";
    let copy = |to: &str| format!("{all} {to}");
    for (method, target, fields, status, expected) in [
        ("COPY", "/a", &[("destination", "/b")][..], 201, copy("b=a")),
        ("COPY", "/a", &[("destination", "b")], 201, copy("b=a")),
        ("COPY", "/a", &[("destination", "/other")], 204, all.replace("other=o", "other=a")),
        ("COPY", "/a", &[("destination", "/other"), ("overwrite", "F")], 412, all.into()),
        ("COPY", "/a", &[("destination", "/a")], 403, all.into()),
        ("COPY", "/a", &[("destination", "/no/b")], 409, all.into()),
        ("COPY", "/a", &[("destination", "/b"), ("if-match", "\"x\"")], 412, all.into()),
        ("COPY", "/a", &[("destination", "/b"), ("if-match", "*")], 201, copy("b=a")),
        ("COPY", "/a", &[("destination", "/.b")], 403, all.into()),
        ("COPY", "/a/", &[("destination", "/b")], 404, all.into()),
        ("COPY", "/none", &[("destination", "/b")], 404, all.into()),
        ("COPY", "/tree/.hidden/z", &[("destination", "/b")], 404, all.into()),
        ("COPY", "/out", &[("destination", "/b")], 404, all.into()),
        // A copy contains only served files, and no links.
        ("COPY", "/tree/", &[("destination", "/b/")], 201, copy("b/in/y=y b/x=x")),
        ("COPY", "/tree/", &[("destination", "/b/"), ("depth", "0")], 201, copy("b/")),
        ("COPY", "/tree/", &[("destination", "/b/"), ("depth", "1")], 400, all.into()),
        ("COPY", "/tree", &[("destination", "/tree/in/b")], 409, all.into()),
        ("COPY", "/plain/in", &[("destination", "/plain")], 409, all.into()),
        (
            "COPY",
            "/tree",
            &[("destination", "/plain")],
            204,
            all.replace("plain/in/q=q plain/p=p", "plain/in/y=y plain/x=x"),
        ),
        ("COPY", "/plain", &[("destination", "/tree")], 409, all.into()), // it contains hidden files
        ("COPY", "/plain", &[("destination", "/a")], 204, all.replace("a=a other", "a/in/q=q a/p=p other")),
        ("COPY", "/a", &[("destination", "/plain")], 204, all.replace("plain/in/q=q plain/p=p", "plain=a")),
        (
            "MOVE",
            "/tree",
            &[("destination", "/plain")],
            204,
            "a=a other=o plain/.hidden/z=z plain/in/y=y plain/x=x".into(),
        ),
        ("MOVE", "/tree", &[("destination", "/plain"), ("overwrite", "F")], 412, all.into()),
        ("MOVE", "/plain/in", &[("destination", "/plain")], 409, all.into()),
        (
            "MOVE",
            "/a",
            &[("destination", "/plain")],
            204,
            "other=o plain=a tree/.hidden/z=z tree/in/y=y tree/x=x".into(),
        ),
        ("DELETE", "/plain/", &[], 204, all.replace("plain/in/q=q plain/p=p ", "")),
        ("DELETE", "/plain/", &[("depth", "0")], 409, all.into()),
        ("DELETE", "/tree", &[], 409, all.into()),
    ] {
        let folder = Folder::new(start);
        let outside = Folder::new(&[("kept", "kept")]);
        symlink("../other", folder.path("plain/link")).unwrap();
        symlink(outside.path("kept"), folder.path("out")).unwrap();
        let accepting = Uploads::new().overwrite(Overwrite::Replace).delete(true);
        let server = serve(folder.handler().webdav(true).uploads(accepting));
        let got = ask(&server, method, target, fields, b"");
        assert_eq!(got.status(), status, "{method} {target} {fields:?}: {}", got.text());
        let mut found: Vec<String> = tree(folder.as_ref());
        found.retain(|path| !path.contains("/link=") && !path.starts_with("out"));
        let is_empty = |path: &String| {
            path.ends_with('/') && !found.iter().any(|other| other != path && other.starts_with(path.as_str()))
        };
        let mut found: Vec<String> =
            found.iter().filter(|path| !path.ends_with('/') || is_empty(path)).cloned().collect();
        found.sort();
        let mut expected: Vec<&str> = expected.split(' ').collect();
        expected.sort();
        assert_eq!(found, expected, "{method} {target} {fields:?}");
        assert_eq!(fs::read(outside.path("kept")).unwrap(), b"kept");
    }
    let folder = Folder::new(start);
    let plain = serve(folder.handler().uploads(Uploads::new().delete(true)));
    let copied = ask(&plain, "COPY", "/a", &[("destination", "/b")], b"").status().as_u16();
    assert_eq!(
        (copied, ask(&plain, "DELETE", "/plain", &[], b"").status().as_u16()),
        (501, 409),
        "COPY and DELETE of folders need WebDAV"
    );
}

/// A copy that fails in the middle leaves everything unchanged, including the file that it would have replaced.
#[test]
fn a_failed_replacement_is_undone() {
    let start = &[("dst/in/kept", "kept"), ("file", "kept"), ("src/a", "a"), ("src/in/long", "long and longer")];
    for (target, destination, depth, status) in [
        ("/src", "/dst", "infinity", 413),
        ("/src", "/file", "infinity", 413),
        ("/src", "/new", "infinity", 413),
        ("/src/in/long", "/dst", "infinity", 413),
        ("/src/in/long", "/file", "infinity", 413),
        ("/src", "/dst", "1", 400),
    ] {
        let folder = Folder::new(start);
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true).max_size(10);
        let server = serve(folder.handler().webdav(true).uploads(uploads));
        let names = || {
            let mut names = tree(folder.as_ref());
            names.sort();
            names
        };
        let before = names();
        let got = ask(&server, "COPY", target, &[("destination", destination), ("depth", depth)], b"");
        assert_eq!(got.status(), status, "{target} to {destination}: {}", got.text());
        assert_eq!(names(), before, "{target} to {destination}");
    }
}

/// `If` applies to every method that changes something, and names files of this server only.
#[test]
fn conditions_apply_to_every_change() {
    let folder = Folder::new(&[("a", "a"), ("b", "b")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let server = serve(folder.handler().uploads(uploads).webdav(true));
    let tag = |name: &str| server.get(name).header("etag").unwrap().to_owned();
    let (of_a, of_b) = (tag("/a"), tag("/b"));
    let host = "h:8000";
    for (condition, expected) in [
        (format!("([{of_a}])"), true),
        (format!("([{of_b}])"), false),
        (format!("</b> ([{of_b}])"), true),
        (format!("</b> ([{of_a}])"), false),
        (format!("<http://{host}/b> ([{of_b}])"), true),
        (format!("<http://other.example/b> ([{of_b}])"), false),
        (format!("</missing> ([{of_b}])"), false),
        ("(<urn:uuid:00000000-0000-0000-0000-000000000000>)".to_owned(), false),
        ("(Not <DAV:no-lock>)".to_owned(), true),
    ] {
        for (method, target, status) in [
            ("COPY", "/a", 201),
            ("MOVE", "/a", 201),
            ("MKCOL", "/new", 201),
            ("PUT", "/a", 204),
            ("DELETE", "/a", 204),
        ] {
            // A condition with the tag of a file that does not exist, or not yet, is always false.
            if method == "MKCOL" && condition.starts_with("([") {
                continue;
            }
            let fields = [("host", host), ("if", &*condition), ("destination", "/new")];
            let fields = if matches!(method, "COPY" | "MOVE") { &fields[..] } else { &fields[..2] };
            let got = ask(&server, method, target, fields, b"a");
            let wanted = if expected { status } else { 412 };
            assert_eq!(got.status(), wanted, "{method} {condition}: {}", got.text());
            let made = folder.path("new");
            assert_eq!(made.exists(), expected && status == 201, "{method} {condition}");
            let _ = fs::remove_dir(&made).or_else(|_| fs::remove_file(&made));
            folder.write("a", "a");
        }
    }
}

/// The conditions of RFC 9110, section 13.1, apply to new folders. A name that is taken gets 405 in any case.
#[test]
fn conditions_of_new_folders() {
    let folder = Folder::new(&[("taken/x", "")]);
    let server = accepting(&folder, Uploads::new());
    let form = "--x\r\nContent-Disposition: form-data; name=\"folder\"\r\n\r\nnew\r\n--x--\r\n";
    for (condition, is_made) in [
        (("if-match", "*"), false),
        (("if-match", "\"no\""), false),
        (("if-none-match", "*"), true),
        (("if-none-match", "\"no\""), true),
    ] {
        let fields = [condition, ("content-type", "multipart/form-data; boundary=x")];
        let mkcol = ask(&server, "MKCOL", "/new", &fields[..1], b"").status().as_u16();
        assert_eq!(mkcol, if is_made { 201 } else { 412 }, "MKCOL {condition:?}");
        let _ = fs::remove_dir(folder.path("new"));
        let form = ask(&server, "POST", "/", &fields, form.as_bytes()).status().as_u16();
        assert_eq!(form, if is_made { 303 } else { 412 }, "form {condition:?}");
        assert_eq!(fs::remove_dir(folder.path("new")).is_ok(), is_made, "form {condition:?}");
        assert_eq!(ask(&server, "MKCOL", "/taken", &fields[..1], b"").status(), 405, "{condition:?}");
    }
}

/// A link that is copied to itself stays.
#[test]
fn copies_of_links_to_themselves() {
    let folder = Folder::new(&[("a/f", "f")]);
    symlink("a/f", folder.path("file")).unwrap();
    symlink("a", folder.path("folder")).unwrap();
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let server = serve(folder.handler().webdav(true).uploads(uploads));
    for (method, path) in
        ["/file", "/folder", "/a/f", "/a"].into_iter().flat_map(|path| [("COPY", path), ("MOVE", path)])
    {
        let got = ask(&server, method, path, &[("destination", path)], b"");
        assert_eq!(got.status(), 403, "{method} {path}: {}", got.text());
    }
    assert_eq!(ask(&server, "COPY", "/folder/", &[("destination", "/folder")], b"").status(), 403);
    assert!(folder.path("file").is_symlink() && folder.path("folder").is_symlink());
}

/// The response names the entry whose name can't be given to something new.
#[test]
fn copies_of_names_that_are_not_valid() {
    let folder = Folder::new(&[("in/good", ""), ("in/not\\good", "")]);
    let server = serve(folder.handler().webdav(true).uploads(Uploads::new()));
    let got = ask(&server, "COPY", "/in/", &[("destination", "/new")], b"");
    assert!(got.status() == 400 && got.text().contains("in/not\\good: "), "{}", got.text());
}

/// Copies of large files and folders hold workers, so only a few are in progress at once, and a copy ends if its client
/// disconnects.
#[test]
fn long_copies_leave_workers_and_end_with_their_client() {
    let folder = Folder::new(&[("small", "x"), ("folder/x", "x")]);
    for (name, size) in [("long", 4 << 30), ("short", 2 << 20)] {
        fs::File::create(folder.path(name)).unwrap().set_len(size).unwrap();
    }
    let uploads = Uploads::new().overwrite(Overwrite::Replace).copies_at_once(1).reserve(0);
    let server = serve(folder.handler().webdav(true).uploads(uploads));
    let copy = |from, to| ask(&server, "COPY", from, &[("destination", to)], b"").status().as_u16();
    let begin = || {
        let mut client = connect(&server);
        client.write_all(b"COPY /long HTTP/1.1\r\nhost: a\r\ndestination: /long2\r\n\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
        client
    };
    let (begun, mut client) = (Instant::now(), begin());
    while copy("/short", "/short2") != 503 {
        assert!(begun.elapsed() < PATIENCE, "the long copy has not begun");
        if client.peek(&mut [0]).is_ok() {
            client = begin(); // it was rejected, because a short copy had the place
        }
    }
    assert_eq!(
        (copy("/folder", "/folder2"), copy("/small", "/small2")),
        (503, 201),
        "small files must be copied even if no long copy is allowed"
    );
    drop(client);
    wait_until("the copy has ended", || copy("/short", "/short3") != 503);
    assert!(!folder.path("long2").exists());
    assert_eq!(copy("/folder", "/folder2"), 201);
}

/// Names that the client can't read do not count in a copy. They are not copied, and their number is not revealed.
#[test]
fn restricted_names_do_not_count_towards_limits_of_a_copy() {
    struct NoSecrets;
    impl Layer for NoSecrets {
        fn before_body(&self, request: &Request, _: &mut modest::BodyPlan) -> modest::Result<()> {
            request.put(Permissions::new("x", |_, path| !path.starts_with(b"/in/secret")));
            Ok(())
        }
    }
    let folder = Folder::new(&[("in/a", "a")]);
    for number in 0..5001 {
        fs::File::create(folder.path(&format!("in/secret{number}"))).unwrap();
        fs::File::create(folder.path(&format!("in/.hidden{number}"))).unwrap();
    }
    let server = serve(folder.handler().webdav(true).uploads(Uploads::new()).layer(NoSecrets));
    let got = ask(&server, "COPY", "/in/", &[("destination", "/new")], b"");
    assert_eq!(got.status(), 201, "{}", got.text());
    assert_eq!(tree(&folder.path("new")), ["a=a"]);
}

/// A file that another program changes while it is copied is not copied: the copy would be neither the old file nor the
/// new one.
#[test]
fn a_file_that_changes_while_it_is_copied() {
    type Change = fn(&fs::File) -> std::io::Result<()>;
    let changes: [(&str, Change, usize); 3] = [
        ("becomes shorter", |file| file.set_len(2 << 20), 2 << 20),
        ("becomes longer", |file| file.set_len(25 << 20), 25 << 20),
        ("is rewritten", |mut file| file.write_all(b"new"), 24 << 20),
    ];
    for (from, (how, change, changed_length)) in
        ["/in/long", "/in/"].into_iter().flat_map(|from| changes.map(|change| (from, change)))
    {
        let folder = Folder::new(&[("in/a", "a")]);
        fs::File::create(folder.path("short")).unwrap().set_len(2 << 20).unwrap();
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true).copies_at_once(1).reserve(0);
        let server = &serve(folder.handler().webdav(true).uploads(uploads));
        let copy = |from, to| {
            let got = ask(server, "COPY", from, &[("destination", to)], b"");
            (got.status().as_u16(), got.text().to_owned())
        };
        let begun = Instant::now();
        let (status, text) = loop {
            let long = fs::File::create(folder.path("in/long")).unwrap();
            long.set_len(24 << 20).unwrap();
            wait_for_age(&folder.path("in/long"), Duration::from_millis(30)); // a change has another time
            let (is_changed, copied) = std::thread::scope(|scope| {
                let copying = scope.spawn(|| copy(from, "/new"));
                while !copying.is_finished() && copy("/short", "/short2").0 != 503 {}
                let is_changed = !copying.is_finished();
                change(&long).unwrap();
                (is_changed, copying.join().unwrap())
            });
            if is_changed && copied.0 == 409 {
                break copied;
            }
            // The large copy had no place, was complete before the change, or opened the file after it.
            if let Ok(copy) = fs::read(folder.path(if from == "/in/" { "new/long" } else { "new" })) {
                let is_whole = copy.len() == 24 << 20 || copy.len() == changed_length;
                assert!(is_whole, "{from} {how}: {} bytes", copy.len());
            }
            let _ = (fs::remove_file(folder.path("new")), fs::remove_dir_all(folder.path("new")));
            assert!(begun.elapsed() < PATIENCE, "{from} {how}: the file does not change during a copy: {copied:?}");
        };
        assert_eq!((status, folder.path("new").exists()), (409, false), "{from} {how}: {text}");
        assert_eq!(text.contains("in/long: The file"), from == "/in/", "{from} {how}: {text}");
        let hidden = tree(folder.as_ref()).into_iter().find(|name| name.contains(".modest-upload-"));
        assert_eq!(hidden, None, "{from} {how}");
    }
}

/// A copy of a folder with too many levels leaves nothing. A folder that contains remains of an earlier process, as
/// deep as this server can leave them, is deleted and replaced as a whole.
#[test]
fn folders_with_many_levels() {
    let left = "to/.modest-upload-removable-0123456789abcdef";
    let change = |method: &str, target: &str, destination: &str, depth_left: usize| {
        let folder = Folder::new(&[("deep/f", "f"), ("from/f", "f"), ("to/a", "a"), ("to/z", "z")]);
        fs::create_dir_all(folder.path("deep").join("d/".repeat(64))).unwrap();
        fs::create_dir_all(folder.path("deeper").join("d/".repeat(65))).unwrap();
        fs::create_dir_all(folder.path("from").join("d/".repeat(40))).unwrap();
        if depth_left > 0 {
            fs::create_dir_all(folder.path(left).join("d/".repeat(depth_left))).unwrap();
        }
        let server =
            serve(folder.handler().webdav(true).uploads(Uploads::new().overwrite(Overwrite::Replace).delete(true)));
        let before = tree(folder.as_ref());
        let got = ask(&server, method, target, &[("destination", destination)], b"");
        let after = tree(folder.as_ref());
        let is_unchanged = after == before;
        (got.status().as_u16(), is_unchanged, after.iter().any(|name| name.contains(".modest-upload-")))
    };
    for (method, target, destination, depth_left, expected) in [
        ("COPY", "/deep/", "/new", 0, (201, false, false)),
        ("COPY", "/deeper/", "/new", 0, (409, true, false)),
        ("COPY", "/deeper/", "/to", 0, (409, true, false)),
        ("DELETE", "/deep/", "", 0, (204, false, false)),
        ("DELETE", "/deeper/", "", 0, (409, true, false)),
        ("DELETE", "/to/", "", 65, (204, false, false)),
        ("COPY", "/from/", "/to", 65, (204, false, false)),
        ("MOVE", "/from/", "/to", 65, (204, false, false)),
        ("MOVE", "/to/", "/new", 65, (201, false, true)), // what was left is moved with its folder
    ] {
        let found = change(method, target, destination, depth_left);
        assert_eq!(found, expected, "{method} {target} {destination} {depth_left}");
    }
}

/// A copy that fails uses nothing of the quota, even if much was copied before.
#[test]
fn failed_copies_leave_the_quota() {
    let folder = Folder::new(&[]);
    for (name, size) in [("in/a", 600_000), ("in/b", 900_000)] {
        folder.write(name, "x".repeat(size));
    }
    let day = std::time::Duration::from_secs(86_400);
    let server = serve(folder.handler().webdav(true).uploads(Uploads::new().quota((1_400_000, day))));
    let got = ask(&server, "COPY", "/in", &[("destination", "/out")], b"");
    assert!(got.status() == 429 && !folder.path("out").exists(), "{got:?}");
    assert_eq!(put(&server, "/new", &vec![b'x'; 1_000_000]), 201);
    fs::remove_file(folder.path("in/b")).unwrap();
    let copy = |to| ask(&server, "COPY", "/in", &[("destination", to)], b"").status().as_u16();
    assert_eq!(copy("/out"), 429, "1.6 MB");
    // Neither its bytes nor its folders count: one more file of the rest fits.
    assert_eq!(put(&server, "/rest", &vec![b'x'; 400_000]), 201);
}

/// The properties of a file take one block of the disk, which counts like an empty file.
#[cfg(all(target_os = "linux", not(modest_portable)))] // other systems store no properties
#[test]
fn properties_are_within_the_quota_and_the_reserve() {
    let update = |sets: bool, name: &str, value: &str| {
        let step = if sets { "set" } else { "remove" };
        format!(
            "<D:propertyupdate xmlns:D=\"DAV:\"><D:{step}><D:prop><{name} xmlns=\"u:\">{value}</{name}></D:prop></D:{step}></D:propertyupdate>"
        )
    };
    let long = "v".repeat(2_000);
    let folder = Folder::new(&[("a", "a"), ("b", "b"), ("c", "c")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace);
    let day = std::time::Duration::from_secs(86_400);
    let server = serve(folder.handler().webdav(true).uploads(uploads.clone().quota((2 * 4096, day))));
    for (file, body, expected) in [
        ("/a", update(false, "x", ""), 207),
        ("/a", update(true, "D:x", ""), 207),               // protected: 403 inside
        ("/a", update(true, "x", &"v".repeat(4_000)), 207), // too long: 507 inside
        ("/a", update(true, "x", &long), 207),
        ("/a", update(true, "y", "1"), 207),
        ("/b", update(true, "x", &long), 207),
        ("/c", update(true, "x", "1"), 429),
        ("/a", update(true, "y", "2"), 207),
        ("/a", update(false, "x", ""), 207),
    ] {
        let got = ask(&server, "PROPPATCH", file, &[], body.as_bytes());
        assert_eq!(got.status(), expected, "{file} {body}: {got:?}");
    }
    assert_eq!(put(&server, "/new", b""), 429, "the properties of two files use the whole quota");
    let full = serve(folder.handler().webdav(true).uploads(uploads.reserve(u64::MAX / 2)));
    for (file, expected) in [("/c", 507), ("/b", 207)] {
        let got = ask(&full, "PROPPATCH", file, &[], update(true, "x", "1").as_bytes());
        assert_eq!(got.status(), expected, "{file}: {got:?}");
    }
}

/// A client that sends a condition expects that nothing changes if it does not hold, whether or not the folder has locks:
/// they may have been turned off since the client got its token.
#[test]
fn a_condition_in_if_holds_without_locks() {
    for webdav in [true, false] {
        for policy in [Overwrite::Refuse, Overwrite::Rename, Overwrite::Replace] {
            let folder = Folder::new(&[("a", "a")]);
            let server = serve(folder.handler().webdav(webdav).uploads(Uploads::new().overwrite(policy).delete(true)));
            let tag = format!("([{}])", server.get("/a").header("etag").unwrap());
            let to = ("destination", "/b");
            for (method, fields) in [
                ("DELETE", &[("if", "(<urn:uuid:gone>)")][..]),
                ("DELETE", &[("if", "([\"other\"])")]),
                ("MOVE", &[to, ("if", "(<urn:uuid:gone>)")]),
                ("PUT", &[("if", "(<urn:uuid:gone>)")]),
            ] {
                let got = ask(&server, method, "/a", fields, b"new");
                let rejects = if (method, policy) == ("PUT", Overwrite::Refuse) { &[409, 412][..] } else { &[412] };
                assert!(rejects.contains(&got.status().as_u16()), "{webdav} {policy:?} {method} {fields:?}: {got:?}");
                assert_eq!(tree(folder.as_ref()), ["a=a"], "{webdav} {policy:?} {method} {fields:?}");
            }
            assert_eq!(ask(&server, "DELETE", "/a", &[("if", &tag)], b"").status(), 204, "{webdav} {policy:?}");
        }
    }
}

pub(super) const LOCK: &str = "<?xml version=\"1.0\"?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
     <D:locktype><D:write/></D:locktype><D:owner>ada &lt;b&gt;<x y=\"&quot;\"/><!-- evil --></D:owner></D:lockinfo>";

pub(super) fn lock(server: &TestServer, target: &str, fields: &[(&str, &str)], body: &str) -> SentResponse {
    let request = modest::testing::TestRequest::new("LOCK".parse().unwrap(), target).with_body(body);
    server.send(fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value)))
}

/// A LOCK for which there is no room ends its own lock only.
#[test]
fn a_rejected_lock_leaves_those_of_others() {
    let folder = Folder::new(&[]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).quota((4096, std::time::Duration::from_secs(86_400)));
    let server = serve(folder.handler().uploads(uploads).webdav(true));
    let shared = LOCK.replace("exclusive", "shared");
    assert_eq!(lock(&server, "/a", &[], &shared).status(), 201);
    fs::remove_file(folder.path("a")).unwrap(); // by another program
    assert_eq!([lock(&server, "/a", &[], &shared).status(), lock(&server, "/b", &[], LOCK).status()], [429, 429]);
    assert_eq!([put(&server, "/a", b"x"), put(&server, "/b", b"x")], [423, 429]);
}

/// RFC 4918, sections 7, 9.10, 9.11 and 10.4.
#[test]
fn locks_protect_files_until_they_are_released() {
    let folder = Folder::new(&[("a", "a"), ("sub/b", "b"), ("free", "")]);
    let uploads =
        Uploads::new().overwrite(Overwrite::Replace).delete(true).resumable(4, std::time::Duration::from_secs(60));
    let server = serve(folder.handler().uploads(uploads).webdav(true));
    assert_eq!(ask(&server, "OPTIONS", "/", &[], b"").header("dav"), Some("1, 2"));
    let taken = lock(&server, "/a", &[("timeout", "Infinite"), ("depth", "0")], LOCK);
    assert_eq!(taken.status(), 200, "{}", taken.text());
    let token = taken.header("lock-token").unwrap().to_owned();
    assert!(token.starts_with("<urn:uuid:") && token.len() == 47, "{token}");
    let bare = token.trim_matches(['<', '>']);
    assert!(taken.text().contains(bare) && !taken.text().contains("evil"), "{}", taken.text());
    let owner = "<D:owner>ada &lt;b&gt;<x xmlns=\"\" y=\"&quot;\"></x></D:owner>";
    assert!(taken.text().contains(owner), "{}", taken.text());
    let made = lock(&server, "/sub/new%20one", &[], LOCK);
    assert_eq!((made.status().as_u16(), fs::read(folder.path("sub/new one")).unwrap()), (201, Vec::new()));
    assert!(made.text().contains("<D:lockroot><D:href>/sub/new%20one</D:href>"), "{}", made.text());
    let (mine, other) = (format!("({token})"), format!("({})", made.header("lock-token").unwrap()));
    let tagged = format!("</a> ({token})");
    let of_other = format!("</sub/new%20one> {other}");
    let with_tag = format!("({token} [{}])", server.get("/a").header("etag").unwrap());
    let to = |path| ("destination", path);
    for (method, target, fields, expected) in [
        ("PUT", "/a", &[][..], 423),
        ("PUT", "/a", &[("if", "(<DAV:no-lock>)")], 412),
        ("PUT", "/a", &[("if", "(Not <DAV:no-lock>)")], 423),
        ("PUT", "/a", &[("if", &other)], 412),
        ("PUT", "/a", &[("if", "(<a")], 400),
        ("PUT", "/a", &[("if", &of_other)], 423),
        ("PUT", "/a?upload=0123456789abcdef", &[("content-range", "bytes 0-0/1")], 423),
        ("DELETE", "/a", &[], 423),
        ("MOVE", "/a", &[to("/c")], 423),
        ("MOVE", "/free", &[to("/a")], 423),
        ("MOVE", "/sub", &[to("/sub2")], 423),
        ("LOCK", "/a", &[], 423),
        ("UNLOCK", "/a", &[], 400),
        ("UNLOCK", "/a", &[("lock-token", "<urn:uuid:other>")], 409),
        ("UNLOCK", "/sub/b", &[("lock-token", &token)], 409),
        ("PUT", "/a", &[("if", &with_tag)], 204),
        ("PUT", "/a", &[("if", &with_tag)], 412), // its tag has changed
        ("PUT", "/a", &[("if", &mine)], 204),
        ("PUT", "/a", &[("if", &tagged)], 204),
        ("MOVE", "/free", &[to("/a"), ("if", &tagged)], 204),
        ("PUT", "/sub/b", &[], 204),
        ("LOCK", "/sub/", &[], 403),
        ("LOCK", "/sub", &[], 403), // no user is logged in
        ("LOCK", "/sub/b/", &[], 409),
        ("LOCK", "/", &[], 403),
        ("LOCK", "/no/such", &[], 409),
        ("LOCK", "/.hidden", &[], 403),
        ("LOCK", "/x", &[("depth", "1")], 400),
        ("LOCK", "/x", &[("origin", "http://evil.example")], 403),
        ("MOVE", "/a", &[to("/c"), ("if", &mine)], 201),
        ("PUT", "/a", &[], 201), // a move removes the lock of the source
        ("PUT", "/c", &[], 204),
        ("DELETE", "/sub/new%20one", &[("if", &other)], 204),
        ("PUT", "/sub/new%20one", &[], 201),
    ] {
        let got = match method {
            "LOCK" => lock(&server, target, fields, LOCK),
            _ => ask(&server, method, target, fields, b"n"),
        };
        assert_eq!(got.status(), expected, "{method} {target} {fields:?}: {}", got.text());
    }
    for body in ["x", "<D:lockinfo xmlns:D=\"DAV:\"/>", &LOCK.replace("&lt;", "&evil;"), &LOCK.replace("D:", "E:")] {
        assert_eq!(lock(&server, "/a", &[], body).status(), 400, "{body}");
    }
    let shared = LOCK.replace("exclusive", "shared");
    let tokens: Vec<String> = (0..2)
        .map(|_| lock(&server, "/a", &[], &shared).header("lock-token").expect("a shared lock").to_owned())
        .collect();
    assert_eq!([lock(&server, "/a", &[], LOCK).status(), ask(&server, "PUT", "/a", &[], b"x").status()], [423, 423]);
    for token in &tokens {
        assert_eq!(
            ask(&server, "PUT", "/a", &[("if", &format!("({token})"))], b"x").status(),
            204,
            "one of the two tokens is enough"
        );
    }
    for token in &tokens {
        assert_eq!(ask(&server, "UNLOCK", "/a", &[("lock-token", token)], b"").status(), 204);
    }
    let token = lock(&server, "/a", &[("timeout", "Second-100")], LOCK).header("lock-token").unwrap().to_owned();
    let known = ask(&server, "PROPFIND", "/a", &[("depth", "0")], b"");
    assert!(known.text().contains("<D:activelock>") && known.text().contains("<D:supportedlock>"), "{}", known.text());
    assert!(!known.text().contains("urn:uuid:"), "others can have the same address: {}", known.text());
    let renewed = lock(&server, "/a", &[("if", &format!("({token})")), ("timeout", "Second-3000")], "");
    assert!(renewed.status() == 200 && renewed.text().contains("<D:timeout>Second-29"), "{}", renewed.text());
    assert_eq!(lock(&server, "/a", &[], "").status(), 412);
    for (condition, expected) in [("(<urn:uuid:other>)", 412), (&*format!("({token})"), 204)] {
        let got = ask(&server, "UNLOCK", "/a", &[("lock-token", &token), ("if", condition)], b"");
        assert_eq!(got.status(), expected, "{condition}: {}", got.text());
    }
    assert_eq!(put(&server, "/a", b"x"), 204);
    // A handler that only stores new files replaces nothing, so it supports no locks.
    let refuses = serve(folder.handler().uploads(Uploads::new()).webdav(true));
    assert_eq!(ask(&refuses, "OPTIONS", "/", &[], b"").header("dav"), Some("1"));
    assert_eq!(lock(&refuses, "/a", &[], LOCK).status(), 501);
}

/// A lock applies to the file under any path: through a link to its folder, and through another link to that
/// folder. A folder can't take a locked name.
#[test]
fn a_lock_holds_for_every_path_to_the_file() {
    let folder = Folder::new(&[("real/deep/a", "a"), ("b", "b")]);
    symlink("real", folder.path("link")).unwrap();
    symlink(folder.path("link/deep"), folder.path("far")).unwrap();
    let server =
        serve(folder.handler().uploads(Uploads::new().overwrite(Overwrite::Replace).delete(true)).webdav(true));
    let paths = ["/real/deep/a", "/link/deep/a", "/far/a"];
    for by in paths {
        let token = lock(&server, by, &[], LOCK).header("lock-token").unwrap().to_owned();
        let (untagged, destination) = (format!("({token})"), [("destination", "/c")]);
        for path in paths {
            assert_eq!(put(&server, path, b"n"), 423, "{by} {path}");
            assert_eq!(lock(&server, path, &[], LOCK).status(), 423, "{by} {path}");
            assert_eq!(ask(&server, "DELETE", path, &[], b"").status(), 423, "{by} {path}");
            assert_eq!(ask(&server, "MOVE", path, &destination, b"").status(), 423, "{by} {path}");
            assert_eq!(ask(&server, "MOVE", "/b", &[("destination", path)], b"").status(), 423, "{by} {path}");
            let told = ask(&server, "PROPFIND", path, &[("depth", "0")], b"").text().to_owned();
            assert!(told.contains("<D:activelock>") && !told.contains("urn:uuid:"), "{by} {path}: {told}");
            for tagged in paths {
                let tagged = format!("<http://localhost{tagged}> {untagged}");
                assert_eq!(ask(&server, "PUT", path, &[("if", &tagged)], b"n").status(), 204, "{by} {path} {tagged}");
            }
        }
        assert_eq!(ask(&server, "MOVE", "/link/deep", &destination, b"").status(), 423, "{by}");
        assert_eq!(ask(&server, "DELETE", paths[2], &[("if", &untagged)], b"").status(), 204, "{by}");
        assert_eq!(put(&server, paths[0], b"a"), 201, "{by}: the lock must end with its file");
    }
    assert_eq!(lock(&server, "/d", &[], LOCK).status(), 201);
    fs::remove_file(folder.path("d")).unwrap();
    assert_eq!(ask(&server, "MKCOL", "/d", &[], b"").status(), 423);
}

/// Many file systems ignore letter case, and some ignore other differences. No one else can change the locked file there
/// by another spelling.
#[test]
fn a_lock_holds_for_every_spelling_of_the_name() {
    let folder = Folder::new(&[("doc.txt", "a"), ("b", "b")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let server = serve(folder.handler().uploads(uploads).webdav(true));
    assert_eq!(lock(&server, "/doc.txt", &[], LOCK).status(), 200);
    for path in ["/DOC.txt", "/doc.tXt", "/doc.txt.", "/d%C2%ADoc.txt"] {
        assert_eq!(put(&server, path, b"n"), 423, "{path}");
        assert_eq!(lock(&server, path, &[], LOCK).status(), 423, "{path}");
        assert_eq!(ask(&server, "COPY", "/b", &[("destination", path)], b"").status(), 423, "{path}");
    }
    assert_eq!(put(&server, "/doc2.txt", b"n"), 201);
    // Composed and decomposed letters.
    for (locked, path) in [("/%C3%89", "/e%CC%81"), ("/u%CC%88%CC%A3", "/%E1%BB%A5%CC%88")] {
        assert_eq!(lock(&server, locked, &[], LOCK).status(), 201);
        assert_eq!(put(&server, path, b"n"), 423, "{path}");
    }
    assert_eq!(visible(folder.as_ref()).len(), 5);
}

/// A lock that also covers another file, whose name differs in letter case, outlasts that file.
#[test]
fn a_lock_outlasts_another_file_that_it_covers() {
    for change in ["DELETE", "MOVE"] {
        let folder = Folder::new(&[("n.txt", "locked"), ("N.txt", "other")]);
        if visible(folder.as_ref()).len() < 2 {
            return; // this file system ignores letter case
        }
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
        let server = serve(folder.handler().uploads(uploads).webdav(true));
        let token = lock(&server, "/n.txt", &[], LOCK).header("lock-token").unwrap().to_owned();
        let condition = format!("</n.txt> ({token})");
        let changed = ask(&server, change, "/N.txt", &[("if", &condition), ("destination", "/m")], b"").status();
        assert!(changed.is_success(), "{change}: {changed}");
        assert_eq!(put(&server, "/n.txt", b"changed"), 423, "{change}");
        assert_eq!(ask(&server, "DELETE", "/n.txt", &[("if", &condition)], b"").status(), 204, "{change}");
        assert_eq!(put(&server, "/n.txt", b"new"), 201, "{change}");
    }
}

/// A lock holds at all paths at which its folder is served, even at a mount that supports no locks.
#[test]
fn a_lock_holds_at_every_mount_of_a_folder() {
    use modest::Routes;
    let folder = Folder::new(&[("sub/deep/file", "a")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let at = |path: &str| modest::StaticFileHandler::new(folder.path(path)).unwrap().uploads(uploads.clone());
    let routes = Routes::new()
        .mount("/a", at("").webdav(true).prefix("/a").unwrap())
        .mount("/b", at("sub").webdav(true).prefix("/b").unwrap())
        .mount("/c", at("sub/deep").prefix("/c").unwrap());
    let server = serve(routes.with_state(()));
    for by in ["/a/sub/deep/file", "/b/deep/file"] {
        let token = lock(&server, by, &[], LOCK).header("lock-token").unwrap().to_owned();
        for path in ["/a/sub/deep/file", "/b/deep/file", "/c/file"] {
            let beside = format!("{path}2");
            for (method, fields) in [("PUT", &[][..]), ("DELETE", &[]), ("MOVE", &[("destination", &*beside)])] {
                assert_eq!(ask(&server, method, path, fields, b"x").status(), 423, "{by} {method} {path}");
            }
        }
        for (path, to) in [("/a/sub", "/a/x"), ("/a/sub/deep", "/a/x"), ("/b/deep", "/b/x")] {
            assert_eq!(ask(&server, "MOVE", path, &[("destination", to)], b"").status(), 423, "{by} {path}");
        }
        let other = if by.starts_with("/a") { "/b/deep/file" } else { "/a/sub/deep/file" };
        assert_eq!(ask(&server, "PUT", other, &[("if", &format!("({token})"))], b"b").status(), 204, "{by}");
        assert_eq!(ask(&server, "UNLOCK", other, &[("lock-token", &token)], b"").status(), 204, "{by}");
    }
    assert_eq!(put(&server, "/c/file", b"c"), 204);
}

/// PROPFIND shows the path at which a file was locked, unless the client may not read it: then the path of the request.
/// The token is valid for both.
#[test]
fn the_root_of_a_lock_is_shown_as_it_was_locked() {
    use modest::layers::{BasicAuth, PathRights};
    use modest::{RequestHandler, Routes};
    let folder = Folder::new(&[("sub/f", "f"), ("sub/deep/g", "g"), ("secret/x", ""), ("open/x", "")]);
    symlink("../sub", folder.path("secret/plans")).unwrap();
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let at =
        |path: &str| modest::StaticFileHandler::new(folder.path(path)).unwrap().uploads(uploads.clone()).webdav(true);
    let rights = PathRights::new()
        .allow("/=ada,eve:all".parse().unwrap())
        .allow("/a/secret=ada:all".parse().unwrap())
        .allow("/c=ada:all".parse().unwrap());
    let auth = BasicAuth::new("files").user("ada", "a").user("eve", "e");
    let routes = Routes::new()
        .mount("/a", at("").prefix("/a").unwrap())
        .mount("/b", at("sub").prefix("/b").unwrap())
        .mount("/c", at("sub").prefix("/c").unwrap());
    let server = serve(routes.with_state(()).layer(rights).layer(auth));
    let (ada, eve) = (("authorization", "Basic YWRhOmE="), ("authorization", "Basic ZXZlOmU="));
    let root = |got: &SentResponse| {
        let text = got.text().to_owned();
        let root = text.split_once("<D:lockroot><D:href>").and_then(|(_, rest)| rest.split_once("</D:href>"));
        root.map_or(text.clone(), |(root, _)| root.to_owned())
    };
    for (by, path, of_eve) in [
        ("/b/f", "/a/sub/f", "/b/f"),
        ("/a/sub/f", "/b/f", "/a/sub/f"),
        ("/c/f", "/a/sub/f", "/a/sub/f"),
        ("/c/f", "/b/f", "/b/f"),
        ("/a/secret/plans/f", "/b/f", "/b/f"),
        ("/a/secret/plans/f", "/a/sub/f", "/a/sub/f"),
        ("/b/deep/", "/a/sub/deep/", "/b/deep/"),
        ("/c/deep/", "/a/sub/deep/", "/a/sub/deep/"),
        ("/c/deep/", "/a/sub/deep/g", "/a/sub/deep/g"),
        ("/c/deep/", "/b/deep/", "/b/deep/"),
    ] {
        let taken = lock(&server, by, &[ada], LOCK);
        assert_eq!((taken.status().as_u16(), root(&taken).as_str()), (200, by));
        let token = taken.header("lock-token").unwrap().to_owned();
        let shown = |user| root(&ask(&server, "PROPFIND", path, &[user, ("depth", "0")], b""));
        assert_eq!([shown(ada), shown(eve)], [by, of_eve], "{by} {path}");
        let renewed = lock(&server, path, &[ada, ("if", &format!("({token})"))], "");
        assert_eq!((renewed.status().as_u16(), root(&renewed).as_str()), (200, by), "{by} {path}");
        if !path.ends_with('/') {
            for named in [by, path] {
                for (condition, expected) in [
                    (format!("<{named}> ({token})"), 204),
                    (format!("<http://localhost{named}> ({token})"), 204),
                    (format!("<{named}> (<urn:uuid:other>)"), 412),
                    (format!("<{named}> (Not {token})"), 412),
                    (format!("<{named}2> ({token})"), 412),
                    (format!("</open/x> ({token})"), 412),
                ] {
                    let got = ask(&server, "PUT", path, &[ada, ("if", &condition)], b"f");
                    // The lock of a folder also covers the other name.
                    let expected =
                        if by.ends_with('/') && condition.contains(&format!("{named}2>")) { 204 } else { expected };
                    assert_eq!(got.status(), expected, "{by} {path} {condition}: {got:?}");
                }
            }
        }
        assert_eq!(ask(&server, "UNLOCK", path, &[ada, ("lock-token", &token)], b"").status(), 204, "{by} {path}");
    }
}

/// Only the user of a token can use it and see it (section 6.4).
#[test]
fn a_lock_belongs_to_its_user() {
    use modest::RequestHandler;
    let folder = Folder::new(&[("a", "a")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace);
    let auth = modest::layers::BasicAuth::new("files").user("ada", "a").user("bob", "b");
    let server = serve(folder.handler().uploads(uploads).webdav(true).layer(auth));
    let (ada, bob) = (("authorization", "Basic YWRhOmE="), ("authorization", "Basic Ym9iOmI="));
    let token = lock(&server, "/a", &[ada], LOCK).header("lock-token").unwrap().to_owned();
    let of_token = format!("({token})");
    for (method, fields, expected) in [
        ("PUT", &[bob, ("if", &*of_token)][..], 423),
        ("UNLOCK", &[bob, ("lock-token", &token)], 409),
        ("PUT", &[ada, ("if", &of_token)], 204),
    ] {
        assert_eq!(ask(&server, method, "/a", fields, b"n").status(), expected, "{method} {fields:?}");
    }
    let told = |who| ask(&server, "PROPFIND", "/a", &[who, ("depth", "0")], b"").text().contains("urn:uuid:");
    assert_eq!([told(ada), told(bob)], [true, false]);
}

/// The lock of a folder covers everything in it. Only a logged-in user who may write all of it can take it.
#[test]
fn locks_of_folders() {
    use modest::RequestHandler;
    use modest::layers::{BasicAuth, PathRights};
    let folder = Folder::new(&[("sub/a", "a"), ("sub/deep/b", "b"), ("sub/own/c", "c"), ("d", "d")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let rights = PathRights::new().allow("/=ada,bob:all".parse().unwrap()).allow("/sub/own=ada:all".parse().unwrap());
    let auth = BasicAuth::new("files").user("ada", "a").user("bob", "b");
    let server = serve(folder.handler().uploads(uploads).webdav(true).layer(rights).layer(auth));
    let (ada, bob) = (("authorization", "Basic YWRhOmE="), ("authorization", "Basic Ym9iOmI="));
    assert_eq!(
        lock(&server, "/sub/", &[bob], LOCK).status(),
        403,
        "a user who can't write everything in a folder can't lock it"
    );
    assert_eq!(lock(&server, "/sub/", &[ada, ("depth", "0")], LOCK).status(), 403);
    let of_file = lock(&server, "/sub/deep/b", &[bob], LOCK).header("lock-token").unwrap().to_owned();
    assert_eq!(lock(&server, "/sub/", &[ada], LOCK).status(), 423, "a folder with a locked file can't be locked");
    assert_eq!(ask(&server, "UNLOCK", "/sub/deep/b", &[bob, ("lock-token", &of_file)], b"").status(), 204);
    let taken = lock(&server, "/sub", &[ada], LOCK);
    assert!(taken.text().contains("<D:depth>infinity</D:depth>") && taken.text().contains("<D:href>/sub/</D:href>"));
    let token = taken.header("lock-token").unwrap().to_owned();
    let (untagged, tagged) = (format!("({token})"), format!("</sub/> ({token})"));
    for (method, target, fields, expected) in [
        ("PUT", "/sub/a", &[bob][..], 423),
        ("PUT", "/sub/new", &[bob], 423),
        ("PUT", "/sub/new", &[ada], 423),
        ("MKCOL", "/sub/deep/new", &[bob], 423),
        ("DELETE", "/sub/deep/b", &[bob], 423),
        ("DELETE", "/sub/", &[ada], 423),
        ("MOVE", "/d", &[bob, ("destination", "/sub/d")], 423),
        ("MOVE", "/sub/a", &[bob, ("destination", "/e")], 423),
        ("COPY", "/d", &[bob, ("destination", "/sub/deep/d")], 423),
        ("PUT", "/sub/a", &[bob, ("if", &*untagged)], 423), // bob can't use ada's token
        ("PUT", "/d", &[bob], 204),
        ("PUT", "/sub/a", &[ada, ("if", &*untagged)], 204),
        ("PUT", "/sub/deep/new", &[ada, ("if", &*tagged)], 201),
        ("PUT", "/sub/a", &[ada, ("if", "(<urn:uuid:other>)")], 412),
        ("LOCK", "/sub/deep/b", &[bob], 423),
        ("UNLOCK", "/sub/", &[bob, ("lock-token", &*token)], 409),
    ] {
        let got = match method {
            "LOCK" => lock(&server, target, fields, LOCK),
            "MKCOL" | "DELETE" | "UNLOCK" | "MOVE" | "COPY" => ask(&server, method, target, fields, b""),
            _ => ask(&server, method, target, fields, b"n"),
        };
        assert_eq!(got.status(), expected, "{method} {target} {fields:?}: {}", got.text());
    }
    let told = |who, path| ask(&server, "PROPFIND", path, &[who, ("depth", "0")], b"").text().to_owned();
    for path in ["/sub/", "/sub/deep/b"] {
        let (hers, his) = (told(ada, path), told(bob, path));
        assert!(
            hers.contains("urn:uuid:") && his.contains("<D:activelock>") && !his.contains("urn:uuid:"),
            "{path}: {his}"
        );
    }
    assert!(
        lock(&server, "/sub/deep/b", &[ada, ("if", &untagged)], "").status() == 200,
        "a request for a resource under the lock renews it"
    );
    assert_eq!(ask(&server, "DELETE", "/sub/", &[ada, ("if", &tagged)], b"").status(), 204);
    assert_eq!(ask(&server, "MKCOL", "/sub", &[bob], b"").status(), 201, "the lock must end with its folder");
    assert_eq!(put(&server, "/x", b""), 401);
}

/// Runs a case with ever longer files until it is interrupted while a file is being copied. A fast disk needs a long
/// file for that, which would take a slow disk too long.
fn with_long_files(case: &str, run: impl Fn(u64) -> bool) {
    let mut lengths = [32 << 20, 128 << 20, 512 << 20, 2 << 30].into_iter();
    assert!(lengths.any(run), "{case}: each change ended before it could be interrupted");
}

/// All methods that change a folder compare its date in the same way.
#[test]
fn conditions_on_the_date_of_a_folder() {
    let (past, future) = ("Thu, 01 Jan 2026 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT");
    for (method, destination, done) in [("COPY", Some("/new"), 201), ("MOVE", Some("/new"), 201), ("DELETE", None, 204)]
    {
        for (date, expected) in [(past, 412), (future, done)] {
            let folder = Folder::new(&[("folder/x", "x")]);
            let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
            let server = serve(folder.handler().webdav(true).uploads(uploads));
            let fields: Vec<_> =
                destination.map(|to| ("destination", to)).into_iter().chain([("if-unmodified-since", date)]).collect();
            let status = ask(&server, method, "/folder", &fields, b"").status().as_u16();
            assert_eq!(status, expected, "{method} {date}");
            assert_eq!(folder.path("new").exists(), destination.is_some() && expected == done, "{method} {date}");
        }
    }
}

/// Another user takes a lock during a long change. The server then rejects the change when it completes.
#[test]
fn a_lock_in_the_middle_of_a_change() {
    use modest::RequestHandler;
    use modest::layers::BasicAuth;
    const BOUNDARY: &str = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"kept\"\r\n\r\n";
    let long = "n".repeat(200_000);
    let form = format!("{BOUNDARY}{long}\r\n--x--\r\n");
    let content_length = |body: &str| format!("content-length: {}\r\n", body.len());
    let is_form = "content-type: multipart/form-data; boundary=x\r\n";
    let ranged = format!("content-range: bytes 0-{}/{}\r\n", long.len() - 1, long.len());
    for (head, fields, body) in [
        ("PUT /kept", content_length(&long), &*long),
        ("PUT /kept?upload=0123456789abcdef", content_length(&long) + &ranged, &long),
        ("POST /", content_length(&form) + is_form, &form),
        ("COPY /big", "destination: /kept\r\n".to_owned(), ""),
        ("COPY /folder", "destination: /kept\r\n".to_owned(), ""),
        ("COPY /big", "destination: /tree\r\n".to_owned(), ""),
        ("COPY /folder", "destination: /tree\r\n".to_owned(), ""),
    ] {
        with_long_files(&format!("{head} {fields}"), |length| {
            let folder = Folder::new(&[("kept", "kept"), ("tree/kept", "kept"), ("folder/x", "x"), ("lock", "")]);
            for name in ["big", "folder/big"] {
                fs::File::create(folder.path(name)).unwrap().set_len(length).unwrap();
            }
            let uploads = Uploads::new()
                .overwrite(Overwrite::Replace)
                .delete(true)
                .resumable(4, std::time::Duration::from_secs(60));
            let auth = BasicAuth::new("files").user("ada", "a").user("bob", "b");
            let server = serve(folder.handler().uploads(uploads).webdav(true).layer(auth));
            let mut bob = connect(&server);
            let fields = format!("host: x\r\nauthorization: Basic Ym9iOmI=\r\nconnection: close\r\n{fields}");
            let (first, second) = body.split_at(body.len() / 2);
            bob.write_all(format!("{head} HTTP/1.1\r\n{fields}\r\n{first}").as_bytes()).unwrap();
            if !is_written_by(&bob, folder.as_ref()) {
                return false;
            }
            let in_tree = fields.contains("/tree");
            let locked = if in_tree { "tree/kept" } else { "kept" };
            let taken = lock(&server, &format!("/{locked}"), &[("authorization", "Basic YWRhOmE=")], LOCK);
            let was_in_the_middle = is_written(folder.as_ref());
            bob.write_all(second.as_bytes()).unwrap();
            let got = answer(&mut bob);
            // The replaced folder is removed after the change.
            let has_lost_its_folder = in_tree && taken.status() == 409 && got.starts_with("HTTP/1.1 204 ");
            if !was_in_the_middle || has_lost_its_folder {
                return false; // the change was complete before the lock
            }
            assert_eq!(taken.status(), 200, "{head} {fields}: {}", taken.text());
            assert!(got.starts_with("HTTP/1.1 423 "), "{head} {fields}: {got}");
            if let Some((_, target)) = head.split_once(' ').filter(|(_, target)| target.contains("?upload=")) {
                let cancelled = ask(&server, "DELETE", target, &[("authorization", "Basic Ym9iOmI=")], b"");
                assert_eq!(cancelled.status(), 204, "{head}: what was received stays");
            }
            wait_until("nothing is written", || !is_written(folder.as_ref()));
            assert_eq!(fs::read(folder.path(locked)).unwrap(), b"kept", "{head} {fields}");
            let mut names: Vec<_> = fs::read_dir(folder.as_ref())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            assert_eq!(names, ["big", "folder", "kept", "lock", "tree"], "{head} {fields}");
            true
        });
    }
}

/// Waits until a file below a folder is being written. Returns false if the response to this client came before that was
/// seen.
fn is_written_by(client: &std::net::TcpStream, folder: &std::path::Path) -> bool {
    client.set_nonblocking(true).unwrap();
    let is_over = || client.peek(&mut [0]).is_ok();
    wait_until("something is being written", || is_written(folder) || is_over());
    let is_over = is_over();
    client.set_nonblocking(false).unwrap();
    !is_over
}

/// Whether a file below a folder is being written. Such a file has no name, or a hidden name on systems without unnamed
/// files.
fn is_written(folder: &std::path::Path) -> bool {
    let open = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let mut open = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    let is_unnamed = open.any(|path| path.starts_with(folder) && path.to_string_lossy().ends_with(" (deleted)"));
    is_unnamed || has_hidden_name(folder)
}

fn has_hidden_name(folder: &std::path::Path) -> bool {
    let mut paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.any(|path| path.to_string_lossy().contains("/.modest-upload-") || has_hidden_name(&path))
}

/// A copy replaces only the content that existed when it began, and no request sees an incomplete folder.
#[test]
fn a_copied_folder_appears_at_once() {
    for (to, change, status) in [
        ("/kept", "/kept", 409),
        ("/tree", "/kept", 204),
        ("/tree", "/tree/new", 409),
        ("/new", "/new", 409),
        ("/new", "/kept", 201),
    ] {
        with_long_files(&format!("{to} {change}"), |length| {
            let folder = Folder::new(&[("kept", "kept"), ("tree/kept", "kept"), ("folder/x", "x")]);
            fs::File::create(folder.path("folder/big")).unwrap().set_len(length).unwrap();
            let server =
                serve(folder.handler().uploads(Uploads::new().overwrite(Overwrite::Replace).delete(true)).webdav(true));
            let mut client = connect(&server);
            let head = format!("COPY /folder HTTP/1.1\r\nhost: x\r\ndestination: {to}\r\nconnection: close\r\n\r\n");
            client.write_all(head.as_bytes()).unwrap();
            if !is_written_by(&client, folder.as_ref()) {
                return false;
            }
            let seen = server.get(&format!("{to}/x")).status();
            let changed = put(&server, change, b"changed");
            let was_in_the_middle = is_written(folder.as_ref());
            let got = answer(&mut client);
            if !was_in_the_middle {
                return false;
            }
            assert!(got.starts_with(&format!("HTTP/1.1 {status} ")), "{to} {change}: {got}");
            assert!(matches!(changed, 201 | 204) && seen == 404, "{to} {change}: {changed} {seen}");
            assert_eq!(fs::read(folder.path(&change[1..])).unwrap(), b"changed", "{to} {change}");
            assert_eq!(folder.path(&to[1..]).join("x").exists(), status < 300, "{to} {change}");
            let names = || fs::read_dir(folder.as_ref()).unwrap().map(|entry| entry.unwrap().file_name());
            assert!(names().all(|name| !name.to_string_lossy().starts_with('.')), "{to} {change}: {:?}", names());
            true
        });
    }
}

/// XML that would take a parser long is rejected quickly.
#[test]
fn expensive_requests_are_rejected() {
    let folder = Folder::new(&[("a", "a")]);
    let server = serve(folder.handler().uploads(Uploads::new().overwrite(Overwrite::Replace)).webdav(true));
    let declared = |count: usize| (0..count).map(|number| format!(" xmlns:a{number}=\"b\"")).collect::<String>();
    let attack = |outer, inner: usize| format!("<p{}>{}</p>", declared(outer), "<q xmlns:z=\"z\"/>".repeat(inner));
    let properties: String = (0..1900).map(|number| format!("<a{number}/>")).collect();
    for (name, body, expected) in [
        ("as it was found", attack(1400, 1500), 413),
        ("as long as it may be", attack(500, 500), 400),
        ("many names", format!("<propfind xmlns=\"DAV:\"><prop>{properties}</prop></propfind>"), 0),
    ] {
        for method in ["PROPFIND", "PROPPATCH", "LOCK"] {
            let begun = std::time::Instant::now();
            let request = modest::testing::TestRequest::new(method.parse().unwrap(), "/a").with_header("depth", "0");
            let got = server.send(request.with_body(body.clone()));
            let expected = match (expected, method) {
                (0, "PROPFIND") => 207,
                (0, _) => 400,
                (expected, _) => expected,
            };
            assert_eq!(got.status(), expected, "{method} {name}: {}", got.text());
            assert!(begun.elapsed().as_secs() < 5, "{method} {name}: {:?}", begun.elapsed());
        }
    }
    let lists = "</a> (<urn:1>) ".repeat(65);
    assert_eq!(ask(&server, "PUT", "/a", &[("if", &lists)], b"x").status(), 400);
    assert_eq!(ask(&server, "PUT", "/a", &[("if", &format!("({})", "<urn:1>".repeat(65)))], b"x").status(), 400);
    assert_eq!(ask(&server, "PUT", "/a", &[("if", &format!("({})", "<urn:1>".repeat(64)))], b"x").status(), 412);
}

/// PROPPATCH (section 9.2). Nothing can be set if the file system or the system supports no attributes.
#[test]
fn properties_that_clients_give() {
    let folder = Folder::new(&[("a", "a"), ("b", "b"), ("sub/c", "c")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let server = serve(folder.handler().uploads(uploads).webdav(true));
    let update =
        |steps: &str| format!("<D:propertyupdate xmlns:D=\"DAV:\" xmlns:z=\"urn:z\">{steps}</D:propertyupdate>");
    let set = |properties: &str| format!("<D:set><D:prop>{properties}</D:prop></D:set>");
    let remove = |properties: &str| format!("<D:remove><D:prop>{properties}</D:prop></D:remove>");
    let patch = |target: &str, body: &str| {
        let got = ask(&server, "PROPPATCH", target, &[], body.as_bytes());
        let statuses = got.text().split("HTTP/1.1 ").skip(1).map(|rest| rest[..3].to_owned()).collect::<Vec<_>>();
        (got.status().as_u16(), statuses.join(" "))
    };
    let known = |target: &str| {
        let text = ask(&server, "PROPFIND", target, &[("depth", "0")], b"").text().to_owned();
        let given = text.split("</D:lockdiscovery>").nth(1).and_then(|rest| rest.split("</D:prop>").next());
        given.unwrap_or_default().to_owned()
    };
    for (target, body, expected) in [
        ("/a", "<x", 400),
        ("/a", "<x/>", 400),
        ("/a", "<!DOCTYPE x><D:propertyupdate xmlns:D=\"DAV:\"/>", 400),
        ("/missing", &*update(&set("<z:x/>")), 404),
        ("/", &*update(&set("<z:x/>")), 403),
    ] {
        assert_eq!(patch(target, body).0, expected, "{target} {body}");
    }
    assert_eq!(
        patch("/a", &update(&set("<D:getetag>x</D:getetag><z:x/>"))),
        (207, "403 424".into()),
        "properties are changed completely or not at all"
    );
    assert_eq!(patch("/sub", &update(&set("<z:x/>"))), (207, "403".into()), "only files can have properties");
    symlink("a", folder.path("link")).unwrap();
    assert_eq!(patch("/link", &update(&set("<z:x/>"))), (207, "403".into()), "links can't have properties");
    let first = patch("/a", &update(&set("<z:x>1 &lt;b&gt; ]]&gt;</z:x><z:y q=\"&quot;\"><w/></z:y>")));
    if first == (207, "403 403".into()) {
        return; // no attributes here
    }
    assert_eq!(first, (207, "200 200".into()));
    let (x, y) =
        ("<x xmlns=\"urn:z\">1 &lt;b&gt; ]]&gt;</x>", "<y xmlns=\"urn:z\" q=\"&quot;\"><w xmlns=\"\"></w></y>");
    assert_eq!(known("/a"), format!("{x}{y}"));
    assert_eq!(put(&server, "/a", b"new"), 204);
    assert_eq!(known("/a"), format!("{x}{y}"), "a file that is replaced keeps its properties");
    for (method, to) in [("COPY", "/copy"), ("MOVE", "/moved")] {
        assert_eq!(ask(&server, method, "/a", &[("destination", to)], b"").status(), 201, "{method}");
        assert_eq!(known(to), format!("{x}{y}"), "{method}");
    }
    let steps =
        [set("<z:x>2</z:x>"), remove("<z:y/><z:none/>"), set("<x>3</x>"), remove("<z:x/>"), set("<z:x>4</z:x>")];
    assert_eq!(patch("/moved", &update(&steps.concat())), (207, "200 200 200 200 200 200".into()));
    assert_eq!(
        known("/moved"),
        "<x xmlns=\"\">3</x><x xmlns=\"urn:z\">4</x>",
        "properties are changed in the order of the request"
    );
    assert_eq!(patch("/moved", &update(&set(&format!("<z:x>{}</z:x>", "x".repeat(4000))))), (207, "507".into()));
    assert_eq!(
        known("/moved"),
        "<x xmlns=\"\">3</x><x xmlns=\"urn:z\">4</x>",
        "a failed change must leave the properties as they were"
    );
    assert_eq!(patch("/moved", &update(&remove("<x/><z:x/>"))), (207, "200 200".into()));
    assert_eq!(known("/moved"), "");
    let spaces = "<z:x q=\"&#13;&#10;&#9;\">&#13;1\n\t</z:x>";
    let in_german = format!("<D:set><D:prop xml:lang=\"de\">{spaces}</D:prop></D:set>");
    assert_eq!(patch("/moved", &update(&in_german)), (207, "200".into()));
    let as_they_were = "<x xmlns=\"urn:z\" xml:lang=\"de\" q=\"&#13;&#10;&#9;\">&#13;1&#10;&#9;</x>";
    for target in ["/moved", "/again"] {
        assert_eq!(known(target), as_they_were, "{target}");
        ask(&server, "COPY", "/moved", &[("destination", "/again")], b"");
        patch("/moved", &update(&remove("<z:none/>")));
    }
    let token = lock(&server, "/b", &[], LOCK).header("lock-token").unwrap().to_owned();
    assert_eq!(patch("/b", &update(&set("<z:x/>"))).0, 423);
    let body = update(&set("<z:x/>"));
    let held = ask(&server, "PROPPATCH", "/b", &[("if", &format!("({token})"))], body.as_bytes());
    assert_eq!(held.status(), 207, "{}", held.text());
    assert_eq!(ask(&server, "PROPFIND", "/b", &[("depth", "0")], b"<x").status(), 400);
    let asked = "<propfind xmlns=\"DAV:\"><prop><displayname/><getetag/><quota-used-bytes/><x xmlns=\"urn:z\"/><y xmlns=\"urn:z\"/></prop></propfind>";
    let got = ask(&server, "PROPFIND", "/b", &[("depth", "0")], asked.as_bytes());
    let lacks = "<D:propstat><D:prop><quota-used-bytes xmlns=\"DAV:\"/><y xmlns=\"urn:z\"/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status>";
    assert!(got.text().contains(lacks), "{}", got.text());
}

/// The properties of a file are the header fields of a GET (RFC 4918, sections 15.5 to 15.7).
#[test]
fn properties_of_a_file_are_its_header_fields() {
    let folder = Folder::new(&[("a.txt", "text"), ("b", "\0"), ("c.html", ""), ("large.css", &"a{}".repeat(40_000))]);
    let past = SystemTime::now() - Duration::from_secs(1000);
    let future = SystemTime::now() + Duration::from_secs(1000);
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
    let server = serve(folder.handler().webdav(true));
    for name in ["a.txt", "b", "c.html", "large.css"] {
        for date in [past, future, before_1970] {
            fs::File::options().write(true).open(folder.path(name)).unwrap().set_modified(date).unwrap();
            let got = server.get(&format!("/{name}")); // first: a field that is sent now is also sent later
            let found = ask(&server, "PROPFIND", &format!("/{name}"), &[("depth", "0")], b"");
            for (property, field) in
                [("getcontenttype", "content-type"), ("getetag", "etag"), ("getlastmodified", "last-modified")]
            {
                let Some(value) = got.header(field) else { continue }; // its times are too recent
                let expected = format!("<D:{property}>{}</D:{property}>", modest::escape_html(value));
                assert!(found.text().contains(&expected), "{name}, {expected}: {}", found.text());
            }
            assert!(got.header("content-type").is_some(), "{name}");
        }
    }
}

/// The requests of Windows' Explorer ([MS-WDV]) and macOS' Finder to store, rename and delete a file.
#[test]
fn sessions_of_file_managers() {
    let folder = Folder::new(&[("old.txt", "old")]);
    let uploads = || Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let explorers = "<?xml version=\"1.0\" encoding=\"utf-8\" ?><D:lockinfo xmlns:D=\"DAV:\"><D:lockscope><D:exclusive/></D:lockscope>\
         <D:locktype><D:write/></D:locktype><D:owner><D:href>PC\\ada</D:href></D:owner></D:lockinfo>";
    let times = "<?xml version=\"1.0\" encoding=\"utf-8\" ?><D:propertyupdate xmlns:D=\"DAV:\" xmlns:Z=\"urn:schemas-microsoft-com:\"><D:set><D:prop>\
         <Z:Win32CreationTime>Sun, 22 Nov 2026 08:00:00 GMT</Z:Win32CreationTime><Z:Win32LastAccessTime>Sun, 22 Nov 2026 08:00:00 GMT</Z:Win32LastAccessTime>\
         <Z:Win32LastModifiedTime>Sun, 22 Nov 2026 08:00:00 GMT</Z:Win32LastModifiedTime><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes>\
         </D:prop></D:set></D:propertyupdate>";
    for (hidden, of_mac) in [(false, 403), (true, 201)] {
        let server = serve(folder.handler().hidden(hidden).uploads(uploads()).webdav(true));
        let status = |method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]| {
            ask(&server, method, target, fields, body).status().as_u16()
        };
        let depth = |depth| [("depth", depth)];
        assert_eq!(status("OPTIONS", "/", &[], b""), 204);
        assert_eq!(["0", "1"].map(|number| status("PROPFIND", "/", &depth(number), b"")), [207, 207]);
        assert_eq!(status("PROPFIND", "/new.txt", &depth("0"), b""), 404, "the name must be free");
        assert_eq!(status("PUT", "/new.txt", &[], b""), 201, "Finder first stores an empty file");
        let taken = lock(&server, "/new.txt", &[("timeout", "Second-3600")], explorers);
        let token = taken.header("lock-token").expect("a lock").to_owned();
        assert!(taken.text().contains("PC\\ada"), "{}", taken.text());
        let of_lock = format!("({token})");
        assert_eq!(status("PUT", "/new.txt", &[("if", &of_lock)], b"content"), 204);
        let set = ask(&server, "PROPPATCH", "/new.txt", &[("if", &of_lock)], times.as_bytes());
        assert_eq!((set.status().as_u16(), set.text().matches("<D:propstat>").count()), (207, 4), "{}", set.text());
        let renewed = lock(&server, "/new.txt", &[("if", &of_lock), ("timeout", "Second-3600")], "");
        assert_eq!(renewed.status(), 200);
        assert_eq!(status("UNLOCK", "/new.txt", &[("lock-token", &token)], b""), 204);
        assert_eq!(
            status("PUT", "/._new.txt", &[], b"attributes"),
            of_mac,
            "the file that Finder stores next to each file"
        );
        let to = ("destination", "http://localhost/renamed.txt");
        assert_eq!(status("MOVE", "/new.txt", &[to, ("overwrite", "F")], b""), 201);
        assert_eq!(status("DELETE", "/renamed.txt", &[], b""), 204);
    }
}

/// A client that synchronizes must not take a part of a folder for the whole.
#[test]
fn the_properties_of_too_many_entries_are_refused() {
    let folder = Folder::new(&[("few/x", "")]);
    fs::create_dir(folder.path("many")).unwrap();
    fs::write(folder.path("many/0"), "").unwrap();
    let make = |range: std::ops::Range<usize>| {
        range.for_each(|number| fs::write(folder.path(&format!("many/{number}")), "").unwrap());
    };
    make(1..100_000);
    let server = serve(folder.handler().webdav(true));
    let whole = propfind(&server, "/many/", "1");
    assert_eq!((whole.status().as_u16(), whole.text().matches("<D:response>").count()), (207, 100_001));
    make(100_000..100_001);
    let refused = propfind(&server, "/many/", "1");
    assert_eq!(refused.status().as_u16(), 507, "{refused:?}");
    assert!(refused.text().contains("<D:number-of-matches-within-limits/>"), "{refused:?}");
    for (target, depth) in [("/many/", "0"), ("/few/", "1"), ("/", "1")] {
        assert_eq!(propfind(&server, target, depth).status().as_u16(), 207, "{target} {depth}");
    }
}

/// No user of the machine gets more rights to a copy than to the original.
#[test]
fn copies_are_as_private_as_their_originals() {
    let mode = |folder: &Folder, path: &str| fs::metadata(folder.path(path)).unwrap().permissions().mode() & 0o777;
    for original in [0o600, 0o640, 0o644, 0o666, 0o700, 0o750, 0o755, 0o777] {
        let folder = Folder::new(&[("a", "a"), ("d/in/x", "x"), ("old", "old"), ("new", "")]);
        fs::create_dir(folder.path("new-folder")).unwrap();
        let (new_file, new_folder) = (mode(&folder, "new"), mode(&folder, "new-folder"));
        for path in ["a", "d/in/x", "d/in", "d"] {
            fs::set_permissions(folder.path(path), fs::Permissions::from_mode(original)).unwrap();
        }
        fs::set_permissions(folder.path("old"), fs::Permissions::from_mode(0o664)).unwrap();
        let replacing = Uploads::new().overwrite(Overwrite::Replace).delete(true);
        let server = serve(folder.handler().webdav(true).uploads(replacing));
        for (from, to, status) in [("/a", "/b", 201), ("/d", "/e", 201), ("/a", "/old", 204)] {
            let got = ask(&server, "COPY", from, &[("destination", to)], b"");
            assert_eq!(got.status().as_u16(), status, "{original:o} {from}: {got:?}");
        }
        let (file, whole) = (new_file & (original | 0o700), new_folder & (original | 0o700));
        let expected =
            [("b", file), ("e", whole), ("e/in", whole), ("e/in/x", file), ("old", 0o664 & (original | 0o700))];
        for (path, expected) in expected {
            let got = mode(&folder, path);
            assert_eq!(format!("{got:o}"), format!("{expected:o}"), "{path}, the original has {original:o}");
        }
    }
}
