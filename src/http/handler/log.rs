//! The access log: the record of a response, and the usual formats of access logs. `connection` creates one record per
//! request: when its response is complete, or when its connection ends before that.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use http::StatusCode;

use crate::http::date;
use crate::http::request::Request;
use crate::misleading::is_misleading;
use crate::tcp::{self, Client, Instant, TlsInfo, catch};

/// The format of a [`LogRecord`], one line per request. Times are in UTC unless an offset is set
/// ([`LogRecord::with_offset`]). For clients of a Unix socket, `unix:` replaces the IP address.
///
/// Control characters, quotes and backslashes sent by the client are displayed as `\xNN` (in JSON as `\u00NN`), against
/// log injection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// Python's: `127.0.0.1 - - [16/Jun/2022 06:34:59] "GET / HTTP/1.1" 200 -`.
    #[default]
    Python,
    /// The Common Log Format, of NCSA and Apache:
    /// `127.0.0.1 - ada [16/Jun/2022:06:34:59 +0000] "GET / HTTP/1.1" 200 13`.
    Common,
    /// The Common Log Format with `Referer` and `User-Agent`, which Apache and nginx call `combined`.
    Combined,
    /// A JSON object per line with `time` (RFC 3339), `client`, `method`, `target`, `status`, `bytes`, `seconds`, and,
    /// if present, `id`, `user`, `tls` (the version), `host`, `referer`, `user_agent`. If the head could not be read,
    /// `line` replaces `method` and `target`.
    Json,
}

/// The format of access logs without a format of their own, set by the process's `Logger`.
static DEFAULT: OnceLock<LogFormat> = OnceLock::new();

impl LogFormat {
    pub(crate) fn of_process() -> LogFormat {
        DEFAULT.get().copied().unwrap_or_default()
    }

    /// Makes this the default format. Only the first call has an effect.
    pub(crate) fn set_of_process(self) {
        let _ = DEFAULT.set(self);
    }
}

/// The access log's record of a response. It is displayed as a line of its [`LogFormat`]: that of the
/// [`Logger`](crate::Logger), or else Python's, unless [`with_format`](LogRecord::with_format) sets another.
#[derive(Clone, Debug)]
pub struct LogRecord<'a> {
    client: &'a Client,
    request: Option<&'a Request>,
    /// The request line, for a response without a request.
    line: &'a str,
    status: StatusCode,
    bytes: u64,
    time: SystemTime,
    begun: Instant,
    offset: i32,
    format: LogFormat,
}

/// The data about a complete response.
pub(crate) struct Completed {
    pub(crate) status: StatusCode,
    pub(crate) bytes: u64,
    /// The wall-clock time when it was complete.
    pub(crate) time: SystemTime,
    /// When the request's head was complete, or the request was rejected.
    pub(crate) begun: Instant,
}

impl<'a> LogRecord<'a> {
    pub(crate) fn of_request(client: &'a Client, request: &'a Request, completed: &Completed) -> LogRecord<'a> {
        LogRecord { request: Some(request), ..LogRecord::of_line(client, "", completed) }
    }

    pub(crate) fn of_line(client: &'a Client, line: &'a str, completed: &Completed) -> LogRecord<'a> {
        let Completed { status, bytes, time, begun } = *completed;
        let (offset, format) = (0, LogFormat::of_process());
        LogRecord { client, request: None, line, status, bytes, time, begun, offset, format }
    }

    /// Calls a hook that logs this record. A panic in it affects neither the other hooks nor the response, which is
    /// complete.
    pub(crate) fn contain(&self, what: &'static str, hook: impl FnOnce()) {
        if let Err(panicked) = catch(what, hook) {
            panicked.of(self.client, Some(self.request_line())).log();
        }
    }

    /// Returns the client.
    pub fn client(&self) -> &'a Client {
        self.client
    }

    /// Returns the IP address that is displayed: [`Request::client_ip`], or the connection's address if the head could
    /// not be read. `None` for a Unix socket.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.request.map_or_else(|| self.client.ip(), Request::client_ip)
    }

    /// Returns the request; `None` if its head could not be read. Its body may already be dropped.
    pub fn request(&self) -> Option<&'a Request> {
        self.request
    }

    /// Returns the request line as sent. U+FFFD replaces bytes that are not UTF-8. Empty if there was none.
    pub fn request_line(&self) -> &'a str {
        self.request.map_or(self.line, Request::line)
    }

    /// Returns the status of the response. If the connection ended before a response began: 400 if the client has
    /// disconnected, 503 if the server has ended.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns how many bytes of the response body were sent. The client may have received fewer: the rest was in the
    /// buffers of its socket, or in the last 64 KiB of the response ([`RequestHandler::log_request`]).
    ///
    /// [`RequestHandler::log_request`]: crate::RequestHandler::log_request
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns when the response was sent or interrupted. If no more than 64 KiB were unsent when it was
    /// complete: when it was encoded.
    pub fn time(&self) -> SystemTime {
        self.time
    }

    /// Returns the time from the end of the request's head until now. Each call reads the clock. Handlers get the
    /// record just after the response was completed.
    pub fn duration(&self) -> Duration {
        tcp::now().saturating_duration_since(self.begun)
    }

    /// Returns the name of the user, if an authenticating layer has put a [`User`](crate::User) into the request.
    pub fn user(&self) -> Option<String> {
        self.request?.user()
    }

    /// Returns the request's id, if a layer has put a [`RequestId`](crate::RequestId) into it.
    pub fn id(&self) -> Option<String> {
        self.request?.id()
    }

    /// Returns the record, displayed in a time zone this many seconds east of UTC.
    pub fn with_offset(mut self, seconds: i32) -> LogRecord<'a> {
        self.offset = seconds;
        self
    }

    /// Returns the record with another time.
    pub fn with_time(mut self, time: SystemTime) -> LogRecord<'a> {
        self.time = time;
        self
    }

    /// Returns the record, displayed in this format.
    pub fn with_format(mut self, format: LogFormat) -> LogRecord<'a> {
        self.format = format;
        self
    }

    fn local_time(&self) -> LocalTime {
        let offset = Duration::from_secs(self.offset.unsigned_abs().into());
        let local = if self.offset < 0 { self.time.checked_sub(offset) } else { self.time.checked_add(offset) };
        LocalTime { date: local.and_then(date::write).unwrap_or(EPOCH) }
    }

    fn header(&self, name: &'static str) -> Option<Cow<'a, str>> {
        self.request?.header_all(name).next().map(String::from_utf8_lossy)
    }

    fn push_address(&self, line: &mut String) {
        match self.client_ip() {
            Some(IpAddr::V4(ip)) => {
                for (at, octet) in ip.octets().into_iter().enumerate() {
                    line.push_str(if at > 0 { "." } else { "" });
                    line.push_str(itoa::Buffer::new().format(octet));
                }
            }
            Some(IpAddr::V6(ip)) => push(line, format_args!("{ip}")),
            None => line.push_str("unix:"), // as in nginx
        }
    }

    fn push_user(&self, line: &mut String) {
        match self.user().filter(|user| !user.is_empty()) {
            // A space would end the field.
            Some(user) => push_escaping(line, &user, |c| is_misleading(c) || matches!(c, '"' | '\\' | ' ')),
            None => line.push('-'),
        }
    }

    fn push_common(&self, line: &mut String) {
        self.push_beginning(line, ":", true);
        match self.bytes {
            0 => line.push('-'),
            bytes => line.push_str(itoa::Buffer::new().format(bytes)),
        }
    }

    /// Appends the line up to the status. `between`: what is between the date and the time.
    fn push_beginning(&self, line: &mut String, between: &str, has_offset: bool) {
        let time = self.local_time();
        self.push_address(line);
        line.push_str(" - ");
        self.push_user(line);
        for part in [" [", time.day(), "/", time.month(), "/", time.year(), between, time.clock()] {
            line.push_str(part);
        }
        if has_offset {
            line.push(' ');
            self.push_offset(line, "");
        }
        line.push_str("] \"");
        push_escaped(line, self.request_line());
        line.push_str("\" ");
        line.push_str(self.status.as_str());
        line.push(' ');
    }

    fn push_combined(&self, line: &mut String) {
        self.push_common(line);
        for name in ["referer", "user-agent"] {
            line.push_str(" \"");
            push_escaped(line, self.header(name).as_deref().unwrap_or("-"));
            line.push('"');
        }
    }

    fn push_json(&self, line: &mut String) {
        let time = self.local_time();
        let (year, month, day, clock) = (time.year(), time.month_number(), time.day(), time.clock());
        push(line, format_args!("{{\"time\":\"{year}-{month:02}-{day}T{clock}"));
        match self.offset {
            0 => line.push('Z'),
            _ => self.push_offset(line, ":"),
        }
        line.push_str("\",\"client\":\"");
        self.push_address(line);
        line.push('"');
        match self.request {
            Some(request) => {
                push_json_field(line, "method", Some(request.method().as_str()));
                push_json_field(line, "target", Some(request.target()));
            }
            None => push_json_field(line, "line", Some(self.request_line())),
        }
        let (status, bytes, seconds) = (self.status.as_u16(), self.bytes, self.duration().as_secs_f64());
        push(line, format_args!(",\"status\":{status},\"bytes\":{bytes},\"seconds\":{seconds:.6}"));
        push_json_field(line, "id", self.id().as_deref());
        push_json_field(line, "user", self.user().as_deref());
        push_json_field(line, "tls", self.client.tls().map(TlsInfo::version));
        push_json_field(line, "host", self.request.and_then(Request::host));
        push_json_field(line, "referer", self.header("referer").as_deref());
        push_json_field(line, "user_agent", self.header("user-agent").as_deref());
        line.push('}');
    }

    /// Appends the offset, as in `+0100`, with this text between hours and minutes.
    fn push_offset(&self, line: &mut String, between: &str) {
        let (hours, minutes) = (self.offset.unsigned_abs() / 3600, self.offset.unsigned_abs() / 60 % 60);
        let sign = if self.offset < 0 { '-' } else { '+' };
        push(line, format_args!("{sign}{hours:02}{between}{minutes:02}"));
    }
}

impl fmt::Display for LogRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not written directly to `f`, which would cost a virtual call per part.
        let mut line = String::with_capacity(256);
        match self.format {
            LogFormat::Python => {
                self.push_beginning(&mut line, " ", false);
                line.push('-');
            }
            LogFormat::Common => self.push_common(&mut line),
            LogFormat::Combined => self.push_combined(&mut line),
            LogFormat::Json => self.push_json(&mut line),
        }
        f.write_str(&line)
    }
}

/// A time as text, `Thu, 16 Jun 2022 06:34:59 GMT`. Its methods return parts of it.
struct LocalTime {
    date: [u8; 29],
}

impl LocalTime {
    fn part(&self, range: std::ops::Range<usize>) -> &str {
        std::str::from_utf8(&self.date[range]).unwrap_or_default() // digits and letters
    }

    fn day(&self) -> &str {
        self.part(5..7)
    }

    fn month(&self) -> &str {
        self.part(8..11)
    }

    fn month_number(&self) -> usize {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        MONTHS.find(self.month()).map_or(1, |at| at / 3 + 1)
    }

    fn year(&self) -> &str {
        self.part(12..16)
    }

    fn clock(&self) -> &str {
        self.part(17..25)
    }
}

/// Writing to a string does not fail.
fn push(line: &mut String, parts: fmt::Arguments<'_>) {
    let _ = line.write_fmt(parts);
}

/// Formats a time in UTC as in RFC 3339.
pub(crate) fn utc_time(time: SystemTime) -> String {
    let time = LocalTime { date: date::write(time).unwrap_or(EPOCH) };
    format!("{}-{:02}-{}T{}Z", time.year(), time.month_number(), time.day(), time.clock())
}

const EPOCH: [u8; 29] = *b"Thu, 01 Jan 1970 00:00:00 GMT";

/// Appends a text. Escapes misleading characters, quotes and backslashes.
fn push_escaped(line: &mut String, text: &str) {
    push_escaping(line, text, |letter| is_misleading(letter) || matches!(letter, '"' | '\\'));
}

fn push_escaping(line: &mut String, text: &str, is_special: impl Fn(char) -> bool) {
    let mut rest = text;
    while let Some(at) = rest.find(&is_special) {
        line.push_str(&rest[..at]);
        let letter = rest[at..].chars().next().unwrap_or_default();
        match u32::from(letter) {
            byte @ ..=0xff => push(line, format_args!("\\x{byte:02x}")),
            other => push(line, format_args!("\\u{{{other:x}}}")),
        }
        rest = &rest[at + letter.len_utf8()..];
    }
    line.push_str(rest);
}

/// Appends a string member to a JSON object that already has members; nothing for `None`. Escapes by RFC 8259, section
/// 7, and also other misleading characters.
pub(crate) fn push_json_field(line: &mut String, name: &str, text: Option<&str>) {
    let Some(text) = text else { return };
    push(line, format_args!(",\"{name}\":\""));
    for letter in text.chars() {
        match letter {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            letter if is_misleading(letter) => push(line, format_args!("\\u{:04x}", u32::from(letter))),
            letter => line.push(letter),
        }
    }
    line.push('"');
}
