//! Stores of sessions: in memory, or in files that survive a restart.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::record::is_key;
use crate::metadata;
use crate::mutex::lock;

/// A store of sessions: bytes by key. [`Sessions`](super::Sessions) calls `load` for each request that has a cookie,
/// again if its body arrives later or it waits, and before it saves. It calls the other methods when something has
/// changed, and `save` also for the time of the last use, up to once a minute. All of them may block.
///
/// A key consists of 64 hexadecimal digits: the hash of an id, from which the id cannot be computed. A database needs
/// one table:
///
/// ```sql
/// CREATE TABLE sessions (key TEXT PRIMARY KEY, data BLOB NOT NULL, expires INTEGER NOT NULL)
/// ```
pub trait SessionStore: Send + Sync + 'static {
    /// Returns the bytes that were last saved under this key. A session that has expired can be returned or not.
    ///
    /// # Errors
    /// If the store fails: the response is a 500, unless only the time of the last use was to be stored.
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>>;

    /// Stores these bytes under this key, in place of any earlier ones. They can be removed from `expires` on.
    ///
    /// # Errors
    /// If the store fails: the response is a 500, unless only the time of the last use was to be stored.
    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> io::Result<()>;

    /// Removes a session, if there is one.
    ///
    /// # Errors
    /// If the store fails: the response is a 500.
    fn remove(&self, key: &str) -> io::Result<()>;
}

impl<S: SessionStore> SessionStore for Arc<S> {
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        (**self).load(key)
    }

    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> io::Result<()> {
        (**self).save(key, bytes, expires)
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        (**self).remove(key)
    }
}

/// Sessions in memory. They are lost when the program ends.
#[derive(Debug)]
pub struct MemorySessions {
    limit: usize,
    sessions: Mutex<HashMap<String, (Vec<u8>, SystemTime)>>,
}

impl MemorySessions {
    /// Creates a store for up to 100,000 sessions.
    pub fn new() -> MemorySessions {
        MemorySessions::default()
    }

    /// Sets how many sessions are kept. Beyond that, those that expire first are removed. Default: 100,000.
    ///
    /// # Panics
    /// If it is 0.
    pub fn limit(mut self, number: usize) -> MemorySessions {
        assert!(number > 0, "a store must hold at least one session");
        self.limit = number;
        self
    }

    /// Returns the number of sessions, without ids that were replaced.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.sessions).values().filter(|(bytes, _)| !bytes.starts_with(b"{\"moved\"")).count()
    }
}

impl Default for MemorySessions {
    fn default() -> MemorySessions {
        MemorySessions { limit: 100_000, sessions: Mutex::default() }
    }
}

impl SessionStore for MemorySessions {
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(lock(&self.sessions).get(key).map(|(bytes, _)| bytes.clone()))
    }

    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> io::Result<()> {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.limit && !sessions.contains_key(key) {
            make_room(&mut sessions);
        }
        sessions.insert(key.to_owned(), (bytes.to_vec(), expires));
        Ok(())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        lock(&self.sessions).remove(key);
        Ok(())
    }
}

/// Removes an eighth of the sessions, those that expire first. Removing many at once makes the search rare.
fn make_room(sessions: &mut HashMap<String, (Vec<u8>, SystemTime)>) {
    let mut ends: Vec<SystemTime> = sessions.values().map(|(_, expires)| *expires).collect();
    let count = ends.len() / 8;
    let (earlier, end, _) = ends.select_nth_unstable(count);
    let end = *end;
    // How many of the sessions that expire exactly at `end` are also removed, so that the total is `count + 1`.
    let mut ties = 1 + earlier.iter().filter(|earlier| **earlier == end).count();
    sessions.retain(|_, (_, expires)| match (*expires).cmp(&end) {
        Ordering::Less => false,
        Ordering::Equal if ties > 0 => {
            ties -= 1;
            false
        }
        _ => true,
    });
}

/// Sessions in files that survive a restart: one file per session, in a folder of their own.
///
/// A folder is for one process. While two use it, as during a restart, each sees the sessions of the other, but one of
/// two changes of a session at the same time can be lost.
///
/// A file is replaced atomically, so a crash leaves no incomplete session. Expired files are removed at startup and
/// after every thousandth change.
#[derive(Debug)]
pub struct FileSessions {
    folder: PathBuf,
    saves: AtomicU32,
}

impl FileSessions {
    /// Opens this folder. If it does not exist, it is created, with access for this user only.
    ///
    /// # Errors
    /// If it cannot be created or read, or an expired file cannot be removed. The error names the path.
    pub fn open(folder: impl AsRef<Path>) -> io::Result<FileSessions> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = folder.as_ref().to_owned();
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        created.map_err(|error| metadata::named(&folder, error))?;
        let store = FileSessions { folder, saves: AtomicU32::new(0) };
        store.remove_expired(SystemTime::now())?;
        Ok(store)
    }

    /// Removes the files of expired sessions. The modification time of a file is set to its expiry.
    fn remove_expired(&self, now: SystemTime) -> io::Result<()> {
        let named = |error| metadata::named(&self.folder, error);
        for entry in fs::read_dir(&self.folder).map_err(named)? {
            let entry = entry.map_err(named)?;
            let (name, Ok(found)) = (entry.file_name(), entry.metadata()) else { continue };
            let end = found.modified();
            // A temporary file belongs to a save in progress, or to a save that a crash interrupted.
            let end = end.map(|end| if name.as_encoded_bytes().starts_with(TEMPORARY) { end + CUT_SHORT } else { end });
            let is_ours = is_key(&name.to_string_lossy()) || name.as_encoded_bytes().starts_with(TEMPORARY);
            if is_ours && found.is_file() && end.is_ok_and(|end| end <= now) {
                if_present(fs::remove_file(entry.path())).map_err(named)?;
            }
        }
        Ok(())
    }

    fn path(&self, key: &str) -> io::Result<PathBuf> {
        match is_key(key) {
            true => Ok(self.folder.join(key)),
            false => Err(io::Error::new(ErrorKind::InvalidInput, "a key of a session has 64 hexadecimal digits")),
        }
    }
}

/// Returns whether this is a regular file. Nothing else is a session: opening a FIFO would wait.
fn is_file(path: &Path) -> io::Result<bool> {
    Ok(if_present(fs::symlink_metadata(path))?.is_some_and(|found| found.is_file()))
}

/// The prefix of a file name while the file is written.
const TEMPORARY: &[u8] = b".session-";
/// A temporary file of this age was left behind by a crash.
const CUT_SHORT: Duration = Duration::from_secs(3600);

fn if_present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

impl SessionStore for FileSessions {
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(key)?;
        if is_file(&path)? { if_present(fs::read(path)) } else { Ok(None) }
    }

    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> io::Result<()> {
        let path = self.path(key)?;
        let prefix = OsStr::from_bytes(TEMPORARY);
        let mut file = tempfile::Builder::new().prefix(prefix).tempfile_in(&self.folder)?;
        file.write_all(bytes)?;
        // the latest time on file systems with 32-bit times
        let latest = UNIX_EPOCH + Duration::from_secs(i32::MAX as u64);
        file.as_file().set_modified(expires.min(latest))?; // read by `remove_expired`
        file.persist(path)?;
        if self.saves.fetch_add(1, Relaxed) % 1000 == 999 {
            // The session is stored. An expired file that stays does no harm.
            if let Err(error) = self.remove_expired(SystemTime::now()) {
                log::warn!("expired sessions can't be removed: {error}");
            }
        }
        Ok(())
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        let path = self.path(key)?;
        if is_file(&path)? { if_present(fs::remove_file(path)).map(drop) } else { Ok(()) }
    }
}
