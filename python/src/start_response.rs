//! `start_response`, and `write()`, which it returns (PEP 3333, "The start_response() Callable").

use std::io::{self, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::{HeaderName, HeaderValue, StatusCode};
use pyo3::exceptions::{PyAssertionError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};
use tempfile::SpooledTempFile;

/// Status and fields of a response.
pub struct Head {
    pub status: StatusCode,
    /// The reason, if it differs from the usual reason of the status.
    pub reason: Option<String>,
    /// All fields but Content-Length.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Content-Length.
    pub length: Option<u64>,
}

/// The state of one response, set by the application.
#[pyclass(frozen, module = "modest._modest")]
#[derive(Default)]
pub struct StartResponse(Mutex<Begun>);

#[derive(Default)]
struct Begun {
    /// Set even if the call has raised an error.
    was_called: bool,
    head: Option<Head>,
    /// The head is sent, so it can't change any more.
    is_sent: bool,
    /// The application has returned its iterable, whose bytes follow those of `write()`.
    has_returned: bool,
    written: Option<Written>,
}

/// The bytes of `write()`: in memory, then in an unnamed file.
pub struct Written {
    file: SpooledTempFile,
    length: u64,
}

/// The bytes of `write()` that are kept in memory, per response.
const IN_MEMORY: usize = 256 * 1024;

impl StartResponse {
    fn begun(&self, py: Python<'_>) -> MutexGuard<'_, Begun> {
        self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the head, which can't change any more. Called for the first bytes of the body, or at its end.
    pub fn send_head(&self, py: Python<'_>) -> PyResult<Head> {
        let mut begun = self.begun(py);
        begun.is_sent = true;
        let missing =
            || PyAssertionError::new_err("the application has not called start_response before its first bytes");
        begun.head.take().ok_or_else(missing)
    }

    /// Ends `write()`, because the application has returned. Returns the bytes of `write()`, or `None` if it was not
    /// called.
    pub fn take_written(&self, py: Python<'_>) -> Option<Written> {
        let mut begun = self.begun(py);
        begun.has_returned = true;
        begun.written.take()
    }
}

impl Written {
    /// Returns the number of bytes, and a reader of them.
    pub fn into_reader(mut self) -> io::Result<(u64, impl io::Read + Send + 'static)> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok((self.length, self.file))
    }
}

#[pymethods]
impl StartResponse {
    #[pyo3(signature = (status, response_headers, /, exc_info = None))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        response_headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let mut begun = slf.get().begun(py);
        match exc_info.filter(|given| !given.is_none()) {
            Some(exc_info) if begun.is_sent => {
                drop(begun);
                return Err(raised_again(exc_info)?);
            }
            None if begun.was_called => {
                return Err(PyAssertionError::new_err("start_response was called twice, without exc_info"));
            }
            _ => begun.was_called = true,
        }
        drop(begun); // what follows can run code of the application
        let head = head_of(status, response_headers)?;
        slf.get().begun(py).head = Some(head);
        slf.getattr(intern!(py, "write"))
    }

    /// Adds bytes to the body. They are sent once the application returns, before its result.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<()> {
        let mut begun = self.begun(py);
        let bytes = data.as_bytes();
        if begun.has_returned {
            // PEP 3333: "Applications must not invoke write() from within their return iterable".
            return Err(PyAssertionError::new_err("write() was called after the application had returned"));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        begun.is_sent = true;
        let room = begun.head.as_ref().and_then(|head| head.length);
        let written = begun.written.get_or_insert_with(|| Written { file: SpooledTempFile::new(IN_MEMORY), length: 0 });
        if room.is_some_and(|room| written.length + bytes.len() as u64 > room) {
            return Err(PyValueError::new_err("write() was called with more bytes than Content-Length allows"));
        }
        py.detach(|| written.file.write_all(bytes))?;
        written.length += bytes.len() as u64;
        Ok(())
    }
}

/// Returns the exception of `exc_info`, to raise again: the head is sent, so no other page can be sent.
fn raised_again(exc_info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let (_, value, traceback): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) = exc_info.extract()?;
    let value = value.call_method1(intern!(value.py(), "with_traceback"), (traceback,))?;
    Ok(PyErr::from_value(value))
}

fn head_of(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<Head> {
    let headers = headers.cast::<PyList>().map_err(|_| PyTypeError::new_err("response_headers must be a list"))?;
    let (status, reason) = status_of(status)?;
    let mut head = Head { status, reason, fields: Vec::with_capacity(headers.len()), length: None };
    for header in headers.iter() {
        let pair = header.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
        let pair =
            pair.ok_or_else(|| PyTypeError::new_err("each of response_headers must be a tuple of name and value"))?;
        add_field(&mut head, &pair.get_item(0)?, &pair.get_item(1)?)?;
    }
    Ok(head)
}

/// Parses a status such as `"200 OK"`: three digits, a space, and a reason.
fn status_of(status: &Bound<'_, PyAny>) -> PyResult<(StatusCode, Option<String>)> {
    let text = status.cast::<PyString>().map_err(|_| PyTypeError::new_err("the status must be a str"))?.to_cow()?;
    let wrong = || PyValueError::new_err(format!("expected a status such as '200 OK', not {text:?}"));
    let (code, reason) = text.split_once(' ').unwrap_or((&text, ""));
    if code.len() != 3 || field_value(reason).is_none() {
        return Err(wrong());
    }
    let code = code.parse::<StatusCode>().map_err(|_| wrong())?;
    match code.as_u16() {
        200..=599 => {
            Ok((code, Some(reason).filter(|reason| code.canonical_reason() != Some(reason)).map(str::to_owned)))
        }
        _ => Err(PyValueError::new_err(format!("expected a status from 200 to 599, not {text:?}"))),
    }
}

fn add_field(head: &mut Head, name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let name =
        name.cast::<PyString>().map_err(|_| PyTypeError::new_err("the name of a field must be a str"))?.to_cow()?;
    let value =
        value.cast::<PyString>().map_err(|_| PyTypeError::new_err(format!("{name}: the value must be a str")))?;
    let value = value.to_cow()?;
    let wrong = |why: &str| PyValueError::new_err(format!("{name:?}: {why}"));
    let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("this is not the name of a field"))?;
    if is_hop_by_hop(&field) {
        return Err(wrong("this field is about the connection, which the server controls (PEP 3333)"));
    }
    let value =
        field_value(&value).ok_or_else(|| wrong("the value has a control character, or one that is not latin-1"))?;
    if field == "content-length" {
        let length = std::str::from_utf8(value.as_bytes()).ok();
        let length = length.filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
        let length = length.and_then(|text| text.parse().ok()).ok_or_else(|| wrong("the value is not a length"))?;
        if head.length.is_some_and(|other| other != length) {
            return Err(wrong("there are two different ones"));
        }
        head.length = Some(length);
        return Ok(());
    }
    head.fields.push((field, value));
    Ok(())
}

/// Returns text as the bytes of latin-1; `None`: it contains other characters.
pub fn latin1_bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect()
}

fn field_value(text: &str) -> Option<HeaderValue> {
    if text.is_ascii() {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_bytes(&latin1_bytes(text)?).ok()
}

/// Connection-specific fields (RFC 9110, section 7.6.1; `wsgiref.util.is_hop_by_hop`).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    const NAMES: [&str; 10] = [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "trailers",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name.as_str())
}
