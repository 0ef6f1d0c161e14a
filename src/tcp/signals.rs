//! Signals that shut a server down. Behind the feature `signals`; calls nothing but the server's handle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::handle::ServerHandle;

impl ServerHandle {
    /// Shut down at the first SIGINT (Ctrl-C) or SIGTERM: requests in hand are finished, within the shutdown timeout.
    /// A second one ends the process at once, with status 0, whatever it is doing: it is handled within the signal
    /// handler itself.
    ///
    /// SIGXFSZ no longer ends the process: a write that exceeds the limit of a file's size (`RLIMIT_FSIZE`) fails, and the client
    /// gets 507.
    ///
    /// To be called once a process. It starts a thread that waits for signals, and nothing else.
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
    /// If the handlers of the signals, or the thread, can't be had.
    pub fn shutdown_on_signals(&self) -> io::Result<()> {
        self.shutdown_on_signals_and(|_| {})
    }

    /// The same, and then `told` is called with the number of the signal.
    ///
    /// # Errors
    /// As above.
    pub fn shutdown_on_signals_and(&self, told: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
        // A write past the limit of a file's size then fails (EFBIG), and ends a request; by default it ends the process.
        flag::register(SIGXFSZ, Arc::default())?;
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the flag is looked at before this very signal sets it.
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&seen))?;
            flag::register(signal, Arc::clone(&seen))?;
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = self.clone();
        let wait = move || {
            if let Some(signal) = signals.forever().next() {
                handle.shutdown(); // before anything else, which may block
                told(signal);
                signals.forever().for_each(drop); // keeps the handlers installed
            }
        };
        thread::Builder::new().name("modest-signals".into()).spawn(wait).map(drop)
    }
}
