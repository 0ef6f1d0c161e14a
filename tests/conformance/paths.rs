//! Paths of a folder: RFC 3986, sections 2 to 6; RFC 9110, sections 4.2.3, 10.2.2, 15.4.2 and 17.3; RFC 8615.

use crate::row::{Row, ask_old, get, head, is, last, row};
use crate::sites::Site::{Files, NoLinks, Open};

pub fn rows() -> Vec<Row> {
    let mut rows = names();
    rows.extend(one_name());
    rows.extend(folders());
    rows.extend(outside());
    rows.extend(hidden());
    rows
}

fn file(path: &str, text: &'static str) -> (crate::row::Ask, crate::row::Want) {
    (get(path), is(200).body(text))
}

fn served(name: &'static str, path: &str, text: &'static str) -> Row {
    let (ask, want) = file(path, text);
    row(name, Files, ask, want)
}

fn missing(name: &'static str, path: &str) -> Row {
    row(name, Files, get(path), is(404).holds("the folder's own page"))
}

fn moved(name: &'static str, path: &str, location: &str) -> Row {
    row(name, Files, get(path), is(301).has("Location", location).body(""))
}

fn no_path(name: &'static str, path: &str) -> Row {
    row(name, Files, get(path), is(400))
}

/// Names of any characters, decoded once.
fn names() -> Vec<Row> {
    let long = "x".repeat(251);
    vec![
        served("3986 2.4 a space", "/a%20b.txt", "a b"),
        served("3986 2.5 another script", "/%C3%BC.txt", "ü"),
        served("3986 2.1 digits in either case", "/%c3%bC.txt", "ü"),
        served("3986 2.4 not UTF-8", "/%FF.txt", "not UTF-8"),
        served("3986 2.4 a path is decoded once", "/%2541.txt", "%41"),
        missing("3986 2.4 a path is not decoded twice", "/%252541.txt"),
        served("3986 2.2 an escaped question mark", "/a%3Fb.txt", "a?b"),
        served("3986 2.2 an escaped number sign", "/a%23b.txt", "a#b"),
        served("3986 2.2 an escaped backslash is a character", "/a%5Cb.txt", "a\\b"),
        served("3986 2.2 a plus sign is not a space", "/a+b.txt", "a+b"),
        served("3986 2.2 a colon", "/a:b.txt", "a:b"),
        served("3986 3.3 no parameters are split off", "/a&b;c=d.txt", "a&b;c=d"),
        served("3986 6.2.2.2 an unreserved character, escaped", "/%7Ea.txt", "~a"),
        served("3986 6.2.2.2 an unreserved character, unescaped", "/~a.txt", "~a"),
        served("3986 6.2.2.1 paths are case-sensitive", "/CASE.txt", "CASE"),
        missing("3986 6.2.2.1 another case is another path", "/case.txt"),
        served("3986 3.4 the query is not of the path", "/ten.txt?a=../b", "0123456789"),
        row("3986 2.2 an escaped slash is part of a name", Files, get("/dir%2Fa.txt"), is(404)),
        row("3986 2.2 in lower case", Files, get("/dir%2fa.txt"), is(404)),
        no_path("3986 7.3 an escaped NUL", "/ten.txt%00"),
        no_path("3986 7.3 an escaped NUL before other characters", "/ten.txt%00.html"),
        missing("3986 2.1 an escaped line break", "/ten.txt%0D%0AX:%20y"),
        row("9110 4.1 a name as long as names are", Files, get(&format!("/{long}.txt")), is(200).body("a long name")),
        row("9110 4.1 a name that is longer", Files, get(&format!("/{long}x.txt")), is(404)),
        row("9110 4.1 a path longer than the system allows", Files, get(&"/dir".repeat(1500)), is(404)),
        missing("9110 15.5.5 a missing file", "/nowhere"),
        missing("9110 15.5.5 in a folder that is missing", "/nowhere/a.txt"),
        missing("9110 15.5.5 below a file", "/ten.txt/a.txt"),
        missing("3986 3.3 a slash after a file", "/ten.txt/"),
        row("9110 15.5.5 by HEAD", Files, head("/nowhere"), is(404).has("Content-Length", "28")),
    ]
}

/// RFC 3986, sections 5.2.4 and 6.2.2.3: dots and empty segments. A file has one name, and other spellings redirect to
/// it.
fn one_name() -> Vec<Row> {
    vec![
        moved("3986 6.2.2.3 a dot", "/./ten.txt", "/ten.txt"),
        moved("3986 6.2.2.3 two dots", "/dir/../ten.txt", "/ten.txt"),
        moved("3986 6.2.2.3 dots at the end", "/dir/..", "/"),
        moved("3986 6.2.2.3 a dot at the end", "/dir/.", "/dir/"),
        moved("3986 6.2.2.3 escaped dots are dots", "/dir/%2e%2E/ten.txt", "/ten.txt"),
        moved("3986 6.2.2.3 half escaped", "/dir/.%2e/ten.txt", "/ten.txt"),
        served("3986 3.3 dots within a name are a name", "/a..txt", "a."),
        missing("3986 2.4 dots that are escaped twice are a name", "/dir/%252e%252e/ten.txt"),
        served("3986 2.4 dots that are escaped twice are the name of a folder", "/dir/%252e%252e/x", "x"),
        moved("3986 3.3 empty segments", "/dir//a.txt", "/dir/a.txt"),
        moved("9110 17.3 two leading slashes are not another site", "//evil.example", "/evil.example"),
        moved(
            "9110 17.3 two leading slashes before a folder are not another site",
            "//evil.example/",
            "/evil.example/",
        ),
        moved("9110 17.3 two leading slashes with dots after the name are not another site", "//evil.example/..", "/"),
        moved("9110 17.3 many leading slashes are not another site", "////evil.example", "/evil.example"),
        moved("9110 17.3 slashes and a backslash are not another site", "/.//%5Cevil.example", "/%5Cevil.example"),
        moved(
            "9110 17.3 two leading slashes in a URL are not another site",
            "http://b.example//evil.example",
            "/evil.example",
        ),
        moved("9110 15.4.2 the query is kept", "/./ten.txt?a=b&c", "/ten.txt?a=b&c"),
        moved("9110 15.4.2 an empty one", "/./ten.txt?", "/ten.txt?"),
        moved(
            "9110 10.2.2 a query that no URI allows is escaped, but not twice",
            "/./ten.txt?\\\"<>`{|}^ü%5C",
            "/ten.txt?%5C%22%3C%3E%60%7B%7C%7D%5E%C3%BC%5C",
        ),
        moved("9112 11.1 a line break goes along escaped", "/./a%0D%0Ab", "/a%0D%0Ab"),
        no_path("9110 17.3 above the top", "/.."),
        no_path("9110 17.3 above the top and down again", "/../root/ten.txt"),
        no_path("9110 17.3 above the top, escaped", "/%2e%2e/outside.txt"),
        no_path("9110 17.3 above the top by a detour", "/dir/../../outside.txt"),
        no_path("9110 17.3 to a folder whose name begins the same", "/../root2/outside.txt"),
    ]
}

fn folders() -> Vec<Row> {
    let index = |path: &str| (get(path), is(200).has("Content-Type", "text/html; charset=utf-8"));
    let (root, root_want) = index("/");
    vec![
        row("9110 15.4.2 a folder without its slash", Files, get("/dir"), is(301).has("Location", "/dir/").body("")),
        row("9110 15.4.2 the query of a folder is kept", Files, get("/dir?a=b"), is(301).has("Location", "/dir/?a=b")),
        row(
            "9110 15.4.2 a folder outside ASCII",
            Files,
            get("/%C3%BC%20dir"),
            is(301).has("Location", "/%C3%BC%20dir/"),
        ),
        row(
            "9110 15.4.2 a folder with a question mark",
            Files,
            get("/a%3Fdir?b"),
            is(301).has("Location", "/a%3Fdir/?b"),
        ),
        row("9110 15.4.2 a folder with a colon", Files, get("/a:dir"), is(301).has("Location", "/a:dir/")),
        row(
            "9110 17.3 a folder with a backslash is not another site",
            Files,
            get("/%5Cevil.example"),
            is(301).has("Location", "/%5Cevil.example/"),
        ),
        row("9110 4.2.3 a folder ignores its query", Files, get("/dir/?C=M;O=D"), is(200).holds("a.txt")),
        row(
            "9110 15.4.2 whatever the Host",
            Files,
            get("/dir").without_host().with("Host: evil.example:81"),
            is(301).has("Location", "/dir/"),
        ),
        row("9110 15.4.2 whatever the target", Files, get("http://evil.example/dir"), is(301).has("Location", "/dir/")),
        row("9110 15.4.2 in HTTP/1.0", Files, ask_old("GET", "/dir"), last(301).has("Location", "/dir/")),
        row("9110 15.4.2 a folder with an index", Files, get("/site"), is(301).has("Location", "/site/")),
        row("9110 4.2.3 the top", Files, root, root_want.body("index.html")),
        row("9110 4.2.3 the top of a URL", Files, get("http://b.example"), is(200).body("index.html")),
        row("9110 4.2.3 a folder with an index", Files, get("/site/"), is(200).body("index.html")),
        row(
            "9110 4.2.3 a folder without",
            Files,
            get("/dir/"),
            is(200).has("Content-Type", "text/html; charset=utf-8").holds("a.txt"),
        ),
        row("9110 17.3 a listing does not show hidden names", Files, get("/dir/"), is(200).hides(".secret")),
        row("9110 17.3 no listing unless enabled", Open, get("/dir/"), is(404)),
        row("9110 4.2.3 the index by its own name", Files, get("/index.html"), is(200).body("index.html")),
    ]
}

/// Nothing outside the folder, and only regular files.
fn outside() -> Vec<Row> {
    vec![
        missing("9110 17.3 a link that leads out", "/link-out"),
        missing("9110 17.3 a folder that is a link that leads out", "/link-out-folder/outside.txt"),
        missing("9110 17.3 a listing of a folder that is a link that leads out", "/link-out-folder/"),
        served("9110 17.3 a link that stays within", "/link-in", "0123456789"),
        served("9110 17.3 an absolute link that stays within", "/link-absolute", "0123456789"),
        missing("9110 17.3 a link to itself", "/link-loop"),
        missing("9110 17.3 a link to nowhere", "/link-nowhere"),
        missing("9110 17.3 a link to a device", "/link-device"),
        row("9110 17.3 no links: a link that stays within", NoLinks, get("/link-in"), is(404)),
        row("9110 17.3 no links: a file", NoLinks, get("/ten.txt"), is(200).body("0123456789")),
        row("9110 17.3 no links: a folder that is a link", NoLinks, get("/link-out-folder/outside.txt"), is(404)),
        row("9110 17.3 all links: a link that leads out", Open, get("/link-out"), is(200).body("outside")),
        row(
            "9110 17.3 all links: a folder that leads out",
            Open,
            get("/link-out-folder/outside.txt"),
            is(200).body("outside"),
        ),
        row("9110 17.3 all links: a device is not a file", Open, get("/link-device"), is(404)),
        row("9110 17.3 all links: above the top there is nothing", Open, get("/../outside.txt"), is(400)),
        missing("9110 17.3 a FIFO is a 404 and blocks no worker", "/fifo"),
        row("9110 17.3 a FIFO by HEAD", Files, head("/fifo"), is(404)),
        missing("9110 17.3 a FIFO as a folder", "/fifo/"),
        missing("9110 17.3 a socket is a 404", "/socket"),
    ]
}

/// RFC 8615, and names with a dot, which are hidden by custom.
fn hidden() -> Vec<Row> {
    vec![
        missing("8615 3 a hidden file", "/.hidden"),
        missing("8615 3 a hidden file, escaped", "/%2Ehidden"),
        missing("8615 3 a file in a hidden folder", "/dir/.secret/a.txt"),
        missing("8615 3 a hidden folder", "/dir/.secret/"),
        served("8615 3 a file in .well-known", "/.well-known/thing", "thing"),
        missing("8615 3 a hidden file in .well-known", "/.well-known/.deep"),
        missing("8615 3 .well-known only at the top", "/dir/.well-known/thing"),
        row("8615 3 a hidden name that is requested", Open, get("/.hidden"), is(200).body(".hidden")),
        row("8615 3 a folder", Open, get("/dir/.secret/a.txt"), is(200).body("a")),
    ]
}
