//! Uploads that go on where they broke off: what has come of each, for a while. Called by `resuming`.
//!
//! A part is kept in a file without a name, which this process holds open: so there are no more of them than are allowed, and
//! none is left when the process ends.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::super::new_file::{NewFile, Writer};

/// The uploads that are under way, by a key that tells them apart.
#[derive(Debug)]
pub(super) struct Partials {
    open: Mutex<HashMap<String, Arc<Partial>>>,
    most: usize,
    /// How long one is kept after its last byte.
    age: Duration,
}

/// What has come of a file.
#[derive(Debug)]
pub(super) struct Partial {
    pub file: Arc<NewFile>,
    /// The path that it is for.
    pub path: Vec<u8>,
    /// How long it will be, if that was said.
    pub length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Which request may write: the last one that asked.
    turn: u64,
    touched: Instant,
}

impl Partials {
    pub fn new(most: usize, age: Duration) -> Partials {
        Partials { open: Mutex::default(), most, age }
    }

    /// One more. `None`: there are as many as are allowed.
    pub fn begin(&self, key: String, partial: Partial) -> Option<Arc<Partial>> {
        let partial = Arc::new(partial);
        let (ended, is_full) = self.in_time(|open| {
            // What it takes the place of has come to its end.
            let ended = open.remove(&key);
            let is_full = open.len() >= self.most;
            if !is_full {
                open.insert(key, Arc::clone(&partial));
            }
            (ended, is_full)
        });
        if let Some(ended) = ended {
            ended.take_turn();
        }
        (!is_full).then_some(partial)
    }

    pub fn find(&self, key: &str) -> Option<Arc<Partial>> {
        self.in_time(|open| open.get(key).cloned())
    }

    /// It is whole, or not wanted any more: nobody writes to it now.
    pub fn end(&self, key: &str) -> bool {
        let ended = self.in_time(|open| open.remove(key));
        ended.map(|partial| partial.take_turn()).is_some()
    }

    /// Those that are still in time, with the lock. Files of others are closed when it is released: to give the room of a
    /// large one back takes the disk its time.
    fn in_time<T>(&self, with: impl FnOnce(&mut HashMap<String, Arc<Partial>>) -> T) -> T {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let late: Vec<_> = open.extract_if(|_, partial| !partial.is_in_time(now, self.age)).collect();
        let result = with(&mut open);
        drop(open);
        drop(late);
        result
    }
}

impl Partial {
    pub fn new(file: Arc<NewFile>, path: Vec<u8>, length: Option<u64>) -> Partial {
        Partial { file, path, length, state: Mutex::new(State { turn: 0, touched: Instant::now() }) }
    }

    /// How many bytes have come. From now on whoever wrote before does no longer.
    pub fn take_turn(&self) -> (u64, u64) {
        let mut state = self.state();
        state.turn += 1;
        state.touched = Instant::now();
        (self.file.written(), state.turn)
    }

    /// One that is written to just now, with the lock on its state, is.
    fn is_in_time(&self, now: Instant, age: Duration) -> bool {
        let touched = match self.state.try_lock() {
            Ok(state) => state.touched,
            Err(TryLockError::Poisoned(state)) => state.into_inner().touched,
            Err(TryLockError::WouldBlock) => return true,
        };
        now.saturating_duration_since(touched) < age
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes on, as long as no other request has taken over.
pub(super) struct Appender {
    pub partial: Arc<Partial>,
    pub turn: u64,
    pub to: Writer,
}

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.partial.state();
        if state.turn != self.turn {
            return Err(io::Error::other("another request goes on with this upload"));
        }
        state.touched = Instant::now();
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::new_file::Unnamed;
    use super::*;

    fn partial() -> Partial {
        let folder = std::fs::File::open(std::env::temp_dir()).unwrap().into();
        let file = NewFile::create(&folder, Unnamed::IfThereAre).unwrap();
        Partial::new(Arc::new(file), b"a".to_vec(), None)
    }

    #[test]
    fn so_many_and_so_long() {
        let partials = Partials::new(2, Duration::from_secs(3600));
        assert!(partials.begin("a".into(), partial()).is_some() && partials.begin("b".into(), partial()).is_some());
        assert!(partials.begin("c".into(), partial()).is_none(), "as many as are allowed");
        assert!(partials.begin("a".into(), partial()).is_some(), "in the place of another");
        assert!(partials.end("b") && !partials.end("b") && partials.find("b").is_none());
        assert!(partials.begin("c".into(), partial()).is_some());
        let brief = Partials::new(2, Duration::ZERO);
        assert!(brief.begin("a".into(), partial()).is_some() && brief.find("a").is_none(), "its time is over");
    }

    #[test]
    fn one_writes_at_a_time() {
        let partial = Arc::new(partial());
        let appender = || {
            let (offset, turn) = partial.take_turn();
            let to = Writer { to: Arc::clone(&partial.file), reserve: 0 };
            (offset, Appender { partial: Arc::clone(&partial), turn, to })
        };
        let (offset, mut first) = appender();
        first.write_all(b"one").unwrap();
        let (more, mut second) = appender();
        assert!(first.write_all(b"late").is_err());
        second.write_all(b"two").unwrap();
        assert_eq!((offset, more, partial.take_turn().0), (0, 3, 6));
    }
}
