//! Static files by names that contain a hash of their content: `style.css` is `/static/style-1f3a….css`. A browser keeps them
//! for a year without asking again, and gets a changed file under another name.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use modest::{Response, SharedBytes, media_type_of};

/// The files of a folder, in memory.
pub struct Assets {
    hashed: HashMap<String, String>,
    files: HashMap<String, SharedBytes>,
}

impl Assets {
    pub fn open(folder: impl AsRef<Path>) -> io::Result<Assets> {
        let mut assets = Assets { hashed: HashMap::new(), files: HashMap::new() };
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (name, bytes) = (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
            let mut hasher = DefaultHasher::new(); // the keys are always the same, so all processes compute the same names
            hasher.write(&bytes);
            let (stem, extension) = name.rsplit_once('.').unwrap_or((&name, "bin"));
            let hashed = format!("{stem}-{:016x}.{extension}", hasher.finish());
            assets.files.insert(hashed.clone(), Arc::new(bytes));
            assets.hashed.insert(name, hashed);
        }
        Ok(assets)
    }

    /// Returns the URL of a file. Called by templates.
    pub fn url(&self, name: &str) -> String {
        format!("/static/{}", self.hashed.get(name).unwrap_or_else(|| panic!("there is no static file {name}")))
    }

    /// Returns a file, or `None` for a name with another hash: browsers must not store new content under the old name.
    pub fn respond(&self, hashed: &str) -> Option<Response> {
        let media_type = media_type_of(hashed.as_bytes()).unwrap_or("application/octet-stream");
        let response = Response::shared(self.files.get(hashed)?.clone()).with_content_type(media_type);
        Some(response.with_header("cache-control", "public, max-age=31536000, immutable"))
    }
}
