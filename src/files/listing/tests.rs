//! Which listings are cached, and in how much memory. That cannot be tested from outside.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use tempfile::TempDir;

use super::super::rights::Unjudged;
use super::*;
use crate::{RequestHandler, StaticFileHandler, Symlinks};

/// Creates folders, each with this many files.
fn tree(folders: &[(&str, usize)]) -> TempDir {
    let top = tempfile::tempdir().unwrap();
    for (folder, names) in folders {
        fs::create_dir_all(top.path().join(folder)).unwrap();
        (0..*names).for_each(|number| drop(File::create(top.path().join(folder).join(number.to_string())).unwrap()));
    }
    top
}

fn handler(top: &TempDir) -> StaticFileHandler {
    StaticFileHandler::new(top.path()).unwrap()
}

fn answer(handler: &StaticFileHandler, target: &str) -> Response {
    let request = Request::get(target).with_polled(Some(Instant::now()));
    let response = handler.do_get(&request).unwrap_or_else(|error| panic!("{target}: {error}"));
    assert_eq!(response.status(), StatusCode::OK, "{target}");
    response
}

fn list(handler: &StaticFileHandler, target: &str) {
    drop(answer(handler, target));
}

/// Returns how many listings are cached, and how many inodes are watched for them.
fn kept(handler: &StaticFileHandler) -> (usize, usize) {
    (handler.listings.kept.count(), handler.finder.freshness.watched_for_listings())
}

/// Returns the number of folders from `/` to the root. Each is watched once.
fn above(handler: &StaticFileHandler) -> usize {
    let mut names = 1;
    let count = |_: &_, _: &_| {
        names += 1;
        Ok(())
    };
    handler.finder.root.location.walk(count).unwrap();
    names
}

#[test]
fn a_listing_is_cached_from_the_second_request() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let top = tree(&[("d", 10)]);
    let handler = handler(&top);
    let way = above(&handler);
    for (target, expected) in [
        ("/d/", (0, 0)),
        ("/d/", (1, way + 11)),
        ("/d/", (1, way + 11)),
        ("/d/?sort=-name", (1, way + 11)),
        ("/d/?sort=-name", (2, way + 11)),
        ("/d/?format=json", (2, way + 11)),
        ("/d/?format=json&sort=name", (3, way + 11)),
        ("/", (3, way + 11)),
        ("/", (4, way + 11)), // `/d` is watched already, for another listing
    ] {
        list(&handler, target);
        assert_eq!(kept(&handler), expected, "{target}");
    }
    handler.listings.forget();
    assert_eq!(kept(&handler), (0, way - 1), "folders above the root stay watched until they change");
}

#[test]
fn uncacheable_listings_are_not_cached() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    type Make = fn(&Path);
    type With = fn(StaticFileHandler) -> StaticFileHandler;
    let links: Make = |path| (0..17).for_each(|number| symlink("x", path.join(format!("link {number}"))).unwrap());
    let rows: [(&str, Make, With, usize); 8] = [
        ("a plain folder", |_| {}, |handler| handler, 1),
        ("some links", |path| symlink("x", path.join("link")).unwrap(), |handler| handler, 1),
        ("many links", links, |handler| handler, 0),
        ("many links that are not followed", links, |handler| handler.symlinks(Symlinks::Deny), 1),
        ("changes are not reported", |_| {}, |handler| handler.inotify(false), 0),
        ("no memory", |_| {}, |handler| handler.listing_cache(0), 0),
        ("no watches", |_| {}, |handler| handler.listing_watches(0), 0),
        // three names, which is more than half of the four
        ("few watches", |_| {}, |handler| handler.listing_watches(4), 0),
    ];
    for (what, make, with, expected) in rows {
        let top = tree(&[("d", 3)]);
        make(&top.path().join("d"));
        let handler = with(handler(&top));
        (0..4).for_each(|_| list(&handler, "/d/"));
        assert_eq!(kept(&handler).0, expected, "{what}");
    }
    // A file system that does not report changes.
    let handler = StaticFileHandler::new("/proc/self").unwrap();
    (0..4).for_each(|_| list(&handler, "/fdinfo/"));
    assert_eq!(kept(&handler), (0, 0), "procfs");
}

#[test]
fn a_folder_beneath_a_link_is_not_cached() {
    let top = tree(&[("d", 3)]);
    symlink("d", top.path().join("link")).unwrap();
    let handler = handler(&top);
    (0..4).for_each(|_| list(&handler, "/link/"));
    assert_eq!(kept(&handler).0, 0, "changes at the target of a link are not reported");
}

/// Requesting each folder once evicts nothing. Requesting each of them often caches no more than fits.
#[test]
fn the_listing_cache_stays_within_its_budget() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let names: Vec<String> = (0..300).map(|number| format!("f{number}")).collect();
    let mut folders: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 4)).collect();
    folders.push(("hot", 4));
    let top = tree(&folders);
    let handler = handler(&top).listing_cache(60_000).listing_watches(400);
    (0..3).for_each(|_| list(&handler, "/hot/"));
    let hot = kept(&handler);
    assert_eq!(hot.0, 1);
    for name in &names {
        list(&handler, &format!("/{name}/"));
        list(&handler, "/hot/");
        assert_eq!(kept(&handler), hot, "{name} was requested only once: it must not be cached");
    }
    for name in &names {
        (0..3).for_each(|_| list(&handler, &format!("/{name}/")));
        let (count, watched) = kept(&handler);
        assert!((1..20).contains(&count), "{count} listings of 3 to 5 KB each are cached");
        assert!(watched < 200 + above(&handler) + 50, "{watched} names are watched for {count} listings");
    }
}

/// The limit of watched names also applies if each folder has only a few.
#[test]
fn watches_stay_within_their_limit() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let names: Vec<String> = (0..40).map(|number| format!("f{number}")).collect();
    let folders: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 20)).collect();
    let top = tree(&folders);
    let handler = handler(&top).listing_watches(200);
    for name in &names {
        (0..3).for_each(|_| list(&handler, &format!("/{name}/")));
        let (count, watched) = kept(&handler);
        assert!(count >= 1 && watched <= 100 + above(&handler) + 5, "{watched} names are watched for {count} listings");
    }
}

/// A change ends the entry at once and releases its watches. The listing is not cached again before a pause.
#[test]
fn a_changed_listing_is_dropped() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let top = tree(&[("d", 10), ("e", 10)]);
    let handler = handler(&top);
    for folder in ["d", "e"] {
        (0..3).for_each(|_| list(&handler, &format!("/{folder}/")));
    }
    let way = above(&handler);
    assert_eq!(kept(&handler), (2, way + 22));
    fs::write(top.path().join("d/3"), "changed").unwrap();
    for _ in 0..3 {
        list(&handler, "/d/");
        assert_eq!(kept(&handler), (1, way + 11));
    }
    fs::remove_dir_all(top.path().join("e")).unwrap();
    let started = Instant::now();
    while kept(&handler).0 != 1 {
        assert!(started.elapsed().as_secs() < 60, "the listing of /d/ was not cached again");
        list(&handler, "/d/");
    }
}

/// The page is created once, even if the folder is read again after a second, and it is compressed once.
#[test]
fn a_page_is_made_and_compressed_once() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let top = tree(&[("d", 200)]);
    let handler = handler(&top);
    let page = || {
        let request = Request::get("/d/");
        let rights = Rights::of(&request, || b"");
        let asked = ListingRequest {
            root: "/",
            folder: rights.grant(b"d").unwrap(),
            view: View::of(&request),
            controls: &Controls::default(),
            beside: &[],
            shows_boxes: false,
            offers_archives: false,
            rights: &rights,
        };
        let listing = handler.listings.listing(&handler.finder, &asked, Some(Instant::now())).unwrap();
        match &listing.body {
            Body::Whole(page) => Arc::clone(page),
            Body::Streamed(_) => panic!("200 names are few"),
        }
    };
    page();
    let first = page();
    let started = Instant::now();
    while started.elapsed().as_millis() < 1100 {
        assert!(Arc::ptr_eq(&first, &page()), "after {:?}", started.elapsed());
    }
    let packed = first.packed();
    #[cfg(feature = "compress")]
    assert!(packed.is_some_and(|packed| Arc::ptr_eq(&packed, &page().packed().unwrap())));
    #[cfg(not(feature = "compress"))]
    assert!(packed.is_none());
}

/// Slow clients keep their pages in memory. If these pages use too much memory, no more are cached, but all clients are
/// served.
#[test]
fn pages_held_by_slow_clients_limit_the_cache() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let top = tree(&[("d", 1200)]);
    let handler = handler(&top);
    let held = handler.listings.pages.reserve(64 << 20).expect("all memory for listings is free");
    for _ in 0..3 {
        assert_eq!(answer(&handler, "/d/").length(), None, "a listing that is not cached is sent without a length");
        assert_eq!(kept(&handler).0, 0);
    }
    drop(held);
    let started = Instant::now();
    while kept(&handler).0 == 0 {
        assert!(started.elapsed().as_secs() < 60, "the listing was not cached");
        list(&handler, "/d/");
    }
    let sent = answer(&handler, "/d/");
    handler.listings.forget();
    assert!(
        handler.listings.pages.reserve(64 << 20).is_err(),
        "the memory of a listing that is being sent is not free"
    );
    drop(sent);
    assert!(handler.listings.pages.reserve(64 << 20).is_ok(), "the memory of a listing is free once it has been sent");
}

/// A rendered page counts like a listing in progress while it is sent. A file that would become a long page is sent
/// unchanged.
#[cfg(feature = "markdown")]
#[test]
fn rendered_files_hold_little_memory() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("a.md"), "# Title").unwrap();
    let row = |cell: &str| format!("|{}\n", format!("{cell}|").repeat(256));
    fs::write(top.path().join("wide.md"), row("a") + &row("-") + &"a\n".repeat(1_600)).unwrap();
    let handler = handler(&top).markdown(true);
    let budget = &handler.listings.budget;
    let all = || budget.reserve(64 << 20);
    let held = all().expect("all memory is free");
    let error = handler.do_get(&Request::get("/a.md?format=html")).expect_err("there is no memory for a page");
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wide = answer(&handler, "/wide.md?format=html").into_bytes().unwrap();
    assert!(wide.starts_with(b"|a|a|"), "a page of 409,600 cells");
    drop(held);
    let page = answer(&handler, "/a.md?format=html");
    assert!(all().is_err(), "the memory of a page that is being sent is not free");
    drop(page);
    assert!(all().is_ok(), "the memory of a page is free once it has been sent");
}

/// If a file system is mounted over a folder while it is read, the folder at the path is not the watched one.
#[test]
fn a_folder_other_than_the_watched_one_is_not_cached() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let top = tree(&[("d", 3), ("e", 3)]);
    let handler = handler(&top);
    let begin = |path: &[u8]| {
        let watching = Watching::new(&handler.finder, b"d", None, 10).expect("a watch of the folder");
        watching.begin(&handler.finder.root.open_folder(&Unjudged(path)).unwrap()).is_some()
    };
    assert!(begin(b"d") && !begin(b"e"));
}

/// A file is written once at any moment while its folder is read. The listing either shows the change or is invalidated
/// by a report.
#[test]
fn a_change_during_a_read_is_noticed() {
    if !crate::files::sys::are_changes_reported() {
        return;
    }
    let top = tree(&[("d", 1)]);
    let (path, handler) = (top.path().join("d/0"), handler(&top));
    let (finder, rounds, both) = (&handler.finder, 3000, Barrier::new(2));
    let order = View::of(&Request::get("/")).order;
    let read = || {
        let mut watching = Watching::new(finder, b"d", None, 10);
        let rights = Rights::of(&Request::get("/"), || b"");
        let by = (rights.grant(b"d").unwrap(), &rights, false);
        let entries = Entries::read(finder, by, order, &Budget::default(), 10, &mut watching);
        (watching, entries)
    };
    // Checked when both threads have ended: a failure between two barriers would block the other thread.
    let mut found = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = File::options().append(true).open(&path).unwrap();
            for round in 0..rounds {
                both.wait();
                (0..round * 7919 % 6000).for_each(|_| std::hint::spin_loop());
                let _ = file.write_all(b"x");
                both.wait();
            }
        });
        for _ in 0..rounds {
            both.wait();
            let (watching, entries) = read();
            both.wait();
            let size = entries.ok().and_then(|entries| entries.iter_from(0).next().map(|entry| entry.size));
            let holds = watching.and_then(Watching::end).map(|(watched, _)| {
                watched.watch.catch_up(&finder.root, Instant::now());
                watched.watch.holds()
            });
            found.push((size, holds));
        }
    });
    let is_seen = |round: usize| found[round].0 == Some(round as u64 + 1);
    let seen = (0..rounds).filter(|&round| is_seen(round)).count();
    assert!(
        seen > 10 && seen < rounds - 10,
        "the file was written before it was read in {seen} of {rounds} rounds: too uneven a race"
    );
    for (round, (size, holds)) in found.iter().enumerate() {
        assert!(size.is_some() && holds.is_some(), "round {round}: the file can't be read or watched");
        assert!(is_seen(round) || *holds == Some(false), "round {round}: {size:?} bytes, and no change was reported");
    }
}
