//! A URL shortener over SQLite. A form or JSON makes a short link, each use is counted, and a page lists the links of
//! its visitor, who has a session. Pages of other sites can't send the form.
//!
//! `cargo run -p shortener -- 127.0.0.1:8000 links.db`, then open it in a browser, or
//! `curl -H 'content-type: application/json' -d '{"url": "https://example.org"}' http://127.0.0.1:8000/links`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::layers::{Csrf, FileSessions, Session, Sessions};
use modest::{Error, Http, OrStatus, Request, RequestHandler, Response, Result, Routes, TcpServer, escape_html};
use rusqlite::{Connection, OptionalExtension};
use url::Url;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS links (code TEXT PRIMARY KEY, url TEXT NOT NULL, visits INTEGER NOT NULL)";
const ADD: &str = "INSERT INTO links VALUES (lower(hex(randomblob(4))), ?1, 0) RETURNING code";
const FOLLOW: &str = "UPDATE links SET visits = visits + 1 WHERE code = ?1 RETURNING url";

/// Shared by all workers. SQLite has one writer at a time anyway.
struct Database(Mutex<Connection>);

#[derive(serde::Deserialize)]
struct NewLink {
    url: Url, // anything else is a 422, with the field and the reason
}

impl Database {
    fn list(&self, request: &Request) -> Result<Response> {
        let (session, mut rows) = (Session::of(request)?, String::new());
        for code in session.get::<Vec<String>>("codes").unwrap_or_default() {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
            let (url, visits) = self.db().query_row("SELECT url, visits FROM links WHERE code = ?1", [&code], row)?;
            rows += &format!("<tr><td><a href=\"/{code}\">/{code}</a><td>{}<td>{visits}\n", escape_html(&url));
        }
        let page = include_str!("page.html").replace("{token}", &session.csrf_token()?).replace("{rows}", &rows);
        Ok(Response::html(page.replace("{flash}", &escape_html(&session.take_flashes().join(" ")))))
    }

    fn add(&self, request: &Request) -> Result<Response> {
        let is_form = request.has_media_type("application/x-www-form-urlencoded");
        let NewLink { url } = if is_form { request.form_as()? } else { request.json_as()? };
        if !["http", "https"].contains(&url.scheme()) || url.as_str().len() > 2000 {
            return Err(
                Error::new(422, "").with_field_error("url", "expected http:// or https://, and at most 2000 bytes")
            );
        }
        let code: String = self.db().query_row(ADD, [url.as_str()], |row| row.get(0))?;
        if !is_form {
            let link = serde_json::json!({ "code": code, "url": url.as_str(), "visits": 0 });
            return Ok(Response::json(&link).with_status(201).with_header("location", format!("/{code}")));
        }
        let session = Session::of(request)?;
        session.flash(format!("/{code} is made."));
        session.insert("codes", &[vec![code], session.get("codes").unwrap_or_default()].concat())?;
        Ok(Response::redirect("/"))
    }

    fn follow(&self, request: &Request) -> Result<Response> {
        let code: String = request.path_param("code")?;
        let url: Option<String> = self.db().query_row(FOLLOW, [code], |row| row.get(0)).optional()?;
        Ok(Response::redirect_with(302, url.or_status(404)?).with_header("cache-control", "no-store"))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let path = words.next().unwrap_or("links.db".into());
    let (database, sessions) = (Connection::open(&path)?, FileSessions::open(path + "-sessions")?);
    database.execute(TABLE, [])?;
    let app = Routes::new().get("/", Database::list).post("/links", Database::add).get("/{code}", Database::follow);
    let app = app.with_state(Database(Mutex::new(database))).layer(Csrf::new()).layer(Sessions::new(sessions));
    // a longer body gets 413 and is not read
    let server = TcpServer::bind(address, Http::new(app).body_limit(16 << 10))?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    Ok(server.serve_forever()?)
}
