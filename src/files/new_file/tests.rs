//! Creates new files with and without `O_TMPFILE`.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn open(folder: &Path) -> OwnedFd {
    fs::File::open(folder).unwrap().into()
}

#[test]
fn a_new_file_appears_complete_or_not_at_all() {
    for unnamed in [Unnamed::IfThereAre, Unnamed::Never] {
        let place = tempfile::tempdir().unwrap();
        let folder = open(place.path());
        let write = |text: &str| {
            let made = Arc::new(NewFile::create(&folder, unnamed).unwrap());
            Writer { to: Arc::clone(&made), reserve: 0 }.write_all(text.as_bytes()).unwrap();
            assert_eq!(made.written(), text.len() as u64);
            made
        };
        let visible = || names(place.path()).into_iter().filter(|name| !name.starts_with(path::UPLOAD)).count();
        let first = write("first");
        assert_eq!(visible(), 0, "{unnamed:?}: visible before it was complete");
        first.name(&folder, b"a").unwrap();
        drop(first);
        assert_eq!(names(place.path()), ["a"], "{unnamed:?}");

        let second = write("second");
        assert_eq!(second.name(&folder, b"a"), Err(Errno::EXIST), "{unnamed:?}");
        second.replace(&folder, b"a", stat_in(&folder, "a").unwrap()).unwrap();
        drop(second);
        assert_eq!(
            (names(place.path()), fs::read(place.path().join("a")).unwrap()),
            (vec!["a".into()], b"second".into())
        );

        // A file that cannot be named leaves nothing behind, and its temporary name is removed.
        let third = write("third");
        fs::create_dir(place.path().join("folder")).unwrap();
        let instead = stat_in(&folder, "folder").unwrap();
        assert_eq!(third.replace(&folder, b"folder", instead), Err(Errno::ISDIR), "{unnamed:?}");
        drop(third);
        drop(write("forgotten"));
        assert_eq!(names(place.path()), ["a", "folder"], "{unnamed:?}");

        // A link takes a name like any other file.
        std::os::unix::fs::symlink("nowhere", place.path().join("link")).unwrap();
        let fourth = write("fourth");
        assert_eq!(fourth.name(&folder, b"link"), Err(Errno::EXIST), "{unnamed:?}");
        let link = stat_in(&folder, "link").unwrap();
        fourth.replace(&folder, b"link", link).unwrap();
        assert!(
            fs::symlink_metadata(place.path().join("link")).unwrap().is_file(),
            "{unnamed:?}: the link must be replaced, not its target"
        );

        // It can get another name if it could not replace something.
        let fifth = write("fifth");
        assert_eq!(fifth.replace(&folder, b"folder", instead), Err(Errno::ISDIR), "{unnamed:?}");
        fifth.replace(&folder, b"a", stat_in(&folder, "a").unwrap()).unwrap();
        drop(fifth);
        assert_eq!(fs::read(place.path().join("a")).unwrap(), b"fifth", "{unnamed:?}");
        assert_eq!(names(place.path()), ["a", "folder", "link"], "{unnamed:?}");
    }
}

#[test]
fn leftover_files_are_removed_and_open_ones_are_kept() {
    let place = tempfile::tempdir().unwrap();
    let folder = OpenFolder::Below(open(place.path()));
    let left = format!("{}0123456789abcdef", path::UPLOAD);
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
    let (short, other) = (left[..left.len() - 1].to_owned(), left.replace(REMOVABLE, "other-"));
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
        let folder_stays = || create_removable(&folder).is_ok_and(|(_held, name)| is_there(&name));
        let file_stays = || {
            let created = NewFile::create(&folder, Unnamed::Never);
            created.is_ok_and(|file| lock(&file.named).as_ref().is_some_and(|(_, name)| is_there(name)))
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
    for _ in 0..5 {
        let (mut at, mut above) = (open(place.path()), "top");
        for level in 0..1500 {
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

#[test]
fn the_reserved_space_stays_free() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(place.path());
    assert!(has_room(&folder, 1, 0) && !has_room(&folder, 1, u64::MAX) && !has_room(&folder, u64::MAX, 1));
    let made = Arc::new(NewFile::create(&folder, Unnamed::IfThereAre).unwrap());
    let refused = Writer { to: Arc::clone(&made), reserve: u64::MAX - 1 }.write(b"x").unwrap_err();
    assert_eq!((refused.kind(), made.written()), (io::ErrorKind::StorageFull, 0));
}

#[test]
fn inodes_that_stay_free() {
    for (inodes, reserve, expected) in
        [(1 << 20, 64 << 20, 4096), (1 << 20, 0, 0), (1000, 64 << 20, 62), (u64::MAX, u64::MAX, u64::MAX / (16 << 10))]
    {
        assert_eq!(reserved_inodes(inodes, reserve), expected, "{inodes} {reserve}");
    }
}
