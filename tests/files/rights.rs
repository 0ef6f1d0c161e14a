//! Rights apply to the file that is read or written, under each of its names.

use std::collections::BTreeMap;
use std::fs;

use modest::layers::{BasicAuth, PathRights};
use modest::testing::{TestRequest, TestServer, serve};
use modest::{Access, Layer, Method, Overwrite, Request, RequestHandler, SentResponse, StaticFileHandler, Uploads};

use super::{Folder, STILL, wait_for_age};

/// Sets rights without checking the path, so that only the handler of files checks.
struct Only(Vec<(Access, &'static str)>);

impl Layer for Only {
    fn before_body(&self, request: &Request, _: &mut modest::BodyPlan) -> modest::Result<()> {
        let denied = self.0.clone();
        request.put(modest::Permissions::new("x", move |access, path| {
            !denied.iter().any(|(denied, at)| *denied == access && at.as_bytes() == path)
        }));
        Ok(())
    }
}

fn send(server: &TestServer, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> SentResponse {
    let request = TestRequest::new(method.parse::<Method>().unwrap(), target);
    let request = fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
    server.send(if matches!(method, "PUT" | "POST") { request.with_body(body) } else { request })
}

fn rules(rules: &[&str]) -> PathRights {
    rules.iter().fold(PathRights::new(), |rights, rule| rights.allow(rule.parse().unwrap()))
}

fn ada() -> BasicAuth {
    BasicAuth::new("files").user("ada", "a").optional(true)
}

const ADA: (&str, &str) = ("authorization", "Basic YWRhOmE=");

/// Each request is checked, even if everything is cached.
#[test]
fn reads_are_checked_at_the_path_found() {
    let folder = Folder::new(&[
        ("a.css", "plain"),
        ("index/index.html", "index"),
        ("about.html", "about"),
        ("404.html", "missing"),
        ("app.html", "app"),
        ("list/a", "a"),
        ("list/b", "b"),
    ]);
    folder.write("a.css.br", b"packed");
    wait_for_age(folder.as_ref(), STILL);
    use Access::{List, Read};
    for (denied, target, accept, expected) in [
        (&[][..], "/a.css", "br", "200 packed"),
        (&[(Read, "/a.css.br")], "/a.css", "br", "200 plain"),
        (&[(Read, "/a.css.br")], "/a.css", "br, identity;q=0", "406 "),
        (&[(Read, "/a.css.br")], "/a.css.br", "", "403 "),
        (&[(Read, "/a.css")], "/a.css", "br", "403 "),
        (&[], "/index/", "", "200 index"),
        (&[(Read, "/index/index.html")], "/index/", "", "403 "),
        (&[(Read, "/index/")], "/index/", "", "403 "),
        (&[], "/about", "", "200 about"),
        (&[(Read, "/about.html")], "/about", "", "403 "),
        (&[(Read, "/about.html")], "/about.html", "", "403 "),
        (&[(Read, "/no/such")], "/no/such", "", "403 "),
        (&[], "/no/such.css", "", "404 missing"),
        (&[(Read, "/404.html")], "/no/such.css", "", "404 "),
        (&[], "/route", "", "200 app"),
        (&[(Read, "/app.html")], "/route", "", "403 "),
        (&[(List, "/list")], "/list/", "", "200 app"), // a path of the app: nothing is listed
        (&[(List, "/list")], "/list/?format=json", "", "403 "),
        (&[(List, "/list")], "/list/?archive=tar", "", "403 "),
    ] {
        let handler = folder.handler().clean_urls(true).app_page("app.html").unwrap();
        let handler = handler.archives(true);
        let server = serve(handler.layer(Only(denied.to_vec())));
        for _ in 0..3 {
            let got = send(&server, "GET", target, &[("accept-encoding", accept)], b"");
            let has_own = got.status() == 200 || got.text().starts_with("missing");
            let text = if has_own { got.text() } else { "" };
            assert_eq!(format!("{} {text}", got.status().as_u16()), expected, "{target} {accept:?} {denied:?}");
            assert!(got.status() == 200 || got.header("etag").is_none(), "{got:?}");
        }
    }
}

#[test]
fn listed_entries_are_checked() {
    let folder = Folder::new(&[("open", "1"), ("closed", "SECRET"), ("in/deep", "2"), ("out/deep", "SECRET")]);
    let handler = folder.handler().webdav(true);
    let handler = handler.archives(true);
    let denied = vec![(Access::Read, "/closed"), (Access::List, "/out")];
    let server = serve(handler.layer(Only(denied)));
    for _ in 0..3 {
        for (method, target, fields) in [
            ("GET", "/", &[][..]),
            ("GET", "/?format=json", &[]),
            ("PROPFIND", "/", &[("depth", "1")]),
            ("GET", "/?archive=tar", &[]),
        ] {
            let got = send(&server, method, target, fields, b"");
            let text = String::from_utf8_lossy(got.body()).into_owned();
            assert!(text.contains("open") && !text.contains("closed") && !text.contains("SECRET"), "{target}: {text}");
        }
        for (method, target, fields, expected) in [
            ("PROPFIND", "/closed", &[("depth", "0")], 403),
            ("PROPFIND", "/out", &[("depth", "0")], 207),
            ("PROPFIND", "/out", &[("depth", "1")], 403),
        ] {
            assert_eq!(send(&server, method, target, fields, b"").status(), expected, "{target}");
        }
    }
}

/// A rule for one name of a file also holds for writes through its other names.
#[test]
fn writes_are_checked_by_every_name_of_a_file() {
    let folder = Folder::new(&[("a.txt", "a"), ("about.html", "about"), ("free", "x"), ("d/x", "x")]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true).resumable(4, STILL);
    let guarded = ["/=*:all", "/a.txt=ada:all", "/about=ada:all", "/d/secret=ada:all", "/photo (1).jpg=ada:all"];
    let server =
        serve(folder.handler().uploads(uploads).webdav(true).clean_urls(true).layer(rules(&guarded)).layer(ada()));
    let before = fs::read_dir(folder.as_ref()).unwrap().count();
    let range = ("content-range", "bytes 0-0/2");
    let form = ("content-type", "multipart/form-data; boundary=x");
    let body = |name: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=f; filename=\"{name}\"\r\n\r\nx\r\n--x--\r\n").into_bytes()
    };
    for name in [
        "a.txt",
        "a.txt.gz",
        "a.txt.br",
        "A.TXT.zst",
        "a.txt.gz.gz",
        "about",
        "about.html",
        "about.html.gz",
        "about.htm",
    ] {
        let at = format!("/{name}");
        for (method, target, fields, body) in [
            ("PUT", &at, &[][..], b"x".to_vec()),
            ("PUT", &format!("{at}?upload=0123456789abcdef"), &[range], b"x".to_vec()),
            ("PUT", &at, &[("upload-complete", "?0")], b"x".to_vec()),
            ("DELETE", &at, &[], Vec::new()),
            ("MKCOL", &at, &[], Vec::new()),
            ("LOCK", &at, &[], Vec::new()),
            ("UNLOCK", &at, &[("lock-token", "<urn:x>")], Vec::new()),
            ("MOVE", &at, &[("destination", "/y")], Vec::new()),
            ("MOVE", &"/free".to_owned(), &[("destination", &at)], Vec::new()),
            ("POST", &"/".to_owned(), &[form], body(name)),
            ("POST", &"/".to_owned(), &[form], body(&format!("{name}/x"))),
        ] {
            let got = send(&server, method, target, fields, &body);
            assert_eq!(got.status(), 401, "{method} {target} {fields:?} {name}: {}", got.text());
        }
    }
    // A move of a folder also moves all entries, so both their old and new paths are checked.
    for (from, to, expected) in [("/d", "/e", 401), ("/free", "/d", 401), ("/d/x", "/e", 201)] {
        assert_eq!(send(&server, "MOVE", from, &[("destination", to)], b"").status(), expected, "{from} {to}");
    }
    assert_eq!(fs::read_dir(folder.as_ref()).unwrap().count(), before + 1);
    assert_eq!(send(&server, "PUT", "/a.txt.gz", &[ADA], b"x").status(), 201);
    // It can also be listed at its new path.
    fs::create_dir(folder.as_ref().join("drop")).unwrap();
    fs::write(folder.as_ref().join("drop/x"), "x").unwrap();
    let unlisted = ["/=*:all", "/drop=*:read,write"];
    let server = serve(folder.handler().uploads(Uploads::new().delete(true)).webdav(true).layer(rules(&unlisted)));
    fs::create_dir(folder.as_ref().join("data")).unwrap();
    std::os::unix::fs::symlink("../data", folder.as_ref().join("drop/link")).unwrap();
    for (from, to, expected) in
        [("/drop", "/f", 403), ("/drop/", "/f/", 403), ("/drop/link", "/d/g", 403), ("/drop/x", "/y", 201)]
    {
        for method in ["COPY", "MOVE"] {
            assert_eq!(send(&server, method, from, &[("destination", to)], b"").status(), expected, "{method} {from}");
            let _ = fs::remove_file(folder.as_ref().join("y"));
        }
    }
    // The free name that replaces a taken one is checked as well.
    let renames = Uploads::new().overwrite(Overwrite::Rename);
    let server = serve(folder.handler().uploads(renames).layer(rules(&guarded)).layer(ada()));
    assert_eq!(send(&server, "PUT", "/photo.jpg", &[], b"x").status(), 201);
    assert_eq!(send(&server, "PUT", "/photo.jpg", &[], b"x").status(), 401);
}

/// The tag and the date of a file that a user may write but not read confirm nothing.
#[test]
fn conditions_reveal_nothing_to_write_only_users() {
    let folder = Folder::new(&[("there", "secret")]);
    wait_for_age(folder.as_ref(), STILL);
    for overwrite in [Overwrite::Refuse, Overwrite::Replace, Overwrite::Rename] {
        let uploads = Uploads::new().overwrite(overwrite).delete(true).resumable(64, STILL);
        let server = serve(folder.handler().uploads(uploads).webdav(true).layer(rules(&["/=*:write"])));
        let tag = serve(folder.handler()).get("/there").header("etag").unwrap().to_owned();
        let if_field = |tag: &str| format!("([{tag}])");
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for guess in [&*tag, "\"other\""] {
            for (name, value) in [
                ("if-match", guess.to_owned()),
                ("if-none-match", guess.to_owned()),
                ("if-none-match", format!("*, {guess}")),
                ("if", if_field(guess)),
                ("if", format!("(Not [{guess}])")),
            ] {
                for (method, target, more) in [
                    ("PUT", "/there", None),
                    ("PUT", "/there?upload=0123456789abcdef", Some(("content-range", "bytes 0-0/2"))),
                    ("PUT", "/there", Some(("upload-complete", "?0"))),
                ] {
                    let fields: Vec<_> = [(name, &*value)].into_iter().chain(more).collect();
                    let got = send(&server, method, target, &fields, b"x");
                    let kind = format!("{name} {} {target} {more:?}", value.replace(guess, ""));
                    seen.entry(kind).or_default().push(format!("{} {}", got.status(), got.text()));
                    folder.write("there", "secret");
                    let _ = fs::remove_file(folder.path("there (1)"));
                }
            }
        }
        for (kind, answers) in &seen {
            assert_eq!(answers[0], answers[1], "{overwrite:?} {kind}");
        }
        for date in ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2199 00:00:00 GMT"] {
            let got = send(&server, "PUT", "/there", &[("if-unmodified-since", date)], b"x");
            assert_eq!(got.status(), 403, "{date}");
        }
        // A user who may write there may learn whether the file exists.
        assert_eq!(send(&server, "PUT", "/new", &[("if-none-match", "*")], b"x").status(), 201);
        assert_eq!(send(&server, "PUT", "/there", &[("if-none-match", "*")], b"x").status(), 412);
        assert_eq!(send(&server, "DELETE", "/new", &[("if-match", "*")], b"").status(), 204);
    }
}

/// A certificate authority looks in this folder for proof of control over the host.
#[test]
fn uploads_to_well_known_are_rejected() {
    let names = [(".well-known/acme-challenge/x", "mine"), ("free", "x"), ("sub/x", "x"), ("sub/.well-known/x", "")];
    let folder = Folder::new(&names);
    std::os::unix::fs::symlink("sub/.well-known", folder.path("link")).unwrap();
    std::os::unix::fs::symlink(".well-known/acme-challenge", folder.path("own")).unwrap();
    let form = ("content-type", "multipart/form-data; boundary=x");
    for hidden in [false, true] {
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
        let server = serve(folder.handler().hidden(hidden).uploads(uploads.clone()).webdav(true));
        for at in [
            "/.well-known",
            "/.well-known/x",
            "/.well-known/acme-challenge/x",
            "/.WELL-Known/x",
            "/.well-%E2%84%AAnown/x",
            // Another place can serve this folder as its top.
            "/sub/.well-known/x",
            "/sub/.Well-Known/new/x",
            "/link/x",
            "/own/x",
        ] {
            if at == "/link/x" && !cfg!(any(all(target_os = "linux", not(modest_portable)), target_vendor = "apple")) {
                continue; // these systems do not know the path of an open folder
            }
            let name = at[1..].replace("%E2%84%AA", "\u{212a}");
            let body =
                format!("--x\r\nContent-Disposition: form-data; name=f; filename=\"{name}\"\r\n\r\nx\r\n--x--\r\n");
            for (method, target, fields, body) in [
                ("PUT", at, &[][..], b"x".to_vec()),
                ("MKCOL", at, &[], Vec::new()),
                ("DELETE", at, &[], Vec::new()),
                ("LOCK", at, &[], Vec::new()),
                ("MOVE", at, &[("destination", "/y")], Vec::new()),
                ("MOVE", "/free", &[("destination", at)], Vec::new()),
                ("MOVE", "/sub", &[("destination", at)], Vec::new()),
                ("POST", "/", &[form], body.into_bytes()),
            ] {
                let got = send(&server, method, target, fields, &body);
                assert_eq!(got.status(), 403, "{method} {target} {at} {hidden}: {}", got.text());
            }
        }
        assert_eq!(send(&server, "GET", "/.well-known/acme-challenge/x", &[], b"").text(), "mine");
        assert_eq!(send(&server, "PUT", "/well-known", &[], b"x").status().as_u16() / 100, 2);
        let mounted = serve(folder.handler().uploads(uploads).prefix("/.well-known").unwrap());
        assert_eq!(send(&mounted, "PUT", "/.well-known/free", &[], b"y").status(), 403);
    }
    assert!(StaticFileHandler::new(folder.path(".well-known")).is_ok());
}

/// Paths of another mount do not belong to this folder, even if the disk contains folders with these names.
#[test]
fn nothing_is_stored_at_unreachable_paths() {
    let folder = Folder::new(&[("free", "x"), ("b/here", "x"), ("sub/x", "x")]);
    let other = Folder::new(&[]);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    let routes = modest::Routes::new()
        .mount("/b", other.handler())
        .get("/route", |_, _| Ok(modest::Response::text("route")))
        .mount("/m", folder.handler().uploads(uploads.clone()))
        .fallback(folder.handler().uploads(uploads));
    let server = serve(routes.with_state(()));
    let form = ("content-type", "multipart/form-data; boundary=x");
    let part = |name: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=f; filename=\"{name}\"\r\n\r\nx\r\n--x--\r\n")
    };
    for (name, expected) in
        [("b/x", 409), ("b/here", 409), ("route", 409), ("m/x", 409), ("b", 409), ("bb/x", 303), ("new", 303)]
    {
        let got = send(&server, "POST", "/", &[form], part(name).as_bytes());
        assert_eq!(got.status(), expected, "{name}: {}", got.text());
    }
    assert_eq!(send(&server, "POST", "/m/", &[form], part("b/x").as_bytes()).status(), 303, "/m/b/x is this folder's");
    let at = format!("http://{}", server.address());
    for (from, to, expected) in [
        ("/free", "/b/x", 409),
        ("/free", "/b", 409),
        ("/free", "/route", 409),
        ("/free", "/m/x", 409),
        ("/m/free", "/x", 409),
        ("/sub", "/b/sub", 409),
        ("/free", &format!("{at}/b/x"), 502), // the host differs from the request's
        ("/free", "http://localhost/b/x", 409),
        ("/free", "http://localhost/%62/x", 409),
        ("/free", "/moved", 201),
        ("/m/moved", "/m/free", 201),
    ] {
        let got = send(&server, "MOVE", from, &[("destination", to)], b"");
        assert_eq!(got.status(), expected, "{from} {to}: {}", got.text());
    }
    assert!(folder.path("b/here").exists() && !folder.path("route").exists() && !folder.path("m").exists());
}
