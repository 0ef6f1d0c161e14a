//! Ranges: RFC 9110, section 14, If-Range (13.1.5), 206 (15.3.7) and 416 (15.5.17). They apply to any response of known
//! length.

use crate::reader::Framing;
use crate::row::{Row, ask, ask_old, get, head, is, last, row};
use crate::sites::Site::{App, Files};

pub fn rows() -> Vec<Row> {
    let mut rows = one();
    rows.extend(several());
    rows.extend(ignored());
    rows.extend(if_range());
    rows.extend(of_other_bodies());
    rows
}

fn part(range: &str, body: &str) -> crate::row::Want {
    is(206).has("Content-Range", format!("bytes {range}/10")).has("Content-Length", body.len().to_string()).body(body)
}

fn none() -> crate::row::Want {
    is(416).has("Content-Range", "bytes */10").hides("0123456789")
}

fn whole() -> crate::row::Want {
    is(200).body("0123456789").lacks("Content-Range")
}

fn one() -> Vec<Row> {
    let ten = |range: &str| get("/ten").with(format!("Range:{range}"));
    vec![
        row("9110 14.1.2 both ends", App, ten(" bytes=2-4"), part("2-4", "234")),
        row("9110 14.1.2 the first byte", App, ten(" bytes=0-0"), part("0-0", "0")),
        row("9110 14.1.2 the last byte", App, ten(" bytes=9-9"), part("9-9", "9")),
        row("9110 14.1.2 past the end", App, ten(" bytes=8-99"), part("8-9", "89")),
        row("9110 14.1.2 without an end", App, ten(" bytes=7-"), part("7-9", "789")),
        row(
            "9110 14.1.2 the whole file as a range, as players request it",
            App,
            ten(" bytes=0-"),
            part("0-9", "0123456789"),
        ),
        row("9110 14.1.2 the last bytes", App, ten(" bytes=-3"), part("7-9", "789")),
        row("9110 14.1.2 more last bytes than there are", App, ten(" bytes=-30"), part("0-9", "0123456789")),
        row("9110 14.1.2 an end over 64 bits", App, ten(" bytes=8-99999999999999999999"), part("8-9", "89")),
        row(
            "9110 14.1.2 a number of last bytes over 64 bits",
            App,
            ten(" bytes=-99999999999999999999"),
            part("0-9", "0123456789"),
        ),
        row("9110 14.1.2 leading zeros", App, ten(" bytes=002-0004"), part("2-4", "234")),
        row("9110 14.1 the unit is case-insensitive", App, ten(" BYTES=2-4"), part("2-4", "234")),
        row("9110 14.1.1 a list of one with white space", App, ten(" bytes= 2-4 "), part("2-4", "234")),
        row("9110 14.1.1 a list of one with empty members", App, ten(" bytes=,2-4,"), part("2-4", "234")),
        row("9110 15.5.17 past the end", App, ten(" bytes=10-"), none()),
        row("9110 15.5.17 far past the end", App, ten(" bytes=10-20"), none()),
        row("9110 15.5.17 the last zero bytes", App, ten(" bytes=-0"), none()),
        row("9110 15.5.17 a beginning over 64 bits", App, ten(" bytes=99999999999999999999-"), none()),
        row("9110 15.5.17 several, all past the end", App, ten(" bytes=10-,20-30"), none()),
        row(
            "9110 15.5.17 a range of an empty response",
            App,
            get("/empty").with("Range: bytes=0-"),
            is(416).has("Content-Range", "bytes */0"),
        ),
        row(
            "9110 14.1.2 the last bytes of an empty file",
            App,
            get("/empty").with("Range: bytes=-5"),
            is(200).body(""),
        ),
        row(
            "9110 15.3.7 the fields that a 200 would have",
            App,
            get("/dressed").with("Range: bytes=2-4"),
            part("2-4", "234")
                .has("ETag", "\"v1\"")
                .has("Cache-Control", "max-age=60")
                .has("Expires", "Thu, 01 Dec 1994 16:00:00 GMT")
                .has("Content-Location", "/ten.txt")
                .has("Vary", "Accept-Language")
                .has("Content-Type", "text/plain; charset=utf-8"),
        ),
        row("9110 15.3.7 framed by its own length", App, ten(" bytes=2-4"), part("2-4", "234").framed(Framing::Length)),
        row("9110 15.3.7 by HTTP/1.0", App, ask_old("GET", "/ten").with("Range: bytes=2-4"), last(206).body("234")),
        row("9110 14.3 Accept-Ranges", App, get("/ten"), whole().has("Accept-Ranges", "bytes")),
        row("9110 14.3 a stream can't", App, get("/stream/tagged"), is(200).lacks("Accept-Ranges")),
        row(
            "9110 14.3 a handler that sends Accept-Ranges: none",
            App,
            get("/noranges").with("Range: bytes=2-4"),
            whole().has("Accept-Ranges", "none"),
        ),
    ]
}

fn several() -> Vec<Row> {
    let ten = |range: &str| get("/ten").with(format!("Range: bytes={range}"));
    let many = |number: usize| (0..number).map(|_| "0-0").collect::<Vec<_>>().join(",");
    let scattered = |number: u32| (0..number).map(|at| format!("{0}-{0}", at * 2)).collect::<Vec<_>>().join(",");
    vec![
        row(
            "9110 14.6 two",
            App,
            ten("0-1,4-5"),
            is(206).lacks("Content-Range").parts(&[("bytes 0-1/10", "01"), ("bytes 4-5/10", "45")]),
        ),
        row(
            "9110 14.6 of every kind",
            App,
            ten("0-1, 4-5,-2"),
            is(206).parts(&[("bytes 0-1/10", "01"), ("bytes 4-5/10", "45"), ("bytes 8-9/10", "89")]),
        ),
        row(
            "9110 14.6 each with its type",
            App,
            ten("0-1,4-5"),
            is(206).holds("\r\nContent-Type: text/plain; charset=utf-8\r\n"),
        ),
        row("9110 14.6 framed by a length", App, ten("0-1,4-5"), is(206).framed(Framing::Length)),
        row(
            "9110 15.3.7.2 in the order of the request",
            App,
            ten("8-9,0-1"),
            is(206).parts(&[("bytes 8-9/10", "89"), ("bytes 0-1/10", "01")]),
        ),
        row("9110 15.3.7.2 overlapping ones are joined", App, ten("0-5,3-8"), part("0-8", "012345678")),
        row("9110 15.3.7.2 touching ones are joined", App, ten("0-4,5-6"), part("0-6", "0123456")),
        row("9110 15.3.7.2 the same twice", App, ten("2-4,2-4"), part("2-4", "234")),
        row("9110 15.3.7.2 one of two is within the file", App, ten("2-4,20-30"), part("2-4", "234")),
        row("9110 17.15 many small ones that overlap", App, ten(&many(50)), part("0-0", "0")),
        row("9110 14.2 more than 100 ranges", App, ten(&many(500)), whole()),
        row(
            "9110 14.2 many that do not overlap",
            Files,
            get("/large.txt").with(format!("Range: bytes={}", scattered(300))),
            is(200).length(200_000),
        ),
        row(
            "9110 15.3.7 the fields that a 200 would have, for several ranges",
            App,
            get("/dressed").with("Range: bytes=0-1,4-5"),
            is(206).has("ETag", "\"v1\"").has("Vary", "Accept-Language").has("Cache-Control", "max-age=60"),
        ),
    ]
}

fn ignored() -> Vec<Row> {
    let ten = |range: &str| get("/ten").with(format!("Range:{range}"));
    vec![
        row("9110 14.2 another unit", App, ten(" seconds=2-4"), whole()),
        row("9110 14.2 no unit", App, ten(" 2-4"), whole()),
        row("9110 14.2 no range", App, ten(" bytes="), whole()),
        row("9110 14.2 an empty field", App, ten(""), whole()),
        row("9110 14.2 no equals sign", App, ten(" bytes 2-4"), whole()),
        row("9110 14.2 backwards", App, ten(" bytes=4-2"), whole()),
        row("9110 14.2 no number at all", App, ten(" bytes=-"), whole()),
        row("9110 14.2 no dash", App, ten(" bytes=2"), whole()),
        row("9110 14.2 a sign", App, ten(" bytes=+2-4"), whole()),
        row("9110 14.2 below zero", App, ten(" bytes=--2"), whole()),
        row("9110 14.2 three ends", App, ten(" bytes=2-4-6"), whole()),
        row("9110 14.2 base 16", App, ten(" bytes=0x2-0x4"), whole()),
        row("9110 14.2 white space within a range", App, ten(" bytes=2 - 4"), whole()),
        row("9110 14.2 one of several malformed", App, ten(" bytes=2-4,x"), whole()),
        row("9110 14.2 nothing but commas", App, ten(" bytes=,,"), whole()),
        row("9110 14.2 two fields", App, ten(" bytes=2-4").with("Range: bytes=6-7"), whole()),
        row(
            "9110 14.2 HEAD",
            App,
            head("/ten").with("Range: bytes=2-4"),
            is(200).has("Content-Length", "10").lacks("Content-Range"),
        ),
        row(
            "9110 14.2 HEAD past the end",
            App,
            head("/ten").with("Range: bytes=20-"),
            is(200).has("Content-Length", "10"),
        ),
        row(
            "9110 14.4 Content-Range of a POST means nothing",
            App,
            ask("POST", "/echo").with("Content-Range: bytes 0-1/10").body("ab"),
            is(200).body("ab"),
        ),
        row("9110 14.2 POST", App, ask("POST", "/echo").with("Range: bytes=0-0").body("ab"), is(200).body("ab")),
        row("9110 14.2 of an error", App, get("/missing").with("Range: bytes=2-4"), is(404).body("0123456789")),
        row(
            "9110 14.2 a range of a listing",
            Files,
            get("/nowhere").with("Range: bytes=0-1"),
            is(404).body("<p>the folder's own page</p>"),
        ),
    ]
}

fn if_range() -> Vec<Row> {
    let ask = |path: &str, value: &str| get(path).with("Range: bytes=2-4").with(format!("If-Range: {value}"));
    let ten = |value: &str| ask("/ten", value);
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    vec![
        row("9110 13.1.5 the same tag", App, ten("\"v1\""), part("2-4", "234")),
        row("9110 13.1.5 another tag", App, ten("\"v2\""), whole()),
        row("9110 13.1.5 a weak tag of the client", App, ten("W/\"v1\""), whole()),
        row("9110 13.1.5 a weak tag of the server", App, ask("/weak", "W/\"v1\""), whole()),
        row("9110 13.1.5 the same date", App, ten(date), part("2-4", "234")),
        row("9110 13.1.5 an earlier date", App, ten("Sun, 06 Nov 1994 08:49:36 GMT"), whole()),
        row(
            "9110 13.1.5 the same date in another form",
            App,
            ten("Sunday, 06-Nov-94 08:49:37 GMT"),
            part("2-4", "234"),
        ),
        row("9110 13.1.5 a later date: it must be exact", App, ten("Sun, 06 Nov 1994 08:49:38 GMT"), whole()),
        row("9110 13.1.5 a date, of a response without one", App, ask("/tagged", date), whole()),
        row("9110 13.1.5 a tag, of a response without one", App, ask("/dated", "\"v1\""), whole()),
        row("9110 13.1.5 neither a tag nor a date", App, ten("v1"), whole()),
        row("9110 13.1.5 a list", App, ten("\"v1\", \"v2\""), whole()),
        row("9110 13.1.5 an asterisk", App, ten("*"), whole()),
        row("9110 13.1.5 twice", App, ten("\"v1\"").with("If-Range: \"v1\""), whole()),
        row(
            "9110 13.1.5 another tag, past the end",
            App,
            get("/ten").with("Range: bytes=20-").with("If-Range: \"v2\""),
            whole(),
        ),
        row(
            "9110 13.1.5 the same tag, past the end",
            App,
            get("/ten").with("Range: bytes=20-").with("If-Range: \"v1\""),
            none(),
        ),
        row("9110 13.1.5 without a range it is ignored", App, get("/ten").with("If-Range: \"v2\""), whole()),
        row("9110 13.2.2 (5) after If-Match", App, ten("\"v2\"").with("If-Match: \"v1\""), whole()),
        row("9110 13.1.5 of a file, by its date", Files, ask("/ten.txt", date), part("2-4", "234")),
        row("9110 13.1.5 of a file, by another date", Files, ask("/ten.txt", "Mon, 07 Nov 1994 08:49:37 GMT"), whole()),
    ]
}

fn of_other_bodies() -> Vec<Row> {
    let huge = |range: &str| get("/huge.bin").with(format!("Range: bytes={range}"));
    vec![
        row(
            "9110 14.2 a range of a response without a validator",
            App,
            get("/bare").with("Range: bytes=2-4"),
            part("2-4", "234"),
        ),
        row(
            "9110 14.2 a range of a stream is ignored",
            App,
            get("/stream/sized").with("Range: bytes=2-4"),
            is(200).body("streamed"),
        ),
        row(
            "9110 14.2 of a file",
            Files,
            get("/ten.txt").with("Range: bytes=2-4"),
            part("2-4", "234").has("Content-Type", "text/plain; charset=utf-8"),
        ),
        row(
            "9110 14.2 of a large file",
            Files,
            get("/large.txt").with("Range: bytes=199990-"),
            is(206).has("Content-Range", "bytes 199990-199999/200000").body("xxxxxxxxxx"),
        ),
        row(
            "9110 14.6 of a file, several",
            Files,
            get("/ten.txt").with("Range: bytes=0-1,4-5"),
            is(206).parts(&[("bytes 0-1/10", "01"), ("bytes 4-5/10", "45")]),
        ),
        row(
            "9110 14.4 above 4 GiB",
            Files,
            huge("5000000000-5000000003"),
            is(206).has("Content-Range", "bytes 5000000000-5000000003/5368709120").body([0; 4]),
        ),
        row(
            "9110 14.4 the last bytes above 4 GiB",
            Files,
            huge("-2"),
            is(206).has("Content-Range", "bytes 5368709118-5368709119/5368709120").body([0; 2]),
        ),
        row(
            "9110 14.6 on both sides of 4 GiB",
            Files,
            huge("0-0,4294967296-4294967296"),
            is(206).parts(&[("bytes 0-0/5368709120", "\0"), ("bytes 4294967296-4294967296/5368709120", "\0")]),
        ),
        row("9110 15.5.17 above 4 GiB", Files, huge("5368709120-"), is(416).has("Content-Range", "bytes */5368709120")),
        row("9110 8.6 the length of 5 GiB", Files, head("/huge.bin"), is(200).has("Content-Length", "5368709120")),
        row(
            "9110 15.5.17 of an empty file",
            Files,
            get("/empty.txt").with("Range: bytes=0-0"),
            is(416).has("Content-Range", "bytes */0"),
        ),
    ]
}
