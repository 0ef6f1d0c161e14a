//! Finds the end of a record (RFC 8446, section 5.1). rustls checks everything else.

/// The header: type, version and length.
const HEADER: usize = 5;
/// The maximum length of a record: 2^14 bytes, and the overhead of encryption (RFC 5246, section 6.2.3; less in TLS
/// 1.3).
const MOST: usize = (1 << 14) + 2048;
/// The valid types: change_cipher_spec, alert, handshake and application_data.
const TYPES: std::ops::RangeInclusive<u8> = 20..=23;

/// Returns whether a client that sends this first byte uses TLS. Anything but a handshake is then an error of TLS.
pub fn is_tls(first: u8) -> bool {
    TYPES.contains(&first)
}

/// Returns the length of the first record if it is complete. For an invalid record, the length of its header, which
/// rustls needs to determine the error.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let &[kind, _, _, high, low] = bytes.first_chunk::<HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !TYPES.contains(&kind) || length > MOST {
        return Some(HEADER);
    }
    (bytes.len() >= HEADER + length).then_some(HEADER + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_whole_if_it_is_complete_or_invalid() {
        for (bytes, wanted) in [
            (&b""[..], None),
            (b"\x16\x03\x01\x00", None),
            (b"\x16\x03\x01\x00\x00", Some(5)),
            (b"\x16\x03\x01\x00\x02a", None),
            (b"\x16\x03\x01\x00\x02ab", Some(7)),
            (b"\x16\x03\x01\x00\x02abc", Some(7)),
            (b"\x17\x03\x03\x48\x00", None),
            (b"\x17\x03\x03\x48\x01", Some(5)),
            (b"\x18\x03\x03\x00\x02", Some(5)),
            (b"GET / ", Some(5)),
        ] {
            assert_eq!(whole(bytes), wanted, "{}", bytes.escape_ascii());
        }
    }
}
