//! Conditional requests: RFC 9110, section 13, in the order of 13.2.2; the content of a 304: 15.4.5.

use crate::row::{Row, ask, ask_old, get, head, is, last, row};
use crate::sites::Site::{App, Files};

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

pub fn rows() -> Vec<Row> {
    let mut rows = if_none_match();
    rows.extend(if_match());
    rows.extend(dates());
    rows.extend(together());
    rows.extend(files());
    rows
}

fn if_none_match() -> Vec<Row> {
    let ten = |value: &str| get("/ten").with(format!("If-None-Match:{value}"));
    let (same, other) = (|| is(304).has("ETag", "\"v1\""), || is(200).length(10));
    vec![
        row("9110 13.1.2 the same", App, ten(" \"v1\""), same()),
        row("9110 13.1.2 another", App, ten(" \"v2\""), other()),
        row("9110 13.1.2 one of a list", App, ten(" \"v0\", \"v1\""), same()),
        row("9110 13.1.2 none of a list", App, ten(" \"v0\",\"v2\""), other()),
        row("9110 13.1.2 a list over two lines", App, ten(" \"v0\"").with("If-None-Match: \"v1\""), same()),
        row("9110 13.1.2 a list with empty members", App, ten(" ,, \"v1\",,"), same()),
        row("9110 13.1.2 any", App, ten(" *"), same()),
        row("9110 13.1.2 any, of a response without a validator", App, get("/bare").with("If-None-Match: *"), is(304)),
        row("9110 13.1.2 an asterisk among tags is ignored", App, ten(" *, \"v2\""), other()),
        row("9110 13.1.2 tags without a comma are not a list", App, ten(" \"v1\" \"v2\""), other()),
        row("9110 13.1.2 an asterisk in quotes is a tag", App, ten(" \"*\""), other()),
        row("9110 8.8.3.2 weakly: a weak one of the client", App, ten(" W/\"v1\""), same()),
        row(
            "9110 8.8.3.2 weakly: a weak one of the server",
            App,
            get("/weak").with("If-None-Match: \"v1\""),
            is(304).has("ETag", "W/\"v1\""),
        ),
        row("9110 8.8.3.2 weakly: both weak", App, get("/weak").with("If-None-Match: W/\"v1\""), is(304)),
        row("9110 8.8.3 a tag is case-sensitive", App, ten(" \"V1\""), other()),
        row("9110 8.8.3 the mark of a weak tag is case-sensitive", App, ten(" w/\"v1\""), other()),
        row("9110 8.8.3 a tag without quotes is invalid", App, ten(" v1"), other()),
        row("9110 8.8.3 a comma within a tag", App, ten(" \"v0,v1\""), other()),
        row("9110 13.1.2 HEAD", App, head("/ten").with("If-None-Match: \"v1\""), same()),
        row("9110 13.1.2 in HTTP/1.0", App, ask_old("GET", "/ten").with("If-None-Match: \"v1\""), last(304)),
        row("9110 13.1.2 a stream with a tag", App, get("/stream/tagged").with("If-None-Match: \"v1\""), is(304)),
        row("9110 13.1.2 a response without a tag", App, get("/bare").with("If-None-Match: \"v1\""), other()),
        row("9110 13.2.1 no condition changes an error", App, get("/missing").with("If-None-Match: \"v1\""), is(404)),
        row("9110 13.2.1 no condition changes OPTIONS", App, ask("OPTIONS", "*").with("If-None-Match: *"), is(204)),
        row(
            "9110 13.1.2 PUT of a file that must not exist",
            App,
            ask("PUT", "/ten").with("If-None-Match: *").body("x"),
            is(412),
        ),
        row("9110 13.1.2 PUT of a missing file", App, ask("PUT", "/new").with("If-None-Match: *").body("x"), is(201)),
        row(
            "9110 15.4.5 the fields of a 304",
            App,
            get("/dressed").with("If-None-Match: \"v1\""),
            same()
                .has("Cache-Control", "max-age=60")
                .has("Expires", "Thu, 01 Dec 1994 16:00:00 GMT")
                .has("Content-Location", "/ten.txt")
                .has("Vary", "Accept-Language")
                .lacks("Content-Type")
                .lacks("Content-Language")
                .lacks("Content-Length"),
        ),
        row(
            "9110 15.4.5 304 for HEAD",
            App,
            head("/dressed").with("If-None-Match: \"v1\""),
            same().has("Vary", "Accept-Language").has("Cache-Control", "max-age=60"),
        ),
    ]
}

fn if_match() -> Vec<Row> {
    let ten = |value: &str| get("/ten").with(format!("If-Match:{value}"));
    let (failed, whole) = (|| is(412).lacks("ETag").hides("0123456789"), || is(200).length(10));
    vec![
        row("9110 13.1.1 the same", App, ten(" \"v1\""), whole()),
        row("9110 13.1.1 another", App, ten(" \"v2\""), failed()),
        row("9110 13.1.1 one of a list", App, ten(" \"v2\", \"v1\""), whole()),
        row("9110 13.1.1 any", App, ten(" *"), whole()),
        row("9110 13.1.1 any, of a response without a validator", App, get("/bare").with("If-Match: *"), whole()),
        row("9110 13.1.1 a tag, of a response without one", App, get("/bare").with("If-Match: \"v1\""), is(412)),
        row("9110 8.8.3.2 strongly: a weak one of the client", App, ten(" W/\"v1\""), failed()),
        row("9110 8.8.3.2 strongly: a weak one of the server", App, get("/weak").with("If-Match: \"v1\""), is(412)),
        row("9110 8.8.3.2 strongly: both weak", App, get("/weak").with("If-Match: W/\"v1\""), is(412)),
        row("9110 13.1.1 an invalid tag matches nothing", App, ten(" v1"), failed()),
        row("9110 13.1.1 HEAD", App, head("/ten").with("If-Match: \"v2\""), is(412)),
        row("9110 13.2.1 If-Match does not change an error", App, get("/nowhere").with("If-Match: \"v1\""), is(404)),
        row("9110 13.1.1 PUT with the same tag", App, ask("PUT", "/ten").with("If-Match: \"v1\"").body("x"), is(204)),
        row("9110 13.1.1 PUT with another tag", App, ask("PUT", "/ten").with("If-Match: \"v2\"").body("x"), is(412)),
        row("9110 13.1.1 PUT of a missing file", App, ask("PUT", "/new").with("If-Match: *").body("x"), is(412)),
    ]
}

fn dates() -> Vec<Row> {
    let since = |date: &str| get("/dated").with(format!("If-Modified-Since: {date}"));
    let unless = |date: &str| get("/dated").with(format!("If-Unmodified-Since: {date}"));
    let whole = || is(200).length(10);
    vec![
        row("9110 13.1.3 the date of the response", App, since(DATE), is(304).has("Last-Modified", DATE)),
        row("9110 13.1.3 an earlier date", App, since(EARLIER), whole()),
        row("9110 13.1.3 a later date", App, since(LATER), is(304)),
        row("9110 13.1.3 an invalid date is ignored", App, since("yesterday"), whole()),
        row("9110 13.1.3 two dates are ignored", App, since(DATE).with(format!("If-Modified-Since: {DATE}")), whole()),
        row(
            "9110 13.1.3 a response without a date",
            App,
            get("/tagged").with(format!("If-Modified-Since: {LATER}")),
            whole(),
        ),
        row(
            "9110 13.1.3 only for GET and HEAD",
            App,
            ask("PUT", "/ten").with(format!("If-Modified-Since: {LATER}")).body("x"),
            is(204),
        ),
        row("9110 13.1.3 HEAD", App, head("/dated").with(format!("If-Modified-Since: {DATE}")), is(304)),
        row("9110 13.1.4 the date of the response", App, unless(DATE), whole()),
        row("9110 13.1.4 an earlier date", App, unless(EARLIER), is(412)),
        row("9110 13.1.4 a later date", App, unless(LATER), whole()),
        row("9110 13.1.4 an invalid date is ignored", App, unless("yesterday"), whole()),
        row(
            "9110 13.1.4 a response without a date",
            App,
            get("/tagged").with(format!("If-Unmodified-Since: {EARLIER}")),
            whole(),
        ),
        row(
            "9110 13.1.4 PUT",
            App,
            ask("PUT", "/ten").with(format!("If-Unmodified-Since: {EARLIER}")).body("x"),
            is(412),
        ),
        row(
            "9110 13.1.4 PUT with the same date",
            App,
            ask("PUT", "/ten").with(format!("If-Unmodified-Since: {DATE}")).body("x"),
            is(204),
        ),
    ]
}

/// Section 13.2.2: the order of precedence.
fn together() -> Vec<Row> {
    let ten = |lines: &[String]| lines.iter().fold(get("/ten"), |ask, line| ask.with(line));
    let tag = |name: &str, tag: &str| format!("{name}: \"{tag}\"");
    let date = |name: &str, date: &str| format!("{name}: {date}");
    let whole = || is(200).length(10);
    vec![
        row(
            "9110 13.2.2 a tag that matches overrules a date that does not",
            App,
            ten(&[tag("If-None-Match", "v1"), date("If-Modified-Since", EARLIER)]),
            is(304),
        ),
        row(
            "9110 13.2.2 a tag that does not match overrules a date that does",
            App,
            ten(&[tag("If-None-Match", "v2"), date("If-Modified-Since", LATER)]),
            whole(),
        ),
        row(
            "9110 13.2.2 even if the date comes first",
            App,
            ten(&[date("If-Modified-Since", LATER), tag("If-None-Match", "v2")]),
            whole(),
        ),
        row(
            "9110 13.2.2 a list that names nothing overrules a date",
            App,
            ten(&[date("If-Modified-Since", LATER), "If-None-Match: v1".into()]),
            whole(),
        ),
        row(
            "9110 13.2.2 If-Match that holds overrules its date",
            App,
            ten(&[tag("If-Match", "v1"), date("If-Unmodified-Since", EARLIER)]),
            whole(),
        ),
        row(
            "9110 13.2.2 If-Match that fails overrules its date",
            App,
            ten(&[tag("If-Match", "v2"), date("If-Unmodified-Since", LATER)]),
            is(412),
        ),
        row("9110 13.2.2 (1) before (3)", App, ten(&[tag("If-None-Match", "v1"), tag("If-Match", "v2")]), is(412)),
        row("9110 13.2.2 (1) holds, then (3)", App, ten(&[tag("If-None-Match", "v1"), tag("If-Match", "v1")]), is(304)),
        row(
            "9110 13.2.2 (2) before (4)",
            App,
            ten(&[date("If-Modified-Since", LATER), date("If-Unmodified-Since", EARLIER)]),
            is(412),
        ),
        row(
            "9110 13.2.2 (2) before (3)",
            App,
            ten(&[tag("If-None-Match", "v1"), date("If-Unmodified-Since", EARLIER)]),
            is(412),
        ),
        row(
            "9110 13.2.2 (3) before a range",
            App,
            ten(&[tag("If-None-Match", "v1"), "Range: bytes=0-1".into()]),
            is(304).lacks("Content-Range"),
        ),
        row(
            "9110 13.2.2 (1) before a range that is not there",
            App,
            ten(&[tag("If-Match", "v2"), "Range: bytes=20-".into()]),
            is(412),
        ),
        row(
            "9110 13.2.2 (3) goes on to the range",
            App,
            ten(&[tag("If-None-Match", "v2"), "Range: bytes=0-1".into()]),
            is(206).body("01"),
        ),
    ]
}

fn files() -> Vec<Row> {
    vec![
        row(
            "9110 13.1.3 a file unchanged since its date",
            Files,
            get("/ten.txt").with(format!("If-Modified-Since: {DATE}")),
            is(304).has("Last-Modified", DATE).has("Cache-Control", "no-cache").lacks("Content-Type"),
        ),
        row(
            "9110 13.1.3 a file changed since an earlier date",
            Files,
            get("/ten.txt").with(format!("If-Modified-Since: {EARLIER}")),
            is(200).body("0123456789"),
        ),
        row("9110 13.1.2 a file with any tag", Files, get("/ten.txt").with("If-None-Match: *"), is(304)),
        row(
            "9110 13.1.2 a file with another tag",
            Files,
            get("/ten.txt").with("If-None-Match: \"x\""),
            is(200).body("0123456789"),
        ),
        row("9110 13.1.1 a file with another tag", Files, get("/ten.txt").with("If-Match: \"x\""), is(412)),
        row("9110 13.2.1 a file that is missing", Files, get("/nowhere").with("If-Match: \"x\""), is(404)),
        row("9110 13.2.1 a folder without its slash", Files, get("/dir").with("If-None-Match: *"), is(301)),
        row(
            "9110 13.2.1 a method that is not allowed",
            Files,
            ask("PUT", "/ten.txt").with("If-Match: \"x\"").body("x"),
            is(405),
        ),
    ]
}
