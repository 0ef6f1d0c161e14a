//! The lowest level: connections. Bytes, time and threads; no HTTP. Each module uses only those below it.

mod server; // bind, settings, serve
mod lines; // line protocols
mod proxy_protocol; // the PROXY protocol around another
mod workers; // a worker's loop
#[cfg(feature = "proxy")]
mod watched_socket; // watching a socket through a handle
mod engine; // state shared by all workers
#[cfg(feature = "signals")]
mod signals; // Ctrl-C and SIGTERM
mod lifecycle; // from the start of the workers to the end of the last
mod taken; // connections that have left the engine
mod coded; // a stream above a codec
mod connection; // one client, a turn at a time
mod listen; // addresses, and the sockets made of them
mod poller; // readiness: epoll or kqueue
mod stream_handler; // Python's StreamRequestHandler
mod protocol; // the protocol interface
mod acceptor; // accepting, from all listeners
mod stream; // a connection outside the engine
mod transport; // the socket of one client
mod handle; // shutdown and stats, from anywhere
mod output; // output, in pieces
mod pace; // the rates at which a client sends and reads
#[cfg_attr(not(feature = "proxy"), allow(dead_code))]
mod watched_sockets; // sockets other than those of clients
mod scheduler; // ready queue, poller, idle workers, permits, the table of connections
mod input_memory; // memory for received and unused bytes
mod live; // connections that wait for something other than their client
mod per_address; // the number of connections per address
mod slow_handlers; // handlers that run for a long time
mod spares; // threads that wait to become workers
mod background; // background threads
mod timers; // calls at a later time
mod contain; // catching panics of user code
mod listener; // one listening socket
mod memory; // the machine's memory, and the defaults that depend on it
mod notify; // notifications for systemd
pub(crate) mod sync; // locks, atomics, threads, the clock, queues
mod sys; // sockets, the poller and the rest of the system, by its calls
mod client; // the client of a connection
mod stats; // the statistics of a server
mod address; // addresses of clients and listeners
mod clock; // a point in time
mod input; // bytes not yet used
mod network; // networks of addresses
mod stage; // what a conversation waits for, with a time limit

pub use address::Address;
pub(crate) use background::AbandonedAtEnd;
pub use background::{Jobs, OnStop, Refused, Stop};
pub use client::{Client, TlsInfo};
pub(crate) use contain::{Contained, catch, contain, message_of, text_of};
pub(crate) use handle::Control;
pub use handle::ServerHandle;
pub use input::Input;
pub use lines::{Flow, LineHandler, LineSender, Lines, Refusal};
pub(crate) use listen::DatagramSocket;
pub use listen::Listen;
#[cfg(feature = "tls")]
pub(crate) use listen::reason;
#[cfg(feature = "proxy")]
pub(crate) use live::Live;
pub(crate) use live::{LiveKind, LivePlace, LiveRefusal};
pub use memory::available_memory;
pub(crate) use memory::{
    CONNECTION, TLS_CONNECTION, connections_by_descriptors, connections_in, default_workers, input_quota,
};
pub use network::{InvalidNetwork, IpNetwork};
pub use output::{Output, Piece, SharedBytes};
pub(crate) use protocol::BlockingInput;
#[cfg(feature = "tls")]
pub(crate) use protocol::meet;
pub use protocol::{Action, Codec, Conversation, Event, Handover, IntoProtocol, Protocol, Raw, Stage, Turn};
pub use proxy_protocol::ProxyProtocol;
pub(crate) use scheduler::MayBlock;
pub use scheduler::Waker;
pub use server::TcpServer;
pub use stats::{ListenerStats, Stats};
pub(crate) use stream::PacedWriter;
pub use stream::{Stream, StreamWriter};
pub use stream_handler::{StreamHandler, streams};
pub(crate) use sync::{Instant, from_std, now, panicking, to_std};
pub(crate) use sys::{NO_SIGNAL, WAYS, address_of, has_ended, receive_from};
#[cfg(feature = "proxy")]
pub(crate) use sys::{PollFlags, acknowledge, cut_off, error_was_taken, probe, wait_until_ready};
#[cfg(feature = "proxy")]
pub(crate) use watched_socket::WatchedSocket;
#[cfg(feature = "proxy")]
pub(crate) use watched_sockets::{SocketWatcher, WatchedPlace};
pub use workers::{keep_thread, keep_thread_if, waited_for_lock};
