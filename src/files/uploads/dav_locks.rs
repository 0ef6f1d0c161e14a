//! Locks for WebDAV (RFC 4918, sections 6 and 7), in memory: write locks that expire. `uploads` checks them before each
//! change; `lock_requests` creates them.
//!
//! The lock of a folder covers everything in it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::super::path;
use super::super::stat::Identity;
use super::responses::busy;
use super::sender_limits::Owner;
use crate::misleading::fold;
use crate::mutex::lock;
use crate::{Error, Request, UrlPath};

/// The default duration of a lock; `LONGEST` is the maximum. A client that works on a file for longer renews its lock.
const USUAL: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(3600);
/// How many locks can exist, how many of these for all anonymous clients together, and how many per owner.
const MOST: usize = 1024;
const MOST_ANONYMOUS: usize = MOST / 2;
const EACH: usize = 128;
/// How many conditions one `If` can have. Each condition is compared with all locks.
const MOST_CONDITIONS: usize = 64;

/// A name in a folder. It is the same at every path at which the folder is served, and in every letter case, so a lock
/// can also cover another file. Without the feature `unicode`, composed and decomposed forms are different names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Named {
    folder: Identity,
    name: String,
}

impl Named {
    pub fn new(folder: Identity, name: &[u8]) -> Named {
        Named { folder, name: fold(name) }
    }
}

/// A name, the folders that contain it, and what currently has the name.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub named: Named,
    pub spelling: Box<[u8]>,
    /// The folders that contain it.
    pub folders: Vec<Identity>,
    /// The identity of the folder with this name, if it is one.
    pub folder: Option<Identity>,
}

/// Locks by name. A name has several locks only if they are shared.
#[derive(Debug, Default)]
pub(super) struct DavLocks(Mutex<HashMap<Named, Vec<DavLock>>>);

/// The lock that a client requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    pub token: String,
    pub is_shared: bool,
    /// The path by which it was locked, below the root of the handler that was asked, and the path of that root on the
    /// server.
    pub path: Vec<u8>,
    pub mount: Vec<u8>,
    /// The owner that the client states, in XML written by this server.
    pub about: String,
}

/// A lock of a file, or of a folder with everything in it.
#[derive(Clone, Debug)]
pub(super) struct DavLock {
    pub wanted: Wanted,
    user: Option<String>,
    owner: Owner,
    at: Spot,
    until: Instant,
}

impl DavLock {
    /// Returns the remaining time in seconds.
    pub fn seconds(&self) -> u64 {
        self.until.saturating_duration_since(Instant::now()).as_secs()
    }

    /// Returns whether the lock belongs to the user of this request. Always false for an anonymous client.
    pub fn is_of_user(&self, request: &Request) -> bool {
        self.user.is_some() && self.user == request.user()
    }

    pub fn is_of_folder(&self) -> bool {
        self.at.folder.is_some()
    }

    /// Returns whether this path on the server is the one by which the resource was locked, or below it.
    fn covers_path(&self, path: &UrlPath<'_>) -> bool {
        let locked = path::on_server(&self.wanted.mount, &self.wanted.path);
        path.beneath(&locked).is_some_and(|rest| matches!(rest, b"" | b"/") || self.is_of_folder())
    }

    /// Returns whether the lock covers this name: it is on this name, or on a folder that contains it.
    fn covers(&self, spot: &Spot) -> bool {
        self.at.named == spot.named || self.at.folder.is_some_and(|folder| spot.folders.contains(&folder))
    }

    /// Returns whether the lock is on an entry of the folder with this name.
    fn is_in(&self, spot: &Spot) -> bool {
        spot.folder.is_some_and(|folder| self.at.folders.contains(&folder))
    }

    /// Returns whether the request has the lock's token. A token is valid only for its user (section 6.4).
    fn is_held_by(&self, request: &Request, tokens: &[String]) -> bool {
        self.user == request.user() && tokens.contains(&self.wanted.token)
    }
}

impl DavLocks {
    /// Locks a file or a folder. Fails if another lock covers it, or covers something in it, and one of the two locks
    /// is exclusive.
    pub fn take(&self, at: Spot, wanted: Wanted, request: &Request) -> Result<DavLock, Error> {
        let mut locks = self.held();
        let touches = |lock: &&DavLock| lock.covers(&at) || lock.is_in(&at);
        let is_in_the_way = |lock: &DavLock| !(lock.wanted.is_shared && wanted.is_shared);
        if locks.values().flatten().filter(touches).any(is_in_the_way) {
            return Err(locked());
        }
        let owner = Owner::of(request);
        let count =
            |is_counted: &dyn Fn(&DavLock) -> bool| locks.values().flatten().filter(|lock| is_counted(lock)).count();
        let user = request.user();
        let is_full = count(&|_| true) >= MOST
            || count(&|other| other.owner == owner) >= EACH
            || user.is_none() && count(&|other| other.user.is_none()) >= MOST_ANONYMOUS;
        if is_full {
            return Err(busy("Too many files are locked right now.", 60));
        }
        let until = Instant::now() + timeout(request);
        let lock = DavLock { wanted, user, owner, at, until };
        locks.entry(lock.at.named.clone()).or_default().push(lock.clone());
        Ok(lock)
    }

    /// Extends a lock (section 9.10.2). Returns `None` if no lock with one of these tokens covers this name.
    pub fn refresh(&self, at: &Spot, tokens: &[String], request: &Request) -> Option<DavLock> {
        let mut locks = self.held();
        let mut covering = locks.values_mut().flatten().filter(|lock| lock.covers(at));
        let lock = covering.find(|lock| lock.is_held_by(request, tokens))?;
        lock.until = Instant::now() + timeout(request);
        Some(lock.clone())
    }

    /// Removes a lock that covers this name. Returns whether it existed.
    pub fn release(&self, at: &Spot, token: String, request: &Request) -> bool {
        let (tokens, mut is_there) = ([token], false);
        self.retain(|lock| {
            let is_meant = lock.covers(at) && lock.is_held_by(request, &tokens);
            is_there |= is_meant;
            !is_meant
        });
        is_there
    }

    /// Removes the locks of something that is deleted, and of everything in it. `exists`: whether the folder still has
    /// an entry with this spelling, whose locks stay.
    pub fn forget(&self, at: &Spot, exists: impl Fn(&[u8]) -> bool) {
        self.retain(|lock| (lock.at.named != at.named || exists(&lock.at.spelling)) && !lock.is_in(at));
    }

    pub fn find(&self, at: &Spot) -> Vec<DavLock> {
        self.held().values().flatten().filter(|lock| lock.covers(at)).cloned().collect()
    }

    /// Returns whether the lock with this token covers what has this path on the server, by the path of the lock. It
    /// may be the path of another handler for the same files.
    pub fn has_at(&self, path: &UrlPath<'_>, token: &str) -> bool {
        self.held().values().flatten().any(|lock| lock.wanted.token == token && lock.covers_path(path))
    }

    /// Rejects with 423 if this name, or a name in the folder with this name, is locked and the request has none of the
    /// tokens. One token of several shared locks is enough.
    pub fn check(&self, at: &Spot, tokens: &[String], request: &Request) -> Result<(), Error> {
        let locks = self.held();
        let is_free =
            |locks: Vec<&DavLock>| locks.is_empty() || locks.iter().any(|lock| lock.is_held_by(request, tokens));
        let covering = locks.values().flatten().filter(|lock| lock.covers(at)).collect();
        let inside = |locks: &'_ Vec<DavLock>| is_free(locks.iter().filter(|lock| lock.is_in(at)).collect());
        if is_free(covering) && locks.values().all(inside) { Ok(()) } else { Err(locked()) }
    }

    pub fn are_none(&self) -> bool {
        self.held().is_empty()
    }

    fn retain(&self, mut stays: impl FnMut(&DavLock) -> bool) {
        self.held().retain(|_, locks| {
            locks.retain(&mut stays);
            !locks.is_empty()
        });
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Named, Vec<DavLock>>> {
        let mut locks = lock(&self.0);
        if !locks.is_empty() {
            let now = Instant::now();
            locks.retain(|_, locks| {
                locks.retain(|lock| lock.until > now);
                !locks.is_empty()
            });
        }
        locks
    }
}

fn locked() -> Error {
    Error::new(StatusCode::LOCKED, "This is locked, and the request does not have the token of the lock.")
}

/// Returns the first supported value of `Timeout` (section 10.7).
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
    /// The resource's URL. `None`: the URL of the request.
    resource: Option<String>,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
struct Condition {
    not: bool,
    /// Whether this is a token in `<>`; otherwise it is a tag in `[]`.
    is_token: bool,
    value: String,
}

impl IfLists {
    /// # Errors
    /// 400 if it is malformed or repeated.
    pub fn of(request: &Request) -> Result<IfLists, Error> {
        let Some(line) = request.single_header("if")? else { return Ok(IfLists::default()) };
        IfLists::parse(line).ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "If is malformed."))
    }

    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    fn parse(line: &str) -> Option<IfLists> {
        let (mut lists, mut resource, mut rest) = (Vec::new(), None, line.trim());
        let mut room = MOST_CONDITIONS;
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
                let (is_token, (value, more)) = match inside.strip_prefix('<') {
                    Some(token) => (true, token.split_once('>')?),
                    None => (false, tag(inside.strip_prefix('[')?.trim_start())?),
                };
                conditions.push(Condition { not, is_token, value: value.to_owned() });
                inside = more.trim_start();
                room = room.checked_sub(1)?;
            }
            if conditions.is_empty() {
                return None;
            }
            lists.push(List { resource: resource.clone(), conditions });
            rest = inside[1..].trim_start();
        }
        Some(IfLists(lists)).filter(|lists| !lists.0.is_empty())
    }

    pub fn have_tags(&self) -> bool {
        self.0.iter().flat_map(|list| &list.conditions).any(|condition| !condition.is_token)
    }

    /// Returns all tokens. A client that sends a token has it.
    pub fn tokens(self) -> Vec<String> {
        let conditions = self.0.into_iter().flat_map(|list| list.conditions);
        conditions.filter(|condition| condition.is_token).map(|condition| condition.value).collect()
    }

    /// Returns whether one of the lists holds, or there are no lists. `holds` returns whether a resource has this token
    /// or tag.
    pub fn hold(&self, mut holds: impl FnMut(Option<&str>, bool, &str) -> bool) -> bool {
        let mut of_list = |list: &List| {
            let resource = list.resource.as_deref();
            list.conditions
                .iter()
                .all(|condition| holds(resource, condition.is_token, &condition.value) != condition.not)
        };
        self.are_none() || self.0.iter().any(&mut of_list)
    }
}

/// Splits `"a" ] ...` into the tag and what follows the bracket. A tag can contain a bracket.
fn tag(text: &str) -> Option<(&str, &str)> {
    let begin = text.find('"')?;
    let end = begin + 1 + text[begin + 1..].find('"')? + 1;
    let (tag, rest) = text.split_at(end);
    Some((tag, rest.trim_start().strip_prefix(']')?)).filter(|_| matches!(&text[..begin], "" | "W/"))
}

#[cfg(test)]
mod tests;
