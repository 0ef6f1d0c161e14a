//! Python's `UDPServer` example: sends each datagram back in capitals.
//! `cargo run --example udp_upper 127.0.0.1:9999`, then `echo hello | nc -u -w1 127.0.0.1 9999`.

use modest::{Datagram, UdpServer};

fn handle(datagram: &Datagram) -> std::io::Result<()> {
    let data = datagram.bytes().trim_ascii();
    println!("{} wrote:\n{}", datagram.client(), String::from_utf8_lossy(data));
    datagram.reply(data.to_ascii_uppercase())
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9999".into());
    let server = UdpServer::bind(address, handle)?;
    println!("Receiving at {}", server.local_addr());
    server.handle().shutdown_on_signals()?;
    server.serve_forever()
}
