//! The server's own files: keys, users, the log, the configuration, redirects, an application. None of them may be in a
//! served folder, where clients could read it or replace it by an upload. Called by `lib` at startup.

use std::path::{Path, PathBuf};

use modest::Symlinks;

use crate::error::{CliError, quoted};
use crate::mount_points::MountPoints;
use crate::mounts::Mount;
use crate::options::Options;
use crate::uploads::identity;

/// An option, its file, and the content that clients could read.
type Own<'a> = (&'static str, &'a Path, &'static str);

/// Checks that clients cannot read the server's own files.
///
/// # Errors
/// The first file that would be served.
pub fn check(options: &Options, places: &[Mount]) -> Result<(), CliError> {
    let mounts = MountPoints::read();
    for (option, file, with) in own_files(options) {
        let Some(place) = places.iter().find(|place| serves(place, file, &mounts, options)) else { continue };
        let (file, folder) = (quoted(file), quoted(&place.path));
        let line = format!(
            "{option}: {file} is in {folder}, which is served, so clients could read {with}; move it elsewhere"
        );
        return Err(CliError::usage(line));
    }
    Ok(())
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

/// Returns whether this place serves this file, now or when it is created: by its own name, by the name of a link
/// that is followed, or through a mount.
fn serves(place: &Mount, file: &Path, mounts: &MountPoints, options: &Options) -> bool {
    let follows = options.serving.follow_symlinks == Some(Symlinks::Follow);
    let by_link = in_real_folder(file).filter(|_| follows);
    let Some(folder) = identity(&place.path) else { return false };
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    let is_shown = |beneath: &Path| {
        let is_well_known = beneath.starts_with(".well-known"); // RFC 8615
        options.serving.hidden || !beneath.iter().skip(usize::from(is_well_known)).any(is_hidden)
    };
    let trees = mounts.trees(&place.path);
    [file.canonicalize().ok().or_else(|| in_real_folder(file)), by_link].into_iter().flatten().any(|file| {
        let above = file.ancestors().find(|above| identity(above).as_ref() == Some(&folder));
        let by_identity = above.and_then(|above| file.strip_prefix(above).ok());
        let (parent, name) = (file.parent().unwrap_or(&file), file.file_name().unwrap_or_default());
        let sources = mounts.trees(parent); // the file may not exist yet
        let by_mount = sources.first().into_iter().flat_map(|own| trees.iter().filter_map(|tree| tree.path_of(own)));
        by_identity.is_some_and(is_shown) || by_mount.map(|folder| folder.join(name)).any(|path| is_shown(&path))
    })
}

/// Resolves the links in the path of the folder of a file. The file itself may not exist yet, or may be a link.
fn in_real_folder(file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?))
}
