//! `UdpServer`: bind, settings, receive. Called by users; starts the workers of `pool`, and receives for them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::datagram::{Datagram, DatagramHandler};
use super::pool::{Pool, log_dropped, start_worker};
use super::socket::Socket;
use crate::log_limit::LogLimit;
use crate::tcp::sync::{self, Instant, Mutex, PoisonError, lock};
use crate::tcp::{
    AbandonedAtEnd, Address, Client, Control, Listen, ServerHandle, Stats, address_of, contain, default_workers,
};

/// A server for datagrams (Python's `UDPServer` and `ThreadingUDPServer`): each is passed to a handler, on a pool of
/// workers.
///
/// ```no_run
/// use modest::{Datagram, UdpServer};
///
/// let upper = |datagram: &Datagram| datagram.reply(datagram.bytes().to_ascii_uppercase());
/// UdpServer::bind("127.0.0.1:9999", upper)?.serve_forever()?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Datagrams can be handled in a different order than they arrived; `workers(1)` keeps the order. If a server receives
/// at all addresses of a machine, the system chooses the address from which a reply is sent, which can differ from the
/// address that the client has sent to. To avoid that, bind each address ([`UdpServer::also`]).
#[must_use = "serves no client until `serve_forever`"]
#[doc(alias("UDPServer", "ThreadingUDPServer", "UnixDatagramServer"))]
pub struct UdpServer {
    sockets: Mutex<Option<Vec<Socket>>>,
    addresses: Vec<Address>,
    handler: Arc<dyn DatagramHandler>,
    workers: usize,
    queue_limit: usize,
    max_packet_size: usize,
    shutdown_timeout: Option<Duration>,
    handle: ServerHandle,
    _at_end: AbandonedAtEnd,
}

/// How many datagrams of one socket are received before the next socket has its turn.
const BATCH: usize = 64;
/// The minimum time between two warnings about dropped datagrams.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);
/// The pause after a failure to receive. After several failures in a row the server ends.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
const FAILURES: usize = 100;
/// Why datagrams are dropped while the server runs.
const FULL: &str = "all workers are busy and the queue is full";

impl UdpServer {
    /// Receives datagrams at an address, for a handler or a closure that takes a `&Datagram`. Addresses are those of
    /// [`TcpServer::bind`](crate::TcpServer::bind): `"127.0.0.1:9999"`, `("::1", 9999)`, `":9999"` for every address of
    /// this machine, `"unix:/run/log.sock"`, `"fd:3"`, `"systemd:name"` for sockets of `ListenDatagram=`. Datagrams
    /// that arrive from now on wait in the system's buffer.
    ///
    /// # Errors
    /// The errors of [`TcpServer::bind`](crate::TcpServer::bind); each names the address.
    pub fn bind(address: impl Into<Listen>, handler: impl DatagramHandler) -> io::Result<UdpServer> {
        let sockets = open(address.into())?;
        let handle = ServerHandle::default();
        Ok(UdpServer {
            addresses: sockets.iter().map(|socket| socket.address().clone()).collect(),
            sockets: Mutex::new(Some(sockets)),
            handler: Arc::new(handler),
            workers: default_workers(),
            queue_limit: 1024,
            max_packet_size: 8192,
            shutdown_timeout: Some(Duration::from_secs(10)),
            _at_end: handle.stop().abandoned_at_end(),
            handle,
        })
    }

    /// Receives at an existing socket: a `UdpSocket`, a `UnixDatagram`, a descriptor. It is made blocking, with a send
    /// timeout of one second, for all processes that share it.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not a socket for datagrams.
    pub fn from_socket(socket: impl Into<OwnedFd>, handler: impl DatagramHandler) -> io::Result<UdpServer> {
        UdpServer::bind(socket.into(), handler)
    }

    /// Receives at one more address, for the same handler. Default: only the address of `bind`.
    ///
    /// # Errors
    /// The errors of [`UdpServer::bind`].
    pub fn also(mut self, address: impl Into<Listen>) -> io::Result<UdpServer> {
        let more = open(address.into())?;
        self.addresses.extend(more.iter().map(|socket| socket.address().clone()));
        self.sockets.get_mut().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().extend(more);
        Ok(self)
    }

    /// Sets how many handlers can run at once, each on a thread of its own; 1 keeps the order of datagrams. Default:
    /// 16, or four times the number of processors if that is more.
    ///
    /// # Panics
    /// If it is 0.
    pub fn workers(mut self, count: usize) -> UdpServer {
        assert!(count > 0, "a server needs at least one worker");
        self.workers = count;
        self
    }

    /// Sets how many received datagrams can wait for a worker; further datagrams are dropped. Default: 1,024;
    /// minimum: 1. The system also drops datagrams when its buffer is full. Those dropped here are counted (`refused`
    /// in [`Stats`]), and a warning is logged at most once in 10 seconds, and at the end.
    pub fn queue_limit(mut self, datagrams: usize) -> UdpServer {
        self.queue_limit = datagrams;
        self
    }

    /// Sets how many bytes of a datagram are received; a longer one [is truncated](Datagram::is_truncated) and marked
    /// as such. Default: 8,192, as in Python.
    ///
    /// # Panics
    /// If it is 0.
    pub fn max_packet_size(mut self, bytes: usize) -> UdpServer {
        assert!(bytes > 0, "the packet size must be at least 1 byte");
        self.max_packet_size = bytes;
        self
    }

    /// Sets how long a shutdown waits for datagrams in handlers and in the queue. Default: 10 seconds; `None`: until
    /// the last is handled.
    pub fn shutdown_timeout(mut self, limit: impl Into<Option<Duration>>) -> UdpServer {
        self.shutdown_timeout = limit.into();
        self
    }

    /// Returns the first IP address at which the server receives, with the real port (Python's `server_address`).
    ///
    /// # Panics
    /// If there are only Unix sockets: see [`UdpServer::local_addrs`].
    pub fn local_addr(&self) -> SocketAddr {
        let mut inet = self.addresses.iter().filter_map(Address::socket_addr);
        inet.next().expect("a server with only Unix sockets has no IP address: use `local_addrs`")
    }

    /// Returns all addresses at which the server receives, with real ports, in the order in which they were given.
    pub fn local_addrs(&self) -> &[Address] {
        &self.addresses
    }

    /// Returns a handle with which other threads and handlers can stop the server ([`Datagram::server`]).
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Returns the current statistics. `accepted` counts received datagrams, `waiting` those in the queue, `running`
    /// those in handlers, and `refused` those dropped because the queue was full or the shutdown timeout had passed.
    /// Datagrams dropped by the system, or because of [`DatagramHandler::verify_client`], are not counted.
    pub fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// Receives until the server is shut down. Then queued datagrams are handled within the shutdown timeout, and the
    /// function returns, even if a handler is still running. Datagrams in the system's buffer are lost. If the server
    /// was shut down before, it returns at once.
    ///
    /// # Errors
    /// If a thread can't be started, if there are no descriptors left, if it was called before, or if receiving fails
    /// for 5 seconds. In the last case, the error contains the address, and queued datagrams have been handled.
    pub fn serve_forever(&self) -> io::Result<()> {
        let sockets = lock(&self.sockets).take();
        let sockets = sockets.ok_or_else(|| io::Error::other("this server has already served"))?;
        let _at_end = self.handle.stop().abandoned_at_end(); // even if it cannot begin
        let pool = Arc::new(Pool::new(self.queue_limit)?);
        let serving = self.handle.begin(pool.clone());
        let result = self.receive_for(&pool, sockets);
        self.handle.begin_shutdown(); // even after an error
        pool.end_input();
        let began = self.handle.shutdown_began();
        let until = began.and_then(|began| began.checked_add(self.shutdown_timeout?));
        pool.wait_for_workers(until);
        pool.end();
        self.handle.stop().wait_for_threads(until);
        drop(serving);
        result
    }

    fn receive_for(&self, pool: &Arc<Pool>, sockets: Vec<Socket>) -> io::Result<()> {
        if pool.is_stopping() {
            return Ok(());
        }
        for me in 0..self.workers {
            start_worker(pool, me, &self.handler)
                .map_err(|err| io::Error::new(err.kind(), format!("can't start worker {}: {err}", me + 1)))?;
        }
        let mut drops = LogLimit::new(BETWEEN_WARNINGS);
        let result = self.receive(pool, &sockets.into_iter().map(Arc::new).collect::<Vec<_>>(), &mut drops);
        log_dropped(drops.take(), FULL);
        result
    }

    fn receive(&self, pool: &Pool, sockets: &[Arc<Socket>], drops: &mut LogLimit<Instant>) -> io::Result<()> {
        let mut buffer = vec![0; self.max_packet_size];
        let mut failures = vec![0; sockets.len()];
        while !pool.is_stopping() {
            let ready = pool.bell.wait(sockets, None)?;
            for ((socket, failures), _) in sockets.iter().zip(&mut failures).zip(ready).filter(|(_, ready)| *ready) {
                match self.receive_batch(pool, socket, &mut buffer, drops) {
                    Ok(()) => *failures = 0,
                    Err(err) if *failures == FAILURES => {
                        return Err(io::Error::new(err.kind(), format!("receiving at {}: {err}", socket.address())));
                    }
                    Err(err) => {
                        *failures += 1;
                        log::debug!("receiving at {}: {err}", socket.address());
                        pool.bell.wait(&[], Some(AFTER_FAILURE))?;
                    }
                }
            }
            drops.due(sync::now()).into_iter().for_each(|count| log_dropped(count, FULL));
        }
        Ok(())
    }

    fn receive_batch(
        &self,
        pool: &Pool,
        socket: &Arc<Socket>,
        buffer: &mut [u8],
        drops: &mut LogLimit<Instant>,
    ) -> io::Result<()> {
        for number in 0..BATCH {
            let Some((length, from)) = socket.receive(buffer)? else {
                return if number == 0 { socket.check_open() } else { Ok(()) }; // it was reported as ready
            };
            let client = Client::new(address_of(from.clone()));
            if contain("verify_client", || self.handler.verify_client(&client)) == Some(true) {
                let is_queued = pool.push(Datagram::new(buffer, length, client, from, socket, &self.handle));
                drops.count(u64::from(!is_queued));
            }
        }
        Ok(())
    }
}

fn open(address: Listen) -> io::Result<Vec<Socket>> {
    address.open_datagrams()?.into_iter().map(Socket::new).collect()
}

opaque!(UdpServer { local_addrs() });
