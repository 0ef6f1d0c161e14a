//! A slow handler: `/sleep/500` responds after 500 ms, `/stats` shows the server's statistics in the meantime. `cargo
//! run --release --example sleepy -- 127.0.0.1:8000 4` runs at most 4 handlers at once.

use std::thread;
use std::time::Duration;

use modest::{Error, Request, RequestHandler, Response, Result, TcpServer};

const LONGEST: u64 = 60_000; // milliseconds

struct Sleepy;

impl RequestHandler for Sleepy {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/" => Ok(Response::text("try /sleep/500 and /stats\n")),
            "/stats" => stats(request),
            path => match path.strip_prefix("/sleep/") {
                Some(time) => sleep(time),
                None => Err(Error::new(404, "try /sleep/500 and /stats")),
            },
        }
    }
}

fn stats(request: &Request) -> Result<Response> {
    let stats = request.server().stats();
    Ok(Response::text(format!("{stats:#?}\n")).with_header("cache-control", "no-store"))
}

fn sleep(time: &str) -> Result<Response> {
    let time = time.parse().ok().filter(|time| *time <= LONGEST);
    let time = time.ok_or_else(|| Error::new(400, format!("expected a number of milliseconds, up to {LONGEST}")))?;
    thread::sleep(Duration::from_millis(time));
    Ok(Response::text(format!("slept {time} ms\n")))
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let workers = std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(4);
    let server = TcpServer::bind(address, Sleepy)?.workers(workers);
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
