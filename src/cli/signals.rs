//! SIGINT and SIGTERM: the first one shuts the server down gracefully, a second one ends the program at once.
//! Called by `cli` before it serves.

use std::io::{self, Write};

use modest::ServerHandle;
use signal_hook::consts::SIGINT;

use super::logging::Lines;
use super::options::Verbosity;

/// Shut the server down at the first SIGINT or SIGTERM, and say so as Python's `http.server` does.
pub fn shutdown_on_signals(handle: &ServerHandle, verbosity: Verbosity, lines: Lines) -> io::Result<()> {
    handle.shutdown_on_signals_and(move |signal| {
        if signal == SIGINT && verbosity != Verbosity::Quiet {
            let text = lines.of_stdout("\nKeyboard interrupt received, exiting.\n");
            let _ = io::stdout().write_all(text.as_bytes());
        }
    })
}
