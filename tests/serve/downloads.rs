//! Files that are sent while all handlers are stuck: a stretch of a file needs no handler's permit.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use modest::raw::Raw;
use modest::{Request, RequestHandler, Response, Result, StaticFileHandler, TcpServer};

use crate::script::Script;
use crate::server::{Client, Gate, PATIENCE, get, serve};

/// More than the kernel takes for a client that does not read yet.
const SIZE: usize = 30_000_000;

/// Two handlers at once, and whoever waits for one is refused soon.
fn two_handlers(server: TcpServer) -> TcpServer {
    server.workers(2).queue_limit(16).queue_timeout(Duration::from_millis(200)).shutdown_timeout(PATIENCE)
}

/// The rest of a download, of so many bytes and a head that may have been read.
#[track_caller]
fn finish(what: &str, mut client: Client, size: usize) {
    let (came, end) = client.read_to_any_end();
    assert!(
        end.is_none() && came.len() >= size,
        "{what}, while both handlers are stuck: {} bytes came of {size}, and then {end:?} (None: FIN)",
        came.len()
    );
}

#[test]
fn a_part_of_a_file_is_sent_while_all_handlers_are_stuck() {
    let script = Script::default();
    let server = serve(Raw(script.clone()), two_handlers);
    let mut begun = server.client();
    begun.ask(format!("file {SIZE} {SIZE}\nbye\n"), "head:f");
    let mut stuck = [server.client(), server.client()];
    stuck.iter_mut().for_each(|client| {
        client.send("block gate\n");
    });
    server.wait_for("both handlers are stuck", |stats| stats.running >= 2 && stats.parked >= 1);
    let mut new = server.client();
    new.ask(format!("file {SIZE} {SIZE}\nbye\n"), "head:f");
    let threads = std::thread::spawn(move || finish("begun before", begun, SIZE - 1));
    finish("begun afterwards", new, SIZE - 1);
    threads.join().expect("the one that was begun before");
    script.open("gate");
    stuck.iter_mut().for_each(|client| {
        client.expect("done\n");
    });
}

#[test]
fn a_download_that_was_begun_is_finished_while_all_handlers_are_stuck() {
    struct Site(StaticFileHandler, Gate);
    impl RequestHandler for Site {
        fn do_get(&self, request: &Request) -> Result<Response> {
            if request.path() == "/stuck" {
                self.1.pass();
            }
            self.0.do_get(request)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("large")).unwrap().write_all(&vec![b'f'; SIZE]).unwrap();
    File::create(folder.path().join("stuck")).unwrap();
    let gate = Gate::default();
    let site = Site(StaticFileHandler::new(folder.path()).unwrap(), gate.clone());
    let server = serve(site, two_handlers);
    let _end = gate.opened_at_end();
    let mut client = server.client();
    client.ask("GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    let mut stuck = [server.client(), server.client()];
    stuck.iter_mut().for_each(|client| {
        client.send(get("/stuck"));
    });
    gate.wait_for_arrivals(2);
    finish("a download", client, SIZE);
}
