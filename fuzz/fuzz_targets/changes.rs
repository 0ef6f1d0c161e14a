//! A folder with uploads and WebDAV, which clients and other programs change, checked against a folder in memory: each
//! change is made or rejected as a whole, for the reasons that the model knows, and the next response shows it.
#![no_main]

#[path = "../folder.rs"]
mod folder;
#[path = "../model.rs"]
mod model;
#[path = "../../tests/talk/peer.rs"]
#[allow(dead_code, reason = "shared with the tests, which use the rest of it")]
mod peer;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use folder::{Name, Node, Rules, World, names, on_disk};
use libfuzzer_sys::fuzz_target;
use modest::Access::{List, Read, Write};
use modest::{BodyPlan, Http, Layer, Overwrite, Permissions, Request, RequestHandler, Result};
use modest::{StaticFileHandler, Symlinks, Uploads};
use peer::{Answer, Peer};

/// How many bytes a step has.
const STEP: usize = 6;
const MOST_STEPS: usize = 48;
/// Older changes can be cached.
const TICK: Duration = Duration::from_millis(21);

const NAMES: [&[u8]; 16] = [
    b"a",
    b"b",
    b"d",
    b"in",
    b"d",
    b"in",
    b"e\xcc\x81",
    b"\xc3\xa9",
    b"index.html",
    b"x y.tar.gz",
    b".h",
    b".well-known",
    b".modest-upload-x",
    b"a\\b",
    b"\xff",
    b"\xe2\x80\xaea",
];
const TARGETS: [&str; 12] = [
    "a",
    "d",
    "in",
    "../a",
    "../b",
    "../outside",
    "../outside/secret",
    "nowhere",
    "../root/d",
    "d/in",
    ".well-known",
    "../d/a",
];

fuzz_target!(|data: &[u8]| {
    let Some((settings, steps)) = data.split_at_checked(4) else { return };
    let mut run = Run::new(settings);
    for (number, step) in steps.chunks_exact(STEP).take(MOST_STEPS).enumerate() {
        run.step(number, step.try_into().expect("the bytes of a step"));
    }
});

#[derive(Clone, Copy, Debug)]
struct Settings {
    overwrite: Overwrite,
    delete: bool,
    webdav: bool,
    hidden: bool,
    symlinks: Symlinks,
    resumable: bool,
    inotify: bool,
    /// The tag of a file of up to this many bytes is a hash of its content.
    held: usize,
    rules: Rules,
}

struct Run {
    folder: tempfile::TempDir,
    settings: Settings,
    world: World,
    http: Http<modest::Layered<Users, StaticFileHandler>>,
    peer: Peer,
    /// The content that each tag names: of any file if it is a hash, and otherwise of the file at a path.
    tags: HashMap<(Vec<Name>, String), Vec<u8>>,
    /// The last tag of each path.
    latest: BTreeMap<Vec<Name>, String>,
    listings: HashMap<(String, String), Vec<u8>>,
    pending: Option<Pending>,
    waits: usize,
    /// The steps so far, for the message of a failure.
    done: Vec<String>,
}

/// A resumable upload.
#[derive(Clone)]
struct Pending {
    target: String,
    path: Vec<Name>,
    bytes: Vec<u8>,
}

/// Gives each request the rights of its user.
struct Users(Rules);

impl Layer for Users {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        let user: u8 = request.header("x-user").and_then(|user| user.parse().ok()).unwrap_or_default();
        let rules = self.0;
        if user > 0 {
            let one = move |access, path: &[u8]| rules.allow(user, access, &names(path));
            let all = move |access, path: &[u8]| rules.allow_all(user, access, &names(path));
            request.put(Permissions::new(user.to_string(), one).beneath(all));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
struct Ask {
    method: &'static str,
    target: String,
    fields: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    user: u8,
    /// How the body arrives.
    framing: u8,
}

/// The responses and the effect that the model expects of a change.
#[derive(Default)]
struct Verdict {
    /// The statuses of the reasons to reject it. Empty: it must be made.
    rejections: Vec<u16>,
    /// The statuses that it can have in addition, with or without the change.
    maybe: Vec<u16>,
    success: u16,
    effect: Effect,
}

#[derive(Clone, Debug, Default)]
enum Effect {
    #[default]
    None,
    /// A node at this path, in place of any other, and new folders above it.
    Put(Vec<Vec<Name>>, Vec<Name>, Node),
    /// A file under a free name, in the folder of this path.
    PutFreely(Vec<Name>, Node),
    Remove(Vec<Name>),
    Move(Vec<Name>, Vec<Name>),
    /// Something at this path, which the model does not predict.
    Any(Vec<Name>),
}

impl Verdict {
    fn reject(&mut self, is_reason: bool, statuses: &[u16]) -> bool {
        if is_reason {
            self.rejections.extend(statuses);
        }
        is_reason
    }
}

impl Run {
    fn new(settings: &[u8]) -> Run {
        let &[first, second, low, high] = settings else { panic!("four bytes") };
        let settings = Settings {
            overwrite: [Overwrite::Replace, Overwrite::Refuse, Overwrite::Rename][usize::from(first % 3)],
            delete: first / 3 % 4 > 0,
            webdav: first / 12 % 4 > 0,
            hidden: first / 48 % 2 == 1,
            symlinks: [Symlinks::WithinRoot, Symlinks::Follow, Symlinks::Deny][usize::from(second % 3)],
            resumable: second / 3 % 2 == 1,
            inotify: second / 6 % 4 > 0,
            held: [64 << 10, 8][usize::from(second / 24 % 2)],
            rules: Rules(u16::from_le_bytes([low, high])),
        };
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut world = World { all: Node::empty(), place: folder.path().as_os_str().as_bytes().to_vec() };
        for path in ["root", "outside", "root/b", "root/d", "root/d/in"] {
            fs::create_dir(folder.path().join(path)).unwrap();
            world.put(&names(path.as_bytes()), Node::empty());
        }
        for path in ["outside/secret", "root/a", "root/b/a", "root/d/a"] {
            fs::write(folder.path().join(path), path).unwrap();
            world.put(&names(path.as_bytes()), Node::File(path.into()));
        }
        let mut uploads = Uploads::new().overwrite(settings.overwrite).delete(settings.delete).reserve(0);
        if settings.resumable {
            uploads = uploads.resumable(100, Duration::from_secs(60));
        }
        let handler = StaticFileHandler::new(folder.path().join("root")).unwrap().inotify(settings.inotify);
        let handler = handler.uploads(uploads).webdav(settings.webdav).hidden(settings.hidden);
        let handler = handler.symlinks(settings.symlinks).cache(100, settings.held, 1 << 20);
        let http = Http::new(handler.layer(Users(settings.rules))).body_folder("/dev/shm").access_log(None);
        let peer = Peer::new(&http);
        Run {
            folder,
            settings,
            world,
            http,
            peer,
            tags: HashMap::new(),
            latest: BTreeMap::new(),
            listings: HashMap::new(),
            pending: None,
            waits: 0,
            done: Vec::new(),
        }
    }

    fn step(&mut self, number: usize, step: [u8; STEP]) {
        let [what, one, two, other, another, more] = step;
        let target = target_of(one, two);
        let user = if more >> 6 == 3 { 1 + (more >> 5 & 1) } else { 0 };
        let content = match more & 7 {
            0 => Vec::new(),
            1 => b"same".to_vec(),
            2 => format!("{number:20}").into_bytes(),
            3 if more & 0x30 == 0 => format!("{number:2000}").into_bytes(),
            _ => format!("{number:04}").into_bytes(),
        };
        let mut ask = Ask { target: target.clone(), user, framing: more >> 3 & 7, ..Ask::default() };
        let condition = self.condition(&target, other);
        match what % 32 {
            0..=5 => {
                (ask.method, ask.body) = ("PUT", Some(content));
                ask.fields.extend(condition);
                if another & 15 == 1 {
                    ask.target += "?overwrite=rename";
                }
                self.change(ask);
            }
            6 | 7 => {
                ask.method = "MKCOL";
                ask.fields.extend(condition);
                self.change(ask);
            }
            8..=10 => {
                ask.method = "DELETE";
                ask.fields.extend(condition);
                if another & 15 == 1 {
                    ask.fields.push(("depth", "0".to_owned()));
                }
                self.change(ask);
            }
            11..=15 => {
                ask.method = if what % 32 < 14 { "MOVE" } else { "COPY" };
                ask.fields.push(("destination", target_of(other, another)));
                match more & 7 {
                    1 => ask.fields.push(("overwrite", "F".to_owned())),
                    2 => ask.fields.push(("overwrite", "T".to_owned())),
                    3 => ask.fields.push(("depth", "0".to_owned())),
                    4 => ask.fields.extend(self.condition(&target, two)),
                    _ => {}
                }
                self.change(ask);
            }
            16 => {
                let name = NAMES[usize::from(other % 13)];
                let file = match another & 3 {
                    0 => name.to_vec(),
                    _ => [NAMES[usize::from(another >> 4) % 13], b"/", name].concat(),
                };
                ask.method = "POST";
                ask.fields.push(("content-type", "multipart/form-data; boundary=x".to_owned()));
                ask.body = Some(match another & 12 {
                    0 => form(b"name=\"folder\"", name),
                    _ => form(&[b"name=\"f\"; filename=\"", &file[..], b"\""].concat(), &content),
                });
                self.change(ask);
            }
            17 | 18 => self.resume(ask, content, other),
            19 => self.beside(number, one, two, other, another),
            20 => self.beside(number, one, two, other % 8 + what / 32 * 8, another),
            21 if self.waits < 1 => {
                self.waits += 1;
                thread::sleep(TICK);
            }
            22..=24 if self.settings.webdav || another & 15 == 1 => {
                let depth = ["1", "0", "1", "infinity"][usize::from(other % 4)];
                for _ in 0..=more % 4 {
                    self.properties(&target, user, depth);
                }
            }
            25 | 26 => {
                let target = if target.ends_with('/') { format!("{target}?format=json") } else { target };
                for _ in 0..=more % 4 {
                    self.look(&target, user);
                }
            }
            27 => self.part(&target, user, other, another),
            _ => {
                for _ in 0..=more % 8 {
                    self.look(&target, user);
                }
            }
        }
    }

    /// A condition on the tag of a path: the current one, that of another path, or any.
    fn condition(&self, target: &str, byte: u8) -> Option<(&'static str, String)> {
        let name = if byte & 1 == 0 { "if-match" } else { "if-none-match" };
        let value = match byte >> 4 {
            0 | 1 => "*".to_owned(),
            2 | 3 => self.latest.get(&model::names(target)?)?.clone(),
            4 => self.latest.values().nth(usize::from(byte & 7))?.clone(),
            5 => self.tags.keys().map(|(_, tag)| tag).max()?.clone(),
            _ => return None,
        };
        Some((name, value))
    }

    /// Sends the request, and also a GET of the same path directly after it, for some.
    fn exchange(&mut self, asks: &[&Ask]) -> Vec<Answer> {
        for ask in asks {
            self.done.push(format!("{} {} {:?} by {}", ask.method, ask.target, ask.fields, ask.user));
        }
        if !self.peer.is_open() {
            self.peer = Peer::new(&self.http);
        }
        self.peer.said.clear();
        self.peer.wall = SystemTime::now();
        self.peer.polled = Some(Instant::now());
        let mut wire = Vec::new();
        for ask in asks {
            let Ask { method, target, user, framing, .. } = ask;
            wire.extend(format!("{method} {target} HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\n").into_bytes());
            for (name, value) in &ask.fields {
                wire.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            let Some(body) = &ask.body else {
                wire.extend(b"\r\n");
                continue;
            };
            if framing & 3 == 3 {
                wire.extend(b"Expect: 100-continue\r\n");
            }
            match framing & 4 {
                0 => {
                    wire.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
                    wire.extend(body);
                }
                _ => {
                    wire.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                    for chunk in body.chunks(body.len() / 2 + 1) {
                        wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                        wire.extend(chunk);
                        wire.extend(b"\r\n");
                    }
                    wire.extend(b"0\r\n\r\n");
                }
            }
        }
        if asks[0].framing & 1 == 1 {
            let mut sent = 0;
            for end in model::cuts(&wire) {
                self.peer.polled = Some(Instant::now());
                self.peer.send(&wire[sent..end]);
                sent = end;
            }
        } else {
            self.peer.send(&wire);
        }
        let heads: Vec<usize> = (0..asks.len()).filter(|number| asks[*number].method == "HEAD").collect();
        let answers = Answer::all(&self.peer.said, &heads);
        assert!(
            answers.len() == asks.len() || !answers.is_empty() && !self.peer.is_open(),
            "{} answers: {}",
            answers.len(),
            self.story()
        );
        for answer in &answers {
            let text = if answer.status < 400 { String::new() } else { answer.text() };
            self.done.push(format!("  {} {:?} {text}", answer.status, answer.field("location")));
        }
        answers
    }

    fn story(&self) -> String {
        format!("{:?}\n{}", self.settings, self.done.join("\n"))
    }

    /// Makes a change, and compares the response, the tree, and the next response.
    fn change(&mut self, ask: Ask) {
        let verdict = self.verdict(&ask);
        let path = model::names(model::path_of(&ask.target)).unwrap_or_default();
        let next = Ask { method: "GET", target: plain(&path), user: ask.user, ..Ask::default() };
        let asks = [&ask, &next];
        let is_followed = ask.framing & 2 == 2 && !path.is_empty();
        let answers = self.exchange(&asks[..1 + usize::from(is_followed)]);
        self.judge(&ask, &verdict, &answers[0]);
        if let Some(answer) = answers.get(1) {
            self.check_got(&next, answer);
        }
        let changed: Vec<Vec<Name>> = match &verdict.effect {
            Effect::Put(..) | Effect::PutFreely(..) | Effect::Remove(_) => vec![path],
            Effect::Move(..) | Effect::Any(_) => {
                let to = ask.fields.iter().find(|(name, _)| *name == "destination");
                vec![path, to.and_then(|(_, to)| model::names(to)).unwrap_or_default()]
            }
            Effect::None => Vec::new(),
        };
        for path in changed {
            self.look(&plain(&path), 0);
            let folder = &path[..path.len().saturating_sub(1)];
            self.look(&format!("{}?format=json", as_folder(folder)), 0);
        }
    }

    fn judge(&mut self, ask: &Ask, verdict: &Verdict, answer: &Answer) {
        let Verdict { rejections, maybe, success, effect } = verdict;
        let said = answer.status;
        let context = |run: &Run| format!("expected {success} or {maybe:?}, rejected: {rejections:?}\n{}", run.story());
        let is_made = said == *success && rejections.is_empty();
        assert!(is_made || rejections.contains(&said) || maybe.contains(&said), "{said}: {}", context(self));
        let before = self.world.clone();
        if is_made {
            self.apply(effect, answer);
        }
        let found = self.on_disk();
        assert!(found == self.world.all, "{said}, on the disk: {found:?}\n{}", context(self));
        if !is_made {
            return;
        }
        if let (Effect::Put(_, path, Node::File(bytes)), Some(tag)) = (effect, answer.field("etag")) {
            self.note_tag(path.clone(), tag, bytes.clone());
        }
        if let Effect::Move(from, to) = effect {
            self.check_links(&before, from, to);
        }
        if matches!(said, 201) && ask.method != "POST" {
            let location = answer.field("location").unwrap_or_else(|| panic!("no location: {}", context(self)));
            assert!(model::is_canonical(location), "{location}: {}", context(self));
        }
    }

    fn on_disk(&self) -> Node {
        Node::read(self.folder.path())
    }

    /// Each link that was moved leads where it led before, and no other link leads out of the root.
    fn check_links(&self, before: &World, from: &[Name], to: &[Name]) {
        let moved = |path: Vec<Name>| match path.strip_prefix(from) {
            Some(rest) => [to, rest].concat(),
            None => path,
        };
        for link in self.world.at(to).expect("the moved entry").links() {
            let led = before.find(&[&from[1..], &link[..]].concat(), Symlinks::Follow);
            let leads = self.world.find(&[&to[1..], &link[..]].concat(), Symlinks::Follow);
            assert_eq!(led.map(moved), leads, "a link {link:?} was moved\n{}", self.story());
        }
    }

    fn apply(&mut self, effect: &Effect, answer: &Answer) {
        match effect {
            Effect::None => {}
            Effect::Put(folders, path, node) => {
                folders.iter().for_each(|folder| self.world.put(folder, Node::empty()));
                self.world.put(path, node.clone());
            }
            Effect::PutFreely(path, node) => {
                let location = names(&model::decoded(answer.field("location").expect("a location")));
                let (folder, name) = (&path[..path.len() - 1], location.last().expect("a name"));
                let free = [folder, &[name.clone()]].concat();
                assert!(self.world.at(&free).is_none(), "{free:?} was there: {}", self.story());
                self.world.put(&free, node.clone());
            }
            Effect::Remove(path) => drop(self.world.take(path)),
            Effect::Move(from, to) => {
                let node = self.world.take(from);
                self.world.put(to, node);
            }
            Effect::Any(path) => {
                let on_disk = World { all: self.on_disk(), ..self.world.clone() };
                self.world.put(path, on_disk.at(path).expect("a copy").clone());
            }
        }
    }

    fn may(&self, user: u8, access: modest::Access, path: &[Name]) -> bool {
        self.settings.rules.allow(user, access, path)
    }

    fn may_all(&self, user: u8, access: modest::Access, path: &[Name]) -> bool {
        self.settings.rules.allow_all(user, access, path)
    }

    fn is_hidden(&self, path: &[Name]) -> bool {
        let is_hidden = |(depth, name): (usize, &Name)| match self.settings.hidden {
            true => name.starts_with(b".modest-upload-"),
            false => name.starts_with(b".") && !(depth == 0 && name == b".well-known"),
        };
        path.iter().enumerate().any(is_hidden)
    }

    /// Whether an entry can be removed or replaced: it is served, and so is everything in it.
    fn is_removable(&self, path: &[Name], node: &Node) -> bool {
        let is_served = !node.is_link() || self.world.found(path, self.settings.symlinks).is_some();
        let inside = |(name, node): (&Name, &Node)| self.is_removable(&[path, &[name.clone()]].concat(), node);
        is_served && !self.is_hidden(path) && node.entries().all(inside)
    }

    /// Reasons to reject a change at a path. Returns its place without links.
    fn place(&self, verdict: &mut Verdict, path: &[Name], is_new: bool, missing: u16) -> Option<Vec<Name>> {
        verdict.reject(is_new && !path.last().is_some_and(is_valid), &[400]);
        verdict.reject(self.is_hidden(path) || path.iter().any(|name| is_reserved(name)), &[403]);
        let place = self.world.to_change(path, self.settings.symlinks);
        verdict.reject(place.is_none(), &[missing]);
        let place = place?;
        let folder = &place[..place.len() - 1];
        let well_known = [b".well-known".to_vec()];
        let follow = if self.settings.symlinks == Symlinks::Deny { Symlinks::Deny } else { Symlinks::Follow };
        let reserved = self.world.find(&well_known, follow);
        let is_inside = reserved.is_some_and(|reserved| folder.starts_with(&reserved));
        verdict.reject(is_inside || folder.iter().any(|name| is_reserved(name)), &[403]);
        Some(place)
    }

    /// Reasons from conditions, for what is at a path: a file, or something else without a tag.
    fn conditions(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], existing: Option<&Node>) {
        for (name, value) in &ask.fields {
            let is_match = match *name {
                "if-match" => true,
                "if-none-match" => false,
                _ => continue,
            };
            if value == "*" {
                verdict.reject(is_match != existing.is_some(), &[412]);
                continue;
            }
            verdict.reject(!self.may(ask.user, Read, path), &[403]);
            let named = self.tags.iter().filter(|((_, tag), _)| tag == value).map(|(_, bytes)| bytes);
            let is_same = match existing {
                Some(Node::File(bytes)) => named.into_iter().any(|named| named == bytes),
                _ => false,
            };
            if is_same && !is_hash(value) {
                verdict.maybe.push(412); // the file can have been written again
            } else {
                verdict.reject(is_match != is_same, &[412]);
            }
        }
    }

    fn verdict(&self, ask: &Ask) -> Verdict {
        let mut verdict = Verdict::default();
        let raw = model::path_of(&ask.target);
        let methods = match ask.method {
            "DELETE" => (self.settings.delete, 405),
            "MOVE" => (self.settings.delete, 501),
            "COPY" => (self.settings.webdav, 501),
            _ => (true, 0),
        };
        verdict.reject(!methods.0, &[methods.1]);
        if verdict.reject(!model::is_canonical(raw), &[400, 404]) {
            return verdict;
        }
        let (path, slash) = (model::names(raw).expect("a path"), raw.ends_with('/'));
        match ask.method {
            "PUT" => self.judge_put(&mut verdict, ask, &path, slash),
            "MKCOL" => {
                verdict.success = 201;
                if verdict.reject(path.is_empty(), &[405]) {
                    return verdict;
                }
                verdict.reject(!self.may(ask.user, Write, &path), &[403]);
                let Some(place) = self.place(&mut verdict, &path, true, 409) else { return verdict };
                verdict.reject(self.world.at(&place).is_some(), &[405]);
                self.conditions(&mut verdict, ask, &path, None);
                verdict.effect = Effect::Put(Vec::new(), place, Node::empty());
            }
            "DELETE" => self.judge_delete(&mut verdict, ask, &path, slash),
            "MOVE" => self.judge_move(&mut verdict, ask, &path, slash),
            "COPY" => self.judge_copy(&mut verdict, ask, &path, slash),
            "POST" => self.judge_form(&mut verdict, ask, &path, slash),
            method => panic!("{method}"),
        }
        verdict
    }

    fn judge_put(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], slash: bool) {
        if verdict.reject(slash || path.is_empty(), &[409]) {
            return;
        }
        let bytes = ask.body.clone().unwrap_or_default();
        self.judge_file(verdict, ask, path, bytes);
    }

    fn judge_file(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], bytes: Vec<u8>) {
        verdict.reject(!self.may(ask.user, Write, path), &[403]);
        let Some(place) = self.place(verdict, path, true, 409) else { return };
        let existing = self.world.at(&place);
        self.conditions(verdict, ask, path, existing);
        let renames = self.settings.overwrite == Overwrite::Rename || ask.target.ends_with("?overwrite=rename");
        let has_if_match = ask.fields.iter().any(|(name, _)| *name == "if-match");
        verdict.success = 201;
        match existing {
            Some(Node::File(_)) if self.settings.overwrite == Overwrite::Replace && !renames => verdict.success = 204,
            Some(_) if renames => {
                // A number is in no rule.
                let numbered = [&path[..path.len() - 1], &[b"a (1)".to_vec()]].concat();
                let is_begun = ask.fields.iter().any(|(_, value)| value == "?0"); // the name is found at the end
                verdict.reject(!is_begun && !self.may(ask.user, Write, &numbered), &[403]);
                verdict.reject(has_if_match, &[409]);
                verdict.effect = Effect::PutFreely(place, Node::File(bytes));
                return;
            }
            None if renames && has_if_match => drop(verdict.reject(true, &[409])),
            None => {}
            Some(_) => drop(verdict.reject(true, &[409])),
        }
        verdict.effect = Effect::Put(Vec::new(), place, Node::File(bytes));
    }

    /// Reasons to reject a change of something at a path. Returns its place, and the entry.
    fn existing(&self, verdict: &mut Verdict, path: &[Name], slash: bool) -> Option<(Vec<Name>, &Node)> {
        let place = self.place(verdict, path, false, 404)?;
        let node = self.world.at(&place);
        let target = self.world.found(path, self.settings.symlinks);
        verdict.reject(node.is_none() || node.is_some_and(Node::is_link) && target.is_none(), &[404]);
        verdict.reject(slash && !target.is_some_and(Node::is_folder), &[404]);
        node.map(|node| (place, node))
    }

    fn judge_delete(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], slash: bool) {
        verdict.success = 204;
        if verdict.reject(path.is_empty(), &[403]) {
            return;
        }
        verdict.reject(!self.may_all(ask.user, Write, path), &[403]);
        let Some((place, node)) = self.existing(verdict, path, slash) else { return };
        self.conditions(verdict, ask, path, Some(node));
        let is_deep = self.settings.webdav && !ask.fields.iter().any(|(name, _)| *name == "depth");
        let is_filled = node.entries().next().is_some();
        verdict.reject(is_filled && !(is_deep && self.is_removable(path, node)), &[409]);
        verdict.effect = Effect::Remove(place);
    }

    /// Reasons to reject the destination of a move or a copy. Returns its path and place.
    fn destination(&self, verdict: &mut Verdict, ask: &Ask) -> Option<(Vec<Name>, Vec<Name>)> {
        let raw = &ask.fields.iter().find(|(name, _)| *name == "destination").expect("a destination").1;
        if verdict.reject(!model::is_canonical(raw), &[400, 404]) {
            return None;
        }
        let to = model::names(raw)?;
        verdict.reject(!self.may_all(ask.user, Write, &to), &[403]);
        let place = self.place(verdict, &to, true, 409)?;
        Some((to, place))
    }

    fn may_replace(&self, ask: &Ask) -> bool {
        let forbids = ask.fields.iter().any(|(name, value)| *name == "overwrite" && value == "F");
        self.settings.overwrite == Overwrite::Replace && !forbids
    }

    fn judge_move(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], slash: bool) {
        verdict.success = 201;
        if verdict.reject(path.is_empty(), &[403]) {
            return;
        }
        verdict.reject(!(self.may_all(ask.user, Read, path) && self.may_all(ask.user, Write, path)), &[403]);
        let to = self.destination(verdict, ask);
        let Some((place, node)) = self.existing(verdict, path, slash) else { return };
        let Some((to_path, to)) = to else { return };
        verdict.reject(!node.is_file() && !self.may_all(ask.user, List, path), &[403]);
        verdict.reject(node.is_folder() && ask.fields.iter().any(|(name, _)| *name == "depth"), &[400]);
        self.conditions(verdict, ask, path, Some(node));
        let target = self.world.find(path, self.settings.symlinks);
        verdict.reject(place == to || node.is_link() && target.as_ref() == Some(&to), &[403]);
        verdict.reject(to.starts_with(&place) && to != place, &[409]);
        if let Some(existing) = self.world.at(&to) {
            verdict.success = 204;
            let are_files = node.is_file() && existing.is_file();
            verdict.reject(!self.may_replace(ask) || !are_files && !self.settings.webdav, &[412]);
            verdict.reject(place.starts_with(&to), &[409]);
            verdict.reject(!are_files && !self.is_removable(&to_path, existing), &[409]);
        }
        if !node.links().is_empty() {
            verdict.maybe.push(409);
        }
        verdict.effect = Effect::Move(place, to);
    }

    fn judge_copy(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], slash: bool) {
        verdict.success = 201;
        let to = self.destination(verdict, ask);
        verdict.reject(self.is_hidden(path), &[404]);
        verdict.reject(!self.may(ask.user, Read, path), &[403]);
        let from = self.world.find(path, self.settings.symlinks);
        verdict.reject(from.is_none(), &[404]);
        let (Some(from), Some((to_path, to))) = (from, to) else { return };
        let node = self.world.at(&from).expect("what was found");
        verdict.reject(!node.is_folder() && slash && !path.is_empty(), &[404]);
        self.conditions(verdict, ask, path, Some(node));
        let itself = self.world.to_change(path, self.settings.symlinks);
        verdict.reject(from == to || itself.as_ref() == Some(&to), &[403]);
        verdict.reject(node.is_folder() && to.starts_with(&from), &[409]);
        if let Some(existing) = self.world.at(&to) {
            verdict.success = 204;
            verdict.reject(!self.may_replace(ask), &[412]);
            let is_plain = node.is_file() && existing.is_file();
            verdict.reject(!is_plain && !self.settings.delete, &[403]);
            let above = |path: &[Name]| path.starts_with(&to);
            verdict.reject(above(&from) || itself.as_deref().is_some_and(above), &[409]);
            verdict.reject(!is_plain && !self.is_removable(&to_path, existing), &[409]);
        }
        let is_shallow = ask.fields.iter().any(|(name, _)| *name == "depth");
        let mut left = 60;
        let copy = match node {
            Node::Folder(_) if is_shallow => Some(Node::empty()),
            Node::Folder(_) => {
                verdict.reject(!self.may(ask.user, List, path), &[403]);
                self.copy(verdict, ask.user, path, &to_path, &mut left)
            }
            node => Some(node.clone()),
        };
        verdict.effect = match copy {
            Some(node) => Effect::Put(Vec::new(), to, node),
            None => Effect::Any(to),
        };
        if left == 0 {
            verdict.maybe.extend([400, 403, 409]);
        }
    }

    /// A copy of a folder, with what the user can read. `None`: it has too many entries to predict them.
    fn copy(&self, verdict: &mut Verdict, user: u8, path: &[Name], to: &[Name], left: &mut usize) -> Option<Node> {
        let found = self.world.found(path, self.settings.symlinks)?;
        let mut entries = BTreeMap::new();
        for (name, _) in found.entries() {
            if *left == 0 {
                return None;
            }
            *left -= 1;
            let (path, to) = ([path, &[name.clone()]].concat(), [to, &[name.clone()]].concat());
            if !self.may(user, Read, &path) || self.is_hidden(&path) {
                continue;
            }
            let Some(node) = self.world.found(&path, self.settings.symlinks) else { continue };
            if node.is_folder() && !self.may(user, List, &path) {
                continue;
            }
            verdict.reject(!is_valid(name), &[400]);
            verdict.reject(is_reserved(name) || self.is_hidden(&to), &[403]);
            let copy = match node {
                Node::Folder(_) => self.copy(verdict, user, &path, &to, left)?,
                node => node.clone(),
            };
            entries.insert(name.clone(), copy);
        }
        Some(Node::Folder(entries))
    }

    fn judge_form(&self, verdict: &mut Verdict, ask: &Ask, path: &[Name], slash: bool) {
        verdict.success = 303;
        verdict.reject(self.is_hidden(path) || path.iter().any(|name| is_reserved(name)), &[403]);
        verdict.reject(!self.may(ask.user, Write, path), &[403]);
        let inside = [path, &[b"x".to_vec()]].concat();
        verdict.reject(self.world.to_change(&inside, self.settings.symlinks).is_none(), &[404]);
        verdict.reject(!slash, &[308]);
        let body = ask.body.as_deref().expect("a form");
        let text = body.windows(4).position(|four| four == b"\r\n\r\n").map(|end| &body[end + 4..]).expect("a part");
        let text = text.strip_suffix(b"\r\n--x--\r\n").expect("an end");
        let named = body.windows(10).position(|ten| ten == b"filename=\"").map(|start| &body[start + 10..]);
        let Some(named) = named.map(|rest| rest.split(|&byte| byte == b'"').next().expect("a name")) else {
            let new = [path, &[text.to_vec()]].concat();
            verdict.reject(!self.may(ask.user, Write, &new), &[403]);
            let Some(place) = self.place(verdict, &new, true, 409) else { return };
            verdict.reject(self.world.at(&place).is_some(), &[409]);
            verdict.effect = Effect::Put(Vec::new(), place, Node::empty());
            return;
        };
        let parts = names(named);
        let file = [path, &parts[..]].concat();
        if parts.len() == 1 {
            verdict.effect = self.stored_from_form(verdict, ask, &file, text);
            return;
        }
        let above = [path, &parts[..1]].concat();
        verdict.reject(!self.may(ask.user, Write, &above) || !self.may(ask.user, Write, &file), &[403]);
        let (mut reasons, above_place) = (Verdict::default(), self.world.to_change(&above, self.settings.symlinks));
        self.place(&mut reasons, &above, true, 409);
        let exists = above_place.as_ref().is_some_and(|place| self.world.at(place).is_some());
        verdict.rejections.extend(reasons.rejections);
        if exists || above_place.is_none() {
            verdict.effect = self.stored_from_form(verdict, ask, &file, text);
            return;
        }
        verdict.reject(!is_valid(&parts[1]), &[400]);
        verdict.reject(self.is_hidden(&file) || is_reserved(&parts[1]), &[403]);
        let above = above_place.expect("a place");
        let place = [&above[..], &parts[1..]].concat();
        verdict.effect = Effect::Put(vec![above], place, Node::File(text.to_vec()));
    }

    /// The effect of a file in a form, and reasons to reject it.
    fn stored_from_form(&self, verdict: &mut Verdict, ask: &Ask, file: &[Name], text: &[u8]) -> Effect {
        let mut stored = Verdict::default();
        let ask = Ask { fields: Vec::new(), ..ask.clone() };
        self.judge_file(&mut stored, &ask, file, text.to_vec());
        verdict.rejections.extend(&stored.rejections);
        match stored.effect {
            // The response does not have the name.
            Effect::PutFreely(place, node) => Effect::Put(Vec::new(), self.free(&place), node),
            effect => effect,
        }
    }

    /// The free name with a number.
    fn free(&self, place: &[Name]) -> Vec<Name> {
        let (name, folder) = place.split_last().expect("a name");
        let name = String::from_utf8_lossy(name);
        let (stem, rest) = match &*name {
            "x y.tar.gz" => ("x y", ".tar.gz"),
            "index.html" => ("index", ".html"),
            name => (name, ""),
        };
        let path = |number: usize| [folder, &[format!("{stem} ({number}){rest}").into_bytes()]].concat();
        (1..).map(path).find(|path| self.world.at(path).is_none()).expect("a free name")
    }

    /// A step of a resumable upload.
    fn resume(&mut self, mut ask: Ask, content: Vec<u8>, other: u8) {
        let Some(mut pending) = self.pending.take() else {
            (ask.method, ask.body) = ("PUT", Some(content.clone()));
            ask.fields.push(("upload-complete", "?0".to_owned()));
            let mut verdict = self.verdict(&ask);
            verdict.reject(!self.settings.resumable || model::path_of(&ask.target).ends_with('/'), &[400]);
            (verdict.success, verdict.effect) = (201, Effect::None);
            let answers = self.exchange(&[&ask]);
            self.judge(&ask, &verdict, &answers[0]);
            if answers[0].status == 201 {
                let path = model::names(model::path_of(&ask.target)).expect("a path");
                let target = answers[0].field("location").expect("a location").to_owned();
                self.pending = Some(Pending { target, path, bytes: content });
            }
            return;
        };
        ask.target = pending.target.clone();
        let has_right = self.may(ask.user, Write, &pending.path);
        if other & 0xf0 == 0 {
            ask.method = if other & 8 == 8 { "DELETE" } else { "HEAD" };
            let rejections = if has_right { Vec::new() } else { vec![403] };
            let verdict = Verdict { rejections, success: 204, ..Verdict::default() };
            let answers = self.exchange(&[&ask]);
            self.judge(&ask, &verdict, &answers[0]);
            if ask.method == "HEAD" && has_right {
                let length = pending.bytes.len().to_string();
                assert_eq!(answers[0].field("upload-offset"), Some(&*length), "{}", self.story());
            }
            let is_over = ask.method == "DELETE" && has_right;
            self.pending = (!is_over).then_some(pending);
            return;
        }
        let (is_wrong, is_last) = (other & 7 == 1, other & 8 == 8);
        let offset = pending.bytes.len() + usize::from(is_wrong);
        (ask.method, ask.body) = ("PATCH", Some(content.clone()));
        ask.fields.push(("upload-offset", offset.to_string()));
        ask.fields.push(("upload-complete", if is_last { "?1" } else { "?0" }.to_owned()));
        ask.fields.push(("content-type", "application/partial-upload".to_owned()));
        let mut verdict = Verdict { success: 204, ..Verdict::default() };
        verdict.reject(!has_right, &[403]);
        verdict.reject(is_wrong, &[409]);
        if is_last {
            let whole = [&pending.bytes[..], &content].concat();
            let put = Ask { fields: Vec::new(), ..ask.clone() };
            self.judge_file(&mut verdict, &put, &pending.path, whole);
        }
        let answers = self.exchange(&[&ask]);
        self.judge(&ask, &verdict, &answers[0]);
        // Whether a free name can be written is known when the name is found, after the last part.
        let is_unnamed = is_last && !is_wrong && matches!(verdict.effect, Effect::PutFreely(..));
        let is_kept = is_unnamed && verdict.rejections.iter().all(|status| *status == 403) && {
            let head = Ask { method: "HEAD", target: pending.target.clone(), ..Ask::default() };
            let offset = self.exchange(&[&head]).remove(0);
            offset.field("upload-offset") == Some(&*(pending.bytes.len() + content.len()).to_string())
        };
        if verdict.rejections.is_empty() || is_kept {
            pending.bytes.extend(content);
        }
        if is_last && verdict.rejections.is_empty() {
            self.look(&plain(&pending.path), 0);
        } else {
            self.pending = Some(pending);
        }
    }

    /// Changes something beside the server.
    fn beside(&mut self, number: usize, one: u8, two: u8, what: u8, more: u8) {
        let path = |one, two| [vec![b"root".to_vec()], path_of(one, two)].concat();
        let (from, to) = (path(one, two), path(what.rotate_left(4), more));
        let disk = |path: &[Name]| on_disk(self.folder.path(), path);
        let is_in_folder = |path: &[Name]| self.world.at(&path[..path.len() - 1]).is_some_and(Node::is_folder);
        if !is_in_folder(&from) || from.iter().any(|name| name == NAMES[12]) {
            return;
        }
        let existing = self.world.at(&from);
        let is_file_or_free = existing.is_none_or(Node::is_file);
        let did = match what % 8 {
            0 | 1 if is_file_or_free => {
                let bytes = format!("{number:04}").into_bytes();
                if what % 8 == 0 {
                    fs::write(disk(&from), &bytes).unwrap();
                } else {
                    let new: PathBuf = self.folder.path().join("new");
                    fs::write(&new, &bytes).unwrap();
                    fs::rename(new, disk(&from)).unwrap();
                }
                self.world.put(&from, Node::File(bytes));
                "write"
            }
            2 if existing.is_none() => {
                fs::create_dir(disk(&from)).unwrap();
                self.world.put(&from, Node::empty());
                "create folder"
            }
            3 | 4 if existing.is_none() => {
                let mut target = TARGETS[usize::from(more) % 12].as_bytes().to_vec();
                if more > 230 {
                    target = [&self.world.place[..], b"/root/d"].concat();
                }
                symlink(PathBuf::from(std::ffi::OsStr::from_bytes(&target)), disk(&from)).unwrap();
                self.world.put(&from, Node::Link(target));
                "link"
            }
            5 if existing.is_some() => {
                let _ = fs::remove_file(disk(&from)).or_else(|_| fs::remove_dir_all(disk(&from)));
                self.world.take(&from);
                "remove"
            }
            6 | 7 if existing.is_some() && !to.starts_with(&from) && is_in_folder(&to) => {
                if self.world.at(&to).is_some() || to.iter().any(|name| name == NAMES[12]) {
                    return;
                }
                fs::rename(disk(&from), disk(&to)).unwrap();
                let node = self.world.take(&from);
                self.world.put(&to, node);
                "rename"
            }
            _ => return,
        };
        let shown = |path: &[Name]| String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        self.done.push(format!("beside: {did} {} {}", shown(&from), shown(&to)));
        assert_eq!(self.on_disk(), self.world.all, "the model of other programs\n{}", self.story());
    }

    /// Requests a path by GET, and by HEAD.
    fn look(&mut self, target: &str, user: u8) {
        let get = Ask { method: "GET", target: target.to_owned(), user, ..Ask::default() };
        let got = self.exchange(&[&get]).remove(0);
        self.check_got(&get, &got);
        if target.len() % 4 == 0 {
            let head = Ask { method: "HEAD", ..get };
            let told = self.exchange(&[&head]).remove(0);
            assert_eq!(told.status, got.status, "HEAD {target}\n{}", self.story());
        }
    }

    fn check_got(&mut self, ask: &Ask, got: &Answer) {
        let raw = model::path_of(&ask.target).to_owned();
        let said = format!("{} {:?} {:?}", got.status, got.fields, String::from_utf8_lossy(&got.body));
        let context = |run: &Run| format!("{said}\n{}", run.story());
        let expect = |run: &Run, status: u16| assert_eq!(got.status, status, "{}", context(run));
        if !model::is_canonical(&raw) {
            return assert!(matches!(got.status, 301 | 400 | 404), "{}", context(self));
        }
        let (path, slash) = (model::names(&raw).expect("a path"), raw.ends_with('/'));
        if !self.may(ask.user, Read, &path) {
            return expect(self, 403);
        }
        let found = self.world.find(&path, self.settings.symlinks).filter(|_| !self.is_hidden(&path));
        let Some(found) = found else { return expect(self, 404) };
        if self.world.at(&found).is_some_and(Node::is_file) {
            return if slash { expect(self, 404) } else { self.check_file(&path, &found, got, &said) };
        }
        if !slash {
            return expect(self, 301);
        }
        let index = [&path[..], &[b"index.html".to_vec()]].concat();
        if let Some(found) = self.world.find(&index, self.settings.symlinks)
            && self.world.at(&found).is_some_and(Node::is_file)
        {
            return match self.may(ask.user, Read, &index) {
                true => self.check_file(&index, &found, got, &said),
                false => expect(self, 403),
            };
        }
        if !self.may(ask.user, List, &path) {
            return expect(self, 403);
        }
        expect(self, 200);
        let expected = self.listed(ask.user, &path, &found);
        let body = String::from_utf8_lossy(&got.body).into_owned();
        if ask.target.ends_with("?format=json") {
            let mut listed: Vec<String> = body
                .lines()
                .filter_map(|line| Some(line.split_once(",\"modified\"")?.0.replace("\"link\":true,", "")))
                .collect();
            listed.sort();
            let mut expected: Vec<String> = expected.iter().map(|(name, size)| json(name, *size)).collect();
            expected.sort();
            assert_eq!(listed, expected, "{}", context(self));
        } else {
            for (name, _) in self.world.at(&found).expect("a folder").entries() {
                let size = expected.iter().find(|(listed, _)| listed == name).map(|(_, size)| *size);
                let is_box = !self.may(ask.user, Read, &[&path[..], &[name.clone()]].concat());
                let href = |slash: &str| body.contains(&format!("href=\"{}{slash}\"", spelled(name)));
                let shown = [href(""), href("/") && (!is_box || size.is_some())];
                let is_folder = size.is_some_and(|size| size.is_none());
                assert_eq!(shown, [size.is_some() && !is_folder, is_folder], "{name:?}: {}", context(self));
            }
        }
        if let Some(tag) = got.field("etag") {
            let key = (format!("{} {}", ask.target, ask.user), tag.to_owned());
            let known = self.listings.entry(key).or_insert_with(|| got.body.clone());
            assert!(*known == got.body, "one tag of two listings: {said}");
        }
    }

    fn check_file(&mut self, path: &[Name], found: &[Name], got: &Answer, said: &str) {
        let Some(Node::File(bytes)) = self.world.at(found).cloned() else { panic!("no file") };
        assert!(got.status == 200 && got.body == bytes, "expected {bytes:?}: {said}\n{}", self.story());
        if let Some(tag) = got.field("etag").map(str::to_owned) {
            self.note_tag(found.to_vec(), &tag, bytes);
            self.latest.insert(path.to_vec(), tag);
        }
    }

    /// A tag names one content.
    fn note_tag(&mut self, found: Vec<Name>, tag: &str, bytes: Vec<u8>) {
        let found = if is_hash(tag) { Vec::new() } else { found };
        let known = self.tags.entry((found, tag.to_owned())).or_insert_with(|| bytes.clone()).clone();
        assert!(known == bytes, "one tag of {known:?} and {bytes:?}\n{}", self.story());
    }

    /// The entries of a folder that the user sees, and the sizes of files.
    fn listed(&self, user: u8, path: &[Name], found: &[Name]) -> Vec<(Name, Option<usize>)> {
        let mut listed = Vec::new();
        for (name, _) in self.world.at(found).expect("a folder").entries() {
            let path = [path, &[name.clone()]].concat();
            if self.may(user, Read, &path) && !self.is_hidden(&path) {
                match self.world.found(&path, self.settings.symlinks) {
                    Some(Node::File(bytes)) => listed.push((name.clone(), Some(bytes.len()))),
                    Some(_) => listed.push((name.clone(), None)),
                    None => {}
                }
            }
        }
        listed
    }

    fn properties(&mut self, target: &str, user: u8, depth: &str) {
        let fields = vec![("depth", depth.to_owned())];
        let ask = Ask { method: "PROPFIND", target: target.to_owned(), fields, user, ..Ask::default() };
        let got = self.exchange(&[&ask]).remove(0);
        let text = got.text();
        let expect = |run: &Run, statuses: &[u16]| {
            assert!(statuses.contains(&got.status), "{} {text}, expected {statuses:?}\n{}", got.status, run.story());
        };
        if !model::is_canonical(target) {
            return expect(self, &[301, 400, 404, 501]);
        }
        if !self.settings.webdav {
            return expect(self, &[501]);
        }
        let (path, slash) = (model::names(target).expect("a path"), target.ends_with('/'));
        if self.is_hidden(&path) {
            return expect(self, &[404]);
        }
        if !self.may(user, Read, &path) {
            return expect(self, &[403]);
        }
        let Some(found) = self.world.find(&path, self.settings.symlinks) else { return expect(self, &[404]) };
        let mut expected = Vec::new();
        match self.world.at(&found).expect("what was found") {
            Node::File(_) if slash => return expect(self, &[404]),
            Node::File(bytes) => expected.push((path.clone(), Some(bytes.len()))),
            _ if depth == "infinity" => return expect(self, &[403]),
            _ if depth == "1" && !self.may(user, List, &path) => return expect(self, &[403]),
            _ => expected.push((path.clone(), None)),
        }
        if depth == "1" && expected[0].1.is_none() {
            let inside = self.listed(user, &path, &found);
            expected.extend(inside.into_iter().map(|(name, size)| ([&path[..], &[name]].concat(), size)));
        }
        expect(self, &[207]);
        let between = |text: &str, start: &str, end: &str| {
            text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map(|(found, _)| found.to_owned())
        };
        let mut told: Vec<(Vec<Name>, Option<usize>)> = text
            .split("<D:response>")
            .skip(1)
            .map(|text| {
                let href = between(text, "<D:href>", "</D:href>").expect("a path");
                let size = between(text, "<D:getcontentlength>", "</D:getcontentlength>");
                assert_eq!(size.is_none(), href.ends_with('/'), "{text}");
                (names(&model::decoded(&href)), size.map(|size| size.parse().expect("a size")))
            })
            .collect();
        told.sort();
        expected.sort();
        assert_eq!(told, expected, "{text}\n{}", self.story());
        if let ([(_, Some(_))], Some(tag)) = (&told[..], between(&text, "<D:getetag>", "</D:getetag>")) {
            let Some(Node::File(bytes)) = self.world.at(&found).cloned() else { panic!("no file") };
            self.note_tag(found, &tag.replace("&quot;", "\""), bytes);
        }
    }

    /// Requests a part of a file, or a file under a condition.
    fn part(&mut self, target: &str, user: u8, other: u8, another: u8) {
        let mut fields: Vec<(&'static str, String)> = self.condition(target, other).into_iter().collect();
        if another & 1 == 1 {
            fields.push(("range", "bytes=1-2".to_owned()));
        }
        if let (2, Some(tag)) = (another & 2, self.tags.keys().map(|(_, tag)| tag).min()) {
            fields.push(("if-range", tag.clone()));
        }
        let ask = Ask { method: "GET", target: target.to_owned(), fields, user, ..Ask::default() };
        let got = self.exchange(&[&ask]).remove(0);
        let path = model::names(target).filter(|_| model::is_canonical(target) && !target.ends_with('/'));
        let Some(path) = path else { return };
        let found = self.world.found(&path, self.settings.symlinks);
        let (Some(Node::File(bytes)), true) = (found, self.may(user, Read, &path) && !self.is_hidden(&path)) else {
            return assert!(matches!(got.status, 301 | 403 | 404), "{got:?}\n{}", self.story());
        };
        let mut verdict = Verdict::default();
        self.conditions(&mut verdict, &ask, &path, found);
        let field = |name: &str| ask.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
        let named = |tag: &String| self.tags.iter().any(|((_, known), named)| known == tag && named == bytes);
        match got.status {
            200 => assert_eq!(got.body, *bytes, "{}", self.story()),
            206 => {
                assert_eq!(got.body, bytes[1..bytes.len().min(3)], "{}", self.story());
                assert!(field("if-range").is_none_or(named), "a part of another version\n{}", self.story());
            }
            304 => assert!(field("if-none-match").is_some_and(|tag| tag == "*" || named(tag)), "{}", self.story()),
            412 => {
                assert!(field("if-match").is_some() && (!verdict.rejections.is_empty() || !verdict.maybe.is_empty()))
            }
            416 => assert!(bytes.len() < 2 && field("range").is_some(), "{}", self.story()),
            status => panic!("{status}: {}", self.story()),
        }
        let is_content = matches!(got.status, 200 | 206);
        assert!(!is_content || verdict.rejections.is_empty(), "{got:?}\n{}", self.story());
    }
}

/// Whether something new can have this name.
fn is_valid(name: &Name) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| !name.contains(['\\', '\u{202e}']))
}

fn is_reserved(name: &Name) -> bool {
    name == b".well-known" || name.starts_with(b".modest-upload-")
}

/// Whether a tag is a hash of the content.
fn is_hash(tag: &str) -> bool {
    !tag.contains('-')
}

fn form(names: &[u8], content: &[u8]) -> Vec<u8> {
    [b"--x\r\nContent-Disposition: form-data; ", names, b"\r\n\r\n", content, b"\r\n--x--\r\n"].concat()
}

/// The path that two bytes stand for: mostly one or two frequent names.
fn path_of(one: u8, two: u8) -> Vec<Name> {
    let frequent = |byte: u8| [&b"a"[..], b"b", b"d", b"in"][usize::from(byte % 4)].to_vec();
    let last = if two & 16 == 0 { frequent(two) } else { NAMES[usize::from(two % 16)].to_vec() };
    match two >> 5 {
        0..=2 => vec![last],
        3 | 4 => vec![b"d".to_vec(), last],
        5 => vec![b"d".to_vec(), b"in".to_vec(), last],
        6 => vec![frequent(one), last],
        _ => vec![NAMES[usize::from(one % 16)].to_vec(), last],
    }
}

/// The same path as a client writes it: mostly plain.
fn target_of(one: u8, two: u8) -> String {
    let path = path_of(one, two);
    let encoded = |format: fn(u8) -> String| -> String {
        path.iter().map(|name| format!("/{}", name.iter().map(|&byte| format(byte)).collect::<String>())).collect()
    };
    match one >> 4 {
        9 | 10 => plain(&path) + "/",
        11 => encoded(|byte| format!("%{byte:02X}")),
        12 => encoded(|byte| format!("%{byte:02x}")) + "/",
        13 => as_folder(&path[..path.len() - 1]),
        14 if one & 1 == 0 => {
            plain(&path) + ["/..", "/.", "//", "%2F", "%00", "/%2e%2e/a", "/../../..", "%"][usize::from(one / 2 % 8)]
        }
        15 if one & 15 == 0 => "/..".to_owned() + &plain(&path),
        _ => plain(&path),
    }
}

fn plain(path: &[Name]) -> String {
    match path {
        [] => "/".to_owned(),
        path => path.iter().map(|name| format!("/{}", spelled(name))).collect(),
    }
}

fn as_folder(path: &[Name]) -> String {
    if path.is_empty() { "/".to_owned() } else { plain(path) + "/" }
}

fn spelled(name: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.iter().map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The beginning of an entry of a listing.
fn json(name: &[u8], size: Option<usize>) -> String {
    let text = String::from_utf8_lossy(name).replace('\\', "\\\\");
    let href =
        if std::str::from_utf8(name).is_err() { format!("\",\"href\":\"{}", spelled(name)) } else { String::new() };
    match size {
        Some(size) => format!("{{\"name\":\"{text}{href}\",\"kind\":\"file\",\"size\":{size}"),
        None => format!("{{\"name\":\"{text}{href}\",\"kind\":\"folder\",\"size\":null"),
    }
}
