//! The charset of a media type (RFC 9110, sections 5.6.6 and 8.3.1).

use http::StatusCode;

use crate::http::error::Error;

/// Returns content of this media type, decoded from UTF-8. `decoded` is `None` if that failed.
///
/// # Errors
/// 415 if the type has a charset other than UTF-8 (or ASCII), 400 if the content is not UTF-8.
pub(super) fn text<T>(content_type: Option<&str>, decoded: Option<T>, what: &str) -> Result<T, Error> {
    let is_utf_8 =
        |charset: String| ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known));
    if !content_type.and_then(charset).is_none_or(is_utf_8) {
        return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "text must be UTF-8"));
    }
    decoded.ok_or_else(|| Error::new(StatusCode::BAD_REQUEST, format!("{what} is not UTF-8")))
}

/// Returns the parameter `charset` of a media type (RFC 9110, section 8.3.1).
fn charset(content_type: &str) -> Option<String> {
    let mut rest = content_type.split_once(';')?.1;
    loop {
        let (name, value, behind) = parameter(rest)?;
        if name.eq_ignore_ascii_case("charset") {
            return Some(value);
        }
        rest = behind;
    }
}

/// Returns the first parameter, its value without quotes (RFC 9110, sections 5.6.4 and 5.6.6), and what follows it.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([' ', '\t', ';']);
    let end_of_name = text.find(['=', ';'])?;
    let (name, text) = (&text[..end_of_name], &text[end_of_name..]);
    let Some(text) = text.strip_prefix('=') else { return Some((name.trim(), String::new(), text)) };
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return Some((name.trim(), text[..end].trim().to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((name.trim(), value, &quoted[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None // the quotes are not closed
}
