//! A thread per client. `cargo run -q --bin step04 [ADDRESS]`

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use lessons::blocking::{is_late, read_head};
use lessons::head::response;

const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_write_timeout(Some(HEAD_TIMEOUT))?;
    let response = match read_head(&mut client, HEAD_TIMEOUT) {
        Ok(None) => return Ok(()),
        Ok(Some(Ok(head))) => response(200, &format!("Hello, {}!\n", head.target)),
        Ok(Some(Err((status, reason)))) => response(status, &format!("{reason}\n")),
        Err(error) if is_late(&error) => response(408, "your request took too long\n"),
        Err(error) => return Err(error),
    };
    client.write_all(response.as_bytes())
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into()))?;
    for client in listener.incoming() {
        let client = match client {
            Ok(client) => client,
            Err(error) => {
                println!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(100)); // without a pause this loop would take a whole core
                continue;
            }
        };
        let spawned = thread::Builder::new().spawn(move || {
            if let Err(error) = serve(client) {
                println!("lost a client: {error}");
            }
        });
        if let Err(error) = spawned {
            println!("no thread for a client: {error}");
        }
    }
    Ok(())
}
