//! The invariants of the scheduler. The test compiles the scheduler's own files with `shuttle`, which tries many orders
//! of events.
//!
//! Locks, atomics, parking and queues are shuttle's; the poller is a list of events. A handler may block until another
//! client has received a response. If no worker is left outside handlers then, this is a deadlock, which shuttle
//! reports. `MODEL_SCHEDULES=40000 cargo test --release --test laws` tries more orders. Under shuttle all atomics are
//! sequentially consistent, so it does not find missing fences.

#[allow(dead_code, unused_imports, reason = "only the engine uses them")]
#[path = "../src/tcp/clock.rs"]
mod clock;
#[allow(dead_code, reason = "the model has no clock and no engine")]
#[path = "../src/tcp/scheduler/mod.rs"]
mod scheduler;

/// The names that `scheduler` imports.
mod sync {
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    pub use shuttle::sync::{Mutex, MutexGuard};
    pub use shuttle::thread::{Thread, current};
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::sync::OnceLock;
    pub use std::sync::PoisonError;
    use std::time::{self, Duration};

    pub use super::clock::Instant;

    pub const SHARDS: usize = 2;

    /// Locks, and ignores poisoning.
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the looker if there is one, else the real time.
    pub fn now() -> Instant {
        LOOKER.with(|looker| looker.borrow().as_ref().map_or_else(true_time, |looker| looker.clock.get()))
    }

    fn true_time() -> Instant {
        static BEGINNING: OnceLock<time::Instant> = OnceLock::new();
        let beginning = BEGINNING.get_or_init(time::Instant::now);
        Instant::from_nanos(1_000_000_000) + beginning.elapsed()
    }

    pub fn test(code: impl Fn() + Send + Sync + 'static) {
        shuttle::check_random(code, 1);
    }

    shuttle::thread_local! {
        /// The observer of this thread in tests that have one.
        static LOOKER: RefCell<Option<super::Looker>> = RefCell::new(None);
    }

    /// From now on this thread reports each rest to the looker.
    pub fn look_at(looker: super::Looker) {
        LOOKER.with(|place| *place.borrow_mut() = Some(looker));
    }

    pub fn park() {
        LOOKER.with(|looker| looker.borrow().as_ref().map(|looker| looker.tell(super::Seen::Sleeps)));
        shuttle::thread::park();
    }

    /// There is no time in this model: a timeout can come at any moment, or when the looker ends the tick. (It does not
    /// yield: under PCT a thread that yields comes last, so it could not tick and sleep while the others do nothing.)
    pub fn park_timeout(limit: Duration) {
        LOOKER.with(|looker| looker.borrow().as_ref().map(|looker| looker.tick(limit)));
    }

    /// No thread is known to be runnable.
    pub struct ThreadId;

    pub fn thread_id() -> ThreadId {
        ThreadId
    }

    impl ThreadId {
        pub fn is_runnable(&self) -> bool {
            false
        }
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
    }
}

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::sync::Weak;
use std::time::Duration;

use scheduler::{
    Callee, Eviction, Link, Parked, Patience, Permits, PollWaker, PollerGuard, RESERVED, Readiness, Scheduler, Task,
    Token, Wait, Waker, Work, Worker,
};
use shuttle::sync::{Arc, Condvar, Mutex, mpsc};
use shuttle::thread;
use sync::Instant;

const READABLE: Readiness = Readiness { readable: true, ..Readiness::NONE };

/// The state of the kernel: events that were not fetched yet, and whether the poller was woken.
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

/// The poller, which one worker holds at a time.
struct Poller {
    kernel: Arc<Kernel>,
    shut_down: bool,
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

/// A client's socket.
#[derive(Default)]
struct Socket {
    state: Mutex<SocketState>,
    answered: Condvar,
}

#[derive(Default)]
struct SocketState {
    unread: usize,
    answers: usize,
    calls: usize, // calls that the connection has received
    closed: bool,
}

/// A connection, as workers pass it on.
struct Connection {
    client: usize,
    link: Arc<Link>,
    readiness: Readiness,
    wants: Option<Work>,
}

type World = Scheduler<Connection, Poller, KernelWaker>;
type WorldWorker<'a> = Worker<'a, Connection, Poller, KernelWaker>;

/// How the handlers of a model behave.
#[derive(Clone, Copy, Default)]
struct Behaviour {
    /// The handler of the first client blocks until the second client has received one response.
    blocked_by: Option<(usize, usize)>,
    /// The requests of this client are short work.
    short: Option<usize>,
    /// Each turn of this client is followed by another for the same request: it needs a permit while it holds one.
    streams: Option<usize>,
}

struct Model {
    scheduler: World,
    kernel: Arc<Kernel>,
    sockets: Vec<Socket>,
    links: Vec<Arc<Link>>,
    behaviour: Behaviour,
}

struct Calls(Weak<Model>);

impl Callee for Calls {
    fn call(self: std::sync::Arc<Self>, tokens: &mut dyn Iterator<Item = Token>) {
        let model = self.0.upgrade().expect("the model outlives its threads");
        let left = model.scheduler.call(tokens, |connection, readiness| connection.readiness.merge(readiness));
        assert!(left.is_empty(), "connections are left at the end of the model");
    }
}

impl Model {
    /// A model with this many permits for handlers, the reserved permits, one worker more, and connected clients.
    fn new(handlers: usize, clients: usize, behaviour: Behaviour) -> (Arc<Model>, Vec<std::sync::Arc<Calls>>) {
        let kernel = Arc::new(Kernel::default());
        let poller = Poller { kernel: kernel.clone(), shut_down: false };
        let permits = Permits::new(handlers, 8, None);
        let scheduler = Scheduler::new(poller, KernelWaker(kernel.clone()), handlers + RESERVED + 1, 2, permits);
        let mut callees = Vec::new();
        let model = Arc::new_cyclic(|model: &Weak<Model>| {
            let links: Vec<Arc<Link>> = (0..clients)
                .map(|_| {
                    let callee = std::sync::Arc::new(Calls(model.clone()));
                    callees.push(callee.clone());
                    let callee: std::sync::Arc<dyn Callee> = callee;
                    let weak = std::sync::Arc::new(std::sync::Arc::downgrade(&callee));
                    scheduler.table().insert(|token| Arc::new(Link::new(token, Some(weak))))
                })
                .collect();
            for (client, link) in links.iter().enumerate() {
                let connection = Connection { client, link: link.clone(), readiness: Readiness::NONE, wants: None };
                assert!(scheduler.park(link.token(), connection, wait()).is_none());
            }
            let sockets = (0..clients).map(|_| Socket::default()).collect();
            Model { scheduler, kernel, sockets, links, behaviour }
        });
        (model, callees)
    }

    fn start_workers(self: &Arc<Self>, handlers: usize) -> Vec<thread::JoinHandle<()>> {
        (0..handlers + RESERVED + 1)
            .map(|me| {
                let model = self.clone();
                thread::spawn(move || model.work(me))
            })
            .collect()
    }

    /// A client with this number of requests, each sent after the previous response.
    fn start_client(self: &Arc<Self>, client: usize, requests: usize) -> thread::JoinHandle<()> {
        let model = self.clone();
        thread::spawn(move || {
            for number in 1..=requests {
                let socket = &model.sockets[client];
                socket.state.lock().unwrap().unread += 1;
                model.kernel.event(model.links[client].token());
                let mut state = socket.state.lock().unwrap();
                while state.answers < number {
                    state = socket.answered.wait(state).unwrap();
                }
            }
        })
    }

    /// Checks that no permit is left, and that no connection waits for one.
    fn end(&self, workers: Vec<thread::JoinHandle<()>>) {
        self.scheduler.end();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert_eq!(self.scheduler.waiting(), 0, "connections still wait for a permit");
        assert_eq!(self.scheduler.permits_taken(), 0, "permits were not returned");
    }

    // The following is like `workers`, without sockets, time and panics.

    fn work(&self, me: usize) {
        let mut worker = self.scheduler.arrive(me);
        loop {
            match worker.next(&mut sync::now()) {
                Task::Serve(connection) => self.serve(&mut worker, connection),
                Task::Poll(guard) => self.poll(me, &mut worker, guard, true),
                Task::PollNow(guard) => self.poll(me, &mut worker, guard, false),
                Task::Exit => return,
            }
        }
    }

    fn poll(
        &self,
        me: usize,
        worker: &mut WorldWorker<'_>,
        mut guard: PollerGuard<'_, Connection, Poller, KernelWaker>,
        may_wait: bool,
    ) {
        let events = if may_wait {
            guard.wait(sync::now(), |poller, patience| {
                let must_close = self.scheduler.is_shutting_down() && !poller.shut_down;
                poller.poll(!must_close && patience != Patience::None)
            })
        } else {
            guard.poller().poll(false)
        };
        guard.polled(sync::now());
        let mut catch = Vec::new();
        {
            let table = self.scheduler.table();
            for token in events {
                if let Some((mut connection, readiness)) = table.event(token, READABLE) {
                    connection.readiness.merge(readiness);
                    catch.push(connection);
                }
            }
            if self.scheduler.is_shutting_down() && !guard.poller().shut_down {
                guard.poller().shut_down = true;
                catch.extend(table.begin_shutdown());
            }
        }
        worker.polled(catch.len());
        let mut catch = catch.into_iter();
        let kept = if may_wait { catch.next() } else { None };
        self.scheduler.push_polled(me, catch);
        drop(guard);
        self.scheduler.wake_for_need(sync::now());
        if let Some(connection) = kept {
            self.serve(worker, connection);
        }
    }

    /// Runs the turns of a connection, and of the connections that get this worker's permit.
    fn serve(&self, worker: &mut WorldWorker<'_>, connection: Connection) {
        let mut used = false;
        let mut in_hand = Some(connection);
        while let Some(connection) = in_hand {
            in_hand = self.turn(worker, connection, &mut used);
            worker.end_blocking();
            if in_hand.is_none() {
                in_hand = worker.pass_on_permit();
                used = false;
            }
        }
    }

    /// One step of a turn. Returns the connection to continue with. `None`: the connection is elsewhere.
    fn turn(&self, worker: &mut WorldWorker<'_>, mut connection: Connection, used: &mut bool) -> Option<Connection> {
        if let Some(work) = connection.wants {
            let may = !(work == Work::Handler && *used && worker.others_want_permits());
            if !may || worker.acquire_permit(work).is_none() {
                let (refused, next) = worker.await_permit(connection, work, sync::now());
                assert!(refused.is_none(), "a request was rejected although the queue is long enough");
                *used = false;
                return next;
            }
            *used = true;
            worker.begin_blocking(sync::now());
            self.handle(&mut connection);
            if connection.client % 2 == 1 {
                self.scheduler.push(connection); // as if its share of time is used up
                return None;
            }
            return Some(connection);
        }
        if connection.link.is_called() && connection.link.take_call() {
            let socket = &self.sockets[connection.client];
            socket.state.lock().unwrap().calls += 1;
            socket.answered.notify_all();
        }
        if self.scheduler.is_shutting_down() {
            let socket = &self.sockets[connection.client];
            socket.state.lock().unwrap().closed = true;
            socket.answered.notify_all();
            self.scheduler.table().remove(connection.link.token());
            return None;
        }
        if connection.readiness.readable {
            self.read(&mut connection);
            return Some(connection);
        }
        let token = connection.link.token();
        let (mut connection, readiness) = self.scheduler.park(token, connection, wait())?;
        connection.readiness.merge(readiness);
        Some(connection)
    }

    fn read(&self, connection: &mut Connection) {
        let mut state = self.sockets[connection.client].state.lock().unwrap();
        if state.unread > 0 {
            state.unread -= 1;
            let short = self.behaviour.short == Some(connection.client);
            connection.wants = Some(if short { Work::Short } else { Work::Handler });
        } else {
            connection.readiness.readable = false;
        }
    }

    fn handle(&self, connection: &mut Connection) {
        if let Some((blocked, by)) = self.behaviour.blocked_by
            && blocked == connection.client
        {
            let mut state = self.sockets[by].state.lock().unwrap();
            while state.answers == 0 {
                state = self.sockets[by].answered.wait(state).unwrap();
            }
        }
        let socket = &self.sockets[connection.client];
        let mut state = socket.state.lock().unwrap();
        if self.behaviour.streams == Some(connection.client) && !std::mem::replace(&mut state.closed, true) {
            return; // one more turn with a permit before the response is complete
        }
        connection.wants = None;
        state.answers += 1;
        drop(state);
        socket.answered.notify_all();
    }
}

fn wait() -> Wait {
    let interest = Readiness { called: true, ..READABLE };
    Wait { interest, deadline: None, eviction: Eviction::Never, shutdown_seen: false }
}

/// Half of the schedules are random. The others use priorities that change at few points (PCT). They find errors that
/// occur only if one thread runs long at a certain moment.
fn check(name: &str, model: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = std::env::var("MODEL_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    println!("{name}: {schedules} schedules");
    shuttle::check_random(model.clone(), schedules / 2);
    shuttle::check_pct(model, schedules / 2, 4);
}

/// In any order, each request gets a response although a handler blocks until another client has one.
#[test]
fn a_blocking_handler_delays_no_other_client() {
    check("a blocking handler", || {
        let behaviour = Behaviour { blocked_by: Some((0, 1)), ..Behaviour::default() };
        let (model, _callees) = Model::new(2, 3, behaviour);
        let workers = model.start_workers(2);
        let clients: Vec<_> = (0..3).map(|client| model.start_client(client, 2)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        model.end(workers);
    });
}

/// With one permit for handlers and many connections that need it, the whole queue is served. A client with a response
/// of several turns needs a permit while it holds one.
#[test]
fn the_queue_is_served() {
    check("the queue", || {
        let behaviour = Behaviour { streams: Some(2), ..Behaviour::default() };
        let (model, _callees) = Model::new(1, 4, behaviour);
        let workers = model.start_workers(1);
        let clients: Vec<_> = (0..4).map(|client| model.start_client(client, 2)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        model.end(workers);
    });
}

/// If all handlers block, short work still runs: here the handlers wait for the response to short work.
#[test]
fn short_work_needs_no_handler() {
    check("short work", || {
        let behaviour = Behaviour { blocked_by: Some((0, 1)), short: Some(1), ..Behaviour::default() };
        let (model, _callees) = Model::new(1, 3, behaviour);
        let workers = model.start_workers(1);
        let clients: Vec<_> = (0..3).map(|client| model.start_client(client, 2)).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
        model.end(workers);
    });
}

/// A call from another thread reaches the connection in each state: parked, queued, waiting for a permit, or in
/// progress.
#[test]
fn a_call_reaches_its_connection() {
    check("a call", || {
        let (model, _callees) = Model::new(1, 2, Behaviour::default());
        let workers = model.start_workers(1);
        let client = model.start_client(0, 1);
        let callers: Vec<_> = [vec![0], vec![0, 1]]
            .into_iter()
            .map(|called| {
                let wakers: Vec<Waker> = called.iter().map(|client| Waker::new(model.links[*client].clone())).collect();
                thread::spawn(move || assert_eq!(Waker::wake_all(&wakers), wakers.len()))
            })
            .collect();
        for socket in &model.sockets {
            let mut state = socket.state.lock().unwrap();
            while state.calls == 0 {
                state = socket.answered.wait(state).unwrap();
            }
        }
        client.join().unwrap();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        model.end(workers);
    });
}

/// Connections that a worker has polled before it blocked are served by another worker, even if that one always has
/// connections of its own.
#[test]
fn connections_polled_by_a_blocked_worker_are_served() {
    const LEFT: usize = 100;
    shuttle::check_random(
        || {
            let (model, _callees) = Model::new(1, LEFT + 1, Behaviour::default());
            let mut connections = model.scheduler.table().drain();
            let own = connections.pop().expect("a connection to queue");
            let client = own.client;
            model.scheduler.push_polled(1, connections.into_iter());
            let mut worker = model.scheduler.arrive(0);
            let (mut served, mut in_hand) = (0, Some(own));
            for _ in 0..LEFT * 10 {
                model.scheduler.push_polled(0, in_hand.take().into_iter());
                match worker.next(&mut sync::now()) {
                    Task::Serve(connection) if connection.client == client => in_hand = Some(connection),
                    Task::Serve(_) => served += 1,
                    Task::Poll(guard) | Task::PollNow(guard) => guard.polled(sync::now()),
                    Task::Exit => unreachable!("it is not over"),
                }
            }
            assert_eq!(served, LEFT);
        },
        1,
    );
}

/// Of eight draws, one prefers connections that were called, and two prefer new and postponed ones. The others prefer
/// connections that were polled.
#[test]
fn draws_are_shared() {
    shuttle::check_random(
        || {
            let (model, _callees) = Model::new(1, 60, Behaviour::default());
            let scheduler = &model.scheduler;
            let (Task::Poll(poller) | Task::PollNow(poller)) = scheduler.arrive(2).next(&mut sync::now()) else {
                panic!("it is free")
            };
            let tokens: Vec<Token> = (40..60).map(|client| model.links[client].token()).collect();
            let mut connections: Vec<Connection> =
                (0..40).filter_map(|client| scheduler.table().call(model.links[client].token())).map(first).collect();
            connections.drain(20..).for_each(|connection| scheduler.push(connection));
            scheduler.push_polled(0, connections.into_iter());
            assert!(scheduler.call(&mut tokens.into_iter(), |_, _| {}).is_empty());
            assert_eq!((scheduler.ready(), scheduler.table().parked()), (60, 0));
            let mut worker = scheduler.arrive(0);
            let mut draw = || match worker.next(&mut sync::now()) {
                Task::Serve(connection) => ["polled", "put off", "called"][connection.client / 20],
                _ => unreachable!("sixty are ready"),
            };
            let drawn: Vec<&str> = (0..60).map(|_| draw()).collect();
            let round = ["called", "polled", "put off", "polled", "polled", "polled", "put off", "polled"];
            assert_eq!(drawn[..16], [round, round].concat());
            assert_eq!(scheduler.ready(), 0);
            drop(poller);
        },
        1,
    );
}

/// A worker draws the connections that it has polled before those of other workers.
#[test]
fn own_polls_come_first() {
    shuttle::check_random(
        || {
            let (model, _callees) = Model::new(1, 4, Behaviour::default());
            let scheduler = &model.scheduler;
            let (Task::Poll(poller) | Task::PollNow(poller)) = scheduler.arrive(2).next(&mut sync::now()) else {
                panic!("it is free")
            };
            let mut connections = scheduler.table().drain();
            connections.sort_by_key(|connection| connection.client);
            for (connection, worker) in connections.into_iter().zip([1, 0, 1, 0]) {
                scheduler.push_polled(worker, std::iter::once(connection));
            }
            let mut workers = [scheduler.arrive(0), scheduler.arrive(1)];
            let mut draw = |worker: usize| match workers[worker].next(&mut sync::now()) {
                Task::Serve(connection) => connection.client,
                _ => unreachable!("four are ready"),
            };
            assert_eq!([draw(0), draw(0), draw(0), draw(1)], [1, 3, 0, 2]);
            assert_eq!(scheduler.ready(), 0);
            drop(poller);
        },
        1,
    );
}

/// A worker without connections of its own polls. It takes connections of others if the poll found nothing, if another
/// worker polls, or if turns are blocked.
#[test]
fn other_workers_connections_come_after_a_poll() {
    shuttle::check_random(
        || {
            let (model, _callees) = Model::new(1, 4, Behaviour::default());
            let scheduler = &model.scheduler;
            scheduler.push_polled(1, scheduler.table().drain().into_iter());
            let [mut worker, mut third] = [0, 2].map(|worker| scheduler.arrive(worker));
            let mut now = sync::now();
            for found in [1, 0] {
                let Task::Poll(guard) = worker.next(&mut now) else { panic!("it polls first") };
                guard.polled(now);
                worker.polled(found);
            }
            assert!(
                matches!(worker.next(&mut now), Task::Serve(_)),
                "a worker whose poll found nothing takes connections of another worker"
            );
            assert!(matches!(worker.next(&mut now), Task::Serve(_)), "half of the queue was taken");
            let Task::Poll(guard) = worker.next(&mut now) else { panic!("only one search without a result") };
            assert!(
                matches!(third.next(&mut now), Task::Serve(_)),
                "the poller is held, so the third worker takes from others"
            );
            drop(guard);
            worker.polled(0);
            (0..1000).for_each(|_| scheduler.turn_took(Duration::from_millis(1), Some(Duration::from_millis(1))));
            assert!(
                matches!(worker.next(&mut now), Task::Serve(_)),
                "while turns are blocked, the last connection is taken"
            );
            assert!(matches!(worker.next(&mut now), Task::Poll(_)), "a worker without connections polls");
        },
        1,
    );
}

/// After 64 draws, or after more than a millisecond since the last poll, a worker polls before it serves. It serves if
/// another worker polls. If no connection is ready, its poll may wait.
#[test]
fn an_overdue_poll_comes_first() {
    const MS: Duration = Duration::from_millis(1);
    const NS: Duration = Duration::from_nanos(1);
    shuttle::check_random(
        || {
            for (what, drawn, ago, another_polls, ready, next) in [
                ("it was just now", 0, Duration::ZERO, false, 1, "serves"),
                ("63 draws ago", 63, Duration::ZERO, false, 1, "serves"),
                ("64 draws ago", 64, Duration::ZERO, false, 1, "polls now"),
                ("a millisecond ago", 0, MS, false, 1, "serves"),
                ("longer ago", 0, MS + NS, false, 1, "polls now"),
                ("both, and another polls", 64, MS + NS, true, 1, "serves"),
                ("both, and nobody is ready", 64, MS + NS, false, 0, "polls"),
            ] {
                let (scheduler, _) = world(Permits::new(1, 8, None));
                let [mut worker, mut other] = [0, 1].map(|worker| scheduler.arrive(worker));
                scheduler.push_polled(0, (0..drawn + ready).map(alone).collect::<Vec<_>>().into_iter());
                let mut polled = sync::now();
                let (Task::Poll(guard) | Task::PollNow(guard)) = other.next(&mut polled) else { panic!("it is free") };
                guard.polled(polled);
                let guard = another_polls.then_some(guard);
                for _ in 0..drawn {
                    assert!(matches!(worker.next(&mut polled), Task::Serve(_)), "{what}: before");
                }
                let seen = match worker.next(&mut (polled + ago)) {
                    Task::Serve(_) => "serves",
                    Task::Poll(_) => "polls",
                    Task::PollNow(_) => "polls now",
                    Task::Exit => "exits",
                };
                assert_eq!(seen, next, "{what}");
                drop(guard);
            }
        },
        1,
    );
}

/// Before code that may block, a worker wakes the poller for a ready connection, unless there is a watchdog. With a
/// watchdog, another worker is woken only if that is worth it: for a ready connection, or, before a long handler,
/// because no worker polls.
#[test]
fn a_worker_about_to_block_wakes_another() {
    const LONG: Duration = Duration::from_millis(1);
    const SHORT: Duration = Duration::from_micros(1);
    let begins = |scheduler: &World, long: bool| match scheduler.arrive(1) {
        worker if long => worker.begin_blocking(sync::now()),
        worker => worker.begin_short(sync::now()),
    };
    shuttle::check_random(
        move || {
            for (ready, long, woken) in [(0, true, false), (1, true, true), (1, false, true)] {
                let (scheduler, kernel) = world(Permits::new(1, 8, None));
                let Task::Poll(mut guard) = scheduler.arrive(3).next(&mut sync::now()) else { unreachable!("free") };
                guard.wait(sync::now(), |_, _| {
                    (0..ready).for_each(|client| scheduler.push(alone(client)));
                    begins(&scheduler, long);
                });
                let seen = (kernel.state.lock().unwrap().1, scheduler.wakes());
                assert_eq!(seen, (woken, woken.into()), "no watchdog, {ready} ready, long: {long}");
            }
            for (what, turn, handler, free, ready, long, woken) in [
                ("nobody is ready", LONG, LONG, false, 0, true, false),
                ("it is done sooner", SHORT, LONG, false, 1, true, false),
                ("it is not", LONG, SHORT, false, 1, true, true),
                ("nor for short work", LONG, SHORT, false, 1, false, true),
                ("nobody polls, for short", LONG, SHORT, true, 0, true, false),
                ("nobody polls, for long", LONG, LONG, true, 0, true, true),
                ("nobody polls, and it may be long", LONG, LONG, true, 0, false, false),
            ] {
                let (scheduler, _) = world_of(3, 4);
                (0..1000).for_each(|_| scheduler.turn_took(turn, None));
                (0..1000).for_each(|_| scheduler.arrive(1).handler_took(handler));
                let Task::Poll(guard) = scheduler.arrive(2).next(&mut sync::now()) else { unreachable!("free") };
                let watchdog = Watched::start(&scheduler, 0, sync::now());
                assert_eq!(watchdog.does(), TICKS);
                let guard = (!free).then_some(guard);
                (0..ready).for_each(|client| scheduler.push(alone(client)));
                begins(&scheduler, long);
                assert_eq!(scheduler.wakes(), woken.into(), "{what}");
                scheduler.end();
                assert_eq!(watchdog.does(), Seen::Exits, "{what}");
                drop(guard);
            }
        },
        1,
    );
}

/// Apart from the polling worker, no worker is awake if all others rest. A woken worker is awake until it has found
/// nothing.
#[test]
fn other_workers_are_awake_unless_resting() {
    shuttle::check_random(
        || {
            let (scheduler, _) = world_of(2, 2);
            let Task::Poll(mut guard) = scheduler.arrive(0).next(&mut sync::now()) else { unreachable!("free") };
            let others_are_awake =
                |guard: &mut PollerGuard<'_, _, _, _>| guard.wait(sync::now(), |_, _| scheduler.others_are_awake());
            assert!(others_are_awake(&mut guard), "the other worker counts as awake until it rests");
            let watchdog = Watched::start(&scheduler, 1, sync::now());
            assert_eq!(watchdog.does(), TICKS);
            assert!(!others_are_awake(&mut guard), "the watchdog does not count as awake");
            scheduler.begin_shutdown();
            assert!(others_are_awake(&mut guard), "a watchdog that was woken counts as awake");
            assert_eq!(watchdog.does(), TICKS, "a worker that found nothing becomes the watchdog again");
            assert!(!others_are_awake(&mut guard), "the watchdog that ticks again does not count as awake");
            scheduler.end();
            assert_eq!(watchdog.does(), Seen::Exits);
        },
        1,
    );
}

/// One of eight turns is measured, and only while turns are long.
#[test]
fn one_turn_in_eight_is_measured() {
    shuttle::check_random(
        || {
            for (turn, measured) in [(Duration::from_micros(1), 0), (Duration::from_millis(1), 2)] {
                let (scheduler, _) = world(Permits::new(1, 8, None));
                (0..1000).for_each(|_| scheduler.turn_took(turn, None));
                let mut worker = scheduler.arrive(0);
                assert_eq!((0..16).filter(|_| worker.measures_blocking()).count(), measured, "of 16 turns of {turn:?}");
            }
        },
        1,
    );
}

/// Events between two ticks of the watchdog.
#[derive(Clone, Copy)]
enum Meanwhile {
    Nothing,
    Drawn,
    Polled,
    PollerFreed,
    Pushed,
    Blocks,
    PushedAndBlocks,
    EndsBlocking,
    Woken,
}

/// The rules of the watchdog, tick by tick. It takes over a waiting connection or the free poller if a core is idle, or
/// after eight ticks. It sleeps after four ticks without any progress. It ticks less often after 64 ticks that found
/// nothing, if no worker is blocked for more than a millisecond.
#[test]
fn the_watchdog_follows_its_rules_tick_by_tick() {
    use Meanwhile::*;
    const RARE: Seen = Seen::Ticks(Duration::from_millis(4));
    const SERVES: Seen = Seen::Serves(0);
    type Steps<'a> = &'a [(usize, Meanwhile, Seen)];
    const ROWS: [(&str, usize, Steps<'_>); 11] = [
        ("no progress", 3, &[(3, Nothing, TICKS), (1, Nothing, Seen::Sleeps), (1, Woken, SERVES), (4, Nothing, TICKS)]),
        ("others draw", 3, &[(6, Drawn, TICKS), (3, Nothing, TICKS), (1, Nothing, Seen::Sleeps)]),
        ("others poll", 3, &[(6, Polled, TICKS), (3, Nothing, TICKS), (1, Nothing, Seen::Sleeps)]),
        ("the poller was not polled since the last tick", 3, &[(1, PollerFreed, Seen::Polls)]),
        ("the queue has not moved since the last tick", 3, &[(1, Pushed, SERVES)]),
        ("no core is idle", 2, &[(1, Pushed, TICKS), (6, Nothing, TICKS), (1, Nothing, SERVES)]),
        ("blocked for longer", 2, &[(1, Blocks, TICKS), (1, Pushed, SERVES)]),
        ("blocked for a millisecond", 2, &[(1, PushedAndBlocks, TICKS), (1, Nothing, SERVES)]),
        ("calm, up to a find", 3, &[(63, Drawn, TICKS), (2, Drawn, RARE), (1, Pushed, SERVES), (1, Nothing, TICKS)]),
        (
            "calm, until a worker is blocked",
            3,
            &[(63, Drawn, TICKS), (2, Drawn, RARE), (1, Blocks, TICKS), (1, Drawn, TICKS)],
        ),
        (
            "calm once no worker is blocked",
            3,
            &[(1, Blocks, TICKS), (80, Drawn, TICKS), (1, EndsBlocking, TICKS), (62, Drawn, TICKS), (1, Drawn, RARE)],
        ),
    ];
    shuttle::check_random(
        || {
            for (what, cores, steps) in ROWS {
                let (scheduler, _) = world_of(3, cores);
                let mut now = sync::now();
                let Task::Poll(guard) = scheduler.arrive(2).next(&mut now) else { unreachable!("it is free") };
                let mut guard = Some(guard);
                let mut other = scheduler.arrive(1);
                let watchdog = Watched::start(&scheduler, 0, now);
                assert_eq!(watchdog.does(), TICKS, "{what}");
                for (number, (times, meanwhile, seen)) in steps.iter().enumerate() {
                    for time in 0..*times {
                        match meanwhile {
                            Nothing => {}
                            Drawn => {
                                scheduler.push_polled(1, std::iter::once(alone(1)));
                                assert!(matches!(other.next(&mut now), Task::Serve(_)));
                            }
                            Polled => guard.as_ref().expect("the poller, which is held").polled(now),
                            PollerFreed => guard = None,
                            Pushed => scheduler.push(alone(0)),
                            Blocks => other.begin_blocking(now),
                            PushedAndBlocks => {
                                scheduler.push(alone(0));
                                other.begin_blocking(now);
                            }
                            EndsBlocking => other.end_blocking(),
                            Woken => {
                                scheduler.push(alone(0));
                                other.begin_short(now);
                            }
                        }
                        assert_eq!(&watchdog.does(), seen, "{what}: step {number}, time {time}");
                    }
                }
                scheduler.end();
            }
        },
        1,
    );
}

/// The watchdog may be woken at the very moment at which it stops ticking. Then it counts as woken and without work,
/// and the next worker can be woken.
#[test]
fn the_watchdog_is_woken_when_it_stops_ticking() {
    check("the last tick", || {
        let (scheduler, _) = world_of(2, 1);
        let now = sync::now();
        let Task::Poll(mut guard) = scheduler.arrive(1).next(&mut now.clone()) else { unreachable!("it is free") };
        let watchdog = Watched::start(&scheduler, 0, now);
        assert_eq!([(); 4].map(|()| watchdog.does()), [TICKS; 4]);
        watchdog.end_tick();
        scheduler.begin_shutdown();
        while watchdog.does() != TICKS {} // as after any wake-up, once more
        while watchdog.does() != Seen::Sleeps {}
        assert!(
            !guard.wait(now, |_, _| scheduler.others_are_awake()),
            "a worker that rests while it is marked as searching"
        );
        scheduler.end();
        assert_eq!(watchdog.does(), Seen::Exits);
    });
}

/// A connection that another thread pushes is ready, and wakes the poller.
#[test]
fn connections_from_outside_are_ready() {
    shuttle::check_random(
        || {
            let (scheduler, kernel) = world(Permits::new(1, 8, None));
            let mut worker = scheduler.arrive(0);
            let Task::Poll(mut guard) = scheduler.arrive(3).next(&mut sync::now()) else { unreachable!("free") };
            assert!(guard.wait(sync::now(), |_, _| scheduler.push_from_outside(alone(7))).is_empty());
            assert_eq!((kernel.state.lock().unwrap().1, scheduler.wakes(), scheduler.ready()), (true, 1, 1));
            assert!(matches!(worker.next(&mut sync::now()), Task::Serve(connection) if connection.client == 7));
        },
        1,
    );
}

/// After the end no worker takes connections from the queue, so a thread that pushes one gets it back. The end can come
/// while another thread has taken a called connection out of the table but not queued it yet.
#[test]
fn connections_pushed_after_the_end_are_returned() {
    type Push = fn(&Model) -> Vec<Connection>;
    let rows: [(&str, &[usize], Push); 2] = [
        ("pushed", &[0, 1, 2], |model| {
            model.scheduler.end();
            let drained = model.scheduler.drain().0;
            drained.into_iter().chain(model.scheduler.push_from_outside(alone(2))).collect()
        }),
        ("called", &[0, 1], |model| {
            let drained = RefCell::new(Vec::new());
            let end_meanwhile = |_: &mut Connection, _| {
                model.scheduler.end();
                drained.borrow_mut().extend(model.scheduler.drain().0);
            };
            let left = model.scheduler.call(&mut std::iter::once(model.links[1].token()), end_meanwhile);
            drained.into_inner().into_iter().chain(left).collect()
        }),
    ];
    for (what, all, push) in rows {
        shuttle::check_random(
            move || {
                let (model, _callees) = Model::new(1, 2, Behaviour::default());
                let mut left: Vec<usize> = push(&model).iter().map(|connection| connection.client).collect();
                left.sort();
                assert_eq!(left, all, "{what}");
                assert_eq!((model.scheduler.ready(), model.scheduler.table().parked()), (0, 0), "{what}");
            },
            1,
        );
    }
}

/// The statistics of a scheduler: polls, connections that wait for a permit, and rejected ones.
#[test]
fn statistics_match_what_happened() {
    shuttle::check_random(
        || {
            let (scheduler, _) = world(Permits::new(1, 3, None));
            let mut now = sync::now();
            for polls in 0..3 {
                assert_eq!(scheduler.polls(), polls);
                let Task::Poll(guard) = scheduler.arrive(0).next(&mut now) else { unreachable!("it is free") };
                guard.polled(now);
            }
            let [mut one, mut other] = [0, 1].map(|worker| scheduler.arrive(worker));
            assert!(one.acquire_permit(Work::Handler).is_some());
            for (client, waiting, refused) in [(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 3, 1), (4, 3, 2)] {
                // A full queue rejects at once only if its connections have waited for a while.
                let then = if refused > 0 { now + Duration::from_millis(200) } else { now };
                let (full, _) = other.await_permit(alone(client), Work::Handler, then);
                assert_eq!(full.is_some(), refused > 0, "client {client}");
                assert_eq!((scheduler.waiting(), scheduler.refused()), (waiting, refused), "client {client}");
            }
        },
        1,
    );
}

/// Any worker, here the polling one, is woken for waiting connections if that is worth it, and if a core is free or
/// turns are blocked. A worker that began to wait inside the poll less than 2 ms ago counts as using its core.
#[test]
fn another_worker_is_woken_if_needed() {
    const LONG: Duration = Duration::from_millis(1);
    const NS: Duration = Duration::from_nanos(1);
    shuttle::check_random(
        || {
            for (what, cores, turn, blocked, waiting, polls_for, woken) in [
                ("there is a core", 3, LONG, None, 1, 2 * LONG, true),
                ("it is that of one who will be back", 3, LONG, None, 1, 2 * LONG - NS, false),
                ("and one more", 4, LONG, None, 1, 2 * LONG - NS, true),
                ("there is none for a third", 2, LONG, None, 1, 2 * LONG, false),
                ("nor for a second", 1, LONG, None, 1, 2 * LONG, false),
                ("turns wait", 1, LONG, Some(LONG), 1, NS, true),
                ("nothing to do", 3, LONG, Some(LONG), 0, 2 * LONG, false),
                ("it is done sooner", 3, Duration::from_nanos(640), None, 1, 2 * LONG, false),
            ] {
                let kernel = Arc::new(Kernel::default());
                let poller = Poller { kernel: kernel.clone(), shut_down: false };
                let waker = KernelWaker(kernel.clone());
                let scheduler: World = Scheduler::new(poller, waker, 3, cores, Permits::new(1, 8, None));
                (0..1000).for_each(|_| scheduler.turn_took(turn, blocked));
                let mut worker = scheduler.arrive(0);
                let Task::Poll(mut guard) = worker.next(&mut sync::now()) else { unreachable!("it is free") };
                let since = sync::now();
                guard.wait(since, |_, _| {
                    for client in 0..waiting {
                        scheduler.push(alone(client));
                    }
                    scheduler.wake_for_need(since + polls_for);
                });
                assert_eq!((kernel.state.lock().unwrap().1, scheduler.wakes()), (woken, woken.into()), "{what}");
            }
        },
        1,
    );
}

/// Of workers whose handlers compute alone, those beyond the number of cores sleep, although others have connections,
/// unless turns are blocked. Own connections are served first. Such a worker ticks, and steps in like any watchdog. It
/// then works until the long handler has ended, or other clients would wait for another eight ticks after each turn.
#[test]
fn surplus_workers_sleep() {
    const LONG: Duration = Duration::from_millis(8);
    const NS: Duration = Duration::from_nanos(1);
    shuttle::check_random(
        || {
            for (what, alone, cores, blocked, runs, owner, does) in [
                ("only with a lock", false, 1, false, NS, 2, Seen::Serves(0)),
                ("a surplus worker", true, 1, false, NS, 2, TICKS),
                ("two compute, and one is surplus", true, 2, false, NS, 2, TICKS),
                ("all can compute", true, 3, false, NS, 2, Seen::Serves(0)),
                ("its own connection", true, 1, false, NS, 0, Seen::Serves(0)),
                ("turns wait", true, 1, true, NS, 2, Seen::Serves(0)),
                ("one computes for as long as the watchdog waits", true, 2, false, LONG, 2, TICKS),
                ("and for longer", true, 2, false, LONG + NS, 2, Seen::Serves(0)),
            ] {
                let kernel = Arc::new(Kernel::default());
                let poller = Poller { kernel: kernel.clone(), shut_down: false };
                let permits = Permits::new(1, 8, None);
                let mut scheduler: World = Scheduler::new(poller, KernelWaker(kernel), 3, cores, permits);
                scheduler.set_compute_alone(alone);
                let scheduler = Arc::new(scheduler);
                let Task::Poll(guard) = scheduler.arrive(2).next(&mut sync::now()) else { unreachable!("free") };
                let took = blocked.then_some(Duration::from_millis(1));
                (0..1000).for_each(|_| scheduler.turn_took(Duration::from_millis(1), took));
                scheduler.push_polled(owner, std::iter::once(self::alone(0)));
                let now = sync::now();
                let computing = scheduler.arrive(1);
                computing.begin_short(Instant::from_nanos(now.nanos() - runs.as_nanos() as u64));
                let worker = Watched::start(&scheduler, 0, now);
                assert_eq!(worker.does(), does, "{what}");
                computing.end_blocking();
                if does == TICKS {
                    (1..8).for_each(|_| assert_eq!(worker.does(), TICKS, "{what}"));
                    assert_eq!(worker.does(), Seen::Serves(0), "{what}: nobody has taken it for eight ticks");
                }
                scheduler.end();
                let last = std::iter::repeat_with(|| worker.does()).find(|does| *does != TICKS);
                assert_eq!(last, Some(Seen::Exits), "{what}");
                drop(guard);
            }
        },
        1,
    );
}

/// A worker keeps its permit while no connection waits for one, else the permit goes to the connection that waits
/// longest. Of two permits the better one is kept.
#[test]
fn permits_are_kept_passed_on_and_released() {
    shuttle::check_random(
        || {
            let (scheduler, _) = world(Permits::new(1, 8, None));
            let Task::Poll(poller) = scheduler.arrive(3).next(&mut sync::now()) else { unreachable!("it is free") };
            let [mut one, mut other, mut third] = [0, 1, 2].map(|worker| scheduler.arrive(worker));
            let now = sync::now();

            assert!(one.acquire_permit(Work::Handler).is_some() && other.acquire_permit(Work::Handler).is_none());
            assert!(!one.others_want_permits() && one.pass_on_permit().is_none());
            assert_eq!(scheduler.permits_taken(), 1, "a worker keeps its permit while no connection waits for one");
            assert!(matches!(other.await_permit(alone(0), Work::Handler, now), (None, None)));
            assert!(one.others_want_permits());
            assert_eq!(one.pass_on_permit().map(|next| next.client), Some(0));
            assert!(!one.others_want_permits() && one.acquire_permit(Work::Handler).is_some());
            assert_eq!(scheduler.permits_taken(), 1, "the permit stays with its worker");

            let drawn = |worker: &mut WorldWorker<'_>| match worker.next(&mut sync::now()) {
                Task::Serve(connection) => connection.client,
                _ => unreachable!("one is ready"),
            };
            assert!(other.acquire_permit(Work::Short).is_some());
            assert!(matches!(third.await_permit(alone(1), Work::Handler, now), (None, None)));
            drop(one);
            assert_eq!((drawn(&mut other), scheduler.permits_taken()), (1, 1), "only the permit for handlers is taken");
            assert!(third.acquire_permit(Work::Handler).is_none());

            let mut one = scheduler.arrive(0);
            assert!(one.acquire_permit(Work::Short).is_some());
            assert!(matches!(third.await_permit(alone(2), Work::Short, now), (None, None)));
            drop(one);
            assert_eq!(
                (drawn(&mut other), scheduler.permits_taken()),
                (2, 1),
                "only one permit is taken the second time"
            );
            assert!(third.acquire_permit(Work::Handler).is_none());

            other.begin_blocking(now);
            assert_eq!(scheduler.running(), 1);
            drop(other);
            assert_eq!(
                (scheduler.running(), scheduler.permits_taken()),
                (0, 0),
                "a worker that dies returns its permit"
            );
            drop(poller);
        },
        1,
    );
}

/// With a timeout, only the first connection in the queue wakes the poller, which has to observe the timeout.
#[test]
fn the_first_queue_deadline_wakes_the_poller() {
    const LONG: Duration = Duration::from_secs(10);
    shuttle::check_random(
        || {
            for (timeout, first, next) in [(None, false, false), (Some(LONG), true, false)] {
                let (scheduler, kernel) = world(Permits::new(1, 8, timeout));
                let mut one = scheduler.arrive(0);
                let Task::Poll(mut guard) = scheduler.arrive(3).next(&mut sync::now()) else { unreachable!("free") };
                guard.wait(sync::now(), |_, _| {
                    let wakes = |client| {
                        let waits = scheduler.arrive(1).await_permit(alone(client), Work::Handler, sync::now());
                        assert!(matches!(waits, (None, None)));
                        std::mem::take(&mut kernel.state.lock().unwrap().1)
                    };
                    assert!(one.acquire_permit(Work::Handler).is_some());
                    assert_eq!([wakes(0), wakes(1)], [first, next], "{timeout:?}");
                });
            }
        },
        1,
    );
}

/// The actions of an observed worker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    Ticks(Duration),
    Sleeps,
    Serves(usize),
    Polls,
    Exits,
}

const TICKS: Seen = Seen::Ticks(Duration::from_millis(1));

/// An observed worker reports its actions here. After each tick it waits for the test. Its clock is the sum of its
/// ticks.
struct Looker {
    seen: mpsc::Sender<Seen>,
    go_on: mpsc::Receiver<()>,
    clock: Cell<Instant>,
}

impl Looker {
    fn tell(&self, seen: Seen) {
        let _ = self.seen.send(seen); // the test may have ended
    }

    fn tick(&self, limit: Duration) {
        self.tell(Seen::Ticks(limit));
        let _ = self.go_on.recv();
        self.clock.set(self.clock.get() + limit);
    }
}

/// A worker in its own thread, until its first poll. Serving takes no time.
struct Watched {
    seen: mpsc::Receiver<Seen>,
    go_on: mpsc::Sender<()>,
    last: Cell<Option<Seen>>,
}

impl Watched {
    fn start(scheduler: &Arc<World>, me: usize, now: Instant) -> Watched {
        let ((tell, seen), (go_on, told)) = (mpsc::channel(), mpsc::channel());
        let scheduler = scheduler.clone();
        thread::spawn(move || {
            sync::look_at(Looker { seen: tell.clone(), go_on: told, clock: Cell::new(now) });
            let mut worker = scheduler.arrive(me);
            let mut does = || match worker.next(&mut sync::now()) {
                Task::Serve(connection) => Seen::Serves(connection.client),
                Task::Poll(_) | Task::PollNow(_) => Seen::Polls,
                Task::Exit => Seen::Exits,
            };
            loop {
                let seen = does();
                let is_the_last = matches!(seen, Seen::Polls | Seen::Exits);
                let _ = tell.send(seen);
                if is_the_last {
                    return;
                }
            }
        });
        Watched { seen, go_on, last: Cell::new(None) }
    }

    /// Ends a tick, and returns the next action of the worker.
    fn does(&self) -> Seen {
        self.end_tick();
        let seen = || self.seen.recv().expect("the other thread has ended");
        let mut next = seen();
        while next == Seen::Sleeps && self.last.get() == Some(Seen::Sleeps) {
            next = seen(); // a thread can wake up without a reason
        }
        self.last.set(Some(next));
        next
    }

    /// Ends a tick.
    fn end_tick(&self) {
        if let Some(Seen::Ticks(_)) = self.last.get() {
            self.last.set(None);
            self.go_on.send(()).expect("the other thread, which waits for this");
        }
    }
}

/// This many workers on this many cores, and the kernel of their poller.
fn world_of(workers: usize, cores: usize) -> (Arc<World>, Arc<Kernel>) {
    let kernel = Arc::new(Kernel::default());
    let poller = Poller { kernel: kernel.clone(), shut_down: false };
    let waker = KernelWaker(kernel.clone());
    (Arc::new(Scheduler::new(poller, waker, workers, cores, Permits::new(1, 8, None))), kernel)
}

/// Four workers on two cores, and the kernel of their poller.
fn world(permits: Permits<Connection>) -> (World, Arc<Kernel>) {
    let kernel = Arc::new(Kernel::default());
    let poller = Poller { kernel: kernel.clone(), shut_down: false };
    (Scheduler::new(poller, KernelWaker(kernel.clone()), 4, 2, permits), kernel)
}

/// A connection that is not in the table.
fn alone(client: usize) -> Connection {
    Connection { client, link: Link::alone(), readiness: Readiness::NONE, wants: None }
}

fn first((connection, _): (Connection, Readiness)) -> Connection {
    connection
}

/// Parking wakes the poller only if the deadline is earlier than the one for which it waits. Entries of removed
/// connections are used again.
#[test]
fn an_earlier_deadline_wakes_the_poller() {
    shuttle::check_random(
        || {
            let (model, _callees) = Model::new(1, 8, Behaviour::default());
            let table = model.scheduler.table();
            let mut connections = table.drain();
            assert_eq!(table.parked(), 0);
            let now = sync::now();
            let mut park = |seconds: u64| {
                let connection = connections.pop().expect("a connection to queue");
                let deadline = now + Duration::from_secs(seconds);
                let wait = Wait { deadline: Some(deadline), ..wait() };
                match table.park(connection.link.token(), connection, wait) {
                    Parked::Parked { wake } => wake,
                    Parked::Ready(..) => unreachable!("nothing came"),
                }
            };
            assert!(!park(90), "no worker waits in the poller, so none is woken");
            table.begin_wait();
            assert!(park(90), "the duration of the wait is not known yet");
            let waits = table.deadline().expect("a deadline that was reported") - now;
            assert!((Duration::from_secs(90)..Duration::from_millis(90_050)).contains(&waits), "{waits:?}");
            assert_eq!([park(90), park(91), park(80), park(70)], [false, false, true, true]);
            table.end_wait();
            assert!(!park(60), "no worker waits in the poller any more, so none is woken");
            assert_eq!(table.parked(), 7);
            assert_eq!(table.late(now + Duration::from_secs(75)).len(), 2);
            assert!(table.late(now + Duration::from_secs(75)).is_empty());
            assert!(
                table.deadline().expect("a deadline of the connection that is left") > now + Duration::from_secs(80)
            );
            let entries: HashSet<usize> = (0..10)
                .map(|_| {
                    let token = table.insert(|token| Arc::new(Link::new(token, None))).token();
                    table.remove(token);
                    assert!(table.event(token, READABLE).is_none());
                    token.to_usize() as u32 as usize
                })
                .collect();
            assert_eq!(entries.len(), 2, "one entry in each shard");
        },
        1,
    );
}

/// A shutdown from outside reaches each connection at any moment: parked, queued, or in a handler.
#[test]
fn a_shutdown_reaches_every_connection() {
    check("a shutdown", || {
        let (model, _callees) = Model::new(2, 3, Behaviour::default());
        let workers = model.start_workers(2);
        model.sockets[0].state.lock().unwrap().unread += 1;
        model.kernel.event(model.links[0].token());
        let stopping = model.clone();
        let shutdown = thread::spawn(move || stopping.scheduler.begin_shutdown());
        for socket in &model.sockets {
            let mut state = socket.state.lock().unwrap();
            while !state.closed {
                state = socket.answered.wait(state).unwrap();
            }
        }
        shutdown.join().unwrap();
        model.end(workers);
    });
}
