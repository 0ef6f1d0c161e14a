//! An iterable as the body of a response. From its first piece to `close()` it runs on the thread of its call, which
//! handles no other request before that: connections to databases, locks and `threading.local` belong to a thread.
//!
//! In the turn of its request, the engine reads from the iterable directly. Afterwards the thread is kept
//! (`modest::keep_thread_if`) and makes pieces for the reader.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use modest::{Request, keep_thread, keep_thread_if};
use pyo3::exceptions::{PyBrokenPipeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

use crate::attached::{attached, finishing};
use crate::context::Context;
use crate::errors::{log_exception, name_of};

/// An object that an application has returned.
pub struct Pulled {
    /// The object with `close()`. `None`: `close()` was called.
    returned: Option<Py<PyAny>>,
    iterator: Option<Py<PyAny>>,
    /// `None`: the response has ended.
    context: Option<Context>,
    /// The name of the request in the log.
    name: String,
    client_is_gone: Box<dyn Fn() -> bool + Send>,
    /// The piece that is being copied, and the number of its bytes that have been copied.
    piece: Option<(PyBackedBytes, usize)>,
    /// How many bytes the response can still have; `None`: any number.
    left: Option<u64>,
    /// Whether it continues to its end after the last byte. Only a generator has code there: another iterable could
    /// wait for bytes that never come, such as those of a connection.
    finishes: bool,
}

/// How long an iterable that makes only empty pieces continues after its client has closed its side. The client may
/// still be reading; only bytes would show whether it is.
const AFTER_CLIENT: Duration = Duration::from_secs(5);

/// How many bytes an iterable can be ahead of its reader.
const AHEAD: usize = 64 * 1024;

impl Pulled {
    pub fn new(returned: Bound<'_, PyAny>, context: Context, request: &Request) -> Pulled {
        Pulled {
            finishes: is_generator(&returned),
            returned: Some(returned.unbind()),
            iterator: None,
            context: Some(context),
            name: name_of(request),
            client_is_gone: Box::new(request.watch_client()),
            piece: None,
            left: None,
        }
    }

    /// Begins to iterate, and keeps the first non-empty piece. Returns its length; `None`: there is none.
    pub fn begin(&mut self, py: Python<'_>) -> PyResult<Option<usize>> {
        if let (Some(returned), Some(context)) = (&self.returned, &self.context) {
            self.iterator = Some(context.iterate(returned.bind(py))?.unbind());
        }
        self.next_piece(py)?;
        Ok(self.piece.as_ref().map(|(piece, _)| piece.len()))
    }

    /// Takes the kept piece, which is the whole body.
    pub fn take_piece(&mut self) -> Option<PyBackedBytes> {
        self.piece.take().map(|(piece, _)| piece)
    }

    /// Keeps the next non-empty piece. At the end, and after an error, calls `close()`.
    fn next_piece(&mut self, py: Python<'_>) -> PyResult<()> {
        self.piece = None;
        let end = match self.find_piece(py) {
            Ok(Some(piece)) => {
                self.piece = Some((piece, 0));
                return Ok(());
            }
            end => end.map(drop),
        };
        self.close(py);
        end
    }

    fn find_piece(&self, py: Python<'_>) -> PyResult<Option<PyBackedBytes>> {
        let (Some(iterator), Some(context)) = (&self.iterator, &self.context) else { return Ok(None) };
        let iterator = iterator.bind(py);
        let mut gone_since = None;
        while let Some(piece) = context.next(iterator)? {
            let piece = bytes_of(&piece).map_err(|wrong| self.wrong_type(py, wrong))?;
            if !piece.as_bytes().is_empty() {
                return Ok(Some(PyBackedBytes::from(piece.clone())));
            }
            if (self.client_is_gone)() && gone_since.get_or_insert_with(Instant::now).elapsed() > AFTER_CLIENT {
                return Err(PyBrokenPipeError::new_err("the client has gone, and there are only empty pieces"));
            }
        }
        Ok(None)
    }

    /// Returns the error for a piece that is not bytes: this one, or one that names the cause. The pieces of text and
    /// bytes are characters and numbers.
    fn wrong_type(&self, py: Python<'_>, wrong: PyErr) -> PyErr {
        let Some(returned) = self.returned.as_ref().map(|returned| returned.bind(py)) else { return wrong };
        let found = [("bytes", returned.is_instance_of::<PyBytes>()), ("str", returned.is_instance_of::<PyString>())];
        match found.iter().find(|(_, is_it)| *is_it) {
            Some((name, _)) => PyTypeError::new_err(format!(
                "the application returned {name}; return a list of bytes, such as [b'abc']"
            )),
            None => wrong,
        }
    }

    /// Continues to the end after the last byte of the response, and calls `close()`. Code after the last `yield` is
    /// part of the request: the background work of an application, or the end of a coroutine. `unsent`: how many bytes
    /// the rest can have, of a body that is not sent.
    fn finish(&mut self, py: Python<'_>, unsent: u64) {
        let is_excess = self.piece.as_ref().is_some_and(|(piece, at)| *at < piece.len());
        if !is_excess && let Err(raised) = self.find_end(py, unsent) {
            log_exception(py, &self.name, &raised);
        }
        self.close(py);
    }

    fn find_end(&self, py: Python<'_>, mut unsent: u64) -> PyResult<()> {
        let (Some(iterator), Some(context)) = (&self.iterator, &self.context) else { return Ok(()) };
        let (iterator, begun) = (iterator.bind(py), Instant::now());
        while begun.elapsed() < AFTER_CLIENT
            && let Some(piece) = context.next(iterator)?
        {
            let length = bytes_of(&piece)?.as_bytes().len() as u64;
            match unsent.checked_sub(length) {
                Some(left) => unsent = left,
                None => return Ok(()), // more than was promised
            }
        }
        Ok(())
    }

    /// Does that on this thread, after the response was sent, if this is a generator. Otherwise, or if the thread can't
    /// be kept, calls `close()`.
    pub fn finish_later(mut self, py: Python<'_>, unsent: u64) {
        if !self.finishes || self.returned.is_none() {
            return self.close(py);
        }
        self.piece = None;
        let _ = keep_thread(move || {
            let _finishing = finishing();
            attached(|py| self.finish(py, unsent));
        });
    }

    /// Copies the next bytes, at most this many. If they are the last, returns how the body ends. Then
    /// [`Pulled::finish`] or [`Pulled::close`] has to be called.
    fn copy_next(&mut self, py: Python<'_>, most: usize, to: &mut VecDeque<u8>) -> Option<End> {
        if self.piece.as_ref().is_none_or(|(piece, at)| *at == piece.len())
            && let Err(raised) = self.next_piece(py)
        {
            log_exception(py, &self.name, &raised);
            return Some(End::Broken);
        }
        let Some((piece, at)) = &mut self.piece else { return Some(End::Complete) };
        let most = self.left.and_then(|left| usize::try_from(left).ok()).unwrap_or(most).min(most);
        let count = (piece.len() - *at).min(most);
        to.extend(&piece[*at..*at + count]);
        *at += count;
        self.left = self.left.map(|left| left - count as u64);
        (self.left == Some(0)).then(|| {
            if !self.finishes {
                self.close(py); // no more pieces are requested (PEP 3333, "Handling the Content-Length Header")
            }
            End::Complete
        })
    }

    /// Calls `close()`, if there is one and it was not called, and drops all objects of the request now: outside the
    /// interpreter they would live until its next use. An exception is logged: the response can't change any more.
    pub fn close(&mut self, py: Python<'_>) {
        (self.iterator, self.piece) = (None, None);
        let Some(context) = self.context.take() else { return };
        let Some(returned) = self.returned.take() else { return };
        let returned = returned.into_bound(py);
        if returned.is_exact_instance_of::<PyList>() || returned.is_exact_instance_of::<PyTuple>() {
            return;
        }
        let closed = match returned.getattr_opt(intern!(py, "close")) {
            Ok(Some(close)) => context.call(py, (close,)).map(drop),
            Ok(None) => Ok(()),
            Err(raised) => Err(raised),
        };
        if let Err(raised) = closed {
            log_exception(py, &self.name, &raised);
        }
    }

    fn close_if_open(&mut self) {
        if self.returned.is_some() {
            attached(|py| self.close(py));
        }
    }

    /// Returns the rest, up to this length, as the body of a response, and keeps this thread until `close()` was
    /// called.
    ///
    /// # Errors
    /// If no further thread can be kept. Then `close()` was called.
    pub fn into_reader(mut self, length: Option<u64>) -> io::Result<PulledReader> {
        self.left = length;
        let shared = Arc::new(Shared {
            thread: thread::current().id(),
            pulled: Mutex::new(self),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let of_turn = Arc::clone(&shared);
        keep_thread_if(move || locked(&of_turn.pulled).returned.is_some(), move || theirs.make_pieces())?;
        Ok(PulledReader(shared))
    }
}

/// The response is another, such as that of an error.
impl Drop for Pulled {
    fn drop(&mut self) {
        self.close_if_open();
    }
}

fn is_generator(returned: &Bound<'_, PyAny>) -> bool {
    static GENERATOR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let kind = GENERATOR.import(returned.py(), "types", "GeneratorType");
    kind.is_ok_and(|kind| returned.get_type().is(kind))
}

/// Pieces must be bytes (PEP 3333); strings and buffers are rejected.
pub fn bytes_of<'a, 'py>(piece: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    piece.cast::<PyBytes>().map_err(|_| {
        let found = piece.get_type().name().map_or_else(|_| "something else".into(), |name| name.to_string());
        PyTypeError::new_err(format!("the application's iterable must return bytes, not {found}"))
    })
}

/// An iterable and its reader.
struct Shared {
    /// The thread of the call.
    thread: ThreadId,
    /// Locked only by that thread.
    pulled: Mutex<Pulled>,
    /// Locked only briefly. A thread that holds the lock does not wait for the interpreter.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    bytes: VecDeque<u8>,
    /// `Some`: there are no more bytes.
    end: Option<End>,
    reader_is_gone: bool,
}

#[derive(Clone, Copy)]
enum End {
    Complete,
    /// The application has raised an exception, which was logged.
    Broken,
}

/// No code that panics leaves a state half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Makes one piece, or as many as can be ahead of the reader. Called if there is room.
    fn fill(&self, one: bool) {
        let mut pulled = locked(&self.pulled);
        attached(|py| {
            let mut made = VecDeque::new();
            loop {
                let room = AHEAD.saturating_sub(locked(&self.state).bytes.len());
                let end = pulled.copy_next(py, room, &mut made);
                let mut state = locked(&self.state);
                state.bytes.append(&mut made);
                state.end = end;
                self.changed.notify_one();
                if one || !state.wants_more() {
                    return;
                }
            }
        });
    }

    /// Makes pieces for a reader in another thread. Called while this thread handles no request.
    fn make_pieces(&self) {
        let _end = Ends(self);
        loop {
            let is_ahead = |state: &mut State| state.bytes.len() >= AHEAD && !state.reader_is_gone;
            let state = self.changed.wait_while(locked(&self.state), is_ahead).unwrap_or_else(PoisonError::into_inner);
            if !state.wants_more() {
                break;
            }
            drop(state);
            self.fill(false);
        }
        let is_complete = matches!(locked(&self.state).end, Some(End::Complete));
        let mut pulled = locked(&self.pulled);
        if is_complete && pulled.returned.is_some() {
            let _finishing = finishing();
            attached(|py| pulled.finish(py, 0));
        }
        pulled.close_if_open();
    }
}

impl State {
    fn wants_more(&self) -> bool {
        self.end.is_none() && !self.reader_is_gone && self.bytes.len() < AHEAD
    }
}

/// Ends the wait of the reader, even if there was a panic.
struct Ends<'a>(&'a Shared);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        locked(&self.0.state).end.get_or_insert(End::Broken);
        self.0.changed.notify_one();
    }
}

/// The body of the response.
pub struct PulledReader(Arc<Shared>);

impl Read for PulledReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = &self.0;
        loop {
            let mut state = locked(&shared.state);
            if !state.bytes.is_empty() || buffer.is_empty() {
                let was_full = state.bytes.len() >= AHEAD;
                let count = state.bytes.read(buffer)?;
                if was_full {
                    shared.changed.notify_one();
                }
                return Ok(count);
            }
            match state.end {
                Some(End::Complete) => return Ok(0),
                Some(End::Broken) => return Err(io::Error::other("the application raised an exception")),
                None if thread::current().id() == shared.thread => drop(state),
                None => {
                    drop(shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
                    continue;
                }
            }
            shared.fill(true); // in the turn of the request
        }
    }
}

impl Drop for PulledReader {
    fn drop(&mut self) {
        locked(&self.0.state).reader_is_gone = true;
        self.0.changed.notify_one();
    }
}
