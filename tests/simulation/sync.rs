//! Locks, atomics, threads, the clock and the queue of the simulated machine, with the names of `src/tcp/sync.rs`.
//! Before each operation that others can see, another thread may run. Memory is sequentially consistent here;
//! `tests/orders.rs` checks its order.

use std::collections::VecDeque;
use std::io;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic as real;
use std::sync::{LockResult, TryLockError};
pub use std::sync::{OnceLock, PoisonError};
pub use std::thread::panicking;
use std::time::{self, Duration};

pub use real::Ordering;

pub use super::clock::Instant;
use crate::machine::{self, FOR_EVER, Key, note, switch, with};

pub const SHARDS: usize = 4;

/// The time. Reading it takes some time.
pub fn now() -> Instant {
    with(|machine| {
        let step = machine.chance.below(machine.plan.clock_step);
        let now = machine.nanos() + step;
        machine.advance(now);
        machine::instant(now)
    })
}

/// The time in the type of users.
pub fn to_std(at: Instant) -> time::Instant {
    static BEGINNING: OnceLock<time::Instant> = OnceLock::new();
    *BEGINNING.get_or_init(time::Instant::now) + Duration::from_nanos(at.nanos())
}

pub fn from_std(at: time::Instant) -> Instant {
    Instant::from_nanos(0) + at.saturating_duration_since(to_std(Instant::from_nanos(0)))
}

pub fn thread_time() -> Duration {
    with(|machine| Duration::from_nanos(machine.nanos() / 100 * machine.plan.busy_percent))
}

pub fn cores() -> usize {
    with(|machine| machine.plan.cores)
}

pub fn sleep(limit: Duration) {
    with(|machine| machine.counts.engine_sleeps += 1);
    machine::sleep(limit);
    with(|machine| machine.counts.engine_sleeps -= 1);
}

pub fn spawn(name: String, _stack: Option<usize>, code: impl FnOnce() + Send + 'static) -> io::Result<()> {
    if with(|machine| machine.happens(machine.plan.faults.spawn)) {
        return Err(rustix::io::Errno::AGAIN.into());
    }
    with(|machine| machine.counts.workers += 1);
    let worker = move || {
        note!("{name} begins");
        let died = catch_unwind(AssertUnwindSafe(code)).is_err();
        note!("{name} ends");
        with(|machine| {
            machine.counts.workers -= 1;
            machine.counts.deaths += usize::from(died);
            machine.wake(Key::Counts);
        });
    };
    shuttle::thread::spawn(worker);
    Ok(())
}

/// Unit tests are not runs of the simulation.
pub fn test(code: impl Fn() + Send + Sync + 'static) {
    code();
}

/// A handle to unpark a thread.
#[derive(Clone, Debug)]
pub struct Thread(usize);

pub fn current() -> Thread {
    Thread(machine::me())
}

impl Thread {
    pub fn unpark(&self) {
        switch();
        note!("unparks {}", self.0);
        with(|machine| {
            machine.tokens[self.0] = true;
            machine.wake(Key::Park(self.0));
        });
    }
}

/// A handle to check whether a thread runs.
#[derive(Debug)]
pub struct ThreadId(usize);

pub fn thread_id() -> ThreadId {
    ThreadId(machine::me())
}

impl ThreadId {
    /// Whether it could run, because it does not wait.
    pub fn is_runnable(&self) -> bool {
        with(|machine| machine.is_runnable(self.0))
    }
}

pub fn park() {
    park_until(FOR_EVER);
}

pub fn yield_now() {
    with(|machine| machine.counts.yields += 1);
    shuttle::thread::yield_now();
}

pub fn park_timeout(limit: Duration) {
    park_until(machine::after(limit));
}

fn park_until(until: u64) {
    switch();
    let me = machine::me();
    note!("parks until {:.6}", until as f64 / 1e9);
    // It may return without a reason.
    if !with(|machine| machine.tokens[me] || machine.happens(10)) {
        machine::wait(Key::Park(me), until);
    }
    with(|machine| machine.tokens[me] = false);
    note!("goes on");
}

#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

pub struct MutexGuard<'a, T> {
    guard: Option<std::sync::MutexGuard<'a, T>>,
    mutex: &'a Mutex<T>,
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Mutex<T> {
        Mutex(std::sync::Mutex::new(value))
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        switch();
        machine::count_lock();
        loop {
            match self.0.try_lock() {
                Ok(guard) => return Ok(MutexGuard { guard: Some(guard), mutex: self }),
                Err(TryLockError::Poisoned(err)) => {
                    return Ok(MutexGuard { guard: Some(err.into_inner()), mutex: self });
                }
                Err(TryLockError::WouldBlock) => machine::wait(self.key(), FOR_EVER),
            }
        }
    }

    pub fn get_mut(&mut self) -> LockResult<&mut T> {
        self.0.get_mut()
    }

    fn key(&self) -> Key {
        Key::Lock(std::ptr::from_ref(self).addr())
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("a guard that is held until it is dropped")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("a guard that is held until it is dropped")
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.guard = None;
        machine::wake(self.mutex.key());
    }
}

/// Locks, and ignores poisoning.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Locks, unless another thread has the lock.
pub fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    switch();
    let guard = match mutex.0.try_lock() {
        Err(TryLockError::Poisoned(err)) => Some(err.into_inner()),
        locked => locked.ok(),
    };
    guard.map(|guard| MutexGuard { guard: Some(guard), mutex })
}

/// Waits for a notification, for up to this time.
pub fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>, limit: Option<Duration>) -> MutexGuard<'a, T> {
    let until = limit.map_or(FOR_EVER, machine::after);
    condition.wait_until(guard, until).unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
pub struct Condvar(u8);

impl Condvar {
    /// Wakes all threads: each checks whether there is something for it.
    pub fn notify_one(&self) {
        self.notify_all();
    }

    pub fn notify_all(&self) {
        switch();
        with(|machine| machine.wake(self.key()));
    }

    pub fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        limit: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let until = machine::after(limit);
        while condition(&mut guard) {
            if with(|machine| machine.nanos() >= until) {
                return Ok((guard, true));
            }
            guard = self.wait_until(guard, until).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, false))
    }

    fn wait_until<'a, T>(&self, guard: MutexGuard<'a, T>, until: u64) -> LockResult<MutexGuard<'a, T>> {
        let mutex = guard.mutex;
        drop(guard); // no other thread runs between this and the wait
        if !with(|machine| machine.happens(10)) {
            machine::wait(self.key(), until);
        }
        mutex.lock()
    }

    fn key(&self) -> Key {
        Key::Condvar(std::ptr::from_ref(self).addr())
    }
}

/// Does nothing: memory is sequentially consistent here.
pub fn fence(_order: Ordering) {}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub struct $name(real::$name);

        impl $name {
            pub fn new(value: $value) -> $name {
                $name(real::$name::new(value))
            }

            pub fn load(&self, _order: Ordering) -> $value {
                switch();
                self.0.load(Ordering::SeqCst)
            }

            pub fn store(&self, value: $value, _order: Ordering) {
                switch();
                self.0.store(value, Ordering::SeqCst);
            }

            #[allow(dead_code, reason = "not needed of each")]
            pub fn swap(&self, value: $value, _order: Ordering) -> $value {
                switch();
                self.0.swap(value, Ordering::SeqCst)
            }

            #[allow(dead_code, reason = "not needed of each")]
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                _success: Ordering,
                _failure: Ordering,
            ) -> Result<$value, $value> {
                switch();
                self.0.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst)
            }

            #[allow(dead_code, reason = "not needed of each")]
            pub fn fetch_or(&self, value: $value, _order: Ordering) -> $value {
                switch();
                self.0.fetch_or(value, Ordering::SeqCst)
            }

            #[allow(dead_code, reason = "not needed of each")]
            pub fn fetch_and(&self, value: $value, _order: Ordering) -> $value {
                switch();
                self.0.fetch_and(value, Ordering::SeqCst)
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);
atomic!(AtomicUsize, usize);

impl AtomicUsize {
    pub fn fetch_min(&self, value: usize, _order: Ordering) -> usize {
        switch();
        self.0.fetch_min(value, Ordering::SeqCst)
    }

    pub fn fetch_add(&self, value: usize, _order: Ordering) -> usize {
        switch();
        self.0.fetch_add(value, Ordering::SeqCst)
    }

    pub fn fetch_sub(&self, value: usize, _order: Ordering) -> usize {
        switch();
        self.0.fetch_sub(value, Ordering::SeqCst)
    }

    pub fn fetch_update(
        &self,
        _success: Ordering,
        _failure: Ordering,
        change: impl FnMut(usize) -> Option<usize>,
    ) -> Result<usize, usize> {
        switch();
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
    }
}

/// Counters and clocks, which only influence early wake-ups: no thread is switched for them.
#[derive(Debug, Default)]
pub struct AtomicU64(real::AtomicU64);

impl AtomicU64 {
    pub fn new(value: u64) -> AtomicU64 {
        AtomicU64(real::AtomicU64::new(value))
    }

    pub fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    pub fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }
}

pub struct Queue<T>(std::sync::Mutex<VecDeque<T>>);

impl<T> Queue<T> {
    pub fn new() -> Queue<T> {
        Queue(std::sync::Mutex::new(VecDeque::new()))
    }

    pub fn push(&self, item: T) {
        self.at_once(|queue| queue.push_back(item));
    }

    pub fn pop(&self) -> Option<T> {
        self.at_once(VecDeque::pop_front)
    }

    fn at_once<R>(&self, action: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        switch();
        action(&mut self.0.try_lock().expect("a lock of the simulation, in which one thread runs at a time"))
    }
}
