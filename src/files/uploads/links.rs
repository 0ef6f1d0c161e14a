//! The links that a move takes along: the moved entry itself, or links in a moved folder. A relative link would lead to
//! another file from another place, possibly to one that the client may not read. So nothing is moved unless each link
//! leads to the same file afterwards. Called by `moves`.

use std::os::fd::OwnedFd;

use super::super::path;
use super::super::stat::{FileStat, Kind};
use super::UploadRequest;
use super::removal::{Remaining, names_of, open_folder};
use super::responses::conflict;
use super::target::Target;
use crate::Error;
use crate::new_file::removable::is_removable;

/// How many entries a moved folder can have, and how many links.
const MOST: usize = 100_000;
const MOST_LINKS: usize = 1_000;

/// A move, as paths below the root without links.
struct Renamed {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// Returns the paths below a moved entry of the links that the move takes along. Empty for the entry itself.
pub(super) fn of(from: &Target, moved: FileStat) -> Result<Vec<Vec<u8>>, Error> {
    let mut links = Vec::new();
    match moved.kind {
        Kind::Link => links.push(Vec::new()),
        Kind::Folder => {
            let folder = open_folder(from.folder(), from.name())?;
            collect(&folder, b"", &mut Remaining::of(MOST), &mut links)?;
        }
        Kind::File | Kind::Other => {}
    }
    Ok(links)
}

/// Rejects with 409 a move after which one of these links would lead elsewhere. The caller prevents other moves.
pub(super) fn check(
    asked: UploadRequest<'_>,
    from: &Target,
    to: &Target,
    moved: FileStat,
    links: &[Vec<u8>],
) -> Result<(), Error> {
    if links.is_empty() {
        return Ok(());
    }
    let without_links = |target: &Target| {
        let folder = asked.finder.root.resolve(path::parent(target.path()));
        folder.map(|folder| path::join(&folder, target.name())).ok_or_else(|| conflict("The folder no longer exists."))
    };
    let renamed = Renamed { from: without_links(from)?, to: without_links(to)? };
    match links.iter().all(|link| renamed.keeps(asked, link)) {
        true => Ok(()),
        false if moved.kind == Kind::Link => Err(conflict("After the move, this link would point somewhere else.")),
        false => Err(conflict("After the move, a link in this folder would point somewhere else.")),
    }
}

fn collect(folder: &OwnedFd, path: &[u8], room: &mut Remaining, links: &mut Vec<Vec<u8>>) -> Result<(), Error> {
    for (name, kind) in names_of(folder, MOST)? {
        room.take_entry()?;
        if is_removable(&name) {
            continue; // no link in it is ever followed
        }
        let path = path::join(path, &name);
        match kind {
            Kind::Link if links.len() == MOST_LINKS => {
                return Err(conflict(format!("The folder has more than {MOST_LINKS} links.")));
            }
            Kind::Link => links.push(path),
            Kind::Folder => {
                let inner = open_folder(folder, &name)?;
                room.inside(|room| collect(&inner, &path, room, links))?;
            }
            Kind::File | Kind::Other => {}
        }
    }
    Ok(())
}

impl Renamed {
    /// Returns whether a link at this path below the moved entry leads to the same file before and after.
    fn keeps(&self, asked: UploadRequest<'_>, link: &[u8]) -> bool {
        let root = &asked.finder.root;
        let at = |path: &[u8]| if link.is_empty() { path.to_vec() } else { path::join(path, link) };
        let before = root.resolve_in(&at(&self.from), &|path| Some(path.to_vec()));
        let after = root.resolve_in(&at(&self.to), &|path| after_move(path, &self.to, &self.from));
        let (Some(mut before), Some(after)) = (before, after) else { return false };
        let top = root.location.now();
        if let Some(path) = top.beneath(&before.path) {
            let Some(path) = after_move(&path, &self.from, &self.to) else { return false };
            before.path = if path.is_empty() { top.path.clone() } else { [&top.path[..], b"/", &path].concat() };
        }
        before == after
    }
}

/// Returns the path of an entry after a move. `None`: it is replaced. With `from` and `to` exchanged, returns the path
/// before the move.
fn after_move(path: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    match (rest(path, from), rest(path, to)) {
        (Some(rest), _) => Some([to, rest].concat()),
        (None, Some(_)) => None,
        (None, None) => Some(path.to_vec()),
    }
}

/// Returns the rest of a path that is at or below another.
fn rest<'p>(path: &'p [u8], at: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(at).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
