//! An entry of an archive of any format. Used by all of `archive`.

#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The path in the archive, without a slash at its end.
    pub path: Vec<u8>,
    pub is_folder: bool,
    /// Whether its owner may execute it.
    pub is_executable: bool,
    /// In bytes; 0 for a folder.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
}

impl Entry {
    /// Returns the permissions for the archive. They show only whether the file is executable.
    pub fn mode(&self) -> u32 {
        if self.is_folder || self.is_executable { 0o755 } else { 0o644 }
    }

    /// Returns the path; for a folder, with a slash at its end.
    pub fn full_path(&self) -> Vec<u8> {
        [&self.path[..], if self.is_folder { b"/" } else { b"" }].concat()
    }
}
