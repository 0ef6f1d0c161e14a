//! The head of an answer as bytes: status line, the server's own fields, the response's fields, framing.
//! Called by `answer`, which has decided everything before.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::date;
use super::fields::{FieldFlags, FieldList, write_line};
use super::response::Response;
use super::status;

/// How the body's end is found (RFC 9112, section 6.3), or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseLength {
    /// Nothing is said: the status tells that there is no body.
    Omitted,
    /// `Content-ResponseLength`.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Nothing is said: the body goes on until the connection ends.
    UntilClose,
}

/// All that a head says.
pub(crate) struct ResponseHead<'a> {
    pub(crate) response: &'a Response,
    pub(crate) server: Option<&'a HeaderValue>,
    pub(crate) now: SystemTime,
    pub(crate) length: ResponseLength,
    /// What `Connection` says, if anything.
    pub(crate) connection: Option<&'static str>,
    /// Whether to say that parts can be asked for.
    pub(crate) accept_ranges: bool,
}

impl ResponseHead<'_> {
    /// Write it, the empty line included.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        let flags = self.response.flags();
        self.write_status_line(to);
        if !flags.server
            && let Some(server) = self.server
        {
            line("Server", server.as_bytes(), to);
        }
        if !flags.date
            && let Some(date) = date::write(self.now)
        {
            line("Date", &date, to);
        }
        self.write_fields(to);
        self.write_framing(to);
        to.extend_from_slice(b"\r\n");
    }

    /// The version is the server's own, whatever the client's (RFC 9112, section 2.3). The blank stands also before no reason.
    fn write_status_line(&self, to: &mut Vec<u8>) {
        let code = self.response.status;
        to.extend_from_slice(b"HTTP/1.1 ");
        to.extend_from_slice(code.as_str().as_bytes());
        to.push(b' ');
        to.extend_from_slice(status::reason(code).unwrap_or_default().as_bytes());
        to.extend_from_slice(b"\r\n");
    }

    fn write_fields(&self, to: &mut Vec<u8>) {
        if let Some(prepared) = &self.response.prepared {
            let dated_later = prepared.last_modified_time().is_some_and(|modified| modified > self.now);
            if self.response.status == StatusCode::NOT_MODIFIED || dated_later {
                self.write_list(prepared.list(), to);
            } else {
                to.extend_from_slice(prepared.lines());
            }
        }
        self.write_list(&self.response.own, to);
    }

    fn write_list(&self, list: &FieldList, to: &mut Vec<u8>) {
        for (name, value) in list.iter() {
            if self.response.status == StatusCode::NOT_MODIFIED && describes_body(name) {
                continue;
            }
            // Last-Modified is never later than the answer (RFC 9110, section 8.8.2.1).
            if *name == header::LAST_MODIFIED
                && date::parse_fixdate(value.as_bytes()).is_some_and(|modified| modified > self.now)
            {
                date::write(self.now).iter().for_each(|now| line("Last-Modified", now, to));
                continue;
            }
            write_line(name, value, to);
        }
    }

    fn write_framing(&self, to: &mut Vec<u8>) {
        if self.accept_ranges {
            line("Accept-Ranges", b"bytes", to);
        }
        match self.length {
            ResponseLength::Known(length) => write_length(length, to),
            ResponseLength::Chunked => line("Transfer-Encoding", b"chunked", to),
            ResponseLength::Omitted | ResponseLength::UntilClose => {}
        }
        if let Some(connection) = self.connection {
            line("Connection", connection.as_bytes(), to);
        }
    }
}

/// What a 304 leaves out: the client has it (RFC 9110, section 15.4.5). What it caches by stays.
fn describes_body(name: &HeaderName) -> bool {
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

fn write_length(length: u64, to: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut left = length;
    loop {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    line("Content-Length", &digits[first..], to);
}

fn line(name: &str, value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

impl Response {
    /// What the fields say that the server would say otherwise.
    pub(crate) fn flags(&self) -> FieldFlags {
        let own = self.own.flags();
        match &self.prepared {
            Some(prepared) => own.and(prepared.flags()),
            None => own,
        }
    }
}
