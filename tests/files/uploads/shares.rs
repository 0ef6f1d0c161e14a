//! Quotas of users and addresses, and limits of uploads in progress.

use std::io::Write;
use std::time::Duration;

use modest::layers::BasicAuth;
use modest::testing::{TestServer, serve};
use modest::{Overwrite, RequestHandler, Uploads};

use super::super::Folder;
use super::{accepting, answer, ask, connect, put, tree, wait_for_silence, wait_until};

const DAY: Duration = Duration::from_secs(86_400);

fn quota(bytes: u64) -> Uploads {
    Uploads::new().overwrite(Overwrite::Replace).delete(true).quota((bytes, DAY))
}

/// An unfinished request: its head only.
fn half(server: &TestServer, head: &str) -> std::net::TcpStream {
    let mut client = connect(server);
    let sent = format!("{head}\r\nHost: here\r\nExpect: 100-continue\r\n\r\n");
    client.write_all(sent.as_bytes()).unwrap();
    client
}

#[test]
fn uploads_stay_within_the_quota() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, quota(100_000));
    for (method, target, length, expected) in [
        ("PUT", "/a", 100_001, 413), // more than the whole quota
        ("PUT", "/a", 50_000, 201),
        ("PUT", "/a", 50_001, 429),
        ("PUT", "/no/such", 10_000, 409), // counts nothing
        ("PUT", "/a", 30_000, 204),       // replaced bytes are not subtracted
        ("PUT", "/b", 20_001, 429),
        ("PUT", "/b", 1, 201), // counts as a block of 4,096
        ("MKCOL", "/c", 0, 201),
        ("MKCOL", "/c", 0, 405), // counts nothing
        ("DELETE", "/b", 0, 204),
        ("PUT", "/b", 11_809, 429),
        ("PUT", "/b", 11_808, 201),
        ("PUT", "/d", 0, 429),
        ("MKCOL", "/d", 0, 429),
        ("GET", "/b", 0, 200),
        ("DELETE", "/b", 0, 204),
    ] {
        let got = ask(&server, method, target, &[], &vec![b'x'; length]);
        assert_eq!(got.status(), expected, "{method} {target} {length}: {}", got.text());
        if expected == 429 {
            let wait: u64 = got.header("retry-after").unwrap().parse().unwrap();
            assert!((86_400..=90_001).contains(&wait), "{method} {target} {length}: {wait}");
            assert!(got.text().contains("98 KiB per 24 hours: try again in 2"), "{}", got.text());
        }
    }
}

/// Broken, rejected and missing bodies are not counted. An upload that can continue keeps its part.
#[test]
fn failed_uploads_return_their_quota() {
    let folder = Folder::new(&[]);
    for head in [
        "PUT /a HTTP/1.1\r\nContent-Length: 100000",
        "PUT /a?upload=0123456789abcdef HTTP/1.1\r\nContent-Length: 100000\r\nContent-Range: bytes 0-99999/100000",
        "POST / HTTP/1.1\r\nContent-Length: 100000\r\nContent-Type: multipart/form-data; boundary=x",
    ] {
        let server = accepting(&folder, quota(100_000).resumable(4, DAY));
        let mut client = half(&server, head);
        assert!(answer(&mut client).starts_with("HTTP/1.1 100"), "{head}");
        assert_eq!(put(&server, "/b", b"x"), 429, "{head}: the quota must be reserved when the head arrives");
        client.write_all(&[b'x'; 70_000]).unwrap();
        drop(client);
        wait_for_silence(&server);
        if head.contains("Content-Range") {
            assert_eq!(put(&server, "/b", b"x"), 429, "a resumable upload must keep its quota");
            // Starts again and replaces the data that had arrived.
            let again =
                ask(&server, "PUT", "/a?upload=0123456789abcdef", &[("content-range", "bytes 0-0/100000")], b"x");
            assert_eq!(again.status(), 202, "{}", again.text());
        } else {
            assert_eq!(put(&server, "/c", &[b'x'; 100_000]), 201, "{head}");
            assert_eq!(ask(&server, "DELETE", "/c", &[], b"").status(), 204);
        }
    }
    assert_eq!(tree(folder.as_ref()), [""; 0]);
}

/// An upload that starts again has its earlier part's share of the quota. If the rest does not suffice, the earlier part
/// can be continued.
#[test]
fn a_rejected_restart_keeps_the_earlier_part() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, quota(100_000).resumable(4, DAY));
    let send = |range: &[(&str, &str)], length: usize| {
        let got = ask(&server, "PUT", "/a?upload=0123456789abcdef", range, &vec![b'x'; length]);
        got.status().as_u16()
    };
    assert_eq!(send(&[("content-range", "bytes 0-9/20000")], 10), 202);
    assert_eq!(put(&server, "/b", &[b'x'; 50_000]), 201);
    assert_eq!(send(&[("content-range", "bytes 0-9/60000")], 10), 429);
    assert_eq!(send(&[("content-range", "bytes 0-9/120000")], 10), 413);
    assert_eq!(send(&[], 60_000), 429, "an upload that is sent whole");
    assert_eq!(send(&[("content-range", "bytes 10-29/20000")], 20), 202, "the earlier part is still there");
    assert_eq!(send(&[("content-range", "bytes 0-9/50000")], 10), 202);
    assert_eq!(put(&server, "/c", b"x"), 429, "a restarted upload has its share");
    assert_eq!(send(&[("content-range", "bytes 0-9/20000")], 10), 202);
    assert_eq!(put(&server, "/c", b"x"), 201, "a shorter one has less");
    assert_eq!(send(&[], 40_000), 201);
    assert_eq!(put(&server, "/d", &[b'x'; 10_000]), 429);
}

#[test]
fn a_cancelled_upload_returns_its_quota() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, quota(100_000).resumable(4, DAY));
    let fields = [("upload-complete", "?0"), ("upload-length", "100000")];
    let begun = ask(&server, "PUT", "/a", &fields, b"x");
    assert_eq!(begun.status(), 201, "{}", begun.text());
    assert_eq!(put(&server, "/b", b"x"), 429);
    assert_eq!(ask(&server, "DELETE", begun.header("location").unwrap(), &[], b"").status(), 204);
    assert_eq!(put(&server, "/b", &[b'x'; 100_000]), 201);
    let late = accepting(&folder, quota(100_000).resumable(4, Duration::ZERO));
    assert_eq!(
        ask(&late, "PUT", "/a?upload=0123456789abcdef", &[("content-range", "bytes 0-9/100000")], &[b'x'; 10]).status(),
        202
    );
    assert_eq!(put(&late, "/c", &[b'x'; 100_000]), 201, "the quota of an expired upload must be free");
}

#[test]
fn each_file_of_a_form_counts_but_the_form_does_not() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, quota(100_000));
    let form = |files: &[(&str, usize)]| {
        let part = |(name, length): &(&str, usize)| {
            format!(
                "--x\r\nContent-Disposition: form-data; name=f; filename=\"{name}\"\r\n\r\n{}\r\n",
                "x".repeat(*length)
            )
        };
        let body = files.iter().map(part).collect::<String>() + "--x--\r\n";
        let fields = [("content-type", "multipart/form-data; boundary=x")];
        ask(&server, "POST", "/", &fields, body.as_bytes()).status().as_u16()
    };
    assert_eq!(form(&[("a", 99_000)]), 303);
    assert_eq!(form(&[("b", 1)]), 429);
    let server = accepting(&folder, quota(100_000));
    let many: Vec<String> = (0..25).map(|number| format!("many{number}")).collect();
    let many: Vec<(&str, usize)> = many.iter().map(|name| (name.as_str(), 1)).collect();
    let body = many
        .iter()
        .map(|(name, _)| format!("--x\r\nContent-Disposition: form-data; name=f; filename={name}\r\n\r\n1\r\n"))
        .collect::<String>()
        + "--x--\r\n";
    let got = ask(&server, "POST", "/", &[("content-type", "multipart/form-data; boundary=x")], body.as_bytes());
    assert_eq!(got.status(), 429, "only 24 blocks fit");
    assert!(got.text().contains("many24: Each client can add 98 KiB"), "{}", got.text());
    assert_eq!(tree(folder.as_ref()).len(), 25);
}

#[test]
fn uploads_of_unknown_length_hit_the_quota_on_arrival() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, quota(100_000));
    let send = |pieces: usize| {
        let mut client = connect(&server);
        client.write_all(b"PUT /new HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..pieces {
            let _ = client.write_all(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes());
        }
        let answer = answer(&mut client);
        drop(client);
        wait_for_silence(&server);
        answer
    };
    let too_long = send(4);
    assert!(too_long.starts_with("HTTP/1.1 413 ") && !too_long.contains("retry-after"), "{too_long}");
    assert_eq!(put(&server, "/new", &[b'x'; 100_000]), 201);
    // As for a body whose length is in its head.
    let mut waits = [send(1), {
        let known = ask(&server, "PUT", "/new", &[], &[b'x'; 0x10000]);
        assert_eq!(known.status(), 429);
        format!("HTTP/1.1 429\r\nretry-after: {}\r\n", known.header("retry-after").unwrap())
    }];
    waits.iter_mut().for_each(|text| text.make_ascii_lowercase());
    let wait = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("retry-after: "));
        line.and_then(|seconds| seconds.trim().parse().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    assert!(waits.iter().all(|text| text.starts_with("http/1.1 429")), "{waits:?}");
    assert!(wait(&waits[0]).abs_diff(wait(&waits[1])) < 60, "{waits:?}");
}

#[test]
fn each_user_has_one_quota_across_folders() {
    let (one, other) = (Folder::new(&[]), Folder::new(&[]));
    let uploads = quota(100_000);
    let auth = || BasicAuth::new("files").user("ada", "a").user("bob", "b").optional(true);
    let servers = [&one, &other].map(|folder| serve(folder.handler().uploads(uploads.clone()).layer(auth())));
    let put = |server: usize, user: &[(&str, &str)], length: usize| {
        ask(&servers[server], "PUT", "/x", user, &vec![b'x'; length]).status().as_u16()
    };
    let (ada, bob) = ([("authorization", "Basic YWRhOmE=")], [("authorization", "Basic Ym9iOmI=")]);
    assert_eq!([put(0, &ada, 60_000), put(1, &ada, 60_000), put(1, &ada, 40_000)], [201, 429, 201]);
    assert_eq!([put(0, &bob, 100_000), put(0, &[], 100_000), put(1, &[], 1)], [204, 204, 429]);
}

#[test]
fn concurrent_transfers_are_limited() {
    let folder = Folder::new(&[("here", "here")]);
    let server = accepting(&folder, Uploads::new().at_once(3).at_once_each(2).resumable(4, DAY));
    let heads = [
        "PUT /a HTTP/1.1\r\nContent-Length: 10",
        "PUT /b?upload=0123456789abcdef HTTP/1.1\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10",
        "POST / HTTP/1.1\r\nContent-Length: 10\r\nContent-Type: multipart/form-data; boundary=x",
    ];
    for rotation in 0..3 {
        let begin = |number: usize| {
            let mut client = half(&server, heads[(number + rotation) % 3]);
            (answer(&mut client), client)
        };
        let clients = [begin(0), begin(1)];
        assert!(clients.iter().all(|(answer, _)| answer.starts_with("HTTP/1.1 100")));
        let (refused, third) = begin(2);
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("Retry-After: 10"), "{refused}");
        assert_eq!(server.get("/here").text(), "here");
        assert_eq!(
            ask(&server, "MKCOL", &format!("/folder{rotation}"), &[], b"").status(),
            201,
            "MKCOL must not need a place among the uploads"
        );
        drop((clients, third));
        wait_for_silence(&server);
    }
    assert_eq!(put(&server, "/a", b"x"), 201);
    wait_until("all are free again", || put(&server, "/a", b"x") == 409);
}
