//! `wsgi.errors`, whose lines go to the log, and log lines of exceptions.

use std::sync::{Mutex, PoisonError};

use modest::Request;
use pyo3::prelude::*;

/// The log target of lines that applications write.
const TARGET: &str = "modest::wsgi";

/// `wsgi.errors` of one request. Text without a line end is logged on flush and drop.
#[pyclass(frozen, module = "modest._modest")]
#[derive(Default)]
pub struct Errors {
    line: Mutex<String>,
}

#[pymethods]
impl Errors {
    fn write(&self, text: &str) -> usize {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.push_str(text);
        while let Some(end) = line.find('\n') {
            let rest = line.split_off(end + 1);
            log_line(&line);
            *line = rest;
        }
        text.chars().count()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        for line in lines.try_iter()? {
            self.write(&line?.extract::<String>()?);
        }
        Ok(())
    }

    fn flush(&self) {
        let line = std::mem::take(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner));
        log_line(&line);
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        self.flush();
    }
}

fn log_line(line: &str) {
    let line = line.trim_end_matches(['\r', '\n']);
    if !line.is_empty() {
        log::warn!(target: TARGET, "{line}");
    }
}

/// The name of a request in the log.
pub fn name_of(request: &Request) -> String {
    format!("{} {}", request.method(), request.target())
}

/// Logs an exception with its traceback, line by line.
pub fn log_exception(py: Python<'_>, name: &str, raised: &PyErr) {
    log::error!(target: TARGET, "{name}: the application raised {}", raised.get_type(py));
    let text = traceback(py, raised).unwrap_or_else(|_| "the traceback can't be formatted".to_owned());
    for line in text.lines() {
        log::error!(target: TARGET, "{line}");
    }
}

fn traceback(py: Python<'_>, raised: &PyErr) -> PyResult<String> {
    let args = (raised.get_type(py), raised.value(py), raised.traceback(py));
    let lines = py.import("traceback")?.call_method1("format_exception", args)?;
    pyo3::types::PyString::new(py, "").call_method1("join", (lines,))?.extract()
}
