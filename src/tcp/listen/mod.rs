//! Where a server listens, and how: what [`TcpServer::bind`](crate::TcpServer::bind) takes, and the sockets it makes of
//! it. Used by `server`.

mod datagrams; // sockets for datagrams
mod inet; // IP addresses and names of hosts
mod inherited; // sockets that somebody else has made
mod parse; // addresses as they are written
mod unix; // Unix sockets, and their files

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};
use socket2::SockRef;

pub(crate) use datagrams::DatagramSocket;

use super::address::{Address, write_printable};
use super::listener::Listener;
use super::sys::address_of;
use inherited::Kind;

/// Where a server listens, with settings. [`TcpServer::bind`](crate::TcpServer::bind) makes one of whatever stands for
/// an address: a text, a host and a port, a socket address, a listener of the standard library.
///
/// | text | what is listened at |
/// | --- | --- |
/// | `127.0.0.1:8000`, `[::1]:8000` | this address; port 0: any free port |
/// | `0.0.0.0:8000` | every IPv4 address of this machine |
/// | `[::]:8000` | every address of this machine, IPv6 and IPv4 (unless [`ipv6_only`](Listen::ipv6_only)) |
/// | `:8000`, `*:8000` | the same, or every IPv4 address where there is no IPv6 |
/// | `localhost:8000` | every address that the name stands for, of both families, all with one port |
/// | `unix:/run/app.sock`, `unix:@name` | a Unix socket with a file, an abstract one without |
/// | `fd:3` | the listening socket that this process was started with as that descriptor |
/// | `systemd`, `systemd:name` | the sockets that systemd has handed over, all or those of that name |
///
/// Of the addresses of a name, those that this machine hasn't are left out, as long as there are others. As a pair,
/// `("", 8000)`, `("*", 8000)`, `("::", 8000)` and `("localhost", 8000)` are the same as above. The port is never left out.
///
/// ```no_run
/// use modest::{Listen, Response, TcpServer, handler_fn};
///
/// let hello = handler_fn(|_| Ok(Response::text("Hello")));
/// TcpServer::bind(Listen::at(":8000").backlog(64), hello)?
///     .also(Listen::unix("/run/hello.sock").mode(0o660))?
///     .serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "listens once it is given to `TcpServer::bind`"]
pub struct Listen {
    place: Place,
    settings: Settings,
}

/// What stands for an address.
#[derive(Debug)]
enum Place {
    /// To be parsed when it is bound: that is where errors are expected.
    Text(String),
    Host(String, u16),
    Inet(SocketAddr),
    Unix(PathBuf),
    Made(OwnedFd),
    Descriptor(u32),
    Systemd(Option<String>),
}

#[derive(Debug, Default)]
struct Settings {
    backlog: Option<u32>,
    reuse_port: bool,
    ipv6_only: bool,
    mode: Option<u32>,
}

const BACKLOG: u32 = 1024;

/// Clients that have connected to a socket of somebody else's making may wait in a queue of unknown length: no more
/// than this, which is more than any.
const UNKNOWN_QUEUE: usize = 1 << 16;

/// Of what has not been sent yet, the kernel keeps no more than this for a client: 200 that don't read cost it
/// 800 MB otherwise.
const NOT_SENT: u32 = 128 * 1024;

impl Listen {
    /// At this address. [`TcpServer::bind`](crate::TcpServer::bind) takes it without this, too: it is for settings.
    pub fn at(address: impl Into<Listen>) -> Listen {
        address.into()
    }

    /// At a Unix socket with a file at this path, or an abstract one if it begins with `@`.
    ///
    /// A file that a server has left behind, so that nobody answers there, is replaced. Binding fails with
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody does answer, or if it is not the file of a socket.
    /// Once the server accepts nobody any more, the file is removed, if it is still the same.
    pub fn unix(path: impl Into<PathBuf>) -> Listen {
        Listen::from_place(Place::Unix(path.into()))
    }

    /// How many clients may have connected and wait to be accepted. Default: 1,024, or what was set by whoever made the
    /// socket. At most what the system allows (`net.core.somaxconn`, mostly 4,096); it ignores connections beyond it,
    /// and clients try again after a second or more.
    pub fn backlog(mut self, clients: u32) -> Listen {
        self.settings.backlog = Some(clients);
        self
    }

    /// Whether other processes of this user may listen at the same address, if they all say so (`SO_REUSEPORT`).
    /// Default: no. New connections are then spread among them.
    ///
    /// Each has a queue of its own: who connects in the 10 ms in which one of them ends has to try again, which its system
    /// does after a second. To replace a server without that, hand its listener over (see `docs/listeners.md`).
    /// Binding fails with [`InvalidInput`](io::ErrorKind::InvalidInput) for a Unix socket, and for one that was made
    /// elsewhere.
    pub fn reuse_port(mut self, reuse: bool) -> Listen {
        self.settings.reuse_port = reuse;
        self
    }

    /// Whether `[::]` is every IPv6 address of this machine, and not every IPv4 address as well. Default: no.
    /// With it, one server can listen at `0.0.0.0:80` and at `[::]:80`. Binding fails as for
    /// [`reuse_port`](Listen::reuse_port).
    pub fn ipv6_only(mut self, only: bool) -> Listen {
        self.settings.ipv6_only = only;
        self
    }

    /// Who may connect by the file of a Unix socket: those who may write to it, such as owner and group with `0o660`.
    /// Default: what the umask leaves, which is mostly the owner alone. Binding fails with
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for other sockets.
    pub fn mode(mut self, mode: u32) -> Listen {
        self.settings.mode = Some(mode);
        self
    }

    fn from_place(place: Place) -> Listen {
        Listen { place, settings: Settings::default() }
    }

    /// Listen there. A name may stand for several addresses.
    pub(super) fn open(self) -> io::Result<Vec<Listener>> {
        let named = self.place.to_string();
        self.open_unnamed().map_err(|err| about(&format!("can't listen at {named}"), &err))
    }

    fn open_unnamed(self) -> io::Result<Vec<Listener>> {
        let Listen { place, settings } = self;
        let place = match place {
            Place::Text(text) => parse::place(&text)?,
            place => place,
        };
        settings.check_for(&place)?;
        match place {
            Place::Text(_) => Err(invalid("it is no address")),
            Place::Host(host, port) => inet::open_host(&host, port, &settings, inet::open),
            Place::Inet(address) => Ok(vec![inet::open(address, &settings)?]),
            Place::Unix(path) => Ok(vec![unix::open(&path, &settings)?]),
            Place::Made(socket) => Ok(vec![settings.made_elsewhere(socket)?]),
            Place::Descriptor(number) => {
                Ok(vec![settings.made_elsewhere(inherited::descriptor(number, Kind::Listens)?)?])
            }
            Place::Systemd(name) => {
                let sockets = inherited::of_systemd(name.as_deref(), Kind::Listens)?;
                sockets.into_iter().map(|socket| settings.made_elsewhere(socket)).collect()
            }
        }
    }
}

impl Settings {
    fn backlog(&self) -> u32 {
        self.backlog.unwrap_or(BACKLOG)
    }

    /// A setting that can't be obeyed is an error and not forgotten.
    fn check_for(&self, place: &Place) -> io::Result<()> {
        let (is_inet, is_file) = match place {
            Place::Host(..) | Place::Inet(_) => (true, false),
            Place::Unix(path) => (false, !unix::is_abstract(path)),
            _ => (false, false),
        };
        let wrong = [
            (self.reuse_port && !is_inet, "reuse_port is for IP addresses, before they are bound"),
            (self.ipv6_only && !is_inet, "ipv6_only is for IP addresses, before they are bound"),
            (self.mode.is_some() && !is_file, "a mode is for the file of a Unix socket, before it is bound"),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(invalid(why)))
    }

    fn made_elsewhere(&self, socket: OwnedFd) -> io::Result<Listener> {
        if sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
            return Err(invalid("it is no stream socket that listens"));
        }
        match self.backlog {
            None => listener(socket, UNKNOWN_QUEUE),
            Some(backlog) => listen(socket, backlog),
        }
    }
}

/// Let a socket listen.
fn listen(socket: OwnedFd, backlog: u32) -> io::Result<Listener> {
    SockRef::from(&socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    listener(socket, backlog as usize + 1) // the kernel lets one more in
}

/// Make a listener of a socket that listens. What is set here is inherited by every client's socket.
fn listener(socket: OwnedFd, queue: usize) -> io::Result<Listener> {
    let name = getsockname(&socket)?;
    let options = SockRef::from(&socket);
    match name.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            options.set_tcp_nodelay(true)?;
            options.set_tcp_notsent_lowat(NOT_SENT)?;
        }
        AddressFamily::UNIX => {}
        _ => return Err(invalid("it is neither a TCP nor a Unix socket")),
    }
    options.set_nonblocking(true)?;
    options.set_cloexec(true)?; // those that were handed over are without
    Ok(Listener::new(socket.into(), address_of(Some(name)), queue))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// The same error with what it is about in front, in one line.
pub(super) fn about(what: &str, err: &io::Error) -> io::Error {
    let text = err.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    io::Error::new(err.kind(), format!("{what}: {first}{}", letters.as_str()))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text(text) if text.is_empty() => f.write_str("\"\""),
            Place::Text(text) => write_printable(f, text),
            Place::Host(host, port) => {
                let brackets = host.contains(':') && !host.starts_with('[');
                write_printable(f, &if brackets { format!("[{host}]") } else { host.clone() })?;
                write!(f, ":{port}")
            }
            Place::Inet(address) => address.fmt(f),
            Place::Unix(path) => Address::Unix(Some(path.clone())).fmt(f),
            Place::Made(socket) => match getsockname(socket) {
                Ok(name) => address_of(Some(name)).fmt(f),
                Err(_) => f.write_str("a descriptor"),
            },
            Place::Descriptor(number) => write!(f, "fd:{number}"),
            Place::Systemd(None) => f.write_str("systemd"),
            Place::Systemd(Some(name)) => {
                f.write_str("systemd:")?;
                write_printable(f, name)
            }
        }
    }
}

impl From<&str> for Listen {
    fn from(text: &str) -> Listen {
        Listen::from(text.to_owned())
    }
}

impl From<&String> for Listen {
    fn from(text: &String) -> Listen {
        Listen::from(text.clone())
    }
}

impl From<String> for Listen {
    fn from(text: String) -> Listen {
        Listen::from_place(Place::Text(text))
    }
}

impl From<(&str, u16)> for Listen {
    fn from((host, port): (&str, u16)) -> Listen {
        Listen::from((host.to_owned(), port))
    }
}

impl From<(String, u16)> for Listen {
    fn from((host, port): (String, u16)) -> Listen {
        Listen::from_place(Place::Host(host, port))
    }
}

macro_rules! from_socket_address {
    ($($from:ty),*) => {
        $(impl From<$from> for Listen {
            fn from(address: $from) -> Listen {
                Listen::from_place(Place::Inet(SocketAddr::from(address)))
            }
        })*
    };
}

from_socket_address!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

macro_rules! from_descriptor {
    ($($from:ty),*) => {
        $(impl From<$from> for Listen {
            fn from(socket: $from) -> Listen {
                Listen::from_place(Place::Made(OwnedFd::from(socket)))
            }
        })*
    };
}

from_descriptor!(TcpListener, UnixListener, OwnedFd);
