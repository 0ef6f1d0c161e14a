//! Drops the rights of the process once it listens: `--user`, `--confine`. Called by `serving` before any thread
//! starts: see `sys::take_ids`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use modest::Address;

use crate::error::{CliError, quoted, reason};
use crate::mounts::{self, Mount};
use crate::options::Options;
use crate::values::User;
use crate::{reloading, site, sys, uploads};

/// Drops the rights that the server does not need to serve, for `--user` and `--confine`.
pub fn give_up(options: &Options, places: &[Mount], bound: &[Address]) -> Result<(), CliError> {
    if let Some(user) = &options.starting.user {
        become_user(user)?;
        places.iter().try_for_each(site::check)?;
        reloading::check(options)?;
    }
    uploads::check_rights(options, places)?;
    if let Some(folder) = &options.limits.body_folder {
        uploads::may_write(options, "--body-folder", folder)?;
        create_file(folder).map_err(|error| {
            let (folder, why) = (quoted(folder), reason(&error));
            CliError::failure(format!(
                "--body-folder: no file can be created in {folder}: {why}; choose another folder"
            ))
        })?;
    }
    if options.starting.confine {
        if options.starting.open {
            return Err(CliError::usage(
                "--open and --confine contradict each other: a confined server can't start a browser",
            ));
        }
        if let Some(log) = &options.logging.log_file
            && let Err(error) = std::path::absolute(log).and_then(|log| std::fs::metadata(log.with_file_name(".")))
        {
            return Err(CliError::log_file(log, &error));
        }
        let read = places.iter().flat_map(Mount::folders).chain(reloading::folders(options));
        let sockets = bound.iter().filter_map(|address| match address {
            Address::Unix(Some(path)) if !path.to_string_lossy().starts_with('@') => path.parent().map(Path::to_owned),
            _ => None,
        });
        let written =
            sockets.chain(mounts::folders_of(&options.logging.log_file)).chain(options.limits.body_folder.clone());
        let changed: Vec<_> = uploads::places(options, places).flat_map(Mount::folders).collect();
        return sys::confine(&read.collect::<Vec<_>>(), &written.collect::<Vec<_>>(), &changed);
    }
    Ok(())
}

/// Returns a warning if long bodies of requests can't be stored because `--body-folder` is not set.
pub fn no_folder_for_bodies(options: &Options, has_application: bool) -> Option<String> {
    let needs_folder = has_application || !options.serving.proxy.is_empty();
    if !needs_folder || options.limits.body_folder.is_some() {
        return None;
    }
    let error = create_file(Path::new("/var/tmp")).err()?; // the library's default
    Some(format!("long bodies of requests can't be stored in '/var/tmp': {}; set --body-folder", reason(&error)))
}

/// Creates a file and removes it. A folder in which the permissions allow it can still refuse, such as /proc.
fn create_file(folder: &Path) -> std::io::Result<()> {
    let file = folder.join(format!(".modest-check-{}", std::process::id()));
    match fs::File::create_new(&file) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {} // of a killed process, or of another container
        created => drop(created?),
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Switches to this user, with the user's groups or the given group.
fn become_user(user: &User) -> Result<(), CliError> {
    let failed = |why: String| CliError::failure(format!("--user {}: {why}", user.name));
    let ids = Ids::of(user).map_err(failed)?;
    let threads = sys::threads();
    if threads > 1 {
        return Err(failed(format!("{threads} threads are already running")));
    }
    let taken = sys::take_ids(ids.user, &ids.groups);
    taken.map_err(|error| failed(format!("this process can't switch to that user: {}", reason(&error))))
}

/// A user and the user's groups. The first group is the primary one.
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

    /// Finds the user in the tables of passwd(5) and group(5).
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
