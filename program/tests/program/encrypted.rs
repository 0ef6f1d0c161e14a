//! The built program with TLS, as a user runs it: certificates, the banner, redirects, errors.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use crate::built::{Answer, Built, PATIENCE, folder, modest, run, wait_for};
use crate::command::landlock_is_missing;
use crate::is_rejected_by_the_system;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Creates a certificate for 127.0.0.1 and its key in files of a folder.
pub fn certificate(folder: &Path, name: &str) -> String {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), made.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.both")), made.pem() + &key.serialize_pem()).unwrap();
    made.pem()
}

/// The response to a GET of `/`, from a server with this certificate.
fn get(modest: &Built, trusted: &str) -> Answer {
    try_get(modest, trusted).expect("a handshake, a response and a goodbye")
}

fn try_get(modest: &Built, trusted: &str) -> std::io::Result<Answer> {
    try_get_of(modest, trusted, "/")
}

fn try_get_of(modest: &Built, trusted: &str, path: &str) -> std::io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let connection = ClientConnection::new(config, ServerName::try_from("127.0.0.1").unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, modest.connect());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(Answer::read(&said))
}

#[test]
fn https_uses_a_given_certificate() {
    let files = folder(&[("www/x", "")]);
    let trusted = certificate(files.path(), "a");
    for words in [&["--tls-cert", "a.pem", "--tls-key", "a.key"][..], &["--tls-cert", "a.both"]] {
        let modest = Built::start(modest(["www", "-p", "0"]).args(words).arg("--hsts=1h").current_dir(&files));
        let port = modest.address.port();
        assert_eq!(modest.banner, format!("Serving HTTPS on 127.0.0.1 port {port} (https://127.0.0.1:{port}/) ..."));
        let page = get(&modest, &trusted);
        assert_eq!((page.status, page.field("strict-transport-security")), (200, Some("max-age=3600")), "{page:?}");
        let plain = modest.get("/a?b");
        assert_eq!((plain.status, plain.field("location")), (308, Some("https://test/a?b")), "{plain:?}");
        assert_eq!(plain.field("strict-transport-security"), None);
        assert_eq!(modest.ask("POST", "/", &[], "a=b").status, 403);
    }
}

#[test]
fn tls_settings_can_come_from_environment_or_file() {
    let files = folder(&[("modest.toml", "tls-cert = ['a.pem']\ntls-key = ['a.key']\n"), ("www/x", "")]);
    let trusted = certificate(files.path(), "a");
    let mut by_file = modest(["www", "-p", "0", "--config", "modest.toml"]);
    assert_eq!(get(&Built::start(by_file.current_dir(&files)), &trusted).status, 200);
    let mut by_environment = modest(["www", "-p", "0"]);
    by_environment.env("MODEST_TLS_CERT", "a.both").current_dir(&files);
    assert_eq!(get(&Built::start(&mut by_environment), &trusted).status, 200);
}

#[test]
fn a_second_port_redirects() {
    let modest = Built::start(&mut modest(["www", "-p", "0", "--tls-self-signed=a.example", "--redirect-to-https=0"]));
    let lines: Vec<String> = std::iter::from_fn(|| modest.out_line()).take(4).collect();
    let second = lines.iter().find_map(|line| line.trim().strip_prefix("http://")?.split('/').next());
    let mut stream = TcpStream::connect(second.expect("the address that redirects, on stdout")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /x HTTP/1.1\r\nHost: a.example:80\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    let answer = Answer::read(&said);
    let wanted = format!("https://a.example:{}/x", modest.address.port());
    assert_eq!((answer.status, answer.field("location")), (308, Some(&*wanted)));
    let fingerprint = lines.last().unwrap().trim();
    assert_eq!(fingerprint.split(':').filter(|byte| byte.len() == 2).count(), 32, "{lines:?}");
}

/// A path is redirected as it was sent: the site applies its own rule to it.
#[test]
fn redirects_keep_the_path() {
    let modest = Built::start(&mut modest(["www", "-p", "0", "--tls-self-signed=good.example"]));
    for target in ["/a//b", "//evil.example/x", "/a%2fb", "/a%2Fb?c=d", "/a/", "/?q"] {
        let mut stream = TcpStream::connect(modest.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let sent = format!("GET {target} HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n");
        stream.write_all(sent.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let answer = Answer::read(&said);
        let location = format!("https://good.example{target}");
        assert_eq!((answer.status, answer.field("location")), (308, Some(&*location)), "{answer:?}");
    }
}

/// Several addresses with one host redirect from one address.
#[test]
fn each_host_redirects_once() {
    for (binds, hosts) in [
        (&["127.0.0.1:0", "127.0.0.1:0"][..], &["127.0.0.1"][..]),
        (&["127.0.0.1:0", "localhost:0"], &["127.0.0.1"]),
        (&["127.0.0.1:0", "127.0.0.2:0"], &["127.0.0.1", "127.0.0.2"]),
        (&["127.0.0.1:0", "0.0.0.0:0"], &["0.0.0.0"]),
        (&["0.0.0.0:0", "127.0.0.2:0"], &["0.0.0.0"]),
    ] {
        let binds: Vec<&str> = binds.iter().flat_map(|bind| ["-b", bind]).collect();
        let modest = Built::start(modest(["www", "--tls-self-signed", "--redirect-to-https=0"]).args(&binds));
        let redirecting = |line: &String| {
            let at = line.trim().strip_prefix("http://")?.strip_suffix("/ redirects to it")?;
            Some(at.rsplit_once(':')?.0.to_owned())
        };
        let (status, out, err) = modest.stop();
        assert!(status.success(), "{binds:?}: {err:?}");
        assert_eq!(out.iter().filter_map(redirecting).collect::<Vec<_>>(), hosts, "{binds:?}: {out:?}");
    }
}

/// With several addresses, each redirect leads to the port of its own host.
#[test]
fn each_host_redirects_to_its_own_port() {
    let binds = ["-b", "127.0.0.1:0", "-b", "127.0.0.2:0"];
    let modest = Built::start(modest(["www", "--tls-self-signed", "--redirect-to-https=0"]).args(binds));
    let second = modest.out_line().and_then(|line| crate::built::address_in(&line)).expect("the second address");
    let redirecting = |line: String| {
        Some(
            line.trim()
                .strip_prefix("http://")?
                .strip_suffix("/ redirects to it")?
                .parse::<std::net::SocketAddr>()
                .unwrap(),
        )
    };
    let found: Vec<_> = std::iter::from_fn(|| modest.out_line()).filter_map(redirecting).take(2).collect();
    for (from, to) in found.into_iter().zip([modest.address, second]) {
        let mut stream = TcpStream::connect(from).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /x HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let answer = Answer::read(&said);
        assert_eq!((answer.status, answer.field("location")), (308, Some(&*format!("https://{to}/x"))), "{from}");
    }
}

/// The listeners that redirect check host names and read a proxy's reports as the site does: the plain side of the TLS
/// port and the second port.
#[test]
fn redirects_follow_the_rules_of_the_site() {
    let modest = Built::start(&mut modest([
        "www",
        "-p",
        "0",
        "--tls-self-signed=good.example",
        "--redirect-to-https=0",
        "--allowed-host=good.example",
        "--trusted-proxy=127.0.0.1",
        "--forwarded-host",
    ]));
    let lines: Vec<String> = std::iter::from_fn(|| modest.out_line()).take(4).collect();
    let second = lines.iter().find_map(|line| line.trim().strip_prefix("http://")?.split('/').next());
    let second: std::net::SocketAddr = second.expect("the address that redirects, on stdout").parse().unwrap();
    let port = modest.address.port();
    for to in [second, modest.address] {
        let good = format!("good.example:{port}");
        let found = (308, format!("https://good.example:{port}/x"));
        for (host, reported, (status, location)) in [
            (&*good, "", found.clone()),
            ("evil.example", "", (421, String::new())),
            ("evil.example", &format!("X-Forwarded-Host: {good}\r\n"), found.clone()),
            (&good, "X-Forwarded-Host: evil.example\r\n", (421, String::new())),
            (&good, "X-Forwarded-Proto: https\r\n", found.clone()),
        ] {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let sent = format!(
                "GET /x HTTP/1.1\r\nHost: {host}\r\n{reported}X-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(sent.as_bytes()).unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            let answer = Answer::read(&said);
            let location = Some(&*location).filter(|location| !location.is_empty());
            assert_eq!((answer.status, answer.field("location")), (status, location), "{to} {sent}");
            let logged = std::iter::from_fn(|| modest.err_line()).find(|line| line.contains("GET /x"));
            assert!(logged.as_ref().is_some_and(|line| line.contains("192.0.2.7")), "{to} {sent}: {logged:?}");
        }
    }
}

/// A confined server reloads its certificate, even if its name is a link to another folder.
#[test]
fn a_running_server_reloads_a_changed_certificate() {
    let (files, live, archive) = (folder(&[]), folder(&[]), folder(&[]));
    let first = certificate(archive.path(), "1");
    let link = |number: u8| {
        let new = live.path().join("new");
        std::os::unix::fs::symlink(archive.path().join(format!("{number}.both")), &new).unwrap();
        std::fs::rename(new, live.path().join("both.pem")).unwrap();
    };
    link(1);
    let mut command = modest(["-p", "0", "--tls-cert"]);
    command.arg(live.path().join("both.pem")).current_dir(&files);
    if !landlock_is_missing() {
        command.arg("--confine");
    }
    let modest = Built::start(&mut command);
    assert_eq!(get(&modest, &first).status, 200);
    let second = certificate(archive.path(), "2");
    link(2);
    // Handshakes check the files once a second.
    wait_for(|| try_get(&modest, &second).is_ok());
}

/// Marks a certificate that becomes valid in this many days.
const NOT_YET: i64 = -9;

/// A warning is logged if a certificate is not valid yet, has expired or will soon, at startup and when it is reloaded.
#[test]
fn an_expiring_certificate_is_logged() {
    let files = folder(&[("www/x", "")]);
    let make = |days: i64| {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let hours = std::time::Duration::from_secs(days.unsigned_abs() * 86_400 + 1_800);
        let now = std::time::SystemTime::now();
        match days {
            NOT_YET => (parameters.not_before, parameters.not_after) = ((now + hours).into(), (now + hours * 2).into()),
            ..0 => parameters.not_after = (now - hours).into(),
            _ => parameters.not_after = (now + hours).into(),
        }
        let both = parameters.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        std::fs::write(files.path().join("both.pem"), both).unwrap();
    };
    let said = |days: i64| match days {
        NOT_YET => "both.pem: the certificate is not valid yet: it becomes valid in 9 days".to_owned(),
        ..0 => format!("both.pem: the certificate expired {} days ago", -days),
        _ => format!("both.pem: the certificate expires in {days} days"),
    };
    for (first, next) in [(-3, 300), (13, 2), (300, -40), (36_500, 300), (NOT_YET, 300), (300, NOT_YET)] {
        make(first);
        let modest = Built::start(modest(["www", "-p", "0", "--tls-cert", "both.pem"]).current_dir(&files));
        make(next);
        let reload = || {
            modest.signal(rustix::process::Signal::HUP);
            let mut lines = Vec::new();
            while !lines.last().is_some_and(|line: &String| line.contains("SIGHUP: reloaded: --tls-cert;")) {
                lines.push(modest.err_line().expect("a line for SIGHUP"));
            }
            lines
        };
        let expect = |lines: &[String], days| {
            let is_there = lines.iter().any(|line| line.starts_with("[WARN] ") && line.ends_with(&said(days)));
            assert_eq!(is_there, days < 14, "{days}: {lines:?}");
        };
        let lines = reload();
        [first, next].into_iter().for_each(|days| expect(&lines, days));
        expect(&reload(), next); // the file is unchanged
    }
}

/// The expiry of the certificate is a metric.
#[test]
fn the_expiry_of_a_certificate_is_a_metric() {
    let files = folder(&[("www/x", "")]);
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    // after 2050: a GeneralizedTime
    let end = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(2_600_000_000);
    parameters.not_after = end.into();
    let certificate = parameters.self_signed(&key).unwrap().pem();
    std::fs::write(files.path().join("both.pem"), certificate.clone() + &key.serialize_pem()).unwrap();
    let words = ["www", "-p", "0", "--tls-cert", "both.pem", "--metrics"];
    let modest = Built::start(modest(words).current_dir(&files));
    let page = try_get_of(&modest, &certificate, "/metrics").unwrap().body;
    assert!(page.contains("modest_certificate_expiry_timestamp_seconds 2600000000"), "{page}");
}

/// A key that the user named by `--user` could not reload is rejected at startup.
#[test]
fn a_key_that_the_user_cannot_read_is_refused() {
    if !rustix::process::geteuid().is_root() || is_rejected_by_the_system(&["--user"]) {
        return;
    }
    let files = folder(&[("www/x", "")]);
    certificate(files.path(), "a");
    let mode = |name: &str, mode| {
        std::fs::set_permissions(files.path().join(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    std::fs::write(files.path().join("password"), "secret\n").unwrap();
    for (name, bits) in [("", 0o755), ("www", 0o755), ("a.pem", 0o644)] {
        mode(name, bits);
    }
    let words = ["www", "-p", "0", "--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-password-file", "password"];
    let check = || run(modest(words).args(["--check", "--user", "65534:65533"]).current_dir(&files));
    mode("a.key", 0o600);
    let (status, out, err) = check();
    assert_eq!((status, &*out, err.lines().count()), (Some(1), "", 1), "{err}");
    assert!(err.contains("--tls-key: 'a.key' can't be read by the user named by --user"), "{err}");
    std::fs::write(files.path().join("redirects"), "/a /b\n").unwrap();
    mode("redirects", 0o600);
    mode("a.key", 0o644);
    let (status, _, err) =
        run(modest(words).args(["--check", "--user", "65534:65533", "--redirects", "redirects"]).current_dir(&files));
    assert!(
        status == Some(1) && err.contains("--redirects: 'redirects' can't be read by the user named by --user"),
        "{err}"
    );
    // The password stays in memory: its file is read only at startup.
    mode("password", 0o600);
    mode("a.key", 0o644);
    let (status, out, err) = check();
    assert_eq!(status, Some(0), "{out}{err}");
}

/// A certificate of version 1 for 100 years, with its key: `openssl x509 -req` without extensions makes it.
const OLD: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyLIzxaD+aunmiALD
2Zkmv7Zth67LQg9w5pvejJAMEsShRANCAAQAkqWaq0h7tB6EymO6FHbQQrSoDjT7
XbUs1+vzkbyFOOVagcJ1hSsBh3Fguv6wtSGeonVWap1OQXnrDa+MiR11
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBFDCBuwIUHslge6mQj7DaIZLXEszXGhH1voUwCgYIKoZIzj0EAwIwDDEKMAgG
A1UEAwwBeDAgFw0yNjExMjcxMjAwNDRaGA8yMTI2MTEwMzEyMDA0NFowDDEKMAgG
A1UEAwwBeDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABACSpZqrSHu0HoTKY7oU
dtBCtKgONPtdtSzX6/ORvIU45VqBwnWFKwGHcWC6/rC1IZ6idVZqnU5BeesNr4yJ
HXUwCgYIKoZIzj0EAwIDSAAwRQIgE11yNKwPr+d6WIscd2CfPG9anqbo/8E6FxJA
viV3UZYCIQDoSN7o5jOGMs91DQZ2+xfhNYCwIu+DXbSEHTzRUa97Ew==
-----END CERTIFICATE-----
";

/// An encrypted key, of which nothing but its kind is read without a password.
const LOCKED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";

#[test]
fn invalid_tls_settings_are_reported_in_one_line() {
    let files =
        folder(&[("empty", ""), ("old.both", OLD), ("www/word", "x"), ("www/deep/x", ""), ("locked.key", LOCKED)]);
    certificate(files.path(), "a");
    certificate(files.path(), "b");
    certificate(&files.path().join("www/deep"), "c");
    for (words, status, said) in [
        (&["--tls-key", "a.key"][..], 2, "--tls-key has no effect without --tls-cert"),
        (&["--tls-password-file", "a.key"], 2, "--tls-password-file has no effect without --tls-cert"),
        (&["--hsts"], 2, "--hsts has no effect without TLS: add --tls-cert or --tls-self-signed"),
        (&["--redirect-to-https"], 2, "--redirect-to-https has no effect without TLS"),
        (&["--tls-client-ca", "a.pem"], 2, "--tls-client-ca has no effect without TLS"),
        (&["--tls-handshake-timeout", "1s"], 2, "--tls-handshake-timeout has no effect without TLS"),
        (&["--tls-self-signed", "--tls-cert", "a.pem"], 2, "--tls-self-signed and --tls-cert contradict each other"),
        (
            &["--tls-self-signed", "--tls-client-auth", "optional"],
            2,
            "--tls-client-auth has no effect without --tls-client-ca",
        ),
        (&["--tls-self-signed=a..b"], 2, "\"a..b\" is neither the name of a host nor an IP address"),
        (&["--tls-cert", "a.pem", "--tls-key", "a.key", "--tls-key", "b.key"], 2, "there are 2 for 1"),
        (
            &["--tls-self-signed", "--redirect-to-https=192.0.2.1:80"],
            1,
            "--redirect-to-https: 192.0.2.1 is not an address of this machine",
        ),
        (&["--tls-cert", "none"], 1, "--tls-cert: none: no such file"),
        (&["--tls-cert", "old.both"], 1, "old.both: the certificate can't be used: its version of X.509 is not 3"),
        (&["--tls-cert", "empty"], 1, "--tls-cert: empty: there is no certificate in it"),
        (
            &["--tls-cert", "a.pem"],
            1,
            "--tls-cert: a.pem: there is no private key in it (-----BEGIN PRIVATE KEY-----); give its file with --tls-key",
        ),
        (&["--tls-cert", "a.pem", "--tls-key", "b.key"], 1, "the key in b.key does not belong to this certificate"),
        (
            &["--tls-cert", "a.pem", "--tls-key", "locked.key"],
            1,
            "locked.key: the key is encrypted; its password is missing; give its file with --tls-password-file",
        ),
        (&["--tls-cert", "a.both", "--tls-password-file", "none"], 1, "--tls-password-file: 'none' can't be read"),
        (
            &["-b", "0.0.0.0", "--tls-cert", "www/deep/c.both"],
            2,
            "--tls-cert: 'www/deep/c.both' is in 'www', which is served, so clients could read the key",
        ),
        (
            &["-b", "0.0.0.0", "--tls-cert", "www/deep/c.pem", "--tls-key", "www/deep/c.key"],
            2,
            "--tls-key: 'www/deep/c.key' is in 'www'",
        ),
        (
            &["-b", "0.0.0.0", "--tls-cert", "a.both", "--tls-password-file", "www/word"],
            2,
            "--tls-password-file: 'www/word' is in 'www'",
        ),
        (
            &["--tls-self-signed", "--tls-client-ca", "empty"],
            1,
            "--tls-client-ca: empty: there is no certificate in it",
        ),
    ] {
        let (code, out, err) = run(modest(["www", "-p", "0"]).args(words).current_dir(&files));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(status), "", 1), "{words:?}: {err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
    let (code, _, err) =
        run(modest(["-b", "unix:socket", "--tls-self-signed", "--redirect-to-https"]).current_dir(&files));
    assert!(
        code == Some(2) && err.contains("--redirect-to-https: the server has no IP address to redirect from"),
        "{code:?} {err}"
    );
}

/// A time of zero withdraws what browsers know.
#[test]
fn hsts_can_be_withdrawn() {
    let files = folder(&[("www/x", "")]);
    let trusted = certificate(files.path(), "a");
    for value in ["0", "0s"] {
        let words = ["www", "-p", "0", "--tls-cert", "a.both", &format!("--hsts={value}")];
        let modest = Built::start(modest(words).current_dir(&files));
        assert_eq!(get(&modest, &trusted).field("strict-transport-security"), Some("max-age=0"), "{value}");
    }
}

/// A key must not be in a served folder, not even on loopback.
#[test]
fn a_key_is_not_served() {
    let files = folder(&[("www/a", "")]);
    certificate(files.path(), "a");
    certificate(&files.path().join("www"), "b");
    std::fs::copy(files.path().join("www/b.key"), files.path().join("b.key")).unwrap();
    for (words, said) in [
        (&["--tls-cert", "a.pem", "--tls-key", "a.key"][..], Some("--tls-key: 'a.key' is in '.', which is served")),
        (&["--tls-cert", "a.both"], Some("--tls-cert: 'a.both' is in '.', which is served")),
        (&["--tls-cert", "www/b.pem", "--tls-key", "b.key", "/x=www"], None),
        (&["--tls-cert", "www/b.both", "/x=www"], Some("--tls-cert: 'www/b.both' is in 'www', which is served")),
    ] {
        let mut command = modest(["-p", "0"]);
        command.args(words).current_dir(&files);
        match said {
            Some(said) => {
                let (code, _, err) = run(&mut command);
                assert!(code == Some(2) && err.contains(said) && err.lines().count() == 1, "{words:?}: {err:?}");
            }
            None => drop(Built::start(&mut command)),
        }
    }
}
