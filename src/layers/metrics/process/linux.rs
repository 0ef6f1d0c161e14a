//! What Linux reports by proc(5).

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

use super::Accounts;

/// Which data the metrics have of the process.
pub const WAY: &str = "/proc; CPU time and the limit of descriptors without it";

/// How many descriptors are open. `None` where there is no `/proc`, as in some sandboxes.
pub fn open_files() -> Option<usize> {
    // One of them is the descriptor with which they are counted.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// `None` where there is no `/proc`.
pub fn accounts() -> Option<Accounts> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    parse(&stat, &boot, clock_ticks_per_second(), page_size() as u64)
}

fn parse(stat: &str, boot: &str, ticks: u64, page: u64) -> Option<Accounts> {
    // The name of the program, in parentheses, can contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok(); // numbered as in proc(5)
    let boot: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Accounts {
        threads: field(20)?,
        start_seconds: boot + field(22)? as f64 / ticks as f64,
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
        assert_eq!(parse(stat, "cpu 1 2\nbtime 1000000\n", 100, 4096), Some(expected));
        for (stat, boot) in [("", "btime 1"), (stat, ""), ("7 (a) S 1", "btime 1")] {
            assert_eq!(parse(stat, boot, 100, 4096), None, "{stat} {boot}");
        }
        let this = accounts().unwrap();
        assert!(this.threads >= 1 && this.resident_bytes > 100_000 && open_files() > Some(2), "{this:?}");
        assert!(this.start_seconds > 1.6e9 && this.virtual_bytes >= this.resident_bytes, "{this:?}");
    }
}
