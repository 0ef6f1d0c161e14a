//! The HTML of a listing: the page around its rows, and the rows. Called by `listing`; it knows names, sizes and dates, not files.

use std::ops::Range;

use super::super::path;
use super::entries::Entry;
use crate::escape_html;

/// Writes a page, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub text: String,
    /// The day of the last row, and how it is shown: most files of a folder are of few days.
    day: i64,
    day_text: String,
}

impl Rows {
    /// What precedes the rows. `title`: the path of the folder, as shown; `top`: there is none above it.
    pub fn push_start(&mut self, title: &str, top: bool, empty: bool) {
        let mut shown = String::new();
        push_shown(&mut shown, title.as_bytes());
        let text = &mut self.text;
        text.extend([HEAD, &shown, STYLE, &shown, TABLE]);
        if !top {
            text.push_str("<tr><td><a href=\"../\">..</a><td><td>\n");
        }
        if empty {
            text.push_str("<tr><td>There is nothing in here.<td><td>\n");
        }
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        let text = &mut self.text;
        text.push_str("<tr><td><a href=\"");
        path::push_link(text, entry.name);
        text.push_str(if entry.is_folder { "/\">" } else { "\">" });
        push_shown(text, entry.name);
        text.push_str(if entry.is_folder { "/</a><td>" } else { "</a><td>" });
        if !entry.is_folder {
            push_size(text, entry.size);
        }
        text.push_str("<td>");
        self.push_time(entry.modified);
        self.text.push('\n');
    }

    /// What follows the rows. `complete`: they are all.
    pub fn push_end(&mut self, complete: bool) {
        self.text.push_str(if complete { "</table>\n" } else { CUT_OFF });
    }

    /// `2026-11-20 08:17`, in UTC, of minutes since 1970.
    fn push_time(&mut self, minutes: i64) {
        let (day, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
        if self.day_text.is_empty() || self.day != day {
            let (year, month, of_month) = civil(day);
            self.day_text = format!("{year:04}-{month:02}-{of_month:02} ");
            self.day = day;
        }
        self.text.push_str(&self.day_text);
        push_two(&mut self.text, minute / 60);
        self.text.push(':');
        push_two(&mut self.text, minute % 60);
    }
}

/// Append a name as it is shown, escaped. Characters that control or reorder what is around them, so that a name might look like
/// another one, are shown as U+FFFD, and so is what is not UTF-8.
fn push_shown(to: &mut String, name: &[u8]) {
    let text = String::from_utf8_lossy(name);
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'');
    if text.bytes().all(is_plain) {
        to.push_str(&text);
    } else {
        to.push_str(&escape_html(&text.replace(is_misleading, "\u{fffd}")));
    }
}

/// Control characters, and the formatting characters of bidirectional text (Unicode Standard Annex #9, section 2).
fn is_misleading(character: char) -> bool {
    const MARKS: [Range<char>; 4] =
        ['\u{61c}'..'\u{61d}', '\u{200e}'..'\u{2010}', '\u{202a}'..'\u{202f}', '\u{2066}'..'\u{206a}'];
    character.is_control() || MARKS.iter().any(|marks| marks.contains(&character))
}

/// `999 B`, `1.0 KiB`, `12 MiB`.
fn push_size(to: &mut String, bytes: u64) {
    const UNITS: [&str; 7] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
    // In units of 1024^unit, rounded; what would be rounded to 1024 of a unit is 1 of the next.
    let rounded = |of: u128, unit: usize| (of << 1 >> (10 * unit)).div_ceil(2);
    let unit = (0..6).find(|&unit| rounded(bytes.into(), unit) < 1024).unwrap_or(6);
    let tenths = rounded(u128::from(bytes) * 10, unit);
    if unit > 0 && tenths < 100 {
        push_number(to, tenths / 10);
        to.push('.');
        push_number(to, tenths % 10);
    } else {
        push_number(to, rounded(bytes.into(), unit));
    }
    to.push_str(UNITS[unit]);
}

/// Below 10,000.
fn push_number(to: &mut String, number: u128) {
    let digits = [number / 1000, number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8);
    let zeros = digits[..3].iter().take_while(|&&digit| digit == b'0').count();
    to.extend(digits[zeros..].iter().map(|&digit| char::from(digit)));
}

/// Two digits.
fn push_two(to: &mut String, number: i64) {
    to.extend([number / 10, number % 10].map(|digit| char::from(b'0' + digit as u8)));
}

/// Year, month and day of a day since 1970, in the proleptic Gregorian calendar:
/// years begin in March, so that the leap day comes last; eras have 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let next = i64::from(month >= 10);
    (era * 400 + year + next, if month < 10 { month + 3 } else { month - 9 }, day)
}

const HEAD: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Index of ";
const STYLE: &str = "</title>\n<style>
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.25rem; overflow-wrap: anywhere }
table { width: 100%; border-collapse: collapse }
th { text-align: left; font-weight: 600 }
th, td { padding: .25rem 1rem .25rem 0; vertical-align: top; border-bottom: 1px solid #8884 }
th + th, td + td { white-space: nowrap; font-variant-numeric: tabular-nums; opacity: .75 }
th:first-child { width: 100% }
th:nth-child(2), td:nth-child(2) { text-align: right }
td a { display: block; white-space: pre-wrap }
a { text-decoration: none; overflow-wrap: anywhere; unicode-bidi: isolate }
a:hover, a:focus { text-decoration: underline }
tbody tr:hover { background: #8881 }
@media (max-width: 36rem) {
  thead { display: none }
  tr { display: flex; flex-wrap: wrap; border-bottom: 1px solid #8884; padding: .4rem 0 }
  td { border: 0; padding: .1rem 1rem .1rem 0 }
  td:first-child { flex: 1 0 100% }
  td:empty { display: none }
}
</style>
<h1>Index of ";
const TABLE: &str = "</h1>\n<table>\n<thead><tr><th>Name<th>Size<th>Modified (UTC)\n<tbody>\n";
const CUT_OFF: &str = "</table>\n<p>There are more names than are shown here.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1, "1 B"),
            (10, "10 B"),
            (1000, "1000 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 10, "10 KiB"),
            ((10 << 10) - 1, "10 KiB"),
            ((9 << 10) + 900, "9.9 KiB"),
            ((9 << 10) + 980, "10 KiB"),
            ((1023 << 10) + 511, "1023 KiB"),
            ((1023 << 10) + 512, "1.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (105 << 30, "105 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            let mut text = String::new();
            push_size(&mut text, bytes);
            assert_eq!(text, expected, "{bytes}");
        }
    }

    #[test]
    fn dates() {
        let mut rows = Rows::default();
        for (seconds, expected) in [
            (0, "1970-01-01 00:00"),
            (-1, "1969-12-31 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (951_868_799, "2000-02-29 23:59"),
            (951_868_800, "2000-03-01 00:00"),
            (1_795_162_637, "2026-11-20 08:17"),
            (4_107_542_400, "2100-03-01 00:00"),
            (-62_135_596_800, "0001-01-01 00:00"),
            (253_402_300_800, "10000-01-01 00:00"),
            (i64::MIN, "-292277022657-01-27 08:29"),
            (i64::MAX, "292277026596-12-04 15:30"),
        ] {
            rows.text.clear();
            rows.push_time(i64::div_euclid(seconds, 60));
            assert_eq!(rows.text, expected, "{seconds}");
        }
    }

    #[test]
    fn names_as_shown() {
        for (name, expected) in [
            ("a b-c_d.e~f", "a b-c_d.e~f"),
            ("<a href='x' title=\"y\">&", "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;"),
            ("\u{1b}[1m\u{85}\nü\u{7f}", "\u{fffd}[1m\u{fffd}\u{fffd}ü\u{fffd}"),
            ("photo\u{202e}gpj.exe", "photo\u{fffd}gpj.exe"),
            (
                "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}",
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            ),
            ("\u{2066}\u{2067}\u{2068}\u{2069}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            // joiners make letters and pictures of several characters
            (
                "\u{200c}\u{200d}\u{2010}\u{2029}\u{202f}\u{2065}\u{206a}",
                "\u{200c}\u{200d}\u{2010}\u{2029}\u{202f}\u{2065}\u{206a}",
            ),
            ("日本 שלום", "日本 שלום"),
        ] {
            let mut text = String::new();
            push_shown(&mut text, name.as_bytes());
            assert_eq!(text, expected, "{}", name.escape_unicode());
        }
    }
}
