//! The way in for fuzz targets: what `path` makes of a target, in plain types.
//! Built only with `--cfg fuzzing`, which `cargo fuzz` sets; it decides nothing.
#![allow(missing_docs)]

use super::path;

#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    Path { bytes: Vec<u8>, slash: bool, hidden: bool },
    Moved(String),
    Missing,
    Malformed,
}

pub fn resolve(raw: &str, mount: &[Vec<u8>]) -> Resolved {
    match path::resolve(raw, mount) {
        path::Asked::Path(path) => {
            let hidden = path::is_hidden(&path.bytes);
            Resolved::Path { bytes: path.bytes, slash: path.slash, hidden }
        }
        path::Asked::Moved(location) => Resolved::Moved(location),
        path::Asked::Missing => Resolved::Missing,
        path::Asked::Malformed => Resolved::Malformed,
    }
}
