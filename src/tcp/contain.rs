//! Catches panics of user code: of handlers, destructors, hooks and loggers.

use std::any::Any;
use std::fmt::Display;
use std::io::{self, Read};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;

use super::client::Client;

/// The part that panicked and the payload, for the log.
#[must_use]
pub struct Panicked {
    what: &'static str,
    of: Option<String>,
    payload: Box<dyn Any + Send>,
}

/// Runs code that may panic. (The panic hook logs the place of a panic.)
///
/// # Errors
/// If it panicked. Log the result where code may block: the logger and the destructor of the payload are user code.
pub fn catch<R>(what: &'static str, code: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| Panicked { what, of: None, payload })
}

/// Runs code that may panic, in a place where blocking is allowed. Logs a panic, and then returns `None`.
pub fn contain<R>(what: &'static str, code: impl FnOnce() -> R) -> Option<R> {
    catch(what, code).map_err(Panicked::log).ok()
}

impl Panicked {
    /// Adds the client whose connection the panic ends, and the request, if known.
    pub fn of(self, client: &Client, what: Option<impl Display>) -> Panicked {
        let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
        Panicked { of: Some(format!(" with {client}{what}")), ..self }
    }

    pub fn named(self, name: &str) -> Panicked {
        Panicked { of: Some(format!(" ({name})")), ..self }
    }

    pub fn log(self) {
        let text = self.text();
        forget(catch_unwind(|| error!("{text}")));
    }

    pub fn text(self) -> String {
        let Panicked { what, of, payload } = self;
        format!("{what}{} panicked: {}", of.unwrap_or_default(), message_of(payload))
    }
}

/// A value of user code. If its destructor panics, the panic is logged, and has no other effect.
pub struct Contained<T> {
    /// `None` only while it is dropped.
    value: Option<T>,
    what: &'static str,
}

impl<T> Contained<T> {
    pub fn new(what: &'static str, value: T) -> Contained<T> {
        Contained { value: Some(value), what }
    }
}

impl<T> Contained<T> {
    /// Returns the value, which is no longer contained.
    pub fn into_inner(mut self) -> T {
        self.value.take().expect("the value until it is dropped")
    }
}

impl<T: Clone> Clone for Contained<T> {
    fn clone(&self) -> Contained<T> {
        Contained::new(self.what, (**self).clone())
    }
}

impl<T> Deref for Contained<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("the value until it is dropped")
    }
}

impl<T> DerefMut for Contained<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("the value until it is dropped")
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        contain(self.what, || drop(value));
    }
}

impl<R: Read> Read for Contained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read(buffer)
    }
}

/// Returns the text of an error, which can be user code: both its text and its destructor may panic.
pub fn text_of(error: io::Error) -> String {
    Contained::new("dropping an error", error).to_string()
}

/// Returns the message of a panic. The payload is dropped here, which may panic as well.
pub fn message_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or("no message".into());
    forget(catch_unwind(AssertUnwindSafe(|| drop(payload))));
    message
}

/// Drops the payload of a panic. That may panic as well; the payload of that second panic is leaked.
fn forget<T>(result: std::thread::Result<T>) {
    if let Err(payload) = result {
        mem::forget(payload);
    }
}
