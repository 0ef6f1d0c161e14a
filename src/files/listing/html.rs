//! The HTML of a listing: the page around its rows, and the rows. Called by `listing`; it knows names, sizes and dates, not files.

use super::super::date::civil;
use super::super::path;
use super::controls::Controls;
use super::entries::{Entries, Entry};
use super::view::{By, Order};
use crate::escape_html;

/// Rows in one `<tbody>`. A full one has the class `b`: it is laid out when it comes near the window, and until then has the
/// height of so many rows of one line, 36 px each, or 60 on a phone. The style and the script know these numbers.
const BLOCK: usize = 100;

/// What is around the rows of a page.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Frame<'a> {
    /// The path of the topmost folder, decoded, with both slashes, and that of the folder beneath it.
    pub root: &'a str,
    pub path: &'a [u8],
    pub order: Order,
    pub controls: &'a Controls,
    /// Paths beneath this folder at which others are served, decoded.
    pub beside: &'a [String],
    pub offers_archives: bool,
}

/// The whole page of a folder of which no entries are shown.
pub(in super::super) fn without_entries(frame: &Frame<'_>) -> String {
    let mut rows = Rows::new(frame, None);
    rows.push_end();
    rows.text
}

/// Writes a page, piece by piece.
#[derive(Debug)]
pub(super) struct Rows {
    pub text: String,
    /// What links to folders carry.
    query: String,
    /// Rows to come, also of other pieces.
    left: usize,
    /// Rows of this block to come.
    left_in_block: usize,
    /// At the end.
    script: &'static str,
    /// Entries that something else hides.
    hidden: Vec<String>,
    /// The day of the last row, and how it is shown: most files of a folder are of few days.
    day: i64,
    day_text: String,
}

impl Rows {
    /// With what precedes the rows. `None`: there are none to be shown.
    pub fn new(frame: &Frame<'_>, entries: Option<&Entries>) -> Rows {
        let query = match frame.order {
            order if order == Order::default() => String::new(),
            order => format!("?sort={}", order.word()),
        };
        let left = entries.map_or(0, Entries::len);
        let (text, script, hidden) = (String::new(), frame.controls.script(), frame.beside.to_vec());
        let mut rows = Rows { text, query, left, left_in_block: 0, script, hidden, day: 0, day_text: String::new() };
        rows.push_start(frame, entries);
        rows
    }

    fn push_start(&mut self, frame: &Frame<'_>, entries: Option<&Entries>) {
        let Frame { controls, beside, .. } = *frame;
        let way = way(frame);
        let (text, query) = (&mut self.text, &self.query);
        text.push_str(HEAD);
        if let [_, .., last] = &way[..] {
            text.extend([last, " – "]); // a tab has room for the beginning
        }
        text.push_str("Index of ");
        text.extend(way.iter().map(String::as_str));
        text.extend([STYLE, controls.style(), NAV]);
        push_way(text, &way, query);
        text.push_str("</h1>");
        controls.push_account(text, shown);
        text.push_str("</nav>\n<main><p>");
        match entries {
            Some(entries) => {
                let folders = entries.folders();
                push_count(text, folders + beside.len(), entries.len() - folders, entries.is_complete());
            }
            None if controls.is_box => {
                text.push_str("<span id=n>You can upload files here. What is in this folder is not shown.</span>")
            }
            None => push_count(text, beside.len(), 0, true),
        }
        if frame.offers_archives {
            text.push_str(ARCHIVES);
        }
        text.push_str("</p>\n");
        controls.push_form(text);
        text.push_str(if controls.is_box { BOX_TABLE } else { TABLE });
        push_headings(text, frame.order);
        text.push('\n');
        if way.len() > 1 && !controls.is_box {
            text.extend(["<tbody id=up><tr><td><a href=\"../", query, "\">..</a><td><td>\n"]);
        }
        self.push_beside(beside);
    }

    /// Folders that are served beneath this one from elsewhere.
    fn push_beside(&mut self, beside: &[String]) {
        if !beside.is_empty() {
            self.text.push_str("<tbody>\n");
        }
        for path in beside {
            self.text.push_str("<tr><td><a href=\"");
            for name in path.split('/') {
                path::push_link(&mut self.text, name.as_bytes());
                self.text.push('/');
            }
            self.text.extend([&self.query, "\">"]);
            push_shown(&mut self.text, path.as_bytes());
            self.text.push_str("/</a><td><td>\n");
        }
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
        if !self.hidden.is_empty() && self.hidden.iter().any(|name| name.as_bytes() == entry.name) {
            self.left -= 1;
            return;
        }
        let text = &mut self.text;
        if self.left_in_block == 0 {
            text.push_str(if self.left < BLOCK { "<tbody>\n" } else { "<tbody class=b>\n" });
            self.left_in_block = BLOCK;
        }
        self.left -= 1;
        self.left_in_block -= 1;
        text.push_str("<tr><td><a href=\"");
        path::push_link(text, entry.name);
        if entry.is_folder {
            text.extend(["/", &self.query, "\">"]);
            push_shown(text, entry.name);
            text.push_str("/</a><td>");
        } else {
            text.push_str("\">");
            push_shown(text, entry.name);
            text.push_str("</a><td title=");
            push_number(text, entry.size.into());
            text.push('>');
            push_size(text, entry.size);
        }
        self.push_time(entry.modified.div_euclid(60));
        self.text.push('\n');
    }

    /// What follows the rows.
    pub fn push_end(&mut self) {
        self.text.extend([END, self.script]);
    }

    /// A cell with `2026-11-20 08:17`, in UTC, of minutes since 1970. Years that HTML has no form for are text.
    fn push_time(&mut self, minutes: i64) {
        let (day, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
        if self.day_text.is_empty() || self.day != day {
            let (year, month, of_month) = civil(day);
            self.day_text = format!("{year:04}-{month:02}-{of_month:02}");
            self.day = day;
        }
        let clock = [minute / 600, minute / 60 % 10, 10, minute % 60 / 10, minute % 10].map(|digit| b'0' + digit as u8);
        let clock = str::from_utf8(&clock).unwrap_or_default(); // b'0' + 10 is the colon
        let day = &self.day_text;
        match day.len() == 10 && !day.starts_with(['-', '0']) {
            true => self.text.extend(["<td><time datetime=", day, "T", clock, "Z>", day, " ", clock, "</time>"]),
            false => self.text.extend(["<td>", day, " ", clock]),
        }
    }
}

/// The topmost folder and those below it down to this one, as shown, each with its slash.
fn way(frame: &Frame<'_>) -> Vec<String> {
    let names = frame.path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let below = names.map(|name| shown(name) + "/");
    std::iter::once(shown(frame.root.as_bytes())).chain(below).collect()
}

/// A link to each folder above. They are relative: a proxy may have another path for this server.
fn push_way(text: &mut String, way: &[String], query: &str) {
    for (at, name) in way.iter().enumerate() {
        match way.len() - 1 - at {
            0 => text.extend(["<span aria-current=page>", name, "</span>"]),
            above => text.extend(["<a href=\"", &"../".repeat(above), query, "\">", name, "</a>"]),
        }
    }
}

/// The headings are buttons of a form, not links: clients that follow those would store the folder once for each order.
fn push_headings(text: &mut String, order: Order) {
    for (by, name) in [(By::Name, "Name"), (By::Size, "Size"), (By::Time, "Modified <i>UTC</i>")] {
        let sorted = match order.by == by {
            true if order.reversed => " aria-sort=descending",
            true => " aria-sort=ascending",
            false => "",
        };
        text.extend(["<th", sorted, "><button name=sort value=", next(by, order).word(), ">", name, "</button>"]);
    }
}

/// What a heading's button sorts by: the other way around if the page is sorted so, and at first by what is sought most
/// often, the largest and the newest.
fn next(by: By, now: Order) -> Order {
    Order { by, reversed: if now.by == by { !now.reversed } else { by != By::Name } }
}

/// `1 folder, 1,234 files`; before that, if these are not all, that they are not.
fn push_count(text: &mut String, folders: usize, files: usize, complete: bool) {
    if !complete {
        text.push_str("<b>Only ");
        push_grouped(text, folders + files);
        text.push_str(" of the names in here are shown:</b> ");
    }
    text.push_str("<span id=n>");
    if folders + files == 0 {
        text.push_str("This folder is empty.");
    }
    if folders > 0 {
        push_grouped(text, folders);
        text.push_str(if folders == 1 { " folder" } else { " folders" });
        text.push_str(if files > 0 { ", " } else { "" });
    }
    if files > 0 {
        push_grouped(text, files);
        text.push_str(if files == 1 { " file" } else { " files" });
    }
    text.push_str("</span>");
}

/// With a comma before each three digits.
fn push_grouped(text: &mut String, number: usize) {
    let digits = number.to_string();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
}

/// A name as it is shown, escaped.
fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    push_shown(&mut text, name);
    text
}

/// Append a name as it is shown, escaped. Characters that control or reorder what is around them, so that a name might look like
/// another one, are shown as U+FFFD, and so is what is not UTF-8.
fn push_shown(to: &mut String, name: &[u8]) {
    let text = String::from_utf8_lossy(name);
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'');
    if text.bytes().all(is_plain) {
        to.push_str(&text);
    } else {
        to.push_str(&escape_html(&text.replace(path::is_misleading, "\u{fffd}")));
    }
}

/// `999 B`, `1.0 KiB`, `12 MiB`.
pub(in super::super) fn push_size(to: &mut String, bytes: u64) {
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

fn push_number(to: &mut String, mut number: u128) {
    let mut digits = [b'0'; 39];
    let mut first = digits.len();
    while first == digits.len() || number > 0 {
        first -= 1;
        digits[first] += (number % 10) as u8;
        number /= 10;
    }
    to.push_str(str::from_utf8(&digits[first..]).unwrap_or_default());
}

// `page.css` and `page.js` are sent as they are, and so have no comments:
// - an icon is a shape cut out of the colour of its link, chosen by the end of the link: rows have no bytes for it;
// - on a phone, the link's `:after` covers the row, so that all of it can be touched;
// - a link that gets the focus is scrolled to below the sticky headings (`scroll-padding`);
// - the script makes a block's times local when it comes near the window, once: a time that has a title is done;
// - it reads the names for the filter when that is first used, and hides rows; a block then has the height of the rest.
//   One without any is hidden itself: of no height, all would be in the window, and be laid out when their rows come back;
// - the filter and the grid of pictures are in the URL, so that sorting, reloading and the button Back keep them;
// - names in subfolders and the sizes of folders are found by reading listings as JSON, four at a time and at most 2,000, while the page
//   is open: so the server has no walk of its own to limit, and everything shown is what the user may list;
// - a README of up to 64 KiB is shown as plain text below the rows;
// - Log out asks twice: by a request that makes Chromium forget the password without a question, and then for the page.
const HEAD: &str = "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n\
    <meta name=viewport content=\"width=device-width\">\n<link rel=icon href=\"data:,\">\n<title>";
const STYLE: &str = concat!("</title>\n<style>", include_str!("page.css"), "</style>\n");
const NAV: &str = "<nav><h1 id=h>";
/// Buttons, as the headings are: clients that follow links would fetch each folder once more for each.
const ARCHIVES: &str = " <span>Download all: <button form=f name=archive value=zip>zip</button>\
    <button form=f name=archive value=tar.gz>tar.gz</button></span>";
const TABLE: &str = "<div id=r></div><form id=f><table aria-labelledby=h>\n<thead><tr>";
const BOX_TABLE: &str = "<div id=r></div><form id=f hidden><table aria-labelledby=h>\n<thead><tr>";
const END: &str = concat!("</table></form></main>\n<script>", include_str!("page.js"), "</script>\n");

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
    fn counts() {
        for (folders, files, complete, expected) in [
            (0, 0, true, "This folder is empty."),
            (1, 0, true, "1 folder"),
            (0, 1, true, "1 file"),
            (2, 999, true, "2 folders, 999 files"),
            (1000, 1, true, "1,000 folders, 1 file"),
            (0, 1_234_567, true, "1,234,567 files"),
            (1, 99_999, false, "<b>Only 100,000 of the names in here are shown:</b> 1 folder, 99,999 files"),
        ] {
            let mut text = String::new();
            push_count(&mut text, folders, files, complete);
            assert_eq!(
                text.replace("<span id=n>", "").replace("</span>", ""),
                expected,
                "{folders}, {files}, {complete}"
            );
        }
    }

    #[test]
    fn dates() {
        let mut rows = Rows {
            text: String::new(),
            query: String::new(),
            left: 0,
            left_in_block: 0,
            script: "",
            hidden: Vec::new(),
            day: 0,
            day_text: String::new(),
        };
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
            let odd = format!("<td>{expected}");
            let usual = format!("<td><time datetime={}Z>{expected}</time>", expected.replace(' ', "T"));
            assert_eq!(
                rows.text,
                if expected.len() == 16 && !expected.starts_with('0') { usual } else { odd },
                "{seconds}"
            );
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
