//! Layers: ready-made code around a handler. They use the crate's public API only, as layers of one's own do.
//! Each module uses only those below it.
//!
//! A layer is put around a handler by [`RequestHandler::layer`](crate::RequestHandler::layer). The one that is added
//! last is the outermost: it sees a request first and its response last. This order serves most:
//!
//! ```
//! use modest::layers::{BearerAuth, Cors, RateLimit, RequestIds, Timeout, TrustedProxies};
//! use modest::{RequestHandler, Response, Routes, User};
//! use std::time::Duration;
//!
//! let app = Routes::new()
//!     .get("/notes", |_, _| Ok(Response::text("none yet\n")))
//!     .serve(())
//!     .layer(Timeout::new(Duration::from_secs(5)))
//!     .layer(BearerAuth::new("notes").token("a-long-random-string", User("ada".into())))
//!     .layer(RateLimit::new(100, Duration::from_secs(60)))
//!     .layer(Cors::new().origin("https://app.example")) // outside of authentication: a preflight has no token
//!     .layer(RequestIds::new())
//!     .layer(TrustedProxies::new(["10.0.0.0/8".parse()?])); // outside of all that ask for the client's address
//! # Ok::<(), modest::InvalidNetwork>(())
//! ```
//!
//! What each of them costs is in `docs/layers.md`, beside the source.

mod trusted_proxies; // who asks, behind proxies

mod request_ids; // a name for each request

mod https_only; // no plain HTTP

mod cors; // requests of pages from other sites

#[cfg(feature = "json")]
mod json_errors; // errors as JSON

mod rate_limit; // so many requests a client

mod basic_auth; // name and password
mod bearer_auth; // token

mod timeout; // time for a handler

#[cfg(feature = "compress")]
mod compress; // gzip
#[cfg(feature = "etags")]
mod etags; // validators for small responses

mod credentials; // `Authorization`, challenges, comparison in constant time
mod forwarded; // `X-Forwarded-*` and `Forwarded` (RFC 7239)
mod vary; // `Vary`

pub use basic_auth::BasicAuth;
pub use bearer_auth::BearerAuth;
#[cfg(feature = "compress")]
pub use compress::Compress;
pub use cors::Cors;
#[cfg(feature = "etags")]
pub use etags::ETags;
pub use https_only::HttpsOnly;
#[cfg(feature = "json")]
pub use json_errors::JsonErrors;
pub use rate_limit::RateLimit;
pub use request_ids::RequestIds;
pub use timeout::{Deadline, Timeout};
pub use trusted_proxies::TrustedProxies;
