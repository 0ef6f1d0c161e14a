//! Server-sent events as bytes (the HTML standard, section 9.2, "Server-sent events").

use std::fmt::Write;
use std::time::Duration;

/// A server-sent event. A `&str` or a `String` can be used as its data.
///
/// ```
/// use modest::live::ServerEvent;
///
/// let event = ServerEvent::new("{\"price\": 7}").with_name("price").with_id("41");
/// # let _ = event;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    data: String,
    name: Option<String>,
    pub(super) id: Option<String>,
    retry: Option<Duration>,
}

impl ServerEvent {
    /// Creates an event with this data. The data can have several lines: the client gets them as one text, with line
    /// feeds between them.
    pub fn new(data: impl Into<String>) -> ServerEvent {
        ServerEvent { data: data.into(), ..ServerEvent::default() }
    }

    /// Sets the name, for `addEventListener`. Without a name it is `message`. Line breaks and NUL are left out.
    pub fn with_name(mut self, name: impl Into<String>) -> ServerEvent {
        self.name = Some(one_line(name.into()));
        self
    }

    /// Sets the id, which a client that reconnects sends as `Last-Event-ID`. Line breaks and NUL are left out.
    pub fn with_id(mut self, id: impl Into<String>) -> ServerEvent {
        self.id = Some(one_line(id.into()));
        self
    }

    /// Sets how long a client that lost its connection waits before it reconnects, in whole milliseconds.
    pub fn with_retry(mut self, wait: Duration) -> ServerEvent {
        self.retry = Some(wait);
        self
    }

    pub(super) fn encode(&self) -> String {
        let mut text = String::with_capacity(self.data.len() + 32);
        // Writing to a string does not fail.
        for (field, value) in [("event", &self.name), ("id", &self.id)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{field}: {value}");
            }
        }
        if let Some(retry) = self.retry {
            let _ = writeln!(text, "retry: {}", retry.as_millis());
        }
        // A CR alone also ends a line.
        let data = self.data.replace("\r\n", "\n");
        let mut start = 0;
        for end in memchr::memchr2_iter(b'\r', b'\n', data.as_bytes()).chain([data.len()]) {
            let _ = writeln!(text, "data: {}", &data[start..end]);
            start = end + 1;
        }
        text.push('\n');
        text
    }
}

impl<T: Into<String>> From<T> for ServerEvent {
    fn from(data: T) -> ServerEvent {
        ServerEvent::new(data)
    }
}

fn one_line(text: String) -> String {
    if text.contains(['\r', '\n', '\0']) { text.replace(['\r', '\n', '\0'], "") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_start_no_new_field() {
        for (event, expected) in [
            (ServerEvent::new("a"), "data: a\n\n"),
            (ServerEvent::new(""), "data: \n\n"),
            (ServerEvent::new("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"),
            (ServerEvent::new(" a: b"), "data:  a: b\n\n"),
            (ServerEvent::new("a").with_name("n").with_id("7"), "event: n\nid: 7\ndata: a\n\n"),
            (ServerEvent::new("a").with_name("n\ndata: x").with_id("7\r\n\0"), "event: ndata: x\nid: 7\ndata: a\n\n"),
            (ServerEvent::new("a").with_retry(Duration::from_millis(1500)), "retry: 1500\ndata: a\n\n"),
            ("a".into(), "data: a\n\n"),
        ] {
            assert_eq!(event.encode(), expected, "{event:?}");
        }
    }
}
