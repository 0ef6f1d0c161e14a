//! The `RequestHandler` trait, which users implement, and how handlers are put together: by `delegate`, by layers, by
//! routes. Called by `connection`, in turns that may block where the methods may.
//!
//! A request passes through a chain of handlers: the one that is served, the one it delegates to, and so on. What
//! `connection` calls are the `chain_` methods, which no user can write or call: so whoever puts two handlers together
//! leaves nothing of either behind.

mod function; // a closure as a handler
mod pointers; // an `Arc` or a `Box` of a handler
mod routes; // which function answers which path

mod layer; // code around a handler

mod chain; // handlers within handlers, as `connection` calls them

mod log; // the access log

use std::any::TypeId;

use http::StatusCode;

use super::error::Error;
use super::request::{BodyPlan, Request};
use super::response::{Response, Result};
use crate::tcp::Client;

pub(crate) use chain::Chain;
pub use chain::Depth;
use chain::{by_method, delegate_of, enter, enter_first};
pub use function::{HandlerFn, handler_fn};
pub use layer::{Layer, LayerFn, Layered, Next, layer_fn};
pub(crate) use log::Completed;
pub use log::{LogFormat, LogRecord};
pub use routes::{Router, Routes};

/// Handles requests (Python's `BaseHTTPRequestHandler`). One value serves all clients, on all workers at once:
/// shared state is in its fields.
///
/// To write: the `do_` methods you serve; the others respond with 501, once the request's body is there.
///
/// To change if you like, in the order in which they are called: [`verify_client`](Self::verify_client),
/// [`before_body`](Self::before_body), [`delegate`](Self::delegate), [`error_response`](Self::error_response),
/// [`finish_response`](Self::finish_response), [`log_request`](Self::log_request).
///
/// The `do_` methods and `before_body` may block: `TcpServer::workers` of them run at once. The others must not: they
/// run outside that limit.
///
/// ```
/// use modest::{Http, Request, RequestHandler, Response, Result};
///
/// struct Hello;
///
/// impl RequestHandler for Hello {
///     fn do_get(&self, request: &Request) -> Result<Response> {
///         Ok(Response::text(format!("Hello, {}!\n", request.param("name").unwrap_or("World".into()))))
///     }
/// }
///
/// let response = Hello.do_get(&Request::get("/?name=Ada"))?;
/// assert_eq!(response.into_bytes()?, b"Hello, Ada!\n");
/// # Ok::<(), modest::Error>(())
/// ```
///
/// # Handlers within handlers
///
/// [`delegate`](Self::delegate), [`layer`](Self::layer) and [`Routes`](crate::Routes) put handlers together, and each
/// keeps all its hooks: what `before_body` refuses is refused from the head, whatever is around it. A handler that was put together
/// so and is called by hand, by one of its `do_` methods, asks its `before_body` first: no check is left out.
///
/// The outermost comes first: see [`Layer`](crate::Layer).
#[diagnostic::on_unimplemented(
    message = "`{Self}` handles no requests",
    label = "this is no `RequestHandler`",
    note = "a closure is given as `handler_fn(|request| ..)`, routes with their state as `routes.serve(state)`"
)]
#[doc(alias("BaseHTTPRequestHandler", "BaseRequestHandler"))]
pub trait RequestHandler: Send + Sync + 'static {
    /// Handles GET. Default: 501.
    #[doc(alias = "do_GET")]
    fn do_get(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles HEAD. Default: as GET; the body is left out when the response is sent.
    #[doc(alias = "do_HEAD")]
    fn do_head(&self, request: &Request) -> Result<Response> {
        self.do_get(request)
    }

    /// Handles POST. Default: 501.
    #[doc(alias = "do_POST")]
    fn do_post(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles PUT. Default: 501.
    #[doc(alias = "do_PUT")]
    fn do_put(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles DELETE. Default: 501.
    #[doc(alias = "do_DELETE")]
    fn do_delete(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles PATCH. Default: 501.
    #[doc(alias = "do_PATCH")]
    fn do_patch(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles OPTIONS of a path. Default: 501. `OPTIONS *` is answered by the server itself.
    #[doc(alias = "do_OPTIONS")]
    fn do_options(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles any other method, unregistered ones too. Default: 501. CONNECT is never passed to it.
    fn do_other(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Another handler that takes this request, whole: its body plan, its `do_` method, its error page, its log. What
    /// this handler says in its own hooks still holds. Default: none, this handler takes it (so does `Some(self)`).
    ///
    /// It sees the head alone. It is called several times for a request and must answer the same each time; it must
    /// not block.
    ///
    /// ```
    /// use modest::{Request, RequestHandler, Response, Result, StaticFileHandler};
    ///
    /// struct Site {
    ///     files: StaticFileHandler,
    /// }
    ///
    /// impl RequestHandler for Site {
    ///     fn delegate(&self, request: &Request) -> Option<&dyn RequestHandler> {
    ///         (request.path() != "/now").then_some(&self.files as &dyn RequestHandler)
    ///     }
    ///
    ///     fn do_get(&self, request: &Request) -> Result<Response> {
    ///         Ok(Response::text(format!("{:?}\n", request.now())))
    ///     }
    /// }
    /// ```
    fn delegate(&self, request: &Request) -> Option<&dyn RequestHandler> {
        let _ = request;
        None
    }

    /// Accepts or declines a request by its head alone: before its body is read, and before `100 Continue` is sent
    /// (Python's `handle_expect_100`). An error becomes the response. What is to become of the body, how much is taken
    /// and where it is kept, is in the [`BodyPlan`], which may be changed. Default: accept.
    ///
    /// It is called for each request, also for one without a body, and may block.
    #[doc(alias = "handle_expect_100")]
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        let _ = (request, plan);
        Ok(())
    }

    /// Whether to serve this client; called before a byte is read (Python's `verify_request`). Default: yes.
    /// It must not block. A client that a delegate doesn't want gets a 403.
    #[doc(alias = "verify_request")]
    fn verify_client(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// The response to a request that failed (Python's `send_error`), whoever it was that failed: this handler, one it
    /// delegates to, or the server, which rejects what it can't read (400, 408, 413, 414, 431), has no room for (503,
    /// 507) or whose conditions don't hold (412, 416). `None`, the default: whoever stands around this handler is
    /// asked, and at the end it is a small page with the status and the error's message.
    ///
    /// There is no request if its head could not be read. An error below 400, such as a redirect that `before_body` returned, is no
    /// failure: nobody is asked for its page. What the page leaves out is taken from the error: the status, if
    /// the page's is 200, and fields such as `Allow`. It must not block: no file is opened here.
    ///
    /// ```
    /// # use modest::{Error, Request, RequestHandler, Response};
    /// # struct Api;
    /// impl RequestHandler for Api {
    ///     fn error_response(&self, _: Option<&Request>, error: &Error) -> Option<Response> {
    ///         let text = format!("{}\n", error.message().unwrap_or("it failed"));
    ///         Some(Response::text(text)) // with the error's status and its fields
    ///     }
    /// }
    /// ```
    #[doc(alias = "send_error")]
    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        let _ = (request, error);
        None
    }

    /// The last word on each response to a request whose head could be read, error pages too (Python's
    /// `end_headers`): the place for fields that stand in all of them. Default: the response as it is.
    ///
    /// Conditions and ranges are applied to what it returns. It must not block. A handler inside another that declined the
    /// request in its `before_body` is not asked; but what the server rejects before any handler was asked (a request
    /// without `Host`, say) comes here, too.
    ///
    /// ```
    /// # use modest::{Request, RequestHandler, Response};
    /// # struct Api;
    /// impl RequestHandler for Api {
    ///     fn finish_response(&self, _: &Request, response: Response) -> Response {
    ///         response.with_header("x-content-type-options", "nosniff")
    ///     }
    /// }
    /// ```
    #[doc(alias = "end_headers")]
    fn finish_response(&self, request: &Request, response: Response) -> Response {
        let _ = request;
        response
    }

    /// Called for each response once it is encoded, for a stream once it has ended. The record holds how many bytes
    /// were to be sent, not how many the client received. Default: nothing; the access log is written anyway, as
    /// [`Http::access_log`](crate::Http::access_log) says.
    ///
    /// It must not block, nor should the logger behind `log`: one that writes directly to stderr waits for its reader.
    #[doc(alias = "log_message")]
    fn log_request(&self, record: &LogRecord<'_>) {
        let _ = record;
    }

    /// This handler with code around it. The layer that is added last is the outermost.
    ///
    /// ```
    /// use modest::{RequestHandler, Response, handler_fn, layer_fn};
    ///
    /// let app = handler_fn(|_| Ok(Response::text("hello\n")))
    ///     .layer(layer_fn(|request, next| Ok(next.run(request)?.with_header("x-powered-by", "tea"))));
    /// ```
    fn layer<L: Layer>(self, layer: L) -> Layered<L, Self>
    where
        Self: Sized,
    {
        Layered::new(layer, self)
    }

    #[doc(hidden)]
    fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, depth: Depth<'_>) -> Result<()> {
        depth.ask_first(request, plan, |plan| self.before_body(request, plan))?;
        match delegate_of(self, request) {
            Some(inner) => enter_first(inner, request, plan, depth),
            None => Ok(()),
        }
    }

    #[doc(hidden)]
    fn chain_handle(&self, request: &Request, depth: Depth<'_>) -> Result<Response> {
        depth.ask(request, |plan| self.before_body(request, plan))?;
        match delegate_of(self, request) {
            Some(inner) => enter(inner, request, depth),
            None => {
                depth.begins(request);
                by_method(self, request, depth.method(request))
            }
        }
    }

    #[doc(hidden)]
    fn chain_verify_client(&self, client: &Client, _: Depth<'_>) -> bool {
        self.verify_client(client)
    }

    #[doc(hidden)]
    fn chain_error_response(&self, request: Option<&Request>, error: &Error, depth: Depth<'_>) -> Option<Response> {
        let inner = request.and_then(|request| depth.asked(request, || delegate_of(self, request)));
        let dressed = inner.and_then(|(inner, depth)| inner.chain_error_response(request, error, depth));
        dressed.or_else(|| self.error_response(request, error))
    }

    #[doc(hidden)]
    fn chain_finish_response(&self, request: &Request, mut response: Response, depth: Depth<'_>) -> Response {
        if let Some((inner, depth)) = depth.asked(request, || delegate_of(self, request)) {
            response = inner.chain_finish_response(request, response, depth);
        }
        self.finish_response(request, response)
    }

    #[doc(hidden)]
    fn chain_log_request(&self, record: &LogRecord<'_>, depth: Depth<'_>) {
        let inner = record.request().and_then(|request| depth.asked(request, || delegate_of(self, request)));
        if let Some((inner, depth)) = inner {
            inner.chain_log_request(record, depth);
        }
        self.log_request(record);
    }

    #[doc(hidden)]
    fn chain_type(&self, _: Depth<'_>) -> TypeId {
        TypeId::of::<Self>()
    }
}

/// The result of a `do_` method that is not written.
fn unwritten(request: &Request) -> Result<Response> {
    Err(not_implemented(request))
}

pub(super) fn not_implemented(request: &Request) -> Error {
    Error::new(StatusCode::NOT_IMPLEMENTED, format!("Unsupported method ({})", request.method()))
}
