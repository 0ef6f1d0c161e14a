//! Whether a URL or an origin belongs to the server of a request.

use super::Request;

impl Request {
    /// Whether the host and the port of an origin, as in the field `Origin`, are those of the request. The scheme is
    /// not compared, because a proxy may have ended TLS.
    pub fn has_origin(&self, origin: &[u8]) -> bool {
        let Ok(origin) = std::str::from_utf8(origin) else { return false };
        let Some((scheme, authority)) = origin.split_once("://") else { return false }; // `null`, of a page in a sandbox
        self.is_own_authority(authority.as_bytes(), if scheme == "https" { "443" } else { "80" })
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
