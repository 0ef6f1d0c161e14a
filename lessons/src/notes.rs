//! Page 12: notes that people write into a form. Used by steps 12 and 13.

use std::collections::HashMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::head::Rejection;
use crate::http::Response;
use crate::message::Request;
use crate::table::lock;
use crate::web::{cookie, form, html, json, secret};

const MAX: usize = 1000; // notes, and sessions

/// The server's data about a visitor. The visitor has only the key of the session, in a cookie.
#[derive(Clone)]
struct Session {
    name: String,
    token: String, // each form that we send contains the token, and must return it
}

#[derive(Default)]
pub struct Notes {
    notes: Mutex<Vec<(String, String)>>, // name and text
    sessions: Mutex<HashMap<String, Session>>,
}

fn see(path: &str) -> Response {
    Response::text(303, "").with("Location", path)
}

impl Notes {
    pub fn handle(&self, request: &Request) -> Result<Response, Rejection> {
        match (request.head.method.as_str(), request.head.target.as_str()) {
            ("GET" | "HEAD", "/") => Ok(self.page(request)),
            ("GET" | "HEAD", "/notes.json") => Ok(self.json()),
            ("GET", "/report") => {
                thread::sleep(Duration::from_secs(1)); // takes a while
                Ok(Response::text(200, &format!("{} notes\n", lock(&self.notes).len())))
            }
            ("POST", "/login") => self.log_in(request),
            ("POST", "/notes") => self.add(request),
            _ => Err((404, "not found\n")),
        }
    }

    fn session(&self, request: &Request) -> Option<Session> {
        lock(&self.sessions).get(cookie(request, "session")?).cloned()
    }

    fn page(&self, request: &Request) -> Response {
        let mut page = String::from("<!DOCTYPE html>\n<title>Notes</title>\n");
        for (name, text) in lock(&self.notes).iter() {
            page += &format!("<p>{}: {}</p>\n", html(name), html(text));
        }
        page += &match self.session(request) {
            Some(session) => format!(
                "<form method=post action=/notes><input type=hidden name=token value={}><input name=text></form>\n",
                session.token
            ),
            None => "<form method=post action=/login>Your name: <input name=name></form>\n".into(),
        };
        let policy = "default-src 'none'; form-action 'self'"; // no script, whatever the page contains
        Response::new(200, "text/html; charset=utf-8", page).with("Content-Security-Policy", policy)
    }

    fn json(&self) -> Response {
        let notes = lock(&self.notes);
        let notes = notes.iter().map(|(name, text)| format!("{{\"name\":{},\"text\":{}}}", json(name), json(text)));
        Response::new(200, "application/json", format!("[{}]\n", notes.collect::<Vec<_>>().join(",")))
    }

    /// A new session, under a new key: a key that the browser brought is not used.
    fn log_in(&self, request: &Request) -> Result<Response, Rejection> {
        let name = form(request, "name").filter(|name| !name.is_empty()).ok_or((400, "expected a name\n"))?;
        let (Ok(key), Ok(token)) = (secret(), secret()) else { return Err((500, "no randomness\n")) };
        let mut sessions = lock(&self.sessions);
        if sessions.len() == MAX {
            return Err((503, "too many visitors\n"));
        }
        sessions.insert(key.clone(), Session { name, token });
        Ok(see("/").with("Set-Cookie", format!("session={key}; Path=/; HttpOnly; SameSite=Lax")))
    }

    fn add(&self, request: &Request) -> Result<Response, Rejection> {
        let session = self.session(request).ok_or((403, "log in first\n"))?;
        if form(request, "token").as_ref() != Some(&session.token) {
            return Err((403, "this form is not from our page\n"));
        }
        let text = form(request, "text").filter(|text| !text.is_empty()).ok_or((400, "expected a text\n"))?;
        let mut notes = lock(&self.notes);
        if notes.len() == MAX {
            return Err((503, "no room for more notes\n"));
        }
        notes.push((session.name, text));
        Ok(see("/")) // 303: the browser shows the page, and reloading it does not send the form again
    }
}
