//! The API without a process of its own: requests, pages, tokens, errors.

use modest::testing::{TestRequest, TestServer, serve};
use modest::{Method, SentResponse};
use serde_json::{Value, json};

const FOREIGN: &str = "https://app.example";

fn start() -> TestServer {
    serve(projects::app("ada:7f3a9c,bob:1b2d4e", FOREIGN))
}

fn ask(server: &TestServer, token: &str, method: Method, target: &str, body: Value) -> SentResponse {
    let request = TestRequest::new(method, target).with_header("authorization", format!("Bearer {token}"));
    server.send(if body.is_null() { request } else { request.with_json(&body) }.with_header("origin", FOREIGN))
}

#[test]
fn tasks_come_in_pages_and_belong_to_their_owner() {
    let server = start();
    let ada = |method, target: &str, body| ask(&server, "7f3a9c", method, target, body);
    let made = ada(Method::POST, "/projects", json!({ "name": "house" }));
    made.assert_status(201).assert_header("location", "/projects/house");
    for number in 1..=25 {
        ada(Method::POST, "/projects/house/tasks", json!({ "title": format!("{number}") })).assert_status(201);
    }
    ada(Method::PUT, "/projects/house/tasks/2", json!({ "title": "two", "done": true })).assert_status(204);
    let page = ada(Method::GET, "/projects/house/tasks?limit=2", Value::Null);
    page.assert_header("link", "</projects/house/tasks?after=2&limit=2>; rel=\"next\"");
    page.assert_json(&json!([[1, { "title": "1", "done": false }], [2, { "title": "two", "done": true }]]));
    ada(Method::GET, "/projects/house/tasks?after=20", Value::Null).assert_no_header("link");
    ask(&server, "1b2d4e", Method::GET, "/projects/house/tasks", Value::Null).assert_status(404);
}

#[test]
fn each_error_names_its_fields_for_pages_of_the_other_site() {
    let server = start();
    let wrong = ask(&server, "7f3a9c", Method::POST, "/projects", json!({ "name": "a b" }));
    wrong.assert_status(422).assert_header("access-control-allow-origin", FOREIGN);
    assert_eq!(wrong.json::<Value>()["errors"][0]["field"], "name", "{wrong:?}");
    let wrong = ask(&server, "7f3a9c", Method::GET, "/projects/none/tasks?after=x&limit=1000", Value::Null);
    assert_eq!(wrong.assert_status(400).json::<Value>()["errors"].as_array().unwrap().len(), 2, "{wrong:?}");
    let wrong = ask(&server, "wrong", Method::GET, "/projects", Value::Null);
    wrong.assert_status(401).assert_header("content-type", "application/problem+json");
}
