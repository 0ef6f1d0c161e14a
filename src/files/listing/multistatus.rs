//! A listing for WebDAV: the properties of a folder and of each entry, as XML (RFC 4918, section 13). Called by
//! `listing`, and by `dav` for a single resource.
//!
//! The response contains all known properties, not only those that the request names.

use std::fmt::Write;

use http::StatusCode;

use super::super::path;
use super::super::stat::http_date;
use super::entries::Entry;
use crate::{Response, escape_html};

pub(in super::super) const XML: &str = "application/xml; charset=utf-8";
pub(in super::super) const START: &str =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">\n";
pub(in super::super) const END: &str = "</D:multistatus>\n";

/// Returns a response that rejects a request with this condition (RFC 4918, section 16).
pub(in super::super) fn refusal(status: StatusCode, condition: &str) -> Response {
    let text =
        format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:error xmlns:D=\"DAV:\"><D:{condition}/></D:error>\n");
    Response::bytes(text).with_status(status).with_content_type(XML)
}

/// Appends the properties of an entry of the folder with this URL path, which ends with a slash.
pub(super) fn push(text: &mut String, folder: &str, entry: &Entry<'_>) {
    let mut href = folder.to_owned();
    path::push_link(&mut href, entry.name);
    let size = if entry.is_folder { None } else { Some(entry.size) };
    push_response(text, &href, entry.name, size, Some(entry.modified), "");
}

/// Appends a folder that is mounted in the folder with this URL path.
pub(super) fn push_folder(text: &mut String, folder: &str, name: &[u8]) {
    let mut href = folder.to_owned();
    path::push_link(&mut href, name);
    push_response(text, &href, name, None, None, "");
}

/// Appends the properties of a resource. `href`: its URL path, not yet escaped. `size`: in bytes; `None`: a folder.
/// `modified`: seconds since 1970, if known. `more`: further properties, as XML.
pub(in super::super) fn push_response(
    text: &mut String,
    href: &str,
    name: &[u8],
    size: Option<u64>,
    modified: Option<i64>,
    more: &str,
) {
    let slash = if size.is_none() && !href.ends_with('/') { "/" } else { "" };
    text.extend(["<D:response><D:href>", &*escape_html(href), slash, "</D:href><D:propstat><D:prop><D:displayname>"]);
    push_name(text, name);
    text.push_str("</D:displayname>");
    // Writing to a String cannot fail.
    let _ = match size {
        Some(size) => write!(text, "<D:resourcetype/><D:getcontentlength>{size}</D:getcontentlength>"),
        None => write!(text, "<D:resourcetype><D:collection/></D:resourcetype>"),
    };
    if let Some(date) = modified.and_then(http_date) {
        text.extend(["<D:getlastmodified>", &date, "</D:getlastmodified>"]);
    }
    text.push_str(more);
    text.push_str("</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>\n");
}

/// Adds to the last resource that it does not have these properties.
#[cfg(feature = "webdav")]
pub(in super::super) fn push_missing(text: &mut String, properties: &str) {
    const LAST: &str = "</D:response>\n";
    if properties.is_empty() || !text.ends_with(LAST) {
        return;
    }
    text.truncate(text.len() - LAST.len());
    text.extend([
        "<D:propstat><D:prop>",
        properties,
        "</D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>",
        LAST,
    ]);
}

/// Appends an escaped name. Characters that XML cannot represent (XML 1.0, section 2.2) become U+FFFD, and so do bytes
/// that are not UTF-8.
fn push_name(text: &mut String, name: &[u8]) {
    let is_no_char = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    text.push_str(&escape_html(&String::from_utf8_lossy(name).replace(is_no_char, "\u{fffd}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_responses_with_escaped_names() {
        for (name, size, modified, expected) in [
            (
                &b"a<&\"b"[..],
                Some(5),
                951_868_799,
                "<D:response><D:href>/f/a%3C%26%22b</D:href><D:propstat><D:prop><D:displayname>a&lt;&amp;&quot;b</D:displayname>\
                 <D:resourcetype/><D:getcontentlength>5</D:getcontentlength>\
                 <D:getlastmodified>Tue, 29 Feb 2000 23:59:59 GMT</D:getlastmodified>",
            ),
            (
                "ü\u{1b}\u{ffff}]]>".as_bytes(),
                None,
                -1,
                "<D:response><D:href>/f/%C3%BC%1B%EF%BF%BF%5D%5D%3E/</D:href><D:propstat><D:prop>\
                 <D:displayname>ü\u{fffd}\u{fffd}]]&gt;</D:displayname>\
                 <D:resourcetype><D:collection/></D:resourcetype>\
                 <D:getlastmodified>Wed, 31 Dec 1969 23:59:59 GMT</D:getlastmodified>",
            ),
            (
                b"\xff",
                Some(0),
                i64::MAX,
                "<D:response><D:href>/f/%FF</D:href><D:propstat><D:prop><D:displayname>\u{fffd}</D:displayname>\
                 <D:resourcetype/><D:getcontentlength>0</D:getcontentlength>",
            ),
        ] {
            let mut text = String::new();
            push(
                &mut text,
                "/f/",
                &Entry { name, is_folder: size.is_none(), is_link: false, size: size.unwrap_or(0), modified },
            );
            let end = "</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>\n";
            assert_eq!(text, format!("{expected}{end}"));
        }
    }
}
