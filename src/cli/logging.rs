//! The log on stderr, by `log` and `simplelog`, through a writer that never blocks its callers.
//! Started by `cli`; all modules log by the macros of `log`.
//!
//! A worker only copies its line into a bounded buffer; one thread writes the buffer to stderr. If stderr is slow or full,
//! lines are dropped and counted, and the count is logged when there is space again; if it is closed, lines are discarded.

use std::io::{self, Write};
use std::panic;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{CombinedLogger, Config, ConfigBuilder, SharedLogger, WriteLogger};

use super::error::escape_controls;
use super::options::Verbosity;

/// The target of access lines: they contain their own time and address, so nothing is prepended.
pub const ACCESS: &str = "modest::access";

const CAPACITY: usize = 1 << 20; // bytes of lines not yet written: some 10,000 requests
const WRITE_INTERVAL: Duration = Duration::from_millis(1); // pause between two writes: under load one write takes many lines
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1); // how long the last lines may take at the end

/// The running log. [`LogHandle::finish`] writes what is left.
pub struct LogHandle {
    buffer: Arc<LogBuffer>,
}

/// Set up the log.
pub fn start(verbosity: Verbosity) -> LogHandle {
    let buffer = Arc::new(LogBuffer::default());
    let (access, other) = match verbosity {
        Verbosity::Quiet => (LevelFilter::Off, LevelFilter::Off),
        Verbosity::Normal => (LevelFilter::Info, LevelFilter::Warn),
        Verbosity::Verbose => (LevelFilter::Info, LevelFilter::Debug),
    };
    let loggers: Vec<Box<dyn SharedLogger>> = vec![
        WriteLogger::new(access, access_config(), LineWriter::new(&buffer)),
        WriteLogger::new(other, message_config(), LineWriter::new(&buffer)),
    ];
    let logger = LineLogger { loggers: CombinedLogger::new(loggers), zone: TimeZone::system() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(access.max(other));
    }
    panic::set_hook(Box::new(|panic| log::error!("{panic}"))); // std's own hook writes to stderr and would block
    let thread = Arc::clone(&buffer);
    // Without the thread nothing is written and the buffer fills up: the server keeps running.
    let _ = thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut io::stderr()));
    LogHandle { buffer }
}

impl LogHandle {
    /// Wait until the last line is written, for a second at most.
    pub fn finish(&self) {
        self.buffer.drain(FLUSH_TIMEOUT);
    }
}

/// Nothing before the message: an access line is complete.
fn access_config() -> Config {
    base_config().add_filter_allow_str(ACCESS).build()
}

/// `[WARN] ` before the message.
fn message_config() -> Config {
    base_config().set_max_level(LevelFilter::Error).add_filter_ignore_str(ACCESS).build()
}

fn base_config() -> ConfigBuilder {
    let mut config = ConfigBuilder::new();
    config
        .set_time_level(LevelFilter::Off) // simplelog has one fixed offset from UTC; see `LineLogger`
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    config
}

/// Makes each message one line, whatever a client or a cause put into it, and prepends its local time.
struct LineLogger {
    loggers: Box<CombinedLogger>,
    zone: TimeZone,
}

impl LineLogger {
    fn line(&self, record: &Record<'_>) -> String {
        if record.target() == ACCESS {
            return record.args().to_string(); // a record escapes what the client sent
        }
        let message = escape_controls(&record.args().to_string());
        let now = Timestamp::now().to_zoned(self.zone.clone());
        format!("[{}] {message}", now.strftime("%d/%b/%Y %H:%M:%S"))
    }
}

impl Log for LineLogger {
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

/// Collects the parts of one line, then appends the whole line to the buffer.
struct LineWriter {
    buffer: Arc<LogBuffer>,
    line: Vec<u8>,
}

impl LineWriter {
    fn new(buffer: &Arc<LogBuffer>) -> LineWriter {
        LineWriter { buffer: Arc::clone(buffer), line: Vec::new() }
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if bytes.ends_with(b"\n") {
            self.buffer.push(&self.line);
            self.line.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The buffer between the threads that log and the one that writes.
#[derive(Default)]
struct LogBuffer {
    state: Mutex<BufferState>,
    not_empty: Condvar,
    drained: Condvar,
}

#[derive(Default)]
struct BufferState {
    lines: Vec<u8>,
    dropped: u64,
    /// What the writing thread does.
    writer: WriterState,
}

#[derive(Default, PartialEq, Eq)]
enum WriterState {
    /// Writing, or about to look for more: it needs no wake-up.
    #[default]
    Busy,
    /// Waiting for a line: it must be woken.
    Waiting,
}

impl LogBuffer {
    /// Append a line, if there is space: never waits for the writer.
    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.lines.len() + line.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let wake = std::mem::take(&mut state.writer) == WriterState::Waiting;
        drop(state);
        if wake {
            self.not_empty.notify_one();
        }
    }

    /// The loop of the writing thread. After an error, such as a closed pipe, those lines are lost and it continues.
    fn write_to(&self, out: &mut dyn Write) {
        let mut batch = Vec::new();
        loop {
            let dropped = self.take(&mut batch);
            let _ = out.write_all(&batch);
            if dropped > 0 {
                let _ = writeln!(out, "[WARN] {dropped} lines of the log are lost: stderr was too slow");
            }
            batch.clear();
            thread::sleep(WRITE_INTERVAL);
        }
    }

    /// Wait for lines and take all there are; returns how many were dropped.
    fn take(&self, into: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        while state.lines.is_empty() {
            state.writer = WriterState::Waiting;
            self.drained.notify_all();
            state = self.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = WriterState::Busy;
        std::mem::swap(&mut state.lines, into);
        std::mem::take(&mut state.dropped)
    }

    fn drain(&self, within: Duration) {
        let busy = |state: &mut BufferState| state.writer == WriterState::Busy;
        drop(self.drained.wait_timeout_while(self.lock(), within, busy));
    }

    fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_room_are_dropped_and_counted() {
        let buffer = LogBuffer::default();
        let line = [b'x'; 1024];
        for _ in 0..CAPACITY / line.len() + 7 {
            buffer.push(&line);
        }
        let mut batch = Vec::new();
        assert_eq!((buffer.take(&mut batch), batch.len()), (7, CAPACITY));
        buffer.push(b"again\n");
        batch.clear();
        assert_eq!((buffer.take(&mut batch), &batch[..]), (0, &b"again\n"[..]));
    }

    #[test]
    fn draining_is_bounded() {
        let buffer = LogBuffer::default();
        buffer.push(b"nobody writes this\n");
        buffer.drain(Duration::from_millis(1)); // returns, though no thread ever takes the line
        assert!(!buffer.lock().lines.is_empty());
    }

    #[test]
    fn a_line_is_put_whole() {
        let buffer = Arc::new(LogBuffer::default());
        let mut lines = LineWriter::new(&buffer);
        write!(lines, "one {}", 1).unwrap();
        assert!(buffer.lock().lines.is_empty());
        lines.write_all(b"\n").unwrap();
        assert_eq!(buffer.lock().lines, b"one 1\n");
    }
}
