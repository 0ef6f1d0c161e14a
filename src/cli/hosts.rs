//! Hosts that are answered for. A layer around all that is served; created by `site`.
//!
//! A page of another site can have its own name resolve to an address of this machine, or of its network, and then read
//! what is served here as if it were its own (DNS rebinding). It can't choose the `Host` of those requests: so with
//! `--allowed-host local` names that anybody could own are not answered for, and with names no others are.

use modest::{BodyPlan, Error, Layer, Request, Result};

use super::options::Options;

/// Which hosts are answered for. IP addresses always are: a name is what rebinding needs.
#[derive(Debug, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Names that nobody can register: those without a dot, and those of local domains.
    Local,
    /// These, and `localhost`. `*.example.org` is all below `example.org`.
    Named(Vec<String>),
}

/// Domains for private use (RFC 6761, RFC 6762, RFC 8375, and ICANN's `internal`).
const LOCAL: [&str; 5] = [".localhost", ".local", ".test", ".internal", ".home.arpa"];

impl AllowedHosts {
    /// What is asked of the hosts of requests; `None`: nothing.
    pub fn of(options: &Options) -> Option<AllowedHosts> {
        let named = &options.listening.allowed_host;
        if named.is_empty() || named.iter().any(|name| name == "*") {
            return None;
        }
        let is_local = named.iter().any(|name| name == "local");
        Some(if is_local { AllowedHosts::Local } else { AllowedHosts::Named(named.clone()) })
    }

    /// An error for a request with another host. One without any is of a client that is no browser.
    fn check(&self, request: &Request) -> Result<()> {
        let Some(host) = request.host().filter(|host| !self.allows(host)) else { return Ok(()) };
        let name = without_port(host);
        log::debug!("{host} is no host that is answered for");
        let allow = format!("Who started this server can allow it: --allowed-host {name}");
        Err(Error::new(421, format!("{name} is not answered for here. {allow}")))
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
        match self {
            AllowedHosts::Local => !name.contains('.') || LOCAL.iter().any(|domain| ends_with(name, domain)),
            AllowedHosts::Named(known) => known.iter().any(|known| match known.strip_prefix('*') {
                Some(domain) => ends_with(name, domain),
                None => name.eq_ignore_ascii_case(known),
            }),
        }
    }
}

impl Layer for AllowedHosts {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        self.check(request)
    }
}

/// An IP address as it stands in `Host`: no name begins with a bracket, and there is no top-level domain of digits.
fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b':')
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
    fn hosts() {
        let named = AllowedHosts::Named(vec!["www.example.org".into(), "*.example.net".into()]);
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
            ("evil.example", false, false),
            ("evil.example:8000", false, false),
            ("127.0.0.1.evil.example", false, false),
            ("evil.example.", false, false),
            ("www.example.org", false, true),
            ("WWW.example.org:8000", false, true),
            ("a.www.example.org", false, false),
            ("a.example.net", false, true),
            ("example.net", false, false),
            ("aexample.net", false, false),
        ] {
            assert_eq!((AllowedHosts::Local.allows(host), named.allows(host)), (by_default, if_named), "{host}");
        }
    }
}
