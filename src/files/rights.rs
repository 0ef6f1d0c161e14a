//! The rights of a request for the files below the folder. Used by all code in `files` that opens a file for a
//! response, or changes a file.
//!
//! The operations take a [`Granted`] value, which only [`Rights`] creates, or call `Rights` themselves: code without a
//! check does not compile. Look-ups whose results serve all requests take [`Unjudged`]; their results are checked at
//! each use. [`Permissions`] decide by path.

use std::marker::PhantomData;
use std::sync::Arc;

use super::path;
use crate::http::Reach;
use crate::{Access, Error, Permissions, Request, UrlPath};

/// The rights of a request. A request without [`Permissions`] has all rights.
#[derive(Clone, Debug)]
pub(super) struct Rights {
    judge: Option<Judge>,
    /// Restricts the rights to entries that requests can reach, because no other route or mount serves their paths.
    /// `None`: all can be reached.
    reached: Option<Arc<Reached>>,
}

#[derive(Debug)]
struct Reached {
    reach: Reach,
    mount: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Judge {
    permissions: Arc<Permissions>,
    /// The decoded path of the topmost folder on the server, without a trailing slash.
    mount: Vec<u8>,
}

#[derive(Debug)]
/// The proof that a request has this right for the file at this path below the folder.
pub(super) struct Granted<'p, A> {
    path: &'p [u8],
    access: PhantomData<A>,
}

/// To send a file, or show its metadata.
#[derive(Debug)]
pub(super) enum Read {}
/// To list a folder.
#[derive(Debug)]
pub(super) enum List {}
/// To create or replace a file.
#[derive(Debug)]
pub(super) enum Write {}
/// To write an entry and everything below it: to remove it, or to move something there.
#[derive(Debug)]
pub(super) enum WriteAll {}
/// To move an entry away: everything below it is written here, and can be read at its destination.
#[derive(Debug)]
pub(super) enum Move {}

/// To move a folder, or a link, away: the names of everything in it can be listed at its destination.
#[derive(Debug)]
pub(super) enum ListAll {}

pub(super) trait Kind {
    /// The rights that it needs, each at the path, or at everything below it as well (`true`).
    const NEEDS: &'static [(Access, bool)];
}

impl Kind for Read {
    const NEEDS: &'static [(Access, bool)] = &[(Access::Read, false)];
}

impl Kind for List {
    const NEEDS: &'static [(Access, bool)] = &[(Access::Read, false), (Access::List, false)];
}

impl Kind for Write {
    const NEEDS: &'static [(Access, bool)] = &[(Access::Write, false)];
}

impl Kind for WriteAll {
    const NEEDS: &'static [(Access, bool)] = &[(Access::Write, true)];
}

impl Kind for Move {
    const NEEDS: &'static [(Access, bool)] = &[(Access::Read, true), (Access::Write, true)];
}

impl Kind for ListAll {
    const NEEDS: &'static [(Access, bool)] = &[(Access::List, true)];
}

impl Rights {
    /// Returns the rights of a request for content that is served at this decoded path, without a trailing slash.
    #[inline]
    pub fn of<'a>(request: &'a Request, mount: impl FnOnce() -> &'a [u8]) -> Rights {
        let permissions = request.value::<Permissions>();
        let judge = permissions.map(|permissions| Judge { permissions, mount: mount().to_vec() });
        Rights { judge, reached: None }
    }

    /// Returns the rights for all contents of a folder, except for entries that requests cannot reach, because other
    /// routes or mounts serve their paths.
    pub fn within_reach(&self, request: &Request, mount: &[u8], folder: &[u8]) -> Rights {
        let reach = request.reach();
        let path = path::on_server(mount, folder);
        let is_whole = UrlPath::from_decoded(&path).is_none_or(|path| reach.contains_all(&path));
        let reached = (!is_whole).then(|| Arc::new(Reached { reach, mount: mount.to_vec() }));
        Rights { judge: self.judge.clone(), reached }
    }

    /// Returns the proof that the request has this right. `path` is below the folder.
    #[inline]
    pub fn grant<'p, A: Kind>(&self, path: &'p [u8]) -> Option<Granted<'p, A>> {
        let granted = self.judge.as_ref().is_none_or(|judge| judge.grants::<A>(path))
            && self.reached.as_ref().is_none_or(|reached| reached.contains(path));
        granted.then_some(Granted { path, access: PhantomData })
    }

    /// Returns the proof that the request has this right, or the response to a request without it.
    pub fn ask<'p, A: Kind>(&self, path: &'p [u8]) -> Result<Granted<'p, A>, Error> {
        self.grant(path).ok_or_else(|| self.refusal())
    }

    /// Returns whether the user has the right, or might have it after logging in.
    pub fn might<A: Kind>(&self, path: &[u8]) -> bool {
        self.grant::<A>(path).is_some() || self.refusal().status() == http::StatusCode::UNAUTHORIZED
    }

    /// Returns whether some requests have fewer rights than others.
    pub fn are_limited(&self) -> bool {
        self.judge.is_some()
    }

    /// Returns a text that is equal for requests with the same rights.
    pub fn key(&self) -> String {
        let permissions = self.judge.as_ref().map(|judge| format!("={}", judge.permissions.key()));
        let reached = self.reached.as_ref().map(|reached| format!("/{}", reached.reach.key()));
        permissions.unwrap_or_default() + &reached.unwrap_or_default()
    }

    /// Returns the response to a request without the right.
    #[cold]
    pub fn refusal(&self) -> Error {
        match &self.judge {
            Some(judge) => judge.permissions.refusal(),
            None => Error::new(http::StatusCode::FORBIDDEN, ""), // unreachable: everything is granted
        }
    }
}

impl Judge {
    fn grants<A: Kind>(&self, path: &[u8]) -> bool {
        let path = path::on_server(&self.mount, path);
        A::NEEDS.iter().all(|(access, is_for_all)| match is_for_all {
            true => self.permissions.permit_all(*access, &path),
            false => self.permissions.permit(*access, &path),
        })
    }
}

impl Reached {
    fn contains(&self, path: &[u8]) -> bool {
        let path = path::on_server(&self.mount, path);
        UrlPath::from_decoded(&path).is_none_or(|path| self.reach.contains(&path))
    }
}

impl<A> Clone for Granted<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Granted<'_, A> {}

impl<'p, A> Granted<'p, A> {
    pub fn path(&self) -> &'p [u8] {
        self.path
    }
}

impl<'p> From<Granted<'p, WriteAll>> for Granted<'p, Write> {
    fn from(granted: Granted<'p, WriteAll>) -> Granted<'p, Write> {
        Granted { path: granted.path, access: PhantomData }
    }
}

impl<'p> From<Granted<'p, Move>> for Granted<'p, Write> {
    fn from(granted: Granted<'p, Move>) -> Granted<'p, Write> {
        Granted { path: granted.path, access: PhantomData }
    }
}

/// A path that can be opened for reading.
pub(super) trait Opens {
    fn path(&self) -> &[u8];
}

impl Opens for Granted<'_, Read> {
    fn path(&self) -> &[u8] {
        self.path
    }
}

impl Opens for Granted<'_, List> {
    fn path(&self) -> &[u8] {
        self.path
    }
}

/// A path that is looked up for all requests: its content is sent and shown only by code that checks [`Rights`].
pub(super) struct Unjudged<'p>(pub &'p [u8]);

impl Opens for Unjudged<'_> {
    fn path(&self) -> &[u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_needs_its_rights() {
        for (missing, refused) in [
            ((Access::Read, false), &["Read", "List"][..]),
            ((Access::Read, true), &["Move"]),
            ((Access::List, false), &["List"]),
            ((Access::List, true), &["ListAll"]),
            ((Access::Write, false), &["Write"]),
            ((Access::Write, true), &["WriteAll", "Move"]),
        ] {
            let request = Request::get("/");
            let judge = |beneath: bool| move |access, path: &[u8]| path == b"/m/f" && (access, beneath) != missing;
            request.put(Permissions::new("", judge(false)).beneath(judge(true)));
            let rights = Rights::of(&request, || b"/m");
            let granted = [
                ("Read", rights.grant::<Read>(b"f").is_some()),
                ("List", rights.grant::<List>(b"f").is_some()),
                ("Write", rights.grant::<Write>(b"f").is_some()),
                ("WriteAll", rights.grant::<WriteAll>(b"f").is_some()),
                ("Move", rights.grant::<Move>(b"f").is_some()),
                ("ListAll", rights.grant::<ListAll>(b"f").is_some()),
            ];
            let found: Vec<_> = granted.iter().filter(|(_, granted)| !granted).map(|(name, _)| *name).collect();
            assert_eq!(found, refused, "without {missing:?} (true: with everything below)");
        }
    }

    /// A listing that was made for one key is not sent to requests with another.
    #[test]
    fn keys_are_those_of_the_permissions() {
        let key = |permissions: &[&str]| {
            let request = Request::get("/");
            permissions.iter().for_each(|&key| request.put(Permissions::new(key, |_, _| true)));
            Rights::of(&request, || b"").key()
        };
        assert_eq!([key(&[]), key(&["a"]), key(&["b"])], ["", "=a", "=b"]);
    }
}
