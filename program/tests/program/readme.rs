//! The README agrees with the program: its code is that of the examples, its options are those of the program, its
//! links lead to files. All pages and comments avoid sentences that are hard to read. (The documentation tests of
//! `lib.rs` compile the code in the pages.)

use std::collections::BTreeSet;
use std::path::Path;

use crate::built::{modest, root, run};

pub fn read(path: &str) -> String {
    let whole = root().join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns whether this is an unpacked package, which has no `apps` and no `fuzz`. Cargo adds this file to a package.
fn is_packed() -> bool {
    root().join(".cargo_vcs_info.json").exists()
}

#[test]
fn the_readme_contains_the_example_hello() {
    let hello = read("examples/hello.rs");
    let code = &hello[hello.find("use modest").expect("code that begins with `use modest`")..];
    assert!(read("README.md").contains(&format!("```rust,no_run\n{code}```\n")), "README.md shows another hello.rs");
}

#[test]
fn the_ten_lines_are_the_same_everywhere() {
    let readme = read("README.md");
    let code = readme
        .split("```rust,no_run\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a first block of code");
    assert!(code.lines().filter(|line| line.len() > 1).count() <= 12, "{code}");
    let page = code.trim_end().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    for path in ["www/index.html", "www/handler.html"] {
        assert!(read(path).contains(&page), "{path} shows another handler than README.md");
    }
}

#[test]
fn the_readme_lists_the_programs_options() {
    let readme = read("README.md");
    let table: String = readme.lines().filter(|line| line.starts_with("| `-")).collect();
    let (_, help, _) = run(&mut modest(["-h"])); // `tests/command.rs` checks docs/cli.md, which lists all options
    let listed: String = help.lines().filter(|line| line.trim_start().starts_with('-')).collect();
    assert_eq!(long_options(&table), long_options(&listed), "README.md, then -h");
}

fn long_options(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 3).collect()
}

/// Checks commands in docs/deploy.md and settings in packaging. `packaging/test` runs all of them, which takes longer.
#[test]
fn deployment_uses_only_options_of_the_program() {
    let (_, help, _) = run(&mut modest(["--help"]));
    let known = long_options(&help);
    let page = read("docs/deploy.md");
    let commands: Vec<&str> = page.lines().filter(|line| line.starts_with("modest /srv/www")).collect();
    assert_eq!(commands.len(), 4, "commands for nginx, Caddy, HAProxy and restarts");
    let arguments: Vec<&str> = page.lines().filter(|line| line.trim_start().starts_with("args: [")).collect();
    for option in commands.iter().chain(&arguments).flat_map(|line| long_options(line)) {
        assert!(known.contains(option), "docs/deploy.md uses {option}");
    }
    let settings = read("packaging/systemd/modest.toml");
    for line in settings.lines().filter(|line| line.contains(" = ")) {
        let option = format!("--{}", line.trim_start_matches("# ").split(" = ").next().unwrap_or_default());
        assert!(known.contains(option.as_str()), "modest.toml sets {option}");
    }
    let image = read("packaging/Containerfile");
    assert!(image.contains("MODEST_BIND=") && image.contains("\"--health\""), "{image}");
    // systemd waits longer for a stop than the program takes at most.
    assert!(read("packaging/systemd/modest.service").contains("TimeoutStopSec=20s") && help.contains("[default: 10s]"));
}

/// Counts lines without blank lines and comments. Each program is short enough to be read in one go.
#[test]
fn programs_have_the_stated_number_of_lines() {
    let page = read("docs/programs.md");
    if is_packed() {
        return;
    }
    for name in ["photos", "relay", "shortener", "inbox", "api", "spa", "login"] {
        let folder = root().join("apps").join(name).join("src");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let code = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
        let text: String = code.map(|path| std::fs::read_to_string(path).unwrap()).collect();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with(&format!("| [`{name}`]"))).collect();
        assert!(rows.len() == 1 && rows[0].ends_with(&format!(" | {lines} |")), "{name} has {lines} lines: {rows:?}");
        let beside = [format!("| `{name}` | {lines} |"), format!("| `{name}` | **{lines}** |")];
        assert!(
            beside.iter().any(|row| page.contains(row)),
            "{name} has {lines} lines: the table of the comparison differs"
        );
        assert!(lines < 150, "{name} has {lines} lines");
    }
}

/// Checks all names in back-ticks: modules, tests, rows of `tests/conformance` and options.
#[test]
fn names_in_security_exist() {
    let root = root();
    let folder = std::fs::read_dir(root.join("tests/conformance")).unwrap();
    let rows: String = folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let page = read("SECURITY.md");
    let (mut tests, mut options) = (0, 0);
    for name in page.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = name.split_once(".rs: ") {
            tests += 1;
            let code = read(&format!("{file}.rs"));
            let there = code.contains(&format!("fn {test}(")) || code.contains(&format!("(\"{test}"));
            assert!(there, "SECURITY.md names {name}");
        } else if name.starts_with("src/") || name.starts_with("tests/") || name.starts_with("benches/") {
            assert!(root.join(name).exists(), "SECURITY.md names {name}");
        } else if name.starts_with("9110 ") || name.starts_with("9112 ") {
            tests += 1;
            assert!(rows.contains(&format!("\"{name}\"")), "SECURITY.md names the row {name}");
        } else if let Some((kind, option)) = name.split_once("::") {
            let module = match kind {
                "TcpServer" => "src/tcp/server/settings.rs",
                "Http" => "src/http/service.rs",
                "Request" if ["path", "original_path"].contains(&option) => "src/http/request/path.rs",
                "Request" if option.starts_with("client_") => "src/http/request/from_client.rs",
                "Request" => "src/http/request/mod.rs",
                "StaticFileHandler" => "src/files/options.rs",
                "ProxyProtocol" => "src/tcp/proxy_protocol/mod.rs",
                "UdpServer" => "src/udp/server.rs",
                "UserFile" => "src/layers/users/mod.rs",
                "Uploads" => "src/files/uploads/settings.rs",
                "Tls" => "src/tls/mod.rs",
                _ => continue,
            };
            options += 1;
            assert!(read(module).contains(&format!("pub fn {option}(")), "SECURITY.md names {name}");
        }
    }
    assert!(tests > 70 && options > 20, "{tests} tests and {options} options");
}

#[test]
fn links_lead_to_existing_files() {
    for page in pages() {
        let page = page.as_str();
        let folder = Path::new(page).parent().unwrap();
        for link in read(page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let is_left_out = is_packed()
                && ["apps", "fuzz", "lessons", "python"]
                    .iter()
                    .any(|left| file.trim_start_matches("../").starts_with(left));
            let there =
                file.is_empty() || link.contains("://") || is_left_out || root().join(folder).join(file).exists();
            assert!(there, "{page} links to {link}");
        }
    }
}

#[test]
fn the_site_loads_nothing_from_other_hosts() {
    for page in ["index.html", "handler.html", "404.html", "style.css", "script.js"] {
        let text = read(&format!("www/{page}"));
        for outside in ["https://", "src=\"//", "href=\"//", "@import", "url("] {
            assert!(!text.contains(outside), "www/{page} has {outside}");
        }
        for link in text.split("=\"/").skip(1).filter_map(|rest| rest.split('"').next()) {
            let file = link.split('#').next().unwrap();
            let there = file == "no-such-page" || root().join("www").join(file).exists();
            assert!(there, "www/{page} links to /{link}");
        }
    }
}

/// All pages for readers.
pub fn pages() -> Vec<String> {
    let folders = ["", "docs/", "docs/lessons/", "docs/notes/", "examples/", "tests/clients/", "tests/conformance/"];
    let pages_of = |folder: &str| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".md")).map(|name| format!("{folder}{name}")).collect::<Vec<_>>()
    };
    let pages: Vec<String> = folders.iter().flat_map(|folder| pages_of(folder)).collect();
    assert!(pages.len() > 50, "{pages:?}");
    pages
}

/// Sequences of words and marks in sentences that need a second reading: they name no role, things speak in them, or
/// things stand or lie somewhere. A comma separates the words for one place.
const HARD: &[&str] = &[
    ".,;,: who,whoever,whatever",
    "whoever",
    "for,to,by,of,from,beside who",
    "unless told,said,set,asked",
    "hears,hear,heard",
    "stands,lies,stood",
    "goes by",
    "lays,laid out",
    "so many,much",
    "as it is .,COMMA,;,|,)",
    "COMMA too .,COMMA,;,:,|,)",
    "besides",
    "past it",
    "anew",
    "at present",
    "under way",
    "told,tells",
    "turned away",
    "owes,owed",
    "in vain",
    "let go",
    "takes its time",
    "whichever,wherever",
    "however many,long,short,slow,fast,large,often",
    "break,breaks,broke,broken off",
    "given back",
    "beside requests",
    "also if",
    "reason for which",
    "has,have got",
    "at most every",
    "while it,they was,were dropped",
    "end of the server",
    "reads,read too little",
    "further ones get,are,share",
    "any more get,are",
    ".,errors,panics those of",
    ". so,nor does,do,is,are,has,have,can",
    "some ten,twenty,fifty,hundred,thousand",
    "in,of,with,at,for,to,by whose",
];

/// More of them, which have a plain use in comments.
const HARD_IN_PAGES: &[&str] = &[
    ".,: what",
    "nobody,somebody,everybody,anybody",
    "is,are,be told,said,asked,wanted",
    "log,option,options says,tells",
    "line,thread,request,connection,entry a client,request,connection",
];

#[test]
fn plain_files_stay_plain() {
    let prose = plain_texts().into_iter().map(|(path, text)| (path, text, [HARD, HARD_IN_PAGES].concat()));
    let folders = ["src", "program", "tests", "benches", "apps", "fuzz", "lessons", "python"];
    let code = folders.into_iter().filter(|folder| root().join(folder).exists()).flat_map(texts_of_code);
    let code = code.map(|(path, text)| (path, text, HARD.to_vec()));
    let mut faults = Vec::new();
    for (path, text, patterns) in prose.chain(code) {
        let tokens = tokens(&text);
        for pattern in patterns {
            let places: Vec<Vec<&str>> = pattern.split(' ').map(|place| place.split(',').collect()).collect();
            let fits = |window: &&[String]| places.iter().zip(*window).all(|(place, token)| place.contains(&&**token));
            let found = tokens.windows(places.len()).enumerate().filter(|(_, window)| fits(window));
            let found = found.filter(|(at, window)| !is_question(&tokens[at + window.len()..]));
            faults.extend(found.map(|(_, window)| format!("{path}: {}", window.join(" "))));
        }
    }
    assert_eq!(faults, [""; 0], "documents, comments, strings and test names have words that are hard to read");
}

/// Whether the sentence that continues here ends with a question mark.
fn is_question(rest: &[String]) -> bool {
    rest.iter().find(|token| [".", "?", "!"].contains(&&***token)).is_some_and(|end| end == "?")
}

/// The prose of each file: the text of a page outside code, the comments of an example.
fn plain_texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for path in pages() {
        let outside: String = read(&path).split("```").step_by(2).collect();
        texts.push((path, outside.split('`').step_by(2).collect::<Vec<_>>().join(" code ")));
    }
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let code = std::fs::read_to_string(&path).unwrap();
        let comments = code.lines().filter_map(|line| line.split_once("//")).map(|(_, comment)| comment);
        texts.push((path.display().to_string(), comments.collect::<Vec<_>>().join("\n")));
    }
    texts
}

/// The comments, strings and names of tests of each file of code below this folder, except built ones.
fn texts_of_code(folder: &str) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            let is_built = entry.file_name() == "target";
            texts.extend(if is_built { Vec::new() } else { texts_of_code(&path) });
        } else if path.ends_with(".rs") {
            let code = read(&path);
            let comments = code.lines().filter_map(|line| line.split_once("// ").or_else(|| line.split_once("//! ")));
            let prose: String = comments.map(|(_, comment)| format!("{comment}\n")).collect();
            texts.push((path.clone(), prose.split('`').step_by(2).collect::<Vec<_>>().join(" code ")));
            if path != "program/tests/program/readme.rs" {
                texts.push((path, [strings(&code), test_names(&code)].concat().join(" . ")));
            }
        }
    }
    texts
}

/// The strings of several words in Rust code, without the names in braces.
fn strings(code: &str) -> Vec<String> {
    let (mut strings, mut rest) = (Vec::new(), code);
    while let Some(at) = rest.find(['"', '\'', '/', 'r']) {
        rest = &rest[at..];
        let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
        let is_raw = rest.starts_with('r') && rest[1 + hashes..].starts_with('"');
        let (start, end) = match rest.as_bytes()[0] {
            b'"' => (1, 1 + end_of_string(&rest[1..])),
            b'r' if is_raw => {
                (2 + hashes, rest[2 + hashes..].find(&format!("\"{}", "#".repeat(hashes))).unwrap() + 2 + hashes)
            }
            b'/' if rest.starts_with("//") => (0, rest.find('\n').unwrap_or(rest.len())),
            b'\'' if rest.starts_with("'\\") => (0, 3),
            b'\'' if rest.chars().nth(2) == Some('\'') => (0, rest[1..].find('\'').unwrap() + 1),
            _ => (0, 0),
        };
        let text = &rest[start..end];
        if start > 0 && text.contains(' ') {
            let plain =
                ["\\n", "\\r", "\\t", "\\\n"].iter().fold(text.to_owned(), |text, mark| text.replace(mark, " "));
            let pieces = plain.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, after)| after));
            strings.push(pieces.collect::<Vec<_>>().join(" code "));
        }
        rest = &rest[end + 1..];
    }
    strings
}

/// Where the string that begins here ends: at the first quotation mark without a backslash.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    end.expect("the end of a string")
}

fn test_names(code: &str) -> Vec<String> {
    let tests = code.split("#[test]").skip(1).filter_map(|rest| rest.split_once("fn "));
    tests.filter_map(|(_, name)| name.split('(').next()).map(|name| name.replace('_', " ")).collect()
}

/// Words in lower case and marks, one by one. A comma is `COMMA`. The point within a number is not a mark.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let (before, after) = word.split_at(word.find(core).unwrap_or_default());
        let marks = |marks: &str| {
            marks.chars().map(|c| if c == ',' { "COMMA".into() } else { c.to_string() }).collect::<Vec<_>>()
        };
        tokens.extend(marks(before));
        tokens.extend((!core.is_empty()).then(|| core.to_lowercase()));
        tokens.extend(marks(&after[core.len()..]));
    }
    tokens
}
