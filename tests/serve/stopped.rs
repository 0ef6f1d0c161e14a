//! A process that was stopped for longer than its timeouts (SIGSTOP, the lid of a laptop) and continues.

use std::thread;
use std::time::Duration;

use modest::{Http, Response, TcpServer, handler_fn};
use rustix::process::{Pid, Signal, kill_process};

use crate::server::{Client, Process, serve_alone};

/// More than one poll returns.
const CLIENTS: usize = 1200;

fn server() -> TcpServer {
    let limit = Duration::from_secs(3);
    let app = handler_fn(|request| Ok(Response::text(format!("{} bytes", request.body().len()))));
    let http = Http::new(app).idle_timeout(limit).head_timeout(limit).body_timeout(limit).access_log(None);
    TcpServer::bind("127.0.0.1:0", http).unwrap()
}

#[test]
fn requests_received_while_the_process_is_stopped_are_served() {
    let test = "stopped::requests_received_while_the_process_is_stopped_are_served";
    let Some(process) = Process::of_test(test) else { return serve_alone(&server()) };
    let pid = Pid::from_child(&process.child);
    let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab";
    let mut clients: Vec<(Client, &str, &str)> = (0..CLIENTS)
        .map(|number| {
            let (before, then, wanted) =
                [("", whole, "0 bytes"), ("GET / HT", "TP/1.1\r\nHost: a\r\n\r\n", "0 bytes"), (post, "cd", "4 bytes")]
                    [number % 3];
            let mut client = Client::new(process.address);
            client.send(before);
            (client, then, wanted)
        })
        .collect();
    clients[0].0.fetch(whole); // all others have been accepted by then
    kill_process(pid, Signal::STOP).unwrap();
    clients.iter_mut().for_each(|(client, then, _)| {
        client.send(then);
    });
    thread::sleep(Duration::from_millis(3500)); // the time for which the process is stopped
    kill_process(pid, Signal::CONT).unwrap();
    for (number, (client, then, wanted)) in clients.iter_mut().enumerate() {
        let answer = client.answer();
        assert!(answer.as_ref().is_ok_and(|text| text.ends_with(*wanted)), "{number}, {then:?}: {answer:?}");
    }
}
