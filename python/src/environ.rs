//! The `environ` of a request (PEP 3333, "environ Variables"). A template has the entries that all requests share.
//! Bytes of a client become text in latin-1 (the PEP's "bytes-as-unicode").

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::OnceLock;

use modest::{Address, Request, TlsInfo, Version};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyType};
use pyo3::{intern, types::PyTuple};

use crate::errors::Errors;
use crate::file_wrapper::FileWrapper;
use crate::input::Input;

/// The entries that all requests of a server share.
pub struct Template {
    base: Py<PyDict>,
    /// The keys of fields that most clients send, by their names in upper case.
    keys: HashMap<&'static [u8], Py<PyString>>,
    /// The name and the port of the server, once it listens.
    server: OnceLock<(Py<PyString>, Py<PyString>)>,
}

/// Keys of fields that are created once.
const KNOWN: &[&str] = &[
    "CONTENT_TYPE",
    "HTTP_ACCEPT",
    "HTTP_ACCEPT_ENCODING",
    "HTTP_ACCEPT_LANGUAGE",
    "HTTP_AUTHORIZATION",
    "HTTP_CACHE_CONTROL",
    "HTTP_CONNECTION",
    "HTTP_COOKIE",
    "HTTP_DNT",
    "HTTP_EXPECT",
    "HTTP_HOST",
    "HTTP_IF_MODIFIED_SINCE",
    "HTTP_IF_NONE_MATCH",
    "HTTP_ORIGIN",
    "HTTP_PRAGMA",
    "HTTP_PRIORITY",
    "HTTP_RANGE",
    "HTTP_REFERER",
    "HTTP_SEC_CH_UA",
    "HTTP_SEC_CH_UA_MOBILE",
    "HTTP_SEC_CH_UA_PLATFORM",
    "HTTP_SEC_FETCH_DEST",
    "HTTP_SEC_FETCH_MODE",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_SEC_FETCH_USER",
    "HTTP_UPGRADE_INSECURE_REQUESTS",
    "HTTP_USER_AGENT",
    "HTTP_X_CSRFTOKEN",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_REAL_IP",
    "HTTP_X_REQUESTED_WITH",
];

impl Template {
    pub fn new(py: Python<'_>, multithread: bool, multiprocess: bool) -> PyResult<Template> {
        let base = PyDict::new(py);
        base.set_item("GATEWAY_INTERFACE", "CGI/1.1")?;
        base.set_item("SCRIPT_NAME", "")?;
        base.set_item("SERVER_NAME", "localhost")?; // until the server listens
        base.set_item("SERVER_PORT", "80")?;
        base.set_item("SERVER_SOFTWARE", concat!("modest/", env!("CARGO_PKG_VERSION")))?;
        base.set_item("wsgi.version", PyTuple::new(py, [1, 0])?)?;
        base.set_item("wsgi.multithread", multithread)?;
        base.set_item("wsgi.multiprocess", multiprocess)?;
        base.set_item("wsgi.run_once", false)?;
        base.set_item("wsgi.input_terminated", true)?;
        base.set_item("wsgi.file_wrapper", PyType::new::<FileWrapper>(py))?;
        let keys = KNOWN.iter().map(|key| (key.as_bytes(), PyString::intern(py, key).unbind())).collect();
        Ok(Template { base: base.unbind(), keys, server: OnceLock::new() })
    }

    /// Sets the address of the server, and its name if it listens at every address of this machine.
    pub fn listens(&self, py: Python<'_>, addresses: &[Address]) {
        let inet = addresses.iter().find_map(Address::socket_addr);
        let name = match inet.map(|address| address.ip()).filter(|ip| !ip.is_unspecified()) {
            Some(IpAddr::V6(ip)) => format!("[{ip}]"), // as in URLs (RFC 3875, section 4.1.14)
            Some(ip) => ip.to_string(),
            None => "localhost".to_owned(),
        };
        let port = inet.map_or(80, |address| address.port());
        let _ = self.server.set((PyString::new(py, &name).unbind(), PyString::new(py, &port.to_string()).unbind()));
    }

    /// Returns the `environ` of this request.
    pub fn environ<'py>(&self, py: Python<'py>, request: &Request) -> PyResult<Bound<'py, PyDict>> {
        let environ = self.base.bind(py).copy()?;
        set_line(&environ, request)?;
        self.set_server(&environ, request)?;
        set_client(&environ, request)?;
        self.set_fields(&environ, request)?;
        environ.set_item(intern!(py, "wsgi.input"), Bound::new(py, Input::of(py, request)?)?)?;
        environ.set_item(intern!(py, "wsgi.errors"), Bound::new(py, Errors::default())?)?;
        Ok(environ)
    }

    fn set_server(&self, environ: &Bound<'_, PyDict>, request: &Request) -> PyResult<()> {
        let py = environ.py();
        if let Some((name, port)) = self.server.get() {
            environ.set_item(intern!(py, "SERVER_NAME"), name)?;
            environ.set_item(intern!(py, "SERVER_PORT"), port)?;
        }
        if !request.is_secure() {
            return environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "http"));
        }
        environ.set_item(intern!(py, "wsgi.url_scheme"), intern!(py, "https"))?;
        environ.set_item(intern!(py, "HTTPS"), intern!(py, "on"))?;
        request.client().tls().map_or(Ok(()), |tls| set_tls(environ, tls))
    }

    /// Sets the `HTTP_` variables. A name with an underscore is left out: as a variable it would equal one with a
    /// hyphen. `Proxy` is also left out: in the environment of a process, `HTTP_PROXY` is the proxy of its own
    /// requests.
    fn set_fields(&self, environ: &Bound<'_, PyDict>, request: &Request) -> PyResult<()> {
        let py = environ.py();
        let mut key = Vec::with_capacity(64);
        for (name, value) in request.fields() {
            if name.contains(&b'_') || name.eq_ignore_ascii_case(b"proxy") {
                continue;
            }
            // The body is complete and no longer in chunks (RFC 9112, section 7.1.3).
            if name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding") {
                environ.set_item(intern!(py, "CONTENT_LENGTH"), request.body().len().to_string())?;
                continue;
            }
            key.clear();
            if !name.eq_ignore_ascii_case(b"content-type") {
                key.extend_from_slice(b"HTTP_");
            }
            key.extend(name.iter().map(|byte| if *byte == b'-' { b'_' } else { byte.to_ascii_uppercase() }));
            let key = match self.keys.get(key.as_slice()) {
                Some(key) => key.bind(py).clone(),
                None => latin1(py, &key),
            };
            let before = environ.len();
            environ.set_item(&key, latin1(py, value))?;
            if environ.len() == before {
                environ.set_item(&key, latin1(py, &joined(request, name)))?;
            }
        }
        // The host that the client requested: an absolute target has it, and a trusted proxy may report it (RFC 9112,
        // section 3.2.2).
        match request.host() {
            Some(host) => environ.set_item(intern!(py, "HTTP_HOST"), latin1(py, host.as_bytes())),
            None => Ok(()),
        }
    }
}

/// Returns the values of a field that was sent several times, joined to one (RFC 9110, section 5.3; for cookies RFC
/// 6265, section 5.4).
fn joined(request: &Request, name: &[u8]) -> Vec<u8> {
    let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b"," };
    let values = request.fields().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    values.collect::<Vec<_>>().join(separator)
}

/// Sets the entries for the request line.
fn set_line(environ: &Bound<'_, PyDict>, request: &Request) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(
        intern!(py, "REQUEST_METHOD"),
        match request.method().as_str() {
            "GET" => intern!(py, "GET").clone(),
            "POST" => intern!(py, "POST").clone(),
            other => PyString::new(py, other),
        },
    )?;
    let mount = request.mount_path();
    if !mount.is_empty() {
        environ.set_item(intern!(py, "SCRIPT_NAME"), latin1(py, mount))?;
    }
    let raw = path_beneath(request, mount);
    let path = match raw.contains('%') {
        true => latin1(py, &decoded(raw)),
        false => latin1(py, raw.as_bytes()),
    };
    environ.set_item(intern!(py, "PATH_INFO"), path)?;
    environ.set_item(intern!(py, "QUERY_STRING"), latin1(py, request.query().unwrap_or_default().as_bytes()))?;
    let target = latin1(py, request.target().as_bytes());
    environ.set_item(intern!(py, "RAW_URI"), &target)?;
    environ.set_item(intern!(py, "REQUEST_URI"), target)?;
    environ.set_item(
        intern!(py, "SERVER_PROTOCOL"),
        match request.version() {
            Version::HTTP_10 => intern!(py, "HTTP/1.0"),
            _ => intern!(py, "HTTP/1.1"),
        },
    )
}

/// Returns the path after that of the mount. It is empty at the mount itself, where `raw_path` is a slash.
fn path_beneath<'a>(request: &'a Request, mount: &[u8]) -> &'a str {
    match request.original_path().as_bytes() == mount && !mount.is_empty() {
        true => "",
        false => request.raw_path(),
    }
}

/// Variables of Apache's mod_ssl about the connection, which PEP 3333 recommends.
fn set_tls(environ: &Bound<'_, PyDict>, tls: &TlsInfo) -> PyResult<()> {
    let py = environ.py();
    environ.set_item(intern!(py, "SSL_PROTOCOL"), tls.version())?;
    environ.set_item(intern!(py, "SSL_CIPHER"), tls.cipher())?;
    if let Some(name) = tls.server_name() {
        environ.set_item(intern!(py, "SSL_TLS_SNI"), name)?;
    }
    let Some(certificate) = tls.peer_certificates().next() else {
        return environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), "NONE");
    };
    environ.set_item(intern!(py, "SSL_CLIENT_VERIFY"), "SUCCESS")?;
    let pem = py.import("ssl")?.call_method1("DER_cert_to_PEM_cert", (PyBytes::new(py, certificate),))?;
    environ.set_item(intern!(py, "SSL_CLIENT_CERT"), pem)
}

/// Sets the address of the client, which a trusted proxy may report, and the user, if a layer requires a login.
fn set_client(environ: &Bound<'_, PyDict>, request: &Request) -> PyResult<()> {
    let py = environ.py();
    let address = request.client_address();
    let ip = request.client_ip();
    environ.set_item(intern!(py, "REMOTE_ADDR"), ip.map_or_else(String::new, |ip| ip.to_string()))?;
    if let Some(port) = address.port().filter(|_| address.ip() == ip) {
        environ.set_item(intern!(py, "REMOTE_PORT"), port.to_string())?;
    }
    if let Some(user) = request.user() {
        environ.set_item(intern!(py, "REMOTE_USER"), latin1(py, user.as_bytes()))?;
        if let Some((scheme, _)) = request.header("authorization").and_then(|field| field.split_once(' ')) {
            environ.set_item(intern!(py, "AUTH_TYPE"), scheme)?;
        }
    }
    Ok(())
}

/// Decodes a path as sent. Each percent sign in it begins two hexadecimal digits.
fn decoded(raw: &str) -> Vec<u8> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or(b'0')).to_digit(16).unwrap_or_default() as u8;
        decoded.push(match byte {
            b'%' => digit(bytes.next()) << 4 | digit(bytes.next()),
            byte => byte,
        });
    }
    decoded
}

/// Bytes as text: each byte is a character.
pub fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().map(|byte| char::from(*byte)).collect::<String>()),
    }
}
