//! Keep-alive and close, pipelines, half-closes, shutdowns, timeouts, overload: RFC 9112, section 9.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::raw::{Action, Event, Input, Output, Protocol, Stage, Turn};
use modest::{Client, Http, LogRecord, Request, RequestHandler, Response, Result, handler_fn};

use crate::peer::{Answer, Peer};
use crate::tables::Then::{Closed, Kept};
use crate::tables::{check, mirror};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn keep_and_close() {
    for (name, version, fields, then) in [
        ("1.1 is kept", "1.1", "", Kept("")),
        ("1.1 with keep-alive", "1.1", "Connection: keep-alive\r\n", Kept("")),
        ("1.1 with close", "1.1", "Connection: close\r\n", Closed("")),
        ("close in any case", "1.1", "connection: CLOSE\r\n", Closed("")),
        ("close in a list", "1.1", "Connection: upgrade, close\r\n", Closed("")),
        ("close on a second line", "1.1", "Connection: upgrade\r\nConnection: close\r\n", Closed("")),
        ("close wins", "1.1", "Connection: keep-alive, close\r\n", Closed("")),
        ("a word that holds close", "1.1", "Connection: closed\r\n", Kept("")),
        ("1.0 is closed", "1.0", "", Closed("")),
        ("1.0 with close", "1.0", "Connection: close\r\n", Closed("")),
        ("1.0 with keep-alive", "1.0", "Connection: keep-alive\r\n", Kept("")),
        ("1.0 with Keep-Alive, as it was written then", "1.0", "Connection: Keep-Alive\r\n", Kept("")),
        ("1.0 with both", "1.0", "Connection: keep-alive, close\r\n", Closed("")),
    ] {
        check(name, format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"), then);
    }
}

#[test]
fn keep_alive_can_be_disabled() {
    let mut peer = Peer::new(&mirror().keep_alive(false));
    peer.send(GET.repeat(2));
    let answers = Answer::all(&peer.said, &[]);
    assert_eq!((answers.len(), answers[0].field("connection"), peer.next), (1, Some("close"), Action::Close));
}

#[test]
fn a_1_0_client_gets_connection_keep_alive() {
    let mut peer = Peer::new(&mirror());
    peer.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(Answer::all(&peer.said, &[])[0].field("connection"), Some("keep-alive"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut wire = Vec::new();
    for number in 0..50 {
        wire.extend_from_slice(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab").as_bytes());
        wire.extend_from_slice(format!("HEAD /{number} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
    }
    let mut peer = Peer::new(&mirror());
    peer.send(wire);
    let heads: Vec<usize> = (0..50).map(|number| 2 * number + 1).collect();
    let answers = Answer::all(&peer.said, &heads);
    assert_eq!(answers.len(), 100);
    for (number, answer) in answers.iter().step_by(2).enumerate() {
        assert_eq!(answer.text(), format!("POST /{number}\nab"));
    }
    assert_eq!(peer.next, Action::Idle { within: Some(Duration::from_secs(60)) });
}

#[test]
fn requests_after_a_close_are_ignored() {
    let mut peer = Peer::new(&mirror());
    peer.send(format!("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n{GET}"));
    assert_eq!(Answer::all(&peer.said, &[]).len(), 1);
    assert!(!peer.is_open());
    assert_eq!(peer.unused(), GET.len(), "the rest must stay unread, so that the close lingers");
}

#[test]
fn a_half_closed_client_gets_its_responses() {
    let http = Http::new(handler_fn(|_| Ok(Response::stream(std::io::repeat(b'x').take(200_000)))));
    let mut peer = Peer::new(&http);
    peer.send(GET).end();
    assert_eq!(Answer::all(&peer.said, &[])[0].body.len(), 200_000);
    assert_eq!(peer.next, Action::Close);
    for (name, wire, statuses) in [
        ("nothing", "", &[][..]),
        ("empty lines", "\r\n", &[]),
        ("half a head", "GET / HT", &[400]),
        ("a head without its empty line", "GET / HTTP/1.1\r\nHost: a\r\n", &[400]),
        ("a request and half a head", &format!("{GET}GET"), &[200, 400]),
        ("two requests", &GET.repeat(2), &[200, 200]),
        ("half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", &[400]),
        ("half a chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", &[400]),
        (
            "an expectation without a body",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
            &[400],
        ),
    ] {
        let mut peer = Peer::new(&mirror());
        peer.send(wire).end();
        let answered: Vec<u16> = Answer::all(&peer.said, &[]).iter().map(|answer| answer.status).collect();
        assert_eq!(answered, statuses, "{name}: {}", peer.text());
        assert_eq!(peer.next, Action::Close, "{name}");
    }
}

#[test]
fn each_stage_has_a_clock_that_bytes_do_not_restart() {
    let http = mirror()
        .idle_timeout(Duration::from_secs(1))
        .head_timeout(Duration::from_secs(2))
        .body_timeout(Duration::from_secs(3));
    let mut peer = Peer::new(&http);
    let seconds = |number| Some(Duration::from_secs(number));
    assert_eq!(peer.next, Action::Idle { within: seconds(1) }, "silent");
    peer.send("G");
    let Action::Read { stage: first, within, evictable: true, .. } = peer.next else { panic!("{:?}", peer.next) };
    assert_eq!(within, seconds(2), "the clock of the head began with its first byte");
    peer.send("ET /");
    let again = Action::Read { stage: first, within, evictable: true, at_min_rate: false };
    assert_eq!(peer.next, again, "a byte must not renew the clock");
    peer.send(" HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    let Action::Read { stage: second, within, evictable: false, at_min_rate: true } = peer.next else {
        panic!("{:?}", peer.next)
    };
    assert!(second != first && within == seconds(3), "the body must be another stage");
    peer.send("x".repeat(199_999));
    assert_eq!(peer.next, Action::read_at_min_rate(second, within), "the whole body must be one stage");
    peer.send("x");
    assert_eq!(peer.next, Action::Idle { within: seconds(1) });
    peer.send("G");
    assert!(!matches!(peer.next, Action::Read { stage, .. } if stage == first), "the next head has a clock of its own");
    let endless = mirror().idle_timeout(None);
    assert_eq!(Peer::new(&endless).next, Action::Idle { within: None });
}

#[test]
fn late_heads_and_bodies_get_408() {
    for (name, wire, statuses, next) in [
        ("half a head", "GET /", &[408][..], Action::Close),
        ("a request and half a head", &format!("{GET}GET /"), &[200, 408], Action::Close),
        ("half a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab", &[408], Action::Linger),
        ("empty lines only", "\r\n", &[], Action::Close),
    ] {
        let mut peer = Peer::new(&mirror());
        peer.send(wire).late();
        let answered: Vec<u16> = Answer::all(&peer.said, &[]).iter().map(|answer| answer.status).collect();
        assert_eq!((answered.as_slice(), peer.next), (statuses, next), "{name}");
    }
}

#[test]
fn a_shutdown_finishes_current_requests() {
    let mut resting = Peer::new(&mirror());
    resting.event(Event::ShuttingDown);
    assert_eq!((resting.next, resting.said.len()), (Action::Close, 0), "silent");

    let mut half = Peer::new(&mirror());
    half.send("GET / HTTP").event(Event::ShuttingDown);
    assert_eq!((half.next, half.said.len()), (Action::Close, 0), "half a head");

    let mut asks = Peer::new(&mirror());
    asks.stopping = true;
    asks.send(GET.repeat(2));
    let answers = Answer::all(&asks.said, &[]);
    assert_eq!((asks.next, answers.len(), answers[0].field("connection")), (Action::Close, 1, Some("close")));

    let mut sends = Peer::new(&mirror());
    sends.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
    sends.stopping = true;
    let awaited = sends.next.clone();
    sends.event(Event::ShuttingDown);
    assert_eq!(sends.next, awaited, "a body in progress is finished under the same clock");
    sends.send("c");
    let answers = Answer::all(&sends.said, &[]);
    assert_eq!((sends.next, answers[0].text().as_str()), (Action::Close, "POST /\nabc"));
    assert_eq!(answers[0].field("connection"), Some("close"));
}

#[test]
fn a_missing_permit_is_a_503() {
    let mut peer = Peer::new(&mirror());
    peer.no_slots = true;
    peer.send(GET);
    let answers = Answer::all(&peer.said, &[]);
    assert_eq!((answers[0].status, answers[0].field("retry-after"), peer.is_open()), (503, Some("1"), true));
    peer.no_slots = false;
    peer.send(GET);
    assert_eq!(Answer::all(&peer.said, &[])[1].status, 200);
    peer.no_slots = true;
    peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
    assert_eq!((Answer::all(&peer.said, &[])[2].status, peer.next.clone()), (503, Action::Linger));
}

/// Without memory for the client's bytes, a request has one response and one line in the log in each of its states, and
/// is the last.
#[test]
fn a_request_without_memory_is_the_last() {
    #[derive(Clone, Default)]
    struct App(Arc<Mutex<Vec<String>>>);

    impl App {
        fn say(&self, what: String) {
            self.0.lock().unwrap().push(what);
        }
    }

    impl RequestHandler for App {
        fn do_get(&self, request: &Request) -> Result<Response> {
            let app = self.clone();
            Ok(match request.path() {
                "/on-sent" => Response::text("here").on_sent(move |whole| app.say(format!("whole: {whole}"))),
                "/pushed" => {
                    let (sender, response) = Response::channel();
                    sender.send("here").expect("room");
                    sender.finish();
                    response.on_sent(move |whole| app.say(format!("whole: {whole}")))
                }
                _ => Response::text("here"),
            })
        }

        fn do_post(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("here"))
        }

        fn log_request(&self, record: &LogRecord<'_>) {
            self.say(record.status().as_u16().to_string());
        }
    }

    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = |body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    for (sent, most, expected) in [
        (get("/"), 1, &[&["503"][..]][..]),
        (get("/on-sent"), 2, &[&["503"], &["200", "whole: true"]]),
        (get("/pushed"), 2, &[&["503"], &["200", "whole: true"]]),
        (post("1\r\nx\r\n0\r\n\r\n"), 1, &[&["503"]]),
        (post("1\r\nx\r\n"), 2, &[&["503"], &["503"]]),
        (post("x\r\n"), 2, &[&["503"], &["400"]]),
    ] {
        for steps in 1..=most {
            let app = App::default();
            let mut conversation = Http::new(app.clone()).meet(&client).expect("a client that is accepted");
            let (mut input, mut output) = (Input::new(), Output::new());
            input.extend((sent.clone() + "GET /next").as_bytes());
            let mut next = Action::Read { stage: Stage(0), within: None, evictable: true, at_min_rate: false };
            for _ in 0..steps {
                let turn = Turn::new(&mut input, &mut output, &client);
                let may_block = matches!(next, Action::Handle | Action::Brief);
                next = conversation.turn(&mut if may_block { turn } else { turn.without_permit() });
            }
            let before = next;
            next = conversation.event(Event::NoMemory, &mut Turn::new(&mut input, &mut output, &client));
            let what = format!("{sent:?}, after {steps} turns: {before:?}, {next:?}");
            assert!(matches!(next, Action::Close | Action::Linger), "{what}");
            drop(conversation);
            assert_eq!(*app.0.lock().unwrap(), expected[steps - 1], "{what}");
            let mut said = Vec::new();
            while !output.front().is_empty() {
                said.extend_from_slice(output.front());
                let count = output.front().len();
                output.consume(count);
            }
            let said = String::from_utf8(said).unwrap();
            assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{what}: {said}");
        }
    }
}

#[test]
fn a_response_that_cannot_continue_is_reset() {
    let with = |read: fn() -> Response| {
        let mut peer = Peer::new(&Http::new(handler_fn(move |_| Ok(read()))));
        peer.send(GET);
        peer.next
    };
    let five = || Response::sized_stream(std::io::repeat(b'x').take(5), 6);
    assert_eq!(with(five), Action::Abort, "a body that is too short");
    assert_eq!(with(|| Response::stream(Failing)), Action::Abort, "a body whose source fails");
    assert_eq!(with(|| Response::stream(Panicking)), Action::Abort, "a body whose source panics");
}

struct Failing;

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("no more"))
    }
}

struct Panicking;

impl Read for Panicking {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        panic!("in the source");
    }
}

#[test]
fn only_a_requests_own_poll_time_is_passed_on() {
    let http = Http::new(handler_fn(|request| Ok(Response::text(format!("{:?}", request.polled())))));
    let mut peer = Peer::new(&http);
    let polls = [(); 2].map(|()| Some(std::time::Instant::now()));
    peer.polled = polls[0];
    peer.send(GET.repeat(2));
    peer.polled = polls[1];
    peer.send(GET);
    peer.polled = None;
    peer.send(GET);
    let answers: Vec<String> = Answer::all(&peer.said, &[]).iter().map(Answer::text).collect();
    assert_eq!(answers, [polls[0], None, polls[1], None].map(|polled| format!("{polled:?}")));
}

#[test]
fn an_idle_client_costs_little_memory() {
    let http = mirror();
    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
    let talk = http.meet(&client).expect("a client that is accepted");
    assert!(std::mem::size_of_val(&*talk) <= 40, "{} bytes", std::mem::size_of_val(&*talk));
}
