//! Hidden folders that nobody needs unless this process renames them, or something in them: incomplete copies, folders
//! that were deleted or replaced, and files of a form that is still arriving. The next upload to the folder around them
//! removes those that a killed process left behind (`files::leftovers`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use super::{PREFIX, create_held, draw};

/// Follows [`PREFIX`] in the names of such folders.
const REMOVABLE: &str = "removable-";
/// Follows [`PREFIX`] in the names of entries that are never removed.
const SET_ASIDE: &str = "replaced-";

/// Creates such a folder, and returns it with its name. No sweep removes it while the descriptor is open. The umask
/// applies.
pub(crate) fn create_removable(folder: impl AsFd + Copy, mode: Mode) -> rustix::io::Result<(OwnedFd, String)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    create_held(draw_removable, |name| {
        mkdirat(folder, name, mode)?;
        openat(folder, name, flags, Mode::empty()).map_err(|errno| {
            let _ = unlinkat(folder, name, AtFlags::REMOVEDIR);
            if errno == Errno::NOENT { Errno::EXIST } else { errno } // `NOENT`: a sweep has removed it
        })
    })
}

pub(crate) fn draw_removable() -> String {
    format!("{PREFIX}{REMOVABLE}{}", draw())
}

/// Returns whether this is the name of such a folder.
pub(crate) fn is_removable(name: &[u8]) -> bool {
    let drawn = name.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.strip_prefix(REMOVABLE.as_bytes()));
    drawn.is_some_and(|drawn| drawn.len() == 16 && drawn.iter().all(u8::is_ascii_hexdigit))
}

/// Returns a name that is never served, for an entry while it is replaced. If this process is killed then, the
/// entry keeps the name, and is never removed.
pub(crate) fn draw_set_aside() -> String {
    format!("{PREFIX}{SET_ASIDE}{}", draw())
}

pub(crate) fn is_set_aside(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes()).is_some_and(|rest| rest.starts_with(SET_ASIDE.as_bytes()))
}
