//! Layers: ready-made code around a handler. From other levels they import only public items, as your own layers do
//! (`tests/floors.rs` has the exceptions), and they call a few methods that are internal to the crate. Each module uses
//! only those below it.
//!
//! [`RequestHandler::layer`](crate::RequestHandler::layer) puts a layer around a handler. The layer that is added last
//! is the outermost: it sees a request first and its response last. This order fits most programs:
//!
//! ```
//! use modest::layers::{BearerAuth, Cors, RateLimit, RequestIds, Timeout, TrustedProxies};
//! use modest::{RequestHandler, Response, Routes, User};
//! use std::time::Duration;
//!
//! let app = Routes::new()
//!     .get("/notes", |_, _| Ok(Response::text("none yet\n")))
//!     .with_state(())
//!     .layer(Timeout::new(Duration::from_secs(5)))
//!     .layer(BearerAuth::new("notes").token("a-long-random-string", User::new("ada")))
//!     .layer(RateLimit::new(100, Duration::from_secs(60)))
//!     .layer(Cors::new().origin("https://app.example")) // outside authentication: a preflight has no token
//!     .layer(RequestIds::new())
//!     .layer(TrustedProxies::new(["10.0.0.0/8".parse()?])); // outside every layer that uses the client's address
//! # Ok::<(), modest::InvalidNetwork>(())
//! ```
//!
//! The cost of each layer is listed in `docs/layers.md`.

mod trusted_proxies; // the client behind proxies
#[cfg(feature = "metrics")]
mod metrics; // metrics for Prometheus
mod allowed_hosts; // allowed hosts
mod redirects; // redirects by path
mod request_ids; // an id for each request
mod https_only; // HTTPS only
mod cors; // requests of pages from other sites
#[cfg(feature = "sessions")]
mod sessions; // values on the server, found by a cookie
mod csrf; // requests that pages of other sites make a browser send
mod error_pages; // errors for browsers, for terminals, for programs
#[cfg(feature = "json")]
mod json_errors; // errors as JSON
mod rate_limit; // up to N requests per client per period
mod path_rights; // rights to read, list and write, by path
mod basic_auth; // name and password
mod bearer_auth; // bearer token
mod timeout; // deadlines for handlers
#[cfg(feature = "compress")]
mod compress; // gzip
#[cfg(feature = "etags")]
mod etags; // validators for small responses
#[cfg(feature = "users")]
mod users; // users and hashes of their passwords, from a file
mod guesses; // wrong passwords, by address
mod buckets; // token buckets per client
mod early; // redirects before the body is read
mod credentials; // `Authorization`, challenges, comparison in constant time
mod forwarded; // `X-Forwarded-*` and `Forwarded` (RFC 7239)
mod vary; // `Vary`

pub use allowed_hosts::AllowedHosts;
pub use basic_auth::BasicAuth;
pub use bearer_auth::BearerAuth;
#[cfg(feature = "compress")]
pub use compress::Compress;
pub use cors::Cors;
pub use csrf::Csrf;
pub use error_pages::ErrorPages;
#[cfg(feature = "etags")]
pub use etags::ETags;
pub use https_only::HttpsOnly;
#[cfg(feature = "json")]
pub use json_errors::JsonErrors;
#[cfg(feature = "metrics")]
pub(crate) use metrics::SYSTEM_SERVICE;
#[cfg(feature = "metrics")]
pub use metrics::{Counter, Histogram, Metrics, MetricsPage};
pub use path_rights::{InvalidPathRule, PathRights, PathRule};
pub use rate_limit::RateLimit;
pub use redirects::Redirects;
pub use request_ids::RequestIds;
#[cfg(feature = "sessions")]
pub use sessions::{FileSessions, MemorySessions, Session, SessionStore, Sessions};
pub use timeout::{Deadline, Timeout};
pub use trusted_proxies::TrustedProxies;
#[cfg(feature = "users")]
pub use users::UserFile;
