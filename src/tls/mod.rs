//! TLS around another protocol: certificates and settings, as a `Protocol` for `TcpServer::bind`.
//! It uses only `tcp` and contains no HTTP. HTTP gets the result of the handshake from the `Client`.

mod conversation; // one client: its handshake, and the handover
mod reload; // certificates that change
mod config; // the configuration of rustls
mod clients; // the certificates of a client
mod session; // records, to and from the protocol inside
mod names; // selecting a certificate by name
mod identity; // certificates and keys
mod record; // the boundaries of records

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::tcp::{Client, Conversation, IntoProtocol, Protocol, TLS_CONNECTION};
use config::{ClientAuth, Sources};
use conversation::{Handshakes, Secured};
pub use identity::Identity;
use reload::CurrentConfig;

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
/// A handshake holds no worker while it waits for its client. Key exchanges, signatures and certificate checks run in
/// turns that may block. If the handshake is not finished within [`handshake_timeout`](Tls::handshake_timeout), the
/// connection is closed. An incomplete handshake is evicted for a new client when room is needed. After most protocol
/// violations, the client gets an alert.
///
/// After its handshake, a connection ends with `close_notify`, unless it is reset or its client has violated the
/// protocol. If a client disconnects without one, its input counts as
/// [cut off](crate::raw::Input::was_cut), so that a message that ends only with the stream is not taken as complete.
/// There is no renegotiation, no compression and no early data (0-RTT). Sessions are resumed by tickets. The key of
/// tickets is replaced every 6 hours, and the previous key is valid for 6 more hours.
///
/// A [`StreamHandler`](crate::raw::StreamHandler), and any other protocol that takes its socket
/// ([`Action::Take`](crate::raw::Action::Take)), gets a stream that reads and writes through TLS.
#[must_use = "protects nothing until `protect`"]
pub struct Tls {
    sources: Sources,
    /// `None`: those of the inner protocol.
    protocols: Option<Vec<Vec<u8>>>,
    reload: Option<Duration>,
    handshakes: Handshakes,
}

/// Whether clients need a certificate: see [`Tls::client_certificates`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// A client without a certificate is rejected in the handshake.
    Required,
    /// A client without a certificate is also served: see
    /// [`TlsInfo::peer_certificates`](crate::TlsInfo::peer_certificates).
    Optional,
}

impl Tls {
    /// Uses this certificate.
    ///
    /// # Errors
    /// If the files cannot be read or used. Each error contains the file and the problem, in one line.
    /// [`InvalidData`](io::ErrorKind::InvalidData) if there is no certificate or no key, if the key is for another
    /// certificate, if its password is missing or wrong, or if its type is not supported. (Supported are RSA of 2,048
    /// to 4,096 bits, ECDSA on P-256 and P-384, and Ed25519.)
    pub fn new(identity: Identity) -> io::Result<Tls> {
        Ok(Tls {
            sources: Sources::new(identity)?,
            protocols: None,
            reload: Some(Duration::from_secs(1)),
            handshakes: Handshakes::default(),
        })
    }

    /// Uses the certificate in the first file, followed by its chain, and the key in the second file; both in PEM. Both
    /// can be the same file.
    ///
    /// # Errors
    /// The errors of [`Tls::new`].
    pub fn from_pem_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> io::Result<Tls> {
        Tls::new(Identity::from_pem_files(certificate, key))
    }

    /// Adds a certificate ([`Identity`]), for clients that send one of its names (SNI). Default: only the first. Each
    /// client gets a certificate that is valid for the name that it sends, with a key type that it supports. A
    /// certificate for exactly this name has precedence over one with an asterisk. A client that sends another name, or
    /// none, gets the first certificate with a key type that it supports. A name can have two certificates, RSA and
    /// ECDSA: the one added first is preferred.
    ///
    /// # Errors
    /// The errors of [`Tls::new`].
    pub fn certificate(mut self, identity: Identity) -> io::Result<Tls> {
        self.sources.add(identity)?;
        Ok(self)
    }

    /// Asks clients for a certificate, [required](ClientCertificates::Required) or
    /// [optional](ClientCertificates::Optional), and accepts those issued by one of the roots in this file (PEM),
    /// directly or through intermediates. Default: no certificates are requested.
    ///
    /// Revocation is not checked. When a session is resumed, the certificates are checked again, with the current time
    /// and roots. If the file contains no roots after a change, every client certificate is rejected.
    ///
    /// ```no_run
    /// use modest::{ClientCertificates, Tls};
    ///
    /// let tls = Tls::from_pem_files("cert.pem", "key.pem")?.client_certificates("ca.pem", ClientCertificates::Required)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read, contains no certificate, or contains one that cannot be a root.
    pub fn client_certificates(mut self, roots: impl AsRef<Path>, which: ClientCertificates) -> io::Result<Tls> {
        let is_optional = which == ClientCertificates::Optional;
        self.sources.trust(ClientAuth { file: roots.as_ref().to_owned(), is_optional })?;
        Ok(self)
    }

    /// Sets the protocols to negotiate (ALPN), in order of preference. Default: `http/1.1`, `http/1.0` for a handler of
    /// requests, and the names that another protocol [has](crate::raw::Protocol::application_protocols), mostly none.
    /// If there are names, a client that offers only other ones, such as `h2`, is rejected (`no_application_protocol`).
    /// A client that offers none is served.
    pub fn application_protocols<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Tls {
        self.protocols = Some(names.into_iter().map(|name| name.as_bytes().to_vec()).collect());
        self
    }

    /// Sets how long a handshake can take, from the accept to its last byte; after that, the connection is closed.
    /// Default: 10 seconds; `None`: no limit. The clocks of the inner protocol start afterwards.
    pub fn handshake_timeout(mut self, limit: impl Into<Option<Duration>>) -> Tls {
        self.handshakes.timeout = limit.into();
        self
    }

    /// Sets how many bytes a client can send in its handshake, including its certificates; if it sends more, its
    /// connection is reset. Default: 64 KiB.
    pub fn handshake_limit(mut self, bytes: usize) -> Tls {
        self.handshakes.limit = bytes;
        self
    }

    /// Sets how often, at most, handshakes check whether the files have changed. Default: once per second; `None`:
    /// never. Changed files are reloaded. If files cannot be used, such as a certificate whose key is not there yet,
    /// the error is logged once, and the last valid contents stay in use. Roots are replaced even if other files are
    /// invalid. Open connections are not affected.
    pub fn reload(mut self, every: impl Into<Option<Duration>>) -> Tls {
        self.reload = every.into();
        self
    }

    /// Sets the handler or protocol for clients that do not use TLS. Default: they get a 400 of HTTP if the protocol
    /// inside TLS is HTTP and their first byte is a capital letter, and an alert of TLS otherwise. They are recognized
    /// by their first byte, which is not that of a record (20 to 23).
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

    /// Puts TLS around a handler or another protocol. Pass the result to [`TcpServer::bind`](crate::TcpServer::bind) or
    /// [`ProxyProtocol::new`](crate::ProxyProtocol::new).
    pub fn protect(self, inner: impl IntoProtocol) -> Protected {
        self.around(Arc::new(inner.into_protocol()))
    }

    fn around(self, inner: Arc<dyn Protocol>) -> Protected {
        let Tls { mut sources, protocols, reload, handshakes } = self;
        let own_names = || inner.application_protocols().iter().map(|name| name.as_bytes().to_vec()).collect();
        sources.protocols = protocols.unwrap_or_else(own_names);
        Protected(Arc::new(Parts { live: CurrentConfig::new(sources, reload), handshakes, inner }))
    }
}

/// A protocol inside [`Tls`].
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct Protected(Arc<Parts>);

/// The state that all connections share.
struct Parts {
    live: CurrentConfig,
    handshakes: Handshakes,
    inner: Arc<dyn Protocol>,
}

impl Protected {
    /// Returns the certificates in use, to reload them and to know when they expire.
    #[must_use]
    pub fn certificates(&self) -> Certificates {
        Certificates(Arc::clone(&self.0))
    }
}

/// The certificates of a [`Protected`] protocol. It can also be used while the protocol is served: see
/// [`Protected::certificates`].
#[derive(Clone)]
pub struct Certificates(Arc<Parts>);

impl Certificates {
    /// Reloads all files now, as [`Tls::reload`] does when they change: certificates, keys and the roots of clients.
    ///
    /// # Errors
    /// The error of the first file that cannot be used. If it is that of a certificate or a key, all certificates and
    /// keys stay as they are; the roots of clients are reloaded independently.
    pub fn reload(&self) -> io::Result<()> {
        self.0.live.reload()
    }

    /// Returns when the first of the server's certificates expires.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        self.0.live.expiry()
    }

    /// Logs a warning for each certificate that is not valid yet, has expired, or expires within 14 days, and for each
    /// file of a key or its password that every user of the system can read or change. They are also logged by
    /// [`reload`](Certificates::reload) and, unless [`Tls::reload`] is `None`, when certificates have changed, and once
    /// a day by a handshake.
    pub fn warn_of_expiry(&self) {
        self.0.live.warn_of_expiry();
    }
}

opaque!(Certificates { expiry() });

impl Protocol for Protected {
    fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
        Some(Box::new(Secured::new(self.0.clone())))
    }

    fn is_proxy(&self, client: &Client) -> bool {
        self.0.inner.is_proxy(client)
    }

    fn connection_memory(&self) -> u64 {
        TLS_CONNECTION
    }

    fn shared_settings(&self) -> Option<&(dyn Any + Send + Sync)> {
        self.0.inner.shared_settings()
    }

    fn take_over(&self, settings: &(dyn Any + Send + Sync)) {
        self.0.inner.take_over(settings);
    }
}

into_itself!(Protected);

opaque!(Tls { sources });

opaque!(Protected);
