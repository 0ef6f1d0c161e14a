//! Users and hashes of their passwords, from a file that is read anew when it changes. Asked by `basic_auth`, in turns that
//! may block.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::{Error, Result, StatusCode};

mod familiar; // addresses from which a password was right
mod source; // the file, and whether it has changed

mod table; // its lines

mod hash; // one hash

mod remembered; // what was right a while ago
mod slots; // how many hashes are computed at once

use familiar::Familiar;
use remembered::Remembered;
use slots::{Slot, Slots};
use source::Source;
use table::Entry;

use super::buckets::client_key;
use super::guesses::Guesses;

/// A file of users, as `htpasswd -B` writes it: `NAME:HASH` a line, for
/// [`BasicAuth::users`](super::BasicAuth::users).
///
/// A hash is of bcrypt (`$2y$`, `$2b$`, `$2a$`), SHA-crypt (`$5$`, `$6$`) or argon2 (`$argon2id$` and its kin). Others
/// (`{SHA}`, `$apr1$`, crypt, plain text) are guessed too fast, and refused with the line that has them.
///
/// - *It is read anew* within a second of a change; if the new one is broken, that is logged, and the old one holds. One
///   without a user is not broken: nobody gets in any more.
/// - *A hash is slow on purpose*, 50 ms say: so a pair of name and password that was right is remembered for the address it
///   came from ([`remember`](UserFile::remember)), by a keyed hash of all three, and costs three locks after that.
/// - *Nobody learns who is a user*: the password of an unknown one is compared with a hash of the file all the same.
/// - *Floods take no worker from others*: so many are hashed at once, so many wait, others get 503 with `Retry-After`
///   ([`hashes_at_once`](UserFile::hashes_at_once)).
/// - *Guessing is limited*: by address and name, and by address, 429 with `Retry-After`
///   ([`wrong_passwords`](UserFile::wrong_passwords)). The limit comes before every comparison, also with what is
///   remembered: a client at its limit gets 429 for the right password, too. Right passwords do not count.
///
/// ```
/// use modest::layers::{BasicAuth, UserFile};
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("users");
/// // The password is: a long secret
/// std::fs::write(&path, "ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n")?;
/// let hello = handler_fn(|request| Ok(Response::text(format!("Hello, {}!\n", request.user().unwrap()))));
/// let http = Http::new(hello.layer(BasicAuth::new("staff").users(UserFile::open(&path)?)));
///
/// let request = Request::get("/").with_header("authorization", "Basic YWRhOmEgbG9uZyBzZWNyZXQ=");
/// assert_eq!(http.respond(&request).text(), "Hello, ada!\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "does nothing until it is given to `BasicAuth::users`"]
pub struct UserFile {
    source: Arc<Source>,
    /// How often it is looked whether the file has changed.
    every: Option<Duration>,
    remembered: Remembered,
    guesses: Guesses,
    slots: Slots,
    familiar: Familiar,
    /// For those, beside the others.
    slots_of_familiar: Slots,
    /// Draws the stand-ins for unknown users.
    keys: RandomState,
    #[cfg(test)]
    hashed: std::sync::atomic::AtomicUsize,
}

/// Longer ones are wrong: SHA-crypt takes time by the square of the length.
const LONGEST_PASSWORD: usize = 1024;

impl UserFile {
    /// Reads the file, which is at most 16 MiB.
    ///
    /// # Errors
    /// If it can't be read, has no user, or a line that is none: the error names file and line, and says what to do.
    pub fn open(path: impl AsRef<Path>) -> io::Result<UserFile> {
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(UserFile {
            source: Arc::new(Source::open(path.as_ref())?),
            every: Some(Duration::from_secs(1)),
            remembered: Remembered::new(random()?, Duration::from_secs(300)),
            guesses: Guesses::by_default(),
            slots: Slots::new((cores / 2).max(1), 7),
            familiar: Familiar::default(),
            slots_of_familiar: Slots::new(1, 1),
            keys: RandomState::new(),
            #[cfg(test)]
            hashed: Default::default(),
        })
    }

    /// How long a pair of name and password that was right is remembered for the address it came from after it was last
    /// used. Default: 5 minutes; zero: not at all. It ends when the user's line changes or is deleted.
    pub fn remember(mut self, time: Duration) -> UserFile {
        self.remembered.time = time;
        self
    }

    /// How many passwords are hashed at once, and how many requests may wait for that, each of them in a worker and for 2 seconds at
    /// most. Default: half of the processors, at least 1; 7 wait. Addresses from which a password was right before have one place more, and a
    /// quarter of those that wait: a flood from elsewhere does not keep them out. Keep the sum below the number of workers.
    ///
    /// # Panics
    /// If none may be hashed.
    pub fn hashes_at_once(mut self, number: usize, waiting: usize) -> UserFile {
        assert!(number > 0, "a password can't be compared without its hash");
        self.slots = Slots::new(number, waiting);
        self.slots_of_familiar = Slots::new(1, waiting / 4);
        self
    }

    /// How many wrong passwords for one name an address may send in so much time: all at once, then one after the other.
    /// Default: 10 in a minute. Ten times as many for all names together. Passwords that got 503 count as wrong ones. An
    /// address is what it is for [`RateLimit`](super::RateLimit): behind a proxy put
    /// [`TrustedProxies`](super::TrustedProxies) around, else all clients share one limit.
    ///
    /// # Panics
    /// If the number is zero, or so many in so little time that it is more than one a nanosecond.
    pub fn wrong_passwords(mut self, number: u32, per: Duration) -> UserFile {
        self.guesses = Guesses::new(number, per);
        self
    }

    /// How often it is looked, when somebody asks, whether the file has changed, and the file read again if so: once a
    /// second unless set; `None`: never.
    pub fn reload(mut self, every: impl Into<Option<Duration>>) -> UserFile {
        self.every = every.into();
        self
    }

    /// A function that reads the file at once, for a signal such as SIGHUP, and returns how many users are in it. On an error the
    /// users before stay.
    pub fn reloader(&self) -> impl Fn() -> io::Result<usize> + Send + Sync + 'static {
        let source = Arc::clone(&self.source);
        move || source.reload()
    }

    /// The line of a user for such a file, without a line break: argon2id with a salt of its own.
    ///
    /// ```
    /// use modest::layers::UserFile;
    ///
    /// assert!(UserFile::line("ada", "a long secret")?.starts_with("ada:$argon2id$v=19$m=19456,t=2,p=1$"));
    /// assert!(UserFile::line("a:da", "a long secret").is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If no user can have that name, or nobody can send that password: a name has no colon and no space around it and does not
    /// begin with `#`; neither has control characters; a password has 1 to 1,024 bytes.
    pub fn line(name: &str, password: &str) -> io::Result<String> {
        let wrong = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let controls = |text: &str| text.chars().any(char::is_control);
        if name.is_empty() || name.contains(':') || name.starts_with('#') || name.trim() != name || controls(name) {
            return wrong(
                "the name of a user can't start with #, and can't contain colons, control characters, or spaces at its ends",
            );
        }
        if password.is_empty() || controls(password) || password.len() > LONGEST_PASSWORD {
            return wrong("a password must have 1 to 1,024 bytes and no control characters");
        }
        Ok(format!("{name}:{}", hash::hash_of(password.as_bytes())?))
    }

    /// Whether that is the password of that user. An error: it can't be said now.
    ///
    /// The order is what keeps passwords from being guessed: first the limit of the client, then what is remembered, then a
    /// slot, then the hash.
    pub(super) fn knows(&self, client: Option<IpAddr>, name: &str, password: &str) -> Result<bool> {
        let table = self.source.table(self.every);
        if password.len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let (entry, number) = (table.get(name), self.keys.hash_one(name));
        let compared = entry.or_else(|| table.stand_in(number));
        let text = compared.map_or("", |compared| &compared.text);
        let digest = self.remembered.digest(client.map(client_key), name, text, password);
        // Of a stand-in nothing is remembered: two users may have the same hash, of whom one is deleted.
        let is_remembered = || self.remembered.has(&digest, Instant::now()) && entry.is_some();
        let (Some(guess), Some(compared)) = (self.guesses.begin(client, number, is_remembered)?, compared) else {
            return Ok(entry.is_some());
        };
        let _slot = self.slot(client)?;
        // Perhaps another request of the same client had the slot before.
        let is_right = is_remembered() || self.compare(compared, password) && entry.is_some();
        if is_right {
            guess.was_none();
            self.remembered.put(digest, Instant::now());
            self.familiar.note(client);
        }
        Ok(is_right)
    }

    fn compare(&self, entry: &Entry, password: &str) -> bool {
        #[cfg(test)]
        self.hashed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        entry.hash.is_of(password.as_bytes())
    }

    /// A place among those that compute a hash.
    fn slot(&self, client: Option<IpAddr>) -> Result<Slot<'_>> {
        let own_slot = || if self.familiar.has(client) { self.slots_of_familiar.take() } else { None };
        self.slots.take().or_else(own_slot).ok_or_else(|| {
            let message = "too many passwords are being compared just now";
            Error::new(StatusCode::SERVICE_UNAVAILABLE, message).with_header("retry-after", "1")
        })
    }
}

/// From the system.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Without hashes.
impl fmt::Debug for UserFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserFile").field("path", &self.source.path()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
