//! The log on stderr, without any logger of the user's: `log_to_stderr`, and the writer behind it, which the program
//! uses, too. All modules log by the macros of `log`; none calls this one.
//!
//! Who logs only copies a line into a bounded buffer; one thread writes the buffer to stderr. If stderr is slow or full,
//! lines are dropped and counted, and the count is written when there is space again; if it is closed, lines are
//! discarded.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::http::date;

/// The target of access lines: they contain their own time and address, so nothing is prepended.
const ACCESS: &str = "modest::access";

const CAPACITY: usize = 1 << 20; // bytes of lines not yet written: some 10,000 requests
const WRITE_INTERVAL: Duration = Duration::from_millis(1); // pause between two writes: under load one write takes many lines
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1); // how long the last lines may take at the end

/// Log to stderr: access lines as Python's `http.server` has them, and warnings and errors of all crates, each a line
/// with its level and time. If the process has a logger already this does nothing.
///
/// Without a logger the library is mute: a client gets a 500, and nobody learns why.
///
/// ```text
/// 127.0.0.1 - - [16/Jun/2022 06:34:59] "GET / HTTP/1.1" 500 -
/// [ERROR] [16/Jun/2022 06:34:59] "GET / HTTP/1.1": 500 Internal Server Error: no such file
/// ```
///
/// Times are in UTC. No worker ever waits for stderr: a line that finds 1 MiB of others unwritten is dropped, and the
/// number of those is logged. What is returned may be ignored; kept to the end of `main` it waits there until the last
/// line is written, for a second at most. (`log::logger().flush()` waits, too.)
///
/// For other levels, targets or times use a logger of your own; [`StderrWriter`] is what it should write to.
///
/// ```no_run
/// use modest::{Response, TcpServer, handler_fn};
///
/// let _log = modest::log_to_stderr();
/// TcpServer::bind("127.0.0.1:8000", handler_fn(|_| Ok(Response::text("Hello\n"))))?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn log_to_stderr() -> StderrLog {
    let is_first = log::set_logger(&StderrLogger).is_ok();
    if is_first {
        buffer(); // the thread is started here, not by the first who logs
        log::set_max_level(LevelFilter::Info);
    }
    StderrLog { is_ours: is_first }
}

/// The log on stderr: [`log_to_stderr`]. When it is dropped, lines not yet written are waited for, a second at most.
#[derive(Debug)]
pub struct StderrLog {
    is_ours: bool,
}

impl Drop for StderrLog {
    fn drop(&mut self) {
        if self.is_ours {
            buffer().drain(FLUSH_TIMEOUT);
        }
    }
}

/// A writer to stderr that never waits: a line is copied into a buffer of 1 MiB that all such writers of the process
/// share, and a thread writes it out. For loggers: one that writes to stderr itself stops the server when nobody reads
/// there.
///
/// A line is passed on when it ends. One that finds no space is dropped, and counted in a line of its own later.
///
/// ```
/// use modest::StderrWriter;
/// use std::io::Write;
///
/// let mut log = StderrWriter::new();
/// writeln!(log, "starting")?;
/// log.drain(); // at the end
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StderrWriter {
    line: Vec<u8>,
}

impl StderrWriter {
    /// A writer. The first of a process starts the thread.
    pub fn new() -> StderrWriter {
        buffer();
        StderrWriter::default()
    }

    /// Wait until all lines are written, for a second at most: at the end of the program.
    pub fn drain(&self) {
        buffer().drain(FLUSH_TIMEOUT);
    }
}

impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        // A line that never ends is dropped as one that finds no space.
        if bytes.ends_with(b"\n") || self.line.len() > CAPACITY {
            buffer().push(&self.line);
            self.line.clear();
        }
        Ok(bytes.len())
    }

    /// Nothing: many loggers flush after each line. See [`StderrWriter::drain`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The logger that `log_to_stderr` sets.
struct StderrLogger;

impl Log for StderrLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = if metadata.target() == ACCESS { Level::Info } else { Level::Warn };
        metadata.level() <= most
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            buffer().push(line_of(record, SystemTime::now()).as_bytes());
        }
    }

    fn flush(&self) {
        buffer().drain(FLUSH_TIMEOUT);
    }
}

/// An access line as it is (a record escapes what the client sent); any other message with its level and time, made one
/// line whatever a client or a cause put into it.
fn line_of(record: &Record<'_>, now: SystemTime) -> String {
    if record.target() == ACCESS {
        return format!("{}\n", record.args());
    }
    let mut line = format!("[{}] ", record.level());
    // `Thu, 16 Jun 2022 06:34:59 GMT`
    if let Some(date) = date::write(now)
        && let Ok(date) = std::str::from_utf8(&date)
    {
        let _ = write!(line, "[{}/{}/{}] ", &date[5..7], &date[8..11], &date[12..25]);
    }
    for letter in record.args().to_string().chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line.push('\n');
    line
}

/// The buffer of this process. With it its thread is started; without a thread nothing is written and it fills up, but
/// the server keeps running.
fn buffer() -> &'static LogBuffer {
    static BUFFER: OnceLock<Arc<LogBuffer>> = OnceLock::new();
    BUFFER.get_or_init(|| {
        let buffer = Arc::new(LogBuffer::default());
        let thread = Arc::clone(&buffer);
        let _ = thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut io::stderr()));
        buffer
    })
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
        let mut writer = StderrWriter::default();
        write!(writer, "one {}", 1).unwrap();
        assert_eq!(writer.line, b"one 1");
        writer.write_all(b"\n").unwrap();
        assert!(writer.line.is_empty());
    }

    #[test]
    fn lines() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_655_361_299);
        for (target, level, message, line) in [
            (ACCESS, Level::Info, "1.2.3.4 - -", "1.2.3.4 - -\n"),
            ("modest", Level::Error, "it\nfailed\x1b[2J é", "[ERROR] [16/Jun/2022 06:34:59] it\\nfailed\\u{1b}[2J é\n"),
        ] {
            let args = format_args!("{message}");
            let record = Record::builder().target(target).level(level).args(args).build();
            assert_eq!(line_of(&record, now), line, "{message:?}");
        }
        for (target, level, is_logged) in [
            (ACCESS, Level::Info, true),
            (ACCESS, Level::Debug, false),
            ("modest::http", Level::Warn, true),
            ("modest::http", Level::Info, false),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(StderrLogger.enabled(&metadata), is_logged, "{target} {level}");
        }
    }
}
