//! The server of an application, which `modest/wsgi.py` starts: the program's options, with an application in place of
//! its folder.

use std::ffi::OsString;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;

use modest::{RequestHandler, ServerHandle, TcpServer, layer_fn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator;

use crate::application::Application;
use crate::environ::Template;
use crate::settings::{Own, with_name};
use modest_cli::program::Program;

/// A server that runs in another thread, or will run.
#[pyclass(frozen, module = "modest._modest")]
#[derive(Default)]
pub struct Server {
    running: Arc<OnceLock<(ServerHandle, Vec<String>)>>,
}

#[pymethods]
impl Server {
    #[new]
    fn new() -> Server {
        Server::default()
    }

    /// Finishes the requests in progress, and stops.
    fn shutdown(&self) {
        if let Some((handle, _)) = self.running.get() {
            handle.shutdown();
        }
    }

    /// The addresses of the server; empty before it listens.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        self.running.get().map(|(_, addresses)| addresses.clone()).unwrap_or_default()
    }
}

/// The options, and the application.
struct Wsgi {
    own: Own,
    application: Option<Application>,
    template: Arc<Template>,
    how: How,
    running: Arc<OnceLock<(ServerHandle, Vec<String>)>>,
}

/// The arguments of `serve`.
struct How {
    /// The application's name in the banner.
    name: String,
    /// Descriptors of sockets that replace the addresses of the options.
    descriptors: Option<Vec<u32>>,
    /// Called when the server accepts clients.
    ready: Option<Py<PyAny>>,
    /// Called after this many requests.
    retire: Option<(u64, Py<PyAny>)>,
    signals: Signals,
    announces: bool,
}

/// The handler of signals.
#[derive(Clone, Copy, PartialEq)]
enum Signals {
    /// The program, as `modest` does.
    Program,
    /// A parent process, which sends SIGTERM. A terminal sends SIGINT to both; the parent handles it.
    Parent,
    /// The caller.
    Caller,
}

impl Program for Wsgi {
    fn defaults(&self) -> Vec<OsString> {
        self.own.defaults()
    }

    fn takes(&mut self, name: &str, values: &[OsString]) -> Result<bool, String> {
        self.own.takes(name, values)
    }

    fn has_application(&self) -> bool {
        true
    }

    fn words(&mut self, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
        self.own.words(words)
    }

    fn descriptors(&self) -> Option<&[u32]> {
        self.how.descriptors.as_deref()
    }

    fn application(&mut self) -> Option<(Box<dyn RequestHandler>, String)> {
        let application = self.application.take()?;
        let line = format!("  application {}\n", self.how.name);
        let Some((most, retire)) = self.how.retire.take() else { return Some((Box::new(application), line)) };
        let count = AtomicU64::new(0);
        let counted = application.layer(layer_fn(move |request, next| {
            let response = next.run(request);
            if count.fetch_add(1, Relaxed) + 1 == most {
                call(&retire);
            }
            response
        }));
        Some((Box::new(counted), line))
    }

    fn handles_signals(&self) -> bool {
        self.how.signals == Signals::Program
    }

    fn announces(&self) -> bool {
        self.how.announces
    }

    fn bound(&mut self, server: &TcpServer) {
        Python::attach(|py| self.template.listens(py, server.local_addrs()));
        let addresses = server.local_addrs().iter().map(ToString::to_string).collect();
        let _ = self.running.set((server.handle(), addresses));
        if self.how.signals == Signals::Parent
            && let Err(error) = shutdown_on_sigterm(server.handle())
        {
            log::error!("SIGTERM can't be handled: {error}");
        }
    }

    fn ready(&mut self) -> Box<dyn FnOnce() + Send> {
        let ready = self.how.ready.take();
        Box::new(move || ready.iter().for_each(call))
    }
}

/// The first SIGTERM begins a shutdown, a second one ends the process.
fn shutdown_on_sigterm(handle: ServerHandle) -> io::Result<()> {
    let mut signals = iterator::Signals::new([SIGTERM])?;
    let wait = move || {
        for (number, _) in signals.forever().enumerate() {
            match number {
                0 => handle.shutdown(),
                _ => signal_hook::low_level::exit(128 + SIGTERM),
            }
        }
    };
    thread::Builder::new().name("modest-signals".into()).spawn(wait).map(drop)
}

fn call(callable: &Py<PyAny>) {
    crate::attached::attached(|py| {
        if let Err(raised) = callable.call0(py) {
            crate::errors::log_exception(py, "modest-wsgi", &raised);
        }
    });
}

/// Serves an application until the server is shut down. Returns the exit status of the program.
///
/// `args`: options of `modest-wsgi`; `names_application`: whether they contain the application.
#[pyfunction]
#[pyo3(signature = (
    application, args, *, names_application, name, server, multiprocess = false, descriptors = None, ready = None,
    retire = None, signals = "program", announce = true
))]
#[expect(clippy::too_many_arguments, reason = "named, in Python")]
pub fn serve(
    py: Python<'_>,
    application: Py<PyAny>,
    args: Vec<OsString>,
    names_application: bool,
    name: String,
    server: &Server,
    multiprocess: bool,
    descriptors: Option<Vec<u32>>,
    ready: Option<Py<PyAny>>,
    retire: Option<(u64, Py<PyAny>)>,
    signals: &str,
    announce: bool,
) -> PyResult<u8> {
    let (_, options) = Own::parse(args.clone(), !names_application).map_err(|(text, _)| PyValueError::new_err(text))?;
    let (own, rest) = Own::split(args, !names_application).map_err(PyValueError::new_err)?;
    let signals = match signals {
        "program" => Signals::Program,
        "parent" => Signals::Parent,
        _ => Signals::Caller,
    };
    let template = Arc::new(Template::new(py, options.limits.workers != Some(1), multiprocess)?);
    let how = How { name, descriptors, ready, retire, signals, announces: announce };
    let application = Application::new(application, Arc::clone(&template));
    let running = Arc::clone(&server.running);
    let mut program = Wsgi { own, application: Some(application), template, how, running };
    Ok(py.detach(|| modest_cli::run_as(&mut program, with_name(rest))))
}
