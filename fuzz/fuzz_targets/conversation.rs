//! A whole conversation in memory, for any bytes in any pieces. There is one valid response for each request. Each
//! response belongs to the request that the reference parser finds at that position. The connection ends after the
//! response with `close`.
#![no_main]

#[path = "../../tests/talk/grammar.rs"]
mod grammar;
#[path = "../model.rs"]
mod model;
#[path = "../../tests/talk/peer.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest of it")]
mod peer;

use std::sync::{Arc, Mutex};

use libfuzzer_sys::fuzz_target;
use modest::raw::{Action, Event};
use modest::{BodyPlan, Error, Http, LogRecord, Request, RequestHandler, Response, Result};
use peer::{Answer, Peer};

fuzz_target!(|data: &[u8]| {
    // The first byte selects the settings of the conversation.
    let Some((&rules, wire)) = data.split_first() else { return };
    let whole = talk(rules, wire, &[wire.len()]);
    compare_with_the_model(&whole, wire);
    let whole = whole.comparable();
    assert_eq!(talk(rules, wire, &model::cuts(wire)).comparable(), whole, "in pieces");
    if wire.len() < 1000 {
        let all: Vec<usize> = (0..=wire.len()).collect();
        assert_eq!(talk(rules, wire, &all).comparable(), whole, "byte by byte");
    }
});

/// Responds with the request, and notes the log lines.
#[derive(Clone, Default)]
struct Mirror {
    logged: Arc<Mutex<Vec<(String, u16)>>>,
    /// Whether targets of even length are declined before their body is read.
    declines: bool,
    /// Whether each request has its own limits.
    plans: bool,
}

impl RequestHandler for Mirror {
    fn do_get(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }
    fn do_post(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }
    fn do_put(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }
    fn do_delete(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }
    fn do_patch(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }
    fn do_options(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }
    fn do_other(&self, request: &Request) -> Result<Response> {
        self.mirror(request)
    }

    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        if self.plans {
            plan.limit(50).memory(3);
        }
        match self.declines && request.target().len() % 2 == 0 {
            true => Err(Error::new(403, "")),
            false => Ok(()),
        }
    }

    fn log_request(&self, record: &LogRecord<'_>) {
        self.logged.lock().unwrap().push((record.request_line().to_owned(), record.status().as_u16()));
    }
}

impl Mirror {
    fn mirror(&self, request: &Request) -> Result<Response> {
        let body = [request.method().as_str().as_bytes(), b" ", request.target().as_bytes(), b"\n", &request.bytes()?]
            .concat();
        Ok(match request.target().len() % 3 {
            0 => Response::stream(std::io::Cursor::new(body)),
            _ => Response::bytes(body),
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Talk {
    answers: Vec<Answer>,
    /// The request lines.
    lines: Vec<String>,
    open: bool,
    /// Whether the conversation ended because of the bytes that the target appended, not because of the client's.
    pushed: bool,
}

impl Talk {
    /// Without what depends on how much has arrived before the last response: the line of a rejected request, and whether
    /// the connection is kept after a response that does not wait for the body.
    fn comparable(mut self) -> Talk {
        let is_possibly_early = |last: &&mut Answer| matches!(last.status, 301 | 400 | 403 | 404);
        if let Some(last) = self.answers.last_mut().filter(is_possibly_early) {
            last.fields.retain(|(name, _)| name != "connection");
            (self.open, self.pushed) = (false, false);
        }
        self.lines.clear();
        self
    }
}

/// Whether this response does not wait for the body: the request is declined, or its path is not in its canonical form.
fn is_early(status: u16, line: &str) -> bool {
    let target = line.split(' ').nth(1).unwrap_or_default();
    status == 403 || matches!(status, 301 | 400 | 404) && !model::is_canonical(model::path_of(target))
}

fn talk(rules: u8, wire: &[u8], ends: &[usize]) -> Talk {
    let mirror = Mirror { declines: rules & 32 != 0, plans: rules & 128 != 0, ..Mirror::default() };
    let mut http = Http::new(mirror.clone()).body_folder("/dev/shm").chunked_bodies(rules & 1 == 0);
    if rules & 2 != 0 {
        http = http.request_line_limit(64).head_limit(256).max_fields(4).body_limit(100);
    }
    if rules & 4 != 0 {
        http = http.body_memory(8);
    }
    let mut peer = Peer::new(&http);
    let mut sent = 0;
    for &end in ends {
        peer.send(&wire[sent..end]);
        sent = end;
    }
    let was_open = peer.is_open();
    let before = peer.said.len();
    match rules >> 3 & 3 {
        1 if was_open => drop(peer.end()),
        2 if matches!(peer.next, Action::Read { .. }) => drop(peer.late()),
        3 if matches!(peer.next, Action::Read { .. }) => drop(peer.event(Event::ShuttingDown)),
        _ => {}
    }
    let logged = mirror.logged.lock().unwrap().clone();
    let heads: Vec<usize> = (0..logged.len()).filter(|&number| logged[number].0.starts_with("HEAD ")).collect();
    let answers = Answer::all(&peer.said, &heads);
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, logged.iter().map(|(_, status)| *status).collect::<Vec<_>>(), "one answer a request");
    let last = answers.len().wrapping_sub(1);
    for (number, answer) in answers.iter().enumerate() {
        assert!(answer.field("date").is_some() && answer.field("server").is_some(), "{answer:?}");
        let says_close = answer.field("connection") == Some("close");
        assert!(!says_close || number == last && !peer.is_open(), "goes on after {answer:?}");
    }
    let pushed = was_open && !peer.is_open();
    if !peer.is_open() && !pushed {
        // After an early response the rest of the body can be malformed.
        let is_announced =
            |answer: &Answer| answer.field("connection") == Some("close") || is_early(answer.status, &logged[last].0);
        assert!(answers.last().is_some_and(is_announced), "closed without a word");
    }
    if pushed && peer.said.len() > before {
        assert_eq!(answers.last().and_then(|answer| answer.field("connection")), Some("close"));
    }
    let lines = logged.into_iter().map(|(line, _)| line).collect();
    Talk { answers, lines, open: peer.is_open(), pushed }
}

/// The reference parser finds each handled request at the same position, with the same body. So no request is hidden in
/// the body of another, and no other bytes are handled as a request.
fn compare_with_the_model(talk: &Talk, wire: &[u8]) {
    let mut rest = wire;
    for (number, (answer, line)) in talk.answers.iter().zip(&talk.lines).enumerate() {
        // Ranges, conditions and paths have their own responses. Every other status is a rejection, and the last response.
        let is_declined = answer.status == 403 && answer.field("connection") != Some("close");
        let concerns_path = matches!(answer.status, 301 | 400 | 404) && answer.field("connection") != Some("close");
        if !is_declined && !concerns_path && !matches!(answer.status, 200 | 204 | 206 | 304 | 412 | 416) {
            assert_eq!(answer.field("connection"), Some("close"), "{answer:?}");
            return;
        }
        let Some(whole) = model::request(rest) else {
            // The rest of the body has not arrived, or is malformed.
            assert!(
                is_early(answer.status, line) && number + 1 == talk.answers.len(),
                "an incomplete request has this response: {answer:?}"
            );
            return;
        };
        let head = String::from_utf8_lossy(&whole.head).into_owned();
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_ping = method == "OPTIONS";
        assert!(is_ping || grammar::model_takes(&whole.head), "answered: {head:?}");
        assert!(target == "*" || concerns_path != model::is_canonical(model::path_of(target)), "{head:?}: {answer:?}");
        if answer.status == 200 && !line.starts_with("HEAD ") {
            let target = as_reported(&whole.head);
            let expected = [method.as_bytes(), b" ", target.as_bytes(), b"\n", &whole.body].concat();
            assert_eq!(answer.body, expected, "{head:?}");
        }
        rest = &rest[whole.used..];
    }
}

/// The target as a handler gets it: quotes, angle brackets and bytes over 0x7F, which only a query can contain, are encoded.
fn as_reported(head: &[u8]) -> String {
    let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
    let is_kept = |byte: u8| byte.is_ascii() && !b"\"<>".contains(&byte);
    target
        .iter()
        .map(|&byte| if is_kept(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
