//! The target of a change: the path of a request, resolved to a folder below the root and a valid name in it. Called by
//! `uploads`.

use std::fs::File;
use std::os::fd::OwnedFd;

use http::StatusCode;
use rustix::fs::{AtFlags, Mode, chmodat, mkdirat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::super::open::{OpenFolder, Root};
use super::super::path::{self, FilePath, ResolvedPath};
use super::super::rights::{Granted, Move, Read, Write, WriteAll};
use super::super::stat::{FileStat, Identity, Kind, stat_in, stat_of};
use super::super::sys;
use super::UploadRequest;
use super::dav_locks::{Named, Spot};
use super::responses::error_of;
use super::writable::{Whole, Writable, is_well_known, well_known_is_reserved};
use crate::new_file::removable::{create_removable, draw_set_aside};
use crate::new_file::{NewFile, without_rights_beyond};
use crate::{Error, UrlPath, numbered};

/// How many folders can be above a path.
const MAX_ABOVE: usize = 4096;

/// A name in an open folder that a request may write. Everything is created, replaced, renamed and removed through it.
#[derive(Debug)]
pub(super) struct Target {
    folder: OpenFolder,
    /// Its path below the root. The folder is the one above it.
    path: Writable,
    /// The temporary name, if the new file or folder gets the last name of the path only when it is complete.
    part: Option<String>,
    /// The root below which the folder was found by its path. `None`: the folder is part of an incomplete copy.
    root: Option<Root>,
}

impl Target {
    /// Resolves the path of a request to a target whose name is valid for something new.
    ///
    /// # Errors
    /// 400 if the name is invalid, 403 if it would be hidden, 409 if its folder does not exist.
    pub fn find(asked: UploadRequest<'_>, granted: Granted<'_, Write>) -> Result<Target, Error> {
        check_name(path::name(granted.path()))?;
        Target::open(asked, granted)
    }

    /// Resolves the path of a request to a target, even if its name would not be valid for something new.
    pub fn open(asked: UploadRequest<'_>, granted: Granted<'_, Write>) -> Result<Target, Error> {
        let path = Writable::check(asked, granted)?;
        asked.finder.freshness.ask_for_root(&asked.finder.root);
        let folder =
            asked.finder.root.folder_to_change(path::parent(path.path()), granted).map_err(|errno| match errno {
                Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => {
                    Error::new(StatusCode::CONFLICT, "The target folder does not exist.")
                }
                errno => error_of(errno),
            })?;
        let target = Target { folder, path, part: None, root: Some(asked.finder.root.clone()) };
        target.check_folders(asked)?;
        Ok(target)
    }

    /// Creates a folder with a name that is never served, in the same folder, which gets this target's name when it is
    /// complete. No sweep removes it while the descriptor is open.
    pub fn make_part(&self) -> rustix::io::Result<(Target, OwnedFd)> {
        let folder = OpenFolder::Below(rustix::io::fcntl_dupfd_cloexec(&self.folder, 0)?);
        let (held, name) = create_removable(&*folder, Mode::from_raw_mode(0o777))?;
        Ok((Target { folder, path: self.path.clone(), part: Some(name), root: None }, held))
    }

    /// Rejects with 409 if the folder is no longer at its path, because it was moved, replaced or deleted. The caller
    /// holds a lock that prevents this from now on.
    pub fn check_folder(&self) -> Result<(), Error> {
        let Some(root) = &self.root else { return Ok(()) };
        if let OpenFolder::Root(_) = &self.folder {
            return Ok(());
        }
        let folder = self.folder.identity().map_err(error_of)?;
        match root.is_folder_to_change(path::parent(self.path()), folder) {
            true => Ok(()),
            false => Err(error_of(Errno::NOENT)),
        }
    }

    /// Resolves a path directly below this folder to a target whose name is valid for something new.
    pub fn inside(&self, asked: UploadRequest<'_>, granted: Granted<'_, Write>) -> Result<Target, Error> {
        check_name(path::name(granted.path()))?;
        let path = Writable::check(asked, granted)?;
        let folder = sys::open_entry(&self.folder, self.name(), sys::PASS).map_err(error_of)?;
        Ok(Target { folder: OpenFolder::Below(folder), path, part: None, root: None })
    }

    /// Rejects with 403 folders that are in `.well-known` on the disk, because a link on the path leads there.
    fn check_folders(&self, asked: UploadRequest<'_>) -> Result<(), Error> {
        if let OpenFolder::Root(_) = &self.folder {
            return Ok(());
        }
        let root = asked.finder.root.now();
        let is_reserved = |path: &[u8]| path.strip_prefix(&root.path[..]).is_some_and(is_well_known);
        if sys::with_path_of(&self.folder, is_reserved) == Some(true) {
            return Err(well_known_is_reserved());
        }
        let Ok(well_known) = asked.finder.root.stat_unchecked(b".well-known") else { return Ok(()) };
        match self.folders().contains(&well_known.identity()) {
            true => Err(well_known_is_reserved()),
            false => Ok(()),
        }
    }

    /// Rejects with 409 a new folder whose path, with a slash at its end, another route or mount serves.
    pub fn check_as_folder(&self, asked: UploadRequest<'_>) -> Result<(), Error> {
        self.path.check_as_folder(asked)
    }

    pub fn path(&self) -> &[u8] {
        self.path.path()
    }

    /// Checks that everything at and below its path is reachable, if this is moved there, or away from there.
    pub fn whole(&self, asked: UploadRequest<'_>, moved: FileStat) -> Result<Whole, Error> {
        Whole::check(asked, &self.path, moved)
    }

    /// Returns the key of its lock.
    pub fn at(&self) -> Result<Named, Error> {
        Ok(Named::new(self.folder.identity().map_err(error_of)?, self.name()))
    }

    /// Returns the name, the folders that contain it, and what exists there.
    pub fn spot(&self, existing: Option<FileStat>) -> Result<Spot, Error> {
        Ok(Spot {
            named: self.at()?,
            spelling: self.name().into(),
            folders: self.folders(),
            folder: folder_of(existing),
        })
    }

    /// Returns the folders that contain the target, up to the root of the file system if the server can open them.
    pub fn folders(&self) -> Vec<Identity> {
        let mut folders = Vec::new();
        let mut folder = rustix::io::fcntl_dupfd_cloexec(&self.folder, 0).ok();
        while let Some((open, stat)) = folder.and_then(|open| stat_of(&open).ok().map(|stat| (open, stat))) {
            if folders.last() == Some(&stat.identity()) || folders.len() == MAX_ABOVE {
                break; // the root of the file system contains itself
            }
            folders.push(stat.identity());
            folder = rustix::fs::openat(&open, "..", sys::PASS, Mode::empty()).ok();
        }
        folders
    }

    /// Returns the open folder, for a file that has no name yet.
    pub fn folder(&self) -> &OpenFolder {
        &self.folder
    }

    /// Gives a file this name. `EXIST`: the name is taken.
    pub fn give_to(&self, file: &NewFile) -> rustix::io::Result<()> {
        file.name(&self.folder, self.name())
    }

    /// Gives a file this name and the mode of the existing one, which it replaces.
    pub fn replace_by(&self, file: &NewFile, existing: FileStat) -> rustix::io::Result<()> {
        file.replace(&self.folder, self.name(), (existing.kind == Kind::File).then_some(existing.mode))
    }

    pub fn make_folder(&self) -> rustix::io::Result<()> {
        mkdirat(&self.folder, self.name(), Mode::from_raw_mode(0o777)) // minus the umask
    }

    /// Takes the rights from group and others of this folder that they don't have with this mode.
    pub fn restrict(&self, mode: Mode) {
        let Ok(own) = statat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW) else { return };
        let mode = without_rights_beyond(Mode::from_raw_mode(own.st_mode), mode);
        let _ = chmodat(&self.folder, self.name(), mode, AtFlags::empty()); // as in `NewFile::restrict`
    }

    pub fn remove(&self, is_folder: bool, _: Granted<'_, WriteAll>) -> rustix::io::Result<()> {
        unlinkat(&self.folder, self.name(), if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() })
    }

    /// Renames it to a name that is never served, and returns that name.
    pub fn set_aside(&self, _: Granted<'_, WriteAll>, _: Whole) -> rustix::io::Result<String> {
        let name = draw_set_aside();
        sys::rename_new(&self.folder, self.name(), &self.folder, name.as_bytes())?;
        Ok(name)
    }

    /// Renames complete content from its temporary name, if the name is free.
    pub fn complete(&self) -> rustix::io::Result<()> {
        sys::rename_new(&self.folder, self.name(), &self.folder, path::name(self.path()))
    }

    /// Renames it, and replaces an existing target if that is requested.
    pub fn rename(
        &self,
        (_, _): (Granted<'_, Move>, Whole),
        (to, _, _): (&Target, Granted<'_, WriteAll>, Whole),
        replaces: bool,
    ) -> rustix::io::Result<()> {
        match replaces {
            true => renameat(&self.folder, self.name(), &to.folder, to.name()),
            false => sys::rename_new(&self.folder, self.name(), &to.folder, to.name()),
        }
    }

    /// Opens the file for its tag; `None` if that fails.
    pub fn open_to_read(&self, _: Granted<'_, Read>) -> Option<File> {
        Some(sys::open_entry(&self.folder, self.name(), sys::READ).ok()?.into())
    }

    /// Opens the file to read or write the properties that clients set.
    #[cfg(feature = "webdav")]
    pub fn open_for_properties(&self) -> rustix::io::Result<File> {
        let file = sys::open_entry(&self.folder, self.name(), sys::READ)?;
        match stat_of(&file)?.kind {
            Kind::File => Ok(file.into()),
            _ => Err(Errno::ISDIR),
        }
    }

    pub fn name(&self) -> &[u8] {
        self.part.as_ref().map_or_else(|| path::name(self.path()), |part| part.as_bytes())
    }

    /// Returns this name with a free number: nothing has that name, and no other route or mount serves it.
    ///
    /// # Errors
    /// If a lookup fails, or if the request has no right to write that name.
    pub fn free(self, asked: UploadRequest<'_>, name: &[u8]) -> Result<Target, Error> {
        let (parent, rights) = (path::parent(self.path()), asked.rights());
        let writable = |number: u32| {
            let path = path::join(parent, &with_number(name, number));
            Writable::check(asked, rights.ask(&path)?)
        };
        let is_served = |number| writable(number).is_err_and(|error| error.status() == StatusCode::CONFLICT);
        let is_taken =
            |number| Ok::<_, Error>(self.existing_at(&with_number(name, number))?.is_some() || is_served(number));
        let free = numbered::free(is_taken)?;
        Ok(Target { path: writable(free)?, ..self })
    }

    /// Returns the metadata of the existing entry with that name, without following a link.
    pub fn existing(&self) -> Result<Option<FileStat>, Error> {
        self.existing_at(self.name())
    }

    fn existing_at(&self, name: &[u8]) -> Result<Option<FileStat>, Error> {
        match stat_in(&self.folder, name) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(error_of(errno)),
        }
    }

    /// Returns the regular file with that name, if there is one.
    ///
    /// # Errors
    /// 409 if there is something else, which is left unchanged.
    pub fn existing_file(&self) -> Result<Option<FileStat>, Error> {
        let found = self.existing()?;
        let conflict = |what| Err(Error::new(StatusCode::CONFLICT, what));
        match found.map(|stat| stat.kind) {
            None | Some(Kind::File) => Ok(found),
            Some(Kind::Folder) => conflict("There is a folder with that name."),
            Some(Kind::Link | Kind::Other) => conflict("That name belongs to something that is not a file."),
        }
    }
}

/// Returns the identity of what was found, if it is a folder.
pub(super) fn folder_of(found: Option<FileStat>) -> Option<Identity> {
    found.filter(|found| found.kind == Kind::Folder).map(|found| found.identity())
}

/// Returns the entry at this path, looked up through the folders from the root to it. `None` if a folder is missing, or
/// if the path is the root.
pub(super) fn spot_at(asked: UploadRequest<'_>, path: &[u8]) -> Option<Spot> {
    let root = &asked.finder.root;
    if path.is_empty() {
        return None;
    }
    let above = path::folders_above(path).map(|folder| root.stat_checked(folder));
    let folders: Vec<Identity> = above.collect::<Result<Vec<_>, _>>().ok()?.iter().map(FileStat::identity).collect();
    let named = Named::new(*folders.last()?, path::name(path));
    Some(Spot { named, spelling: path::name(path).into(), folders, folder: folder_of(root.stat_checked(path).ok()) })
}

/// Returns the path of a request that writes, below the folder.
pub(super) fn resolve(asked: UploadRequest<'_>) -> Result<FilePath, Error> {
    beneath(asked, &asked.request.url_path()?)
}

/// Returns the path of a request that writes a file.
///
/// # Errors
/// 409 if it is the path of a folder.
pub(super) fn of_file(asked: UploadRequest<'_>) -> Result<Vec<u8>, Error> {
    let path = resolve(asked)?;
    match path.trailing_slash || path.bytes.is_empty() {
        true => {
            Err(Error::new(StatusCode::CONFLICT, "A path that ends with a slash is a folder. Create it with MKCOL."))
        }
        false => Ok(path.bytes),
    }
}

/// Returns a path in a field of the request, below the folder.
///
/// # Errors
/// The errors of `beneath`, or if another mount or route serves that path: no request could reach a file there.
pub(super) fn named(asked: UploadRequest<'_>, path: &UrlPath<'_>) -> Result<FilePath, Error> {
    match asked.request.leads_here(path) {
        true => beneath(asked, path),
        false => Err(Error::new(StatusCode::CONFLICT, "That path is not in this folder.")),
    }
}

fn beneath(asked: UploadRequest<'_>, path: &UrlPath<'_>) -> Result<FilePath, Error> {
    match path::resolve(path, asked.mount) {
        ResolvedPath::Path(path) => Ok(path),
        ResolvedPath::NeedsSlash => Ok(FilePath::default()),
        ResolvedPath::NotFound => {
            Err(Error::new(StatusCode::NOT_FOUND, "That path is too long, or outside this folder."))
        }
    }
}

/// Checks whether something new can have this name. Names that are reserved on Windows are accepted: a program that
/// downloads them to Windows has to handle them.
pub(super) fn check_name(name: &[u8]) -> Result<(), Error> {
    let wrong = |what| Err(Error::new(StatusCode::BAD_REQUEST, what));
    let Ok(text) = str::from_utf8(name) else { return wrong("Names must be UTF-8.") };
    match text {
        "" | "." | ".." => wrong("That is not a valid name."),
        _ if text.len() > path::MAX_NAME => wrong("Names can have at most 255 bytes."),
        _ if text.contains(['/', '\\', '\0']) => wrong("Names can't contain slashes or backslashes."),
        _ if text.contains(crate::misleading::is_misleading) => {
            wrong("Names can't contain control characters or characters that change the text direction.")
        }
        _ => Ok(()),
    }
}

/// Returns the name with this number: `photo (1).jpg`.
pub(super) fn with_number(name: &[u8], number: u32) -> Vec<u8> {
    let name = String::from_utf8_lossy(name); // it was checked to be UTF-8
    numbered::with_stem_end(&name, &format!(" ({number})")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_are_rejected() {
        let long = "x".repeat(256);
        for (name, expected) in [
            ("a", true),
            ("a b.txt", true),
            ("Grüße 你好 שלום", true),
            ("...", true), // hidden names are checked elsewhere
            ("con.txt", true),
            ("a:b|c?*<>\"", true),
            (&long[..255], true),
            (&long, false),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a\\b", false),
            ("..\\b", false),
            ("a\0b", false),
            ("a\nb", false),
            ("a\x1b[31mb", false),
            ("a\u{7f}", false),
            ("a\u{85}", false),
            ("photo\u{202e}gpj.exe", false),
        ] {
            assert_eq!(check_name(name.as_bytes()).is_ok(), expected, "{name:?}");
        }
        assert!(check_name(b"\xff").is_err());
    }

    #[test]
    fn the_number_is_at_the_end_of_the_stem() {
        let long = "ü".repeat(126) + ".jpg"; // 256 bytes
        for (name, number, expected) in [
            ("photo.jpg", 1, "photo (1).jpg"),
            ("photo", 12, "photo (12)"),
            ("a.tar.gz", 1, "a (1).tar.gz"),
            ("v1.2 notes.tar.zst", 1, "v1.2 notes (1).tar.zst"),
            ("v1.2 notes.txt", 1, "v1.2 notes (1).txt"),
            (".tar.gz", 1, ".tar (1).gz"),
            ("a.tar", 1, "a (1).tar"),
            (".profile", 1, ".profile (1)"),
            ("a.", 1, "a (1)."),
            (&long, 1, &("ü".repeat(123) + " (1).jpg")),
            (&"x".repeat(255), 10, &("x".repeat(250) + " (10)")),
        ] {
            let found = with_number(name.as_bytes(), number);
            assert_eq!(String::from_utf8_lossy(&found), expected, "{name}");
            assert!(found.len() <= 255);
        }
    }
}
