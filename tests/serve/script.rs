//! A protocol whose clients control it line by line, so each test is complete in one place.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use modest::Client;
use modest::raw::{Action, Conversation, Event, Piece, Protocol, Stage, Turn};

/// The lines and their effects: `say X`: the reply `X` · `block X`: a handler that replies `done` once the gate X is
/// open · `big N`: N bytes · `file N M`: N bytes of a file that has M · `bye`: a close · `refuse`: a close with unread
/// input · `age`: the age in ms of the time that the turn uses as now · `abort` · `panic` · `panic late`: in the
/// handler · `read N`: a stage of N ms in which `ok` is expected.
#[derive(Clone, Default)]
pub struct Script {
    pub greeting: Option<&'static str>,
    pub turns_away: bool,
    pub gates: Arc<(Mutex<HashSet<String>>, Condvar)>,
    pub events: Arc<Mutex<Vec<Event>>>,
}

impl Script {
    /// Opens this gate for present and later handlers.
    pub fn open(&self, gate: &str) {
        self.gates.0.lock().unwrap().insert(gate.to_owned());
        self.gates.1.notify_all();
    }

    /// The events of all conversations so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    fn wait_at(&self, gate: &str) {
        let mut open = self.gates.0.lock().unwrap();
        while !open.contains(gate) {
            open = self.gates.1.wait(open).unwrap();
        }
    }
}

impl Protocol for Script {
    fn meet(&self, _client: &Client) -> Option<Box<dyn Conversation>> {
        (!self.turns_away)
            .then(|| Box::new(Talk { script: self.clone(), greeted: false, stage: 0, read: REST, handling: None }) as _)
    }
}

struct Talk {
    script: Script,
    greeted: bool,
    stage: u32,
    read: Action,
    handling: Option<String>,
}

const REST: Action = Action::Idle { within: Some(Duration::from_secs(60)) };

impl Conversation for Talk {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        if !std::mem::replace(&mut self.greeted, true)
            && let Some(greeting) = self.script.greeting
        {
            turn.output.bytes().extend_from_slice(greeting.as_bytes());
        }
        if let Some(gate) = self.handling.take() {
            if gate == "panic" {
                panic!("a handler panics, for the test");
            }
            self.script.wait_at(&gate);
            turn.output.bytes().extend_from_slice(b"done\n");
            return Action::Again;
        }
        let Some(end) = turn.input.bytes().iter().position(|byte| *byte == b'\n') else {
            // An incomplete line belongs to the stage that a line has begun, if there is one.
            return if self.stage == 0 { REST } else { self.read.clone() };
        };
        let line = String::from_utf8_lossy(&turn.input.bytes()[..end]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] != "refuse" {
            turn.input.consume(end + 1);
        }
        match words[..] {
            ["say", ..] => turn.output.bytes().extend_from_slice(format!("{}\n", words[1..].join(" ")).as_bytes()),
            ["block", gate] => {
                self.handling = Some(gate.to_owned());
                return Action::Handle;
            }
            ["big", count] => turn.output.push(Piece::Owned(vec![b'x'; count.parse().unwrap()])),
            ["file", promised, real] => {
                let mut file = tempfile::NamedTempFile::new().unwrap().into_file();
                file.write_all(&vec![b'f'; real.parse().unwrap()]).unwrap();
                turn.output.bytes().extend_from_slice(b"head:");
                turn.output.push(part_of(file, promised.parse().unwrap()));
            }
            ["bye"] => return Action::Close,
            ["refuse"] => {
                turn.output.bytes().extend_from_slice(b"refused\n");
                return Action::Close;
            }
            ["abort"] => return Action::Abort,
            ["panic"] => panic!("a turn panics, for the test"),
            ["panic", "late"] => {
                self.handling = Some("panic".to_owned());
                return Action::Handle;
            }
            ["read", within] => {
                self.stage += 1;
                let within = Some(Duration::from_millis(within.parse().unwrap()));
                self.read = Action::read(Stage(self.stage), within);
                return self.read.clone();
            }
            ["age"] => {
                let age = turn.now().elapsed().as_millis();
                turn.output.bytes().extend_from_slice(format!("{age:5}\n").as_bytes());
            }
            ["ok"] => turn.output.bytes().extend_from_slice(b"in time\n"),
            _ => turn.output.bytes().extend_from_slice(b"what?\n"),
        }
        Action::Again
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        self.script.events.lock().unwrap().push(what);
        let word = match what {
            Event::Late(_) => "late\n",
            Event::NoPermit => "no permit\n",
            _ => "",
        };
        turn.output.bytes().extend_from_slice(word.as_bytes());
        Action::Close
    }
}

fn part_of(file: File, length: u64) -> Piece {
    Piece::File { file: Arc::new(file), start: 0, length }
}
