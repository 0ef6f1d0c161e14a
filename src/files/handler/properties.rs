//! PROPFIND: the properties of a file or a folder. Called by `changing`; `dav` has the rules, `listing` reads folders.

#[cfg(feature = "webdav")]
use std::collections::HashSet;

use http::StatusCode;

use super::super::dav;
use super::super::listing::multistatus;
use super::super::open::{OpenError, Opened};
use super::super::path::{self, ResolvedPath};
use super::super::rights::{List, Read};
use super::super::stat::FileTime;
#[cfg(feature = "webdav")]
use super::super::{uploads::properties_of, xml};
use super::{FileRequest, StaticFileHandler};
use crate::{Error, Fields, Request, Response, Result};

impl StaticFileHandler {
    /// Returns the properties of a file or a folder, and of the entries in that (RFC 4918, section 9.1).
    pub(super) fn properties(&self, request: &Request) -> Result<Response> {
        let depth = dav::depth(request).map_err(|error| self.refusal(error))?;
        let rights = self.rights(request);
        let asked = FileRequest { request, rights: &rights, polled: request.take_polled() };
        let mount = self.mount(request);
        let path = match path::resolve(&request.url_path()?, mount) {
            ResolvedPath::Path(path) => path,
            ResolvedPath::NeedsSlash => return Ok(self.redirect(request, path::location(mount, b"", true))),
            ResolvedPath::NotFound => return Err(self.preparer.not_found()),
        };
        let path = match &self.only {
            Some(name) if path.bytes == *name => path,
            Some(_) => return Err(self.preparer.not_found()),
            None => path,
        };
        if self.finder.is_hidden(&path.bytes) {
            return Err(self.preparer.not_found());
        }
        let read = rights.ask::<Read>(&path.bytes).map_err(|error| self.refusal(error))?;
        self.finder.freshness.ask_for_root(&self.finder.root);
        #[cfg(feature = "webdav")]
        check_xml(request).map_err(|error| self.refusal(error))?;
        let (mut fields, mut given) = (String::new(), String::new());
        let (size, modified) = match self.finder.root.open_at(&read) {
            Ok(Opened::File(file, stat)) if !path.trailing_slash => {
                given = properties_of(&file);
                let (held, now) = (self.cache.limits.bytes_each, request.now());
                let found = self.preparer.fields_of(&path.bytes, file, stat, held, now);
                let modified = found.as_ref().ok().and_then(Fields::last_modified_time).map(FileTime::from);
                fields = found.as_ref().map(properties_from).unwrap_or_default();
                (Some(stat.size), modified.unwrap_or(stat.times().date(now)).seconds)
            }
            Ok(Opened::File(..)) => return Err(self.preparer.not_found()),
            Ok(Opened::Folder) if depth != Some(dav::Depth::Itself) && !self.listing => {
                return Err(self.error(StatusCode::FORBIDDEN, "Folder listings are turned off."));
            }
            Ok(Opened::Folder) if depth.is_none() => return Ok(self.with_default_fields(dav::refusal())),
            Ok(Opened::Folder) if depth == Some(dav::Depth::Entries) => {
                let listed = rights.ask::<List>(&path.bytes).map_err(|error| self.refusal(error))?;
                return self.list(asked, listed).map_err(|error| self.plain_error(asked, error));
            }
            Ok(Opened::Folder) => {
                let stat = self.finder.root.stat_checked(&path.bytes);
                (None, stat.map_or(0, |stat| stat.dated().seconds))
            }
            Err(error) => return Err(self.plain_error(asked, error)),
        };
        let mut text = multistatus::START.to_owned();
        let href = self.location(request, &path, size.is_none());
        let locks = self.accepted().map(|uploads| uploads.lock_properties(self.upload_request(request), &path.bytes));
        let locks = locks.unwrap_or_default();
        let more = fields + &locks + &given;
        multistatus::push_response(&mut text, &href, path::name(&path.bytes), size, Some(modified), &more);
        #[cfg(feature = "webdav")]
        let missing = missing(request, &text)?;
        #[cfg(feature = "webdav")]
        multistatus::push_missing(&mut text, &missing);
        text.push_str(multistatus::END);
        Ok(self.with_default_fields(dav::multistatus(text)))
    }

    /// Returns an error without the folder's own page.
    fn plain_error(&self, asked: FileRequest<'_>, error: OpenError) -> Error {
        self.error_response(asked, error).err().unwrap_or_else(|| self.preparer.not_found())
    }
}

/// Returns the properties that a GET of the file has as header fields (RFC 4918, sections 15.5 and 15.6), as XML.
fn properties_from(fields: &Fields) -> String {
    let names = [("getcontenttype", "content-type"), ("getetag", "etag")];
    let property = |(name, field)| {
        let value = fields.get(field)?.to_str().ok()?;
        Some(format!("<D:{name}>{}</D:{name}>", crate::escape_html(value)))
    };
    names.into_iter().filter_map(property).collect()
}

/// Checks the XML: nothing in it is evaluated, but malformed XML is a 400 (RFC 4918, section 8.2).
#[cfg(feature = "webdav")]
fn check_xml(request: &Request) -> Result<()> {
    let body = request.body().bytes()?;
    if !body.is_empty() {
        xml::parse(&body)?;
    }
    Ok(())
}

/// Returns the properties that the request names and this response does not contain, as empty elements (RFC 4918,
/// section 9.1).
#[cfg(feature = "webdav")]
fn missing(request: &Request, response: &str) -> Result<String> {
    let (body, mut missing) = (request.body().bytes()?, String::new());
    if body.is_empty() {
        return Ok(missing);
    }
    let document = xml::parse(&body)?;
    let starts = starts(response);
    let named = xml::child(document.root_element(), "prop").into_iter().flat_map(|prop| prop.children());
    for property in named.filter(|node| node.is_element()) {
        let name = property.tag_name().name();
        let is_there = match property.tag_name().namespace() {
            Some(xml::DAV) => starts.contains(&*format!("D:{name}")),
            _ => starts.contains(&xml::start_of(property)[1..]),
        };
        if !is_there {
            xml::write_name(property, &mut missing);
        }
    }
    Ok(missing)
}

/// Returns the start of every element, as `xml::start_of` writes it, without `<`. Text between quotes contains neither
/// `<` nor `"`.
#[cfg(feature = "webdav")]
fn starts(text: &str) -> HashSet<&str> {
    let start = |tag: &'_ str| match tag.split_once(" xmlns=\"") {
        Some((name, rest)) if !name.contains(['/', '>', ' ']) => {
            name.len() + " xmlns=\"".len() + rest.find('"').map_or(rest.len(), |end| end + 1)
        }
        _ => tag.find(['/', '>', ' ']).unwrap_or(tag.len()),
    };
    text.split('<').map(|tag| &tag[..start(tag)]).collect()
}

#[cfg(not(feature = "webdav"))]
fn properties_of(_: &std::fs::File) -> String {
    String::new()
}
