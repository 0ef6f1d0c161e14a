//! The entries of a folder that are served: names, sizes and dates, read and sorted. Called by `listing`.
//!
//! They stay in memory until the client has read the page. So each is stored compactly, in 24 bytes and its name, and
//! all together use at most `MAX_HELD`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::hash_map::RandomState;
use std::ffi::CStr;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;

use rustix::fs::FileType;

use super::super::find::Finder;
use super::super::open::OpenError;
use super::super::path;
use super::super::rights::{Granted, List, Read, Rights, Write};
use super::super::stat::{FileStat, Kind, stat_in};
use super::super::sys;
use super::folder_watch::Watching;
use super::view::{By, Order};
use crate::misleading::begins_with_dot;
use crate::slots::{Slot, Slots};

/// Further entries of a folder are not listed.
const MAX_ENTRIES: usize = 100_000;
/// How many folders that can only be written to are listed. Each of them has a rule of its own, so there are few.
const MAX_BOXES: usize = 1000;
/// How many bytes the entries of all folders that are being read or sent can use together.
const MAX_HELD: u64 = 64 << 20;
/// How many bytes of names one allocation holds.
const BLOCK: usize = 64 << 10;
/// How many bytes are reserved at a time while reading.
const RESERVATION: usize = 256 << 10;

/// Paths below a folder that are not in it, or that can only be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Beside {
    /// The path below the folder, decoded.
    pub path: String,
    /// Whether the user can only write there.
    pub is_box: bool,
}

/// The entries of one folder, in listing order: folders first.
#[derive(Debug)]
pub(super) struct Entries {
    names: Names,
    rows: Vec<Row>,
    pub folders: usize,
    /// Folders that the user can only write to.
    pub boxes: Vec<Beside>,
    /// Whether all entries are listed.
    pub is_complete: bool,
    /// `None` if there are so few entries that their memory is neglected.
    reservation: Option<Slot>,
}

/// Names, one after another in the order of reading, in blocks: a growing vector would be copied, and leave holes.
#[derive(Debug, Default)]
struct Names(Vec<Vec<u8>>);

#[derive(Clone, Copy, Debug)]
struct Row {
    /// 0 for a folder, so that folders are sorted by name.
    size: u64,
    /// Seconds since 1970.
    modified: i64,
    /// The block of the name, and its position in it.
    block: u16,
    start: u16,
    length: u16,
    is_folder: bool,
    is_link: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub is_folder: bool,
    /// Whether the name is that of a link, to a file or folder with this data.
    pub is_link: bool,
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

impl Entries {
    /// Reads the entries that are served and visible, and sorts them. More than `free` entries reserve memory while
    /// they are read, which fails if other folders use too much. A folder that was removed is not found. `watching` is
    /// dropped if the kernel does not report all changes. With `boxes`, folders that the user can only write to are
    /// found too.
    pub fn read(
        finder: &Finder,
        (folder, rights, boxes): (Granted<'_, List>, &Rights, bool),
        order: Order,
        budget: &Budget,
        free: usize,
        watching: &mut Option<Watching<'_>>,
    ) -> Result<Entries, OpenError> {
        let mut entry = path::join(folder.path(), b"");
        let folder_length = entry.len();
        let folder = finder.root.open_folder(&folder)?;
        *watching = watching.take().and_then(|watching| watching.begin(&folder));
        let mut entries = Entries::new();
        sys::for_each_entry(&folder, |(name, kind)| {
            if entries.rows.len() == MAX_ENTRIES || entries.boxes.len() == MAX_BOXES {
                entries.is_complete = false;
                *watching = None;
                return Ok(ControlFlow::Break(()));
            }
            entry.truncate(folder_length);
            entry.extend_from_slice(name.to_bytes());
            let Some(granted) = rights.grant::<Read>(&entry) else {
                if boxes && kind == FileType::Directory {
                    entries.push_box(finder, rights.grant::<Write>(&entry));
                }
                return Ok(ControlFlow::Continue(()));
            };
            if let Some((stat, is_link)) = stat_of_served(finder, &folder, granted, name, kind, watching) {
                entries.push(name.to_bytes(), &stat, is_link);
                if entries.rows.len() > free {
                    entries.reserve(budget)?;
                }
            }
            Ok::<_, OpenError>(ControlFlow::Continue(()))
        })?;
        entries.boxes.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        entries.sort(order);
        Ok(entries)
    }

    fn new() -> Entries {
        let (names, rows, boxes) = (Names::default(), Vec::new(), Vec::new());
        Entries { names, rows, folders: 0, boxes, is_complete: true, reservation: None }
    }

    /// Adds a folder without size and date, which the user must not read.
    fn push_box(&mut self, finder: &Finder, granted: Option<Granted<'_, Write>>) {
        let Some(path) = granted.map(|granted| granted.path()).filter(|path| !finder.is_hidden(path)) else { return };
        if let Ok(name) = str::from_utf8(path::name(path)) {
            self.boxes.push(Beside { path: name.to_owned(), is_box: true });
        }
    }

    fn push(&mut self, name: &[u8], stat: &FileStat, is_link: bool) {
        let (block, start) = self.names.push(name);
        let is_folder = stat.kind == Kind::Folder;
        self.folders += usize::from(is_folder);
        let size = if is_folder { 0 } else { stat.size };
        self.rows.push(Row {
            size,
            modified: stat.dated().seconds,
            block,
            start,
            length: name.len() as u16,
            is_folder,
            is_link,
        });
    }

    /// Reserves the memory in use now, and the memory for sorting.
    fn reserve(&mut self, budget: &Budget) -> Result<(), OpenError> {
        let used = self.names.held() + self.rows.len() * (size_of::<Row>() + size_of::<(u128, Row)>());
        let reservation = self.reservation.get_or_insert_with(|| budget.0.none());
        let is_held = used <= reservation.number || reservation.resize(used + RESERVATION);
        is_held.then_some(()).ok_or_else(too_many)
    }

    fn sort(&mut self, order: Order) {
        let Entries { names, rows, .. } = self;
        let mut keyed: Vec<(u128, Row)> = rows.iter().map(|row| (row.key(order, names), *row)).collect();
        keyed.sort_unstable_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.compare(b, order, names)));
        rows.clear();
        rows.extend(keyed.iter().map(|(_, row)| row));
        drop(keyed);
        rows.shrink_to_fit();
        let held = names.held() + size_of_val(&rows[..]);
        if let Some(reservation) = &mut self.reservation {
            reservation.resize(held); // less than before
        }
    }

    /// Returns a hash of everything that is sent: these words about the folder, and its entries, with dates in minutes
    /// or in seconds. If two reads return the entries in different orders, their hashes can differ.
    pub fn tag(&self, keys: &RandomState, view: [&[u8]; 3], seconds: bool) -> u64 {
        let mut hasher = keys.build_hasher();
        // Another version of the program may produce another page.
        hasher.write(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes());
        for part in view {
            hasher.write(part);
            hasher.write_u8(0); // no name contains it
        }
        hasher.write_u8(u8::from(self.is_complete));
        hasher.write_usize(self.rows.len());
        self.names.0.iter().for_each(|block| hasher.write(block));
        for Beside { path, .. } in &self.boxes {
            hasher.write(path.as_bytes());
            hasher.write_u8(0);
        }
        for row in &self.rows {
            let position = u64::from(row.block) << 16 | u64::from(row.start);
            let kind = u64::from(row.is_folder) << 1 | u64::from(row.is_link);
            hasher.write_u64(position << 18 | u64::from(row.length) << 2 | kind);
            hasher.write_u64(row.size);
            hasher.write_i64(if seconds { row.modified } else { row.modified.div_euclid(60) });
        }
        hasher.finish()
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns the entries from this position on.
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = Entry<'_>> {
        self.rows[first..].iter().map(|row| {
            let Row { size, modified, is_folder, is_link, .. } = *row;
            Entry { name: row.name(&self.names), is_folder, is_link, size, modified }
        })
    }
}

impl Names {
    /// Stores a name. It is shorter than `PATH_MAX`, so `MAX_ENTRIES` names take fewer than 7,000 blocks.
    fn push(&mut self, name: &[u8]) -> (u16, u16) {
        if self.0.last().is_none_or(|block| block.len() + name.len() > BLOCK) {
            self.0.push(Vec::with_capacity(BLOCK));
        }
        let last = self.0.len() - 1;
        let start = self.0[last].len();
        self.0[last].extend_from_slice(name);
        (last as u16, start as u16)
    }

    fn held(&self) -> usize {
        self.0.len() * BLOCK
    }
}

impl Row {
    fn name<'a>(&self, names: &'a Names) -> &'a [u8] {
        &names.0[usize::from(self.block)][usize::from(self.start)..][..usize::from(self.length)]
    }

    /// Rows with different keys are in the order of their keys.
    fn key(&self, order: Order, names: &Names) -> u128 {
        let mut key = [0; 16];
        let (folder, rest) = key.split_at_mut(1);
        folder[0] = u8::from(!self.is_folder);
        let turned = match order.by {
            By::Name => {
                push_natural_key(&decomposed(self.name(names)), rest);
                rest
            }
            By::Size | By::Time => {
                let (value, rest) = rest.split_at_mut(8);
                value.copy_from_slice(&self.value(order).to_be_bytes());
                push_natural_key(&decomposed(self.name(names)), rest);
                value
            }
        };
        if order.reversed {
            turned.iter_mut().for_each(|byte| *byte = !*byte);
        }
        u128::from_be_bytes(key)
    }

    /// Folders first, then the requested order, then natural order: ASCII letters without case, and `file 2` before
    /// `file 10`.
    fn compare(&self, other: &Row, order: Order, names: &Names) -> Ordering {
        let (one, two) = (self.name(names), other.name(names));
        let turned = |found: Ordering| if order.reversed { found.reverse() } else { found };
        let by_name = natural(&decomposed(one), &decomposed(two)).then_with(|| one.cmp(two));
        other.is_folder.cmp(&self.is_folder).then_with(|| match order.by {
            By::Name => turned(by_name),
            By::Size | By::Time => turned(self.value(order).cmp(&other.value(order))).then(by_name),
        })
    }

    /// Returns the sort value of a size or a date; dates before 1970 come first.
    fn value(&self, order: Order) -> u64 {
        match order.by {
            By::Time => self.modified.cast_unsigned() ^ 1 << 63,
            By::Name | By::Size => self.size,
        }
    }
}

/// Returns the metadata of a visible entry, or of a link's target, and whether it is a link; `None`: it is not served,
/// or was deleted.
fn stat_of_served(
    finder: &Finder,
    folder: &OwnedFd,
    entry: Granted<'_, Read>,
    name: &CStr,
    kind: FileType,
    watching: &mut Option<Watching<'_>>,
) -> Option<(FileStat, bool)> {
    if begins_with_dot(name.to_bytes()) && finder.is_hidden(entry.path()) {
        return None;
    }
    if !matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown) {
        return None;
    }
    *watching = watching.take().and_then(|watching| watching.expect(folder, name, kind));
    let stat = if kind == FileType::Symlink { None } else { stat_in(folder, name).ok() };
    // If the entry has become a link since, its target decides.
    let stat = stat.filter(|stat| stat.kind != Kind::Link);
    let is_link = stat.is_none();
    let stat = stat.or_else(|| finder.root.stat_checked(entry.path()).ok());
    *watching = watching.take().and_then(|watching| watching.found(name, kind, stat.as_ref()));
    stat.filter(|stat| matches!(stat.kind, Kind::File | Kind::Folder)).map(|stat| (stat, is_link))
}

/// Returns a name in the form for sorting, Unicode's NFD. macOS decomposes letters that other systems compose, and
/// readers see no difference.
#[cfg(feature = "unicode")]
fn decomposed(name: &[u8]) -> Cow<'_, [u8]> {
    use unicode_normalization::UnicodeNormalization;
    match str::from_utf8(name) {
        Ok(text) if !text.is_ascii() => Cow::Owned(text.nfd().collect::<String>().into_bytes()),
        _ => Cow::Borrowed(name),
    }
}

#[cfg(not(feature = "unicode"))]
fn decomposed(name: &[u8]) -> Cow<'_, [u8]> {
    Cow::Borrowed(name)
}

fn natural(a: &[u8], b: &[u8]) -> Ordering {
    // Generated names often have a common beginning and differ in a number, which is compared from its first digit.
    const STRIDE: usize = 16;
    let alike = a.chunks_exact(STRIDE).zip(b.chunks_exact(STRIDE)).take_while(|(one, other)| one == other).count();
    let digits = a[..alike * STRIDE].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut a, mut b) = (&a[alike * STRIDE - digits..], &b[alike * STRIDE - digits..]);
    while let (Some(first), Some(second)) = (a.first(), b.first()) {
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let ((one, rest), (other, others)) = (number(a), number(b));
            (a, b) = (rest, others);
            one.len().cmp(&other.len()).then_with(|| one.cmp(other))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            first.to_ascii_lowercase().cmp(&second.to_ascii_lowercase())
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Appends the beginning of a key whose bytes compare as `natural` compares names. A number is written as a digit,
/// which marks it as a number, the count of its digits, and the digits. It ends at a number with 255 digits or more.
/// The key is filled with zeros.
fn push_natural_key(mut name: &[u8], mut key: &mut [u8]) {
    let mut push = |byte| match std::mem::take(&mut key) {
        [] => false,
        [first, rest @ ..] => {
            *first = byte;
            key = rest;
            true
        }
    };
    while let Some(first) = name.first() {
        if first.is_ascii_digit() {
            let (digits, rest) = number(name);
            let count = u8::try_from(digits.len()).unwrap_or(u8::MAX);
            if !(push(b'0') && push(count) && count < u8::MAX && digits.iter().all(|&digit| push(digit))) {
                return;
            }
            name = rest;
        } else {
            if !push(first.to_ascii_lowercase()) {
                return;
            }
            name = &name[1..];
        }
    }
}

/// Returns the leading digits, without leading zeros, and the rest.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().take_while(|&&byte| byte == b'0').count();
    (&text[zeros..end], &text[end..])
}

/// The memory of the entries of all folders. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Slots);

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(crate::available_memory())
    }
}

impl Budget {
    pub fn new(memory: u64) -> Budget {
        Budget(Slots::new((memory / 8).min(MAX_HELD) as usize))
    }

    /// Reserves this many bytes until the result is dropped.
    pub fn reserve(&self, bytes: usize) -> Result<Slot, OpenError> {
        let mut reservation = self.0.none();
        reservation.resize(bytes).then_some(reservation).ok_or_else(too_many)
    }
}

fn too_many() -> OpenError {
    OpenError::TooManyListings(io::Error::other("too many large folders are being listed"))
}

#[cfg(test)]
mod tests;
