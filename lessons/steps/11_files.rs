//! A folder: paths, conditions and ranges. `cargo run -q --bin step11 [ADDRESS]`

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lessons::engine::serve;
use lessons::head::Rejection;
use lessons::http::{Handler, Http, Response};
use lessons::message::Request;
use lessons::path::{Root, UrlPath, decode};

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        None | Some("html") => "text/html; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}

/// `bytes=0-99`, `bytes=100-`, `bytes=-5` of a file: the first byte and the number of bytes. `None`: the field is not a
/// single range, so everything is sent.
fn range(field: &str, length: u64) -> Option<Result<(u64, u64), Rejection>> {
    let (first, last) = field.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(length.saturating_sub(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, length.saturating_sub(1)),
        (Err(_), Ok(count)) if first.is_empty() => (length.saturating_sub(count), length.saturating_sub(1)),
        _ => return None,
    };
    Some(if first < length { Ok((first, last - first + 1)) } else { Err((416, "the file is shorter\n")) })
}

/// A file as a response: all of it, a part, or 304 if the client has it.
fn send(request: &Request, name: &str, mut file: File) -> io::Result<Result<Response, Rejection>> {
    let metadata = file.metadata()?;
    let (length, etag) =
        (metadata.len(), format!("\"{:x}.{:x}-{:x}\"", metadata.mtime(), metadata.mtime_nsec(), metadata.len()));
    let mut response = Response::new(200, media_type(name), "").with("ETag", &etag).with("Accept-Ranges", "bytes");
    let known = request.head.all("if-none-match").flat_map(|field| field.split(','));
    if known.map(str::trim).any(|known| known == etag || known == "*") {
        response.status = 304;
        return Ok(Ok(response));
    }
    let (first, count) = match request.head.only("range").and_then(|field| range(field, length)) {
        None => (0, length),
        Some(Err(rejection)) => return Ok(Err(rejection)),
        Some(Ok((first, count))) => {
            response.status = 206;
            response = response.with("Content-Range", format!("bytes {first}-{}/{length}", first + count - 1));
            (first, count)
        }
    };
    file.seek(SeekFrom::Start(first))?;
    response.file = Some(file.take(count));
    Ok(Ok(response))
}

fn handle(root: &Root, request: &Request) -> Result<Response, Rejection> {
    if !["GET", "HEAD"].contains(&request.head.method.as_str()) {
        return Err((405, "try GET\n"));
    }
    let path = UrlPath::parse(&request.head.target)?;
    let file = root.open(&path).and_then(|file| Ok((file.metadata()?.is_file(), file)));
    match file {
        Ok((true, file)) => {
            let name = if path.is_folder { "index.html" } else { path.names.last().map_or("", String::as_str) };
            send(request, name, file).unwrap_or(Err((500, "the file cannot be read\n")))
        }
        _ => {
            let shown = decode(&request.head.target).unwrap_or_default();
            Ok(Response::new(404, "text/html; charset=utf-8", format!("<h1>There is no {shown} here</h1>\n")))
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let root = Root::new("pages")?;
    let handler: Handler = Arc::new(move |request| handle(&root, request));
    serve(&address, || Http::meet(&handler), &AtomicBool::new(false))
}
