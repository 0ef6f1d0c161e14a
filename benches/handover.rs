//! The cost of passing a request on: from the poller to the ready queue, to a worker, to a permit, and back into the
//! table. It uses the scheduler's own files, without sockets. Clients send their next request at once, and the length
//! of a turn is an argument.
//!
//! `cargo bench --bench handover`; on a busy machine put `chrt -f 10` in front of the built program.

#[allow(dead_code, unused_imports, reason = "what only the engine needs")]
#[path = "../src/tcp/clock.rs"]
mod clock;
#[path = "../src/cores.rs"]
mod cores;
#[allow(dead_code, reason = "what only the engine needs")]
#[path = "../src/mutex.rs"]
mod mutex;
#[allow(dead_code, unused_imports, reason = "what only the engine needs")]
#[path = "../src/tcp/scheduler/mod.rs"]
mod scheduler;
#[allow(dead_code, unused_imports, reason = "what only the engine needs")]
#[path = "../src/tcp/sync.rs"]
mod sync;

/// The part of the system that `sync` needs: its clock, and threads whose state is unknown.
mod sys {
    use rustix::time::{ClockId, clock_gettime};

    #[derive(Debug)]
    pub struct ThreadId;

    pub fn thread_id() -> ThreadId {
        ThreadId
    }

    #[allow(dead_code, reason = "only the engine asks")]
    impl ThreadId {
        pub fn is_runnable(&self) -> bool {
            false
        }
    }

    pub fn monotonic_nanos() -> u64 {
        let time = clock_gettime(ClockId::Monotonic);
        time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
    }
}

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use scheduler::{
    Eviction, Link, Patience, Permits, PollWaker, PollerGuard, RESERVED, Readiness, Scheduler, Task, Wait,
};
use scheduler::{Work, Worker};
use sync::Instant;

const CLIENTS: usize = 256;
const ROUND: Duration = Duration::from_millis(150);
const ROUNDS: usize = 7;

/// Whether a client has sent its next request, on a separate cache line.
#[repr(align(128))]
struct Asks(AtomicBool);

struct Connection {
    client: usize,
    link: Arc<Link>,
}

/// The clients that have sent a request. A poll never waits for long.
struct Poller;

struct Bell(Arc<AtomicBool>);

impl PollWaker for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

type World = Scheduler<Connection, Poller, Bell>;

struct Model {
    scheduler: World,
    asks: Vec<Asks>,
    links: Vec<Arc<Link>>,
    rung: Arc<AtomicBool>,
    turn: Duration,
    served: AtomicU64,
}

const READABLE: Readiness = Readiness { readable: true, ..Readiness::NONE };

fn wait(now: Instant) -> Wait {
    let interest = Readiness { called: true, ..READABLE };
    Wait { interest, deadline: None, eviction: Eviction::Idle(now), shutdown_seen: false }
}

impl Model {
    fn new(threads: usize, turn: Duration) -> Model {
        let rung = Arc::new(AtomicBool::new(false));
        let permits = Permits::new(16, 1024, None);
        assert!(threads <= 16 + RESERVED);
        let scheduler = Scheduler::new(Poller, Bell(rung.clone()), threads, threads, permits);
        let asks = (0..CLIENTS).map(|_| Asks(AtomicBool::new(true))).collect();
        let links: Vec<_> =
            (0..CLIENTS).map(|_| scheduler.table().insert(|token| Arc::new(Link::new(token, None)))).collect();
        for (client, link) in links.iter().enumerate() {
            let connection = Connection { client, link: link.clone() };
            assert!(scheduler.park(link.token(), connection, wait(sync::now())).is_none());
        }
        Model { scheduler, asks, links, rung, turn, served: AtomicU64::new(0) }
    }

    fn work(&self, me: usize) -> Duration {
        let mut worker = self.scheduler.arrive(me);
        let mut served = 0;
        let mut now = sync::now();
        loop {
            match worker.next(&mut now) {
                Task::Serve(connection) => {
                    self.serve(&mut worker, connection, now);
                    served += 1;
                }
                Task::Poll(guard) => now = self.poll(&mut worker, me, guard, now, true),
                Task::PollNow(guard) => now = self.poll(&mut worker, me, guard, now, false),
                Task::Exit => break,
            }
        }
        self.served.fetch_add(served, Ordering::Relaxed);
        sync::thread_time()
    }

    fn poll(
        &self,
        worker: &mut Worker<'_, Connection, Poller, Bell>,
        me: usize,
        mut guard: PollerGuard<'_, Connection, Poller, Bell>,
        now: Instant,
        may_wait: bool,
    ) -> Instant {
        let mut asking = Vec::with_capacity(CLIENTS);
        if may_wait {
            guard.wait(now, |_, patience| {
                self.look(&mut asking);
                while asking.is_empty() && patience != Patience::None && !self.rung.swap(false, Ordering::AcqRel) {
                    spin_loop();
                    self.look(&mut asking);
                }
            });
        } else {
            self.look(&mut asking);
        }
        let now = sync::now();
        guard.polled(now);
        let mut catch = Vec::with_capacity(asking.len());
        {
            let table = self.scheduler.table();
            catch.extend(asking.iter().filter_map(|&client| table.event(self.links[client].token(), READABLE)));
        }
        if may_wait {
            worker.polled(asking.len());
        }
        self.scheduler.push_polled(me, catch.into_iter().map(|(connection, _)| connection));
        drop(guard);
        self.scheduler.wake_for_need(now);
        now
    }

    fn look(&self, asking: &mut Vec<usize>) {
        let who = self.asks.iter().enumerate().filter(|(_, asks)| asks.0.load(Ordering::Relaxed));
        asking.extend(who.map(|(client, asks)| {
            asks.0.store(false, Ordering::Relaxed);
            client
        }));
    }

    /// Like a turn of the engine: a handler, and back into the table. The client sends its next request at once.
    fn serve(&self, worker: &mut Worker<'_, Connection, Poller, Bell>, connection: Connection, now: Instant) {
        assert!(worker.acquire_permit(Work::Handler).is_some(), "a permit for each connection");
        worker.begin_blocking(now);
        if !self.turn.is_zero() {
            let until = sync::now() + self.turn;
            while sync::now() < until {
                spin_loop();
            }
        }
        worker.end_blocking();
        // The usual length of a turn of HTTP, so that workers are woken as in the engine.
        self.scheduler.turn_took(self.turn.max(Duration::from_micros(5)), None);
        let (client, token) = (connection.client, connection.link.token());
        let parked = self.scheduler.park(token, connection, wait(now));
        assert!(parked.is_none(), "an event arrived in the meantime");
        self.asks[client].0.store(true, Ordering::Relaxed);
        assert!(worker.pass_on_permit().is_none(), "a connection waits for a permit");
    }
}

/// One round: requests per second, and ns of processor time for each.
fn round(threads: usize, turn: Duration) -> (f64, f64) {
    let model = Model::new(threads, turn);
    let began = sync::now();
    let cpu: Duration = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|me| {
                scope.spawn({
                    let model = &model;
                    move || model.work(me)
                })
            })
            .collect();
        std::thread::sleep(ROUND);
        model.scheduler.end();
        workers.into_iter().map(|worker| worker.join().expect("a worker")).sum()
    });
    let served = model.served.load(Ordering::Relaxed) as f64;
    (served / (sync::now() - began).as_secs_f64(), cpu.as_nanos() as f64 / served)
}

fn main() {
    println!("| a turn takes | threads | requests a second | further CPU of a request, ns |");
    println!("| --- | --- | --- | --- |");
    for micros in [0, 1, 5] {
        for threads in 1..=sync::cores().min(8) {
            let turn = Duration::from_micros(micros);
            let mut rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| round(threads, turn)).collect();
            rounds.sort_by(|one, other| one.1.total_cmp(&other.1));
            let (rate, cpu) = rounds[ROUNDS / 2];
            let besides = |cpu: f64| (cpu - turn.as_nanos() as f64).max(0.0);
            let (least, most) = (besides(rounds[0].1), besides(rounds[ROUNDS - 1].1));
            println!("| {micros} µs | {threads} | {rate:.0} | {:.0} ({least:.0} to {most:.0}) |", besides(cpu));
        }
    }
}
