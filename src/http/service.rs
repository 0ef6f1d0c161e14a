//! `Http`: a handler, with what rules its conversations. Given to `TcpServer::bind`; it meets each client with a
//! `conversation`, which obeys its `config`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::body::BodyQuota;
use super::config::{HttpConfig, Service};
use super::connection::HttpConnection;
use super::handler::RequestHandler;
use crate::tcp::{Client, Conversation, IntoProtocol, Protocol};

/// A request handler with settings, to be given to [`TcpServer::bind`](crate::TcpServer::bind).
/// A handler given there by itself is served with the defaults.
///
/// ```
/// use std::time::Duration;
/// use modest::{Http, Response, answer};
///
/// let http = Http::new(answer(|_| Ok(Response::text("Hello, World!\n"))))
///     .idle_timeout(Duration::from_secs(5))
///     .body_limit(1 << 20);
/// ```
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct Http<H>(Arc<Service<H>>);

/// A head stands in the input until it is whole, and that is read 64 KiB ahead at most.
const MAX_HEAD: usize = 60 * 1024;

impl<H: RequestHandler> Http<H> {
    /// This handler, with the defaults.
    pub fn new(handler: H) -> Http<H> {
        Http(Arc::new(Service { handler, config: HttpConfig::default() }))
    }

    /// How long a request line may be, in bytes: 8 KiB unless set, 60 KiB at most. A longer one is answered with 414.
    pub fn request_line_limit(self, bytes: usize) -> Http<H> {
        self.with(|config| config.head.line = bytes.min(MAX_HEAD))
    }

    /// How long a head may be, request line and fields, in bytes: 32 KiB unless set, 60 KiB at most.
    /// A longer one is answered with 431.
    pub fn head_limit(self, bytes: usize) -> Http<H> {
        self.with(|config| config.head.head = bytes.min(MAX_HEAD))
    }

    /// How many field lines a head may have: 100 unless set. One with more is answered with 431.
    pub fn field_limit(self, number: usize) -> Http<H> {
        self.with(|config| config.head.fields = number)
    }

    /// How long a body may be, in bytes: 16 MiB unless set; `None` for no limit but that of
    /// [`body_quota`](Http::body_quota). A longer one is answered with 413, from the head if that tells the length.
    pub fn body_limit(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let bytes = bytes.into().unwrap_or(u64::MAX);
        self.with(|config| config.body.body = bytes)
    }

    /// How much of a body is kept in memory, in bytes: 64 KiB unless set. A longer one goes to an unnamed temporary
    /// file, whole, which handlers do not notice.
    pub fn body_memory(self, bytes: usize) -> Http<H> {
        self.with(|config| config.body.memory = bytes)
    }

    /// The folder of those temporary files: `/var/tmp` unless set. Better not one that lies in memory.
    pub fn body_folder(self, folder: impl Into<PathBuf>) -> Http<H> {
        let folder = folder.into();
        self.with(|config| config.body.folder = folder)
    }

    /// How much all bodies of this server together may take, in memory and on disk, in bytes: 1 GiB unless set;
    /// `None` for no limit. One that finds no room is answered with 507.
    pub fn body_quota(self, bytes: impl Into<Option<u64>>) -> Http<H> {
        let quota = BodyQuota::new(bytes.into().unwrap_or(u64::MAX));
        self.with(|config| config.body.quota = quota)
    }

    /// How long a client may stay silent before a request: 60 seconds unless set; `None` waits for ever.
    /// Counted from when it was accepted, or from the last byte of an answer, to the first byte of the next request.
    /// Past it the connection is closed without a word.
    pub fn idle_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.idle_timeout = limit)
    }

    /// How long a head may take, from its first byte to its last: 10 seconds unless set; `None` for no limit.
    /// Past it the answer is 408.
    pub fn head_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.head_timeout = limit)
    }

    /// How long each 64 KiB of a body may take, which makes its least rate: 30 seconds unless set; `None` for no
    /// limit. Past it the answer is 408.
    pub fn body_timeout(self, limit: impl Into<Option<Duration>>) -> Http<H> {
        let limit = limit.into();
        self.with(|config| config.body_timeout = limit)
    }

    /// Whether bodies are taken whose length is not known before they end (chunked): yes unless set.
    /// Otherwise they are answered with 411.
    pub fn chunked_bodies(self, take: bool) -> Http<H> {
        self.with(|config| config.chunked_bodies = take)
    }

    /// Whether connections are kept for further requests, where the client would: yes unless set.
    pub fn keep_alive(self, keep: bool) -> Http<H> {
        self.with(|config| config.keep_alive = keep)
    }

    /// The `Server` field of every answer: `modest` unless set; `None` leaves it out.
    pub fn server(self, name: impl Into<Option<HeaderValue>>) -> Http<H> {
        let name = name.into();
        self.with(|config| config.server = name)
    }

    /// Settings are made before a client is met: nobody shares them yet.
    fn with(mut self, change: impl FnOnce(&mut HttpConfig)) -> Http<H> {
        if let Some(service) = Arc::get_mut(&mut self.0) {
            change(&mut service.config);
        }
        self
    }
}

impl<H: RequestHandler> Protocol for Http<H> {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        self.0
            .handler
            .verify_request(client)
            .then(|| Box::new(HttpConnection::new(self.0.clone())) as Box<dyn Conversation>)
    }
}

impl<H: RequestHandler> IntoProtocol for Http<H> {
    type Protocol = Http<H>;

    fn into_protocol(self) -> Http<H> {
        self
    }
}

impl<H: RequestHandler> IntoProtocol for H {
    type Protocol = Http<H>;

    fn into_protocol(self) -> Http<H> {
        Http::new(self)
    }
}

impl<H> fmt::Debug for Http<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("head", &self.0.config.head).field("body", &self.0.config.body).finish()
    }
}
