//! Links of all kinds, by `openat2` and by walk; invalid roots.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::process::Command;

use super::super::rights::Unjudged;
use super::*;

fn tree() -> tempfile::TempDir {
    let top = tempfile::tempdir().unwrap();
    let (root, outside) = (top.path().join("root"), top.path().join("root2"));
    fs::create_dir_all(root.join("folder/deep")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    fs::write(root.join("file"), "file").unwrap();
    fs::write(root.join("folder/deep/inner"), "inner").unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    for (name, target) in [
        ("to-file", "file"),
        ("to-folder", "folder"),
        ("to-link", "to-file"),
        ("folder/up", "../file"),
        ("folder/deep/to-folder", "../../to-folder"),
        ("dangling", "nowhere"),
        ("slash", "file/"),
        ("dot", "file/."),
        ("past", "file/../folder"),
        ("folder-slash", "folder/"),
        ("loop", "loop"),
        ("out", "../root2/secret"),
        ("out-folder", "../root2"),
        ("out-root", "/"),
        ("roundabout", "../root/file"),
        ("magic", "/proc/self/cwd"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    symlink(root.join("file"), root.join("absolute")).unwrap();
    symlink(outside.join("secret"), root.join("out-absolute")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    symlink("fifo", root.join("to-fifo")).unwrap();
    drop(UnixListener::bind(root.join("socket")).unwrap());
    top
}

fn shown(root: &Root, path: &str) -> String {
    match root.open_at(&Unjudged(path.as_bytes())) {
        Ok(Opened::File(file, stat)) => {
            let text = io::read_to_string(file).unwrap();
            assert_eq!(text.len() as u64, stat.size);
            text
        }
        Ok(Opened::Folder) => "/".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

#[test]
fn nothing_outside_the_root_is_opened() {
    let tree = tree();
    const NO: &str = "NotFound";
    for (path, deny, within, follow) in [
        ("", "/", "/", "/"),
        ("file", "file", "file", "file"),
        ("folder", "/", "/", "/"),
        ("folder/deep/inner", "inner", "inner", "inner"),
        ("nothing", NO, NO, NO),
        ("file/x", NO, NO, NO),
        ("to-file", NO, "file", "file"),
        ("to-folder", NO, "/", "/"),
        ("to-folder/deep/inner", NO, "inner", "inner"),
        ("to-link", NO, "file", "file"),
        ("folder/up", NO, "file", "file"),
        ("folder/deep/to-folder/deep/inner", NO, "inner", "inner"),
        ("absolute", NO, "file", "file"),
        ("roundabout", NO, "file", "file"),
        ("dangling", NO, NO, NO),
        ("slash", NO, NO, NO),
        ("dot", NO, NO, NO),
        ("past", NO, NO, NO),
        ("folder-slash", NO, "/", "/"),
        ("dangling/x", NO, NO, NO),
        ("loop", NO, NO, NO),
        ("out", NO, NO, "secret"),
        ("out-absolute", NO, NO, "secret"),
        ("out-folder", NO, NO, "/"),
        ("out-folder/secret", NO, NO, "secret"),
        ("out-root", NO, NO, "/"),
        ("out-root/etc/passwd/x", NO, NO, NO),
        ("fifo", NO, NO, NO),
        ("to-fifo", NO, NO, NO),
        ("fifo/x", NO, NO, NO),
        ("socket", NO, NO, NO),
        ("magic", NO, NO, "/"),
    ] {
        let mut root = Root::open(&tree.path().join("root")).unwrap();
        for path_check in [root.path_check, PathCheck::Walk] {
            root.set_path_check(path_check);
            for (links, expected) in
                [(Symlinks::Deny, deny), (Symlinks::WithinRoot, within), (Symlinks::Follow, follow)]
            {
                root.symlinks = links;
                assert_eq!(shown(&root, path), expected, "{path:?} by {path_check:?}, {links:?}");
            }
        }
    }
}

#[test]
fn dot_segments_do_not_escape_the_root() {
    let tree = tree();
    let mut root = Root::open(&tree.path().join("root")).unwrap();
    for path in ["..", "../root2/secret", "folder/../../root2/secret", "../root2", "/etc/passwd", "//etc"] {
        for (path_check, links) in [
            (root.path_check, Symlinks::Deny),
            (root.path_check, Symlinks::WithinRoot),
            (PathCheck::Walk, Symlinks::Deny),
            (PathCheck::Walk, Symlinks::WithinRoot),
        ] {
            root.set_path_check(path_check);
            root.symlinks = links;
            assert_eq!(shown(&root, path), "NotFound", "{path:?} by {path_check:?}, {links:?}");
        }
    }
}

#[test]
fn a_folder_that_cannot_be_served_is_named() {
    let tree = tree();
    for (path, expected) in
        [("nowhere", "no such folder"), ("root/file", "not a folder"), ("root/dangling", "no such folder")]
    {
        let path = tree.path().join(path);
        let error = Root::open(&path).unwrap_err().to_string();
        assert_eq!(error, format!("{}: {expected}", path.display()));
    }
}

/// For a link, the metadata in a listing and the opened file have the same target.
#[test]
fn every_listed_entry_can_be_opened() {
    let tree = tree();
    for check in [PathCheck::Kernel, PathCheck::Walk] {
        let mut root = Root::open(&tree.path().join("root")).unwrap();
        root.set_path_check(check);
        for entry in fs::read_dir(tree.path().join("root")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_listed =
                root.stat_checked(name.as_bytes()).is_ok_and(|stat| matches!(stat.kind, Kind::File | Kind::Folder));
            assert_eq!(root.open_at(&Unjudged(name.as_bytes())).is_ok(), is_listed, "{name}, {check:?}");
        }
    }
}
