//! A folder, served: find, judge, answer. Called by `http` as any handler is, and by users' own handlers.

use std::io;
use std::path::Path;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// None: whatever has a link on its way is missing.
    Deny,
    /// Those that stay within the folder; others are missing.
    #[default]
    WithinRoot,
    /// All of them, wherever they lead.
    Follow,
}

/// Serves the files of a folder.
#[derive(Debug)]
pub struct StaticFileHandler {}

#[allow(unused_variables, missing_docs)]
impl StaticFileHandler {
    pub fn new(root: impl AsRef<Path>) -> io::Result<StaticFileHandler> {
        std::fs::read_dir(root)?;
        Ok(StaticFileHandler {})
    }

    pub fn symlinks(self, which: Symlinks) -> Self {
        self
    }

    pub fn hidden(self, served: bool) -> Self {
        self
    }

    pub fn listing(self, wanted: bool) -> Self {
        self
    }

    pub fn precompressed(self, wanted: bool) -> Self {
        self
    }

    pub fn cache(self, files: usize, bytes_each: usize, bytes_in_all: usize) -> Self {
        self
    }

    pub fn index<S: AsRef<str>>(self, names: impl IntoIterator<Item = S>) -> io::Result<Self> {
        Ok(self)
    }

    pub fn mime(self, extension: &str, media_type: &str) -> io::Result<Self> {
        Ok(self)
    }

    pub fn default_type(self, media_type: &str) -> io::Result<Self> {
        Ok(self)
    }

    pub fn header(self, name: &str, value: &str) -> io::Result<Self> {
        Ok(self)
    }

    pub fn cache_control(self, pattern: &str, value: &str) -> io::Result<Self> {
        Ok(self)
    }

    pub fn error_page(self, status: u16, name: &str) -> io::Result<Self> {
        Ok(self)
    }

    pub fn prefix(self, prefix: &str) -> io::Result<Self> {
        Ok(self)
    }
}
