//! The matches of a request's path, stored in the request: so it is matched once, however often a router is called, and
//! other paths can be compared with it.

use std::sync::{Arc, OnceLock};

/// The routes of a router: maps a path to a resource.
pub(crate) trait RouteTable: Send + Sync {
    fn find(&self, path: &str) -> Found;

    /// Whether a route or a mount has a path below this one.
    fn has_beneath(&self, path: &str) -> bool;
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

/// The matches of all routers that the request reached, outermost first. Most requests reach at most one. Without any
/// it costs one word.
#[derive(Default)]
pub(crate) struct RouteMatches(OnceLock<Box<Link>>);

struct Link {
    found: RouteMatch,
    next: RouteMatches,
}

/// The match of one router.
pub(crate) struct RouteMatch {
    table: Arc<dyn RouteTable>,
    /// How many segments of the path the mounts around the router have taken.
    pub(crate) mounted: u32,
    pub(crate) found: Found,
}

impl RouteMatch {
    /// Whether this path, within the mounts around the router, leads to the same resource.
    pub(crate) fn leads_here(&self, path: &str) -> bool {
        self.table.find(path).resource == self.found.resource
    }

    /// Whether a path below this one may lead elsewhere.
    pub(crate) fn is_divided(&self, path: &str) -> bool {
        self.table.has_beneath(path)
    }
}

impl RouteMatches {
    /// The match of this router at this place, made if it has not been asked yet.
    pub(crate) fn of(&self, table: &Arc<dyn RouteTable>, mounted: u32, path: &str) -> &RouteMatch {
        let link = self.0.get_or_init(|| {
            let found = RouteMatch { table: Arc::clone(table), mounted, found: table.find(path) };
            Box::new(Link { found, next: RouteMatches::default() })
        });
        let is_known = Arc::ptr_eq(&link.found.table, table) && link.found.mounted == mounted;
        if is_known { &link.found } else { link.next.of(table, mounted, path) }
    }

    /// Whether all matches are as is asked.
    pub(crate) fn all(&self, is_so: impl Fn(&RouteMatch) -> bool) -> bool {
        let mut matches = self;
        while let Some(link) = matches.0.get() {
            if !is_so(&link.found) {
                return false;
            }
            matches = &link.next;
        }
        true
    }

    /// The parts of the path that have names; of two with one name, that of the innermost router.
    #[cfg(feature = "json")]
    pub(crate) fn params(&self) -> std::collections::BTreeMap<&str, &str> {
        let Some(link) = self.0.get() else { return Default::default() };
        let own = link.found.found.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        own.chain(link.next.params()).collect()
    }

    /// The part of the path that has this name, of the innermost router that has one.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let link = self.0.get()?;
        let params = &link.found.found.params;
        let own = || params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        link.next.param(name).or_else(own)
    }
}
