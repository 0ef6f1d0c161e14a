//! Metrics for Prometheus: `--metrics`, `--metrics-bind`. Without these options it adds nothing. Called by `site`,
//! `listening` and `serving`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use modest::layers::Metrics;
use modest::{Address, RequestHandler, Routes, ServerHandle, TcpServer};
use rustix::fs::{StatVfs, statvfs};

use crate::address::BindAddress;
use crate::logging::LogHandle;
use crate::options::Options;
use crate::signals::Reloads;

/// The metrics, if they are enabled.
pub struct Figures {
    metrics: Option<Metrics>,
}

/// The page at a separate address, served by a thread.
pub struct Page {
    server: Option<TcpServer>,
    running: Option<(ServerHandle, JoinHandle<()>)>,
    /// The line with its address, for the user.
    pub line: String,
}

const PORT: u16 = 9464;
const PATH: &str = "/metrics";
/// The option with the address of the page.
pub const OPTION: &str = "--metrics-bind";

impl Figures {
    pub fn of(options: &Options) -> Figures {
        let is_enabled = options.serving.metrics.is_some() || options.listening.metrics_bind.is_some();
        Figures { metrics: is_enabled.then(Metrics::new) }
    }

    #[cfg(feature = "tls")]
    pub fn of_certificates(&self, certificates: modest::Certificates) {
        if let Some(metrics) = &self.metrics {
            metrics.certificate_expiry(move || certificates.expiry());
        }
    }

    /// Adds reloads, lost lines of the log, and free space in the folders that accept uploads, by the paths at which
    /// they are served.
    pub fn of_program(&self, reloads: &Reloads, log: LogHandle, folders: Vec<(String, PathBuf)>) {
        let Some(metrics) = &self.metrics else { return };
        let counts = reloads.counts();
        metrics.counter("modest_reloads_total", "Reloads of files by SIGHUP or SIGUSR1, by outcome.", move || {
            let count = |of: &AtomicU64| of.load(Relaxed) as f64;
            let outcome = |name: &str| Some(("outcome", name.to_owned()));
            vec![(outcome("done"), count(&counts.done)), (outcome("failed"), count(&counts.failed))]
        });
        let help = "Lines of the log that were lost.";
        metrics.counter("modest_log_lines_lost_total", help, move || vec![(None, log.lost_lines() as f64)]);
        if folders.is_empty() {
            return;
        }
        let folders = Arc::new(folders);
        let room = |folders: &[(String, PathBuf)], of: fn(&StatVfs) -> u64| {
            let sample =
                |(at, path): &(String, PathBuf)| Some((Some(("folder", at.clone())), of(&statvfs(path).ok()?) as f64));
            folders.iter().filter_map(sample).collect()
        };
        let all = Arc::clone(&folders);
        let help = "Free space in the file systems of folders that accept files.";
        metrics.gauge("modest_folder_free_bytes", help, move || room(&all, |stat| stat.f_bavail * stat.f_frsize));
        let help = "Free inodes in the file systems of folders that accept files.";
        metrics.gauge("modest_folder_free_inodes", help, move || room(&folders, |stat| stat.f_favail));
    }

    /// Adds the page to the site, inside its guard.
    pub fn beside(&self, site: Box<dyn RequestHandler>, options: &Options) -> Box<dyn RequestHandler> {
        match (&self.metrics, &options.serving.metrics) {
            (Some(metrics), Some(path)) if options.listening.metrics_bind.is_none() => {
                Box::new(Routes::new().mount(path, metrics.page()).fallback(site).with_state(()))
            }
            _ => site,
        }
    }

    pub fn around(&self, site: Box<dyn RequestHandler>) -> Box<dyn RequestHandler> {
        match &self.metrics {
            Some(metrics) => Box::new(site.layer(metrics.clone())),
            None => site,
        }
    }

    /// Returns the page for a separate address, with the metrics of this server, if they are enabled.
    pub fn page(&self, options: &Options, server: &ServerHandle) -> Option<Box<dyn RequestHandler>> {
        let metrics = self.metrics.as_ref().filter(|_| options.listening.metrics_bind.is_some())?;
        metrics.of(server.clone());
        Some(Box::new(Routes::new().mount(path(options), metrics.page()).with_state(())))
    }
}

fn path(options: &Options) -> &str {
    options.serving.metrics.as_deref().unwrap_or(PATH)
}

/// Returns the address of `--metrics-bind`.
pub fn address(options: &Options) -> Option<BindAddress> {
    let bind = options.listening.metrics_bind.as_ref()?;
    Some(BindAddress { port: bind.port.unwrap_or(PORT), option: OPTION, ..bind.address.clone() })
}

/// Returns the lines with these addresses of a page, for the user.
pub fn lines(addresses: &[Address], options: &Options) -> String {
    let path = path(options);
    let line = |at: &Address| match at.socket_addr() {
        Some(at) => format!("Metrics at http://{at}{path}\n"),
        None => format!("Metrics at {path} on {at}\n"),
    };
    addresses.iter().map(line).collect()
}

impl Page {
    pub fn none() -> Page {
        Page { server: None, running: None, line: String::new() }
    }

    pub fn of(server: TcpServer, options: &Options) -> Page {
        let line = lines(server.local_addrs(), options);
        Page { server: Some(server), running: None, line }
    }

    pub fn local_addrs(&self) -> &[Address] {
        self.server.as_ref().map_or(&[], TcpServer::local_addrs)
    }

    pub fn start(mut self) -> io::Result<Page> {
        if let Some(server) = self.server.take() {
            let handle = server.handle();
            let serve = move || {
                if let Err(error) = server.serve_forever() {
                    log::error!("--metrics-bind: {error}");
                }
            };
            let thread = std::thread::Builder::new().name("modest-metrics".into()).spawn(serve)?;
            self.running = Some((handle, thread));
        }
        Ok(self)
    }

    pub fn stop(self) {
        if let Some((server, thread)) = self.running {
            server.shutdown();
            let _ = thread.join(); // a panic was logged by its hook
        }
    }
}
