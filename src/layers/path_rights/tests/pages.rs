//! Pages of folders by rights: controls for writing, and write-only folders.

use super::*;

/// Users without the right to write get no controls for writing.
#[test]
fn a_listing_offers_only_allowed_actions() {
    let folder = tempfile::tempdir().unwrap();
    let files = StaticFileHandler::new(folder.path()).unwrap().uploads(Uploads::new());
    let http = Http::new(files.layer(rights(&["/=*:read,list", "/=ada:all"])).layer(auth()));
    let mut tags = Vec::new();
    for (credentials, is_offered) in [(None, true), (Some(ADA), true), (Some("Basic ZXZlOnNlY3JldA=="), false)] {
        let request = Request::get("/").with_header("accept", "text/html");
        let sent =
            http.respond(&credentials.into_iter().fold(request, |it, value| it.with_header("authorization", value)));
        assert_eq!(
            (sent.status().as_u16(), sent.text().contains("multipart/form-data")),
            (200, is_offered),
            "{credentials:?}"
        );
        tags.push(sent.header("etag").unwrap().to_owned());
    }
    assert!(tags[0] == tags[1] && tags[1] != tags[2], "{tags:?}");
}

/// With a login, only users who can write get the form. Other users get the login button.
#[test]
fn a_listing_offers_to_log_in() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a b/c")).unwrap();
    let files = StaticFileHandler::new(folder.path()).unwrap().uploads(Uploads::new()).prefix("/p").unwrap();
    let http = Http::new(files.layer(rights(&["/p=*:read,list", "/p=ada:all"])).layer(auth().log_in_at("/p/")));
    let mut tags = Vec::new();
    for (credentials, form, account) in [
        (
            None,
            false,
            "<form action=\"../../\"><input type=hidden name=log-in value=\"a%20b/c/\"><button>Log in to upload<",
        ),
        (Some(ADA), true, "<form class=out method=post action=\"../../?log-out\"><span>ada</span><button>Log out<"),
        (Some(EVE), false, "<span>eve</span><button>Log out<"),
    ] {
        let request = Request::get("/p/a%20b/c/").with_header("accept", "text/html");
        let sent = http.respond(&credentials.iter().fold(request, |it, value| it.with_header("authorization", value)));
        let text = sent.text();
        assert_eq!(
            (sent.status().as_u16(), text.contains("multipart/form-data")),
            (200, form),
            "{credentials:?}: {text}"
        );
        assert!(text.contains(account), "{credentials:?}: {text}");
        tags.push(sent.header("etag").unwrap().to_owned());
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
}

/// The page of a write-only folder shows none of its content, and nothing in it can be read.
#[test]
fn a_write_only_folder_has_a_page() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("box/sub")).unwrap();
    fs::write(folder.path().join("box/secret"), "secret").unwrap();
    fs::write(folder.path().join("box/sub/index.html"), "secret").unwrap();
    fs::write(folder.path().join("index.html"), "secret").unwrap();
    let rules = ["/=*:none", "/box=*:write", "/more=*:write,read", "/box/no=*:none"];
    let files = StaticFileHandler::new(folder.path()).unwrap().uploads(Uploads::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let count = |calls: &Arc<AtomicUsize>| {
        let calls = Arc::clone(calls);
        move || {
            calls.fetch_add(1, Relaxed);
            Ok(Response::text("secret"))
        }
    };
    struct Named<F>(F);
    impl<F: Fn() -> crate::Result<Response> + Send + Sync + 'static> RequestHandler for Named<F> {
        fn do_get(&self, _: &Request) -> crate::Result<Response> {
            (self.0)()
        }
    }
    let (call, by_route) = (count(&calls), count(&calls));
    let routes = Routes::new().get("/{*rest}", move |_: &(), _: &_| by_route()).fallback(Named(count(&calls)));
    let http = Http::new(files.layer(rights(&rules)).layer(auth()));
    let plain = StaticFileHandler::new(folder.path()).unwrap();
    let (others, reading) =
        (Http::new(handler_fn(move |_| call()).layer(rights(&rules))), Http::new(plain.layer(rights(&rules))));
    let (named, routed) =
        (Http::new(Named(count(&calls)).layer(rights(&rules))), Http::new(routes.with_state(()).layer(rights(&rules))));
    for (target, accept, expected) in [
        ("/box/", "text/html", 200),
        ("/box/sub/", "text/html,*/*;q=0.8", 200),
        ("/box/sub/?sort=size&format=json", "text/html", 200),
        ("/box", "text/html", 301),
        ("/box/", "*/*", 403),
        ("/box/", "application/json", 403),
        ("/box/?archive=zip", "text/html", 403),
        ("/box/secret", "text/html", 403),
        ("/box/none", "text/html", 403),
        ("/box/none/", "text/html", 403),
        ("/box/no/", "text/html", 403),
        ("/box/sub/index.html", "text/html", 403),
        ("/", "text/html", 403),
    ] {
        let request = Request::get(target).with_header("accept", accept);
        let sent = http.respond(&request);
        assert_eq!(sent.status().as_u16(), expected, "{target} {accept}: {}", sent.text());
        assert!(!sent.text().contains(">secret"), "{target} {accept}: {}", sent.text());
        let is_page = sent.text().contains(" data-w method=post enctype=multipart/form-data");
        assert_eq!(is_page, expected == 200, "{target} {accept}: {}", sent.text());
        assert!(!matches!(expected, 200 | 301) || sent.header("vary").is_some_and(|vary| vary.contains("Accept")));
        // If a folder accepts no uploads, the page is not shown, and no other handler is called.
        assert_eq!(reading.respond(&request).status(), 403, "{target} {accept}");
        for status in
            [&others.respond(&request), &named.respond(&request), &routed.respond(&request)].map(|it| it.status())
        {
            assert_eq!((status.as_u16(), calls.load(Relaxed)), (403, 0), "{target} {accept}");
        }
    }
}

/// A handler for writers is called only for their page and for the state of uploads, and a response that is not for
/// writers is replaced.
#[test]
fn a_handler_for_writers_is_not_trusted() {
    struct Careless(AtomicUsize);
    impl RequestHandler for Careless {
        fn do_get(&self, request: &Request) -> crate::Result<Response> {
            self.0.fetch_add(1, Relaxed);
            if request.path() == "/none" {
                Err(crate::Error::new(crate::StatusCode::NOT_FOUND, ""))
            } else {
                Ok(Response::text("secret"))
            }
        }
        fn serves_writers(&self) -> bool {
            true
        }
    }
    let handler = Arc::new(Careless(AtomicUsize::new(0)));
    let http = Http::new(Arc::clone(&handler).layer(rights(&["/=*:write", "/closed=*:none"])));
    for (method, target, accept, other, status, is_called) in [
        ("GET", "/x", "text/html", None, 403, true),
        ("GET", "/x", "text/html;q=0.5", None, 403, true),
        ("GET", "/none", "text/html", None, 403, true),
        ("HEAD", "/x?upload=y", "*/*", None, 403, true),
        ("HEAD", "/none?upload=y", "*/*", None, 404, true),
        ("GET", "/none?upload=y", "*/*", None, 403, false),
        ("HEAD", "/none", "*/*", None, 403, false),
        ("GET", "/x", "*/*", None, 403, false),
        ("GET", "/x", "text/html;q=0", None, 403, false),
        ("GET", "/x", "text/html", Some(("upgrade", "websocket")), 403, false),
        ("GET", "/x", "text/html", Some(("content-length", "1")), 403, false),
        ("GET", "/closed", "text/html", None, 403, false),
    ] {
        let request = Request::new(method.parse().unwrap(), target).unwrap().with_header("accept", accept);
        let request = match other {
            Some(("content-length", _)) => request.with_body("x"),
            Some((name, value)) => request.with_header(name, value),
            None => request,
        };
        let before = handler.0.load(Relaxed);
        let found = (http.respond(&request).status().as_u16(), handler.0.load(Relaxed) > before);
        assert_eq!(found, (status, is_called), "{method} {target} {accept} {other:?}");
    }
}

/// A write-only user gets the offset of an upload, and no information about a file at its path.
#[test]
fn a_writer_can_query_upload_progress() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("there"), "secret").unwrap();
    let rules = ["/=*:write", "/no=*:none", "/read=*:read"];
    let uploads = Uploads::new().resumable(4, std::time::Duration::from_secs(60));
    let files = || StaticFileHandler::new(folder.path()).unwrap();
    let http = Http::new(files().uploads(uploads).layer(rights(&rules)));
    let begun = Request::new(Method::PUT, "/new").unwrap().with_header("upload-complete", "?0").with_body("abc");
    let begun = http.respond(&begun);
    let at = begun.header("location").unwrap_or_else(|| panic!("{}", begun.text())).to_owned();
    let taking_none = Http::new(files().layer(rights(&rules)));
    let head = |http: &Http<_>, target: &str| http.respond(&Request::new(Method::HEAD, target).unwrap());
    let found = head(&http, &at);
    assert_eq!((found.status().as_u16(), found.header("upload-offset")), (204, Some("3")));
    for (target, expected) in
        [("/there?upload=x", 404), ("/there", 403), ("/no/x?upload=x", 403), ("/read/x?upload=x", 403)]
    {
        assert_eq!(head(&http, target).status(), expected, "{target}");
    }
    for (target, expected) in [("/there?upload=x", 403), ("/there", 403)] {
        let found = taking_none.respond(&Request::new(Method::HEAD, target).unwrap());
        assert_eq!((found.status().as_u16(), found.header("etag")), (expected, None), "{target}");
    }
}
