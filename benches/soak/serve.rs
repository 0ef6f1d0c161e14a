//! A server with handlers to be abused, in a process of its own: this very program, told to `serve`.

use std::io::{self, Read};
use std::process::Command;

use modest::{Request, RequestHandler, Response, Result, TcpServer};

use crate::built::Built;

pub fn start() -> Built {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("serve");
    Built::start_with(&mut command, std::process::Stdio::null())
}

pub fn serve() {
    std::panic::set_hook(Box::new(|_| {})); // they are many, and meant
    let server = TcpServer::bind("127.0.0.1:0", Abused).expect("a free port");
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever().expect("it serves");
}

struct Abused;

impl RequestHandler for Abused {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/endless" => Ok(Response::stream(Endless)),
            "/panic" => panic!("as it was told"),
            _ => Ok(Response::text("here\n")),
        }
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::bytes(request.bytes()?.into_owned()))
    }
}

struct Endless;

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}
