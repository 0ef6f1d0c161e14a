//! One connection of each kind: it sends a text, and checks that it receives one.

use std::io::{self, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

pub trait Client: Send {
    fn send(&mut self, text: &str) -> io::Result<()>;
    /// Reads the next text, which must be this one.
    fn expect(&mut self, text: &str) -> io::Result<()>;
}

const LENGTH: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// The text of this number, always of the same length.
pub fn text(number: usize) -> String {
    format!("{number:0LENGTH$}")
}

pub fn connect(kind: &str, address: &str, path: &str) -> io::Result<Box<dyn Client>> {
    Ok(match kind {
        "udp" => Box::new(Datagrams::connect(address)?),
        "ws" => {
            Box::new(Socket(open(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{UPGRADE}\r\n"), "101")?))
        }
        _ => Box::new(Listener(
            open(address, &format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n"), "200")?,
            Vec::new(),
        )),
    })
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A connection that has sent this request and read the head of its response.
fn open(address: &str, request: &str, status: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    match head.starts_with(format!("HTTP/1.1 {status}").as_bytes()) {
        true => Ok(stream),
        false => Err(io::Error::other(String::from_utf8_lossy(&head))),
    }
}

fn same(received: &[u8], expected: &[u8]) -> io::Result<()> {
    match received == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("received {:?}", String::from_utf8_lossy(received)))),
    }
}

struct Socket(TcpStream);

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const TEXT: u8 = 0x81; // a whole message

impl Client for Socket {
    fn send(&mut self, text: &str) -> io::Result<()> {
        let mut frame = vec![TEXT, 0x80 | text.len() as u8];
        frame.extend(MASK);
        frame.extend(text.bytes().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame)
    }

    fn expect(&mut self, text: &str) -> io::Result<()> {
        let mut frame = [0; LENGTH + 2];
        self.0.read_exact(&mut frame)?;
        same(&frame, &[&[TEXT, LENGTH as u8], text.as_bytes()].concat())
    }
}

/// A listener of an event stream, with what it has read.
struct Listener(TcpStream, Vec<u8>);

impl Client for Listener {
    fn send(&mut self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Skips comments and other fields.
    fn expect(&mut self, text: &str) -> io::Result<()> {
        let (wanted, mut buffer) = (format!("data: {text}\n"), [0; 4096]);
        while !(self.1.ends_with(b"\n\n\r\n") && String::from_utf8_lossy(&self.1).contains(&wanted)) {
            let count = self.0.read(&mut buffer)?;
            if count == 0 || self.1.len() > 1000 {
                return same(&self.1, wanted.as_bytes());
            }
            self.1.extend(&buffer[..count]);
        }
        self.1.clear();
        Ok(())
    }
}

struct Datagrams(UdpSocket);

impl Datagrams {
    fn connect(address: &str) -> io::Result<Datagrams> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Datagrams(socket))
    }
}

impl Client for Datagrams {
    fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.send(text.as_bytes()).map(drop)
    }

    fn expect(&mut self, text: &str) -> io::Result<()> {
        let mut buffer = [0; 2 * LENGTH];
        let count = self.0.recv(&mut buffer)?;
        same(&buffer[..count], text.as_bytes())
    }
}
