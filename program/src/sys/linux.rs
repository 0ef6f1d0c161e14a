//! Features that only Linux has.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::error::{CliError, limit_in};

pub const CAN_CONFINE: bool = true;
pub const CAN_SWITCH_USERS: bool = true;

/// The program that opens an address in the browser.
pub const OPENER: &str = "xdg-open";

/// How many bytes of the table of mounts are read at a time.
const MOUNTS_READ: usize = 4096;

/// Returns the number of threads that run.
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

/// Returns the current table of mounts (proc_pid_mountinfo(5)). Empty if it can't be read.
pub fn mount_table() -> Vec<u8> {
    // It stays open, because `--confine` forbids opening it: `lib` reads it before.
    static TABLE: LazyLock<Option<File>> = LazyLock::new(|| File::open("/proc/self/mountinfo").ok());
    let (mut bytes, mut length) = (Vec::new(), 0);
    // By position: a child process has the same open file.
    while let Some(table) = &*TABLE {
        bytes.resize(length + MOUNTS_READ, 0);
        match table.read_at(&mut bytes[length..], length as u64) {
            Ok(count @ 1..) => length += count,
            Ok(0) | Err(_) => break,
        }
    }
    bytes.truncate(length);
    bytes
}

/// Switches to this user and these groups, of which the first is the primary group. Applies to the calling thread and
/// to threads that it starts later.
///
/// The groups are set first, because the right to set them is lost with the user. All three ids of each are set, so
/// that the process can't return to root.
pub fn take_ids(user: u32, groups: &[u32]) -> io::Result<()> {
    let groups: Vec<Gid> = groups.iter().map(|id| Gid::from_raw(*id)).collect();
    let (user, group) = (Uid::from_raw(user), groups[0]);
    set_thread_groups(&groups)?;
    set_thread_res_gid(group, group, group)?;
    Ok(set_thread_res_uid(user, user, user)?)
}

/// Restricts the process to files in these folders. It can write, create and remove files only in `written` and
/// `changed`. It can create links, and create or remove folders, only in `changed`.
///
/// Applies to the calling thread and to the threads that it starts later.
pub fn confine(read: &[PathBuf], written: &[PathBuf], changed: &[PathBuf]) -> Result<(), CliError> {
    use landlock::{
        ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    };
    let read_only = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = read_only | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let changing = writing | AccessFs::MakeDir | AccessFs::MakeSym | AccessFs::RemoveDir | AccessFs::Refer;
    // Folders and their permissions.
    let mut allowed = Vec::new();
    for (paths, rights) in [(read, read_only), (written, writing), (changed, changing)] {
        for path in paths {
            let folder = PathFd::new(path);
            let failed = |error| CliError::failure(format!("--confine: {}: {error}", path.display()));
            allowed.push((folder.map_err(failed)?, rights));
        }
    }
    let restrict = |known: ABI| -> Result<_, landlock::RulesetError> {
        let known = AccessFs::from_all(known);
        let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(known)?;
        let rules = allowed
            .iter()
            .map(|(folder, rights)| Ok::<_, landlock::RulesetError>(PathBeneath::new(folder, *rights & known)));
        ruleset.create()?.add_rules(rules)?.restrict_self()
    };
    // Newer kernels have rules for `truncate` (V3) and for moves between folders (V2). Older kernels always allow
    // `truncate` and always reject moves between folders.
    let restricted = restrict(ABI::V3).or_else(|_| restrict(ABI::V2)).or_else(|_| restrict(ABI::V1));
    restricted.map(drop).map_err(|error| {
        let why = error.to_string();
        CliError::failure(match limit_in(&why) {
            Some(_) => format!("--confine: {why}"),
            None => format!("--confine: Landlock is not available: {why}; leave the option out, or use a newer kernel"),
        })
    })
}
