//! The page of a folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use modest::{Http, Method, Request};
use sha2::{Digest, Sha256};

use super::{Folder, get, line};

/// Each link of a page's rows: its target and its text.
fn links(page: &str) -> Vec<(String, String)> {
    page.split("<td><a href=\"")
        .skip(1)
        .map(|rest| {
            let (href, rest) = rest.split_once("\">").unwrap();
            (href.to_owned(), rest.split_once("</a>").unwrap().0.to_owned())
        })
        .collect()
}

/// The targets of a page's rows, in a line.
fn shown(handler: &modest::StaticFileHandler, target: &str) -> String {
    links(&get(handler, target).text()).into_iter().map(|(href, _)| href).collect::<Vec<_>>().join(" ")
}

fn date(folder: &Folder, path: &str, time: SystemTime) {
    File::open(folder.path(path)).unwrap().set_modified(time).unwrap();
}

#[test]
fn every_name_is_escaped_and_its_link_works() {
    let folder = Folder::new(&[]);
    let longest = [b'x'; 255];
    let long_href = "x".repeat(255);
    let names: [(&[u8], &str, &str); 16] = [
        (b"a b", "a%20b", "a b"),
        (b"100%", "100%25", "100%"),
        (b"?#", "%3F%23", "?#"),
        (b"a:b", "a%3Ab", "a:b"),
        (b"javascript:alert(1)", "javascript%3Aalert%281%29", "javascript:alert(1)"),
        (b"!$()*+,;=@[]^`{|}", "%21%24%28%29%2A%2B%2C%3B%3D%40%5B%5D%5E%60%7B%7C%7D", "!$()*+,;=@[]^`{|}"),
        (b"a-b_c~d.E9", "a-b_c~d.E9", "a-b_c~d.E9"),
        (b"%41", "%2541", "%41"),
        (&longest, &long_href, &long_href),
        (b"\"><script>", "%22%3E%3Cscript%3E", "&quot;&gt;&lt;script&gt;"),
        (b"it's & that", "it%27s%20%26%20that", "it&#39;s &amp; that"),
        (b"\\evil.example", "%5Cevil.example", "\\evil.example"),
        (b"line\nbreak", "line%0Abreak", "line\u{fffd}break"),
        (b"\xff\xfe", "%FF%FE", "\u{fffd}\u{fffd}"),
        ("日本".as_bytes(), "%E6%97%A5%E6%9C%AC", "日本"),
        (b"&amp;", "%26amp%3B", "&amp;amp;"),
    ];
    for (name, ..) in names {
        fs::write(folder.as_ref().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let handler = folder.handler();
    let got = get(&handler, "/");
    assert_eq!(got.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(got.header("cache-control"), "no-cache");
    let links = links(&got.text());
    assert_eq!(links.len(), names.len(), "{links:?}");
    for (name, href, shown) in names {
        assert!(links.contains(&(href.to_owned(), shown.to_owned())), "{shown}: {links:?}");
        let file = get(&handler, &format!("/{href}"));
        assert_eq!(file.body, name, "the link of {shown} must lead to it");
    }
}

#[test]
fn listed_entries_are_exactly_those_served() {
    let folder = Folder::new(&[
        ("b.txt", "12345"),
        ("A.txt", ""),
        ("z/x", ""),
        ("Y/x", ""),
        (".hidden", ""),
        (".well-known/x", ""),
        ("z/.hidden/x", ""),
    ]);
    let outside = Folder::new(&[("secret", "secret")]);
    symlink("b.txt", folder.path("link")).unwrap();
    symlink("z", folder.path("link-folder")).unwrap();
    symlink(outside.path("secret"), folder.path("out")).unwrap();
    symlink("nowhere", folder.path("dangling")).unwrap();
    super::system::fifo(folder.path("fifo"));
    use modest::Symlinks::{Deny, Follow};
    assert_eq!(shown(&folder.handler(), "/"), ".well-known/ link-folder/ Y/ z/ A.txt b.txt link");
    assert_eq!(shown(&folder.handler().symlinks(Deny), "/"), ".well-known/ Y/ z/ A.txt b.txt");
    assert_eq!(shown(&folder.handler().symlinks(Follow), "/"), ".well-known/ link-folder/ Y/ z/ A.txt b.txt link out");
    assert_eq!(shown(&folder.handler(), "/z/"), "../ x");
    assert_eq!(shown(&folder.handler().hidden(true), "/z/"), "../ .hidden/ x");
    assert_eq!(shown(&folder.handler().prefix("/p").unwrap(), "/p/Y/"), "../ x");
    let handler = folder.handler();
    for href in shown(&handler, "/").split(' ') {
        let got = get(&handler, &format!("/{href}"));
        assert_eq!(got.status, 200, "{href}");
    }
    assert_eq!(line(&get(&handler, "/z")), "301 /z/");
}

/// Each number that a page shows, and its place.
#[test]
fn a_row_shows_size_and_time() {
    let folder = Folder::new(&[("sub/x", "")]);
    for (size, time, expected) in [
        (5, -1, "<td title=5>5 B<td><time datetime=1969-12-31T23:59Z>1969-12-31 23:59</time>"),
        (0, 951_868_799, "<td title=0>0 B<td><time datetime=2000-02-29T23:59Z>2000-02-29 23:59</time>"),
        (
            123_456_789_012,
            0,
            "<td title=123456789012>115 GiB<td><time datetime=1970-01-01T00:00Z>1970-01-01 00:00</time>",
        ),
    ] {
        let file = File::create(folder.path("a")).unwrap();
        file.set_len(size).unwrap();
        let (past, future) =
            (SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(1)), Duration::from_secs(time as u64));
        file.set_modified(if time < 0 { past.unwrap() } else { SystemTime::UNIX_EPOCH + future }).unwrap();
        let page = get(&folder.handler(), "/").text();
        let row = page.lines().find(|line| line.contains("\"a\"")).unwrap_or_default();
        assert_eq!(row, format!("<tr><td><a href=\"a\">a</a>{expected}"), "{page}");
        assert!(row.len() <= 115 + 2 * "a".len(), "{} bytes: {row}", row.len());
        assert!(page.contains("<tr><td><a href=\"sub/\">sub/</a><td><td><time datetime="), "{page}");
    }
    assert!(
        get(&folder.handler(), "/").text().contains(">Modified <i>UTC</i></button>"),
        "the listing must name the time zone"
    );
}

#[test]
fn the_first_line_shows_the_counts() {
    let folder = Folder::new(&[("a", ""), ("b/x", "")]);
    let handler = folder.handler();
    assert!(
        get(&handler, "/").text().contains("<p><span id=n>1 folder, 1 file</span></p>"),
        "{}",
        get(&handler, "/").text()
    );
    assert!(get(&handler, "/b/").text().contains("<p><span id=n>1 file</span></p>"), "`..` is not counted");
    for number in 0..1200 {
        folder.write(&format!("{number}"), "");
    }
    assert!(
        get(&handler, "/").text().contains("<p><span id=n>1 folder, 1,201 files</span></p>"),
        "the counts come before the rows, even of many names"
    );
}

/// A page without rows is small.
#[test]
fn the_page_is_small_and_self_contained() {
    let page = get(&Folder::new(&[]).handler(), "/").text();
    assert!(page.len() <= 12 << 10, "{} bytes", page.len());
    for foreign in ["http:", "https:", "//", "@import", " style=", " onclick="] {
        assert!(!page.contains(foreign), "{foreign}: {page}");
    }
    assert!(page.contains("<link rel=icon href=\"data:,\">"), "browsers must not request an icon");
}

/// Only the style and the script with the expected hashes are allowed, so no name can add another one.
#[test]
fn the_policy_allows_only_the_pages_own_content() {
    let folder = Folder::new(&[("a/b", "")]);
    let takes = folder.handler().uploads(modest::Uploads::new());
    let deletes = folder.handler().uploads(modest::Uploads::new().delete(true));
    for (handler, is_taking) in [(&folder.handler(), false), (&takes, true), (&deletes, true)] {
        for target in ["/", "/a/", "/?sort=-size"] {
            let got = get(handler, target);
            let page = got.text();
            let hashes = |tag: &str| {
                let parts: Vec<&str> = page.split(&format!("<{tag}>")).skip(1).collect();
                assert_eq!(parts.len(), if is_taking { 2 } else { 1 }, "{tag}: {page}");
                let content = parts.iter().map(|part| part.split_once(&format!("</{tag}>")).unwrap().0);
                let hash = |text: &str| format!(" 'sha256-{}'", base64(&Sha256::digest(text)));
                format!("{tag}-src{}", content.map(hash).collect::<String>())
            };
            let (style, script) = (hashes("style"), hashes("script"));
            let mut expected =
                vec!["default-src 'none'", "img-src 'self' data:", &style, &script, "connect-src 'self'"];
            let frames = if is_taking { "frame-ancestors 'none'" } else { "frame-ancestors 'self'" };
            expected.extend(["form-action 'self'", "base-uri 'none'", frames]);
            assert_eq!(got.header("content-security-policy"), expected.join("; "), "{target}");
        }
    }
}

#[test]
fn only_folders_that_accept_uploads_have_a_form() {
    let folder = Folder::new(&[("a", "")]);
    let page = |uploads: Option<modest::Uploads>| match uploads {
        Some(uploads) => get(&folder.handler().uploads(uploads), "/").text(),
        None => get(&folder.handler(), "/").text(),
    };
    let (plain, takes) = (page(None), page(Some(modest::Uploads::new())));
    let deletes = page(Some(modest::Uploads::new().delete(true)));
    let form = |page: &str| page.split_once("<form id=u").map(|(_, form)| form.split_once('>').unwrap().0.to_owned());
    let method = " method=post enctype=multipart/form-data";
    assert_eq!(form(&plain), None, "{plain}");
    assert!(form(&takes).unwrap().ends_with(&format!(" data-o=refuse{method}")), "{takes}");
    assert!(form(&deletes).unwrap().ends_with(&format!(" data-o=refuse data-d{method}")), "{deletes}");
    let all = modest::Uploads::new().max_size(7).at_once(3).overwrite(modest::Overwrite::Replace);
    let all = page(Some(all.resumable(1, Duration::from_secs(1))));
    assert_eq!(form(&all).unwrap(), format!(" data-e=3 data-o=replace data-r data-m=7{method}"), "{all}");
    // A page with all its parts, but without names.
    assert!(deletes.len() <= 31 << 10, "{} bytes", deletes.len());
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_usize, |bits, &byte| bits << 8 | usize::from(byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            text.push(if at <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[test]
fn the_heading_links_to_parent_folders() {
    let folder = Folder::new(&[("a b/<c>/x", "")]);
    for (handler, target, expected) in [
        (folder.handler(), "/", "<span aria-current=page>/</span>"),
        (folder.handler(), "/a%20b/", "<a href=\"../\">/</a><span aria-current=page>a b/</span>"),
        (
            folder.handler().prefix("/p/q").unwrap(),
            "/p/q/a%20b/%3Cc%3E/?sort=time",
            "<a href=\"../../?sort=time\">/p/q/</a><a href=\"../?sort=time\">a b/</a>\
             <span aria-current=page>&lt;c&gt;/</span>",
        ),
    ] {
        let page = get(&handler, target).text();
        assert!(page.contains(&format!("<h1 id=h>{expected}</h1>")), "{target}: {page}");
    }
}

/// Folders come first, then names in natural order. Folders have no size.
#[test]
fn listings_are_sorted_as_requested() {
    let folder = Folder::new(&[("a10", "333"), ("a9", "22"), ("B", "22"), ("c", "1"), ("y/x", ""), ("z/x/x", "")]);
    let start = SystemTime::now() - Duration::from_secs(86_400);
    for (path, seconds) in [("a10", 2), ("a9", 1), ("B", 4), ("c", 4), ("y", 9), ("z", 8)] {
        date(&folder, path, start + Duration::from_secs(seconds));
    }
    let handler = folder.handler();
    let headings = |target: &str| {
        let page = get(&handler, target).text();
        let head = page.split_once("<thead>").unwrap().1.split_once("<tbody>").unwrap().0.to_owned();
        let buttons: Vec<&str> = head.split("value=").skip(1).map(|rest| rest.split_once('>').unwrap().0).collect();
        let sorted = head.split("aria-sort=").skip(1).map(|rest| rest.split_once('>').unwrap().0).collect::<String>();
        format!("{sorted} {}", buttons.join(" "))
    };
    let by_name = "y/ z/ a9 a10 B c";
    for (target, expected, expected_headings) in [
        ("/", by_name, "ascending -name -size -time"),
        ("/?sort=name", by_name, "ascending -name -size -time"),
        ("/?sort=-name", "z/ y/ c B a10 a9", "descending name -size -time"),
        ("/?sort=size", "y/ z/ c a9 B a10", "ascending name -size -time"),
        ("/?sort=-size", "y/ z/ a10 a9 B c", "descending name size -time"),
        ("/?sort=time", "z/ y/ a9 a10 B c", "ascending name -size -time"),
        ("/?sort=-time", "y/ z/ B c a10 a9", "descending name -size time"),
        ("/?sort=colour", by_name, "ascending -name -size -time"),
        ("/?x=y", by_name, "ascending -name -size -time"),
    ] {
        let query = target.strip_prefix('/').filter(|_| expected_headings.starts_with('d') || expected != by_name);
        let query = query.filter(|query| *query != "?sort=name").unwrap_or_default();
        let expected = expected.replace("/", &format!("/{query}"));
        assert_eq!(shown(&handler, target), expected, "{target}");
        assert_eq!(headings(target), expected_headings, "{target}");
    }
    assert_eq!(
        shown(&handler, "/z/?sort=-size"),
        "../?sort=-size x/?sort=-size",
        "links to folders must keep the order"
    );
    assert_eq!(line(&get(&handler, "/z?sort=-size")), "301 /z/?sort=-size");
}

/// The order is the same if the page is written while it is sent.
#[test]
fn a_large_folder_is_sorted() {
    let folder = Folder::new(&[]);
    for number in 0..1500 {
        folder.write(&format!("{number}"), "x".repeat(number * 7 % 1500));
    }
    let handler = folder.handler();
    let expected = |sign: i64| {
        let mut numbers: Vec<i64> = (0..1500).collect();
        numbers.sort_by_key(|number| sign * (number * 7 % 1500));
        numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(shown(&handler, "/?sort=size"), expected(1));
    assert_eq!(shown(&handler, "/?sort=-size"), expected(-1));
}

/// Each block of 100 rows has the height of 100 rows before the browser lays it out. The remaining rows have no block.
#[test]
fn rows_are_grouped_in_blocks() {
    for (count, expected) in
        [(0, ""), (1, "1"), (99, "99"), (100, "b100"), (101, "b100 1"), (1200, &"b100 ".repeat(12))]
    {
        let folder = Folder::new(&[]);
        for number in 0..count {
            folder.write(&format!("{number}"), "");
        }
        let page = get(&folder.handler(), "/").text();
        let blocks = page.split("<tbody").skip(1).map(|block| {
            let class = if block.starts_with(" class=b>") { "b" } else { "" };
            format!("{class}{}", block.matches("<tr>").count())
        });
        assert_eq!(blocks.collect::<Vec<_>>().join(" "), expected.trim(), "{count} names");
    }
}

#[test]
fn listings_are_available_as_json() {
    let folder = Folder::new(&[("sub/x", ""), ("\"a\\\n", "12345")]);
    fs::write(folder.as_ref().join(OsStr::from_bytes(b"\xff")), "").unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(951_868_799);
    for path in ["sub", "\"a\\\n"] {
        date(&folder, path, time);
    }
    File::open(folder.as_ref().join(OsStr::from_bytes(b"\xff"))).unwrap().set_modified(time).unwrap();
    let expected = serde_json::json!([
        { "name": "sub", "kind": "folder", "size": null, "modified": "2000-02-29T23:59:59Z" },
        { "name": "\"a\\\n", "kind": "file", "size": 5, "modified": "2000-02-29T23:59:59Z" },
        { "name": "\u{fffd}", "href": "%FF", "kind": "file", "size": 0, "modified": "2000-02-29T23:59:59Z" },
    ]);
    let parsed =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_else(|why| panic!("{why}: {text}"));
    let handler = folder.handler();
    let request = Request::get("/").with_header("accept", "application/json");
    for (what, got) in [("accept", super::ask(&handler, &request)), ("query", get(&handler, "/?format=json"))] {
        assert_eq!(got.header("content-type"), "application/json", "{what}");
        assert_eq!(got.header("vary"), "Accept", "{what}");
        assert_eq!(parsed(&got.text()), expected, "{what}");
        assert_ne!(got.header("etag"), get(&handler, "/").header("etag"), "{what}");
    }
    assert_eq!(get(&handler, "/").header("vary"), "Accept", "the page also needs Vary");
    let tag = || get(&handler, "/?format=json").header("etag").to_owned();
    let before = tag();
    date(&folder, "sub", time + Duration::from_secs(1));
    assert_ne!(tag(), before, "the tag must change a second later");
    assert_eq!(parsed(&get(&Folder::new(&[]).handler(), "/?format=json").text()), serde_json::json!([]));
    for number in 0..1500 {
        folder.write(&format!("many/{number}"), "x");
    }
    let many = parsed(&get(&handler, "/many/?format=json&sort=-name").text());
    let names: Vec<&str> = many.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names.len(), names[0], names[1499]), (1500, "1499", "0"), "a long listing must be complete");
}

/// The handler keeps its folder open, so the folder can lose its name. It must not look empty.
#[test]
fn a_removed_folder_is_not_listed_as_empty() {
    let folder = Folder::new(&[("site/sub/x", "")]);
    fs::remove_file(folder.path("site/sub/x")).unwrap();
    let handler = modest::StaticFileHandler::new(folder.path("site")).unwrap();
    assert_eq!(line(&get(&handler, "/sub/")), "200 listing");
    for (removed, target) in [("site/sub", "/sub/"), ("site", "/")] {
        fs::remove_dir(folder.path(removed)).unwrap();
        assert_eq!(line(&get(&handler, target)), "404", "{target} without {removed}");
    }
    folder.write("site/new", "");
    assert_eq!(line(&get(&handler, "/")), "200 listing", "another folder at the path");
}

#[test]
fn the_title_is_escaped() {
    let folder = Folder::new(&[("<b>&/x", "")]);
    let page = get(&folder.handler(), "/%3Cb%3E&/").text();
    assert!(page.contains("<title>&lt;b&gt;&amp;/ – Index of /&lt;b&gt;&amp;/</title>"), "{page}");
    assert!(!page.contains("<b>"), "{page}");
}

#[test]
fn a_large_folder() {
    let folder = Folder::new(&[]);
    let count = 5_000;
    for number in 0..count {
        File::create(folder.path(&format!("{number:05}"))).unwrap();
    }
    let handler = folder.handler();
    let started = Instant::now();
    let response = modest::RequestHandler::do_get(&handler, &modest::Request::get("/")).unwrap();
    assert_eq!(response.length(), None, "a long listing is sent without a length");
    let page = String::from_utf8(response.into_bytes().unwrap()).unwrap();
    let links = links(&page);
    assert_eq!(links.len(), count);
    assert!(links.is_sorted());
    assert!(page.ends_with("</script>\n"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// Requests the listing in `threads` threads at once. No page is read before all threads have theirs.
fn at_once(handler: &modest::StaticFileHandler, threads: usize) -> Vec<Result<modest::Response, u16>> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            modest::RequestHandler::do_get(handler, &Request::get("/")).map_err(|error| error.status().as_u16())
        };
        let asking: Vec<_> = (0..threads).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// 32 pages of 2.6 MB would exceed the limit of memory, so they share the entries.
#[test]
fn many_requests_for_a_huge_folder_share_memory() {
    let folder = Folder::new(&[]);
    let name = "n".repeat(240);
    let count = 10_000;
    for number in 0..count {
        File::create(folder.path(&format!("{name}{number:06}"))).unwrap();
    }
    let handler = folder.handler();
    let pages = at_once(&handler, 32);
    let refused: Vec<_> = pages.iter().filter_map(|page| page.as_ref().err()).collect();
    assert_eq!(refused, [&0; 0], "listings were rejected although they share memory");
    for page in pages.into_iter().take(2) {
        let page = String::from_utf8(page.unwrap().into_bytes().unwrap()).unwrap();
        assert_eq!(links(&page).len(), count);
    }
}

/// Different pages have different tags; changes that a page does not show leave its tag unchanged.
#[test]
fn the_tag_depends_on_what_is_shown() {
    let folder = Folder::new(&[("a", "a"), ("b", "b"), ("sub/x", "")]);
    let many = Folder::new(&[]);
    for number in 0..1001 {
        many.write(&format!("{number}"), "");
    }
    let old = SystemTime::now() - Duration::from_secs(86_400);
    let minute = Duration::from_secs(60);
    for (what, folder, first) in [("buffered", &folder, "a"), ("streamed", &many, "0")] {
        let handler = folder.handler();
        date(folder, first, old);
        let tag = || get(&handler, "/").header("etag").to_owned();
        assert!(tag().starts_with('"'), "{what}: a strong one, {}", tag());
        let mut tags = vec![tag()];
        assert_eq!(tag(), tags[0], "{what}: the tag changed without a visible change");
        let changes: [(&str, &dyn Fn()); 6] = [
            ("a size", &|| folder.write(first, "longer")),
            ("a date", &|| date(folder, first, old + 2 * minute)),
            ("a new name", &|| folder.write("new", "")),
            ("another name", &|| fs::rename(folder.path("new"), folder.path("newer")).unwrap()),
            ("a folder of that name", &|| {
                fs::remove_file(folder.path("newer")).unwrap();
                fs::create_dir(folder.path("newer")).unwrap();
            }),
            ("a name less", &|| fs::remove_dir(folder.path("newer")).unwrap()),
        ];
        for (change, make) in changes {
            make();
            let now = tag();
            let again = change == "a name less" && now == tags[2]; // as it was before
            assert!(again || !tags.contains(&now), "{what}: {change}: {now} in {tags:?}");
            tags.push(now);
        }
        let before = tag();
        folder.write(".hidden", "");
        folder.write(first, "LONGER");
        date(folder, first, old + 2 * minute);
        assert_eq!(tag(), before, "{what}: the tag changed although the change is not shown");
    }
    assert_ne!(
        get(&folder.handler(), "/").header("etag"),
        get(&folder.handler().prefix("/p").unwrap(), "/p/").header("etag"),
        "another title"
    );
}

/// Through `Http`: a tag gives a 304 as long as nothing changes.
#[test]
fn listings_support_conditional_requests() {
    let folder = Folder::new(&[("a", "a")]);
    for number in 0..1001 {
        folder.write(&format!("many/{number}"), "");
    }
    let http = Http::new(folder.handler()).access_log(None);
    let ask = |method, target: &str, tag: &str| {
        let request = Request::new(method, target).unwrap().with_header("if-none-match", tag);
        let response = http.respond(&request);
        (response.status().as_u16(), response.header("etag").unwrap_or_default().to_owned())
    };
    for (target, file) in [("/", "a"), ("/many/", "many/0")] {
        let (status, tag) = ask(Method::GET, target, "\"other\"");
        assert_eq!((status, tag.is_empty()), (200, false), "{target}");
        for (method, sent, expected) in [
            (Method::GET, tag.clone(), 304),
            (Method::HEAD, tag.clone(), 304),
            (Method::GET, format!("W/{tag}, \"x\""), 304),
            (Method::HEAD, "\"other\"".to_owned(), 200),
        ] {
            assert_eq!(ask(method.clone(), target, &sent), (expected, tag.clone()), "{method} {target}, {sent}");
        }
        folder.write(file, "longer");
        let (status, newer) = ask(Method::GET, target, &tag);
        assert_eq!((status, newer != tag), (200, true), "{target}: the tag must change with a file in the folder");
    }
}

/// The layer compresses pages, and requests with a tag still get a 304.
#[test]
fn the_compress_layer_compresses_listings() {
    use modest::RequestHandler;
    let folder = Folder::new(&[]);
    for number in 0..1500 {
        folder.write(&format!("many/a name like others {number}"), "");
    }
    for number in 0..100 {
        folder.write(&format!("few/a name like others {number}"), "");
    }
    let http = Http::new(folder.handler().layer(modest::layers::Compress::new())).access_log(None);
    for target in ["/few/", "/many/", "/many/?format=json"] {
        let request = || Request::get(target).with_header("accept-encoding", "gzip");
        let (plain, coded) = (http.respond(&Request::get(target)), http.respond(&request()));
        assert_eq!(coded.header("content-encoding"), Some("gzip"), "{target}");
        assert_eq!(coded.header("vary"), Some("Accept, Accept-Encoding"), "{target}");
        let (plain, coded_length) = (plain.body().len(), coded.body().len());
        assert!(coded_length * 4 < plain, "{target}: {coded_length} of {plain}");
        let tag = coded.header("etag").unwrap_or_default();
        let again = http.respond(&request().with_header("if-none-match", tag));
        assert_eq!(again.status(), 304, "{target}, {tag}");
    }
}

/// Names are created and removed while a folder is listed: each page is complete, and has each unchanged name once.
#[test]
fn a_folder_changed_during_listing_gives_a_complete_page() {
    let folder = Folder::new(&[]);
    for number in 0..1500 {
        folder.write(&format!("stays-{number:04}"), "");
    }
    let handler = folder.handler();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in (0_usize..).take_while(|_| !ended.load(Relaxed)) {
                folder.write(&format!("comes-{}", round % 50), "x");
                let _ = fs::remove_file(folder.path(&format!("comes-{}", (round + 25) % 50)));
                let _ = fs::rename(folder.path("moves-1"), folder.path("moves-2"));
                folder.write("moves-1", "");
            }
        });
        for _ in 0..20 {
            let page = get(&handler, "/").text();
            let names: Vec<String> = links(&page).into_iter().map(|(href, _)| href).collect();
            let staying: Vec<&String> = names.iter().filter(|name| name.starts_with("stays-")).collect();
            assert!(staying.len() == 1500 && staying.is_sorted(), "{} stay: {staying:?}", staying.len());
            assert!(page.ends_with("</script>\n"), "{page}");
        }
        ended.store(true, Relaxed);
    });
}

/// Names that could look like others or break a line are escaped in the text and complete in the link.
#[test]
fn misleading_names() {
    let folder = Folder::new(&[]);
    for (name, href, shown) in [
        ("photo\u{202e}gpj.exe", "photo%E2%80%AEgpj.exe", "photo\u{fffd}gpj.exe"),
        ("\u{2066}a\u{2069}", "%E2%81%A6a%E2%81%A9", "\u{fffd}a\u{fffd}"),
        ("a\u{200f}\u{61c}\u{200e}", "a%E2%80%8F%D8%9C%E2%80%8E", "a\u{fffd}\u{fffd}\u{fffd}"),
        ("\u{1b}[31m\r\n\t", "%1B%5B31m%0D%0A%09", "\u{fffd}[31m\u{fffd}\u{fffd}\u{fffd}"),
        ("\u{85}", "%C2%85", "\u{fffd}"),
    ] {
        folder.write(&format!("{name}/x"), "");
        let page = get(&folder.handler(), "/").text();
        let link = (format!("{href}/"), format!("{shown}/"));
        assert!(links(&page).contains(&link), "{}: {:?}", name.escape_unicode(), links(&page));
        let inner = get(&folder.handler(), &format!("/{href}/")).text();
        let title = format!("<title>{shown}/ – Index of /{shown}/</title>");
        assert!(inner.contains(&title), "{}: {inner}", name.escape_unicode());
        assert!(inner.contains(&format!("<span aria-current=page>{shown}/</span>")), "{}", name.escape_unicode());
    }
}
