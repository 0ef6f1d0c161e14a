//! Which handlers lack which methods, as far as is known: learned when a method is called.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};

use super::Request;
use crate::http::error::Error;

/// What is known of the methods of handlers. Whether a type has one can't be asked before it is called, only learned
/// from it: a default method says so. Then requests of that method are declined from the head.
#[derive(Debug, Default)]
pub(crate) struct UnwrittenMethods(Mutex<HashMap<Key, Knowledge>>);

/// A `do_` method of a type. All methods that `do_other` handles are one: clients can't make the map grow.
pub(crate) type Key = (TypeId, &'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// A request that can tell is under way.
    Tried,
    Written,
    Unwritten,
}

/// A method of which nothing is known yet, and what a call of it teaches.
pub(crate) struct UnknownMethod {
    methods: Arc<UnwrittenMethods>,
    key: Key,
    tries: bool,
}

fn key(handler: TypeId, method: &Method) -> Key {
    let name = match *method {
        Method::GET => "do_get",
        Method::HEAD => "do_head",
        Method::POST => "do_post",
        Method::PUT => "do_put",
        Method::DELETE => "do_delete",
        Method::PATCH => "do_patch",
        Method::OPTIONS => "do_options",
        _ => "do_other",
    };
    (handler, name)
}

impl UnwrittenMethods {
    /// Learn from an error.
    pub(crate) fn remember(&self, error: &Error) {
        if let Some(key) = error.unwritten_method() {
            self.known().insert(key, Knowledge::Unwritten);
        }
    }

    /// 501 if this type has no method for this request, as far as is known; else what may be learned from it.
    pub(crate) fn check<H: ?Sized + 'static>(
        self: &Arc<Self>,
        request: &Request,
    ) -> Result<Option<UnknownMethod>, Error> {
        let key = key(TypeId::of::<H>(), request.method());
        match self.known().get(&key) {
            Some(Knowledge::Unwritten) => Err(not_implemented(request)),
            Some(Knowledge::Written) => Ok(None),
            Some(Knowledge::Tried) | None => Ok(Some(UnknownMethod { methods: Arc::clone(self), key, tries: false })),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Knowledge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnknownMethod {
    /// Whether this is the one request that finds out, by being handled before its body is there. It holds a permit
    /// while it waits for the body, so there is one at a time of each method and type, and none once it is known.
    pub(crate) fn try_it(&mut self) -> bool {
        let mut known = self.methods.known();
        self.tries |= !known.contains_key(&self.key);
        if self.tries {
            known.insert(self.key, Knowledge::Tried);
        }
        self.tries
    }

    /// A method of this type is called.
    pub(crate) fn learn<T>(&self, handler: TypeId, call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        if handler != self.key.0 {
            return call();
        }
        // Until it has returned, it is taken for written: other bodies are received as ever.
        self.methods.known().insert(self.key, Knowledge::Written);
        let result = call();
        if let Err(error) = &result
            && error.unwritten_method() == Some(self.key)
        {
            self.methods.known().insert(self.key, Knowledge::Unwritten);
        }
        result
    }
}

impl Drop for UnknownMethod {
    /// Something around the handler may have answered in its place: then nothing was learned.
    fn drop(&mut self) {
        let mut known = self.methods.known();
        if self.tries && known.get(&self.key) == Some(&Knowledge::Tried) {
            known.remove(&self.key);
        }
    }
}

pub(crate) fn not_implemented(request: &Request) -> Error {
    Error::new(StatusCode::NOT_IMPLEMENTED, format!("Unsupported method ({})", request.method()))
}
