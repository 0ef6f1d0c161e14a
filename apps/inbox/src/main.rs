//! An inbox for photos. A form sends them, up to 500 MiB each, and a page shows the photos that are arriving and those
//! that have arrived. A cancelled upload leaves nothing behind.
//!
//! `cargo run -p inbox -- 127.0.0.1:8000 inbox`, then open it in a browser, or `curl -F photo=@a.jpg
//! http://127.0.0.1:8000/`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use modest::{BodyPlan, Error, Http, Request, Response, Result, Routes, StaticFileHandler, TcpServer};
use serde::Serialize;

const LARGEST: u64 = 500 << 20; // bytes of a form; the page sends each photo in a separate form
const ALL: u64 = 10 << 30; // bytes of all forms that arrive at the same time

struct Inbox {
    folder: PathBuf,
    /// Uploads in progress. Each request owns one of them.
    arriving: Mutex<Vec<Weak<Arrival>>>,
}

#[derive(Serialize)]
struct Arrival {
    length: Option<u64>,
    received: AtomicU64,
}

impl Inbox {
    /// Called with the head of a form: rejects it if it is too large, otherwise notes its arrival.
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

    /// Called when the whole form has arrived, in an unnamed file of the folder. It is not called for a cancelled
    /// upload.
    fn take(&self, request: &Request) -> Result<Response> {
        let mut saved = Vec::new();
        match self.save_all(request, &mut saved) {
            Ok(()) if saved.is_empty() => Err(Error::new(422, "there is no photo in this form")),
            Ok(()) => Ok(Response::redirect("/")),
            Err(error) => {
                saved.iter().try_for_each(std::fs::remove_file)?; // stores all files of a form, or none
                Err(error)
            }
        }
    }

    fn save_all(&self, request: &Request, saved: &mut Vec<PathBuf>) -> Result<()> {
        let mut form = request.form_data()?; // no form with files: 415
        while let Some(mut part) = form.next_part()? {
            let Some(name) = part.safe_file_name() else { continue }; // a field, or no file was chosen
            if !part.content_type().is_some_and(|kind| kind.starts_with("image/")) {
                return Err(Error::new(415, format!("{name} is not an image")));
            }
            saved.push(part.save_in(&self.folder)?); // phones often repeat a name: this one becomes `photo-1.jpg`
        }
        Ok(())
    }
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let folder = PathBuf::from(words.next().unwrap_or("inbox".into()));
    std::fs::create_dir_all(&folder)?;
    // A picture can contain scripts. The sandbox prevents them from running.
    let photos = StaticFileHandler::new(&folder)?.header_for("*", "content-security-policy", "sandbox")?;
    let app = Routes::new()
        .get("/", |_, _| Ok(Response::html(include_str!("page.html"))))
        .post("/", Inbox::take)
        .before_body(Inbox::expect)
        .get("/arriving", Inbox::progress)
        .mount("/photos", photos) // the folder's listing shows the photos that have arrived
        .with_state(Inbox { folder: folder.clone(), arriving: Mutex::default() });
    let server = TcpServer::bind(address, Http::new(app).body_folder(folder).body_quota(ALL))?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
