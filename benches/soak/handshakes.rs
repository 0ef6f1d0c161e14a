//! Incomplete handshakes, and the response times of other clients beside them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use crate::built::{Built, folder, modest};
use crate::crowd::GET;
use crate::watch::Watch;
use crate::{Seen, seen};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Four workers and a certificate, and what their clients need.
fn site() -> (TempDir, Built, Arc<ClientConfig>) {
    let key = KeyPair::generate().expect("a key");
    let made = CertificateParams::new(vec!["127.0.0.1".to_owned()]).and_then(|names| names.self_signed(&key));
    let made = made.expect("a certificate");
    // The program rejects a key in the folder that it serves.
    let site = folder(&[("www/index.html", "here\n"), ("both.pem", &(made.pem() + &key.serialize_pem()))]);
    let both = site.path().join("both.pem");
    let mut command = modest(["-p", "0", "-q", "-w", "4", "--tls-handshake-timeout", "5m", "--tls-cert"]);
    let server = Built::start(command.arg(both).current_dir(site.path().join("www")));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.der().to_vec())).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    (site, server, Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn connection(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(config.clone(), ServerName::try_from("127.0.0.1").expect("a name")).expect("a client")
}

fn ask(client: &mut Tls) -> Duration {
    let began = Instant::now();
    client.write_all(GET).expect("a request sent to the server");
    assert!(client.read(&mut [0; 4096]).expect("a response") > 0, "an end instead of a response");
    began.elapsed()
}

/// The median and the 99th percentile.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 2] {
    times.sort_unstable();
    [times[times.len() / 2], times[times.len() * 99 / 100]]
}

pub fn halves() -> Seen {
    let (_site, server, config) = site();
    let watch = Watch::of(server.pid());
    let mut kept = StreamOwned::new(connection(&config), server.connect());
    let before = percentiles((0..200).map(|_| ask(&mut kept)).collect());
    let mut hello = Vec::new();
    connection(&config).write_tls(&mut hello).expect("a handshake in memory");
    let memory = watch.memory();
    let crowd: Vec<TcpStream> = (0..5000)
        .map(|number| {
            let mut client = server.connect();
            let length = [0, 3, hello.len() / 2, hello.len() - 1, hello.len()][number % 5];
            client.write_all(&hello[..length]).expect("a part sent to the server");
            client
        })
        .collect();
    sleep(Duration::from_millis(500)); // a fifth of them needs a signature
    let beside = percentiles((0..200).map(|_| ask(&mut kept)).collect());
    let each = watch.memory().saturating_sub(memory) as f64 / crowd.len() as f64;
    let fresh = (0..100).map(|_| {
        let began = Instant::now();
        ask(&mut StreamOwned::new(connection(&config), server.connect()));
        began.elapsed()
    });
    let fresh = percentiles(fresh.collect());
    let (ticks, _) = watch.over(Duration::from_secs(3));
    let holds =
        beside[1] < Duration::from_millis(10) && fresh[1] < Duration::from_millis(50) && each < 3.0 && ticks <= 1;
    seen(
        holds,
        format!("asked {beside:.0?}, before {before:.0?}; fresh {fresh:.0?}; {each:.2} KiB each, {ticks} ticks in 3 s"),
    )
}
