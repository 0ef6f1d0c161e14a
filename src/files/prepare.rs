//! Prepares a file to be sent: its fields and content, and those of its sidecars. Called by `handler`;
//! it reads small files, and does not depend on the request.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::cache::{CacheLimits, CacheUsage, Cached};
use super::codings::ContentCoding;
use super::find::FoundFile;
use super::mime::MediaTypes;
use super::open::{self, FileStat, FileTime, TIMESTAMP_TICK};
use super::path;
use super::text::Beginning;
use crate::{ETag, Fields, SharedBytes};

/// Larger files are opened for each request: a deleted file frees its space, and opening
/// is cheap compared with sending it.
const MAX_KEPT_OPEN: u64 = 1 << 20;

/// How much of a file is looked at to tell its type, in bytes, if it is not read into memory anyway.
const LOOK: usize = 4096;

/// The approximate memory that the fields of a file occupy, in bytes.
const FIELDS_SIZE: usize = 1024;

/// The settings that determine the fields of files.
#[derive(Debug, Default)]
pub(super) struct Preparer {
    pub types: MediaTypes,
    /// Fields that the user added to every response.
    pub added: HeaderMap,
    /// `Cache-Control` by path pattern: the last match applies.
    pub caching: Vec<(String, HeaderValue)>,
}

/// A file as it can be sent: unencoded, and in other content codings.
#[derive(Debug)]
pub(super) struct Resource {
    /// The first is unencoded.
    variants: Vec<Variant>,
    /// The codings of the others, in the same order.
    pub codings: Vec<ContentCoding>,
    version: FileVersion,
}

/// The version of a file, and whether an earlier version that was sent had the same modification second: then
/// Last-Modified cannot tell them apart, and is not sent.
#[derive(Clone, Copy, Debug)]
struct FileVersion {
    modified: FileTime,
    size: u64,
    same_second: bool,
}

impl FileVersion {
    fn of(stat: FileStat, before: Option<&Resource>) -> FileVersion {
        let (modified, size) = (stat.modified, stat.size);
        let same_second = before.is_some_and(|Resource { version: before, .. }| {
            let other = before.modified != modified || before.size != size;
            before.modified.seconds == modified.seconds && (other || before.same_second)
        });
        FileVersion { modified, size, same_second }
    }
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

/// What a file is prepared for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// As the response to a request for it.
    Requested,
    /// As an error page, which has no validators.
    ErrorPage,
}

/// A prepared file, and whether it may be cached.
pub(super) struct Prepared {
    pub cached: Arc<Cached<Resource>>,
    pub cacheable: bool,
}

impl Resource {
    pub fn identity(&self) -> &Variant {
        &self.variants[0]
    }

    /// The variant in one of its codings.
    pub fn coded(&self, coding: ContentCoding) -> &Variant {
        let place = self.codings.iter().position(|&known| known == coding);
        &self.variants[place.map_or(0, |place| place + 1)]
    }
}

impl Preparer {
    /// `now` was read before the look-up; `before`: the version last sent under the same name, if known.
    pub fn prepare(
        &self,
        found: FoundFile,
        purpose: Purpose,
        before: Option<&Resource>,
        limits: CacheLimits,
        polled: Option<Instant>,
        now: SystemTime,
    ) -> io::Result<Prepared> {
        let FoundFile { path, file, stat, sidecars, watched } = found;
        let version = FileVersion::of(stat, before);
        let codings: Vec<ContentCoding> = sidecars.iter().map(|sidecar| sidecar.coding).collect();
        let files = std::iter::once((None, file, stat))
            .chain(sidecars.into_iter().map(|sidecar| (Some(sidecar.coding), sidecar.file, sidecar.stat)));
        let mut fields = self.common_fields(&path, !codings.is_empty());
        let mut cacheable = !watched.iter().any(|watched| watched.stat.is_recent(now));
        let mut usage = CacheUsage { files: 1 + codings.len(), open: 0, bytes: path.len() };
        let mut variants = Vec::with_capacity(1 + codings.len());
        for (coding, file, stat) in files {
            let (content, unchanged) = read(file, stat, limits.bytes_each)?;
            if coding.is_none() {
                let mut buffer = [0; LOOK];
                fields.insert(CONTENT_TYPE, self.types.of(path::name(&path), || content.beginning(&mut buffer)));
            }
            let has_validators = unchanged && !stat.is_recent(now) && purpose == Purpose::Requested;
            cacheable &= unchanged && (matches!(content, FileContent::InMemory(_)) || stat.size <= MAX_KEPT_OPEN);
            match &content {
                FileContent::InMemory(bytes) => usage.bytes += FIELDS_SIZE + (**bytes).as_ref().len(),
                FileContent::OnDisk(..) => usage.open += 1,
            }
            variants.push(Variant {
                fields: Arc::new(variant_fields(&fields, coding, stat, has_validators.then_some(version), now)),
                content,
            });
        }
        let cached = Arc::new(Cached::new(Resource { variants, codings, version }, watched, usage, polled));
        Ok(Prepared { cached, cacheable })
    }

    /// The fields of responses that are not files.
    pub fn default_fields(&self) -> HeaderMap {
        let mut fields = self.added.clone();
        fields.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
        fields.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache"));
        fields
    }

    fn common_fields(&self, path: &[u8], negotiated: bool) -> HeaderMap {
        let mut fields = self.default_fields();
        if let Some((_, value)) = self.caching.iter().rev().find(|(pattern, _)| pattern_matches(pattern, path)) {
            fields.insert(CACHE_CONTROL, value.clone());
        }
        if negotiated {
            fields.append(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        fields
    }
}

/// The fields of one variant. `version`: that of the unencoded file; `None`: a change might not be noticed, so
/// there are no validators.
fn variant_fields(
    common: &HeaderMap,
    coding: Option<ContentCoding>,
    stat: FileStat,
    version: Option<FileVersion>,
    now: SystemTime,
) -> Fields {
    let mut fields = common.clone();
    if let Some(coding) = coding {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    let fields = Fields::from(&fields);
    let Some(version) = version else { return fields };
    let date = if coding.is_none() { last_modified(stat, version, now) } else { sidecar_last_modified(stat, now) };
    let fields = match date.and_then(FileTime::to_system_time) {
        Some(time) => fields.with_last_modified(time),
        None => fields,
    };
    match ETag::strong(etag(stat, coding)) {
        Ok(tag) => fields.with_etag(tag),
        Err(_) => fields, // unreachable: hex digits, a dash and a coding
    }
}

/// Last-Modified, unless another version was sent with the same second: clients that
/// compare dates alone would take one for the other.
fn last_modified(stat: FileStat, version: FileVersion, now: SystemTime) -> Option<FileTime> {
    (!version.same_second).then(|| modification_time(stat, now))
}

/// The same for a sidecar, whose earlier versions are unknown: sent once its second is over.
fn sidecar_last_modified(stat: FileStat, now: SystemTime) -> Option<FileTime> {
    // The file system's clock may be one tick behind: a change at the start of a second may get the previous one.
    let behind = FileTime::from(now.checked_sub(TIMESTAMP_TICK).unwrap_or(SystemTime::UNIX_EPOCH));
    Some(modification_time(stat, now)).filter(|time| time.seconds < behind.seconds)
}

/// The mtime, or the ctime if the mtime lies in the future: Last-Modified must not (RFC 9110, section 8.8.2.1).
fn modification_time(stat: FileStat, now: SystemTime) -> FileTime {
    if stat.modified > FileTime::from(now) { stat.changed } else { stat.modified }
}

/// The same on every machine with a copy: it contains neither inode nor device.
fn etag(stat: FileStat, coding: Option<ContentCoding>) -> String {
    let FileTime { seconds, nanos } = stat.modified;
    let tag = format!("{:x}-{:x}{nanos:08x}", stat.size, seconds.cast_unsigned());
    match coding {
        Some(coding) => format!("{tag}-{}", coding.name()),
        None => tag,
    }
}

/// Read small files into memory. Also whether the file was unchanged while it was read.
fn read(file: File, stat: FileStat, max_bytes: usize) -> io::Result<(FileContent, bool)> {
    if stat.size > max_bytes as u64 {
        return Ok((FileContent::OnDisk(Arc::new(file), stat.size), true));
    }
    let mut bytes = vec![0; stat.size as usize];
    let length = read_up_to(&file, &mut bytes)?;
    let after = open::stat_of(&file)?;
    bytes.truncate(length);
    let unchanged = after == stat && length as u64 == stat.size;
    Ok((FileContent::InMemory(Arc::new(bytes)), unchanged))
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

/// Whether a path matches a pattern. `*` is any run of bytes, slashes too. A pattern that begins with a slash is
/// matched against the whole path, and against all files of a folder if it ends with one; any other against the name.
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
    /// What is in memory, or else what `buffer` holds. If that cannot be read, neither can the rest: it will be noticed then.
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

/// A user's field, if it is valid.
pub(super) fn check_field(name: &str, value: &str) -> io::Result<(HeaderName, HeaderValue)> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
    let name: HeaderName = name.parse().map_err(|_| invalid(format!("{name:?} is no name of a field")))?;
    let value = value.parse().map_err(|_| invalid(format!("{value:?} is no value for the field `{name}`")))?;
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
        assert!(!glob_matches(format!("{}b", "*a".repeat(1000)).as_bytes(), long.as_bytes()), "and soon");
    }
}
