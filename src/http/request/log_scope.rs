//! The request for which a thread is working, so that every line that the thread logs has the request's id. Set around
//! each call of a handler, read by loggers.

use std::cell::Cell;
use std::sync::Arc;

use super::RequestId;
use crate::http::on_drop::OnDrop;

thread_local! {
    /// `None`: the thread works for no request.
    static CURRENT: Cell<Option<LogScope>> = const { Cell::new(None) };
}

/// The common part of all lines that are logged for one request: its id, if a layer such as
/// [`RequestIds`](crate::layers::RequestIds) has given it one.
///
/// While a handler is called, its thread is in the scope of its request. The reader of a body, the functions of
/// [`Response::on_sent`](crate::Response::on_sent), and the handler of an upgraded connection or a WebSocket also run
/// in this scope. The loggers of this library add the id to each line, including lines that other crates log. A logger
/// of your own reads it from [`LogScope::current`]. For work on another thread, pass the scope along:
///
/// ```
/// use modest::layers::RequestIds;
/// use modest::{Http, LogScope, Request, RequestHandler, Response, handler_fn};
///
/// let app = handler_fn(|_| {
///     let scope = LogScope::current();
///     let id = std::thread::spawn(move || {
///         scope.run(|| {
///             log::info!("this line has the id of the request");
///             LogScope::current().request_id().map(str::to_owned)
///         })
///     });
///     Ok(Response::text(id.join().unwrap().unwrap_or_default()))
/// });
/// let sent = Http::new(app.layer(RequestIds::new())).respond(&Request::get("/"));
/// assert_eq!(Some(sent.text()), sent.header("x-request-id"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct LogScope {
    id: Option<Arc<RequestId>>,
}

impl LogScope {
    pub(crate) fn new(id: Option<Arc<RequestId>>) -> LogScope {
        LogScope { id }
    }

    /// Returns the scope of the calling thread. Without a request it is empty.
    pub fn current() -> LogScope {
        let copied = |current: &Cell<Option<LogScope>>| {
            let scope = current.take();
            current.set(scope.clone());
            scope
        };
        CURRENT.try_with(copied).ok().flatten().unwrap_or_default()
    }

    /// Returns the id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.id.as_ref().map(|id| id.0.as_str())
    }

    /// Calls this closure within the scope. Afterwards, even after a panic, the thread is in its previous scope.
    #[inline]
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let enter = |current: &Cell<Option<LogScope>>| current.replace(Some(self.clone()));
        let mut earlier = CURRENT.try_with(enter).ok().flatten(); // what a thread drops at its end may log
        let _leave = OnDrop(|| _ = CURRENT.try_with(|current| current.replace(earlier.take())));
        work()
    }

    /// Called when a layer gives this id to the request for which the thread works.
    pub(crate) fn set_id(id: &RequestId) {
        CURRENT.with(|current| {
            let scope = current.take();
            current.set(scope.map(|_| LogScope { id: Some(Arc::new(id.clone())) }));
        });
    }
}
