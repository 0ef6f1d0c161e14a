//! The kernel's data about this process. What systems do differently is in `linux` and in `portable`, by the same names:
//! see `tcp::sys`.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

pub use system::WAY;

/// The data that this system reports.
#[derive(Debug, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    pub max_files: Option<u64>,
    pub open_files: Option<usize>,
    pub more: Option<Accounts>,
}

/// What proc(5) has in addition.
#[derive(Debug, Default, PartialEq)]
pub struct Accounts {
    pub threads: u64,
    /// Seconds since 1970.
    pub start_seconds: f64,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
}

impl Process {
    pub fn look() -> Process {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Process {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            max_files: getrlimit(Resource::Nofile).current,
            open_files: system::open_files(),
            more: system::accounts(),
        }
    }
}

#[test]
fn a_process_has_used_some_time_and_descriptors() {
    let this = Process::look();
    assert!(this.cpu_seconds > 0.0 && this.cpu_seconds < 1e6 && this.max_files > Some(2), "{this:?}");
    assert!(this.open_files.is_none_or(|open| open > 2), "{this:?}");
}
