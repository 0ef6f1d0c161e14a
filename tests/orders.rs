//! The memory order in the scheduler. The test compiles the scheduler's own files with `loom`, which tries the effects
//! of weak memory.
//!
//! A thread that is about to wait publishes this, fences, and looks for work. A thread that creates work publishes it,
//! fences, and looks for waiting threads. Locks, atomics and threads are loom's here. Each SeqCst access is weakened to
//! Release and Acquire, and the length of a queue is an atomic beside its lock, so only the fences give the order. The
//! test then removes each fence, and a model must fail. Each run of a model tries at most three preemptions;
//! `ORDERS_PREEMPTIONS=4 cargo test --release --test orders` tries more.

#[allow(dead_code, unused_imports, reason = "only the engine uses them")]
#[path = "../src/tcp/clock.rs"]
mod clock;
#[allow(dead_code, unused_imports, reason = "the model has no clock and no engine")]
#[path = "../src/tcp/scheduler/mod.rs"]
mod scheduler;

/// The names that `scheduler` imports.
mod sync {
    use std::cell::RefCell;
    use std::collections::{BTreeSet, VecDeque};
    use std::panic::Location;
    pub use std::sync::PoisonError;
    pub use std::sync::atomic::AtomicU64; // counters that order nothing
    use std::time::Duration;

    pub use super::clock::Instant;

    use loom::sync::atomic as weak;
    pub use loom::sync::{Mutex, MutexGuard};
    pub use loom::thread::{Thread, current, park};
    pub use weak::Ordering;

    pub const SHARDS: usize = 2;

    /// Locks, and ignores poisoning.
    pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now() -> Instant {
        Instant::from_nanos(1_000_000_000)
    }

    /// There is no time in this model: a timeout expires at once.
    pub fn park_timeout(_limit: Duration) {}

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

    thread_local! {
        /// The places of the fences so far, and the one to leave out.
        static FENCES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
        static LEFT_OUT: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    #[track_caller]
    pub fn fence(order: Ordering) {
        let place = Location::caller();
        let file = place.file().rsplit("src/tcp/").next().unwrap_or_default();
        let place = format!("{file}:{}", place.line());
        if LEFT_OUT.with_borrow(|left_out| left_out.as_ref() == Some(&place)) {
            return;
        }
        FENCES.with_borrow_mut(|fences| fences.insert(place));
        weak::fence(order);
    }

    /// The fences that this thread has passed so far.
    pub fn fences() -> BTreeSet<String> {
        FENCES.with_borrow(Clone::clone)
    }

    /// Disables this fence in this thread from now on.
    pub fn leave_out(fence: &str) {
        LEFT_OUT.set(Some(fence.to_owned()));
    }

    fn loads(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst { Ordering::Acquire } else { order }
    }

    fn stores(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst { Ordering::Release } else { order }
    }

    fn both(order: Ordering) -> Ordering {
        if order == Ordering::SeqCst { Ordering::AcqRel } else { order }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            #[derive(Debug, Default)]
            pub struct $name(weak::$name);

            #[allow(dead_code, reason = "not needed of each")]
            impl $name {
                pub fn new(value: $value) -> $name {
                    $name(weak::$name::new(value))
                }

                #[track_caller]
                pub fn load(&self, order: Ordering) -> $value {
                    self.0.load(loads(order))
                }

                #[track_caller]
                pub fn store(&self, value: $value, order: Ordering) {
                    self.0.store(value, stores(order));
                }

                #[track_caller]
                pub fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.0.swap(value, both(order))
                }

                #[track_caller]
                pub fn compare_exchange(
                    &self,
                    old: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.0.compare_exchange(old, new, both(success), loads(failure))
                }

                #[track_caller]
                pub fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_or(value, both(order))
                }

                #[track_caller]
                pub fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                    self.0.fetch_and(value, both(order))
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicU8, u8);
    atomic!(AtomicU32, u32);
    atomic!(AtomicUsize, usize);

    impl AtomicUsize {
        pub fn fetch_min(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_min(value, both(order))
        }

        pub fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_add(value, both(order))
        }

        pub fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            self.0.fetch_sub(value, both(order))
        }

        pub fn fetch_update(
            &self,
            success: Ordering,
            failure: Ordering,
            change: impl FnMut(usize) -> Option<usize>,
        ) -> Result<usize, usize> {
            self.0.fetch_update(both(success), loads(failure), change)
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

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use scheduler::{
    Eviction, Link, Parked, Patience, Permits, PollWaker, PollerGuard, Readiness, Scheduler, Task, Wait, Work,
};

const READABLE: Readiness = Readiness { readable: true, ..Readiness::NONE };

/// Wakes the thread that waits inside the poll, or the next one that does.
#[derive(Clone, Default)]
struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl PollWaker for Bell {
    fn wake(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Bell {
    fn wait(&self) {
        let mut rung = self.0.0.lock().unwrap();
        while !*rung {
            rung = self.0.1.wait(rung).unwrap();
        }
        *rung = false;
    }
}

type World = Scheduler<u32, (), Bell>;

fn world(handlers: usize) -> (Arc<World>, Bell) {
    let bell = Bell::default();
    let permits = Permits::new(handlers, 8, Some(Duration::from_secs(1)));
    (Arc::new(Scheduler::new((), bell.clone(), 2, 1, permits)), bell)
}

/// Takes the poller forever.
fn take_poller(world: &World) {
    match world.arrive(1).next(&mut sync::now()) {
        Task::Poll(guard) => std::mem::forget(guard),
        _ => unreachable!("it is free"),
    }
}

/// Waits inside the poll, as the engine does, until a wake-up. Returns how long it was allowed to wait.
fn poll(guard: &mut PollerGuard<'_, u32, (), Bell>, bell: &Bell, not_now: impl Fn() -> bool) -> Patience {
    guard.wait(sync::now(), |(), patience| {
        if patience == Patience::Until(None) && !not_now() {
            bell.wait();
        }
        patience
    })
}

/// Runs a thread that polls, and at the same time another thread that runs `other`. The first must not wait forever.
fn a_poll_beside(world: &Arc<World>, bell: &Bell, other: impl FnOnce(Arc<World>)) {
    let seen = world.clone();
    a_poll_unless(world, bell, move || seen.is_shutting_down(), other);
}

/// Like `a_poll_beside`, but the poll does not wait under this condition.
fn a_poll_unless(
    world: &Arc<World>,
    bell: &Bell,
    not_now: impl Fn() -> bool + 'static,
    other: impl FnOnce(Arc<World>),
) {
    let (mine, bell) = (world.clone(), bell.clone());
    let polling = thread::spawn(move || {
        // Any other task shows that it has already found the result of the other thread.
        let Task::Poll(mut guard) = mine.arrive(0).next(&mut sync::now()) else { return };
        poll(&mut guard, &bell, not_now);
        std::mem::forget(guard);
    });
    other(world.clone());
    polling.join().unwrap();
}

/// Runs a worker without work, and at the same time another thread that runs `other`. The worker must find the work.
fn idle_beside(world: &Arc<World>, other: impl FnOnce(Arc<World>)) {
    let mine = world.clone();
    let idle = thread::spawn(move || match mine.arrive(0).next(&mut sync::now()) {
        Task::Poll(guard) | Task::PollNow(guard) => std::mem::forget(guard),
        Task::Serve(_) | Task::Exit => {}
    });
    other(world.clone());
    idle.join().unwrap();
}

fn wait() -> Wait {
    let interest = Readiness { called: true, ..READABLE };
    Wait { interest, deadline: None, eviction: Eviction::Never, shutdown_seen: false }
}

/// All models, by name.
const MODELS: [(&str, fn()); 15] = [
    ("a call beside a poll", || {
        let (world, bell) = world(1);
        let link = world.table().insert(|token| Arc::new(Link::new(token, None)));
        assert!(matches!(world.table().park(link.token(), 7, wait()), Parked::Parked { .. }));
        a_poll_beside(&world, &bell, move |world| {
            assert!(world.call(&mut std::iter::once(link.token()), |_, _| {}).is_empty());
        });
    }),
    ("a connection that waits for a permit beside a poll", || {
        let (world, bell) = world(0);
        a_poll_beside(&world, &bell, |world| {
            assert!(matches!(world.arrive(1).await_permit(7, Work::Handler, sync::now()), (None, None)));
        });
    }),
    ("an earlier deadline beside a poll", || {
        let (world, bell) = world(1);
        let link = world.table().insert(|token| Arc::new(Link::new(token, None)));
        a_poll_beside(&world, &bell, move |world| {
            let wait = Wait { deadline: Some(sync::now() + Duration::from_secs(1)), ..wait() };
            assert!(world.park(link.token(), 7, wait).is_none());
        });
    }),
    ("a shutdown beside a poll", || {
        let (world, bell) = world(1);
        a_poll_beside(&world, &bell, |world| world.begin_shutdown());
    }),
    ("the end beside a poll", || {
        let (world, bell) = world(1);
        a_poll_beside(&world, &bell, |world| world.end());
    }),
    ("room that is freed beside a poll", || {
        let (world, bell) = world(1);
        let freed = Arc::new(AtomicBool::new(false)); // as the engine's `room_freed`
        let seen = freed.clone();
        a_poll_unless(
            &world,
            &bell,
            move || seen.load(Ordering::Acquire),
            |world| {
                freed.store(true, Ordering::Release);
                world.wake_poller();
            },
        );
    }),
    ("a worker that blocks beside one that polls, with a connection left in the queue", || {
        let (world, bell) = world(1);
        a_poll_beside(&world, &bell, |world| {
            world.push(7);
            world.arrive(1).begin_blocking(sync::now());
        });
    }),
    ("a worker that blocks beside an idle one, with a connection left in the queue", || {
        let (world, _bell) = world(1);
        take_poller(&world);
        idle_beside(&world, |world| {
            world.push(7);
            world.arrive(1).begin_blocking(sync::now());
        });
    }),
    ("a worker that blocks beside one that polls, with connections left that it has polled", || {
        let (world, bell) = world(1);
        a_poll_beside(&world, &bell, |world| {
            world.push_polled(1, [7, 8].into_iter());
            world.arrive(1).begin_blocking(sync::now());
        });
    }),
    ("a worker that blocks beside an idle one, with a connection left that it has polled", || {
        let (world, _bell) = world(1);
        take_poller(&world);
        idle_beside(&world, |world| {
            world.push_polled(1, [7].into_iter());
            world.arrive(1).begin_blocking(sync::now());
        });
    }),
    ("a worker that blocks beside an idle one, with the poller left free", || {
        let (world, _bell) = world(1);
        let mut worker = world.arrive(1);
        let Task::Poll(guard) = worker.next(&mut sync::now()) else { unreachable!("it is free") };
        idle_beside(&world, |_| {
            drop(guard);
            worker.begin_blocking(sync::now());
        });
    }),
    ("the end beside an idle worker", || {
        let (world, _bell) = world(1);
        take_poller(&world);
        idle_beside(&world, |world| world.end());
    }),
    ("a worker that blocks beside an idle one and another wake, with a connection left in the queue", || {
        let (world, _bell) = world(1);
        take_poller(&world);
        idle_beside(&world, |world| {
            let waking = world.clone();
            let waking = thread::spawn(move || waking.begin_shutdown());
            world.push(7);
            world.arrive(1).begin_blocking(sync::now());
            waking.join().unwrap();
        });
    }),
    ("a push from outside beside the end", || {
        let (world, _bell) = world(1);
        take_poller(&world);
        let returning = world.clone();
        let stream = thread::spawn(move || returning.push_from_outside(7).len());
        world.end();
        let drained = world.drain().0.len();
        assert_eq!(drained + stream.join().unwrap(), 1, "the queued connection is returned exactly once");
    }),
    ("calls that are coalesced", || {
        let link = Arc::new(Link::new(scheduler::Token::from_usize(0), None));
        let written = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let callers: Vec<_> = (0..2)
            .map(|me| {
                let (link, written) = (link.clone(), written.clone());
                thread::spawn(move || {
                    written[me].store(true, Ordering::Relaxed);
                    link.note_call();
                })
            })
            .collect();
        let mut seen = [false; 2];
        let mut tell = |link: &Link| {
            if link.take_call() {
                (0..2).for_each(|of| seen[of] |= written[of].load(Ordering::Relaxed));
            }
        };
        tell(&link);
        tell(&link);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        tell(&link);
        assert_eq!(seen, [true; 2], "data written before a call must be visible after it");
    }),
];

/// Runs one model without this fence, and prints the fences that it passed.
fn check(model: usize, left_out: Option<&str>) {
    left_out.iter().for_each(|fence| sync::leave_out(fence));
    let mut builder = loom::model::Builder::new();
    let preemptions =
        std::env::var("ORDERS_PREEMPTIONS").map(|count| count.parse().expect("ORDERS_PREEMPTIONS must be a number"));
    builder.preemption_bound = Some(preemptions.unwrap_or(3));
    builder.check(MODELS[model].1);
    println!("{}", Vec::from_iter(sync::fences()).join(" "));
}

/// Runs one model in another process, because a failing model can abort it. Returns the fences that it passed. `None`:
/// it failed.
fn fences_met(model: usize, left_out: Option<&str>) -> Option<Vec<String>> {
    let mut process = Command::new(std::env::current_exe().expect("the path of this program"));
    process.arg(format!("model={model}")).args(left_out);
    let ran = process.output().expect("a process for the model");
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    ran.status.success().then(|| told.split_whitespace().map(str::to_owned).collect())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(model) = arguments.get(1).and_then(|argument| argument.strip_prefix("model=")) {
        return check(model.parse().expect("the number of the model"), arguments.get(2).map(String::as_str));
    }
    let mut superfluous = BTreeSet::new();
    let mut uses = Vec::new();
    for (model, (name, _)) in MODELS.iter().enumerate() {
        let fences = fences_met(model, None).unwrap_or_else(|| panic!("{name}: fails with all fences"));
        println!("{name}: holds");
        superfluous.extend(fences.iter().cloned());
        uses.extend(fences.into_iter().map(|fence| (model, fence)));
    }
    for (model, fence) in uses {
        // A fence is needed if one model fails without it. Models that pass without it take the longest.
        if superfluous.contains(&fence) && fences_met(model, Some(&fence)).is_none() {
            println!("{}: fails without the fence in {fence}", MODELS[model].0);
            superfluous.remove(&fence);
        }
    }
    assert!(superfluous.is_empty(), "nothing fails without the fences in {superfluous:?}");
}
