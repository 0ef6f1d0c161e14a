//! `TcpServer`: bind, settings, serve, shutdown, statistics. Starts the workers and waits for the end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use log::{error, warn};

use super::acceptor::LAST_HANDSHAKES;
use super::address::Address;
use super::background::{AbandonedAtEnd, Stop};
use super::contain::contain;
use super::engine::{Engine, Plan, Settings};
use super::handle::{Control, ServerHandle};
use super::lifecycle::Duty;
use super::listener::Listener;
use super::memory::{CONNECTION, connections_by_descriptors, connections_in, input_quota};
use super::notify;
use super::poller::Poller;
use super::protocol::Protocol;
use super::stats::Stats;
use super::sync::{self, Mutex, lock};
use super::workers;

// The order of the documentation: rustdoc lists the methods of child modules first.
mod binding;
mod settings;

/// A server that owns its listeners and passes each client to a fixed pool of workers.
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
#[must_use = "serves no client until `serve_forever`"]
pub struct TcpServer {
    listeners: Mutex<Option<Vec<Listener>>>,
    addresses: Vec<Address>,
    protocols: Vec<Arc<dyn Protocol>>, // one protocol per handler
    settings: Settings,
    parallelism: Option<usize>,
    shutdown_timeout: Option<Duration>,
    memory: u64,
    max_connections: Option<usize>,
    input_quota: Option<Option<u64>>,
    max_live: Option<usize>,
    notify_systemd: bool,
    on_ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    background: Mutex<Vec<(String, Work)>>,
    handle: ServerHandle,
    _at_end: AbandonedAtEnd,
}

type Work = Box<dyn FnOnce(&Stop) + Send>;

/// How long workers can take to end, except those in handlers.
const UNTIL_WORKERS_END: Duration = Duration::from_secs(1);

impl TcpServer {
    /// Sets a function that is called once when the server accepts clients and the start can no longer fail. Default:
    /// none. The thread in [`TcpServer::serve_forever`] calls it when the workers run, so it delays no client. If it
    /// panics, the server ends at once, and the panic continues.
    pub fn on_ready(self, ready: impl FnOnce() + Send + 'static) -> TcpServer {
        *lock(&self.on_ready) = Some(Box::new(ready));
        self
    }

    /// Runs this function on a background thread while the server serves (`docs/live.md#background-work`): a clock, a
    /// cleanup, or a worker that takes [jobs](crate::background::Jobs). Default: none. The function is called when
    /// clients are accepted. The name is used for the thread and in the log.
    ///
    /// At the beginning of a shutdown, the thread's [`Stop`] is set. Requests in progress can still add jobs, so
    /// [`Jobs::next`](crate::background::Jobs::next) waits for their end. The shutdown waits for the thread as for
    /// requests, up to the [timeout](TcpServer::shutdown_timeout), but for at least one second after the last request.
    /// If the thread is still running then, its name is logged. A panic is logged and ends only this thread. [`Stats`]
    /// counts the threads. A handler can start more: [`ServerHandle::background`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use modest::{Response, TcpServer, handler_fn, live::Broadcast};
    ///
    /// let ticks = Broadcast::new();
    /// let clock = ticks.clone();
    /// let app = handler_fn(move |request| Ok(Response::events(ticks.listen(request)?)));
    /// let server = TcpServer::bind("127.0.0.1:0", app)?.background("clock", move |stop| {
    ///     while stop.wait(Duration::from_secs(1)) {
    ///         clock.send("tick");
    ///     }
    /// });
    /// # server.handle().shutdown();
    /// server.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn background(self, name: impl Into<String>, work: impl FnOnce(&Stop) + Send + 'static) -> TcpServer {
        let mut all = lock(&self.background);
        all.push((name.into(), Box::new(work)));
        drop(all);
        self
    }

    /// Returns the first IP address at which the server listens, with the real port (Python's `server_address`).
    ///
    /// # Panics
    /// If there are only Unix sockets: see [`TcpServer::local_addrs`].
    pub fn local_addr(&self) -> SocketAddr {
        let mut inet = self.addresses.iter().filter_map(Address::socket_addr);
        inet.next().expect("a server with only Unix sockets has no IP address: use `local_addrs`")
    }

    /// Returns all addresses at which the server listens, with real ports, in the order in which they were given.
    pub fn local_addrs(&self) -> &[Address] {
        &self.addresses
    }

    /// Returns a descriptor of each listening socket, in the order of [`local_addrs`](TcpServer::local_addrs). Child
    /// processes can serve them with [`TcpServer::from_listener`] or `"fd:N"`.
    ///
    /// A server that is bound only for this must not serve itself. Until it is dropped, it keeps the sockets open, and
    /// the file of a Unix socket. A forked child should drop its copy, which does not remove the file. See
    /// docs/listeners.md.
    ///
    /// # Errors
    /// If there are no descriptors left, or if the server has begun to serve.
    pub fn shared_listeners(&self) -> io::Result<Vec<OwnedFd>> {
        let listeners = lock(&self.listeners);
        let listeners = listeners.as_ref().ok_or_else(|| io::Error::other("this server has already served"))?;
        listeners.iter().map(Listener::shared).collect()
    }

    /// Refuses new clients at the sockets that this server has bound, in every process that has them. For a parent
    /// whose child processes serve [its sockets](TcpServer::shared_listeners). Without this, clients that connect after
    /// the last child has stopped accepting are reset.
    ///
    /// Returns how long handshakes in progress can take. Shut the children down only after this time, so that they
    /// accept all clients that have connected. See docs/listeners.md, "The last connections".
    ///
    /// # Errors
    /// If the server has begun to serve.
    pub fn refuse_clients(&self) -> io::Result<Duration> {
        let mut listeners = lock(&self.listeners);
        let listeners = listeners.as_mut().ok_or_else(|| io::Error::other("this server has already served"))?;
        let refused = listeners.iter_mut().filter_map(|listener| listener.refuse_new_clients().then_some(listener));
        // All listeners refuse clients before the wait begins.
        Ok(refused.fold(Duration::ZERO, |_, _| LAST_HANDSHAKES))
    }

    /// Returns the first port at which the server listens; `None` for Unix sockets.
    pub fn port(&self) -> Option<u16> {
        self.addresses.iter().find_map(Address::port)
    }

    /// Returns a handle with which other threads and handlers can stop the server.
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Returns the current statistics.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Serves until the server is shut down. Then requests in progress are finished within the shutdown timeout, and
    /// the function returns, even if a handler is still running. If the server was shut down before, it returns at
    /// once.
    ///
    /// # Errors
    /// If a thread can't be started or the poller can't be created; if it was called before; if accepting from one of
    /// its listeners has failed for 5 seconds (the socket was shut down elsewhere, or a sandbox forbids it). In the
    /// last case the error names the address, and requests in progress have been finished.
    pub fn serve_forever(&self) -> io::Result<()> {
        let listeners = lock(&self.listeners).take();
        let listeners = listeners.ok_or_else(|| io::Error::other("this server has already served"))?;
        let _at_end = self.handle.stop().abandoned_at_end(); // even if it cannot begin
        let (poller, waker) = Poller::new(listeners)?;
        let plan = self.plan();
        let mut engine = Engine::new(poller, waker, self.protocols.clone(), self.handle.clone(), &plan)?;
        engine.scheduler.set_compute_alone(self.parallelism.is_some());
        let engine = Arc::new(engine);
        let serving = self.handle.begin(engine.clone());
        let result = catch_unwind(AssertUnwindSafe(|| self.supervise(&engine, plan.workers())));
        engine.end(); // at the timeout, nothing is handled while background threads end
        drain(&engine);
        let end = sync::now();
        let result = result.map(|supervised| supervised.and_then(|()| self.wait_for_background(&engine)));
        // If something is left, the shutdown timeout has passed, and workers that are still in handlers count as stuck,
        // unless they waited for clients that `drain` has cut off.
        let stuck = || if engine.is_finished() { 0 } else { engine.stuck() };
        // Workers end while background threads do, so both together take no longer than one of them.
        let left = UNTIL_WORKERS_END.saturating_sub(sync::now().saturating_duration_since(end));
        if !engine.lifecycle.wait_for_workers(stuck, left) {
            log_running(&engine);
        }
        drain(&engine);
        engine.release_protocols();
        engine.end_log();
        drop(serving);
        // If a hook panics, the server ends first, and then the panic continues.
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Starts the workers, replaces those that die, and waits for the end.
    fn supervise(&self, engine: &Arc<Engine>, workers: usize) -> io::Result<()> {
        for me in 0..workers {
            start_worker(engine, me, workers)?;
        }
        if self.notify_systemd {
            notify::ready();
        }
        self.start_background()?;
        let ready = lock(&self.on_ready).take();
        if let Some(ready) = ready {
            ready();
        }
        let deadline = || match self.handle.drains() {
            Some((asked, until)) if !engine.gives_last_responses() => {
                Some((asked + (until - asked) / 2, Duty::LastResponses))
            }
            Some((_, until)) => Some((until, Duty::BeginShutdown)),
            None => Some((self.handle.shutdown_began()?.checked_add(self.shutdown_timeout?)?, Duty::End)),
        };
        loop {
            match engine.lifecycle.wait(|| engine.scheduler.is_over(), || engine.is_finished(), deadline) {
                Duty::NoteShutdown if self.notify_systemd => notify::stopping(),
                Duty::NoteShutdown => {}
                Duty::Replace(dead) => {
                    for me in dead {
                        error!("worker {} of {workers} panicked and is being replaced", me + 1);
                        start_worker(engine, me, workers)?;
                    }
                }
                Duty::LastResponses => engine.give_last_responses(),
                Duty::BeginShutdown => self.handle.begin_shutdown(),
                Duty::End => break,
            }
        }
        Ok(())
    }

    /// Waits for the background threads, up to the shutdown timeout and at least a second.
    ///
    /// # Errors
    /// The error because of which the server has ended.
    fn wait_for_background(&self, engine: &Engine) -> io::Result<()> {
        let began = self.handle.shutdown_began().unwrap_or_else(sync::now);
        let until = self.shutdown_timeout.and_then(|limit| began.checked_add(limit));
        self.handle.stop().wait_for_threads(until);
        engine.lifecycle.failure().map_or(Ok(()), Err)
    }

    fn start_background(&self) -> io::Result<()> {
        let work = std::mem::take(&mut *lock(&self.background));
        for (name, work) in work.into_iter().filter(|_| !self.handle.is_shutting_down()) {
            let named = |err: io::Error| io::Error::new(err.kind(), format!("can't start the thread {name}: {err}"));
            match self.handle.background(name.clone(), work) {
                Err(_) if self.handle.is_shutting_down() => return Ok(()), // the shutdown has just begun
                started => started.map_err(named)?,
            }
        }
        Ok(())
    }

    fn connections_in_memory(&self) -> usize {
        let each = self.protocols.iter().map(|protocol| protocol.connection_memory()).max();
        connections_in(self.memory, each.unwrap_or(CONNECTION))
    }

    fn plan(&self) -> Plan {
        let max_connections =
            self.max_connections.unwrap_or_else(|| self.connections_in_memory().min(connections_by_descriptors()));
        Plan {
            settings: self.settings,
            cores: self.parallelism.unwrap_or_else(sync::cores),
            max_connections,
            input_quota: self.input_quota.unwrap_or(Some(input_quota(self.memory))),
            // Seven eighths, and one less for small numbers, so that there is room for a client that does not wait.
            max_live: self.max_live.unwrap_or((max_connections - (max_connections / 8).max(1)).max(1)),
        }
    }
}

fn start_worker(engine: &Arc<Engine>, me: usize, workers: usize) -> io::Result<()> {
    let at_work = engine.begin_work(Some(me));
    let started = engine.spawn(format!("modest-{me}"), move || {
        workers::work(at_work);
    });
    started.map_err(|err| io::Error::new(err.kind(), format!("can't start worker {} of {workers}: {err}", me + 1)))
}

/// Logs the handlers and functions that the server no longer waits for.
fn log_running(engine: &Engine) {
    let (running, kept) = (engine.slow_handlers.running(sync::now()), engine.kept_functions());
    contain("a logger", || {
        running.iter().for_each(|what| warn!("{what}, and the server ends now"));
        if kept > 0 {
            warn!("the server ends now, and functions of kept threads have not ended: {kept}");
        }
    });
}

/// Closes all connections that no worker holds, at the end. Dropping conversations may block, which must not delay the
/// return of `serve_forever`.
fn drain(engine: &Arc<Engine>) {
    engine.drop_elsewhere(engine.drain());
}

opaque!(TcpServer { local_addrs() });
