//! The client behind trusted proxies.

use super::allowed_hosts::HostIsChecked;
use super::forwarded::{from_forwarded, from_x_forwarded};
use crate::{BodyPlan, Forwarded, IpNetwork, Layer, Request, Response, Result};

/// Uses the data that proxies in these networks report about their clients. Data from other peers is ignored.
///
/// The reported data is stored in the request as [`Forwarded`]. [`Request::client_ip`] reads the address, and so do the
/// access log and [`RateLimit`](super::RateLimit). Put this layer outside layers that use the address.
///
/// In a list of addresses, the client is the rightmost address that is not a trusted proxy. The client may have
/// invented the addresses before it. Reading stops at a malformed entry.
///
/// Each field is read only if it is enabled, because a proxy that does not set a field forwards the client's value. By
/// default only `X-Forwarded-For` is read.
///
/// ```
/// use modest::layers::TrustedProxies;
/// use modest::{Client, Forwarded, Http, IpNetwork, Request, RequestHandler, Response, handler_fn};
/// use std::net::SocketAddr;
///
/// let app = handler_fn(|request| Ok(Response::text(format!("{:?}", request.client_ip()))));
/// let networks: [IpNetwork; 1] = ["10.0.0.0/8".parse()?];
/// let http = Http::new(app.layer(TrustedProxies::new(networks)));
///
/// let proxy = Client::new(SocketAddr::from(([10, 0, 0, 1], 40000)));
/// let request = Request::get("/").with_client(proxy).with_header("x-forwarded-for", "6.6.6.6, 192.0.2.7");
/// assert_eq!(http.respond(&request).text(), "Some(192.0.2.7)");
/// # Ok::<(), modest::InvalidNetwork>(())
/// ```
///
/// For proxies that use the PROXY protocol see [`ProxyProtocol`](crate::ProxyProtocol).
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct TrustedProxies {
    networks: Vec<IpNetwork>,
    trusts_unix: bool,
    fields: Fields,
}

#[derive(Clone, Copy, Debug)]
enum Fields {
    XForwarded { scheme: bool, host: bool },
    Rfc7239,
}

impl TrustedProxies {
    /// Trusts the proxies in these networks. If clients are also in such a network, they can claim any address.
    pub fn new(networks: impl IntoIterator<Item = IpNetwork>) -> TrustedProxies {
        let fields = Fields::XForwarded { scheme: false, host: false };
        TrustedProxies { networks: networks.into_iter().collect(), trusts_unix: false, fields }
    }

    /// Sets whether to trust peers of Unix sockets. The permissions of the socket's file decide who can connect.
    /// Default: false.
    pub fn unix_sockets(mut self, trust: bool) -> TrustedProxies {
        self.trusts_unix = trust;
        self
    }

    /// Sets whether to read `X-Forwarded-Proto`. Enable it if the proxy sets the field itself. Default: false.
    pub fn scheme(mut self, read: bool) -> TrustedProxies {
        let host = matches!(self.fields, Fields::XForwarded { host: true, .. });
        self.fields = Fields::XForwarded { scheme: read, host };
        self
    }

    /// Sets whether to read `X-Forwarded-Host`. Enable it if the proxy sets the field itself. Default: false. The value
    /// must be a name or an address with an optional port, but is not compared with your own names. [`Request::host`]
    /// returns it, so [`HttpsOnly`](super::HttpsOnly), [`AllowedHosts`](super::AllowedHosts) inside this layer, the
    /// origin check of uploads, and destinations of moves use it.
    pub fn host(mut self, read: bool) -> TrustedProxies {
        let scheme = matches!(self.fields, Fields::XForwarded { scheme: true, .. });
        self.fields = Fields::XForwarded { scheme, host: read };
        self
    }

    /// Reads `Forwarded` (RFC 7239) instead of the `X-Forwarded` fields. Default: not read.
    pub fn rfc7239(mut self) -> TrustedProxies {
        self.fields = Fields::Rfc7239;
        self
    }

    fn trusts_peer_of(&self, request: &Request) -> bool {
        match request.client().ip() {
            Some(ip) => self.networks.iter().any(|network| network.contains(ip)),
            None => self.trusts_unix,
        }
    }

    /// Stores the reported data in the request once, so that a request that is rejected early is also logged with its
    /// client's address. Returns whether a host was stored.
    fn note(&self, request: &Request) -> bool {
        if !self.trusts_peer_of(request) || request.value::<Forwarded>().is_some() {
            return false;
        }
        let is_trusted = |address| self.networks.iter().any(|network| network.contains(address));
        let reported = match self.fields {
            Fields::Rfc7239 => from_forwarded(request.header_all("forwarded"), is_trusted),
            Fields::XForwarded { scheme, host } => from_x_forwarded(
                request.header_all("x-forwarded-for"),
                request.header_all("x-forwarded-proto").filter(|_| scheme),
                request.header_all("x-forwarded-host").filter(|_| host),
                is_trusted,
            ),
        };
        let has_host = reported.host.is_some();
        request.put(reported);
        has_host
    }
}

impl Layer for TrustedProxies {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        match self.note(request) && request.value::<HostIsChecked>().is_some() {
            true => Err(
                "the layer `AllowedHosts` can't check the host that a proxy reports: put `TrustedProxies` around it",
            )?,
            false => Ok(()),
        }
    }

    fn on_rejection(&self, request: &Request) {
        self.note(request);
    }

    fn finish_response(&self, request: &Request, response: Response) -> Response {
        self.note(request);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::AllowedHosts;
    use crate::testing::TestRequest;
    use crate::{Address, Client, Http, Method, RequestHandler, handler_fn, testing};
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8".parse().unwrap()])
    }

    /// `AllowedHosts` would check the host of the connection to the proxy.
    #[test]
    fn a_host_is_not_changed_after_it_was_checked() {
        let proxy = || Client::new("10.0.0.1:1".parse::<SocketAddr>().unwrap());
        let hosts = || AllowedHosts::new(["a.example"]);
        let status = |app: Box<dyn RequestHandler>, host: &str| {
            let request = Request::get("/").with_client(proxy()).with_header("x-forwarded-host", host);
            Http::new(app).respond(&request).status().as_u16()
        };
        let hello = || handler_fn(|_| Ok(Response::text("hello")));
        for (layer, host, inside, outside) in [
            (proxies().host(true), "a.example", 500, 200),
            (proxies().host(true), "evil.example", 500, 421),
            (proxies(), "evil.example", 200, 200),
        ] {
            let around = hello().layer(hosts()).layer(layer.clone());
            assert_eq!(status(Box::new(around), host), outside, "{host}");
            let within = hello().layer(layer).layer(hosts());
            assert_eq!(status(Box::new(within), host), inside, "{host}");
        }
    }

    /// Returns the client and the reported data that a handler sees.
    fn seen(layer: TrustedProxies, client: Client) -> String {
        let app = handler_fn(|request| {
            let forwarded = request.value::<Forwarded>().map(|forwarded| (*forwarded).clone()).unwrap_or_default();
            let ip = request.client_ip().map(|ip| ip.to_string()).unwrap_or_default();
            let (scheme, host) = (forwarded.scheme.unwrap_or_default(), forwarded.host.unwrap_or_default());
            Ok(Response::text(format!("{ip} {scheme} {host}")))
        });
        let request = Request::get("/")
            .with_client(client)
            .with_header("x-forwarded-for", "6.6.6.6, 1.2.3.4")
            .with_header("x-forwarded-proto", "https")
            .with_header("x-forwarded-host", "a.example")
            .with_header("forwarded", "for=5.6.7.8;proto=http;host=b.example");
        Http::new(app.layer(layer)).respond(&request).text().to_owned()
    }

    #[test]
    fn only_trusted_proxies_set_client_and_scheme() {
        let proxy = || Client::new("10.0.0.1:1".parse::<SocketAddr>().unwrap());
        let mapped = || Client::new("[::ffff:10.0.0.1]:1".parse::<SocketAddr>().unwrap());
        let other = || Client::new("11.0.0.1:1".parse::<SocketAddr>().unwrap());
        let unix = || Client::new(Address::Unix(None));
        for (layer, client, found) in [
            (proxies(), proxy(), "1.2.3.4  "),
            (proxies(), mapped(), "1.2.3.4  "),
            (proxies(), other(), "11.0.0.1  "),
            (proxies(), unix(), "  "),
            (proxies().unix_sockets(true), unix(), "1.2.3.4  "),
            (proxies().unix_sockets(true), other(), "11.0.0.1  "),
            (proxies().scheme(true), proxy(), "1.2.3.4 https "),
            (proxies().host(true), proxy(), "1.2.3.4  a.example"),
            (proxies().scheme(true).host(true), proxy(), "1.2.3.4 https a.example"),
            (proxies().scheme(true).host(true), other(), "11.0.0.1  "),
            (proxies().rfc7239(), proxy(), "5.6.7.8 http b.example"),
            (proxies().rfc7239(), other(), "11.0.0.1  "),
            (TrustedProxies::new([]), proxy(), "10.0.0.1  "),
        ] {
            let row = format!("{layer:?} {client}");
            assert_eq!(seen(layer, client), found, "{row}");
        }
    }

    /// All layers use the same host: the reported one if the layer reads it, otherwise that of the request.
    #[test]
    fn all_layers_see_the_same_host() {
        use crate::layers::{AllowedHosts, HttpsOnly};
        let proxy = || Client::new("10.0.0.1:1".parse::<SocketAddr>().unwrap());
        let other = || Client::new("11.0.0.1:1".parse::<SocketAddr>().unwrap());
        let app = || handler_fn(|request| Ok(Response::text(request.host().unwrap_or("nobody"))));
        for (layer, client, host) in [
            (proxies().host(true), proxy(), "a.example"),
            (proxies().rfc7239(), proxy(), "b.example"),
            (proxies(), proxy(), "inner:8000"),
            (proxies().host(true), other(), "inner:8000"),
        ] {
            let request = || {
                Request::get("/x")
                    .with_client(client.clone())
                    .with_header("host", "inner:8000")
                    .with_header("x-forwarded-host", "a.example")
                    .with_header("forwarded", "for=5.6.7.8;host=b.example")
            };
            let row = format!("{layer:?} {client}");
            assert_eq!(Http::new(app().layer(layer.clone())).respond(&request()).text(), host, "{row}");
            let redirecting = Http::new(app().layer(HttpsOnly::new().port(None)).layer(layer.clone()));
            let location = format!("https://{host}/x");
            assert_eq!(redirecting.respond(&request()).header("location"), Some(&*location), "{row}");
            for (allowed, status) in [(host.split(':').next().unwrap(), 200), ("c.example", 421)] {
                let http = Http::new(app().layer(AllowedHosts::new([allowed])).layer(layer.clone()));
                assert_eq!(http.respond(&request()).status(), status, "{row} {allowed}");
            }
        }
    }

    /// The access log shows the client's address, even for requests that no handler was called for.
    #[test]
    fn the_access_log_shows_the_forwarded_address() {
        struct Logged(Arc<Mutex<Vec<String>>>);
        impl RequestHandler for Logged {
            fn do_get(&self, _: &Request) -> Result<Response> {
                Ok(Response::no_content())
            }
            fn log_request(&self, record: &crate::LogRecord<'_>) {
                self.0.lock().unwrap().push(record.to_string());
            }
        }
        let lines = Arc::default();
        let layer = TrustedProxies::new(["127.0.0.1".parse().unwrap()]);
        let server = testing::serve(Logged(Arc::clone(&lines)).layer(layer));
        for (method, coding) in [(Method::GET, None), (Method::POST, None), (Method::POST, Some("squeezed"))] {
            let request = TestRequest::new(method, "/").with_header("x-forwarded-for", "192.0.2.7");
            server.send(
                coding.into_iter().fold(request, |request, coding| request.with_header("transfer-encoding", coding)),
            );
        }
        drop(server);
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("192.0.2.7 - - [")), "{lines:?}");
    }
}
