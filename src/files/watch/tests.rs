//! Checks with the real kernel that changes are reported, and that no watches are left behind.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::*;
use crate::files::stat::stat_of;

struct Tree {
    top: tempfile::TempDir,
    root: Root,
    watcher: Arc<Watcher>,
}

fn tree() -> Tree {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("root/a/b")).unwrap();
    for name in ["root/x", "root/a/x", "root/a/b/x", "root/a/b/y"] {
        fs::write(top.path().join(name), name).unwrap();
    }
    let root = Root::open(&top.path().join("root")).unwrap();
    Tree { top, root, watcher: Watcher::new().expect("inotify instances are used up") }
}

impl Tree {
    fn watch(&self, folder: &str, name: &str) -> Option<Watch> {
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let stat = stat_of(self.root.find_without_links(path.as_bytes()).unwrap()).unwrap();
        let files = [(path.into_bytes(), stat)];
        self.watcher.watch(&self.root, &files, folder.as_bytes(), Some(&[name.as_bytes().to_vec()])).ok()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.top.path().join("root").join(name)
    }

    /// Returns how many folders above the root are watched.
    fn above(&self) -> usize {
        match &lock(&self.watcher.table).above {
            Some(Above::Watched(above)) => above.len(),
            Some(Above::Asked) | None => 0,
        }
    }

    /// Returns how many watches the kernel has, from proc(5).
    fn watches(&self) -> usize {
        let info = format!("/proc/self/fdinfo/{}", self.watcher.changes.descriptor().as_raw_fd());
        fs::read_to_string(info).unwrap().lines().filter(|line| line.starts_with("inotify ")).count()
    }
}

#[test]
fn each_change_ends_the_affected_watches() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let (all, this, none) = ([false; 4], [true, true, false, true], [true; 4]);
    let write = |path: &Path| fs::write(path, "changed").unwrap();
    type Change<'a> = &'a dyn Fn(&Tree);
    // Watched: /x, /a/x, /a/b/x, /a/b/y. `true`: it still holds.
    let changes: [(&str, Change<'_>, [bool; 4]); 18] = [
        ("nothing", &|_| {}, none),
        ("another file is made", &|tree| write(&tree.path("a/b/z")), none),
        ("the file is written", &|tree| write(&tree.path("a/b/x")), this),
        ("the file is deleted", &|tree| fs::remove_file(tree.path("a/b/x")).unwrap(), this),
        ("a sidecar is made", &|tree| write(&tree.path("a/b/x.gz")), this),
        // Some file systems find the file by this name.
        ("its name is made in the other case", &|tree| write(&tree.path("a/b/X")), this),
        ("that of a sidecar", &|tree| write(&tree.path("a/b/X.GZ")), this),
        ("a sidecar's first letters", &|tree| write(&tree.path("a/b/x.g")), none),
        ("the file is linked", &|tree| fs::hard_link(tree.path("a/b/x"), tree.top.path().join("link")).unwrap(), this),
        (
            "the file is replaced",
            &|tree| fs::rename(tree.path("x"), tree.path("a/b/x")).unwrap(),
            [false, true, false, true],
        ),
        ("a folder is made in the folder", &|tree| fs::create_dir(tree.path("a/b/c")).unwrap(), none),
        // A change of a folder invalidates all entries, because it is rare.
        ("a folder is moved", &|tree| fs::rename(tree.path("a"), tree.path("c")).unwrap(), all),
        ("a folder within is moved", &|tree| fs::rename(tree.path("a/b"), tree.path("c")).unwrap(), all),
        ("the root is moved", &|tree| fs::rename(tree.path(""), tree.top.path().join("old")).unwrap(), all),
        (
            "the root's folder is moved",
            &|tree| {
                let other = tree.top.path().with_extension("other");
                fs::rename(tree.top.path(), &other).unwrap();
                fs::rename(&other, tree.top.path()).unwrap();
            },
            all,
        ),
        ("another file beside the root", &|tree| write(&tree.top.path().join("beside")), none),
        (
            "more changes than the queue holds",
            &|tree| {
                let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
                for number in 0..limit.trim().parse::<usize>().unwrap() + 100 {
                    let path = tree.path("new");
                    if number % 2 == 0 { drop(fs::File::create(path)) } else { fs::remove_file(path).unwrap() }
                }
            },
            all,
        ),
        (
            "the permissions of the folder are changed",
            &|tree| {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(tree.path("a"), fs::Permissions::from_mode(0o700)).unwrap();
            },
            all,
        ),
    ];
    for (name, change, expected) in changes {
        let tree = tree();
        let watches = [("", "x"), ("a", "x"), ("a/b", "x"), ("a/b", "y")]
            .map(|(folder, name)| tree.watch(folder, name).expect("a watch of the entry"));
        tree.watcher.catch_up(&tree.root, Instant::now());
        assert!(watches.iter().all(Watch::holds), "{name}: before");
        change(&tree);
        tree.watcher.catch_up(&tree.root, Instant::now());
        assert_eq!(watches.each_ref().map(Watch::holds), expected, "{name}");
    }
}

#[test]
fn dropped_watches_leave_nothing_behind() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let tree = tree();
    let watch = |folder: &str, name: &str| tree.watch(folder, name).expect("a watch of the entry");
    let first = watch("a/b", "x");
    let all = tree.watches();
    drop([watch("a/b", "y"), watch("a/b", "x"), watch("", "x")]);
    assert_eq!(tree.watches(), all, "a second watch of the same names adds no inotify watches");
    let second = watch("a/b", "x");
    drop(first);
    assert_eq!(tree.watches(), all, "the second watch still has its inotify watches");
    fs::write(tree.path("a/b/x"), "changed").unwrap();
    tree.watcher.catch_up(&tree.root, Instant::now());
    assert!(!second.holds(), "the second watch must see the change");
    drop(second);
    // The folders above the root stay watched until they change.
    let above = tree.watches();
    assert_eq!(above, tree.above());
    let moved = watch("a/b", "x");
    fs::rename(tree.path("a"), tree.path("c")).unwrap();
    tree.watcher.catch_up(&tree.root, Instant::now());
    drop(moved);
    assert_eq!(tree.watches(), 0);
    let table = lock(&tree.watcher.table);
    assert!(table.watches.is_empty() && table.folders.is_empty() && table.above.is_none(), "{table:?}");
}

/// A folder that gets the name and the inode of a removed folder does not count as watched. This also holds if the
/// removed folder was an entry of a listing and nothing below it was still watched.
#[test]
fn a_removed_folder_is_forgotten() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let tree = tree();
    fs::create_dir(tree.path("a/c")).unwrap();
    let mut listing = tree.watcher.watch(&tree.root, &[], b"a", None).expect("a watch of the entry");
    let folder = tree.root.find_without_links(b"a").unwrap();
    listing.add(&folder, c"c", true).expect("a watch of a folder");
    drop(tree.watcher.watch(&tree.root, &[], b"a/c", None).expect("a watch of the entry"));
    fs::remove_dir(tree.path("a/c")).unwrap();
    drop(folder);
    tree.watcher.catch_up(&tree.root, Instant::now());
    assert!(!listing.holds());
    let table = lock(&tree.watcher.table);
    assert!(!table.folders.contains_key(&b"a/c"[..]), "{table:?}");
    assert!(table.folders.values().all(|(wd, _)| table.watches.contains_key(wd)), "{table:?}");
}

#[test]
fn links_and_missing_files_cannot_be_watched() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let tree = tree();
    std::os::unix::fs::symlink("x", tree.path("link")).unwrap();
    std::os::unix::fs::symlink("a", tree.path("to-a")).unwrap();
    let stat = |path: &[u8]| stat_of(tree.root.find_without_links(path).unwrap()).unwrap();
    let x = stat(b"a/x");
    for (what, path, known, folder) in [
        ("a link", "link", x, ""),
        ("beneath a link", "to-a/x", x, "to-a"),
        ("a file that is another one now", "x", x, ""),
        ("a missing one", "nothing", x, ""),
        ("a missing folder", "x", x, "nowhere"),
    ] {
        let files = [(path.as_bytes().to_vec(), known)];
        let watch = tree.watcher.watch(&tree.root, &files, folder.as_bytes(), Some(&[]));
        assert!(watch.is_err(), "{what}");
        assert_eq!(tree.watches(), tree.above(), "{what} leaves a watch behind");
    }
}

/// The watches of the entries report changes of everything that the listing shows. A watch of the folder alone would
/// not.
#[test]
fn changes_to_listed_entries_are_noticed() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    type Change<'a> = &'a dyn Fn(&Tree);
    let append = |path: &Path| {
        use std::io::Write;
        fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
    };
    let at = |seconds| std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let date = |path: &Path| fs::File::open(path).unwrap().set_modified(at(1000)).unwrap();
    // In /a: the file x, and the folder b with x and y. `true`: it still holds.
    let changes: [(&str, Change<'_>, bool); 12] = [
        ("nothing", &|_| {}, true),
        ("a file is written", &|tree| append(&tree.path("a/x")), false),
        ("a file is written by another name", &|tree| append(&tree.path("other")), false),
        ("a file gets another name", &|tree| fs::hard_link(tree.path("a/x"), tree.path("third")).unwrap(), false),
        ("a file is dated", &|tree| date(&tree.path("a/x")), false),
        ("a folder is dated", &|tree| date(&tree.path("a/b")), false),
        ("a folder gets a name", &|tree| fs::write(tree.path("a/b/z"), "").unwrap(), false),
        ("a folder loses a name", &|tree| fs::remove_file(tree.path("a/b/y")).unwrap(), false),
        ("a file in a folder is written", &|tree| append(&tree.path("a/b/x")), true),
        ("a name comes", &|tree| fs::write(tree.path("a/z"), "").unwrap(), false),
        ("a name goes", &|tree| fs::remove_file(tree.path("a/x")).unwrap(), false),
        ("a name beside it", &|tree| fs::write(tree.path("z"), "").unwrap(), true),
    ];
    for (name, change, holds) in changes {
        let tree = tree();
        fs::hard_link(tree.path("a/x"), tree.path("other")).unwrap();
        let mut watch = tree.watcher.watch(&tree.root, &[], b"a", None).expect("a watch of the entry");
        let folder = tree.root.find_without_links(b"a").unwrap();
        watch.add(&folder, c"x", false).expect("a watch of a file");
        watch.add(&folder, c"b", true).expect("a watch of a folder");
        assert!(watch.add(&folder, c"missing", false).is_err() && watch.add(&folder, c"x", true).is_err());
        tree.watcher.catch_up(&tree.root, Instant::now());
        assert!(watch.holds(), "{name}: before");
        change(&tree);
        tree.watcher.catch_up(&tree.root, Instant::now());
        assert_eq!(watch.holds(), holds, "{name}");
        drop(watch);
        assert_eq!(tree.watches(), tree.above(), "{name}: an inotify watch is left behind");
    }
}

/// The kernel reports the end of each watch. Ending a listing with more names than the queue has room for does not lose
/// events.
#[test]
fn ending_many_watches_loses_no_events() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let tree = tree();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let other = tree.watch("", "x").expect("a watch of the entry");
    let mut listing = tree.watcher.watch(&tree.root, &[], b"a/b", None).expect("a watch of the entry");
    let folder = tree.root.find_without_links(b"a/b").unwrap();
    for number in 0..limit.trim().parse::<usize>().unwrap() + 100 {
        let name = std::ffi::CString::new(number.to_string()).unwrap();
        drop(fs::File::create(tree.path("a/b").join(name.to_str().unwrap())).unwrap());
        listing.add(&folder, &name, false).expect("a watch of a file");
        if number % 1000 == 0 {
            tree.watcher.catch_up(&tree.root, Instant::now()); // reads the events of the created names
        }
    }
    tree.watcher.catch_up(&tree.root, Instant::now());
    assert!(other.holds(), "before");
    drop(listing);
    tree.watcher.catch_up(&tree.root, Instant::now());
    assert!(other.holds());
}

/// A log that is written all day causes one report.
#[test]
fn a_change_to_a_listed_file_is_reported_once() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    use std::io::Write;
    let tree = tree();
    let mut watch = tree.watcher.watch(&tree.root, &[], b"a/b", None).expect("a watch of the entry");
    let folder = tree.root.find_without_links(b"a/b").unwrap();
    let names = [c"x", c"y"];
    names.iter().for_each(|name| watch.add(&folder, name, false).unwrap());
    let watches = tree.watches();
    let mut files = names.map(|name| fs::File::create(tree.path("a/b").join(name.to_str().unwrap())).unwrap());
    for _ in 0..1000 {
        files.iter_mut().for_each(|file| file.write_all(b"a line\n").unwrap());
    }
    assert_eq!(tree.watches(), watches - 2, "a file that has changed is no longer watched");
    let mut count = 0;
    // Other events are about names next to the root, which other tests create.
    tree.watcher.changes.read(|change| count += usize::from(change.name.is_none())).unwrap();
    assert_eq!(count, 4, "a change and an end for each watch");
}
