//! Sockets and a self-signed certificate that a parent process creates for the processes that it forks. They share the
//! sockets. Called by the parent of `modest-wsgi`; `serving` serves them in its children.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::Duration;

use modest::{Error, IntoProtocol, TcpServer, handler_fn};

use crate::address::BindAddress;
use crate::error::{CliError, reason};
use crate::listening;
use crate::metrics;
use crate::mounts;
use crate::options::Options;
use crate::program::Inherited;

/// The sockets in the parent. While this exists, they listen, and the files of Unix sockets stay.
pub struct Shared {
    servers: Vec<TcpServer>,
    sockets: Vec<OwnedFd>,
    redirects: Vec<OwnedFd>,
    /// One socket for each process.
    metrics: Vec<OwnedFd>,
    metrics_lines: String,
    #[cfg(feature = "tls")]
    identity: Option<modest::Identity>,
}

impl Shared {
    /// Listens on all addresses of the options, which [`check`](crate::check) has accepted, for this many processes.
    /// Starts no thread.
    ///
    /// # Errors
    /// If an address is not free or not valid.
    pub fn new(options: &Options, processes: usize) -> Result<Shared, CliError> {
        let addresses = mounts::addresses(options)?;
        let server = listening::bind(options, &addresses, nothing())?;
        let count = server.local_addrs().len();
        #[cfg(feature = "tls")]
        let server = crate::encryption::redirecting(options, &addresses)?
            .iter()
            .try_fold(server, |server, address| listening::also(server, options, address, nothing()))?;
        let mut sockets = shared(&server)?;
        let redirects = sockets.split_off(count);
        let page = |address: &BindAddress| listening::bind_page(options, address, nothing());
        let pages = metrics_addresses(options, processes)?.iter().map(page).collect::<Result<Vec<_>, _>>()?;
        let metrics = pages.iter().map(shared).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        Ok(Shared {
            metrics_lines: pages.iter().map(|page| metrics::lines(page.local_addrs(), options)).collect(),
            sockets,
            redirects,
            metrics,
            servers: std::iter::once(server).chain(pages).collect(),
            #[cfg(feature = "tls")]
            identity: crate::encryption::self_signed(options, &addresses)?,
        })
    }

    /// Refuses new clients, because all processes end. Returns the time after which they can stop accepting.
    pub fn refuse_clients(&self) -> Duration {
        let refused = self.servers.iter().map(|server| server.refuse_clients().unwrap_or_default());
        refused.max().unwrap_or_default()
    }

    /// Returns the sockets and the certificate for the child with this number, counted from 0. A process and its
    /// successor have the same number. Called in the child: all other descriptors are closed there, so that a socket
    /// closes when the child stops listening.
    pub fn inherited(self, number: usize) -> Inherited {
        let descriptors = |of: Vec<OwnedFd>| of.into_iter().map(number_of).collect();
        Inherited {
            sockets: descriptors(self.sockets),
            redirects: descriptors(self.redirects),
            metrics: self.metrics.into_iter().nth(number).map(number_of),
            metrics_lines: self.metrics_lines,
            #[cfg(feature = "tls")]
            identity: self.identity,
        }
    }
}

/// Returns the number of a descriptor, whose owner is the code that takes over this number.
fn number_of(descriptor: OwnedFd) -> u32 {
    descriptor.into_raw_fd().unsigned_abs() // never negative
}

/// Returns an address for the metrics of each process, because metrics count one process only: that of
/// `--metrics-bind`, and those with the ports after it.
pub fn metrics_addresses(options: &Options, processes: usize) -> Result<Vec<BindAddress>, CliError> {
    let Some(first) = metrics::address(options) else { return Ok(Vec::new()) };
    if processes > 1 && first.socket.is_some() {
        return Err(CliError::usage(format!(
            "--metrics-bind {first}: each process serves its own metrics on its own port, so expected an IP address"
        )));
    }
    let too_high = || CliError::usage(format!("--metrics-bind: there are no {processes} ports from {} on", first.port));
    let port = |number: usize| match first.port {
        0 => Ok(0),
        port => u16::try_from(usize::from(port) + number).map_err(|_| too_high()),
    };
    (0..processes).map(|number| Ok(BindAddress { port: port(number)?, ..first.clone() })).collect()
}

/// Returns a handler for the parent, which never serves.
fn nothing() -> impl IntoProtocol {
    handler_fn(|_| Err(Error::new(503, "")))
}

fn shared(server: &TcpServer) -> Result<Vec<OwnedFd>, CliError> {
    server.shared_listeners().map_err(|error| CliError::failure(reason(&error)).caused_by(&error))
}
