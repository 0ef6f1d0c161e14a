//! Limits to what one client may have of a server.

use std::io::Read;
use std::time::Duration;

use modest::{Http, Response, answer};

use crate::server::{Client, get, serve};

/// One that is asked for something and answered, or reset.
fn is_served(client: &mut Client) -> bool {
    use std::io::Write;
    let _ = client.stream.write_all(get("/").as_bytes());
    client.answer().is_ok_and(|answer| answer.ends_with("here"))
}

#[test]
fn an_address_has_only_so_many_connections() {
    let here = || answer(|_| Ok(Response::text("here")));
    let server = serve(here(), |server| server.max_per_address(3));
    let mut clients: Vec<Client> = (0..3).map(|_| server.client()).collect();
    assert!(clients.iter_mut().all(is_served));
    for refused in 1..=5 {
        let mut fourth = server.client();
        let end = fourth.stream.read(&mut [0]);
        assert!(!matches!(end, Ok(1..)) && !end.is_err_and(|err| err.kind() == std::io::ErrorKind::WouldBlock));
        server.wait_for("it is counted", |stats| stats.refused_per_address == refused);
    }
    assert!(clients.iter_mut().all(is_served), "those that were there stay");
    drop(clients.pop());
    server.wait_for("one is gone", |stats| stats.connections == 2);
    assert!(is_served(&mut server.client()), "its place is free again");
    assert_eq!(server.handle.stats().accepted, 4);
}

#[test]
fn a_connection_has_only_so_many_requests() {
    let http = Http::new(answer(|_| Ok(Response::text("here")))).max_requests(3);
    let server = serve(http, |server| server);
    let mut client = server.client();
    client.send([get("/1"), get("/2"), get("/3"), get("/4")].concat());
    for number in 1..=3 {
        let answer = client.answer().expect("an answer");
        assert_eq!(answer.contains("\r\nConnection: close\r\n"), number == 3, "{number}: {answer:?}");
    }
    client.expect_end();
}

#[test]
fn a_connection_that_has_grown_old_is_ended_with_its_next_answer() {
    let age = Duration::from_millis(300);
    let http = Http::new(answer(|_| Ok(Response::text("here")))).max_connection_age(age);
    let server = serve(http, |server| server);
    let mut client = server.client();
    let first = client.fetch(get("/"));
    assert!(!first.contains("Connection: close"), "{first:?}");
    std::thread::sleep(age); // the age is what is tried
    let last = client.fetch(get("/"));
    assert!(last.contains("\r\nConnection: close\r\n"), "{last:?}");
    client.expect_end();
}
