//! `wsgi.input`: the body of a request, which is complete. It ends at the end of the body, and may outlive the request.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Mutex, MutexGuard, PoisonError};

use modest::{IntoReader, Request};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyList};

/// The body of one request.
#[pyclass(frozen, module = "modest._modest")]
pub struct Input(Mutex<Source>);

enum Source {
    /// A short body, and the number of bytes that have been read.
    Memory { body: Py<PyBytes>, at: usize },
    /// A long body, in an unnamed file.
    File(Box<BufReader<IntoReader>>),
}

/// Bodies up to this length are copied into the interpreter. The server keeps few longer ones in memory.
const IN_MEMORY: u64 = 64 * 1024;

/// Bytes per read of a file.
const BUFFER: usize = 64 * 1024;

impl Input {
    pub fn of(py: Python<'_>, request: &Request) -> PyResult<Input> {
        let body = request.body();
        let source = match body.len() {
            length if length <= IN_MEMORY => Source::Memory { body: PyBytes::new(py, &body.bytes()?).unbind(), at: 0 },
            _ => Source::File(Box::new(BufReader::with_capacity(BUFFER, body.try_clone()?.into_reader()))),
        };
        Ok(Input(Mutex::new(source)))
    }

    /// Two threads that read one body wait for each other without holding the interpreter.
    fn source(&self, py: Python<'_>) -> MutexGuard<'_, Source> {
        self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns up to `limit` unread bytes. If the body is in memory, `ends` returns how many bytes to take. If it is in
    /// a file, `read` reads them.
    fn take<'py>(
        &self,
        py: Python<'py>,
        limit: Option<usize>,
        ends: impl Fn(&[u8]) -> usize,
        read: impl FnOnce(&mut BufReader<IntoReader>, u64) -> io::Result<Vec<u8>> + Send,
    ) -> PyResult<Bound<'py, PyBytes>> {
        match &mut *self.source(py) {
            Source::Memory { body, at } => {
                let bytes = body.bind(py);
                let left = &bytes.as_bytes()[*at..];
                let end = ends(left).min(limit.unwrap_or(usize::MAX));
                let taken = match end == bytes.as_bytes().len() {
                    true => bytes.clone(), // the whole body at once
                    false => PyBytes::new(py, &left[..end]),
                };
                *at += end;
                Ok(taken)
            }
            Source::File(file) => {
                let limit = limit.map_or(u64::MAX, |limit| limit as u64);
                let bytes = py.detach(|| read(file, limit))?;
                Ok(PyBytes::new(py, &bytes))
            }
        }
    }
}

/// A size as in Python's files: none or a negative one means everything.
fn limit(size: Option<isize>) -> Option<usize> {
    size.and_then(|size| usize::try_from(size).ok())
}

#[pymethods]
impl Input {
    #[pyo3(signature = (size = None, /))]
    fn read<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        self.take(py, limit(size), <[u8]>::len, |file, limit| {
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes).map(|_| bytes)
        })
    }

    #[pyo3(signature = (size = None, /))]
    fn readline<'py>(&self, py: Python<'py>, size: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let end_of_line = |bytes: &[u8]| memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
        self.take(py, limit(size), end_of_line, |file, limit| {
            let mut bytes = Vec::new();
            file.take(limit).read_until(b'\n', &mut bytes).map(|_| bytes)
        })
    }

    /// Lines until at least `hint` bytes have been read.
    #[pyo3(signature = (hint = None, /))]
    fn readlines<'py>(&self, py: Python<'py>, hint: Option<isize>) -> PyResult<Bound<'py, PyList>> {
        let lines = PyList::empty(py);
        let (enough, mut count) = (limit(hint).filter(|hint| *hint > 0).unwrap_or(usize::MAX), 0);
        while count < enough {
            let line = self.readline(py, None)?;
            if line.as_bytes().is_empty() {
                break;
            }
            count += line.as_bytes().len();
            lines.append(line)?;
        }
        Ok(lines)
    }

    fn readable(&self) -> bool {
        true
    }

    fn writable(&self) -> bool {
        false
    }

    fn seekable(&self) -> bool {
        false
    }

    #[getter]
    fn closed(&self) -> bool {
        false
    }

    fn flush(&self) {}

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let line = self.readline(py, None)?;
        Ok(Some(line).filter(|line| !line.as_bytes().is_empty()))
    }
}
