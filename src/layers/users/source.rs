//! The file, reloaded when it has changed. Requests that need the file check it for changes from time to time. If a new
//! file is invalid, the reason is logged, and the old users stay. A changed file may have no users.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::table::Table;
use crate::metadata::{Stamp, named, read_whole};
use crate::mutex::{lock, try_lock};

pub struct Source {
    pub path: PathBuf,
    /// Locked by the thread that checks. Other threads do not wait for it.
    seen: Mutex<Seen>,
    table: RwLock<Arc<Table>>,
}

struct Seen {
    at: Instant,
    /// The file's metadata when it was read. `None`: it changed so recently that another change might be invisible.
    stamp: Option<Stamp>,
    /// The error that was last logged, so that an invalid file is logged once.
    said: Option<String>,
}

impl Source {
    pub fn open(path: &Path) -> io::Result<Source> {
        let path = std::path::absolute(path)?;
        let (stamp, table) = read(&path)?;
        if table.is_empty() {
            let why = "it contains no users; expected lines NAME:HASH, as printed by 'modest --hash-password'";
            return Err(named(&path, io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let seen = Mutex::new(Seen { at: Instant::now(), stamp, said: None });
        Ok(Source { path, seen, table: RwLock::new(Arc::new(table)) })
    }

    /// Reads the file now. Returns the number of users.
    ///
    /// # Errors
    /// If it cannot be read or has an invalid line. The earlier users stay.
    pub fn reload(&self) -> io::Result<usize> {
        self.read_again(&mut lock(&self.seen))
    }

    /// Returns the current users. Checks the file again if the last check is older than `every`.
    pub fn table(&self, every: Option<Duration>) -> Arc<Table> {
        if let Some(every) = every
            && let Some(mut seen) = try_lock(&self.seen)
            && seen.at.elapsed() >= every
        {
            seen.at = Instant::now();
            self.look(&mut seen);
        }
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look(&self, seen: &mut Seen) {
        let found = std::fs::metadata(&self.path).ok().as_ref().and_then(settled);
        if found.is_some() && found == seen.stamp {
            return;
        }
        // A file that could not be read is read again only after a change.
        seen.stamp = found;
        match self.read_again(seen) {
            Ok(0) => log::warn!("{}: reloaded; it contains no users, so no one can log in", self.path.display()),
            Ok(count) => log::info!("{}: reloaded, with {count} users", self.path.display()),
            Err(error) => {
                let error = error.to_string();
                if seen.said.as_ref() != Some(&error) {
                    log::error!("{error}; the previous users stay in effect");
                    seen.said = Some(error);
                }
            }
        }
    }

    /// Called while `seen` is locked: otherwise an earlier check could replace a newer table.
    fn read_again(&self, seen: &mut Seen) -> io::Result<usize> {
        let (stamp, table) = read(&self.path)?;
        let number = table.names().count();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        (seen.stamp, seen.said) = (stamp, None);
        Ok(number)
    }
}

fn read(path: &Path) -> io::Result<(Option<Stamp>, Table)> {
    let named = |error| named(path, error);
    let invalid = |why: String| named(io::Error::new(io::ErrorKind::InvalidData, why));
    if !std::fs::metadata(path).map_err(named)?.is_file() {
        return Err(invalid("this is not a file of users".into())); // checked before opening: opening a FIFO would wait
    }
    let file = File::open(path).map_err(named)?;
    let stamp = settled(&file.metadata().map_err(named)?);
    let bytes = read_whole(file).map_err(named)?;
    let text = io::read_to_string(&bytes[..]).map_err(named)?;
    let table = Table::parse(&text).map_err(invalid)?;
    Ok((stamp, table))
}

/// Returns the stamp of a file, unless another change could have the same.
fn settled(found: &Metadata) -> Option<Stamp> {
    let stamp = Stamp::of(found);
    (!stamp.times.are_recent(SystemTime::now())).then_some(stamp)
}
