//! Each example, run as the built program and spoken to as its first lines say.

mod built;

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};

use built::{Built, PATIENCE, example, read_until, run};

fn start(name: &str) -> Built {
    Built::start(example(name).arg("127.0.0.1:0"))
}

#[test]
fn hello_answers_and_echoes() {
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
    let long = "x".repeat(200_000); // past the bound of what is held in memory
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
fn hello_web_answers_a_page() {
    let answer = start("hello_web").get("/");
    assert!(answer.status == 200 && answer.body.contains("Hello, web!"), "{answer:?}");
    assert!(answer.field("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{answer:?}");
}

#[test]
fn hello_socket_prints_what_arrives_and_answers_the_same() {
    let hello = start("hello_socket");
    for said in ["GET / HTTP/1.1\r\nHost: test\r\n\r\n", "anything\r\n"] {
        assert_eq!(hello.talk(said), "HTTP/1.1 200 OK\r\n\r\nHello, World!", "{said:?}");
        for line in said.lines() {
            assert_eq!(hello.out_line().as_deref(), Some(line), "{said:?}");
        }
    }
}

#[test]
fn echo_sends_back_what_its_client_says() {
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
fn chat_tells_everybody() {
    let chat = start("chat");
    let mut clients: Vec<_> = (0..3).map(|_| chat.connect()).collect();
    // Who has heard itself is known to listen.
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

#[cfg(feature = "websocket")]
fn websocket(built: &Built, path: &str) -> tungstenite::WebSocket<std::net::TcpStream> {
    let url = format!("ws://{}{path}", built.address);
    tungstenite::client(url, built.connect()).unwrap_or_else(|error| panic!("{path}: {error}")).0
}

#[cfg(feature = "websocket")]
#[test]
fn websocket_echo_sends_back_what_is_said() {
    let echo = Built::start(example("websocket_echo").args(["127.0.0.1:0", "100000"]));
    let mut client = websocket(&echo, "/");
    for message in [tungstenite::Message::from("hello"), vec![0, 255].into(), "x".repeat(100_000).into()] {
        client.send(message.clone()).unwrap();
        assert!(client.read().unwrap() == message, "{} bytes", message.len());
    }
    client.send("x".repeat(100_001).into()).unwrap();
    assert!(matches!(client.read(), Ok(tungstenite::Message::Close(Some(close))) if u16::from(close.code) == 1009));
    assert_eq!(echo.get("/").status, 426, "no WebSocket");
}

#[cfg(feature = "websocket")]
#[test]
fn websocket_chat_tells_everybody() {
    let chat = start("websocket_chat");
    let page = chat.get("/");
    assert!(page.status == 200 && page.body.contains("new WebSocket("), "{page:?}");
    let mut clients: Vec<_> = (0..100).map(|_| websocket(&chat, "/chat")).collect();
    // Who has heard itself is known to listen.
    let heard = |client: &mut tungstenite::WebSocket<_>, text: &str| {
        while client.read().unwrap().to_text().unwrap() != text {}
    };
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("{number} is here").into()).unwrap();
        heard(client, &format!("{number} is here"));
    }
    clients[0].send("news".into()).unwrap();
    for client in &mut clients {
        heard(client, "news");
    }
    let late = &mut websocket(&chat, "/chat");
    heard(late, "news"); // what was said last
    late.send("x".repeat(1001).into()).unwrap();
    assert!(matches!(late.read(), Ok(tungstenite::Message::Close(Some(close))) if u16::from(close.code) == 1009));
}

#[test]
fn echo_serves_many_at_once_and_to_the_last_byte() {
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
    assert!(heard == said, "{} bytes said, {} heard", said.len(), heard.len());
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
fn sleepy_sleeps_and_tells() {
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
fn notes_say_what_is_wrong() {
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
    assert!(refused.starts_with("HTTP/1.1 405"), "before its body: {refused}");
    assert_eq!(site.get("/no-such-file").status, 404);
}

#[test]
fn download_is_of_any_length() {
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
    let mut client = download.connect(); // longer than anybody waits for: it begins at once, and leaving it costs nothing
    client.write_all(b"GET /bytes/18446744073709551615 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    read_until(&mut client, b"\r\n\r\nxxxx").unwrap();
    drop(client);
    for target in ["/bytes/x", "/lines/-1", "/bytes/18446744073709551616"] {
        assert_eq!(download.get(target).status, 400, "{target}");
    }
}
