//! Ready layers, as connections meet them.

use std::time::Duration;

use modest::layers::Timeout;
use modest::{Http, RequestHandler, Response, handler_fn};

use crate::peer::Peer;

/// The clock on the wall shows a day years ago here: it was set meanwhile, as clocks are.
#[test]
fn a_clock_that_is_set_makes_no_request_late() {
    let hello = handler_fn(|request| Ok(Response::text(format!("{}", request.elapsed() < Duration::from_secs(60)))));
    let mut peer = Peer::new(&Http::new(hello.layer(Timeout::new(Duration::from_secs(60)))));
    peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(peer.text().starts_with("HTTP/1.1 200 ") && peer.text().ends_with("true"), "{}", peer.text());
}
