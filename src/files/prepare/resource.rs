//! A file that is prepared, and its content. Made by `prepare`, cached and sent by `handler`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::codings::ContentCoding;
use super::super::rights::{Read, Rights};
use super::super::stat::FileStat;
use super::super::text::Beginning;
use crate::{Fields, SharedBytes};

/// How much of a file is read to determine its type, in bytes, if it is not read into memory anyway.
pub const LOOK: usize = 4096;

/// The approximate memory of the fields of a file, in bytes.
pub const FIELDS_SIZE: usize = 1024;

/// A file as it can be sent: uncompressed, and in other content codings. It is cached for all requests, so access needs
/// the rights of a request ([`Resource::of`]).
#[derive(Debug)]
pub struct Resource {
    /// The path below the folder.
    pub(super) path: Vec<u8>,
    /// The first is uncompressed.
    pub(super) variants: Vec<Variant>,
    /// The codings of the other variants, in their order, followed by the coding in which the file can be compressed.
    pub(super) codings: Vec<ContentCoding>,
    #[cfg(feature = "compress")]
    pub(super) compressible: Option<Box<Source>>,
}

/// A file that a request can read.
pub struct Readable<'r> {
    resource: &'r Resource,
    rights: &'r Rights,
}

/// The file of a resource that may be compressed.
#[cfg(feature = "compress")]
#[derive(Debug)]
pub struct Source {
    pub path: Vec<u8>,
    pub stat: FileStat,
}

#[derive(Debug)]
pub struct Variant {
    pub fields: Arc<Fields>,
    pub content: FileContent,
}

pub enum FileContent {
    InMemory(SharedBytes),
    OnDisk(Arc<File>, u64),
}

impl Resource {
    /// Returns the file for a request with these rights. `None` if it must not be read.
    #[inline]
    pub fn of<'r>(&'r self, rights: &'r Rights) -> Option<Readable<'r>> {
        rights.grant::<Read>(&self.path).map(|_| Readable { resource: self, rights })
    }

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

impl FileContent {
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            FileContent::InMemory(bytes) => Some((**bytes).as_ref()),
            FileContent::OnDisk(..) => None,
        }
    }

    pub fn length(&self) -> u64 {
        match self {
            FileContent::InMemory(bytes) => (**bytes).as_ref().len() as u64,
            FileContent::OnDisk(_, length) => *length,
        }
    }

    /// Returns the content in memory, or the content of `buffer`. A read error is ignored here, because sending the
    /// file will fail again.
    pub fn beginning<'a>(&'a self, buffer: &'a mut [u8; LOOK]) -> Beginning<'a> {
        match self {
            FileContent::InMemory(bytes) => Beginning { bytes: (**bytes).as_ref(), is_all: true },
            FileContent::OnDisk(file, length) => {
                let looked_at = read_up_to(file, buffer).unwrap_or_default();
                Beginning { bytes: &buffer[..looked_at], is_all: looked_at as u64 >= *length }
            }
        }
    }
}

impl fmt::Debug for FileContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileContent::InMemory(bytes) => write!(f, "InMemory({} bytes)", (**bytes).as_ref().len()),
            FileContent::OnDisk(_, length) => write!(f, "OnDisk({length} bytes)"),
        }
    }
}

/// Reads small files into memory. If a file is written during the read, its times show that at the next request.
pub fn read(file: File, stat: FileStat, held: usize) -> io::Result<FileContent> {
    match is_held(stat, held) {
        true => Ok(FileContent::InMemory(Arc::new(read_whole(&file, stat)?))),
        false => Ok(FileContent::OnDisk(Arc::new(file), stat.size)),
    }
}

/// Returns whether a file is small enough to be read into memory.
pub fn is_held(stat: FileStat, held: usize) -> bool {
    stat.size <= held as u64
}

pub fn read_whole(file: &File, stat: FileStat) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; stat.size as usize];
    let length = read_up_to(file, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
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
