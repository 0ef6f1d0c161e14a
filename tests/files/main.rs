//! A served folder without a socket: which files are found, their types and names, and that they are never stale. Each
//! case calls a handler as the server would. Conditions and ranges belong to `http` and are tested there.

mod above;
mod archive;
mod churn;
mod compressed;
mod fresh;
mod kept;
mod listing;
mod mounts;
mod names;
mod options;
mod rights;
mod safe;
mod system;
mod types;
mod uploads;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use modest::{Request, RequestHandler, Response, Result, StaticFileHandler};
use tempfile::TempDir;

/// A temporary folder, which is removed after the test.
pub struct Folder(TempDir);

/// The response: status, fields and body. An error is as the server would send it.
#[derive(Debug)]
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

    /// Begins the file with the magic bytes of gzip or Zstandard, and ends gzip with the length of the file beside it.
    /// Texts of responses leave them out.
    pub fn write_coded(&self, path: &str, text: &str) {
        let Some(plain) = path.strip_suffix(".gz") else {
            return self.write(path, [ZSTANDARD, text.as_bytes()].concat());
        };
        let length = fs::metadata(self.path(plain)).map_or(0, |file| file.len() as u32);
        self.write(path, [GZIP, text.as_bytes(), &[0; 16], &length.to_le_bytes()].concat());
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

/// The first bytes of files in these codings.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTANDARD: &[u8] = b"\x28\xb5\x2f\xfd";

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.response_headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.response_headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    pub fn text(&self) -> String {
        let of_gzip = self.body.strip_prefix(GZIP).and_then(|rest| rest.split(|&byte| byte == 0).next());
        let unmarked = of_gzip.or_else(|| self.body.strip_prefix(ZSTANDARD));
        String::from_utf8_lossy(unmarked.unwrap_or(&self.body)).into_owned()
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

/// Status and content in a line: the text of a file, or the target of a redirect.
pub fn line(got: &Got) -> String {
    match got.status {
        200 if got.text().contains("Index of /") => "200 listing".to_owned(),
        200 => format!("200 {}", got.text()),
        301 => format!("301 {}", got.header("location")),
        status => status.to_string(),
    }
}

/// Checks all cases, a few of them at once: each one mostly waits, for instance until the kernel has closed an instance of
/// inotify.
pub fn at_once<T: Send>(cases: impl Iterator<Item = T> + Send, check: impl Fn(T) + Sync) {
    let cases = Mutex::new(cases);
    let next = || cases.lock().unwrap().next();
    std::thread::scope(|scope| {
        (0..6).for_each(|_| drop(scope.spawn(|| std::iter::from_fn(next).for_each(&check))));
    });
}

/// The time without a change after which a sidecar is accepted, and a bit more.
pub const STILL: Duration = Duration::from_millis(2010);

/// Sends the request once everything in the folder is old enough to be cached, then again, so that the response is from
/// the cache.
pub fn settled(folder: &Folder, handler: &impl RequestHandler, request: &Request) -> Got {
    wait_for_age(folder.as_ref(), Duration::from_millis(30));
    ask(handler, request);
    ask(handler, request);
    ask(handler, request)
}

/// Waits until the last change in the folder is this long ago.
pub fn wait_for_age(path: &Path, age: Duration) {
    let changed = |metadata: fs::Metadata| Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let changed = SystemTime::UNIX_EPOCH + changed(metadata);
        while changed.elapsed().unwrap_or_default() < age {
            std::thread::sleep(Duration::from_millis(1)); // waits for the clock
        }
    }
}
