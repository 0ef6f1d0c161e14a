//! The reason why a request is rejected before any handler sees it. Returned by `head`, `target`, `framing`, `chunked`
//! and `stored`. `connection` turns it into a response.

use http::StatusCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub status: StatusCode,
    pub message: &'static str,
}

impl Rejection {
    pub(crate) const fn new(status: StatusCode, message: &'static str) -> Rejection {
        Rejection { status, message }
    }

    /// Returns a 503: the same request may succeed in a moment.
    pub(crate) const fn busy(message: &'static str) -> Rejection {
        Rejection::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// Returns a 400: the request violates the grammar.
    pub(crate) const fn bad_request(message: &'static str) -> Rejection {
        Rejection::new(StatusCode::BAD_REQUEST, message)
    }
}
