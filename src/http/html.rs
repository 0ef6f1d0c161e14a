//! Text in HTML. Used by `status`, and by handlers that make pages.

/// The text as it stands in HTML, between tags and within quotes (Python's `html.escape`): for whatever a page shows that
/// was not written by its author.
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
/// It is no help within a script, a style, or an attribute without quotes; and a link that begins with `javascript:` is
/// still one.
#[doc(alias = "html.escape")]
pub fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    push_escaped(&mut escaped, text);
    escaped
}

pub(crate) fn push_escaped(to: &mut String, text: &str) {
    for letter in text.chars() {
        match letter {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            letter => to.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped() {
        for (text, expected) in [
            ("", ""),
            ("plain, Grüße", "plain, Grüße"),
            ("<a href='x' title=\"y\">&amp;", "&lt;a href=&#39;x&#39; title=&quot;y&quot;&gt;&amp;amp;"),
        ] {
            assert_eq!(escape_html(text), expected, "{text:?}");
        }
    }
}
