//! Prepares a file to be sent: its fields and content, and those of its sidecars. Called by `handler`. Small files are
//! read into memory. The result does not depend on the request.
//!
//! # Validators
//! A tag is strong: it never identifies two contents. The tag of a file in memory is a hash of its content (XXH3, 128
//! bits), so it is the same on every machine with a copy. The tag of a larger file is made from size, mtime and ctime,
//! which nothing can set back. It differs between machines, so behind a balancer a download that is resumed on another
//! machine begins again. `Last-Modified` counts seconds. It is sent when no further change can have the same date, and
//! only for the uncompressed file. Sidecars mostly have the date of their file, so the date would identify two contents
//! (RFC 9110, section 8.8.1).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use xxhash_rust::xxh3::xxh3_128;

use super::codings::ContentCoding;
use super::find::FoundFile;
use super::fresh::Basis;
use super::mime::MediaTypes;
use super::path;
use super::rights::{Read, Rights};
use super::stat::{FileStat, FileTime, stat_of};
use super::text::Beginning;
use crate::{ETag, Error, Fields, SharedBytes};

/// How much of a file is read to determine its type, in bytes, if it is not read into memory anyway.
const LOOK: usize = 4096;

/// The approximate memory of the fields of a file, in bytes.
pub(super) const FIELDS_SIZE: usize = 1024;

/// The settings that determine the fields of files.
#[derive(Debug, Default)]
pub(super) struct Preparer {
    pub types: MediaTypes,
    /// Whether files must not act as pages of this server, because other people may have uploaded them.
    pub is_untrusted: bool,
    /// Fields that the user added to every response.
    added: HeaderMap,
    default_fields: OnceLock<HeaderMap>,
    not_found: OnceLock<Error>,
    /// Fields of files by path pattern: all that match.
    pub matched: Vec<(String, HeaderName, HeaderValue)>,
    /// `Cache-Control` by path pattern: the last match applies.
    pub caching: Vec<(String, HeaderValue)>,
    /// Sizes of files that are compressed, in bytes.
    #[cfg(feature = "compress")]
    pub compressed: Option<std::ops::RangeInclusive<u64>>,
}

/// A file as it can be sent: uncompressed, and in other content codings. It is cached for all requests, so access needs
/// the rights of a request ([`Resource::of`]).
#[derive(Debug)]
pub(super) struct Resource {
    /// The path below the folder.
    path: Vec<u8>,
    /// The first is uncompressed.
    variants: Vec<Variant>,
    /// The codings of the other variants, in their order, followed by the coding in which the file can be compressed.
    codings: Vec<ContentCoding>,
    #[cfg(feature = "compress")]
    compressible: Option<Box<Source>>,
}

/// A file that a request can read.
pub(super) struct Readable<'r> {
    resource: &'r Resource,
    rights: &'r Rights,
}

/// The file of a resource that may be compressed.
#[cfg(feature = "compress")]
#[derive(Debug)]
pub(super) struct Source {
    pub path: Vec<u8>,
    pub stat: FileStat,
}

#[derive(Debug)]
pub(super) struct Variant {
    pub fields: Arc<Fields>,
    pub content: FileContent,
}

pub(super) enum FileContent {
    InMemory(SharedBytes),
    OnDisk(Arc<File>, u64),
}

impl Resource {
    /// Returns the file for a request with these rights. `None` if it must not be read.
    #[inline]
    pub fn of<'r>(&'r self, rights: &'r Rights) -> Option<Readable<'r>> {
        rights.grant::<Read>(&self.path).map(|_| Readable { resource: self, rights })
    }
}

impl<'r> Readable<'r> {
    /// Returns whether there are other codings, whether or not this client has the rights to them.
    pub fn is_coded(&self) -> bool {
        !self.resource.codings.is_empty()
    }

    pub fn identity(&self) -> &'r Variant {
        &self.resource.variants[0]
    }

    /// Returns the file's path below the folder, and its length in bytes.
    #[cfg(feature = "markdown")]
    pub fn path_and_length(&self) -> (&'r [u8], u64) {
        (&self.resource.path, self.identity().content.length())
    }

    /// Returns the codings in which the file can be sent, including those of sidecars that can be read.
    pub fn codings(&self) -> impl Iterator<Item = ContentCoding> {
        let may = |coding: ContentCoding| {
            let name = || [&self.resource.path, coding.suffix().as_bytes()].concat();
            !self.rights.are_limited() || self.variant(coding).is_none() || self.rights.grant::<Read>(&name()).is_some()
        };
        self.resource.codings.iter().copied().filter(move |&coding| may(coding))
    }

    /// Returns the sidecar in this coding, or `None` if the file is to be compressed.
    pub fn coded(&self, coding: ContentCoding) -> Option<&'r Variant> {
        self.codings().find(|&known| known == coding).and_then(|coding| self.variant(coding))
    }

    #[cfg(feature = "compress")]
    pub fn compressible(&self) -> Option<&'r Source> {
        self.resource.compressible.as_deref()
    }

    fn variant(&self, coding: ContentCoding) -> Option<&'r Variant> {
        let place = self.resource.codings.iter().position(|&known| known == coding)?;
        self.resource.variants.get(place + 1)
    }
}

/// Returns whether these fields forbid changes of the content (RFC 9111, section 5.2.2.6).
pub(super) fn is_fixed(fields: &HeaderMap) -> bool {
    let wants = |word: &[u8]| word.trim_ascii().eq_ignore_ascii_case(b"no-transform");
    let mut lines = fields.get_all(CACHE_CONTROL).iter();
    lines.any(|line| line.as_bytes().split(|&byte| byte == b',').any(wants))
}

impl Preparer {
    /// Prepares a file that was looked up after `now`. Files of up to `held` bytes are read into memory.
    pub fn prepare(&self, found: FoundFile, held: usize, now: SystemTime) -> io::Result<(Resource, Basis)> {
        let FoundFile { path, file, stat, sidecars, mut basis, .. } = found;
        let mut codings: Vec<ContentCoding> = sidecars.iter().map(|sidecar| sidecar.coding).collect();
        let files = std::iter::once((None, file, stat))
            .chain(sidecars.into_iter().map(|sidecar| (Some(sidecar.coding), sidecar.file, sidecar.stat)));
        let mut fields = self.common_fields(&path);
        let mut compressible = None;
        let mut variants = Vec::with_capacity(1 + codings.len());
        for (coding, file, stat) in files {
            let content = read(file, stat, held)?;
            if coding.is_none() {
                let media_type = self.media_type(&path, &content);
                self.add_type(&mut fields, media_type);
                if !codings.contains(&ContentCoding::Gzip) {
                    compressible = self.compressible(&path, &fields, stat);
                }
                if compressible.is_some() || !codings.is_empty() {
                    fields.append(VARY, HeaderValue::from_static("Accept-Encoding"));
                }
            }
            let fields = Arc::new(with_validators(&fields, coding, stat, &content, now, &mut basis));
            variants.push(Variant { fields, content });
        }
        codings.extend(compressible.as_ref().map(|_| ContentCoding::Gzip));
        let resource = Resource {
            path,
            variants,
            codings,
            #[cfg(feature = "compress")]
            compressible,
        };
        Ok((resource, basis))
    }

    /// Returns the source if the file is to be compressed: text of a suitable size without `no-transform` (RFC 9111,
    /// section 5.2.2.6).
    #[cfg(feature = "compress")]
    fn compressible(&self, path: &[u8], fields: &HeaderMap, stat: FileStat) -> Option<Box<Source>> {
        let sizes = self.compressed.as_ref()?;
        let media_type = fields.get(CONTENT_TYPE)?.to_str().ok()?;
        let is_compressible = sizes.contains(&stat.size) && !is_fixed(fields) && crate::is_compressible(media_type);
        is_compressible.then(|| Box::new(Source { path: path.to_vec(), stat }))
    }

    #[cfg(not(feature = "compress"))]
    fn compressible(&self, _: &[u8], _: &HeaderMap, _: FileStat) -> Option<std::convert::Infallible> {
        None
    }

    /// Returns the current tag of a file without a coding.
    pub fn tag(&self, file: File, held: usize, now: SystemTime) -> Option<ETag> {
        let stat = stat_of(&file).ok()?;
        let tag = etag(&read(file, stat, held).ok()?, stat, None, now)?;
        ETag::strong(tag).ok()
    }

    /// Prepares a page that is sent for a missing path. It has no validators, and no cache policy, which is for
    /// existing files.
    pub fn prepare_page(&self, found: FoundFile, held: usize) -> io::Result<(Resource, Basis)> {
        let FoundFile { path, file, stat, basis, .. } = found;
        let mut fields = self.default_fields();
        let content = read(file, stat, held)?;
        self.add_type(&mut fields, self.media_type(&path, &content));
        let resource = Resource {
            path,
            variants: vec![Variant { fields: Arc::new(Fields::from(&fields)), content }],
            codings: Vec::new(),
            #[cfg(feature = "compress")]
            compressible: None,
        };
        Ok((resource, basis))
    }

    /// Returns the fields of responses that are not files: without the cache policy, which is for existing files.
    pub fn default_fields(&self) -> HeaderMap {
        let make = || {
            let mut fields = self.added_fields();
            fields.insert(CACHE_CONTROL, NO_CACHE);
            fields
        };
        self.default_fields.get_or_init(make).clone()
    }

    /// Adds a field to all responses.
    pub fn add_field(&mut self, name: HeaderName, value: HeaderValue) {
        self.added.append(name, value);
        self.default_fields.take();
        self.not_found.take();
    }

    /// Returns the error for missing files. It is the most frequent error, so its page is created once.
    pub fn not_found(&self) -> Error {
        let make = || self.error(StatusCode::NOT_FOUND, "There is nothing with that name here.");
        self.not_found.get_or_init(make).clone()
    }

    /// Returns an error with the fields of responses that are not files.
    pub fn error(&self, status: StatusCode, message: &str) -> Error {
        Error::new(status, message).with_headers(self.default_fields())
    }

    /// Returns the fields of existing files.
    pub fn added_fields(&self) -> HeaderMap {
        let mut fields = self.added.clone();
        fields.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        fields.entry(CACHE_CONTROL).or_insert(NO_CACHE);
        fields
    }

    fn common_fields(&self, path: &[u8]) -> HeaderMap {
        let mut fields = self.added_fields();
        if let Some((_, value)) = self.caching.iter().rev().find(|(pattern, _)| pattern_matches(pattern, path)) {
            fields.insert(CACHE_CONTROL, value.clone());
        }
        for (_, name, value) in self.matched.iter().filter(|(pattern, ..)| pattern_matches(pattern, path)) {
            fields.append(name, value.clone());
        }
        fields
    }

    /// Adds the media type and, if the file is not trusted, the sandbox policy. A browser enforces all policies: the
    /// operator's policy stays in addition to the sandbox.
    fn add_type(&self, fields: &mut HeaderMap, media_type: HeaderValue) {
        if self.is_untrusted && !is_inert(&media_type) {
            fields.append(CONTENT_SECURITY_POLICY, SANDBOX);
        }
        fields.insert(CONTENT_TYPE, media_type);
    }

    fn media_type(&self, path: &[u8], content: &FileContent) -> HeaderValue {
        let mut buffer = [0; LOOK];
        self.types.of(path::name(path), || content.beginning(&mut buffer))
    }
}

/// Returns whether no browser runs scripts in a file of this type, or shows it as a page. Types that are not listed
/// count as dangerous: some browsers treat `text/xsl`, or a malformed type, as a page. (PDF viewers do not work in a
/// sandbox.)
fn is_inert(media_type: &HeaderValue) -> bool {
    let media_type = media_type.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    let media_type = media_type.to_ascii_lowercase();
    let kinds: [&[u8]; 4] = [b"image/", b"audio/", b"video/", b"font/"];
    match &media_type[..] {
        b"text/plain" | b"application/pdf" | b"application/octet-stream" | b"application/zip" => true,
        other => kinds.iter().any(|kind| other.starts_with(kind)) && !other.ends_with(b"xml"),
    }
}

/// Scripts run, but in an origin of their own: they cannot read or write anything of this origin.
const SANDBOX: HeaderValue = HeaderValue::from_static(
    "sandbox allow-scripts allow-forms allow-popups allow-popups-to-escape-sandbox allow-modals allow-downloads",
);

const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

impl Resource {
    /// Returns the bytes in memory, and the number of open files.
    pub fn held(&self) -> (usize, usize) {
        self.variants.iter().fold((0, 0), |(bytes, open), variant| match &variant.content {
            FileContent::InMemory(content) => (bytes + FIELDS_SIZE + (**content).as_ref().len(), open),
            FileContent::OnDisk(..) => (bytes + FIELDS_SIZE, open + 1),
        })
    }

    /// Returns the length of the longest variant.
    pub fn longest(&self) -> u64 {
        self.variants.iter().map(|variant| variant.content.length()).max().unwrap_or_default()
    }
}

/// Returns the fields of one variant, with the validators that can be sent `now`. The basis ends when more validators
/// can be sent.
fn with_validators(
    common: &HeaderMap,
    coding: Option<ContentCoding>,
    stat: FileStat,
    content: &FileContent,
    now: SystemTime,
    basis: &mut Basis,
) -> Fields {
    let mut fields = common.clone();
    if let Some(coding) = coding {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    let mut fields = Fields::from(&fields);
    if coding.is_none() {
        let modified = stat.times().date(now);
        match (stat.times().until_dated(modified, now), modified.to_system_time()) {
            (Some(wait), _) => basis.ends_after(wait),
            (None, Some(time)) => fields = fields.with_last_modified(time),
            (None, None) => {}
        }
    }
    match etag(content, stat, coding, now).map(ETag::strong) {
        Some(Ok(tag)) => fields.with_etag(tag),
        _ => fields,
    }
}

/// Returns the tag described at the head of this module. `None`: the file is large, and changed so recently that its
/// times would not show another change.
fn etag(content: &FileContent, stat: FileStat, coding: Option<ContentCoding>, now: SystemTime) -> Option<String> {
    let tag = match content {
        FileContent::InMemory(bytes) => format!("{:032x}", xxh3_128((**bytes).as_ref())),
        FileContent::OnDisk(..) if stat.is_recent(now) => return None,
        FileContent::OnDisk(..) => format!("{:x}-{}-{}", stat.size, hex(stat.modified), hex(stat.changed)),
    };
    Some(match coding {
        Some(coding) => format!("{tag}-{}", coding.name()),
        None => tag,
    })
}

/// Returns the tag of compressed content in memory.
#[cfg(feature = "compress")]
pub(super) fn content_tag(bytes: &[u8], coding: ContentCoding) -> Option<ETag> {
    ETag::strong(format!("{:032x}-{}", xxh3_128(bytes), coding.name())).ok()
}

fn hex(time: FileTime) -> String {
    format!("{:x}{:08x}", time.seconds.cast_unsigned(), time.nanos)
}

/// Reads small files into memory. If a file is written during the read, its times show that at the next request.
fn read(file: File, stat: FileStat, held: usize) -> io::Result<FileContent> {
    if stat.size > held as u64 {
        return Ok(FileContent::OnDisk(Arc::new(file), stat.size));
    }
    let mut bytes = vec![0; stat.size as usize];
    let length = read_up_to(&file, &mut bytes)?;
    bytes.truncate(length);
    Ok(FileContent::InMemory(Arc::new(bytes)))
}

fn read_up_to(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read_at(&mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Returns whether a path matches a pattern. `*` is any number of bytes, including slashes. A pattern that begins with
/// a slash is matched against the whole path; if it also ends with a slash, it matches all files of the folder. Any
/// other pattern is matched against the name.
fn pattern_matches(pattern: &str, path: &[u8]) -> bool {
    match pattern.as_bytes() {
        [b'/', pattern @ .., b'/'] => glob_matches(&[pattern, b"/*"].concat(), path),
        b"/" => true,
        [b'/', pattern @ ..] => glob_matches(pattern, path),
        pattern => glob_matches(pattern, path::name(path)),
    }
}

/// `*` matches as little as possible, and more on backtracking.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, taken)) = star {
            (p, t) = (after, taken + 1);
            star = Some((after, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

impl FileContent {
    pub fn length(&self) -> u64 {
        match self {
            FileContent::InMemory(bytes) => (**bytes).as_ref().len() as u64,
            FileContent::OnDisk(_, length) => *length,
        }
    }

    /// Returns the content in memory, or the content of `buffer`. A read error is ignored here, because sending the
    /// file will fail again.
    fn beginning<'a>(&'a self, buffer: &'a mut [u8; LOOK]) -> Beginning<'a> {
        match self {
            FileContent::InMemory(bytes) => Beginning { bytes: (**bytes).as_ref(), is_all: true },
            FileContent::OnDisk(file, length) => {
                let looked_at = read_up_to(file, buffer).unwrap_or_default();
                Beginning { bytes: &buffer[..looked_at], is_all: looked_at as u64 >= *length }
            }
        }
    }
}

impl std::fmt::Debug for FileContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileContent::InMemory(bytes) => write!(f, "InMemory({} bytes)", (**bytes).as_ref().len()),
            FileContent::OnDisk(_, length) => write!(f, "OnDisk({length} bytes)"),
        }
    }
}

/// Checks a field that the user configured.
pub(super) fn check_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let name: HeaderName = name.parse().map_err(|_| invalid(format!("{name:?} is not a valid field name")))?;
    let value = value.parse().map_err(|_| invalid(format!("{value:?} is not a valid value for the field `{name}`")))?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("*.css", "style.css", true),
            ("*.css", "a/style.css", true),
            ("*.css", "style.css.gz", false),
            ("*.css", "a.css/b", false),
            ("index.html", "a/index.html", true),
            ("/index.html", "index.html", true),
            ("/index.html", "a/index.html", false),
            ("/assets/", "assets/a.js", true),
            ("/assets/", "assets/deep/a.js", true),
            ("/assets/", "assets", false),
            ("/assets/", "assets2/a.js", false),
            ("/assets/", "b/assets/a.js", false),
            ("/assets/*.js", "assets/deep/a.js", true),
            ("/a*c*e", "abcde", true),
            ("/a*c*e", "abcd", false),
            ("/a*c*e", "acxxcxexe", true),
            ("*-????", "a-1234", false),
            ("/", "anything/at/all", true),
            ("*", "anything", true),
            ("*.*", "a.b", true),
            ("*.*", "ab", false),
            ("", "a", false),
            ("**", "a", true),
        ] {
            assert_eq!(pattern_matches(pattern, path.as_bytes()), expected, "{pattern} and {path}");
        }
        let long = "a".repeat(4000);
        assert!(
            !glob_matches(format!("{}b", "*a".repeat(1000)).as_bytes(), long.as_bytes()),
            "a pattern with 1,000 stars is rejected quickly"
        );
    }
}
