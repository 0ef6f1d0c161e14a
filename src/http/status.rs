//! Statuses without content, and the default error page: small, escaped, with only the status, its reason and a
//! message. Called by `response` and `sending`.

use std::fmt::Write;

use http::{Method, StatusCode};

use super::html;
use crate::words::reason;

/// Returns whether a response with this status has no content (RFC 9110, section 6.4.1).
pub(crate) fn has_no_content(status: StatusCode) -> bool {
    status == StatusCode::RESET_CONTENT || ends_with_its_head(&Method::GET, status)
}

/// Returns whether a response to this method with this status ends with its head, regardless of its fields (RFC 9112,
/// section 6.3, rule 1). A 205 has no content either, but its fields must declare that.
pub(crate) fn ends_with_its_head(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
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
         <style>body {{ font: 1rem/1.5rem system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }} \
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
    fn some_responses_have_no_content() {
        for (method, status, ends, is_empty) in [
            (Method::GET, 101, true, true),
            (Method::GET, 200, false, false),
            (Method::HEAD, 200, true, false), // its fields describe the content of the response to GET
            (Method::GET, 204, true, true),
            (Method::GET, 205, false, true),
            (Method::GET, 304, true, true),
            (Method::POST, 404, false, false),
        ] {
            let code = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                (ends_with_its_head(&method, code), has_no_content(code)),
                (ends, is_empty),
                "{method} {status}"
            );
        }
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
