//! The client of a request, as its connection or a trusted proxy reports it, and the server.

use std::net::IpAddr;

use super::{Forwarded, Request};
use crate::tcp::{Address, Client, ServerHandle, Waker};

impl Request {
    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the address of the client (Python's `client_address`): IP address and port, or a Unix socket.
    pub fn client_address(&self) -> &Address {
        self.client.address()
    }

    /// Returns the IP address of the client: as reported by a [trusted proxy](crate::layers::TrustedProxies), if that
    /// layer is around this handler, otherwise the connection's. `None` for a Unix socket.
    pub fn client_ip(&self) -> Option<IpAddr> {
        let told = self.value::<Forwarded>().and_then(|forwarded| forwarded.client_ip);
        told.or_else(|| self.client.ip())
    }

    /// Returns whether the request was encrypted, as reported by a trusted proxy
    /// ([`TrustedProxies::scheme`](crate::layers::TrustedProxies::scheme)), or otherwise by TLS on this connection
    /// ([`Client::tls`]).
    pub fn is_secure(&self) -> bool {
        match self.value::<Forwarded>().and_then(|forwarded| forwarded.scheme.clone()) {
            Some(scheme) => scheme == "https",
            None => self.client.tls().is_some(),
        }
    }

    /// Returns `https` if the request [is secure](Request::is_secure), otherwise `http`.
    pub fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// Returns whether the client has closed its side of the connection, or the connection is broken, so that a long
    /// handler can stop. The call costs one atomic load. The result becomes true while the handler runs, shortly after
    /// the client has disconnected.
    ///
    /// A client that has shut down its sending side and still reads also counts as gone, because the two cannot be
    /// distinguished until something is sent. The client of a request created by a test is never gone.
    ///
    /// ```
    /// # use modest::{Request, Response, Result, Error};
    /// fn wait_for_news(request: &Request) -> Result<Response> {
    ///     while !request.client_is_gone() {
    ///         // check for news; return them if there are any
    /// #       break;
    ///     }
    ///     Err(Error::new(503, "no client is listening"))
    /// }
    /// # assert!(wait_for_news(&Request::get("/")).is_err());
    /// ```
    pub fn client_is_gone(&self) -> bool {
        self.waker.as_ref().is_some_and(Waker::client_is_gone)
    }

    /// Returns a function that returns what [`client_is_gone`](Request::client_is_gone) returns, for code that outlives
    /// the request, such as the reader of a [`Response::stream`](crate::Response::stream).
    pub fn watch_client(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let waker = self.waker.clone();
        move || waker.as_ref().is_some_and(Waker::client_is_gone)
    }

    /// Returns a handle of the server, for its statistics and to shut it down (Python's `self.server`). In a request
    /// created by a test, the handle belongs to no server.
    ///
    /// ```no_run
    /// # use modest::{Request, Response, Result};
    /// fn stop(request: &Request) -> Result<Response> {
    ///     request.server().shutdown(); // this request still gets its response
    ///     Ok(Response::text("Goodbye.\n"))
    /// }
    /// ```
    pub fn server(&self) -> ServerHandle {
        self.waker.as_ref().and_then(Waker::server).unwrap_or_default()
    }

    /// Returns whether the server shuts down, or has ended.
    pub(crate) fn server_ends(&self) -> bool {
        let server = self.waker.as_ref().and_then(Waker::server);
        server.is_none_or(|server| server.is_shutting_down())
    }
}
