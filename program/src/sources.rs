//! The sources of options: the command line, the environment and a file; and their errors. Called by `lib` with the
//! arguments. Returns `Options`, or a text to print.
//!
//! clap parses each source separately, so that an error names its source. Then the settings of lower sources are put
//! before the command line, without the options that a higher source sets, and clap parses everything once more.
//! (clap's own support for the environment has neither files nor lists, and its errors name options that the user did
//! not write.)

use std::any::TypeId;
use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use modest::LogFormat;

use crate::error::{CliError, escape_controls, quoted, reason, shortened};
use crate::help;
use crate::mounts::{self, Word};
use crate::option_files;
use crate::options::Options;
use crate::print_config::{self, is_setting};
use crate::program::{OF_WSGI, Program};
use crate::setting_sources::{Origins, Source, variable};
use crate::sys;
use crate::values;

/// The action that the arguments request.
#[derive(Debug)]
pub enum Action {
    Serve(Box<Options>),
    /// Print this and exit: `--help`, `--version`.
    Print(String),
}

/// Parses the arguments (the program's name first) and the other sources.
pub fn parse(args: impl IntoIterator<Item = OsString>, program: &mut dyn Program) -> Result<Action, CliError> {
    let args = with_pythons_pairs(args)?;
    let own = program.own_options();
    let given = match Source::CommandLine.matches(&args) {
        Ok(given) => given,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(Action::Print(help::full(command()))),
        Err(error) if error.kind() == ErrorKind::DisplayVersion => {
            let version = error.render().to_string();
            let is_verbose = args.iter().any(|arg| arg == "--verbose" || arg == "-v");
            let report = if is_verbose { sys::report() } else { String::new() };
            return Ok(Action::Print(format!("{}\n{report}", version.trim_end()).trim_end().to_owned()));
        }
        Err(error) => return Err(Source::CommandLine.explain(&error, &args, own)),
    };
    let options = Options::from_arg_matches(&given).map_err(|error| Source::CommandLine.explain(&error, &args, own))?;
    if let Some(text) = text_to_print(&options)? {
        return Ok(Action::Print(text));
    }
    let application = usize::from(program.has_application());
    if application == 0
        && let Some(text) = help_on(&options.words, &given)?
    {
        return Ok(Action::Print(text));
    }
    if options.words.len() > application {
        check_words(&args, &options.words)?;
    }
    check_switches(&given)?;
    let environment = Source::Environment.settings(from_environment(std::env::vars_os()), program)?;
    let set_by = if options.starting.config.is_some() { "--config" } else { "MODEST_CONFIG" };
    let config = options.starting.config.or_else(|| std::env::var_os("MODEST_CONFIG").map(Into::into));
    let file = match &config {
        Some(path) => Source::File(quoted(path)).settings(from_file(path, set_by)?, program)?,
        None => Vec::new(),
    };
    let name = config.as_deref().map(quoted).unwrap_or_default();
    let (mut options, shown) = merge(&args, given, environment, (Source::File(name), file), program)?;
    options.starting.config = config;
    if options.starting.print_config {
        return Ok(Action::Print(shown));
    }
    options.words = program.words(options.words).map_err(CliError::usage)?;
    Ok(Action::Serve(Box::new(options)))
}

/// Returns whether the log is in JSON according to these arguments and the other sources, for the line that reports an
/// error in them.
pub fn are_for_json(args: &[OsString]) -> bool {
    let source = |name: &str| of_words(args, name).or_else(|| std::env::var_os(variable(name)));
    // Line by line, because the error may be that the file as a whole is not TOML.
    let of_file = || {
        let file = source("config").filter(|file| !option_files::is_pipe(Path::new(file)))?;
        let text = option_files::text("--config", Path::new(&file)).ok()?;
        let value = |line: &str| line.parse::<toml::Table>().ok()?.get("log-format")?.as_str().map(OsString::from);
        text.lines().find_map(value)
    };
    let format = source("log-format").or_else(of_file);
    format
        .as_ref()
        .and_then(|format| format.to_str())
        .and_then(|format| values::one_of(values::LOG_FORMAT)(format).ok())
        == Some(LogFormat::Json)
}

/// Returns the last value of an option: `--name=value` or `--name value`.
fn of_words(args: &[OsString], name: &str) -> Option<OsString> {
    let after = |word: &OsString, next: Option<&OsString>| match word
        .as_bytes()
        .strip_prefix(format!("--{name}").as_bytes())?
    {
        b"" => next.cloned(),
        rest => rest.strip_prefix(b"=").map(|value| OsStr::from_bytes(value).to_owned()),
    };
    (0..args.len()).rev().find_map(|at| after(&args[at], args.get(at + 1)))
}

/// Converts Python's `-p` for the protocol, and its fields in two words: `-p HTTP/1.1`, `-H X-A b`.
fn with_pythons_pairs(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, CliError> {
    let mut args = args.into_iter().peekable();
    let mut known = Vec::new();
    let is_name = |text: &str| text.parse::<modest::HeaderName>().is_ok();
    while let Some(arg) = args.next() {
        let next = args.peek().and_then(|next| next.to_str()).unwrap_or_default();
        if arg == "-p" && next.starts_with("HTTP/") {
            known.push("--protocol".into());
        } else if (arg == "-H" || arg == "--header") && !next.starts_with('-') && is_name(next) {
            let name = args.next().unwrap_or_default();
            known.push(arg);
            known.push(match args.next() {
                Some(value) => field_of(name, value)?,
                None => name,
            });
        } else {
            known.push(arg);
        }
    }
    Ok(known)
}

/// Joins a field of two words. As in Python, the second word must not be an option. It can't be an existing file
/// either, because the user may have forgotten the value and meant the file to be served.
fn field_of(name: OsString, value: OsString) -> Result<OsString, CliError> {
    let (shown, meant) = (name.to_string_lossy().into_owned(), quoted(Path::new(&value)));
    let what = match () {
        () if value.as_bytes().starts_with(b"-") => "an option",
        () if Path::new(&value).exists() => "a file or a folder",
        () => return Ok([name, ": ".into(), value].into_iter().collect()),
    };
    let line = format!("--header {shown}: the value is missing ({meant} is {what}); write -H '{shown}: value'");
    Err(CliError::usage(line))
}

/// Rejects a word that was meant as the value of the option before it, which takes no value, or takes it after a `=`.
/// Any other word is a folder, a file or a port.
fn check_words(args: &[OsString], words: &[OsString]) -> Result<(), CliError> {
    let is_at_root = |word: &&OsString| matches!(mounts::word(word), Ok(Word::Mount(place)) if place.at.is_empty());
    let has_several = words.iter().filter(is_at_root).count() > 1;
    for pair in args.windows(2).filter(|pair| words.contains(&pair[1]) && !pair[1].is_empty()) {
        let (before, word) = (pair[0].to_str().unwrap_or_default(), &pair[1]);
        let is_it = |arg: &&Arg| match (before.strip_prefix("--"), before.strip_prefix('-')) {
            (Some(long), _) => arg.get_long() == Some(long),
            (None, Some(flags)) => arg.get_short().is_some_and(|short| flags.ends_with(short)),
            (None, None) => false,
        };
        let Some(arg) = command().get_arguments().find(is_it) else { continue };
        let takes_value = arg.get_action().takes_values();
        if takes_value && !arg.is_require_equals_set() {
            continue;
        }
        let is_there = Path::new(word).exists();
        let is_place = word.as_bytes().contains(&b'=') || matches!(mounts::word(word), Ok(Word::Port(_)));
        let (option, shown) = (before, escape_controls(&word.to_string_lossy()));
        let line = match (takes_value, is_there) {
            _ if is_place => continue,
            (true, false) => {
                format!("there is no folder or file '{shown}'; to give it to {option}, write {option}={shown}")
            }
            (true, true) if has_several => {
                format!(
                    "unexpected argument '{shown}': a folder or file was already given; \
                     to give it to {option}, write {option}={shown}"
                )
            }
            (false, false) => format!("{option} takes no value, and there is no folder or file '{shown}'"),
            (_, true) => continue,
        };
        return Err(CliError::usage(line));
    }
    Ok(())
}

/// Rejects `--spa=no` and the like. In the environment and in a file, `no` switches such an option off, so no source
/// may use these words as a value.
fn check_switches(given: &ArgMatches) -> Result<(), CliError> {
    for arg in command().get_arguments().filter(|arg| arg.is_require_equals_set()) {
        let (name, values) = (arg.get_long().unwrap_or_default(), given.get_raw(arg.get_id().as_str()));
        let is_switch = |value: &&OsStr| {
            let value = value.to_str().unwrap_or_default();
            values::yes_or_no(value).is_ok() && !WITH_NUMBERS.contains(&(name, value))
        };
        if let Some(value) = values.into_iter().flatten().find(is_switch) {
            let value = value.to_string_lossy();
            let line = format!("--{name} {value}: write --{name} without a value, or leave it out");
            return Err(CliError::usage(line));
        }
    }
    Ok(())
}

/// Returns the text of `modest help`, `modest help TOPIC` and `modest help --OPTION`, unless there is a folder or file
/// of that name.
fn help_on(words: &[OsString], given: &ArgMatches) -> Result<Option<String>, CliError> {
    let Some((_, topics)) = words.split_first().filter(|(word, _)| *word == "help" && !Path::new(word).exists()) else {
        return Ok(None);
    };
    if topics.is_empty() {
        let option = names_in(given).pop_first();
        let of_option = option.and_then(|option| help::topic(command(), &option));
        return Ok(of_option.or_else(|| Some(help::full(command()))));
    }
    let topic = topics.join(OsStr::new(" ")).to_string_lossy().into_owned();
    help::topic(command(), &topic).map(Some).ok_or_else(|| {
        let topic = escape_controls(&topic);
        CliError::usage(format!("no option is about '{topic}'; topics are words such as upload, listening or tls"))
    })
}

/// An option of the environment or of a file, as words of a command line. An option that is switched off has no words.
struct Setting {
    name: String,
    words: Vec<OsString>,
}

/// A setting in a source, before it is known whether the option exists.
struct Said {
    name: String,
    values: Vec<OsString>,
    is_list: bool,
    /// Whether a value is TOML's `true` or `false`, without quotes.
    is_boolean: bool,
}

fn merge(
    args: &[OsString],
    given: ArgMatches,
    environment: Vec<Setting>,
    (from, file): (Source, Vec<Setting>),
    program: &dyn Program,
) -> Result<(Options, String), CliError> {
    let mut taken = names_in(&given);
    let folders = given.get_many::<OsString>("words").into_iter().flatten().filter(|_| !program.has_application());
    for word in folders {
        taken.insert(match mounts::word(word)? {
            Word::Mount(_) => "directory".into(),
            Word::Port(_) => "port".into(),
        });
    }
    let mut origins = Origins::default();
    origins.add(&Source::CommandLine, &taken);
    origins.add(&Source::Environment, environment.iter().map(|setting| &setting.name));
    origins.add(&from, file.iter().map(|setting| &setting.name));
    let rank = |name: &str| match () {
        _ if taken.contains(name) => 3,
        _ if environment.iter().any(|setting| setting.name == name) => 2,
        _ if file.iter().any(|setting| setting.name == name) => 1,
        _ => 0,
    };
    let (port, bind) = (rank("port"), rank("bind"));
    let mut words = vec![args.first().cloned().unwrap_or_else(|| "modest".into())];
    let name_of = |word: &OsString| {
        let word = word.to_str()?.strip_prefix("--")?;
        Some(word.split_once('=').map_or(word, |(name, _)| name).to_owned())
    };
    let is_set = |word: &OsString| name_of(word).is_some_and(|name| origins.of(&name).is_some());
    words.extend(program.defaults().into_iter().filter(|word| !is_set(word)));
    let mut seen = taken.clone();
    for setting in environment.into_iter().chain(file) {
        if seen.insert(setting.name) {
            words.extend(setting.words);
        }
    }
    words.extend(args.iter().skip(1).cloned());
    let explain = |error: clap::Error| Source::CommandLine.explain(&error, args, program.own_options());
    let matches = match words == args {
        true => given,
        false => Source::CommandLine.matches(&words).map_err(explain)?,
    };
    let mut options = Options::from_arg_matches(&matches).map_err(explain)?;
    options.given = names_in(&matches);
    options.given.retain(|name| origins.of(name).is_some()); // without the defaults of the program
    if port > 0 && bind > 0 {
        options.listening.port_over_bind = port.cmp(&bind);
    }
    let shown = if options.starting.print_config {
        print_config::text(command(), &matches, &origins, &options, program)
    } else {
        String::new()
    };
    options.starting.origins = origins;
    Ok((options, shown))
}

/// Returns the names of the options that are given.
fn names_in(matches: &ArgMatches) -> BTreeSet<String> {
    let is_given = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    command().get_arguments().filter(is_given).filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
}

/// Reads variables of the environment, such as `MODEST_LOG_FILE`. An empty variable is an error, because with
/// `MODEST_AUTH=$USERS` a server must not run without users.
fn from_environment(variables: impl Iterator<Item = (OsString, OsString)>) -> Vec<Said> {
    let ours = |(name, value): (OsString, OsString)| {
        let name = name.as_bytes().strip_prefix(b"MODEST_")?;
        let name = String::from_utf8_lossy(name).into_owned();
        (name != "CONFIG" && !is_of_kubernetes(&name, &value)).then_some((name, value))
    };
    let mut ours: Vec<_> = variables.filter_map(ours).collect();
    ours.sort();
    let said = |(name, value): (String, OsString)| {
        let name = name.to_lowercase().replace('_', "-");
        let is_list = command()
            .get_arguments()
            .any(|arg| arg.get_long() == Some(&name) && matches!(arg.get_action(), ArgAction::Append));
        let lines = value.as_bytes().split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let lines = lines.map(|line| OsString::from_vec(line.to_vec())).collect();
        Said { name, values: if is_list { lines } else { vec![value] }, is_list, is_boolean: false }
    };
    ours.into_iter().map(said).collect()
}

/// Returns whether Kubernetes has set this variable. For each service called `modest` or `modest-x`, it sets variables
/// in every pod: `MODEST_SERVICE_HOST`, `MODEST_PORT=tcp://10.0.0.1:80`, `MODEST_X_PORT_80_TCP_ADDR`.
fn is_of_kubernetes(name: &str, value: &OsStr) -> bool {
    let is_of_port = |(_, rest): (&str, &str)| {
        let port = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        port.len() < rest.len() && ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| port.starts_with(protocol))
    };
    let is_of_service = |part: &str| name.starts_with(&part[1..]) || name.contains(part);
    ["_SERVICE_HOST", "_SERVICE_PORT"].into_iter().any(is_of_service)
        || format!("_{name}").split_once("_PORT_").is_some_and(is_of_port)
        || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.as_bytes().starts_with(scheme.as_bytes()))
}

/// Reads the keys of a TOML file, which this option or variable names.
fn from_file(path: &Path, set_by: &str) -> Result<Vec<Said>, CliError> {
    let name = quoted(path);
    let text = option_files::text("--config", path)
        .map_err(|error| CliError::usage(format!("{set_by}: {name} can't be read: {}", reason(&error))))?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        CliError::usage(format!("{name}, line {line}: {}", error.message()))
    })?;
    table
        .into_iter()
        .map(|(key, value)| setting_in_file(key, value).map_err(|why| CliError::usage(format!("{name}: {why}"))))
        .collect()
}

fn setting_in_file(key: String, value: toml::Value) -> Result<Said, String> {
    let is_list = value.is_array();
    let values = match value {
        toml::Value::Array(values) => values,
        value => vec![value],
    };
    let is_boolean = values.iter().any(toml::Value::is_bool);
    let text = |value: toml::Value| match value {
        toml::Value::String(text) => Some(text.into()),
        toml::Value::Integer(number) => Some(number.to_string().into()),
        toml::Value::Boolean(yes) => Some(yes.to_string().into()),
        _ => None,
    };
    let values: Option<Vec<OsString>> = values.into_iter().map(text).collect();
    let values = values
        .ok_or_else(|| format!("{key}: expected a string in quotes, a number, true or false, or a list of those"))?;
    Ok(Said { name: key, values, is_list, is_boolean })
}

/// Options for which these numbers are values, not no and yes: ports, and seconds.
const WITH_NUMBERS: [(&str, &str); 4] =
    [("redirect-to-https", "0"), ("redirect-to-https", "1"), ("hsts", "0"), ("hsts", "1")];

impl Source {
    fn matches(&self, words: &[OsString]) -> Result<ArgMatches, clap::Error> {
        command().clone().try_get_matches_from(words)
    }

    /// Returns the settings as words of a command line, each checked.
    fn settings(&self, said: Vec<Said>, program: &mut dyn Program) -> Result<Vec<Setting>, CliError> {
        let mut settings = Vec::new();
        for said in said {
            let name = self.name(&said.name);
            let is_taken = program.takes(&said.name, &said.values, said.is_list, &self.to_string());
            let is_ours = !is_taken.map_err(|why| CliError::usage(format!("{name}: {why}")))?;
            // Both programs can run in one environment.
            if is_ours && !(matches!(self, Source::Environment) && OF_WSGI.contains(&&*said.name)) {
                settings.push(self.setting(said, program.own_options())?);
            }
        }
        Ok(settings)
    }

    fn setting(&self, said: Said, own: &[&str]) -> Result<Setting, CliError> {
        let Said { name, values, is_list, is_boolean } = said;
        let arg = command().get_arguments().find(|arg| arg.get_long() == Some(&name) && is_setting(arg));
        let Some(arg) = arg else { return Err(CliError::usage(self.unknown(&name, own))) };
        let wrong = |why: String| CliError::usage(format!("{}: {why}", self.name(&name)));
        if matches!(self, Source::Environment) && values.iter().all(|value| value.is_empty()) {
            return Err(wrong("the variable is empty: give it a value, or remove it".into()));
        }
        if is_list && !matches!(arg.get_action(), ArgAction::Append) {
            return Err(wrong("expected one value, not a list".into()));
        }
        let takes_value = arg.get_action().takes_values();
        let needs_value = takes_value && arg.get_num_args().is_none_or(|number| number.min_values() > 0);
        let mut words = Vec::new();
        for value in values {
            let flag = value.to_str().map(values::yes_or_no).unwrap_or_else(|| Err("expected yes or no".into()));
            let is_number = value.to_str().is_some_and(|value| WITH_NUMBERS.contains(&(&*name, value)));
            match flag {
                Ok(true) if !needs_value && !is_number => words.push(format!("--{name}").into()),
                Ok(false) if !needs_value && !is_number => {}
                Err(why) if !takes_value => return Err(wrong(why)),
                _ => {
                    let mut word = OsString::from(format!("--{name}="));
                    word.push(value);
                    words.push(word);
                }
            }
        }
        let alone: Vec<OsString> = std::iter::once("modest".into()).chain(words.iter().cloned()).collect();
        self.matches(&alone).map_err(|error| self.explain(&error, &alone, own))?;
        // `server = false` does not name a server "false". An option of another type has been rejected above.
        let takes_boolean = arg.get_value_parser().type_id() == TypeId::of::<bool>();
        if is_boolean && needs_value && !takes_boolean {
            return Err(wrong("expected a value, not true or false".into()));
        }
        Ok(Setting { name, words })
    }

    /// `own`: the options of this program that are not those of `modest`.
    fn unknown(&self, name: &str, own: &[&str]) -> String {
        let is_known = |arg: &&Arg| !arg.is_hide_set() && (matches!(self, Source::CommandLine) || is_setting(arg));
        let longs = command().get_arguments().filter(is_known).filter_map(Arg::get_long).chain(own.iter().copied());
        let like = match self {
            Source::CommandLine => alike(name.trim_start_matches('-'), longs).map(|long| format!("--{long}")),
            Source::Environment => alike(name, longs).map(variable),
            Source::File(_) => alike(name, longs).map(str::to_owned),
        };
        let what = match self {
            Source::CommandLine => format!("there is no option {}", escape_controls(name)),
            Source::Environment => format!("there is no variable {}", escape_controls(&variable(name))),
            Source::File(file) => format!("{file}: there is no setting {}", escape_controls(name)),
        };
        like.map_or(what.clone(), |like| format!("{what}; did you mean {like}?"))
    }

    /// Returns clap's error about these words in one line.
    fn explain(&self, error: &clap::Error, words: &[OsString], own: &[&str]) -> CliError {
        let context = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(escape_controls(text)),
            Some(ContextValue::Strings(texts)) => texts.first().map(|text| escape_controls(text)),
            _ => None,
        };
        let whole = context(ContextKind::InvalidArg).unwrap_or_else(|| "an option".into());
        // `--port <PORT>`, `--cors[=<ORIGIN>]`
        let name = whole.split([' ', '=', '[']).next().unwrap_or_default();
        let named = name.strip_prefix("--").map_or_else(|| name.to_owned(), |long| self.name(long));
        let dashed = name.starts_with('-') && name != "-";
        CliError::usage(match error.kind() {
            ErrorKind::UnknownArgument if dashed => self.unknown(name, own),
            ErrorKind::ValueValidation => {
                let value = context(ContextKind::InvalidValue).unwrap_or_default();
                let arg = command().get_arguments().find(|arg| arg.get_long() == name.strip_prefix("--"));
                let value = shortened(&print_config::shown(arg, &value));
                let why = error.source().map(ToString::to_string).unwrap_or_default();
                match value.is_empty() {
                    true => format!("{named} is empty: {why}"),
                    false => format!("{named} {value}: {why}"),
                }
            }
            ErrorKind::InvalidValue
            | ErrorKind::TooFewValues
            | ErrorKind::WrongNumberOfValues
            | ErrorKind::NoEquals => {
                format!("{named} needs a value")
            }
            ErrorKind::TooManyValues => format!("{named} takes no value"),
            ErrorKind::InvalidUtf8 => {
                let option = option_without_utf8(words);
                let named = option.map_or("the value of an option".into(), |long| self.name(long));
                format!("{named}: expected UTF-8")
            }
            _ => {
                let text = error.render().to_string();
                escape_controls(text.lines().next().unwrap_or_default().trim_start_matches("error: "))
            }
        })
    }
}

/// Returns the option that needs UTF-8 and has a value that is not. (clap's error does not contain it.)
fn option_without_utf8(words: &[OsString]) -> Option<&'static str> {
    let mut before = None;
    for word in words {
        let name = word.as_bytes().split(|byte| *byte == b'=').next().and_then(|name| std::str::from_utf8(name).ok());
        let is_it = |arg: &&Arg, name: &str| match (name.strip_prefix("--"), name.strip_prefix('-')) {
            (Some(long), _) => arg.get_long() == Some(long),
            (None, Some(flags)) => arg.get_short().is_some_and(|short| flags.contains(short)),
            (None, None) => false,
        };
        let option = name.and_then(|name| command().get_arguments().find(|arg| is_it(arg, name)));
        let is_path = |arg: &Arg| arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        let needs_text = |arg: &&Arg| arg.get_action().takes_values() && !is_path(arg);
        if word.to_str().is_none()
            && let Some(arg) = option.or(before).filter(needs_text)
        {
            return arg.get_long();
        }
        before = option;
    }
    None
}

/// Returns a suggestion: a known name that differs in one or two letters, or that begins with this name.
fn alike<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rank = |known: &&'a str| {
        let distance = strsim::osa_distance(name, known);
        let begins = name.len() > 2 && (known.starts_with(name) || name.starts_with(known) && known.len() > 2);
        (distance <= 1.max(name.len() / 4) && name.len() > 2, begins).ge(&(false, true)).then_some(distance)
    };
    known.filter_map(|known| Some((rank(&known)?, known))).min().map(|(_, known)| known)
}

fn text_to_print(options: &Options) -> Result<Option<String>, CliError> {
    let starting = &options.starting;
    let mut out = Vec::new();
    if starting.brief_help {
        out = help::brief(command()).into_bytes();
    } else if starting.markdown {
        out = help::markdown(command()).into_bytes();
    } else if starting.man {
        out = help::man(command().clone());
    } else if let Some(name) = &starting.hash_password {
        out = crate::password::line(name)?.into_bytes();
    } else if let Some(shell) = &starting.completions {
        let shell: clap_complete::Shell = shell.parse().map_err(|_| {
            let shell = escape_controls(shell);
            CliError::usage(format!("--completions {shell}: expected bash, elvish, fish, powershell or zsh"))
        })?;
        clap_complete::generate(shell, &mut help::for_completions(command().clone()), "modest", &mut out);
    } else {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&out).trim_end().to_owned()))
}

/// Returns the parser of the command line. Building it takes a tenth of the instructions to start, so it is built once.
fn command() -> &'static Command {
    static COMMAND: LazyLock<Command> = LazyLock::new(|| {
        let mut command = Options::command().mut_args(|arg| match arg.get_action().takes_values() {
            true => arg.allow_negative_numbers(true), // so that `-p -1` is rejected as a port
            false => arg,
        });
        command.build();
        command
    });
    &COMMAND
}

#[cfg(test)]
mod tests;
