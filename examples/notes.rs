//! A small API with shared state, in JSON and by form. `cargo run --example notes`, then
//! `curl -d text=milk http://127.0.0.1:8000/notes`, `curl http://127.0.0.1:8000/notes`, `curl -X DELETE http://127.0.0.1:8000/notes/1`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::{Error, Http, Request, RequestHandler, Response, Result, TcpServer};
use serde::{Deserialize, Serialize};

const LONGEST: usize = 1000; // characters of a note

#[derive(Default)]
struct Notes {
    board: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    notes: BTreeMap<u64, Note>,
    last: u64,
}

#[derive(Clone, Serialize)]
struct Note {
    id: u64,
    text: String,
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
}

/// What a path names.
enum Place {
    All,
    One(u64),
}

impl RequestHandler for Notes {
    fn do_get(&self, request: &Request) -> Result<Response> {
        let board = match place(request)? {
            Place::All => return Response::json(&self.board().notes.values().collect::<Vec<_>>()),
            Place::One(id) => self.board().notes.get(&id).cloned().ok_or_else(|| no_note(id))?,
        };
        Response::json(&board)
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        if let Place::One(_) = place(request)? {
            return Err(not_allowed("GET, HEAD, DELETE"));
        }
        let note = self.board().add(text(request)?);
        let location = format!("/notes/{}", note.id);
        Ok(Response::json(&note)?.with_status(201).with_header("location", location))
    }

    fn do_delete(&self, request: &Request) -> Result<Response> {
        match place(request)? {
            Place::All => Err(not_allowed("GET, HEAD, POST")),
            Place::One(id) => self.board().notes.remove(&id).map(|_| Response::no_content()).ok_or_else(|| no_note(id)),
        }
    }
}

impl Notes {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Board {
    fn add(&mut self, text: String) -> Note {
        self.last += 1;
        let note = Note { id: self.last, text };
        self.notes.insert(note.id, note.clone());
        note
    }
}

fn place(request: &Request) -> Result<Place> {
    match request.path().strip_prefix("/notes") {
        Some("") => Ok(Place::All),
        Some(rest) if rest.starts_with('/') => {
            let id = rest[1..].parse().map_err(|_| Error::new(404, "a note's id is a number"))?;
            Ok(Place::One(id))
        }
        _ => Err(Error::new(404, "there is only /notes here")),
    }
}

/// The text of a new note, from JSON or a form; what is wrong with it decides the status.
fn text(request: &Request) -> Result<String> {
    let form = request.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let text = if form {
        let form = request.form()?; // malformed: 400
        form.get("text").ok_or_else(|| Error::new(422, "a field named text is missing"))?.to_owned()
    } else {
        request.json::<NewNote>()?.text // neither JSON nor a form: 415; malformed: 400, and why
    };
    match text.chars().count() {
        0 => Err(Error::new(422, "a note wants some text")),
        length if length > LONGEST => Err(Error::new(422, format!("a note has {LONGEST} characters at most"))),
        _ => Ok(text),
    }
}

fn no_note(id: u64) -> Error {
    Error::new(404, format!("there is no note {id}"))
}

fn not_allowed(allow: &str) -> Error {
    Error::new(405, "that can't be done here").with_header("allow", allow)
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let notes = Http::new(Notes::default()).body_limit(64 << 10); // longer: 413, and not read
    let server = TcpServer::bind(address, notes)?;
    println!("Serving HTTP at http://{}/notes ...", server.local_addr());
    server.serve_forever()
}
