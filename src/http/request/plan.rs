//! The plan of a request's body: decided by `before_body` before the body arrives, carried out by `connection`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Request;
use super::arriving::Progress;
use super::body::Body;
use super::form_data::{FormDataLimits, FormSink, PartHead, PartPlan, SavedForm};
use super::quotas::{BodyLimits, TOO_LARGE};
use super::stored::{Destination, Endless, GivenWriter};
use crate::http::error::Error;
use crate::tcp::Contained;

/// A body of up to this length is received even if its request is rejected, so that a layer can respond.
const SHORT: u64 = 64 * 1024;

/// The plan for a request's body: its limits and its destination. It begins with the settings of [`Http`](crate::Http).
/// A handler changes it in [`before_body`](crate::RequestHandler::before_body). To test a `before_body` by itself, pass
/// `BodyPlan::default()`. Its `Debug` output shows the settings.
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
    // The limits that a handler has set; `None`: not set. (A copy of the server's limits would write to two reference
    // counts that all workers share, for each request.)
    limit: Option<u64>,
    memory: Option<usize>,
    folder: Option<Arc<PathBuf>>,
    /// `None`: that of the server.
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) progress: Option<Progress>,
    pub(crate) streamed: bool,
    /// The writer that gets the body while it arrives.
    pub(crate) writer: Option<GivenWriter>,
    /// The parts of the form that the writer gets. Stored in the request once the handler has accepted it.
    pub(crate) form: Option<SavedForm>,
    /// Whether there is a layer around the handlers called from now on. It can respond to requests that they reject.
    pub(crate) layered: bool,
    /// Whether a handler has set a limit or a destination, so that the body is needed.
    pub(crate) wanted: bool,
    /// Whether no handler inside the layers serves the request.
    pub(crate) unserved: bool,
}

impl BodyPlan {
    /// Returns the limits. Limits that no handler has set are the server's.
    pub(crate) fn limits(&self, of_all: &BodyLimits) -> BodyLimits {
        BodyLimits {
            body: self.limit.unwrap_or(of_all.body),
            memory: self.memory.unwrap_or(of_all.memory),
            folder: Arc::clone(self.folder.as_ref().unwrap_or(&of_all.folder)),
            quotas: of_all.quotas.clone(),
        }
    }

    /// Sets the maximum length in bytes. A longer body gets 413, before the body is read if the head has its length.
    /// `None`: no limit except [`Http::body_quota`](crate::Http::body_quota). Replaces
    /// [`Http::body_limit`](crate::Http::body_limit).
    pub fn limit(&mut self, bytes: impl Into<Option<u64>>) -> &mut BodyPlan {
        self.limit = Some(bytes.into().unwrap_or(u64::MAX));
        self.wanted = true;
        self
    }

    /// Sets how many bytes stay in memory. A longer body goes to a temporary file. Replaces
    /// [`Http::body_memory`](crate::Http::body_memory).
    pub fn memory(&mut self, bytes: usize) -> &mut BodyPlan {
        self.memory = Some(bytes);
        self
    }

    /// Sets the folder of the temporary file. Replaces [`Http::body_folder`](crate::Http::body_folder).
    pub fn folder(&mut self, folder: impl Into<PathBuf>) -> &mut BodyPlan {
        self.folder = Some(Arc::new(folder.into()));
        self
    }

    /// Sets how long the whole body can take; `None`: no limit except the minimum rate. Replaces
    /// [`Http::body_timeout`](crate::Http::body_timeout).
    pub fn timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut BodyPlan {
        self.timeout = Some(limit.into());
        self
    }

    /// Sets a function that is called with the number of bytes received so far, whenever more bytes arrive. It must not
    /// block. No worker is held while a stored body arrives. The function is dropped when the body is complete or can't
    /// be completed: a value that it owns can remove the entry of a request whose client has disconnected. The function
    /// of a layer is called before that of its handler.
    pub fn progress(&mut self, call: impl Fn(u64) + Send + Sync + 'static) -> &mut BodyPlan {
        let call = Contained::new("dropping a function of `BodyPlan::progress`", call);
        self.progress = Some(Arc::new(move |bytes| (*call)(bytes)));
        self
    }

    /// Calls the handler as soon as the head is complete, so that it reads the body while it arrives, by
    /// [`Request::reader`](crate::Request::reader) or [`form_data`](crate::Request::form_data). All readers share one
    /// position. The body is not stored: a body of any length uses no disk space and 64 KiB of memory.
    ///
    /// While the handler waits for the client it holds one of [`TcpServer::workers`](crate::TcpServer::workers). The
    /// minimum rate ([`TcpServer::min_rate`](crate::TcpServer::min_rate)) and the [`timeout`](BodyPlan::timeout) limit
    /// this waiting. Time that the handler spends otherwise does not count. A body that is not streamed holds no worker
    /// while it arrives.
    ///
    /// `100 Continue` is sent by the first read, so a handler that responds without reading declines the body. If the
    /// handler leaves up to 64 KiB unread, they are received and dropped. If it leaves more, the connection is closed
    /// after the response. Reading fails in these cases (`?` gives the response this status):
    ///
    /// | case | [`ErrorKind`](std::io::ErrorKind) | status |
    /// | --- | --- | --- |
    /// | the client closed its sending side before the end of the body | `UnexpectedEof` | 400 |
    /// | the client has disconnected | the socket's, mostly `ConnectionReset` | 400 |
    /// | the client was too slow | `TimedOut` | 408 |
    /// | the body is longer than its [`limit`](BodyPlan::limit) | `FileTooLarge` | 413 |
    /// | the chunks are malformed, or the client broke the protocol below HTTP (TLS) | `InvalidData` | 400 |
    /// | the server exits before the body has arrived | `ConnectionAborted` | 503 |
    ///
    /// [`bytes`](crate::Request::bytes), [`text`](crate::Request::text), [`persist`](crate::Request::persist) and
    /// similar methods receive the whole body first, unless part of it was read before. An empty body is not
    /// streamed.
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

    /// Writes the body to this writer while it arrives, 64 KiB at a time, in turns that may block. The body is not
    /// stored otherwise: no worker is held while the client sends, no byte is written twice, and the body does not
    /// count towards [`Http::body_quota`](crate::Http::body_quota). The handler is called when the whole body is
    /// written. It can get the body's length ([`Body::len`](crate::Body::len)) but not read it. This has precedence
    /// over [`stream`](BodyPlan::stream).
    ///
    /// The writer is dropped, in a turn that may block, when the whole body is written or the client has disconnected.
    /// An error that was converted from an [`Error`], by `into`, becomes that response. Otherwise, an error of kind
    /// [`StorageFull`](std::io::ErrorKind::StorageFull) or `QuotaExceeded` becomes a 507, `FileTooLarge` a 413 (507 if
    /// it is the system's own EFBIG), `ResourceBusy` a 409, a lack of descriptors or memory (EMFILE, ENFILE, ENOMEM) a
    /// 503, others a 500. Nothing is written if there is no body, or for a request [made by hand](crate::Request::new),
    /// whose body the handler reads from the request.
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
        self.set_writer(Endless(writer));
        self.wanted = true;
        self
    }

    fn set_writer(&mut self, writer: impl Destination + 'static) {
        self.writer = Some(Contained::new("dropping the writer of a body", Box::new(writer)));
    }

    /// Writes the files of an HTML form (`multipart/form-data`) while it arrives, without holding a worker while the
    /// client sends. The function is called with the head of each part, in a turn that may block, and returns what
    /// happens to its content. The handler is called when the form has arrived, and gets its parts from
    /// [`Request::saved_form`](crate::Request::saved_form).
    ///
    /// An error of the function becomes the response, and no more of the form is received. The files get their names
    /// together, when the handler takes the parts, which it can check first
    /// ([`Request::peek_form`](crate::Request::peek_form)). Until then they are in a hidden folder,
    /// `.modest-upload-removable-…`, in the folder that they are saved in. If the form does not arrive completely or is
    /// malformed, or if its handler does not take the parts, nothing stays.
    ///
    /// While it arrives, a form uses about 100 KiB of memory, and memory for its kept parts and the heads of all its
    /// parts. All names and media types together can have 128 bytes for each part that [`FormDataLimits::parts`]
    /// allows. A form with more gets 413. The rules of [`save_to`](BodyPlan::save_to) apply here, but the form of a
    /// request made by hand is also written. A request without a body stays unchanged.
    ///
    /// ```
    /// use modest::{BodyPlan, FormDataLimits, PartPlan, Request, RequestHandler, Response, Result};
    ///
    /// struct Photos(std::path::PathBuf);
    ///
    /// impl RequestHandler for Photos {
    ///     fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
    ///         let folder = self.0.clone();
    ///         plan.limit(1 << 30).save_form(request, FormDataLimits::default(), move |part| {
    ///             Ok(match part.safe_file_name() {
    ///                 Some(_) => PartPlan::save_in(&folder),
    ///                 None => PartPlan::keep(),
    ///             })
    ///         })
    ///     }
    ///
    ///     fn do_post(&self, request: &Request) -> Result<Response> {
    ///         let mut said = String::new();
    ///         for part in request.saved_form()? {
    ///             match part.path() {
    ///                 Some(_) => said += &format!("{} bytes\n", part.len()),
    ///                 None => said += &format!("{}: {}\n", part.head().name(), part.text()?),
    ///             }
    ///         }
    ///         Ok(Response::text(said))
    ///     }
    /// }
    /// # use modest::{Method, testing::{self, TestRequest}};
    /// # let folder = tempfile::tempdir()?;
    /// # let body = "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--";
    /// # let form = TestRequest::new(Method::POST, "/").with_header("content-type", "multipart/form-data; boundary=x");
    /// # assert_eq!(testing::serve(Photos(folder.path().into())).send(form.with_body(body)).text(), "a: b\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// 415 if the request has another type, 400 if its boundary is missing or malformed.
    pub fn save_form(
        &mut self,
        request: &Request,
        limits: FormDataLimits,
        plan: impl FnMut(&PartHead) -> Result<PartPlan, Error> + Send + 'static,
    ) -> Result<(), Error> {
        let content_type = request.header("content-type").unwrap_or_default();
        let made = FormSink::new(content_type, limits, Box::new(plan));
        if !request.announces_body() {
            // The handler gets the error with the parts, because a GET before it has no form.
            self.form = Some(made.map_or_else(SavedForm::rejected, |(_, saved)| saved));
            return Ok(());
        }
        let (sink, saved) = made?;
        self.set_writer(sink);
        self.wanted = true;
        self.form = Some(saved);
        Ok(())
    }

    /// Adds the plan of an inner handler, whose settings replace existing ones.
    pub(crate) fn add(&mut self, inner: BodyPlan) {
        self.limit = inner.limit.or(self.limit);
        self.memory = inner.memory.or(self.memory);
        self.folder = inner.folder.or(self.folder.take());
        self.timeout = inner.timeout.or(self.timeout);
        self.progress = match (self.progress.take(), inner.progress) {
            (Some(outer), Some(inner)) => Some(Arc::new(move |bytes| {
                outer(bytes);
                inner(bytes);
            })),
            (outer, inner) => inner.or(outer),
        };
        self.writer = inner.writer.or(self.writer.take());
        self.streamed |= inner.streamed;
        self.wanted |= inner.wanted;
    }

    /// Called if no handler serves this request. The request is rejected at once or, if there is an outer layer, after
    /// that layer has been called.
    pub(crate) fn refuse(&mut self, error: Error) -> Result<(), Error> {
        self.unserved = true;
        if self.layered { Ok(()) } else { Err(error) }
    }

    /// Saves a form that is already complete, because its request was made by hand.
    pub(crate) fn write_form(&mut self, request: &Request) -> Result<(), Error> {
        match self.writer.take().filter(|_| request.value::<SavedForm>().is_some()) {
            Some(mut writer) => {
                std::io::copy(&mut request.reader(), &mut *writer)?;
                Ok(writer.end()?)
            }
            None => Ok(()),
        }
    }

    /// Rejects a body that has arrived with 413 if it is longer than its limit.
    pub(crate) fn check_length(&self, body: &Body) -> Result<(), Error> {
        match self.limit.is_some_and(|limit| body.len() > limit) {
            true => Err(TOO_LARGE.into()),
            false => Ok(()),
        }
    }

    /// Returns whether the body of a request is received before the handlers respond. `accepts`: no handler has
    /// rejected the request from its head.
    ///
    /// A layer can respond to a request that is rejected inside it. If it has set a limit, it gets the body. Otherwise
    /// it gets a short body of a request for which there is no route.
    pub(crate) fn is_to_be_received(&self, accepts: bool, length: Option<u64>) -> bool {
        let is_short = length.is_some_and(|length| length <= SHORT);
        self.wanted && self.layered || accepts && (is_short || !self.unserved)
    }
}

opaque!(BodyPlan { limit, memory, folder, timeout, streamed });
