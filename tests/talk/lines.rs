//! Line protocols without sockets: the end of a line, its limit, rejected lines, and when a client has to wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use modest::Client;
use modest::raw::{Action, Event, Flow, Input, LineHandler, Lines, Output, Protocol, Refusal, Turn};

use crate::cipher::{Cipher, GOODBYE, HELLO, WELCOME, opened, sealed};
use crate::peer::{Peer, Road};

/// Replies with each line and its number; `quit` is the last one.
struct Numbered(usize);

impl LineHandler for Numbered {
    fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
        self.0 += 1;
        reply.extend_from_slice(format!("{}{line:?}\n", self.0).as_bytes());
        if line == "quit" { Flow::Close } else { Flow::Continue }
    }
}

fn numbered() -> Lines {
    Lines::per_client(|_: &Client| Numbered(0)).line_limit(10)
}

#[test]
fn lines_can_be_cut_anywhere() {
    for (name, wire, ends, wanted, open) in [
        ("nothing", "", false, "", true),
        ("a line", "abc\n", false, "1\"abc\"\n", true),
        ("with CR LF", "abc\r\n", false, "1\"abc\"\n", true),
        ("an empty line", "\n", false, "1\"\"\n", true),
        ("two empty lines", "\r\n\n", false, "1\"\"\n2\"\"\n", true),
        ("CR alone ends nothing", "a\rb\n", false, "1\"a\\rb\"\n", true),
        ("one CR is of the end", "a\r\r\n", false, "1\"a\\r\"\n", true),
        ("several", "a\nb\r\nc\n", false, "1\"a\"\n2\"b\"\n3\"c\"\n", true),
        ("part of a line", "a\nb", false, "1\"a\"\n", true),
        ("an end after a line", "a\n", true, "1\"a\"\n", false),
        ("an end after part of a line", "a\nb", true, "1\"a\"\n2\"b\"\n", false),
        ("an end after a CR", "a\r", true, "1\"a\\r\"\n", false),
        ("an end after nothing", "", true, "", false),
        ("the last line", "quit\nmore\n", false, "1\"quit\"\n", false),
        ("UTF-8", "\u{e9}\u{1f600}\n", false, "1\"\u{e9}\u{1f600}\"\n", true),
        ("as long as may be", "0123456789\n", false, "1\"0123456789\"\n", true),
        ("as long as may be, CR LF", "0123456789\r\n", false, "1\"0123456789\"\n", true),
        ("as long as may be, and an end", "0123456789", true, "1\"0123456789\"\n", false),
        ("as long as may be, yet to end", "0123456789\r", false, "", true),
        ("longer, with its end", "a\n01234567890\nb\n", false, "1\"a\"\nthe line is too long\r\n", false),
        ("longer, without its end", "01234567890", false, "the line is too long\r\n", false),
        ("longer by a CR", "0123456789\r\r", false, "the line is too long\r\n", false),
        ("longer behind a CR", "0123456789\rx", false, "the line is too long\r\n", false),
    ] {
        for road in Road::all(wire.len()) {
            let mut peer = Peer::of(&numbered());
            road.send(wire.as_bytes(), &mut peer);
            if ends && peer.is_open() {
                peer.end();
            }
            assert_eq!((peer.text().as_str(), peer.is_open()), (wanted, open), "{name}, {road:?}");
        }
    }
}

#[test]
fn lines_that_are_not_utf_8_are_rejected() {
    let mut peer = Peer::of(&numbered());
    peer.send(b"a\n\xff\xfe\nb\n");
    assert_eq!((peer.text().as_str(), peer.is_open()), ("1\"a\"\nthe line is not UTF-8\r\n", false));

    struct Bytes;
    impl LineHandler for Bytes {
        fn line(&mut self, _: &str, _: &mut Vec<u8>) -> Flow {
            unreachable!("`bytes` takes them all")
        }

        fn bytes(&mut self, line: &[u8], reply: &mut Vec<u8>) -> Flow {
            reply.extend(line.iter().rev());
            Flow::Continue
        }

        fn refuse(&mut self, why: Refusal, reply: &mut Vec<u8>) {
            reply.extend_from_slice(format!("{why:?}").as_bytes());
        }
    }
    let mut peer = Peer::of(&Lines::per_client(|_: &Client| Bytes).line_limit(3));
    peer.send(b"\xff\xfe\r\nabcd");
    assert_eq!((peer.said.as_slice(), peer.is_open()), (&b"\xfe\xffTooLong"[..], false));
}

#[test]
fn a_panic_follows_the_replies_to_earlier_lines() {
    let lines = Lines::new(|line, reply| {
        reply.extend_from_slice(line.as_bytes());
        assert!(line != "panic", "a handler panics, for the test");
        Flow::Continue
    });
    for (sent, replies) in [("panic\n", ""), ("a\nb\npanic\nc\n", "ab")] {
        let mut peer = Peer::of(&lines);
        let panicked = catch_unwind(AssertUnwindSafe(|| peer.send(sent).is_open())).is_err();
        assert_eq!((peer.text().as_str(), panicked), (replies, true), "{sent:?}");
    }
    // After the panic, no event calls the handler.
    let client = Client::new(std::net::SocketAddr::from(([127, 0, 0, 1], 4711)));
    let (mut input, mut output) = (Input::new(), Output::new());
    input.extend(b"a\npanic\n");
    let mut conversation = lines.meet(&client).expect("every client is served");
    let mut turn = Turn::new(&mut input, &mut output, &client);
    assert_eq!([(); 2].map(|()| conversation.turn(&mut turn)), [Action::Handle, Action::Brief]);
    assert_eq!(conversation.event(Event::NoMemory, &mut turn), Action::Abort);
    assert_eq!(output.bytes(), b"a");
}

#[test]
fn each_wait_has_its_own_deadline() {
    let lines = || numbered().idle_timeout(Duration::from_secs(1)).line_timeout(Duration::from_secs(2));
    let idle = Action::Idle { within: Some(Duration::from_secs(1)) };
    let mut peer = Peer::of(&lines());
    assert_eq!(peer.next, idle);
    peer.send("a");
    let Action::Read { stage: first, within, evictable: true, at_min_rate: false } = peer.next else {
        panic!("{:?}", peer.next)
    };
    assert_eq!(within, Some(Duration::from_secs(2)));
    peer.send("b");
    assert_eq!(
        peer.next,
        Action::Read { stage: first, within, evictable: true, at_min_rate: false },
        "a byte must not renew the clock"
    );
    peer.send("\nc");
    let Action::Read { stage: second, .. } = peer.next else { panic!("{:?}", peer.next) };
    assert_ne!(first, second, "the next line has a clock of its own");
    peer.send("\n");
    assert_eq!(peer.next, idle);
    peer.send("d");
    let before = peer.next.clone();
    peer.event(Event::Called);
    assert_eq!(peer.next, before, "a call changes nothing");
    peer.late();
    assert_eq!((peer.text().as_str(), peer.next), ("1\"ab\"\n2\"c\"\nthe line took too long\r\n", Action::Linger));
    assert_eq!(
        Peer::of(&Lines::new(|_, _| Flow::Continue)).next,
        Action::Idle { within: Some(Duration::from_secs(300)) }
    );
    assert_eq!(Peer::of(&lines().idle_timeout(None)).next, Action::Idle { within: None });
}

#[test]
fn missing_permits_and_shutdowns_end_the_connection() {
    let mut busy = Peer::of(&numbered());
    busy.no_slots = true;
    busy.send("a\nb\n");
    assert_eq!((busy.text().as_str(), busy.is_open()), ("too busy right now\r\n", false));

    let mut peer = Peer::of(&numbered());
    peer.stopping = true;
    peer.send("a\nb\nc");
    assert_eq!((peer.text().as_str(), peer.is_open()), ("1\"a\"\n2\"b\"\n", false), "complete lines are handled");

    let mut half = Peer::of(&numbered());
    half.send("a");
    half.stopping = true;
    half.event(Event::ShuttingDown);
    assert_eq!((half.text().as_str(), half.is_open()), ("", false));
}

#[test]
fn the_greeting_is_sent_before_any_line() {
    struct Greeter(bool);
    impl LineHandler for Greeter {
        fn greeting(&mut self, reply: &mut Vec<u8>) -> Flow {
            reply.extend_from_slice(b"220 here\r\n");
            if self.0 { Flow::Continue } else { Flow::Close }
        }

        fn line(&mut self, line: &str, reply: &mut Vec<u8>) -> Flow {
            reply.extend_from_slice(line.as_bytes());
            Flow::Continue
        }
    }
    let mut kept =
        Peer::of(&Lines::per_client(|client: &Client| Greeter(client.ip().is_some_and(|ip| ip.is_loopback()))));
    assert_eq!(kept.text(), "220 here\r\n");
    kept.send("a\nb\n");
    assert_eq!(kept.text(), "220 here\r\nab");
    let away = Peer::of(&Lines::per_client(|client: &Client| Greeter(!client.ip().is_some_and(|ip| ip.is_loopback()))));
    assert_eq!((away.text().as_str(), away.next), ("220 here\r\n", Action::Close));
}

#[test]
fn pipelined_lines_are_bounded_turn_by_turn() {
    let handled = |count: usize, line: &str, lines: Lines| {
        let mut peer = Peer::of(&lines);
        peer.send(format!("{line}\n").repeat(count));
        (peer.slots, peer.said.len())
    };
    let echo = || {
        Lines::new(|line, reply| {
            reply.extend_from_slice(line.as_bytes());
            Flow::Continue
        })
    };
    let (turns, said) = handled(640, "a", echo());
    assert!((10..640).contains(&turns) && said == 640, "{turns} turns for many short lines");
    let (turns, said) = handled(16, &"x".repeat(8000), echo());
    assert!((5..=16).contains(&turns) && said == 128_000, "{turns} turns for long answers");
    let slow = Lines::new(|_, _| {
        std::thread::sleep(Duration::from_millis(2)); // a slow handler
        Flow::Continue
    });
    assert_eq!(handled(10, "a", slow).0, 10, "a slow handler has a turn for each line");
}

#[test]
fn a_truncated_line_is_not_handled() {
    for (goodbye, wanted) in [(true, "1\"a\"\n2\"b\"\n"), (false, "1\"a\"\n")] {
        let mut peer = Peer::of(&Cipher::new(numbered()));
        peer.send(HELLO).send(sealed(b"a\nb", 2));
        if goodbye {
            peer.send(GOODBYE);
        }
        peer.end();
        let said = opened(peer.said.strip_prefix(WELCOME.as_bytes()).unwrap()).0;
        assert_eq!(String::from_utf8(said).unwrap(), wanted, "a goodbye: {goodbye}");
    }
}
