//! XML of WebDAV clients. It is parsed with limits. Before it is stored or sent, it is serialized again from the parsed
//! document, so that no byte of a client's markup reaches other clients. Used by `dav` and `uploads`.

use http::StatusCode;
use roxmltree::{Document, Node, ParsingOptions};

use super::MAX_XML;
use crate::{Error, escape_html};

/// The maximum number of elements and texts in a document.
const MAX_NODES: u32 = 2000;
/// The maximum number of namespace declarations. For each element with a declaration, the parser copies all
/// declarations that apply to it, and compares each of them with all others. The properties of one file can have 200.
const MAX_DECLARATIONS: usize = 256;
/// The maximum depth of elements.
const DEEPEST: usize = 32;
/// The maximum length of all that is written for each element again, in bytes: its namespaces and its language.
/// Otherwise a short text could become one of any length.
const MAX_REPEATED: usize = 4 * MAX_XML as usize;
pub(super) const DAV: &str = "DAV:";
/// The namespace of the prefix `xml`.
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Parses a document. This takes at most a few milliseconds for any text.
///
/// # Errors
/// 400 if it is not XML with namespaces, has a document type, or is too large.
pub(super) fn parse(text: &[u8]) -> Result<Document<'_>, Error> {
    let wrong = || Error::new(StatusCode::BAD_REQUEST, "The XML of the request is malformed.");
    let text = std::str::from_utf8(text).map_err(|_| wrong())?;
    // Without a document type, a declaration always contains `xmlns`.
    if text.len() as u64 > MAX_XML || text.matches("xmlns").count() > MAX_DECLARATIONS {
        return Err(wrong());
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options).map_err(|_| wrong())?;
    // A prefix must not be bound to an empty name (Namespaces in XML 1.0, section 2.2).
    let is_undone =
        |node: Node<'_, '_>| node.namespaces().any(|bound| bound.name().is_some() && bound.uri().is_empty());
    let is_fine = |node: Node<'_, '_>| !is_undone(node) && node.ancestors().take(DEEPEST + 2).count() <= DEEPEST;
    if !document.descendants().all(is_fine) {
        return Err(wrong());
    }
    match document.descendants().map(repeated).sum::<usize>() {
        0..=MAX_REPEATED => Ok(document),
        _ => Err(Error::new(StatusCode::BAD_REQUEST, "The namespaces and languages in the XML are too long.")),
    }
}

/// Returns the length of what [`write`] can write of an element in addition to its own text.
fn repeated(node: Node<'_, '_>) -> usize {
    let namespaces = node.attributes().map(|attribute| attribute.namespace()).chain([node.tag_name().namespace()]);
    let namespaces = namespaces.flatten().map(|namespace| escape(namespace).len());
    namespaces.sum::<usize>() + language(node).map_or(0, |language| escape(language).len())
}

/// Returns the language of an element, its own or that of the elements around it.
fn language<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.ancestors().find_map(|above| above.attribute((XML, "lang")))
}

/// Returns whether this is WebDAV's element with that name.
pub(super) fn is_dav(node: Node<'_, '_>, name: &str) -> bool {
    node.has_tag_name((DAV, name))
}

/// Returns the first child that is WebDAV's element with that name.
pub(super) fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| is_dav(*child, name))
}

/// Appends an element with its content, except comments and processing instructions. The element declares its own
/// namespaces, and the language that it inherits from the elements around it (RFC 4918, section 4.3).
pub(super) fn write(node: Node<'_, '_>, to: &mut String) {
    write_element(node, language(node).filter(|_| !node.has_attribute((XML, "lang"))), to);
}

fn write_element(node: Node<'_, '_>, language: Option<&str>, to: &mut String) {
    let name = node.tag_name();
    to.push_str(&start_of(node));
    if let Some(language) = language {
        to.extend([" xml:lang=\"", &escape(language), "\""]);
    }
    for (number, attribute) in node.attributes().enumerate() {
        let value = escape(attribute.value());
        match attribute.namespace() {
            None => to.extend([" ", attribute.name(), "=\"", &value, "\""]),
            Some(XML) => to.extend([" xml:", attribute.name(), "=\"", &value, "\""]),
            Some(namespace) => {
                let prefix = format!("a{number}");
                to.extend([" xmlns:", &prefix, "=\"", &escape(namespace), "\" "]);
                to.extend([&prefix, ":", attribute.name(), "=\"", &value, "\""]);
            }
        }
    }
    to.push('>');
    write_contents(node, |child, to| write_element(child, None, to), to);
    to.extend(["</", name.name(), ">"]);
}

/// Appends the elements and texts inside an element. `write` appends an element.
pub(super) fn write_contents(node: Node<'_, '_>, write: fn(Node<'_, '_>, &mut String), to: &mut String) {
    for child in node.children() {
        if child.is_element() {
            write(child, to);
        } else if child.is_text() {
            to.push_str(&escape(child.text().unwrap_or_default()));
        }
    }
}

/// Escapes a text or an attribute. Parsers change white space in both, unless it is written as references (XML 1.0,
/// sections 2.11 and 3.3.3).
fn escape(text: &str) -> String {
    escape_html(text).replace('\r', "&#13;").replace('\n', "&#10;").replace('\t', "&#9;")
}

pub(super) fn write_name(node: Node<'_, '_>, to: &mut String) {
    to.extend([&*start_of(node), "/>"]);
}

/// Returns the start of an element as [`write`] writes it: its name and its namespace.
pub(super) fn start_of(node: Node<'_, '_>) -> String {
    let name = node.tag_name();
    format!("<{} xmlns=\"{}\"", name.name(), escape(name.namespace().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_xml_has_the_same_meaning() {
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
            (
                "<a b=\"&#13;&#10;&#9;\">&#13;\r\n\t\u{85}</a>",
                Some("<a xmlns=\"\" b=\"&#13;&#10;&#9;\">&#13;&#10;&#9;\u{85}</a>"),
            ),
            (
                "<a xml:lang=\"de\"><b/><c xml:lang=\"\"/></a>",
                Some("<a xmlns=\"\" xml:lang=\"de\"><b xmlns=\"\"></b><c xmlns=\"\" xml:lang=\"\"></c></a>"),
            ),
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

    /// A property is written without the elements around it, so it declares the language that it inherits from them.
    #[test]
    fn a_property_keeps_the_language_that_it_inherits() {
        for (text, expected) in [
            ("<a xml:lang=\"de\"><b><c/></b></a>", "<b xmlns=\"\" xml:lang=\"de\"><c xmlns=\"\"></c></b>"),
            ("<a xml:lang=\"de\"><b xml:lang=\"en\"/></a>", "<b xmlns=\"\" xml:lang=\"en\"></b>"),
            ("<a xml:lang=\"de\"><b xml:lang=\"\"/></a>", "<b xmlns=\"\" xml:lang=\"\"></b>"),
            ("<a xml:lang=\"&quot;\"><b>d</b></a>", "<b xmlns=\"\" xml:lang=\"&quot;\">d</b>"),
            ("<a lang=\"de\"><b/></a>", "<b xmlns=\"\"></b>"),
        ] {
            let mut inside = String::new();
            write_contents(parse(text.as_bytes()).unwrap().root_element(), write, &mut inside);
            assert_eq!(inside, expected, "{text}");
        }
    }

    /// Documents that are expensive for parsers are rejected, or parsed in a few milliseconds. Each document is padded
    /// to the maximum length.
    #[test]
    fn no_document_takes_long() {
        let filled = |start: &str, piece: &dyn Fn(usize) -> String, end: &str| {
            let mut text = start.to_owned();
            for piece in (0..).map(piece) {
                if (text.len() + piece.len() + end.len()) as u64 > MAX_XML {
                    break;
                }
                text += &piece;
            }
            text + end
        };
        let declared = |count: usize| (0..count).map(|number| format!(" xmlns:a{number}=\"b\"")).collect::<String>();
        let fixed = |piece: &'static str| move |_: usize| piece.to_owned();
        let attack = format!("<p{}>{}</p>", declared(1400), "<q xmlns:z=\"z\"/>".repeat(1500));
        for (text, is_fine) in [
            (attack, false),
            (filled(&format!("<p{}>", declared(700)), &fixed("<q xmlns:z=\"z\"/>"), "</p>"), false),
            (format!("<p{}>{}</p>", declared(128), "<q xmlns:z=\"z\"/>".repeat(128)), true),
            (format!("<p{}>{}</p>", declared(200), "<q xmlns:z=\"z\"/>".repeat(56)), true),
            (filled(&format!("<p{}>", declared(256)), &fixed("<a255:q/>"), "</p>"), true),
            (filled("<p", &|number| format!(" b{number}=\"\""), "/>"), true),
            (filled("<p", &|number| format!(" xmlns:b{number}=\"{number}\""), "/>"), false),
            (filled(&format!("<p{}", declared(256)), &|number| format!(" a255:b{number}=\"\""), "/>"), true),
            (filled("<p>", &fixed("<q/>"), "</p>"), false),
            (filled("<p>", &fixed("&#65;"), "</p>"), true),
            (filled("<p>", &fixed("<![CDATA[]]>"), "</p>"), true),
            (filled("<p>", &fixed("<![CDATA[a]]>b"), "</p>"), true),
            (filled("<p>", &fixed("\r"), "</p>"), true),
            (filled("<p>", &fixed("<!---->"), "</p>"), false),
            (filled("<p a=\"", &fixed("&#9;"), "\"/>"), true),
            (filled("", &fixed("<a>"), ""), false),
            (filled("<", &fixed("a"), "/>"), true),
            (format!("<p xmlns=\"{}\">{}</p>", "u".repeat(8000), "<q/>".repeat(900)), false),
            (format!("<p xmlns=\"{}\">{}</p>", "&amp;".repeat(200), "<q/>".repeat(900)), false),
            (format!("<p xmlns=\"{}\">{}</p>", "u".repeat(60), "<q/>".repeat(900)), true),
            (format!("<p xmlns:n=\"{}\">{}</p>", "u".repeat(8000), "<q n:a=\"\"/>".repeat(900)), false),
            (format!("<p xml:lang=\"{}\">{}</p>", "u".repeat(8000), "<q/>".repeat(900)), false),
        ] {
            // The CPU time of this thread, which does not depend on other load.
            let seconds = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
            let begun = seconds();
            let parsed = parse(text.as_bytes());
            let mut written = String::new();
            parsed.iter().for_each(|document| write(document.root_element(), &mut written));
            assert!(written.len() <= 8 * MAX_XML as usize, "{} bytes of {} are written", written.len(), text.len());
            let (took, shown) = (seconds() - begun, &text[..text.len().min(60)]);
            assert_eq!(parsed.is_ok(), is_fine, "{shown}: {:?}", parsed.err());
            assert!(took < 2, "{shown}: {took} s");
        }
    }
}
