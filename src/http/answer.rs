//! A response becomes bytes: conditions, ranges, framing, head, body.
//! Called by `conversation` once a request; uses `conditions` and `range` to judge, `source` for streams.
//! It knows no socket and no clock: what time it is stands in what was asked.

use std::time::SystemTime;

use http::{HeaderValue, StatusCode};

use super::request::Request;
use super::response::Response;
use super::source::Source;
use crate::tcp::Output;

/// What is being answered, and how.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request,
    /// Whether the connection could go on.
    pub(crate) keep_alive: bool,
    /// What time it is.
    pub(crate) wall: SystemTime,
    /// The `Server` field, if any.
    pub(crate) server: Option<&'a HeaderValue>,
}

/// What was answered.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    /// Body bytes laid into the output or promised by `rest`; of a stream whose length is not known none are counted.
    pub(crate) length: u64,
    /// Whether the connection goes on.
    pub(crate) keep_alive: bool,
    /// What must be pulled before anything else is said.
    pub(crate) rest: Option<Source>,
}

/// Lay the answer into the output.
pub(crate) fn answer(response: Response, asked: &Asked<'_>, output: &mut Output) -> Answered {
    let _ = (asked, output);
    Answered { status: response.status, length: 0, keep_alive: false, rest: None }
}
