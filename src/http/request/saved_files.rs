//! The files of a form that is saved while it arrives (`BodyPlan::save_form`). They get their names together, when the
//! handler takes them. So a form that is cut, rejected or not taken never has to remove a file that others can see, and
//! that may be another one by then. Called by `form_data::saving`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{AtFlags, CWD, Mode, Stat, fchmod, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::saved_file::SavePath;
use crate::new_file::removable::{create_removable, draw_set_aside};
use crate::new_file::sys::{PASS, rename_new};
use crate::new_file::{NewFile, Unnamed};

/// The files of a form, which get their names together. Until then, those that are complete are in hidden folders, one
/// for each folder that files are saved in. Neither they nor these folders stay if this is dropped.
#[derive(Debug, Default)]
pub(crate) struct SavedFiles {
    folders: Vec<(PathBuf, Arc<HiddenFolder>)>,
    files: Vec<HiddenFile>,
}

pub(crate) struct FormFile {
    pub file: NewFile,
    folder: Arc<HiddenFolder>,
    path: SavePath,
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
        self.files.push(HiddenFile { folder, number, path, is_foreign: AtomicBool::new(false) });
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
        let hidden = HiddenFolder { folder, path: format!("../{name}") };
        let mode = Mode::from_raw_mode(fstat(&hidden.folder)?.st_mode) & Mode::from_raw_mode(0o7777);
        if !mode.contains(Mode::RWXU) {
            // The umask has removed a right of the owner. The other bits stay: files get the group of a setgid folder.
            // A file system without modes rejects this call, and needs no such right.
            let _ = fchmod(&hidden.folder, mode | Mode::RWXU);
        }
        Ok(hidden)
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
    /// Whether it is another program's file, which could not get its name again.
    is_foreign: AtomicBool,
}

impl HiddenFile {
    fn name(&self) -> String {
        self.number.to_string()
    }

    fn complete(&self) -> io::Result<(Identity, PathBuf)> {
        let (folder, name) = (&self.folder.folder, self.name());
        if self.is_foreign.load(Relaxed) {
            return Err(Errno::NOENT.into());
        }
        let identity = identity(&statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)?);
        let path = self.path.name(|path| rename_new(folder, name.as_bytes(), CWD, path))?;
        Ok((identity, path))
    }

    /// Takes the name from the file again. If another program has put another file there, that one keeps the name.
    fn take_back(&self, mine: Identity, path: &Path) {
        if is_file(CWD, path.as_os_str().as_bytes(), mine) {
            self.take_back_found(mine, path);
        }
    }

    /// Takes the name from the file that was just found there. If another program has put another file there since,
    /// that one gets the name back, or a name that is never removed.
    fn take_back_found(&self, mine: Identity, path: &Path) {
        let (folder, name) = (&self.folder.folder, self.name());
        let has_mine = || is_file(folder.as_fd(), name.as_bytes(), mine);
        let done = match renameat(CWD, path, folder, &name) {
            Ok(()) if !has_mine() => {
                rename_new(folder, name.as_bytes(), CWD, path.as_os_str().as_bytes()).or_else(|_| {
                    let kept = format!("../{}", draw_set_aside());
                    rename_new(folder, name.as_bytes(), folder, kept.as_bytes())?;
                    log::error!("a file that another program put at {} is now {}", path.display(), &kept[3..]);
                    Ok(())
                })
            }
            Err(Errno::NOENT) => Ok(()),
            taken => taken,
        };
        if let Err(errno) = done {
            self.is_foreign.store(!has_mine(), Relaxed);
            log::error!("can't remove {}, a file of a rejected form: {errno}", path.display());
        }
    }
}

impl Drop for HiddenFile {
    fn drop(&mut self) {
        if *self.is_foreign.get_mut() {
            return;
        }
        match unlinkat(&self.folder.folder, self.name(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => log::error!("can't remove a file for {}: {errno}", self.path.path.display()),
        }
    }
}

fn is_file(folder: BorrowedFd<'_>, path: &[u8], wanted: Identity) -> bool {
    statat(folder, path, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|found| identity(&found) == wanted)
}

/// The device, the inode, the size and the modification time.
type Identity = (u64, u64, i64, (i64, i64));

#[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "the types differ from system to system")]
fn identity(stat: &Stat) -> Identity {
    (stat.st_dev as u64, stat.st_ino as u64, stat.st_size as i64, (stat.st_mtime as i64, stat.st_mtime_nsec as i64))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    /// A file loses its name again unless another program's file has it by then.
    #[test]
    fn names_taken_back_are_not_those_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        type Meanwhile = fn(&Path);
        let replaced: Meanwhile = |path| {
            fs::write(path.with_extension("new"), "other").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        };
        let moved: Meanwhile = |path| {
            fs::rename(path, path.with_extension("moved")).unwrap();
            fs::write(path, "other").unwrap();
        };
        let folder_came: Meanwhile = |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        };
        let nothing: Meanwhile = |_| {};
        let removed: Meanwhile = |path| fs::remove_file(path).unwrap();
        // `is_late`: the change happens after the check.
        for (meanwhile, is_late, left) in [
            (nothing, false, &[][..]),
            (removed, false, &[]),
            (replaced, false, &["a"]),
            (moved, false, &["a", "a.moved"]),
            (folder_came, false, &["a"]),
            (removed, true, &[]),
            (replaced, true, &["a"]),
            (moved, true, &["a", "a.moved"]),
            (folder_came, true, &["a"]),
        ] {
            let mut files = SavedFiles::default();
            let file = files.create(SavePath::at(path.clone()).unwrap()).unwrap();
            (&file.file).write_all(b"of the form").unwrap();
            files.keep(file).unwrap();
            let (mine, named) = files.files[0].complete().unwrap();
            meanwhile(&named);
            match is_late {
                false => files.files[0].take_back(mine, &named),
                true => files.files[0].take_back_found(mine, &named),
            }
            drop(files);
            let mut names: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names, left, "late: {is_late}");
            assert!(!path.is_file() || fs::read_to_string(&path).unwrap() == "other");
            names.iter().map(|name| folder.path().join(name)).for_each(|path| {
                if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.unwrap();
            });
        }
    }
}
