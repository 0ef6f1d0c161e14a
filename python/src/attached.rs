//! Threads that keep their state in the interpreter for as long as they live. `Python::attach` alone makes a new one for each call of
//! a thread that Python does not know: that costs more than a small application, and forgets what `threading.local` has stored,
//! such as Django's connections to its database.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use pyo3::ffi;
use pyo3::prelude::*;

/// A thread's state, which is made at first use and deleted with the thread.
struct ThreadState {
    state: ffi::PyGILState_STATE,
    saved: *mut ffi::PyThreadState,
}

thread_local! {
    static STATE: ThreadState = ThreadState::new();
}

impl ThreadState {
    fn new() -> ThreadState {
        // SAFETY: the interpreter is initialized, for this is a module of its; and this thread is not attached, as it is one of
        // the server's. It is attached once more than it is detached, so its state stays.
        unsafe {
            let state = ffi::PyGILState_Ensure();
            ThreadState { state, saved: ffi::PyEval_SaveThread() }
        }
    }
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
    }
}

/// How many threads of servers are in the interpreter, or wait for it.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

struct Running;

impl Running {
    fn begin() -> Running {
        RUNNING.fetch_add(1, Relaxed);
        Running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Relaxed);
    }
}

/// Runs this in the interpreter, on a thread of the server. It waits for the interpreter, so it is called with a permit.
pub fn attached<R>(work: impl FnOnce(Python<'_>) -> R) -> R {
    STATE.with(|_| {});
    let _running = Running::begin();
    Python::attach(work)
}

/// How many calls are still running. The interpreter must not be finalized while there are some: it would end their threads amid
/// the code of the server.
#[pyfunction]
pub fn running() -> usize {
    RUNNING.load(Relaxed)
}
