//! The server: its addresses, proxies and limits. Called by `lib`.

use modest::{IntoProtocol, Listen, ProxyProtocol, TcpServer};

use crate::address::{self, BindAddress};
use crate::error::CliError;
use crate::options::Options;
use crate::values::{Limit, Rate};

/// Listens on all addresses, behind proxies if there are any.
pub fn bind(options: &Options, addresses: &[BindAddress], site: impl IntoProtocol) -> Result<TcpServer, CliError> {
    match has_proxies(options) {
        true => bind_as_it_is(options, addresses, behind_proxies(options, site)),
        false => bind_as_it_is(options, addresses, site),
    }
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
    more.map_err(|error| crate::encryption::cannot_redirect(&error))
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
    let trusting = |proxied: ProxyProtocol, network: &_| proxied.trust(*network);
    let proxied = listening.proxy_protocol.iter().fold(ProxyProtocol::new(site), trusting);
    let proxied = proxied.serve_untrusted(listening.proxy_untrusted);
    set! { proxied; header_timeout = listening.proxy_header_timeout; }
}

fn bind_as_it_is(options: &Options, addresses: &[BindAddress], site: impl IntoProtocol) -> Result<TcpServer, CliError> {
    let (first, others) = addresses.split_first().expect("`places::addresses` gives at least one");
    let mut server =
        TcpServer::bind(listen(options, first), site).map_err(|error| CliError::binding("-p", first, &error))?;
    for address in others {
        server = server.also(listen(options, address)).map_err(|error| CliError::binding("-p", address, &error))?;
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
