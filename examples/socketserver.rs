//! The examples of Python's `socketserver` documentation: prints what a client sends and sends it back in capitals.
//! `cargo run --example socketserver 127.0.0.1:9999 tcp`, then `echo hello | nc 127.0.0.1 9999`. `stream` reads a line,
//! `threads` sends the name of its thread, and `udp` is for `nc -u -w1`.

use std::io::{self, BufRead, Read, Write};
use std::net::IpAddr;
use std::thread;

use modest::raw::{Stream, streams};
use modest::{Datagram, TcpServer, UdpServer};

/// Prints the address without its port, and the bytes as Python prints them.
fn wrote(ip: Option<IpAddr>, data: &[u8]) {
    let ip = ip.map_or("somebody".to_owned(), |ip| ip.to_string());
    println!("{ip} wrote:\nb'{}'", data.escape_ascii());
}

/// Reads once from the client, and returns the bytes.
fn receive(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut data = vec![0; 1024];
    let count = stream.read(&mut data)?;
    data.truncate(count);
    Ok(data)
}

fn tcp(stream: &mut Stream) -> io::Result<()> {
    let data = receive(stream)?;
    wrote(stream.client().ip(), data.trim_ascii());
    stream.write_all(&data.trim_ascii().to_ascii_uppercase())
}

fn stream(stream: &mut Stream) -> io::Result<()> {
    let mut data = Vec::new();
    stream.take(64 * 1024).read_until(b'\n', &mut data)?;
    wrote(stream.client().ip(), data.trim_ascii());
    stream.write_all(&data.trim_ascii().to_ascii_uppercase())
}

fn threads(stream: &mut Stream) -> io::Result<()> {
    let data = receive(stream)?;
    write!(stream, "{}: ", thread::current().name().unwrap_or_default())?;
    stream.write_all(&data)
}

fn udp(datagram: &Datagram) -> io::Result<()> {
    let data = datagram.bytes().trim_ascii();
    wrote(datagram.client().ip(), data);
    datagram.reply(data.to_ascii_uppercase())
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:9999".into());
    let server = match std::env::args().nth(2).as_deref() {
        Some("udp") => {
            let server = UdpServer::bind(address, udp)?;
            println!("Receiving at {}", server.local_addr());
            return server.serve_forever();
        }
        Some("stream") => TcpServer::bind(address, streams(stream))?,
        Some("threads") => TcpServer::bind(address, streams(threads))?,
        _ => TcpServer::bind(address, streams(tcp))?,
    };
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
