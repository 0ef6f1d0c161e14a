//! The reasons for a missing response from a backend, and the response that the client gets instead.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;

use crate::Error;
use crate::http::LiveRefusal;

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
    /// No connection waits for the response, because the request was not received, or is handled by `Http::respond`.
    NotReceived,
    /// Too many requests are in progress.
    Full,
    NoThread,
    /// This process has no descriptor for another connection.
    NoDescriptor(String),
    /// Too many requests of this client's address are in progress.
    FullForAddress,
}

impl Failure {
    pub(super) fn of_connect(address: SocketAddr, error: &io::Error) -> Failure {
        let why = format!("{address}: {error}");
        let is_any = |errors: [Errno; 2]| errors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        match () {
            () if is_any([Errno::MFILE, Errno::NFILE]) => Failure::NoDescriptor(why),
            () if is_timeout(error) => Failure::Unconnected(why),
            () => Failure::Unreachable(why),
        }
    }

    /// Returns the failure of a request that the backend may have executed: a client must not mistake it for one that
    /// was rejected before, and send it again.
    pub(super) fn after_sending(self) -> Failure {
        match self {
            Failure::NoThread => Failure::Ended("no thread could be started for its response".into()),
            Failure::NoDescriptor(why) => Failure::Ended(why),
            failure => failure,
        }
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
            Failure::Repeated | Failure::NotReceived => (500, "The request could not be passed on."),
            Failure::Full | Failure::NoThread => {
                (503, "Too many requests are waiting for the application for this path.")
            }
            Failure::NoDescriptor(_) => (503, "Too many connections are open."),
            Failure::FullForAddress => {
                (429, "Too many requests from this address are waiting for the application for this path.")
            }
        };
        let is_full = matches!(status, 429 | 503);
        let error = Error::new(status, text).with_cause(failure.to_string());
        if is_full { error.with_header("retry-after", "5") } else { error }
    }
}

/// The cause, for the log.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Unreachable(why)
            | Failure::Unconnected(why)
            | Failure::Ended(why)
            | Failure::Unread(why)
            | Failure::NoDescriptor(why) => why,
            Failure::Invalid(why) => why,
            Failure::Repeated => "a request can be passed on only once, by one `ReverseProxy`",
            Failure::NotReceived => "only a request whose connection waits for the response can be passed on",
            Failure::NoThread => "no thread could be started",
            Failure::Late => "the response timed out (`response_timeout`, `--proxy-timeout`)",
            Failure::Full => "the limit of requests in progress is reached (`at_once`, `--proxy-at-once`)",
            Failure::FullForAddress => {
                "the limit of live responses for one address is reached (`max_live_per_address`)"
            }
        })
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
