//! Layers: code around a handler, which sees each request on its way in and its response on the way out. A `Layered` is
//! a handler that passes on everything that its layer does not change.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use http::StatusCode;

use super::chain::whole_handler_methods;
use super::{Depth, LogRecord, RequestHandler};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

/// Code around a handler: [`RequestHandler::layer`]. A method that is not implemented has no effect.
///
/// `before_body`, `check_again` and `handle` may block. The other methods must not.
///
/// ```
/// use modest::{BodyPlan, Error, Layer, Request, RequestHandler, Response, Result, handler_fn};
///
/// struct OnWeekdays;
///
/// impl Layer for OnWeekdays {
///     fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
///         match request.header("x-day") {
///             Some("sunday") => Err(Error::new(403, "come again tomorrow")), // no byte of the body is read
///             _ => Ok(()),
///         }
///     }
/// }
///
/// let app = handler_fn(|_| Ok(Response::text("welcome\n"))).layer(OnWeekdays);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer",
    label = "this does not implement `Layer`",
    note = "wrap a closure in `layer_fn(|request, next| ..)` or `before_body_fn(|request, plan| ..)`"
)]
pub trait Layer: Send + Sync + 'static {
    /// Called with the head, before the inner handler: see [`RequestHandler::before_body`]. An error becomes the
    /// response, after the `handle` of the layers around this one has seen it.
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        let _ = (request, plan);
        Ok(())
    }

    /// Called before `handle` if time has passed since `before_body`, because the body arrived later or the request has
    /// waited ([`Response::wait_for`](crate::Response::wait_for)): once after the body, and after each wait, except
    /// that of a `ReverseProxy`, whose backend may have executed the request. Check again what may have changed, such
    /// as whether the user is still valid. An error becomes the response. Default: accepts the request.
    ///
    /// It is not called before the handler of a streamed body ([`BodyPlan::stream`]), which begins with the head.
    fn check_again(&self, request: &Request) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Called with the whole request. `next.run(request)` calls the inner handler. An error of the inner handler is
    /// still an error here and has no page yet. Default: calls `next.run` and nothing else.
    ///
    /// If the inner handler waits ([`Response::wait_for`](crate::Response::wait_for), `ReverseProxy`), this method is
    /// called again after the wait. Its result is sent after the last call only, so count requests in `log_request`.
    ///
    /// Decide in `before_body` whether a request is allowed. If the request has no body, nothing inside has been called
    /// before this method. If it has one, the inner handlers have already seen the head, and their body plan has been
    /// carried out ([`BodyPlan::save_to`] has written the body). If an inner handler rejected the request, or there is
    /// no route for it, `next.run` returns that error, and the body was not received. Reading the body is then an
    /// error, unless `before_body` has set a limit for it ([`BodyPlan::limit`]), or there is no route and the body has
    /// up to 64 KiB.
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        next.run(request)
    }

    /// See [`RequestHandler::verify_client`].
    fn verify_client(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// Called for a request that is rejected before any handler is called, because its head breaks a rule: for example,
    /// it has no `Host`, or an unknown `Expect`. Called before the error page is created, outermost layer first. Use it
    /// to add values that `before_body` otherwise adds and that the page shows, such as an id. Default: nothing.
    fn on_rejection(&self, request: &Request) {
        let _ = request;
    }

    /// Returns the page for an error for which the handler has none: see [`RequestHandler::error_response`].
    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        let _ = (request, error);
        None
    }

    /// Called with each response to a request whose head could be read, after the handler's own hook: see
    /// [`RequestHandler::finish_response`].
    fn finish_response(&self, request: &Request, response: Response) -> Response {
        let _ = request;
        response
    }

    /// Called after the handler's own hook: see [`RequestHandler::log_request`].
    fn log_request(&self, record: &LogRecord<'_>) {
        let _ = record;
    }
}

/// The handler inside a layer, and the layers between them.
pub struct Next<'a> {
    inside: Inside<'a>,
    depth: Depth<'a>,
}

/// The innermost part of a route, with the layers around it.
type Endpoint<'a> = dyn Fn(&Request, Depth<'_>) -> Result<Response> + 'a;

enum Inside<'a> {
    Handler(&'a dyn RequestHandler),
    /// The endpoint of a router, and the layers around it, outermost first.
    Endpoint(&'a [Arc<dyn Layer>], &'a Endpoint<'a>),
}

impl<'a> Next<'a> {
    /// `depth` is the depth of the router.
    pub(super) fn endpoint(layers: &'a [Arc<dyn Layer>], endpoint: &'a Endpoint<'a>, depth: Depth<'a>) -> Next<'a> {
        Next { inside: Inside::Endpoint(layers, endpoint), depth }
    }

    /// Calls the handler and returns its response.
    ///
    /// # Errors
    /// The errors of the handler.
    pub fn run(self, request: &Request) -> Result<Response> {
        match self.inside {
            Inside::Handler(handler) => handler.chain_handle(request, self.depth),
            Inside::Endpoint([], endpoint) => endpoint(request, self.depth),
            Inside::Endpoint([layer, inner @ ..], endpoint) => {
                let depth = self.depth.inner()?;
                depth.ask_layer(request, &**layer, |plan| accept(&**layer, request, plan))?;
                layer.handle(request, Next::endpoint(inner, endpoint, depth))
            }
        }
    }
}

/// Calls the layer of a route. Its `verify_client` is called here, because it was not called when the client connected.
pub(super) fn accept(layer: &dyn Layer, request: &Request, plan: &mut BodyPlan) -> Result<()> {
    match layer.verify_client(request.client()) {
        true => layer.before_body(request, plan),
        false => Err(Error::new(StatusCode::FORBIDDEN, "")),
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next(..)")
    }
}

/// A handler with a layer around it: [`RequestHandler::layer`].
#[derive(Clone, Debug)]
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct Layered<L, H> {
    layer: L,
    inner: H,
}

impl<L, H> Layered<L, H> {
    pub(crate) fn new(layer: L, inner: H) -> Layered<L, H> {
        Layered { layer, inner }
    }
}

impl<L: Layer, H: RequestHandler> RequestHandler for Layered<L, H> {
    whole_handler_methods!();

    fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, depth: Depth<'_>) -> Result<()> {
        depth.ask_first(request, plan, |plan| self.layer.before_body(request, plan))?;
        plan.layered = true;
        self.inner.chain_before_body(request, plan, depth.inner()?)
    }

    fn chain_handle(&self, request: &Request, depth: Depth<'_>) -> Result<Response> {
        depth.ask_layer(request, &self.layer, |plan| self.layer.before_body(request, plan))?;
        self.layer.handle(request, Next { inside: Inside::Handler(&self.inner), depth: depth.inner()? })
    }

    fn chain_verify_client(&self, client: &Client, depth: Depth<'_>) -> bool {
        self.layer.verify_client(client) && self.inner.chain_verify_client(client, depth)
    }

    fn chain_error_response(&self, request: Option<&Request>, error: &Error, depth: Depth<'_>) -> Option<Response> {
        if let Some(request) = request.filter(|request| !Depth::OUTERMOST.has_reached(request)) {
            self.layer.on_rejection(request);
        }
        let inner = depth.layered(request, &self.inner);
        let dressed = inner.and_then(|(inner, depth)| inner.chain_error_response(request, error, depth));
        dressed.or_else(|| self.layer.error_response(request, error))
    }

    fn chain_finish_response(&self, request: &Request, mut response: Response, depth: Depth<'_>) -> Response {
        if let Some((inner, depth)) = depth.layered(Some(request), &self.inner) {
            response = inner.chain_finish_response(request, response, depth);
        }
        self.layer.finish_response(request, response)
    }

    fn chain_log_request(&self, record: &LogRecord<'_>, depth: Depth<'_>) {
        if let Some((inner, depth)) = depth.layered(record.request(), &self.inner) {
            inner.chain_log_request(record, depth);
        }
        record.contain("log_request", || self.layer.log_request(record));
    }
}

/// Implements methods that call the same method of what this function returns.
macro_rules! pass_on {
    ($of:path: $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        fn $name(&self, $($argument: $type),*) $(-> $result)? {
            $of(self).$name($($argument),*)
        }
    )*};
}
pub(super) use pass_on;

/// Implements [`Layer`] for a type that has a layer, which this function returns.
macro_rules! behind {
    ($(#[$what:meta])* [$($layer:tt)*] $holder:ty, $of:path) => {
        $(#[$what])*
        impl<$($layer)*> Layer for $holder {
            pass_on! {
                $of:
                fn before_body(request: &Request, plan: &mut BodyPlan) -> Result<()>;
                fn check_again(request: &Request) -> Result<()>;
                fn handle(request: &Request, next: Next<'_>) -> Result<Response>;
                fn verify_client(client: &Client) -> bool;
                fn on_rejection(request: &Request);
                fn error_response(request: Option<&Request>, error: &Error) -> Option<Response>;
                fn finish_response(request: &Request, response: Response) -> Response;
                fn log_request(record: &LogRecord<'_>);
            }
        }
    };
}

behind! {
    /// A layer that is shared by several handlers.
    [L: Layer + ?Sized] Arc<L>, Deref::deref
}

behind! {
    /// A layer that is chosen while the program runs.
    [L: Layer + ?Sized] Box<L>, Deref::deref
}

behind! {
    /// A layer that may be left out: `None` changes nothing.
    ///
    /// ```
    /// use modest::layers::HttpsOnly;
    /// use modest::{RequestHandler, Response, handler_fn};
    ///
    /// let is_public = false;
    /// let app = handler_fn(|_| Ok(Response::text("welcome\n"))).layer(is_public.then(HttpsOnly::new));
    /// ```
    [L: Layer] Option<L>, or_nothing
}

/// A layer that changes nothing.
struct Nothing;

impl Layer for Nothing {}

fn or_nothing<L: Layer>(layer: &Option<L>) -> &dyn Layer {
    layer.as_ref().map_or(&Nothing, |layer| layer)
}

/// A closure as a layer: see [`layer_fn`].
#[derive(Clone, Copy)]
pub struct LayerFn<F>(F);

opaque!(LayerFn<F>);

/// Creates a layer from this closure, which is called with each whole request ([`Layer::handle`]). Check rights with
/// [`before_body_fn`] instead, before any inner handler is called.
///
/// ```
/// use modest::{RequestHandler, Response, handler_fn, layer_fn};
///
/// let greeting = layer_fn(|request, next| Ok(next.run(request)?.with_header("x-greeting", "hello")));
/// let app = handler_fn(|_| Ok(Response::text("welcome\n"))).layer(greeting);
/// ```
pub fn layer_fn<F>(closure: F) -> LayerFn<F>
where
    F: Fn(&Request, Next<'_>) -> Result<Response> + Send + Sync + 'static,
{
    LayerFn(closure)
}

/// A closure as a check: see [`before_body_fn`].
#[derive(Clone, Copy)]
pub struct BeforeBodyFn<F>(F);

opaque!(BeforeBodyFn<F>);

/// Creates a layer from this closure, which is called with the head of each request, before any inner handler and
/// before the body is read ([`Layer::before_body`]). It accepts or rejects the request, and sets the plan of its body.
///
/// ```
/// use modest::{Error, Http, Request, RequestHandler, Response, before_body_fn, handler_fn};
///
/// let members = before_body_fn(|request, _| match request.cookie("member") {
///     Some(_) => Ok(()),
///     None => Err(Error::new(403, "who are you?")),
/// });
/// let http = Http::new(handler_fn(|_| Ok(Response::text("welcome\n"))).layer(members));
/// assert_eq!(http.respond(&Request::post("/", "a body that is not read")).status(), 403);
/// ```
pub fn before_body_fn<F>(closure: F) -> BeforeBodyFn<F>
where
    F: Fn(&Request, &mut BodyPlan) -> Result<()> + Send + Sync + 'static,
{
    BeforeBodyFn(closure)
}

impl<F> Layer for BeforeBodyFn<F>
where
    F: Fn(&Request, &mut BodyPlan) -> Result<()> + Send + Sync + 'static,
{
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        (self.0)(request, plan)
    }
}

impl<F> Layer for LayerFn<F>
where
    F: Fn(&Request, Next<'_>) -> Result<Response> + Send + Sync + 'static,
{
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        (self.0)(request, next)
    }
}
