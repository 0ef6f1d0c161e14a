//! Routes: which function answers which path and method. Built here; a `Router`, which serves them, is a handler like any
//! other.

mod router; // routes as a handler

mod layers; // the layers around a route

mod table; // which resource a path leads to

mod path; // patterns

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::RequestHandler;
use super::layer::Layer;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use layers::Layers;
pub use router::Router;
use table::Table;

/// Which function answers which path and method, for handlers that share a state `S`. Given its state by
/// [`serve`](Routes::serve) it is a handler.
///
/// ```
/// use std::sync::{Mutex, MutexGuard, PoisonError};
/// use modest::{Http, OrStatus, Request, Response, Result, Routes};
///
/// #[derive(Default)]
/// struct Notes(Mutex<Vec<String>>);
///
/// impl Notes {
///     fn read(&self, request: &Request) -> Result<Response> {
///         let number: usize = request.path_param("number")?;
///         let note = self.notes().get(number).cloned();
///         Ok(Response::text(note.or_status(404)?))
///     }
///
///     fn add(&self, request: &Request) -> Result<Response> {
///         let note = request.text()?.into_owned();
///         self.notes().push(note);
///         Ok(Response::new(201))
///     }
///
///     /// A handler that panicked leaves whole notes behind: a lock that it held is as good as before.
///     fn notes(&self) -> MutexGuard<'_, Vec<String>> {
///         self.0.lock().unwrap_or_else(PoisonError::into_inner)
///     }
/// }
///
/// let app = Routes::new().get("/notes/{number}", Notes::read).post("/notes", Notes::add).serve(Notes::default());
/// let http = Http::new(app);
/// assert_eq!(http.respond(&Request::post("/notes", "milk")).status(), 201);
/// assert_eq!(http.respond(&Request::get("/notes/0")).text(), "milk");
/// assert_eq!(http.respond(&Request::get("/notes")).header("allow"), Some("POST, OPTIONS"));
/// ```
///
/// # Patterns
/// `/users/{id}` matches one segment, which is not empty; `/files/{*path}` all that follows, at least one byte. A fixed
/// segment goes before a name, wherever both match. A path with a slash at its end is another path. `{{` and `}}` are
/// braces. Patterns are matched with [`Request::path`], so they are written decoded, `/café`. A `{*path}` can't
/// be used beside longer patterns that begin like it; [`mount`](Routes::mount) can. A name may have fixed text around it,
/// `/img-{id}.png`, one in a segment. Names are of letters, digits, `_`
/// and `-`; there are 25 at most.
///
/// # What is answered without a function
/// HEAD, as GET. OPTIONS of a path, with `Allow`. A method that a path has not: 405, with `Allow`. No such path: 404,
/// unless there is a [`fallback`](Routes::fallback). All of them from the head, before a body is read.
///
/// # Panics
/// Its methods panic if a pattern does not begin with a slash, can't be told from another, or could match no path: with empty or
/// dot segments, percent-encodings, or names as other frameworks write them (`:id`, `<int:id>`, `*path`).
#[must_use = "serves nobody until it is given its state by `serve`"]
pub struct Routes<S = ()> {
    resources: Vec<Resource<S>>,
    /// The route added last, for `before_body`: its resource, its place there.
    last: Option<(usize, usize)>,
    fallback: Option<Box<dyn RequestHandler>>,
}

/// All that one pattern has.
struct Resource<S> {
    pattern: String,
    serves: Serves<S>,
}

enum Serves<S> {
    Methods {
        routes: Vec<Route<S>>,
        /// Those around each of the routes, and so around what is answered without one. Known once all routes are.
        shared: Layers,
    },
    /// A handler of its own, for all methods, and all paths that begin with the pattern.
    Handler { handler: Box<dyn RequestHandler>, layers: Layers },
}

struct Route<S> {
    method: Method,
    function: Function<S>,
    layers: Layers,
    /// All of them are asked, in this order.
    checks: Vec<BeforeBody<S>>,
}

type Function<S> = Box<dyn Fn(&S, &Request) -> Result<Response> + Send + Sync>;
type BeforeBody<S> = Box<dyn Fn(&S, &Request, &mut BodyPlan) -> Result<()> + Send + Sync>;

impl<S: Send + Sync + 'static> Routes<S> {
    /// No routes.
    pub fn new() -> Routes<S> {
        Routes { resources: Vec::new(), last: None, fallback: None }
    }

    /// GET, and HEAD unless that has a route of its own.
    pub fn get<F>(self, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        self.route(Method::GET, pattern, function)
    }

    /// POST.
    pub fn post<F>(self, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        self.route(Method::POST, pattern, function)
    }

    /// PUT.
    pub fn put<F>(self, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        self.route(Method::PUT, pattern, function)
    }

    /// DELETE.
    pub fn delete<F>(self, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        self.route(Method::DELETE, pattern, function)
    }

    /// PATCH.
    pub fn patch<F>(self, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        self.route(Method::PATCH, pattern, function)
    }

    /// Any method.
    pub fn route<F>(mut self, method: Method, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        check_pattern(pattern);
        let at = self.methods_of(pattern);
        self.add(at, Route { method, function: Box::new(function), layers: Layers::default(), checks: Vec::new() });
        self
    }

    /// The resource of this pattern.
    fn methods_of(&mut self, pattern: &str) -> usize {
        let has_methods =
            |known: &Resource<S>| matches!(known.serves, Serves::Methods { .. }) && known.pattern == pattern;
        self.resources.iter().position(has_methods).unwrap_or_else(|| {
            self.resources.push(Resource {
                pattern: pattern.to_owned(),
                serves: Serves::Methods { routes: Vec::new(), shared: Layers::default() },
            });
            self.resources.len() - 1
        })
    }

    fn add(&mut self, at: usize, route: Route<S>) {
        let Resource { pattern, serves } = &mut self.resources[at];
        let Serves::Methods { routes, .. } = serves else {
            panic!("the pattern {pattern:?} has a handler of its own already")
        };
        let is_new = routes.iter().all(|known| known.method != route.method);
        assert!(is_new, "the pattern {pattern:?} has two functions for {}", route.method);
        self.last = Some((at, routes.len()));
        routes.push(route);
    }

    /// From its head alone, accept or decline a request of the route added last, and say what is to become of its body:
    /// see [`RequestHandler::before_body`]. Several of them are asked in order.
    ///
    /// ```
    /// # use modest::{BodyPlan, Error, Request, Response, Result, Routes};
    /// # struct Inbox;
    /// # impl Inbox { fn upload(&self, _: &Request) -> Result<Response> { Ok(Response::no_content()) } }
    /// let routes = Routes::<Inbox>::new().post("/photos", Inbox::upload).before_body(|_, request, plan| {
    ///     plan.limit(500 << 20);
    ///     request.header("x-key").map(drop).ok_or(Error::new(403, "who are you?"))
    /// });
    /// ```
    ///
    /// # Panics
    /// If there is no route yet.
    pub fn before_body<F>(mut self, check: F) -> Routes<S>
    where
        F: Fn(&S, &Request, &mut BodyPlan) -> Result<()> + Send + Sync + 'static,
    {
        self.last_route("before_body").checks.push(Box::new(check));
        self
    }

    /// At most so many bytes are taken as a body by the route added last; beyond them 413. In the place of
    /// [`Http::body_limit`](crate::Http::body_limit).
    ///
    /// # Panics
    /// If there is no route yet.
    pub fn body_limit(self, bytes: u64) -> Routes<S> {
        self.before_body(move |_, _, plan| {
            plan.limit(bytes);
            Ok(())
        })
    }

    /// A layer around the route added last, and around no other. One that is added later is further out; what all
    /// of them are to have is given to [`layer`](Routes::layer).
    ///
    /// ```
    /// # use modest::{Response, Routes};
    /// use modest::layers::RateLimit;
    /// use std::time::Duration;
    ///
    /// let routes = Routes::new()
    ///     .get("/", |_: &(), _| Ok(Response::text("welcome\n")))
    ///     .post("/login", |_, _| Ok(Response::redirect("/")))
    ///     .layer_last(RateLimit::new(5, Duration::from_secs(60))); // of logins alone
    /// ```
    ///
    /// # Panics
    /// If there is no route yet.
    pub fn layer_last(mut self, layer: impl Layer) -> Routes<S> {
        self.last_route("layer_last").layers.add(Arc::new(layer));
        self
    }

    fn last_route(&mut self, method: &str) -> &mut Route<S> {
        let last = self.last.and_then(|(resource, route)| match &mut self.resources[resource].serves {
            Serves::Methods { routes, .. } => routes.get_mut(route),
            Serves::Handler { .. } => None,
        });
        last.unwrap_or_else(|| panic!("a route, for `{method}` is about the one added last"))
    }

    /// A layer around each route and each mounted handler that was added so far; the fallback is not among them. A layer
    /// that is added later is further out. What a path answers without a function, OPTIONS and 405, has the layers that all
    /// of its routes have. A path that has no route is none of these: for its 404, too, the layer goes around the handler,
    /// behind [`serve`](Routes::serve).
    ///
    /// ```
    /// use modest::{Error, Http, Request, Response, Routes, layer_fn};
    ///
    /// let members = layer_fn(|request, next| match request.cookie("member") {
    ///     Some(_) => next.run(request),
    ///     None => Err(Error::new(401, "who are you?")),
    /// });
    /// let admin = Routes::new().get("/users", |_: &(), _| Ok(Response::text("ada\n"))).layer(members);
    /// let app = Routes::new().get("/", |_, _| Ok(Response::text("welcome\n"))).nest("/admin", admin).serve(());
    ///
    /// let http = Http::new(app);
    /// assert_eq!(http.respond(&Request::get("/")).status(), 200);
    /// assert_eq!(http.respond(&Request::get("/admin/users")).status(), 401);
    /// ```
    pub fn layer(mut self, layer: impl Layer) -> Routes<S> {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        self.resources = self.resources.into_iter().map(|resource| resource.with_layer(&layer)).collect();
        self
    }

    /// All routes of others, below this path: `/` there is the path itself here.
    ///
    /// ```
    /// # use modest::{Response, Routes};
    /// let admin = Routes::new().get("/users", |_: &(), _| Ok(Response::text("ada\n")));
    /// let routes = Routes::new().nest("/admin", admin); // GET /admin/users
    /// ```
    ///
    /// # Panics
    /// Also if they have a fallback, which here would be one among others.
    pub fn nest(mut self, prefix: &str, routes: Routes<S>) -> Routes<S> {
        check_prefix(prefix);
        assert!(routes.fallback.is_none(), "the routes below {prefix:?} have a fallback");
        for Resource { pattern, serves } in routes.resources {
            let pattern = format!("{prefix}{}", if pattern == "/" { "" } else { &pattern });
            match serves {
                Serves::Methods { routes, .. } => {
                    let at = self.methods_of(&pattern);
                    routes.into_iter().for_each(|route| self.add(at, route));
                }
                Serves::Handler { handler, layers } => self.add_mount(pattern, handler, layers),
            }
        }
        self.last = None;
        self
    }

    /// A handler of its own for this path and all below it that has no route, whole: its methods, its errors, its log. Of
    /// two mounted ones the longer path goes before. A segment may be a `{name}`.
    ///
    /// It sees its own root: mounted at `/thumbs`, `/thumbs/a.jpg` is its path `/a.jpg`, and `/thumbs` is `/`, as if it were served
    /// alone ([`Request::path`]). [`Request::original_path`] is the whole path.
    ///
    /// ```
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let notes = Routes::new().get("/{number}", |_: &(), request| Ok(Response::text(request.path()))).serve(());
    /// let app = Routes::new().mount("/users/{user}/notes", notes).serve(());
    /// assert_eq!(Http::new(app).respond(&Request::get("/users/ada/notes/7")).text(), "/7");
    /// ```
    ///
    /// # Panics
    /// Also if two handlers are mounted at one path.
    pub fn mount(mut self, prefix: &str, handler: impl RequestHandler) -> Routes<S> {
        check_prefix(prefix);
        self.add_mount(prefix.to_owned(), Box::new(handler), Layers::default());
        self.last = None;
        self
    }

    fn add_mount(&mut self, pattern: String, handler: Box<dyn RequestHandler>, layers: Layers) {
        check_pattern(&pattern);
        let is_mount = |known: &&Resource<S>| matches!(known.serves, Serves::Handler { .. });
        let is_new = self.resources.iter().filter(is_mount).all(|known| known.pattern != pattern);
        assert!(is_new, "two handlers are mounted at {pattern:?}");
        self.resources.push(Resource { pattern, serves: Serves::Handler { handler, layers } });
    }

    /// The handler of all paths that have no route, whole: its methods, its errors, its log. Default: 404.
    ///
    /// ```no_run
    /// # use modest::{Response, Routes, StaticFileHandler, TcpServer};
    /// let app = Routes::new()
    ///     .get("/now", |_, request| Ok(Response::text(format!("{:?}\n", request.now()))))
    ///     .fallback(StaticFileHandler::new("www")?)
    ///     .serve(());
    /// TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn fallback(mut self, handler: impl RequestHandler) -> Routes<S> {
        self.fallback = Some(Box::new(handler));
        self.last = None;
        self
    }

    /// The handler that these routes are, with the state that their functions share.
    #[track_caller]
    pub fn serve(mut self, state: S) -> Router<S> {
        let mut table = Table::default();
        for (at, Resource { pattern, serves }) in self.resources.iter_mut().enumerate() {
            match serves {
                Serves::Handler { .. } => table.add_mount(pattern, at),
                Serves::Methods { routes, shared } => {
                    *shared = Layers::shared_by(routes.iter().map(|route| &route.layers));
                    table.add_route(pattern, at);
                }
            }
        }
        Router::new(state, table, self.resources, self.fallback)
    }
}

#[track_caller]
fn check_prefix(prefix: &str) {
    let is_one = prefix.starts_with('/') && !prefix.ends_with('/');
    assert!(is_one, "the prefix {prefix:?} must begin with a slash and have none at its end, as \"/static\"");
}

/// # Panics
/// If the pattern is none that a path could match.
#[track_caller]
fn check_pattern(pattern: &str) {
    assert!(pattern.starts_with('/'), "the pattern {pattern:?} does not begin with a slash");
    if let Some(why) = path::fault(pattern) {
        panic!("{pattern:?} is no pattern: {why}");
    }
}

impl<S: 'static> Resource<S> {
    fn with_layer(self, layer: &Arc<dyn Layer>) -> Resource<S> {
        let serves = match self.serves {
            Serves::Methods { mut routes, shared } => {
                routes.iter_mut().for_each(|route| route.layers.add(Arc::clone(layer)));
                Serves::Methods { routes, shared }
            }
            Serves::Handler { handler, mut layers } => {
                layers.add(Arc::clone(layer));
                Serves::Handler { handler, layers }
            }
        };
        Resource { pattern: self.pattern, serves }
    }
}

impl<S: Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Routes<S> {
        Routes::new()
    }
}

impl<S> fmt::Debug for Routes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.resources.iter().map(|resource| &resource.pattern)).finish()
    }
}
