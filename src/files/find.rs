//! What is there for a path: a file with its sidecars, a folder, or nothing. Called by `handler`; uses `open` for every touch of the disk.
//! It knows what is hidden, which files stand for a folder and which stand beside a file; how they are sent is not its concern.

use std::fs::File;
use std::io;

use super::cache::WatchedPath;
use super::negotiate::ContentCoding;
use super::open::{FileStat, OpenError, Opened, Root};
use super::path::{self, FilePath};

/// Looks for files in the folder.
#[derive(Debug)]
pub(super) struct Finder {
    pub root: Root,
    /// Whether names that begin with a dot are seen.
    pub hidden: bool,
    /// What stands for a folder, the first that is there.
    pub index: Vec<Vec<u8>>,
    /// Whether sidecars are looked for.
    pub sidecars: bool,
}

/// What is there.
pub(super) enum Lookup {
    File(FoundFile),
    /// A folder, asked for as one, and nothing that stands for it.
    Folder,
    /// A folder, asked for as a file: its name wants a slash.
    NeedsSlash,
}

/// A file that was opened, and what must stay as it is for it to be found again.
pub(super) struct FoundFile {
    pub path: Vec<u8>,
    pub file: File,
    pub stat: FileStat,
    pub sidecars: Vec<Sidecar>,
    pub watched: Vec<WatchedPath>,
}

/// The same file in a coding: `style.css.gz` beside `style.css`.
pub(super) struct Sidecar {
    pub coding: ContentCoding,
    pub file: File,
    pub stat: FileStat,
}

impl Finder {
    /// What is there for the path of a request.
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

    /// A file by its path, hidden or not, without sidecars: for pages that an owner names.
    pub fn find_page(&self, path: &[u8]) -> Result<FoundFile, OpenError> {
        match self.root.open_at(path)? {
            Opened::Folder => Err(OpenError::NotFound),
            Opened::File(file, stat) => {
                let watched = vec![WatchedPath { path: path.to_vec(), stat }];
                Ok(FoundFile { path: path.to_vec(), file, stat, sidecars: Vec::new(), watched })
            }
        }
    }

    /// Whether a path is none that is shown or served.
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

    /// The folder is looked at before what is in it: a file that comes later then shows.
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
                    // One that is older than the file was made from an older state of it.
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
