//! Sessions: values that the server keeps per browser, found by an unguessable cookie. Handlers use `session`; the
//! values are in `store`.

mod session; // the session of one request
mod record; // the stored form of a session
mod store; // in memory, or in files

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use super::buckets::Buckets;
use super::credentials::kept_private;
use super::csrf::NoSessionOutside;
use super::vary::with_vary;
use crate::log_limit::LogLimit;
use crate::mutex::lock;
use crate::{BodyPlan, Cookie, Error, IpNetwork, Layer, Method, Next, Request, Response, Result, SameSite};
use record::{Id, Record, Stored};
pub use session::Session;
use session::{Changed, Known};
pub use store::{FileSessions, MemorySessions, SessionStore};

const HOUR: Duration = Duration::from_secs(3600);

/// How long an id that was replaced is kept, for the changes of requests in progress.
const FORWARDED: Duration = Duration::from_secs(600);

/// How many times a session can get a new id during one request, before the changes of that request are lost.
const MOVES: usize = 8;

/// How many cookies of the name are looked up. Browsers send one for each path and domain that has set it.
const COOKIES: usize = 4;

/// Gives each request a [`Session`]: values on the server, found by a random cookie.
///
/// Nothing is stored and no cookie is sent until a handler puts something into the session. A token for forms
/// ([`Session::csrf_token`]) is not enough, so public pages can have forms. An id that this server did not create is
/// never used. [`Session::log_in`] changes the id. The store sees only hashes of ids. If two requests of one process
/// change a session at the same time, both changes are kept, even if one of them changes the id.
///
/// If a request's body arrives later than its head, or the request waits
/// ([`Response::wait_for`](crate::Response::wait_for)), the session is looked up again before the handler is called. If
/// it had a user, and has ended or has a new id, the response is a 403.
///
/// A `ReverseProxy` inside this layer does not pass the cookie on. One beside it does, because the cookie's path is
/// `/`: put the layer around both.
///
/// ```
/// use modest::layers::{MemorySessions, Session, Sessions};
/// use modest::{Http, OrStatus, Request, RequestHandler, Response, Routes, User};
///
/// let app = Routes::new()
///     .get("/", |_: &(), request| {
///         let session = Session::of(request)?;
///         let greetings = session.take_flashes().join(" ");
///         Ok(Response::text(format!("{greetings} {}", request.user().or_status(403)?)))
///     })
///     .post("/login", |_, request| {
///         let session = Session::of(request)?;
///         session.log_in(User::new(request.text()?)); // once the password has been checked
///         session.flash("Welcome,");
///         Ok(Response::redirect("/"))
///     })
///     .with_state(())
///     .layer(Sessions::new(MemorySessions::new()));
/// let http = Http::new(app);
///
/// let sent = http.respond(&Request::post("/login", "ada"));
/// let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap();
/// assert_eq!(http.respond(&Request::get("/").with_header("cookie", cookie)).text(), "Welcome, ada");
/// assert_eq!(http.respond(&Request::get("/")).status(), 403);
/// ```
#[must_use = "does nothing until it is passed to `layer`"]
pub struct Sessions {
    store: Box<dyn SessionStore>,
    name: String,
    idle_timeout: Duration,
    max_age: Duration,
    same_site: SameSite,
    is_kept: bool,
    /// New sessions per client.
    beginnings: Buckets<IpNetwork>,
    /// One lock is held while a request changes a stored session, so that no change of another request is lost. With
    /// this many locks, a slow store delays only the sessions that share its lock.
    changes: [Mutex<()>; 64],
    /// The log of times of use that could not be stored.
    failures: Mutex<LogLimit<Instant>>,
    /// Whether a warning about the cookie was logged.
    has_warned: AtomicBool,
}

impl Sessions {
    /// Creates a layer with this store.
    pub fn new(store: impl SessionStore) -> Sessions {
        Sessions {
            store: Box::new(store),
            name: "modest-session".to_owned(),
            idle_timeout: Duration::from_secs(2 * 3600),
            max_age: Duration::from_secs(24 * 3600),
            same_site: SameSite::Lax,
            is_kept: false,
            beginnings: Buckets::new(1000, HOUR, "new sessions"),
            changes: [const { Mutex::new(()) }; 64],
            failures: Mutex::new(LogLimit::new(Duration::from_secs(10))),
            has_warned: AtomicBool::new(false),
        }
    }

    /// Sets the name of the cookie. Default: `modest-session`. Its path is `/`, so two layers of one host need
    /// different names. Over TLS, a name such as `__Host-session` prevents other hosts of the domain from setting it.
    /// Without TLS browsers ignore a cookie of such a name, and a warning is logged.
    ///
    /// # Panics
    /// If a cookie cannot have this name.
    pub fn cookie_name(mut self, name: impl Into<String>) -> Sessions {
        self.name = name.into();
        let is_name = Response::new(200).with_cookie(Cookie::new(&self.name, "")).header("set-cookie").is_some();
        assert!(is_name, "{:?} can't be the name of a cookie", self.name);
        self
    }

    /// Sets how long a session lasts without a request. Default: 2 hours.
    ///
    /// The time of the last request is stored up to once a minute, or ten times per idle timeout if that is more often.
    /// So a session can end earlier by up to a minute, or by a tenth of this time if that is less.
    pub fn idle_timeout(mut self, time: Duration) -> Sessions {
        self.idle_timeout = time;
        self
    }

    /// Sets how long a session can last, from its first value or the last login. Default: 24 hours.
    pub fn max_age(mut self, time: Duration) -> Sessions {
        self.max_age = time;
        self
    }

    /// Sets which requests from other sites include the cookie. Default: [`SameSite::Lax`], requests by which a user
    /// follows a link.
    pub fn same_site(mut self, policy: SameSite) -> Sessions {
        self.same_site = policy;
        self
    }

    /// Sets whether the browser keeps the cookie after it was closed, up to [`max_age`](Sessions::max_age). Default:
    /// false.
    pub fn keep(mut self, keep: bool) -> Sessions {
        self.is_kept = keep;
        self
    }

    /// Sets how many sessions without a user one client (an IPv4 address, or an IPv6 network of 64 bits) can begin per
    /// hour. Default: 1,000. Beyond that, a response that would begin a session is replaced by a 429. The rate is an
    /// average: after a pause, that many can begin at once. Without this limit one client could fill the store. A login
    /// is never rejected.
    ///
    /// # Panics
    /// If it is 0.
    pub fn new_per_hour(mut self, number: u32) -> Sessions {
        self.beginnings = Buckets::new(number, HOUR, "new sessions");
        self
    }

    /// Loads what is stored under this key, unless it is a session that has ended. A request is a use of its session
    /// from `began` to `now`, so the session does not become idle in the meantime.
    fn load(&self, key: &str, began: SystemTime, now: SystemTime) -> Result<Option<Stored>> {
        let stored = self.store.load(key)?.and_then(|bytes| Stored::from_bytes(&bytes));
        Ok(stored.filter(|stored| match stored {
            Stored::Session(record) => now < self.oldest(record) && began < self.idle_until(record),
            Stored::Moved(_) => true,
        }))
    }

    fn oldest(&self, record: &Record) -> SystemTime {
        after(record.created(), self.max_age)
    }

    fn idle_until(&self, record: &Record) -> SystemTime {
        after(record.seen(), self.idle_timeout)
    }

    fn store(&self, key: &str, record: &Record) -> Result<()> {
        Ok(self.store.save(key, &record.to_bytes(), self.oldest(record).min(self.idle_until(record)))?)
    }

    /// Gives handlers the session, and keeps it for this layer: a layer inside this one may have another session.
    fn provide(&self, request: &Request, session: Session) {
        request.put(session.clone());
        request.put_for(self, session);
    }

    /// Stores the handler's changes. Returns the cookie, if it has to be set. `shows`: whether the response is a page.
    fn save(&self, request: &Request, session: &Session, now: SystemTime, shows: bool) -> Result<Option<Cookie>> {
        let Some(changed) = session.take_changes(shows) else {
            self.touch(session, now);
            return Ok(None);
        };
        let has_ended = changed.ended.as_ref().map_or(Ok(false), |ended| self.end(ended, now))?;
        let Some((mut record, place)) = self.to_change(&changed, now)? else { return Ok(None) };
        changed.changes.iter().for_each(|change| change(&mut record));
        if place.is_none() && !record.is_worth_storing() {
            return Ok(changed.ended.map(|_| self.removal(request)));
        }
        if place.is_none() && !has_ended && !changed.logs_in {
            self.beginnings.take_for(request, "too many new sessions; try again later")?;
        }
        record.touch(now, changed.logs_in);
        record.add_csrf_token()?;
        match place {
            // If another request has given the session its new id, the response to that request sets the cookie.
            Some(place) if place.has_moved || !changed.renews => self.store(&place.key, &record).map(|()| None),
            place => {
                let new = self.store_anew(&record, place, now)?;
                let cookie = self.cookie(request, new.text());
                session.saved(Known { id: new, began: now });
                Ok(Some(cookie))
            }
        }
    }

    /// Returns the session to which changes apply, and its place. Without a place it is a new session. `None`: another
    /// request has ended the session, so the changes are dropped.
    fn to_change(&self, changed: &Changed, now: SystemTime) -> Result<Option<(Record, Option<Place<'_>>)>> {
        let Some(known) = &changed.known else { return Ok(Some((Record::new(now), None))) };
        // Loaded again, because another request may have changed the session since.
        Ok(match self.hold(known, now)? {
            // A login does not take over a session that another request has renewed. It takes the values from before.
            (place, Some(_)) if place.has_moved && changed.logs_in => Some((changed.loaded.clone(), None)),
            (place, Some(record)) => Some((record, Some(place))),
            (_, None) => changed.logs_in.then(|| (Record::new(now), None)), // a login is never lost
        })
    }

    /// Locks the stored session that the request began with, even if it has a new id now, and loads it.
    fn hold(&self, known: &Known, now: SystemTime) -> Result<(Place<'_>, Option<Record>)> {
        let mut place = Place { key: known.id.key(), has_moved: false, lock: None };
        for _ in 0..MOVES {
            place.lock = Some(self.lock(&place.key));
            match self.load(&place.key, known.began, now)? {
                Some(Stored::Moved(key)) => place = Place { key, has_moved: true, lock: None },
                Some(Stored::Session(record)) => return Ok((place, Some(record))),
                None => return Ok((place, None)),
            }
        }
        Ok((place, None))
    }

    /// Stores a session with a new id, in place of the old one if there is one.
    fn store_anew(&self, record: &Record, old: Option<Place<'_>>, now: SystemTime) -> Result<Id> {
        let new = Id::random()?;
        self.store(&new.key(), record)?;
        if let Some(old) = old {
            let forwarded = self.store.save(&old.key, &Stored::moved(&new.key()), now + FORWARDED);
            forwarded.or_else(|_| self.store.remove(&old.key))?; // even a full disk does not keep the old id valid
        }
        Ok(new)
    }

    /// Ends a session. Returns false if another request has ended it before.
    fn end(&self, known: &Known, now: SystemTime) -> Result<bool> {
        let (place, record) = self.hold(known, now)?;
        self.store.remove(&place.key)?;
        Ok(record.is_some())
    }

    /// Stores the time of the last use, at most once a minute, or ten times per idle timeout if that is more often. The
    /// response does not depend on it, so an error is only logged.
    fn touch(&self, session: &Session, now: SystemTime) {
        let pause = (self.idle_timeout / 10).min(Duration::from_secs(60));
        let Some(known) = now.checked_sub(pause).and_then(|due| session.unused_since(due)) else { return };
        let touched = self.hold(&known, now).and_then(|(place, record)| {
            let Some(mut record) = record.filter(|_| !place.has_moved) else { return Ok(()) };
            record.touch(now, false);
            self.store(&place.key, &record)
        });
        if let Err(error) = touched {
            let mut failures = lock(&self.failures);
            failures.count(1);
            if let Some(count) = failures.due(Instant::now()) {
                let cause = error.cause().map_or_else(|| error.to_string(), ToString::to_string);
                log::error!(
                    "the last use of a session can't be stored: {cause}; {} more since the last such line",
                    count - 1
                );
            }
        }
    }

    /// Waits until no other request changes the session with this key.
    fn lock(&self, key: &str) -> MutexGuard<'_, ()> {
        let part = usize::from_str_radix(&key[..2], 16).unwrap_or_default();
        lock(&self.changes[part % self.changes.len()])
    }

    fn cookie(&self, request: &Request, value: &str) -> Cookie {
        let cookie = Cookie::new(&self.name, value).with_path("/").with_http_only().with_same_site(self.same_site);
        let cookie = if self.is_kept { cookie.with_max_age(self.max_age) } else { cookie };
        if request.is_secure() {
            return cookie.with_secure();
        }
        if needs_tls(&self.name) && !self.has_warned.swap(true, Relaxed) {
            log::warn!("the cookie {} was sent without TLS: browsers ignore it", self.name);
        }
        cookie
    }

    fn removal(&self, request: &Request) -> Cookie {
        self.cookie(request, "").with_max_age(Duration::ZERO)
    }
}

impl Layer for Sessions {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        if request.value::<NoSessionOutside>().is_some() {
            return Err("the layer `Csrf` can't check tokens of sessions: put `Sessions` around it")?;
        }
        let ids = request.cookies().filter(|(name, _)| *name == self.name).filter_map(|(_, value)| Id::parse(value));
        let mut ids = ids.peekable();
        if ids.peek().is_some() {
            request.keep_cookies(&self.name);
        }
        for id in ids.take(COOKIES) {
            let began = request.now();
            if let Some(Stored::Session(record)) = self.load(&id.key(), began, began)? {
                let session = Session::existing(Known { id, began }, record);
                session.user().into_iter().for_each(|user| request.put(user));
                self.provide(request, session);
                return Ok(());
            }
        }
        self.provide(request, Session::default());
        Ok(())
    }

    fn check_again(&self, request: &Request) -> Result<()> {
        let Some(session) = request.value_for::<Session>(self) else { return Ok(()) };
        let Some(Known { id, began }) = session.known() else { return Ok(()) };
        match self.load(&id.key(), began, request.now())? {
            Some(Stored::Session(record)) => session.reload(record),
            // A request that was accepted for a user must not be executed without one.
            _ if session.had_user() => return Err(Error::new(403, "Your session has ended.")),
            // The request has the values from before the login of another request.
            Some(Stored::Moved(_)) => {}
            None => session.reload(Record::default()),
        }
        Ok(())
    }

    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        let begun = request.elapsed();
        let result = catch_unwind(AssertUnwindSafe(|| next.run(request))).unwrap_or_else(|panic| {
            // A user who has logged out stays so, as after an error. Other changes are lost.
            if let Some(session) = request.value_for::<Session>(self).filter(|session| !session.exists()) {
                let _ = self.save(request, &session, request.now(), false);
            }
            resume_unwind(panic)
        });
        let Some(session) = request.value_for::<Session>(self) else { return result };
        if result.as_ref().is_ok_and(Response::is_to_wait) {
            session.keep_flashes();
            return result; // no response is sent yet that could set the cookie; the request is handled again
        }
        let now = request.now() + request.elapsed().saturating_sub(begun);
        let shows = result.is_ok() && *request.method() != Method::HEAD;
        let Some(cookie) = self.save(request, &session, now, shows)? else { return result };
        match result {
            Ok(response) => Ok(response.with_cookie(cookie)),
            Err(error) => {
                let carrier = Response::new(200).with_cookie(cookie);
                let field = carrier.header("set-cookie").unwrap_or_default();
                Err(error.with_added_header("set-cookie", field))
            }
        }
    }

    fn finish_response(&self, request: &Request, response: Response) -> Response {
        let response = with_vary(response, "Cookie");
        let exists = request.value_for::<Session>(self).is_some_and(|session| session.exists());
        if exists || response.header("set-cookie").is_some() { kept_private(response) } else { response }
    }
}

opaque!(Sessions { name });

struct Place<'a> {
    key: String,
    /// Whether the session's id has changed since the request began.
    has_moved: bool,
    /// No other request changes the session in the meantime. `None` if it is not locked yet.
    lock: Option<MutexGuard<'a, ()>>,
}

/// Returns whether browsers accept a cookie of this name only over TLS (RFC 6265bis, section 4.1.3).
fn needs_tls(name: &str) -> bool {
    let starts_with = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    starts_with("__host-") || starts_with("__secure-")
}

/// Returns the time after this span. A span of more than a century counts as a century.
fn after(time: SystemTime, span: Duration) -> SystemTime {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    time.checked_add(span.min(CENTURY)).unwrap_or(time)
}

#[cfg(test)]
mod tests;
