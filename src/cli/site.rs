//! The handler of the program: a `StaticFileHandler` whose access log has local time.
//! Created by `cli` from the options; every response comes from `StaticFileHandler`.

use std::fs;
use std::io;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use modest::{Error, LogRecord, Request, RequestHandler, Response, Result, StaticFileHandler};

use super::error::CliError;
use super::logging::ACCESS;
use super::options::Options;

/// The folder that the program serves.
pub struct Site {
    files: StaticFileHandler,
    zone: TimeZone,
}

impl Site {
    /// Open the folder. An unreadable one, or a file, is reported now and not with the first request.
    pub fn open(options: &Options) -> std::result::Result<Site, CliError> {
        let folder = options.folder();
        let files = open(folder, options).map_err(|error| CliError::folder(folder, &error))?;
        Ok(Site { files, zone: TimeZone::system() })
    }
}

fn open(folder: &Path, options: &Options) -> io::Result<StaticFileHandler> {
    fs::read_dir(folder)?;
    let files = StaticFileHandler::new(folder)?.symlinks(options.symlinks).hidden(options.hidden);
    match &options.cache_control {
        Some(value) => files.cache_control("/", value), // "/": all that is in the folder
        None => Ok(files),
    }
}

impl RequestHandler for Site {
    fn handle(&self, request: &Request) -> Result<Response> {
        self.files.handle(request)
    }

    fn before_body(&self, request: &Request) -> Result<(), Error> {
        self.files.before_body(request)
    }

    fn send_error(&self, request: &Request, error: &Error) -> Response {
        self.files.send_error(request, error)
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        if log::log_enabled!(target: ACCESS, log::Level::Info) {
            let time = Timestamp::try_from(record.time);
            let offset = time.map_or(0, |time| self.zone.to_offset(time).seconds());
            log::info!(target: ACCESS, "{}", record.clone().with_offset(offset));
        }
    }
}
