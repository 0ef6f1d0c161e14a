//! Data about the process from proc(5). The files stay open, because the process may be confined later and then cannot
//! open them.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use rustix::fs::Dir;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::time::{ClockId, clock_gettime};

use super::{Accounts, seconds};
use crate::mutex::lock;

/// The source of the metrics of the process, and the data in it.
pub const WAY: &str = "/proc; CPU time and the file descriptor limit without it";

/// The files that could be opened. Without `/proc`, as in some sandboxes, there are none.
pub struct Source {
    stat: Option<File>,
    descriptors: Option<Mutex<Dir>>,
}

impl Source {
    pub fn open() -> Source {
        let folder = File::open("/proc/self/fd").ok().and_then(|folder| Dir::new(OwnedFd::from(folder)).ok());
        Source { stat: File::open("/proc/self/stat").ok(), descriptors: folder.map(Mutex::new) }
    }

    /// Returns how many descriptors are open.
    pub fn open_files(&self) -> Option<usize> {
        let mut folder = lock(self.descriptors.as_ref()?);
        folder.rewind();
        let names = folder.by_ref().map_while(|entry| entry.ok());
        Some(names.filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")).count())
    }

    pub fn accounts(&self) -> Option<Accounts> {
        let mut stat = [0; 1024]; // about 50 numbers
        let length = self.stat.as_ref()?.read_at(&mut stat, 0).ok()?;
        let booted = seconds(clock_gettime(ClockId::Realtime)) - seconds(clock_gettime(ClockId::Boottime));
        parse(&String::from_utf8_lossy(&stat[..length]), booted, clock_ticks_per_second(), page_size() as u64)
    }
}

/// `booted`: in seconds since 1970.
fn parse(stat: &str, booted: f64, ticks: u64, page: u64) -> Option<Accounts> {
    // The name of the program, in parentheses, can contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok(); // numbered as in proc(5)
    Some(Accounts {
        threads: field(20)?,
        start_seconds: booted + field(22)? as f64 / ticks as f64,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1000 8192000 300 1 1";
        let expected =
            Accounts { threads: 9, start_seconds: 1_000_010.0, virtual_bytes: 8_192_000, resident_bytes: 300 * 4096 };
        assert_eq!(parse(stat, 1e6, 100, 4096), Some(expected));
        for stat in ["", "7 (a) S 1"] {
            assert_eq!(parse(stat, 1e6, 100, 4096), None, "{stat}");
        }
        let this = Source::open();
        for _ in 0..2 {
            let accounts = this.accounts().unwrap();
            assert!(accounts.threads >= 1 && accounts.resident_bytes > 100_000, "{accounts:?}");
            assert!(accounts.virtual_bytes >= accounts.resident_bytes, "{accounts:?}");
            let age = seconds(clock_gettime(ClockId::Realtime)) - accounts.start_seconds;
            assert!((-1.0..3600.0).contains(&age), "{accounts:?}");
            assert!(this.open_files() > Some(4), "{:?}", this.open_files());
        }
        let empty = Source { stat: None, descriptors: None };
        assert!(empty.open_files().is_none() && empty.accounts().is_none());
    }
}
