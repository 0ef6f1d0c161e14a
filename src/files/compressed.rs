//! Text that is compressed by gzip once it is asked for so, and kept. Called by `handler`, for files without a `.gz` beside
//! them.
//!
//! What is kept stands by its file's path and is of one content: that which has the tag of the file as it was found for this
//! request. So an edit is never answered with old bytes, and nothing else needs to be asked. A tag that is made of times
//! tells nothing of writes through a shared mapping: a large file is read anew after half a minute, and compared by its hash.
//!
//! Nobody waits: while a file is being compressed, or as many are as may be, others get it as it is.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};
use xxhash_rust::xxh3::xxh3_128;

use super::cache::{Cache, CacheLimits};
use super::codings::ContentCoding;
use super::prepare::{FIELDS_SIZE, FileContent, Readable, Source, Variant, content_tag};
use super::slots::Slots;
use super::stat::{Identity, stat_of};
use crate::{Fields, available_memory};

/// The sizes of files that are compressed unless set.
pub(super) const SIZES: RangeInclusive<u64> = 1 << 10..=4 << 20;
/// How many files, and bytes of all of them, are kept unless set.
const FILES: usize = 8192;
const BYTES: u64 = 32 << 20;
/// The level: see `docs/files.md` for what others cost and gain.
const LEVEL: u32 = 6;
/// How long it is trusted that a large file is what its times say.
const TRUST: Duration = Duration::from_secs(30);

/// What is compressed, and kept so.
#[derive(Debug)]
pub(super) struct Compressed {
    kept: Cache<Kept>,
    slots: Slots,
    /// The paths of files that are being compressed.
    in_hand: Mutex<HashSet<Vec<u8>>>,
}

/// A file, compressed.
#[derive(Debug)]
struct Kept {
    /// The content that it was made of.
    tag: HeaderValue,
    identity: Identity,
    hash: u128,
    read: Instant,
    /// The file's fields when these were made.
    made_from: Arc<Fields>,
    /// `None`: it would not become smaller.
    packed: Option<(Arc<Vec<u8>>, Variant)>,
}

/// The right to compress a file, given back when dropped.
struct InHand<'a>(&'a Compressed, &'a [u8]);

impl Default for Compressed {
    fn default() -> Compressed {
        Compressed {
            kept: Cache::new(limits(cache_of(available_memory()))),
            slots: Slots::new((num_cpus::get() / 2).clamp(1, 4)),
            in_hand: Mutex::default(),
        }
    }
}

/// What is kept for this much memory.
pub(super) fn cache_of(memory: u64) -> usize {
    (memory / 64).min(BYTES) as usize
}

/// Without shards: one large file may take most of it.
fn limits(bytes: usize) -> CacheLimits {
    CacheLimits { files: FILES, bytes_each: bytes, bytes_in_all: bytes, open: 0 }
}

impl Compressed {
    pub fn set_size(&mut self, bytes: usize) {
        self.kept = Cache::new(limits(bytes));
    }

    pub fn set_slots(&mut self, number: usize) {
        self.slots = Slots::new(number);
    }

    pub fn clear(&self) {
        self.kept.clear();
    }

    /// What `send` makes of a file in gzip. `None`: it is sent as it is.
    pub fn of<T>(&self, resource: &Readable<'_>, send: impl Fn(&Variant) -> T) -> Option<T> {
        let source = resource.compressible()?;
        let plain = resource.identity();
        // Without a tag it was changed so recently that its times can't tell of another change.
        let tag = plain.fields.get(ETAG.as_str())?;
        let known = self.kept.get(&source.path);
        let known = known.filter(|kept| kept.tag == tag && kept.identity == source.stat.identity());
        let is_trusted = |kept: &Kept| matches!(plain.content, FileContent::InMemory(_)) || kept.read.elapsed() < TRUST;
        let kept = match known.filter(|kept| is_trusted(kept)) {
            Some(kept) if Arc::ptr_eq(&kept.made_from, &plain.fields) => kept,
            Some(kept) => self.put(source, kept.for_fields(tag, &plain.fields, kept.read)),
            None => self.make(source, plain, tag)?,
        };
        kept.packed.as_ref().map(|(_, variant)| send(variant))
    }

    /// Compress it, unless somebody does, or as many do as may. `None` too if it changes meanwhile.
    fn make(&self, source: &Source, plain: &Variant, tag: &HeaderValue) -> Option<Arc<Kept>> {
        let _slot = self.slots.take()?;
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
        let same = self.kept.get(&source.path).filter(|kept| kept.hash == hash && kept.identity == identity);
        if let Some(same) = same {
            return Some(self.put(source, same.for_fields(tag, &plain.fields, read)));
        }
        let packed = gzip(bytes).ok().filter(|packed| packed.len() < bytes.len() - bytes.len() / 16).map(Arc::new);
        Some(self.put(source, Kept::new(tag, &plain.fields, packed, (identity, hash, read))))
    }

    fn put(&self, source: &Source, kept: Kept) -> Arc<Kept> {
        let length = kept.packed.as_ref().map_or(0, |(bytes, _)| bytes.len());
        let kept = Arc::new(kept);
        self.kept.put(&source.path, Arc::clone(&kept), (FIELDS_SIZE + length, 0));
        kept
    }
}

impl Kept {
    fn new(
        tag: &HeaderValue,
        fields: &Arc<Fields>,
        packed: Option<Arc<Vec<u8>>>,
        (identity, hash, read): (Identity, u128, Instant),
    ) -> Kept {
        let packed = packed.map(|bytes| {
            let fields = Arc::new(coded_fields(fields, &bytes));
            (Arc::clone(&bytes), Variant { fields, content: FileContent::InMemory(bytes) })
        });
        Kept { tag: tag.clone(), identity, hash, read, made_from: Arc::clone(fields), packed }
    }

    /// The same bytes, with what is now told of their file.
    fn for_fields(&self, tag: &HeaderValue, fields: &Arc<Fields>, read: Instant) -> Kept {
        let bytes = self.packed.as_ref().map(|(bytes, _)| Arc::clone(bytes));
        Kept::new(tag, fields, bytes, (self.identity, self.hash, read))
    }
}

impl<'a> InHand<'a> {
    fn take(all: &'a Compressed, path: &'a [u8]) -> Option<InHand<'a>> {
        let mut in_hand = all.in_hand.lock().unwrap_or_else(PoisonError::into_inner);
        in_hand.insert(path.to_vec()).then(|| InHand(all, path)) // made only then: it gives the right back
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.in_hand.lock().unwrap_or_else(PoisonError::into_inner).remove(self.1);
    }
}

/// The fields of a file, but for the coding and a tag of its own: a hash of these very bytes, so that parts of what two
/// versions of this program make are never joined. And without the date, which would name two rows of bytes.
fn coded_fields(plain: &Fields, bytes: &[u8]) -> Fields {
    let mut fields = HeaderMap::new();
    for (name, value) in plain.iter().filter(|(name, _)| **name != ETAG && **name != LAST_MODIFIED) {
        fields.append(name.clone(), value.clone());
    }
    fields.insert(CONTENT_ENCODING, HeaderValue::from_static(ContentCoding::Gzip.name()));
    let fields = Fields::from(&fields);
    match content_tag(bytes, ContentCoding::Gzip) {
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
