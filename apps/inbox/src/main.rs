//! An inbox for photos: a form sends them, up to 500 MiB each, a page shows what is arriving and what has arrived. An upload
//! that is cancelled leaves nothing behind.
//!
//! `cargo run -p inbox -- 127.0.0.1:8000 inbox`, then open it in a browser, or `curl -F photo=@a.jpg http://127.0.0.1:8000/`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use modest::{BodyPlan, Error, Http, Request, Response, Result, Routes, StaticFileHandler, TcpServer};
use serde::Serialize;

const LARGEST: u64 = 500 << 20; // bytes of a form; the page sends each photo by itself
const ALL: u64 = 10 << 30; // bytes of all forms that arrive at the same time

struct Inbox {
    folder: PathBuf,
    /// Uploads under way. Each is kept alive by its request.
    arriving: Mutex<Vec<Weak<Arrival>>>,
}

#[derive(Serialize)]
struct Arrival {
    length: Option<u64>,
    received: AtomicU64,
}

impl Inbox {
    /// Called when the head of a form is here: it may be too large, or from now on it is one that arrives.
    fn expect(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        let arrival = Arc::new(Arrival { length, received: AtomicU64::new(0) });
        self.arriving().push(Arc::downgrade(&arrival));
        plan.limit(LARGEST).progress(move |bytes| arrival.received.store(bytes, Relaxed));
        Ok(())
    }

    fn arriving(&self) -> MutexGuard<'_, Vec<Weak<Arrival>>> {
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        arriving.retain(|arrival| arrival.strong_count() > 0);
        arriving
    }

    fn progress(&self, _: &Request) -> Result<Response> {
        let arriving: Vec<_> = self.arriving().iter().filter_map(Weak::upgrade).collect();
        Ok(Response::json(&arriving).with_header("cache-control", "no-store"))
    }

    /// Called when all of it is here, in an unnamed file of the folder: who cancels never comes to this.
    fn take(&self, request: &Request) -> Result<Response> {
        let mut saved = Vec::new();
        match self.save_all(request, &mut saved) {
            Ok(()) if saved.is_empty() => Err(Error::new(422, "there is no photo in this form")),
            Ok(()) => Ok(Response::redirect("/")),
            Err(error) => {
                saved.iter().try_for_each(std::fs::remove_file)?; // all of a form or nothing of it
                Err(error)
            }
        }
    }

    fn save_all(&self, request: &Request, saved: &mut Vec<PathBuf>) -> Result<()> {
        let mut form = request.form_data()?; // no form with files: 415
        while let Some(mut part) = form.next_part()? {
            let Some(name) = part.safe_file_name() else { continue }; // a field, or no file chosen
            if !part.content_type().is_some_and(|kind| kind.starts_with("image/")) {
                return Err(Error::new(415, format!("{name} is no image")));
            }
            saved.push(part.save_in(&self.folder)?); // a phone calls every photo the same: `photo-1.jpg`
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let folder = PathBuf::from(words.next().unwrap_or("inbox".into()));
    std::fs::create_dir_all(&folder)?;
    // A picture may hold scripts: they run nowhere.
    let photos = StaticFileHandler::new(&folder)?.header_for("*", "content-security-policy", "sandbox")?;
    let app = Routes::new()
        .get("/", |_, _| Ok(Response::html(include_str!("page.html"))))
        .post("/", Inbox::take)
        .before_body(Inbox::expect)
        .get("/arriving", Inbox::progress)
        .mount("/photos", photos) // its listing is what arrived
        .with_state(Inbox { folder: folder.clone(), arriving: Mutex::default() });
    let server = TcpServer::bind(address, Http::new(app).body_folder(folder).body_quota(ALL))?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
