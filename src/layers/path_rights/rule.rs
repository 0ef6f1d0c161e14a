//! A rule in its text form: `PATH=WHO:RIGHTS`.

use std::fmt;
use std::str::FromStr;

use super::super::credentials::is_user_name;
use super::names::Names;
use crate::{Access, UrlPath};

const MALFORMED: &str =
    "expected a path without //, /./ and /../, and with two hexadecimal digits after each % (a % itself is %25)";

/// The rights of users at a path and everything below it: `PATH=WHO:RIGHTS`.
///
/// | part | |
/// | --- | --- |
/// | `PATH` | the path of a URL, as in an address bar: `/my%20photos` and `/my photos` are the same; a `%` in a name is written `%25`; a trailing slash has no meaning |
/// | `WHO` | names separated by commas: a user, `@group`, `@users` for all authenticated users, `*` for everyone |
/// | `RIGHTS` | `read`, `list`, `write` separated by commas, or `all`, or `none` |
///
/// ```
/// use modest::layers::PathRule;
///
/// assert!("/inbox=ada,@staff:read,write".parse::<PathRule>().is_ok());
/// assert!("/inbox".parse::<PathRule>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    pub(super) path: Names,
    who: Vec<Who>,
    pub(super) rights: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Everybody,
    Known,
    Group(String),
    User(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    pub const NONE: Rights = Rights(0);
    const ALL: Rights = Rights(7);

    fn of(access: Access) -> Rights {
        Rights(1 << access as u8)
    }

    pub fn has(self, access: Access) -> bool {
        self.and(Rights::of(access)) != Rights::NONE
    }

    pub fn or(self, other: Rights) -> Rights {
        Rights(self.0 | other.0)
    }

    pub fn and(self, other: Rights) -> Rights {
        Rights(self.0 & other.0)
    }

    pub fn without(self, access: Access) -> Rights {
        Rights(self.0 & !Rights::of(access).0)
    }
}

impl PathRule {
    /// Moves the rule below this path, for content that is served at a prefix. An empty prefix changes nothing.
    ///
    /// # Panics
    /// If the prefix is not a path: it begins with a slash, and has no empty, `.` or `..` segments.
    #[track_caller]
    pub fn beneath(mut self, prefix: &str) -> PathRule {
        if !prefix.is_empty() {
            self.path = self.path.beneath(Names::of(&UrlPath::configured(prefix)));
        }
        self
    }

    /// Returns how many segments of this path the rule names, if it applies to the path.
    pub fn depth_for(&self, path: &str) -> Option<usize> {
        let names = Names::of(&UrlPath::from_decoded(path.as_bytes())?);
        names.begin_with(&self.path).then(|| self.path.len())
    }

    /// Replaces the path, for a page that is served there only.
    ///
    /// # Panics
    /// The panics of [`beneath`](Self::beneath).
    #[track_caller]
    pub fn at(mut self, path: &str) -> PathRule {
        self.path = Names::of(&UrlPath::configured(path));
        self
    }

    /// Returns its path, percent-encoded and without a slash at the end: `/a%20b`; empty for `/`.
    pub fn path(&self) -> String {
        self.path.encoded()
    }

    /// Returns whether rules can contain this name of a user: it has no spaces, no control characters and none of `,`,
    /// `:`, `=` and `*`, and does not begin with `#` or `@`.
    pub fn is_user_name(name: &str) -> bool {
        is_user_name(name)
    }

    /// Returns the users that it names.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.who.iter().filter_map(|who| if let Who::User(name) = who { Some(name.as_str()) } else { None })
    }

    /// Returns whether the rule applies to authenticated users.
    pub fn has_users(&self) -> bool {
        self.who.iter().any(|who| *who != Who::Everybody)
    }

    /// Returns the groups that it names, without `@`.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.who.iter().filter_map(|who| if let Who::Group(name) = who { Some(name.as_str()) } else { None })
    }

    /// Returns whether it gives this right to the users that it names.
    pub fn grants(&self, access: Access) -> bool {
        self.rights.has(access)
    }

    pub(super) fn is_about(&self, user: Option<&str>, is_member: impl Fn(&str) -> bool) -> bool {
        self.who.iter().any(|who| match who {
            Who::Everybody => true,
            Who::Known => user.is_some(),
            Who::Group(group) => is_member(group),
            Who::User(name) => user == Some(name),
        })
    }
}

impl FromStr for PathRule {
    type Err = InvalidPathRule;

    fn from_str(text: &str) -> Result<PathRule, InvalidPathRule> {
        let wrong = InvalidPathRule;
        let (path, rest) = text.rsplit_once('=').ok_or(wrong("expected PATH=USERS:RIGHTS"))?;
        let (who, rights) = rest.rsplit_once(':').ok_or(wrong("expected USERS:RIGHTS after the path"))?;
        let names = match UrlPath::parse(path) {
            Ok(path) => Names::of(&path),
            Err(_) if !path.starts_with('/') => return Err(wrong("the path must start with a slash")),
            Err(_) => return Err(wrong(MALFORMED)),
        };
        let who = who.split(',').map(|name| match name.strip_prefix('@') {
            _ if name == "*" => Ok(Who::Everybody),
            Some("users") => Ok(Who::Known),
            Some("") => Err(wrong("expected the name of a group after @")),
            Some(group) => Ok(Who::Group(group.to_owned())),
            None if is_user_name(name) => Ok(Who::User(name.to_owned())),
            None => Err(wrong("expected users, @group, @users or *, separated by commas")),
        });
        if rights != "none" && rights.split(',').any(|right| right == "none") {
            return Err(wrong("expected none without other rights"));
        }
        let rights = rights.split(',').try_fold(Rights::NONE, |rights, right| match right {
            "read" => Ok(rights.or(Rights::of(Access::Read))),
            "list" => Ok(rights.or(Rights::of(Access::List))),
            "write" => Ok(rights.or(Rights::of(Access::Write))),
            "all" => Ok(Rights::ALL),
            "none" => Ok(rights),
            _ => Err(wrong("expected rights: read, list, write, all or none, separated by commas")),
        });
        Ok(PathRule { path: names, who: who.collect::<Result<_, _>>()?, rights: rights? })
    }
}

/// The error for a text that is not a [`PathRule`]. Its message says what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPathRule(&'static str);

impl fmt::Display for InvalidPathRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, as in /inbox=ada,@staff:read,write", self.0)
    }
}

impl std::error::Error for InvalidPathRule {}
