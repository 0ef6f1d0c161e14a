//! The URL of a backend: its address, and the path that replaces the mount's path.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use crate::UrlPath;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// The host as in the URL, with the port if it is not 80.
    pub(super) authority: String,
    host: String,
    port: u16,
    /// The path, encoded, without a slash at its end. `None`: the backend gets the whole path of the request.
    pub(super) path: Option<String>,
}

impl Backend {
    pub(super) fn parse(url: &str) -> Result<Backend, String> {
        let wrong = || "expected the URL of a server, such as http://127.0.0.1:3000".to_owned();
        if url.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) {
            return Err(
                "the connection to the backend is not encrypted: expected a URL that begins with http://".into()
            );
        }
        let scheme = url.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"));
        let rest = url.get(7..).filter(|_| scheme).ok_or_else(wrong)?;
        let slash = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(slash);
        let (host, port) = split_port(authority).ok_or_else(wrong)?;
        let path = match path {
            "" => None,
            path => Some(UrlPath::parse(path).map_err(|why| format!("the path of the URL: {why}"))?),
        };
        let is_plain = |text: &str| !text.contains(['?', '#']);
        if !is_plain(rest) {
            return Err("expected a URL without a query, such as http://127.0.0.1:3000".into());
        }
        let path = path.map(|path| path.to_string().trim_end_matches('/').to_owned());
        Ok(Backend { authority: authority.to_owned(), host, port, path })
    }

    /// Returns whether this is the authority of the backend.
    pub(super) fn is_at(&self, authority: &str) -> bool {
        split_port(authority).is_some_and(|(host, port)| host.eq_ignore_ascii_case(&self.host) && port == self.port)
    }

    /// `localhost` is this machine and needs no lookup (RFC 6761, section 6.3), so a confined process can use it.
    pub(super) fn addresses(&self) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        if self.host.eq_ignore_ascii_case("localhost") {
            let both = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
            return Ok(both.map(|ip| SocketAddr::new(ip, self.port)).to_vec().into_iter());
        }
        (self.host.as_str(), self.port).to_socket_addrs()
    }
}

/// Returns the host without brackets, and the port. `None` if this is not an authority.
fn split_port(authority: &str) -> Option<(String, u16)> {
    let after_host = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(after_host);
    let port = match port.strip_prefix(':') {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok().filter(|&port| port > 0)?,
        Some(_) => return None,
        None if port.is_empty() => 80,
        None => return None,
    };
    let name = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().ok()?.to_string(),
        None => host.to_owned(),
    };
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    is_name.then_some((name, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_without_users_and_queries_are_accepted() {
        for (url, expected) in [
            ("http://127.0.0.1:3000", Some(("127.0.0.1", 3000, None))),
            ("HTTP://localhost", Some(("localhost", 80, None))),
            ("http://[::1]:3000/", Some(("::1", 3000, Some("")))),
            ("http://backend:80/v1/", Some(("backend", 80, Some("/v1")))),
            ("http://backend/a%20b", Some(("backend", 80, Some("/a%20b")))),
            ("https://backend", None),
            ("127.0.0.1:3000", None),
            ("http://", None),
            ("http://:3000", None),
            ("http://a:0", None),
            ("http://a:99999", None),
            ("http://a:1x", None),
            ("http://a b", None),
            ("http://ada@a", None),
            ("http://[::1", None),
            ("http://[x]", None),
            ("http://a/../b", None),
            ("http://a/?b=c", None),
            ("http://a?b=c", None),
        ] {
            let parsed = Backend::parse(url);
            let parts = parsed.as_ref().ok().map(|backend| (&*backend.host, backend.port, backend.path.as_deref()));
            assert_eq!(parts, expected, "{url}: {parsed:?}");
        }
    }
}
