//! A WebSocket that sends each message back. Thousands of clients can be connected; a silent one holds no worker.
//! `cargo run --example websocket_echo`, then in a browser's console at http://127.0.0.1:8000/:
//! `s = new WebSocket("/"); s.onmessage = event => console.log(event.data); s.onopen = () => s.send("hello")`

use modest::websocket::{Message, Socket, WebSocket, WebSocketHandler};
use modest::{Result, TcpServer, handler_fn};

struct Echo;

impl WebSocketHandler for Echo {
    fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
        Ok(socket.send(message)?)
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let largest = words.next().and_then(|bytes| bytes.parse().ok()).unwrap_or(1024 * 1024);
    let settings = WebSocket::new().max_message(largest);
    let server = TcpServer::bind(address, handler_fn(move |request| settings.accept(request, Echo)))?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
