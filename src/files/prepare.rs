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

mod pattern; // patterns of paths
mod resource; // the result

use std::fs::File;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
#[cfg(feature = "compress")]
use memchr::memmem;
#[cfg(feature = "compress")]
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh3::xxh3_128;

use super::codings::ContentCoding;
use super::find::FoundFile;
use super::fresh::Evidence;
use super::mime::MediaTypes;
use super::path;
use super::stat::{FileStat, FileTime, stat_of};
use crate::grammar::has_member;
use crate::{ETag, Error, Fields};
#[cfg(feature = "compress")]
pub(super) use resource::{FIELDS_SIZE, Source};
pub(super) use resource::{FileContent, Readable, Resource, Variant};
use resource::{LOOK, is_held, read, read_whole};

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

/// Returns whether these fields forbid changes of the content (RFC 9111, section 5.2.2.6).
pub(super) fn is_fixed(fields: &HeaderMap) -> bool {
    has_member(fields, CACHE_CONTROL.as_str(), b"no-transform")
}

impl Preparer {
    /// Prepares a file that was looked up after `now`. Files of up to `held` bytes are read into memory.
    pub fn prepare(&self, found: FoundFile, held: usize, now: SystemTime) -> io::Result<(Resource, Evidence)> {
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
            let (fields, dated_after) = with_validators(&fields, coding, stat, &content, now);
            dated_after.inspect(|&wait| basis.ends_after(wait));
            variants.push(Variant { fields: Arc::new(fields), content });
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

    /// Returns the fields of a file without a coding.
    pub fn fields_of(
        &self,
        path: &[u8],
        file: File,
        stat: FileStat,
        held: usize,
        now: SystemTime,
    ) -> io::Result<Fields> {
        let content = read(file, stat, held)?;
        let mut fields = self.common_fields(path);
        self.add_type(&mut fields, self.media_type(path, &content));
        Ok(with_validators(&fields, None, stat, &content, now).0)
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

    /// Returns the current tag of a file: that without a coding, or that of a compressed form, if one of these
    /// conditions names it.
    pub fn tag(&self, file: &File, held: usize, now: SystemTime, conditions: &[&[u8]]) -> Option<ETag> {
        let stat = stat_of(file).ok()?;
        let bytes = if is_held(stat, held) { Some(read_whole(file, stat).ok()?) } else { None };
        #[cfg(feature = "compress")]
        if self.compressed.as_ref().is_some_and(|sizes| sizes.contains(&stat.size))
            && conditions.iter().any(|line| memmem::find(line, b"-gzip\"").is_some())
        {
            let hash = match &bytes {
                Some(bytes) => xxh3_128(bytes),
                None => xxh3_128(&read_whole(file, stat).ok()?),
            };
            if let Some(tag) = conditions.iter().find_map(|line| compressed_tag_in(line, hash)) {
                return Some(tag);
            }
        }
        #[cfg(not(feature = "compress"))]
        let _ = conditions;
        ETag::strong(etag(bytes.as_deref(), stat, None, now)?).ok()
    }

    /// Prepares a page that is sent for a missing path. It has no validators, and no cache policy, which is for
    /// existing files.
    pub fn prepare_page(&self, found: FoundFile, held: usize) -> io::Result<(Resource, Evidence)> {
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

    pub fn add_field(&mut self, name: HeaderName, value: HeaderValue) {
        self.added.append(name, value);
        self.default_fields.take();
        self.not_found.take();
    }

    /// Returns the error for missing files. It is the most frequent error, so its page is created once.
    pub fn not_found(&self) -> Error {
        self.not_found.get_or_init(|| Error::no_such_name().with_headers(self.default_fields())).clone()
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
        if let Some((_, value)) = self.caching.iter().rev().find(|(pattern, _)| pattern::matches(pattern, path)) {
            fields.insert(CACHE_CONTROL, value.clone());
        }
        for (_, name, value) in self.matched.iter().filter(|(pattern, ..)| pattern::matches(pattern, path)) {
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

/// Returns the fields of one variant, with the validators that can be sent `now`, and how long to wait until its date
/// can also be sent.
fn with_validators(
    common: &HeaderMap,
    coding: Option<ContentCoding>,
    stat: FileStat,
    content: &FileContent,
    now: SystemTime,
) -> (Fields, Option<Duration>) {
    let mut fields = common.clone();
    if let Some(coding) = coding {
        fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    let (mut fields, mut dated_after) = (Fields::from(&fields), None);
    if coding.is_none() {
        let modified = stat.times().date(now);
        match (stat.times().until_dated(modified, now), modified.to_system_time()) {
            (Some(wait), _) => dated_after = Some(wait),
            (None, Some(time)) => fields = fields.with_last_modified(time),
            (None, None) => {}
        }
    }
    let fields = match etag(content.in_memory(), stat, coding, now).map(ETag::strong) {
        Some(Ok(tag)) => fields.with_etag(tag),
        _ => fields,
    };
    (fields, dated_after)
}

/// Returns the tag described at the head of this module; the content of a small file is in memory. `None`: the file is
/// large, and changed so recently that its times would not show another change.
fn etag(content: Option<&[u8]>, stat: FileStat, coding: Option<ContentCoding>, now: SystemTime) -> Option<String> {
    let tag = match content {
        Some(bytes) => format!("{:032x}", xxh3_128(bytes)),
        None if stat.is_recent(now) => return None,
        None => format!("{:x}-{}-{}", stat.size, hex(stat.modified), hex(stat.changed)),
    };
    Some(match coding {
        Some(coding) => format!("{tag}-{}", coding.name()),
        None => tag,
    })
}

/// Returns the tag of content with this hash that was compressed into these bytes. It begins with the hash, so that a
/// change can depend on it: see [`Preparer::tag`].
#[cfg(feature = "compress")]
pub(super) fn compressed_tag(hash: u128, packed: &[u8]) -> Option<ETag> {
    ETag::strong(format!("{hash:032x}-{:016x}-gzip", xxh3_64(packed))).ok()
}

/// Returns the tag of a compressed form of content with this hash, if this list of tags contains one. The compressed
/// bytes may be those of another version of this program.
#[cfg(feature = "compress")]
fn compressed_tag_in(list: &[u8], hash: u128) -> Option<ETag> {
    let begin = format!("\"{hash:032x}-");
    let is_strong = |at: &usize| !list[..*at].ends_with(b"/");
    let opaque = |at: usize| list[at + 1..].split(|byte| *byte == b'"').next();
    let found = memmem::find_iter(list, begin.as_bytes()).filter(is_strong).filter_map(opaque);
    let tags = found.filter(|tag| tag.ends_with(b"-gzip") && tag.len() == 32 + 1 + 16 + 5);
    tags.filter_map(|tag| ETag::strong(std::str::from_utf8(tag).ok()?).ok()).next()
}

fn hex(time: FileTime) -> String {
    format!("{:x}{:08x}", time.seconds.cast_unsigned(), time.nanos)
}
