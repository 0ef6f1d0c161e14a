//! Writers that never wait: to stderr, and to a file. The program also uses them.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::thread;

use log::Level;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use super::FLUSH_TIMEOUT;
use super::buffer::{CAPACITY, LogBuffer, Sink, WAIT};

/// A writer to stderr that never waits: a line is copied into a buffer of 1 MiB that all such writers of the process
/// share, and a thread writes it out. Use it in loggers: a logger that writes directly to stderr blocks the server if
/// the reader of stderr does not read.
///
/// A line is passed on when it ends. A line that finds no space is dropped and counted, and the count is logged later.
///
/// ```
/// use modest::StderrWriter;
/// use std::io::Write;
///
/// let mut log = StderrWriter::new();
/// writeln!(log, "starting")?;
/// log.drain(); // at the end
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StderrWriter {
    line: Vec<u8>,
}

impl StderrWriter {
    /// Creates a writer. The first of a process starts the thread.
    pub fn new() -> StderrWriter {
        buffer();
        StderrWriter::default()
    }

    /// Sets how the writer formats its own lines, such as the number of lost lines: a function from a level and a
    /// message to a line without its line end. Default: the format of [`log_to_stderr`](crate::log_to_stderr). The
    /// first call applies to the whole process.
    pub fn own_lines(&self, format: impl Fn(Level, &str) -> String + Send + Sync + 'static) {
        buffer().own_lines(Box::new(format));
    }

    /// Returns how many lines of this process were lost so far, because stderr did not accept them in time or at all.
    pub fn lost_lines(&self) -> u64 {
        buffer().lost.load(Relaxed)
    }

    /// Waits up to one second until all lines are written. Call it at the end of the program.
    pub fn drain(&self) {
        buffer().drain(FLUSH_TIMEOUT);
    }
}

impl Write for StderrWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        push_lines(&mut self.line, bytes, buffer());
        Ok(bytes.len())
    }

    /// Does nothing, because many loggers flush after each line. See [`StderrWriter::drain`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A writer to a file that never waits, like [`StderrWriter`], with a buffer and a thread of its own. Lines are
/// appended.
///
/// A line that finds no space in the buffer or on the disk is dropped. The number of dropped lines is logged once there
/// is space again. The first error is also written to stderr.
///
/// After the last clone is dropped, the thread writes the remaining lines, closes the file and ends.
///
/// ```no_run
/// use modest::LogFile;
/// use std::io::Write;
///
/// let mut log = LogFile::open("/var/log/modest.log")?;
/// writeln!(log, "starting")?;
/// log.reopen()?; // it was renamed: open a new one
/// log.drain(); // at the end
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LogFile {
    line: Vec<u8>,
    writing: Arc<Writing>,
}

/// The lines of all clones. Dropping it ends the thread.
#[derive(Debug)]
struct Writing {
    buffer: Arc<LogBuffer>,
    path: PathBuf,
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.buffer.end();
    }
}

impl LogFile {
    /// Opens a file, or creates it. The path stays valid if the working directory changes. `/dev/stdout` and
    /// `/dev/stderr` are the descriptors of this process, of any kind.
    ///
    /// # Errors
    /// If the file cannot be opened for writing, or there is no thread.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<LogFile> {
        let path = std::path::absolute(path.into())?;
        let mut out = FileSink { file: append(&path)?, path: path.clone() };
        let buffer = Arc::new(LogBuffer::default());
        let thread = Arc::clone(&buffer);
        thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut out))?;
        Ok(LogFile { line: Vec::new(), writing: Arc::new(Writing { buffer, path }) })
    }

    /// Opens the path again, after the file was renamed or removed, for example by `logrotate`. All clones write the
    /// next lines there.
    ///
    /// # Errors
    /// If the path cannot be opened for writing. The old file is kept.
    pub fn reopen(&self) -> io::Result<()> {
        self.writing.buffer.continue_in(append(&self.writing.path)?);
        Ok(())
    }

    /// Sets how the writer's own lines are formatted: see [`StderrWriter::own_lines`]. The first call applies to this
    /// file.
    pub fn own_lines(&self, format: impl Fn(Level, &str) -> String + Send + Sync + 'static) {
        self.writing.buffer.own_lines(Box::new(format));
    }

    /// Returns how many lines were lost so far, because the disk did not accept them in time or at all.
    pub fn lost_lines(&self) -> u64 {
        self.writing.buffer.lost.load(Relaxed)
    }

    /// Waits up to one second until all lines are written. Call it at the end of the program.
    pub fn drain(&self) {
        self.writing.buffer.drain(FLUSH_TIMEOUT);
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        push_lines(&mut self.line, bytes, &self.writing.buffer);
        Ok(bytes.len())
    }

    /// Does nothing, because many loggers flush after each line. See [`LogFile::drain`].
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns stdout or stderr, if that is the path. It is not opened again: that fails for a socket, and for the pipe of
/// another user, and in a file it would begin a second position, so that one writer overwrites the other.
fn standard(path: &Path) -> Option<io::Result<File>> {
    let descriptor = match path.to_str()? {
        "/dev/stdout" => io::stdout().as_fd().try_clone_to_owned(),
        "/dev/stderr" => io::stderr().as_fd().try_clone_to_owned(),
        _ => return None,
    };
    Some(descriptor.map(File::from).and_then(|file| {
        if file.metadata()?.is_file() {
            fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::APPEND)?;
        }
        Ok(file)
    }))
}

/// Opens a file to append to. Neither opening nor writing blocks, because the reader of a FIFO can be missing, or never
/// read. A FIFO without a reader is an error.
fn append(path: &Path) -> io::Result<File> {
    if let Some(file) = standard(path) {
        return file;
    }
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let opened = OpenOptions::new().append(true).create(true).custom_flags(flags).open(path);
    opened.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NXIO) if is_fifo(path) => io::Error::new(error.kind(), "it is a FIFO without a reader"),
        _ => error,
    })
}

fn is_fifo(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

/// Waits until this file accepts bytes, or has an error, which the next write returns.
fn wait_for(file: impl AsFd) {
    let _ = poll(&mut [PollFd::new(&file, PollFlags::OUT)], Some(&WAIT));
}

impl Sink for io::Stderr {
    fn wait(&self) {
        wait_for(self);
    }
}

struct FileSink {
    path: PathBuf,
    file: File,
}

impl Write for FileSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for FileSink {
    fn continue_in(&mut self, file: File) {
        self.file = file;
    }

    fn wait(&self) {
        wait_for(&self.file);
    }

    fn failure(&self, error: &io::Error) -> Option<String> {
        Some(format!("the log {:?} can't be written: {error}", self.path))
    }
}

/// Moves each complete line to the buffer.
fn push_lines(line: &mut Vec<u8>, bytes: &[u8], buffer: &LogBuffer) {
    line.extend_from_slice(bytes);
    let whole = memchr::memrchr(b'\n', bytes).map(|end| line.len() - bytes.len() + end + 1);
    // A line that never ends is dropped, like a line that finds no space.
    if let Some(length) = whole.or((line.len() > CAPACITY).then_some(line.len())) {
        buffer.push(&line[..length]);
        line.drain(..length);
    }
}

/// Returns the buffer of stderr. Its first use starts the thread. If there is no thread, nothing is written and the
/// buffer fills up, but the server keeps running.
pub(super) fn buffer() -> &'static LogBuffer {
    static BUFFER: OnceLock<Arc<LogBuffer>> = OnceLock::new();
    BUFFER.get_or_init(|| {
        let buffer = Arc::new(LogBuffer::default());
        let thread = Arc::clone(&buffer);
        let _ = thread::Builder::new().name("log".into()).spawn(move || thread.write_to(&mut io::stderr()));
        buffer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_whole() {
        let mut writer = StderrWriter::default();
        write!(writer, "one {}", 1).unwrap();
        assert_eq!(writer.line, b"one 1");
        writer.write_all(b"\n").unwrap();
        assert!(writer.line.is_empty());
        writer.write_all(b"two\nand\nthree").unwrap();
        assert_eq!(writer.line, b"three", "what follows the last end of a line waits for its own");
        writer.write_all(b"\n").unwrap();
    }

    #[test]
    fn the_last_clone_of_a_file_ends_its_thread() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LogFile::open(folder.path().join("log")).unwrap();
        let (mut clone, buffer) = (log.clone(), Arc::downgrade(&log.writing.buffer));
        writeln!(log, "one").unwrap();
        drop(log);
        writeln!(clone, "two").unwrap();
        drop(clone);
        while buffer.strong_count() > 0 {
            thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap(), "one\ntwo\n");
    }
}
