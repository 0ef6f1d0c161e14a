//! How a [`TcpServer`] is made: its listeners, its handlers, and the defaults of its settings.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::super::connection::{MinRate, SendLimits};
use super::super::engine::Settings;
use super::super::handle::ServerHandle;
use super::super::listen::Listen;
use super::super::memory::{self, default_workers};
use super::super::protocol::{IntoProtocol, Protocol};
use super::super::sync::{Mutex, PoisonError};
use super::TcpServer;

const MIN_RATE: MinRate = MinRate { bytes_per_second: 500, over: Duration::from_secs(30) };

impl TcpServer {
    /// Listens at an address and serves a handler there. The address can be `"127.0.0.1:8000"`, `("::1", 8000)`,
    /// `":8000"` for every address of this machine, `"unix:/run/app.sock"`, a listener of the standard library, and
    /// [more](Listen). For port 0 the system chooses a free port: see [`TcpServer::local_addr`]. Clients that connect
    /// from now on wait until [`serve_forever`](TcpServer::serve_forever).
    ///
    /// # Errors
    /// Each error names the address. [`InvalidInput`](io::ErrorKind::InvalidInput) if it is invalid or has no port;
    /// [`AddrInUse`](io::ErrorKind::AddrInUse); [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) if it is not an
    /// address of this machine; [`PermissionDenied`](io::ErrorKind::PermissionDenied);
    /// [`NotFound`](io::ErrorKind::NotFound) for a missing descriptor or folder; the error of the lookup for an unknown
    /// name.
    pub fn bind(address: impl Into<Listen>, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        TcpServer::listen_at(address.into(), Arc::new(handler.into_protocol()))
    }

    fn listen_at(listen: Listen, protocol: Arc<dyn Protocol>) -> io::Result<TcpServer> {
        let listeners = listen.open()?;
        let handle = ServerHandle::default();
        Ok(TcpServer {
            addresses: listeners.iter().map(|listener| listener.address().clone()).collect(),
            listeners: Mutex::new(Some(listeners)),
            protocols: vec![protocol],
            settings: Settings {
                handlers: default_workers(),
                queue_limit: 1024,
                queue_timeout: Some(Duration::from_secs(10)),
                send_limits: SendLimits { min_rate: Some(MIN_RATE), write_timeout: Some(Duration::from_secs(30)) },
                max_streams: 256,
                max_per_address: None,
                max_live_per_address: None,
                slow_handler: Some(Duration::from_secs(10)),
                stack_size: None,
            },
            parallelism: None,
            shutdown_timeout: Some(Duration::from_secs(10)),
            memory: memory::available_memory(),
            max_connections: None,
            input_quota: None,
            max_live: None,
            notify_systemd: false,
            on_ready: Mutex::new(None),
            background: Mutex::default(),
            _at_end: handle.stop().abandoned_at_end(),
            handle,
        })
    }

    /// Serves an existing listening socket: a `TcpListener`, a `UnixListener`, a descriptor. It is made non-blocking
    /// for all processes that share it. The file of a Unix socket stays when the server ends.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if no TCP or Unix stream socket listens there.
    pub fn from_listener(listener: impl Into<OwnedFd>, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        TcpServer::bind(listener.into(), handler)
    }

    /// Listens at one more address (`docs/listeners.md`), for the same handler. Default: only the address of `bind`.
    /// Clients of all addresses are accepted in turn.
    ///
    /// ```no_run
    /// # let hello = modest::handler_fn(|_| Ok(modest::Response::text("Hello")));
    /// # use modest::TcpServer;
    /// TcpServer::bind("127.0.0.1:8000", hello)?.also("[::1]:8000")?.also("unix:/run/hello.sock")?.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`TcpServer::bind`]. Then all listeners are closed.
    pub fn also(self, address: impl Into<Listen>) -> io::Result<TcpServer> {
        self.listen_too(address.into(), 0)
    }

    /// Listens at one more address, for another handler or protocol: for example HTTP beside HTTPS, or administration
    /// at a Unix socket. Default: none. All share the workers, limits, statistics and shutdown of the one server. A
    /// handler without a log format ([`Http::access_log`](crate::Http::access_log)) uses the format of the first
    /// handler.
    ///
    /// ```no_run
    /// # let hello = modest::handler_fn(|_| Ok(modest::Response::text("Hello")));
    /// # let admin = modest::handler_fn(|_| Ok(modest::Response::text("Hello, root")));
    /// # use modest::TcpServer;
    /// TcpServer::bind(":8000", hello)?.also_serve("unix:/run/admin.sock", admin)?.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`TcpServer::bind`], and one if there are already 256 handlers. Then all listeners are closed.
    pub fn also_serve(mut self, address: impl Into<Listen>, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        let number = u8::try_from(self.protocols.len());
        let number = number.map_err(|_| io::Error::other("expected at most 256 handlers for one server"))?;
        let protocol = handler.into_protocol();
        if let Some(settings) = self.protocols.first().and_then(|first| first.shared_settings()) {
            protocol.take_over(settings);
        }
        self.protocols.push(Arc::new(protocol));
        self.listen_too(address.into(), number)
    }

    fn listen_too(mut self, listen: Listen, protocol: u8) -> io::Result<TcpServer> {
        let more = listen.open()?;
        self.addresses.extend(more.iter().map(|listener| listener.address().clone()));
        let listeners = self.listeners.get_mut().unwrap_or_else(PoisonError::into_inner);
        let more = more.into_iter().map(|listener| listener.with_protocol(protocol));
        listeners.get_or_insert_default().extend(more);
        Ok(self)
    }
}
