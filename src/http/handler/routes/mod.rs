//! Routes: functions by path and method. This module builds them. A `Router`, which serves them, is a handler like any
//! other.

mod router; // routes as a handler
mod layers; // the layers around a route
mod table; // the resource of a path
mod path; // patterns

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;

use super::RequestHandler;
use super::layer::Layer;
use crate::http::request::{BodyPlan, Request};
use crate::http::response::{Response, Result};
use layers::Layers;
pub use router::Router;
use table::Table;

/// Functions by path and method, for handlers that share a state `S`. [`with_state`](Routes::with_state) adds the state
/// and returns a handler.
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
///     /// A panic cannot leave half a note, so a poisoned lock is as good as before.
///     fn notes(&self) -> MutexGuard<'_, Vec<String>> {
///         self.0.lock().unwrap_or_else(PoisonError::into_inner)
///     }
/// }
///
/// let app = Routes::new().get("/notes/{number}", Notes::read).post("/notes", Notes::add).with_state(Notes::default());
/// let http = Http::new(app);
/// assert_eq!(http.respond(&Request::post("/notes", "milk")).status(), 201);
/// assert_eq!(http.respond(&Request::get("/notes/0")).text(), "milk");
/// assert_eq!(http.respond(&Request::get("/notes")).header("allow"), Some("POST, OPTIONS"));
/// ```
///
/// # Patterns
/// `/users/{id}` matches one non-empty segment, and `/files/{*path}` everything that follows, at least one byte. If a
/// fixed segment and a name both match, the fixed segment has precedence. A path with a trailing slash is another path.
/// `{{` and `}}` are braces. Patterns are matched with [`Request::path`], so they are written decoded: `/café`. A
/// `{*path}` cannot be used beside longer patterns that begin with it; [`mount`](Routes::mount) can. A segment can have
/// fixed text around one name: `/img-{id}.png`. Names consist of letters, digits, `_` and `-`. A pattern has up to 25
/// names.
///
/// # Responses without a function
/// HEAD is handled like GET. OPTIONS of a path gets a response with `Allow`. A method that a path does not have is a
/// 405 with `Allow`. An unknown path is a 404, unless there is a [`fallback`](Routes::fallback). The 405 and the 404
/// are sent before a body is read; if a layer is around the routes, up to 64 KiB of it are received before.
///
/// # Panics
/// Its methods panic if a pattern does not begin with a slash, is ambiguous with another, or could match no path: with
/// empty or dot segments, percent-encodings, or names in the syntax of other frameworks (`:id`, `<int:id>`, `*path`).
/// They also panic if a pattern gets two functions for one method, or if the path of a `nest` or `mount` ends with a
/// slash.
#[must_use = "serves no client until `with_state` adds its state"]
pub struct Routes<S = ()> {
    resources: Vec<Resource<S>>,
    /// The route added last, for `before_body`: its resource, and its index in that resource.
    last: Option<(usize, usize)>,
    fallback: Option<Box<dyn RequestHandler>>,
}

/// A route in the list of [`Routes::list`]. It is displayed as a line: `GET      /notes/{number}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRoute {
    method: Option<Method>,
    pattern: String,
}

impl ListedRoute {
    /// Returns the method; `None` for a handler of all methods.
    pub fn method(&self) -> Option<&Method> {
        self.method.as_ref()
    }

    /// Returns the pattern of its paths.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl fmt::Display for ListedRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:8} {}", self.method.as_ref().map_or("any", Method::as_str), self.pattern)
    }
}

/// The functions and layers of one pattern.
struct Resource<S> {
    pattern: String,
    serves: Serves<S>,
}

enum Serves<S> {
    Methods {
        routes: Vec<Route<S>>,
        /// The layers that all routes of the pattern have. They also apply to responses without a function. Set when
        /// all routes are added.
        shared: Layers,
    },
    /// A separate handler for all methods and all paths that begin with the pattern.
    Handler { handler: Box<dyn RequestHandler>, layers: Layers },
}

struct Route<S> {
    method: Method,
    function: Function<S>,
    layers: Layers,
    /// All checks are called, in this order.
    checks: Vec<BeforeBody<S>>,
}

type Function<S> = Box<dyn Fn(&S, &Request) -> Result<Response> + Send + Sync>;
type BeforeBody<S> = Box<dyn Fn(&S, &Request, &mut BodyPlan) -> Result<()> + Send + Sync>;

macro_rules! by_method {
    ($($(#[$doc:meta])* $name:ident $method:ident;)*) => {$(
        $(#[$doc])*
        #[track_caller]
        pub fn $name<F>(self, pattern: &str, function: F) -> Routes<S>
        where
            F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
        {
            self.route(Method::$method, pattern, function)
        }
    )*};
}

impl<S: Send + Sync + 'static> Routes<S> {
    /// Creates an empty table of routes.
    pub fn new() -> Routes<S> {
        Routes { resources: Vec::new(), last: None, fallback: None }
    }

    by_method! {
        /// Adds a route for GET, and for HEAD unless that has a route of its own.
        get GET;
        /// Adds a route for POST.
        post POST;
        /// Adds a route for PUT.
        put PUT;
        /// Adds a route for DELETE.
        delete DELETE;
        /// Adds a route for PATCH.
        patch PATCH;
    }

    /// Adds a route for GET and HEAD that sends this file ([`Response::file`]), opened at each request.
    ///
    /// ```
    /// use modest::{Http, Request, Routes};
    ///
    /// let app = Routes::new().file("/about", "README.md").with_state(());
    /// assert_eq!(Http::new(app).respond(&Request::get("/about")).status(), 200);
    /// ```
    #[track_caller]
    pub fn file(self, pattern: &str, path: impl Into<PathBuf>) -> Routes<S> {
        let path = path.into();
        self.get(pattern, move |_, _| Ok(Response::file(&path)))
    }

    /// Adds a route for this method, which can be any method, such as PROPFIND.
    #[track_caller]
    pub fn route<F>(mut self, method: Method, pattern: &str, function: F) -> Routes<S>
    where
        F: Fn(&S, &Request) -> Result<Response> + Send + Sync + 'static,
    {
        check_pattern(pattern);
        let at = self.methods_of(pattern);
        self.add(at, Route { method, function: Box::new(function), layers: Layers::default(), checks: Vec::new() });
        self
    }

    /// Returns the index of this pattern's methods, and adds the resource if there is none.
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

    #[track_caller]
    fn add(&mut self, at: usize, route: Route<S>) {
        let Resource { pattern, serves } = &mut self.resources[at];
        let Serves::Methods { routes, .. } = serves else { panic!("the pattern {pattern:?} already has a handler") };
        let is_new = routes.iter().all(|known| known.method != route.method);
        assert!(is_new, "the pattern {pattern:?} has two functions for {}", route.method);
        self.last = Some((at, routes.len()));
        routes.push(route);
    }

    /// Adds a check to the route added last. It is called with the head, accepts or rejects the request, and sets the
    /// plan of its body: see [`RequestHandler::before_body`]. Several checks are called in order.
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
    /// If no route was added before. A `mount`, `nest`, `merge` or `fallback` is not a route.
    #[track_caller]
    pub fn before_body<F>(mut self, check: F) -> Routes<S>
    where
        F: Fn(&S, &Request, &mut BodyPlan) -> Result<()> + Send + Sync + 'static,
    {
        self.last_route("before_body").checks.push(Box::new(check));
        self
    }

    /// Sets the maximum body length in bytes for the route added last. Longer bodies get 413. Replaces
    /// [`Http::body_limit`](crate::Http::body_limit).
    ///
    /// # Panics
    /// If no route was added before. A `mount`, `nest`, `merge` or `fallback` is not a route.
    #[track_caller]
    pub fn body_limit(mut self, bytes: u64) -> Routes<S> {
        self.last_route("body_limit").checks.push(Box::new(move |_, _, plan| {
            plan.limit(bytes);
            Ok(())
        }));
        self
    }

    /// Puts a layer around only the route that was added last. A layer that is added later is further out. For all
    /// routes use [`layer`](Routes::layer).
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
    /// If no route was added before. A `mount`, `nest`, `merge` or `fallback` is not a route.
    #[track_caller]
    pub fn layer_last(mut self, layer: impl Layer) -> Routes<S> {
        self.last_route("layer_last").layers.add(Arc::new(layer));
        self
    }

    #[track_caller]
    fn last_route(&mut self, method: &str) -> &mut Route<S> {
        let last = self.last.and_then(|(resource, route)| match &mut self.resources[resource].serves {
            Serves::Methods { routes, .. } => routes.get_mut(route),
            Serves::Handler { .. } => None,
        });
        match last {
            Some(route) => route,
            None => panic!("`{method}` needs a route before it: a mount, a nest or a fallback is none"),
        }
    }

    /// Puts a layer around each route and each mounted handler added so far, but not around the fallback. A layer that
    /// is added later is further out. The responses that a path has without a function, to OPTIONS and 405, pass the
    /// layers that all of its routes have. A path without a route has no layers. To change its 404, put the layer
    /// around the handler after [`with_state`](Routes::with_state).
    ///
    /// ```
    /// use modest::{Error, Http, Request, Response, Routes, layer_fn};
    ///
    /// let members = layer_fn(|request, next| match request.cookie("member") {
    ///     Some(_) => next.run(request),
    ///     None => Err(Error::new(403, "who are you?")),
    /// });
    /// let admin = Routes::new().get("/users", |_: &(), _| Ok(Response::text("ada\n"))).layer(members);
    /// let app = Routes::new().get("/", |_, _| Ok(Response::text("welcome\n"))).nest("/admin", admin).with_state(());
    ///
    /// let http = Http::new(app);
    /// assert_eq!(http.respond(&Request::get("/")).status(), 200);
    /// assert_eq!(http.respond(&Request::get("/admin/users")).status(), 403);
    /// ```
    pub fn layer(mut self, layer: impl Layer) -> Routes<S> {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        self.resources = self.resources.into_iter().map(|resource| resource.with_layer(&layer)).collect();
        self
    }

    /// Adds all routes of another table below this path. Its `/` is the path itself.
    ///
    /// ```
    /// # use modest::{Response, Routes};
    /// let admin = Routes::new().get("/users", |_: &(), _| Ok(Response::text("ada\n")));
    /// let routes = Routes::new().nest("/admin", admin); // GET /admin/users
    /// ```
    ///
    /// # Panics
    /// If the other table has a fallback, or for the reasons of [`merge`](Routes::merge).
    #[track_caller]
    pub fn nest(mut self, prefix: &str, routes: Routes<S>) -> Routes<S> {
        check_prefix(prefix);
        assert!(routes.fallback.is_none(), "the routes below {prefix:?} have a fallback");
        for Resource { pattern, serves } in routes.resources {
            self.add_resource(format!("{prefix}{}", if pattern == "/" { "" } else { &pattern }), serves);
        }
        self.last = None;
        self
    }

    /// Adds all routes of another table, with their layers, at the same paths: for tables that parts of the program
    /// create, or that have different layers.
    ///
    /// ```
    /// use modest::{Error, Http, Request, Response, Routes, before_body_fn};
    ///
    /// let members = before_body_fn(|request, _| match request.cookie("member") {
    ///     Some(_) => Ok(()),
    ///     None => Err(Error::new(403, "who are you?")),
    /// });
    /// let public = Routes::new().get("/", |_: &(), _| Ok(Response::text("welcome\n")));
    /// let inside = Routes::new().get("/photos", |_, _| Ok(Response::text("none yet\n"))).layer(members);
    ///
    /// let http = Http::new(public.merge(inside).with_state(()));
    /// assert_eq!(http.respond(&Request::get("/")).status(), 200);
    /// assert_eq!(http.respond(&Request::get("/photos")).status(), 403);
    /// ```
    ///
    /// # Panics
    /// If the other table has a fallback, or both have a function for the same method and path, or a handler mounted at
    /// the same path.
    #[track_caller]
    pub fn merge(mut self, routes: Routes<S>) -> Routes<S> {
        assert!(routes.fallback.is_none(), "the merged routes have a fallback");
        for Resource { pattern, serves } in routes.resources {
            self.add_resource(pattern, serves);
        }
        self.last = None;
        self
    }

    #[track_caller]
    fn add_resource(&mut self, pattern: String, serves: Serves<S>) {
        match serves {
            Serves::Methods { routes, .. } => {
                let at = self.methods_of(&pattern);
                for route in routes {
                    self.add(at, route);
                }
            }
            Serves::Handler { handler, layers } => self.add_mount(pattern, handler, layers),
        }
    }

    /// Returns why a pattern is invalid, or `None` if it is valid. Use it for patterns that come from users, because
    /// [`mount`](Routes::mount) and the setters of routes panic for an invalid pattern.
    ///
    /// ```
    /// assert!(modest::Routes::<()>::fault_of("/a%20b").is_some());
    /// assert_eq!(modest::Routes::<()>::fault_of("/a b"), None);
    /// ```
    pub fn fault_of(pattern: &str) -> Option<&'static str> {
        path::fault(pattern)
    }

    /// Passes this path and everything below it that has no route to a separate handler, with its methods, errors and
    /// log. A segment can be a `{name}`. A fixed segment has precedence over a name in its place, in a route or in
    /// another mount: with `/{page}` and a mount at `/api`, `/api` is passed to the mount. Otherwise, of two mounts the
    /// longer one has precedence.
    ///
    /// The handler sees its own root: mounted at `/thumbs`, `/thumbs/a.jpg` is its path `/a.jpg`, and `/thumbs` is `/`,
    /// as if it were served alone ([`Request::path`]). [`Request::original_path`] returns the whole path.
    ///
    /// ```
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let notes = Routes::new().get("/{number}", |_: &(), request| Ok(Response::text(request.path()))).with_state(());
    /// let app = Routes::new().mount("/users/{user}/notes", notes).with_state(());
    /// assert_eq!(Http::new(app).respond(&Request::get("/users/ada/notes/7")).text(), "/7");
    /// ```
    ///
    /// # Panics
    /// If two handlers are mounted at one path.
    #[track_caller]
    pub fn mount(mut self, prefix: &str, handler: impl RequestHandler) -> Routes<S> {
        check_prefix(prefix);
        self.add_mount(prefix.to_owned(), Box::new(handler), Layers::default());
        self.last = None;
        self
    }

    #[track_caller]
    fn add_mount(&mut self, pattern: String, handler: Box<dyn RequestHandler>, layers: Layers) {
        check_pattern(&pattern);
        let is_mount = |known: &&Resource<S>| matches!(known.serves, Serves::Handler { .. });
        let prefix = path::Prefix::parse(&pattern);
        let is_same = |known: &&Resource<S>| prefix.is_some() && path::Prefix::parse(&known.pattern) == prefix;
        if let Some(known) = self.resources.iter().filter(is_mount).find(is_same) {
            panic!("two handlers are mounted at {pattern:?} and {:?}, which match the same paths", known.pattern);
        }
        self.resources.push(Resource { pattern, serves: Serves::Handler { handler, layers } });
    }

    /// Sets the handler of all paths without a route, with its methods, errors and log. Default: 404.
    ///
    /// ```no_run
    /// # use modest::{Response, Routes, StaticFileHandler, TcpServer};
    /// let app = Routes::new()
    ///     .get("/now", |_, request| Ok(Response::text(format!("{:?}\n", request.now()))))
    ///     .fallback(StaticFileHandler::new("www")?)
    ///     .with_state(());
    /// TcpServer::bind("127.0.0.1:8000", app)?.serve_forever()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there already is a fallback.
    #[track_caller]
    pub fn fallback(mut self, handler: impl RequestHandler) -> Routes<S> {
        assert!(self.fallback.is_none(), "these routes have a fallback already");
        self.fallback = Some(Box::new(handler));
        self.last = None;
        self
    }

    /// Lists the routes in the order in which they were added, to be printed: by an option `--routes`, for example. A
    /// mounted handler and the fallback are one line each.
    ///
    /// ```
    /// use modest::{Response, Routes};
    ///
    /// let routes = Routes::<()>::new()
    ///     .get("/notes", |_, _| Ok(Response::text("none yet\n")))
    ///     .delete("/notes/{number}", |_, _| Ok(Response::no_content()));
    /// let lines: Vec<String> = routes.list().iter().map(ToString::to_string).collect();
    /// assert_eq!(lines, ["GET      /notes", "DELETE   /notes/{number}"]);
    /// ```
    pub fn list(&self) -> Vec<ListedRoute> {
        let mut list = Vec::new();
        for Resource { pattern, serves } in &self.resources {
            match serves {
                Serves::Methods { routes, .. } => list.extend(
                    routes
                        .iter()
                        .map(|route| ListedRoute { method: Some(route.method.clone()), pattern: pattern.clone() }),
                ),
                Serves::Handler { .. } => {
                    list.push(ListedRoute { method: None, pattern: format!("{pattern}/{{*path}}") });
                }
            }
        }
        list.extend(self.fallback.iter().map(|_| ListedRoute { method: None, pattern: "/{*path}".to_owned() }));
        list
    }

    /// Adds the state that the functions share, and returns the handler.
    #[track_caller]
    pub fn with_state(self, state: S) -> Router<S> {
        self.with_shared_state(Arc::new(state))
    }

    /// Adds a state that threads of the program also use, and returns the handler. The functions get a `&S`, as with
    /// [`with_state`](Routes::with_state).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use std::time::Duration;
    /// use modest::{Request, Response, Result, Routes, TcpServer, testing};
    ///
    /// #[derive(Default)]
    /// struct App {
    ///     visits: AtomicU64,
    /// }
    ///
    /// impl App {
    ///     fn visit(&self, _: &Request) -> Result<Response> {
    ///         Ok(Response::text(format!("{}", self.visits.fetch_add(1, Relaxed) + 1)))
    ///     }
    /// }
    ///
    /// let app = Arc::new(App::default());
    /// let routes = Routes::new().get("/", App::visit).with_shared_state(Arc::clone(&app));
    /// let server = TcpServer::bind("127.0.0.1:0", routes)?.background("report", move |stop| {
    ///     while stop.wait(Duration::from_secs(60)) {
    ///         println!("{} visits", app.visits.load(Relaxed));
    ///     }
    /// });
    /// assert_eq!(testing::start(server).get("/").text(), "1");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// A function that begins a thread itself needs the `Arc`. It takes a `&Arc<S>` if the `Arc` is the state:
    /// `fn visit(self: &Arc<Self>, request: &Request)` and `with_state(app)`.
    #[track_caller]
    pub fn with_shared_state(mut self, state: Arc<S>) -> Router<S> {
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
    assert!(is_one, "the prefix {prefix:?} must begin with a slash and not end with one, as in \"/static\"");
}

/// # Panics
/// If no path can match the pattern.
#[track_caller]
fn check_pattern(pattern: &str) {
    assert!(pattern.starts_with('/'), "the pattern {pattern:?} does not begin with a slash");
    if let Some(why) = path::fault(pattern) {
        panic!("{pattern:?} is not a valid pattern: {why}");
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
