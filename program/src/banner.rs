//! The messages on stdout: the served places at startup (and `--qr`, `--open`), and a summary at the end. Called by
//! `serving`, and by `lib` to print.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use log::warn;
use modest::{Address, encode_path};

use crate::access;
use crate::error::{CliError, quoted, reason};
use crate::logging::Lines;
use crate::mounts::{self, Mount};
use crate::options::{Options, Verbosity};
use crate::site::Sums;
use crate::{sys, uploads};

/// The way in which the site is served, for the banner.
pub struct Served {
    pub scheme: &'static str,
    /// The number of addresses that serve the site. The addresses after them redirect.
    pub count: usize,
    pub fingerprint: Option<String>,
}

impl Served {
    pub fn plainly() -> Served {
        Served { scheme: "http", count: usize::MAX, fingerprint: None }
    }
}

/// Prints that clients are accepted.
pub fn announce(options: &Options, places: &[Mount], bound: &[Address], served: &Served, told: &str, lines: &Lines) {
    let prefix = options.prefix();
    let opened = mounts::opened(places, prefix);
    let scheme = served.scheme;
    let (addresses, redirecting) = bound.split_at(served.count.min(bound.len()));
    let mut text = pythons(addresses, scheme);
    if options.verbosity() != Verbosity::Quiet {
        text.push_str(&details(addresses, scheme, places, prefix));
        text.push_str(&encryption(redirecting, served.fingerprint.as_deref()));
        text.push_str(told);
        text.push_str(&uploads(options, places, addresses));
    }
    if options.starting.qr {
        let code = url(addresses, scheme, &opened, true).and_then(|url| Some(code(&url)? + &url + "\n"));
        text.push_str(&code.unwrap_or_default());
        if !uploads::is_open(addresses) {
            text.push_str(
                "  phones can't reach this address; only this machine can. -b 0.0.0.0 opens it to the network\n",
            );
        }
    }
    tell(lines.of_stdout(&text));
    if let Some(url) = url(addresses, scheme, &opened, false).filter(|_| options.starting.open) {
        let started = Command::new(sys::OPENER).arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        match started {
            // A thread waits for the end of the child process.
            Ok(mut child) => drop(thread::Builder::new().name("modest-open".into()).spawn(move || child.wait())),
            Err(error) => warn!("--open: {} can't be started: {error}", sys::OPENER),
        }
    }
}

/// How long a server waits until its message is printed.
const PRINTED: Duration = Duration::from_secs(1);

/// Prints a message of a server that runs. If no program reads the pipe, a thread waits for it, and the server does
/// not. Errors are ignored.
pub fn tell(text: String) {
    let (sender, printed) = mpsc::channel::<()>();
    let print = move || {
        let _ = print(&text);
        drop(sender);
    };
    if thread::Builder::new().name("modest-stdout".into()).spawn(print).is_ok() {
        let _ = printed.recv_timeout(PRINTED);
    }
}

/// Prints on stdout and flushes it. A reader that has ended, such as `head`, is not an error.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::failure(format!("can't write to stdout: {}", reason(&error))).caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// Returns the lines that Python prints, for scripts that wait for them.
fn pythons(addresses: &[Address], scheme: &str) -> String {
    let name = scheme.to_uppercase();
    addresses.iter().fold(String::new(), |mut lines, address| {
        let _ = match address.socket_addr() {
            Some(inet) => {
                writeln!(lines, "Serving {name} on {} port {} ({scheme}://{inet}/) ...", inet.ip(), inet.port())
            }
            None => writeln!(lines, "Serving {name} on {address} ..."),
        };
        lines
    })
}

/// Returns the lines about served folders and files, and the URLs at which they can be opened.
fn details(addresses: &[Address], scheme: &str, places: &[Mount], prefix: &str) -> String {
    let opened = mounts::opened(places, prefix);
    let mut lines = String::new();
    for place in places {
        let path = std::path::absolute(&place.path).unwrap_or_else(|_| place.path.clone());
        let path = path.components().collect::<std::path::PathBuf>(); // without `.` at its end
        let _ = match (place.path_of_file(), place.at.as_str()) {
            (Some(at), _) => writeln!(lines, "  file {} at {}", quoted(&path), encode_path(at)),
            (None, "") => writeln!(lines, "  folder {}", quoted(&path)),
            (None, at) => writeln!(lines, "  folder {} at {}/", quoted(&path), encode_path(at)),
        };
    }
    for (at, url) in urls(addresses, scheme, &opened) {
        let _ = at.map(|at| writeln!(lines, "  {url} ({})", at.interface));
    }
    lines
}

/// Lists the folders that accept uploads, and from which clients.
pub fn uploads(options: &Options, places: &[Mount], addresses: &[Address]) -> String {
    uploads::places(options, places).fold(String::new(), |mut lines, place| {
        let at = encode_path(&place.at).to_string();
        let is_open = uploads::is_open(addresses) && !options.requires_client_certificates();
        let everyone = "; everyone who reaches this address can write";
        let from = match access::written_by_everyone(options, places, &place.at).filter(|_| is_open) {
            Some(path) if path == at => format!("{everyone} there"),
            Some(path) => format!("{everyone} at {path}/"),
            None => String::new(),
        };
        let _ = writeln!(lines, "  uploads are accepted at {at}/{from}");
        lines
    })
}

/// Returns the addresses that redirect plain HTTP, and the fingerprint of a self-signed certificate.
fn encryption(redirecting: &[Address], fingerprint: Option<&str>) -> String {
    let mut lines = String::new();
    for address in redirecting {
        let _ = match address.socket_addr() {
            Some(inet) => writeln!(lines, "  http://{inet}/ redirects to it"),
            None => writeln!(lines, "  {address} redirects to it"),
        };
    }
    if let Some(fingerprint) = fingerprint {
        let _ = writeln!(lines, "  temporary certificate; browsers will show a warning; SHA-256:\n  {fingerprint}");
    }
    lines
}

/// Returns the address to open. Prefers an address that other machines can reach.
fn url(addresses: &[Address], scheme: &str, opened: &[u8], is_for_others: bool) -> Option<String> {
    let urls = urls(addresses, scheme, opened);
    let is_of_others = |at: &Option<Reached>| at.as_ref().is_some_and(|at| !at.is_loopback);
    let of_others = urls.iter().find(|(at, _)| is_for_others && is_of_others(at));
    of_others.or(urls.first()).map(|(_, url)| url.clone())
}

/// The interface through which a URL is reached.
struct Reached {
    interface: String,
    is_loopback: bool,
}

/// Returns one URL per address, or one per interface for an address of all interfaces.
fn urls(addresses: &[Address], scheme: &str, opened: &[u8]) -> Vec<(Option<Reached>, String)> {
    let path = encode_path(opened);
    let url = |ip: IpAddr, port| format!("{scheme}://{}{path}", SocketAddr::new(ip, port));
    let mut urls = Vec::new();
    for address in addresses.iter().filter_map(Address::socket_addr) {
        match address.ip().is_unspecified() {
            false => urls.push((None, url(address.ip(), address.port()))),
            true => urls.extend(interfaces(address.is_ipv6()).map(|(at, ip)| (Some(at), url(ip, address.port())))),
        }
    }
    urls
}

/// Returns all interfaces and their addresses, loopback first. If a sandbox forbids listing them, returns only
/// loopback.
fn interfaces(has_ipv6: bool) -> impl Iterator<Item = (Reached, IpAddr)> {
    let mut interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    // Browsers do not support link-local addresses with a zone.
    interfaces.retain(|interface| !interface.is_link_local() && (has_ipv6 || interface.ip().is_ipv4()));
    interfaces.sort_by_key(|interface| (!interface.is_loopback(), interface.ip().is_ipv6()));
    let loopback = if has_ipv6 { IpAddr::from(Ipv6Addr::LOCALHOST) } else { Ipv4Addr::LOCALHOST.into() };
    let this_machine = || (Reached { interface: "this machine".to_owned(), is_loopback: true }, loopback);
    let unlisted = interfaces.is_empty().then(this_machine);
    let listed = interfaces.into_iter().map(|interface| {
        let (ip, is_loopback) = (interface.ip(), interface.is_loopback());
        (Reached { interface: interface.name, is_loopback }, ip)
    });
    unlisted.into_iter().chain(listed)
}

fn code(url: &str) -> Option<String> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::new(url).ok()?;
    // Most terminals are dark.
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build() + "\n")
}

pub fn summary(sums: &Sums, time: Duration) -> String {
    let (requests, errors) = (sums.requests.load(Relaxed), sums.errors.load(Relaxed));
    let bytes = sums.bytes.load(Relaxed);
    let plural = |count: u64, word: &str| if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") };
    format!("{}, {}, {} in {}\n", plural(requests, "request"), plural(errors, "error"), size(bytes), span(time))
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_units_and_plurals() {
        for (requests, errors, bytes, seconds, expected) in [
            (0, 0, 0, 0, "0 requests, 0 errors, 0 bytes in 0.0 s\n"),
            (1, 1, 1536, 61, "1 request, 1 error, 1.5 KiB in 1 min 1 s\n"),
            (9, 2, 5 << 20, 3720, "9 requests, 2 errors, 5.0 MiB in 1 h 2 min\n"),
        ] {
            let sums = Sums { requests: requests.into(), errors: errors.into(), bytes: bytes.into() };
            assert_eq!(summary(&sums, Duration::from_secs(seconds)), expected);
        }
    }
}
