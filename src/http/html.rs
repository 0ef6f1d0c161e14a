//! Text in HTML. Used by `status`, and by handlers that make pages.

/// Escapes text for HTML, between tags and within quotes (Python's `html.escape`): for any text on a page that comes
/// from elsewhere.
///
/// ```
/// use modest::{Response, escape_html};
///
/// let name = "<b>Ada</b> & \"Charles\"";
/// let page = Response::html(format!("<p>Hello, {}!</p>", escape_html(name)));
/// assert_eq!(page.into_bytes()?, b"<p>Hello, &lt;b&gt;Ada&lt;/b&gt; &amp; &quot;Charles&quot;!</p>");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It does not protect within a script, a style, or an attribute without quotes, and a link that begins with
/// `javascript:` stays dangerous.
#[doc(alias = "html.escape")]
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    push_escaped(&mut escaped, text);
    escaped
}

pub(crate) fn push_escaped(to: &mut String, text: &str) {
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escaped = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => continue,
        };
        to.push_str(&text[copied..at]);
        to.push_str(escaped);
        copied = at + 1;
    }
    to.push_str(&text[copied..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        for (text, expected) in [
            ("", ""),
            ("plain, Grüße", "plain, Grüße"),
            ("<a href='x' title=\"y\">&amp;", "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;amp;"),
        ] {
            assert_eq!(escape_html(text), expected, "{text:?}");
        }
    }
}
