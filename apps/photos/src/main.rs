//! An inbox for photos: a form sends them, background threads make thumbnails, and each page shows a thumbnail as
//! soon as it is there.
//!
//! `cargo run -p photos -- 127.0.0.1:8000 photos`, then open it in two browsers.

use std::path::{Path, PathBuf};

use modest::background::Jobs;
use modest::live::Broadcast;
use modest::{Error, Http, OrStatus, Request, Response, Result, Routes, StaticFileHandler, TcpServer};

#[derive(Clone)]
struct Photos {
    folder: PathBuf,
    jobs: Jobs<PathBuf>,
    news: Broadcast,
}

impl Photos {
    fn add(&self, request: &Request) -> Result<Response> {
        let mut form = request.form_data()?;
        while let Some(mut part) = form.next_part()? {
            let is_photo = part.content_type().is_some_and(|kind| ["image/jpeg", "image/png"].contains(&kind));
            match part.safe_file_name() {
                Some(_) if is_photo => self.jobs.push(part.save_in(&self.folder)?).or_status(503)?, // 503 if too many jobs wait
                Some(name) => return Err(Error::new(415, format!("{name} is neither a JPEG nor a PNG"))),
                None => {} // no file was chosen
            }
        }
        Ok(Response::redirect("/"))
    }

    /// The names of all thumbnails, and then each new one.
    fn events(&self, request: &Request) -> Result<Response> {
        let listener = self.news.listen(request)?; // before the folder is read: a photo may come twice, and none is missed
        let names = std::fs::read_dir(self.folder.join("thumbs"))?.flatten().map(|entry| entry.file_name());
        Ok(Response::events(names.fold(listener, |listener, name| listener.with_event(name.to_string_lossy()))))
    }

    /// Called by a background thread.
    fn shrink(&self, photo: &Path) -> Result<()> {
        let name = photo.file_name().ok_or("a photo has a name")?.to_string_lossy();
        let hidden = self.folder.join(format!(".{name}"));
        image::ImageReader::open(photo)?.with_guessed_format()?.decode()?.thumbnail(320, 320).save(&hidden)?;
        std::fs::rename(hidden, self.folder.join("thumbs").join(&*name))?; // so that a visible thumbnail is complete
        Ok(_ = self.news.send(name))
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr();
    let words: Vec<String> = std::env::args().collect();
    let [_, address, folder] = &words[..] else { return Err(std::io::Error::other("expected ADDRESS FOLDER")) };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(folder.join("thumbs"))?;
    let photos = Photos { folder: folder.clone(), jobs: Jobs::new(100), news: Broadcast::new() };
    let app = Routes::new()
        .get("/", |_, _| Ok(Response::html(include_str!("page.html"))))
        .post("/", Photos::add)
        .get("/events", Photos::events)
        .mount("/photos", StaticFileHandler::new(&folder)?)
        .with_state(photos.clone());
    let http = Http::new(app).body_folder(folder).body_limit(100 << 20);
    let server = TcpServer::bind(address.as_str(), http)?.background("thumbnails", move |stop| {
        let shrink = |photo: PathBuf| {
            photos.shrink(&photo).unwrap_or_else(|error| log::warn!("{}: {error}", photo.display()));
        };
        photos.jobs.for_each(stop, shrink);
    });
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
