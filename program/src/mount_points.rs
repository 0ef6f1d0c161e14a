//! The places of folders on their file systems. A file system can be mounted at several paths, and a bind mount shows a
//! part of one at another path, so a path does not show that two folders are the same. Called by `uploads` and
//! `own_files` at startup.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::sys;

/// The mount points of this process (proc_pid_mountinfo(5)). Empty on other systems than Linux.
pub struct MountPoints(Vec<MountPoint>);

struct MountPoint {
    device: String,
    /// The folder on the file system that is mounted.
    root: PathBuf,
    /// The path at which it is mounted.
    at: PathBuf,
}

/// A folder with all folders below it on one file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    device: String,
    root: PathBuf,
    /// The path below the place that contains it. Empty: the place itself.
    pub at: PathBuf,
}

impl MountPoints {
    pub fn read() -> MountPoints {
        MountPoints::parse(&sys::mount_table())
    }

    fn parse(table: &[u8]) -> MountPoints {
        MountPoints(table.split(|byte| *byte == b'\n').filter_map(MountPoint::parse).collect())
    }

    /// Returns the tree of a folder or file, and those of all file systems mounted below it.
    pub fn trees(&self, path: &Path) -> Vec<Tree> {
        let Ok(path) = path.canonicalize() else { return Vec::new() };
        self.trees_of(&path)
    }

    fn trees_of(&self, path: &Path) -> Vec<Tree> {
        let above = |mount: &&MountPoint| path.starts_with(&mount.at);
        let own = self.0.iter().filter(above).max_by_key(|mount| mount.at.components().count()); // the last of several
        let own = own.map(|mount| mount.tree(path.strip_prefix(&mount.at).unwrap_or(path), PathBuf::new()));
        let below = self.0.iter().filter(|mount| mount.at != path).filter_map(|mount| {
            let at = mount.at.strip_prefix(path).ok()?;
            Some(mount.tree(Path::new(""), at.to_owned()))
        });
        own.into_iter().chain(below).collect()
    }
}

impl MountPoint {
    /// Parses a line: number, parent, device, root, mount point, and more.
    fn parse(line: &[u8]) -> Option<MountPoint> {
        let mut words = line.split(|byte| *byte == b' ').skip(2);
        let device = String::from_utf8(words.next()?.to_vec()).ok()?;
        let (root, at) = (unescaped(words.next()?), unescaped(words.next()?));
        Some(MountPoint { device, root, at })
    }

    fn tree(&self, beneath: &Path, at: PathBuf) -> Tree {
        Tree { device: self.device.clone(), root: self.root.join(beneath), at }
    }
}

impl Tree {
    /// Returns the path in this tree of what the other tree begins with. `None`: it is elsewhere.
    pub fn path_of(&self, other: &Tree) -> Option<PathBuf> {
        let beneath = other.root.strip_prefix(&self.root).ok().filter(|_| self.device == other.device)?;
        Some(self.at.join(beneath))
    }

    /// Returns whether the trees have folders in common.
    pub fn overlaps(&self, other: &Tree) -> bool {
        self.path_of(other).is_some() || other.path_of(self).is_some()
    }
}

/// Replaces escapes: a space is `\040`.
fn unescaped(word: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(word.len()), word);
    while let [first, after @ ..] = rest {
        let code = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = &after[if code.is_some() { 3 } else { 0 }..];
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 21 8:2 / /srv rw - ext4 /dev/sdb1 rw\n\
        31 30 8:1 /home/in\\040box /srv/www/in rw - ext4 /dev/sda1 rw\n\
        32 30 8:2 /up/sub /srv/www/sub rw - ext4 /dev/sdb1 rw\n\
        33 21 0:5 / /mnt rw - tmpfs none rw\n\
        34 21 8:2 /up /mnt rw - ext4 /dev/sdb1 rw\nbroken\n";

    #[test]
    fn trees_that_have_folders_in_common_are_found() {
        let points = MountPoints::parse(TABLE);
        for (one, other, expected) in [
            ("/srv/www", "/srv/up", true),
            ("/srv/www", "/srv/up/sub", true),
            ("/srv/www", "/srv/up/sub/deep", true),
            ("/srv/www", "/srv/up/other", false),
            ("/srv/www", "/home/in box", true),
            ("/srv/www", "/home", true),
            ("/srv/www", "/home/in", false),
            ("/srv/www/a", "/home/in box", false),
            ("/srv/www/in/a", "/home/in box", true),
            ("/mnt", "/srv/up/other", true),
            ("/mnt", "/srv/www", true),
            ("/mnt", "/srv/www/a", false),
            ("/mnt", "/srv/www/subs", false),
            ("/", "/srv/www/sub", true),
        ] {
            let overlap = |one: &str, other: &str| {
                let others = points.trees_of(Path::new(other));
                points.trees_of(Path::new(one)).iter().any(|one| others.iter().any(|other| one.overlaps(other)))
            };
            assert_eq!((overlap(one, other), overlap(other, one)), (expected, expected), "{one} {other}");
        }
    }

    #[test]
    fn a_path_below_a_place_is_found() {
        let points = MountPoints::parse(TABLE);
        let file = &points.trees_of(Path::new("/home/in box/.secret/key"))[0];
        let found: Vec<_> = points.trees_of(Path::new("/srv")).iter().filter_map(|tree| tree.path_of(file)).collect();
        assert_eq!(found, [Path::new("www/in/.secret/key")]);
        assert!(MountPoints::parse(b"").trees_of(Path::new("/srv")).is_empty());
    }
}
