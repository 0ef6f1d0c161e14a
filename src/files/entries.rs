//! The entries of a folder that are served: read, sorted, stored compactly. Called by `listing`.
//!
//! They are kept while their page is being sent, as slowly as the client reads: so they lie in two allocations, some
//! 30 bytes an entry, and all pages together hold no more than `MAX_HELD`.

use std::cmp::Ordering;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustix::fs::{FileType, RawDir};

use super::find::Finder;
use super::open::{self, Kind, OpenError};
use super::path;

/// Further entries of a folder are not listed.
const MAX_ENTRIES: usize = 100_000;
/// Bytes that the entries of all pages being sent may occupy together.
const MAX_HELD: usize = 64 << 20;

/// Bytes of entries that are read at a time.
const READ_SIZE: usize = 32 << 10;

/// The entries of one folder, in the order they are listed.
pub(super) struct Entries {
    /// All names, concatenated, in the order they were read.
    bytes: Vec<u8>,
    order: Vec<NameSpan>,
    next: usize,
    complete: bool,
    _reservation: Option<BudgetReservation>,
}

/// The position of a name in `bytes`, and what it names.
struct NameSpan {
    start: u32,
    length: u16,
    is_folder: bool,
    is_link: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub name: &'a [u8],
    pub is_link: bool,
}

/// The bytes that all pages being sent hold. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct ListingBudget(Arc<AtomicUsize>);

/// Released when dropped.
struct BudgetReservation {
    budget: ListingBudget,
    bytes: usize,
}

impl Drop for BudgetReservation {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes, Relaxed); // relaxed: no other memory is synchronized by this counter
    }
}

impl Entries {
    /// Read the entries that are served and sort them, folders first.
    pub fn read(finder: &Finder, folder: &OwnedFd, path: &[u8]) -> Result<Entries, OpenError> {
        let mut entries = Entries { bytes: Vec::new(), order: Vec::new(), next: 0, complete: true, _reservation: None };
        let mut buffer = Vec::with_capacity(READ_SIZE);
        let mut dirents = RawDir::new(folder, buffer.spare_capacity_mut());
        // Of a removed folder that is still open the kernel says ENOENT, so it is not found; `Dir` would take it for empty.
        while let Some(dirent) = dirents.next() {
            let dirent = dirent?;
            let name = dirent.file_name().to_bytes();
            if matches!(name, b"." | b"..") || finder.is_hidden(&path::join(path, name)) {
                continue;
            }
            if entries.order.len() == MAX_ENTRIES {
                entries.complete = false;
                break;
            }
            if let Some((is_folder, is_link)) = served_kind(finder, folder, path, name, dirent.file_type()) {
                entries.push(name, is_folder, is_link);
            }
        }
        let Entries { bytes, order, .. } = &mut entries;
        order.sort_unstable_by(|a, b| compare(a, b, bytes));
        Ok(entries)
    }

    fn push(&mut self, name: &[u8], is_folder: bool, is_link: bool) {
        let start = self.bytes.len() as u32; // a name has 255 bytes at most, so all have 26 MB
        self.order.push(NameSpan { start, length: name.len() as u16, is_folder, is_link });
        self.bytes.extend_from_slice(name);
    }

    /// Reserve budget, for a page that is streamed: an error if those being sent hold too much.
    pub fn reserve(mut self, budget: &ListingBudget) -> Result<Entries, OpenError> {
        self.bytes.shrink_to_fit();
        self.order.shrink_to_fit();
        let bytes = self.bytes.len() + self.order.len() * size_of::<NameSpan>();
        let before = budget.0.fetch_add(bytes, Relaxed);
        self._reservation = Some(BudgetReservation { budget: budget.clone(), bytes });
        if before + bytes > MAX_HELD {
            return Err(OpenError::TooManyListings(io::Error::other("too many large listings are being sent")));
        }
        Ok(self)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no entry was left out.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    pub fn next(&mut self) -> Option<Entry<'_>> {
        let span = self.order.get(self.next)?;
        self.next += 1;
        Some(Entry { name: span.of(&self.bytes), is_link: span.is_link })
    }
}

impl NameSpan {
    fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..][..usize::from(self.length)]
    }
}

/// Whether it is a folder, and whether a link; `None`: it is not served.
fn served_kind(finder: &Finder, folder: &OwnedFd, path: &[u8], name: &[u8], kind: FileType) -> Option<(bool, bool)> {
    let kind = match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        FileType::Unknown => open::stat_in(folder, name).ok()?.kind,
        _ => Kind::Other,
    };
    let is_link = kind == Kind::Link;
    let kind = if is_link { finder.root.stat_checked(&path::join(path, name)).ok()?.kind } else { kind };
    matches!(kind, Kind::File | Kind::Folder).then_some((kind == Kind::Folder, is_link))
}

/// Folders first, then natural order: ASCII letters without case, and `file 2` before `file 10`.
fn compare(a: &NameSpan, b: &NameSpan, bytes: &[u8]) -> Ordering {
    let (one, other) = (a.of(bytes), b.of(bytes));
    b.is_folder.cmp(&a.is_folder).then_with(|| natural(one, other)).then_with(|| one.cmp(other))
}

fn natural(mut a: &[u8], mut b: &[u8]) -> Ordering {
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

/// The leading digits, without leading zeros, and the rest.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().take_while(|&&byte| byte == b'0').count();
    (&text[zeros..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pages_under_way_hold_is_bounded() {
        let entries =
            || Entries { bytes: vec![0; MAX_HELD / 2], order: Vec::new(), next: 0, complete: true, _reservation: None };
        let budget = ListingBudget::default();
        let first = entries().reserve(&budget).expect("there is room");
        let second = entries().reserve(&budget).expect("there is room for two");
        assert!(matches!(entries().reserve(&budget), Err(OpenError::TooManyListings(_))), "there was room for three");
        drop(first);
        let third = entries().reserve(&budget).expect("one is gone, and who was refused holds nothing");
        drop((second, third));
        assert_eq!(budget.0.load(Relaxed), 0);
    }

    #[test]
    fn names_in_natural_order() {
        for (one, other, expected) in [
            ("a", "b", Ordering::Less),
            ("a", "B", Ordering::Less),
            ("A", "a", Ordering::Equal),
            ("a", "ab", Ordering::Less),
            ("", "a", Ordering::Less),
            ("file 2.txt", "file 10.txt", Ordering::Less),
            ("a10", "a10b", Ordering::Less),
            ("a9b", "a10a", Ordering::Less),
            ("02", "2", Ordering::Equal),
            ("00", "0", Ordering::Equal),
            ("01x", "1y", Ordering::Less),
            ("1", "a", Ordering::Less),
            ("99999999999999999999998", "99999999999999999999999", Ordering::Less),
            ("z", "\u{e9}", Ordering::Less),
        ] {
            assert_eq!(natural(one.as_bytes(), other.as_bytes()), expected, "{one} and {other}");
            assert_eq!(natural(other.as_bytes(), one.as_bytes()), expected.reverse(), "{other} and {one}");
        }
    }
}
