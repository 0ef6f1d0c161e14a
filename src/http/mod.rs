//! HTTP/1.1 and 1.0 (RFC 9110, RFC 9112) as a protocol of `tcp`: no socket, no thread and no clock of its own.
//! Modules in the order in which a request passes through them; each uses only those below it.

#[cfg(fuzzing)]
pub(crate) mod fuzzing; // entry points for the fuzz targets

mod service; // `Http`: a handler and its configuration, as a `Protocol`

mod connection; // the state machine of one connection: head, body, handler, response

mod config; // limits and timeouts, with their defaults

mod incoming; // a request body while it is received

mod chunked; // decoder of the chunked transfer coding (RFC 9112, section 7.1)
mod framing; // the length of a request body (RFC 9112, section 6)

mod encode; // a `Response` to bytes: preconditions, ranges, framing
mod response_head; // status line and header fields

mod body_stream; // a response body that is read while it is sent
mod multipart; // multipart/byteranges (RFC 9110, section 14.6)
mod preconditions; // conditional requests (RFC 9110, section 13)
mod range; // range requests (RFC 9110, section 14)

mod handler; // the `RequestHandler` trait and the access log record
mod reply; // Python's interface for building a `Response`
mod request; // `Request`
mod response; // `Response`

mod body; // the body of a request
mod cookie; // Set-Cookie
mod fields; // header fields of a response
mod form; // application/x-www-form-urlencoded
mod form_data; // multipart/form-data
mod response_body; // the body of a response

mod etag; // entity tags

mod error; // what a handler returns when it fails

mod date; // HTTP dates
mod head; // request line and header fields
mod status; // reason phrases and error pages
mod target; // request targets

mod rejection; // why a request is rejected before a handler sees it

pub use body::{Body, BodyReader};
pub use cookie::{Cookie, SameSite};
pub use error::Error;
pub use etag::ETag;
pub use fields::Fields;
pub use form::Form;
pub use form_data::{FormData, FormDataLimits, Part};
pub use handler::{Answer, LogRecord, RequestHandler, answer};
pub use preconditions::Validators;
pub use reply::Reply;
pub use request::Request;
pub use response::{Response, Result};
pub use service::Http;
