//! `TcpServer`: bind, settings, serve, stop, stats. Starts the workers and waits for the end; serves nobody itself.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::debug;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol as Transport, SockRef, Socket, Type};

use super::engine::{Engine, Plan, Stats};
use super::poller::Poller;
use super::protocol::{IntoProtocol, Protocol};
use super::transport::NOT_SENT;
use super::workers;

/// A server that owns a listener and gives each client that comes to a fixed pool of workers.
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
    listener: Mutex<Option<TcpListener>>,
    local_addr: SocketAddr,
    protocol: Arc<dyn Protocol>,
    workers: usize,
    queue_limit: usize,
    queue_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    shutdown_timeout: Option<Duration>,
    max_connections: usize,
    handle: ServerHandle,
}

/// Stops a server, from any thread, at any time.
#[derive(Clone)]
pub struct ServerHandle {
    shared: Arc<Shared>,
}

/// What a server and its stoppers have in common. It holds the engine only while it serves: a handler may hold a
/// handle, and the engine holds the handler.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    engine: Option<Arc<Engine>>,
    shutdown_began: Option<Instant>,
    last: Stats, // the numbers at the end
}

const BACKLOG: i32 = 1024;
/// Descriptors that are kept from clients, for files and for the program itself: so many, or an eighth; never over half.
const KEPT: u64 = 64;
/// How long workers that have nothing to do any more may take to go home.
const WAY_HOME: Duration = Duration::from_secs(1);

impl TcpServer {
    /// Listen at an address (port 0: any free port, see [`TcpServer::local_addr`]) for a handler to serve.
    /// Nobody is served yet, but who connects from now on waits and is.
    ///
    /// Of several addresses that a name stands for, the first that can be bound is taken.
    ///
    /// # Errors
    /// Those of binding: the address is in use, is not of this machine, or is not allowed.
    pub fn bind(address: impl ToSocketAddrs, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name stands for no address");
        for address in address.to_socket_addrs()? {
            match listen(address) {
                Ok(listener) => return TcpServer::from_listener(listener, handler),
                Err(err) => last = err,
            }
        }
        Err(last)
    }

    /// Serve a listener that somebody else has made.
    ///
    /// # Errors
    /// If it can't tell its address.
    pub fn from_listener(listener: TcpListener, handler: impl IntoProtocol) -> io::Result<TcpServer> {
        prepare(&listener)?;
        let cores = num_cpus::get();
        let local_addr = listener.local_addr()?;
        Ok(TcpServer {
            listener: Mutex::new(Some(listener)),
            local_addr,
            protocol: Arc::new(handler.into_protocol()),
            workers: (4 * cores).max(16),
            queue_limit: 1024,
            queue_timeout: Some(Duration::from_secs(10)),
            write_timeout: Some(Duration::from_secs(30)),
            shutdown_timeout: Some(Duration::from_secs(10)),
            max_connections: allowed_connections(),
            handle: ServerHandle { shared: Arc::default() },
        })
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
    /// (HTTP: 503).
    pub fn queue_limit(mut self, requests: usize) -> TcpServer {
        self.queue_limit = requests;
        self
    }

    /// How long a request may wait for a worker while all are in handlers: 10 seconds unless set; `None`: for ever.
    /// Past it the request is refused (HTTP: 503).
    pub fn queue_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.queue_timeout = limit.into();
        self
    }

    /// How long a client may take nothing of what is owed to it before it is given up: 30 seconds unless set;
    /// `None`: never.
    pub fn write_timeout(mut self, limit: impl Into<Option<Duration>>) -> TcpServer {
        self.write_timeout = limit.into();
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

    /// The address that is listened at, with the real port (Python's `server_address`).
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Something to stop it with, for other threads and for handlers.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// What it is doing at this moment.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Serve until somebody stops it: then requests in hand are finished, for at most the shutdown_timeout, and it returns,
    /// also where a handler is still inside. A server that was stopped before returns at once.
    ///
    /// # Errors
    /// If threads or the poller can't be had, or if it was called before.
    pub fn serve_forever(&self) -> io::Result<()> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = listener.ok_or_else(|| io::Error::other("this server has served before"))?;
        let (room, waker) = Poller::new(listener)?;
        let engine = Arc::new(Engine::new(room, waker, self.protocol.clone(), &self.plan())?);
        let shared = &self.handle.shared;
        let serving = shared.begin(&engine);
        let started = self.start_workers(&engine);
        if started.is_err() {
            engine.end();
        }
        engine.wait_until_empty(|| shared.state().shutdown_began, self.shutdown_timeout);
        engine.end();
        let cut_off = engine.clear_out();
        if cut_off > 0 {
            debug!("{cut_off} connections were cut off by the end");
        }
        if !engine.wait_until_left(WAY_HOME) {
            debug!("some handlers are still inside");
        }
        engine.clear_out();
        drop(serving);
        started
    }

    fn plan(&self) -> Plan {
        Plan {
            workers: self.workers,
            cores: num_cpus::get(),
            queue_limit: self.queue_limit,
            queue_timeout: self.queue_timeout,
            write_timeout: self.write_timeout,
            max_connections: self.max_connections,
        }
    }

    fn start_workers(&self, engine: &Arc<Engine>) -> io::Result<()> {
        let threads = self.workers + 1;
        for me in 0..threads {
            let here = AtWork(engine.clone());
            let started = thread::Builder::new().name(format!("modest-{me}")).spawn(move || {
                let here = here;
                workers::work(&here.0, me);
            });
            if let Err(err) = started {
                (me + 1..threads).for_each(|_| engine.left());
                return Err(err);
            }
        }
        Ok(())
    }
}

/// A worker at work; dropped when it goes home, or could not come.
struct AtWork(Arc<Engine>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.left();
    }
}

impl ServerHandle {
    /// Stop: nobody is let in any more, requests in hand are finished, and `serve_forever` returns.
    /// It waits for nothing itself, may be called from anywhere, a handler too, and more than once.
    pub fn shutdown(&self) {
        if let Some(engine) = self.shared.stop() {
            engine.stop();
        }
    }

    /// Stop without finishing anything.
    pub fn shutdown_now(&self) {
        if let Some(engine) = self.shared.stop() {
            engine.stop();
            engine.end();
        }
    }

    /// Whether a stop has begun.
    pub fn is_shutting_down(&self) -> bool {
        self.shared.state().shutdown_began.is_some()
    }

    /// What the server is doing at this moment; after its end, what it had come to.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        let engine = state.engine.clone();
        let last = state.last;
        drop(state);
        engine.map_or(last, |engine| engine.stats())
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server begins to serve; one that was stopped before ends at once.
    fn begin(&self, engine: &Arc<Engine>) -> Serving<'_> {
        let mut state = self.state();
        state.engine = Some(engine.clone());
        let stopped_before = state.shutdown_began.is_some();
        drop(state);
        if stopped_before {
            engine.end();
        }
        Serving { shared: self }
    }

    fn stop(&self) -> Option<Arc<Engine>> {
        let mut state = self.state();
        state.shutdown_began.get_or_insert_with(Instant::now);
        state.engine.clone()
    }
}

/// A server serves; dropped when it has ended, however it did.
struct Serving<'a> {
    shared: &'a Shared,
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let engine = self.shared.state().engine.take();
        if let Some(engine) = engine {
            self.shared.state().last = engine.stats();
        }
    }
}

impl fmt::Debug for TcpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpServer").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle").field("is_shutting_down", &self.is_shutting_down()).finish_non_exhaustive()
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Transport::TCP))?;
    socket.set_reuse_address(true)?; // a restart need not wait for old connections to be forgotten
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What is set here is inherited by every client's socket.
fn prepare(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT)
}

fn allowed_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let kept = (files / 8).max(KEPT).min(files / 2);
    usize::try_from(files - kept).unwrap_or(usize::MAX).max(1)
}
