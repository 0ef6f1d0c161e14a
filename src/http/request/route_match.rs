//! What routers made of a request's path, kept in the request: so it is matched once, however often a router is asked.

use std::sync::{Arc, OnceLock};

/// The matches of all routers that the request came to, outermost first. Most requests come to one at most: without any
/// it costs a word.
#[derive(Default)]
pub(crate) struct RouteMatches(OnceLock<Box<Link>>);

struct Link {
    found: RouteMatch,
    next: RouteMatches,
}

/// Which router it is, by the place of this byte: no other has the same while anybody holds one.
pub(crate) type RouterId = Arc<u8>;

/// What one router made of the path.
pub(crate) struct RouteMatch {
    pub(crate) router: RouterId,
    /// The resource that is meant, by the router's own count.
    pub(crate) resource: Option<usize>,
    /// The names in the pattern, and what stands in their places, decoded.
    pub(crate) params: Vec<(String, String)>,
}

impl RouteMatches {
    /// The match of this router, made if it has not been asked yet.
    pub(crate) fn of(&self, router: &RouterId, search: &dyn Fn() -> RouteMatch) -> &RouteMatch {
        let link = self.0.get_or_init(|| Box::new(Link { found: search(), next: RouteMatches::default() }));
        if Arc::ptr_eq(&link.found.router, router) { &link.found } else { link.next.of(router, search) }
    }

    /// The part of the path that has this name, of the innermost router that has one.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let link = self.0.get()?;
        let own = || link.found.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        link.next.param(name).or_else(own)
    }
}
