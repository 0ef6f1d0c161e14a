//! Which program the options are for: `modest` serves folders; another one, such as the `modest-wsgi` of `python/`, serves an
//! application beside them. Called by `cli`, `sources` and `site`; each default is what `modest` does.

use std::ffi::OsString;

use modest::{RequestHandler, TcpServer};

/// What a program adds to the options of `modest`.
pub trait Program {
    /// Options that are set unless any source sets them, as words of a command line.
    fn defaults(&self) -> Vec<OsString> {
        Vec::new()
    }

    /// Takes a setting of the environment or of a file. False: it is not one of this program's own. If several sources set it, the
    /// first one has the highest rank.
    fn takes(&mut self, name: &str, values: &[OsString]) -> Result<bool, String> {
        let _ = (name, values);
        Ok(false)
    }

    /// Whether an application takes the requests that no folder takes. Then no folder needs to be named.
    fn has_application(&self) -> bool {
        false
    }

    /// What the words of the command line name to be served: folders, each with its path if it has one.
    fn words(&mut self, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
        Ok(words)
    }

    /// Listening sockets that serve in place of the addresses of the options: another process has made them by those.
    fn descriptors(&self) -> Option<&[u32]> {
        None
    }

    /// Whether it prints where it serves, and at its end what it has done.
    fn announces(&self) -> bool {
        true
    }

    /// The application, and its line of the banner. It is called once.
    fn application(&mut self) -> Option<(Box<dyn RequestHandler>, String)> {
        None
    }

    /// Whether SIGINT and SIGTERM shut the server down, and SIGHUP reloads its files.
    fn handles_signals(&self) -> bool {
        true
    }

    /// The server listens, and is about to serve.
    fn bound(&mut self, server: &TcpServer) {
        let _ = server;
    }

    /// Clients are accepted.
    fn ready(&mut self) -> Box<dyn FnOnce() + Send> {
        Box::new(|| {})
    }
}

/// `modest` itself.
pub struct Folders;

impl Program for Folders {}
