//! TLS around another protocol: certificates and settings, as a `Protocol` for `TcpServer::bind`.
//! Above `tcp` alone: it knows nothing of HTTP, and HTTP learns from the `Client` how a connection is secured.

mod conversation; // one client: its handshake, and what comes after

mod reload; // certificates that change

mod config; // what rustls is told

mod clients; // the certificates of a client
mod session; // records, to and from the protocol inside

mod names; // which certificate for which name

mod identity; // certificates and keys
mod not_tls; // clients that speak something else
mod record; // where a record ends

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::tcp::{Client, Conversation, IntoProtocol, Protocol, TLS_CONNECTION};
use config::{ClientAuth, Sources};
use conversation::{Handshakes, Secured};
pub use identity::Identity;
use reload::Live;

/// TLS 1.3 and 1.2 around another protocol, by rustls. [`protect`](Tls::protect) puts it around a handler.
///
/// ```no_run
/// use modest::{Response, TcpServer, Tls, handler_fn};
///
/// let app = handler_fn(|request| Ok(Response::text(format!("{}\n", request.is_secure()))));
/// let tls = Tls::from_pem_files("cert.pem", "key.pem")?;
/// TcpServer::bind(":8443", tls.protect(app))?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A handshake holds no worker while it waits for its client; keys are exchanged, and certificates signed with and checked,
/// in turns that may block. It is over within [`handshake_timeout`](Tls::handshake_timeout), or the connection is closed.
/// Half a handshake gives way to a newcomer where room is short. What breaks the protocol is answered by its alert.
///
/// A connection ends with `close_notify`. A client that leaves without one is [cut off](crate::raw::Input::was_cut), so that
/// a message that ends only with the stream is not taken for whole. There is no renegotiation, no compression and no early
/// data (0-RTT). Sessions are resumed by tickets, whose key is a new one every 6 hours; the one before is good for 6 more.
///
/// The socket carries records: a [`StreamHandler`](crate::raw::StreamHandler), and any other that wants the socket for itself
/// ([`Next::Take`](crate::raw::Next::Take)), is told that there is no thread for it. All else is served as without TLS.
#[must_use = "protects nothing until `protect`"]
pub struct Tls {
    sources: Sources,
    reload: Option<Duration>,
    handshakes: Handshakes,
}

/// Whether clients need a certificate: see [`Tls::client_certificates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A client without one is refused in its handshake.
    Required,
    /// A client without one is served; [`TlsInfo::peer_certificates`](crate::TlsInfo::peer_certificates) tells.
    Optional,
}

impl Tls {
    /// With this certificate.
    ///
    /// # Errors
    /// Those of reading it: each names the file and what is wrong with it, in one line. Of kind
    /// [`InvalidData`](io::ErrorKind::InvalidData) where something else is in it than was expected: no certificate, no key,
    /// a key for another certificate, one that needs a password or another one, one of a kind that can't be used (RSA
    /// of 2,048 to 4,096 bits, ECDSA on P-256 and P-384, and Ed25519 can).
    pub fn new(identity: Identity) -> io::Result<Tls> {
        Ok(Tls {
            sources: Sources::new(identity)?,
            reload: Some(Duration::from_secs(1)),
            handshakes: Handshakes::default(),
        })
    }

    /// With the certificate in this file, followed by those that lead to its root, and its key in that; both PEM. They may
    /// be one file.
    ///
    /// # Errors
    /// Those of [`Tls::new`].
    pub fn from_pem_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> io::Result<Tls> {
        Tls::new(Identity::from_pem_files(certificate, key))
    }

    /// One more certificate. Each client gets one whose names cover the one it asks for (SNI), and with whose key it can
    /// deal; a client that names none of them, or nothing, gets the first. Two for one name, RSA and ECDSA, may stand
    /// beside each other: the one that was given first is preferred.
    ///
    /// # Errors
    /// Those of [`Tls::new`].
    pub fn certificate(mut self, identity: Identity) -> io::Result<Tls> {
        self.sources.add(identity)?;
        Ok(self)
    }

    /// Ask clients for a certificate, and take those that one of the roots in this file (PEM) has issued, directly or by
    /// others in between. Default: none are asked for. Revoked certificates are not known. A resumed session is judged as a new
    /// one is, by the time and the roots of now; a file that has no root any more lets no client in.
    ///
    /// ```no_run
    /// use modest::{ClientCertificates, Tls};
    ///
    /// let tls = Tls::from_pem_files("cert.pem", "key.pem")?.client_certificates("ca.pem", ClientCertificates::Required)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file can't be read, or holds no certificate that can be a root.
    pub fn client_certificates(mut self, roots: impl AsRef<Path>, which: ClientCertificates) -> io::Result<Tls> {
        let is_optional = which == ClientCertificates::Optional;
        self.sources.trust(ClientAuth { file: roots.as_ref().to_owned(), is_optional })?;
        Ok(self)
    }

    /// The protocols to agree on (ALPN), the best first. Default: `http/1.1`. A client that offers others only, such as
    /// `h2` alone, is refused (`no_application_protocol`); one that offers none is served.
    pub fn application_protocols<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Tls {
        self.sources.protocols = names.into_iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// How long a handshake may take, from when the client was accepted to its last byte. Default: 10 seconds; `None`: no
    /// limit. Only then the clocks of the protocol inside begin.
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Tls {
        self.handshakes.timeout = limit.into();
        self
    }

    /// How much a client may send in its handshake, in bytes: 64 KiB unless set. A client with certificates sends them.
    /// Past it the connection is reset.
    pub fn handshake_limit(mut self, bytes: usize) -> Tls {
        self.handshakes.limit = bytes;
        self
    }

    /// How often handshakes look whether the files have changed, and read them again if so: once a second unless set;
    /// `None`: never. Files that can't be used, such as a certificate whose key is not there yet, are told to the log once;
    /// what was read last stays in use; roots are replaced whatever is wrong with the others. Connections go on as they began.
    pub fn reload(mut self, every: impl Into<Option<Duration>>) -> Tls {
        self.reload = every.into();
        self
    }

    /// What serves clients that speak no TLS, as far as their first byte tells: it is a capital letter, with which every
    /// request of HTTP begins. Default: they are told so by a 400, and whatever else they may have sent is dropped.
    ///
    /// ```no_run
    /// use modest::layers::HttpsOnly;
    /// use modest::{RequestHandler, Response, Tls, handler_fn};
    ///
    /// let app = handler_fn(|_| Ok(Response::text("hello\n")));
    /// let redirect = handler_fn(|_| Ok(Response::text(""))).layer(HttpsOnly::new().port(8443));
    /// let protected = Tls::from_pem_files("cert.pem", "key.pem")?.plain(redirect).protect(app);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn plain(mut self, protocol: impl IntoProtocol) -> Tls {
        self.handshakes.plain = Some(Arc::new(protocol.into_protocol()));
        self
    }

    /// This, around a handler or another protocol: what [`TcpServer::bind`](crate::TcpServer::bind) takes, and
    /// [`ProxyProtocol::new`](crate::ProxyProtocol::new).
    pub fn protect(self, inner: impl IntoProtocol) -> Protected {
        let Tls { sources, reload, handshakes } = self;
        let inner: Arc<dyn Protocol> = Arc::new(inner.into_protocol());
        Protected(Arc::new(Parts { live: Live::new(sources, reload), handshakes, inner }))
    }
}

/// A protocol inside [`Tls`].
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct Protected(Arc<Parts>);

/// What all connections share.
struct Parts {
    live: Live,
    handshakes: Handshakes,
    inner: Arc<dyn Protocol>,
}

impl Protected {
    /// The certificates that are in use, to read them again at once and to know when they expire.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        Certificates(Arc::clone(&self.0))
    }
}

/// The certificates that a [`Protected`] protocol uses, also while it is served: see [`Protected::certificates`].
#[derive(Clone)]
pub struct Certificates(Arc<Parts>);

impl Certificates {
    /// Read all files now, as [`Tls::reload`] does when they change: certificates, keys and the roots of clients.
    ///
    /// # Errors
    /// The first file that can't be used. What was read of it before stays in use.
    pub fn reload(&self) -> io::Result<()> {
        self.0.live.reload()
    }

    /// When the first of the server's certificates expires.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.live.expiry()
    }

    /// Log a warning for each certificate that has expired, or expires within 14 days. It is also logged when certificates change, and
    /// once a day by a handshake, unless [`Tls::reload`] is `None`.
    pub fn warn_of_expiry(&self) {
        self.0.live.warn_of_expiry();
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("expiry", &self.expiry()).finish()
    }
}

impl Protocol for Protected {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Secured::new(self.0.clone())))
    }

    fn connection_memory(&self) -> u64 {
        TLS_CONNECTION
    }
}

impl IntoProtocol for Protected {
    type Protocol = Protected;

    fn into_protocol(self) -> Protected {
        self
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("sources", &self.sources).finish_non_exhaustive()
    }
}

impl fmt::Debug for Protected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protected").finish_non_exhaustive()
    }
}
