//! The headers of a tar (POSIX.1-2017, pax: ustar and extended headers). Pure. Called by `writer`.

use super::entry::Entry;

const BLOCK: usize = 512;
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];
/// The largest number in ustar: eleven octal digits.
const MAX_NUMBER: u64 = 0o777_7777_7777;
const MAX_NAME: usize = 100;

/// Returns the header of an entry, after an extended header for values that do not fit in it.
pub(super) fn header_of(entry: &Entry) -> Vec<u8> {
    let path = entry.full_path();
    let (mut out, mut records) = (Vec::with_capacity(BLOCK), Vec::new());
    if path.len() > MAX_NAME || !path.is_ascii() {
        if str::from_utf8(&path).is_err() {
            push_record("hdrcharset", b"BINARY", &mut records); // for the records after it
        }
        push_record("path", &path, &mut records);
    }
    if entry.size > MAX_NUMBER {
        push_record("size", entry.size.to_string().as_bytes(), &mut records);
    }
    if u64::try_from(entry.modified).map_or(true, |modified| modified > MAX_NUMBER) {
        push_record("mtime", entry.modified.to_string().as_bytes(), &mut records);
    }
    if !records.is_empty() {
        out.extend(block(b"PaxHeaders/x", b'x', 0o644, records.len() as u64, 0));
        let padding = padding(records.len() as u64);
        out.extend(records);
        out.extend(padding);
    }
    let name = &path[..path.len().min(MAX_NAME)];
    let modified = u64::try_from(entry.modified).unwrap_or(0);
    out.extend(block(name, if entry.is_folder { b'5' } else { b'0' }, entry.mode(), entry.size, modified));
    out
}

/// Returns the padding after this many bytes.
pub(super) fn padding(length: u64) -> &'static [u8] {
    let over = (length % BLOCK as u64) as usize;
    &[0; BLOCK][..(BLOCK - over) % BLOCK]
}

/// Appends `27 path=a\n`; the length includes itself.
fn push_record(key: &str, value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3; // a space, `=` and the end of the line
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend(format!("{length} {key}=").bytes());
    out.extend(value);
    out.push(b'\n');
}

fn block(name: &[u8], kind: u8, mode: u32, size: u64, modified: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    // A number that does not fit is in the extended header.
    let digits = |number: u64| format!("{:011o}", if number > MAX_NUMBER { 0 } else { number });
    put(0, name);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000"); // user and group: root's numbers, without names
    put(116, b"0000000");
    put(124, digits(size).as_bytes());
    put(136, digits(modified).as_bytes());
    put(148, b"        "); // the checksum counts itself as spaces
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(329, b"0000000");
    put(337, b"0000000");
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_include_themselves() {
        for (value, expected) in
            [("a", "9 path=a\n"), ("", "8 path=\n"), (&"b".repeat(90), "99 "), (&"b".repeat(91), "101 ")]
        {
            let mut record = Vec::new();
            push_record("path", value.as_bytes(), &mut record);
            let text = String::from_utf8(record).unwrap();
            assert!(text.starts_with(expected), "{text}");
            assert_eq!(text.split(' ').next().unwrap().parse(), Ok(text.len()), "{text}");
        }
    }

    #[test]
    fn values_beyond_ustar_use_extended_records() {
        let header = |path: &[u8], size, modified| {
            let entry = Entry { path: path.into(), is_folder: false, is_executable: false, size, modified };
            let out = header_of(&entry);
            assert_eq!(out.len() % BLOCK, 0);
            if out.len() == BLOCK {
                String::new()
            } else {
                String::from_utf8_lossy(&out[BLOCK..out.len() - BLOCK]).trim_end_matches('\0').to_owned()
            }
        };
        for (path, size, modified, expected) in [
            (&b"a"[..], 0, 0, ""),
            (&[b'a'; 100], MAX_NUMBER, 8_589_934_591, ""),
            (&[b'a'; 101], 0, 0, &format!("111 path={}\n", "a".repeat(101))),
            ("é".as_bytes(), 0, 0, "11 path=é\n"),
            (b"\xe9", 0, 0, "21 hdrcharset=BINARY\n9 path=\u{fffd}\n"),
            (b"a", 1 << 40, -5, "22 size=1099511627776\n12 mtime=-5\n"),
        ] {
            assert_eq!(header(path, size, modified), expected, "{}", path.escape_ascii());
        }
    }
}
