//! The settings of uploads. Used by `uploads`; set by users.

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::name_locks::NameLocks;
use super::sender_limits::{Accounts, SenderLimits, ShareLimits};
use crate::slots::Slots;

/// The action for an uploaded file whose name exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overwrite {
    /// The upload is rejected with 409, and nothing is changed.
    #[default]
    Refuse,
    /// The upload gets a new name: `photo (1).jpg`. The response has the name in `Location`.
    Rename,
    /// The upload replaces the existing file atomically: readers see the old or the new file. Only a regular file is
    /// replaced, never a folder, a link or anything else.
    Replace,
}

impl Overwrite {
    /// Returns the value for the script of a listing.
    pub(super) fn word(self) -> &'static str {
        match self {
            Overwrite::Refuse => "refuse",
            Overwrite::Rename => "rename",
            Overwrite::Replace => "replace",
        }
    }
}

/// The uploads that a folder accepts: [`StaticFileHandler::uploads`](crate::StaticFileHandler::uploads).
///
/// Clones passed to several handlers share counts ([`at_once`](Uploads::at_once), [`quota`](Uploads::quota)) and locks:
/// handlers whose folders have files in common need clones of one `Uploads`.
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
    /// How many resumable uploads there can be, and how long each is kept.
    pub(super) resumable: Option<(usize, Duration)>,
    at_once: usize,
    each: Option<usize>,
    quota: Option<(u64, Duration)>,
    /// Copies in progress of folders and large files, shared by all clones.
    pub(super) copies: Slots,
    /// Shared by all clones.
    accounts: Arc<Accounts>,
    pub(super) locks: Arc<NameLocks>,
}

/// The default limit per user or address is at least this, within the total limit: several users may be behind one
/// address.
const EACH: usize = 16;

/// Each copy keeps a worker until it is complete.
const COPIES: usize = 4;

impl Uploads {
    /// Creates settings that accept new files and folders. Nothing is overwritten or deleted.
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
            copies: Slots::new(COPIES),
            accounts: Arc::default(),
            locks: Arc::default(),
        }
    }

    /// Sets what happens if a name is taken: [`Refuse`](Overwrite::Refuse) (409), [`Rename`](Overwrite::Rename) (`a
    /// (1).txt`) or [`Replace`](Overwrite::Replace), atomically. Default: [`Overwrite::Refuse`].
    pub fn overwrite(mut self, which: Overwrite) -> Uploads {
        self.overwrite = which;
        self
    }

    /// Sets the maximum size in bytes of a file, or of a whole form; a larger one gets 413, before the body is read if
    /// the head has its length. Default: no limit except free space.
    pub fn max_size(mut self, bytes: impl Into<Option<u64>>) -> Uploads {
        self.max_size = bytes.into();
        self
    }

    /// Sets whether files and empty folders can be deleted, and anything can be moved; with
    /// [`webdav`](crate::StaticFileHandler::webdav), whole folders can also be deleted. Default: false.
    pub fn delete(mut self, allowed: bool) -> Uploads {
        self.delete = allowed;
        self
    }

    /// Sets whether a file, and the folder that contains it, are synced to the disk before the response, so that they
    /// survive a power failure. Default: false.
    pub fn fsync(mut self, wanted: bool) -> Uploads {
        self.fsync = wanted;
        self
    }

    /// Sets how many bytes of the file system stay free, and one inode per 16 KiB of them (up to a sixteenth of all
    /// inodes); an upload that would use them gets 507. Default: 64 MiB. It is rejected before the body is read if the
    /// head has its length, and otherwise when the reserve is reached. An incomplete file is removed, unless its upload
    /// is resumable.
    pub fn reserve(mut self, bytes: u64) -> Uploads {
        self.reserve = bytes;
        self
    }

    /// Makes uploads resumable (`docs/upload-folders.md`), up to `at_once` of them. A further upload gets 503, unless
    /// another client has more of them than its client would have: then the oldest upload of that client is dropped.
    /// Default: not resumable; a `Content-Range` is a 400.
    ///
    /// An upload is resumed by `Content-Range` (RFC 9110, section 14.5) or by the IETF draft of resumable uploads.
    ///
    /// Each takes disk space for its bytes, and one open file. An upload is dropped when the server ends, and when
    /// nothing has arrived for `age`, which is checked every minute.
    pub fn resumable(mut self, at_once: usize, age: Duration) -> Uploads {
        self.resumable = Some((at_once, age)).filter(|(at_once, _)| *at_once > 0);
        self
    }

    /// Sets how many uploads can be in progress at once; a further upload gets 503 with `Retry-After`. Default: a
    /// quarter of the file descriptor limit. They are rejected before their body is read. Each takes a connection and
    /// an open file while its client sends, which can be as slow as the minimum rate
    /// ([`TcpServer::min_rate`](crate::TcpServer::min_rate)). The limit leaves room for downloads.
    pub fn at_once(mut self, in_all: usize) -> Uploads {
        self.at_once = in_all;
        self
    }

    /// Sets how many of these uploads one user can have, or one address without a user (for IPv6 a /64). Default: a
    /// quarter of [`at_once`](Uploads::at_once), at least 16.
    pub fn at_once_each(mut self, uploads: usize) -> Uploads {
        self.each = Some(uploads);
        self
    }

    /// Sets how many copies (COPY) of folders and of files over 1 MiB can be in progress at once; more get 503 with
    /// `Retry-After`. Default: 4. Each keeps a worker until it is complete or its client has disconnected.
    pub fn copies_at_once(mut self, number: usize) -> Uploads {
        self.copies = Slots::new(number);
        self
    }

    /// Sets how many bytes one user can add within any period of this length, or one address without a user (for IPv6 a
    /// /64); an upload over it gets 413 or 429. Default: no limit.
    ///
    /// Stored files count, as at least 4,096 bytes each, new folders as 4,096, and uploads in progress by their
    /// announced length. Interrupted and rejected uploads do not count; files that are deleted later do. An upload over
    /// the quota is rejected before its body is read: with 413 if it exceeds the whole quota, otherwise with 429 and
    /// `Retry-After`. A body without a length gets these responses when it exceeds the quota.
    ///
    /// Usage is counted in memory, in steps of a 24th of the period, and starts at zero with the process. Clones of
    /// these settings in several handlers count together, for the quota and for [`at_once`](Uploads::at_once). After
    /// 65,536 users and addresses, the rest share one quota.
    ///
    /// ```
    /// use std::time::Duration;
    /// use modest::Uploads;
    ///
    /// let uploads = Uploads::new().quota((10 << 30, Duration::from_secs(86_400))); // 10 GiB per day
    /// ```
    pub fn quota(mut self, bytes_within: impl Into<Option<(u64, Duration)>>) -> Uploads {
        self.quota = bytes_within.into();
        self
    }

    pub(super) fn shares(&self) -> SenderLimits {
        let each = self.each.unwrap_or((self.at_once / 4).max(EACH));
        let limits = ShareLimits { in_all: self.at_once, each, quota: self.quota };
        SenderLimits::new(limits, Arc::clone(&self.accounts))
    }
}

fn at_once_by_default() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX).max(1)
}

default_is_new!(Uploads);
