//! Maps a path to its resource, a route or a mount. In the first segment in which two of them differ, the more specific
//! one has precedence: fixed text, a name with text around it, a name, `{*rest}`. Otherwise a route has precedence over
//! a mount, and a longer mount over a shorter one. Built by `routes`. Used by `router`, and by requests that compare
//! another path with their own.

use matchit::InsertError;

use super::path::{self, Prefix};
use crate::http::request::route_match::{Found, RouteTable};

/// How many names a pattern can have: the matcher identifies each name but the last by a letter.
const MOST_NAMES: usize = 25;

/// The patterns of a router, each with the number of its resource.
#[derive(Debug, Default)]
pub(super) struct Table {
    matcher: matchit::Router<usize>,
    /// Mounts, in the order of their precedence.
    mounts: Vec<(Prefix, usize)>,
    /// The pattern of each resource, as written.
    patterns: Vec<String>,
}

impl Table {
    /// # Panics
    /// If the pattern is invalid.
    pub(super) fn add_mount(&mut self, pattern: &str, resource: usize) {
        let prefix = Prefix::parse(pattern);
        let prefix = prefix
            .unwrap_or_else(|| panic!("{pattern:?} is not a valid pattern of a mount, such as \"/users/{{id}}\""));
        check_names(pattern);
        self.patterns.push(pattern.to_owned());
        self.mounts.push((prefix, resource));
        self.mounts.sort_by_key(|(prefix, _)| prefix.rank());
    }

    /// # Panics
    /// If the pattern is invalid.
    pub(super) fn add_route(&mut self, pattern: &str, resource: usize) {
        let count = path::names(pattern).len();
        assert!(count <= MOST_NAMES, "{pattern:?} is not a valid pattern: it has more than {MOST_NAMES} names");
        if let Err(error) = self.matcher.insert(pattern, resource) {
            panic!("{}", explained(pattern, &error));
        }
        check_names(pattern);
        self.patterns.push(pattern.to_owned());
    }
}

fn check_names(pattern: &str) {
    let mut names = path::names(pattern);
    let odd = names.iter().find(|name| !path::is_name(name));
    assert!(odd.is_none(), "{pattern:?} is not a valid pattern: {:?} is not a valid name", odd.unwrap_or(&""));
    names.sort_unstable();
    let is_one_twice = names.windows(2).any(|two| two[0] == two[1]);
    assert!(!is_one_twice, "the pattern {pattern:?} uses a name twice");
}

fn explained(pattern: &str, error: &InsertError) -> String {
    match error {
        InsertError::Conflict { with } => format!("the pattern {pattern:?} can't be distinguished from {with:?}"),
        error => format!("{pattern:?} is not a valid pattern: {error}"),
    }
}

impl RouteTable for Table {
    fn find(&self, path: &str) -> Found {
        let route = self.matcher.at(path).ok();
        let pattern = route.as_ref().and_then(|found| self.pattern(*found.value));
        let mount = self.mounts.iter().filter(|(prefix, _)| pattern.is_none_or(|pattern| prefix.precedes(pattern)));
        let mut mount = mount.filter_map(|(prefix, at)| {
            Some(Found { resource: Some(*at), names: prefix.len() as u32, params: prefix.matches(path)? })
        });
        let found = mount.next().or_else(|| {
            let found = route?;
            let params = found.params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            Some(Found { resource: Some(*found.value), names: 0, params })
        });
        found.unwrap_or_default()
    }

    fn pattern(&self, resource: usize) -> Option<&str> {
        self.patterns.get(resource).map(String::as_str)
    }

    fn has_beneath(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
        self.patterns.iter().any(|pattern| {
            let mut names = pattern.split('/').skip(1);
            // A name in braces matches any segment. `{*rest}` matches several.
            let begins_so = path.iter().all(|name| names.next().is_none_or(|own| own.contains('{') || own == *name));
            begins_so && (names.next().is_some_and(|name| !name.is_empty()) || pattern.contains("{*"))
        })
    }
}
