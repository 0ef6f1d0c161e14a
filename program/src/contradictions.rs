//! Rejects options that exclude each other, or that have no effect without others, because the server would not behave
//! as the user intended. Called by `lib`. Other checks within one topic are in its module: `uploads`, `access`,
//! `encryption`, `listening`.

use crate::address::BindAddress;
use crate::backends;
use crate::error::CliError;
use crate::listening;
use crate::metrics;
use crate::mounts::Mount;
use crate::options::Options;
use crate::values::{Limit, Proxy, Quota};

pub fn check(
    options: &Options,
    places: &[Mount],
    addresses: &[BindAddress],
    has_application: bool,
) -> Result<(), CliError> {
    let refused = |what: String| Err(CliError::usage(what));
    if options.starting.confine && has_application {
        return refused("--confine is for folders only: an application reads files that no option names".to_owned());
    }
    if let Some((name, needed)) = without_effect(options, places, addresses, &listening::all(options, addresses)?) {
        return refused(format!("{name} has no effect without {needed}"));
    }
    if let Some((name, at)) = shadowed(options, places, has_application) {
        return refused(format!("{name}: something else is served at {at}; choose another path"));
    }
    if let Some((pair, why)) = pair(options) {
        return refused(format!("{pair} contradict each other: {why}"));
    }
    let is_more = |(_, each, _, all): &&(&str, Option<u64>, &str, Option<u64>)| each > all && all.is_some();
    if let Some((name, _, other, _)) = parts(options).iter().find(is_more) {
        return refused(format!("{name} and {other} contradict each other: the limit of one exceeds the limit of all"));
    }
    Ok(())
}

const IP: &str = "an IP address to listen on";

/// Returns an option that is given, and what it needs if that is missing.
/// `addresses`: those of the site. `all`: also those of the metrics, and those that redirect.
fn without_effect(
    options: &Options,
    places: &[Mount],
    addresses: &[BindAddress],
    all: &[BindAddress],
) -> Option<(String, &'static str)> {
    let missing = needs(options, places, addresses, all).into_iter().filter(|(_, is_there, _)| !is_there);
    let mut missing = missing.flat_map(|(needed, _, names)| names.split(' ').map(move |name| (name, needed)));
    let given = missing.find(|(name, _)| options.given.contains(*name));
    without_clients(options, all).or(given.map(|(name, needed)| (format!("--{name}"), needed)))
}

/// Returns what is needed, whether it is there, and the options that need it.
fn needs(
    options: &Options,
    places: &[Mount],
    addresses: &[BindAddress],
    all: &[BindAddress],
) -> Vec<(&'static str, bool, &'static str)> {
    let Options { limits, given, .. } = options;
    let is_given = |name: &str| given.contains(name);
    let has_ip = addresses.iter().any(|address| address.socket.is_none());
    let has_url = addresses.iter().any(|address| !address.is_unix());
    let has_ipv6 = all.iter().any(|address| address.socket.is_none() && !address.is_ipv4());
    let keeps = limits.keep_alive != Some(false);
    vec![
        (
            "a folder to serve",
            places.iter().any(|place| !place.path.is_file()),
            "spa clean-urls webdav archive index hidden no-listing",
        ),
        (
            "listings of a folder",
            places.iter().any(|place| !place.path.is_file()) && (!is_given("no-listing") || options.serving.webdav),
            "listing-cache listing-watches",
        ),
        (
            "a folder or file to serve",
            !places.is_empty(),
            "error-page follow-symlinks precompressed compress mime content-type cache-control cache-files cache-file-size \
             cache-size open-files inotify",
        ),
        (
            "an IP address to listen on or --proxy-protocol",
            has_url || is_given("proxy-protocol") || !is_set(limits.max_per_address),
            "max-per-address",
        ),
        ("--archive", is_given("archive"), "archives archive-depth archive-entries"),
        ("--compress", options.serving.compress, "compress-from compress-to compressions compress-cache"),
        ("--keep-alive yes", keeps || !is_set(limits.max_requests), "max-requests"),
        ("--keep-alive yes", keeps || !is_set(limits.max_connection_age), "max-connection-age"),
        (
            "a --queue-limit of at least 1",
            limits.queue_limit != Some(0) || !is_set(limits.queue_timeout),
            "queue-timeout",
        ),
        (
            "--proxy",
            is_given("proxy"),
            "proxy-timeout proxy-at-once proxy-body-limit proxy-idle-connections proxy-idle-timeout",
        ),
        ("--proxy-protocol", is_given("proxy-protocol"), "proxy-untrusted proxy-header-timeout"),
        ("--trusted-proxy", is_given("trusted-proxy"), "forwarded-host"),
        ("--inotify yes", limits.inotify != Some(false), "listing-watches"),
        ("a --listing-cache of at least 1", limits.listing_cache != Some(0), "listing-watches"),
        ("a --cache-files of at least 1", limits.cache_files != Some(0), "cache-file-size cache-size"),
        ("a Unix socket with a file to listen on", all.iter().any(BindAddress::has_file), "socket-mode"),
        (IP, has_ip, "reuse-port"),
        ("an IPv6 address to listen on", has_ipv6, "ipv6-only"),
        (IP, has_url, "open qr"),
        ("--upload", is_given("upload"), "overwrite allow-delete upload-limit upload-reserve"),
        ("--upload", is_given("upload"), "upload-quota uploads-at-once uploads-each resumable fsync"),
        ("--auth", is_given("auth"), "realm auth-over-http"),
        #[cfg(feature = "tls")]
        (
            "TLS: add --tls-cert or --tls-self-signed",
            options.encryption.is_enabled(),
            "tls-client-ca tls-client-auth tls-handshake-timeout redirect-to-https hsts",
        ),
        ("--tls-cert", is_given("tls-cert"), "tls-key tls-password-file"),
        ("--tls-client-ca", is_given("tls-client-ca"), "tls-client-auth"),
    ]
}

/// Returns an option about proxies that no client can reach, and what it needs.
fn without_clients(options: &Options, all: &[BindAddress]) -> Option<(String, &'static str)> {
    let is_for_clients = |address: &&BindAddress| address.option != metrics::OPTION;
    let listening = &options.listening;
    let for_clients = || all.iter().filter(is_for_clients);
    let may_be_unix = for_clients().any(|address| address.socket.is_some());
    let may_be_ip = for_clients().any(|address| !address.is_unix());
    let serves_all = listening.proxy_protocol.is_empty() || listening.proxy_untrusted;
    let is_unix = |address: &BindAddress| address.is_unix() && is_for_clients(&address);
    if !serves_all && all.iter().any(is_unix) && !listening.proxy_protocol.contains(&Proxy::Unix) {
        let option = all.iter().find(|address| is_unix(address)).map_or("--bind", |address| address.option);
        let option = if option == "--port" { "--bind" } else { option };
        return Some((format!("{option} unix:"), "--proxy-protocol unix: its clients would be disconnected"));
    }
    let trusted = listening.trusted_proxy.iter().map(|proxy| ("--trusted-proxy", proxy));
    for (name, proxy) in trusted.chain(listening.proxy_protocol.iter().map(|proxy| ("--proxy-protocol", proxy))) {
        match proxy {
            Proxy::Unix if !may_be_unix => return Some((format!("{name} unix"), "a Unix socket to listen on")),
            Proxy::Network(network) if !may_be_ip => return Some((format!("{name} {network}"), IP)),
            Proxy::Unix | Proxy::Network(_) => {}
        }
    }
    None
}

/// Returns an option with the path of a page, and that path, if something else is served there.
fn shadowed<'a>(options: &'a Options, places: &[Mount], has_application: bool) -> Option<(&'static str, &'a str)> {
    let metrics = options.serving.metrics.as_deref().filter(|_| options.listening.metrics_bind.is_none());
    let pages = [("--health", options.serving.health.as_deref()), ("--metrics", metrics)];
    let is_taken = |at: &str| {
        let at = at.trim_end_matches('/');
        has_application && at == options.prefix()
            || places
                .iter()
                .any(|place| place.at == at || place.path_of_file().is_some_and(|path| path == at.as_bytes()))
            || options.serving.proxy.iter().any(|backend| backends::path(options, backend) == at)
    };
    pages.into_iter().find_map(|(name, at)| Some((name, at.filter(|at| is_taken(at))?)))
}

/// Returns two options that are given and exclude each other, and the reason.
fn pair(options: &Options) -> Option<(&'static str, String)> {
    let Options { starting, serving, limits, fields, listening, .. } = options;
    let (hosts, health) = (&listening.allowed_host, serving.health.as_deref());
    let is_one_page = listening.metrics_bind.is_none() && health.is_some() && serving.metrics.as_deref() == health;
    let (from, to) = (limits.compress_from.unwrap_or(1 << 10), limits.compress_to.unwrap_or(4 << 20));
    let is_without_files = starting.confine && limits.body_folder.is_none();
    let needs_files = limits.body_memory.is_some_and(|size| size < 64 << 10);
    let needs_names = serving.proxy.iter().any(|backend| needs_lookup(&backend.url));
    let sets_caching = fields.header.iter().any(|field| field.name.eq_ignore_ascii_case("cache-control"));
    let rows = [
        (
            "--allowed-host * and the other hosts",
            "* allows all",
            hosts.len() > 1 && hosts.iter().any(|host| host == "*"),
        ),
        ("--archive and --no-listing", "only listed folders have archives", serving.archive && serving.no_listing),
        ("--metrics and --health", &format!("both are at {}", health.unwrap_or_default()), is_one_page),
        ("--compress-from and --compress-to", "no file size fits both", from > to),
        (
            "--confine and --body-memory",
            "longer bodies go to files, so --body-folder is needed",
            is_without_files && needs_files,
        ),
        (
            "--confine and --proxy",
            "long bodies of requests go to files, so --body-folder is needed",
            is_without_files && !serving.proxy.is_empty(),
        ),
        (
            "--confine and --proxy",
            "a confined server can't look up the names of hosts; name the backend by its IP address or as localhost",
            starting.confine && needs_names,
        ),
        (
            "--header and --cache-control",
            "set Cache-Control with one of them only",
            sets_caching && !fields.cache_control.is_empty(),
        ),
    ];
    rows.into_iter().find(|(.., are_given)| *are_given).map(|(pair, why, _)| (pair, why.to_owned()))
}

/// Returns limits of single things, each with the limit of all such things together.
fn parts(options: &Options) -> Vec<(&'static str, Option<u64>, &'static str, Option<u64>)> {
    let Options { limits, uploading, .. } = options;
    let quota = uploading.upload_quota.and_then(|Limit(quota)| quota).map(|Quota { bytes, .. }| bytes);
    vec![
        ("--max-per-address", count(limit(limits.max_per_address)), "--max-connections", count(limits.max_connections)),
        ("--request-line-limit", count(limits.request_line_limit), "--head-limit", count(limits.head_limit)),
        ("--body-memory", count(limits.body_memory), "--body-memory-quota", limit(limits.body_memory_quota)),
        ("--body-limit", limit(limits.body_limit), "--body-quota", limit(limits.body_quota)),
        ("--proxy-body-limit", limit(options.serving.proxy_body_limit), "--body-quota", limit(limits.body_quota)),
        ("--cache-file-size", count(limits.cache_file_size), "--cache-size", count(limits.cache_size)),
        ("--open-files", count(limits.open_files), "--cache-files", count(limits.cache_files)),
        ("--upload-limit", limit(uploading.upload_limit), "--upload-quota", quota),
        ("--uploads-each", count(uploading.uploads_each), "--uploads-at-once", count(uploading.uploads_at_once)),
        ("--uploads-at-once", count(uploading.uploads_at_once), "--max-connections", count(limits.max_connections)),
    ]
}

fn is_set<T>(limit: Option<Limit<T>>) -> bool {
    limit.is_some_and(|Limit(limit)| limit.is_some())
}

/// Returns the limit, or `None` if it is not given or switched off.
fn limit<T>(given: Option<Limit<T>>) -> Option<T> {
    given.and_then(|Limit(limit)| limit)
}

fn count(given: Option<usize>) -> Option<u64> {
    given.map(|count| count as u64)
}

/// Returns whether the host of this URL is neither an address nor this machine.
fn needs_lookup(url: &str) -> bool {
    let authority = url.split('/').nth(2).unwrap_or_default().to_ascii_lowercase();
    let host = authority.rsplit_once(':').map_or(&*authority, |(host, _)| host);
    !authority.starts_with('[') && host != "localhost" && host.parse::<std::net::Ipv4Addr>().is_err()
}
