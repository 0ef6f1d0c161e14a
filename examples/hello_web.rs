//! Serves one page: `cargo run --example hello_web`, then open http://127.0.0.1:8080/ in a browser.

use modest::{Request, RequestHandler, Response, Result, TcpServer};

struct HelloWeb;

impl RequestHandler for HelloWeb {
    fn do_get(&self, _: &Request) -> Result<Response> {
        Ok(Response::html("<!doctype html><title>Hello</title><h1>Hello, web!</h1>"))
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = TcpServer::bind(address, HelloWeb)?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
