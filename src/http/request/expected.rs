//! Describes expected values in error messages for clients, without naming Rust types.

use std::any::type_name;
use std::fmt;
use std::str::FromStr;

use http::StatusCode;

use crate::http::error::Error;

/// The message for a field that is absent.
pub(super) const MISSING: &str = "missing";

/// Parses the value of this name in a query or a form.
pub(super) fn parse<T: FromStr<Err: fmt::Display>>(name: &str, value: Option<&str>) -> Result<T, Error> {
    let wrong = |message: String| Error::new(StatusCode::BAD_REQUEST, "").with_field_error(name, message);
    let value = value.ok_or_else(|| wrong(MISSING.to_owned()))?;
    value.parse().map_err(|error: T::Err| match of_type(type_name::<T>()) {
        Some(words) => wrong(format!("expected {words}")),
        None => wrong(error.to_string()),
    })
}

/// Describes the values of the basic type of this name.
pub(super) fn of_type(name: &str) -> Option<&'static str> {
    Some(match name {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number, 0 or more",
        "i8" => "a whole number from -128 to 127",
        "i16" => "a whole number from -32768 to 32767",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" => "true or false",
        "char" => "one character",
        _ => return None,
    })
}

/// Rewrites what serde expects. The text of a type that describes itself stays unchanged.
#[cfg(feature = "json")]
pub(super) fn of_serde(expected: &str) -> String {
    let number = expected.strip_prefix("a nonzero ").and_then(of_type).map(|words| format!("{words}, except 0"));
    if let Some(words) = number.or_else(|| of_type(expected).map(str::to_owned)) {
        return words;
    }
    let begins = |starts: &[&str]| starts.iter().any(|start| expected.starts_with(start));
    let length = expected.split(' ').find_map(|word| word.parse::<usize>().ok());
    match expected {
        "a string" | "str" | "string" | "a borrowed string" | "unit variant" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a character" => "one character".to_owned(),
        "a sequence" => "a list".to_owned(),
        "map with a single key" => "an object with one field".to_owned(),
        "unit" => "nothing".to_owned(),
        "a map" | "newtype variant" | "tuple variant" => "an object".to_owned(),
        _ if begins(&["struct ", "internally tagged enum ", "adjacently tagged enum "]) => "an object".to_owned(),
        _ if begins(&["tuple ", "a tuple ", "an array "]) => {
            length.map_or("a list".to_owned(), |length| format!("a list of {length}"))
        }
        _ if begins(&["enum", "string or map"]) => "text or an object".to_owned(),
        _ if begins(&["unit struct "]) => "nothing".to_owned(),
        _ if expected.ends_with(" identifier") => "a name".to_owned(),
        _ => expected.to_owned(),
    }
}
