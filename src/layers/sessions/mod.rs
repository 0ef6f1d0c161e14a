//! Sessions: values that the server keeps per browser, found by an unguessable cookie. Handlers use `session`; the
//! values are in `store`.

mod session; // the session of one request

mod record; // the stored form of a session

mod store; // in memory, or in files

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use super::buckets::{Buckets, ClientKey, client_key, too_many};
use super::credentials::kept_private;
use super::csrf::NoSessionOutside;
use super::vary::with_vary;
use crate::mutex::lock;
use crate::{BodyPlan, Cookie, Error, Layer, Next, Request, Response, Result, SameSite};
use record::{Id, Record};
use session::Changed;
pub use session::Session;
pub use store::{FileSessions, MemorySessions, SessionStore};

const HOUR: Duration = Duration::from_secs(3600);

/// How many cookies of the name are looked up. Browsers send one for each path and domain that has set it.
const COOKIES: usize = 4;

/// Gives each request a [`Session`]: values on the server, found by a random cookie.
///
/// Nothing is stored and no cookie is sent until a handler puts something into the session. A token for forms
/// ([`Session::csrf_token`]) is not enough, so public pages can have forms. An id that this server did not create is
/// never used. [`Session::log_in`] changes the id. The store sees only hashes of ids. If two requests
/// change a session at the same time, both changes are kept.
///
/// A `ReverseProxy` inside this layer does not pass the cookie on. One beside it does, because the cookie's path is `/`:
/// put the layer around both.
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
    beginnings: Buckets<ClientKey>,
    /// One lock is held while a request changes a stored session, so that no change of another request is lost. With
    /// this many locks, a slow store delays only the sessions that share its lock.
    changes: [Mutex<()>; 64],
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
        }
    }

    /// Sets the name of the cookie. Default: `modest-session`. Its path is `/`, so two layers of one host need different
    /// names. Over TLS, a name such as `__Host-session` prevents other hosts of the domain from setting it.
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
    /// hour. Default: 1,000. Beyond that, a response that would begin a session is replaced by a 429. Without this
    /// limit one client could fill the store. A login is never rejected.
    ///
    /// # Panics
    /// If it is 0.
    pub fn new_per_hour(mut self, number: u32) -> Sessions {
        self.beginnings = Buckets::new(number, HOUR, "new sessions");
        self
    }

    /// Loads the session with this id, unless there is none or it has ended.
    fn load(&self, id: &Id, now: SystemTime) -> Result<Option<Record>> {
        let stored = self.store.load(&id.key())?;
        Ok(stored.and_then(|bytes| Record::from_bytes(&bytes)).filter(|record| now < self.end_of(record)))
    }

    fn end_of(&self, record: &Record) -> SystemTime {
        after(record.created(), self.max_age).min(after(record.seen(), self.idle_timeout))
    }

    /// Returns whether the time of the last use has to be stored. It is stored at most once a minute, or ten times per
    /// idle timeout if that is more often.
    fn is_to_be_touched(&self, record: &Record, now: SystemTime) -> bool {
        now > record.seen() + (self.idle_timeout / 10).min(Duration::from_secs(60))
    }

    /// Gives handlers the session, and keeps it for this layer: a layer inside this one may have another session.
    fn provide(&self, request: &Request, session: Session) {
        request.put(session.clone());
        request.put_for(self, session);
    }

    /// Stores the handler's changes. Returns the cookie, if it has to be set.
    fn save(&self, request: &Request, session: &Session) -> Result<Option<Cookie>> {
        let now = request.now();
        let changed = session.take_changes(|record| self.is_to_be_touched(record, now));
        let Some(Changed { ended, id, renews, changes }) = changed else { return Ok(None) };
        let _one_at_a_time = ended.as_ref().or(id.as_ref()).map(|id| self.lock(id));
        let has_ended = ended.as_ref().map_or(Ok(false), |ended| self.end(ended, now))?;
        // Loaded again, because another request may have changed the session since.
        let stored = id.as_ref().map_or(Ok(None), |id| self.load(id, now))?;
        let (is_lost, id) = (id.is_some() && stored.is_none(), id.filter(|_| stored.is_some()));
        let mut record = stored.unwrap_or_else(|| Record::new(now));
        changes.iter().for_each(|change| change(&mut record));
        // Another request ended the session or gave it a new id, and the response to that request sets the cookie.
        // Only a login begins a new session.
        if is_lost && !record.has_user() {
            return Ok(None);
        }
        if id.is_none() && !record.is_worth_storing() {
            return Ok(ended.map(|_| self.removal(request)));
        }
        let is_new = id.is_none() || renews;
        if id.is_none() && !has_ended && !record.has_user() {
            self.count_beginning(request)?;
        }
        record.touch(now, renews);
        let new = match id.clone().filter(|_| !is_new) {
            Some(id) => id,
            None => Id::random()?,
        };
        self.store.save(&new.key(), &record.to_bytes(), self.end_of(&record))?;
        if let Some(old) = id.filter(|_| renews) {
            self.store.remove(&old.key())?;
        }
        session.saved(new.clone());
        Ok(is_new.then(|| self.cookie(request, new.text())))
    }

    /// Removes a session. Returns false if another request has ended it before. The caller holds its lock.
    fn end(&self, id: &Id, now: SystemTime) -> Result<bool> {
        let is_stored = self.load(id, now)?.is_some();
        self.store.remove(&id.key())?;
        Ok(is_stored)
    }

    /// Waits until no other request changes this session.
    fn lock(&self, id: &Id) -> MutexGuard<'_, ()> {
        lock(&self.changes[id.part(self.changes.len())])
    }

    fn count_beginning(&self, request: &Request) -> Result<()> {
        let Some(client) = request.client_ip().map(client_key) else { return Ok(()) };
        let taken = self.beginnings.take(client, self.beginnings.now());
        taken.map_err(|wait| too_many("too many new sessions; try again later", wait))
    }

    fn cookie(&self, request: &Request, value: &str) -> Cookie {
        let cookie = Cookie::new(&self.name, value).with_path("/").with_http_only().with_same_site(self.same_site);
        let cookie = if self.is_kept { cookie.with_max_age(self.max_age) } else { cookie };
        if request.is_secure() { cookie.with_secure() } else { cookie }
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
            if let Some(record) = self.load(&id, request.now())? {
                let session = Session::existing(id, record);
                session.user().into_iter().for_each(|user| request.put(user));
                self.provide(request, session);
                return Ok(());
            }
        }
        self.provide(request, Session::default());
        Ok(())
    }

    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        let result = next.run(request);
        if result.as_ref().is_ok_and(Response::is_to_wait) {
            return result; // no response is sent yet that could set the cookie; the request is handled again
        }
        let Some(session) = request.value_for::<Session>(self) else { return result };
        let Some(cookie) = self.save(request, &session)? else { return result };
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

/// Returns the time after this span, of which at most a century counts.
fn after(time: SystemTime, span: Duration) -> SystemTime {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    time.checked_add(span.min(CENTURY)).unwrap_or(time)
}

fn missing_layer() -> Error {
    Error::from("a handler needs a session, but there is no layer `Sessions` around it".to_owned())
}

#[cfg(test)]
mod tests;
