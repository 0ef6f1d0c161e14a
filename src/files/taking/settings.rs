//! The settings of what is taken. Obeyed by `taking`; given by users.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::locks::Locks;
use super::shares::{Accounts, ShareLimits, Shares};

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

impl Overwrite {
    /// As the page of a folder names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Overwrite::Refuse => "refuse",
            Overwrite::Rename => "rename",
            Overwrite::Replace => "replace",
        }
    }
}

/// What a folder takes: [`StaticFileHandler::uploads`](crate::StaticFileHandler::uploads).
///
/// Clones, given to several handlers, share what is counted ([`at_once`](Uploads::at_once), [`quota`](Uploads::quota)) and what is locked:
/// handlers whose folders have files in common must have clones of one `Uploads`.
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
    at_once: usize,
    each: Option<usize>,
    quota: Option<(u64, Duration)>,
    /// Of all clones.
    accounts: Arc<Accounts>,
    pub(super) locks: Arc<Locks>,
}

/// Whoever sends alone, or behind one address with others, may have so many uploads under way if there may be so many in all.
const EACH: usize = 16;

impl Uploads {
    /// New files and folders; none is overwritten or deleted.
    pub fn new() -> Uploads {
        Uploads {
            overwrite: Overwrite::Refuse,
            max_size: None,
            delete: false,
            fsync: false,
            reserve: 64 << 20,
            resumable: None,
            at_once: at_once_by_default(),
            each: None,
            quota: None,
            accounts: Arc::default(),
            locks: Arc::default(),
        }
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

    /// How many bytes of the file system are to stay free, and an inode for each 16 KiB of them (a sixteenth of all inodes at most).
    /// Default: 64 MiB. A file or a folder that would take of them is refused with 507, from the head if that has the length, and else
    /// when they are reached; nothing of it stays.
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

    /// How many uploads may be under way at once; further ones are refused from the head, with 503 and `Retry-After`. Each takes a
    /// connection and an open file for as long as its client likes to send, at the least rate
    /// ([`TcpServer::min_rate`](crate::TcpServer::min_rate)): so downloads have room beside them. Default: a quarter of the
    /// descriptors that the process may have.
    pub fn at_once(mut self, in_all: usize) -> Uploads {
        self.at_once = in_all;
        self
    }

    /// How many of those one user may have, or one address without a user (an IPv6 network of 64 bits). Default: a quarter of
    /// [`at_once`](Uploads::at_once), or 16 if that is more.
    pub fn at_once_each(mut self, uploads: usize) -> Uploads {
        self.each = Some(uploads);
        self
    }

    /// How many bytes one user may add within any time as long as this, or one address without a user (an IPv6 network of 64
    /// bits). Default: `None`, no limit.
    ///
    /// Files that are stored count, of 4,096 bytes at least, and folders that are made, as 4,096; and what is coming, by the length
    /// that was said. What breaks off or is refused does not; what is deleted later does. What is more is refused from the head: with
    /// 413 if no one may add so much, else with 429 and `Retry-After`; a body without a length with 507, where it is too long.
    ///
    /// It is counted in memory, in steps of a 24th of the time, and begins anew with the process. Clones of these settings,
    /// given to several handlers, count together: [`at_once`](Uploads::at_once), too. Of 65,536 who have
    /// added something further ones share what one may.
    ///
    /// ```
    /// use std::time::Duration;
    /// use modest::Uploads;
    ///
    /// let uploads = Uploads::new().quota((10 << 30, Duration::from_secs(86_400))); // 10 GiB a day
    /// ```
    pub fn quota(mut self, bytes_within: impl Into<Option<(u64, Duration)>>) -> Uploads {
        self.quota = bytes_within.into();
        self
    }

    /// What each may have of these.
    pub(super) fn shares(&self) -> Shares {
        let each = self.each.unwrap_or((self.at_once / 4).max(EACH));
        let limits = ShareLimits { in_all: self.at_once, each, quota: self.quota };
        Shares::new(limits, Arc::clone(&self.accounts))
    }
}

fn at_once_by_default() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX).max(1)
}

impl Default for Uploads {
    fn default() -> Uploads {
        Uploads::new()
    }
}
