//! Allowed hosts, as a protection against DNS rebinding.

use crate::{BodyPlan, Error, Layer, Request, Result};

/// Serves only these hosts. Requests for other hosts get 421 (Misdirected Request), before the body is read.
///
/// The owner of another site can let the site's name resolve to an address of this machine or its network. Pages of
/// that site can then read from this server as if it were their own (DNS rebinding). They cannot change the `Host` of
/// these requests, which is the site's name. So [`local`](Self::local) allows no names that can be registered, and
/// [`new`](Self::new) allows only the listed names. IP addresses and `localhost` are always allowed, because rebinding
/// needs a name. HTTP/1.0 requests without a host are also allowed, because no browser sends them.
///
/// The host is [`Request::host`]. Behind a proxy that changes `Host`, put [`TrustedProxies`](super::TrustedProxies)
/// around this layer, with [`host`](super::TrustedProxies::host). Inside this layer, `TrustedProxies` responds with 500
/// to each request for which the proxy reports a host, because this layer has not checked that host.
///
/// ```
/// use modest::layers::AllowedHosts;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let app = handler_fn(|_| Ok(Response::text("hello\n"))).layer(AllowedHosts::new(["www.example.org", "*.example.net"]));
/// let http = Http::new(app);
/// assert_eq!(http.respond(&Request::get("/").with_header("host", "www.example.org:8000")).status(), 200);
/// assert_eq!(http.respond(&Request::get("/").with_header("host", "evil.example")).status(), 421);
/// ```
#[derive(Clone, Debug)]
#[doc(alias("DNS rebinding", "ALLOWED_HOSTS", "TrustedHostMiddleware"))]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct AllowedHosts {
    has_local: bool,
    names: Vec<String>,
}

/// Domains for private use (RFC 6761, RFC 6762, RFC 8375, and ICANN's `internal`).
const LOCAL: [&str; 5] = [".localhost", ".local", ".test", ".internal", ".home.arpa"];

impl AllowedHosts {
    /// Allows these names, in any case, with any port, and with or without a dot at the end. `*.example.org` is
    /// everything below `example.org`.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> AllowedHosts {
        AllowedHosts { has_local: false, names: Vec::new() }.and(names)
    }

    /// Allows names that cannot be registered: names without a dot, and domains for private use (`.localhost`,
    /// `.local`, `.test`, `.internal`, `.home.arpa`).
    pub fn local() -> AllowedHosts {
        AllowedHosts { has_local: true, names: Vec::new() }
    }

    /// Also allows these names, as [`new`](Self::new) does. Default: none.
    pub fn and<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> AllowedHosts {
        let without_dot = |name: String| name.strip_suffix('.').map_or(name.clone(), str::to_owned);
        self.names.extend(names.into_iter().map(|name| without_dot(name.into())));
        self
    }

    fn allows(&self, host: &str) -> bool {
        if is_address(host) {
            return true;
        }
        let name = without_port(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        // A percent sign can encode a dot.
        let is_local = || !name.contains(['.', '%']) || LOCAL.iter().any(|domain| is_within(name, domain));
        let is_named = |known: &String| match known.strip_prefix('*').filter(|domain| domain.starts_with('.')) {
            Some(domain) => ends_with(name, domain),
            None => name.eq_ignore_ascii_case(known),
        };
        self.has_local && is_local() || self.names.iter().any(is_named)
    }
}

/// Stored in requests whose host was checked. `TrustedProxies` must not change it then.
pub(super) struct HostIsChecked;

impl Layer for AllowedHosts {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        request.put(HostIsChecked);
        match request.host().filter(|host| !self.allows(host)) {
            Some(host) => Err(Error::new(421, format!("This server does not serve the host {}.", without_port(host)))),
            None => Ok(()),
        }
    }
}

/// Returns whether this value of `Host` is an IP address. No name begins with a bracket, and no top-level domain
/// consists of digits.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b':')
}

/// Returns whether this is the domain, which is written with a dot before it, or a name below it.
fn is_within(name: &str, domain: &str) -> bool {
    name.eq_ignore_ascii_case(&domain[1..]) || ends_with(name, domain)
}

fn ends_with(name: &str, domain: &str) -> bool {
    let begin = name.len().checked_sub(domain.len());
    begin.is_some_and(|begin| name.as_bytes()[begin..].eq_ignore_ascii_case(domain.as_bytes()))
}

fn without_port(host: &str) -> &str {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    host.rsplit_once(':').filter(|(_, port)| digits(port)).map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_and_listed_hosts_are_allowed() {
        let named = AllowedHosts::new(["www.example.org.", "*.example.net", "*example.com"]);
        let both = AllowedHosts::local().and(["www.example.org", "*.example.net"]);
        for (host, by_default, if_named) in [
            ("127.0.0.1", true, true),
            ("127.0.0.1:8000", true, true),
            ("[::1]:8000", true, true),
            ("[::1]", true, true),
            ("192.0.2.1:80", true, true),
            ("localhost:8000", true, true),
            ("LOCALHOST", true, true),
            ("localhost.", true, true),
            ("app.localhost", true, false),
            ("nas", true, false),
            ("nas.local:8000", true, false),
            ("home.arpa", true, false),
            ("nas.home.arpa", true, false),
            ("nothome.arpa", false, false),
            ("evil.example", false, false),
            ("evil.example:8000", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("evil.example.", false, false),
            ("evil%2eexample", false, false),
            ("www.example.org", false, true),
            ("WWW.example.org:8000", false, true),
            ("a.www.example.org", false, false),
            ("a.example.net", false, true),
            ("example.net", false, false),
            ("aexample.net", false, false),
            ("aexample.com", false, false),
            ("a.example.com", false, false),
        ] {
            assert_eq!(both.allows(host), by_default || if_named, "{host}");
            assert_eq!((AllowedHosts::local().allows(host), named.allows(host)), (by_default, if_named), "{host}");
        }
    }
}
