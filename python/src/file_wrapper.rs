//! `wsgi.file_wrapper` (PEP 3333, "Optional Platform-Specific File Handling"): a regular file is sent by `sendfile`
//! from its current position. Everything else is read block by block.

use std::fs::{self, File};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

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

/// The wrapped file. `None`: it is not a regular file, or can't be reopened, so it is read.
pub fn regular_file(wrapper: &Bound<'_, FileWrapper>) -> Option<RegularFile> {
    let py = wrapper.py();
    let filelike = wrapper.get().filelike.bind(py);
    let number: u32 = filelike.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
    let start: u64 = filelike.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
    // A file that is opened through its descriptor has its own position, and the application may close its own one.
    let path = format!("/proc/self/fd/{number}");
    fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
    let file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len().saturating_sub(start);
    Some(RegularFile { file, start, length })
}
