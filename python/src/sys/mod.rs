//! Differences between systems, under the same names in `linux` and in `portable`. `--cfg modest_portable` selects the
//! portable code on Linux, for tests.

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[path = "linux.rs"]
mod system;
#[cfg(not(all(target_os = "linux", not(modest_portable))))]
#[path = "portable.rs"]
mod system;

pub use system::{Watch, open_again};
