//! Cached content is never stale: each change shows in the next response and in its tag.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufRead;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use modest::{Request, StaticFileHandler};

use super::{Folder, STILL, ask, get, line, settled, wait_for_age};

/// The name of a change, the change, and the content after it.
type Change = (&'static str, fn(&Folder), &'static str);

/// Each change to `/x` in turn. `y` and `folder` are in the same folder.
const CHANGES: &[Change] = &[
    ("written", |folder| folder.write("x", "one"), "200 one"),
    ("edited, as long as before", |folder| folder.write("x", "two"), "200 two"),
    ("edited again at once", |folder| folder.write("x", "six"), "200 six"),
    ("grown", |folder| folder.write("x", "longer"), "200 longer"),
    ("emptied", |folder| folder.write("x", ""), "200 "),
    (
        "replaced by a rename",
        |folder| {
            folder.write("new", "new");
            fs::rename(folder.path("new"), folder.path("x")).unwrap()
        },
        "200 new",
    ),
    (
        "replaced by one of the same size and date",
        |folder| {
            let date = fs::metadata(folder.path("x")).unwrap().modified().unwrap();
            folder.write("new", "old");
            File::options().write(true).open(folder.path("new")).unwrap().set_modified(date).unwrap();
            fs::rename(folder.path("new"), folder.path("x")).unwrap();
        },
        "200 old",
    ),
    (
        "edited, with its old date restored",
        |folder| {
            let date = fs::metadata(folder.path("x")).unwrap().modified().unwrap();
            folder.write("x", "odd");
            File::options().write(true).open(folder.path("x")).unwrap().set_modified(date).unwrap();
        },
        "200 odd",
    ),
    ("deleted", |folder| fs::remove_file(folder.path("x")).unwrap(), "404"),
    ("a link", |folder| symlink("y", folder.path("x")).unwrap(), "200 yyyy"),
    ("the link's target edited", |folder| folder.write("y", "zzz"), "200 zzz"),
    (
        "a link that leads out",
        |folder| {
            symlink("/etc/passwd", folder.path("new")).unwrap();
            fs::rename(folder.path("new"), folder.path("x")).unwrap();
        },
        "404",
    ),
    (
        "a folder",
        |folder| {
            fs::remove_file(folder.path("x")).unwrap();
            fs::create_dir(folder.path("x")).unwrap();
        },
        "301 /x/",
    ),
    (
        "a file again",
        |folder| {
            fs::remove_dir(folder.path("x")).unwrap();
            folder.write("x", "end");
        },
        "200 end",
    ),
];

#[test]
fn every_change_shows() {
    for (settle, inotify) in [(false, false), (false, true), (true, false), (true, true)] {
        let folder = Folder::new(&[("y", "yyyy")]);
        let handler = folder.handler().inotify(inotify);
        let mut tags = HashMap::new();
        for (name, change, expected) in CHANGES {
            change(&folder);
            let polled = Some(Instant::now());
            // Once before the file is old enough to be cached, and once cached; with and without the time of a poll.
            for polled in [polled, polled, None] {
                let request = Request::get("/x").with_polled(polled);
                assert_eq!(
                    line(&ask(&handler, &request)),
                    *expected,
                    "{name}, poll {polled:?}, settle {settle}, inotify {inotify}"
                );
                if settle && expected.starts_with("200") {
                    let got = settled(&folder, &handler, &request);
                    assert_eq!(line(&got), *expected, "{name}, kept");
                    let tag = got.header("etag").to_owned();
                    let known = tags.entry(tag.clone()).or_insert(*expected);
                    assert_eq!(known, expected, "{tag} for two contents, {name}, inotify {inotify}");
                }
            }
        }
    }
}

#[test]
fn two_edits_within_a_second_have_different_tags() {
    let folder = Folder::new(&[]);
    let handler = folder.handler();
    let mut seen: Vec<(String, String)> = Vec::new();
    for number in 0..400 {
        let text = format!("{number:04}");
        folder.write("x", &text);
        let got = get(&handler, "/x");
        assert_eq!(got.text(), text);
        let tag = got.header("etag").to_owned();
        assert!(tag.is_empty() || !seen.iter().any(|(known, _)| *known == tag), "{tag} for {text}");
        seen.push((tag, text));
    }
}

/// Two versions are written within one second. After that second the earlier one has been served with this date, and
/// the later one replaces it by a rename. One date must not belong to both.
#[test]
fn a_rename_in_the_next_second_changes_the_date() {
    for (name, size) in [("small", 10), ("large", 1_500_000)] {
        let folder = Folder::new(&[]);
        let handler = folder.handler();
        let second = |path: &str| fs::metadata(folder.path(path)).unwrap().mtime();
        loop {
            folder.write("x", vec![b'1'; size]);
            folder.write("new", vec![b'2'; size]);
            if second("x") == second("new") {
                break;
            }
        }
        let told = |version: u8| {
            let started = Instant::now();
            loop {
                let got = get(&handler, "/x");
                assert_eq!(got.body[0], version, "{name}");
                match got.header("last-modified") {
                    "" => {
                        assert!(started.elapsed() < Duration::from_secs(10), "{name}: version {version} is not dated");
                        std::thread::sleep(Duration::from_millis(5)); // waits for the clock
                    }
                    date => return date.to_owned(),
                }
            }
        };
        let first = told(b'1');
        fs::rename(folder.path("new"), folder.path("x")).unwrap();
        assert_ne!(told(b'2'), first, "{name}");
    }
}

#[test]
fn one_file_check_serves_a_whole_poll() {
    let folder = Folder::new(&[]);
    let handler = folder.handler();
    let ask = |polled| line(&ask(&handler, &Request::get("/x").with_polled(polled)));
    folder.write("x", "old");
    settled(&folder, &handler, &Request::get("/x"));
    let earlier = Instant::now();
    let polled = Some(Instant::now());
    // The first of these requests may make a new entry, and set a watch. The second then reads the watch's reports.
    assert_eq!((ask(polled).as_str(), ask(polled).as_str()), ("200 old", "200 old"));
    folder.write("x", "new");
    // These requests had arrived before the check that followed this poll, so its result is valid for them.
    assert_eq!((ask(polled).as_str(), ask(Some(earlier)).as_str()), ("200 old", "200 old"));
    assert_eq!(ask(Some(Instant::now())), "200 new");
    assert_eq!(ask(None), "200 new");
}

/// Each server gets current content, even if the other one polled.
#[test]
fn two_servers_can_share_a_handler() {
    let folder = Folder::new(&[("x", "old")]);
    let handler = folder.handler();
    let by_a_poll_of_now = || Request::get("/x").with_polled(Some(Instant::now()));
    for round in 0..20 {
        settled(&folder, &handler, &by_a_poll_of_now());
        folder.write("x", format!("new {round}"));
        assert_eq!(line(&ask(&handler, &by_a_poll_of_now())), format!("200 new {round}"));
    }
}

#[test]
fn sidecars_come_and_go() {
    let folder = Folder::new(&[("x", "plain")]);
    let handler = folder.handler();
    let gzip = Request::get("/x").with_header("accept-encoding", "gzip");
    let expect = |expected: &str, vary: &str, what: &str| {
        wait_for_age(folder.as_ref(), STILL);
        for _ in 0..2 {
            let got = ask(&handler, &gzip);
            assert_eq!((line(&got).as_str(), got.header("vary")), (expected, vary), "{what}");
            assert_eq!(get(&handler, "/x").header("vary"), vary, "{what}, without Accept-Encoding");
            settled(&folder, &handler, &gzip);
        }
    };
    expect("200 plain", "", "none");
    folder.write_coded("x.gz", "coded");
    expect("200 coded", "Accept-Encoding", "there");
    folder.write_coded("x.gz", "again");
    expect("200 again", "Accept-Encoding", "edited");
    folder.write("x", "newer");
    File::options()
        .write(true)
        .open(folder.path("x.gz"))
        .unwrap()
        .set_modified(SystemTime::now() - Duration::from_secs(9))
        .unwrap();
    expect("200 newer", "", "a sidecar older than the file");
    folder.write_coded("x.gz", "coded");
    expect("200 coded", "Accept-Encoding", "a newer sidecar");
    fs::remove_file(folder.path("x.gz")).unwrap();
    expect("200 newer", "", "gone");
}

#[test]
fn index_files_come_and_go() {
    [true, false].into_iter().for_each(index_files);
}

fn index_files(inotify: bool) {
    let folder = Folder::new(&[("d/x", "")]);
    let handler = folder.handler().inotify(inotify).index(["index.html", "index.htm"]).unwrap();
    let root = Request::get("/d/");
    assert_eq!(line(&ask(&handler, &root)), "200 listing");
    folder.write("d/index.htm", "second");
    assert_eq!(line(&settled(&folder, &handler, &root)), "200 second");
    folder.write("d/index.html", "first");
    assert_eq!(line(&settled(&folder, &handler, &root)), "200 first");
    fs::remove_file(folder.path("d/index.html")).unwrap();
    assert_eq!(line(&settled(&folder, &handler, &root)), "200 second");
    fs::rename(folder.path("d"), folder.path("e")).unwrap();
    assert_eq!(line(&ask(&handler, &root)), "404");
    assert_eq!(line(&get(&handler, "/e/")), "200 second");
}

/// The folder of a cached file is moved out of the root: the file is the same, but it is now outside.
#[test]
fn a_folder_moved_out_and_linked_back() {
    for inotify in [true, false] {
        let (folder, outside) = (Folder::new(&[("d/x", "inside")]), Folder::new(&[]));
        let handler = folder.handler().inotify(inotify);
        settled(&folder, &handler, &Request::get("/d/x"));
        fs::rename(folder.path("d"), outside.path("d")).unwrap();
        symlink(outside.path("d"), folder.path("d")).unwrap();
        let moved = Instant::now();
        while get(&handler, "/d/x").status == 200 {
            assert!(
                !inotify && moved.elapsed() < Duration::from_secs(5),
                "the moved folder is still followed, inotify {inotify}"
            );
            std::thread::sleep(Duration::from_micros(100));
        }
        assert_eq!(get(&handler, "/d/x").status, 404);
    }
}

/// A deleted file frees its space, because large files are open only while they are sent.
#[test]
fn large_files_are_not_kept_open() {
    let folder = Folder::new(&[]);
    folder.write("large", vec![0; 2 << 20]);
    let handler: StaticFileHandler = folder.handler();
    assert_eq!(settled(&folder, &handler, &Request::get("/large")).body.len(), 2 << 20);
    let path = folder.path("large").canonicalize().unwrap();
    let held =
        fs::read_dir("/proc/self/fd").unwrap().flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path));
    assert!(!held, "a descriptor is open for {}", path.display());
}

/// A missing file is found as soon as it exists, by its own name or as an error page.
#[test]
fn new_files_are_found_at_once() {
    for inotify in [true, false] {
        let folder = Folder::new(&[("d/y", "")]);
        let handler = folder.handler().inotify(inotify);
        let expect = |target: &str, expected: &str, what: &str| {
            let got = settled(&folder, &handler, &Request::get(target));
            assert_eq!((got.status, got.text().contains(expected)), (404, true), "{target}, {what}, inotify {inotify}");
        };
        for name in ["x", "d/x", "d/deep"] {
            expect(&format!("/{name}"), "nothing with that name here", "without a page");
        }
        folder.write("404.html", "a page");
        expect("/x", "a page", "with a page");
        folder.write("404.html", "another page");
        expect("/x", "another page", "with another page");
        fs::remove_file(folder.path("404.html")).unwrap();
        expect("/d/x", "nothing with that name here", "without the page");
        folder.write("d/x", "there");
        assert_eq!(line(&get(&handler, "/d/x")), "200 there", "inotify {inotify}");
        fs::create_dir(folder.path("d/deep")).unwrap();
        assert_eq!(line(&get(&handler, "/d/deep")), "301 /d/deep/", "inotify {inotify}");
        fs::rename(folder.path("d/x"), folder.path("x")).unwrap();
        assert_eq!(line(&get(&handler, "/x")), "200 there", "inotify {inotify}");
    }
}

/// A link to nothing is not a missing name: its target can appear without a change in the link's folder.
#[test]
fn dangling_links_work_once_their_target_exists() {
    for inotify in [true, false] {
        let folder = Folder::new(&[("d/index.htm", "second")]);
        let handler = folder.handler().inotify(inotify);
        for (name, target) in [("x", "gen/x"), ("404.html", "gen/404"), ("d/index.html", "../gen/index")] {
            symlink(target, folder.path(name)).unwrap();
        }
        for target in ["/x", "/d/", "/nothing"] {
            settled(&folder, &handler, &Request::get(target));
            settled(&folder, &handler, &Request::get(target));
        }
        for (name, text) in [("gen/x", "there"), ("gen/404", "a page"), ("gen/index", "first")] {
            folder.write(name, text);
        }
        assert_eq!(line(&get(&handler, "/x")), "200 there", "inotify {inotify}");
        assert_eq!(line(&get(&handler, "/d/")), "200 first", "inotify {inotify}");
        assert_eq!(get(&handler, "/nothing").text(), "a page", "inotify {inotify}");
    }
}

/// Checks the links for the page, and for the name that is preferred to it.
#[test]
fn dangling_links_work_with_clean_urls() {
    for inotify in [true, false] {
        let folder = Folder::new(&[("second.html", "page")]);
        let handler = folder.handler().inotify(inotify).clean_urls(true);
        for (name, target) in [("first.html", "gen/first"), ("second", "gen/second")] {
            symlink(target, folder.path(name)).unwrap();
        }
        for (target, expected) in [("/first", "404"), ("/second", "200 page")] {
            for _ in 0..2 {
                assert_eq!(line(&settled(&folder, &handler, &Request::get(target))), expected, "{target}, before");
            }
        }
        for name in ["first", "second"] {
            folder.write(&format!("gen/{name}"), name);
            let target = format!("/{name}");
            assert_eq!(line(&get(&handler, &target)), format!("200 {name}"), "inotify {inotify}");
        }
    }
}

/// A handler creates or replaces a file and then passes on its own request again.
#[test]
fn a_file_made_during_its_request_is_served() {
    for inotify in [true, false] {
        let folder = Folder::new(&[("y", "")]);
        let handler = folder.handler().inotify(inotify);
        for target in ["/x", "/y"] {
            settled(&folder, &handler, &Request::get(target));
            let request = Request::get(target).with_polled(Some(Instant::now()));
            ask(&handler, &request);
            folder.write(&target[1..], "made");
            assert_eq!(line(&ask(&handler, &request)), "200 made", "{target}, inotify {inotify}");
        }
    }
}

/// Changes that the kernel does not report are found within a second. First: writes through a shared mapping.
#[test]
fn writes_through_a_mapping_show_within_a_second() {
    let folder = Folder::new(&[("x", "old")]);
    let script = "import mmap, sys
with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapped:
    mapped[:] = b'new'
    print('written', flush=True)
    sys.stdin.read()";
    let handler = folder.handler();
    assert_eq!(line(&settled(&folder, &handler, &Request::get("/x"))), "200 old");
    let mut python = Command::new("python3");
    let python = python.args(["-c", script]).arg(folder.path("x")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else { return eprintln!("skipped: there is no python3") };
    let mut said = String::new();
    std::io::BufReader::new(python.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "written\n");
    within_seconds(&handler, "/x", "200 new");
    drop(python.stdin.take());
    python.wait().unwrap();
}

/// Second: a file system that is mounted over a folder.
#[test]
fn a_mounted_folder_shows_within_a_second() {
    let (folder, other) = (Folder::new(&[("d/x", "beneath")]), Folder::new(&[("x", "mounted")]));
    let handler = folder.handler();
    assert_eq!(line(&settled(&folder, &handler, &Request::get("/d/x"))), "200 beneath");
    let mount = |command: &mut Command| command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !mount(Command::new("mount").arg("--bind").arg(other.as_ref()).arg(folder.path("d"))) {
        return eprintln!("skipped: this process may not mount");
    }
    let result = std::panic::catch_unwind(|| {
        within_seconds(&handler, "/d/x", "200 mounted");
        settled(&folder, &handler, &Request::get("/d/new"));
        fs::write(other.path("new"), "made in it").unwrap();
        assert_eq!(line(&get(&handler, "/d/new")), "200 made in it", "changes in the mounted folder are noticed again");
    });
    assert!(mount(Command::new("umount").arg(folder.path("d"))), "{} stays mounted", folder.path("d").display());
    result.unwrap();
    assert_eq!(line(&get(&handler, "/d/x")), "200 beneath", "the unmount is noticed");
}

fn within_seconds(handler: &StaticFileHandler, target: &str, expected: &str) {
    let started = Instant::now();
    loop {
        let got = line(&get(handler, target));
        if got == expected {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{target} is still {got:?}, not {expected:?}");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A relative root stays in the folder that was the working folder, even if that one is renamed. The test runs itself
/// in another process, which has its own working folder.
#[test]
fn the_working_folder_is_renamed() {
    if let Some(top) = std::env::var_os("MODEST_TEST_WORKING_FOLDER") {
        return relative_root(Path::new(&top));
    }
    let top = Folder::new(&[("here/www/x", "mine")]);
    let this = std::env::current_exe().unwrap();
    let mut again = Command::new(this);
    again.args(["--exact", "fresh::the_working_folder_is_renamed"]).current_dir(top.path("here"));
    let output = again.env("MODEST_TEST_WORKING_FOLDER", top.as_ref()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn relative_root(top: &Path) {
    let handler = StaticFileHandler::new("www").unwrap();
    assert_eq!(line(&get(&handler, "/x")), "200 mine");
    fs::rename(top.join("here"), top.join("there")).unwrap();
    fs::create_dir_all(top.join("here/www")).unwrap();
    fs::write(top.join("here/www/x"), "a newcomer's").unwrap();
    for _ in 0..5 {
        assert_eq!(line(&get(&handler, "/x")), "200 mine");
    }
    fs::rename(top.join("there/www"), top.join("there/old")).unwrap();
    fs::create_dir(top.join("there/www")).unwrap();
    fs::write(top.join("there/www/x"), "replaced").unwrap();
    assert_eq!(line(&get(&handler, "/x")), "200 replaced");
}

/// A deleted file is closed within seconds, even if other files are requested. The cases: many requests, with a
/// notification; one request, without a notification; and no inotify.
#[test]
fn deleted_files_are_not_kept_open() {
    let rows = [
        ("often", 50, true, "/x"),
        ("once", 1, true, "/x"),
        ("untold", 50, false, "/x"),
        ("often, and no file is asked for", 50, true, "/"),
        ("once, and no file is asked for", 1, true, "/"),
    ];
    for (name, times, inotify, then) in rows {
        let folder = Folder::new(&[("x", "x")]);
        folder.write("kept", vec![0; 100_000]);
        let handler = StaticFileHandler::new(folder.path("")).unwrap().inotify(inotify);
        let path = folder.path("kept").canonicalize().unwrap();
        let deleted = PathBuf::from(format!("{} (deleted)", path.display())); // proc(5)
        let is_held = |path: &Path| {
            fs::read_dir("/proc/self/fd")
                .unwrap()
                .flatten()
                .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to == path))
        };
        settled(&folder, &handler, &Request::get("/x"));
        for _ in 0..times {
            ask(&handler, &Request::get("/kept").with_polled(Some(Instant::now())));
        }
        assert!(is_held(&path), "{name}: the file must be kept open");
        fs::remove_file(&path).unwrap();
        let started = Instant::now();
        while is_held(&path) || is_held(&deleted) {
            assert!(started.elapsed() < Duration::from_secs(5), "{name}: the file is still open");
            ask(&handler, &Request::get(then)); // without a poll, as if its bytes had arrived with the connection
        }
    }
}

/// A build removes the folder and creates it again; a release replaces the folder or a link to it.
#[test]
fn a_replaced_root_folder_is_served() {
    let top = tempfile::tempdir().unwrap();
    let [dist, old, next, link] = ["dist", "old", "next", "current"].map(|name| top.path().join(name));
    let build = |folder: &Path, text: &str| {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("index.html"), text).unwrap();
    };
    build(&dist, "one");
    symlink(&dist, &link).unwrap();
    for (root, inotify) in [(&dist, true), (&link, true), (&dist, false), (&link, false)] {
        let handler = StaticFileHandler::new(root).unwrap().inotify(inotify);
        let page = || {
            wait_for_age(top.path(), Duration::from_millis(30));
            (0..4).map(|_| ask(&handler, &Request::get("/")).body).next_back().unwrap()
        };
        assert_eq!(page(), b"one");
        fs::remove_dir_all(&dist).unwrap();
        assert_eq!(ask(&handler, &Request::get("/index.html")).status, 404, "the file does not exist");
        build(&dist, "two");
        assert_eq!(page(), b"two", "the page must be current after its folder was replaced");
        fs::rename(&dist, &old).unwrap();
        build(&dist, "three");
        assert_eq!(page(), b"three", "another page in its place");
        fs::remove_dir_all(&old).unwrap();
        fs::write(dist.join("index.html"), "one").unwrap();
    }
    let handler = StaticFileHandler::new(&link).unwrap();
    build(&next, "next");
    fs::remove_file(&link).unwrap();
    symlink(&next, &link).unwrap();
    assert_eq!(ask(&handler, &Request::get("/")).body, b"next", "a link that now leads elsewhere");
}

/// The names of a folder are all read at one of the lookups in it. One name is watched before, and others are looked up.
#[test]
fn a_root_folder_is_replaced_between_any_two_requests() {
    for (inotify, others) in (0..6).flat_map(|others| [(true, others), (false, others)]) {
        let top = Folder::new(&[("www/x", "old"), ("www/in/x", "old"), ("next/x", "new"), ("next/in/x", "new")]);
        let handler = StaticFileHandler::new(top.path("www")).unwrap().inotify(inotify);
        wait_for_age(&top.path("www"), Duration::from_millis(30));
        let missing = ["a"; 4].into_iter().chain(["b", "c", "d", "e", "f"].into_iter().take(others));
        for (folder, name) in missing.flat_map(|name| [("/", name), ("/in/", name)]) {
            assert_eq!(get(&handler, &format!("{folder}{name}")).status, 404, "{folder}{name}");
        }
        fs::rename(top.path("www"), top.path("gone")).unwrap();
        fs::rename(top.path("next"), top.path("www")).unwrap();
        wait_for_age(&top.path("gone"), Duration::from_millis(30)); // so that its names are read
        for target in ["/x", "/in/x"] {
            assert_eq!(line(&get(&handler, target)), "200 new", "{target} after {others}, inotify: {inotify}");
        }
    }
}
