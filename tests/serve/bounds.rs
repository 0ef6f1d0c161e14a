//! Limits to what one client may have of a server.

use std::io::Read;

use modest::{Response, answer};

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
