//! The handler of the program: a `StaticFileHandler` whose access log has local time.
//! Created by `cli` from the options; every response comes from `StaticFileHandler`.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use modest::{Http, Layer, Layered, LogRecord, RequestHandler, StaticFileHandler};

use super::error::CliError;
use super::logging::ACCESS;
use super::options::Options;

/// The folder that the program serves. An unreadable one, or a file, is reported now and not with the first request.
pub fn open(options: &Options) -> Result<Http<Layered<LocalTimeLog, StaticFileHandler>>, CliError> {
    let folder = options.folder();
    let files = open_folder(folder, options).map_err(|error| CliError::folder(folder, &error))?;
    Ok(Http::new(files.layer(LocalTimeLog { zone: TimeZone::system() })).access_log(None))
}

fn open_folder(folder: &Path, options: &Options) -> io::Result<StaticFileHandler> {
    fs::read_dir(folder)?;
    let files = StaticFileHandler::new(folder)?.symlinks(options.symlinks).hidden(options.hidden);
    match &options.cache_control {
        Some(value) => files.cache_control("/", value), // "/": all that is in the folder
        None => Ok(files),
    }
}

/// The access log, in the time zone of the machine, whose offset may change with the season.
pub struct LocalTimeLog {
    zone: TimeZone,
}

impl Layer for LocalTimeLog {
    fn log_request(&self, record: &LogRecord<'_>) {
        if log::log_enabled!(target: ACCESS, log::Level::Info) {
            let time = Timestamp::try_from(record.time());
            let offset = time.map_or(0, |time| self.zone.to_offset(time).seconds());
            log::info!(target: ACCESS, "{}", record.clone().with_offset(offset));
        }
    }
}
