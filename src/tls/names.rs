//! Selects the certificate for a client, by the requested name and the key types that the client supports.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// The name that the client asked for in the last handshake of this thread.
    static REQUESTED: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// Takes the name from the handshake that this thread has just advanced, because `UnbufferedServerConnection` has no
/// method that returns it.
pub fn take_requested() -> Option<Box<str>> {
    REQUESTED.take()
}

#[derive(Debug)]
pub struct ByName {
    all: Vec<Arc<CertifiedKey>>,
    /// The certificates of each name. Names are as in certificates, in lower case: `a.example`, `*.a.example`.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    /// Creates the table. Earlier certificates are preferred.
    pub fn new(identities: &[Arc<CertifiedKey>]) -> ByName {
        let mut names: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for identity in identities {
            for name in names_of(identity) {
                names.entry(name).or_default().push(identity.clone());
            }
        }
        ByName { all: identities.to_vec(), names }
    }

    /// Returns the certificates for this name, or all if there are none for it.
    fn candidates(&self, asked: Option<&str>) -> &[Arc<CertifiedKey>] {
        let asked = asked.unwrap_or_default().to_ascii_lowercase();
        // An asterisk matches one label (RFC 9525, section 6.3).
        let starred = || asked.split_once('.').and_then(|(_, rest)| self.names.get(&format!("*.{rest}")));
        self.names.get(&asked).or_else(starred).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        REQUESTED.set(hello.server_name().map(Box::from));
        let candidates = self.candidates(hello.server_name());
        let suits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(suits).or(candidates.first()).cloned()
    }
}

/// Returns the host names in a certificate, in lower case.
fn names_of(identity: &CertifiedKey) -> Vec<String> {
    let Ok(certificate) = identity.end_entity_cert() else { return Vec::new() };
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    parsed.valid_dns_names().map(str::to_ascii_lowercase).collect()
}
