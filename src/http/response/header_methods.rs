//! The header fields of a response: setting, adding and removing them.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::fields::{self, FieldList, Fields};
use super::prepared::PreparedFields;
use super::{Cookie, Response};
use crate::grammar::list_members;
use crate::http::date;
use crate::http::error::{Error, parse_field};
use crate::http::etag::ETag;

impl Response {
    /// Sets a field, and replaces any of that name.
    #[doc(alias = "send_header")]
    pub fn with_header(
        self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) -> Response {
        self.insert(fields::parse_checked(name, value), true)
    }

    /// Adds a field. Fields with the same name are kept, except those that a response can have only once, such as
    /// `Content-Type`, `ETag` and `Location`, which are replaced.
    pub fn with_added_header(
        self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) -> Response {
        self.insert(fields::parse_checked(name, value), false)
    }

    /// Adds a field as [`with_added_header`](Response::with_added_header) does, but also sends an `ETag`, `Date` or
    /// `Last-Modified` with an invalid value: for gateways, which forward the fields of an application.
    pub fn with_forwarded_header(
        self,
        name: impl TryInto<HeaderName, Error: Into<http::Error>>,
        value: impl TryInto<HeaderValue, Error: Into<http::Error>>,
    ) -> Response {
        self.insert(parse_field(name, value), false)
    }

    /// Removes the fields of that name. For `Connection` and `Content-Length`, removes the effect of setting them.
    pub fn without_header(mut self, name: &str) -> Response {
        if let Ok(name) = HeaderName::try_from(name) {
            self.remove(&name);
        }
        self
    }

    fn remove(&mut self, name: &HeaderName) {
        self.map.take();
        match *name {
            header::CONNECTION => self.close = false,
            header::CONTENT_LENGTH => self.declared = None,
            _ => {}
        }
        self.unshare(name);
        self.own.remove(name);
    }

    /// Sets `Content-Type`.
    pub fn with_content_type(self, media_type: &str) -> Response {
        self.with_header(header::CONTENT_TYPE, media_type)
    }

    /// Makes browsers save the response as a file of this name instead of showing it: `Content-Disposition: attachment`
    /// (RFC 6266). The name can come from a user: every character is escaped.
    ///
    /// ```
    /// use modest::Response;
    ///
    /// let response = Response::text("a,b\n").with_content_type("text/csv").with_attachment("Übersicht.csv");
    /// let expected = "attachment; filename=\"_bersicht.csv\"; filename*=UTF-8''%C3%9Cbersicht.csv";
    /// assert_eq!(response.header("content-disposition"), Some(expected));
    /// ```
    #[doc(alias("send_file", "as_attachment", "download_name"))]
    pub fn with_attachment(self, name: impl AsRef<str>) -> Response {
        self.with_header(header::CONTENT_DISPOSITION, attachment(name.as_ref()))
    }

    /// Adds a cookie.
    pub fn with_cookie(self, cookie: Cookie) -> Response {
        let field = cookie.into_value().map(|value| (header::SET_COOKIE, value));
        self.insert(field, false)
    }

    /// Sets `ETag`: the preconditions of GET and HEAD are then evaluated.
    pub fn with_etag(self, tag: ETag) -> Response {
        self.with_header(header::ETAG, tag)
    }

    /// Sets `Last-Modified`, rounded down to the second: the preconditions of GET and HEAD are then evaluated.
    ///
    /// A time later than the response is sent as the time of the response. A time before the year 0
    /// or after 9999 is left out.
    pub fn with_last_modified(self, time: SystemTime) -> Response {
        match date::value(time) {
            Some(value) => self.set_field(header::LAST_MODIFIED, value),
            None => self,
        }
    }

    /// Uses prepared fields, in place of fields with the same names.
    pub fn with_fields(mut self, fields: Arc<Fields>) -> Response {
        self.map.take();
        if let Some(before) = self.prepared.take() {
            let mut own = before.list().clone();
            self.own.iter().for_each(|(name, value)| own.append(name.clone(), value.clone()));
            self.own = own;
        }
        if !self.own.is_empty() {
            fields.list().iter().for_each(|(name, _)| self.own.remove(name));
        }
        self.prepared = Some(PreparedFields::Shared(fields));
        self
    }

    /// Copies the status and the fields of an error, in place of fields with the same names, for error pages of your
    /// own.
    pub fn with_error(mut self, error: &Error) -> Response {
        for name in error.headers().keys() {
            self.remove(name);
            for value in error.headers().get_all(name) {
                self = self.with_added_header(name, value);
            }
        }
        self.with_status(error.status())
    }

    /// Sets a field that is known to be valid.
    pub(super) fn set_field(mut self, name: HeaderName, value: HeaderValue) -> Response {
        self.map.take();
        self.unshare(&name);
        self.own.set(name, value);
        self
    }

    fn insert(mut self, field: Result<(HeaderName, HeaderValue), Error>, replace: bool) -> Response {
        match field {
            Err(error) => self.record_error(error),
            // RFC 9110, section 15.5.22: a 426 names the protocol.
            Ok((name, value)) if name == header::UPGRADE => return self.set_field(name, value),
            Ok((name, value)) if fields::is_server_managed(&name) => self.apply_managed(&name, &value),
            Ok((name, value)) if replace || fields::is_singleton(&name) => return self.set_field(name, value),
            Ok((name, value)) => {
                self.map.take();
                self.own.append(name, value);
            }
        }
        self
    }

    /// `Connection: close` and `Content-Length` are not sent as set, but have an effect.
    fn apply_managed(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == header::CONNECTION {
            self.close |= list_members(value.as_bytes()).any(|word| word.eq_ignore_ascii_case(b"close"));
        } else if *name == header::CONTENT_LENGTH {
            match value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).map(str::parse) {
                Some(Ok(length)) => self.declared = Some(Box::new((length, value.clone()))),
                _ => {
                    self.record_error(Error::from(format!("the response's Content-Length is not a length: {value:?}")))
                }
            }
        }
    }

    /// Makes a change of fields with this name possible: if the prepared fields have the name, moves the other prepared
    /// fields to the response's own.
    fn unshare(&mut self, name: &HeaderName) {
        if let Some(fields) = self.prepared.take_if(|fields| fields.list().has(name)) {
            let mut own = FieldList::default();
            let others = fields.iter().filter(|(other, _)| *other != name);
            others.for_each(|(other, value)| own.append(other.clone(), value.clone()));
            self.own.iter().for_each(|(name, value)| own.append(name.clone(), value.clone()));
            self.own = own;
            if let Some(error) = fields.deferred_error() {
                self.record_error(Error::from(error.to_string()));
            }
        }
    }
}

/// Returns `Content-Disposition` for a file to be saved (RFC 6266, section 4): its name in ASCII, and, if that differs,
/// the real name (RFC 8187).
fn attachment(name: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' '; // browsers decode `%`
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    match ascii == name {
        true => format!("attachment; filename=\"{ascii}\""),
        false => {
            let encoded = percent_encode(name.as_bytes(), UNSAFE_IN_NAME);
            format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
        }
    }
}

/// Includes every character that RFC 8187 does not allow (section 3.2.1, `attr-char`).
const UNSAFE_IN_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(response: &Response) -> Vec<String> {
        response.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn prepared_fields_are_copied_when_changed() {
        let fields = Arc::new(Fields::new().with_header("a", "1").with_header("b", "2"));
        let with = |response: Response| response.with_fields(fields.clone());
        let (prepared, others) =
            (|| with(Response::new(200)), Fields::new().with_header("b", "0").with_header("c", "3"));
        for (row, response, expected) in [
            ("as they are", prepared(), vec!["a: 1", "b: 2"]),
            ("one more", prepared().with_header("c", "3"), vec!["a: 1", "b: 2", "c: 3"]),
            ("one replaced", prepared().with_header("A", "3"), vec!["b: 2", "a: 3"]),
            ("one appended", prepared().with_added_header("a", "3"), vec!["a: 1", "a: 3", "b: 2"]),
            ("one taken out", prepared().without_header("A"), vec!["b: 2"]),
            ("over one of the response's", with(Response::new(200).with_header("a", "0")), vec!["a: 1", "b: 2"]),
            ("over others", with(Response::new(200).with_fields(Arc::new(others))), vec!["a: 1", "b: 2", "c: 3"]),
        ] {
            let (mut found, mut expected) = (shown(&response), expected);
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{row}");
        }
        assert_eq!(fields.iter().count(), 2);
    }

    #[test]
    fn a_default_media_type_can_be_overridden() {
        type Make = fn() -> Response;
        let kinds: [(Make, &str); 3] = [
            (|| Response::text("a"), "text/plain; charset=utf-8"),
            (|| Response::html("a"), "text/html; charset=utf-8"),
            (|| Response::bytes("a"), "application/octet-stream"),
        ];
        for (make, media_type) in kinds {
            let fields = || Arc::new(Fields::new().with_header("content-type", "a/b").with_header("x", "1"));
            let (own, other) = (&*format!("content-type: {media_type}"), "content-type: a/b");
            for (row, response, expected) in [
                ("unchanged", make(), vec![own]),
                ("beside another", make().with_header("x", "1"), vec![own, "x: 1"]),
                ("replaced", make().with_header("x", "1").with_content_type("a/b"), vec![other, "x: 1"]),
                ("added to", make().with_added_header("content-type", "a/b"), vec![other]),
                ("removed", make().without_header("Content-Type"), vec![]),
                ("below prepared ones", make().with_fields(fields()), vec![other, "x: 1"]),
                ("of nobody else", make(), vec![own]),
            ] {
                let mut found = shown(&response);
                found.sort();
                assert_eq!(found, expected, "{media_type}, {row}");
            }
        }
    }

    #[test]
    fn the_header_map_reflects_changes() {
        let response = Response::text("a");
        assert_eq!(response.headers().len(), 1);
        let response = response.with_header("x", "1");
        assert_eq!(response.headers()["x"], "1");
        let response = response.with_added_header("x", "2").without_header("content-type");
        assert_eq!(shown(&response), ["x: 1", "x: 2"]);
    }

    #[test]
    fn a_content_length_that_was_set_is_a_field() {
        let response = Response::stream(&b"abc"[..]);
        assert_eq!(response.header("content-length"), None);
        let response = response.with_header("Content-Length", "3");
        assert_eq!((response.header("CONTENT-LENGTH"), response.length()), (Some("3"), Some(3)));
        assert_eq!(response.headers().len(), 0, "the fields that another response can have");
        let response = response.map_body(|read| read).expect("a stream");
        assert_eq!(response.header("content-length"), None, "a changed body");
        let response = response.with_header("content-length", "3").without_header("content-length");
        assert_eq!(response.header("content-length"), None, "removed");
    }

    #[test]
    fn a_body_that_does_not_exist_yet_has_no_bytes() {
        let channel = |end: fn(crate::live::Sender)| {
            let (sender, response) = Response::channel();
            sender.send("a").unwrap();
            end(sender);
            response
        };
        let broadcast = crate::live::Broadcast::new();
        let events = || Response::events(broadcast.listen(&crate::Request::get("/")).unwrap());
        let signal = crate::live::Signal::new();
        let kept = std::cell::RefCell::new(Vec::new());
        for (what, response, expected) in [
            ("a complete channel", channel(|sender| sender.finish()), Ok("a")),
            ("a broken channel", channel(|sender| sender.abort()), Err(std::io::ErrorKind::UnexpectedEof)),
            (
                "an open channel",
                {
                    let (sender, response) = Response::channel();
                    sender.send("a").unwrap();
                    kept.borrow_mut().push(sender);
                    response
                },
                Err(std::io::ErrorKind::Unsupported),
            ),
            ("events", events(), Err(std::io::ErrorKind::Unsupported)),
            ("a wait", Response::wait_for(signal.ticket(), None), Err(std::io::ErrorKind::Unsupported)),
        ] {
            let read = response.into_bytes();
            let read = read.map(|bytes| String::from_utf8(bytes).unwrap()).map_err(|error| error.kind());
            assert_eq!(read, expected.map(str::to_owned), "{what}");
        }
    }

    /// The page in place of a response has a length of its own.
    #[test]
    fn a_page_does_not_take_the_length_of_the_response_that_it_replaces() {
        type Make = fn() -> Response;
        let kinds: [(Make, &[&str]); 3] = [
            (|| Response::text("x".repeat(2000)).with_header("content-length", "2000"), &["if-match", "range"]),
            (|| Response::text("x").with_header("content-length", "1"), &["if-match", "range"]),
            (|| Response::stream(&b"abc"[..]).with_header("content-length", "3"), &["if-match"]),
        ];
        for (make, conditions) in kinds {
            let http = crate::Http::new(crate::handler_fn(move |_| Ok(make())));
            for name in conditions {
                let value = if *name == "range" { "bytes=90000-" } else { "\"x\"" };
                for method in ["GET", "HEAD"].into_iter().take(if *name == "range" { 1 } else { 2 }) {
                    let request = crate::Request::new(method.parse().unwrap(), "/").unwrap();
                    let sent = http.respond(&request.with_header(name, value));
                    let length = sent.header("content-length").unwrap().parse::<usize>().unwrap();
                    let expected = http.respond(&crate::Request::get("/").with_header(name, value)).body().len();
                    assert_eq!((sent.status().as_u16() / 100, length), (4, expected), "{method} {name}");
                }
            }
        }
    }

    #[test]
    fn attachment_names_are_encoded() {
        for (name, expected) in [
            ("a b.zip", "filename=\"a b.zip\""),
            ("a\"b.zip", "filename=\"a_b.zip\"; filename*=UTF-8''a%22b.zip"),
            ("100%41.zip", "filename=\"100_41.zip\"; filename*=UTF-8''100%2541.zip"),
            ("été.zip", "filename=\"_t_.zip\"; filename*=UTF-8''%C3%A9t%C3%A9.zip"),
            (
                "a\r\nb: c;x='.tar.gz",
                "filename=\"a__b: c;x='.tar.gz\"; filename*=UTF-8''a%0D%0Ab%3A%20c%3Bx%3D%27.tar.gz",
            ),
        ] {
            assert_eq!(attachment(name), format!("attachment; {expected}"), "{name:?}");
        }
    }
}
