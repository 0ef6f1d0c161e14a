//! The command: words to settings, a folder, an address, a banner, and serving until a signal says stop.
//! Called by `main`; uses its own rooms for the words and the crate, as any user would, for the rest.
//! It never prints with `println!` or `eprintln!`: a pipe that nobody reads must not end the server.

mod site; // the folder, and how its requests are logged

mod signals; // Ctrl-C and SIGTERM

mod logging; // the log on stderr, and why it can't hold a worker

mod options; // one table of options

mod address; // where to listen: `-b` and `-p`

mod complaint; // what is wrong, in one plain line

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use log::debug;
use modest::TcpServer;

use self::complaint::{Complaint, shown};
use self::options::{Asked, Settings};
use self::site::Site;

/// The whole program, from its arguments to its exit status:
/// 0 after a stop or `--help`, 1 if it can't serve, 2 if it was told something it doesn't understand.
pub fn run() -> ExitCode {
    let outcome = match options::read(std::env::args_os()) {
        Ok(Asked::Serve(settings)) => serve(*settings),
        Ok(Asked::Tell(text)) => {
            say(&text);
            Ok(())
        }
        Err(complaint) => Err(complaint),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            let _ = writeln!(io::stderr(), "modest: {complaint}"); // nobody there to tell: the status still does
            complaint.status()
        }
    }
}

fn serve(settings: Settings) -> Result<(), Complaint> {
    let descriptors = raise_descriptor_limit();
    let log = logging::start(settings.loudness);
    let site = Site::open(&settings)?;
    let server = bind(&settings, site)?;
    let address = server.local_addr();
    signals::stop_on_signal(server.handle(), settings.loudness).map_err(Complaint::signals)?;
    debug!("serving {}, with at most {descriptors} open files and clients", shown(settings.folder()));
    say(&banner(address));
    let served = server.serve_forever();
    debug!("stopped: {:?}", server.stats());
    log.finish();
    served.map_err(|error| Complaint::serving(address, &error))
}

fn bind(settings: &Settings, site: Site) -> Result<TcpServer, Complaint> {
    let place = &settings.place;
    let addresses = place.resolve()?;
    let server =
        TcpServer::bind(&addresses[..], site).map_err(|error| Complaint::binding(&place.host, place.port, &error))?;
    Ok(match settings.workers {
        Some(count) => server.workers(count),
        None => server,
    })
}

/// Python's sentence, which scripts wait for.
fn banner(address: SocketAddr) -> String {
    format!("Serving HTTP on {} port {} (http://{address}/) ...", address.ip(), address.port())
}

/// A line on stdout, flushed; if nobody reads it, so be it.
fn say(line: &str) {
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
