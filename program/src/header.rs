//! `--header`: fields of all responses, or of files. Called by all modules that serve something.

use modest::{Http, RequestHandler};

use crate::error::CliError;
use crate::options::Options;
use crate::values::Field;

/// Adds the fields of all responses, except `Cache-Control`, which depends on the response and is added by folders.
pub fn of_all<H: RequestHandler>(http: Http<H>, options: &Options) -> Result<Http<H>, CliError> {
    let mut of_all = options.fields.header.iter().filter(|field| !is_of_files(field));
    let http = of_all.try_fold(http, |http, field| http.header(&field.name, &field.value));
    http.map_err(|error| CliError::usage(format!("--header: {error}")))
}

pub fn is_of_files(field: &Field) -> bool {
    field.pattern.is_some() || field.name.eq_ignore_ascii_case("cache-control")
}
