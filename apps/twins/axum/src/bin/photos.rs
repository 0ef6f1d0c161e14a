//! An inbox for photos: a form sends them, a task makes thumbnails, and each page shows a thumbnail as soon as it is there.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::{env, io};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use tokio::io::AsyncWriteExt;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::BroadcastStream;
use tower_http::services::ServeDir;

#[derive(Clone)]
struct Photos {
    folder: PathBuf,
    jobs: mpsc::Sender<PathBuf>,
    news: broadcast::Sender<String>,
}

struct Failed(StatusCode);

impl IntoResponse for Failed {
    fn into_response(self) -> axum::response::Response {
        self.0.into_response()
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        eprintln!("{error}");
        Failed(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A new file under this name, or under the first free one after it.
async fn create(folder: &Path, name: &str) -> io::Result<(PathBuf, tokio::fs::File)> {
    let name = Path::new(name);
    let (stem, extension) = (name.file_stem().unwrap_or_default(), name.extension().unwrap_or_default());
    for number in 0..1000 {
        let path = match number {
            0 => folder.join(name),
            _ => folder.join(format!("{}-{number}.{}", stem.display(), extension.display())),
        };
        match tokio::fs::File::create_new(&path).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|file| (path, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

async fn add(State(photos): State<Photos>, mut form: Multipart) -> Result<Redirect, Failed> {
    while let Some(mut part) = form.next_field().await.map_err(|error| Failed(error.status()))? {
        let name = part.file_name().and_then(|name| name.rsplit(['/', '\\']).next()).unwrap_or_default().to_owned();
        if name.is_empty() {
            continue; // no file was chosen
        }
        if name.starts_with('.') || !matches!(part.content_type(), Some("image/jpeg" | "image/png")) {
            return Err(Failed(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let (path, mut file) = create(&photos.folder, &name).await?;
        loop {
            match part.chunk().await {
                Ok(Some(bytes)) => file.write_all(&bytes).await?,
                Ok(None) => break,
                Err(error) => {
                    tokio::fs::remove_file(path).await?; // not reached if the client disconnects
                    return Err(Failed(error.status()));
                }
            }
        }
        file.flush().await?;
        photos.jobs.try_send(path).map_err(|_| Failed(StatusCode::SERVICE_UNAVAILABLE))?;
    }
    Ok(Redirect::to("/"))
}

async fn events(State(photos): State<Photos>) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failed> {
    let news = BroadcastStream::new(photos.news.subscribe());
    let (mut names, mut folder) = (Vec::new(), tokio::fs::read_dir(photos.folder.join("thumbs")).await?);
    while let Some(entry) = folder.next_entry().await? {
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    let news = news.filter_map(async |name| name.ok()); // a slow listener loses some names
    let events = stream::iter(names).chain(Box::pin(news)).map(|name| Ok(Event::default().data(name)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn shrink(folder: &Path, photo: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let name = photo.file_name().ok_or("a photo has a name")?.to_string_lossy().into_owned();
    let hidden = folder.join(format!(".{name}"));
    image::ImageReader::open(photo)?.with_guessed_format()?.decode()?.thumbnail(320, 320).save(&hidden)?;
    std::fs::rename(hidden, folder.join("thumbs").join(&name))?;
    Ok(name)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let [_, address, folder] = &words[..] else { return Err(io::Error::other("expected ADDRESS FOLDER")) };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(folder.join("thumbs"))?;
    let (jobs, mut queue) = mpsc::channel::<PathBuf>(100);
    let photos = Photos { folder: folder.clone(), jobs, news: broadcast::channel(100).0 };
    let worker = photos.clone();
    let thumbnails = std::thread::spawn(move || {
        while let Some(photo) = queue.blocking_recv() {
            match shrink(&worker.folder, &photo) {
                Ok(name) => _ = worker.news.send(name),
                Err(error) => eprintln!("{}: {error}", photo.display()),
            }
        }
    });
    let app = Router::new()
        .route("/", get(async || Html(include_str!("../../../../photos/src/page.html"))).post(add))
        .route("/events", get(events))
        .nest_service("/photos", ServeDir::new(folder))
        .with_state(photos)
        .layer(DefaultBodyLimit::max(100 << 20));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("Serving HTTP at http://{}/ ...", listener.local_addr()?);
    // Event streams have no end, so a graceful shutdown would wait for every page that is open.
    tokio::select! {
        served = async { axum::serve(listener, app).await } => served?,
        _ = tokio::signal::ctrl_c() => {}
    }
    drop(thumbnails); // it ends with the process, in the middle of a photo
    Ok(())
}
