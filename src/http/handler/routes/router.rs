//! Routes as a handler. What they do not serve themselves they refuse from the head, or leave to another handler, whole.

use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode, header};

use super::super::chain::{Depth, enter, whole_handler_methods};
use super::super::{LogRecord, RequestHandler};
use super::layers::Layers;
use super::{Resource, Route, Serves, path};
use crate::http::error::Error;
use crate::http::request::route_match::{RouteMatch, RouterId};
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

/// Routes and their state: a handler, made by [`Routes::serve`](super::Routes::serve).
#[must_use = "serves nobody until it is given to `TcpServer::bind`"]
pub struct Router<S> {
    state: S,
    matcher: matchit::Router<usize>,
    /// The handlers for all below a path, longest first.
    mounts: Vec<(String, usize)>,
    resources: Vec<Resource<S>>,
    fallback: Option<Box<dyn RequestHandler>>,
    /// Which router it is, for the matches kept in requests.
    id: RouterId,
}

/// What a request comes to.
enum Target<'a, S> {
    Route(&'a Route<S>),
    Handler(&'a dyn RequestHandler),
    /// OPTIONS of a path with these methods.
    Options(&'a [Route<S>], &'a Layers),
    MethodMissing(&'a [Route<S>], &'a Layers),
    PathMissing,
}

impl<'a, S> Target<'a, S> {
    /// The layers that the routes say stand around it.
    fn layers(&self) -> Option<&'a Layers> {
        match self {
            Target::Route(route) => Some(&route.layers),
            Target::Options(_, shared) | Target::MethodMissing(_, shared) => Some(shared),
            Target::Handler(_) | Target::PathMissing => None,
        }
    }
}

impl<S> Router<S> {
    /// `matcher` and `mounts` lead to places in `resources`; of the mounts the longest comes first.
    pub(super) fn new(
        state: S,
        matcher: matchit::Router<usize>,
        mounts: Vec<(String, usize)>,
        resources: Vec<Resource<S>>,
        fallback: Option<Box<dyn RequestHandler>>,
    ) -> Router<S> {
        Router { state, matcher, mounts, resources, fallback, id: RouterId::default() }
    }

    fn target(&self, request: &Request) -> Target<'_, S> {
        let found = request.routes().of(&self.id, &|| self.search(request.raw_path()));
        let (routes, shared) = match (found.resource.map(|at| &self.resources[at].serves), &self.fallback) {
            (Some(Serves::Methods { routes, shared }), _) => (routes, shared),
            (Some(Serves::Handler(handler)), _) | (None, Some(handler)) => return Target::Handler(&**handler),
            (None, None) => return Target::PathMissing,
        };
        let route = |method: &Method| routes.iter().find(|route| route.method == *method);
        let get_for_head = || (*request.method() == Method::HEAD).then(|| route(&Method::GET)).flatten();
        match route(request.method()).or_else(get_for_head) {
            Some(route) => Target::Route(route),
            None if *request.method() == Method::OPTIONS => Target::Options(routes, shared),
            None => Target::MethodMissing(routes, shared),
        }
    }

    fn search(&self, raw_path: &str) -> RouteMatch {
        let (path, router) = (path::decoded(raw_path), Arc::clone(&self.id));
        if let Ok(found) = self.matcher.at(&path) {
            let params = found.params.iter().map(|(name, value)| (name.to_owned(), path::param(value))).collect();
            return RouteMatch { router, resource: Some(*found.value), params };
        }
        let is_below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mount = self.mounts.iter().find(|(prefix, _)| is_below(prefix));
        RouteMatch { router, resource: mount.map(|(_, at)| *at), params: Vec::new() }
    }

    fn handler(&self, request: &Request) -> Option<&dyn RequestHandler> {
        match self.target(request) {
            Target::Handler(handler) => Some(handler),
            _ => None,
        }
    }
}

fn method_missing<S>(request: &Request, routes: &[Route<S>]) -> Error {
    let message = format!("There is no {} here.", request.method());
    Error::new(StatusCode::METHOD_NOT_ALLOWED, message).with_header(header::ALLOW, allowed(routes))
}

fn path_missing() -> Error {
    Error::new(StatusCode::NOT_FOUND, "There is nothing here by that name.")
}

/// The value of `Allow`.
fn allowed<S>(routes: &[Route<S>]) -> String {
    let mut methods: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    if !methods.contains(&"OPTIONS") {
        methods.push("OPTIONS");
    }
    methods.join(", ")
}

impl<S: Send + Sync + 'static> RequestHandler for Router<S> {
    whole_handler_methods!();

    fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, depth: Depth) -> Result<()> {
        depth.reach(request)?;
        let target = self.target(request);
        if let Some(layers) = target.layers() {
            layers.before_body(request, plan, depth)?;
        }
        match target {
            Target::Route(route) => route.checks.iter().try_for_each(|check| check(&self.state, request, plan)),
            Target::Handler(handler) => enter(handler, request, plan, depth),
            Target::Options(..) => Ok(()),
            Target::MethodMissing(routes, _) => plan.refuse(method_missing(request, routes)),
            Target::PathMissing => plan.refuse(path_missing()),
        }
    }

    fn chain_handle(&self, request: &Request, depth: Depth) -> Result<Response> {
        match self.target(request) {
            Target::Route(route) => route.layers.handle(request, |request| (route.function)(&self.state, request)),
            Target::Handler(handler) => handler.chain_handle(request, depth.inner()?),
            Target::Options(routes, shared) => {
                shared.handle(request, |_| Ok(Response::no_content().with_header(header::ALLOW, allowed(routes))))
            }
            Target::MethodMissing(routes, shared) => {
                shared.handle(request, |request| Err(method_missing(request, routes)))
            }
            Target::PathMissing => Err(path_missing()),
        }
    }

    fn chain_verify_client(&self, _: &Client, _: Depth) -> bool {
        true
    }

    fn chain_error_response(&self, request: Option<&Request>, error: &Error, depth: Depth) -> Option<Response> {
        let request = request?;
        if let Some(layers) = self.target(request).layers() {
            return layers.asked(request, depth).find_map(|layer| layer.error_response(Some(request), error));
        }
        let (inner, depth) = depth.asked(request, self.handler(request))?;
        inner.chain_error_response(Some(request), error, depth)
    }

    fn chain_finish_response(&self, request: &Request, response: Response, depth: Depth) -> Response {
        if let Some(layers) = self.target(request).layers() {
            let layers = layers.asked(request, depth);
            return layers.fold(response, |response, layer| layer.finish_response(request, response));
        }
        match depth.asked(request, self.handler(request)) {
            Some((inner, depth)) => inner.chain_finish_response(request, response, depth),
            None => response,
        }
    }

    fn chain_log_request(&self, record: &LogRecord<'_>, depth: Depth) {
        let Some(request) = record.request() else { return };
        if let Some(layers) = self.target(request).layers() {
            return layers.asked(request, depth).for_each(|layer| layer.log_request(record));
        }
        if let Some((inner, depth)) = depth.asked(request, self.handler(request)) {
            inner.chain_log_request(record, depth);
        }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.resources.iter().map(|resource| &resource.pattern)).finish()
    }
}
