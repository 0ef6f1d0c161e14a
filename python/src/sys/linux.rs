//! Features that only Linux has.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use pyo3::prelude::*;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// The kernel's reports on some folders, for `--reload`, from inotify(7). The parent process waits until the descriptor
/// is readable: then there are reports.
#[pyclass(frozen, module = "modest._modest")]
pub struct Watch(OwnedFd);

const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

#[pymethods]
impl Watch {
    #[new]
    fn new() -> PyResult<Watch> {
        let opened = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        Ok(Watch(opened.map_err(io::Error::from)?))
    }

    /// Watches the files and folders in this folder, but not below those. A folder can be added again.
    fn add(&self, folder: PathBuf) -> PyResult<()> {
        inotify::add_watch(&self.0, folder, CHANGES).map_err(io::Error::from)?;
        Ok(())
    }

    fn fileno(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Drops all reports up to now.
    fn clear(&self) {
        let mut reports = [0; 4096];
        while rustix::io::read(&self.0, &mut reports).is_ok() {} // ends with EAGAIN
    }
}

/// Opens the regular file of this descriptor again, with a position of its own.
///
/// # Errors
/// If it is not a regular file, or this process may not open it.
pub fn open_again(number: RawFd) -> io::Result<File> {
    let path = format!("/proc/self/fd/{number}");
    match fs::metadata(&path)?.is_file() {
        true => File::open(path),
        false => Err(io::ErrorKind::InvalidInput.into()), // opening a pipe could wait for its other end
    }
}
