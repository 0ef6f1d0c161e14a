//! Paths: a route, a mount, a layer and a handler see the same path for all its spellings.

use modest::{Error, Http, Request, RequestHandler, Response, Routes, UrlPath, handler_fn, layer_fn};

fn seen() -> impl RequestHandler {
    handler_fn(|request| {
        let mount = String::from_utf8_lossy(request.mount_path()).into_owned();
        Ok(Response::text(format!("{} {mount} {}", request.path(), request.original_path())))
    })
}

/// Spellings of this path, and of paths that lead nowhere.
fn spellings(path: &str) -> Vec<String> {
    let encoded: String =
        path.bytes().map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02x}") }).collect();
    let mut all = vec![path.to_owned(), encoded];
    for (at, _) in path.match_indices('/') {
        for inserted in ["/", "/.", "/x/..", "/%2e", "/%2E%2e/..", "/..", "%2f..", "/x%2f..", "\\..", "/;/.."] {
            all.push(format!("{}{inserted}{}", &path[..at], &path[at..]));
        }
    }
    all
}

/// A handler in a mount gets only the paths below the mount. So a layer around everything that checks `request.path()`
/// checks all paths that the handler sees.
#[test]
fn the_checked_path_is_the_served_path() {
    let guard = layer_fn(|request: &Request, next| match request.path().starts_with("/admin") {
        true => Err(Error::new(403, "")),
        false => next.run(request),
    });
    let app = Routes::<()>::new()
        .get("/admin/users", |_, _| Ok(Response::text("secret")))
        .get("/files/{*rest}", |_, request| Ok(Response::text(request.path_param::<String>("rest")?)))
        .mount("/admin", handler_fn(|_| Ok(Response::text("secret"))))
        .fallback(seen())
        .with_state(());
    let http = Http::new(app.layer(guard));
    for path in ["/admin/users", "/admin", "/admin/", "/files/a/b", "/x"] {
        for spelling in spellings(path) {
            for method in ["GET", "POST"] {
                let Ok(request) = Request::new(method.parse().unwrap(), &spelling) else { continue };
                let sent = http.respond(&request);
                let location = sent.header("location").unwrap_or_default();
                match sent.status().as_u16() {
                    301 => assert!(
                        method == "GET" && UrlPath::parse(location).is_ok(),
                        "{method} {spelling} is redirected to {location}"
                    ),
                    200 => assert!(
                        !sent.text().contains("secret") && !sent.text().contains(".."),
                        "{method} {spelling}: {sent:?}"
                    ),
                    400 | 403 | 404 | 405 => {}
                    _ => panic!("{method} {spelling}: {sent:?}"),
                }
            }
        }
    }
}

#[test]
fn a_mounted_handler_sees_its_own_root() {
    let inner = || Routes::new().get("/", |_: &(), _| Ok(Response::text("root"))).fallback(seen()).with_state(());
    let users = Routes::new().mount("/files/{folder}", inner());
    let app = Routes::<()>::new()
        .mount("/a", seen())
        .mount("/a/b", seen())
        .mount("/caf\u{e9}", seen())
        .mount("/deep", Routes::<()>::new().mount("/er", seen()).with_state(()))
        .mount("/routes", inner())
        .nest("/users/{id}", users)
        .mount("/{any}/fixed", seen())
        .fallback(seen())
        .with_state(());
    let http = Http::new(app);
    for (target, expected) in [
        ("/", "/  /"),
        ("/x/y", "/x/y  /x/y"),
        ("/a", "/ /a /a"),
        ("/a/", "/ /a /a/"),
        ("/a/x%20y", "/x y /a /a/x y"),
        ("/ab", "/ab  /ab"),
        ("/a/b/c", "/c /a/b /a/b/c"),
        ("/caf%C3%A9/x", "/x /caf\u{e9} /caf\u{e9}/x"),
        ("/deep/er/x", "/x /deep/er /deep/er/x"),
        ("/deep/x", ""),
        ("/routes", "root"),
        ("/routes/", "root"),
        ("/routes/x", "/x /routes /routes/x"),
        ("/users/7/files/of", "root"),
        ("/users/7/files/of/x/", "/x/ /users/7/files/of /users/7/files/of/x/"),
        ("/users/7/files", "/users/7/files  /users/7/files"),
        ("/q/fixed/x", "/x /q/fixed /q/fixed/x"),
    ] {
        let sent = http.respond(&Request::get(target));
        assert_eq!(if sent.status() == 200 { sent.text() } else { "" }, expected, "{target}: {sent:?}");
    }
}

/// Other paths that lead to the called handler: it checks writes to them.
#[test]
fn leads_here_finds_paths_to_the_same_handler() {
    let answer = || {
        handler_fn(|request| {
            let other = request.header("x-path").unwrap_or_default();
            Ok(Response::text(request.leads_here(&UrlPath::parse(other).unwrap()).to_string()))
        })
    };
    let app = Routes::<()>::new()
        .get("/metrics", |_, _| Ok(Response::text("")))
        .mount("/b", answer())
        .mount(
            "/m",
            Routes::<()>::new()
                .mount("/in", answer())
                .get("/route", |_, _| Ok(Response::text("")))
                .fallback(answer())
                .with_state(()),
        )
        .mount("/users/{id}", answer())
        .fallback(answer())
        .with_state(());
    let http = Http::new(app);
    for (path, other, expected) in [
        ("/a", "/c/d", "true"),
        ("/a", "/b", "false"),
        ("/a", "/b/c", "false"),
        ("/a", "/%62/c", "false"),
        ("/a", "/bc", "true"),
        ("/a", "/metrics", "false"),
        ("/a", "/metrics/x", "true"),
        ("/b/x", "/b/y", "true"),
        ("/b/x", "/b", "true"),
        ("/b/x", "/a", "false"),
        ("/m/x", "/m/y", "true"),
        ("/m/x", "/m/in/y", "false"),
        ("/m/x", "/m/route", "false"),
        ("/m/in/x", "/m/in/y", "true"),
        ("/m/in/x", "/m/y", "false"),
        ("/m/in/x", "/in/y", "false"),
        ("/users/7/x", "/users/7/y", "true"),
        ("/users/7/x", "/users/8/y", "false"),
    ] {
        let sent = http.respond(&Request::get(path).with_header("x-path", other));
        assert_eq!(sent.text(), expected, "from {path} to {other}");
    }
}

/// A move of a folder includes everything below it.
#[test]
fn leads_here_whole_includes_everything_beneath() {
    let answer = || {
        handler_fn(|request| {
            let other = request.header("x-path").unwrap_or_default();
            Ok(Response::text(request.leads_here_whole(&UrlPath::parse(other).unwrap()).to_string()))
        })
    };
    let app = Routes::<()>::new()
        .get("/a/metrics", |_, _| Ok(Response::text("")))
        .get("/api/{*rest}", |_, _| Ok(Response::text("")))
        .mount("/n/admin", answer())
        .mount("/users/{id}/files", answer())
        .fallback(answer())
        .with_state(());
    let http = Http::new(app);
    for (path, other, expected) in [
        ("/x", "/y", "true"),
        ("/x", "/n", "false"),
        ("/x", "/n/", "false"),
        ("/x", "/n/admin", "false"),
        ("/x", "/n/b", "true"),
        ("/x", "/a", "false"),
        ("/x", "/a/metrics", "false"),
        ("/x", "/users", "false"),
        ("/x", "/users/7", "false"),
        ("/x", "/users/7/x", "true"),
        ("/x", "/api", "false"),
        ("/x", "/", "false"),
        ("/n/admin/x", "/n/admin/y", "true"),
    ] {
        let sent = http.respond(&Request::get(path).with_header("x-path", other));
        assert_eq!(sent.text(), expected, "from {path} to {other}");
    }
}

#[test]
fn urls_of_this_server() {
    let request = Request::get("/sub%20folder/a").with_header("host", "here:8000");
    for (url, expected) in [
        ("/a%20b", "/a b"),
        ("http://here:8000/a", "/a"),
        ("http://HERE:8000/a", "/a"),
        ("http://HERE:8000/a?b", "400"),
        ("/a?b", "400"),
        ("/a?", "400"),
        ("/a#b", "400"),
        ("https://here:8000", "/"),
        ("http://here/a", "502"),
        ("http://other:8000/a", "502"),
        ("http://user@here:8000/a", "400"),
        ("ftp://here:8000/a", "400"),
        ("", "400"),
        // Relative to the path of the request, as in RFC 3986, section 5.2.
        ("b", "/sub folder/b"),
        ("b%20c/", "/sub folder/b c/"),
        ("./b", "/sub folder/b"),
        ("../b", "/b"),
        ("..", "/"),
        ("../../b", "400"),
        ("b?c", "400"),
        ("b#c", "400"),
        ("b c", "400"),
        ("c:b", "400"),
        ("?b", "400"),
        ("b%2Fc", "404"),
        ("/a b", "400"),
        ("/a\u{3000}", "400"),
        ("/a\u{a0}", "400"),
        ("/a/../b", "400"),
        ("/a%2Fb", "404"),
        ("/a%00", "400"),
    ] {
        let found = match request.path_of_url(url.as_bytes()) {
            Ok(path) => String::from_utf8_lossy(path.as_bytes()).into_owned(),
            Err(error) => error.status().as_str().to_owned(),
        };
        assert_eq!(found, expected, "{url}");
    }
}

/// Without strict paths, the part of the raw path that a mounted handler sees is the part that rights and routes have
/// seen, however the slashes are written.
#[test]
fn the_raw_path_in_a_mount_is_the_checked_path() {
    let seen = || handler_fn(|request| Ok(Response::text(format!("{}\n{}", request.path(), request.raw_path()))));
    let app = Routes::<()>::new().mount("/app", seen()).mount("/a/b c", seen()).fallback(seen()).with_state(());
    let http = Http::new(app).strict_paths(false);
    let slashes = ["/", "//", "%2F", "%2f", "/%2F", "%2f/", "%2F%2F"];
    for (names, mount) in [
        (&["app"][..], 1),
        (&["app", "public", "secret"], 1),
        (&["ap%70", "public%2Esecret"], 1),
        (&["a", "b%20c"], 2),
        (&["a", "b%20c", "public", "%25"], 2),
        (&["a", "app", "x"], 0),
        (&["public", "secret"], 0),
    ] {
        let choices = slashes.len().pow(names.len() as u32);
        for choice in 0..choices {
            for end in ["", "/", "%2F", "//"] {
                let slash = |at: usize| slashes[choice / slashes.len().pow(at as u32) % slashes.len()];
                let target: String = (0..names.len()).map(|at| format!("{}{}", slash(at), names[at])).collect();
                if !target.starts_with('/') {
                    continue; // not a path
                }
                let sent = http.respond(&Request::get(&(target.clone() + end)));
                assert_eq!(sent.status(), 200, "{target}{end}: {sent:?}");
                let (path, raw) = sent.text().split_once('\n').unwrap();
                let decoded = percent_decoded(raw);
                let mut merged: String =
                    decoded.split('/').filter(|name| !name.is_empty()).map(|name| format!("/{name}")).collect();
                if merged.is_empty() || decoded.ends_with('/') {
                    merged.push('/');
                }
                assert_eq!(merged, path, "{target}{end} in a mount of {mount} names: {raw}");
                let expected: String =
                    names[mount..].iter().map(|name| format!("/{}", percent_decoded(name))).collect();
                assert_eq!(path.trim_end_matches('/'), expected, "{target}{end}: {path}");
            }
        }
    }
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

/// In the first segment in which a route and a mount differ, fixed text has precedence over a name. Otherwise the route
/// has precedence.
#[test]
fn fixed_segments_have_precedence_over_names() {
    let mounted = |name: &'static str| {
        handler_fn(move |request: &Request| Ok(Response::text(format!("{name} {}", request.path()))))
    };
    let routed = |name: &'static str| move |_: &(), _: &Request| Ok(Response::text(name));
    let app = Routes::new()
        .mount("/m", mounted("m"))
        .mount("/m/{user}/n", mounted("m user n"))
        .mount("/{user}/box", mounted("user box"))
        .mount("/same", mounted("same"))
        .mount("/all/fixed", mounted("all fixed"))
        .get("/{slug}", routed("slug"))
        .get("/{a}/{b}", routed("a b"))
        .get("/{a}/box/{c}", routed("a box c"))
        .get("/m/fixed", routed("m fixed"))
        .get("/same", routed("same route"))
        .get("/all/{*rest}", routed("rest"))
        .mount("/all/{user}/box", mounted("all user box"))
        .mount("/x{slug}", mounted("x slug"))
        .mount("/{any}", mounted("any"))
        .mount("/y{slug}", mounted("y slug"))
        .with_state(());
    let http = Http::new(app);
    for (path, expected) in [
        ("/z", "slug"),
        ("/z/x/y", "any /x/y"),
        ("/x7", "x slug /"),
        ("/x7/a", "x slug /a"),
        ("/y7/a/b", "y slug /a/b"),
        ("/all/ada/box/x", "all user box /x"),
        ("/m", "m /"),
        ("/m/", "m /"),
        ("/m/x", "m /x"),
        ("/m/x/y", "m /x/y"),
        ("/m/fixed", "m fixed"),
        ("/m/ada/n/x", "m user n /x"),
        ("/m/box/x", "m /box/x"),
        ("/same/box", "same /box"),
        ("/z/y", "a b"),
        ("/ada/box", "user box /"),
        ("/ada/box/x", "a box c"),
        ("/ada/box/x/y", "user box /x/y"),
        ("/same", "same route"),
        ("/same/x", "same /x"),
        ("/all/x/y", "rest"),
        ("/all/fixed", "all fixed /"),
        ("/all/fixed/x", "all fixed /x"),
    ] {
        assert_eq!(http.respond(&Request::get(path)).text(), expected, "{path}");
    }
    assert_eq!(http.respond(&Request::post("/m", "")).text(), "m /", "the mount has all methods of its path");
}
