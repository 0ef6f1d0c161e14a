//! Errors of the program: one line each, with advice for the user. Returned by the other modules, printed by `lib`.

use std::fmt;
use std::io;
use std::path::Path;

use crate::address::BindAddress;

/// The reason for which the program exits with a failure.
#[derive(Debug, PartialEq, Eq)]
pub struct CliError {
    line: String,
    status: u8,
}

const FAILURE: u8 = 1; // the arguments are valid, but serving fails
const USAGE: u8 = 2; // the arguments are invalid
const APPLICATION: u8 = 3; // the application can't be loaded

impl CliError {
    /// Returns the error for invalid arguments.
    pub fn usage(what: impl fmt::Display) -> CliError {
        CliError { line: format!("{what} (see 'modest --help')"), status: USAGE }
    }

    /// Returns the error for valid arguments with which serving fails.
    pub fn failure(line: impl Into<String>) -> CliError {
        CliError { line: line.into(), status: FAILURE }
    }

    /// Returns the error for an application that cannot be loaded, in a program such as `modest-wsgi`.
    pub fn application(line: impl Into<String>) -> CliError {
        CliError { line: line.into(), status: APPLICATION }
    }

    /// Returns the error of a log file that cannot be opened.
    pub fn log_file(path: &Path, error: &io::Error) -> CliError {
        CliError::failure(format!("--log-file: {} can't be written: {}", quoted(path), reason(error)))
    }

    /// Returns the error of a folder that cannot be served.
    pub fn folder(path: &Path, error: &io::Error) -> CliError {
        let name = quoted(path);
        let line = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no folder or file {name}; name one that exists"),
            io::ErrorKind::NotADirectory => format!("{name} is neither a folder nor a regular file"),
            io::ErrorKind::PermissionDenied => {
                format!("no permission to read {name}; allow it ('chmod u+rX') or choose another")
            }
            _ => format!("{name} can't be served: {}", reason(error)),
        };
        CliError { line, status: FAILURE }
    }

    /// Returns the error of an address that cannot be listened on. `option`: the option with the address or its port.
    pub fn binding(option: &str, address: &BindAddress, error: &io::Error) -> CliError {
        let BindAddress { host, port, socket } = address;
        let line = match error.kind() {
            _ if socket.is_some() => reason(error),
            io::ErrorKind::AddrInUse => match option {
                "-p" => format!(
                    "port {port} of {host} is already in use; choose another with -p, or -p 0 for any free port"
                ),
                _ => format!(
                    "{option}: port {port} of {host} is already in use; choose another, as in {option} {host}:0"
                ),
            },
            io::ErrorKind::PermissionDenied => {
                format!("this user can't listen on port {port} of {host}; choose a port above 1023 with {option}")
            }
            // `::1:8000` is an address, but seldom the intended one.
            io::ErrorKind::AddrNotAvailable if host.contains(':') => {
                format!(
                    "{host} is not an address of this machine; write an IPv6 address with a port as [::1]:8000 (-b)"
                )
            }
            io::ErrorKind::AddrNotAvailable => {
                format!(
                    "{host} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for all of its addresses (-b)"
                )
            }
            _ => reason(error),
        };
        CliError { line, status: FAILURE }
    }

    /// Returns the error of a process that cannot wait for signals.
    pub fn signals(error: io::Error) -> CliError {
        CliError { line: format!("can't wait for signals: {}", reason(&error)), status: FAILURE }
    }

    /// Returns the error of a server that failed while it served.
    pub fn serving(error: &io::Error) -> CliError {
        CliError { line: format!("can't continue serving: {}", reason(error)), status: FAILURE }
    }

    /// Returns the exit status of this error.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_controls(&self.line)) // one line, with any names
    }
}

/// Returns a path in quotes.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", escape_controls(&path.to_string_lossy()))
}

/// Escapes control characters, so that text stays on one line and moves no cursor.
pub fn escape_controls(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
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
