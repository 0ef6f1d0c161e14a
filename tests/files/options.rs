//! Fields, types, validators, codings and error pages of files; and settings that are rejected.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime};

use modest::{Http, Request, StaticFileHandler};

use super::{Folder, STILL, ask, at_once, get, line, settled, wait_for_age};

const PLAIN: &str = "text/plain; charset=utf-8";

#[test]
fn media_types_follow_names_and_settings() {
    let folder =
        Folder::new(&[("a.html", ""), ("a.js", ""), ("a.foo", ""), ("a", ""), ("README", ""), ("d/index.html", "")]);
    let handler = folder.handler();
    for (target, expected) in [
        ("/a.html", "text/html; charset=utf-8"),
        ("/d/", "text/html; charset=utf-8"),
        ("/a.js", "text/javascript; charset=utf-8"),
        ("/a.foo", PLAIN),
        ("/README", PLAIN),
        ("/", "text/html; charset=utf-8"),
    ] {
        let got = get(&handler, target);
        assert_eq!(got.header("content-type"), expected, "{target}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{target}");
    }
    let handler = handler.mime(".FOO", "text/x-foo").unwrap().default_type("text/plain").unwrap();
    assert_eq!(get(&handler, "/a.foo").header("content-type"), "text/x-foo; charset=utf-8");
    assert_eq!(get(&handler, "/a").header("content-type"), PLAIN);
}

#[test]
fn configured_fields_are_in_every_response() {
    let folder = Folder::new(&[("a.css", ""), ("assets/b.css", ""), ("assets/c.js", "")]);
    let handler = folder
        .handler()
        .header("Cross-Origin-Opener-Policy", "same-origin")
        .and_then(|handler| handler.header("Set-Cookie", "a=1"))
        .and_then(|handler| handler.header("Set-Cookie", "b=2"))
        .and_then(|handler| handler.cache_control("/assets/", "max-age=3600"))
        .and_then(|handler| handler.cache_control("*.js", "max-age=31536000, immutable"))
        .unwrap();
    for (target, status, caching) in [
        ("/a.css", 200, "no-cache"),
        ("/assets/b.css", 200, "max-age=3600"),
        ("/assets/c.js", 200, "max-age=31536000, immutable"),
        ("/", 200, "no-cache"),
        ("/assets", 301, "no-cache"),
        ("/assets/nothing.css", 404, "no-cache"),
    ] {
        let got = get(&handler, target);
        assert_eq!((got.status, got.header("cache-control")), (status, caching), "{target}");
        assert_eq!(got.header("cross-origin-opener-policy"), "same-origin", "{target}");
        assert_eq!(got.all("set-cookie"), ["a=1", "b=2"], "{target}");
        assert_eq!(got.header("x-content-type-options"), "nosniff", "{target}");
    }
    // `cache-control` is only for files that were found.
    folder.write("404.html", "gone");
    let handler =
        folder.handler().header("cache-control", "max-age=9").unwrap().cache_control("/", "max-age=8").unwrap();
    for (request, status, caching) in [
        (Request::get("/a.css"), 200, "max-age=8"),
        (Request::get("/assets/"), 200, "max-age=9"),
        (Request::get("/404.html"), 200, "max-age=8"),
        (Request::get("/assets"), 301, "no-cache"),
        (Request::get("/nothing.css"), 404, "no-cache"),
        (Request::get("/.."), 400, "no-cache"),
        (Request::post("/a.css", ""), 405, "no-cache"),
        (Request::new(modest::Method::OPTIONS, "/a.css").unwrap(), 204, "no-cache"),
    ] {
        let got = ask(&handler, &request);
        assert_eq!((got.status, got.header("cache-control")), (status, caching), "{}", request.target());
    }
}

#[test]
fn last_modified_is_the_date_of_the_file() {
    let at = |seconds: i64| {
        let since = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since }
    };
    let folder = Folder::new(&[("a", "four")]);
    let file = File::options().write(true).open(folder.path("a")).unwrap();
    let handler = folder.handler().cache(0, 1 << 16, 0);
    for (time, date) in [
        (at(1_000_000_000), "Sun, 09 Sep 2001 01:46:40 GMT"),
        (at(1_000_000_000) + Duration::from_nanos(999_999_999), "Sun, 09 Sep 2001 01:46:40 GMT"),
        (at(0), "Thu, 01 Jan 1970 00:00:00 GMT"),
        (at(-1), "Wed, 31 Dec 1969 23:59:59 GMT"),
        (at(-2_000_000_000), "Thu, 16 Aug 1906 20:26:40 GMT"),
    ] {
        file.set_modified(time).unwrap();
        let got = get(&handler, "/a");
        let tag = "\"8cb76294f064577382ce18fb49b7d8cb\""; // XXH3 of "four", 128 bits, as `xxhsum -H2` prints it
        assert_eq!((got.header("etag"), got.header("last-modified")), (tag, date), "{time:?}");
    }
    for seconds in [4_000_000_000, 10_000_000_000, 253_402_300_800, 400_000_000_000] {
        // Not every file system supports such dates. In any case no date of a response is in the future.
        let dated = file.set_modified(at(seconds)).is_ok();
        let got = settled(&folder, &handler, &Request::get("/a"));
        let date = got.header("last-modified");
        let date = if date.is_empty() { SystemTime::UNIX_EPOCH } else { httpdate::parse_http_date(date).unwrap() };
        assert!(date <= SystemTime::now(), "{seconds}, dated {dated}: {date:?}");
    }
}

/// A conditional request by date never gets a 304 for a second in which the file changed: large or small files, cached
/// or not, under any spelling of the path.
#[test]
fn one_date_never_names_two_states() {
    at_once([(10, true), (10, false), (100_000, true), (2 << 20, true)].into_iter(), |(size, kept)| {
        let folder = Folder::new(&[]);
        let handler = if kept { folder.handler() } else { folder.handler().cache(0, 1 << 16, 0) };
        let mut told: HashMap<String, usize> = HashMap::new();
        let started = SystemTime::now();
        let mut edit = 0;
        while started.elapsed().unwrap() < Duration::from_millis(2500) {
            edit += 1;
            folder.write("a", padded(edit, size));
            for target in ["/a", "/%61", "/a"] {
                let got = get(&handler, target);
                assert!(got.text().ends_with(&edit.to_string()), "{size} bytes, kept {kept}, edit {edit}");
                let date = got.header("last-modified");
                let known = if date.is_empty() { edit } else { *told.entry(date.to_owned()).or_insert(edit) };
                assert_eq!(known, edit, "{date} for two edits; {size} bytes, kept {kept}");
            }
        }
        let last = wait_for_date(&handler, "/a");
        // a slow machine may already have seen the date of the last edit
        let known = told.get(&last).copied().unwrap_or(edit);
        assert_eq!(known, edit, "{last} was the date of an earlier edit, in the same second");
    });
}

/// A number, with leading zeros up to this size.
fn padded(number: usize, size: usize) -> String {
    let number = number.to_string();
    format!("{}{number}", "0".repeat(size - number.len()))
}

fn wait_for_date(handler: &StaticFileHandler, target: &str) -> String {
    let started = Instant::now();
    loop {
        let date = get(handler, target).header("last-modified").to_owned();
        if !date.is_empty() {
            return date;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{target} has no date after {:?}", started.elapsed());
        std::thread::sleep(Duration::from_millis(1)); // waits for the clock
    }
}

/// The tag of a file in memory is computed from its content, and does not depend on its times. The tag of a larger file
/// comes from times that no one can set.
#[test]
fn a_tag_names_one_content() {
    for size in [10, 100_000] {
        let folder = Folder::new(&[]);
        let handler = folder.handler();
        let date = SystemTime::now() - Duration::from_secs(1000);
        let mut tags = HashMap::new();
        for edit in 0..4 {
            let content = padded(edit, size);
            // Length and date stay equal: in place, and by a rename.
            let name = if edit % 2 == 0 { "a" } else { "new" };
            folder.write(name, &content);
            File::options().write(true).open(folder.path(name)).unwrap().set_modified(date).unwrap();
            fs::rename(folder.path(name), folder.path("a")).unwrap();
            for _ in 0..2 {
                let got = settled(&folder, &handler, &Request::get("/a"));
                assert_eq!(got.text(), content, "{size} bytes, edit {edit}");
                let tag = got.header("etag").to_owned();
                assert!(tag.starts_with('"'), "a strong tag of {size} bytes, edit {edit}: {tag:?}");
                let known = tags.entry(tag.clone()).or_insert(edit);
                assert_eq!(*known, edit, "{tag} of {size} bytes for two contents");
            }
        }
    }
}

#[test]
fn the_tag_is_the_same_on_every_machine() {
    let (one, other) = (Folder::new(&[("a", "four")]), Folder::new(&[("a", "four")]));
    let time = SystemTime::now() - Duration::from_secs(1000);
    let tag = |folder: &Folder| {
        File::options().write(true).open(folder.path("a")).unwrap().set_modified(time).unwrap();
        settled(folder, &folder.handler(), &Request::get("/a")).header("etag").to_owned()
    };
    assert_eq!(tag(&one), tag(&other));
    other.write("b", "four");
    assert_eq!(
        tag(&one),
        get(&other.handler(), "/b").header("etag"),
        "equal content must have the same tag under any name and date"
    );
}

#[test]
fn the_preferred_sidecar_is_sent() {
    let folder = Folder::new(&[("a.css", "plain"), ("a.css.br", "br"), ("b.css", "b"), (".c", "c")]);
    folder.write_coded("a.css.gz", "gz");
    folder.write_coded("a.css.zst", "zst");
    let handler = folder.handler();
    wait_for_age(folder.as_ref(), STILL);
    for accept in ["", "gzip", "br", "zstd", "gzip;q=1, br;q=0.5", "identity", "identity;q=0", "deflate", "*"] {
        let (body, coding) = match accept {
            "" | "identity" | "deflate" => ("plain", ""),
            "gzip" | "gzip;q=1, br;q=0.5" => ("gz", "gzip"),
            "zstd" => ("zst", "zstd"),
            "identity;q=0" => ("", ""),
            _ => ("br", "br"),
        };
        let request = Request::get("/a.css").with_header("accept-encoding", accept);
        let got = if body.is_empty() { ask(&handler, &request) } else { settled(&folder, &handler, &request) };
        assert_eq!(got.header("vary"), "Accept-Encoding", "{accept:?}");
        assert_eq!(got.header("content-encoding"), coding, "{accept:?}");
        if body.is_empty() {
            assert_eq!(got.status, 406, "{accept:?}");
            continue;
        }
        assert_eq!(got.text(), body, "{accept:?}");
        assert_eq!(got.header("content-type"), "text/css; charset=utf-8", "{accept:?}");
        assert!(got.header("etag").ends_with(&format!("{coding}\"")), "{accept:?}: {}", got.header("etag"));
    }
    let all = Request::get("/b.css").with_header("accept-encoding", "gzip, br");
    let got = ask(&handler, &all);
    assert_eq!((got.text().as_str(), got.header("vary"), got.header("content-encoding")), ("b", "", ""));
    let got = get(&handler, "/a.css.gz");
    assert_eq!(
        (got.text().as_str(), got.header("content-type"), got.header("content-encoding")),
        ("gz", "application/gzip", "")
    );
    let handler = handler.precompressed(false);
    let handler = StaticFileHandler::cache(handler, 0, 0, 0);
    let got = ask(&handler, &Request::get("/a.css").with_header("accept-encoding", "gzip"));
    assert_eq!((got.text().as_str(), got.header("vary")), ("plain", ""));
}

/// `gzip -k`, `brotli` and `zstd` give a sidecar the date of its file. If a file and its sidecar had one date,
/// `If-Range` could join parts of both (RFC 9110, sections 8.8.1 and 13.1.5), even after one of them was removed.
#[test]
fn a_date_names_the_bytes_of_one_coding() {
    let folder = Folder::new(&[("a", "unpacked"), ("a.br", "in br...")]);
    folder.write_coded("a.gz", "gzip..");
    let gzip = fs::read(folder.path("a.gz")).unwrap();
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for name in ["a", "a.gz", "a.br"] {
        File::options().write(true).open(folder.path(name)).unwrap().set_modified(date).unwrap();
    }
    wait_for_age(folder.as_ref(), STILL);
    let http = Http::new(folder.handler()).access_log(None);
    let request = |coding: &str| Request::get("/a").with_header("accept-encoding", coding);
    let codings = ["identity", "gzip", "br"];
    let wholes = codings.map(|coding| http.respond(&request(coding)));
    let dated = || wholes.iter().filter_map(|whole| Some((whole, whole.header("last-modified")?.to_owned())));
    let rest = |coding: &str, date: &str| {
        http.respond(&request(coding).with_header("range", "bytes=3-").with_header("if-range", date))
    };
    assert_eq!(wholes.each_ref().map(|whole| whole.body()), [&b"unpacked"[..], &gzip, b"in br..."]);
    assert_eq!(dated().next().map(|(whole, _)| whole.body()), Some(&b"unpacked"[..]), "the file has its date");
    for (had, date) in dated() {
        for (coding, whole) in codings.iter().zip(&wholes) {
            let status = if had.body() == whole.body() { 206 } else { 200 };
            assert_eq!(rest(coding, &date).status(), status, "of {coding}, to {}", had.body().escape_ascii());
        }
    }
    for name in ["a.gz", "a.br"] {
        fs::remove_file(folder.path(name)).unwrap();
    }
    for (had, date) in dated() {
        let status = if had.body() == b"unpacked" { 206 } else { 200 };
        assert_eq!(rest("gzip", &date).status(), status, "what is left, to {}", had.body().escape_ascii());
    }
}

#[test]
fn unsuitable_sidecars_are_not_served() {
    let folder = Folder::new(&[
        ("old", "old"),
        ("d", "d"),
        ("d.gz/x", ""),
        ("e.gz", "gz"),
        ("sub/index.html", "i"),
        ("empty", "e"),
        ("empty.gz", ""),
        ("misnamed", "m"),
        ("misnamed.gz", "not gzip"),
        ("misnamed.zst", "nor Zstandard"),
        ("sub.gz", "no"),
    ]);
    // The first file is compressed properly, and the others are not: the length at the end is that of the last member.
    let zip = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(text.as_bytes()).unwrap();
        gzip.finish().unwrap()
    };
    let one = "line\n".repeat(1000);
    let whole = zip(&one);
    for (name, bytes) in [
        ("whole", whole.clone()),
        ("cut", whole[..whole.len() / 2].to_vec()),
        ("less", whole[..whole.len() - 1].to_vec()),
        ("two", b"\x1f\x8b".to_vec()),
        ("other", zip("another")),
        ("members", [zip(&one[..2500]), zip(&one[2500..])].concat()),
        ("followed", [&whole[..], b"0"].concat()),
    ] {
        folder.write(name, &one);
        folder.write(&format!("{name}.gz"), bytes);
    }
    // 17 bytes that end with the length of the file
    folder.write("short", "s");
    folder.write("short.gz", b"\x1f\x8b01234567890\x01\0\0\0");
    folder.write_coded("old.gz", "gz");
    folder.write_coded("sub/index.html.gz", "gz");
    let before = SystemTime::now() - Duration::from_secs(10);
    File::options().write(true).open(folder.path("old.gz")).unwrap().set_modified(before).unwrap();
    wait_for_age(folder.as_ref(), STILL);
    let handler = folder.handler();
    for (target, expected) in [
        ("/old", "200 old"), // compressed from an older version of the file
        ("/d", "200 d"),
        ("/e", "404"),
        ("/sub", "301 /sub/"),
        ("/sub/", "200 gz"),
        ("/empty", "200 e"),
        ("/misnamed", "200 m"), // browsers could not decode it
        ("/short", "200 s"),
    ] {
        let got = ask(&handler, &Request::get(target).with_header("accept-encoding", "gzip, zstd"));
        assert_eq!(line(&got), expected, "{target}");
    }
    for name in ["whole", "cut", "less", "two", "other", "members", "followed"] {
        let got = ask(&handler, &Request::get(&format!("/{name}")).with_header("accept-encoding", "gzip"));
        let expected = if name == "whole" { ("gzip", &whole[..]) } else { ("", one.as_bytes()) };
        assert!((got.header("content-encoding"), &got.body[..]) == expected, "{name}: {}", got.body.len());
    }
    // A sidecar as new as the file is used.
    File::options().write(true).open(folder.path("old.gz")).unwrap().set_modified(SystemTime::now()).unwrap();
    wait_for_age(folder.as_ref(), STILL);
    let got = ask(&handler, &Request::get("/old").with_header("accept-encoding", "gzip"));
    assert_eq!(line(&got), "200 gz");
}

#[test]
fn errors_are_shown_as_pages() {
    let folder = Folder::new(&[("a", "a"), ("404.html", "<p>gone</p>"), ("errors/400.html", "bad")]);
    let handler = folder.handler().error_page(400, "/errors/400.html").unwrap();
    for (target, status, body) in
        [("/nothing", 404, "<p>gone</p>"), ("/404.html", 200, "<p>gone</p>"), ("/a/", 404, "<p>gone</p>")]
    {
        let polled = Some(Instant::now());
        for polled in [None, polled, polled, Some(Instant::now())] {
            let got = ask(&handler, &Request::get(target).with_polled(polled));
            assert_eq!((got.status, got.text().as_str()), (status, body), "{target}");
            assert_eq!(got.header("content-type"), "text/html; charset=utf-8", "{target}");
            if status != 200 {
                assert_eq!((got.header("etag"), got.header("last-modified")), ("", ""), "{target}");
            }
        }
    }
    fs::remove_file(folder.path("404.html")).unwrap();
    let got = get(&handler, "/nothing%3Cscript%3E");
    assert_eq!(got.status, 404);
    assert!(!got.text().contains("gone") && !got.text().contains("script"), "{}", got.text());
    folder.write("404.html", "new");
    assert_eq!(get(&handler, "/nothing").text(), "new");
}

#[test]
fn index_files() {
    let folder = Folder::new(&[
        ("a/index.htm", "htm"),
        ("b/index.htm", "htm"),
        ("b/start", "start"),
        ("c/.start", "no"),
        ("e/x", ""),
        ("f/index.htm", "htm"),
        ("f/index.html", "html"),
        ("f/start", ""),
    ]);
    let handler = folder.handler();
    for (target, expected) in [("/a/", "200 htm"), ("/f/", "200 html"), ("/e/", "200 listing")] {
        assert_eq!(line(&get(&handler, target)), expected, "{target}, without a setting");
    }
    let handler = folder.handler().index(["start", ".start", "index.htm"]).unwrap();
    for (target, expected) in [("/a/", "200 htm"), ("/b/", "200 start"), ("/c/", "200 listing"), ("/e/", "200 listing")]
    {
        assert_eq!(line(&get(&handler, target)), expected, "{target}");
    }
    let handler = handler.listing(false);
    assert_eq!(line(&get(&handler, "/e/")), "404");
    let none: [&str; 0] = [];
    assert_eq!(line(&get(&folder.handler().index(none).unwrap(), "/a/")), "200 listing");
}

/// A page whose whole name is `.html` has no clean URL. It is hidden or served like any other file, with and without
/// clean URLs.
#[test]
fn a_page_without_a_stem() {
    let folder = Folder::new(&[("b/.html", "page"), (".html", "page"), ("c/x", ""), ("b/.d.html", "page")]);
    for (hidden, target, expected) in [
        (false, "/b/.html", "404"),
        (false, "/c/.html", "404"),
        (false, "/.html", "404"),
        (false, "/b/.d.html", "404"),
        (true, "/b/.html", "200 page"),
        (true, "/c/.html", "404"),
        (true, "/.html", "200 page"),
        (true, "/b/.d.html", "301 /b/.d"),
        (true, "/b/", "200 listing"),
    ] {
        let handler = folder.handler().clean_urls(true).hidden(hidden);
        assert_eq!(line(&get(&handler, target)), expected, "{target}, hidden: {hidden}");
    }
}

/// A change, and the content of each path after it. Before each change, every path is requested often enough to be
/// cached.
#[test]
fn clean_urls_are_never_stale() {
    let folder = Folder::new(&[("about.html", "page"), ("index.html", "index"), ("b/index.html", "b")]);
    let handler = folder.handler().clean_urls(true);
    let remove = |path: &str| fs::remove_file(folder.path(path)).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(), [&'a str; 4]);
    let changes: [Change<'_>; 6] = [
        ("unchanged", &|| (), ["200 page", "301 /about", "404", "404"]),
        ("a new page", &|| folder.write("about.html", "new page"), ["200 new page", "301 /about", "404", "404"]),
        ("a file of its name", &|| folder.write("about", "file"), ["200 file", "200 new page", "404", "404"]),
        ("that is gone", &|| remove("about"), ["200 new page", "301 /about", "404", "404"]),
        ("the other page", &|| folder.write("other.html", "other"), ["200 new page", "301 /about", "404", "200 other"]),
        ("both are gone", &|| ["about.html", "other.html"].into_iter().for_each(remove), ["404", "404", "404", "404"]),
    ];
    for (what, change, expected) in changes {
        change();
        for (target, expected) in ["/about", "/about.html", "/about/", "/other"].into_iter().zip(expected) {
            assert_eq!(line(&get(&handler, target)), expected, "{what}: {target}");
            assert_eq!(line(&settled(&folder, &handler, &Request::get(target))), expected, "{what}: {target}, kept");
        }
    }
    for (target, expected) in [
        ("/index.html", "301 /"),
        ("/b/index.html?q", "301 /b/?q"),
        ("/index", "404"),
        ("/b", "301 /b/"),
        ("/b/", "200 b"),
        ("/.html", "404"),
    ] {
        assert_eq!(line(&get(&handler, target)), expected, "{target}");
    }
    folder.write("c.html", "page");
    folder.write("c/index.html", "folder");
    let handler = handler.prefix("/x").unwrap();
    for (target, expected) in [("/x/c", "200 page"), ("/x/c/", "200 folder"), ("/x/c.html", "301 /x/c")] {
        assert_eq!(line(&get(&handler, target)), expected, "{target}");
    }
}

#[test]
fn the_app_page_replaces_missing_paths() {
    let folder = Folder::new(&[("index.html", "app"), ("a.js", "js"), (".env", "secret"), ("d/x", "")]);
    folder.write("e/index.html", "e");
    let handler = folder.handler().app_page("index.html").unwrap();
    for (target, accept, expected) in [
        ("/users/7", "*/*", "200 app"),
        ("/a.js", "*/*", "200 js"),
        ("/b.js", "*/*", "404"),
        ("/b.js", "text/html, */*;q=0.8", "200 app"),
        ("/v1.2/users", "*/*", "200 app"),
        ("/.env", "text/html", "404"),
        ("/a/.git/config", "text/html", "404"),
        ("/d", "*/*", "200 app"), // a folder without an index is also a path of the app
        ("/d/", "*/*", "200 app"),
        ("/d/?format=csv", "*/*", "200 app"), // a parameter of the app
        ("/d/?archive=2020", "*/*", "200 app"),
        ("/d/?archive=zip", "*/*", "200 app"), // there are no archives
        ("/e", "*/*", "301 /e/"),
        ("/e/", "*/*", "200 e"),
        ("/%00", "text/html", "400"),
        ("/..", "text/html", "400"),
    ] {
        let got = ask(&handler, &Request::get(target).with_header("accept", accept));
        assert_eq!(line(&got), expected, "{target} for {accept}");
        if expected == "200 app" {
            let vary = if target.ends_with(".js") { "Accept" } else { "" };
            assert_eq!((got.header("vary"), got.header("cache-control")), (vary, "no-cache"), "{target}");
        }
    }
    for (target, contained) in [("/d/?format=json", "\"name\":\"x\""), ("/d/?format=html", "<h1")] {
        assert!(get(&handler, target).text().contains(contained), "{target}");
    }
    folder.write("index.html", "new");
    assert_eq!(line(&get(&handler, "/users/7")), "200 new");
    fs::remove_file(folder.path("index.html")).unwrap();
    assert_eq!(line(&get(&handler, "/users/7")), "404");
}

/// The app page has the same fields, tag, codings, conditions and ranges at each of its paths.
#[test]
fn the_app_page_is_the_same_at_every_path() {
    let page = format!("<p>{}", "app ".repeat(1000));
    let folder = Folder::new(&[("index.html", &page), ("d/x", "")]);
    folder.write("index.html.gz", "zipped");
    wait_for_age(folder.as_ref(), STILL);
    let handler = folder.handler().app_page("index.html").unwrap().header("X-A", "a").unwrap();
    let handler = handler.header_for("/index.html", "X-B", "b").unwrap().cache_control("*.html", "max-age=5").unwrap();
    let http = Http::new(handler);
    let tag = http.respond(&Request::get("/")).header("etag").unwrap().to_owned();
    for (name, value, status) in [
        ("accept", "*/*", 200),
        ("accept-encoding", "gzip", 200),
        ("if-none-match", &tag, 304),
        ("if-match", "\"other\"", 412),
        ("range", "bytes=0-2", 206),
    ] {
        let asked = |target| {
            let got = http.respond(&Request::get(target).with_header(name, value));
            let fields: Vec<String> =
                got.headers().iter().filter(|(name, _)| *name != "date").map(|field| format!("{field:?}")).collect();
            (got.status().as_u16(), fields, got.body().to_vec())
        };
        let root = asked("/");
        assert_eq!(root.0, status, "{root:?}");
        for target in ["/users/7", "/d", "/d/"] {
            assert_eq!(asked(target), root, "{target} with {name}: {value}");
        }
    }
}

#[test]
fn a_single_file_can_be_served() {
    let folder = Folder::new(&[("one.txt", "one"), ("two.txt", "two"), ("404.html", "page"), ("d/index.html", "")]);
    folder.write_coded("one.txt.gz", "zipped");
    std::os::unix::fs::symlink(folder.path("one.txt"), folder.path(".link")).unwrap();
    wait_for_age(folder.as_ref(), STILL);
    let handler = StaticFileHandler::of_file(folder.path("one.txt")).unwrap();
    for (target, expected) in [
        ("/", "200 one"),
        ("/one.txt", "200 one"),
        ("//one.txt", "301 /one.txt"),
        ("/one.txt/", "404"),
        ("/one.txt.gz", "404"),
        ("/two.txt", "404"),
        ("/404.html", "404"),
        ("/d/", "404"),
        ("/d", "404"),
        ("/..", "400"),
    ] {
        assert_eq!(line(&settled(&folder, &handler, &Request::get(target))), expected, "{target}");
    }
    let got = ask(&handler, &Request::get("/").with_header("accept-encoding", "gzip"));
    assert_eq!((got.text(), got.header("content-encoding")), ("zipped".into(), "gzip"));
    folder.write("one.txt", "another");
    assert_eq!(line(&get(&handler, "/")), "200 another");
    let link = StaticFileHandler::of_file(folder.path(".link")).unwrap().prefix("/x").unwrap();
    assert_eq!([line(&get(&link, "/x/")), line(&get(&link, "/x/.link"))], ["200 another", "200 another"]);
}

#[test]
fn fields_can_be_set_for_matching_files() {
    let folder = Folder::new(&[("a.css", ""), ("b/a.css", ""), ("b/a.js", "")]);
    let handler = folder.handler().header_for("*.css", "x-a", "css").and_then(|it| it.header_for("/b/", "x-b", "b"));
    let handler = handler.unwrap();
    for (target, fields) in
        [("/a.css", ["css", ""]), ("/b/a.css", ["css", "b"]), ("/b/a.js", ["", "b"]), ("/b/", ["", ""])]
    {
        let got = get(&handler, target);
        assert_eq!([got.header("x-a"), got.header("x-b")], fields, "{target}");
    }
}

#[test]
fn large_files_and_empty_ones() {
    let folder = Folder::new(&[("empty", "")]);
    for (name, size) in [("a", 1), ("b", 64 << 10), ("c", (64 << 10) + 1), ("d", 1 << 20), ("e", (1 << 20) + 1)] {
        folder.write(name, vec![name.as_bytes()[0]; size]);
    }
    for handler in [folder.handler(), folder.handler().cache(0, 0, 0), folder.handler().cache(10, 10, 10)] {
        for (name, size) in
            [("empty", 0), ("a", 1), ("b", 64 << 10), ("c", (64 << 10) + 1), ("d", 1 << 20), ("e", (1 << 20) + 1)]
        {
            for _ in 0..2 {
                let got = settled(&folder, &handler, &Request::get(&format!("/{name}")));
                assert_eq!(got.body.len(), size, "{name}");
                assert!(got.body.iter().all(|&byte| byte == name.as_bytes()[0]), "{name}");
            }
        }
    }
}

#[test]
fn reserved_fields_cannot_be_set() {
    let folder = Folder::new(&[]);
    for (name, own) in [
        ("Content-Length", true),
        ("transfer-encoding", true),
        ("TRAILER", true),
        ("te", true),
        ("connection", true),
        ("keep-alive", true),
        ("proxy-connection", true),
        ("upgrade", true),
        ("date", true),
        ("content-type", true),
        ("content-encoding", true),
        ("content-range", true),
        ("etag", true),
        ("last-modified", true),
        ("location", true),
        ("allow", true),
        ("accept-ranges", false),
        ("cache-control", false),
        ("content-disposition", false),
        ("content-language", false),
        ("link", false),
        ("server", false),
        ("strict-transport-security", false),
        ("vary", false),
        ("x-content-type-options", false),
    ] {
        let set = folder.handler().header(name, "none");
        let expected =
            format!("the field `{}` cannot be set: the server derives it for each response", name.to_lowercase());
        match set {
            Ok(_) => assert!(!own, "the field {name} must be rejected"),
            Err(error) => assert_eq!((own, error.to_string()), (true, expected), "{name}"),
        }
    }
}

#[test]
fn invalid_settings_are_rejected() {
    let folder = Folder::new(&[]);
    let handler = || folder.handler();
    for (what, refused) in [
        ("an invalid name", handler().header("a b", "c").is_err()),
        ("a line break", handler().header("a", "b\r\nc: d").is_err()),
        ("the file's own", handler().header("Content-Type", "a/b").is_err()),
        ("a type with a line break", handler().mime("a", "b\n").is_err()),
        ("no extension", handler().mime("", "a/b").is_err()),
        ("two extensions", handler().mime("tar.gz", "a/b").is_err()),
        ("a default with a line break", handler().default_type("a\nb").is_err()),
        ("a caching with a line break", handler().cache_control("*", "a\nb").is_err()),
        ("an empty pattern", handler().cache_control("", "no-store").is_err()),
        ("an index in a folder", handler().index(["a/b"]).is_err()),
        ("an index above", handler().index([".."]).is_err()),
        ("a page above", handler().error_page(404, "../404.html").is_err()),
        ("a page for a success", handler().error_page(200, "200.html").is_err()),
        ("no page", handler().error_page(404, "/").is_err()),
        ("no page of an app", handler().app_page("").is_err()),
        ("a page of an app above", handler().app_page("../index.html").is_err()),
        ("an empty pattern for a field", handler().header_for("", "a", "b").is_err()),
        ("the file's own by a pattern", handler().header_for("*", "ETag", "b").is_err()),
        ("no file", StaticFileHandler::of_file(folder.path("nowhere")).is_err()),
        ("a folder as a file", StaticFileHandler::of_file(folder.path(".")).is_err()),
        ("a device as a file", StaticFileHandler::of_file("/dev/null").is_err()),
    ] {
        assert!(refused, "{what}");
    }
    let missing = StaticFileHandler::new(folder.path("nowhere")).unwrap_err();
    assert_eq!(missing.to_string(), format!("{}: no such folder", folder.path("nowhere").display()));
}
