//! The program that uses these options. `modest` serves folders. Another program, such as `modest-wsgi` in `python/`,
//! serves an application beside them. Called by `lib`, `sources` and `site`; each default is the behaviour of `modest`.

use std::ffi::OsString;

use modest::{RequestHandler, TcpServer};

use crate::error::CliError;

/// What a child uses in place of its options, because its parent has made it for all children.
#[derive(Clone, Default)]
pub struct Inherited {
    /// Descriptors in place of the addresses. Empty: there is no parent.
    pub sockets: Vec<u32>,
    /// In place of the addresses of `--redirect-to-https`.
    pub redirects: Vec<u32>,
    /// In place of the address of `--metrics-bind`.
    pub metrics: Option<u32>,
    /// The certificate of `--tls-self-signed`.
    #[cfg(feature = "tls")]
    pub identity: Option<modest::Identity>,
}

/// A program's changes to `modest`.
pub trait Program {
    /// The program's own defaults of options, as words of a command line. Any source overrides them.
    fn defaults(&self) -> Vec<OsString> {
        Vec::new()
    }

    /// Takes a setting of the environment or of a file. Returns false if the setting is not one of this program's own.
    /// It is called for the source with the highest priority first.
    fn takes(&mut self, name: &str, values: &[OsString]) -> Result<bool, String> {
        let _ = (name, values);
        Ok(false)
    }

    /// Whether an application takes the requests that no folder takes. Then no folder needs to be named.
    fn has_application(&self) -> bool {
        false
    }

    /// Takes the words of the command line, and returns those that are folders to serve, each with its path if it has
    /// one.
    fn words(&mut self, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
        Ok(words)
    }

    /// The sockets and certificates that a parent process has made from the same options.
    fn inherited(&self) -> Inherited {
        Inherited::default()
    }

    /// Whether the program prints its addresses at the start and a summary at the end.
    fn announces(&self) -> bool {
        true
    }

    /// The application, and its line of the banner. Called once.
    fn application(&mut self) -> Option<(Box<dyn RequestHandler>, String)> {
        None
    }

    /// Prepares the application. Called once, when the process listens and has the rights and the user with which it
    /// serves, before the server starts a thread.
    ///
    /// # Errors
    /// If there is nothing to serve. The program then ends.
    fn load(&mut self) -> Result<(), CliError> {
        Ok(())
    }

    /// Whether SIGINT and SIGTERM shut the server down, and SIGHUP reloads its files.
    fn handles_signals(&self) -> bool {
        true
    }

    /// Called when the server listens and is about to serve.
    fn bound(&mut self, server: &TcpServer) {
        let _ = server;
    }

    /// Called when the server accepts clients.
    fn ready(&mut self) -> Box<dyn FnOnce() + Send> {
        Box::new(|| {})
    }
}

/// `modest` itself.
pub struct Folders;

impl Program for Folders {}
