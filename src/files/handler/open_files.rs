//! How long files are kept open: for a few seconds after their last request, so that a deleted file frees its
//! space and a file system can be unmounted. Called by `caching` for each file that it keeps open.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::cache::Cache;
use super::CachedPath;
use crate::Request;

/// Files are closed after this time. Opening a file again this rarely has no measurable cost. An unmount that failed
/// can be repeated after this time.
const KEPT_OPEN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct OpenFiles {
    /// Whether the server is going to close them.
    will_be_closed: Arc<AtomicBool>,
    kept_open: Duration,
}

impl Default for OpenFiles {
    fn default() -> OpenFiles {
        OpenFiles { will_be_closed: Arc::default(), kept_open: KEPT_OPEN }
    }
}

impl OpenFiles {
    /// Makes the server of this request close all of them later, unless that is already arranged. For a request that no
    /// server received, they stay open until other requests come.
    pub fn close_later(&self, cache: &Arc<Cache<CachedPath>>, request: &Request) {
        if self.will_be_closed.load(SeqCst) {
            return;
        }
        let server = request.server();
        if server.is_serving() && !self.will_be_closed.swap(true, SeqCst) {
            let closing = Closing { will_be_closed: Arc::clone(&self.will_be_closed), cache: Arc::downgrade(cache) };
            server.call_after(self.kept_open, Box::new(move || drop(closing)));
        }
    }
}

/// Closes the files when it is dropped: when the time has come, or with the server.
struct Closing {
    will_be_closed: Arc<AtomicBool>,
    cache: Weak<Cache<CachedPath>>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        // before closing: a file that is cached from now on needs another `Closing`
        self.will_be_closed.store(false, SeqCst);
        if let Some(cache) = self.cache.upgrade() {
            cache.retain(|kept| kept.size().1 == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpStream;
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::{StaticFileHandler, testing};

    /// Returns how many files below this folder the process has open.
    fn open_below(folder: &Path) -> usize {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        let is_below = |path: &Path| path != folder && path.starts_with(folder);
        descriptors.flatten().filter(|entry| fs::read_link(entry.path()).is_ok_and(|path| is_below(&path))).count()
    }

    /// Neither an idle client nor another round of requests keeps files open.
    #[test]
    fn an_idle_server_has_no_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().canonicalize().unwrap();
        let mut handler = StaticFileHandler::new(&top).unwrap();
        handler.open_files.kept_open = Duration::from_millis(200);
        let server = testing::serve(handler);
        let _idle = TcpStream::connect(server.address()).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        for number in 0..3 {
            let path = top.join(format!("file-{number}"));
            fs::write(&path, vec![b'x'; 100_000]).unwrap();
            while open_below(&top) == 0 {
                assert!(Instant::now() < patience, "no file was kept open");
                assert_eq!(server.get(&format!("/file-{number}")).body().len(), 100_000);
            }
            fs::remove_file(&path).unwrap();
            while open_below(&top) > 0 {
                assert!(Instant::now() < patience, "{} files stay open", open_below(&top));
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
}
