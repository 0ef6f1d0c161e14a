//! A line protocol for any number of clients: a key-value store in memory.
//! `cargo run --example store`, then `telnet 127.0.0.1 7000` and `set colour green`, `get colour`, `del colour`,
//! `quit`.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use modest::TcpServer;
use modest::raw::{Flow, Lines};

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let values = Mutex::new(HashMap::<String, String>::new()); // all clients share this closure, and so this map
    let store = Lines::new(move |line, reply| {
        let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || "none".to_owned();
        let answer = match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["get", key] => values.get(key).cloned().unwrap_or_else(none),
            ["set", key, value] => {
                values.insert(key.to_owned(), value.to_owned());
                "ok".to_owned()
            }
            ["del", key] => values.remove(key).map_or_else(none, |_| "ok".to_owned()),
            ["quit"] => "bye".to_owned(),
            _ => "error: get KEY, set KEY VALUE, del KEY or quit".to_owned(),
        };
        reply.extend_from_slice(format!("{answer}\r\n").as_bytes());
        if line == "quit" { Flow::Close } else { Flow::Continue }
    });
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:7000".into());
    let server = TcpServer::bind(address, store)?;
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
