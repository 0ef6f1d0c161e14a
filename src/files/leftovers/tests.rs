//! Sweeps, and the removal of trees.

use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use rustix::io::Errno;

use super::*;
use crate::new_file::removable::{create_removable, draw_removable, draw_set_aside};
use crate::new_file::tests::{names, open};
use crate::new_file::{MODE, NewFile, PREFIX, Unnamed, draw_name};

#[test]
fn leftover_files_are_removed_and_open_ones_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let folder = OpenFolder::Below(open(place.path()));
    let left = format!("{}0123456789abcdef", PREFIX);
    for name in [&left, "kept", ".hidden"] {
        fs::write(place.path().join(name), "x").unwrap();
    }
    let written = NewFile::create(&folder, Unnamed::Never).unwrap();
    let swept = Swept::default();
    swept.sweep(&folder);
    let rest = names(place.path());
    assert!(rest.len() == 3 && !rest.contains(&left), "{rest:?}");
    fs::write(place.path().join(&left), "x").unwrap();
    swept.sweep(&folder);
    assert!(names(place.path()).contains(&left), "a folder is swept only once");
    drop(written);
    assert_eq!(names(place.path()), [".hidden", &left, "kept"]);
}

/// A folder that this server was removing, or copying, is removed. Any other folder stays, whatever its name.
#[test]
fn leftover_folders_are_removed() {
    let place = tempfile::tempdir().unwrap();
    let folder = OpenFolder::Below(open(place.path()));
    let (left, held, aside) = (draw_removable(), draw_removable(), draw_name());
    let (short, other) = (left[..left.len() - 1].to_owned(), left.replace("removable-", "other-"));
    fs::write(place.path().join("kept"), "kept").unwrap();
    for name in [&left, &held, &aside, &short, &other] {
        fs::create_dir_all(place.path().join(name).join("in/deep")).unwrap();
        fs::write(place.path().join(name).join("in/deep/x"), "x").unwrap();
        std::os::unix::fs::symlink("../kept", place.path().join(name).join("link")).unwrap();
        std::os::unix::fs::symlink(place.path(), place.path().join(name).join("in/top")).unwrap();
    }
    fs::write(place.path().join(draw_removable()), "a replaced file").unwrap();
    for target in ["kept", "nowhere", "."] {
        std::os::unix::fs::symlink(target, place.path().join(draw_removable())).unwrap();
    }
    let lock = fs::File::open(place.path().join(&held)).unwrap();
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    Swept::default().sweep(&folder);
    let mut expected = vec![held, aside, short, other, "kept".to_owned()];
    expected.sort();
    assert_eq!(names(place.path()), expected);
    // A file that was being replaced when its process was killed.
    let replaced = draw_set_aside();
    fs::write(place.path().join(&replaced), "the only copy").unwrap();
    Swept::default().sweep(&folder);
    assert_eq!(fs::read_to_string(place.path().join(&replaced)).unwrap(), "the only copy");
}

/// A sweep may find an entry before its creator has locked it. Then it removes the entry, and another one is created.
#[test]
fn what_is_created_outlasts_simultaneous_sweeps() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(place.path());
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let lost = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                let _ = sweep(&folder); // fails if an entry goes while it is listed
            }
        });
        let is_there = |name: &str| stat_in(&folder, name).is_ok();
        let folder_stays = || create_removable(&folder, Mode::RWXU).is_ok_and(|(_held, name)| is_there(&name));
        let file_stays = || {
            let created = NewFile::create(&folder, Unnamed::Never);
            created.is_ok_and(|file| file.temporary_name().is_some_and(|name| is_there(&name)))
        };
        let lost = (0..2000).filter(|_| !folder_stays() || !file_stays()).count();
        is_done.store(true, Relaxed);
        lost
    });
    assert_eq!(lost, 0);
}

/// A tree of any depth, even if several requests remove it at the same time: a missing entry counts as removed.
#[test]
fn a_tree_is_removed_whole() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(place.path());
    // More levels than a process can have open files by default; then less deep ones, in which two threads meet as often.
    for levels in [1500, 200, 200, 200, 200] {
        let (mut at, mut above) = (open(place.path()), "top");
        for level in 0..levels {
            rustix::fs::mkdirat(&at, above, Mode::RWXU).unwrap();
            at = sys::open_entry(&at, above.as_bytes(), OFlags::RDONLY).unwrap();
            openat(&at, format!("f{level}"), OFlags::CREATE, MODE).unwrap();
            rustix::fs::mkdirat(&at, "beside", Mode::RWXU).unwrap();
            above = "d";
        }
        let removed = std::thread::scope(|scope| {
            let remove = || remove_tree(&folder, b"top");
            [scope.spawn(remove), scope.spawn(remove)].map(|one| one.join().unwrap())
        });
        assert_eq!((removed, names(place.path())), ([Ok(()); 2], vec![]));
    }
}

/// A folder of the same file system, mounted below the one that is removed. Needs the right to mount.
#[test]
fn a_mount_in_a_removed_folder_stays() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(place.path());
    let (outside, inside) = (place.path().join("outside"), place.path().join("top/in/mounted"));
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&inside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    let mount = std::process::Command::new("mount").arg("--bind").args([&outside, &inside]).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        return; // this user can't mount
    }
    let removed = remove_tree(&folder, b"top");
    let there = fs::read_to_string(inside.join("kept"));
    std::process::Command::new("umount").arg(&inside).status().unwrap();
    assert_eq!((removed, there.unwrap().as_str()), (Err(Errno::BUSY), "kept"));
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
}
