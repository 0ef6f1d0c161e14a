//! Values carried along a request, from the layer that finds them to the handler that wants them: one of each type.

use std::any::{Any, TypeId};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::StatusCode;

use crate::http::error::Error;

/// Who asks: put into the request by layers that authenticate, read by handlers and by the access log.
///
/// ```
/// use modest::{Request, User};
///
/// let request = Request::get("/");
/// request.put(User("ada".into()));
/// assert_eq!(request.value::<User>().unwrap().0, "ada");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User(pub String);

/// The id of a request: put into it by [`layers::RequestIds`](crate::layers::RequestIds), read by handlers and by the
/// access log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub String);

/// How a request reached the proxies in front of the server: put into it by
/// [`layers::TrustedProxies`](crate::layers::TrustedProxies). What no trusted proxy has told is `None`.
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
    /// The IP address of the client: [`Request::client_ip`](crate::Request::client_ip) reads it.
    pub client_ip: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host, and the port if there was one, that the client asked for.
    pub host: Option<String>,
}

/// What may be done with what stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// See what is there: GET, HEAD, and PROPFIND of one thing.
    Read,
    /// See what a folder holds: listings, archives.
    List,
    /// Change it: PUT, DELETE, and whatever does not only read.
    Write,
}

/// What the sender of a request may do, and where: put into the request by [`layers::PathRights`](crate::layers::PathRights).
///
/// [`StaticFileHandler`](crate::StaticFileHandler) asks them at each file that a request reads, lists or writes. Other handlers
/// ask for what they do beyond the path of the request: [`Request::permits`](crate::Request::permits).
pub struct Permissions {
    who: String,
    may_ask_who: bool,
    judge: Box<Judge>,
    /// Of a whole folder; `None`: `judge` of the folder itself.
    judge_beneath: Option<Box<Judge>>,
    /// Those of the layer outside, which must permit it as well.
    outer: Option<Arc<Permissions>>,
}

type Judge = dyn Fn(Access, &[u8]) -> bool + Send + Sync;

impl Permissions {
    /// Two requests with the same `who` are permitted the same. The closure decides whether an access is permitted to a path, decoded,
    /// from the root of the server. It judges each name of a file by itself: for `/a.txt.gz` and for `/a.txt` it is asked apart.
    pub fn new(who: impl Into<String>, judge: impl Fn(Access, &[u8]) -> bool + Send + Sync + 'static) -> Permissions {
        let judge = Box::new(judge);
        Permissions { who: who.into(), may_ask_who: false, judge, judge_beneath: None, outer: None }
    }

    /// Decides whether an access is permitted to a path and to everything beneath it, as a folder that is moved takes. Default:
    /// what is permitted to the path itself.
    pub fn beneath(mut self, judge: impl Fn(Access, &[u8]) -> bool + Send + Sync + 'static) -> Permissions {
        self.judge_beneath = Some(Box::new(judge));
        self
    }

    /// Combines these permissions with those of a layer outside: only what both permit is permitted.
    pub fn within(mut self, outer: Arc<Permissions>) -> Permissions {
        self.who = format!("{}\0{}", outer.who, self.who);
        self.may_ask_who |= outer.may_ask_who;
        self.outer = Some(outer);
        self
    }

    /// Whether a user that is known might be allowed more than the sender: then a refusal is 401, and else 403. Default: no.
    pub fn may_ask_who(mut self, may: bool) -> Permissions {
        self.may_ask_who = may;
        self
    }

    /// Identifies the sender: two requests with the same value are permitted the same.
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Whether this access to this path is permitted.
    pub fn permit(&self, access: Access, path: &[u8]) -> bool {
        (self.judge)(access, path) && self.outer.as_ref().is_none_or(|outer| outer.permit(access, path))
    }

    /// Whether this access to this path, and to everything beneath it, is permitted.
    pub fn permit_all(&self, access: Access, path: &[u8]) -> bool {
        let judge = self.judge_beneath.as_ref().unwrap_or(&self.judge);
        judge(access, path) && self.outer.as_ref().is_none_or(|outer| outer.permit_all(access, path))
    }

    /// The response to what is not permitted.
    pub fn refusal(&self) -> Error {
        match self.may_ask_who {
            true => Error::new(StatusCode::UNAUTHORIZED, ""),
            false => Error::new(StatusCode::FORBIDDEN, "You have no permission to do this."),
        }
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permissions").field("who", &self.who).finish_non_exhaustive()
    }
}

/// A value of each type. Most requests carry none: that costs a word.
#[derive(Default)]
pub(crate) struct Values(OnceLock<Box<Mutex<Vec<Value>>>>);

/// Few enough that a search is as good as a map.
type Value = (TypeId, Arc<dyn Any + Send + Sync>);

impl Values {
    pub(crate) fn put<T: Any + Send + Sync>(&self, value: T) {
        let mut values = self.0.get_or_init(Default::default).lock().unwrap_or_else(PoisonError::into_inner);
        let kind = TypeId::of::<T>();
        values.retain(|(known, _)| *known != kind);
        values.push((kind, Arc::new(value)));
    }

    /// Whether none was put there: this is asked of every request.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    #[inline]
    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.0.get().and_then(|values| find(values))
    }
}

#[inline(never)]
fn find<T: Any + Send + Sync>(values: &Mutex<Vec<Value>>) -> Option<Arc<T>> {
    let values = values.lock().unwrap_or_else(PoisonError::into_inner);
    let found = values.iter().find(|(known, _)| *known == TypeId::of::<T>());
    found.and_then(|(_, value)| Arc::clone(value).downcast().ok())
}
