//! A client of an event stream, for tests.

use std::io::{self, BufRead, BufReader};

use super::{SentResponse, Within};
use crate::http::sent::Chunks;

/// An event that a [`TestServer`](super::TestServer) has sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TestEvent {
    /// The name; `message` if the server has sent none.
    pub name: String,
    /// The id of this event, or of the last event before it that had an id.
    pub id: String,
    /// The data; several lines are joined by line feeds.
    pub data: String,
}

/// A stream of events: [`TestServer::events`](super::TestServer::events). Dropping it disconnects.
#[derive(Debug)]
pub struct TestEvents {
    response: SentResponse,
    lines: BufReader<Chunks<BufReader<Within>>>,
    id: String,
}

impl TestEvents {
    pub(super) fn new(mut stream: BufReader<Within>) -> io::Result<TestEvents> {
        stream.get_mut().begin();
        let response = SentResponse::read_head(&mut stream)?;
        let is_chunked = response.header("transfer-encoding") == Some("chunked");
        Ok(TestEvents { response, lines: BufReader::new(Chunks::new(stream, is_chunked)), id: String::new() })
    }

    /// Returns the head of the response, without a body.
    pub fn response(&self) -> &SentResponse {
        &self.response
    }

    /// Waits for the next event. `None` if the stream has ended.
    ///
    /// # Panics
    /// If there is no event within 30 seconds, or the connection breaks.
    #[track_caller]
    pub fn next_event(&mut self) -> Option<TestEvent> {
        self.within().begin(); // a heartbeat is not an event
        let (mut name, mut data, mut has_data) = (String::new(), String::new(), false);
        loop {
            let mut line = String::new();
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => panic!("no event: {error}"),
            }
            let line = line.trim_end_matches(['\r', '\n']);
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() && has_data => {
                    let name = if name.is_empty() { "message".to_owned() } else { name };
                    return Some(TestEvent { name, id: self.id.clone(), data });
                }
                "" if line.is_empty() => name.clear(),
                "data" => {
                    data.push_str(if has_data { "\n" } else { "" });
                    data.push_str(value);
                    has_data = true;
                }
                "event" => name = value.to_owned(),
                "id" => self.id = value.to_owned(),
                _ => {} // a comment, `retry`
            }
        }
    }

    pub(super) fn within(&mut self) -> &mut Within {
        self.lines.get_mut().get_mut().get_mut()
    }
}

impl Iterator for TestEvents {
    type Item = TestEvent;

    fn next(&mut self) -> Option<TestEvent> {
        self.next_event()
    }
}
