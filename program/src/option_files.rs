//! Files of options that are read whole at startup. Called by `sources`, `site` and `encryption`. A pipe, such as
//! `<(command)` of a shell or a FIFO, is read once, and a message is printed while no program has written to it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::error::quoted;

/// How long a pipe can be silent before the message.
const SILENT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The maximum length of such a file, in bytes. A device, such as `/dev/zero`, may have no end.
const LONGEST: u64 = 16 << 20;

/// Returns whether this is a pipe, whose content can't be read again.
pub fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

/// Returns the content of the file of this option.
///
/// # Errors
/// If it can't be read, or has more than 16 MiB.
pub fn read(option: &str, path: &Path) -> io::Result<Vec<u8>> {
    if !is_pipe(path) {
        return whole(fs::File::open(path)?);
    }
    // Without O_NONBLOCK, opening a FIFO waits for a program that writes to it.
    let pipe = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    let wait = |limit| poll(&mut [PollFd::new(&pipe, PollFlags::IN)], limit);
    if wait(Some(&SILENT))? == 0 {
        let line = format!("modest: {option}: waiting for a program that writes to {}\n", quoted(path));
        let _ = io::stderr().write_all(line.as_bytes()); // if stderr is closed, only the message is missing
        wait(None)?;
    }
    fcntl_setfl(&pipe, fcntl_getfl(&pipe)? - OFlags::NONBLOCK)?;
    whole(pipe)
}

fn whole(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than 16 MiB")),
        false => Ok(bytes),
    }
}

/// Returns the content of the text file of this option.
pub fn text(option: &str, path: &Path) -> io::Result<String> {
    String::from_utf8(read(option, path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}
