//! The page of a folder.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

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
