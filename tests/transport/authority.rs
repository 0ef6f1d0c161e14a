//! An authority that issues the certificates of servers and clients, and the settings of clients that trust it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use modest::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// The number of authorities, for unique names.
static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

impl Authority {
    pub fn new() -> Authority {
        let mut parameters = CertificateParams::default();
        let name = format!("authority {}", AUTHORITIES.fetch_add(1, Relaxed));
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// The certificate of the authority itself.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, and its key.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let (certificate, key) = self.made(names, ExtendedKeyUsagePurpose::ServerAuth);
        (certificate.pem(), key.serialize_pem())
    }

    pub fn identity(&self, names: &[&str]) -> Identity {
        let (certificate, key) = self.issue(names);
        Identity::from_pem(certificate, key)
    }

    /// A certificate for a client.
    pub fn client(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let (certificate, key) = self.made(&[name], ExtendedKeyUsagePurpose::ClientAuth);
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A client certificate that expires after this many seconds.
    pub fn client_for(&self, seconds: u64) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut parameters = CertificateParams::new(vec!["ada".to_owned()]).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(seconds)).into();
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn made(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.0).unwrap(), key)
    }
}

/// The settings of a client that trusts this authority.
pub fn config(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    builder(authority, versions).with_no_client_auth()
}

pub fn builder(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}
