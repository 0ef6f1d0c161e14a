//! A client that keeps its cookies, as a browser does, and can follow redirects.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;

#[cfg(feature = "websocket")]
use super::TestWebSocket;
use super::{SentResponse, TestEvents, TestRequest, TestServer};
use crate::http::date;
use crate::{Method, SameSite};

/// A client that keeps the cookies of one server: [`TestServer::browser`]. Redirects are followed with
/// [`follow_redirects`](Browser::follow_redirects).
///
/// ```
/// use modest::{Cookie, Response, handler_fn, testing};
///
/// let server = testing::serve(handler_fn(|request| {
///     let visits: u32 = request.cookie("visits").and_then(|visits| visits.parse().ok()).unwrap_or(0);
///     Ok(Response::text(format!("{visits}")).with_cookie(Cookie::new("visits", (visits + 1).to_string())))
/// }));
/// let mut ada = server.browser();
/// assert_eq!((ada.get("/").text(), ada.get("/").text()), ("0", "1"));
/// assert_eq!(server.browser().get("/").text(), "0");
/// ```
///
/// # Cookies
/// Cookies are stored and sent by the rules of RFC 6265, section 5:
/// - The last attribute of a name counts. `Max-Age` overrides `Expires`, and either is ignored if it is invalid.
/// - A cookie that is set again keeps its place. With another `Path` or `Domain`, it is another cookie.
/// - A cookie is rejected if it has no name, or if its `Domain` does not include the `Host` of the request.
///
/// As in Chromium, which follows the draft RFC 6265bis, a cookie is also rejected
/// - if it has `SameSite=None` without `Secure`,
/// - if its name begins with `__Secure-` and it is not `Secure`,
/// - if its name begins with `__Host-` and it is not `Secure`, has a `Domain`, or lacks `Path=/`,
/// - if its name and its value together have more than 4096 bytes.
///
/// `Secure` cookies are stored and sent without TLS, as by Chromium for `http://localhost`. All hosts of the server
/// share the cookies. The date of `Expires` has one of the forms of RFC 9110, section 5.6.7, which can have hyphens, as
/// in `Thu, 01-Jan-1970 00:00:00 GMT`. Other dates are ignored. Public suffixes that have a dot, such as `co.uk`, are
/// not recognized.
#[derive(Debug)]
pub struct Browser<'a> {
    server: &'a TestServer,
    cookies: Vec<StoredCookie>,
    follows: bool,
}

/// Browsers give up after as many redirects (Fetch, section 4.4).
const MOST_REDIRECTS: usize = 20;

/// The most bytes of a cookie's name and value together (draft RFC 6265bis, section 5.6).
const MOST_COOKIE_BYTES: usize = 4096;

/// The longest time for which a cookie is stored: 400 days (draft RFC 6265bis, section 5.5), in seconds.
const LONGEST_AGE: u64 = 400 * 86_400;

/// The last second of 2019, in seconds since 1970. For a parser that allows 50 years in the future, years of two digits
/// are then from 1970 to 2069 (RFC 6265, section 5.1.1).
const END_OF_2019: Duration = Duration::from_secs(1_577_836_799);

#[derive(Debug)]
struct StoredCookie {
    name: String,
    value: String,
    domain: String, // empty: only the host that has set it
    path: String,
    same_site: SameSite,
    expires: Option<SystemTime>,
}

impl<'a> Browser<'a> {
    pub(super) fn new(server: &'a TestServer) -> Browser<'a> {
        Browser { server, cookies: Vec::new(), follows: false }
    }

    /// Sets whether redirects to pages of the server are followed. Default: false. Browsers follow up to 20 in a row,
    /// and send the cookies that each response sets. After a 303, and for a POST also after a 301 or 302, they send a
    /// GET. A redirect to another server is returned. A `Location` is parsed by the rules of the URL Standard, section
    /// 4.4, but with a user name or with another spelling of an address, such as `127.1`, it is another server's.
    ///
    /// ```
    /// use modest::{Response, Routes, testing};
    ///
    /// let app = Routes::new()
    ///     .get("/", |_: &(), _| Ok(Response::text("saved")))
    ///     .post("/", |_, _| Ok(Response::redirect("/")));
    /// let server = testing::serve(app.with_state(()));
    /// server.browser().post_form("/", &[]).assert_status(303).assert_header("location", "/");
    /// server.browser().follow_redirects(true).post_form("/", &[]).assert_text("saved");
    /// ```
    pub fn follow_redirects(mut self, follow: bool) -> Browser<'a> {
        self.follows = follow;
        self
    }

    /// Sends a GET.
    ///
    /// # Panics
    /// As [`TestServer::get`].
    #[track_caller]
    pub fn get(&mut self, target: &str) -> SentResponse {
        self.send(TestRequest::new(Method::GET, target))
    }

    /// Sends a form with these fields by POST, as a page of the server does.
    ///
    /// # Panics
    /// As [`TestServer::get`].
    #[track_caller]
    pub fn post_form(&mut self, target: &str, fields: &[(&str, &str)]) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_form(fields))
    }

    /// Sends a form with these fields and files by POST, as a page of the server does: see
    /// [`TestRequest::with_form_data`].
    ///
    /// # Panics
    /// As [`TestServer::get`].
    #[track_caller]
    pub fn post_form_data(
        &mut self,
        target: &str,
        fields: &[(&str, &str)],
        files: &[(&str, &str, &[u8])],
    ) -> SentResponse {
        self.send(TestRequest::new(Method::POST, target).with_form_data(fields, files))
    }

    /// Sends any request, with the cookies for its path. Stores, replaces and removes cookies as the response requests.
    ///
    /// As Chromium does for a page of the server, it adds `Sec-Fetch-Site: same-origin`, and `Origin` except to GET and
    /// HEAD. With `Sec-Fetch-Site: cross-site`, or another `Origin`, a page of another site sends the request: cookies
    /// that such a page can't make Chromium send are left out ([`SameSite`]).
    ///
    /// It adds no `Accept`, `User-Agent` or `Referer`. If a page depends on one, as the error pages of
    /// [`ErrorPages`](crate::layers::ErrorPages) do on `Accept: text/html`, add it to the request.
    ///
    /// ```
    /// use modest::layers::Csrf;
    /// use modest::testing::{self, TestRequest};
    /// use modest::{Method, RequestHandler, Response, handler_fn};
    ///
    /// let server = testing::serve(handler_fn(|_| Ok(Response::text("changed"))).layer(Csrf::new()));
    /// assert_eq!(server.browser().send(TestRequest::new(Method::DELETE, "/")).text(), "changed");
    /// let forged = TestRequest::new(Method::DELETE, "/").with_header("Sec-Fetch-Site", "cross-site");
    /// assert_eq!(server.browser().send(forged).status(), 403);
    /// ```
    ///
    /// # Panics
    /// As [`TestServer::get`], and after more than 20 redirects that are followed.
    #[track_caller]
    pub fn send(&mut self, request: impl Into<TestRequest>) -> SentResponse {
        let mut request = with_site(request.into(), false);
        for _ in 0..=MOST_REDIRECTS {
            let sent = self.send_once(&request);
            match self.redirected(&request, &sent) {
                Some(next) => request = next,
                None => return sent,
            }
        }
        panic!("{} {}: more than {MOST_REDIRECTS} redirects", request.method, request.target)
    }

    /// Sends a GET for events, with the cookies for its path: see [`TestServer::events`].
    ///
    /// # Panics
    /// As [`TestServer::events`].
    #[track_caller]
    pub fn events(&mut self, request: impl Into<TestRequest>) -> TestEvents {
        let request = with_site(request.into(), false);
        let events = self.server.events(self.with_cookies(&request, false));
        self.keep_all(events.response().headers(), &request);
        events
    }

    /// Opens a WebSocket, with the cookies for its path: see [`TestServer::websocket`].
    ///
    /// As a browser does, it always names the page's `Origin`: by default a page of the server.
    ///
    /// ```
    /// use modest::websocket::{self, Message, Socket, WebSocketHandler};
    /// use modest::{OrStatus, Result, handler_fn, testing};
    ///
    /// struct Named(String);
    ///
    /// impl WebSocketHandler for Named {
    ///     fn opened(&mut self, socket: &Socket) -> Result<()> {
    ///         Ok(socket.send(format!("Hello, {}!", self.0))?)
    ///     }
    ///
    ///     fn message(&mut self, _: Message, _: &Socket) -> Result<()> {
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let server = testing::serve(handler_fn(|request| {
    ///     let name = request.cookie("name").or_status(401)?.to_owned();
    ///     websocket::accept(request, Named(name))
    /// }));
    /// let mut browser = server.browser();
    /// browser.get("/").assert_status(401);
    /// browser.set_cookie("name", "Ada");
    /// assert_eq!(browser.websocket("/").receive().unwrap().as_text(), Some("Hello, Ada!"));
    /// ```
    ///
    /// # Panics
    /// As [`TestServer::websocket`].
    #[cfg(feature = "websocket")]
    #[track_caller]
    pub fn websocket(&mut self, request: impl Into<TestRequest>) -> TestWebSocket {
        let request = with_site(request.into(), true);
        let (socket, fields) = self.server.open_websocket(&self.with_cookies(&request, false));
        self.keep_all(&fields, &request);
        socket
    }

    #[track_caller]
    fn send_once(&mut self, request: &TestRequest) -> SentResponse {
        let only_reads = [Method::GET, Method::HEAD].contains(&request.method);
        let sent = self.server.send(self.with_cookies(request, only_reads));
        self.keep_all(sent.headers(), request);
        sent
    }

    /// Adds the cookies that a browser sends with this request. `may_navigate`: a link of another site can cause it.
    fn with_cookies(&self, request: &TestRequest, may_navigate: bool) -> TestRequest {
        let is_foreign = request.field("sec-fetch-site") == Some("cross-site");
        let is_sent = |cookie: &&StoredCookie| match cookie.same_site {
            _ if !is_foreign => true,
            SameSite::None => true,
            SameSite::Lax => may_navigate,
            SameSite::Strict => false,
        };
        let cookies =
            self.current_cookies().filter(|cookie| path_matches(&cookie.path, path_of(request))).filter(is_sent);
        let cookies: Vec<String> = cookies.map(|StoredCookie { name, value, .. }| format!("{name}={value}")).collect();
        match cookies.is_empty() {
            true => request.clone(),
            false => request.clone().with_header("Cookie", cookies.join("; ")),
        }
    }

    /// Stores, replaces and removes cookies as a response requests.
    fn keep_all(&mut self, fields: &HeaderMap, request: &TestRequest) {
        for cookie in fields.get_all("set-cookie") {
            self.keep(&String::from_utf8_lossy(cookie.as_bytes()), request);
        }
    }

    /// Returns the next request, if this response is a redirect to a page of the server.
    fn redirected(&self, request: &TestRequest, sent: &SentResponse) -> Option<TestRequest> {
        let becomes_get = match (sent.status().as_u16(), &request.method) {
            (301 | 302, method) => *method == Method::POST,
            (303, method) => ![Method::GET, Method::HEAD].contains(method),
            (307 | 308, _) => false,
            _ => return None,
        };
        let own = [own_origin(request), self.server.url("")];
        let target = resolve(sent.header("location").filter(|_| self.follows)?, &request.target, &own)?;
        let mut next = TestRequest { target, ..request.clone() };
        if becomes_get {
            next.method = Method::GET;
            next.body.clear();
            next.fields.retain(|(name, _)| {
                let name = name.to_ascii_lowercase();
                !name.starts_with("content-") && name != "transfer-encoding" && name != "origin"
            });
        }
        Some(next)
    }

    /// Returns the value of a cookie, if the client has it.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.current_cookies().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
    }

    /// Sets a cookie for all paths, as a response of the server would with `Secure`.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.keep(&format!("{name}={value}; Path=/; Secure"), &TestRequest::new(Method::GET, "/"));
    }

    fn current_cookies(&self) -> impl Iterator<Item = &StoredCookie> {
        self.cookies.iter().filter(|cookie| cookie.is_current())
    }

    /// Stores, replaces or removes a cookie (RFC 6265, section 5.3).
    fn keep(&mut self, line: &str, request: &TestRequest) {
        let Some(cookie) = StoredCookie::parse(line, request) else { return };
        match self.cookies.iter_mut().find(|known| known.identity() == cookie.identity()) {
            Some(known) => *known = cookie,
            None => self.cookies.push(cookie),
        }
        self.cookies.retain(StoredCookie::is_current);
        self.cookies.sort_by_key(|cookie| Reverse(cookie.path.len())); // otherwise by creation (section 5.4)
    }
}

impl StoredCookie {
    /// Parses a `Set-Cookie` (RFC 6265, section 5.2) of the response to this request. `None` if browsers reject it.
    fn parse(line: &str, request: &TestRequest) -> Option<StoredCookie> {
        let (pair, attributes) = line.split_once(';').unwrap_or((line, ""));
        let (name, value) = pair.split_once('=').map(|(name, value)| (name.trim_ascii(), value.trim_ascii()))?;
        // The values of an attribute, the last one first.
        let all = |name: &'static str| {
            let pairs = attributes.split(';').rev().map(|part| part.split_once('=').unwrap_or((part, "")));
            let named = pairs.filter(|(known, _)| known.trim_ascii().eq_ignore_ascii_case(name));
            named.map(|(_, value)| value.trim_ascii())
        };
        let (path, domain) = (all("path").next().unwrap_or_default(), all("domain").next().unwrap_or_default());
        let same_site = match all("samesite").next().map(str::to_ascii_lowercase).as_deref() {
            Some("none") => SameSite::None,
            Some("strict") => SameSite::Strict,
            _ => SameSite::Lax,
        };
        let has_prefix =
            |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        let needs_secure = same_site == SameSite::None || has_prefix("__Secure-") || has_prefix("__Host-");
        if name.is_empty()
            || name.len() + value.len() > MOST_COOKIE_BYTES
            || needs_secure && all("secure").next().is_none()
            || has_prefix("__Host-") && (path != "/" || !domain.is_empty())
        {
            return None;
        }
        Some(StoredCookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: parse_domain(domain, &own_origin(request))?,
            path: if path.starts_with('/') { path } else { default_path(path_of(request)) }.to_owned(),
            same_site,
            expires: all("max-age").find_map(parse_max_age).or_else(|| all("expires").find_map(parse_expires)),
        })
    }

    fn identity(&self) -> (&str, &str, &str) {
        (&self.name, &self.domain, &self.path)
    }

    fn is_current(&self) -> bool {
        self.expires.is_none_or(|end| end > SystemTime::now())
    }
}

/// Returns the domain of a cookie from this origin, or "" for a cookie of its host only. `None` if it is foreign
/// (RFC 6265, sections 5.2.3 and 5.3). A domain without a dot is a public suffix.
fn parse_domain(domain: &str, origin: &str) -> Option<String> {
    let domain = domain.strip_prefix('.').unwrap_or(domain).to_ascii_lowercase();
    let host = origin.trim_start_matches("http://").split(':').next().unwrap_or_default();
    let is_shared = domain.contains('.') && host.parse::<IpAddr>().is_err();
    match host.strip_suffix(&domain) {
        _ if domain.is_empty() => Some(domain),
        Some("") if !is_shared => Some(String::new()),
        Some(before) if is_shared && (before.is_empty() || before.ends_with('.')) => Some(domain),
        _ => None,
    }
}

/// Parses `Max-Age` (RFC 6265, section 5.2.2).
fn parse_max_age(value: &str) -> Option<SystemTime> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if value == digits { digits.parse().unwrap_or(LONGEST_AGE) } else { 0 };
    is_number.then(|| SystemTime::now() + Duration::from_secs(seconds.min(LONGEST_AGE)))
}

/// Parses `Expires` (RFC 6265, section 5.2.1).
fn parse_expires(value: &str) -> Option<SystemTime> {
    let parse = |text: &str| date::parse(text.as_bytes(), UNIX_EPOCH + END_OF_2019);
    parse(value).or_else(|| parse(&value.replace('-', " ")))
}

/// Adds the fields by which Chromium names the page that sends the request, unless it has them. A GET or HEAD gets an
/// `Origin` only if it opens a WebSocket.
fn with_site(request: TestRequest, is_websocket: bool) -> TestRequest {
    let own = own_origin(&request);
    let site = match (request.field("sec-fetch-site"), request.field("origin")) {
        (Some(site), _) => site.to_owned(),
        (None, Some(origin)) if canonical(origin) != own => "cross-site".to_owned(),
        (None, _) => "same-origin".to_owned(),
    };
    let origin = if ["same-origin", "none"].contains(&&*site) { own } else { "https://other.example".to_owned() };
    let lacks = |request: &TestRequest, name| request.field(name).is_none();
    let names_origin = is_websocket || ![Method::GET, Method::HEAD].contains(&request.method);
    let has_origin = names_origin && lacks(&request, "origin");
    let request = if has_origin { request.with_header("Origin", origin) } else { request };
    if lacks(&request, "sec-fetch-site") { request.with_header("Sec-Fetch-Site", site) } else { request }
}

fn path_of(request: &TestRequest) -> &str {
    request.target.split('?').next().unwrap_or_default()
}

fn own_origin(request: &TestRequest) -> String {
    canonical(&format!("http://{}", request.field("host").unwrap_or("localhost")))
}

/// Returns an origin in lower case, without the default port of `http`.
fn canonical(origin: &str) -> String {
    let origin = origin.to_ascii_lowercase();
    origin.strip_suffix(":80").or(origin.strip_suffix(':')).unwrap_or(&origin).to_owned()
}

/// Returns the target to which this `Location` leads from a page of the server (URL Standard, section 4.4). `None` if
/// it leads away from the server, which has these `own` origins.
pub(super) fn resolve(location: &str, page: &str, own: &[String]) -> Option<String> {
    let location = location.trim_matches(|c| c <= ' ').replace(['\t', '\n', '\r'], "");
    let location = location.split('#').next().unwrap_or_default();
    let [(path, query), (page_path, _)] =
        [location, page].map(|target| target.split_at(target.find('?').unwrap_or(target.len())));
    let (path, query) = (path.replace('\\', "/"), encoded(query, b"\"<>'"));
    let path = encoded(own_path(&path, own)?, b"\"<>^`{}");
    Some(match path.as_str() {
        "" if query.is_empty() => page.to_owned(),
        "" => format!("{page_path}{query}"),
        _ if path.starts_with('/') => without_dots(&path) + &query,
        _ => without_dots(&format!("{}/{path}", page_path.rsplit_once('/')?.0)) + &query,
    })
}

/// Returns a URL reference without scheme and host. `None` if they are not those of the server.
fn own_path<'a>(url: &'a str, own: &[String]) -> Option<&'a str> {
    let rest = match url.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return None,
        None => url,
    };
    let Some(rest) = rest.strip_prefix("//") else { return Some(rest) };
    let rest = rest.trim_start_matches('/'); // any number of slashes precedes the host
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_own = own.contains(&canonical(&format!("http://{host}")));
    is_own.then_some(if path.is_empty() { "/" } else { path })
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Percent-encodes spaces, control characters, non-ASCII and these `others` (URL Standard, section 1.3).
fn encoded(text: &str, others: &[u8]) -> String {
    let encode = |byte: u8| match byte {
        b'!'..=b'~' if !others.contains(&byte) => char::from(byte).to_string(),
        _ => percent_encoding::percent_encode_byte(byte).to_owned(),
    };
    text.bytes().map(encode).collect()
}

/// Removes the dot segments of a path that begins with a slash (URL Standard, section 4.4, path state).
fn without_dots(path: &str) -> String {
    let mut kept = Vec::new();
    let mut ends_with_dots = false;
    for segment in path.split('/').skip(1) {
        let dots = segment.to_ascii_lowercase().replace("%2e", ".");
        ends_with_dots = [".", ".."].contains(&&*dots);
        match &*dots {
            "." => {}
            ".." => _ = kept.pop(),
            _ => kept.push(segment),
        }
    }
    if ends_with_dots {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Returns the folder of the path (RFC 6265, section 5.1.4).
fn default_path(asked: &str) -> &str {
    match asked.rfind('/') {
        Some(slash) if slash > 0 => &asked[..slash],
        _ => "/",
    }
}

fn path_matches(cookie: &str, asked: &str) -> bool {
    asked.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}
