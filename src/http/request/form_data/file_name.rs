//! A file name as a client sent it, made into one that is safe in a folder, and free there. Called by `form_data`.

use std::path::{Path, PathBuf};

/// The longest name that common file systems have, in bytes.
const MAX_NAME: usize = 255;
/// A longer ending is no extension, in bytes with its dot.
const MAX_EXTENSION: usize = 64;

/// The name of `Part::safe_file_name`, which tells the rules.
pub(super) fn safe(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let replaced: String = last.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let mut name = bounded(trimmed(&replaced));
    if is_device(&name) {
        name = bounded(&format!("_{name}"));
    }
    if name.is_empty() { "file".to_owned() } else { name }
}

/// Not: what shells, Windows and terminals make something of, and what turns the order of the letters about.
fn is_allowed(c: char) -> bool {
    let turns_or_hides = matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !turns_or_hides && !"<>:\"/\\|?*".contains(c)
}

/// A leading dot hides a file, Windows drops trailing dots and spaces.
fn trimmed(name: &str) -> &str {
    let at_an_end = |c: char| c == '.' || c.is_whitespace();
    name.trim_matches(at_an_end)
}

/// The stem is cut, the extension kept.
fn bounded(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    trimmed(&with_stem_end(name, "")).to_owned()
}

/// A path in this folder where nothing is, or was a moment ago: `name` with a number behind its stem. Of `a-1` to `a-n`
/// those that are taken mostly stand at the front, so the numbers are doubled until one is free, and then halved.
pub(super) fn free(folder: &Path, name: &str) -> PathBuf {
    let numbered = |number: u64| folder.join(with_stem_end(name, &format!("-{number}")));
    let is_taken = |number: u64| numbered(number).symlink_metadata().is_ok();
    let (mut taken, mut free) = (0, 1);
    while is_taken(free) {
        (taken, free) = (free, free * 2);
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        *(if is_taken(middle) { &mut taken } else { &mut free }) = middle;
    }
    numbered(free)
}

/// The name with this at the end of its stem, which is cut where it gets too long.
fn with_stem_end(name: &str, end: &str) -> String {
    let dot = name.rfind('.').filter(|dot| name.len() - dot <= MAX_EXTENSION).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let room = MAX_NAME - extension.len() - end.len();
    let cut = (0..=room.min(stem.len())).rfind(|&cut| stem.is_char_boundary(cut)).unwrap_or_default();
    format!("{}{end}{extension}", &stem[..cut])
}

/// Windows opens a device for these in every folder, whatever the extension.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_uppercase();
    let numbered = |device: &str| {
        stem.strip_prefix(device).is_some_and(|number| {
            let mut digits = number.chars();
            matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
        })
    };
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"].contains(&stem.as_str())
        || numbered("COM")
        || numbered("LPT")
}
