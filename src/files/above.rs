//! Finds the nearest folder above a missing path that the client can open. Called by `handler`, for clients that show
//! pages to people. Each folder on the way is checked on the disk once.

use std::time::{Instant, SystemTime};

use super::find::{Finder, Lookup};
use super::path::FilePath;
use super::rights::{List, Read, Rights};

/// How many folders are checked. A path can have two thousand segments, and with a loop of links each of them is a
/// folder.
const DEEPEST: usize = 32;

impl Finder {
    /// Returns a relative link from this path, as in the request, to the nearest folder above it that has an index, or
    /// is listed if `listed`, and that the request can access. The link reveals nothing that a request for the folder
    /// would not reveal.
    pub fn nearest_folder(
        &self,
        path: &FilePath,
        listed: bool,
        rights: &Rights,
        polled: Option<Instant>,
    ) -> Option<String> {
        let mut above: Vec<&[u8]> = path.bytes.split(|&byte| byte == b'/').take(DEEPEST + 1).collect();
        above.pop(); // the requested path itself
        let now = SystemTime::now();
        let mut nearest = None;
        for depth in 0..=above.len() {
            let folder = FilePath { bytes: above[..depth].join(&b'/'), trailing_slash: true };
            let may_read = |path: &[u8]| rights.grant::<Read>(path).is_some();
            match self.find(&folder, polled, now) {
                Ok(Lookup::File(index)) if may_read(&folder.bytes) && may_read(&index.path) => nearest = Some(depth),
                Ok(Lookup::Folder) if listed && rights.grant::<List>(&folder.bytes).is_some() => nearest = Some(depth),
                Ok(Lookup::File(_) | Lookup::Folder) => {}
                Ok(Lookup::NeedsSlash | Lookup::Missing(_)) | Err(_) => break,
            }
        }
        // Relative, because a proxy may use another path for this server.
        let slashes = path.key().iter().filter(|&&byte| byte == b'/').count();
        match slashes.checked_sub(nearest?)? {
            0 => Some("./".to_owned()),
            up => Some("../".repeat(up)),
        }
    }
}
