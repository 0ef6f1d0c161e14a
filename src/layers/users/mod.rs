//! Users and hashes of their passwords, from a file that is reloaded when it changes. Called by `basic_auth` and by
//! handlers of forms, in turns that may block.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cores::cores;
use crate::{Error, IpNetwork, Request, Result, StatusCode, User, random};

mod familiar; // addresses that have sent a correct password
mod source; // the file, and its changes
mod table; // its lines
mod hash; // one hash
mod remembered; // verified passwords
mod slots; // the number of hashes at a time

use familiar::Familiar;
use remembered::Remembered;
use slots::{HashSlot, HashSlots};
use source::Source;
use table::Entry;

use super::credentials::is_user_name;
use super::guesses::Guesses;

/// A users file, as `htpasswd -B` writes it: one line `NAME:HASH` per user, for
/// [`BasicAuth::users`](super::BasicAuth::users), and for forms ([`verify`](UserFile::verify)).
///
/// A hash is bcrypt (`$2y$`, `$2b$`, `$2a$`), SHA-crypt (`$5$`, `$6$`) or argon2 (`$argon2id$` and variants). Others
/// (`{SHA}`, `$apr1$`, crypt, plain text) can be guessed too fast, and are rejected with their line number.
///
/// - *Reloading*: a request that needs the file checks it for changes, up to once per second, and reads it again
///   ([`reload`](UserFile::reload)). If the new file is invalid, the reason is logged, and the old users stay. If a
///   change removes the last user, every login is rejected.
/// - *Caching*: a hash is slow on purpose, for example 50 ms. So a verified pair of name and password is remembered for
///   the address it came from ([`remember`](UserFile::remember)), by a keyed hash of all three. A request with a
///   remembered pair costs five locks.
/// - *Unknown names*: the password of an unknown user is also compared with one of the file's hashes, so the time does
///   not reveal which names exist.
/// - *Floods*: a limited number of passwords are hashed at once, a limited number of requests wait, and others get 503
///   with `Retry-After` ([`hashes_at_once`](UserFile::hashes_at_once)).
/// - *Guessing* is limited per address and name, and per address: 429 with `Retry-After`
///   ([`wrong_passwords`](UserFile::wrong_passwords)). The limit applies before every comparison, including remembered
///   pairs: a client at its limit gets 429 even for the right password. Correct passwords do not count.
///
/// ```
/// use modest::layers::{BasicAuth, UserFile};
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("users");
/// // The password is "a long secret"
/// std::fs::write(&path, "ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n")?;
/// let hello = handler_fn(|request| Ok(Response::text(format!("Hello, {}!\n", request.user().unwrap()))));
/// let http = Http::new(hello.layer(BasicAuth::new("staff").users(UserFile::open(&path)?)));
///
/// let request = Request::get("/").with_header("authorization", "Basic YWRhOmEgbG9uZyBzZWNyZXQ=");
/// assert_eq!(http.respond(&request).text(), "Hello, ada!\n");
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "checks no password until `BasicAuth::users` or `verify` is called"]
pub struct UserFile {
    source: Arc<Source>,
    /// How often the file is checked for changes.
    every: Option<Duration>,
    remembered: Remembered,
    guesses: Guesses,
    slots: HashSlots,
    familiar: Familiar,
    /// Additional slots for familiar addresses.
    slots_of_familiar: HashSlots,
    /// The keys by which the stand-in for an unknown user is chosen.
    keys: RandomState,
    #[cfg(test)]
    hashed: std::sync::atomic::AtomicUsize,
}

/// Longer passwords are rejected, because the time of SHA-crypt grows with the square of the length.
const LONGEST_PASSWORD: usize = 1024;

impl UserFile {
    /// Reads the file, which can have up to 16 MiB.
    ///
    /// # Errors
    /// If it cannot be read, has no user, or has an invalid line: the error names file and line, and what to do.
    pub fn open(path: impl AsRef<Path>) -> io::Result<UserFile> {
        Ok(UserFile {
            source: Arc::new(Source::open(path.as_ref())?),
            every: Some(Duration::from_secs(1)),
            remembered: Remembered::new(random::bytes()?, Duration::from_secs(300)),
            guesses: Guesses::by_default(),
            slots: HashSlots::new((cores() / 2).max(1), 7),
            familiar: Familiar::default(),
            slots_of_familiar: HashSlots::new(1, 1),
            keys: RandomState::new(),
            #[cfg(test)]
            hashed: Default::default(),
        })
    }

    /// Sets how long a verified pair of name and password is remembered for its address after its last use. Default: 5
    /// minutes; zero: not at all. A pair is no longer valid when the user's line changes or is deleted.
    pub fn remember(mut self, time: Duration) -> UserFile {
        self.remembered.time = time;
        self
    }

    /// Sets how many passwords are hashed at once, and how many requests can wait for that, each holding a worker for
    /// up to 2 seconds. Default: half of the processors, at least 1, and 7 waiting. For addresses that have sent a
    /// correct password before, one more is hashed, and a quarter as many more requests can wait for that, for up to 2
    /// further seconds, so that a flood from other addresses does not lock them out. Keep the sum of all these below
    /// the number of workers.
    ///
    /// # Panics
    /// If the number is zero.
    pub fn hashes_at_once(mut self, number: usize, waiting: usize) -> UserFile {
        assert!(number > 0, "the number of hashes at once must be at least 1");
        self.slots = HashSlots::new(number, waiting);
        self.slots_of_familiar = HashSlots::new(1, waiting / 4);
        self
    }

    /// Sets how many wrong passwords an address can send per name and period. Default: 10 per minute. This is an
    /// average: after a pause, that many can come at once. For all names together the limit is ten times as high.
    /// Passwords that got 503 count as wrong. Addresses are counted as by [`RateLimit`](super::RateLimit): behind a
    /// proxy, put a [`TrustedProxies`](super::TrustedProxies) layer around this one; otherwise all clients share one
    /// limit.
    ///
    /// # Panics
    /// If the number is zero, or the rate is over one per nanosecond.
    pub fn wrong_passwords(mut self, number: u32, per: Duration) -> UserFile {
        self.guesses = Guesses::new(number, per);
        self
    }

    /// Sets how often, at most, a request that needs the file checks it for changes. Default: once per second;
    /// `None`: never.
    pub fn reload(mut self, every: impl Into<Option<Duration>>) -> UserFile {
        self.every = every.into();
        self
    }

    /// Returns a function that reloads the file at once, for a signal such as SIGHUP, and returns the number of users.
    /// On an error the earlier users stay.
    pub fn reloader(&self) -> impl Fn() -> io::Result<usize> + Send + Sync + 'static {
        let source = Arc::clone(&self.source);
        move || source.reload()
    }

    /// Returns the line of a user for such a file, without a line break. The hash is argon2id with a salt of its own.
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
    /// If the name or the password is invalid. Rules of rights can have the name
    /// ([`PathRule::is_user_name`](super::PathRule::is_user_name)). A password has 1 to 1,024 bytes and no control
    /// characters.
    pub fn line(name: &str, password: &str) -> io::Result<String> {
        let wrong = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !is_user_name(name) {
            return wrong(
                "the name of a user can't contain spaces, control characters, or any of , : = *, and can't start with # or @",
            );
        }
        if password.is_empty() || has_controls(password) || password.len() > LONGEST_PASSWORD {
            return wrong("a password must have 1 to 1,024 bytes and no control characters");
        }
        Ok(format!("{name}:{}", hash::hash_of(password.as_bytes())?))
    }

    /// Returns the user with this name and password, for a handler that checks the form of a login. All rules of the
    /// file apply as for [`BasicAuth`](super::BasicAuth), including the limits of wrong passwords and of hashes at
    /// once. `None` if the name or the password is wrong. The layer [`Sessions`](super::Sessions) remembers who has
    /// logged in.
    ///
    /// ```
    /// use modest::layers::{MemorySessions, Session, Sessions, UserFile};
    /// use modest::{Request, RequestHandler, Response, Result, Routes, testing};
    ///
    /// fn log_in(users: &UserFile, request: &Request) -> Result<Response> {
    ///     let form = request.form()?;
    ///     let (name, password): (String, String) = (form.parse("name")?, form.parse("password")?);
    ///     match users.verify(request, &name, &password)? {
    ///         Some(user) => {
    ///             Session::of(request)?.log_in(user); // gives the session a new id
    ///             Ok(Response::redirect("/"))
    ///         }
    ///         None => Ok(Response::html("Name or password is wrong.").with_status(403)), // and the form again
    ///     }
    /// }
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("users");
    /// std::fs::write(&path, UserFile::line("ada", "a long secret")? + "\n")?;
    /// let app = Routes::new()
    ///     .get("/", |_, request| Ok(Response::text(format!("Hello, {}!", request.user().unwrap_or_default()))))
    ///     .post("/login", log_in)
    ///     .with_state(UserFile::open(&path)?);
    /// let server = testing::serve(app.layer(Sessions::new(MemorySessions::new())));
    /// let mut ada = server.browser().follow_redirects(true);
    /// ada.post_form("/login", &[("name", "ada"), ("password", "guessed")]).assert_status(403);
    /// ada.post_form("/login", &[("name", "ada"), ("password", "a long secret")]).assert_text("Hello, ada!");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the password is not checked: 429 after too many wrong ones, or 503 if too many are being checked. Both have
    /// `Retry-After`.
    pub fn verify(&self, request: &Request, name: &str, password: &str) -> Result<Option<User>> {
        Ok(self.knows(request.client_ip(), name, password)?.then(|| User::new(name)))
    }

    /// Returns whether this is the password of this user. An error means that the password cannot be checked now.
    ///
    /// The order of checks prevents guessing: first the limit of the client, then the remembered pairs, then a slot,
    /// then the hash.
    fn knows(&self, client: Option<IpAddr>, name: &str, password: &str) -> Result<bool> {
        let table = self.source.table(self.every);
        if has_controls(name) || has_controls(password) || password.len() > LONGEST_PASSWORD {
            return Ok(false);
        }
        let (entry, number) = (table.get(name), self.keys.hash_one(name));
        let compared = entry.or_else(|| table.stand_in(number));
        let text = compared.map_or("", |compared| &compared.text);
        let digest = self.remembered.digest(client.map(IpNetwork::of_client), name, text, password);
        // A remembered pair counts only for an existing user: a stand-in can have the same hash as a deleted user.
        let is_remembered = || self.remembered.has(&digest, Instant::now()) && entry.is_some();
        let (Some(guess), Some(compared)) = (self.guesses.begin(client, number, is_remembered)?, compared) else {
            return Ok(entry.is_some());
        };
        let _slot = self.slot(client)?;
        // Another request of the same client may have verified the pair while this one waited for a slot.
        let is_right = is_remembered() || self.compare(compared, password) && entry.is_some();
        if is_right {
            guess.take_back();
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

    fn slot(&self, client: Option<IpAddr>) -> Result<HashSlot<'_>> {
        let own_slot = || if self.familiar.has(client) { self.slots_of_familiar.take() } else { None };
        self.slots.take().or_else(own_slot).ok_or_else(|| {
            let message = "too many passwords are being checked right now";
            Error::new(StatusCode::SERVICE_UNAVAILABLE, message).with_header("retry-after", "1")
        })
    }
}

/// Returns whether this cannot be the name or the password of a user (RFC 7617, section 2).
fn has_controls(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// Leaves out hashes.
impl fmt::Debug for UserFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserFile").field("path", &self.source.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
