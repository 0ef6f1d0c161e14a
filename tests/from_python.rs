//! `docs/from-python.md` and `tests/cpython.md` are complete, checked against an installed Python. The rest
//! are cases of CPython's tests that no other test covers.

mod built;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use built::{Answer, Built, PATIENCE, example};
use modest::testing::{self, TestRequest, TestServer};
use modest::{Error, Http, Method, Request, RequestHandler, Response, StaticFileHandler, TcpServer, handler_fn};

fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether Python 3.11 or newer is installed.
fn has_python() -> bool {
    let is_new = Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).output();
    let is_new = is_new.is_ok_and(|python| python.status.success());
    if !is_new {
        println!("there is no Python 3.11 here: not tested");
    }
    is_new
}

/// The output of Python. `None`: there is no Python 3.11 or newer.
fn python(arguments: &[&str]) -> Option<String> {
    if !has_python() {
        return None;
    }
    let mut command = Command::new("python3");
    command.arg("tests/from_python.py").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = command.output().expect("Python, which ran before");
    assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    Some(String::from_utf8(said.stdout).expect("names"))
}

/// All words in back-ticks outside code blocks.
fn words(page: &str) -> BTreeSet<&str> {
    let text = page.split("```").step_by(2);
    let code = text.flat_map(|text| text.split('`').skip(1).step_by(2));
    code.flat_map(|code| code.split(|c: char| !(c.is_alphanumeric() || c == '_'))).collect()
}

/// The additions of Python 3.12 to 3.15, which older ones do not know; and attributes that only objects have.
const BESIDES: &str = "ForkingUnixStreamServer ForkingUnixDatagramServer index_pages HTTPSServer ThreadingHTTPSServer \
    certfile keyfile password alpn_protocols default_content_type extra_response_headers \
    RequestHandlerClass server_address socket server_name server_port request client_address server connection rfile \
    wfile packet command path request_version requestline raw_requestline headers close_connection directory \
    BaseServer TCPServer UDPServer StreamRequestHandler BaseHTTPRequestHandler SimpleHTTPRequestHandler do_GET do_SPAM";

#[test]
fn every_public_name_is_on_the_page() {
    let page = read("docs/from-python.md");
    let (_, table) = page.split_once("## Every name").expect("the section of every name");
    let known = words(table);
    let missing = |names: &str| -> BTreeSet<String> {
        names.split_whitespace().filter(|name| !known.contains(name)).map(str::to_owned).collect()
    };
    assert_eq!(missing(BESIDES), BTreeSet::new());
    let Some(names) = python(&["names"]) else { return };
    assert!(names.lines().count() > 300, "{names}");
    assert_eq!(missing(&names), BTreeSet::new());
}

#[test]
fn names_offered_by_the_page_exist() {
    let page = read("docs/from-python.md");
    let mut source = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                source.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let (_, table) = page.split_once("## What differs").expect("the section of the differences");
    let (mut offered, mut absent) = (0, Vec::new());
    for name in table.split('`').skip(1).step_by(2) {
        let Some((kind, method)) = name.split_once("::").filter(|(kind, _)| kind.chars().all(char::is_alphanumeric))
        else {
            continue;
        };
        let method: String = method.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        offered += 1;
        let has_kind =
            ["struct", "trait", "enum", "mod"].iter().any(|what| source.contains(&format!("pub {what} {kind}")));
        let has_method = [format!("fn {method}("), format!("fn {method}<")].iter().any(|code| source.contains(code));
        if !has_kind || !has_method {
            absent.push(name);
        }
    }
    assert!(offered > 60, "{offered}");
    assert_eq!(absent, [""; 0]);
}

#[test]
fn python_and_rust_on_the_page_do_the_same() {
    if let Some(said) = python(&["run", "docs/from-python.md"]) {
        assert!(said.lines().count() > 10, "{said}");
    }
}

/// A program from Python's documentation.
fn program(name: &str) -> Built {
    let mut command = Command::new("python3");
    Built::start(command.args(["-u", "tests/from_python.py", "program", name]).current_dir(env!("CARGO_MANIFEST_DIR")))
}

/// The reply to this text, without the thread name with which some programs begin it.
fn reply(server: &Built, kind: &str, said: &str) -> String {
    if kind == "udp" {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(said.as_bytes(), server.address).unwrap();
        let mut reply = [0; 1024];
        let count = client.recv(&mut reply).unwrap_or_else(|error| panic!("{kind}, {said:?}: {error}"));
        return String::from_utf8_lossy(&reply[..count]).into_owned();
    }
    let reply = server.talk(said);
    match kind {
        "threads" => reply.split_once(": ").unwrap_or_else(|| panic!("no thread in {reply:?}")).1.to_owned(),
        _ => reply,
    }
}

#[test]
fn programs_of_the_python_documentation_behave_the_same() {
    if !has_python() {
        return;
    }
    for kind in ["tcp", "stream", "udp", "threads"] {
        let (python, rust) = (program(kind), Built::start(example("socketserver").args(["127.0.0.1:0", kind])));
        for said in
            ["hello world with TCP\n", "python is nice\n", "  blanks \t\r\n", "caf\u{e9} \\ \0\u{7f}\n", "two\nlines\n"]
        {
            assert_eq!(reply(&rust, kind, said), reply(&python, kind, said), "{kind}: {said:?}");
            for _ in 0..if kind == "threads" { 0 } else { 2 } {
                assert_eq!(rust.out_line(), python.out_line(), "{kind}: printed for {said:?}");
            }
        }
    }
}

#[test]
fn servers_of_the_python_documentation_behave_the_same() {
    if !has_python() {
        return;
    }
    struct Nothing;
    impl RequestHandler for Nothing {}
    let ask = |server: &str, request: &str| {
        let mut client = TcpStream::connect(server).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(client, "{request} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        Answer::read(&answer)
    };
    let base = (program("base"), testing::serve(Nothing));
    let folder = (program("folder"), testing::serve(StaticFileHandler::new("www").unwrap()));
    let mut compared = 0;
    for (python, rust) in [&base, &folder] {
        for request in
            ["GET /", "HEAD /", "POST /", "SPAM /", "GET /index.html", "GET /index.html?a=b", "GET /none", "GET /none/"]
        {
            let (python, rust) = (ask(&python.address.to_string(), request), ask(&rust.address().to_string(), request));
            let shown = format!("{request}: Python {python:?}, here {rust:?}");
            // A folder has no POST, but the method is known: the status is 405, and Python's is 501.
            let same = python.status == rust.status || (python.status, rust.status, request) == (501, 405, "POST /");
            assert!(same, "{shown}");
            if python.status != 200 {
                continue;
            }
            assert_eq!(python.body, rust.body, "{shown}");
            for name in ["content-length", "last-modified"] {
                assert_eq!(python.field(name), rust.field(name), "{name}, {shown}");
            }
            let kind = |answer: &Answer| answer.field("content-type")?.split(';').next().map(str::to_owned);
            assert_eq!(kind(&python), kind(&rust), "{shown}");
            compared += 1;
        }
    }
    assert_eq!(compared, 4, "files");
}

#[test]
fn every_cpython_test_has_a_line_and_vice_versa() {
    let page = read("tests/cpython.md");
    let known = words(&page);
    if let Some(names) = python(&["tests"]) {
        let missing: Vec<&str> = names.lines().filter(|name| !known.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
    }
    let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")).unwrap();
    let rows: String = folder.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let mut named = 0;
    for name in page.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('`').skip(1).step_by(2))
    {
        if let Some((file, test)) = name.split_once(".rs: ") {
            named += 1;
            assert!(read(&format!("{file}.rs")).contains(&format!("fn {test}(")), "{name}");
        } else if name.starts_with("9110 ") || name.starts_with("9112 ") {
            named += 1;
            assert!(rows.contains(&format!("\"{name}\"")), "{name}");
        } else if name.starts_with("tests/") || name.starts_with("src/") {
            read(name);
        }
    }
    assert!(named > 50, "{named}");
}

/// The whole reply to these bytes.
fn talk(server: &TestServer, said: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.write_all(said).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer
}

#[test]
fn invalid_versions_are_rejected() {
    let server = testing::serve(handler_fn(|_| Ok(Response::text("hello"))));
    for (version, status) in [
        ("FUBAR", "400"),
        ("HTTP/9.9.9", "400"),
        ("HTTP/-9_9_9.+9_9_9", "400"),
        ("HTTP/+1.1", "400"),
        ("HTTP/1.-1", "400"),
        ("HTTP/1._1", "400"),
        ("HTTP/909876543210.0", "400"),
        ("HTTP/1.909876543210", "400"),
        ("HTTP/\u{661}.\u{661}", "400"),
        ("", "400"),
        ("HTTP/9.9", "505"),
        ("HTTP/1.1", "200"),
    ] {
        let answer = talk(&server, format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{version:?}: {answer}");
    }
}

#[test]
fn any_status_can_be_an_error() {
    let server = testing::serve(handler_fn(|request| {
        let status: u16 = request.parse_param("status")?;
        Err(Error::new(status, "as it was <asked>"))
    }));
    for (status, sent, has_page) in [
        (200, 200, true),
        (404, 404, true),
        (418, 418, true),
        (299, 299, true),
        (599, 599, true),
        (600, 500, true), // clients could not interpret it (RFC 9110, section 15)
        (999, 500, true),
        (204, 204, false),
        (205, 205, false),
        (304, 304, false),
        (100, 500, true), // an interim response is not a response
        (101, 500, true),
        (102, 500, true),
        (99, 500, true),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = server.send(TestRequest::new(method.clone(), format!("/?status={status}")));
            let what = format!("{method} {status}: {:?}", answer.headers());
            assert_eq!(answer.status(), sent, "{what}");
            assert_eq!(answer.header("content-type").is_some(), has_page, "{what}");
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            assert_eq!(length > 0, has_page, "{what}");
            if method == Method::GET {
                assert_eq!(answer.body().len(), length, "{what}");
                assert!(!answer.text().contains('<') || !answer.text().contains("<asked>"), "{}", answer.text());
            } else {
                assert!(answer.body().is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn fields_in_latin_1() {
    let app = handler_fn(|request: &Request| {
        let sent = request.header_all("x-sent").next().unwrap_or_default().to_vec();
        Ok(Response::bytes(sent).with_header("x-special", &b"D\xe4ngerous Mind"[..]))
    });
    let server = testing::serve(Http::new(app));
    let answer = talk(&server, b"GET / HTTP/1.1\r\nHost: a\r\nX-Sent: \xc4rger\r\nConnection: close\r\n\r\n");
    let shown = String::from_utf8_lossy(&answer);
    assert!(answer.ends_with(b"\r\n\r\n\xc4rger"), "{shown}");
    assert!(answer.windows(14).any(|bytes| bytes == b"D\xe4ngerous Mind"), "{shown}");
}

#[test]
fn a_listing_shows_no_query() {
    let folder = tempfile::tempdir().unwrap();
    let server = testing::serve(StaticFileHandler::new(folder.path()).unwrap());
    let plain = server.get("/").text().to_owned();
    for query in ["/?x=123", "/?x=%bb", "/?%3Cscript%3E"] {
        let answer = server.get(query);
        assert_eq!((answer.status().as_u16(), answer.text()), (200, plain.as_str()), "{query}");
    }
}

#[test]
fn a_server_that_never_ran_releases_its_port() {
    let address = {
        let server = TcpServer::bind("127.0.0.1:0", handler_fn(|_| Ok(Response::no_content()))).unwrap();
        server.local_addr()
    };
    // A process that another test starts has a copy of the listener until it executes its program.
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "{address} still accepts clients");
        thread::sleep(Duration::from_micros(100));
    }
    TcpListener::bind(address).unwrap();
}

#[test]
fn binds_that_fail_leak_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for _ in 0..1024 {
        assert!(TcpServer::bind(address, handler_fn(|_| Ok(Response::no_content()))).is_err());
    }
    let after = open();
    assert!(after < before + 512, "{before} descriptors, then {after}"); // other tests open some as well
}
