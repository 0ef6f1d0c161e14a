//! HTTP inside a cipher: what an outer conversation passes on, and what it adds. (That each row of the tables is
//! answered inside as it is outside: see `tables`.)

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use modest::raw::{Conversation, Event, Input, Next, Output, Piece, Protocol, Turn};
use modest::{Client, Http, RequestHandler, Response, handler_fn};

use crate::cipher::{ALERT, Cipher, End, GOODBYE, HELLO, WELCOME, opened, raw, sealed};
use crate::peer::{Answer, Peer};
use crate::tables::mirror;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";

/// Behind the handshake.
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

/// A client that was met already.
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
fn a_handshake_in_any_pieces() {
    for at in 0..=HELLO.len() {
        let mut peer = Peer::of(&Cipher::new(mirror()));
        let all = [HELLO.as_bytes(), &sealed(GET.as_bytes(), 100)].concat();
        peer.send(&all[..at]);
        if at < HELLO.len() {
            assert!(matches!(peer.next, Next::Read { evictable: true, .. }), "{at}: {:?}", peer.next);
        }
        peer.send(&all[at..]);
        let said = peer.said.strip_prefix(WELCOME.as_bytes()).expect("the handshake");
        assert!(opened(said).0.starts_with(b"HTTP/1.1 200 OK\r\n"), "{at}");
        assert_eq!(peer.next, Next::Idle { within: Some(Duration::from_secs(60)) }, "{at}");
    }
}

#[test]
fn ends_of_the_stream() {
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
fn a_goodbye_ends_the_input_although_the_connection_is_open() {
    let mut peer = in_memory(&mirror());
    peer.send([&sealed(GET.as_bytes(), 9), &GOODBYE[..], &sealed(GET.as_bytes(), 9)].concat());
    assert_eq!(statuses(&peer), (vec![200], End::Goodbye), "what follows a goodbye is not opened");
    assert!(!peer.is_open());
}

#[test]
fn a_cut_is_told_from_an_end() {
    struct Tell;
    impl Protocol for Tell {
        fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Tell))
        }
    }
    impl Conversation for Tell {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
            let bytes = turn.input.bytes().len();
            turn.input.consume(bytes);
            if turn.input.ended() {
                let word: &[u8] = if turn.input.was_cut() { b"cut" } else { b"end" };
                turn.output.bytes().extend_from_slice(word);
                return Next::Close;
            }
            Next::Idle { within: None }
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
    assert_eq!(bare.text(), "end", "plain TCP tells no cut");
}

#[test]
fn a_broken_record_is_answered_with_an_alert_and_the_inner_conversation_hears_nothing() {
    for sent in [&ALERT[..], &[&sealed(GET.as_bytes(), 10)[..24], &ALERT].concat()] {
        let mut peer = in_memory(&mirror());
        peer.send(sent);
        assert_eq!((opened(&peer.said), peer.next), ((Vec::new(), End::Alert), Next::Linger), "{sent:?}");
    }
}

#[test]
fn half_a_record_renews_no_clock() {
    let http = mirror().idle_timeout(Duration::from_secs(1)).head_timeout(Duration::from_secs(2));
    let mut turns = Vec::new();
    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
    let mut conversation = Cipher::new(http).meet(&client).unwrap();
    let (mut input, mut output) = (Input::new(), Output::new());
    let mut say = |input: &mut Input, bytes: &[u8]| {
        input.extend(bytes);
        loop {
            let next = conversation.turn(&mut Turn::new(input, &mut output, &client));
            output.clear();
            if !matches!(next, Next::Again | Next::Brief | Next::Handle) {
                return next;
            }
        }
    };
    let idle = Next::Idle { within: Some(Duration::from_secs(1)) };
    assert_eq!(say(&mut input, HELLO.as_bytes()), idle);
    let wire = sealed(b"GE", 2);
    for byte in &wire[..wire.len() - 1] {
        turns.push(say(&mut input, &[*byte]));
    }
    assert!(turns.iter().all(|next| *next == Next::Unchanged), "{turns:?}");
    let Next::Read { stage, evictable: true, within, at_min_rate: false } = say(&mut input, &wire[wire.len() - 1..])
    else {
        panic!()
    };
    assert_eq!(within, Some(Duration::from_secs(2)));
    assert_eq!(say(&mut input, &sealed(b"T", 1)[..2]), Next::Unchanged);
    assert_eq!(
        say(&mut input, &sealed(b"T", 1)[2..]),
        Next::Read { stage, evictable: true, within, at_min_rate: false },
        "the same stage"
    );
}

#[test]
fn a_file_is_read_in_turns_that_may_block() {
    let mut file = tempfile::tempfile().unwrap();
    let content: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    file.write_all(&content).unwrap();
    let file = std::sync::Arc::new(file);
    struct Send(std::sync::Arc<std::fs::File>, u64, bool);
    impl Protocol for Send {
        fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Send(self.0.clone(), self.1, false)))
        }
    }
    impl Conversation for Send {
        fn turn(&mut self, turn: &mut Turn<'_>) -> Next {
            if std::mem::replace(&mut self.2, true) {
                return Next::Close;
            }
            turn.output.bytes().extend_from_slice(b"head:");
            turn.output.push(Piece::File { file: self.0.clone(), start: 4, length: self.1 });
            turn.output.bytes().extend_from_slice(b":tail");
            Next::Again
        }
    }
    for (length, whole) in [(1, true), (65_536, true), (3_999_996, true), (3_999_997, false)] {
        let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
        let mut conversation = raw(Send(file.clone(), length, false)).meet(&client).unwrap();
        let (mut input, mut output) = (Input::new(), Output::new());
        input.extend(HELLO.as_bytes());
        let (mut said, mut briefs, mut before) = (Vec::new(), 0, Next::Again);
        loop {
            let next = conversation.turn(&mut Turn::new(&mut input, &mut output, &client));
            let came: Vec<u8> = std::iter::from_fn(|| {
                assert!(!output.begins_with_file(), "a file can't be sealed by the kernel");
                let bytes = output.front().to_vec();
                output.consume(bytes.len());
                (!bytes.is_empty()).then_some(bytes)
            })
            .flatten()
            .collect();
            assert!(came.len() < 100_000, "{} bytes in one turn", came.len());
            assert!(came.len() < 100 || before == Next::Brief, "a file is read in a turn that must not block");
            said.extend(came);
            briefs += usize::from(next == Next::Brief);
            before = next.clone();
            if matches!(next, Next::Close | Next::Abort) {
                break;
            }
        }
        let (said, end) = opened(&said[WELCOME.len()..]);
        match whole {
            true => {
                let wanted = [b"head:", &content[4..4 + length as usize], b":tail"].concat();
                assert!(said == wanted, "{length}: {} bytes of {}", said.len(), wanted.len());
                assert_eq!((before, end), (Next::Close, End::Goodbye));
            }
            false => assert_eq!((before, end), (Next::Abort, End::None), "a file shorter than was promised"),
        }
        assert!(briefs as u64 >= length / 65_536, "{briefs}");
    }
}

#[test]
fn events_are_passed_on() {
    let slow = || Http::new(handler_fn(|_| Ok(Response::text("at last"))));
    let mut late = in_memory(&slow());
    late.send(sealed(b"GET / HT", 3)).late();
    assert_eq!(statuses(&late), (vec![408], End::Goodbye));
    assert_eq!(late.next, Next::Linger, "it may still be sending");

    let mut busy = in_memory(&slow());
    busy.no_slots = true;
    busy.send(sealed(GET.as_bytes(), 100));
    assert_eq!((statuses(&busy), busy.is_open()), ((vec![503], End::None), true), "kept");
    busy.no_slots = false;
    busy.send(sealed(GET.as_bytes(), 100));
    assert_eq!(statuses(&busy).0, [503, 200]);

    let mut busy = in_memory(&slow());
    busy.no_slots = true;
    busy.send(sealed(GET.repeat(3).as_bytes(), 10));
    assert_eq!((statuses(&busy), busy.is_open()), ((vec![503], End::Goodbye), false), "who asks at once again");

    let mut stopped = in_memory(&mirror());
    stopped.send(sealed(format!("{POST}a").as_bytes(), 100));
    stopped.stopping = true;
    stopped.event(Event::ShuttingDown);
    assert!(stopped.is_open(), "a body under way is received");
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
    assert_eq!((statuses(&gone), gone.next), ((vec![], End::None), Next::Close));
}

#[test]
fn an_idle_client_hears_a_goodbye() {
    let mut peer = in_memory(&mirror());
    peer.send(sealed(GET.as_bytes(), 100)).end_idle();
    assert_eq!(statuses(&peer), (vec![200], End::Goodbye));
}

#[test]
fn an_answer_that_breaks_off_has_no_goodbye() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("no more"))
        }
    }
    let mut peer = in_memory(&Http::new(handler_fn(|_| Ok(Response::stream(b"some".chain(Failing))))));
    peer.send(sealed(GET.as_bytes(), 100));
    assert_eq!((opened(&peer.said).1, peer.next), (End::None, Next::Abort));
}

#[test]
fn the_clock_and_the_poll_are_those_of_the_outer_turn() {
    let (mut input, mut output, client) =
        (Input::new(), Output::new(), Client::new(SocketAddr::from(([1, 2, 3, 4], 5))));
    let (mut other_input, mut other_output) = (Input::new(), Output::new());
    let other = Client::new(SocketAddr::from(([5, 6, 7, 8], 9)));
    let mut turn = Turn::new(&mut input, &mut output, &client).while_shutting_down();
    let poll = Some(Instant::now());
    turn.set_polled(poll);
    let began = Instant::now() - Duration::from_secs(7);
    turn.set_now(began);
    assert_eq!(turn.now(), began);
    let (now, wall, polled) = (turn.now(), turn.wall, turn.polled());
    assert_eq!(polled, poll);
    let inner = turn.within(&mut other_input, &mut other_output, &other);
    assert_eq!((inner.now(), inner.wall, inner.polled()), (now, wall, polled));
    assert!(inner.is_shutting_down() && inner.client == &other);
    inner.output.bytes().push(1);
    let same = turn.with_client(&other);
    assert!(same.is_shutting_down() && same.client == &other && same.polled() == polled);
    same.output.bytes().push(2);
    assert_eq!((other_output.front(), output.front()), (&[1][..], &[2][..]));
}

#[test]
fn half_a_record_of_an_inner_cipher_renews_no_clock_either() {
    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
    let mut conversation = Cipher::new(Cipher::new(mirror())).meet(&client).unwrap();
    let (mut input, mut output) = (Input::new(), Output::new());
    input.extend(HELLO.as_bytes());
    input.extend(&sealed(HELLO.as_bytes(), 100));
    let mut words = Vec::new();
    for byte in [None, Some(0), Some(9), Some(1)] {
        input.extend(&sealed(&byte.map_or(vec![], |byte| vec![byte]), 1));
        loop {
            let next = conversation.turn(&mut Turn::new(&mut input, &mut output, &client));
            output.clear();
            if !matches!(next, Next::Again | Next::Brief | Next::Handle) {
                words.push(next);
                break;
            }
        }
    }
    let idle = Next::Idle { within: Some(Duration::from_secs(60)) };
    assert_eq!(words, [idle, Next::Unchanged, Next::Unchanged, Next::Unchanged]);
}

#[test]
fn unchanged_after_an_event_is_a_wait_once_all_is_sealed() {
    struct Called;
    impl Protocol for Called {
        fn meet(&self, _: &Client) -> Option<Box<dyn Conversation>> {
            Some(Box::new(Called))
        }
    }
    impl Conversation for Called {
        fn turn(&mut self, _: &mut Turn<'_>) -> Next {
            Next::Idle { within: None }
        }

        fn event(&mut self, _: Event, turn: &mut Turn<'_>) -> Next {
            turn.output.bytes().resize(200_000, b'x');
            Next::Unchanged
        }
    }
    let mut peer = met(raw(Called));
    peer.event(Event::Called);
    assert_eq!((opened(&peer.said).0.len(), peer.next.clone()), (200_000, Next::Idle { within: None }));
    peer.event(Event::Late(modest::raw::Stage(1)));
    assert_eq!(opened(&peer.said), (vec![b'x'; 400_000], End::Goodbye), "what is late can't go on unchanged");
}
