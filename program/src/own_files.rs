//! The server's own files: keys, users, the log, the configuration, redirects, an application. None of them may be in a
//! served folder, where clients could read it or replace it by an upload. The same applies to each link on the way to
//! it. Called by `lib` at startup, and by `serving` before a file is read or opened again.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use modest::{Overwrite, Symlinks};

use crate::error::{CliError, quoted, reason};
use crate::mount_points::MountPoints;
use crate::mounts::Mount;
use crate::options::Options;
use crate::uploads::{identity, is_taking};

/// An option, its file, and the content that clients could read.
type Own<'a> = (&'static str, &'a Path, &'static str);

/// Checks that clients cannot read the server's own files.
///
/// # Errors
/// The first file that would be served.
pub fn check(options: &Options, places: &[Mount]) -> Result<(), CliError> {
    let mounts = MountPoints::read();
    own_files(options).into_iter().try_for_each(|own| check_one(own, options, places, &mounts).map_err(CliError::usage))
}

/// Checks the files of this option again, because a link may have replaced one of them.
///
/// # Errors
/// The first file that would be served.
pub fn check_again(option: &str, options: &Options, places: &[Mount]) -> io::Result<()> {
    let mounts = MountPoints::read();
    let is_read_with = |(name, ..): &Own<'_>| *name == option || option == "--tls-cert" && name.starts_with("--tls-");
    let mut files = own_files(options).into_iter().filter(is_read_with);
    files.try_for_each(|own| check_one(own, options, places, &mounts)).map_err(|line| {
        let named = format!("{option}: "); // the caller names it
        io::Error::other(line.strip_prefix(&named).unwrap_or(&line))
    })
}

fn check_one(
    (option, file, with): Own<'_>,
    options: &Options,
    places: &[Mount],
    mounts: &MountPoints,
) -> Result<(), String> {
    let mut others = own_files(options).into_iter().filter(|(name, ..)| *name != option);
    let written = (option == "--log-file").then(|| others.find(|(_, other, _)| is_same(file, other))).flatten();
    if let Some((other, ..)) = written {
        return Err(format!("{option}: {} is also the file of {other}; choose another", quoted(file)));
    }
    let resolved = match Resolved::of(file) {
        Ok(resolved) => resolved,
        // It can be opened by a path from the working directory, and a place can be below the same folder.
        Err(error) if places.iter().any(is_unreachable) && file.symlink_metadata().is_ok() => {
            let (file, why) = (quoted(file), reason(&error));
            return Err(format!(
                "{option}: {file} may be in a folder that is served: a folder above the working directory can't be \
                 searched: {why}; allow it, or move the file elsewhere"
            ));
        }
        Err(_) => return Ok(()), // the error is reported when it is opened
    };
    for place in places {
        let what = match () {
            () if resolved.is_read_in(place, mounts, options) => format!("read {with}"),
            () if resolved.is_replaced_in(place, mounts, options) => format!("replace {with}"),
            () => continue,
        };
        let (file, folder) = (quoted(file), quoted(&place.path));
        return Err(format!(
            "{option}: {file} is in {folder}, which is served, so clients could {what}; move it elsewhere"
        ));
    }
    Ok(())
}

/// Returns whether the path from the root to this place can't be followed.
fn is_unreachable(place: &Mount) -> bool {
    std::path::absolute(&place.path).and_then(|path| path.canonicalize()).is_err()
}

/// Returns whether two paths lead to one file, which may not exist yet. Devices such as /dev/null are no files.
fn is_same(one: &Path, other: &Path) -> bool {
    match one.metadata() {
        Ok(found) => found.is_file() && identity(one) == identity(other),
        Err(_) => {
            let (one, other) = (Resolved::of(one), Resolved::of(other));
            one.is_ok_and(|one| other.is_ok_and(|other| one.file == other.file))
        }
    }
}

fn own_files(options: &Options) -> Vec<Own<'_>> {
    let mut files: Vec<Own<'_>> = Vec::new();
    const USERS: &str = "the users and the hashes of their passwords";
    files.extend(options.guarding.auth.as_deref().map(|file| ("--auth", file, USERS)));
    #[cfg(feature = "tls")]
    {
        const KEY: &str = "the key that encrypts everything";
        let wanted = &options.encryption;
        // Without a separate key, a certificate has its key in its file.
        let (name, keys) = match wanted.tls_key.is_empty() {
            true => ("--tls-cert", &wanted.tls_cert),
            false => ("--tls-key", &wanted.tls_key),
        };
        files.extend(keys.iter().map(|file| (name, file.as_path(), KEY)));
        files.extend(wanted.tls_password_file.as_deref().map(|file| ("--tls-password-file", file, KEY)));
        files.extend(
            wanted.tls_client_ca.as_deref().map(|file| ("--tls-client-ca", file, "the roots of client certificates")),
        );
    }
    let (config, log) = (options.starting.config.as_deref(), options.logging.log_file.as_deref());
    files.extend(config.map(|file| ("--config", file, "all settings")));
    files.extend(log.map(|file| ("--log-file", file, "which client requested what")));
    let applications = options.starting.applications.iter().filter(|file| file.exists());
    files.extend(applications.map(|file| ("APPLICATION", file.as_path(), "the source of the application")));
    files.extend(options.serving.redirects.as_deref().map(|file| ("--redirects", file, "all redirects")));
    files
}

/// The path of a file, with all links resolved. The file may not exist yet.
struct Resolved {
    file: PathBuf,
    /// The links on the way to the file: each could be served, or replaced, in its place.
    links: Vec<PathBuf>,
}

impl Resolved {
    /// # Errors
    /// If a link on the way can't be read, for example because a folder above the working directory can't be searched.
    fn of(file: &Path) -> io::Result<Resolved> {
        let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let mut resolved = Resolved { file: PathBuf::new(), links: Vec::new() };
        let mut left = reversed(&path);
        while let Some(name) = left.pop() {
            if name == ".." {
                resolved.file.pop();
                continue;
            }
            let entry = resolved.file.join(&name); // an absolute path replaces the other
            match entry.read_link() {
                Ok(target) if resolved.links.len() < MAX_LINKS => {
                    left.extend(reversed(&target));
                    resolved.links.push(entry);
                }
                Err(error) if !IS_KNOWN.contains(&error.kind()) => return Err(error),
                _ => resolved.file = entry,
            }
        }
        Ok(resolved)
    }

    /// Returns whether clients of this place could read the file, now or when it is created: by its own name, by the
    /// name of a link that is followed, or through a mount.
    fn is_read_in(&self, place: &Mount, mounts: &MountPoints, options: &Options) -> bool {
        let beneath = paths_beneath(place, &self.file, mounts);
        let follows = match options.serving.follow_symlinks {
            Some(Symlinks::Follow) => true,
            Some(Symlinks::Deny) => false,
            _ => !beneath.is_empty(),
        };
        beneath.iter().any(|path| is_shown(path, options)) || follows && self.has_link_in(place, mounts, options)
    }

    /// Returns whether clients of this place could put another file in the place of a link.
    fn is_replaced_in(&self, place: &Mount, mounts: &MountPoints, options: &Options) -> bool {
        let can_replace = options.uploading.allow_delete || options.uploading.overwrite == Some(Overwrite::Replace);
        can_replace && is_taking(options, place) && self.has_link_in(place, mounts, options)
    }

    fn has_link_in(&self, place: &Mount, mounts: &MountPoints, options: &Options) -> bool {
        let mut paths = self.links.iter().flat_map(|link| paths_beneath(place, link, mounts));
        paths.any(|path| is_shown(&path, options))
    }
}

/// The errors of reading a link that show what is at a path: no link, or nothing.
const IS_KNOWN: [io::ErrorKind; 3] =
    [io::ErrorKind::InvalidInput, io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];

/// Linux follows this many links in a path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Returns the names of a path, last to first.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter(|part| *part != Component::CurDir);
    names.map(|part| part.as_os_str().to_owned()).collect()
}

/// Returns the paths below this place at which it has this file or link, whose folder has no links in its path. There
/// are several if file systems are mounted at several places. The path of the place itself is empty.
fn paths_beneath(place: &Mount, file: &Path, mounts: &MountPoints) -> Vec<PathBuf> {
    let Some(folder) = identity(&place.path) else { return Vec::new() };
    let is_place = |path: &Path| !path.is_symlink() && identity(path).as_ref() == Some(&folder);
    let above = file.ancestors().find(|above| is_place(above));
    let by_identity = above.and_then(|above| file.strip_prefix(above).ok()).map(Path::to_owned);
    let (parent, name) = (file.parent().unwrap_or(file), file.file_name().unwrap_or_default());
    let (trees, sources) = (mounts.trees(&place.path), mounts.trees(parent)); // the file may not exist yet
    let by_mount = sources.first().into_iter().flat_map(|own| trees.iter().filter_map(|tree| tree.path_of(own)));
    by_mount.map(|folder| folder.join(name)).chain(by_identity).collect()
}

/// Returns whether no name in this path is hidden.
pub fn is_shown(beneath: &Path, options: &Options) -> bool {
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let is_well_known = beneath.starts_with(".well-known"); // RFC 8615
    options.serving.hidden || !beneath.iter().skip(usize::from(is_well_known)).any(is_hidden)
}
