//! The log, on stderr or in a file, with `log` and `simplelog`, in local time. The library's writers never block their
//! callers. Started by `lib`; all modules log with the macros of `log`.

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{Level, LevelFilter, Log, Metadata, Record};
use modest::{LogFile, LogFormat, StderrWriter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use simplelog::{CombinedLogger, ConfigBuilder, SharedLogger, WriteLogger};

use crate::error::{CliError, escape_controls, json_string};
use crate::options::{Options, Verbosity};
use crate::sources;

/// The target of access lines. They contain time and address, so nothing is prepended.
pub const ACCESS: &str = "modest::access";

/// The target of messages that are not warnings and are always logged.
pub const NOTICE: &str = "modest::notice";

/// Calls a method of the writer of a [`LogHandle`].
macro_rules! call {
    ($log:ident.$method:ident($($argument:ident)?)) => {
        match $log {
            LogHandle::Stderr(writer) => writer.$method($($argument)?),
            LogHandle::File(writer) => writer.$method($($argument)?),
        }
    };
}

/// The running log. [`LogHandle::finish`] writes the rest.
#[derive(Clone)]
pub enum LogHandle {
    Stderr(StderrWriter),
    File(LogFile),
}

/// The time zone of the machine. It is read at startup, because this process may lose the right to read it.
pub struct Zone {
    pub known: TimeZone,
    wrong: Option<String>,
}

impl Zone {
    pub fn of_machine() -> Zone {
        let found = match std::env::var("TZ") {
            Ok(name) => TimeZone::try_system().map_err(|_| format!("TZ: unknown time zone '{name}'")),
            Err(_) => local_time().map_err(|why| format!("the time zone of this machine is unknown: {why}")),
        };
        match found {
            Ok(known) => Zone { known, wrong: None },
            Err(wrong) => Zone { known: TimeZone::UTC, wrong: Some(wrong) },
        }
    }
}

/// Reads /etc/localtime. Without that file the time zone is UTC (localtime(5)). `TimeZone::try_system` would first list
/// all zones to find the name of this one, which takes longer than the rest of the start.
fn local_time() -> Result<TimeZone, Box<dyn Error>> {
    match fs::read("/etc/localtime") {
        Ok(file) => Ok(TimeZone::tzif("localtime", &file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(TimeZone::UTC),
        Err(error) => Err(error.into()),
    }
}

/// The format of a line: `[WARN] [16/Jun/2022 06:34:59] message`, or a JSON object.
#[derive(Clone)]
pub struct Lines {
    zone: TimeZone,
    is_json: bool,
    /// Whether stderr is connected to the journal. A line then begins with its priority (sd-daemon(3)), without the
    /// time, which the journal adds.
    is_journal: bool,
}

impl Lines {
    pub fn of(options: &Options, zone: &Zone) -> Lines {
        Lines::new(is_json(options), options.logging.log_file.is_none(), zone)
    }

    /// Returns the format for the error of invalid arguments.
    pub fn of_invalid(args: &[OsString]) -> Lines {
        Lines::new(sources::are_for_json(args), true, &Zone::of_machine())
    }

    fn new(is_json: bool, is_stderr: bool, zone: &Zone) -> Lines {
        Lines { zone: zone.known.clone(), is_json, is_journal: is_stderr && !is_json && stderr_is_journal() }
    }

    /// Formats one line. `message` can contain any text from a client or an error.
    fn line(&self, level: Level, target: &str, message: &str) -> String {
        if self.is_journal {
            return format!("<{}>{}", priority(level), escape_controls(message));
        }
        let now = Timestamp::now().to_zoned(self.zone.clone());
        match self.is_json {
            false => format!("[{level}] [{}] {}", now.strftime("%d/%b/%Y %H:%M:%S"), escape_controls(message)),
            true => json_line(&now.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(), level, target, message),
        }
    }

    /// Formats output on stdout, line by line.
    pub fn of_stdout(&self, text: &str) -> String {
        if !self.is_json {
            return text.to_owned();
        }
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| self.line(Level::Info, "modest", line.trim()) + "\n").collect()
    }
}

/// Returns whether a descriptor accepts a line, perhaps after a short wait for the reader of a full pipe.
pub fn accepts(out: &impl AsFd) -> bool {
    const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    retry_on_intr(|| poll(&mut [PollFd::new(out, PollFlags::OUT)], Some(&PATIENCE))) != Ok(0)
}

/// The messages of a parent process, which has no thread to write a log file: one line each on stderr.
pub struct ParentLog {
    lines: Lines,
    lost: AtomicU64,
}

impl ParentLog {
    pub fn of(options: &Options) -> ParentLog {
        ParentLog { lines: Lines::new(is_json(options), true, &Zone::of_machine()), lost: AtomicU64::new(0) }
    }

    /// Errors are ignored. A line that finds no space in a pipe is lost: the parent starts and ends processes, so it
    /// does not wait for a reader that may never read.
    pub fn write(&self, level: Level, program: &str, message: &str) {
        if !accepts(&io::stderr()) {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        let lost = match self.lost.swap(0, Relaxed) {
            0 => String::new(),
            lost => self.line(
                Level::Warn,
                program,
                &format!("{lost} lines of the log were lost: they were not read in time"),
            ),
        };
        let _ = io::stderr().write_all((lost + &self.line(level, program, message)).as_bytes());
    }

    fn line(&self, level: Level, program: &str, message: &str) -> String {
        let line = match self.lines.is_json {
            true => self.lines.line(level, program, message), // the target is the program
            false => self.lines.line(level, program, &format!("{program}: {message}")),
        };
        line + "\n"
    }
}

/// Returns whether stderr is a stream to the journal: systemd sets `JOURNAL_STREAM` to its device and inode.
fn stderr_is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Returns the priority of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

pub fn is_json(options: &Options) -> bool {
    options.logging.log_format == Some(LogFormat::Json)
}

/// Returns an object of `time` (as in the access log), `level`, `target` and `message`.
fn json_line(time: &str, level: Level, target: &str, message: &str) -> String {
    let time = time.strip_suffix("+00:00").map_or_else(|| time.to_owned(), |time| format!("{time}Z"));
    let (target, message) = (json_string(target), json_string(message));
    format!(r#"{{"time":"{time}","level":"{level}","target":{target},"message":{message}}}"#)
}

/// Returns the last line of a program that fails, for stderr.
pub fn last_line(error: &CliError, lines: &Lines, program: &str) -> String {
    let text = error.to_string().replace("'modest --help'", &format!("'{program} --help'"));
    match lines.is_json || lines.is_journal {
        true => lines.line(Level::Error, program, &text),
        false => format!("{program}: {text}"),
    }
}

pub fn start(options: &Options, zone: &Zone) -> Result<LogHandle, CliError> {
    let (access, other) = match options.verbosity() {
        Verbosity::Quiet => (LevelFilter::Off, LevelFilter::Off),
        Verbosity::Normal => (LevelFilter::Info, LevelFilter::Warn),
        Verbosity::Verbose => (LevelFilter::Info, LevelFilter::Debug),
    };
    let file = options.logging.log_file.as_ref();
    let is_new = file.is_some_and(|path| fs::symlink_metadata(path).is_err());
    let opened = file.map(|path| LogFile::open(path).map_err(|error| CliError::log_file(path, &error))).transpose()?;
    if let Some(path) = file.filter(|_| options.starting.check && is_new) {
        let _ = fs::remove_file(path); // another user may run the service
    }
    let writer = match opened {
        Some(file) if !options.starting.check => LogHandle::File(file),
        _ => LogHandle::Stderr(StderrWriter::new()),
    };
    let loggers: Vec<Box<dyn SharedLogger>> = vec![
        WriteLogger::new(
            access,
            base_config().add_filter_allow_str(ACCESS).add_filter_allow_str(NOTICE).build(),
            writer.clone(),
        ),
        WriteLogger::new(
            other,
            base_config().add_filter_ignore_str(ACCESS).add_filter_ignore_str(NOTICE).build(),
            writer.clone(),
        ),
    ];
    let lines = Lines::of(options, zone);
    let own = lines.clone();
    writer.own_lines(move |level, message| own.line(level, "modest", message));
    let logger = LineLogger { loggers: CombinedLogger::new(loggers), lines };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(access.max(other));
    }
    if let Some(wrong) = &zone.wrong {
        log::warn!("{wrong}: times are in UTC");
    }
    panic::set_hook(Box::new(|panic| log::error!("{panic}"))); // std's own hook writes to stderr and would block
    Ok(writer)
}

/// Returns whether the output is a terminal whose user accepts colours (no-color.org).
pub fn has_colours(options: &Options) -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    options.logging.log_file.is_none() && io::stderr().is_terminal() && !is_plain
}

impl LogHandle {
    fn own_lines(&self, format: impl Fn(Level, &str) -> String + Send + Sync + 'static) {
        call!(self.own_lines(format))
    }

    pub fn is_file(&self) -> bool {
        matches!(self, LogHandle::File(_))
    }

    /// Opens the file again, for example after `logrotate` has renamed it.
    pub fn reopen(&self) -> io::Result<()> {
        match self {
            LogHandle::Stderr(_) => Ok(()),
            LogHandle::File(writer) => writer.reopen(),
        }
    }

    /// Returns how many lines were lost so far.
    pub fn lost_lines(&self) -> u64 {
        call!(self.lost_lines())
    }

    /// Waits up to a second until the last line is written.
    pub fn finish(&self) {
        call!(self.drain())
    }
}

impl Write for LogHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        call!(self.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        call!(self.flush())
    }
}

fn base_config() -> ConfigBuilder {
    let mut config = ConfigBuilder::new();
    config
        .set_time_level(LevelFilter::Off) // `Lines` writes everything before a message
        .set_max_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off);
    config
}

/// Turns each message into one line. An access line is complete: the library escapes text of the client.
struct LineLogger {
    loggers: Box<CombinedLogger>,
    lines: Lines,
}

impl Log for LineLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.loggers.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = match record.target() {
                ACCESS => record.args().to_string(),
                target => self.lines.line(record.level(), target, &record.args().to_string()),
            };
            let metadata = record.metadata().clone();
            self.loggers.log(&Record::builder().metadata(metadata).args(format_args!("{line}")).build());
        }
    }

    fn flush(&self) {
        self.loggers.flush();
    }
}
