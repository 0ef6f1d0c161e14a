//! Where panics of user code end: in handlers, destructors, hooks and loggers.

use std::any::Any;
use std::fmt::Display;
use std::mem;
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

/// Runs code that may panic (the panic hook has logged where).
///
/// # Errors
/// If it panicked. Log the result where code may block: the logger and the destructor of the payload are user code.
pub fn catch<R>(what: &'static str, code: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| Panicked { what, of: None, payload })
}

/// Runs code that may panic, where it may block. `None` if it panicked, which is logged.
pub fn contain<R>(what: &'static str, code: impl FnOnce() -> R) -> Option<R> {
    catch(what, code).map_err(Panicked::tell).ok()
}

impl Panicked {
    /// Adds the client whose connection it ends, and what was handled, if that is known.
    pub fn of(self, client: &Client, what: Option<impl Display>) -> Panicked {
        let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
        Panicked { of: Some(format!(" with {client}{what}")), ..self }
    }

    /// Adds the name of its thread.
    pub fn named(self, name: &str) -> Panicked {
        Panicked { of: Some(format!(" ({name})")), ..self }
    }

    /// Logs the panic.
    pub fn tell(self) {
        let Panicked { what, of, payload } = self;
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or("no message".into());
        forget(catch_unwind(AssertUnwindSafe(|| drop(payload))));
        forget(catch_unwind(|| error!("{what}{} panicked: {message}", of.unwrap_or_default())));
    }
}

/// Dropping the payload of a panic may panic as well. The payload of that panic is leaked.
fn forget<T>(result: std::thread::Result<T>) {
    if let Err(payload) = result {
        mem::forget(payload);
    }
}
