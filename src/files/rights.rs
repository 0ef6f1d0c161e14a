//! What a request may do with the files beneath the folder, asked where it is done. Used by everything in `files` that opens a file for a
//! response, or changes one.
//!
//! The operations take a [`Granted`] value, which only [`Rights`] makes, or ask `Rights` themselves: so code that forgets to ask does not
//! compile. What is looked up for all requests ([`Unjudged`]) is asked about at each use. [`Permissions`] know which names a file has.

use std::marker::PhantomData;
use std::sync::Arc;

use super::path;
use crate::{Access, Error, Permissions, Request};

/// The rights of a request. Without [`Permissions`] in it everything is granted.
#[derive(Clone, Debug)]
pub(super) struct Rights(Option<Judge>);

#[derive(Clone, Debug)]
struct Judge {
    permissions: Arc<Permissions>,
    /// The path of the topmost folder on the server, decoded, without a slash at the end.
    mount: Vec<u8>,
}

#[derive(Debug)]
/// That a request may do this with the file at this path beneath the folder.
pub(super) struct Granted<'p, A> {
    path: &'p [u8],
    access: PhantomData<A>,
}

/// Send it, or show what is known of it.
#[derive(Debug)]
pub(super) enum Read {}
/// Show what a folder has in it.
#[derive(Debug)]
pub(super) enum List {}
/// Create it, or replace it.
#[derive(Debug)]
pub(super) enum Write {}
/// Write it and everything beneath it: to remove it, or to move something there.
#[derive(Debug)]
pub(super) enum WriteAll {}
/// Move it away: everything beneath it is written here, and may be read where it goes.
#[derive(Debug)]
pub(super) enum Move {}

/// A kind of access.
pub(super) trait Kind {
    fn is_granted(permissions: &Permissions, path: &[u8]) -> bool;
}

impl Kind for Read {
    fn is_granted(permissions: &Permissions, path: &[u8]) -> bool {
        permissions.permit(Access::Read, path)
    }
}

impl Kind for List {
    fn is_granted(permissions: &Permissions, path: &[u8]) -> bool {
        permissions.permit(Access::Read, path) && permissions.permit(Access::List, path)
    }
}

impl Kind for Write {
    fn is_granted(permissions: &Permissions, path: &[u8]) -> bool {
        permissions.permit(Access::Write, path)
    }
}

impl Kind for WriteAll {
    fn is_granted(permissions: &Permissions, path: &[u8]) -> bool {
        permissions.permit_all(Access::Write, path)
    }
}

impl Kind for Move {
    fn is_granted(permissions: &Permissions, path: &[u8]) -> bool {
        permissions.permit_all(Access::Read, path) && permissions.permit_all(Access::Write, path)
    }
}

impl Rights {
    /// Those of a request for what is served at this path, decoded, without a slash at its end.
    #[inline]
    pub fn of<'a>(request: &'a Request, mount: impl FnOnce() -> &'a [u8]) -> Rights {
        let permissions = request.value::<Permissions>();
        Rights(permissions.map(|permissions| Judge { permissions, mount: mount().to_vec() }))
    }

    /// Whether it is granted. `path`: beneath the folder.
    #[inline]
    pub fn grant<'p, A: Kind>(&self, path: &'p [u8]) -> Option<Granted<'p, A>> {
        let granted = self.0.as_ref().is_none_or(|judge| judge.grants::<A>(path));
        granted.then_some(Granted { path, access: PhantomData })
    }

    /// The same, or the response to a request that may not.
    pub fn ask<'p, A: Kind>(&self, path: &'p [u8]) -> Result<Granted<'p, A>, Error> {
        self.grant(path).ok_or_else(|| self.refusal())
    }

    /// Whether the sender may do it, or might if it were known who that is.
    pub fn might<A: Kind>(&self, path: &[u8]) -> bool {
        self.grant::<A>(path).is_some() || self.refusal().status() == http::StatusCode::UNAUTHORIZED
    }

    /// Whether some requests may do less than others.
    pub fn are_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Equal texts are of requests that may do the same.
    pub fn who(&self) -> Option<&str> {
        self.0.as_ref().map(|judge| judge.permissions.who())
    }

    /// The response to a request that may not.
    #[cold]
    pub fn refusal(&self) -> Error {
        match &self.0 {
            Some(judge) => judge.permissions.refusal(),
            None => Error::new(http::StatusCode::FORBIDDEN, ""), // unreachable: everything is granted
        }
    }
}

impl Judge {
    fn grants<A: Kind>(&self, path: &[u8]) -> bool {
        A::is_granted(&self.permissions, &path::on_server(&self.mount, path))
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

/// A path that may be opened to read what is there.
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

/// A path that is looked up for all requests: what is found there is sent and shown only by what asks [`Rights`].
pub(super) struct Unjudged<'p>(pub &'p [u8]);

impl Opens for Unjudged<'_> {
    fn path(&self) -> &[u8] {
        self.0
    }
}
