//! Sockets, the poller and what else the kernel does for a server, under one name each.
//! The engine takes them from here and nowhere else, so that the simulation can run its very files on a simulated
//! machine (`tests/simulation`).

pub use mio::net::{TcpListener, TcpStream};
pub use mio::{Events, Interest, Poll, Registry, Token, Waker};
pub use rustix::fs::sendfile;
pub use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
pub use socket2::SockRef;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

/// Whether somebody waits to be accepted at this moment.
pub fn somebody_waits(listener: &TcpListener) -> rustix::io::Result<bool> {
    let no_time = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&no_time))? > 0)
}
