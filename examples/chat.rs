//! A chat page: everyone sees every message, by WebSocket, or by long polls if WebSocket is not available.
//! Thousands of clients can listen; none of them holds a worker. `cargo run --example chat`, then open
//! http://127.0.0.1:8000/ in one window and http://127.0.0.1:8000/?polls in another.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modest::live::Signal;
use modest::websocket::{Close, Message, Socket, WebSocket, WebSocketHandler, broadcast};
use modest::{Error, Request, Response, Result, Routes, TcpServer};

const PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<form><input name="text" aria-label="Message" maxlength="250" autofocus required> <button>Send</button></form>
<p><output>connecting ...</output></p>
<ul id="said"></ul>
<script>
const form = document.querySelector("form"), list = document.querySelector("#said"), state = document.querySelector("output");
const again = () => { socket = null; state.value = "connecting ..."; setTimeout(connect, 1000); };
const kind = location.search == "?polls" ? "polls" : "socket";
const unsent = []; // until they come back from the server, so that none is lost while it is away
const mark = "\u2063"; // invisible; a number follows, which distinguishes equal messages
let socket, sending = false;
const show = word => {
  list.prepend(Object.assign(document.createElement("li"), { textContent: word.split(mark)[0] }));
  if (word == unsent[0]) unsent.shift(), sending = false, send();
};
const say = {
  socket: word => socket.send(word),
  polls: word => fetch("/words", { method: "POST", body: word }).then(answer => sending = answer.ok, () => sending = false),
};
function send() {
  if (unsent.length && !sending && state.value == "connected") sending = true, say[kind](unsent[0]);
}
function connected() {
  state.value = "connected";
  send();
}
async function connect() {
  sending = false;
  if (kind == "socket") {
    socket = new WebSocket("/chat");
    socket.onopen = () => { list.replaceChildren(); connected(); };
    socket.onmessage = event => show(event.data);
    socket.onclose = again;
    return;
  }
  try {
    // A browser opens up to six connections to one host: further tabs wait. WebSockets do not count.
    for (let from = 0; ; connected()) {
      const answer = await fetch("/words?from=" + from);
      if (!answer.ok) throw answer.status;
      const { next, words } = await answer.json();
      if (from == 0) list.replaceChildren();
      words.forEach(show);
      from = next;
    }
  } catch { again(); }
}
connect();
form.onsubmit = event => { event.preventDefault(); unsent.push(form.text.value + mark + Math.random()); form.reset(); send(); };
</script>
"##;

const KEPT: usize = 100; // messages kept for clients that connect later
const LONGEST: usize = 1000; // bytes in a message

#[derive(Clone)]
struct Chat {
    room: Arc<Mutex<Room>>,
    said: Signal,
}

#[derive(Default)]
struct Room {
    guests: HashSet<Socket>,
    words: VecDeque<String>, // the last messages
    next: u64,               // the number of the next message
}

impl Chat {
    fn new() -> Chat {
        // Starts at the current time, so that no number of an earlier run is used again.
        let next = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64);
        Chat { room: Arc::new(Mutex::new(Room { next, ..Room::default() })), said: Signal::new() }
    }

    fn enter(&self, request: &Request) -> Result<Response> {
        WebSocket::new().max_message(LONGEST).accept(request, self.clone())
    }

    /// Returns the kept messages from this number on. Waits up to 30 seconds for the first one.
    fn words(&self, request: &Request) -> Result<Response> {
        let ticket = self.said.ticket(); // taken before the check, so that no message is missed in between
        let from: u64 = request.parse_param("from")?;
        let room = self.room();
        let missed = room.next.saturating_sub(from).min(KEPT as u64) as usize;
        if missed == 0 && !request.is_late() {
            return Ok(Response::wait_for(ticket, Duration::from_secs(30)));
        }
        let kept: Vec<&String> = room.words.iter().skip(room.words.len().saturating_sub(missed)).collect();
        Ok(Response::json(&serde_json::json!({ "next": room.next, "words": kept })))
    }

    fn post(&self, request: &Request) -> Result<Response> {
        match request.text()? {
            word if word.len() <= LONGEST => self.say(&word),
            _ => return Err(Error::new(413, "the message is too long")),
        }
        Ok(Response::no_content())
    }

    /// Sends a message to everyone. It never waits for a client, so it can hold the lock throughout. All guests get the
    /// messages in the same order.
    fn say(&self, word: &str) {
        let mut room = self.room();
        if room.words.len() == KEPT {
            room.words.pop_front();
        }
        room.words.push_back(word.to_owned());
        room.next += 1;
        broadcast(&room.guests, word);
        drop(room);
        self.said.notify();
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One guest's side of the WebSocket.
impl WebSocketHandler for Chat {
    fn opened(&mut self, socket: &Socket) -> Result<()> {
        let mut room = self.room();
        room.guests.insert(socket.clone());
        Ok(room.words.iter().try_for_each(|word| socket.send(word.as_str()))?)
    }

    fn message(&mut self, message: Message, _: &Socket) -> Result<()> {
        self.say(message.as_text().ok_or("expected a text message")?);
        Ok(())
    }

    fn closed(&mut self, socket: &Socket, _: &Close) {
        self.room().guests.remove(socket);
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let chat = Routes::new()
        .get("/", |_, _| Ok(Response::html(PAGE)))
        .get("/chat", Chat::enter)
        .get("/words", Chat::words)
        .post("/words", Chat::post)
        .with_state(Chat::new());
    let server = TcpServer::bind(address, chat)?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.handle().shutdown_on_signals()?;
    server.serve_forever()
}
