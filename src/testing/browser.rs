//! A client that keeps its cookies, as a browser does.

use super::{SentResponse, TestRequest, TestServer};
use crate::{Method, SameSite};

/// A client that keeps the cookies of one server: [`TestServer::browser`]. Redirects are not followed.
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
#[derive(Debug)]
pub struct Browser<'a> {
    server: &'a TestServer,
    cookies: Vec<StoredCookie>,
}

#[derive(Debug)]
struct StoredCookie {
    name: String,
    value: String,
    path: String,
    same_site: SameSite,
}

impl<'a> Browser<'a> {
    pub(super) fn new(server: &'a TestServer) -> Browser<'a> {
        Browser { server, cookies: Vec::new() }
    }

    /// Sends a GET.
    ///
    /// # Panics
    /// As [`TestServer::get`].
    pub fn get(&mut self, target: &str) -> SentResponse {
        self.send(TestRequest::new(Method::GET, target))
    }

    /// Sends a form with these fields by POST, as a page of the server does.
    ///
    /// # Panics
    /// As [`TestServer::get`].
    pub fn post_form(&mut self, target: &str, fields: &[(&str, &str)]) -> SentResponse {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = TestRequest::new(Method::POST, target).with_body(body);
        self.send(request.with_header("Content-Type", "application/x-www-form-urlencoded"))
    }

    /// Sends any request, with the cookies for its path. Stores, replaces and removes cookies as the response requests.
    ///
    /// As Chromium does for a page of the server, it adds `Sec-Fetch-Site: same-origin`, and `Origin` except to GET and
    /// HEAD. With `Sec-Fetch-Site: cross-site`, or another `Origin`, a page of another site sends the request: cookies
    /// that such a page can't make Chromium send are left out ([`SameSite`]).
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
    /// As [`TestServer::get`].
    pub fn send(&mut self, request: impl Into<TestRequest>) -> SentResponse {
        let request = with_site(request.into());
        let only_reads = [Method::GET, Method::HEAD].contains(&request.method);
        let is_foreign = request.field("sec-fetch-site") == Some("cross-site");
        let path = request.target.split('?').next().unwrap_or_default().to_owned();
        let is_sent = |cookie: &&StoredCookie| match cookie.same_site {
            _ if !is_foreign => true,
            SameSite::None => true,
            SameSite::Lax => only_reads,
            SameSite::Strict => false,
        };
        let cookies = self.cookies.iter().filter(|cookie| path_matches(&cookie.path, &path)).filter(is_sent);
        let cookies: Vec<String> = cookies.map(|StoredCookie { name, value, .. }| format!("{name}={value}")).collect();
        let request = match cookies.is_empty() {
            true => request,
            false => request.with_header("Cookie", cookies.join("; ")),
        };
        let sent = self.server.send(request);
        for cookie in sent.headers().get_all("set-cookie") {
            self.keep(&String::from_utf8_lossy(cookie.as_bytes()), &path);
        }
        sent
    }

    /// Returns the value of a cookie, if the client has it.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|cookie| cookie.name == name).map(|cookie| cookie.value.as_str())
    }

    /// Sets a cookie for all paths, as a response of the server would.
    pub fn set_cookie(&mut self, name: &str, value: &str) {
        self.keep(&format!("{name}={value}; Path=/"), "/");
    }

    /// Stores a cookie (RFC 6265, section 5.3), for one host.
    fn keep(&mut self, line: &str, asked: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { return };
        let (mut path, mut is_over, mut same_site) = (default_path(asked), false, SameSite::Lax);
        for (attribute, value) in parts.filter_map(|part| part.split_once('=')) {
            match attribute.to_ascii_lowercase().as_str() {
                "path" if value.starts_with('/') => path = value.to_owned(),
                "samesite" if value.eq_ignore_ascii_case("none") => same_site = SameSite::None,
                "samesite" if value.eq_ignore_ascii_case("strict") => same_site = SameSite::Strict,
                "max-age" => is_over = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        self.cookies.retain(|known| known.name != name || known.path != path);
        if !is_over {
            self.cookies.push(StoredCookie { name: name.to_owned(), value: value.to_owned(), path, same_site });
            self.cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        }
    }
}

/// Adds the fields by which Chromium names the page that sends the request, unless it has them.
fn with_site(request: TestRequest) -> TestRequest {
    let own = format!("http://{}", request.field("host").unwrap_or("localhost"));
    let site = match (request.field("sec-fetch-site"), request.field("origin")) {
        (Some(site), _) => site.to_owned(),
        (None, Some(origin)) if origin != own => "cross-site".to_owned(),
        (None, _) => "same-origin".to_owned(),
    };
    let origin = if ["same-origin", "none"].contains(&&*site) { own } else { "https://other.example".to_owned() };
    let lacks = |request: &TestRequest, name| request.field(name).is_none();
    let has_origin = ![Method::GET, Method::HEAD].contains(&request.method) && lacks(&request, "origin");
    let request = if has_origin { request.with_header("Origin", origin) } else { request };
    if lacks(&request, "sec-fetch-site") { request.with_header("Sec-Fetch-Site", site) } else { request }
}

/// Returns the folder of the path (RFC 6265, section 5.1.4).
fn default_path(asked: &str) -> String {
    match asked.rfind('/') {
        Some(slash) if slash > 0 => asked[..slash].to_owned(),
        _ => "/".to_owned(),
    }
}

fn path_matches(cookie: &str, asked: &str) -> bool {
    asked.strip_prefix(cookie).is_some_and(|rest| rest.is_empty() || cookie.ends_with('/') || rest.starts_with('/'))
}
