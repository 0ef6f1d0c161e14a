//! One reading for all requests that wait for the same data. Called by `listing`.
//!
//! A request that arrives while a folder is being read waits, because that reading may have missed a change made before
//! the request. When the reading ends, one of the waiting requests reads again. Its result serves all of them, because
//! they arrived before it began. So any number of simultaneous requests cost two readings. A later request costs
//! another one.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Instant;

use super::super::open::OpenError;
use crate::mutex::{lock, wait};

/// Readings by key.
#[derive(Debug)]
pub(super) struct Flights<T>(Mutex<HashMap<Vec<u8>, Arc<Flight<T>>>>);

/// The readings of one key. No lock is held while reading. A mutex is not fair: a request that could use the reading
/// that just ended might wait for the next reading instead.
#[derive(Debug)]
struct Flight<T> {
    state: Mutex<State<T>>,
    /// A reading ended, successful or not.
    ended: Condvar,
}

#[derive(Debug)]
struct State<T> {
    reading: bool,
    /// When the latest successful reading began.
    began: Option<Instant>,
    /// The result of that reading, while it is in use.
    latest: Weak<T>,
    /// The same result, kept while requests wait.
    kept: Option<Arc<T>>,
}

/// The right to read, released when dropped.
struct Reading<'a, T>(&'a Flight<T>);

impl<T> Default for Flights<T> {
    fn default() -> Flights<T> {
        Flights(Mutex::new(HashMap::new()))
    }
}

impl<T> Flights<T> {
    /// Returns the result of `read`, or the result of another request's reading that began after this request arrived.
    /// A request arrives when its poll returns; a request without a poll arrives now. If an equal result is still in
    /// use, it is returned and the new one is dropped.
    pub fn join(
        &self,
        key: &[u8],
        polled: Option<Instant>,
        read: impl FnOnce() -> Result<T, OpenError>,
        same: impl FnOnce(&T, &T) -> bool,
    ) -> Result<Arc<T>, OpenError> {
        let asked = polled.unwrap_or_else(Instant::now);
        let flight = self.enter(key);
        let result = match flight.served_or_reading(asked) {
            Ok(latest) => Ok(latest),
            Err(reading) => reading.read(read, same),
        };
        self.leave(&flight);
        result
    }

    fn enter(&self, key: &[u8]) -> Arc<Flight<T>> {
        let mut flights = lock(&self.0);
        flights.retain(|_, flight| Arc::strong_count(flight) > 1 || lock(&flight.state).latest.strong_count() > 0);
        if let Some(flight) = flights.get(key) {
            return Arc::clone(flight);
        }
        let state = State { reading: false, began: None, latest: Weak::new(), kept: None };
        let flight = Arc::new(Flight { state: Mutex::new(state), ended: Condvar::new() });
        flights.insert(key.to_vec(), Arc::clone(&flight));
        flight
    }

    /// Leaves the flight, which the last request removes. The result stays in memory while it is sent.
    fn leave(&self, flight: &Arc<Flight<T>>) {
        let flights = lock(&self.0); // no other request can enter
        let is_last = Arc::strong_count(flight) == 2; // the references of the map and of this call
        let kept = if is_last { lock(&flight.state).kept.take() } else { None };
        drop(flights);
        drop(kept); // may take megabytes to free: not under the lock
    }
}

impl<T> Flight<T> {
    /// Returns the result of a reading that began since, or the right to begin one.
    fn served_or_reading(&self, asked: Instant) -> Result<Arc<T>, Reading<'_, T>> {
        let mut state = lock(&self.state);
        loop {
            let is_fresh = state.began.is_some_and(|began| began >= asked);
            if is_fresh && let Some(latest) = state.latest.upgrade() {
                return Ok(latest);
            }
            if !state.reading {
                state.reading = true;
                return Err(Reading(self));
            }
            state = wait(&self.ended, state, None);
        }
    }
}

impl<T> Reading<'_, T> {
    fn read(
        self,
        read: impl FnOnce() -> Result<T, OpenError>,
        same: impl FnOnce(&T, &T) -> bool,
    ) -> Result<Arc<T>, OpenError> {
        let began = Instant::now();
        let new = read();
        let latest = lock(&self.0.state).latest.upgrade();
        let new = match (new, &latest) {
            (Ok(new), _) => new,
            // The result in use may be older than the request, but it is better than none.
            (Err(OpenError::TooManyListings(_)), Some(latest)) => return Ok(Arc::clone(latest)),
            (Err(error), _) => return Err(error),
        };
        let result = latest.filter(|latest| same(latest, &new)).unwrap_or_else(|| Arc::new(new));
        let mut state = lock(&self.0.state);
        (state.began, state.latest) = (Some(began), Arc::downgrade(&result));
        let before = state.kept.replace(Arc::clone(&result));
        drop(state);
        drop(before);
        Ok(result)
    }
}

impl<T> Drop for Reading<'_, T> {
    fn drop(&mut self) {
        lock(&self.0.state).reading = false;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_budget_shares_the_result_in_use() {
        let flights = Flights::default();
        let full = || Err(OpenError::TooManyListings(std::io::Error::other("full")));
        let join = |read: Result<usize, OpenError>| flights.join(b"a", None, || read, |_, _| false);
        let first = join(Ok(1)).unwrap();
        assert!(Arc::ptr_eq(&first, &join(full()).unwrap()));
        let second = join(Ok(2)).unwrap();
        assert!(
            Arc::ptr_eq(&second, &join(full()).unwrap()),
            "without memory for another listing, the latest one in use is shared"
        );
        drop((first, second));
        assert!(join(full()).is_err(), "without memory and without a listing in use, the error is returned");
    }

    /// Returns how many requests have entered the flight of a key.
    fn inside(flights: &Flights<usize>, key: &[u8]) -> usize {
        lock(&flights.0).get(key).map_or(0, |flight| Arc::strong_count(flight) - 1)
    }

    #[test]
    fn forty_simultaneous_requests_cost_two_reads() {
        let (flights, readings) = (Flights::default(), AtomicUsize::new(0));
        let read = || {
            if readings.fetch_add(1, SeqCst) == 0 {
                while inside(&flights, b"a") < 40 {
                    thread::yield_now(); // until all of them wait
                }
            }
            Ok(readings.load(SeqCst))
        };
        let got: Vec<usize> = thread::scope(|scope| {
            let ask = |is_first: bool| {
                while !is_first && readings.load(SeqCst) == 0 {
                    thread::yield_now(); // requests from before the first reading are served by it
                }
                let asked = Instant::now();
                *flights.join(b"a", Some(asked), read, |_, _| false).unwrap()
            };
            let asking: Vec<_> = (0..40).map(|number| scope.spawn(move || ask(number == 0))).collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(readings.load(SeqCst), 2, "{got:?}");
        assert_eq!(
            got.iter().filter(|&&number| number == 1).count(),
            1,
            "only the first request gets the first result: {got:?}"
        );
        assert_eq!(inside(&flights, b"a"), 0);
    }

    /// A request from before a reading began gets its result when it ends, even if another request has begun the next
    /// reading.
    #[test]
    fn a_request_does_not_wait_for_the_next_read() {
        let flights = Flights::default();
        let before = Instant::now();
        let flight = flights.enter(b"a"); // a request waits, so that results are kept
        assert_eq!(*flights.join(b"a", None, || Ok(1), |_, _| false).unwrap(), 1);
        let (served, is_served) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let flights = &flights;
            let second = || {
                // While this request reads, one that began before the first reading waits.
                scope.spawn(move || {
                    let first = flights.join(b"a", Some(before), || Err(OpenError::NotFound), |_, _| false);
                    served.send(first).unwrap();
                });
                Ok(is_served.recv_timeout(Duration::from_secs(10)).map_or(0, |first| *first.unwrap()))
            };
            assert_eq!(
                *flights.join(b"a", None, second, |_, _| false).unwrap(),
                1,
                "0: the earlier request waited for the second read"
            );
        });
        flights.leave(&flight);
    }

    #[test]
    fn a_read_serves_requests_made_before_it_began() {
        let flights = Flights::default();
        let join = |asked| *flights.join(b"a", Some(asked), || Ok(Instant::now()), |_, _| false).unwrap();
        let before = Instant::now();
        let flight = flights.enter(b"a"); // a request waits, so that results are kept
        let first = join(before);
        assert_eq!(join(before), first, "a request from before the read gets its result");
        let later = join(first + Duration::from_nanos(1));
        assert!(later > first, "a request from after the read gets a new result");
        assert_eq!(join(before), later);
        flights.leave(&flight);
        drop(flight);
        assert!(join(before) > later, "without waiting callers no result is kept");
    }

    #[test]
    fn a_result_in_use_is_shared_and_no_other_is_kept() {
        let flights = Flights::default();
        let join = |key: &[u8], number: usize| {
            flights.join(key, None, || Ok((number, 0)), |one, other| one.0 == other.0).unwrap()
        };
        let before = Instant::now();
        let first = join(b"a", 1);
        assert!(Arc::ptr_eq(&first, &join(b"a", 1)), "requests for one key must share the result");
        let unread = || panic!("a result in use that is new enough was not shared");
        assert!(Arc::ptr_eq(&first, &flights.join(b"a", Some(before), unread, |_, _| false).unwrap()));
        assert!(!Arc::ptr_eq(&first, &join(b"b", 1)), "requests for different keys share a result");
        let second = join(b"a", 2);
        assert_eq!((first.0, second.0), (1, 2));
        assert_eq!((Arc::strong_count(&first), Arc::strong_count(&second)), (1, 1), "the flights keep nothing");
        drop((first, second));
        join(b"c", 1);
        assert_eq!(lock(&flights.0).len(), 1, "unused entries are removed");
    }

    #[test]
    fn a_failed_read_is_retried_by_the_next_request() {
        let flights = Flights::default();
        assert!(flights.join(b"a", None, || Err(OpenError::NotFound), |_: &usize, _| false).is_err());
        let panicked = thread::scope(|scope| {
            scope.spawn(|| flights.join(b"a", None, || panic!("for the test"), |_, _| false)).join()
        });
        assert!(panicked.is_err());
        assert_eq!(*flights.join(b"a", None, || Ok(1), |_, _| false).unwrap(), 1);
    }
}
