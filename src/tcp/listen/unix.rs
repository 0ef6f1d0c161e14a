//! Listening at a Unix socket: its file, its permissions, and files left behind by an earlier server.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

use super::super::listener::{Listener, SocketFile};
use super::super::sys::abstract_address;
use super::{Settings, listen};

/// How often to retry while another server is being bound in the same folder, which takes microseconds. Polled, because
/// flock(2) has no timeout.
const WAITS_FOR_THE_FOLDER: usize = 100;
const WAIT_FOR_THE_FOLDER: Duration = Duration::from_millis(10);

/// Listens at this path, or at an abstract name.
pub fn open(path: &Path, settings: &Settings) -> io::Result<Listener> {
    // Between bind and listen, another server's file looks like a file that was left behind.
    let _folder = (!is_abstract(path)).then(|| lock_folder(path));
    let (socket, file) = bind(path, Type::STREAM, settings)?;
    let listener = listen(socket.into(), settings.backlog())?.made_here();
    Ok(match file {
        Some(file) => listener.with_file(file),
        None => listener,
    })
}

pub fn open_datagrams(path: &Path, settings: &Settings) -> io::Result<(Socket, Option<SocketFile>)> {
    let _folder = (!is_abstract(path)).then(|| lock_folder(path));
    bind(path, Type::DGRAM, settings)
}

/// Binds a socket. The caller holds the lock of the folder, so that no other server binds a file in it.
fn bind(path: &Path, kind: Type, settings: &Settings) -> io::Result<(Socket, Option<SocketFile>)> {
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    let address = address(path)?;
    if is_abstract(path) {
        socket.bind(&address)?;
        return Ok((socket, None));
    }
    match socket.bind(&address) {
        Err(err) if err.kind() == ErrorKind::AddrInUse => {
            remove_stale(path, kind, &address)?;
            socket.bind(&address)?;
        }
        done => done?,
    }
    let file = SocketFile::at(path)?;
    if let Some(mode) = settings.mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?; // before a client can connect
    }
    Ok((socket, Some(file)))
}

/// Returns whether this is an abstract address, without a file (unix(7)).
pub fn is_abstract(path: &Path) -> bool {
    path.as_os_str().as_bytes().starts_with(b"@")
}

fn address(path: &Path) -> io::Result<SockAddr> {
    let name = path.as_os_str().as_bytes();
    if is_abstract(path) {
        return abstract_address(&name[1..]);
    }
    if name.contains(&0) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path contains a NUL"));
    }
    let too_long =
        |_| io::Error::new(ErrorKind::InvalidInput, format!("the path must be shorter; it has {} bytes", name.len()));
    SockAddr::unix(path).map_err(too_long)
}

/// Removes the file of a socket at which nothing listens, left behind by an earlier server. Any other file stays.
fn remove_stale(path: &Path, kind: Type, address: &SockAddr) -> io::Result<()> {
    let in_use = |why: &str| Err(io::Error::new(ErrorKind::AddrInUse, why));
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return in_use("there is a file that is not a socket"),
        Ok(_) => {}
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()), // removed a moment ago
        Err(err) => return Err(err),
    }
    // a socket of another kind rejects the connection, and counts as in use
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?; // then connect fails with EAGAIN if the queue is full
    match probe.connect(address) {
        Err(err) if err.kind() == ErrorKind::ConnectionRefused => match fs::remove_file(path) {
            Err(err) if err.kind() == ErrorKind::PermissionDenied => {
                Err(io::Error::new(err.kind(), "no permission to remove the socket that an earlier server left there"))
            }
            Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        },
        Err(err) if err.kind() == ErrorKind::PermissionDenied => {
            Err(io::Error::new(err.kind(), "there is a socket, and no permission to check whether it is in use"))
        }
        _ => in_use("address already in use"),
    }
}

/// Locks a folder, so that no other server that also locks it replaces files in it at the same time. If it cannot be
/// locked, that risk remains.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).ok()?;
    for _ in 0..WAITS_FOR_THE_FOLDER {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Some(folder),
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(WAIT_FOR_THE_FOLDER),
            Err(_) => return None,
        }
    }
    None
}
