//! The number of processors. Any level can use it.

use std::sync::OnceLock;
use std::thread::available_parallelism;

/// Returns how many processors this process may use, read once. The CPU quotas of control groups count: `num_cpus`
/// reads the quota of the innermost group, and the standard library those of the groups around it.
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().map_or(usize::MAX, usize::from).min(num_cpus::get()))
}
