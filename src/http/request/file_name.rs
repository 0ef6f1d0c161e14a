//! Changes a file name sent by a client into a safe name, and finds a free name in a folder. Called by `form_data` and
//! `saved_file`.

use std::path::{Path, PathBuf};

use crate::misleading::is_device;

/// The longest name that common file systems have, in bytes.
const MAX_NAME: usize = 255;
/// The maximum length of an extension, in bytes with its dot. A longer ending is part of the stem.
const MAX_EXTENSION: usize = 64;

/// Returns the name by the rules of `Part::safe_file_name`.
pub(super) fn safe(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let replaced: String = last.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let mut name = bounded(trimmed(&replaced));
    if is_device(&name) {
        name = bounded(&format!("_{name}"));
    }
    if name.is_empty() { "file".to_owned() } else { name }
}

/// Returns whether a character is allowed. Those with a meaning for shells, Windows and terminals are not, and those
/// that change the direction of text.
fn is_allowed(c: char) -> bool {
    let turns_or_hides = matches!(c, '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !turns_or_hides && !"<>:\"/\\|?*".contains(c)
}

/// Removes leading dots, which hide a file, and trailing dots and spaces, which Windows drops.
fn trimmed(name: &str) -> &str {
    let at_an_end = |c: char| c == '.' || c.is_whitespace();
    name.trim_matches(at_an_end)
}

/// Shortens a name that is too long: cuts the stem and keeps the extension.
fn bounded(name: &str) -> String {
    if name.len() <= MAX_NAME {
        return name.to_owned();
    }
    trimmed(&with_stem_end(name, "")).to_owned()
}

/// Returns a path that does not exist now: this one with a number after the stem of its name. Mostly the lowest
/// numbers are taken, so the number is doubled until it is free, and the lowest free number is then found by bisection.
pub(super) fn free(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let numbered = |number: u64| path.with_file_name(with_stem_end(&name, &format!("-{number}")));
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

/// Returns the name with this text at the end of its stem, which is shortened if the name gets too long.
fn with_stem_end(name: &str, end: &str) -> String {
    let dot = name.rfind('.').filter(|dot| name.len() - dot <= MAX_EXTENSION).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let room = MAX_NAME - extension.len() - end.len();
    let cut = (0..=room.min(stem.len())).rfind(|&cut| stem.is_char_boundary(cut)).unwrap_or_default();
    format!("{}{end}{extension}", &stem[..cut])
}
