//! Characters that make a text look like another one, names that file systems treat as equal, and names of devices.
//! Used by all modules that show text of clients or names of files, compare names, or make names for other systems.

use std::ops::Range;

/// Returns whether this is a control character, a separator of lines or paragraphs, or a formatting character of
/// bidirectional text (Unicode Standard Annex #9, section 2).
pub(crate) fn is_misleading(character: char) -> bool {
    const MARKS: [Range<char>; 4] =
        ['\u{61c}'..'\u{61d}', '\u{200e}'..'\u{2010}', '\u{2028}'..'\u{202f}', '\u{2066}'..'\u{206a}'];
    match character {
        ..'\u{100}' => character.is_control(), // most characters of a log
        _ => MARKS.iter().any(|marks| marks.contains(&character)),
    }
}

/// Escapes misleading characters, so that a text stays on one line and moves no cursor.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_misleading(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    escaped
}

/// Device names of Windows, reserved with any extension.
const DEVICES: [&str; 28] = [
    "AUX", "COM0", "COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "CON", "CONIN$", "CONOUT$",
    "LPT0", "LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9", "NUL", "PRN", "CLOCK$", "KEYBD$",
];

/// Returns whether Windows opens a device by this name, in any folder.
pub(crate) fn is_device(name: &str) -> bool {
    let superscripts = |c| match c {
        '\u{b9}' => '1',
        '\u{b2}' => '2',
        '\u{b3}' => '3',
        c => c,
    };
    let stem: String = name.split('.').next().unwrap_or_default().trim_end().chars().map(superscripts).collect();
    DEVICES.iter().any(|device| device.eq_ignore_ascii_case(&stem))
}

/// Returns the same form for all names that file systems may treat as equal: independent of letter case, invisible
/// characters, and trailing dots and spaces, and with the feature `unicode` of whether letters are composed.
pub(crate) fn fold(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if name.is_ascii() {
        return name.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    }
    let seen: String = name.chars().filter(|&letter| !is_ignored(letter)).collect();
    // Each letter to lower, upper and lower case, because then more letters become equal: ẞ, ß and ss; ſ, S and s.
    let lower = decomposed(seen).chars().flat_map(char::to_lowercase).collect::<String>();
    let folded: String = lower.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    decomposed(folded).trim_end_matches(['.', ' ']).to_owned()
}

#[cfg(feature = "unicode")]
fn decomposed(name: String) -> String {
    unicode_normalization::UnicodeNormalization::nfd(&*name).collect()
}

#[cfg(not(feature = "unicode"))]
fn decomposed(name: String) -> String {
    name
}

/// Returns whether the first character that file systems do not ignore is a dot.
pub(crate) fn begins_with_dot(name: &[u8]) -> bool {
    match name.first() {
        None => false,
        Some(first) if first.is_ascii() => *first == b'.',
        Some(_) => String::from_utf8_lossy(name).chars().find(|&letter| !is_ignored(letter)) == Some('.'),
    }
}

/// Returns whether the letter is a Default_Ignorable_Code_Point (Unicode), which ext4, HFS+ and others ignore when they
/// compare.
fn is_ignored(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All case forms of a letter have one fold, and ignored characters anywhere change nothing.
    #[test]
    fn equal_names_have_one_form() {
        let fold = |name: &str| super::fold(name.as_bytes());
        let has_forms = |letter: &char| {
            letter.to_lowercase().ne([*letter]) || letter.to_uppercase().ne([*letter]) || is_ignored(*letter)
        };
        for letter in (0..=0x10_ffff).filter_map(char::from_u32).filter(has_forms) {
            let (lower, upper) = (letter.to_lowercase().collect::<String>(), letter.to_uppercase().collect::<String>());
            let own = fold(&format!("x{letter}x"));
            assert_eq!(own, fold(&format!("x{lower}x")), "{letter:?} {lower}");
            assert_eq!(own, fold(&format!("x{upper}x")), "{letter:?} {upper}");
            assert_eq!(own, fold(&own), "{letter:?}");
            assert_eq!(own == "xx", is_ignored(letter), "{letter:?}");
        }
        for (one, other) in [
            ("stra\u{1e9e}e.txt", "STRASSE.TXT"),
            ("Stra\u{df}e.txt", "STRASSE.TXT"),
            ("sta\u{200d}ff. .", "STAFF"),
            ("\u{17f}taff", "staff"),
        ] {
            assert_eq!(fold(one), fold(other));
        }
        #[cfg(feature = "unicode")]
        for marks in ["\u{301}\u{323}", "\u{323}\u{301}", "\u{301}\u{34f}\u{323}", "\u{345}\u{301}"] {
            let ignored = marks.chars().flat_map(|mark| ['\u{200b}', mark, '\u{34f}']).collect::<String>();
            assert_eq!(fold(&format!("x{marks}")), fold(&format!("X{ignored}")), "{marks:?}");
        }
        #[cfg(feature = "unicode")]
        assert_eq!(fold("x\u{301}\u{323}"), fold("x\u{323}\u{301}"));
    }

    #[test]
    fn names_that_begin_with_a_dot() {
        for (name, expected) in [
            (&b""[..], false),
            (b".", true),
            (b".a", true),
            (b"a.", false),
            ("\u{200b}.a".as_bytes(), true),
            ("\u{feff}\u{ad}.a".as_bytes(), true),
            ("\u{200b}a".as_bytes(), false),
            ("\u{200b}".as_bytes(), false),
            (b"\xff.a", false),
            (b"\xe2\x80\x8b.\xff", true),
        ] {
            assert_eq!(begins_with_dot(name), expected, "{:?}", name.escape_ascii().to_string());
        }
    }
}
