//! An id for each request, to connect log lines about it.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{BodyPlan, HeaderName, IpNetwork, Layer, Request, RequestId, Response, Result};

/// The longest id accepted from a peer, in bytes.
const MAX_LENGTH: usize = 128;

/// Gives each request an id of 128 bits, in hexadecimal digits: in the request as [`RequestId`], in the access log
/// ([`LogFormat::Json`](crate::LogFormat::Json)), and in the field `X-Request-Id` of the response.
///
/// Ids are unique and unpredictable, but not secret. An id sent by a client is ignored, unless the client is
/// [trusted](RequestIds::trust). A `ReverseProxy` inside this layer sends the request's id in this field, in place of
/// the client's, and the client gets no other id.
///
/// ```
/// use modest::layers::RequestIds;
/// use modest::{Http, Request, RequestHandler, RequestId, Response, handler_fn};
///
/// let app = handler_fn(|request| Ok(Response::text(request.value::<RequestId>().unwrap().0.clone())));
/// let sent = Http::new(app.layer(RequestIds::new())).respond(&Request::get("/"));
/// assert_eq!(sent.header("x-request-id"), Some(sent.text()));
/// ```
#[derive(Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct RequestIds {
    field: HeaderName,
    trusted: Vec<IpNetwork>,
    trusts_unix: bool,
    /// Keys from the system, with which the numbers of requests become ids.
    keys: [RandomState; 2],
    number: AtomicU64,
}

impl RequestIds {
    /// Creates a layer with its own ids only.
    pub fn new() -> RequestIds {
        RequestIds {
            field: HeaderName::from_static("x-request-id"),
            trusted: Vec::new(),
            trusts_unix: false,
            keys: [RandomState::new(), RandomState::new()],
            number: AtomicU64::new(0),
        }
    }

    /// Accepts ids from peers in this network, such as proxies that assign ids, in addition to networks added before.
    /// Default: none. An id that does not consist of 1 to 128 ASCII letters, digits and `-._~:/+=@` is ignored, and so
    /// are several ids in one request.
    pub fn trust(mut self, network: IpNetwork) -> RequestIds {
        self.trusted.push(network);
        self
    }

    /// Sets whether to accept ids from peers of Unix sockets. Default: false.
    pub fn trust_unix_sockets(mut self, trust: bool) -> RequestIds {
        self.trusts_unix = trust;
        self
    }

    /// Sets the field for the id, in requests and responses. Default: `X-Request-Id`.
    ///
    /// # Panics
    /// If it is not a valid field name.
    pub fn field(mut self, name: &str) -> RequestIds {
        self.field = HeaderName::try_from(name).unwrap_or_else(|_| panic!("{name:?} is not a valid field name"));
        self
    }

    /// Returns the id of this request, created if it has none: a request that is rejected early also has an id.
    fn id_of(&self, request: &Request) -> Arc<RequestId> {
        request.value().unwrap_or_else(|| {
            request.put(RequestId(self.received(request).unwrap_or_else(|| self.make())));
            #[cfg(feature = "proxy")]
            request.set_id_field(self.field.clone());
            request.value().expect("the id that was just stored")
        })
    }

    fn received(&self, request: &Request) -> Option<String> {
        let is_trusted = match request.client().ip() {
            Some(ip) => self.trusted.iter().any(|network| network.contains(ip)),
            None => self.trusts_unix,
        };
        let id = request.only_line(self.field.as_str()).ok()?.filter(|id| is_trusted && is_well_formed(id))?;
        Some(String::from_utf8_lossy(id).into_owned())
    }

    fn make(&self) -> String {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let [first, second] = self.keys.each_ref().map(|key| key.hash_one(number));
        format!("{first:016x}{second:016x}")
    }
}

default_is_new!(RequestIds);

/// Characters without a meaning for logs, shells and queries.
fn is_well_formed(id: &[u8]) -> bool {
    (1..=MAX_LENGTH).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/+=@".contains(byte))
}

impl Layer for RequestIds {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        self.id_of(request);
        Ok(())
    }

    fn on_rejection(&self, request: &Request) {
        self.id_of(request);
    }

    fn finish_response(&self, request: &Request, response: Response) -> Response {
        response.with_header(self.field.clone(), self.id_of(request).0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Client, Http, RequestHandler, handler_fn, testing};
    use std::collections::HashSet;
    use std::net::SocketAddr;

    fn app(ids: RequestIds) -> Http<impl RequestHandler> {
        let handler = handler_fn(|request| match request.path() {
            "/missing" => Err(crate::Error::new(404, "")),
            _ => Ok(Response::text(request.value::<RequestId>().unwrap().0.clone())),
        });
        Http::new(handler.layer(ids))
    }

    #[test]
    fn each_request_gets_a_unique_id() {
        let http = app(RequestIds::new());
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let sent = http.respond(&Request::get("/").with_header("x-request-id", "mine"));
            assert_eq!(sent.header("x-request-id"), Some(sent.text()));
            assert!(sent.text().len() == 32 && sent.text().bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert!(seen.insert(sent.text().to_owned()));
        }
        assert_eq!(http.respond(&Request::get("/missing")).header("x-request-id").unwrap().len(), 32);
        assert_ne!(RequestIds::new().make(), RequestIds::new().make());
    }

    #[test]
    fn ids_are_taken_from_trusted_clients_only() {
        let ids = || RequestIds::new().trust("10.0.0.0/8".parse().unwrap());
        let inside = || Client::new("10.1.2.3:1".parse::<SocketAddr>().unwrap());
        let outside = || Client::new("11.1.2.3:1".parse::<SocketAddr>().unwrap());
        let unix = || Client::new(Address::Unix(None));
        let long = "x".repeat(MAX_LENGTH);
        let too_long = "x".repeat(MAX_LENGTH + 1);
        for (ids, client, lines, is_taken) in [
            (ids(), inside(), &["a-1._~:/+=@"][..], true),
            (ids(), inside(), &[&long], true),
            (ids(), inside(), &[&too_long], false),
            (ids(), inside(), &[""], false),
            (ids(), inside(), &["a b"], false),
            (ids(), inside(), &["a\""], false),
            (ids(), inside(), &["a,b"], false),
            (ids(), inside(), &["<a>"], false),
            (ids(), inside(), &["é"], false),
            (ids(), inside(), &["a", "b"], false),
            (ids(), inside(), &["a", "a"], false),
            (ids(), inside(), &[], false),
            (ids(), outside(), &["a"], false),
            (ids(), unix(), &["a"], false),
            (ids().trust_unix_sockets(true), unix(), &["a"], true),
            (ids().trust_unix_sockets(true), outside(), &["a"], false),
        ] {
            let request = lines.iter().fold(Request::get("/").with_client(client.clone()), |request, line| {
                request.with_header("x-request-id", line)
            });
            let sent = app(ids).respond(&request);
            assert_eq!(Some(&sent.text()) == lines.first(), is_taken, "{lines:?} from {client}");
            assert_eq!(sent.header("x-request-id"), Some(sent.text()), "{lines:?} from {client}");
        }
    }

    /// Otherwise a client could choose the id in the backend's log.
    #[cfg(feature = "proxy")]
    #[test]
    fn backends_get_the_id_of_the_request() {
        let backend = testing::fake_server(|client| {
            while client.request().is_some() {
                client.send("HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\nX_Id: theirs\r\nContent-Length: 1\r\n\r\nx");
            }
        });
        let proxy = || crate::ReverseProxy::new(&backend.url("")).unwrap();
        for (ids, field, is_trusted) in [
            (RequestIds::new(), "X-Request-Id", false),
            (RequestIds::new().field("X_Id"), "X_Id", false),
            (RequestIds::new().trust("127.0.0.0/8".parse().unwrap()), "X-Request-Id", true),
        ] {
            let server = testing::serve(proxy().layer(ids));
            let request = testing::TestRequest::new(crate::Method::GET, "/").with_header("x.request_id", "other");
            let sent = server.send(request.with_header(field.to_lowercase(), "mine"));
            let ids: Vec<_> = sent.headers().get_all(field).iter().collect();
            let passed = backend.requests().pop().unwrap();
            let is_id = |name: &str| name.replace(['_', '.'], "-").eq_ignore_ascii_case(&field.replace('_', "-"));
            let of_request: Vec<_> = passed.headers().iter().filter(|(name, _)| is_id(name)).collect();
            assert!(ids.len() == 1 && of_request.len() == 1, "{passed:?} {sent:?}");
            assert_eq!((of_request[0].1.as_str(), of_request[0].1 == "mine"), (ids[0].to_str().unwrap(), is_trusted));
        }
        let server = testing::serve(proxy());
        server.send(testing::TestRequest::new(crate::Method::GET, "/").with_header("x-request-id", "mine"));
        assert_eq!(backend.requests().pop().unwrap().header("x-request-id"), Some("mine"), "without the layer");
    }

    #[test]
    fn the_id_field_can_be_renamed() {
        let sent = app(RequestIds::new().field("X-Correlation-Id")).respond(&Request::get("/"));
        assert_eq!((sent.header("x-correlation-id"), sent.header("x-request-id")), (Some(sent.text()), None));
    }

    /// Requests that are rejected before any handler is called have an id.
    #[test]
    fn rejected_requests_also_have_an_id() {
        let ids = RequestIds::new().trust("127.0.0.1".parse().unwrap());
        let server = testing::serve(handler_fn(|_| Ok(Response::no_content())).layer(ids));
        let request = testing::TestRequest::new(crate::Method::POST, "/")
            .with_header("transfer-encoding", "squeezed")
            .with_header("x-request-id", "seven");
        let sent = server.send(request);
        assert_eq!((sent.status().as_u16(), sent.header("x-request-id")), (400, Some("seven")));
    }
}
