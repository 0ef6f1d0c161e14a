//! Which handlers lack which methods, as far as is known: learned when a default `do_` method is called.

use std::any::TypeId;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use http::{Method, StatusCode};

use super::Request;
use crate::http::error::Error;

/// The methods that handlers turned out not to have written. Whether a type has one can't be asked before it is called;
/// once its default was, requests of that method are declined from the head.
#[derive(Debug, Default)]
pub(crate) struct UnwrittenMethods(Mutex<HashSet<(TypeId, Method)>>);

/// No handler type has more methods than these; extension methods are not remembered, as clients could invent them
/// without end.
const REMEMBERED: [Method; 6] =
    [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::GET];

impl UnwrittenMethods {
    pub(crate) fn remember(&self, error: &Error, request: &Request) {
        if let Some(handler) = error.unwritten_method_of()
            && REMEMBERED.contains(request.method())
        {
            let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert((handler, request.method().clone()));
        }
    }

    /// 501 if this type has no method for this request, as far as is known.
    pub(crate) fn check<H: ?Sized + 'static>(&self, request: &Request) -> Result<(), Error> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match found.contains(&(TypeId::of::<H>(), request.method().clone())) {
            true => Err(not_implemented(request)),
            false => Ok(()),
        }
    }
}

pub(crate) fn not_implemented(request: &Request) -> Error {
    Error::new(StatusCode::NOT_IMPLEMENTED, format!("Unsupported method ({})", request.method()))
}
