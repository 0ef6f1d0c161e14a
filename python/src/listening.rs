//! Listening sockets that a parent process creates for the serving processes. It creates them before it has a second
//! thread, and never accepts from them.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use modest::{Error, TcpServer, handler_fn};

use crate::settings::Own;
use modest_cli::{listening, places};

/// The sockets. While this exists, they listen, and the file of a Unix socket stays.
#[pyclass(frozen, module = "modest._modest")]
pub struct Listeners {
    _server: TcpServer,
    sockets: Vec<OwnedFd>,
}

#[pymethods]
impl Listeners {
    /// `args`: those of `modest-wsgi`, without the program's name.
    #[new]
    fn new(args: Vec<OsString>) -> PyResult<Listeners> {
        let failed = |error: &dyn std::fmt::Display| PyOSError::new_err(error.to_string());
        let (_, options) = Own::parse(args, false).map_err(|(text, _)| failed(&text))?;
        let addresses = places::addresses(&options).map_err(|error| failed(&error))?;
        let nothing = handler_fn(|_| Err(Error::new(503, ""))); // never called
        let server = listening::bind(&options, &addresses, nothing).map_err(|error| failed(&error))?;
        let sockets = server.shared_listeners()?;
        Ok(Listeners { _server: server, sockets })
    }

    /// The numbers of their descriptors, for processes that are forked.
    #[getter]
    fn descriptors(&self) -> Vec<i32> {
        self.sockets.iter().map(AsRawFd::as_raw_fd).collect()
    }
}
