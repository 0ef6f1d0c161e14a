//! The configuration of HTTP connections, with defaults. Set by `service`, read by `connection`.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::handler::LogFormat;
use super::request::head::HeadLimits;
use super::request::room::BodyLimits;

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
    /// Whether a path in another spelling than its one form is answered before any handler is called.
    pub(crate) strict_paths: bool,
    pub(crate) server: Option<HeaderValue>,
    /// Fields of every response.
    pub(crate) fields: Vec<(HeaderName, HeaderValue)>,
    pub(crate) access_log: Option<LogFormat>,
}

const KIB: usize = 1024;

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            head: HeadLimits { line: 8 * KIB, head: 32 * KIB, fields: 100 },
            body: BodyLimits::default(),
            idle_timeout: Some(Duration::from_secs(60)),
            head_timeout: Some(Duration::from_secs(10)),
            body_timeout: None,
            keep_alive: true,
            max_requests: None,
            max_connection_age: None,
            chunked_bodies: true,
            strict_paths: true,
            access_log: Some(LogFormat::Python),
            server: Some(HeaderValue::from_static("modest")),
            fields: Vec::new(),
        }
    }
}
