//! `Set-Cookie` (RFC 6265, section 4.1): a checked builder. Used by `Response::cookie`.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::grammar::is_token;
use crate::http::date;
use crate::http::error::Error;

/// A cookie to set.
///
/// By default it is a session cookie for the folder of the page and the host that sets it.
///
/// ```
/// use std::time::Duration;
/// use modest::{Cookie, Response, SameSite};
///
/// let visits = Cookie::new("visits", "3").with_path("/").with_max_age(Duration::from_secs(3600)).with_http_only().with_same_site(SameSite::Lax);
/// let response = Response::text("welcome back\n").with_cookie(visits);
/// assert_eq!(response.header("set-cookie").unwrap(), "visits=3; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
/// ```
///
/// An invalid name or value (spaces, commas, semicolons, quotes, backslashes, control characters, non-ASCII) does not
/// panic: the response is sent as a 500, and the cause is logged. Encode such values first.
#[derive(Clone, Debug)]
#[must_use = "is sent only with a response"]
pub struct Cookie {
    line: String,
    deferred_error: Option<Error>,
}

/// Which requests from other sites include a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// The cookie is sent with no request from another site.
    Strict,
    /// Top-level navigations, such as links.
    Lax,
    /// All requests. Browsers also require [`Cookie::with_secure`].
    None,
}

impl Cookie {
    /// Creates a cookie with this name and value.
    pub fn new(name: impl AsRef<str>, value: impl AsRef<str>) -> Cookie {
        let (name, value) = (name.as_ref(), value.as_ref());
        let cookie = Cookie { line: format!("{name}={value}"), deferred_error: None };
        if !is_token(name.as_bytes()) {
            return cookie.refused(format!("{name:?} is not a valid cookie name"));
        }
        if !value.bytes().all(is_cookie_octet) {
            return cookie.refused(format!("the cookie {name} can't have the value {value:?}"));
        }
        cookie
    }

    /// Creates a cookie that deletes the cookie of this name. Set the path and the domain with which it was created.
    pub fn removal(name: impl AsRef<str>) -> Cookie {
        Cookie::new(name, "").with_max_age(Duration::ZERO)
    }

    /// Sets the path. Requests at and below it include the cookie.
    pub fn with_path(self, path: impl AsRef<str>) -> Cookie {
        self.attribute("Path", path.as_ref())
    }

    /// Sets the domain. Requests to all its hosts include the cookie. Default: this host only.
    pub fn with_domain(self, domain: impl AsRef<str>) -> Cookie {
        self.attribute("Domain", domain.as_ref())
    }

    /// Sets the lifetime of the cookie, in whole seconds. Zero deletes it. Default: until the browser is closed.
    pub fn with_max_age(self, age: Duration) -> Cookie {
        self.attribute("Max-Age", &age.as_secs().to_string())
    }

    /// Sets the time at which the cookie expires, for clients that do not support `with_max_age`. A time before the
    /// year 0 or after 9999 is left out.
    pub fn with_expires(self, time: SystemTime) -> Cookie {
        match date::text(time) {
            Some(text) => self.attribute("Expires", &text),
            None => self,
        }
    }

    /// Hides the cookie from scripts.
    pub fn with_http_only(self) -> Cookie {
        self.flag("HttpOnly")
    }

    /// Restricts the cookie to requests over TLS.
    pub fn with_secure(self) -> Cookie {
        self.flag("Secure")
    }

    /// Sets which requests from other sites include the cookie. Browsers use `Lax` by default.
    pub fn with_same_site(self, policy: SameSite) -> Cookie {
        let policy = match policy {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        };
        self.attribute("SameSite", policy)
    }

    pub(crate) fn into_value(self) -> Result<HeaderValue, Error> {
        match self.deferred_error {
            Some(error) => Err(error),
            None => Ok(HeaderValue::try_from(self.line)?),
        }
    }

    fn attribute(mut self, name: &str, value: &str) -> Cookie {
        // RFC 6265: any character but controls and `;`.
        if value.bytes().any(|byte| byte == b';' || !(0x20..0x7f).contains(&byte)) {
            return self.refused(format!("the cookie attribute {name} cannot be {value:?}"));
        }
        let _ = write!(self.line, "; {name}={value}"); // writing to a string does not fail
        self
    }

    fn flag(mut self, flag: &str) -> Cookie {
        self.line.push_str("; ");
        self.line.push_str(flag);
        self
    }

    pub(super) fn refused(mut self, why: String) -> Cookie {
        self.deferred_error.get_or_insert_with(|| Error::from(why));
        self
    }
}

fn is_cookie_octet(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_written_or_rejected() {
        let hour = Duration::from_secs(3600);
        for (cookie, expected) in [
            (Cookie::new("a", "b"), Some("a=b")),
            (Cookie::new("a", ""), Some("a=")),
            (Cookie::new("__Host-id", "x==").with_secure().with_path("/"), Some("__Host-id=x==; Secure; Path=/")),
            (
                Cookie::new("a", "b").with_domain("example.com").with_max_age(hour),
                Some("a=b; Domain=example.com; Max-Age=3600"),
            ),
            (Cookie::new("a", "b").with_same_site(SameSite::None).with_secure(), Some("a=b; SameSite=None; Secure")),
            (Cookie::new("a", "b").with_same_site(SameSite::Strict), Some("a=b; SameSite=Strict")),
            (
                Cookie::new("a", "b").with_expires(SystemTime::UNIX_EPOCH),
                Some("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
            ),
            (Cookie::removal("a").with_path("/x"), Some("a=; Max-Age=0; Path=/x")),
            (Cookie::new("", "b"), None),
            (Cookie::new("a b", "c"), None),
            (Cookie::new("a=b", "c"), None),
            (Cookie::new("a", "b c"), None),
            (Cookie::new("a", "b;c"), None),
            (Cookie::new("a", "b,c"), None),
            (Cookie::new("a", "\"b\""), None),
            (Cookie::new("a", "b\\c"), None),
            (Cookie::new("a", "b\r\nc"), None),
            (Cookie::new("a", "é"), None),
            (Cookie::new("a", "b").with_path("/;x"), None),
            (Cookie::new("a", "b").with_path("/\n"), None),
            (Cookie::new("a", "b").with_domain("é.example"), None),
        ] {
            let line = cookie.line.clone();
            let value = cookie.into_value().ok();
            assert_eq!(value.as_ref().map(|value| value.to_str().unwrap()), expected, "{line:?}");
        }
    }
}
