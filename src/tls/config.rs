//! The configuration of rustls: certificates, trusted roots, tickets, protocols. Created from files, and again when the
//! files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::clients::{Shown, Trust};
use super::identity::{self, Identity, invalid};
use super::names::ByName;

#[derive(Debug)]
pub struct Sources {
    identities: Vec<Identity>,
    client_auth: Option<ClientAuth>,
    pub protocols: Vec<Vec<u8>>,
    provider: Arc<CryptoProvider>,
    /// The contents of the files at startup.
    first: Loaded,
}

/// The roots of the certificates that clients can have.
#[derive(Debug)]
pub struct ClientAuth {
    /// A PEM file of root certificates.
    pub file: PathBuf,
    /// Whether clients without a certificate are accepted.
    pub is_optional: bool,
}

/// The contents of the files.
#[derive(Clone, Debug)]
pub struct Loaded {
    keys: Vec<Arc<CertifiedKey>>,
    trust: Option<Trust>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Sources {
    /// # Errors
    /// If the files cannot be read, or key and certificate do not match.
    pub fn new(identity: Identity) -> io::Result<Sources> {
        let provider = Arc::new(ring::default_provider());
        let first = Loaded { keys: vec![identity.load(&provider)?], trust: None, tickets: tickets()? };
        Ok(Sources { identities: vec![identity], client_auth: None, protocols: Vec::new(), provider, first })
    }

    pub fn add(&mut self, identity: Identity) -> io::Result<()> {
        self.first.keys.push(identity.load(&self.provider)?);
        self.identities.push(identity);
        Ok(())
    }

    pub fn trust(&mut self, clients: ClientAuth) -> io::Result<()> {
        self.first.trust = Some(clients.trust(&self.provider)?);
        self.client_auth = Some(clients);
        Ok(())
    }

    pub fn asks_for_certificates(&self) -> bool {
        self.client_auth.is_some()
    }

    /// Returns the certificates, in the order of [`Loaded::leaves`].
    pub fn identities(&self) -> &[Identity] {
        &self.identities
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let roots = self.client_auth.iter().map(|clients| clients.file.as_path());
        self.identities.iter().flat_map(Identity::files).chain(roots)
    }

    /// Returns the contents of the files at startup.
    pub fn first(&self) -> &Loaded {
        &self.first
    }

    /// Reads all files again. Content that cannot be used is replaced by the previous one, and the first error is
    /// returned. Roots are replaced in any case: a certificate and key that do not match for a moment must not keep a
    /// removed root in use.
    pub fn load(&self, before: &Loaded) -> (Loaded, Option<io::Error>) {
        let (mut loaded, mut wrong) = (before.clone(), None);
        let keys: io::Result<Vec<_>> = self.identities.iter().map(|identity| identity.load(&self.provider)).collect();
        match keys {
            Ok(keys) => loaded.keys = keys,
            Err(error) => wrong = Some(error),
        }
        match self.client_auth.as_ref().map(|clients| clients.trust_anew(&self.provider, before.trust.as_ref())) {
            Some(Ok(trust)) => loaded.trust = Some(trust),
            Some(Err(error)) => wrong = wrong.or(Some(error)),
            None => {}
        }
        (loaded, wrong)
    }

    /// Selects the certificate that a client gets.
    pub fn resolver(&self, loaded: &Loaded) -> Arc<dyn ResolvesServerCert> {
        Arc::new(ByName::new(&loaded.keys))
    }

    /// Creates a configuration for all connections, or for one connection if clients are asked for certificates.
    pub fn config(&self, loaded: &Loaded, resolver: Arc<dyn ResolvesServerCert>) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.expect("ring has cipher suites for both versions");
        let mut config = match &loaded.trust {
            None => {
                let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
                config.ticketer = loaded.tickets.clone();
                config
            }
            Some(trust) => {
                let shown = Arc::new(Shown::new(trust.clone(), loaded.tickets.clone()));
                let mut config = builder.with_client_cert_verifier(shown.clone()).with_cert_resolver(resolver);
                config.session_storage = Arc::new(NoServerSessionStorage {}); // rustls does not check its content again
                config.ticketer = shown;
                config
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        config
    }
}

impl Loaded {
    /// Returns the certificates of this server, in DER.
    pub fn leaves(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().filter_map(|key| key.cert.first().map(|certificate| &**certificate))
    }

    /// Returns whether clients are asked for certificates but no root is trusted.
    pub fn trusts_no_roots(&self) -> bool {
        self.trust.as_ref().is_some_and(|trust| trust.is_empty)
    }

    pub fn has_the_keys_of(&self, other: &Loaded) -> bool {
        self.keys.iter().map(|key| &key.cert).eq(other.keys.iter().map(|key| &key.cert))
    }
}

impl ClientAuth {
    /// Reads the root certificates. If the file no longer has any, the previous ones are marked as empty, and no client
    /// is trusted.
    fn trust_anew(&self, provider: &Arc<CryptoProvider>, before: Option<&Trust>) -> io::Result<Trust> {
        match before {
            Some(before) if identity::roots(&self.file)?.is_empty() => Ok(Trust { is_empty: true, ..before.clone() }),
            _ => self.trust(provider),
        }
    }

    fn trust(&self, provider: &Arc<CryptoProvider>) -> io::Result<Trust> {
        let wrong = |why: String| invalid(format!("{}: {why}", self.file.display()));
        let mut roots = RootCertStore::empty();
        for root in identity::roots(&self.file)? {
            roots.add(root).map_err(|err| wrong(format!("a certificate in it can't be a root: {err}")))?;
        }
        if roots.is_empty() {
            return Err(wrong(identity::NO_CERTIFICATE.into()));
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = if self.is_optional { builder.allow_unauthenticated() } else { builder };
        let roots = builder.build().map_err(|err| wrong(err.to_string()))?;
        Ok(Trust { roots, is_empty: false })
    }
}

fn tickets() -> io::Result<Arc<dyn ProducesTickets>> {
    ring::Ticketer::new().map_err(|err| io::Error::other(format!("the system has no random bytes: {err}")))
}
