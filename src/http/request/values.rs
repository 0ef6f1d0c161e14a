//! Values carried along a request, from the layer that finds them to the handler that wants them: one of each type.

use std::any::{Any, TypeId};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

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

    pub(crate) fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let values = self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        let found = values.iter().find(|(known, _)| *known == TypeId::of::<T>());
        found.and_then(|(_, value)| Arc::clone(value).downcast().ok())
    }
}
