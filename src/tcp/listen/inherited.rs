//! Sockets that this process inherited: as a descriptor with a known number, or from systemd.
//!
//! The number of a descriptor does not show whether other code uses it. So a descriptor is taken over only once, and
//! only if it is a socket of the expected kind (a listening socket, or one for datagrams). Taking over needs unsafe
//! code, which is in `service_binding` and not in this crate.

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::{Mutex, PoisonError};

use rustix::net::{SocketType, sockopt};
use service_binding::{Binding, Listener};

use super::super::sys;
use super::invalid;

/// Descriptors that were taken over before: their numbers may have been reused.
static TAKEN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// The first descriptor of systemd (`SD_LISTEN_FDS_START`).
const FIRST: u32 = 3;
const STDIN: u32 = 0;
const OUTPUT: [u32; 2] = [1, 2];

/// The kind of socket that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Listens,
    Datagrams,
}

impl Kind {
    fn is_of(self, socket: impl AsFd) -> bool {
        match self {
            Kind::Listens => sys::is_listening(socket).unwrap_or(false),
            Kind::Datagrams => sockopt::socket_type(socket) == Ok(SocketType::DGRAM),
        }
    }

    fn refused(self) -> io::Error {
        invalid(match self {
            Kind::Listens => "this descriptor is not a listening socket",
            Kind::Datagrams => "this descriptor is not a socket for datagrams",
        })
    }
}

/// Takes over the socket with this number.
pub fn descriptor(number: u32, kind: Kind) -> io::Result<OwnedFd> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&number) {
        return Err(invalid("this descriptor was taken over before"));
    }
    let what = sys::metadata_of_descriptor(number);
    let what = what.map_err(|err| match err.kind() {
        ErrorKind::NotFound => io::Error::new(ErrorKind::NotFound, "there is no such descriptor"),
        _ => err,
    })?;
    if !what.file_type().is_socket() || OUTPUT.contains(&number) {
        return Err(kind.refused());
    }
    let socket = if number == STDIN { of_stdin(kind)? } else { of_number(number, kind)? };
    taken.insert(number);
    Ok(socket)
}

/// Takes over stdin, and replaces it with a file whose reads return the end. If it were closed, the next opened file
/// would get its number.
fn of_stdin(kind: Kind) -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    if !kind.is_of(&stdin) {
        return Err(kind.refused());
    }
    let socket = stdin.as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

fn of_number(number: u32, kind: Kind) -> io::Result<OwnedFd> {
    let number = i32::try_from(number).map_err(|_| invalid("there is no such descriptor"))?;
    let socket: OwnedFd = match Listener::try_from(Binding::FileDescriptor(number))? {
        Listener::Unix(socket) => socket.into(), // the crate's name for a socket of any kind
        Listener::Tcp(socket) => socket.into(),
        Listener::NamedPipe(_) => return Err(kind.refused()),
    };
    if !kind.is_of(&socket) {
        let _ = socket.into_raw_fd(); // the owner keeps the descriptor
        return Err(kind.refused());
    }
    Ok(socket)
}

/// Returns the sockets that systemd passed, in its order: all, or those with this name (sd_listen_fds(3)).
///
/// The environment variables stay, because other threads may be reading the environment. Children ignore them, because
/// they contain the number of this process. The descriptors are closed in children.
pub fn of_systemd(name: Option<&str>, kind: Kind) -> io::Result<Vec<OwnedFd>> {
    let nothing = |why: String| Err(io::Error::new(ErrorKind::NotFound, why));
    let Ok(count) = env::var("LISTEN_FDS") else {
        return nothing("no sockets were handed over: LISTEN_FDS is not set".to_owned());
    };
    let this = std::process::id();
    match env::var("LISTEN_PID").as_deref() {
        Ok(meant) if !meant.is_empty() && meant.parse() != Ok(this) => {
            return nothing(format!("no sockets were handed over to process {this}: LISTEN_PID is {meant:?}"));
        }
        _ => {} // not set by a parent that does not know the number of its child
    }
    let count = count.parse::<u32>().ok().filter(|count| *count < 4096);
    let count = count.ok_or_else(|| invalid("the variable LISTEN_FDS is not a number"))?;
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let wanted: Vec<u32> = (FIRST..FIRST + count)
        .filter(|_| {
            let found = names.next();
            name.is_none() || found == name
        })
        .collect();
    if wanted.is_empty() {
        return nothing("no such socket was handed over".to_owned());
    }
    wanted
        .into_iter()
        .map(|number| descriptor(number, kind).map_err(|err| super::about(&format!("fd:{number}"), &err)))
        .collect()
}
