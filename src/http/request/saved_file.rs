//! A file that a handler saves: it has its name only when it is complete, and nothing is overwritten. Called by
//! `form_data` and `stored`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use http::StatusCode;
use rustix::fs::{CWD, Mode, openat};
use rustix::io::Errno;

use super::file_name;
use crate::http::error::Error;
use crate::new_file::sys::PASS;
use crate::new_file::{NewFile, Unnamed};

/// How many free names are tried, if other programs take each of them before the file gets it.
const MAX_TRIES: usize = 100;

/// A file that is being written. It is removed if it is dropped before it is complete.
pub(crate) struct SavedFile {
    file: NewFile,
    folder: OwnedFd,
    path: PathBuf,
    /// Whether it gets another name if its own is taken.
    may_be_numbered: bool,
}

impl SavedFile {
    /// Creates a file for this path.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is taken, even by a symbolic link. Known before the content arrives; `complete` checks
    /// it again.
    pub fn at(path: &Path) -> io::Result<SavedFile> {
        match path.symlink_metadata() {
            Ok(_) => Err(Errno::EXIST.into()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => SavedFile::create(path.to_owned(), false),
            Err(err) => Err(err),
        }
    }

    /// Creates a file for this name in a folder. If the name is taken, it gets a number.
    pub fn in_folder(folder: &Path, name: &str) -> io::Result<SavedFile> {
        SavedFile::create(folder.join(name), true)
    }

    fn create(path: PathBuf, may_be_numbered: bool) -> io::Result<SavedFile> {
        let (folder, name) = split(&path);
        if name.is_empty() {
            return Err(Errno::ISDIR.into());
        }
        let folder = openat(CWD, folder, PASS, Mode::empty())?;
        Ok(SavedFile { file: NewFile::create(&folder, Unnamed::IfThereAre)?, folder, path, may_be_numbered })
    }

    /// Gives the file its name, and returns its path.
    ///
    /// # Errors
    /// `AlreadyExists`: the name is taken.
    pub fn complete(self) -> io::Result<PathBuf> {
        let (mut path, mut tries) = (self.path.clone(), 0);
        loop {
            match self.file.name(&self.folder, split(&path).1) {
                Err(Errno::EXIST) if self.may_be_numbered && tries < MAX_TRIES => {
                    path = file_name::free(&self.path);
                    tries += 1;
                }
                named => return named.map(|()| path).map_err(io::Error::from),
            }
        }
    }
}

impl Write for SavedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

/// Returns the response for a file that cannot be written.
pub(crate) fn error_of(err: io::Error) -> Error {
    match err.kind() {
        _ if err.get_ref().is_some() => Error::from(err), // an error of receiving the body
        io::ErrorKind::AlreadyExists => Error::new(StatusCode::CONFLICT, "that name is taken"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::new(StatusCode::INSUFFICIENT_STORAGE, "there is not enough disk space for the file").with_cause(err)
        }
        _ => Error::from(err),
    }
}
