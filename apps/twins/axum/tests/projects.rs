//! The API without a process of its own.

use axum::http::{Method, StatusCode};
use axum_test::{TestResponse, TestServer};
use serde_json::{Value, json};

const FOREIGN: &str = "https://app.example";

fn start() -> TestServer {
    TestServer::new(twins::app("ada:7f3a9c,bob:1b2d4e", FOREIGN)).unwrap()
}

async fn ask(server: &TestServer, token: &str, method: Method, target: &str, body: Value) -> TestResponse {
    let request = server.method(method, target).authorization_bearer(token).add_header("origin", FOREIGN);
    if body.is_null() { request.await } else { request.json(&body).await }
}

#[tokio::test]
async fn tasks_come_in_pages_and_belong_to_their_owner() {
    let server = start();
    let ada = async |method, target: &str, body| ask(&server, "7f3a9c", method, target, body).await;
    let made = ada(Method::POST, "/projects", json!({ "name": "house" })).await;
    made.assert_status(StatusCode::CREATED);
    made.assert_header("location", "/projects/house");
    for number in 1..=25 {
        ada(Method::POST, "/projects/house/tasks", json!({ "title": format!("{number}") }))
            .await
            .assert_status(StatusCode::CREATED);
    }
    let changed = ada(Method::PUT, "/projects/house/tasks/2", json!({ "title": "two", "done": true })).await;
    changed.assert_status(StatusCode::NO_CONTENT);
    let page = ada(Method::GET, "/projects/house/tasks?limit=2", Value::Null).await;
    page.assert_header("link", "</projects/house/tasks?after=2&limit=2>; rel=\"next\"");
    page.assert_json(&json!([[1, { "title": "1", "done": false }], [2, { "title": "two", "done": true }]]));
    assert!(!ada(Method::GET, "/projects/house/tasks?after=20", Value::Null).await.headers().contains_key("link"));
    ask(&server, "1b2d4e", Method::GET, "/projects/house/tasks", Value::Null)
        .await
        .assert_status(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_error_names_its_fields_for_pages_of_the_other_site() {
    let server = start();
    let wrong = ask(&server, "7f3a9c", Method::POST, "/projects", json!({ "name": "a b" })).await;
    wrong.assert_status(StatusCode::UNPROCESSABLE_ENTITY);
    wrong.assert_header("access-control-allow-origin", FOREIGN);
    assert_eq!(wrong.json::<Value>()["errors"][0]["field"], "name");
    let wrong = ask(&server, "7f3a9c", Method::GET, "/projects/none/tasks?after=x&limit=1000", Value::Null).await;
    wrong.assert_status(StatusCode::BAD_REQUEST);
    ask(&server, "wrong", Method::GET, "/projects", Value::Null).await.assert_status(StatusCode::UNAUTHORIZED);
}
