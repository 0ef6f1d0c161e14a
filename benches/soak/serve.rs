//! A server with handlers to be abused, in a process of its own: this very program, told to `serve`.

use std::io::{self, Read};
use std::process::Command;

use modest::{Http, Request, RequestHandler, Response, Result, TcpServer};

use crate::built::Built;

pub fn start() -> Built {
    start_with(&[])
}

/// The same, with these variables in its environment.
pub fn start_with(variables: &[(&str, &str)]) -> Built {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.arg("serve").envs(variables.iter().copied());
    Built::start_with(&mut command, std::process::Stdio::null())
}

/// How much of a body is kept in memory, in bytes, if that is to be another number than usual.
pub const BODY_MEMORY: &str = "SOAK_BODY_MEMORY";

pub fn serve() {
    std::panic::set_hook(Box::new(|_| {})); // they are many, and meant
    let memory = std::env::var(BODY_MEMORY).ok().and_then(|bytes| bytes.parse().ok());
    let http = Http::new(Abused);
    let http = if let Some(bytes) = memory { http.body_memory(bytes) } else { http };
    let server = TcpServer::bind("127.0.0.1:0", http).expect("a free port");
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
