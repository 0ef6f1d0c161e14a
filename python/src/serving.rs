//! The server of an application, which `modest/wsgi.py` starts: the program's options, with an application in place of
//! its folder.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use modest::{RequestHandler, ServerHandle, TcpServer, layer_fn};
use pyo3::exceptions::{PyOSError, PySystemExit, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};
use signal_hook::consts::{SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator;

use crate::application::Application;
use crate::attached::with_threads;
use crate::environ::Template;
use crate::errors::{log_exception, log_holds_lines};
use crate::forked::status_of_exit;
use crate::parent::Listeners;
use crate::settings::{Own, Settings};
use modest_cli::error::CliError;
use modest_cli::program::{Inherited, Program, SIGNALS};

/// A server that runs in another thread, or will run.
#[pyclass(frozen, module = "modest._modest")]
#[derive(Default)]
pub struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Whether the server was passed to a call of `serve`.
    is_taken: bool,
    /// It may be shut down before it runs.
    is_shut_down: bool,
    running: Option<(ServerHandle, Vec<String>)>,
}

/// A panic elsewhere leaves the state complete.
fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Server {
    #[new]
    fn new() -> Server {
        Server::default()
    }

    /// Finishes the requests in progress, and stops. A server that is not yet started will stop at once.
    fn shutdown(&self) {
        self.stop(ServerHandle::shutdown);
    }

    /// Like `shutdown`, without the delay of the server.
    fn hand_over(&self) {
        self.stop(ServerHandle::hand_over);
    }

    /// Returns the addresses of the server; empty before it listens and after it has ended.
    #[getter]
    fn addresses(&self) -> Vec<String> {
        locked(&self.0).running.as_ref().map(|(_, addresses)| addresses.clone()).unwrap_or_default()
    }
}

impl Server {
    fn stop(&self, by: fn(&ServerHandle)) {
        let mut state = locked(&self.0);
        state.is_shut_down = true;
        let handle = state.running.as_ref().map(|(handle, _)| handle.clone());
        drop(state);
        handle.iter().for_each(by);
    }

    /// Takes the state for one call of `serve`.
    fn take(&self) -> PyResult<Arc<Mutex<State>>> {
        match std::mem::replace(&mut locked(&self.0).is_taken, true) {
            true => Err(PyValueError::new_err("this Server was used before; each call of serve() needs its own")),
            false => Ok(Arc::clone(&self.0)),
        }
    }
}

/// The options, and the application.
struct Wsgi {
    own: Own,
    /// Set by `load`.
    callable: Arc<OnceLock<Py<PyAny>>>,
    template: Arc<Template>,
    how: How,
    state: Arc<Mutex<State>>,
    /// The exception that the caller gets if the server can't serve.
    raised: Option<PyErr>,
    /// The status of `sys.exit()`, if a signal handler of the application has called it.
    exit: Option<u8>,
}

/// The arguments of `serve`.
struct How {
    /// The application's name in the banner.
    name: String,
    /// The function that returns the application.
    load: Py<PyAny>,
    inherited: Inherited,
    /// Called when the server accepts clients.
    ready: Option<Py<PyAny>>,
    /// Called with a function that serves. It calls that function in another thread, while this thread runs Python's
    /// signal handlers.
    beside: Option<Py<PyAny>>,
    /// Called after this many requests.
    retire: Option<(u64, Py<PyAny>)>,
    signals: Signals,
    announces: bool,
    /// Whether the log is JSON.
    logs_json: bool,
}

/// The handler of signals.
#[derive(Clone, Copy, PartialEq)]
enum Signals {
    /// The program, as `modest` does.
    Program,
    /// A parent process, which sends SIGTERM for a stop, SIGUSR1 to reload files, and SIGUSR2 once a successor serves. A
    /// terminal sends SIGINT to both; the parent handles it.
    Parent,
    /// The caller.
    Caller,
}

impl Program for Wsgi {
    fn name(&self) -> &'static str {
        self.own.name()
    }

    fn has_application(&self) -> bool {
        true
    }

    fn inherited(&self) -> Inherited {
        self.how.inherited.clone()
    }

    fn application(&mut self) -> Option<(Box<dyn RequestHandler>, String)> {
        let application = Application::new(Arc::clone(&self.callable), Arc::clone(&self.template));
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

    fn load(&mut self) -> Result<(), CliError> {
        let loaded = Python::attach(|py| {
            self.how.load.call0(py).map_err(|raised| match os_error(py, &raised) {
                Some(error) => CliError::serving(&error),
                None => CliError::application(raised.value(py).to_string()),
            })
        });
        let _ = self.callable.set(loaded?); // called once
        Ok(())
    }

    fn handles_signals(&self) -> bool {
        self.how.signals == Signals::Program
    }

    fn reload_signals(&self) -> &'static [i32] {
        match self.how.signals {
            Signals::Program => &SIGNALS,
            Signals::Parent => &[SIGUSR1], // a terminal sends SIGHUP to all processes
            Signals::Caller => &[],
        }
    }

    fn announces(&self) -> bool {
        self.how.announces
    }

    fn bound(&mut self, server: TcpServer) -> TcpServer {
        log_holds_lines(self.how.logs_json); // the log was started
        let has_gil = Python::attach(|py| {
            self.template.listens(py, server.local_addrs());
            has_gil(py)
        });
        let addresses = server.local_addrs().iter().map(ToString::to_string).collect();
        let mut state = locked(&self.state);
        state.running = Some((server.handle(), addresses));
        if state.is_shut_down {
            server.handle().shutdown();
        }
        drop(state);
        if self.how.signals == Signals::Parent
            && let Err(error) = shutdown_on_signals(server.handle())
        {
            log::error!("signals can't be handled: {error}");
        }
        let server = server.stack_size(STACK);
        match has_gil {
            true => server.parallelism(1),
            false => server,
        }
    }

    fn serve(&mut self, server: &Arc<TcpServer>) -> io::Result<()> {
        let Some(beside) = self.how.beside.take() else { return server.serve_forever() };
        let (server, (sender, result), begun) = (Arc::clone(server), mpsc::channel(), Arc::<AtomicBool>::default());
        let begins = Arc::clone(&begun);
        let run = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            begins.store(true, Relaxed);
            let _ = args.py().detach(|| sender.send(server.serve_forever()));
        };
        let called = Python::attach(|py| {
            let call = || beside.call1(py, (PyCFunction::new_closure(py, None, None, run)?,));
            call().map_or_else(
                |raised| match os_error(py, &raised).filter(|_| !begun.load(Relaxed)) {
                    Some(error) => Err(error), // there is no thread or no pipe
                    None => self.raised_by_a_handler(py, &raised),
                },
                |_| Ok(()),
            )
        });
        let served = result.recv().unwrap_or(Ok(())); // no result: it was not called
        served.and(called)
    }

    fn failed(&mut self, error: &CliError) -> bool {
        let is_raised = self.how.signals == Signals::Caller;
        if is_raised {
            self.raised = Some(match (error.errno(), error.is_usage()) {
                (_, true) => PyValueError::new_err(crate::settings::line(&error.to_string())),
                (Some(errno), _) => PyOSError::new_err((errno, error.to_string())),
                (None, _) => PyOSError::new_err(error.to_string()),
            });
        }
        !is_raised
    }

    fn ready(&mut self) -> Box<dyn FnOnce() + Send> {
        let ready = self.how.ready.take();
        Box::new(move || ready.iter().for_each(call))
    }
}

impl Wsgi {
    /// A signal handler of the application has raised this exception. The shutdown has begun.
    fn raised_by_a_handler(&mut self, py: Python<'_>, raised: &PyErr) -> io::Result<()> {
        if raised.is_instance_of::<PySystemExit>(py) {
            self.exit = Some(status_of_exit(py, raised));
            return Ok(());
        }
        log_exception(py, "modest-wsgi", raised);
        Err(io::Error::other("a signal handler of the application raised an exception"))
    }
}

/// Returns the error of the system that this exception reports.
fn os_error(py: Python<'_>, raised: &PyErr) -> Option<io::Error> {
    raised.value(py).getattr("errno").ok()?.extract().ok().map(io::Error::from_raw_os_error)
}

/// The stack of each thread that calls Python, which is also that of a main thread. Python's limits of recursion assume
/// it: with 2 MiB, a recursion through `sorted()` overflows the stack before the limit of 1000 calls is reached.
const STACK: usize = 8 << 20;

/// Returns whether calls of Python wait for each other. Free-threaded Python returns false from `sys._is_gil_enabled`.
fn has_gil(py: Python<'_>) -> bool {
    let asked = py.import("sys").and_then(|sys| sys.call_method0("_is_gil_enabled")).and_then(|it| it.extract());
    asked.unwrap_or(true) // before Python 3.13 there is no such function
}

/// Handles signals: SIGTERM begins a shutdown. SIGUSR2 begins one without a delay, because a successor serves already.
/// Further signals change nothing: a service manager can send SIGTERM to all processes, and the parent then sends it
/// once more. The parent kills a process that takes too long.
fn shutdown_on_signals(handle: ServerHandle) -> io::Result<()> {
    let mut signals = iterator::Signals::new([SIGTERM, SIGUSR2])?;
    let wait = move || {
        for number in signals.forever() {
            match number {
                SIGUSR2 => handle.hand_over(),
                _ => handle.shutdown(),
            }
        }
    };
    thread::Builder::new().name("modest-signals".into()).spawn(wait).map(drop)
}

fn call(callable: &Py<PyAny>) {
    Python::attach(|py| {
        if let Err(raised) = callable.call0(py) {
            log_exception(py, "modest-wsgi", &raised);
        }
    });
}

/// Serves an application until the server is shut down. Returns the exit status of the program. Raises the error of
/// a server that can't serve if the caller handles signals; otherwise prints it on stderr.
///
/// `load`: returns the application, or raises an exception whose text is printed. `listeners`: the parent's, with the
/// number of this process.
#[pyfunction]
#[pyo3(signature = (
    load, settings, *, name, server, multiprocess = false, listeners = None, ready = None, beside = None,
    retire = None, signals = "program", announce = true
))]
#[expect(clippy::too_many_arguments, reason = "named, in Python")]
pub fn serve(
    py: Python<'_>,
    load: Py<PyAny>,
    settings: &Settings,
    name: String,
    server: &Server,
    multiprocess: bool,
    listeners: Option<(PyRef<'_, Listeners>, usize)>,
    ready: Option<Py<PyAny>>,
    beside: Option<Py<PyAny>>,
    retire: Option<(u64, Py<PyAny>)>,
    signals: &str,
    announce: bool,
) -> PyResult<u8> {
    let parsed = settings.options()?;
    let (own, options) = (*parsed).clone();
    let signals = match signals {
        "program" => Signals::Program,
        "parent" => Signals::Parent,
        _ => Signals::Caller,
    };
    let template = Arc::new(Template::new(py, options.limits.workers != Some(1), multiprocess)?);
    let inherited = listeners.map(|(listeners, number)| listeners.inherited(number)).unwrap_or_default();
    let logs_json = modest_cli::logging::is_json(&options);
    let how = How { name, load, inherited, ready, beside, retire, signals, announces: announce, logs_json };
    let finishing = options.longest_shutdown();
    let state = server.take()?;
    let of_program = Arc::clone(&state);
    let mut program =
        Wsgi { own, callable: Arc::default(), template, how, state: of_program, raised: None, exit: None };
    let status = py.detach(|| with_threads(finishing, || modest_cli::run_with(&mut program, options)));
    locked(&state).running = None;
    let status = if status == 0 { program.exit.unwrap_or(0) } else { status };
    program.raised.map_or(Ok(status), Err)
}
