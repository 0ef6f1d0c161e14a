//! Determines whether a URL or an origin belongs to the server of a request, and whether a page of this server has sent
//! the request.
//!
//! A page of another site can make a browser send a form or a PUT to any server that the browser reaches, with the
//! user's passwords and from the user's network (CSRF). Browsers name the page's site in `Sec-Fetch-Site`, older
//! browsers in `Origin`. Programs such as curl send neither field.

use http::StatusCode;

use super::Request;
use crate::http::error::Error;

impl Request {
    /// Returns whether an origin, as in the field `Origin`, is `http` or `https` with the host and the port of the
    /// request. `http` is accepted unless the request [is secure](Request::is_secure): anyone in the network can change
    /// a page that was not encrypted. `https` is always accepted, because a proxy may have ended TLS.
    pub fn has_origin(&self, origin: &[u8]) -> bool {
        // A page in a sandbox has the origin `null`, and an extension has a scheme of its browser.
        let with_scheme = |scheme: &[u8], port| {
            let authority = origin.strip_prefix(scheme).filter(|authority| !authority.is_empty());
            authority.is_some_and(|authority| self.is_own_authority(authority, port))
        };
        with_scheme(b"https://", "443") || !self.is_secure() && with_scheme(b"http://", "80")
    }

    /// Returns whether this is an origin (RFC 6454, section 6.2) in the form that browsers send. They leave out the
    /// default port of a scheme.
    pub(crate) fn is_origin(text: &str) -> bool {
        let Some((scheme, authority)) = text.split_once("://") else { return false };
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_default_port = matches!(scheme, "http" if authority.ends_with(":80"))
            || matches!(scheme, "https" if authority.ends_with(":443"));
        !scheme.is_empty()
            && !authority.is_empty()
            && scheme.bytes().all(|byte| letter(byte) || b"+-.".contains(&byte))
            && authority.bytes().all(|byte| letter(byte) || b".-_:[]".contains(&byte))
            && (!is_default_port || authority.starts_with('[') && !authority.contains("]:"))
    }

    /// Returns whether a page of this server, or the user, made the browser send the request, according to
    /// `Sec-Fetch-Site`, or otherwise `Origin`. `None` if the request has neither field: it is from a program such as
    /// curl, or from an old browser.
    ///
    /// A browser adds the user's cookies and passwords even to requests of other sites' pages. Reject such requests if
    /// they change something, as the layer [`Csrf`](crate::layers::Csrf) does.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// for (site, expected) in [("same-origin", true), ("none", true), ("same-site", false), ("cross-site", false)] {
    ///     let request = Request::post("/", "").with_header("sec-fetch-site", site);
    ///     assert_eq!(request.is_from_own_page(), Some(expected));
    /// }
    /// assert_eq!(Request::post("/", "").is_from_own_page(), None);
    /// ```
    pub fn is_from_own_page(&self) -> Option<bool> {
        match (self.only_line("sec-fetch-site"), self.only_line("origin")) {
            (Ok(None), Ok(None)) => None,
            (Ok(None), Ok(Some(origin))) => Some(self.has_origin(origin)),
            // `none`: caused by the user, not by a page.
            (Ok(Some(site)), Ok(_)) => Some([&b"same-origin"[..], b"none"].contains(&site)),
            _ => Some(false), // a field more than once
        }
    }

    /// Rejects a request that a page of another site has sent. `what`: the action that is only for pages of this
    /// server.
    pub(crate) fn check_own_page(&self, what: &str) -> Result<(), Error> {
        match self.is_from_own_page() {
            Some(false) => Err(Error::new(StatusCode::FORBIDDEN, format!("Only pages of this server can {what}."))),
            _ => Ok(()),
        }
    }

    /// `default` is the port if the authority has none.
    pub(super) fn is_own_authority(&self, authority: &[u8], default: &str) -> bool {
        let Ok(authority) = std::str::from_utf8(authority) else { return false };
        self.host().is_some_and(|host| host_and_port(host, default) == host_and_port(authority, default))
    }
}

fn host_and_port<'a>(authority: &'a str, default: &'a str) -> (String, &'a str) {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            (host.to_ascii_lowercase(), port)
        }
        _ => (authority.to_ascii_lowercase(), default),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Forwarded;
    use super::*;

    #[test]
    fn own_and_foreign_pages_are_distinguished() {
        for (fields, expected) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "none")], true),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://here:8000")], false),
            (&[("origin", "http://here:8000")], true),
            (&[("origin", "http://HERE:8000")], true),
            (&[("origin", "https://here:8000")], true),
            (&[("origin", "http://here")], false),
            (&[("origin", "http://here:8001")], false),
            (&[("origin", "http://here:8000.evil.example")], false),
            (&[("origin", "http://evil.example:8000")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (&[("origin", "ftp://here:8000")], false),
            (&[("origin", "chrome-extension://here:8000")], false),
            (&[("origin", "HTTP://here:8000")], false),
            (&[("origin", "://here:8000")], false),
            (&[("origin", "http://here:8000"), ("origin", "http://here:8000")], false),
        ] {
            let request = Request::get("/").with_header("host", "here:8000");
            let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, value));
            assert_eq!(request.check_own_page("").is_ok(), expected, "{fields:?}");
        }
        for (host, origin, expected) in [
            ("here", "http://here", true),
            ("here", "http://here:80", true),
            ("here:80", "http://here", true),
            ("here:443", "https://here", true),
            ("here", "https://here", true),
            ("here", "https://here:444", false),
            ("[::1]:80", "http://[::1]", true),
            ("[::1]", "http://[::1]", true),
            ("[::1]", "http://[::2]", false),
            ("", "http://", false),
            ("", "file://", false),
        ] {
            let request = Request::get("/").with_header("host", host).with_header("origin", origin);
            assert_eq!(request.check_own_page("").is_ok(), expected, "{origin} at {host}");
        }
        // A page without TLS is not a page of a server with TLS.
        for (scheme, origin, expected) in [
            ("https", "http://here", false),
            ("https", "https://here", true),
            ("http", "http://here", true),
            ("http", "https://here", true),
        ] {
            let request = Request::get("/").with_header("host", "here").with_header("origin", origin);
            request.put(Forwarded { scheme: Some(scheme.to_owned()), ..Forwarded::default() });
            assert_eq!(request.check_own_page("").is_ok(), expected, "{origin} with {scheme}");
        }
    }
}
