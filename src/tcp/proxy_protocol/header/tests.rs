//! Valid and invalid headers: whole, cut after every byte, and followed by bytes.

use super::*;

fn binary(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, kind], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];

fn v6(source: &str) -> Vec<u8> {
    let (source, destination): (Ipv6Addr, Ipv6Addr) = (source.parse().unwrap(), "2001:db8::2".parse().unwrap());
    [&source.octets()[..], &destination.octets(), &[0xdc, 0x04, 0x01, 0xbb]].concat()
}

#[test]
fn valid_headers() {
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let long = "2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff";
    let tlv = [&V4[..], &[0x04, 0, 3, 1, 2, 3], &[0x03, 0, 4, 0, 0, 0, 0]].concat();
    let torn_tlv = [&V4[..], &[0x04, 0xff, 0xff]].concat();
    for (name, bytes, source) in [
        ("TCP4", line("TCP4 192.168.0.1 192.168.0.11 56324 443"), Some("192.168.0.1:56324")),
        ("TCP4, longest", line("TCP4 255.255.255.255 255.255.255.255 65535 65535"), Some("255.255.255.255:65535")),
        ("TCP4, shortest", line("TCP4 0.0.0.0 0.0.0.0 0 0"), Some("0.0.0.0:0")),
        ("TCP6", line("TCP6 2001:db8::1 ::1 56324 443"), Some("[2001:db8::1]:56324")),
        ("TCP6, longest", line(&format!("TCP6 {long} {long} 65535 65535")), Some(&format!("[{long}]:65535")[..])),
        ("TCP6 in capitals", line("TCP6 2001:DB8::1 ::1 1 2"), Some("[2001:db8::1]:1")),
        // As `inet_ntop` writes it.
        ("TCP6, an IPv4 address in it", line("TCP6 ::ffff:1.2.3.4 ::1 1 2"), Some("[::ffff:1.2.3.4]:1")),
        ("UNKNOWN", line("UNKNOWN"), None),
        ("UNKNOWN with a space", line("UNKNOWN "), None),
        ("UNKNOWN, longest", line(&format!("UNKNOWN {long} {long} 65535 65535")), None),
        ("UNKNOWN and anything", line("UNKNOWN \0\u{e9} PROXY"), None),
        ("LOCAL", binary(0x20, 0x00, &[]), None),
        ("LOCAL with addresses", binary(0x20, 0x11, &V4), None),
        ("LOCAL, half an address", binary(0x20, 0x11, &V4[..5]), None),
        ("LOCAL of no known kind", binary(0x20, 0xff, &[1, 2, 3]), None),
        ("IPv4", binary(0x21, 0x11, &V4), Some("192.0.2.1:56324")),
        ("IPv4 with TLVs", binary(0x21, 0x11, &tlv), Some("192.0.2.1:56324")),
        ("IPv4 with a TLV that is not whole", binary(0x21, 0x11, &torn_tlv), Some("192.0.2.1:56324")),
        ("IPv6", binary(0x21, 0x21, &v6("2001:db8::1")), Some("[2001:db8::1]:56324")),
        ("IPv6, an IPv4 address in it", binary(0x21, 0x21, &v6("::ffff:1.2.3.4")), Some("[::ffff:1.2.3.4]:56324")),
        ("longest", binary(0x21, 0x11, &[&V4[..], &[0; 4068]].concat()), Some("192.0.2.1:56324")),
        ("datagrams over IPv4", binary(0x21, 0x12, &V4), None),
        ("datagrams over IPv6", binary(0x21, 0x22, &v6("::1")), None),
        ("a Unix socket", binary(0x21, 0x31, &[b'/'; 216]), None),
        ("a Unix datagram", binary(0x21, 0x32, &[b'/'; 216]), None),
        ("no address", binary(0x21, 0x00, &[]), None),
        ("no address, with more", binary(0x21, 0x00, &[1, 2, 3]), None),
        ("no family", binary(0x21, 0x01, &[]), None),
        ("no transport", binary(0x21, 0x10, &V4), None),
    ] {
        let wanted = Header { length: bytes.len(), source: source.map(|source| source.parse().unwrap()) };
        assert_eq!(parse(&bytes), Ok(Some(wanted)), "{name}");
        assert_eq!(
            parse(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat()),
            Ok(Some(wanted)),
            "{name}, followed by a request"
        );
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{name}, cut after {length} bytes");
        }
    }
}

#[test]
fn malformed_headers() {
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let wide = |command, kind, length: u16| [SIGNATURE, &[command, kind], &length.to_be_bytes()].concat();
    let long = "2001:0db8:ffff:ffff:ffff:ffff:ffff:ffff";
    for (name, bytes) in [
        ("a request", b"GET / HTTP/1.1\r\n".to_vec()),
        ("a TLS hello", vec![22, 3, 1]),
        ("an end of line", b"\n".to_vec()),
        ("lower case", b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec()),
        ("a tab", b"PROXY\tTCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec()),
        ("nothing", line("")),
        ("nothing at all", b"PROXY\r\n".to_vec()),
        ("no such family", line("TCP5 1.2.3.4 1.2.3.4 1 2")),
        ("a family in lower case", line("tcp4 1.2.3.4 1.2.3.4 1 2")),
        ("UNKNOWN and more", line("UNKNOWNS")),
        ("UDP", line("UDP4 1.2.3.4 1.2.3.4 1 2")),
        ("two spaces", line("TCP4  1.2.3.4 1.2.3.4 1 2")),
        ("a space at the end", line("TCP4 1.2.3.4 1.2.3.4 1 2 ")),
        ("a word more", line("TCP4 1.2.3.4 1.2.3.4 1 2 3")),
        ("a word less", line("TCP4 1.2.3.4 1.2.3.4 1")),
        ("no ports", line("TCP4 1.2.3.4 1.2.3.4")),
        ("IPv6 for TCP4", line("TCP4 ::1 ::1 1 2")),
        ("IPv4 for TCP6", line("TCP6 1.2.3.4 1.2.3.4 1 2")),
        ("IPv4, and IPv6", line("TCP4 1.2.3.4 ::1 1 2")),
        ("a zero in front of a number", line("TCP4 01.2.3.4 1.2.3.4 1 2")),
        ("a number too large", line("TCP4 256.2.3.4 1.2.3.4 1 2")),
        ("three numbers", line("TCP4 1.2.3 1.2.3.4 1 2")),
        ("a name", line("TCP4 localhost 1.2.3.4 1 2")),
        ("brackets", line("TCP6 [::1] ::1 1 2")),
        ("a scope", line("TCP6 fe80::1%1 ::1 1 2")),
        ("two double colons", line("TCP6 1::2::3 ::1 1 2")),
        ("an invalid destination", line("TCP4 1.2.3.4 - 1 2")),
        ("a zero in front of a port", line("TCP4 1.2.3.4 1.2.3.4 01 2")),
        ("two zeros", line("TCP4 1.2.3.4 1.2.3.4 00 2")),
        ("a plus sign", line("TCP4 1.2.3.4 1.2.3.4 +1 2")),
        ("a minus sign", line("TCP4 1.2.3.4 1.2.3.4 -1 2")),
        ("a port too large", line("TCP4 1.2.3.4 1.2.3.4 65536 2")),
        ("a destination's port too large", line("TCP4 1.2.3.4 1.2.3.4 1 65536")),
        ("a port in hex", line("TCP4 1.2.3.4 1.2.3.4 0x1 2")),
        ("LF alone", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec()),
        ("CR alone", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rG".to_vec()),
        ("CR in UNKNOWN", b"PROXY UNKNOWN \r \r\n".to_vec()),
        ("not UTF-8", b"PROXY TCP4 \xff 1.2.3.4 1 2\r\n".to_vec()),
        ("108 bytes", line(&format!("UNKNOWN {long} {long} 65535 65535 "))),
        ("no end of line in 107 bytes", [b"PROXY UNKNOWN ", &[b'x'; 92][..]].concat()),
        ("no CR LF in 107 bytes", [b"PROXY UNKNOWN ", &[b'x'; 92][..], b"\r\n"].concat()),
        ("a signature with a mistake", b"\r\n\r\n\0\r\nQUIT\r".to_vec()),
        ("version 1 in binary", [SIGNATURE, &[0x11]].concat()),
        ("version 3", [SIGNATURE, &[0x31]].concat()),
        ("no version", [SIGNATURE, &[0x01]].concat()),
        ("no such command", [SIGNATURE, &[0x22]].concat()),
        ("no such family, binary", [SIGNATURE, &[0x21, 0x41]].concat()),
        ("no such transport", [SIGNATURE, &[0x21, 0x13]].concat()),
        ("IPv4, too short", wide(0x21, 0x11, 11)),
        ("datagrams over IPv4, too short", wide(0x21, 0x12, 11)),
        ("IPv6, too short", wide(0x21, 0x21, 35)),
        ("a Unix socket, too short", wide(0x21, 0x31, 215)),
        ("4097 bytes", wide(0x21, 0x11, 4081)),
        ("LOCAL, 4097 bytes", wide(0x20, 0x00, 4081)),
        ("64 KiB", wide(0x21, 0x11, 65535)),
    ] {
        let found = parse(&bytes);
        assert!(found.is_err(), "{name}: {found:?}");
        assert_eq!(parse(&[&bytes[..], b"GET / HTTP/1.1\r\n"].concat()), found, "{name}, followed by a request");
        for length in 0..bytes.len() {
            let cut = parse(&bytes[..length]);
            assert!(cut == Ok(None) || cut.is_err(), "{name}, cut after {length} bytes: {cut:?}");
        }
    }
}
