//! New files with and without `O_TMPFILE`.

use std::fs;
use std::path::Path;

use super::*;

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn open(folder: &Path) -> OwnedFd {
    fs::File::open(folder).unwrap().into()
}

/// Until a file is complete, others can't read it, even if it has a name already. Then it has the mode of any new file,
/// without the rights that were taken from it, or the mode of the file that it replaces.
#[test]
fn an_incomplete_file_is_private() {
    use std::os::unix::fs::PermissionsExt;
    for unnamed in [Unnamed::IfThereAre, Unnamed::Never] {
        let place = tempfile::tempdir().unwrap();
        let folder = open(place.path());
        let mode = |name: &str| fs::metadata(place.path().join(name)).unwrap().permissions().mode() & 0o7777;
        fs::write(place.path().join("usual"), "").unwrap();
        let usual = mode("usual");
        let incomplete = || {
            let made = NewFile::create(&folder, unnamed).unwrap();
            made.temporary_name().inspect(|name| assert_eq!(mode(name), 0o600));
            made
        };
        incomplete().name(&folder, b"new").unwrap();
        assert_eq!(mode("new"), usual, "{unnamed:?}");
        let taken = incomplete();
        assert_eq!(taken.name(&folder, b"new"), Err(Errno::EXIST));
        taken.temporary_name().inspect(|name| assert_eq!(mode(name), 0o600));
        taken.replace(&folder, b"new", None).unwrap();
        assert_eq!(mode("new"), usual, "{unnamed:?}");
        incomplete().replace(&folder, b"new", Some(Mode::from_raw_mode(0o640))).unwrap();
        assert_eq!(mode("new"), 0o640, "{unnamed:?}");
        let restricted = incomplete();
        restricted.restrict(Mode::from_raw_mode(0o600));
        restricted.temporary_name().inspect(|name| assert_eq!(mode(name), 0o600));
        restricted.name(&folder, b"private").unwrap();
        assert_eq!(mode("private"), 0o600, "{unnamed:?}");
    }
}

/// Other users can't open the file before it is private: they could then read everything that is written later.
#[test]
fn no_incomplete_file_can_be_opened_at_its_creation() {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::AtomicBool;
    let place = tempfile::tempdir().unwrap();
    let (folder, is_over) = (open(place.path()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut opened = Vec::new();
            while !is_over.load(Relaxed) {
                let entries = fs::read_dir(place.path()).unwrap().flatten();
                let files = entries.filter_map(|entry| fs::File::open(entry.path()).ok());
                opened.extend(files.filter(|file| file.metadata().unwrap().permissions().mode() & 0o077 != 0).take(1));
                opened.truncate(200);
            }
            opened
        });
        for _ in 0..1000 {
            let made = NewFile::create(&folder, Unnamed::Never).unwrap();
            (&made).write_all(b"secret").unwrap();
        }
        is_over.store(true, Relaxed);
        let opened = watcher.join().unwrap();
        assert!(opened.iter().all(|file| file.metadata().unwrap().len() == 0), "others have opened an incomplete file");
    });
}

#[test]
fn a_new_file_appears_complete_or_not_at_all() {
    for unnamed in [Unnamed::IfThereAre, Unnamed::Never] {
        let place = tempfile::tempdir().unwrap();
        let folder = open(place.path());
        let write = |text: &str| {
            let made = NewFile::create(&folder, unnamed).unwrap();
            (&made).write_all(text.as_bytes()).unwrap();
            assert_eq!(made.written(), text.len() as u64);
            made
        };
        let visible = || names(place.path()).into_iter().filter(|name| !name.starts_with(PREFIX)).count();
        let first = write("first");
        assert_eq!(visible(), 0, "{unnamed:?}: visible before it was complete");
        first.name(&folder, b"a").unwrap();
        drop(first);
        assert_eq!(names(place.path()), ["a"], "{unnamed:?}");

        let second = write("second");
        assert_eq!(second.name(&folder, b"a"), Err(Errno::EXIST), "{unnamed:?}");
        second.replace(&folder, b"a", None).unwrap();
        drop(second);
        assert_eq!(
            (names(place.path()), fs::read(place.path().join("a")).unwrap()),
            (vec!["a".into()], b"second".into())
        );

        // A file that cannot be named leaves nothing behind, and its temporary name is removed.
        let third = write("third");
        fs::create_dir(place.path().join("folder")).unwrap();
        assert_eq!(third.replace(&folder, b"folder", None), Err(Errno::ISDIR), "{unnamed:?}");
        drop(third);
        drop(write("forgotten"));
        assert_eq!(names(place.path()), ["a", "folder"], "{unnamed:?}");

        // A link takes a name like any other file.
        std::os::unix::fs::symlink("nowhere", place.path().join("link")).unwrap();
        let fourth = write("fourth");
        assert_eq!(fourth.name(&folder, b"link"), Err(Errno::EXIST), "{unnamed:?}");
        fourth.replace(&folder, b"link", None).unwrap();
        assert!(
            fs::symlink_metadata(place.path().join("link")).unwrap().is_file(),
            "{unnamed:?}: the link must be replaced, not its target"
        );

        // It can get another name if it could not replace something.
        let fifth = write("fifth");
        assert_eq!(fifth.replace(&folder, b"folder", None), Err(Errno::ISDIR), "{unnamed:?}");
        fifth.replace(&folder, b"a", None).unwrap();
        drop(fifth);
        assert_eq!(fs::read(place.path().join("a")).unwrap(), b"fifth", "{unnamed:?}");
        assert_eq!(names(place.path()), ["a", "folder", "link"], "{unnamed:?}");
    }
}
