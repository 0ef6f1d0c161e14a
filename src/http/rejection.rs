//! Why a request is rejected before a handler sees it. Returned by `head`, `target`, `framing`, `chunked` and `body`;
//! answered by `connection`.

use http::StatusCode;

/// The status of the response, and a message for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub status: StatusCode,
    pub message: &'static str,
}

impl Rejection {
    pub(crate) const fn new(status: StatusCode, message: &'static str) -> Rejection {
        Rejection { status, message }
    }

    /// 400: the request violates the grammar.
    pub(crate) const fn bad_request(message: &'static str) -> Rejection {
        Rejection::new(StatusCode::BAD_REQUEST, message)
    }
}
