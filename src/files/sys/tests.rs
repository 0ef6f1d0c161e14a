//! Checks that the Linux code and the portable code both pass.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use super::*;
use rustix::fs::CWD;

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn names(folder: &OwnedFd) -> rustix::io::Result<Vec<(String, FileType)>> {
    let mut names = Vec::new();
    for_each_entry(folder, |(name, kind)| {
        names.push((name.to_str().unwrap().to_owned(), kind));
        Ok::<_, Errno>(std::ops::ControlFlow::Continue(()))
    })?;
    names.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

#[test]
fn metadata_matches_the_standard_library() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("file"), "12345").unwrap();
    symlink("file", top.path().join("link")).unwrap();
    let folder = open(top.path());
    for (name, follows, kind) in [
        ("file", false, Kind::File),
        ("link", false, Kind::Link),
        ("link", true, Kind::File),
        (".", true, Kind::Folder),
    ] {
        let path = top.path().join(name);
        let expected = if follows { fs::metadata(&path) } else { fs::symlink_metadata(&path) }.unwrap();
        for found in [stat(&folder, name, follows).unwrap(), stat_portably(&folder, name, follows).unwrap()] {
            assert_eq!(found.kind, kind, "{name}");
            assert_eq!((found.size, found.inode), (expected.size(), expected.ino()), "{name}");
            let time = |seconds, nanos: i64| FileTime { seconds, nanos: nanos as u32 };
            assert_eq!(found.modified, time(expected.mtime(), expected.mtime_nsec()), "{name}");
            assert_eq!(found.changed, time(expected.ctime(), expected.ctime_nsec()), "{name}");
        }
    }
    let (itself, named) = (stat_of(&folder).unwrap(), stat(CWD, top.path(), true).unwrap());
    assert_eq!((itself.device, itself.inode), (named.device, named.inode), "stat by descriptor and by path");
    assert_eq!(stat(&folder, "nothing", true).err(), Some(Errno::NOENT));
}

#[test]
fn entries_of_a_folder() {
    let top = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        fs::write(top.path().join(format!("{number:04}")), "").unwrap();
    }
    fs::create_dir(top.path().join("folder")).unwrap();
    symlink("nowhere", top.path().join("link")).unwrap();
    let folder = open(top.path());
    let found = names(&folder).unwrap();
    assert_eq!(found.len(), 3002);
    assert_eq!(found[2999], ("2999".into(), FileType::RegularFile));
    assert_eq!(found[3000..], [("folder".into(), FileType::Directory), ("link".into(), FileType::Symlink)]);
    let mut visits = 0;
    let broken_off = for_each_entry(&open(top.path()), |_| {
        visits += 1;
        if visits == 3 { Err(Errno::OVERFLOW) } else { Ok(std::ops::ControlFlow::Continue(())) }
    });
    assert_eq!((broken_off, visits), (Err(Errno::OVERFLOW), 3));
    let gone = open(&top.path().join("folder"));
    assert_eq!(names(&gone), Ok(Vec::new()), "an empty folder lists no names");
    fs::remove_dir(top.path().join("folder")).unwrap();
    assert_eq!(names(&gone), Err(Errno::NOENT), "a removed folder can't be listed");
}

#[test]
fn a_link_is_not_opened() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("folder")).unwrap();
    symlink("folder", top.path().join("link")).unwrap();
    let folder = open(top.path());
    assert!(open_entry(&folder, b"folder", PASS).is_ok());
    assert!(open_entry(&folder, b"folder", READ).is_ok());
    for flags in [PASS, READ, READ | OFlags::DIRECTORY] {
        let errno = open_entry(&folder, b"link", flags).unwrap_err();
        assert!(matches!(errno, Errno::LOOP | Errno::NOTDIR), "{flags:?}: {errno}");
    }
}
