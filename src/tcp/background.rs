//! Background work: named threads that a server counts, stops at its shutdown and waits for, and queues of jobs for
//! them. Started by `server` and `handle`. Independent of connections: the server reports when the last one has ended.

use std::cell::{Cell, RefCell};
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
    calls: HashMap<u64, (Stage, Call)>, // with the stage at whose beginning they are called
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
    /// No request is in progress, or the shutdown timeout has passed. No thread is started any more.
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
            let takers = TAKERS.take(); // dropped before the thread ends, because they can be the last owners of jobs
            if let Err(panicked) = result {
                panicked.named(&name).log();
                takers.iter().for_each(|(_, taker)| taker.fail());
            }
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

    /// Returns the number of threads.
    pub(super) fn count(&self) -> usize {
        lock(&self.0.state).threads.len()
    }

    /// Records that the shutdown has begun.
    pub(crate) fn set(&self) {
        self.reach(Stage::Stopping);
    }

    /// Ends all waits for threads.
    pub(super) fn abandon(&self) {
        self.reach(Stage::Over);
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

    /// Called when no request is in progress any more, or the shutdown timeout has passed. Waits until all threads have
    /// ended, up to this time (`None`: without a limit), but for at least a second. Logs the names of threads that are
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
    closed: bool,
    /// The number of threads that take jobs, until they end.
    takers: usize,
    /// Whether the last of them has panicked.
    is_abandoned: bool,
}

thread_local! {
    /// The queues from which this thread takes jobs, by their addresses.
    static TAKERS: RefCell<Vec<(usize, Box<dyn Taker>)>> = const { RefCell::new(Vec::new()) };
}

/// A thread that takes jobs from a queue, until this is dropped.
trait Taker {
    /// Called if the thread has panicked.
    fn fail(&self);
}

struct TakerOf<T> {
    jobs: Jobs<T>,
    has_failed: Cell<bool>,
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        for job in self.jobs.drain(..) {
            contain("dropping a job that no thread has taken", || drop(job));
        }
    }
}

impl<T> Taker for TakerOf<T> {
    fn fail(&self) {
        self.has_failed.set(true);
    }
}

impl<T> Drop for TakerOf<T> {
    fn drop(&mut self) {
        let mut queue = lock(&self.jobs.0.queue);
        queue.takers -= 1;
        queue.is_abandoned |= self.has_failed.get() && queue.takers == 0 && !queue.closed;
        let (is_abandoned, left) = (queue.is_abandoned, queue.jobs.len());
        drop(queue);
        if is_abandoned {
            log::error!("the last thread for a queue of jobs has panicked: {left} jobs wait, and no more are accepted");
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
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), closed: false, takers: 0, is_abandoned: false });
        Jobs(Arc::new(SharedJobs { queue, changed: Condvar::default(), limit }))
    }

    /// Adds a job. It does not wait.
    ///
    /// # Errors
    /// Returns the job if the queue is full, if the last request of the server has ended, or if the last thread that
    /// took jobs has panicked. A new thread that takes jobs ends that.
    pub fn push(&self, job: T) -> Result<(), Refused<T>> {
        let mut queue = lock(&self.0.queue);
        if queue.closed || queue.is_abandoned || queue.jobs.len() >= self.0.limit {
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
    /// During a shutdown it still returns queued jobs, and those that requests in progress add.
    /// After the last request has ended, or at the [timeout](crate::TcpServer::shutdown_timeout), no further job is
    /// accepted, and it returns the rest of the jobs and then `None`.
    ///
    /// A response must not wait for this thread to end: the thread waits for the last response, so the shutdown would
    /// last until its timeout. A [`Sender`](crate::live::Sender) that a thread keeps between
    /// jobs should belong to a body that [ends at a shutdown](crate::live::ChannelOptions::ends_at_shutdown).
    pub fn next(&self, stop: &Stop) -> Option<T>
    where
        T: Send + 'static,
    {
        self.register();
        let jobs = self.clone();
        let wake = move || {
            lock(&jobs.0.queue).closed = true; // a thread that has checked it holds the lock until it waits
            jobs.0.changed.notify_all();
        };
        let _registered = stop.on(Stage::Closed, wake);
        let mut queue = lock(&self.0.queue);
        queue.closed |= stop.has_reached(Stage::Closed);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = sync::wait(&self.0.changed, queue, None);
        }
    }

    /// Counts this thread, once, until it ends.
    fn register(&self)
    where
        T: Send + 'static,
    {
        let address = Arc::as_ptr(&self.0).addr();
        TAKERS.with_borrow_mut(|takers| {
            if !takers.iter().any(|(known, _)| *known == address) {
                let mut queue = lock(&self.0.queue);
                (queue.takers, queue.is_abandoned) = (queue.takers + 1, false);
                drop(queue);
                takers.push((address, Box::new(TakerOf { jobs: self.clone(), has_failed: Cell::new(false) })));
            }
        });
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
