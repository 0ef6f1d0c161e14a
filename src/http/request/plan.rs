//! What is to become of the body of one request: decided from its head by `before_body`, obeyed by `connection`.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::arriving::Progress;
use super::body::Body;
use super::room::{BodyLimits, TOO_LARGE};
use crate::http::error::Error;

/// A body up to this length is received although it will be refused, so that a layer can answer.
const SHORT: u64 = 64 * 1024;

/// What is to become of a request's body. It begins with what [`Http`](crate::Http) was told for all; a handler changes
/// it in [`before_body`](crate::RequestHandler::before_body). A default one, in which nothing was said, is for testing a
/// `before_body` by itself. Its `Debug` shows what was said.
///
/// ```
/// use modest::{BodyPlan, Request, RequestHandler, Response, Result};
///
/// struct Inbox;
///
/// impl RequestHandler for Inbox {
///     fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
///         if request.path() == "/photos" {
///             plan.limit(500 << 20).folder("/srv/inbox"); // spooled where it will stay: see `Request::persist`
///         }
///         Ok(())
///     }
///
///     fn do_post(&self, request: &Request) -> Result<Response> {
///         Ok(Response::text(format!("{} bytes\n", request.body().len())))
///     }
/// }
/// ```
#[derive(Default)]
pub struct BodyPlan {
    // What was said of the limits; `None`: nothing. A copy of those of all requests would count two references, in lines that all
    // workers write to, for each request without a body, too.
    limit: Option<u64>,
    memory: Option<usize>,
    folder: Option<Arc<PathBuf>>,
    timeout: Option<Option<Duration>>,
    pub(crate) progress: Option<Progress>,
    pub(crate) streamed: bool,
    /// What it is written to as it comes.
    pub(crate) writer: Option<Box<dyn Write + Send>>,
    /// A layer stands around the handlers that are asked from here on: it may answer what they refuse.
    pub(crate) layered: bool,
    /// Somebody said what is to become of the body: it is wanted.
    pub(crate) wanted: bool,
    /// Nothing inside the layers serves the request.
    pub(crate) unserved: bool,
}

impl BodyPlan {
    /// The limits, with those of all requests where nothing was said.
    pub(crate) fn limits(&self, of_all: &BodyLimits) -> BodyLimits {
        BodyLimits {
            body: self.limit.unwrap_or(of_all.body),
            memory: self.memory.unwrap_or(of_all.memory),
            folder: Arc::clone(self.folder.as_ref().unwrap_or(&of_all.folder)),
            rooms: of_all.rooms.clone(),
        }
    }

    /// The same of its timeout.
    pub(crate) fn timeout_or(&self, of_all: Option<Duration>) -> Option<Duration> {
        self.timeout.unwrap_or(of_all)
    }

    /// At most so many bytes are taken; beyond them 413, from the head if that has the length. `None`: no limit but
    /// [`Http::body_quota`](crate::Http::body_quota). In place of [`Http::body_limit`](crate::Http::body_limit).
    pub fn limit(&mut self, bytes: impl Into<Option<u64>>) -> &mut BodyPlan {
        self.limit = Some(bytes.into().unwrap_or(u64::MAX));
        self.wanted = true;
        self
    }

    /// So many bytes stay in memory; a longer body goes to a temporary file. In place of
    /// [`Http::body_memory`](crate::Http::body_memory).
    pub fn memory(&mut self, bytes: usize) -> &mut BodyPlan {
        self.memory = Some(bytes);
        self
    }

    /// The folder of that file. In place of [`Http::body_folder`](crate::Http::body_folder).
    pub fn folder(&mut self, folder: impl Into<PathBuf>) -> &mut BodyPlan {
        self.folder = Some(Arc::new(folder.into()));
        self
    }

    /// How long the whole body may take; `None`: no limit but the least rate. In place of
    /// [`Http::body_timeout`](crate::Http::body_timeout).
    pub fn timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut BodyPlan {
        self.timeout = Some(limit.into());
        self
    }

    /// Called with the number of bytes received so far, whenever some were. It must not block, and it holds no worker.
    pub fn progress(&mut self, told: impl Fn(u64) + Send + Sync + 'static) -> &mut BodyPlan {
        self.progress = Some(Arc::new(told));
        self
    }

    /// The handler is called as soon as the head is there, and reads the body while it comes:
    /// [`Request::reader`](crate::Request::reader), which every reader then shares, and with it [`form_data`](crate::Request::form_data). It is not
    /// kept, so that it costs no room on disk, and in memory 64 KiB, however long it is.
    ///
    /// While the handler waits for the client it holds one of [`TcpServer::workers`](crate::TcpServer::workers); the
    /// least rate ([`TcpServer::min_rate`](crate::TcpServer::min_rate)) and the [`timeout`](BodyPlan::timeout) bound
    /// that wait, and only the time that is spent in it counts. A body that is not streamed costs no worker while it
    /// comes.
    ///
    /// `100 Continue` is sent by the first read, so that a handler that answers without reading declines the body. What
    /// it leaves unread is received and dropped if that is at most 64 KiB; otherwise the connection is closed after the
    /// answer. Reading fails, with the status that `?` gives the answer, if
    ///
    /// | what | [`ErrorKind`](std::io::ErrorKind) | status |
    /// | --- | --- | --- |
    /// | the client ended its side within the body | `UnexpectedEof` | 400 |
    /// | the client is gone | that of the socket, mostly `ConnectionReset` | 400 |
    /// | the client was too slow | `TimedOut` | 408 |
    /// | the body is longer than its [`limit`](BodyPlan::limit) | `FileTooLarge` | 413 |
    /// | its chunks are malformed | `InvalidData` | 400 |
    ///
    /// [`bytes`](crate::Request::bytes), [`text`](crate::Request::text), [`persist`](crate::Request::persist) and the like work as ever: they
    /// receive the whole body first, unless part of it was read already. A body that was there when the handler was
    /// called, and one that comes through a protocol around this one, is whole from the start, as it is without this.
    ///
    /// ```
    /// use std::io::Read;
    /// use modest::{Request, Response, Result, Routes};
    ///
    /// fn count(request: &Request) -> Result<Response> {
    ///     let (mut reader, mut piece, mut lines) = (request.reader(), [0; 8192], 0);
    ///     loop {
    ///         match reader.read(&mut piece)? {
    ///             0 => return Ok(Response::text(format!("{lines} lines\n"))),
    ///             count => lines += piece[..count].iter().filter(|byte| **byte == b'\n').count(),
    ///         }
    ///     }
    /// }
    ///
    /// let routes = Routes::new().post("/count", |_: &(), request| count(request)).before_body(|_, _, plan| {
    ///     plan.stream().limit(None);
    ///     Ok(())
    /// });
    /// ```
    pub fn stream(&mut self) -> &mut BodyPlan {
        self.streamed = true;
        self.wanted = true;
        self
    }

    /// The body is written to this as it comes, 64 KiB at a time, in turns that may block, and is not kept: no worker is held
    /// while the client sends, no byte is written twice, and it takes no room of
    /// [`Http::body_quota`](crate::Http::body_quota). The handler is called when all of it is written, and has no more of it
    /// than its length ([`Body::len`](crate::Body::len)): reading it fails. It goes before [`stream`](BodyPlan::stream).
    ///
    /// The writer is dropped, in a turn that may block, when all is written, or when the client leaves before. An error of
    /// kind [`StorageFull`](std::io::ErrorKind::StorageFull) or `QuotaExceeded` is answered with 507, `FileTooLarge` with
    /// 413 (but 507 if it is the system's own, EFBIG), `ResourceBusy` with 409, others with 500. Without a body nothing is written; nor is one of a request that was
    /// [made by hand](crate::Request::new), which the handler reads from the request.
    ///
    /// ```
    /// use std::fs::File;
    /// use modest::{BodyPlan, Request, RequestHandler, Response, Result};
    ///
    /// struct Tape(File);
    ///
    /// impl RequestHandler for Tape {
    ///     fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
    ///         plan.limit(1 << 30).save_to(self.0.try_clone()?);
    ///         Ok(())
    ///     }
    ///
    ///     fn do_post(&self, request: &Request) -> Result<Response> {
    ///         Ok(Response::text(format!("{} bytes\n", request.body().len())))
    ///     }
    /// }
    ///
    /// let tape = Tape(tempfile::tempfile()?);
    /// let server = modest::testing::serve(Tape(tape.0.try_clone()?));
    /// assert_eq!(server.post("/", "hello").text(), "5 bytes\n");
    /// assert_eq!(tape.0.metadata()?.len(), 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn save_to(&mut self, writer: impl Write + Send + 'static) -> &mut BodyPlan {
        self.writer = Some(Box::new(writer));
        self.wanted = true;
        self
    }

    /// Adds the plan of a handler inside, whose settings replace those that are there.
    pub(crate) fn add(&mut self, inner: BodyPlan) {
        self.limit = inner.limit.or(self.limit);
        self.memory = inner.memory.or(self.memory);
        self.folder = inner.folder.or(self.folder.take());
        self.timeout = inner.timeout.or(self.timeout);
        self.progress = inner.progress.or(self.progress.take());
        self.writer = inner.writer.or(self.writer.take());
        self.streamed |= inner.streamed;
        self.wanted |= inner.wanted;
    }

    /// Nothing serves this request: refused at once, or, inside a layer, when the layer has been asked.
    pub(crate) fn refuse(&mut self, error: Error) -> Result<(), Error> {
        self.unserved = true;
        if self.layered { Ok(()) } else { Err(error) }
    }

    /// 413 if a body that is there is longer than its limit.
    pub(crate) fn check_length(&self, body: &Body) -> Result<(), Error> {
        match self.limit.is_some_and(|limit| body.len() > limit) {
            true => Err(Error::from_rejection(TOO_LARGE)),
            false => Ok(()),
        }
    }

    /// Whether the body of a request is received before the handlers respond. `accepts`: none has refused the request from its head.
    ///
    /// A layer may respond to what is refused inside it. If it said that it wants the body, it has it; else it has a short one of a
    /// request that nothing inside serves, which is received on the chance.
    pub(crate) fn is_to_be_received(&self, accepts: bool, length: Option<u64>) -> bool {
        let is_short = length.is_some_and(|length| length <= SHORT);
        self.wanted && self.layered || accepts && (is_short || !self.unserved)
    }
}

impl fmt::Debug for BodyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyPlan")
            .field("limit", &self.limit)
            .field("memory", &self.memory)
            .field("folder", &self.folder)
            .field("timeout", &self.timeout)
            .field("streamed", &self.streamed)
            .finish_non_exhaustive()
    }
}
