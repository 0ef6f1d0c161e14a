//! Errors of the program: one line each, with advice for the user. Returned by the other modules, printed by `lib`.

use std::fmt;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::address::BindAddress;
use crate::setting_sources::Origins;

/// The reason why the program exits with a failure.
#[derive(Debug, PartialEq, Eq)]
pub struct CliError {
    line: String,
    status: u8,
    errno: Option<i32>,
}

const FAILURE: u8 = 1; // the arguments are valid, but serving fails
const USAGE: u8 = 2; // the arguments are invalid
const APPLICATION: u8 = 3; // the application can't be loaded

/// The errors that report a limit of the system, and how to raise it.
const LIMITS: [(Errno, &str); 3] =
    [(Errno::MFILE, MORE_FILES), (Errno::NFILE, MORE_FILES), (Errno::AGAIN, MORE_THREADS)];
const MORE_FILES: &str = "; allow more file descriptors, for example by 'ulimit -n 1024'";
const MORE_THREADS: &str = "; allow more threads, for example by TasksMax= of systemd or 'ulimit -u'";

/// Returns the limit that this text reports. An error that names its path or thread contains only the text of its
/// cause.
pub fn limit_in(text: &str) -> Option<&'static (Errno, &'static str)> {
    let text = text.to_lowercase();
    LIMITS.iter().find(|(errno, _)| text.contains(&reason(&(*errno).into())))
}

impl CliError {
    /// Returns the error for invalid arguments.
    pub fn usage(what: impl fmt::Display) -> CliError {
        CliError { line: format!("{what} (see 'modest --help')"), status: USAGE, errno: None }
    }

    /// Returns the error for valid arguments with which serving fails.
    pub fn failure(line: impl Into<String>) -> CliError {
        let line = line.into();
        let advice = limit_in(&line).map_or("", |(_, advice)| advice);
        CliError { line: line + advice, status: FAILURE, errno: None }
    }

    /// Returns the error with the number of this one, which is its cause.
    pub fn caused_by(self, error: &io::Error) -> CliError {
        let of_kind = match error.kind() {
            io::ErrorKind::NotFound => Some(Errno::NOENT),
            io::ErrorKind::PermissionDenied => Some(Errno::ACCESS),
            io::ErrorKind::AddrInUse => Some(Errno::ADDRINUSE),
            io::ErrorKind::AddrNotAvailable => Some(Errno::ADDRNOTAVAIL),
            _ => None,
        };
        let of_limit = limit_in(&error.to_string()).map(|(errno, _)| *errno);
        CliError { errno: error.raw_os_error().or(of_limit.or(of_kind).map(Errno::raw_os_error)), ..self }
    }

    /// Returns the error for an application that cannot be loaded, in a program such as `modest-wsgi`.
    pub fn application(line: impl Into<String>) -> CliError {
        CliError { line: line.into(), status: APPLICATION, errno: None }
    }

    pub fn log_file(path: &Path, error: &io::Error) -> CliError {
        CliError::failure(format!("--log-file: {} can't be written: {}", quoted(path), reason(error))).caused_by(error)
    }

    pub fn folder(path: &Path, error: &io::Error) -> CliError {
        let name = quoted(path);
        let line = match error.kind() {
            io::ErrorKind::NotFound => match meant_path(path) {
                Some(meant) => {
                    format!("there is no folder or file {name}; to serve a folder at a path, write '{meant}'")
                }
                None => format!("there is no folder or file {name}; name one that exists"),
            },
            io::ErrorKind::NotADirectory => format!("{name} is neither a folder nor a regular file"),
            io::ErrorKind::PermissionDenied => {
                let closed = quoted(closed(path));
                format!("no permission to read {name}; allow it ('chmod u+rX' of {closed}) or choose another")
            }
            _ => {
                let text = error.to_string();
                let cause = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
                format!("{name} can't be served: {}", reason(&io::Error::other(cause)))
            }
        };
        CliError::failure(line).caused_by(error)
    }

    /// Returns the error as one of this option.
    pub fn of(self, option: &str) -> CliError {
        CliError { line: format!("{option}: {}", self.line), ..self }
    }

    /// Returns the error of an address that cannot be listened on.
    pub fn binding(address: &BindAddress, origins: &Origins, error: &io::Error) -> CliError {
        let BindAddress { host, port, socket, option } = address;
        let is_named = origins.are_elsewhere(option) || *option != "--port";
        let said = if is_named { format!("{option}: ") } else { String::new() };
        let free = match *option {
            "--port" if !is_named => "-p 0".to_owned(),
            "--port" => origins.form(option, "0"),
            _ => origins.form(option, &BindAddress { port: 0, ..address.clone() }.to_string()),
        };
        let of_host = if *option == "--port" { "--bind" } else { option };
        let line = match error.kind() {
            _ if socket.is_some() && !origins.are_elsewhere(option) => reason(error),
            _ if socket.is_some() => format!("{of_host}: {}", reason(error)),
            io::ErrorKind::AddrInUse => {
                format!("{said}port {port} of {host} is already in use; choose another, or any free port with {free}")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{said}this user can't listen on port {port} of {host}; choose a port above 1023")
            }
            // `::1:8000` is an address, but rarely the intended one.
            io::ErrorKind::AddrNotAvailable if ends_like_port(host) => format!(
                "{of_host}: {host} is not an address of this machine; write an IPv6 address with a port as [::1]:8000"
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "{of_host}: {host} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all of its addresses"
            ),
            _ if origins.are_elsewhere(of_host) => format!("{of_host}: {}", reason(error)),
            _ => format!("{said}{}", reason(error)),
        };
        CliError::failure(line).caused_by(error)
    }

    /// Returns the error of a process that cannot wait for signals.
    pub fn signals(error: io::Error) -> CliError {
        CliError::failure(format!("can't wait for signals: {}", reason(&error))).caused_by(&error)
    }

    /// Returns the error of a server that can't serve, or can't continue.
    pub fn serving(error: &io::Error) -> CliError {
        CliError::failure(format!("can't serve: {}", reason(error))).caused_by(error)
    }

    /// Returns the error with the names that options have in the sources of their values.
    pub fn named(self, origins: &Origins) -> CliError {
        CliError { line: origins.rename(&self.line), ..self }
    }

    pub fn status(&self) -> u8 {
        self.status
    }

    pub fn is_usage(&self) -> bool {
        self.status == USAGE
    }

    /// Returns the system's number of this error, such as `EADDRINUSE`; `None` if no call of the system failed.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_controls(&without_passwords(&self.line))) // one line, with any names
    }
}

/// Returns `/docs=book` for `docs=book`, if that folder exists.
fn meant_path(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    let (at, folder) = text.split_once('=')?;
    (!at.is_empty() && !text.starts_with('/') && Path::new(folder).exists())
        .then(|| escape_controls(&format!("/{text}")))
}

/// Returns the folder or file on this path that a user without permission to read it is not allowed to read: the path
/// itself, or a folder above it.
pub fn closed(path: &Path) -> &Path {
    let is_closed = |path: &&Path| path.metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let highest = path.ancestors().filter(|path| !path.as_os_str().is_empty()).take_while(is_closed).last();
    match highest.map(Path::parent) {
        None => path,
        Some(Some(parent)) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent.unwrap_or(path),
    }
}

pub fn quoted(path: &Path) -> String {
    format!("'{}'", escape_controls(&path.to_string_lossy()))
}

/// Returns whether an IPv6 address ends with what may be meant as a port.
fn ends_like_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, end)| end.len() > 1 && end.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Escapes control characters, so that text stays on one line and moves no cursor.
pub fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// Replaces the user and the password in each URL. They are given by mistake, and the terminal and the log may be seen
/// by others.
pub fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |shown, rest| match end_of_password(rest) {
        Some(end) => format!("{shown}://(hidden){}", &rest[end..]),
        None => format!("{shown}://{rest}"),
    })
}

/// Returns where a URL without its scheme continues with an `@`. A password with a slash ends there too, although it is
/// not encoded.
fn end_of_password(rest: &str) -> Option<usize> {
    let url = rest.split(|c: char| c.is_whitespace() || ['\'', '"'].contains(&c)).next()?;
    let authority = url.split(['/', '?', '#']).next()?;
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rfind('@') {
        None if authority.rsplit_once(':').is_some_and(|(_, port)| !is_port(port)) => url.rfind('@'),
        at => at,
    }
}

/// Returns a string of JSON, which is also a basic string of TOML. Escapes as in RFC 8259, section 7, and C1 characters
/// as well.
pub fn json_string(text: &str) -> String {
    let mut string = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => string.extend(['\\', letter]),
            letter if letter.is_control() => string.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => string.push(letter),
        }
    }
    string + "\""
}

/// Returns the beginning of a text of any length, such as a line of a wrong file.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns the error's text without the `(os error N)` that Rust appends.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
