//! Entity tags (RFC 9110, section 8.8.3): syntax, strong and weak comparison.
//! Created by handlers, compared by `preconditions`.

use std::fmt;

use http::HeaderValue;

use super::error::Error;

/// An entity tag: `"xyzzy"`, or weak, `W/"xyzzy"`, where bytes may differ but the meaning does not.
///
/// ```
/// use modest::ETag;
///
/// let tag = ETag::strong("v1.7")?;
/// assert_eq!(tag.to_string(), "\"v1.7\"");
/// assert!(!tag.is_weak());
/// assert!(ETag::strong("no \"quotes\" or blanks").is_err());
/// # Ok::<(), modest::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ETag(HeaderValue);

impl ETag {
    /// Creates a strong tag, which must change whenever a byte of the content changes. Pass the tag without quotes.
    ///
    /// # Errors
    /// If it contains a space, a control character or a quote.
    pub fn strong(tag: impl AsRef<str>) -> Result<ETag, Error> {
        ETag::of("\"", tag.as_ref())
    }

    /// Creates a weak tag, which can stay the same if bytes change but the meaning does not. It never matches
    /// `If-Match` or `If-Range`.
    ///
    /// # Errors
    /// If it contains a space, a control character or a quote.
    pub fn weak(tag: impl AsRef<str>) -> Result<ETag, Error> {
        ETag::of("W/\"", tag.as_ref())
    }

    /// Returns whether it is weak.
    pub fn is_weak(&self) -> bool {
        self.view().weak
    }

    pub(crate) fn view(&self) -> ETagRef<'_> {
        ETagRef::parse(self.0.as_bytes()).expect("a tag that was checked when it was created")
    }

    fn of(open: &str, tag: &str) -> Result<ETag, Error> {
        if !tag.bytes().all(is_etagc) {
            return Err(Error::from(format!(
                "an entity tag can't contain spaces, control characters or quotes: {tag:?}"
            )));
        }
        Ok(ETag(HeaderValue::try_from(format!("{open}{tag}\""))?))
    }
}

impl From<ETag> for HeaderValue {
    fn from(tag: ETag) -> HeaderValue {
        tag.0
    }
}

/// Displays the tag as in a field value, with quotes.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_bytes()))
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({self})")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ETagRef<'a> {
    pub(crate) weak: bool,
    pub(crate) opaque: &'a [u8],
}

impl<'a> ETagRef<'a> {
    /// Returns a field value that is exactly one entity tag.
    pub(crate) fn parse(value: &'a [u8]) -> Option<ETagRef<'a>> {
        match ETagRef::split(value)? {
            (tag, []) => Some(tag),
            _ => None,
        }
    }

    /// Returns the entity tag at the start of a list, and the rest after it.
    pub(crate) fn split(list: &'a [u8]) -> Option<(ETagRef<'a>, &'a [u8])> {
        // `W` is case-sensitive (section 8.8.3).
        let (weak, quoted) = match list.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, list),
        };
        let text = quoted.strip_prefix(b"\"")?;
        let opaque = &text[..memchr::memchr(b'"', text)?];
        // All, without a branch for each.
        let is_valid = opaque.iter().fold(true, |is_valid, byte| is_valid & is_etagc(*byte));
        is_valid.then(|| (ETagRef { weak, opaque }, &text[opaque.len() + 1..]))
    }
}

/// Returns whether both tags are strong and equal (strong comparison, section 8.8.3.2).
pub(crate) fn strong_match(one: &ETagRef<'_>, other: &ETagRef<'_>) -> bool {
    !one.weak && !other.weak && one.opaque == other.opaque
}

/// Returns whether both tags are equal, weak or not (weak comparison, section 8.8.3.2).
pub(crate) fn weak_match(one: &ETagRef<'_>, other: &ETagRef<'_>) -> bool {
    one.opaque == other.opaque
}

/// Returns whether the character is allowed between the quotes (`etagc`).
fn is_etagc(byte: u8) -> bool {
    byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_parse_back_as_made() {
        for tag in ["", "a", "v1.7-fine", "a,b", "W/", "!#~", "é"] {
            for (made, weak) in [(ETag::strong(tag), false), (ETag::weak(tag), true)] {
                let made = made.unwrap();
                assert_eq!(made.view(), ETagRef { weak, opaque: tag.as_bytes() }, "{made}");
            }
        }
        for tag in ["a b", "a\"b", "\"a\"", "a\r\nb", "a\0b", "\x7f"] {
            assert!(ETag::strong(tag).is_err() && ETag::weak(tag).is_err(), "{tag:?}");
        }
    }

    #[test]
    fn etags_compare_strongly_and_weakly() {
        // RFC 9110, section 8.8.3.2, the table.
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (left, right) = (ETagRef::parse(one.as_bytes()).unwrap(), ETagRef::parse(other.as_bytes()).unwrap());
            assert_eq!((strong_match(&left, &right), weak_match(&left, &right)), (strong, weak), "{one} {other}");
        }
    }
}
