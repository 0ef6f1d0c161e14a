//! What a request is called in the log: by its line, and by its id if it has one. Used by whoever logs.

use std::fmt;

use super::{Request, RequestId};

/// So many bytes are kept of the work of a handler: of a long line less, so that its id is there.
const KEPT: usize = 200;

impl Request {
    /// In messages: `"GET / HTTP/1.1" [8f3a..]`.
    pub(crate) fn for_log(&self) -> impl fmt::Display {
        InLog(self)
    }

    /// As the work of a handler, if it has an id: `GET / HTTP/1.1 [8f3a..]`.
    #[inline]
    pub(crate) fn work_with_id(&self) -> Option<Vec<u8>> {
        if self.values.is_empty() {
            return None;
        }
        let (id, line) = (self.value::<RequestId>()?, self.line_bytes());
        let room = KEPT.saturating_sub(id.0.len() + " []".len());
        Some([&line[..line.len().min(room)], b" [", id.0.as_bytes(), b"]"].concat())
    }
}

struct InLog<'a>(&'a Request);

impl fmt::Display for InLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0.line())?;
        match self.0.value::<RequestId>() {
            Some(id) => write!(f, " [{}]", id.0.escape_debug()), // whoever put it there may have it from a client
            None => Ok(()),
        }
    }
}
