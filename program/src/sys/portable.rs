//! Code for every Unix. Compiled for systems other than Linux, and on Linux for tests.

use std::io;
use std::path::PathBuf;

use crate::error::CliError;

pub const CAN_CONFINE: bool = false;
pub const CAN_SWITCH_USERS: bool = false;

pub const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// Returns the number of threads that run: unknown.
pub fn threads() -> usize {
    1
}

/// Returns the table of mounts: unknown.
pub fn mount_table() -> Vec<u8> {
    Vec::new()
}

/// Never called: `check` rejects the option.
pub fn take_ids(_: u32, _: &[u32]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn confine(_: &[PathBuf], _: &[PathBuf], _: &[PathBuf]) -> Result<(), CliError> {
    Err(CliError::failure("--confine: this system has no Landlock".to_owned()))
}
