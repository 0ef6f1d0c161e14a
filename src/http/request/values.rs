//! Values stored in a request, from the layer that sets them to the handler that reads them: one of each type. If a
//! request can pass several layers or handlers of one type, each stores its state with itself as the owner, so that
//! none takes the state of another.

use std::any::{Any, TypeId};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

use http::StatusCode;

use crate::http::error::Error;
use crate::mutex::lock;
use crate::tcp::Contained;

/// The user: stored in the request by authenticating layers, read by handlers and by the access log. An authenticating
/// handler or layer of your own, for example with a crate for JSON web tokens or OpenID Connect, stores a `User` as
/// well.
///
/// ```
/// use modest::{Request, User};
///
/// let request = Request::get("/");
/// request.put(User::new("ada").with_role("editor").with_claim("email", "ada@example.org"));
///
/// let user = request.value::<User>().unwrap();
/// assert_eq!((user.name(), user.claim("email")), ("ada", Some("ada@example.org")));
/// assert!(user.has_role("editor") && !user.has_role("admin"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct User {
    name: String,
    roles: Vec<String>,
    claims: Vec<(String, String)>,
}

impl User {
    /// Creates a user of this name, without roles and claims.
    pub fn new(name: impl Into<String>) -> User {
        User { name: name.into(), roles: Vec::new(), claims: Vec::new() }
    }

    /// Adds a role.
    pub fn with_role(mut self, role: impl Into<String>) -> User {
        self.roles.push(role.into());
        self
    }

    /// Sets a claim, a statement about the user by an issuer of tokens. Replaces a claim of the same name.
    pub fn with_claim(mut self, name: impl Into<String>, value: impl Into<String>) -> User {
        let (name, value) = (name.into(), value.into());
        self.claims.retain(|(known, _)| *known != name);
        self.claims.push((name, value));
        self
    }

    /// Returns the name, as in the access log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the roles, in the order in which they were added.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.roles.iter().map(String::as_str)
    }

    /// Returns whether the user has this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|known| known == role)
    }

    /// Returns the claims as pairs of name and value.
    pub fn claims(&self) -> impl Iterator<Item = (&str, &str)> {
        self.claims.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the claim of this name.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

/// Shows only the names of claims, because values may be private.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claims: Vec<_> = self.claims.iter().map(|(name, _)| name).collect();
        f.debug_struct("User").field("name", &self.name).field("roles", &self.roles).field("claims", &claims).finish()
    }
}

/// Stored in a request that a layer has accepted by its `Authorization`.
pub(super) struct UsedAuthorization;

/// The id of a request: stored in it by [`layers::RequestIds`](crate::layers::RequestIds), read by handlers and by the
/// access log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub String);

/// The field in which backends get the id of a request.
#[cfg(feature = "proxy")]
pub(super) struct IdField(pub http::HeaderName);

/// How a request reached the proxies in front of the server: stored in it by
/// [`layers::TrustedProxies`](crate::layers::TrustedProxies). A value is `None` if no trusted proxy has reported it.
///
/// ```
/// use modest::{Forwarded, Request};
///
/// fn is_encrypted(request: &Request) -> bool {
///     request.value::<Forwarded>().is_some_and(|forwarded| forwarded.scheme.as_deref() == Some("https"))
/// }
/// # let mut forwarded = Forwarded::default();
/// # forwarded.scheme = Some("https".into());
/// # let request = Request::get("/");
/// # assert!(!is_encrypted(&request));
/// # request.put(forwarded);
/// # assert!(is_encrypted(&request));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// The IP address of the client, which [`Request::client_ip`](crate::Request::client_ip) returns.
    pub client_ip: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host that the client requested, with the port if there was one.
    pub host: Option<String>,
}

/// The kinds of access to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// To read a resource: GET, HEAD, and PROPFIND of one resource.
    Read,
    /// To list the contents of a folder: listings, archives.
    List,
    /// To change a resource: PUT, DELETE, and all other methods that do not only read.
    Write,
}

/// The accesses that the client is allowed, by path. Stored in the request by
/// [`layers::PathRights`](crate::layers::PathRights).
///
/// [`StaticFileHandler`](crate::StaticFileHandler) checks them for each file that a request reads, lists or writes.
/// Other handlers check paths other than the request's by [`Request::permits`](crate::Request::permits).
pub struct Permissions {
    key: String,
    login_may_help: bool,
    /// See [`for_writers`](Permissions::for_writers).
    pub(crate) reads_nothing: bool,
    judge: Box<Judge>,
    /// Decides about a folder with everything below it. `None`: `judge` of the folder decides.
    judge_beneath: Option<Box<Judge>>,
    /// The permissions of an outer layer, which must also allow an access.
    outer: Option<Arc<Permissions>>,
}

type Judge = dyn Fn(Access, &[u8]) -> bool + Send + Sync;

impl Permissions {
    /// Creates permissions. Two requests with the same `key` have the same permissions. The closure decides whether an
    /// access to a path is allowed. The path is decoded, from the root of the server. If a file has several names, such
    /// as `/a.txt.gz` and `/a.txt`, the closure is called for each.
    pub fn new(key: impl Into<String>, judge: impl Fn(Access, &[u8]) -> bool + Send + Sync + 'static) -> Permissions {
        let judge = Box::new(judge);
        let (login_may_help, reads_nothing) = (false, false);
        Permissions { key: key.into(), login_may_help, reads_nothing, judge, judge_beneath: None, outer: None }
    }

    /// Sets a closure that decides whether an access to a path and to everything below it is allowed, as needed for
    /// moving a folder. Default: the decision for the path itself.
    pub fn beneath(mut self, judge: impl Fn(Access, &[u8]) -> bool + Send + Sync + 'static) -> Permissions {
        self.judge_beneath = Some(Box::new(judge));
        self
    }

    /// Combines these permissions with those of an outer layer: an access is allowed if both allow it.
    pub fn within(mut self, outer: Arc<Permissions>) -> Permissions {
        self.key = format!("{}\0{}", outer.key, self.key);
        self.login_may_help |= outer.login_may_help;
        self.reads_nothing |= outer.reads_nothing;
        self.outer = Some(outer);
        self
    }

    /// Sets whether an authenticated user might be allowed more than this client. If so, a rejection is a 401,
    /// otherwise a 403. Default: false.
    pub fn login_may_help(mut self, may: bool) -> Permissions {
        self.login_may_help = may;
        self
    }

    /// Marks a request whose user can write but not read at its path. Only handlers that serve writers are called for
    /// it, and only responses for writers are sent. An inner layer cannot undo this.
    pub(crate) fn for_writers(self, is_for_writers: bool) -> Permissions {
        Permissions { reads_nothing: self.reads_nothing | is_for_writers, ..self }
    }

    /// Returns the key: two requests with the same key have the same permissions.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns whether this access to this path is allowed.
    pub fn permit(&self, access: Access, path: &[u8]) -> bool {
        (self.judge)(access, path) && self.outer.as_ref().is_none_or(|outer| outer.permit(access, path))
    }

    /// Returns whether this access to this path, and to everything below it, is allowed.
    pub fn permit_all(&self, access: Access, path: &[u8]) -> bool {
        let judge = self.judge_beneath.as_ref().unwrap_or(&self.judge);
        judge(access, path) && self.outer.as_ref().is_none_or(|outer| outer.permit_all(access, path))
    }

    /// Returns the response to a request that is not allowed.
    pub fn refusal(&self) -> Error {
        match self.login_may_help {
            true => Error::new(StatusCode::UNAUTHORIZED, ""),
            false => Error::new(StatusCode::FORBIDDEN, "You have no permission to do this."),
        }
    }
}

opaque!(Permissions { key });

/// One value per type and owner. Without values, as in most requests, it uses one word.
#[derive(Default)]
pub(crate) struct Values(OnceLock<Box<Mutex<Vec<Value>>>>);

/// There are so few values that a linear search is as fast as a map.
type Value = (Key, Contained<Arc<dyn Any + Send + Sync>>);

/// The type of a value, and the address of the layer or handler that has it for itself. The address is 0 for a value
/// that all share.
type Key = (TypeId, usize);

fn key_of<T: Any>(owner: Option<&impl Sized>) -> Key {
    (TypeId::of::<T>(), owner.map_or(0, |owner| std::ptr::from_ref(owner).addr()))
}

impl Values {
    pub(crate) fn put<T: Any + Send + Sync>(&self, value: T) {
        self.insert(key_of::<T>(None::<&()>), Arc::new(value));
    }

    pub(crate) fn put_for<T: Any + Send + Sync>(&self, owner: &impl Sized, value: T) {
        self.insert(key_of::<T>(Some(owner)), Arc::new(value));
    }

    fn insert(&self, key: Key, value: Arc<dyn Any + Send + Sync>) {
        let mut values = lock(self.0.get_or_init(Default::default));
        values.retain(|(known, _)| *known != key);
        // Each value on its own: a second panic while others are dropped would end the process.
        values.push((key, Contained::new("dropping a value of a request", value)));
    }

    pub(crate) fn copied(&self) -> Values {
        match self.0.get() {
            Some(values) => {
                let values = lock(values).clone();
                Values(OnceLock::from(Box::new(Mutex::new(values))))
            }
            None => Values::default(),
        }
    }

    /// Returns whether there are no values. Called for every request, so it must be cheap.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    #[inline]
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.get().and_then(|values| find(values, key_of::<T>(None::<&()>)))
    }

    pub(crate) fn get_for<T: Any + Send + Sync>(&self, owner: &impl Sized) -> Option<Arc<T>> {
        self.0.get().and_then(|values| find(values, key_of::<T>(Some(owner))))
    }
}

#[inline(never)]
fn find<T: Any + Send + Sync>(values: &Mutex<Vec<Value>>, key: Key) -> Option<Arc<T>> {
    let values = lock(values);
    let found = values.iter().find(|(known, _)| *known == key);
    found.and_then(|(_, value)| Arc::clone(&**value).downcast().ok())
}
