//! A URL shortener over SQLite: a form or JSON makes a short link, whoever follows it is counted, a page lists them.
//!
//! `cargo run -p shortener -- 127.0.0.1:8000 links.db`, then open it in a browser, or
//! `curl -H 'content-type: application/json' -d '{"url": "https://example.org"}' http://127.0.0.1:8000/links`.

use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::{Error, Http, OrStatus, Request, Response, Result, Routes, TcpServer, escape_html};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};
use url::Url;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS links
    (number INTEGER PRIMARY KEY, code TEXT UNIQUE NOT NULL, url TEXT NOT NULL, visits INTEGER NOT NULL DEFAULT 0)";
const LONGEST: usize = 2000; // bytes of a URL

/// Shared by all workers. SQLite has one writer at a time anyway.
struct Shortener {
    links: Mutex<Connection>,
}

#[derive(Deserialize)]
struct NewLink {
    url: String,
}

#[derive(Serialize)]
struct Link {
    code: String,
    url: String,
    visits: i64,
}

impl Shortener {
    fn open(path: &str) -> rusqlite::Result<Shortener> {
        let links = Connection::open(path)?;
        links.execute(TABLE, [])?;
        Ok(Shortener { links: Mutex::new(links) })
    }

    fn list(&self, _: &Request) -> Result<Response> {
        let links = self.links();
        let mut newest = links.prepare_cached("SELECT code, url, visits FROM links ORDER BY number DESC LIMIT 100")?;
        let mut rows = String::new();
        for link in newest.query_map([], Link::read)? {
            let Link { code, url, visits } = link?; // what SQLite says is a 500, and the log hears why
            let url = escape_html(&url);
            writeln!(rows, "<tr><td><a href=\"/{code}\">/{code}</a><td>{url}<td>{visits}")?;
        }
        Ok(Response::html(include_str!("page.html").replace("{rows}", &rows)))
    }

    fn add(&self, request: &Request) -> Result<Response> {
        let is_form = request.has_media_type("application/x-www-form-urlencoded");
        let link = if is_form {
            let form = request.form()?; // malformed: 400
            self.insert(form.get("url").unwrap_or_default())?
        } else {
            self.insert(&request.json::<NewLink>()?.url)? // no JSON either: 415; malformed: 400, and why
        };
        if is_form {
            return Ok(Response::redirect("/"));
        }
        Ok(Response::json(&link).with_status(201).with_header("location", format!("/{}", link.code)))
    }

    fn follow(&self, request: &Request) -> Result<Response> {
        let code: String = request.path_param("code")?;
        let links = self.links();
        let mut count = links.prepare_cached("UPDATE links SET visits = visits + 1 WHERE code = ?1 RETURNING url")?;
        let url: Option<String> = count.query_row([code], |row| row.get(0)).optional()?;
        Ok(Response::redirect_with(302, &url.or_status(404)?).with_header("cache-control", "no-store"))
    }

    fn insert(&self, url: &str) -> Result<Link> {
        let url = checked(url)?;
        let links = self.links();
        let mut insert = links.prepare_cached(
            "INSERT INTO links (code, url) VALUES (lower(hex(randomblob(4))), ?1) RETURNING code, url, visits",
        )?;
        Ok(insert.query_row([url.as_str()], Link::read)?)
    }

    fn links(&self) -> MutexGuard<'_, Connection> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn read(row: &Row<'_>) -> rusqlite::Result<Link> {
        Ok(Link { code: row.get(0)?, url: row.get(1)?, visits: row.get(2)? })
    }
}

/// A URL that may be redirected to: never `javascript:` or `file:`.
fn checked(text: &str) -> Result<Url> {
    let wrong = |why: &str| Error::new(422, format!("That is no URL to shorten: {why}."));
    let url = Url::parse(text.trim()).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.as_str().len() <= LONGEST => Ok(url),
        "http" | "https" => Err(wrong("it is too long")),
        _ => Err(wrong("it must begin with http:// or https://")),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let shortener = Shortener::open(&words.next().unwrap_or("links.db".into()))?;
    let app = Routes::new()
        .get("/", Shortener::list)
        .post("/links", Shortener::add)
        .get("/{code}", Shortener::follow)
        .with_state(shortener);
    let server = TcpServer::bind(address, Http::new(app).body_limit(16 << 10))?; // longer: 413, and not read
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    Ok(server.serve_forever()?)
}
