//! One handler of files in two servers: neither gets a stale result of the other.

use std::fs;
use std::sync::Arc;

use modest::{Request, RequestHandler, Response, Result, StaticFileHandler};

use crate::server::{Client, Running, get, serve};

struct Site(Arc<StaticFileHandler>);

impl RequestHandler for Site {
    fn do_get(&self, request: &Request) -> Result<Response> {
        self.0.do_get(request)
    }
}

/// Requests the file. The connection is parked before, so that a poll finds the request.
#[track_caller]
fn fetch((server, client): &mut (Running, Client)) -> String {
    server.wait_for("it rests", |stats| stats.parked == 1);
    client.fetch(get("/file"))
}

#[test]
fn a_changed_file_is_never_served_with_old_content() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "0").unwrap();
    let files = Arc::new(StaticFileHandler::new(folder.path()).unwrap());
    let mut servers = [(); 2].map(|()| {
        let server = serve(Site(files.clone()), |server| server.workers(2));
        let client = server.client();
        (server, client)
    });
    for round in 0..20 {
        let [one, other] = &mut servers;
        let (one, other) = if round % 2 == 0 { (one, other) } else { (other, one) };
        let (old, new) = (format!("old of round {round}"), format!("new of round {round}"));
        fs::write(&file, &old).unwrap();
        // A file that has just changed is not cached and has no validators. Until it has, nothing can be stale.
        while !fetch(one).contains("\r\nETag: ") {}
        for _ in 0..1 + 7 * round {
            assert!(fetch(one).ends_with(&old), "round {round}: the file was not changed");
        }
        fs::write(&file, &new).unwrap();
        let answer = fetch(other);
        assert!(
            answer.ends_with(&new),
            "round {round}: the file held {old:?} when one server was asked, and {new:?} before the other was, \
             which answered {answer:?}"
        );
    }
}
