//! Python's `StreamRequestHandler`: sends each line back, with blocking reads and one thread per client.
//! `cargo run --example echo_lines`, then `telnet 127.0.0.1 8080`.

use std::io::{self, BufRead, Write};

use modest::TcpServer;
use modest::raw::{Stream, streams};

fn echo(stream: &mut Stream) -> io::Result<()> {
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        stream.write_all(line.as_bytes())?;
        line.clear();
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = TcpServer::bind(address, streams(echo))?;
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
