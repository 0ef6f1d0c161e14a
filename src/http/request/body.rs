//! The body of a request, as handlers see it. Created by `connection`. `stored` contains its bytes.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use super::arriving::{ArrivingBody, ArrivingEnd};
use super::stored::StoredBody;

/// The body of a request. It is complete, and several readers can read it at the same time, unless the handler asked
/// for a stream: see [`BodyPlan::stream`](crate::BodyPlan::stream).
pub struct Body(Source);

enum Source {
    Stored(StoredBody),
    Live(Box<ArrivingBody>),
    /// A handler rejected the request from its head: the body is not received.
    Declined,
    /// The handler has read the body as a stream, so it cannot be read again. Contains the number of received bytes.
    Over(u64),
}

impl Body {
    /// Returns the body of a request that was rejected from its head.
    pub(crate) fn declined() -> Body {
        Body(Source::Declined)
    }

    /// Returns the length in bytes. For a stream without a Content-Length: the number of bytes read so far.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Source::Stored(body) => body.len(),
            Source::Live(body) => body.len(),
            Source::Declined => 0,
            Source::Over(received) => *received,
        }
    }

    /// Returns the length of the whole body. A stream is received completely first.
    pub(crate) fn whole_len(&self) -> io::Result<u64> {
        self.whole().map(StoredBody::len)
    }

    /// Returns whether there is no body, or an empty one. A stream counts as non-empty until its end is known.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Source::Stored(body) => body.len() == 0,
            Source::Live(body) => body.is_empty(),
            Source::Declined | Source::Over(_) => false,
        }
    }

    /// Returns a reader from the first byte. Each reader has its own position, but all readers of a stream share one,
    /// because each byte is read once.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, at: 0 }
    }

    /// Returns the same body again, to keep for longer than the request. Bytes in memory are copied; a temporary file
    /// is shared. A stream is received completely first.
    ///
    /// # Errors
    /// If there is no descriptor for the file, or the stream can't be received.
    pub fn try_clone(&self) -> io::Result<Body> {
        self.whole()?.try_clone().map(Body::from)
    }

    /// Returns all bytes: borrowed if they are in memory, otherwise read from the temporary file. A stream is received
    /// completely first.
    ///
    /// # Errors
    /// If the temporary file cannot be read, or the stream cannot be received.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        self.whole()?.bytes()
    }

    /// Gives the body a name on the disk. A body in a temporary file is hard-linked, which copies nothing. A body in
    /// memory is written to a new file. The body can still be read afterwards. A second call gives it a second name.
    ///
    /// The temporary file is in [`Http::body_folder`](crate::Http::body_folder) or
    /// [`BodyPlan::folder`](crate::BodyPlan::folder). If the new name is on another file system, the body is copied.
    /// With `plan.memory(0)` every body is in a file from the start.
    ///
    /// The file's mode is `0o666` minus the umask. The file is not synced: if it must survive a power failure, open the
    /// file and its folder, and call [`File::sync_all`](std::fs::File::sync_all) for both. The body counts towards
    /// [`Http::body_quota`](crate::Http::body_quota) until the request has ended.
    ///
    /// [`Request::persist`](crate::Request::persist) does the same with errors for clients.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name exists, even as a symbolic link: nothing is overwritten. Otherwise
    /// the errors of the disk. A file that could not be written completely is removed.
    pub fn persist(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.whole()?.persist(path.as_ref())
    }

    /// Returns a reader that owns the body.
    pub fn into_reader(self) -> IntoReader {
        IntoReader { body: self, at: 0 }
    }

    fn whole(&self) -> io::Result<&StoredBody> {
        match &self.0 {
            Source::Stored(body) => Ok(body),
            Source::Live(body) => body.whole(),
            Source::Declined => Err(declined()),
            Source::Over(_) => Err(is_over()),
        }
    }

    /// Returns an error if a new [`reader`](Body::reader) would not begin with the first byte.
    pub(super) fn expect_unread(&self) -> io::Result<()> {
        match &self.0 {
            Source::Live(body) => body.expect_unread(),
            Source::Stored(_) | Source::Declined | Source::Over(_) => self.whole().map(drop),
        }
    }

    /// Called when the handler has returned. Returns the unread rest of a body that was received while the handler ran.
    pub(crate) fn end_live(&mut self) -> Option<ArrivingEnd> {
        let received = match &self.0 {
            Source::Stored(_) | Source::Declined | Source::Over(_) => return None,
            Source::Live(body) => body.received(),
        };
        let Source::Live(body) = std::mem::replace(&mut self.0, Source::Over(received)) else { return None };
        let mut end = body.end();
        if let Some(whole) = end.whole.take() {
            self.0 = Source::Stored(whole);
        }
        Some(end)
    }
}

/// Returns the error for reading a declined body. A layer that needs the body of a rejected request has to set a limit
/// in `before_body`.
fn declined() -> io::Error {
    io::Error::other(
        "the request was rejected from its head, so its body was not received; a layer that needs it calls `BodyPlan::limit`",
    )
}

/// Returns the error for reading a stream again. A handler that is called again after a wait must not mistake a
/// consumed body for an empty one.
fn is_over() -> io::Error {
    io::Error::other("the body was a stream in the handler's first call: unread bytes are no longer available")
}

impl From<StoredBody> for Body {
    fn from(body: StoredBody) -> Body {
        Body(Source::Stored(body))
    }
}

impl From<ArrivingBody> for Body {
    fn from(body: ArrivingBody) -> Body {
        Body(Source::Live(Box::new(body)))
    }
}

impl Default for Body {
    fn default() -> Body {
        StoredBody::default().into()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Stored(body) => body.fmt(f),
            Source::Live(body) => body.fmt(f),
            Source::Declined => f.write_str("Body(declined)"),
            Source::Over(received) => write!(f, "Body({received} bytes were read)"),
        }
    }
}

/// Reads a body from its first byte (Python's `rfile`, except that it ends where the body ends). Reading a stream waits
/// for bytes that have not arrived: see [`BodyPlan::stream`](crate::BodyPlan::stream) for the cost and the errors.
#[derive(Clone, Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    at: u64,
}

/// Reads a body that it owns, from its first byte: [`Body::into_reader`].
#[derive(Debug)]
pub struct IntoReader {
    body: Body,
    at: u64,
}

impl Read for IntoReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut reader = BodyReader { body: &self.body, at: self.at };
        let count = reader.read(buffer)?;
        self.at = reader.at;
        Ok(count)
    }
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &self.body.0 {
            Source::Stored(body) => body.read_at(buffer, self.at)?,
            Source::Live(body) => body.read(buffer, self.at)?,
            Source::Declined => return Err(declined()),
            Source::Over(_) => return Err(is_over()),
        };
        self.at += count as u64;
        Ok(count)
    }
}
