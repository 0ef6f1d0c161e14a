//! A tree that changes, with requests in between, checked against a slow model that looks at the disk each time: caches
//! and notifications never change a response.
#![no_main]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use modest::{Request, RequestHandler, Response, StaticFileHandler, Symlinks};

const NAMES: [&str; 8] = ["a", "b", "index.html", "index.htm", ".hidden", "in", "d", "\u{e9}"];
const SPELLED: [&str; 16] = [
    "a",
    "b",
    "index.html",
    "index.htm",
    ".hidden",
    "in",
    "d",
    "%C3%A9",
    "%61",
    "%2e",
    "..",
    ".",
    "",
    "%2F",
    "a%2Fb",
    "%20",
];

fuzz_target!(|steps: Vec<[u8; 4]>| {
    let top = tempfile::tempdir_in("/dev/shm").unwrap();
    let root = top.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(top.path().join("outside"), "a secret").unwrap();
    // The number of steps selects the settings.
    let told = steps.len() % 2 == 0;
    let symlinks = [Symlinks::WithinRoot, Symlinks::Follow, Symlinks::Deny][steps.len() / 2 % 3];
    let served = Served { root: root.clone(), symlinks, hidden: steps.len() / 6 % 2 == 1 };
    let handler = StaticFileHandler::new(&root).unwrap().inotify(told).index(["index.html", "index.htm"]).unwrap();
    let handler = handler.symlinks(symlinks).hidden(served.hidden);
    for (number, [what, one, other, more]) in steps.iter().take(64).enumerate() {
        let name = |byte: u8| Path::new(NAMES[usize::from(byte) % 8]).to_owned();
        let path = |byte: u8| match byte & 8 {
            0 => root.join(name(byte)),
            _ => root.join(name(byte / 16)).join(name(byte)),
        };
        // Errors are ignored: the model looks at the disk.
        let _ = match what % 16 {
            0 => fs::write(path(*one), format!("{number}")),
            1 => fs::create_dir(path(*one)),
            2 => fs::rename(path(*one), path(*other)),
            3 => fs::remove_file(path(*one)).or_else(|_| fs::remove_dir_all(path(*one))),
            4 => symlink(["a", "d", "../a", "../outside", "nowhere", "in"][usize::from(*other) % 6], path(*one)),
            5 => symlink(path(*other), path(*one)),
            6 => fs::hard_link(path(*one), path(*other)),
            7 => {
                let aside = top.path().join("aside");
                let _ = fs::remove_dir_all(&aside);
                fs::rename(&root, &aside).and_then(|()| fs::create_dir(&root))
            }
            // Several requests, so that the file is cached, and then the folders.
            _ => {
                let segments = [*one, *other, *more].map(|byte| SPELLED[usize::from(byte) % 16]);
                let depth = usize::from(*what / 16) % 3 + 1;
                let target = format!("/{}", segments[..depth].join("/"));
                for _ in 0..=more % 8 {
                    let expected = served.response(&target);
                    let context =
                        format!("{target}, step {number}, notified: {told}, {symlinks:?}, hidden: {}", served.hidden);
                    assert_eq!(asked(&handler, &target), expected, "{context}");
                }
                Ok(())
            }
        };
    }
});

fn asked(handler: &StaticFileHandler, target: &str) -> (u16, Option<String>) {
    let response = handler.do_get(&Request::get(target)).unwrap_or_else(|error| Response::from(&error));
    let status = response.status().as_u16();
    let location = response.header("location").map(|value| value.to_owned());
    let body = String::from_utf8(response.into_bytes().unwrap()).unwrap();
    match status {
        200 if body.contains("<title>") => (200, Some("listing".to_owned())),
        200 => (200, Some(body)),
        301 => (301, location),
        status => (status, None),
    }
}

/// The folder, and which of its files are served.
struct Served {
    root: PathBuf,
    symlinks: Symlinks,
    hidden: bool,
}

impl Served {
    /// The response to a path, found by looking at each part of it in turn.
    fn response(&self, target: &str) -> (u16, Option<String>) {
        let (mut names, mut other_spelling): (Vec<Vec<u8>>, bool) = (Vec::new(), false);
        let segments: Vec<&str> = target[1..].split('/').collect();
        for (place, segment) in segments.iter().enumerate() {
            let Some(name) = decoded(segment) else { return (400, None) };
            match &name[..] {
                b"" if place + 1 == segments.len() => {}
                b"" | b"." => other_spelling = true,
                b".." if names.pop().is_none() => return (400, None),
                b".." => other_spelling = true,
                _ => names.push(name),
            }
        }
        let last = decoded(segments[segments.len() - 1]).unwrap();
        let slash = matches!(&last[..], b"" | b"." | b"..");
        if names.iter().any(|name| name.contains(&b'/')) {
            return (404, None);
        }
        let location = |slash: bool| {
            let names: Vec<String> = names.iter().map(|name| spelled(name)).collect();
            if names.is_empty() {
                "/".to_owned()
            } else {
                format!("/{}{}", names.join("/"), if slash { "/" } else { "" })
            }
        };
        if other_spelling {
            return (301, Some(location(slash)));
        }
        if !self.hidden && names.iter().any(|name| name.starts_with(b".")) {
            return (404, None);
        }
        let path = names.iter().fold(self.root.clone(), |path, name| path.join(OsStr::from_bytes(name)));
        match self.target_of(&path) {
            None => (404, None),
            Some(found) if found.is_dir() && !slash => (301, Some(location(true))),
            Some(found) if found.is_dir() => {
                let index = |name: &str| self.target_of(&path.join(name)).filter(|path| path.is_file());
                match index("index.html").or_else(|| index("index.htm")) {
                    Some(index) => (200, Some(fs::read_to_string(index).unwrap())),
                    None => (200, Some("listing".to_owned())),
                }
            }
            Some(_) if slash => (404, None),
            Some(found) => (200, Some(fs::read_to_string(found).unwrap())),
        }
    }

    /// The target of a path, if it is served.
    fn target_of(&self, path: &Path) -> Option<PathBuf> {
        let (found, root) = (fs::canonicalize(path).ok()?, fs::canonicalize(&self.root).ok()?);
        let is_served = match self.symlinks {
            Symlinks::Follow => true,
            Symlinks::Deny => found == root.join(path.strip_prefix(&self.root).expect("a path in the folder")),
            _ => found.starts_with(root),
        };
        is_served.then_some(found)
    }
}

fn decoded(segment: &str) -> Option<Vec<u8>> {
    let mut rest = segment.as_bytes();
    let mut name = Vec::new();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            name.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            name.push(*byte);
        }
    }
    Some(name)
}

fn spelled(name: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.iter().map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
