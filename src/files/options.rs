//! How a `StaticFileHandler` is set up. Each setting is handed to the room that obeys it.

use std::io;

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED};

use super::cache::{Cache, CacheLimits};
use super::handler::StaticFileHandler;
use super::open::Symlinks;
use super::prepare::check_field;

impl StaticFileHandler {
    /// Which symbolic links are followed: those that stay within the folder unless set.
    pub fn symlinks(mut self, which: Symlinks) -> Self {
        self.finder.root.set_symlinks(which);
        self
    }

    /// Whether names that begin with a dot are served and listed: not unless set.
    /// `/.well-known/` at the top always is (RFC 8615).
    pub fn hidden(mut self, served: bool) -> Self {
        self.finder.hidden = served;
        self
    }

    /// Whether a folder without an index file is listed: it is unless set; else it is missing.
    pub fn listing(mut self, wanted: bool) -> Self {
        self.listing = wanted;
        self
    }

    /// Whether `x.br`, `x.zst` and `x.gz` beside `x` are sent in its place to clients that accept them: they are unless set.
    pub fn precompressed(mut self, wanted: bool) -> Self {
        self.finder.sidecars = wanted;
        self
    }

    /// How much is kept between requests: 512 files (a sidecar counts as one), contents of up to 64 KiB each and 32 MiB in all
    /// unless set. `files` of 0 keeps nothing.
    ///
    /// Of files with larger contents up to 128 are kept open; those above 1 MiB are opened for each request.
    pub fn cache(mut self, files: usize, bytes_each: usize, bytes_in_all: usize) -> Self {
        self.cache = Cache::new(CacheLimits { files, bytes_each, bytes_in_all });
        self
    }

    /// The names of files that stand for their folder, the first that is there: `index.html` unless set. None: every folder is listed.
    ///
    /// # Errors
    /// If one is empty or holds a slash.
    pub fn index<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> io::Result<Self> {
        self.finder.index = names.into_iter().map(|name| file_name(name.as_ref())).collect::<io::Result<_>>()?;
        Ok(self)
    }

    /// The type of files with this extension (`md` or `.md`, in any case), in place of the one that is built in.
    /// A text type that names no charset is taken for UTF-8.
    ///
    /// # Errors
    /// If the extension is empty or longer than 16 bytes, or the type could not be sent.
    pub fn mime(mut self, extension: &str, media_type: &str) -> io::Result<Self> {
        let extension = extension.strip_prefix('.').unwrap_or(extension);
        if extension.is_empty() || extension.len() > super::mime::MAX_EXTENSION || extension.contains(['.', '/']) {
            return Err(invalid_input(format!("{extension:?} is no extension")));
        }
        check_field("content-type", media_type)?;
        self.preparer.types.add(extension, media_type);
        Ok(self)
    }

    /// The type of files of unknown kind: `application/octet-stream` unless set.
    ///
    /// # Errors
    /// If it could not be sent.
    pub fn default_type(mut self, media_type: &str) -> io::Result<Self> {
        check_field("content-type", media_type)?;
        self.preparer.types.set_default(media_type);
        Ok(self)
    }

    /// A field for every answer from the folder, errors and redirects too. A second of the same name comes beside the first.
    ///
    /// # Errors
    /// If it could not be sent, or says what the file itself says: `Content-Type`, `Content-Encoding`, `ETag`, `Last-Modified`.
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        let (name, value) = check_field(name, value)?;
        if [CONTENT_TYPE, CONTENT_ENCODING, ETAG, LAST_MODIFIED].contains(&name) {
            return Err(invalid_input(format!("the field `{name}` is the file's own")));
        }
        self.preparer.added.append(name, value);
        Ok(self)
    }

    /// The `Cache-Control` of some files: `no-cache` unless set. Of several patterns that match, the last holds.
    ///
    /// A pattern that begins with a slash is held against the path of the file in the folder, and means all that is in it
    /// if it ends with one; any other against the name. `*` is any run of characters, slashes too:
    /// `/assets/`, `/index.html`, `/blog/*.css`, `*.woff2`.
    ///
    /// # Errors
    /// If the value could not be sent, or the pattern is empty.
    pub fn cache_control(mut self, pattern: &str, value: &str) -> io::Result<Self> {
        let (_, value): (_, HeaderValue) = check_field("cache-control", value)?;
        if pattern.is_empty() {
            return Err(invalid_input("an empty pattern for cache-control".to_owned()));
        }
        self.preparer.caching.push((pattern.to_owned(), value));
        Ok(self)
    }

    /// The file in the folder that is sent, with that status, where a request fails:
    /// `404.html` for 404 unless set. Where it is missing, the server's own page is.
    ///
    /// The folder itself fails with 400, 403 and 404 for paths, and other statuses, which have no page.
    ///
    /// # Errors
    /// If the status is no error, or the name no path in the folder.
    pub fn error_page(mut self, status: u16, name: &str) -> io::Result<Self> {
        let known = StatusCode::from_u16(status).ok().filter(|status| status.is_client_error());
        let status = known.ok_or_else(|| invalid_input(format!("{status} is no status of a failed request")))?;
        let path = segments(name)?.join(&b'/');
        if path.is_empty() {
            return Err(invalid_input(format!("{name:?} is no name of a page")));
        }
        self.pages.push((status, path));
        Ok(self)
    }

    /// Where the folder stands on the server: `/static` makes `/static/a.css` of its `a.css`. At the top unless set.
    /// What does not begin with that is missing.
    ///
    /// # Errors
    /// If a segment is `.` or `..`.
    pub fn prefix(mut self, prefix: &str) -> io::Result<Self> {
        self.mount = segments(prefix)?;
        Ok(self)
    }
}

fn segments(path: &str) -> io::Result<Vec<Vec<u8>>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(file_name).collect()
}

fn file_name(name: &str) -> io::Result<Vec<u8>> {
    match name {
        "" | "." | ".." => Err(invalid_input(format!("{name:?} is no name of a file"))),
        _ if name.contains(['/', '\0']) => Err(invalid_input(format!("{name:?} is no name of a file"))),
        _ => Ok(name.as_bytes().to_vec()),
    }
}

fn invalid_input(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
