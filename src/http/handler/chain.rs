//! The chain of handlers that a request passes through, as `connection` calls it, and how deep in it one stands.
//! Used by `handler`, and by whatever puts handlers together: layers and routes.

use std::any::TypeId;

use http::{Method, StatusCode};

use super::{LogRecord, RequestHandler};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

/// The chain of handlers that begins with this one, as `connection` calls it.
pub(crate) struct Chain<'a, H: ?Sized>(pub(crate) &'a H);

impl<H: RequestHandler + ?Sized> Chain<'_, H> {
    pub(crate) fn verify_client(&self, client: &Client) -> bool {
        self.0.chain_verify_client(client, Depth::OUTERMOST)
    }

    pub(crate) fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        self.0.chain_before_body(request, plan, Depth::OUTERMOST)
    }

    pub(crate) fn handle(&self, request: &Request) -> Result<Response> {
        self.0.chain_handle(request, Depth::OUTERMOST)
    }

    pub(crate) fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        self.0.chain_error_response(request, error, Depth::OUTERMOST)
    }

    pub(crate) fn finish_response(&self, request: &Request, response: Response) -> Response {
        self.0.chain_finish_response(request, response, Depth::OUTERMOST)
    }

    pub(crate) fn log_request(&self, record: &LogRecord<'_>) {
        self.0.chain_log_request(record, Depth::OUTERMOST);
    }
}

/// How many handlers stand around one. Only this floor can make one: so only it calls the `chain_` methods, and nobody
/// else can write one.
#[derive(Clone, Copy, Debug)]
pub struct Depth(u32);

/// Handlers that delegate to each other in a circle would fill the stack.
const DEEPEST: u32 = 64;

impl Depth {
    pub(super) const OUTERMOST: Depth = Depth(0);

    pub(super) fn inner(self) -> Result<Depth> {
        if self.0 == DEEPEST {
            return Err(Error::from("handlers delegate to each other in a circle"));
        }
        Ok(Depth(self.0 + 1))
    }

    /// The handler at this depth is asked whether it accepts the request.
    pub(super) fn reach(self, request: &Request) -> Result<()> {
        request.reach(self.0);
        self.inner().map(drop)
    }

    /// The same for the handler inside a layer, which has a say in what is rejected before anybody is asked, too: it is
    /// there for all requests.
    pub(super) fn layered<'a>(
        self,
        request: &Request,
        inner: &'a dyn RequestHandler,
    ) -> Option<(&'a dyn RequestHandler, Depth)> {
        let is_rejected = !request.has_reached(Depth::OUTERMOST.0);
        let depth = self.inner().ok()?;
        (is_rejected || request.has_reached(depth.0)).then_some((inner, depth))
    }

    /// How many of the next so many layers inside were asked.
    pub(super) fn asked_inside(self, request: &Request, most: usize) -> usize {
        (1..).take(most).take_while(|deeper| request.has_reached(self.0 + deeper)).count()
    }

    /// A handler inside the one at this depth, if it was asked whether it accepts the request: one that was not, because
    /// an outer one declined it, has nothing to say of the response.
    pub(super) fn asked<'a>(
        self,
        request: &Request,
        inner: Option<&'a dyn RequestHandler>,
    ) -> Option<(&'a dyn RequestHandler, Depth)> {
        let depth = self.inner().ok()?;
        inner.filter(|_| request.has_reached(depth.0)).map(|inner| (inner, depth))
    }
}

/// The handler that this one delegates to. Itself is none: it takes the request.
pub(super) fn delegate_of<'a, H: RequestHandler + ?Sized>(
    handler: &'a H,
    request: &Request,
) -> Option<&'a dyn RequestHandler> {
    let is_other = |inner: &&dyn RequestHandler| {
        // A field may have its struct's address, but not its type, too.
        !std::ptr::addr_eq(handler, *inner) || inner.chain_type(Depth::OUTERMOST) != TypeId::of::<H>()
    };
    handler.delegate(request).filter(is_other)
}

/// Ask the handler inside the one at this depth.
pub(super) fn enter(inner: &dyn RequestHandler, request: &Request, plan: &mut BodyPlan, depth: Depth) -> Result<()> {
    if !inner.chain_verify_client(request.client(), depth) {
        return Err(Error::new(StatusCode::FORBIDDEN, ""));
    }
    inner.chain_before_body(request, plan, depth.inner()?)
}

/// Call the `do_` method of the request's method. Methods are case-sensitive: `get` is not `GET`.
pub(super) fn by_method<H: RequestHandler + ?Sized>(handler: &H, request: &Request) -> Result<Response> {
    let call = || match *request.method() {
        Method::GET => handler.do_get(request),
        Method::HEAD => handler.do_head(request),
        Method::POST => handler.do_post(request),
        Method::PUT => handler.do_put(request),
        Method::DELETE => handler.do_delete(request),
        Method::PATCH => handler.do_patch(request),
        Method::OPTIONS => handler.do_options(request),
        _ => handler.do_other(request),
    };
    match request.unknown_method() {
        Some(method) => method.learn(TypeId::of::<H>(), call),
        None => call(),
    }
}

/// The `do_` methods of handlers that handle all methods alike, for those who call one by hand.
macro_rules! whole_handler_methods {
    () => {
        whole_handler_methods!(do_get, do_head, do_post, do_put, do_delete, do_patch, do_options, do_other);
    };
    ($($name:ident),*) => {$(
        fn $name(&self, request: &$crate::http::request::Request) -> $crate::http::response::Result {
            self.chain_handle(request, $crate::http::handler::Depth::OUTERMOST)
        }
    )*};
}
pub(super) use whole_handler_methods;
