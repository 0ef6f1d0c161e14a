//! HTTP/1.1 and 1.0 (RFC 9110, RFC 9112) as a protocol of `tcp`: no socket, no thread and no timer of its own. Each
//! module in the list uses only those below it.

#[cfg(fuzzing)]
pub(crate) mod fuzzing; // entry points for the fuzz targets
mod service; // `Http`: a handler and its configuration, as a `Protocol`
mod connection; // the state machine of one connection: head, body, handler, response
pub(crate) mod sent; // a response as it is sent, for tests
mod responder; // the response of a handler to a whole request
mod config; // limits and timeouts, with their defaults
mod sending; // a `Response` to bytes: preconditions, ranges, framing, head, body
#[cfg(feature = "proxy")]
pub(crate) mod backend_response; // another server's response: its head, and where its body ends
mod handler; // the `RequestHandler` trait, layers, the access log
mod response; // `Response` and its parts: fields, cookies, body
pub(crate) mod live; // responses that wait for something other than their client
mod request; // `Request`, and how it is received: head, framing, body
mod etag; // entity tags
mod media_type; // media types by file name
mod error; // the error type of handlers
pub(crate) mod date; // HTTP dates
mod status; // reason phrases and error pages
mod html; // text in HTML
mod url_path; // the canonical path of a URL
mod paths; // paths in URLs
mod rejection; // reasons to reject a request before a handler sees it
mod on_drop; // the end of a scope

#[cfg(feature = "proxy")]
pub(crate) use crate::tcp::{
    Live, LiveKind, LivePlace, LiveRefusal, PacedWriter, PollFlags, SocketWatcher, WatchedPlace, WatchedSocket,
    acknowledge, cut_off, error_was_taken, probe, wait_until_ready,
};
pub use error::{Error, FieldError, OrStatus};
pub use etag::ETag;
pub use handler::{
    BeforeBodyFn, HandlerFn, Layer, LayerFn, Layered, ListedRoute, LogFormat, LogRecord, Next, RequestHandler, Router,
    Routes, before_body_fn, handler_fn, layer_fn,
};
pub(crate) use handler::{push_json_field, utc_time};
pub use html::escape_html;
pub use media_type::{is_compressible, media_type_of};
pub use paths::{encode_path, encode_segment};
pub(crate) use request::Reach;
pub(crate) use request::quotas::memory_quota as body_memory_quota;
pub(crate) use request::route_match::{Found, RouteTable};
pub use request::{
    Access, Body, BodyPlan, BodyReader, Form, FormData, FormDataLimits, Forwarded, IntoReader, LogScope, Part,
    PartHead, PartPlan, Permissions, Request, RequestId, SavedPart, User,
};
#[cfg(feature = "proxy")]
pub(crate) use request::{LogName, chunked::Step as BodyStep};
#[cfg(feature = "cookies")]
pub use response::CookieKey;
pub(crate) use response::fields::{added_field, configured_field};
pub use response::{Cookie, Fields, Response, ResponseWriter, Result, SameSite};
pub use sending::Validators;
pub use sent::SentResponse;
pub use service::Http;
pub(crate) use url_path::end_of_raw_names;
pub use url_path::{InvalidUrlPath, UrlPath};
