//! Locks of files for WebDAV (RFC 4918, sections 6 and 7), in memory: exclusive write locks, each with an end. `taking`
//! checks them before any change; `locking` creates them.
//!
//! Only files can be locked: a lock on a folder would lock everyone out of everything in it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{StatusCode, header};

use super::super::stat::Identity;
use super::shares::Owner;
use crate::{Error, Request};

/// The default and the maximum duration of a lock. Clients that work on a file renew it.
const USUAL: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3600);
/// How many locks can exist, and how many for one owner.
const MOST: usize = 1024;
const EACH: usize = 128;

/// A name in a folder, wherever it is served.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    pub folder: Identity,
    pub name: Vec<u8>,
}

/// By the file's name in its folder.
#[derive(Debug, Default)]
pub(super) struct DavLocks(Mutex<HashMap<Named, DavLock>>);

/// A lock of a file.
#[derive(Clone, Debug)]
pub(super) struct DavLock {
    pub token: String,
    user: Option<String>,
    owner: Owner,
    /// The folders that contain it.
    folders: Vec<Identity>,
    until: Instant,
}

impl DavLock {
    /// The remaining time in seconds.
    pub fn seconds(&self) -> u64 {
        self.until.saturating_duration_since(Instant::now()).as_secs()
    }

    /// Whether the response to this request can contain the token.
    pub fn is_of(&self, request: &Request) -> bool {
        self.owner == Owner::of(request)
    }

    /// Whether the lock covers this name, or something in the folder with this name.
    fn is_at(&self, locked: &Named, at: &Named, folder: Option<Identity>) -> bool {
        locked == at || folder.is_some_and(|folder| self.folders.contains(&folder))
    }

    /// Section 6.4: a token is valid only for its user.
    fn is_held_by(&self, request: &Request, tokens: &[String]) -> bool {
        self.user == request.user() && tokens.contains(&self.token)
    }
}

impl DavLocks {
    /// Locks this file.
    pub fn take(&self, at: &Named, folders: Vec<Identity>, token: String, request: &Request) -> Result<DavLock, Error> {
        let mut locks = self.held();
        if locks.contains_key(at) {
            return Err(locked());
        }
        let lock = DavLock {
            token,
            user: request.user(),
            owner: Owner::of(request),
            folders,
            until: Instant::now() + timeout(request),
        };
        if locks.len() >= MOST || locks.values().filter(|other| other.owner == lock.owner).count() >= EACH {
            let error = Error::new(StatusCode::SERVICE_UNAVAILABLE, "Too many files are locked right now.");
            return Err(error.with_header(header::RETRY_AFTER, "60"));
        }
        locks.insert(at.clone(), lock.clone());
        Ok(lock)
    }

    /// Extends a lock (section 9.10.2), or returns `None` if there is none with such a token.
    pub fn refresh(&self, at: &Named, tokens: &[String], request: &Request) -> Option<DavLock> {
        let mut locks = self.held();
        let lock = locks.get_mut(at).filter(|lock| lock.is_held_by(request, tokens))?;
        lock.until = Instant::now() + timeout(request);
        Some(lock.clone())
    }

    /// Removes a lock. Returns whether it existed.
    pub fn release(&self, at: &Named, token: String, request: &Request) -> bool {
        let mut locks = self.held();
        let tokens = [token];
        let is_held = locks.get(at).is_some_and(|lock| lock.is_held_by(request, &tokens));
        is_held && locks.remove(at).is_some()
    }

    /// Removes the lock of something that is gone; for a folder, all locks below it.
    pub fn forget(&self, at: &Named, folder: Option<Identity>) {
        self.held().retain(|locked, lock| !lock.is_at(locked, at, folder));
    }

    pub fn find(&self, at: &Named) -> Option<DavLock> {
        self.held().get(at).cloned()
    }

    /// 423 if the file, or one below this folder, is locked and the request has none of these tokens.
    pub fn check(
        &self,
        at: &Named,
        folder: Option<Identity>,
        tokens: &[String],
        request: &Request,
    ) -> Result<(), Error> {
        let locks = self.held();
        let is_free =
            |(locked, lock): (&Named, &DavLock)| !lock.is_at(locked, at, folder) || lock.is_held_by(request, tokens);
        if locks.iter().all(is_free) { Ok(()) } else { Err(locked()) }
    }

    /// The locks that have not expired.
    fn held(&self) -> MutexGuard<'_, HashMap<Named, DavLock>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !locks.is_empty() {
            let now = Instant::now();
            locks.retain(|_, lock| lock.until > now);
        }
        locks
    }
}

fn locked() -> Error {
    Error::new(StatusCode::LOCKED, "The file is locked by another user.")
}

/// Section 10.7: the first value that is understood.
fn timeout(request: &Request) -> Duration {
    let wanted = request.header("timeout").into_iter().flat_map(|line| line.split(','));
    let seconds = |word: &str| match word.trim().strip_prefix("Second-") {
        Some(number) => number.parse::<u32>().ok().map(|number| Duration::from_secs(number.into())),
        None => (word.trim() == "Infinite").then_some(LONGEST),
    };
    wanted.filter_map(seconds).next().unwrap_or(USUAL).clamp(Duration::from_secs(1), LONGEST)
}

/// The field `If` (section 10.4): lists of conditions on resources, one of which must hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IfLists(Vec<List>);

#[derive(Debug, PartialEq, Eq)]
struct List {
    /// A URL; `None`: the URL of the request.
    resource: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    not: bool,
    /// A token in `<>`, otherwise a tag in `[]`.
    is_token: bool,
    value: String,
}

impl IfLists {
    /// # Errors
    /// 400 if it is malformed.
    pub fn of(request: &Request) -> Result<IfLists, Error> {
        let Some(line) = request.header("if") else { return Ok(IfLists::default()) };
        IfLists::parse(line).ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "If is malformed."))
    }

    fn parse(line: &str) -> Option<IfLists> {
        let (mut lists, mut resource, mut rest) = (Vec::new(), None, line.trim());
        while !rest.is_empty() {
            if let Some(tagged) = rest.strip_prefix('<') {
                let (url, more) = tagged.split_once('>')?;
                (resource, rest) = (Some(url.to_owned()), more.trim_start());
            }
            let mut inside = rest.strip_prefix('(')?.trim_start();
            let mut conditions = Vec::new();
            while !inside.starts_with(')') {
                let not = inside.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("not"));
                inside = if not { inside[3..].trim_start() } else { inside };
                let (is_token, end) = if inside.starts_with('<') { (true, '>') } else { (false, ']') };
                let (value, more) = inside.strip_prefix(['<', '['])?.split_once(end)?;
                conditions.push(Condition { not, is_token, value: value.to_owned() });
                inside = more.trim_start();
            }
            if conditions.is_empty() {
                return None;
            }
            lists.push(List { resource: resource.clone(), conditions });
            rest = inside[1..].trim_start();
        }
        Some(IfLists(lists)).filter(|lists| !lists.0.is_empty())
    }

    /// Whether a condition is on a tag.
    pub fn have_tags(&self) -> bool {
        self.0.iter().flat_map(|list| &list.conditions).any(|condition| !condition.is_token)
    }

    /// All tokens: a client that names one has it.
    pub fn tokens(self) -> Vec<String> {
        let conditions = self.0.into_iter().flat_map(|list| list.conditions);
        conditions.filter(|condition| condition.is_token).map(|condition| condition.value).collect()
    }

    /// Whether one of the lists holds, or there is none. `holds` returns whether a resource has this token or tag.
    pub fn hold(&self, mut holds: impl FnMut(Option<&str>, bool, &str) -> bool) -> bool {
        let mut of_list = |list: &List| {
            let resource = list.resource.as_deref();
            list.conditions
                .iter()
                .all(|condition| holds(resource, condition.is_token, &condition.value) != condition.not)
        };
        self.0.is_empty() || self.0.iter().any(&mut of_list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_conditions() {
        let holds = |resource: Option<&str>, is_token: bool, value: &str| match resource {
            None | Some("http://h/a") => {
                if is_token {
                    value == "urn:1"
                } else {
                    value == "\"tag\""
                }
            }
            Some(_) => is_token && value == "urn:2",
        };
        for (line, expected) in [
            ("(<urn:1>)", Some(true)),
            ("(<urn:2>)", Some(false)),
            ("(<urn:1> [\"tag\"])", Some(true)),
            ("(<urn:1> [\"other\"])", Some(false)),
            ("(<urn:2>) ([\"tag\"])", Some(true)),
            ("(Not <urn:2>)", Some(true)),
            ("(<urn:1>)(Not <DAV:no-lock>)", Some(true)),
            ("(<DAV:no-lock>)", Some(false)),
            ("<http://h/a> (<urn:1>)", Some(true)),
            ("<http://h/b> (<urn:1>)", Some(false)),
            ("<http://h/b> (<urn:1>) (<urn:2>)", Some(true)),
            ("<http://h/b>(<urn:1>) <http://h/a>(<urn:1>)", Some(true)),
            ("", None),
            ("()", None),
            ("(<urn:1>", None),
            ("(<urn:1)", None),
            ("(urn:1)", None),
            ("(é)", None),
            ("<http://h/a>", None),
            ("(<urn:1>) x", None),
        ] {
            assert_eq!(IfLists::parse(line).map(|lists| lists.hold(holds)), expected, "{line}");
        }
        let lists = IfLists::parse("<u> (<a> [\"t\"]) (Not <b>)").unwrap();
        assert_eq!(lists.tokens(), ["a", "b"]);
    }

    #[test]
    fn times() {
        for (said, seconds) in [
            ("Second-30", 30),
            ("Infinite, Second-4100000000", 3600),
            ("Second-99999999999, Second-20", 20),
            ("Second-0", 1),
            ("Extended, Second-7", 7),
            ("", 600),
        ] {
            let request = Request::get("/").with_header("timeout", said);
            assert_eq!(timeout(&request), Duration::from_secs(seconds), "{said}");
        }
    }

    #[test]
    fn so_many_and_of_each() {
        let locks = DavLocks::default();
        let ada = Request::get("/");
        let folder = ((0, 1), 2);
        let at = |name: &str| Named { folder, name: name.as_bytes().to_vec() };
        let take = |name: &str| locks.take(&at(name), vec![folder], name.to_owned(), &ada);
        for number in 0..EACH {
            assert!(take(&number.to_string()).is_ok());
        }
        assert_eq!(take("more").unwrap_err().status(), 503);
        assert_eq!(take("7").unwrap_err().status(), 423);
        assert!(!locks.release(&at("7"), "8".into(), &ada) && locks.release(&at("7"), "7".into(), &ada));
        let check = |name: &str, tokens: &[String]| locks.check(&at(name), None, tokens, &ada).is_ok();
        assert!(check("7", &[]) && !check("8", &[]) && check("8", &["8".into()]));
        let elsewhere = Named { folder: ((0, 1), 3), name: b"8".to_vec() };
        assert!(
            locks.check(&elsewhere, None, &[], &ada).is_ok()
                && locks.check(&elsewhere, Some(folder), &[], &ada).is_err()
        );
        locks.forget(&at("8"), None);
        assert!(check("8", &[]) && locks.find(&at("80")).is_some());
        locks.forget(&elsewhere, Some(folder));
        assert!(locks.find(&at("80")).is_none());
    }
}
