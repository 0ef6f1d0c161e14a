//! A WSGI application as a handler of requests. The engine calls it with a permit once the body is complete, so a slow
//! client never holds the interpreter.

use std::sync::{Arc, OnceLock};

use modest::{Error, Request, RequestHandler, Response, Result};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::attached::attached;
use crate::context::Context;
use crate::environ::Template;
use crate::errors;
use crate::forked::Process;
use crate::response::{self, Failure};
use crate::start_response::StartResponse;

/// An application, and the data that its requests share. It is an ordinary handler: layers and routes can be around it.
pub struct Application {
    /// Loaded before the server starts.
    callable: Arc<OnceLock<Py<PyAny>>>,
    template: Arc<Template>,
}

impl Application {
    pub(crate) fn new(callable: Arc<OnceLock<Py<PyAny>>>, template: Arc<Template>) -> Application {
        Application { callable, template }
    }

    /// Creates an application for a custom server. `multithread`: whether the server has more than one worker.
    ///
    /// # Errors
    /// An exception of the interpreter, such as `MemoryError`.
    pub fn of(callable: &Bound<'_, PyAny>, multithread: bool) -> PyResult<Application> {
        let template = Template::new(callable.py(), multithread, false)?;
        Ok(Application::new(Arc::new(OnceLock::from(callable.clone().unbind())), Arc::new(template)))
    }

    /// Calls the application, and converts its result to a response.
    fn call(&self, request: &Request) -> Result<Response> {
        let process = Process::current();
        attached(|py| {
            let result = self.respond(py, request).map_err(|failure| match failure {
                Failure::Server(error) => error,
                Failure::Raised(raised) => {
                    errors::log_exception(py, &errors::name_of(request), &raised);
                    Error::new(500, "")
                }
            });
            process.check(py, &Ok(()));
            result
        })
    }

    fn respond(&self, py: Python<'_>, request: &Request) -> Result<Response, Failure> {
        let callable = self.callable.get().ok_or_else(|| PyRuntimeError::new_err("the application is not loaded"))?;
        let environ = self.template.environ(py, request)?;
        let start_response = Bound::new(py, StartResponse::default())?;
        let context = Context::new(py)?;
        let returned = context.call(py, (callable.bind(py), environ, &start_response))?;
        response::of(returned, &start_response, context, request)
    }
}

/// Methods that call the application.
macro_rules! call {
    ($($method:ident)*) => {$(
        fn $method(&self, request: &Request) -> Result<Response> {
            self.call(request)
        }
    )*};
}

impl RequestHandler for Application {
    call!(do_get do_post do_put do_delete do_patch do_options do_other);
}
