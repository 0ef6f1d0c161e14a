//! Looks up a path: a file with its sidecars, a folder, or nothing. Called by `handler`; accesses the disk through `open` only.
//! It decides what is hidden, which index file stands for a folder and which sidecars a file has, not how they are sent.

use std::fs::File;
use std::io;

use super::cache::WatchedPath;
use super::codings::ContentCoding;
use super::open::{FileStat, OpenError, Opened, Root};
use super::path::{self, FilePath};

/// Looks up paths in the folder.
#[derive(Debug)]
pub(super) struct Finder {
    pub root: Root,
    /// Whether names that begin with a dot are served.
    pub hidden: bool,
    /// Index files: the first that exists is served for its folder.
    pub index: Vec<Vec<u8>>,
    /// Whether sidecars are served.
    pub sidecars: bool,
}

/// What a path leads to.
pub(super) enum Lookup {
    File(FoundFile),
    /// A folder, requested with a trailing slash, without an index file.
    Folder,
    /// A folder, requested without a trailing slash.
    NeedsSlash,
}

/// An open file, and the paths that this look-up depended on.
pub(super) struct FoundFile {
    pub path: Vec<u8>,
    pub file: File,
    pub stat: FileStat,
    pub sidecars: Vec<Sidecar>,
    pub watched: Vec<WatchedPath>,
}

/// The same file in a content coding: `style.css.gz` beside `style.css`.
pub(super) struct Sidecar {
    pub coding: ContentCoding,
    pub file: File,
    pub stat: FileStat,
}

impl Finder {
    /// Look up the path of a request.
    pub fn find(&self, path: &FilePath) -> Result<Lookup, OpenError> {
        if self.is_hidden(&path.bytes) {
            return Err(OpenError::NotFound);
        }
        if path.trailing_slash {
            return self.find_folder(&path.bytes);
        }
        let folder = self.watch(path::parent(&path.bytes));
        match self.root.open_at(&path.bytes)? {
            Opened::File(file, stat) => self.with_sidecars(path.bytes.clone(), file, stat, folder),
            Opened::Folder => Ok(Lookup::NeedsSlash),
        }
    }

    /// Open a file, hidden or not, without sidecars: for error pages, which the owner configured.
    pub fn find_page(&self, path: &[u8]) -> Result<FoundFile, OpenError> {
        match self.root.open_at(path)? {
            Opened::Folder => Err(OpenError::NotFound),
            Opened::File(file, stat) => {
                let watched = vec![WatchedPath { path: path.to_vec(), stat }];
                Ok(FoundFile { path: path.to_vec(), file, stat, sidecars: Vec::new(), watched })
            }
        }
    }

    /// Whether a path is neither listed nor served.
    pub fn is_hidden(&self, path: &[u8]) -> bool {
        !self.hidden && path::is_hidden(path)
    }

    fn find_folder(&self, path: &[u8]) -> Result<Lookup, OpenError> {
        let folder = self.watch(path);
        if let Opened::File(..) = self.root.open_at(path)? {
            return Err(OpenError::NotFound); // `file/` is not `file`
        }
        for name in &self.index {
            let index = path::join(path, name);
            if self.is_hidden(&index) {
                continue;
            }
            match self.root.open_at(&index) {
                Ok(Opened::File(file, stat)) => return self.with_sidecars(index, file, stat, folder),
                Ok(Opened::Folder) | Err(OpenError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Lookup::Folder)
    }

    /// The folder is examined before its entries, so that a file created in between is noticed later.
    fn watch(&self, folder: &[u8]) -> io::Result<WatchedPath> {
        Ok(WatchedPath { path: folder.to_vec(), stat: self.root.stat_unchecked(folder)? })
    }

    fn with_sidecars(
        &self,
        path: Vec<u8>,
        file: File,
        stat: FileStat,
        folder: io::Result<WatchedPath>,
    ) -> Result<Lookup, OpenError> {
        let mut watched = vec![folder?, WatchedPath { path: path.clone(), stat }];
        let mut sidecars = Vec::new();
        for coding in ContentCoding::ALL {
            let name = [&path, coding.suffix().as_bytes()].concat();
            if !self.sidecars || self.is_hidden(&name) {
                continue;
            }
            match self.root.open_at(&name) {
                Ok(Opened::File(file, sidecar)) => {
                    watched.push(WatchedPath { path: name, stat: sidecar });
                    // An older sidecar was made from an earlier version of the file.
                    if sidecar.modified >= stat.modified {
                        sidecars.push(Sidecar { coding, file, stat: sidecar });
                    }
                }
                Ok(Opened::Folder) | Err(OpenError::NotFound | OpenError::Forbidden) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Lookup::File(FoundFile { path, file, stat, sidecars, watched }))
    }
}
