//! The reasons for a missing response from a backend, and the response that the client gets instead.

use std::io;
use std::net::SocketAddr;

use crate::Error;
use crate::http::LiveRefusal;

/// The reason why there is no response.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The backend does not accept connections.
    Unreachable(String),
    /// Connecting took too long.
    Unconnected(String),
    /// The response did not begin in time.
    Late,
    /// The connection ended or broke without a response.
    Ended(String),
    /// The response is not valid HTTP/1.1.
    Invalid(&'static str),
    /// The stored body of the request could not be read.
    Unread(String),
    /// The request was passed on before, by this proxy or another one.
    Repeated,
    /// Too many requests are in progress.
    Full,
    /// Too many requests of this client's address are in progress.
    FullForAddress,
}

impl Failure {
    pub(super) fn of_connect(address: SocketAddr, error: &io::Error) -> Failure {
        let why = format!("{address}: {error}");
        if is_timeout(error) { Failure::Unconnected(why) } else { Failure::Unreachable(why) }
    }
}

/// The response for the client. The cause is logged.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let (status, text) = match &failure {
            Failure::Unreachable(_) => (502, "The application for this path is not running."),
            Failure::Unconnected(_) => (504, "The application for this path did not accept the connection in time."),
            Failure::Late => (504, "The application for this path did not respond in time."),
            Failure::Ended(_) => (502, "The application for this path ended the connection without a response."),
            Failure::Invalid(_) => (502, "The response of the application for this path is not valid HTTP/1.1."),
            Failure::Unread(_) => (500, "The body of the request could not be passed on."),
            Failure::Repeated => (500, "The request could not be passed on."),
            Failure::Full => (503, "Too many requests wait for the application for this path."),
            Failure::FullForAddress => {
                (429, "Too many requests from this address wait for the application for this path.")
            }
        };
        let error = Error::new(status, text);
        match failure {
            Failure::Unreachable(why) | Failure::Unconnected(why) | Failure::Ended(why) | Failure::Unread(why) => {
                error.with_cause(why)
            }
            Failure::Invalid(why) => error.with_cause(why),
            Failure::Repeated => error.with_cause("a request can be passed on only once, by one `ReverseProxy`"),
            Failure::Late => error,
            Failure::Full | Failure::FullForAddress => error.with_header("retry-after", "5"),
        }
    }
}

impl From<LiveRefusal> for Failure {
    fn from(refusal: LiveRefusal) -> Failure {
        match refusal {
            LiveRefusal::Full => Failure::Full,
            LiveRefusal::FullForAddress => Failure::FullForAddress,
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}
