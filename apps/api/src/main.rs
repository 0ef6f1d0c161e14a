//! A JSON API for programs and for pages of another site: bearer tokens, an id for each request, CORS with preflight,
//! errors in JSON, and a JSON line on stderr for each request.
//!
//! `API_TOKENS=ada:7f3a9c,bob:1b2d4e cargo run -p api -- 127.0.0.1:8000 https://app.example audit.log`, then
//! `curl -H 'authorization: Bearer 7f3a9c' -H 'content-type: application/json' -d '{"text": "milk"}'
//! http://127.0.0.1:8000/notes`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use modest::layers::{BearerAuth, Cors, JsonErrors, RequestIds};
use modest::{Error, Http, LogFormat, OrStatus, Request, RequestHandler, Response, Result, Routes, TcpServer, User};
use serde::{Deserialize, Serialize};

/// Shared by all workers.
struct Api {
    notes: Mutex<Notes>,
}

struct Notes {
    all: BTreeMap<u64, Note>,
    /// The audit log: each change and its user. A change that can't be logged is not made.
    audit: File,
}

#[derive(Serialize)]
struct Note {
    id: u64,
    #[serde(skip)]
    owner: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewNote {
    text: String,
}

impl Api {
    fn list(&self, request: &Request) -> Result<Response> {
        let (user, notes) = (request.user().or_status(401)?, self.notes());
        Ok(Response::json(&notes.all.values().filter(|note| note.owner == user).collect::<Vec<_>>()))
    }

    fn one(&self, request: &Request) -> Result<Response> {
        let (user, id) = (request.user().or_status(401)?, request.path_param("id")?);
        Ok(Response::json(self.notes().of(&user, id)?))
    }

    fn add(&self, request: &Request) -> Result<Response> {
        // not JSON: 415; malformed: 400; another shape: 422, with an error for each field
        let NewNote { text } = request.json_as()?;
        if text.trim().is_empty() {
            return Err(Error::new(422, "").with_field_error("text", "expected some text"));
        }
        let (owner, mut notes) = (request.user().or_status(401)?, self.notes());
        let id = notes.all.last_key_value().map_or(1, |(last, _)| last + 1);
        writeln!(notes.audit, "{owner} added {id}")?; // a full disk: 500, and the reason is in the log
        let response = Response::json(notes.all.entry(id).or_insert(Note { id, owner, text }));
        Ok(response.with_status(201).with_header("location", format!("/notes/{id}")))
    }

    fn remove(&self, request: &Request) -> Result<Response> {
        let (user, id) = (request.user().or_status(401)?, request.path_param("id")?);
        let mut notes = self.notes();
        notes.of(&user, id)?;
        writeln!(notes.audit, "{user} removed {id}")?;
        notes.all.remove(&id);
        Ok(Response::no_content())
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes {
    /// A user must not learn that another user's note exists.
    fn of(&self, user: &str, id: u64) -> Result<&Note> {
        let note = self.all.get(&id).filter(|note| note.owner == user);
        note.ok_or_else(|| Error::new(404, format!("there is no note {id}")))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _log = modest::log_to_stderr();
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let origin = words.next().unwrap_or("http://localhost:5173".into());
    let audit = File::options().append(true).create(true).open(words.next().unwrap_or("audit.log".into()))?;
    let tokens = std::env::var("API_TOKENS").map_err(|_| "API_TOKENS is to be NAME:TOKEN,NAME:TOKEN")?;
    let tokens = tokens.split(',').filter_map(|pair| pair.split_once(':'));
    let auth = tokens.fold(BearerAuth::new("notes"), |auth, (name, token)| auth.token(token, User::new(name)));
    let cors = Cors::new().origin(&origin).headers(["authorization", "content-type"]).expose(["x-request-id"]);
    let app = Routes::new()
        .get("/notes", Api::list)
        .post("/notes", Api::add)
        .get("/notes/{id}", Api::one)
        .delete("/notes/{id}", Api::remove)
        .with_state(Api { notes: Mutex::new(Notes { all: BTreeMap::new(), audit }) })
        .layer(auth)
        .layer(cors) // a preflight has no token
        .layer(RequestIds::new())
        .layer(JsonErrors); // the outermost layer: it covers every error, including the server's own
    let http = Http::new(app).body_limit(64 << 10).head_timeout(Duration::from_secs(5)).access_log(LogFormat::Json);
    let server = TcpServer::bind(address, http)?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/notes ...", server.local_addr());
    Ok(server.serve_forever()?)
}
