//! The `RequestHandler` trait, which users implement, and the ways to combine handlers: `delegate`, layers and routes.
//! Called by `connection`, in turns that may block where the methods may.
//!
//! A request passes through a chain of handlers: the served handler, the handler to which it delegates, and so on.
//! `connection` calls the `chain_` methods, which users can neither implement nor call. So combined handlers keep all
//! their hooks.

mod function; // a closure as a handler
mod pointers; // an `Arc` or a `Box` of a handler
mod routes; // functions by path and method
mod layer; // code around a handler
mod chain; // handlers within handlers, as `connection` calls them
mod log; // the access log

use std::any::TypeId;

use http::StatusCode;

use super::error::Error;
use super::request::{BodyPlan, Request};
use super::response::{Response, Result};
use crate::tcp::Client;

pub use chain::Depth;
use chain::{by_method, delegate_of, enter, enter_first};
pub use function::{HandlerFn, handler_fn};
pub use layer::{BeforeBodyFn, Layer, LayerFn, Layered, Next, before_body_fn, layer_fn};
pub(crate) use log::{Completed, push_json_field, utc_time};
pub use log::{LogFormat, LogRecord};
pub use routes::{ListedRoute, Router, Routes};

/// Handles requests (Python's `BaseHTTPRequestHandler`). One value serves all clients, on all workers at once: shared
/// state is in its fields.
///
/// Required: the `do_` methods that you serve. The others respond with 501, after the request's body has been received.
///
/// Optional, in the order in which they are called: [`verify_client`](Self::verify_client),
/// [`before_body`](Self::before_body), [`delegate`](Self::delegate), [`error_response`](Self::error_response),
/// [`finish_response`](Self::finish_response), [`log_request`](Self::log_request).
///
/// The `do_` methods and `before_body` may block: up to `TcpServer::workers` of them run at once. `verify_client` may
/// block for a short time. The other methods must not block, because they run outside that limit.
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
/// [`delegate`](Self::delegate), [`layer`](Self::layer) and [`Routes`](crate::Routes) combine handlers, and each keeps
/// all its hooks: a request that `before_body` rejects is rejected before its body is read, in any combination. If your
/// code calls a `do_` method of a combined handler directly, `before_body` is called first, so no check is left out.
///
/// The outermost comes first: see [`Layer`](crate::Layer).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle requests",
    label = "this does not implement `RequestHandler`",
    note = "wrap a closure in `handler_fn(|request| ..)`; pass routes as `routes.with_state(state)`"
)]
#[doc(alias("BaseHTTPRequestHandler", "BaseRequestHandler"))]
pub trait RequestHandler: Send + Sync + 'static {
    /// Handles GET. Default: 501.
    #[doc(alias = "do_GET")]
    fn do_get(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles HEAD. Default: calls `do_get`. The body is left out when the response is sent.
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

    /// Handles OPTIONS of a path. Default: 501. The server itself responds to `OPTIONS *`.
    #[doc(alias = "do_OPTIONS")]
    fn do_options(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Handles any other method, including unregistered ones. Default: 501. CONNECT is never passed to it: see
    /// [`Http::on_connect`](crate::Http::on_connect).
    fn do_other(&self, request: &Request) -> Result<Response> {
        unwritten(request)
    }

    /// Returns another handler that takes this request completely: its body plan, its `do_` method, its error page, its
    /// log. The hooks of this handler still apply. Default: `None`, this handler takes the request (`Some(self)` means
    /// the same).
    ///
    /// `delegate` gets only the head. It is called several times per request, must return the same handler each time,
    /// and must not block.
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

    /// Accepts or rejects a request from its head: before its body is read, and before `100 Continue` is sent (Python's
    /// `handle_expect_100`). An error becomes the response. The [`BodyPlan`] sets the size limit of the body and the
    /// place where it is stored. Default: accepts the request.
    ///
    /// It is called for every request that reaches the handler, even without a body, and may block.
    #[doc(alias = "handle_expect_100")]
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        let _ = (request, plan);
        Ok(())
    }

    /// Returns whether to serve this client. Called before a byte of a request is read (Python's `verify_request`).
    /// Default: true.
    /// It can block for a short time: it holds a permit that handlers and other new clients may need. A client that a
    /// delegate declines gets a 403.
    #[doc(alias = "verify_request")]
    fn verify_client(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// Returns the response to a request that failed (Python's `send_error`). The error can come from this handler,
    /// from a handler it delegates to, or from the server. The server rejects requests that it cannot read (such as
    /// 400, 408, 413, 414 and 431), has no room for (503, 507), or whose conditions do not hold (412, 416). Default:
    /// `None`. Then this method of the handler around this one is called. If all return `None`, the response is a small
    /// page with the status and the error's message.
    ///
    /// The request is `None` if its head could not be read. An error below 400, such as a redirect that `before_body`
    /// returned, is not a failure and has no page. If the status of the returned page is 200, it gets the error's
    /// status. It also gets fields such as `Allow` from the error. This method must not block, so it must not open
    /// files.
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

    /// Called with each response to a request whose head could be read, including error pages (Python's `end_headers`).
    /// Use it to add fields to all responses. Default: returns the response unchanged.
    ///
    /// Conditions and ranges are applied to the returned response. If the server then sends an error page in its place,
    /// such as a 416 or a 503 beyond a limit, the page keeps the fields of the response that do not concern its
    /// content. This method must not block. It is not called if an outer handler rejected the request in its
    /// `before_body`. It is also called with responses to requests that the server rejects before any handler is
    /// called, such as a request without `Host`.
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

    /// Called once for each request: when its response is complete and at most 64 KiB of it are unsent, or when its
    /// connection ends before that ([`LogRecord::status`]). A request whose head is incomplete counts only if it gets a
    /// response, such as a 408. If the logger behind `log` panics while a reason or an error is logged, the connection
    /// is reset without a call. If a handler is still running when the server ends, a warning names its request
    /// instead, unless [`slow_handler`](crate::TcpServer::slow_handler) is off. Default: nothing.
    /// [`Http::access_log`](crate::Http::access_log) writes the access log in any case.
    ///
    /// It must not block. Neither must the logger behind `log`: a logger that writes directly to stderr waits for its
    /// reader.
    #[doc(alias = "log_message")]
    fn log_request(&self, record: &LogRecord<'_>) {
        let _ = record;
    }

    /// Puts code around this handler. The layer that is added last is the outermost.
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
                depth.begins(request, self.serves_writers())?;
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
        record.contain("delegate", || {
            let inner = record.request().and_then(|request| depth.asked(request, || delegate_of(self, request)));
            if let Some((inner, depth)) = inner {
                inner.chain_log_request(record, depth);
            }
        });
        record.contain("log_request", || self.log_request(record));
    }

    /// Returns whether this handler has responses to GET and HEAD for users that can write to a path but not read it,
    /// such as a page with a form for uploads (see [`layers::PathRights`](crate::layers::PathRights)). By default no
    /// method of a handler is called for such a request, except `before_body`, and the response is 403.
    fn serves_writers(&self) -> bool {
        false
    }

    #[doc(hidden)]
    fn chain_type(&self, _: Depth<'_>) -> TypeId {
        TypeId::of::<Self>()
    }
}

/// Returns the result of a `do_` method that is not implemented.
fn unwritten(request: &Request) -> Result<Response> {
    Err(not_implemented(request))
}

pub(super) fn not_implemented(request: &Request) -> Error {
    Error::new(StatusCode::NOT_IMPLEMENTED, format!("Unsupported method ({})", request.method()))
}
