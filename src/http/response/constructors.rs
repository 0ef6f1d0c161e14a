//! Responses of each kind: text, pages, JSON, files, streams, redirects.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, StatusCode, header};

use super::body::{Pieces, ResponseBody};
use super::fields::Fields;
#[cfg(feature = "json")]
use super::prepared::JSON;
use super::prepared::{BYTES, HTML, PreparedFields, TEXT};
use super::{Response, Result};
use crate::http::error::Error;
use crate::http::etag::ETag;
use crate::http::media_type::media_type_of;
use crate::http::paths::encode_location;
use crate::metadata::FileTimes;
use crate::tcp::SharedBytes;

/// Responses of each kind.
impl Response {
    /// Creates a 200 with `text/plain; charset=utf-8`.
    ///
    /// `text` is a `String`, or a `&str` (such as `request.text()?` returns), which is copied.
    pub fn text(text: impl Into<String>) -> Response {
        Response::of_kind(&TEXT, text.into().into_bytes())
    }

    /// Creates a 200 with `text/html; charset=utf-8`. Untrusted text is escaped first:
    /// [`escape_html`](crate::escape_html).
    pub fn html(page: impl Into<String>) -> Response {
        Response::of_kind(&HTML, page.into().into_bytes())
    }

    /// Creates a 200 with `application/octet-stream`.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Response {
        Response::of_kind(&BYTES, bytes.into())
    }

    /// Creates a 200 with bytes shared by many responses, without copying. No Content-Type is set.
    pub fn shared(bytes: SharedBytes) -> Response {
        Response::of(ResponseBody::shared(bytes))
    }

    /// Creates a 200 with `application/json`.
    ///
    /// A value that cannot be serialized as JSON, such as a map whose keys are not strings, becomes a 500, and the
    /// cause is logged.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Response {
        match serde_json::to_vec(value) {
            Ok(text) => Response::of_kind(&JSON, text),
            Err(error) => Response::failed(error.into()),
        }
    }

    /// Creates a 200 with a file, the media type of its name, its `Last-Modified`, and an `ETag` of its size and times.
    /// The date is left out until the second of the last change has passed, and the tag is left out for 20 ms, because
    /// a later change could have the same date or tag (RFC 9110, section 8.8.1).
    ///
    /// The path is opened as given and links are followed, so never pass a path from a client. Use
    /// [`StaticFileHandler`](crate::StaticFileHandler) for such paths.
    ///
    /// A 404 if there is no such regular file, a 403 if permission is denied, a 500 for any other error.
    pub fn file(path: impl AsRef<Path>) -> Response {
        Response::read_file(path.as_ref()).unwrap_or_else(Response::failed)
    }

    fn read_file(path: &Path) -> Result<Response> {
        // Opened without blocking, because opening a FIFO would wait for a writer.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = File::options().read(true).custom_flags(flags).open(path).map_err(open_error)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(Error::new(StatusCode::NOT_FOUND, "").with_cause("not a regular file"));
        }
        let name = path.file_name().unwrap_or_default().as_bytes();
        let media_type = HeaderValue::from_static(media_type_of(name).unwrap_or("application/octet-stream"));
        let response = Response::open_file(Arc::new(file), found.len()).set_field(header::CONTENT_TYPE, media_type);
        response.with_validators_of(&found, SystemTime::now())
    }

    /// Adds the validators that identify this state of the file: no later state can have the same (RFC 9110, section
    /// 8.8.1).
    fn with_validators_of(mut self, found: &Metadata, now: SystemTime) -> Result<Response> {
        let times = FileTimes::of(found);
        if !times.are_recent(now) {
            let FileTimes { modified, changed } = times;
            let [modified, changed] = [modified, changed].map(|time| format!("{:x}.{:x}", time.seconds, time.nanos));
            self = self.with_etag(ETag::strong(format!("{:x}-{modified}-{changed}", found.len()))?);
        }
        let date = times.date(now);
        match (times.until_dated(date, now), date.to_system_time()) {
            (None, Some(date)) => Ok(self.with_last_modified(date)),
            _ => Ok(self),
        }
    }

    /// Creates a 200 with the first `length` bytes of an open file, sent by `sendfile`. No Content-Type is set.
    ///
    /// If the file becomes shorter, the connection is reset.
    pub fn open_file(file: Arc<File>, length: u64) -> Response {
        Response::open_file_at(file, 0, length)
    }

    /// Creates a 200 with `length` bytes of an open file, from `start` on, sent by `sendfile`. No Content-Type is set.
    /// The file's own position is neither used nor changed.
    pub fn open_file_at(file: Arc<File>, start: u64, length: u64) -> Response {
        Response::of(ResponseBody::File { file, start, length })
    }

    /// Creates a 200 with everything that `read` returns until its end. No Content-Type is set.
    ///
    /// Up to 64 KiB are read at a time and sent at once. The next read follows when the socket has accepted these
    /// bytes. Use a [`BufReader`](std::io::BufReader) if `read` returns a few bytes at a time. A read can block, which
    /// holds a worker (see docs/handlers.md, "Endless responses"). As the length is unknown, HTTP/1.1 clients get the
    /// body in chunks, and for HTTP/1.0 clients it ends with the connection. If a read fails, the connection is reset,
    /// so that the client does not mistake an incomplete body for a complete one.
    pub fn stream(read: impl Read + Send + 'static) -> Response {
        Response::of(ResponseBody::stream(read, None))
    }

    /// Creates a 200 with exactly `length` bytes, read as in [`stream`](Response::stream), with `Content-Length`.
    ///
    /// If there are fewer bytes, the connection is reset. If there are more, they are not read.
    pub fn sized_stream(read: impl Read + Send + 'static, length: u64) -> Response {
        Response::of(ResponseBody::stream(read, Some(length)))
    }

    /// Creates a 200 with the items of an iterator, in chunks, as [`stream`](Response::stream). No Content-Type is set.
    /// Empty items are skipped.
    ///
    /// ```
    /// use modest::Response;
    ///
    /// let response = Response::chunks((1..=3).map(|number| format!("{number}\n")));
    /// assert_eq!(response.into_bytes()?, b"1\n2\n3\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn chunks<I>(pieces: I) -> Response
    where
        I: IntoIterator,
        I::Item: Into<Vec<u8>>,
        I::IntoIter: Send + 'static,
    {
        let pieces = pieces.into_iter().map(|piece| -> Vec<u8> { piece.into() });
        Response::stream(Pieces::new(pieces))
    }

    /// Creates a 303 See Other: the client follows with a GET.
    ///
    /// The location is a URI reference. Characters that are not allowed in one (spaces, control characters, non-ASCII)
    /// are percent-encoded.
    pub fn redirect(location: impl AsRef<str>) -> Response {
        Response::redirect_with(StatusCode::SEE_OTHER, location)
    }

    /// Returns a redirect with one of the statuses 301, 302, 303, 307 or 308.
    pub fn redirect_with(
        status: impl TryInto<StatusCode, Error: Into<http::Error>>,
        location: impl AsRef<str>,
    ) -> Response {
        Response::new(status).with_header(header::LOCATION, encode_location(location.as_ref()))
    }

    /// Creates a 204 No Content.
    pub fn no_content() -> Response {
        Response::new(StatusCode::NO_CONTENT)
    }

    fn of_kind(fields: &'static Fields, bytes: Vec<u8>) -> Response {
        Response { prepared: Some(PreparedFields::Static(fields)), ..Response::of(ResponseBody::Bytes(bytes)) }
    }
}

fn open_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Error::new(StatusCode::NOT_FOUND, "").with_cause(error)
        }
        io::ErrorKind::PermissionDenied => Error::new(StatusCode::FORBIDDEN, "").with_cause(error),
        _ => Error::from(error),
    }
}
