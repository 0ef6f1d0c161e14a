//! Converts an application's result to a response: from memory if all of it is there, else a file or an iterable that
//! is pulled.

use std::io::{self, Read};
use std::sync::Arc;

use modest::{Error, Method, Request, Response, StatusCode};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::context::Context;
use crate::errors::name_of;
use crate::file_wrapper::{self, FileWrapper};
use crate::pulled::{Pulled, bytes_of};
use crate::start_response::{Head, StartResponse, Written, latin1_bytes};

/// Pieces up to this length are copied: releasing a shared piece needs the interpreter.
const COPIED: usize = 64 * 1024;

/// The reason why there is no response of the application.
pub enum Failure {
    /// The application has raised this exception.
    Raised(PyErr),
    Server(Error),
}

impl<E: Into<PyErr>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Raised(error.into())
    }
}

/// Returns the response for an application's iterable. In any case the iterable's `close()` is called once.
pub fn of(
    returned: Bound<'_, PyAny>,
    start: &Bound<'_, StartResponse>,
    context: Context,
    request: &Request,
) -> Result<Response, Failure> {
    let (py, start) = (returned.py(), start.get());
    let mut body = Pulled::new(returned.clone(), context, request);
    if let Some(written) = start.take_written(py) {
        return after_written(py, start.send_head(py)?, written, body, request);
    }
    if let Some(pieces) = pieces_in_memory(&returned)? {
        let head = start.send_head(py)?;
        body.close(py);
        return Ok(in_memory(head, pieces, request));
    }
    if let Ok(wrapper) = returned.cast::<FileWrapper>()
        && let Some(file) = file_wrapper::regular_file(wrapper)
    {
        let head = start.send_head(py)?;
        if !has_body(&head, request) {
            body.close(py);
            return Ok(without_body(head, Some(file.length)));
        }
        if head.length.is_none_or(|length| length <= file.length) {
            let length = head.length.unwrap_or(file.length);
            let response = Response::open_file_at(Arc::new(file.file), file.start, length);
            body.close(py); // the response has opened the file itself
            return Ok(with_fields(response, head));
        }
        body.begin(py)?; // shorter than promised: the client notices that at the end
        return pulled(head, None, body, request);
    }
    let first = body.begin(py)?;
    let head = start.send_head(py)?;
    if !has_body(&head, request) {
        let found = first.map(|length| length as u64);
        end_unsent(py, body, &head, found);
        return Ok(without_body(head, found.filter(|_| is_alone(&returned))));
    }
    let length = head.length.or(first.filter(|_| is_alone(&returned)).map(|length| length as u64));
    match (first, length) {
        (None, _) => Ok(in_memory(head, Vec::new(), request)),
        (Some(first), Some(length)) if length <= first as u64 => {
            let piece = body.take_piece();
            // No more bytes are requested (PEP 3333, "Handling the Content-Length Header").
            match length == first as u64 {
                true => body.finish_later(py, 0),
                false => body.close(py),
            }
            match piece {
                Some(piece) if length == first as u64 && first > COPIED => {
                    Ok(with_fields(Response::shared(Arc::new(piece)), head))
                }
                piece => Ok(in_memory(head, piece.map_or_else(Vec::new, |piece| piece.to_vec()), request)),
            }
        }
        _ => pulled(head, None, body, request),
    }
}

/// Ends an iterable whose bytes are not sent. If the number of bytes is known, a generator runs until it has produced
/// all of them, as for a GET.
fn end_unsent(py: Python<'_>, mut body: Pulled, head: &Head, found: Option<u64>) {
    match head.length.and_then(|length| length.checked_sub(found.unwrap_or(0))) {
        Some(rest) => body.finish_later(py, rest),
        None => body.close(py),
    }
}

/// The body is the bytes of `write()`, then those of the iterable.
fn after_written(
    py: Python<'_>,
    head: Head,
    written: Written,
    mut body: Pulled,
    request: &Request,
) -> Result<Response, Failure> {
    let rest = body.begin(py)?;
    if !has_body(&head, request) {
        body.close(py);
        return Ok(without_body(head, None));
    }
    match rest {
        None => {
            let (count, reader) = written.into_reader()?;
            Ok(streamed(Head { length: head.length.or(Some(count)), ..head }, reader))
        }
        Some(_) => pulled(head, Some(written), body, request),
    }
}

/// The body is what was written, if anything, and then the iterable, which has begun.
fn pulled(head: Head, written: Option<Written>, body: Pulled, request: &Request) -> Result<Response, Failure> {
    let written = written.map(Written::into_reader).transpose()?;
    let count = written.as_ref().map_or(0, |(count, _)| *count);
    let left = head.length.map(|length| length.saturating_sub(count));
    let rest = body.into_reader(left).map_err(|error| {
        log::error!("{}: the iterable can't be sent: {error}", name_of(request));
        // The application has run, so only a safe request can be repeated.
        Failure::Server(Error::new(if request.method().is_safe() { 503 } else { 500 }, ""))
    })?;
    Ok(match written {
        Some((_, written)) => streamed(head, written.chain(rest)),
        None => streamed(head, rest),
    })
}

/// Returns the bytes of a list or a tuple, which need no call of the application.
fn pieces_in_memory(returned: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    let join = |pieces: &mut dyn Iterator<Item = Bound<'_, PyAny>>| -> PyResult<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend_from_slice(bytes_of(&piece)?.as_bytes());
        }
        Ok(Some(bytes))
    };
    match (returned.cast_exact::<PyList>(), returned.cast_exact::<PyTuple>()) {
        (Ok(list), _) => join(&mut list.iter()),
        (_, Ok(tuple)) => join(&mut tuple.iter()),
        _ => Ok(None),
    }
}

/// Returns whether an iterable has exactly one piece, whose length is then that of the body (PEP 3333).
fn is_alone(returned: &Bound<'_, PyAny>) -> bool {
    returned.len().is_ok_and(|count| count == 1)
}

/// Returns a response with a body in memory. Bytes beyond Content-Length are left out; if it is shorter, the response
/// is truncated.
fn in_memory(head: Head, mut bytes: Vec<u8>, request: &Request) -> Response {
    if !has_body(&head, request) {
        return without_body(head, Some(bytes.len() as u64));
    }
    match head.length {
        Some(length) if length > bytes.len() as u64 => return streamed(head, io::Cursor::new(bytes)),
        Some(length) if length < bytes.len() as u64 => {
            let (name, given) = (name_of(request), bytes.len());
            log::warn!(
                "{name}: the application's Content-Length is {length}, and it returned {given} bytes: the rest is not sent"
            );
            bytes.truncate(length as usize);
        }
        _ => {}
    }
    with_fields(Response::new(head.status).with_body(bytes), head)
}

fn streamed(head: Head, body: impl Read + Send + 'static) -> Response {
    let response = match head.length {
        Some(length) => Response::sized_stream(body, length),
        None => Response::stream(body),
    };
    with_fields(response, head)
}

/// Returns whether the response can have a body (RFC 9110, section 6.4.1).
fn has_body(head: &Head, request: &Request) -> bool {
    let without = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED];
    *request.method() != Method::HEAD && !without.contains(&head.status)
}

/// The response to HEAD has the fields of the response to GET. The length of a body that was not made is unknown.
fn without_body(head: Head, found: Option<u64>) -> Response {
    let length = head.length.or(found.filter(|length| *length > 0));
    let response = match length {
        Some(length) => Response::new(head.status).with_header("content-length", length),
        None => Response::stream(io::empty()),
    };
    with_fields(response, head)
}

fn with_fields(response: Response, head: Head) -> Response {
    let response = match head.reason {
        None => response.with_status(head.status),
        Some(reason) => response.with_status(head.status).with_reason(latin1_bytes(&reason).unwrap_or_default()),
    };
    head.fields.into_iter().fold(response, |response, (name, value)| response.with_forwarded_header(name, value))
}
