//! The length of a body: RFC 9112, sections 6.1 to 6.3, 7 and 8; RFC 9110, section 8.6. An ambiguous length is rejected
//! and the connection closed, so that no request can be hidden in the body of another.

use crate::row::{Row, Want, ask, ask_old, get, is, last, row, say, talk};
use crate::sites::Site::{App, Files};

pub fn rows() -> Vec<Row> {
    let mut rows = lengths();
    rows.extend(codings());
    rows.extend(unread_body_rows());
    rows
}

fn lengths() -> Vec<Row> {
    let post = || ask("POST", "/echo");
    let length = |value: &str| post().with(format!("Content-Length:{value}")).raw("ab");
    let echoed = || is(200).body("ab");
    vec![
        row("9112 6.3 (7) neither field: no body", App, post(), is(200).body("")),
        row("9112 6.3 (7) GET, neither field", App, get("/bare"), is(200).length(10)),
        row("9112 6.3 (6) a body with a length", App, post().body("ab"), echoed()),
        row("9112 6.3 (6) no bytes", App, post().with("Content-Length: 0"), is(200).body("")),
        row("9112 6.3 (6) any bytes", App, post().body(b"\0\r\n\r\n\xff"), is(200).body(*b"\0\r\n\r\n\xff")),
        row("9112 6.3 (6) the body of a GET", App, get("/mirror").body("ab"), is(200).holds("body ab")),
        row("9112 6.3 (6) the body of a HEAD", App, ask("HEAD", "/mirror").body("ab"), is(200)),
        row("9112 6.3 (6) the body of a DELETE", App, ask("DELETE", "/mirror").body("ab"), is(204)),
        row("9112 6.3 (6) the body of an OPTIONS *", App, ask("OPTIONS", "*").body("ab"), is(204)),
        row("9112 6.3 (6) of an unknown method", App, ask("BREW", "/mirror").body("ab"), is(200).holds("body ab")),
        row("9112 6.3 (6) in HTTP/1.0", App, ask_old("POST", "/echo").body("ab"), last(200).body("ab")),
        row("9110 8.6 leading zeros", App, length(" 0002"), echoed()),
        row("9110 8.6 a hundred leading zeros", App, length(&format!(" {}2", "0".repeat(100))), echoed()),
        row(
            "9112 6.3 (6) HTTP/1.0 with keep-alive",
            App,
            ask_old("POST", "/echo").with("Connection: keep-alive").body("ab"),
            is(200).body("ab"),
        ),
        // In pieces, the connection may be closed before the second of these bytes arrives.
        row("9112 6.3 (7) HTTP/1.0, neither field", App, ask_old("POST", "/echo").raw("ab"), last(200).body(""))
            .whole_only(),
        row(
            "9112 11.2 no bytes, and a request after them",
            App,
            get("/bare").with("Content-Length: 0"),
            is(200).length(10),
        ),
        row(
            "9112 11.2 Connection can't take a length away",
            App,
            post().with("Connection: Content-Length").body("ab"),
            echoed(),
        ),
        row(
            "9112 11.2 Connection can't take a coding away",
            App,
            post().with("Connection: Transfer-Encoding").chunked("2\r\nab\r\n0\r\n\r\n"),
            echoed(),
        ),
        row(
            "9112 11.2 a name with an underscore is another field",
            App,
            post().with("Transfer_Encoding: chunked").with("Content_Length: 9").body("ab"),
            echoed(),
        ),
        row(
            "9112 11.2 a vertical tab before chunked",
            App,
            post().with("Transfer-Encoding:\x0bchunked").raw("0\r\n\r\n"),
            last(400),
        ),
        row(
            "9112 11.2 a NUL after chunked",
            App,
            post().with("Transfer-Encoding: chunked\0").raw("0\r\n\r\n"),
            last(400),
        ),
        row("9112 11.2 a length after a fold", App, post().with("X: y\r\n Content-Length: 2").raw("ab"), last(400)),
        row("9110 5.5 a tab around a length", App, post().with("Content-Length:\t2\t").raw("ab"), echoed()),
        row("9112 6.3 (5) an empty length", App, length(""), last(400)),
        row("9112 6.3 (5) a plus sign", App, length(" +2"), last(400)),
        row("9112 6.3 (5) a minus sign", App, length(" -2"), last(400)),
        row("9112 6.3 (5) base 16", App, length(" 0x2"), last(400)),
        row("9112 6.3 (5) a fraction", App, length(" 2.0"), last(400)),
        row("9112 6.3 (5) an exponent", App, length(" 2e0"), last(400)),
        row("9112 6.3 (5) an underscore", App, length(" 0_2"), last(400)),
        row("9112 6.3 (5) two numbers", App, length(" 2 2"), last(400)),
        row("9112 6.3 (5) digits outside ASCII", App, length(" ٢"), last(400)),
        row("9112 6.3 (5) a quoted number", App, length(" \"2\""), last(400)),
        row("9110 8.6 a list of differing lengths", App, length(" 2, 3"), last(400)),
        row("9110 8.6 a list of the same length", App, length(" 2, 2"), last(400)),
        row("9110 8.6 a list with an empty member", App, length(" 2,"), last(400)),
        row("9110 8.6 two lines that differ", App, length(" 2").with("Content-Length: 3"), last(400)),
        row("9110 8.6 two lines that agree", App, length(" 2").with("Content-Length: 2"), last(400)),
        row("9110 8.6 two lines, the second in lower case", App, length(" 2").with("content-length: 0"), last(400)),
        row("9110 8.6 more than 64 bits", App, length(" 18446744073709551618"), last(413)),
        row("9110 8.6 more than 64 bits by far", App, length(&format!(" {}", "9".repeat(100))), last(413)),
        row("9110 8.6 a length over the limit", App, length(" 99999999999"), last(413)),
    ]
}

fn codings() -> Vec<Row> {
    let coding =
        |value: &str| ask("POST", "/echo").with(format!("Transfer-Encoding:{value}")).raw("2\r\nab\r\n0\r\n\r\n");
    let echoed = || is(200).body("ab");
    let old = ask_old("POST", "/echo").with("Transfer-Encoding: chunked");
    vec![
        row("9112 6.3 (4) chunked", App, coding(" chunked"), echoed()),
        row("9112 7 the name of a coding is case-insensitive", App, coding(" ChunKed"), echoed()),
        row("9110 5.6.1 chunked among empty members", App, coding(" , chunked ,,"), echoed()),
        row(
            "9112 6.3 (4) the chunked body of a GET",
            App,
            get("/mirror").chunked("2\r\nab\r\n0\r\n\r\n"),
            is(200).holds("body ab"),
        ),
        row(
            "9112 6.3 (3) a length before chunked",
            App,
            ask("POST", "/echo").with("Content-Length: 12").chunked("2\r\nab\r\n0\r\n\r\n"),
            last(400),
        ),
        row("9112 6.3 (3) a length after chunked", App, coding(" chunked").with("Content-Length: 12"), last(400)),
        row("9112 6.3 (3) a length of zero and chunked", App, coding(" chunked").with("Content-Length: 0"), last(400)),
        row("9112 6.3 (3) a length and another coding", App, coding(" gzip").with("Content-Length: 12"), last(400)),
        row("9112 6.3 (4) an unknown coding, and not chunked", App, coding(" cow"), last(400)),
        row("9112 6.1 an unknown coding before chunked", App, coding(" cow, chunked"), last(501)),
        row("9112 7.2 gzip before chunked", App, coding(" gzip, chunked"), last(501)),
        row("9112 6.1 the same over two lines", App, coding(" gzip").with("Transfer-Encoding: chunked"), last(501)),
        row("9112 6.3 (4) chunked is not the last", App, coding(" chunked, gzip"), last(400)),
        row(
            "9112 6.3 (4) chunked is not the last, over two lines",
            App,
            coding(" chunked").with("Transfer-Encoding: gzip"),
            last(400),
        ),
        row("9112 6.1 chunked twice", App, coding(" chunked, chunked"), last(400)),
        row(
            "9112 6.1 chunked twice, over two lines",
            App,
            coding(" chunked").with("Transfer-Encoding: chunked"),
            last(400),
        ),
        row("9112 7 identity is not a coding", App, coding(" identity"), last(400)),
        row("9112 7 chunked with a parameter", App, coding(" chunked;q=1"), last(400)),
        row("9112 7 chunked and a word", App, coding(" chunked foo"), last(400)),
        row("9112 7 a name that ends in chunked", App, coding(" xchunked"), last(400)),
        row("9112 7 a quoted chunked", App, coding(" \"chunked\""), last(400)),
        row("9112 6.1 an empty Transfer-Encoding", App, coding(""), last(400)),
        row("9112 6.1 in HTTP/1.0 the framing is faulty", App, old.clone().raw("2\r\nab\r\n0\r\n\r\n"), last(400)),
        row("9112 6.1 in HTTP/1.0 with a length", App, old.with("Content-Length: 2").raw("ab"), last(400)),
        row(
            "9112 6.1 in HTTP/1.0 with keep-alive",
            App,
            ask_old("POST", "/echo").with("Connection: keep-alive").chunked("0\r\n\r\n"),
            last(400),
        ),
        row(
            "9110 10.1.4 TE asks for nothing that must be given",
            App,
            get("/stream").with("TE: trailers, gzip;q=0.5").with("Connection: TE"),
            is(200).body("streamed"),
        ),
    ]
}

/// A body that the handler does not read, or not completely.
fn unread_body_rows() -> Vec<Row> {
    let hidden = "GET /bare HTTP/1.1\r\nHost: a\r\n\r\n";
    let not_allowed = || is(405).has("Allow", "GET, HEAD, OPTIONS");
    let cut = |wire: crate::row::Ask| vec![say(wire, [last(400)]).and_end()];
    let nothing: [Want; 0] = [];
    vec![
        row("9112 9.3 a body that contains a request", App, ask("POST", "/mirror").body(hidden), is(200)),
        row(
            "9112 9.3 a body that a folder has no use for",
            Files,
            get("/ten.txt").body(hidden),
            is(200).body("0123456789"),
        ),
        row("9112 9.3 a body that is rejected is drained", Files, ask("POST", "/ten.txt").body(hidden), not_allowed()),
        row("9112 9.3 a body that is rejected by a handler", App, ask("POST", "/declined").body(hidden), is(403)),
        row("9112 9.3 the body of a HEAD", App, ask("HEAD", "/declined").body(hidden), is(403)),
        row("9112 9.3 a long body is not received", Files, ask("PUT", "/ten.txt").body("x".repeat(200_000)), last(405)),
        row(
            "9112 9.3 short chunks that are rejected are dropped",
            Files,
            ask("PUT", "/ten.txt").chunked("2\r\nab\r\n0\r\n\r\n"),
            is(405),
        ),
        row("9112 9.3 the body of a method without a handler", App, ask("PATCH", "/mirror").body(hidden), is(501)),
        talk(
            "9112 8 a body that is cut short is not handed on",
            App,
            cut(ask("POST", "/echo").with("Content-Length: 10").raw("ab")),
        ),
        talk("9112 8 chunks that are cut short", App, cut(ask("POST", "/echo").chunked("5\r\nab"))),
        talk("9112 8 chunks without their end", App, cut(ask("POST", "/echo").chunked("2\r\nab\r\n0\r\n"))),
        talk(
            "9112 8 a head that is cut short is not a request",
            App,
            vec![say("GET /bare HTTP/1.1\r\nHost: a\r\n", [last(400)]).and_end()],
        ),
        talk("9112 8 a request line that is cut short", App, vec![say("GET /bare HTT", [last(400)]).and_end()]),
        talk("9112 8 nothing but an empty line is nothing", App, vec![say("\r\n", nothing).and_end()]),
    ]
}
