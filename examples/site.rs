//! A folder next to your own routes: `cargo run --example site -- 127.0.0.1:8000 www`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use modest::{Request, Response, Result, Routes, StaticFileHandler, TcpServer};

#[derive(Default)]
struct Site {
    visits: AtomicU64, // shared by all workers through `&self`
}

impl Site {
    fn visits(&self, _: &Request) -> Result<Response> {
        let visits = self.visits.fetch_add(1, Relaxed) + 1;
        Ok(Response::text(format!("{visits}\n")).with_header("cache-control", "no-store"))
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let folder = std::env::args().nth(2).unwrap_or("www".into());
    // Routes are tried first, then the folder, which rejects methods that it does not serve.
    let site = Routes::new()
        .get("/visits", Site::visits)
        .fallback(StaticFileHandler::new(folder)?)
        .with_state(Site::default());
    let server = TcpServer::bind(address, site)?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
