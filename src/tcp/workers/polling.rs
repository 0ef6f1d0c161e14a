//! A poll and its results: connections that are ready, late, new or evicted, and the start of a shutdown. No user code
//! that may block runs while the poller is held, so messages are stored and logged afterwards. `Protocol::is_proxy` is
//! called when a client is accepted, and must not block.

use std::time::Duration;

use log::Level;

use super::super::acceptor::Accepted;
use super::super::client::Client;
use super::super::connection::Connection;
use super::super::connection::PermitAccess;
use super::super::contain::contain;
use super::super::engine::{BoxedConnection, EnginePoller};
use super::super::scheduler::{Patience, Work};
use super::super::sync::{self, Instant};
use super::super::sys::ClientStream;
use super::super::transport::Transport;
use super::WorkerLoop;

/// How many new clients a poll accepts, so that existing clients do not wait long.
const NEWCOMERS: usize = 64;
/// How long to wait after a failed poll: errors are not expected to last, and would be logged in a loop.
const AFTER_A_FAILED_POLL: Duration = Duration::from_millis(10);

/// How long a worker takes turns before it yields its core, if it has not polled. Workers that serve many clients
/// hardly ever sleep. So the kernel runs them until their time slices are used up, and clients on the same machine do
/// not run for 10 ms or more. Therefore a worker yields between turns after this time, and before it polls, unless it
/// is the only worker awake and its last poll found at most one connection. Effect of yielding (wrk and the server on
/// the same two cores, each in its own session; files of 1 KiB): p99 with 8, 64 and 512 connections is 0.4, 3.8 and 6.9
/// ms instead of 0.9, 7.4 and 9.2 ms; p99.9 with 64 connections is 9 ms instead of 31 ms; CPU time per request is 0.97
/// to 1.05 of that without. With one connection a yield would cost 5 to 9 %.
pub const YIELD_AFTER: Duration = Duration::from_millis(1);

pub type Notice = (Level, String);

impl WorkerLoop<'_> {
    /// Waits inside the poll, queues all connections found except one, and serves that one.
    pub(super) fn poll(&mut self, mut guard: EnginePoller<'_>, now: Instant) -> Instant {
        let engine = self.engine;
        let caught = self.caught;
        let polled = guard.wait(now, |poller, patience| {
            if caught > 1 || engine.scheduler.others_are_awake() {
                sync::yield_now(); // see `YIELD_AFTER`
            }
            let must_look = engine.scheduler.is_shutting_down() && poller.acceptor().closes_at.is_none();
            if engine.room_was_freed() {
                poller.acceptor().end_pause();
            }
            let now = sync::now();
            match patience {
                Patience::Until(until) if !must_look && !poller.acceptor().is_due(now) => {
                    // If no other worker is awake, no handler can run during this poll, so there is none to check.
                    let look = poller.next_look.filter(|_| engine.scheduler.others_are_awake());
                    let others = [look, engine.taken.deadline(), engine.timers.first()];
                    let until = until.into_iter().chain(others.into_iter().flatten()).min();
                    poller.wait(until, now)
                }
                _ => poller.look(),
            }
        });
        let now = sync::now();
        if let Err(err) = polled {
            self.notices.push((Level::Error, format!("the poller failed: {err}")));
            sync::sleep(AFTER_A_FAILED_POLL);
        }
        self.gather(&mut guard, now);
        (self.caught, self.rested) = (self.catch.len() + self.newcomers.len(), now);
        self.permit.worker.polled(self.caught);
        let kept = self.push_catch(true);
        drop(guard);
        engine.scheduler.wake_for_need(now);
        self.after_a_poll(now);
        match kept {
            Some(connection) => self.serve(connection, now),
            None => now,
        }
    }

    /// Polls without waiting, and queues everything found.
    pub(super) fn poll_now(&mut self, mut guard: EnginePoller<'_>, now: Instant) -> Instant {
        if self.engine.room_was_freed() {
            guard.poller().acceptor().end_pause();
        }
        let _ = guard.poller().look(); // the next poll that waits finds and logs an error
        self.gather(&mut guard, now);
        self.push_catch(false);
        drop(guard);
        self.engine.scheduler.wake_for_need(now);
        self.after_a_poll(now);
        now
    }

    /// Queues all connections found, except the first if it is kept.
    fn push_catch(&mut self, keep: bool) -> Option<BoxedConnection> {
        let scheduler = &self.engine.scheduler;
        let mut catch = self.catch.drain(..);
        let mut kept = if keep { catch.next() } else { None };
        scheduler.push_polled(self.me, catch);
        if !self.newcomers.is_empty() {
            let mut newcomers = self.newcomers.drain(..);
            kept = kept.or_else(|| if keep { newcomers.next() } else { None });
            newcomers.for_each(|connection| scheduler.push(connection));
        }
        kept
    }

    /// Collects ready, late and new connections.
    fn gather(&mut self, guard: &mut EnginePoller<'_>, now: Instant) {
        guard.polled(now);
        let scheduler = &self.engine.scheduler;
        let table = scheduler.table();
        for (token, readiness) in guard.poller().events() {
            if let Some((mut connection, readiness)) = table.event(token, readiness) {
                connection.saw(readiness);
                connection.brought_by(readiness.readable.then_some(now));
                self.catch.push(connection);
            }
        }
        for (number, is_closed) in guard.poller().watched.drain(..) {
            let called = self.engine.watched.ready(number, is_closed);
            self.catch.extend(called.iter().filter_map(|waker| self.engine.take_called(waker)));
        }
        for (mut connection, readiness) in table.late(now) {
            connection.saw(readiness);
            connection.causes().late = true;
            self.catch.push(connection);
        }
        for mut connection in scheduler.late_for_permit(now) {
            connection.causes().no_permit = true;
            self.catch.push(connection);
        }
        for mut connection in self.engine.taken.late(now) {
            connection.causes().no_thread = true;
            self.catch.push(connection);
        }
        if guard.poller().acceptor().is_due(now) {
            self.accept(guard, now, NEWCOMERS);
        }
        if guard.poller().next_look.is_some_and(|look| look <= now) {
            let (slow, next_look) = self.engine.slow_handlers.look(now);
            guard.poller().next_look = next_look;
            self.notices.extend(slow.into_iter().map(|notice| (Level::Warn, notice)));
        }
        self.due = self.engine.timers.take_due(now);
        if scheduler.is_shutting_down() && !guard.poller().acceptor().is_closed {
            self.shut_down(guard, now);
        }
    }

    fn accept(&mut self, guard: &mut EnginePoller<'_>, now: Instant, most: usize) {
        let engine = self.engine;
        for _ in 0..most {
            if engine.is_full() {
                if guard.poller().acceptor().has_waiting_clients() {
                    self.make_room(guard, now, "the limit of connections (max_connections) is reached");
                }
                return;
            }
            let acceptor = guard.poller().acceptor();
            match acceptor.accept(now) {
                Accepted::Client(stream, address, protocol) => {
                    let client = Client::new(address);
                    let place = match engine.admit(&client, &*self.protocols[usize::from(protocol)]) {
                        Ok(place) => place,
                        Err((level, why)) => {
                            self.refuse(stream, &client, level, &why);
                            continue;
                        }
                    };
                    match engine.register(stream, place) {
                        Ok((stream, registration)) => {
                            let transport = Transport::new(stream);
                            let connection = Connection::new(transport, client, registration, protocol, now);
                            self.newcomers.push(Box::new(connection));
                        }
                        Err(err) => {
                            // The kernel has no memory to poll another socket: dropping the stream closes it.
                            self.notices.push((Level::Warn, format!("can't wait for {client}: {err}")));
                            acceptor.pause(now, None);
                            return;
                        }
                    }
                }
                Accepted::Nobody => return,
                Accepted::NoRoom(err) => {
                    if acceptor.has_waiting_clients() {
                        self.make_room(guard, now, &err.to_string());
                    }
                    return;
                }
                // Accepting from other listeners continues while this one pauses.
                Accepted::Failing { err, first, for_good } => {
                    if first {
                        self.notices.push((Level::Error, err.to_string()));
                    }
                    if for_good {
                        engine.lifecycle.fail(err);
                        return;
                    }
                }
            }
        }
    }

    /// Resets a client that can't be counted, so that the kernel keeps no state of the connection.
    fn refuse(&mut self, stream: ClientStream, client: &Client, level: Level, why: &str) {
        Transport::new(stream).reset();
        // The logger's own check of levels is not called, because its code must not run while the poller is held.
        if log::max_level() >= level {
            self.notices.push((level, format!("rejected {client}: {why}")));
        }
    }

    /// Evicts connections for clients that wait to be accepted. If none can be evicted, pauses until one ends.
    fn make_room(&mut self, guard: &mut EnginePoller<'_>, now: Instant, why: &str) {
        let acceptor = guard.poller().acceptor();
        self.engine.want_room();
        let wanted = acceptor.evictions();
        let mut evicted = self.engine.scheduler.table().evict(wanted, now);
        self.engine.want_last_responses(wanted - evicted.connections.len());
        if evicted.connections.is_empty() {
            acceptor.evicted_nobody();
        }
        acceptor.pause(now, evicted.more_at);
        if acceptor.may_complain(now) {
            let notice = format!("no room for more clients: {why}; idle connections are closed for new clients");
            self.notices.push((Level::Warn, notice));
        }
        self.engine.evict(evicted.connections.len());
        evicted.connections.iter_mut().for_each(|connection| connection.causes().evicted = true);
        self.catch.append(&mut evicted.connections);
    }

    /// Begins the shutdown: notifies every connection and refuses new clients. When connected clients have been
    /// accepted, the listeners are closed.
    ///
    /// The last accept is limited to the number of clients that can wait: if another process serves the same listener,
    /// clients keep coming, and are for that process.
    fn shut_down(&mut self, guard: &mut EnginePoller<'_>, now: Instant) {
        let closes_at = guard.poller().acceptor().closes_at.unwrap_or_else(|| {
            let mut parked = self.engine.scheduler.table().begin_shutdown();
            parked.iter_mut().for_each(|connection| connection.begin_shutdown());
            self.catch.append(&mut parked);
            guard.poller().acceptor().refuse_new_clients(now)
        });
        if closes_at <= now {
            let waiting = guard.poller().acceptor().prepare_to_close();
            self.accept(guard, now, waiting);
            guard.poller().close_listeners();
            self.engine.lifecycle.accepting_is_over();
        }
    }

    /// Does what may block, after the poller was released.
    fn after_a_poll(&mut self, now: Instant) {
        if !self.due.is_empty() {
            self.call_due(now);
        }
        self.log_notices();
    }

    /// Calls the functions that are due, if there is a permit.
    fn call_due(&mut self, now: Instant) {
        let due = std::mem::take(&mut self.due);
        let Some(_may_block) = self.permit.begin(Work::Short, now) else {
            self.engine.timers.put_off(due, now);
            return self.engine.scheduler.wake_poller(); // a poll that began meanwhile does not wait for them
        };
        for call in due {
            contain("a timer", call);
        }
        self.permit.worker.end_blocking();
    }

    /// Logs the stored messages. The logger may block, which is announced, so that another worker polls.
    fn log_notices(&mut self) {
        if self.notices.is_empty() {
            return;
        }
        self.permit.worker.begin_blocking(sync::now());
        for (level, notice) in self.notices.drain(..) {
            contain("the logger", || log::log!(level, "{notice}"));
        }
        self.permit.worker.end_blocking();
    }
}
