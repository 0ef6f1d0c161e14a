//! Characters that make a text look like another one. Used by all modules that show text of clients or names of files.

use std::ops::Range;

/// Returns whether this is a control character or a formatting character of bidirectional text (Unicode Standard Annex
/// #9, section 2).
pub(crate) fn is_misleading(character: char) -> bool {
    const MARKS: [Range<char>; 4] =
        ['\u{61c}'..'\u{61d}', '\u{200e}'..'\u{2010}', '\u{202a}'..'\u{202f}', '\u{2066}'..'\u{206a}'];
    match character {
        ..'\u{100}' => character.is_control(), // most characters of a log
        _ => MARKS.iter().any(|marks| marks.contains(&character)),
    }
}
