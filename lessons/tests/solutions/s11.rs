//! Page 11.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;

use lessons::path::UrlPath;

/// Exercise 1: whether the part can be sent. A client that resumes a download would otherwise join halves of two files.
/// Only a strong tag fits (RFC 9110, section 13.1.5): a weak one, `W/"..."`, is for contents that are merely alike.
fn part_fits(if_range: Option<&str>, etag: &str) -> bool {
    if_range.is_none_or(|tag| tag == etag && !tag.starts_with("W/"))
}

/// Exercise 3: the type is that of the output. It must be pieces, of which each is bytes or a part of a file, since the
/// engine writes and a conversation only appends. (In `modest` it is `Piece`, in src/tcp/output.rs.)
enum Piece {
    Bytes(Vec<u8>),
    Part { file: File, from: u64, length: usize },
}

/// Writes a piece to a socket, here one that blocks.
fn write(socket: &mut TcpStream, piece: Piece) -> io::Result<()> {
    match piece {
        Piece::Bytes(bytes) => socket.write_all(&bytes),
        Piece::Part { file, mut from, mut length } => {
            while length > 0 {
                match rustix::fs::sendfile(&*socket, &file, Some(&mut from), length)? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()), // the file has become shorter
                    sent => length -= sent,
                }
            }
            Ok(())
        }
    }
}

#[test]
fn if_range_must_match_the_etag() {
    for (field, expected) in [(None, true), (Some("\"a\""), true), (Some("\"b\""), false), (Some("W/\"a\""), false)] {
        assert_eq!(part_fits(field, "\"a\""), expected, "{field:?}");
    }
}

/// Exercise 2: 7 + 7^2 + ... + 7^5 = 19,607 strings.
#[test]
fn no_path_leaves_the_folder() {
    let mut all = vec![String::new()];
    let mut count = 0;
    for _ in 0..5 {
        all = all.iter().flat_map(|text| "/.%2efa".chars().map(move |next| format!("{text}{next}"))).collect();
        for target in &all {
            count += 1;
            let Ok(path) = UrlPath::parse(target) else { continue };
            for name in &path.names {
                assert!(
                    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']),
                    "{target} has {name:?}"
                );
            }
        }
    }
    assert_eq!(count, 19_607);
}

#[test]
fn part_of_a_file_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut socket = listener.accept().unwrap().0;
    let file = File::open("pages/cake.txt").unwrap();
    assert_eq!(file.metadata().unwrap().size(), 28);
    write(&mut socket, Piece::Bytes(b"with ".to_vec())).unwrap();
    write(&mut socket, Piece::Part { file, from: 7, length: 6 }).unwrap();
    drop(socket);
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    assert_eq!(received, "with butter");
    let (file, mut socket) =
        (File::open("pages/cake.txt").unwrap(), TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let error = write(&mut socket, Piece::Part { file, from: 20, length: 100 }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
