//! Forms as browsers send them, and malformed forms, each cut into reads of several sizes.

mod files; // saved files, their names, and forms of any content

use std::fs;
use std::io::{self, Read};

use proptest::prelude::*;

use super::{FormData, FormDataLimits, fields, file_name};

/// Returns up to this many bytes per read.
#[derive(Debug)]
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = buffer.len().min(self.1);
        self.0.read(&mut buffer[..max])
    }
}

const CUTS: [usize; 6] = [1, 2, 3, 7, 100, usize::MAX];
const TYPE: &str = "multipart/form-data; boundary=abc";

type Seen = (String, Option<String>, Option<String>, Vec<u8>);

/// Returns all parts, or the status of the first error.
fn parts(body: &[u8], cut: usize, content_type: &str, limits: FormDataLimits) -> Result<Vec<Seen>, u16> {
    let mut form = FormData::new(Slow(body, cut), content_type, limits).map_err(|err| err.status().as_u16())?;
    let mut seen = Vec::new();
    loop {
        let part = form.next_part().and_then(|part| {
            let Some(part) = part else { return Ok(None) };
            let own = |text: Option<&str>| text.map(str::to_owned);
            let (file_name, content_type) = (own(part.file_name()), own(part.content_type()));
            Ok(Some((part.name().to_owned(), file_name, content_type, part.bytes(1 << 20)?)))
        });
        match part {
            Ok(Some(part)) => seen.push(part),
            Ok(None) => {
                assert!(form.next_part().is_ok_and(|part| part.is_none()), "after the end, each call returns the end");
                return Ok(seen);
            }
            Err(err) => {
                let again = form.next_part().map(|_| ()).unwrap_err();
                assert_eq!(again.status(), err.status(), "after an error, each call returns it");
                return Err(err.status().as_u16());
            }
        }
    }
}

type Row<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a str);

fn check(what: &str, body: &[u8], content_type: &str, expected: Result<&[Row<'_>], u16>) {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let row =
        |(name, file, kind, content): &Row<'_>| (name.to_string(), own(*file), own(*kind), content.as_bytes().to_vec());
    let expected = expected.map(|rows| rows.iter().map(row).collect::<Vec<_>>());
    for cut in CUTS {
        let seen = parts(body, cut, content_type, FormDataLimits::default());
        assert_eq!(seen, expected, "{what}: {:?} by {cut}", String::from_utf8_lossy(body));
    }
}

#[test]
fn forms_from_real_clients_are_parsed() {
    let octets = Some("application/octet-stream");
    for (client, content_type, body, expected) in [
        (
            "Chrome",
            "multipart/form-data; boundary=----WebKitFormBoundaryePkpFF7tjBAqx29L",
            "------WebKitFormBoundaryePkpFF7tjBAqx29L\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nun été\r\n\
             ------WebKitFormBoundaryePkpFF7tjBAqx29L\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a%22b.txt\"\r\n\
             Content-Type: text/plain\r\n\r\nhello\r\nworld\r\n\r\n\
             ------WebKitFormBoundaryePkpFF7tjBAqx29L--\r\n",
            &[("title", None, None, "un été"), ("f", Some("a\"b.txt"), Some("text/plain"), "hello\r\nworld\r\n")][..],
        ),
        (
            "Chrome, nothing in it",
            "multipart/form-data; boundary=----WebKitFormBoundaryePkpFF7tjBAqx29L",
            "------WebKitFormBoundaryePkpFF7tjBAqx29L--\r\n",
            &[],
        ),
        (
            "Firefox, no file chosen",
            "multipart/form-data; boundary=---------------------------9051914041544843365972754266",
            "-----------------------------9051914041544843365972754266\r\n\
             Content-Disposition: form-data; name=\"naïve%0D%0A\"\r\n\r\n\r\n\
             -----------------------------9051914041544843365972754266\r\n\
             Content-Disposition: form-data; name=\"file\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n\
             -----------------------------9051914041544843365972754266--\r\n",
            &[("naïve\r\n", None, None, ""), ("file", Some(""), octets, "")],
        ),
        (
            "Firefox of today",
            "multipart/form-data; boundary=----geckoformboundary3f4b5d6c7e8f9a0b1c2d3e4f5a6b7c8d",
            "------geckoformboundary3f4b5d6c7e8f9a0b1c2d3e4f5a6b7c8d\r\n\
             Content-Disposition: form-data; name=\"f\"; filename=\"日本語.png\"\r\nContent-Type: image/png\r\n\r\n\
             \u{89}PNG\r\n\u{1a}\n\r\n\
             ------geckoformboundary3f4b5d6c7e8f9a0b1c2d3e4f5a6b7c8d--\r\n",
            &[("f", Some("日本語.png"), Some("image/png"), "\u{89}PNG\r\n\u{1a}\n")],
        ),
        (
            "curl -F",
            "multipart/form-data; boundary=------------------------d74496d66958873e",
            "--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\
             --------------------------d74496d66958873e\r\n\
             Content-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n\
             \r\n\r\n\r\n--------------------------d74496d66958873e--\r\n",
            &[("a", None, None, "1"), ("f", Some("x.bin"), octets, "\r\n\r\n")],
        ),
        (
            "curl --form-escape, Internet Explorer: a backslash is one",
            TYPE,
            "--abc\r\nContent-Disposition: form-data; name=\"f\"; filename=\"C:\\dir\\x.txt\"\r\n\r\n1\r\n--abc--\r\n",
            &[("f", Some("C:\\dir\\x.txt"), None, "1")],
        ),
        (
            "Python's requests",
            "multipart/form-data; boundary=5f0d3c2b1a",
            "--5f0d3c2b1a\r\nContent-Disposition: form-data; name=\"f\"; filename*=utf-8''%C3%A9t%C3%A9.txt\r\n\r\n1\r\n\
             --5f0d3c2b1a--\r\n",
            &[("f", Some("été.txt"), None, "1")],
        ),
        (
            "Node's form-data, no line break at the end",
            "multipart/form-data; boundary=--------------------------041580245613",
            "----------------------------041580245613\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\nv\r\n\
             ----------------------------041580245613--",
            &[("n", None, None, "v")],
        ),
        (
            "Java by hand, without quotes",
            "multipart/form-data; boundary====1416=/?:()'+_.",
            "--===1416=/?:()'+_.\r\nContent-Disposition: form-data; name=\"n\"\r\nContent-Type: text/plain; charset=UTF-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\nv\r\n--===1416=/?:()'+_.--\r\n",
            &[("n", None, Some("text/plain; charset=UTF-8"), "v")],
        ),
        (
            "quoted, with a space and escapes",
            "Multipart/Form-Data ; charset=utf-8; Boundary=\"a\\bc de\";",
            "--abc de\r\ncontent-disposition:FORM-DATA ;NAME=n\t; FileName=x\r\nX-Other: y\r\n\r\nv\r\n--abc de--",
            &[("n", Some("x"), None, "v")],
        ),
    ] {
        check(client, body.as_bytes(), content_type, Ok(expected));
    }
}

/// Returns a form with one field, `n`, with this content.
fn with_content(content: &str) -> String {
    format!("--abc\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n{content}\r\n--abc--\r\n")
}

/// Returns a form with one part with these fields, each with its line break, and the content `v`.
fn with_head(head: &str) -> String {
    format!("--abc\r\n{head}\r\nv\r\n--abc--\r\n")
}

#[test]
fn delimiters_are_whole_lines() {
    let part = "Content-Disposition: form-data; name=\"n\"\r\n\r\n";
    let v: &[Row<'_>] = &[("n", None, None, "v")];
    let empty: &[Row<'_>] = &[("n", None, None, "")];
    for (body, expected) in [
        (format!("--abc\r\n{part}v\r\n--abc--"), Ok(v)),
        (format!("--abc \t \r\n{part}v\r\n--abc-- \t"), Ok(v)),
        (format!("--abc\r\n{part}v\r\n--abc--\t\r\nbehind\r\n--abc\r\n"), Ok(v)),
        (format!("\r\n--abc\r\n{part}v\r\n--abc--\r\n"), Ok(v)),
        (format!("before\r\n --abc\r\n-- abc\n--abc\r\n\r\n--abc\r\n{part}v\r\n--abc--\r\n"), Ok(v)),
        (format!("--abc\r\n{part}\r\n--abc--\r\n"), Ok(empty)),
        (format!("--abc\r\n{part}--abc--\r\n"), Ok(empty)), // the line break of the empty line belongs to the delimiter
        (format!("--abc\r\n{part}v\r\n--abc\r\n{part}--abc--\r\n"), Ok(&[v[0], empty[0]])),
        (with_content("\r\n"), Ok(&[("n", None, None, "\r\n")])),
        (with_content("a\n--abc\nb\r--abc\rc--abc--\r\n-abc\r\n--ab\r\r\n--"), {
            Ok(&[("n", None, None, "a\n--abc\nb\r--abc\rc--abc--\r\n-abc\r\n--ab\r\r\n--")])
        }),
        (with_content("\r\n--ab\r\n--ab\r\n--aabc\r\n--ABC\r\n--Abc"), {
            Ok(&[("n", None, None, "\r\n--ab\r\n--ab\r\n--aabc\r\n--ABC\r\n--Abc")])
        }),
        // The body ends early.
        (String::new(), Err(400)),
        ("\r\n".to_owned(), Err(400)),
        ("no boundary".to_owned(), Err(400)),
        ("--abc".to_owned(), Err(400)),
        ("--abc\r\n".to_owned(), Err(400)),
        ("--abc\r\nContent-Disp".to_owned(), Err(400)),
        (format!("--abc\r\n{part}"), Err(400)),
        (format!("--abc\r\n{part}v"), Err(400)),
        (format!("--abc\r\n{part}v\r\n--abc"), Err(400)),
        (format!("--abc\r\n{part}v\r\n--abc-"), Err(400)),
        (format!("--abc\r\n{part}v\r\n--abc\r\n"), Err(400)),
        (format!("--abc\r\n{part}v\r\n--abc--\r"), Err(400)),
        // A boundary with text after it.
        (format!("--abcd\r\n{part}v\r\n--abc--\r\n"), Err(400)),
        (format!("--abc x\r\n{part}v\r\n--abc--\r\n"), Err(400)),
        (format!("--abc\n{part}v\r\n--abc--\r\n"), Err(400)),
        (format!("--abc\r{part}v\r\n--abc--\r\n"), Err(400)),
        (format!("--abc-\r\n{part}v\r\n--abc--\r\n"), Err(400)),
        (format!("--abc\r\n{part}v\r\n--abc--x"), Err(400)),
        (format!("--abc\r\n{part}v\r\n--abc--\n"), Err(400)),
        (format!("--abc{}\r\n{part}v\r\n--abc--\r\n", " ".repeat(10_000)), Err(400)),
        // Bare line breaks only.
        (format!("--abc\r\n{part}v\r\n--abc--\r\n").replace('\r', ""), Err(400)),
        (format!("--abc\r\n{part}v\n--abc--\n"), Err(400)),
        (format!("--abc\r\n{}v\r\n--abc--\r\n", part.replace('\r', "")), Err(400)),
    ] {
        check("delimiters", body.as_bytes(), TYPE, expected);
    }
}

#[test]
fn malformed_heads_of_parts_are_rejected() {
    let n = "Content-Disposition: form-data; name=n\r\n";
    let dispositions = [
        ("form-data; name=\"a;b=c\\\"; filename=\"%2522%22%0d%0D\"", Ok(("a;b=c\\", Some("%2522\"%0d\r"), None))),
        ("form-data; filename=a; size=3; name=\"_charset_\"", Ok(("_charset_", Some("a"), None))),
        ("form-data; name=n;; ; filename=\"\u{1}\u{7f}\t\"", Ok(("n", Some("\u{1}\u{7f}\t"), None))),
        ("form-data; name=n; filename*=UTF-8'en'%2Fa%00; filename=b", Ok(("n", Some("b"), None))),
        ("form-data; name=n; filename*=UTF-8'en'%2Fa%00", Ok(("n", Some("/a\0"), None))),
        ("form-data; name=n; filename*=UTF-8''%ff", Ok(("n", None, None))),
        ("form-data; name=n; filename*=UTF-8''%4", Ok(("n", None, None))),
        ("form-data; name=n; filename*=UTF-8''%4g", Ok(("n", None, None))),
        ("form-data; name=n; filename*=UTF-8''a*b", Ok(("n", None, None))),
        ("form-data; name=n; filename*=latin1''a", Ok(("n", None, None))),
        ("form-data; name=n; filename*=a", Ok(("n", None, None))),
        ("form-data; name=n; filename*=\"UTF-8''a\"", Ok(("n", None, None))),
        ("form-data", Err(400)),
        ("form-data; filename=a", Err(400)),
        ("form-data; name*=UTF-8''n", Err(400)),
        ("attachment; name=n", Err(400)),
        ("name=n", Err(400)),
        ("form-data name=n", Err(400)),
        ("form-data; name=\"n", Err(400)),
        // As curl and Go write a quote, and as browsers send a backslash.
        ("form-data; name=\"a\\\"b\"", Ok(("a\"b", None, None))),
        ("form-data; name=\"\\\"\\\"\"", Ok(("\"\"", None, None))),
        ("form-data; name=\"a\\\"; filename=\"c:\\\"", Ok(("a\\", Some("c:\\"), None))),
        ("form-data; name=n; filename=\"\\\"a\\\\b\\\" c\\\\\"", Ok(("n", Some("\"a\\\\b\" c\\\\"), None))),
        ("form-data; name=\"a\\\";\"", Err(400)), // the value ends before the semicolon
        ("form-data; name=\"n\"m", Err(400)),
        ("form-data; name = n", Err(400)),
        ("form-data; name=", Err(400)),
        ("form-data; name", Err(400)),
        ("form-data; name=é", Err(400)),
        ("form-data; name=n; filename=a b", Err(400)),
        ("form-data; name=n; name=m", Err(400)),
        ("form-data; name=n; filename=a; FILENAME=b", Err(400)),
        ("form-data; name=\"a\nb\"", Err(400)),
        ("form-data; name=\"a\rb\"", Err(400)),
        ("form-data; name=\"a\0b\"", Err(400)),
    ];
    let dispositions = dispositions.map(|(value, expected)| (format!("Content-Disposition: {value}\r\n"), expected));
    let others = [
        ("content-disposition:form-data;name=\"\"\r\n", Ok(("", None, None))),
        (
            "Content-Length: 7\r\nContent-Disposition: form-data; name=n\r\nContent-Type: a/b \r\nX:\r\n",
            Ok(("n", None, Some("a/b"))),
        ),
        ("Content-Transfer-Encoding: Binary\r\nContent-Disposition: form-data; name=n\r\n", Ok(("n", None, None))),
        ("Content-Transfer-Encoding: base64\r\nContent-Disposition: form-data; name=n\r\n", Err(415)),
        ("", Err(400)),
        ("Content-Type: text/plain\r\n", Err(400)),
        ("Content-Disposition: form-data;\r\n name=n\r\n", Err(400)), // folded
        ("Content-Disposition : form-data; name=n\r\n", Err(400)),
        (" Content-Disposition: form-data; name=n\r\n", Err(400)),
        ("Content-Disposition: form-data; name=n\r\nno field\r\n", Err(400)),
        ("Content-Disposition: form-data; name=n\r\n: x\r\n", Err(400)),
        // other readers treat the line as a delimiter
        ("Content-Disposition: form-data; name=n\r\n--abc: x\r\n", Err(400)),
        ("--abc: x\r\nContent-Disposition: form-data; name=n\r\n", Err(400)),
        ("Content-Disposition: form-data; name=n\r\nContent-Disposition: form-data; name=n\r\n", Err(400)),
        ("Content-Type: a/b\r\nContent-Disposition: form-data; name=n\r\ncontent-type: a/b\r\n", Err(400)),
    ];
    let others = others.map(|(head, expected)| (head.to_owned(), expected));
    for (head, expected) in dispositions.into_iter().chain(others) {
        let row = expected.map(|(name, file, kind)| [(name, file, kind, "v")]);
        check("a head", with_head(&head).as_bytes(), TYPE, row.as_ref().map(|row| &row[..]).map_err(|status| *status));
    }
    check("not UTF-8", b"--abc\r\nContent-Disposition: form-data; name=\"\xe9\"\r\n\r\nv\r\n--abc--", TYPE, Err(400));
    let other = b"--abc\r\nX: \xe9\r\nContent-Disposition: form-data; name=n\r\n\r\nv\r\n--abc--";
    check("not UTF-8 elsewhere", other, TYPE, Ok(&[("n", None, None, "v")]));
    // A head of 8 KiB with the empty line, and of a byte more.
    let padding = 8 * 1024 - n.len() - "X: \r\n".len() - 2;
    for (more, expected) in [(0, Ok(&[("n", None, None, "v")][..])), (1, Err(400)), (100_000, Err(400))] {
        let head = format!("{n}X: {}\r\n", "x".repeat(padding + more));
        check("a long head", with_head(&head).as_bytes(), TYPE, expected);
    }
}

#[test]
fn content_types() {
    let boundary = |content_type| fields::boundary(content_type);
    let long = "x".repeat(70);
    let (longest, too_long) =
        (format!("multipart/form-data; boundary={long}"), format!("multipart/form-data; boundary={long}x"));
    for (content_type, expected) in [
        ("multipart/form-data; boundary=a", "a"),
        ("MULTIPART/FORM-DATA;BOUNDARY=a", "a"),
        ("multipart/form-data;; a=b ; boundary=\"a b\" ; c=\"\\\"; boundary=c\"", "a b"),
        (&longest, &long),
    ] {
        assert_eq!(boundary(content_type), Ok(Some(expected.to_owned())), "{content_type}");
    }
    for content_type in [
        "",
        "text/plain",
        "multipart/mixed; boundary=a",
        "multipart/form-data2; boundary=a",
        "multipart/form-data boundary=a",
    ] {
        assert_eq!(boundary(content_type), Ok(None), "{content_type}");
        let err = FormData::new(io::empty(), content_type, FormDataLimits::default()).unwrap_err();
        assert_eq!(err.status(), 415, "{content_type}");
    }
    for content_type in [
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data; boundary=\"a\\\"",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=\"a\\\"b\"",
        "multipart/form-data; boundary=\"é\"",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=a,b",
        "multipart/form-data; boundary=a*b",
        "multipart/form-data; boundary = a",
        "multipart/form-data; boundary=a; boundary=a",
        "multipart/form-data; boundary=a; b",
        &too_long,
    ] {
        assert!(boundary(content_type).is_err(), "{content_type}");
        let err = FormData::new(io::empty(), content_type, FormDataLimits::default()).unwrap_err();
        assert_eq!(err.status(), 400, "{content_type}");
    }
}

#[test]
fn parts_and_heads_over_the_limits_are_rejected() {
    let defaults = FormDataLimits::default;
    let part = "--abc\r\nContent-Disposition: form-data; name=n\r\n\r\n\r\n";
    let form = |count| format!("{}--abc--", part.repeat(count));
    for (what, body, limits, expected) in [
        ("1,000 parts", form(1000), defaults(), Ok(1000)),
        ("a part more", form(1001), defaults(), Err(413)),
        ("two", form(2), defaults().parts(2), Ok(2)),
        ("three", form(3), defaults().parts(2), Err(413)),
        ("none allowed", form(0), defaults().parts(0), Ok(0)),
        ("a short head", form(1), defaults().head(20), Err(400)),
    ] {
        let seen = parts(body.as_bytes(), usize::MAX, TYPE, limits).map(|parts| parts.len());
        assert_eq!(seen, expected, "{what}");
    }
    // No byte is read past the limit.
    let endless = format!("--abc\r\n{}", "x".repeat(9000));
    let left = "--abc\r\n".len() + 8 * 1024;
    for (left, expected) in [(left, 400), (left - 1, 500)] {
        let reader = Failing { bytes: endless.as_bytes(), left, interrupted: false, panics: false };
        let mut form = FormData::new(reader, TYPE, defaults()).unwrap();
        assert_eq!(form.next_part().unwrap_err().status(), expected, "{left} bytes");
    }
    // A head larger than the buffer.
    let head = format!("Content-Disposition: form-data; name=n\r\nX: {}\r\n", "x".repeat(100_000));
    for cut in [1, 1000, usize::MAX] {
        let seen = parts(with_head(&head).as_bytes(), cut, TYPE, defaults().head(200_000));
        assert_eq!(seen, Ok(vec![("n".to_owned(), None, None, b"v".to_vec())]), "by {cut}");
    }
}

#[test]
fn text_and_bytes() {
    let kind = |kind: &str| with_head(&format!("Content-Disposition: form-data; name=n\r\nContent-Type: {kind}\r\n"));
    let long = "x".repeat(64 * 1024);
    for (body, expected) in [
        (with_content("un été"), Ok("un été")),
        (with_content(&long), Ok(&*long)),
        (with_content(&format!("{long}x")), Err(413)),
        (kind("text/plain"), Ok("v")),
        (kind("text/plain; charset=\"UTF-8\""), Ok("v")),
        (kind("text/plain;charset=us-ascii"), Ok("v")),
        (kind("text/plain; charset=iso-8859-1"), Err(415)),
        (kind(";;;"), Ok("v")),
        (with_content("v").replace("--abc--", ""), Err(400)),
    ] {
        for cut in CUTS {
            let mut form = FormData::new(Slow(body.as_bytes(), cut), TYPE, FormDataLimits::default()).unwrap();
            let text = form.next_part().unwrap().unwrap().text().map_err(|err| err.status().as_u16());
            assert_eq!(text.as_deref().map_err(|status| *status), expected, "by {cut}");
        }
    }
    let mut form =
        FormData::new(&b"--abc\r\nContent-Disposition: form-data; name=n\r\n\r\n\xff\r\n--abc--"[..], TYPE, {
            FormDataLimits::default()
        })
        .unwrap();
    assert_eq!(form.next_part().unwrap().unwrap().text().unwrap_err().status(), 400);
    assert!(form.next_part().unwrap().is_none());
    for (limit, expected) in [(4, Err(413)), (5, Ok(b"hello".to_vec())), (usize::MAX, Ok(b"hello".to_vec()))] {
        let body = with_content("hello");
        let mut form = FormData::new(body.as_bytes(), TYPE, FormDataLimits::default()).unwrap();
        let bytes = form.next_part().unwrap().unwrap().bytes(limit).map_err(|err| err.status().as_u16());
        assert_eq!(bytes, expected, "{limit}");
    }
}

#[test]
fn unread_parts_are_skipped() {
    let long = "x\r\n--ab".repeat(10_000);
    let part = |name: &str| format!("--abc\r\nContent-Disposition: form-data; name={name}\r\n\r\n{long}\r\n");
    let body = format!("{}{}{}--abc--", part("a"), part("b"), part("c"));
    for cut in CUTS {
        let mut form = FormData::new(Slow(body.as_bytes(), cut), TYPE, FormDataLimits::default()).unwrap();
        assert_eq!(form.next_part().unwrap().unwrap().name(), "a", "by {cut}");
        let mut part = form.next_part().unwrap().unwrap();
        let mut start = [0; 9];
        part.read_exact(&mut start).unwrap();
        assert_eq!((part.name(), &start), ("b", b"x\r\n--abx\r"), "by {cut}");
        assert_eq!(part.read(&mut []).unwrap(), 0, "by {cut}");
        let mut part = form.next_part().unwrap().unwrap();
        let mut all = String::new();
        part.read_to_string(&mut all).unwrap();
        assert!(part.name() == "c" && all == long, "by {cut}");
        assert_eq!(part.read(&mut start).unwrap(), 0, "by {cut}");
        assert!(form.next_part().unwrap().is_none(), "by {cut}");
    }
}

/// The error of a part that is read as a `Read` has the status of the other methods.
#[test]
fn a_part_that_is_cut_off_is_a_400() {
    let body = with_content(&"hello".repeat(100));
    let mut form = FormData::new(&body.as_bytes()[..body.len() - 12], TYPE, FormDataLimits::default()).unwrap();
    let cut = form.next_part().unwrap().unwrap().read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!((cut.kind(), super::Error::from(cut).status().as_u16()), (io::ErrorKind::UnexpectedEof, 400));
}

/// Every other read is interrupted. After a number of bytes it fails once, or panics.
struct Failing<'a> {
    bytes: &'a [u8],
    left: usize,
    interrupted: bool,
    panics: bool,
}

impl Read for Failing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.left == 0 {
            assert!(!self.panics, "this source panics on purpose");
            self.left = usize::MAX;
            return Err(io::Error::other("the disk is gone"));
        }
        let max = buffer.len().min(self.left).min(5);
        let count = self.bytes.read(&mut buffer[..max])?;
        self.left -= count;
        Ok(count)
    }
}

#[test]
fn a_failing_reader_is_a_500_and_can_continue() {
    let body = with_content("hello\r\n");
    for left in 0..body.len() {
        let reader = Failing { bytes: body.as_bytes(), left, interrupted: false, panics: false };
        let mut form = FormData::new(reader, TYPE, FormDataLimits::default()).unwrap();
        let mut errors = 0;
        let mut failed = |err: super::Error| {
            assert_eq!(
                err.to_string(),
                "500 Internal Server Error: the disk is gone",
                "the source fails after {left} bytes"
            );
            errors += 1;
        };
        let part = match form.next_part() {
            Ok(part) => part.unwrap(),
            Err(err) => {
                failed(err);
                form.next_part().unwrap().unwrap()
            }
        };
        if let Err(err) = part.bytes(100) {
            failed(err);
        }
        match form.next_part() {
            Ok(part) => assert!(part.is_none()),
            Err(err) => {
                failed(err);
                assert!(form.next_part().unwrap().is_none());
            }
        }
        // The body may end before its last line break does.
        assert!(errors == 1 || left + 2 >= body.len(), "the source fails after {left} bytes");
    }
}
