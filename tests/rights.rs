//! Rights by path, and files, in all combinations: spellings of paths, requests, sets of rules, and ways to serve
//! folders. A small model is the reference: it knows only the file that a request reads or writes, and the rules for
//! that file.
//!
//! All rules of a world share the handlers, so content that was cached for one request is checked for the next.
//! `MODEST_RIGHTS_ROUNDS` is the number of sets of rules (default: 60, a few seconds), `MODEST_RIGHTS_SEED` is the
//! seed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use modest::layers::{BasicAuth, PathRights, TrustedProxies};
use modest::{Http, Method, Overwrite, Request, RequestHandler, Routes, SentResponse, StaticFileHandler, Uploads};

/// The content of each file is its path, so that a response shows which files were read.
const FILES: [&str; 17] = [
    "a.txt",
    "a.txt.gz",
    "b b.txt",
    "about.html",
    "about.html.gz",
    "404.html",
    "d/index.html",
    "d/index.html.gz",
    "d/x",
    "d/x.br",
    "d/secret/y",
    "e/f/g",
    "e/f/h.html",
    "sub/shadow",
    "m/shadow",
    "empty/.keep",
    ".well-known/z",
];
const OTHER: [&str; 4] = ["o.txt", "o.txt.gz", "d/x", "p/index.html"];
/// Names to request in addition to existing files.
const NAMES: [&str; 14] = [
    "new",
    "a.txt.br",
    "a.txt.gz.gz",
    "about",
    "about.htm",
    "d",
    "d/new",
    "d/x.gz",
    "e",
    "e/f",
    "empty",
    "sub/new",
    "m/new",
    ".well-known/new",
];

// The model.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    Read,
    List,
    Write,
}

/// A path, the users of the rule, and their rights there.
#[derive(Clone, Debug)]
struct Rule {
    path: String,
    users: Vec<&'static str>,
    rights: Vec<Right>,
}

impl Rule {
    fn allows(&self, user: Option<&str>, right: Right) -> bool {
        let is_about = |who: &&str| *who == "*" || *who == "@users" && user.is_some() || user == Some(who);
        self.users.iter().any(is_about) && self.rights.contains(&right)
    }

    fn text(&self) -> String {
        let word = |right: &Right| format!("{right:?}").to_lowercase();
        let rights: Vec<String> = self.rights.iter().map(word).collect();
        let rights = if rights.is_empty() { "none".to_owned() } else { rights.join(",") };
        format!("{}={}:{rights}", self.path, self.users.join(","))
    }
}

fn is_at_or_beneath(path: &str, folder: &str) -> bool {
    folder == "/" || path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// All names of the file at this path for which there can be rules.
fn names_of(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = path;
    loop {
        names.push(name.to_owned());
        names.extend([".html", ".htm"].map(|end| format!("{name}{end}")));
        names.extend([".html", ".htm"].iter().filter_map(|end| name.strip_suffix(end)).map(str::to_owned));
        match [".gz", ".br", ".zst"].iter().find_map(|end| name.strip_suffix(end)) {
            Some(shorter) => name = shorter,
            None => return names,
        }
    }
}

/// Each layer must allow it, by its longest rule and by all rules for exactly one of the names of the file.
fn may(layers: &[Vec<Rule>], user: Option<&str>, right: Right, path: &str) -> bool {
    layers.iter().all(|rules| {
        let at = |path: &str| -> Vec<&Rule> { rules.iter().filter(|rule| rule.path == path).collect() };
        let longest = rules.iter().filter(|rule| is_at_or_beneath(path, &rule.path)).max_by_key(|rule| rule.path.len());
        let names = names_of(path);
        let groups = longest.map(|rule| at(&rule.path)).into_iter().chain(names.iter().map(|name| at(name)));
        let groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
        longest.is_some() && groups.iter().all(|group| group.iter().any(|rule| rule.allows(user, right)))
    })
}

// The served folders.

/// A folder at a path of the server, which begins with a slash or is empty.
#[derive(Clone, Debug)]
struct Place {
    at: &'static str,
    root: PathBuf,
}

/// The state of the disk: content by path. Folders have none.
type Snapshot = BTreeMap<String, Option<String>>;

struct World {
    _folder: tempfile::TempDir,
    top: PathBuf,
    main: Arc<StaticFileHandler>,
    beneath: Arc<StaticFileHandler>,
    other: Arc<StaticFileHandler>,
    prefixed: Arc<StaticFileHandler>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().to_owned();
        write_all(&top);
        let uploads =
            Uploads::new().overwrite(Overwrite::Replace).delete(true).resumable(1000, Duration::from_secs(60));
        let handler = |path: &str| {
            let files = StaticFileHandler::new(top.join(path)).unwrap().uploads(uploads.clone()).precompressed(true);
            let files = files.webdav(true).clean_urls(true).link_up(true);
            files.archives(true).archives_at_once(100)
        };
        let (main, prefixed) = (Arc::new(handler("main")), Arc::new(handler("main").prefix("/p/q").unwrap()));
        let other = handler("other").app_page("p/index.html").unwrap();
        let (beneath, other) = (Arc::new(handler("main/d")), Arc::new(other));
        World { main, beneath, other, prefixed, top, _folder: folder }
    }

    /// The handler, and the places that it serves. Inside a mount some layers check rights; their rules begin at its
    /// root.
    fn served(&self, way: usize, layers: &[Vec<Rule>]) -> (Box<dyn RequestHandler>, Vec<Place>) {
        let place = |at, root: &str| Place { at, root: self.top.join(root) };
        let files = |handler: &Arc<StaticFileHandler>| Arc::clone(handler);
        let (outer, inner) = layers.split_at(layers.len().min(1));
        let within = |at: &str, handler: Arc<StaticFileHandler>| -> Box<dyn RequestHandler> {
            inner.iter().fold(Box::new(handler), |handler, rules| Box::new(handler.layer(rights(rules, at))))
        };
        let (handler, places): (Box<dyn RequestHandler>, _) = match way {
            0 => (within("", files(&self.main)), vec![place("", "main")]),
            1 => (within("", files(&self.prefixed)), vec![place("/p/q", "main")]),
            2 => {
                let routes = Routes::new().mount("/m", within("/m", files(&self.main)));
                let routes = routes.fallback(within("", files(&self.other)));
                (Box::new(routes.with_state(())), vec![place("/m", "main"), place("", "other")])
            }
            3 => {
                let routes = Routes::new().mount("/sub", within("/sub", files(&self.beneath)));
                let routes = routes.mount("/m", within("/m", files(&self.other)));
                let routes = routes.fallback(within("", files(&self.main)));
                (
                    Box::new(routes.with_state(())),
                    vec![place("/sub", "main/d"), place("/m", "other"), place("", "main")],
                )
            }
            _ => {
                let inside = Routes::new().mount("/m", within("/n/m", files(&self.main)));
                let inside = inside.fallback(within("/n", files(&self.other)));
                let routes = Routes::new().mount("/n", inside.with_state(()));
                (Box::new(routes.with_state(())), vec![place("/n/m", "main"), place("/n", "other")])
            }
        };
        let handler = outer.iter().fold(handler, |handler, rules| Box::new(handler.layer(rights(rules, ""))));
        let auth = BasicAuth::new("files").user("ada", "a").user("bob", "b").optional(true);
        // Behind a proxy, the host is the one that the proxy forwards.
        let proxy = TrustedProxies::new(["127.0.0.0/8".parse().unwrap()]).host(true);
        (Box::new(handler.layer(auth).layer(proxy)), places)
    }
}

/// The layer that checks rights inside a mount at this path, with the meaning that these rules have at the root of
/// the server.
fn rights(rules: &[Rule], at: &str) -> PathRights {
    // If no rule is for a path within the mount, the longest rules for the mount or for a folder above it apply.
    let above = rules.iter().filter(|rule| is_at_or_beneath(at, &rule.path)).map(|rule| rule.path.len()).max();
    let within = rules.iter().filter_map(|rule| {
        let is_for_all = is_at_or_beneath(at, &rule.path) && Some(rule.path.len()) == above;
        let beneath = rule.path.strip_prefix(at).filter(|rest| rest.starts_with('/'));
        let path = if is_for_all && !at.is_empty() { Some("/") } else { beneath };
        path.map(|path| Rule { path: path.to_owned(), ..rule.clone() })
    });
    within.fold(PathRights::new(), |rights, rule| rights.allow(rule.text().parse().unwrap()))
}

fn write_all(top: &Path) {
    for (root, files) in [("main", &FILES[..]), ("other", &OTHER[..])] {
        for name in files {
            let path = top.join(root).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = format!("<<{root}/{name}>>");
            if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
                fs::write(&path, text).unwrap();
            }
        }
    }
}

fn snapshot(top: &Path) -> Snapshot {
    let (mut found, mut open) = (BTreeMap::new(), vec![top.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            found.insert(name, fs::read_to_string(&path).ok());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// Restores the state of the disk.
fn restore(top: &Path, before: &Snapshot) {
    for name in snapshot(top).keys().filter(|name| !before.contains_key(*name)) {
        let path = top.join(name);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
    for (name, text) in before {
        let path = top.join(name);
        if path.is_dir() != text.is_none() {
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        match text {
            None if path.is_dir() => {}
            None => fs::create_dir_all(path).unwrap(),
            Some(text) if fs::read_to_string(&path).ok().as_ref() != Some(text) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Some(_) => {}
        }
    }
}

impl Place {
    /// The path on the server of a file or folder on the disk, if it is below this place.
    fn on_server(&self, disk: &Path) -> Option<String> {
        disk.strip_prefix(&self.root).ok().map(|rest| match rest.to_str().unwrap() {
            "" => format!("{}/", self.at),
            rest => format!("{}/{rest}", self.at),
        })
    }
}

/// The place that serves a path.
fn place_of<'a>(places: &'a [Place], path: &str) -> Option<&'a Place> {
    let is_led_here = |place: &&Place| place.at.is_empty() || is_at_or_beneath(path, place.at);
    places.iter().find(is_led_here).or(places.first().filter(|_| places.len() == 1))
}

// The requests.

/// A pseudorandom generator (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, number: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % number
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn subset<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.below(2) == 0).cloned().collect()
    }
}

/// A path of a file in a place, or of a file that could be there.
fn a_path(chance: &mut Chance, places: &[Place]) -> String {
    let at = chance.one_of(places).at;
    let known: &[&str] = if chance.below(4) == 0 { &OTHER } else { &FILES };
    let name = if chance.below(3) == 0 { chance.one_of(&NAMES) } else { chance.one_of(known) };
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    match chance.below(8) {
        0 if folder.is_empty() => format!("{at}/"),
        0 => format!("{at}/{folder}/"),
        1 => format!("{at}/{}", name.strip_suffix(".html").unwrap_or(name)),
        _ => format!("{at}/{name}"),
    }
}

fn some_rules(chance: &mut Chance, places: &[Place]) -> Vec<Rule> {
    let all = [Right::Read, Right::List, Right::Write];
    let mut rules =
        vec![Rule { path: "/".into(), users: vec![chance.one_of(&["*", "@users", "*"])], rights: all.to_vec() }];
    for _ in 0..1 + chance.below(5) {
        let path = a_path(chance, places);
        let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(&path).to_owned();
        let users = vec![chance.one_of(&["*", "@users", "ada", "bob"])];
        rules.push(Rule { path, users, rights: chance.subset(&all) });
    }
    rules
}

/// The target in the plain or in another spelling; its path; and whether it surely means that path.
fn spelled(chance: &mut Chance, path: &str) -> (String, String, bool) {
    let plain = path.replace(' ', "%20");
    let (start, name) = plain.rsplit_once('/').unwrap();
    let first = name.chars().next().filter(char::is_ascii_alphanumeric);
    let (target, is_plain) = match (chance.below(16), first) {
        (0, Some(first)) => (format!("{start}/%{:02x}{}", first as u32, &name[1..]), true),
        (1, Some(first)) => (format!("{start}/%{:02X}{}", first as u32, &name[1..]), true),
        (2, _) => (format!("http://localhost{plain}"), true),
        (3, _) => (format!("{plain}?x=/../d"), true),
        (4, _) => (format!("/{plain}"), false),
        (5, _) => (format!("/no/..{plain}"), false),
        (6, _) => (format!("/%2e{plain}"), false),
        (7, _) => (format!("{start}/./{name}"), false),
        (8, _) => (format!("/{}%2f{name}", start.trim_start_matches('/')), false),
        (9, _) => (format!("{start}//{name}"), false),
        (10, _) => (format!("{plain}/"), false),
        (11, _) => return (format!("{plain}%E3%80%80"), format!("{path}\u{3000}"), false),
        // This is another path.
        (12, _) => return (plain.to_uppercase(), path.to_uppercase(), false),
        _ => (plain, true),
    };
    (target, path.to_owned(), is_plain)
}

/// A request, and its properties.
struct Asked {
    request: Request,
    /// The plain path of the request.
    path: String,
    is_plain: bool,
    user: Option<&'static str>,
    said: String,
}

const READS: [&str; 12] = [
    "GET",
    "GET gzip",
    "GET br",
    "GET range",
    "GET json",
    "GET html",
    "GET tar",
    "HEAD",
    "HEAD gzip",
    "PROPFIND 0",
    "PROPFIND 1",
    "OPTIONS",
];
const WRITES: [&str; 12] = [
    "PUT",
    "PUT new",
    "PUT match",
    "PUT begin",
    "PUT range",
    "POST",
    "POST deep",
    "DELETE",
    "MKCOL",
    "MOVE",
    "MOVE url",
    "LOCK",
];

fn ask(chance: &mut Chance, places: &[Place], acts: &[&str]) -> Asked {
    let act = chance.one_of(acts);
    let (method, how) = act.split_once(' ').unwrap_or((act, ""));
    let (path, to) = (a_path(chance, places), a_path(chance, places));
    let (target, path, is_plain) = spelled(chance, &path);
    let (other, ..) = spelled(chance, &to);
    let name = a_path(chance, &places[..1]).trim_start_matches(places[0].at).trim_matches('/').to_owned();
    let target = match how {
        "tar" => format!("{target}?archive=tar"),
        "range" if method == "PUT" => format!("{target}?upload=0123456789abcdef"),
        _ => target,
    };
    let fields: Vec<(&str, String)> = match how {
        "gzip" | "br" => vec![("accept-encoding", how.to_owned())],
        "range" if method == "GET" => vec![("range", "bytes=0-100".into())],
        "range" => vec![("content-range", "bytes 0-3/4".into())],
        "json" => vec![("accept", "application/json".into())],
        "html" => vec![("accept", "text/html".into())],
        "0" | "1" => vec![("depth", how.to_owned())],
        "new" => vec![("if-none-match", "*".into())],
        "match" => vec![("if-match", "*".into())],
        "begin" => vec![("upload-complete", "?0".into())],
        "url" => vec![("destination", format!("http://localhost{other}"))],
        _ if method == "MOVE" => vec![("destination", other.clone())],
        _ => vec![],
    };
    let body = match method {
        "PUT" => b"sent".to_vec(),
        "POST" => {
            let name = if how == "deep" { format!("{name}/deep/er") } else { name.clone() };
            let head = "--x\r\nContent-Disposition: form-data; name=f; filename=";
            format!("{head}\"{name}\"\r\n\r\nsent\r\n--x--\r\n").into_bytes()
        }
        "LOCK" => b"<lockinfo><exclusive/></lockinfo>".to_vec(),
        _ => Vec::new(),
    };
    let target = if method == "POST" { format!("{}/", chance.one_of(places).at) } else { target };
    let user = chance.one_of(&[None, Some("ada"), Some("bob")]);
    let said = format!("{user:?} {method} {target} {fields:?} {name}");
    let request = Request::new(method.parse::<Method>().unwrap(), &target).unwrap().with_header("host", "localhost");
    let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, value));
    let request = match method {
        "PUT" => request.with_header("content-length", "4"),
        "POST" => {
            request.with_header("content-type", "multipart/form-data; boundary=x").with_header("content-length", "9")
        }
        _ => request,
    };
    // A proxy can forward a request under another host name.
    let request = match chance.below(2) {
        0 => request.with_header("host", "inside.example").with_header("x-forwarded-host", "localhost"),
        _ => request,
    };
    let request = by(user, request);
    let path = if method == "POST" { target.clone() } else { path };
    Asked { request: request.with_body(body), path, is_plain, user, said }
}

fn by(user: Option<&str>, request: Request) -> Request {
    match user {
        Some("ada") => request.with_header("authorization", "Basic YWRhOmE="),
        Some(_) => request.with_header("authorization", "Basic Ym9iOmI="),
        None => request,
    }
}

// The checks.

/// Each file that a response shows may be read at the requested place.
fn check_read(top: &Path, places: &[Place], layers: &[Vec<Rule>], asked: &Asked, got: &SentResponse) {
    let body = String::from_utf8_lossy(got.body());
    let shown = |name: &str| body.contains(&format!("<<{name}>>"));
    let known = FILES.map(|name| format!("main/{name}")).into_iter().chain(OTHER.map(|name| format!("other/{name}")));
    for name in known.filter(|name| shown(name)) {
        let path = place_of(places, &asked.path).and_then(|place| place.on_server(&top.join(&name)));
        let is_allowed = path.as_deref().is_some_and(|path| may(layers, asked.user, Right::Read, path));
        assert!(is_allowed, "{}: shows {name}, at {path:?}: {got:?}", describe(asked, layers, places));
    }
    check_names(layers, asked, &body, places);
    // Responses to HEAD also reveal by tag and length that a file exists.
    let is_found = matches!(got.status().as_u16(), 200 | 206 | 304) && *asked.request.method() == Method::HEAD;
    if let Some(place) = place_of(places, &asked.path).filter(|_| is_found) {
        let path = asked.path.trim_end_matches('/');
        let path = if path.len() < place.at.len() || path.is_empty() { &asked.path } else { path };
        assert!(may(layers, asked.user, Right::Read, path), "{}", describe(asked, layers, places));
    }
}

/// A listing contains only entries that may be read.
fn check_names(layers: &[Vec<Rule>], asked: &Asked, body: &str, places: &[Place]) {
    let folder = asked.path.strip_suffix('/').unwrap_or(&asked.path);
    let in_json = body.split("{\"name\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let hrefs = body.split("<D:href>").skip(1).filter_map(|rest| rest.split("</D:href>").next());
    let in_xml = hrefs.filter_map(|href| href.trim_end_matches('/').rsplit_once('/')).map(|(_, name)| name);
    let is_propfind = asked.request.method().as_str() == "PROPFIND";
    for name in in_json.chain(in_xml.skip(1).filter(|_| is_propfind)) {
        let path = format!("{folder}/{}", name.replace("%20", " "));
        let is_allowed =
            may(layers, asked.user, Right::Read, &path) && may(layers, asked.user, Right::List, folder_of(&path));
        assert!(is_allowed, "{}: lists {path}: {body}", describe(asked, layers, places));
    }
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| !folder.is_empty()).unwrap_or("/")
}

/// Each file that has changed on the disk may be written at the requested place, and is reachable there.
fn check_written(
    top: &Path,
    places: &[Place],
    layers: &[Vec<Rule>],
    asked: &Asked,
    (before, after): (&Snapshot, &Snapshot),
) {
    let names = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
    for name in names {
        let place = place_of(places, &asked.path);
        let path = place.and_then(|place| place.on_server(&top.join(name)));
        let described = || format!("{}: changes {name}, at {path:?}", describe(asked, layers, places));
        let Some(path) = &path else { panic!("{}", described()) };
        assert!(may(layers, asked.user, Right::Write, path), "{}", described());
        assert!(!name.contains(".well-known"), "{}", described());
        assert!(place_of(places, path).map(|place| place.at) == place.map(|place| place.at), "{}", described());
        // The target of a move may be read.
        let is_moved = asked.request.method().as_str() == "MOVE" && !after.contains_key(name);
        assert!(!is_moved || may(layers, asked.user, Right::Read, path), "{}", described());
        // A folder can be listed at its new place.
        let is_folder = before.get(name) == Some(&None);
        assert!(!is_moved || !is_folder || may(layers, asked.user, Right::List, path), "{}", described());
    }
}

/// The status of a plain and allowed request.
fn is_expected(top: &Path, places: &[Place], layers: &[Vec<Rule>], asked: &Asked) -> Option<u16> {
    let place = place_of(places, &asked.path).filter(|_| asked.is_plain)?;
    let disk = place.root.join(asked.path.strip_prefix(place.at)?.trim_start_matches('/'));
    let is_file = disk.starts_with(top) && disk.is_file() && !asked.path.ends_with('/');
    let (method, path) = (asked.request.method().as_str(), &asked.path);
    let allows = |right| may(layers, asked.user, right, path);
    let is_hidden = path.contains("/.keep");
    let is_plain_get = asked.request.headers().get("range").is_none() && !path.ends_with(".html");
    match method {
        "GET" | "HEAD"
            if is_file && !is_hidden && is_plain_get && !asked.said.contains("archive=") && allows(Right::Read) =>
        {
            Some(200)
        }
        "PROPFIND" if is_file && !is_hidden && allows(Right::Read) && asked.said.contains("\"0\"") => Some(207),
        "PUT" if is_file && asked.said.contains("[]") && allows(Right::Write) && !is_hidden => {
            Some(if path.contains(".well-known") { 403 } else { 204 })
        }
        "DELETE" if is_file && allows(Right::Write) && !is_hidden && !path.contains(".well-known") => Some(204),
        _ => None,
    }
}

fn describe(asked: &Asked, layers: &[Vec<Rule>], places: &[Place]) -> String {
    let rules: Vec<Vec<String>> = layers.iter().map(|rules| rules.iter().map(Rule::text).collect()).collect();
    let at: Vec<&str> = places.iter().map(|place| place.at).collect();
    format!("{}\nrules {rules:?}\nplaces {at:?}\n", asked.said)
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Reads, which fill the caches, and then writes. Checks what each request shows and changes.
fn run(acts: &[&str], per_rules: usize) {
    let world = World::new();
    std::thread::sleep(Duration::from_millis(2100)); // until sidecars are accepted, which depends only on the clock
    let mut chance = Chance(number("MODEST_RIGHTS_SEED", 0x9e37_79b9_7f4a_7c15));
    let before = snapshot(&world.top);
    let mut done = 0;
    for round in 0..number("MODEST_RIGHTS_ROUNDS", 60) {
        let way = round as usize % 5;
        let (_, places) = world.served(way, &[]);
        // Two listeners with separate rules, and with the same handlers and caches.
        let sides = [(); 2].map(|()| {
            let rules = |chance: &mut Chance| some_rules(chance, &places);
            let layers: Vec<Vec<Rule>> = (0..1 + chance.below(3)).map(|_| rules(&mut chance)).collect();
            let http = Http::new(world.served(way, &layers).0);
            (layers, http)
        });
        for _ in 0..per_rules {
            let (layers, http) = &sides[chance.below(2)];
            let asked = ask(&mut chance, &places, acts);
            let expected = is_expected(&world.top, &places, layers, &asked);
            let got = http.respond(&asked.request);
            check_read(&world.top, &places, layers, &asked, &got);
            if let Some(token) = got.header("lock-token") {
                let request = Request::new("UNLOCK".parse().unwrap(), asked.request.target()).unwrap();
                let request = by(asked.user, request.with_header("host", "localhost").with_header("lock-token", token));
                assert_eq!(http.respond(&request).status(), 204, "{}", describe(&asked, layers, &places));
            }
            let after = snapshot(&world.top);
            check_written(&world.top, &places, layers, &asked, (&before, &after));
            if let Some(expected) = expected {
                assert_eq!(got.status(), expected, "{}: {}", describe(&asked, layers, &places), got.text());
                done += 1;
            }
            if after != before {
                restore(&world.top, &before);
            }
        }
    }
    assert!(done > 100, "only {done} requests were allowed: the test shows too little");
}

#[test]
fn nothing_unreadable_is_shown() {
    run(&READS, 120);
}

#[test]
fn nothing_unwritable_is_changed() {
    run(&[&WRITES[..], &READS[..3]].concat(), 120);
}
