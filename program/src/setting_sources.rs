//! The source of each setting, which errors name: an option, a variable or a key in a file. Filled by `sources`.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug)]
pub enum Source {
    CommandLine,
    Environment,
    File(String),
}

impl Source {
    /// Returns the name of an option in this source.
    pub fn name(&self, long: &str) -> String {
        match self {
            Source::CommandLine => format!("--{long}"),
            Source::Environment => variable(long),
            Source::File(file) => format!("{file}: {long}"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::CommandLine => f.write_str("command line"),
            Source::Environment => f.write_str("environment"),
            Source::File(name) => f.write_str(name),
        }
    }
}

pub fn variable(name: &str) -> String {
    format!("MODEST_{}", name.to_uppercase().replace('-', "_"))
}

/// The source of each setting, by name. A setting without a source has its default.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<String, Source>);

impl Origins {
    /// Adds the settings of a source. If several sources set an option, the first one applies.
    pub fn add<'a>(&mut self, from: &Source, names: impl IntoIterator<Item = &'a String>) {
        for name in names {
            self.0.entry(name.clone()).or_insert_with(|| from.clone());
        }
    }

    pub fn of(&self, name: &str) -> Option<&Source> {
        self.0.get(name)
    }

    /// Returns the source of an option such as `--bind`, if it is not the command line.
    fn elsewhere(&self, option: &str) -> Option<&Source> {
        self.of(option.strip_prefix("--")?).filter(|source| !matches!(source, Source::CommandLine))
    }

    /// Returns whether the environment or a file sets this option.
    pub fn are_elsewhere(&self, option: &str) -> bool {
        self.elsewhere(option).is_some()
    }

    /// Returns the option with a value, in the form of its source.
    pub fn form(&self, option: &str, value: &str) -> String {
        let long = option.trim_start_matches('-');
        match self.elsewhere(option) {
            Some(source @ Source::Environment) => format!("{}={value}", source.name(long)),
            Some(_) => format!("{long} = \"{value}\""),
            None if option == "--bind" => format!("-b {value}"),
            None => format!("{option}={value}"),
        }
    }

    /// Replaces options in the message of an error by their names in the environment or in the file, if they are set
    /// there. The advice, after a semicolon, is about the command line.
    pub fn rename(&self, line: &str) -> String {
        let (said, advice) = line.split_at(line.find("; ").unwrap_or(line.len()));
        let mut is_named = false; // the file
        let mut word = |word: &str| {
            let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(word.len());
            let (option, rest) = word.split_at(end);
            match self.elsewhere(option) {
                Some(Source::File(_)) if is_named => format!("{}{rest}", &option[2..]),
                Some(source) => {
                    is_named |= matches!(source, Source::File(_));
                    format!("{}{rest}", source.name(&option[2..]))
                }
                None => word.to_owned(),
            }
        };
        said.split(' ').map(&mut word).collect::<Vec<_>>().join(" ") + advice
    }
}
