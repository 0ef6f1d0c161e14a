//! Page 11: the path of a request, parsed once, and a file below a folder.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};

use crate::head::Rejection;

/// A decoded path. No name in it is empty, `.` or `..`, begins with a dot, or has a slash or a NUL.
pub struct UrlPath {
    pub names: Vec<String>,
    pub is_folder: bool, // whether the path ended with a slash
}

/// `%41` is A. `None`: not two hexadecimal digits, or not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}

impl UrlPath {
    /// Splits the path first, and then decodes each name: a decoded slash is part of a name, not a separator.
    pub fn parse(target: &str) -> Result<Self, Rejection> {
        let path = target.split('?').next().unwrap_or_default();
        let names = path.split('/').filter(|name| !name.is_empty()).map(decode).collect::<Option<Vec<_>>>();
        let names = names.ok_or((400, "the path cannot be decoded\n"))?;
        if names.iter().any(|name| name.starts_with('.') || name.contains(['/', '\0'])) {
            return Err((404, "not found\n"));
        }
        Ok(Self { names, is_folder: path.ends_with('/') })
    }
}

/// A folder whose files are served.
pub struct Root(OwnedFd);

impl Root {
    pub fn new(folder: &str) -> io::Result<Self> {
        Ok(Self(open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// Opens a file below this folder. The kernel follows no `..` and no link out of it, in the same step in which it opens.
    pub fn open(&self, path: &UrlPath) -> io::Result<File> {
        let mut below = path.names.join("/");
        if path.is_folder {
            below += if below.is_empty() { "index.html" } else { "/index.html" };
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC; // NONBLOCK: opening a named pipe would wait
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(self.0.as_fd(), below, flags, Mode::empty(), resolve)?.into())
    }
}
