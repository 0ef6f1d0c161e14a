//! Rights: `--auth`, `--allow` and related options, as layers around the site. Called by `site`, by `serving`
//! for the listeners, and by `lib` for its checks.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use modest::layers::{BasicAuth, PathRights, PathRule, UserFile};
use modest::{Access, Address, Forwarded, Http, Method, Request, RequestHandler, Response, StatusCode, encode_path};

use crate::address::is_near;
use crate::error::{CliError, quoted};
use crate::mounts::Mount;
use crate::options::{Guarding, Options};
use crate::signals::Reloads;

/// Adds rights and users to a handler, if there are any.
pub fn around(
    site: Box<dyn RequestHandler>,
    options: &Options,
    places: &[Mount],
    reloads: &mut Reloads,
) -> Result<Box<dyn RequestHandler>, CliError> {
    let guarding = &options.guarding;
    if guarding.allow.is_empty() && !asks_for_passwords(options) {
        return Ok(site);
    }
    let site = site.layer(rights(options, places)?);
    if let Some(file) = &guarding.auth {
        return Ok(Box::new(site.layer(users(file, options, reloads)?)));
    }
    Ok(Box::new(site))
}

/// Returns the names in rules and groups that the users file does not contain. They may be misspelled, or be added
/// to the file later.
pub fn unknown_users(options: &Options) -> Vec<&str> {
    if let Some(text) = options.guarding.auth.as_ref().and_then(|file| std::fs::read_to_string(file).ok()) {
        let guarding = &options.guarding;
        let of_groups = guarding.group.iter().flat_map(|group| group.users.iter().map(String::as_str));
        let mut named: Vec<&str> = guarding.allow.iter().flat_map(|rule| rule.users()).chain(of_groups).collect();
        named.sort_unstable();
        named.dedup();
        named.retain(|name| !text.lines().any(|line| line.split_once(':').is_some_and(|(known, _)| known == *name)));
        return named;
    }
    Vec::new()
}

/// Returns whether a rule names the right to write, but nothing can be written. A rule for `all` does not name it.
pub fn grants_useless_write(options: &Options, has_application: bool) -> bool {
    let is_written = has_application || !options.uploading.upload.is_empty() || !options.serving.proxy.is_empty();
    let reads = |rule: &PathRule| rule.grants(Access::Read) && rule.grants(Access::List);
    !is_written && options.guarding.allow.iter().any(|rule| rule.grants(Access::Write) && !reads(rule))
}

/// Returns whether requests need a password.
pub fn asks_for_passwords(options: &Options) -> bool {
    options.guarding.auth.is_some()
}

/// Returns the first path at which a client without a password can create a file: that of the folder, which is at this
/// path, or that of a rule in the folder. Encoded.
pub fn written_by_everyone(options: &Options, places: &[Mount], at: &str) -> Option<String> {
    let at = encode_path(at).to_string();
    if options.guarding.allow.is_empty() && !asks_for_passwords(options) {
        return Some(at);
    }
    let http = Http::new(Accepting.layer(rights(options, places).ok()?));
    let is_open = |path: &String| {
        // A name for which there is no rule.
        let put = Request::new(Method::PUT, &format!("{path}/can-everyone-write-here"));
        put.is_ok_and(|put| http.respond(&put).status() == StatusCode::NO_CONTENT)
    };
    let of_rules = options.guarding.allow.iter().map(|rule| rule.clone().beneath(options.prefix()).path());
    let inside = of_rules.filter(|path| path.strip_prefix(&at).is_some_and(|rest| rest.starts_with('/')));
    std::iter::once(at.clone()).chain(inside).find(is_open)
}

/// Accepts each PUT that the rules permit.
struct Accepting;

impl RequestHandler for Accepting {
    fn do_put(&self, _: &Request) -> modest::Result<Response> {
        Ok(Response::no_content())
    }
}

fn rights(options: &Options, places: &[Mount]) -> Result<PathRights, CliError> {
    let guarding = &options.guarding;
    let prefix = options.prefix();
    let mut rules: Vec<PathRule> = guarding.allow.clone();
    if rules.is_empty() {
        rules.push("/=@users:all".parse().map_err(CliError::usage)?);
    }
    // Metrics are outside the prefix, so their rules are matched without it.
    let metrics = options.serving.metrics.as_deref().filter(|at| {
        options.listening.metrics_bind.is_none() && at.strip_prefix(prefix).is_none_or(|rest| !rest.starts_with('/'))
    });
    let depth = |rule: &PathRule| metrics.and_then(|at| rule.depth_for(at));
    let deepest = rules.iter().filter_map(depth).max();
    let is_deepest = |rule: &&PathRule| deepest.is_some() && depth(rule) == deepest;
    let of_metrics: Vec<_> = rules.iter().filter(is_deepest).cloned().zip(metrics.into_iter().cycle()).collect();
    let rules = rules.into_iter().map(|rule| rule.beneath(prefix));
    let rules = rules.chain(of_metrics.into_iter().map(|(rule, at)| rule.at(at)));
    let rights = rules.into_iter().fold(PathRights::new(), PathRights::allow);
    let rights = guarding.group.iter().fold(rights, |rights, group| rights.group(&group.name, &group.users));
    if let Some(group) = rights.unknown_groups().next() {
        return Err(CliError::usage(format!(
            "--allow: there is no group {group}; define it with --group {group}=ada,bob"
        )));
    }
    // A file that is served alone has two paths, like the index file of a folder.
    let alone = places.iter().filter(|place| place.path.is_file());
    let alone = alone.filter_map(|place| Some(place.path.file_name()?.to_str()?.to_owned()));
    let by_default = ["index.html", "index.htm"].map(str::to_owned);
    Ok(rights.index(by_default.into_iter().chain(options.serving.index.iter().cloned()).chain(alone)))
}

/// Rejects options about users and rights that have no effect, and a user with a password in place of the users
/// file. Called before other checks, because their messages quote the name of the file.
pub fn check(options: &Options) -> Result<(), CliError> {
    let guarding = &options.guarding;
    let is_pair = |file: &PathBuf| file.to_str().is_some_and(|text| text.contains(':')) && !file.exists();
    #[cfg(feature = "tls")]
    let has_tls = options.encryption.is_enabled();
    #[cfg(not(feature = "tls"))]
    let has_tls = false;
    if let Some(name) = unused_group(guarding) {
        return Err(CliError::usage(format!("--group has no effect: no --allow names @{name}")));
    }
    let line = match () {
        () if guarding.auth.as_ref().is_some_and(is_pair) => {
            "--auth: expected a file; a password in an option or a variable could be seen in the process list; put its \
             hash into a file: 'modest --hash-password USER > users', then --auth users"
        }
        () if guarding.auth_over_http && has_tls => {
            "--auth-over-http has no effect with TLS: every request is encrypted"
        }
        () if guarding.allow.iter().any(|rule| rule.has_users()) && !asks_for_passwords(options) => {
            "--allow: rules for users need --auth FILE; without it, rules are for *"
        }
        () => return Ok(()),
    };
    Err(CliError::usage(line))
}

/// Returns a group that no rule names.
fn unused_group(guarding: &Guarding) -> Option<&str> {
    let is_named = |name: &str| guarding.allow.iter().any(|rule| rule.groups().any(|group| group == name));
    guarding.group.iter().map(|group| group.name.as_str()).find(|name| !is_named(name))
}

fn users(file: &Path, options: &Options, reloads: &mut Reloads) -> Result<BasicAuth, CliError> {
    let users = UserFile::open(file).map_err(|error| {
        let line = match error.kind() {
            std::io::ErrorKind::NotFound => {
                let name = quoted(file);
                let plain = name.trim_matches('\'');
                format!(
                    "--auth: there is no file {name}; create it with 'modest --hash-password USER > {plain}', or choose one that exists"
                )
            }
            _ => format!("--auth: {error}"),
        };
        CliError::failure(line).caused_by(&error)
    })?;
    let reload = users.reloader();
    reloads.add("--auth", move || {
        reload().map(|number| format!(" ({number} {})", if number == 1 { "user" } else { "users" }))
    });
    let users = match options.limits.workers {
        // With fewer than 16 workers, at most half of them compute a hash or wait to compute one, and one more for an
        // address that has sent a correct password before. The others serve requests that need no hash. With one
        // or two workers, all can compute hashes.
        Some(workers) if workers < 16 => users.hashes_at_once((workers / 4).max(1), workers / 4),
        _ => users,
    };
    let realm = options.guarding.realm.as_deref().unwrap_or("modest");
    let prefix = options.prefix();
    let auth = BasicAuth::new(realm).users(users).optional(true).log_in_at(&format!("{prefix}/"));
    Ok(match options.guarding.auth_over_http {
        true => auth,
        false => {
            let is_proxied = !options.listening.proxy_protocol.is_empty();
            auth.only_if(move |request| came_safely(request, is_proxied))
        }
    })
}

/// The fields by which a proxy reports its client.
const REPORTS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// Returns whether a request was encrypted or local on its whole way, as reported by a trusted proxy, or otherwise by
/// the address of the connection. A report that shows neither, or that can't be read, does not count as safe. The
/// loopback address of another machine, which a list of several addresses may contain, does not count as safe either.
/// `is_proxied`: the address comes from the PROXY protocol, only this machine can connect (see `check_listeners`), and
/// its proxy can still report `http`.
fn came_safely(request: &Request, is_proxied: bool) -> bool {
    let is_near = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip.is_loopback());
    let is_local = request.client().ip().is_none_or(|ip| ip.is_loopback());
    let members = |name| request.header_all(name).flat_map(|line| line.split(|&byte| byte == b','));
    match request.value::<Forwarded>() {
        Some(report) if REPORTS.iter().any(|name| request.header_all(name).next().is_some()) => {
            let is_direct = ["forwarded", "x-forwarded-for"].into_iter().all(|name| members(name).count() <= 1);
            report.scheme.as_deref() == Some("https") || is_local && is_direct && is_near(report.client_ip)
        }
        _ if is_proxied => {
            members("x-forwarded-proto").all(|scheme| scheme.trim_ascii().eq_ignore_ascii_case(b"https"))
        }
        _ => request.is_secure() || is_local,
    }
}

/// Rejects listeners without TLS at which clients would send passwords over a network in clear text, unless an option
/// allows it. Behind trusted proxies each request is checked instead. The PROXY protocol does not report TLS.
pub fn check_listeners(options: &Options, bound: &[Address]) -> Result<(), CliError> {
    if asks_for_passwords(options)
        && !options.guarding.auth_over_http
        && (options.listening.trusted_proxy.is_empty() || !options.listening.proxy_protocol.is_empty())
        && let Some(address) = bound.iter().find(|address| !is_near(address))
    {
        return Err(CliError::usage(format!(
            "--auth: {address} has no TLS, so passwords could be read on the network; use --tls-cert, or listen on \
             127.0.0.1 behind a proxy with TLS, or name that proxy with --trusted-proxy, or accept the risk with \
             --auth-over-http"
        )));
    }
    Ok(())
}
