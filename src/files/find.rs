//! What is there for a path: a file with its sidecars, a folder, or nothing. Called by `handler`; uses `open` for every touch of the disk.
//! It knows what is hidden, which files stand for a folder and which stand beside a file; how they are sent is not its concern.

use std::fs::File;
use std::io;

use super::cache::Watched;
use super::negotiate::Coding;
use super::open::{Opened, Refusal, Root, Stamp};
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
pub(super) enum Found {
    File(FoundFile),
    /// A folder, asked for as one, and nothing that stands for it.
    Folder,
    /// A folder, asked for as a file: its name wants a slash.
    WantsSlash,
}

/// A file that was opened, and what must stay as it is for it to be found again.
pub(super) struct FoundFile {
    pub path: Vec<u8>,
    pub file: File,
    pub stamp: Stamp,
    pub sidecars: Vec<Sidecar>,
    pub watched: Vec<Watched>,
}

/// The same file in a coding: `style.css.gz` beside `style.css`.
pub(super) struct Sidecar {
    pub coding: Coding,
    pub file: File,
    pub stamp: Stamp,
}

impl Finder {
    /// What is there for the path of a request.
    pub fn find(&self, path: &FilePath) -> Result<Found, Refusal> {
        if self.is_hidden(&path.bytes) {
            return Err(Refusal::Missing);
        }
        if path.slash {
            return self.find_folder(&path.bytes);
        }
        let folder = self.watch(path::parent(&path.bytes));
        match self.root.open_at(&path.bytes)? {
            Opened::File(file, stamp) => self.with_sidecars(path.bytes.clone(), file, stamp, folder),
            Opened::Folder => Ok(Found::WantsSlash),
        }
    }

    /// A file by its path, hidden or not, without sidecars: for pages that an owner names.
    pub fn find_page(&self, path: &[u8]) -> Result<FoundFile, Refusal> {
        match self.root.open_at(path)? {
            Opened::Folder => Err(Refusal::Missing),
            Opened::File(file, stamp) => {
                let watched = vec![Watched { path: path.to_vec(), stamp }];
                Ok(FoundFile { path: path.to_vec(), file, stamp, sidecars: Vec::new(), watched })
            }
        }
    }

    /// Whether a path is none that is shown or served.
    pub fn is_hidden(&self, path: &[u8]) -> bool {
        !self.hidden && path::is_hidden(path)
    }

    fn find_folder(&self, path: &[u8]) -> Result<Found, Refusal> {
        let folder = self.watch(path);
        if let Opened::File(..) = self.root.open_at(path)? {
            return Err(Refusal::Missing); // `file/` is not `file`
        }
        for name in &self.index {
            let index = path::join(path, name);
            if self.is_hidden(&index) {
                continue;
            }
            match self.root.open_at(&index) {
                Ok(Opened::File(file, stamp)) => return self.with_sidecars(index, file, stamp, folder),
                Ok(Opened::Folder) | Err(Refusal::Missing) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Found::Folder)
    }

    /// The folder is looked at before what is in it: a file that comes later then shows.
    fn watch(&self, folder: &[u8]) -> io::Result<Watched> {
        Ok(Watched { path: folder.to_vec(), stamp: self.root.look(folder)? })
    }

    fn with_sidecars(
        &self,
        path: Vec<u8>,
        file: File,
        stamp: Stamp,
        folder: io::Result<Watched>,
    ) -> Result<Found, Refusal> {
        let mut watched = vec![folder?, Watched { path: path.clone(), stamp }];
        let mut sidecars = Vec::new();
        for coding in Coding::ALL {
            let name = [&path, coding.suffix().as_bytes()].concat();
            if !self.sidecars || self.is_hidden(&name) {
                continue;
            }
            match self.root.open_at(&name) {
                Ok(Opened::File(file, sidecar)) => {
                    watched.push(Watched { path: name, stamp: sidecar });
                    // One that is older than the file was made from an older state of it.
                    if sidecar.modified >= stamp.modified {
                        sidecars.push(Sidecar { coding, file, stamp: sidecar });
                    }
                }
                Ok(Opened::Folder) | Err(Refusal::Missing | Refusal::Forbidden) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(Found::File(FoundFile { path, file, stamp, sidecars, watched }))
    }
}
