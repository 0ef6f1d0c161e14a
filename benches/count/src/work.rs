//! Requests that `benches/instructions.py` counts in addition to those of the examples: `count-work KIND ADDRESS [ARGUMENT]`.
//!
//! - `http`: JSON, an upload, a page with gzip, a listing, an archive and a WebSocket, with a folder.
//! - `events`: a message that one client posts and another one receives.
//! - `lines` and `udp`: an echo.
//! - `tls`: a small response by HTTPS.
//! - `proxy`: requests passed on to the server with this URL.

use modest::live::{Broadcast, ServerEvent};
use modest::raw::{Flow, Lines};
use modest::websocket::{self, Message, Socket, WebSocketHandler};
use modest::{
    Datagram, Http, Identity, Overwrite, Request, RequestHandler, Response, Result, ReverseProxy, Routes, ServerHandle,
};
use modest::{StaticFileHandler, TcpServer, Tls, UdpServer, Uploads, handler_fn};
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

fn files(folder: &str) -> std::io::Result<Http<impl RequestHandler>> {
    let uploads = Uploads::new().overwrite(Overwrite::Replace);
    let app = Routes::new()
        .post("/order", order)
        .get("/echo", |_, request| websocket::accept(request, Echo))
        .fallback(StaticFileHandler::new(folder)?.uploads(uploads).compress(true).archives(true))
        .with_state(());
    Ok(Http::new(app).access_log(None))
}

fn events() -> Http<impl RequestHandler> {
    let app = Routes::new()
        .get("/", |messages: &Broadcast, request| Ok(Response::events(messages.listen(request)?)))
        .post("/", |messages: &Broadcast, request| {
            messages.send(ServerEvent::new(request.text()?));
            Ok(Response::no_content())
        })
        .with_state(Broadcast::new());
    Http::new(app).access_log(None)
}

fn lines(line: &str, reply: &mut Vec<u8>) -> Flow {
    reply.extend_from_slice(line.as_bytes());
    reply.push(b'\n');
    Flow::Continue
}

fn begin(address: impl std::fmt::Display, handle: &ServerHandle) -> std::io::Result<()> {
    println!("Serving at {address}");
    handle.shutdown_on_signals()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let server = match *words {
        ["http", address, folder] => TcpServer::bind(address, files(folder)?)?,
        ["events", address] => TcpServer::bind(address, events())?,
        ["lines", address] => TcpServer::bind(address, Lines::new(lines))?,
        ["tls", address] => {
            let app = Http::new(handler_fn(|_| Ok(Response::text("Hello, World!\n")))).access_log(None);
            TcpServer::bind(address, Tls::new(Identity::self_signed(["localhost"])?)?.protect(app))?
        }
        ["proxy", address, url] => TcpServer::bind(address, Http::new(ReverseProxy::new(url)?).access_log(None))?,
        ["udp", address] => {
            let server = UdpServer::bind(address, |datagram: &Datagram| datagram.reply(datagram.bytes()))?;
            begin(server.local_addr(), &server.handle())?;
            return Ok(server.serve_forever()?);
        }
        _ => return Err("expected http, events, lines, tls, proxy or udp, and an address".into()),
    };
    begin(server.local_addr(), &server.handle())?;
    Ok(server.serve_forever()?)
}
