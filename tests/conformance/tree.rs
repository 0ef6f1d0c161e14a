//! A folder with one example of each kind of path. It is created for each test and removed after it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use modest::{Request, RequestHandler, StaticFileHandler};
use tempfile::TempDir;

use crate::app::long_ago;

/// Long enough for a range of 4 GiB. The file takes no space on disk.
pub const HUGE: u64 = 5 << 30;

pub struct Tree {
    folder: TempDir,
    _socket: UnixListener,
}

impl Tree {
    pub fn new() -> Tree {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        write_files(&root);
        fs::write(folder.path().join("outside.txt"), "outside").unwrap();
        fs::create_dir(folder.path().join("root2")).unwrap();
        fs::write(folder.path().join("root2/outside.txt"), "outside").unwrap();
        links(&root);
        dates(&root);
        assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
        let _socket = UnixListener::bind(root.join("socket")).unwrap();
        Tree { folder, _socket }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// The handler, once the files are old enough to have all their fields, and sidecars are accepted.
    pub fn settled(&self, files: StaticFileHandler) -> StaticFileHandler {
        let started = Instant::now();
        for (last, field) in [("/future.txt", "last-modified"), ("/all.css", "content-encoding")] {
            let request = Request::get(last).with_header("accept-encoding", "br, gzip");
            while !files.do_get(&request).is_ok_and(|response| response.header(field).is_some()) {
                assert!(started.elapsed() < Duration::from_secs(10), "{last} still has no {field}");
                std::thread::sleep(Duration::from_millis(1)); // waits for the clock
            }
        }
        files
    }
}

fn write_files(root: &Path) {
    let write = |path: &[u8], text: &[u8]| {
        let path = root.join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    for name in [
        "probe.txt",
        "index.html",
        "dir/a.txt",
        "site/index.html",
        "site/page.html",
        ".hidden",
        "dir/.secret/a.txt",
        ".well-known/thing",
        ".well-known/.deep",
        "dir/.well-known/thing",
        "a b.txt",
        "ü.txt",
        "%41.txt",
        "a?b.txt",
        "a#b.txt",
        "a\\b.txt",
        "a+b.txt",
        "~a.txt",
        "a:b.txt",
        "a&b;c=d.txt",
        "a..txt",
        "old.txt",
        "future.txt",
        "CASE.txt",
        "dir/%2e%2e/x",
        "evil.example/index.html",
        "ü dir/a",
        "a?dir/a",
        "a:dir/a",
        "\\evil.example/a",
        "README",
        "page.html.unheard",
    ] {
        let text = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".txt");
        write(name.as_bytes(), text.as_bytes());
    }
    write(b"\xff.txt", b"not UTF-8");
    write(&[&b"x".repeat(251)[..], b".txt"].concat(), b"a long name");
    write(b"ten.txt", b"0123456789");
    write(b"empty.txt", b"");
    write(b"binary.unheard", b"x\0");
    write(b"latin.txt", b"Gr\xfc\xdfe");
    write(b"large.txt", &b"x".repeat(200_000));
    write(b"404.html", b"<p>the folder's own page</p>");
    for (name, text) in [
        ("all.css", "plain"),
        ("all.css.gz", "gzip"),
        ("all.css.zst", "zstd"),
        ("all.css.br", "brotli"),
        ("one.js", "plain"),
        ("one.js.gz", "gzip"),
        ("stale.js", "plain"),
        ("stale.js.gz", "gzip"),
    ] {
        // The magic bytes of a coding, and the length of "plain" in gzip: a sidecar without them is not sent.
        let (mark, end): (&[u8], &[u8]) = match name.rsplit('.').next() {
            Some("gz") => (b"\x1f\x8b", b"01234567\x05\0\0\0"),
            Some("zst") => (b"\x28\xb5\x2f\xfd", b""),
            _ => (b"", b""),
        };
        write(name.as_bytes(), &[mark, text.as_bytes(), end].concat());
    }
    for extension in crate::types::EXTENSIONS.iter().map(|(extension, _)| extension) {
        write(format!("type.{extension}").as_bytes(), b"x");
    }
    File::create(root.join("huge.bin")).unwrap().set_len(HUGE).unwrap();
}

fn links(root: &Path) {
    for (name, target) in [
        ("link-in", PathBuf::from("ten.txt")),
        ("link-absolute", root.join("ten.txt")),
        ("link-out", PathBuf::from("../outside.txt")),
        ("link-out-folder", PathBuf::from("../root2")),
        ("link-loop", PathBuf::from("link-loop")),
        ("link-nowhere", PathBuf::from("nowhere")),
        ("link-device", PathBuf::from("/dev/zero")),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
}

/// Sets the dates of all files.
fn dates(root: &Path) {
    let day = Duration::from_secs(86_400);
    for (name, time) in [
        ("ten.txt", long_ago()),
        ("all.css", long_ago()),
        ("all.css.gz", long_ago()),
        ("all.css.zst", long_ago()),
        ("all.css.br", long_ago()),
        ("stale.js", long_ago() + day),
        ("stale.js.gz", long_ago()),
        ("old.txt", UNIX_EPOCH - day),
        ("future.txt", SystemTime::now() + day),
    ] {
        File::options().write(true).open(root.join(name)).unwrap().set_modified(time).unwrap();
    }
}
