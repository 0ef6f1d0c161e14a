//! The listing of a folder: what is served of it, as an HTML page or as JSON. Called by `handler`.
//!
//! A folder is read once for all who ask for it at that time, with the sizes and dates of its entries; so every page has an entity tag.
//! Pages of many entries are written while they are sent, each client's from the entries that all share.

use std::collections::hash_map::RandomState;
use std::io::{self, Read};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, VARY};

use super::find::Finder;
use super::open::OpenError;
use super::path;
use crate::{Access, ETag, Permissions, Request, Response};

mod flights; // one reading for all who wait for it

mod json; // objects

pub(super) mod multistatus; // properties, for WebDAV

mod html; // rows

mod controls; // what there is to send files by

mod entries; // names, sizes and dates

mod view; // which order, and which form

pub(super) use controls::Controls;
use entries::{Budget, Entries, Entry};
use flights::Flights;
use html::Rows;
use view::{Form, View};

/// Pages with up to this many entries are built in memory, and so have a Content-Length.
const MAX_BUFFERED: usize = 1000;
/// A page is written in pieces of about this size.
const BUFFER_SIZE: usize = 16 << 10;

/// The listings of a handler's folders.
#[derive(Debug, Default)]
pub(super) struct Listings {
    /// By the path of the folder, and how it is asked for.
    flights: Flights<Listing>,
    budget: Budget,
    /// Tags are keyed: nobody can choose names that give two states of a folder one tag.
    tags: RandomState,
    /// Whether pages offer the folder as one file.
    pub offers_archives: bool,
}

/// A folder as it was read.
#[derive(Debug)]
struct Listing {
    /// Of all that is sent: equal tags are equal pages.
    tag: u64,
    page: Page,
}

#[derive(Debug)]
enum Page {
    Buffered(Arc<Vec<u8>>),
    Streamed(Entries),
}

/// Which folder is listed, and how.
#[derive(Clone, Copy, Debug)]
struct Asked<'a> {
    /// The path of the topmost folder, decoded, with both slashes.
    root: &'a str,
    /// That of the folder beneath it.
    path: &'a [u8],
    view: View,
    controls: Controls,
    offers_archives: bool,
    /// What may be shown to whoever asks; `None`: all.
    permissions: Option<&'a Permissions>,
}

impl Asked<'_> {
    /// Equal texts are of those who are shown the same.
    fn who(&self) -> String {
        self.permissions.map_or_else(String::new, |permissions| format!("={}", permissions.who()))
    }

    /// Whether an entry is shown.
    fn shows(&self, name: &[u8]) -> bool {
        self.permissions.is_none_or(|permissions| {
            let slash: &[u8] = if self.path.is_empty() { b"" } else { b"/" };
            permissions.permit(Access::Read, &[self.root.as_bytes(), self.path, slash, name].concat())
        })
    }
}

impl Listings {
    /// The answer to a request for a folder. `root`: the path of the topmost one, decoded, and what it has to send files by.
    pub fn respond(
        &self,
        finder: &Finder,
        (root, controls): (&str, Controls),
        path: &[u8],
        request: &Request,
        polled: Option<Instant>,
    ) -> Result<Response, OpenError> {
        let permissions = request.value::<Permissions>();
        let (offers_archives, view) = (self.offers_archives, View::of(request));
        let asked = Asked { root, path, view, controls, offers_archives, permissions: permissions.as_deref() };
        let key = [asked.view.name().as_bytes(), b"\0", asked.who().as_bytes(), b"\0", path].concat();
        let read = || self.read(finder, &asked);
        let listing = self.flights.join(&key, polled, read, |one, other| one.tag == other.tag)?;
        let tag = ETag::strong(format!("{:016x}", listing.tag));
        let response = match &listing.page {
            Page::Buffered(page) => Response::shared(Arc::clone(page) as _),
            Page::Streamed(entries) => {
                let writer = Writer::new(&asked, entries);
                Response::stream(ListingPage { listing, written: 0, ended: false, writer, sent: 0 })
            }
        };
        let response = match asked.view.form {
            // It is no representation of the folder, whose tag this would be.
            Form::Multistatus => {
                return Ok(response.with_status(StatusCode::MULTI_STATUS).with_content_type(multistatus::XML));
            }
            Form::Json => response.with_content_type("application/json"),
            Form::Page => response
                .with_content_type("text/html; charset=utf-8")
                .with_header(CONTENT_SECURITY_POLICY, controls.policy()),
        };
        let response = response.with_header(VARY, "Accept");
        Ok(match tag {
            Ok(tag) => response.with_etag(tag),
            Err(_) => response, // unreachable: hex digits
        })
    }

    fn read(&self, finder: &Finder, asked: &Asked<'_>) -> Result<Listing, OpenError> {
        let View { order, form } = asked.view;
        let is_shown = |name: &[u8]| asked.shows(name);
        let entries = Entries::read(finder, asked.path, order, &self.budget, MAX_BUFFERED, &is_shown)?;
        // Not all who see the same names are offered the same.
        let view = format!("{} {:?}", asked.view.name(), asked.controls);
        let tag = entries.tag(&self.tags, [view.as_bytes(), asked.root.as_bytes(), asked.path], form != Form::Page);
        if entries.len() > MAX_BUFFERED {
            return Ok(Listing { tag, page: Page::Streamed(entries) });
        }
        let mut writer = Writer::new(asked, &entries);
        entries.iter_from(0).for_each(|entry| writer.push(&entry));
        writer.push_end();
        Ok(Listing { tag, page: Page::Buffered(Arc::new(writer.text().split_off(0).into_bytes())) })
    }
}

/// Writes a listing, piece by piece.
enum Writer {
    Html(Rows),
    /// The next object is the first.
    Json(String, bool),
    /// The URL path of the folder.
    Multistatus(String, String),
}

impl Writer {
    /// With what precedes the entries.
    fn new(asked: &Asked<'_>, entries: &Entries) -> Writer {
        match asked.view.form {
            Form::Json => Writer::Json("[".to_owned(), true),
            Form::Page => Writer::Html(Rows::new(asked, entries)),
            Form::Multistatus => {
                let segments =
                    asked.root.as_bytes().split(|&byte| byte == b'/').chain(asked.path.split(|&byte| byte == b'/'));
                let folder = path::location(segments.filter(|segment| !segment.is_empty()), true);
                let mut text = multistatus::START.to_owned();
                multistatus::push_response(&mut text, &folder, path::name(asked.path), None, None, "");
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

    /// What is written.
    fn text(&mut self) -> &mut String {
        match self {
            Writer::Html(rows) => &mut rows.text,
            Writer::Json(text, _) | Writer::Multistatus(text, _) => text,
        }
    }
}

/// A listing that is being sent.
struct ListingPage {
    listing: Arc<Listing>,
    /// How many entries are written.
    written: usize,
    ended: bool,
    /// Has the current piece, of which `sent` bytes are sent.
    writer: Writer,
    sent: usize,
}

impl ListingPage {
    fn fill_buffer(&mut self) {
        let Page::Streamed(entries) = &self.listing.page else { return };
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
