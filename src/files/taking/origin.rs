//! CSRF protection: writes are accepted from pages of this server, and from clients that are not browsers. Called by
//! `taking`, from the head.
//!
//! A page of another site can make a browser send a form or a PUT to any server that the browser reaches, with the
//! user's passwords and from the user's network. Browsers name the page's site in `Sec-Fetch-Site`, and older ones in
//! `Origin`. Programs such as curl send neither.

use http::StatusCode;

use crate::{Error, Request};

/// Rejects requests from pages of other sites.
pub(super) fn check(request: &Request) -> Result<(), Error> {
    let refused = |what: String| Err(Error::new(StatusCode::FORBIDDEN, what));
    let mut sites = request.header_all("sec-fetch-site");
    match (sites.next(), sites.next()) {
        (None, _) => {}
        // `none`: caused by the user, not by a page.
        (Some(b"same-origin" | b"none"), None) => return Ok(()),
        _ => return refused("Only pages of this server can change files here.".to_owned()),
    }
    let mut origins = request.header_all("origin");
    match (origins.next(), origins.next()) {
        (None, _) => Ok(()),
        (Some(origin), None) if request.has_origin(origin) => Ok(()),
        (Some(origin), _) => {
            let origin = String::from_utf8_lossy(origin);
            refused(format!("Pages of {origin} can't change files here, only pages of this server can."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_server_and_of_others() {
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
            (&[("origin", "http://here:8000"), ("origin", "http://here:8000")], false),
        ] {
            let request = Request::get("/").with_header("host", "here:8000");
            let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, value));
            assert_eq!(check(&request).is_ok(), expected, "{fields:?}");
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
        ] {
            let request = Request::get("/").with_header("host", host).with_header("origin", origin);
            assert_eq!(check(&request).is_ok(), expected, "{origin} at {host}");
        }
    }
}
