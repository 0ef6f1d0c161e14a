//! `TcpServer`: bind, settings, serve, stop, stats. Starts the workers and waits for the end; serves nobody itself.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, error};
use rustix::process::{Resource, getrlimit};

use super::address::Address;
use super::connection::{MinRate, SendLimits};
use super::engine::{Engine, Plan};
use super::handle::{Control, ServerHandle};
use super::lifecycle::Duty;
use super::listen::Listen;
use super::listener::Listener;
use super::notify;
use super::poller::Poller;
use super::protocol::{IntoProtocol, Protocol};
use super::stats::Stats;
use super::sync::{self, Mutex, PoisonError};
use super::workers;

/// A server that owns its listeners and gives each client that comes to a fixed pool of workers.
///
/// ```no_run
/// use modest::{Request, RequestHandler, Response, Result, TcpServer};
///
/// struct Hello;
///
/// impl RequestHandler for Hello {
///     fn do_get(&self, _request: &Request) -> Result<Response> {
///         Ok(Response::text("Hello, World!"))
///     }
/// }
///
/// TcpServer::bind("127.0.0.1:8000", Hello)?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "serves nobody until `serve_forever`"]
pub struct TcpServer {
    listeners: Mutex<Option<Vec<Listener>>>,
    addresses: Vec<Address>,
    protocols: Vec<Arc<dyn Protocol>>, // each listener has one of them
    workers: usize,
    queue_limit: usize,
    queue_timeout: Option<Duration>,
    send_limits: SendLimits,
    shutdown_timeout: Option<Duration>,
    max_connections: usize,
    max_streams: usize,
    max_per_address: Option<usize>,
    max_live: Option<usize>,
    max_live_per_address: Option<usize>,
    slow_handler: Option<Duration>,
    notify_systemd: bool,
    on_ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    handle: ServerHandle,
}

const MIN_RATE: MinRate = MinRate { bytes_per_second: 500, over: Duration::from_secs(30) };
/// Descriptors that are kept from clients, for files and for the program itself: so many, or an eighth; never over half.
const KEPT: u64 = 64;
/// How long workers that have nothing to do any more may take to end.
const UNTIL_WORKERS_END: Duration = Duration::from_secs(1);

impl TcpServer {
    /// Listen at an address for a handler to serve: `"127.0.0.1:8000"`, `("::1", 8000)`, `":8000"` for every address of
    /// this machine, `"unix:/run/app.sock"`, a listener of the standard library and [others](Listen).
    /// Port 0 is any free port: see [`TcpServer::local_addr`].
    /// Nobody is served yet, but who connects from now on waits and is.
    ///
    /// # Errors
    /// Each names the address. Of kind [`InvalidInput`](io::ErrorKind::InvalidInput) if it is none, or lacks the port;
    /// [`AddrInUse`](io::ErrorKind::AddrInUse), [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) if it is not of
    /// this machine, [`PermissionDenied`](io::ErrorKind::PermissionDenied), [`NotFound`](io::ErrorKind::NotFound) for a
    /// descriptor or a folder that is not there; that of the lookup if it is an unknown name.
    pub fn bind(address: impl Into<Listen>, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        let listeners = address.into().open()?;
        let cores = sync::cores();
        Ok(TcpServer {
            addresses: listeners.iter().map(|listener| listener.address().clone()).collect(),
            listeners: Mutex::new(Some(listeners)),
            protocols: vec![Arc::new(handler.into_protocol())],
            workers: (4 * cores).max(16),
            queue_limit: 1024,
            queue_timeout: Some(Duration::from_secs(10)),
            send_limits: SendLimits { min_rate: Some(MIN_RATE), write_timeout: Some(Duration::from_secs(30)) },
            shutdown_timeout: Some(Duration::from_secs(10)),
            max_connections: allowed_connections(),
            max_streams: 256,
            max_per_address: None,
            max_live: None,
            max_live_per_address: None,
            slow_handler: Some(Duration::from_secs(10)),
            notify_systemd: false,
            on_ready: Mutex::new(None),
            handle: ServerHandle::default(),
        })
    }

    /// Serve a listening socket that somebody else has made: a `TcpListener`, a `UnixListener`, a descriptor.
    /// It is made non-blocking, for all who share it. The file of a Unix socket stays when the server ends.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if no TCP or Unix stream socket listens there.
    pub fn from_listener(listener: impl Into<OwnedFd>, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        TcpServer::bind(listener.into(), handler)
    }

    /// Listen at one more address, for the same handler. Clients of all addresses are accepted in turn.
    ///
    /// ```no_run
    /// # let hello = modest::handler_fn(|_| Ok(modest::Response::text("Hello")));
    /// # use modest::TcpServer;
    /// TcpServer::bind("127.0.0.1:8000", hello)?.also("[::1]:8000")?.also("unix:/run/hello.sock")?.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`TcpServer::bind`]. Then nothing is listened at any more.
    pub fn also(self, address: impl Into<Listen>) -> io::Result<TcpServer> {
        self.listen_too(address.into(), 0)
    }

    /// Listen at one more address, for another handler or protocol: HTTP beside HTTPS, an administrator's pages at a
    /// Unix socket. Workers, limits, figures and the shutdown are those of one server.
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
    /// Those of [`TcpServer::bind`]; also if there are 256 handlers already. Then nothing is listened at any more.
    pub fn also_serve(mut self, address: impl Into<Listen>, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        let number = u8::try_from(self.protocols.len());
        let number = number.map_err(|_| io::Error::other("a server has at most 256 handlers"))?;
        self.protocols.push(Arc::new(handler.into_protocol()));
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

    /// How many handlers may run at once: the larger of 16 and four times the number of processors, unless set.
    /// They cost nothing while they are not needed; handlers that wait long for something else want more.
    ///
    /// # Panics
    /// If it is 0.
    pub fn workers(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "a server needs at least one worker");
        self.workers = count;
        self
    }

    /// How many requests may wait for a worker while all are in handlers: 1,024 unless set. One more is refused at once
    /// (HTTP: 503), unless handlers are so fast that all who wait are handled within a second.
    pub fn queue_limit(mut self, requests: usize) -> TcpServer {
        self.queue_limit = requests;
        self
    }

    /// How long a request may wait for a worker while all are in handlers: 10 seconds unless set; `None`: for ever.
    /// Past it the request is refused (HTTP: 503). An answer that was begun, such as a stream, waits without a limit.
    pub fn queue_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.queue_timeout = limit.into();
        self
    }

    /// How long a client may take nothing of what is owed to it before it is given up: 30 seconds unless set;
    /// `None`: never.
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.send_limits.write_timeout = limit.into();
        self
    }

    /// The least rate, in bytes a second, that a client must keep up on average over so long a time: in sending the
    /// body of a request (else HTTP answers 408), and in taking an answer (else the connection is reset). 500 bytes a
    /// second over 30 seconds unless set; `None`: none. Only time in which the server waits for the client counts,
    /// not what a handler or a queue takes.
    ///
    /// # Panics
    /// If the time is 0.
    pub fn min_rate(mut self, rate: impl Into<Option<(u64, Duration)>>) -> TcpServer {
        let rate = rate.into();
        assert!(rate.is_none_or(|(_, over)| !over.is_zero()), "an average over no time");
        self.send_limits.min_rate = rate.map(|(bytes_per_second, over)| MinRate { bytes_per_second, over });
        self
    }

    /// How long a stop waits for requests in hand: 10 seconds unless set; `None`: until the last is answered.
    /// An answer without an end has to end by itself (see [`ServerHandle::is_shutting_down`]), or is cut off then.
    pub fn shutdown_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.shutdown_timeout = limit.into();
        self
    }

    /// How many clients may be connected at once: as many as this process may open files, less an eighth
    /// (at least 64) that is kept for other things, unless set. Past that, clients at rest are let go for new ones,
    /// and new ones wait. Times what a head may be long (HTTP: 32 KiB) it is also what half requests may take of memory.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_connections(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "a server needs at least one connection");
        self.max_connections = count;
        self
    }

    /// How many connections may leave the engine, each for a thread of its own: 256 unless set. Those are the clients of a
    /// [`StreamHandler`](crate::raw::StreamHandler), and all others whose conversation says
    /// [`Next::Take`](crate::raw::Next::Take). One more waits as long as a request waits for a handler.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_streams(mut self, count: usize) -> TcpServer {
        assert!(count > 0, "a server needs at least one thread for streams");
        self.max_streams = count;
        self
    }

    /// How many connections one IP address may have at once: no limit unless set. One more is reset as soon as it is
    /// accepted, and counted in [`Stats`]. All IPv6 addresses that share their first 64 bits count as one; clients of a
    /// Unix socket have none and are not counted. Behind a proxy all clients have the proxy's address: set none there.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_per_address(mut self, limit: impl Into<Option<usize>>) -> TcpServer {
        let limit = limit.into();
        assert!(limit != Some(0), "an address needs at least one connection");
        self.max_per_address = limit;
        self
    }

    /// How many connections may wait for something other than their client: those that listen to events or to pushed bytes,
    /// those of long polls, and those that have changed their protocol without a thread, WebSockets for one. None of them is
    /// let go for a new client, so they are fewer than [`max_connections`](TcpServer::max_connections): seven eighths of
    /// that unless set. One more is refused (HTTP: 503 and `Retry-After`), and counted in [`Stats`].
    pub fn max_live(mut self, count: usize) -> TcpServer {
        self.max_live = Some(count);
        self
    }

    /// How many of those one IP address may have at once: no limit unless set. One more is refused (HTTP: 429 and
    /// `Retry-After`). Addresses are those that [`Request::client_ip`](crate::Request::client_ip) tells, counted as by
    /// [`max_per_address`](TcpServer::max_per_address): behind a proxy that is [trusted](crate::layers::TrustedProxies)
    /// each client has its own.
    pub fn max_live_per_address(mut self, limit: impl Into<Option<usize>>) -> TcpServer {
        self.max_live_per_address = limit.into();
        self
    }

    /// How long a handler may run before the log is warned of it, with the request it was called for: 10 seconds unless
    /// set; `None`: never. It is said once for each, while it runs. A body that is read while it is sent
    /// ([`Response::stream`](crate::Response::stream)) may wait as long as it likes.
    pub fn slow_handler(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.slow_handler = limit.into();
        self
    }

    /// Whether systemd is told when clients are accepted and when a shutdown begins (`READY=1` and `STOPPING=1`, for a
    /// service of `Type=notify`). Default: no. Nothing is told where `NOTIFY_SOCKET` is not set; an error is logged.
    pub fn notify_systemd(mut self, notify: bool) -> TcpServer {
        self.notify_systemd = notify;
        self
    }

    /// What to call once clients are accepted: the workers run, and nothing of the start can fail any more. Default:
    /// nothing. It is called once, by the thread inside [`TcpServer::serve_forever`], and holds up no client. If it panics the
    /// server ends at once, and the panic goes on.
    pub fn on_ready(self, ready: impl FnOnce() + Send + 'static) -> TcpServer {
        *self.on_ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(ready));
        self
    }

    /// The IP address that is listened at, with the real port (Python's `server_address`); the first, if there are
    /// several.
    ///
    /// # Panics
    /// If there is none, only Unix sockets: see [`TcpServer::local_addrs`].
    pub fn local_addr(&self) -> SocketAddr {
        let mut inet = self.addresses.iter().filter_map(Address::socket_addr);
        inet.next().expect("a server of Unix sockets alone has no IP address: ask for `local_addrs`")
    }

    /// All addresses that are listened at, with real ports, in the order in which they were given.
    pub fn local_addrs(&self) -> &[Address] {
        &self.addresses
    }

    /// A descriptor of each listening socket, in the order of [`local_addrs`](TcpServer::local_addrs): for processes that this one
    /// starts, and that serve them by [`TcpServer::from_listener`] or `"fd:N"`. A server that is bound for that alone is not to serve
    /// itself: it keeps the sockets open, and the file of a Unix socket, until it is dropped. See docs/listeners.md.
    ///
    /// # Errors
    /// If there are no descriptors left, or if the server has begun to serve.
    pub fn shared_listeners(&self) -> io::Result<Vec<OwnedFd>> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let listeners = listeners.as_ref().ok_or_else(|| io::Error::other("this server has served before"))?;
        listeners.iter().map(Listener::shared).collect()
    }

    /// The port that is listened at; the first, if there are several, and none of Unix sockets.
    pub fn port(&self) -> Option<u16> {
        self.addresses.iter().find_map(Address::port)
    }

    /// Something to stop it with, for other threads and for handlers.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// What it is doing at this moment.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Serve until somebody shuts the server down: then requests in hand are finished, within the shutdown timeout, and
    /// it returns, also where a handler is still running. A server that was shut down before returns at once.
    ///
    /// # Errors
    /// If threads or the poller can't be had; if it was called before; if accepting from one of its listeners has
    /// failed for 5 seconds (it was shut down from elsewhere, a sandbox forbids it): the error names the address, and
    /// then, too, requests in hand were finished.
    pub fn serve_forever(&self) -> io::Result<()> {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listeners = listeners.ok_or_else(|| io::Error::other("this server has served before"))?;
        let (poller, waker) = Poller::new(listeners)?;
        let plan = self.plan();
        let engine = Arc::new(Engine::new(poller, waker, self.protocols.clone(), self.handle.clone(), &plan)?);
        let serving = self.handle.begin(engine.clone());
        let result = catch_unwind(AssertUnwindSafe(|| self.supervise(&engine, plan.workers())));
        engine.end();
        drain(&engine);
        if !engine.lifecycle.wait_for_workers(UNTIL_WORKERS_END) {
            debug!("some handlers are still running");
        }
        drain(&engine);
        drop(serving);
        // The panic of a hook ends the server, too, before it goes on.
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Start the workers, replace those that die, and wait for the end.
    fn supervise(&self, engine: &Arc<Engine>, workers: usize) -> io::Result<()> {
        for me in 0..workers {
            start_worker(engine, me, workers)?;
        }
        if self.notify_systemd {
            notify::ready();
        }
        let ready = self.on_ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(ready) = ready {
            ready();
        }
        let deadline = || self.handle.shutdown_began()?.checked_add(self.shutdown_timeout?);
        loop {
            match engine.lifecycle.wait(|| engine.scheduler.is_over(), || engine.is_empty(), deadline) {
                Duty::TellOfShutdown if self.notify_systemd => notify::stopping(),
                Duty::TellOfShutdown => {}
                Duty::Replace(dead) => {
                    for me in dead {
                        error!("worker {} of {workers} died of a panic and is replaced", me + 1);
                        start_worker(engine, me, workers)?;
                    }
                }
                Duty::End => break,
            }
        }
        engine.lifecycle.failure().map_or(Ok(()), Err)
    }

    fn plan(&self) -> Plan {
        Plan {
            handlers: self.workers,
            cores: sync::cores(),
            queue_limit: self.queue_limit,
            queue_timeout: self.queue_timeout,
            send_limits: self.send_limits,
            max_connections: self.max_connections,
            max_streams: self.max_streams,
            max_per_address: self.max_per_address,
            max_live: self.max_live.unwrap_or(most_live(self.max_connections)),
            max_live_per_address: self.max_live_per_address,
            slow_handler: self.slow_handler,
        }
    }
}

fn start_worker(engine: &Arc<Engine>, me: usize, workers: usize) -> io::Result<()> {
    let at_work = engine.begin_work(me);
    let started = sync::spawn(format!("modest-{me}"), move || {
        let at_work = at_work;
        workers::work(&at_work.engine, at_work.me);
    });
    started.map_err(|err| io::Error::new(err.kind(), format!("can't start worker {} of {workers}: {err}", me + 1)))
}

/// For the end: close all that no worker holds. What conversations do when they are dropped may block, which is no
/// reason for `serve_forever` not to return in time.
fn drain(engine: &Arc<Engine>) {
    let cut_off = engine.drain();
    if !cut_off.is_empty() {
        debug!("{} connections were cut off by the end", cut_off.len());
    }
    engine.drop_elsewhere(cut_off);
}

impl fmt::Debug for TcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer").field("local_addrs", &self.addresses).finish_non_exhaustive()
    }
}

/// Seven eighths, and of few one less: so there is room for a client that does not wait.
fn most_live(connections: usize) -> usize {
    (connections - (connections / 8).max(1)).max(1)
}

fn allowed_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let kept = (files / 8).max(KEPT).min(files / 2);
    usize::try_from(files - kept).unwrap_or(usize::MAX).max(1)
}
