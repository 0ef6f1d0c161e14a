//! An archive in progress: created step by step, as its client reads. Called by the worker that sends it, with a
//! permit.
//!
//! A step reads one entry, or 64 KiB of a large file. Memory holds these bytes, the compressor (about 270 KB), the
//! names in the open folders and, for a zip, its central directory.
//!
//! The archive contains each file as it was at one moment, or ends early. Small files are read whole, and once more if
//! they change during the read. Changes of a large file are detected by size, mtime and ctime.

use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::SystemTime;

use super::super::stat::stat_of;
use super::Format;
use super::entry::Entry;
use super::report::{Report, shown};
use super::tree::{ArchiveRequest, OpenFile, Step, Tree};
use super::writer::{Out, Writer};
use crate::slots::Slot;

/// Files up to this size are read whole.
const SMALL: u64 = PIECE as u64;
const PIECE: usize = 64 << 10;
/// How often a changing file is read again.
const TRIES: usize = 8;
/// A read ends when this many bytes wait, or this much work is done.
const ENOUGH: usize = 32 << 10;
const MOST_WORK: usize = 256 << 10;
/// Opening an entry counts as reading this many bytes.
const ENTRY_WORK: usize = 4 << 10;

pub(super) struct ArchiveStream {
    tree: Tree,
    writer: Writer,
    out: Out,
    report: Report,
    state: State,
    buffer: Vec<u8>,
    /// The folder's path, for the log. `name` is its name in the archive, and `asked` is the time of the request.
    folder: String,
    name: Vec<u8>,
    asked: SystemTime,
    _slot: Slot,
}

enum State {
    Walking,
    /// A large file, and how many of its bytes have been read.
    Reading(OpenFile, u64),
    Ended,
}

impl ArchiveStream {
    pub fn new(asked: ArchiveRequest, format: Format, now: SystemTime, slot: Slot) -> ArchiveStream {
        let mut out = Out::default();
        let writer = Writer::new(format, &mut out);
        let folder = shown(&asked.path);
        let name = asked.name.clone();
        ArchiveStream {
            tree: Tree::new(asked),
            writer,
            out,
            report: Report::default(),
            state: State::Walking,
            buffer: Vec::new(),
            folder,
            name,
            asked: now,
            _slot: slot,
        }
    }

    /// Adds an entry or a piece, and returns the work done.
    fn step(&mut self) -> io::Result<usize> {
        match std::mem::replace(&mut self.state, State::Walking) {
            State::Walking => self.walk(),
            State::Reading(file, at) => self.read_piece(file, at),
            State::Ended => {
                self.state = State::Ended;
                Ok(0)
            }
        }
    }

    fn walk(&mut self) -> io::Result<usize> {
        match self.tree.next(&mut self.report)? {
            Step::Skipped => {}
            Step::Folder(entry) => self.writer.push(entry, b"", &mut self.out)?,
            Step::File(entry, file) if entry.size <= SMALL => {
                read_whole(&file, &mut self.buffer)?;
                let entry = Entry { size: self.buffer.len() as u64, ..entry };
                self.writer.push(entry, &self.buffer, &mut self.out)?;
                return Ok(ENTRY_WORK + self.buffer.len());
            }
            Step::File(entry, file) => {
                self.writer.begin(entry, &mut self.out)?;
                self.state = State::Reading(file, 0);
            }
            Step::End => self.finish()?,
        }
        Ok(ENTRY_WORK)
    }

    fn read_piece(&mut self, file: OpenFile, at: u64) -> io::Result<usize> {
        let wanted = (file.stat.size - at).min(PIECE as u64) as usize;
        self.buffer.resize(PIECE, 0);
        let count = match file.file.read_at(&mut self.buffer[..wanted], at) {
            Ok(0) => return Err(said(&file, "became shorter while it was read")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(said(&file, &error.to_string())),
        };
        self.writer.piece(&self.buffer[..count], &mut self.out)?;
        let at = at + count as u64;
        if at < file.stat.size {
            self.state = State::Reading(file, at);
        } else if stat_of(&file.file)? != file.stat {
            return Err(said(&file, "changed while it was read"));
        } else {
            self.writer.end(at, &mut self.out)?;
        }
        Ok(count)
    }

    /// Adds the report of missing and renamed entries, next to the folder.
    fn finish(&mut self) -> io::Result<()> {
        let modified = self.asked.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        for (name, text) in self.report.files() {
            let is_taken = name.as_bytes().eq_ignore_ascii_case(&self.name);
            let path = [if is_taken { "_" } else { "" }, name].concat().into_bytes();
            let size = text.len() as u64;
            let entry = Entry { path, is_folder: false, is_executable: false, size, modified };
            self.writer.push(entry, text.as_bytes(), &mut self.out)?;
        }
        if self.report.missing() > 0 {
            let count = self.report.missing();
            log::warn!(target: "modest::files", "/{}: the archive is incomplete: see its MISSING.txt, with {count} line{}", self.folder, if count == 1 { "" } else { "s" });
        }
        self.state = State::Ended;
        self.writer.finish(&mut self.out)
    }
}

impl Read for ArchiveStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut work = 0;
        while !matches!(self.state, State::Ended)
            && self.out.waiting() < ENOUGH
            && (work < MOST_WORK || self.out.waiting() == 0)
        {
            self.out.forget_read();
            work += self.step()?;
        }
        Ok(self.out.read(buffer))
    }
}

/// Reads a small file as it is at one moment.
fn read_whole(file: &OpenFile, buffer: &mut Vec<u8>) -> io::Result<()> {
    for _ in 0..TRIES {
        // The kernel sets mtime when a `write` begins, so the times below would not show a write in progress.
        await_writes(file);
        let before = stat_of(&file.file)?;
        if before.size > SMALL {
            break;
        }
        buffer.resize(before.size as usize, 0);
        let read = file.file.read_exact_at(buffer, 0);
        if matches!(&read, Err(error) if error.kind() != io::ErrorKind::UnexpectedEof) {
            return read.map_err(|error| said(file, &error.to_string()));
        }
        // Two changes within a tick of the clock have the same time. Then the file is read twice.
        let same_again = || {
            await_writes(file);
            let mut again = vec![0; buffer.len()];
            file.file.read_exact_at(&mut again, 0).is_ok() && again == *buffer
        };
        if read.is_ok() && stat_of(&file.file)? == before && (!before.is_recent(SystemTime::now()) || same_again()) {
            return Ok(());
        }
    }
    Err(said(file, "changed each time it was read"))
}

/// Waits until a `write` in progress has ended. This works on file systems (ext4, btrfs, tmpfs) where finding a hole
/// takes the lock of writers. On others it does nothing.
fn await_writes(file: &OpenFile) {
    let _ = rustix::fs::seek(&file.file, rustix::fs::SeekFrom::Hole(0)); // ENXIO for an empty file
}

fn said(file: &OpenFile, what: &str) -> io::Error {
    io::Error::other(format!("/{} {what}", shown(&file.path)))
}

#[cfg(test)]
mod tests {
    use super::super::super::rights::Rights;
    use super::super::names::Rule;
    use super::*;
    use crate::Request;
    use crate::files::open::Root;
    use crate::slots::Slots;

    /// At most a few pieces are in memory, for a file of any length that is read in any pieces.
    #[test]
    fn held_memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let noise = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
        std::fs::write(folder.path().join("noise"), (0..4_000_000).map(noise).collect::<Vec<u8>>()).unwrap();
        std::fs::write(folder.path().join("zeros"), vec![0; 4_000_000]).unwrap();
        for format in [Format::Zip, Format::Tar, Format::TarGz] {
            for size in [1000, 8192, 65_528] {
                let asked = ArchiveRequest {
                    root: Root::open(folder.path()).unwrap(),
                    hidden: false,
                    path: Vec::new(),
                    name: b"a".to_vec(),
                    rule: Rule::Unix,
                    rights: Rights::of(&Request::get("/"), || b""),
                    depth: 2,
                    entries: 10,
                };
                let slot = Slots::new(1).take().unwrap();
                let mut stream = ArchiveStream::new(asked, format, SystemTime::now(), slot);
                let (mut buffer, mut all) = (vec![0; size], 0);
                loop {
                    let count = stream.read(&mut buffer).unwrap();
                    assert!(
                        stream.out.bytes.capacity() < 300_000,
                        "{format:?}, {size}: {}",
                        stream.out.bytes.capacity()
                    );
                    all += count;
                    if count == 0 {
                        break;
                    }
                }
                assert!(all > 3_000_000, "{format:?}: {all} bytes");
            }
        }
    }
}
