//! A folder in memory, for the target `changes`: what it contains, where its links lead, and what each user may do.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use modest::{Access, Symlinks};

pub type Name = Vec<u8>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    File(Vec<u8>),
    Folder(BTreeMap<Name, Node>),
    Link(Vec<u8>),
}

impl Node {
    pub fn empty() -> Node {
        Node::Folder(BTreeMap::new())
    }

    /// Reads a file, a folder or a link from the disk.
    pub fn read(path: &Path) -> Node {
        let kind = fs::symlink_metadata(path).unwrap().file_type();
        if kind.is_symlink() {
            return Node::Link(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec());
        }
        if kind.is_file() {
            return Node::File(fs::read(path).unwrap());
        }
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        Node::Folder(entries.map(|entry| (entry.file_name().as_bytes().to_vec(), Node::read(&entry.path()))).collect())
    }

    pub fn is_folder(&self) -> bool {
        matches!(self, Node::Folder(_))
    }

    pub fn is_file(&self) -> bool {
        matches!(self, Node::File(_))
    }

    pub fn is_link(&self) -> bool {
        matches!(self, Node::Link(_))
    }

    pub fn entries(&self) -> impl Iterator<Item = (&Name, &Node)> {
        let entries = if let Node::Folder(entries) = self { Some(entries) } else { None };
        entries.into_iter().flatten()
    }

    /// The links at and below this node, by their paths below it.
    pub fn links(&self) -> Vec<Vec<Name>> {
        match self {
            Node::File(_) => Vec::new(),
            Node::Link(_) => vec![Vec::new()],
            Node::Folder(entries) => entries
                .iter()
                .flat_map(|(name, node)| {
                    node.links().into_iter().map(|rest| [&[name.clone()][..], &rest[..]].concat()).collect::<Vec<_>>()
                })
                .collect(),
        }
    }
}

/// A folder `root`, which is served, beside a folder `outside`. All paths are those of names, from the folder of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub all: Node,
    /// The path of the folder of both.
    pub place: Vec<u8>,
}

impl World {
    pub fn at(&self, path: &[Name]) -> Option<&Node> {
        path.iter().try_fold(&self.all, |node, name| match node {
            Node::Folder(entries) => entries.get(name),
            _ => None,
        })
    }

    fn entries(&mut self, folder: &[Name]) -> &mut BTreeMap<Name, Node> {
        let mut node = &mut self.all;
        for name in folder {
            let Node::Folder(entries) = node else { panic!("no folder at {folder:?}") };
            node = entries.get_mut(name).expect("a folder");
        }
        match node {
            Node::Folder(entries) => entries,
            _ => panic!("no folder at {folder:?}"),
        }
    }

    pub fn put(&mut self, path: &[Name], node: Node) {
        let (name, folder) = path.split_last().expect("a name");
        self.entries(folder).insert(name.clone(), node);
    }

    pub fn take(&mut self, path: &[Name]) -> Node {
        let (name, folder) = path.split_last().expect("a name");
        self.entries(folder).remove(name).expect("an entry")
    }

    /// Where a path of a request leads, if it exists and its links are followed: the path without links.
    pub fn find(&self, path: &[Name], symlinks: Symlinks) -> Option<Vec<Name>> {
        let mut ahead: Vec<Name> = path.iter().rev().cloned().collect();
        let (mut at, mut links) = (vec![b"root".to_vec()], 0);
        while let Some(name) = ahead.pop() {
            if !self.at(&at)?.is_folder() {
                return None;
            }
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    at.pop()?;
                    continue;
                }
                _ => at.push(name),
            }
            if let Node::Link(target) = self.at(&at)? {
                links += 1;
                if symlinks == Symlinks::Deny || links > 40 {
                    return None;
                }
                at.pop();
                let mut rest = &target[..];
                if target.starts_with(b"/") {
                    rest = target.strip_prefix(&self.place[..])?;
                    at.clear();
                }
                ahead.extend(rest.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
            }
        }
        self.at(&at)?;
        (symlinks == Symlinks::Follow || at.first().is_some_and(|top| top == b"root")).then_some(at)
    }

    /// Returns the node to which a path of a request leads.
    pub fn found(&self, path: &[Name], symlinks: Symlinks) -> Option<&Node> {
        self.at(&self.find(path, symlinks)?)
    }

    /// The name that a request changes, in a folder that is never outside the root.
    pub fn to_change(&self, path: &[Name], symlinks: Symlinks) -> Option<Vec<Name>> {
        let (name, folder) = path.split_last()?;
        let symlinks = if symlinks == Symlinks::Follow { Symlinks::WithinRoot } else { symlinks };
        let mut found = self.find(folder, symlinks)?;
        if !self.at(&found)?.is_folder() {
            return None;
        }
        found.push(name.clone());
        Some(found)
    }
}

/// The rights of users, by their number: the first may do everything. Each rule applies to a path and everything below it
/// that has no other rule.
#[derive(Clone, Copy, Debug)]
pub struct Rules(pub u16);

const RULES: [&[&[u8]]; 4] = [&[], &[b"d"], &[b"d", b"in"], &[b"b"]];

impl Rules {
    fn allows(self, user: u8, access: Access, rule: usize) -> bool {
        let bit = match access {
            Access::Read => 0,
            Access::List => 1,
            _ => 2,
        };
        user == 0 || self.0.rotate_left(u32::from(user) * 5) >> (3 * rule + bit) & 1 == 1
    }

    pub fn allow(self, user: u8, access: Access, path: &[Name]) -> bool {
        let applies = |rule: &usize| starts_with(path, RULES[*rule]);
        let rule = (0..RULES.len()).filter(applies).max_by_key(|rule| RULES[*rule].len());
        self.allows(user, access, rule.expect("a rule for all paths"))
    }

    /// Whether the path and everything below it is allowed.
    pub fn allow_all(self, user: u8, access: Access, path: &[Name]) -> bool {
        let is_below =
            |rule: &usize| RULES[*rule].len() >= path.len() && path.iter().zip(RULES[*rule]).all(|(a, b)| a == b);
        self.allow(user, access, path) && (0..RULES.len()).filter(is_below).all(|rule| self.allows(user, access, rule))
    }
}

fn starts_with(path: &[Name], start: &[&[u8]]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(a, b)| a == b)
}

pub fn names(path: &[u8]) -> Vec<Name> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

/// `/a/b`
pub fn on_disk(place: &Path, path: &[Name]) -> std::path::PathBuf {
    path.iter().fold(place.to_owned(), |place, name| place.join(OsStr::from_bytes(name)))
}
