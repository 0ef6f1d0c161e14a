//! A certificate and its key, from PEM files or from memory. They are read and decrypted, and checked to match.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use memchr::memmem;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::Decode as _;
use pkcs8::der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, OtherError};

use crate::metadata::{check_secret, read_whole};
use crate::tcp::reason;

/// A certificate, its intermediates, and its private key: for [`Tls`](crate::Tls).
///
/// ```no_run
/// use modest::{Identity, Tls};
///
/// let tls = Tls::new(Identity::from_pem_files("a.example.pem", "a.example.key"))?
///     .certificate(Identity::from_pem_files("b.example.pem", "b.example.key").password("open sesame"))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Identity {
    certificate: Pem,
    key: Pem,
    password: Option<Vec<u8>>,
    password_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Eq)]
enum Pem {
    File(PathBuf),
    Memory(Vec<u8>),
}

impl Identity {
    /// Uses the certificate in the first file, followed by its chain, and the key in the second file; both in PEM. Both
    /// can be the same file. The files are read when the identity is passed to [`Tls`](crate::Tls), and
    /// [again](crate::Tls::reload) when they change, so none of them can be a pipe.
    pub fn from_pem_files(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Identity {
        Identity::of(Pem::File(certificate.into()), Pem::File(key.into()))
    }

    /// Uses a certificate and its key from memory, in PEM.
    pub fn from_pem(certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Identity {
        Identity::of(Pem::Memory(certificate.into()), Pem::Memory(key.into()))
    }

    /// Sets the password of an encrypted key: PKCS #8 (`BEGIN ENCRYPTED PRIVATE KEY`) with PBES2, as OpenSSL 3 writes
    /// it. It has no effect on a key that is not encrypted.
    pub fn password(self, password: impl Into<Vec<u8>>) -> Identity {
        Identity { password: Some(password.into()), password_file: None, ..self }
    }

    /// Sets the password of an encrypted key to the text in this file, without the spaces and line breaks around it.
    /// The file is read again with the key. If it can't be, for example because it is a pipe, the first password is
    /// used, and if that is wrong for the key, the error contains both reasons.
    ///
    /// # Errors
    /// If the file cannot be read, or is not UTF-8.
    pub fn password_file(self, path: impl AsRef<Path>) -> io::Result<Identity> {
        let password = password_in(&read_whole(File::open(&path)?)?)?;
        Ok(Identity { password_file: Some(path.as_ref().to_owned()), ..self.password(password) })
    }

    /// Creates a temporary self-signed certificate for these names and IP addresses, valid for one year. Browsers show
    /// a warning with its [fingerprint](Identity::fingerprint).
    ///
    /// # Errors
    /// If one of them is not a valid name.
    #[cfg(feature = "self-signed")]
    pub fn self_signed<N: Into<String>>(names: impl IntoIterator<Item = N>) -> io::Result<Identity> {
        use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
        use rustls::pki_types::ServerName;
        use std::time::{Duration, SystemTime};
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        let is_name = |name: &&String| ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).is_ok();
        if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
            return Err(invalid(format!("{wrong:?} is neither the name of a host nor an IP address")));
        }
        let made = || {
            let mut parameters = CertificateParams::new(names)?;
            parameters.distinguished_name.push(DnType::CommonName, "modest, temporary");
            parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            parameters.not_before = (SystemTime::now() - DAY).into();
            parameters.not_after = (SystemTime::now() + 365 * DAY).into();
            let key = KeyPair::generate()?;
            Ok::<_, rcgen::Error>((parameters.self_signed(&key)?.der().to_vec(), key.serialize_der()))
        };
        let (certificate, key) =
            made().map_err(|err: rcgen::Error| invalid(format!("the certificate can't be created: {err}")))?;
        let pem = |label: &str, der: &[u8]| {
            pkcs8::der::pem::encode_string(label, pkcs8::LineEnding::LF, der).map_err(|err| invalid(err.to_string()))
        };
        Ok(Identity::from_pem(pem("CERTIFICATE", &certificate)?, pem("PRIVATE KEY", &key)?))
    }

    /// Returns the SHA-256 of the certificate, as browsers and `openssl x509 -fingerprint -sha256` show it:
    /// `AB:01:...`.
    ///
    /// # Errors
    /// If the certificate cannot be read, is not valid PEM, or is missing.
    pub fn fingerprint(&self) -> io::Result<String> {
        let chain = self.certificate.certificates()?;
        let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
        let hash = suite.map(|suite| suite.common.hash_provider.hash(&chain[0]));
        let bytes = hash.iter().flat_map(|hash| hash.as_ref());
        Ok(bytes.map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":"))
    }

    fn of(certificate: Pem, key: Pem) -> Identity {
        Identity { certificate, key, password: None, password_file: None }
    }

    /// Logs a warning for each file with a key or its password that every user of the system can read or change.
    pub(super) fn check_secrets(&self) {
        self.key.file().into_iter().chain(self.password_file.as_deref()).for_each(check_secret);
    }

    pub(super) fn load(&self, provider: &CryptoProvider) -> io::Result<Arc<CertifiedKey>> {
        let chain = self.certificate.certificates()?;
        let key = self.key.key(&self.current_password())?;
        let signing = provider.key_provider.load_private_key(key);
        let signing = signing.map_err(|err| {
            self.key.wrong(format!(
                "the kind of the key is not supported; use RSA from 2048 bits, P-256, P-384 or Ed25519: {err}"
            ))
        })?;
        let identity = CertifiedKey::new(chain, signing);
        match identity.keys_match() {
            Ok(()) => Ok(Arc::new(identity)),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(self.certificate.wrong(format!("the key in {} does not belong to this certificate", self.key)))
            }
            Err(err) => Err(self.certificate.wrong(format!("the certificate can't be used: {}", fault_of(&err)))),
        }
    }

    /// Returns the files from which the identity is read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key].into_iter().filter_map(|pem| pem.file()).chain(self.password_file.as_deref())
    }

    /// Returns the password that is now in the file, or the first one if there is no file or it can't be read.
    fn current_password(&self) -> Password {
        let mut password = Password { bytes: self.password.clone(), fault: String::new() };
        if let Some(path) = &self.password_file {
            match read_file(path).and_then(|text| password_in(&text)) {
                Ok(current) => password.bytes = Some(current),
                Err(err) => password.fault = format!("{}: {}; ", path.display(), reason(&err)),
            }
        }
        password
    }
}

struct Password {
    bytes: Option<Vec<u8>>,
    /// Why its file can't be read: the start of the error if the password is wrong.
    fault: String,
}

fn password_in(text: &[u8]) -> io::Result<Vec<u8>> {
    let text = str::from_utf8(text).map_err(|_| invalid("it is not UTF-8"))?;
    Ok(text.trim().into())
}

/// Returns the reason why a certificate is rejected.
fn fault_of(error: &rustls::Error) -> String {
    let cause = match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) => cause.downcast_ref(),
        _ => None,
    };
    match cause {
        Some(webpki::Error::UnsupportedCertVersion) => "its version of X.509 is not 3".to_owned(),
        _ => error.to_string(),
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.fmt(f)
    }
}

/// Returns when a certificate (DER) expires.
pub(super) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    validity(certificate).map(|(_, end)| end)
}

/// Returns when a certificate (DER) becomes valid and when it expires: `Validity` of RFC 5280, section 4.1. rustls has
/// already parsed the certificate.
pub(super) fn validity(certificate: &[u8]) -> Option<(SystemTime, SystemTime)> {
    let first = |der| AnyRef::from_der_partial(der).ok();
    let after_first = |der| first(der).map(|(_, rest)| rest);
    let (certificate, _) = first(certificate)?;
    let (certificate, _) = first(certificate.value())?;
    let mut fields = certificate.value();
    if fields.first() == Some(&0xa0) {
        fields = after_first(fields)?; // version
    }
    for _ in ["serialNumber", "signature", "issuer"] {
        fields = after_first(fields)?;
    }
    let (validity, _) = first(fields)?;
    let (not_before, not_after) = AnyRef::from_der_partial(validity.value()).ok()?;
    Some((time(&not_before)?, time(&AnyRef::from_der(not_after).ok()?)?))
}

fn time(encoded: &AnyRef<'_>) -> Option<SystemTime> {
    let time = encoded.decode_as::<UtcTime>().map(|time| time.to_unix_duration());
    let time = time.or_else(|_| encoded.decode_as::<GeneralizedTime>().map(|time| time.to_unix_duration()));
    SystemTime::UNIX_EPOCH.checked_add(time.ok()?)
}

/// Returns the certificates in a file of roots, if there are any.
pub(super) fn roots(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    Pem::File(path.to_owned()).all_certificates()
}

/// Reads a file that is read again later. A pipe would make a reload wait for a program that writes to it.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(path)?.file_type().is_fifo() {
        true => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, which can't be read again")),
        false => read_whole(File::open(path)?),
    }
}

pub(super) const NO_CERTIFICATE: &str = "there is no certificate in it (-----BEGIN CERTIFICATE-----)";

impl Pem {
    fn file(&self) -> Option<&Path> {
        match self {
            Pem::File(path) => Some(path),
            Pem::Memory(_) => None,
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Pem::File(path) => {
                read_file(path).map_err(|err| io::Error::new(err.kind(), format!("{self}: {}", reason(&err))))
            }
            Pem::Memory(bytes) => Ok(bytes.clone()),
        }
    }

    /// Returns the certificate and its chain: at least one certificate.
    fn certificates(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let chain = self.all_certificates()?;
        if chain.is_empty() { Err(self.wrong(NO_CERTIFICATE)) } else { Ok(chain) }
    }

    fn all_certificates(&self) -> io::Result<Vec<CertificateDer<'static>>> {
        let text = self.read()?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        chain.map_err(|err| self.wrong(format!("it is not valid PEM: {err}")))
    }

    fn key(&self, password: &Password) -> io::Result<PrivateKeyDer<'static>> {
        let text = self.read()?;
        match PrivateKeyDer::from_pem_slice(&text) {
            // "DEK-Info" of RFC 1421, which OpenSSL used for encrypted keys before PKCS #8.
            _ if memmem::find(&text, b"Proc-Type: 4,ENCRYPTED").is_some() => {
                Err(self
                    .wrong("the key has the old encryption; convert it with: openssl pkcs8 -topk8 -in OLD -out NEW"))
            }
            Ok(key) => Ok(key),
            Err(pem::Error::NoItemsFound) if memmem::find(&text, ENCRYPTED).is_some() => {
                self.decrypted(&text, password)
            }
            Err(pem::Error::NoItemsFound) => {
                Err(self.wrong("there is no private key in it (-----BEGIN PRIVATE KEY-----)"))
            }
            Err(err) => Err(self.wrong(format!("it is not valid PEM: {err}"))),
        }
    }

    fn decrypted(&self, text: &[u8], password: &Password) -> io::Result<PrivateKeyDer<'static>> {
        let Some(bytes) = &password.bytes else {
            return Err(self.wrong("the key is encrypted; its password is missing"));
        };
        let start = memmem::find(text, ENCRYPTED).unwrap_or(0);
        let (_, der) = pkcs8::der::pem::decode_vec(until_end(&text[start..]))
            .map_err(|err| self.wrong(format!("the encrypted key is not valid PEM: {err}")))?;
        let info = EncryptedPrivateKeyInfoRef::try_from(&der[..])
            .map_err(|err| self.wrong(format!("the encryption of the key is not supported: {err}")))?;
        let wrong = |_| invalid(format!("{}{self}: the password of the key is wrong", password.fault));
        let key = info.decrypt(bytes).map_err(wrong)?;
        PrivateKeyDer::from_pem(SectionKind::PrivateKey, key.as_bytes().to_vec())
            .ok_or_else(|| self.wrong("there is no private key in it"))
    }

    fn wrong(&self, why: impl fmt::Display) -> io::Error {
        invalid(format!("{self}: {why}"))
    }
}

const ENCRYPTED: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// Returns the text up to the end of the first block.
fn until_end(text: &[u8]) -> &[u8] {
    const END: &[u8] = b"-----END ENCRYPTED PRIVATE KEY-----";
    memmem::find(text, END).map_or(text, |end| &text[..end + END.len()])
}

pub(super) fn invalid(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.into())
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pem::File(path) => path.display().fmt(f),
            Pem::Memory(_) => f.write_str("PEM in memory"),
        }
    }
}

/// Leaves out the password and keys.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({}, {})", self.certificate, self.key)
    }
}
