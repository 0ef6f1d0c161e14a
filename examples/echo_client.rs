//! Sends `Hello, server!` to the `echo` example and prints the response: `cargo run --example echo_client`.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let mut server = TcpStream::connect(address)?;
    server.write_all(b"Hello, server!")?;
    server.shutdown(Shutdown::Write)?; // ends our side; the server can still send
    let mut echo = String::new();
    server.read_to_string(&mut echo)?;
    println!("{echo}");
    Ok(())
}
