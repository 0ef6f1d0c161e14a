//! A site with one half in Rust and the other in Flask: routes of Rust are matched first, and everything else goes to
//! Flask, which is protected by a layer as any handler is. Python runs inside this program.
//!
//! ```sh
//! pip install flask
//! cargo run --release --manifest-path python/Cargo.toml --example half
//! curl localhost:8000/api/sum?a=1\&b=2 localhost:8000/hello/Ada
//! ```

use std::time::Duration;

use _modest::Application;
use modest::layers::RateLimit;
use modest::{Http, Request, RequestHandler, Response, Result, Routes, TcpServer};
use pyo3::prelude::*;
use pyo3::types::PyModule;

const FLASK: &std::ffi::CStr = c"
from flask import Flask, request

app = Flask('half')

@app.route('/hello/<name>')
def hello(name):
    return f'Hello, {name}!\\n'

@app.post('/shout')
def shout():
    return request.get_data(as_text=True).upper()
";

/// The half in Rust.
struct Api;

impl Api {
    fn sum(&self, request: &Request) -> Result<Response> {
        let (a, b): (i64, i64) = (request.parse_param("a")?, request.parse_param("b")?);
        Ok(Response::text(format!("{}\n", a.saturating_add(b))))
    }
}

/// The half in Python.
fn flask() -> PyResult<Application> {
    Python::attach(|py| {
        let module = PyModule::from_code(py, FLASK, c"half.py", c"half")?;
        Application::of(&module.getattr("app")?, true)
    })
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr();
    let application = flask().map_err(|error| std::io::Error::other(error.to_string()))?;
    let application = application.layer(RateLimit::new(20, Duration::from_secs(60)));
    let site = Routes::new().get("/api/sum", Api::sum).fallback(application).with_state(Api);
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    // Flask has its own rules for repeated slashes. Calls of Python compute one at a time, on the stack of a main thread.
    let server = TcpServer::bind(address.as_str(), Http::new(site).strict_paths(false))?
        .workers(4)
        .parallelism(1)
        .stack_size(8 << 20);
    println!("Serving HTTP on {}", server.local_addr());
    server.serve_forever()
}
