//! The log on stderr, by `log` and `simplelog`, in local time, through the library's writer, which never blocks its
//! callers. Started by `cli`; all modules log by the macros of `log`.

use std::panic;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{LevelFilter, Log, Metadata, Record};
use modest::StderrWriter;
use simplelog::{CombinedLogger, Config, ConfigBuilder, SharedLogger, WriteLogger};

use super::error::escape_controls;
use super::options::Verbosity;

/// The target of access lines: they contain their own time and address, so nothing is prepended.
pub const ACCESS: &str = "modest::access";

/// The running log. [`LogHandle::finish`] writes what is left.
pub struct LogHandle {
    writer: StderrWriter,
}

/// Set up the log.
pub fn start(verbosity: Verbosity) -> LogHandle {
    let (access, other) = match verbosity {
        Verbosity::Quiet => (LevelFilter::Off, LevelFilter::Off),
        Verbosity::Normal => (LevelFilter::Info, LevelFilter::Warn),
        Verbosity::Verbose => (LevelFilter::Info, LevelFilter::Debug),
    };
    let loggers: Vec<Box<dyn SharedLogger>> = vec![
        WriteLogger::new(access, access_config(), StderrWriter::new()),
        WriteLogger::new(other, message_config(), StderrWriter::new()),
    ];
    let logger = LineLogger { loggers: CombinedLogger::new(loggers), zone: TimeZone::system() };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(access.max(other));
    }
    panic::set_hook(Box::new(|panic| log::error!("{panic}"))); // std's own hook writes to stderr and would block
    LogHandle { writer: StderrWriter::new() }
}

impl LogHandle {
    /// Wait until the last line is written, for a second at most.
    pub fn finish(&self) {
        self.writer.drain();
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
