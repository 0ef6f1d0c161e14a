//! The login over sockets, as browsers use it; a real browser does this in tests/clients/clients/login.py.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::process::Command;

use built::{Answer, Built};
use modest::layers::UserFile;
use tempfile::TempDir;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// A browser, with its cookie and the token of the last form.
struct Browser<'a> {
    login: &'a Built,
    cookie: String,
    token: String,
}

impl Browser<'_> {
    fn new(login: &Built) -> Browser<'_> {
        Browser { login, cookie: String::new(), token: String::new() }
    }

    fn get(&mut self, target: &str) -> Answer {
        let answer = self.login.ask("GET", target, &[&format!("Cookie: {}", self.cookie)], "");
        self.keep(answer)
    }

    fn post(&mut self, target: &str, fields: &str) -> Answer {
        let body = format!("csrf_token={}&{fields}", self.token);
        let answer = self.login.ask("POST", target, &[FORM, &format!("Cookie: {}", self.cookie)], &body);
        self.keep(answer)
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        if let Some(cookie) = answer.field("set-cookie") {
            assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        if let Some((_, rest)) = answer.body.split_once("name=\"csrf_token\" value=\"") {
            self.token = rest.split('"').next().unwrap().to_owned();
        }
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        answer
    }
}

fn start() -> (Built, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let users = [("<b>Ada", "correct horse"), ("bob", "long:enough")];
    let lines: Vec<String> = users.iter().map(|(name, password)| UserFile::line(name, password).unwrap()).collect();
    std::fs::write(&path, lines.join("\n")).unwrap();
    (Built::start(Command::new(env!("CARGO_BIN_EXE_login")).arg("127.0.0.1:0").arg(&path)), folder)
}

fn flash(answer: &Answer) -> &str {
    let (_, rest) = answer.body.split_once("role=\"status\">").unwrap_or_else(|| panic!("{answer:?}"));
    rest.split('<').next().unwrap()
}

#[test]
fn users_can_log_in_and_out() {
    let (login, _folder) = start();
    let mut ada = Browser::new(&login);
    assert_eq!(ada.get("/").field("location"), Some("/login"));
    ada.get("/login");
    let before = ada.token.clone();
    let answer = ada.post("/login", "name=%3Cb%3EAda&password=correct+horse");
    assert_eq!((answer.status, answer.field("location")), (303, Some("/")), "{answer:?}");
    let home = ada.get("/");
    assert!(home.body.contains("logged in as <strong>&lt;b&gt;Ada</strong>"), "{home:?}");
    assert_eq!(flash(&home), "Welcome, &lt;b&gt;Ada.");
    assert_ne!(ada.token, before, "a new session has a new token");
    assert_eq!(flash(&ada.get("/")), "", "a message is shown once");

    assert_eq!(ada.post("/logout", "").field("location"), Some("/login"));
    assert_eq!(flash(&ada.get("/login")), "You are logged out.");
    assert_eq!(ada.get("/").field("location"), Some("/login"));
    let answer = ada.post("/login", "name=%3Cb%3EAda&password=wrong+horse");
    assert_eq!((answer.status, flash(&answer)), (403, "No account has this name and this password."));
}

#[test]
fn invalid_requests_are_rejected() {
    let (login, _folder) = start();
    let mut bob = Browser::new(&login);
    bob.get("/login");
    for (fields, status) in [
        ("name=bob&password=long:enough", 303),
        ("name=bob&password=long", 403),
        ("name=bob&password=", 403),
        ("name=eve&password=long:enough", 403),
        ("name=&password=", 403),
        ("name=bob", 400),
        ("password=long:enough", 400),
    ] {
        bob.get("/login");
        let answer = bob.post("/login", fields);
        assert_eq!(answer.status, status, "{fields}");
        if status == 403 {
            assert_eq!(flash(&answer), "No account has this name and this password.");
        }
    }
    assert_eq!(bob.post("/login", &"x".repeat(20_000)).status, 413);
    assert_eq!(bob.get("/nothing").status, 404);
}

#[test]
fn cross_site_forms_and_forged_sessions_are_rejected() {
    let (login, _folder) = start();
    let mut ada = Browser::new(&login);
    ada.get("/login");
    assert_eq!(ada.post("/login", "name=%3Cb%3EAda&password=correct+horse").status, 303);
    ada.get("/");

    let mut other = Browser { login: &login, cookie: ada.cookie.clone(), token: "0".repeat(32) };
    assert_eq!(other.post("/logout", "").status, 403, "a token of another session was accepted");
    let mut stranger = Browser { login: &login, cookie: String::new(), token: ada.token.clone() };
    assert_eq!(
        stranger.post("/logout", "").field("location"),
        Some("/login"),
        "a request without a session must log no one out"
    );
    let evil = [FORM, "Sec-Fetch-Site: cross-site", &format!("Cookie: {}", ada.cookie)];
    let answer = login.ask("POST", "/logout", &evil, &format!("csrf_token={}", ada.token));
    assert_eq!(answer.status, 403, "a page of another site: {answer:?}");

    // Each letter of the cookie is changed in turn. The changed cookie is neither a session of Ada nor an error.
    let (name, value) = ada.cookie.split_once('=').unwrap();
    for at in 0..value.len() {
        let mut forged = value.as_bytes().to_vec();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let cookie = format!("{name}={}", String::from_utf8(forged).unwrap());
        let answer = login.ask("GET", "/", &[&format!("Cookie: {cookie}")], "");
        assert!(answer.status == 303 && answer.field("location") == Some("/login"), "byte {at}: {answer:?}");
    }
    assert_eq!(ada.get("/").status, 200, "the real session must still be valid");
}
