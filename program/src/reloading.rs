//! The files that are read again while the server runs: users, redirects, certificates, keys, the roots of clients. The
//! user named by `--user` must be able to read them, and `--confine` must permit it: this is checked at startup.
//! Called by `privileges`, before `signals` reads them again at SIGHUP.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{CliError, quoted, reason};
use crate::mounts;
use crate::option_files;
use crate::options::Options;

/// Returns the files, by their options. The file with the password of keys is not included: if it can't be read, the
/// first password is used.
fn files(options: &Options) -> Vec<(&'static str, &PathBuf)> {
    let mut files: Vec<_> = options.guarding.auth.iter().map(|file| ("--auth", file)).collect();
    files.extend(options.serving.redirects.iter().map(|file| ("--redirects", file)));
    #[cfg(feature = "tls")]
    {
        let wanted = &options.encryption;
        files.extend(wanted.tls_cert.iter().map(|file| ("--tls-cert", file)));
        files.extend(wanted.tls_key.iter().map(|file| ("--tls-key", file)));
        files.extend(wanted.tls_client_ca.iter().map(|file| ("--tls-client-ca", file)));
    }
    files
}

/// Checks that the user of this process can read them.
pub fn check(options: &Options) -> Result<(), CliError> {
    for (option, file) in files(options).into_iter().filter(|(_, file)| !option_files::is_pipe(file)) {
        File::open(file).map_err(|error| {
            let (file, why) = (quoted(file), reason(&error));
            CliError::failure(format!(
                "{option}: {file} can't be read by the user named by --user, so a reload would fail: {why}"
            ))
            .caused_by(&error)
        })?;
    }
    Ok(())
}

/// Returns the folders of these files.
pub fn folders(options: &Options) -> Vec<PathBuf> {
    mounts::folders_of(files(options).into_iter().map(|(_, file)| file))
}

/// The `--config` file. Its settings apply at startup only.
pub struct Config {
    path: PathBuf,
    stamp: Option<Stamp>,
}

type Stamp = (u64, u64, u64, i64, i64);

impl Config {
    pub fn of(options: &Options) -> Option<Config> {
        let path = std::path::absolute(options.starting.config.as_ref()?).ok()?;
        Some(Config { stamp: stamp(&path), path })
    }

    /// Returns a message for the log if the file has changed. Its metadata is readable even if `--confine` forbids
    /// reading it.
    pub fn change(&self) -> Option<String> {
        let has_changed = stamp(&self.path) != self.stamp;
        has_changed.then(|| format!("{} has changed since the start", quoted(&self.path)))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = path.metadata().ok()?;
    Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}
