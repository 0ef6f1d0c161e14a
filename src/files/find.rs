//! Looks up a path: a file with its sidecars, a folder, or nothing. Called by `handler`. Accesses the disk through
//! `open` only. It decides what is hidden, which index file a folder has and which sidecars a file has. The result is
//! valid for all requests: `prepare` checks the rights of each, and decides how the file is sent.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::codings::ContentCoding;
use super::folders::{Folders, Names};
use super::fresh::{Evidence, Freshness};
use super::open::{OpenError, Opened, Root};
use super::path::{self, FilePath};
use super::rights::Unjudged;
use super::stat::{FileStat, Kind};

const HTML: &[u8] = b".html";

/// A sidecar is used once it has been unchanged for this long, because it may be incomplete while it is written.
const STILL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Finder {
    pub root: Root,
    pub freshness: Freshness,
    pub folders: Folders,
    /// Whether names that begin with a dot are served.
    pub hidden: bool,
    /// Index files: the first that exists is served for its folder.
    pub index: Vec<Vec<u8>>,
    pub sidecars: bool,
    /// Whether `about.html` is served as `about`.
    pub clean_urls: bool,
}

pub(super) enum Lookup {
    File(FoundFile),
    /// A folder, requested with a trailing slash, without an index file.
    Folder,
    /// A folder, requested without a trailing slash.
    NeedsSlash,
    Missing(Evidence),
}

impl Lookup {
    fn if_sure(self, is_sure: bool) -> Lookup {
        match self {
            Lookup::File(found) => Lookup::File(FoundFile { is_sure, ..found }),
            other => other,
        }
    }
}

/// An open file, and what this lookup depended on.
pub(super) struct FoundFile {
    pub path: Vec<u8>,
    pub file: File,
    pub stat: FileStat,
    pub sidecars: Vec<Sidecar>,
    pub basis: Evidence,
    /// Whether the result is valid as long as the folder is unchanged. This is false if a preferred name is a link to
    /// nothing, because the target of the link can be created in another folder.
    pub is_sure: bool,
}

/// The same file in a content coding: `style.css.gz` beside `style.css`.
pub(super) struct Sidecar {
    pub coding: ContentCoding,
    pub file: File,
    pub stat: FileStat,
}

impl Finder {
    /// Looks up the path of a request that arrived with this poll. `now` is a time before the lookup.
    pub fn find(&self, path: &FilePath, polled: Option<Instant>, now: SystemTime) -> Result<Lookup, OpenError> {
        if self.is_hidden(&path.bytes) {
            return Err(OpenError::NotFound);
        }
        let (folder, name) = match path.trailing_slash {
            true => (&path.bytes[..], &b""[..]),
            false => (path::parent(&path.bytes), path::name(&path.bytes)),
        };
        let names = self.folders.names(&self.freshness, &self.root, folder, polled);
        if names.is_none() {
            self.freshness.ask_for_root(&self.root);
        }
        let names = names.as_deref();
        if path.trailing_slash {
            return self.find_folder(folder, names, now);
        }
        let is_there = |name: &[u8]| names.is_none_or(|names| names.contains(name));
        let page = self.page_of(&path.bytes).filter(|page| is_there(path::name(page)));
        if !is_there(name) && page.is_none() {
            return Err(OpenError::NotFound);
        }
        let counted = page.iter().map(|page| path::name(page).to_vec()).chain([name.to_vec()]).collect();
        let basis = self.basis_in(folder, names, counted)?;
        let found = if is_there(name) { self.open(&path.bytes, names) } else { Err(OpenError::NotFound) };
        let mut is_sure = true;
        if let (Ok(Opened::Folder) | Err(OpenError::NotFound), Some(page)) = (&found, page) {
            is_sure = found.is_ok() || self.root.is_absent(&path.bytes);
            match self.open(&page, names) {
                Ok(Opened::File(file, stat)) => {
                    let found = self.with_sidecars(page, file, stat, names, basis, now)?;
                    return Ok(found.if_sure(is_sure));
                }
                Ok(Opened::Folder) | Err(OpenError::NotFound) => is_sure &= self.root.is_absent(&page),
                Err(error) => return Err(error),
            }
        }
        match found {
            Ok(Opened::File(file, stat)) => self.with_sidecars(path.bytes.clone(), file, stat, names, basis, now),
            Ok(Opened::Folder) => Ok(Lookup::NeedsSlash),
            Err(OpenError::NotFound) if is_sure && self.root.is_absent(&path.bytes) => Ok(Lookup::Missing(basis)),
            Err(error) => Err(error),
        }
    }

    /// Returns the page that clean URLs serve at a path without a file: `about.html` for `about`. An index file is
    /// served at the path of its folder.
    fn page_of(&self, path: &[u8]) -> Option<Vec<u8>> {
        let page = self.clean_urls.then(|| [path, HTML].concat())?;
        (!self.index.iter().any(|index| index == path::name(&page))).then_some(page)
    }

    /// Returns the path at which a page is served with clean URLs, if that path finds the page: `about` for
    /// `about.html`.
    pub fn clean(&self, path: &FilePath, polled: Option<Instant>, now: SystemTime) -> Option<FilePath> {
        let shorter = path.bytes.strip_suffix(HTML).filter(|_| self.clean_urls && !path.trailing_slash)?;
        if self.is_hidden(&path.bytes) || path::name(shorter).is_empty() {
            return None;
        }
        let is_index = self.index.iter().any(|index| index == path::name(&path.bytes));
        let clean = match is_index {
            true => FilePath { bytes: path::parent(&path.bytes).to_vec(), trailing_slash: true },
            false => FilePath { bytes: shorter.to_vec(), trailing_slash: false },
        };
        let found = self.find(&clean, polled, now).ok()?;
        matches!(found, Lookup::File(found) if found.path == path.bytes).then_some(clean)
    }

    /// Returns why an existing path is not served, for the log.
    pub fn why_not_served(&self, path: &FilePath) -> Option<&'static str> {
        let FilePath { bytes: path, trailing_slash } = path;
        if self.is_hidden(path) {
            return Some("hidden: a name in it begins with a dot");
        }
        match self.root.stat_itself(path).map(|stat| stat.kind) {
            Ok(Kind::Link) => Some("a broken link, or one that leads where links are not followed"),
            Ok(Kind::Other) => Some("neither a file nor a folder"),
            Ok(Kind::File | Kind::Folder) if self.root.stat_checked(path).is_err() => {
                Some("a link on its path leads where links are not followed")
            }
            Ok(Kind::File) if *trailing_slash => Some("a file: its path does not end with a slash"),
            Ok(Kind::File) if self.root.hides_size(path) => Some("its file system does not know its size"),
            Ok(Kind::File) => Some("the server has no permission to read it"),
            Ok(Kind::Folder) => Some("a folder that is not listed, or that the server has no permission to read"),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Some("the server has no permission to enter its folder")
            }
            Err(_) => None,
        }
    }

    /// Opens a file, hidden or not, without sidecars: for error pages, which the operator configured.
    pub fn find_page(&self, path: &[u8]) -> Result<Lookup, OpenError> {
        self.freshness.ask_for_root(&self.root);
        let mut basis = self.basis_in(path::parent(path), None, vec![path::name(path).to_vec()])?;
        match self.root.open_at(&Unjudged(path)) {
            Ok(Opened::Folder) => Err(OpenError::NotFound),
            Err(OpenError::NotFound) if self.root.is_absent(path) => Ok(Lookup::Missing(basis)),
            Ok(Opened::File(file, stat)) => {
                basis.add(path.to_vec(), stat);
                let (path, sidecars) = (path.to_vec(), Vec::new());
                Ok(Lookup::File(FoundFile { path, file, stat, sidecars, basis, is_sure: true }))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether a path is neither listed nor served.
    pub fn is_hidden(&self, path: &[u8]) -> bool {
        if self.hidden { path::is_upload(path) } else { path::is_hidden(path) }
    }

    fn find_folder(&self, path: &[u8], names: Option<&Names>, now: SystemTime) -> Result<Lookup, OpenError> {
        let basis = self.basis_in(path, names, self.index.clone())?;
        if names.is_none()
            && let Opened::File(..) = self.root.open_at(&Unjudged(path))?
        {
            return Err(OpenError::NotFound); // `file/` is not `file`
        }
        let mut is_sure = true;
        for name in &self.index {
            let index = path::join(path, name);
            if self.is_hidden(&index) || names.is_some_and(|names| !names.contains(name)) {
                continue;
            }
            match self.open(&index, names) {
                Ok(Opened::File(file, stat)) => {
                    let found = self.with_sidecars(index, file, stat, names, basis, now)?;
                    return Ok(found.if_sure(is_sure));
                }
                Ok(Opened::Folder) | Err(OpenError::NotFound) => is_sure &= self.root.is_absent(&index),
                Err(error) => return Err(error),
            }
        }
        Ok(Lookup::Folder)
    }

    /// The folder is examined before its entries, so that a file created in between is noticed later.
    fn basis_in(&self, folder: &[u8], known: Option<&Names>, names: Vec<Vec<u8>>) -> Result<Evidence, OpenError> {
        let stat = match known {
            Some(names) => names.stat,
            // The folder may be outside the root, and its existence there must not be revealed. The checked lookup
            // decides.
            None => self.root.stat_unchecked(folder).or_else(|_| self.root.stat_checked(folder))?,
        };
        Ok(Evidence::new(folder.to_vec(), stat, names))
    }

    fn open(&self, path: &[u8], names: Option<&Names>) -> Result<Opened, OpenError> {
        match names.is_some_and(|names| names.is_file(path::name(path))) {
            true => self.root.open_file(&Unjudged(path)),
            false => self.root.open_at(&Unjudged(path)),
        }
    }

    fn with_sidecars(
        &self,
        path: Vec<u8>,
        file: File,
        stat: FileStat,
        names: Option<&Names>,
        mut basis: Evidence,
        now: SystemTime,
    ) -> Result<Lookup, OpenError> {
        basis.add(path.clone(), stat);
        let mut sidecars = Vec::new();
        for coding in ContentCoding::ALL {
            let name = [&path, coding.suffix().as_bytes()].concat();
            let is_missing = names.is_some_and(|names| !names.contains(path::name(&name)));
            if !self.sidecars || is_missing || self.is_hidden(&name) {
                continue;
            }
            match self.open(&name, names) {
                Ok(Opened::File(file, sidecar)) => {
                    let is_older = !made_of(sidecar, stat);
                    let fault =
                        is_older.then_some("it is older").or_else(|| coding.fault(&file, sidecar.size, stat.size));
                    let wait = sidecar.changed.until(STILL, now).filter(|_| fault.is_none());
                    match (fault.or(wait.map(|_| "it has just changed")), wait) {
                        (None, _) => sidecars.push(Sidecar { coding, file, stat: sidecar }),
                        (Some(why), wait) => {
                            log::debug!(target: "modest::files", "/{} is not sent for its file: {why}", name.escape_ascii());
                            wait.into_iter().for_each(|wait| basis.ends_after(wait));
                        }
                    }
                    basis.add(name, sidecar);
                }
                Err(OpenError::Forbidden) => {
                    let why = "the server has no permission to read it";
                    log::debug!(target: "modest::files", "/{} is not sent for its file: {why}", name.escape_ascii());
                }
                Ok(Opened::Folder) | Err(OpenError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Lookup::File(FoundFile { path, file, stat, sidecars, basis, is_sure: true }))
    }
}

/// Returns whether a sidecar can be a copy of this version of the file. A sidecar older than the file is not. Tools
/// that give the sidecar the date of the file (`brotli`, `pigz`) copy only whole seconds.
fn made_of(sidecar: FileStat, file: FileStat) -> bool {
    let (sidecar, file) = (sidecar.modified, file.modified);
    if sidecar.nanos == 0 { sidecar.seconds >= file.seconds } else { sidecar >= file }
}
