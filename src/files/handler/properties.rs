//! PROPFIND: the properties of a file or a folder. Called by `changing`; `dav` has the rules, `listing` reads folders.

use http::StatusCode;

use super::super::dav;
use super::super::listing::multistatus;
use super::super::open::{OpenError, Opened};
use super::super::path::{self, ResolvedPath};
use super::super::rights::{List, Read};
use super::super::{taking, xml};
use super::{Asked, StaticFileHandler};
use crate::{Error, Request, Response, Result};

impl StaticFileHandler {
    /// RFC 4918, section 9.1: the properties of a file or a folder, and of the entries in that.
    pub(super) fn properties(&self, request: &Request) -> Result<Response> {
        let depth = dav::depth(request).map_err(|error| self.refusal(error))?;
        let rights = self.rights(request);
        let asked = Asked { request, rights: &rights, polled: request.take_polled() };
        let mount = self.mount(request);
        let path = match path::resolve(&request.url_path()?, mount) {
            ResolvedPath::Path(path) => path,
            ResolvedPath::NeedsSlash => return Ok(self.redirect(request, &path::location(mount, b"", true))),
            ResolvedPath::NotFound => return Err(self.missing()),
        };
        let path = match &self.only {
            Some(name) if path.bytes == *name => path,
            Some(_) => return Err(self.missing()),
            None => path,
        };
        if self.finder.is_hidden(&path.bytes) {
            return Err(self.missing());
        }
        let read = rights.ask::<Read>(&path.bytes).map_err(|error| self.refusal(error))?;
        self.finder.freshness.ask_for_root(&self.finder.root);
        let body = request.body().bytes()?;
        if !body.is_empty() {
            xml::parse(&body).map_err(|error| self.refusal(error))?;
        }
        let mut given = String::new();
        let (size, modified) = match self.finder.root.open_at(&read) {
            Ok(Opened::File(file, stat)) if !path.trailing_slash => {
                given = taking::properties_of(&file);
                (Some(stat.size), stat.dated().seconds)
            }
            Ok(Opened::File(..)) => return Err(self.missing()),
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
        let taking = self.taking.as_deref().filter(|_| self.only.is_none());
        let locks =
            taking.map(|taking| taking.lock_properties(self.place(request), request, &path.bytes)).unwrap_or_default();
        multistatus::push_response(&mut text, &href, path::name(&path.bytes), size, Some(modified), &(locks + &given));
        text.push_str(multistatus::END);
        Ok(self.with_default_fields(dav::multistatus(text)))
    }

    /// Without a page of the folder.
    fn plain_error(&self, asked: Asked<'_>, error: OpenError) -> Error {
        self.error_response(asked, error).err().unwrap_or_else(|| self.missing())
    }

    fn missing(&self) -> Error {
        self.error(StatusCode::NOT_FOUND, "There is nothing with that name here.")
    }
}
