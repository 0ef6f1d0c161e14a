//! Logs handlers that run for a long time, with their requests, while they run. Each worker records the request that
//! its handler is called for. The worker that polls checks these records about once per limit. The cost is one
//! uncontended lock and a copy of the name per request, and nothing for an idle server.

use std::sync::Arc;
use std::time::Duration;

use super::client::Client;
use super::sync::{AtomicBool, Instant, Mutex, Ordering, lock};

/// The current requests of all workers.
pub struct SlowHandlers {
    limit: Option<Duration>,
    workers: Vec<CurrentHandler>,
}

/// The current request of one worker. On its own cache lines, because it is written with each request.
#[repr(align(128))]
pub struct CurrentHandler {
    is_used: bool,                 // whether there is a limit
    running: AtomicBool,           // only a hint, because it is read without the lock
    pub is_freed: Arc<AtomicBool>, // the exiting server has ended its wait for a client
    handler: Mutex<Option<Handler>>,
}

struct Handler {
    what: Vec<u8>,
    client: Client,
    since: Instant,
    is_logged: bool,
}

/// How many bytes of the name are kept.
const LONGEST_NAME: usize = 200;
/// The shortest time between checks, even for a shorter limit.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

impl CurrentHandler {
    /// Records that a handler begins, for this client.
    pub fn begin(&self, what: &[u8], client: &Client, now: Instant) {
        if !self.is_used {
            return;
        }
        let what = &what[..what.len().min(LONGEST_NAME)];
        match &mut *lock(&self.handler) {
            Some(handler) => {
                handler.is_logged &= handler.since == now; // all calls in one turn count as one request
                handler.what.clear();
                handler.what.extend_from_slice(what);
                handler.client = client.clone();
                handler.since = now;
            }
            none => *none = Some(Handler { what: what.to_vec(), client: client.clone(), since: now, is_logged: false }),
        }
        self.running.store(true, Ordering::Relaxed);
    }

    pub fn end(&self) {
        if self.running.load(Ordering::Relaxed) {
            self.running.store(false, Ordering::Relaxed);
        }
    }

    pub fn what(&self) -> Option<String> {
        let is_running = self.running.load(Ordering::Relaxed);
        lock(&self.handler).as_ref().filter(|_| is_running).map(Handler::what)
    }
}

impl SlowHandlers {
    /// Creates the records. `limit`: after how long a handler is logged.
    pub fn new(limit: Option<Duration>, workers: usize) -> SlowHandlers {
        let current = || CurrentHandler {
            is_used: limit.is_some(),
            running: AtomicBool::new(false),
            is_freed: Arc::default(),
            handler: Mutex::default(),
        };
        SlowHandlers { limit, workers: (0..workers).map(|_| current()).collect() }
    }

    pub fn current(&self, worker: usize) -> &CurrentHandler {
        &self.workers[worker]
    }

    /// Checks all workers. Returns the messages about handlers that have become slow, once each, and when to check
    /// again (`None`: never). No handler that begins from now on can be slow before that time.
    pub fn look(&self, now: Instant) -> (Vec<String>, Option<Instant>) {
        let mut slow = Vec::new();
        let Some(limit) = self.limit else { return (slow, None) };
        let mut next = now.checked_add(limit);
        for current in self.workers.iter().filter(|current| current.running.load(Ordering::Relaxed)) {
            let mut handler = lock(&current.handler);
            let Some(handler) = handler.as_mut().filter(|handler| !handler.is_logged) else { continue };
            match handler.since.checked_add(limit) {
                Some(due) if due <= now => {
                    handler.is_logged = true;
                    slow.push(handler.describe(now));
                }
                due => next = due.into_iter().chain(next).min(),
            }
        }
        (slow, next.map(|next| next.max(now + BETWEEN_LOOKS)))
    }

    /// Returns a message about each handler that has not ended.
    pub fn running(&self, now: Instant) -> Vec<String> {
        let running = self.workers.iter().filter(|current| current.running.load(Ordering::Relaxed));
        running.filter_map(|current| Some(lock(&current.handler).as_ref()?.describe(now))).collect()
    }
}

impl Handler {
    fn describe(&self, now: Instant) -> String {
        let time = now.saturating_duration_since(self.since).as_secs_f64();
        format!("{} from {} has been in its handler for {time:.1} s", self.what(), self.client)
    }

    fn what(&self) -> String {
        String::from_utf8_lossy(&self.what).escape_debug().to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn client() -> Client {
        Client::new(SocketAddr::from(([1, 2, 3, 4], 5)))
    }

    #[test]
    fn each_slow_handler_is_reported_once_and_in_time() {
        let slow = SlowHandlers::new(Some(LIMIT), 2);
        let start = Instant::SOME;
        let (told, next) = slow.look(start);
        assert_eq!((told.len(), next), (0, Some(start + LIMIT)));
        slow.current(1).begin(b"GET /x HTTP/1.1", &client(), start + LIMIT / 2);
        let (told, next) = slow.look(start + LIMIT);
        assert_eq!(
            (told.len(), next),
            (0, Some(start + LIMIT / 2 + LIMIT)),
            "the next check is when the second handler becomes slow"
        );
        let due = next.unwrap();
        let (told, next) = slow.look(due);
        assert_eq!(told, ["GET /x HTTP/1.1 from 1.2.3.4:5 has been in its handler for 10.0 s"]);
        assert_eq!(next, Some(due + LIMIT));
        assert_eq!(slow.look(due + LIMIT).0.len(), 0);
        slow.current(1).end();
        slow.current(1).begin(b"GET /y HTTP/1.1", &client(), due + LIMIT);
        assert_eq!(slow.look(due + 5 * LIMIT).0.len(), 1);
    }

    #[test]
    fn a_name_is_bounded_and_has_no_control_characters() {
        let slow = SlowHandlers::new(Some(LIMIT), 1);
        let now = Instant::SOME;
        slow.current(0).begin("\nä".repeat(1000).as_bytes(), &client(), now);
        let told = slow.look(now + LIMIT).0.pop().unwrap();
        assert!(told.starts_with("\\nä\\nä") && told.len() < 2 * LONGEST_NAME && !told.contains('\n'), "{told:?}");
    }

    #[test]
    fn unlimited_and_disabled_limits_report_nothing() {
        for limit in [Some(Duration::MAX), None] {
            let slow = SlowHandlers::new(limit, 1);
            slow.current(0).begin(b"GET / HTTP/1.1", &client(), Instant::SOME);
            assert_eq!(slow.look(Instant::SOME), (Vec::new(), None));
        }
    }
}
