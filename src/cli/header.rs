//! `--header`: fields of all answers, or of files. Called by whatever serves something.

use modest::{Http, RequestHandler};

use super::error::CliError;
use super::options::Options;
use super::values::Field;

/// The same with the fields of all answers. `Cache-Control` is none: it is about what was found, and folders send it.
pub fn of_all<H: RequestHandler>(http: Http<H>, options: &Options) -> Result<Http<H>, CliError> {
    let mut of_all = options.fields.header.iter().filter(|field| !is_of_files(field));
    let http = of_all.try_fold(http, |http, field| http.header(&field.name, &field.value));
    http.map_err(|error| CliError::usage(format!("--header: {error}")))
}

/// Whether it is for files alone.
pub fn is_of_files(field: &Field) -> bool {
    field.pattern.is_some() || field.name.eq_ignore_ascii_case("cache-control")
}
