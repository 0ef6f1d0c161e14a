//! The life of the program: opens all that its options name, gives up rights, loads, serves, and reports. Called by
//! `lib`.

use std::sync::Arc;
use std::time::Instant;

use log::{debug, warn};
use modest::TcpServer;

use crate::address::BindAddress;
use crate::banner::{self, Served};
use crate::error::CliError;
use crate::hosts::Reach;
use crate::logging::{self, Lines, LogHandle, Zone};
use crate::metrics::{Figures, Page};
use crate::mounts::Mount;
use crate::options::{Options, Verbosity};
use crate::program::{Inherited, Program};
use crate::signals::{self, Reloads};
use crate::site::{self, Front, Sums};
use crate::{access, backends, checked, listening, own_files, privileges, sys, uploads};

#[cfg(feature = "tls")]
use crate::encryption;

/// Serves until a signal arrives, or only checks the settings.
pub fn serve(options: Options, program: &mut dyn Program, zone: &Zone, lines: &Lines) -> Result<(), CliError> {
    let descriptors = raise_descriptor_limit();
    let (places, addresses) = checked(&options, program.has_application())?;
    let inherited = program.inherited();
    let addresses = inherited_or(&inherited.sockets, || Ok(addresses))?;
    let unused = listening::unused(&options, &addresses)?;
    let opening = Opening::new(&options, &inherited, zone);
    let mut opened = opening.open(&addresses, &places, program)?;
    // No thread runs yet, so all later threads lack the rights that are dropped now. The log is opened afterwards, as
    // the user that reopens it later.
    privileges::give_up(&options, &places, &[opened.server.local_addrs(), opened.page.local_addrs()].concat())?;
    program.load()?;
    let log = logging::start(&options, zone)?;
    opened.watch(&options, &places, program, &log, lines)?;
    debug!("file descriptor limit: {descriptors}");
    sys::report().lines().for_each(|line| debug!("{line}"));
    warn_of(&options, &places, &unused, program.has_application());
    beyond(descriptors, &options).for_each(|line| warn!("{}", options.starting.origins.rename(&line)));
    let served = match options.starting.check {
        true => banner::print(&lines.of_stdout(&opened.valid(&options, &places))),
        false => opened.run(options, places, program, lines),
    };
    log.finish();
    served
}

struct Opening<'a> {
    options: &'a Options,
    inherited: &'a Inherited,
    zone: &'a Zone,
    sums: Arc<Sums>,
    figures: Figures,
    /// The addresses that `--check` has not bound.
    in_use: Vec<String>,
}

/// A server that is bound. No thread runs yet.
struct Opened {
    server: TcpServer,
    served: Served,
    #[cfg(feature = "tls")]
    certificates: Option<modest::Certificates>,
    page: Page,
    sums: Arc<Sums>,
    figures: Figures,
    reloads: Reloads,
    in_use: Vec<String>,
    /// The lines of the banner about the application, the backends and the metrics.
    told: String,
}

impl<'a> Opening<'a> {
    fn new(options: &'a Options, inherited: &'a Inherited, zone: &'a Zone) -> Opening<'a> {
        let figures = Figures::of(options);
        Opening { options, inherited, zone, sums: Arc::default(), figures, in_use: Vec::new() }
    }

    /// Opens the site and binds all addresses.
    fn open(
        mut self,
        addresses: &[BindAddress],
        places: &[Mount],
        program: &mut dyn Program,
    ) -> Result<Opened, CliError> {
        let addresses: Vec<_> = addresses.iter().map(|address| self.bindable(address)).collect();
        let (application, line) = program.application().unzip();
        let (reach, mut reloads) = (Reach::default(), Reloads::default());
        let (options, front) = (self.options, self.front());
        let http = site::open(options, places, application, &reach, &self.figures, front, &mut reloads)?;
        #[cfg(not(feature = "tls"))]
        let (server, served) = (listening::bind(options, &addresses, http)?, Served::plainly());
        #[cfg(feature = "tls")]
        let (server, served, certificates) = self.bind(&addresses, http, &reach)?;
        let bound = server.local_addrs();
        reach.set(&bound[..served.count.min(bound.len())]);
        if served.scheme == "http" {
            access::check_listeners(options, bound)?;
        }
        let bindable = |address: BindAddress| bindable(options, &address, &mut self.in_use);
        let page = listening::page(options, &self.figures, self.inherited.metrics, &server.handle(), bindable)?;
        Ok(Opened {
            server,
            served,
            #[cfg(feature = "tls")]
            certificates,
            page,
            sums: self.sums,
            figures: self.figures,
            reloads,
            in_use: self.in_use,
            told: line.unwrap_or_default() + &backends::lines(options),
        })
    }

    /// Binds the addresses of the site, with TLS if that is enabled, and those that redirect to it.
    #[cfg(feature = "tls")]
    fn bind(
        &mut self,
        addresses: &[BindAddress],
        http: modest::Http<site::Site>,
        reach: &Reach,
    ) -> Result<(TcpServer, Served, Option<modest::Certificates>), CliError> {
        let options = self.options;
        let Some(opened) = encryption::open(options, addresses, self.inherited.identity.as_ref())? else {
            return Ok((listening::bind(options, addresses, http)?, Served::plainly(), None));
        };
        let plain = encryption::redirect(options, reach, &self.figures, None, self.front())?;
        let protected = opened.tls.plain(plain).protect(http);
        let certificates = protected.certificates();
        let mut server = listening::bind(options, addresses, protected)?;
        let served = Served { scheme: "https", count: server.local_addrs().len(), fingerprint: opened.fingerprint };
        for address in inherited_or(&self.inherited.redirects, || encryption::redirecting(options, addresses))? {
            let port = listening::port_of(&address, addresses, &server.local_addrs()[..served.count]);
            let port = port.or(server.port());
            let redirect = encryption::redirect(options, reach, &self.figures, port, self.front())?;
            server = listening::also(server, options, &self.bindable(&address), redirect)?;
        }
        Ok((server, served, Some(certificates)))
    }

    fn front(&self) -> Front {
        let has_colours = logging::has_colours(self.options);
        Front::new(self.options, self.zone.known.clone(), has_colours, Arc::clone(&self.sums))
    }

    fn bindable(&mut self, address: &BindAddress) -> BindAddress {
        bindable(self.options, address, &mut self.in_use)
    }
}

/// Returns this address, or with `--check` one that can be bound in its place if it is in use.
fn bindable(options: &Options, address: &BindAddress, in_use: &mut Vec<String>) -> BindAddress {
    if !options.starting.check {
        return address.clone();
    }
    let (free, is_in_use) = address.to_check();
    in_use.extend(is_in_use.then(|| address.to_string()));
    free
}

/// Returns these sockets of a parent process. If there are none, the addresses of the options.
fn inherited_or(
    sockets: &[u32],
    addresses: impl FnOnce() -> Result<Vec<BindAddress>, CliError>,
) -> Result<Vec<BindAddress>, CliError> {
    match sockets.is_empty() {
        true => addresses(),
        false => Ok(sockets.iter().copied().map(BindAddress::inherited).collect()),
    }
}

impl Opened {
    /// Handles signals, and reports and reloads the files that can change.
    fn watch(
        &mut self,
        options: &Options,
        places: &[Mount],
        program: &dyn Program,
        log: &LogHandle,
        lines: &Lines,
    ) -> Result<(), CliError> {
        if program.handles_signals() {
            let handle = self.server.handle();
            signals::shutdown_on_signals(&handle, options, lines.clone()).map_err(CliError::signals)?;
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = self.certificates.take() {
            certificates.warn_of_expiry();
            self.figures.of_certificates(certificates.clone());
            encryption::reload(certificates, &options.encryption, &mut self.reloads);
        }
        let at = |place: &Mount| if place.at.is_empty() { "/".into() } else { place.at.clone() };
        let uploading = uploads::places(options, places).map(|place| (at(place), place.path.clone()));
        self.figures.of_program(&self.reloads, log.clone(), uploading.collect());
        let signals = program.reload_signals();
        let (all, places) = (options.clone(), places.to_vec());
        let check = move |option: &str| own_files::check_again(option, &all, &places);
        std::mem::take(&mut self.reloads).at(signals, options, Box::new(check), log.clone()).map_err(CliError::signals)
    }

    /// Returns the text of a successful `--check`, with the folders that would accept uploads.
    fn valid(&self, options: &Options, places: &[Mount]) -> String {
        let untried = self.in_use.iter().map(|address| format!("{address} is in use, so it was not bound.\n"));
        let uploads = banner::uploads(options, places, self.server.local_addrs());
        format!("The settings are valid.\n{}{uploads}", untried.collect::<String>())
    }

    /// Serves until the shutdown.
    fn run(
        self,
        options: Options,
        places: Vec<Mount>,
        program: &mut dyn Program,
        lines: &Lines,
    ) -> Result<(), CliError> {
        let Opened { server, served, page, sums, told, .. } = self;
        let (verbosity, announces, begun) = (options.verbosity(), program.announces(), Instant::now());
        let page = page.start().map_err(|error| CliError::serving(&error))?;
        let Inherited { sockets, metrics_lines: of_all, .. } = program.inherited();
        let told = told + if of_all.is_empty() { &page.line } else { &of_all };
        let (bound, said) = (server.local_addrs().to_vec(), lines.clone());
        let server = program.bound(server);
        let ready = program.ready();
        let server = Arc::new(server.on_ready(move || {
            if announces {
                banner::announce(&options, &places, &bound, &served, &told, &said);
            }
            ready();
        }));
        let served = program.serve(&server);
        page.stop();
        let stats = server.stats();
        debug!("stopped: {stats:?}");
        let is_all = sockets.is_empty(); // a process with a parent has served only some of the requests
        if served.is_ok() && verbosity != Verbosity::Quiet && announces && is_all {
            banner::tell(lines.of_stdout(&banner::summary(&sums, begun.elapsed())));
        }
        served.map_err(|error| CliError::serving(&error))
    }
}

/// Logs what is valid but probably wrong.
fn warn_of(options: &Options, places: &[Mount], unused: &[String], has_application: bool) {
    if let Some(version) = &options.listening.protocol {
        warn!("--protocol {version}: this server always responds with HTTP/1.1; it also serves HTTP/1.0 clients");
    }
    let origins = &options.starting.origins;
    let of_uploads = [uploads::overlaps(options, places), uploads::without_room(options, places)].concat();
    of_uploads.iter().for_each(|told| warn!("{}", origins.rename(told)));
    if let Some(line) = privileges::no_folder_for_bodies(options, has_application) {
        warn!("{}", origins.rename(&line));
    }
    if access::grants_useless_write(options, has_application) {
        warn!("{}", origins.rename("--allow: the right to write has no effect without --upload"));
    }
    #[cfg(feature = "tls")]
    if encryption::is_password_unused(options) {
        warn!("{}", origins.rename("--tls-password-file has no effect: no key is encrypted"));
    }
    for socket in unused {
        warn!("systemd passed {socket}, which --bind doesn't name: connections to it are never accepted");
    }
    for name in access::unknown_users(options) {
        let line = format!("--auth: --allow or --group names the user {name}, who is not in the file");
        warn!("{}", origins.rename(&line));
    }
}

/// Returns a line for each limit that is never reached, because the process has too few file descriptors.
fn beyond(descriptors: u64, options: &Options) -> impl Iterator<Item = String> {
    let numbers = [
        ("--max-connections", options.limits.max_connections),
        ("--open-files", options.limits.open_files),
        ("--uploads-at-once", options.uploading.uploads_at_once),
    ];
    numbers.into_iter().filter_map(move |(option, number)| {
        let number = number.filter(|&number| number as u64 > descriptors)?;
        Some(format!(
            "{option} {number} exceeds the limit of {descriptors} file descriptors; allow more, for example by \
             LimitNOFILE= in a systemd unit, or 'ulimit -n'"
        ))
    })
}

/// Raises the soft file descriptor limit, often 1,024, to the hard limit: each client needs a descriptor.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // a failure leaves the limit unchanged
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
