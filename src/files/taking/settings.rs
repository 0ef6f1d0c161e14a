//! The settings of what is taken. Obeyed by `taking`; given by users.

use std::time::Duration;

/// What becomes of a file that is sent under a name which is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overwrite {
    /// It is refused, with 409; nothing is changed.
    #[default]
    Refuse,
    /// It gets a name of its own: `photo (1).jpg`. The answer has it in `Location`.
    Rename,
    /// It takes the place of the file that is there, in one step: who reads has one or the other. Only a regular file is
    /// replaced, never a folder, a link or anything else.
    Replace,
}

/// What a folder takes: [`StaticFileHandler::uploads`](crate::StaticFileHandler::uploads).
///
/// ```no_run
/// use modest::{Overwrite, StaticFileHandler, TcpServer, Uploads};
///
/// let inbox = Uploads::new().overwrite(Overwrite::Rename).max_size(2 << 30).reserve(10 << 30);
/// TcpServer::bind("127.0.0.1:8000", StaticFileHandler::new("inbox")?.uploads(inbox))?.serve_forever()
/// # ; Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Uploads {
    pub(super) overwrite: Overwrite,
    pub(super) max_size: Option<u64>,
    pub(super) delete: bool,
    pub(super) fsync: bool,
    pub(super) reserve: u64,
    /// How many at once, and how long each is kept.
    pub(super) resumable: Option<(usize, Duration)>,
}

impl Uploads {
    /// New files and folders; none is overwritten or deleted.
    pub fn new() -> Uploads {
        let (max_size, delete, fsync, reserve) = (None, false, false, 64 << 20);
        Uploads { overwrite: Overwrite::Refuse, max_size, delete, fsync, reserve, resumable: None }
    }

    /// What becomes of a file whose name is taken. Default: [`Overwrite::Refuse`].
    pub fn overwrite(mut self, which: Overwrite) -> Uploads {
        self.overwrite = which;
        self
    }

    /// The largest file, in bytes; of a form, all of it. Default: `None`, no limit but the room there is. Beyond it: 413, from
    /// the head if that has the length.
    pub fn max_size(mut self, bytes: impl Into<Option<u64>>) -> Uploads {
        self.max_size = bytes.into();
        self
    }

    /// Whether files, and folders that are empty, may be deleted. Default: no.
    pub fn delete(mut self, allowed: bool) -> Uploads {
        self.delete = allowed;
        self
    }

    /// Whether a file, and the folder it is in, are on the disk before the answer is sent, so that they survive a power failure.
    /// Default: no.
    pub fn fsync(mut self, wanted: bool) -> Uploads {
        self.fsync = wanted;
        self
    }

    /// How many bytes of the file system are to stay free. Default: 64 MiB. What would take of them is refused with 507, from
    /// the head if that has the length, and else when they are reached; nothing of it stays.
    pub fn reserve(mut self, bytes: u64) -> Uploads {
        self.reserve = bytes;
        self
    }

    /// Uploads may go on where they broke off, by `Content-Range` (RFC 9110, section 14.5) or as the IETF's draft of resumable
    /// uploads has it; `docs/taking.md` says how. Default: none; a `Content-Range` is a 400.
    ///
    /// `at_once` are kept, further ones are told 503; what has come of each takes its room on disk and one open file. It is
    /// dropped when nothing has come for `age`, at the next request for one of them, and when the server ends.
    pub fn resumable(mut self, at_once: usize, age: Duration) -> Uploads {
        self.resumable = Some((at_once, age)).filter(|(at_once, _)| *at_once > 0);
        self
    }
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads::new()
    }
}
