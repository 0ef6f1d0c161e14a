//! Routes as a handler. What they do not serve themselves they refuse from the head, or leave to another handler, whole.

use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode, header};
use percent_encoding::percent_decode_str;

use super::super::chain::{Depth, enter, whole_handler_methods};
use super::super::layer::{Layer, Next};
use super::super::{LogRecord, RequestHandler};
use super::path::decoded_but_slashes;
use super::{Resource, Route, Serves};
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
    Options(&'a [Route<S>]),
    MethodMissing(&'a [Route<S>]),
    PathMissing,
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
        let routes = match (found.resource.map(|at| &self.resources[at].serves), &self.fallback) {
            (Some(Serves::Methods(routes)), _) => routes,
            (Some(Serves::Handler(handler)), _) | (None, Some(handler)) => return Target::Handler(&**handler),
            (None, None) => return Target::PathMissing,
        };
        let route = |method: &Method| routes.iter().find(|route| route.method == *method);
        let get_for_head = || (*request.method() == Method::HEAD).then(|| route(&Method::GET)).flatten();
        match route(request.method()).or_else(get_for_head) {
            Some(route) => Target::Route(route),
            None if *request.method() == Method::OPTIONS => Target::Options(routes),
            None => Target::MethodMissing(routes),
        }
    }

    fn search(&self, raw_path: &str) -> RouteMatch {
        let (path, router) = (decoded_but_slashes(raw_path), Arc::clone(&self.id));
        if let Ok(found) = self.matcher.at(&path) {
            let whole = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
            let params = found.params.iter().map(|(name, value)| (name.to_owned(), whole(value))).collect();
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
        match self.target(request) {
            Target::Route(route) => route.before_body(&self.state, request, plan, depth),
            Target::Handler(handler) => enter(handler, request, plan, depth),
            Target::Options(_) => Ok(()),
            Target::MethodMissing(routes) => plan.refuse(method_missing(request, routes)),
            Target::PathMissing => plan.refuse(path_missing()),
        }
    }

    fn chain_handle(&self, request: &Request, depth: Depth) -> Result<Response> {
        match self.target(request) {
            Target::Route(route) => route.handle(&self.state, request),
            Target::Handler(handler) => handler.chain_handle(request, depth.inner()?),
            Target::Options(routes) => Ok(Response::no_content().with_header(header::ALLOW, allowed(routes))),
            Target::MethodMissing(routes) => Err(method_missing(request, routes)),
            Target::PathMissing => Err(path_missing()),
        }
    }

    fn chain_verify_client(&self, _: &Client, _: Depth) -> bool {
        true
    }

    fn chain_error_response(&self, request: Option<&Request>, error: &Error, depth: Depth) -> Option<Response> {
        let request = request?;
        if let Target::Route(route) = self.target(request) {
            let layers = route.asked_layers(request, depth);
            return layers.rev().find_map(|layer| layer.error_response(Some(request), error));
        }
        let (inner, depth) = depth.asked(request, self.handler(request))?;
        inner.chain_error_response(Some(request), error, depth)
    }

    fn chain_finish_response(&self, request: &Request, response: Response, depth: Depth) -> Response {
        if let Target::Route(route) = self.target(request) {
            let layers = route.asked_layers(request, depth);
            return layers.rev().fold(response, |response, layer| layer.finish_response(request, response));
        }
        match depth.asked(request, self.handler(request)) {
            Some((inner, depth)) => inner.chain_finish_response(request, response, depth),
            None => response,
        }
    }

    fn chain_log_request(&self, record: &LogRecord<'_>, depth: Depth) {
        let Some(request) = record.request() else { return };
        if let Target::Route(route) = self.target(request) {
            return route.asked_layers(request, depth).rev().for_each(|layer| layer.log_request(record));
        }
        if let Some((inner, depth)) = depth.asked(request, self.handler(request)) {
            inner.chain_log_request(record, depth);
        }
    }
}

impl<S> Route<S> {
    fn before_body(&self, state: &S, request: &Request, plan: &mut BodyPlan, depth: Depth) -> Result<()> {
        let mut depth = depth;
        for layer in &self.layers {
            depth = depth.inner()?;
            if !layer.verify_client(request.client()) {
                return Err(Error::new(StatusCode::FORBIDDEN, ""));
            }
            depth.reach(request)?;
            layer.before_body(request, plan)?;
        }
        self.checks.iter().try_for_each(|check| check(state, request, plan))
    }

    fn handle(&self, state: &S, request: &Request) -> Result<Response> {
        Next::function(&self.layers, &|request| (self.function)(state, request)).run(request)
    }

    /// The layers that were asked to accept this request, outermost first.
    fn asked_layers(&self, request: &Request, depth: Depth) -> impl DoubleEndedIterator<Item = &dyn Layer> {
        let asked = depth.asked_inside(request, self.layers.len());
        self.layers[..asked].iter().map(|layer| &**layer)
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.resources.iter().map(|resource| &resource.pattern)).finish()
    }
}
