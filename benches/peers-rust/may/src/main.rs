//! The programs that are compared, with may_minihttp: `bench-may ADDRESS DATABASE`. It writes fewer fields than the others, and has no limits.

use std::io::{self, Read};

use may_minihttp::{HttpServer, HttpService, HttpServiceFactory, Request, Response};
use work::{HELLO, MESSAGE, Order};

struct App;

impl HttpService for App {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        let (path, query) = request.path().split_once('?').unwrap_or((request.path(), ""));
        if path == "/plaintext" {
            response.header("Content-Type: text/plain").body(HELLO);
            return Ok(());
        }
        let json = match path {
            "/json" => serde_json::to_vec(&MESSAGE)?,
            "/query" => serde_json::to_vec(&work::world())?,
            "/queries" => serde_json::to_vec(&work::worlds(work::count_in(query)))?,
            "/order" => {
                let mut body = Vec::new();
                request.body().read_to_end(&mut body)?;
                serde_json::to_vec(&serde_json::from_slice::<Order>(&body)?.bill())?
            }
            _ => {
                response.status_code(404, "Not Found");
                return Ok(());
            }
        };
        response.header("Content-Type: application/json").body_mut().extend_from_slice(&json);
        Ok(())
    }
}

struct Apps;

impl HttpServiceFactory for Apps {
    type Service = App;

    fn new_service(&self, _: usize) -> App {
        App
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    Apps.start(address)?.join().map_err(|_| io::Error::other("the server has panicked"))
}
