//! Determines whether bytes are text, and in which encoding: UTF-8, or another that the text itself declares. Called by
//! `mime` with the beginning of a file.

#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning<'a> {
    pub bytes: &'a [u8],
    /// Whether the file ends here.
    pub is_all: bool,
}

/// How far to search for binary bytes.
const TEXT_SCAN: usize = 4096;

/// In how many of the first bytes a declaration is searched. The whole declaration must be in them (WHATWG HTML,
/// section 13.2.3.2).
const PRESCAN: usize = 1024;

/// The labels of UTF-8 and UTF-16. A declaration in ASCII cannot be in UTF-16, so UTF-16 counts as UTF-8 (WHATWG
/// Encoding, section 4.2; WHATWG HTML, section 13.2.3.2).
const UTF_8_LABELS: &str = "csunicode iso-10646-ucs-2 ucs-2 unicode unicode-1-1-utf-8 unicode11utf8 unicode20utf8 \
     unicodefeff unicodefffe utf-16 utf-16be utf-16le utf-8 utf8 x-unicode20utf8";

impl Beginning<'_> {
    /// Returns whether the first 4 KiB are text in any encoding: they begin with the byte order mark of UTF-16, or have
    /// no control characters except white space and ESC (WHATWG MIME Sniffing, section 7.2). An empty file is text.
    pub fn is_text(&self) -> bool {
        let start = &self.bytes[..self.bytes.len().min(TEXT_SCAN)];
        let binary = |byte: u8| matches!(byte, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
        // Without an early exit the loop is vectorized.
        self.bytes.starts_with(b"\xfe\xff")
            || self.bytes.starts_with(b"\xff\xfe")
            || !start.chunks(256).any(|block| block.iter().fold(false, |any, &byte| any | binary(byte)))
    }

    /// Returns whether `charset=utf-8` is correct for text of this type (without parameters): all known bytes are
    /// UTF-8, and the text declares no other encoding, which the parameter would override.
    ///
    /// All available bytes are checked, because the first character that is not UTF-8 can come late. For 64 KiB in
    /// memory that takes 1.5 us for ASCII and about 30 us for text with other characters, once each time the file is
    /// read.
    pub fn is_utf_8(&self, media_type: &str) -> bool {
        let is_valid = match str::from_utf8(self.bytes) {
            Ok(_) => true,
            Err(error) => error.error_len().is_none() && !self.is_all, // the last character is cut off
        };
        is_valid && self.declared(media_type).is_none_or(|label| is_label_of_utf_8(&label))
    }

    /// Returns the encoding that the text itself declares. A byte order mark has precedence over any declaration.
    fn declared(&self, media_type: &str) -> Option<Vec<u8>> {
        if self.bytes.starts_with(b"\xef\xbb\xbf") {
            return None;
        }
        let start = &self.bytes[..self.bytes.len().min(PRESCAN)];
        match media_type {
            "text/html" => xml_declaration(start).or_else(|| Prescan { bytes: start, at: 0 }.meta()),
            "text/xml" | "text/xsl" | "text/x-opml" => xml_declaration(start),
            "text/css" => until(start.strip_prefix(b"@charset \"")?, b'"'),
            _ => None,
        }
    }
}

fn is_label_of_utf_8(label: &[u8]) -> bool {
    let label = label.trim_ascii().to_ascii_lowercase();
    str::from_utf8(&label).is_ok_and(|label| UTF_8_LABELS.split(' ').any(|known| known == label))
}

fn until(bytes: &[u8], end: u8) -> Option<Vec<u8>> {
    Some(bytes[..memchr::memchr(end, bytes)?].to_vec())
}

/// Returns the label of `<?xml version="1.0" encoding="LABEL"?>`, which browsers also accept in HTML.
fn xml_declaration(start: &[u8]) -> Option<Vec<u8>> {
    let declaration = until(start.strip_prefix(b"<?xml")?, b'>')?;
    let rest = &declaration[memchr::memmem::find(&declaration, b"encoding")? + b"encoding".len()..];
    match rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start() {
        [quote @ (b'"' | b'\''), label @ ..] => until(label, *quote),
        _ => None,
    }
}

/// Looks for `<meta charset>` as a browser does before it parses (WHATWG HTML, section 13.2.3.2).
/// Every step returns `None` if the bytes end: then nothing is declared.
struct Prescan<'a> {
    bytes: &'a [u8],
    at: usize,
}

struct Attribute {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Prescan<'_> {
    fn meta(mut self) -> Option<Vec<u8>> {
        loop {
            let rest = &self.bytes[self.at + memchr::memchr(b'<', &self.bytes[self.at..])?..];
            self.at = self.bytes.len() - rest.len();
            match rest {
                // `<!-->` is also a complete comment.
                [b'<', b'!', b'-', b'-', ..] => self.at += 2 + memchr::memmem::find(&rest[2..], b"-->")? + 3,
                [b'<', m, e, t, a, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r' | b'/', ..]
                    if [*m, *e, *t, *a].eq_ignore_ascii_case(b"meta") =>
                {
                    self.at += 5;
                    if let Some(label) = self.label_of_meta()? {
                        return Some(label);
                    }
                }
                [b'<', b'a'..=b'z' | b'A'..=b'Z', ..] | [b'<', b'/', b'a'..=b'z' | b'A'..=b'Z', ..] => {
                    while !is_space(self.byte()?) && self.byte()? != b'>' {
                        self.at += 1;
                    }
                    while self.attribute()?.is_some() {}
                }
                [b'<', b'!' | b'/' | b'?', ..] => self.at += memchr::memchr(b'>', rest)? + 1,
                _ => self.at += 1,
            }
        }
    }

    /// Called after `<meta`. Returns the label in this element, if there is one.
    fn label_of_meta(&mut self) -> Option<Option<Vec<u8>>> {
        let (mut names, mut is_pragma, mut needs_pragma, mut label) = (Vec::new(), false, false, None);
        while let Some(Attribute { name, value }) = self.attribute()? {
            if names.contains(&name) {
                continue;
            }
            match &name[..] {
                b"http-equiv" => is_pragma = value == b"content-type",
                b"content" if label.is_none() => {
                    label = label_in_content(&value);
                    needs_pragma = label.is_some();
                }
                b"charset" => (label, needs_pragma) = (Some(value), false),
                _ => {}
            }
            names.push(name);
        }
        Some(label.filter(|_| is_pragma || !needs_pragma))
    }

    /// Returns the next attribute of an element, in lower case, or `Some(None)` at the end of the element.
    fn attribute(&mut self) -> Option<Option<Attribute>> {
        while is_space(self.byte()?) || self.byte()? == b'/' {
            self.at += 1;
        }
        let (mut name, mut value) = (Vec::new(), Vec::new());
        loop {
            match self.byte()? {
                b'>' if name.is_empty() => return Some(None),
                b'/' | b'>' => return Some(Some(Attribute { name, value })),
                b'=' if !name.is_empty() => break,
                byte if is_space(byte) => {
                    self.skip_spaces()?;
                    if self.byte()? != b'=' {
                        return Some(Some(Attribute { name, value }));
                    }
                    break;
                }
                byte => name.push(byte.to_ascii_lowercase()),
            }
            self.at += 1;
        }
        self.at += 1; // the `=`
        self.skip_spaces()?;
        let quote = Some(self.byte()?).filter(|byte| matches!(byte, b'"' | b'\''));
        self.at += usize::from(quote.is_some());
        loop {
            let byte = self.byte()?;
            match quote {
                Some(quote) if byte == quote => {
                    self.at += 1;
                    break;
                }
                None if is_space(byte) || byte == b'>' => break,
                _ => value.push(byte.to_ascii_lowercase()),
            }
            self.at += 1;
        }
        Some(Some(Attribute { name, value }))
    }

    fn skip_spaces(&mut self) -> Option<()> {
        while is_space(self.byte()?) {
            self.at += 1;
        }
        Some(())
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')
}

/// Returns the label in `text/html; charset=LABEL` (WHATWG HTML, section 2.5.5, "extracting a character encoding"), in
/// lower case.
fn label_in_content(content: &[u8]) -> Option<Vec<u8>> {
    let mut rest = content;
    loop {
        rest = rest[memchr::memmem::find(rest, b"charset")? + b"charset".len()..].trim_ascii_start();
        let Some(value) = rest.strip_prefix(b"=") else { continue };
        return match value.trim_ascii_start() {
            [quote @ (b'"' | b'\''), label @ ..] => until(label, *quote),
            label => {
                let end = label.iter().position(|&byte| is_space(byte) || byte == b';');
                Some(label[..end.unwrap_or(label.len())].to_vec())
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_declared_in_html_are_found() {
        let late = format!("{}<meta charset=koi8-r>", " ".repeat(1004));
        for (page, expected) in [
            ("", ""),
            ("<p>charset=koi8-r", ""),
            ("<meta charset=koi8-r>", "koi8-r"),
            ("<META CHARSET = \"KOI8-R\" >", "koi8-r"),
            ("<meta/charset='koi8-r'/>", "koi8-r"),
            ("<metadata charset=koi8-r>", ""),
            ("<meta charset=koi8-r", ""),
            ("<meta name=a charset=koi8-r>", "koi8-r"),
            ("<meta charset=koi8-r charset=utf-8>", "koi8-r"),
            ("<meta name=\"viewport\" content=\"width=device-width\"><meta charset=koi8-r>", "koi8-r"),
            ("<meta http-equiv=Content-Type content='text/html; charset=koi8-r'>", "koi8-r"),
            ("<meta content='text/html;charset = \"koi8-r\"' http-equiv=content-type>", "koi8-r"),
            ("<meta content='text/html;charset=\"koi8-r' http-equiv=content-type>", ""),
            ("<meta content=\"text/html;charset = 'koi8-r' x\" http-equiv=content-type>", "koi8-r"),
            ("<meta content='charset charset=koi8-r; x' http-equiv=content-type>", "koi8-r"),
            ("<meta content='text/html; charset=koi8-r'>", ""),
            ("<meta http-equiv=refresh content='0; charset=koi8-r'>", ""),
            ("<meta http-equiv=content-type content=text/html><meta charset=koi8-r>", "koi8-r"),
            ("<!-- <meta charset=utf-8> --><meta charset=koi8-r>", "koi8-r"),
            ("<!--><meta charset=koi8-r>", "koi8-r"),
            ("<!-- <meta charset=koi8-r>", ""),
            ("<!DOCTYPE html><meta charset=koi8-r>", "koi8-r"),
            ("<a title='<meta charset=utf-8>'><meta charset=koi8-r>", "koi8-r"),
            ("<a title=\"<meta charset=koi8-r>", ""),
            ("</p <meta charset=utf-8>><meta charset=koi8-r>", "koi8-r"),
            ("<?php <meta charset=utf-8> ?><meta charset=koi8-r>", "koi8-r"),
            ("< meta charset=utf-8><<meta charset=koi8-r>", "koi8-r"),
            ("<?xml version='1.0' encoding='koi8-r'?><html>", "koi8-r"),
            ("\u{feff}<meta charset=koi8-r>", ""),
            (&late, ""), // its `>` is the byte 1025
            (&late[1..], "koi8-r"),
        ] {
            let beginning = Beginning { bytes: page.as_bytes(), is_all: true };
            let declared = beginning.declared("text/html").unwrap_or_default();
            let declared = String::from_utf8_lossy(&declared).to_lowercase();
            assert_eq!(declared, expected, "{page}");
        }
    }

    /// The scan ends on any content, and stays within the bytes.
    #[test]
    fn the_charset_scan_ends_on_any_input() {
        let pieces: [&[u8]; 12] =
            [b"<", b"!--", b"-->", b"meta", b" ", b"charset", b"=", b"\"", b">", b"/", b"http-equiv", b"\xff"];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut page = Vec::new();
            for _ in 0..state % 24 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                page.extend_from_slice(pieces[(state >> 33) as usize % pieces.len()]);
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
            for media_type in ["text/html", "text/xml", "text/css"] {
                Beginning { bytes: &page, is_all: true }.declared(media_type);
            }
        }
    }
}
