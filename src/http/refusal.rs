//! Why a request is refused. Said by whatever reads one (`head`, `target`, `framing`, `chunked`, `body`);
//! answered by `conversation`.

use http::StatusCode;

/// Why a request is refused: the status to answer with, and why, in words for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub why: &'static str,
}

impl Refusal {
    pub(crate) const fn new(status: StatusCode, why: &'static str) -> Refusal {
        Refusal { status, why }
    }

    /// 400: not as the grammar has it.
    pub(crate) const fn bad(why: &'static str) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, why)
    }
}
