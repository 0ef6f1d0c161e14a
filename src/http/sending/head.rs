//! The head of a response as bytes: status line, the server's fields, the response's fields, framing. Called by
//! `sending`, which decides what is sent.

use std::time::SystemTime;

use http::{HeaderName, HeaderValue, StatusCode, header};

use crate::http::date;
use crate::http::response::Response;
use crate::http::response::fields::{FieldFlags, FieldList, adds_up, describes_body, write_line};
use crate::words::reason;

/// How the end of the body is found (RFC 9112, section 6.3), or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseLength {
    /// No field: the status implies that there is no body.
    Omitted,
    /// `Content-Length`.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// No field: the body ends with the connection.
    UntilClose,
}

pub(crate) struct ResponseHead<'a> {
    pub(crate) response: &'a Response,
    pub(crate) server: Option<&'a HeaderValue>,
    pub(crate) fields: &'a [(HeaderName, HeaderValue)],
    pub(crate) now: SystemTime,
    pub(crate) length: ResponseLength,
    /// The value of `Connection`, if it is sent.
    pub(crate) connection: Option<&'static str>,
    /// Whether to send `Accept-Ranges: bytes`.
    pub(crate) accept_ranges: bool,
}

impl ResponseHead<'_> {
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        self.write_with(None, to);
    }

    /// Writes the head with an `Upgrade` field.
    pub(crate) fn write_with(&self, upgrade: Option<&str>, to: &mut Vec<u8>) {
        let flags = self.response.flags();
        self.write_status_line(to);
        if !flags.server
            && let Some(server) = self.server
        {
            line("Server: ", server.as_bytes(), to);
        }
        if !flags.date
            && let Some(date) = date::write_now(self.now)
        {
            line("Date: ", &date, to);
        }
        self.write_fields(to);
        self.write_fields_of_server(to);
        self.write_framing(to);
        if let Some(protocol) = upgrade {
            line("Upgrade: ", protocol.as_bytes(), to);
        }
        to.extend_from_slice(b"\r\n");
    }

    /// Writes the status line, always with the server's version (RFC 9112, section 2.3). The space before the reason is
    /// required even if there is no reason.
    fn write_status_line(&self, to: &mut Vec<u8>) {
        let code = self.response.status;
        to.extend_from_slice(b"HTTP/1.1 ");
        to.extend_from_slice(code.as_str().as_bytes());
        to.push(b' ');
        let implied = || reason(code).unwrap_or_default().as_bytes();
        to.extend_from_slice(self.response.reason().unwrap_or_else(implied));
        to.extend_from_slice(b"\r\n");
    }

    fn write_fields(&self, to: &mut Vec<u8>) {
        if let Some(prepared) = &self.response.prepared {
            if prepared.last_modified_time().is_some_and(|modified| modified > self.now) {
                self.write_list(prepared.list(), to);
            } else if self.response.status == StatusCode::NOT_MODIFIED {
                to.extend_from_slice(prepared.lines_unchanged());
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
            if *name == header::UPGRADE && self.response.status != StatusCode::UPGRADE_REQUIRED {
                continue;
            }
            // Last-Modified is never later than the response (RFC 9110, section 8.8.2.1).
            if *name == header::LAST_MODIFIED
                && date::parse_fixdate(value.as_bytes()).is_some_and(|modified| modified > self.now)
            {
                date::write(self.now).iter().for_each(|now| line("Last-Modified: ", now, to));
                continue;
            }
            write_line(name, value, to);
        }
    }

    /// Writes the server's fields, except those that the response has itself. Fields that apply together are written in
    /// any case.
    fn write_fields_of_server(&self, to: &mut Vec<u8>) {
        for (name, value) in self.fields {
            let is_told = !adds_up(name) && self.response.header_value(name.as_str()).is_some();
            let is_of_body = self.response.status == StatusCode::NOT_MODIFIED && describes_body(name);
            if !is_told && !is_of_body {
                write_line(name, value, to);
            }
        }
    }

    fn write_framing(&self, to: &mut Vec<u8>) {
        if self.accept_ranges {
            line("Accept-Ranges: ", b"bytes", to);
        }
        match self.length {
            ResponseLength::Known(length) => {
                line("Content-Length: ", itoa::Buffer::new().format(length).as_bytes(), to)
            }
            ResponseLength::Chunked => line("Transfer-Encoding: ", b"chunked", to),
            ResponseLength::Omitted | ResponseLength::UntilClose => {}
        }
        if let Some(connection) = self.connection {
            line("Connection: ", connection.as_bytes(), to);
        }
    }
}

/// Writes a line. `name` includes the colon. Inlined, so that a name known at compile time is stored directly instead
/// of copied by a call.
#[inline(always)]
fn line(name: &str, value: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

impl Response {
    /// Returns which fields are set that the server would otherwise add.
    pub(crate) fn flags(&self) -> FieldFlags {
        let own = self.own.flags();
        match &self.prepared {
            Some(prepared) => own.and(prepared.flags()),
            None => own,
        }
    }
}
