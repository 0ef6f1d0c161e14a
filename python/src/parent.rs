//! A parent process: the listening sockets that it creates for the serving processes, and its messages. It creates the
//! sockets before it has a second thread, and never accepts from them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use log::Level;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::settings::Settings;
use modest_cli::error::CliError;
use modest_cli::logging::{Lines, ParentLog, Zone};
use modest_cli::program::Inherited;
use modest_cli::shared::Shared;
use modest_cli::signals::Interrupt;

/// The sockets. While this exists in the parent, they listen, and the file of a Unix socket stays. A child takes them.
#[pyclass(frozen, module = "modest._modest")]
pub struct Listeners(Mutex<Option<Shared>>);

#[pymethods]
impl Listeners {
    #[new]
    fn new(settings: &Settings, processes: usize) -> PyResult<Listeners> {
        let parsed = settings.options()?;
        let options = &parsed.1;
        let shared = Shared::new(options, processes);
        let named = |error: CliError| error.named(&options.starting.origins).to_string();
        let text = |error| named(error).replace("'modest --help'", "'modest-wsgi --help'");
        shared
            .map(|shared| Listeners(Mutex::new(Some(shared))))
            .map_err(|error| PyOSError::new_err(format!("modest-wsgi: {}", text(error))))
    }

    /// Refuses new clients, because all processes end. Returns the seconds after which they can stop accepting.
    fn refuse_clients(&self) -> f64 {
        self.shared().as_ref().map_or(0.0, |shared| shared.refuse_clients().as_secs_f64())
    }
}

impl Listeners {
    /// Returns the sockets for the child with this number, and closes all others in it. Called once, in the child.
    pub fn inherited(&self, number: usize) -> Inherited {
        self.shared().take().map(|shared| shared.inherited(number)).unwrap_or_default()
    }

    fn shared(&self) -> MutexGuard<'_, Option<Shared>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The messages of a parent.
#[pyclass(frozen, module = "modest._modest")]
pub struct Log {
    log: ParentLog,
    interrupt: Interrupt,
}

#[pymethods]
impl Log {
    #[new]
    fn new(settings: &Settings) -> PyResult<Log> {
        let parsed = settings.options()?;
        let lines = Lines::of(&parsed.1, &Zone::of_machine());
        Ok(Log { log: ParentLog::of(&parsed.1), interrupt: Interrupt::of(&parsed.1, lines) })
    }

    /// Writes one line. `level`: ERROR, WARN or INFO.
    fn write(&self, level: &str, message: &str) -> PyResult<()> {
        let level = level.parse::<Level>().map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.log.write(level, "modest-wsgi", message);
        Ok(())
    }

    /// Prints that Ctrl-C ends the server. Returns the seconds after which `explain` is called if a process still runs.
    fn interrupted(&self) -> f64 {
        self.interrupt.print();
        self.interrupt.explained_after().as_secs_f64()
    }

    /// Prints what the server waits for.
    fn explain(&self) {
        self.interrupt.explain();
    }
}
