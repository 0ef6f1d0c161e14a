//! The body of a request, as handlers see it. Set by `connection`; uses `stored`, where it is kept.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use super::stored::StoredBody;

/// The complete body of a request. Several readers may read it concurrently.
#[derive(Default)]
pub struct Body(StoredBody);

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether it has no bytes, or there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A reader from the first byte on. Each reader has its own position.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, at: 0 }
    }

    /// All bytes: borrowed if they are in memory, else read from the temporary file.
    ///
    /// # Errors
    /// If the temporary file cannot be read.
    pub fn bytes(&self) -> io::Result<Cow<'_, [u8]>> {
        self.0.bytes()
    }

    /// Give it a name on the disk. A body in a temporary file is linked there, which copies nothing; one in memory is
    /// written to a new file. It can still be read afterwards; persisted once more, it has two names.
    ///
    /// The temporary file is in [`Http::body_folder`](crate::Http::body_folder), or where
    /// [`BodyPlan::folder`](crate::BodyPlan::folder) has it: if the new name is on another file system, it is copied.
    /// With `plan.memory(0)` every body is in a file from the start.
    ///
    /// The file's mode is `0o666` less the umask, as of any new file. It is not synced to the disk: where it must
    /// survive a power failure, open it, and its folder, and call [`File::sync_all`](std::fs::File::sync_all). It counts
    /// towards [`Http::body_quota`](crate::Http::body_quota) until the request is over.
    ///
    /// [`Request::persist`](crate::Request::persist) does the same with errors for clients.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if there is something of that name, a symbolic link too: nothing is overwritten.
    /// Else those of the disk; a file that could not be written whole is removed.
    pub fn persist(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.0.persist(path.as_ref())
    }
}

impl From<StoredBody> for Body {
    fn from(body: StoredBody) -> Body {
        Body(body)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.0.is_in_memory() { "in memory" } else { "in a file" };
        write!(f, "Body({} bytes, {place})", self.len())
    }
}

/// Reads a body from its first byte (Python's `rfile`, but it ends where the body ends).
#[derive(Clone, Debug)]
pub struct BodyReader<'a> {
    body: &'a Body,
    at: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.0.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
