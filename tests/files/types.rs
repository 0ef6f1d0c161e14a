//! The media type of a file: from its name, and from the beginning of its content if the name is not enough.

use std::path::Path;

use super::{Folder, get};

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const UNKNOWN: &str = "application/octet-stream";

/// Checks each file in memory, and again on disk, where only its beginning is examined.
fn check(rows: &[(&str, &[u8], &str)]) {
    let folder = Folder::new(&[]);
    for (number, (name, content, _)) in rows.iter().enumerate() {
        folder.write(&format!("{number}/{name}"), content);
    }
    for (how, handler) in [("in memory", folder.handler()), ("on disk", folder.handler().cache(512, 0, 0))] {
        for (number, (name, content, expected)) in rows.iter().enumerate() {
            let got = get(&handler, &format!("/{number}/{name}"));
            let start = content[..content.len().min(60)].escape_ascii();
            assert_eq!(got.header("content-type"), *expected, "{name}, {how}: {start}");
            assert_eq!(got.header("x-content-type-options"), "nosniff", "{name}");
            assert_eq!(got.body, *content, "{name}");
        }
    }
}

#[test]
fn a_charset_is_only_declared_for_utf_8() {
    let latin = b"Gr\xfc\xdfe";
    check(&[
        ("a.txt", b"plain", PLAIN),
        ("a.txt", "Grüße".as_bytes(), PLAIN),
        ("a.txt", b"\xef\xbb\xbfwith a mark", PLAIN),
        ("a.txt", latin, "text/plain"),
        ("README", latin, "text/plain"),
        ("a.css", latin, "text/css"),
        ("a.css", b"@charset \"iso-8859-1\"; a {}", "text/css"),
        ("a.css", b"@charset \"UTF-8\"; a {}", "text/css; charset=utf-8"),
        ("a.js", latin, "text/javascript"),
        ("a.xml", b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>", "text/xml"),
        ("a.xml", b"<?xml version=\"1.0\" encoding=\"utf-8\"?><a/>", "text/xml; charset=utf-8"),
        ("a.xml", b"<?xml version=\"1.0\"?><a/>", "text/xml; charset=utf-8"),
        ("a.csv", "ä".as_bytes(), "text/csv; charset=utf-8"),
        ("a.txt", b"\xff\xfea\0b\0", "text/plain"),
        ("a.txt", b"\xfe\xff\0a\0b", "text/plain"),
        ("a.txt", b"cut off: \xc3", "text/plain"),
        ("a.html", b"<p>text", HTML),
        ("a.html", latin, "text/html"),
        ("a.html", b"<meta charset=\"windows-1252\"><p>ASCII so far", "text/html"),
        ("a.html", b"<meta charset=utf8><p>text", HTML),
        ("a.html", b"<meta charset=utf-8><p>\xfc", "text/html"),
        ("a.html", b"<META http-equiv='Content-Type' content='text/html; charset=koi8-r'>\xd4", "text/html"),
        ("a.json", latin, "application/json"),
        ("a.png", b"text", "image/png"),
    ]);
}

#[test]
fn text_of_unknown_type_is_plain_text() {
    let mut stream = vec![0xff; 188 * 4]; // packets of MPEG transport: padding after their headers
    stream.chunks_mut(188).for_each(|packet| packet[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]));
    check(&[
        ("Cargo.toml", b"[package]\n", PLAIN),
        ("a.yaml", b"a: b\n", PLAIN),
        ("a.yml", b"a: b\n", PLAIN),
        ("LICENSE", b"Permission", PLAIN),
        ("LICENSE-MIT", b"Permission", PLAIN),
        ("README.unheard", "ü".as_bytes(), PLAIN),
        ("script", b"#!/bin/sh\n", PLAIN),
        ("page", b"<!DOCTYPE html><script>alert(1)</script>", PLAIN),
        ("page.unheard", b"<html><meta charset=koi8-r>", PLAIN),
        ("latin", b"Gr\xfc\xdfe", "text/plain"),
        ("utf-16", b"\xff\xfea\0", "text/plain"),
        ("empty", b"", PLAIN),
        ("binary", b"\x7fELF\x02\x01\x01\0", UNKNOWN),
        ("nul", b"text\0", UNKNOWN),
        ("colours", b"\x1b[1mbold\x1b[0m\r\n\t\x0c", PLAIN),
        ("a.bin", b"text", UNKNOWN),
        ("main.ts", b"export const a = 1;\n", PLAIN),
        ("main.TS", "// ü\n".as_bytes(), PLAIN),
        ("segment.ts", &stream, "video/mp2t"),
        ("a.m2ts", b"text", "video/mp2t"),
    ]);
}

/// The first 4 KiB of a file on disk are examined, and all of a file in memory.
#[test]
fn only_the_beginning_of_a_file_is_examined() {
    for before in 4090..=4100 {
        let ascii = vec![b'a'; before];
        let then = |bytes: &[u8]| [&ascii[..], bytes].concat();
        check(&[("cut", &then("€".as_bytes()), PLAIN), ("cut", &then("\u{10ffff}".as_bytes()), PLAIN)]);
    }
    let late = [&[b'a'; 5000][..], b"\xfc"].concat();
    let folder = Folder::new(&[]);
    folder.write("late.txt", &late);
    assert_eq!(
        get(&folder.handler(), "/late.txt").header("content-type"),
        "text/plain",
        "the type of a file in memory"
    );
    let unheld = folder.handler().cache(512, 0, 0);
    assert_eq!(
        get(&unheld, "/late.txt").header("content-type"),
        PLAIN,
        "only the first bytes of a file that is not in memory are examined"
    );
}

/// Configured types are not overridden by the content.
#[test]
fn configured_types_are_used() {
    let folder = Folder::new(&[("a.ts", "let a"), ("a.md", "a"), ("unknown", "text")]);
    folder.write("latin.md", b"\xfc");
    folder.write("latin.foo", b"\xfc");
    let handler = folder
        .handler()
        .mime("ts", "text/typescript")
        .and_then(|handler| handler.mime("foo", "text/foo; charset=utf-8"))
        .and_then(|handler| handler.mime("md", "text/x-markdown"))
        .and_then(|handler| handler.default_type("application/x-own"))
        .unwrap();
    for (target, expected) in [
        ("/a.ts", "text/typescript; charset=utf-8"),
        ("/a.md", "text/x-markdown; charset=utf-8"),
        ("/latin.md", "text/x-markdown"),
        ("/latin.foo", "text/foo; charset=utf-8"),
        ("/unknown", "application/x-own"),
    ] {
        assert_eq!(get(&handler, target).header("content-type"), expected, "{target}");
    }
}

/// Files of this crate.
#[test]
fn real_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let handler = modest::StaticFileHandler::new(root).unwrap();
    for (target, expected) in [
        ("/Cargo.toml", PLAIN),
        ("/Cargo.lock", PLAIN),
        ("/LICENSE-MIT", PLAIN),
        ("/LICENSE-APACHE", PLAIN),
        ("/README.md", "text/markdown; charset=utf-8"),
        ("/src/lib.rs", PLAIN),
        ("/www/index.html", HTML),
    ] {
        let got = get(&handler, target);
        assert_eq!((got.status, got.header("content-type")), (200, expected), "{target}");
    }
    let program = std::env::current_exe().unwrap();
    let handler = modest::StaticFileHandler::new(program.parent().unwrap()).unwrap();
    let target = format!("/{}", program.file_name().unwrap().to_str().unwrap());
    let program = modest::RequestHandler::do_get(&handler, &modest::Request::get(&target)).unwrap();
    assert_eq!(program.header("content-type"), Some(UNKNOWN), "a program: {target}");
}
