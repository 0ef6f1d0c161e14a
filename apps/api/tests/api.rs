//! The API over sockets, as programs and pages use it.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;
use std::process::Command;

use built::{Answer, Built};
use serde_json::{Value, json};

const ORIGIN: &str = "https://app.example";
const ADA: &str = "Authorization: Bearer 7f3a9c";
const BOB: &str = "Authorization: Bearer 1b2d4e";
const JSON: &str = "Content-Type: application/json";

fn start_with(audit: &Path) -> Built {
    let mut command = Command::new(env!("CARGO_BIN_EXE_api"));
    Built::start(command.args(["127.0.0.1:0", ORIGIN]).arg(audit).env("API_TOKENS", "ada:7f3a9c,bob:1b2d4e"))
}

fn start() -> Built {
    start_with(Path::new("/dev/null"))
}

fn told(answer: &Answer) -> Value {
    let kind = if answer.status < 400 { "application/json" } else { "application/problem+json" };
    assert_eq!(answer.field("content-type"), Some(kind), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[test]
fn notes_belong_to_their_owner() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.log");
    let api = start_with(&audit);
    let made = api.ask("POST", "/notes", &[ADA, JSON], r#"{"text": "milk"}"#);
    assert_eq!((made.status, made.field("location")), (201, Some("/notes/1")), "{made:?}");
    assert_eq!(told(&made), json!({ "id": 1, "text": "milk" }));
    assert_eq!(told(&api.ask("GET", "/notes/1", &[ADA], "")), told(&made));
    assert_eq!(told(&api.ask("GET", "/notes", &[BOB], "")), json!([]));
    for method in ["GET", "DELETE"] {
        assert_eq!(api.ask(method, "/notes/1", &[BOB], "").status, 404, "{method}");
    }
    assert_eq!(api.ask("DELETE", "/notes/1", &[ADA], "").status, 204);
    assert_eq!(told(&api.ask("GET", "/notes", &[ADA], "")), json!([]));
    assert_eq!(std::fs::read_to_string(audit).unwrap(), "ada added 1\nada removed 1\n");
}

/// Each error is JSON, even for a page of the other site, and has an id that is in the log.
#[test]
fn every_error_is_json() {
    let api = start_with(Path::new("/dev/full"));
    let origin = format!("Origin: {ORIGIN}");
    let ask =
        |method, target, fields: &[&str], body: &str| api.ask(method, target, &[fields, &[&*origin]].concat(), body);
    let announced = format!("Content-Length: {}", (64 << 10) + 1);
    for (status, answer) in [
        (400, ask("POST", "/notes", &[ADA, JSON], "{")),
        (422, ask("POST", "/notes", &[ADA, JSON], r#"{"text": 7}"#)),
        (422, ask("POST", "/notes", &[ADA, JSON], r#"{"text": "milk", "more": 1}"#)),
        (401, ask("GET", "/notes", &[], "")),
        (401, ask("GET", "/notes", &["Authorization: Bearer wrong"], "")),
        (404, ask("GET", "/nothing", &[ADA], "")),
        (404, ask("GET", "/notes/seven", &[ADA], "")),
        (405, ask("PUT", "/notes", &[ADA], "")),
        (413, ask("POST", "/notes", &[ADA, JSON, &announced], "")),
        (415, ask("POST", "/notes", &[ADA, "Content-Type: text/plain"], "milk")),
        (422, ask("POST", "/notes", &[ADA, JSON], r#"{"text": " "}"#)),
        (500, ask("POST", "/notes", &[ADA, JSON], r#"{"text": "milk"}"#)),
    ] {
        let problem = told(&answer);
        assert_eq!((answer.status, &problem["status"]), (status, &json!(status)), "{answer:?}");
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()), "{answer:?}");
        assert!(problem["request_id"].is_string() && problem["request_id"] == answer.field("x-request-id").unwrap());
        assert_eq!(answer.field("access-control-allow-origin"), Some(ORIGIN), "{answer:?}");
    }
    assert_eq!(ask("PUT", "/notes", &[ADA], "").field("allow"), Some("GET, POST, HEAD, OPTIONS"));
    assert_eq!(ask("GET", "/notes", &[], "").field("www-authenticate"), Some("Bearer realm=\"notes\""));

    // These heads can't be parsed, so there is no origin and no request for an id.
    let long = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    for (status, sent) in [(400, "GET /\r\n\r\n"), (400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"), (431, &long)] {
        let answer = Answer::read(&api.talk(sent));
        assert_eq!((answer.status, &told(&answer)["status"]), (status, &json!(status)), "{sent:.20}");
    }
    let mut slow = api.connect();
    slow.write_all(b"GET /notes HTTP/1.1\r\nHost:").unwrap();
    let mut text = String::new();
    slow.read_to_string(&mut text).unwrap();
    let answer = Answer::read(&text);
    assert_eq!((answer.status, &told(&answer)["status"]), (408, &json!(408)));
    slow.shutdown(Shutdown::Both).ok();
}

#[test]
fn only_the_allowed_origin_can_send_requests() {
    let api = start();
    let wanted = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type"];
    let origin = format!("Origin: {ORIGIN}");
    let preflight = api.ask("OPTIONS", "/notes", &[wanted[0], wanted[1], &origin], "");
    assert_eq!(
        (preflight.status, preflight.field("access-control-allow-origin")),
        (204, Some(ORIGIN)),
        "{preflight:?}"
    );
    assert!(preflight.field("access-control-allow-methods").unwrap().contains("DELETE"));
    assert_eq!(preflight.field("access-control-allow-headers"), Some("authorization, content-type"));
    let other = api.ask("OPTIONS", "/notes", &[wanted[0], wanted[1], "Origin: https://other.example"], "");
    assert_eq!((other.status, other.field("access-control-allow-origin")), (403, None), "{other:?}");
    let answer = api.ask("GET", "/notes", &[ADA, &origin], "");
    assert_eq!(answer.field("access-control-expose-headers"), Some("x-request-id"), "{answer:?}");
}

#[test]
fn each_request_is_a_line_of_json() {
    let api = start_with(Path::new("/dev/full"));
    let first = api.ask("GET", "/notes?a=b", &[ADA, "User-Agent: \"test\""], "");
    let second = api.ask("POST", "/notes", &[BOB, JSON], r#"{"text": "milk"}"#);
    let (status, _, log) = api.stop();
    assert!(status.success());
    let lines: Vec<Value> = log.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.len(), 2, "{log:?}");
    for (line, user, method, status, answer) in
        [(&lines[0], "ada", "GET", 200, &first), (&lines[1], "bob", "POST", 500, &second)]
    {
        assert_eq!((&line["user"], &line["method"], &line["status"]), (&json!(user), &json!(method), &json!(status)));
        assert_eq!(line["id"], answer.field("x-request-id").unwrap(), "{line}");
    }
    assert_eq!((&lines[0]["target"], &lines[0]["user_agent"]), (&json!("/notes?a=b"), &json!("\"test\"")));
    assert!(
        log.iter().any(|line| line.contains("ERROR") && line.contains("No space left")),
        "the log must contain the cause of the 500: {log:?}"
    );
}
