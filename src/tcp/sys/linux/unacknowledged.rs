//! How many bytes of output have not arrived yet, as counted by the kernel. Used by `transport`.
//!
//! A socket becomes writable only when a large part of its buffer is free (64 KiB, or a third of the buffer). So a
//! client that reads 1 KiB per second seems to read nothing for a minute. The exact number is available from
//! `SIOCOUTQ`, which needs `unsafe`, or from sock_diag(7), which takes a netlink socket, a request and a reply,
//! together about 11 µs. So the kernel is asked only for clients that seem to have read nothing for a while.

use std::net::{IpAddr, SocketAddr};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// SOCK_DIAG_BY_FAMILY: the type of the request and of the reply.
const BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// The position of `idiag_wqueue` in the reply: after the header, four bytes, the addresses (48), two words.
const WRITE_QUEUE: usize = HEADER + 4 + 48 + 8;

/// The position of `idiag_state` in the reply.
const STATE: usize = HEADER + 1;
/// The state of a listener (`net/tcp_states.h`).
const TCP_LISTEN: u8 = 10;

/// Returns how many bytes of the TCP connection between these addresses are unsent or unacknowledged. `None` if the
/// kernel does not report it (not compiled in, or forbidden by a sandbox).
pub fn unacknowledged(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG)).ok()?;
    send(&socket, &request(local, peer), SendFlags::empty()).ok()?; // without an address: to the kernel
    let mut answer = [0; 1024];
    // the reply exists when the send call returns
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
    parse(&answer[..length])
}

/// Returns `struct nlmsghdr` and `struct inet_diag_req_v2`.
fn request(local: SocketAddr, peer: SocketAddr) -> [u8; REQUEST] {
    let (family, interface) = match local {
        SocketAddr::V4(_) => (AF_INET, 0),
        SocketAddr::V6(local) => (AF_INET6, local.scope_id()),
    };
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port: there is only one request
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in any state
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(sixteen_bytes(local.ip()));
    bytes.extend(sixteen_bytes(peer.ip()));
    bytes.extend(interface.to_ne_bytes());
    bytes.extend([0xFF; 8]); // no cookie is known
    bytes.try_into().unwrap_or([0; REQUEST])
}

fn sixteen_bytes(address: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match address {
        IpAddr::V4(address) => bytes[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes = address.octets(),
    }
    bytes
}

/// Returns the bytes in the write queue. For a connection that is gone the kernel can report the listener of its port,
/// whose write queue counts connections.
fn parse(answer: &[u8]) -> Option<u64> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    if *answer.get(STATE)? == TCP_LISTEN {
        return None;
    }
    let queue = answer.get(WRITE_QUEUE..WRITE_QUEUE + 4)?.try_into().ok()?;
    (kind == BY_FAMILY).then(|| u32::from_ne_bytes(queue).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    /// If the kernel reports nothing, the call returns `None`. If it reports a number, the number is correct.
    #[test]
    fn the_kernel_reports_unacknowledged_bytes() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue }; // a machine without IPv6
            let mut server_address = listener.local_addr().unwrap();
            if address == "[::]:0" {
                server_address.set_ip("127.0.0.1".parse().unwrap()); // seen by the server as ::ffff:127.0.0.1
            }
            let mut client = TcpStream::connect(server_address).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
            let Some(before) = unacknowledged(local, peer) else { continue };
            assert_eq!(before, 0, "{address}");
            stream.set_nonblocking(true).unwrap();
            let mut sent = 0;
            while let Ok(count) = stream.write(&[b'x'; 65536]) {
                sent += count as u64;
            }
            let held = unacknowledged(local, peer).unwrap();
            assert!(held > 0 && held <= sent, "{address}: {held} of {sent}");
            let mut left = sent;
            let mut buffer = [0; 65536];
            while left > 0 {
                left -= client.read(&mut buffer).unwrap() as u64;
            }
            let start = Instant::now();
            while unacknowledged(local, peer) != Some(0) {
                assert!(
                    start.elapsed() < Duration::from_secs(10),
                    "{address}: the client has read everything, but some is still unacknowledged"
                );
            }
        }
    }

    #[test]
    fn a_missing_connection_has_no_byte_count() {
        let nowhere = "127.0.0.1:1".parse().unwrap();
        assert_eq!(unacknowledged(nowhere, nowhere), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(unacknowledged(listener.local_addr().unwrap(), nowhere), None, "a listener is no connection");
        assert_eq!(parse(&[0; 10]), None);
    }
}
