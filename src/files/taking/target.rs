//! Where something is to be put: the path of a request to a folder, found beneath the root, and a name in it that may be
//! given. Called by `taking`.

use std::os::fd::OwnedFd;

use http::StatusCode;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::super::find::Finder;
use super::super::path::{self, FilePath, ResolvedPath};
use super::super::stat::{FileStat, Kind, stat};
use super::{Place, error_of};
use crate::{Error, Request, UrlPath};

/// A name in an open folder.
#[derive(Debug)]
pub(super) struct Target {
    pub folder: OwnedFd,
    /// Its path beneath the root.
    pub path: Vec<u8>,
}

impl Target {
    /// The name at this path, for something new.
    ///
    /// # Errors
    /// 400 if nothing may have that name, 403 if it would be hidden, 409 if there is no such folder.
    pub fn find(finder: &Finder, path: &[u8]) -> Result<Target, Error> {
        check_name(path::name(path))?;
        check_hidden(finder, path)?;
        Target::open(finder, path)
    }

    /// The same whatever its name.
    pub fn open(finder: &Finder, path: &[u8]) -> Result<Target, Error> {
        let folder = finder.root.folder_to_change(path::parent(path)).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => {
                Error::new(StatusCode::CONFLICT, "There is no such folder to put it in.")
            }
            errno => error_of(errno),
        })?;
        Ok(Target { folder, path: path.to_vec() })
    }

    pub fn name(&self) -> &[u8] {
        path::name(&self.path)
    }

    /// The same folder, and this name with a number that is free. Those that are taken mostly stand at the front, so the
    /// numbers are doubled until one is free, and then halved.
    pub fn free(mut self, name: &[u8]) -> Result<Target, Error> {
        let parent = path::parent(&self.path).to_vec();
        let mut is_taken = |number: u32| {
            self.path = path::join(&parent, &numbered(name, number));
            self.existing().map(|found| found.is_some())
        };
        let (mut taken, mut free) = (0, 1);
        while free < u32::MAX / 2 && is_taken(free)? {
            (taken, free) = (free, free * 2);
        }
        while free - taken > 1 {
            let middle = taken + (free - taken) / 2;
            *(if is_taken(middle)? { &mut taken } else { &mut free }) = middle;
        }
        Ok(Target { path: path::join(&parent, &numbered(name, free)), ..self })
    }

    /// What has that name: a link itself.
    pub fn existing(&self) -> Result<Option<FileStat>, Error> {
        match stat(&self.folder, self.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(error_of(errno)),
        }
    }

    /// The regular file of that name, if there is one.
    ///
    /// # Errors
    /// 409 if there is something else, which is left alone.
    pub fn existing_file(&self) -> Result<Option<FileStat>, Error> {
        let found = self.existing()?;
        let conflict = |what| Err(Error::new(StatusCode::CONFLICT, what));
        match found.map(|stat| stat.kind) {
            None | Some(Kind::File) => Ok(found),
            Some(Kind::Folder) => conflict("There is a folder of that name."),
            Some(Kind::Link | Kind::Other) => conflict("There is something of that name that is no file."),
        }
    }
}

/// The path of a request that writes, beneath the folder.
pub(super) fn resolve(place: Place<'_>, request: &Request) -> Result<FilePath, Error> {
    beneath(place, &request.url_path()?)
}

/// A path that a field of the request names, beneath the folder.
///
/// # Errors
/// Also where another mount or route serves that path: what is put there no request could reach.
pub(super) fn named(place: Place<'_>, request: &Request, path: &UrlPath<'_>) -> Result<FilePath, Error> {
    match request.leads_here(path) {
        true => beneath(place, path),
        false => Err(Error::new(StatusCode::CONFLICT, "That path is not of this folder.")),
    }
}

fn beneath(place: Place<'_>, path: &UrlPath<'_>) -> Result<FilePath, Error> {
    match path::resolve(path.as_bytes(), place.mount) {
        ResolvedPath::Path(path) => Ok(path),
        ResolvedPath::NeedsSlash => Ok(FilePath::default()),
        ResolvedPath::NotFound => Err(Error::new(StatusCode::NOT_FOUND, "Nothing here can have that path.")),
    }
}

/// 403 for names that are not served.
pub(super) fn check_hidden(finder: &Finder, path: &[u8]) -> Result<(), Error> {
    match finder.is_hidden(path) {
        true => Err(Error::new(StatusCode::FORBIDDEN, "Names that begin with a dot are not taken here.")),
        false => Ok(()),
    }
}

/// Whether something new may have this name. Those that Windows reserves are taken: this is no Windows, and who fetches
/// them there has a program that knows.
pub(super) fn check_name(name: &[u8]) -> Result<(), Error> {
    let wrong = |what| Err(Error::new(StatusCode::BAD_REQUEST, what));
    let Ok(text) = str::from_utf8(name) else { return wrong("A name is UTF-8.") };
    match text {
        "" | "." | ".." => wrong("That is no name."),
        _ if text.len() > path::MAX_NAME => wrong("A name has at most 255 bytes."),
        _ if text.contains(['/', '\\', '\0']) => wrong("A name has no slashes."),
        _ if text.contains(path::is_misleading) => {
            wrong("A name has no control characters, nor any that turn the direction of writing.")
        }
        _ => Ok(()),
    }
}

/// The name with a number at the end of its stem, which is cut where it gets too long: `photo (1).jpg`.
pub(super) fn numbered(name: &[u8], number: u32) -> Vec<u8> {
    const LONGEST_EXTENSION: usize = 32;
    let name = String::from_utf8_lossy(name); // it was checked to be UTF-8
    let dot = name.rfind('.').filter(|&dot| dot > 0 && name.len() - dot <= LONGEST_EXTENSION).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let end = format!(" ({number})");
    let room = path::MAX_NAME - extension.len() - end.len();
    let cut = (0..=room.min(stem.len())).rfind(|&cut| stem.is_char_boundary(cut)).unwrap_or_default();
    format!("{}{end}{extension}", &stem[..cut]).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "x".repeat(256);
        for (name, expected) in [
            ("a", true),
            ("a b.txt", true),
            ("Grüße 你好 שלום", true),
            ("...", true), // hidden, which is another matter
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
    fn numbers() {
        let long = "ü".repeat(126) + ".jpg"; // 256 bytes
        for (name, number, expected) in [
            ("photo.jpg", 1, "photo (1).jpg"),
            ("photo", 12, "photo (12)"),
            ("a.tar.gz", 1, "a.tar (1).gz"),
            (".profile", 1, ".profile (1)"),
            ("a.", 1, "a (1)."),
            (&long, 1, &("ü".repeat(123) + " (1).jpg")),
            (&"x".repeat(255), 10, &("x".repeat(250) + " (10)")),
        ] {
            let found = numbered(name.as_bytes(), number);
            assert_eq!(String::from_utf8_lossy(&found), expected, "{name}");
            assert!(found.len() <= 255);
        }
    }
}
