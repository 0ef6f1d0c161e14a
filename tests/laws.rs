//! The laws of the engine, on the very file of the hand-overs, under a scheduler that tries out orders of events.
//!
//! Locks, atomics, parking and the queue are `shuttle`'s here; the poller is a list of events; a handler may block
//! until another client was answered, which deadlocks, and is reported, wherever nobody is left at the acceptor.
//! `MODEL_SCHEDULES=40000 cargo test --release --test laws` runs more of them.
//!
//! That the check can fail was tried by hand; each of these was found within 40,000 schedules a test:
//! - `PollerGuard::about_to_wait` without its look at the queue, `Scheduler::stop` without the waker, a worker that goes on
//!   being the one who searches: `a_stop_reaches_everybody`;
//! - `Scheduler::before_handler` without its wake, `Scheduler::wake_one` without the waker: `the_line_is_served`;
//! - `ConnectionTable::park` without the look at the note, a tick that sees nothing, a watchdog that goes dormant without
//!   looking once more: `a_blocking_handler_stops_nobody`;
//! - `PollerGuard::drop` that says so only after the poller is unlocked (once a bug of ours; seldom: 100,000 schedules):
//!   `a_stop_reaches_everybody`;
//! - `Permits::give_back` that frees the permit while somebody stands in line: both of these.
//!
//! One look is there twice over: a worker that does not look again is saved by its first tick.

#[allow(dead_code, reason = "the model does without what only the clock brings")]
#[path = "../src/tcp/scheduler/mod.rs"]
mod scheduler;

/// The names that `scheduler` takes its tools by.
mod sync {
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
    pub use shuttle::sync::{Mutex, MutexGuard};
    pub use shuttle::thread::{Thread, current, park};
    use std::collections::VecDeque;
    pub use std::sync::PoisonError;
    use std::time::Duration;

    /// There is no time here: a time-out may come at any moment.
    pub fn park_timeout(_limit: Duration) {
        shuttle::thread::yield_now();
    }

    pub struct Queue<T>(Mutex<VecDeque<T>>);

    impl<T> Queue<T> {
        pub fn new() -> Queue<T> {
            Queue(Mutex::new(VecDeque::new()))
        }

        pub fn push(&self, item: T) {
            self.0.lock().unwrap().push_back(item);
        }

        pub fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_front()
        }

        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        pub fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }
}

use std::time::Instant;

use scheduler::{
    Admission, Patience, Permits, PollWaker, PollerGuard, Readiness, Scheduler, Task, Token, Wait, Worker,
};
use shuttle::sync::{Arc, Condvar, Mutex};
use shuttle::thread;

const READABLE: Readiness = Readiness { readable: true, writable: false, closed: false };

/// What the kernel knows: events nobody has fetched yet, and whether the waker was rung.
#[derive(Default)]
struct Kernel {
    state: Mutex<(Vec<Token>, bool)>,
    news: Condvar,
}

impl Kernel {
    fn event(&self, token: Token) {
        self.state.lock().unwrap().0.push(token);
        self.news.notify_all();
    }
}

struct KernelWaker(Arc<Kernel>);

impl PollWaker for KernelWaker {
    fn wake(&self) {
        self.0.state.lock().unwrap().1 = true;
        self.0.news.notify_all();
    }
}

/// The poller: one at a time holds it.
struct Poller {
    kernel: Arc<Kernel>,
    swept: bool,
}

impl Poller {
    fn poll(&mut self, wait: bool) -> Vec<Token> {
        let mut state = self.kernel.state.lock().unwrap();
        while wait && state.0.is_empty() && !state.1 {
            state = self.kernel.news.wait(state).unwrap();
        }
        state.1 = false;
        std::mem::take(&mut state.0)
    }
}

/// A client's socket, seen from both sides.
#[derive(Default)]
struct Socket {
    state: Mutex<SocketState>,
    answered: Condvar,
}

#[derive(Default)]
struct SocketState {
    unread: usize,
    answers: usize,
    closed: bool,
}

/// A connection, as it moves.
struct BoxedConnection {
    client: usize,
    token: Token,
    readiness: Readiness,
    wants_slot: bool,
}

type EngineContext = Scheduler<BoxedConnection, Poller, KernelWaker>;

struct World {
    scheduler: EngineContext,
    kernel: Arc<Kernel>,
    sockets: Vec<Socket>,
    /// The handler of the first of these blocks until the second was answered once.
    blocked_by: Option<(usize, usize)>,
}

impl World {
    /// So many workers, one more thread than permits, and clients who sit and wait.
    fn new(permits: usize, clients: usize, blocked_by: Option<(usize, usize)>) -> (Arc<World>, Vec<Token>) {
        let kernel = Arc::new(Kernel::default());
        let poller = Poller { kernel: kernel.clone(), swept: false };
        let slots_and_line = Permits::new(permits, 8, None);
        let scheduler = Scheduler::new(poller, KernelWaker(kernel.clone()), permits + 1, 2, slots_and_line);
        let tokens: Vec<Token> = (0..clients).map(|_| scheduler.table().take()).collect();
        for (client, token) in tokens.iter().enumerate() {
            let connection = BoxedConnection { client, token: *token, readiness: Readiness::NONE, wants_slot: false };
            assert!(scheduler.park(*token, connection, wait()).is_none());
        }
        let sockets = (0..clients).map(|_| Socket::default()).collect();
        (Arc::new(World { scheduler, kernel, sockets, blocked_by }), tokens)
    }

    fn start_workers(self: &Arc<Self>, count: usize) -> Vec<thread::JoinHandle<()>> {
        (0..count)
            .map(|me| {
                let world = self.clone();
                thread::spawn(move || world.work(me))
            })
            .collect()
    }

    /// A client: so many requests, each sent after the last was answered.
    fn start_client(self: &Arc<Self>, client: usize, token: Token, requests: usize) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || {
            for number in 1..=requests {
                let socket = &world.sockets[client];
                socket.state.lock().unwrap().unread += 1;
                world.kernel.event(token);
                let mut state = socket.state.lock().unwrap();
                while state.answers < number {
                    state = socket.answered.wait(state).unwrap();
                }
            }
        })
    }

    // From here on as in `workers`, without sockets, time and panics.

    fn work(&self, me: usize) {
        let mut worker: Worker = self.scheduler.arrive(me);
        loop {
            match self.scheduler.next(&mut worker, &mut Instant::now()) {
                Task::Serve(connection) => self.serve(connection),
                Task::Poll(guard) => self.poll(guard, true),
                Task::PollNow(guard) => self.poll(guard, false),
                Task::Exit => return,
            }
        }
    }

    fn poll(&self, mut guard: PollerGuard<'_, BoxedConnection, Poller, KernelWaker>, may_wait: bool) {
        let mut events = Vec::new();
        if may_wait {
            let patience = guard.about_to_wait();
            let must_sweep = self.scheduler.is_shutting_down() && !guard.poller().swept;
            events.extend(guard.poller().poll(!must_sweep && patience != Patience::None));
            guard.waited();
        } else {
            events.extend(guard.poller().poll(false));
        }
        guard.polled(Instant::now());
        let mut catch = Vec::new();
        {
            let mut table = self.scheduler.table();
            for token in events {
                if let Some((mut connection, readiness)) = table.event(token, READABLE) {
                    connection.readiness.merge(readiness);
                    catch.push(connection);
                }
            }
            if self.scheduler.is_shutting_down() && !guard.poller().swept {
                guard.poller().swept = true;
                catch.extend(table.sweep());
            }
        }
        let mut catch = catch.into_iter();
        let kept = if may_wait { catch.next() } else { None };
        catch.for_each(|connection| self.scheduler.queue(connection));
        drop(guard);
        self.scheduler.wake_for_need();
        if let Some(connection) = kept {
            self.serve(connection);
        }
    }

    /// Turns with a connection and with whoever inherits its permit.
    fn serve(&self, connection: BoxedConnection) {
        let mut permit: Option<usize> = None;
        let mut in_hand = Some(connection);
        while let Some(connection) = in_hand {
            in_hand = self.turn(connection, &mut permit).or_else(|| self.give_back(&mut permit));
        }
    }

    fn give_back(&self, permit: &mut Option<usize>) -> Option<BoxedConnection> {
        let number = permit.take()?;
        let first_in_line = self.scheduler.give_back(number, Instant::now())?;
        *permit = Some(number);
        Some(first_in_line)
    }

    /// A step of a turn; whom to go on with, `None`: it is elsewhere.
    fn turn(&self, mut connection: BoxedConnection, permit: &mut Option<usize>) -> Option<BoxedConnection> {
        if connection.wants_slot {
            if permit.is_none() {
                return match self.scheduler.enter(connection, Instant::now()) {
                    Admission::Granted(number, connection) => {
                        *permit = Some(number);
                        Some(connection)
                    }
                    Admission::Queued => None,
                    Admission::Full(_) => panic!("the line is long enough"),
                };
            }
            self.handle(&mut connection);
            let odd = connection.client % 2 == 1;
            if odd {
                self.scheduler.queue(connection); // as one whose share is used up
                return None;
            }
            return Some(connection);
        }
        if self.scheduler.is_shutting_down() {
            let socket = &self.sockets[connection.client];
            socket.state.lock().unwrap().closed = true;
            socket.answered.notify_all();
            self.scheduler.table().leave(connection.token);
            return None;
        }
        if connection.readiness.readable {
            self.read(&mut connection);
            if connection.wants_slot {
                // As in `enter`: nobody who stands in line is passed by.
                if let Some(first) = self.give_back(permit) {
                    self.scheduler.queue(connection);
                    return Some(first);
                }
            }
            return Some(connection);
        }
        let (mut connection, readiness) = self.scheduler.park(connection.token, connection, wait())?;
        connection.readiness.merge(readiness);
        Some(connection)
    }

    fn read(&self, connection: &mut BoxedConnection) {
        let mut state = self.sockets[connection.client].state.lock().unwrap();
        if state.unread > 0 {
            state.unread -= 1;
            connection.wants_slot = true;
        } else {
            connection.readiness.readable = false;
        }
    }

    fn handle(&self, connection: &mut BoxedConnection) {
        self.scheduler.before_handler();
        connection.wants_slot = false;
        if let Some((blocked, by)) = self.blocked_by
            && blocked == connection.client
        {
            let mut state = self.sockets[by].state.lock().unwrap();
            while state.answers == 0 {
                state = self.sockets[by].answered.wait(state).unwrap();
            }
        }
        let socket = &self.sockets[connection.client];
        socket.state.lock().unwrap().answers += 1;
        socket.answered.notify_all();
    }
}

fn wait() -> Wait {
    Wait { readiness: READABLE, deadline: None, idle_since: None, shutdown_seen: false }
}

/// Half of the schedules by chance, half by priorities that change at few points (PCT), which finds what needs a long
/// stretch of one thread at the wrong moment.
fn check(name: &str, model: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = std::env::var("MODEL_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    println!("{name}: {schedules} schedules");
    shuttle::check_random(model.clone(), schedules / 2);
    shuttle::check_pct(model, schedules / 2, 4);
}

/// Laws 1 to 3: whatever the order, every request is answered, although a handler blocks until another client was.
#[test]
fn a_blocking_handler_stops_nobody() {
    check("a blocking handler", || {
        let (world, tokens) = World::new(2, 3, Some((0, 1)));
        let workers = world.start_workers(3);
        let clients: Vec<_> = (0..3).map(|client| world.start_client(client, tokens[client], 2)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        world.scheduler.end();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// Law 5: with one permit and many who want it, the line is served to its end.
#[test]
fn the_line_is_served() {
    check("the line", || {
        let (world, tokens) = World::new(1, 4, None);
        let workers = world.start_workers(2);
        let clients: Vec<_> = (0..4).map(|client| world.start_client(client, tokens[client], 2)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        assert_eq!(world.scheduler.permits().waiting(), 0, "somebody was left in line");
        world.scheduler.end();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

/// A stop, at any moment, from outside, finds every connection: parked, queued, or in a handler.
#[test]
fn a_stop_reaches_everybody() {
    check("a stop", || {
        let (world, tokens) = World::new(2, 3, None);
        let workers = world.start_workers(3);
        world.sockets[0].state.lock().unwrap().unread += 1;
        world.kernel.event(tokens[0]);
        let stopping = world.clone();
        let stop = thread::spawn(move || stopping.scheduler.stop());
        for socket in &world.sockets {
            let mut state = socket.state.lock().unwrap();
            while !state.closed {
                state = socket.answered.wait(state).unwrap();
            }
        }
        stop.join().unwrap();
        world.scheduler.end();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}
