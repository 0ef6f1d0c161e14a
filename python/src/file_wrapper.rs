//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a regular file is sent by `sendfile`
//! from its current position. Everything else is read block by block.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::sys;

/// An iterable over the blocks of a file-like object.
#[pyclass(frozen, module = "modest._modest")]
pub struct FileWrapper {
    filelike: Py<PyAny>,
    block_size: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size = 65536, /))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> FileWrapper {
        FileWrapper { filelike, block_size }
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let block = self.filelike.bind(py).call_method1(intern!(py, "read"), (self.block_size,))?;
        Ok(Some(block).filter(|block| !block.cast::<PyBytes>().is_ok_and(|bytes| bytes.as_bytes().is_empty())))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        match self.filelike.bind(py).getattr_opt(intern!(py, "close"))? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

/// The rest of a regular file.
pub struct RegularFile {
    pub file: File,
    pub start: u64,
    pub length: u64,
}

/// Returns the Python file whose `read` this object calls. `None`: the object has a `read` of its own. `fileno` alone
/// does not suffice: a `GzipFile` has it, but reads other bytes than those of its descriptor. `tempfile` and Django's
/// `File` pass calls on.
fn read_by<'py>(filelike: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let py = filelike.py();
    let mut read = filelike.getattr(intern!(py, "read")).ok()?;
    for _ in 0..MOST_WRAPPERS {
        let Some(inner) = read.getattr_opt(intern!(py, "__wrapped__")).ok()? else { break };
        read = inner;
    }
    let file = read.getattr(intern!(py, "__self__")).ok()?;
    let io = py.import("io").ok()?;
    let is = |object: &Bound<'py, PyAny>, name| io.getattr(name).is_ok_and(|class| object.get_type().is(&class));
    let raw = match is(&file, "BufferedReader") || is(&file, "BufferedRandom") {
        true => file.getattr(intern!(py, "raw")).ok()?,
        false => file.clone(),
    };
    Some(file).filter(|_| is(&raw, "FileIO"))
}

/// Functions around `read` (`functools.wraps`).
const MOST_WRAPPERS: usize = 4;

/// Returns the wrapped file. `None`: it is not a regular file, or can't be opened again, so it is read. A file without
/// blocks on a disk is also read: the reported length of files in `/proc` and `/sys` is not that of their content.
pub fn regular_file(wrapper: &Bound<'_, FileWrapper>) -> Option<RegularFile> {
    let py = wrapper.py();
    let filelike = read_by(wrapper.get().filelike.bind(py))?;
    let number = filelike.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
    let start: u64 = filelike.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
    // A file that is opened again has its own position, and the application may close its own one.
    let file = sys::open_again(number).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.blocks() > 0)?;
    let length = metadata.len().saturating_sub(start);
    Some(RegularFile { file, start, length })
}
