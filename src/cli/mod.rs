//! The program: parses arguments, opens the folder, listens, prints a banner, and serves until a signal arrives.
//! Called by `main`; uses the library through its public API.
//! It never prints with `println!` or `eprintln!`, which panic if the pipe is closed.

mod site; // the handler: the folder, and its access log

mod signals; // SIGINT and SIGTERM

mod logging; // the log on stderr

mod options; // command-line options

mod error; // errors, in one line each

mod address; // the address to listen at: `-b` and `-p`

use std::io::{self, Write};
use std::process::ExitCode;

use log::debug;
use modest::{Address, IntoProtocol, TcpServer};

use self::error::{CliError, quoted};
use self::options::{Action, Options};

/// The whole program, from its arguments to its exit status:
/// 0 after a shutdown or `--help`, 1 if it can't serve, 2 for invalid arguments.
pub fn run() -> ExitCode {
    let result = match options::parse(std::env::args_os()) {
        Ok(Action::Serve(options)) => serve(*options),
        Ok(Action::Print(text)) => {
            print_line(&text);
            Ok(())
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "modest: {error}"); // if stderr is closed, the status still tells
            error.exit_code()
        }
    }
}

fn serve(options: Options) -> Result<(), CliError> {
    let descriptors = raise_descriptor_limit();
    let log = logging::start(options.verbosity);
    let site = site::open(&options)?;
    let server = bind(&options, site)?;
    let addresses = server.local_addrs().to_vec();
    signals::shutdown_on_signals(&server.handle(), options.verbosity).map_err(CliError::signals)?;
    debug!("serving {}, with at most {descriptors} open files and clients", quoted(options.folder()));
    addresses.iter().for_each(|address| print_line(&banner(address)));
    let served = server.serve_forever();
    debug!("stopped: {:?}", server.stats());
    log.finish();
    served.map_err(|error| CliError::serving(&error))
}

fn bind(options: &Options, site: impl IntoProtocol) -> Result<TcpServer, CliError> {
    let address = &options.bind_address;
    let server = TcpServer::bind(address.listen(), site).map_err(|error| CliError::binding(address, &error))?;
    let server = server.notify_systemd(true);
    Ok(match options.workers {
        Some(count) => server.workers(count),
        None => server,
    })
}

/// The line that Python prints, which scripts wait for.
fn banner(address: &Address) -> String {
    match address.socket_addr() {
        Some(inet) => format!("Serving HTTP on {} port {} (http://{inet}/) ...", inet.ip(), inet.port()),
        None => format!("Serving HTTP on {address} ..."),
    }
}

/// Print a line on stdout and flush it; errors are ignored.
fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Each client needs a descriptor, and the soft limit is often 1,024: raise it to the hard limit.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // if refused, it stays as it was
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
