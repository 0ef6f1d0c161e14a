//! The shortener over sockets, as its users use it.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::path::Path;
use std::process::Command;

use built::{Answer, Built};

fn start(folder: &Path) -> Built {
    let file = folder.join("links.db");
    Built::start(Command::new(env!("CARGO_BIN_EXE_shortener")).arg("127.0.0.1:0").arg(file))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const JSON: &str = "Content-Type: application/json";

#[test]
fn links_are_made_followed_counted_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let shortener = start(folder.path());
    let made = shortener.ask("POST", "/links", &[JSON], r#"{"url": "https://example.org/a?b=1&c=2"}"#);
    assert_eq!(made.status, 201, "{made:?}");
    let link: serde_json::Value = serde_json::from_str(&made.body).unwrap();
    let path = made.field("location").unwrap().to_owned();
    assert_eq!(path, format!("/{}", link["code"].as_str().unwrap()));
    assert_eq!((&link["url"], &link["visits"]), (&"https://example.org/a?b=1&c=2".into(), &0.into()));
    for _ in 0..3 {
        let answer = shortener.get(&path);
        assert_eq!(
            (answer.status, answer.field("location")),
            (302, Some("https://example.org/a?b=1&c=2")),
            "{answer:?}"
        );
    }
    let (status, _, _) = shortener.stop();
    assert!(status.success());

    let shortener = start(folder.path());
    assert_eq!(shortener.get(&path).status, 302, "a restart keeps links");
}

/// The cookie that a response sets.
fn cookie(answer: &Answer) -> String {
    let cookie = answer.field("set-cookie").unwrap_or_else(|| panic!("no cookie: {answer:?}"));
    format!("Cookie: {}", cookie.split(';').next().unwrap())
}

#[test]
fn a_form_redirects_back_to_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let shortener = start(folder.path());
    let page = shortener.get("/");
    assert_eq!(page.field("set-cookie"), None, "a form alone begins no session");
    let token = page.body.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!("csrf_token={token}&url=http%3A%2F%2Fexample.org%3Fa%26b");
    let made = shortener.ask("POST", "/links", &[FORM], &body);
    assert_eq!((made.status, made.field("location")), (303, Some("/")), "{made:?}");
    let cookie = cookie(&made);
    let row = "<td>http://example.org/?a&amp;b<td>0\n";
    let page = shortener.ask("GET", "/", &[&cookie], "");
    assert!(page.body.contains(row) && page.body.contains(" is made.</p>"), "{page:?}");
    let again = shortener.ask("GET", "/", &[&cookie], "");
    assert!(again.body.contains(row) && !again.body.contains(" is made."), "a message is shown once: {again:?}");
    assert!(!shortener.get("/").body.contains("<td>"), "the links of others are not shown");
    for fields in
        [&[FORM, &cookie][..], &[FORM, &cookie, "Sec-Fetch-Site: cross-site"], &[JSON, &cookie, "Origin: null"]]
    {
        let answer = shortener.ask("POST", "/links", fields, "url=http%3A%2F%2Fexample.org");
        assert_eq!(answer.status, 403, "{fields:?}: {answer:?}");
    }
    let (status, _, _) = shortener.stop();
    assert!(status.success());
    let page = start(folder.path()).ask("GET", "/", &[&cookie], "");
    assert!(page.body.contains(row), "a restart keeps sessions: {page:?}");
}

#[test]
fn invalid_requests_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let shortener = start(folder.path());
    let long = format!("url=http://example.org/{}", "x".repeat(3000));
    let longer = format!("url=http://example.org/{}", "x".repeat(20_000));
    for (kind, body, status, why) in [
        (FORM, "url=example.org", 422, "relative URL without a base"),
        (FORM, "url=javascript:alert(1)", 422, "expected http://"),
        (FORM, "url=", 422, "url: "),
        (FORM, "other=1", 422, "url: missing"),
        (FORM, &long, 422, "at most 2000 bytes"),
        (FORM, &longer, 413, ""),
        (FORM, "url=%zz", 400, "percent-encoding"),
        (JSON, r#"{"url": "http://"}"#, 422, "empty host"),
        (JSON, r#"{"url": 7}"#, 422, "url: expected"),
        (JSON, "{", 400, ""),
        ("Content-Type: text/plain", "http://example.org", 415, "JSON"),
    ] {
        let answer = shortener.ask("POST", "/links", &[kind], body);
        assert!(answer.status == status && answer.body.contains(why), "{kind}, {body:.60}: {answer:?}");
    }
    for (method, target, status) in [("GET", "/nothing", 404), ("GET", "/a/b", 404), ("DELETE", "/links", 405)] {
        assert_eq!(shortener.ask(method, target, &[], "").status, status, "{method} {target}");
    }
    assert!(!shortener.get("/").body.contains("<td>"), "nothing of the rejected request must be stored");
}
