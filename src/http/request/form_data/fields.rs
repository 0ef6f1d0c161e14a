//! The fields of a multipart form: Content-Type of the request, with its boundary, and Content-Disposition and
//! Content-Type of each part. Called by `form_data`; grammar only.

use memchr::memmem;
use percent_encoding::percent_decode_str;

use super::file_name;
use crate::grammar::is_token;

/// The head of a part of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartHead {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content_type: Option<String>,
    /// Whether its content is in a transfer coding, such as `base64`.
    pub(super) encoded: bool,
}

/// The reason why a field is rejected.
pub(super) type Malformed = &'static str;

const BAD_HEAD: Malformed = "a part of the form has a malformed field";
const BAD_DISPOSITION: Malformed = "a part of the form has a malformed Content-Disposition";
const NO_NAME: Malformed = "a part of the form has no name";

/// Returns the boundary in this value of Content-Type, or `None` if it is another type.
pub(super) fn boundary(content_type: &str) -> Result<Option<String>, Malformed> {
    let (media_type, rest) = first_word(content_type);
    if !media_type.eq_ignore_ascii_case("multipart/form-data") {
        return Ok(None);
    }
    let mut boundary = None;
    for parameter in (Parameters { rest, escapes: true }) {
        let (name, value) = parameter.ok_or("the Content-Type of the form is malformed")?;
        if name.eq_ignore_ascii_case("boundary") && boundary.replace(unescape(value)).is_some() {
            return Err("the form has two boundaries");
        }
    }
    let boundary = boundary.ok_or("the form has no boundary")?;
    if is_boundary(&boundary) { Ok(Some(boundary)) } else { Err("the boundary of the form is malformed") }
}

/// Returns whether the text is a valid boundary (RFC 2046, section 5.1.1).
fn is_boundary(text: &str) -> bool {
    let is_in_set = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(is_in_set) && !text.ends_with(' ')
}

impl PartHead {
    /// Returns the number of bytes in its strings.
    pub(super) fn memory(&self) -> usize {
        let others = [&self.file_name, &self.content_type];
        self.name.len() + others.into_iter().flatten().map(String::len).sum::<usize>()
    }

    /// Returns the name of the form's field. It can be empty, or equal to the name of another part. `%22`, `%0D` and
    /// `%0A` are decoded, because browsers encode these three characters and no others. So a literal `%22` in a name is
    /// also decoded. `\"` is a quote, as curl and Go write it; other backslashes stay.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of the file as sent, decoded like [`name`](PartHead::name). Empty if the user chose no file. It
    /// can be anything, including `../../etc/passwd`: see [`safe_file_name`](PartHead::safe_file_name).
    ///
    /// `filename*`, which RFC 7578 forbids, is used if there is no `filename` and it is valid UTF-8.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// Returns the name of the file, changed so that it is safe as the name of a file on Linux and Windows:
    ///
    /// - only the part after the last slash or backslash;
    /// - `_` for control characters, for `< > : " | ? *`, and for invisible characters that change the direction of
    ///   text;
    /// - no dots or spaces at the beginning and end, so it is never hidden, `.` or `..`;
    /// - `_` before a name of a Windows device (`_con.txt`);
    /// - up to 255 bytes: the stem is cut between two characters, and an extension of up to 64 bytes is kept;
    /// - `file` if nothing is left.
    ///
    /// `None` if there is no [`file_name`](PartHead::file_name), or an empty one: browsers send that, without content,
    /// if no file was chosen.
    pub fn safe_file_name(&self) -> Option<String> {
        self.file_name().filter(|name| !name.is_empty()).map(file_name::safe)
    }

    /// Returns the Content-Type as sent. It may be wrong.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Parses the lines of a head, each with its line break. Fields other than Content-Disposition, Content-Type and
    /// Content-Transfer-Encoding are ignored (RFC 7578, section 4.8), but they must be valid. `is_delimiter` recognizes
    /// a line that another parser may treat as a delimiter.
    pub(super) fn parse(head: &[u8], is_delimiter: impl Fn(&[u8]) -> bool) -> Result<PartHead, Malformed> {
        let (mut disposition, mut content_type, mut coding) = (None, None, None);
        let mut start = 0;
        for end in memmem::find_iter(head, b"\r\n") {
            let line = &head[start..end];
            start = end + 2;
            if is_delimiter(line) {
                return Err(BAD_HEAD);
            }
            let (name, value) = field(line).ok_or(BAD_HEAD)?;
            let place = match name {
                name if name.eq_ignore_ascii_case(b"content-disposition") => &mut disposition,
                name if name.eq_ignore_ascii_case(b"content-type") => &mut content_type,
                name if name.eq_ignore_ascii_case(b"content-transfer-encoding") => &mut coding,
                _ => continue,
            };
            let value = std::str::from_utf8(value).map_err(|_| "a field in the form is not UTF-8")?;
            if place.replace(value).is_some() {
                return Err("a part of the form has a field twice");
            }
        }
        let (name, file_name) = names(disposition.ok_or(NO_NAME)?)?;
        let identity = |coding: &str| ["7bit", "8bit", "binary"].iter().any(|known| known.eq_ignore_ascii_case(coding));
        let encoded = coding.is_some_and(|coding| !identity(coding));
        Ok(PartHead { name, file_name, content_type: content_type.map(str::to_owned), encoded })
    }
}

/// Returns name and value of a field line. Folded lines are rejected. Control characters are allowed, because browsers
/// do not encode them in names.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let broken = memchr::memchr3(b'\r', b'\n', 0, line).is_some();
    (is_token(name) && !broken).then_some((name, value))
}

/// Returns the name and file name in this value of Content-Disposition.
fn names(disposition: &str) -> Result<(String, Option<String>), Malformed> {
    let (kind, rest) = first_word(disposition);
    if !kind.eq_ignore_ascii_case("form-data") {
        return Err(BAD_DISPOSITION);
    }
    let (mut name, mut file_name, mut extended) = (None, None, None);
    for parameter in (Parameters { rest, escapes: false }) {
        let (parameter, value) = parameter.ok_or(BAD_DISPOSITION)?;
        let place = match parameter {
            parameter if parameter.eq_ignore_ascii_case("name") => &mut name,
            parameter if parameter.eq_ignore_ascii_case("filename") => &mut file_name,
            parameter if parameter.eq_ignore_ascii_case("filename*") => &mut extended,
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(BAD_DISPOSITION);
        }
    }
    let name = decode_name(name.ok_or(NO_NAME)?);
    let file_name = file_name.map(decode_name).or_else(|| extended.and_then(decode_extended));
    Ok((name, file_name))
}

/// Decodes a name. Browsers encode three characters and no others (WHATWG HTML, "multipart/form-data encoding
/// algorithm"). Some clients put a backslash before a quote.
fn decode_name(value: Value<'_>) -> String {
    match value {
        Value::Token(text) => text.to_owned(),
        Value::Quoted(text) => {
            text.replace("\\\"", "\"").replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n")
        }
    }
}

/// Decodes `UTF-8'language'percent-encoded` (RFC 8187, section 3.2.1). RFC 7578 does not allow it, but some clients
/// send it.
fn decode_extended(value: Value<'_>) -> Option<String> {
    let Value::Token(text) = value else { return None };
    let (charset, text) = text.split_once('\'')?;
    let (_language, text) = text.split_once('\'')?;
    let is_sound =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte));
    let mut pieces = text.split('%');
    let first_is_sound = pieces.next().is_some_and(is_sound);
    let escapes_are_sound = pieces.all(|piece| {
        piece.as_bytes().iter().take_while(|byte| byte.is_ascii_hexdigit()).take(2).count() == 2 && is_sound(piece)
    });
    if !charset.eq_ignore_ascii_case("utf-8") || !first_is_sound || !escapes_are_sound {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned())
}

/// Returns the part before the first semicolon, and the rest.
fn first_word(value: &str) -> (&str, &str) {
    let (word, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
    (word.trim_matches(OWS), rest)
}

const OWS: [char; 2] = [' ', '\t'];

/// Iterates over parameters, `; name=value` (RFC 9110, section 5.6.6: without spaces around the equals sign). Returns
/// `Some(None)` for a malformed parameter.
struct Parameters<'a> {
    rest: &'a str,
    /// Whether a backslash in quotes escapes the next character. In Content-Disposition browsers send it literally, and
    /// curl and Go write `\"` for a quote.
    escapes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Token(&'a str),
    /// A quoted value without its quotes, otherwise as sent.
    Quoted(&'a str),
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<(&'a str, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.rest = self.rest.trim_start_matches(OWS);
            if self.rest.is_empty() {
                return None;
            }
            let Some(rest) = self.rest.strip_prefix(';') else { return Some(None) };
            self.rest = rest.trim_start_matches(OWS);
            if !self.rest.is_empty() && !self.rest.starts_with(';') {
                return Some(self.parameter());
            }
        }
    }
}

impl<'a> Parameters<'a> {
    fn parameter(&mut self) -> Option<(&'a str, Value<'a>)> {
        let (name, rest) = self.rest.split_once('=').filter(|(name, _)| is_token(name.as_bytes()))?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let end = self.closing_quote(quoted)?;
                (Value::Quoted(&quoted[..end]), &quoted[end + 1..])
            }
            None => {
                let (text, rest) = rest.split_at(rest.find([';', ' ', '\t']).unwrap_or(rest.len()));
                (Value::Token(text).checked()?, rest)
            }
        };
        self.rest = rest;
        Some((name, value))
    }

    fn closing_quote(&self, text: &str) -> Option<usize> {
        let mut escaped = false;
        text.bytes().enumerate().position(|(at, byte)| {
            let closes = byte == b'"' && !(escaped && (self.escapes || !ends_value(&text[at + 1..])));
            escaped = byte == b'\\' && !(escaped && self.escapes);
            closes
        })
    }
}

/// Returns whether a value can end before this text.
fn ends_value(rest: &str) -> bool {
    let rest = rest.trim_start_matches(OWS);
    rest.is_empty() || rest.starts_with(';')
}

impl Value<'_> {
    /// Returns the value if it is valid. An unquoted value can have more characters than a token, because some clients
    /// send such boundaries without quotes (`===1===`).
    fn checked(self) -> Option<Self> {
        let Value::Token(text) = self else { return Some(self) };
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\",\\".contains(&byte);
        (!text.is_empty() && text.bytes().all(is_allowed)).then_some(self)
    }
}

/// Returns the text of a value. In quotes, a backslash escapes the next character.
fn unescape(value: Value<'_>) -> String {
    match value {
        Value::Token(text) => text.to_owned(),
        Value::Quoted(text) => {
            let mut escaped = false;
            let keep = |c: &char| {
                escaped = *c == '\\' && !escaped;
                !escaped
            };
            text.chars().filter(keep).collect()
        }
    }
}
