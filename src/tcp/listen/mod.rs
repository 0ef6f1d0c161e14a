//! The addresses of a server: the argument of [`TcpServer::bind`](crate::TcpServer::bind), and the sockets opened for
//! it. Used by `server`.

mod datagrams; // sockets for datagrams
mod inet; // IP addresses and host names
mod inherited; // inherited sockets
mod parse; // the syntax of addresses
mod unix; // Unix sockets, and their files

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, getsockname, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub(crate) use datagrams::DatagramSocket;

use super::address::{Address, write_printable};
use super::listener::Listener;
use super::sys::{address_of, is_listening, limit_unsent, probe};
use inherited::Kind;

/// An address at which a server listens, with settings. [`TcpServer::bind`](crate::TcpServer::bind) accepts anything
/// that converts into one: a text, a host and a port, a socket address, a listener of the standard library.
///
/// | text | listens at |
/// | --- | --- |
/// | `127.0.0.1:8000`, `[::1]:8000` | this address; port 0: any free port |
/// | `0.0.0.0:8000` | every IPv4 address of this machine |
/// | `[::]:8000` | every address of this machine, IPv6 and IPv4 (unless [`ipv6_only`](Listen::ipv6_only)) |
/// | `:8000`, `*:8000` | every address of this machine, or every IPv4 address if there is no IPv6 |
/// | `localhost:8000` | every address of the name, IPv4 and IPv6, all with one port |
/// | `unix:/run/app.sock`, `unix:@name` | a Unix socket with a file, an abstract one without |
/// | `fd:3` | the inherited listening socket with this descriptor |
/// | `systemd`, `systemd:name` | the sockets that systemd passed, all or those with this name |
///
/// If a name has addresses that this machine does not have, these are left out, unless it has none of them. The pairs
/// `("", 8000)`, `("*", 8000)`, `("::", 8000)` and `("localhost", 8000)` mean the same as above. The port is required.
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
#[must_use = "listens once it is passed to `TcpServer::bind`"]
pub struct Listen {
    place: ListenAddress,
    settings: Settings,
}

#[derive(Debug)]
enum ListenAddress {
    /// Parsed when it is bound, where errors are expected.
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

/// The assumed queue length of an inherited socket, whose real length is unknown. No real queue is longer.
const UNKNOWN_QUEUE: usize = 1 << 16;

/// The maximum number of unsent bytes in the kernel per client. Without it, 200 clients that do not read take 800 MB.
const NOT_SENT: u32 = 128 * 1024;

impl Listen {
    /// Creates an address with default settings. [`TcpServer::bind`](crate::TcpServer::bind) also accepts addresses
    /// without settings.
    pub fn at(address: impl Into<Listen>) -> Listen {
        address.into()
    }

    /// Listens at a Unix socket with a file at this path, or at an abstract one if it begins with `@`.
    ///
    /// A file left behind by an earlier server, at which nothing listens, is replaced. Binding fails with
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if another process listens there, or if the file is not a socket. When
    /// a shutdown begins, the server removes the file, unless another file has replaced it, and then accepts the
    /// clients that have already connected.
    pub fn unix(path: impl Into<PathBuf>) -> Listen {
        Listen::from_place(ListenAddress::Unix(path.into()))
    }

    /// Sets how many connected clients can wait to be accepted, at most `net.core.somaxconn`. Default: 1,024, or the
    /// queue of an inherited socket. The maximum of the system is mostly 4,096. Connections beyond it are ignored, and
    /// clients try again after a second or more.
    pub fn backlog(mut self, clients: u32) -> Listen {
        self.settings.backlog = Some(clients);
        self
    }

    /// Sets whether other processes of this user can listen at the same address, if all of them set this
    /// (`SO_REUSEPORT`). Default: false.
    ///
    /// New connections are then distributed over these processes. Each process has a queue of its own. A client that
    /// connects within the 10 ms in which one of them ends has to retry, which its system does after a second. To
    /// replace a server without this delay, pass its listener on
    /// (`docs/listeners.md#a-successor-without-one-failed-connection`). Binding fails with
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a Unix socket, and for an inherited socket.
    pub fn reuse_port(mut self, reuse: bool) -> Listen {
        self.settings.reuse_port = reuse;
        self
    }

    /// Sets whether `[::]` means every IPv6 address of this machine without the IPv4 addresses. Default: false. With
    /// it, one server can listen at `0.0.0.0:80` and at `[::]:80`. Binding fails as for
    /// [`reuse_port`](Listen::reuse_port).
    pub fn ipv6_only(mut self, only: bool) -> Listen {
        self.settings.ipv6_only = only;
        self
    }

    /// Sets the permissions of a Unix socket's file: users who can write to it can connect, such as owner and group
    /// with `0o660`. Default: those of the umask, mostly only the owner. Binding fails with
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for other sockets.
    pub fn mode(mut self, mode: u32) -> Listen {
        self.settings.mode = Some(mode);
        self
    }

    fn from_place(place: ListenAddress) -> Listen {
        Listen { place, settings: Settings::default() }
    }

    /// Opens the listeners. A name can have several addresses.
    pub(super) fn open(self) -> io::Result<Vec<Listener>> {
        self.bound("can't listen at")
    }

    /// Binds sockets for datagrams. A name can have several addresses.
    pub(crate) fn open_datagrams(self) -> io::Result<Vec<DatagramSocket>> {
        self.bound("can't receive at")
    }

    fn bound<S: Bound>(self, cannot: &str) -> io::Result<Vec<S>> {
        let named = self.place.to_string();
        self.bound_unnamed().map_err(|err| about(&format!("{cannot} {named}"), &err))
    }

    fn bound_unnamed<S: Bound>(self) -> io::Result<Vec<S>> {
        let Listen { place, settings } = self;
        let place = match place {
            ListenAddress::Text(text) => parse::place(&text)?,
            place => place,
        };
        settings.check_for(&place, S::KIND)?;
        match place {
            ListenAddress::Text(_) => Err(invalid("it is not an address")),
            ListenAddress::Host(host, port) => inet::open_host(&host, port, &settings),
            ListenAddress::Inet(address) => Ok(vec![S::at_address(address, &settings)?]),
            ListenAddress::Unix(path) => Ok(vec![S::at_path(&path, &settings)?]),
            ListenAddress::Made(socket) => Ok(vec![S::of_socket(socket, &settings)?]),
            ListenAddress::Descriptor(number) => {
                Ok(vec![S::of_socket(inherited::descriptor(number, S::KIND)?, &settings)?])
            }
            ListenAddress::Systemd(name) => {
                let sockets = inherited::of_systemd(name.as_deref(), S::KIND)?;
                sockets.into_iter().map(|socket| S::of_socket(socket, &settings)).collect()
            }
        }
    }
}

impl Settings {
    fn backlog(&self) -> u32 {
        self.backlog.unwrap_or(BACKLOG)
    }

    /// Returns an error if a setting cannot be applied to this kind of address.
    fn check_for(&self, place: &ListenAddress, kind: Kind) -> io::Result<()> {
        let (is_inet, is_file) = match place {
            ListenAddress::Host(..) | ListenAddress::Inet(_) => (true, false),
            ListenAddress::Unix(path) => (false, !unix::is_abstract(path)),
            _ => (false, false),
        };
        let wrong = [
            (self.reuse_port && !is_inet, "reuse_port applies only to IP addresses that are not bound yet"),
            (self.ipv6_only && !is_inet, "ipv6_only applies only to IP addresses that are not bound yet"),
            (self.mode.is_some() && !is_file, "a mode applies only to the file of a Unix socket that is not bound yet"),
            (self.backlog.is_some() && kind == Kind::Datagrams, "a backlog is only for listeners, not for datagrams"),
        ];
        wrong.into_iter().find(|(wrong, _)| *wrong).map_or(Ok(()), |(_, why)| Err(invalid(why)))
    }
}

/// A socket that is bound to an address: a listener, or a socket for datagrams.
trait Bound: Sized {
    const KIND: Kind;

    fn at_address(address: SocketAddr, settings: &Settings) -> io::Result<Self>;

    fn at_path(path: &Path, settings: &Settings) -> io::Result<Self>;

    /// Uses a socket that was made elsewhere.
    fn of_socket(socket: OwnedFd, settings: &Settings) -> io::Result<Self>;

    fn port(&self) -> Option<u16>;
}

impl Bound for Listener {
    const KIND: Kind = Kind::Listens;

    fn at_address(address: SocketAddr, settings: &Settings) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?; // a restart need not wait for old connections to expire
        inet::bind(&socket, address, settings)?;
        Ok(listen(socket.into(), settings.backlog())?.made_here())
    }

    fn at_path(path: &Path, settings: &Settings) -> io::Result<Listener> {
        unix::open(path, settings)
    }

    fn of_socket(socket: OwnedFd, settings: &Settings) -> io::Result<Listener> {
        if sockopt::socket_type(&socket)? != SocketType::STREAM || !is_listening(&socket)? {
            return Err(invalid("it is not a listening stream socket"));
        }
        match settings.backlog {
            None => listener(socket, UNKNOWN_QUEUE),
            Some(backlog) => listen(socket, backlog),
        }
    }

    fn port(&self) -> Option<u16> {
        self.address().port()
    }
}

/// After this much silence, TCP keepalive checks whether the client's system still knows the connection.
const VANISHED_AFTER: Duration = Duration::from_secs(60);

fn listen(socket: OwnedFd, backlog: u32) -> io::Result<Listener> {
    SockRef::from(&socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    listener(socket, backlog as usize + 1) // the kernel accepts one more
}

/// Creates a listener from a listening socket. The sockets of clients inherit the options that are set here.
fn listener(socket: OwnedFd, queue: usize) -> io::Result<Listener> {
    let name = getsockname(&socket)?;
    let options = SockRef::from(&socket);
    match name.address_family() {
        AddressFamily::INET | AddressFamily::INET6 => {
            options.set_tcp_nodelay(true)?;
            limit_unsent(&socket, NOT_SENT)?;
            probe(&socket, VANISHED_AFTER);
        }
        AddressFamily::UNIX => {}
        _ => return Err(invalid("it is neither a TCP nor a Unix socket")),
    }
    options.set_nonblocking(true)?;
    options.set_cloexec(true)?; // inherited sockets do not have it
    Ok(Listener::new(socket.into(), address_of(Some(name)), queue))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Returns the error with its subject before it, in one line.
fn about(what: &str, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("{what}: {}", reason(err)))
}

/// Returns the error's text without the `(os error N)` that Rust appends.
pub(crate) fn reason(err: &io::Error) -> String {
    let text = err.to_string();
    let mut letters = text.split(" (os error").next().unwrap_or(&text).chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Text(text) if text.is_empty() => f.write_str("\"\""),
            ListenAddress::Text(text) => write_printable(f, text),
            ListenAddress::Host(host, port) => {
                let brackets = host.contains(':') && !host.starts_with('[');
                write_printable(f, &if brackets { format!("[{host}]") } else { host.clone() })?;
                write!(f, ":{port}")
            }
            ListenAddress::Inet(address) => address.fmt(f),
            ListenAddress::Unix(path) => Address::Unix(Some(path.clone())).fmt(f),
            ListenAddress::Made(socket) => match getsockname(socket) {
                Ok(name) => address_of(Some(name)).fmt(f),
                Err(_) => f.write_str("a descriptor"),
            },
            ListenAddress::Descriptor(number) => write!(f, "fd:{number}"),
            ListenAddress::Systemd(None) => f.write_str("systemd"),
            ListenAddress::Systemd(Some(name)) => {
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
        Listen::from_place(ListenAddress::Text(text))
    }
}

impl From<(&str, u16)> for Listen {
    fn from((host, port): (&str, u16)) -> Listen {
        Listen::from((host.to_owned(), port))
    }
}

impl From<(String, u16)> for Listen {
    fn from((host, port): (String, u16)) -> Listen {
        Listen::from_place(ListenAddress::Host(host, port))
    }
}

macro_rules! from_socket_address {
    ($($from:ty),*) => {
        $(impl From<$from> for Listen {
            fn from(address: $from) -> Listen {
                Listen::from_place(ListenAddress::Inet(SocketAddr::from(address)))
            }
        })*
    };
}

from_socket_address!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

macro_rules! from_descriptor {
    ($($from:ty),*) => {
        $(impl From<$from> for Listen {
            fn from(socket: $from) -> Listen {
                Listen::from_place(ListenAddress::Made(OwnedFd::from(socket)))
            }
        })*
    };
}

from_descriptor!(TcpListener, UnixListener, OwnedFd);
