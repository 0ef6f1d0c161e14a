//! Floor 2: meaning. HTTP/1.1 and 1.0 without a socket, a thread or a clock of its own.

mod answer; // a Response becomes pieces
mod conditions; // what the client has already, or expects to be there (RFC 9110, section 13)
mod cookie; // Set-Cookie
mod date; // dates
mod error; // what is answered when that fails
mod etag; // entity tags
mod fields; // fields to send
mod heading; // the head of an answer
mod multipart; // several parts in one answer
mod range; // parts (RFC 9110, section 14)
mod reply; // Python's way to build a Response
mod request; // what was asked
mod response; // what is answered
mod source; // a body that is read while it is sent
mod status; // the page of a status

pub use conditions::Validators;
pub use cookie::{Cookie, SameSite};
pub use error::Error;
pub use etag::ETag;
pub use fields::Fields;
pub use reply::Reply;
pub use request::Request;
pub use response::{Response, Result};
