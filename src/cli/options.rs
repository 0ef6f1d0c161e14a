//! Command-line options: one table, each option with the field it sets.
//! Called by `cli` with the arguments; clap splits them, the table interprets them. It opens nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use modest::Symlinks;

use super::address::{self, BindAddress};
use super::error::{CliError, escape_controls, quoted};

/// What the arguments ask for.
#[derive(Debug)]
pub enum Action {
    /// Serve, with these options.
    Serve(Box<Options>),
    /// Print this and exit: `--help`, `--version`.
    Print(String),
}

/// The options of a server. The default of each field applies if the option is not given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The folder to serve. Default: the current one.
    pub folder: Option<PathBuf>,
    /// Where to listen.
    pub bind_address: BindAddress,
    /// How many handlers run at once. Default: the library's.
    pub workers: Option<usize>,
    /// How much is logged.
    pub verbosity: Verbosity,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// Whether hidden files are served.
    pub hidden: bool,
    /// The `Cache-Control` of files. Default: the library's.
    pub cache_control: Option<String>,
    explicit: ExplicitPort,
}

/// How much goes to stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing once the server runs.
    Quiet,
    /// One line for each request, warnings and errors.
    #[default]
    Normal,
    /// Also what the server is doing.
    Verbose,
}

/// The option that set the port, to report a contradiction.
#[derive(Debug, Default, PartialEq, Eq)]
struct ExplicitPort {
    port: Option<(&'static str, u16)>,
}

/// One option: its names, its help, and what it sets.
struct OptionSpec {
    short: Option<char>,
    long: &'static str,
    /// The name of its value, if it takes one.
    value: Option<&'static str>,
    help: &'static str,
    set: fn(&mut Options, &str) -> Result<(), String>,
}

/// All options, in the order of the help.
const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        short: Some('b'),
        long: "bind",
        value: Some("ADDR[:PORT]"),
        help: "Where to listen; 0.0.0.0 opens it to the network [default: 127.0.0.1]",
        set: |options, text| {
            if address::is_socket(text) {
                options.bind_address.socket = Some(text.to_owned());
                return Ok(());
            }
            let (host, port) = address::parse(text)?;
            options.bind_address.host = host;
            port.map_or(Ok(()), |port| options.set_port("-b", port))
        },
    },
    OptionSpec {
        short: Some('p'),
        long: "port",
        value: Some("PORT"),
        help: "The port; 0 takes any free one [default: 8000]",
        set: |options, text| options.set_port("-p", address::port(text)?),
    },
    OptionSpec {
        short: Some('w'),
        long: "workers",
        value: Some("N"),
        help: "How many handlers run at once [default: 16 or 4 a processor]",
        set: |options, text| {
            let count = text.parse().ok().filter(|count| (1..=MAX_WORKERS).contains(count));
            options.workers = Some(count.ok_or_else(|| format!("a number from 1 to {MAX_WORKERS} is wanted"))?);
            Ok(())
        },
    },
    OptionSpec {
        short: Some('q'),
        long: "quiet",
        value: None,
        help: "Log nothing",
        set: |options, _| {
            options.verbosity = Verbosity::Quiet;
            Ok(())
        },
    },
    OptionSpec {
        short: Some('v'),
        long: "verbose",
        value: None,
        help: "Log more than the requests",
        set: |options, _| {
            // `-q` wins over `-v`: whoever asks for silence relies on it.
            if options.verbosity != Verbosity::Quiet {
                options.verbosity = Verbosity::Verbose;
            }
            Ok(())
        },
    },
    OptionSpec {
        short: None,
        long: "follow-symlinks",
        value: Some("WHERE"),
        help: "Links followed: within, anywhere or none [default: within]",
        set: |options, text| {
            options.symlinks = match text {
                "within" => Symlinks::WithinRoot,
                "anywhere" => Symlinks::Follow,
                "none" => Symlinks::Deny,
                _ => return Err("one of within, anywhere and none is wanted".into()),
            };
            Ok(())
        },
    },
    OptionSpec {
        short: None,
        long: "hidden",
        value: None,
        help: "Serve hidden files, too: names with a dot in front",
        set: |options, _| {
            options.hidden = true;
            Ok(())
        },
    },
    OptionSpec {
        short: None,
        long: "cache-control",
        value: Some("VALUE"),
        help: "The Cache-Control of files [default: no-cache: every edit shows]",
        set: |options, text| {
            let valid = !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b));
            options.cache_control =
                Some(valid.then(|| text.to_owned()).ok_or("plain text is wanted, such as max-age=3600")?);
            Ok(())
        },
    },
];

/// Each worker is a thread; more than this is a typing error.
const MAX_WORKERS: usize = 4096;

/// Parse the arguments, the program's name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, CliError> {
    match command().try_get_matches_from(args) {
        Ok(matches) => options_from(&matches).map(|options| Action::Serve(Box::new(options))),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Action::Print(error.render().to_string().trim_end().to_owned()))
        }
        Err(error) => Err(CliError::usage(describe_clap_error(&error))),
    }
}

fn command() -> Command {
    let folder = Arg::new("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("The folder to serve; a number that is no folder is a port [default: .]");
    let base = Command::new("modest")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serve a folder over HTTP.")
        .override_usage("modest [DIR] [OPTIONS]")
        .after_help(AFTER_HELP)
        .args_override_self(true) // the last of repeated options applies, so that aliases can be overridden
        .arg(folder);
    OPTIONS.iter().fold(base, |command, option| command.arg(option.arg()))
}

const AFTER_HELP: &str = "\
Examples:
  modest                  the current folder, at http://127.0.0.1:8000/
  modest www -p 9000      the folder www, at port 9000
  modest -b 0.0.0.0       open to the whole network

Ctrl-C stops it once the requests in hand are answered; a second Ctrl-C at once.";

impl OptionSpec {
    fn arg(&self) -> Arg {
        let arg = Arg::new(self.long).short(self.short).long(self.long).help(self.help);
        match self.value {
            Some(name) => arg.value_name(name).allow_negative_numbers(true).action(ArgAction::Set),
            None => arg.action(ArgAction::SetTrue),
        }
    }

    /// Its name in an error message.
    fn name(&self) -> String {
        self.short.map_or_else(|| format!("--{}", self.long), |short| format!("-{short}"))
    }

    /// The value given with it: `None` if the option is absent, an empty one for a flag.
    fn value_in<'a>(&self, matches: &'a ArgMatches) -> Option<&'a str> {
        match self.value {
            Some(_) => matches.get_one::<String>(self.long).map(String::as_str),
            None => matches.get_flag(self.long).then_some(""),
        }
    }
}

fn options_from(matches: &ArgMatches) -> Result<Options, CliError> {
    let mut options = Options::default();
    for option in OPTIONS {
        if let Some(arg) = option.value_in(matches) {
            (option.set)(&mut options, arg)
                .map_err(|message| CliError::usage(format!("{} {}: {message}", option.name(), escape_controls(arg))))?;
        }
    }
    if let Some(arg) = matches.get_one::<PathBuf>("DIR") {
        options.set_folder_or_port(arg)?;
    }
    Ok(options)
}

impl Options {
    /// The folder to serve.
    pub fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new("."))
    }

    fn set_port(&mut self, by: &'static str, port: u16) -> Result<(), String> {
        if let Some(socket) = &self.bind_address.socket {
            return Err(format!("{} has no port", escape_controls(socket)));
        }
        match self.explicit.port {
            Some((other, before)) if before != port => {
                Err(format!("the port is {before} by {other} already: name it once"))
            }
            _ => {
                self.explicit.port = Some((by, port));
                self.bind_address.port = port;
                Ok(())
            }
        }
    }

    /// `modest 9000` means the port, as in Python, unless a folder has that name.
    fn set_folder_or_port(&mut self, arg: &Path) -> Result<(), CliError> {
        let number = arg.to_str().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
        match number {
            Some(text) if !arg.is_dir() => {
                address::port(text).and_then(|port| self.set_port("DIR", port)).map_err(|message| {
                    CliError::usage(format!("{}: no such folder, and as a port: {message}", quoted(arg)))
                })
            }
            _ => {
                self.folder = Some(arg.to_owned());
                Ok(())
            }
        }
    }
}

/// clap's error in one line.
fn describe_clap_error(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(arg)) => Some(escape_controls(arg)),
        Some(ContextValue::Strings(args)) => args.first().map(|arg| escape_controls(arg)),
        _ => None,
    };
    let name = context(ContextKind::InvalidArg).unwrap_or_else(|| "an option".into());
    let dashed = name.starts_with('-') && name != "-";
    match error.kind() {
        // Python's option.
        ErrorKind::UnknownArgument if name == "-d" || name.starts_with("--dir") => {
            format!("there is no option {name}; the folder stands by itself, as in 'modest www'")
        }
        ErrorKind::UnknownArgument if dashed => match context(ContextKind::SuggestedArg) {
            Some(like) => format!("there is no option {name}; {like} is one"),
            None => format!("there is no option {name}"),
        },
        ErrorKind::UnknownArgument => {
            format!("one folder can be served, so '{name}' is one word too many; a port stands behind -p")
        }
        ErrorKind::InvalidValue if name == "[DIR]" => "the folder's name is empty".into(),
        ErrorKind::InvalidValue | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            format!("{name} wants a value behind it")
        }
        ErrorKind::TooManyValues => format!("{name} takes no value"),
        ErrorKind::InvalidUtf8 => "an option's value must be UTF-8".into(),
        _ => {
            escape_controls(error.render().to_string().lines().next().unwrap_or_default().trim_start_matches("error: "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        let all = std::iter::once("modest").chain(args.iter().copied()).map(OsString::from);
        match super::parse(all) {
            Ok(Action::Serve(options)) => Ok(*options),
            Ok(Action::Print(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    fn bind_address(options: &Options) -> String {
        let BindAddress { host, port, socket } = &options.bind_address;
        socket.clone().unwrap_or_else(|| format!("{host} {port}"))
    }

    #[test]
    fn nothing_said_is_the_current_folder_on_loopback() {
        let options = parse(&[]).unwrap();
        assert_eq!((options.folder(), bind_address(&options)), (Path::new("."), "127.0.0.1 8000".into()));
        assert_eq!((options.workers, options.verbosity), (None, Verbosity::Normal));
    }

    #[test]
    fn words_become_settings() {
        for (args, expected) in [
            (&["-p", "9000"][..], "127.0.0.1 9000"),
            (&["--port=0"], "127.0.0.1 0"),
            (&["9000"], "127.0.0.1 9000"),
            (&["-b", "::1"], "::1 8000"),
            (&["-b", "[::1]:9000"], "::1 9000"),
            (&["-b", "0.0.0.0", "9000"], "0.0.0.0 9000"),
            (&["-b", "localhost:9000", "-p", "9000"], "localhost 9000"),
            (&["-p", "1", "-p", "2"], "127.0.0.1 2"),
            (&["-b", "unix:/run/x.sock"], "unix:/run/x.sock"),
            (&["-b", "systemd"], "systemd"),
            (&["-p9000", "src"], "127.0.0.1 9000"),
        ] {
            assert_eq!(parse(args).map(|s| bind_address(&s)), Ok(expected.into()), "{args:?}");
        }
        assert_eq!(parse(&["src", "-w", "3"]).map(|s| (s.folder, s.workers)), Ok((Some("src".into()), Some(3))));
        assert_eq!(parse(&["--follow-symlinks=none"]).map(|s| s.symlinks), Ok(Symlinks::Deny));
        assert_eq!(parse(&["--hidden"]).map(|s| s.hidden), Ok(true));
        assert_eq!(parse(&["--cache-control", "max-age=60"]).map(|s| s.cache_control), Ok(Some("max-age=60".into())));
        assert_eq!(parse(&["-q"]).map(|s| s.verbosity), Ok(Verbosity::Quiet));
        assert_eq!(parse(&["--verbose"]).map(|s| s.verbosity), Ok(Verbosity::Verbose));
    }

    #[test]
    fn wrong_words_get_one_plain_line() {
        for (args, message) in [
            (&["-p", "65536"][..], "-p 65536: a port is a number from 0 to 65535"),
            (&["-p", "-1"], "-p -1: a port is a number"),
            (&["-p", "http"], "-p http: a port is a number"),
            (&["-p", ""], "a port is a number"),
            (&["-p"], "--port <PORT> wants a value"),
            (&["90435"], "'90435': no such folder, and as a port: a port is a number"),
            (&["-b", "::1:x"], "-b ::1:x: "),
            (&["-b", "127.0.0.1:1", "-p", "2"], "the port is 1 by -b already"),
            (&["-b", "unix:x.sock", "-p", "2"], "unix:x.sock has no port"),
            (&["-b", "fd:3", "9000"], "fd:3 has no port"),
            (&["-p", "2", "9000"], "the port is 2 by -p already"),
            (&["-w", "0"], "-w 0: a number from 1"),
            (&["-w", "99999999"], "-w 99999999: a number from 1"),
            (&["--prot", "1"], "there is no option --prot; --port is one"),
            (&["-x"], "there is no option -x"),
            (&["--follow-symlinks", "some"], "--follow-symlinks some: one of within, anywhere and none"),
            (&["--cache-control", "a\nb"], "--cache-control a\\nb: plain text"),
            (&["src", "tests"], "'tests' is one word too many"),
            (&["src", "9000"], "'9000' is one word too many; a port stands behind -p"),
            (&["-d", "src"], "there is no option -d; the folder stands by itself"),
            (&["9000", "--directory=src"], "there is no option --directory; the folder stands by itself"),
            (&[""], "the folder's name is empty"),
            (&["--quiet=yes"], "--quiet takes no value"),
        ] {
            let line = parse(args).expect_err(&format!("{args:?}"));
            assert!(line.contains(message), "{args:?}: {line}");
            assert!(line.ends_with("(see 'modest --help')"), "{args:?}: {line}");
            assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
        }
    }

    #[test]
    fn the_table_is_one_that_clap_takes() {
        command().debug_assert();
    }
}
