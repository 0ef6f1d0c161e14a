//! A closure as a handler.

use http::Method;

use super::chain::whole_handler_methods;
use super::{Depth, RequestHandler, not_implemented};
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};

/// A closure as a handler: see [`handler_fn`].
#[derive(Clone, Copy)]
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct HandlerFn<F>(F);

opaque!(HandlerFn<F>);

/// Creates a handler that calls this closure for every method except CONNECT and TRACE, which are rejected.
///
/// ```no_run
/// use modest::{Response, TcpServer, handler_fn};
///
/// let app = handler_fn(|request| Ok(Response::text(format!("You asked for {}\n", request.path()))));
/// TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn handler_fn<F>(closure: F) -> HandlerFn<F>
where
    F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
{
    HandlerFn(closure)
}

impl<F> RequestHandler for HandlerFn<F>
where
    F: Fn(&Request) -> Result<Response> + Send + Sync + 'static,
{
    whole_handler_methods!();

    fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, depth: Depth<'_>) -> Result<()> {
        depth.ask_first(request, plan, |_| Ok(()))?;
        if *request.method() == Method::TRACE { plan.refuse(not_implemented(request)) } else { Ok(()) }
    }

    fn chain_handle(&self, request: &Request, depth: Depth<'_>) -> Result<Response> {
        depth.ask(request, |_| Ok(()))?;
        depth.begins(request, false)?;
        match *depth.method(request) {
            Method::TRACE => Err(not_implemented(request)),
            _ => (self.0)(request),
        }
    }
}
