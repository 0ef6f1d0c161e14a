//! The configuration in use, and its files. Handshakes check the files, in turns that may block, and read them again
//! when they have changed.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use log::{info, warn};
use rustls::ServerConfig;

use super::config::{Loaded, Sources};
use super::identity::{self, Identity};
use crate::metadata::Stamp;
use crate::mutex::{lock, try_lock};
use crate::tcp::{self, Instant, MayBlock};

pub struct CurrentConfig {
    sources: Sources,
    every: Option<Duration>,
    current: RwLock<Current>,
    look: Mutex<Look>, // locked by the thread that checks; other threads do not wait for it
}

/// The contents in use, and the configuration created from them.
#[derive(Clone)]
struct Current {
    loaded: Loaded,
    shared: Arc<ServerConfig>,
}

struct Look {
    at: Instant,
    /// When expiring certificates were last logged.
    warned: Instant,
    stamps: Vec<Seen>,
    /// The reason why the files cannot be used. `told`: the last one that was logged.
    wrong: Option<io::Error>,
    told: Option<String>,
}

/// The state of a file, and whether another change could have the same stamp. So a file is read once more after that
/// time. `None` if it cannot be read.
type Seen = Option<(Stamp, bool)>;

/// How often expiring certificates are logged.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A certificate that expires within this time should have been renewed.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

impl CurrentConfig {
    pub fn new(sources: Sources, every: Option<Duration>) -> CurrentConfig {
        let current = RwLock::new(Current::new(&sources, sources.first().clone()));
        let look =
            Mutex::new(Look { at: tcp::now(), warned: tcp::now(), stamps: stamps(&sources), wrong: None, told: None });
        CurrentConfig { sources, every, current, look }
    }

    pub fn asks_for_certificates(&self) -> bool {
        self.sources.asks_for_certificates()
    }

    /// Returns the configuration for a handshake. It may check the files.
    pub fn config(&self, now: Instant, _: MayBlock) -> Arc<ServerConfig> {
        if let Some(every) = self.every
            && let Some(mut look) = try_lock(&self.look)
            && now.saturating_duration_since(look.at) >= every
        {
            look.at = now;
            self.look_again(&mut look);
            if now.saturating_duration_since(look.warned) >= DAY {
                look.warned = now;
                self.warn_of_expiry();
            }
        }
        let Current { loaded, shared } = self.current();
        // If clients have certificates, each connection keeps them for its tickets.
        match self.asks_for_certificates() {
            true => Arc::new(self.sources.config(&loaded, shared.cert_resolver.clone())),
            false => shared,
        }
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks the files. Files that are replaced one after the other do not match for a moment, so an error is logged
    /// only if the next check finds it again.
    fn look_again(&self, look: &mut Look) {
        let stamps = stamps(&self.sources);
        if stamps == look.stamps {
            let why = look.wrong.take().map(|err| err.to_string());
            if why.is_some() && why != look.told {
                warn!(
                    "changed certificates can't be used; the previous ones stay in use: {}",
                    why.as_deref().unwrap_or("")
                );
                look.told = why;
            }
            return;
        }
        look.wrong = self.read_again(look, stamps, false);
        if look.wrong.is_none() {
            look.told = None;
        }
    }

    /// Reads all files now.
    ///
    /// # Errors
    /// The error of the first file that cannot be used. Its previous content stays in use.
    pub fn reload(&self) -> io::Result<()> {
        let mut look = lock(&self.look);
        look.wrong = None;
        let wrong = self.read_again(&mut look, stamps(&self.sources), true);
        look.told = wrong.as_ref().map(ToString::to_string);
        wrong.map_or(Ok(()), Err)
    }

    /// Returns when the first of the certificates expires.
    pub fn expiry(&self) -> Option<SystemTime> {
        let keys = self.current().loaded;
        keys.leaves().filter_map(identity::not_after).min()
    }

    /// Logs a warning for each certificate that is not valid yet, has expired or soon will, and for each key that every
    /// user can read.
    pub fn warn_of_expiry(&self) {
        self.sources.identities().iter().for_each(Identity::check_secrets);
        let now = SystemTime::now();
        for (certificate, identity) in self.current().loaded.leaves().zip(self.sources.identities()) {
            let validity = identity::validity(certificate);
            if let Some(until) = validity.and_then(|(begin, _)| begin.duration_since(now).ok()) {
                warn!("{identity}: the certificate is not valid yet: it becomes valid in {}", days(until, ""));
            }
            match validity.map(|(_, end)| end.duration_since(now)) {
                Some(Err(ago)) => warn!("{identity}: the certificate expired {}", days(ago.duration(), "ago")),
                Some(Ok(left)) if left < SOON => warn!("{identity}: the certificate expires in {}", days(left, "")),
                _ => {}
            }
        }
    }

    /// Reads all files. Warns of certificates that expire, if any is new or the reload was requested.
    fn read_again(&self, look: &mut Look, stamps: Vec<Seen>, is_requested: bool) -> Option<io::Error> {
        let before = self.current().loaded;
        let (loaded, wrong) = self.sources.load(&before);
        let is_new = !loaded.has_the_keys_of(&before);
        let has_lost_roots = loaded.trusts_no_roots() && !before.trusts_no_roots();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current::new(&self.sources, loaded);
        look.stamps = stamps;
        if is_new {
            info!("changed certificates were reloaded"); // afterwards, because a logger can panic
        }
        if has_lost_roots {
            warn!("the file of roots no longer contains a certificate: clients with certificates are rejected");
        }
        if is_new || is_requested {
            look.warned = tcp::now();
            self.warn_of_expiry();
        }
        wrong
    }
}

/// Formats a time as `1 day ago` or `20 hours`.
fn days(time: Duration, ago: &str) -> String {
    let (minutes, hours) = (time.as_secs() / 60, time.as_secs() / 3600);
    let (number, unit) = match hours {
        0 => (minutes, "minute"),
        1..48 => (hours, "hour"),
        _ => (hours / 24, "day"),
    };
    format!("{number} {unit}{} {ago}", if number == 1 { "" } else { "s" }).trim_end().to_owned()
}

impl Current {
    fn new(sources: &Sources, loaded: Loaded) -> Current {
        let shared = Arc::new(sources.config(&loaded, sources.resolver(&loaded)));
        Current { loaded, shared }
    }
}

fn stamps(sources: &Sources) -> Vec<Seen> {
    let now = SystemTime::now();
    sources.files().map(|path| seen(path, now)).collect()
}

fn seen(path: &Path, now: SystemTime) -> Seen {
    let stamp = Stamp::of(&fs::metadata(path).ok()?);
    Some((stamp, stamp.times.are_recent(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that was just written may be incomplete, whatever its time of modification.
    #[test]
    fn a_file_is_settled_only_after_a_while() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let now = SystemTime::now();
        for modified in [now, now + DAY, now - DAY] {
            file.as_file().set_modified(modified).unwrap();
            let changed = SystemTime::now();
            let at = |now| seen(file.path(), now).unwrap();
            assert_ne!(at(changed), at(changed + DAY), "modified {modified:?}");
            assert_eq!(at(changed + DAY), at(changed + 2 * DAY), "modified {modified:?}");
        }
    }
}
