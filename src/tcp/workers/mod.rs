//! A worker's loop: takes a connection from the queue, takes a turn with it, polls, accepts. Catches panics. Started by
//! `server`; calls `scheduler`, `poller` and `connection`.

mod kept_threads; // threads that handlers keep
mod polling; // events, deadlines, new clients, the start of a shutdown
mod taking; // connections that leave the engine

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Buffers, Outcome, PermitAccess};
use super::contain::{Panicked, catch};
use super::engine::{AtWork, BoxedConnection, Engine, Protocols};
use super::poller::Poller;
use super::scheduler::{MayBlock, Readiness, Task, Work, Worker};
use super::sync::{self, Instant, thread_time};
use super::sys::Waker;
use super::timers::Call;
pub use kept_threads::{keep_thread, keep_thread_if};
use polling::{Notice, YIELD_AFTER};

thread_local! {
    /// The time in which the handlers of this turn have waited for a lock of theirs.
    static WAITED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Reports that the calling handler has waited this long for a lock that other handlers hold while they compute: see
/// [`TcpServer::parallelism`](super::TcpServer::parallelism). If handlers seem to wait for something other than a
/// processor, the server runs more of them at once. Waiting for each other is not a reason to do so. Outside a handler
/// the call has no effect.
///
/// ```
/// use std::sync::{Mutex, PoisonError};
/// use std::time::Instant;
///
/// use modest::{Response, handler_fn};
///
/// let interpreter = Mutex::new(0);
/// let app = handler_fn(move |_| {
///     let begun = Instant::now();
///     let mut runs = interpreter.lock().unwrap_or_else(PoisonError::into_inner);
///     modest::waited_for_lock(begun.elapsed());
///     *runs += 1; // computes
///     Ok(Response::text(runs.to_string()))
/// });
/// # modest::testing::serve(modest::Http::new(app)).get("/");
/// ```
pub fn waited_for_lock(time: Duration) {
    WAITED.with(|waited| waited.set(waited.get().saturating_add(time)));
}

type EngineWorker<'a> = Worker<'a, BoxedConnection, Box<Poller>, Waker>;

/// Works until the server has ended, or a handler keeps this thread.
pub fn work(at_work: AtWork) {
    let mut number = Some(at_work);
    while let Some(at_work) = number.take() {
        let (engine, Some(me)) = (&at_work.engine, at_work.me) else { return };
        kept_threads::enter(engine);
        let mut worker = WorkerLoop::new(engine, me);
        let mut now = sync::now();
        while !kept_threads::is_kept(engine)
            && let Some(then) = worker.task(now)
        {
            now = then;
        }
        drop(worker);
        let kept = kept_threads::leave();
        if engine.scheduler.is_over() {
            // Connections that were parked or queued after the end, because a handler took longer, are also ended.
            engine.drop_elsewhere(engine.drain());
        }
        if !kept.is_empty() {
            number = kept_threads::run(at_work, kept);
        }
    }
}

/// A worker, between its tasks.
pub struct WorkerLoop<'a> {
    me: usize,
    engine: &'a Arc<Engine>,
    protocols: Protocols,
    permit: HeldPermit<'a>,
    buffers: Buffers,
    catch: Vec<BoxedConnection>,     // empty between polls
    newcomers: Vec<BoxedConnection>, // likewise
    caught: usize,                   // how many connections the last poll found
    rested: Instant,                 // when the worker last polled or yielded
    notices: Vec<Notice>,            // messages to be logged when the poller is free
    due: Vec<Call>,                  // functions to be called when the poller is free
}

impl<'a> WorkerLoop<'a> {
    /// Creates the loop of the worker with the number `me`.
    pub fn new(engine: &'a Arc<Engine>, me: usize) -> WorkerLoop<'a> {
        WorkerLoop {
            me,
            engine,
            protocols: engine.protocols(),
            permit: HeldPermit { worker: engine.scheduler.arrive(me), engine, used: false },
            buffers: Buffers::default(),
            catch: Vec::new(),
            newcomers: Vec::new(),
            caught: 0,
            rested: sync::now(),
            notices: Vec::new(),
            due: Vec::new(),
        }
    }

    /// Does the next task. Returns the time afterwards; `None` if the server has ended.
    pub fn task(&mut self, mut now: Instant) -> Option<Instant> {
        match self.permit.worker.next(&mut now) {
            Task::Serve(connection) => Some(self.serve(connection, now)),
            Task::Poll(guard) => Some(self.poll(guard, now)),
            Task::PollNow(guard) => Some(self.poll_now(guard, now)),
            Task::Exit => None,
        }
    }

    /// Takes turns with a connection, and then with connections that get this worker's permit, until it holds none.
    fn serve(&mut self, connection: BoxedConnection, mut now: Instant) -> Instant {
        self.permit.used = false;
        let mut in_hand = Some(connection);
        while let Some(connection) = in_hand {
            (in_hand, now) = self.turn(connection, now);
            self.permit.worker.end_blocking();
            if now.saturating_duration_since(self.rested) > YIELD_AFTER {
                sync::yield_now();
                now = sync::now();
                self.rested = now;
            }
            if kept_threads::is_kept(self.engine) {
                in_hand.into_iter().for_each(|connection| self.engine.scheduler.push(connection));
                return now;
            }
            if in_hand.is_none() {
                in_hand = self.permit.worker.pass_on_permit().map(|connection| self.take_over(connection));
            }
        }
        now
    }

    /// Takes one turn with the connection, then does what its outcome says. A panic ends the connection, and nothing
    /// else.
    fn turn(&mut self, mut connection: BoxedConnection, start: Instant) -> (Option<BoxedConnection>, Instant) {
        let scheduler = &self.engine.scheduler;
        let measured = self.permit.worker.measures_blocking().then(|| {
            WAITED.take();
            thread_time()
        });
        let settings = self.engine.turn_settings(self.me, &self.protocols);
        let (buffers, permit) = (&mut self.buffers, &mut self.permit);
        let outcome = catch("a conversation", || connection.turn(buffers, permit, &settings, start));
        let end = sync::now();
        let wall = end.saturating_duration_since(start);
        let blocked = |cpu| wall.saturating_sub(thread_time().saturating_sub(cpu)).saturating_sub(WAITED.take());
        scheduler.turn_took(wall, measured.map(blocked));
        let in_hand = match outcome {
            Ok(Outcome::Park(wait)) => {
                let token = connection.token();
                scheduler.park(token, connection, wait).map(|(mut connection, readiness)| {
                    connection.saw(readiness);
                    connection
                })
            }
            Ok(Outcome::Requeue) => {
                connection.saw(Readiness { readable: true, ..Readiness::NONE }); // bytes may have arrived
                scheduler.push(connection);
                None
            }
            Ok(Outcome::AwaitPermit(work)) => self.await_permit(connection, work, end),
            Ok(Outcome::Take) => self.take(connection, end),
            Ok(Outcome::Closed) => self.close(connection, end),
            Err(panicked) => {
                self.log(panicked.of(connection.client(), settings.current.what()));
                settings.current.end();
                connection.panicked();
                self.buffers = Buffers::default(); // the old ones may contain output of this client
                self.close(connection, end)
            }
        };
        (in_hand, end)
    }

    /// Queues a connection that needs a permit. There was no free permit, or other connections wait for the permit that
    /// it had.
    fn await_permit(&mut self, connection: BoxedConnection, work: Work, now: Instant) -> Option<BoxedConnection> {
        let (refused, next) = self.permit.worker.await_permit(connection, work, now);
        let next = next.map(|next| self.take_over(next));
        let Some(mut refused) = refused else { return next };
        refused.causes().no_permit = true;
        match next {
            Some(next) => {
                self.engine.scheduler.push(refused);
                Some(next)
            }
            None => Some(refused),
        }
    }

    /// Serves a connection that was granted this worker's permit.
    fn take_over(&mut self, mut connection: BoxedConnection) -> BoxedConnection {
        self.permit.used = false;
        connection.brought_by(None); // the file system may have changed since its poll
        connection
    }

    /// Drops a connection that has ended. Its destructors may block and may panic.
    fn close(&mut self, mut connection: BoxedConnection, now: Instant) -> Option<BoxedConnection> {
        let may_block = catch("a conversation", || connection.drop_may_block());
        let may_block = may_block.map_err(|panicked| self.log(panicked)).unwrap_or(true);
        if may_block && self.permit.begin(Work::Short, now).is_none() {
            connection.causes().dropped = true;
            return self.await_permit(connection, Work::Short, now);
        }
        connection.drop_by(|conversation| {
            if let Err(panicked) = catch("dropping a conversation", || drop(conversation)) {
                self.log(panicked);
            }
        });
        None
    }

    /// Logs a panic. The logger may block, which is announced until the end of this turn.
    fn log(&self, panicked: Panicked) {
        self.permit.worker.begin_blocking(sync::now());
        panicked.log();
    }
}

/// A worker's permit, as a turn uses it.
struct HeldPermit<'a> {
    worker: EngineWorker<'a>,
    engine: &'a Engine,
    used: bool, // whether it was used for a handler of the current connection
}

impl PermitAccess for HeldPermit<'_> {
    fn begin(&mut self, work: Work, now: Instant) -> Option<MayBlock> {
        let is_handler = work <= Work::Begun;
        if is_handler {
            if self.used && self.worker.others_want_permits() {
                return None;
            }
            self.used = true;
        }
        let may_block = self.worker.acquire_permit(work)?;
        // With a single client, only a new client could have to wait while the handler runs, and at most until the next
        // tick.
        if is_handler && !self.engine.has_one_client() {
            self.worker.begin_blocking(now);
        } else {
            self.worker.begin_short(now);
        }
        Some(may_block)
    }

    fn handler_took(&mut self, wall: Duration) {
        self.worker.handler_took(wall);
    }

    fn handlers_are_short(&self) -> bool {
        self.worker.handlers_are_short()
    }

    fn begin_to_log(&mut self, now: Instant) {
        self.worker.begin_blocking(now);
    }
}
