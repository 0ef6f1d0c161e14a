//! A server in a few lines: `cargo run --release --example hello`, then `curl http://127.0.0.1:8000/`.

use modest::{Http, Request, RequestHandler, Response, Result, TcpServer};

struct Hello;

impl RequestHandler for Hello {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/" => Ok(Response::text("Hello, World!")),
            _ => Err(modest::Error::new(404, "not found; try /")),
        }
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/echo" => Ok(Response::bytes(request.bytes()?)),
            _ => Err(modest::Error::new(404, "not found; try /echo")),
        }
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let server = TcpServer::bind(address, Http::new(Hello).access_log(None))?; // without a log line per request
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
