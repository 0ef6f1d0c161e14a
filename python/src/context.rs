//! Context variables of a request: the values that its application sets are available while its body is created, and
//! are deleted after the request. Flask's `stream_with_context` depends on this.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::forked::Process;

/// A `contextvars.Context` in which all Python code of a request runs. Only one thread at a time runs code of a
/// request.
pub struct Context {
    variables: Py<PyAny>,
    process: Process,
}

impl Context {
    /// Returns a copy of the thread's context.
    pub fn new(py: Python<'_>) -> PyResult<Context> {
        static COPY: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let variables = COPY.import(py, "contextvars", "copy_context")?.call0()?.unbind();
        Ok(Context { variables, process: Process::current() })
    }

    /// Calls this in the context. Does not return in a process that the called code has forked.
    pub fn call<'py>(
        &self,
        py: Python<'py>,
        args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let args = args.into_pyobject(py)?;
        let result = self.variables.bind(py).getattr(intern!(py, "run"))?.call1(args);
        self.process.check(py, &result);
        result
    }

    /// Calls `iter()` in the context.
    pub fn iterate<'py>(&self, iterable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        static ITER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = iterable.py();
        self.call(py, (ITER.import(py, "builtins", "iter")?, iterable))
    }

    /// Calls `next()` in the context. `None`: the end.
    pub fn next<'py>(&self, iterator: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        static NEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let py = iterator.py();
        let end = self.variables.bind(py); // a default value that no application has
        let found = self.call(py, (NEXT.import(py, "builtins", "next")?, iterator, end))?;
        Ok(Some(found).filter(|found| !found.is(end)))
    }
}
