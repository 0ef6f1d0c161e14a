//! `Arc` and `Box` of a handler are handlers, which pass on every call.

use std::any::TypeId;
use std::sync::Arc;

use super::{Depth, LogRecord, RequestHandler};
use crate::http::error::Error;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

macro_rules! forward {
    ($($pointer:ident),*) => {$(
        impl<H: RequestHandler + ?Sized> RequestHandler for $pointer<H> {
            fn do_get(&self, request: &Request) -> Result<Response> {
                (**self).do_get(request)
            }
            fn do_head(&self, request: &Request) -> Result<Response> {
                (**self).do_head(request)
            }
            fn do_post(&self, request: &Request) -> Result<Response> {
                (**self).do_post(request)
            }
            fn do_put(&self, request: &Request) -> Result<Response> {
                (**self).do_put(request)
            }
            fn do_delete(&self, request: &Request) -> Result<Response> {
                (**self).do_delete(request)
            }
            fn do_patch(&self, request: &Request) -> Result<Response> {
                (**self).do_patch(request)
            }
            fn do_options(&self, request: &Request) -> Result<Response> {
                (**self).do_options(request)
            }
            fn do_other(&self, request: &Request) -> Result<Response> {
                (**self).do_other(request)
            }
            fn delegate(&self, request: &Request) -> Option<&dyn RequestHandler> {
                (**self).delegate(request)
            }
            fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
                (**self).before_body(request, plan)
            }
            fn verify_client(&self, client: &Client) -> bool {
                (**self).verify_client(client)
            }
            fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
                (**self).error_response(request, error)
            }
            fn finish_response(&self, request: &Request, response: Response) -> Response {
                (**self).finish_response(request, response)
            }
            fn log_request(&self, record: &LogRecord<'_>) {
                (**self).log_request(record)
            }
            fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, depth: Depth<'_>) -> Result<()> {
                (**self).chain_before_body(request, plan, depth)
            }
            fn chain_handle(&self, request: &Request, depth: Depth<'_>) -> Result<Response> {
                (**self).chain_handle(request, depth)
            }
            fn chain_verify_client(&self, client: &Client, depth: Depth<'_>) -> bool {
                (**self).chain_verify_client(client, depth)
            }
            fn chain_error_response(&self, request: Option<&Request>, error: &Error, depth: Depth<'_>) -> Option<Response> {
                (**self).chain_error_response(request, error, depth)
            }
            fn chain_finish_response(&self, request: &Request, response: Response, depth: Depth<'_>) -> Response {
                (**self).chain_finish_response(request, response, depth)
            }
            fn chain_log_request(&self, record: &LogRecord<'_>, depth: Depth<'_>) {
                (**self).chain_log_request(record, depth)
            }
            fn chain_type(&self, depth: Depth<'_>) -> TypeId {
                (**self).chain_type(depth)
            }
        }
    )*};
}

forward!(Arc, Box);
