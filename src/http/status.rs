//! The page of a status: small, escaped, and all it tells is status, reason and message.
//! Called by `response`.

use std::fmt::Write;

use http::StatusCode;

/// The page of a status, as HTML in UTF-8.
pub(crate) fn page(status: StatusCode, message: Option<&str>) -> String {
    let mut page = String::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or("Status");
    let code = status.as_u16();
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{code} {reason}</title>\n\
         <style>body {{ font: 1.1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 15vh auto; padding: 0 1.5rem }} \
         p {{ overflow-wrap: anywhere }}</style>\n</head>\n<body>\n<h1>{code} {reason}</h1>\n"
    );
    if let Some(message) = message.filter(|message| !message.is_empty()) {
        page.push_str("<p>");
        escape(message, &mut page);
        page.push_str("</p>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// Text that stays text inside HTML.
fn escape(text: &str, page: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            letter => page.push(letter),
        }
    }
}
