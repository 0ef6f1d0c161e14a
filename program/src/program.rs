//! The program that uses these options. `modest` serves folders. Another program, such as `modest-wsgi` in `python/`,
//! also serves an application. Called by `lib`, `serving`, `sources` and `print_config`. The default of each method
//! is the behavior of `modest`.

use std::ffi::OsString;
use std::io;
use std::sync::Arc;

use modest::{RequestHandler, TcpServer};
use signal_hook::consts::{SIGHUP, SIGUSR1, SIGUSR2};

use crate::error::CliError;

/// The signals of a program without a parent, apart from SIGINT and SIGTERM. SIGUSR1 makes other servers, such as
/// nginx, reopen their logs. SIGUSR2 is sent by mistake only, and would end the program by default.
pub const SIGNALS: [i32; 3] = [SIGHUP, SIGUSR1, SIGUSR2];

/// Sockets and a certificate that a parent process has created for all children. A child uses them in place of its
/// options.
#[derive(Clone, Default)]
pub struct Inherited {
    /// Descriptors in place of the addresses. Empty: there is no parent.
    pub sockets: Vec<u32>,
    /// Descriptors in place of the addresses of `--redirect-to-https`.
    pub redirects: Vec<u32>,
    /// The descriptor in place of the address of `--metrics-bind`.
    pub metrics: Option<u32>,
    /// The lines with the addresses of the metrics of all children, for the user.
    pub metrics_lines: String,
    /// The certificate of `--tls-self-signed`.
    #[cfg(feature = "tls")]
    pub identity: Option<modest::Identity>,
}

/// The options of `modest-wsgi` itself. `modest` ignores their variables, so that both can run in one environment.
pub const OF_WSGI: [&str; 8] =
    ["threads", "processes", "process-requests", "process-age", "chdir", "static", "env", "reload"];

/// An option of a program other than `modest`.
pub struct OwnSetting {
    pub name: &'static str,
    pub values: Vec<String>,
    pub is_list: bool,
    /// Whether the values contain placeholders for secrets.
    pub is_secret: bool,
    /// The source of the values. `None`: they are the default.
    pub from: Option<String>,
}

/// A program's changes to `modest`.
pub trait Program {
    /// Returns the name of the program, for its errors.
    fn name(&self) -> &'static str {
        "modest"
    }

    /// Returns the names of the options of this program only, for suggestions.
    fn own_options(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the program's own defaults of options, as words of a command line. Any source overrides them.
    fn defaults(&self) -> Vec<OsString> {
        Vec::new()
    }

    /// Handles a setting of the environment or of a file that is an option of this program only. Returns false if it is
    /// not. Called for the source with the highest priority first. `is_list`: whether the values are written as a list.
    /// `from`: the name of the source.
    fn takes(&mut self, name: &str, values: &[OsString], is_list: bool, from: &str) -> Result<bool, String> {
        let _ = (name, values, is_list, from);
        Ok(false)
    }

    /// Returns the options of this program only, for `--print-config`.
    fn settings(&self) -> Vec<OwnSetting> {
        Vec::new()
    }

    /// Returns whether an application handles the requests that no folder handles. Then no folder needs to be named.
    fn has_application(&self) -> bool {
        false
    }

    /// Handles the words of the command line, and returns those that are folders to serve, each with its path if it has
    /// one.
    fn words(&mut self, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
        Ok(words)
    }

    /// Returns the sockets and certificates that a parent process has created from the same options.
    fn inherited(&self) -> Inherited {
        Inherited::default()
    }

    /// Returns whether the program prints its addresses at startup and, if it has no parent, a summary at the end.
    fn announces(&self) -> bool {
        true
    }

    /// Returns the application, and its line of the banner. Called once.
    fn application(&mut self) -> Option<(Box<dyn RequestHandler>, String)> {
        None
    }

    /// Prepares the application. Called once, when the process listens and has the rights and the user with which it
    /// serves, before the server starts a thread.
    ///
    /// # Errors
    /// If the application cannot be loaded. The program then ends.
    fn load(&mut self) -> Result<(), CliError> {
        Ok(())
    }

    /// Returns whether SIGINT and SIGTERM shut the server down.
    fn handles_signals(&self) -> bool {
        true
    }

    /// Returns the signals at which the server reloads its files and reopens the log, and SIGUSR2.
    fn reload_signals(&self) -> &'static [i32] {
        &SIGNALS
    }

    /// Called when the server listens and is about to serve. Returns it, with other settings if the program needs them.
    fn bound(&mut self, server: TcpServer) -> TcpServer {
        server
    }

    /// Serves until the shutdown, in this thread or in another one for which this one waits.
    fn serve(&mut self, server: &Arc<TcpServer>) -> io::Result<()> {
        server.serve_forever()
    }

    /// Called with the error of a program that can't serve. Returns whether the error is to be printed on stderr.
    fn failed(&mut self, error: &CliError) -> bool {
        let _ = error;
        true
    }

    /// Called when the server accepts clients.
    fn ready(&mut self) -> Box<dyn FnOnce() + Send> {
        Box::new(|| {})
    }
}

/// `modest` itself.
pub struct Folders;

impl Program for Folders {}
