//! Files change in every way, as fast as possible, while clients request them plainly, by tag, by date and by range: no
//! stale byte, no stale 304, no mixed content, no incomplete sidecar. With and without inotify, uncompressed and
//! compressed. `listings` does the same for the pages of folders.
//!
//! It runs for a few seconds; `MODEST_CHURN_SECONDS=600 cargo test --release --test files churn` sets another time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime};

use super::Folder;
use super::system::exchange;

mod listings;

/// How a file is changed to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    InPlace,
    Rewritten,
    Appended,
    Renamed,
    /// In place, with an unchanged date.
    DatedBack,
    /// A file with an older date replaces it.
    OlderRenamed,
    /// In place, through another name of the file in another folder.
    HardLink,
    /// A link to another file replaces the link.
    LinkSwapped,
    /// Its folder and another folder exchange names.
    FolderSwapped,
    /// With a sidecar that is written in two halves.
    Sidecar,
}

const WAYS: [Way; 10] = [
    Way::InPlace,
    Way::Rewritten,
    Way::Appended,
    Way::Renamed,
    Way::DatedBack,
    Way::OlderRenamed,
    Way::HardLink,
    Way::LinkSwapped,
    Way::FolderSwapped,
    Way::Sidecar,
];
/// Held in memory; kept open; opened for each request.
const SIZES: [usize; 3] = [2_000, 100_000, 1_500_000];
const OLD: Duration = Duration::from_secs(1_000_000_000);

impl Way {
    /// Whether a request during the change could see neither the old nor the new version. Then no request is made
    /// during the change.
    fn is_torn(self) -> bool {
        matches!(self, Way::InPlace | Way::Rewritten | Way::Appended | Way::DatedBack | Way::HardLink | Way::Sidecar)
    }

    /// Whether dates distinguish versions.
    fn is_dated(self) -> bool {
        // Replacing a link or a folder does not change the date of the file, which may be of the same second.
        !matches!(self, Way::DatedBack | Way::OlderRenamed | Way::LinkSwapped | Way::FolderSwapped)
    }
}

struct Churned {
    way: Way,
    size: usize,
    target: String,
    /// Each response to a request that is sent from now on must have this version or a later one.
    version: AtomicU64,
    changing: RwLock<()>,
    /// The versions of the validators that clients have received.
    told: Mutex<HashMap<String, u64>>,
    /// The compressed bytes, by their tags.
    coded: Mutex<HashMap<String, Vec<u8>>>,
}

/// Pseudorandom numbers, equal for equal seeds (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(0x9e37_79b9_7f4a_7c15 ^ (seed + 1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn content(target: &str, version: u64, size: usize) -> Vec<u8> {
    let line = format!("{target} {version:08}\n");
    let mut bytes = line.repeat(size / line.len() + 1).into_bytes();
    bytes.truncate(size);
    bytes
}

impl Churned {
    fn new(number: usize, way: Way, size: usize) -> Churned {
        let target = format!("/d{number}/x{size}");
        let (version, changing, told) = (AtomicU64::new(0), RwLock::default(), Mutex::default());
        Churned { way, size, target, version, changing, told, coded: Mutex::default() }
    }

    fn content(&self, version: u64) -> Vec<u8> {
        // An appended file grows with each version.
        match self.way {
            Way::Appended => {
                let mut bytes = content(&self.target, 0, self.size);
                bytes.extend((1..=version).flat_map(|version| format!("{version:09}\n").into_bytes()));
                bytes
            }
            _ => content(&self.target, version, self.size),
        }
    }

    /// The version of a whole body.
    fn version_of(&self, body: &[u8]) -> u64 {
        let version = match self.way {
            Way::Appended => (body.len().saturating_sub(self.size) / 10) as u64,
            _ => {
                let digits = body.get(self.target.len() + 1..).and_then(|rest| rest.get(..8)).unwrap_or_default();
                String::from_utf8_lossy(digits).parse().unwrap_or(u64::MAX)
            }
        };
        let whole = version != u64::MAX && self.content(version) == body;
        assert!(whole, "{}, {:?}: a torn body of {} bytes", self.target, self.way, body.len());
        version
    }

    /// Writes the next version.
    fn change(&self, folder: &Folder, elsewhere: &Folder) {
        let _alone = self.way.is_torn().then(|| self.changing.write().unwrap());
        let version = self.version.load(SeqCst) + 1;
        let bytes = self.content(version);
        let path = folder.path(&self.target[1..]);
        let beside = |name: &str| path.with_file_name(format!("{name}{}-{}", version % 2, self.size));
        let in_place = |path: &PathBuf| {
            let mut file = File::options().write(true).open(path).unwrap();
            file.write_all(&bytes).unwrap();
            file
        };
        // A new file, because a response may still be sending the content of two versions ago.
        let renewed = |path: &Path| {
            let _ = fs::remove_file(path);
            fs::write(path, &bytes).unwrap();
        };
        let aside = |dated: Option<SystemTime>| {
            let new = beside("new");
            renewed(&new);
            dated
                .into_iter()
                .for_each(|date| File::options().write(true).open(&new).unwrap().set_modified(date).unwrap());
            new
        };
        match self.way {
            Way::InPlace => drop(in_place(&path)),
            Way::Rewritten => fs::write(&path, &bytes).unwrap(),
            Way::Appended => {
                let mut file = File::options().append(true).open(&path).unwrap();
                file.write_all(&bytes[bytes.len() - 10..]).unwrap();
            }
            Way::Renamed => fs::rename(aside(None), &path).unwrap(),
            Way::DatedBack => in_place(&path).set_modified(SystemTime::UNIX_EPOCH + OLD).unwrap(),
            Way::OlderRenamed => fs::rename(aside(Some(SystemTime::UNIX_EPOCH + OLD)), &path).unwrap(),
            Way::HardLink => drop(in_place(&elsewhere.path(&self.target[1..]))),
            Way::LinkSwapped => {
                let (file, link) = (aside(None), beside("link"));
                symlink(file.file_name().unwrap(), &link).unwrap();
                fs::rename(link, &path).unwrap();
            }
            Way::FolderSwapped => {
                let served = path.parent().unwrap();
                let other = served.with_extension("other");
                renewed(&other.join(path.file_name().unwrap()));
                exchange(served, &other);
            }
            Way::Sidecar => fs::write(&path, &bytes).unwrap(),
        }
        self.version.store(version, SeqCst);
    }

    /// Creates a sidecar whose second half follows after a pause.
    fn write_sidecar(&self, folder: &Folder, pause: Duration) {
        let path = folder.path(&format!("{}.gz", &self.target[1..]));
        let _ = fs::remove_file(&path);
        let mut file = File::create(path).unwrap();
        let bytes = self.sidecar(self.version.load(SeqCst));
        let (one, other) = bytes.split_at(bytes.len() / 2);
        file.write_all(one).unwrap();
        std::thread::sleep(pause); // tests that the incomplete sidecar is not served
        file.write_all(other).unwrap();
    }

    fn sidecar(&self, version: u64) -> Vec<u8> {
        let text = content(&format!("{} coded", self.target), version, self.size / 2);
        [&[0x1f, 0x8b], &text[..], &(self.size as u32).to_le_bytes()].concat()
    }

    fn create(&self, folder: &Folder, elsewhere: &Folder) {
        let (name, bytes) = (&self.target[1..], self.content(0));
        match self.way {
            Way::HardLink => {
                elsewhere.write(name, &bytes);
                fs::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
                fs::hard_link(elsewhere.path(name), folder.path(name)).unwrap();
            }
            _ => folder.write(name, &bytes),
        }
        if self.way == Way::FolderSwapped {
            fs::create_dir_all(folder.path(name).parent().unwrap().with_extension("other")).unwrap();
        }
    }

    /// Makes one request, of a kind that clients use. If the server compresses, every other one accepts gzip.
    fn ask(&self, client: &mut Client, draw: u64, compressed: bool, now: impl Fn() -> String) {
        let _still: Option<RwLockReadGuard<'_, ()>> = self.way.is_torn().then(|| self.changing.read().unwrap());
        let least = self.version.load(SeqCst);
        let known: Vec<(String, u64)> = {
            let told = self.told.lock().unwrap();
            let mut known: Vec<_> = told.iter().map(|(name, version)| (name.clone(), *version)).collect();
            known.sort_by_key(|(_, version)| std::cmp::Reverse(*version));
            known
        };
        // Usually a recent one, because a recent one could be mistaken for the current one.
        let validator = known.get((draw / 8) as usize % known.len().clamp(1, 3));
        let is_tag = |validator: &str| validator.starts_with('"');
        let (fields, named) = match (draw % 4, validator) {
            (1, Some((tag, version))) if is_tag(tag) => (format!("If-None-Match: {tag}\r\n"), Some(*version)),
            (1, Some((date, version))) => (format!("If-Modified-Since: {date}\r\n"), Some(*version)),
            (2, Some((validator, version))) => {
                (format!("If-Range: {validator}\r\nRange: bytes=10-39\r\n"), Some(*version))
            }
            (3, _) if self.way == Way::Sidecar => ("Accept-Encoding: gzip\r\n".to_owned(), None),
            _ => (String::new(), None),
        };
        let fields = match compressed && draw & 0x100 != 0 {
            true => fields + "Accept-Encoding: gzip\r\n",
            false => fields,
        };
        let spelled = if draw.is_multiple_of(5) { self.target.replacen('x', "%78", 1) } else { self.target.clone() };
        let got = client.get(&spelled, &fields);
        let said = || format!("{}: GET {spelled} {fields:?}, {:?}, since version {least}: {got:?}", now(), self.way);
        let version = match got.status {
            200 if got.is_compressed() => {
                let tag = got.field("etag").expect("a tag of its own").to_owned();
                let known = self.coded.lock().unwrap().entry(tag).or_insert_with(|| got.body.clone()).clone();
                assert!(known == got.body, "one tag for two rows of bytes: {}", said());
                self.version_of(&gunzip(&got.body))
            }
            200 if got.field("content-encoding") == Some("gzip") => {
                let versions = [least, least + 1];
                let whole = versions.into_iter().find(|version| self.sidecar(*version) == got.body);
                whole.unwrap_or_else(|| panic!("a torn or an old sidecar of {} bytes: {}", got.body.len(), said()));
                return;
            }
            200 => self.version_of(&got.body),
            304 => named.unwrap_or_else(|| panic!("{}", said())),
            206 => {
                let version = named.unwrap_or_else(|| panic!("{}", said()));
                let coded = got.field("etag").and_then(|tag| self.coded.lock().unwrap().get(tag).cloned());
                let whole = coded.unwrap_or_else(|| self.content(version));
                assert_eq!(got.body, whole[10..40], "a splice: {}", said());
                version
            }
            _ => panic!("{}", said()),
        };
        assert!(version >= least, "version {version} is stale: {}", said());
        let dates = self.way.is_dated().then(|| got.field("last-modified")).flatten();
        for validator in got.field("etag").into_iter().chain(dates).filter(|_| got.status == 200) {
            let known = *self.told.lock().unwrap().entry(validator.to_owned()).or_insert(version);
            assert_eq!(known, version, "{validator} names two versions: {}", said());
        }
    }
}

/// A client that keeps its connection.
pub(super) struct Client(BufReader<TcpStream>);

pub(super) struct Answer {
    pub(super) status: u16,
    fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(BufReader::new(stream))
    }

    pub(super) fn get(&mut self, target: &str, fields: &str) -> Answer {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "no answer to {request}");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let fields: Vec<(String, String)> = lines[1..]
            .iter()
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, fields, body: Vec::new() };
        let length = answer.field("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = vec![0; if status == 304 { 0 } else { length }];
        self.0.read_exact(&mut answer.body).unwrap();
        answer
    }
}

pub(super) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

impl Answer {
    /// Whether the server has compressed it: only the beginning and the end of sidecars of these tests are gzip.
    fn is_compressed(&self) -> bool {
        self.field("content-encoding") == Some("gzip") && self.body.starts_with(&[0x1f, 0x8b, 8])
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}, {} bytes", self.status, self.fields, self.body.len())
    }
}

pub(super) fn seconds() -> u64 {
    std::env::var("MODEST_CHURN_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn churn(inotify: bool, compressed: bool) {
    let seconds = seconds();
    let (folder, elsewhere) = (Folder::new(&[]), Folder::new(&[]));
    let mut files = Vec::new();
    for (number, way) in WAYS.into_iter().enumerate() {
        // A replaced folder has only one file: the versions are those of the folder.
        let sizes = if way == Way::FolderSwapped { &SIZES[..1] } else { &SIZES[..] };
        files.extend(sizes.iter().map(|size| Churned::new(number, way, *size)));
    }
    files.iter().for_each(|file| file.create(&folder, &elsewhere));
    let server = modest::testing::serve(folder.handler().inotify(inotify).compress(compressed));
    let started = Instant::now();
    let over = AtomicBool::new(false);
    let asked = AtomicU64::new(0);
    let enough = if compressed { 300 } else { 1000 };
    let sum = |of: fn(&Churned) -> usize| files.iter().map(of).sum::<usize>();
    let counts = || {
        let versions = sum(|file| file.version.load(SeqCst) as usize);
        let told = sum(|file| file.told.lock().unwrap().len());
        (asked.load(SeqCst), versions, told, sum(|file| file.coded.lock().unwrap().len()))
    };
    let has_enough = || {
        let (asked, versions, told, coded) = counts();
        asked > enough && versions > 100 && told > 100 && (coded > 50 || !compressed)
    };
    let is_over = || over.load(SeqCst) || is_late(started, seconds, has_enough);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = Ends(&over);
            for round in 0_u64.. {
                if is_over() {
                    break;
                }
                for file in &files {
                    // Bursts alternate with rest, so that changes hit both cached files and files that have just
                    // changed.
                    if (round + file.size as u64 + file.target.len() as u64) % 7 < 3 && file.way != Way::Sidecar {
                        file.change(&folder, &elsewhere);
                    }
                }
                fs::write(folder.path(&format!("d0/noise{}", round % 3)), "").unwrap();
                std::thread::sleep(Duration::from_millis([0, 1, 5, 30, 70, 200][round as usize % 6]));
            }
        });
        scope.spawn(|| {
            let _ends = Ends(&over);
            let sided: Vec<_> = files.iter().filter(|file| file.way == Way::Sidecar).collect();
            while !is_over() {
                for file in &sided {
                    file.change(&folder, &elsewhere);
                    file.write_sidecar(&folder, Duration::from_millis(300));
                }
                std::thread::sleep(Duration::from_millis(2200)); // long enough for sidecars to be accepted
            }
        });
        for seed in 0..3_u64 {
            let (files, asked, over, is_over) = (&files, &asked, &over, &is_over);
            let address = server.address();
            scope.spawn(move || {
                let _ends = Ends(over);
                let mut client = Client::new(address);
                let mut random = Random::new(seed);
                while !is_over() {
                    let state = random.next();
                    let file = &files[(state >> 32) as usize % files.len()];
                    let now = || format!("{:?}, inotify {inotify}, compressed {compressed}", started.elapsed());
                    file.ask(&mut client, state & 0xffff, compressed, now);
                    asked.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let (asked, versions, told, coded) = counts();
    eprintln!("inotify {inotify}, {coded} compressed: {asked} requests, {versions} versions, {told} validators");
    assert!(has_enough(), "{coded} compressed: {asked} requests, {versions} versions, {told} validators");
}

/// Whether the time has passed and there were enough requests. A slow machine has a minute more for them.
pub(super) fn is_late(started: Instant, seconds: u64, has_enough: impl Fn() -> bool) -> bool {
    let elapsed = started.elapsed();
    elapsed > Duration::from_secs(seconds) && (has_enough() || elapsed > Duration::from_secs(seconds + 60))
}

/// When one thread ends, all end, so that the test does not wait after a failed check.
pub(super) struct Ends<'a>(pub(super) &'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn churn_with_inotify() {
    churn(true, false);
}

#[test]
fn churn_without_inotify() {
    churn(false, false);
}

#[test]
fn churn_with_inotify_and_compression() {
    churn(true, true);
}

#[test]
fn churn_without_inotify_with_compression() {
    churn(false, true);
}
