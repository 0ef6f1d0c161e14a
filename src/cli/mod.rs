//! The command: words to settings, a folder, an address, a banner, and serving until a signal says stop.
//! Called by `main`; uses its own rooms for the words and the crate, as any user would, for the rest.
//! It never prints with `println!` or `eprintln!`: a pipe that nobody reads must not end the server.

mod site; // the folder, and how its requests are logged

mod signals; // Ctrl-C and SIGTERM

mod logging; // the log on stderr, and why it can't hold a worker

mod options; // one table of options

mod address; // where to listen: `-b` and `-p`

mod error; // what is wrong, in one plain line

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use log::debug;
use modest::TcpServer;

use self::error::{CliError, quoted};
use self::options::{Action, Options};
use self::site::Site;

/// The whole program, from its arguments to its exit status:
/// 0 after a stop or `--help`, 1 if it can't serve, 2 if it was told something it doesn't understand.
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
            let _ = writeln!(io::stderr(), "modest: {error}"); // nobody there to tell: the status still does
            error.exit_code()
        }
    }
}

fn serve(options: Options) -> Result<(), CliError> {
    let descriptors = raise_descriptor_limit();
    let log = logging::start(options.verbosity);
    let site = Site::open(&options)?;
    let server = bind(&options, site)?;
    let address = server.local_addr();
    signals::stop_on_signal(server.stopper(), options.verbosity).map_err(CliError::signals)?;
    debug!("serving {}, with at most {descriptors} open files and clients", quoted(options.folder()));
    print_line(&banner(address));
    let served = server.serve_forever();
    debug!("stopped: {:?}", server.stats());
    log.finish();
    served.map_err(|error| CliError::serving(address, &error))
}

fn bind(options: &Options, site: Site) -> Result<TcpServer, CliError> {
    let address = &options.bind_address;
    let addresses = address.resolve()?;
    let server = TcpServer::bind(&addresses[..], site)
        .map_err(|error| CliError::binding(&address.host, address.port, &error))?;
    Ok(match options.workers {
        Some(count) => server.workers(count),
        None => server,
    })
}

/// Python's sentence, which scripts wait for.
fn banner(address: SocketAddr) -> String {
    format!("Serving HTTP on {} port {} (http://{address}/) ...", address.ip(), address.port())
}

/// A line on stdout, flushed; if nobody reads it, so be it.
fn print_line(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Each client costs a descriptor, and the soft limit is often 1,024: raise it as far as it goes without asking.
fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit); // refused: then it stays as it was
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
