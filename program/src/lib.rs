//! The program `modest`: reads its options, opens the served folders, listens, and serves until a signal arrives.
//! Called by `main` and by the Python package; uses the library through its public API. It never uses `println!` or
//! `eprintln!`, which panic if the pipe is closed.
#![forbid(unsafe_code)]

/// Calls these methods of a builder with the options that are given. The others keep the library's defaults.
macro_rules! set {
    ($builder:expr; $($setting:ident = $value:expr;)*) => {{
        let builder = $builder;
        $(
            let builder = match $value {
                Some(value) => builder.$setting(value),
                None => builder,
            };
        )*
        builder
    }};
}

mod banner; // messages on stdout, `--qr`, `--open`

mod contradictions; // options that exclude each other

pub mod shared; // sockets that a parent process creates for its children

pub mod listening; // the server: addresses, proxies, limits

#[cfg(feature = "tls")]
mod encryption; // TLS

mod privileges; // `--user` and `--confine`

mod site; // the site: folders at their paths, layers, the access log

mod backends; // `--proxy`
mod metrics; // `--metrics`

mod access; // `--auth` and `--allow`
mod header; // `--header`
mod hosts; // `--allowed-host`
mod own_files; // checks that the server's own files are not served
mod uploads; // `--upload`

mod signals; // SIGINT and SIGTERM, and SIGHUP

mod reloading; // files that are read again

mod logging; // the log, on stderr or in a file

pub mod sources; // the command line, the environment and a file

mod print_config; // `--print-config`

pub mod program; // the program that uses the options

mod password; // `--hash-password`

mod option_files; // reading files that options name, from a pipe only once

pub mod mounts; // the meaning of words and addresses on the command line

mod help; // the texts of options: `-h`, `--help`, the man page, docs/cli.md

mod sys; // differences between systems: `--confine`, `--user`, `--open`

pub mod options; // all options

pub mod values; // values of options

pub mod error; // errors, in one line each

mod address; // an address to listen on

pub mod setting_sources; // the source of each setting

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use log::{debug, warn};

use self::address::BindAddress;
use self::banner::Served;
use self::error::CliError;
use self::logging::{Lines, Zone};
use self::metrics::Figures;
use self::mounts::Mount;
use self::options::{Options, Verbosity};
use self::program::{Folders, Program};
use self::signals::Reloads;
use self::site::{Front, Sums};
use self::sources::Action;

/// Runs the whole program. The exit status is 0 after a shutdown or `--help`, 1 if it cannot serve, 2 for invalid
/// arguments.
pub fn run() -> ExitCode {
    ExitCode::from(run_as(&mut Folders, std::env::args_os()))
}

/// Runs this program with these arguments. The first one is the program's name.
pub fn run_as(program: &mut dyn Program, args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    match sources::parse(args.iter().cloned(), program) {
        Ok(Action::Serve(options)) => run_with(program, *options),
        Ok(Action::Print(text)) => match banner::print(&format!("{text}\n")) {
            Ok(()) => 0,
            Err(error) => failed(&error, &Lines::of_invalid(&args), program),
        },
        Err(error) => failed(&error, &Lines::of_invalid(&args), program),
    }
}

/// Runs this program with options that [`sources::parse`] has returned.
pub fn run_with(program: &mut dyn Program, options: Options) -> u8 {
    let zone = logging::Zone::of_machine();
    let lines = logging::Lines::of(&options, &zone);
    let origins = options.starting.origins.clone();
    match serve(options, program, &zone, &lines) {
        Ok(()) => 0,
        Err(error) => failed(&error.named(&origins), &lines, program),
    }
}

/// Prints an error, and returns its exit status.
fn failed(error: &CliError, lines: &Lines, program: &dyn Program) -> u8 {
    // If stderr is closed, the status still reports the failure.
    let _ = writeln!(io::stderr(), "{}", logging::last_line(error, lines, program.name()));
    error.status()
}

/// Checks the options of a program with an application and this many processes. Returns the error's text and exit
/// status. For a parent process, so that not each of its children reports an error.
pub fn check(options: &Options, processes: usize) -> Result<(), (String, u8)> {
    let checked = checked(options, true).and_then(|(_, addresses)| {
        let pages = shared::metrics_addresses(options, processes)?;
        listening::check(options, &addresses, pages.get(1..).unwrap_or_default())
    });
    let named = |error: CliError| error.named(&options.starting.origins);
    checked.map_err(named).map_err(|error| (error.to_string(), error.status()))
}

/// Rejects options that contradict each other or have no effect, before anything is opened. Returns the folders to
/// serve and the addresses to listen on.
fn checked(options: &Options, has_application: bool) -> Result<(Vec<Mount>, Vec<BindAddress>), CliError> {
    let places = mounts::places(options, has_application || backends::take_the_rest(options))?;
    let addresses = mounts::addresses(options)?;
    sys::check(options)?;
    access::check(options)?;
    contradictions::check(options, &places, &addresses, has_application)?;
    #[cfg(feature = "tls")]
    encryption::check(options)?;
    backends::check(options, &places)?;
    listening::check(options, &addresses, &[])?;
    uploads::check(options, &places)?;
    own_files::check(options, &places)?;
    Ok((places, addresses))
}

fn serve(options: Options, program: &mut dyn Program, zone: &Zone, lines: &Lines) -> Result<(), CliError> {
    let descriptors = raise_descriptor_limit();
    let verbosity = options.verbosity();
    let (places, addresses) = checked(&options, program.has_application())?;
    let inherited = program.inherited();
    let addresses = match inherited.sockets.is_empty() {
        true => addresses,
        false => inherited.sockets.iter().copied().map(BindAddress::inherited).collect(),
    };
    let unused = listening::unused(&options, &addresses)?;
    let mut in_use = Vec::new();
    let mut to_check = |address: BindAddress| {
        let (checked, is_in_use) = if options.starting.check { address.to_check() } else { (address.clone(), false) };
        in_use.extend(is_in_use.then(|| address.to_string()));
        checked
    };
    let addresses: Vec<_> = addresses.into_iter().map(&mut to_check).collect();
    let sums = Arc::new(Sums::default());
    let has_colours = logging::has_colours(&options);
    let front = || Front::new(&options, zone.known.clone(), has_colours, Arc::clone(&sums));
    let figures = Figures::of(&options);
    let mut reloads = Reloads::default();
    let (application, application_line) = program.application().unzip();
    let reach = hosts::Reach::default();
    let http = site::open(&options, &places, application, &reach, &figures, front(), &mut reloads)?;
    #[cfg(feature = "tls")]
    let mut certificates = None;
    #[cfg(not(feature = "tls"))]
    let (server, served) = (listening::bind(&options, &addresses, http)?, Served::plainly());
    #[cfg(feature = "tls")]
    let (server, served) = match encryption::open(&options, &addresses, inherited.identity.as_ref())? {
        None => (listening::bind(&options, &addresses, http)?, Served::plainly()),
        Some(opened) => {
            let plain = encryption::redirect(&options, &reach, &figures, None, front())?;
            let protected = opened.tls.plain(plain).protect(http);
            certificates = Some(protected.certificates());
            let mut server = listening::bind(&options, &addresses, protected)?;
            let served = Served { scheme: "https", count: server.local_addrs().len(), fingerprint: opened.fingerprint };
            let redirecting = match inherited.redirects.is_empty() {
                true => encryption::redirecting(&options, &addresses)?,
                false => inherited.redirects.iter().copied().map(BindAddress::inherited).collect(),
            };
            for address in redirecting {
                let port = listening::port_of(&address, &addresses, &server.local_addrs()[..served.count]);
                let redirect = encryption::redirect(&options, &reach, &figures, port.or(server.port()), front())?;
                let address = to_check(address);
                server = listening::also(server, &options, &address, redirect)?;
            }
            (server, served)
        }
    };
    reach.set(&server.local_addrs()[..served.count.min(server.local_addrs().len())]);
    if served.scheme == "http" {
        access::check_listeners(&options, server.local_addrs())?;
    }
    let page = listening::page(&options, &figures, inherited.metrics, &server.handle(), &mut to_check)?;
    // No thread runs yet, so all later threads lack the rights that are dropped now. The log is opened afterwards, as
    // the user that reopens it later.
    privileges::give_up(&options, &places, &[server.local_addrs(), page.local_addrs()].concat())?;
    program.load()?;
    let log = logging::start(&options, zone)?;
    if program.handles_signals() {
        signals::shutdown_on_signals(&server.handle(), &options, lines.clone()).map_err(CliError::signals)?;
    }
    #[cfg(feature = "tls")]
    if let Some(certificates) = certificates {
        certificates.warn_of_expiry();
        figures.of_certificates(certificates.clone());
        encryption::reload(certificates, &options.encryption, &mut reloads);
    }
    let uploading = uploads::places(&options, &places).map(|place| (at(place), place.path.clone()));
    figures.of_program(&reloads, log.clone(), uploading.collect());
    if program.handles_signals() {
        reloads.at_hangup(&options, log.clone()).map_err(CliError::signals)?;
    }
    debug!("file descriptor limit: {descriptors}");
    sys::report().lines().for_each(|line| debug!("{line}"));
    if let Some(version) = &options.listening.protocol {
        warn!("--protocol {version}: this server always responds with HTTP/1.1; it also serves HTTP/1.0 clients");
    }
    let origins = &options.starting.origins;
    uploads::overlaps(&options, &places).iter().for_each(|told| warn!("{}", origins.rename(told)));
    for socket in unused {
        warn!("systemd passed {socket}, which --bind doesn't name: connections to it are never accepted");
    }
    for name in access::unknown_users(&options) {
        let line = format!("--auth: --allow or --group names the user {name}, who is not in the file");
        warn!("{}", origins.rename(&line));
    }
    if options.starting.check {
        log.finish();
        let untried = in_use.iter().map(|address| format!("{address} is in use, so it was not bound.\n"));
        return banner::print(&lines.of_stdout(&format!("The settings are valid.\n{}", untried.collect::<String>())));
    }
    let (begun, bound) = (Instant::now(), server.local_addrs().to_vec());
    let page = page.start().map_err(|error| CliError::serving(&error))?;
    let of_metrics = if inherited.metrics_lines.is_empty() { &page.line } else { &inherited.metrics_lines };
    let told = application_line.unwrap_or_default() + &backends::lines(&options) + of_metrics;
    let said = lines.clone();
    let server = program.bound(server);
    let ready = program.ready();
    let announces = program.announces();
    let server = server.on_ready(move || {
        if announces {
            banner::announce(&options, &places, &bound, &served, &told, &said);
        }
        ready();
    });
    let served = server.serve_forever();
    page.stop();
    let stats = server.stats();
    debug!("stopped: {stats:?}");
    if served.is_ok() && verbosity != Verbosity::Quiet && announces {
        let _ = banner::print(&lines.of_stdout(&banner::summary(&sums, stats.unsent, begun.elapsed())));
    }
    log.finish();
    served.map_err(|error| CliError::serving(&error))
}

/// Returns the path at which a place is served.
fn at(place: &Mount) -> String {
    if place.at.is_empty() { "/".into() } else { place.at.clone() }
}

/// Raises the soft file descriptor limit, often 1,024, to the hard limit: each client needs a descriptor.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // a failure leaves the limit unchanged
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
