//! What is put into a folder, over real sockets: PUT, MKCOL, DELETE and forms; names, races, full disks and clients that leave.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use modest::testing::{TestRequest, TestServer, serve};
use modest::{Method, Overwrite, SentResponse, StaticFileHandler, TcpServer, Uploads};

use super::Folder;

const PATIENCE: Duration = Duration::from_secs(20);

fn taking(folder: &Folder, uploads: Uploads) -> TestServer {
    serve(folder.handler().uploads(uploads))
}

fn ask(server: &TestServer, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> SentResponse {
    let request = TestRequest::new(method.parse::<Method>().unwrap(), target);
    let request = fields.iter().fold(request, |request, (name, value)| request.with_header(*name, *value));
    server.send(if matches!(method, "PUT" | "POST") { request.with_body(body) } else { request })
}

fn put(server: &TestServer, target: &str, body: &[u8]) -> u16 {
    ask(server, "PUT", target, &[], body).status().as_u16()
}

/// Every name beneath a folder, hidden ones too, and what is in the files.
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
                let text = fs::read(&path).map(|text| String::from_utf8_lossy(&text).into_owned());
                found.push(format!("{name}={}", text.unwrap_or_else(|error| error.kind().to_string())));
            }
        }
    }
    found.sort();
    found
}

/// Wait until something is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "still not: {what}");
        thread::yield_now();
    }
}

/// No connection is left: whatever a client has left behind has been dropped.
fn wait_for_silence(server: &TestServer) {
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
fn what_is_put_is_got_with_the_same_tag() {
    let folder = Folder::new(&[("sub/x", "")]);
    let server = taking(&folder, Uploads::new().fsync(true));
    for (target, length) in [("/empty", 0), ("/a.txt", 5), ("/sub/b%20c.bin", 70_000), ("/gr%C3%BC%C3%9Fe", 3 << 20)] {
        let body: Vec<u8> = (0..length).map(|at: u32| (at * 7 % 251) as u8).collect();
        let made = ask(&server, "PUT", target, &[], &body);
        assert_eq!((made.status().as_u16(), made.header("location")), (201, Some(target)), "{}", made.text());
        let got = server.get(target);
        assert!(got.body() == body, "{target}");
        assert!(made.header("etag").is_none() || made.header("etag") == got.header("etag"), "{target}: {made:?}");
        assert_eq!(made.header("etag").is_some(), length <= 64 << 10, "{target}");
    }
    let mut chunked = connect(&server);
    let head = "PUT /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    chunked.write_all(format!("{head}5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n").as_bytes()).unwrap();
    assert!(answer(&mut chunked).starts_with("HTTP/1.1 201"));
    assert_eq!(server.get("/chunked").text(), "hello, world");
}

#[test]
fn without_a_server_too() {
    let folder = Folder::new(&[]);
    let handler = folder.handler().uploads(Uploads::new());
    let request = modest::Request::new(Method::PUT, "/a").unwrap().with_body("by hand");
    assert_eq!(modest::Http::new(folder.handler().uploads(Uploads::new())).respond(&request).status(), 201);
    assert_eq!(super::ask(&handler, &request).status, 409);
    assert_eq!(super::get(&handler, "/a").text(), "by hand");
}

/// What has been missing, listed and cached is there with the next request, and so is what has replaced it.
#[test]
fn what_is_put_is_fresh_at_once() {
    let folder = Folder::new(&[("sub/other", "")]);
    let server = taking(&folder, Uploads::new().overwrite(Overwrite::Replace).delete(true));
    for round in 0..40 {
        for _ in 0..5 {
            assert_eq!(server.get("/sub/a").status(), 404, "round {round}");
            assert!(!server.get("/sub/").text().contains("\"a\""));
        }
        for text in ["one", "two", "six"] {
            let expected = if text == "one" { 201 } else { 204 };
            assert_eq!(put(&server, "/sub/a", text.as_bytes()), expected, "round {round}");
            for _ in 0..4 {
                assert_eq!(server.get("/sub/a").text(), text, "round {round}");
            }
            assert!(server.get("/sub/").text().contains("\"a\""), "round {round}");
        }
        assert_eq!(ask(&server, "DELETE", "/sub/a", &[], b"").status(), 204);
    }
}

#[test]
fn names_that_are_attacks() {
    let around = Folder::new(&[("root/in/x", ""), ("beside/y", "")]);
    symlink("../beside", around.path("root/out")).unwrap();
    symlink("in", around.path("root/within")).unwrap();
    symlink("../beside/new", around.path("root/dangling")).unwrap();
    let long = "x".repeat(256);
    for hidden in [false, true] {
        for links in [modest::Symlinks::WithinRoot, modest::Symlinks::Follow] {
            let before = tree(around.as_ref());
            let handler = StaticFileHandler::new(around.path("root")).unwrap().hidden(hidden).symlinks(links);
            let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
            let server = serve(handler.uploads(uploads));
            for (target, expected) in [
                ("/../escape", 400),
                ("/in/../../escape", 400),
                ("/..%2fescape", 404),
                ("/%2e%2e/escape", 400),
                ("/%2e%2e%2fescape", 404),
                ("/in/..%5cescape", 400),
                ("/..%5cescape", 400),
                ("/a%00b", 400),
                ("/a%0ab", 400),
                ("/a%0d%0aX-Evil:%20b", 400),
                ("/a%1b[31m", 400),
                ("/a%7f", 400),
                ("/%e2%80%aegpj.exe", 400),
                ("/%ff", 400),
                (&format!("/{long}"), 404),
                ("//escape", 400),
                ("/./escape", 400),
                ("/", 409),
                ("/in/", 409),
                ("/in", 409),
                ("/in/x/", 409),
                ("/in/x/below", 409),
                ("/no/such/folder", 409),
                ("/out/escape", 409),
                ("/out/y", 409),
                ("/out", 409),
                ("/within", 409),
                ("/dangling", 409),
                ("/.modest-upload-0123456789abcdef", 403),
                ("/.modest-upload-0123456789abcdef/a", 403),
            ] {
                assert_eq!(put(&server, target, b"evil"), expected, "PUT {target}, hidden {hidden}, {links:?}");
                assert_ne!(ask(&server, "MKCOL", target, &[], b"").status(), 201, "MKCOL {target}");
            }
            for target in ["/.htaccess", "/in/.ssh", "/.git/config", "/.."] {
                let status = put(&server, target, b"evil");
                assert!(matches!(status, 400 | 403 | 409) || hidden && status == 201, "{target}: {status}");
            }
            for target in ["/out/y", "/out", "/dangling", "/../beside/y", "/out/", "/", "/in/x/", "/in"] {
                if target == "/out" && links == modest::Symlinks::Follow {
                    continue; // served, it may be deleted: the link, not what it leads to
                }
                let status = ask(&server, "DELETE", target, &[], b"").status().as_u16();
                assert!(status >= 400, "DELETE {target}: {status}");
            }
            if hidden {
                for name in ["root/.htaccess", "root/in/.ssh"] {
                    fs::remove_file(around.path(name)).unwrap();
                }
            }
            assert_eq!(tree(around.as_ref()), before, "hidden {hidden}, {links:?}");
            // Through a link that stays within the folder it is the folder's own.
            assert_eq!(put(&server, "/within/new", b"new"), 201);
            assert_eq!(fs::read(around.path("root/in/new")).unwrap(), b"new");
            fs::remove_file(around.path("root/in/new")).unwrap();
        }
    }
    let server = serve(StaticFileHandler::new(around.path("root")).unwrap().symlinks(modest::Symlinks::Deny).uploads(Uploads::new()));
    assert_eq!(put(&server, "/within/new", b"new"), 409, "where links are not followed");
}

#[test]
fn what_becomes_of_a_name_that_is_taken() {
    use Overwrite::{Refuse, Rename, Replace};
    for (policy, statuses, expected) in [
        (Refuse, [201, 409, 409], &["a.txt=1"][..]),
        (Rename, [201, 201, 201], &["a (1).txt=2", "a (2).txt=3", "a.txt=1"]),
        (Replace, [201, 204, 204], &["a.txt=3"]),
    ] {
        let folder = Folder::new(&[]);
        let server = taking(&folder, Uploads::new().overwrite(policy));
        assert_eq!(["1", "2", "3"].map(|text| put(&server, "/a.txt", text.as_bytes())), statuses, "{policy:?}");
        assert_eq!(tree(folder.as_ref()), expected, "{policy:?}");
    }
    let folder = Folder::new(&[("a.txt", "1")]);
    let server = taking(&folder, Uploads::new().overwrite(Rename));
    assert_eq!(ask(&server, "PUT", "/a.txt", &[], b"2").header("location"), Some("/a%20(1).txt"));
    for _ in 0..60 {
        assert_eq!(put(&server, "/a.txt", b"more"), 201);
    }
    assert_eq!(tree(folder.as_ref()).len(), 62);
}

#[test]
fn conditions() {
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
        (Overwrite::Replace, "PUT", &[("if-unmodified-since", "Thu, 01 Jan 2026 00:00:00 GMT")], true, 412),
        (Overwrite::Replace, "PUT", &[("if-unmodified-since", "Fri, 01 Jan 2100 00:00:00 GMT")], true, 204),
        (Overwrite::Replace, "DELETE", &[("if-match", "\"other\"")], true, 412),
        (Overwrite::Replace, "DELETE", &[("if-match", "TAG")], true, 204),
        (Overwrite::Replace, "DELETE", &[("if-match", "TAG")], false, 404),
    ] {
        let folder = Folder::new(if exists { &[("a", "there")] } else { &[] });
        let server = taking(&folder, Uploads::new().overwrite(policy).delete(true));
        let tag = tag(&server, "/a");
        let fields: Vec<(&str, String)> = fields.iter().map(|(name, value)| (*name, value.replace("TAG", &tag))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let status = ask(&server, method, "/a", &fields, b"new").status();
        assert_eq!(status, expected, "{policy:?} {method} {fields:?}, there: {exists}");
        let changed = matches!(expected, 201 | 204);
        let text = fs::read_to_string(folder.path("a")).unwrap_or_default();
        assert_eq!(text, if !changed { if exists { "there" } else { "" } } else if method == "PUT" { "new" } else { "" });
    }
}

/// Nobody sends a body in vain: the answer comes after the head, and no `100 Continue` before it.
#[test]
fn refused_from_the_head() {
    let folder = Folder::new(&[("there", "x"), ("sub/x", "")]);
    let server = taking(&folder, Uploads::new().max_size(1 << 30));
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
        (&server, "POST / HTTP/1.1\r\nContent-Length: 100000000\r\nContent-Type: text/plain", "415 Unsupported Media Type"),
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
fn in_chunks_the_limit_and_the_room_are_found_on_the_way() {
    let folder = Folder::new(&[]);
    for (uploads, expected) in
        [(Uploads::new().max_size(100_000), "413"), (Uploads::new().reserve(1 << 60), "507")]
    {
        let server = taking(&folder, uploads);
        let mut client = connect(&server);
        client.write_all(b"PUT /new HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        let piece = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        for _ in 0..4 {
            let _ = client.write_all(piece.as_bytes()); // it may have been refused by now
        }
        let answer = answer(&mut client);
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{answer}");
        drop(client);
        wait_for_silence(&server);
        assert_eq!(tree(folder.as_ref()), [""; 0], "{expected}");
    }
}

/// Pages of other sites can't write, whatever they make a browser send.
#[test]
fn pages_of_other_sites() {
    let folder = Folder::new(&[("old", "x")]);
    let server = taking(&folder, Uploads::new().overwrite(Overwrite::Replace).delete(true));
    let own = "http://localhost"; // as the test's client calls it
    let form = ("content-type", "multipart/form-data; boundary=x");
    let body = b"--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new\"\r\n\r\nnew\r\n--x--\r\n";
    for (fields, is_own) in [
        (&[("sec-fetch-site", "cross-site")][..], false),
        (&[("sec-fetch-site", "same-site")], false),
        (&[("origin", "http://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true), // what the browser says of the site counts
        (&[("sec-fetch-site", "same-origin")], true),
        (&[("origin", own)], true),
    ] {
        for (method, target, expected) in
            [("PUT", "/put", 201), ("MKCOL", "/made", 201), ("POST", "/", 303), ("DELETE", "/old", 204)]
        {
            let before = tree(folder.as_ref());
            let fields = [fields, &[form]].concat();
            let got = ask(&server, method, target, &fields, body);
            assert_eq!(got.status(), if is_own { expected } else { 403 }, "{method} {fields:?}: {}", got.text());
            assert_eq!(tree(folder.as_ref()) != before, is_own, "{method} {fields:?}");
        }
        if is_own {
            for name in ["put", "new"] {
                fs::remove_file(folder.path(name)).unwrap();
            }
            fs::remove_dir(folder.path("made")).unwrap();
            folder.write("old", "x");
        }
    }
}

#[test]
fn folders_and_deletions() {
    let folder = Folder::new(&[("full/x", ""), ("file", "x")]);
    symlink("full", folder.path("link")).unwrap();
    let server = taking(&folder, Uploads::new().delete(true));
    for (method, target, expected) in [
        ("MKCOL", "/a", 201),
        ("MKCOL", "/a", 405),
        ("MKCOL", "/a/", 405),
        ("MKCOL", "/a/b/", 201),
        ("MKCOL", "/c/d", 409),
        ("MKCOL", "/file", 405),
        ("MKCOL", "/file/x", 409),
        ("MKCOL", "/", 405),
        ("MKCOL", "/.hidden", 403),
        ("DELETE", "/full", 409),
        ("DELETE", "/full/", 409),
        ("DELETE", "/a", 409),
        ("DELETE", "/a/b", 204),
        ("DELETE", "/a/", 204),
        ("DELETE", "/a", 404),
        ("DELETE", "/a/b", 404),
        ("DELETE", "/file/", 404),
        ("DELETE", "/file", 204),
        ("DELETE", "/.hidden", 403),
        ("DELETE", "/link", 204), // the link alone
        ("DELETE", "/", 403),
        ("PROPPATCH", "/", 501),
    ] {
        assert_eq!(ask(&server, method, target, &[], b"").status(), expected, "{method} {target}");
    }
    assert_eq!(tree(folder.as_ref()), ["full/", "full/x="]);
    assert_eq!(ask(&server, "MKCOL", "/gr%C3%BCn", &[], b"").header("location"), Some("/gr%C3%BCn/"));
}

/// Of many who send to one name at once one is told that it is stored, and it is.
#[test]
fn two_at_once_on_one_name() {
    let folder = Folder::new(&[("kept", "0")]);
    let server = taking(&folder, Uploads::new());
    let replaces = taking(&folder, Uploads::new().overwrite(Overwrite::Replace));
    for round in 0..10 {
        let barrier = Barrier::new(8);
        let tag = replaces.get("/kept").header("etag").unwrap().to_owned();
        let (target, tag, barrier) = (&format!("/new{round}"), &tag, &barrier);
        let (new, kept): (Vec<_>, Vec<_>) = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|number| {
                    let (server, replaces) = (&server, &replaces);
                    scope.spawn(move || {
                        let body = format!("{round} {number} ").repeat(10_000);
                        barrier.wait();
                        let new = put(server, target, body.as_bytes());
                        let short = format!("{round} {number}");
                        let kept = ask(replaces, "PUT", "/kept", &[("if-match", tag)], short.as_bytes()).status();
                        ((new, body), (kept.as_u16(), short))
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).unzip()
        });
        for (statuses, name, won, lost) in [(new, target.as_str(), 201, 409), (kept, "/kept", 204, 412)] {
            let winners: Vec<_> = statuses.iter().filter(|(status, _)| *status == won).collect();
            let losers = statuses.iter().filter(|(status, _)| *status == lost).count();
            assert_eq!((winners.len(), losers), (1, 7), "{name}: {:?}", statuses.iter().map(|it| it.0).collect::<Vec<_>>());
            assert!(fs::read_to_string(folder.path(&name[1..])).unwrap() == winners[0].1, "{name}");
        }
    }
    assert_eq!(tree(folder.as_ref()).len(), 11);
}

/// The folder is moved away, and a link that leads out put in its place, while a file comes for it.
#[test]
fn a_link_in_the_place_of_the_folder_while_a_file_comes() {
    let around = Folder::new(&[("root/in/x", ""), ("beside/y", "")]);
    let server = serve(StaticFileHandler::new(around.path("root")).unwrap().uploads(Uploads::new()));
    let mut client = connect(&server);
    client.write_all(b"PUT /in/new HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(answer(&mut client).starts_with("HTTP/1.1 100"));
    fs::rename(around.path("root/in"), around.path("moved")).unwrap();
    symlink("../beside", around.path("root/in")).unwrap();
    client.write_all(&[b'x'; 100_000]).unwrap();
    let answer = answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    drop(client);
    wait_for_silence(&server);
    assert_eq!(tree(around.as_ref()), ["beside/", "beside/y=", "moved/", "moved/x=", "root/", "root/in=is a directory"]);
}

/// Whoever swaps folders and links all the time wins nothing: all that is stored is in the folder.
#[test]
fn races_with_renames_and_links() {
    let around = Folder::new(&[("root/a/x", ""), ("beside/y", "")]);
    let server = serve(StaticFileHandler::new(around.path("root")).unwrap().uploads(Uploads::new()));
    symlink("../beside", around.path("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut seen = std::collections::BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (one, other) = (around.path("root/a"), around.path("link"));
                rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, exchange).unwrap();
            }
        });
        for number in 0..300 {
            seen.insert(put(&server, &format!("/a/{number}"), b"text"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(seen.iter().all(|status| matches!(status, 201 | 409)), "{seen:?}");
    assert_eq!(fs::read_dir(around.path("beside")).unwrap().count(), 1, "nothing outside");
}

/// A client that leaves at any byte leaves nothing.
#[test]
fn clients_that_leave() {
    let folder = Folder::new(&[]);
    let server = taking(&folder, Uploads::new());
    let head = "PUT /new HTTP/1.1\r\nHost: here\r\nContent-Length: 300000\r\n\r\n";
    let form = "POST / HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 400000\r\n\r\n\
        --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new\"\r\n\r\n";
    for head in [head, form] {
        let wire = [head.as_bytes(), &[b'x'; 299_999]].concat();
        let cuts = (0..head.len()).step_by(5).chain([head.len(), head.len() + 1, 65_536, 65_537, 200_000, wire.len()]);
        for cut in cuts {
            for how in [Shutdown::Write, Shutdown::Both] {
                let mut client = connect(&server);
                client.write_all(&wire[..cut]).unwrap();
                let _ = client.shutdown(how);
            }
        }
        wait_for_silence(&server);
        assert_eq!(tree(folder.as_ref()), [""; 0]);
    }
    let whole = "PUT /new HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nall";
    let mut client = connect(&server);
    client.write_all(whole.as_bytes()).unwrap();
    drop(client); // it does not wait for the answer
    wait_until("it is stored", || folder.path("new").exists());
    assert_eq!(tree(folder.as_ref()), ["new=all"]);
}

/// A file system with a megabyte, as far as one may be mounted here.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let at = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk() {
    let Some(small) = Small::mount() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    for reserve in [0, 300_000] {
        let uploads = Uploads::new().overwrite(Overwrite::Replace).reserve(reserve);
        let server = serve(StaticFileHandler::new(small.0.path()).unwrap().uploads(uploads));
        assert_eq!(put(&server, "/old", b"old"), if reserve == 0 { 201 } else { 204 });
        assert_eq!(put(&server, "/large", &[b'x'; 2 << 20]), 507, "from its head");
        let mut client = connect(&server);
        client.write_all(b"PUT /old HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..32 {
            let _ = client.write_all(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes());
        }
        let answer = answer(&mut client);
        assert!(answer.starts_with("HTTP/1.1 507 "), "on the way: {answer}");
        drop(client);
        let part = format!("--x\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n{}\r\n--x--\r\n", "x".repeat(600_000));
        let fields = [("content-type", "multipart/form-data; boundary=x")];
        assert_eq!(ask(&server, "POST", "/", &fields, part.as_bytes()).status(), 507, "twice that is too much");
        wait_for_silence(&server);
        assert_eq!(tree(small.0.path()), ["old=old"], "nothing stays, and nothing is lost");
        let room = rustix::fs::statvfs(small.0.path()).unwrap();
        assert!(room.f_bavail * room.f_frsize > 900_000, "its room is back");
    }
}

/// Files that come slowly hold no worker: whoever asks meanwhile is answered.
#[test]
fn hundreds_at_once_with_four_workers() {
    let folder = Folder::new(&[("here", "here")]);
    let handler = folder.handler().uploads(Uploads::new());
    let server = TcpServer::bind("127.0.0.1:0", handler).unwrap().workers(4);
    let (address, handle) = (server.local_addr(), server.handle());
    thread::scope(|scope| {
        scope.spawn(|| server.serve_forever().unwrap());
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut clients: Vec<TcpStream> = (0..300)
            .map(|number| {
                let mut client = connect();
                let head = format!("PUT /{number} HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n");
                client.write_all(head.as_bytes()).unwrap();
                client.write_all(&[b'x'; 70_000]).unwrap();
                client
            })
            .collect();
        for _ in 0..20 {
            let mut other = connect();
            other.write_all(b"GET /here HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
            assert!(answer(&mut other).starts_with("HTTP/1.1 200"));
        }
        assert_eq!(fs::read_dir(folder.as_ref()).unwrap().count(), 1, "none is seen before it is whole");
        for client in &mut clients {
            client.write_all(&[b'x'; 30_000]).unwrap();
        }
        for client in &mut clients {
            assert!(answer(client).starts_with("HTTP/1.1 201"));
        }
        handle.shutdown();
    });
    assert_eq!(fs::read_dir(folder.as_ref()).unwrap().count(), 301);
    assert!((0..300).all(|number| fs::metadata(folder.path(&number.to_string())).unwrap().len() == 100_000));
}

fn part(name: &str, file_name: Option<&str>, content: &str) -> String {
    let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
    format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n{content}\r\n")
}

#[test]
fn forms() {
    let attack = "../../escape";
    for (parts, status, expected, said) in [
        (vec![part("file", Some("a.txt"), "1"), part("file", Some("b.txt"), "2")], 303, &["a.txt=1", "b.txt=2"][..], ""),
        (vec![part("file", Some(""), ""), part("folder", None, "new")], 303, &["new/"], ""),
        (vec![part("folder", None, "new"), part("file", Some("new/a"), "1")], 303, &["new/", "new/a=1"], ""),
        (vec![part("file", Some("d/e/f"), "1"), part("file", Some("d/e/g"), "2")], 303, &["d/", "d/e/", "d/e/f=1", "d/e/g=2"], ""),
        (vec![part("folder", None, ""), part("other", None, "x")], 303, &[], ""),
        (vec![], 303, &[], ""),
        (vec![part("file", Some("a"), "1"), part("file", Some("a"), "2"), part("file", Some("b"), "3")], 409, &["a=1"], "a: There is a file of that name, and none is overwritten. Stored before: a."),
        (vec![part("file", Some(attack), "1")], 400, &[], "That is no name."),
        (vec![part("file", Some("/etc/passwd"), "1")], 400, &[], "That is no name."),
        (vec![part("file", Some("a//b"), "1")], 400, &["a/"], "That is no name."),
        (vec![part("file", Some("a\\b"), "1")], 400, &[], "no slashes"),
        (vec![part("file", Some(".profile"), "1")], 403, &[], "begin with a dot"),
        (vec![part("file", Some(".git/hooks/x"), "1")], 403, &[], "begin with a dot"),
        (vec![part("file", Some("a%0D%0Ab"), "1")], 400, &[], "no control characters"),
        (vec![part("folder", None, "../up")], 400, &[], ""),
        (vec![part("folder", None, "a/b")], 400, &[], "no slashes"),
        (vec![part("folder", None, "a"), part("folder", None, "a")], 409, &["a/"], ""),
        (vec!["--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"cut\"\r\n\r\nhalf".into()], 400, &[], ""),
    ] {
        let folder = Folder::new(&[]);
        let server = taking(&folder, Uploads::new());
        let cut = parts.iter().any(|part| part.ends_with("half"));
        let body = parts.concat() + if cut { "" } else { "--x--\r\n" };
        let fields = [("content-type", "multipart/form-data; boundary=x")];
        let got = ask(&server, "POST", "/", &fields, body.as_bytes());
        assert_eq!(got.status(), status, "{parts:?}: {}", got.text());
        assert!(got.text().contains(said), "{parts:?}: {}", got.text());
        assert!(status != 303 || got.header("location") == Some("/"), "{got:?}");
        assert_eq!(tree(folder.as_ref()), expected, "{parts:?}");
    }
    let folder = Folder::new(&[("in/x", "")]);
    let server = serve(folder.handler().prefix("/p").unwrap().uploads(Uploads::new()));
    let body = part("file", Some("a"), &"1".repeat(200_000)) + "--x--\r\n";
    let got = ask(&server, "POST", "/p/in/", &[("content-type", "multipart/form-data; boundary=x")], body.as_bytes());
    assert_eq!((got.status().as_u16(), got.header("location")), (303, Some("/p/in/")));
    assert_eq!(server.get("/p/in/a").body().len(), 200_000);
}

/// What others have put there is not trusted: it is not another file's coding, and no page of this server.
#[test]
fn what_is_taken_is_not_trusted() {
    let folder = Folder::new(&[("index.html", "<p>mine")]);
    let server = taking(&folder, Uploads::new());
    assert_eq!(put(&server, "/index.html.gz", b"evil"), 201);
    super::wait_for_age(folder.as_ref(), super::STILL);
    let got = ask(&server, "GET", "/", &[("accept-encoding", "gzip")], b"");
    assert_eq!((got.text(), got.header("content-encoding")), ("<p>mine", None));
    for (name, text, sandboxed) in [
        ("page.html", "<script>", true),
        ("page.xhtml", "<html/>", true),
        ("picture.svg", "<svg/>", true),
        ("feed.xml", "<a/>", true),
        ("notes.txt", "<script>", false),
        ("picture.png", "", false),
    ] {
        assert_eq!(put(&server, &format!("/{name}"), text.as_bytes()), 201);
        let got = server.get(&format!("/{name}"));
        let policy = got.header("content-security-policy").unwrap_or_default();
        assert_eq!(policy.starts_with("sandbox "), sandboxed, "{name}: {policy}");
        assert!(!policy.contains("allow-same-origin"));
    }
    let own = serve(folder.handler().uploads(Uploads::new()).header("content-security-policy", "default-src 'self'").unwrap());
    assert_eq!(own.get("/page.html").header("content-security-policy"), Some("default-src 'self'"));
    assert_eq!(serve(folder.handler()).get("/page.html").header("content-security-policy"), None);
}
