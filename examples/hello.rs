//! A server in a few lines: `cargo run --release --example hello`, then `curl http://127.0.0.1:8000/`.

use modest::{Request, RequestHandler, Response, Result, TcpServer};

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
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let server = TcpServer::bind(address, Hello)?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
