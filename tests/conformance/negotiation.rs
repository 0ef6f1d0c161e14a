//! Content negotiation: RFC 9110, sections 8.4 and 12. `all.css` has a sidecar in each coding, `one.js` one in gzip,
//! `ten.txt` none; the sidecar of `stale.js` is older than the file.

use crate::row::{Row, Want, get, head, is, row};
use crate::sites::Site::Files;

pub fn rows() -> Vec<Row> {
    let all = |value: &str| get("/all.css").with(format!("Accept-Encoding:{value}"));
    let one = |value: &str| get("/one.js").with(format!("Accept-Encoding:{value}"));
    let coded = |coding: &str, body: &'static str| {
        is(200)
            .has("Content-Encoding", coding)
            .has("Vary", "Accept-Encoding")
            .has("Content-Type", "text/css; charset=utf-8")
            .holds(body)
    };
    let (br, zstd, gzip) = (|| coded("br", "brotli"), || coded("zstd", "zstd"), || coded("gzip", "gzip"));
    let plain = || is(200).lacks("Content-Encoding").has("Vary", "Accept-Encoding").body("plain");
    let nothing =
        || is(406).has("Vary", "Accept-Encoding").holds("Available content codings: identity, br, zstd, gzip.");
    let js_gzip =
        || is(200).has("Content-Encoding", "gzip").has("Content-Type", "text/javascript; charset=utf-8").holds("gzip");
    vec![
        row("9110 12.5.3 no Accept-Encoding", Files, get("/all.css"), plain()),
        row("9110 12.5.3 an empty field asks for none", Files, all(""), plain()),
        row("9110 12.5.3 gzip", Files, all(" gzip"), gzip()),
        row("9110 12.5.3 zstd", Files, all(" zstd"), zstd()),
        row("9110 12.5.3 br", Files, all(" br"), br()),
        row("9110 8.4.1.3 x-gzip is gzip", Files, all(" x-gzip"), gzip()),
        row("9110 8.4.1 codings are case-insensitive", Files, all(" GZip"), gzip()),
        row("9110 12.5.3 all that browsers ask for", Files, all(" gzip, deflate, br, zstd"), br()),
        row("9110 12.5.3 codings without a sidecar", Files, all(" deflate, compress"), plain()),
        row("9110 12.5.3 over two lines", Files, all(" deflate").with("Accept-Encoding: gzip"), gzip()),
        row("9110 12.5.3 any", Files, all(" *"), br()),
        row("9110 12.4.2 the heavier", Files, all(" br;q=0.2, gzip;q=0.9"), gzip()),
        row("9110 12.4.2 an empty weight", Files, all(" br;q=0, gzip;q=0.000"), plain()),
        row("9110 12.4.2 any but one", Files, all(" *, br;q=0"), zstd()),
        row("9110 12.4.2 identity is heavier", Files, all(" gzip;q=0.5, identity;q=0.8"), plain()),
        row("9110 12.4.2 identity is lighter", Files, all(" gzip;q=0.8, identity;q=0.5"), gzip()),
        row("9110 12.4.2 the least weight", Files, all(" gzip;q=0.001"), gzip()),
        row("9110 12.4.2 white space around a weight", Files, all(" gzip ; q=0.5 , br\t;\tq=0"), gzip()),
        row("9110 12.4.2 the name of a weight is case-insensitive", Files, all(" br;Q=0, gzip;Q=1"), gzip()),
        row("9110 12.4.2 a weight over 1 is invalid", Files, all(" gzip;q=1.5"), plain()),
        row("9110 12.4.2 a weight of four digits is invalid", Files, all(" gzip;q=0.1234"), plain()),
        row("9110 12.5.3 identity is rejected", Files, all(" identity;q=0, gzip"), gzip()),
        row("9110 15.5.7 nothing is accepted", Files, all(" identity;q=0"), nothing()),
        row("9110 12.5.3 every coding is rejected except one", Files, all(" *;q=0, gzip"), gzip()),
        row("9110 12.5.3 every coding is rejected except identity", Files, all(" *;q=0, identity"), plain()),
        row("9110 12.5.3 a coding without a sidecar is not sent", Files, one(" br, zstd"), plain()),
        row("9110 12.5.3 a coding with a sidecar is sent", Files, one(" br, gzip;q=0.1"), js_gzip()),
        row("9110 12.5.3 any of one", Files, one(" *"), js_gzip()),
        row(
            "9110 12.5.5 no Vary where nothing varies",
            Files,
            get("/ten.txt").with("Accept-Encoding: gzip"),
            is(200).lacks("Vary").lacks("Content-Encoding").body("0123456789"),
        ),
        row(
            "9110 12.1 a file without codings, for a client that accepts none",
            Files,
            get("/ten.txt").with("Accept-Encoding: identity;q=0"),
            is(200).body("0123456789"),
        ),
        row(
            "9110 12.5.3 a sidecar older than the file is ignored",
            Files,
            get("/stale.js").with("Accept-Encoding: gzip"),
            is(200).lacks("Content-Encoding").body("plain"),
        ),
        row(
            "9110 12.5.3 HEAD",
            Files,
            head("/all.css").with("Accept-Encoding: br"),
            is(200).has("Content-Encoding", "br").has("Content-Length", "6").has("Vary", "Accept-Encoding"),
        ),
        row(
            "9110 14.2 a range of the chosen coding",
            Files,
            all(" br").with("Range: bytes=0-1"),
            range("br", "bytes 0-1/6", "br"),
        ),
        row(
            "9110 14.2 a range of the same, uncoded",
            Files,
            get("/all.css").with("Range: bytes=0-1"),
            is(206).has("Content-Range", "bytes 0-1/5").has("Vary", "Accept-Encoding").body("pl"),
        ),
        row(
            "9110 13.1.2 any state of the chosen coding",
            Files,
            all(" br").with("If-None-Match: *"),
            is(304).has("Vary", "Accept-Encoding").has("Cache-Control", "no-cache"),
        ),
        row(
            "9110 8.4 a sidecar by its own name has no coding",
            Files,
            get("/all.css.gz"),
            is(200).has("Content-Type", "application/gzip").lacks("Content-Encoding").holds("gzip"),
        ),
        row(
            "9110 12.5.1 Accept is ignored",
            Files,
            get("/ten.txt").with("Accept: image/png"),
            is(200).has("Content-Type", "text/plain; charset=utf-8"),
        ),
        row(
            "9110 12.5.4 Accept-Language is ignored",
            Files,
            get("/ten.txt").with("Accept-Language: tlh"),
            is(200).lacks("Vary"),
        ),
        row(
            "9110 12.5.2 Accept-Charset is ignored",
            Files,
            get("/ten.txt").with("Accept-Charset: iso-8859-5"),
            is(200).lacks("Vary"),
        ),
    ]
}

fn range(coding: &str, range: &str, body: &str) -> Want {
    is(206).has("Content-Encoding", coding).has("Content-Range", range).has("Vary", "Accept-Encoding").body(body)
}
