//! Concurrent uploads, swapped folders, disconnecting clients, full disks, and many slow uploads.

use std::fs;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use modest::testing::serve;
use modest::{Overwrite, StaticFileHandler, TcpServer, Uploads};

use super::super::Folder;
use super::super::system::exchange;
use super::{PATIENCE, accepting, answer, ask, connect, put, tree, visible, wait_for_silence, wait_until};

/// If many clients send to one new name at once, exactly one gets a 201, and its content is stored.
#[test]
fn concurrent_uploads_to_one_name_have_one_winner() {
    let folder = Folder::new(&[("kept", "0")]);
    let server = accepting(&folder, Uploads::new());
    let replaces = accepting(&folder, Uploads::new().overwrite(Overwrite::Replace));
    for round in 0..10 {
        let barrier = Barrier::new(8);
        let tag = replaces.get("/kept").header("etag").unwrap().to_owned();
        let (target, tag, barrier) = (&format!("/new{round}"), &tag, &barrier);
        let (new, kept): (Vec<_>, Vec<_>) = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|number| {
                    let (server, replaces) = (&server, &replaces);
                    scope.spawn(move || {
                        let body = format!("{round} {number} ").repeat(10_000);
                        barrier.wait();
                        let new = put(server, target, body.as_bytes());
                        let short = format!("{round} {number}");
                        let kept = ask(replaces, "PUT", "/kept", &[("if-match", tag)], short.as_bytes()).status();
                        ((new, body), (kept.as_u16(), short))
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).unzip()
        });
        for (statuses, name, won, lost) in [(new, target.as_str(), 201, 409), (kept, "/kept", 204, 412)] {
            let winners: Vec<_> = statuses.iter().filter(|(status, _)| *status == won).collect();
            let losers = statuses.iter().filter(|(status, _)| *status == lost).count();
            assert_eq!(
                (winners.len(), losers),
                (1, 7),
                "{name}: {:?}",
                statuses.iter().map(|it| it.0).collect::<Vec<_>>()
            );
            assert!(fs::read_to_string(folder.path(&name[1..])).unwrap() == winners[0].1, "{name}");
        }
    }
    assert_eq!(tree(folder.as_ref()).len(), 11);
}

/// During an upload its folder is moved away and replaced by a link to outside.
#[test]
fn replacing_the_folder_by_a_link_stores_nothing_outside() {
    let around = Folder::new(&[("root/in/x", ""), ("beside/y", "")]);
    let server = serve(StaticFileHandler::new(around.path("root")).unwrap().uploads(Uploads::new()));
    let mut client = connect(&server);
    client
        .write_all(b"PUT /in/new HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert!(answer(&mut client).starts_with("HTTP/1.1 100"));
    fs::rename(around.path("root/in"), around.path("moved")).unwrap();
    symlink("../beside", around.path("root/in")).unwrap();
    client.write_all(&[b'x'; 100_000]).unwrap();
    let answer = answer(&mut client);
    assert!(answer.starts_with("HTTP/1.1 409 "), "{answer}");
    drop(client);
    wait_for_silence(&server);
    assert_eq!(
        tree(around.as_ref()),
        ["beside/", "beside/y=", "moved/", "moved/x=", "root/", "root/in=is a directory"]
    );
}

/// Folders and links are swapped all the time, and every stored file is in the folder.
#[test]
fn races_with_renames_and_links() {
    let around = Folder::new(&[("root/a/x", ""), ("beside/y", "")]);
    let server = serve(StaticFileHandler::new(around.path("root")).unwrap().uploads(Uploads::new()));
    symlink("../beside", around.path("link")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut seen = std::collections::BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                exchange(around.path("root/a"), around.path("link"));
            }
        });
        for number in 0..300 {
            seen.insert(put(&server, &format!("/a/{number}"), b"text"));
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(seen.iter().all(|status| matches!(status, 201 | 409)), "{seen:?}");
    assert_eq!(fs::read_dir(around.path("beside")).unwrap().count(), 1, "something was created outside the folder");
}

/// Folders are deleted, moved and replaced while files are stored in them. Each file is stored in the folder that has the
/// name, or the upload is rejected, and nothing stays under a hidden name.
#[test]
fn races_of_uploads_with_changes_of_their_folder() {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    type Step = (&'static str, &'static str, &'static str);
    let steps: &[&[Step]] = &[
        &[("MKCOL", "/d", ""), ("DELETE", "/d/", "")],
        &[("MKCOL", "/e", ""), ("MOVE", "/e", "/d"), ("MKCOL", "/d", "")],
        &[("MKCOL", "/d", ""), ("COPY", "/from", "/d")],
        &[("MKCOL", "/d", ""), ("MOVE", "/d", "/g"), ("DELETE", "/g", "")],
        &[("MKCOL", "/d", ""), ("COPY", "/file", "/d"), ("DELETE", "/d", "")],
    ];
    for steps in steps {
        let folder = Folder::new(&[("from/x", "x"), ("file", "file")]);
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
        let server = &serve(folder.handler().webdav(true).uploads(uploads));
        let (until, number) = (std::time::Instant::now() + std::time::Duration::from_secs(2), &AtomicU32::new(0));
        let put = |connection: &mut TcpStream| {
            let number = number.fetch_add(1, Relaxed) % 60;
            let head = format!("PUT /d/f{number} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n");
            connection.write_all(&[head.as_bytes(), &[b'x'; 100]].concat()).unwrap();
        };
        let send = |connection: &mut TcpStream, (method, path, to): Step| {
            let field = if to.is_empty() { String::new() } else { format!("Destination: {to}\r\n") };
            connection.write_all(format!("{method} {path} HTTP/1.1\r\nHost: here\r\n{field}\r\n").as_bytes()).unwrap();
        };
        let statuses = thread::scope(|scope| {
            let run = |step: Option<Step>| {
                move || {
                    let (mut connection, mut seen) = (connect(server), std::collections::BTreeMap::new());
                    while std::time::Instant::now() < until {
                        match step {
                            Some(step) => send(&mut connection, step),
                            None => put(&mut connection),
                        }
                        let head = answer(&mut connection);
                        let length = head
                            .lines()
                            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                        std::io::Read::read_exact(&mut connection, &mut vec![0; length.unwrap_or(0)]).unwrap();
                        *seen.entry(head.get(9..12).unwrap_or("none").to_owned()).or_insert(0) += 1;
                    }
                    (step, seen)
                }
            };
            let all = steps.iter().copied().map(Some).chain([None, None, None]);
            let clients: Vec<_> = all.map(|step| scope.spawn(run(step))).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        for (step, seen) in &statuses {
            let is_expected = |status: &str| ["201", "204", "403", "404", "405", "409", "412"].contains(&status);
            assert!(seen.keys().all(|status| is_expected(status)), "{step:?}: {statuses:?}");
        }
        let hidden: Vec<_> =
            tree(folder.as_ref()).into_iter().filter(|name| name.contains(".modest-upload-")).collect();
        assert_eq!(hidden, [""; 0], "{statuses:?}");
    }
}

/// A file that is stored while its folder is being replaced by a copy stays, at any depth: the copy is a 409.
#[test]
fn a_copy_replaces_no_folder_that_has_changed_meanwhile() {
    for stored in ["new", "deep/new", "deep/deeper/new", "deep/old"] {
        let sources: Vec<String> = (0..2000).map(|number| format!("from/{number}")).collect();
        let files = sources.iter().map(|name| (name.as_str(), "")).chain([("d/deep/deeper/x", ""), ("d/deep/old", "")]);
        let folder = Folder::new(&files.collect::<Vec<_>>());
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
        let server = &serve(folder.handler().webdav(true).uploads(uploads));
        let (copied, put) = thread::scope(|scope| {
            let copy = scope.spawn(|| ask(server, "COPY", "/from", &[("destination", "/d")], b"").status().as_u16());
            let is_part = |name: &str| name.starts_with(".modest-upload-removable-");
            let names = || fs::read_dir(folder.as_ref()).unwrap().map(|entry| entry.unwrap().file_name());
            wait_until("the copy begins", || names().any(|name| is_part(&name.to_string_lossy())));
            let put = put(server, &format!("/d/{stored}"), b"stored");
            (copy.join().unwrap(), put)
        });
        let is_there = fs::read(folder.path("d").join(stored)).is_ok_and(|text| text == b"stored");
        assert!(matches!((put, copied, is_there), (201 | 204, 409, true)), "{stored}: {put} {copied} {is_there}");
        let hidden = tree(folder.as_ref()).into_iter().find(|name| name.contains(".modest-upload-"));
        assert_eq!(hidden, None, "{stored}");
    }
}

/// A folder is deleted also while another program removes files in it.
#[test]
fn a_folder_that_is_being_emptied_is_deleted() {
    for round in 0..10 {
        let folder = Folder::new(&[("kept", "")]);
        fs::create_dir(folder.path("d")).unwrap();
        let files: Vec<_> = (0..300).map(|number| folder.path("d").join(number.to_string())).collect();
        files.iter().for_each(|path| fs::write(path, "x").unwrap());
        let server = serve(folder.handler().uploads(Uploads::new().delete(true)).webdav(true));
        let deleted = thread::scope(|scope| {
            scope.spawn(|| files.iter().for_each(|path| drop(fs::remove_file(path))));
            let got = ask(&server, "DELETE", "/d/", &[("depth", "infinity")], b"");
            (got.status().as_u16(), got.text().to_owned())
        });
        assert_eq!((deleted.0, tree(folder.as_ref())), (204, vec!["kept=".to_owned()]), "{round}: {}", deleted.1);
    }
}

/// A folder that is deleted goes whole, or stays whole, while a copy in it makes it deeper, and while a folder in it is
/// deleted.
#[test]
fn a_folder_is_deleted_whole_or_not_at_all() {
    let part = |at: std::path::PathBuf| {
        let names = fs::read_dir(at).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.into_iter().any(|name| name.to_string_lossy().starts_with(".modest-upload-removable-"))
    };
    let deep: Vec<String> = (0..63).map(|level| format!("src/{}f", "d/".repeat(level))).collect();
    let many: Vec<String> = (0..2000).map(|number| format!("top/in/a/b/c/{number}")).collect();
    let names: Vec<String> = deep.into_iter().chain(many).chain((0..50).map(|it| format!("top/{it}"))).collect();
    let copy: (&str, &str, &[(&str, &str)]) = ("COPY", "/src/", &[("destination", "/top/in/a/b/c/z")]);
    for ((method, target, fields), hidden_in) in [(copy, "top/in/a/b/c"), (("DELETE", "/top/in/", &[]), "top")] {
        for round in 0..3 {
            let folder = Folder::new(&names.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>());
            let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
            let server = &serve(folder.handler().webdav(true).uploads(uploads));
            let (first, deleted) = thread::scope(|scope| {
                let first = scope.spawn(|| ask(server, method, target, fields, b"").status().as_u16());
                wait_until("it begins", || part(folder.path(hidden_in)) || first.is_finished());
                let deleted = ask(server, "DELETE", "/top/", &[], b"");
                (first.join().unwrap(), (deleted.status().as_u16(), deleted.text().to_owned()))
            });
            let count = fs::read_dir(folder.path("top")).map_or(0, |entries| entries.count());
            let is_right = match (method, first, deleted.0, count) {
                ("DELETE", 204, 204, 0) => true,
                ("COPY", 409, 204, 0) => true,
                ("COPY", 201, 409, count) => count >= 51,
                _ => false,
            };
            assert!(is_right, "{method} {round}: {first} {deleted:?}, {count} left");
            let hidden = tree(folder.as_ref()).into_iter().find(|name| name.contains(".modest-upload-"));
            assert_eq!(hidden, None, "{method} {round}");
        }
    }
}

/// On an overlay of two file systems, files have other devices than their folders. Needs the right to mount.
#[test]
fn folders_of_an_overlay_are_deleted_and_replaced() {
    let (Some(lower), Some(upper)) = (Small::mount(), Small::mount()) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let at = |name: &str| upper.0.path().join(name);
    ["top", "work"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
    fs::create_dir(lower.0.path().join("below")).unwrap();
    fs::write(lower.0.path().join("below/f"), "below").unwrap();
    let place = tempfile::tempdir().unwrap();
    let paths = [lower.0.path(), &at("top"), &at("work")].map(|path| path.display().to_string());
    let options = format!("lowerdir={},upperdir={},workdir={}", paths[0], paths[1], paths[2]);
    let mounted = Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(place.path()).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("skipped: no overlay can be mounted here");
        return;
    }
    let overlay = Small(place);
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true).reserve(0);
    let server = serve(StaticFileHandler::new(overlay.0.path()).unwrap().webdav(true).uploads(uploads));
    for name in ["a", "b", "c"] {
        fs::create_dir(overlay.0.path().join(name)).unwrap();
        fs::write(overlay.0.path().join(name).join("f"), name).unwrap();
    }
    for (method, target, fields) in
        [("COPY", "/a", &[("destination", "/b")][..]), ("MOVE", "/a", &[("destination", "/c")]), ("DELETE", "/b/", &[])]
    {
        let got = ask(&server, method, target, fields, b"");
        assert_eq!(got.status(), 204, "{method} {target}: {}", got.text());
    }
    // A folder of the lower layer can't be renamed.
    let got = ask(&server, "DELETE", "/below/", &[], b"");
    assert!(got.status() == 409 && got.text().contains("Delete its contents first"), "{}", got.text());
    assert_eq!(tree(overlay.0.path()), ["below/", "below/f=below", "c/", "c/f=a"]);
}

/// A client that disconnects at any byte leaves no file.
#[test]
fn disconnected_clients_leave_no_files() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, Uploads::new());
    let head = "PUT /new HTTP/1.1\r\nHost: here\r\nContent-Length: 300000\r\n\r\n";
    let form = "POST / HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 400000\r\n\r\n\
        --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"new\"\r\n\r\n";
    for head in [head, form] {
        let wire = [head.as_bytes(), &[b'x'; 299_999]].concat();
        let cuts = (0..head.len()).step_by(5).chain([head.len(), head.len() + 1, 65_536, 65_537, 200_000, wire.len()]);
        for cut in cuts {
            for how in [Shutdown::Write, Shutdown::Both] {
                let mut client = connect(&server);
                client.write_all(&wire[..cut]).unwrap();
                let _ = client.shutdown(how);
            }
        }
        wait_for_silence(&server);
        assert_eq!(tree(folder.as_ref()), [""; 0]);
    }
    let whole = "PUT /new HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\nall";
    let mut client = connect(&server);
    client.write_all(whole.as_bytes()).unwrap();
    drop(client); // it does not wait for the response
    wait_until("it is stored", || folder.path("new").exists());
    assert_eq!(tree(folder.as_ref()), ["new=all"]);
}

/// A file system of one megabyte. `None`: this process may not mount one.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let at = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at.path()).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then(|| Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[test]
fn uploads_to_a_full_disk_are_rejected() {
    let Some(small) = Small::mount() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    for reserve in [0, 300_000] {
        let uploads = Uploads::new().overwrite(Overwrite::Replace).reserve(reserve);
        let server = serve(StaticFileHandler::new(small.0.path()).unwrap().uploads(uploads));
        assert_eq!(put(&server, "/old", b"old"), if reserve == 0 { 201 } else { 204 });
        assert_eq!(put(&server, "/large", &[b'x'; 2 << 20]), 507, "the upload must be rejected from its head");
        let mut client = connect(&server);
        client.write_all(b"PUT /old HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for _ in 0..32 {
            let _ = client.write_all(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes());
        }
        let answer = answer(&mut client);
        assert!(answer.starts_with("HTTP/1.1 507 "), "the upload must be rejected while it arrives: {answer}");
        drop(client);
        let part = format!(
            "--x\r\nContent-Disposition: form-data; name=f; filename=a\r\n\r\n{}\r\n--x--\r\n",
            "x".repeat(600_000)
        );
        let fields = [("content-type", "multipart/form-data; boundary=x")];
        assert_eq!(
            ask(&server, "POST", "/", &fields, part.as_bytes()).status(),
            507,
            "a form of twice the size must be rejected"
        );
        wait_for_silence(&server);
        assert_eq!(tree(small.0.path()), ["old=old"], "a rejected upload must leave the folder unchanged");
        let room = rustix::fs::statvfs(small.0.path()).unwrap();
        assert!(room.f_bavail * room.f_frsize > 900_000, "the space of the rejected upload must be free again");
    }
}

/// A read-only file system is not mistaken for missing permissions.
#[test]
fn changes_to_a_read_only_file_system_are_rejected() {
    let Some(small) = Small::mount() else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    fs::write(small.0.path().join("a"), "a").unwrap();
    fs::create_dir(small.0.path().join("d")).unwrap();
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(small.0.path()).status();
    assert!(remounted.unwrap().success());
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true).reserve(0);
    let server = serve(StaticFileHandler::new(small.0.path()).unwrap().webdav(true).uploads(uploads));
    for (method, target, destination) in [
        ("PUT", "/new", ""),
        ("PUT", "/a", ""),
        ("MKCOL", "/new", ""),
        ("DELETE", "/a", ""),
        ("DELETE", "/d/", ""),
        ("MOVE", "/a", "/b"),
        ("COPY", "/a", "/b"),
        ("COPY", "/d", "/e"),
    ] {
        let fields = if destination.is_empty() { vec![] } else { vec![("destination", destination)] };
        let got = ask(&server, method, target, &fields, b"x");
        assert!(got.status() == 403 && got.text().contains("read-only"), "{method} {target}: {}", got.text());
    }
}

/// Slow uploads occupy no worker, so other requests are served.
#[test]
fn hundreds_of_slow_uploads_hold_no_worker() {
    let folder = Folder::new(&[("here", "here")]);
    let handler = folder.handler().uploads(Uploads::new());
    let server = TcpServer::bind("127.0.0.1:0", handler).unwrap().workers(4);
    let (address, handle) = (server.local_addr(), server.handle());
    thread::scope(|scope| {
        scope.spawn(|| server.serve_forever().unwrap());
        let connect = || {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let mut clients: Vec<TcpStream> = (0..300)
            .map(|number| {
                let mut client = connect();
                let head = format!("PUT /{number} HTTP/1.1\r\nHost: here\r\nContent-Length: 100000\r\n\r\n");
                client.write_all(head.as_bytes()).unwrap();
                client.write_all(&[b'x'; 70_000]).unwrap();
                client
            })
            .collect();
        for _ in 0..20 {
            let mut other = connect();
            other.write_all(b"GET /here HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
            assert!(answer(&mut other).starts_with("HTTP/1.1 200"));
        }
        assert_eq!(visible(folder.as_ref()), ["here=here"], "an incomplete file was visible");
        for client in &mut clients {
            client.write_all(&[b'x'; 30_000]).unwrap();
        }
        for client in &mut clients {
            assert!(answer(client).starts_with("HTTP/1.1 201"));
        }
        handle.shutdown();
    });
    assert_eq!(fs::read_dir(folder.as_ref()).unwrap().count(), 301);
    assert!((0..300).all(|number| fs::metadata(folder.path(&number.to_string())).unwrap().len() == 100_000));
}
