//! HTML forms, `application/x-www-form-urlencoded`. Called by `request`.
//! A malformed form is rejected, unlike a malformed query: clients encode forms, and what they send is often stored.

use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use percent_encoding::percent_decode;

use super::expected;
use crate::http::error::Error;

/// The fields of a form, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    fields: Vec<(String, String)>,
}

/// The maximum number of fields. More would be an attack on memory.
const MAX_FIELDS: usize = 10_000;

impl Form {
    /// Returns the first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Returns all values of that name.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Returns all names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Parses the first value of that name, as [`Request::parse_param`](crate::Request::parse_param) does for the
    /// query.
    ///
    /// # Errors
    /// 400 if it is missing or cannot be parsed as `T`, with the name of the field in [`Error::field_errors`].
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::post("/", "name=Ada&age=x").with_header("content-type", "application/x-www-form-urlencoded");
    /// let form = request.form()?;
    /// assert_eq!(form.parse::<String>("name")?, "Ada");
    /// assert_eq!(form.parse::<u32>("age").unwrap_err().status(), 400);
    /// assert_eq!(form.parse::<u32>("size").unwrap_err().message(), Some("size: missing"));
    /// # Ok::<(), modest::Error>(())
    /// ```
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        expected::parse(name, self.get(name))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Form, Error> {
        let mut fields = Vec::new();
        for pair in bytes.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            if fields.len() == MAX_FIELDS {
                return Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, "the form has too many fields"));
            }
            let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
            let value = pair.get(equals + 1..).unwrap_or_default();
            fields.push((decode(&pair[..equals])?, decode(value)?));
        }
        Ok(Form { fields })
    }
}

fn decode(bytes: &[u8]) -> Result<String, Error> {
    let mut escapes = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if !escapes.all(|(at, _)| is_hex(at + 1) && is_hex(at + 2)) {
        return Err(Error::new(StatusCode::BAD_REQUEST, "the form contains an invalid percent-encoding"));
    }
    let spaced: Vec<u8> = bytes.iter().map(|&byte| if byte == b'+' { b' ' } else { byte }).collect();
    String::from_utf8(percent_decode(&spaced).collect())
        .map_err(|_| Error::new(StatusCode::BAD_REQUEST, "the form is not UTF-8"))
}
