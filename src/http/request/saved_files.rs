//! The files of a form that is saved while it arrives (`BodyPlan::save_form`). They get their names together, when the
//! handler takes them. So a form that is cut, rejected or not taken never has to remove a file that others can see, and
//! that may be another one by then. Called by `form_data::saving`.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, Stat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::saved_file::SavePath;
use crate::new_file::removable::create_removable;
use crate::new_file::sys::{PASS, rename_new};
use crate::new_file::{NewFile, Unnamed};

/// The files of a form, which get their names together. Until then, those that are complete are in hidden folders, one
/// for each folder that files are saved in. Neither they nor these folders stay if this is dropped.
#[derive(Debug, Default)]
pub(crate) struct SavedFiles {
    folders: Vec<(PathBuf, Arc<HiddenFolder>)>,
    files: Vec<HiddenFile>,
}

/// A file of a form that is being written.
pub(crate) struct FormFile {
    file: NewFile,
    folder: Arc<HiddenFolder>,
    path: SavePath,
}

impl Write for FormFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.file).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SavedFiles {
    pub fn create(&mut self, path: SavePath) -> io::Result<FormFile> {
        let known = self.folders.iter().find(|(folder, _)| folder == path.folder());
        let folder = match known {
            Some((_, hidden)) => Arc::clone(hidden),
            None => {
                let hidden = Arc::new(HiddenFolder::create(path.folder())?);
                self.folders.push((path.folder().to_owned(), Arc::clone(&hidden)));
                hidden
            }
        };
        Ok(FormFile { file: NewFile::create(&folder.folder, Unnamed::IfThereAre)?, folder, path })
    }

    /// Keeps a complete file. Returns its number.
    pub fn keep(&mut self, FormFile { file, folder, path }: FormFile) -> io::Result<usize> {
        let number = self.files.len();
        file.name(&folder.folder, number.to_string().as_bytes())?;
        self.files.push(HiddenFile { folder, number, path });
        Ok(number)
    }

    /// Gives the files their names, and returns their paths by number.
    ///
    /// # Errors
    /// `AlreadyExists`: a name is taken. Then no file has its name.
    pub fn complete(&mut self) -> io::Result<Vec<PathBuf>> {
        let mut named: Vec<(Identity, PathBuf)> = Vec::new();
        for file in &self.files {
            match file.complete() {
                Ok(file) => named.push(file),
                Err(err) => {
                    let named = self.files.iter().zip(&named);
                    named.for_each(|(file, (identity, path))| file.take_back(*identity, path));
                    return Err(err);
                }
            }
        }
        (self.files, self.folders) = Default::default();
        Ok(named.into_iter().map(|(_, path)| path).collect())
    }
}

/// A folder with a name that is never served, in the folder in which the files get their names. It is removed when it
/// is dropped, by the next upload to that folder if this process is killed (`files::leftovers`).
#[derive(Debug)]
struct HiddenFolder {
    folder: OwnedFd,
    /// Its path, relative to itself.
    path: String,
}

impl HiddenFolder {
    fn create(above: &Path) -> io::Result<HiddenFolder> {
        let above = openat(CWD, above, PASS, Mode::empty())?;
        let (folder, name) = create_removable(&above, Mode::RWXU)?;
        Ok(HiddenFolder { folder, path: format!("../{name}") })
    }
}

impl Drop for HiddenFolder {
    fn drop(&mut self) {
        match unlinkat(&self.folder, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => log::error!("can't remove the folder {} of a form: {errno}", &self.path[3..]),
        }
    }
}

/// A complete file of a form in its hidden folder, where its name is its number.
#[derive(Debug)]
struct HiddenFile {
    folder: Arc<HiddenFolder>,
    number: usize,
    path: SavePath,
}

impl HiddenFile {
    fn name(&self) -> String {
        self.number.to_string()
    }

    fn complete(&self) -> io::Result<(Identity, PathBuf)> {
        let (folder, name) = (&self.folder.folder, self.name());
        let identity = identity(&statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?);
        let path = self.path.name(|path| rename_new(folder, name.as_bytes(), CWD, path))?;
        Ok((identity, path))
    }

    /// Takes the name from the file again. If another program has put another file there meanwhile, that one gets its
    /// name back.
    fn take_back(&self, mine: Identity, path: &Path) {
        let (folder, name) = (&self.folder.folder, self.name());
        let taken = renameat(CWD, path, folder, &name);
        let is_mine = || statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| identity(&found) == mine);
        let done = match taken {
            Err(Errno::NOENT) => Ok(()),
            Ok(()) if !is_mine() => rename_new(folder, name.as_bytes(), CWD, path.as_os_str().as_bytes()),
            taken => taken,
        };
        if let Err(errno) = done {
            log::error!("can't remove {}, a file of a rejected form: {errno}", path.display());
        }
    }
}

impl Drop for HiddenFile {
    fn drop(&mut self) {
        match unlinkat(&self.folder.folder, self.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => log::error!("can't remove a file for {}: {errno}", self.path.path.display()),
        }
    }
}

/// The device, the inode, the size and the modification time.
type Identity = (u64, u64, i64, (i64, i64));

#[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ from system to system")]
fn identity(stat: &Stat) -> Identity {
    (stat.st_dev as u64, stat.st_ino, stat.st_size, (stat.st_mtime as i64, stat.st_mtime_nsec as i64))
}
