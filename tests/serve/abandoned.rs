//! Long polls whose clients have disconnected: the handler can notice this, and frees its worker.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use modest::{Request, RequestHandler, Response, Result};

use crate::server::{Client, Gate, PATIENCE, eventually, get, serve};

/// `/poll` waits until its client disconnects, or until a long time has passed; everything else gets a response at once.
#[derive(Clone, Default)]
struct App {
    waiting: Arc<AtomicUsize>,
    took: Arc<Mutex<Vec<Duration>>>, // from the disconnect until the handler noticed it
    left: Arc<Mutex<Option<Instant>>>,
    go_on: Gate,
}

impl RequestHandler for App {
    fn do_get(&self, request: &Request) -> Result<Response> {
        match request.path() {
            "/poll" => {
                self.waiting.fetch_add(1, SeqCst);
                let start = Instant::now();
                while !request.client_is_gone() && start.elapsed() < PATIENCE {
                    thread::sleep(Duration::from_millis(1)); // as a long poll would, between two checks
                }
                let left = self.left.lock().unwrap().expect("the client counted as gone before it left");
                self.took.lock().unwrap().push(left.elapsed());
            }
            "/still" => {
                self.go_on.pass();
                return Ok(Response::text(format!("gone: {}", request.client_is_gone())));
            }
            _ => {}
        }
        Ok(Response::text("here"))
    }
}

#[test]
fn handlers_notice_disconnects_and_the_next_client_is_served() {
    let app = App::default();
    let server = serve(app.clone(), |server| server.workers(4));
    let mut polls = Vec::from_iter((0..4).map(|_| server.client()));
    for (earlier, client) in polls.iter_mut().enumerate() {
        (0..earlier).for_each(|_| assert!(client.send(get("/")).answer().is_ok(), "a request before the poll"));
        client.send(get("/poll"));
    }
    eventually("four handlers wait", || app.waiting.load(SeqCst) == 4);
    let mut fifth = server.client();
    fifth.send(get("/"));
    server.wait_for("the fifth waits for one of them", |stats| stats.waiting == 1);
    *app.left.lock().unwrap() = Some(Instant::now());
    drop(polls);
    let answer = fifth.answer();
    assert!(matches!(&answer, Ok(answer) if answer.ends_with("here")), "the fifth: {answer:?}");
    eventually("all four handlers are done", || app.took.lock().unwrap().len() == 4);
    let took = app.took.lock().unwrap().clone();
    assert!(took.iter().all(|took| *took < PATIENCE / 4), "noticed after {took:?}");
}

#[test]
fn waiting_and_pipelining_clients_do_not_count_as_gone() {
    let app = App::default();
    let server = serve(app.clone(), |server| server.workers(4));
    let _end = app.go_on.opened_at_end();
    let mut patient = server.client();
    patient.send(get("/still"));
    let mut pipelining: Client = server.client();
    pipelining.send(get("/still")).send(get("/"));
    app.go_on.wait_for_arrivals(2);
    app.go_on.open();
    for client in [&mut patient, &mut pipelining] {
        let answer = client.answer();
        assert!(matches!(&answer, Ok(answer) if answer.ends_with("gone: false")), "{answer:?}");
    }
}
