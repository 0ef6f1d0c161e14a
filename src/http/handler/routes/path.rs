//! Paths as they are matched, decoded but for what would be taken for a slash, and the names in patterns. Pure. Used by `routes`.

use std::borrow::Cow;

/// Stands for a slash within a segment: one character, so that no fixed text of a pattern meets a part of it. It is
/// none of Unicode's (a noncharacter, "for internal use"); a path that holds it has U+FFFD in its place.
const SLASH: char = '\u{fdd0}';

/// A path, decoded, in which a segment with a slash in it is one segment.
pub(super) fn decoded(raw: &str) -> Cow<'_, str> {
    if !raw.contains('%') && raw.is_ascii() {
        return Cow::Borrowed(raw);
    }
    let segments = raw.split('/').map(|segment| {
        let segment = percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
        segment.replace(SLASH, "\u{fffd}").replace('/', SLASH.encode_utf8(&mut [0; 4]))
    });
    Cow::Owned(segments.collect::<Vec<_>>().join("/"))
}

/// A pattern that meets paths so decoded.
pub(super) fn pattern(written: &str) -> String {
    written.replace(SLASH, "\u{fffd}")
}

/// The names in a pattern that is one.
pub(super) fn names(pattern: &str) -> Vec<&str> {
    let (mut names, mut rest) = (Vec::new(), pattern);
    while let Some((_, behind)) = rest.split_once('{') {
        rest = match (behind.strip_prefix('{'), behind.split_once('}')) {
            (Some(behind), _) => behind, // a brace
            (None, Some((name, after))) => {
                let end = name.len() + usize::from(after.starts_with('}')); // `{a}}b}`: a brace amid a name, as matched
                let name = &behind[..end];
                names.push(name.strip_prefix('*').unwrap_or(name));
                after
            }
            (None, None) => "",
        };
    }
    names
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
}

/// What stands in the place of a name.
pub(super) fn param(matched: &str) -> String {
    matched.replace(SLASH, "/")
}
