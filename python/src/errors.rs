//! `wsgi.errors`, whose text goes to the log, and log lines of exceptions.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};

use log::Level;
use modest::Request;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The log target of lines that applications write.
const TARGET: &str = "modest::wsgi";

/// Whether a record of the log holds several lines, as in JSON. The log belongs to the process.
static HOLDS_LINES: OnceLock<bool> = OnceLock::new();

/// Sets that, unless an earlier server of this process has set it.
pub fn log_holds_lines(holds: bool) {
    let _ = HOLDS_LINES.set(holds);
}

/// `wsgi.errors` of one request. Text without a line end is logged on flush and drop.
#[pyclass(frozen, module = "modest._modest")]
#[derive(Default)]
pub struct Errors {
    text: Mutex<String>,
}

#[pymethods]
impl Errors {
    fn write(&self, text: &Bound<'_, PyString>) -> PyResult<usize> {
        let added = printable(text)?;
        let mut kept = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        let end = added.rfind('\n').map(|at| kept.len() + at + 1);
        kept.push_str(&added);
        if let Some(end) = end {
            log_text(Level::Warn, &kept[..end]);
            kept.drain(..end);
        }
        text.len()
    }

    fn writelines(&self, lines: &Bound<'_, PyAny>) -> PyResult<()> {
        lines.try_iter()?.try_for_each(|line| self.write(line?.cast::<PyString>()?).map(drop))
    }

    fn flush(&self) {
        let text = std::mem::take(&mut *self.text.lock().unwrap_or_else(PoisonError::into_inner));
        log_text(Level::Warn, &text);
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

/// Logs this text line by line. If a record holds several lines, it gets as many as fit.
fn log_text(level: Level, text: &str) {
    let most = if HOLDS_LINES.get() == Some(&true) { LONGEST } else { 0 };
    let mut record = String::new();
    for line in text.lines().map(shortened) {
        if !record.is_empty() && record.len() + line.len() >= most {
            log_record(level, &record);
            record.clear();
        }
        if !record.is_empty() {
            record.push('\n');
        }
        record.push_str(&line);
    }
    log_record(level, &record);
}

fn log_record(level: Level, record: &str) {
    let record = record.trim_end_matches(['\r', '\n']);
    if !record.is_empty() {
        log::log!(target: TARGET, level, "{record}");
    }
}

/// The longest line or record in bytes that is logged. A longer one could be more than the log can hold, and would be
/// lost.
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

/// Logs an exception with its traceback.
pub fn log_exception(py: Python<'_>, name: &str, raised: &PyErr) {
    let kind = raised.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
    let text = traceback(py, raised).unwrap_or_else(|_| "the traceback can't be formatted".to_owned());
    log_text(Level::Error, &format!("{name}: the application raised {kind}\n{text}"));
}

fn traceback(py: Python<'_>, raised: &PyErr) -> PyResult<String> {
    let args = (raised.get_type(py), raised.value(py), raised.traceback(py));
    let lines = py.import("traceback")?.call_method1("format_exception", args)?;
    printable(PyString::new(py, "").call_method1("join", (lines,))?.cast()?)
}
