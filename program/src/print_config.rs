//! `--print-config`: each setting in effect, and its source. Called by `sources`. The output is a file for `--config`
//! with the defaults as comments.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use modest::DefaultLimits;

use crate::error::{json_string, without_passwords};
use crate::help;
use crate::mounts::{self, Word};
use crate::options::Options;
use crate::program::{OwnSetting, Program};
use crate::setting_sources::Origins;
use crate::values;

pub fn text(
    command: &Command,
    matches: &ArgMatches,
    origins: &Origins,
    options: &Options,
    program: &dyn Program,
) -> String {
    let words = if program.has_application() { Vec::new() } else { places_and_port(matches) };
    let (defaults, of_program) = (defaults(options), program.settings());
    let (mut text, mut group) = (String::new(), None);
    if !of_program.is_empty() {
        let _ = writeln!(text, "# {}", program.name());
    }
    for OwnSetting { name, values, is_list, is_secret, from } in of_program {
        let value = if is_list { list_of(&values) } else { json_string(&values.concat()) };
        let _ = match from {
            Some(from) if is_secret => writeln!(text, "# {name} = {value}  # {from}"),
            Some(from) => writeln!(text, "{name} = {value}  # {from}"),
            None => writeln!(text, "# {name} = {}  # default", values.concat()),
        };
    }
    for arg in command.get_arguments().filter(|arg| is_setting(arg) && !arg.is_hide_set()) {
        if arg.get_help_heading() != group {
            group = arg.get_help_heading();
            let _ = writeln!(text, "{}# {}", if text.is_empty() { "" } else { "\n" }, group.unwrap_or_default());
        }
        let name = arg.get_long().unwrap_or_default();
        let is_default = matches.value_source(arg.get_id().as_str()) != Some(ValueSource::CommandLine);
        let values = if is_default && origins.of(name).is_none() { Vec::new() } else { values(arg, matches, &words) };
        let values = if name == "bind" { of_binds(values, options) } else { values };
        let Some(from) = origins.of(name).filter(|_| !values.is_empty()) else {
            let default = match values.is_empty() {
                false => written(arg, &values), // of a program such as `modest-wsgi`
                true => defaults.get(name).cloned().unwrap_or_else(|| default_of(arg)),
            };
            let _ = writeln!(text, "# {name} = {default}  # default");
            continue;
        };
        if name == "port" && mounts::port_is_unused(options) {
            let _ = writeln!(text, "# {name} = {}  # {from}; each address has a port", written(arg, &values));
            continue;
        }
        let is_text = |value: &String| !value.contains('\u{fffd}');
        let (values, others): (Vec<_>, Vec<_>) = values.into_iter().partition(is_text);
        if !others.is_empty() {
            let _ =
                writeln!(text, "# {name} = {}  # {from}; not UTF-8, so a file can't contain it", written(arg, &others));
        }
        let (secret, shown): (Vec<_>, Vec<_>) = values.into_iter().partition(|value| is_secret(arg, value));
        if !shown.is_empty() {
            let _ = writeln!(text, "{name} = {}  # {from}", written(arg, &shown));
        }
        // A placeholder replaces a secret. It is in a comment, so that a file made of this output does not set it.
        for value in secret {
            let _ = writeln!(text, "# {name} = {}  # {from}", written(arg, &[hidden(arg, &value)]));
        }
    }
    text.trim_end().to_owned()
}

/// Returns the words of the command line, as folders and a port.
fn places_and_port(matches: &ArgMatches) -> Vec<(&'static str, Vec<String>)> {
    let (mut folders, mut ports) = (Vec::new(), Vec::new());
    for word in matches.get_many::<std::ffi::OsString>("words").into_iter().flatten() {
        match mounts::word(word) {
            Ok(Word::Port(port)) => ports.push(port.to_string()),
            _ => folders.push(word.to_string_lossy().into_owned()),
        }
    }
    vec![("directory", folders), ("port", ports)]
}

/// Returns the addresses without ports that the port of another source replaces.
fn of_binds(values: Vec<String>, options: &Options) -> Vec<String> {
    let listening = &options.listening;
    let with_ports = listening.bind.iter().map(|bind| bind.port.is_some() && listening.port_over_bind.is_gt());
    let host = |value: String| match value.rsplit_once(':') {
        Some(("", _)) => "*".to_owned(),
        Some((host, _)) => host.to_owned(),
        None => value,
    };
    values
        .into_iter()
        .zip(with_ports)
        .map(|(value, is_replaced)| if is_replaced { host(value) } else { value })
        .collect()
}

fn values(arg: &Arg, matches: &ArgMatches, words: &[(&str, Vec<String>)]) -> Vec<String> {
    if !arg.get_action().takes_values() {
        return vec![matches.get_flag(arg.get_id().as_str()).to_string()];
    }
    let raw = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
    let raw = raw.map(|value| value.to_string_lossy().into_owned());
    let of_words = words.iter().find(|(name, _)| Some(*name) == arg.get_long());
    let mut values: Vec<String> = raw.chain(of_words.into_iter().flat_map(|(_, values)| values.clone())).collect();
    if !is_list(arg) {
        values.drain(..values.len().saturating_sub(1)); // the last applies
    }
    values
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), clap::ArgAction::Append)
}

/// Returns whether a value can be a secret. A field of responses can be a secret, such as a token for a load balancer
/// or a cookie; only the fields in `PUBLIC` never are. Other secrets are given by mistake: a password in a URL, or in
/// place of the users file.
fn is_secret(arg: &Arg, value: &str) -> bool {
    const PUBLIC: &str = "cache-control content-security-policy content-type expires permissions-policy referrer-policy \
         strict-transport-security vary x-frame-options x-robots-tag";
    let is_public = |name: &str| PUBLIC.split(' ').any(|public| name.eq_ignore_ascii_case(public));
    match arg.get_long() {
        Some("header") => !values::field(value).is_ok_and(|field| is_public(&field.name)),
        Some("auth") if value.contains(':') && !Path::new(value).exists() => true,
        _ => without_passwords(value) != value,
    }
}

/// Returns an invalid value for an error, without what can be a secret.
pub fn shown(arg: Option<&Arg>, value: &str) -> String {
    let long = arg.and_then(Arg::get_long);
    let begin = match (long, value.find("://")) {
        (Some("header"), _) if value.contains(':') => value.find(':').map(|colon| colon + 1),
        (Some("header"), _) => value.find([' ', '=']).map(|end| end + 1),
        (_, Some(scheme)) => Some(scheme + 3),
        (Some("proxy"), None) => Some(value.find('=').map_or(0, |equals| equals + 1)),
        _ => None,
    };
    // The password of a URL can contain any character.
    let end = if long == Some("header") { Some(value.len()) } else { value.rfind('@') };
    match begin.zip(end).filter(|(begin, end)| begin < end) {
        Some((begin, end)) => format!("{}(hidden){}", &value[..begin], &value[end..]),
        None => value.to_owned(),
    }
}

fn hidden(arg: &Arg, value: &str) -> String {
    match (arg.get_long(), value.split_once(':')) {
        (Some("header"), Some((name, _))) => format!("{name}: (hidden)"),
        _ => "(hidden)".to_owned(),
    }
}

/// Returns the setting in TOML.
fn written(arg: &Arg, values: &[String]) -> String {
    match arg.get_action() {
        action if !action.takes_values() => values.concat(), // `true` or `false`
        _ if is_list(arg) => list_of(values),
        _ => json_string(&values[0]),
    }
}

fn list_of(values: &[String]) -> String {
    let strings: Vec<_> = values.iter().map(|value| json_string(value)).collect();
    format!("[{}]", strings.join(", "))
}

/// Returns the default as in the help.
fn default_of(arg: &Arg) -> String {
    let help = help::help_of(arg);
    let default = help.split_once(" [default: ").map(|(_, default)| default.trim_end_matches(']').to_owned());
    match default {
        Some(default) => default,
        None if arg.get_action().takes_values() => "none".into(),
        None => "false".into(),
    }
}

/// Returns the defaults that depend on this machine.
fn defaults(options: &Options) -> BTreeMap<&'static str, String> {
    let limits = DefaultLimits::for_memory(options.limits.memory.unwrap_or_else(modest::available_memory));
    #[cfg(feature = "tls")]
    let has_tls = !options.encryption.tls_cert.is_empty() || options.encryption.tls_self_signed.is_some();
    #[cfg(not(feature = "tls"))]
    let has_tls = false;
    let connections = if has_tls { limits.tls_connections } else { limits.connections };
    let defaults = [
        ("memory", limits.memory),
        ("workers", limits.workers as u64),
        ("max-connections", connections.min(limits.connections_by_descriptors) as u64),
        ("input-quota", limits.input_quota),
        ("body-memory-quota", limits.body_memory_quota),
        ("cache-size", limits.file_cache),
        ("open-files", limits.open_files as u64),
        ("listing-cache", limits.listing_cache),
        ("compress-cache", limits.compressed_cache),
    ];
    defaults.into_iter().map(|(name, value)| (name, format!("\"{}\"", size(value, name)))).collect()
}

/// Formats a size as in `64m`, if that is exact.
fn size(value: u64, name: &str) -> String {
    let is_size = !["workers", "max-connections", "open-files"].contains(&name);
    match () {
        () if is_size && value.is_multiple_of(1 << 20) => format!("{}m", value >> 20),
        () if is_size && value.is_multiple_of(1 << 10) => format!("{}k", value >> 10),
        () => value.to_string(),
    }
}

/// Returns whether an option is valid in the environment and in a file. Options that print something and exit are not.
pub fn is_setting(arg: &Arg) -> bool {
    let prints =
        ["help", "version", "completions", "man", "markdown", "config", "check", "print-config", "hash-password"];
    arg.get_long().is_some_and(|long| !prints.contains(&long))
        && (!arg.is_hide_set() || arg.get_long() == Some("protocol"))
}
