//! A folder as an archive: its entries, the entries left out, names, and archives that must not look complete. This
//! file parses tar itself. Python's `zipfile` and `tarfile` also check the archives if there is a Python;
//! `tests/clients` uses unzip, 7z and bsdtar.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};

use modest::testing::{TestServer, serve};
use modest::{Access, Http, Method, Permissions, Request, RequestHandler, StaticFileHandler, Symlinks};
use sha2::{Digest, Sha256};

use super::system::{exchange, fifo};
use super::{Folder, ask, get, wait_for_age};

/// Path, kind, mode, time and content, as Python reads them from its stdin.
const PYTHON: &str = r"
import sys, io, zipfile, tarfile, hashlib, calendar
data = sys.stdin.buffer.read()
def tell(name, folder, mode, time, content):
    name = name.encode('utf-8', 'surrogateescape').hex()
    print(name, 'folder' if folder else 'file', '%o' % (mode & 0o777), time, hashlib.sha256(content).hexdigest())
if data[:2] == b'PK':
    z = zipfile.ZipFile(io.BytesIO(data))
    assert z.testzip() is None
    for i in z.infolist():
        tell(i.filename.rstrip('/'), i.is_dir(), i.external_attr >> 16, calendar.timegm(i.date_time), z.read(i))
else:
    t = tarfile.open(fileobj=io.BytesIO(data))
    for i in t:
        assert i.isdir() or i.isreg(), i
        tell(i.name, i.isdir(), i.mode, int(i.mtime), b'' if i.isdir() else t.extractfile(i).read())
";

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    is_folder: bool,
    mode: u32,
    time: i64,
    sha: String,
}

/// The entries that Python finds in an archive. `None`: there is no Python.
fn by_python(archive: &[u8]) -> Option<BTreeMap<Vec<u8>, Entry>> {
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut python) = python.spawn() else {
        eprintln!("skipped: there is no python3");
        return None;
    };
    python.stdin.take().unwrap().write_all(archive).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "Python can't read the archive");
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let hex = |at: usize| u8::from_str_radix(&words[0][at..at + 2], 16).unwrap();
        let name = (0..words[0].len()).step_by(2).map(hex).collect();
        let mode = u32::from_str_radix(words[2], 8).unwrap();
        (name, Entry { is_folder: words[1] == "folder", mode, time: words[3].parse().unwrap(), sha: words[4].into() })
    };
    let entries: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(line).collect();
    let map: BTreeMap<_, _> = entries.iter().cloned().collect();
    assert_eq!(map.len(), entries.len(), "a name appears twice");
    Some(map)
}

/// The entries of a plain tar, and the content of files. The names of folders end with a slash.
fn of_tar(tar: &[u8]) -> Vec<(String, String)> {
    let (mut rest, mut entries, mut long) = (tar, Vec::new(), None);
    while rest[0] != 0 {
        let text = |from: usize, to: usize| {
            let bytes = &rest[from..to];
            String::from_utf8_lossy(&bytes[..bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len())])
                .into_owned()
        };
        let size = usize::from_str_radix(&text(124, 135), 8).unwrap();
        let content = String::from_utf8_lossy(&rest[512..512 + size]).into_owned();
        let name = text(0, 100);
        match rest[156] {
            b'x' => long = content.split("path=").nth(1).and_then(|path| path.lines().next()).map(str::to_owned),
            _ => entries.push((long.take().unwrap_or(name), content)),
        }
        rest = &rest[512 + size.next_multiple_of(512)..];
    }
    assert_eq!(rest, [0; 1024], "a tar must end with two empty blocks");
    entries
}

fn archive(handler: &StaticFileHandler, target: &str) -> Vec<u8> {
    let got = get(handler, target);
    assert_eq!(got.status, 200, "{target}: {}", got.text());
    got.body
}

/// The names in the tar of a target, without the name of the first folder.
fn names(handler: &StaticFileHandler, target: &str) -> Vec<String> {
    let entries = of_tar(&archive(handler, target)).into_iter().map(|(name, _)| name);
    let within =
        |name: String| name.split_once('/').filter(|(_, rest)| !rest.is_empty()).map(|(_, rest)| rest.to_owned());
    entries.filter_map(within).collect()
}

fn missing(handler: &StaticFileHandler, target: &str) -> String {
    let entries = of_tar(&archive(handler, target));
    entries.into_iter().find(|(name, _)| name == "MISSING.txt").map(|(_, text)| text).unwrap_or_default()
}

#[test]
fn archives_have_name_and_media_type() {
    let folder = Folder::new(&[("a b/x", "x"), ("été/x", "x"), ("indexed/index.html", "page"), ("indexed/x", "x")]);
    let handler = folder.handler();
    assert!(!get(&handler, "/").text().contains("archive"), "archives must not be offered by default");
    assert_eq!(
        get(&handler, "/?archive=zip").header("content-type"),
        "text/html; charset=utf-8",
        "an archive that is not offered must not be sent"
    );
    let handler = handler.archives(true).prefix("/files").unwrap();
    assert!(get(&handler, "/files/").text().contains("<button form=f name=archive value=zip>"));
    for (target, name, media_type) in [
        ("/files/?archive=zip", "filename=\"files.zip\"", "application/zip"),
        ("/files/a%20b/?archive=tar", "filename=\"a b.tar\"", "application/x-tar"),
        (
            "/files/%C3%A9t%C3%A9/?archive=tar.gz",
            "filename=\"_t_.tar.gz\"; filename*=UTF-8''%C3%A9t%C3%A9.tar.gz",
            "application/gzip",
        ),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let request = Request::new(method, target).unwrap().with_header("range", "bytes=0-3");
            let sent = Http::new(StaticFileHandler::new(&folder).unwrap().archives(true).prefix("/files").unwrap())
                .access_log(None)
                .respond(&request);
            assert_eq!(sent.status(), 200, "{target}");
            assert_eq!(sent.header("content-disposition"), Some(&*format!("attachment; {name}")), "{target}");
            assert_eq!(sent.header("content-type"), Some(media_type), "{target}");
            assert_eq!(sent.header("cache-control"), Some("no-store"));
            assert_eq!(sent.header("accept-ranges"), Some("none"));
            assert_eq!((sent.header("etag"), sent.header("last-modified")), (None, None), "{target}");
            assert_eq!(sent.header("x-content-type-options"), Some("nosniff"));
        }
    }
    assert_eq!(get(&handler, "/files/?archive=rar").status, 400);
    assert_eq!(get(&handler, "/files/a%20b?archive=zip").header("location"), "/files/a%20b/?archive=zip");
    assert_eq!(get(&handler, "/files/a%20b/x?archive=zip").text(), "x", "a file has no archive");
    assert_eq!(
        get(&handler, "/files/indexed/?archive=zip").text(),
        "page",
        "an index file is sent in place of an archive"
    );
    assert_eq!(get(&handler, "/files/none/?archive=zip").status, 404);
    assert_eq!(
        get(&handler.listing(false), "/files/?archive=zip").status,
        404,
        "without a listing there is no archive"
    );
}

/// The archive contains exactly what is served below the folder.
#[test]
fn archives_contain_exactly_the_served_files() {
    let outside = Folder::new(&[("secret", "secret"), ("folder/secret", "secret")]);
    let folder = Folder::new(&[
        ("file", "file"),
        ("file.gz", "a sidecar"),
        (".hidden", "h"),
        (".git/config", "h"),
        (".well-known/x", "x"),
        ("sub/index.html", "page"),
        ("sub/deep/er", "deep"),
        ("sub/.well-known/x", "h"),
    ]);
    fs::create_dir(folder.path("empty")).unwrap();
    fifo(folder.path("fifo"));
    for (name, target) in [
        ("in", "file".into()),
        ("in-folder", PathBuf::from("sub/deep")),
        ("absolute", folder.path("file")),
        ("out", outside.path("secret")),
        ("out-folder", outside.path("folder")),
        ("dangling", "nowhere".into()),
        ("sub/up", "..".into()),
    ] {
        symlink(target, folder.path(name)).unwrap();
    }
    let plain = ["empty/", "file", "file.gz", "sub/", "sub/deep/", "sub/deep/er", "sub/index.html"];
    let linked = ["absolute", "in", "in-folder/", "in-folder/er"];
    let all = |more: &[&[&str]]| {
        let mut all: Vec<String> = more.concat().iter().map(|name| (*name).to_owned()).collect();
        all.sort();
        all
    };
    for (links, hidden, expected) in [
        (Symlinks::Deny, false, all(&[&plain, &[".well-known/", ".well-known/x"]])),
        (Symlinks::WithinRoot, false, all(&[&plain, &linked, &[".well-known/", ".well-known/x"]])),
        (
            Symlinks::Follow,
            false,
            all(&[&plain, &linked, &["out", "out-folder/", "out-folder/secret", ".well-known/", ".well-known/x"]]),
        ),
        (
            Symlinks::Deny,
            true,
            all(&[
                &plain,
                &[".well-known/", ".well-known/x", ".hidden", ".git/", ".git/config", "sub/.well-known/"],
                &["sub/.well-known/x"],
            ]),
        ),
    ] {
        let handler = folder.handler().archives(true).symlinks(links).hidden(hidden);
        let mut found = names(&handler, "/?archive=tar");
        found.sort();
        assert_eq!(found, expected, "{links:?}, hidden: {hidden}");
        let missing = missing(&handler, "/?archive=tar");
        let expected = match links {
            Symlinks::Deny => "",
            _ => "These are not in this archive:\n\narchive/sub/up: a link to a folder that contains it\n",
        };
        assert_eq!(missing, expected, "{links:?}");
    }
    let handler = folder.handler().archives(true);
    assert_eq!(names(&handler, "/sub/deep/?archive=tar"), ["er"], "the archive of a folder below the root");
}

#[test]
fn archives_report_files_left_out_by_limits() {
    let folder = Folder::new(&[("a/b/c/d", "d"), ("e", "e"), ("f", "f"), ("g", "g")]);
    let handler = folder.handler().archives(true);
    assert_eq!(missing(&handler, "/?archive=tar"), "");
    let handler = handler.archive_depth(2);
    assert_eq!(names(&handler, "/?archive=tar"), ["a/", "e", "f", "g"]);
    assert!(missing(&handler, "/?archive=tar").contains("\narchive/a/b: more than 2 folders deep\n"));
    let handler = handler.archive_depth(64).archive_entries(6);
    assert_eq!(names(&handler, "/?archive=tar"), ["a/", "a/b/", "a/b/c/", "e", "f", "g"]);
    let text = missing(&handler, "/?archive=tar");
    assert!(text.contains("\narchive/a/b/c: some of its entries: there are more than 6\n"), "{text}");
    // The paths together are too long: a zip has to keep them until its end.
    let folder = Folder::new(&[]);
    (0..20).for_each(|number| folder.write(&format!("{}{number:02}", "x".repeat(250)), ""));
    let handler = folder.handler().archives(true).archive_entries(20);
    let found = names(&handler, "/?archive=tar");
    assert_eq!(found.len(), 20 * 200 / 260, "{found:?}");
    assert!(missing(&handler, "/?archive=tar").contains("and all later entries"));
}

#[test]
fn archives_report_unreadable_files() {
    if rustix::process::geteuid().is_root() {
        return eprintln!("skipped: root may read all");
    }
    let folder = Folder::new(&[("file", "x"), ("folder/x", "x"), ("good", "x")]);
    for name in ["file", "folder"] {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o000)).unwrap();
    }
    let handler = folder.handler().archives(true);
    assert_eq!(names(&handler, "/?archive=tar"), ["good"]);
    let text = missing(&handler, "/?archive=tar");
    for name in ["file", "folder"] {
        assert!(text.contains(&format!("\narchive/{name}: the server has no permission to read it\n")), "{text}");
    }
    fs::set_permissions(folder.path("folder"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// Windows accepts every name as one within the folder, and no two names are equal there.
#[test]
fn archived_names_are_safe_on_every_system() {
    let folder = Folder::new(&[]);
    let odd: &[&[u8]] = &[
        b"..\\..\\evil",
        b"C:",
        b"C:\\evil",
        b"CON",
        b"nul.txt",
        b"a:b",
        b"dot.",
        b"space ",
        b"...",
        b"new\nline",
        b"README",
        b"readme",
        b"ReadMe",
        b"caf\xe9",
        b"caf%E9",
        "été".as_bytes(),
        "\u{202e}gpj.exe".as_bytes(),
        b"-rf",
        b"~",
        b"*",
        &[b'l'; 255],
    ];
    for (at, name) in odd.iter().enumerate() {
        folder.write(&format!("{at}"), format!("{at}"));
        fs::rename(folder.path(&at.to_string()), folder.as_ref().join(std::ffi::OsStr::from_bytes(name))).unwrap();
    }
    let handler = folder.handler().archives(true).hidden(true);
    let Some(entries) = by_python(&archive(&handler, "/?archive=zip")) else { return };
    let found: Vec<&str> = entries.keys().map(|name| str::from_utf8(name).expect("UTF-8")).collect();
    let mut folded: Vec<String> = found.iter().map(|name| name.to_lowercase()).collect();
    folded.sort();
    folded.dedup();
    assert_eq!(folded.len(), odd.len() + 2, "all names, their folder and the report");
    for name in &found {
        let well = |part: &str| {
            !part.is_empty()
                && !part.ends_with(['.', ' '])
                && !part.contains(|c: char| c < ' ' || "<>:\"/\\|?*".contains(c))
                && !["CON", "NUL"].contains(&part.split('.').next().unwrap().to_uppercase().as_str())
        };
        assert!(name.split('/').all(well), "{name:?}");
        assert!(name.starts_with("archive/") || ["archive", "RENAMED.txt"].contains(name), "{name:?}");
    }
    for name in ["archive/été", "archive/caf%E9 (2)", "archive/_CON", "archive/readme (3)", "archive/.._.._evil"] {
        assert!(found.contains(&name), "{name}: {found:?}");
    }
    // A tar has the names unchanged, except for backslashes.
    for target in ["/?archive=tar", "/?archive=tar.gz"] {
        let Some(entries) = by_python(&archive(&handler, target)) else { return };
        for name in odd {
            let name: Vec<u8> = name.iter().map(|&byte| if byte == b'\\' { b'_' } else { byte }).collect();
            assert!(entries.contains_key(&[b"archive/", &name[..]].concat()), "{target}: {}", name.escape_ascii());
        }
    }
}

/// Bytes, modes and times are those of the files in each format: small, large and empty files, text and random bytes.
#[test]
fn unpacked_files_match_the_originals() {
    let mut state = 1_u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    };
    let folder = Folder::new(&[]);
    let text = "all work and no play makes Jack a dull boy\n".repeat(20_000);
    for (name, bytes) in [
        ("none", Vec::new()),
        ("one", b"x".to_vec()),
        ("text", text.as_bytes().to_vec()),
        ("noise", noise(300_000)),
        ("small noise", noise(30_000)),
        ("64 KiB", noise(65_536)),
        ("and one", text.as_bytes()[..65_537].to_vec()),
        ("mixed", [text.as_bytes(), &noise(200_000)[..], text.as_bytes(), &noise(70_000)].concat()),
        ("512", vec![0; 512]),
        ("zeros", vec![0; 3_000_000]),
    ] {
        folder.write(&format!("a/{name}"), bytes);
    }
    folder.write(&format!("{}/{}/x", "long".repeat(30), "name".repeat(40)), "x");
    folder.write("run", "#!/bin/sh\n");
    fs::set_permissions(folder.path("run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(folder.path("empty")).unwrap();
    let date = UNIX_EPOCH + Duration::from_secs(1_234_567_890);
    fs::File::options().write(true).open(folder.path("a/one")).unwrap().set_modified(date).unwrap();
    let handler = folder.handler().archives(true);
    for format in ["zip", "tar", "tar.gz"] {
        let archive = archive(&handler, &format!("/?archive={format}"));
        let Some(entries) = by_python(&archive) else { return };
        assert_eq!(entries.len(), 17, "{format}");
        for (name, entry) in entries {
            let path =
                folder.path(str::from_utf8(&name).unwrap().strip_prefix("archive").unwrap().trim_start_matches('/'));
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(entry.is_folder, metadata.is_dir(), "{format}: {path:?}");
            let content = if entry.is_folder { Vec::new() } else { fs::read(&path).unwrap() };
            let digest = Sha256::digest(&content);
            assert_eq!(
                entry.sha,
                digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                "{format}: {path:?}"
            );
            assert_eq!(entry.mode, if metadata.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 }, "{path:?}");
            let time = metadata.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
            assert_eq!(entry.time, if format == "zip" { time & !1 } else { time }, "{format}: {path:?}");
        }
        if format != "tar" {
            assert!(archive.len() < 800_000, "{format}: text is compressed: {} bytes", archive.len());
        }
    }
}

/// Does something once this number of bytes of the body was read.
struct Meanwhile<R, F> {
    body: R,
    left: usize,
    change: Option<F>,
}

impl<R: Read, F: FnOnce()> Read for Meanwhile<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.change.take().into_iter().for_each(|change| change());
        }
        let most = if self.change.is_some() { buffer.len().min(self.left) } else { buffer.len() };
        let count = self.body.read(&mut buffer[..most])?;
        self.left = self.left.saturating_sub(count);
        Ok(count)
    }
}

fn read_meanwhile(folder: &Folder, format: &str, change: impl FnOnce() + Send + 'static) -> io::Result<Vec<u8>> {
    let handler = folder.handler().archives(true);
    let response = handler.do_get(&Request::get(&format!("/?archive={format}"))).unwrap();
    let response = response.map_body(|body| Meanwhile { body, left: 100_000, change: Some(change) }).unwrap();
    response.into_bytes()
}

#[test]
fn a_file_changed_during_reading_breaks_the_archive() {
    for format in ["zip", "tar", "tar.gz"] {
        for way in ["shrinks", "grows", "is rewritten", "is replaced", "goes"] {
            let folder = Folder::new(&[("a", "a"), ("z", "z")]);
            let noise: Vec<u8> =
                (0..1_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
            folder.write("la\nrge", &noise);
            wait_for_age(folder.as_ref(), Duration::from_millis(30));
            let (path, other) = (folder.path("la\nrge"), folder.path("other"));
            let change = move || match way {
                "shrinks" => fs::File::options().write(true).open(path).unwrap().set_len(500_000).unwrap(),
                "grows" => fs::File::options().append(true).open(path).unwrap().write_all(b"x").unwrap(),
                "is rewritten" => fs::write(path, vec![b'x'; 1_000_000]).unwrap(),
                "is replaced" => {
                    fs::write(&other, "new").unwrap();
                    fs::rename(other, path).unwrap();
                }
                _ => fs::remove_file(path).unwrap(),
            };
            let read = read_meanwhile(&folder, format, change);
            // A replaced or removed file still has its whole content. But its ctime has changed, and the reader can't
            // know why.
            let error = read.expect_err(way).to_string();
            assert!(
                error.starts_with("/la\u{fffd}rge ") && error.ends_with("while it was read"),
                "{format}, {way}: {error}"
            );
        }
    }
}

/// Files that are created, removed or changed before they are read have their new state in the archive, and the archive
/// is complete.
#[test]
fn changes_before_reading_leave_the_archive_intact() {
    let folder = Folder::new(&[("z/gone", "gone"), ("z/new", "old"), ("z/now a folder", "x")]);
    folder.write(
        "a",
        (0..1_000_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect::<Vec<_>>(),
    );
    let path = folder.path("z");
    let change = move || {
        fs::remove_file(path.join("gone")).unwrap();
        fs::write(path.join("new"), "newer").unwrap();
        fs::remove_file(path.join("now a folder")).unwrap();
        fs::create_dir(path.join("now a folder")).unwrap();
    };
    let entries = of_tar(&read_meanwhile(&folder, "tar", change).unwrap());
    let names: Vec<&str> = entries.iter().map(|(name, _)| &name[..]).collect();
    assert_eq!(names, ["archive/", "archive/a", "archive/z/", "archive/z/new", "archive/z/now a folder/"]);
    assert_eq!(entries[3].1, "newer");
}

/// A release replaces the root's link. An archive that was begun before contains the previous folder.
#[test]
fn an_archive_keeps_the_root_it_began_with() {
    let folder = Folder::new(&[("one/z", "one"), ("two/z", "two"), ("two/y", "two")]);
    folder.write("one/a", vec![b'x'; 1_000_000]);
    symlink("one", folder.path("root")).unwrap();
    symlink("two", folder.path("next")).unwrap();
    let handler = StaticFileHandler::new(folder.path("root")).unwrap().archives(true);
    let response = handler.do_get(&Request::get("/?archive=tar")).unwrap();
    let (root, next) = (folder.path("root"), folder.path("next"));
    let change = move || exchange(&next, &root);
    let response = response.map_body(|body| Meanwhile { body, left: 100_000, change: Some(change) }).unwrap();
    let entries = of_tar(&response.into_bytes().unwrap());
    assert_eq!(entries.last().unwrap(), &("archive/z".to_owned(), "one".to_owned()));
    assert_eq!(names(&handler, "/?archive=tar"), ["y", "z"], "the next archive is of the new folder");
}

/// An archive contains only paths that the client may request.
#[test]
fn archives_respect_restricted_paths() {
    let folder = Folder::new(&[("a/secret/x", "x"), ("a/x", "x"), ("secret", "x"), ("b", "x")]);
    let handler = folder.handler().archives(true).prefix("/p").unwrap();
    let request = Request::get("/p/?archive=tar");
    request.put(Permissions::new("ada", |access, path| match access {
        Access::Read => path.starts_with(b"/p/") && path != b"/p/secret",
        Access::List => path.starts_with(b"/p/") && path != b"/p/a/secret",
        _ => false,
    }));
    let names: Vec<String> = of_tar(&ask(&handler, &request).body).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["p/", "p/a/", "p/a/x", "p/b"]);
}

/// Names that the client can't read are neither counted nor reported.
#[test]
fn restricted_paths_do_not_count_towards_limits_of_an_archive() {
    let folder = Folder::new(&[("a", "a"), ("b/c", "c")]);
    (0..10).for_each(|number| folder.write(&format!("b/secret{number}"), "x"));
    let handler = folder.handler().archives(true).archive_entries(3);
    let request = Request::get("/?archive=tar");
    request.put(Permissions::new("ada", |_, path| !path.starts_with(b"/b/secret")));
    let names: Vec<String> = of_tar(&ask(&handler, &request).body).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["archive/", "archive/a", "archive/b/", "archive/b/c"]);
}

#[test]
fn concurrent_transfers_are_limited() {
    let folder = Folder::new(&[("a", "a")]);
    let handler = folder.handler().archives(true).archives_at_once(2);
    let begin = || handler.do_get(&Request::get("/?archive=zip"));
    let (first, second) = (begin().unwrap(), begin().unwrap());
    let error = begin().expect_err("two archives are in progress");
    assert_eq!(error.status(), 503);
    assert_eq!(modest::Response::from(&error).header("retry-after"), Some("10"));
    let head = handler.do_get(&Request::new(Method::HEAD, "/?archive=zip").unwrap()).unwrap();
    assert_eq!(head.status(), 200, "HEAD needs no place");
    assert_eq!(get(&handler, "/a").status, 200);
    drop(first);
    assert!(begin().is_ok(), "a place is free once a client has left");
    drop(second);
}

/// A connection that has requested the archive and received some of it.
fn begun(server: &TestServer) -> TcpStream {
    let mut client = TcpStream::connect(server.address()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.write_all(b"GET /?archive=tar HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 100_000];
    client.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    client
}

/// Clients that do not read occupy no worker, and a client that disconnects in the middle frees its slot.
#[test]
fn slow_and_departed_clients_hold_no_archive_worker() {
    let folder = Folder::new(&[("small", "small")]);
    fs::File::create(folder.path("large")).unwrap().set_len(1 << 30).unwrap();
    let server = serve(folder.handler().archives(true).archives_at_once(20));
    let clients: Vec<TcpStream> = (0..20).map(|_| begun(&server)).collect(); // more than there are workers
    assert_eq!(server.get("/small").text(), "small");
    assert_eq!(server.get("/?archive=tar").status(), 503, "all places are taken");
    drop(clients);
    let started = Instant::now();
    while server.handle().stats().connections > 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "a client that has left still holds a place");
    }
    drop(begun(&server));
}

#[test]
fn a_broken_archive_does_not_look_complete() {
    let folder = Folder::new(&[]);
    let large = fs::File::create(folder.path("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let server = serve(folder.handler().archives(true));
    let mut client = begun(&server);
    large.set_len(1000).unwrap();
    let mut tail = Vec::new();
    let end = loop {
        let mut buffer = vec![0; 1 << 16];
        match client.read(&mut buffer) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                tail.extend(&buffer[..count]);
                tail.drain(..tail.len().saturating_sub(7));
            }
            Err(error) => break Err(error.kind()),
        }
    };
    assert_eq!(end, Err(io::ErrorKind::ConnectionReset));
    assert!(!tail.ends_with(b"0\r\n\r\n"), "{tail:?}");
}
