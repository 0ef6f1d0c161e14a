//! XML of WebDAV clients: parsed with limits, and written anew before it is stored or sent, so that no byte of a client's
//! markup is sent to others. Used by `dav` and `taking`.

use http::StatusCode;
use roxmltree::{Document, Node, ParsingOptions};

use crate::{Error, escape_html};

/// The most elements, texts and attributes of one document.
const MAX_NODES: u32 = 2000;
/// How many elements can be in each other.
const DEEPEST: usize = 32;
/// The namespace of WebDAV.
pub(super) const DAV: &str = "DAV:";

/// # Errors
/// 400 if it is not XML with namespaces, has a document type, or is too large.
pub(super) fn parse(text: &[u8]) -> Result<Document<'_>, Error> {
    let wrong = || Error::new(StatusCode::BAD_REQUEST, "The XML of the request is malformed.");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|_| wrong())?;
    // A prefix must not be bound to nothing (Namespaces in XML 1.0, section 2.2).
    let is_undone =
        |node: Node<'_, '_>| node.namespaces().any(|bound| bound.name().is_some() && bound.uri().is_empty());
    let is_fine = |node: Node<'_, '_>| !is_undone(node) && node.ancestors().take(DEEPEST + 2).count() <= DEEPEST;
    match document.descendants().all(is_fine) {
        true => Ok(document),
        false => Err(wrong()),
    }
}

/// Whether this is the element of WebDAV with that name.
pub(super) fn is_dav(node: Node<'_, '_>, name: &str) -> bool {
    node.has_tag_name((DAV, name))
}

/// The first child element of WebDAV with that name.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| is_dav(*child, name))
}

/// Appends an element with everything in it, except comments and instructions. It declares its own namespaces.
pub(super) fn write(node: Node<'_, '_>, to: &mut String) {
    let name = node.tag_name();
    to.extend(["<", name.name(), " xmlns=\"", &escape_html(name.namespace().unwrap_or_default()), "\""]);
    for (number, attribute) in node.attributes().enumerate() {
        let value = escape_html(attribute.value());
        match attribute.namespace() {
            None => to.extend([" ", attribute.name(), "=\"", &value, "\""]),
            Some("http://www.w3.org/XML/1998/namespace") => to.extend([" xml:", attribute.name(), "=\"", &value, "\""]),
            Some(namespace) => {
                let prefix = format!("a{number}");
                to.extend([" xmlns:", &prefix, "=\"", &escape_html(namespace), "\" "]);
                to.extend([&prefix, ":", attribute.name(), "=\"", &value, "\""]);
            }
        }
    }
    to.push('>');
    write_inside(node, to);
    to.extend(["</", name.name(), ">"]);
}

/// Appends the elements and texts in an element.
pub(super) fn write_inside(node: Node<'_, '_>, to: &mut String) {
    for child in node.children() {
        if child.is_element() {
            write(child, to);
        } else if child.is_text() {
            to.push_str(&escape_html(child.text().unwrap_or_default()));
        }
    }
}

/// Appends an element without anything in it.
pub(super) fn write_name(node: Node<'_, '_>, to: &mut String) {
    let name = node.tag_name();
    to.extend(["<", name.name(), " xmlns=\"", &escape_html(name.namespace().unwrap_or_default()), "\"/>"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_means_the_same() {
        for (text, expected) in [
            ("<a/>", Some("<a xmlns=\"\"></a>")),
            ("<D:a xmlns:D=\"DAV:\">b&amp;<c/>d</D:a>", Some("<a xmlns=\"DAV:\">b&amp;<c xmlns=\"\"></c>d</a>")),
            ("<a xmlns=\"x\" b=\"&quot;&lt;\"/>", Some("<a xmlns=\"x\" b=\"&quot;&lt;\"></a>")),
            (
                "<a xmlns:n=\"&quot;\" n:b=\"1\" xml:lang=\"de\"/>",
                Some("<a xmlns=\"\" xmlns:a0=\"&quot;\" a0:b=\"1\" xml:lang=\"de\"></a>"),
            ),
            ("<a><!-- x --><?y z?><![CDATA[<b>]]></a>", Some("<a xmlns=\"\">&lt;b&gt;</a>")),
            ("<?xml version=\"1.0\"?><a>\u{10000}</a>", Some("<a xmlns=\"\">\u{10000}</a>")),
            ("", None),
            ("<a>", None),
            ("<a><b></a></b>", None),
            ("<n:a/>", None),
            ("<a xmlns:n=\"\"/>", None),
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", None),
            ("<a>&b;</a>", None),
            ("<a/><a/>", None),
            ("<a>\u{1}</a>", None),
        ] {
            let written = parse(text.as_bytes()).ok().map(|document| {
                let mut written = String::new();
                write(document.root_element(), &mut written);
                written
            });
            assert_eq!(written.as_deref(), expected, "{text}");
            if let Some(written) = written {
                let mut again = String::new();
                write(parse(written.as_bytes()).unwrap().root_element(), &mut again);
                assert_eq!(again, written, "{text}");
            }
        }
        for wide in ["<a>".repeat(DEEPEST + 1) + &"</a>".repeat(DEEPEST + 1), format!("<a>{}</a>", "<b/>".repeat(9999))]
        {
            assert!(parse(wide.as_bytes()).is_err(), "{} bytes", wide.len());
        }
        assert!(parse(b"<a>\xff</a>").is_err());
    }
}
