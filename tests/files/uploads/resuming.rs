//! Uploads that continue after an interruption: by ranges, and as in the draft of the IETF.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use modest::testing::{TestRequest, TestServer, serve};
use modest::{Overwrite, SentResponse, Uploads};

use super::super::Folder;
use super::{accepting, answer, connect, dav, put, tree, visible, wait_for_silence};

fn resumable() -> Uploads {
    Uploads::new().resumable(4, Duration::from_secs(3600))
}

fn send(server: &TestServer, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> SentResponse {
    let request = TestRequest::new(method.parse().unwrap(), target).with_body(body);
    server.send(fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value)))
}

fn range(server: &TestServer, range: &str, body: &[u8]) -> (u16, String) {
    let got = send(server, "PUT", "/a?upload=0123456789abcdef", &[("content-range", range)], body);
    (got.status().as_u16(), got.header("range").unwrap_or_default().to_owned())
}

#[test]
fn uploads_resume_by_ranges() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable());
    for (said, body, expected, has) in [
        ("bytes */10", "", 404, ""),
        ("bytes 4-9/10", "efghij", 404, ""),
        ("bytes 0-3/10", "abcd", 202, "bytes=0-3"),
        ("bytes */10", "", 202, "bytes=0-3"),
        ("bytes */11", "", 404, ""),
        ("bytes */10", "abc", 400, ""),
        ("bytes 5-9/10", "fghij", 409, "bytes=0-3"),
        ("bytes 0-1/10", "xy", 202, "bytes=0-1"), // starts again
        ("bytes 2-3/10", "cd", 202, "bytes=0-3"),
        ("bytes 4-6/10", "ef", 400, ""),
        ("bytes 4-6/6", "efg", 400, ""),
        ("bytes 6-4/10", "efg", 400, ""),
        ("bytes 4-9/*", "efghij", 400, ""),
        ("bytes=4-9/10", "efghij", 400, ""),
        ("bytes 4-99999999999999999999/10", "e", 400, ""),
        ("items 4-9/10", "efghij", 400, ""),
        ("bytes 4-9/10", "efghij", 201, ""),
        ("bytes */10", "", 201, ""), // the first response may be lost
        ("bytes 4-9/10", "efghij", 409, "bytes=0-9"),
        ("bytes 2-3/10", "cd", 409, "bytes=0-9"),
        ("bytes 4-9/11", "efghij", 404, ""),
        ("bytes */11", "", 404, ""),
        ("bytes 0-3/10", "abcd", 409, ""), // that name is taken now
    ] {
        assert_eq!(range(&server, said, body.as_bytes()), (expected, has.to_owned()), "{said}");
    }
    assert_eq!(tree(folder.as_ref()), ["a=xycdefghij"]);
    // The result of a file that was sent whole is kept as well, with the same response. Four results are kept.
    for number in 0..5 {
        let target = format!("/whole{number}?upload=0123456789abcdef&overwrite=rename");
        let stored = send(&server, "PUT", &target, &[], b"");
        let asked = send(&server, "PUT", &target, &[("content-range", "bytes */0")], b"");
        let told = |got: &SentResponse| {
            let fields = ["location", "etag"].map(|name| got.header(name).map(str::to_owned));
            (got.status().as_u16(), fields, got.text().to_owned())
        };
        assert_eq!(told(&stored), told(&asked), "{target}");
        let other = send(&server, "PUT", &target.replace("0123", "4567"), &[("content-range", "bytes */0")], b"");
        assert_eq!((stored.status().as_u16(), other.status().as_u16()), (201, 404), "{target}");
    }
    // An upload that starts again has no earlier result, and no earlier part.
    let at = "/again?upload=0123456789abcdef";
    for (said, body, expected) in [
        (Some("bytes 0-3/8"), "half", 202),
        (None, "complete", 201),
        (Some("bytes */8"), "", 201),
        (Some("bytes */8"), "complete", 404),
        (Some("bytes 0-3/8"), "half", 409), // rejected, because the name is taken; so nothing starts
        (Some("bytes */8"), "", 201),
    ] {
        let fields: Vec<_> = said.map(|range| ("content-range", range)).into_iter().collect();
        let got = send(&server, "PUT", at, &fields, body.as_bytes());
        assert_eq!(got.status().as_u16(), expected, "{said:?} {body:?}: {}", got.text());
    }
    fs::remove_file(folder.path("again")).unwrap();
    assert_eq!(send(&server, "PUT", at, &[("content-range", "bytes 0-3/8")], b"half").status(), 202);
    let asked_again = send(&server, "PUT", at, &[("content-range", "bytes */8")], b"");
    assert_eq!((asked_again.status().as_u16(), asked_again.header("range")), (202, Some("bytes=0-3")));
    let asked = |name: &str| {
        let target = format!("/{name}?upload=0123456789abcdef");
        send(&server, "PUT", &target, &[("content-range", "bytes */0")], b"").status().as_u16()
    };
    assert_eq!(["whole0", "whole2", "whole4"].map(asked), [404, 201, 201]);
    assert_eq!(
        range(&accepting(&folder, Uploads::new()), "bytes 0-3/10", b"abcd").0,
        400,
        "ranges need the setting resumable"
    );
}

/// A rejected request begins no upload, ends none, and takes none over.
#[test]
fn rejected_requests_begin_and_end_nothing() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, Uploads::new().max_size(10).resumable(1, Duration::from_secs(3600)));
    let at = "/a?upload=0123456789abcdef";
    let rejected = [
        (at, ("content-range", "bytes 0-3/10"), "abc", 400),
        (at, ("content-range", "bytes 0-3/11"), "abcd", 413),
        (at, ("x-whole", "1"), "abcdefghijk", 413),
        ("/b", ("upload-complete", "?0"), "abcdefghijk", 413),
    ];
    for (state, unit) in [(404, "bytes"), (202, "Bytes")] {
        for (target, field, body, expected) in rejected {
            let fields = [field, ("upload-length", "10")];
            let got = send(&server, "PUT", target, &fields[..1 + usize::from(target == "/b")], body.as_bytes());
            assert_eq!(got.status(), expected, "{field:?} {body}");
            assert_eq!(range(&server, "bytes */10", b"").0, state, "{field:?} {body}");
        }
        // There is room for one upload: none of the rejected ones has it.
        assert_eq!(range(&server, &format!("{unit} 0-3/10"), b"abcd"), (202, "bytes=0-3".to_owned()));
    }
    let fields = "Content-Range: bytes 4-9/10\r\nContent-Length: 6";
    let mut slow = before_its_body(&server, &format!("PUT {at}"), fields);
    assert_eq!(range(&server, "bytes 4-9/10", b"efg").0, 400);
    assert_eq!(range(&server, "bytes 3-9/10", b"defghij").0, 409);
    assert_eq!(range(&server, "bytes 5-9/10", b"fghij").0, 409);
    slow.write_all(b"efghij").unwrap();
    assert!(answer(&mut slow).starts_with("HTTP/1.1 201"), "a rejected request stopped another one");
    assert_eq!(tree(folder.as_ref()), ["a=abcdefghij"]);
}

/// Begins a request, which the server accepts before its body.
fn before_its_body(server: &TestServer, line: &str, fields: &str) -> TcpStream {
    let mut client = connect(server);
    let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\nExpect: 100-continue\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    assert!(answer(&mut client).starts_with("HTTP/1.1 100"));
    client
}

/// A part with a wrong length or a wrong place is rejected, and the request that is sending continues.
#[test]
fn a_wrong_part_does_not_take_over_an_upload() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable());
    let at = send(&server, "PUT", "/a", &[("upload-complete", "?0"), ("upload-length", "10")], b"");
    let at = at.header("location").unwrap().to_owned();
    let fields = "Upload-Offset: 0\r\nUpload-Complete: ?1\r\nContent-Length: 10";
    let mut slow = before_its_body(&server, &format!("PATCH {at}"), fields);
    for (offset, length, complete, body, expected) in [
        ("0", "11", "?0", "abc", 400),
        ("4", "11", "?0", "abc", 400),
        ("0", "10", "?1", "abc", 400),
        ("4", "10", "?0", "abc", 409),
        ("7", "10", "?1", "abc", 409),
    ] {
        let fields = [("upload-offset", offset), ("upload-length", length), ("upload-complete", complete)];
        let got = send(&server, "PATCH", &at, &fields, body.as_bytes());
        assert_eq!((got.status().as_u16(), got.header("upload-offset")), (expected, Some("0")), "{fields:?}");
    }
    slow.write_all(b"abcdefghij").unwrap();
    assert!(answer(&mut slow).starts_with("HTTP/1.1 201"), "a rejected request stopped another one");
    assert_eq!(tree(folder.as_ref()), ["a=abcdefghij"]);
}

/// An upload that starts again, and does not fit on the disk, leaves the earlier part.
#[test]
fn a_failed_restart_keeps_the_earlier_part() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable());
    assert_eq!(range(&server, "bytes 0-3/10", b"abcd").0, 202);
    let huge = 1_u64 << 60;
    for fields in [format!("Content-Range: bytes 0-3/{huge}\r\nContent-Length: 4"), format!("Content-Length: {huge}")] {
        let mut client = connect(&server);
        let head = format!("PUT /a?upload=0123456789abcdef HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let got = answer(&mut client);
        assert!(got.starts_with("HTTP/1.1 507 "), "{fields}: {got}");
        assert_eq!(range(&server, "bytes */10", b""), (202, "bytes=0-3".to_owned()), "{fields}");
    }
    assert_eq!(range(&server, "bytes 4-9/10", b"efghij").0, 201);
    assert_eq!(tree(folder.as_ref()), ["a=abcdefghij"]);
}

/// Two clients without a user, behind one address, send files of one length to one path. Each continues its own upload.
#[test]
fn resuming_by_ranges_needs_the_uploads_secret() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable().overwrite(Overwrite::Rename).delete(true));
    let send = |secret: &str, said: &str, body: &str| {
        let got = send(&server, "PUT", &format!("/a{secret}"), &[("content-range", said)], body.as_bytes());
        (got.status().as_u16(), got.header("range").unwrap_or_default().to_owned())
    };
    for secret in ["", "?upload=", "?upload=tooshort", &format!("?upload={}", "x".repeat(129))] {
        assert_eq!(send(secret, "bytes 0-3/10", "abcd").0, 400, "{secret}");
    }
    let (ada, bob, eve) = ("?upload=ada-0123456789ab", "?upload=bob-0123456789ab", "?upload=eve-0123456789ab");
    assert_eq!(send(ada, "bytes 0-4/10", "AAAAA").0, 202);
    assert_eq!(send(bob, "bytes 0-4/10", "BBBBB").0, 202);
    assert_eq!(send(eve, "bytes 5-9/10", "EEEEE").0, 404);
    for (method, expected) in [("HEAD", 404), ("PATCH", 404), ("DELETE", 404)] {
        let fields = [("upload-offset", "5"), ("upload-complete", "?1")];
        let got = self::send(&server, method, &format!("/a{eve}"), &fields, if method == "PATCH" { b"x" } else { b"" });
        assert_eq!(got.status(), expected, "{method}");
    }
    assert_eq!(send(ada, "bytes 5-9/10", "AAAAA").0, 201);
    assert_eq!(send(bob, "bytes */10", ""), (202, "bytes=0-4".to_owned()));
    assert_eq!(send(bob, "bytes 5-9/10", "BBBBB").0, 201);
    assert_eq!(tree(folder.as_ref()), ["a (1)=BBBBBBBBBB", "a=AAAAAAAAAA"]);
}

/// The bytes that came before the connection broke are kept, and no request sees them.
#[test]
fn an_upload_survives_a_broken_connection() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable());
    let body: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    let mut client = connect(&server);
    let head = "PUT /a?upload=0123456789abcdef HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-299999/300000\r\nContent-Length: 300000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&body[..200_000]).unwrap();
    drop(client);
    wait_for_silence(&server);
    let (status, has) = range(&server, "bytes */300000", b"");
    let next: usize = has.trim_start_matches("bytes=0-").parse::<usize>().unwrap() + 1;
    assert!(status == 202 && (100_000..=200_000).contains(&next), "{has}");
    assert_eq!(visible(folder.as_ref()), [""; 0], "an incomplete file was visible");
    assert_eq!(range(&server, &format!("bytes {next}-299999/300000"), &body[next..]).0, 201);
    assert!(fs::read(folder.path("a")).unwrap() == body);
}

#[test]
fn uploads_resume_as_in_the_draft() {
    let folder = Folder::new(&[("taken", "x")]);
    let server = accepting(&folder, resumable().overwrite(Overwrite::Refuse));
    let part = ("content-type", "application/partial-upload");
    for method in ["PUT", "POST"] {
        let target = format!("/{method}.txt");
        let made = send(&server, method, &target, &[("upload-complete", "?0"), ("upload-length", "6")], b"");
        let at = made.header("location").unwrap().to_owned();
        assert_eq!((made.status().as_u16(), made.header("upload-offset")), (201, Some("0")), "{}", made.text());
        assert!(at.starts_with(&format!("{target}?upload=")) && at.len() == target.len() + 8 + 32, "{at}");
        let asked = |expected: &str| {
            let got = server.send(TestRequest::new(modest::Method::HEAD, &at));
            let told =
                ["upload-offset", "upload-complete", "upload-length", "cache-control"].map(|name| got.header(name));
            assert_eq!(told, [Some(expected), Some("?0"), Some("6"), Some("no-store")], "{got:?}");
        };
        asked("0");
        for (fields, body, expected, offset) in [
            (&[part, ("upload-offset", "0"), ("upload-complete", "?0")][..], "abc", 204, Some("3")),
            (&[part, ("upload-offset", "0"), ("upload-complete", "?0")], "abc", 409, Some("3")),
            (&[part, ("upload-offset", "4"), ("upload-complete", "?1")], "ef", 409, Some("3")),
            (&[part, ("upload-offset", "4"), ("upload-complete", "?1")], "efgh", 409, Some("3")),
            (&[part, ("upload-complete", "?1")], "def", 400, None),
            (&[part, ("upload-offset", "3")], "def", 400, None),
            (&[("content-type", "text/plain"), ("upload-offset", "3"), ("upload-complete", "?1")], "def", 415, None),
            (&[part, ("upload-offset", "3"), ("upload-complete", "?1")], "defg", 413, None),
            (&[part, ("upload-offset", "3"), ("upload-complete", "?1")], "de", 400, Some("5")),
            (&[part, ("upload-offset", "5"), ("upload-complete", "?1")], "f", 201, Some("6")),
            (&[part, ("upload-offset", "6"), ("upload-complete", "?1")], "", 404, None),
        ] {
            let got = send(&server, "PATCH", &at, fields, body.as_bytes());
            assert_eq!(
                (got.status().as_u16(), got.header("upload-offset")),
                (expected, offset),
                "{fields:?} {body}: {}",
                got.text()
            );
        }
        assert_eq!(fs::read_to_string(folder.path(&target[1..])).unwrap(), "abcdef");
        let asked = server.send(TestRequest::new(modest::Method::HEAD, &at));
        let told = ["upload-offset", "upload-complete", "upload-length"].map(|name| asked.header(name));
        assert_eq!((asked.status().as_u16(), told), (204, [Some("6"), Some("?1"), Some("6")]));
    }
    let begin = |target: &str| send(&server, "PUT", target, &[("upload-complete", "?0")], b"abc");
    assert_eq!(
        [begin("/taken"), begin("/no/such"), begin("/.hidden")].map(|got| got.status().as_u16()),
        [409, 409, 403]
    );
    // An upload can be cancelled only by its own URL.
    let at = begin("/new").header("location").unwrap().to_owned();
    let elsewhere = at.replace("/new", "/other");
    let delete = |target: &str| server.send(TestRequest::new(modest::Method::DELETE, target)).status().as_u16();
    assert_eq!([delete(&elsewhere), delete("/new?upload=guess"), delete(&at), delete(&at)], [404, 404, 204, 404]);
    // The number of unfinished uploads is limited.
    let all: Vec<u16> = (0..5).map(|number| begin(&format!("/many{number}")).status().as_u16()).collect();
    assert_eq!(all, [201, 201, 201, 201, 503]);
    assert_eq!(put(&server, "/plain", b"x"), 201, "other uploads must go on");
    assert_eq!(visible(folder.as_ref()), ["POST.txt=abcdef", "PUT.txt=abcdef", "plain=x", "taken=x"]);
    let allowed = send(&server, "DELETE", "/plain", &[], b"").header("allow").map(str::to_owned);
    assert_eq!(allowed.as_deref(), Some("GET, HEAD, OPTIONS, POST, PUT, MKCOL, PATCH"));
}

/// All lengths that a client states for one upload must be equal (draft, section 4.1.3).
#[test]
fn lengths_must_match() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable());
    let whole = |length, complete, body: &[u8]| {
        let target = format!("/whole{length}{}", body.len());
        send(&server, "PUT", &target, &[("upload-length", length), ("upload-complete", complete)], body)
            .status()
            .as_u16()
    };
    assert_eq!([whole("10", "?1", b"abcde"), whole("4", "?1", b"abcde"), whole("x", "?1", b"abcde")], [400; 3]);
    assert_eq!([whole("5", "?1", b"abcde"), whole("0", "?1", b"")], [201; 2]);
    let mut chunked = connect(&server);
    let head = "PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nUpload-Complete: ?1\r\nUpload-Length: 10\r\n\r\n";
    chunked.write_all(format!("{head}5\r\nhello\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert!(answer(&mut chunked).starts_with("HTTP/1.1 400"));
    // The length of the first request, of a part, and of the last part.
    for (first, second, last, expected) in [
        (Some("6"), Some("6"), Some("6"), [204, 201]),
        (Some("6"), Some("7"), Some("6"), [400, 409]),
        (Some("6"), None, Some("7"), [204, 400]),
        (None, Some("6"), None, [204, 201]),
        (None, Some("7"), None, [204, 400]),
        (None, Some("6"), Some("7"), [204, 400]),
        (None, None, Some("6"), [204, 201]),
        (None, None, Some("7"), [204, 400]),
        (None, Some("2"), None, [400, 409]),
    ] {
        let said = |length: Option<&'static str>| length.map(|length| ("upload-length", length));
        let name = format!("/{first:?}{second:?}{last:?}").replace(['"', '(', ')'], "");
        let begun: Vec<_> = [("upload-complete", "?0")].into_iter().chain(said(first)).collect();
        let at = send(&server, "PUT", &name, &begun, b"").header("location").unwrap().to_owned();
        let part = |offset, complete, length, body: &[u8]| {
            let fields = [("upload-offset", offset), ("upload-complete", complete)].into_iter().chain(said(length));
            send(&server, "PATCH", &at, &fields.collect::<Vec<_>>(), body).status().as_u16()
        };
        assert_eq!([part("0", "?0", second, b"abc"), part("3", "?1", last, b"def")], expected, "{name}");
        send(&server, "DELETE", &at, &[], b"");
    }
    let names = visible(folder.as_ref());
    assert!(names.iter().filter(|name| name.ends_with("=abcdef")).count() == 3 && names.len() == 5, "{names:?}");
}

/// After a client has asked for the offset, data of an older connection is rejected.
#[test]
fn the_last_client_to_query_continues_the_upload() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable());
    let made = send(&server, "PUT", "/a", &[("upload-complete", "?0")], b"");
    let at = made.header("location").unwrap().to_owned();
    let mut old = connect(&server);
    let head = format!(
        "PATCH {at} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/partial-upload\r\nUpload-Offset: 0\r\n\
        Upload-Complete: ?1\r\nContent-Length: 200000\r\nExpect: 100-continue\r\n\r\n"
    );
    old.write_all(head.as_bytes()).unwrap();
    assert!(answer(&mut old).starts_with("HTTP/1.1 100"));
    let offset = || server.send(TestRequest::new(modest::Method::HEAD, &at)).header("upload-offset").map(str::to_owned);
    assert_eq!(offset().as_deref(), Some("0"));
    let _ = old.write_all(&[b'o'; 200_000]);
    let refused = answer(&mut old);
    assert!(refused.starts_with("HTTP/1.1 409"), "{refused}");
    let fields = [("content-type", "application/partial-upload"), ("upload-offset", "0"), ("upload-complete", "?1")];
    assert_eq!(send(&server, "PATCH", &at, &fields, b"new").status(), 201);
    assert_eq!(tree(folder.as_ref()), ["a=new"]);
}

/// A last step without a body has no data that could be rejected. A client waits before it, and meanwhile the upload is
/// ended or another client continues it. Then the waiting client stores nothing, and the returned part of a quota stays
/// free.
#[test]
fn a_waiting_last_step_stores_nothing_after_the_end() {
    for overwrite in [Overwrite::Refuse, Overwrite::Rename, Overwrite::Replace] {
        for (method, waiting, expected) in [("DELETE", 1, 0), ("HEAD", 1, 0), ("PATCH", 2, 1)] {
            let folder = Folder::new(&[]);
            let quota = (10_000, Duration::from_secs(86_400));
            let server = accepting(&folder, resumable().overwrite(overwrite).delete(true).quota(quota));
            let at =
                send(&server, "PUT", "/a", &[("upload-complete", "?0")], b"").header("location").unwrap().to_owned();
            let fields = [("upload-offset", "0"), ("upload-complete", "?0")];
            assert_eq!(send(&server, "PATCH", &at, &fields, &[b'x'; 10_000]).status(), 204);
            let head = format!(
                "PATCH {at} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 10000\r\nUpload-Complete: ?1\r\n\
                Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
            );
            let mut clients: Vec<_> = (0..waiting).map(|_| connect(&server)).collect();
            for client in &mut clients {
                client.write_all(head.as_bytes()).unwrap();
                assert!(answer(client).starts_with("HTTP/1.1 100"));
            }
            if method != "PATCH" {
                assert_eq!(send(&server, method, &at, &[], b"").status(), 204, "{method}");
            }
            let answers: Vec<String> = clients
                .iter_mut()
                .map(|client| {
                    client.write_all(b"0\r\n\r\n").unwrap();
                    answer(client)[9..12].to_owned()
                })
                .collect();
            let stored = answers.iter().filter(|answer| *answer == "201").count();
            let refused = answers.iter().filter(|answer| *answer == "409").count();
            assert_eq!((stored, refused), (expected, 1), "{overwrite:?} {method}: {answers:?}");
            let names = visible(folder.as_ref());
            assert_eq!(names.len(), expected, "{overwrite:?} {method}: {names:?}");
        }
    }
}

/// A locked file, or a condition that does not hold, is reported from the head of the last request if possible. In any
/// case the received part stays.
#[test]
fn a_rejected_last_step_keeps_what_was_received() {
    for (by_ranges, from_head) in [(true, true), (true, false), (false, true), (false, false)] {
        let folder = Folder::new(&[("a", "old")]);
        let server = serve(folder.handler().webdav(true).uploads(resumable().overwrite(Overwrite::Replace)));
        let at = match by_ranges {
            true => {
                assert_eq!(range(&server, "bytes 0-4/10", b"01234").0, 202);
                "/a?upload=0123456789abcdef".to_owned()
            }
            false => {
                let fields = [("upload-complete", "?0"), ("upload-length", "10")];
                send(&server, "PUT", "/a", &fields, b"01234").header("location").unwrap().to_owned()
            }
        };
        let step = match by_ranges {
            true => format!("PUT {at} HTTP/1.1\r\nContent-Range: bytes 5-9/10"),
            false => format!("PATCH {at} HTTP/1.1\r\nUpload-Offset: 5\r\nUpload-Complete: ?1"),
        };
        let head = |more: &str| {
            format!("{step}\r\nHost: localhost\r\n{more}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        };
        for more in ["If-None-Match: *\r\n", "If: (<urn:uuid:none>)\r\n"] {
            let mut client = connect(&server);
            client.write_all(head(more).as_bytes()).unwrap();
            let got = answer(&mut client);
            assert!(got.starts_with("HTTP/1.1 412 "), "by ranges: {by_ranges}, {more}: {got}");
        }
        let lock = || dav::lock(&server, "/a", &[], dav::LOCK).header("lock-token").unwrap().to_owned();
        let mut token = from_head.then(lock);
        let mut client = connect(&server);
        client.write_all(head("If-Match: *\r\n").as_bytes()).unwrap();
        if !from_head {
            assert!(answer(&mut client).starts_with("HTTP/1.1 100 "));
            token = Some(lock());
            client.write_all(b"56789").unwrap();
        }
        let got = answer(&mut client);
        assert!(got.starts_with("HTTP/1.1 423 "), "by ranges: {by_ranges}, from head: {from_head}: {got}");
        let request = TestRequest::new("UNLOCK".parse().unwrap(), "/a").with_header("lock-token", token.unwrap());
        assert_eq!(server.send(request).status(), 204);
        assert_eq!(visible(folder.as_ref()), ["a=old"]);
        let rest = if from_head { &b"56789"[..] } else { b"" };
        let offset = (10 - rest.len()).to_string();
        let complete = |condition: Option<(&'static str, &'static str)>| {
            let (method, fields) = match by_ranges {
                true => ("PUT", vec![("content-range", if from_head { "bytes 5-9/10" } else { "bytes */10" })]),
                false => ("PATCH", vec![("upload-offset", offset.as_str()), ("upload-complete", "?1")]),
            };
            let fields: Vec<_> = fields.into_iter().chain(condition).collect();
            send(&server, method, &at, &fields, rest).status().as_u16()
        };
        if !from_head {
            assert_eq!(complete(None), 412, "bytes of a request with conditions are stored without any");
        }
        let condition = Some(("if-match", "*")).filter(|_| !from_head);
        assert_eq!(complete(condition), 204, "by ranges: {by_ranges}, from head: {from_head}");
        assert_eq!(tree(folder.as_ref()), ["a=0123456789"]);
    }
}

/// The conditions of an upload hold until the file is stored, even if the last request has none, and until a request has
/// others.
#[test]
fn conditions_hold_for_all_requests_of_an_upload() {
    let long = format!("\"{}\"", "x".repeat(2048));
    for by_ranges in [true, false] {
        // The conditions of the first and of the last request, and what another client does in between.
        for (first, other, last, stored, rest) in [
            (("if-none-match", "*"), Some("other"), None, 412, "a=other"),
            (("if-none-match", "*"), None, None, 201, "a=012345"),
            (("if-match", "\"none\""), None, None, 412, ""),
            (("if-match", "*"), Some("other"), None, 412, "a=other"), // did not hold when it began
            (("if-none-match", "*"), Some("other"), Some(("if-match", "*")), 204, "a=012345"),
            // Fields that are ignored, and those of another kind, replace nothing.
            (("if-none-match", "*"), Some("other"), Some(("if-modified-since", "x")), 412, "a=other"),
            (
                ("if-none-match", "*"),
                Some("other"),
                Some(("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT")),
                412,
                "a=other",
            ),
            (("if-none-match", "*"), Some("other"), Some(("if-unmodified-since", "not a date")), 412, "a=other"),
            (("if-none-match", "*"), Some("other"), Some(("if", "(Not <DAV:no-lock>)")), 412, "a=other"),
            (("if", "(Not <DAV:no-lock>)"), Some("other"), Some(("if-none-match", "*")), 412, "a=other"),
            (("if", "(Not <DAV:no-lock>)"), Some("other"), None, 204, "a=012345"),
            (("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT"), Some("other"), None, 412, "a=other"),
            (("if", "(<urn:x>)"), None, None, 412, ""),
            (("if-match", long.as_str()), None, None, 431, ""),
        ] {
            let folder = Folder::new(&[]);
            let server = accepting(&folder, resumable().overwrite(Overwrite::Replace).delete(true));
            let at = "/a?upload=0123456789abcdef";
            let (begun, location) = match by_ranges {
                true => {
                    let fields = [("content-range", "bytes 0-2/6"), first];
                    (send(&server, "PUT", at, &fields, b"012").status().as_u16(), at.to_owned())
                }
                false => {
                    let begun = send(&server, "POST", "/a", &[("upload-complete", "?0"), first], b"012");
                    (begun.status().as_u16(), begun.header("location").unwrap_or_default().to_owned())
                }
            };
            let case = format!("by ranges: {by_ranges}, {first:?}, {other:?}, {last:?}");
            if begun >= 400 {
                assert_eq!((begun, stored), (begun, begun), "{case}");
                continue;
            }
            other.iter().for_each(|other| assert_eq!(put(&server, "/a", other.as_bytes()), 201, "{case}"));
            // A request that is rejected, or asks for the state, replaces nothing.
            let any = if first.0 == "if" {
                ("if", "(<DAV:no-lock>)")
            } else {
                ("if-unmodified-since", "Fri, 01 Jan 2100 00:00:00 GMT")
            };
            let (method, fields) = match by_ranges {
                true => ("PUT", vec![("content-range", "bytes 4-4/6"), any]),
                false => ("PATCH", vec![("upload-offset", "4"), ("upload-complete", "?0"), any]),
            };
            assert_eq!(send(&server, method, &location, &fields, b"4").status().as_u16(), 409, "{case}");
            if by_ranges {
                let fields = [("content-range", "bytes */6"), any];
                assert_eq!(send(&server, "PUT", &location, &fields, b"").status().as_u16(), 202, "{case}");
            }
            let go_on = |condition: Option<(&'static str, &'static str)>| {
                let (method, fields) = match by_ranges {
                    true => ("PUT", vec![("content-range", "bytes 3-5/6")]),
                    false => ("PATCH", vec![("upload-offset", "3"), ("upload-complete", "?1")]),
                };
                let fields: Vec<_> = fields.into_iter().chain(condition).collect();
                send(&server, method, &location, &fields, b"345").status().as_u16()
            };
            assert_eq!(go_on(last), stored, "{case}");
            assert_eq!(visible(folder.as_ref()).join(" "), rest, "{case}");
        }
    }
}

/// A request that is rejected at any step, or does not arrive completely, replaces no condition: a last request without
/// conditions still needs those of the accepted ones.
#[test]
fn rejected_requests_replace_no_condition() {
    let quota = |uploads: Uploads| uploads.quota((100 << 10, Duration::from_secs(3600)));
    let long = format!("30d40\r\n{}\r\n0\r\n\r\n", "x".repeat(200_000));
    let half = "x".repeat(80_000);
    for (first, replaced_by) in [
        ("If-None-Match: *", "If-Match: *"),
        ("If: (<DAV:no-lock>)", "If: (Not <DAV:no-lock>)"),
        ("If-Modified-Since: x", "If-Match: *"), // no conditions, and then one that holds
    ] {
        for (fields, body, status) in [
            ("Upload-Complete: ?0\r\nUpload-Offset: 2\r\nContent-Length: 500000", "", "413"),
            ("Upload-Complete: ?0\r\nUpload-Offset: 2\r\nTransfer-Encoding: chunked", &*long, "413"),
            ("Upload-Complete: ?0\r\nUpload-Offset: 2\r\nTransfer-Encoding: chunked", "zz\r\n", "400"),
            ("Upload-Complete: ?0\r\nUpload-Offset: 9\r\nContent-Length: 1", "x", "409"),
            (
                "Upload-Complete: ?1\r\nUpload-Offset: 2\r\nUpload-Length: 10\r\nTransfer-Encoding: chunked",
                "1\r\nx\r\n0\r\n\r\n",
                "400",
            ),
            ("Upload-Complete: ?0\r\nUpload-Offset: 2\r\nContent-Length: 50", "xy", "cut"),
            ("Upload-Complete: ?1\r\nUpload-Offset: 2\r\nContent-Length: 50", "xy", "cut"),
            // Some of its bytes are kept.
            ("Upload-Complete: ?1\r\nUpload-Offset: 2\r\nContent-Length: 90000", &*half, "cut"),
        ] {
            let folder = Folder::new(&[]);
            let server = accepting(&folder, quota(resumable().overwrite(Overwrite::Replace)));
            // Conditions with a token hold until the file gets a lock, so those of the first request fail at its end.
            let (name, value) = first.split_once(": ").unwrap();
            let is_if = name == "If";
            let begins = if is_if { "(Not <DAV:no-lock>)" } else { value };
            let begun = send(&server, "POST", "/a", &[("upload-complete", "?0"), (name, begins)], b"ab");
            let at = begun.header("location").unwrap_or_else(|| panic!("{begun:?}")).to_owned();
            assert_eq!(put(&server, "/a", b"other"), 201);
            let case = format!("{first} and then {replaced_by}: {fields:?} {status}");
            if is_if {
                let fields = [("upload-complete", "?0"), ("upload-offset", "2"), (name, value)];
                assert_eq!(send(&server, "PATCH", &at, &fields, b"").status(), 204, "{case}");
            }
            let mut client = connect(&server);
            let head = format!("PATCH {at} HTTP/1.1\r\nHost: localhost\r\n{replaced_by}\r\n{fields}\r\n\r\n{body}");
            client.write_all(head.as_bytes()).unwrap();
            if status == "cut" {
                client.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let said = answer(&mut client);
            assert!(status == "cut" || said.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {said}");
            let state = send(&server, "HEAD", &at, &[], b"");
            let offset = state.header("upload-offset").unwrap_or_else(|| panic!("{case}: {state:?}")).to_owned();
            let last = send(&server, "PATCH", &at, &[("upload-complete", "?1"), ("upload-offset", &*offset)], b"z");
            let is_free = first == "If-Modified-Since: x" && offset == "2";
            assert_eq!(last.status(), if is_free { 204 } else { 412 }, "{case}");
            assert_eq!(visible(folder.as_ref()), [if is_free { "a=abz" } else { "a=other" }], "{case}");
        }
    }
}

/// Each accepted condition counts, even if other requests for the upload arrive at the same time.
#[test]
fn no_condition_is_lost_among_parallel_requests() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable().overwrite(Overwrite::Replace));
    assert_eq!(put(&server, "/a", b"other"), 201);
    for _ in 0..100 {
        let begun = send(&server, "POST", "/a", &[("upload-complete", "?0")], b"ab");
        let at = begun.header("location").unwrap().to_owned();
        let mut clients: Vec<TcpStream> = (0..4).map(|_| connect(&server)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let condition = if number == 1 { "If-Match: \"stale\"\r\n" } else { "" };
            let head = format!(
                "PATCH {at} HTTP/1.1\r\nHost: localhost\r\nUpload-Complete: ?0\r\nUpload-Offset: 2\r\n{condition}"
            );
            client.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).unwrap();
        }
        let accepted: Vec<bool> = clients.iter_mut().map(|client| answer(client).contains(" 204 ")).collect();
        let last = send(&server, "PATCH", &at, &[("upload-complete", "?1"), ("upload-offset", "2")], b"z");
        assert_eq!(last.status(), if accepted[1] { 412 } else { 204 }, "{accepted:?}");
        send(&server, "DELETE", &at, &[], b""); // makes room for the next one
    }
}

/// A client whose condition did not hold asks for the state of its upload: this does not store the file after all.
#[test]
fn a_query_stores_nothing_after_a_failed_condition() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, resumable().overwrite(Overwrite::Replace).delete(true));
    let mut client = connect(&server);
    let at = "/a?upload=0123456789abcdef";
    let head = format!("PUT {at} HTTP/1.1\r\nHost: localhost\r\nContent-Range: bytes 0-3/4\r\nIf-None-Match: *\r\n");
    client.write_all(format!("{head}Content-Length: 4\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
    assert!(answer(&mut client).starts_with("HTTP/1.1 100 "));
    assert_eq!(put(&server, "/a", b"other"), 201);
    client.write_all(b"mine").unwrap();
    assert!(answer(&mut client).starts_with("HTTP/1.1 412 "));
    let ask = |field: Option<(&str, &str)>| {
        let fields: Vec<_> = [("content-range", "bytes */4")].into_iter().chain(field).collect();
        send(&server, "PUT", at, &fields, b"").status().as_u16()
    };
    assert_eq!([ask(None), ask(Some(("if-none-match", "*")))], [412, 412]);
    assert_eq!(visible(folder.as_ref()), ["a=other"]);
    assert_eq!(ask(Some(("if-match", "*"))), 204);
    assert_eq!(tree(folder.as_ref()), ["a=mine"]);
}

/// The fields of a resumable upload change nothing else, whether or not uploads are resumable: a program may send them
/// after a restart without the option. A part of a file is never stored as the whole.
#[test]
fn steps_of_an_upload_change_nothing_else() {
    let upload = "/a?upload=0123456789abcdef";
    let (complete, begins) = (("upload-complete", "?1"), ("upload-complete", "?0"));
    let part = ("content-range", "bytes 3-5/6");
    let boundary = ("content-type", "multipart/form-data; boundary=x");
    let form = "--x\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\nnew\r\n--x--\r\n";
    for (method, target, fields, body, [off, on], now) in [
        ("DELETE", upload, &[][..], "", [404, 404], "a=whole"),
        ("DELETE", "/a?upload=", &[], "", [404, 404], "a=whole"),
        ("DELETE", "/a?upload", &[], "", [404, 404], "a=whole"),
        ("DELETE", "/a?x=y&upload=z", &[], "", [404, 404], "a=whole"),
        ("DELETE", "/a?upload=0123456789abcdef", &[("depth", "0")], "", [404, 404], "a=whole"),
        ("HEAD", upload, &[], "", [404, 404], "a=whole"),
        ("PATCH", upload, &[("upload-offset", "3"), complete], "new", [405, 404], "a=whole"),
        ("PATCH", "/a", &[("upload-offset", "3"), complete], "new", [405, 404], "a=whole"),
        ("PUT", upload, &[part], "new", [400, 404], "a=whole"),
        ("PUT", "/a", &[part], "new", [400, 400], "a=whole"),
        ("PUT", upload, &[("content-range", "bytes */6")], "", [400, 404], "a=whole"),
        ("PUT", "/a", &[begins], "new", [400, 201], "a=whole"),
        ("POST", "/a", &[begins], "new", [400, 201], "a=whole"),
        ("POST", "/", &[begins, boundary], form, [400, 400], "a=whole"),
        ("POST", "/", &[part, boundary], form, [400, 400], "a=whole"),
        ("DELETE", "/a", &[part], "", [400, 400], "a=whole"),
        ("MKCOL", "/new", &[part], "", [400, 400], "a=whole"),
        // The field of early drafts.
        ("PUT", "/a", &[("upload-incomplete", "?1")], "new", [400, 400], "a=whole"),
        ("PUT", "/a", &[("upload-incomplete", "?1;x")], "new", [400, 400], "a=whole"),
        ("PUT", "/a", &[("upload-incomplete", "yes")], "new", [400, 400], "a=whole"),
        ("PUT", "/a", &[("upload-incomplete", "?0"), ("upload-incomplete", "?1")], "new", [400, 400], "a=whole"),
        ("PUT", "/a", &[("upload-incomplete", "?1"), complete], "new", [400, 400], "a=whole"),
        ("POST", "/", &[("upload-incomplete", "?1"), boundary], form, [400, 400], "a=whole"),
        ("PATCH", upload, &[("upload-incomplete", "?1"), ("upload-offset", "3")], "new", [405, 400], "a=whole"),
        ("PUT", "/a", &[("upload-incomplete", "?0")], "new", [204, 204], "a=new"),
        ("PUT", "/a", &[complete], "new", [204, 204], "a=new"), // it is whole
        ("GET", upload, &[], "", [200, 200], "a=whole"),
        ("DELETE", "/a", &[], "", [204, 204], ""),
    ] {
        for (resumes, expected) in [(false, off), (true, on)] {
            let folder = Folder::new(&[("a", "whole")]);
            let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
            let uploads = if resumes { uploads.resumable(4, Duration::from_secs(3600)) } else { uploads };
            let server = accepting(&folder, uploads);
            let request = TestRequest::new(method.parse().unwrap(), target);
            let request = if matches!(method, "PUT" | "POST" | "PATCH") { request.with_body(body) } else { request };
            let got =
                server.send(fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value)));
            let case = format!("{method} {target} {fields:?}, resumable: {resumes}: {got:?}");
            let begins = expected == 201;
            let names = if begins { visible(folder.as_ref()) } else { tree(folder.as_ref()) };
            assert_eq!((got.status().as_u16(), names.join(" ")), (expected, now.to_owned()), "{case}");
        }
    }
}

/// A field that limits a change, and that is repeated or cannot be read, never counts as missing. (`!` is a byte that is
/// not UTF-8.)
#[test]
fn unreadable_fields_change_nothing() {
    for (method, target, fields, expected) in [
        ("PUT", "/a", "If: (<urn:x>!)", 400),
        ("PUT", "/a", "If: (Not <urn:x>)\r\nIf: (<urn:x>)", 400),
        ("DELETE", "/a", "If: (Not <urn:x>)\r\nIf: (<urn:x>)", 400),
        ("MOVE", "/a", "Destination: /b\r\nIf: !", 400),
        ("PUT", "/a", "If-Match: \"!\"", 412),
        ("PUT", "/a", "Upload-Complete: ?0!", 400),
        ("PUT", "/a", "Upload-Complete: ?", 400),
        ("PUT", "/a", "Upload-Complete: ?1\r\nUpload-Complete: ?0", 400),
        ("POST", "/a", "Upload-Complete: ?1\r\nUpload-Complete: ?0", 400),
        ("PUT", "/a", "Upload-Complete: ?0;x=1", 201), // the upload begins
        ("PUT", "/a", "Upload-Complete: ?0\r\nUpload-Length: 10\r\nUpload-Length: 1", 400),
        ("PUT", "/a", "Upload-Complete: ?0\r\nUpload-Length: x", 400),
        ("PATCH", "/a?upload=x", "Upload-Complete: ?1\r\nUpload-Offset: 0\r\nUpload-Offset: 1", 400),
        ("PUT", "/a?upload=0123456789abcdef", "Content-Range: bytes 0-0/1!", 400),
        ("PUT", "/a?upload=0123456789abcdef", "Content-Range: bytes 0-0/1\r\nContent-Range: bytes 0-0/1", 400),
        ("PUT", "/new/?upload=0123456789abcdef", "Content-Range: bytes 0-0/1", 409), // the path of a folder
        ("DELETE", "/sub?upload=0123456789abcdef", "", 404),
        ("DELETE", "/sub/", "Depth: 0\r\nDepth: infinity", 400),
        ("DELETE", "/sub/", "Depth: !", 400),
        ("COPY", "/a", "Destination: /other\r\nOverwrite: T\r\nOverwrite: F", 412),
        ("COPY", "/a", "Destination: /other\r\nOverwrite: F!", 412),
        ("MOVE", "/a", "Destination: /other\r\nOverwrite: no", 412),
        ("UNLOCK", "/a", "Lock-Token: <urn:x>\r\nLock-Token: <urn:y>", 400),
        ("UNLOCK", "/a", "Lock-Token: <urn:x>\r\nIf: !", 400),
        ("DELETE", "/a", "Depth: x", 400),
        ("DELETE", "/a", "Content-Range: bytes 0-1/5", 400),
        ("PATCH", "/a?upload=x", "Content-Range: bytes 0-0/1\r\nUpload-Complete: ?1\r\nUpload-Offset: 0", 400),
        ("MOVE", "/a", "Destination: /b\r\nDepth: 0\r\nDepth: 0", 400),
        ("MOVE", "/a", "Destination: /b\r\nDepth: !", 400),
        ("MOVE", "/a", "Destination: /b\r\nDestination: /c", 400),
        ("MOVE", "/sub/", "Destination: /b\r\nDepth: 0", 400),
        ("MOVE", "/sub/", "Destination: /b\r\nContent-Range: bytes 0-0/1", 400),
        ("COPY", "/sub/", "Destination: /b\r\nDepth: 1", 400),
        ("MKCOL", "/new", "If: (Not <urn:x>)\r\nIf: (Not <urn:x>)", 400),
    ] {
        let folder = Folder::new(&[("a", "whole"), ("other", "o"), ("sub/x", "x")]);
        let before = tree(folder.as_ref());
        let handler = folder.handler().webdav(true).uploads(resumable().overwrite(Overwrite::Replace).delete(true));
        let server = serve(handler);
        let body = if matches!(method, "PUT" | "POST" | "PATCH") { "x" } else { "" };
        let length = if body.is_empty() { "" } else { "Content-Length: 1\r\n" };
        let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
        let text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{length}{fields}\r\n{body}");
        let bytes: Vec<u8> = text.bytes().map(|byte| if byte == b'!' { 0xff } else { byte }).collect();
        let mut stream = connect(&server);
        stream.write_all(&bytes).unwrap();
        let got = answer(&mut stream);
        assert!(got.starts_with(&format!("HTTP/1.1 {expected} ")), "{text}: {got}");
        assert_eq!(visible(folder.as_ref()), before, "{text}: {got}");
    }
}
