//! Responses to clients that do not use TLS on a TLS port.

/// Returns whether this can be the first byte of an HTTP request: methods are in capitals, and no record begins with a
/// capital letter.
pub fn is_http(first: u8) -> bool {
    first.is_ascii_uppercase()
}

/// The response to a client that uses HTTP. Its request is not read, because it may be incomplete.
pub const TO_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
    content-length: 49\r\ncache-control: no-store\r\nconnection: close\r\n\r\n\
    This port serves HTTPS: use a URL with https://.\n";

/// The response to any other client: a fatal alert, `protocol_version` (RFC 8446, section 6.2). SSL 2 clients also get
/// it.
pub const TO_OTHERS: &[u8] = &[21, 3, 1, 0, 2, 2, 70];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_length_matches_the_text() {
        let said = std::str::from_utf8(TO_HTTP).unwrap();
        let (head, text) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", text.len())), "{}", text.len());
    }
}
