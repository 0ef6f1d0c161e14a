//! Requests that `benches/instructions.py` counts in addition to those of the examples: `count-work ADDRESS FOLDER`
//! serves JSON, an upload, a page by gzip and a WebSocket, `count-work ADDRESS` answers lines.

use modest::raw::{Flow, Lines};
use modest::websocket::{self, Message, Socket, WebSocketHandler};
use modest::{Http, Overwrite, Request, Response, Result, Routes, StaticFileHandler, TcpServer, Uploads};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
struct Order {
    id: u64,
    customer: String,
    names: Vec<String>,
}

fn order(_: &(), request: &Request) -> Result<Response> {
    Ok(Response::json(&request.json_as::<Order>()?))
}

struct Echo;

impl WebSocketHandler for Echo {
    fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
        Ok(socket.send(message)?)
    }
}

fn lines(line: &str, reply: &mut Vec<u8>) -> Flow {
    reply.extend_from_slice(line.as_bytes());
    reply.push(b'\n');
    Flow::Continue
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let server = match words.next() {
        None => TcpServer::bind(address, Lines::new(lines))?,
        Some(folder) => {
            let uploads = Uploads::new().overwrite(Overwrite::Replace);
            let app = Routes::new()
                .post("/order", order)
                .get("/echo", |_, request| websocket::accept(request, Echo))
                .fallback(StaticFileHandler::new(folder)?.uploads(uploads).compress(true))
                .with_state(());
            TcpServer::bind(address, Http::new(app).access_log(None))?
        }
    };
    println!("Serving at http://{}/ ...", server.local_addr());
    server.handle().shutdown_on_signals()?;
    server.serve_forever()
}
