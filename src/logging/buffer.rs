//! The buffer between the threads that log and the thread that writes.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, SystemTime};

use log::Level;
use rustix::event::Timespec;

use super::message_line;
use super::writers::buffer;
use crate::mutex::{lock, wait};
use crate::tcp::contain;

pub(super) const CAPACITY: usize = 1 << 20; // bytes of lines not yet written: about 10,000 requests
// Pause between two writes: under load one write takes many lines.
const WRITE_INTERVAL: Duration = Duration::from_millis(1);
/// How long to wait for a reader before looking for another file.
pub(super) const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The destination of a buffer. Used by one thread.
pub(super) trait Sink: Write {
    /// Writes the next lines to this file.
    fn continue_in(&mut self, file: File) {
        let _ = file;
    }

    /// Waits, for up to [`WAIT`], until a write can succeed again. Called after a write that would block.
    fn wait(&self) {}

    /// Returns the message for stderr after the first failed write.
    fn failure(&self, error: &io::Error) -> Option<String> {
        let _ = error;
        None
    }
}

/// Formats a line from a level and a message, without its line end.
pub(super) type FormatLine = Box<dyn Fn(Level, &str) -> String + Send + Sync>;

/// The buffer between the threads that log and the thread that writes.
#[derive(Default)]
pub(super) struct LogBuffer {
    own_lines: OnceLock<FormatLine>,
    pub(super) lost: AtomicU64,
    state: Mutex<BufferState>,
    not_empty: Condvar,
    drained: Condvar,
}

#[derive(Debug, Default)]
struct BufferState {
    lines: Vec<u8>,
    dropped: u64,
    /// The file for the next lines, after the path was opened again.
    next: Option<File>,
    ended: bool,
    writer: WriterState,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum WriterState {
    /// Writing, or about to check for more lines. It need not be woken.
    #[default]
    Busy,
    /// Waiting for a line: it must be woken.
    Waiting,
}

opaque!(LogBuffer { state });

impl LogBuffer {
    pub(super) fn own_lines(&self, format: FormatLine) {
        let _ = self.own_lines.set(format); // only the first call has an effect
    }

    fn own_line(&self, level: Level, message: &str) -> String {
        let own = self.own_lines.get();
        let line = own.and_then(|format| contain("the format of the log's own lines", || format(level, message)));
        line.unwrap_or_else(|| message_line(level, message, SystemTime::now())) + "\n"
    }

    fn report(&self, out: &dyn Sink, error: &io::Error) {
        if let Some(message) = out.failure(error) {
            buffer().push(self.own_line(Level::Error, &message).as_bytes());
        }
    }

    /// Appends a line if there is space. Never waits for the writer.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = lock(&self.state);
        if state.lines.len() + line.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        state.lines.extend_from_slice(line);
        let wake = std::mem::take(&mut state.writer) == WriterState::Waiting;
        drop(state);
        if wake {
            self.not_empty.notify_one();
        }
    }

    /// Wakes the writing thread after this change.
    fn change(&self, change: impl FnOnce(&mut BufferState)) {
        let mut state = lock(&self.state);
        change(&mut state);
        state.writer = WriterState::Busy;
        drop(state);
        self.not_empty.notify_one();
    }

    /// Makes the writing thread continue in this file.
    pub(super) fn continue_in(&self, file: File) {
        self.change(|state| state.next = Some(file));
    }

    /// Ends the writing thread once all lines are written.
    pub(super) fn end(&self) {
        self.change(|state| state.ended = true);
    }

    /// Runs the loop of the writing thread. Lines that cannot be written are lost, and the loop continues.
    pub(super) fn write_to(&self, out: &mut dyn Sink) {
        let (mut batch, mut slow, mut failed, mut torn) = (Vec::new(), 0, 0, false);
        while let Some((dropped, next)) = self.take(&mut batch) {
            slow += dropped;
            self.lost.fetch_add(dropped, Relaxed);
            next.into_iter().for_each(|file| continue_in(out, file, &mut torn));
            match self.write_batch(out, &batch, &mut torn) {
                Ok(()) => {}
                Err((error, lost)) => {
                    if failed == 0 {
                        self.report(out, &error);
                    }
                    failed += lost;
                    self.lost.fetch_add(lost, Relaxed);
                }
            }
            batch.clear();
            // Lines were written, so there is space again for the count of lost lines.
            if slow + failed > 0 && self.write_batch(out, self.lost_lines(slow, failed).as_bytes(), &mut torn).is_ok() {
                (slow, failed) = (0, 0);
            }
            thread::sleep(WRITE_INTERVAL); // more lines are collected during the pause
        }
    }

    /// Waits for lines and takes all, or waits for another file. Returns how many lines were dropped, and the file.
    /// `None`: no further line follows.
    fn take(&self, into: &mut Vec<u8>) -> Option<(u64, Option<File>)> {
        let mut state = lock(&self.state);
        while state.lines.is_empty() && state.next.is_none() {
            if state.ended {
                return None;
            }
            state.writer = WriterState::Waiting;
            self.drained.notify_all();
            state = wait(&self.not_empty, state, None);
        }
        state.writer = WriterState::Busy;
        std::mem::swap(&mut state.lines, into);
        Some((std::mem::take(&mut state.dropped), state.next.take()))
    }

    /// Writes whole lines. On an error returns how many of the remaining lines are lost. `torn`: the last written line
    /// is incomplete, so a line end is written before the next line.
    ///
    /// A FIFO whose reader does not read may never accept the rest. It goes to the next file, once there is one.
    fn write_batch(&self, out: &mut dyn Sink, batch: &[u8], torn: &mut bool) -> Result<(), (io::Error, u64)> {
        let mut rest = batch;
        let mut is_begun = false;
        while !rest.is_empty() {
            let ends_it = *torn && !is_begun;
            match out.write(if ends_it { b"\n" } else { rest }) {
                Ok(written) if written > 0 && ends_it => *torn = false,
                Ok(written) if written > 0 => {
                    *torn = rest[written - 1] != b'\n';
                    is_begun = true;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    out.wait();
                    if let Some(file) = lock(&self.state).next.take() {
                        continue_in(out, file, torn);
                        let written = batch.len() - rest.len();
                        rest = &batch[memchr::memrchr(b'\n', &batch[..written]).map_or(0, |end| end + 1)..];
                        is_begun = false;
                    }
                }
                failed => {
                    let error = failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    return Err((error, memchr::memchr_iter(b'\n', rest).count() as u64));
                }
            }
        }
        Ok(())
    }

    fn lost_lines(&self, slow: u64, failed: u64) -> String {
        [(slow, "they were not read in time"), (failed, "they could not be written")]
            .into_iter()
            .filter(|(lost, _)| *lost > 0)
            .map(|(lost, why)| self.own_line(Level::Warn, &format!("{lost} lines of the log were lost: {why}")))
            .collect()
    }

    pub(super) fn drain(&self, within: Duration) {
        let busy = |state: &mut BufferState| state.writer == WriterState::Busy;
        drop(self.drained.wait_timeout_while(lock(&self.state), within, busy));
    }
}

/// Continues in this file. A file that is empty begins with a whole line.
fn continue_in(out: &mut dyn Sink, file: File, torn: &mut bool) {
    *torn &= !file.metadata().is_ok_and(|found| found.is_file() && found.len() == 0);
    out.continue_in(file);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that is full for a while.
    struct Disk {
        written: Vec<u8>,
        space: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(self.space);
            self.space -= some;
            self.written.extend_from_slice(&bytes[..some]);
            if some > 0 { Ok(some) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {}

    #[test]
    fn lines_lost_to_a_full_disk_are_counted() {
        for (space, lost, written) in
            [(9, 0, "one\ntwo\n"), (8, 0, "one\ntwo\n"), (7, 1, "one\ntwo"), (3, 2, "one"), (0, 2, "")]
        {
            let (buffer, mut disk) = (LogBuffer::default(), Disk { written: Vec::new(), space });
            let mut torn = false;
            let found = buffer.write_batch(&mut disk, b"one\ntwo\n", &mut torn).err().map_or(0, |(_, lost)| lost);
            assert_eq!((found, &*String::from_utf8_lossy(&disk.written)), (lost, written), "{space} bytes");
            // Once there is space again, the next line is written from its beginning.
            disk.space = 100;
            assert!(buffer.write_batch(&mut disk, b"six\n", &mut torn).is_ok() && !torn);
            let all = String::from_utf8_lossy(&disk.written).into_owned();
            let end = if written.is_empty() || written.ends_with('\n') { "" } else { "\n" };
            assert_eq!(all, format!("{written}{end}six\n"), "{space} bytes");
        }
        let buffer = LogBuffer::default();
        let (line, said) = (buffer.lost_lines(0, 3), "3 lines of the log were lost: they could not be written\n");
        assert!(line.starts_with("[WARN] [") && line.ends_with(&format!(":{}] {said}", &line[26..28])), "{line}");
        buffer.own_lines(Box::new(|level, message| format!("{level}: {message}")));
        assert_eq!(buffer.lost_lines(0, 3), format!("WARN: {said}"));
        let panics = LogBuffer::default();
        panics.own_lines(Box::new(|_, message| panic!("{message}")));
        assert!(panics.lost_lines(0, 3).ends_with(said), "the default format");
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_and_counted() {
        let buffer = LogBuffer::default();
        let line = [b'x'; 1024];
        for _ in 0..CAPACITY / line.len() + 7 {
            buffer.push(&line);
        }
        let mut batch = Vec::new();
        assert_eq!((buffer.take(&mut batch).map(|(dropped, _)| dropped), batch.len()), (Some(7), CAPACITY));
        buffer.push(b"again\n");
        batch.clear();
        assert_eq!((buffer.take(&mut batch).map(|(dropped, _)| dropped), &batch[..]), (Some(0), &b"again\n"[..]));
    }

    #[test]
    fn draining_is_bounded() {
        let buffer = LogBuffer::default();
        buffer.push(b"nobody writes this\n");
        buffer.drain(Duration::from_millis(1)); // returns even if no thread ever takes the line
        assert!(!lock(&buffer.state).lines.is_empty());
    }
}
