//! The name of a request in the log: its request line, and its id if it has one.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::{Request, RequestId};

/// How many bytes of a request line and its id are logged as the name of a handler's work. A long line is cut so that
/// the id fits.
const KEPT: usize = 200;

impl Request {
    /// Returns the request's name for log messages: `"GET / HTTP/1.1" [8f3a..]`.
    pub(crate) fn for_log(&self) -> LogName<'_> {
        LogName { line: self.line().into(), id: self.value() }
    }

    /// Returns the IP address of the client, as in the access log.
    pub(crate) fn client_name(&self) -> String {
        self.client_ip().map_or_else(|| "unix:".to_owned(), |ip| ip.to_string())
    }

    /// Returns the request line with its id, if it has one, as the name of a handler's work: `GET / HTTP/1.1 [8f3a..]`.
    #[inline]
    pub(crate) fn work_with_id(&self) -> Option<Vec<u8>> {
        if self.values.is_empty() {
            return None;
        }
        let (id, line) = (self.value::<RequestId>()?, self.head.line_bytes());
        let room = KEPT.saturating_sub(id.0.len() + " []".len());
        Some([&line[..line.len().min(room)], b" [", id.0.as_bytes(), b"]"].concat())
    }
}

/// The name of a request in log messages.
pub(crate) struct LogName<'a> {
    line: Cow<'a, str>,
    id: Option<Arc<RequestId>>,
}

impl LogName<'_> {
    /// Returns the name for use after the end of the request. It is formatted only if it is logged.
    #[cfg(feature = "proxy")]
    pub(crate) fn into_owned(self) -> LogName<'static> {
        LogName { line: self.line.into_owned().into(), id: self.id }
    }

    /// Returns the scope of the request, for lines that are logged on other threads.
    #[cfg(feature = "proxy")]
    pub(crate) fn scope(&self) -> super::LogScope {
        super::LogScope::new(self.id.clone())
    }
}

impl fmt::Display for LogName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.line)?;
        match &self.id {
            Some(id) => write!(f, " [{}]", id.0.escape_debug()), // a layer may have copied it from the client
            None => Ok(()),
        }
    }
}
