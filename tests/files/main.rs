//! A folder, served without a socket: what is found, how it is named, what it says, and that it is never stale.
//! Each case asks a handler as the server would. Conditions and ranges are floor 2's and tested there.

mod fresh;
mod listing;
mod names;
mod options;
mod safe;
mod types;

use std::fs;
use std::path::{Path, PathBuf};

use modest::{Request, RequestHandler, Response, Result, StaticFileHandler};
use tempfile::TempDir;

/// A fresh folder, gone with the test.
pub struct Folder(TempDir);

/// What came back: status, fields, body. An error as the server would send it.
pub struct Got {
    pub status: u16,
    pub response_headers: modest::HeaderMap,
    pub body: Vec<u8>,
}

impl Folder {
    pub fn new(files: &[(&str, &str)]) -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (path, text) in files {
            folder.write(path, text);
        }
        folder
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn handler(&self) -> StaticFileHandler {
        StaticFileHandler::new(self.0.path()).unwrap()
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        self.0.path()
    }
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.response_headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn ask(handler: &impl RequestHandler, request: &Request) -> Got {
    let response = by_method(handler, request).unwrap_or_else(|error| Response::from(&error));
    let status = response.status().as_u16();
    let response_headers = response.headers().clone();
    Got { status, response_headers, body: response.into_bytes().unwrap() }
}

fn by_method(handler: &impl RequestHandler, request: &Request) -> Result<Response> {
    match request.method().as_str() {
        "GET" | "HEAD" => handler.do_get(request),
        "OPTIONS" => handler.do_options(request),
        "POST" => handler.do_post(request),
        "PUT" => handler.do_put(request),
        "DELETE" => handler.do_delete(request),
        _ => handler.do_other(request),
    }
}

pub fn get(handler: &impl RequestHandler, target: &str) -> Got {
    ask(handler, &Request::get(target))
}

/// Status and what was served, in a line: text of a file, or where to go.
pub fn line(got: &Got) -> String {
    match got.status {
        200 if got.text().contains("<title>Index of") => "200 listing".to_owned(),
        200 => format!("200 {}", got.text()),
        301 => format!("301 {}", got.header("location")),
        status => status.to_string(),
    }
}

/// Ask until the file is old enough to have validators.
pub fn settled(handler: &impl RequestHandler, request: &Request) -> Got {
    let started = std::time::Instant::now();
    loop {
        let got = ask(handler, request);
        if !got.header("etag").is_empty() {
            return got;
        }
        assert!(started.elapsed().as_secs() < 10, "no validators for {}: {}", request.target(), got.status);
        std::thread::yield_now();
    }
}
