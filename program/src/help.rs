//! Formats the texts of the options: `-h`, `--help`, the man page and `docs/cli.md`. Called by `sources`. Lines have at
//! most 80 columns.

use std::fmt::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueHint};

#[cfg(feature = "tls")]
use crate::values::CLIENT_CERTIFICATES;
use crate::values::{LOG_FORMAT, OVERWRITE, SYMLINKS};

const WIDTH: usize = 80;
/// The column at which the text of an option begins. A longer option has a line of its own.
const COLUMN: usize = 30;

/// Returns `-h`: the most used options, one per line.
pub fn brief(command: &Command) -> String {
    let mut text = beginning(command, first_sentence);
    text.push_str("\nOptions:\n");
    let is_brief = |long: &str| BRIEF.split(' ').any(|name| name == long);
    for arg in listed(command).filter(|arg| arg.get_long().is_none_or(is_brief)) {
        text.push_str(&row(arg, &first_sentence(arg)));
    }
    text + "\nThese are the most common options; 'modest help TOPIC' or --help has more.\n"
}

/// Returns `--help`: all options in groups.
pub fn full(command: &Command) -> String {
    format!("{}\n{}\n{AFTER_HELP}", beginning(command, help_of), groups(listed(command)))
}

/// Returns the options of a topic, which is a word in the name of an option or of a group. `None`: there are none.
pub fn topic(command: &Command, topic: &str) -> Option<String> {
    let topic = topic.trim_start_matches('-').to_lowercase();
    let has = |text: Option<&str>| text.is_some_and(|text| text.to_lowercase().contains(&topic));
    let text = groups(listed(command).filter(|arg| has(arg.get_help_heading()) || has(arg.get_long())));
    (!topic.is_empty() && !text.is_empty()).then_some(text)
}

/// Returns these options, each group under its name.
fn groups<'a>(options: impl Iterator<Item = &'a Arg>) -> String {
    let (mut text, mut group) = (String::new(), None);
    for arg in options {
        if text.is_empty() || arg.get_help_heading() != group {
            group = arg.get_help_heading();
            let _ = writeln!(text, "{}{}:", if text.is_empty() { "" } else { "\n" }, group.unwrap_or("Options"));
        }
        text.push_str(&row(arg, &help_of(arg)));
    }
    text
}

/// Adds the possible values of options for completions: files, folders, or one of several words. Other values have no
/// completion.
pub fn for_completions(command: Command) -> Command {
    fn words<T>(of: &[(&'static str, T)]) -> Vec<&'static str> {
        of.iter().map(|(word, _)| *word).collect()
    }
    command.mut_args(|arg| {
        let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string).unwrap_or_default();
        let words = match (arg.get_long(), value.as_str()) {
            (Some("completions"), _) => vec!["bash", "elvish", "fish", "powershell", "zsh"],
            (Some("follow-symlinks"), _) => words(SYMLINKS),
            (Some("log-format"), _) => words(LOG_FORMAT),
            (Some("overwrite"), _) => words(OVERWRITE),
            (Some("protocol"), _) => vec!["HTTP/1.1"],
            #[cfg(feature = "tls")]
            (Some("tls-client-auth"), _) => words(CLIENT_CERTIFICATES),
            (_, "YES|NO") => vec!["yes", "no"],
            (_, "FILE") => return arg.value_hint(ValueHint::FilePath),
            (Some(_), "DIR") => return arg.value_hint(ValueHint::DirPath),
            (None, "DIR") => return arg.value_hint(ValueHint::AnyPath),
            _ => return arg.value_hint(ValueHint::Other),
        };
        arg.value_parser(PossibleValuesParser::new(words))
    })
}

/// Returns the man page: the options from clap, and the rest from `man.roff`.
pub fn man(command: Command) -> Vec<u8> {
    const LEFT: &[u8] = b".ad l\n.nh\n"; // justified lines are hard to read
    let man = clap_mangen::Man::new(command);
    let (mut head, mut options) = (Vec::new(), Vec::new());
    // Writing to memory cannot fail.
    let _ = man.render_title(&mut head).and_then(|()| man.render_name_section(&mut head));
    let _ = man.render_options_section(&mut options);
    let (synopsis, rest) = include_str!("man.roff").split_once(".\\\" OPTIONS\n").unwrap_or_default();
    [head.as_slice(), LEFT, synopsis.as_bytes(), &options, rest.as_bytes()].concat()
}

/// Returns `docs/cli.md`: a table for each group of options.
pub fn markdown(command: &Command) -> String {
    let mut page = String::from(include_str!("cli.md"));
    let mut group = None;
    for arg in listed(command) {
        if arg.get_help_heading() != group {
            group = arg.get_help_heading();
            let title = group.unwrap_or("Options");
            let _ = write!(page, "\n## {title}\n\n| option | what it does | default |\n| --- | --- | --- |\n");
        }
        let help = help_of(arg);
        let (help, default) = help.split_once(" [default: ").unwrap_or((&help, ""));
        let (short, long) = spelled(arg);
        let names = short.into_iter().chain(long).map(|name| format!("`{}`", name.replace('|', " or ")));
        let names = names.collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| {names} | {help} | {} |", default.trim_end_matches(']'));
    }
    page
}

fn beginning(command: &Command, help: fn(&Arg) -> String) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("{about}\n\n{}\n\n", command.clone().render_usage());
    for arg in command.get_positionals() {
        let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        text.push_str(&columns(&format!("  [{}]...", name.unwrap_or_default()), &help(arg)));
    }
    text
}

fn listed(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional())
}

pub fn help_of(arg: &Arg) -> String {
    arg.get_help().map(ToString::to_string).unwrap_or_default()
}

/// Returns the first sentence, and the default if both fit in the line.
fn first_sentence(arg: &Arg) -> String {
    let help = help_of(arg);
    let (text, default) = help.split_once(" [default: ").unwrap_or((&help, ""));
    let sentence = text.split(". ").next().unwrap_or(text);
    let sentence = sentence.split(" [").next().unwrap_or(sentence);
    match format!("{sentence} [default: {default}") {
        whole if !default.is_empty() && whole.len() <= WIDTH - COLUMN => whole,
        _ => sentence.to_owned(),
    }
}

fn row(arg: &Arg, help: &str) -> String {
    let (short, long) = spelled(arg);
    let start = match (short, long) {
        (Some(short), Some(long)) => format!("  {short}, {long}"),
        (Some(short), None) => format!("  {short}"),
        (None, long) => format!("      {}", long.unwrap_or_default()),
    };
    columns(&start, help)
}

/// Returns `start`, followed by the words of `help` in lines from `COLUMN` on.
fn columns(start: &str, help: &str) -> String {
    let mut lines = vec![start.to_owned()];
    if start.len() + 2 > COLUMN {
        lines.push(String::new());
    }
    let mut is_first = true;
    for word in help.split(' ') {
        let last = lines.last_mut().expect("help has at least one line");
        if is_first || last.len() + 1 + word.len() > WIDTH {
            if !is_first {
                lines.push(String::new());
            }
            let last = lines.last_mut().expect("help has at least one line");
            let _ = write!(last, "{:1$}{word}", "", COLUMN - last.len());
            is_first = false;
        } else {
            let _ = write!(last, " {word}");
        }
    }
    lines.join("\n") + "\n"
}

/// Returns the spellings of an option: `-p` and `--port PORT`.
fn spelled(arg: &Arg) -> (Option<String>, Option<String>) {
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values()).and_then(|names| names.first());
    let is_optional = arg.get_num_args().is_some_and(|number| number.min_values() == 0);
    let value = match value {
        None => String::new(),
        Some(value) if is_optional => format!("[={value}]"),
        Some(value) => format!(" {value}"),
    };
    (arg.get_short().map(|short| format!("-{short}")), arg.get_long().map(|long| format!("--{long}{value}")))
}

const BRIEF: &str = "directory index spa proxy clean-urls no-listing archive compress hidden upload header cache-control \
     cors auth allow bind port tls-cert tls-self-signed workers quiet verbose log-format config open qr hash-password \
     help version";

const AFTER_HELP: &str = "\
Sizes are bytes, or 64k, 16m, 1g (of 1,024). Times are 500ms, 10s, 2m, 1h, 1d.
Most limits accept the word none, which turns them off.

Examples:
  modest                       the current folder, at http://127.0.0.1:8000/
  modest www 9000              the folder www, on port 9000
  modest site /docs=book       two folders, the second at /docs/
  modest linux.iso -b 0.0.0.0  one file, open to the whole network
  modest inbox --upload        a folder that accepts uploads
  modest dist --proxy /api=http://127.0.0.1:3000
                               a web app, and its API on another port
  modest www --auth users      only for the users in that file
  modest --tls-self-signed     HTTPS with a temporary certificate

Options can also be set in the environment (MODEST_LOG_FILE for --log-file)
or in the --config file (log-file = \"...\"). The command line overrides the
environment, which overrides the file. In both, a flag is yes or no. An option
that can be repeated has one value per line, or a list in the file.

Ctrl-C stops the server once requests in progress are finished; a second Ctrl-C
stops it at once. Exit status: 0 after a shutdown, 1 if it can't serve, 2 for
invalid arguments.

'modest help TOPIC' prints the options of a topic, such as upload or tls. The
manual is printed by: modest --man | man -l -";
