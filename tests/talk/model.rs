//! The parser accepts exactly the heads that the grammar accepts. The responses depend neither on the pieces in which
//! requests arrive nor on pipelining.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::grammar::model_takes;
use crate::peer::{Answer, Peer};
use crate::tables::mirror;

fn parser_takes(head: &[u8]) -> bool {
    let mut peer = Peer::new(&mirror());
    peer.send(head);
    assert!(!peer.said.is_empty(), "no answer to {:?}", String::from_utf8_lossy(head));
    let status = peer.text()[9..12].to_owned();
    assert!(["200", "301", "400", "404", "421", "501", "505"].contains(&status.as_str()), "{}", peer.text());
    // A valid target can have a path in another spelling, or a path that leads above the root.
    let is_of_path = peer.text().contains("another spelling") || peer.text().contains("leads above the root");
    matches!(status.as_str(), "200" | "301" | "404") || is_of_path
}

fn sound_head() -> impl Strategy<Value = Vec<u8>> {
    let target = select(vec![
        "/",
        "/a/b?c=d&e",
        "/%41%2f",
        "//x",
        "/a;b=c",
        "/?",
        "/[x]|^?{}`\\%",
        "http://a.b:80/c?d",
        "HTTP://[::1]",
        "http://a?b",
        "http://[v1.x:y]:/",
        "/~a!$&'()*+,=:@",
    ]);
    let host = select(vec!["Host: a", "host:a.b:8000", "HOST: \t[::1]:80 ", "Host:", "Host: a%20b", "Host: 1.2.3.4:"]);
    let field = select(vec!["A: b", "X-Y:", "a:  b c\t", "!#$%: \u{e9}", "Cookie: a=\"b\"; c"]);
    let version = select(vec!["HTTP/1.1", "HTTP/1.0", "HTTP/1.7"]);
    let method = select(vec!["GET", "POST", "BREW", "x"]);
    (method, target, version, host, vec(field, 0..4)).prop_map(|(method, target, version, host, fields)| {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        format!("{method} {target} {version}\r\n{host}\r\n{fields}\r\n").into_bytes()
    })
}

/// Errors in a head: a byte is changed, inserted or removed. Only bytes with a meaning are used.
fn damage() -> impl Strategy<Value = (Index, u8, u8)> {
    let bytes = b"\0\t\n\r \"#%/:;<>?@AZ[\\]az{}09.\x7f\x80\xff|^`HT*,-_\x0b\x0c=&+";
    (any::<Index>(), select(bytes.to_vec()), 0..3u8)
}

fn damaged(mut head: Vec<u8>, damages: &[(Index, u8, u8)]) -> Vec<u8> {
    for (index, byte, kind) in damages {
        let at = index.index(head.len() - 4);
        match kind {
            0 => head[at] = *byte,
            1 => head.insert(at, *byte),
            _ => drop(head.remove(at)),
        }
    }
    head
}

/// Whether this is a single head. Fields that announce a body are excluded as well.
fn is_one_head(head: &[u8]) -> bool {
    head.windows(4).position(|four| four == b"\r\n\r\n") == Some(head.len() - 4) && !head.starts_with(b"\r\n")
}

fn some_request() -> impl Strategy<Value = (Vec<u8>, bool, String)> {
    let body = vec(any::<u8>(), 0..200);
    (0..4, "/[a-z]{0,9}", body, vec(1..50usize, 1..5)).prop_map(|(kind, path, body, sizes)| {
        let shown = |method: &str, body: &[u8]| format!("{method} {path}\n{}", String::from_utf8_lossy(body));
        match kind {
            0 => (format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), false, shown("GET", b"")),
            1 => (format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(), true, String::new()),
            2 => {
                let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
                ([head.as_bytes(), &body].concat(), false, shown("POST", &body))
            }
            _ => {
                let mut wire =
                    format!("PUT {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
                let (mut rest, mut sizes) = (&body[..], sizes.iter().cycle());
                while !rest.is_empty() {
                    let (chunk, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                    wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    wire.extend_from_slice(&[chunk, b"\r\n"].concat());
                    rest = after;
                }
                wire.extend_from_slice(b"0\r\n\r\n");
                (wire, false, shown("PUT", &body))
            }
        }
    })
}

fn in_pieces(wire: &[u8], cuts: &[Index]) -> Peer {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).chain([0, wire.len()]).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut peer = Peer::new(&mirror().body_memory(64));
    for pair in cuts.windows(2) {
        peer.send(&wire[pair[0]..pair[1]]);
    }
    peer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_parser_accepts_what_the_grammar_accepts(head in sound_head(), damages in vec(damage(), 0..3)) {
        let head = damaged(head, &damages);
        prop_assume!(is_one_head(&head));
        prop_assert_eq!(parser_takes(&head), model_takes(&head), "{:?}", String::from_utf8_lossy(&head));
    }

    #[test]
    fn pipelined_requests_in_any_pieces_get_responses_in_order(
        requests in vec(some_request(), 1..6),
        cuts in vec(any::<Index>(), 0..10),
    ) {
        let wire: Vec<u8> = requests.iter().flat_map(|(wire, _, _)| wire.clone()).collect();
        let heads: Vec<usize> = (0..requests.len()).filter(|&number| requests[number].1).collect();
        let peer = in_pieces(&wire, &cuts);
        prop_assert!(peer.is_open());
        let answers: Vec<String> = Answer::all(&peer.said, &heads).iter().map(Answer::text).collect();
        let expected: Vec<&String> = requests.iter().map(|(_, _, shown)| shown).collect();
        prop_assert_eq!(answers.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn responses_do_not_depend_on_how_bytes_are_cut(
        requests in vec(some_request(), 1..4),
        damages in vec(damage(), 0..4),
        cuts in vec(any::<Index>(), 0..10),
    ) {
        let wire: Vec<u8> = requests.iter().flat_map(|(wire, _, _)| wire.clone()).collect();
        let wire = damaged(wire, &damages);
        let whole = in_pieces(&wire, &[]);
        let pieces = in_pieces(&wire, &cuts);
        prop_assert!(are_alike(&whole, &pieces), "{}\n{}", whole.text(), pieces.text());
        prop_assert_eq!(whole.is_open(), pieces.is_open());
    }
}

/// The text is equal. One field can be missing in pieces: a response that rejects a head is sent before an error in the
/// body arrives, so it can't announce the end of the connection.
fn are_alike(whole: &Peer, pieces: &Peer) -> bool {
    let (text, close) = (whole.text(), "Connection: close\r\n");
    let is_announced_late = !whole.is_open() && text.rfind("HTTP/1.1 400 ") == pieces.text().rfind("HTTP/1.1 400 ");
    let without = text.rfind(close).map(|at| [&text[..at], &text[at + close.len()..]].concat());
    text == pieces.text() || is_announced_late && without == Some(pieces.text())
}

#[test]
fn a_rejected_head_announces_the_end_only_if_the_error_of_its_body_has_arrived() {
    let wire = b"PUT //a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\rx\r\n0\r\n\r\n";
    let mut pieces = Peer::new(&mirror());
    let (head, body) = wire.split_at(wire.len() - 10);
    pieces.send(head);
    assert!(pieces.text().starts_with("HTTP/1.1 400 ") && !pieces.text().contains("Connection:"), "{}", pieces.text());
    pieces.send(body);
    let whole = in_pieces(wire, &[]);
    assert!(whole.text().contains("\r\nConnection: close\r\n") && are_alike(&whole, &pieces), "{}", whole.text());
    assert!(!whole.is_open() && !pieces.is_open());
}
