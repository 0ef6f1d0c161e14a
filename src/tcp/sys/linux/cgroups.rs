//! The smallest memory limit of the control groups of this process.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the smallest limit of this process's control groups. `root`: the folder that contains `/proc` and `/sys`.
pub fn smallest_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    mounts.lines().filter_map(|line| CgroupMount::of(line, &groups)).filter_map(|mount| mount.limit(root)).min()
}

/// The mount point of control groups with memory limits, and the path of this process's group.
struct CgroupMount<'a> {
    point: &'a str,
    group: &'a str,
    files: &'static [&'static str],
}

impl<'a> CgroupMount<'a> {
    /// Parses a line of `/proc/self/mountinfo`: number, parent, device, root, mount point, options, ..., `-`, type,
    /// source, options.
    fn of(line: &'a str, groups: &'a str) -> Option<CgroupMount<'a>> {
        let (of_mount, of_system) = line.split_once(" - ")?;
        let mut of_mount = of_mount.split(' ').skip(3);
        let (mounted, point) = (of_mount.next()?, of_mount.next()?);
        let mut of_system = of_system.split(' ');
        let (system, options) = (of_system.next()?, of_system.nth(1)?);
        // A line of `/proc/self/cgroup`: number, controllers (none in version 2), path.
        let mut lines = groups.lines().map(|line| line.splitn(3, ':').skip(1));
        let mut path_of = |is_it: &dyn Fn(&str) -> bool| {
            lines.find_map(|mut line| line.next().filter(|it| is_it(it)).and(line.next()))
        };
        let is_of_memory = |controllers: &str| controllers.split(',').any(|name| name == "memory");
        let (path, files): (_, &[_]) = match system {
            "cgroup2" => (path_of(&str::is_empty)?, &["memory.max", "memory.high"]),
            "cgroup" if is_of_memory(options) => (path_of(&is_of_memory)?, &["memory.limit_in_bytes"]),
            _ => return None,
        };
        // The mount point may be the group itself (in a container), or, with a namespace, unrelated.
        let group = path.strip_prefix(mounted.trim_end_matches('/')).filter(|group| group.starts_with('/'));
        Some(CgroupMount { point, group: group.unwrap_or("/"), files })
    }

    /// Returns the smallest limit from the group up to the mount point.
    fn limit(&self, root: &Path) -> Option<u64> {
        let point: PathBuf = root.join(self.point.trim_start_matches('/'));
        let group = point.join(self.group.trim_matches('/'));
        let groups = group.ancestors().take_while(|folder| folder.starts_with(&point));
        let files = groups.flat_map(|folder| self.files.iter().map(move |file| folder.join(file)));
        files.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min() // "max" is not a number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1: &str = "30 29 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      31 29 0:28 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n";
    const V1_OF_CONTAINER: &str = "31 29 0:28 /docker/ab /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    /// The mounts, the groups of the process, files with their contents, and the expected limit.
    type Row = (&'static str, &'static str, &'static [(&'static str, &'static str)], Option<u64>);

    const ROWS: &[Row] = &[
        (V2, "0::/a/b\n", &[("sys/fs/cgroup/a/b/memory.max", "100\n")], Some(100)),
        (
            V2,
            "0::/a/b\n",
            &[("sys/fs/cgroup/a/b/memory.max", "100\n"), ("sys/fs/cgroup/a/memory.max", "70\n")],
            Some(70),
        ),
        (V2, "0::/a\n", &[("sys/fs/cgroup/a/memory.max", "max\n"), ("sys/fs/cgroup/a/memory.high", "60\n")], Some(60)),
        (V2, "0::/a\n", &[("sys/fs/cgroup/a/memory.max", "max\n")], None),
        (V2, "0::/\n", &[("sys/fs/cgroup/memory.max", "50\n")], Some(50)),
        (V2, "0::/a\n", &[("sys/fs/cgroup/b/memory.max", "50\n")], None),
        (V2, "0::/../other\n", &[("sys/fs/cgroup/memory.max", "50\n")], Some(50)),
        (V1, "5:memory:/a\n4:cpu,cpuacct:/b\n", &[("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "90\n")], Some(90)),
        (V1, "5:memory:/a\n0::/c\n", &[("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "90\n")], None),
        (V1_OF_CONTAINER, "5:memory:/docker/ab\n", &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "80\n")], Some(80)),
        (V1_OF_CONTAINER, "5:memory:/\n", &[("sys/fs/cgroup/memory/memory.limit_in_bytes", "80\n")], Some(80)),
        (
            V1_OF_CONTAINER,
            "5:memory:/docker/ab/c\n",
            &[("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "7\n")],
            Some(7),
        ),
        ("", "0::/a\n", &[], None),
    ];

    #[test]
    fn the_smallest_enclosing_cgroup_limit_applies() {
        for (mounts, groups, files, limit) in ROWS {
            let root = tempfile::tempdir().unwrap();
            let all = [("proc/self/mountinfo", *mounts), ("proc/self/cgroup", *groups)];
            for (path, content) in all.iter().chain(*files) {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            assert_eq!(smallest_limit(root.path()), *limit, "{mounts}{groups}{files:?}");
        }
        assert_eq!(smallest_limit(Path::new("/nonexistent")), None);
    }
}
