//! Signals that shut a server down. Feature `signals`. It uses only the server's handle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::contain::contain;
use super::handle::ServerHandle;

/// Two signals within this time are one.
const REPEATED: Duration = Duration::from_micros(500);

impl ServerHandle {
    /// Shuts down at the first SIGINT (Ctrl-C) or SIGTERM: requests in progress are finished within the shutdown
    /// timeout. A second signal ends the process at once with status 0, because the signal handler itself ends it. A
    /// signal that follows within half a millisecond is the first one again: launchers such as `timeout` send two.
    ///
    /// SIGXFSZ no longer ends the process: a write beyond the file size limit (`RLIMIT_FSIZE`) fails, and the client
    /// gets 507.
    ///
    /// Call it once per process. It starts a thread that only waits for signals.
    ///
    /// ```no_run
    /// use modest::{Response, TcpServer, handler_fn};
    ///
    /// let server = TcpServer::bind("127.0.0.1:8000", handler_fn(|_| Ok(Response::text("Hello, World!"))))?;
    /// server.handle().shutdown_on_signals()?;
    /// server.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the signal handlers cannot be installed, or the thread cannot be started.
    pub fn shutdown_on_signals(&self) -> io::Result<()> {
        self.shutdown_on_signals_and(|_| {})
    }

    /// Does what [`shutdown_on_signals`](ServerHandle::shutdown_on_signals) does, and calls a function with the number
    /// of the signal. A panic of the function is logged.
    ///
    /// # Errors
    /// The errors of [`shutdown_on_signals`](ServerHandle::shutdown_on_signals).
    pub fn shutdown_on_signals_and(&self, call: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
        // A write beyond the file size limit then fails (EFBIG) and ends a request. By default it ends the process.
        flag::register(SIGXFSZ, Arc::default())?;
        let (early, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // Registered first: a handler checks `seen` before its own signal is reported, which sets `seen`.
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&seen))?;
            flag::register_usize(signal, Arc::clone(&early), signal as usize)?;
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = self.clone();
        let wait = move || {
            // A signal that has arrived before `signals` existed is only in `early`.
            let early = Some(early.load(SeqCst) as i32).filter(|signal| *signal != 0);
            if let Some(signal) = early.or_else(|| signals.forever().next()) {
                thread::sleep(REPEATED);
                seen.store(true, SeqCst); // the next signal ends the process, even if something blocks here
                handle.shutdown();
                contain("a function of `shutdown_on_signals_and`", || call(signal));
                signals.forever().for_each(drop); // keeps the handlers installed
            }
        };
        thread::Builder::new().name("modest-signals".into()).spawn(wait).map(drop)
    }
}
