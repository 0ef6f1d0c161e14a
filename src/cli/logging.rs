//! The log on stderr, by `log` and `simplelog`, through a writer that holds nobody up.
//! Started by `cli`; every floor writes to it by the macros of `log`.
//!
//! A worker only copies its line into a bounded store; one thread writes the store to stderr. If stderr is slow or full,
//! lines are dropped and counted, and the count is logged when there is room again; if it is closed, the lines go nowhere.

use std::io::{self, Write};
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, ConfigBuilder, SharedLogger, WriteLogger};

use super::complaint::plain;
use super::options::Loudness;

/// The target of access lines: they carry their own time and address, so nothing is put before them.
pub const ACCESS: &str = "modest::access";

const ROOM: usize = 1 << 20; // bytes of lines not yet written: some 10,000 requests
const PAUSE: Duration = Duration::from_millis(1); // between two writes: a busy server wakes the writer for many lines at once
const FAREWELL: Duration = Duration::from_secs(1); // how long the last lines may take at the end

/// The log of a running program. [`Running::finish`] writes what is left.
pub struct Running {
    store: Arc<Store>,
}

/// Set up the log, as loud as asked. A quiet program has none.
pub fn start(loudness: Loudness) -> Running {
    let store = Arc::new(Store::default());
    let (access, other) = match loudness {
        Loudness::Quiet => (LevelFilter::Off, LevelFilter::Off),
        Loudness::Normal => (LevelFilter::Info, LevelFilter::Warn),
        Loudness::Verbose => (LevelFilter::Info, LevelFilter::Debug),
    };
    let loggers: Vec<Box<dyn SharedLogger>> = vec![
        WriteLogger::new(access, bare(), Lines::new(&store)),
        WriteLogger::new(other, with_level(), Lines::new(&store)),
    ];
    let logger = OneLine { loggers: CombinedLogger::new(loggers), zone: TimeZone::system() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(access.max(other));
    }
    panic::set_hook(Box::new(|panic| log::error!("{panic}"))); // std's own writes to stderr and would wait for it
    let thread = Arc::clone(&store);
    // Without the thread nothing is written and the store fills up: the server serves on.
    let _ = thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut io::stderr()));
    Running { store }
}

impl Running {
    /// Wait until the last line is written, for a second at most.
    pub fn finish(&self) {
        self.store.drain(FAREWELL);
    }
}

/// Nothing before the message: an access line is whole.
fn bare() -> Config {
    only_message().add_filter_allow_str(ACCESS).build()
}

/// `[WARN] ` before the message.
fn with_level() -> Config {
    only_message().set_max_level(LevelFilter::Error).add_filter_ignore_str(ACCESS).build()
}

fn only_message() -> ConfigBuilder {
    let mut config = ConfigBuilder::new();
    config
        .set_time_level(LevelFilter::Off) // simplelog knows one offset from UTC for good; see `OneLine`
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    config
}

/// Sees to it that a message is one line, whatever a client or a cause had in it, and tells its local time.
struct OneLine {
    loggers: Box<CombinedLogger>,
    zone: TimeZone,
}

impl OneLine {
    fn line(&self, record: &Record<'_>) -> String {
        if record.target() == ACCESS {
            return record.args().to_string(); // a record escapes what the client sent
        }
        let message = plain(&record.args().to_string());
        let now = Timestamp::now().to_zoned(self.zone.clone());
        format!("[{}] {message}", now.strftime("%d/%b/%Y %H:%M:%S"))
    }
}

impl Log for OneLine {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.loggers.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = self.line(record);
            let metadata = record.metadata().clone();
            self.loggers.log(&Record::builder().metadata(metadata).args(format_args!("{line}")).build());
        }
    }

    fn flush(&self) {
        self.loggers.flush();
    }
}

/// Gathers the parts of one line, then lays the whole line into the store.
struct Lines {
    store: Arc<Store>,
    line: Vec<u8>,
}

impl Lines {
    fn new(store: &Arc<Store>) -> Lines {
        Lines { store: Arc::clone(store), line: Vec::new() }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            self.store.put(&self.line);
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Lines between those who log and the one thread that writes.
#[derive(Default)]
struct Store {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    lost: u64,
    /// What the writer is at.
    writer: Writer,
}

#[derive(Default, PartialEq, Eq)]
enum Writer {
    /// Writing, or about to look for more: it needs no call.
    #[default]
    Busy,
    /// Waiting for a line: it must be called.
    Waiting,
}

impl Store {
    /// Take a line in, if there is room: never waits for the writer.
    fn put(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines.len() + line.len() > ROOM {
            state.lost += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let call = std::mem::take(&mut state.writer) == Writer::Waiting;
        drop(state);
        if call {
            self.filled.notify_one();
        }
    }

    /// The life of the thread that writes. An error, such as a closed pipe, loses those lines and no more.
    fn write_to(&self, out: &mut dyn Write) {
        let mut taken = Vec::new();
        loop {
            let lost = self.take(&mut taken);
            let _ = out.write_all(&taken);
            if lost > 0 {
                let _ = writeln!(out, "[WARN] {lost} lines of the log are lost: stderr was too slow");
            }
            taken.clear();
            thread::sleep(PAUSE);
        }
    }

    /// All lines there are, as soon as there are any, and how many were lost.
    fn take(&self, into: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        while state.lines.is_empty() {
            state.writer = Writer::Waiting;
            self.emptied.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = Writer::Busy;
        std::mem::swap(&mut state.lines, into);
        std::mem::take(&mut state.lost)
    }

    fn drain(&self, within: Duration) {
        let busy = |state: &mut State| state.writer == Writer::Busy;
        drop(self.emptied.wait_timeout_while(self.lock(), within, busy));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_room_are_dropped_and_counted() {
        let store = Store::default();
        let line = [b'x'; 1024];
        for _ in 0..ROOM / line.len() + 7 {
            store.put(&line);
        }
        let mut taken = Vec::new();
        assert_eq!((store.take(&mut taken), taken.len()), (7, ROOM));
        store.put(b"again\n");
        taken.clear();
        assert_eq!((store.take(&mut taken), &taken[..]), (0, &b"again\n"[..]));
    }

    #[test]
    fn draining_is_bounded() {
        let store = Store::default();
        store.put(b"nobody writes this\n");
        store.drain(Duration::from_millis(1)); // returns, though no thread ever takes the line
        assert!(!store.lock().lines.is_empty());
    }

    #[test]
    fn a_line_is_put_whole() {
        let store = Arc::new(Store::default());
        let mut lines = Lines::new(&store);
        write!(lines, "one {}", 1).unwrap();
        assert!(store.lock().lines.is_empty());
        lines.write_all(b"\n").unwrap();
        assert_eq!(store.lock().lines, b"one 1\n");
    }
}
