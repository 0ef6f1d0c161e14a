//! The PROXY protocol: a proxy sends the address of its client before the bytes of each connection. A conversation
//! consumes this header, and hands the connection over to the inner protocol.

mod header; // the header of the proxy

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::debug;

use super::client::Client;
use super::network::IpNetwork;
use super::protocol::{Action, Conversation, Event, Handover, IntoProtocol, Protocol, Stage, Turn, meet};
use super::scheduler::MayBlock;

/// A protocol behind proxies that use the PROXY protocol, version 1 or 2, such as HAProxy, nginx, Envoy or a cloud's
/// load balancer. Its [`Client`] is the client that the proxy names.
///
/// A [trusted](ProxyProtocol::trust) peer must send a header. Other peers are rejected, or [served under their own
/// address](ProxyProtocol::serve_untrusted), and headers from them are not parsed. So no client can choose an address
/// by sending a header.
///
/// If a header names no client over TCP and IP (a health check by the proxy, `UNKNOWN`, a Unix socket, a datagram), the
/// proxy is the client. Further data of a version 2 header (TLVs) is skipped, and its CRC-32C is not checked: TCP has
/// checked the bytes, and the proxy is trusted. A header that is malformed, late, or longer than 107 bytes (version 1)
/// or 4 KiB (version 2) causes a reset, and the reason is logged at level debug.
///
/// ```
/// use modest::{ProxyProtocol, Response, handler_fn};
///
/// let app = handler_fn(|request| Ok(Response::text(format!("{}\n", request.client_address()))));
/// let behind = ProxyProtocol::new(app).trust("10.0.0.0/8".parse()?);
/// # Ok::<(), modest::InvalidNetwork>(())
/// ```
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct ProxyProtocol {
    inner: Arc<dyn Protocol>,
    trusted: Vec<IpNetwork>,
    trusts_unix: bool,
    serve_untrusted: bool,
    header_timeout: Option<Duration>,
}

impl ProxyProtocol {
    /// Puts the PROXY protocol around this handler or protocol. Pass the result to
    /// [`TcpServer::bind`](crate::TcpServer::bind). No network is trusted yet.
    pub fn new(inner: impl IntoProtocol) -> ProxyProtocol {
        ProxyProtocol {
            inner: Arc::new(inner.into_protocol()),
            trusted: Vec::new(),
            trusts_unix: false,
            serve_untrusted: false,
            header_timeout: Some(Duration::from_secs(3)),
        }
    }

    /// Trusts the proxies in this network, which must send a header, in addition to those set before. Default: none.
    /// For proxies that connect to a Unix socket: [`unix_sockets`](Self::unix_sockets).
    pub fn trust(mut self, network: IpNetwork) -> ProxyProtocol {
        self.trusted.push(network);
        self
    }

    /// Sets whether all clients of Unix sockets are trusted proxies, which must send a header. Default: false.
    pub fn unix_sockets(mut self, trust: bool) -> ProxyProtocol {
        self.trusts_unix = trust;
        self
    }

    /// Sets whether other peers are served, under their own address and without the PROXY protocol. Default: false;
    /// they are disconnected. A client that reaches the server directly evades the checks of the proxies.
    pub fn serve_untrusted(mut self, serve: bool) -> ProxyProtocol {
        self.serve_untrusted = serve;
        self
    }

    /// Sets how long a header can take, from the accept to its last byte; then the connection is reset. Default: 3
    /// seconds; `None`: no limit. The default is enough to resend a lost packet.
    pub fn header_timeout(mut self, limit: impl Into<Option<Duration>>) -> ProxyProtocol {
        self.header_timeout = limit.into();
        self
    }
}

impl Protocol for ProxyProtocol {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        if self.is_proxy(client) {
            let (inner, header_timeout) = (self.inner.clone(), self.header_timeout);
            return Some(Box::new(Proxied { inner, header_timeout, meeting: None }));
        }
        if self.serve_untrusted {
            return self.inner.meet(client);
        }
        debug!("{client} is rejected: it is not a trusted proxy");
        None
    }

    fn is_proxy(&self, client: &Client) -> bool {
        client.ip().map_or(self.trusts_unix, |ip| self.trusted.iter().any(|network| network.contains(ip)))
    }

    fn connection_memory(&self) -> u64 {
        self.inner.connection_memory()
    }

    fn application_protocols(&self) -> &'static [&'static str] {
        self.inner.application_protocols()
    }

    fn response_without_tls(&self, first: u8, now: SystemTime) -> Option<Vec<u8>> {
        self.inner.response_without_tls(first, now)
    }

    fn shared_settings(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.inner.shared_settings()
    }

    fn take_over(&self, settings: &(dyn Any + Send + Sync)) {
        self.inner.take_over(settings);
    }
}

into_itself!(ProxyProtocol);

/// A connection from a trusted proxy.
struct Proxied {
    inner: Arc<dyn Protocol>,
    header_timeout: Option<Duration>,
    /// The client in the header, which the inner protocol meets next. `Some(None)`: the proxy itself.
    meeting: Option<Option<Client>>,
}

const HEADER: Stage = Stage(u32::MAX);

impl Proxied {
    fn receive_header(&mut self, turn: &mut Turn<'_>) -> Action {
        match header::parse(turn.input.bytes()) {
            Ok(Some(header)) => {
                turn.input.consume(header.length);
                self.meeting = Some(header.source.map(Client::new));
                Action::Brief
            }
            // A health check that only connects.
            Ok(None) if turn.input.is_empty() && turn.input.ended() => Action::Close,
            Ok(None) if turn.input.ended() => refuse(turn.client, "it is cut short"),
            Ok(None) => {
                Action::Read { stage: HEADER, within: self.header_timeout, evictable: true, at_min_rate: false }
            }
            Err(why) => refuse(turn.client, why),
        }
    }

    fn meet(&self, named: Option<Client>, may_block: MayBlock, turn: &mut Turn<'_>) -> Action {
        let Some(conversation) = meet(&*self.inner, named.as_ref().unwrap_or(turn.client), may_block) else {
            return Action::Linger;
        };
        let handover = Handover::to(conversation);
        turn.hand_over(match named {
            Some(client) => handover.with_named_client(client),
            None => handover,
        })
    }
}

/// Resets the connection: the proxy notices a reset, and cannot mistake it for a response.
fn refuse(proxy: &Client, why: &str) -> Action {
    debug!("{proxy} sent no PROXY header: {why}");
    Action::Abort
}

impl Conversation for Proxied {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        match (self.meeting.take(), turn.may_block()) {
            (Some(client), Some(may_block)) => self.meet(client, may_block, turn),
            (None, _) => self.receive_header(turn),
            (meeting, None) => {
                self.meeting = meeting;
                Action::Brief
            }
        }
    }

    fn event(&mut self, what: Event, turn: &mut Turn<'_>) -> Action {
        match what {
            Event::Late(_) if turn.server_is_shutting_down() => Action::Close, // there is no response to mistake it for
            Event::Late(_) => refuse(turn.client, "it is late"),
            Event::Called => Action::Unchanged,
            _ => Action::Close,
        }
    }

    fn drop_may_block(&self) -> bool {
        false
    }
}

opaque!(ProxyProtocol { trusted, trusts_unix });
