//! Background work: named threads that a server counts, stops at its shutdown and waits for, and queues of jobs for
//! them. Started by `server` and `handle`. Independent of connections: the server reports when the last one has ended.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::contain::{Contained, catch, contain};
use super::sync::{self, Condvar, Instant, Mutex, lock};

/// Signals the shutdown to a background thread: [`TcpServer::background`](crate::TcpServer::background). Clones share
/// it.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stage: Stage,
    threads: HashMap<u64, String>,
    calls: HashMap<u64, (Stage, Call)>, // with the stage that calls them when it begins
    entered: u64,
}

type Call = Contained<Arc<dyn Fn() + Send + Sync>>;

/// The stages of a server, in order.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Serving,
    /// The shutdown has begun. Requests in progress can still need background work.
    Stopping,
    /// No request is in progress, or the shutdown timeout has passed. No further thread is started.
    Closed,
    /// Waiting for threads has ended.
    Over,
}

/// How long threads have at least to end after the last request: those that wait for jobs learn of it only then.
const UNTIL_THREADS_END: Duration = Duration::from_secs(1);

impl Stop {
    /// Returns whether the shutdown has begun. The thread should then end soon.
    pub fn is_set(&self) -> bool {
        self.has_reached(Stage::Stopping)
    }

    /// Waits for this time, or until the shutdown begins. Returns whether to continue: `while stop.wait(MINUTE) { ..
    /// }`.
    pub fn wait(&self, time: Duration) -> bool {
        // `None`: without a limit.
        self.wait_while(sync::now().checked_add(time), |state| state.stage == Stage::Serving);
        !self.is_set()
    }

    /// Sets a function that is called when the shutdown begins, or at once if it has begun. Dropping the returned value
    /// removes it. The function can wake a thread that waits for something else, such as a socket. It must not block.
    pub fn on_stop(&self, call: impl Fn() + Send + Sync + 'static) -> OnStop {
        self.on(Stage::Stopping, call)
    }

    fn on(&self, stage: Stage, call: impl Fn() + Send + Sync + 'static) -> OnStop {
        let call =
            Contained::new("dropping a function of `Stop::on_stop`", Arc::new(call) as Arc<dyn Fn() + Send + Sync>);
        let mut state = lock(&self.0.state);
        state.entered += 1;
        let number = state.entered;
        state.calls.insert(number, (stage, call.clone()));
        let has_begun = state.stage >= stage;
        drop(state);
        if has_begun {
            call();
        }
        OnStop { stop: self.clone(), number }
    }

    fn has_reached(&self, stage: Stage) -> bool {
        lock(&self.0.state).stage >= stage
    }

    /// Starts a thread that the server counts and waits for.
    pub(super) fn start(&self, name: String, work: impl FnOnce(&Stop) + Send + 'static) -> io::Result<()> {
        let at_work = self.enter(&name)?;
        sync::spawn(name.clone(), None, move || {
            let result = catch("a background thread", || work(&at_work.stop));
            if let Err(panicked) = result {
                panicked.named(&name).log();
            }
            drop(TAKERS.take()); // before the thread ends, because they can be the last owners of jobs
        })
    }

    fn enter(&self, name: &str) -> io::Result<AtWork> {
        let mut state = lock(&self.0.state);
        if state.stage >= Stage::Closed {
            return Err(io::Error::other(format!("the server has shut down: {name} is not started")));
        }
        state.entered += 1;
        let number = state.entered;
        state.threads.insert(number, name.to_owned());
        Ok(AtWork { stop: self.clone(), number })
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.0.state).threads.len()
    }

    /// Records that the shutdown has begun.
    pub(crate) fn set(&self) {
        self.reach(Stage::Stopping);
    }

    pub(super) fn abandon(&self) {
        self.reach(Stage::Over);
    }

    /// Returns a value that ends all waits for threads when it is dropped. Its owner is the server.
    pub(crate) fn abandoned_at_end(&self) -> AbandonedAtEnd {
        AbandonedAtEnd(self.clone())
    }

    fn reach(&self, stage: Stage) {
        let mut state = lock(&self.0.state);
        let before = state.stage;
        if before >= stage {
            return;
        }
        state.stage = stage;
        let is_due = |at: &Stage| before < *at && *at <= stage;
        let due = state.calls.iter().filter(|(_, (at, _))| is_due(at));
        let numbers: Vec<u64> = due.map(|(number, _)| *number).collect();
        drop(state);
        self.0.changed.notify_all();
        for number in numbers {
            let call = lock(&self.0.state).calls.get(&number).cloned(); // `None` if it has been dropped
            if let Some((_, call)) = call
                && let Err(panicked) = catch("a call at the shutdown", &**call)
            {
                panicked.log();
            }
        }
    }

    /// Called when the last request has ended, or the shutdown timeout has passed. Waits until all threads have ended,
    /// up to this time (`None`: without a limit), but for at least a second. Logs the names of threads that are
    /// still running.
    pub(crate) fn wait_for_threads(&self, until: Option<Instant>) {
        self.set();
        self.reach(Stage::Closed);
        let until = until.map(|until| until.max(sync::now() + UNTIL_THREADS_END));
        self.wait_while(until, |state| !state.threads.is_empty() && state.stage < Stage::Over);
        let mut names: Vec<String> = lock(&self.0.state).threads.values().cloned().collect();
        names.sort();
        for name in names {
            let warn = || log::warn!("the thread {name} is still running after the server has exited");
            contain("a logger", warn);
        }
    }

    fn wait_while(&self, until: Option<Instant>, goes_on: impl Fn(&State) -> bool) {
        let mut state = lock(&self.0.state);
        while goes_on(&state) {
            let left = until.map(|until| until.saturating_duration_since(sync::now()));
            if left == Some(Duration::ZERO) {
                return;
            }
            state = sync::wait(&self.0.changed, state, left);
        }
    }
}

/// The end of a server, whether it has served or not. Its background threads do not continue without it.
pub(crate) struct AbandonedAtEnd(Stop);

impl Drop for AbandonedAtEnd {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// The entry of a thread. Dropped when the thread ends, or could not be started.
struct AtWork {
    stop: Stop,
    number: u64,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        lock(&self.stop.0.state).threads.remove(&self.number);
        self.stop.0.changed.notify_all();
    }
}

/// A function that is called at the beginning of the shutdown ([`Stop::on_stop`]). Dropping this value removes it.
#[must_use = "is called only until this is dropped"]
pub struct OnStop {
    stop: Stop,
    number: u64,
}

impl Drop for OnStop {
    fn drop(&mut self) {
        let call = lock(&self.stop.0.state).calls.remove(&self.number);
        drop(call); // without the lock
    }
}

/// A bounded queue of jobs. Handlers add them, and [background threads](crate::TcpServer::background) take them. Clones
/// share it.
///
/// ```
/// use modest::background::Jobs;
/// use modest::{OrStatus, Request, Response, Result, Routes, TcpServer};
///
/// struct Mails(Jobs<String>);
///
/// impl Mails {
///     fn add(&self, request: &Request) -> Result<Response> {
///         self.0.push(request.text()?.into_owned()).or_status(503)?; // too many wait
///         Ok(Response::new(202))
///     }
/// }
///
/// let jobs = Jobs::new(1000);
/// let app = Routes::new().post("/mails", Mails::add).with_state(Mails(jobs.clone()));
/// let server = TcpServer::bind("127.0.0.1:0", app)?.background("mails", move |stop| {
///     jobs.for_each(stop, |mail| println!("sent: {mail}"));
/// });
/// # drop(server);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Jobs<T>(Arc<SharedJobs<T>>);

struct SharedJobs<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
    limit: usize,
}

struct Queue<T> {
    jobs: VecDeque<T>,
    /// The `Stop` of each thread that takes jobs, until the thread ends. Its lock is taken while the queue is locked.
    takers: Vec<Stop>,
    /// Whether there has been such a thread.
    had_takers: bool,
    /// Whether the number of jobs that are not done has been logged.
    is_logged: bool,
}

thread_local! {
    /// The queues from which this thread takes jobs.
    static TAKERS: RefCell<Vec<(TakerAddresses, Box<dyn Any>)>> = const { RefCell::new(Vec::new()) };
}

/// The addresses of a queue and of the `Stop` for which its jobs are taken.
type TakerAddresses = (usize, usize);

/// A thread that takes jobs from a queue, until this value is dropped.
struct Taker<T> {
    jobs: Jobs<T>,
    stop: Stop,
    _at_end: OnStop,
}

impl<T> Queue<T> {
    /// Returns whether a thread takes jobs whose server has not closed.
    fn has_open_takers(&self) -> bool {
        self.takers.iter().any(|stop| !stop.has_reached(Stage::Closed))
    }

    /// Returns the number of jobs, if there are any, and it has not been logged.
    fn take_unlogged(&mut self) -> Option<usize> {
        let is_due = !self.jobs.is_empty() && !std::mem::replace(&mut self.is_logged, true);
        is_due.then_some(self.jobs.len())
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        if let Some(left) = self.take_unlogged() {
            let warn = || log::warn!("{left} queued jobs were not done when their queue was dropped");
            contain("a logger", warn);
        }
        for job in self.jobs.drain(..) {
            contain("dropping a job that no thread has taken", || drop(job));
        }
    }
}

impl<T> Drop for Taker<T> {
    fn drop(&mut self) {
        let mut queue = lock(&self.jobs.0.queue);
        let this_thread = queue.takers.iter().position(|stop| Arc::ptr_eq(&stop.0, &self.stop.0));
        this_thread.map(|at| queue.takers.swap_remove(at));
        if !queue.takers.is_empty() {
            return;
        }
        if self.stop.has_reached(Stage::Closed) {
            drop(queue);
            return self.jobs.log_end();
        }
        let left = queue.jobs.len();
        queue.is_logged |= left > 0;
        drop(queue);
        if left > 0 || !self.stop.is_set() {
            let error = || {
                log::error!("the last thread for a queue of jobs has ended: {left} jobs wait, and no more are accepted")
            };
            contain("a logger", error);
        }
    }
}

/// A job that was not accepted, because the queue is full or its threads have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refused<T>(pub T);

impl<T> Jobs<T> {
    /// Creates a queue for up to this many jobs.
    ///
    /// # Panics
    /// If the limit is 0.
    pub fn new(limit: usize) -> Jobs<T> {
        assert!(limit > 0, "a queue needs room for at least one job");
        let queue = Queue { jobs: VecDeque::new(), takers: Vec::new(), had_takers: false, is_logged: false };
        Jobs(Arc::new(SharedJobs { queue: Mutex::new(queue), changed: Condvar::default(), limit }))
    }

    /// Adds a job. It does not wait.
    ///
    /// # Errors
    /// Returns the job if the queue is full, or if no thread that has taken jobs takes more: each has returned or
    /// panicked, or the last request of its server has ended. An error is logged if the last thread ends while its
    /// server serves. A new thread that takes jobs opens the queue again. Before the first one, jobs are accepted.
    pub fn push(&self, job: T) -> Result<(), Refused<T>> {
        let mut queue = lock(&self.0.queue);
        if queue.had_takers && !queue.has_open_takers() || queue.jobs.len() >= self.0.limit {
            return Err(Refused(job));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Calls this function with each job, until there are no more: see [`next`](Jobs::next). A panic in it is logged,
    /// and ends only its job.
    pub fn for_each(&self, stop: &Stop, mut work: impl FnMut(T))
    where
        T: Send + 'static,
    {
        while let Some(job) = self.next(stop) {
            contain("the function for a job", || work(job));
        }
    }

    /// Waits for the next job. A panic before the next call ends the thread ([`for_each`](Jobs::for_each) contains it).
    /// During a shutdown it still returns queued jobs, and those that requests in progress add. After the last request
    /// has ended, or at the [timeout](crate::TcpServer::shutdown_timeout), no further job is accepted, and it returns
    /// the rest of the jobs and then `None`. If threads of another server take jobs from the same queue, the rest stays
    /// there for them. A warning has the number of jobs that are not done when the server exits.
    ///
    /// A response must not wait for this thread to end: the thread waits for the last response, so the shutdown would
    /// last until its timeout. A [`Sender`](crate::live::Sender) that a thread keeps between
    /// jobs should belong to a body that [ends at a shutdown](crate::live::ChannelOptions::ends_at_shutdown).
    pub fn next(&self, stop: &Stop) -> Option<T>
    where
        T: Send + 'static,
    {
        self.register(stop);
        let jobs = self.clone();
        let wake = move || {
            drop(lock(&jobs.0.queue)); // a thread that has checked its `Stop` holds the lock until it waits
            jobs.0.changed.notify_all();
        };
        let _registered = stop.on(Stage::Closed, wake);
        let mut queue = lock(&self.0.queue);
        loop {
            let is_closed = stop.has_reached(Stage::Closed);
            if is_closed && queue.has_open_takers() {
                self.0.changed.notify_one(); // this thread may have been woken for a job
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if is_closed {
                return None;
            }
            queue = sync::wait(&self.0.changed, queue, None);
        }
    }

    /// Counts this thread, once, until it ends.
    fn register(&self, stop: &Stop)
    where
        T: Send + 'static,
    {
        let addresses = (Arc::as_ptr(&self.0).addr(), Arc::as_ptr(&stop.0).addr());
        if TAKERS.with_borrow(|takers| takers.iter().any(|(known, _)| *known == addresses)) {
            return;
        }
        let mut queue = lock(&self.0.queue);
        (queue.had_takers, queue.is_logged) = (true, false);
        queue.takers.push(stop.clone());
        drop(queue);
        let jobs = self.clone();
        let at_end = stop.on(Stage::Over, move || jobs.log_end());
        let taker = Taker { jobs: self.clone(), stop: stop.clone(), _at_end: at_end };
        TAKERS.with_borrow_mut(|takers| takers.push((addresses, Box::new(taker))));
    }

    /// Called when a server has ended, or the last thread after it. Logs the number of jobs that are not done.
    fn log_end(&self) {
        let mut queue = lock(&self.0.queue);
        let left = if queue.has_open_takers() { None } else { queue.take_unlogged() };
        drop(queue);
        if let Some(left) = left {
            let warn = || log::warn!("{left} queued jobs were not done when their server ended");
            contain("a logger", warn);
        }
    }

    /// Returns the number of queued jobs.
    pub fn len(&self) -> usize {
        lock(&self.0.queue).jobs.len()
    }

    /// Returns whether no job is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Jobs<T> {
    fn clone(&self) -> Jobs<T> {
        Jobs(Arc::clone(&self.0))
    }
}

impl<T> fmt::Display for Refused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue of jobs is full or closed")
    }
}

opaque!(Refused<T>);

impl<T> std::error::Error for Refused<T> {}

opaque!(Jobs<T> { len() });

opaque!(Stop { is_set() });

opaque!(OnStop);
