//! A file that a handler saves: it has its name only when it is complete, and nothing is overwritten. Called by
//! `form_data` and `stored`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, openat};
use rustix::io::Errno;

use super::file_name;
use crate::new_file::sys::PASS;
use crate::new_file::{NewFile, Unnamed};

/// How many free names are tried, if other programs take each of them before the file gets it.
const MAX_TRIES: usize = 100;

#[derive(Clone, Debug)]
pub(crate) struct SavePath {
    pub path: PathBuf,
    /// Whether it gets another name if its own is taken.
    may_be_numbered: bool,
}

impl SavePath {
    /// # Errors
    /// `AlreadyExists`: the name is taken, even by a symbolic link. `name` checks it again.
    pub fn at(path: PathBuf) -> io::Result<SavePath> {
        match path.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(_) if split(&path).1.is_empty() => Err(Errno::ISDIR.into()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(SavePath { path, may_be_numbered: false }),
            Err(err) => Err(err),
        }
    }

    /// A name in a folder. If it is taken, it gets a number.
    pub fn in_folder(folder: &Path, name: &str) -> SavePath {
        SavePath { path: folder.join(name), may_be_numbered: true }
    }

    pub fn folder(&self) -> &Path {
        split(&self.path).0
    }

    /// Gives a file a free name by this function, and returns its path.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is taken.
    pub fn name(&self, give: impl Fn(&[u8]) -> rustix::io::Result<()>) -> io::Result<PathBuf> {
        let (mut path, mut tries) = (self.path.clone(), 0);
        loop {
            match give(path.as_os_str().as_bytes()) {
                Err(Errno::EXIST) if self.may_be_numbered && tries < MAX_TRIES => {
                    path = file_name::free(&self.path);
                    tries += 1;
                }
                named => return named.map(|()| path).map_err(io::Error::from),
            }
        }
    }
}

/// A file that is being written. It is removed if it is dropped before it is complete.
pub(crate) struct SavedFile {
    pub file: NewFile,
    path: SavePath,
}

impl SavedFile {
    pub fn create(path: SavePath) -> io::Result<SavedFile> {
        let folder = openat(CWD, path.folder(), PASS, Mode::empty())?;
        Ok(SavedFile { file: NewFile::create(&folder, Unnamed::IfThereAre)?, path })
    }

    /// Gives the file its name, and returns its path.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is taken.
    pub fn complete(self) -> io::Result<PathBuf> {
        self.path.name(|name| self.file.name(CWD, name))
    }
}

/// Splits a path into the folder and the name in it. A name that is empty, `.` or `..` is never free.
fn split(path: &Path) -> (&Path, &[u8]) {
    let bytes = path.as_os_str().as_bytes();
    let (folder, name) = match memchr::memrchr(b'/', bytes) {
        Some(0) => (b"/".as_slice(), &bytes[1..]),
        Some(slash) => (&bytes[..slash], &bytes[slash + 1..]),
        None => (b".".as_slice(), bytes),
    };
    (Path::new(OsStr::from_bytes(folder)), name)
}
