//! Names in an archive. Pure. Called by `tree`.
//!
//! A name that is valid here can be invalid or dangerous where the archive is unpacked: Windows treats a backslash as a
//! separator, `C:` as a drive and `CON` as a device, and ignores case. A zip contains names that are valid everywhere.
//! A tar contains the original names, with backslashes replaced. Each changed name is reported.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};

use crate::misleading::{is_device, is_misleading};

/// The names that an archive can contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Names that are valid on Windows, macOS and Linux, in UTF-8.
    Everywhere,
    /// Names that are valid on Unix.
    Unix,
}

impl Rule {
    /// Returns the name in the archive: a single component. It is never `.` or `..`, because a folder lists neither.
    pub fn apply(self, name: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Rule::Unix if !name.contains(&b'\\') => Cow::Borrowed(name),
            Rule::Unix => name.iter().map(|&byte| if byte == b'\\' { b'_' } else { byte }).collect(),
            Rule::Everywhere => match everywhere(name) {
                changed if changed.as_bytes() == name => Cow::Borrowed(name),
                changed => Cow::Owned(changed.into_bytes()),
            },
        }
    }
}

/// Changes a name so that it is safe on every system. Bytes that are not UTF-8 are percent-encoded, as in URLs.
/// Characters that Windows forbids become `_`, and so do control characters and those that change the direction of
/// text, which can make `gpj.exe` look like `exe.jpg`.
fn everywhere(name: &[u8]) -> String {
    let mut safe = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        let allowed = |c: char| !matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*') && !is_misleading(c);
        safe.extend(chunk.valid().chars().map(|c| if allowed(c) { c } else { '_' }));
        for byte in chunk.invalid() {
            let _ = write!(safe, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    if safe.ends_with(['.', ' ']) {
        safe.pop();
        safe.push('_'); // Windows would drop it
    }
    if is_device(&safe) {
        safe.insert(0, '_');
    }
    safe
}

/// Hashes of the names used in one folder of an archive, with a random key. `Everywhere` ignores case, as some systems
/// do. A collision of hashes only adds a number to a name.
#[derive(Debug)]
pub(super) struct Taken {
    rule: Rule,
    keys: RandomState,
    hashes: HashSet<u64>,
}

impl Taken {
    pub fn new(rule: Rule) -> Taken {
        Taken { rule, keys: RandomState::new(), hashes: HashSet::new() }
    }

    /// Returns the name, with a number if it is taken: `Readme (2).txt`.
    pub fn take(&mut self, name: Vec<u8>) -> Vec<u8> {
        if self.insert(&name) {
            return name;
        }
        let dot = memchr::memrchr(b'.', &name).filter(|&dot| dot > 0).unwrap_or(name.len());
        let numbered = |number: usize| [&name[..dot], format!(" ({number})").as_bytes(), &name[dot..]].concat();
        // There are more numbers than names.
        (2..).map(numbered).find(|name| self.insert(name)).unwrap_or(name)
    }

    fn insert(&mut self, name: &[u8]) -> bool {
        self.hashes.insert(match self.rule {
            Rule::Unix => self.keys.hash_one(name),
            Rule::Everywhere => self.keys.hash_one(String::from_utf8_lossy(name).to_lowercase()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_characters_and_names_are_replaced() {
        for (name, everywhere, unix) in [
            (&b"a b.txt"[..], "a b.txt", &b"a b.txt"[..]),
            ("été 日本".as_bytes(), "été 日本", "été 日本".as_bytes()),
            (b"caf\xe9.txt", "caf%E9.txt", b"caf\xe9.txt"),
            (b"..\\..\\evil", ".._.._evil", b".._.._evil"),
            (b"C:\\x", "C__x", b"C:_x"),
            (b"12:30?", "12_30_", b"12:30?"),
            (b"a\nb\x1b", "a_b_", b"a\nb\x1b"),
            ("photo\u{202e}gpj.exe\u{85}".as_bytes(), "photo_gpj.exe_", "photo\u{202e}gpj.exe\u{85}".as_bytes()),
            ("\u{200f}שלום".as_bytes(), "_שלום", "\u{200f}שלום".as_bytes()),
            (b"dot.", "dot_", b"dot."),
            (b"space ", "space_", b"space "),
            (b"...", ".._", b"..."),
            (b"CON", "_CON", b"CON"),
            (b"con.txt", "_con.txt", b"con.txt"),
            (b"nul .x", "_nul .x", b"nul .x"),
            ("com\u{b9}.log".as_bytes(), "_com\u{b9}.log", "com\u{b9}.log".as_bytes()),
            (b"console", "console", b"console"),
            (b"LPT10", "LPT10", b"LPT10"),
        ] {
            let shown = name.escape_ascii();
            assert_eq!(String::from_utf8_lossy(&Rule::Everywhere.apply(name)), everywhere, "{shown}");
            assert_eq!(&Rule::Unix.apply(name)[..], unix, "{shown}");
        }
    }

    #[test]
    fn names_in_an_archive_are_unique() {
        let (mut taken, mut of_unix) = (Taken::new(Rule::Everywhere), Taken::new(Rule::Unix));
        for (name, expected) in [
            ("README", "README"),
            ("readme", "readme (2)"),
            ("ReadMe", "ReadMe (3)"),
            ("a.txt", "a.txt"),
            ("A.txt", "A (2).txt"),
            ("a (2).TXT", "a (2) (2).TXT"),
            (".x", ".x"),
            (".X", ".X (2)"),
            ("É", "É"),
            ("é", "é (2)"),
        ] {
            assert_eq!(String::from_utf8(taken.take(name.into())).unwrap(), expected, "{name}");
            assert_eq!(of_unix.take(name.into()), name.as_bytes());
        }
        assert_eq!(of_unix.take(b"a.txt".into()), b"a (2).txt");
    }
}
