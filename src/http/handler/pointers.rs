//! `Arc` and `Box` of a handler are handlers, which pass on every call.

use std::any::TypeId;
use std::ops::Deref;
use std::sync::Arc;

use super::layer::pass_on;
use super::{Depth, LogRecord, RequestHandler};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

macro_rules! forward {
    ($pointer:ident) => {
        impl<H: RequestHandler + ?Sized> RequestHandler for $pointer<H> {
            pass_on! {
                Deref::deref:
                fn do_get(request: &Request) -> Result<Response>;
                fn do_head(request: &Request) -> Result<Response>;
                fn do_post(request: &Request) -> Result<Response>;
                fn do_put(request: &Request) -> Result<Response>;
                fn do_delete(request: &Request) -> Result<Response>;
                fn do_patch(request: &Request) -> Result<Response>;
                fn do_options(request: &Request) -> Result<Response>;
                fn do_other(request: &Request) -> Result<Response>;
                fn delegate(request: &Request) -> Option<&dyn RequestHandler>;
                fn before_body(request: &Request, plan: &mut BodyPlan) -> Result<()>;
                fn verify_client(client: &Client) -> bool;
                fn error_response(request: Option<&Request>, error: &Error) -> Option<Response>;
                fn finish_response(request: &Request, response: Response) -> Response;
                fn log_request(record: &LogRecord<'_>);
                fn chain_before_body(request: &Request, plan: &mut BodyPlan, depth: Depth<'_>) -> Result<()>;
                fn chain_handle(request: &Request, depth: Depth<'_>) -> Result<Response>;
                fn chain_verify_client(client: &Client, depth: Depth<'_>) -> bool;
                fn chain_error_response(request: Option<&Request>, error: &Error, depth: Depth<'_>) -> Option<Response>;
                fn chain_finish_response(request: &Request, response: Response, depth: Depth<'_>) -> Response;
                fn chain_log_request(record: &LogRecord<'_>, depth: Depth<'_>);
                fn chain_type(depth: Depth<'_>) -> TypeId;
            }
        }
    };
}

forward!(Arc);
forward!(Box);
