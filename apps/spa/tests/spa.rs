//! The single-page app over sockets, as browsers use it.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::process::Command;

use built::{Answer, Built};

const JSON: &str = "Content-Type: application/json";

fn start() -> Built {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/dist");
    Built::start(Command::new(env!("CARGO_BIN_EXE_spa")).args(["127.0.0.1:0", folder]))
}

fn is_page(answer: &Answer) -> bool {
    answer.body.contains("<main></main>")
}

#[test]
fn files_page_and_api_have_their_own_paths() {
    let spa = start();
    let cached = "public, max-age=31536000, immutable";
    for (target, status, page, caching) in [
        ("/", 200, true, Some("no-cache")),
        ("/index.html", 200, true, Some("no-cache")),
        ("/tasks", 200, true, Some("no-cache")),
        ("/tasks/7", 200, true, Some("no-cache")),
        ("/tasks/7/", 200, true, Some("no-cache")),
        ("/apiary", 200, true, Some("no-cache")),
        ("/assets/app-5f1d.js", 200, false, Some(cached)),
        ("/assets/old.js", 404, false, Some("no-cache")),
        ("/favicon.ico", 404, false, Some("no-cache")),
        ("/api", 404, false, Some("no-store")),
        ("/api/nothing", 404, false, Some("no-store")),
        ("/api/tasks", 200, false, Some("no-store")),
        ("/api/tasks/7", 404, false, Some("no-store")),
    ] {
        let answer = spa.get(target);
        let found = (answer.status, is_page(&answer), answer.field("cache-control"));
        assert_eq!(found, (status, page, caching), "{target}: {answer:?}");
        if target.starts_with("/api") && !page {
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            assert_eq!(answer.field("content-type"), Some(kind), "{target}");
        }
    }
    assert_eq!(spa.ask("POST", "/tasks", &[], "").status, 405, "the page is only read");
    let head = spa.ask("HEAD", "/tasks/7", &[], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_second_visit_gets_a_304() {
    let spa = start();
    for target in ["/", "/tasks/7", "/assets/app-5f1d.js"] {
        let first = spa.get(target);
        let tag = first.field("etag").unwrap_or_else(|| panic!("{target}: {first:?}"));
        let second = spa.ask("GET", target, &[&format!("If-None-Match: {tag}")], "");
        assert_eq!((second.status, second.body.as_str()), (304, ""), "{target}");
    }
}

#[test]
fn the_api_stores_tasks_and_reports_errors_as_json() {
    let spa = start();
    let made = spa.ask("POST", "/api/tasks", &[JSON], r#"{"title": "milk"}"#);
    assert_eq!((made.status, made.field("location")), (201, Some("/api/tasks/0")), "{made:?}");
    assert_eq!(spa.ask("PUT", "/api/tasks/0", &[JSON], r#"{"title": "milk", "done": true}"#).status, 204);
    assert_eq!(spa.get("/api/tasks").body, r#"[{"title":"milk","done":true}]"#);
    for (method, target, kind, body, status) in [
        ("POST", "/api/tasks", JSON, "{", 400),
        ("POST", "/api/tasks", "Content-Type: text/plain", "milk", 415),
        ("PUT", "/api/tasks/1", JSON, r#"{"title": "tea"}"#, 404),
        ("DELETE", "/api/tasks/0", JSON, "", 405),
    ] {
        let answer = spa.ask(method, target, &[kind], body);
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(answer.status == status && said["title"].is_string(), "{method} {target}: {answer:?}");
    }
}
