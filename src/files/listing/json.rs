//! A listing as JSON: an array with one object per line. Called by `listing`.

use std::fmt::Write;

use super::super::path;
use super::super::stat::civil;
use super::entries::Entry;

/// Appends a folder that is mounted below the listed one. If it is deeper, its name contains slashes.
pub(in super::super) fn push_beside(text: &mut String, shown: &str) {
    text.push_str(if text.ends_with('[') { "\n{\"name\":\"" } else { ",\n{\"name\":\"" });
    push_escaped(text, shown);
    text.push_str("\",\"href\":\"");
    push_links(text, shown);
    text.push_str("\",\"kind\":\"folder\",\"size\":null,\"modified\":null}");
}

pub(super) fn push_links(text: &mut String, shown: &str) {
    for (at, name) in shown.split('/').enumerate() {
        text.push_str(if at == 0 { "" } else { "/" });
        path::push_link(text, name.as_bytes());
    }
}

/// Appends an object. In the name, bytes that are not UTF-8 become U+FFFD, so such a file can only be found by `href`.
pub(super) fn push(text: &mut String, entry: &Entry<'_>) {
    let name = String::from_utf8_lossy(entry.name);
    text.push_str("{\"name\":\"");
    push_escaped(text, &name);
    if matches!(name, std::borrow::Cow::Owned(_)) {
        text.push_str("\",\"href\":\"");
        path::push_link(text, entry.name);
    }
    // Writing to a String cannot fail.
    let link = if entry.is_link { "\"link\":true," } else { "" };
    let _ = match entry.is_folder {
        true => write!(text, "\",\"kind\":\"folder\",{link}\"size\":null,\"modified\":"),
        false => write!(text, "\",\"kind\":\"file\",{link}\"size\":{},\"modified\":", entry.size),
    };
    push_time(text, entry.modified);
    text.push('}');
}

/// Appends `"2026-11-20T08:17:05Z"` (RFC 3339) for years of four digits; otherwise `null`.
fn push_time(text: &mut String, seconds: i64) {
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, of_month) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ = match year {
        0..=9999 => write!(text, "\"{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}Z\""),
        _ => write!(text, "null"),
    };
}

/// Appends a name with its escapes (RFC 8259, section 7).
fn push_escaped(text: &mut String, name: &str) {
    for character in name.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\0'..'\u{20}' => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            _ => text.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_objects_with_escaped_names() {
        for (name, is_folder, size, modified, expected) in [
            (
                &b"a"[..],
                false,
                12,
                951_868_799,
                r#"{"name":"a","kind":"file","size":12,"modified":"2000-02-29T23:59:59Z"}"#,
            ),
            (b"d", true, 0, -1, r#"{"name":"d","kind":"folder","size":null,"modified":"1969-12-31T23:59:59Z"}"#),
            (
                b"\"\\\n\x1f\x7f/",
                false,
                u64::MAX,
                i64::MAX,
                "{\"name\":\"\\\"\\\\\\u000a\\u001f\u{7f}/\",\"kind\":\"file\",\"size\":18446744073709551615,\"modified\":null}",
            ),
            (
                b"\xff \xc3\xbc",
                false,
                0,
                i64::MIN,
                "{\"name\":\"\u{fffd} \u{fc}\",\"href\":\"%FF%20%C3%BC\",\"kind\":\"file\",\"size\":0,\"modified\":null}",
            ),
        ] {
            let mut text = String::new();
            push(&mut text, &Entry { name, is_folder, is_link: false, size, modified });
            assert_eq!(text, expected, "{}", name.escape_ascii());
        }
    }
}
