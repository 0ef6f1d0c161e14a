//! Cached listings are never stale: each change shows in the next listing, in every form and order, and in its tag. A
//! handler without a cache makes the expected listings.

use std::fs::{self, File, FileTimes};
use std::io::{BufRead, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use modest::testing::TestRequest;
use modest::{Access, Http, Method, Permissions, Request, StaticFileHandler, Symlinks, Uploads};

use super::system::{changes_are_reported, exchange};
use super::{Folder, ask, get};

/// A folder that is listed, and a folder elsewhere.
struct Place {
    folder: Folder,
    elsewhere: Folder,
}

/// 2000-02-29T23:59:30Z
const OLD: Duration = Duration::from_secs(951_868_770);

impl Place {
    /// `/d/` has a file, a file with two names, a file whose second name is gone, a folder and links, all with old
    /// dates.
    fn new() -> Place {
        let place = Place {
            folder: Folder::new(&[("d/a", "a"), ("d/sub/x", "x"), ("other/b", "bb")]),
            elsewhere: Folder::new(&[]),
        };
        let (folder, elsewhere) = (&place.folder, &place.elsewhere);
        folder.write("target", "target");
        for name in ["two", "moved"] {
            elsewhere.write(name, name);
            fs::hard_link(elsewhere.path(name), folder.path("d").join(name)).unwrap();
        }
        for (name, target) in
            [("link", "../target"), ("to-folder", "../other"), ("dangling", "../later"), ("out", "/etc/passwd")]
        {
            symlink(target, folder.path("d").join(name)).unwrap();
        }
        for name in ["d/a", "d/two", "d/moved", "d/sub", "target"] {
            date(&folder.path(name), OLD);
        }
        date(&folder.path("other"), OLD * 5 / 4);
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path(name)
    }
}

/// Sets the time of the last change, as `touch -d` does.
fn date(path: &Path, since: Duration) {
    let time = SystemTime::UNIX_EPOCH + since;
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
}

fn append(path: &Path) {
    File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

/// The name of a change, the change, and whether listings show it.
type Change = (&'static str, fn(&Place), bool);

const CHANGES: &[Change] = &[
    ("nothing", |_| {}, false),
    ("a file grows", |place| append(&place.path("d/a")), true),
    ("a file is cut", |place| File::options().write(true).open(place.path("d/a")).unwrap().set_len(0).unwrap(), true),
    ("a file is rewritten", |place| place.folder.write("d/a", "longer than it was"), true),
    (
        "a file is written, and keeps its size",
        |place| File::options().write(true).open(place.path("d/a")).unwrap().write_all(b"b").unwrap(),
        true,
    ),
    ("a file is dated", |place| date(&place.path("d/a"), OLD / 2), true),
    ("a file is dated a second later", |place| date(&place.path("d/a"), OLD + Duration::from_secs(1)), true),
    (
        "only a file's time of change (ctime) changes",
        |place| File::open(place.path("d/a")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap(),
        true,
    ),
    ("a file is replaced", |place| fs::rename(place.path("target"), place.path("d/a")).unwrap(), true),
    ("two files change places", |place| exchange(place.path("d/a"), place.path("target")), true),
    ("a file is deleted", |place| fs::remove_file(place.path("d/a")).unwrap(), true),
    ("a file has another name", |place| fs::rename(place.path("d/a"), place.path("d/b")).unwrap(), true),
    ("a file is moved away", |place| fs::rename(place.path("d/a"), place.path("a")).unwrap(), true),
    ("a file is created", |place| place.folder.write("d/new", ""), true),
    ("a folder is created", |place| fs::create_dir(place.path("d/new")).unwrap(), true),
    ("a file is linked", |place| fs::hard_link(place.path("target"), place.path("d/new")).unwrap(), true),
    ("a hidden file is created", |place| place.folder.write("d/.new", ""), false),
    ("a socket is created", |place| drop(std::os::unix::net::UnixListener::bind(place.path("d/new")).unwrap()), false),
    (
        "a file becomes a folder",
        |place| {
            fs::remove_file(place.path("d/a")).unwrap();
            fs::create_dir(place.path("d/a")).unwrap();
        },
        true,
    ),
    ("a file is written by its other name", |place| append(&place.elsewhere.path("two")), true),
    (
        "a file gets another name, and is written through it",
        |place| {
            fs::hard_link(place.path("d/a"), place.elsewhere.path("a")).unwrap();
            append(&place.elsewhere.path("a"));
        },
        true,
    ),
    (
        "a file is written through a descriptor whose name is gone",
        |place| append_to_gone(&place.elsewhere, "moved"),
        true,
    ),
    ("a folder gets a name", |place| place.folder.write("d/sub/new", ""), true),
    ("a folder loses a name", |place| fs::remove_file(place.path("d/sub/x")).unwrap(), true),
    ("a name in a folder changes", |place| fs::rename(place.path("d/sub/x"), place.path("d/sub/y")).unwrap(), true),
    ("a file in a folder is written", |place| append(&place.path("d/sub/x")), false),
    ("a folder is dated", |place| date(&place.path("d/sub"), OLD / 2), true),
    (
        "only a folder's time of change (ctime) changes",
        |place| File::open(place.path("d/sub")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap(),
        true,
    ),
    ("a folder is replaced", |place| exchange(place.path("d/sub"), place.path("other")), true),
    ("a link's target is written", |place| append(&place.path("target")), true),
    ("a link's target is deleted", |place| fs::remove_file(place.path("target")).unwrap(), true),
    ("a link's target is created", |place| place.folder.write("later", "later"), true),
    ("a link's target gets a name", |place| place.folder.write("other/new", ""), true),
    (
        "a link leads elsewhere",
        |place| {
            symlink("../other", place.path("new")).unwrap();
            fs::rename(place.path("new"), place.path("d/link")).unwrap();
        },
        true,
    ),
    ("the folder is replaced", |place| exchange(place.path("d"), place.path("other")), true),
    (
        "the folder is moved, and a link takes its place",
        |place| {
            fs::rename(place.path("d"), place.path("e")).unwrap();
            symlink("e", place.path("d")).unwrap();
            append(&place.path("e/a"));
        },
        true,
    ),
    (
        "the root is replaced",
        |place| {
            place.elsewhere.write("d/only", "");
            exchange(place.folder.as_ref(), place.elsewhere.as_ref());
        },
        true,
    ),
    ("the folder goes", |place| fs::remove_dir_all(place.path("d")).unwrap(), true),
    ("an index comes", |place| place.folder.write("d/index.html", "the index"), true),
];

/// Removes one name of an open file and then writes to the file. Its other name is then the only one.
fn append_to_gone(folder: &Folder, name: &str) {
    let mut file = File::options().append(true).open(folder.path(name)).unwrap();
    fs::remove_file(folder.path(name)).unwrap();
    file.write_all(b"more").unwrap();
}

fn by_gzip(target: &str) -> Request {
    Request::get(target).with_header("accept-encoding", "gzip")
}

/// The kinds of requests for a folder.
fn ways() -> Vec<(&'static str, Request)> {
    let propfind = "PROPFIND".parse::<Method>().unwrap();
    vec![
        ("plainly", Request::get("/d/")),
        ("by time", Request::get("/d/?sort=-time")),
        ("by size", Request::get("/d/?sort=size")),
        ("as JSON", Request::get("/d/?format=json")),
        ("as JSON by time", Request::get("/d/?format=json&sort=time")),
        ("by PROPFIND", Request::new(propfind, "/d/").unwrap().with_header("depth", "1")),
        ("in gzip", by_gzip("/d/?format=json")),
    ]
}

/// Status and body of a response, without its content coding.
fn seen(handler: &StaticFileHandler, request: &Request) -> (u16, String) {
    let got = ask(handler, request);
    match got.header("content-encoding") {
        "gzip" => (got.status, gunzip(&got.body)),
        _ => (got.status, got.text()),
    }
}

fn gunzip(bytes: &[u8]) -> String {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text).unwrap();
    text
}

fn handler(folder: &Folder) -> StaticFileHandler {
    folder.handler().webdav(true).compress_listings(true)
}

/// The expected response.
fn truth(folder: &Folder, request: &Request) -> (u16, String) {
    seen(&handler(folder).inotify(false).listing_cache(0), request)
}

#[test]
fn every_change_shows() {
    for (what, change, shows) in CHANGES {
        for inotify in [true, false] {
            let place = Place::new();
            let handler = handler(&place.folder).inotify(inotify);
            let mut before = Vec::new();
            for (way, request) in ways() {
                let first = seen(&handler, &request);
                for _ in 0..3 {
                    assert_eq!(seen(&handler, &request), first, "{what}: before, {way}");
                }
                assert_eq!(first, truth(&place.folder, &request), "{what}: before, {way}");
                before.push((ask(&handler, &request).header("etag").to_owned(), first));
            }
            change(&place);
            for ((way, request), (tag, before)) in ways().into_iter().zip(before) {
                let said = format!("{what}, {way}, inotify {inotify}");
                let is_dated = way.contains("JSON") || way.contains("gzip");
                let expected = truth(&place.folder, &request);
                assert!(!shows || !is_dated || expected != before, "{said}: the change must show: {expected:?}");
                let polled = request.with_polled(Some(Instant::now()));
                assert_eq!(seen(&handler, &polled), expected, "{said}");
                let tag_now = ask(&handler, &polled).header("etag").to_owned();
                assert!(way == "by PROPFIND" || (tag == tag_now) == (expected == before), "{said}: {tag}, {tag_now}");
            }
        }
    }
}

/// In several rounds, while the listing is cached again each time. A pause of a second follows each change.
#[test]
fn successive_changes_all_show() {
    let place = Place::new();
    let (handler, request) = (handler(&place.folder), Request::get("/d/?format=json"));
    for round in 0..3 {
        let changed = Instant::now();
        while changed.elapsed() < Duration::from_millis(1100) {
            assert_eq!(seen(&handler, &request), truth(&place.folder, &request), "round {round}");
        }
        append(&place.path("d/a"));
        assert_eq!(seen(&handler, &request), truth(&place.folder, &request), "round {round}, changed");
        place.folder.write(&format!("d/sub/{round}"), "");
        assert_eq!(seen(&handler, &request), truth(&place.folder, &request), "round {round}, changed again");
    }
}

#[test]
fn a_changed_listing_is_not_a_304() {
    let place = Place::new();
    let http = Http::new(handler(&place.folder)).access_log(None);
    for target in ["/d/", "/d/?format=json", "/d/?sort=size"] {
        for coding in ["identity", "gzip"] {
            let request = || Request::get(target).with_header("accept-encoding", coding);
            let tag = (0..4).map(|_| http.respond(&request()).header("etag").unwrap().to_owned()).next_back().unwrap();
            let known = || http.respond(&request().with_header("if-none-match", &tag)).status().as_u16();
            assert_eq!((known(), known()), (304, 304), "{target}, {coding}");
            append(&place.path("d/a"));
            assert_eq!((known(), known()), (200, 200), "{target}, {coding}, changed");
        }
    }
}

/// The tags of compressed listings are weak, as those of `layers::Compress` are. Each form and order has its own.
#[test]
fn cached_listings_are_compressed_once() {
    let folder = Folder::new(&[]);
    for number in 0..200 {
        folder.write(&format!("a name like others {number}"), "");
    }
    let gzip = modest::layers::Compress::new();
    let fixed = folder.handler().header("cache-control", "no-transform").unwrap();
    let with = |handler: StaticFileHandler| {
        handler.compress_listings(true).finish_listing({
            let gzip = gzip.clone();
            move |request, response| gzip.compress(request, response)
        })
    };
    let (handler, fixed) = (with(folder.handler()), with(fixed));
    for target in ["/", "/?sort=-name", "/?format=json", "/?format=json&sort=-name"] {
        let plain = get(&handler, target);
        let first = ask(&handler, &by_gzip(target)); // compressed by the layer
        for round in 0..4 {
            let coded = ask(&handler, &by_gzip(target));
            let fields = |name: &str| (coded.header(name).to_owned(), first.header(name).to_owned());
            for name in ["content-encoding", "etag", "vary", "accept-ranges", "content-type", "content-security-policy"]
            {
                let (one, other) = fields(name);
                assert_eq!(one, other, "{target}, {name}, round {round}");
            }
            assert_eq!(coded.header("content-encoding"), "gzip", "{target}, round {round}");
            assert_eq!(coded.header("etag"), format!("W/{}", plain.header("etag")), "{target}, round {round}");
            assert_eq!(gunzip(&coded.body), plain.text(), "{target}, round {round}");
            assert_eq!(get(&handler, target).text(), plain.text(), "{target}, round {round}, uncompressed");
            assert_eq!(get(&handler, target).header("vary"), "Accept, Accept-Encoding", "{target}, round {round}");
            let part = ask(&handler, &by_gzip(target).with_header("range", "bytes=0-9"));
            assert_eq!(
                part.header("content-encoding"),
                "",
                "{target}: a range must be of the uncompressed bytes, which the strong tag identifies"
            );
            assert_eq!(
                ask(&fixed, &by_gzip(target)).header("content-encoding"),
                "",
                "{target}: a response with no-transform was compressed"
            );
        }
    }
}

/// Each user sees only their own entries, in any order of requests.
#[test]
fn cached_listings_respect_each_users_rights() {
    let folder = Folder::new(&[("d/ada", ""), ("d/bob", ""), ("d/all", "")]);
    let handler = folder.handler().uploads(Uploads::new());
    let asked_by = |who: &'static str| {
        let request = Request::get("/d/?format=json");
        request.put(Permissions::new(who, move |access, path| {
            access != Access::Write
                && (!path.starts_with(b"/d/")
                    || path.ends_with(b"all")
                    || path.ends_with(who.as_bytes())
                    || path == b"/d/")
        }));
        request
    };
    for round in 0..4 {
        for who in ["ada", "bob"] {
            let text = ask(&handler, &asked_by(who)).text();
            let names = ["ada", "bob", "all"].map(|name| text.contains(&format!("\"{name}\"")));
            assert_eq!(names, [who == "ada", who == "bob", true], "{who}, round {round}: {text}");
        }
        let all = get(&handler, "/d/?format=json").text();
        assert!(all.contains("ada") && all.contains("bob"), "without rights, round {round}: {all}");
    }
    // Rights can change without a change on disk.
    let mine = |sees: bool| {
        let request = Request::get("/d/");
        request.put(Permissions::new("carol", move |_, path| sees || !path.ends_with(b"ada")));
        ask(&handler, &request).text().contains("\"ada\"")
    };
    for round in 0..3 {
        assert_eq!([mine(true), mine(true), mine(true), mine(false)], [true, true, true, false], "round {round}");
    }
}

/// The controls of a page depend on the user's rights.
#[test]
fn listings_show_each_user_only_their_controls() {
    let folder = Folder::new(&[("a", "")]);
    let handler = folder.handler().uploads(Uploads::new().delete(true));
    let reader = || {
        let request = Request::get("/");
        request.put(Permissions::new("reader", |access, _| access != Access::Write));
        request
    };
    for round in 0..4 {
        assert!(get(&handler, "/").text().contains("multipart"), "round {round}");
        assert!(!ask(&handler, &reader()).text().contains("multipart"), "round {round}: a user who can only read");
    }
}

/// Files that are stored, moved or deleted by methods of this server show in the next listing.
#[test]
fn own_write_methods_update_the_listing() {
    let folder = Folder::new(&[("d/a", "")]);
    let uploads = Uploads::new().delete(true).overwrite(modest::Overwrite::Replace);
    let server = modest::testing::serve(folder.handler().webdav(true).uploads(uploads));
    let names = || {
        let text = server.send(TestRequest::new(Method::GET, "/d/?format=json")).text().to_owned();
        let rows = text.split("\"name\":\"").skip(1).map(|row| {
            let size = row.split("\"size\":").nth(1).and_then(|size| size.split(',').next()).unwrap_or_default();
            format!("{}:{size}", row.split('"').next().unwrap_or_default())
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort_unstable();
        rows.join(" ")
    };
    for (method, target, destination, expected) in [
        ("PUT", "/d/new", "", "a:0 new:5"),
        ("PUT", "/d/a", "", "a:5 new:5"),
        ("MKCOL", "/d/folder/", "", "a:5 folder:null new:5"),
        ("MOVE", "/d/new", "/d/newer", "a:5 folder:null newer:5"),
        ("DELETE", "/d/a", "", "folder:null newer:5"),
        ("DELETE", "/d/folder/", "", "newer:5"),
    ] {
        (0..3).for_each(|_| drop(names()));
        let request = TestRequest::new(method.parse().unwrap(), target);
        let request = match (method, destination) {
            ("PUT", _) => request.with_body(b"12345"),
            (_, "") => request,
            (_, destination) => request.with_header("destination", destination),
        };
        let got = server.send(request);
        assert!(got.status().is_success(), "{method} {target}: {} {}", got.status(), got.text());
        assert_eq!(names(), expected, "{method} {target}");
    }
}

/// Listings show links according to the setting for links, even when the targets change.
#[test]
fn listings_follow_the_symlink_setting() {
    for which in [Symlinks::Deny, Symlinks::WithinRoot, Symlinks::Follow] {
        let place = Place::new();
        let with = |handler: StaticFileHandler| handler.symlinks(which);
        let handler = with(place.folder.handler());
        let expect = |what: &str| {
            let expected = get(&with(place.folder.handler()).listing_cache(0), "/d/?format=json").text();
            (0..3).for_each(|_| assert_eq!(get(&handler, "/d/?format=json").text(), expected, "{which:?}, {what}"));
        };
        expect("before");
        append(&place.path("target"));
        expect("the target of a link was written");
        fs::rename(place.path("target"), place.path("later")).unwrap();
        expect("the target of a link was replaced");
    }
}

/// Changes that the kernel does not report are found within a second. First: a file system that is mounted over an
/// entry.
#[test]
fn a_mounted_entry_shows_within_a_second() {
    let (folder, other) =
        (Folder::new(&[("d/sub/x", ""), ("d/file", "")]), Folder::new(&[("sub/x", ""), ("file", "12345")]));
    date(&other.path("sub"), OLD);
    let handler = folder.handler();
    let names = ["sub", "file"];
    let listed = |handler: &StaticFileHandler| get(handler, "/d/?format=json").text();
    let truth = || listed(&folder.handler().listing_cache(0));
    let before = truth();
    (0..4).for_each(|_| assert_eq!(listed(&handler), before));
    let mount = |command: &mut Command| command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let mounted: Vec<&str> = names
        .into_iter()
        .filter(|name| {
            mount(Command::new("mount").arg("--bind").arg(other.path(name)).arg(folder.path("d").join(name)))
        })
        .collect();
    if mounted.is_empty() {
        return eprintln!("skipped: this process may not mount");
    }
    let result = std::panic::catch_unwind(|| {
        assert_ne!(truth(), before, "the listing must show the change");
        within_seconds("mounted", || listed(&handler) == truth());
        // Changes within the mounted file system show at once: the kernel reports them, or the server checks.
        for (name, what) in [("file", "is written"), ("sub/new", "comes")] {
            (0..3).for_each(|_| drop(listed(&handler)));
            fs::write(other.path(name), "more of it").unwrap();
            assert_eq!(listed(&handler), truth(), "{name} {what}");
        }
    });
    for name in mounted {
        assert!(mount(Command::new("umount").arg(folder.path("d").join(name))), "{name} stays mounted");
    }
    result.unwrap();
    within_seconds("unmounted", || listed(&handler) == truth());
}

/// Second: a file system that is mounted over the folder, even if both are empty, so that no listing shows it.
#[test]
fn a_mounted_folder_shows_within_a_second() {
    let (folder, other) = (Folder::new(&[]), Folder::new(&[]));
    fs::create_dir(folder.path("d")).unwrap();
    let handler = folder.handler();
    let listed = || get(&handler, "/d/?format=json").text();
    let ask_for_more_than_a_second = || {
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1200) {
            assert_eq!(listed(), "[\n]\n");
        }
    };
    (0..4).for_each(|_| assert_eq!(listed(), "[\n]\n"));
    let mount = |command: &mut Command| command.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !mount(Command::new("mount").arg("--bind").arg(other.as_ref()).arg(folder.path("d"))) {
        return eprintln!("skipped: this process may not mount");
    }
    let result = std::panic::catch_unwind(|| {
        ask_for_more_than_a_second();
        other.write("new", "");
        assert!(listed().contains("new"), "a new name is reported or read: {}", listed());
    });
    assert!(mount(Command::new("umount").arg(folder.path("d"))), "{} stays mounted", folder.path("d").display());
    result.unwrap();
}

/// Third: writes through a shared mapping, which change the date of a file.
#[test]
fn writes_through_a_mapping_show_within_a_second() {
    let folder = Folder::new(&[("d/x", "old")]);
    date(&folder.path("d/x"), OLD);
    let script = "import mmap, sys
with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapped:
    mapped[:] = b'new'
    print('written', flush=True)
    sys.stdin.read()";
    let handler = folder.handler();
    let listed = |handler: &StaticFileHandler| get(handler, "/d/?format=json").text();
    (0..4).for_each(|_| assert!(listed(&handler).contains("2000-02-29")));
    let mut python = Command::new("python3");
    let python =
        python.args(["-c", script]).arg(folder.path("d/x")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut python) = python else { return eprintln!("skipped: there is no python3") };
    let mut said = String::new();
    std::io::BufReader::new(python.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "written\n");
    within_seconds("mapped", || !listed(&handler).contains("2000-02-29"));
    drop(python.stdin.take());
    python.wait().unwrap();
}

fn within_seconds(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(5), "{what} did not show within five seconds");
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// A cached listing is rejected once the folder is no longer readable.
#[test]
fn a_folder_made_unreadable_is_rejected() {
    if rustix::process::geteuid().is_root() {
        return eprintln!("skipped: nothing is locked for root");
    }
    let folder = Folder::new(&[("d/x", "")]);
    let handler = folder.handler();
    (0..4).for_each(|_| assert_eq!(get(&handler, "/d/").status, 200));
    fs::set_permissions(folder.path("d"), fs::Permissions::from_mode(0o000)).unwrap();
    assert_eq!(get(&handler, "/d/").status, 403);
    fs::set_permissions(folder.path("d"), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(get(&handler, "/d/").status, 200);
}

/// A change of settings makes cached listings invalid.
#[test]
fn changed_settings_replace_cached_listings() {
    let folder = Folder::new(&[("d/.hidden", ""), ("d/x", "")]);
    let mut handler = folder.handler();
    for (what, set, shown) in [
        ("unchanged", (|handler| handler) as fn(StaticFileHandler) -> StaticFileHandler, ["x", "x"]),
        ("hidden names", |handler| handler.hidden(true), [".hidden", "x"]),
        ("at another path", |handler| handler.prefix("/p").unwrap(), ["Index of /p/", "x"]),
    ] {
        handler = set(handler);
        let target = if what == "at another path" { "/p/d/" } else { "/d/" };
        for round in 0..4 {
            let page = get(&handler, target).text();
            assert!(shown.iter().all(|text| page.contains(text)), "{what}, round {round}: {page}");
        }
    }
}

/// A page of many names is written while it is sent, so it has no length until it is cached.
#[test]
fn a_cached_large_listing_has_a_length() {
    let folder = Folder::new(&[]);
    for number in 0..1500 {
        folder.write(&format!("d/{number}"), "");
    }
    for (handler, is_kept) in [
        (folder.handler(), true),
        (folder.handler().inotify(false), false),
        (folder.handler().listing_cache(0), false),
        (folder.handler().listing_cache(400_000), false), // more than a quarter of the cache
        (folder.handler().listing_watches(2000), false),  // more than half of the watches
        (folder.handler().listing_watches(0), false),
    ] {
        let answer = || modest::RequestHandler::do_get(&handler, &Request::get("/d/")).unwrap();
        let lengths: Vec<Option<u64>> = (0..4).map(|_| answer().length()).collect();
        let page = answer().into_bytes().unwrap();
        let whole = Some(page.len() as u64).filter(|_| is_kept && changes_are_reported());
        assert_eq!(lengths, [None, whole, whole, whole], "{handler:?}");
        assert_eq!(page, get(&folder.handler().listing_cache(0), "/d/").body);
        append(&folder.path("d/7"));
        assert_eq!(answer().into_bytes().unwrap(), get(&folder.handler().listing_cache(0), "/d/").body);
        File::options().write(true).open(folder.path("d/7")).unwrap().set_len(0).unwrap();
    }
}

/// If the folders above the root can't be watched, the server checks whether the root is still the same folder. The
/// change can also be noticed by a request for a file.
#[test]
fn a_replaced_root_is_noticed_without_inotify() {
    let (folder, other) = (Folder::new(&[("www/x", "old")]), Folder::new(&[("www/x", "new"), ("www/y", "")]));
    let way = format!("/proc/self/root{}/www", folder.as_ref().display());
    let handler = StaticFileHandler::new(way).unwrap();
    let ask = |target: &str| ask(&handler, &Request::get(target).with_polled(Some(Instant::now()))).text();
    super::wait_for_age(folder.as_ref(), Duration::from_millis(30));
    for _ in 0..5 {
        assert_eq!((ask("/x").as_str(), ask("/?format=json").contains("\"y\"")), ("old", false));
    }
    exchange(folder.as_ref(), other.as_ref());
    assert_eq!((ask("/x").as_str(), ask("/?format=json").contains("\"y\"")), ("new", true));
}
