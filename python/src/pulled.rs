//! An iterable as the body of a response. The engine reads from it with a permit when the client has received the
//! previous bytes, so no thread waits for a client, and only one piece is in memory. `close()` is called once for each
//! response.

use std::io::{self, Read};

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::attached::attached;
use crate::context::Context;
use crate::errors::log_exception;

/// The object that an application has returned, and the piece of it that is being sent.
pub struct Pulled {
    /// The object with `close()`. `None`: `close()` was called.
    returned: Option<Py<PyAny>>,
    /// `None` before the first piece and after the last.
    iterator: Option<Py<PyAny>>,
    piece: Option<PyBackedBytes>,
    /// The number of bytes of the piece that were read.
    at: usize,
    /// `None`: the response has ended.
    context: Option<Context>,
    /// The name of the request in the log.
    name: String,
}

impl Pulled {
    pub fn new(returned: Bound<'_, PyAny>, context: Context, name: String) -> Pulled {
        Pulled { returned: Some(returned.unbind()), iterator: None, piece: None, at: 0, context: Some(context), name }
    }

    /// Begins to iterate, and keeps the first non-empty piece. Returns its length; `None`: there is none.
    pub fn begin(&mut self, py: Python<'_>) -> PyResult<Option<usize>> {
        if let (Some(returned), Some(context)) = (&self.returned, &self.context) {
            self.iterator = Some(context.iterate(returned.bind(py))?.unbind());
        }
        self.next_piece(py)?;
        Ok(self.piece.as_ref().map(|piece| piece.len()))
    }

    /// Takes the kept piece, which is the whole body.
    pub fn take_piece(&mut self) -> Option<PyBackedBytes> {
        self.piece.take()
    }

    /// Keeps the next non-empty piece. At the end, and after an error, calls `close()`.
    fn next_piece(&mut self, py: Python<'_>) -> PyResult<()> {
        (self.piece, self.at) = (None, 0);
        let result = self.find_piece(py);
        if self.piece.is_none() {
            self.close(py);
        }
        result
    }

    fn find_piece(&mut self, py: Python<'_>) -> PyResult<()> {
        let (Some(iterator), Some(context)) = (&self.iterator, &self.context) else { return Ok(()) };
        let iterator = iterator.bind(py);
        while let Some(piece) = context.next(iterator)? {
            let piece = bytes_of(&piece)?;
            if !piece.as_bytes().is_empty() {
                self.piece = Some(PyBackedBytes::from(piece.clone()));
                break;
            }
        }
        Ok(())
    }

    /// Calls `close()`, if there is one and it was not called, and drops all objects of the request now: outside the
    /// interpreter they would live until its next use. An exception is logged: the response can't change any more.
    pub fn close(&mut self, py: Python<'_>) {
        self.iterator = None;
        let Some(context) = self.context.take() else { return };
        let Some(returned) = self.returned.take() else { return };
        let returned = returned.into_bound(py);
        if returned.is_exact_instance_of::<PyList>() || returned.is_exact_instance_of::<PyTuple>() {
            return;
        }
        let closed = match returned.getattr_opt(intern!(py, "close")) {
            Ok(Some(close)) => context.call(py, (close,)).map(drop),
            Ok(None) => Ok(()),
            Err(raised) => Err(raised),
        };
        if let Err(raised) = closed {
            log_exception(py, &self.name, &raised);
        }
    }

    /// Copies from the current piece.
    fn copy(&mut self, buffer: &mut [u8]) -> usize {
        let left = self.piece.as_ref().map_or(&[][..], |piece| &piece[self.at..]);
        let count = left.len().min(buffer.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.at += count;
        count
    }
}

/// Pieces must be bytes (PEP 3333); strings and buffers are rejected.
pub fn bytes_of<'a, 'py>(piece: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    piece.cast::<PyBytes>().map_err(|_| {
        let found = piece.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string());
        PyTypeError::new_err(format!("the application's iterable must return bytes, not {found}"))
    })
}

impl Read for Pulled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.copy(buffer) {
            0 if !buffer.is_empty() && self.returned.is_some() => {}
            count => return Ok(count),
        }
        attached(|py| {
            self.next_piece(py).map_err(|raised| {
                log_exception(py, &self.name, &raised);
                io::Error::other("the application raised an exception")
            })
        })?;
        Ok(self.copy(buffer))
    }
}

/// Called when the response has ended, complete or not. The engine drops bodies with a permit, because `close()` may
/// block.
impl Drop for Pulled {
    fn drop(&mut self) {
        if self.returned.is_some() {
            attached(|py| {
                self.close(py);
                self.piece = None;
            });
        }
    }
}
