//! The content codings of sidecars. Used by `find`, which looks for them, and by `handler`.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The coding of a sidecar, a precompressed file beside a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    Brotli,
    Zstandard,
    Gzip,
}

impl ContentCoding {
    /// All codings in order of preference, which decides between equal weights.
    pub const ALL: [ContentCoding; 3] = [ContentCoding::Brotli, ContentCoding::Zstandard, ContentCoding::Gzip];

    /// Returns the name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            ContentCoding::Brotli => "br",
            ContentCoding::Zstandard => "zstd",
            ContentCoding::Gzip => "gzip",
        }
    }

    /// Returns whether a file can be in this coding, by its first bytes. An empty or misnamed file would break the
    /// response. Brotli has no signature.
    pub fn may_be_of(self, file: &File) -> bool {
        let mut start = [0; 4];
        let length = read_start(file, &mut start);
        match self {
            ContentCoding::Brotli => length > 0,
            // the second is a skippable frame
            ContentCoding::Zstandard => start == [0x28, 0xb5, 0x2f, 0xfd] || start[1..] == [0x2a, 0x4d, 0x18],
            ContentCoding::Gzip => start[..2] == [0x1f, 0x8b],
        }
    }

    /// Returns the suffix of a sidecar's name.
    pub fn suffix(self) -> &'static str {
        match self {
            ContentCoding::Brotli => ".br",
            ContentCoding::Zstandard => ".zst",
            ContentCoding::Gzip => ".gz",
        }
    }
}

/// Reads the first bytes, and returns how many there are. After an error it returns 0, because sending the file fails
/// again.
fn read_start(file: &File, start: &mut [u8]) -> usize {
    file.read_at(start, 0).unwrap_or_default()
}
