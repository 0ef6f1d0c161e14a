//! SIGINT and SIGTERM: the first one shuts the server down gracefully, a second one ends the program at once.
//! Started by `cli` before it serves.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use modest::ServerHandle;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use super::options::Verbosity;

/// Stop the server at the first SIGINT or SIGTERM; at the second, exit without waiting for anything.
///
/// The second is handled within the signal handler itself, so no blocked thread can delay it.
/// Its exit status is 0 as well: the program ends because it was asked to.
pub fn stop_on_signal(handle: ServerHandle, verbosity: Verbosity) -> io::Result<()> {
    let stop_requested = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 0, Arc::clone(&stop_requested))?; // checks the flag before the next line sets it
        flag::register(signal, Arc::clone(&stop_requested))?;
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            handle.shutdown(); // before printing: a terminal that blocks must not delay it
            if signal == SIGINT && verbosity != Verbosity::Quiet {
                let _ = writeln!(io::stdout(), "\nKeyboard interrupt received, exiting.");
            }
            signals.forever().for_each(drop); // keeps the handlers installed
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}
