//! The handshake from HTTP to WebSocket (RFC 6455, section 4.2), and allowed origins (section 10.2). Called by
//! `settings`.

use tungstenite::handshake::derive_accept_key;

use crate::grammar::list_members;
use crate::{Error, Method, Request, Result, Version};

/// The origins whose pages can connect.
#[derive(Clone, Debug)]
pub(super) enum Origins {
    /// The server's own origin, and these.
    Same(Vec<String>),
    Any,
}

/// Checks the rules of section 4.2.1, in their order. Returns the value of `Sec-WebSocket-Accept` for the request's
/// key.
pub(super) fn key_of(request: &Request) -> Result<String> {
    // (1) a GET, in HTTP/1.1 or later
    if *request.method() != Method::GET {
        return Err(Error::new(405, "a WebSocket starts with GET").with_header("allow", "GET"));
    }
    // (2) Host: checked by the server. (3) Upgrade; (4) Connection
    let is_asked_for = request.version() == Version::HTTP_11
        && request.lists("connection", "upgrade")
        && request.lists("upgrade", "websocket");
    if !is_asked_for {
        return Err(upgrade_required("Expected a WebSocket handshake."));
    }
    // (6) before (5), because another version may have other keys
    if single(request, "sec-websocket-version") != Some("13") {
        return Err(upgrade_required("Expected a WebSocket of version 13."));
    }
    // (5) a key: 16 bytes in base64
    match single(request, "sec-websocket-key") {
        Some(key) if is_key(key) => Ok(derive_accept_key(key.as_bytes())),
        _ => Err(Error::new(400, "Sec-WebSocket-Key must be 16 bytes in base64")),
    }
}

fn upgrade_required(message: &str) -> Error {
    Error::new(426, message).with_header("upgrade", "websocket").with_header("sec-websocket-version", "13")
}

/// Returns the first of our protocols that the client also offers.
pub(super) fn agree(request: &Request, ours: &[String]) -> Option<String> {
    let offers = |name: &&String| {
        request.header_all("sec-websocket-protocol").flat_map(list_members).any(|offered| offered == name.as_bytes())
    };
    ours.iter().find(offers).cloned()
}

impl Origins {
    /// Rejects pages of other origins with 403.
    pub(super) fn check(&self, request: &Request) -> Result<()> {
        let Origins::Same(more) = self else { return Ok(()) };
        if request.header_all("origin").next().is_none() {
            return Ok(()); // not a page in a browser
        }
        let allowed = single(request, "origin")
            .is_some_and(|origin| more.iter().any(|known| known == origin) || request.has_origin(origin.as_bytes()));
        if allowed { Ok(()) } else { Err(Error::new(403, "pages of this origin can't connect")) }
    }
}

/// Returns the value of a field that occurs once.
fn single<'a>(request: &'a Request, name: &'a str) -> Option<&'a str> {
    std::str::from_utf8(request.only_line(name).ok()??).ok()
}

fn is_key(key: &str) -> bool {
    let letters = key.strip_suffix("==").filter(|letters| letters.len() == 22);
    letters.is_some_and(|letters| {
        // Four bits of the last character do not belong to a byte, and must be zero.
        letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
            && letters.ends_with(['A', 'Q', 'g', 'w'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_the_request_is_the_same_origin() {
        for (origin, host, same) in [
            ("http://a.example", "a.example", true),
            ("https://a.example", "a.example", true),
            ("https://a.example", "A.example:443", true),
            ("http://a.example", "a.example:80", true),
            ("http://localhost:8000", "localhost:8000", true),
            ("http://[::1]:8000", "[::1]:8000", true),
            ("https://a.example", "a.example:80", false),
            ("https://a.example:8443", "a.example", false),
            ("https://b.example", "a.example", false),
            ("https://a.example.evil.example", "a.example", false),
            ("https://evil.example/a.example", "a.example", false),
            ("null", "a.example", false),
            ("file://", "", false),
            ("a.example", "a.example", false),
        ] {
            let request = Request::get("/").with_header("host", host).with_header("origin", origin);
            assert_eq!(Origins::Same(Vec::new()).check(&request).is_ok(), same, "{origin} at {host}");
        }
    }

    #[test]
    fn only_keys_of_16_bytes_are_valid() {
        for (key, good) in [
            ("dGhlIHNhbXBsZSBub25jZQ==", true),
            ("AAAAAAAAAAAAAAAAAAAAAA==", true),
            ("AAAAAAAAAAAAAAAAAAAAAB==", false),
            ("AAAAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAA", false),
            ("AAAAAAAAAAAAAAAAAAAAAAA=", false),
            ("AAAAAAAAAAAAAAAAAAAA-A==", false),
            ("", false),
        ] {
            assert_eq!(is_key(key), good, "{key:?}");
        }
    }
}
