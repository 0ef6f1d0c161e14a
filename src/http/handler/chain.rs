//! The chain of handlers that a request passes through, as `connection` calls it, and the depth of a handler in it.
//! Used by `handler`, layers and routes.
//!
//! A request is handled in one pass down the chain: each handler accepts or rejects the request, and then handles it by
//! calling the next one. If a body is still to arrive, `chain_before_body` first calls all handlers with the head, the
//! outermost first, until one rejects the request. The rejection is stored. The following pass returns it in place of
//! calling the handler, so that the handlers around that one see the rejection. In this pass, and after each wait, a
//! layer can check again what it has accepted before.

use std::any::TypeId;
use std::fmt;

use http::{Method, StatusCode};

use super::{Layer, RequestHandler};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Permissions, Request};
use crate::http::response::{Response, Result};

/// The number of handlers around one. Only this crate can create a `Depth`, so no other code can call or implement the
/// `chain_` methods.
#[derive(Clone, Copy)]
pub struct Depth<'a> {
    level: u32,
    begins: &'a dyn Fn(&Request),
    /// The method to call in place of the request's, if user code called a `do_` method directly.
    called: Option<&'a Method>,
}

impl fmt::Debug for Depth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Depth").field(&self.level).finish()
    }
}

/// Limits the depth: handlers that delegate to each other in a circle would overflow the stack.
const DEEPEST: u32 = 64;

impl<'a> Depth<'a> {
    pub(crate) const OUTERMOST: Depth<'static> = Depth::outermost(&|_| {});

    /// `begins` is called when all handlers have accepted the request, before the code that responds.
    pub(crate) const fn outermost(begins: &'a dyn Fn(&Request)) -> Depth<'a> {
        Depth { level: 0, begins, called: None }
    }

    pub(super) fn inner(self) -> Result<Depth<'a>> {
        if self.level == DEEPEST {
            return Err(Error::from("handlers delegate to each other in a circle"));
        }
        Ok(Depth { level: self.level + 1, ..self })
    }

    /// Called before the body arrives. Calls the handler at this depth, and stores its rejection.
    pub(super) fn ask_first(
        self,
        request: &Request,
        plan: &mut BodyPlan,
        check: impl FnOnce(&mut BodyPlan) -> Result<()>,
    ) -> Result<()> {
        request.asked.reach(self.level);
        let mut own = BodyPlan::default(); // the plan is used only if the handler accepts the request
        check(&mut own).inspect_err(|error| request.asked.refuse(self.level, error))?;
        own.form.take().into_iter().for_each(|form| request.put(form));
        plan.add(own);
        Ok(())
    }

    /// Called on the pass down. Calls the layer at this depth, and returns its rejection. If it has accepted the
    /// request before, and time has passed since, it checks the request again.
    pub(super) fn ask_layer(
        self,
        request: &Request,
        layer: &(impl Layer + ?Sized),
        check: impl FnOnce(&mut BodyPlan) -> Result<()>,
    ) -> Result<()> {
        let is_new = !self.has_reached(request);
        self.ask(request, check)?;
        if !is_new && request.asked.is_old() { layer.check_again(request) } else { Ok(()) }
    }

    /// Called on the pass down. Calls the handler at this depth, unless it was called before, and returns its
    /// rejection.
    pub(super) fn ask(self, request: &Request, check: impl FnOnce(&mut BodyPlan) -> Result<()>) -> Result<()> {
        if !request.asked.reach(self.level) {
            return request.asked.refusal_at(self.level).map_or(Ok(()), Err);
        }
        let mut plan = BodyPlan::default();
        let asked = check(&mut plan).and_then(|()| plan.check_length(request.body()));
        asked.inspect_err(|error| request.asked.refuse(self.level, error))?;
        plan.form.into_iter().for_each(|form| request.put(form));
        Ok(())
    }

    pub(super) fn method<'r>(self, request: &'r Request) -> &'r Method
    where
        'a: 'r,
    {
        self.called.unwrap_or(request.method())
    }

    /// Called before the code that responds. Fails if the request is only for handlers that serve writers
    /// ([`RequestHandler::serves_writers`]) and this handler does not.
    pub(super) fn begins(self, request: &Request, serves_writers: bool) -> Result<()> {
        let is_for_others = || request.value::<Permissions>().is_some_and(|found| found.reads_nothing);
        if !serves_writers && is_for_others() {
            return Err(Error::new(StatusCode::FORBIDDEN, "You have no permission to do this."));
        }
        (self.begins)(request);
        Ok(())
    }

    pub(super) fn has_reached(self, request: &Request) -> bool {
        request.asked.has_reached(self.level)
    }

    /// Returns a handler inside a layer, if it has been called for this request, or if no handler was called: the
    /// request was rejected before, or there is none. In these cases its hooks also apply, because it serves all
    /// requests.
    pub(super) fn layered<'h>(
        self,
        request: Option<&Request>,
        inner: &'h dyn RequestHandler,
    ) -> Option<(&'h dyn RequestHandler, Depth<'a>)> {
        let depth = self.inner().ok()?;
        let applies = |request: &Request| !Depth::OUTERMOST.has_reached(request) || depth.has_reached(request);
        request.is_none_or(applies).then_some((inner, depth))
    }

    /// Returns how many of the next inner layers have been called.
    pub(super) fn asked_inside(self, request: &Request, most: usize) -> usize {
        (1..).take(most).take_while(|deeper| request.asked.has_reached(self.level + deeper)).count()
    }

    /// Returns the depth inside this many layers.
    pub(super) fn behind(self, layers: usize) -> Result<Depth<'a>> {
        (0..layers).try_fold(self, |depth, _| depth.inner())
    }

    /// Returns the handler inside the one at this depth, if it has been called for this request. A handler that was not
    /// called takes no part in the response.
    pub(super) fn asked<'h>(
        self,
        request: &Request,
        inner: impl FnOnce() -> Option<&'h dyn RequestHandler>,
    ) -> Option<(&'h dyn RequestHandler, Depth<'a>)> {
        let depth = self.inner().ok()?;
        depth.has_reached(request).then(inner).flatten().map(|inner| (inner, depth))
    }
}

/// Returns the handler to which this one delegates. `None` if it returns itself, which means that it handles the
/// request.
pub(super) fn delegate_of<'a, H: RequestHandler + ?Sized>(
    handler: &'a H,
    request: &Request,
) -> Option<&'a dyn RequestHandler> {
    let is_other = |inner: &&dyn RequestHandler| {
        // A field can have the address of its struct, so the types are compared as well.
        !std::ptr::addr_eq(handler, *inner) || inner.chain_type(Depth::OUTERMOST) != TypeId::of::<H>()
    };
    handler.delegate(request).filter(is_other)
}

fn check_client(inner: &dyn RequestHandler, request: &Request, depth: Depth<'_>) -> Result<()> {
    match inner.chain_verify_client(request.client(), depth) {
        true => Ok(()),
        false => Err(Error::new(StatusCode::FORBIDDEN, "")),
    }
}

/// Calls the handler inside the one at this depth, before the body arrives.
pub(super) fn enter_first(
    inner: &dyn RequestHandler,
    request: &Request,
    plan: &mut BodyPlan,
    depth: Depth<'_>,
) -> Result<()> {
    let inside = depth.inner()?;
    request.asked.enter(inside.level, identity(inner));
    check_client(inner, request, depth)?;
    inner.chain_before_body(request, plan, inside)
}

/// Calls the handler inside the one at this depth.
pub(super) fn enter(inner: &dyn RequestHandler, request: &Request, depth: Depth<'_>) -> Result<Response> {
    let inside = depth.inner()?;
    request.asked.enter(inside.level, identity(inner));
    if !inside.has_reached(request) {
        check_client(inner, request, depth)?;
    }
    inner.chain_handle(request, inside)
}

fn identity(handler: &dyn RequestHandler) -> (usize, TypeId) {
    (std::ptr::from_ref(handler).addr(), handler.chain_type(Depth::OUTERMOST))
}

/// Runs the whole chain when user code calls one of the `do_` methods directly: all checks and the last hooks apply. An
/// error stays an error, with the fields that the last hooks add. `called` is the called method; `None` means the
/// request's own.
pub(super) fn handle_by_hand(
    handler: &dyn RequestHandler,
    request: &Request,
    called: Option<&Method>,
) -> Result<Response> {
    let depth = Depth { called, ..Depth::OUTERMOST };
    request.asked.anew(|| {
        if !handler.chain_verify_client(request.client(), depth) {
            return Err(Error::new(StatusCode::FORBIDDEN, ""));
        }
        match handler.chain_handle(request, depth) {
            Ok(response) => Ok(handler.chain_finish_response(request, response, depth)),
            Err(error) => {
                let page = handler.chain_finish_response(request, Response::from(&error), depth);
                Err(error.with_missing_headers(page.headers()))
            }
        }
    })
}

/// Calls the `do_` method for this method. Methods are case-sensitive: `get` is not `GET`.
pub(super) fn by_method<H: RequestHandler + ?Sized>(
    handler: &H,
    request: &Request,
    method: &Method,
) -> Result<Response> {
    match *method {
        Method::GET => handler.do_get(request),
        Method::HEAD => handler.do_head(request),
        Method::POST => handler.do_post(request),
        Method::PUT => handler.do_put(request),
        Method::DELETE => handler.do_delete(request),
        Method::PATCH => handler.do_patch(request),
        Method::OPTIONS => handler.do_options(request),
        _ => handler.do_other(request),
    }
}

/// The `do_` methods of handlers that handle all methods alike, for direct calls by user code.
macro_rules! whole_handler_methods {
    () => {
        whole_handler_methods!(do_get GET, do_head HEAD, do_post POST, do_put PUT, do_delete DELETE, do_patch PATCH, do_options OPTIONS);

        fn do_other(&self, request: &$crate::http::request::Request) -> $crate::http::response::Result {
            $crate::http::handler::chain::handle_by_hand(self, request, None)
        }
    };
    ($($name:ident $method:ident),*) => {$(
        fn $name(&self, request: &$crate::http::request::Request) -> $crate::http::response::Result {
            $crate::http::handler::chain::handle_by_hand(self, request, Some(&http::Method::$method))
        }
    )*};
}
pub(super) use whole_handler_methods;
