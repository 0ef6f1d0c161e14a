//! The client of a request, as its connection or a trusted proxy describes it, and its server.

use std::net::IpAddr;

use super::{Forwarded, Request};
use crate::tcp::{Address, Client, ServerHandle, Waker};

impl Request {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The address of the client (Python's `client_address`): IP address and port, or a Unix socket.
    pub fn client_address(&self) -> &Address {
        self.client.address()
    }

    /// The IP address of the client: the one that a [trusted proxy](crate::layers::TrustedProxies) reported, if that
    /// layer is around this handler, otherwise the connection's. `None` for a Unix socket.
    pub fn client_ip(&self) -> Option<IpAddr> {
        let told = self.value::<Forwarded>().and_then(|forwarded| forwarded.client_ip);
        told.or_else(|| self.client.ip())
    }

    /// Whether the request was encrypted: by TLS on this connection ([`Client::tls`]), or as reported by a proxy that
    /// is trusted with it ([`TrustedProxies::scheme`](crate::layers::TrustedProxies::scheme)), which has precedence.
    pub fn is_secure(&self) -> bool {
        match self.value::<Forwarded>().and_then(|forwarded| forwarded.scheme.clone()) {
            Some(scheme) => scheme == "https",
            None => self.client.tls().is_some(),
        }
    }

    /// `https` if the request [is secure](Request::is_secure), otherwise `http`.
    pub fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// Whether the client has closed its side of the connection, or the connection is broken, so that a long handler
    /// can give up. It costs one atomic load, and becomes true shortly after the client has left, while the handler
    /// runs.
    ///
    /// A client that has sent its last byte and still reads (it shut down its sending side) also counts as gone: the
    /// two look alike until something is sent. A request made by a test is never gone.
    ///
    /// ```
    /// # use modest::{Request, Response, Result, Error};
    /// fn wait_for_news(request: &Request) -> Result<Response> {
    ///     while !request.client_is_gone() {
    ///         // check for news; return them if there are any
    /// #       break;
    ///     }
    ///     Err(Error::new(503, "nobody is listening any more"))
    /// }
    /// # assert!(wait_for_news(&Request::get("/")).is_err());
    /// ```
    pub fn client_is_gone(&self) -> bool {
        self.waker.as_ref().is_some_and(Waker::client_is_gone)
    }

    /// A handle of the server: its statistics, and the way to shut it down (Python's `self.server`). A request made by
    /// a test has a handle that serves nothing.
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
}
