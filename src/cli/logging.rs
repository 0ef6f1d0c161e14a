//! The log, on stderr or in a file, by `log` and `simplelog`, in local time, through the library's writers, which never block their
//! callers. Started by `cli`; all modules log by the macros of `log`.

use std::io::{self, IsTerminal, Write};
use std::panic;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{LevelFilter, Log, Metadata, Record};
use modest::{LogFile, StderrWriter};
use simplelog::{CombinedLogger, Config, ConfigBuilder, SharedLogger, WriteLogger};

use super::error::{CliError, escape_controls};
use super::options::{Options, Verbosity};

/// The target of access lines: they contain their own time and address, so nothing is prepended.
pub const ACCESS: &str = "modest::access";

/// The running log. [`LogHandle::finish`] writes what is left.
#[derive(Clone)]
pub enum LogHandle {
    Stderr(StderrWriter),
    File(LogFile),
}

/// The time zone of the machine, read at the start: later this process may have no right to.
pub struct Zone {
    pub known: TimeZone,
    wrong: Option<String>,
}

impl Zone {
    pub fn of_machine() -> Zone {
        let (known, wrong) = match (TimeZone::try_system(), std::env::var("TZ")) {
            (Ok(zone), _) => (zone, None),
            (Err(_), Ok(name)) => (TimeZone::UTC, Some(format!("TZ: unknown time zone '{name}'"))),
            (Err(error), Err(_)) => (TimeZone::UTC, Some(format!("the time zone of this machine is unknown: {error}"))),
        };
        Zone { known, wrong }
    }
}

/// Set up the log.
pub fn start(options: &Options, zone: &Zone) -> Result<LogHandle, CliError> {
    let (access, other) = match options.verbosity() {
        Verbosity::Quiet => (LevelFilter::Off, LevelFilter::Off),
        Verbosity::Normal => (LevelFilter::Info, LevelFilter::Warn),
        Verbosity::Verbose => (LevelFilter::Info, LevelFilter::Debug),
    };
    let writer = match &options.logging.log_file {
        None => LogHandle::Stderr(StderrWriter::new()),
        Some(path) => LogHandle::File(open(path)?),
    };
    let loggers: Vec<Box<dyn SharedLogger>> = vec![
        WriteLogger::new(access, access_config(), writer.clone()),
        WriteLogger::new(other, message_config(), writer.clone()),
    ];
    let logger = LineLogger { loggers: CombinedLogger::new(loggers), zone: zone.known.clone() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(access.max(other));
    }
    if let Some(wrong) = &zone.wrong {
        log::warn!("{wrong}: times are in UTC");
    }
    panic::set_hook(Box::new(|panic| log::error!("{panic}"))); // std's own hook writes to stderr and would block
    Ok(writer)
}

/// A log file, which SIGHUP opens anew.
fn open(path: &Path) -> Result<LogFile, CliError> {
    let failed = |error: io::Error| CliError::log_file(path, &error);
    let file = LogFile::open(path).map_err(failed)?;
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGHUP]).map_err(failed)?;
    let reopened = file.clone();
    let wait = move || signals.forever().for_each(|_| reopened.reopen());
    std::thread::Builder::new().name("modest-log".into()).spawn(wait).map_err(failed)?;
    Ok(file)
}

/// Whether a person looks at it, and wants colours (no-color.org).
pub fn has_colours(options: &Options) -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    options.logging.log_file.is_none() && io::stderr().is_terminal() && !is_plain
}

impl LogHandle {
    /// Wait until the last line is written, for a second at most.
    pub fn finish(&self) {
        match self {
            LogHandle::Stderr(writer) => writer.drain(),
            LogHandle::File(writer) => writer.drain(),
        }
    }
}

impl Write for LogHandle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            LogHandle::Stderr(writer) => writer.write(bytes),
            LogHandle::File(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            LogHandle::Stderr(writer) => writer.flush(),
            LogHandle::File(writer) => writer.flush(),
        }
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
