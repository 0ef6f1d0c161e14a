//! The records of a zip (APPNOTE 6.3.10) that is written as a stream. Pure. Called by `writer`.
//!
//! The checksum and lengths of an entry come before its bytes if these are in memory. Otherwise they follow the bytes
//! (4.3.9). These bytes are then deflated, because deflated data marks its own end. Names are UTF-8. Only records that
//! need 64 bits use them (4.5.3): old programs can read the others.

use super::entry::Entry;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;
/// Checksum and lengths follow the bytes; the name is UTF-8 (4.4.4).
const SUMS_FOLLOW: u16 = 1 << 3;
const UTF_8: u16 = 1 << 11;
/// Version 2.0 has folders and deflate, 4.5 has 64 bits (4.4.3).
const VERSION: u16 = 20;
const VERSION_64: u16 = 45;
/// Created on Unix, so that modes are read (4.4.2).
const MADE_ON_UNIX: u16 = 3 << 8;
/// Files of at least this size use 64 bits: deflated data can be a little longer than the original.
const LARGE: u64 = 0xf000_0000;
const MAX_32: u64 = u32::MAX as u64;
const MAX_16: u64 = u16::MAX as u64;

/// The data of the entries so far.
#[derive(Debug, Default)]
pub(super) struct Zip {
    directory: Vec<u8>,
    entries: u64,
}

/// Checksum and lengths, known once the bytes are written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub crc: u32,
    pub compressed: u64,
    pub size: u64,
}

#[derive(Debug)]
pub(super) struct Begun {
    entry: Entry,
    /// The position of its header.
    at: u64,
    method: u16,
    sums_follow: bool,
}

impl Begun {
    fn is_large(&self) -> bool {
        self.entry.size >= LARGE
    }

    fn flags(&self) -> u16 {
        let utf_8 = if self.entry.path.is_ascii() { 0 } else { UTF_8 };
        utf_8 | if self.sums_follow { SUMS_FOLLOW } else { 0 }
    }

    /// Appends the common part of local and central records: version, flags, method, time and date, checksum and
    /// lengths.
    fn push_common(&self, version: u16, sums: Sums, name: &[u8], extra: &[u8], out: &mut Vec<u8>) {
        let (time, date) = dos(self.entry.modified);
        [version, self.flags(), self.method, time, date].iter().for_each(|word| out.extend(word.to_le_bytes()));
        [sums.crc, low(sums.compressed), low(sums.size)].iter().for_each(|word| out.extend(word.to_le_bytes()));
        [name.len(), extra.len()].iter().for_each(|&length| out.extend((length as u16).to_le_bytes()));
    }

    fn push_local(&self, sums: Sums, out: &mut Vec<u8>) {
        let mut extra = Vec::new();
        let (mut version, mut sums) = (VERSION, sums);
        if self.is_large() {
            extra.extend([1, 0, 16, 0]);
            [sums.size, sums.compressed].iter().for_each(|size| extra.extend(size.to_le_bytes()));
            (version, sums.size, sums.compressed) = (VERSION_64, u64::MAX, u64::MAX);
        }
        push_timestamp(self.entry.modified, &mut extra);
        let name = self.entry.full_path();
        out.extend(b"PK\x03\x04");
        self.push_common(version, sums, &name, &extra, out);
        out.extend(name);
        out.extend(extra);
    }

    /// Appends the record in the central directory (4.3.12).
    fn push_central(&self, sums: Sums, out: &mut Vec<u8>) {
        let wide: Vec<u64> = [sums.size, sums.compressed, self.at].into_iter().filter(|&word| word >= MAX_32).collect();
        let mut extra = Vec::new();
        if !wide.is_empty() {
            extra.extend([1, 0, 8 * wide.len() as u8, 0]);
            wide.iter().for_each(|word| extra.extend(word.to_le_bytes()));
        }
        let version = if wide.is_empty() && !self.is_large() { VERSION } else { VERSION_64 };
        push_timestamp(self.entry.modified, &mut extra);
        let name = self.entry.full_path();
        let (kind, dos_kind) = if self.entry.is_folder { (0o04_0000, 0x10) } else { (0o10_0000, 0) };
        out.extend(b"PK\x01\x02");
        out.extend((MADE_ON_UNIX | version).to_le_bytes());
        self.push_common(version, sums, &name, &extra, out);
        out.extend([0; 6]); // no comment, the first disk, no internal attributes
        out.extend(((kind | self.entry.mode()) << 16 | dos_kind).to_le_bytes());
        out.extend(low(self.at).to_le_bytes());
        out.extend(name);
        out.extend(extra);
    }
}

impl Zip {
    /// Appends an entry whose bytes are in memory, `deflated` or not. `at`: the position in the archive.
    pub fn push(&mut self, entry: Entry, at: u64, crc: u32, bytes: &[u8], deflated: Option<&[u8]>, out: &mut Vec<u8>) {
        let (method, data) = deflated.map_or((STORED, bytes), |deflated| (DEFLATED, deflated));
        let sums = Sums { crc, compressed: data.len() as u64, size: bytes.len() as u64 };
        let begun = Begun { entry, at, method, sums_follow: false };
        begun.push_local(sums, out);
        out.extend(data);
        self.add(&begun, sums);
    }

    /// Appends the header of an entry whose deflated bytes follow.
    pub fn begin(&mut self, entry: Entry, at: u64, out: &mut Vec<u8>) -> Begun {
        let begun = Begun { entry, at, method: DEFLATED, sums_follow: true };
        begun.push_local(Sums::default(), out);
        begun
    }

    /// Ends an entry: appends its checksum and lengths (4.3.9).
    pub fn end(&mut self, begun: &Begun, sums: Sums, out: &mut Vec<u8>) {
        out.extend(b"PK\x07\x08");
        out.extend(sums.crc.to_le_bytes());
        for size in [sums.compressed, sums.size] {
            match begun.is_large() {
                true => out.extend(size.to_le_bytes()),
                false => out.extend(low(size).to_le_bytes()),
            }
        }
        self.add(begun, sums);
    }

    /// Appends the central directory and the end (4.3.14 to 4.3.16).
    pub fn finish(&mut self, at: u64, out: &mut Vec<u8>) {
        let length = self.directory.len() as u64;
        out.append(&mut self.directory);
        if self.entries >= MAX_16 || length >= MAX_32 || at >= MAX_32 {
            out.extend(b"PK\x06\x06");
            out.extend(44_u64.to_le_bytes()); // the length of the rest
            [MADE_ON_UNIX | VERSION_64, VERSION_64].iter().for_each(|word| out.extend(word.to_le_bytes()));
            out.extend([0; 8]); // the first disk, twice
            [self.entries, self.entries, length, at].iter().for_each(|word| out.extend(word.to_le_bytes()));
            out.extend(b"PK\x06\x07\0\0\0\0");
            out.extend((at + length).to_le_bytes());
            out.extend(1_u32.to_le_bytes());
        }
        let entries = self.entries.min(MAX_16) as u16;
        out.extend(b"PK\x05\x06\0\0\0\0");
        [entries, entries].iter().for_each(|count| out.extend(count.to_le_bytes()));
        [low(length), low(at)].iter().for_each(|word| out.extend(word.to_le_bytes()));
        out.extend([0; 2]); // no comment
    }

    fn add(&mut self, begun: &Begun, sums: Sums) {
        begun.push_central(sums, &mut self.directory);
        self.entries += 1;
    }
}

/// Returns the value for a field of 32 bits. A longer value is in the extra field.
fn low(word: u64) -> u32 {
    word.min(MAX_32) as u32
}

/// Appends mtime in UTC, in seconds, as Info-ZIP does.
fn push_timestamp(modified: i64, extra: &mut Vec<u8>) {
    if let Ok(seconds) = i32::try_from(modified) {
        extra.extend(b"UT\x05\0\x01");
        extra.extend(seconds.to_le_bytes());
    }
}

/// Returns the time and date of MS-DOS, in UTC: from 1980 to 2107, in steps of two seconds (4.4.6).
fn dos(modified: i64) -> (u16, u16) {
    const FIRST: i64 = 315_532_800; // 1980-01-01 00:00:00
    const LAST: i64 = 4_354_819_198; // 2107-12-31 23:59:58
    let modified = modified.clamp(FIRST, LAST);
    let (year, month, day) = super::super::stat::civil(modified.div_euclid(86_400));
    let second = modified.rem_euclid(86_400);
    let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    let date = (year - 1980) << 9 | month << 5 | day;
    (time as u16, date as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_ms_dos() {
        for (seconds, expected) in [
            (i64::MIN, (0, 0x21)),
            (0, (0, 0x21)),
            (315_532_800, (0, 0x21)),
            (1_795_162_637, (8 << 11 | 17 << 5 | 8, 46 << 9 | 11 << 5 | 20)),
            (i64::MAX, (23 << 11 | 59 << 5 | 29, 127 << 9 | 12 << 5 | 31)),
        ] {
            assert_eq!(dos(seconds), expected, "{seconds}");
        }
    }

    /// Tests the records alone, because writing that many bytes would take too long.
    #[test]
    fn sizes_beyond_32_bits_use_zip64() {
        let entry = Entry { path: b"a".into(), is_folder: false, is_executable: false, size: LARGE, modified: 0 };
        let (mut zip, mut out) = (Zip::default(), Vec::new());
        let begun = zip.begin(entry, 5 << 32, &mut out);
        assert_eq!(out[4], 45, "the version needed to extract");
        assert_eq!(out[18..26], [0xff; 8], "the sizes are in the extra field");
        out.clear();
        zip.end(&begun, Sums { crc: 7, compressed: 6 << 32, size: 7 << 32 }, &mut out);
        assert_eq!(out.len(), 24, "the descriptor has two 64-bit sizes");
        let central = &zip.directory;
        assert_eq!(central[47..51], [1, 0, 24, 0], "the extra field has both sizes and the offset");
        assert_eq!(central[51..59], (7_u64 << 32).to_le_bytes());
        assert_eq!(central[67..75], (5_u64 << 32).to_le_bytes());
        out.clear();
        zip.finish(9 << 32, &mut out);
        assert!(memchr::memmem::find(&out, b"PK\x06\x06").is_some());
    }
}
