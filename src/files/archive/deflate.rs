//! A deflate stream (RFC 1951) of compressed and stored bytes. Called by `writer`.
//!
//! Data that is already compressed is stored, which costs little. The stream still marks its own end, so a zip that is
//! read as a stream needs no length in advance.

use std::io;

use flate2::{Compress, Compression, FlushCompress};

/// The longest stored block (section 3.2.4).
const MAX_STORED: usize = 65_535;
const ROOM: usize = 32 << 10;

/// Compresses one stream after another.
pub(super) struct Deflate {
    compress: Compress,
    /// Whether the compressor holds output that it has not returned yet.
    pending: bool,
    /// The compressor's output. Not a vector, whose spare capacity would be cleared for each call.
    room: Box<[u8]>,
}

impl Deflate {
    /// `level`: from 1, the fastest, to 9.
    pub fn new(level: u32) -> Deflate {
        Deflate { compress: Compress::new(Compression::new(level), false), pending: false, room: vec![0; ROOM].into() }
    }

    pub fn compress(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            let (read, _) = self.run(bytes, FlushCompress::None, out)?;
            bytes = &bytes[read..];
            self.pending = true;
        }
        Ok(())
    }

    pub fn store(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        // Align to a byte. Later data must not refer to bytes before it: its distances would not count the stored
        // bytes.
        self.flush(FlushCompress::Full, out)?;
        for block in bytes.chunks(MAX_STORED) {
            push_stored(block, false, out);
        }
        Ok(())
    }

    /// Ends the stream, and begins the next.
    pub fn end(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self.pending {
            true => self.flush(FlushCompress::Finish, out)?,
            false => push_stored(b"", true, out),
        }
        self.compress.reset();
        Ok(())
    }

    fn flush(&mut self, how: FlushCompress, out: &mut Vec<u8>) -> io::Result<()> {
        while self.pending {
            let (_, written) = self.run(b"", how, out)?;
            self.pending = written == self.room.len(); // room was left, so everything is written
        }
        Ok(())
    }

    /// Calls the compressor once. Returns how many bytes it has read and written.
    fn run(&mut self, bytes: &[u8], how: FlushCompress, out: &mut Vec<u8>) -> io::Result<(usize, usize)> {
        let before = (self.compress.total_in(), self.compress.total_out());
        self.compress.compress(bytes, &mut self.room, how).map_err(io::Error::other)?;
        let read = (self.compress.total_in() - before.0) as usize;
        let written = (self.compress.total_out() - before.1) as usize;
        out.extend_from_slice(&self.room[..written]);
        Ok((read, written))
    }
}

fn push_stored(block: &[u8], last: bool, out: &mut Vec<u8>) {
    let length = block.len() as u16; // at most 65,535
    out.push(u8::from(last)); // BFINAL, and BTYPE 00; the rest of the byte is skipped
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(block);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::DeflateDecoder;

    use super::*;

    fn noise(length: usize, mut state: u64) -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// Any sequence of compressed and stored data decompresses to the original bytes, even if the compressor could
    /// refer to bytes before stored data.
    #[test]
    fn compressed_and_stored_data_can_be_mixed() {
        let text = b"all work and no play makes Jack a dull boy\n".repeat(3000);
        let mut deflate = Deflate::new(6);
        for seed in 0..40_u64 {
            let (mut out, mut expected) = (Vec::new(), Vec::<u8>::new());
            for (at, byte) in noise((seed % 9) as usize, seed).into_iter().enumerate() {
                let length = [0, 1, 100, 65_535, 65_536, 120_000][usize::from(byte) % 6];
                let stored = noise(length, seed + at as u64);
                match byte & 0x40 {
                    0 => deflate.compress(&text[..length], &mut out).unwrap(),
                    _ => deflate.store(&stored, &mut out).unwrap(),
                }
                expected.extend(if byte & 0x40 == 0 { &text[..length] } else { &stored });
            }
            deflate.end(&mut out).unwrap();
            let mut found = Vec::new();
            let mut decoder = DeflateDecoder::new(&out[..]);
            decoder.read_to_end(&mut found).unwrap();
            assert!(found == expected, "row {seed}: {} bytes, not {}", found.len(), expected.len());
            assert_eq!(decoder.total_in(), out.len() as u64, "row {seed}: bytes follow the end of the stream");
        }
    }
}
