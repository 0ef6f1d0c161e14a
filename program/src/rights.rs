//! Gives up rights once the process listens: those of root, and access to other folders. Called by `cli` before any
//! thread starts: both apply to the calling thread, and are inherited by threads that it starts.

use std::fs;
use std::io;
use std::path::PathBuf;

use rustix::process::{Gid, Uid};

use crate::error::{CliError, reason};
use crate::values::User;

/// Becomes this user, with its groups or the named one.
pub fn become_user(user: &User) -> Result<(), CliError> {
    let failed = |why: String| CliError::failure(format!("--user {}: {why}", user.name));
    let ids = Ids::of(user).map_err(failed)?;
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(failed(format!("{threads} threads are already running")));
    }
    ids.take().map_err(|error| failed(format!("this process can't switch to that user: {}", reason(&error))))
}

/// A user and its groups, the first of which is its own.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    user: u32,
    groups: Vec<u32>,
}

impl Ids {
    fn of(user: &User) -> Result<Ids, String> {
        let read =
            |path: &str| fs::read_to_string(path).map_err(|error| format!("{path} can't be read: {}", reason(&error)));
        Ids::found(user, &read("/etc/passwd")?, &read("/etc/group")?)
    }

    /// In the tables of passwd(5) and group(5).
    fn found(user: &User, users: &str, groups: &str) -> Result<Ids, String> {
        let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
        let entry = users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|row| row.len() > 3 && (row[0] == user.name || row[2] == user.name));
        let (name, id, own) = match &entry {
            Some(row) => (row[0], number(row[2]), number(row[3])),
            None => ("", number(&user.name), None),
        };
        let id = id.ok_or("there is no such user")?;
        let rows = || groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|row| row.len() > 3);
        if let Some(group) = &user.group {
            let found = rows().find(|row| row[0] == group).and_then(|row| number(row[2])).or_else(|| number(group));
            return Ok(Ids { user: id, groups: vec![found.ok_or_else(|| format!("there is no group {group}"))?] });
        }
        let own = own.ok_or("this number has no entry in /etc/passwd; add a group, as in 1000:1000")?;
        let others =
            rows().filter(|row| row[3].split(',').any(|member| member == name)).filter_map(|row| number(row[2]));
        Ok(Ids { user: id, groups: std::iter::once(own).chain(others.filter(|id| *id != own)).collect() })
    }

    /// Groups first, because the right to set them is lost afterwards. All three ids of each, so that there is no way
    /// back.
    fn take(&self) -> io::Result<()> {
        use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
        let groups: Vec<Gid> = self.groups.iter().map(|id| Gid::from_raw(*id)).collect();
        let (user, group) = (Uid::from_raw(self.user), groups[0]);
        set_thread_groups(&groups)?;
        set_thread_res_gid(group, group, group)?;
        Ok(set_thread_res_uid(user, user, user)?)
    }
}

/// From now on the process opens only files in these folders. It writes, creates and removes files only in `written`
/// and `changed`, and creates and removes folders only in `changed`.
pub fn confine(read: &[PathBuf], written: &[PathBuf], changed: &[PathBuf]) -> Result<(), CliError> {
    use landlock::{
        ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    };
    let read_only = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = read_only | AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
    let changing = writing | AccessFs::MakeDir | AccessFs::RemoveDir | AccessFs::Refer;
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
    // Newer kernels have rules for `truncate` (V3), and for moves between folders (V2), which are rejected without
    // them.
    let restricted = restrict(ABI::V3).or_else(|_| restrict(ABI::V2)).or_else(|_| restrict(ABI::V1));
    restricted.map(drop).map_err(|error| {
        CliError::failure(format!(
            "--confine: Landlock is not available: {error}; leave the option out, or use a newer kernel"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups() {
        let users = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/:\nbroken\nweb:x:33:33::/:\n";
        let groups = "root:x:0:\nada:x:1000:\nwww:x:44:ada,bob\nbroken\nda:x:45:dada\nweb:x:33:web\n";
        for (name, group, expected) in [
            ("ada", None, Ok((1000, vec![1000, 44]))),
            ("1000", None, Ok((1000, vec![1000, 44]))),
            ("ada", Some("www"), Ok((1000, vec![44]))),
            ("ada", Some("7"), Ok((1000, vec![7]))),
            ("7", Some("8"), Ok((7, vec![8]))),
            ("web", None, Ok((33, vec![33]))),
            ("7", None, Err("add a group")),
            ("nobody", None, Err("there is no such user")),
            ("ada", Some("none"), Err("there is no group none")),
            ("4294967295", Some("1"), Err("there is no such user")),
        ] {
            let user = User { name: name.into(), group: group.map(str::to_owned) };
            match (Ids::found(&user, users, groups), expected) {
                (Ok(found), Ok((user, groups))) => assert_eq!(found, Ids { user, groups }, "{name}:{group:?}"),
                (Err(why), Err(expected)) => assert!(why.contains(expected), "{name}:{group:?}: {why}"),
                (found, _) => panic!("{name}:{group:?}: {found:?}"),
            }
        }
    }
}
