//! HTTP inside a cipher: the bytes that an outer conversation passes on, and those that it adds. (`tables` checks
//! that each row of the tables gets the same response inside.)

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use modest::raw::{Action, Conversation, Event, Protocol, Turn};
use modest::{Client, Http, RequestHandler, Response, handler_fn};

use crate::cipher::{ALERT, Cipher, End, GOODBYE, HELLO, WELCOME, opened, raw, sealed};
use crate::peer::{Answer, Peer};
use crate::tables::mirror;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";

/// A peer after its handshake.
pub fn in_memory<H: RequestHandler>(http: &Http<H>) -> Peer {
    let client = Client::new(SocketAddr::from(([10, 9, 8, 7], 1234)));
    met(Cipher::new(modest::raw::Raw(Met(Mutex::new(http.meet(&client))))))
}

fn met(cipher: Cipher) -> Peer {
    let mut peer = Peer::of(&cipher);
    peer.send(HELLO);
    assert_eq!(peer.text(), WELCOME);
    peer.said.clear();
    peer
}

/// A client that was already accepted.
struct Met(Mutex<Option<Box<dyn Conversation>>>);

impl Protocol for Met {
    fn meet(&self, client: &Client) -> Option<Box<dyn Conversation>> {
        assert_eq!(client.address().to_string(), "10.9.8.7:1234", "the client that the outer conversation learned");
        self.0.lock().unwrap().take()
    }
}

fn statuses(peer: &Peer) -> (Vec<u16>, End) {
    let (said, end) = opened(&peer.said);
    (Answer::all(&said, &[]).iter().map(|answer| answer.status).collect(), end)
}

#[test]
fn a_handshake_can_be_cut_anywhere() {
    for at in 0..=HELLO.len() {
        let mut peer = Peer::of(&Cipher::new(mirror()));
        let all = [HELLO.as_bytes(), &sealed(GET.as_bytes(), 100)].concat();
        peer.send(&all[..at]);
        if at < HELLO.len() {
            assert!(matches!(peer.next, Action::Read { evictable: true, .. }), "{at}: {:?}", peer.next);
        }
        peer.send(&all[at..]);
        let said = peer.said.strip_prefix(WELCOME.as_bytes()).expect("the handshake");
        assert!(opened(said).0.starts_with(b"HTTP/1.1 200 OK\r\n"), "{at}");
        assert_eq!(peer.next, Action::Idle { within: Some(Duration::from_secs(60)) }, "{at}");
    }
}

#[test]
fn stream_ends_with_and_without_goodbye() {
    let half = &POST[..30];
    for (name, plain, goodbye, wanted) in [
        ("nothing, and a goodbye", "", true, &[][..]),
        ("nothing, and no goodbye", "", false, &[]),
        ("a request, and a goodbye", GET, true, &[200]),
        ("a request, and no goodbye: it is whole by itself", GET, false, &[200]),
        ("half a head", half, true, &[400]),
        ("half a head, cut off", half, false, &[400]),
        ("half a body", &format!("{POST}ab"), true, &[400]),
        ("half a body, cut off", &format!("{POST}ab"), false, &[400]),
        ("a request and half a head, cut off", &format!("{GET}{half}"), false, &[200, 400]),
    ] {
        for record in [1, 1000] {
            let mut peer = in_memory(&mirror());
            peer.send(sealed(plain.as_bytes(), record));
            if goodbye {
                peer.send(GOODBYE);
            }
            peer.end();
            assert_eq!(statuses(&peer), (wanted.to_vec(), End::Goodbye), "{name}");
            assert!(!peer.is_open(), "{name}: {:?}", peer.next);
        }
    }
}

#[test]
fn a_goodbye_ends_the_input_of_an_open_connection() {
    let mut peer = in_memory(&mirror());
    peer.send([&sealed(GET.as_bytes(), 9), &GOODBYE[..], &sealed(GET.as_bytes(), 9)].concat());
    assert_eq!(statuses(&peer), (vec![200], End::Goodbye), "records after the goodbye are not decrypted");
    assert!(!peer.is_open());
}

#[test]
fn a_cut_is_distinguished_from_an_end() {
    struct Tell;
    impl Protocol for Tell {
        fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Tell))
        }
    }
    impl Conversation for Tell {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
            let bytes = turn.input.bytes().len();
            turn.input.consume(bytes);
            if turn.input.ended() {
                let word: &[u8] = if turn.input.was_cut() { b"cut" } else { b"end" };
                turn.output.bytes().extend_from_slice(word);
                return Action::Close;
            }
            Action::Idle { within: None }
        }
    }
    for (sent, wanted) in [
        (&[][..], "cut"),
        (&GOODBYE, "end"),
        (&sealed(b"some", 2), "cut"),
        (&[&sealed(b"some", 2)[..], &GOODBYE].concat(), "end"),
        (&sealed(b"some", 4)[..5], "cut"),
        (&GOODBYE[..1], "cut"),
    ] {
        let mut peer = met(raw(Tell));
        peer.send(sent).end();
        let (said, end) = opened(&peer.said);
        assert_eq!((String::from_utf8(said).unwrap().as_str(), end), (wanted, End::Goodbye), "{sent:?}");
    }
    let mut bare = Peer::of(&Tell);
    bare.send("some").end();
    assert_eq!(bare.text(), "end", "a cut is not detectable over plain TCP");
}

#[test]
fn a_broken_record_gets_an_alert_and_is_not_passed_on() {
    for sent in [&ALERT[..], &[&sealed(GET.as_bytes(), 10)[..24], &ALERT].concat()] {
        let mut peer = in_memory(&mirror());
        peer.send(sent);
        assert_eq!((opened(&peer.said), peer.next), ((Vec::new(), End::Alert), Action::Linger), "{sent:?}");
    }
}

#[test]
fn events_are_passed_on() {
    let slow = || Http::new(handler_fn(|_| Ok(Response::text("at last"))));
    let mut late = in_memory(&slow());
    late.send(sealed(b"GET / HT", 3)).late();
    assert_eq!(statuses(&late), (vec![408], End::Goodbye));
    assert!(!late.is_open());

    let mut busy = in_memory(&slow());
    busy.no_slots = true;
    busy.send(sealed(GET.as_bytes(), 100));
    assert_eq!((statuses(&busy), busy.is_open()), ((vec![503], End::None), true), "kept");
    busy.no_slots = false;
    busy.send(sealed(GET.as_bytes(), 100));
    assert_eq!(statuses(&busy).0, [503, 200]);

    let mut stopped = in_memory(&mirror());
    stopped.send(sealed(format!("{POST}a").as_bytes(), 100));
    stopped.stopping = true;
    stopped.event(Event::ShuttingDown);
    assert!(stopped.is_open(), "a body in progress must be received");
    stopped.send(sealed(b"bc", 1));
    assert_eq!((statuses(&stopped), stopped.is_open()), ((vec![200], End::Goodbye), false));

    let mut half = in_memory(&mirror());
    half.send(sealed(b"GET", 100));
    half.stopping = true;
    half.event(Event::ShuttingDown);
    assert_eq!((statuses(&half), half.is_open()), ((vec![], End::Goodbye), false));

    let mut called = in_memory(&mirror());
    called.send(sealed(b"GET", 100)).event(Event::Called).send(sealed(&GET.as_bytes()[3..], 5));
    assert_eq!((statuses(&called), called.is_open()), ((vec![200], End::None), true));

    let mut gone = in_memory(&mirror());
    gone.send(sealed(b"GET", 100)).event(Event::SendFailed);
    assert_eq!((statuses(&gone), gone.next), ((vec![], End::None), Action::Close));
}

#[test]
fn an_idle_client_is_sent_a_goodbye() {
    let mut peer = in_memory(&mirror());
    peer.send(sealed(GET.as_bytes(), 100)).end_idle();
    assert_eq!(statuses(&peer), (vec![200], End::Goodbye));
}

#[test]
fn a_broken_response_has_no_goodbye() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no more"))
        }
    }
    let mut peer = in_memory(&Http::new(handler_fn(|_| Ok(Response::stream(b"some".chain(Failing))))));
    peer.send(sealed(GET.as_bytes(), 100));
    assert_eq!((opened(&peer.said).1, peer.next), (End::None, Action::Abort));
}
