//! The listing of a folder: its served entries, as an HTML page, as JSON or for WebDAV. Called by `handler`.
//!
//! A folder is read once for all simultaneous requests, with the sizes and dates of its entries, so every page has an
//! entity tag. Pages of many entries are generated while they are sent, all from the same entries. A page that is
//! requested again and is known to be unchanged is cached, and compressed once.

use std::collections::hash_map::RandomState;
use std::io::{self, Read};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT_RANGES, CONTENT_ENCODING, VARY};
use http::{HeaderName, HeaderValue, StatusCode};

use super::find::Finder;
use super::open::OpenError;
use super::path;
use super::rights::{Granted, List, Rights};
use crate::{ETag, Request, Response};

mod cached; // the cache
mod flights; // one reading for all simultaneous requests
mod page; // a page in memory
pub(super) mod multistatus; // properties, for WebDAV
mod html; // rows
mod json; // objects
mod controls; // upload controls
mod entries; // names, sizes and dates, and sorting
mod folder_watch; // which changes the kernel reports
mod view; // the order and the format that a request names

pub(super) use cached::cache_of;
use cached::{KeptListings, Look};
pub(super) use controls::{Accepts, Account, Controls};
pub(super) use entries::Beside;
use entries::{Budget, Entries, Entry};
use flights::Flights;
use folder_watch::Watching;
use html::Rows;
pub(super) use html::{Frame, push_size, without_entries};
pub(super) use json::push_beside;
use page::Page;
pub(super) use view::{Form, View};

/// Pages with up to this many entries are created in memory, and so have a Content-Length.
const MAX_BUFFERED: usize = 1000;
/// The approximate size of a page's pieces.
const BUFFER_SIZE: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Listings {
    /// Readings in progress, by folder and requested view.
    flights: Flights<Listing>,
    pub kept: KeptListings,
    /// The memory of readings, pages being sent, and cached pages.
    budget: Budget,
    pages: Budget,
    /// The key of tags, so that no one can choose names for which two states of a folder have the same tag.
    tags: RandomState,
    /// Whether pages offer the folder as an archive.
    pub offers_archives: bool,
    /// Whether cached pages are compressed for clients that accept it.
    pub compresses: bool,
}

#[derive(Debug)]
struct Listing {
    /// A hash of everything that is sent: equal tags are equal pages.
    tag: u64,
    body: Body,
    /// Whether it has all names.
    is_complete: bool,
}

#[derive(Debug)]
enum Body {
    Whole(Arc<Page>),
    Streamed(Entries),
}

impl Listing {
    fn kept(&self) -> Option<&Arc<Page>> {
        match &self.body {
            Body::Whole(page) => Some(page).filter(|page| page.is_kept()),
            Body::Streamed(_) => None,
        }
    }

    /// Returns whether this listing, which is in use, can replace a new one.
    fn can_replace(&self, new: &Listing) -> bool {
        self.tag == new.tag && (self.kept().is_some() || new.kept().is_none())
    }
}

#[derive(Clone, Copy, Debug)]
struct ListingRequest<'a> {
    /// The path of the topmost folder, decoded, with both slashes.
    root: &'a str,
    /// The path of the folder below it.
    folder: Granted<'a, List>,
    view: View,
    controls: &'a Controls,
    /// The paths below the folder that other mounts serve.
    beside: &'a [Beside],
    /// Whether folders are shown that the user can only write to.
    shows_boxes: bool,
    offers_archives: bool,
    rights: &'a Rights,
}

impl ListingRequest<'_> {
    /// Returns a key that is equal for requests that see the same entries of the same folder, and have the same rights
    /// there.
    fn key(&self) -> Vec<u8> {
        let form = match self.view.form {
            Form::Page => b'p',
            Form::Json => b'j',
            Form::Multistatus => b'm',
        };
        let order = self.view.order.word().as_bytes();
        let (rights, root, more) = (self.rights.key(), self.root.as_bytes(), self.more());
        [&[form], order, b"\0", root, b"\0", rights.as_bytes(), b"\0", more.as_bytes(), b"\0", self.path()].concat()
    }

    /// Returns a text that is equal for pages that differ only in their entries.
    fn more(&self) -> String {
        match self.view.form {
            Form::Page => format!("{:?} {:?}", self.controls, self.beside),
            Form::Json | Form::Multistatus => format!("{:?}", self.beside),
        }
    }

    fn frame(&self) -> Frame<'_> {
        let ListingRequest { root, view, controls, beside, offers_archives, .. } = *self;
        Frame { root, path: self.path(), order: view.order, controls, beside, offers_archives }
    }

    fn path(&self) -> &[u8] {
        self.folder.path()
    }
}

/// The field of each listing: whether it has all names, as a boolean (RFC 9651, section 3.3.6).
pub(in super::super) const COMPLETE: HeaderName = HeaderName::from_static("listing-complete");

impl Listings {
    /// Sets the memory for listings, including the part for cached ones.
    pub fn set_memory(&mut self, memory: u64) {
        self.budget = Budget::new(memory);
        self.pages = Budget::new(memory);
        self.kept.set_bytes(cache_of(memory));
    }

    /// Clears the cache.
    pub fn forget(&self) {
        self.kept.clear();
    }

    /// Returns the response to a request for a folder. `root`: the decoded path of the topmost folder. `is_fixed`: no
    /// layer may compress the response.
    pub fn respond(
        &self,
        finder: &Finder,
        (root, controls, beside): (&str, &Controls, &[Beside]),
        folder: Granted<'_, List>,
        (request, rights, polled): (&Request, &Rights, Option<Instant>),
        is_fixed: bool,
    ) -> Result<Response, OpenError> {
        let (offers_archives, view) = (self.offers_archives, View::of(request));
        let shows_boxes = controls.shows_boxes && view.form == Form::Page;
        let asked = ListingRequest { root, folder, view, controls, beside, shows_boxes, offers_archives, rights };
        let listing = self.listing(finder, &asked, polled)?;
        let (tag, is_complete) = (format!("{:016x}", listing.tag), listing.is_complete);
        if view.form == Form::Multistatus && !is_complete {
            // RFC 3744, section 9.4. A client that synchronizes would delete the entries that are not listed.
            let condition = "number-of-matches-within-limits";
            return Ok(multistatus::refusal(StatusCode::INSUFFICIENT_STORAGE, condition));
        }
        let may_compress = self.compresses && !is_fixed && view.form != Form::Multistatus;
        let mut packed = None;
        let response = match &listing.body {
            Body::Whole(page) => {
                packed = page.packed().filter(|_| may_compress && takes_gzip(request));
                Response::shared(packed.clone().map_or_else(|| Arc::clone(page) as _, |packed| packed as _))
            }
            Body::Streamed(entries) => {
                let writer = Writer::new(&asked, entries);
                Response::stream(ListingPage { listing, written: 0, ended: false, writer, sent: 0 })
            }
        };
        let response = match asked.view.form {
            // Properties are not a representation of the folder, so they do not get its tag.
            Form::Multistatus => {
                return Ok(response.with_status(StatusCode::MULTI_STATUS).with_content_type(multistatus::XML));
            }
            Form::Json => response.with_content_type("application/json"),
            Form::Page => controls.protect(response.with_content_type("text/html; charset=utf-8")),
        };
        // This field distinguishes listings from files for the scripts of the page.
        let response = response.with_header(COMPLETE, HeaderValue::from_static(if is_complete { "?1" } else { "?0" }));
        let response = response.with_header(VARY, if may_compress { "Accept, Accept-Encoding" } else { "Accept" });
        // As in `layers::Compress`: the strong tag identifies the uncompressed bytes, and ranges of compressed bytes
        // are not served.
        let (response, tag) = match packed {
            Some(_) => {
                (response.with_header(CONTENT_ENCODING, "gzip").with_header(ACCEPT_RANGES, "none"), ETag::weak(tag))
            }
            None => (response, ETag::strong(tag)),
        };
        Ok(match tag {
            Ok(tag) => response.with_etag(tag),
            Err(_) => response, // unreachable: hex digits
        })
    }

    /// Returns the cached listing, or one created for this request and those that wait for it.
    fn listing(
        &self,
        finder: &Finder,
        asked: &ListingRequest<'_>,
        polled: Option<Instant>,
    ) -> Result<Arc<Listing>, OpenError> {
        let key = asked.key();
        // Rights can change without a change of the folder.
        let look = if asked.rights.are_limited() { Look::Once } else { self.kept.look(&key, finder, polled) };
        let before = match look {
            Look::Known(listing) => return Ok(listing),
            Look::Keep(before) => Some(before),
            Look::Once => None,
        };
        let mut made = None;
        let read = || {
            let mut making = before.and_then(|before| self.kept.begin(finder, asked.path(), before));
            let watching = making.as_mut().map(|making| &mut making.watching);
            let listing = self.read(finder, asked, watching.unwrap_or(&mut None))?;
            made = making;
            Ok(listing)
        };
        let listing = self.flights.join(&key, polled, read, Listing::can_replace)?;
        if let Some(making) = made {
            self.kept.end(&key, making, &listing);
        }
        Ok(listing)
    }

    /// Reads a folder. If the kernel does not report all changes, `watching` is dropped, and the listing cannot be
    /// cached.
    fn read(
        &self,
        finder: &Finder,
        asked: &ListingRequest<'_>,
        watching: &mut Option<Watching<'_>>,
    ) -> Result<Listing, OpenError> {
        let View { order, form } = asked.view;
        let by = (asked.folder, asked.rights, asked.shows_boxes);
        let entries = Entries::read(finder, by, order, &self.budget, MAX_BUFFERED, watching)?;
        // Users who see the same names may get different controls.
        let view = format!("{} {}", asked.view.name(), asked.more());
        let tag = entries.tag(&self.tags, [view.as_bytes(), asked.root.as_bytes(), asked.path()], form != Form::Page);
        let is_complete = entries.is_complete;
        let body = match self.page(asked, &entries, watching) {
            Some(page) => Body::Whole(Arc::new(page)),
            None => Body::Streamed(entries),
        };
        Ok(Listing { tag, body, is_complete })
    }

    /// Creates the whole page, if it has few entries or is to be cached. `None`: it is generated while it is sent.
    fn page(&self, asked: &ListingRequest<'_>, entries: &Entries, watching: &mut Option<Watching<'_>>) -> Option<Page> {
        let is_long = entries.len() > MAX_BUFFERED;
        if is_long && watching.is_none() {
            return None;
        }
        let mut writer = Writer::new(asked, entries);
        for entry in entries.iter_from(0) {
            writer.push(&entry);
            if writer.text().len() > self.kept.longest() {
                *watching = None;
                if is_long {
                    return None;
                }
            }
        }
        writer.push_end();
        let mut text = mem::take(writer.text()).into_bytes();
        text.shrink_to_fit();
        let reservation = watching.as_ref().and_then(|_| self.pages.reserve(Page::size(text.len())).ok());
        if reservation.is_none() {
            *watching = None;
        }
        (watching.is_some() || !is_long).then(|| Page::new(text, reservation))
    }
}

#[cfg(feature = "markdown")]
impl Listings {
    /// Returns a page for one response. It reserves its memory until it is sent.
    ///
    /// # Errors
    /// If the pages and listings in progress use too much memory.
    pub fn held(&self, text: String) -> io::Result<Response> {
        let reservation =
            self.budget.reserve(text.len()).map_err(|_| io::Error::other("too many pages are being sent"))?;
        Ok(Response::shared(Arc::new(Page::new(text.into_bytes(), Some(reservation)))))
    }
}

/// Returns whether the client accepts gzip and requests the whole page.
fn takes_gzip(request: &Request) -> bool {
    request.header_all("range").next().is_none() && matches!(request.choose_coding(&["gzip"]), Ok(Some(_)))
}

/// Writes a listing in pieces.
enum Writer {
    Html(Rows),
    /// The text, and whether the next object is the first.
    Json(String, bool),
    /// The URL path of the folder.
    Multistatus(String, String),
}

impl Writer {
    /// Writes everything that precedes the entries.
    fn new(asked: &ListingRequest<'_>, entries: &Entries) -> Writer {
        match asked.view.form {
            Form::Json => {
                let mut text = "[".to_owned();
                let readable = asked.beside.iter().filter(|beside| !beside.is_box);
                let count = readable.map(|beside| push_beside(&mut text, &beside.path)).count();
                Writer::Json(text, count == 0)
            }
            Form::Page => Writer::Html(Rows::new(&asked.frame(), Some(entries))),
            Form::Multistatus => {
                let mount = asked.root.strip_suffix('/').unwrap_or(asked.root);
                let folder = path::location(mount.as_bytes(), asked.path(), true);
                let mut text = multistatus::START.to_owned();
                multistatus::push_response(&mut text, &folder, path::name(asked.path()), None, None, "");
                // Folders that are directly in this one.
                let readable = asked.beside.iter().filter(|beside| !beside.is_box && !beside.path.contains('/'));
                readable.for_each(|beside| multistatus::push_folder(&mut text, &folder, beside.path.as_bytes()));
                Writer::Multistatus(text, folder)
            }
        }
    }

    fn push(&mut self, entry: &Entry<'_>) {
        match self {
            Writer::Html(rows) => rows.push(entry),
            Writer::Json(text, first) => {
                text.push_str(if mem::take(first) { "\n" } else { ",\n" });
                json::push(text, entry);
            }
            Writer::Multistatus(text, folder) => multistatus::push(text, folder, entry),
        }
    }

    fn push_end(&mut self) {
        match self {
            Writer::Html(rows) => rows.push_end(),
            Writer::Json(text, _) => text.push_str("\n]\n"),
            Writer::Multistatus(text, _) => text.push_str(multistatus::END),
        }
    }

    fn text(&mut self) -> &mut String {
        match self {
            Writer::Html(rows) => &mut rows.text,
            Writer::Json(text, _) | Writer::Multistatus(text, _) => text,
        }
    }
}

struct ListingPage {
    listing: Arc<Listing>,
    written: usize,
    ended: bool,
    /// Contains the current piece. Its first `sent` bytes have been sent.
    writer: Writer,
    sent: usize,
}

impl ListingPage {
    fn fill_buffer(&mut self) {
        let Body::Streamed(entries) = &self.listing.body else { return };
        for entry in entries.iter_from(self.written) {
            if self.writer.text().len() >= BUFFER_SIZE {
                return;
            }
            self.writer.push(&entry);
            self.written += 1;
        }
        if !self.ended {
            self.writer.push_end();
            self.ended = true;
        }
    }
}

impl Read for ListingPage {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.writer.text().len() == self.sent {
            self.writer.text().clear();
            self.sent = 0;
            self.fill_buffer();
        }
        let text = &self.writer.text().as_bytes()[self.sent..];
        let count = buffer.len().min(text.len());
        buffer[..count].copy_from_slice(&text[..count]);
        self.sent += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
