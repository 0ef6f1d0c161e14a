//! Files stored over real sockets: their tags and conditions, and requests that are rejected from the head.

mod dav;
mod entries;
mod forms;
mod names;
mod races;
mod reach;
mod resuming;
mod shares;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use modest::testing::{TestRequest, TestServer, serve};
use modest::{Method, Overwrite, SentResponse, Uploads};

use super::Folder;

const PATIENCE: Duration = Duration::from_secs(20);

fn accepting(folder: &Folder, uploads: Uploads) -> TestServer {
    serve(folder.handler().uploads(uploads))
}

fn ask(server: &TestServer, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> SentResponse {
    let request = TestRequest::new(method.parse::<Method>().unwrap(), target);
    let request = fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
    let has_body = matches!(method, "PUT" | "POST" | "PATCH") || method.starts_with("PROP") && !body.is_empty();
    server.send(if has_body { request.with_body(body) } else { request })
}

fn put(server: &TestServer, target: &str, body: &[u8]) -> u16 {
    ask(server, "PUT", target, &[], body).status().as_u16()
}

/// Each name below a folder, including hidden ones, with the content of files.
fn tree(folder: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            if path.symlink_metadata().unwrap().is_dir() {
                found.push(format!("{name}/"));
                open.push(path);
            } else {
                let is_special = path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir());
                let text = match is_special {
                    true => Ok("neither a file nor a folder".to_owned()), // reading a FIFO waits for its writer
                    false => fs::read(&path).map(|text| String::from_utf8_lossy(&text).into_owned()),
                };
                found.push(format!("{name}={}", text.unwrap_or_else(|error| error.kind().to_string())));
            }
        }
    }
    found.sort();
    found
}

/// Like `tree`, without incomplete files: they have names on systems without unnamed files. They are never served.
fn visible(folder: &Path) -> Vec<String> {
    tree(folder).into_iter().filter(|name| !name.starts_with(".modest-upload-")).collect()
}

/// Waits until the condition holds.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "timeout while waiting until {what}");
        thread::sleep(Duration::from_micros(100));
    }
}

/// Waits until no connection is left, so that incomplete files were removed.
fn wait_for_silence(server: &TestServer) {
    server.get("/"); // all earlier connections have been accepted by now
    wait_until("no client is connected", || server.handle().stats().connections == 0);
}

fn connect(server: &TestServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_put_file_is_returned_with_the_same_tag() {
    let folder = Folder::new(&[("sub/x", "")]);
    let server = accepting(&folder, Uploads::new().fsync(true));
    for (target, length) in [("/empty", 0), ("/a.txt", 5), ("/sub/b%20c.bin", 70_000), ("/gr%C3%BC%C3%9Fe", 3 << 20)] {
        let body: Vec<u8> = (0..length).map(|at: u32| (at * 7 % 251) as u8).collect();
        let made = ask(&server, "PUT", target, &[], &body);
        assert_eq!((made.status().as_u16(), made.header("location")), (201, Some(target)), "{}", made.text());
        let got = server.get(target);
        assert!(got.body() == body, "{target}");
        assert!(made.header("etag").is_none() || made.header("etag") == got.header("etag"), "{target}: {made:?}");
        // A large file has a tag once its second has passed, which may be before a slow disk has stored it.
        assert!(made.header("etag").is_some() || length > 64 << 10, "{target}");
    }
    let mut chunked = connect(&server);
    let head = "PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    chunked.write_all(format!("{head}5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert!(answer(&mut chunked).starts_with("HTTP/1.1 201"));
    assert_eq!(server.get("/chunked").text(), "hello, world");
}

#[test]
fn uploads_work_without_a_server() {
    let folder = Folder::new(&[]);
    let handler = folder.handler().uploads(Uploads::new());
    let request = modest::Request::new(Method::PUT, "/a").unwrap().with_body("by hand");
    assert_eq!(modest::Http::new(folder.handler().uploads(Uploads::new())).respond(&request).status(), 201);
    assert_eq!(super::ask(&handler, &request).status, 409);
    assert_eq!(super::get(&handler, "/a").text(), "by hand");
}

/// The next request sees a stored file that was missing, listed or cached before, and also its replacement.
#[test]
fn a_put_file_is_visible_at_once() {
    let folder = Folder::new(&[("sub/other", "")]);
    let server = accepting(&folder, Uploads::new().overwrite(Overwrite::Replace).delete(true));
    for round in 0..40 {
        for _ in 0..5 {
            assert_eq!(server.get("/sub/a").status(), 404, "round {round}");
            assert!(!server.get("/sub/").text().contains("href=\"a\""));
        }
        for text in ["one", "two", "six"] {
            let expected = if text == "one" { 201 } else { 204 };
            assert_eq!(put(&server, "/sub/a", text.as_bytes()), expected, "round {round}");
            for _ in 0..4 {
                assert_eq!(server.get("/sub/a").text(), text, "round {round}");
            }
            assert!(server.get("/sub/").text().contains("href=\"a\""), "round {round}");
        }
        assert_eq!(ask(&server, "DELETE", "/sub/a", &[], b"").status(), 204);
    }
}

/// A client that has received a file in gzip can change it by that tag, on the condition that the file is unchanged. An
/// edit in between, another file's tag and a weak tag make the condition false.
#[test]
fn the_tag_of_a_compressed_form_is_a_condition() {
    let lines = |count: usize| "a line of text that is compressed well\n".repeat(count);
    for content in [lines(100), lines(10_000)] {
        for (method, fields, ok) in [
            ("PUT", &[("if-match", "TAG")][..], 204),
            ("PUT", &[("if-match", "\"x\" , TAG")], 204),
            ("PUT", &[("if-match", "W/TAG, TAG")], 204),
            ("PUT", &[("if", "([TAG])")], 204),
            ("PUT", &[("if", "([W/TAG])")], 412),
            ("PUT", &[("if-match", "W/TAG")], 412),
            ("PUT", &[("if-match", "OTHER")], 412),
            ("PUT", &[("if-match", "CUT")], 412),
            ("PUT", &[("if-none-match", "TAG")], 412),
            ("PUT", &[("if-none-match", "OTHER")], 204),
            ("DELETE", &[("if-match", "TAG")], 204),
            ("DELETE", &[("if-match", "OTHER")], 412),
            ("MOVE", &[("if-match", "TAG"), ("destination", "/new")], 201),
            ("MOVE", &[("if-match", "OTHER"), ("destination", "/new")], 412),
            ("COPY", &[("if-match", "TAG"), ("destination", "/new")], 201),
            ("COPY", &[("if-match", "OTHER"), ("destination", "/new")], 412),
        ] {
            for edited in [false, true] {
                let folder = Folder::new(&[("a.txt", &content), ("other.txt", &content.replace("line", "word"))]);
                super::wait_for_age(folder.as_ref(), Duration::from_millis(30));
                let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
                let server = serve(folder.handler().compress(true).webdav(true).uploads(uploads));
                let tag = |target: &str| {
                    let sent =
                        server.send(TestRequest::new(Method::GET, target).with_header("accept-encoding", "gzip"));
                    assert_eq!(sent.header("content-encoding"), Some("gzip"), "{target}");
                    sent.header("etag").unwrap().to_owned()
                };
                let (tag, other) = (tag("/a.txt"), tag("/other.txt"));
                let cut = tag.replace("-gzip", "");
                if edited {
                    fs::write(folder.as_ref().join("a.txt"), content.replace("well", "best")).unwrap();
                }
                let filled = |value: &str| value.replace("TAG", &tag).replace("OTHER", &other).replace("CUT", &cut);
                let fields: Vec<(&str, String)> = fields.iter().map(|(name, value)| (*name, filled(value))).collect();
                let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
                let expected = match edited {
                    true if fields[0].0 == "if-none-match" => 204,
                    true => 412,
                    false => ok,
                };
                let status = ask(&server, method, "/a.txt", &fields, b"new").status();
                assert_eq!(status, expected, "{method} {fields:?} of {} bytes, edited: {edited}", content.len());
            }
        }
    }
}

#[test]
fn uploads_obey_their_conditions() {
    let tag = |server: &TestServer, target: &str| server.get(target).header("etag").unwrap_or_default().to_owned();
    for (policy, method, fields, exists, expected) in [
        (Overwrite::Replace, "PUT", &[("if-none-match", "*")][..], true, 412),
        (Overwrite::Refuse, "PUT", &[("if-none-match", "*")], true, 412),
        (Overwrite::Rename, "PUT", &[("if-none-match", "*")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-none-match", "*")], false, 201),
        (Overwrite::Replace, "PUT", &[("if-match", "TAG")], true, 204),
        (Overwrite::Replace, "PUT", &[("if-match", "\"other\", TAG")], true, 204),
        (Overwrite::Replace, "PUT", &[("if-match", "\"other\"")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-match", "W/TAG")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-match", "*")], true, 204),
        (Overwrite::Replace, "PUT", &[("if-match", "*")], false, 412),
        (Overwrite::Refuse, "PUT", &[("if-match", "TAG")], true, 409),
        (Overwrite::Rename, "PUT", &[("if-match", "TAG")], true, 409),
        (Overwrite::Replace, "PUT", &[("if-none-match", "TAG")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-none-match", "\"other\"")], true, 204),
        (Overwrite::Replace, "PUT", &[("if-none-match", "*"), ("if-none-match", "*")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-none-match", "\"other\", *")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-none-match", "\"other\" TAG")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-none-match", "other")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-none-match", "other")], false, 201),
        (Overwrite::Replace, "PUT", &[("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-unmodified-since", "Fri, 01 Jan 2100 00:00:00 GMT")], true, 204),
        (Overwrite::Replace, "DELETE", &[("if-match", "\"other\"")], true, 412),
        (Overwrite::Replace, "DELETE", &[("if-match", "TAG")], true, 204),
        (Overwrite::Replace, "DELETE", &[("if-match", "TAG")], false, 404),
    ] {
        let folder = Folder::new(if exists { &[("a", "there")] } else { &[] });
        let server = accepting(&folder, Uploads::new().overwrite(policy).delete(true));
        let tag = tag(&server, "/a");
        let fields: Vec<(&str, String)> =
            fields.iter().map(|(name, value)| (*name, value.replace("TAG", &tag))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let status = ask(&server, method, "/a", &fields, b"new").status();
        assert_eq!(status, expected, "{policy:?} {method} {fields:?}, there: {exists}");
        let changed = matches!(expected, 201 | 204);
        let text = fs::read_to_string(folder.path("a")).unwrap_or_default();
        assert_eq!(
            text,
            if !changed {
                if exists { "there" } else { "" }
            } else if method == "PUT" {
                "new"
            } else {
                ""
            }
        );
    }
}

/// A rejection comes right after the head, without a `100 Continue`, so no client sends its body for nothing.
#[test]
fn uploads_are_rejected_from_the_head() {
    let folder = Folder::new(&[("there", "x"), ("sub/x", "")]);
    let server = accepting(&folder, Uploads::new().max_size(1 << 30));
    let full = serve(folder.handler().uploads(Uploads::new().reserve(1 << 60)));
    let reads = serve(folder.handler());
    for (server, head, expected) in [
        (&server, "PUT /there HTTP/1.1\r\nContent-Length: 100000000", "409 Conflict"),
        (&server, "PUT /no/such HTTP/1.1\r\nContent-Length: 100000000", "409 Conflict"),
        (&server, "PUT /new HTTP/1.1\r\nContent-Length: 2000000000", "413 Content Too Large"),
        (&server, "PUT /new HTTP/1.1\r\nContent-Length: 10\r\nContent-Encoding: gzip", "415 Unsupported Media Type"),
        (&server, "PUT /new HTTP/1.1\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/20", "400 Bad Request"),
        (&server, "PUT /new HTTP/1.1\r\nContent-Length: 10\r\nIf-Match: *", "412 Precondition Failed"),
        (&server, "PUT /new HTTP/1.1\r\nContent-Length: 10\r\nOrigin: http://evil.example", "403 Forbidden"),
        (&server, "PUT /.new HTTP/1.1\r\nContent-Length: 10", "403 Forbidden"),
        (&server, "PUT /new HTTP/1.1", "411 Length Required"),
        (
            &server,
            "POST / HTTP/1.1\r\nContent-Length: 100000000\r\nContent-Type: text/plain",
            "415 Unsupported Media Type",
        ),
        (&server, "POST /no/ HTTP/1.1\r\nContent-Length: 10", "404 Not Found"),
        (&server, "POST /sub HTTP/1.1\r\nContent-Length: 10", "308 Permanent Redirect"),
        (&server, "MKCOL /new HTTP/1.1\r\nContent-Length: 10", "415 Unsupported Media Type"),
        (&server, "DELETE /there HTTP/1.1\r\nContent-Length: 10", "405 Method Not Allowed"),
        (&full, "PUT /new HTTP/1.1\r\nContent-Length: 10", "507 Insufficient Storage"),
        (&reads, "PUT /new HTTP/1.1\r\nContent-Length: 10", "405 Method Not Allowed"),
        (&reads, "POST / HTTP/1.1\r\nContent-Length: 10", "405 Method Not Allowed"),
        (&reads, "MKCOL /new HTTP/1.1\r\nContent-Length: 10", "501 Not Implemented"),
    ] {
        let mut client = connect(server);
        client.write_all(format!("{head}\r\nHost: here\r\nExpect: 100-continue\r\n\r\n").as_bytes()).unwrap();
        let answer = answer(&mut client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{head}: {answer}");
    }
    assert_eq!(tree(folder.as_ref()), ["sub/", "sub/x=", "there=x"]);
    let allowed = |server: &TestServer| ask(server, "DELETE", "/there", &[], b"").header("allow").map(str::to_owned);
    assert_eq!(allowed(&server).as_deref(), Some("GET, HEAD, OPTIONS, POST, PUT, MKCOL"));
    assert_eq!(allowed(&reads).as_deref(), Some("GET, HEAD, OPTIONS"));
    assert_eq!(ask(&server, "OPTIONS", "/", &[], b"").header("allow"), Some("GET, HEAD, OPTIONS, POST, PUT, MKCOL"));
}

#[test]
fn limits_apply_while_a_chunked_upload_arrives() {
    let folder = Folder::new(&[]);
    for (uploads, expected) in [(Uploads::new().max_size(100_000), "413"), (Uploads::new().reserve(1 << 60), "507")] {
        let server = accepting(&folder, uploads);
        let mut client = connect(&server);
        client.write_all(b"PUT /new HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        for _ in 0..4 {
            let _ = client.write_all(piece.as_bytes()); // the server may have rejected it by now
        }
        let answer = answer(&mut client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
        drop(client);
        wait_for_silence(&server);
        assert_eq!(tree(folder.as_ref()), [""; 0], "{expected}");
    }
}
