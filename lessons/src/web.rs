//! Page 12: encodes text from outside for a grammar, or decodes it. Each function is for one grammar.

use std::fs::File;
use std::io::{self, Read};

use crate::message::Request;
use crate::path::decode;

/// Text in HTML, also between quotes.
pub fn html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}

/// A string in JSON (RFC 8259, section 7).
pub fn json(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted += &format!("\\u{:04x}", control as u32),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// A field of a form: `name=Ada+Lovelace&text=1%2B1`.
pub fn form(request: &Request, name: &str) -> Option<String> {
    let pairs = std::str::from_utf8(&request.body).ok()?.split('&');
    let (_, value) = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    decode(&value.replace('+', " "))
}

/// A cookie that the browser sent: `session=1f0c; theme=dark`.
pub fn cookie<'a>(request: &'a Request, name: &'a str) -> Option<&'a str> {
    let cookies = request.head.all("cookie").flat_map(|field| field.split(';'));
    cookies.filter_map(|cookie| cookie.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// 128 bits that no one can guess, from the kernel.
pub fn secret() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
