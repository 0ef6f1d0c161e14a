//! Tests of `path_rights`: rules, methods, and spellings that could bypass them.

mod pages; // listings, and pages of write-only folders

use std::fs;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::*;
use crate::layers::BasicAuth;
use crate::{
    Http, Method, Overwrite, Request, RequestHandler, Response, Routes, SentResponse, StaticFileHandler, Uploads,
    handler_fn,
};

fn rights(rules: &[&str]) -> PathRights {
    let rights = PathRights::new().group("staff", ["ada"]).group("guests", ["eve"]).group("staff", ["bob"]);
    rules
        .iter()
        .fold(rights, |rights, rule| rights.allow(rule.parse().unwrap_or_else(|error| panic!("{rule}: {error}"))))
}

/// Returns the rights of a user at a path, as letters.
fn shown(rights: &PathRights, user: Option<&str>, path: &str) -> String {
    let found = rights.0.rights(user, &Names::of(&UrlPath::from_decoded(path.as_bytes()).unwrap()));
    [(Access::Read, 'r'), (Access::List, 'l'), (Access::Write, 'w')]
        .into_iter()
        .map(|(access, letter)| if found.has(access) { letter } else { '-' })
        .collect()
}

#[test]
fn path_rules_decide_rights_per_user() {
    let rights = rights(&[
        "/=*:read,list",
        "/=@staff:write",
        "/inbox/=*:write",
        "/inbox=ada:all",
        "/staff=@staff:read",
        "/users=@users:all",
        "/closed=*:none",
        "/closed/open=*:read",
        "/a=b/c:d=eve:read",
        "/pages/secret.html=ada:read,list",
        "/book/index.html=ada:read,list",
        "/shelf/index.htm=*:list",
        "/shelf/index.htm=ada:read",
        "/pair=ada,eve:read",
        "/ordered=*:list,write,read",
        "/upper=@STAFF:read",
        "/Public=*:read",
        "/public=ada:read",
        "/clean=eve:read",
        "/only.gz=eve:read",
        "/my%20photos=ada:read",
        "/100%25=ada:read",
        "/f%C3%BCr=ada:read",
    ]);
    for (user, path, expected) in [
        (None, "/", "rl-"),
        (None, "/x/y", "rl-"),
        (Some("ada"), "/x", "rlw"),
        (Some("eve"), "/x", "rl-"),
        (None, "/inbox", "--w"),
        (None, "/inbox/x", "--w"),
        (Some("ada"), "/inbox/x", "rlw"),
        (Some("bob"), "/inbox/x", "--w"),
        (None, "/inboxes", "rl-"), // a name matches completely
        (None, "/staff", "---"),
        (Some("bob"), "/staff/x", "r--"),
        (Some("eve"), "/staff/x", "---"), // a member of another group
        (Some("Ada"), "/staff/x", "---"),
        (Some("ada"), "/upper", "---"),
        (Some("ada"), "/pair", "r--"),
        (Some("eve"), "/pair", "r--"),
        (None, "/ordered", "rlw"),
        (None, "/users/x", "---"),
        (Some("eve"), "/users/x", "rlw"),
        (Some("ada"), "/closed/x", "---"),
        (None, "/closed/open/x", "r--"),
        (None, "/a=b/c:d", "---"),
        (Some("eve"), "/a=b/c:d", "r--"),
        // The same page at another path.
        (None, "/pages/secret.html", "---"),
        (None, "/pages/secret", "---"),
        (None, "/other/secret", "rl-"),
        (Some("ada"), "/pages/secret", "rl-"),
        (Some("ada"), "/pages/other.html", "rlw"),
        (None, "/clean", "---"),
        (None, "/clean.html", "---"),
        (None, "/clean.html.gz", "---"),
        (None, "/clean.htm.br.zst", "---"),
        (Some("eve"), "/clean.html.gz", "r--"),
        (Some("ada"), "/clean.html.gz", "---"),
        (None, "/clean.htmlx", "rl-"),
        (None, "/clean/x", "---"),
        (None, "/only.gz", "---"),
        (None, "/only", "rl-"), // its folder may or may not exist
        (None, "/pages/secrets", "rl-"),
        (None, "/book", "-l-"),
        (None, "/book/two.html", "rl-"),
        (None, "/other/book", "rl-"),
        (Some("ada"), "/book", "rlw"),
        (None, "/shelf", "-l-"),
        (Some("ada"), "/shelf", "rlw"), // both rules for the page together
        // The same content, compressed.
        (None, "/pages/secret.html.gz", "---"),
        (None, "/pages/Secret.html.ZST", "---"),
        (Some("ada"), "/pages/secret.html.br", "rl-"),
        (Some("ada"), "/pages/secret.gz", "rl-"),
        (None, "/pages/secret.html.zip", "rl-"),
        (None, "/pages/secret.htm.gz", "rl-"),
        // Some file systems treat these names as equal.
        (None, "/Staff/x", "---"),
        (Some("ada"), "/STAFF/x", "r--"),
        (None, "/ſtaff/x", "---"),
        (None, "/staff./x", "---"),
        (None, "/sta\u{200d}ff/x", "---"),
        (None, "/INBOX/x", "---"), // at most the rights of its own path
        (None, "/Public", "---"),
        (Some("ada"), "/public", "r--"),
        (Some("Ada"), "/public", "---"),
        (Some("adam"), "/public", "---"),
        (None, "/PUBLIC", "---"), // both rules apply
        (None, "/PUBLIC/x", "---"),
        (Some("ada"), "/PUBLIC/x", "r--"),
        // As in the address bar.
        (None, "/my photos/x", "---"),
        (Some("ada"), "/my photos/x", "r--"),
        (None, "/100%/x", "---"),
        (Some("ada"), "/für", "r--"),
        (None, "/für", "---"),
    ] {
        assert_eq!(shown(&rights, user, path), expected, "{user:?} {path}");
    }
    let indexed = PathRights::new().allow("/=*:all".parse().unwrap()).allow("/Start.html=*:list".parse().unwrap());
    assert_eq!(shown(&indexed.clone().index(["START.html"]), None, "/"), "-lw", "in any letter case");
    assert_eq!(shown(&indexed, None, "/"), "rlw");
    assert_eq!(shown(&PathRights::new(), Some("ada"), "/"), "---", "without rules no one has rights");
    assert_eq!(
        rights.allow("/=@crew,ada,@users:read".parse().unwrap()).unknown_groups().collect::<Vec<_>>(),
        ["STAFF", "crew"]
    );
}

#[test]
fn invalid_rules_are_rejected() {
    for (rule, why) in [
        ("", "PATH=USERS:RIGHTS"),
        ("/a", "PATH=USERS:RIGHTS"),
        ("/a=b", "USERS:RIGHTS"),
        ("a=b:read", "must start with a slash"),
        ("=b:read", "must start with a slash"),
        ("/a//b=b:read", "without //"),
        ("/a/../b=b:read", "without //"),
        ("/./a=b:read", "without //"),
        ("/../a=b:read", "without //"),
        ("/100%=b:read", "two hexadecimal digits"),
        ("/a%4=b:read", "two hexadecimal digits"),
        ("/a%zz=b:read", "two hexadecimal digits"),
        ("/a%2fb=b:read", "two hexadecimal digits"),
        ("/a%€=b:read", "two hexadecimal digits"),
        ("/a%00=b:read", "two hexadecimal digits"),
        ("/a/%2e%2e/b=b:read", "without //"),
        ("/a=:read", "expected users"),
        ("/a=a,:read", "expected users"),
        ("/a=@:read", "after @"),
        ("/a=*x:read", "expected users"),
        ("/a=ada bob:read", "expected users"),
        ("/a=b:c:read", "expected users"),
        ("/a=b:", "expected rights"),
        ("/a=b:reads", "expected rights"),
        ("/a=b:read,", "expected rights"),
        ("/a=b:Read", "expected rights"),
        ("/a=b:none,read", "none without other rights"),
        ("/a=@users:all,none", "none without other rights"),
        ("/a=b:none,none", "none without other rights"),
    ] {
        let error = rule.parse::<PathRule>().expect_err(rule).to_string();
        assert!(error.contains(why), "{rule:?}: {error}");
    }
    let rule: PathRule = "/a=b:all".parse().unwrap();
    assert_eq!(rule.clone().beneath("/x/Y"), "/x/Y/a=b:all".parse().unwrap());
    assert_eq!(rule.clone().beneath(""), rule);
    for path in ["files", "/files//", "//files", "/files/../x", "/.."] {
        assert!(std::panic::catch_unwind(|| rule.clone().beneath(path)).is_err(), "{path}: the rule stays at /a");
        assert!(std::panic::catch_unwind(|| rule.clone().at(path)).is_err(), "{path}: the rule stays at /a");
    }
}

/// What programs ask of a rule.
#[test]
fn a_rule_describes_itself() {
    for (rule, path, users, groups, has_users, granted) in [
        ("/=*:none", "", &[][..], &[][..], false, [false, false, false]),
        ("/a%20b/ü/=ada,@crew,eve:read", "/a%20b/%C3%BC", &["ada", "eve"], &["crew"], true, [true, false, false]),
        ("/a=*,@users:list", "/a", &[], &[], true, [false, true, false]),
        ("/a=*,@staff:all", "/a", &[], &["staff"], true, [true, true, true]),
    ] {
        let parsed: PathRule = rule.parse().unwrap();
        assert_eq!(parsed.path(), path, "{rule}");
        assert!(parsed.users().eq(users.iter().copied()) && parsed.groups().eq(groups.iter().copied()), "{rule}");
        assert_eq!(parsed.has_users(), has_users, "{rule}");
        assert_eq!([Access::Read, Access::List, Access::Write].map(|access| parsed.grants(access)), granted, "{rule}");
    }
    for (name, expected) in [("ada", true), ("ada@home", true), ("", false), ("@staff", false), ("a,b", false)] {
        assert_eq!(PathRule::is_user_name(name), expected, "{name}");
    }
    let rule: PathRule = "/a/b=*:read".parse().unwrap();
    for (path, depth) in [("/a/b", Some(2)), ("/a/b/c/d", Some(2)), ("/a", None), ("/A/b", None), ("/a/bc", None)] {
        assert_eq!(rule.depth_for(path), depth, "{path}");
    }
}

#[test]
fn permissions_of_different_users_and_layers_differ() {
    let (one, other) = (rights(&["/=*:read", "/a=ada:read"]), rights(&["/=*:read", "/a=ada:read"]));
    let request = Request::get("/");
    let key = |rights: &PathRights, user| rights.permissions(&request, user).key().to_owned();
    let own = key(&one, Some("ada"));
    assert_eq!(own, key(&one, Some("ada")));
    for (rights, user) in [(&one, None), (&one, Some("eve")), (&other, Some("ada"))] {
        assert_ne!(own, key(rights, user), "{user:?}");
    }
    for (user, everything) in [(None, false), (Some("ada"), true)] {
        let found = one.permissions(&request, user);
        let permitted = (found.permit(Access::Read, b"/"), found.permit_all(Access::Read, b"/"));
        assert_eq!(permitted, (true, everything), "{user:?}");
    }
}

/// Rules apply to the part of a path after the mount. A handler can ask about any path of the server.
#[test]
fn rules_begin_after_the_mount() {
    let rules = rights(&["/=*:read", "/d=*:all"]);
    let asked = [(Access::Write, "/d/d/x"), (Access::Write, "/d/x"), (Access::Read, "/x"), (Access::Read, "/d/../d")];
    let show = move |request: &Request| {
        let permitted = asked.map(|(access, path)| request.permits(access, path.as_bytes()));
        Ok(Response::text(format!("{permitted:?}")))
    };
    let http = Http::new(Routes::new().mount("/d", handler_fn(show).layer(rules)).with_state(()));
    for (method, target, destination, status) in [
        ("GET", "/d/x", None, 200),
        ("PUT", "/d/x", None, 403),
        ("PUT", "/d/d/x", None, 200),
        ("MOVE", "/d/d/x", Some("/d/d/y"), 200),
        ("MOVE", "/d/d/x", Some("/d/y"), 403),
        ("MOVE", "/d/d/x", Some("/y"), 409),
    ] {
        let request = Request::new(method.parse().unwrap(), target).unwrap();
        let request = destination.into_iter().fold(request, |request, to| request.with_header("destination", to));
        let sent = http.respond(&request);
        assert_eq!(sent.status(), status, "{method} {target} {destination:?}");
        assert!(status != 200 || sent.text() == "[true, false, false, false]", "{method} {target}: {}", sent.text());
    }
}

/// An inner layer can't allow anything that an outer one forbids, not even in listings and archives.
#[test]
fn nested_layers_must_all_allow_an_access() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.txt", "b.txt", "c.txt"] {
        fs::write(folder.path().join(name), "text").unwrap();
    }
    let (one, other) = (["/=*:read,list", "/a.txt=ada:all"], ["/=*:read,list", "/b.txt=*:none"]);
    for (outer, inner) in [(&one, &other), (&other, &one)] {
        let files = StaticFileHandler::new(folder.path()).unwrap();
        let http = Http::new(files.layer(rights(inner)).layer(rights(outer)).layer(auth()));
        let get = |target: &str, credentials: Option<&str>| {
            let request = Request::get(target).with_header("accept", "application/json");
            http.respond(&credentials.into_iter().fold(request, |it, value| it.with_header("authorization", value)))
        };
        for (target, expected) in [("/a.txt", [false, true]), ("/b.txt", [false, false]), ("/c.txt", [true, true])] {
            let got = [None, Some(ADA)].map(|who| get(target, who).status().is_success());
            assert_eq!(got, expected, "{target} {outer:?} {inner:?}");
        }
        for (who, shown) in [(None, [false, false, true]), (Some(ADA), [true, false, true])] {
            let listing = get("/", who);
            assert_eq!(["a.txt", "b.txt", "c.txt"].map(|name| listing.text().contains(name)), shown, "{listing:?}");
        }
    }
}

const EVE: &str = "Basic ZXZlOnNlY3JldA==";
const ADA: &str = "Basic YWRhOnNlY3JldA==";

fn auth() -> BasicAuth {
    BasicAuth::new("r").user("ada", "secret").user("eve", "secret").optional(true)
}

/// A 401 has a challenge (RFC 9110, section 15.5.2). A session has none, so without `BasicAuth` a login does not help.
#[cfg(feature = "sessions")]
#[test]
fn every_401_has_a_challenge() {
    use crate::layers::{MemorySessions, Sessions};
    let sessions = || Sessions::new(MemorySessions::new());
    let app = || handler_fn(|_| Ok(Response::text("done"))).layer(rights(&["/=ada:all"]));
    let apps: [(Box<dyn RequestHandler>, u16); 4] = [
        (Box::new(app().layer(sessions())), 403),
        (Box::new(app().layer(auth())), 401),
        (Box::new(app().layer(sessions()).layer(auth())), 401),
        (Box::new(app().layer(auth()).layer(sessions())), 401),
    ];
    for (at, (app, expected)) in apps.into_iter().enumerate() {
        let sent = Http::new(app).respond(&Request::get("/x"));
        let found = (sent.status().as_u16(), sent.header("www-authenticate").is_some());
        assert_eq!(found, (expected, expected == 401), "row {at}");
    }
}

#[test]
fn each_method_needs_its_right() {
    let rules = ["/=*:read,list", "/=ada:all", "/d=*:read", "/w=*:write", "/deep=ada:all", "/deep/kept=ada:read"];
    let partly = ["/p=*:all", "/p/listed=*:list,write", "/q=*:all", "/q/unlisted=*:read,write"];
    let rules = [&rules[..], &partly].concat();
    let app = handler_fn(|_| Ok(Response::text("done"))).layer(rights(&rules)).layer(auth());
    let http = Http::new(app);
    for (method, target, fields, nobody, ada) in [
        ("GET", "/x", &[][..], 200, 200),
        ("HEAD", "/x", &[], 200, 200),
        ("GET", "/w/x", &[], 401, 403),
        ("HEAD", "/w/x", &[], 401, 403),
        ("OPTIONS", "/w/x", &[], 200, 200),
        ("OPTIONS", "/deep/x", &[], 401, 200),
        ("PUT", "/x", &[], 401, 200),
        ("PUT", "/w/x", &[], 200, 200),
        ("POST", "/d", &[], 401, 403),
        ("PATCH", "/x", &[], 401, 200),
        ("MKCOL", "/x", &[], 401, 200),
        ("PROPPATCH", "/x", &[], 401, 200),
        ("LOCK", "/x", &[], 401, 200),
        ("WHATEVER", "/x", &[], 401, 200),
        ("get", "/x", &[], 401, 200),
        ("DELETE", "/x", &[], 401, 200),
        ("DELETE", "/deep", &[], 401, 403), // the folder contains protected files
        ("DELETE", "/DEEP", &[], 401, 403),
        ("DELETE", "/deep/x", &[], 401, 200),
        ("DELETE", "/deep/kept", &[], 401, 403),
        ("DELETE", "/", &[], 401, 403),
        ("GET", "/d", &[], 200, 200),
        ("GET", "/d?archive=zip", &[], 401, 403),
        ("GET", "/d?%61rchive=zip", &[], 401, 403),
        ("HEAD", "/d?archive=zip", &[], 401, 403),
        ("GET", "/p/listed?archive=zip", &[], 401, 403),
        ("GET", "/x?archive=zip", &[], 200, 200),
        ("GET", "/deep?archive=zip", &[], 401, 200), // the archive leaves out the protected files
        ("PROPFIND", "/d", &[("depth", "0")], 200, 200),
        ("PROPFIND", "/d", &[("depth", "1")], 401, 403),
        ("PROPFIND", "/d", &[], 401, 403),
        ("PROPFIND", "/", &[("depth", "1")], 200, 200),
        ("PROPFIND", "/w", &[("depth", "0")], 401, 403),
        ("PROPFIND", "/d", &[("depth", "0"), ("depth", "infinity")], 401, 403),
        ("PROPFIND", "/p/listed", &[("depth", "1")], 401, 403),
        ("PROPFIND", "/p/listed", &[], 401, 403),
        ("PROPFIND", "/p", &[], 401, 403),
        ("PROPFIND", "/q", &[], 401, 403),
        ("PROPFIND", "/q/x", &[], 200, 200),
        ("PROPFIND", "/", &[("depth", "1"), ("depth", "infinity")], 401, 403),
        ("PROPFIND", "/", &[("depth", "infinity")], 401, 403),
        ("MOVE", "/x", &[("destination", "/y")], 401, 200),
        ("MOVE", "/x", &[("destination", "http://h/deep/x")], 401, 200),
        ("MOVE", "/x", &[("destination", "http://h/deep/%6bept")], 401, 403),
        ("MOVE", "/x", &[("destination", "http://h/d")], 401, 403),
        ("MOVE", "/x", &[("destination", "http://h/y/../d")], 400, 400),
        ("MOVE", "/x", &[("destination", "http://other/d")], 502, 502),
        ("MOVE", "/x", &[("destination", "/deep/kept%E3%80%80")], 401, 200), // another name: this space is not removed
        ("MOVE", "/x", &[("destination", "/deep/kept\u{3000}")], 400, 400),
        ("MOVE", "/deep", &[("destination", "/y")], 401, 403),
        ("MOVE", "/w/x", &[("destination", "/w/y")], 401, 403), // the user could read it at the destination
        ("MOVE", "/w/x", &[("destination", "/y")], 401, 403),
        ("MOVE", "/q/unlisted", &[("destination", "/w/y")], 200, 200),
        ("MOVE", "/q/unlisted/", &[("destination", "/w/y")], 401, 403), // its names could be listed there
        ("MOVE", "/q", &[("destination", "/w/y")], 200, 200),
        ("MOVE", "/q/", &[("destination", "/w/y")], 401, 403),
        ("MOVE", "/p", &[("destination", "/w/y")], 401, 403),
        ("COPY", "/x", &[("destination", "/deep")], 401, 403),
        ("COPY", "/d", &[("destination", "/w/x")], 200, 200),
        ("COPY", "/w", &[("destination", "/y")], 401, 403),
        ("COPY", "/x", &[("destination", "y")], 401, 200),
        ("COPY", "/x", &[("destination", "y:z")], 400, 400),
        ("COPY", "/x", &[("destination", "/y?z")], 400, 400),
        ("COPY", "/x", &[], 400, 400),
        ("COPY", "/x", &[("destination", "/a"), ("destination", "/d")], 400, 400),
        ("copy", "/x", &[("destination", "/y")], 401, 200), // an application may support this method
        ("copy", "/x", &[("destination", "/deep/kept")], 401, 403),
        ("Move", "/w/x", &[("destination", "/y")], 401, 403),
        ("POST", "/x", &[("destination", "/a"), ("destination", "/b")], 400, 400),
        ("POST", "/w/x", &[("x-http-method-override", "PUT")], 200, 200),
        ("POST", "/w/x", &[("x-http-method-override", "GET")], 401, 403),
        ("POST", "/w/x", &[("x-http-method-override", "POST"), ("X_HTTP-Method.Override", "get")], 401, 403),
        ("POST", "/w/x", &[("x-method", "put, HEAD")], 401, 403),
        ("POST", "/w/x?a=b&_method=get", &[], 401, 403),
        ("POST", "/w/x?.method=get", &[], 401, 403),
        ("POST", "/w/x?%5Bmethod=get", &[], 401, 403),
        ("POST", "/w/x?%20_method%00a=get", &[], 401, 403),
        ("POST", "/w/x?x_method=get", &[], 200, 200),
        ("POST", "/w/x", &[("x-http-method", "MOVE")], 400, 400),
        ("POST", "/w/x", &[("x-http-method", "MOVE"), ("destination", "/w/y")], 401, 403),
        ("POST", "/deep", &[("x-method-override", "DELETE")], 401, 403),
        ("POST", "/deep", &[("x-method-override", " delete")], 401, 403),
        ("POST", "/x", &[("x-method", "a,b,c,d,e,f,g,h")], 401, 200),
        ("POST", "/x", &[("x-method", "a,b,c,d,e,f,g,h,i")], 400, 400),
        ("POST", "/deep", &[("x-method", "a,b,c,d,e,f,g,DELETE")], 401, 403),
        ("POST", "/deep", &[("x-other", "DELETE")], 401, 200),
        ("PUT", "/deep", &[("x-method-override", "DELETE")], 401, 403),
        ("GET", "/d", &[("x-method-override", "DELETE")], 401, 403),
        ("GET", "/d?_method=DELETE", &[], 401, 403),
        ("GET", "/%00", &[], 400, 400),
        ("GET", "/../x", &[], 400, 400),
    ] {
        for (credentials, status) in [(None, nobody), (Some(ADA), ada)] {
            let request = Request::new(Method::from_bytes(method.as_bytes()).unwrap(), target).unwrap();
            let request = request.with_header("host", "h");
            let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, value));
            let request = credentials.into_iter().fold(request, |request, it| request.with_header("authorization", it));
            assert_eq!(http.respond(&request).status(), status, "{method} {target} {fields:?} {credentials:?}");
        }
    }
    // No rule is about the server itself.
    let http = Http::new(handler_fn(|_| Ok(Response::text("done"))).layer(rights(&["/x=*:read"])));
    assert_eq!(http.respond(&Request::new(Method::OPTIONS, "*").unwrap()).status(), 204);
    // Without users there is no login.
    let http = Http::new(handler_fn(|_| Ok(Response::text("done"))).layer(rights(&["/=*:read"])));
    assert_eq!(http.respond(&Request::post("/", "")).status(), 403);
}

/// Some servers treat `/a;b` as `/a`, and delete it with everything below it.
#[test]
fn parameters_in_a_path_add_no_rights() {
    let rules = ["/=*:all", "/api/priv=*:none", "/read=*:read", "/read;all=*:all", "/open;shut=*:none"];
    let http = Http::new(handler_fn(|_| Ok(Response::text("done"))).layer(rights(&rules)));
    for (method, target, expected) in [
        ("GET", "/api/priv", 403),
        ("GET", "/api/priv;a=b", 403),
        ("GET", "/api;a/priv/x", 403),
        ("GET", "/;a/api/PRIV;b/x", 403),
        ("GET", "/api/priv%3ba", 403),
        ("GET", "/api/pri;v", 200),
        ("GET", "/api/x;priv", 200),
        ("PUT", "/read;all/x", 403),
        ("GET", "/read;all/x", 200),
        ("GET", "/open", 200),
        ("GET", "/open;shut", 403),
        ("DELETE", "/api", 403),
        ("DELETE", "/api;a", 403),
        ("DELETE", "/other;a", 200),
    ] {
        let request = Request::new(method.parse().unwrap(), target).unwrap();
        assert_eq!(http.respond(&request).status(), expected, "{method} {target}");
    }
}

/// Attempts to read a part of a folder that only `ada` can read.
#[test]
fn no_spelling_gets_around_a_rule() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("open/a.txt", "open"),
        ("private/key.txt", "SECRET"),
        ("private/index.html", "SECRET"),
        ("private.html", "page"),
        ("drafts/x.txt", "SECRET"),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let rules = ["/=*:read,list", "/private=ada:read,list", "/drafts=*:read"];
    for clean in [false, true] {
        let files = StaticFileHandler::new(folder.path()).unwrap().clean_urls(clean);
        let http = Http::new(files.layer(rights(&rules)).layer(auth()));
        let get = |target: &str| -> Vec<SentResponse> {
            [None, Some("application/json")]
                .into_iter()
                .filter_map(|accept| {
                    let request = Request::new(Method::GET, target).ok()?;
                    Some(http.respond(&accept.into_iter().fold(request, |it, accept| it.with_header("accept", accept))))
                })
                .collect()
        };
        assert_eq!(get("/open/a.txt")[0].text(), "open");
        for target in [
            "/private",
            "/private/",
            "/private/key.txt",
            "/private/index.html",
            "//private/key.txt",
            "/./private/key.txt",
            "/%2e/private/key.txt",
            "/open/../private/key.txt",
            "/open/%2e%2e/private/key.txt",
            "/open/.%2E/private/key.txt",
            "/open/..//private//key.txt",
            "/open%2f..%2fprivate/key.txt",
            "/%70rivate/key.txt",
            "/private%2Fkey.txt",
            "/private/%6bey.txt",
            "/priv%61te/",
            "/private/./key.txt",
            "/private//key.txt",
            "/private/x/../key.txt",
            "/private/key.txt/",
            "/private/key.txt/.",
            "/private/key.txt?x",
            "/private/key.txt?archive=zip",
            "/private/?format=json",
            "/private/?sort=name&format=json",
            "http://h/private/key.txt",
            "http://h//private/key.txt",
            "/Private/key.txt",
            "/PRIVATE/key.txt",
            "/private./key.txt",
            "/%2570rivate/key.txt",
            "/private;x/key.txt",
            "/private\\key.txt",
            "/..%5cprivate/key.txt",
            "/private%00/key.txt",
        ] {
            for sent in get(target) {
                let said = format!("{target}: {} {}", sent.status(), sent.text());
                assert!(!sent.text().contains("SECRET") && !sent.text().contains("key.txt</a>"), "{said}");
                assert!(sent.status() != 200, "{said}");
            }
        }
        // A listing needs its own right, in each form, and contains only readable entries.
        for sent in get("/drafts/").into_iter().chain(get("/drafts/?format=json")) {
            assert_eq!((sent.status().as_u16(), sent.header("www-authenticate").is_some()), (401, true));
        }
        assert_eq!(get("/drafts/x.txt")[0].text(), "SECRET", "the file can be read under its own name");
        for sent in get("/").into_iter().chain(get("/?format=json")) {
            let text = sent.text();
            assert!(text.contains("open") && text.contains("drafts") && !text.contains("private/"), "{text}");
        }
        let ada = http.respond(&Request::get("/").with_header("authorization", ADA));
        assert!(ada.text().contains("private/") && ada.header("cache-control") == Some("private, no-cache"), "{ada:?}");
        let key = http.respond(&Request::get("/private/key.txt").with_header("authorization", ADA));
        assert_eq!((key.text(), key.header("vary")), ("SECRET", Some("Authorization")));
    }
}

/// The names in a form are checked like requested paths.
#[test]
fn names_in_a_form_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["kept.txt", "private/key.txt"] {
        fs::create_dir_all(folder.path().join("in/private")).unwrap();
        fs::write(folder.path().join("in").join(path), "kept").unwrap();
    }
    let uploads = Uploads::new().overwrite(Overwrite::Replace);
    let files = StaticFileHandler::new(folder.path()).unwrap().uploads(uploads).prefix("/at").unwrap();
    let rules = ["/at=*:all", "/at/in/kept.txt=ada:all", "/at/in/private=ada:all", "/at/in/made=ada:all"];
    let http = Http::new(files.layer(rights(&rules)).layer(auth()));
    let send = |field: &str, name: &str, credentials: Option<&str>| {
        let file = if name.is_empty() { String::new() } else { format!("; filename=\"{name}\"") };
        let (field, text) = field.split_once('=').unwrap_or((field, "new"));
        let body = format!("--x\r\nContent-Disposition: form-data; name=\"{field}\"{file}\r\n\r\n{text}\r\n--x--\r\n");
        let request = Request::post("/at/in/", body).with_header("content-type", "multipart/form-data; boundary=x");
        let request = request.with_header("host", "h");
        let request = credentials.into_iter().fold(request, |request, it| request.with_header("authorization", it));
        http.respond(&request).status().as_u16()
    };
    for (field, name, nobody, ada) in [
        ("file", "new.txt", 303, 303),
        ("file", "kept.txt", 401, 303),
        ("file", "KEPT.txt", 401, 303),
        ("file", "private/key.txt", 401, 303),
        ("file", "private/new.txt", 401, 303),
        ("folder=made", "", 401, 303),
    ] {
        assert_eq!((send(field, name, None), send(field, name, Some(ADA))), (nobody, ada), "{field} {name}");
    }
}

/// Each of several layers must allow an access, even to a handler that checks no rights itself.
#[test]
fn an_inner_layer_gives_no_rights_that_an_outer_one_denies() {
    let secret = || handler_fn(|_| Ok(Response::text("secret")));
    for (inner, outer) in [("/=*:all", "/=*:write"), ("/=*:write", "/=*:all"), ("/=*:write", "/=*:write")] {
        let http = Http::new(secret().layer(rights(&[inner])).layer(rights(&[outer])));
        let request = Request::get("/").with_header("accept", "text/html");
        for _ in 0..2 {
            assert_eq!(http.respond(&request).status(), 403, "{inner} in {outer}");
        }
    }
}
