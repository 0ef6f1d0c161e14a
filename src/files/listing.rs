//! The HTML listing of a folder. Called by `handler`. It lists only what is served: no hidden files, no FIFOs, no links
//! that lead outside.
//!
//! Only the names are held, however large the folder: rows are written, and sizes looked up, while the page is sent.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use super::entries::{Entries, Entry, ListingBudget};
use super::find::Finder;
use super::open::{self, FileStat, FileTime, Kind, OpenError, Root};
use super::path;
use crate::Response;

/// Pages with up to this many entries are built in memory, and so have a Content-Length.
const MAX_BUFFERED: usize = 1000;
/// A page is written in pieces of about this size.
const BUFFER_SIZE: usize = 16 << 10;

/// The listing of a folder. `title` is its path as shown.
pub(super) fn page(finder: &Finder, budget: &ListingBudget, path: &[u8], title: &str) -> Result<Response, OpenError> {
    let folder = finder.root.open_folder(path)?;
    let entries = Entries::read(finder, &folder, path)?;
    let count = entries.len();
    let entries = if count <= MAX_BUFFERED { entries } else { entries.reserve(budget)? };
    let mut page = ListingPage {
        root: finder.root.clone(),
        folder,
        path: path.to_vec(),
        entries,
        ended: false,
        text: page_start(title, path.is_empty(), count == 0),
        sent: 0,
    };
    let response = if count <= MAX_BUFFERED {
        let mut text = Vec::new();
        page.read_to_end(&mut text)?;
        Response::bytes(text)
    } else {
        Response::stream(page)
    };
    Ok(response.with_content_type("text/html; charset=utf-8"))
}

/// A listing that is being sent.
struct ListingPage {
    root: Root,
    folder: OwnedFd,
    path: Vec<u8>,
    entries: Entries,
    ended: bool,
    /// The current piece, of which `sent` bytes are sent.
    text: String,
    sent: usize,
}

impl Read for ListingPage {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.sent == self.text.len() {
            self.text.clear();
            self.sent = 0;
            self.fill_buffer();
        }
        let count = buffer.len().min(self.text.len() - self.sent);
        buffer[..count].copy_from_slice(&self.text.as_bytes()[self.sent..self.sent + count]);
        self.sent += count;
        Ok(count)
    }
}

impl ListingPage {
    fn fill_buffer(&mut self) {
        while self.text.len() < BUFFER_SIZE && !self.ended {
            match self.entries.next() {
                Some(entry) => write_entry(&mut self.text, entry, &self.root, &self.folder, &self.path),
                None => {
                    self.text.push_str(if self.entries.is_complete() { "</table>\n" } else { CUT_OFF });
                    self.ended = true;
                }
            }
        }
    }
}

/// An entry that was deleted meanwhile has no row.
fn write_entry(text: &mut String, entry: Entry<'_>, root: &Root, folder: &OwnedFd, path: &[u8]) {
    let found = if entry.is_link {
        root.stat_checked(&path::join(path, entry.name)).ok()
    } else {
        open::stat_in(folder, entry.name).ok()
    };
    if let Some(stat) = found.filter(|stat| matches!(stat.kind, Kind::File | Kind::Folder)) {
        write_row(text, entry.name, &stat);
    }
}

fn write_row(text: &mut String, name: &[u8], stat: &FileStat) {
    let slash = if stat.kind == Kind::Folder { "/" } else { "" };
    text.push_str("<tr><td><a href=\"");
    path::push_link(text, name);
    let _ = write!(text, "{slash}\">");
    push_escaped(text, &String::from_utf8_lossy(name));
    let _ = write!(text, "{slash}</a><td>");
    if stat.kind == Kind::File {
        push_size(text, stat.size);
    }
    text.push_str("<td>");
    push_date(text, stat.modified);
    text.push('\n');
}

fn page_start(title: &str, top: bool, empty: bool) -> String {
    let mut text = String::with_capacity(BUFFER_SIZE);
    text.push_str(HEAD);
    push_escaped(&mut text, title);
    text.push_str(STYLE);
    push_escaped(&mut text, title);
    text.push_str(TABLE);
    if !top {
        text.push_str("<tr><td><a href=\"../\">..</a><td><td>\n");
    }
    if empty {
        text.push_str("<tr><td>There is nothing in here.<td><td>\n");
    }
    text
}

/// Escape text for HTML, also within quotes. Control characters become U+FFFD.
fn push_escaped(to: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            _ if letter.is_control() => to.push(char::REPLACEMENT_CHARACTER),
            _ => to.push(letter),
        }
    }
}

/// `999 B`, `1.0 KiB`, `12 MiB`.
fn push_size(to: &mut String, bytes: u64) {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        // What would be rounded to 1024 of a unit is 1 of the next.
        if size < 1023.5 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    let digits = usize::from(unit != "B" && size < 9.95);
    let _ = write!(to, "{size:.digits$} {unit}");
}

/// `2026-11-20 08:17`, in UTC. File times may be any second of 64 bits.
fn push_date(to: &mut String, time: FileTime) {
    let days = time.seconds.div_euclid(86_400);
    let minutes = time.seconds.rem_euclid(86_400) / 60;
    let (year, month, day) = civil(days);
    let _ = write!(to, "{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60);
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
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 10, "10 KiB"),
            ((10 << 10) - 1, "10 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            let mut text = String::new();
            push_size(&mut text, bytes);
            assert_eq!(text, expected, "{bytes}");
        }
    }

    #[test]
    fn dates() {
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
            let mut text = String::new();
            push_date(&mut text, FileTime { seconds, nanos: 0 });
            assert_eq!(text, expected, "{seconds}");
        }
    }

    #[test]
    fn text_is_escaped() {
        let mut text = String::new();
        push_escaped(&mut text, "<a href='x' title=\"y\">&\u{1b}\u{85}\nü");
        assert_eq!(text, "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;\u{fffd}\u{fffd}\u{fffd}ü");
    }
}
