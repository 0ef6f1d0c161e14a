//! Page 13.
//!
//! Exercise 2: ten seconds. A head that arrives byte by byte makes no progress in the sense of `Connection::call`, which
//! moves the deadline only when input is used or output is made. So `TIMEOUT` counts from the connection's start, and
//! `STOP` from the signal; the first of them to end applies.

use std::fs::{File, OpenOptions, read_to_string};
use std::io::{self, Write};
use std::path::Path;

use lessons::message::request;

/// Exercise 1: digits only. `""` is not a number. 30 digits are one, but larger than any body that we accept.
fn number(text: &str, radix: u32) -> Option<usize> {
    let is_number = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    is_number.then(|| usize::from_str_radix(text, radix).unwrap_or(usize::MAX))
}

/// Exercise 3: a note is on the disk when this returns, so the 303 may be sent. The price is a `sync_data` per POST:
/// about 0.1 ms on a good SSD, and 10 ms on a disk that turns. Databases let many requests share one.
fn store(file: &mut File, note: &str) -> io::Result<()> {
    assert!(!note.contains('\n'));
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_data()
}

/// All notes. A last line without its end was being written when the power failed, and its client got no 303.
fn load(path: &Path) -> io::Result<Vec<String>> {
    let text = read_to_string(path)?;
    Ok(text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect())
}

#[test]
fn numbers_consist_of_digits() {
    for (text, radix, expected) in [
        ("8", 10, Some(8)),
        ("08", 10, Some(8)),
        ("1f", 16, Some(31)),
        ("", 10, None),
        ("-0", 10, None),
        ("1_0", 10, None),
    ] {
        assert_eq!(number(text, radix), expected, "{text:?}");
    }
    assert_eq!((number("+8", 10), number(&"9".repeat(30), 10)), (None, Some(usize::MAX)));
}

/// The program reads `+5` as five bytes. A proxy that expects digits may end the body elsewhere, or reject the request.
#[test]
fn a_chunk_size_with_a_sign_is_accepted() {
    let bytes = b"POST / HTTP/1.1\r\nHost: me\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n";
    assert!(matches!(request(bytes), Ok(Some((request, _))) if request.body == b"hello"));
}

#[test]
fn an_acknowledged_note_survives_a_power_failure() {
    let path = std::env::temp_dir().join(format!("lessons-notes-{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    for note in ["one", "two"] {
        store(&mut file, note).unwrap();
    }
    file.write_all(b"thr").unwrap(); // the power fails
    let notes = load(&path);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(notes.unwrap(), ["one", "two"]);
}
