//! Requests of one session at the same time: what one of them does while another is in progress.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use super::*;
use crate::live::Signal;
use crossbeam_channel::{Receiver, Sender, unbounded};

/// What another request does between the head and the handler.
const MEANWHILE: [(&str, bool); 5] =
    [("/?get=x", true), ("/?z=1", true), ("/?out", false), ("/?renew", false), ("/?in=eve", false)];

fn cookie_of(sent: &SentResponse) -> Option<String> {
    sent.header("set-cookie").map(|cookie| cookie.split(';').next().unwrap().to_owned())
}

/// How the head of a request comes before its handler.
#[derive(Clone, Copy, Debug)]
enum Late {
    Body,
    Chunks,
    Wait,
}

/// A server in which the test does something between the head of a request and its handler.
struct Server {
    server: testing::TestServer,
    signal: Arc<Signal>,
    begun: Receiver<()>,
}

impl Server {
    fn new(app: impl RequestHandler, sessions: Sessions) -> Server {
        let (signal, (begins, begun)) = (Arc::new(Signal::new()), unbounded());
        let head: Sender<()> = begins.clone();
        let has_begun = crate::before_body_fn(move |request: &Request, _: &mut BodyPlan| {
            if *request.method() == Method::POST {
                head.send(()).unwrap();
            }
            Ok(())
        });
        let (ticket, waited) = (Arc::clone(&signal), Mutex::new(std::collections::HashSet::new()));
        let waits = crate::layer_fn(move |request: &Request, next: Next<'_>| {
            let result = next.run(request);
            if request.path() == "/wait" && waited.lock().unwrap().insert(request.header("cookie").map(str::to_owned)) {
                let wait = Response::wait_for(ticket.ticket(), None);
                begins.send(()).unwrap();
                return Ok(wait);
            }
            result
        });
        let server = testing::serve(app.layer(waits).layer(has_begun).layer(sessions));
        Server { server, signal, begun }
    }

    fn get(&self, target: &str) -> SentResponse {
        self.server.get(target)
    }

    fn ask(&self, target: &str, cookie: &str) -> SentResponse {
        self.server.send(TestRequest::new(Method::GET, target).with_header("cookie", cookie))
    }

    /// Sends the head of a request, does something else, and lets the handler begin. Returns the response.
    fn late(&self, how: Late, query: &str, cookie: &str, meanwhile: impl FnOnce()) -> String {
        let mut client = TcpStream::connect(self.server.address()).unwrap();
        let (line, fields, first, rest) = match how {
            Late::Body => (format!("POST /?{query}"), "Content-Length: 4\r\n", "ab", "cd"),
            Late::Chunks => (format!("POST /?{query}"), "Transfer-Encoding: chunked\r\n", "2\r\nab\r\n", "0\r\n\r\n"),
            Late::Wait => (format!("GET /wait?{query}"), "", "", ""),
        };
        let head =
            format!("{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: {cookie}\r\n{fields}\r\n{first}");
        client.write_all(head.as_bytes()).unwrap();
        self.begun.recv().unwrap();
        meanwhile();
        client.write_all(rest.as_bytes()).unwrap();
        self.signal.notify();
        let mut response = String::new();
        client.read_to_string(&mut response).unwrap();
        response
    }
}

/// A request whose user has logged out, or whose session got a new id, is not handled for that user any more.
#[test]
fn a_session_that_has_ended_is_not_used() {
    let server = Server::new(app(), Sessions::new(MemorySessions::new()));
    for how in [Late::Body, Late::Chunks, Late::Wait] {
        for (target, continues) in MEANWHILE {
            for user in ["", "in=ada&"] {
                let cookie = cookie_of(&server.get(&format!("/?{user}a=1"))).unwrap();
                let response = server.late(how, "user&get=a&get=z&b=2", &cookie, || {
                    assert_eq!(server.ask(target, &cookie).status(), 200);
                });
                let case = format!("{how:?}, {target}, user {user:?}: {response}");
                let shown = response.split_once("\r\n\r\n").unwrap().1;
                let z = if target == "/?z=1" { "1" } else { "none" };
                match (user, continues) {
                    ("", true) => assert_eq!(shown, format!("None None, 1, {z}"), "{case}"),
                    ("", false) if target == "/?out" => assert_eq!(shown, "None None, none, none", "{case}"),
                    ("", false) => assert_eq!(shown, "None None, 1, none", "{case}"), // values only
                    (_, true) => assert!(shown.contains("\"ada\"") && shown.ends_with(&format!("1, {z}")), "{case}"),
                    (_, false) => assert!(response.starts_with("HTTP/1.1 403 ") && !shown.contains("ada"), "{case}"),
                }
            }
        }
    }
}

/// A change of a request that began before its session got a new id is stored in the session.
#[test]
fn changes_beside_a_new_id_are_kept() {
    let server = Server::new(app(), Sessions::new(MemorySessions::new()));
    for how in [Late::Body, Late::Chunks, Late::Wait] {
        for twice in [false, true] {
            for target in ["/?renew&c=3", "/?in=eve&c=3"] {
                let old = cookie_of(&server.get("/?a=1")).unwrap();
                let mut new = String::new();
                let response = server.late(how, "b=2&flash=hello", &old, || {
                    new = cookie_of(&server.ask(target, &old)).unwrap();
                    if twice {
                        new = cookie_of(&server.ask("/?renew", &new)).unwrap();
                    }
                });
                assert!(response.starts_with("HTTP/1.1 200 ") && !response.contains("Set-Cookie"), "{response}");
                let shown = server.ask("/?get=a&get=b&get=c&flashes", &new);
                let calls = if matches!(how, Late::Wait) { ", hello" } else { "" }; // its handler is called twice
                assert_eq!(shown.text(), format!("1, 2, 3, hello{calls}"), "{how:?}, {target}, twice: {twice}");
                assert_eq!(server.ask("/?get=a", &old).text(), "none", "the old id is of no use");
            }
        }
    }
}

/// A login that was sent twice keeps the values of the session, also in the second response. It gets no values that the
/// first login has added.
#[test]
fn a_login_sent_twice_keeps_the_values() {
    let server = Server::new(app(), Sessions::new(MemorySessions::new()));
    for how in [Late::Body, Late::Chunks, Late::Wait] {
        let old = cookie_of(&server.get("/?cart=1")).unwrap();
        let response = server.late(how, "in=ada", &old, || {
            assert!(cookie_of(&server.ask("/?in=eve&secret=x", &old)).is_some());
        });
        let cookie = response.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).expect(&response);
        let shown = server.ask("/?get=cart&get=secret&user", cookie.split(';').next().unwrap());
        assert!(shown.text().starts_with("1, none, Some(User { name: \"ada\""), "{shown:?}");
    }
}

/// Two pages have one token, also across a new id. A login makes another.
#[test]
fn pages_at_the_same_time_have_one_token() {
    let server = Server::new(app().layer(Csrf::new()), Sessions::new(MemorySessions::new()));
    let cookie = cookie_of(&server.get("/?a=1")).unwrap();
    let token = || server.ask("/?token", &cookie).text().to_owned();
    let tokens: Vec<String> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(token)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    let post = |cookie: &str| {
        let request = TestRequest::new(Method::POST, "/?b=2").with_header("cookie", cookie);
        server.server.send(request.with_header("x-csrf-token", &tokens[0])).status().as_u16()
    };
    assert_eq!(post(&cookie), 200);
    let renewed = cookie_of(&server.ask("/?renew", &cookie)).unwrap();
    assert_eq!((post(&renewed), server.ask("/?token", &renewed).text()), (200, &*tokens[0]));
    let logged_in = cookie_of(&server.ask("/?in=ada&token", &renewed)).unwrap();
    assert_eq!(post(&logged_in), 403);
    assert_ne!(server.ask("/?token", &logged_in).text(), tokens[0]);
}

/// Messages are taken by the response that shows them.
#[test]
fn messages_stay_until_a_page_shows_them() {
    let server = Server::new(app(), Sessions::new(MemorySessions::new()));
    let cookie = cookie_of(&server.get("/?flash=one&flash=two")).unwrap();
    let head = server.server.send(TestRequest::new(Method::HEAD, "/?flashes").with_header("cookie", &cookie));
    assert_eq!(head.status(), 200);
    let response = server.late(Late::Wait, "flashes", &cookie, || {
        assert_eq!(server.ask("/?flash=three", &cookie).status(), 200);
    });
    assert!(response.ends_with("\r\n\r\none, two, three"), "{response}");
    assert_eq!(server.ask("/?flashes", &cookie).text(), "");
    let cookie = cookie_of(&server.get("/?flash=one")).unwrap();
    let response = server.late(Late::Body, "flashes", &cookie, || {});
    assert!(response.ends_with("\r\n\r\none"), "{response}");
}
