//! The syntax of addresses, as in Python, Go, nginx and systemd. Pure: no socket is opened and no name is looked up.

use std::io;
use std::net::Ipv6Addr;

use super::{ListenAddress, invalid};

pub fn place(text: &str) -> io::Result<ListenAddress> {
    match text.split_once(':') {
        Some(("unix", "")) => Err(invalid("the path is missing, as in unix:/run/app.sock")),
        Some(("unix", path)) => Ok(ListenAddress::Unix(path.into())),
        Some(("fd", number)) if is_number(number) && number.len() < 10 => {
            Ok(ListenAddress::Descriptor(number.parse().unwrap_or_default()))
        }
        Some(("fd", _)) => Err(invalid("expected a number as the file descriptor, as in fd:3")),
        Some(("systemd", "")) => Err(invalid("the name after systemd: is missing")),
        Some(("systemd", name)) if !is_number(name) => Ok(ListenAddress::Systemd(Some(name.to_owned()))),
        None if text == "systemd" => Ok(ListenAddress::Systemd(None)),
        _ => host_and_port(text),
    }
}

fn host_and_port(text: &str) -> io::Result<ListenAddress> {
    if text.contains("://") || text.contains('/') {
        return Err(invalid("expected an address, such as 127.0.0.1:8000, not a URL or a path"));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| invalid("the ']' is missing, as in [::1]:8000"))?;
            if !is_v6(host) {
                return Err(invalid("expected an IPv6 address in the brackets, as in [::1]:8000"));
            }
            (host, port)
        }
        None if is_v6(text) => return Err(invalid("the port is missing; write it as in [::1]:8000")),
        None => text.split_at(text.rfind(':').unwrap_or(text.len())),
    };
    if host.contains(':') && !text.starts_with('[') {
        return Err(invalid("this is not an address; write an IPv6 address as [::1]:8000"));
    }
    if is_number(host) && port.is_empty() {
        return Err(invalid("the host is missing, as in 127.0.0.1:8000, or :8000 for every address"));
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Err(invalid("the port is missing")),
        Some("") => Err(invalid("the port is missing")),
        Some(port) => Ok(ListenAddress::Host(host.to_owned(), self::port(port)?)),
        None => Err(invalid("expected only a port after ']', as in [::1]:8000")),
    }
}

fn port(text: &str) -> io::Result<u16> {
    let port = if is_number(text) { text.parse().ok() } else { None }; // `parse` would accept "+80"
    port.ok_or_else(|| invalid("a port is a number from 0 to 65535"))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Returns whether this is an IPv6 address, with an optional zone: `fe80::1%eth0`.
fn is_v6(text: &str) -> bool {
    text.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_addresses_are_parsed() {
        for (text, expected) in [
            ("127.0.0.1:8000", "host 127.0.0.1 8000"),
            ("0.0.0.0:0", "host 0.0.0.0 0"),
            (":8000", "host  8000"),
            ("*:8000", "host * 8000"),
            ("localhost:65535", "host localhost 65535"),
            ("[::1]:8000", "host ::1 8000"),
            ("[::]:80", "host :: 80"),
            ("[fe80::1%lo]:80", "host fe80::1%lo 80"),
            ("unix:80", "unix 80"),
            ("unix:/run/x y:z.sock", "unix /run/x y:z.sock"),
            ("unix:@name", "unix @name"),
            ("fd:0", "fd 0"),
            ("fd:12", "fd 12"),
            ("systemd", "systemd None"),
            ("systemd:web", "systemd Some(\"web\")"),
            ("systemd:8000", "host systemd 8000"),
        ] {
            let found = match place(text) {
                Ok(ListenAddress::Host(host, port)) => format!("host {host} {port}"),
                Ok(ListenAddress::Unix(path)) => format!("unix {}", path.display()),
                Ok(ListenAddress::Descriptor(number)) => format!("fd {number}"),
                Ok(ListenAddress::Systemd(name)) => format!("systemd {name:?}"),
                other => format!("{other:?}"),
            };
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn invalid_addresses_are_rejected_with_a_reason() {
        for (text, expected) in [
            ("", "the port is missing"),
            ("*", "the port is missing"),
            ("127.0.0.1", "the port is missing"),
            ("127.0.0.1:", "the port is missing"),
            ("localhost", "the port is missing"),
            ("::1", "the port is missing; write it as in [::1]:8000"),
            ("::1:8000", "the port is missing; write it as in [::1]:8000"),
            ("[::1]", "the port is missing"),
            ("8000", "the host is missing"),
            ("127.0.0.1:65536", "a port is a number"),
            ("127.0.0.1:+80", "a port is a number"),
            ("127.0.0.1:http", "a port is a number"),
            ("[::1", "']'"),
            ("[::1]8000", "after ']'"),
            ("[localhost]:80", "IPv6"),
            ("1:2:3", "IPv6"),
            ("http://localhost:80", "not a URL"),
            ("/run/x.sock", "not a URL or a path"),
            ("unix:", "the path is missing"),
            ("fd:", "expected a number as the file descriptor"),
            ("fd:-1", "expected a number as the file descriptor"),
            ("fd:99999999999", "expected a number as the file descriptor"),
            ("systemd:", "the name after systemd: is missing"),
        ] {
            match place(text) {
                Err(err) => assert!(err.to_string().contains(expected), "{text}: {err}"),
                Ok(found) => panic!("{text}: {found:?}"),
            }
        }
    }
}
