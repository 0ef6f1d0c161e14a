//! Values of a handler's own types, read from a query, a form, a path or JSON. All faults are reported at once, each
//! with its field.
//!
//! serde stops at the first error. So a faulty value is recorded here and replaced by a stand-in of the expected type,
//! and reading continues. If a value is missing, or if its type itself returns an error, all values are read again with
//! a stand-in for this one.

mod fields; // objects and lists
mod reader; // a value, or its stand-in

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use http::StatusCode;
use serde::de::{self, DeserializeOwned};
use serde_json::{Map, Value};

use super::Request;
use crate::http::error::{Error, FieldError};

use reader::Reader;

/// Reading values of a handler's own types.
impl Request {
    /// Reads the query as a value of this type: a struct with a field for each parameter.
    ///
    /// A field can be text, a number, a `bool` (`true`, `1`, `on` or `yes`; `false`, `0`, `off` or `no`), an enum of
    /// names, an `Option` (`None` if the parameter is missing or empty), a `Vec` (of all parameters of that name), or
    /// of a type that deserializes from one of these. `#[serde(default)]` gives a default to a missing parameter. Other
    /// parameters are ignored, unless the type has `#[serde(deny_unknown_fields)]`.
    ///
    /// ```
    /// use modest::{Request, Response, Result};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Search {
    ///     text: String,
    ///     limit: Option<u8>,
    ///     #[serde(default)]
    ///     tag: Vec<String>,
    /// }
    ///
    /// fn search(request: &Request) -> Result<Response> {
    ///     let search: Search = request.query_as()?;
    ///     let limit = search.limit.unwrap_or(20);
    ///     Ok(Response::text(format!("{limit} of {} in {:?}\n", search.text, search.tag)))
    /// }
    ///
    /// let found = search(&Request::get("/?text=sea&tag=a&tag=b"))?;
    /// assert_eq!(found.status(), 200);
    /// let error = search(&Request::get("/?limit=300")).unwrap_err();
    /// assert_eq!(error.message(), Some("text: missing; limit: expected a whole number from 0 to 255"));
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 400 with all faults ([`Error::field_errors`]).
    pub fn query_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let pairs = self.params().map(|(name, value)| (name.into_owned(), value.into_owned()));
        read_texts(pairs).map_err(|faults| Error::of_fields(StatusCode::BAD_REQUEST, faults))
    }

    /// Reads the body, an HTML form (`application/x-www-form-urlencoded`), as a value of this type. See
    /// [`query_as`](Request::query_as).
    ///
    /// # Errors
    /// Those of [`form`](Request::form), and 422 with all faults ([`Error::field_errors`]).
    pub fn form_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let form = self.form()?;
        let pairs = form.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        read_texts(pairs).map_err(|faults| Error::of_fields(StatusCode::UNPROCESSABLE_ENTITY, faults))
    }

    /// Reads the parts of the path that match names in the pattern of its route as a value of this type. See
    /// [`query_as`](Request::query_as).
    ///
    /// ```
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let pages = Routes::new().get("/{year}/{month}", |_, request| {
    ///     let (year, month): (u16, u8) = request.path_as::<Month>().map(|found| (found.year, found.month))?;
    ///     Ok(Response::text(format!("{month}/{year}\n")))
    /// });
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Month {
    ///     year: u16,
    ///     month: u8,
    /// }
    ///
    /// let http = Http::new(pages.with_state(()));
    /// assert_eq!(http.respond(&Request::get("/2026/11")).text(), "11/2026\n");
    /// assert_eq!(http.respond(&Request::get("/2026/may")).status(), 404);
    /// ```
    ///
    /// # Errors
    /// 404 if a part cannot be parsed, because then there is nothing at this path. 500 if the type has a name that the
    /// pattern does not have, which is a mistake in the program.
    pub fn path_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let pairs: Vec<_> =
            self.routes.params().into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        read_texts(pairs.into_iter()).map_err(|faults| match faults.iter().find(|fault| fault.message() == MISSING) {
            Some(fault) => Error::from(format!("the route of this request has no {{{}}}", fault.field())),
            None => Error::new(StatusCode::NOT_FOUND, ""),
        })
    }

    /// Parses the body as JSON, like [`json`](Request::json), and reports all faults at once.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// #[derive(serde::Deserialize, Debug)]
    /// struct Note {
    ///     title: String,
    ///     stars: u8,
    /// }
    ///
    /// let request = Request::post("/", r#"{"stars": "five"}"#).with_header("content-type", "application/json");
    /// let error = request.json_as::<Note>().unwrap_err();
    /// assert_eq!(error.status(), 422);
    /// assert_eq!(error.message(), Some("title: missing; stars: expected a whole number from 0 to 255"));
    /// ```
    ///
    /// # Errors
    /// 415 if the Content-Type is not that of JSON, 400 if the JSON is malformed, 422 with all faults
    /// ([`Error::field_errors`]). A nested field is named with its path: `address.city`, `items[2].price`.
    pub fn json_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.expect_json()?;
        let bytes = self.bytes()?;
        let error = match serde_json::from_slice(&bytes) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => Err(Error::of_fields(
                StatusCode::UNPROCESSABLE_ENTITY,
                read::<T>(&value, false).err().unwrap_or_else(|| vec![FieldError::new("", error.to_string())]),
            )),
            Err(error) => Err(Error::new(StatusCode::BAD_REQUEST, error.to_string())),
        }
    }
}

/// The message for a field that is absent.
const MISSING: &str = "missing";

/// Reads pairs of names and texts. A name that occurs more than once has a list of values.
fn read_texts<T: DeserializeOwned>(pairs: impl Iterator<Item = (String, String)>) -> Result<T, Vec<FieldError>> {
    let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    pairs.for_each(|(name, value)| values.entry(name).or_default().push(Value::String(value)));
    let one_or_all = |mut values: Vec<Value>| if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
    let object = Map::from_iter(values.into_iter().map(|(name, values)| (name, one_or_all(values))));
    read(&Value::Object(object), true)
}

fn read<T: DeserializeOwned>(value: &Value, is_text: bool) -> Result<T, Vec<FieldError>> {
    let findings = Findings { is_text, ..Findings::default() };
    loop {
        let read = T::deserialize(Reader { value: findings.at("", value), path: String::new(), findings: &findings });
        match read {
            Ok(value) if findings.faults.borrow().is_empty() => return Ok(value),
            Err(stop) if findings.settle(&stop) => {}
            _ => return Err(findings.in_order()),
        }
    }
}

/// The findings of one reading.
#[derive(Default)]
struct Findings {
    /// Whether all values are texts. Then numbers are parsed, and a single value is also a list with one element.
    is_text: bool,
    faults: RefCell<Vec<FieldError>>,
    /// The fields that the outermost type declares.
    declared: Cell<&'static [&'static str]>,
    /// Paths that get a stand-in, because their value is missing or causes an error.
    replaced: RefCell<BTreeSet<String>>,
    /// Paths of fields that the type does not expect.
    left_out: RefCell<BTreeSet<String>>,
}

impl Findings {
    /// Returns the value to read at this path, or `None` for a stand-in.
    fn at<'a>(&self, path: &str, value: &'a Value) -> Option<&'a Value> {
        (!self.replaced.borrow().contains(path)).then_some(value)
    }

    /// Records a fault, unless this path already has one.
    fn note(&self, path: &str, message: String) {
        let mut faults = self.faults.borrow_mut();
        if faults.iter().all(|fault| fault.field() != path) {
            faults.push(FieldError::new(path, message));
        }
    }

    /// Returns all faults, in the order in which the type declares its fields.
    fn in_order(self) -> Vec<FieldError> {
        let mut faults = self.faults.into_inner();
        let declared = self.declared.get();
        let first_name = |fault: &FieldError| fault.field().split(['.', '[']).next().unwrap_or_default().to_owned();
        faults
            .sort_by_key(|fault| declared.iter().position(|name| *name == first_name(fault)).unwrap_or(declared.len()));
        faults
    }

    /// Records the error that has stopped the reading. Returns whether reading again will get further.
    fn settle(&self, stop: &Stop) -> bool {
        let place = stop.place();
        self.note(&place, stop.message());
        let places = if matches!(stop.why, Why::Unknown(..)) { &self.left_out } else { &self.replaced };
        places.borrow_mut().insert(place)
    }
}

/// An error that serde or a type of the user has returned.
#[derive(Debug)]
struct Stop {
    why: Why,
    /// The field, or the object for fields that are missing or unknown. `None`: not known yet.
    path: Option<String>,
}

#[derive(Debug)]
enum Why {
    Missing(&'static str),
    Unknown(String, &'static [&'static str]),
    Custom(String),
}

impl Stop {
    /// Adds the path, if it has none.
    fn at(mut self, path: &str) -> Stop {
        self.path.get_or_insert_with(|| path.to_owned());
        self
    }

    fn place(&self) -> String {
        let path = self.path.as_deref().unwrap_or_default();
        match &self.why {
            Why::Missing(name) => joined(path, name),
            Why::Unknown(name, _) => joined(path, name),
            Why::Custom(_) => path.to_owned(),
        }
    }

    fn message(&self) -> String {
        match &self.why {
            Why::Missing(_) => MISSING.to_owned(),
            Why::Unknown(_, []) => "unknown".to_owned(),
            Why::Unknown(_, known) => format!("unknown; expected one of: {}", known.join(", ")),
            Why::Custom(message) => message.clone(),
        }
    }
}

/// Returns the path of a field of an object.
fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message())
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<M: fmt::Display>(message: M) -> Stop {
        Stop { why: Why::Custom(message.to_string()), path: None }
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Stop {
        Stop::custom(format_args!("expected {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Stop {
        Stop::custom(format_args!("expected {expected}"))
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Stop {
        Stop::custom(format_args!("expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Stop {
        Stop::custom(format_args!("expected one of: {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Stop {
        Stop { why: Why::Unknown(field.to_owned(), expected), path: None }
    }

    fn missing_field(field: &'static str) -> Stop {
        Stop { why: Why::Missing(field), path: None }
    }
}

#[cfg(test)]
mod tests;
