//! The matches of a request's path, stored in the request. So the path is matched once per router, even if the router
//! is called several times, and other paths can be compared with it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::http::url_path::{UrlPath, end_of_names};

/// The routes of a router: maps a path to a resource.
pub(crate) trait RouteTable: Send + Sync {
    fn find(&self, path: &str) -> Found;

    fn pattern(&self, resource: usize) -> Option<&str>;

    /// Returns whether there is a route or a mount below this path.
    fn has_beneath(&self, path: &str) -> bool;

    /// Returns whether its resources have patterns. Otherwise the handler inside is found by the patterns around it.
    fn has_patterns(&self) -> bool {
        true
    }
}

/// The resource of a path.
#[derive(Default)]
pub(crate) struct Found {
    /// The index of the resource in its router. `None`: the path has no route.
    pub(crate) resource: Option<usize>,
    /// How many segments of the path the resource takes if it is a mount.
    pub(crate) names: u32,
    /// The names in the pattern, with their values.
    pub(crate) params: Vec<(String, String)>,
}

/// The matches of all routers that the request reached, outermost first. A request without a match uses one word; most
/// have at most one.
#[derive(Default)]
pub(crate) struct RouteMatches(OnceLock<Box<Link>>);

struct Link {
    found: RouteMatch,
    next: RouteMatches,
}

pub(crate) struct RouteMatch {
    table: Arc<dyn RouteTable>,
    /// How many segments of the path the mounts around the router have removed.
    pub(crate) mounted: u32,
    pub(crate) found: Found,
}

/// The set of paths that reach the handler of a request.
#[derive(Clone)]
pub(crate) struct Reach {
    /// The path of the mount around the handler.
    mount: Vec<u8>,
    forks: Vec<Fork>,
}

/// A router around a handler, and the resource that it chose.
#[derive(Clone)]
struct Fork {
    table: Arc<dyn RouteTable>,
    mounted: u32,
    resource: Option<usize>,
}

impl Reach {
    pub(super) fn new(matches: &RouteMatches, mount: &[u8]) -> Reach {
        let mut forks = Vec::new();
        let mut next = matches;
        while let Some(Link { found: RouteMatch { table, mounted, found }, next: inner }) =
            next.0.get().map(|link| &**link)
        {
            forks.push(Fork { table: Arc::clone(table), mounted: *mounted, resource: found.resource });
            next = inner;
        }
        Reach { mount: mount.to_vec(), forks }
    }

    /// Returns whether a request for this path reaches the handler. The path is decoded, from the root of the server.
    pub(crate) fn contains(&self, path: &UrlPath<'_>) -> bool {
        let text = String::from_utf8_lossy(path.as_bytes());
        path.beneath(&self.mount).is_some()
            && self.forks.iter().all(|fork| fork.table.find(fork.within(&text)).resource == fork.resource)
    }

    /// Returns whether requests for this path and for every path below it reach the handler.
    pub(crate) fn contains_all(&self, path: &UrlPath<'_>) -> bool {
        let text = String::from_utf8_lossy(path.as_bytes());
        self.contains(path) && self.forks.iter().all(|fork| !fork.table.has_beneath(fork.within(&text)))
    }

    /// Returns a key that is equal for handlers that the same paths reach.
    pub(crate) fn key(&self) -> String {
        self.forks.iter().map(|fork| format!("{:p} {:?} ", Arc::as_ptr(&fork.table), fork.resource)).collect()
    }
}

impl Fork {
    /// Returns the part of a path that the router sees.
    fn within<'p>(&self, path: &'p str) -> &'p str {
        without_names(path, self.mounted, end_of_names)
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reach").field(&self.key()).finish()
    }
}

impl RouteMatches {
    /// Returns the match of this router at this position. Computes it if the router has not been called yet.
    pub(crate) fn of(&self, table: &Arc<dyn RouteTable>, mounted: u32, path: &str) -> &RouteMatch {
        let link = self.0.get_or_init(|| {
            let found = RouteMatch { table: Arc::clone(table), mounted, found: table.find(path) };
            Box::new(Link { found, next: RouteMatches::default() })
        });
        let is_known = Arc::ptr_eq(&link.found.table, table) && link.found.mounted == mounted;
        if is_known { &link.found } else { link.next.of(table, mounted, path) }
    }

    fn has_patterns(&self) -> bool {
        let Some(link) = self.0.get() else { return false };
        link.found.table.has_patterns() || link.next.has_patterns()
    }

    /// Joins the patterns of the matches, from the outermost router inwards. `None` if the innermost router found no
    /// resource.
    pub(crate) fn pattern(&self) -> Option<String> {
        let mut whole = String::new();
        let mut next = self;
        while let Some(link) = next.0.get() {
            next = &link.next;
            if !link.found.table.has_patterns() {
                continue;
            }
            match link.found.found.resource.and_then(|resource| link.found.table.pattern(resource)) {
                Some(pattern) => whole.push_str(if whole.is_empty() || pattern != "/" { pattern } else { "" }),
                None if next.has_patterns() => {} // a fallback, which has routes of its own
                None => return None,
            }
        }
        Some(whole).filter(|whole| !whole.is_empty())
    }

    /// Returns the named parts of the path. If two have the same name, the innermost router's is returned.
    #[cfg(feature = "json")]
    pub(crate) fn params(&self) -> std::collections::BTreeMap<&str, &str> {
        let Some(link) = self.0.get() else { return Default::default() };
        let own = link.found.found.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(link.next.params()).collect()
    }

    /// Returns the part of the path that has this name, of the innermost router that has one.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let link = self.0.get()?;
        let params = &link.found.found.params;
        let own = || params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        link.next.param(name).or_else(own)
    }
}

/// Returns the part of a path that the handler of a mount sees.
pub(super) fn without_names(path: &str, count: u32, end_of_names: impl Fn(&[u8], u32) -> usize) -> &str {
    match count {
        0 => path,
        count => Some(&path[end_of_names(path.as_bytes(), count)..]).filter(|rest| !rest.is_empty()).unwrap_or("/"),
    }
}
