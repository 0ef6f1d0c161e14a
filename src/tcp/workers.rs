//! A worker's day: draw, take a turn, poll, wake the next, stand by. Panics end here.
//! Started by `server`; conducts `scheduler`, `poller` and `connection`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, warn};
use rustix::time::{ClockId, clock_gettime};

use super::client::Client;
use super::connection::{Buffers, Cause, Connection, Outcome, PermitAccess};
use super::engine::{BoxedConnection, Engine, EnginePoller};
use super::input::Input;
use super::output::Output;
use super::poller::Accepted;
use super::scheduler::{Admission, Patience, Task, Wait, Worker};
use super::transport::Transport;

/// At most so many newcomers a poll: those who are here come first.
const NEWCOMERS: usize = 64;

/// Work until the end. `me`: the worker's number.
pub fn work(engine: &Arc<Engine>, me: usize) {
    let buffers = Buffers { input: Input::new(), output: Output::new() };
    let mut day = WorkerLoop { engine, worker: engine.scheduler.arrive(me), buffers, catch: Vec::new() };
    let mut now = Instant::now();
    loop {
        match engine.scheduler.next(&mut day.worker, &mut now) {
            Task::Serve(connection) => now = day.serve(connection, now),
            Task::Poll(guard) => now = day.wait(guard),
            Task::PollNow(guard) => now = day.look(guard, now),
            Task::Exit => {
                // Whoever was parked or queued after the end came, by a handler that took longer, goes too.
                engine.clear_out();
                return;
            }
        }
    }
}

struct WorkerLoop<'a> {
    engine: &'a Arc<Engine>,
    worker: Worker,
    buffers: Buffers,
    catch: Vec<BoxedConnection>, // empty between polls
}

impl WorkerLoop<'_> {
    /// Wait with the poller, keep one of the catch for oneself, and serve it.
    fn wait(&mut self, mut guard: EnginePoller<'_>) -> Instant {
        let patience = guard.about_to_wait();
        let room_freed = self.engine.room_was_freed();
        let must_sweep = self.engine.scheduler.is_shutting_down() && !guard.poller().acceptor().is_closed();
        match patience {
            _ if must_sweep => guard.poller().look(),
            Patience::None => guard.poller().look(),
            Patience::Until(_) if room_freed || guard.poller().acceptor().is_due(Instant::now()) => {
                guard.poller().look()
            }
            Patience::Until(until) => guard.poller().wait(until, Instant::now()),
        }
        guard.waited();
        if room_freed {
            guard.poller().acceptor().end_pause();
        }
        let now = Instant::now();
        self.gather(&mut guard, now);
        let mut catch = self.catch.drain(..);
        let kept = catch.next();
        catch.for_each(|connection| self.engine.scheduler.queue(connection));
        drop(guard);
        self.engine.scheduler.wake_for_need();
        match kept {
            Some(connection) => self.serve(connection, now),
            None => now,
        }
    }

    /// Poll without waiting, and lay the whole catch into the queue.
    fn look(&mut self, mut guard: EnginePoller<'_>, now: Instant) -> Instant {
        guard.poller().look();
        self.gather(&mut guard, now);
        self.catch.drain(..).for_each(|connection| self.engine.scheduler.queue(connection));
        drop(guard);
        self.engine.scheduler.wake_for_need();
        now
    }

    /// The ready, the late and the newcomers.
    fn gather(&mut self, guard: &mut EnginePoller<'_>, now: Instant) {
        let poll = guard.polled(now);
        let mut late;
        {
            let mut table = self.engine.scheduler.table();
            for (token, readiness) in guard.poller().events() {
                if let Some((mut connection, readiness)) = table.event(token, readiness) {
                    connection.saw(readiness);
                    connection.brought_by(Some(poll));
                    self.catch.push(connection);
                }
            }
            late = table.late(now);
        }
        late.iter_mut().for_each(|connection| connection.caused_by(Cause::Late));
        self.catch.append(&mut late);
        let mut without_permit = self.engine.scheduler.permits().late(now);
        without_permit.iter_mut().for_each(|connection| connection.caused_by(Cause::NoPermit));
        self.catch.append(&mut without_permit);
        if guard.poller().acceptor().is_due(now) {
            self.accept_new(guard, now, NEWCOMERS);
        }
        if self.engine.scheduler.is_shutting_down() && !guard.poller().acceptor().is_closed() {
            self.begin_shutdown(guard, now);
        }
    }

    fn accept_new(&mut self, guard: &mut EnginePoller<'_>, now: Instant, most: usize) {
        for _ in 0..most {
            if self.engine.is_full() {
                if guard.poller().acceptor().somebody_waits() {
                    self.make_room(guard, now, "as many clients as are allowed (max_connections) are connected");
                }
                return;
            }
            match guard.poller().acceptor().accept() {
                Accepted::Client(stream, address) => match self.engine.register(stream) {
                    Ok((stream, registration)) => {
                        let transport = Transport::new(stream);
                        self.catch.push(Box::new(Connection::new(transport, Client::new(address), registration, now)));
                    }
                    Err(err) => {
                        // The kernel has no memory for one more to poll: the stream is closed by dropping it.
                        warn!("can't wait for {address}: {err}");
                        guard.poller().acceptor().pause(now);
                        return;
                    }
                },
                Accepted::Nobody => return,
                Accepted::NoRoom(err) => {
                    if guard.poller().acceptor().somebody_waits() {
                        self.make_room(guard, now, &err.to_string());
                    }
                    return;
                }
            }
        }
    }

    /// Let the longest idle_since go, for those who wait outside; without any, pause until somebody leaves.
    fn make_room(&mut self, guard: &mut EnginePoller<'_>, now: Instant, why: &str) {
        let acceptor = guard.poller().acceptor();
        let count = acceptor.make_room();
        acceptor.pause(now);
        if acceptor.may_complain(now) {
            warn!("no room for more clients: {why}; those at rest are let go first");
        }
        self.engine.want_room();
        let mut idle_since = self.engine.scheduler.table().evict(count);
        idle_since.iter_mut().for_each(|connection| connection.caused_by(Cause::Evicted));
        self.catch.append(&mut idle_since);
    }

    /// The stop: whoever pending is still let in, the acceptor is closed, and everybody hears of it.
    fn begin_shutdown(&mut self, guard: &mut EnginePoller<'_>, now: Instant) {
        self.accept_new(guard, now, usize::MAX);
        guard.poller().acceptor().close();
        let mut swept = self.engine.scheduler.table().sweep();
        swept.iter_mut().for_each(|connection| connection.sweep());
        self.catch.append(&mut swept);
        self.engine.shutdown_begun();
    }

    /// Take turns with a connection, and with whoever inherits its permit, until nobody is left in hand.
    fn serve(&mut self, connection: BoxedConnection, mut now: Instant) -> Instant {
        let mut permit_held = HeldPermit { engine: self.engine, number: None, spent: false };
        let mut in_hand = Some(connection);
        while let Some(connection) = in_hand {
            let outcome;
            (outcome, now) = self.turn(connection, &mut permit_held, now);
            in_hand = match outcome {
                Some((connection, Outcome::Park(wait))) => self.park(connection, wait),
                Some((connection, Outcome::Requeue)) => {
                    self.engine.scheduler.queue(connection);
                    None
                }
                Some((connection, Outcome::AwaitPermit)) => self.enter(connection, &mut permit_held, now),
                Some((connection, Outcome::Closed)) => {
                    drop_connection(connection);
                    None
                }
                None => None,
            };
            in_hand = in_hand.or_else(|| permit_held.give_back(now));
        }
        now
    }

    /// One turn. A panic in it costs the connection, and nothing else.
    fn turn(
        &mut self,
        mut connection: BoxedConnection,
        permit_held: &mut HeldPermit<'_>,
        start: Instant,
    ) -> (Option<(BoxedConnection, Outcome)>, Instant) {
        let cpu = self.engine.scheduler.measures_blocking(&mut self.worker).then(thread_time);
        let context = self.engine.context();
        let buffers = &mut self.buffers;
        let outcome = catch_unwind(AssertUnwindSafe(|| connection.turn(buffers, permit_held, &context, start)));
        let end = Instant::now();
        let wall = end.saturating_duration_since(start);
        self.engine.scheduler.turn_took(wall, cpu.map(|cpu| wall.saturating_sub(thread_time().saturating_sub(cpu))));
        match outcome {
            Ok(outcome) => (Some((connection, outcome)), end),
            Err(_) => {
                // The panic hook has shutdown_seen where. Whatever lies on the buffers belongs to nobody now.
                error!("a panic ended the connection of {}", connection.client());
                self.buffers = Buffers { input: Input::new(), output: Output::new() };
                drop_connection(connection);
                (None, end)
            }
        }
    }

    fn park(&self, connection: BoxedConnection, wait: Wait) -> Option<BoxedConnection> {
        let token = connection.token();
        let (mut connection, readiness) = self.engine.scheduler.park(token, connection, wait)?;
        connection.saw(readiness);
        Some(connection)
    }

    /// It wants a permit and there was none, or others stand in line for the one it had.
    fn enter(
        &self,
        connection: BoxedConnection,
        permit_held: &mut HeldPermit<'_>,
        now: Instant,
    ) -> Option<BoxedConnection> {
        let first_in_line = permit_held.give_back(now);
        match self.engine.scheduler.enter(connection, now) {
            Admission::Granted(number, connection) => {
                permit_held.number = Some(number);
                permit_held.spent = false;
                Some(connection)
            }
            Admission::Queued => first_in_line,
            Admission::Full(mut connection) => {
                connection.caused_by(Cause::NoPermit);
                match first_in_line {
                    Some(first) => {
                        self.engine.scheduler.queue(connection);
                        Some(first)
                    }
                    None => Some(connection),
                }
            }
        }
    }
}

/// A permit in a worker's scheduler; given back when dropped.
struct HeldPermit<'a> {
    engine: &'a Engine,
    number: Option<usize>,
    spent: bool,
}

impl HeldPermit<'_> {
    /// Whoever stood first in line has the permit now, and is in hand next.
    fn give_back(&mut self, now: Instant) -> Option<BoxedConnection> {
        let number = self.number.take()?;
        let mut first = self.engine.scheduler.give_back(number, now)?;
        first.brought_by(None); // what the disk says now is younger than its poll
        self.number = Some(number);
        self.spent = false;
        Some(first)
    }
}

impl PermitAccess for HeldPermit<'_> {
    fn is_held(&self) -> bool {
        self.number.is_some()
    }

    fn spend(&mut self, now: Instant) -> bool {
        let fresh = match self.number {
            Some(_) if !self.spent => true,
            // Another turn in the same permit, if nobody stands in line for it.
            Some(_) => !self.engine.scheduler.permits().has_waiters(),
            None => {
                self.number = self.engine.scheduler.permits().try_enter(now);
                self.number.is_some()
            }
        };
        if fresh {
            self.spent = true;
            self.engine.scheduler.before_handler();
        }
        fresh
    }

    fn take_for_file(&mut self, now: Instant) -> bool {
        if self.number.is_none() {
            self.number = self.engine.scheduler.permits().try_enter(now);
            self.spent = false;
            if self.number.is_some() {
                self.engine.scheduler.before_handler(); // the disk may take its time
            }
        }
        self.number.is_some()
    }
}

impl Drop for HeldPermit<'_> {
    fn drop(&mut self) {
        // Only after a panic of our own: in a worker's day every permit is handed on before.
        if let Some(first) = self.give_back(Instant::now()) {
            self.number = None;
            self.engine.scheduler.queue(first);
        }
    }
}

/// A connection is dropped in a turn, where a panic of its conversation's `drop` costs nothing else.
fn drop_connection(connection: BoxedConnection) {
    if catch_unwind(AssertUnwindSafe(|| drop(connection))).is_err() {
        error!("a conversation panicked while it was dropped");
    }
}

/// How long this thread has been on the processor.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
