//! Checks that the Linux code and the portable code both pass.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

fn pair() -> (TcpStream, ClientStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, address) = ListeningSocket::from(OwnedFd::from(listener)).accept().unwrap();
    assert_eq!(address, Address::Inet(client.local_addr().unwrap()));
    (client, stream)
}

#[test]
fn a_client_stream_does_not_block_and_is_not_inherited() {
    let (_client, stream) = pair();
    assert_eq!(recv(&stream, &mut [0; 1], RecvFlags::empty()).unwrap_err(), Errno::WOULDBLOCK);
    assert!(rustix::io::fcntl_getfd(&stream).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
}

/// A part of a file is sent from any position, with any length, up to the end of the file.
#[test]
fn a_part_of_a_file_is_sent() {
    let mut file = tempfile::NamedTempFile::new().unwrap().into_file();
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| ((n * 7) >> 3) as u8).collect();
    file.write_all(&bytes).unwrap();
    for is_copied in [false, true] {
        let send = |stream: &ClientStream, at: &mut u64, count| match is_copied {
            false => sendfile(stream, &file, at, count),
            true => send_copy(stream, &file, at, count),
        };
        for (start, count, sent) in [(0, 0, 0), (0, 10, 10), (199_990, 100, 10), (200_000, 5, 0), (300_000, 5, 0)] {
            let (mut client, stream) = pair();
            let mut at = start;
            assert_eq!(send(&stream, &mut at, count), Ok(sent), "{count} from {start}");
            assert_eq!(at, start + sent as u64, "{count} from {start}");
            drop(stream);
            let mut received: Vec<u8> = Vec::new();
            client.read_to_end(&mut received).unwrap();
            let start = (start as usize).min(bytes.len());
            assert_eq!(received, bytes[start..start + sent], "{count} from {start}");
        }
        let (mut client, stream) = pair();
        let mut at = 0;
        let mut received: Vec<u8> = Vec::new();
        while received.len() < bytes.len() {
            let count = bytes.len() - at as usize;
            match send(&stream, &mut at, count) {
                Ok(_) | Err(Errno::WOULDBLOCK) => {}
                Err(err) => panic!("{err} at {at}"),
            }
            let mut piece = [0; 4096];
            let count = client.read(&mut piece).unwrap();
            received.extend(&piece[..count]);
        }
        assert!(received == bytes, "the client must receive every byte");
    }
}

#[test]
fn a_disconnected_client_causes_an_error() {
    let (client, stream) = pair();
    drop(client);
    // The client's system resets the connection after the first bytes.
    let _ = send(&stream, b"x", NO_SIGNAL);
    wait_until_ready(&stream, PollFlags::HUP, Some(Duration::from_secs(30))).unwrap();
    let error = send(&stream, b"x", NO_SIGNAL.union(MORE)).unwrap_err();
    assert!(matches!(error, Errno::PIPE | Errno::CONNRESET), "{error}");
}

#[test]
fn unsent_bytes_are_limited() {
    let (_client, stream) = pair();
    limit_unsent(&stream, 64 << 10).unwrap();
    let mut sent = 0;
    while let Ok(count) = send(&stream, &[b'x'; 4096], NO_SIGNAL) {
        sent += count;
    }
    // The client's own buffer accepts more.
    assert!(sent < 8 << 20, "the kernel took {sent} bytes for a client that reads nothing");
    limit_unsent(&stream, u32::MAX).unwrap();
}

#[test]
fn listening_sockets_are_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    let unbound = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap().into_file();
    for (fd, expected) in [
        (listener.as_fd(), true),
        (client.as_fd(), false),
        (server.as_fd(), false),
        (unbound.as_fd(), false),
        (datagrams.as_fd(), false),
        (file.as_fd(), false),
    ] {
        assert_eq!(is_listening(fd).unwrap_or(false), expected, "{fd:?}");
    }
}

#[test]
fn a_truncated_datagram_is_recognized() {
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 4];
    assert_eq!(receive_from(&receiver, &mut buffer).unwrap_err(), Errno::WOULDBLOCK);
    for (sent, is_cut) in [("", false), ("abcd", false), ("abcde", true), ("abcdefgh", true)] {
        sender.send_to(sent.as_bytes(), receiver.local_addr().unwrap()).unwrap();
        let (length, from) = receive_from(&receiver, &mut buffer).unwrap();
        assert_eq!(length > buffer.len(), is_cut, "{sent}: {length}");
        assert_eq!(&buffer[..length.min(4)], &sent.as_bytes()[..sent.len().min(4)]);
        assert_eq!(address_of(from), Address::Inet(sender.local_addr().unwrap()), "{sent}");
    }
}
