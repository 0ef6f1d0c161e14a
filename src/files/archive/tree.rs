//! Walks a folder with everything below it that is served, entry by entry. Called by `stream`. It opens files and does
//! not read them.
//!
//! The rules of serving apply. Each path is opened as for a request: below the folder, links as configured, nothing
//! hidden. So an archive contains the targets of links, and no links. The folder that was at the root's path when the
//! archive began is read to the end, even if another one replaces it.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use rustix::fs::FileType;

use super::super::open::{OpenError, Opened, Root};
use super::super::path;
use super::super::rights::{List, Read, Rights};
use super::super::stat::{self, FileStat, Identity, stat_of};
use super::super::sys;
use super::entry::Entry;
use super::names::{Rule, Taken};
use super::report::Report;
use crate::misleading::begins_with_dot;

/// The average length of paths that the limit allows per entry: a zip keeps paths until its end.
const PATH_ROOM: usize = 200;

/// Reads folders depth first, each sorted by name.
pub(super) struct Tree {
    asked: ArchiveRequest,
    /// How many more names, and bytes of paths, can be read.
    left: usize,
    path_bytes_left: usize,
    /// The topmost folder, and its name in the archive.
    top: Option<(Vec<u8>, Vec<u8>)>,
    levels: Vec<Level>,
}

pub(super) struct ArchiveRequest {
    pub root: Root,
    pub hidden: bool,
    /// The path below the root.
    pub path: Vec<u8>,
    pub name: Vec<u8>,
    pub rule: Rule,
    pub rights: Rights,
    pub depth: usize,
    pub entries: usize,
}

/// An open folder whose entries are being read.
struct Level {
    /// The path below the root, and in the archive.
    path: Vec<u8>,
    shown: Vec<u8>,
    /// The names that come next, in reverse order.
    names: Vec<Box<[u8]>>,
    taken: Taken,
    identity: Identity,
}

pub(super) enum Step {
    Folder(Entry),
    File(Entry, OpenFile),
    /// No entry of this name is served.
    Skipped,
    End,
}

pub(super) struct OpenFile {
    pub file: File,
    pub stat: FileStat,
    /// The path below the root.
    pub path: Vec<u8>,
}

impl Tree {
    pub fn new(asked: ArchiveRequest) -> Tree {
        Tree {
            left: asked.entries,
            path_bytes_left: asked.entries.saturating_mul(PATH_ROOM),
            top: Some((asked.path.clone(), asked.name.clone())),
            levels: Vec::new(),
            asked: ArchiveRequest { root: asked.root.pinned(), ..asked },
        }
    }

    /// Returns the next entry.
    ///
    /// # Errors
    /// Temporary errors, such as too many open files: the archive cannot be completed.
    pub fn next(&mut self, report: &mut Report) -> io::Result<Step> {
        if let Some((path, name)) = self.top.take() {
            return self.enter(path, name, report);
        }
        let Some(level) = self.levels.last_mut() else { return Ok(Step::End) };
        let Some(name) = level.names.pop() else {
            self.levels.pop();
            return Ok(Step::Skipped);
        };
        let path = path::join(&level.path, &name);
        let shown_as = |name: &[u8]| [&level.shown[..], b"/", name].concat();
        if path.len() > path::MAX_PATH {
            report.left_out(&shown_as(&name), "its path is too long");
            return Ok(Step::Skipped);
        }
        let Some(read) = self.asked.rights.grant::<Read>(&path) else { return Ok(Step::Skipped) };
        let opened = match self.asked.root.open_at(&read) {
            Err(error) => return left_out(&shown_as(&name), error, report),
            // The name of a folder can be shown only together with its entries.
            Ok(Opened::Folder) if self.asked.rights.grant::<List>(&path).is_none() => return Ok(Step::Skipped),
            Ok(opened) => opened,
        };
        let named = level.taken.take(self.asked.rule.apply(&name).into_owned());
        if *named != *name {
            report.renamed(&shown_as(&name), &named);
        }
        let shown = shown_as(&named);
        if self.path_bytes_left < shown.len() {
            report.left_out(&shown, "and all later entries: the names together are too long");
            self.levels.clear();
            return Ok(Step::Skipped);
        }
        self.path_bytes_left -= shown.len();
        match opened {
            Opened::Folder => self.enter(path, shown, report),
            Opened::File(file, stat) => {
                let is_executable = stat::is_executable(&file);
                let entry = Entry {
                    path: shown,
                    is_folder: false,
                    is_executable,
                    size: stat.size,
                    modified: stat.modified.seconds,
                };
                Ok(Step::File(entry, OpenFile { file, stat, path }))
            }
        }
    }

    /// Opens a folder, whose entries come next.
    fn enter(&mut self, path: Vec<u8>, shown: Vec<u8>, report: &mut Report) -> io::Result<Step> {
        if self.levels.len() >= self.asked.depth {
            report.left_out(&shown, &format!("more than {} folders deep", self.asked.depth));
            return Ok(Step::Skipped);
        }
        let Some(listed) = self.asked.rights.grant::<List>(&path) else { return Ok(Step::Skipped) };
        let folder = match self.asked.root.open_folder(&listed) {
            Err(error) => return left_out(&shown, error, report),
            Ok(folder) => folder,
        };
        let stat = stat_of(&folder)?;
        if self.levels.iter().any(|level| level.identity == stat.identity()) {
            report.left_out(&shown, "a link to a folder that contains it");
            return Ok(Step::Skipped);
        }
        let mut names: Vec<Box<[u8]>> = Vec::new();
        sys::for_each_entry(&folder, |(name, kind)| {
            let (name, inner) = (name.to_bytes(), path::join(&path, name.to_bytes()));
            let may_be_served =
                matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown);
            let is_hidden = || {
                begins_with_dot(name)
                    && if self.asked.hidden { path::is_upload(&inner) } else { path::is_hidden(&inner) }
            };
            // A name that the client can't read is not counted either, because the report shows the limit.
            if !may_be_served || is_hidden() || self.asked.rights.grant::<Read>(&inner).is_none() {
                return Ok(ControlFlow::Continue(()));
            }
            if self.left == 0 {
                report.left_out(&shown, &format!("some of its entries: there are more than {}", self.asked.entries));
                return Ok(ControlFlow::Break(()));
            }
            self.left -= 1;
            names.push(name.into());
            Ok::<_, rustix::io::Errno>(ControlFlow::Continue(()))
        })?;
        names.sort_unstable_by(|one, other| other.cmp(one));
        let entry = Entry {
            path: shown.clone(),
            is_folder: true,
            is_executable: true,
            size: 0,
            modified: stat.modified.seconds,
        };
        self.levels.push(Level { path, shown, names, taken: Taken::new(self.asked.rule), identity: stat.identity() });
        Ok(Step::Folder(entry))
    }
}

/// Reports an entry that cannot be opened, or skips an entry that is not served.
fn left_out(shown: &[u8], error: OpenError, report: &mut Report) -> io::Result<Step> {
    match error {
        OpenError::NotFound => {}
        OpenError::Forbidden => report.left_out(shown, "the server has no permission to read it"),
        OpenError::Io(cause) => report.left_out(shown, &cause.to_string()),
        OpenError::Busy(cause) | OpenError::TooManyListings(cause) => return Err(cause),
    }
    Ok(Step::Skipped)
}
