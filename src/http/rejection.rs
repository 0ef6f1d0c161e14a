//! Why a request is refused. Said by whatever reads one (`head`, `target`, `framing`, `chunked`, `body`);
//! answered by `conversation`.

use http::StatusCode;

/// Why a request is refused: the status to answer with, and why, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub status: StatusCode,
    pub message: &'static str,
}

impl Rejection {
    pub(crate) const fn new(status: StatusCode, message: &'static str) -> Rejection {
        Rejection { status, message }
    }

    /// 400: not as the grammar has it.
    pub(crate) const fn bad_request(message: &'static str) -> Rejection {
        Rejection::new(StatusCode::BAD_REQUEST, message)
    }
}
