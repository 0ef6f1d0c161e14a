//! Checks the certificates of clients, in a full handshake and again when the client resumes a session with a ticket.
//!
//! rustls stores the checked certificates in tickets, and does not check them again when a session is resumed. So each
//! ticket also has them at its beginning, where this module can read them. A ticket whose certificates have expired, or
//! whose root is no longer trusted, is ignored, and the client is asked for its certificates.

use std::sync::{Arc, Mutex};

use crate::mutex::lock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ProducesTickets;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// The roots of accepted certificates.
#[derive(Clone, Debug)]
pub struct Trust {
    pub roots: Arc<dyn ClientCertVerifier>,
    /// Whether the file of roots is now empty. Then the roots above are the previous ones.
    pub is_empty: bool,
}

/// The verifier of one connection. It adds the certificates of the client to the connection's tickets.
#[derive(Debug)]
pub struct Shown {
    trust: Trust,
    tickets: Arc<dyn ProducesTickets>,
    /// The certificates, each after its length.
    chain: Mutex<Vec<u8>>,
}

/// The maximum length of a ticket. Longer ones are not issued, because the client sends tickets in its first message,
/// whose length is limited.
const LONGEST_TICKET: usize = 24 * 1024;

impl Shown {
    pub fn new(trust: Trust, tickets: Arc<dyn ProducesTickets>) -> Shown {
        Shown { trust, tickets, chain: Mutex::default() }
    }

    fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let Some((end, between)) = chain.split_first() else { return Ok(()) };
        if self.trust.is_empty {
            return Err(CertificateError::UnknownIssuer.into());
        }
        self.trust.roots.verify_client_cert(end, between, now).map(drop)
    }
}

impl ProducesTickets for Shown {
    fn enabled(&self) -> bool {
        self.tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        let chain = lock(&self.chain);
        put(&mut whole, &chain)?;
        whole.extend_from_slice(plain);
        self.tickets.encrypt(&whole).filter(|ticket| ticket.len() <= LONGEST_TICKET)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let whole = self.tickets.decrypt(ticket)?;
        let (chain, plain) = take(&whole)?;
        self.judge(&certificates(chain)?, UnixTime::now()).ok()?;
        *lock(&self.chain) = chain.to_vec();
        Some(plain.to_vec())
    }
}

impl ClientCertVerifier for Shown {
    fn offer_client_auth(&self) -> bool {
        self.trust.roots.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.trust.roots.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trust.roots.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut chain = Vec::new();
        for certificate in [end].into_iter().chain(between) {
            put(&mut chain, certificate).ok_or(CertificateError::BadEncoding)?;
        }
        let shown: Vec<_> = [end].into_iter().chain(between).cloned().collect();
        self.judge(&shown, now)?;
        *lock(&self.chain) = chain;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.roots.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.roots.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.roots.supported_verify_schemes()
    }
}

/// Appends these bytes after their length.
fn put(to: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    to.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
    to.extend_from_slice(bytes);
    Some(())
}

/// Splits off bytes that `put` has appended, and returns them with the rest.
fn take(from: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = from.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}

fn certificates(mut chain: &[u8]) -> Option<Vec<CertificateDer<'_>>> {
    let mut found = Vec::new();
    while !chain.is_empty() {
        let (certificate, rest) = take(chain)?;
        found.push(CertificateDer::from(certificate));
        chain = rest;
    }
    Some(found)
}
