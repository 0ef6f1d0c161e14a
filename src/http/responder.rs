//! The response of a handler to a whole request: `before_body`, the `do_` method, error pages, the last hooks. Used by
//! `connection`, and by `service` and `sent` for `Http::respond`, which needs no connection.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use http::StatusCode;

use super::config::{HttpConfig, Rewrite};
use super::error::Error;
use super::handler::{Depth, RequestHandler};
use super::request::{BodyPlan, Request};
use super::response::{Response, Result};
use super::sending::{Checked, Encoded, ResponseContext, encode};
use crate::tcp::{MayBlock, Output, message_of};

/// The handler and the configuration, shared by all connections of one server. They do not depend on the handler's
/// type, so their code is compiled once, in this crate. Connections have a pointer of one word to them.
pub(crate) struct Service {
    pub(crate) handler: Box<dyn RequestHandler>,
    pub(crate) config: HttpConfig,
}

impl Service {
    pub(crate) fn new(handler: impl RequestHandler) -> Service {
        Service { handler: Box::new(handler), config: HttpConfig::default() }
    }

    /// Returns whether the chain accepts a request from its head, before its body arrives. A rejection is stored;
    /// [`respond`](Service::respond) returns it as a response.
    pub(crate) fn accepts(&self, request: &Request, plan: &mut BodyPlan, _: MayBlock) -> bool {
        if request.is_asterisk() {
            return true; // `OPTIONS *` concerns the server; no handler is called
        }
        request.path_error().is_none() && self.handler.chain_before_body(request, plan, Depth::OUTERMOST).is_ok()
    }

    /// Calls the chain. Returns its response or an error page, or `Err` if it panicked. `begins` is called when the
    /// chain has accepted the request.
    pub(crate) fn respond(&self, request: &Request, begins: &dyn Fn(&Request), _: MayBlock) -> Result<Checked, Error> {
        catch_panic(request, || {
            let result = match request.path_error() {
                Some(error) => Err(error),
                None if request.is_asterisk() => Ok(Response::no_content()), // RFC 9110, section 9.3.7: a "ping"
                None => self.handler.chain_handle(request, Depth::outermost(begins)),
            };
            self.finish(request, result)
        })
    }

    /// Calls this function in place of the chain. Returns its response or an error page, or `Err` if it panicked.
    pub(crate) fn respond_by(
        &self,
        request: &Request,
        handler: impl FnOnce() -> Result<Response>,
        _: MayBlock,
    ) -> Result<Checked, Error> {
        catch_panic(request, || self.finish(request, handler()))
    }

    /// Turns a handler's result into the response to send: applies the chain's last hooks, and checks it.
    fn finish(&self, request: &Request, result: Result<Response>) -> Checked {
        let made = result.and_then(|mut response| match response.take_deferred_error() {
            Some(error) => Err(error),
            None => Ok(response),
        });
        match made {
            Ok(response) if response.is_to_wait() => Checked::to_wait(response), // no response yet
            Ok(response) => self.finish_and_check(request, response),
            Err(error) => self.error_page(request, &error),
        }
    }

    /// Calls the last hooks, once per response, and checks the result.
    fn finish_and_check(&self, request: &Request, response: Response) -> Checked {
        match Checked::new(self.handler.chain_finish_response(request, response, Depth::OUTERMOST), request) {
            Ok(response) => response,
            Err(fault) => {
                let (error, faulty) = *fault;
                log_reason(request, &error);
                faulty.replaced_by(self.page_in_place(request, &error))
            }
        }
    }

    pub(crate) fn error_page(&self, request: &Request, error: &Error) -> Checked {
        log_reason(request, error);
        self.page(Some(request), error, request)
    }

    /// Returns the page of an error: the chain's, or otherwise the default page. It does not block.
    ///
    /// `request` is `None` if its head could not be read. Then `placeholder` is used in its place.
    pub(crate) fn page(&self, request: Option<&Request>, error: &Error, placeholder: &Request) -> Checked {
        self.checked_page(placeholder, || {
            let page = self.response_to(request, error);
            match request {
                Some(request) => self.handler.chain_finish_response(request, page, Depth::OUTERMOST),
                None => page,
            }
        })
    }

    /// Returns an error page in place of a response that has passed its last hooks. The page takes its fields from that
    /// response.
    pub(crate) fn page_in_place(&self, request: &Request, error: &Error) -> Checked {
        self.checked_page(request, || self.response_to(Some(request), error))
    }

    /// Returns the chain's page for an error, or otherwise the default page. An error below 400 is a response that was
    /// returned early, such as a redirect or a 304, and is sent unchanged.
    fn response_to(&self, request: Option<&Request>, error: &Error) -> Response {
        let is_page = error.status().as_u16() >= 400;
        let page = is_page.then(|| self.handler.chain_error_response(request, error, Depth::OUTERMOST)).flatten();
        page.map_or_else(|| Response::from(error), |page| page.completed_by(error))
    }

    /// Appends a response to the output, or returns the rest of its body.
    pub(crate) fn encode(
        &self,
        response: Checked,
        request: &Request,
        keep_alive: bool,
        now: SystemTime,
        output: &mut Output,
    ) -> Encoded {
        let page = |error: &Error| self.page_in_place(request, error);
        let (server, fields) = (self.config.server.as_ref(), &self.config.fields[..]);
        encode(response, &ResponseContext { request, keep_alive, now, server, fields, page: &page }, output)
    }

    fn checked_page(&self, placeholder: &Request, page: impl FnOnce() -> Response) -> Checked {
        match catch_panic(placeholder, || Checked::new(page(), placeholder)) {
            Ok(Ok(page)) => page,
            Ok(Err(fault)) => {
                log_fault(placeholder, format_args!("the error page can't be sent: {}", fault.0));
                Checked::internal_error()
            }
            Err(_) => Checked::internal_error(),
        }
    }
}

/// Sets the path and query of the request to those that this closure returns, if any.
///
/// # Errors
/// 500 if the closure panics, or returns something that is not a path. The cause is logged.
pub(crate) fn rewritten(request: &mut Request, rewrite: &Rewrite, _: MayBlock) -> Result<(), Error> {
    if !request.begin_rewrite() {
        return Ok(());
    }
    let Some(target) = catch_panic(request, || rewrite(request))? else { return Ok(()) };
    request.rewrite(&target).map_err(|fault| {
        log_fault(request, format_args!("`Http::rewrite` returned {target:?}: {}", fault.message));
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "")
    })
}

/// Logs why a request failed: the cause if it is the server's fault, the reason if the client got a 4xx.
pub(crate) fn log_reason(request: &Request, error: &Error) {
    if error.status().is_client_error() {
        let log = || log::info!("{} {}: {error}", request.client_name(), request.for_log());
        request.log_scope().run(log); // as Python's `log_error` does
    } else if error.cause().is_some() {
        log_fault(request, format_args!("{error}"));
    }
}

/// Logs a fault of the server in the scope of its request: in JSON the line has its id as a member.
pub(crate) fn log_fault(request: &Request, fault: fmt::Arguments<'_>) {
    request.log_scope().run(|| log::error!("{}: {fault}", request.for_log()));
}

/// Calls user code. A panic in it becomes a 500, and its cause is logged here.
pub(crate) fn catch_panic<T>(request: &Request, work: impl FnOnce() -> T) -> Result<T, Error> {
    request.log_scope().run(|| {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            let message = message_of(panic);
            log::error!("{}: the handler panicked: {message}", request.for_log());
            Error::new(StatusCode::INTERNAL_SERVER_ERROR, "")
        })
    })
}
