//! The listing of a folder: an HTML page of what is served. Called by `handler`.
//!
//! A folder is read once for all who ask for it at that time, with the sizes and dates of its entries; so every page has an entity tag.
//! Pages of many entries are written while they are sent, each client's from the entries that all share.

use std::collections::hash_map::RandomState;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use super::find::Finder;
use super::open::OpenError;
use crate::{ETag, Response};

mod flights; // one reading for all who wait for it

mod html; // rows

mod entries; // names, sizes and dates

use entries::{Budget, Entries};
use flights::Flights;
use html::Rows;

/// Pages with up to this many entries are built in memory, and so have a Content-Length.
const MAX_BUFFERED: usize = 1000;
/// A page is written in pieces of about this size.
const BUFFER_SIZE: usize = 16 << 10;

/// The listings of a handler's folders.
#[derive(Debug, Default)]
pub(super) struct Listings {
    /// By the path of the folder.
    flights: Flights<Listing>,
    budget: Budget,
    /// Tags are keyed: nobody can choose names that give two states of a folder one tag.
    tags: RandomState,
}

/// A folder as it was read.
#[derive(Debug)]
struct Listing {
    /// Of all that the page shows: equal tags are equal pages.
    tag: u64,
    page: Page,
}

#[derive(Debug)]
enum Page {
    Buffered(Arc<Vec<u8>>),
    Streamed(Entries),
}

impl Listings {
    /// The page of a folder, for a request that was brought by the poll that returned then. `title` is its path as shown.
    pub fn page(
        &self,
        finder: &Finder,
        path: &[u8],
        title: &str,
        polled: Option<Instant>,
    ) -> Result<Response, OpenError> {
        let read = || self.read(finder, path, title);
        let listing = self.flights.join(path, polled, read, |one, other| one.tag == other.tag)?;
        let tag = ETag::strong(format!("{:016x}", listing.tag));
        let response = match &listing.page {
            Page::Buffered(page) => Response::shared(Arc::clone(page) as _),
            Page::Streamed(_) => Response::stream(ListingPage::new(listing, title, path.is_empty())),
        };
        let response = response.with_content_type("text/html; charset=utf-8");
        Ok(match tag {
            Ok(tag) => response.with_etag(tag),
            Err(_) => response, // unreachable: hex digits
        })
    }

    fn read(&self, finder: &Finder, path: &[u8], title: &str) -> Result<Listing, OpenError> {
        let entries = Entries::read(finder, path, &self.budget, MAX_BUFFERED)?;
        let tag = entries.tag(&self.tags, title);
        if entries.len() > MAX_BUFFERED {
            return Ok(Listing { tag, page: Page::Streamed(entries) });
        }
        let mut rows = Rows::default();
        rows.push_start(title, path.is_empty(), entries.len() == 0);
        entries.iter_from(0).for_each(|entry| rows.push(&entry));
        rows.push_end(entries.is_complete());
        Ok(Listing { tag, page: Page::Buffered(Arc::new(rows.text.into_bytes())) })
    }
}

/// A listing that is being sent.
struct ListingPage {
    listing: Arc<Listing>,
    /// How many entries are written.
    written: usize,
    ended: bool,
    /// The current piece, of which `sent` bytes are sent.
    rows: Rows,
    sent: usize,
}

impl ListingPage {
    fn new(listing: Arc<Listing>, title: &str, top: bool) -> ListingPage {
        let mut rows = Rows::default();
        rows.push_start(title, top, false);
        ListingPage { listing, written: 0, ended: false, rows, sent: 0 }
    }

    fn fill_buffer(&mut self) {
        let Page::Streamed(entries) = &self.listing.page else { return };
        for entry in entries.iter_from(self.written) {
            if self.rows.text.len() >= BUFFER_SIZE {
                return;
            }
            self.rows.push(&entry);
            self.written += 1;
        }
        if !self.ended {
            self.rows.push_end(entries.is_complete());
            self.ended = true;
        }
    }
}

impl Read for ListingPage {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let text = &self.rows.text.as_bytes()[self.sent..];
        if text.is_empty() {
            self.rows.text.clear();
            self.sent = 0;
            self.fill_buffer();
        }
        let text = &self.rows.text.as_bytes()[self.sent..];
        let count = buffer.len().min(text.len());
        buffer[..count].copy_from_slice(&text[..count]);
        self.sent += count;
        Ok(count)
    }
}
