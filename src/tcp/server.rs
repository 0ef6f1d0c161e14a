//! `TcpServer`: bind, settings, serve, stop, stats. Starts the workers and waits for the end; serves nobody itself.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::debug;
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol as Transport, SockRef, Socket, Type};

use super::conversation::{IntoProtocol, Protocol};
use super::engine::{Engine, Plan, Stats};
use super::transport::NOT_SENT;
use super::waiting_room::WaitingRoom;
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
pub struct TcpServer {
    listener: Mutex<Option<TcpListener>>,
    local_addr: SocketAddr,
    protocol: Arc<dyn Protocol>,
    workers: usize,
    line: usize,
    line_timeout: Duration,
    write_timeout: Duration,
    grace: Duration,
    max_connections: usize,
    stopper: Stopper,
}

/// Stops a server, from any thread, at any time.
#[derive(Clone)]
pub struct Stopper {
    shared: Arc<Shared>,
}

struct Shared {
    engine: OnceLock<Arc<Engine>>,
    stop_began: Mutex<Option<Instant>>,
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
        let shared = Shared { engine: OnceLock::new(), stop_began: Mutex::new(None) };
        Ok(TcpServer {
            listener: Mutex::new(Some(listener)),
            local_addr,
            protocol: Arc::new(handler.into_protocol()),
            workers: (4 * cores).max(16),
            line: 1024,
            line_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            grace: Duration::from_secs(10),
            max_connections: allowed_connections(),
            stopper: Stopper { shared: Arc::new(shared) },
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

    /// How many requests may stand in line while all workers are busy, and for how long: 1,024 and 10 seconds unless
    /// set. Who finds no place, or stands too long, is told so (HTTP: 503).
    pub fn line(mut self, places: usize, timeout: Duration) -> TcpServer {
        self.line = places;
        self.line_timeout = timeout;
        self
    }

    /// How long a client may take nothing of what is owed to it before it is given up: 30 seconds unless set.
    pub fn write_timeout(mut self, limit: Duration) -> TcpServer {
        self.write_timeout = limit;
        self
    }

    /// How long a stop waits for requests in hand: 10 seconds unless set.
    pub fn grace(mut self, limit: Duration) -> TcpServer {
        self.grace = limit;
        self
    }

    /// How many clients may be connected at once: as many as this process may open files, less an eighth
    /// (at least 64) that is kept for other things, unless set. Past that, clients at rest are let go for new ones,
    /// and new ones wait.
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
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// What it is doing at this moment.
    pub fn stats(&self) -> Stats {
        self.stopper.stats()
    }

    /// Serve until somebody stops it: then requests in hand are finished, for at most the grace, and it returns,
    /// also where a handler is still inside. A server that was stopped before returns at once.
    ///
    /// # Errors
    /// If threads or the poller can't be had, or if it was called before.
    pub fn serve_forever(&self) -> io::Result<()> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = listener.ok_or_else(|| io::Error::other("this server has served before"))?;
        let (room, bell) = WaitingRoom::new(listener)?;
        let engine = Arc::new(Engine::new(room, bell, self.protocol.clone(), &self.plan())?);
        let shared = &self.stopper.shared;
        if shared.engine.set(engine.clone()).is_err() {
            return Err(io::Error::other("this server has served before"));
        }
        if shared.stop_began().is_some() {
            engine.end();
        }
        let started = self.start_workers(&engine);
        if started.is_err() {
            engine.end();
        }
        engine.wait_until_empty(|| shared.stop_began(), self.grace);
        engine.end();
        // Connections are dropped here, so that their seats, which hold the engine, let go of it.
        let (left, room) = engine.hands.clear_out();
        if !left.is_empty() {
            debug!("{} connections were cut off by the end", left.len());
        }
        drop((left, room));
        if !engine.wait_until_left(WAY_HOME) {
            debug!("some handlers are still inside");
        }
        drop(engine.hands.clear_out());
        started
    }

    fn plan(&self) -> Plan {
        Plan {
            workers: self.workers,
            cores: num_cpus::get(),
            line: self.line,
            line_timeout: self.line_timeout,
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

impl Stopper {
    /// Stop: nobody is let in any more, requests in hand are finished, and `serve_forever` returns.
    /// It waits for nothing itself, may be called from anywhere, a handler too, and more than once.
    pub fn stop(&self) {
        self.shared.stop_began.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        if let Some(engine) = self.shared.engine.get() {
            engine.stop();
        }
    }

    /// Stop without finishing anything.
    pub fn stop_now(&self) {
        self.stop();
        if let Some(engine) = self.shared.engine.get() {
            engine.end();
        }
    }

    /// Whether a stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.shared.stop_began().is_some()
    }

    /// What the server is doing at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.engine.get().map(|engine| engine.stats()).unwrap_or_default()
    }
}

impl Shared {
    fn stop_began(&self) -> Option<Instant> {
        *self.stop_began.lock().unwrap_or_else(PoisonError::into_inner)
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
