//! Certificates: for which name, of which client, in which files, and after a change.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use modest::{ClientCertificates, Identity, Request, Response, Tls, handler_fn};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};

use super::{Authority, Folder, Inside, Site, builder, config};
use crate::server::{alone, eventually, set_a_logger_that_panics};

fn hello() -> impl modest::RequestHandler {
    handler_fn(|request: &Request| {
        let tls = request.client().tls().expect("TLS");
        Ok(Response::text(format!("{} {}", tls.peer_certificates().len(), tls.is_resumed())))
    })
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn each_name_gets_its_certificate() {
    let authority = Authority::new();
    let pairs =
        [&["first.example"][..], &["b.example", "*.b.example"], &["C.example"]].map(|names| authority.issue(names));
    let identity = |number: usize| Identity::from_pem(&*pairs[number].0, &*pairs[number].1);
    let tls = Tls::new(identity(0)).unwrap().certificate(identity(1)).unwrap().certificate(identity(2)).unwrap();
    let server = crate::server::serve(tls.protect(hello()), |server| server);
    for (name, wanted) in [
        ("first.example", Some(0)),
        ("b.example", Some(1)),
        ("x.b.example", Some(1)),
        ("X.B.EXAMPLE", Some(1)),
        ("c.example", Some(2)),
        ("x.y.b.example", None), // a star is one label, so the first certificate is sent, which the client rejects
        ("other.example", None),
    ] {
        let mut client = Inside::new(server.address, Arc::new(config(&authority, &[&TLS13])), name);
        let shaken = client.shake_hands();
        match wanted {
            Some(number) => assert_eq!(client.certificate(), der(&pairs[number].0), "{name}"),
            None => assert!(shaken.unwrap_err().to_string().contains("not valid for name"), "{name}"),
        }
    }
    // Without a name the client gets the first certificate.
    let mut config = config(&authority, &[&TLS13]);
    config.enable_sni = false;
    assert_eq!(Inside::new(server.address, Arc::new(config), "first.example").certificate(), der(&pairs[0].0));
}

#[test]
fn clients_with_and_without_certificates() {
    let folder = Folder::new();
    for (which, without) in [(ClientCertificates::Optional, Some("0 false")), (ClientCertificates::Required, None)] {
        let site = Site::with(hello(), |tls, authority| {
            tls.client_certificates(folder.write("ca.pem", authority.pem()), which).unwrap()
        });
        for version in [&TLS13, &TLS12] {
            let (certificate, key) = site.authority.client("ada");
            let known = builder(&site.authority, &[version]).with_client_auth_cert(vec![certificate], key).unwrap();
            let known = Arc::new(known);
            assert_eq!(site.client_with(known.clone()).text("/"), "1 false");
            assert_eq!(site.client_with(known).text("/"), "1 true", "a resumed session has its earlier certificate");
            let mut nobody = site.client_with(Arc::new(config(&site.authority, &[version])));
            let said = nobody.try_fetch(crate::server::get("/"));
            match (said, without) {
                (Ok(said), Some(wanted)) => assert_eq!(String::from_utf8(said).unwrap(), wanted),
                (Err(err), None) => assert!(err.to_string().contains("CertificateRequired"), "{err}"),
                (said, _) => panic!("{which:?}: {said:?}"),
            }
            let (certificate, key) = Authority::new().client("eve");
            let stranger = builder(&site.authority, &[version]).with_client_auth_cert(vec![certificate], key).unwrap();
            let err = site.client_with(Arc::new(stranger)).try_fetch(crate::server::get("/")).unwrap_err().to_string();
            assert!(err.contains("UnknownCA") || err.contains("DecryptError"), "{which:?}: {err}");
        }
    }
}

/// Each ticket leads to a new one, but none outlives its certificate.
#[test]
fn a_ticket_expires_with_its_certificate() {
    let folder = Folder::new();
    for (which, without) in [(ClientCertificates::Optional, true), (ClientCertificates::Required, false)] {
        let site = Site::with(hello(), |tls, authority| {
            tls.client_certificates(folder.write("ca.pem", authority.pem()), which).unwrap()
        });
        let known = [&TLS13, &TLS12].map(|version| {
            let (certificate, key) = site.authority.client_for(3);
            Arc::new(builder(&site.authority, &[version]).with_client_auth_cert(vec![certificate], key).unwrap())
        });
        for config in &known {
            assert_eq!(site.client_with(config.clone()).text("/"), "1 false");
        }
        let said = |config: &Arc<rustls::ClientConfig>| {
            site.client_with(config.clone())
                .try_fetch(crate::server::get("/"))
                .map(|said| String::from_utf8(said).unwrap())
        };
        for config in &known {
            // The client connects with ever newer tickets until it is rejected, because its certificate has expired.
            let mut resumed = 0;
            let until = std::time::Instant::now() + Duration::from_secs(20);
            let refused = loop {
                assert!(
                    std::time::Instant::now() < until,
                    "{which:?}: the session is still resumed, {resumed} times so far"
                );
                match said(config) {
                    Ok(said) if said == "1 true" => {
                        resumed += 1;
                        std::thread::sleep(Duration::from_millis(20)); // it takes seconds
                    }
                    Ok(said) => panic!("{which:?}: {said}"),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(refused.contains("CertificateExpired"), "{which:?}: {refused}");
            let again = said(config).unwrap_err().to_string();
            assert!(again.contains("CertificateExpired"), "{which:?}: {again}");
        }
        let nobody = said(&Arc::new(config(&site.authority, &[&TLS13])));
        assert_eq!(nobody.is_ok(), without, "{which:?}: {nobody:?}");
    }
}

/// Removing a root invalidates its tickets, even if no root is left, and even if the other files are wrong.
#[test]
fn a_ticket_is_invalid_once_its_root_is_removed() {
    let (folder, other) = (Folder::new(), Authority::new());
    for (roots, lets_in) in
        [("", false), ("# none is left\n", false), (&*other.pem(), false), ("torn", true), ("both", true)]
    {
        let authority = Authority::new();
        let pair = authority.issue(&["a.example"]);
        let (certificate, key) = (folder.write("cert.pem", &pair.0), folder.write("key.pem", &pair.1));
        let ca = folder.write("ca.pem", authority.pem());
        let tls = Tls::from_pem_files(certificate, key).unwrap().reload(Duration::ZERO);
        let tls = tls.client_certificates(&ca, ClientCertificates::Required).unwrap();
        let server = crate::server::serve(tls.protect(hello()), |server| server);
        let said = |config: &Arc<rustls::ClientConfig>| {
            Inside::new(server.address, config.clone(), "a.example").try_fetch(crate::server::get("/"))
        };
        let known = [&TLS13, &TLS12].map(|version| {
            let (certificate, key) = authority.client("ada");
            Arc::new(builder(&authority, &[version]).with_client_auth_cert(vec![certificate], key).unwrap())
        });
        for config in &known {
            assert_eq!([said(config).unwrap(), said(config).unwrap()], [b"1 false", &b"1 true "[..6]], "{roots:?}");
        }
        std::fs::remove_file(folder.path().join("key.pem")).unwrap(); // so that the server's own files are wrong
        match roots {
            "torn" => drop(folder.write("ca.pem", &authority.pem()[..100])),
            "both" => drop(folder.write("ca.pem", authority.pem() + &other.pem())),
            _ => drop(folder.write("ca.pem", roots)),
        }
        for config in &known {
            for _ in 0..2 {
                assert_eq!(said(config).is_ok(), lets_in, "{roots:?}");
            }
        }
    }
}

#[test]
fn sessions_are_resumed_only_by_tickets() {
    let site = Site::new(hello());
    for version in [&TLS13, &TLS12] {
        let known = Arc::new(config(&site.authority, &[version]));
        assert_eq!(site.client_with(known.clone()).text("/"), "0 false");
        for _ in 0..3 {
            assert_eq!(site.client_with(known.clone()).text("/"), "0 true");
        }
        let mut forgetful = config(&site.authority, &[version]);
        forgetful.resumption = rustls::client::Resumption::disabled();
        let forgetful = Arc::new(forgetful);
        for _ in 0..2 {
            assert_eq!(site.client_with(forgetful.clone()).text("/"), "0 false");
        }
    }
}

#[test]
fn changed_files_are_reloaded_and_no_client_is_cut_off() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let config = Arc::new(config(&authority, &[&TLS13]));
    let write = |pair: &(String, String)| {
        // Files should be replaced like this: each one atomically, one after the other.
        for (name, text) in [("cert.pem", &pair.0), ("key.pem", &pair.1)] {
            let new = folder.write("new", text);
            std::fs::rename(new, folder.path().join(name)).unwrap();
        }
    };
    let first = authority.issue(&["a.example"]);
    write(&first);
    let tls = Tls::from_pem_files(folder.path().join("cert.pem"), folder.path().join("key.pem")).unwrap();
    let tls = tls.reload(Duration::from_millis(1));
    let protected = tls.protect(hello());
    let certificates = protected.certificates();
    let server = crate::server::serve(protected, |server| server);
    let shown = || Inside::new(server.address, config.clone(), "a.example").certificate();
    let mut kept = Inside::new(server.address, config.clone(), "a.example");
    assert_eq!(kept.text("/"), "0 false");
    let second = authority.issue(&["a.example"]);
    write(&second);
    eventually("the new one is shown", || shown() == der(&second.0));
    kept.text("/");
    // Files that do not belong together, are incomplete or missing change nothing.
    let third = authority.issue(&["a.example"]);
    folder.write("cert.pem", &third.0);
    for _ in 0..5 {
        assert_eq!(shown(), der(&second.0));
    }
    folder.write("cert.pem", &third.0[..third.0.len() / 2]);
    assert_eq!(shown(), der(&second.0));
    std::fs::remove_file(folder.path().join("key.pem")).unwrap();
    assert_eq!(shown(), der(&second.0));
    // A pipe is not waited for.
    for name in ["cert.pem", "key.pem"] {
        let _ = std::fs::remove_file(folder.path().join(name));
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status();
        assert!(made.unwrap().success());
        let error = certificates.reload().unwrap_err().to_string();
        assert!(error.contains("pipe, which can't be read again"), "{error}");
        assert_eq!(shown(), der(&second.0));
    }
    write(&third);
    eventually("the third is shown", || shown() == der(&third.0));
    kept.text("/");
}

/// A panic of the logger costs its handshake, and nothing else.
#[test]
fn a_logger_that_panics_does_not_prevent_reloads() {
    alone("tls::certificates::a_logger_that_panics_does_not_prevent_reloads", || {
        let (folder, authority) = (Folder::new(), Authority::new());
        let write = || {
            let pair = authority.issue(&["a.example"]);
            (folder.write("both.pem", pair.0.clone() + &pair.1), der(&pair.0))
        };
        let (path, first) = write();
        let tls = Tls::from_pem_files(&path, &path).unwrap().reload(Duration::from_millis(1));
        let server = crate::server::serve(tls.protect(hello()), |server| server);
        set_a_logger_that_panics(log::LevelFilter::Info);
        let config = Arc::new(config(&authority, &[&TLS13]));
        let shown = || {
            let mut client = Inside::new(server.address, config.clone(), "a.example");
            client.shake_hands().is_ok().then(|| client.certificate())
        };
        assert_eq!(shown(), Some(first));
        for number in 2..4 {
            let (_, next) = write();
            eventually(&format!("certificate {number} is shown"), || shown().as_ref() == Some(&next));
        }
    });
}

#[test]
fn reloading_files_can_be_disabled() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let first = authority.issue(&["a.example"]);
    let both = |pair: &(String, String)| folder.write("both.pem", pair.0.clone() + &pair.1); // in one file
    let path = both(&first);
    let tls = Tls::from_pem_files(&path, &path).unwrap().reload(None);
    let server = crate::server::serve(tls.protect(hello()), |server| server);
    let config = Arc::new(config(&authority, &[&TLS13]));
    both(&authority.issue(&["a.example"]));
    assert_eq!(Inside::new(server.address, config, "a.example").certificate(), der(&first.0));
}

#[test]
fn file_errors_are_reported_in_one_line() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (certificate, key) = authority.issue(&["a.example"]);
    let other = authority.issue(&["a.example"]).1;
    let files = [
        ("cert", certificate.as_str()),
        ("key", &key),
        ("other", &other),
        ("empty", ""),
        ("torn", &certificate[..certificate.len() / 2]),
        (
            "old",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ),
        ("secret", include_str!("encrypted.pem")),
        ("noise", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    ];
    files.iter().for_each(|(name, text)| drop(folder.write(name, text)));
    let at = |name: &str| folder.path().join(name);
    for (certificate, key, file, why, kind) in [
        ("none", "key", "none", "no such file", ErrorKind::NotFound),
        ("cert", "none", "none", "no such file", ErrorKind::NotFound),
        ("empty", "key", "empty", "there is no certificate in it", ErrorKind::InvalidData),
        ("torn", "key", "torn", "it is not valid PEM", ErrorKind::InvalidData),
        ("key", "key", "key", "there is no certificate in it", ErrorKind::InvalidData),
        ("cert", "cert", "cert", "there is no private key in it", ErrorKind::InvalidData),
        ("cert", "other", "cert", "does not belong to this certificate", ErrorKind::InvalidData),
        ("cert", "old", "old", "the key has the old encryption", ErrorKind::InvalidData),
        ("cert", "secret", "secret", "its password is missing", ErrorKind::InvalidData),
        ("cert", "noise", "noise", "the kind of the key is not supported", ErrorKind::InvalidData),
    ] {
        let err = Tls::from_pem_files(at(certificate), at(key)).expect_err(certificate);
        let said = err.to_string();
        assert!(said.starts_with(at(file).to_str().unwrap()) && said.contains(why), "{certificate} {key}: {said}");
        assert_eq!((said.lines().count(), err.kind()), (1, kind), "{said}");
    }
    let wrong = Tls::new(Identity::from_pem_files(at("cert"), at("secret")).password("wrong")).unwrap_err().to_string();
    assert!(wrong.ends_with("the password of the key is wrong"), "{wrong}");
    let tls = || Tls::from_pem_files(at("cert"), at("key")).unwrap();
    for (roots, why) in [("none", "no such file"), ("empty", "there is no certificate in it")] {
        let said = tls().client_certificates(at(roots), ClientCertificates::Required).unwrap_err().to_string();
        assert!(said.contains(roots) && said.contains(why), "{said}");
    }
    assert!(
        !format!("{:?}", Identity::from_pem_files(Path::new("c"), Path::new("k")).password("secret"))
            .contains("secret")
    );
}

/// The key was created by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:sesame`,
/// the other form of it by `openssl pkcs8 -topk8 -v2 des3`, which `openssl req -newkey` still uses, and the certificate
/// belongs to it.
#[test]
fn a_key_can_have_a_password() {
    let certificate = include_str!("encrypted.crt");
    for key in [include_str!("encrypted.pem"), include_str!("encrypted-3des.pem")] {
        let identity = Identity::from_pem(certificate, key).password("sesame");
        let server = crate::server::serve(Tls::new(identity).unwrap().protect(hello()), |server| server);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(certificate)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let mut client = Inside::new(server.address, Arc::new(config), "a.example");
        assert_eq!(client.text("/"), "0 false");
        assert_eq!(client.certificate(), der(certificate));
    }
}

/// A renewed key can have another password. Its file is checked like those of the certificate and the key.
#[test]
fn a_changed_password_is_read_with_its_key() {
    let folder = Folder::new();
    let (certificate, key) = (include_str!("encrypted.crt"), include_str!("encrypted.pem"));
    let at = |name: &str, text: &str| folder.write(name, text);
    let identity = Identity::from_pem_files(at("cert.pem", certificate), at("key.pem", key));
    let identity = identity.password_file(at("password", "sesame\n")).unwrap();
    let tls = Tls::new(identity).unwrap().reload(None);
    let certificates = tls.protect(hello()).certificates();
    // The same key with another password: openssl pkcs8 -topk8 -in encrypted.pem -passin pass:sesame -passout pass:caraway
    let renewed = include_str!("encrypted-caraway.pem");
    for (file, text, expected) in [
        ("key.pem", renewed, Some("the password of the key is wrong")),
        ("password", "caraway", None),
        ("password", "another", Some("the password of the key is wrong")),
        ("key.pem", key, Some("the password of the key is wrong")),
        ("password", " sesame ", None),
    ] {
        at(file, text);
        let error = certificates.reload().err().map(|error| error.to_string());
        let is_expected = match (&error, expected) {
            (Some(error), Some(end)) => error.ends_with(end),
            (error, expected) => error.is_none() && expected.is_none(),
        };
        assert!(is_expected, "{file} {text:?}: {error:?}");
    }
    // Without the file, the first password is used.
    std::fs::remove_file(folder.path().join("password")).unwrap();
    certificates.reload().unwrap();
    at("key.pem", renewed);
    let error = |file: &str, fault: &str| {
        let error = certificates.reload().unwrap_err().to_string();
        let at = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(error, format!("{}: {fault}; {}: the password of the key is wrong", at(file), at("key.pem")));
    };
    error("password", "no such file or directory");
    std::fs::write(folder.path().join("password"), b"\xff").unwrap();
    error("password", "it is not UTF-8");
    // A fault that has nothing to do with the password is reported alone.
    at("key.pem", "no key");
    let error = certificates.reload().unwrap_err().to_string();
    assert!(!error.contains("UTF-8") && error.contains("no private key"), "{error}");
}

#[test]
fn a_temporary_self_signed_certificate_works() {
    let identity = Identity::self_signed(["localhost", "127.0.0.1", "a.example"]).unwrap();
    let fingerprint = identity.fingerprint().unwrap();
    assert!(fingerprint.len() == 95 && fingerprint.split(':').all(|byte| byte.len() == 2), "{fingerprint}");
    assert!(Identity::self_signed(["no name\u{fffd}"]).is_err());
    let server = crate::server::serve(Tls::new(identity).unwrap().protect(hello()), |server| server);
    let mut client = Inside::new(server.address, Arc::new(config(&Authority::new(), &[&TLS13])), "a.example");
    let err = client.shake_hands().unwrap_err().to_string();
    assert!(err.contains("UnknownIssuer"), "{err}");
}
