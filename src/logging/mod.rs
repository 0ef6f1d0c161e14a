//! The log on stderr for programs without a logger: `log_to_stderr` and its settings. All modules log with the macros
//! of `log`; none calls this module.
//!
//! A logging thread only copies a line into a bounded buffer, and one thread writes the buffer out. Lines are lost if
//! the buffer is full, because the reader is slow, or if they cannot be written, because the disk is full or the pipe
//! is closed. Lost lines are counted, and the count is written once there is space again.

mod buffer;
mod writers;

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::http::{LogFormat, LogScope, date, push_json_field, utc_time};
use crate::misleading;

use self::writers::buffer;

pub use self::writers::{LogFile, StderrWriter};

/// The target of access lines. They contain time and address, so nothing is prepended.
const ACCESS: &str = "modest::access";

const FLUSH_TIMEOUT: Duration = Duration::from_secs(1); // how long to wait for the last lines at the end

/// Logs to stderr: access lines in the format of Python's `http.server`; `info`, warnings and errors of the program and
/// its crates; warnings and errors of this crate. Each message is one line with level and time. Does nothing if the
/// process already has a logger.
///
/// Without a logger, nothing is logged, and the reason of a 500 is lost.
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
/// Use [`LogScope`](crate::LogScope) for lines that other threads log.
///
/// At `modest=info` the reason of each 4xx is logged, with client and request line: `127.0.0.1 "GET /a HTTP/1.1": 404
/// Not Found: there is no note 7`. A 5xx is logged as an error if it has a cause. Otherwise it has only its access
/// line.
#[derive(Clone, Debug)]
#[must_use = "logs nothing until it is started"]
pub struct Logger {
    levels: Levels,
    format: LogFormat,
}

impl Logger {
    /// Creates the default settings: `info` for the program and its crates, `warn` for this crate, and access lines;
    /// all as text.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Logger {
        Logger { levels: Levels::default(), format: LogFormat::Python }
    }

    /// Sets levels by target, in the syntax of `RUST_LOG`: levels for all targets (`warn`), or for a module and those
    /// within it (`my_shop::orders=debug`), separated by commas. The longest matching name applies. A level for all
    /// targets replaces what was set before, including access lines: `warn,modest::access=info` keeps them. Levels:
    /// `off`, `error`, `warn`, `info`, `debug`, `trace`. An invalid part is logged as a warning at startup.
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

    /// Returns the level of the longest name that is the target or a module around it. If a name was set twice, the
    /// later level applies.
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

/// Formats a record. An access line stays unchanged (its text from the client is already escaped). Any other message
/// gets its level and time, and is escaped so that any text is one line.
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
    line + &misleading::escape(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_in_lines() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_655_361_299);
        for (target, level, message, line) in [
            (ACCESS, Level::Info, "1.2.3.4 - -", "1.2.3.4 - -\n"),
            ("modest", Level::Error, "it\nfailed\x1b[2J é", "[ERROR] [16/Jun/2022 06:34:59] it\\nfailed\\u{1b}[2J é\n"),
        ] {
            let line_of_args = |args| {
                line_of(&Record::builder().target(target).level(level).args(args).build(), LogFormat::Python, now)
            };
            assert_eq!(line_of_args(format_args!("{message}")), line, "{message:?}");
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
