//! TLS as configured by options: certificates, clients' certificates, and redirects from plain HTTP. Called by
//! `serving`, and by `lib` for its checks.

use std::path::{Path, PathBuf};

use modest::layers::HttpsOnly;
use modest::{Certificates, ClientCertificates, Error, Http, Identity, RequestHandler, Tls, handler_fn};

use crate::address::{BindAddress, without_covered};
use crate::error::{CliError, quoted, reason};
use crate::hosts::{self, Reach};
use crate::metrics::Figures;
use crate::option_files;
use crate::options::{Encryption, Options};
use crate::signals::Reloads;
use crate::site::{self, Front, Site};

pub struct Opened {
    pub tls: Tls,
    pub fingerprint: Option<String>,
}

/// Configures TLS, if it is enabled.
///
/// `identity`: the self-signed certificate, if a parent process has created it.
pub fn open(
    options: &Options,
    addresses: &[BindAddress],
    identity: Option<&Identity>,
) -> Result<Option<Opened>, CliError> {
    let wanted = &options.encryption;
    let made = match identity {
        Some(identity) => Some(identity.clone()),
        None => self_signed(options, addresses)?,
    };
    let (mut tls, fingerprint) = if let Some(identity) = made {
        let fingerprint = identity.fingerprint().map_err(not_self_signed)?;
        (Tls::new(identity).map_err(not_self_signed)?, Some(fingerprint))
    } else if let Some(tls) = of_files(wanted)? {
        (tls, None)
    } else {
        return Ok(None);
    };
    if let Some(roots) = &wanted.tls_client_ca {
        let which = wanted.tls_client_auth.unwrap_or(ClientCertificates::Required);
        if option_files::is_pipe(roots) {
            return Err(failed(
                "--tls-client-ca",
                &format!("{} is a pipe; give a file, which is read again", quoted(roots)),
            ));
        }
        tls = tls
            .client_certificates(roots, which)
            .map_err(|error| failed("--tls-client-ca", &error).caused_by(&error))?;
    }
    let tls = set! { tls; handshake_timeout = wanted.tls_handshake_timeout; };
    Ok(Some(Opened { tls, fingerprint }))
}

/// Rejects certificates that contradict each other.
pub fn check(options: &Options) -> Result<(), CliError> {
    let wanted = &options.encryption;
    if wanted.tls_self_signed.is_some() && !wanted.tls_cert.is_empty() {
        return Err(CliError::usage("--tls-self-signed and --tls-cert contradict each other"));
    }
    let (certificates, keys) = (wanted.tls_cert.len(), wanted.tls_key.len());
    if keys > 0 && keys != certificates {
        let line = format!("--tls-key: expected one per --tls-cert, or none; there are {keys} for {certificates}");
        return Err(CliError::usage(line));
    }
    Ok(())
}

/// Returns whether no key needs the password in this file. A key that can't be read again may need it.
pub fn is_password_unused(options: &Options) -> bool {
    let wanted = &options.encryption;
    let keys = if wanted.tls_key.is_empty() { &wanted.tls_cert } else { &wanted.tls_key };
    let is_plain = |key: &PathBuf| {
        let text = (!option_files::is_pipe(key)).then(|| option_files::text("--tls-key", key));
        text.is_some_and(|text| text.is_ok_and(|text| !text.contains("-----BEGIN ENCRYPTED ")))
    };
    wanted.tls_password_file.as_ref().is_some_and(|file| !option_files::is_pipe(file)) && keys.iter().all(is_plain)
}

/// Configures TLS from files. As in Python, the key can be in the certificate's file, and its password can be in
/// another file.
fn of_files(wanted: &Encryption) -> Result<Option<Tls>, CliError> {
    let piped =
        wanted.tls_password_file.as_deref().filter(|path| option_files::is_pipe(path)).map(password).transpose()?;
    let mut tls: Option<Tls> = None;
    for (number, certificate) in wanted.tls_cert.iter().enumerate() {
        let key = wanted.tls_key.get(number).unwrap_or(certificate);
        let mut identity = match option_files::is_pipe(certificate) || option_files::is_pipe(key) {
            false => Identity::from_pem_files(certificate, key),
            true => {
                let read = |option, file: &Path| {
                    option_files::read(option, file)
                        .map_err(|error| failed(option, &format!("{}: {error}", quoted(file))))
                };
                let chain = read("--tls-cert", certificate)?;
                let key = if key == certificate { chain.clone() } else { read("--tls-key", key)? };
                Identity::from_pem(chain, key)
            }
        };
        if let Some(password) = &piped {
            identity = identity.password(password.as_str());
        } else if let Some(path) = &wanted.tls_password_file {
            identity = identity.password_file(path).map_err(|error| unreadable(path, &error))?;
        }
        let added = match tls {
            None => Tls::new(identity),
            Some(tls) => tls.certificate(identity),
        };
        tls = Some(added.map_err(|error| {
            let has = |text: &str| error.to_string().contains(text);
            let advice = match () {
                () if has("no private key") && wanted.tls_key.is_empty() => "; give its file with --tls-key",
                () if has("password is missing") => "; give its file with --tls-password-file",
                () => "",
            };
            failed("--tls-cert", &format!("{error}{advice}")).caused_by(&error)
        })?);
    }
    Ok(tls)
}

/// Reads a password from a pipe, which can be read once.
fn password(path: &Path) -> Result<String, CliError> {
    let text = option_files::text("--tls-password-file", path).map_err(|error| unreadable(path, &error))?;
    Ok(text.trim().to_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failure(format!("--tls-password-file: {} can't be read: {}", quoted(path), reason(error)))
        .caused_by(error)
}

/// Returns the certificate of `--tls-self-signed`, if that is set.
pub fn self_signed(options: &Options, addresses: &[BindAddress]) -> Result<Option<Identity>, CliError> {
    let Some(names) = &options.encryption.tls_self_signed else { return Ok(None) };
    let names = match names.as_str() {
        "" => own_names(addresses),
        names => names.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    Identity::self_signed(names).map(Some).map_err(not_self_signed)
}

fn not_self_signed(error: std::io::Error) -> CliError {
    CliError::usage(format!("--tls-self-signed: {}", reason(&error)))
}

/// Returns the names and addresses of the server: `localhost`, and the addresses to listen on. A socket that another
/// program has opened can have any address of this machine.
fn own_names(addresses: &[BindAddress]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    for address in addresses.iter().filter(|address| !address.is_unix()) {
        match address.host.parse::<std::net::IpAddr>() {
            Ok(ip) if !ip.is_unspecified() && address.socket.is_none() => names.push(ip.to_string()),
            Err(_) if !["", "*"].contains(&address.host.as_str()) => names.push(address.host.clone()),
            _ => {
                let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
                names.extend(interfaces.iter().filter(|at| !at.is_link_local()).map(|at| at.ip().to_string()));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Returns a handler that redirects each request to HTTPS at this port; without a port, at the port of the request.
pub fn redirect(
    options: &Options,
    reach: &Reach,
    figures: &Figures,
    port: Option<u16>,
    front: Front,
) -> Result<Http<Site>, CliError> {
    let nothing = handler_fn(|_| Err(Error::new(404, "")));
    let redirect = hosts::around(Box::new(nothing.layer(HttpsOnly::new().port(port))), options, reach);
    // The site applies its own rule to the path.
    Ok(site::published(redirect, options, figures, front, false)?.strict_paths(false))
}

/// Returns the addresses that redirect plain HTTP, in addition to the TLS port itself.
pub fn redirecting(options: &Options, addresses: &[BindAddress]) -> Result<Vec<BindAddress>, CliError> {
    let Some(bind) = &options.encryption.redirect_to_https else { return Ok(Vec::new()) };
    let (port, option) = (bind.port.unwrap_or(80), "--redirect-to-https");
    if !bind.address.host.is_empty() || bind.address.socket.is_some() {
        return Ok(vec![BindAddress { port, option, ..bind.address.clone() }]);
    }
    let hosts = addresses.iter().filter(|address| address.socket.is_none());
    let hosts = hosts.map(|address| BindAddress { port, option, ..address.clone() }).collect();
    let found = without_covered(hosts, options.listening.ipv6_only);
    match found.is_empty() {
        true => Err(CliError::usage(
            "--redirect-to-https: the server has no IP address to redirect from; give one, as in 127.0.0.1:80",
        )),
        false => Ok(found),
    }
}

/// Reloads certificate files on SIGHUP.
pub fn reload(certificates: Certificates, wanted: &Encryption, reloads: &mut Reloads) {
    if !wanted.tls_cert.is_empty() {
        reloads.add("--tls-cert", move || certificates.reload().map(|()| String::new()));
    }
}

fn failed(name: &str, error: &impl std::fmt::Display) -> CliError {
    CliError::failure(format!("{name}: {error}"))
}
