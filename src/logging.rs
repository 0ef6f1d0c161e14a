//! The log on stderr for programs without a logger: `log_to_stderr`, and the writers behind it, to stderr and to a
//! file, which the program also uses. All modules log by the macros of `log`; none calls this one.
//!
//! A logging thread only copies a line into a bounded buffer, and one thread writes the buffer out. Lines are lost if
//! the buffer is full, because the reader is slow, or if they cannot be written, because the disk is full or the pipe
//! is closed. Lost lines are counted, and the count is written once there is space again.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;

use crate::http::{LogFormat, LogScope, date, push_json_field, utc_time};

/// The target of access lines: they contain their own time and address, so nothing is prepended.
const ACCESS: &str = "modest::access";

const CAPACITY: usize = 1 << 20; // bytes of lines not yet written: some 10,000 requests
const WRITE_INTERVAL: Duration = Duration::from_millis(1); // pause between two writes: under load one write takes many lines
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1); // how long the last lines may take at the end

/// Logs to stderr: access lines in the format of Python's `http.server`; `info`, warnings and errors of the program and
/// its crates; warnings and errors of this one. One line each with level and time. Does nothing if the process already
/// has a logger.
///
/// Without a logger the library logs nothing: after a 500, the reason is lost.
///
/// ```text
/// 127.0.0.1 - - [16/Jun/2022 06:34:59] "GET / HTTP/1.1" 500 -
/// [ERROR] [16/Jun/2022 06:34:59] "GET / HTTP/1.1": 500 Internal Server Error: no such file
/// ```
///
/// Times are in UTC. No worker ever waits for stderr: if 1 MiB of lines are unwritten, further lines are dropped, and
/// their number is logged. The returned value can be ignored. If it is dropped at the end of `main`, it waits up to one
/// second until the last line is written. (`log::logger().flush()` also waits.)
///
/// The variable `RUST_LOG` sets other levels, and [`Logger`] levels and format. For other times or places, use a logger
/// of your own that writes to [`StderrWriter`].
///
/// ```no_run
/// use modest::{Response, TcpServer, handler_fn};
///
/// let _log = modest::log_to_stderr();
/// TcpServer::bind("127.0.0.1:8000", handler_fn(|_| Ok(Response::text("Hello\n"))))?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn log_to_stderr() -> StderrLog {
    Logger::new().levels_from_env().start()
}

/// The settings of the log on stderr. [`log_to_stderr`] has the defaults and the levels of `RUST_LOG`.
///
/// ```no_run
/// use modest::{LogFormat, Logger};
///
/// let _log = Logger::new().levels("info,my_shop=debug").levels_from_env().format(LogFormat::Json).start();
/// log::info!("a line of JSON");
/// ```
///
/// Each line that is logged while a handler is called has the id of its request, if a layer such as
/// [`RequestIds`](crate::layers::RequestIds) gives it one: in brackets, or as the member `id`.
/// [`LogScope`](crate::LogScope) takes it to other threads.
///
/// At `modest=info` the reason of each 4xx is logged, with client and request line: `127.0.0.1 "GET /a HTTP/1.1": 404
/// Not Found: there is no note 7`.
#[derive(Clone, Debug)]
#[must_use = "logs nothing until it is started"]
pub struct Logger {
    levels: Levels,
    format: LogFormat,
}

impl Logger {
    /// Creates the settings: `info` for the program and its crates, `warn` for this crate, and its access lines, as
    /// text.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Logger {
        Logger { levels: Levels::default(), format: LogFormat::Python }
    }

    /// Sets levels by target, in the syntax of `RUST_LOG`: levels for all targets (`warn`), or for a module and those
    /// within it (`my_shop::orders=debug`), separated by commas. The longest matching name applies. A level for all
    /// targets replaces what was set before, also for access lines: `warn,modest::access=info` keeps them. Levels:
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`. An invalid part is logged as a warning at the start.
    pub fn levels(mut self, levels: &str) -> Logger {
        levels.split(',').map(str::trim).filter(|level| !level.is_empty()).for_each(|level| self.levels.add(level));
        self
    }

    /// Sets the [levels](Logger::levels) of the environment variable `RUST_LOG`, if there is one.
    pub fn levels_from_env(self) -> Logger {
        let levels = std::env::var("RUST_LOG").unwrap_or_default();
        self.levels(&levels)
    }

    /// Sets the format of access lines, unless [`Http::access_log`](crate::Http::access_log) does. With
    /// [`LogFormat::Json`] all lines are JSON: `time`, `level`, `target`, `id` and `message`. Default:
    /// [`LogFormat::Python`].
    pub fn format(mut self, format: LogFormat) -> Logger {
        self.format = format;
        self
    }

    /// Starts the log. Does nothing if the process already has a logger.
    #[must_use = "dropping it at the end of `main` writes the last lines"]
    pub fn start(self) -> StderrLog {
        let is_first = log::set_logger(&StderrLogger).is_ok();
        if is_first {
            buffer(); // the thread is started here, not by the first log call
            self.format.set_of_process();
            if self.format == LogFormat::Json {
                buffer().own_lines(Box::new(|level, message| json_line(level, "modest", message, SystemTime::now())));
            }
            let logger = LOGGER.get_or_init(|| self);
            log::set_max_level(logger.levels.highest());
            logger.levels.unknown.iter().for_each(|text| log::warn!("{text:?} is not a log level"));
        }
        StderrLog { is_ours: is_first }
    }
}

/// The settings of the log of this process.
static LOGGER: OnceLock<Logger> = OnceLock::new();

/// The level of each target.
#[derive(Clone, Debug)]
struct Levels {
    of_all: LevelFilter,
    by_target: Vec<(String, LevelFilter)>,
    unknown: Vec<String>,
}

impl Default for Levels {
    fn default() -> Levels {
        let by_target = vec![("modest".to_owned(), LevelFilter::Warn), (ACCESS.to_owned(), LevelFilter::Info)];
        Levels { of_all: LevelFilter::Info, by_target, unknown: Vec::new() }
    }
}

impl Levels {
    /// One part of `RUST_LOG`.
    fn add(&mut self, text: &str) {
        let (target, level) = text.split_once('=').map_or(("", text), |(target, level)| (target.trim(), level.trim()));
        match level.parse() {
            Ok(level) if target.is_empty() && !text.contains('=') => {
                (self.of_all, self.by_target) = (level, Vec::new())
            }
            Ok(level) if !target.is_empty() => self.by_target.push((target.to_owned(), level)),
            _ => self.unknown.push(text.to_owned()),
        }
    }

    /// The level of the longest name that is the target or a module around it. If a name was set twice, the later level
    /// applies.
    fn of(&self, target: &str) -> LevelFilter {
        let is_within =
            |name: &str| target.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let named = self.by_target.iter().filter(|(name, _)| is_within(name));
        named.max_by_key(|(name, _)| name.len()).map_or(self.of_all, |(_, level)| *level)
    }

    fn highest(&self) -> LevelFilter {
        self.by_target.iter().map(|(_, level)| *level).chain([self.of_all]).max().unwrap_or(LevelFilter::Off)
    }
}

/// The log on stderr: [`log_to_stderr`]. Dropping it waits up to one second for unwritten lines.
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
/// share, and a thread writes it out. Use it in loggers: a logger that writes to stderr directly stops the server if
/// its reader does not read.
///
/// A line is passed on when it ends. A line that finds no space is dropped and counted, and the count is logged later.
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
    /// Creates a writer. The first of a process starts the thread.
    pub fn new() -> StderrWriter {
        buffer();
        StderrWriter::default()
    }

    /// Sets how the writer's own lines are formatted, such as the one that counts lost lines: from a level and a
    /// message to a line without its end. Default: the format of [`log_to_stderr`]. The first call applies to the whole
    /// process.
    pub fn own_lines(&self, format: impl Fn(Level, &str) -> String + Send + Sync + 'static) {
        buffer().own_lines(Box::new(format));
    }

    /// Returns how many lines of this process were lost so far: stderr did not take them in time, or not at all.
    pub fn lost_lines(&self) -> u64 {
        buffer().lost.load(Relaxed)
    }

    /// Waits up to one second until all lines are written. Call it at the end of the program.
    pub fn drain(&self) {
        buffer().drain(FLUSH_TIMEOUT);
    }
}

impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        push_lines(&mut self.line, bytes, buffer());
        Ok(bytes.len())
    }

    /// Does nothing, because many loggers flush after each line. See [`StderrWriter::drain`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer to a file that never waits, like [`StderrWriter`], with a buffer and a thread of its own. Lines are
/// appended.
///
/// A line that finds no space in the buffer or on the disk is dropped. The number of dropped lines is logged once there
/// is space again. The first error is also written to stderr.
///
/// ```no_run
/// use modest::LogFile;
/// use std::io::Write;
///
/// let mut log = LogFile::open("/var/log/modest.log")?;
/// writeln!(log, "starting")?;
/// log.reopen(); // it was renamed: open a new one
/// log.drain(); // at the end
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogFile {
    line: Vec<u8>,
    buffer: Arc<LogBuffer>,
}

impl LogFile {
    /// Opens a file, or creates it. The path stays valid if the working directory changes.
    ///
    /// # Errors
    /// If the file cannot be opened for writing, or there is no thread.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<LogFile> {
        let path = std::path::absolute(path.into())?;
        let mut out = FileSink { file: append(&path)?, path };
        let buffer = Arc::new(LogBuffer::default());
        let thread = Arc::clone(&buffer);
        thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut out))?;
        Ok(LogFile { line: Vec::new(), buffer })
    }

    /// Reopens the path before the next line, after the file was renamed or removed, for example by `logrotate`. If
    /// that fails, the old file is kept, and the error is written to stderr.
    pub fn reopen(&self) {
        self.buffer.reopen.store(true, Relaxed);
        self.buffer.wake();
    }

    /// Sets how the writer's own lines are formatted: see [`StderrWriter::own_lines`]. The first call applies to this
    /// file.
    pub fn own_lines(&self, format: impl Fn(Level, &str) -> String + Send + Sync + 'static) {
        self.buffer.own_lines(Box::new(format));
    }

    /// Returns how many lines were lost so far: the disk did not take them in time, or not at all.
    pub fn lost_lines(&self) -> u64 {
        self.buffer.lost.load(Relaxed)
    }

    /// Waits up to one second until all lines are written. Call it at the end of the program.
    pub fn drain(&self) {
        self.buffer.drain(FLUSH_TIMEOUT);
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        push_lines(&mut self.line, bytes, &self.buffer);
        Ok(bytes.len())
    }

    /// Does nothing, because many loggers flush after each line. See [`LogFile::drain`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opened without blocking, because opening a FIFO would wait for its reader. A FIFO without a reader is an error.
fn append(path: &std::path::Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) => io::Error::new(error.kind(), "it is a FIFO without a reader"),
        _ => error,
    })?;
    fcntl_setfl(&file, OFlags::APPEND)?; // the thread that writes may wait
    Ok(file)
}

/// The destination of a buffer. Used by one thread.
trait Sink: Write {
    /// Opens the file again after it was renamed.
    ///
    /// # Errors
    /// If opening fails; the old file is kept.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// The message for stderr after the first failed write or reopen.
    fn failure(&self, error: &io::Error) -> Option<String> {
        let _ = error;
        None
    }
}

impl Sink for io::Stderr {}

struct FileSink {
    path: PathBuf,
    file: File,
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for FileSink {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> Option<String> {
        Some(format!("the log {:?} can't be written: {error}", self.path))
    }
}

/// The logger that `log_to_stderr` sets.
struct StderrLogger;

impl Log for StderrLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        LOGGER.get().is_some_and(|logger| metadata.level() <= logger.levels.of(metadata.target()))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let format = LOGGER.get().map(|logger| logger.format).unwrap_or_default();
            buffer().push(line_of(record, format, SystemTime::now()).as_bytes());
        }
    }

    fn flush(&self) {
        buffer().drain(FLUSH_TIMEOUT);
    }
}

/// An access line unchanged (a record escapes the client's text); any other message with its level and time, as one
/// line whatever a client or a cause put into it.
fn line_of(record: &Record<'_>, format: LogFormat, now: SystemTime) -> String {
    match record.target() {
        ACCESS => format!("{}\n", record.args()),
        target if format == LogFormat::Json => {
            json_line(record.level(), target, &record.args().to_string(), now) + "\n"
        }
        _ => message_line(record.level(), &with_id(record.args().to_string()), now) + "\n",
    }
}

/// Adds the id of the request for which this thread works, unless the message contains it.
fn with_id(message: String) -> String {
    match LogScope::current().request_id().map(|id| format!("[{id}]")) {
        Some(id) if !message.contains(&id) => format!("{id} {message}"),
        _ => message,
    }
}

fn json_line(level: Level, target: &str, message: &str, now: SystemTime) -> String {
    let mut line = format!("{{\"time\":\"{}\",\"level\":\"{level}\"", utc_time(now));
    push_json_field(&mut line, "target", Some(target));
    push_json_field(&mut line, "id", LogScope::current().request_id());
    push_json_field(&mut line, "message", Some(message));
    line + "}"
}

fn message_line(level: Level, message: &str, now: SystemTime) -> String {
    let mut line = format!("[{level}] ");
    // `Thu, 16 Jun 2022 06:34:59 GMT`
    if let Some(date) = date::write(now)
        && let Ok(date) = std::str::from_utf8(&date)
    {
        let _ = write!(line, "[{}/{}/{}] ", &date[5..7], &date[8..11], &date[12..25]);
    }
    for letter in message.chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line
}

/// Passes each complete line on.
fn push_lines(line: &mut Vec<u8>, bytes: &[u8], buffer: &LogBuffer) {
    line.extend_from_slice(bytes);
    // A line that never ends is dropped, like a line that finds no space.
    if bytes.ends_with(b"\n") || line.len() > CAPACITY {
        buffer.push(line);
        line.clear();
    }
}

/// The buffer of stderr. Its first use starts the thread. Without a thread nothing is written and it fills up, but the
/// server keeps running.
fn buffer() -> &'static LogBuffer {
    static BUFFER: OnceLock<Arc<LogBuffer>> = OnceLock::new();
    BUFFER.get_or_init(|| {
        let buffer = Arc::new(LogBuffer::default());
        let thread = Arc::clone(&buffer);
        let _ = thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut io::stderr()));
        buffer
    })
}

/// From a level and a message to a line without its end.
type FormatLine = Box<dyn Fn(Level, &str) -> String + Send + Sync>;

/// The buffer between the threads that log and the one that writes.
#[derive(Default)]
struct LogBuffer {
    own_lines: OnceLock<FormatLine>,
    lost: AtomicU64,
    state: Mutex<BufferState>,
    reopen: AtomicBool,
    not_empty: Condvar,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct BufferState {
    lines: Vec<u8>,
    dropped: u64,
    /// What the writing thread is doing.
    writer: WriterState,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum WriterState {
    /// Writing, or about to check for more lines: needs no wake-up.
    #[default]
    Busy,
    /// Waiting for a line: it must be woken.
    Waiting,
}

impl fmt::Debug for LogBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogBuffer").field("state", &self.state).finish_non_exhaustive()
    }
}

impl LogBuffer {
    fn own_lines(&self, format: FormatLine) {
        let _ = self.own_lines.set(format); // the first applies
    }

    /// Formats a line of the writer itself.
    fn own_line(&self, level: Level, message: &str) -> String {
        let line = match self.own_lines.get() {
            Some(format) => format(level, message),
            None => message_line(level, message, SystemTime::now()),
        };
        line + "\n"
    }

    fn report(&self, out: &dyn Sink, error: &io::Error) {
        if let Some(message) = out.failure(error) {
            buffer().push(self.own_line(Level::Error, &message).as_bytes());
        }
    }

    /// Appends a line if there is space. Never waits for the writer.
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

    fn wake(&self) {
        let mut state = self.lock();
        state.writer = WriterState::Busy;
        drop(state);
        self.not_empty.notify_one();
    }

    /// The loop of the writing thread. Lines that can't be written are lost, and it continues.
    fn write_to(&self, out: &mut dyn Sink) {
        let (mut batch, mut slow, mut failed, mut torn) = (Vec::new(), 0, 0, false);
        loop {
            let dropped = self.take(&mut batch);
            slow += dropped;
            self.lost.fetch_add(dropped, Relaxed);
            if self.reopen.swap(false, Relaxed)
                && let Err(error) = out.reopen()
            {
                self.report(out, &error);
            }
            match write_batch(out, &batch, &mut torn) {
                Ok(()) => {}
                Err((error, lost)) => {
                    if failed == 0 {
                        self.report(out, &error);
                    }
                    failed += lost;
                    self.lost.fetch_add(lost, Relaxed);
                }
            }
            batch.clear();
            // Written after lines that could be written, so there is space again.
            if slow + failed > 0 && write_batch(out, self.lost_lines(slow, failed).as_bytes(), &mut torn).is_ok() {
                (slow, failed) = (0, 0);
            }
            thread::sleep(WRITE_INTERVAL); // the pause lets lines gather
        }
    }

    /// Waits for lines and takes all, or waits for the file to be reopened. Returns how many lines were dropped.
    fn take(&self, into: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        while state.lines.is_empty() && !self.reopen.load(Relaxed) {
            state.writer = WriterState::Waiting;
            self.drained.notify_all();
            state = self.not_empty.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = WriterState::Busy;
        std::mem::swap(&mut state.lines, into);
        std::mem::take(&mut state.dropped)
    }

    fn lost_lines(&self, slow: u64, failed: u64) -> String {
        [(slow, "they were not read in time"), (failed, "they could not be written")]
            .into_iter()
            .filter(|(lost, _)| *lost > 0)
            .map(|(lost, why)| self.own_line(Level::Warn, &format!("{lost} lines of the log were lost: {why}")))
            .collect()
    }

    fn drain(&self, within: Duration) {
        let busy = |state: &mut BufferState| state.writer == WriterState::Busy;
        drop(self.drained.wait_timeout_while(self.lock(), within, busy));
    }

    fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes whole lines. On an error returns how many of the remaining lines are lost. `torn`: the last bytes written do
/// not end a line, so a line end is written before the next one.
fn write_batch(out: &mut dyn Sink, batch: &[u8], torn: &mut bool) -> Result<(), (io::Error, u64)> {
    let mut rest = batch;
    let mut is_begun = false;
    while !rest.is_empty() {
        let ends_it = *torn && !is_begun;
        match out.write(if ends_it { b"\n" } else { rest }) {
            Ok(written) if written > 0 && ends_it => *torn = false,
            Ok(written) if written > 0 => {
                *torn = rest[written - 1] != b'\n';
                is_begun = true;
                rest = &rest[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            failed => {
                let error = failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                return Err((error, memchr::memchr_iter(b'\n', rest).count() as u64));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full for a while.
    struct Disk {
        written: Vec<u8>,
        space: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(self.space);
            self.space -= some;
            self.written.extend_from_slice(&bytes[..some]);
            if some > 0 { Ok(some) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {}

    #[test]
    fn lines_lost_to_a_full_disk_are_counted() {
        for (space, lost, written) in
            [(9, 0, "one\ntwo\n"), (8, 0, "one\ntwo\n"), (7, 1, "one\ntwo"), (3, 2, "one"), (0, 2, "")]
        {
            let mut disk = Disk { written: Vec::new(), space };
            let mut torn = false;
            let found = write_batch(&mut disk, b"one\ntwo\n", &mut torn).err().map_or(0, |(_, lost)| lost);
            assert_eq!((found, &*String::from_utf8_lossy(&disk.written)), (lost, written), "{space} bytes");
            // Once there is space again, the next line is written from its beginning.
            disk.space = 100;
            assert!(write_batch(&mut disk, b"six\n", &mut torn).is_ok() && !torn);
            let all = String::from_utf8_lossy(&disk.written).into_owned();
            let end = if written.is_empty() || written.ends_with('\n') { "" } else { "\n" };
            assert_eq!(all, format!("{written}{end}six\n"), "{space} bytes");
        }
        let buffer = LogBuffer::default();
        let (line, said) = (buffer.lost_lines(0, 3), "3 lines of the log were lost: they could not be written\n");
        assert!(line.starts_with("[WARN] [") && line.ends_with(&format!(":{}] {said}", &line[26..28])), "{line}");
        buffer.own_lines(Box::new(|level, message| format!("{level}: {message}")));
        assert_eq!(buffer.lost_lines(0, 3), format!("WARN: {said}"));
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_and_counted() {
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
    fn a_line_is_written_whole() {
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
            assert_eq!(line_of(&record, LogFormat::Python, now), line, "{message:?}");
        }
        let json = |target| {
            let args = format_args!("it\nfailed \"é\"");
            line_of(&Record::builder().target(target).level(Level::Warn).args(args).build(), LogFormat::Json, now)
        };
        let line = r#"{"time":"2022-06-16T06:34:59Z","level":"WARN","target":"a::b","message":"it\u000afailed \"é\""}"#;
        assert_eq!(json("a::b"), line.to_owned() + "\n");
        assert_eq!(json(ACCESS), "it\nfailed \"é\"\n");
    }

    #[test]
    fn levels_by_target() {
        use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};
        for (set, target, level) in [
            ("", ACCESS, Info),
            ("", "modest::http", Warn),
            ("", "modest", Warn),
            ("", "modest_shop", Info),
            ("", "shop::orders", Info),
            ("warn", ACCESS, Warn),
            ("warn,modest::access=info", ACCESS, Info),
            ("shop=debug", "shop", Debug),
            ("shop=debug", "shop::orders", Debug),
            ("shop=debug", "shopping", Info),
            ("shop=debug", "modest::tcp", Warn),
            ("shop::orders=trace, shop=ERROR", "shop::orders::new", Trace),
            ("shop::orders=trace, shop=ERROR", "shop::users", Error),
            ("modest=debug", "modest::tcp", Debug),
            ("modest=debug", ACCESS, Info),
            ("shop=debug,off", "shop", Off),
            ("shop=debug,shop=warn", "shop", Warn),
            ("loud,=debug,shop=,shop=loud,a b", "shop", Info),
        ] {
            assert_eq!(Logger::new().levels(set).levels.of(target), level, "{set:?}: {target}");
        }
        let logger = Logger::new().levels("loud,=debug,shop=,shop=loud,a b");
        assert_eq!(logger.levels.unknown, ["loud", "=debug", "shop=", "shop=loud", "a b"]);
        assert_eq!(Logger::new().levels("warn,shop=trace").levels.highest(), Trace);
    }
}
