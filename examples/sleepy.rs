//! A handler that takes its time: `/sleep/500` answers after 500 ms, `/stats` tells what the server is doing meanwhile.
//! `cargo run --release --example sleepy -- 127.0.0.1:8000 4` runs at most 4 handlers at once.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use modest::{Error, Request, RequestHandler, Response, Result, ServerHandle, TcpServer};

const LONGEST: u64 = 60_000; // milliseconds

struct Sleepy {
    server: Arc<OnceLock<ServerHandle>>, // the server is made with its handler, so the handler hears of it afterwards
}

impl RequestHandler for Sleepy {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/" => Ok(Response::text("try /sleep/500 and /stats\n")),
            "/stats" => self.stats(),
            path => match path.strip_prefix("/sleep/") {
                Some(time) => sleep(time),
                None => Err(Error::new(404, "try /sleep/500 and /stats")),
            },
        }
    }
}

impl Sleepy {
    fn stats(&self) -> Result<Response> {
        let server = self.server.get().ok_or_else(|| Error::new(503, "not ready yet"))?;
        Ok(Response::text(format!("{:#?}\n", server.stats())).with_header("cache-control", "no-store"))
    }
}

fn sleep(time: &str) -> Result<Response> {
    let time = time.parse().ok().filter(|time| *time <= LONGEST);
    let time = time.ok_or_else(|| Error::new(400, format!("a number of milliseconds up to {LONGEST} is wanted")))?;
    thread::sleep(Duration::from_millis(time));
    Ok(Response::text(format!("slept {time} ms\n")))
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let workers = std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(4);
    let itself = Arc::new(OnceLock::new());
    let server = TcpServer::bind(address, Sleepy { server: Arc::clone(&itself) })?.workers(workers);
    itself.get_or_init(|| server.handle());
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
