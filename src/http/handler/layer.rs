//! Layers: code around a handler, which sees each request on its way in and its response on the way out.
//! A `Layered` is a handler like any other; it passes on whatever its layer does not change.

use std::fmt;

use super::{LogRecord, RequestHandler, Seal};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

/// Code around a handler: [`RequestHandler::layer`]. What it leaves out is as if it were not there.
///
/// Of its methods `before_body` and `handle` may block; the others must not.
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
    message = "`{Self}` is no layer",
    label = "this does not implement `Layer`",
    note = "a closure is given as `layer_fn(|request, next| ..)`"
)]
pub trait Layer: Send + Sync + 'static {
    /// From the head alone, before the handler's own: see [`RequestHandler::before_body`].
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        let _ = (request, plan);
        Ok(())
    }

    /// The whole request: `next.run(request)` has the handler answer it. What the handler returned as an error still is
    /// one: it has no page yet. Default: that, and nothing else.
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        next.run(request)
    }

    /// See [`RequestHandler::verify_client`].
    fn verify_client(&self, client: &Client) -> bool {
        let _ = client;
        true
    }

    /// The page of an error for which the handler has none: see [`RequestHandler::error_response`].
    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        let _ = (request, error);
        None
    }

    /// Each response to a request whose head could be read, after the handler's own: see
    /// [`RequestHandler::finish_response`].
    fn finish_response(&self, request: &Request, response: Response) -> Response {
        let _ = request;
        response
    }

    /// After the handler's own: see [`RequestHandler::log_request`].
    fn log_request(&self, record: &LogRecord<'_>) {
        let _ = record;
    }
}

/// The handler inside a layer, and the layers between.
#[derive(Clone, Copy)]
pub struct Next<'a>(&'a dyn RequestHandler);

impl Next<'_> {
    /// Its response.
    ///
    /// # Errors
    /// Those of the handler.
    pub fn run(self, request: &Request) -> Result<Response> {
        self.0.chain_handle(request, Seal(()))
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next(..)")
    }
}

/// A handler with a layer around it: [`RequestHandler::layer`].
#[derive(Clone, Debug)]
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
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
    fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, seal: Seal) -> Result<()> {
        self.layer.before_body(request, plan)?;
        self.inner.chain_before_body(request, plan, seal)
    }

    fn chain_handle(&self, request: &Request, _: Seal) -> Result<Response> {
        self.layer.handle(request, Next(&self.inner))
    }

    fn chain_verify_client(&self, client: &Client, seal: Seal) -> bool {
        self.layer.verify_client(client) && self.inner.chain_verify_client(client, seal)
    }

    fn chain_error_response(&self, request: Option<&Request>, error: &Error, seal: Seal) -> Option<Response> {
        self.inner.chain_error_response(request, error, seal).or_else(|| self.layer.error_response(request, error))
    }

    fn chain_finish_response(&self, request: &Request, response: Response, seal: Seal) -> Response {
        self.layer.finish_response(request, self.inner.chain_finish_response(request, response, seal))
    }

    fn chain_log_request(&self, record: &LogRecord<'_>, seal: Seal) {
        self.inner.chain_log_request(record, seal);
        self.layer.log_request(record);
    }
}

/// A closure as a layer: see [`layer_fn`].
#[derive(Clone, Copy)]
pub struct LayerFn<F>(F);

impl<F> fmt::Debug for LayerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerFn(..)")
    }
}

/// A layer that is this closure, called for each whole request ([`Layer::handle`]).
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

impl<F> Layer for LayerFn<F>
where
    F: Fn(&Request, Next<'_>) -> Result<Response> + Send + Sync + 'static,
{
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        (self.0)(request, next)
    }
}
