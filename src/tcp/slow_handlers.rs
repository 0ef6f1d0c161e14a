//! Handlers that run for long, and what they were called for: said in the log while they run.
//! Each worker writes down what its handler is called for; the worker that polls looks, about once in the limit.
//! It costs a request one lock that nobody else holds and a copy of its name, and an idle server nothing.

use std::time::{Duration, Instant};

use super::client::Client;
use super::sync::{self, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};

/// What all workers have in their handlers.
pub struct SlowHandlers {
    limit: Option<Duration>,
    beginning: Instant,
    workers: Vec<CurrentHandler>,
    next_look: AtomicU64, // in ns since the beginning
}

/// What one worker has in its handler. On cache lines of its own, as it is written with each request.
#[repr(align(128))]
pub struct CurrentHandler {
    beginning: Option<Instant>, // `None`: nobody wants to know
    since: AtomicU64, // in ns since the beginning; 0: no handler runs; changed to a handler's time under the lock
    told: AtomicU64,  // the `since` of the last handler that the log was told of
    name: Mutex<Name>,
}

#[derive(Default)]
struct Name {
    what: String,
    client: Option<Client>,
}

/// So much of a name is kept.
const LONGEST_NAME: usize = 200;
/// However short the limit is, nobody looks more often.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

impl CurrentHandler {
    /// A handler begins, for this client.
    pub fn begin(&self, what: &str, client: &Client, now: Instant) {
        let Some(beginning) = self.beginning else { return };
        let mut name = self.name();
        name.what.clear();
        name.what.push_str(beginning_of(what));
        name.client = Some(client.clone());
        self.since.store(nanos(now.saturating_duration_since(beginning)).max(1), Ordering::Relaxed);
    }

    /// No handler runs any more.
    pub fn end(&self) {
        if self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    fn name(&self) -> MutexGuard<'_, Name> {
        self.name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlowHandlers {
    /// `limit`: from when on the log is told of a handler.
    pub fn new(limit: Option<Duration>, workers: usize) -> SlowHandlers {
        let beginning = sync::now();
        let current = || CurrentHandler {
            beginning: limit.map(|_| beginning),
            since: AtomicU64::new(0),
            told: AtomicU64::new(0),
            name: Mutex::default(),
        };
        let workers = (0..workers).map(|_| current()).collect();
        SlowHandlers { limit, beginning, workers, next_look: AtomicU64::new(0) }
    }

    /// The current of one worker.
    pub fn current(&self, worker: usize) -> &CurrentHandler {
        &self.workers[worker]
    }

    /// When to look next, at the latest. A handler that begins from now on is not slow before.
    pub fn next_look(&self) -> Option<Instant> {
        self.limit?;
        Some(self.beginning + Duration::from_nanos(self.next_look.load(Ordering::Relaxed)))
    }

    /// Look, if it is time to: what the log is to be told of handlers that have become slow, once of each.
    /// To be called by one worker at a time: the one that holds the poller.
    pub fn look(&self, now: Instant) -> Vec<String> {
        let Some(limit) = self.limit else { return Vec::new() };
        let elapsed = nanos(now.saturating_duration_since(self.beginning));
        if elapsed < self.next_look.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut slow = Vec::new();
        let mut next = elapsed.saturating_add(nanos(limit));
        for current in &self.workers {
            let since = current.since.load(Ordering::Relaxed);
            if since == 0 || since == current.told.load(Ordering::Relaxed) {
                continue;
            }
            let due = since.saturating_add(nanos(limit));
            if due > elapsed {
                next = next.min(due);
                continue;
            }
            let name = current.name();
            if current.since.load(Ordering::Relaxed) == since
                && let Some(client) = &name.client
            {
                current.told.store(since, Ordering::Relaxed);
                let time = Duration::from_nanos(elapsed - since).as_secs_f64();
                let what = name.what.escape_debug();
                slow.push(format!("{what} from {client} has been in its handler for {time:.1} s"));
            }
        }
        self.next_look.store(next.max(elapsed + nanos(BETWEEN_LOOKS)), Ordering::Relaxed);
        slow
    }
}

fn beginning_of(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn each_slow_handler_is_told_of_once_and_in_time() {
        let slow = SlowHandlers::new(Some(LIMIT), 2);
        let client = Client::new("1.2.3.4:5".parse::<SocketAddr>().unwrap());
        let start = slow.beginning;
        assert!(slow.look(start).is_empty());
        slow.current(1).begin("GET /x HTTP/1.1", &client, start + LIMIT / 2);
        assert!(slow.look(slow.next_look().unwrap()).is_empty());
        let due = slow.next_look().unwrap();
        assert_eq!(due, start + LIMIT / 2 + LIMIT, "the next look is when it becomes slow");
        assert_eq!(slow.look(due), ["GET /x HTTP/1.1 from 1.2.3.4:5 has been in its handler for 10.0 s"]);
        assert!(slow.look(due + LIMIT).is_empty());
        slow.current(1).end();
        slow.current(1).begin("GET /y HTTP/1.1", &client, due + LIMIT);
        assert_eq!(slow.look(due + 5 * LIMIT).len(), 1);
    }

    #[test]
    fn a_name_is_bounded_and_has_no_control_characters() {
        let slow = SlowHandlers::new(Some(LIMIT), 1);
        let client = Client::new("1.2.3.4:5".parse::<SocketAddr>().unwrap());
        slow.current(0).begin(&"\nä".repeat(1000), &client, slow.beginning);
        let told = slow.look(slow.beginning + 2 * LIMIT).pop().unwrap();
        assert!(told.starts_with("\\nä\\nä") && told.len() < 2 * LONGEST_NAME && !told.contains('\n'), "{told:?}");
        assert!(slow.current(0).name().what.capacity() <= 2 * LONGEST_NAME);
    }

    #[test]
    fn a_limit_without_end_and_none() {
        let slow = SlowHandlers::new(Some(Duration::MAX), 1);
        assert!(slow.look(slow.beginning).is_empty() && slow.next_look().unwrap() > slow.beginning + LIMIT);
        assert_eq!(SlowHandlers::new(None, 1).next_look(), None);
    }
}
