//! Header fields of a response: validated, in order, and (in `Fields`) serialized once. Set by handlers through
//! `response` and `error`, written by `sending`. Everything stored here is safe to send: no CR, LF or NUL, and no field
//! that affects framing.

use std::io;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::http::date;
use crate::http::error::{Error, parse_field};
use crate::http::etag::{ETag, ETagRef};

/// Fields prepared once and sent with many responses: `Response::fields`.
///
/// They are serialized when they are set, so that sending them costs one copy.
///
/// ```
/// use std::sync::Arc;
/// use modest::{Fields, Response};
///
/// let fields = Arc::new(Fields::new().with_header("content-type", "text/css").with_header("cache-control", "max-age=60"));
/// let response = Response::shared(Arc::new("p { color: teal }")).with_fields(Arc::clone(&fields));
/// assert_eq!(response.header("content-type").unwrap(), "text/css");
/// ```
///
/// Fields that affect framing or concern one connection only (`Connection`, `Content-Length`, `Keep-Alive`,
/// `Proxy-Connection`, `TE`, `Trailer`, `Upgrade`) are left out: the server sets them. `Transfer-Encoding` is an error.
#[derive(Debug, Default)]
#[must_use = "are sent only with a response"]
pub struct Fields {
    list: FieldList,
    /// The serialized lines. The fields that a 304 leaves out come first.
    lines: Vec<u8>,
    /// The start of the fields that a 304 also has.
    unchanged: usize,
    flags: FieldFlags,
    last_modified: Option<SystemTime>,
    deferred_error: Option<Error>,
}

impl Fields {
    /// Creates an empty set of fields.
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Sets a field, and replaces any of that name.
    ///
    /// An invalid name or value does not panic: a response with these fields is sent as a 500,
    /// and the cause is logged.
    pub fn with_header(
        mut self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) -> Fields {
        match parse_checked(name, value) {
            Ok((name, _)) if is_server_managed(&name) => {}
            Ok((name, value)) => self.list.set(name, value),
            Err(error) => self.deferred_error = Some(error),
        }
        self.with_lines()
    }

    /// Sets `ETag`.
    pub fn with_etag(self, tag: ETag) -> Fields {
        self.with_header(header::ETAG, tag)
    }

    /// Sets `Last-Modified`, rounded down to the second. A time before the year 0 or after 9999 is left out.
    pub fn with_last_modified(self, time: SystemTime) -> Fields {
        match date::value(time) {
            Some(value) => self.with_header(header::LAST_MODIFIED, value),
            None => self,
        }
    }

    /// Returns the first value of that name.
    pub fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.list.get(name)
    }

    /// Returns each name and value, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.list.iter()
    }

    pub(crate) fn list(&self) -> &FieldList {
        &self.list
    }

    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Returns the serialized lines of a 304.
    pub(crate) fn lines_unchanged(&self) -> &[u8] {
        &self.lines[self.unchanged..]
    }

    pub(crate) fn last_modified_time(&self) -> Option<SystemTime> {
        self.last_modified
    }

    pub(crate) fn flags(&self) -> FieldFlags {
        self.flags
    }

    pub(crate) fn deferred_error(&self) -> Option<&Error> {
        self.deferred_error.as_ref()
    }

    fn with_lines(mut self) -> Fields {
        self.lines.clear();
        for is_left_out in [true, false] {
            for (name, value) in self.list.iter().filter(|(name, _)| describes_body(name) == is_left_out) {
                write_line(name, value, &mut self.lines);
            }
            if is_left_out {
                self.unchanged = self.lines.len();
            }
        }
        self.flags = self.list.flags();
        self.last_modified = self.list.get("last-modified").and_then(|value| date::parse_fixdate(value.as_bytes()));
        self
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in map {
            match check_value(name, value) {
                Ok(()) if is_server_managed(name) => {}
                Ok(()) if is_singleton(name) => fields.list.set(name.clone(), value.clone()),
                Ok(()) => fields.list.append(name.clone(), value.clone()),
                Err(error) => fields.deferred_error = Some(error),
            }
        }
        fields.with_lines()
    }
}

/// Which fields are set, of those that the server would otherwise add, and of validators.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FieldFlags {
    pub(crate) date: bool,
    pub(crate) server: bool,
    pub(crate) accept_ranges: bool,
    /// `ETag` or `Last-Modified`.
    pub(crate) validator: bool,
}

impl FieldFlags {
    pub(crate) fn and(self, other: FieldFlags) -> FieldFlags {
        FieldFlags {
            date: self.date | other.date,
            server: self.server | other.server,
            accept_ranges: self.accept_ranges | other.accept_ranges,
            validator: self.validator | other.validator,
        }
    }
}

/// Fields in the order they are sent. Responses have few: a linear search is faster than hashing.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldList(Vec<(HeaderName, HeaderValue)>);

impl FieldList {
    pub(crate) fn get(&self, name: &str) -> Option<&HeaderValue> {
        self.0.iter().find(|(known, _)| known.as_str().eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn has(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub(crate) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match self.0.iter().position(|(known, _)| *known == name) {
            None => self.0.push((name, value)),
            Some(at) => {
                self.0[at].1 = value;
                let mut index = 0;
                self.0.retain(|(known, _)| {
                    index += 1;
                    index <= at + 1 || *known != name
                });
            }
        }
    }

    pub(crate) fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|(known, _)| known != name);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub(crate) fn flags(&self) -> FieldFlags {
        let mut flags = FieldFlags::default();
        for (name, _) in &self.0 {
            match name.as_str() {
                "date" => flags.date = true,
                "server" => flags.server = true,
                "accept-ranges" => flags.accept_ranges = true,
                "etag" | "last-modified" => flags.validator = true,
                _ => {}
            }
        }
        flags
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Returns whether a field affects framing or concerns one connection only (RFC 9110, section 7.6.1): the server sets
/// those.
pub(crate) fn is_server_managed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns whether a 304 leaves out this field (RFC 9110, section 15.4.5), because the client has it. Fields that
/// caches need are sent.
pub(crate) fn describes_body(name: &HeaderName) -> bool {
    [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_DISPOSITION,
        header::CONTENT_RANGE,
        header::ACCEPT_RANGES,
    ]
    .contains(name)
}

/// Returns whether several fields of that name apply together, such as policies, of which browsers enforce each. Then
/// the site's field is added to the handler's.
pub(crate) fn adds_up(name: &HeaderName) -> bool {
    [
        header::CONTENT_SECURITY_POLICY,
        header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
        header::LINK,
        header::SET_COOKIE,
        header::VARY,
    ]
    .contains(name)
}

/// Returns a field of the configuration.
///
/// # Errors
/// If it is invalid.
pub(crate) fn configured_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let name: HeaderName = name.parse().map_err(|_| invalid(format!("{name:?} is not a valid field name")))?;
    let value = value.parse().map_err(|_| invalid(format!("{value:?} is not a valid value for the field `{name}`")))?;
    Ok((name, value))
}

/// Returns a field of the configuration that is added to responses.
///
/// # Errors
/// If it is invalid, or the server derives it for each response.
pub(crate) fn added_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let (name, value) = configured_field(name, value)?;
    if is_server_managed(&name) || DERIVED.contains(&name) { Err(derived(&name)) } else { Ok((name, value)) }
}

/// Returns a field of the configuration that all responses have.
///
/// # Errors
/// The errors of [`added_field`], or if a response sets it itself, and at most once.
pub(crate) fn common_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let (name, value) = added_field(name, value)?;
    let is_derived = name == header::ACCEPT_RANGES || is_singleton(&name) && !RULED_BY_SITES.contains(&name);
    if is_derived { Err(derived(&name)) } else { Ok((name, value)) }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn derived(name: &HeaderName) -> io::Error {
    invalid(format!("the field `{name}` cannot be set: the server derives it for each response"))
}

/// Fields that depend on the content and the time of a response (RFC 9110, sections 6.6, 8, 10.2 and 14.4).
const DERIVED: [HeaderName; 8] = [
    header::ALLOW,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
];

/// Fields that a response has at most once, and that can be the same for all responses.
const RULED_BY_SITES: [HeaderName; 3] =
    [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::CONTENT_DISPOSITION, header::EXPIRES];

/// Returns whether a response has that field at most once: a second one would be ambiguous (RFC 9110, section 5.3).
pub(crate) fn is_singleton(name: &HeaderName) -> bool {
    [
        header::CONTENT_TYPE,
        header::ETAG,
        header::LOCATION,
        header::DATE,
        header::LAST_MODIFIED,
        header::EXPIRES,
        header::AGE,
        header::SERVER,
        header::RETRY_AFTER,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
        header::CONTENT_DISPOSITION,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ]
    .contains(name)
}

/// Checks a name and a value, and the grammar of that field. The error describes the fault.
pub(crate) fn parse_checked(
    name: impl TryInto<HeaderName, Error: Into<http::Error>>,
    value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
) -> Result<(HeaderName, HeaderValue), Error> {
    let (name, value) = parse_field(name, value)?;
    check_value(&name, &value)?;
    Ok((name, value))
}

/// Rejects invalid entity tags and dates, which caches would misunderstand. Also rejects `Transfer-Encoding`: a handler
/// that sets it writes chunks itself, as with Python's `wfile`, and here they would be content.
fn check_value(name: &HeaderName, value: &HeaderValue) -> Result<(), Error> {
    let is_valid = match *name {
        header::ETAG => ETagRef::parse(value.as_bytes()).is_some(),
        header::DATE | header::LAST_MODIFIED => date::parse_fixdate(value.as_bytes()).is_some(),
        header::TRANSFER_ENCODING => {
            return Err(Error::from(
                "a response can't set Transfer-Encoding: the server frames the body; see Response::chunks",
            ));
        }
        _ => true,
    };
    if is_valid { Ok(()) } else { Err(Error::from(format!("the response field `{name}` can't be {value:?}"))) }
}

/// Writes `Name: value` and CRLF. Names are stored in lower case and sent with the customary capitals.
pub(crate) fn write_line(name: &HeaderName, value: &HeaderValue, to: &mut Vec<u8>) {
    write_name(name.as_str(), to);
    to.extend_from_slice(b": ");
    to.extend_from_slice(value.as_bytes());
    to.extend_from_slice(b"\r\n");
}

fn write_name(name: &str, to: &mut Vec<u8>) {
    match name {
        "content-type" => to.extend_from_slice(b"Content-Type"),
        "etag" => to.extend_from_slice(b"ETag"),
        "www-authenticate" => to.extend_from_slice(b"WWW-Authenticate"),
        _ => {
            let start = to.len();
            to.extend_from_slice(name.as_bytes());
            let mut first = true;
            for byte in &mut to[start..] {
                if first {
                    byte.make_ascii_uppercase();
                }
                first = *byte == b'-';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_fields_are_written_in_order() {
        let fields = Fields::new()
            .with_header("content-type", "text/css")
            .with_header("x-a", "1")
            .with_header("X-A", "2")
            .with_header("connection", "close")
            .with_header("content-length", "5")
            .with_etag(ETag::strong("t").unwrap())
            .with_header("dnt", "");
        assert_eq!(fields.lines(), b"Content-Type: text/css\r\nX-A: 2\r\nETag: \"t\"\r\nDnt: \r\n");
        assert_eq!(fields.lines_unchanged(), b"X-A: 2\r\nETag: \"t\"\r\nDnt: \r\n");
        assert_eq!(fields.get("ETAG").unwrap(), "\"t\"");
        assert!(fields.flags().validator && fields.deferred_error().is_none());
        assert!(Fields::new().with_header("a", "\n").deferred_error().is_some());
    }

    #[test]
    fn setting_a_field_replaces_all_its_values() {
        let (name, other) = (HeaderName::from_static("a"), HeaderName::from_static("b"));
        let mut list = FieldList::default();
        for (name, value) in [(&name, "1"), (&other, "2"), (&name, "3"), (&name, "4")] {
            list.append(name.clone(), HeaderValue::from_static(value));
        }
        list.set(name, HeaderValue::from_static("5"));
        let found: Vec<_> = list.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, [("a", "5"), ("b", "2")]);
    }
}
