//! SIGINT and SIGTERM: the first one shuts the server down gracefully, a second one ends the program at once.
//! Called by `cli` before it serves.

use std::io::{self, Write};

use modest::ServerHandle;
use signal_hook::consts::SIGINT;

use super::options::Verbosity;

/// Shut the server down at the first SIGINT or SIGTERM, and say so as Python's `http.server` does.
pub fn shutdown_on_signals(handle: &ServerHandle, verbosity: Verbosity) -> io::Result<()> {
    handle.shutdown_on_signals_and(move |signal| {
        if signal == SIGINT && verbosity != Verbosity::Quiet {
            let _ = writeln!(io::stdout(), "\nKeyboard interrupt received, exiting.");
        }
    })
}
