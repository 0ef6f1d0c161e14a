//! Forms with files. Reads of any size give the same parts, with the contents that the reference gives for the whole
//! body. Skipping a part changes no other part. `safe_file_name` returns only names that are safe to create.
#![no_main]

#[path = "../model.rs"]
#[allow(dead_code, reason = "shared with other targets, which use the rest of it")]
mod model;

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use modest::{FormData, FormDataLimits, Part};

// A line with the Content-Type, then the body.
fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let Ok(content_type) = std::str::from_utf8(&bytes[..end]) else { return };
    let body = bytes.get(end + 1..).unwrap_or_default();

    let whole = parts(Cut::new(body, vec![]), content_type, content);
    let by_one = Cut::new(body, (1..body.len()).collect());
    assert_eq!(parts(by_one, content_type, content), whole, "byte by byte");
    assert_eq!(parts(Cut::new(body, model::cuts(body)), content_type, content), whole, "in pieces");
    assert_eq!(parts(Cut::new(body, vec![]), content_type, in_small_reads), whole, "in small reads");

    let names = |parts: Vec<Seen>| parts.into_iter().map(|part| (part.0, part.1, part.2)).collect::<Vec<_>>();
    let skipped = parts(Cut::new(body, vec![]), content_type, |_| Vec::new());
    assert_eq!(skipped.map(names), whole.clone().map(names), "skipped");

    let Some(boundary) = content_type.strip_prefix("multipart/form-data; boundary=") else { return };
    if let Ok(parts) = whole
        && boundary.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        let contents: Vec<_> = parts.into_iter().map(|part| part.3).collect();
        assert_eq!(Some(contents), contents_of(body, boundary), "a plain reading");
    }
});

type Seen = (String, Option<String>, Option<String>, Vec<u8>);

/// All parts, or the status of the first error. After an error there are no further parts.
fn parts<R: Read>(reader: R, content_type: &str, content: fn(Part<'_, R>) -> Vec<u8>) -> Result<Vec<Seen>, u16> {
    let limits = FormDataLimits::default().parts(8).head(300);
    let mut form = FormData::new(reader, content_type, limits).map_err(|err| err.status().as_u16())?;
    let mut seen = Vec::new();
    loop {
        match form.next_part() {
            Ok(Some(part)) => {
                if let Some(name) = part.safe_file_name() {
                    check_safe(&name);
                }
                let own = |text: Option<&str>| text.map(str::to_owned);
                let (name, file_name, kind) = (part.name().to_owned(), own(part.file_name()), own(part.content_type()));
                seen.push((name, file_name, kind, content(part)));
            }
            Ok(None) => {
                assert!(matches!(form.next_part(), Ok(None)), "an end stays one");
                return Ok(seen);
            }
            Err(err) => {
                let status = err.status().as_u16();
                assert!(matches!(status, 400 | 413 | 415), "{err}");
                let again = form.next_part().map(|_| ()).expect_err("an error stays one");
                assert_eq!(again.status().as_u16(), status);
                return Err(status);
            }
        }
    }
}

/// A broken part has no content: the next step returns the error.
fn content<R: Read>(part: Part<'_, R>) -> Vec<u8> {
    part.bytes(1 << 20).unwrap_or_default()
}

fn in_small_reads<R: Read>(mut part: Part<'_, R>) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 5]);
    loop {
        match part.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(err) => {
                assert_eq!(err.kind(), io::ErrorKind::UnexpectedEof);
                return Vec::new();
            }
        }
    }
}

fn check_safe(name: &str) {
    assert!((1..=255).contains(&name.len()), "{name:?}");
    assert!(!name.starts_with('.') && !name.ends_with(['.', ' ']), "{name:?}");
    assert!(!name.contains(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c)), "{name:?}");
}

/// Gives the bytes up to each of these ascending positions, then the rest.
struct Cut<'a> {
    bytes: &'a [u8],
    at: usize,
    ends: std::vec::IntoIter<usize>,
}

impl<'a> Cut<'a> {
    fn new(bytes: &'a [u8], ends: Vec<usize>) -> Cut<'a> {
        Cut { bytes, at: 0, ends: ends.into_iter() }
    }
}

impl Read for Cut<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.ends.find(|end| *end > self.at).unwrap_or(self.bytes.len());
        let count = (&self.bytes[self.at..end]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// The contents of a valid form: each line that begins with the boundary separates two contents.
fn contents_of(body: &[u8], boundary: &str) -> Option<Vec<Vec<u8>>> {
    let dashes = format!("--{boundary}").into_bytes();
    let begins_a_line = |at: usize| at == 0 || body[..at].ends_with(b"\r\n");
    let delimiters: Vec<_> =
        (0..body.len()).filter(|&at| begins_a_line(at) && body[at..].starts_with(&dashes)).collect();
    let last = delimiters.iter().position(|&at| body[at + dashes.len()..].starts_with(b"--"))?;
    let content = |pair: &[usize]| {
        let text = &body[pair[0]..pair[1]]; // the delimiter's line, the head, an empty line, the content, a line break
        let lines = text.windows(2).position(|two| two == b"\r\n")? + 2;
        let head = text[lines..].windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        Some(text[lines + head..].strip_suffix(b"\r\n").unwrap_or_default().to_vec())
    };
    delimiters[..=last].windows(2).map(content).collect()
}
