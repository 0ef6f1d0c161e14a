//! The programs that are compared, with modest: `bench-modest ADDRESS DATABASE`; `bench-modest ADDRESS udp` sends each datagram back.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use modest::layers::Compress;
use modest::live::Broadcast;
use modest::websocket::{self, Close, Message, Socket, WebSocketHandler};
use modest::{Datagram, Http, Request, Response, Result, Routes, TcpServer, UdpServer};
use work::{HELLO, MESSAGE, Order};

struct App {
    page: String,
    news: Broadcast,
    chat: Chat,
}

impl App {
    fn order(&self, request: &Request) -> Result<Response> {
        Ok(Response::json(&request.json_as::<Order>()?.bill()))
    }

    fn queries(&self, request: &Request) -> Result<Response> {
        Ok(Response::json(&work::worlds(work::count_in(request.query().unwrap_or_default()))))
    }

    fn publish(&self, request: &Request) -> Result<Response> {
        self.news.send(request.text()?);
        Ok(Response::no_content())
    }
}

struct Echo;

impl WebSocketHandler for Echo {
    fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
        Ok(socket.send(message)?)
    }
}

#[derive(Clone, Default)]
struct Chat(Arc<Mutex<HashSet<Socket>>>);

impl WebSocketHandler for Chat {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        self.0.lock().unwrap().insert(socket.clone());
        Ok(())
    }

    fn message(&mut self, message: Message, _: &Socket) -> Result<()> {
        websocket::broadcast(&*self.0.lock().unwrap(), message);
        Ok(())
    }

    fn closed(&mut self, socket: &Socket, _: &Close) {
        self.0.lock().unwrap().remove(socket);
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    if std::env::args().nth(2).as_deref() == Some("udp") {
        return UdpServer::bind(address, |datagram: &Datagram| datagram.reply(datagram.bytes()))?.serve_forever();
    }
    let app = Routes::new()
        .get("/plaintext", |_, _| Ok(Response::text(HELLO)))
        .get("/json", |_, _| Ok(Response::json(&MESSAGE)))
        .post("/order", App::order)
        .get("/query", |_, _| Ok(Response::json(&work::world())))
        .get("/queries", App::queries)
        .get("/page", |app: &App, request| Ok(Compress::new().compress(request, Response::html(app.page.clone()))))
        .get("/echo", |_, request| websocket::accept(request, Echo))
        .get("/chat", |app: &App, request| websocket::accept(request, app.chat.clone()))
        .get("/events", |app: &App, request| Ok(Response::events(app.news.listen(request)?)))
        .post("/publish", App::publish)
        .with_state(App { page: work::page(), news: Broadcast::new(), chat: Chat::default() });
    let server = TcpServer::bind(address, Http::new(app).access_log(None))?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
