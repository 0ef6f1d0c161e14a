//! Tokens for forms, with the layer `Csrf`.

use super::*;

/// A request of an old browser has neither `Sec-Fetch-Site` nor `Origin`.
#[test]
fn tokens_of_old_browsers() {
    let http = Http::new(app().layer(Csrf::new()).layer(Sessions::new(MemorySessions::new())));
    let form =
        |body: String| Request::post("/?user", body).with_header("content-type", "application/x-www-form-urlencoded");
    let mut ada = Browser::new(&http);
    assert_eq!(ada.ask(form("a=b".into())).status(), 200, "a program without a session needs no token");
    let token = ada.ask(Request::get("/?a=1&token")).text().to_owned();
    ada.expect("token", &token);
    for (request, status) in [
        (form("a=b".into()), 403),
        (form("csrf_token=".into()), 403),
        (form(format!("csrf_token={token}0")), 403),
        (form(format!("a=b&csrf_token={token}")), 200),
        (form(format!("a={}&csrf_token={token}", "b".repeat(1_000_000))), 200),
        (form(format!("a={}&csrf_token={token}", "b".repeat(1_100_000))), 403), // not read
        (form(format!("a={}", "b".repeat(1_100_000))).with_header("x-csrf-token", &token), 200),
        (Request::post("/", "{}").with_header("x-csrf-token", &token), 200),
        (Request::post("/", "{}").with_header("x-csrf-token", "x"), 403),
        (Request::post("/", "{}").with_header("sec-fetch-site", "same-origin"), 200),
        (form(format!("csrf_token={token}")).with_header("sec-fetch-site", "cross-site"), 403),
    ] {
        let shown = format!("{request:.200?}");
        assert_eq!(ada.ask(request).status(), status, "{shown}");
    }
    ada.expect("in=ada", "");
    assert_eq!(
        ada.ask(form(format!("csrf_token={token}"))).status(),
        403,
        "a token from before the login was accepted"
    );
}

/// Two pages of a session that show a token at the same time show the same one, even if no page had one before.
#[test]
fn pages_at_the_same_time_have_one_token() {
    let http = Http::new(app().layer(both()).layer(Csrf::new()).layer(Sessions::new(MemorySessions::new())));
    for begin in ["a=1", "in=ada", "a=1&token", "in=ada&renew", "flash=x&flashes&a=1"] {
        let mut ada = Browser::new(&http);
        assert_eq!(ada.ask(Request::get(&format!("/?{begin}"))).status(), 200);
        let page = || {
            let mut browser = Browser { cookie: ada.cookie.clone(), ..Browser::new(&http) };
            browser.ask(Request::get("/both?token")).text().to_owned()
        };
        let tokens =
            std::thread::scope(|scope| [scope.spawn(page), scope.spawn(page)].map(|page| page.join().unwrap()));
        for token in &tokens {
            let sent = ada.ask(Request::post("/?b=1", "").with_header("x-csrf-token", token));
            assert_eq!(sent.status(), 200, "{begin}: {tokens:?}");
        }
        ada.expect("renew", "");
        ada.expect("token", &tokens[0]); // pages in other tabs stay valid
        ada.expect("in=ada", "");
        assert_ne!(ada.ask(Request::get("/?token")).text(), tokens[0]);
    }
}

/// A form on a public page would otherwise begin a session for each visitor without a cookie.
#[test]
fn a_token_alone_begins_no_session() {
    let store = Arc::new(MemorySessions::new());
    let http = Http::new(app().layer(Csrf::new()).layer(Sessions::new(Arc::clone(&store))));
    let mut ada = Browser::new(&http);
    let token = ada.ask(Request::get("/?token")).text().to_owned();
    assert_eq!((token.len(), &ada.cookie, store.len()), (32, &None, 0));
    // A form without a session needs no token, and begins a session in which the next page has one.
    let form = |body: String| Request::post("/?a=1&token", body).with_header("x-csrf-token", "no session yet");
    let token = ada.ask(form(String::new())).text().to_owned();
    assert_eq!((ada.cookie.is_some(), store.len()), (true, 1));
    ada.expect("token", &token);
    assert_eq!(ada.ask(form(String::new())).status(), 403);
    // After a logout the token for the next form is in no session either.
    let out = ada.ask(Request::get("/?out&token"));
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0") && store.len() == 0, "{out:?}");
}

/// `Csrf` could not check their tokens.
#[test]
fn sessions_inside_csrf_are_refused() {
    let wrong = || app().layer(Sessions::new(MemorySessions::new())).layer(Csrf::new());
    let (http, server) = (Http::new(wrong()), testing::serve(wrong()));
    for body in ["", "a=b"] {
        assert_eq!(http.respond(&Request::post("/?a=1", body)).status(), 500, "{body:?}");
        let request = TestRequest::new(Method::POST, "/?a=1").with_body(body);
        assert_eq!(server.send(request.with_header("sec-fetch-site", "same-origin")).status(), 500, "{body:?}");
    }
    let sent = server.get("/?a=1");
    assert_eq!((sent.status().as_u16(), sent.header("set-cookie")), (500, None));
    // This `Csrf` checks the tokens of the outer sessions.
    let two = wrong().layer(Sessions::new(MemorySessions::new()).cookie_name("outer"));
    assert_eq!(Http::new(two).respond(&Request::get("/?a=1")).status(), 200);
}
