//! Downloads of any length, generated while they are sent: `cargo run --example download`, then
//! `curl -O http://127.0.0.1:8000/bytes/1000000`.
//! `/bytes/N` has a Content-Length. The length of `/lines/N` is not known in advance, so it is sent in chunks.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use modest::{Error, Request, RequestHandler, Response, Result, TcpServer};

struct Download;

impl RequestHandler for Download {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path().strip_prefix('/').and_then(|path| path.split_once('/')) {
            Some(("bytes", count)) => bytes(number(count)?),
            Some(("lines", count)) => Ok(lines(number(count)?)),
            _ => Err(Error::new(404, "try /bytes/1000000 or /lines/1000")),
        }
    }
}

fn bytes(count: u64) -> Result<Response> {
    let name = format!("{count}.bin"); // under which a browser saves the file
    Ok(Response::sized_stream(io::repeat(b'x').take(count), count).with_attachment(name))
}

fn lines(count: u64) -> Response {
    Response::stream(Lines { numbers: 1..=count, left: Vec::new() }).with_content_type("text/plain; charset=utf-8")
}

fn number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| Error::new(400, "expected a number from 0 to 18446744073709551615"))
}

/// Generates `1\n2\n3\n` ... while it is read. Only the current line is in memory.
struct Lines {
    numbers: RangeInclusive<u64>,
    left: Vec<u8>,
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.len() < buffer.len()
            && let Some(number) = self.numbers.next()
        {
            self.left.extend_from_slice(format!("{number}\n").as_bytes());
        }
        let count = self.left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        Ok(count)
    }
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let server = TcpServer::bind(address, Download)?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
