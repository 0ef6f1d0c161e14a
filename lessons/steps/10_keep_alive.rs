//! Many requests on one connection, with bodies. `cargo run -q --bin step10 [ADDRESS]`

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lessons::engine::serve;
use lessons::head::Rejection;
use lessons::http::{Handler, Http, Response};
use lessons::message::Request;

fn handle(request: &Request) -> Result<Response, Rejection> {
    match (request.head.method.as_str(), request.head.target.as_str()) {
        ("POST", "/echo") => Ok(Response::text(200, &String::from_utf8_lossy(&request.body))),
        ("GET" | "HEAD", "/") => Ok(Response::text(200, "Hello, World!\n")),
        ("GET" | "HEAD", path) => {
            let text = fs::read(format!("pages/{path}")).map_err(|_| (404, "not found\n"))?;
            Ok(Response::new(200, "text/plain; charset=utf-8", text))
        }
        _ => Err((405, "try GET\n")),
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let handler: Handler = Arc::new(handle);
    serve(&address, || Http::meet(&handler), &AtomicBool::new(false))
}
