//! Name and password in each request (RFC 7617).

use std::hash::{BuildHasher, RandomState};
#[cfg(feature = "users")]
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "users")]
use super::UserFile;
use super::credentials::{
    Accepted, Challenges, check_same, decode_base64, equal, kept_private, of_scheme, realm_parameter, unauthorized,
};
use super::guesses::Guesses;
use super::vary::with_vary;
use crate::{BodyPlan, Error, HeaderValue, Layer, Method, Request, Response, Result, StatusCode, UrlPath, User};

/// Requires a name and a password, for which browsers have a dialog: 401 before the body is read. They are checked
/// again before the handler is called if the body arrived later or the request has waited: a user who was removed gets
/// 401, and one who has lost a role gets 403.
///
/// The user is stored in the request as [`User`], for handlers and the access log. Name and password are sent in clear
/// text with each request, so serve it over TLS (see [`only_if`](BasicAuth::only_if)). Responses to users have
/// `Cache-Control: private`, or the `no-store` of the handler, so that no shared cache sends them to others (RFC 9111,
/// section 3.5).
///
/// ```
/// use modest::layers::BasicAuth;
/// use modest::{Http, Request, RequestHandler, Response, User, handler_fn};
///
/// let hello = handler_fn(|request| Ok(Response::text(format!("Hello, {}!\n", request.value::<User>().unwrap().name()))));
/// let http = Http::new(hello.layer(BasicAuth::new("staff").user("ada", "a long secret")));
/// assert_eq!(http.respond(&Request::get("/")).status(), 401);
///
/// let request = Request::get("/").with_header("authorization", "Basic YWRhOmEgbG9uZyBzZWNyZXQ=");
/// assert_eq!(http.respond(&request).text(), "Hello, ada!\n");
/// ```
#[must_use = "does nothing until it is passed to `layer`"]
pub struct BasicAuth {
    challenge: String,
    check: Check,
    /// The limit of guesses for listed passwords.
    guesses: Guesses,
    keys: RandomState,
    optional: bool,
    is_safe: Option<IsSafe>,
    log_in: Option<String>,
}

enum Check {
    /// Names and passwords.
    Listed(Vec<(String, String)>),
    Closure(Closure),
    #[cfg(feature = "users")]
    File(Arc<UserFile>),
}

type Closure = Box<dyn Fn(&Request, &str, &str) -> Result<Option<User>> + Send + Sync>;
type IsSafe = Box<dyn Fn(&Request) -> bool + Send + Sync>;

impl BasicAuth {
    /// Creates a layer for the users added by [`user`](BasicAuth::user). Browsers use the realm to choose a stored
    /// password, and some show it.
    ///
    /// # Panics
    /// If the realm contains anything but printable ASCII.
    pub fn new(realm: &str) -> BasicAuth {
        BasicAuth::with(realm, Check::Listed(Vec::new()))
    }

    /// Creates a layer for the users that this closure accepts by name and password. It may block: a slow password hash
    /// holds a worker while it is computed, for each request, and again if the body arrives later or the request waits.
    /// [`UserFile`](super::UserFile) avoids that for users in a file.
    ///
    /// Compare secrets in constant time (crate `subtle`), or better their slow hashes (`argon2`, `bcrypt`), and spend
    /// the same time on an unknown name.
    ///
    /// ```
    /// use modest::User;
    /// use modest::layers::BasicAuth;
    ///
    /// # fn password_is_right(_: &str, _: &str) -> bool { true }
    /// let auth = BasicAuth::checked_by("staff", |_, name, password| {
    ///     password_is_right(name, password).then(|| User::new(name))
    /// });
    /// ```
    ///
    /// # Panics
    /// If the realm contains anything but printable ASCII.
    pub fn checked_by<F>(realm: &str, check: F) -> BasicAuth
    where
        F: Fn(&Request, &str, &str) -> Option<User> + Send + Sync + 'static,
    {
        BasicAuth::try_checked_by(realm, move |request, name, password| Ok(check(request, name, password)))
    }

    /// Creates a layer like [`checked_by`](BasicAuth::checked_by), with a closure that can fail, for example if the
    /// table of users cannot be read. The error becomes the response: by default a 500.
    ///
    /// ```
    /// use modest::layers::BasicAuth;
    /// use modest::{OrStatus, User};
    ///
    /// # fn look_up(_: &str, _: &str) -> std::io::Result<bool> { Ok(true) }
    /// let auth = BasicAuth::try_checked_by("staff", |_, name, password| {
    ///     let is_right = look_up(name, password).or_status(503)?;
    ///     Ok(is_right.then(|| User::new(name).with_role("staff")))
    /// });
    /// ```
    ///
    /// # Panics
    /// If the realm contains anything but printable ASCII.
    pub fn try_checked_by<F>(realm: &str, check: F) -> BasicAuth
    where
        F: Fn(&Request, &str, &str) -> Result<Option<User>> + Send + Sync + 'static,
    {
        BasicAuth::with(realm, Check::Closure(Box::new(check)))
    }

    /// Adds a user. Default: none. Each request is compared with all users, in a time that does not depend on their
    /// secrets. For many users use [`checked_by`](BasicAuth::checked_by).
    ///
    /// # Panics
    /// If the layer was created with a closure, or if the name contains a colon.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> BasicAuth {
        let name = name.into();
        assert!(!name.contains(':'), "the name of a user can't contain a colon: {name:?}");
        match &mut self.check {
            Check::Listed(users) => users.push((name, password.into())),
            _ => panic!("this layer has another source of users"),
        }
        self
    }

    /// Sets how many wrong passwords an address can send per name and period, for the users added by
    /// [`user`](BasicAuth::user). Default: 10 per minute. Beyond that, requests get 429 with `Retry-After`, even with
    /// the right password. For all names together the limit is ten times as high. Addresses are counted as by
    /// [`RateLimit`](super::RateLimit). A closure has no such limit, and a `UserFile` has its own.
    ///
    /// # Panics
    /// If the number is zero, or the rate is over one per nanosecond.
    pub fn wrong_passwords(mut self, number: u32, per: Duration) -> BasicAuth {
        self.guesses = Guesses::new(number, per);
        self
    }

    /// Uses the users of this file only: see [`UserFile`]. Default: no file. An `Arc` shares the file, and its limits,
    /// with a form for logins ([`UserFile::verify`]).
    ///
    /// # Panics
    /// If other users were added, or the layer was created with a closure.
    #[cfg(feature = "users")]
    pub fn users(mut self, file: impl Into<Arc<UserFile>>) -> BasicAuth {
        let is_empty = matches!(&self.check, Check::Listed(users) if users.is_empty());
        assert!(is_empty, "this layer has another source of users");
        self.check = Check::File(file.into());
        self
    }

    /// Sets whether requests without credentials are passed on without a user. Default: false. A layer or a handler
    /// inside then decides what anonymous users can do, as [`PathRights`](super::PathRights) does. A 401 from inside
    /// gets the challenge, and responses get `Vary: Authorization`. Requests with wrong credentials are rejected in any
    /// case.
    pub fn optional(mut self, optional: bool) -> BasicAuth {
        self.optional = optional;
        self
    }

    /// Accepts passwords only in requests for which this closure returns true. Other requests get 403 without a
    /// challenge, so that browsers send no password in clear text. Default: all requests.
    ///
    /// ```
    /// use modest::Request;
    /// use modest::layers::BasicAuth;
    ///
    /// // Over TLS on this connection; with `TrustedProxies::scheme` around, also over TLS to a proxy.
    /// let auth = BasicAuth::new("staff").only_if(Request::is_secure);
    /// ```
    pub fn only_if(mut self, is_safe: impl Fn(&Request) -> bool + Send + Sync + 'static) -> BasicAuth {
        self.is_safe = Some(Box::new(is_safe));
        self
    }

    /// Lets users log in and out at this path, which must be that of a folder. Default: none; then browsers show the
    /// password dialog only at pages that are not public. `GET PATH?log-in=FOLDER` requires a name and a password, and
    /// then redirects to a folder below the path. `POST PATH?log-out` makes the browser forget the name and the
    /// password. Listings have buttons for both, and show the name of the user. Use it with
    /// [`optional`](BasicAuth::optional).
    ///
    /// # Panics
    /// If the path does not begin and end with a slash.
    pub fn log_in_at(mut self, path: &str) -> BasicAuth {
        assert!(path.starts_with('/') && path.ends_with('/'), "expected the path of a folder: {path:?}");
        self.log_in = Some(path.to_owned());
        self
    }

    /// Returns the response to a request that logs in or out, or `None` for any other request.
    fn account(&self, request: &Request, user: Option<&User>) -> Result<(), Error> {
        let Some(log_in) = &self.log_in else { return Ok(()) };
        let to = |way: &str| {
            let location = Request::link_back(way);
            Error::new(StatusCode::SEE_OTHER, "")
                .with_header("location", location)
                .with_header("cache-control", "no-store")
        };
        let is_at = |path: UrlPath<'_>| path.as_bytes() == log_in.as_bytes();
        if !request.url_path().is_ok_and(is_at) {
            return Ok(());
        }
        match (request.method(), request.param("log-in"), request.param("log-out")) {
            (&Method::GET | &Method::HEAD, Some(way), _) => {
                // The link is for a user who cancels the dialog.
                let back = || format!("<{}>; rel=\"up\"", Request::link_back(&way));
                Err(if user.is_some() { to(&way) } else { unauthorized(&self.challenge).with_header("link", back()) })
            }
            (&Method::POST, _, Some(how)) => {
                request.check_own_page("log out here")?;
                let out =
                    Error::new(StatusCode::UNAUTHORIZED, "You are logged out.").with_header("link", "<./>; rel=\"up\"");
                Err(match (user, &*how) {
                    (None, _) => to(""),
                    // Chromium forgets a password after a 401 with another scheme, without a dialog. Other browsers
                    // need a script (`logout.js`) or a dialog.
                    (Some(_), "now") => out.with_header("www-authenticate", "Logout"),
                    (Some(_), _) => out.with_header("www-authenticate", &*self.challenge),
                })
            }
            _ => Ok(()),
        }
    }

    fn with(realm: &str, check: Check) -> BasicAuth {
        let challenge = format!("Basic {}, charset=\"UTF-8\"", realm_parameter(realm));
        let (guesses, keys) = (Guesses::by_default(), RandomState::new());
        BasicAuth { challenge, check, guesses, keys, optional: false, is_safe: None, log_in: None }
    }

    /// Returns the user, or `None` if an anonymous client is allowed. The error is the rejection.
    fn admit(&self, request: &Request) -> Result<Option<User>> {
        let has_credentials = request.header_all("authorization").next().is_some();
        let user = if has_credentials { self.authenticate(request)? } else { None };
        match user {
            None if has_credentials || !self.optional => Err(unauthorized(&self.challenge)),
            user => Ok(user),
        }
    }

    fn authenticate(&self, request: &Request) -> Result<Option<User>> {
        let text = of_scheme(request, "Basic").ok().flatten().and_then(decode_base64);
        let Some(text) = text.and_then(|text| String::from_utf8(text).ok()) else { return Ok(None) };
        // RFC 7617, section 2: no control characters; the name ends at the first colon.
        let parts = text.split_once(':').filter(|_| !text.chars().any(char::is_control));
        let Some((name, password)) = parts else { return Ok(None) };
        let is_one = match &self.check {
            Check::Closure(check) => return check(request, name, password),
            Check::Listed(users) => {
                let is_one = || {
                    users.iter().fold(false, |is_one, (known, secret)| {
                        let is_known = equal(name.as_bytes(), known.as_bytes());
                        is_one | (is_known & equal(password.as_bytes(), secret.as_bytes()))
                    })
                };
                self.guesses.begin(request.client_ip(), self.keys.hash_one(name), is_one)?.is_none()
            }
            #[cfg(feature = "users")]
            Check::File(file) => return file.verify(request, name, password),
        };
        Ok(is_one.then(|| User::new(name)))
    }
}

impl Layer for BasicAuth {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<(), Error> {
        if self.is_safe.as_ref().is_some_and(|is_safe| !is_safe(request)) {
            return Err(Error::new(StatusCode::FORBIDDEN, "Passwords are accepted only over https."));
        }
        self.log_in.iter().for_each(|path| request.put_log_in(path));
        let user = self.admit(request)?;
        if user.is_none() {
            request.put(Challenges);
        }
        // The user is stored first, so that the access log has the user of each response.
        if let Some(user) = &user {
            request.put(user.clone());
            request.put_for(self, Accepted(user.clone()));
            request.use_authorization();
        }
        self.account(request, user.as_ref())
    }

    fn check_again(&self, request: &Request) -> Result<(), Error> {
        check_same(request.value_for(self), self.admit(request)?)
    }

    fn finish_response(&self, request: &Request, response: Response) -> Response {
        let is_of_user = request.value::<User>().is_some();
        let response = if is_of_user { kept_private(response) } else { response };
        if !self.optional {
            return response;
        }
        let response = with_vary(response, "Authorization");
        // A 401 for an authenticated user does not concern the password.
        let lacks_challenge = !is_of_user
            && response.status() == StatusCode::UNAUTHORIZED
            && response.header("www-authenticate").is_none();
        match HeaderValue::from_str(&self.challenge) {
            Ok(challenge) if lacks_challenge => response.with_header("www-authenticate", challenge),
            _ => response,
        }
    }
}

// Leaves out its secrets.
opaque!(BasicAuth { challenge });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, RequestHandler, Response, handler_fn};

    fn whoami() -> impl RequestHandler {
        handler_fn(|request| Ok(Response::text(request.value::<User>().unwrap().name())))
    }

    fn app() -> impl RequestHandler {
        whoami().layer(BasicAuth::new("a \"realm\"").user("ada", "secret").user("käthe", "pä:ss").user("empty", ""))
    }

    #[test]
    fn only_valid_credentials_pass() {
        let http = Http::new(app());
        for (field, user) in [
            ("Basic YWRhOnNlY3JldA==", Some("ada")),
            ("bAsIc YWRhOnNlY3JldA==", Some("ada")),
            ("Basic a8OkdGhlOnDDpDpzcw==", Some("käthe")),
            ("Basic ZW1wdHk6", Some("empty")),
            ("Basic YWRhOnNlY3JldA", None),          // no padding
            ("Basic YWRhOnNlY3JldHM=", None),        // ada:secrets
            ("Basic YWRhOg==", None),                // ada:
            ("Basic YWRh", None),                    // ada
            ("Basic OnNlY3JldA==", None),            // :secret
            ("Basic ZW1wdHk6c2VjcmV0", None),        // empty:secret
            ("Basic YWRhOnDDpDpzcw==", None),        // ada, with the password of another user
            ("Basic YWRhOnNlY3JldAA=", None),        // ada:secret, and NUL
            ("Basic YWRhOnNlY3JldA== x", None),      // two words
            ("Basic YWRhOnNlY3JldA==, Basic", None), // two credentials
            ("Basic a+R0aGU6cOQ6c3M=", None),        // Latin-1
            ("Basic", None),
            ("Basic ", None),
            ("Bearer YWRhOnNlY3JldA==", None),
            ("YWRhOnNlY3JldA==", None),
            ("", None),
        ] {
            let sent = http.respond(&Request::get("/").with_header("authorization", field));
            let found = (sent.status() == 200).then(|| sent.text());
            assert_eq!(found, user, "{field:?}");
            let challenge = user.is_none().then_some("Basic realm=\"a \\\"realm\\\"\", charset=\"UTF-8\"");
            assert_eq!(sent.header("www-authenticate"), challenge, "{field:?}");
        }
        let twice = Request::get("/")
            .with_header("authorization", "Basic YWRhOnNlY3JldA==")
            .with_header("authorization", "Basic YWRhOnNlY3JldA==");
        assert_eq!(http.respond(&twice).status(), 401);
        assert_eq!(http.respond(&Request::get("/")).status(), 401);
    }

    #[test]
    fn a_closure_checks_credentials() {
        let auth = BasicAuth::checked_by("r", |request, name, password| {
            (request.path() == "/a" && password == "secret").then(|| User::new(format!("{name}!")))
        });
        let http = Http::new(whoami().layer(auth));
        let request = |path| Request::get(path).with_header("authorization", "Basic YWRhOnNlY3JldA==");
        assert_eq!(http.respond(&request("/a")).text(), "ada!");
        assert_eq!(http.respond(&request("/b")).status(), 401);
    }

    /// Guessing is limited before anything is compared, by address and name.
    #[test]
    fn guesses_are_limited() {
        let auth = BasicAuth::new("r").user("ada", "secret").user("empty", "");
        let http = Http::new(whoami().layer(auth.wrong_passwords(3, Duration::from_secs(3600))));
        let (right, wrong, other) = ("Basic YWRhOnNlY3JldA==", "Basic YWRhOg==", "Basic ZW1wdHk6");
        let status = |field| http.respond(&Request::get("/").with_header("authorization", field)).status().as_u16();
        assert_eq!([0; 20].map(|_| status(right)), [200; 20], "right passwords must not count towards the limit");
        assert_eq!([wrong; 5].map(status), [401, 401, 401, 429, 429]);
        assert_eq!([right, other].map(status), [429, 200]);
    }

    /// Logging in and out has a path of its own. Only pages of this server can log a user out, and no redirect leads to
    /// another site.
    #[test]
    fn users_can_log_in_and_out() {
        let app = handler_fn(|request| Ok(Response::text(request.user().unwrap_or_default())));
        let http = Http::new(app.layer(BasicAuth::new("r").user("ada", "secret").optional(true).log_in_at("/p/")));
        let ada = |request: Request| request.with_header("authorization", "Basic YWRhOnNlY3JldA==");
        let (get, post) = (Request::get, |target| Request::post(target, ""));
        let head = |target| Request::new(Method::HEAD, target).unwrap();
        for (request, status, location, challenge) in [
            (get("/p/?log-in=a/b%2520c/"), 401, None, Some("Basic")),
            (ada(get("/p/?log-in=a/b%2520c/")), 303, Some("./a/b%20c/"), None),
            (ada(get("/p/?log-in=")), 303, Some("./"), None),
            (ada(get("/p/?log-in=https://evil.example/")), 303, Some("./"), None),
            (ada(get("/p/?log-in=//evil.example")), 303, Some("./"), None),
            (ada(get("/p/?log-in=%0d%0aSet-Cookie:a")), 303, Some("./%0D%0ASet-Cookie:a"), None),
            (head("/p/?log-in=a/"), 401, None, Some("Basic")),
            (ada(head("/p/?log-in=a/")), 303, Some("./a/"), None),
            (get("/?log-in="), 200, None, None),
            (get("/p/x?log-in="), 200, None, None),
            (get("/p/?log-out"), 200, None, None),
            (post("/p/?log-out"), 303, Some("./"), None),
            (ada(post("/p/?log-out")), 401, None, Some("Basic")),
            (ada(post("/p/?log-out=now")), 401, None, Some("Logout")),
            (ada(post("/p/?log-out")).with_header("sec-fetch-site", "cross-site"), 403, None, None),
            (ada(post("/p/?log-out=now")).with_header("origin", "http://evil.example"), 403, None, None),
        ] {
            let request = request.with_header("host", "here");
            let sent = http.respond(&request);
            assert_eq!((sent.status().as_u16(), sent.header("location")), (status, location), "{request:?}");
            let scheme = sent.header("www-authenticate").map(|text| text.split(' ').next().unwrap_or_default());
            assert_eq!(scheme, challenge, "{request:?}");
        }
    }

    #[test]
    fn no_credentials_pass_without_users() {
        let http = Http::new(whoami().layer(BasicAuth::new("r")));
        assert_eq!(http.respond(&Request::get("/").with_header("authorization", "Basic Og==")).status(), 401);
    }
}
