//! Text that is compressed with gzip on its first request, and cached. Called by `handler`, for files without a `.gz`
//! beside them.
//!
//! The key of an entry is the path of its file. It is valid for one content, identified by the file's entity tag at the
//! time of the request. So a request after an edit never gets old bytes, and nothing else needs to be checked. Writes
//! through a shared mapping do not change a tag made of times, so a large file is read again after half a minute, and
//! compared by its hash.
//!
//! No request waits: while another request compresses the file, or if the limit is reached, the response is not
//! compressed.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use xxhash_rust::xxh3::xxh3_128;

use super::cache::{Cache, CacheLimits};
use super::codings::ContentCoding;
use super::prepare::{FIELDS_SIZE, FileContent, Readable, Source, Variant, compressed_tag};
use super::stat::{Identity, stat_of};
use crate::cores::cores;
use crate::mutex::lock;
use crate::{Fields, available_memory};

/// The default sizes of files that are compressed.
pub(super) const SIZES: RangeInclusive<u64> = 1 << 10..=4 << 20;
/// The default number of files, and bytes of all of them.
const FILES: usize = 8192;
const BYTES: u64 = 32 << 20;
/// The level: see `docs/files.md` for the cost and gain of other levels.
const LEVEL: u32 = 6;
/// For how long unchanged times of a large file prove that its content is unchanged.
const TRUST: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Compressed {
    kept: Cache<CompressedFile>,
    pub at_once: usize,
    /// The paths of files that are being compressed.
    in_hand: Mutex<HashSet<Vec<u8>>>,
}

#[derive(Debug)]
struct CompressedFile {
    /// The tag of the content from which it was made. Its fields depend on nothing else, until settings change.
    tag: HeaderValue,
    identity: Identity,
    hash: u128,
    read: Instant,
    /// `None` if compression saves too little.
    packed: Option<Arc<Variant>>,
}

/// The right to compress a file, returned when dropped.
struct InHand<'a>(&'a Compressed, &'a [u8]);

impl Default for Compressed {
    fn default() -> Compressed {
        Compressed {
            kept: Cache::undivided(limits(cache_of(available_memory()))),
            at_once: (cores() / 2).clamp(1, 4),
            in_hand: Mutex::default(),
        }
    }
}

/// Returns the size of the cache for this much memory.
pub(super) fn cache_of(memory: u64) -> usize {
    (memory / 64).min(BYTES) as usize
}

/// Without shards, so that one large file can take most of the space.
fn limits(bytes: usize) -> CacheLimits {
    CacheLimits { files: FILES, bytes_each: bytes, bytes_in_all: bytes, open: 0 }
}

impl Compressed {
    pub fn set_size(&mut self, bytes: usize) {
        self.kept = Cache::undivided(limits(bytes));
    }

    pub fn clear(&self) {
        self.kept.clear();
    }

    /// Returns the response for a file in gzip, or `None` if it is sent uncompressed.
    pub fn of<T>(&self, resource: &Readable<'_>, send: impl Fn(&Variant) -> T) -> Option<T> {
        let source = resource.compressible()?;
        let plain = resource.identity();
        // A file without a tag was changed so recently that its times would not show another change.
        let tag = plain.fields.get(ETAG.as_str())?;
        let is_current = |kept: &Arc<CompressedFile>| {
            let is_trusted = matches!(plain.content, FileContent::InMemory(_)) || kept.read.elapsed() < TRUST;
            kept.tag == tag && kept.identity == source.stat.identity() && is_trusted
        };
        let kept = match self.kept.get(&source.path).filter(is_current) {
            Some(kept) => kept,
            None => self.make(source, plain, tag)?,
        };
        kept.packed.as_deref().map(send)
    }

    /// Compresses the file, unless another request does, or the limit is reached. Returns `None` in these cases, and if
    /// the file changes in the meantime.
    fn make(&self, source: &Source, plain: &Variant, tag: &HeaderValue) -> Option<Arc<CompressedFile>> {
        let _in_hand = InHand::take(self, &source.path)?;
        let from_disk;
        let bytes = match &plain.content {
            FileContent::InMemory(bytes) => (**bytes).as_ref(),
            FileContent::OnDisk(file, length) => {
                from_disk = read(file, *length).ok()?;
                if stat_of(&**file) != Ok(source.stat) {
                    return None;
                }
                &from_disk[..]
            }
        };
        let (hash, read, identity) = (xxh3_128(bytes), Instant::now(), source.stat.identity());
        let packed = match self.kept.get(&source.path) {
            Some(same) if same.hash == hash && same.identity == identity => same.packed.clone(),
            _ => gzip(bytes).ok().filter(|packed| packed.len() < bytes.len() - bytes.len() / 16).map(|packed| {
                let fields = Arc::new(coded_fields(&plain.fields, hash, &packed));
                Arc::new(Variant { fields, content: FileContent::InMemory(Arc::new(packed)) })
            }),
        };
        let length = packed.as_ref().map_or(0, |packed| packed.content.length() as usize);
        let kept = Arc::new(CompressedFile { tag: tag.clone(), identity, hash, read, packed });
        self.kept.put(&source.path, Arc::clone(&kept), (FIELDS_SIZE + length, 0));
        Some(kept)
    }
}

impl<'a> InHand<'a> {
    fn take(all: &'a Compressed, path: &'a [u8]) -> Option<InHand<'a>> {
        let mut in_hand = lock(&all.in_hand);
        // created only if the path is free, because dropping it removes the path
        (in_hand.len() < all.at_once && in_hand.insert(path.to_vec())).then(|| InHand(all, path))
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        lock(&self.0.in_hand).remove(self.1);
    }
}

/// Returns the fields of a compressed file with this hash. Its tag also has a hash of the compressed bytes, so that a
/// client never joins parts from two versions of this program. `Last-Modified` is left out, because it would be the
/// same for both byte sequences.
fn coded_fields(plain: &Fields, hash: u128, bytes: &[u8]) -> Fields {
    let mut fields = HeaderMap::new();
    for (name, value) in plain.iter().filter(|(name, _)| **name != ETAG && **name != LAST_MODIFIED) {
        fields.append(name.clone(), value.clone());
    }
    fields.insert(CONTENT_ENCODING, HeaderValue::from_static(ContentCoding::Gzip.name()));
    let fields = Fields::from(&fields);
    match compressed_tag(hash, bytes) {
        Some(tag) => fields.with_etag(tag),
        None => fields,
    }
}

pub(super) fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(LEVEL));
    encoder.write_all(bytes)?;
    let mut packed = encoder.finish()?;
    packed.shrink_to_fit();
    Ok(packed)
}

fn read(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
