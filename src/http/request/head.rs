//! Parser of a request head: request line and field lines, or a rejection (RFC 9112, sections 2 to 5).
//! Called by `connection` as bytes arrive, and by `request` for requests made by hand. Uses `target` for the request
//! target. It allocates once per head, builds no map, and scans no line twice.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use memchr::{memchr, memrchr};

use super::target::{self, Span, Target};
use crate::grammar::{is_token, is_token_byte};
use crate::http::rejection::Rejection;

#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Bytes of the request line, without CRLF.
    pub line: usize,
    /// Bytes from the request line to the empty line.
    pub head: usize,
    /// Number of field lines.
    pub fields: usize,
    /// Whether a line can end in LF without CR.
    pub bare_lf: bool,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    name: Span,
    value: Span,
}

#[derive(Clone, Debug)]
pub(crate) struct Head {
    bytes: Vec<u8>,
    fields: Vec<Field>,
    line: RequestLine,
}

#[derive(Clone, Debug)]
struct RequestLine {
    method: Method,
    version: Version,
    span: Span,
    target: Span,
    parsed_target: Target,
}

/// An incremental parser. It stores its position, so no byte is scanned twice, even if bytes arrive slowly.
#[derive(Debug, Default)]
pub(crate) struct HeadParser {
    /// The start of the first incomplete line.
    line_start: usize,
    /// How far the end of that line has been searched for.
    scanned: usize,
    empty_lines: u32,
    line: Option<RequestLine>,
    fields: Vec<Field>,
}

/// Empty lines before a request line are skipped (section 2.2), up to this number.
pub(crate) const MAX_EMPTY_LINES: u32 = 16;

impl HeadParser {
    /// Parses a head. `bytes` are all bytes of the head that have arrived: each call passes the same bytes and more.
    /// Returns `Ok(None)` if the head is valid so far and incomplete, and `Ok(Some((used, head)))` if it is complete:
    /// the body begins at `used`.
    pub(crate) fn parse(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<(usize, Head)>, Rejection> {
        while let Some((end, next)) = self.line_end(bytes, limits)? {
            let start = self.line_start;
            (self.line_start, self.scanned) = (next, next);
            if self.line.is_none() {
                self.first_line(bytes, start, end)?;
            } else if start < end {
                self.field_line(bytes, start, end, limits)?;
            } else {
                let line = self.line.take().expect("the request line was read");
                let fields = std::mem::take(&mut self.fields);
                return Ok(Some((next, Head { bytes: bytes[..next].to_vec(), fields, line }.encoded())));
            }
        }
        Ok(None)
    }

    pub(crate) fn kept(&self) -> usize {
        self.fields.capacity() * size_of::<Field>()
    }

    /// Returns whether anything except empty lines has arrived.
    pub(crate) fn has_begun(&self, bytes: &[u8]) -> bool {
        self.line.is_some() || bytes.len() > self.line_start
    }

    /// Returns the end of the next line without and with its CRLF (RFC 9112, section 2.2), or its LF if that is
    /// accepted. The search stops at the limits, so that a rejection does not depend on how the bytes were split.
    fn line_end(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<(usize, usize)>, Rejection> {
        self.first_byte(bytes, limits)?;
        let reach = if self.line.is_none() { self.line_start + limits.line + 2 } else { limits.head };
        let within = bytes.len().min(reach);
        let scanned = self.scanned.min(within);
        let Some(found) = memchr(b'\n', &bytes[scanned..within]) else {
            self.scanned = within;
            return if within == reach { Err(self.too_long()) } else { Ok(None) };
        };
        let line_feed = scanned + found;
        if line_feed > self.line_start && bytes[line_feed - 1] == b'\r' {
            return Ok(Some((line_feed - 1, line_feed + 1)));
        }
        if limits.bare_lf {
            return Ok(Some((line_feed, line_feed + 1)));
        }
        Err(Rejection::bad_request("a line ends in a bare line feed"))
    }

    fn too_long(&self) -> Rejection {
        match self.line {
            None => Rejection::new(StatusCode::URI_TOO_LONG, "the request line is too long"),
            Some(_) => too_large("the head is too long"),
        }
    }

    /// Rejects a first byte that cannot begin a request, most likely of TLS, without waiting for a line end that may
    /// never come.
    fn first_byte(&self, bytes: &[u8], limits: &HeadLimits) -> Result<(), Rejection> {
        match bytes.get(self.line_start) {
            Some(b'\n') if limits.bare_lf => Ok(()),
            Some(&first) if self.line.is_none() && first != b'\r' && !is_token_byte(first) => Err(INVALID_METHOD),
            _ => Ok(()),
        }
    }

    fn first_line(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), Rejection> {
        if start < end {
            self.line = Some(request_line(bytes, start, end)?);
            return Ok(());
        }
        self.empty_lines += 1;
        if self.empty_lines > MAX_EMPTY_LINES {
            return Err(Rejection::bad_request("too many empty lines before the request"));
        }
        Ok(())
    }

    fn field_line(&mut self, bytes: &[u8], start: usize, end: usize, limits: &HeadLimits) -> Result<(), Rejection> {
        if self.fields.len() == limits.fields {
            return Err(too_large("too many fields"));
        }
        if self.fields.capacity() == 0 {
            self.fields.reserve(16);
        }
        self.fields.push(field(bytes, start, end)?);
        Ok(())
    }
}

const INVALID_METHOD: Rejection = Rejection::bad_request("the request line has no valid method");

fn too_large(message: &'static str) -> Rejection {
    Rejection::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message)
}

/// The maximum length of a method. Longer methods get 501 (RFC 9112, section 3).
const MAX_METHOD: usize = 64;

// request-line = method SP request-target SP HTTP-version (section 3). Exactly one space each time.
fn request_line(bytes: &[u8], start: usize, end: usize) -> Result<RequestLine, Rejection> {
    let line = &bytes[start..end];
    let space = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
    if space == 0 || line.get(space) != Some(&b' ') {
        return Err(INVALID_METHOD);
    }
    if space > MAX_METHOD {
        return Err(Rejection::new(StatusCode::NOT_IMPLEMENTED, "unknown method"));
    }
    let last = memrchr(b' ', line).expect("a space follows the method");
    if last == space {
        return Err(Rejection::bad_request("the request line has no version")); // HTTP/0.9
    }
    let version = version(&line[last + 1..])?;
    let method = Method::from_bytes(&line[..space]).map_err(|_| INVALID_METHOD)?;
    let parsed_target = target::parse(&line[space + 1..last], &method)?.shifted(start + space + 1);
    let target = Span::new(start + space + 1, start + last);
    Ok(RequestLine { method, version, span: Span::new(start, end), target, parsed_target })
}

// HTTP-version = "HTTP/" DIGIT "." DIGIT, case-sensitive (section 2.3). A later 1.x is treated as 1.1.
fn version(bytes: &[u8]) -> Result<Version, Rejection> {
    match bytes {
        b"HTTP/1.1" => Ok(Version::HTTP_11),
        b"HTTP/1.0" => Ok(Version::HTTP_10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::HTTP_11),
        [b'H', b'T', b'T', b'P', b'/', b'0', b'.', b'0'..=b'9'] => {
            Err(Rejection::bad_request("unknown version of HTTP"))
        }
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Rejection::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 and HTTP/1.0 are supported"))
        }
        _ => Err(Rejection::bad_request("the request line has no valid version")),
    }
}

// field-line = field-name ":" OWS field-value OWS (section 5). A line that begins with white space is obs-fold,
// or white space between request line and fields (section 2.2): its field name is invalid.
fn field(bytes: &[u8], start: usize, end: usize) -> Result<Field, Rejection> {
    let line = &bytes[start..end];
    let colon = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
    if colon == 0 || line.get(colon) != Some(&b':') {
        return Err(Rejection::bad_request("a field has no valid name"));
    }
    let (mut from, mut to) = (colon + 1, line.len());
    while from < to && is_ows(line[from]) {
        from += 1;
    }
    while from < to && is_ows(line[to - 1]) {
        to -= 1;
    }
    if !is_field_value(&line[from..to]) {
        return Err(Rejection::bad_request("a field value contains a control character"));
    }
    Ok(Field { name: Span::new(start, start + colon), value: Span::new(start + from, start + to) })
}

/// Checks a field line of a trailer, without its CRLF.
pub(crate) fn check_field(line: &[u8]) -> Result<(), Rejection> {
    field(line, 0, line.len()).map(|_| ())
}

fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns whether this is a valid field value, with white space around it (RFC 9110, section 5.5): no control
/// characters except the tab. obs-text is allowed.
pub(crate) fn is_field_value(value: &[u8]) -> bool {
    // No early return, so that the loop is vectorized.
    !value.iter().fold(false, |bad, &byte| bad | (byte < b' ' && byte != b'\t') | (byte == 0x7f))
}

impl Head {
    /// Percent-encodes the query so that it is valid in a URI. All later code (redirects, gateways, logs) then sees one
    /// form only.
    fn encoded(mut self) -> Head {
        let Some(query) = self.line.parsed_target.query.filter(|_| self.line.parsed_target.has_raw_query) else {
            return self;
        };
        let encoded = target::encode_raw_query(query.of(&self.bytes));
        let longer = encoded.len() - query.of(&self.bytes).len();
        self.bytes.splice(query.range(), encoded);
        self.line.parsed_target.query = Some(query.lengthened(longer));
        self.line.target = self.line.target.lengthened(longer);
        self.line.span = self.line.span.lengthened(longer);
        for field in &mut self.fields {
            *field = Field { name: field.name.shifted(longer), value: field.value.shifted(longer) };
        }
        self
    }

    /// Replaces path and query. The request line stays as received.
    pub(crate) fn rewrite(&mut self, target: &str) -> Result<(), Rejection> {
        if !target.starts_with('/') {
            return Err(Rejection::bad_request("expected a path that begins with a slash"));
        }
        let mut target = target.as_bytes().to_vec();
        let mut parsed = target::parse(&target, &Method::GET)?;
        if let Some(query) = parsed.query.filter(|_| parsed.has_raw_query) {
            target.splice(query.range(), target::encode_raw_query(query.of(&target)));
            parsed = target::parse(&target, &Method::GET)?;
        }
        let Target { authority, https, .. } = self.line.parsed_target;
        self.line.parsed_target = Target { authority, https, ..parsed.shifted(self.bytes.len()) };
        self.bytes.extend_from_slice(&target);
        Ok(())
    }

    pub(crate) fn kept(&self) -> usize {
        self.bytes.capacity() + self.fields.capacity() * size_of::<Field>()
    }

    pub(crate) fn method(&self) -> &Method {
        &self.line.method
    }

    pub(crate) fn version(&self) -> Version {
        self.line.version
    }

    /// Returns the request line as received, with the query in its valid form.
    pub(crate) fn line(&self) -> &str {
        self.text(self.line.span)
    }

    /// Returns the request line as bytes, without a check for UTF-8.
    pub(crate) fn line_bytes(&self) -> &[u8] {
        self.line.span.of(&self.bytes)
    }

    pub(crate) fn target(&self) -> &str {
        self.text(self.line.target)
    }

    pub(crate) fn parsed_target(&self) -> &Target {
        &self.line.parsed_target
    }

    pub(crate) fn path(&self) -> &str {
        match &self.line.parsed_target {
            Target { path: Some(span), .. } => self.text(*span),
            Target { asterisk: true, .. } => "*",
            _ => "/", // `http://host`: an empty path is the root (RFC 9110, section 4.2.3)
        }
    }

    /// Returns the path as bytes, without a check for UTF-8. (Its parser accepts only ASCII.)
    pub(crate) fn path_bytes(&self) -> &[u8] {
        match &self.line.parsed_target {
            Target { path: Some(span), .. } => span.of(&self.bytes),
            _ => self.path().as_bytes(),
        }
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.line.parsed_target.query.map(|span| self.text(span))
    }

    /// Returns the host and port of a target in absolute form.
    pub(crate) fn authority(&self) -> Option<&str> {
        self.line.parsed_target.authority.map(|span| self.text(span))
    }

    /// Returns a span as text. Only for spans of the request line, which are ASCII.
    fn text(&self, span: Span) -> &str {
        std::str::from_utf8(span.of(&self.bytes)).unwrap_or_default()
    }

    /// Iterates over all field lines: the name as received, and the value.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (field.name.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// Returns the values of all fields of this name, as received.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields().filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    pub(crate) fn map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in self.fields() {
            // Both are known to be valid; the conversions check them again.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }

    /// Appends a field, for requests made by hand. Returns `false` if it is invalid.
    pub(crate) fn append(&mut self, name: &str, value: &[u8]) -> bool {
        if !is_token(name.as_bytes()) || !is_field_value(value) {
            return false;
        }
        self.bytes.truncate(self.bytes.len() - 2); // the empty line
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b':');
        self.bytes.extend_from_slice(value);
        let end = self.bytes.len();
        self.bytes.extend_from_slice(b"\r\n\r\n");
        let name_end = start + name.len();
        self.fields.push(Field { name: Span::new(start, name_end), value: Span::new(name_end + 1, end) });
        true
    }

    /// Removes the fields of this name, for requests made by hand.
    pub(crate) fn remove(&mut self, name: &str) {
        let bytes = &self.bytes;
        self.fields.retain(|field| !field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()));
    }
}
