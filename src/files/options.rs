//! The settings of a `StaticFileHandler`.

use std::io;
use std::panic::AssertUnwindSafe;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};

use super::cache::{Cache, CacheLimits};
use super::fresh::Freshness;
use super::handler::{FinishListing, MISSING, StaticFileHandler, page_key};
use super::open::Symlinks;
use super::path::FilePath;
use super::prepare::check_field;
use super::taking::{Taking, Uploads};
use crate::{Request, Response};

/// Fields whose value follows from the response or the connection: a fixed one would be wrong for most responses.
const DERIVED: [&str; 16] = [
    // what is sent: RFC 9110, sections 8, 10.2 and 14.4
    "allow",
    "content-encoding",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "location",
    // when and how it is sent: RFC 9110, sections 6.6 and 7.6.1; RFC 9112, sections 6 and 9
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl StaticFileHandler {
    /// Files and folders may be put into the folder: by PUT, MKCOL and, if [`Uploads::delete`] says so, DELETE and MOVE, and by the form
    /// that each listing then has, where a script makes it several files, whole folders, and what is dropped on the page.
    /// Default: nothing is taken.
    ///
    /// A file is there when it is whole, and not before; a client that leaves, or a disk that is full, leaves nothing behind.
    /// Nothing is written outside the folder, whatever links say ([`Symlinks::Follow`] is for reading), under no hidden name
    /// unless those are served ([`hidden`](Self::hidden)), and over no file unless [`Uploads::overwrite`] says so.
    /// Pages of other sites can't write, whatever their readers may (`Sec-Fetch-Site`, `Origin`): 403. Who may write at all
    /// is for a layer to say.
    ///
    /// What others have put there is not trusted: see [`untrusted`](Self::untrusted). If the same folder, or one in it, is served by
    /// another handler, that one must be told so, and must have a clone of the same `Uploads` if it takes files. Nothing is taken
    /// in `/.well-known/`, which speaks for the host.
    ///
    /// | status | of a request that writes |
    /// | --- | --- |
    /// | 201, 204 | it is stored, under the name in `Location`; it has replaced a file, or is deleted |
    /// | 400 | nothing here may have that name, or it is not the whole file (`Content-Range`) |
    /// | 403 | a hidden name, a page of another site, or a folder in which the server may not write |
    /// | 405 | MKCOL of what is there; a method that is not allowed |
    /// | 409 | a file has that name; there is no such folder; a folder that is not empty |
    /// | 411, 413, 415 | no length; more than [`Uploads::max_size`]; `Content-Encoding`, or a form that is none |
    /// | 412 | `If-Match`, `If-None-Match` or `If-Unmodified-Since` does not hold |
    /// | 507 | there is no room, or what there is is [reserved](Uploads::reserve) |
    ///
    /// ```no_run
    /// use modest::{StaticFileHandler, TcpServer, Uploads};
    ///
    /// let inbox = StaticFileHandler::new("inbox")?.uploads(Uploads::new().max_size(1 << 30));
    /// TcpServer::bind("127.0.0.1:8000", inbox)?.serve_forever() // curl -T photo.jpg http://127.0.0.1:8000/
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    pub fn uploads(mut self, uploads: Uploads) -> Self {
        self.taking = Some(Box::new(Taking::new(uploads)));
        self.untrusted(true)
    }

    /// Whether others may put files into the folder, by another handler or in any other way. Default: no; [`uploads`](Self::uploads)
    /// sets it, and `untrusted(false)` afterwards takes it back.
    ///
    /// Then a file is sent with `Content-Security-Policy: sandbox`, beside other policies that are [set](Self::header): its scripts run, but
    /// not as scripts of this server. Images other than SVG, audio, video, fonts, PDF, ZIP and plain text have none, as they have no scripts.
    /// And `x.gz` is not sent for `x` unless [`precompressed`](Self::precompressed) is set afterwards.
    pub fn untrusted(mut self, is_untrusted: bool) -> Self {
        if self.preparer.is_untrusted != is_untrusted {
            self.finder.sidecars = !is_untrusted;
        }
        self.preparer.is_untrusted = is_untrusted;
        self.forget();
        self
    }

    /// Which symbolic links are followed. Default: those that stay within the folder.
    pub fn symlinks(mut self, which: Symlinks) -> Self {
        self.finder.root.set_symlinks(which);
        self.forget();
        self
    }

    /// Whether names that begin with a dot are served and listed. Default: no.
    /// `/.well-known/` at the top always is (RFC 8615).
    pub fn hidden(mut self, served: bool) -> Self {
        self.finder.hidden = served;
        self.forget();
        self
    }

    /// Whether a folder without an index file is listed. Default: yes; otherwise it is a 404.
    pub fn listing(mut self, wanted: bool) -> Self {
        self.listing = wanted;
        self.forget();
        self
    }

    /// The last word on each listing, HTML or JSON: to compress it, or to add fields to it. Default: none.
    ///
    /// A layer around the handler would see files as well, which are better not compressed while they are sent.
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

    /// Whether a 403 or a 404 for clients that name `text/html` in `Accept`, as browsers do, has a link to the nearest folder above
    /// that is listed or has an index: `Link: <../>; rel="up"` (RFC 8288). Default: no.
    ///
    /// [`layers::ErrorPages`](crate::layers::ErrorPages) shows it. Each such error then costs a look-up of each folder on the way, of 32
    /// at most.
    pub fn link_up(mut self, wanted: bool) -> Self {
        self.link_up = wanted;
        self
    }

    /// Whether PROPFIND is answered (WebDAV, RFC 4918), so that file managers open the folder as one of their own. Default: no.
    ///
    /// What [listings](Self::listing) show is told, also of folders that have an index file: names, sizes and dates, all of them
    /// whatever a request asks for. A folder with all beneath it (`Depth: infinity`) is refused. With
    /// [`uploads`](Self::uploads) files are stored, folders made, and both moved and deleted; where files may be replaced
    /// ([`Overwrite::Replace`](crate::Overwrite::Replace)) they can be locked (class 2). Properties are not set, and nothing is copied.
    pub fn webdav(mut self, wanted: bool) -> Self {
        self.webdav = wanted;
        self
    }

    /// Whether a folder can be had as one file, with all beneath it that is served: `?archive=zip`, `tar.gz` or `tar`; its listing
    /// offers it. Default: no.
    ///
    /// That goes for folders that are listed: one with an index file is that page. Beneath such a folder all that is served is
    /// in the archive, by its name on disk: folders with an index file too, sidecars too, nothing hidden. Links are what they
    /// lead to, as [`symlinks`](Self::symlinks) says. Whoever restricts paths around this handler restricts archives, too, by
    /// [`Permissions`](crate::Permissions), as [`layers::PathRights`](crate::layers::PathRights) does.
    ///
    /// It is written while it is sent, so it has no length, no ranges and no tag. A file that changes while it is read breaks the
    /// connection: what was sent is not taken for whole. What may not be read is named in a file `MISSING.txt`; in a zip names
    /// are such that Windows takes them, and what was changed for that stands in `RENAMED.txt`.
    #[cfg(feature = "archive")]
    pub fn archives(mut self, offered: bool) -> Self {
        self.archives.offered = offered;
        self.listings.offers_archives = offered;
        self.forget();
        self
    }

    /// How many archives are sent at once; further requests for one are a 503. Default: 8. Each takes some 400 KB, and for a zip
    /// some 150 bytes an entry; a worker only while it reads the next 64 KiB. Fewer than workers should it be, where the disk is slow.
    #[cfg(feature = "archive")]
    pub fn archives_at_once(mut self, number: usize) -> Self {
        self.archives.slots = super::slots::Slots::new(number);
        self
    }

    /// How many folders deep an archive goes. Default: 64, the first one counted. What lies deeper is left out, and named in its `MISSING.txt`.
    #[cfg(feature = "archive")]
    pub fn archive_depth(mut self, folders: usize) -> Self {
        self.archives.depth = folders;
        self
    }

    /// How many entries an archive may have. Default: 100,000; their paths may have 200 bytes on average. What is left out is named in its `MISSING.txt`.
    #[cfg(feature = "archive")]
    pub fn archive_entries(mut self, entries: usize) -> Self {
        self.archives.entries = entries;
        self
    }

    /// Whether `x.br`, `x.zst` and `x.gz` beside `x` are sent for it to clients that accept them. Default: yes.
    pub fn precompressed(mut self, wanted: bool) -> Self {
        self.finder.sidecars = wanted;
        self.forget();
        self
    }

    /// Whether text is compressed by gzip for clients that take it, where there is no `x.gz` beside it. Default: no.
    ///
    /// Each content is compressed once, when it is first asked for so, and kept ([`compressed_cache`](Self::compressed_cache)), with
    /// a strong tag of its own: ranges, 304 and HEAD are of those bytes. Meanwhile, and within 20 ms of a change, the file is sent
    /// as it is. What becomes less than a sixteenth smaller stays as it is, and so does what says `Cache-Control: no-transform`.
    ///
    /// Files hold nothing that a request put there, so that BREACH finds nothing in them: it is answers of handlers that must
    /// not have a secret beside what a request says ([`layers::Compress`](crate::layers::Compress)).
    #[cfg(feature = "compress")]
    pub fn compress(mut self, wanted: bool) -> Self {
        let sizes = self.preparer.compressed.take().unwrap_or(super::compressed::SIZES);
        self.preparer.compressed = wanted.then_some(sizes);
        self.forget();
        self
    }

    /// The size of files that are compressed, in bytes, from the smallest to the largest; this calls for
    /// [`compress`](Self::compress), too. Default: from 1 KiB on, which fits into one packet as it is, to 4 MiB, which take some 100 ms.
    #[cfg(feature = "compress")]
    pub fn compressed_sizes(mut self, sizes: std::ops::RangeInclusive<u64>) -> Self {
        self.preparer.compressed = Some(sizes);
        self.forget();
        self
    }

    /// How many bytes of compressed files are kept. Default: 32 MiB. Further ones go by the order in which they were used.
    #[cfg(feature = "compress")]
    pub fn compressed_cache(mut self, bytes: usize) -> Self {
        self.compressed.set_size(bytes);
        self
    }

    /// How many files are compressed at once; others are sent as they are meanwhile. Default: half of the processors, from 1 to 4.
    #[cfg(feature = "compress")]
    pub fn compressed_at_once(mut self, number: usize) -> Self {
        self.compressed.set_slots(number);
        self
    }

    /// How many bytes of listings are kept, so that a second request for one costs no walk of the disk. Default: 16 MiB; 0: none is kept.
    ///
    /// A listing is kept from its second request on, as it was made: in each order and form, as far as the kernel tells of its folder and
    /// of all that is in it ([`inotify`](Self::inotify)). Of a folder with more than 16 links, with files that the server may not read, or for
    /// those whose [`Permissions`](crate::Permissions) are asked, it is made for each request; so it is where it would take more than a
    /// quarter of these bytes. About 300 bytes are counted for each name.
    pub fn listing_cache(mut self, bytes: usize) -> Self {
        self.listings.set_cache(bytes);
        self
    }

    /// How many names may be watched for listings that are kept: each name takes one of the watches that the user may have
    /// (`fs.inotify.max_user_watches`), which all programs of that user share. Default: a quarter of those. A folder with more than half as many
    /// names is listed anew for each request.
    pub fn listing_watches(mut self, names: usize) -> Self {
        self.listings.set_watches(names);
        self
    }

    /// Whether listings that are [kept](Self::listing_cache) are compressed by gzip for clients that take it: once, when they are first asked for
    /// so. Default: no. Others are left to [`finish_listing`](Self::finish_listing), and so is what says `Cache-Control: no-transform`.
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

    /// The size of the cache: how many files, up to how many bytes of each in memory, and how many bytes of all. Default: 8,192
    /// files, 64 KiB and 64 MiB; about 1.5 KiB are counted for each besides its content. `files` of 0 disables it. Listings have room of
    /// their own ([`listing_cache`](Self::listing_cache)).
    ///
    /// Larger files of up to 1 MiB are kept open (see [`open_files`](Self::open_files)); those above are opened for each request.
    pub fn cache(mut self, files: usize, bytes_each: usize, bytes_in_all: usize) -> Self {
        self.cache = Cache::new(CacheLimits { files, bytes_each, bytes_in_all, ..self.cache.limits() });
        self.missing = Cache::new(CacheLimits { files: files.min(MISSING.files), ..MISSING });
        self
    }

    /// The bytes of the caches of files, of listings and of what is compressed, where there is so much memory.
    pub(crate) fn caches_in(memory: u64) -> [u64; 3] {
        #[cfg(feature = "compress")]
        let compressed = super::compressed::cache_of(memory);
        #[cfg(not(feature = "compress"))]
        let compressed = 0;
        [CacheLimits::bytes_for(memory), super::listing::cache_of(memory), compressed].map(|bytes| bytes as u64)
    }

    /// Sets the memory, in bytes, that the defaults of caches and of listings under way are for, and so these limits: call it before
    /// others. Default: [what this process may use](crate::available_memory). Several handlers share it: give each its part.
    pub fn memory(mut self, bytes: u64) -> Self {
        let bytes_in_all = CacheLimits::bytes_for(bytes);
        self.cache = Cache::new(CacheLimits { bytes_in_all, ..self.cache.limits() });
        self.listings.set_memory(bytes);
        #[cfg(feature = "compress")]
        self.compressed.set_size(super::compressed::cache_of(bytes));
        self
    }

    /// How many of the cached files are kept open. Default: an eighth of the descriptors that the process may have when the handler
    /// is made (`ulimit -n`), and 4,096 at most.
    pub fn open_files(mut self, open: usize) -> Self {
        self.cache = Cache::new(CacheLimits { open, ..self.cache.limits() });
        self
    }

    /// Whether the kernel is asked to tell of changes (inotify(7)), so that what is cached can be used without asking the disk.
    /// Default: yes.
    ///
    /// It is asked for files and folders on file systems that tell of all changes (ext4, XFS, Btrfs, F2FS, tmpfs and
    /// others; not for network file systems, FUSE and overlays), as long as the user has watches left
    /// (`fs.inotify.max_user_watches`). For all others the disk is asked before each use.
    ///
    /// A file system that is mounted over a folder shows within a second, and what is written through a shared mapping within
    /// half a minute; without inotify at the next request, and within a second.
    pub fn inotify(mut self, used: bool) -> Self {
        self.forget();
        self.finder.freshness = Freshness::new(used);
        self
    }

    /// The index files of folders: the first that exists is served. Default: `index.html`, `index.htm`. None: every folder is listed.
    ///
    /// # Errors
    /// If a name is empty or contains a slash.
    pub fn index<S: AsRef<str>>(mut self, names: impl IntoIterator<Item = S>) -> io::Result<Self> {
        self.finder.index = names.into_iter().map(|name| file_name(name.as_ref())).collect::<io::Result<_>>()?;
        self.forget();
        Ok(self)
    }

    /// Whether `about.html` is served at `/about`, if there is no file `about`. Default: no. `/about.html` is then redirected to
    /// `/about`, and `/index.html` to `/`, so that each page has one address. A page goes before a folder of its name.
    pub fn clean_urls(mut self, wanted: bool) -> Self {
        self.finder.clean_urls = wanted;
        self.forget();
        self
    }

    /// The page that is sent, with 200, for paths that lead to no file: of an app that knows its paths itself, in the
    /// browser, and for folders without an index, unless their listing is asked for by its query. It is the same as at its own
    /// path, with its fields, tag and codings. Default: none. It is sent to clients that ask for `text/html`, and for names without
    /// an extension; for others, and for hidden names, there is a 404. If the page is missing, so it is for all.
    ///
    /// # Errors
    /// If the name is not a path in the folder.
    pub fn app_page(mut self, name: &str) -> io::Result<Self> {
        self.app_page = Some(FilePath { bytes: page_name(name)?, trailing_slash: false });
        self.forget();
        Ok(self)
    }

    /// The media type of an extension (`md` or `.md`, in any case), instead of the built-in one.
    /// To a text type without charset `charset=utf-8` is added for files that are UTF-8.
    ///
    /// # Errors
    /// If the extension is empty or longer than 16 bytes, or the type is not a valid field value.
    pub fn mime(mut self, extension: &str, media_type: &str) -> io::Result<Self> {
        let extension = extension.strip_prefix('.').unwrap_or(extension);
        if extension.is_empty() || extension.len() > super::mime::MAX_EXTENSION || extension.contains(['.', '/']) {
            return Err(invalid_input(format!("{extension:?} is no extension")));
        }
        let (_, media_type) = check_field("content-type", media_type)?;
        self.preparer.types.add(extension, media_type);
        self.forget();
        Ok(self)
    }

    /// The media type of files with an unknown name. Default: `text/plain` if the first 4 KiB are text,
    /// `application/octet-stream` otherwise.
    ///
    /// # Errors
    /// If it is not a valid field value.
    pub fn default_type(mut self, media_type: &str) -> io::Result<Self> {
        let (_, media_type) = check_field("content-type", media_type)?;
        self.preparer.types.set_default(media_type);
        self.forget();
        Ok(self)
    }

    /// A field for every response from the folder, errors and redirects too; but `Cache-Control`, a policy for what was found, is for
    /// files and listings only. A second one of the same name is added to the first.
    ///
    /// # Errors
    /// If it is invalid, or derived from each response: `Content-Type`, `Content-Encoding`, `Content-Range`, `ETag`, `Last-Modified`,
    /// `Location`, `Allow`, `Date`, and the fields of framing and of the connection (`Content-Length`, `Transfer-Encoding`,
    /// `Trailer`, `TE`, `Connection`, `Keep-Alive`, `Proxy-Connection`, `Upgrade`).
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Self> {
        let (name, value) = added_field(name, value)?;
        self.preparer.add_field(name, value);
        self.forget();
        Ok(self)
    }

    /// A field for some files, by a pattern as that of [`cache_control`](Self::cache_control): of all patterns that match.
    ///
    /// # Errors
    /// Those of [`header`](Self::header), or if the pattern is empty.
    pub fn header_for(mut self, pattern: &str, name: &str, value: &str) -> io::Result<Self> {
        let (name, value) = added_field(name, value)?;
        if pattern.is_empty() {
            return Err(invalid_input(format!("an empty pattern for {name}")));
        }
        self.preparer.matched.push((pattern.to_owned(), name, value));
        self.forget();
        Ok(self)
    }

    /// The `Cache-Control` of some files. Default: `no-cache`. If several patterns match, the last one applies.
    ///
    /// A pattern that begins with a slash is matched against the path of the file in the folder, and against all files in
    /// that folder if it ends with one; any other against the name. `*` is any run of characters, slashes too:
    /// `/assets/`, `/index.html`, `/blog/*.css`, `*.woff2`.
    ///
    /// # Errors
    /// If the value is not a valid field value, or the pattern is empty.
    pub fn cache_control(mut self, pattern: &str, value: &str) -> io::Result<Self> {
        let (_, value): (_, HeaderValue) = check_field("cache-control", value)?;
        if pattern.is_empty() {
            return Err(invalid_input("an empty pattern for cache-control".to_owned()));
        }
        self.preparer.caching.push((pattern.to_owned(), value));
        self.forget();
        Ok(self)
    }

    /// The file in the folder that is sent with this status if a request fails.
    /// Default: `404.html` for 404. If it is missing, the server's own page is sent.
    ///
    /// Paths fail with 400, 403 and 404; other statuses have no custom page.
    ///
    /// # Errors
    /// If the status is not a 4xx, or the name is not a path in the folder.
    pub fn error_page(mut self, status: u16, name: &str) -> io::Result<Self> {
        let known = StatusCode::from_u16(status).ok().filter(|status| status.is_client_error());
        let status = known.ok_or_else(|| invalid_input(format!("{status} is no status of a failed request")))?;
        self.pages.push((status, page_key(&page_name(name)?)));
        self.forget();
        Ok(self)
    }

    /// The path at which the folder is served, from the root of the server and decoded: with `/static` its `a.css` is
    /// `/static/a.css`. Other paths are a 404. Default: where it is mounted ([`Routes::mount`](crate::Routes::mount)), else the root.
    ///
    /// # Errors
    /// If a segment is `.` or `..`.
    pub fn prefix(mut self, prefix: &str) -> io::Result<Self> {
        let names = segments(prefix)?;
        let path = names.iter().flat_map(|name| [b"/", &name[..]]).collect::<Vec<_>>().concat();
        self.mount = Some(path).filter(|path| !path.is_empty());
        self.forget();
        Ok(self)
    }
}

impl StaticFileHandler {
    /// What is kept was prepared with other settings.
    fn forget(&mut self) {
        self.cache.clear();
        self.missing.clear();
        #[cfg(feature = "compress")]
        self.compressed.clear();
        self.listings.forget();
        self.finder.folders.clear();
    }
}

fn added_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let (name, value) = check_field(name, value)?;
    if DERIVED.contains(&name.as_str()) {
        let why = format!("the field `{name}` cannot be set: the server derives it for each response");
        return Err(invalid_input(why));
    }
    Ok((name, value))
}

fn page_name(name: &str) -> io::Result<Vec<u8>> {
    let path = segments(name)?.join(&b'/');
    if path.is_empty() { Err(invalid_input(format!("{name:?} is no name of a page"))) } else { Ok(path) }
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
