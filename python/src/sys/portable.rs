//! Code for every Unix. Compiled for systems other than Linux, and on Linux for tests.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;

use pyo3::prelude::*;

/// Cannot be created: `--reload` compares files without it.
#[pyclass(frozen, module = "modest._modest")]
pub struct Watch(Infallible);

#[pymethods]
impl Watch {
    #[new]
    fn new() -> PyResult<Watch> {
        Err(io::Error::from(io::ErrorKind::Unsupported).into())
    }

    fn add(&self, _: PathBuf) {
        match self.0 {}
    }

    fn fileno(&self) -> RawFd {
        match self.0 {}
    }

    fn clear(&self) {
        match self.0 {}
    }
}

/// Never succeeds: `/dev/fd` has no position of its own. The file is then read by Python.
pub fn open_again(_: RawFd) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
