//! `ErrorPages`: the three forms, and their limits.

use sha2::{Digest, Sha256};

use super::*;
use crate::layers::JsonErrors;
use crate::{Http, RequestHandler, SentResponse, handler_fn};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn sent(accept: &str, make: impl Fn() -> Error + Send + Sync + 'static) -> SentResponse {
    let http = Http::new(handler_fn(move |_| Err(make())).layer(ErrorPages));
    http.respond(&Request::get("/a").with_header("accept", accept))
}

#[test]
fn error_pages_have_the_accepted_form() {
    let error = || Error::new(405, "Only <read>.").with_header("allow", "GET").with_header("vary", "Origin");
    for (accept, media_type, holds) in [
        ("*/*", "text/plain; charset=utf-8", "405 Method Not Allowed: Only <read>.\n"),
        (BROWSER, "text/html; charset=utf-8", "<h1>405 Method Not Allowed</h1>\n<p>Only &lt;read&gt;.</p>\n</main>\n"),
        ("application/json", "application/problem+json", "\"detail\":\"Only <read>.\""),
    ] {
        let sent = sent(accept, error);
        assert_eq!((sent.status().as_u16(), sent.header("allow")), (405, Some("GET")), "{accept}");
        assert_eq!(sent.header("content-type"), Some(media_type), "{accept}");
        assert_eq!(sent.header("vary"), Some("Origin, Accept"), "{accept}");
        assert!(sent.text().contains(holds), "{accept}: {}", sent.text());
        assert_eq!(sent.header("content-security-policy").is_some(), accept == BROWSER);
    }
}

/// The page of an error with clones is cached, separately for each form.
#[test]
fn clones_share_a_page_of_each_form() {
    let make = || Error::new(404, "no <note>").with_header("vary", "Origin").with_header("link", "<../>; rel=up");
    let kept = make();
    for time in 0..2 {
        for accept in [BROWSER, "*/*", "application/json", "text/html", "image/png"] {
            let (clone, alone) = (kept.clone(), sent(accept, make));
            let shared = sent(accept, move || clone.clone());
            assert_eq!(shared.status(), alone.status(), "{accept}, {time}");
            assert_eq!(shared.text(), alone.text(), "{accept}, {time}");
            for name in ["content-type", "vary", "link", "content-security-policy"] {
                assert_eq!(shared.header(name), alone.header(name), "{accept}, {time}: {name}");
            }
        }
    }
    let other = sent("*/*", move || kept.clone().with_message("another"));
    assert_eq!(other.text(), "404 Not Found: another\n", "a clone that was changed has its own page");
}

#[test]
fn pages_suggest_what_to_do() {
    for (error, expected) in [
        (Error::new(404, ""), "Check the spelling of the address."),
        (Error::new(503, "").with_header("retry-after", "1"), "Try again in a moment."),
        (Error::new(429, "").with_header("retry-after", "40"), "Try again in 40 seconds."),
        (Error::new(429, "").with_header("retry-after", "3750"), "Try again in 1 hour."),
        (Error::new(503, "").with_header("retry-after", "Fri, 20 Nov 2026 00:00:00 GMT"), "Try again later."),
        (Error::new(500, ""), "in the log of the server"),
    ] {
        assert!(html(&error, "").contains(expected), "{error}: {}", html(&error, ""));
    }
    assert!(!html(&Error::new(418, ""), "").contains("<p>"), "a status without a hint must have no text");
    for error in [
        Error::new(400, "a\\b: Names can't contain slashes or backslashes."),
        Error::new(413, "a.bin: Too large: at most 9.0 MiB."),
        Error::new(429, "Each client can add 10 MiB per 24 hours: try again in 25 hours.")
            .with_header("retry-after", "90000"),
    ] {
        assert_eq!(html(&error, "").matches("<p>").count(), 1, "{error}: the message already says it");
    }
    assert_eq!(text(&Error::new(599, "")), "599\n");
}

#[test]
fn the_link_stays_on_this_server() {
    for (link, expected) in [
        (&["<../>; rel=\"up\""][..], Some("../")),
        (&["</a>; rel=next", "<./>; rel=up"], Some("./")),
        (&["</x/>; title=x; rel=\"up\""], Some("/x/")),
        (&["<../>; rel=next"], None),
        (&["<//else.example/>; rel=up"], None),
        (&["<https://else.example/>; rel=up"], None),
        (&["<javascript:x>; rel=up"], None),
        (&["</\\else.example>; rel=up"], None),
        (&["../; rel=up"], None),
        (&[], None),
    ] {
        let error = link.iter().fold(Error::new(404, ""), |error, link| error.with_added_header("link", *link));
        assert_eq!(up(error.headers()), expected, "{link:?}");
        let shown = expected.map(|target| format!("<a href=\"{target}\">"));
        assert_eq!(html(&error, "").contains("<a "), shown.is_some(), "{link:?}");
        assert!(shown.is_none_or(|shown| html(&error, "").contains(&shown)), "{link:?}");
    }
    let quoted = Error::new(404, "").with_header("link", "<a\"onclick=x/>; rel=up");
    assert!(html(&quoted, "").contains("href=\"a&quot;onclick=x/\""), "{}", html(&quoted, ""));
}

/// Only the style with its hash is allowed. A policy of the error itself is not changed.
#[test]
fn the_policy_allows_the_style() {
    let sent = sent(BROWSER, || Error::new(404, "x"));
    let style = sent.text().split("<style>").nth(1).and_then(|rest| rest.split("</style>").next()).expect("a style");
    assert_eq!(style, CSS);
    let hash: String = base64(&Sha256::digest(style));
    assert!(POLICY.contains(&format!("style-src 'sha256-{hash}'")), "the policy must contain the hash {hash}");
    assert_eq!(sent.header("content-security-policy"), Some(POLICY));
    assert!(sent.text().len() < 2048 && !sent.text().contains("<script") && !sent.text().contains("//"));
    let of_log_out = POLICY_OF_LOG_OUT.replace("\\\n", "");
    for (name, content) in [("style", CSS), ("script", LOG_OUT)] {
        let hash: String = base64(&Sha256::digest(content));
        assert!(of_log_out.contains(&format!("{name}-src 'sha256-{hash}'")), "{name}: the policy must contain {hash}");
    }
    let own = self::sent(BROWSER, || Error::new(404, "").with_header("content-security-policy", "sandbox"));
    assert_eq!(own.header("content-security-policy"), Some("sandbox"));
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            text.push(if at <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

/// The page of a 401 has a link to log in, if there is a way to do so. The page of a 403 has the user's name and the
/// button Log out. Other forms of the error have neither.
#[test]
fn pages_of_401_and_403_have_the_account() {
    let send = |accept, status, log_in: bool, user: Option<&'static str>| {
        let kept = Error::new(status, "No.");
        let app = handler_fn(move |request| {
            if log_in {
                request.put_log_in("/p/");
            }
            user.map(crate::User::new).into_iter().for_each(|user| request.put(user));
            Err(kept.clone())
        });
        Http::new(app.layer(ErrorPages)).respond(&Request::get("/p/a%20b/c").with_header("accept", accept))
    };
    let link = "<a href=\"\">Log in</a>";
    let form = "action=\"../?log-out\"><p>You are logged in as <b>&lt;ada&gt;</b>. <button>Log out</button>";
    for (status, log_in, user, expected) in [
        (401, true, None, Some(link)),
        (401, false, None, None),
        (403, true, Some("<ada>"), Some(form)),
        (403, true, None, None),
        (403, false, Some("<ada>"), None),
        (404, true, Some("<ada>"), None),
    ] {
        let page = send(BROWSER, status, log_in, user);
        for part in [link, form] {
            assert_eq!(page.text().contains(part), expected == Some(part), "{status}, {user:?}: {}", page.text());
        }
        let policy = if expected == Some(form) { POLICY_OF_LOG_OUT } else { POLICY };
        assert_eq!(page.header("content-security-policy"), Some(policy), "{status}, {user:?}");
        assert!(page.text().len() < 2048, "{} bytes", page.text().len());
        assert!(!send("*/*", status, log_in, user).text().contains("Log"), "{status}, {user:?}");
    }
}

/// Errors of the server before any handler is called, such as for invalid heads.
#[test]
fn the_servers_own_errors() {
    let http = Http::new(handler_fn(|_| Ok(Response::text("hello"))).layer(ErrorPages));
    let sent = http.respond(&Request::get("/").with_header("accept", BROWSER).with_header("range", "bytes=9-"));
    assert_eq!((sent.status().as_u16(), sent.header("content-range")), (416, Some("bytes */5")));
    assert!(sent.text().contains("<h1>416 Range Not Satisfiable</h1>"), "{}", sent.text());
    let unread = ErrorPages.error_response(None, &Error::new(400, "no head")).expect("a page");
    assert_eq!(unread.into_bytes().unwrap(), b"400 Bad Request: no head\n");
}

/// Pages of an inner handler or layer have precedence.
#[test]
fn pages_of_inner_layers_are_kept() {
    let app = handler_fn(|_| Err(Error::new(404, ""))).layer(JsonErrors).layer(ErrorPages);
    let sent = Http::new(app).respond(&Request::get("/").with_header("accept", BROWSER));
    assert_eq!(sent.header("content-type"), Some("application/problem+json"));
}
