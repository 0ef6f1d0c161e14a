//! Four workers and a queue of 16 clients. `cargo run -q --bin step05 [ADDRESS]`

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lessons::blocking::{is_late, read_head};
use lessons::head::response;

const WORKERS: usize = 4;
const QUEUE: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(10);

fn serve(mut client: TcpStream) -> io::Result<()> {
    client.set_write_timeout(Some(TIMEOUT))?;
    let response = match read_head(&mut client, TIMEOUT) {
        Ok(None) => return Ok(()),
        Ok(Some(Ok(head))) if head.target == "/big" => response(200, &"a long book\n".repeat(1_000_000)),
        Ok(Some(Ok(head))) => response(200, &format!("Hello, {}!\n", head.target)),
        Ok(Some(Err((status, reason)))) => response(status, &format!("{reason}\n")),
        Err(error) if is_late(&error) => response(408, "your request took too long\n"),
        Err(error) => return Err(error),
    };
    client.write_all(response.as_bytes())
}

/// A worker: takes a client from the queue, serves it to the end, and takes the next.
fn work(queue: &Mutex<Receiver<TcpStream>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv(); // the lock is released here, before `serve`
        let Ok(client) = next else { return };
        if let Err(error) = serve(client) {
            println!("lost a client: {error}");
        }
    }
}

/// Rejects a client for which there is no room. Does not wait for it.
fn reject(mut client: TcpStream) {
    let sent = client.set_nonblocking(true).and_then(|()| client.write_all(response(503, "busy\n").as_bytes()));
    println!("no room in the queue{}", sent.err().map(|error| format!(": {error}")).unwrap_or_default());
}

fn main() -> io::Result<()> {
    let listener = TcpListener::bind(std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into()))?;
    let (enqueue, dequeue) = sync_channel(QUEUE);
    let dequeue = Arc::new(Mutex::new(dequeue));
    for _ in 0..WORKERS {
        let queue = Arc::clone(&dequeue);
        thread::spawn(move || work(&queue));
    }
    for client in listener.incoming() {
        match client.map(|client| enqueue.try_send(client)) {
            Ok(Ok(()) | Err(TrySendError::Disconnected(_))) => {}
            Ok(Err(TrySendError::Full(client))) => reject(client),
            Err(error) => {
                println!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(100)); // a whole core otherwise
            }
        }
    }
    Ok(())
}
