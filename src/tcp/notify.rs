//! Notifies systemd of the server's state (sd_notify(3)): a datagram to the socket in the environment, if there is one.

use std::env;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use log::warn;

use super::sys;

/// How long a receiver that does not read can delay the server.
const LIMIT: Duration = Duration::from_secs(1);

/// Reports that the server accepts clients.
pub fn ready() {
    notify("READY=1");
}

/// Reports that the server begins to shut down.
pub fn stopping() {
    notify("STOPPING=1");
}

fn notify(state: &str) {
    if let Some(socket) = env::var_os("NOTIFY_SOCKET")
        && let Err(err) = send(socket.as_bytes(), state)
    {
        warn!("can't notify systemd of {state} (NOTIFY_SOCKET={}): {err}", socket.as_bytes().escape_ascii());
    }
}

fn send(socket: &[u8], state: &str) -> io::Result<()> {
    let address = sys::notify_address(socket)?;
    let sender = UnixDatagram::unbound()?;
    sender.set_write_timeout(Some(LIMIT))?;
    sender.send_to_addr(state.as_bytes(), &address).map(|_| ())
}
