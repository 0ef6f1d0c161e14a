//! Responds to anything, one client at a time. `cargo run -q --bin step01 [ADDRESS]`

use std::{env, io::Read, io::Result, io::Write, net::TcpListener};

fn main() -> Result<()> {
    let listener = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:8000".into()))?;
    loop {
        let (mut client, mut request) = (listener.accept()?.0, [0; 1024]);
        let length = client.read(&mut request)?;
        println!("{}", String::from_utf8_lossy(&request[..length]));
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\nHello, World!\n")?;
    }
}
