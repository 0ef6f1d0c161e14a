//! `--proxy`: paths whose requests are passed on to another server. Called by `site`, by `lib` for its checks, and by
//! `serving` for the banner.

use std::fmt::Write as _;

use modest::{ReverseProxy, Routes};

use crate::access;
use crate::error::CliError;
use crate::mounts::Mount;
use crate::options::Options;
use crate::values::Backend;

/// Returns whether a backend handles the requests that no folder handles. Then no folder needs to be named.
pub fn take_the_rest(options: &Options) -> bool {
    options.serving.proxy.iter().any(|backend| backend.at.is_empty())
}

/// Adds a handler for each backend.
pub fn mount(mut routes: Routes, options: &Options) -> Result<Routes, CliError> {
    for backend in &options.serving.proxy {
        let handler = handler(options, backend)?;
        let at = path(options, backend);
        routes = if at.is_empty() { routes.fallback(handler) } else { routes.mount(&at, handler) };
    }
    Ok(routes)
}

fn handler(options: &Options, backend: &Backend) -> Result<ReverseProxy, CliError> {
    let proxy = ReverseProxy::new(&backend.url).map_err(|error| CliError::usage(format!("--proxy: {error}")))?;
    // If this server asks for passwords, they are meant for it and are not passed on.
    let proxy = proxy.authorization(!access::asks_for_passwords(options));
    let serving = &options.serving;
    Ok(set! {
        proxy.without_prefix(options.prefix());
        response_timeout = serving.proxy_timeout;
        at_once = serving.proxy_at_once;
        body_limit = serving.proxy_body_limit;
        idle_connections = serving.proxy_idle_connections;
        idle_timeout = serving.proxy_idle_timeout;
    })
}

/// Returns the path of the backend on this server.
pub fn path(options: &Options, backend: &Backend) -> String {
    format!("{}{}", options.prefix(), backend.at)
}

/// Rejects two backends at one path, and a backend at the path of a folder.
pub fn check(options: &Options, places: &[Mount]) -> Result<(), CliError> {
    let backends = &options.serving.proxy;
    for (number, backend) in backends.iter().enumerate() {
        let (at, shown) = (path(options, backend), format!("{}/", backend.at));
        if backends[..number].iter().any(|other| other.at == backend.at) {
            return Err(CliError::usage(format!("--proxy: {shown} was given twice")));
        }
        if places.iter().any(|place| place.at == at) {
            return Err(CliError::usage(format!(
                "--proxy: a folder is served at {shown} already; give one of them another path, as in /docs=book"
            )));
        }
    }
    Ok(())
}

pub fn lines(options: &Options) -> String {
    options.serving.proxy.iter().fold(String::new(), |mut lines, backend| {
        let at = modest::encode_path(path(options, backend));
        let _ = writeln!(lines, "  requests for {at}/ are passed on to {}", backend.url);
        lines
    })
}
