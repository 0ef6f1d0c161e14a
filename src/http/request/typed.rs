//! Values of a handler's own types, read from a query, a form, a path or JSON. All faults are reported at once, each
//! with its field.
//!
//! serde stops at the first error. So a faulty value is recorded here and replaced by a stand-in of the expected type,
//! and reading continues. If a value is missing, or if its type itself returns an error, all values are read again with
//! a stand-in for this one. So the number of readings depends on the number of faults. Each reading looks at each value
//! once. The reading that finds more faults than an error can have is the last.

mod duplicates; // names that an object has twice
mod fields; // objects and lists
mod reader; // a value, or its stand-in

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;

use http::StatusCode;
use serde::de::{self, DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

use super::Request;
use super::expected::{self, MISSING};
use crate::http::error::{Error, FieldError, MAX_FAULTS};

use reader::{Reader, Source};

/// Reading values of a handler's own types.
impl Request {
    /// Reads the query as a value of this type: a struct with a field for each parameter.
    ///
    /// A field can be text, a number, a `bool` (`true`, `1`, `on` or `yes`; `false`, `0`, `off` or `no`), an enum of
    /// names, an `Option` (`None` if the parameter is missing or empty), a `Vec` (of all parameters of that name,
    /// empty if there are none), or of a type that deserializes from one of these. `#[serde(default)]` gives a default
    /// to a missing parameter. Other parameters are ignored, unless the type has `#[serde(deny_unknown_fields)]`.
    ///
    /// Below `#[serde(flatten)]` and in an enum with a tag, serde reads a field before it knows its type.
    /// There a field can be text, an enum of names, an `Option` of these, or of a type that parses text itself. For a
    /// number, a `bool` or a `Vec` the result is a 500, and the reason is logged.
    ///
    /// A malformed query is never an error in itself: see [`params`](Request::params).
    ///
    /// ```
    /// use modest::{Request, Response, Result};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// struct Search {
    ///     text: String,
    ///     limit: Option<u8>,
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
    /// 400 with all faults ([`Error::field_errors`]); of more than 20, the first 20 and an entry `and more`.
    pub fn query_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let pairs = self.params().map(|(name, value)| (name.into_owned(), value.into_owned()));
        read_texts(pairs, true).map_err(|faults| rejected(StatusCode::BAD_REQUEST, faults))
    }

    /// Reads the body, an HTML form (`application/x-www-form-urlencoded`), as a value of this type. See
    /// [`query_as`](Request::query_as).
    ///
    /// # Errors
    /// The errors of [`form`](Request::form), and 422 with the faults, as for [`query_as`](Request::query_as).
    pub fn form_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let form = self.form()?;
        let pairs = form.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        read_texts(pairs, true).map_err(|faults| rejected(StatusCode::UNPROCESSABLE_ENTITY, faults))
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
        read_texts(pairs.into_iter(), false).map_err(|faults| {
            match faults.iter().find(|fault| fault.message() == MISSING) {
                Some(fault) => Error::from(format!("the route of this request has no {{{}}}", fault.field())),
                None => Error::new(StatusCode::NOT_FOUND, ""),
            }
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
    /// ([`Error::field_errors`]), or with 20 of them and `and more`. A nested field is named with its path:
    /// `address.city`, `items[2].price`. Names and messages are cut after 200 characters. Only the first
    /// fault is reported for a body with more than 65,536 of the characters `{`, `[`, `,` and `:`.
    pub fn json_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.expect_json()?;
        let bytes = self.bytes()?;
        let error = match serde_json::from_slice(&bytes) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let rejected = |faults| Error::of_fields(StatusCode::UNPROCESSABLE_ENTITY, faults);
        let of_serde = || vec![fault_of_serde(&error, &bytes)];
        let marks = bytes.iter().filter(|byte| b"{[,:".contains(byte)).count();
        if marks > MAX_MARKS {
            let is_json = serde_json::from_slice::<IgnoredAny>(&bytes);
            return Err(is_json.map_or_else(|error| malformed(&error), |_| rejected(of_serde())));
        }
        Err(match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => rejected(read::<T>(&value, Source::Json, false).err().unwrap_or_else(of_serde)),
            Err(error) => malformed(&error),
        })
    }
}

/// The most characters of the syntax of lists and objects with which all faults of JSON are found. They bound the
/// number of values, which can take a hundred times the space of their JSON.
const MAX_MARKS: usize = 1 << 16;

/// Returns the error for JSON that is malformed, or not of the requested type. The reason can contain a text of the
/// client, so it is cut.
pub(super) fn malformed(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let reason = match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}... at line {} column {}", &text[..end], error.line(), error.column()),
        None => text,
    };
    Error::new(StatusCode::BAD_REQUEST, reason)
}

/// Returns the error for these faults of a query or a form.
fn rejected(status: StatusCode, faults: Vec<FieldError>) -> Error {
    match faults.iter().any(|fault| fault.message() == UNFIT) {
        true => Error::from(UNFIT),
        false => Error::of_fields(status, faults),
    }
}

/// serde reads a flattened struct and the variants of a tagged enum from a copy of all values, without telling which
/// type each of them has. So texts stay texts.
const UNFIT: &str = "a query or a form is read as a type that is not text below `#[serde(flatten)]` or in an enum with \
                     a tag: only text can be read there";

/// Describes an error that occurs only if serde reads the JSON itself.
fn fault_of_serde(error: &serde_json::Error, json: &[u8]) -> FieldError {
    let text = error.to_string();
    match text.strip_prefix("duplicate field `").and_then(|rest| rest.split_once('`')) {
        Some((name, _)) => {
            let lines_before = json.split_inclusive(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
            let end = lines_before.map(<[u8]>::len).sum::<usize>() + error.column();
            let path = duplicates::path_of_last(name, &json[..end.min(json.len())]);
            FieldError::new(path.unwrap_or_else(|| name.to_owned()), DUPLICATE) // the name may be an alias of another
        }
        None => FieldError::new("", format!("not as expected at line {} column {}", error.line(), error.column())),
    }
}

/// The message for a field that occurs more than once.
const DUPLICATE: &str = "given more than once";

/// Reads pairs of names and texts. A name that occurs more than once has a list of values.
fn read_texts<T: DeserializeOwned>(
    pairs: impl Iterator<Item = (String, String)>,
    absent_is_empty: bool,
) -> Result<T, Vec<FieldError>> {
    let mut values: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    pairs.for_each(|(name, value)| values.entry(name).or_default().push(Value::String(value)));
    let one_or_all = |mut values: Vec<Value>| if values.len() == 1 { values.remove(0) } else { Value::Array(values) };
    let object = Map::from_iter(values.into_iter().map(|(name, values)| (name, one_or_all(values))));
    read(&Value::Object(object), Source::Texts, absent_is_empty)
}

/// `absent_is_empty`: whether an absent list is an empty one.
fn read<T: DeserializeOwned>(value: &Value, source: Source, absent_is_empty: bool) -> Result<T, Vec<FieldError>> {
    let findings = Findings { absent_is_empty, ..Findings::default() };
    let (path, place) = (Path { parent: None, step: Step::Name("") }, place_of(value));
    loop {
        let value = findings.treatment(place).is_none().then_some(value);
        let reader = Reader { value, place, path: &path, source, is_absent: false, findings: &findings };
        match T::deserialize(reader).map_err(|stop| stop.at(&reader, Treatment::StandIn)) {
            Ok(value) if findings.faults.borrow().is_empty() => return Ok(value),
            Err(stop) if findings.settle(&stop) => {}
            _ => return Err(findings.in_order()),
        }
    }
}

/// A value, by its address. For a missing field: the object, and the name of the field.
type Place = (usize, &'static str);

fn place_of(value: &Value) -> Place {
    (std::ptr::from_ref(value).addr(), "")
}

/// The steps to a value. They become text only for a fault.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        let steps: Vec<_> = std::iter::successors(Some(self), |path| path.parent).map(|path| &path.step).collect();
        steps.into_iter().rev().fold(String::new(), |path, step| match step {
            Step::Name(name) => joined(&path, name),
            Step::Index(index) => cut(&format!("{path}[{index}]")),
        })
    }
}

/// Returns the path of a field of an object.
fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { cut(name) } else { cut(&format!("{path}.{}", cut(name))) }
}

/// Limits the length of a text from a request.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The maximum number of characters in the name or the message of a fault.
const MAX_TEXT: usize = 200;

/// The maximum number of characters of a value in a message.
const MAX_FOUND: usize = 40;

/// The findings of all readings of one input.
#[derive(Default)]
struct Findings {
    absent_is_empty: bool,
    /// At most one more than an error can have.
    faults: RefCell<Vec<(Place, FieldError)>>,
    /// The fields that the outermost type declares.
    declared: Cell<&'static [&'static str]>,
    treated: RefCell<BTreeMap<Place, Treatment>>,
    /// How many objects were replaced because of a field.
    replaced: Cell<usize>,
}

/// The treatment of a value that is missing or causes an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    StandIn,
    LeftOut,
}

impl Findings {
    fn treatment(&self, place: Place) -> Option<Treatment> {
        self.treated.borrow().get(&place).copied()
    }

    /// Records a fault, unless this place already has one.
    ///
    /// # Errors
    /// If there are enough faults.
    fn note(&self, reader: &Reader<'_>, message: impl fmt::Display) -> Result<(), Stop> {
        self.record(reader.place, || FieldError::new(reader.path.text(), cut(&message.to_string())))
            .then_some(())
            .ok_or(Stop { why: Why::Enough, at: None })
    }

    /// Returns whether reading can continue.
    fn record(&self, place: Place, fault: impl FnOnce() -> FieldError) -> bool {
        let mut faults = self.faults.borrow_mut();
        if faults.len() <= MAX_FAULTS && faults.iter().all(|(known, _)| *known != place) {
            faults.push((place, fault()));
        }
        faults.len() <= MAX_FAULTS
    }

    /// Returns all faults, in the order in which the type declares its fields.
    fn in_order(self) -> Vec<FieldError> {
        let mut faults: Vec<_> = self.faults.into_inner().into_iter().map(|(_, fault)| fault).collect();
        let declared = self.declared.get();
        let first_name = |fault: &FieldError| fault.field().split(['.', '[']).next().unwrap_or_default().to_owned();
        faults
            .sort_by_key(|fault| declared.iter().position(|name| *name == first_name(fault)).unwrap_or(declared.len()));
        faults
    }

    /// Records the error that has stopped the reading. Returns whether reading again will get further.
    fn settle(&self, stop: &Stop) -> bool {
        let Some(at) = &stop.at else { return false };
        let is_missing = matches!(stop.why, Why::Missing(_));
        match &stop.why {
            Why::Enough => return false,
            // The type does not accept the stand-in for a faulty value. A value in a list or a map can be left out.
            _ if at.is_stand_in => {
                let is_value = at.place.1.is_empty();
                return is_value && self.treat(at.place, Treatment::LeftOut);
            }
            // The field was left out, and its object is not accepted without it.
            _ if is_missing && self.faults.borrow().iter().any(|(_, fault)| fault.field() == at.path) => {
                let object = (at.place.0, "");
                self.replaced.set(self.replaced.get() + 1);
                let is_new = self.replaced.get() <= MAX_FAULTS && self.treatment(object).is_none();
                return is_new && self.treat(object, Treatment::StandIn);
            }
            _ => {}
        }
        let can_continue = self.record(at.place, || FieldError::new(at.path.clone(), cut(&stop.message())));
        let can_continue = can_continue && !matches!(stop.why, Why::Duplicate(_) | Why::Unfit);
        can_continue && self.treatment(at.place).is_none() && self.treat(at.place, at.treatment)
    }

    fn treat(&self, place: Place, treatment: Treatment) -> bool {
        self.treated.borrow_mut().insert(place, treatment) != Some(treatment)
    }
}

/// An error that serde or a type of the user has returned, or `Reader` if there are enough faults.
#[derive(Debug)]
struct Stop {
    why: Why,
    /// `None`: not known yet.
    at: Option<Spot>,
}

#[derive(Debug)]
struct Spot {
    place: Place,
    path: String,
    is_stand_in: bool,
    treatment: Treatment,
}

#[derive(Debug)]
enum Why {
    Missing(&'static str),
    Unknown(&'static [&'static str]),
    Duplicate(&'static str),
    /// The value of a type that expects something else. `found` is empty for a list and an object.
    Type {
        expected: String,
        found: String,
        is_text: bool,
    },
    Custom(String),
    Unfit,
    Enough,
}

impl Stop {
    /// Adds the value that this reader has read, unless one is known.
    fn at(mut self, reader: &Reader<'_>, treatment: Treatment) -> Stop {
        if self.at.is_none() {
            let (place, path, is_stand_in) = (reader.place, reader.path.text(), reader.value.is_none());
            let (place, path) = match self.why {
                Why::Missing(name) | Why::Duplicate(name) if !is_stand_in => ((place.0, name), joined(&path, name)),
                _ => (place, path),
            };
            // The fault is in a value within this one: serde has copied it, so its own reader is not known.
            let is_within = reader.value.is_some_and(|value| value.is_object() || value.is_array());
            if let Why::Type { expected, found, is_text } = &self.why
                && is_within
                && !found.is_empty()
            {
                self.why = match *is_text && reader.source == Source::Texts {
                    true => Why::Unfit,
                    false => Why::Custom(format!("expected {expected}, not {found}")),
                };
            }
            self.at = Some(Spot { place, path, is_stand_in, treatment });
        }
        self
    }

    fn of_type(found: de::Unexpected<'_>, expected: &dyn de::Expected, is_text: bool) -> Stop {
        let found = match found {
            de::Unexpected::Bool(value) => value.to_string(),
            de::Unexpected::Unsigned(number) => number.to_string(),
            de::Unexpected::Signed(number) => number.to_string(),
            de::Unexpected::Float(number) => number.to_string(),
            de::Unexpected::Str(text) => format!("\"{}\"", text.chars().take(MAX_FOUND).collect::<String>()),
            _ => String::new(),
        };
        Stop { why: Why::Type { expected: expected::of_serde(&expected.to_string()), found, is_text }, at: None }
    }

    fn message(&self) -> String {
        match &self.why {
            Why::Missing(_) => MISSING.to_owned(),
            Why::Unknown([]) => "unknown".to_owned(),
            Why::Unknown(known) => format!("unknown; expected one of: {}", known.join(", ")),
            Why::Duplicate(_) => DUPLICATE.to_owned(),
            Why::Type { expected, .. } => format!("expected {expected}"),
            Why::Custom(message) => message.clone(),
            Why::Unfit => UNFIT.to_owned(),
            Why::Enough => "too many faults".to_owned(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Stop {}

impl de::Error for Stop {
    fn custom<M: fmt::Display>(message: M) -> Stop {
        let message = message.to_string();
        let is_of_enum = message.starts_with("data did not match any variant of untagged enum ")
            || message.starts_with("no variant of enum ");
        let message = if is_of_enum { "has none of the expected forms".to_owned() } else { message };
        Stop { why: Why::Custom(message), at: None }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Stop {
        Stop::of_type(found, expected, matches!(found, de::Unexpected::Str(_)))
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Stop {
        Stop::of_type(found, expected, false)
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Stop {
        Stop::custom(format_args!("expected {}", expected::of_serde(&expected.to_string())))
    }

    fn duplicate_field(field: &'static str) -> Stop {
        Stop { why: Why::Duplicate(field), at: None }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Stop {
        Stop::custom(format_args!("expected one of: {}", expected.join(", ")))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Stop {
        Stop { why: Why::Unknown(expected), at: None }
    }

    fn missing_field(field: &'static str) -> Stop {
        Stop { why: Why::Missing(field), at: None }
    }
}

#[cfg(test)]
mod tests;
