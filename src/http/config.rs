//! The configuration of HTTP connections, with defaults. Set by `service`, read by `connection`.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::handler::LogFormat;
use super::request::Request;
use super::request::head::HeadLimits;
use super::request::quotas::BodyLimits;
use super::response::{Response, Result};

/// Responds to CONNECT.
pub(crate) type OnConnect = dyn Fn(&Request) -> Result<Response> + Send + Sync;

/// Returns the path and query that replace those of a request, if any.
pub(crate) type Rewrite = dyn Fn(&Request) -> Option<String> + Send + Sync;

#[derive(Clone)]
pub(crate) struct HttpConfig {
    pub(crate) head: HeadLimits,
    pub(crate) body: BodyLimits,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) head_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
    pub(crate) keep_alive: bool,
    pub(crate) max_requests: Option<u32>,
    pub(crate) max_connection_age: Option<Duration>,
    pub(crate) chunked_bodies: bool,
    pub(crate) on_connect: Option<Arc<OnConnect>>,
    /// A function that can replace the path and query of a request.
    pub(crate) rewrite: Option<Arc<Rewrite>>,
    /// Whether a path that is not in its canonical form is redirected or rejected before any handler is called.
    pub(crate) strict_paths: bool,
    pub(crate) server: Option<HeaderValue>,
    /// Fields of every response.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) access_log: AccessLog,
}

/// The format of the access log, or `None` inside for no log. Set by the program, or copied from the server's first
/// handler.
#[derive(Clone, Default)]
pub(crate) struct AccessLog(OnceLock<Option<LogFormat>>);

impl AccessLog {
    pub(crate) fn format(&self) -> Option<LogFormat> {
        self.0.get().copied().unwrap_or_else(|| Some(LogFormat::of_process()))
    }

    /// Copies the other format, unless one is already set.
    pub(crate) fn take_over(&self, other: &AccessLog) {
        if let Some(format) = other.0.get() {
            let _ = self.0.set(*format);
        }
    }
}

impl From<Option<LogFormat>> for AccessLog {
    fn from(format: Option<LogFormat>) -> AccessLog {
        AccessLog(OnceLock::from(format))
    }
}

const KIB: usize = 1024;

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            head: HeadLimits { line: 8 * KIB, head: 32 * KIB, fields: 100, bare_lf: false },
            body: BodyLimits::default(),
            idle_timeout: Some(Duration::from_secs(60)),
            head_timeout: Some(Duration::from_secs(10)),
            body_timeout: None,
            keep_alive: true,
            max_requests: None,
            max_connection_age: None,
            chunked_bodies: true,
            on_connect: None,
            rewrite: None,
            strict_paths: true,
            access_log: AccessLog::default(),
            server: Some(HeaderValue::from_static("modest")),
            fields: Vec::new(),
        }
    }
}
