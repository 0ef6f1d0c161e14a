//! The kernel's data about this process. Differences between systems are in `linux` and in `portable`, under the same
//! names: see `tcp::sys`.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

pub use system::{Source, WAY};

/// The data that this system reports.
#[derive(Debug, Default, PartialEq)]
pub struct Process {
    pub cpu_seconds: f64,
    pub max_files: Option<u64>,
    pub open_files: Option<usize>,
    pub more: Option<Accounts>,
}

/// Further data from proc(5).
#[derive(Debug, Default, PartialEq)]
pub struct Accounts {
    pub threads: u64,
    /// Seconds since 1970.
    pub start_seconds: f64,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
}

impl Default for Source {
    fn default() -> Source {
        Source::open()
    }
}

impl Process {
    pub fn look(source: &Source) -> Process {
        Process {
            cpu_seconds: seconds(clock_gettime(ClockId::ProcessCPUTime)),
            max_files: getrlimit(Resource::Nofile).current,
            open_files: source.open_files(),
            more: source.accounts(),
        }
    }
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[test]
fn a_process_has_used_some_time() {
    let this = Process::look(&Source::open());
    assert!(this.cpu_seconds > 0.0 && this.cpu_seconds < 1e6 && this.max_files > Some(2), "{this:?}");
}
