//! The resources of a process, from `/proc`.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// A process to watch.
pub struct Watch {
    folder: String,
}

impl Watch {
    pub fn of(pid: Pid) -> Watch {
        Watch { folder: format!("/proc/{}", pid.as_raw_nonzero()) }
    }

    /// Its private memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("{}/status", self.folder)).unwrap_or_default();
        number_after(&status, "RssAnon:")
    }

    /// Processor time so far, in hundredths of a second.
    pub fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("{}/stat", self.folder)).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields.get(11..13).map_or(0, |fields| fields.iter().filter_map(|field| field.parse::<u64>().ok()).sum())
    }

    /// Context switches of all its threads so far.
    pub fn switches(&self) -> u64 {
        let threads = fs::read_dir(format!("{}/task", self.folder)).into_iter().flatten().flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
            .map(|status| {
                number_after(&status, "\nvoluntary_ctxt_switches:")
                    + number_after(&status, "nonvoluntary_ctxt_switches:")
            })
            .sum()
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("{}/fd", self.folder)).map_or(0, Iterator::count)
    }

    /// Threads.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("{}/task", self.folder)).map_or(0, Iterator::count)
    }

    /// Hundredths of a second of processor time, and context switches, within this time.
    pub fn over(&self, time: Duration) -> (u64, u64) {
        let before = (self.ticks(), self.switches());
        sleep(time);
        (self.ticks() - before.0, self.switches() - before.1)
    }

    /// Waits until the condition holds. Returns how long that took; `None`: it did not hold in time.
    pub fn until(&self, longest: Duration, fact: impl Fn(&Watch) -> bool) -> Option<Duration> {
        let began = Instant::now();
        while !fact(self) {
            if began.elapsed() > longest {
                return None;
            }
            sleep(Duration::from_millis(20));
        }
        Some(began.elapsed())
    }
}

/// The kernel's memory for the TCP sockets of the whole machine, in KiB.
pub fn socket_memory() -> u64 {
    let stat = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = stat.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    number_after(line, " mem") * 4
}

fn number_after(text: &str, name: &str) -> u64 {
    let rest = text.split_once(name).map_or("", |(_, rest)| rest);
    rest.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
