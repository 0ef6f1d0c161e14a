//! A small API with shared state that accepts JSON and forms. `cargo run --example notes`, then
//! `curl -d text=milk http://127.0.0.1:8000/notes`, `curl http://127.0.0.1:8000/notes`, `curl -X DELETE http://127.0.0.1:8000/notes/1`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::{Error, Http, Request, Response, Result, Routes, TcpServer};
use serde::{Deserialize, Serialize};

const LONGEST: usize = 1000; // characters in a note

/// Shared by all workers.
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

impl Notes {
    fn all(&self, _: &Request) -> Result<Response> {
        Ok(Response::json(&self.board().notes.values().collect::<Vec<_>>()))
    }

    fn one(&self, request: &Request) -> Result<Response> {
        let id = request.path_param("id")?; // 404 if it is not a number
        self.board().notes.get(&id).map(Response::json).ok_or_else(|| no_note(id))
    }

    fn add(&self, request: &Request) -> Result<Response> {
        let note = self.board().add(text(request)?);
        let location = format!("/notes/{}", note.id);
        Ok(Response::json(&note).with_status(201).with_header("location", location))
    }

    fn remove(&self, request: &Request) -> Result<Response> {
        let id = request.path_param("id")?;
        self.board().notes.remove(&id).map(|_| Response::no_content()).ok_or_else(|| no_note(id))
    }

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

/// Returns the text of a new note, from JSON or from a form. The status of the error depends on the fault.
fn text(request: &Request) -> Result<String> {
    let text = if request.has_media_type("application/x-www-form-urlencoded") {
        let form = request.form()?; // 400 if it is malformed
        form.get("text").ok_or_else(|| Error::new(422, "expected a field named text"))?.to_owned()
    } else {
        request.json::<NewNote>()?.text // 415 if it is neither JSON nor a form; 400 with the reason if it is malformed
    };
    match text.chars().count() {
        0 => Err(Error::new(422, "expected some text")),
        length if length > LONGEST => Err(Error::new(422, format!("a note can have up to {LONGEST} characters"))),
        _ => Ok(text),
    }
}

fn no_note(id: u64) -> Error {
    Error::new(404, format!("there is no note {id}"))
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let notes = Routes::new()
        .get("/notes", Notes::all)
        .post("/notes", Notes::add)
        .get("/notes/{id}", Notes::one)
        .delete("/notes/{id}", Notes::remove)
        .with_state(Notes::default());
    let server = TcpServer::bind(address, Http::new(notes).body_limit(64 << 10))?; // a longer body gets 413 and is not read
    println!("Serving HTTP at http://{}/notes ...", server.local_addr());
    server.serve_forever()
}
