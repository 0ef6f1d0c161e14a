//! Characters that make a text look like another one, names that file systems treat as equal, and names of devices. Used
//! by all modules that show text of clients or names of files, compare names, or make names for other systems.

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
    #[cfg(feature = "unicode")]
    let name: String = unicode_normalization::UnicodeNormalization::nfd(&*name).collect();
    let seen = name.chars().filter(|&letter| !is_ignored(letter));
    // First to upper case, because then more characters become equal, such as the long s and the kelvin sign.
    let folded: String = seen.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    folded.trim_end_matches(['.', ' ']).to_owned()
}

/// Returns whether the letter is a Default_Ignorable_Code_Point (Unicode), which ext4, HFS+ and others ignore when they
/// compare.
fn is_ignored(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
