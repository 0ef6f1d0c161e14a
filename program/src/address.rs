//! The address to listen on: host and port, or a socket.
//! Called by `options`, which parses text to a `BindAddress`, and by `listening`, which converts it to an address
//! for the library. No socket is opened here.

use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;

use modest::{Address, Listen};

/// An address to listen on: `host` is an IP address or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    pub host: String,
    pub port: u16,
    /// A socket in place of host and port: `unix:PATH`, `fd:N` or `systemd`.
    pub socket: Option<String>,
    /// The option that sets the port.
    pub option: &'static str,
}

impl Default for BindAddress {
    /// Returns loopback: a folder is open to the network only on request.
    fn default() -> BindAddress {
        BindAddress { host: "127.0.0.1".into(), port: 8000, socket: None, option: "--port" }
    }
}

impl std::fmt::Display for BindAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.socket {
            Some(socket) => f.write_str(socket),
            None if self.host.contains(':') => write!(f, "[{}]:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl BindAddress {
    /// Returns the address of a socket that a parent process has opened.
    pub fn inherited(descriptor: u32) -> BindAddress {
        BindAddress { socket: Some(format!("fd:{descriptor}")), ..BindAddress::default() }
    }

    /// Returns whether this is a Unix socket that the server creates.
    pub fn is_unix(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.starts_with("unix:"))
    }

    /// Returns whether this is a Unix socket with a file.
    pub fn has_file(&self) -> bool {
        self.is_unix() && !self.socket.as_ref().is_some_and(|socket| socket.starts_with("unix:@"))
    }

    /// Returns whether it is an IPv4 address, not a name.
    pub fn is_ipv4(&self) -> bool {
        self.host.parse::<std::net::Ipv4Addr>().is_ok()
    }

    /// Returns an address for `--check`, and whether its port is in use. A port in use, perhaps by the server that is
    /// to be restarted, is replaced by any free port, and so is a socket that is passed only at the real start.
    pub fn to_check(&self) -> (BindAddress, bool) {
        let is_handed_over = self.socket.is_some() && !self.is_unix();
        let nothing = || modest::handler_fn(|_| Err(modest::Error::new(404, "")));
        let is_in_use = || {
            let bound = modest::TcpServer::bind(self.listen(), nothing());
            bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
        };
        if is_handed_over {
            return (BindAddress { port: 0, ..BindAddress::default() }, false);
        }
        // A path at which there is another kind of file is not in use. Listening there fails.
        let path = self.socket.as_deref().and_then(|socket| socket.strip_prefix("unix:"));
        let has_file =
            path.is_some_and(|path| std::fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()));
        match !has_file && is_in_use() {
            true if self.socket.is_some() => (BindAddress { port: 0, ..BindAddress::default() }, true),
            true => (BindAddress { port: 0, ..self.clone() }, true),
            false => (self.clone(), false),
        }
    }

    /// Returns the address for the library, which looks names up.
    pub fn listen(&self) -> Listen {
        match &self.socket {
            Some(socket) => Listen::at(socket),
            None => Listen::at((self.host.as_str(), self.port)),
        }
    }
}

/// Returns whether only programs on this machine can connect to a listener.
pub fn is_near(bound: &Address) -> bool {
    bound.ip().is_none_or(|ip| ip.to_canonical().is_loopback())
}

/// Returns the IP addresses of a host. If it has none, listening reports that.
pub fn resolved(address: &BindAddress) -> Vec<IpAddr> {
    match address.host.as_str() {
        _ if address.socket.is_some() => Vec::new(),
        "" | "*" => vec![Ipv6Addr::UNSPECIFIED.into()],
        host => {
            let found = (host, address.port).to_socket_addrs().into_iter().flatten();
            found.map(|address| address.ip().to_canonical()).collect()
        }
    }
}

/// Returns these addresses, which have one port, without those that are included in another one.
#[cfg(feature = "tls")]
pub fn without_covered(addresses: Vec<BindAddress>, ipv6_only: bool) -> Vec<BindAddress> {
    let mut left: Vec<(BindAddress, Vec<IpAddr>)> = Vec::new();
    let includes = |all: &[IpAddr], some: &[IpAddr]| {
        some.iter().all(|one| all.iter().any(|all| all == one || covers(*all, *one, ipv6_only)))
    };
    for address in addresses {
        let ips = resolved(&address);
        if !left.iter().any(|(_, others)| includes(others, &ips)) {
            left.retain(|(_, others)| !includes(&ips, others));
            left.push((address, ips));
        }
    }
    left.into_iter().map(|(address, _)| address).collect()
}

/// Returns whether a socket at the first address gets the connections to the other.
pub fn covers(all: IpAddr, one: IpAddr, ipv6_only: bool) -> bool {
    all.is_unspecified() && (all.is_ipv4() == one.is_ipv4() || all.is_ipv6() && !ipv6_only)
}

/// The value of `--bind`: an address, and optionally its port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    pub address: BindAddress,
    pub port: Option<u16>,
}

/// Parses `ADDR[:PORT]`, `unix:PATH`, `fd:N` or `systemd`.
pub fn bind(text: &str) -> Result<Bind, String> {
    if is_socket(text) {
        match text.split_once(':') {
            Some(("fd", number)) if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err("expected a file descriptor, such as fd:3".into());
            }
            Some((_, "")) => return Err("expected a name after ':', such as unix:/run/app.sock".into()),
            _ => {}
        }
        return Ok(Bind { address: BindAddress { socket: Some(text.into()), ..BindAddress::default() }, port: None });
    }
    let (host, port) = parse(text)?;
    let is_link_local = host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_unicast_link_local());
    if is_link_local {
        return Err(format!("a link-local address needs an interface, such as {host}%eth0"));
    }
    Ok(Bind { address: BindAddress { host, ..BindAddress::default() }, port })
}

/// Parses what `bind` parses, or a port alone: the host is then empty, which means the hosts of the other addresses.
#[cfg(feature = "tls")]
pub fn redirect(text: &str) -> Result<Bind, String> {
    let is_port = text.bytes().all(|byte| byte.is_ascii_digit());
    let mut bind = if is_port { Bind { port: Some(port(text)?), ..Bind::default() } } else { bind(text)? };
    bind.address.host = match bind.address.host.as_str() {
        _ if is_port => String::new(),
        "" => "*".into(),
        host => host.into(),
    };
    Ok(bind)
}

/// Returns whether systemd has passed sockets to this process (sd_listen_fds(3)).
pub fn handed_over() -> bool {
    let this = std::process::id().to_string();
    std::env::var_os("LISTEN_FDS").is_some() && std::env::var("LISTEN_PID").is_ok_and(|meant| meant == this)
}

/// Returns the sockets that systemd passed and that none of these addresses uses. Connections to them would never be
/// accepted.
pub fn unused<'a>(addresses: impl Iterator<Item = &'a BindAddress>) -> Vec<String> {
    let count = std::env::var("LISTEN_FDS").ok().filter(|_| handed_over()).and_then(|count| count.parse().ok());
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let named: Vec<_> = addresses.filter_map(|address| address.socket.as_deref()).collect();
    unnamed(count.unwrap_or(0).min(4096), &names, &named)
}

/// Returns the sockets that are not named. The first socket has the number 3 (`SD_LISTEN_FDS_START`).
fn unnamed(count: usize, names: &str, named: &[&str]) -> Vec<String> {
    let names = names.split(':').map(Some).chain(std::iter::repeat(None));
    let sockets = (3..3 + count).zip(names).map(|(number, name)| (format!("fd:{number}"), name.unwrap_or_default()));
    let is_unused = |(number, name): &(String, &str)| {
        let by_name = format!("systemd:{name}");
        !named.iter().any(|socket| *socket == "systemd" || socket == number || *socket == by_name)
    };
    let line = |(number, name): (String, &str)| if name.is_empty() { number } else { format!("{number} ({name})") };
    sockets.filter(is_unused).map(line).collect()
}

/// Returns whether the library accepts the text unchanged. Such an address has neither host nor port.
fn is_socket(text: &str) -> bool {
    text == "systemd" || ["unix:", "fd:", "systemd:"].iter().any(|start| text.starts_with(start))
}

/// Parses `ADDR[:PORT]`: `127.0.0.1`, `127.0.0.1:9000`, `localhost:9000`, `::1`, `[::1]`, `[::1]:9000`.
fn parse(text: &str) -> Result<(String, Option<u16>), String> {
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        return Err("expected an address, such as 127.0.0.1 or localhost:8000, not a URL or a path".into());
    }
    let (host, port) = split(text)?;
    if host.is_empty() && port.is_none() {
        return Err("expected an address, such as 127.0.0.1, 0.0.0.0 or [::1]:8000".into());
    }
    if !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit()) {
        let example = self::port(host).map_or_else(|_| String::new(), |port| format!(" or 127.0.0.1:{port}"));
        return Err(format!("expected an address, such as 127.0.0.1{example}"));
    }
    Ok((host.to_owned(), port.map(self::port).transpose()?))
}

/// Parses a port. 0 means any free port.
pub fn port(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()); // `parse` alone would take "+80"
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| "a port is a number from 0 to 65535; 0 picks a free one".into())
}

fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']').ok_or("expected ']' after the address, as in [::1]:8000")?;
        if !is_v6(inside) {
            return Err("expected an IPv6 address in the brackets, such as [::1]:8000".into());
        }
        return match rest {
            "" => Ok((inside, None)),
            _ => rest
                .strip_prefix(':')
                .map(|port| (inside, Some(port)))
                .ok_or_else(|| "expected only a port after ']', such as [::1]:8000".into()),
        };
    }
    match text.matches(':').count() {
        0 => Ok((text, None)),
        1 => Ok(text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))),
        _ if is_v6(text) => Ok((text, None)),
        _ => Err("this is not an address; write an IPv6 address with a port as [::1]:8000".into()),
    }
}

/// Returns whether this is an IPv6 address, optionally with a zone: `fe80::1%eth0`.
fn is_v6(text: &str) -> bool {
    text.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_port() {
        for (text, host, port) in [
            ("127.0.0.1", "127.0.0.1", None),
            ("127.0.0.1:9000", "127.0.0.1", Some(9000)),
            ("0.0.0.0:0", "0.0.0.0", Some(0)),
            (":8000", "", Some(8000)),
            ("*", "*", None),
            ("localhost", "localhost", None),
            ("localhost:65535", "localhost", Some(65535)),
            ("::1", "::1", None),
            ("::", "::", None),
            ("[::1]", "::1", None),
            ("[::1]:8000", "::1", Some(8000)),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", None),
            ("fe80::1%lo", "fe80::1%lo", None),
            ("[fe80::1%lo]:80", "fe80::1%lo", Some(80)),
        ] {
            assert_eq!(parse(text), Ok((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn unnamed_systemd_sockets_are_found() {
        for (count, names, named, unused) in [
            (0, "", &[][..], &[][..]),
            (1, "", &[], &["fd:3"]),
            (2, "modest.socket:", &[], &["fd:3 (modest.socket)", "fd:4"]),
            (2, "http:admin", &["systemd:http"], &["fd:4 (admin)"]),
            (3, "a:a:b", &["systemd:a", "unix:/x"], &["fd:5 (b)"]),
            (2, "", &["fd:4"], &["fd:3"]),
            (2, "a:b", &["systemd"], &[]),
        ] {
            assert_eq!(unnamed(count, names, named), unused, "{count} {names} {named:?}");
        }
    }

    #[test]
    fn invalid_addresses_are_reported() {
        for (text, expected) in [
            ("", "expected an address"),
            ("8000", "such as 127.0.0.1 or 127.0.0.1:8000"),
            ("80000", "such as 127.0.0.1"),
            (":", "a port is a number"),
            ("127.0.0.1:", "a port is a number"),
            ("127.0.0.1:65536", "a port is a number"),
            ("127.0.0.1:+80", "a port is a number"),
            ("127.0.0.1:http", "a port is a number"),
            ("[::1", "']'"),
            ("[::1]8000", "after ']'"),
            ("[localhost]:80", "IPv6"),
            ("1:2:3", "IPv6"),
            ("http://localhost", "not a URL"),
            ("a b", "not a URL"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
