//! An entry of an archive, whatever its format. Used by all of `archive`.

/// A folder or a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The path in the archive, without a slash at its end.
    pub path: Vec<u8>,
    pub is_folder: bool,
    /// Whether it may be executed, as its owner may.
    pub is_executable: bool,
    /// Bytes; 0 of a folder.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

impl Entry {
    /// The permissions that it is unpacked with: no more is told of those here.
    pub fn mode(&self) -> u32 {
        if self.is_folder || self.is_executable { 0o755 } else { 0o644 }
    }

    /// The path, with the slash of a folder.
    pub fn full_path(&self) -> Vec<u8> {
        [&self.path[..], if self.is_folder { b"/" } else { b"" }].concat()
    }
}
