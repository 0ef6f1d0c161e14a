//! Routes as a handler. Requests without a route are rejected before the body is read, or passed to another handler.

use std::fmt;
use std::sync::Arc;

use http::{Method, StatusCode, header};

use super::super::chain::{Depth, enter, enter_first, whole_handler_methods};
use super::super::{Layer, LogRecord, RequestHandler};
use super::layers::Layers;
use super::table::Table;
use super::{Resource, Route, Serves};
use crate::http::error::Error;
use crate::http::request::route_match::RouteTable;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use crate::tcp::Client;

/// Routes and their state: a handler, made by [`Routes::with_state`](super::Routes::with_state).
#[must_use = "serves no client until it is passed to `TcpServer::bind`"]
pub struct Router<S> {
    state: Arc<S>,
    /// Maps paths to indices into `resources`. Requests keep a reference together with their match.
    table: Arc<dyn RouteTable>,
    resources: Vec<Resource<S>>,
    fallback: Option<Box<dyn RequestHandler>>,
}

enum Target<'a, S> {
    Route(&'a Route<S>),
    /// A separate handler, and the number of path segments that are removed for it.
    Handler(&'a dyn RequestHandler, Option<&'a Layers>, u32),
    /// OPTIONS of a path with these methods.
    Options(&'a [Route<S>], &'a Layers),
    MethodMissing(&'a [Route<S>], &'a Layers),
    PathMissing,
}

impl<'a, S> Target<'a, S> {
    /// Returns the layers that the routes put around this target.
    fn layers(&self) -> &'a Layers {
        const NONE: &Layers = &Layers::NONE;
        match self {
            Target::Route(route) => &route.layers,
            Target::Options(_, shared) | Target::MethodMissing(_, shared) => shared,
            Target::Handler(_, layers, _) => layers.unwrap_or(NONE),
            Target::PathMissing => NONE,
        }
    }
}

impl<S> Router<S> {
    /// `table` maps paths to indices into `resources`.
    pub(super) fn new(
        state: Arc<S>,
        table: Table,
        resources: Vec<Resource<S>>,
        fallback: Option<Box<dyn RequestHandler>>,
    ) -> Router<S> {
        Router { state, table: Arc::new(table), resources, fallback }
    }

    fn target(&self, request: &Request, method: &Method) -> Target<'_, S> {
        let mounted = request.mounted();
        let found = &request.routes.of(&self.table, mounted, request.path()).found;
        let (routes, shared) = match (found.resource.map(|at| &self.resources[at].serves), &self.fallback) {
            (Some(Serves::Methods { routes, shared }), _) => (routes, shared),
            (Some(Serves::Handler { handler, layers }), _) => {
                return Target::Handler(&**handler, Some(layers), mounted + found.names);
            }
            (None, Some(handler)) => return Target::Handler(&**handler, None, mounted),
            (None, None) => return Target::PathMissing,
        };
        let route = |method: &Method| routes.iter().find(|route| route.method == *method);
        let get_for_head = || (*method == Method::HEAD).then(|| route(&Method::GET)).flatten();
        match route(method).or_else(get_for_head) {
            Some(route) => Target::Route(route),
            None if *method == Method::OPTIONS => Target::Options(routes, shared),
            None => Target::MethodMissing(routes, shared),
        }
    }

    fn check(&self, route: &Route<S>, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        route.checks.iter().try_for_each(|check| check(&self.state, request, plan))
    }

    fn respond(&self, target: &Target<'_, S>, request: &Request, depth: Depth<'_>) -> Result<Response> {
        match target {
            Target::Route(route) => {
                depth.inner()?.ask(request, |plan| self.check(route, request, plan))?;
                depth.begins(request, false)?;
                (route.function)(&self.state, request)
            }
            Target::Handler(handler, _, names) => request.within_mount(*names, || enter(*handler, request, depth)),
            Target::Options(routes, _) => Ok(Response::no_content().with_header(header::ALLOW, allowed(routes))),
            Target::MethodMissing(routes, _) => Err(method_missing(depth.method(request), routes)),
            Target::PathMissing => Err(Error::no_such_name()),
        }
    }

    /// Returns the handler to which the router passes the request, if it has been called with the head.
    fn inside<'a, 'd>(&self, request: &Request, target: &Target<'a, S>, depth: Depth<'d>) -> Option<Inside<'a, 'd>> {
        let Target::Handler(handler, _, names) = *target else { return None };
        let depth = depth.behind(target.layers().len()).ok()?;
        let (handler, depth) = depth.asked(request, || Some(handler))?;
        Some(Inside { handler, depth, names })
    }
}

struct Inside<'a, 'd> {
    handler: &'a dyn RequestHandler,
    depth: Depth<'d>,
    /// The number of path segments that are removed for this handler.
    names: u32,
}

fn method_missing<S>(method: &Method, routes: &[Route<S>]) -> Error {
    let message = format!("This path does not support {method}.");
    Error::new(StatusCode::METHOD_NOT_ALLOWED, message).with_header(header::ALLOW, allowed(routes))
}

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

    fn chain_before_body(&self, request: &Request, plan: &mut BodyPlan, depth: Depth<'_>) -> Result<()> {
        depth.ask_first(request, plan, |_| Ok(()))?;
        let target = self.target(request, depth.method(request));
        let depth = target.layers().ask_first(request, plan, depth)?;
        match target {
            Target::Route(route) => depth.inner()?.ask_first(request, plan, |plan| self.check(route, request, plan)),
            Target::Handler(handler, _, names) => {
                request.within_mount(names, || enter_first(handler, request, plan, depth))
            }
            Target::Options(..) => Ok(()),
            Target::MethodMissing(routes, _) => plan.refuse(method_missing(request.method(), routes)),
            Target::PathMissing => plan.refuse(Error::no_such_name()),
        }
    }

    fn chain_handle(&self, request: &Request, depth: Depth<'_>) -> Result<Response> {
        depth.ask(request, |_| Ok(()))?;
        let target = self.target(request, depth.method(request));
        target.layers().handle(request, depth, |request, depth| self.respond(&target, request, depth))
    }

    fn chain_verify_client(&self, _: &Client, _: Depth<'_>) -> bool {
        true
    }

    fn chain_error_response(&self, request: Option<&Request>, error: &Error, depth: Depth<'_>) -> Option<Response> {
        let request = request.filter(|request| depth.has_reached(request))?;
        let target = self.target(request, depth.method(request));
        let inside = self.inside(request, &target, depth).and_then(|Inside { handler, depth, names }| {
            request.within_mount(names, || handler.chain_error_response(Some(request), error, depth))
        });
        let mut layers = target.layers().asked(request, depth);
        inside.or_else(|| layers.find_map(|layer| layer.error_response(Some(request), error)))
    }

    fn chain_finish_response(&self, request: &Request, response: Response, depth: Depth<'_>) -> Response {
        if !depth.has_reached(request) {
            return response;
        }
        let target = self.target(request, depth.method(request));
        let response = match self.inside(request, &target, depth) {
            Some(Inside { handler, depth, names }) => {
                request.within_mount(names, || handler.chain_finish_response(request, response, depth))
            }
            None => response,
        };
        target.layers().asked(request, depth).fold(response, |response, layer| layer.finish_response(request, response))
    }

    fn chain_log_request(&self, record: &LogRecord<'_>, depth: Depth<'_>) {
        let Some(request) = record.request().filter(|request| depth.has_reached(request)) else { return };
        let target = self.target(request, depth.method(request));
        if let Some(Inside { handler, depth, names }) = self.inside(request, &target, depth) {
            request.within_mount(names, || handler.chain_log_request(record, depth));
        }
        let log = |layer: &dyn Layer| record.contain("log_request", || layer.log_request(record));
        target.layers().asked(request, depth).for_each(log);
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.resources.iter().map(|resource| &resource.pattern)).finish()
    }
}
