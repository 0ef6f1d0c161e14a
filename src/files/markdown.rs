//! Converts a Markdown file to HTML, for `?format=html`. A listing shows the page below its rows. Called by `handler`.
//! The author of the file is not trusted: raw HTML becomes text, links lead only to http, https, mailto and relative
//! URLs, and pictures are loaded only from the folder of the file and those below it.

use std::collections::{HashMap, VecDeque};
use std::{fmt, iter};

use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use pulldown_cmark::{Alignment, CodeBlockKind, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::{Request, Response};

/// The longest file, in bytes. A page is created in memory.
const LONGEST: u64 = 64 * 1024;
/// The longest page, in bytes. A file whose page would be longer is sent unchanged, like a long file.
const LONGEST_PAGE: usize = 8 * LONGEST as usize;
/// The maximum number of cells of all tables. The parser adds the cells that are missing in a row, so that a short text
/// could become a page of any length.
const MOST_CELLS: usize = 1 << 16;

/// Returns whether the request is for this file as HTML.
pub(super) fn is_asked(request: &Request, (path, length): (&[u8], u64)) -> bool {
    let is_markdown = || {
        let path = path.to_ascii_lowercase();
        path.ends_with(b".md") || path.ends_with(b".markdown")
    };
    length <= LONGEST && request.param("format").is_some_and(|form| form == "html") && is_markdown()
}

/// Returns the text of the page, or `None` if it is too long.
pub(super) fn text_of(file: &[u8]) -> Option<String> {
    let content = render(&String::from_utf8_lossy(file))?;
    Some(format!("<!doctype html><meta charset=utf-8><body>\n{content}"))
}

/// Returns a page with its fields, for a file with these ones. The file's policies also apply to the page, such as the
/// sandbox of a folder that accepts uploads. The listing's script recognizes the page by a parameter of its media type.
/// No other response has that parameter, so no other file is shown as HTML.
pub(super) fn with_fields(page: Response, fields: &HeaderMap) -> Response {
    let policies = fields.get_all(CONTENT_SECURITY_POLICY).iter();
    let page = page
        .with_content_type("text/html; charset=utf-8; profile=rendered")
        .with_header(CONTENT_SECURITY_POLICY, "default-src 'none'; img-src 'self'; base-uri 'none'; form-action 'none'")
        .with_header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with_header(CACHE_CONTROL, "no-cache");
    policies.fold(page, |page, policy| page.with_added_header(CONTENT_SECURITY_POLICY, policy.clone()))
}

fn render(text: &str) -> Option<String> {
    if most_cells(text) > MOST_CELLS {
        return None;
    }
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut page = Bounded(String::new());
    html::write_html_fmt(&mut page, with_ids(Parser::new_ext(text, options).map(safe))).ok()?;
    Some(page.0)
}

/// Returns the number of cells that tables in this text can have: each line has as many as the widest row of hyphens,
/// with which a table begins.
fn most_cells(text: &str) -> usize {
    let lines = || text.split(['\n', '\r']);
    let begins_table = |line: &&str| {
        line.contains('-') && line.chars().all(|letter| letter.is_ascii_digit() || " \t|:->*+.)".contains(letter))
    };
    let widest = lines().filter(begins_table).map(|line| line.matches('|').count() + 1).max();
    widest.unwrap_or_default() * lines().count()
}

/// A text of up to [`LONGEST_PAGE`] bytes.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST_PAGE {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The beginning of all ids, which no id of the page around the file has.
const ID: &str = "readme-";

/// Adds ids to headings, so that links within the file work. They are GitHub's: `#how-to-start` for "How to start?".
fn with_ids<'t>(mut events: impl Iterator<Item = Event<'t>>) -> impl Iterator<Item = Event<'t>> {
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut of_heading = VecDeque::new();
    iter::from_fn(move || {
        let event = of_heading.pop_front().or_else(|| events.next())?;
        let Event::Start(Tag::Heading { level, classes, attrs, .. }) = event else { return Some(event) };
        let mut text = String::new();
        for event in events.by_ref() {
            if let Event::Text(part) | Event::Code(part) = &event {
                text.push_str(part);
            }
            let is_end = matches!(event, Event::End(TagEnd::Heading(_)));
            of_heading.push_back(event);
            if is_end {
                break;
            }
        }
        let is_of_id = |letter: &char| letter.is_alphanumeric() || "-_ ".contains(*letter);
        let name = text.trim().to_lowercase().chars().filter(is_of_id).collect::<String>().replace(' ', "-");
        let before = used.entry(name.clone()).and_modify(|count| *count += 1).or_default();
        let id = match before {
            0 => format!("{ID}{name}"),
            count => format!("{ID}{name}-{count}"),
        };
        let id = Some(CowStr::from(id)).filter(|_| !name.is_empty());
        Some(Event::Start(Tag::Heading { level, id, classes, attrs }))
    })
}

/// Removes everything from the event that could act on the page, and lowers headings.
fn safe(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::TaskListMarker(is_done) => Event::Text(if is_done { "☑ " } else { "☐ " }.into()),
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let dest_url = match dest_url.strip_prefix('#').filter(|name| !name.is_empty()) {
                Some(name) => format!("#{ID}{}", name.to_lowercase()).into(),
                None => safe_url(dest_url),
            };
            Event::Start(Tag::Link { link_type, dest_url, title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) => {
            Event::Start(Tag::Image { link_type, dest_url: picture(dest_url), title, id })
        }
        Event::Start(Tag::Heading { level, .. }) => {
            Event::Start(Tag::Heading { level: lower(level), id: None, classes: Vec::new(), attrs: Vec::new() })
        }
        Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(class(&language))))
        }
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(lower(level))),
        // The page's policy forbids styles in attributes.
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![Alignment::None; columns.len()])),
        event => event,
    }
}

/// Returns the name of a language for a class, without white space, at which another class would begin.
fn class(language: &str) -> CowStr<'static> {
    let is_of_name = |letter: &char| letter.is_ascii_alphanumeric() || "+-#._".contains(*letter);
    language.chars().take_while(is_of_name).collect::<String>().into()
}

/// Lowers a heading by two levels, which the page itself uses.
fn lower(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H3,
        HeadingLevel::H2 => HeadingLevel::H4,
        HeadingLevel::H3 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

/// Returns the URL as browsers read it: they ignore control characters and white space before and in a scheme, and
/// treat a backslash as a slash.
fn visible(url: &str) -> String {
    url.chars().filter(|c| !c.is_control() && !c.is_whitespace()).map(|c| if c == '\\' { '/' } else { c }).collect()
}

/// Returns the URL, or an empty one if it is not safe.
fn safe_url(url: CowStr<'_>) -> CowStr<'_> {
    let visible = visible(&url);
    let before_path = visible.split(['/', '?', '#']).next().unwrap_or_default();
    let is_safe = match before_path.split_once(':') {
        Some((scheme, _)) => ["http", "https", "mailto"].iter().any(|known| scheme.eq_ignore_ascii_case(known)),
        None => !visible.starts_with("//"), // two slashes begin the host of another site
    };
    if is_safe { url } else { CowStr::Borrowed("") }
}

/// Returns the URL of a picture, or an empty one if it is not safe. A picture is loaded without a click, so the URL
/// must lead to a file in this folder or below it.
fn picture(url: CowStr<'_>) -> CowStr<'_> {
    let visible = visible(&url).to_ascii_lowercase().replace("%2e", ".");
    let leads_out = visible.starts_with('/') || visible.split(['/', '#']).any(|name| name == "..");
    if visible.contains([':', '?']) || leads_out { CowStr::Borrowed("") } else { url }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_markdown() {
        for (text, expected) in [
            (
                "# A\n\nb *c* **d** ~~e~~ `f`",
                "<h3 id=\"readme-a\">A</h3>\n<p>b <em>c</em> <strong>d</strong> <del>e</del> <code>f</code></p>\n",
            ),
            (
                "## A\n\n- b\n- [x] c\n- [ ] d",
                "<h4 id=\"readme-a\">A</h4>\n<ul>\n<li>b</li>\n<li>☑ c</li>\n<li>☐ d</li>\n</ul>\n",
            ),
            (
                "[a](b/c.txt \"t\") ![d](e.png)",
                "<p><a href=\"b/c.txt\" title=\"t\">a</a> <img src=\"e.png\" alt=\"d\" /></p>\n",
            ),
            (
                "<https://a.example/> <a@b.example>",
                "<p><a href=\"https://a.example/\">https://a.example/</a> <a href=\"mailto:a@b.example\">a@b.example</a></p>\n",
            ),
            ("```sh\na < b\n```", "<pre><code class=\"language-sh\">a &lt; b\n</code></pre>\n"),
            ("```c++ x\na\n```", "<pre><code class=\"language-c++\">a\n</code></pre>\n"),
            ("```x\to\na\n```", "<pre><code class=\"language-x\">a\n</code></pre>\n"),
            ("```x\u{c}o\na\n```", "<pre><code class=\"language-x\">a\n</code></pre>\n"),
            (
                "|a|b|\n|-|-:|\n|c|d|",
                "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>\n<tr><td>c</td><td>d</td></tr>\n</tbody></table>\n",
            ),
            ("a <b>c</b>\n\n<div>\n\nd", "<p>a &lt;b&gt;c&lt;/b&gt;</p>\n&lt;div&gt;\n<p>d</p>\n"),
            ("#\n# ?", "<h3></h3>\n<h3>?</h3>\n"),
            (
                "[to it](#How-to-%C3%BCben) [up](#)\n\n# How *to* `üben`?",
                "<p><a href=\"#readme-how-to-%c3%bcben\">to it</a> <a href=\"#\">up</a></p>\n\
                 <h3 id=\"readme-how-to-üben\">How <em>to</em> <code>üben</code>?</h3>\n",
            ),
            (
                "# A_b-c\n# A\n# A\n# A",
                "<h3 id=\"readme-a_b-c\">A_b-c</h3>\n<h3 id=\"readme-a\">A</h3>\n<h3 id=\"readme-a-1\">A</h3>\n<h3 id=\"readme-a-2\">A</h3>\n",
            ),
            ("", ""),
        ] {
            assert_eq!(render(text).as_deref(), Some(expected), "{text:?}");
        }
    }

    /// Inputs that are known to get scripts past Markdown renderers, from the cheat sheets of OWASP and PortSwigger,
    /// and from reports on other renderers.
    const ATTACKS: &[&str] = &[
        "<script>alert(1)</script>",
        "<ScRiPt src=//evil></sCrIpT>",
        "<img src=x onerror=alert(1)>",
        "<svg/onload=alert(1)>",
        "<svg><script>alert(1)</script></svg>",
        "<iframe src=javascript:alert(1)>",
        "<a href=\"javascript:alert(1)\">x</a>",
        "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
        "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
        "<style>@import '//evil'</style>",
        "<base href=//evil>",
        "<meta http-equiv=refresh content=0;url=//evil>",
        "<form action=//evil><button>x</button></form>",
        "<div\nonmouseover=alert(1)\n>x</div>",
        "<!-- --!><img src=x onerror=alert(1)>-->",
        "<![CDATA[<img src=x onerror=alert(1)>]]>",
        "<?php <img src=x onerror=alert(1)> ?>",
        "<!DOCTYPE html [<!ENTITY x \"<img src=x onerror=alert(1)>\">]>",
        "</section></main><script>alert(1)</script>",
        "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))",
        "[x](javascript&colon;alert(1))",
        "[x](javascript&#58;alert(1))",
        "[x](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A&#x61lert(1))",
        "[x](&#106;avascript:alert(1))",
        "[x](java&Tab;script:alert(1))",
        "[x](java&NewLine;script:alert(1))",
        "[x](<java\tscript:alert(1)>)",
        "[x](<\u{1}javascript:alert(1)>)",
        "[x](<\u{a0}javascript:alert(1)>)",
        "[x](< javascript:alert(1)>)",
        "[x](javascript://www.example/%0aalert(1))",
        "[x](vbscript:msgbox(1))",
        "[x](data:text/html,<script>alert(1)</script>)",
        "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
        "[x](blob:http://a/b)",
        "[x](file:///etc/passwd)",
        "[x](x:alert(1))",
        "![x](javascript:alert(1))",
        "![x](data:image/svg+xml,<svg onload=alert(1)>)",
        "![x](x\"onerror=\"alert(1))",
        "![x\"onerror=\"alert(1)](y)",
        "![x](y \"\" onerror=alert(1) \"\")",
        "![x](y '\"onerror=\"alert(1)')",
        "[x](y \"z\\\" onclick=\\\"alert(1)\")",
        "[x](y \"&quot; onclick=&quot;alert(1)\")",
        "[x]: javascript:alert(1)\n\n[x]",
        "[x]: <javascript:alert(1)> \"t\"\n\n![x]",
        "<javascript:alert(1)>",
        "<JAVASCRIPT:alert(1)>",
        "<data:text/html,alert(1)>",
        "<a@javascript:alert(1)>",
        "[a](b)[c](javascript:d)",
        "[![x](javascript:alert(1))](javascript:alert(2))",
        "``` \"><script>alert(1)</script>\nx\n```",
        "```\n</code></pre><script>alert(1)</script>\n```",
        "``` x\" onclick=\"alert(1)\nx\n```",
        "    </code></pre><script>alert(1)</script>",
        "`</code><script>alert(1)</script>`",
        "# x {#\"onclick=alert(1)}",
        "# <img src=x onerror=alert(1)>",
        "|<script>alert(1)</script>|\n|-|\n|<img src=x onerror=alert(1)>|",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "&#60;script&#62;alert(1)",
        "\\<script>alert(1)\\</script>",
        "> <script>alert(1)</script>",
        "- <script>alert(1)</script>\n- [ ] <img src=x onerror=alert(1)>",
        "x<!--\n<img src=x onerror=alert(1)>\n-->",
        "[x](javascript:alert(1)//http://a)",
        "[x](http:javascript:alert(1))",
        "[x](//evil\" onclick=\"alert(1))",
        "\u{0}<script>alert(1)</script>",
        "<scr\u{0}ipt>alert(1)</script>",
    ];

    #[test]
    fn links_stay_harmless_and_pictures_in_their_folder() {
        for (url, is_link, is_picture) in [
            ("a.png", true, true),
            ("a/b.png#c", true, true),
            ("./a.png", true, true),
            ("a..png", true, true),
            ("%61.png", true, true),
            ("#a", true, true),
            ("../a.png", true, false),
            ("a/../../b", true, false),
            ("a/%2E%2e/b", true, false),
            (".%2E/b", true, false),
            ("..", true, false),
            ("..\\a", true, false),
            (".\t./a", true, false),
            ("/a.png", true, false),
            ("\\a.png", true, false),
            (" /a.png", true, false),
            ("a?b", true, false),
            ("?archive=zip", true, false),
            ("http://a.example/b.png", true, false),
            ("mailto:a@b.example", true, false),
            ("//a.example/b", false, false),
            ("\\\\a.example/b", false, false),
            ("/\\a.example/b", false, false),
            ("/\t/a.example/b", false, false),
            ("\u{1}//a.example/b", false, false),
            ("javascript:alert(1)", false, false),
        ] {
            let kept = [safe_url(url.into()), picture(url.into())].map(|kept| &*kept == url);
            assert_eq!(kept, [is_link, is_picture], "{url:?}");
        }
    }

    /// Returns the tags of a page, each with its name and its attributes.
    fn tags(page: &str) -> Vec<(String, Vec<(String, String)>)> {
        let inside = page.split('<').skip(1).map(|rest| rest.split_once('>').expect("a complete tag").0);
        inside
            .map(|tag| {
                let tag = tag.trim_start_matches('/').trim_end_matches('/').trim_end();
                let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
                let mut attributes = Vec::new();
                while let Some((attribute, more)) = rest.split_once("=\"") {
                    let (value, more) = more.split_once('"').expect("a complete attribute value");
                    attributes.push((attribute.trim().to_owned(), value.to_owned()));
                    rest = more;
                }
                assert_eq!(rest.trim(), "", "{tag}");
                (name.to_owned(), attributes)
            })
            .collect()
    }

    #[test]
    fn nothing_in_a_file_acts_on_the_page() {
        let known = [
            "a",
            "blockquote",
            "br",
            "code",
            "del",
            "em",
            "h3",
            "h4",
            "h5",
            "h6",
            "hr",
            "img",
            "li",
            "ol",
            "p",
            "pre",
            "strong",
            "table",
            "tbody",
            "td",
            "th",
            "thead",
            "tr",
            "ul",
        ];
        let nested: Vec<String> = ATTACKS
            .iter()
            .flat_map(|attack| {
                [
                    attack.to_string(),
                    format!("> - # {attack}"),
                    format!("**{attack}**"),
                    format!("[{attack}](a)"),
                    format!("a\n{attack}\nb"),
                ]
            })
            .collect();
        for attack in nested {
            let page = render(&attack).unwrap();
            for (name, attributes) in tags(&page) {
                assert!(known.contains(&&*name), "{attack:?}: <{name}> in {page}");
                for (attribute, value) in attributes {
                    match &*attribute {
                        "href" | "src" => {
                            let value = value.replace("&amp;", "&").to_lowercase();
                            let scheme =
                                value.split(['/', '?', '#']).next().unwrap().split_once(':').map(|(scheme, _)| scheme);
                            let is_safe = scheme.is_none_or(|scheme| ["http", "https", "mailto"].contains(&scheme));
                            assert!(is_safe, "{attack:?}: {attribute}={value} in {page}");
                            assert!(!value.starts_with("//"), "{attack:?}: {attribute}={value} in {page}");
                        }
                        "id" => assert!(value.starts_with(ID), "{attack:?}: {value}"),
                        "alt" | "title" | "class" | "start" => {}
                        _ => panic!("{attack:?}: {attribute}={value} in {page}"),
                    }
                }
            }
        }
    }

    /// 64 KiB of input that is expensive for Markdown parsers takes a negligible time, and becomes no long page.
    #[test]
    fn long_files_take_no_time() {
        let repeated = |piece: &str| piece.repeat((LONGEST as usize) / piece.len());
        let plain = ["[", "*a_", "> ", "![", "`", "<", "- ", "[a](", "|-", "&#", "\\"];
        let mut texts: Vec<(&str, String)> = plain.iter().map(|piece| (*piece, repeated(piece))).collect();
        let table = |prefix: &str, columns: usize, rows: usize| {
            let row = |cell: &str| format!("{prefix}|{}\n", format!("{cell}|").repeat(columns));
            row("a") + &row("-") + &format!("{prefix}a\n").repeat(rows)
        };
        texts.push(("a table", table("", 256, 30_000)));
        texts.push(("a quoted table", table("> ", 1000, 10_000)));
        texts.push(("a table in a list", format!("1) a\n\n{}", table("   ", 1000, 10_000))));
        texts.push(("tables", format!("{}\n", table("", 256, 1_600)).repeat(15)));
        let url = "u".repeat((LONGEST / 2) as usize);
        texts.push(("links", format!("[a]: {url}\n\n{}", "[a]".repeat(10_000))));
        texts.push(("pictures", format!("[a]: {url}\n\n{}", "![a]".repeat(8_000))));
        texts.push(("controls", "\u{1}\"<&>".repeat(10_000)));
        for (name, text) in texts {
            let text = &text[..text.len().min(LONGEST as usize)];
            let begun = std::time::Instant::now();
            let page = render(text);
            let took = begun.elapsed();
            assert!(took.as_secs() < 10, "{name}: {took:?}");
            let length = page.map_or(0, |page| page.len());
            assert!(length <= LONGEST_PAGE && length < 100 * text.len(), "{name}: {length} bytes");
        }
        let wide = table("", 20, 2_000);
        assert!(render(&wide).is_some_and(|page| page.contains("<td>")), "{} bytes", wide.len());
        assert_eq!(render(&table("", 256, 1_600)), None, "a row of 256 cells for each byte");
    }
}
