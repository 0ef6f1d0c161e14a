//! Files of the server's own that whoever comes may fetch, or replace where files are taken: keys, users, the log, the
//! configuration. Called by `cli`, once it is known where it listens.

use std::path::{Path, PathBuf};

use modest::Symlinks;

use super::error::{CliError, quoted};
use super::options::Options;
use super::places::Place;

/// A file that is for the server alone.
struct Own<'a> {
    option: &'static str,
    file: &'a Path,
    /// What it holds.
    with: &'static str,
    /// Whether it is refused on this machine alone, too.
    is_always_refused: bool,
}

/// What must be told of such files. On this machine alone it is a trial, and for the log; where others can reach it, it is refused.
///
/// # Errors
/// The first that is refused.
pub fn check(options: &Options, places: &[Place], is_open: bool) -> Result<Vec<String>, CliError> {
    let mut told = Vec::new();
    for own in own_files(options) {
        let Some(place) = places.iter().find(|place| serves(place, own.file, options)) else { continue };
        let Own { option, with, .. } = own;
        let (file, folder) = (quoted(own.file), quoted(&place.path));
        let line = format!("{option}: {file} is in {folder}, which is served, with {with}; move it out of there");
        if is_open || own.is_always_refused {
            return Err(CliError::usage(line));
        }
        told.push(line);
    }
    Ok(told)
}

fn own_files(options: &Options) -> Vec<Own<'_>> {
    let own = |option, file, with| Own { option, file, with, is_always_refused: false };
    let mut files = Vec::new();
    #[cfg(feature = "users")]
    files.extend(options.guarding.auth.as_deref().map(|file| Own {
        is_always_refused: true,
        ..own("--auth", file, "all who are known and the hashes of their passwords")
    }));
    #[cfg(feature = "tls")]
    {
        const KEY: &str = "the key to all that is sent";
        let wanted = &options.encryption;
        // Without a key of its own a certificate has it in its file.
        let (name, keys) = match wanted.tls_key.is_empty() {
            true => ("--tls-cert", &wanted.tls_cert),
            false => ("--tls-key", &wanted.tls_key),
        };
        files.extend(keys.iter().map(|file| own(name, file, KEY)));
        files.extend(wanted.tls_password_file.iter().map(|file| own("--tls-password-file", file, KEY)));
    }
    let config = options.starting.config.as_deref();
    files.extend(config.map(|file| own("--config", file, "all that this server is told")));
    let log = options.logging.log_file.as_deref();
    files.extend(log.map(|file| own("--log-file", file, "who has asked for what")));
    files
}

/// Whether this file is served there, or will be when it is made: by its own name, or by that of a link to it which is followed.
fn serves(place: &Place, file: &Path, options: &Options) -> bool {
    let follows = options.serving.follow_symlinks == Some(Symlinks::Follow);
    let by_link = in_real_folder(file).filter(|_| follows);
    let Ok(folder) = place.path.canonicalize() else { return false };
    let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
    [file.canonicalize().ok().or_else(|| in_real_folder(file)), by_link].into_iter().flatten().any(|file| {
        let Ok(beneath) = file.strip_prefix(&folder) else { return false };
        let is_well_known = beneath.starts_with(".well-known"); // RFC 8615
        options.serving.hidden || !beneath.iter().skip(usize::from(is_well_known)).any(is_hidden)
    })
}

/// The path of a file, which may not be there yet, or of a link itself, without links in that of its folder.
fn in_real_folder(file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    Some(file.parent()?.canonicalize().ok()?.join(file.file_name()?))
}
