//! The options of `modest-wsgi`: its own, and those of `modest`, which `modest_cli` parses. Used by `modest/wsgi.py`
//! before anything is imported, and by `serving`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use modest_cli::error::without_passwords;
use modest_cli::options::{Options, Verbosity};
use modest_cli::program::{OF_WSGI, OwnSetting, Program};
use modest_cli::setting_sources::{Source, variable};
use modest_cli::sources::{self, Action};
use modest_cli::values;

/// The options of `modest-wsgi` itself. Each can also be set in the environment (`MODEST_THREADS`) or in the file of
/// `--config`.
#[derive(Clone, Default)]
pub struct Own {
    /// `MODULE:CALLABLE`, `FILE.py:CALLABLE` or `MODULE:factory()`.
    application: Option<OsString>,
    given: Vec<Given>,
    /// Whether a call of `modest.wsgi.serve` has passed the application.
    has_application: bool,
}

/// The values of an option, of the source with the highest priority.
#[derive(Clone)]
struct Given {
    name: &'static str,
    values: Vec<OsString>,
    from: String,
}

impl Given {
    /// Returns the name of the option in the source that sets it.
    fn shown(&self) -> String {
        match &*self.from {
            "environment" => variable(self.name),
            "command line" => format!("--{}", self.name),
            file => format!("{file}: {}", self.name),
        }
    }
}

/// An option of `modest-wsgi` itself.
struct Option_ {
    name: &'static str,
    kind: Kind,
    default: &'static str,
}

#[derive(PartialEq)]
enum Kind {
    Flag,
    Value,
    List,
}

const OPTIONS: &[Option_] = &[
    Option_ { name: "threads", kind: Kind::Value, default: THREADS },
    Option_ { name: "processes", kind: Kind::Value, default: "none" },
    Option_ { name: "process-requests", kind: Kind::Value, default: "none" },
    Option_ { name: "process-age", kind: Kind::Value, default: "none" },
    Option_ { name: "chdir", kind: Kind::Value, default: "the current folder" },
    Option_ { name: "static", kind: Kind::List, default: "none" },
    Option_ { name: "env", kind: Kind::List, default: "none" },
    Option_ { name: "reload", kind: Kind::Flag, default: "no" },
];

/// Calls of the application that run at once, unless `--threads` is given.
const THREADS: &str = "4";

fn option(name: &str) -> Option<&'static Option_> {
    OPTIONS.iter().find(|option| option.name == name)
}

impl Own {
    /// Takes these options out of the arguments, and leaves the others to `modest_cli`.
    pub fn split(args: Vec<OsString>, has_application: bool) -> Result<(Own, Vec<OsString>), String> {
        let (mut own, mut rest) = (Own { has_application, ..Own::default() }, Vec::new());
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let bytes = arg.as_bytes();
            let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
                Some(at) => (&bytes[..at], Some(OsString::from_vec(bytes[at + 1..].to_vec()))),
                None => (bytes, None),
            };
            let known = name.strip_prefix(b"--").and_then(|name| option(std::str::from_utf8(name).ok()?));
            let Some(known) = known else {
                rest.push(arg);
                continue;
            };
            let value = match (&known.kind, value) {
                (Kind::Flag, None) => "yes".into(),
                (Kind::Flag, Some(_)) => return Err(format!("--{} takes no value", known.name)),
                (_, value) => value.or_else(|| args.next()).ok_or(format!("--{} needs a value", known.name))?,
            };
            match own.given.iter_mut().find(|given| given.name == known.name) {
                Some(given) if known.kind == Kind::List => given.values.push(value),
                Some(given) => given.values = vec![value], // the last one applies
                None => {
                    let from = Source::CommandLine.to_string();
                    own.given.push(Given { name: known.name, values: vec![value], from });
                }
            }
        }
        own.check()?;
        Ok((own, rest))
    }

    /// Returns all options from all sources. `Err`: the text to print, and the exit status.
    pub fn parse(args: Vec<OsString>, has_application: bool) -> Result<(Own, Options), (String, u8)> {
        let wrong = |why: String| (line(&format!("{why} (see 'modest --help')")), 2);
        let (mut own, rest) = Own::split(args, has_application).map_err(wrong)?;
        match sources::parse(with_name(rest), &mut own) {
            Ok(Action::Serve(mut options)) => {
                own.check_with(&options).map_err(|why| wrong(own.renamed(why)))?;
                // The path stays valid after `--chdir`.
                let config = &mut options.starting.config;
                *config = config.take().map(|path| std::path::absolute(&path).unwrap_or(path));
                options.starting.applications = own.sources();
                Ok((own, *options))
            }
            Ok(Action::Print(text)) => Err((text, 0)),
            Err(error) => Err((line(&error.to_string()), error.status())),
        }
    }

    fn values(&self, name: &str) -> &[OsString] {
        self.given.iter().find(|given| given.name == name).map_or(&[], |given| &given.values)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.values(name).last().and_then(|value| value.to_str())
    }

    /// Parses the value of an option.
    fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        let Some(value) = self.values(name).last() else { return Ok(None) };
        let parsed = parse(value.to_str().unwrap_or_default());
        parsed.map(Some).map_err(|why| format!("--{name} {}: {why}", value.display()))
    }

    fn processes(&self) -> Result<Option<usize>, String> {
        self.parsed("processes", values::some)
    }

    fn process_requests(&self) -> Result<Option<usize>, String> {
        self.parsed("process-requests", values::some)
    }

    /// Returns the seconds of `--process-age`.
    fn process_age(&self) -> Result<Option<u64>, String> {
        self.parsed("process-age", |text| match values::time(text)?.as_secs() {
            0 => Err("expected a time of at least 1s".into()),
            seconds => Ok(seconds),
        })
    }

    fn reloads(&self) -> Result<bool, String> {
        Ok(self.parsed("reload", values::yes_or_no)?.unwrap_or(false))
    }

    /// Checks that need no other settings.
    fn check(&self) -> Result<(), String> {
        self.parsed("threads", values::workers)?;
        self.processes()?;
        self.process_requests()?;
        self.process_age()?;
        self.reloads()?;
        if let Some(given) = self.given.iter().find(|given| given.values.iter().all(|value| value.is_empty())) {
            return Err(format!("--{} is empty", given.name));
        }
        for folder in self.values("static") {
            let at = folder.as_bytes().iter().position(|byte| *byte == b'=').unwrap_or_default();
            if at < 2 || folder.as_bytes()[0] != b'/' || folder.as_bytes().len() == at + 1 {
                return Err(format!(
                    "--static {}: expected a path and a folder, as in /static=app/static",
                    folder.display()
                ));
            }
        }
        match self.values("env").iter().find(|pair| !pair.as_bytes().iter().skip(1).any(|byte| *byte == b'=')) {
            Some(pair) => {
                let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                let shown = pair.to_str().filter(is_name).unwrap_or("(hidden)");
                Err(format!("--env {shown}: expected a name and a value, as in MODE=production"))
            }
            None => Ok(()),
        }
    }

    /// Returns the option that starts a parent process. Such a process replaces its children, so that two of them serve
    /// at once.
    fn parent(&self) -> Option<&'static str> {
        let is_given = |name: &&str| !self.values(name).is_empty() && (*name != "reload" || self.reloads() == Ok(true));
        ["processes", "process-requests", "process-age", "reload"].into_iter().find(is_given)
    }

    /// Rejects options of `modest` that contradict these.
    ///
    /// Uploads with several processes: locks (of WebDAV, and of a name whose `If-Match` was compared), unfinished
    /// uploads, quotas and the reserve of the disk are in the memory of one process, and end with it. Any other state
    /// may differ between processes: docs/python.md lists it.
    fn check_with(&self, options: &Options) -> Result<(), String> {
        let refused = |line| Err(options.starting.origins.rename(line));
        if options.given.contains("directory") {
            return refused("--directory: the application is served; a folder is given as --static /URL=DIR");
        }
        if options.given.contains("workers") && self.text("threads").is_some() {
            return refused("--threads and --workers contradict each other: both limit the calls that run at once");
        }
        match self.parent() {
            Some(parent) if !options.uploading.upload.is_empty() => Err(format!(
                "--upload and --{parent} contradict each other: locks, quotas and unfinished uploads belong to one \
                 process; leave --{parent} out, or serve that folder with 'modest'"
            )),
            _ => Ok(()),
        }
    }

    /// Returns the line with the names that these options have in their sources.
    fn renamed(&self, line: String) -> String {
        let rename = |line: String, given: &Given| line.replacen(&format!("--{}", given.name), &given.shown(), 1);
        self.given.iter().fold(line, rename)
    }

    /// Returns the files in which the application can be, in its working directory.
    fn sources(&self) -> Vec<PathBuf> {
        let name = self.application.as_deref().and_then(OsStr::to_str).unwrap_or_default();
        let module = name.split(':').next().unwrap_or_default();
        match module.strip_suffix(".py") {
            Some(_) => vec![module.into()],
            None => ["", "/__init__"].map(|end| format!("{}{end}.py", module.replace('.', "/")).into()).into(),
        }
    }

    /// `--env` pairs.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let pairs = self.values("env").iter().filter_map(|pair| {
            let bytes = pair.as_bytes();
            let at = bytes.iter().skip(1).position(|byte| *byte == b'=')? + 1;
            Some((OsString::from_vec(bytes[..at].to_vec()), OsString::from_vec(bytes[at + 1..].to_vec())))
        });
        pairs.collect()
    }
}

/// Returns an error as a line of this program.
pub fn line(why: &str) -> String {
    format!("modest-wsgi: {}", without_passwords(&why.replace("'modest --help'", "'modest-wsgi --help'")))
}

/// Arguments with the program's name before them.
pub fn with_name(args: Vec<OsString>) -> Vec<OsString> {
    std::iter::once("modest-wsgi".into()).chain(args).collect()
}

impl Program for Own {
    fn name(&self) -> &'static str {
        "modest-wsgi"
    }

    fn own_options(&self) -> &'static [&'static str] {
        &OF_WSGI
    }

    fn defaults(&self) -> Vec<OsString> {
        let threads = self.text("threads").unwrap_or(THREADS);
        // Bodies beyond 64 KiB go to a file, so the limit can be as high as in other servers. Folders are parts of a
        // site, so they have no listings.
        let words =
            [format!("--workers={threads}"), "--body-limit=1g".into(), "--no-listing".into(), "--compress".into()];
        words.into_iter().map(OsString::from).collect()
    }

    fn takes(&mut self, name: &str, values: &[OsString], is_list: bool, from: &str) -> Result<bool, String> {
        let Some(known) = option(name) else { return Ok(false) };
        if known.kind != Kind::List && is_list {
            return Err("expected one value, not a list".into());
        }
        let lines = |value: &OsString| -> Vec<OsString> {
            let lines = value.as_bytes().split(|byte| *byte == b'\n' && known.kind == Kind::List);
            lines.filter(|line| !line.is_empty()).map(|line| OsString::from_vec(line.to_vec())).collect()
        };
        if self.values(known.name).is_empty() {
            let values = values.iter().flat_map(lines).collect();
            self.given.push(Given { name: known.name, values, from: from.to_owned() });
            // The caller adds the name that the option has in its source.
            self.check().map_err(|why| why.trim_start_matches(&format!("--{name} ")).to_owned())?;
        }
        Ok(true)
    }

    fn settings(&self) -> Vec<OwnSetting> {
        let setting = |option: &Option_| {
            let given = self.given.iter().find(|given| given.name == option.name);
            let shown = |value: &OsString| match value.to_string_lossy() {
                // The value may be a secret, such as the key of cookies.
                pair if option.name == "env" => format!("{}=(hidden)", pair.split('=').next().unwrap_or_default()),
                value => value.into_owned(),
            };
            let values =
                given.map_or_else(|| vec![option.default.to_owned()], |given| given.values.iter().map(shown).collect());
            OwnSetting {
                name: option.name,
                values,
                is_list: option.kind == Kind::List,
                is_secret: option.name == "env",
                from: given.map(|given| given.from.clone()),
            }
        };
        OPTIONS.iter().map(setting).collect()
    }

    fn has_application(&self) -> bool {
        true
    }

    fn words(&mut self, words: Vec<OsString>) -> Result<Vec<OsString>, String> {
        let mut words = words.into_iter();
        if !self.has_application {
            let application =
                words.next().ok_or("expected an application, such as flaskr:create_app() or app.py:app")?;
            self.application = Some(application);
        }
        match words.next() {
            Some(word) => Err(format!(
                "{}: there is one application already; a folder is given as --static /URL=DIR",
                word.display()
            )),
            None => Ok(self.values("static").to_vec()),
        }
    }
}

/// The task of `modest-wsgi`, from its arguments, the environment and the `--config` file.
#[pyclass(frozen, module = "modest._modest")]
#[derive(Default)]
pub struct Settings {
    /// The text to print, and the exit status; `None`: serve.
    #[pyo3(get)]
    exit: Option<(String, u8)>,
    #[pyo3(get)]
    application: Option<OsString>,
    #[pyo3(get)]
    processes: Option<usize>,
    #[pyo3(get)]
    process_requests: Option<usize>,
    #[pyo3(get)]
    process_age: Option<u64>,
    #[pyo3(get)]
    chdir: Option<OsString>,
    #[pyo3(get)]
    environment: Vec<(OsString, OsString)>,
    #[pyo3(get)]
    reload: bool,
    /// Whether a parent starts and replaces the processes that serve.
    #[pyo3(get)]
    has_parent: bool,
    /// The seconds in which a process ends after SIGTERM; `None`: no limit.
    #[pyo3(get)]
    drain: Option<f64>,
    /// The seconds of `--shutdown-delay`.
    #[pyo3(get)]
    delay: f64,
    #[pyo3(get)]
    quiet: bool,
    #[pyo3(get)]
    is_check: bool,
    /// All options. They are parsed once: the variables and the working directory of the application do not change
    /// them.
    parsed: Option<Arc<(Own, Options)>>,
}

#[pymethods]
impl Settings {
    /// `args`: without the program's name. `has_application`: they name no application.
    #[new]
    #[pyo3(signature = (args, has_application = false))]
    fn new(args: Vec<OsString>, has_application: bool) -> Settings {
        match Settings::parse(args, has_application) {
            Ok(settings) => settings,
            Err((text, status)) => Settings { exit: Some((text, status)), ..Settings::default() },
        }
    }

    /// Returns the name of an own option in the source that sets it.
    fn name_of(&self, option: &str) -> PyResult<String> {
        let options = self.options()?;
        let given = options.0.given.iter().find(|given| given.name == option);
        Ok(given.map_or_else(|| format!("--{option}"), Given::shown))
    }

    /// Checks the options in the working directory of the application. Returns the line of an error, and the exit
    /// status.
    fn check(&self) -> PyResult<Option<(String, u8)>> {
        Ok(modest_cli::check(&self.options()?.1, self.processes.unwrap_or(1))
            .map_err(|(why, status)| (line(&why), status))
            .err())
    }
}

impl Settings {
    /// Returns all options.
    ///
    /// # Errors
    /// If there is a text to print.
    pub fn options(&self) -> PyResult<Arc<(Own, Options)>> {
        self.parsed.clone().ok_or_else(|| PyValueError::new_err("these settings are to be printed"))
    }

    fn parse(args: Vec<OsString>, has_application: bool) -> Result<Settings, (String, u8)> {
        let wrong = |why: String| (line(&format!("{why} (see 'modest --help')")), 2);
        if args.iter().any(|arg| arg == "--help" || arg == "-h") {
            return Err((HELP.trim_end().to_owned(), 0));
        }
        let (own, options) = Own::parse(args, has_application)?;
        Ok(Settings {
            application: own.application.clone(),
            processes: own.processes().map_err(wrong)?,
            process_requests: own.process_requests().map_err(wrong)?,
            process_age: own.process_age().map_err(wrong)?,
            chdir: own.values("chdir").last().cloned(),
            environment: own.environment(),
            reload: own.reloads().map_err(wrong)?,
            has_parent: own.parent().is_some(),
            drain: options.longest_shutdown().map(|time| time.as_secs_f64()),
            delay: options.limits.shutdown_delay.unwrap_or_default().as_secs_f64(),
            quiet: options.verbosity() == Verbosity::Quiet,
            is_check: options.starting.check,
            parsed: Some(Arc::new((own, options))),
            ..Settings::default()
        })
    }
}

const HELP: &str = include_str!("help.txt");
