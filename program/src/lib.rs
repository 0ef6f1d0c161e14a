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

mod serving; // from opening to the end
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
mod mount_points; // folders by their file systems
pub mod signals; // SIGINT and SIGTERM, SIGHUP and SIGUSR1
mod reloading; // files that are read again
pub mod logging; // the log, on stderr or in a file
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

use self::address::BindAddress;
use self::error::CliError;
use self::logging::Lines;
use self::mounts::Mount;
use self::options::Options;
use self::program::{Folders, Program};
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
    match serving::serve(options, program, &zone, &lines) {
        Ok(()) => 0,
        Err(error) => {
            let error = error.named(&origins);
            if program.failed(&error) { failed(&error, &lines, program) } else { error.status() }
        }
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
