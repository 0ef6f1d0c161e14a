//! A chat in a page: whoever is connected hears what anybody says. Thousands may listen; none of them holds a worker.
//! `cargo run --example websocket_chat`, then open http://127.0.0.1:8000/ in two windows.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use modest::websocket::{Close, Message, Socket, WebSocket, WebSocketHandler, broadcast};
use modest::{Request, Response, Result, Routes, TcpServer};

const PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<form><input name="text" maxlength="250" autofocus required> <button>Say</button></form>
<ul id="said"></ul>
<script>
const form = document.querySelector("form"), list = document.querySelector("#said");
let socket;
function connect() {
  socket = new WebSocket("ws" + location.origin.slice(4) + "/chat");
  socket.onopen = () => list.replaceChildren();
  socket.onmessage = event => list.prepend(Object.assign(document.createElement("li"), { textContent: event.data }));
  socket.onclose = () => setTimeout(connect, 1000);
}
connect();
form.onsubmit = event => { event.preventDefault(); socket.send(form.text.value); form.reset(); };
</script>
"##;

const KEPT: usize = 100; // words

#[derive(Clone, Default)]
struct Chat(Arc<Mutex<Room>>);

#[derive(Default)]
struct Room {
    guests: HashSet<Socket>,
    words: VecDeque<String>, // the last that were said
}

impl Chat {
    fn enter(&self, request: &Request) -> Result<Response> {
        WebSocket::new().max_message(1000).accept(request, self.clone())
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One guest's side of it.
impl WebSocketHandler for Chat {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        let mut room = self.room();
        room.guests.insert(socket.clone());
        Ok(room.words.iter().try_for_each(|word| socket.send(word.as_str()))?)
    }

    fn message(&mut self, message: Message, _: &Socket) -> Result<()> {
        let word = message.as_text().ok_or("only text is spoken here")?;
        let mut room = self.room(); // held while it is sent, which waits for nobody: so all hear it in one order
        if room.words.len() == KEPT {
            room.words.pop_front();
        }
        room.words.push_back(word.to_owned());
        broadcast(&room.guests, word);
        Ok(())
    }

    fn closed(&mut self, socket: &Socket, _: &Close) {
        self.room().guests.remove(socket);
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let chat = Routes::new().get("/", |_, _| Ok(Response::html(PAGE))).get("/chat", Chat::enter).serve(Chat::default());
    let server = TcpServer::bind(address, chat)?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
