//! The server: its addresses, proxies and limits. Called by `serving`, and by `lib` for its checks.

use std::net::IpAddr;
use std::time::Duration;

use modest::{Http, IntoProtocol, Listen, ProxyProtocol, ServerHandle, TcpServer};

use crate::address::{self, BindAddress, covers, resolved};
use crate::error::CliError;
use crate::header;
use crate::hosts::{self, Reach};
use crate::metrics::{self, Figures, Page};
use crate::options::Options;
use crate::site;
use crate::values::{Limit, Proxy, Rate};

/// Listens on all addresses, behind proxies if there are any.
pub fn bind(options: &Options, addresses: &[BindAddress], site: impl IntoProtocol) -> Result<TcpServer, CliError> {
    match has_proxies(options) {
        true => bind_as_it_is(options, addresses, behind_proxies(options, site)),
        false => bind_as_it_is(options, addresses, site),
    }
}

/// Rejects two options with the same address, even if it has two names. `more`: addresses of the metrics of further
/// processes.
pub fn check(options: &Options, addresses: &[BindAddress], more: &[BindAddress]) -> Result<(), CliError> {
    let all = [all(options, addresses)?, more.to_vec()].concat();
    if all.len() < 2 {
        return Ok(());
    }
    let is =
        |address: &&BindAddress, text: &str| address.socket.as_ref().is_some_and(|socket| socket.starts_with(text));
    let takes_all = all.iter().any(|address| address.socket.as_deref() == Some("systemd"));
    if takes_all && let Some(other) = all.iter().find(|address| is(address, "systemd:") || is(address, "fd:")) {
        return Err(CliError::usage(format!(
            "--bind systemd already includes {other}; name each socket of the site, as in --bind systemd:http"
        )));
    }
    let shown = |address: &BindAddress| match address.option {
        _ if address.socket.is_some() => format!("--bind {address}"),
        "--port" if options.listening.bind.is_empty() => format!("--port {}", address.port),
        "--port" => format!("--bind {address}"),
        option => format!("{option} {address}"),
    };
    let all: Vec<_> = all.iter().map(|address| (address, resolved(address))).collect();
    for (number, (address, ips)) in all.iter().enumerate() {
        // Two options that ask for any free port get two.
        let can_collide = |other: &BindAddress| {
            if let (Some(one), Some(two)) = (&other.socket, &address.socket) {
                return one == two;
            }
            other.port == address.port && (address.port > 0 || [other.option, address.option] == ["--port"; 2])
        };
        for (other, others) in all[..number].iter().filter(|(other, _)| can_collide(other)) {
            let is_same = |ip: &&IpAddr| others.contains(ip);
            let includes = |all: &[IpAddr], one: &[IpAddr]| {
                let has_page = [other.option, address.option].contains(&metrics::OPTION);
                (has_page || !options.listening.reuse_port)
                    && all.iter().any(|all| one.iter().any(|one| covers(*all, *one, options.listening.ipv6_only)))
            };
            let (one, two) = (shown(other), shown(address));
            let line = match () {
                () if address.socket.is_some() && address.socket == other.socket => format!("{one} was given twice"),
                () if ips.iter().any(|ip| is_same(&ip)) => {
                    format!("{one} and {two} are the same address; leave one of them out")
                }
                () if includes(others, ips) => format!("{one} includes {two}; leave one of them out"),
                () if includes(ips, others) => format!("{two} includes {one}; leave one of them out"),
                () => continue,
            };
            return Err(CliError::usage(line));
        }
    }
    Ok(())
}

/// Returns the port at which the site listens at the host of this address. `bound`: the addresses of the site.
#[cfg(feature = "tls")]
pub fn port_of(address: &BindAddress, sites: &[BindAddress], bound: &[modest::Address]) -> Option<u16> {
    let ips = resolved(address);
    let is_same = |site: &BindAddress| resolved(site).iter().any(|ip| ips.contains(ip));
    let sites = sites.iter().zip(bound).filter(|_| sites.len() == bound.len()); // a name can have several addresses
    sites.filter(|(site, _)| is_same(site)).find_map(|(_, bound)| Some(bound.socket_addr()?.port()))
}

/// Returns all addresses to listen on: those of the site, of the metrics, and those that redirect to HTTPS.
pub fn all(options: &Options, addresses: &[BindAddress]) -> Result<Vec<BindAddress>, CliError> {
    let mut all = addresses.to_vec();
    all.extend(metrics::address(options));
    #[cfg(feature = "tls")]
    if options.encryption.is_enabled() {
        all.extend(crate::encryption::redirecting(options, addresses)?);
    }
    Ok(all)
}

/// How long the page of the metrics can continue after the site has ended.
const PAGE: Duration = Duration::from_millis(200);

/// Listens on the address of the metrics of a server, if one is set, or on this socket of a parent process.
pub fn page(
    options: &Options,
    figures: &Figures,
    descriptor: Option<u32>,
    server: &ServerHandle,
    to_check: impl FnOnce(BindAddress) -> BindAddress,
) -> Result<Page, CliError> {
    let (Some(page), Some(address)) = (figures.page(options, server), metrics::address(options)) else {
        return Ok(Page::none());
    };
    let address = to_check(descriptor.map_or(address, BindAddress::inherited));
    let reach = Reach::default();
    let http = Http::new(hosts::around_page(page, options, &reach)).access_log(None);
    let http = header::of_all(site::limited(http, options).body_limit(0), options)?;
    let server = bind_page(options, &address, http)?;
    reach.set(server.local_addrs());
    Ok(Page::of(server, options))
}

/// Listens on the address of the metrics, whose scrapers connect without a proxy. It has a worker and few connections
/// of its own, so that scrapers can't take room from clients. Each process that shares a port has a page of its own, so
/// `--reuse-port` does not apply.
pub fn bind_page(options: &Options, address: &BindAddress, page: impl IntoProtocol) -> Result<TcpServer, CliError> {
    let bound = TcpServer::bind(listen(options, address).reuse_port(false), page);
    let server = bound.map_err(|error| CliError::binding(address, &options.starting.origins, &error))?;
    let connections = options.limits.max_connections.map_or(64, |most| most.min(64));
    Ok(limited(server, options)
        .workers(1)
        .max_connections(connections)
        .shutdown_delay(Duration::ZERO)
        .shutdown_timeout(PAGE))
}

/// Listens on another address for another site.
#[cfg(feature = "tls")]
pub fn also(
    server: TcpServer,
    options: &Options,
    address: &BindAddress,
    site: impl IntoProtocol,
) -> Result<TcpServer, CliError> {
    let listen = listen(options, address);
    let more = match has_proxies(options) {
        true => server.also_serve(listen, behind_proxies(options, site)),
        false => server.also_serve(listen, site),
    };
    more.map_err(|error| CliError::binding(address, &options.starting.origins, &error))
}

/// Returns the sockets passed by systemd that no address uses. Clients could connect to them without a response, so it
/// is an error if none of the passed sockets is used.
pub fn unused(options: &Options, addresses: &[BindAddress]) -> Result<Vec<String>, CliError> {
    let others = options.listening.metrics_bind.iter();
    #[cfg(feature = "tls")]
    let others = others.chain(&options.encryption.redirect_to_https);
    let all: Vec<_> = addresses.iter().chain(others.map(|bind| &bind.address)).collect();
    let unused = address::unused(all.iter().copied());
    let names_one = |address: &&BindAddress| {
        let is_handed_over = |name: &String| name.starts_with("systemd") || name.starts_with("fd:");
        address.socket.as_ref().is_some_and(is_handed_over)
    };
    match unused.is_empty() || all.iter().any(names_one) {
        true => Ok(unused),
        false => Err(CliError::usage(format!(
            "systemd passed {}, which --bind and --port don't name: connections to it would never be accepted; leave \
             out --bind and --port, or add --bind systemd",
            unused.join(", ")
        ))),
    }
}

fn has_proxies(options: &Options) -> bool {
    !options.listening.proxy_protocol.is_empty()
}

fn behind_proxies(options: &Options, site: impl IntoProtocol) -> ProxyProtocol {
    let listening = &options.listening;
    let trusting = |proxied: ProxyProtocol, proxy: &Proxy| match proxy {
        Proxy::Network(network) => proxied.trust(*network),
        Proxy::Unix => proxied.unix_sockets(true),
    };
    let proxied = listening.proxy_protocol.iter().fold(ProxyProtocol::new(site), trusting);
    let proxied = proxied.serve_untrusted(listening.proxy_untrusted);
    set! { proxied; header_timeout = listening.proxy_header_timeout; }
}

fn bind_as_it_is(options: &Options, addresses: &[BindAddress], site: impl IntoProtocol) -> Result<TcpServer, CliError> {
    let (first, others) = addresses.split_first().expect("`mounts::addresses` gives at least one");
    let failed = |address, error| CliError::binding(address, &options.starting.origins, &error);
    let mut server = TcpServer::bind(listen(options, first), site).map_err(|error| failed(first, error))?;
    for address in others {
        server = server.also(listen(options, address)).map_err(|error| failed(address, error))?;
    }
    Ok(limited(server, options).notify_systemd(true))
}

fn listen(options: &Options, address: &BindAddress) -> Listen {
    let listening = &options.listening;
    let is_inet = address.socket.is_none();
    set! {
        address.listen();
        backlog = listening.backlog.map(|clients| u32::try_from(clients).unwrap_or(u32::MAX));
        reuse_port = is_inet.then_some(listening.reuse_port);
        ipv6_only = is_inet.then_some(listening.ipv6_only);
        mode = listening.socket_mode.filter(|_| address.is_unix());
    }
}

fn limited(server: TcpServer, options: &Options) -> TcpServer {
    let limits = &options.limits;
    let rate = |Limit(rate): Limit<Rate>| rate.map(|Rate { bytes_per_second, over }| (bytes_per_second, over));
    set! {
        server;
        workers = limits.workers;
        memory = limits.memory;
        max_connections = limits.max_connections;
        input_quota = limits.input_quota;
        max_per_address = limits.max_per_address;
        queue_limit = limits.queue_limit;
        queue_timeout = limits.queue_timeout;
        write_timeout = limits.write_timeout;
        min_rate = limits.min_rate.map(rate);
        shutdown_timeout = limits.shutdown_timeout;
        shutdown_delay = limits.shutdown_delay;
        slow_handler = limits.slow_handler;
    }
}
