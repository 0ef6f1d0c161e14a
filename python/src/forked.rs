//! Processes that an application forks during a call (`os.fork()`). Such a process has the server's sockets, so it must
//! not return from the call: it would send a second response, and serve clients of its parent.

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::PyInt;

/// The process that has received a request.
pub struct Process(u32);

impl Process {
    pub fn current() -> Process {
        Process(std::process::id())
    }

    /// Ends the calling process, if it was forked since. The exit status is that of a Python program which ends with
    /// this result: `sys.exit()` sets the status, and other exceptions are printed.
    pub fn check<T>(&self, py: Python<'_>, result: &PyResult<T>) {
        if std::process::id() == self.0 {
            return;
        }
        let status = match result {
            Ok(_) => 0,
            Err(raised) if raised.is_instance_of::<PySystemExit>(py) => status_of_exit(py, raised),
            Err(raised) => {
                raised.print(py);
                1
            }
        };
        for name in ["stdout", "stderr"] {
            let _ = py.import("sys").and_then(|sys| sys.getattr(name)?.call_method0("flush"));
        }
        let _ = py.import("os").and_then(|os| os.call_method1("_exit", (status,)));
        std::process::abort(); // not reached: `os._exit` does not return
    }
}

/// Returns the status of a `SystemExit`, and prints its text if it has one.
pub fn status_of_exit(py: Python<'_>, exit: &PyErr) -> u8 {
    match exit.value(py).getattr("code") {
        Ok(code) if code.is_none() => 0,
        Ok(code) if code.is_instance_of::<PyInt>() => code.extract::<i64>().map_or(255, |code| (code & 255) as u8),
        Ok(text) => {
            // Written together with its line end, because several processes can do this at once.
            let line = text.str().map(|text| format!("{}\n", text.to_string_lossy()));
            let _ = line.and_then(|line| py.import("sys")?.getattr("stderr")?.call_method1("write", (line,)));
            1
        }
        Err(_) => 1,
    }
}
