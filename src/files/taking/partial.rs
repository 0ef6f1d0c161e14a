//! Uploads that go on where they broke off: what has come of each, for a while. Called by `resuming`.
//!
//! A part is kept in a file without a name, which this process holds open: so there are no more of them than are allowed, and
//! none is left when the process ends.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::super::new_file::NewFile;
use super::shares::{Charged, Held, Owner};

/// The uploads that are under way, by a key that tells them apart.
#[derive(Debug)]
pub(super) struct Partials {
    open: Mutex<HashMap<Key, Arc<Partial>>>,
    most: usize,
    /// How long one is kept after its last byte.
    age: Duration,
}

/// What tells an upload from others: each request for it has the secret, so that no two senders write to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Drawn by the server, or by the client.
    pub secret: String,
    pub user: Option<String>,
    /// The path that it is for, beneath the root.
    pub path: Vec<u8>,
}

/// What has come of a file.
#[derive(Debug)]
pub(super) struct Partial {
    pub file: Arc<NewFile>,
    /// How long it will be, if that was said.
    pub length: Option<u64>,
    owner: Owner,
    /// Its room in the share of that owner.
    pub held: Arc<Held>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Which request may write: the last one that asked.
    turn: u64,
    touched: Instant,
    /// Nothing more comes of it: it is stored, or not wanted any more.
    is_over: bool,
}

impl Partials {
    pub fn new(most: usize, age: Duration) -> Partials {
        Partials { open: Mutex::default(), most, age }
    }

    /// One more. `None`: there are as many as are allowed, and nobody else has more of them than its owner would.
    pub fn begin(&self, key: Key, partial: Partial) -> Option<Arc<Partial>> {
        let partial = Arc::new(partial);
        let (ended, is_full) = self.in_time(|open| {
            // What it takes the place of has come to its end.
            let mut ended = open.remove(&key);
            if open.len() >= self.most
                && let Some(key) = least_missed(open, &partial.owner)
            {
                ended = open.remove(&key);
            }
            let is_full = open.len() >= self.most;
            if !is_full {
                open.insert(key, Arc::clone(&partial));
            }
            (ended, is_full)
        });
        ended.iter().for_each(|ended| ended.end());
        (!is_full).then_some(partial)
    }

    pub fn find(&self, key: &Key) -> Option<Arc<Partial>> {
        self.in_time(|open| open.get(key).cloned())
    }

    /// It is whole, and whoever has this turn stores it: nobody writes to it now. `false`: that turn is over.
    pub fn end(&self, key: &Key, partial: &Arc<Partial>, turn: u64) -> bool {
        let is_whole = partial.is_over_with(turn);
        if is_whole {
            let is_it = |open: &HashMap<Key, Arc<Partial>>| open.get(key).is_some_and(|at| Arc::ptr_eq(at, partial));
            self.in_time(|open| if is_it(open) { open.remove(key) } else { None });
        }
        is_whole
    }

    /// It is not wanted any more, if it is there: nobody writes to it now.
    pub fn drop_one(&self, key: &Key) {
        if let Some(partial) = self.in_time(|open| open.remove(key)) {
            partial.end();
        }
    }

    /// Those whose time is over.
    pub fn drop_late(&self) {
        self.in_time(|_| ());
    }

    /// Those that are still in time, with the lock. Files of others are closed when it is released: to give the room of a
    /// large one back takes the disk its time.
    fn in_time<T>(&self, with: impl FnOnce(&mut HashMap<Key, Arc<Partial>>) -> T) -> T {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let late: Vec<_> = open.extract_if(|_, partial| !partial.is_in_time(now, self.age)).collect();
        let result = with(&mut open);
        drop(open);
        drop(late);
        result
    }
}

/// Of whoever has most, and more than this owner would have with one more: the one that nothing has come of for longest. So
/// that nobody has all of them.
fn least_missed(open: &HashMap<Key, Arc<Partial>>, owner: &Owner) -> Option<Key> {
    let mut counts: HashMap<&Owner, usize> = HashMap::new();
    open.values().for_each(|partial| *counts.entry(&partial.owner).or_default() += 1);
    let own = counts.get(owner).copied().unwrap_or_default();
    let (most, _) = counts.into_iter().filter(|(_, count)| *count > own + 1).max_by_key(|(_, count)| *count)?;
    let theirs = open.iter().filter(|(_, partial)| partial.owner == *most);
    theirs.min_by_key(|(_, partial)| partial.touched().unwrap_or_else(Instant::now)).map(|(key, _)| key.clone())
}

impl Partial {
    pub fn new(file: Arc<NewFile>, length: Option<u64>, owner: Owner, held: Arc<Held>) -> Partial {
        Partial {
            file,
            length,
            owner,
            held,
            state: Mutex::new(State { turn: 0, touched: Instant::now(), is_over: false }),
        }
    }

    /// Nothing comes of it: an older request may still have it.
    fn end(&self) {
        let mut state = self.state();
        if !state.is_over {
            state.is_over = true;
            self.held.give_back();
        }
    }

    /// How many bytes have come. From now on whoever wrote before does no longer. `None`: nothing more comes of it.
    pub fn take_turn(&self) -> Option<(u64, u64)> {
        let mut state = self.state();
        if state.is_over {
            return None;
        }
        state.turn += 1;
        state.touched = Instant::now();
        Some((self.file.written(), state.turn))
    }

    /// Whoever has this turn takes it as it is. `false`: that turn is over.
    fn is_over_with(&self, turn: u64) -> bool {
        let mut state = self.state();
        let has_turn = state.has_turn(turn);
        state.is_over |= has_turn;
        has_turn
    }

    fn is_in_time(&self, now: Instant, age: Duration) -> bool {
        self.touched().is_none_or(|touched| now.saturating_duration_since(touched) < age)
    }

    /// When something came of it. `None`: just now, as it is being written to, with the lock on its state.
    fn touched(&self) -> Option<Instant> {
        match self.state.try_lock() {
            Ok(state) => Some(state.touched),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner().touched),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_turn(&self, turn: u64) -> bool {
        self.turn == turn && !self.is_over
    }
}

/// Writes on, as long as no other request has taken over.
pub(super) struct Appender {
    pub partial: Arc<Partial>,
    pub turn: u64,
    pub to: Charged,
}

impl Write for Appender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.partial.state();
        if !state.has_turn(self.turn) {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another request goes on with this upload"));
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
    use super::super::super::new_file::{Unnamed, Writer};
    use super::super::shares::{ShareLimits, Shares};
    use super::*;

    fn partial_of(owner: &str) -> Partial {
        let folder = std::fs::File::open(std::env::temp_dir()).unwrap().into();
        let file = NewFile::create(&folder, Unnamed::IfThereAre).unwrap();
        let held = Shares::new(ShareLimits { in_all: 1, each: 1, quota: None }, Arc::default());
        let owner = Owner::new(None, Some(owner));
        let held = Arc::new(held.hold(owner.clone(), 0).unwrap());
        Partial::new(Arc::new(file), None, owner, held)
    }

    fn partial() -> Partial {
        partial_of("ada")
    }

    fn key(name: &str) -> Key {
        Key { secret: name.to_owned(), user: None, path: b"a".to_vec() }
    }

    #[test]
    fn so_many_and_so_long() {
        let partials = Partials::new(2, Duration::from_secs(3600));
        assert!(partials.begin(key("a"), partial()).is_some() && partials.begin(key("b"), partial()).is_some());
        assert!(partials.begin(key("c"), partial()).is_none(), "as many as are allowed");
        assert!(partials.begin(key("a"), partial()).is_some(), "in the place of another");
        let b = partials.find(&key("b")).unwrap();
        let (_, turn) = b.take_turn().unwrap();
        assert!(!partials.end(&key("b"), &b, turn - 1) && partials.find(&key("b")).is_some(), "another's turn");
        assert!(partials.end(&key("b"), &b, turn) && partials.find(&key("b")).is_none());
        assert!(!partials.end(&key("b"), &b, turn) && b.take_turn().is_none(), "once");
        assert!(partials.begin(key("c"), partial()).is_some());
        let brief = Partials::new(2, Duration::ZERO);
        assert!(brief.begin(key("a"), partial()).is_some() && brief.find(&key("a")).is_none(), "its time is over");
    }

    #[test]
    fn one_writes_at_a_time() {
        let partial = Arc::new(partial());
        let appender = || {
            let (offset, turn) = partial.take_turn().unwrap();
            let to = Writer { to: Arc::clone(&partial.file), reserve: 0 };
            let to = Charged { held: Arc::clone(&partial.held), to };
            (offset, Appender { partial: Arc::clone(&partial), turn, to })
        };
        let (offset, mut first) = appender();
        first.write_all(b"one").unwrap();
        let (more, mut second) = appender();
        assert!(first.write_all(b"late").is_err());
        second.write_all(b"two").unwrap();
        assert_eq!((offset, more, partial.file.written()), (0, 3, 6));
        partial.end();
        assert!(second.write_all(b"more").is_err() && partial.take_turn().is_none());
    }

    #[test]
    fn nobody_has_all_of_them() {
        let partials = Partials::new(4, Duration::from_secs(3600));
        let begin = |owner, name| partials.begin(key(name), partial_of(owner)).is_some();
        for (owner, name, expected) in [
            ("ada", "a1", true),
            ("ada", "a2", true),
            ("ada", "a3", true),
            ("ada", "a4", true),
            ("ada", "a5", false),
            ("bob", "b1", true), // for a1
            ("bob", "b2", true), // for a2
            ("bob", "b3", false),
            ("eve", "e1", true), // for one of those two
            ("eve", "e2", false),
        ] {
            assert_eq!(begin(owner, name), expected, "{owner} {name}");
        }
        let has = |name: &str| partials.find(&key(name)).is_some();
        assert!(!has("a1") && !has("a2") && has("e1"), "what came last stays");
    }
}
