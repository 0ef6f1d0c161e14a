//! Listening sockets that a parent process creates for the serving processes. It creates them before it has a second
//! thread, and never accepts from them.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::settings::Settings;
use modest_cli::error::CliError;
use modest_cli::program::Inherited;
use modest_cli::shared::Shared;

/// The sockets. While this exists, they listen, and the file of a Unix socket stays.
#[pyclass(frozen, module = "modest._modest")]
pub struct Listeners(Shared);

#[pymethods]
impl Listeners {
    #[new]
    fn new(settings: &Settings, processes: usize) -> PyResult<Listeners> {
        let parsed = settings.options()?;
        let options = &parsed.1;
        let shared = Shared::new(options, processes);
        let named = |error: CliError| error.named(&options.starting.origins).to_string();
        let text = |error| named(error).replace("'modest --help'", "'modest-wsgi --help'");
        shared.map(Listeners).map_err(|error| PyOSError::new_err(format!("modest-wsgi: {}", text(error))))
    }

    /// Refuses new clients, because all processes end. Returns the seconds after which they can stop accepting.
    fn refuse_clients(&self) -> f64 {
        self.0.refuse_clients().as_secs_f64()
    }
}

impl Listeners {
    /// Returns the sockets for the process with this number.
    pub fn inherited(&self, number: usize) -> Inherited {
        self.0.inherited(number)
    }
}
