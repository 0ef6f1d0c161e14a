//! What rustls is told: certificates, whose clients' are trusted, tickets, protocols. Made from files, anew when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::identity::{self, Identity, invalid};
use super::names::ByName;

/// All that a configuration is made from.
#[derive(Debug)]
pub struct Sources {
    identities: Vec<Identity>,
    client_auth: Option<ClientAuth>,
    pub protocols: Vec<Vec<u8>>,
    provider: Arc<CryptoProvider>,
    /// What was read when they were given.
    first: Loaded,
}

/// Whose certificates clients may have.
#[derive(Debug)]
pub struct ClientAuth {
    /// Their roots, PEM.
    pub file: PathBuf,
    /// Whether they may have none.
    pub is_optional: bool,
}

/// What was read of the files, all of which belongs together.
#[derive(Clone, Debug)]
pub struct Loaded {
    keys: Vec<Arc<CertifiedKey>>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Sources {
    /// # Errors
    /// If it can't be read, or does not belong together.
    pub fn new(identity: Identity) -> io::Result<Sources> {
        let provider = Arc::new(ring::default_provider());
        let first = Loaded { keys: vec![identity.load(&provider)?], verifier: None, tickets: tickets()? };
        let protocols = vec![b"http/1.1".to_vec()];
        Ok(Sources { identities: vec![identity], client_auth: None, protocols, provider, first })
    }

    pub fn add(&mut self, identity: Identity) -> io::Result<()> {
        self.first.keys.push(identity.load(&self.provider)?);
        self.identities.push(identity);
        Ok(())
    }

    pub fn trust(&mut self, clients: ClientAuth) -> io::Result<()> {
        self.first.verifier = Some(clients.verifier(&self.provider)?);
        self.client_auth = Some(clients);
        Ok(())
    }

    pub fn asks_for_certificates(&self) -> bool {
        self.client_auth.is_some()
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let roots = self.client_auth.iter().map(|clients| clients.file.as_path());
        self.identities.iter().flat_map(Identity::files).chain(roots)
    }

    /// What was read when they were given.
    pub fn first(&self) -> &Loaded {
        &self.first
    }

    /// Read all of it once more.
    pub fn load(&self) -> io::Result<Loaded> {
        let keys: io::Result<Vec<_>> = self.identities.iter().map(|identity| identity.load(&self.provider)).collect();
        let clients = self.client_auth.as_ref();
        Ok(Loaded {
            keys: keys?,
            verifier: clients.map(|clients| clients.verifier(&self.provider)).transpose()?,
            // A ticket stands for a client's certificate that was checked: with other roots it is good for nothing.
            tickets: if clients.is_some() { tickets()? } else { self.first.tickets.clone() },
        })
    }

    pub fn config(&self, loaded: &Loaded) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(self.provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.expect("ring has suites for both versions");
        let builder = match &loaded.verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(&loaded.keys)));
        config.alpn_protocols.clone_from(&self.protocols);
        config.ticketer = loaded.tickets.clone();
        config
    }
}

impl Loaded {
    pub fn has_the_keys_of(&self, other: &Loaded) -> bool {
        self.keys.iter().map(|key| &key.cert).eq(other.keys.iter().map(|key| &key.cert))
    }
}

impl ClientAuth {
    fn verifier(&self, provider: &Arc<CryptoProvider>) -> io::Result<Arc<dyn ClientCertVerifier>> {
        let wrong = |why: String| invalid(format!("{}: {why}", self.file.display()));
        let mut roots = RootCertStore::empty();
        for root in identity::roots(&self.file)? {
            roots.add(root).map_err(|err| wrong(format!("a certificate in it can't be a root: {err}")))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let builder = if self.is_optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map_err(|err| wrong(err.to_string()))
    }
}

fn tickets() -> io::Result<Arc<dyn ProducesTickets>> {
    ring::Ticketer::new().map_err(|err| io::Error::other(format!("the system gives no random bytes: {err}")))
}
