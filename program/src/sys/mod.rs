//! Differences between systems, under the same names in `linux` and in `portable`. `--cfg modest_portable` selects the
//! portable code on Linux, for tests.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

pub use system::{CAN_CONFINE, CAN_SWITCH_USERS, OPENER, confine, mount_table, take_ids, threads};

use crate::error::CliError;
use crate::options::Options;

/// Rejects options that this system cannot support.
pub fn check(options: &Options) -> Result<(), CliError> {
    let starting = &options.starting;
    if starting.confine && !CAN_CONFINE {
        return Err(CliError::usage("--confine needs Linux: this system has no Landlock; leave the option out"));
    }
    if starting.user.is_some() && !CAN_SWITCH_USERS {
        return Err(CliError::usage("--user needs Linux; start the program as that user, for example with sudo -u"));
    }
    Ok(())
}

/// Returns the system calls in use, one line for each purpose.
pub fn report() -> String {
    modest::system_services().iter().map(|(service, way)| format!("{service}: {way}\n")).collect()
}
