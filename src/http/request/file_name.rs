//! Changes a file name sent by a client into a safe name, and finds a free name in a folder. Called by `form_data` and
//! `saved_file`.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use crate::misleading::{is_device, is_misleading};
use crate::numbered::{self, MAX_NAME, with_stem_end};

pub(super) fn safe(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let replaced: String = last.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
    let mut name = bounded(trimmed(&replaced));
    if is_device(&name) {
        name = bounded(&format!("_{name}"));
    }
    if name.is_empty() { "file".to_owned() } else { name }
}

/// Returns whether a character is allowed. Characters with a meaning for shells, Windows and terminals are not, nor are
/// characters that change the direction of text or hide it.
fn is_allowed(c: char) -> bool {
    let is_hidden = matches!(c, '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    !is_hidden && !is_misleading(c) && !"<>:\"/\\|?*".contains(c)
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

/// Returns a path that does not exist now: this one with a number after the stem of its name.
pub(super) fn free(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let at = |number: u32| path.with_file_name(with_stem_end(&name, &format!("-{number}")));
    let Ok(number) = numbered::free(|number| Ok::<_, Infallible>(at(number).symlink_metadata().is_ok()));
    at(number)
}
