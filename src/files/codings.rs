//! The content codings of sidecars. Used by `find`, which looks for them, and by `handler`.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// The shortest gzip file: a header of 10 bytes, and a trailer of 8.
const MIN_GZIP: u64 = 18;

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

    /// Returns why a file of `size` bytes can't be another file of `plain` bytes in this coding, by its first and last
    /// bytes. An empty, misnamed or incomplete file would break the response. Brotli has neither a signature nor a
    /// length.
    pub fn fault(self, file: &File, size: u64, plain: u64) -> Option<&'static str> {
        let start: [u8; 4] = read_at(file, 0);
        let begins = match self {
            ContentCoding::Brotli => size > 0,
            // the second is a skippable frame
            ContentCoding::Zstandard => start == [0x28, 0xb5, 0x2f, 0xfd] || start[1..] == [0x2a, 0x4d, 0x18],
            ContentCoding::Gzip => start[..2] == [0x1f, 0x8b],
        };
        // The last four bytes are the length of the file, modulo 2^32 (RFC 1952, section 2.3.1).
        let ends = || {
            size >= MIN_GZIP && u64::from(u32::from_le_bytes(read_at(file, size - 4))) == plain & u64::from(u32::MAX)
        };
        match self {
            _ if !begins => Some("it does not begin as a file in this coding does"),
            ContentCoding::Gzip if !ends() => Some("it is incomplete, has several members or belongs to another file"),
            _ => None,
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

/// Reads four bytes. Missing bytes are zero. An error is ignored, because sending the file then fails in the same way.
fn read_at(file: &File, offset: u64) -> [u8; 4] {
    let mut bytes = [0; 4];
    let _ = file.read_at(&mut bytes, offset);
    bytes
}
