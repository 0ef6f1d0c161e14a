//! The length of the body (RFC 9112, section 6), the chunked coding (section 7.1), limits and files.

use modest::raw::Event;
use modest::{Error, Http, LogRecord, Request, RequestHandler, Response, Result, handler_fn};

use crate::peer::{Answer, Peer, Road};
use crate::tables::Then::{Closed, Kept, KeptWith, Refused, Wants};
use crate::tables::{check, check_with, mirror};

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

#[test]
fn ambiguous_lengths_are_rejected() {
    for (name, fields, body, then) in [
        ("neither field: no body", "", "", Kept("")),
        ("a Content-Length", "Content-Length: 3\r\n", "abc", Kept("abc")),
        ("of nothing", "Content-Length: 0\r\n", "", Kept("")),
        ("with zeros before it", "Content-Length: 0003\r\n", "abc", Kept("abc")),
        (
            "a body that looks like a request",
            "Content-Length: 18\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            Kept("GET / HTTP/1.1\r\n\r\n"),
        ),
        ("not all there", "Content-Length: 4\r\n", "abc", Wants),
        ("repeated, equal", "Content-Length: 3\r\nContent-Length: 3\r\n", "abc", Refused(400)),
        ("repeated, different", "Content-Length: 3\r\nContent-Length: 4\r\n", "abc", Refused(400)),
        ("a list of equals", "Content-Length: 3, 3\r\n", "abc", Refused(400)),
        ("a list", "Content-Length: 3,4\r\n", "abc", Refused(400)),
        ("a plus sign", "Content-Length: +3\r\n", "abc", Refused(400)),
        ("a minus sign", "Content-Length: -3\r\n", "abc", Refused(400)),
        ("in hex", "Content-Length: 0x3\r\n", "abc", Refused(400)),
        ("a fraction", "Content-Length: 3.0\r\n", "abc", Refused(400)),
        ("a space inside", "Content-Length: 1 3\r\n", "abc", Refused(400)),
        ("empty", "Content-Length:\r\n", "abc", Refused(400)),
        ("a word", "Content-Length: three\r\n", "abc", Refused(400)),
        ("quoted", "Content-Length: \"3\"\r\n", "abc", Refused(400)),
        ("a space before its colon", "Content-Length : 3\r\n", "abc", Refused(400)),
        ("more than 64 bits", "Content-Length: 18446744073709551619\r\n", "abc", Refused(413)),
        ("2^64 - 1", "Content-Length: 18446744073709551615\r\n", "", Refused(413)),
        ("more than may be", "Content-Length: 16777217\r\n", "", Refused(413)),
        ("hundreds of digits", &format!("Content-Length: {}\r\n", "9".repeat(300)), "", Refused(413)),
    ] {
        check(name, post(fields, body), then);
    }
    check("a GET may have a body too", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", Kept("ab"));
    check("1.0 with a length", "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", Closed("ab"));
    check("a HEAD with a body", "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", KeptWith(200));
    check("a body for OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab", KeptWith(204));
}

#[test]
fn only_chunked_is_an_accepted_coding() {
    let body = "3\r\nabc\r\n0\r\n\r\n";
    for (name, fields, then) in [
        ("chunked", "Transfer-Encoding: chunked\r\n", Kept("abc")),
        ("in any case", "transfer-ENCODING: ChUnKeD\r\n", Kept("abc")),
        ("empty members of the list", "Transfer-Encoding: , chunked ,\r\n", Kept("abc")),
        ("with a Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", Refused(400)),
        ("with a Content-Length before it", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", Refused(400)),
        ("with a Content-Length of 0", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", Refused(400)),
        ("an unknown coding", "Transfer-Encoding: gzip, chunked\r\n", Refused(501)),
        (
            "an unknown coding on the line before",
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Refused(501),
        ),
        ("an unknown coding alone", "Transfer-Encoding: xchunked\r\n", Refused(400)),
        ("identity is no longer a coding", "Transfer-Encoding: identity\r\n", Refused(400)),
        ("chunked with a parameter", "Transfer-Encoding: chunked;a=b\r\n", Refused(400)),
        ("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n", Refused(400)),
        ("chunked not last", "Transfer-Encoding: chunked, gzip\r\n", Refused(400)),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", Refused(400)),
        ("chunked twice, on two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refused(400)),
        ("chunked and then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Refused(400)),
        ("empty", "Transfer-Encoding:\r\n", Refused(400)),
        ("a space before its colon", "Transfer-Encoding : chunked\r\n", Refused(400)),
        ("a vertical tab before chunked", "Transfer-Encoding: \x0bchunked\r\n", Refused(400)),
        ("a folded line", "Transfer-Encoding:\r\n chunked\r\n", Refused(400)),
    ] {
        check(name, post(fields, body), then);
    }
    check("in HTTP/1.0", format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n{body}"), Refused(400));
}

#[test]
fn malformed_chunks_are_rejected() {
    let long_line = format!("1;a={}\r\nx\r\n0\r\n\r\n", "b".repeat(5000));
    let many_extensions = format!("1;a={}\r\nx\r\n", "b".repeat(4000)).repeat(5) + "0\r\n\r\n";
    let many_trailers = "0\r\n".to_owned() + &"A: b\r\n".repeat(101) + "\r\n";
    let long_trailers = "0\r\n".to_owned() + &format!("A: {}\r\n", "b".repeat(4000)).repeat(5) + "\r\n";
    // The limits are 4,096 bytes of a line with its end, 16,384 of extensions and of trailers, and 100 trailers:
    // exactly these, and one more.
    let extension = |length: usize| format!("1;{}\r\nx\r\n", "b".repeat(length - 1));
    let last = "0\r\n\r\n";
    let longest_line = extension(4093) + last;
    let too_long_line = extension(4094) + last;
    let most_extensions = extension(4093).repeat(4) + &extension(12) + last;
    let one_extension_more = extension(4093).repeat(4) + &extension(13) + last;
    let trailers = |number: usize, length: usize| {
        format!(
            "0\r\n{}A: {}\r\n\r\n",
            format!("A: {}\r\n", "b".repeat(155)).repeat(number - 1),
            "c".repeat(length - 5)
        )
    };
    let most_trailers = "0\r\n".to_owned() + &"A: b\r\n".repeat(100) + "\r\n";
    let longest_trailers = trailers(100, 16_384 - 99 * 160);
    let one_byte_more = trailers(100, 16_384 - 99 * 160 + 1);
    for (name, body, then) in [
        ("none", "0\r\n\r\n", Kept("")),
        ("one", "3\r\nabc\r\n0\r\n\r\n", Kept("abc")),
        ("some", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", Kept("abc")),
        ("hex digits in any case", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Kept("01234567890123456789")),
        ("zeros before the size", "0003\r\nabc\r\n000\r\n\r\n", Kept("abc")),
        ("line ends inside", "4\r\n\r\n\r\n\r\n0\r\n\r\n", Kept("\r\n\r\n")),
        ("extensions", "3;a;b=c;d=\"e;\\\"f\"\r\nabc\r\n0;g\r\n\r\n", Kept("abc")),
        ("white space around extensions", "3 ;\ta = b ; c\r\nabc\r\n0\r\n\r\n", Kept("abc")),
        ("trailers", "3\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\n", Kept("abc")),
        ("a trailer named Content-Length", "0\r\nContent-Length: 5\r\n\r\n", Kept("")),
        ("not all there", "3\r\nab", Wants),
        ("without the last", "3\r\nabc\r\n", Wants),
        ("without the last empty line", "0\r\n", Wants),
        ("no size", "\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a size in words", "three\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("0x", "0x3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a sign", "+3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a minus sign", "-3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a space before the size", " 3\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a space behind the size", "3 \r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("2^64", "10000000000000000\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("2^64 + 3", "10000000000000003\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("2^68", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a bare LF behind the size", "3\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a bare LF behind the data", "3\r\nabc\n0\r\n\r\n", Refused(400)),
        ("a bare CR behind the size", "3\rabc\r\n0\r\n\r\n", Refused(400)),
        ("too much data", "3\r\nabcd\r\n0\r\n\r\n", Refused(400)),
        ("too little data", "4\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a bare LF at the end", "0\r\n\n", Refused(400)),
        ("a bare LF behind a trailer", "0\r\nA: b\n\r\n", Refused(400)),
        ("an extension without a name", "3;\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension without a value", "3;a=\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension with an open quote", "3;a=\"b\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension with a NUL", "3;a=\0\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension with an escaped NUL", "3;a=\"\\\0\"\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension that ends in an escape", "3;a=\"b\\\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension with a bare CR", "3;a=\"\r\"\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("a comma for a semicolon", "3,a\r\nabc\r\n0\r\n\r\n", Refused(400)),
        ("an extension without end", &long_line, Refused(400)),
        ("extensions without end", &many_extensions, Refused(400)),
        ("a trailer that is not a field", "0\r\nA\r\n\r\n", Refused(400)),
        ("a trailer with a space before its colon", "0\r\nA : b\r\n\r\n", Refused(400)),
        ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n", Refused(400)),
        ("too many trailers", &many_trailers, Refused(431)),
        ("trailers without end", &long_trailers, Refused(431)),
        ("as long a line as may be", &longest_line, Kept("x")),
        ("a line one byte longer", &too_long_line, Refused(400)),
        ("a line one byte longer, without its end", &too_long_line[..4096], Refused(400)),
        ("as long a line as may be, without its end", &longest_line[..4095], Wants),
        ("as many extensions as may be", &most_extensions, Kept("xxxxx")),
        ("one byte of extensions more", &one_extension_more, Refused(400)),
        ("as many trailers as may be", &most_trailers, Kept("")),
        ("as long trailers as may be", &longest_trailers, Kept("")),
        ("one byte of trailers more", &one_byte_more, Refused(431)),
    ] {
        check(name, post("Transfer-Encoding: chunked\r\n", body), then);
    }
}

#[test]
fn bodies_over_the_limits_are_rejected() {
    let http = mirror().body_limit(5);
    for (name, fields, body, then) in [
        ("a body of the limit", "Content-Length: 5\r\n", "abcde", Kept("abcde")),
        ("a body over the limit", "Content-Length: 6\r\n", "abcdef", Refused(413)),
        ("chunks of the limit", "Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n0\r\n\r\n", Kept("abcde")),
        ("chunks over the limit", "Transfer-Encoding: chunked\r\n", "5\r\nabcde\r\n1\r\nf\r\n0\r\n\r\n", Refused(413)),
        ("a chunk whose size is over the limit", "Transfer-Encoding: chunked\r\n", "6\r\n", Refused(413)),
        ("one that is so with those before", "Transfer-Encoding: chunked\r\n", "1\r\na\r\n5\r\n", Refused(413)),
    ] {
        check_with(&http, name, post(fields, body), then);
    }
    let http = mirror().chunked_bodies(false);
    let chunks = "Transfer-Encoding: chunked\r\n";
    check_with(&http, "a length is required", post(chunks, "1\r\na\r\n0\r\n\r\n"), Refused(411));
    check_with(&http, "and said", post("Content-Length: 1\r\n", "a"), Kept("a"));
    let http = mirror().body_memory_quota(5).body_quota(5);
    check_with(&http, "no room", post("Content-Length: 6\r\n", "abcdef"), Refused(507));
    let chunks = post("Transfer-Encoding: chunked\r\n", "6\r\nabcdef\r\n0\r\n\r\n");
    check_with(&http, "no room for chunks", chunks, Refused(507));
}

#[test]
fn a_rejected_body_stays_in_the_input_so_the_close_lingers() {
    let mut peer = Peer::new(&mirror());
    peer.send(post("Content-Length: 99999999999\r\n", ""));
    assert!(!peer.is_open() && peer.unused() > 0, "{}", peer.text());
}

/// The checksum of a body that two readers read at the same time, piece by piece.
struct Sums;

impl RequestHandler for Sums {
    fn do_post(&self, request: &Request) -> Result<Response> {
        use std::io::Read;
        let (mut one, mut two) = (request.reader(), request.body().reader());
        let (mut left, mut right) = ([0; 1000], [0; 1000]);
        let (mut sum, mut length) = (0u64, 0u64);
        loop {
            let count = one.read(&mut left)?;
            two.read_exact(&mut right[..count])?;
            if left[..count] != right[..count] {
                return Err(Error::new(500, "two readers differ"));
            }
            if count == 0 {
                break;
            }
            sum += left[..count].iter().map(|&byte| u64::from(byte)).sum::<u64>();
            length += count as u64;
        }
        assert_eq!(length, request.body().len());
        assert_eq!(length, request.bytes()?.len() as u64);
        Ok(Response::text(format!("{length} {sum} {:?}", request.body())))
    }

    fn log_request(&self, _: &LogRecord<'_>) {}
}

#[test]
fn large_bodies_go_to_a_file_and_come_back_whole() {
    for (memory, length, place) in [
        (0, 1, "in a file"),
        (100, 99, "in memory"),
        (100, 100, "in memory"),
        (100, 101, "in a file"),
        (65_536, 65_536, "in memory"),
        (65_536, 65_537, "in a file"),
        (65_536, 1_000_003, "in a file"),
    ] {
        let body: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
        let sum: u64 = body.iter().map(|&byte| u64::from(byte)).sum();
        let expected = format!("{length} {sum} Body({length} bytes, {place})");
        let plain =
            [format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n").as_bytes(), &body].concat();
        let mut chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body.chunks(7777) {
            chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunked.extend_from_slice(chunk);
            chunked.extend_from_slice(b"\r\n");
        }
        chunked.extend_from_slice(b"0\r\n\r\n");
        for wire in [plain, chunked] {
            for road in [Road::Whole, Road::Cut(wire.len() / 2), Road::Cut(wire.len() - 1)] {
                let mut peer = Peer::new(&Http::new(Sums).body_memory(memory).body_folder(std::env::temp_dir()));
                road.send(&wire, &mut peer);
                assert_eq!(Answer::all(&peer.said, &[])[0].text(), expected, "{memory} {road:?}");
                assert!(peer.is_open());
            }
        }
    }
}

#[test]
fn disk_calls_are_made_in_a_slot_only() {
    let mut peer = Peer::new(&Http::new(Sums).body_memory(10));
    peer.send(post("Content-Length: 100\r\n", ""));
    assert_eq!(peer.slots, 1, "before_body");
    peer.send("0123456789");
    assert_eq!(peer.slots, 1, "the memory is full, and no more bytes have arrived");
    peer.send("0");
    assert_eq!(peer.slots, 2, "the first part is written to disk");
    peer.send("1".repeat(88));
    assert_eq!(peer.slots, 2, "the second part waits in memory");
    peer.send("1");
    assert_eq!(peer.slots, 3, "the last stretch, and with it the handler: {}", peer.text());
}

#[test]
fn an_unwritable_folder_is_a_500() {
    let http = mirror().body_memory(1).body_folder("/no/such/folder");
    check_with(&http, "no folder", post("Content-Length: 2\r\n", "ab"), Refused(500));
}

/// The test runs itself in another process, with a disk of 64 KiB. It is skipped where this is not allowed.
#[test]
fn a_full_disk_is_a_507_only_if_needed() {
    if let Some(disk) = std::env::var_os("MODEST_TEST_DISK") {
        let http = mirror().body_memory(1000).body_folder(&disk);
        let large = [post("Content-Length: 100000\r\n", "").into_bytes(), vec![b'x'; 100_000]].concat();
        for round in 0..3 {
            let mut peer = Peer::new(&http);
            peer.send(&large);
            assert!(peer.text().starts_with("HTTP/1.1 507"), "round {round}: {}", peer.text());
            assert!(!peer.is_open(), "round {round}");
            check_with(&http, "in memory", post("Content-Length: 2\r\n", "ab"), Kept("ab"));
        }
        // The body was stored elsewhere and has to be copied there.
        let kept = std::path::Path::new(&disk).join("kept");
        let path = kept.clone();
        let keep = move |request: &Request| request.persist(&path).map(|_| Response::no_content());
        for memory in [1000, 1_000_000] {
            let keep = keep.clone();
            let mut peer = Peer::new(&Http::new(handler_fn(keep)).body_memory(memory).body_folder("/var/tmp"));
            peer.send(&large);
            assert!(peer.text().starts_with("HTTP/1.1 507"), "{memory}: {}", peer.text());
            assert!(!kept.exists(), "an incomplete file is removed");
        }
        let fits = "y".repeat(20_000);
        let mut peer = Peer::new(&http);
        peer.send(post("Content-Length: 20000\r\n", &fits));
        assert!(peer.text().ends_with(&fits), "what was written of the others is gone: {}", peer.text());
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$MODEST_TEST_DISK\" || exit 77
                  exec \"$0\" --exact bodies::a_full_disk_is_a_507_only_if_needed";
    let mut again = std::process::Command::new("unshare");
    again.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    match again.env("MODEST_TEST_DISK", disk.path()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.stdout.is_empty() => {
            eprintln!("skipped: no disk of one's own: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => eprintln!("skipped: no disk of one's own: {error}"),
    }
}

/// All ends of a request whose body has used all memory, or the whole file.
#[test]
fn body_memory_is_released() {
    let x = "x".repeat(60);
    let whole = post("Content-Length: 60\r\n", &x);
    let chunks = post("Transfer-Encoding: chunked\r\n", &format!("3c\r\n{x}\r\n"));
    type End = fn(&mut Peer);
    let ends: [(&str, &str, u16, End); 8] = [
        ("answered", &whole, 200, |_| {}),
        ("answered, of chunks", &format!("{chunks}0\r\n\r\n"), 200, |_| {}),
        ("cut off", &whole[..whole.len() - 1], 400, |peer| _ = peer.end()),
        ("cut off, in chunks", &chunks, 400, |peer| _ = peer.end()),
        ("late", &whole[..whole.len() - 1], 408, |peer| _ = peer.late()),
        ("not well-formed", &format!("{chunks}x\r\n"), 400, |_| {}),
        ("too large", &format!("{chunks}ffffff\r\n"), 413, |_| {}),
        ("gone", &chunks, 0, |peer| _ = peer.event(Event::SendFailed)),
    ];
    for (memory, quotas) in [(60, (60, 0)), (10, (0, 60)), (10, (20, 60)), (60, (10, 60))] {
        let http = mirror().body_memory(memory).body_memory_quota(quotas.0).body_quota(quotas.1).body_limit(1000);
        for (name, bytes, status, end) in &ends {
            for round in 0..3 {
                let mut peer = Peer::new(&http);
                peer.send(bytes);
                end(&mut peer);
                let answers = Answer::all(&peer.said, &[]);
                let found = answers.first().map_or(0, |answer| answer.status);
                assert_eq!(found, *status, "{name}, {memory} {quotas:?}, round {round}: {}", peer.text());
            }
        }
        let mut slow = Peer::new(&http);
        slow.send(&whole[..whole.len() - 1]);
        let mut late = Peer::new(&http);
        late.send(&chunks);
        assert!(late.text().starts_with("HTTP/1.1 507"), "{memory} {quotas:?}: {}", late.text());
        slow.send("x");
        assert!(slow.text().starts_with("HTTP/1.1 200"), "what was announced has its room: {}", slow.text());
    }
}

/// If the quota for bodies in memory is used up, a short body is also stored in a file.
#[test]
fn bodies_go_to_files_when_memory_is_full() {
    let http = Http::new(handler_fn(|request| Ok(Response::text(format!("{:?}", request.body())))));
    let http = http.body_memory(100).body_memory_quota(150).body_quota(1000);
    let mut first = Peer::new(&http);
    first.send(post("Content-Length: 100\r\n", &"x".repeat(99)));
    for (fields, body) in [
        ("Content-Length: 60\r\n", "x".repeat(60)),
        ("Transfer-Encoding: chunked\r\n", format!("32\r\n{}\r\na\r\n{}\r\n0\r\n\r\n", "x".repeat(50), "x".repeat(10))),
    ] {
        let mut second = Peer::new(&http);
        second.send(post(fields, &body));
        assert!(second.text().ends_with("Body(60 bytes, in a file)"), "{}", second.text());
    }
    first.send("x");
    assert!(first.text().ends_with("Body(100 bytes, in memory)"), "{}", first.text());
}

/// Unfinished large bodies, and small ones beside them.
#[test]
fn spooled_bodies_leave_room_for_small_ones() {
    let http = mirror().body_memory(100).body_quota(10_000);
    let _slow: Vec<Peer> = (0..10)
        .map(|_| {
            let mut peer = Peer::new(&http);
            peer.send(post("Content-Length: 1000\r\n", &"x".repeat(999)));
            assert!(peer.is_open(), "{}", peer.text());
            peer
        })
        .collect();
    check_with(&http, "small", post("Content-Length: 3\r\n", "abc"), Kept("abc"));
    let mut small = Peer::new(&http);
    small.send(post("Content-Length: 100\r\n", &"y".repeat(100)));
    assert!(small.text().starts_with("HTTP/1.1 200"), "{}", small.text());
    let mut one_more = Peer::new(&http);
    one_more.send(post("Content-Length: 1000\r\nExpect: 100-continue\r\n", ""));
    let text = one_more.text();
    assert!(text.starts_with("HTTP/1.1 507") && text.contains("\r\nRetry-After: 1\r\n"), "{text}");
}

#[test]
fn memory_grows_with_received_not_announced_bytes() {
    let http = Http::new(handler_fn(|_| Ok(Response::no_content()))).body_limit(None).body_quota(None);
    let mut peer = Peer::new(&http);
    peer.send(post("Content-Length: 18446744073709551615\r\n", "abc"));
    assert!(peer.is_open());
    let mut peer = Peer::new(&http);
    peer.send(post("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nabc"));
    assert!(peer.is_open());
}
