//! A line-based chat: everyone sees every line. Thousands of clients can listen; none of them holds a worker.
//! `cargo run --example chat_lines`, then run `telnet 127.0.0.1 8080` more than once.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use modest::raw::{Action, Conversation, Event, Protocol, Raw, Turn, Waker};
use modest::{Client, TcpServer};

#[derive(Clone, Default)]
struct Chat(Arc<Mutex<Said>>);

/// The last lines, the number of lines so far, and a waker for each connected client.
#[derive(Default)]
struct Said {
    words: VecDeque<String>,
    count: usize,
    listeners: Vec<Waker>,
}

struct Guest {
    chat: Chat,
    heard: Option<usize>, // the number of lines sent to this guest; `None` before it listens
}

impl Protocol for Chat {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Guest { chat: self.clone(), heard: None }))
    }
}

const LISTEN: Action = Action::Idle { within: Some(Duration::from_secs(3600)) };
const LONGEST: usize = 1024; // bytes in a line
const KEPT: usize = 100; // lines

impl Conversation for Guest {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if self.heard.is_none() {
            let mut chat = self.chat.0.lock().unwrap_or_else(PoisonError::into_inner);
            chat.listeners.push(turn.waker());
            self.heard = Some(chat.count);
        }
        while let Some(end) = turn.input.bytes().iter().position(|byte| *byte == b'\n') {
            let word = String::from_utf8_lossy(&turn.input.bytes()[..end]).trim_end().to_owned();
            turn.input.consume(end + 1);
            self.chat.say(format!("{}: {word}", turn.client));
        }
        if turn.input.ended() || turn.input.bytes().len() > LONGEST {
            self.write_missed(turn);
            return Action::Close;
        }
        LISTEN
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        self.write_missed(turn);
        if what == Event::Called { LISTEN } else { Action::Close }
    }

    fn goodbye(&mut self, turn: &mut Turn<'_>) {
        self.write_missed(turn);
    }
}

impl Guest {
    /// Writes the lines that this guest has not received yet.
    fn write_missed(&mut self, turn: &mut Turn<'_>) {
        let chat = self.chat.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = chat.count - self.heard.replace(chat.count).unwrap_or(chat.count);
        for word in chat.words.iter().rev().take(missed).rev() {
            turn.output.bytes().extend_from_slice(format!("{word}\n").as_bytes());
        }
    }
}

impl Chat {
    fn say(&self, word: String) {
        let mut chat = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        chat.words.push_back(word);
        chat.count += 1;
        if chat.words.len() > KEPT {
            chat.words.pop_front(); // a guest that is more than `KEPT` lines behind misses some
        }
        chat.listeners.retain(|waker| !waker.is_over());
        let listeners = chat.listeners.clone();
        drop(chat);
        Waker::wake_all(&listeners);
    }
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr(); // logs warnings and errors
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = TcpServer::bind(address, Raw(Chat::default()))?;
    println!("Listening at {} ...", server.local_addr());
    server.serve_forever()
}
