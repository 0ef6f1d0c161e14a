//! Folders change in every way while they are listed plainly, in another order, as JSON, by tag and in gzip.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime};

use super::super::system::exchange;
use super::{Client, Ends, Folder, Random, gunzip, is_late, seconds};

/// How the entry `x` of a folder is changed to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Appended,
    Cut,
    Replaced,
    Dated,
    /// Through another name of the file, elsewhere.
    HardLink,
    /// Through another name that was just created and is then removed.
    NewLink,
    /// `x` is a link, and its target is written.
    Target,
    /// `x` is a folder that gets an entry and a date.
    Subfolder,
    /// The folder and another one exchange names.
    Swapped,
    /// `x` is renamed.
    Named,
}

const WAYS: [Way; 10] = [
    Way::Appended,
    Way::Cut,
    Way::Replaced,
    Way::Dated,
    Way::HardLink,
    Way::NewLink,
    Way::Target,
    Way::Subfolder,
    Way::Swapped,
    Way::Named,
];
/// 2000-01-01. Version N is dated N minutes later, and its file has N bytes more than `SIZE`.
const START: u64 = 946_684_800;
const SIZE: u64 = 1000;
const MOST: u64 = 500;

struct Listed {
    way: Way,
    folder: PathBuf,
    elsewhere: PathBuf,
    target: String,
    /// Each response to a request that is sent from now on must have this version or a later one.
    version: AtomicU64,
    /// A reader of the folder during a rename can see both names or none.
    changing: RwLock<()>,
    /// The bodies and their versions, by tag.
    told: Mutex<HashMap<String, (Vec<u8>, u64)>>,
}

impl Listed {
    fn new(number: usize, way: Way, folder: &Folder, elsewhere: &Folder) -> Listed {
        let target = format!("/l{number}/");
        let (folder, elsewhere) = (folder.path(&target[1..]), elsewhere.path(&target[1..]));
        for folder in [&folder, &elsewhere] {
            fs::create_dir_all(folder).unwrap();
        }
        let sized = |path: PathBuf| {
            fs::write(&path, vec![b'x'; SIZE as usize]).unwrap();
            path
        };
        let x = folder.join("x");
        match way {
            Way::HardLink => fs::hard_link(sized(elsewhere.join("x")), &x).unwrap(),
            Way::Target => {
                // A link to outside the root is not listed.
                let target = sized(folder.with_extension("target"));
                symlink(format!("../{}", target.file_name().unwrap().to_str().unwrap()), &x).unwrap();
            }
            Way::Subfolder => fs::create_dir(&x).unwrap(),
            Way::Swapped => {
                fs::create_dir(folder.with_extension("other")).unwrap();
                sized(x.clone());
            }
            Way::Named => drop(sized(folder.join("x-0000"))),
            _ => drop(sized(x.clone())),
        }
        if matches!(way, Way::Dated | Way::Subfolder) {
            File::open(&x).unwrap().set_modified(at(0)).unwrap();
        }
        fs::write(folder.join("beside"), "").unwrap();
        let (version, changing, told) = (AtomicU64::new(0), RwLock::default(), Mutex::default());
        Listed { way, folder, elsewhere, target, version, changing, told }
    }

    /// Whether the change takes several steps. Then no request is made during the change.
    fn is_torn(&self) -> bool {
        matches!(self.way, Way::Named | Way::Subfolder)
    }

    fn change(&self) {
        let _alone = self.is_torn().then(|| self.changing.write().unwrap());
        let version = self.version.load(SeqCst) + 1;
        if version > MOST {
            return;
        }
        let (x, other) = (self.folder.join("x"), self.elsewhere.join("x"));
        let append = |path: &PathBuf| File::options().append(true).open(path).unwrap().write_all(b"x").unwrap();
        let new = vec![b'x'; (SIZE + version) as usize];
        match self.way {
            Way::Appended | Way::Target => append(&x),
            Way::Cut => File::options().write(true).open(&x).unwrap().set_len(SIZE + version).unwrap(),
            Way::Replaced => {
                fs::write(&other, new).unwrap();
                fs::rename(other, x).unwrap();
            }
            Way::Dated => File::open(x).unwrap().set_modified(at(version)).unwrap(),
            Way::HardLink => append(&other),
            Way::NewLink => {
                fs::hard_link(&x, &other).unwrap();
                append(&other);
                fs::remove_file(other).unwrap();
            }
            Way::Subfolder => {
                fs::write(x.join(version.to_string()), "").unwrap();
                File::open(x).unwrap().set_modified(at(version)).unwrap();
            }
            Way::Swapped => {
                let other = self.folder.with_extension("other");
                fs::write(other.join("x"), new).unwrap();
                exchange(&self.folder, &other);
            }
            Way::Named => {
                let name = |version| self.folder.join(format!("x-{version:04}"));
                fs::rename(name(version - 1), name(version)).unwrap();
            }
        }
        self.version.store(version, SeqCst);
    }

    /// The version in a page.
    fn version_of(&self, page: &str, is_json: bool) -> Option<u64> {
        let row = page.lines().find(|line| {
            line.contains("\"name\":\"x")
                || line.contains("<a href=\"x\"")
                || line.contains("<a href=\"x/")
                || line.contains("<a href=\"x-")
        })?;
        let after = |text: &str| row.split_once(text).map(|(_, rest)| rest);
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().ok();
        match self.way {
            Way::Named => digits(after(if is_json { "\"x-" } else { "href=\"x-" })?),
            Way::Dated | Way::Subfolder => {
                let date = after(if is_json { "\"modified\":\"2000-01-" } else { "datetime=2000-01-" })?;
                let (day, hour, minute) = (digits(date)?, digits(&date[3..])?, digits(&date[6..])?);
                Some((day - 1) * 1440 + hour * 60 + minute)
            }
            _ => digits(after(if is_json { "\"size\":" } else { "title=" })?)?.checked_sub(SIZE),
        }
    }

    fn ask(&self, client: &mut Client, draw: u64, now: impl Fn() -> String) {
        let _still = self.is_torn().then(|| self.changing.read().unwrap());
        let least = self.version.load(SeqCst);
        let query = ["", "?sort=-size", "?sort=time", "?format=json", "?format=json&sort=-time"][(draw % 5) as usize];
        let is_json = query.contains("json");
        let target = format!("{}{query}", self.target);
        let mut fields = if draw & 0x100 != 0 { "Accept-Encoding: gzip\r\n".to_owned() } else { String::new() };
        let known = |tag: &str| self.told.lock().unwrap().get(&format!("{query} {tag}")).map(|(_, version)| *version);
        if draw & 0x200 != 0 {
            let told = self.told.lock().unwrap();
            let late = told
                .iter()
                .filter(|(key, _)| key.starts_with(&format!("{query} ")))
                .max_by_key(|(_, (_, version))| *version);
            if let Some((key, _)) = late {
                fields += &format!("If-None-Match: {}\r\n", &key[query.len() + 1..]);
            }
        }
        let got = client.get(&target, &fields);
        let said = || format!("{}: GET {target} {fields:?}, {:?}, since version {least}: {got:?}", now(), self.way);
        let tag = got.field("etag").unwrap_or_else(|| panic!("no tag: {}", said())).trim_start_matches("W/").to_owned();
        let version = match got.status {
            304 => known(&tag).unwrap_or_else(|| panic!("{}", said())),
            200 => {
                let body = match got.field("content-encoding") {
                    Some("gzip") => gunzip(&got.body),
                    _ => got.body.clone(),
                };
                let page = String::from_utf8(body.clone()).unwrap();
                let version = self.version_of(&page, is_json).unwrap_or_else(|| panic!("{}: {page}", said()));
                let mut told = self.told.lock().unwrap();
                let known = told.entry(format!("{query} {tag}")).or_insert_with(|| (body.clone(), version)).clone();
                assert!(known.0 == body, "one tag for two pages: {}", said());
                version
            }
            _ => panic!("{}", said()),
        };
        assert!(version >= least, "version {version} is stale: {}", said());
    }
}

fn at(version: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START + 60 * version)
}

fn churn(inotify: bool) {
    let (folder, elsewhere) = (Folder::new(&[]), Folder::new(&[]));
    let all: Vec<Listed> =
        WAYS.into_iter().enumerate().map(|(number, way)| Listed::new(number, way, &folder, &elsewhere)).collect();
    let server = modest::testing::serve(folder.handler().inotify(inotify).compress_listings(true));
    let (started, over, asked) = (Instant::now(), AtomicBool::new(false), AtomicU64::new(0));
    let counts = || {
        let versions: u64 = all.iter().map(|listed| listed.version.load(SeqCst)).sum();
        let told: usize = all.iter().map(|listed| listed.told.lock().unwrap().len()).sum();
        (asked.load(SeqCst), versions, told)
    };
    let has_enough = || {
        let (asked, versions, told) = counts();
        asked > 1000 && versions > 50 && told > 50
    };
    let is_over = || over.load(SeqCst) || is_late(started, seconds(), has_enough);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ends = Ends(&over);
            for round in 0_usize.. {
                if is_over() {
                    break;
                }
                // A listing is cached a second after the last change, so each folder rests while others change.
                let changed = all.iter().enumerate().filter(|(number, _)| (round + number) % 3 == 0);
                changed.for_each(|(_, listed)| listed.change());
                std::thread::sleep(Duration::from_millis([0, 20, 450, 5, 450, 450][round % 6]));
            }
        });
        for seed in 0..3_u64 {
            let (all, asked, over, is_over) = (&all, &asked, &over, &is_over);
            let address = server.address();
            scope.spawn(move || {
                let _ends = Ends(over);
                let mut client = Client::new(address);
                let mut random = Random::new(seed);
                while !is_over() {
                    let state = random.next();
                    let listed = &all[(state >> 32) as usize % all.len()];
                    listed.ask(&mut client, state & 0xffff, || format!("{:?}, inotify {inotify}", started.elapsed()));
                    asked.fetch_add(1, SeqCst);
                }
            });
        }
    });
    let (asked, versions, told) = counts();
    eprintln!("inotify {inotify}: {asked} listings, {versions} versions, {told} tags");
    assert!(has_enough(), "{asked} listings, {versions} versions, {told} tags");
}

#[test]
fn listing_churn_with_inotify() {
    churn(true);
}

#[test]
fn listing_churn_without_inotify() {
    churn(false);
}
