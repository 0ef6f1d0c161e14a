//! One datagram, the reply to its client, and the handler that users write.

use std::io;
use std::sync::Arc;

use super::socket::{ReplyTo, Socket, is_ours};
use crate::tcp::sync::{AtomicBool, Ordering};
use crate::tcp::{Address, Client, ServerHandle};

/// Handles datagrams (Python's `DatagramRequestHandler`). One value serves all clients, on all workers at once.
///
/// Required: `handle`. A closure that takes a `&Datagram` is also a handler.
///
/// ```no_run
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use modest::{Client, Datagram, DatagramHandler, UdpServer};
///
/// #[derive(Default)]
/// struct Counter(AtomicU64);
///
/// impl DatagramHandler for Counter {
///     fn handle(&self, datagram: &Datagram) -> std::io::Result<()> {
///         let number = self.0.fetch_add(1, Ordering::Relaxed);
///         datagram.reply(format!("{number}\n"))
///     }
///
///     fn verify_client(&self, client: &Client) -> bool {
///         client.ip().is_some_and(|ip| ip.is_loopback())
///     }
/// }
///
/// UdpServer::bind("127.0.0.1:9999", Counter::default())?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[doc(alias("DatagramRequestHandler", "BaseRequestHandler"))]
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't handle datagrams",
    label = "this does not implement `DatagramHandler`",
    note = "a closure must give the type of its argument and return `std::io::Result<()>`: `|datagram: &Datagram| ..`"
)]
pub trait DatagramHandler: Send + Sync + 'static {
    /// Handles one datagram. It may block: up to [`UdpServer::workers`](crate::UdpServer::workers) of them run at once.
    /// An error is logged with the client's address. A panic ends only this datagram's handling.
    fn handle(&self, datagram: &Datagram) -> io::Result<()>;

    /// Returns whether datagrams of this client are handled (Python's `verify_request`). Default: true. Called by the
    /// receiving thread, so it must not block. Senders can forge their address.
    #[doc(alias = "verify_request")]
    fn verify_client(&self, client: &Client) -> bool {
        let _ = client;
        true
    }
}

impl<F: Fn(&Datagram) -> io::Result<()> + Send + Sync + 'static> DatagramHandler for F {
    fn handle(&self, datagram: &Datagram) -> io::Result<()> {
        self(datagram)
    }
}

/// A received datagram. It can be stored to reply later or several times. It keeps the socket open, and the file of a
/// Unix socket, even after the server has ended.
pub struct Datagram {
    bytes: Vec<u8>,
    length: usize,
    client: Client,
    reply_to: ReplyTo,
    socket: Arc<Socket>,
    server: ServerHandle,
    unreachable: AtomicBool, // a reply has failed because of the client
}

impl Datagram {
    pub(super) fn new(
        buffer: &[u8],
        length: usize,
        client: Client,
        from: ReplyTo,
        socket: &Arc<Socket>,
        server: &ServerHandle,
    ) -> Datagram {
        Datagram {
            bytes: buffer[..length.min(buffer.len())].to_vec(),
            length,
            client,
            reply_to: from,
            socket: Arc::clone(socket),
            server: server.clone(),
            unreachable: AtomicBool::new(false),
        }
    }

    /// Returns the bytes, up to [`UdpServer::max_packet_size`](crate::UdpServer::max_packet_size). A datagram can be
    /// empty.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns how many bytes the client sent.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns whether the datagram was longer than [`UdpServer::max_packet_size`](crate::UdpServer::max_packet_size).
    /// The rest is lost.
    pub fn is_truncated(&self) -> bool {
        self.length > self.bytes.len()
    }

    /// Returns the sender. Its address is not authenticated: anyone can forge it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the server's address at which the datagram arrived.
    pub fn local_addr(&self) -> &Address {
        self.socket.address()
    }

    /// Sends a datagram back, from the socket at which this one arrived. There is no confirmation that it arrives.
    ///
    /// A reply goes to the address in the datagram, which can be forged: a reply that is far longer than the request
    /// lets attackers use the server against others.
    ///
    /// # Errors
    /// If it is too long (UDP: more than 65,507 bytes over IPv4), if there is no route to the client, or if the client
    /// of a Unix socket has no name, has disconnected, or has read nothing for a second. A handler can return the
    /// error. It is logged at level `Error` only if the reply was too long or the system had no memory, because anyone
    /// can cause other errors with a forged address.
    pub fn reply(&self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let sent = self.socket.send(bytes.as_ref(), self.reply_to.as_ref());
        if sent.as_ref().is_err_and(|err| !is_ours(err)) {
            self.unreachable.store(true, Ordering::Relaxed);
        }
        sent
    }

    /// Returns whether a reply has failed because of the client.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Ordering::Relaxed)
    }

    /// Returns the server, to shut it down or to read its statistics (Python's `self.server`).
    pub fn server(&self) -> &ServerHandle {
        &self.server
    }
}

opaque!(Datagram { client, length });
