//! A single-page app beside its API: files, the page of the app for all paths that it handles itself, and below `/api`
//! only JSON.
//!
//! `cargo run -p spa -- 127.0.0.1:8000 spa/dist`

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::layers::JsonErrors;
use modest::{
    Layer, OrStatus, Request, RequestHandler, Response, Result, Router, Routes, StaticFileHandler, TcpServer,
};
use serde::{Deserialize, Serialize};

/// The tasks of the API, shared by all workers.
#[derive(Default)]
struct Tasks {
    tasks: Mutex<Vec<Task>>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Task {
    title: String,
    #[serde(default)]
    done: bool,
}

impl Tasks {
    fn all(&self, _: &Request) -> Result<Response> {
        Ok(Response::json(&*self.tasks()))
    }

    fn add(&self, request: &Request) -> Result<Response> {
        let task: Task = request.json()?; // not JSON: 415; malformed, or another shape: 400
        let mut tasks = self.tasks();
        tasks.push(task.clone());
        let location = format!("{}/{}", request.original_path(), tasks.len() - 1);
        Ok(Response::json(&task).with_status(201).with_header("location", location))
    }

    fn one(&self, request: &Request) -> Result<Response> {
        let number: usize = request.path_param("number")?; // not a number: 404
        self.tasks().get(number).map(Response::json).or_status(404)
    }

    fn change(&self, request: &Request) -> Result<Response> {
        let number: usize = request.path_param("number")?;
        let changed: Task = request.json()?;
        *self.tasks().get_mut(number).or_status(404)? = changed;
        Ok(Response::no_content())
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An ordinary handler. It gets all requests below `/api`, including unknown paths.
fn api() -> impl RequestHandler {
    let routes: Router<Tasks> = Routes::new()
        .get("/tasks", Tasks::all)
        .post("/tasks", Tasks::add)
        .get("/tasks/{number}", Tasks::one)
        .put("/tasks/{number}", Tasks::change)
        .with_state(Tasks::default());
    routes.layer(JsonErrors).layer(Fresh)
}

/// A layer that forbids caches to store a response.
struct Fresh;

impl Layer for Fresh {
    fn finish_response(&self, _: &Request, response: Response) -> Response {
        response.with_header("cache-control", "no-store")
    }
}

fn files(folder: &Path) -> std::io::Result<StaticFileHandler> {
    StaticFileHandler::new(folder)?
        // The app reads the path, and shows `/tasks/7`. A missing part of the page (`/assets/old.js`) is a 404.
        .app_page("index.html")?
        // Names there contain a hash of the content. Browsers revalidate everything else, usually with a 304.
        .cache_control("/assets/", "public, max-age=31536000, immutable")
}

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let folder = words.next().unwrap_or("spa/dist".into());
    let app = Routes::new().mount("/api", api()).fallback(files(Path::new(&folder))?).with_state(());
    let server = TcpServer::bind(address, app)?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
