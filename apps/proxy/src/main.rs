//! A reverse proxy. It passes a request on once it is complete, and a response as it arrives. WebSockets pass through.
//!
//! `cargo run -p proxy -- 127.0.0.1:8000 127.0.0.1:9000`: the first address passes requests on to the second one.

use std::io;
use std::time::Duration;

use modest::{ReverseProxy, TcpServer};

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let word = |at: usize, usual: &str| words.get(at).map_or(usual.to_owned(), String::clone);
    let patience = Duration::from_secs(word(3, "30").parse().map_err(io::Error::other)?);
    let proxy = ReverseProxy::new(&format!("http://{}", word(2, "127.0.0.1:9000")))?;
    let proxy = proxy.connect_timeout(patience).response_timeout(patience).at_once(1024);
    let server = TcpServer::bind(word(1, "127.0.0.1:8000"), proxy)?.max_streams(1024);
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.handle().shutdown_on_signals()?;
    server.serve_forever()
}
