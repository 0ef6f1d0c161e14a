//! What is to become of the body of one request: decided from its head by `before_body`, obeyed by `connection`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Request;
use super::room::BodyLimits;
use super::unwritten::UnwrittenMethods;
use crate::http::error::Error;

/// What is to become of a request's body. It begins with what [`Http`](crate::Http) was told for all; a handler changes
/// it in [`before_body`](crate::RequestHandler::before_body).
///
/// ```
/// use modest::{BodyPlan, Request, RequestHandler, Response, Result};
///
/// struct Inbox;
///
/// impl RequestHandler for Inbox {
///     fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
///         if request.path() == "/photos" {
///             plan.limit(500 << 20).folder("/srv/inbox"); // spooled where it will stay: see `Body::persist`
///         }
///         Ok(())
///     }
///
///     fn do_post(&self, request: &Request) -> Result<Response> {
///         Ok(Response::text(format!("{} bytes\n", request.body().len())))
///     }
/// }
/// ```
#[derive(Clone)]
pub struct BodyPlan {
    pub(crate) limits: BodyLimits,
    pub(crate) timeout: Option<Duration>,
    pub(crate) progress: Option<Progress>,
    pub(crate) unwritten: Arc<UnwrittenMethods>,
}

pub(crate) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

impl BodyPlan {
    /// At most so many bytes are taken; beyond them 413, from the head if that has the length. `None`: no limit but
    /// [`Http::body_quota`](crate::Http::body_quota). In place of [`Http::body_limit`](crate::Http::body_limit).
    pub fn limit(&mut self, bytes: impl Into<Option<u64>>) -> &mut BodyPlan {
        self.limits.body = bytes.into().unwrap_or(u64::MAX);
        self
    }

    /// So many bytes stay in memory; a longer body goes to a temporary file. In place of
    /// [`Http::body_memory`](crate::Http::body_memory).
    pub fn memory(&mut self, bytes: usize) -> &mut BodyPlan {
        self.limits.memory = bytes;
        self
    }

    /// The folder of that file. In place of [`Http::body_folder`](crate::Http::body_folder).
    pub fn folder(&mut self, folder: impl Into<PathBuf>) -> &mut BodyPlan {
        self.limits.folder = Arc::new(folder.into());
        self
    }

    /// How long the whole body may take; `None`: no limit but the least rate. In place of
    /// [`Http::body_timeout`](crate::Http::body_timeout).
    pub fn timeout(&mut self, limit: impl Into<Option<Duration>>) -> &mut BodyPlan {
        self.timeout = limit.into();
        self
    }

    /// Called with the number of bytes received so far, whenever some were. It must not block, and it holds no worker.
    pub fn progress(&mut self, told: impl Fn(u64) + Send + Sync + 'static) -> &mut BodyPlan {
        self.progress = Some(Arc::new(told));
        self
    }

    /// 501 if this type of handler is known to have no method for this request.
    pub(crate) fn check_written<H: ?Sized + 'static>(&self, request: &Request) -> Result<(), Error> {
        self.unwritten.check::<H>(request)
    }
}

/// The defaults of [`Http`](crate::Http), for testing a `before_body` by itself.
impl Default for BodyPlan {
    fn default() -> BodyPlan {
        BodyPlan { limits: BodyLimits::default(), timeout: None, progress: None, unwritten: Arc::default() }
    }
}

impl fmt::Debug for BodyPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BodyLimits { body, memory, folder, .. } = &self.limits;
        f.debug_struct("BodyPlan")
            .field("limit", body)
            .field("memory", memory)
            .field("folder", folder)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
