//! Runs each example as a program, and talks to it as its first lines describe.

mod built;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

use built::read_answer;
use built::{Built, PATIENCE, example, read_until, run};

fn start(name: &str) -> Built {
    Built::start(example(name).arg("127.0.0.1:0"))
}

#[test]
fn hello_responds_and_echoes() {
    let hello = start("hello");
    let answer = hello.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (200, "Hello, World!"), "{answer:?}");
    assert!(answer.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")), "{answer:?}");
    let answer = hello.ask("HEAD", "/", &[], "");
    assert_eq!(
        (answer.status, answer.body.as_str(), answer.field("content-length")),
        (200, "", Some("13")),
        "{answer:?}"
    );
    let long = "x".repeat(200_000); // more than is kept in memory
    for body in ["", "some bytes", &long] {
        let answer = hello.ask("POST", "/echo", &[], body);
        assert!(
            answer.status == 200 && answer.body == body,
            "{} bytes: {} {}",
            body.len(),
            answer.head,
            answer.body.len()
        );
    }
    for (method, target, status) in [("GET", "/other", 404), ("POST", "/", 404), ("PUT", "/", 501)] {
        assert_eq!(hello.ask(method, target, &[], "").status, status, "{method} {target}");
    }
    let (_, _, log) = hello.stop();
    assert_eq!(log, [""; 0], "no access log");
}

#[test]
fn hello_web_serves_a_page() {
    let answer = start("hello_web").get("/");
    assert!(answer.status == 200 && answer.body.contains("Hello, web!"), "{answer:?}");
    assert!(answer.field("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{answer:?}");
}

#[test]
fn hello_socket_prints_requests_and_responds() {
    let hello = start("hello_socket");
    for said in ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", "anything\r\n"] {
        assert_eq!(hello.talk(said), "HTTP/1.1 200 OK\r\n\r\nHello, World!", "{said:?}");
        for line in said.lines() {
            assert_eq!(hello.out_line().as_deref(), Some(line), "{said:?}");
        }
    }
}

#[test]
fn hello_socket_echoes_with_the_echo_argument() {
    let echo = Built::start(example("hello_socket").args(["127.0.0.1:0", "echo"]));
    let mut client = echo.connect();
    for sent in ["one\n", "two\n"] {
        client.write_all(sent.as_bytes()).unwrap();
        assert_eq!(read_until(&mut client, b"\n").unwrap(), sent.as_bytes());
    }
}

#[test]
fn echo_returns_what_the_client_sends() {
    let echo = start("echo");
    let (status, out, err) = run(example("echo_client").arg(echo.address.to_string()));
    assert_eq!((status, out.as_str(), err.as_str()), (Some(0), "Hello, server!\n", ""));
    let line = echo.out_line().unwrap_or_default();
    assert!(line.starts_with("got request from 127.0.0.1:") && line.ends_with(": 14"), "{line}");
}

#[test]
fn echo_lines_sends_lines_back() {
    let echo = start("echo_lines");
    let mut client = echo.connect();
    client.write_all(b"one\ntwo\nhalf").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut came = String::new();
    client.read_to_string(&mut came).unwrap();
    assert_eq!(came, "one\ntwo\nhalf");
}

#[test]
fn udp_upper_sends_back_capitals() {
    let upper = start("udp_upper");
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reply = [0; 100];
    for (said, heard) in
        [("hello world\n", "HELLO WORLD"), ("Python is under the Umbrella", "PYTHON IS UNDER THE UMBRELLA")]
    {
        client.send_to(said.as_bytes(), upper.address).unwrap();
        let (length, from) = client.recv_from(&mut reply).unwrap();
        assert_eq!((&reply[..length], from), (heard.as_bytes(), upper.address), "{said:?}");
        assert_eq!(upper.out_line(), Some(format!("{} wrote:", client.local_addr().unwrap())));
        assert_eq!(upper.out_line().as_deref(), Some(said.trim()));
    }
    assert!(upper.stop().0.success(), "SIGTERM ends it");
}

#[test]
fn chat_lines_sends_each_line_to_everyone() {
    let chat = start("chat_lines");
    let mut clients: Vec<_> = (0..3).map(|_| chat.connect()).collect();
    // A client that receives its own message is known to listen.
    for client in &mut clients {
        writeln!(client, "here").unwrap();
        read_until(client, b": here\n").unwrap();
    }
    writeln!(clients[0], "news").unwrap();
    for client in &mut clients {
        let heard = String::from_utf8(read_until(client, b"news\n").unwrap()).unwrap();
        assert!(heard.ends_with(": news\n"), "{heard:?}");
    }
}

fn websocket(built: &Built, path: &str) -> tungstenite::WebSocket<std::net::TcpStream> {
    let url = format!("ws://{}{path}", built.address);
    tungstenite::client(url, built.connect()).unwrap_or_else(|error| panic!("{path}: {error}")).0
}

#[test]
fn websocket_echo_returns_each_message() {
    let echo = Built::start(example("websocket_echo").args(["127.0.0.1:0", "100000"]));
    let mut client = websocket(&echo, "/");
    for message in [tungstenite::Message::from("hello"), vec![0, 255].into(), "x".repeat(100_000).into()] {
        client.send(message.clone()).unwrap();
        assert!(client.read().unwrap() == message, "{} bytes", message.len());
    }
    client.send("x".repeat(100_001).into()).unwrap();
    assert!(matches!(client.read(), Ok(tungstenite::Message::Close(Some(close))) if u16::from(close.code) == 1009));
    assert_eq!(echo.get("/").status, 426, "a request that is not a handshake gets 426");
}

/// A thousand clients: half of them by WebSocket, the others by long polls.
#[test]
fn chat_reaches_a_thousand_clients() {
    let chat = start("chat");
    let page = chat.get("/");
    assert!(page.status == 200 && page.body.contains("new WebSocket("), "{page:?}");
    let heard = |client: &mut tungstenite::WebSocket<_>, text: &str| {
        while client.read().unwrap().to_text().unwrap() != text {}
    };
    let poll = |client: &mut TcpStream, from: &str| {
        client.write_all(format!("GET /words?from={from} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    };
    // The number of the next word, and the words of a response.
    let words = |client: &mut TcpStream| {
        let answer = read_answer(client);
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
        (said["next"].to_string(), said["words"].to_string())
    };
    let mut sockets: Vec<_> = (0..500).map(|_| websocket(&chat, "/chat")).collect();
    // A client that receives its own message is known to listen.
    for (number, client) in sockets.iter_mut().enumerate().skip(495) {
        client.send(format!("{number} is here").into()).unwrap();
        heard(client, &format!("{number} is here"));
    }
    let mut polls: Vec<_> = (0..500).map(|_| chat.connect()).collect();
    poll(&mut polls[0], "0");
    let (mut next, said) = words(&mut polls[0]);
    assert_eq!(said, r#"["495 is here","496 is here","497 is here","498 is here","499 is here"]"#);
    for round in 0..3 {
        polls.iter_mut().for_each(|client| poll(client, &next));
        let word = format!("news {round}");
        if round == 1 {
            sockets[0].send(word.as_str().into()).unwrap();
        } else {
            assert_eq!(chat.ask("POST", "/words", &[], &word).status, 204);
        }
        sockets.iter_mut().for_each(|client| heard(client, &word));
        let answers: Vec<_> = polls.iter_mut().map(words).collect();
        let first = answers[0].clone();
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, (first.0.clone(), format!("[{word:?}]")), "poll {number}, round {round}");
        }
        next = first.0;
    }
    let late = &mut websocket(&chat, "/chat");
    heard(late, "news 2"); // the last message
    late.send("x".repeat(1001).into()).unwrap();
    assert!(matches!(late.read(), Ok(tungstenite::Message::Close(Some(close))) if u16::from(close.code) == 1009));
    assert_eq!(chat.ask("POST", "/words", &[], &"x".repeat(1001)).status, 413);
    assert_eq!(chat.get("/words").status, 400, "a request without a number gets 400");
    poll(&mut polls[0], &next);
    assert!(chat.stop().0.success(), "SIGTERM ends it");
    assert_eq!(words(&mut polls[0]), (next, "[]".to_owned()), "a poll is answered by the shutdown");
    assert!(matches!(sockets[0].read(), Ok(tungstenite::Message::Close(Some(close))) if u16::from(close.code) == 1001));
}

/// The next events: their ids and data.
fn events(client: &mut TcpStream, count: usize) -> Vec<String> {
    let mut text = String::new();
    while text.matches("\n\n").count() < count {
        let size = String::from_utf8(read_until(client, b"\r\n").unwrap()).unwrap();
        let mut chunk = vec![0; usize::from_str_radix(size.trim_end(), 16).unwrap() + 2];
        client.read_exact(&mut chunk).unwrap();
        text += std::str::from_utf8(&chunk[..chunk.len() - 2]).unwrap();
    }
    let shown = |event: &str| event.replace("id: ", "").replace("\ndata: ", ": ");
    text.trim_end().split("\n\n").map(shown).collect()
}

#[test]
fn dashboard_broadcasts_and_replays_after_a_restart() {
    let folder = built::folder(&[]);
    let start = || Built::start(example("dashboard").arg("127.0.0.1:0").arg(folder.path().join("readings")));
    let listen = |dashboard: &Built, last: &str| {
        let mut client = dashboard.connect();
        client.write_all(format!("GET /readings HTTP/1.1\r\nHost: test\r\n{last}\r\n").as_bytes()).unwrap();
        let head = String::from_utf8(read_until(&mut client, b"\r\n\r\n").unwrap()).unwrap();
        assert!(head.contains("text/event-stream"), "{head}");
        client
    };
    let dashboard = start();
    assert!(dashboard.get("/").body.contains("new EventSource("));
    let mut clients: Vec<_> = (0..100).map(|_| listen(&dashboard, "")).collect();
    assert_eq!(dashboard.ask("POST", "/readings", &[], "kitchen 21.5").status, 204);
    for client in &mut clients {
        assert_eq!(events(client, 1), ["1: kitchen 21.5"]);
    }
    for wrong in ["kitchen", "a b c", "a b\nc"] {
        assert_eq!(dashboard.ask("POST", "/readings", &[], wrong).status, 422, "{wrong:?}");
    }
    assert!(dashboard.stop().0.success(), "SIGTERM ends it");
    let mut rest = String::new();
    clients[0].read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "d\r\nretry: 1000\n\n\r\n0\r\n\r\n", "the client must be asked to reconnect");

    let dashboard = start();
    for reading in ["kitchen 22", "cellar 9"] {
        assert_eq!(dashboard.ask("POST", "/readings", &[], reading).status, 204);
    }
    let mut back = listen(&dashboard, "Last-Event-ID: 1\r\n");
    assert_eq!(events(&mut back, 2), ["2: kitchen 22", "3: cellar 9"]);
    assert!(dashboard.stop().0.success());
    let dashboard = start();
    assert_eq!(events(&mut listen(&dashboard, "Last-Event-ID: 2\r\n"), 1), ["3: cellar 9"]);
}

#[test]
fn miniredis_follows_the_redis_protocol_in_both_modes() {
    let set = |key: &str, value: &str| {
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
    };
    let large = "x".repeat(30_000);
    let malformed = |why: &str| format!("-ERR Protocol error: {why}\r\n");
    for kind in ["threads", "turns"] {
        let redis = Built::start(example("miniredis").args(["127.0.0.1:0", kind]));
        for (said, wanted) in [
            ("PING\r\n".to_owned(), "+PONG\r\n".to_owned()),
            ("ping hello\n".to_owned(), "$5\r\nhello\r\n".to_owned()),
            ("\r\n \r\nPING\r\n".to_owned(), "+PONG\r\n".to_owned()),
            ("*1\r\n$4\r\nPING\r\n".to_owned(), "+PONG\r\n".to_owned()),
            ("GET a\r\n".to_owned(), "$-1\r\n".to_owned()),
            (set("a", "some\r\nmilk") + "GET a\r\n", "+OK\r\n$10\r\nsome\r\nmilk\r\n".to_owned()),
            (set("", "") + "*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "+OK\r\n$0\r\n\r\n".to_owned()),
            ("INCR n\r\nINCR n\r\nGET n\r\n".to_owned(), ":1\r\n:2\r\n$1\r\n2\r\n".to_owned()),
            ("INCR a\r\n".to_owned(), "-ERR value is not an integer or out of range\r\n".to_owned()),
            ("DEL a n none\r\nGET a\r\n".to_owned(), ":2\r\n$-1\r\n".to_owned()),
            ("SET a\r\nGET\r\nDEL\r\n".to_owned(), "-ERR wrong number of arguments\r\n".repeat(3)),
            ("FLUSHALL\r\n*0\r\nPING\r\n".to_owned(), "-ERR unknown command\r\n+PONG\r\n".to_owned()),
            (set("l", &large) + "GET l\r\n", format!("+OK\r\n$30000\r\n{large}\r\n")),
            // Many commands at once, and replies that are larger than the commands.
            ("INCR p\r\n".repeat(5000), (1..=5000).map(|number| format!(":{number}\r\n")).collect()),
            ("GET l\r\n".repeat(100), format!("$30000\r\n{large}\r\n").repeat(100)),
            // After a malformed command the connection ends; so it does in the middle of a command.
            ("PING\r\n*x\r\nPING\r\n".to_owned(), "+PONG\r\n".to_owned() + &malformed("invalid multibulk length")),
            ("*-1\r\n".to_owned(), malformed("invalid multibulk length")),
            ("*99999999\r\n".to_owned(), malformed("invalid multibulk length")),
            ("*1\r\n#4\r\nPING\r\n".to_owned(), malformed("invalid bulk length")),
            ("*1\r\n$-4\r\nPING\r\n".to_owned(), malformed("invalid bulk length")),
            ("*1\r\n$99999999999999999999\r\nPING\r\n".to_owned(), malformed("invalid bulk length")),
            ("*1\r\n$4\r\nPINGPONG\r\n".to_owned(), malformed("expected the end of a line")),
            ("x".repeat(40_000), malformed("command too long")),
            (set("l", &"x".repeat(40_000)), malformed("invalid bulk length")),
            ("PING\r\n*2\r\n$3\r\nGET\r\n$5\r\nab".to_owned(), "+PONG\r\n".to_owned()),
        ] {
            let mut client = redis.connect();
            let mut half = client.try_clone().unwrap();
            let bytes = said.clone();
            let writer = std::thread::spawn(move || {
                let _ = half.write_all(bytes.as_bytes()); // the server may have closed before its end
                let _ = half.shutdown(Shutdown::Write);
            });
            let mut came = String::new();
            let end = client.read_to_string(&mut came);
            let start: String = said.chars().take(60).collect();
            let shown: String = came.chars().take(60).collect();
            assert!(end.is_ok() && came == wanted, "{kind}: {start:?}: {shown:?}, {} bytes, {end:?}", came.len());
            writer.join().unwrap();
        }
        // Byte by byte, while other clients are served.
        let mut slow = redis.connect();
        slow.set_nodelay(true).unwrap();
        for byte in set("slow", "ly").bytes() {
            slow.write_all(&[byte]).unwrap();
            assert_eq!(read_reply(&mut redis.connect()), "+PONG\r\n", "{kind}");
        }
        assert_eq!(read_until(&mut slow, b"\r\n").unwrap(), b"+OK\r\n", "{kind}");
    }
}

fn read_reply(client: &mut TcpStream) -> String {
    client.write_all(b"PING\r\n").unwrap();
    String::from_utf8(read_until(client, b"\r\n").unwrap()).unwrap()
}

#[test]
fn echo_serves_many_clients_to_the_last_byte() {
    let echo = start("echo");
    let mut clients: Vec<_> = (0..50).map(|_| echo.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate().rev() {
        writeln!(client, "client {number}").unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(read_until(client, b"\n").unwrap(), format!("client {number}\n").as_bytes());
    }
    let said = "0123456789".repeat(30_000);
    let mut client = echo.connect();
    let mut half = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        half.write_all(said.as_bytes()).unwrap();
        half.shutdown(Shutdown::Write).unwrap();
        said
    });
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    let said = writer.join().unwrap();
    assert!(heard == said, "{} bytes sent, {} received", said.len(), heard.len());
}

#[test]
fn store_keeps_values_line_by_line() {
    let store = start("store");
    let said = store.talk("get a\r\nset a some milk\r\nget a\nset b\ndel a\ndel a\nget a\nwhat\n\nquit\nget a\n");
    let answers: Vec<&str> = said.split("\r\n").collect();
    let error = "error: get KEY, set KEY VALUE, del KEY or quit";
    assert_eq!(answers, ["none", "ok", "some milk", error, "ok", "none", "none", error, error, "bye", ""]);
    assert_eq!(store.talk(format!("set {}", "x".repeat(9000))), "the line is too long\r\n");
}

#[test]
fn sleepy_sleeps_and_reports() {
    let sleepy = start("sleepy");
    for (target, status, part) in [
        ("/sleep/0", 200, "slept 0 ms"),
        ("/sleep/20", 200, "slept 20 ms"),
        ("/sleep/x", 400, "milliseconds"),
        ("/sleep/60001", 400, "milliseconds"),
        ("/stats", 200, "accepted"),
        ("/other", 404, "/sleep/500"),
    ] {
        let answer = sleepy.get(target);
        assert!(answer.status == status && answer.body.contains(part), "{target}: {answer:?}");
    }
}

#[test]
fn notes_are_made_read_and_removed() {
    let notes = start("notes");
    let json = ["Content-Type: application/json"];
    let form = ["Content-Type: application/x-www-form-urlencoded"];
    let made = notes.ask("POST", "/notes", &json, r#"{"text":"milk"}"#);
    assert_eq!(
        (made.status, made.field("location"), made.body.as_str()),
        (201, Some("/notes/1"), r#"{"id":1,"text":"milk"}"#)
    );
    let made = notes.ask("POST", "/notes", &form, "text=bread+%26+butter");
    assert_eq!((made.status, made.field("location")), (201, Some("/notes/2")), "{made:?}");
    let all = notes.get("/notes").body;
    assert_eq!(all, r#"[{"id":1,"text":"milk"},{"id":2,"text":"bread & butter"}]"#);
    assert_eq!(notes.get("/notes/2").body, r#"{"id":2,"text":"bread & butter"}"#);
    assert_eq!(notes.ask("DELETE", "/notes/1", &[], "").status, 204);
    assert_eq!(notes.get("/notes/1").status, 404);
}

#[test]
fn notes_report_errors() {
    let notes = start("notes");
    let json = "Content-Type: application/json";
    let form = "Content-Type: application/x-www-form-urlencoded";
    let long = format!("text={}", "x".repeat(1001));
    let huge = format!("text={}", "x".repeat(100_000));
    for (method, target, kind, body, status) in [
        ("GET", "/notes/9", json, "", 404),
        ("GET", "/notes/x", json, "", 404),
        ("GET", "/notesx", json, "", 404),
        ("DELETE", "/notes/9", json, "", 404),
        ("DELETE", "/notes", json, "", 405),
        ("POST", "/notes/1", json, r#"{"text":"a"}"#, 405),
        ("POST", "/notes", json, r#"{"text":"#, 400),
        ("POST", "/notes", json, r#"{"txet":"a"}"#, 400),
        ("POST", "/notes", "Content-Type: text/plain", "a", 415),
        ("POST", "/notes", json, r#"{"text":""}"#, 422),
        ("POST", "/notes", form, "txet=a", 422),
        ("POST", "/notes", form, &long, 422),
        ("POST", "/notes", form, &huge, 413),
        ("PUT", "/notes/1", json, "{}", 405),
    ] {
        let answer = notes.ask(method, target, &[kind], body);
        let start: String = body.chars().take(40).collect();
        assert_eq!(answer.status, status, "{method} {target} {kind} {start:?}: {answer:?}");
        assert_eq!(status == 405, answer.field("allow").is_some(), "{method} {target}: {answer:?}");
    }
}

#[test]
fn site_is_a_folder_beside_own_routes() {
    let site = start("site");
    assert_eq!((site.get("/visits").body, site.get("/visits").body), ("1\n".to_owned(), "2\n".to_owned()));
    assert!(site.get("/").body.contains("It works"), "the folder's index");
    for (method, status) in [("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 204)] {
        let answer = site.ask(method, "/", &[], "");
        assert!(answer.status == status && answer.field("allow").is_some(), "{method}: {answer:?}");
    }
    let refused =
        site.talk("PUT /index.html HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 405"), "the request must be rejected before its body: {refused}");
    assert_eq!(site.get("/no-such-file").status, 404);
}

#[test]
fn download_sends_any_length() {
    let download = start("download");
    for count in [0, 1, 65_536, 1_000_000] {
        let answer = download.get(&format!("/bytes/{count}"));
        assert_eq!(answer.field("content-length"), Some(count.to_string().as_str()), "{}", answer.head);
        assert!(answer.body.len() == count && answer.body.bytes().all(|b| b == b'x'), "{count}: {}", answer.body.len());
    }
    let answer = download.get("/lines/20000");
    let expected: String = (1..=20_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(answer.field("transfer-encoding"), Some("chunked"), "{}", answer.head);
    assert!(answer.unchunked() == expected, "{} bytes", answer.body.len());
    // longer than any client would wait for: the response starts at once, and the client can disconnect
    let mut client = download.connect();
    client.write_all(b"GET /bytes/18446744073709551615 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    read_until(&mut client, b"\r\n\r\nxxxx").unwrap();
    drop(client);
    for target in ["/bytes/x", "/lines/-1", "/bytes/18446744073709551616"] {
        assert_eq!(download.get(target).status, 400, "{target}");
    }
}
