//! The native part of the Python package `modest`: the program `modest`, and a WSGI server (PEP 3333) on the library's
//! engine. Imported by `modest/wsgi.py` and `modest/__main__.py`.
//!
//! A request passes through `application` (the call), which uses `environ`, `input`, `errors` and `start_response` for
//! what the application gets, and `response`, `pulled` and `file_wrapper` for what it returns.

mod settings; // the options of `modest-wsgi`
mod serving; // the server of an application
mod parent; // sockets and messages of a parent process
mod sys; // differences between systems
mod application; // a request: the call of the application, with a permit
mod attached; // threads that keep their state in the interpreter
mod context; // its context variables
mod forked; // processes that the application forks
mod environ; // the dictionary of a request
mod errors; // wsgi.errors, and tracebacks in the log
mod input; // wsgi.input
mod start_response; // status and fields, `write()`
mod file_wrapper; // a file as a body
mod pulled; // an iterable as a body
mod response; // the application's result as a response

pub use application::Application;

use std::ffi::OsString;

use pyo3::prelude::*;

use modest_cli::program::Folders;

/// Runs the program `modest` with these arguments, its name first. Returns its exit status.
#[pyfunction]
fn run(py: Python<'_>, args: Vec<OsString>) -> u8 {
    py.detach(|| modest_cli::run_as(&mut Folders, args))
}

#[pymodule(gil_used = false)]
fn _modest(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(run, module)?)?;
    module.add_function(wrap_pyfunction!(serving::serve, module)?)?;
    module.add_function(wrap_pyfunction!(attached::running, module)?)?;
    module.add_class::<settings::Settings>()?;
    module.add_class::<parent::Listeners>()?;
    module.add_class::<parent::Log>()?;
    module.add_class::<serving::Server>()?;
    module.add_class::<sys::Watch>()?;
    module.add_class::<file_wrapper::FileWrapper>()
}
