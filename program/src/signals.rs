//! SIGINT and SIGTERM: the first one shuts the server down gracefully, a second one ends the program at once. SIGHUP
//! and SIGUSR1 reload files and reopen the log. SIGUSR2 does nothing. Called by `serving` before it accepts clients.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use log::Level;
use modest::ServerHandle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

use crate::error::{escape_controls, reason, without_passwords};
use crate::logging::{self, Lines, LogHandle, NOTICE};
use crate::options::{Options, Verbosity};
use crate::reloading::Config;

/// A shutdown that takes longer than this is explained.
const SOON: Duration = Duration::from_secs(1);

/// Shuts the server down at the first SIGINT or SIGTERM, with the message of Python's `http.server`.
pub fn shutdown_on_signals(handle: &ServerHandle, options: &Options, lines: Lines) -> io::Result<()> {
    let (delay, has_health) = (delay(options), options.serving.health.is_some());
    let interrupt = Interrupt::of(options, lines);
    handle.shutdown_on_signals_and(move |signal| {
        if signal == SIGINT {
            interrupt.print();
            let interrupt = interrupt.clone();
            // If it can't be started, only the message is missing.
            let _ = thread::Builder::new().name("modest-waits".into()).spawn(move || {
                thread::sleep(interrupt.explained_after());
                interrupt.explain();
            });
        }
        if !delay.is_zero() {
            let health = if has_health { "; --health responds with 503 from now on" } else { "" };
            log::info!(target: NOTICE, "the shutdown begins in {delay:?}{health}");
        }
    })
}

fn delay(options: &Options) -> Duration {
    options.limits.shutdown_delay.unwrap_or_default()
}

/// The messages about Ctrl-C, on stdout. With `--quiet` there are none.
#[derive(Clone)]
pub struct Interrupt {
    lines: Lines,
    is_quiet: bool,
    delay: Duration,
    limit: Option<Duration>,
}

impl Interrupt {
    pub fn of(options: &Options, lines: Lines) -> Interrupt {
        let (is_quiet, delay) = (options.verbosity() == Verbosity::Quiet, delay(options));
        let limit = options.longest_shutdown().map(|limit| limit.saturating_sub(delay));
        Interrupt { lines, is_quiet, delay, limit }
    }

    /// Prints that the server ends.
    pub fn print(&self) {
        self.print_line("\nKeyboard interrupt received, exiting.\n");
    }

    /// Returns the time after which a server that still runs calls [`Interrupt::explain`].
    pub fn explained_after(&self) -> Duration {
        self.delay + SOON
    }

    /// Prints what the server waits for.
    pub fn explain(&self) {
        let limit = self.limit.map(|limit| format!(", for up to {limit:?},")).unwrap_or_default();
        self.print_line(&format!("Waiting{limit} for requests in progress; press Ctrl-C again to end now.\n"));
    }

    fn print_line(&self, line: &str) {
        if !self.is_quiet {
            print(&self.lines.of_stdout(line));
        }
    }
}

/// Prints on stdout, unless it is a pipe that is full. Errors are ignored.
fn print(text: &str) {
    let mut out = io::stdout();
    if logging::accepts(&out) {
        let _ = out.write_all(text.as_bytes());
    }
}

/// Reloads something, and returns the text after its name in the log.
type Reload = Box<dyn Fn() -> io::Result<String> + Send>;

type Check = Box<dyn Fn(&str) -> io::Result<()> + Send>;

/// The files that a signal reloads, by their options.
#[derive(Default)]
pub struct Reloads {
    files: Vec<(&'static str, Reload)>,
    warnings: Vec<String>,
    counts: Arc<Counts>,
}

#[derive(Default)]
pub struct Counts {
    pub done: AtomicU64,
    /// Reloads in which at least one file could not be used.
    pub failed: AtomicU64,
}

impl Reloads {
    pub fn add(&mut self, option: &'static str, reload: impl Fn() -> io::Result<String> + Send + 'static) {
        self.files.push((option, Box::new(reload)));
    }

    /// Adds lines about these files for the log, which is not yet open.
    pub fn warn(&mut self, lines: Vec<String>) {
        self.warnings.extend(lines);
    }

    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// At each of these signals but SIGUSR2, reloads all files, reopens the log, and logs one line about that. `check`:
    /// of the files of an option, before they are used again.
    ///
    /// A program that was started in a terminal without a log file ends with that terminal, as SIGHUP does by default.
    pub fn at(self, signals: &[i32], options: &Options, check: Check, log: LogHandle) -> io::Result<()> {
        let origins = &options.starting.origins;
        self.warnings.iter().for_each(|line| log::warn!("{}", origins.rename(line)));
        let has_terminal = io::stdin().is_terminal() || io::stderr().is_terminal();
        let ends_with_terminal = has_terminal && options.logging.log_file.is_none();
        let signals: Vec<_> = signals.iter().filter(|signal| **signal != SIGHUP || !ends_with_terminal).collect();
        if signals.is_empty() {
            return Ok(());
        }
        let (mut signals, config) = (Signals::new(signals)?, Config::of(options));
        let name = |signal| signal_name(signal).unwrap_or("a signal");
        let wait = move || {
            signals.forever().for_each(|signal| match signal {
                SIGUSR2 => log::warn!("SIGUSR2 has no effect; SIGHUP and SIGUSR1 reload files"),
                signal => self.reload(name(signal), &check, &log, config.as_ref()),
            })
        };
        thread::Builder::new().name("modest-reload".into()).spawn(wait).map(drop)
    }

    fn reload(&self, signal: &str, check: &Check, log: &LogHandle, config: Option<&Config>) {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let mut note = |option: &str, kept: &str, result: io::Result<String>| match result {
            Ok(more) => done.push(format!("{option}{more}")),
            Err(error) => {
                let why = escape_controls(&without_passwords(&reason(&error)));
                failed.push(format!("{option} failed, the previous {kept} stays in use: {why}"));
            }
        };
        for (option, reload) in &self.files {
            note(option, "content", check(option).and_then(|()| reload()));
        }
        if log.is_file() {
            let reopened = check("--log-file").and_then(|()| log.reopen());
            note("--log-file", "file", reopened.map(|()| String::new()));
        }
        let (count, level) = match failed.is_empty() {
            true => (&self.counts.done, Level::Info),
            false => (&self.counts.failed, Level::Error),
        };
        count.fetch_add(1, Relaxed);
        let done = if done.is_empty() { Vec::new() } else { vec![done.join(", ")] };
        let all = [done, failed].concat();
        let all = if all.is_empty() { "nothing".to_owned() } else { all.join("; ") };
        let change = config.and_then(Config::change).map(|change| format!(" ({change})")).unwrap_or_default();
        log::log!(target: NOTICE, level, "{signal}: reloaded: {all}; all other settings need a restart{change}");
    }
}
