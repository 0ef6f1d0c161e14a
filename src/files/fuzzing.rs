//! Entry points for the fuzz targets: `path::resolve` with plain types.
//! Built only with `--cfg fuzzing`, which `cargo fuzz` sets; no logic of its own.
#![allow(missing_docs)]

use super::path;

#[derive(Debug, PartialEq, Eq)]
pub enum Resolved {
    Path { bytes: Vec<u8>, trailing_slash: bool, hidden: bool },
    NeedsSlash,
    NotFound,
    Malformed,
}

pub fn resolve(raw: &str, mount: &[u8]) -> Resolved {
    let Ok(path) = crate::UrlPath::parse(raw) else { return Resolved::Malformed };
    match path::resolve(path.as_bytes(), mount) {
        path::ResolvedPath::Path(path) => {
            let hidden = path::is_hidden(&path.bytes);
            Resolved::Path { bytes: path.bytes, trailing_slash: path.trailing_slash, hidden }
        }
        path::ResolvedPath::NeedsSlash => Resolved::NeedsSlash,
        path::ResolvedPath::NotFound => Resolved::NotFound,
    }
}
