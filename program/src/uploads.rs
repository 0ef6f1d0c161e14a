//! `--upload` and related options: the folders that accept uploads, and their settings. Called by `site`, by `lib`
//! for its checks, by `privileges` for rights, and by `serving`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use modest::{Address, Symlinks, Uploads};
use rustix::fs::{Access, AtFlags, CWD, StatVfs, statvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::address::is_near;
use crate::error::{CliError, quoted};
use crate::mount_points::MountPoints;
use crate::mounts::Mount;
use crate::options::Options;
use crate::values::{ALL, Limit, Quota};

/// The number of resumable uploads per folder, and their lifetime.
const RESUMABLE: usize = 64;
const KEPT: Duration = Duration::from_secs(3600);

/// Returns the settings of uploads. Their clones count each user's uploads together.
pub fn uploads(options: &Options) -> Uploads {
    let uploading = &options.uploading;
    let uploads = Uploads::new().delete(uploading.allow_delete).fsync(uploading.fsync);
    let uploads = if uploading.resumable { uploads.resumable(RESUMABLE, KEPT) } else { uploads };
    set! {
        uploads;
        copies_at_once = options.limits.workers.map(|workers| (workers / 2).clamp(1, 4)); // each keeps a worker
        overwrite = uploading.overwrite;
        max_size = uploading.upload_limit;
        reserve = uploading.upload_reserve;
        quota = uploading.upload_quota.map(|Limit(quota)| quota.map(|Quota { bytes, within }| (bytes, within)));
        at_once_each = uploading.uploads_each;
        at_once = at_once(options);
    }
}

/// Returns the number of uploads in progress. It leaves connections and descriptors to readers. `None`: the library's
/// default.
fn at_once(options: &Options) -> Option<usize> {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
    let half_of = |connections: usize| (connections / 2).min(descriptors.unwrap_or(usize::MAX) / 4).max(1);
    options.uploading.uploads_at_once.or(options.limits.max_connections.map(half_of))
}

/// Returns whether this folder accepts uploads.
pub fn is_taking(options: &Options, place: &Mount) -> bool {
    let at = place.at.strip_prefix(options.prefix()).unwrap_or(&place.at);
    !place.path.is_file() && options.uploading.upload.iter().any(|named| named == ALL || named == at)
}

/// Returns whether clients can put files into this place: it accepts uploads, or is in a folder that accepts them, or
/// contains such a folder, directly or by a mount.
pub fn is_untrusted(options: &Options, all: &[Mount], place: &Mount) -> bool {
    let follows = options.serving.follow_symlinks == Some(Symlinks::Follow); // a link can lead to a place of uploads
    if follows && places(options, all).next().is_some() {
        return true;
    }
    let mounts = MountPoints::read(); // identities are also known on systems without a table of mounts
    let (own, own_trees) = (with_those_above(place), mounts.trees(&place.path));
    places(options, all).any(|uploading| {
        let (theirs, trees) = (with_those_above(uploading), mounts.trees(&uploading.path));
        let is_in = |one: &[Identity], other: &[Identity]| one.first().is_some_and(|first| other.contains(first));
        let is_mounted = own_trees.iter().any(|own| trees.iter().any(|tree| own.overlaps(tree)));
        is_mounted || is_in(&own, &theirs) || is_in(&theirs, &own)
    })
}

/// Device and inode: equal for two paths that lead to one folder, even by a bind mount.
type Identity = (u64, u64);

/// Returns the identity of a file or folder that exists.
pub fn identity(path: &Path) -> Option<Identity> {
    path.metadata().ok().map(|found| (found.dev(), found.ino()))
}

/// Returns the identities of a place, and of the folders that contain it, as far as they can be reached.
fn with_those_above(place: &Mount) -> Vec<Identity> {
    // Goes up by `..`, because the path from the root can lead through folders that can't be searched.
    let (mut found, mut above) = (Vec::new(), Path::new(".").join(&place.path));
    if above.is_file() {
        found.extend(identity(&above));
        above = above.canonicalize().unwrap_or(above);
        above.pop();
    }
    while let Some(folder) = identity(&above).filter(|folder| found.last() != Some(folder)) {
        found.push(folder);
        above.push("..");
    }
    found
}

/// Messages about folders that accept no uploads themselves but still contain files of clients.
pub fn overlaps(options: &Options, all: &[Mount]) -> Vec<String> {
    let others = all.iter().filter(|place| !is_taking(options, place) && is_untrusted(options, all, place));
    let line = |place: &Mount| {
        let path = quoted(&place.path);
        format!(
            "--upload: clients can put files into {path} through another folder, so its pages are served in a sandbox"
        )
    };
    others.map(line).collect()
}

/// Returns a line for each place whose file system has less room than `--upload-reserve`.
pub fn without_room(options: &Options, all: &[Mount]) -> Vec<String> {
    let reserve = options.uploading.upload_reserve.unwrap_or(64 << 20);
    let is_short = |found: StatVfs| found.f_blocks > 0 && found.f_bavail.saturating_mul(found.f_frsize) < reserve;
    let short = places(options, all).filter(|place| statvfs(&place.path).is_ok_and(is_short));
    let line = |place: &Mount| {
        let path = quoted(&place.path);
        let default = if options.uploading.upload_reserve.is_none() { " (64m by default)" } else { "" };
        format!(
            "--upload-reserve: uploads to {path} are rejected, because its disk has less free space than this{default}"
        )
    };
    short.map(line).collect()
}

pub fn places<'a>(options: &'a Options, places: &'a [Mount]) -> impl Iterator<Item = &'a Mount> {
    places.iter().filter(|place| is_taking(options, place))
}

/// Checks that there is a folder for each `--upload`.
pub fn check(options: &Options, all: &[Mount]) -> Result<(), CliError> {
    for named in &options.uploading.upload {
        let is_at = |place: &&Mount| named == ALL || place.at.strip_prefix(options.prefix()) == Some(named);
        if !all.iter().filter(is_at).any(|place| !place.path.is_file()) {
            let line = match named.as_str() {
                ALL => "--upload: no served folder can accept uploads".to_owned(),
                at => match all.iter().find(|place| place.at == options.prefix() && place.path.join(&at[1..]).is_dir())
                {
                    Some(top) => {
                        let folder = top.path.join(&at[1..]);
                        format!("--upload={at}/: serve that folder at its own path, as in {at}={}", folder.display())
                    }
                    None => format!("--upload={at}/: no folder is served there"),
                },
            };
            return Err(CliError::usage(line));
        }
    }
    Ok(())
}

/// Checks that the user of this process can write to the places that accept uploads.
pub fn check_rights(options: &Options, all: &[Mount]) -> Result<(), CliError> {
    places(options, all).try_for_each(|place| may_write(options, "--upload", &place.path))
}

/// Checks that the user of this process can write in the folder of this option.
pub fn may_write(options: &Options, option: &str, path: &Path) -> Result<(), CliError> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).map_err(|errno| {
        let (by, how) = match options.starting.user {
            Some(_) => (" as the user named by --user", "chown"),
            None => ("", "chmod u+w"),
        };
        let path = quoted(path);
        if errno == Errno::ROFS {
            return CliError::failure(format!(
                "{option}: the file system of {path} is read-only; leave the option out"
            ))
            .caused_by(&errno.into());
        }
        CliError::failure(format!(
            "{option}: no permission to write to {path}{by}; allow it ('{how}') or leave the option out"
        ))
        .caused_by(&errno.into())
    })
}

/// Returns whether clients on other machines can reach an address.
pub fn is_open(addresses: &[Address]) -> bool {
    !addresses.iter().all(is_near)
}
