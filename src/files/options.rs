//! The settings of a `StaticFileHandler`.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use http::StatusCode;
use http::header::HeaderValue;

use super::cache::{Cache, CacheLimits};
use super::fresh::Freshness;
use super::handler::{FinishListing, StaticFileHandler, page_key};
use super::open::Symlinks;
use super::path::FilePath;
use super::uploads::{UploadHandler, Uploads};
use crate::http::{added_field, configured_field};
use crate::{Request, Response};

impl StaticFileHandler {
    /// Lets clients put files and folders into the folder (`docs/upload-folders.md`). Default: nothing is accepted.
    /// Clients use PUT, MKCOL and, with [`Uploads::delete`], DELETE and MOVE, or the form in each listing, which uses a
    /// script for several files, whole folders, and drag and drop.
    ///
    /// A file appears when it is complete. A client that disconnects, or a full disk, leaves nothing behind. Nothing is
    /// written outside the folder, even through links ([`Symlinks::Follow`] is for reading). Hidden names are rejected
    /// unless hidden files are served ([`hidden`](Self::hidden)), and existing files are kept unless
    /// [`Uploads::overwrite`] allows replacing them. Requests from pages of other sites are rejected with 403, even if
    /// their users have the right to write (`Sec-Fetch-Site`, `Origin`). A layer decides which users can write.
    ///
    /// Uploaded files are not trusted: see [`untrusted`](Self::untrusted). If the same folder, or one in it, is served
    /// by another handler, call `untrusted` there as well, and give it a clone of the same `Uploads` if it also accepts
    /// files. Nothing is accepted in a folder `.well-known`, which applies to the whole host.
    ///
    /// | status | result |
    /// | --- | --- |
    /// | 201, 204, 303 | stored, under the name in `Location`; replaced a file, or deleted; a form was stored |
    /// | 400 | the name is not allowed, or it is not the whole file (`Content-Range`) |
    /// | 403 | a hidden name, a page of another site, or a folder that the server cannot write to |
    /// | 404 | DELETE, MOVE or COPY of a missing name; a form for a missing folder |
    /// | 405 | MKCOL of an existing name; a method that is not allowed |
    /// | 409 | the name exists; the folder does not exist; a folder that is not empty; an impossible move or copy |
    /// | 411, 415 | no length; `Content-Encoding`, a body that the method does not accept, or not a form |
    /// | 412 | a condition, such as `If-Match`, does not hold; the destination of MOVE or COPY exists |
    /// | 413, 429 | over [`Uploads::max_size`] or the [quota](Uploads::quota); over the rest of the quota |
    /// | 423, 502 | locked; the destination is on another server |
    /// | 503 | over [`Uploads::at_once`], [`Uploads::at_once_each`] or another limit of requests in progress |
    /// | 507 | there is no room, or the rest is [reserved](Uploads::reserve) |
    ///
    /// Resumable uploads and WebDAV have further statuses.
    ///
    /// ```no_run
    /// use modest::{StaticFileHandler, TcpServer, Uploads};
    ///
    /// let inbox = StaticFileHandler::new("inbox")?.uploads(Uploads::new().max_size(1 << 30));
    /// TcpServer::bind("127.0.0.1:8000", inbox)?.serve_forever() // curl -T photo.jpg http://127.0.0.1:8000/
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    pub fn uploads(mut self, uploads: Uploads) -> Self {
        self.upload_handler = Some(Box::new(UploadHandler::new(uploads)));
        self.untrusted(true)
    }

    /// Sets whether other people can put files into the folder: then files are sandboxed, and sidecars are not used
    /// (`docs/upload-folders.md#uploaded-files-are-not-trusted`). Default: false; true with [`uploads`](Self::uploads).
    ///
    /// Set it if they use another handler or any other way. A later `untrusted(false)` removes what `uploads` has set.
    ///
    /// If true, a file is sent with `Content-Security-Policy: sandbox`, in addition to other [set](Self::header)
    /// policies: its scripts run, but not as scripts of this server. Images except SVG, audio, video, fonts, PDF, ZIP,
    /// plain text and unknown bytes have no such policy, because they have no scripts. `x.gz` is not sent for `x`
    /// unless [`precompressed`](Self::precompressed) is set afterwards.
    pub fn untrusted(mut self, is_untrusted: bool) -> Self {
        if self.preparer.is_untrusted != is_untrusted {
            self.finder.sidecars = !is_untrusted;
        }
        self.preparer.is_untrusted = is_untrusted;
        self.forget()
    }

    /// Sets which symbolic links are followed: none ([`Deny`](Symlinks::Deny)), those that stay within the folder, or
    /// all ([`Follow`](Symlinks::Follow)). Default: [`Symlinks::WithinRoot`].
    pub fn symlinks(mut self, which: Symlinks) -> Self {
        self.finder.root.symlinks = which;
        self.forget()
    }

    /// Sets whether names that begin with a dot are served and listed. Default: false, except `/.well-known/` at the
    /// top (RFC 8615).
    pub fn hidden(mut self, served: bool) -> Self {
        self.finder.hidden = served;
        self.forget()
    }

    /// Sets whether a folder without an index file is listed; otherwise the response is a 404. Default: true.
    pub fn listing(mut self, wanted: bool) -> Self {
        self.listing = wanted;
        self.forget()
    }

    /// Sets the paths of other folders that a listing links to, from the root of the server and decoded. Default: none.
    /// A listing shows those below its folder that the user can read, and an HTML page also those that the user can
    /// only write to.
    pub fn beside<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.beside = paths.into_iter().map(Into::into).collect();
        self.forget()
    }

    /// Sets a function that is called with each listing, HTML or JSON, to compress it or to add fields. Default: none.
    ///
    /// A layer around the handler would also see files, which are better not compressed while they are sent.
    ///
    /// ```
    /// # #[cfg(feature = "compress")] {
    /// use modest::layers::Compress;
    /// use modest::StaticFileHandler;
    ///
    /// let gzip = Compress::new().max_streams(64);
    /// let files = StaticFileHandler::new("www")?
    ///     .finish_listing(move |request, response| gzip.compress(request, response));
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// It must not block.
    pub fn finish_listing<F>(mut self, finish: F) -> Self
    where
        F: Fn(&Request, Response) -> Response + Send + Sync + 'static,
    {
        self.finish_listing = FinishListing(Some(AssertUnwindSafe(Box::new(finish))));
        self
    }

    /// Sets whether Markdown files (`.md`, `.markdown`) of up to 64 KiB are sent as HTML for `?format=html`; needs the
    /// feature `markdown` (`docs/files.md#the-page-of-a-folder`). Default: false. A listing shows its README in this
    /// form; without this setting it shows the plain text.
    ///
    /// Raw HTML in the file becomes text, links lead only to `http`, `https`, `mailto` and relative URLs, pictures are
    /// loaded only from the folder of the file and below it, and the page's `Content-Security-Policy` allows no
    /// scripts. So files by untrusted authors are safe. The policies of the file also apply to the page.
    #[cfg(feature = "markdown")]
    pub fn markdown(mut self, rendered: bool) -> Self {
        self.markdown = rendered;
        self
    }

    /// Sets whether errors for missing files link to the nearest folder above, for clients that accept HTML
    /// (`docs/files.md#missing-files`). Default: false. A 403 or a 404 for clients that name `text/html` in `Accept`,
    /// as browsers do, then has a link to the nearest folder above that is listed or has an index: `Link: <../>;
    /// rel="up"` (RFC 8288). The error of an upload by a form has a link to its folder: `<./>`.
    ///
    /// [`layers::ErrorPages`](crate::layers::ErrorPages) shows it. Each such error then costs a lookup of each folder
    /// on the way, up to 32.
    pub fn link_up(mut self, wanted: bool) -> Self {
        self.link_up = wanted;
        self
    }

    /// Sets whether PROPFIND is served (WebDAV, RFC 4918), so that file managers can open the folder, and LOCK if files
    /// can be replaced. Default: false.
    ///
    /// The response has the data of [listings](Self::listing), even for folders with an index file: names, sizes and
    /// dates, independent of the properties that a request names; for a single file also its tag and media type.
    /// `Depth: infinity` is rejected for folders. With [`uploads`](Self::uploads) files can be stored, folders created,
    /// and both copied; with [`Uploads::delete`] also moved and deleted. If files can be replaced
    /// ([`Overwrite::Replace`](crate::Overwrite::Replace)), they can also be locked (class 2), copied over each other,
    /// and given properties by clients.
    pub fn webdav(mut self, wanted: bool) -> Self {
        self.webdav = wanted;
        self
    }

    /// Sets whether a listed folder can be downloaded as one file; needs the feature `archive` (`docs/archives.md`).
    /// Default: false. `?archive=zip`, `tar.gz` or `tar` returns everything below the folder that is served. The listing
    /// has buttons for the first two.
    ///
    /// Only folders that are listed can be downloaded. If a folder has an index file, its URL is that page. The archive
    /// contains everything below that is served, by its name on disk, including folders with an index file and
    /// sidecars. Links are replaced by their targets if [`symlinks`](Self::symlinks) follows them. Restrictions by
    /// [`Permissions`](crate::Permissions), such as those of [`layers::PathRights`](crate::layers::PathRights), also
    /// apply to archives.
    ///
    /// It is generated while it is sent, so it has no length, no ranges and no tag. If a file over 64 KiB changes while
    /// it is read, the connection is reset, so that the archive is not taken as complete; a smaller file is read again,
    /// up to seven times. Files that cannot be read are listed in a file `MISSING.txt`. In a zip, names are changed so
    /// that Windows accepts them, and `RENAMED.txt` lists the changes.
    #[cfg(feature = "archive")]
    pub fn archives(mut self, offered: bool) -> Self {
        self.archives.offered = offered;
        self.listings.offers_archives = offered;
        self.forget()
    }

    /// Sets how many archives are sent at once; further requests get a 503. Default: 8. Each takes about half a
    /// megabyte of memory, and for a zip about 150 bytes more per entry. It holds a worker only while it reads the next
    /// 64 KiB. On slow disks, set fewer than there are workers.
    #[cfg(feature = "archive")]
    pub fn archives_at_once(mut self, number: usize) -> Self {
        self.archives.slots = crate::slots::Slots::new(number);
        self
    }

    /// Sets how many folders deep an archive goes; deeper ones are left out, and listed in its `MISSING.txt`. Default:
    /// 64, including the first.
    #[cfg(feature = "archive")]
    pub fn archive_depth(mut self, folders: usize) -> Self {
        self.archives.depth = folders;
        self
    }

    /// Sets how many entries an archive can have; further entries are left out, and listed in its `MISSING.txt`.
    /// Default: 100,000. Their paths can have 200 bytes on average.
    #[cfg(feature = "archive")]
    pub fn archive_entries(mut self, entries: usize) -> Self {
        self.archives.entries = entries;
        self
    }

    /// Sets whether `x.br`, `x.zst` and `x.gz` beside `x` are sent for it to clients that accept them. Default: true;
    /// false with [`untrusted`](Self::untrusted).
    pub fn precompressed(mut self, wanted: bool) -> Self {
        self.finder.sidecars = wanted;
        self.forget()
    }

    /// Sets whether text is compressed with gzip for clients that accept it, if there is no `x.gz` beside it; needs the
    /// feature `compress`. Default: false.
    ///
    /// Each content is compressed once, when a client that accepts gzip first requests it, and cached
    /// ([`compressed_cache`](Self::compressed_cache)). The compressed bytes have a strong tag of their own, and ranges,
    /// 304 and HEAD refer to them. Until then, and within 20 ms of a change, the file is sent uncompressed. Files that
    /// shrink by less than a sixteenth, and those with `Cache-Control: no-transform`, stay uncompressed.
    ///
    /// Files contain no data of a request, so BREACH does not apply to them. It applies to responses of handlers that
    /// contain a secret together with data of a request ([`layers::Compress`](crate::layers::Compress)).
    #[cfg(feature = "compress")]
    pub fn compress(mut self, wanted: bool) -> Self {
        let sizes = self.preparer.compressed.take().unwrap_or(super::compressed::SIZES);
        self.preparer.compressed = wanted.then_some(sizes);
        self.forget()
    }

    /// Sets the smallest and the largest size of files to compress, in bytes, and enables [`compress`](Self::compress).
    /// Default: 1 KiB to 4 MiB. A file of 1 KiB fits into one packet uncompressed; one of 4 MiB takes about 100 ms.
    #[cfg(feature = "compress")]
    pub fn compressed_sizes(mut self, sizes: std::ops::RangeInclusive<u64>) -> Self {
        self.preparer.compressed = Some(sizes);
        self.forget()
    }

    /// Sets how many bytes of compressed files are cached, of up to 8,192 files. Default: 1/64 of the
    /// [memory](Self::memory), at most 32 MiB; 0: none, so each request compresses its file. Files that were not
    /// requested again are dropped first.
    #[cfg(feature = "compress")]
    pub fn compressed_cache(mut self, bytes: usize) -> Self {
        self.compressed.set_size(bytes);
        self
    }

    /// Sets how many files are compressed at once; others are sent uncompressed. Default: half of the processors, from
    /// 1 to 4.
    #[cfg(feature = "compress")]
    pub fn compressed_at_once(mut self, number: usize) -> Self {
        self.compressed.at_once = number;
        self
    }

    /// Sets how many bytes of listings are cached, so that a repeated request does not read the folder
    /// (`docs/files.md#cached-listings`). Default: 1/128 of the [memory](Self::memory), at most 16 MiB; 0: none.
    ///
    /// A listing is cached after its second request, in each order and form, while the kernel reports changes of its
    /// folder and of everything in it ([`inotify`](Self::inotify)). It is created for each request if the folder has a
    /// file that the server cannot read, or more than 16 links and entries on other file systems, if the user's
    /// [`Permissions`](crate::Permissions) apply, or if it would take more than a quarter of these bytes. About 300
    /// bytes are counted per name. Up to 1,024 listings are cached.
    pub fn listing_cache(mut self, bytes: usize) -> Self {
        self.listings.kept.set_bytes(bytes);
        self
    }

    /// Sets how many names can be watched for cached listings. Default: a quarter of `fs.inotify.max_user_watches`.
    /// Each name takes one of the user's watches, which all programs of that user share. A folder with more than half
    /// as many names is listed for each request.
    pub fn listing_watches(mut self, names: usize) -> Self {
        self.listings.kept.set_names(names);
        self
    }

    /// Sets whether [cached](Self::listing_cache) listings are compressed once with gzip for clients that accept it;
    /// needs the feature `compress`. Default: false. Other listings, and those with `Cache-Control: no-transform`, are
    /// passed to [`finish_listing`](Self::finish_listing) uncompressed.
    ///
    /// ```
    /// use modest::StaticFileHandler;
    /// use modest::layers::Compress;
    ///
    /// let gzip = Compress::new();
    /// let files = StaticFileHandler::new("www")?
    ///     .compress_listings(true)
    ///     .finish_listing(move |request, response| gzip.compress(request, response));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "compress")]
    pub fn compress_listings(mut self, wanted: bool) -> Self {
        self.listings.compresses = wanted;
        self
    }

    /// Sets the size of the cache: the number of files, the bytes of each in memory, and the bytes of all. Default:
    /// 8,192 files, 64 KiB each, and 1/32 of the [memory](Self::memory) in all, at most 64 MiB. About 1.5 KiB are
    /// counted per file in addition to its content. A missing path counts as a file. `files` of 0 disables it. Listings
    /// have a cache of their own ([`listing_cache`](Self::listing_cache)).
    ///
    /// Larger files up to 1 MiB are kept open (see [`open_files`](Self::open_files)). Files above that are opened for
    /// each request.
    pub fn cache(mut self, files: usize, bytes_each: usize, bytes_in_all: usize) -> Self {
        self.set_cache(CacheLimits { files, bytes_each, bytes_in_all, ..self.cache.limits });
        self
    }

    /// Returns the default sizes of the caches of files, listings and compressed content for this much memory, in
    /// bytes.
    pub(crate) fn caches_in(memory: u64) -> [u64; 3] {
        #[cfg(feature = "compress")]
        let compressed = super::compressed::cache_of(memory);
        #[cfg(not(feature = "compress"))]
        let compressed = 0;
        [CacheLimits::bytes_for(memory), super::listing::cache_of(memory), compressed].map(|bytes| bytes as u64)
    }

    /// Returns the default number of files that are kept open.
    pub(crate) fn open_by_default() -> usize {
        CacheLimits::default().open
    }

    /// Sets the memory, in bytes, from which the defaults of caches are computed, and that of listings in progress (an
    /// eighth, at most 64 MiB). Default: [`available_memory()`](crate::available_memory). It also sets these limits, so
    /// call it before their setters. If there are several handlers, divide the memory between them.
    pub fn memory(mut self, bytes: u64) -> Self {
        let bytes_in_all = CacheLimits::bytes_for(bytes);
        self.set_cache(CacheLimits { bytes_in_all, ..self.cache.limits });
        self.listings.set_memory(bytes);
        #[cfg(feature = "compress")]
        self.compressed.set_size(super::compressed::cache_of(bytes));
        self
    }

    /// Sets how many of the cached files over `bytes_each`, up to 1 MiB, are kept open, for ten seconds at most.
    /// Default: an eighth of the file descriptor limit, at most 4,096. The limit (`ulimit -n`) is read when the handler
    /// is created. If there are several handlers, divide the default
    /// ([`DefaultLimits::open_files`](crate::DefaultLimits::open_files)) between them.
    pub fn open_files(mut self, open: usize) -> Self {
        self.set_cache(CacheLimits { open, ..self.cache.limits });
        self
    }

    /// Sets whether the kernel reports changes (inotify(7)); otherwise the disk is checked before each use of cached
    /// content. Default: true.
    ///
    /// It is used on file systems that report all changes (ext4, XFS, Btrfs, F2FS, tmpfs and others; not for network
    /// file systems, FUSE and overlays), as long as the user has watches left (`fs.inotify.max_user_watches`).
    /// Otherwise the disk is checked before each use.
    ///
    /// A file system that is mounted over a folder is noticed within a second, and a write through a shared mapping
    /// within half a minute. Without inotify, the mount is noticed at the next request, and the write within a second.
    pub fn inotify(mut self, used: bool) -> Self {
        self = self.forget();
        self.finder.freshness = Freshness::new(used);
        self
    }

    /// Sets the index files of folders; the first that exists is served. Default: `index.html`, then `index.htm`. With
    /// none, no folder has an index.
    ///
    /// # Errors
    /// If a name is empty, `.` or `..`, or contains a slash or NUL.
    pub fn index<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> io::Result<Self> {
        self.finder.index = names.into_iter().map(|name| file_name(name.as_ref())).collect::<io::Result<_>>()?;
        Ok(self.forget())
    }

    /// Sets whether `about.html` is served at `/about`, if there is no file `about`, and `/about.html` redirects there.
    /// Default: false. `/index.html` is then redirected to `/`, so that each page has one URL. A page has precedence
    /// over a folder of its name.
    pub fn clean_urls(mut self, wanted: bool) -> Self {
        self.finder.clean_urls = wanted;
        self.forget()
    }

    /// Sets the page that is sent with 200 for paths without a file, for single-page apps that route in the browser.
    /// Default: none.
    ///
    /// It is also sent for folders without an index, unless the query asks for their listing or archive. Its fields,
    /// tag and codings are those of its own path. It is sent to clients that ask for `text/html`, and for names without
    /// an extension. Other requests, and requests for hidden names, get a 404. If the page is missing, paths without a
    /// file get a 404, and folders are listed.
    ///
    /// # Errors
    /// If the name is not a path in the folder.
    pub fn app_page(mut self, name: &str) -> io::Result<Self> {
        self.app_page = Some(FilePath { bytes: page_name(name)?, trailing_slash: false });
        Ok(self.forget())
    }

    /// Sets the media type of an extension (`md` or `.md`, in any case). Default: a built-in table. `charset=utf-8` is
    /// added to a text type without charset for files that are UTF-8.
    ///
    /// # Errors
    /// If the extension is empty, longer than 16 bytes, or contains a slash or another dot, or if the type is not a
    /// valid field value.
    pub fn mime(mut self, extension: &str, media_type: &str) -> io::Result<Self> {
        let extension = extension.strip_prefix('.').unwrap_or(extension);
        if extension.is_empty() || extension.len() > super::mime::MAX_EXTENSION || extension.contains(['.', '/']) {
            return Err(invalid_input(format!("{extension:?} is not a valid extension")));
        }
        let (_, media_type) = configured_field("content-type", media_type)?;
        self.preparer.types.add(extension, media_type);
        Ok(self.forget())
    }

    /// Sets the media type of files with an unknown name. Default: `text/plain` if the first 4 KiB are text, otherwise
    /// `application/octet-stream`.
    ///
    /// # Errors
    /// If it is not a valid field value.
    pub fn default_type(mut self, media_type: &str) -> io::Result<Self> {
        let (_, media_type) = configured_field("content-type", media_type)?;
        self.preparer.types.default = Some(media_type);
        Ok(self.forget())
    }

    /// Adds a field to every response from the folder, including errors and redirects. Default: none. `Cache-Control`
    /// applies only to files and listings. A second call with the same name adds another value.
    ///
    /// # Errors
    /// If it is invalid, or depends on each response: `Content-Type`, `Content-Encoding`, `Content-Range`, `ETag`,
    /// `Last-Modified`, `Location`, `Allow`, `Date`, and the fields of framing and of the connection (`Content-Length`,
    /// `Transfer-Encoding`, `Trailer`, `TE`, `Connection`, `Keep-Alive`, `Proxy-Connection`, `Upgrade`).
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        let (name, value) = added_field(name, value)?;
        self.preparer.add_field(name, value);
        Ok(self.forget())
    }

    /// Adds a field to files that match a pattern, with the syntax of [`cache_control`](Self::cache_control). Default:
    /// none. All matching patterns apply.
    ///
    /// # Errors
    /// The errors of [`header`](Self::header), or if the pattern is empty.
    pub fn header_for(mut self, pattern: &str, name: &str, value: &str) -> io::Result<Self> {
        let (name, value) = added_field(name, value)?;
        if pattern.is_empty() {
            return Err(invalid_input(format!("expected a pattern for {name}, such as *.css; found an empty one")));
        }
        self.preparer.matched.push((pattern.to_owned(), name, value));
        Ok(self.forget())
    }

    /// Sets the `Cache-Control` of files that match a pattern: whether clients can cache them, and for how long.
    /// Default: `no-cache`. If several patterns match, the last one applies.
    ///
    /// A pattern that begins with a slash is matched against the path of the file in the folder, and against all files
    /// in that folder if it ends with a slash. Any other pattern is matched against the name. `*` matches any
    /// characters, including slashes: `/assets/`, `/index.html`, `/blog/*.css`, `*.woff2`.
    ///
    /// # Errors
    /// If the value is not a valid field value, or the pattern is empty.
    pub fn cache_control(mut self, pattern: &str, value: &str) -> io::Result<Self> {
        let (_, value): (_, HeaderValue) = configured_field("cache-control", value)?;
        if pattern.is_empty() {
            return Err(invalid_input(
                "expected a pattern for Cache-Control, such as *.css; found an empty one".to_owned(),
            ));
        }
        self.preparer.caching.push((pattern.to_owned(), value));
        Ok(self.forget())
    }

    /// Sets the file in the folder that is sent with this status if a request fails. Default: `404.html` for 404, if it
    /// exists. If the file is missing, the server's own page is sent.
    ///
    /// Only 403 and 404 have such a page. A page for another status is never sent: a path that is not valid (400) gets
    /// the page of the server.
    ///
    /// # Errors
    /// If the status is not a 4xx, or the name is not a path in the folder.
    pub fn error_page(mut self, status: u16, name: &str) -> io::Result<Self> {
        let known = StatusCode::from_u16(status).ok().filter(|status| status.is_client_error());
        let status = known.ok_or_else(|| invalid_input(format!("{status} is not the status of a failed request")))?;
        self.pages.push((status, page_key(&page_name(name)?)));
        Ok(self.forget())
    }

    /// Sets the path at which the folder is served, from the root of the server and decoded. Default: the path at which
    /// it is mounted ([`Routes::mount`](crate::Routes::mount)), otherwise the root. With `/static` its `a.css` is
    /// `/static/a.css`. Other paths are a 404.
    ///
    /// # Errors
    /// If a segment is `.` or `..`, or contains NUL.
    pub fn prefix(mut self, prefix: &str) -> io::Result<Self> {
        let names = segments(prefix)?;
        let path = names.iter().flat_map(|name| [b"/", &name[..]]).collect::<Vec<_>>().concat();
        self.mount = Some(path).filter(|path| !path.is_empty());
        Ok(self.forget())
    }
}

impl StaticFileHandler {
    fn set_cache(&mut self, limits: CacheLimits) {
        self.cache = Arc::new(Cache::new(limits));
    }

    /// Clears the caches: their content was prepared with the previous settings.
    fn forget(self) -> Self {
        self.cache.clear();
        #[cfg(feature = "compress")]
        self.compressed.clear();
        self.listings.forget();
        self.finder.folders.clear();
        self
    }
}

fn page_name(name: &str) -> io::Result<Vec<u8>> {
    let path = segments(name).map_err(|error| invalid_input(format!("{name:?}: {error}")))?.join(&b'/');
    if path.is_empty() { Err(invalid_input(format!("{name:?} is not the name of a page"))) } else { Ok(path) }
}

fn segments(path: &str) -> io::Result<Vec<Vec<u8>>> {
    path.split('/').filter(|segment| !segment.is_empty()).map(file_name).collect()
}

fn file_name(name: &str) -> io::Result<Vec<u8>> {
    match name {
        "" | "." | ".." => Err(invalid_input(format!("{name:?} is not the name of a file"))),
        _ if name.contains(['/', '\0']) => Err(invalid_input(format!("{name:?} is not the name of a file"))),
        _ => Ok(name.as_bytes().to_vec()),
    }
}

fn invalid_input(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}
