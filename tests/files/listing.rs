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

use super::{Folder, get, line};

/// Every link of a page: where it leads, and what it says.
fn links(page: &str) -> Vec<(String, String)> {
    page.split("<a href=\"")
        .skip(1)
        .map(|rest| {
            let (href, rest) = rest.split_once("\">").unwrap();
            (href.to_owned(), rest.split_once("</a>").unwrap().0.to_owned())
        })
        .collect()
}

#[test]
fn every_name_is_escaped_and_leads_back() {
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
    assert!(got.header("content-security-policy").contains("default-src 'none'"));
    let links = links(&got.text());
    assert_eq!(links.len(), names.len(), "{links:?}");
    for (name, href, shown) in names {
        assert!(links.contains(&(href.to_owned(), shown.to_owned())), "{shown}: {links:?}");
        let file = get(&handler, &format!("/{href}"));
        assert_eq!(file.body, name, "{shown} by its link");
    }
}

#[test]
fn what_is_shown_is_what_is_served() {
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
    rustix::fs::mknodat(rustix::fs::CWD, folder.path("fifo"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    let shown = |handler: &modest::StaticFileHandler, target: &str| {
        links(&get(handler, target).text()).into_iter().map(|(href, _)| href).collect::<Vec<_>>().join(" ")
    };
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
    assert!(get(&handler, "/").text().contains("<td>5 B<td>"), "a size");
    File::options()
        .write(true)
        .open(folder.path("b.txt"))
        .unwrap()
        .set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(1))
        .unwrap();
    assert!(get(&handler, "/").text().contains("<td>5 B<td>1969-12-31 23:59"), "a date before 1970");
    assert_eq!(line(&get(&handler, "/z")), "301 /z/");
}

/// The handler holds its folder open, so that the name alone may go: that is no empty folder.
#[test]
fn a_removed_folder_is_not_an_empty_one() {
    let folder = Folder::new(&[("site/sub/x", "")]);
    fs::remove_file(folder.path("site/sub/x")).unwrap();
    let handler = modest::StaticFileHandler::new(folder.path("site")).unwrap();
    assert_eq!(line(&get(&handler, "/sub/")), "200 listing");
    for (removed, target) in [("site/sub", "/sub/"), ("site", "/")] {
        fs::remove_dir(folder.path(removed)).unwrap();
        assert_eq!(line(&get(&handler, target)), "404", "{target} without {removed}");
    }
    folder.write("site/new", "");
    assert_eq!(line(&get(&handler, "/")), "200 listing", "another one stands there");
}

#[test]
fn the_title_is_escaped() {
    let folder = Folder::new(&[("<b>&/x", "")]);
    let page = get(&folder.handler(), "/%3Cb%3E&/").text();
    assert!(page.contains("<title>Index of /&lt;b&gt;&amp;/</title>"), "{page}");
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
    assert_eq!(response.length(), None, "it is written while it is sent");
    let page = String::from_utf8(response.into_bytes().unwrap()).unwrap();
    let links = links(&page);
    assert_eq!(links.len(), count);
    assert!(links.is_sorted());
    assert!(page.ends_with("</table>\n"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// A handler's listing in `threads` threads at once, each with a page it does not read before all have theirs.
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

/// 32 times 2.6 MB are more than may be held: they share what is read.
#[test]
fn a_huge_folder_for_many_at_once() {
    let folder = Folder::new(&[]);
    let name = "n".repeat(240);
    let count = 10_000;
    for number in 0..count {
        File::create(folder.path(&format!("{name}{number:06}"))).unwrap();
    }
    let handler = folder.handler();
    let pages = at_once(&handler, 32);
    let refused: Vec<_> = pages.iter().filter_map(|page| page.as_ref().err()).collect();
    assert_eq!(refused, [&0; 0], "none is refused, though all are held at once");
    for page in pages.into_iter().take(2) {
        let page = String::from_utf8(page.unwrap().into_bytes().unwrap()).unwrap();
        assert_eq!(links(&page).len(), count);
    }
}

/// Whatever is shown, a tag tells it from all else; and what is not shown changes no tag.
#[test]
fn the_tag_is_of_what_is_shown() {
    let folder = Folder::new(&[("a", "a"), ("b", "b"), ("sub/x", "")]);
    let many = Folder::new(&[]);
    for number in 0..1001 {
        many.write(&format!("{number}"), "");
    }
    let old = SystemTime::now() - Duration::from_secs(86_400);
    let date = |folder: &Folder, path: &str, time| File::open(folder.path(path)).unwrap().set_modified(time).unwrap();
    let minute = Duration::from_secs(60);
    for (what, folder, first) in [("buffered", &folder, "a"), ("streamed", &many, "0")] {
        let handler = folder.handler();
        date(folder, first, old);
        let tag = || get(&handler, "/").header("etag").to_owned();
        assert!(tag().starts_with('"'), "{what}: a strong one, {}", tag());
        let mut tags = vec![tag()];
        assert_eq!(tag(), tags[0], "{what}: nothing changed");
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
            let again = change == "a name less" && now == tags[2]; // what it was before
            assert!(again || !tags.contains(&now), "{what}: {change}: {now} in {tags:?}");
            tags.push(now);
        }
        let before = tag();
        folder.write(".hidden", "");
        folder.write(first, "LONGER");
        date(folder, first, old + 2 * minute);
        assert_eq!(tag(), before, "{what}: what is not shown");
    }
    assert_ne!(
        get(&folder.handler(), "/").header("etag"),
        get(&folder.handler().prefix("/p").unwrap(), "/p/").header("etag"),
        "another title"
    );
}

/// Over a whole server's conversation: a tag that was sent is a 304 as long as nothing changes.
#[test]
fn conditions_on_listings() {
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
        assert_eq!((status, newer != tag), (200, true), "{target}: a file changed, not its folder");
    }
}

/// Names come and go while a folder is listed: each page is whole, and what stays is on all of them, once.
#[test]
fn a_folder_that_changes_while_it_is_listed() {
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
            assert!(page.ends_with("</table>\n"), "{page}");
        }
        ended.store(true, Relaxed);
    });
}

/// Names that would look like others, or break a line: harmless as text, and whole in the link.
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
        assert!(inner.contains(&format!("<title>Index of /{shown}/</title>")), "{}: {inner}", name.escape_unicode());
    }
}
