//! Threads that keep their state in the interpreter while they live. `Python::attach` alone creates a new state for
//! each call from a thread that Python does not know. That costs more than a small application, and loses what
//! `threading.local` has stored, such as Django's connections to its database.

use std::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::ffi;
use pyo3::prelude::*;

/// A thread's state, which is created at first use and deleted with the thread.
struct ThreadState {
    state: ffi::PyGILState_STATE,
    saved: *mut ffi::PyThreadState,
}

/// The number of threads with a state.
static STATES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STATE: ThreadState = ThreadState::new();
}

impl ThreadState {
    fn new() -> ThreadState {
        STATES.fetch_add(1, Relaxed);
        // SAFETY: the interpreter is initialized, because this is one of its modules. This thread is not attached,
        // because it belongs to the server. It is attached once more than it is detached, so its state stays.
        unsafe {
            let state = ffi::PyGILState_Ensure();
            Python::attach(set_tools);
            ThreadState { state, saved: ffi::PyEval_SaveThread() }
        }
    }
}

/// Sets the functions of `threading.settrace` and `threading.setprofile` for this thread, as a thread of Python does at
/// its start. Coverage, debuggers and profilers use them.
fn set_tools(py: Python<'_>) {
    for (hook, set) in [("_trace_hook", "settrace"), ("_profile_hook", "setprofile")] {
        if let Err(raised) = set_tool(py, hook, set) {
            raised.write_unraisable(py, None);
        }
    }
}

/// `hook`: its name in the module `threading`. There are functions that return it, but not in Python 3.9.
fn set_tool(py: Python<'_>, hook: &str, set: &str) -> PyResult<()> {
    let tool = py.import("threading")?.getattr_opt(hook)?.filter(|tool| !tool.is_none());
    let Some(tool) = tool else { return Ok(()) };
    py.import("sys")?.call_method1(set, (tool,)).map(drop)
}

impl Drop for ThreadState {
    fn drop(&mut self) {
        // SAFETY: a thread ends detached, and the interpreter still runs: `serve` waits for its threads.
        unsafe {
            if ffi::Py_IsInitialized() != 0 {
                ffi::PyEval_RestoreThread(self.saved);
                ffi::PyGILState_Release(self.state);
            }
        }
        STATES.fetch_sub(1, Release);
    }
}

/// The number of server threads that are in the interpreter or wait for it.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// The number of iterables that continue after their responses were sent.
static FINISHING: AtomicUsize = AtomicUsize::new(0);

/// Counts while it exists.
pub struct Counted(&'static AtomicUsize);

impl Counted {
    fn by(count: &'static AtomicUsize) -> Counted {
        count.fetch_add(1, Relaxed);
        Counted(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Counts an iterable that continues after its response was sent.
pub fn finishing() -> Counted {
    Counted::by(&FINISHING)
}

/// Runs this in the interpreter, in a thread of the server. It waits for the interpreter, so it is called with a
/// permit.
pub fn attached<R>(work: impl FnOnce(Python<'_>) -> R) -> R {
    STATE.with(|_| {});
    let _running = Counted::by(&RUNNING);
    let begun = Instant::now();
    Python::attach(|py| {
        modest::waited_for_lock(begun.elapsed());
        work(py)
    })
}

/// The number of servers that run, or whose threads are awaited.
static SERVERS: AtomicUsize = AtomicUsize::new(0);

/// Runs a server, in a thread that is not attached. If it is the only one, this also waits for the end of its threads:
/// they delete their states with their last code, which must not meet the end of the interpreter. Calls that the
/// shutdown timeout has cut off have this time to return, and their iterables have it to be closed. Calls that are
/// still running then are abandoned. Iterables whose responses were sent can continue for this long; `None`: without a
/// limit.
pub fn with_threads<R>(limit: Option<Duration>, serve: impl FnOnce() -> R) -> R {
    SERVERS.fetch_add(1, Relaxed);
    let served = serve();
    let begun = Instant::now();
    let are_left = || STATES.load(Acquire) > 0 && SERVERS.load(Relaxed) == 1;
    let is_finishing = || FINISHING.load(Relaxed) > 0 && limit.is_none_or(|limit| begun.elapsed() < limit);
    while are_left() && (begun.elapsed() < UNTIL_THREADS_END || is_finishing()) {
        thread::sleep(Duration::from_millis(1));
    }
    SERVERS.fetch_sub(1, Relaxed);
    served
}

/// The time in which threads can end after their server.
const UNTIL_THREADS_END: Duration = Duration::from_secs(1);

/// Returns the number of calls that still run. The interpreter must not be finalized before they end: it would end
/// their threads in the middle of the server's code.
#[pyfunction]
pub fn running() -> usize {
    RUNNING.load(Relaxed)
}
