//! Reason phrases, and the default error page: small, escaped, with only the status, its reason and a message. Called
//! by `response` and `sending`.

use std::fmt::Write;

use http::StatusCode;

use super::html;

/// Returns the reason phrase of RFC 9110, even if older RFCs have another one.
pub(crate) fn reason(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        413 => Some("Content Too Large"),     // RFC 9110, section 15.5.14
        422 => Some("Unprocessable Content"), // RFC 9110, section 15.5.21
        _ => status.canonical_reason(),
    }
}

/// Returns the default error page, as HTML in UTF-8.
pub(crate) fn page(status: StatusCode, message: Option<&str>) -> String {
    let mut page = String::with_capacity(512);
    let code = status.as_str();
    let (blank, reason) = reason(status).map_or(("", ""), |reason| (" ", reason));
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{code}{blank}{reason}</title>\n\
         <style>body {{ font: 16px/24px system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }} \
         h1 {{ font-size: 1.3rem }} p {{ overflow-wrap: anywhere }}</style>\n</head>\n<body>\n<h1>{code}{blank}{reason}</h1>\n"
    );
    if let Some(message) = message {
        page.push_str("<p>");
        html::push_escaped(&mut page, message);
        page.push_str("</p>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_phrases_are_current() {
        for (status, expected) in [
            (200, Some("OK")),
            (413, Some("Content Too Large")),
            (414, Some("URI Too Long")),
            (416, Some("Range Not Satisfiable")),
            (422, Some("Unprocessable Content")),
            (599, None),
        ] {
            assert_eq!(reason(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
        assert!(page(StatusCode::PAYLOAD_TOO_LARGE, None).contains("<h1>413 Content Too Large</h1>"));
    }

    #[test]
    fn the_page_has_status_reason_and_message_only() {
        let page = page(StatusCode::NOT_FOUND, Some("<script>alert('&')</script> \"x\""));
        assert!(page.contains(
            "<h1>404 Not Found</h1>\n<p>&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt; &quot;x&quot;</p>\n"
        ));
        assert!(!super::page(StatusCode::NOT_FOUND, None).contains("<p>"));
        assert!(super::page(StatusCode::from_u16(599).unwrap(), None).contains("<title>599</title>"));
    }
}
