//! Nothing outside the folder is served, nothing that blocks, nothing that the server has no permission to read,
//! even if names are swapped at the same time.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use modest::{Request, StaticFileHandler, Symlinks};

use super::system::{exchange, fifo, way_of};
use super::{Folder, STILL, ask, get, line, wait_for_age};

#[test]
fn links_that_lead_outside_are_not_followed() {
    let outside = Folder::new(&[("secret", "secret"), ("folder/index.html", "secret")]);
    let folder =
        Folder::new(&[("file", "file"), ("sub/index.html", "sub"), ("linked-index/x", ""), ("sided", "beside")]);
    outside.write_coded("secret.gz", "secret");
    outside.write("secret", "secret"); // not older than the file for which it could be a sidecar
    for (name, target) in [
        ("in", "file".into()),
        ("in-folder", "sub".into()),
        ("sub/up", "../file".into()),
        ("absolute", folder.path("file")),
        ("out", outside.path("secret")),
        ("out-folder", outside.path("folder")),
        ("linked-index/index.html", outside.path("secret")),
        ("sided.gz", outside.path("secret.gz")),
        ("dangling", "nowhere".into()),
        ("loop", "loop".into()),
        (".hidden", "file".into()),
        ("root", "/".into()),
    ] {
        symlink(target, folder.path(name)).unwrap();
    }
    wait_for_age(outside.as_ref(), STILL);
    for (target, deny, within, follow) in [
        ("/file", "200 file", "200 file", "200 file"),
        ("/in", "404", "200 file", "200 file"),
        ("/in/", "404", "404", "404"),
        ("/in-folder", "404", "301 /in-folder/", "301 /in-folder/"),
        ("/in-folder/", "404", "200 sub", "200 sub"),
        ("/sub/up", "404", "200 file", "200 file"),
        ("/absolute", "404", "200 file", "200 file"),
        ("/out", "404", "404", "200 secret"),
        ("/out-folder", "404", "404", "301 /out-folder/"),
        ("/out-folder/", "404", "404", "200 secret"),
        ("/out-folder/index.html", "404", "404", "200 secret"),
        ("/root/", "404", "404", "200 listing"),
        ("/root/etc/hostname/", "404", "404", "404"),
        ("/linked-index/", "200 listing", "200 listing", "200 secret"),
        ("/sided", "200 beside", "200 beside", "200 secret"),
        ("/dangling", "404", "404", "404"),
        ("/loop", "404", "404", "404"),
        ("/.hidden", "404", "404", "404"),
    ] {
        for (links, expected) in [(Symlinks::Deny, deny), (Symlinks::WithinRoot, within), (Symlinks::Follow, follow)] {
            let handler = folder.handler().symlinks(links);
            let request = Request::get(target).with_header("accept-encoding", "gzip");
            assert_eq!(line(&ask(&handler, &request)), expected, "{target} with {links:?}");
        }
    }
}

#[test]
fn special_files_are_missing_and_block_no_request() {
    let folder = Folder::new(&[("x", "x")]);
    fifo(folder.path("fifo"));
    fifo(folder.path("x.gz"));
    fs::create_dir(folder.path("sub")).unwrap();
    fifo(folder.path("sub/index.html"));
    let _socket = UnixListener::bind(folder.path("socket")).unwrap();
    let device = Command::new("mknod").arg(folder.path("zero")).args(["c", "1", "5"]).output();
    let device = device.is_ok_and(|made| made.status.success());
    symlink("/dev/zero", folder.path("linked")).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let handler = folder.handler().symlinks(Symlinks::Follow);
        let mut answers = Vec::new();
        for (target, expected) in [
            ("/fifo", "404"),
            ("/fifo/", "404"),
            ("/socket", "404"),
            ("/linked", "404"),
            ("/sub/", "200 listing"),
            ("/x", "200 x"),
            if device { ("/zero", "404") } else { ("/x", "200 x") },
        ] {
            let request = Request::get(target).with_header("accept-encoding", "gzip");
            answers.push((target, line(&ask(&handler, &request)), expected));
        }
        tell.send(answers).unwrap();
    });
    let answers = told.recv_timeout(Duration::from_secs(10)).expect("responses to all requests");
    for (target, line, expected) in answers {
        assert_eq!(line, expected, "{target}");
    }
}

/// Content whose size its file system does not know, such as that of /proc, is not sent as an empty file.
#[cfg(target_os = "linux")]
#[test]
fn a_file_of_unknown_size_is_not_sent_empty() {
    let path = std::path::Path::new("/proc/sys/kernel/ostype");
    assert_eq!((path.metadata().unwrap().len(), std::fs::read_to_string(path).unwrap().as_str()), (0, "Linux\n"));
    let handler = StaticFileHandler::new(path.parent().unwrap()).unwrap();
    for target in ["/ostype", "/ostype"] {
        assert_eq!(line(&get(&handler, target)), "404");
    }
    let empty = Folder::new(&[("a.txt", "")]);
    assert_eq!(line(&get(&empty.handler(), "/a.txt")), "200 ");
}

/// A writer of a FIFO waits for a reader; a request must not be that reader.
#[test]
fn a_fifo_is_never_opened() {
    let folder = Folder::new(&[]);
    let path = folder.path("fifo");
    fifo(&path);
    let opened = AtomicBool::new(false);
    let (ready, is_ready) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            ready.send(()).unwrap();
            drop(fs::File::options().write(true).open(&path).unwrap());
            opened.store(true, Relaxed);
        });
        is_ready.recv().unwrap();
        let handler = folder.handler();
        for _ in 0..200 {
            assert_eq!(get(&handler, "/fifo").status, 404);
        }
        assert!(!opened.load(Relaxed), "the FIFO was opened for reading");
        drop(fs::File::open(&path).unwrap()); // now there is a reader
    });
}

/// Names are replaced by links to outside, as fast as possible, while clients request them.
#[test]
fn swapping_names_and_links_never_leaks_files() {
    let outside = Folder::new(&[("d/x", "secret"), ("f", "secret"), ("f.gz", "secret")]);
    let folder = Folder::new(&[("d/x", "inside"), ("f", "inside"), ("f.gz", "inside")]);
    for name in ["d", "f", "f.gz"] {
        symlink(outside.path(name), folder.path(&format!("out-{name}"))).unwrap();
    }
    let over = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Relaxed) {
                for name in ["d", "f", "f.gz"] {
                    let (one, other) = (folder.path(name), folder.path(&format!("out-{name}")));
                    exchange(one, other);
                }
            }
        });
        let (mut seen, mut missing) = (0, 0);
        let handlers = [folder.handler(), folder.handler().symlinks(Symlinks::Deny)];
        for (round, polled) in (0..40_000).map(|round| (round, (round % 3 == 0).then(Instant::now))) {
            let handler = &handlers[round % 2];
            for target in ["/d/x", "/f", "/f", "/d/"] {
                let got =
                    ask(handler, &Request::get(target).with_header("accept-encoding", "gzip").with_polled(polled));
                assert!(!got.text().contains("secret"), "{target}, request {round}");
                assert!(matches!(got.status, 200 | 404 | 503), "{target}: {}", got.status);
                if got.status == 200 { seen += 1 } else { missing += 1 }
            }
            if Instant::now() > deadline {
                break;
            }
        }
        over.store(true, Relaxed);
        assert!(seen > 0 && missing > 0, "the race was not tested: {seen} seen, {missing} missing");
    });
}

/// Root may read everything, so as root the test runs itself again as nobody.
#[test]
fn unreadable_files_are_forbidden() {
    if !rustix::process::geteuid().is_root() {
        return unreadable();
    }
    let this = std::env::current_exe().unwrap();
    let copy = Folder::new(&[]);
    fs::set_permissions(copy.as_ref(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(this, copy.path("tests")).unwrap();
    let mut again = Command::new(copy.path("tests"));
    again
        .args(["--exact", "safe::unreadable_files_are_forbidden"])
        .env_remove("TMPDIR")
        .current_dir("/tmp")
        .uid(65534)
        .gid(65534);
    match again.output() {
        Err(error) => eprintln!("skipped: cannot run as nobody: {error}"),
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
    }
}

fn unreadable() {
    let unlisted = way_of("folders that can be entered and not read");
    let folder = Folder::new(&[
        ("file", "file"),
        ("locked/x", "x"),
        ("unlisted/x", "x"),
        ("unlisted/sub/index.html", "sub"),
        ("index/index.html", "index"),
        ("sided", "sided"),
        ("sided.gz", "gz"),
        ("403.html", "forbidden"),
    ]);
    for (name, mode) in [("file", 0), ("locked", 0), ("unlisted", 0o111), ("index/index.html", 0), ("sided.gz", 0)] {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // A client can't distinguish a file outside, with any permissions, from a missing file.
    let outside = Folder::new(&[("locked/x", "x"), ("file", "x")]);
    fs::set_permissions(outside.path("locked"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(outside.path("file"), fs::Permissions::from_mode(0o000)).unwrap();
    for (name, target) in [
        ("out-locked", outside.path("locked")),
        ("out-locked-file", outside.path("locked/x")),
        ("out-nothing", outside.path("locked/nothing")),
        ("out-file", outside.path("file")),
        ("out-process", "/proc/1/fd/0".into()),
        ("out-no-process", "/proc/999999999/fd/0".into()),
    ] {
        symlink(target, folder.path(name)).unwrap();
    }
    let handler = folder.handler();
    for (target, expected) in [
        ("/out-locked", "404"),
        ("/out-locked/", "404"),
        ("/out-locked/x", "404"),
        ("/out-locked/nothing", "404"),
        ("/out-locked-file", "404"),
        ("/out-nothing", "404"),
        ("/out-file", "404"),
        ("/out-process", "404"),
        ("/out-process/", "404"),
        ("/out-no-process", "404"),
        ("/file", "403"),
        ("/locked", "301 /locked/"),
        ("/locked/", "403"),
        ("/locked/x", "403"),
        ("/locked/nothing", "403"),
        ("/unlisted/", "403"),
        ("/unlisted/x", "200 x"),
        ("/unlisted/sub/", "200 sub"),
        ("/index/", "403"),
        ("/sided", "200 sided"),
    ] {
        let got = ask(&handler, &Request::get(target).with_header("accept-encoding", "gzip"));
        let is_closed = target.starts_with("/unlisted/") && unlisted == "their files are not served";
        assert_eq!(line(&got), if is_closed { "403" } else { expected }, "{target}");
    }
    let handler = handler.error_page(403, "403.html").unwrap();
    assert_eq!(get(&handler, "/file").text(), "forbidden");
    let error = StaticFileHandler::new(folder.path("locked")).unwrap_err().to_string();
    assert_eq!(error, format!("{}: no permission to read the folder", folder.path("locked").display()));
    fs::set_permissions(outside.path("locked"), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["locked", "unlisted"] {
        fs::set_permissions(folder.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A cached file is no longer served once its permissions forbid it.
#[test]
fn a_cached_file_made_unreadable_is_forbidden() {
    let folder = Folder::new(&[("x", "x")]);
    let handler = folder.handler();
    super::settled(&folder, &handler, &Request::get("/x"));
    fs::set_permissions(folder.path("x"), fs::Permissions::from_mode(0o000)).unwrap();
    let expected = if rustix::process::geteuid().is_root() { 200 } else { 403 };
    assert_eq!(get(&handler, "/x").status, expected);
}

/// Without free descriptors, the cache closes some of its files. If that is not enough, the response is 503 and not
/// 404. The test runs itself in another process with few descriptors.
#[test]
fn out_of_descriptors() {
    if std::env::var_os("MODEST_TEST_DESCRIPTORS").is_some() {
        return with_few_descriptors();
    }
    let script = "ulimit -n 48 && exec \"$0\" --exact safe::out_of_descriptors";
    let this = std::env::current_exe().unwrap();
    let output =
        Command::new("sh").arg("-c").arg(script).arg(this).env("MODEST_TEST_DESCRIPTORS", "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn with_few_descriptors() {
    let folder = Folder::new(&[]);
    let names: Vec<String> = (0..100).map(|number| format!("/{number}")).collect();
    for name in &names {
        folder.write(&name[1..], vec![b'x'; 100_000]); // too large for memory: kept open
    }
    let (handler, forgetful) = (folder.handler(), folder.handler().cache(0, 0, 0));
    super::settled(&folder, &handler, &Request::get(&names[99])); // from here on all of them are cached
    for round in 0..3 {
        for name in &names {
            assert_eq!(get(&handler, name).status, 200, "{name} in round {round}");
        }
    }
    let taken: Vec<fs::File> = std::iter::repeat_with(|| fs::File::open("/dev/null")).map_while(Result::ok).collect();
    let got = get(&forgetful, "/1");
    assert_eq!((got.status, got.header("retry-after")), (503, "1"), "no descriptor can be freed");
    assert_eq!(get(&handler, "/1").status, 200, "a descriptor is freed for this request");
    drop(taken);
    assert_eq!(get(&forgetful, "/1").status, 200);
}
