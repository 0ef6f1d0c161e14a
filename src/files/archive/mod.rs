//! A folder with everything below it as one file, created while it is sent. Called by `handler`.
//!
//! `tree` walks the folder, `writer` converts entries to a zip or a tar, and `stream` connects the two.

use std::io;

use http::header::ACCEPT_RANGES;
use http::{Method, StatusCode};

use super::find::Finder;
use super::rights::{Granted, List, Rights};
use crate::slots::Slots;
use crate::{Error, Request, Response};

mod stream; // the body of the response
mod writer; // entries to an archive
mod deflate; // compressed or stored data
mod tar; // headers
mod zip; // records
mod tree; // the entries of a folder
mod entry; // a folder or a file
mod names; // names that are valid on every system
mod report; // missing and renamed entries

use names::Rule;
use stream::ArchiveStream;
use tree::ArchiveRequest;

/// The default limits of depth and of the number of entries.
const DEPTH: usize = 64;
const ENTRIES: usize = 100_000;
const AT_ONCE: usize = 8;

/// The settings of archives, and how many are in progress.
#[derive(Debug)]
pub(super) struct Archives {
    pub offered: bool,
    pub depth: usize,
    pub entries: usize,
    pub slots: Slots,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Zip,
    Tar,
    TarGz,
}

impl Format {
    const ALL: [Format; 3] = [Format::Zip, Format::TarGz, Format::Tar];

    /// Returns the value of `?archive=`, which is also the file name extension.
    fn word(self) -> &'static str {
        match self {
            Format::Zip => "zip",
            Format::Tar => "tar",
            Format::TarGz => "tar.gz",
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Format::Zip => "application/zip",
            Format::Tar => "application/x-tar",
            Format::TarGz => "application/gzip",
        }
    }

    fn rule(self) -> Rule {
        match self {
            Format::Zip => Rule::Everywhere,
            Format::Tar | Format::TarGz => Rule::Unix,
        }
    }
}

impl Default for Archives {
    fn default() -> Archives {
        Archives { offered: false, depth: DEPTH, entries: ENTRIES, slots: Slots::new(AT_ONCE) }
    }
}

impl Archives {
    /// Returns the format named by `?archive=`.
    ///
    /// # Errors
    /// 400 if there is no such format.
    pub fn format_of(&self, request: &Request) -> Result<Option<Format>, Error> {
        let Some(word) = request.query().filter(|_| self.offered).and_then(|_| request.param("archive")) else {
            return Ok(None);
        };
        let known = Format::ALL.into_iter().find(|format| format.word() == word);
        known.map(Some).ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, "The archive must be zip, tar.gz or tar."))
    }

    /// Returns the response to a request for the archive of a folder, or `None` if the limit of archives in progress is
    /// reached. `mount`: the path of the topmost folder, decoded, with both slashes.
    pub fn respond(
        &self,
        finder: &Finder,
        mount: &str,
        folder: Granted<'_, List>,
        format: Format,
        (request, rights): (&Request, &Rights),
    ) -> Option<Response> {
        let path = folder.path();
        let mut names = mount.as_bytes().split(|&byte| byte == b'/').chain(path.split(|&byte| byte == b'/'));
        let name = names.rfind(|name| !name.is_empty()).unwrap_or(b"archive");
        let response = match *request.method() {
            // Nothing is read for HEAD.
            Method::HEAD => Response::stream(io::empty()),
            _ => {
                let asked = ArchiveRequest {
                    root: finder.root.clone(),
                    hidden: finder.hidden,
                    path: path.to_vec(),
                    // all names begin with it, so it must not look like a drive
                    name: Rule::Everywhere.apply(name).into_owned(),
                    rule: format.rule(),
                    rights: rights.clone(),
                    depth: self.depth,
                    entries: self.entries,
                };
                Response::stream(ArchiveStream::new(asked, format, request.now(), self.slots.take()?))
            }
        };
        let file_name = format!("{}.{}", String::from_utf8_lossy(&Rule::Everywhere.apply(name)), format.word());
        Some(
            response
                .with_content_type(format.media_type())
                .with_attachment(&file_name)
                .with_header(ACCEPT_RANGES, "none"),
        )
    }
}
