//! Who may do what: `--auth`, `--allow` and what belongs to them, as layers around all that is served. Called by `site`, and by
//! `cli` for where it listens.

#[cfg(feature = "users")]
use std::net::IpAddr;
#[cfg(feature = "users")]
use std::path::Path;
#[cfg(feature = "confine")]
use std::path::PathBuf;

use modest::layers::PathRights;
#[cfg(feature = "users")]
use modest::layers::{BasicAuth, UserFile};
use modest::{Address, RequestHandler};
#[cfg(feature = "users")]
use modest::{Forwarded, Request};

use super::error::CliError;
#[cfg(feature = "users")]
use super::error::quoted;
use super::options::Options;
#[cfg(all(feature = "confine", feature = "users"))]
use super::places;
use super::places::Place;
use super::signals::Reloads;

/// The rights and the users around what is served, if there are such.
pub fn around(
    site: Box<dyn RequestHandler>,
    options: &Options,
    places: &[Place],
    reloads: &mut Reloads,
) -> Result<Box<dyn RequestHandler>, CliError> {
    let guarding = &options.guarding;
    if guarding.allow.is_empty() && !guarding.group.is_empty() {
        return Err(CliError::usage("--group has no effect: no --allow uses it"));
    }
    #[cfg(feature = "users")]
    for (name, is_given) in [("--realm", guarding.realm.is_some()), ("--auth-over-http", guarding.auth_over_http)] {
        if is_given && !asks_for_passwords(options) {
            return Err(CliError::usage(format!("{name} has no effect without --auth")));
        }
    }
    #[cfg(all(feature = "users", feature = "tls"))]
    if guarding.auth_over_http && options.encryption.is_wanted() {
        return Err(CliError::usage("--auth-over-http has no effect with TLS: every request is encrypted"));
    }
    if guarding.allow.is_empty() && !asks_for_passwords(options) {
        return Ok(site);
    }
    let names_somebody = guarding.allow.iter().any(|rule| rule.names_somebody());
    if names_somebody && !asks_for_passwords(options) {
        return Err(CliError::usage("--allow: rules for users need --auth FILE; without it, rules are for *"));
    }
    let site = site.layer(rights(options, places)?);
    #[cfg(feature = "users")]
    if let Some(file) = &guarding.auth {
        return Ok(Box::new(site.layer(users(file, options, reloads)?)));
    }
    let _ = reloads; // without `users` nothing is read again
    Ok(Box::new(site))
}

/// Those that rules and groups name and the file of users has not: spelled wrong, or still to be added.
pub fn strangers(options: &Options) -> Vec<&str> {
    #[cfg(feature = "users")]
    if let Some(text) = options.guarding.auth.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) {
        let guarding = &options.guarding;
        let of_groups = guarding.group.iter().flat_map(|group| group.users.iter().map(String::as_str));
        let mut named: Vec<&str> = guarding.allow.iter().flat_map(|rule| rule.users()).chain(of_groups).collect();
        named.sort_unstable();
        named.dedup();
        named.retain(|name| !text.lines().any(|line| line.split_once(':').is_some_and(|(known, _)| known == *name)));
        return named;
    }
    let _ = options;
    Vec::new()
}

/// Whether there are users.
pub fn asks_for_passwords(options: &Options) -> bool {
    #[cfg(feature = "users")]
    return options.guarding.auth.is_some();
    #[cfg(not(feature = "users"))]
    {
        let _ = options;
        false
    }
}

fn rights(options: &Options, places: &[Place]) -> Result<PathRights, CliError> {
    let guarding = &options.guarding;
    let prefix = options.serving.prefix.as_deref().unwrap_or_default();
    let all = || "/=@users:all".parse().map_err(CliError::usage);
    let rules = if guarding.allow.is_empty() { vec![all()?] } else { guarding.allow.clone() };
    let rights = rules.into_iter().fold(PathRights::new(), |rights, rule| rights.allow(rule.beneath(prefix)));
    let rights = guarding.group.iter().fold(rights, |rights, group| rights.group(&group.name, &group.users));
    if let Some(group) = rights.unknown_groups().next() {
        return Err(CliError::usage(format!(
            "--allow: there is no group {group}; define it with --group {group}=ada,bob"
        )));
    }
    // A file that is served alone has two paths.
    let alone = places.iter().filter(|place| place.path.is_file());
    let alone = alone.filter_map(|place| Some(place.path.file_name()?.to_str()?.to_owned()));
    let by_default = ["index.html", "index.htm"].map(str::to_owned);
    Ok(rights.index(by_default.into_iter().chain(options.serving.index.iter().cloned()).chain(alone)))
}

#[cfg(feature = "users")]
fn users(file: &Path, options: &Options, reloads: &mut Reloads) -> Result<BasicAuth, CliError> {
    let is_pair = file.to_str().is_some_and(|text| text.contains(':')) && !file.exists();
    if is_pair {
        return Err(CliError::usage(
            "--auth: expected a file; a password on the command line could be seen in the process list; put its hash \
             into a file: 'modest --hash-password USER > users', then --auth users",
        ));
    }
    let users = UserFile::open(file).map_err(|error| CliError::failure(format!("--auth: {error}")))?;
    let reload = users.reloader();
    reloads.add("--auth", move || {
        reload().map(|number| format!(" ({number} {})", if number == 1 { "user" } else { "users" }))
    });
    let users = match options.limits.workers {
        // One of few workers is for those who need no hash.
        Some(workers) if workers < 16 => users.hashes_at_once((workers / 4).max(1), workers / 4),
        _ => users,
    };
    let realm = options.guarding.realm.as_deref().unwrap_or("modest");
    let prefix = options.serving.prefix.as_deref().unwrap_or_default();
    let auth = BasicAuth::new(realm).users(users).optional(true).log_in_at(&format!("{prefix}/"));
    Ok(match options.guarding.auth_over_http {
        true => auth,
        false => {
            let is_proxied = !options.listening.proxy_protocol.is_empty();
            auth.only_if(move |request| came_safely(request, is_proxied))
        }
    })
}

/// Whether a request can have been read by nobody on its way here. What a trusted proxy says of it counts, then where its
/// connection is from; `is_proxied`: that is told by the PROXY protocol, and nobody but this machine can connect (see `check`).
#[cfg(feature = "users")]
fn came_safely(request: &Request, is_proxied: bool) -> bool {
    let is_near = |ip: Option<IpAddr>| ip.is_none_or(|ip| ip.is_loopback());
    let told = request.value::<Forwarded>().and_then(|told| told.scheme.clone());
    match told.as_deref() {
        Some("https") => true,
        Some(_) => is_near(request.client_ip()),
        None => request.is_secure() || is_proxied || is_near(request.client().ip()),
    }
}

/// Whether what is sent to a listener can be read by nobody on the way.
#[cfg(feature = "users")]
fn is_safe(address: &Address) -> bool {
    address.ip().is_none_or(|ip| ip.is_loopback())
}

/// Of a server without TLS: passwords do not go over a network in clear, unless that is asked for. Behind proxies that are trusted each request is looked
/// at instead; the PROXY protocol says nothing of TLS.
pub fn check(options: &Options, bound: &[Address]) -> Result<(), CliError> {
    #[cfg(feature = "users")]
    if asks_for_passwords(options)
        && !options.guarding.auth_over_http
        && (options.listening.trusted_proxy.is_empty() || !options.listening.proxy_protocol.is_empty())
        && let Some(address) = bound.iter().find(|address| !is_safe(address))
    {
        return Err(CliError::usage(format!(
            "--auth: {address} has no TLS, so passwords could be read on the network; use --tls-cert, or listen on \
             127.0.0.1 behind a proxy with TLS, or name that proxy with --trusted-proxy, or accept the risk with \
             --auth-over-http"
        )));
    }
    let _ = (options, bound);
    Ok(())
}

/// Whether the file of users may be read, by whoever this process is by now.
pub fn check_file(options: &Options) -> Result<(), CliError> {
    #[cfg(feature = "users")]
    if let Some(file) = &options.guarding.auth
        && let Err(error) = std::fs::File::open(file)
    {
        let why = super::error::reason(&error);
        return Err(CliError::failure(format!("--auth: the user of --user can't read {}: {why}", quoted(file))));
    }
    let _ = options;
    Ok(())
}

/// The folders of the file of users, which is read anew.
#[cfg(feature = "confine")]
pub fn folders(options: &Options) -> Vec<PathBuf> {
    #[cfg(feature = "users")]
    return places::folders_of(&options.guarding.auth);
    #[cfg(not(feature = "users"))]
    {
        let _ = options;
        Vec::new()
    }
}
