//! Floor 2: meaning. HTTP/1.1 and 1.0 without a socket, a thread or a clock of its own.
//! In the order a request walks them; each room uses only what stands below it.

#[cfg(fuzzing)]
pub(crate) mod fuzzing; // the way in for fuzz targets

mod service; // Http: a handler and what rules its conversations

mod config;
mod connection; // head, body, handler, answer, next // limits and times, with their defaults

mod incoming; // a body on its way in

mod chunked; // the chunked coding of a body
mod framing; // how long the body is (RFC 9112, section 6)

mod encode; // a Response becomes pieces
mod response_head; // the head of an answer

mod body_stream;
mod multipart; // several parts in one answer
mod preconditions; // what the client has already, or expects to be there (RFC 9110, section 13)
mod range; // parts (RFC 9110, section 14) // a body that is read while it is sent

mod handler; // what a user writes
mod reply; // Python's way to build a Response
mod request; // what was asked
mod response; // what is answered

mod body; // the body of a request
mod cookie; // Set-Cookie
mod fields; // fields to send
mod form;
mod response_body; // the body of a response // forms

mod etag; // entity tags

mod error; // what is answered when something fails

mod date; // dates
mod head; // request line and fields
mod status; // what a status is called, and its page
mod target; // what a request line asks for

mod rejection; // why a request is refused

pub use body::{Body, BodyReader};
pub use cookie::{Cookie, SameSite};
pub use error::Error;
pub use etag::ETag;
pub use fields::Fields;
pub use form::Form;
pub use handler::{Answer, LogRecord, RequestHandler, answer};
pub use preconditions::Validators;
pub use reply::Reply;
pub use request::Request;
pub use response::{Response, Result};
pub use service::Http;
