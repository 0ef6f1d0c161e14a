//! A single worker, task by task: yielding its core, wake-ups before code that may block, and polls with too many
//! connections and with its listener. The other workers sleep, or are awake and do nothing.

use shuttle::Runner;
use shuttle::scheduler::RoundRobinScheduler;

use super::super::engine::{Engine, Plan as EnginePlan, Settings};
use super::super::handle::{Control, ServerHandle};
use super::super::listener::Listener;
use super::super::poller::Poller;
use super::super::scheduler::Task;
use super::super::workers::WorkerLoop;
use super::*;
use crate::run;
use crate::tcp::Address;

struct Worker<'a> {
    engine: &'a Arc<Engine>,
    known: Shared,
    worker: WorkerLoop<'a>,
    now: Instant,
}

/// The state of the other workers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Others {
    /// They are awake, without work.
    Awake,
    /// One of them ticks, and the others sleep.
    Tick,
    Sleep,
}

impl Worker<'_> {
    fn task(&mut self) {
        self.now = self.worker.task(self.now).expect("a worker that has not ended");
    }

    /// A client connects.
    fn connects(&self) -> usize {
        let id = with(|machine| machine.on_net(None, |net, chance| net.connect((1 << 16, 1 << 16), chance)));
        id.flatten().expect("space in the table")
    }

    /// This many clients connect and are accepted.
    fn meets(&mut self, count: usize) -> Vec<usize> {
        let mut meet = |_| {
            let client = self.connects();
            self.task();
            self.serves_all();
            client
        };
        let clients = (0..count).map(&mut meet).collect();
        assert_eq!(self.engine.scheduler.table().parked(), count, "all clients must be accepted and parked");
        clients
    }

    /// Serves all ready connections.
    fn serves_all(&mut self) {
        while self.engine.scheduler.ready() > 0 {
            self.task();
        }
    }

    fn sends(&self, id: usize) {
        let sent = with(|machine| machine.on_net(None, |net, chance| net.client_sends(id, b"x", chance)));
        assert_eq!(sent, Some(1));
    }

    fn sees(&self, id: usize) -> Read {
        with(|machine| machine.on_net(None, |net, _| net.client_reads(id, usize::MAX)))
    }

    /// Puts the other workers into this state. A woken worker takes one task and ends.
    fn others(&mut self, what: Others) {
        if what == Others::Awake {
            return;
        }
        let scheduler = &self.engine.scheduler;
        let Task::Poll(mut poller) = scheduler.arrive(1).next(&mut self.now) else { unreachable!("it is free") };
        for me in 1..WORKERS {
            let engine = self.engine.clone();
            shuttle::thread::spawn(move || {
                let mut now = super::super::sync::now();
                drop(engine.scheduler.arrive(me).next(&mut now));
            });
        }
        while poller.wait(self.now, |_, _| scheduler.others_are_awake()) {
            machine::switch();
        }
        if what == Others::Sleep {
            wait_until("nobody ticks any more", || {
                with(|machine| machine.advance(machine.nanos() + MS.as_nanos() as u64));
                with(|machine| machine.asleep()) == WORKERS - 1
            });
        }
    }

    /// Runs long handlers until a wake-up is worth it when no worker polls during a handler.
    fn has_long_handlers(&mut self, client: usize) {
        self.known.lock().unwrap().takes = 10 * MS;
        for _ in 0..100 {
            self.will(does(Action::Handle));
            self.sends(client);
            self.task();
            self.serves_all();
        }
        self.known.lock().unwrap().takes = Duration::ZERO;
    }

    fn will(&self, step: Step) {
        self.known.lock().unwrap().steps.push_back(step);
    }

    fn yields(&self) -> usize {
        with(|machine| machine.counts.yields)
    }
}

/// Makes the poll return without an event.
fn wake_poll() {
    with(|machine| machine.on_net(None, |net, _| net.wake()));
}

/// Runs the other threads until the condition holds.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let is_so = (0..10_000).any(|_| {
        machine::switch();
        is_so()
    });
    assert!(is_so, "{what}: {:#?}", machine::log_of_failure());
}

const WORKERS: usize = 4;

/// Runs a test with a worker on a separate machine.
fn worker(change: fn(&mut EnginePlan), test: impl Fn(&mut Worker<'_>) + Send + Sync + 'static) {
    run::prepare(); // sets the logger
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.failure_persistence = FailurePersistence::None;
    let test = move || {
        let mut chance = Chance::new(1);
        let mut plan = Plan::new(&mut chance);
        (plan.listeners, plan.faults, plan.accept_fails_from, plan.clock_step) = (1, Faults::default(), None, 1);
        (plan.descriptors, plan.max_connections, plan.clients) = (1000, 1000, Vec::new());
        machine::begin(plan, chance, true);
        let socket = ListeningSocket::from(OwnedFd::from(File::open("/dev/null").expect("/dev/null")));
        let listener = Listener::new(socket, Address::Inet(([127, 0, 0, 1], 80).into()), 128).made_here();
        let (poller, waker) = Poller::new(vec![listener]).expect("a poller and an engine");
        let known = Shared::default();
        let protocols: Vec<Arc<dyn Protocol>> = vec![Arc::new(Meets(known.clone()))];
        let settings = Settings {
            handlers: WORKERS - 3,
            queue_limit: 8,
            queue_timeout: None,
            send_limits: SendLimits { min_rate: None, write_timeout: Some(30 * SECOND) },
            max_streams: 1,
            max_per_address: None,
            max_live_per_address: None,
            slow_handler: None,
            stack_size: None,
        };
        let mut plan = EnginePlan { settings, cores: WORKERS, max_connections: 10, input_quota: None, max_live: 10 };
        change(&mut plan);
        let engine =
            Engine::new(poller, waker, protocols, ServerHandle::default(), &plan).expect("a poller and an engine");
        let engine = Arc::new(engine);
        let now = super::super::sync::now();
        let mut worker = Worker { engine: &engine, known, worker: WorkerLoop::new(&engine, 0), now };
        test(&mut worker);
        engine.end();
        drop(worker);
        drop(engine.drain());
    };
    Runner::new(RoundRobinScheduler::new(1), config).run(test);
}

#[test]
fn a_worker_yields_before_a_poll_unless_it_has_one_client() {
    for (others, sent, yields) in [
        (Others::Awake, 1, 1),
        (Others::Tick, 1, 0),
        (Others::Sleep, 0, 0),
        (Others::Sleep, 1, 0),
        (Others::Sleep, 2, 1),
        (Others::Sleep, 3, 1),
    ] {
        worker(
            |_| {},
            move |worker| {
                let clients = worker.meets(3);
                worker.others(others);
                wake_poll();
                clients.iter().take(sent).for_each(|client| worker.sends(*client));
                worker.task();
                worker.serves_all();
                let before = worker.yields();
                worker.sends(clients[0]);
                worker.task();
                assert_eq!(worker.yields() - before, yields, "{sent} were found, the others: {others:?}");
            },
        );
    }
}

#[test]
fn a_worker_yields_after_a_millisecond_of_turns() {
    for (takes, yields) in [(MS, 0), (MS + Duration::from_nanos(1), 1)] {
        worker(
            |_| {},
            move |worker| {
                let clients = worker.meets(1);
                worker.others(Others::Sleep);
                worker.known.lock().unwrap().takes = takes;
                let before = worker.yields();
                worker.sends(clients[0]);
                worker.task();
                assert_eq!(worker.yields() - before, yields, "after {takes:?}");
            },
        );
    }
}

/// If the polling worker only ticks, another one is woken before a handler, if handlers take long and other connections
/// could wait for it. It is also woken before a logger.
#[test]
fn another_worker_is_woken_before_long_blocking_work() {
    type Will = fn(&mut Known);
    let rows: [(&str, usize, Will, u64); 6] = [
        ("a handler for one of two", 2, |known| known.steps.push_back(does(Action::Handle)), 1),
        ("a handler for one alone", 1, |known| known.steps.push_back(does(Action::Handle)), 0),
        ("short work", 2, |known| known.steps.push_back(does(Action::Brief)), 0),
        ("nothing that may block", 2, |known| known.steps.push_back(does(idle())), 0),
        ("an error is logged", 1, |known| known.steps.push_back(does(idle()).saying(&[0; 1 << 17])), 1),
        (
            "a panic is reported",
            1,
            |known| {
                known.drop_panics = true;
                known.steps.push_back(does(Action::Abort));
            },
            1,
        ),
    ];
    for (what, clients, will, woken) in rows {
        worker(
            |_| {},
            move |worker| {
                let clients = worker.meets(clients);
                worker.has_long_handlers(clients[0]);
                worker.others(Others::Tick);
                will(&mut worker.known.lock().unwrap());
                with(|machine| machine.plan.faults.register = 1000); // a connection that can't be registered is closed
                let before = worker.engine.scheduler.wakes();
                worker.sends(clients[0]);
                worker.task();
                assert_eq!(worker.engine.scheduler.wakes() - before, woken, "{what}");
                worker.known.lock().unwrap().drop_panics = false;
            },
        );
    }
}

#[test]
fn a_connection_over_the_address_limit_is_reset() {
    worker(
        |plan| plan.settings.max_per_address = Some(1),
        |worker| {
            let first = worker.meets(1)[0];
            let second = worker.connects();
            worker.task();
            assert_eq!(worker.sees(second), Read::Reset(Cause::Asked));
            assert_eq!((worker.sees(first), worker.engine.per_address.refused()), (Read::Nothing, 1));
        },
    );
}

#[test]
fn poll_warnings_are_logged_after_waking_another_worker() {
    worker(
        |plan| plan.max_connections = 1,
        |worker| {
            let first = worker.meets(1)[0];
            worker.has_long_handlers(first);
            worker.others(Others::Tick);
            let before = worker.engine.scheduler.wakes();
            worker.connects();
            worker.task();
            assert_eq!(worker.engine.scheduler.wakes() - before, 1);
            assert_eq!(worker.engine.scheduler.running(), 0, "a handler still runs");
            let log = machine::log_of_failure();
            assert!(log.iter().any(|line| line.contains("log: no room for more clients")), "{log:#?}");
        },
    );
}

#[test]
fn listeners_are_closed_ten_milliseconds_after_a_shutdown_begins() {
    worker(
        |_| {},
        |worker| {
            worker.meets(1);
            worker.engine.begin_shutdown();
            worker.task();
            worker.serves_all();
            for (pass, closed) in [(10 * MS - Duration::from_nanos(1), false), (Duration::from_nanos(1), true)] {
                with(|machine| machine.advance(machine.nanos() + pass.as_nanos() as u64));
                wake_poll();
                worker.task();
                worker.serves_all();
                let is_closed = with(|machine| machine.net.is_closed(0));
                assert_eq!(is_closed, closed, "{pass:?} later");
            }
        },
    );
}

/// The stream itself, in its own thread, sees the shutdown. After its end the connection is ready for the engine again.
#[test]
fn a_stream_sees_a_shutdown_and_lingers_in_the_engine() {
    worker(
        |_| {},
        |worker| {
            let client = worker.meets(1)[0];
            let (engine, seen) = (worker.engine.clone(), Arc::new(Mutex::new(Vec::new())));
            let sees = seen.clone();
            worker.known.lock().unwrap().streams = Some(Box::new(move |stream| {
                sees.lock().unwrap().push(stream.is_shutting_down());
                engine.begin_shutdown();
                sees.lock().unwrap().push(stream.is_shutting_down());
            }));
            worker.will(does(Action::Take));
            worker.sends(client);
            worker.task();
            wait_until("its thread has ended", || worker.engine.taken.count() == 0);
            wait_until("it is back", || worker.engine.scheduler.ready() == 1);
            assert_eq!(*seen.lock().unwrap(), [false, true]);
            worker.serves_all();
            assert_eq!(worker.sees(client), Read::End);
        },
    );
}

/// The server ends while another thread has taken connections out of the table to call them. They are cut off, all
/// before anything of them is dropped. The drops are not in the caller's thread, unless there is no other one.
#[test]
fn connections_called_during_the_end_are_cut_off() {
    for (threads, panics) in [(true, false), (true, true), (false, false), (false, true)] {
        worker(
            |_| {},
            move |worker| {
                (0..2).for_each(|_| worker.will(does(Action::read(Stage(1), None))));
                let clients = worker.meets(2);
                let (caller, seen) = (machine::me(), Arc::new(Mutex::new(Vec::new())));
                let (sees, read) = (seen.clone(), clients.clone());
                {
                    let mut known = worker.known.lock().unwrap();
                    known.drop_panics = panics;
                    known.drops = Some(Arc::new(move || {
                        let is_reset = |id| matches!(with(|machine| machine.net.client_reads(id, 1)), Read::Reset(_));
                        sees.lock().unwrap().push((machine::me() == caller, read.iter().all(|id| is_reset(*id))));
                    }));
                }
                with(|machine| machine.plan.faults.spawn = if threads { 0 } else { 1000 });
                let wakers = std::mem::take(&mut worker.known.lock().unwrap().wakers);
                worker.engine.end();
                assert_eq!(Waker::wake_all(&wakers), wakers.len(), "every waker must reach its connection");
                wait_until("both are dropped", || seen.lock().unwrap().len() == 2);
                let dropped = (!threads, true);
                assert_eq!(*seen.lock().unwrap(), [dropped; 2], "threads: {threads}, panics: {panics}");
                worker.known.lock().unwrap().drops = None;
            },
        );
    }
}
