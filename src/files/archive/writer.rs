//! Converts entries and their bytes to an archive of either format. Called by `stream`. It opens and reads nothing.

use std::io;

use flate2::Crc;

use super::deflate::Deflate;
use super::entry::Entry;
use super::zip::{Begun, Sums, Zip};
use super::{Format, tar};

/// A fast level, because a client waits for the compression.
const LEVEL: u32 = 4;
/// Shorter files are always compressed: their entropy is not reliable.
const TELLING: usize = 4096;
/// Data with at least this entropy, in bits per byte, counts as compressed or encrypted. Text has 4 to 6 bits, programs
/// have 6 to 7.
const DENSE: f64 = 7.8;

/// The part of an archive that waits to be read, and the number of bytes before it.
#[derive(Default)]
pub(super) struct Out {
    pub bytes: Vec<u8>,
    read: usize,
    before: u64,
}

impl Out {
    /// Returns the length of the archive so far.
    fn position(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.read
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let waiting = &self.bytes[self.read..];
        let count = buffer.len().min(waiting.len());
        buffer[..count].copy_from_slice(&waiting[..count]);
        self.read += count;
        count
    }

    pub fn forget_read(&mut self) {
        self.before += self.read as u64;
        self.bytes.drain(..self.read);
        self.read = 0;
    }
}

pub(super) enum Writer {
    Zip { zip: Zip, deflate: Deflate, scratch: Vec<u8>, begun: Option<(Begun, Crc, u64)> },
    Tar { gzip: Option<Gzip> },
}

/// A gzip stream (RFC 1952) around a tar.
pub(super) struct Gzip {
    deflate: Deflate,
    crc: Crc,
}

impl Writer {
    pub fn new(format: Format, out: &mut Out) -> Writer {
        match format {
            Format::Zip => {
                let (zip, deflate) = (Zip::default(), Deflate::new(LEVEL));
                Writer::Zip { zip, deflate, scratch: Vec::new(), begun: None }
            }
            Format::Tar => Writer::Tar { gzip: None },
            Format::TarGz => {
                // No name, no time; created on Unix (section 2.3).
                out.bytes.extend([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]);
                Writer::Tar { gzip: Some(Gzip { deflate: Deflate::new(LEVEL), crc: Crc::new() }) }
            }
        }
    }

    /// Adds a folder, or a file with all its bytes.
    pub fn push(&mut self, entry: Entry, bytes: &[u8], out: &mut Out) -> io::Result<()> {
        match self {
            Writer::Zip { zip, deflate, scratch, .. } => {
                scratch.clear();
                let mut crc = Crc::new();
                crc.update(bytes);
                if !bytes.is_empty() && !is_dense(bytes) {
                    deflate.compress(bytes, scratch)?;
                    deflate.end(scratch)?;
                }
                let pays = !scratch.is_empty() && scratch.len() < bytes.len();
                zip.push(entry, out.position(), crc.sum(), bytes, pays.then_some(scratch), &mut out.bytes);
                Ok(())
            }
            Writer::Tar { .. } => {
                self.push_tar(&tar::header_of(&entry), out)?;
                self.push_tar(bytes, out)?;
                self.push_tar(tar::padding(entry.size), out)
            }
        }
    }

    /// Begins a file whose bytes follow in pieces.
    pub fn begin(&mut self, entry: Entry, out: &mut Out) -> io::Result<()> {
        match self {
            Writer::Zip { zip, begun, .. } => {
                let at = out.position();
                let new = zip.begin(entry, at, &mut out.bytes);
                *begun = Some((new, Crc::new(), out.position()));
                Ok(())
            }
            Writer::Tar { .. } => self.push_tar(&tar::header_of(&entry), out),
        }
    }

    pub fn piece(&mut self, bytes: &[u8], out: &mut Out) -> io::Result<()> {
        match self {
            Writer::Zip { deflate, begun: Some((_, crc, _)), .. } => {
                crc.update(bytes);
                push_deflated(deflate, bytes, &mut out.bytes)
            }
            Writer::Zip { .. } => Ok(()), // `begin` comes first
            Writer::Tar { .. } => self.push_tar(bytes, out),
        }
    }

    /// Ends a file, of `size` bytes.
    pub fn end(&mut self, size: u64, out: &mut Out) -> io::Result<()> {
        match self {
            Writer::Zip { zip, deflate, begun, .. } => {
                let Some((begun, crc, start)) = begun.take() else { return Ok(()) };
                deflate.end(&mut out.bytes)?;
                let compressed = out.position() - start;
                zip.end(&begun, Sums { crc: crc.sum(), compressed, size }, &mut out.bytes);
                Ok(())
            }
            Writer::Tar { .. } => self.push_tar(tar::padding(size), out),
        }
    }

    pub fn finish(&mut self, out: &mut Out) -> io::Result<()> {
        if let Writer::Zip { zip, .. } = self {
            zip.finish(out.position(), &mut out.bytes);
            return Ok(());
        }
        self.push_tar(&tar::END, out)?;
        if let Writer::Tar { gzip: Some(gzip) } = self {
            gzip.deflate.end(&mut out.bytes)?;
            out.bytes.extend(gzip.crc.sum().to_le_bytes());
            out.bytes.extend(gzip.crc.amount().to_le_bytes()); // modulo 2^32
        }
        Ok(())
    }

    fn push_tar(&mut self, bytes: &[u8], out: &mut Out) -> io::Result<()> {
        match self {
            Writer::Tar { gzip: Some(gzip) } => {
                gzip.crc.update(bytes);
                push_deflated(&mut gzip.deflate, bytes, &mut out.bytes)
            }
            _ => {
                out.bytes.extend(bytes);
                Ok(())
            }
        }
    }
}

fn push_deflated(deflate: &mut Deflate, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if is_dense(bytes) { deflate.store(bytes, out) } else { deflate.compress(bytes, out) }
}

/// Returns whether bytes look random, as in images, films and archives, so that compression gains nothing. It measures
/// their entropy per byte, which costs a thirtieth of compressing them.
fn is_dense(bytes: &[u8]) -> bool {
    if bytes.len() < TELLING {
        return false;
    }
    // Four tables: with one, increments for equal bytes would depend on each other.
    let mut tables = [[0_u32; 256]; 4];
    for four in bytes.chunks_exact(4) {
        tables.iter_mut().zip(four).for_each(|(table, &byte)| table[usize::from(byte)] += 1);
    }
    let bytes = &bytes[..bytes.len() & !3];
    let counts: Vec<u32> = (0..256).map(|byte| tables.iter().map(|table| table[byte]).sum()).collect();
    let length = bytes.len() as f64;
    let bits = |&count: &u32| f64::from(count) * (length / f64::from(count)).log2();
    counts.iter().filter(|&&count| count > 0).map(bits).sum::<f64>() >= DENSE * length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_data_is_recognized() {
        let mut state = 1_u64;
        let mut noise = |bits: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8 >> (8 - bits)
        };
        for (bits, expected) in [(8, true), (7, false), (1, false)] {
            let bytes: Vec<u8> = (0..20_000).map(|_| noise(bits)).collect();
            assert_eq!(is_dense(&bytes), expected, "{bits} bits per byte");
            assert!(!is_dense(&bytes[..1000]), "too few bytes to measure");
        }
    }
}
