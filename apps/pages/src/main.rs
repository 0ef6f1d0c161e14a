//! A guest book: pages from templates that escape by themselves, with a layout and a part that two pages share, and static
//! files whose names contain a hash of their content.
//!
//! `cargo run -p pages -- 127.0.0.1:8000`

mod assets;

use std::sync::{Mutex, MutexGuard, PoisonError};

use askama::Template;
use assets::Assets;
use modest::{Error, OrStatus, Request, Response, Result, Routes, TcpServer};

struct Book {
    assets: Assets,
    entries: Mutex<Vec<Entry>>,
}

#[derive(Clone, serde::Deserialize)]
struct Entry {
    name: String,
    text: String,
}

#[derive(Template)]
#[template(path = "book.html")]
struct BookPage<'a> {
    assets: &'a Assets,
    entries: &'a [Entry],
}

#[derive(Template)]
#[template(path = "entry_page.html")]
struct EntryPage<'a> {
    assets: &'a Assets,
    number: usize,
    entry: &'a Entry,
}

/// A template as a response: the only line that depends on the template engine.
fn page(template: &impl Template) -> Result<Response> {
    Ok(Response::html(template.render()?))
}

impl Book {
    fn all(&self, _: &Request) -> Result<Response> {
        page(&BookPage { assets: &self.assets, entries: &self.entries() })
    }

    fn one(&self, request: &Request) -> Result<Response> {
        let number = request.path_param("number")?;
        page(&EntryPage { assets: &self.assets, number, entry: self.entries().get(number).or_status(404)? })
    }

    fn add(&self, request: &Request) -> Result<Response> {
        let entry: Entry = request.form_as()?;
        if entry.text.trim().is_empty() {
            return Err(Error::new(422, "").with_field_error("text", "expected some text"));
        }
        self.entries().push(entry);
        Ok(Response::redirect("/"))
    }

    fn asset(&self, request: &Request) -> Result<Response> {
        self.assets.respond(&request.path_param::<String>("name")?).or_status(404)
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr();
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let assets = Assets::open(concat!(env!("CARGO_MANIFEST_DIR"), "/static"))?;
    let app = Routes::new()
        .get("/", Book::all)
        .post("/", Book::add)
        .get("/entries/{number}", Book::one)
        .get("/static/{name}", Book::asset)
        .with_state(Book { assets, entries: Mutex::default() });
    let server = TcpServer::bind(address, app)?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
