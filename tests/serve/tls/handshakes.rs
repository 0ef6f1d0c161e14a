//! Handshakes: complete, incomplete, slow and malformed ones, thousands at once, and other protocols.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use modest::layers::HttpsOnly;
use modest::raw::{Flow, Lines, Stream, streams};
use modest::{ProxyProtocol, Request, RequestHandler, Response, TcpServer, Tls, TlsInfo, handler_fn};
use rustls::version::{TLS12, TLS13};

use super::{Authority, Inside, Site, config, hello, read_all};
use crate::server::{Gate, PATIENCE, Running, get};

/// The properties of the connection that a handler sees.
fn mirror() -> impl RequestHandler {
    handler_fn(|request: &Request| {
        let tls = request.client().tls().expect("TLS");
        let protocol = tls.application_protocol().map(|name| name.escape_ascii().to_string());
        let (scheme, name) = (request.scheme(), tls.server_name().unwrap_or("nobody"));
        let text = [scheme, tls.version(), tls.cipher(), name, &protocol.unwrap_or_default()].join(" ");
        Ok(Response::text(if tls.is_resumed() { text + " resumed" } else { text }))
    })
}

fn hello_world() -> impl RequestHandler {
    handler_fn(|_: &Request| Ok(Response::text("hello")))
}

#[test]
fn a_handler_sees_how_its_client_is_secured() {
    let site = Site::new(mirror());
    for (version, cipher) in [(&TLS13, "TLS_AES_256_GCM_SHA384"), (&TLS12, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")] {
        let mut config = config(&site.authority, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let wanted =
            format!("https {} {cipher} a.example http/1.1", if version == &TLS13 { "TLSv1.3" } else { "TLSv1.2" });
        let config = Arc::new(config);
        assert_eq!(site.client_with(config.clone()).text("/"), wanted);
        assert_eq!(site.client_with(config).text("/"), format!("{wanted} resumed"));
    }
}

#[test]
fn a_hello_can_be_cut_anywhere() {
    let site = Site::new(hello_world());
    let length = hello(&site.config).1.len();
    for cut in 0..length {
        let (mut connection, bytes) = hello(&site.config);
        let mut stream = site.server.client().stream;
        stream.write_all(&bytes[..cut]).unwrap();
        if cut % 4 == 0 {
            stream.shutdown(std::net::Shutdown::Write).unwrap(); // only half of a hello
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).expect("an end, and no reset");
            assert_eq!(rest, b"", "after {cut} bytes");
            continue;
        }
        stream.write_all(&bytes[cut..]).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).unwrap_or_else(|err| panic!("after {cut} bytes: {err}"));
        }
    }
}

#[test]
fn everything_can_arrive_byte_by_byte() {
    let site = Site::new(hello_world());
    for version in [&TLS13, &TLS12] {
        let config = Arc::new(config(&site.authority, &[version]));
        let mut stream = site.server.client().stream;
        let (mut connection, mut bytes) = hello(&config);
        loop {
            for byte in &bytes {
                stream.write_all(&[*byte]).unwrap();
            }
            bytes.clear();
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
            if bytes.is_empty() && !connection.is_handshaking() {
                break;
            }
            if bytes.is_empty() {
                connection.read_tls(&mut stream).unwrap();
                connection.process_new_packets().unwrap();
            }
        }
        connection.writer().write_all(get("/").as_bytes()).unwrap();
        connection.write_tls(&mut bytes).unwrap();
        for byte in bytes {
            stream.write_all(&[byte]).unwrap();
        }
        let mut client = Inside(rustls::StreamOwned::new(connection, stream));
        assert_eq!(client.answer().unwrap(), b"hello");
    }
}

#[test]
fn a_hello_in_many_records_is_one() {
    let site = Site::new(hello_world());
    let (mut connection, bytes) = hello(&site.config);
    let mut stream = site.server.client().stream;
    for part in bytes[5..].chunks(7) {
        stream.write_all(&[&[22, 3, 1, 0, part.len() as u8], part].concat()).unwrap();
    }
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
}

/// A thousand incomplete handshakes hold no worker and no permit, and delay no client.
#[test]
fn a_thousand_partial_handshakes_cost_nothing() {
    let site = Site::with(hello_world(), |tls, _| tls.handshake_timeout(3 * PATIENCE));
    let halves: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let mut stream = site.server.client().stream;
            let (_, bytes) = hello(&site.config);
            let length = [0, 3, 100, bytes.len() - 1, bytes.len()][number % 5];
            stream.write_all(&bytes[..length]).unwrap();
            stream
        })
        .collect();
    site.server
        .wait_for("all are parked", |stats| stats.connections == 1000 && stats.parked == 1000 && stats.running == 0);
    let mut client = site.client();
    for _ in 0..50 {
        assert_eq!(client.text("/"), "hello");
        assert_eq!(site.client().text("/"), "hello");
    }
    drop(halves);
}

#[test]
fn stuck_handlers_do_not_stop_handshakes() {
    let gate = Gate::default();
    let (inside, _opened) = (gate.clone(), gate.opened_at_end());
    let site = Site::new(handler_fn(move |_: &Request| {
        inside.pass();
        Ok(Response::text("at last"))
    }));
    let mut stuck: Vec<Inside> = (0..4).map(|_| site.client()).collect();
    for client in &mut stuck {
        client.send(get("/"));
    }
    gate.wait_for_arrivals(4);
    for _ in 0..20 {
        site.client().shake_hands().expect("a handshake");
    }
    gate.open();
    stuck.iter_mut().for_each(|client| assert_eq!(client.answer().unwrap(), b"at last"));
}

#[test]
fn an_incomplete_handshake_times_out() {
    let site = Site::with(hello_world(), |tls, _| tls.handshake_timeout(Duration::from_millis(200)));
    let bytes = hello(&site.config).1;
    let start = Instant::now();
    for length in [0, 1, 5, 50, bytes.len()] {
        let mut stream = site.server.client().stream;
        stream.write_all(&bytes[..length]).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("an end");
        assert_eq!(said.is_empty(), length < bytes.len());
    }
    // A client that sends slowly gets no more time.
    let mut stream = site.server.client().stream;
    stream.set_nonblocking(false).unwrap();
    for byte in bytes.iter().cycle() {
        if stream.write_all(&[*byte]).is_err() || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(Duration::from_millis(5)); // the speed of the client, not a wait for an event
    }
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn a_handshake_that_is_too_long_is_reset() {
    let site = Site::with(hello_world(), |tls, _| tls.handshake_limit(100));
    let mut client = site.server.client();
    client.send(hello(&site.config).1);
    assert_eq!(client.expect_reset(), 0);
}

#[test]
fn each_handshake_error_gets_its_alert() {
    let sites = [Site::new(hello_world()), Site::with(hello_world(), |tls, _| tls.plain(hello_world()))];
    let good = hello(&sites[0].config).1;
    let mut no_version = good.clone();
    no_version[9] = 2; // a client_version of 2.x
    let mut torn = good.clone();
    let last = torn.len() - 1;
    torn[last] ^= 0xff;
    torn[43] = 0xff; // the length of the session id
    for (name, bytes, alerts) in [
        ("SSL 2", &b"\x80\x2e\x01\x00\x02\x00\x15"[..], &[70][..]),
        ("noise", b"\x00\x01\x02\x03", &[70]),
        ("a record that is too long", b"\x16\x03\x01\xff\xff", &[22, 50]),
        ("no record", b"\x16\x05\x05\x00\x05abcde", &[10, 50, 70]),
        ("application data first", b"\x16\x03\x01\x00\x00", &[10, 50]),
        ("another message than a hello", b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00", &[10, 50]),
        ("a torn hello", &torn, &[50, 47]),
        ("a hello of 16 MB", b"\x16\x03\x01\x00\x08\x01\xff\xff\xff\x03\x03\x00\x00", &[50]),
        ("an alert first", b"\x15\x03\x01\x00\x02\x02\x28", &[]), // gets none
        ("a change of ciphers first", b"\x14\x03\x01\x00\x01\x01", &[10, 50]),
        ("content first", b"\x17\x03\x03\x00\x05abcde", &[10, 50]),
        ("a key update first", b"\x16\x03\x01\x00\x05\x18\x00\x00\x01\x00", &[10, 50]),
    ] {
        let is_tls = (20..24).contains(&bytes[0]); // the second server serves other bytes without TLS
        for site in &sites[..if is_tls { 2 } else { 1 }] {
            let mut client = site.server.client();
            client.send(bytes).half_close();
            match (&client.read_to_end()[..], alerts.is_empty()) {
                ([21, 3, _, 0, 2, 2, alert], false) => assert!(alerts.contains(alert), "{name}: alert {alert}"),
                (said, is_none) => assert!(said.is_empty() && is_none, "{name}: {}", said.escape_ascii()),
            }
        }
    }
}

#[test]
fn an_unsupported_application_protocol_is_rejected() {
    let site = Site::new(hello_world());
    for version in [&TLS13, &TLS12] {
        let mut config = config(&site.authority, &[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let err = site.client_with(Arc::new(config)).shake_hands().unwrap_err().to_string();
        assert!(err.contains("NoApplicationProtocol"), "{err}");
    }
}

#[test]
fn the_first_application_protocol_that_both_have_is_negotiated() {
    let own = Site::with(hello_world(), |tls, _| tls.application_protocols(["x", "y"]));
    let default = Site::new(hello_world());
    for (site, offered, expected) in [
        (&own, &["y"][..], "y"),
        (&own, &["y", "x"], "x"),
        (&default, &["http/1.1"], "http/1.1"),
        (&default, &["http/1.0"], "http/1.0"),
        (&default, &["http/1.0", "http/1.1"], "http/1.1"),
        (&default, &["h2", "http/1.0"], "http/1.0"),
    ] {
        let mut config = config(&site.authority, &[&TLS13]);
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut client = site.client_with(Arc::new(config));
        client.shake_hands().unwrap();
        assert_eq!(client.0.conn.alpn_protocol(), Some(expected.as_bytes()), "{offered:?}");
        assert_eq!(client.text("/"), "hello", "{offered:?}");
    }
}

#[test]
fn plain_http_gets_an_error_or_redirect() {
    let site = Site::new(hello_world());
    for request in
        [&get("/")[..], "G", "POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc", "PRI * HTTP/2.0\r\n\r\n"]
    {
        let mut client = site.server.client();
        let said = String::from_utf8(client.send(request).half_close().read_to_end()).unwrap();
        assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
        let (head, text) = said.split_once("\r\n\r\n").unwrap();
        assert_eq!(text, "This port serves HTTPS: use a URL with https://.\n");
        assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", text.len())), "{head}");
        assert!(head.contains("\r\ndate: ") && head.contains(" GMT\r\n"), "{head}"); // RFC 9110, section 6.6.1
    }
    let site = Site::with(hello_world(), |tls, _| tls.plain(hello_world().layer(HttpsOnly::new().port(8443))));
    let mut client = site.server.client();
    let said = client.send("GET /a HTTP/1.1\r\nHost: a.example:8443\r\nConnection: close\r\n\r\n").read_to_end();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("308 Permanent Redirect\r\n") && said.contains("Location: https://a.example:8443/a\r\n"),
        "{said}"
    );
    assert_eq!(site.client().text("/"), "hello");
}

/// The names and the errors of HTTP are for HTTP only. A protocol of another kind has its own names, or none.
#[test]
fn another_protocol_gets_nothing_of_http() {
    let lines = || {
        Lines::new(|line, reply| {
            reply.extend_from_slice(format!("{line}\n").as_bytes());
            Flow::Continue
        })
    };
    let blocking = |stream: &mut Stream| {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        stream.write_all(line.as_bytes())
    };
    let offers = |site: &Site, names: &[&str]| {
        let mut config = config(&site.authority, &[&TLS13]);
        config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut client = site.client_with(Arc::new(config));
        let negotiated = client.shake_hands().map(|()| client.0.conn.alpn_protocol().map(<[u8]>::to_vec));
        negotiated.inspect(|_| {
            client.send("a\n").expect("a\n");
        })
    };
    let untrusted = ProxyProtocol::new(lines()).serve_untrusted(true);
    for (name, site) in
        [("lines", Site::new(lines())), ("streams", Site::new(streams(blocking))), ("PROXY", Site::new(untrusted))]
    {
        for sent in [&get("/")[..], "HELO me\r\n", "hello\n"] {
            let said = site.server.client().send(sent).half_close().read_to_end();
            assert_eq!(said, [21, 3, 1, 0, 2, 2, 70], "{name}: {sent:?} gets {}", said.escape_ascii());
        }
        for names in [&[][..], &["http/1.1"], &["h2", "irc"]] {
            assert_eq!(offers(&site, names).unwrap(), None, "{name}: {names:?}");
        }
    }
    let named = Site::with(lines(), |tls, _| tls.application_protocols(["irc"]).plain(lines()));
    assert_eq!(offers(&named, &["irc"]).unwrap(), Some(b"irc".to_vec()));
    assert!(offers(&named, &["http/1.1"]).is_err());
    for line in ["hello\n", "HELLO\n", "\0\n"] {
        named.server.client().ask(line, line);
    }
    let http = Site::new(ProxyProtocol::new(hello_world()).serve_untrusted(true));
    let said = http.server.client().send(get("/")).half_close().read_to_end();
    assert!(said.starts_with(b"HTTP/1.1 400 "), "{}", said.escape_ascii());
}

#[test]
fn connecting_and_leaving_is_not_an_error() {
    let site = Site::new(hello_world());
    for _ in 0..10 {
        site.server.client().half_close().expect_end();
    }
}

/// HTTP at one port of a server, and HTTPS at another.
#[test]
fn some_listeners_can_have_tls_and_others_not() {
    let authority = Authority::new();
    let tls = Tls::new(authority.identity(&["a.example"])).unwrap();
    let server = TcpServer::bind("127.0.0.1:0", tls.protect(mirror())).unwrap();
    let port = server.port().unwrap();
    let server = server.also_serve("127.0.0.1:0", hello_world().layer(HttpsOnly::new().port(port))).unwrap();
    let second = server.local_addrs()[1].socket_addr().unwrap();
    let server = Running::start(server);
    let config = Arc::new(config(&authority, &[&TLS13]));
    assert!(Inside::new(server.address, config, "a.example").text("/").starts_with("https "));
    let mut plain = crate::server::Client::new(second);
    let said = plain.fetch("GET /b HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(said.contains(&format!("Location: https://a.example:{port}/b\r\n")), "{said}");
    let said = plain.fetch("POST /b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n");
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
}

#[test]
fn tls_works_inside_the_proxy_protocol() {
    let authority = Authority::new();
    let whoami = handler_fn(|request: &Request| {
        let name = request.client().tls().and_then(TlsInfo::server_name).unwrap_or("?").to_owned();
        Ok(Response::text(format!("{} {name}", request.client_address())))
    });
    let protected = Tls::new(authority.identity(&["a.example"])).unwrap().protect(whoami);
    let behind = ProxyProtocol::new(protected).trust("127.0.0.0/8".parse().unwrap());
    let server = crate::server::serve(behind, |server| server);
    let mut stream = server.client().stream;
    stream.write_all(b"PROXY TCP4 203.0.113.7 192.0.2.1 4321 443\r\n").unwrap();
    let mut client = Inside::over(stream, Arc::new(config(&authority, &[&TLS13])), "a.example");
    assert_eq!(client.text("/"), "203.0.113.7:4321 a.example");
}

/// If the client's first group is not the one the server prefers, there are two hellos, and the second one needs the
/// computation.
#[test]
fn a_second_hello_can_be_required() {
    let site = Site::new(hello_world());
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups = vec![rustls::crypto::ring::kx_group::SECP384R1, rustls::crypto::ring::kx_group::X25519];
    let mut roots = rustls::RootCertStore::empty();
    let root = rustls::pki_types::pem::PemObject::from_pem_slice(site.authority.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (mut connection, bytes) = hello(&Arc::new(config));
    let mut stream = site.server.client().stream;
    stream.write_all(&bytes).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    assert_eq!(Inside(rustls::StreamOwned::new(connection, stream)).text("/"), "hello");
}

/// A client that rejects the certificate sends an alert and disconnects.
#[test]
fn an_alert_from_the_client_ends_the_connection() {
    let site = Site::new(hello_world());
    let stranger = Arc::new(config(&Authority::new(), &[&TLS13]));
    let (mut connection, bytes) = hello(&stranger);
    let mut stream = site.server.client().stream;
    stream.write_all(&bytes).unwrap();
    let err = read_all(&mut connection, &mut stream).unwrap_err();
    assert!(err.contains("UnknownIssuer"), "{err}");
    connection.write_tls(&mut stream).unwrap(); // its alert
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("an end");
    site.server.wait_for("it is gone", |stats| stats.connections == 0);
}
