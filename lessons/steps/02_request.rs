//! Rejects requests that break the rules (`src/head.rs`). One client at a time. `cargo run -q --bin step02 [ADDRESS]`

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use lessons::head::{Head, Rejection, parse, response};

/// Reads until the head is complete. `None`: the client disconnected before that.
fn read_head(client: &mut TcpStream) -> io::Result<Option<Result<Head, Rejection>>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&buffer[..length]);
        match parse(&bytes) {
            Ok(None) => {}
            Ok(Some((head, _))) => return Ok(Some(Ok(head))),
            Err(rejection) => return Ok(Some(Err(rejection))),
        }
    }
}

fn serve(mut client: TcpStream) -> io::Result<()> {
    let response = match read_head(&mut client)? {
        None => return Ok(()),
        Some(Ok(head)) => response(200, &format!("Hello, {}!\n", head.target)),
        Some(Err((status, reason))) => response(status, &format!("{reason}\n")),
    };
    client.write_all(response.as_bytes())
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into()))?;
    for client in listener.incoming() {
        if let Err(error) = client.and_then(serve) {
            println!("lost a client: {error}"); // an error ends one connection, not the program
        }
    }
    Ok(())
}
