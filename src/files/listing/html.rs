//! The HTML of a listing: the page and its rows. Called by `listing`. It knows names, sizes and dates, not files.

use super::super::path;
use super::super::stat::civil;
use super::controls::Controls;
use super::entries::{Beside, Entries, Entry};
use super::json::push_links;
use super::view::{By, Order};
use crate::escape_html;

/// How many rows one `<tbody>` has. A full block has the class `b`: the browser computes its layout when it comes near
/// the window. Until then it has the height of this many one-line rows, `--h` each. The style contains this number.
const BLOCK: usize = 100;

/// The parts of a page around its rows.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Frame<'a> {
    /// The path of the topmost folder, decoded, with both slashes. `path` is the path of this folder below it.
    pub root: &'a str,
    pub path: &'a [u8],
    pub order: Order,
    pub controls: &'a Controls,
    pub beside: &'a [Beside],
    pub offers_archives: bool,
}

pub(in super::super) fn without_entries(frame: &Frame<'_>) -> String {
    let mut rows = Rows::new(frame, None);
    rows.push_end();
    rows.text
}

#[derive(Debug)]
pub(super) struct Rows {
    pub text: String,
    /// The query of links to folders.
    query: String,
    /// How many rows follow, including those of other pieces.
    left: usize,
    /// How many rows of this block follow.
    left_in_block: usize,
    script: &'static str,
    /// The day of the last row, and its text: most files of a folder have few different days.
    day: i64,
    day_text: String,
}

impl Rows {
    /// Begins with everything before the rows. `None`: no rows follow.
    pub fn new(frame: &Frame<'_>, entries: Option<&Entries>) -> Rows {
        let query = match frame.order {
            order if order == Order::default() => String::new(),
            order => format!("?sort={}", order.word()),
        };
        let left = entries.map_or(0, Entries::len);
        let (text, script) = (String::new(), frame.controls.script());
        let mut rows = Rows { text, query, left, left_in_block: 0, script, day: 0, day_text: String::new() };
        rows.push_start(frame, entries);
        rows
    }

    fn push_start(&mut self, frame: &Frame<'_>, entries: Option<&Entries>) {
        let controls = frame.controls;
        let boxes = entries.map_or(&[][..], |entries| &entries.boxes);
        let beside = || frame.beside.iter().chain(boxes);
        let way = way(frame);
        let (text, query) = (&mut self.text, &self.query);
        text.push_str(HEAD);
        if let [_, .., last] = &way[..] {
            text.extend([last, " – "]); // a tab shows only the beginning
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
                let folders = entries.folders;
                push_count(text, folders + beside().count(), entries.len() - folders, entries.is_complete);
            }
            None if controls.is_box => {
                text.push_str("<span id=n>You can upload files here. The contents of this folder are not shown.</span>")
            }
            None => push_count(text, beside().count(), 0, true),
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
        self.push_beside(beside());
    }

    /// Appends rows for folders that are not entries, or that the user cannot read.
    fn push_beside<'b>(&mut self, beside: impl Iterator<Item = &'b Beside>) {
        for (at, Beside { path, is_box }) in beside.enumerate() {
            self.text.push_str(if at == 0 { "<tbody id=by>\n" } else { "" });
            self.text.push_str(if *is_box { "<tr class=w><td><a href=\"" } else { "<tr><td><a href=\"" });
            push_links(&mut self.text, path);
            self.text.extend(["/", &self.query, "\">"]);
            push_shown(&mut self.text, path.as_bytes());
            self.text.push_str(if *is_box { "/</a><td>only uploads<td>\n" } else { "/</a><td><td>\n" });
        }
    }

    pub fn push(&mut self, entry: &Entry<'_>) {
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
            text.push_str(if entry.is_link { "/</a><td class=l>" } else { "/</a><td>" });
        } else {
            text.push_str("\">");
            push_shown(text, entry.name);
            text.push_str("</a><td title=");
            push_number(text, entry.size);
            text.push('>');
            push_size(text, entry.size);
        }
        self.push_time(entry.modified.div_euclid(60));
        self.text.push('\n');
    }

    pub fn push_end(&mut self) {
        self.text.extend([END, self.script]);
    }

    /// Appends a cell with a time, in minutes since 1970, such as `2026-11-20 08:17`, in UTC. Years that HTML cannot
    /// represent are plain text.
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

/// Returns the topmost folder and the folders from it to this one, as displayed, each with its slash.
fn way(frame: &Frame<'_>) -> Vec<String> {
    let names = frame.path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    let below = names.map(|name| shown(name) + "/");
    std::iter::once(shown(frame.root.as_bytes())).chain(below).collect()
}

/// Appends a link to each folder above. The links are relative, because a proxy may use another path for this server.
fn push_way(text: &mut String, way: &[String], query: &str) {
    for (at, name) in way.iter().enumerate() {
        match way.len() - 1 - at {
            0 => text.extend(["<span aria-current=page>", name, "</span>"]),
            above => text.extend(["<a href=\"", &"../".repeat(above), query, "\">", name, "</a>"]),
        }
    }
}

/// The headings are buttons of a form, not links: clients that follow links would download the folder once per order.
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

/// Returns the order that a heading's button selects: the reverse if the page is already sorted by it. Otherwise the
/// largest or newest come first, which is more useful.
fn next(by: By, now: Order) -> Order {
    Order { by, reversed: if now.by == by { !now.reversed } else { by != By::Name } }
}

/// Appends `1 folder, 1,234 files`; if entries are missing, a note before it.
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

/// Appends a number with a comma before each group of three digits.
fn push_grouped(text: &mut String, number: usize) {
    let digits = number.to_string();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
}

/// Returns a name for display, escaped.
fn shown(name: &[u8]) -> String {
    let mut text = String::new();
    push_shown(&mut text, name);
    text
}

/// Appends a name for display, escaped. Characters that control or reorder the text around them, so that a name could
/// look like another one, become U+FFFD, and so do bytes that are not UTF-8.
fn push_shown(to: &mut String, name: &[u8]) {
    let text = String::from_utf8_lossy(name);
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'&' | b'<' | b'>' | b'"' | b'\'');
    if text.bytes().all(is_plain) {
        to.push_str(&text);
    } else {
        to.push_str(&escape_html(&text.replace(crate::misleading::is_misleading, "\u{fffd}")));
    }
}

/// `999 B`, `1.0 KiB`, `12 MiB`.
pub(in super::super) fn push_size(to: &mut String, bytes: u64) {
    const UNITS: [&str; 7] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"];
    // In units of 1024^unit, rounded. A value that would round to 1024 of a unit is 1 of the next.
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

fn push_number(to: &mut String, number: impl itoa::Integer) {
    to.push_str(itoa::Buffer::new().format(number));
}

// `page.css` and `page.js` are sent unchanged, so they contain no comments:
// - An icon is a shape cut out of the colour of its link, chosen by the end of the link, so rows have no bytes for it.
// - On a phone, the link's `:after` covers the row, so that the whole row reacts to a touch.
// - A link that gets the focus is scrolled below the sticky headings (`scroll-padding`).
// - The script converts a block's times to local time when the block comes near the window. A converted time has a
//   title.
// - The script reads the names for the filter when the filter is first used, and hides rows. A block's height is then
//   that of its visible rows. A block without visible rows is hidden: with a height of 0, all such blocks would be in
//   the window, and the browser would compute their layout when their rows come back.
// - The filter and the grid of pictures are in the URL, so that sorting, reloading and the button Back keep them.
// - Names in subfolders and the sizes of folders come from listings as JSON, four at a time and at most 2,000, while
//   the page is open. So the server needs no recursive walk with limits, and only listings that the user can read are
//   shown.
// - A README of up to 64 KiB is displayed below the rows: as HTML if the server renders Markdown (`?format=html`), and
//   otherwise as plain text. It is read again whenever the rows are replaced. It comes late, so the script scrolls to
//   the heading that the URL names, unless the user has scrolled, reloaded the page or returned to it. The script also
//   lets keys scroll the parts that are wider than the window.
// - Lengths that belong to text are in `rem`, so that the page follows the font size that the user has set.
const HEAD: &str = "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n\
    <meta name=viewport content=\"width=device-width\">\n<link rel=icon href=\"data:,\">\n<title>";
const STYLE: &str = concat!("</title>\n<style>", include_str!("page.css"), "</style>\n");
const NAV: &str = "<nav><h1 id=h>";
/// Buttons, like the headings: with links, clients that follow them would download each folder several times.
const ARCHIVES: &str = " <span>Download all: <button form=f name=archive value=zip>zip</button>\
    <button form=f name=archive value=tar.gz>tar.gz</button></span>";
const TABLE: &str = "<div id=r></div><form id=f><table aria-labelledby=h>\n<thead><tr>";
const BOX_TABLE: &str = "<div id=r></div><form id=f hidden><table aria-labelledby=h>\n<thead><tr>";
const END: &str = concat!(
    "</table></form></main>\n<script>",
    include_str!("page.js"),
    include_str!("../../http/request/logout.js"),
    "</script>\n"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_are_rounded() {
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
    fn the_count_names_folders_and_files() {
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
    fn dates_are_in_utc_to_the_minute() {
        let mut rows = Rows {
            text: String::new(),
            query: String::new(),
            left: 0,
            left_in_block: 0,
            script: "",
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
    fn names_are_escaped_for_display() {
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
            ("a\u{2028}b\u{2029}", "a\u{fffd}b\u{fffd}"),
            // joiners combine several characters into one letter or picture
            (
                "\u{200c}\u{200d}\u{2010}\u{2027}\u{202f}\u{2065}\u{206a}",
                "\u{200c}\u{200d}\u{2010}\u{2027}\u{202f}\u{2065}\u{206a}",
            ),
            ("日本 שלום", "日本 שלום"),
        ] {
            let mut text = String::new();
            push_shown(&mut text, name.as_bytes());
            assert_eq!(text, expected, "{}", name.escape_unicode());
        }
    }
}
