//! `wsgi.errors`, whose lines go to the log, and log lines of exceptions.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use modest::Request;
use pyo3::prelude::*;
use pyo3::types::PyString;

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
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let added = printable(text)?;
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        for part in added.split_inclusive('\n') {
            line.push_str(part);
            if part.ends_with('\n') {
                log_line(&line);
                line.clear();
            }
        }
        text.len()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        lines.try_iter()?.try_for_each(|line| self.write(line?.cast::<PyString>()?).map(drop))
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

/// Returns any text of Python as its own stderr prints it. Lone surrogates, which names of files can have, become
/// escapes.
fn printable(text: &Bound<'_, PyString>) -> PyResult<String> {
    if let Ok(text) = text.to_cow() {
        return Ok(text.into_owned());
    }
    let bytes: Vec<u8> = text.call_method1("encode", ("utf-8", "backslashreplace"))?.extract()?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn log_line(line: &str) {
    let line = line.trim_end_matches(['\r', '\n']);
    if !line.is_empty() {
        log::warn!(target: TARGET, "{}", shortened(line));
    }
}

/// The longest line in bytes that is logged. A longer one could be more than the log can hold, and would be lost.
const LONGEST: usize = 16 * 1024;

fn shortened(line: &str) -> Cow<'_, str> {
    let end = (0..=line.len().min(LONGEST)).rev().find(|&at| line.is_char_boundary(at)).unwrap_or_default();
    match line.len() - end {
        0 => line.into(),
        more => format!("{}... ({more} more bytes)", &line[..end]).into(),
    }
}

/// Returns the name of a request in the log.
pub fn name_of(request: &Request) -> String {
    format!("{} {}", request.method(), request.target())
}

/// Logs an exception with its traceback, line by line.
pub fn log_exception(py: Python<'_>, name: &str, raised: &PyErr) {
    let kind = raised.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    log::error!(target: TARGET, "{name}: the application raised {kind}");
    let text = traceback(py, raised).unwrap_or_else(|_| "the traceback can't be formatted".to_owned());
    for line in text.lines() {
        log::error!(target: TARGET, "{}", shortened(line));
    }
}

fn traceback(py: Python<'_>, raised: &PyErr) -> PyResult<String> {
    let args = (raised.get_type(py), raised.value(py), raised.traceback(py));
    let lines = py.import("traceback")?.call_method1("format_exception", args)?;
    printable(PyString::new(py, "").call_method1("join", (lines,))?.cast()?)
}
