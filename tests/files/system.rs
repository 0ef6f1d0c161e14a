//! Differences between systems in these tests, and the implementation that the server uses.

use std::path::Path;
use std::process::Command;

/// The implementation of this service: see `modest::system_services`.
pub fn way_of(service: &str) -> &'static str {
    let services = modest::system_services();
    let found = services.iter().find(|(known, _)| *known == service);
    found.unwrap_or_else(|| panic!("no {service} in {services:?}")).1
}

/// Whether the kernel reports changes. Otherwise the server checks the disk and does not cache listings.
pub fn changes_are_reported() -> bool {
    way_of("changes of files") == "inotify"
}

pub fn fifo(path: impl AsRef<Path>) {
    assert!(Command::new("mkfifo").arg(path.as_ref()).status().unwrap().success());
}

/// Exchanges two names, atomically where possible.
pub fn exchange(one: impl AsRef<Path>, other: impl AsRef<Path>) {
    let (one, other) = (one.as_ref(), other.as_ref());
    #[cfg(not(target_os = "freebsd"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }
    #[cfg(target_os = "freebsd")]
    {
        let between = one.with_extension("between");
        std::fs::rename(one, &between).unwrap();
        std::fs::rename(other, one).unwrap();
        std::fs::rename(between, other).unwrap();
    }
}
