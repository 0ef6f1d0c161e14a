//! `--allowed-host`, and the protection of loopback listeners against DNS rebinding: the owner of another site can let
//! its name resolve to 127.0.0.1, and its pages could then act as pages of this server. Called by `site`, `encryption`
//! and `listening`.

use std::sync::{Arc, OnceLock};

use modest::layers::AllowedHosts;
use modest::{Address, BodyPlan, Layer, Method, Request, RequestHandler};

use crate::address::is_near;
use crate::options::{Listening, Options};
use crate::values::Proxy;

type Handler = Box<dyn RequestHandler>;

/// Whether only programs on this machine can connect. It is known once the server listens.
#[derive(Clone, Default)]
pub struct Reach(Arc<OnceLock<bool>>);

impl Reach {
    /// Called before the first client is accepted.
    pub fn set(&self, bound: &[Address]) {
        let _ = self.0.set(bound.iter().all(is_near));
    }

    fn is_near(&self) -> bool {
        self.0.get().copied().unwrap_or(true)
    }
}

/// Serves a site for the allowed hosts only. If none are given and only this machine can connect, writing is restricted
/// to host names that no one can register, unless there is a proxy, which has other names.
pub fn around(site: Handler, options: &Options, reach: &Reach) -> Handler {
    let Listening { allowed_host, trusted_proxy, proxy_protocol, proxy_untrusted, .. } = &options.listening;
    let is = |name: &str| allowed_host.iter().any(|known| known == name);
    let has_network = |proxies: &[Proxy]| proxies.iter().any(|proxy| *proxy != Proxy::Unix);
    let is_direct = !has_network(trusted_proxy) && (!has_network(proxy_protocol) || *proxy_untrusted);
    let is_at_risk = allowed_host.is_empty() && !options.uploading.upload.is_empty() && is_direct;
    match () {
        () if is("*") => site,
        () if is_at_risk => {
            Box::new(site.layer(Hosts { allowed: AllowedHosts::local(), scope: Scope::NearWrites(reach.clone()) }))
        }
        () if allowed_host.is_empty() => site,
        () => {
            let named = allowed_host.iter().filter(|name| *name != "local");
            let allowed = if is("local") { AllowedHosts::local().and(named) } else { AllowedHosts::new(named) };
            Box::new(site.layer(Hosts { allowed, scope: Scope::All }))
        }
    }
}

/// Serves a page for local hosts and the allowed ones, if only this machine can connect. Elsewhere, programs connect
/// that call this machine by any of its names.
pub fn around_page(page: Handler, options: &Options, reach: &Reach) -> Handler {
    let named = options.listening.allowed_host.iter().filter(|name| *name != "local");
    match named.clone().any(|name| name == "*") {
        true => page,
        false => {
            let (allowed, scope) = (AllowedHosts::local().and(named), Scope::Near(reach.clone()));
            Box::new(page.layer(Hosts { allowed, scope }))
        }
    }
}

/// The layer `AllowedHosts`, with advice for the user in its message.
struct Hosts {
    allowed: AllowedHosts,
    scope: Scope,
}

/// The requests whose host is checked.
enum Scope {
    All,
    /// Requests from this machine, if only this machine can connect.
    Near(Reach),
    /// Requests from this machine that write.
    NearWrites(Reach),
}

impl Scope {
    fn contains(&self, request: &Request) -> bool {
        // Browsers do not use Unix sockets. Clients on other machines reach a loopback address only through a proxy,
        // which names them.
        let is_of_browser = || request.client().ip().is_some_and(|ip| ip.to_canonical().is_loopback());
        match self {
            Scope::All => true,
            Scope::Near(reach) => reach.is_near() && is_of_browser(),
            Scope::NearWrites(reach) => reach.is_near() && is_of_browser() && !only_reads(request.method()),
        }
    }
}

/// Returns whether a method changes nothing.
fn only_reads(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PROPFIND")
}

impl Layer for Hosts {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> modest::Result<()> {
        if !self.scope.contains(request) {
            return Ok(());
        }
        self.allowed.before_body(request, plan).map_err(|error| {
            let host = request.host().unwrap_or_default();
            log::debug!("the host {host} is not served");
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            let said = error.message().unwrap_or_default();
            let said = match self.scope {
                Scope::Near(_) => format!("{said} Use localhost or an IP address."),
                _ => format!("{said} To allow it, start the server with --allowed-host {name}"),
            };
            error.with_message(said)
        })
    }
}
