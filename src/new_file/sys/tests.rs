//! Checks that the Linux code and the portable code both pass.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn open(folder: &Path) -> OwnedFd {
    fs::File::open(folder).unwrap().into()
}

fn names(folder: &OwnedFd) -> Vec<String> {
    let folder = rustix::fs::openat(folder, ".", READ | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let entries = rustix::fs::Dir::read_from(&folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

/// Tests both calls with a file, a link, and a folder that is not empty.
#[test]
fn a_rename_replaces_nothing() {
    type Rename = fn(&OwnedFd, &[u8], &OwnedFd, &[u8]) -> rustix::io::Result<()>;
    let ways: [Rename; 2] = [
        |from, name, to, new| rename_new(from, name, to, new),
        |from, name, to, new| rename_new_portably(from, name, to, new),
    ];
    for rename in ways {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        for folder in ["from", "to", "from/folder", "to/taken"] {
            fs::create_dir(path(folder)).unwrap();
        }
        for file in ["from/file", "from/folder/in", "to/there"] {
            fs::write(path(file), file).unwrap();
        }
        symlink("nowhere", path("from/link")).unwrap();
        let (from, to) = (open(&path("from")), open(&path("to")));
        for (name, new, expected) in [
            ("file", "there", Err(Errno::EXIST)),
            ("file", "taken", Err(Errno::EXIST)),
            ("link", "there", Err(Errno::EXIST)),
            ("folder", "there", Err(Errno::EXIST)),
            ("folder", "taken", Err(Errno::EXIST)),
            ("nothing", "new", Err(Errno::NOENT)),
            ("file", "new", Ok(())),
            ("link", "new-link", Ok(())),
            ("folder", "new-folder", Ok(())),
        ] {
            assert_eq!(rename(&from, name.as_bytes(), &to, new.as_bytes()), expected, "{name} to {new}");
        }
        assert_eq!(names(&to), ["new", "new-folder", "new-link", "taken", "there"]);
        assert_eq!(names(&from), [""; 0]);
        assert_eq!(fs::read_to_string(path("to/there")).unwrap(), "to/there");
        assert_eq!(fs::read_to_string(path("to/new-folder/in")).unwrap(), "from/folder/in");
        let beneath = rename(&to, b"new-folder", &open(&path("to/new-folder")), b"self");
        assert_eq!(beneath, Err(Errno::INVAL), "a folder was moved into itself");
        assert_eq!(names(&open(&path("to/new-folder"))).len(), 1, "a failed rename left something behind");
    }
}

/// A rename that fails changes nothing: in a folder that is append-only, a name can be added but not removed. Needs the
/// right to change the attributes of a folder.
#[test]
fn a_failed_rename_leaves_one_name() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("from")).unwrap();
    fs::create_dir(top.path().join("to")).unwrap();
    fs::write(top.path().join("from/old"), "x").unwrap();
    let attribute = |change| {
        let changed = std::process::Command::new("chattr").arg(change).arg(top.path().join("from")).output();
        changed.is_ok_and(|changed| changed.status.success())
    };
    if !attribute("+a") {
        return; // this user can't
    }
    let (from, to) = (open(&top.path().join("from")), open(&top.path().join("to")));
    let portably = rename_new_portably(&from, b"old", &to, b"new");
    let renamed = rename_new(&from, b"old", &to, b"new");
    assert!(attribute("-a"));
    assert_eq!((portably, renamed), (Err(Errno::PERM), Err(Errno::PERM)));
    assert_eq!((names(&from).len(), names(&to).len()), (1, 0));
}

/// On a file system without links, a file replaces an empty one that took its name.
#[test]
fn a_rename_without_links_replaces_nothing_of_others() {
    let top = tempfile::tempdir().unwrap();
    let folder = open(top.path());
    for name in ["old", "taken"] {
        fs::write(top.path().join(name), name).unwrap();
    }
    for (name, new, expected) in
        [("old", "taken", Err(Errno::EXIST)), ("missing", "new", Err(Errno::NOENT)), ("old", "new", Ok(()))]
    {
        assert_eq!(
            rename_without_links(&folder, name.as_bytes(), &folder, new.as_bytes()),
            expected,
            "{name} to {new}"
        );
        assert_eq!(fs::read_to_string(top.path().join("taken")).unwrap(), "taken");
    }
    assert_eq!(names(&folder), ["new", "taken"], "the empty file of a rename that failed must go");
    assert_eq!(fs::read_to_string(top.path().join("new")).unwrap(), "old");
}
