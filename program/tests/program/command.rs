//! The built program `modest`, as a user runs it: arguments, banner, log, errors, signals.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::built::{Built, PATIENCE, ended, folder, modest, read_answer, read_until, root, run, wait_for};
use crate::is_rejected_by_the_system;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

/// More bytes than any socket buffers, so the request is in progress until the client has read everything.
const LARGE: u64 = 64 << 20;

/// A users file. The password is: a long secret.
const ADA: &str = "ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n";

fn www(words: &[&str]) -> Built {
    Built::start(modest(["www", "-p", "0"]).args(words))
}

#[test]
fn the_banner_matches_python_and_the_site_is_served() {
    let modest = www(&[]);
    let port = modest.address.port();
    assert_eq!(modest.banner, format!("Serving HTTP on 127.0.0.1 port {port} (http://127.0.0.1:{port}/) ..."));
    let page = modest.get("/");
    assert!(page.status == 200 && page.body.contains("It works"), "{page:?}");
    let missing = modest.get("/no-such-page");
    assert!(missing.status == 404 && missing.body.contains("There is no page at this address"), "{missing:?}");
    for (target, kind) in [
        ("/style.css", "text/css; charset=utf-8"),
        ("/script.js", "text/javascript; charset=utf-8"),
        ("/house.svg", "image/svg+xml"),
        ("/hills.png", "image/png"),
        ("/favicon.ico", "image/x-icon"),
    ] {
        let answer = modest.ask("HEAD", target, &[], "");
        let found = answer.field("content-type").unwrap_or_default();
        assert!(answer.status == 200 && found.starts_with(kind), "{target}: {answer:?}");
    }
    assert!(modest.get("/files/").body.contains("alphabet.txt"), "a folder without an index file has a listing");
}

#[test]
fn the_current_folder_is_served_by_default() {
    let files = folder(&[("here.txt", "here")]);
    let modest = Built::start(modest(["-p", "0"]).current_dir(&files));
    assert_eq!(modest.get("/here.txt").body, "here");
}

#[test]
fn a_bare_number_is_a_port_unless_a_folder_has_that_name() {
    let files = folder(&[("1234/inside.txt", "inside"), ("outside.txt", "outside")]);
    let as_folder = Built::start(modest(["1234", "-p", "0"]).current_dir(&files));
    assert_eq!(as_folder.get("/inside.txt").body, "inside");
    let as_port = Built::start(modest(["0"]).current_dir(&files));
    assert_eq!(as_port.get("/outside.txt").body, "outside");
}

#[test]
fn folder_options_control_access_and_caching() {
    let outside = folder(&[("file.txt", "outside")]);
    let files = folder(&[("file.txt", "inside"), (".hidden", "hidden"), (".well-known/file", "known")]);
    let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, files.path().join(name)).unwrap();
    link(&outside.path().join("file.txt"), "out");
    link(Path::new("file.txt"), "in");
    // The statuses of /in, /out, /.hidden and /.well-known/file, and the value of Cache-Control.
    for (words, statuses, caching) in [
        (&[][..], [200, 404, 404, 200], "no-cache"),
        (&["--follow-symlinks", "within"], [200, 404, 404, 200], "no-cache"),
        (&["--follow-symlinks", "anywhere"], [200, 200, 404, 200], "no-cache"),
        (&["--follow-symlinks", "none", "--hidden"], [404, 404, 200, 200], "no-cache"),
        (&["--cache-control", "max-age=60"], [200, 404, 404, 200], "max-age=60"),
        (&["--cache-control", "max-age=60", "--cache-control", "*.txt=no-store"], [200, 404, 404, 200], "no-store"),
    ] {
        let modest = Built::start(modest(["-p", "0"]).args(words).current_dir(&files));
        let found = ["/in", "/out", "/.hidden", "/.well-known/file"].map(|target| modest.get(target).status);
        assert_eq!(found, statuses, "{words:?}");
        assert_eq!(modest.get("/file.txt").field("cache-control"), Some(caching), "{words:?}");
    }
}

#[test]
fn addresses_of_both_families_with_and_without_a_port() {
    let six = TcpListener::bind("[::1]:0").is_ok(); // a machine may have no IPv6
    for (words, family) in [
        (&["-b", "127.0.0.1", "-p", "0"][..], 4),
        (&["-b", "127.0.0.1:0"], 4),
        (&["--bind=localhost:0"], 0),
        (&["-b", "0.0.0.0:0"], 4),
        (&["-b", "::1", "-p", "0"], 6),
        (&["-b", "[::1]:0"], 6),
    ] {
        if family == 6 && !six {
            continue;
        }
        let modest = Built::start(modest(["www"]).args(words));
        let (ip, port) = (modest.address.ip(), modest.address.port());
        assert!(family == 0 || ip.is_ipv6() == (family == 6), "{words:?}: {ip}");
        let expected = format!("Serving HTTP on {ip} port {port} (http://{}/) ...", modest.address);
        assert_eq!(modest.banner, expected, "{words:?}");
        assert_eq!(modest.get("/").status, 200, "{words:?}");
    }
}

#[test]
fn python_arguments_mean_the_same() {
    let files = folder(&[("site/here.txt", "here"), ("site/there.odd", "odd")]);
    let site = files.path().join("site").to_str().unwrap().to_owned();
    for words in [
        &["-d", &site, "0"][..],
        &["0", "--directory", &site],
        &["0", &site],
        &[&site, "0"],
        &[
            "--bind",
            "127.0.0.1",
            "-d",
            &site,
            "-H",
            "X-A: b",
            "--content-type",
            "text/odd",
            "--protocol",
            "HTTP/1.0",
            "0",
        ],
    ] {
        let modest = Built::start(&mut modest(words));
        assert_eq!(modest.get("/here.txt").body, "here", "{words:?}");
        let odd = modest.get("/there.odd");
        let expected = if words.len() > 5 {
            [Some("b"), Some("text/odd; charset=utf-8")]
        } else {
            [None, Some("text/plain; charset=utf-8")]
        };
        assert_eq!([odd.field("x-a"), odd.field("content-type")], expected, "{words:?}: {odd:?}");
        let (_, _, err) = modest.stop();
        let is_told =
            err.iter().any(|line| line.contains("--protocol HTTP/1.0: this server always responds with HTTP/1.1"));
        assert_eq!(is_told, words.len() > 5, "{words:?}: {err:?}");
    }
}

/// Options, a request, and a part of its response: the status, a field or the body, and its value.
#[test]
fn options_change_what_is_served() {
    let files = folder(&[
        ("www/index.html", "the index"),
        ("www/home.htm", "home"),
        ("www/about.html", "about"),
        ("www/both.html", "a page"),
        ("www/both/index.html", "a folder"),
        ("www/plain/file.css", "css"),
        ("www/oops.html", "oops"),
        ("www/x.odd", "odd"),
        ("book/index.html", "the book"),
        ("one.iso", "one file"),
        ("redirects", "# moved\n/old/* /plain/* 302\n/away https://else.example/\n"),
    ]);
    std::fs::write(files.path().join("www/plain/file.css.gz"), b"\x1f\x8bgz..........\x03\0\0\0").unwrap();
    std::fs::write(files.path().join("www/long.txt"), "a line\n".repeat(1000)).unwrap();
    let redirects = files.path().join("redirects").to_str().unwrap().to_owned();
    std::fs::write(files.path().join("www/long.txt"), "long\n".repeat(1000)).unwrap();
    let gzip = "Accept-Encoding: gzip";
    let browser = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    for (words, fields, target, what, expected) in [
        (&["www"][..], &[][..], "/", "body", "the index"),
        (&["www", "--index", "home.htm"], &[], "/", "body", "home"),
        (&["www", "--index", "no.htm", "--index=home.htm"], &[], "/", "body", "home"),
        (&["www"], &[], "/plain/", "status", "200"),
        (&["www", "--no-listing"], &[], "/plain/", "status", "404"),
        (&["www", "--error-page", "404=oops.html"], &[], "/missing", "body", "oops"),
        (&["www", "--error-page", "404=oops.html"], &[], "/missing", "status", "404"),
        // One file, and several folders.
        (&["one.iso"], &[], "/", "location", "/one.iso"),
        (&["one.iso"], &[], "/one.iso", "body", "one file"),
        (&["one.iso"], &[], "/redirects", "status", "404"),
        (&["one.iso"], &[], "/www/index.html", "status", "404"),
        (&["one.iso", "--mime", "iso=application/x-iso"], &[], "/one.iso", "content-type", "application/x-iso"),
        (&["www", "/docs=book"], &[], "/docs/", "body", "the book"),
        (&["www", "/docs=book"], &[], "/docs", "location", "/docs/"),
        (&["www", "/docs=book"], &[], "/about.html", "body", "about"),
        (&["/docs=book", "/one=one.iso"], &[], "/one/one.iso", "body", "one file"),
        (&["/docs=book", "/one=one.iso"], &[], "/one/", "location", "/one/one.iso"),
        (&["/docs=book", "/one=one.iso"], &[], "/one", "location", "/one/one.iso"),
        (&["/docs=book", "/one=one.iso"], &[], "/", "status", "200"),
        (&["/docs=book"], &[], "/index.html", "status", "404"),
        (&["www", "/docs=book", "--prefix", "/x"], &[], "/x/docs/", "body", "the book"),
        (&["www", "--prefix", "/x/"], &[], "/x/about.html", "body", "about"),
        (&["www", "--prefix", "/x"], &[], "/about.html", "status", "404"),
        // An app that routes in the browser.
        (&["www", "--spa"], &[], "/users/7", "body", "the index"),
        (&["www", "--spa"], &[], "/users/7", "status", "200"),
        (&["www", "--spa=home.htm"], &[], "/users/7", "body", "home"),
        (&["www", "--spa"], &[], "/missing.js", "status", "404"),
        (&["www", "--spa"], &["Accept: text/html,*/*;q=0.8"], "/users/a.b", "body", "the index"),
        (&["www", "--spa"], &["Accept: text/html"], "/.env", "status", "404"),
        (&["www", "--spa"], &[], "/plain/file.css", "body", "css"),
        // Clean URLs.
        (&["www", "--clean-urls"], &[], "/about", "body", "about"),
        (&["www", "--clean-urls"], &[], "/about.html?q", "location", "/about?q"),
        (&["www", "--clean-urls"], &[], "/about.html", "status", "301"),
        (&["www", "--clean-urls"], &[], "/index.html", "location", "/"),
        (&["www", "--clean-urls"], &[], "/both", "body", "a page"),
        (&["www", "--clean-urls"], &[], "/both/", "body", "a folder"),
        (&["www", "--clean-urls"], &[], "/both.html", "location", "/both"),
        (&["www", "--clean-urls"], &[], "/missing.html", "status", "404"),
        (&["www", "--clean-urls"], &[], "/plain", "location", "/plain/"),
        (&["www"], &[], "/about", "status", "404"),
        // Errors, in the requested format. The tags of files are unchanged, and listings are compressed.
        (&["www"], &[], "/missing", "content-type", "text/plain; charset=utf-8"),
        (&["www"], &["Accept: */*"], "/missing", "body", "404 Not Found: There is nothing with that name here.\n"),
        (&["www"], &[browser], "/missing", "content-type", "text/html; charset=utf-8"),
        (&["www"], &[browser], "/plain/missing/x", "link", "<../>; rel=\"up\""),
        (&["www"], &["Accept: application/json"], "/missing", "content-type", "application/problem+json"),
        (&["www"], &["Accept: application/json"], "/plain/", "content-type", "application/json"),
        (&["www", "--no-listing"], &[browser], "/plain/missing", "link", "<../>; rel=\"up\""),
        (&["/docs=book"], &[browser], "/elsewhere/x", "link", "</>; rel=\"up\""),
        (&["/docs=book"], &[browser], "/docs/a/b", "link", "<../>; rel=\"up\""),
        (&["www"], &[gzip], "/plain/", "content-encoding", "gzip"),
        (&["www"], &[gzip], "/long.txt", "content-encoding", ""),
        // Redirects.
        (&["www", "--redirects", &redirects], &[], "/old/file.css?q=1", "location", "/plain/file.css?q=1"),
        (&["www", "--redirects", &redirects], &[], "/old/file.css", "status", "302"),
        (&["www", "--redirects", &redirects], &[], "/away", "location", "https://else.example/"),
        (&["www", "--redirects", &redirects], &[], "/about.html", "body", "about"),
        // Fields.
        (&["www", "-H", "X-A: b"], &[], "/about.html", "x-a", "b"),
        (&["www", "-H", "X-A: b"], &[], "/missing", "x-a", "b"),
        (&["www", "-H", "/plain/=X-A: b"], &[], "/plain/file.css", "x-a", "b"),
        (&["www", "-H", "*.css=X-A: b"], &[], "/about.html", "x-a", ""),
        (&["www", "--cache-control=*.css=max-age=60"], &[], "/plain/file.css", "cache-control", "max-age=60"),
        (&["www", "--cache-control=*.css=max-age=60"], &[], "/about.html", "cache-control", "no-cache"),
        (&["www", "--content-type", "text/x-odd"], &[], "/x.odd", "content-type", "text/x-odd; charset=utf-8"),
        (&["www", "--mime", "odd=text/y-odd"], &[], "/x.odd", "content-type", "text/y-odd; charset=utf-8"),
        (&["www", "--cors"], &["Origin: https://a.example"], "/x.odd", "access-control-allow-origin", "*"),
        (
            &["www", "--cors=https://b.example"],
            &["Origin: https://a.example"],
            "/x.odd",
            "access-control-allow-origin",
            "",
        ),
        (
            &["www", "--cors=https://b.example", "--cors=https://a.example"],
            &["Origin: https://a.example"],
            "/x.odd",
            "access-control-allow-origin",
            "https://a.example",
        ),
        (&["www", "--server", "tea"], &[], "/", "server", "tea"),
        (&["www", "--server", "none"], &[], "/", "server", ""),
        (&["www", "--precompressed", "no"], &[gzip], "/plain/file.css", "content-encoding", ""),
        (&["www"], &[], "/plain/?archive=zip", "content-type", "text/html; charset=utf-8"),
        (&["www", "--archive"], &[], "/plain/?archive=zip", "content-type", "application/zip"),
        (
            &["www", "--archive"],
            &[],
            "/plain/?archive=tar.gz",
            "content-disposition",
            "attachment; filename=\"plain.tar.gz\"",
        ),
        (
            &["www", "--archive", "--archives", "1", "--archive-depth=1", "--archive-entries=5"],
            &[],
            "/plain/?archive=tar",
            "status",
            "200",
        ),
        (&["www", "--compress"], &["Accept-Encoding: gzip"], "/long.txt", "content-encoding", "gzip"),
        (&["www"], &["Accept-Encoding: gzip"], "/long.txt", "content-encoding", ""),
        (&["www", "--compress", "--compress-from=8k"], &["Accept-Encoding: gzip"], "/long.txt", "content-encoding", ""),
        (&["www", "--compress", "--compress-to=1k"], &["Accept-Encoding: gzip"], "/long.txt", "content-encoding", ""),
        (&["www", "--compress", "--compressions=0"], &["Accept-Encoding: gzip"], "/long.txt", "content-encoding", ""),
        (
            &["www", "--compress", "--compress-cache=0"],
            &["Accept-Encoding: gzip"],
            "/long.txt",
            "content-encoding",
            "gzip",
        ),
        // Allowed hosts.
        (&["www"], &["Host: evil.example"], "/", "status", "400"), // with the `Host: test` of each request
        (&["www", "--health", "/up"], &[], "/up", "body", "ok\n"),
        (&["www", "--health", "/up"], &[], "/about.html", "body", "about"),
        // Limits.
        (&["www", "--request-line-limit", "100"], &[], &format!("/{}", "x".repeat(200)), "status", "414"),
        (&["www", "--field-limit", "3"], &["A: 1", "B: 2", "C: 3"], "/", "status", "431"),
        (&["www", "--head-limit", "1k"], &[&format!("A: {}", "x".repeat(2000))], "/", "status", "431"),
        (&["www", "--keep-alive", "no"], &[], "/", "connection", "close"),
    ] {
        let modest = Built::start(modest(["-p", "0"]).args(words).current_dir(&files));
        let answer = modest.ask("GET", target, fields, "");
        let found = match what {
            "status" => answer.status.to_string(),
            "body" => answer.body.clone(),
            field => answer.field(field).unwrap_or_default().to_owned(),
        };
        assert_eq!(found, expected, "{words:?}: {target} {fields:?}: {answer:?}");
    }
}

#[test]
fn only_allowed_hosts_are_served() {
    let ask = |words: &[&str], host: &str| {
        let modest = Built::start(modest(["www", "-p", "0"]).args(words));
        let text = modest.talk(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        crate::built::Answer::read(&text)
    };
    for (words, host, status) in [
        (&[][..], "localhost:8000", 200),
        (&[], "evil.example", 200),
        (&["--allowed-host", "local"], "evil.example", 421),
        (&["--allowed-host", "local"], "nas.local", 200),
        (&["--allowed-host", "good.example"], "good.example:80", 200),
        (&["--allowed-host", "good.example"], "evil.example", 421),
        (&["--allowed-host", "*"], "evil.example", 200),
        (&["-b", "0.0.0.0", "--allowed-host", "good.example"], "evil.example", 421),
        (&["--allowed-host", "local", "--allowed-host", "good.example"], "good.example", 200),
        (&["--allowed-host", "local", "--allowed-host", "good.example"], "nas.local", 200),
        (&["--allowed-host", "local", "--allowed-host", "good.example"], "evil.example", 421),
        (&["--allowed-host", "good.example."], "good.example", 200),
        (&["--allowed-host", "Good.Example"], "good.example.", 200),
        (&["--allowed-host", "*.good.example"], "a.good.example", 200),
        (&["--allowed-host", "*.good.example"], "evilgood.example", 421),
    ] {
        let answer = ask(words, host);
        assert_eq!(answer.status, status, "{words:?}: {host}: {answer:?}");
        assert_eq!(answer.body.contains(&format!("--allowed-host {host}")), status == 421, "{words:?}: {answer:?}");
    }
}

#[test]
fn only_listed_proxies_are_trusted() {
    let proxied = Built::start(&mut modest(["www", "-p", "0", "--proxy-protocol", "127.0.0.0/8"]));
    proxied.talk("PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\nGET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert!(proxied.err_line().unwrap().starts_with("192.0.2.7 - - ["));
    for (words, client) in
        [(&["--trusted-proxy", "127.0.0.1"][..], "192.0.2.7"), (&["--trusted-proxy", "10.0.0.0/8"], "127.0.0.1")]
    {
        let modest = www(words);
        modest.ask("GET", "/", &["X-Forwarded-For: 192.0.2.7"], "");
        let line = modest.err_line().unwrap();
        assert!(line.starts_with(&format!("{client} - - [")), "{words:?}: {line}");
    }
}

/// With the option, the host that a trusted proxy forwards decides about the right to write, about destinations and
/// about allowed hosts.
#[test]
fn a_trusted_proxys_forwarded_host_is_used() {
    let inbox = folder(&[]);
    let told = ["--trusted-proxy", "127.0.0.1", "--forwarded-host"];
    let start =
        |words: &[&str]| Built::start(modest(["-p", "0", "--upload", "--allow-delete"]).args(words).arg(inbox.path()));
    let fields = ["X-Forwarded-Host: files.example", "Origin: https://files.example"];
    let to = "Destination: https://files.example/b.txt";
    for (words, put, moved) in [(&told[..], 201, 201), (&told[..2], 403, 502)] {
        let modest = start(words);
        assert_eq!(modest.ask("PUT", "/new.txt", &fields, "x").status, put, "{words:?}");
        assert_eq!(modest.ask("PUT", "/a.txt", &[], "x").status, 201, "{words:?}");
        assert_eq!(modest.ask("MOVE", "/a.txt", &[fields[0], to], "").status, moved, "{words:?}");
        for name in ["/new.txt", "/a.txt", "/b.txt"] {
            modest.ask("DELETE", name, &[], "");
        }
    }
    for (words, status) in [(&told[..], 200), (&told[..2], 421)] {
        let modest = www(&[words, &["--allowed-host", "files.example"]].concat());
        assert_eq!(modest.ask("GET", "/", &fields[..1], "").status, status, "{words:?}");
    }
}

/// A field for all responses is in those of layers, of the program and of the parser.
#[test]
fn a_global_response_field_is_in_every_response() {
    let files = folder(&[("site/a.txt", "a"), ("site/sub/b.txt", "b"), ("redirects", "/old /new\n"), ("users", ADA)]);
    let words = "-p 0 -H X-All:yes --health /health --metrics --redirects redirects";
    for (more, requests) in [
        (
            "site",
            &[
                ("GET / HTTP/1.1\r\nHost: a\r\n", 200),
                ("GET /a.txt HTTP/1.1\r\nHost: a\r\n", 200),
                ("GET /a.txt HTTP/1.1\r\nHost: a\r\nRange: bytes=9-\r\n", 416),
                ("GET /a.txt HTTP/1.1\r\nHost: a\r\nIf-Match: \"x\"\r\n", 412),
                ("GET /a.txt HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n", 304),
                ("GET /missing HTTP/1.1\r\nHost: a\r\n", 404),
                ("GET /sub HTTP/1.1\r\nHost: a\r\n", 301),
                ("GET /old HTTP/1.1\r\nHost: a\r\n", 301),
                ("POST /a.txt HTTP/1.1\r\nHost: a\r\n", 405),
                ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", 204),
                ("GET /health HTTP/1.1\r\nHost: a\r\n", 200),
                ("GET /metrics HTTP/1.1\r\nHost: a\r\n", 200),
                ("GET / HTTP/1.1\r\n", 400),
                ("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n", 417),
                ("GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n", 400),
                ("GET / HTTP/2.0\r\n", 505),
                ("nonsense\r\n", 400),
                ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n", 501),
            ][..],
        ),
        ("/x=site /y=site", &[("GET / HTTP/1.1\r\nHost: a\r\n", 200), ("GET /z HTTP/1.1\r\nHost: a\r\n", 404)]),
        ("site --auth users", &[("GET / HTTP/1.1\r\nHost: a\r\n", 401)]),
        ("site --allowed-host b", &[("GET / HTTP/1.1\r\nHost: a\r\n", 421)]),
        ("site --tls-self-signed", &[("GET / HTTP/1.1\r\nHost: a\r\n", 308)]),
    ] {
        let words = words.split(' ').chain(more.split(' '));
        let modest = Built::start(modest(words).current_dir(&files));
        for (head, status) in requests {
            let said = modest.talk(format!("{head}Connection: close\r\n\r\n"));
            let answer = crate::built::Answer::read(&said);
            assert_eq!((answer.status, answer.field("x-all")), (*status, Some("yes")), "{more}: {head}: {said}");
        }
    }
}

/// A policy for all responses is sent beside the one of a folder that accepts uploads: browsers enforce both.
#[test]
fn a_global_policy_does_not_replace_the_sandbox() {
    let inbox = folder(&[("a.html", "<p>")]);
    let modest = Built::start(
        modest(["-p", "0", "--upload", "-H", "Content-Security-Policy: default-src 'self'"]).arg(inbox.path()),
    );
    let answer = modest.get("/a.html");
    let policies: Vec<_> =
        answer.head.lines().filter(|line| line.to_ascii_lowercase().starts_with("content-sec")).collect();
    let has = |text: &str| policies.iter().filter(|line| line.contains(text)).count();
    assert_eq!((has("sandbox"), has("default-src 'self'"), policies.len()), (1, 1, 2), "{answer:?}");
}

/// If the server listens only on loopback, a page of another site could make its own name resolve to it and write (DNS
/// rebinding).
#[test]
fn writes_need_a_host_name_of_this_machine() {
    let inbox = folder(&[("a.txt", "a")]);
    for (words, host, read, written) in [
        (&[][..], "evil.example", 200, 421),
        (&[], "127.0.0.1:8000", 200, 201),
        (&[], "localhost", 200, 201),
        (&[], "nas.local", 200, 201),
        (&["--allowed-host", "files.example"], "files.example", 200, 201),
        (&["--allowed-host", "files.example"], "evil.example", 421, 421),
        (&["--allowed-host", "*"], "evil.example", 200, 201),
        (&["--trusted-proxy", "10.0.0.1"], "files.example", 200, 201),
        (&["-b", "127.0.0.1:0", "-b", "unix:s", "--trusted-proxy", "unix"], "evil.example", 200, 421),
        (&["-b", "0.0.0.0:0"], "files.example", 200, 201),
        (&["-b", "[::ffff:127.0.0.1]:0"], "evil.example", 200, 421),
        (&["-b", "LOCALHOST:0"], "evil.example", 200, 421),
        (&["-b", "127.0.0.2:0"], "evil.example", 200, 421),
        (&["-b", "127.1:0"], "evil.example", 200, 421),
        (&["--proxy-protocol", "127.0.0.9", "--proxy-untrusted"], "evil.example", 200, 421),
    ] {
        let at = folder(&[]);
        let mut command = modest(["-p", "0", "--upload", "--allow-delete"]);
        let modest = Built::start(command.args(words).arg(inbox.path()).current_dir(&at));
        let ask = |method: &str, target: &str, body: &str| {
            let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}\r\n{body}");
            crate::built::Answer::read(&modest.talk(head))
        };
        assert_eq!(ask("GET", "/a.txt", "").status, read, "{words:?} {host}");
        let put = ask("PUT", "/new.txt", "x");
        assert_eq!(put.status, written, "{words:?} {host}: {put:?}");
        assert_eq!(put.body.contains("--allowed-host "), written == 421, "{words:?} {host}: {put:?}");
        ask("DELETE", "/new.txt", "");
        let _ = std::fs::remove_file(inbox.path().join("new.txt"));
    }
}

/// Links to names with spaces and percent signs work; the prefix leads to its page; redirects are below it.
#[test]
fn mounted_paths_are_encoded_in_links() {
    let files = folder(&[("book/a.txt", "a"), ("other/b.txt", "b"), ("redirects", "/old/* /x%20y/* 302\n")]);
    let words = ["-p", "0", "--prefix", "/my 100%", "/x y=book", "/z=other", "--redirects", "redirects"];
    let modest = Built::start(modest(words).current_dir(&files));
    assert_eq!(
        modest.out_line().unwrap(),
        format!("  folder '{}' at /my%20100%25/x%20y/", files.path().join("book").display())
    );
    let bare = modest.get("/my%20100%25?q");
    assert_eq!((bare.status, bare.field("location")), (301, Some("/my%20100%25/?q")), "{bare:?}");
    let page = modest.get("/my%20100%25/");
    assert!(page.body.contains("<a href=\"x%20y/\">x y/</a>"), "{page:?}");
    assert_eq!(modest.get("/my%20100%25/x%20y/a.txt").body, "a");
    let missing = modest.get("/my%20100%25/none");
    assert_eq!((missing.status, missing.field("link")), (404, Some("</my%20100%25/>; rel=\"up\"")), "{missing:?}");
    let moved = modest.get("/my%20100%25/old/a.txt");
    assert_eq!((moved.status, moved.field("location")), (302, Some("/my%20100%25/x%20y/a.txt")), "{moved:?}");
    assert_eq!(modest.get("/old/a.txt").status, 404);
}

/// Returns a command that binds one folder at another path and then runs the program, or `None` if it can't have mounts
/// of its own. A bind mount shows a folder at another path, which no link leads to.
#[cfg(all(target_os = "linux", not(modest_portable)))]
fn with_a_mount(files: &Path, from: &str, to: &str, words: &[&str]) -> Option<std::process::Command> {
    let script = format!("mount --bind {from} {to} || exit 77; exec \"$0\" \"$@\"");
    let command = |program: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, program]).current_dir(files);
        command
    };
    let (code, _, err) = run(&mut command("true"));
    if code != Some(0) {
        eprintln!("skipped: no mounts of its own: {err}");
        return None;
    }
    let mut command = command(env!("CARGO_BIN_EXE_modest"));
    command.args(words);
    Some(command)
}

/// The words for a program that is not confined, and if the kernel can do that, for one that is.
#[cfg(all(target_os = "linux", not(modest_portable)))]
fn confined() -> &'static [&'static [&'static str]] {
    if landlock_is_missing() { &[&[]] } else { &[&[], &["--confine"]] }
}

#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn own_files_are_found_in_a_bind_mount() {
    let files = folder(&[("etc/users", "ada:x\n"), ("etc/.users", "ada:x\n"), ("site/shown/a", "")]);
    for (place, file, is_found) in [
        ("site/shown", "etc/users", true),
        ("site", "etc/users", true),
        ("site", "site/shown/users", true),
        ("site/shown", "etc/.users", false),
        ("site", "etc/.users", false),
    ] {
        let words = [place, "-p", "0", "--auth", file, "--check"];
        let Some(mut command) = with_a_mount(files.path(), "etc", "site/shown", &words) else { return };
        let (code, _, err) = run(&mut command);
        let said = format!("--auth: '{file}' is in '{place}', which is served");
        assert_eq!(err.contains(&said), is_found, "{words:?}: {code:?}: {err}");
    }
}

/// A reload also finds mounts if the program is confined, which can't open the table of mounts.
#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn a_reload_finds_own_files_in_a_bind_mount() {
    for more in confined() {
        let files = folder(&[("etc/.rules", "/x /own"), ("etc/rules", "/x /served"), ("site/shown/a", "")]);
        let words = [&["site", "-p", "0", "--redirects", "etc/.rules"], *more].concat();
        let Some(mut command) = with_a_mount(files.path(), "etc", "site/shown", &words) else { return };
        let modest = Built::start(&mut command);
        std::fs::remove_file(files.path().join("etc/.rules")).unwrap();
        std::os::unix::fs::symlink("rules", files.path().join("etc/.rules")).unwrap();
        modest.signal(Signal::USR1);
        let line = modest.err_line().unwrap();
        let said = "stays in use: 'etc/.rules' is in 'site', which is served";
        assert!(line.contains("SIGUSR1") && line.contains(said), "{more:?}: {line}");
        assert_eq!(modest.get("/x").field("location"), Some("/own"), "{more:?}");
    }
}

/// Files that clients have put into a folder are served in a sandbox through every mount of it.
#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn uploads_are_found_in_a_bind_mount() {
    let files = folder(&[("up/sub/p.html", "<p>"), ("up/p.html", "<p>"), ("site/in/a", ""), ("site/p.html", "<p>")]);
    for (from, to, words, page, is_untrusted) in [
        ("up", "site/in", ["site", "/up=up", "--upload=/up"], "/in/p.html", true),
        ("up/sub", "site/in", ["site", "/up=up", "--upload=/up"], "/in/p.html", true),
        ("site", "up/sub", ["site", "/up=up", "--upload=/up"], "/p.html", true),
        ("up/sub", "site/in", ["site", "/up=up", "--upload=/up"], "/p.html", true), // the whole place
        ("up", "up/sub", ["site", "/up=up", "--upload=/up"], "/p.html", false),
    ] {
        for more in confined() {
            let Some(mut command) = with_a_mount(files.path(), from, to, &words) else { return };
            let modest = Built::start(command.args(["-p", "0"]).args(*more));
            let got = modest.get(page);
            let policy = got.field("content-security-policy").unwrap_or_default();
            assert_eq!((got.status, policy.starts_with("sandbox")), (200, is_untrusted), "{from} at {to}: {page}");
            let line = modest.err_line().unwrap();
            assert_eq!(line.contains("'site' through another folder"), is_untrusted, "{from} at {to} {more:?}: {line}");
        }
    }
}

/// Files that the program itself reads or writes are not served at any path.
#[test]
fn the_programs_own_files_are_never_served() {
    let files =
        folder(&[("site/a.txt", "a"), ("site/redirects", "/a /b\n"), ("site/.hidden", ""), ("site/modest.toml", "")]);
    let socket = files.path().join("modest.sock");
    let unix = format!("unix:{}", socket.display());
    for (option, file, is_refused) in [
        ("--log-file", "site/log", true),
        ("--log-file", "site/.hidden", false),
        ("--log-file", "log", false),
        ("--config", "site/modest.toml", true),
        ("--redirects", "site/redirects", true),
    ] {
        for bind in ["127.0.0.1:0", "0.0.0.0:0", &unix] {
            let mut command = modest(["site", option, file, "-b", bind]);
            command.current_dir(&files);
            if !is_refused {
                if bind != unix {
                    Built::start(&mut command);
                }
                continue;
            }
            let (code, out, err) = run(&mut command);
            assert_eq!((code, &*out, err.lines().count()), (Some(2), "", 1), "{option} {file} {bind}: {err}");
            assert!(err.contains(&format!("{option}: '{file}' is in 'site', which is served")), "{err}");
            assert!(!files.path().join("site/log").exists() && !socket.exists());
        }
    }
}

/// A file of an option that has no end is an error, and is not read until the memory is full.
#[test]
fn files_without_an_end_are_errors() {
    let files = folder(&[("site/a.txt", "a")]);
    for (words, error) in [
        (&["--config=/dev/zero"][..], "--config: '/dev/zero' can't be read: it is longer than 16 MiB"),
        (&["--redirects=/dev/zero"], "--redirects: '/dev/zero' can't be read: it is longer than 16 MiB"),
        (&["--auth=/dev/zero"], "--auth: /dev/zero: this is not a file of users"),
        (&["--tls-cert=/dev/zero", "--tls-key=/dev/zero"], "--tls-cert: /dev/zero: it is longer than 16 MiB"),
    ] {
        let (code, out, err) = run(modest(["site", "-p", "0"]).args(words).current_dir(&files));
        assert!(code != Some(0) && out.is_empty() && err.lines().count() == 1, "{words:?}: {code:?} {out} {err}");
        assert!(err.contains(error), "{words:?}: {err}");
    }
}

/// The program warns about a QR code that no phone can use.
#[test]
fn a_qr_code_for_loopback_prints_a_warning() {
    for (bind, is_warned) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
        let modest = Built::start(&mut modest(["www", "--qr", "-b", bind]));
        modest.get("/");
        let (_, out, _) = modest.stop();
        let warned = out.iter().any(|line| line.contains("phones can't reach this address"));
        assert_eq!(warned, is_warned, "{bind}: {out:?}");
    }
}

/// A write beyond the limit of the file size ends the request, not the server.
#[test]
fn exceeding_the_file_size_limit_does_not_end_the_server() {
    let inbox = folder(&[("a.txt", "a")]);
    let program = modest(["x"]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -f 64; exec \"$0\" -p 0 --upload \"$1\""]).arg(program).arg(inbox.path());
    let modest = Built::start(&mut command);
    let large = "x".repeat(200_000);
    for _ in 0..2 {
        let put = modest.ask("PUT", "/large.txt", &[], &large);
        assert_eq!(put.status, 507, "{put:?}");
    }
    assert_eq!(modest.get("/a.txt").body, "a");
    assert_eq!(modest.get("/large.txt").status, 404);
}

/// A FIFO without a reader is an error at startup, which does not wait for a reader.
#[test]
fn a_log_fifo_without_a_reader_is_an_error() {
    let files = folder(&[("site/a.txt", "a")]);
    let made = std::process::Command::new("mkfifo").arg(files.path().join("log")).status().unwrap();
    assert!(made.success());
    let (code, _, err) = run(modest(["site", "-p", "0", "--log-file", "log"]).current_dir(&files));
    assert_eq!((code, &*err), (Some(1), "modest: --log-file: 'log' can't be written: it is a FIFO without a reader\n"));
}

/// The log is not appended to a file that the server reads.
#[test]
fn the_log_has_a_file_of_its_own() {
    let files =
        folder(&[("site/a.txt", "a"), ("users", ADA), ("rules", "/a /b\n"), ("modest.toml", "hidden = true\n")]);
    std::os::unix::fs::symlink("users", files.path().join("link")).unwrap();
    for (option, file, log) in [
        ("--auth", "users", "users"),
        ("--auth", "users", "./users"),
        ("--auth", "users", "link"),
        ("--redirects", "rules", "rules"),
        ("--config", "modest.toml", "site/../modest.toml"),
    ] {
        let words = ["site", "-p", "0", option, file, "--log-file", log];
        let (code, _, err) = run(modest(words).current_dir(&files));
        let said = format!("modest: --log-file: '{log}' is also the file of {option}; choose another");
        assert!(code == Some(2) && err.starts_with(&said), "{words:?}: {code:?} {err}");
    }
    let _socket = std::os::unix::net::UnixListener::bind(files.path().join("socket")).unwrap();
    let (code, _, err) = run(modest(["site", "-p", "0", "--log-file", "socket"]).current_dir(&files));
    assert!(code == Some(1) && err.contains("'socket' can't be written: ") && !err.contains("FIFO"), "{err}");
}

/// A FIFO whose reader does not read delays no client, and a reload leaves it. No line is lost.
#[test]
fn a_reload_leaves_a_log_fifo_that_is_full() {
    let files = folder(&[("site/a.txt", "a")]);
    let (log, full) = (files.path().join("log"), files.path().join("full"));
    assert!(std::process::Command::new("mkfifo").arg(&log).status().unwrap().success());
    let mut reader = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(&log).unwrap();
    let modest = Built::start(modest(["site", "-p", "0", "--log-file", "log"]).current_dir(&files));
    let mut client = modest.connect();
    for number in 0..300 {
        let padding = "x".repeat(1000); // 300 kB of log; a pipe holds up to 64 KiB
        client.write_all(format!("GET /{padding}-{number} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut client).status, 404);
    }
    std::fs::rename(&log, &full).unwrap();
    modest.signal(Signal::HUP);
    wait_for(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("SIGHUP: reloaded: --log-file; all")));
    let (status, _, err) = modest.stop();
    assert_eq!((status.code(), err), (Some(0), vec![]));
    let (mut before, after) = (String::new(), std::fs::read_to_string(&log).unwrap());
    reader.read_to_string(&mut before).unwrap();
    assert!(after.starts_with("127.0.0.1 - - ["), "{after:.200}");
    for number in 0..300 {
        let line = format!("-{number} HTTP/1.1\" 404 -\n");
        assert_eq!([&before, &after].map(|text| text.matches(&line).count()).iter().sum::<usize>(), 1, "{line}");
    }
}

/// A stdout that no program reads keeps the server neither from serving nor from ending.
#[test]
fn a_full_stdout_delays_no_end() {
    let files = folder(&[("site/a.txt", "a")]);
    for signal in [Signal::TERM, Signal::INT] {
        let (_reader, mut writer) = std::io::pipe().unwrap();
        let flags = fcntl_getfl(&writer).unwrap();
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
        while writer.write(&[b'x'; 4096]).is_ok() {}
        fcntl_setfl(&writer, flags).unwrap();
        let mut command = modest(["site", "-b", "unix:socket"]);
        let command = command.current_dir(&files).stdout(writer).stderr(std::process::Stdio::null());
        let mut child = command.spawn().unwrap();
        let socket = files.path().join("socket");
        wait_for(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
        let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET /a.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let begun = std::time::Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                None if begun.elapsed() < PATIENCE => std::thread::sleep(std::time::Duration::from_micros(100)),
                status => break status,
            }
        };
        let _ = child.kill();
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{signal:?}");
    }
}

#[test]
fn proxy_untrusted_serves_direct_clients() {
    let proxied = www(&["--proxy-protocol", "10.0.0.0/8", "--proxy-header-timeout", "1s", "--proxy-untrusted"]);
    assert_eq!(proxied.get("/").status, 200);
}

#[test]
fn addresses_are_shared_between_processes_and_families() {
    let one = www(&["--reuse-port"]);
    let port = one.address.port().to_string();
    let two = Built::start(&mut modest(["www", "-p", &port, "--reuse-port"]));
    assert_eq!((two.address, two.get("/").status), (one.address, 200));
    let (code, _, err) = run(&mut modest(["www", "-p", &port]));
    assert!(
        code == Some(1) && err.contains("is already in use"),
        "a process that does not share the port must be rejected: {err}"
    );
    if TcpListener::bind("[::1]:0").is_err() {
        return; // no IPv6 here
    }
    let six = Built::start(&mut modest(["www", "-b", "[::]:0", "--ipv6-only"]));
    let port = six.address.port();
    assert!(TcpListener::bind(("0.0.0.0", port)).is_ok(), "with --ipv6-only the IPv4 port stays free");
}

#[test]
fn several_addresses_and_unix_sockets() {
    let files = folder(&[("here.txt", "here")]);
    let socket = files.path().join("x.sock");
    let unix = format!("unix:{}", socket.display());
    let modest = Built::start(
        modest(["-b", "127.0.0.1:0", "-b", &unix, "--socket-mode", "600", "--backlog", "7"]).current_dir(&files),
    );
    assert_eq!(modest.out_line(), Some(format!("Serving HTTP on {unix} ...")));
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    client.write_all(b"GET /here.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("here"), "{answer}");
    assert_eq!(modest.get("/here.txt").body, "here");
}

#[test]
fn connections_per_address_are_limited() {
    let modest = www(&["--max-per-address", "2"]);
    let mut clients = [modest.connect(), modest.connect()];
    for client in &mut clients {
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(read_answer(client).status, 200);
    }
    let mut third = modest.connect();
    assert!(third.read(&mut [0]).is_err(), "the third connection must be reset");
}

#[test]
fn a_silent_client_is_dropped_after_the_set_timeout() {
    for (words, begun) in [(&["--idle-timeout", "50ms"][..], ""), (&["--head-timeout", "50ms"], "GET / HT")] {
        let modest = www(words);
        let mut client = modest.connect();
        client.write_all(begun.as_bytes()).unwrap();
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap(); // the end comes long before the usual timeout
        assert_eq!(rest.starts_with("HTTP/1.1 408 "), !begun.is_empty(), "{words:?}: {rest:?}");
    }
}

/// The command line overrides the environment, which overrides the file.
#[test]
fn options_come_from_three_sources() {
    let files = folder(&[
        ("www/file.txt", "file"),
        ("other/file.txt", "other"),
        (
            "port.toml",
            "port = 0\nheader = ['X-A: file', 'X-B: file']\nno-listing = true\ndirectory = 'www'\ncors = true\n",
        ),
        ("bind.toml", "bind = ['127.0.0.1:1']\ndirectory = 'www'\n"),
    ]);
    for (variables, words, target, field, expected) in [
        (&[][..], &["--config", "port.toml"][..], "/file.txt", "x-a", "file"),
        (&[], &["--config", "port.toml"], "/file.txt", "access-control-allow-origin", "*"),
        (&[("MODEST_CONFIG", "port.toml")], &[], "/file.txt", "x-b", "file"),
        (&[("MODEST_HEADER", "X-A: environment")], &["--config", "port.toml"], "/file.txt", "x-a", "environment"),
        (&[("MODEST_HEADER", "X-A: environment")], &["--config", "port.toml"], "/file.txt", "x-b", ""),
        (&[("MODEST_HEADER", "X-A: one\nX-B: two")], &["--config", "port.toml"], "/file.txt", "x-b", "two"),
        (&[("MODEST_HEADER", "X-A: environment")], &["www", "0", "-H", "X-A: line"], "/file.txt", "x-a", "line"),
        (&[("MODEST_PORT", "1")], &["www", "0"], "/file.txt", "body", "file"),
        (&[("MODEST_PORT", "0")], &["www"], "/file.txt", "body", "file"),
        (&[("MODEST_PORT", "tcp://10.0.0.1:80")], &["www", "-p", "0"], "/file.txt", "body", "file"),
        (&[("MODEST_DIRECTORY", "www\n/other=other"), ("MODEST_PORT", "0")], &[], "/other/file.txt", "body", "other"),
        (&[("MODEST_DIRECTORY", "www")], &["other", "0"], "/file.txt", "body", "other"),
        (&[("MODEST_NO_LISTING", "no")], &["--config", "port.toml"], "/", "status", "200"),
        (&[], &["--config", "port.toml"], "/", "status", "404"),
        (&[], &["--config", "bind.toml", "-p", "0"], "/file.txt", "body", "file"),
        (&[("MODEST_PORT", "1")], &["www", "-b", "127.0.0.1:0"], "/file.txt", "body", "file"),
    ] {
        let modest = Built::start(modest(words).envs(variables.iter().copied()).current_dir(&files));
        let answer = modest.ask("GET", target, &["Origin: https://a.example"], "");
        let found = match field {
            "status" => answer.status.to_string(),
            "body" => answer.body.clone(),
            field => answer.field(field).unwrap_or_default().to_owned(),
        };
        assert_eq!(found, expected, "{variables:?} {words:?}: {target}: {answer:?}");
    }
}

#[test]
fn an_error_in_a_source_names_the_source() {
    for (text, said) in [
        ("index = ''", "'modest.toml': index is empty: expected a file name"),
        ("prot = 1", "'modest.toml': there is no setting prot; did you mean port?"),
        ("max_per_address = 1", "'modest.toml': there is no setting max_per_address; did you mean max-per-address?"),
        ("colour = true", "'modest.toml': there is no setting colour (see"),
        ("port = [1, 2]", "'modest.toml': port: expected one value, not a list"),
        ("port = 65536", "'modest.toml': port 65536: a port is a number"),
        ("port = 1.5", "'modest.toml': port: expected a string in quotes, a number"),
        ("hidden = 'maybe'", "'modest.toml': hidden: expected yes or no"),
        ("server = false", "'modest.toml': server: expected a value, not true or false"),
        ("log-file = true", "'modest.toml': log-file: expected a value, not true or false"),
        ("precompressed = false\nindex = ['a', false]", "'modest.toml': index: expected a value, not true or false"),
        ("workers = true", "'modest.toml': workers true: expected a number from 1"),
        ("hash-password = 'ada'", "'modest.toml': there is no setting hash-password (see"),
        ("archive = true\nno-listing = true", "'modest.toml': archive and no-listing contradict each other"),
        ("metrics = '/x'\nhealth = '/x'", "'modest.toml': metrics and health contradict each other: both are at /x"),
        ("quiet = true\nport = ", "'modest.toml', line 2: "),
        ("port = 1\nport = 2", "'modest.toml', line 2: duplicate key"),
    ] {
        let files = folder(&[("modest.toml", text)]);
        let (code, out, err) = run(modest(["--config", "modest.toml"]).current_dir(&files));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{text}: {err}");
        assert!(err.contains(said), "{text}: {err}");
    }
    for (name, value, said) in [
        ("MODEST_PORT", "65536", "MODEST_PORT 65536: a port is a number"),
        ("MODEST_QUIET", "maybe", "MODEST_QUIET: expected yes or no"),
        ("MODEST_NO_LISTNG", "yes", "there is no variable MODEST_NO_LISTNG; did you mean MODEST_NO_LISTING?"),
        ("MODEST_AUTH", "", "MODEST_AUTH: the variable is empty: give it a value, or remove it"),
        ("MODEST_CONFIG", "/no/such", "MODEST_CONFIG: '/no/such' can't be read: no such file"),
    ] {
        let (code, out, err) = run(modest(["www"]).env(name, value));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{name}: {err}");
        assert!(err.contains(said), "{name}: {err}");
    }
    // A file that no option names is not read.
    let files = folder(&[("modest.toml", "port = 65536")]);
    let modest = Built::start(modest(["0"]).current_dir(&files));
    assert_eq!(modest.get("/").status, 200);
}

/// No error prints a password of a URL or the value of a field, from any source.
#[test]
fn errors_contain_no_secrets() {
    let files = folder(&[
        ("www/a", ""),
        ("proxy", "proxy = ['/x=http://ada:SECRET@host']"),
        ("header", "header = ['X-A: SECRET\\u0001']\n".replace('\'', "\"").as_str()),
        ("name", "proxxy = 'http://ada:SECRET@host'"),
        ("rules", "/a ftp://ada:SECRET@host/"),
    ]);
    let long = format!("/x=http://ada:SECRET{}@host", "x".repeat(100));
    for (words, variable, said) in [
        (&["--proxy", "/x=http://ada:SECRET@host"][..], None, "--proxy /x=http://(hidden)@host: expected the URL"),
        (&["--proxy", "/x=https://ada:SECRET@host"], None, "--proxy /x=https://(hidden)@host: the connection to"),
        (&["--proxy", "/x=http://ada:SEC/RET@host"], None, "--proxy /x=http://(hidden)@host: expected"),
        (&["--proxy", "/x=http://ada:'SEC RET'@host"], None, "--proxy /x=http://(hidden)@host: expected"),
        (&["--proxy", "/x=http:/ada:SECRET@host"], None, "--proxy /x=(hidden)@host: expected"),
        (&["--proxy", "http://ada:SECRET@host"], None, "--proxy http://(hidden)@host: expected two words"),
        (&["--proxy", &long], None, "--proxy /x=http://(hidden)@host: expected"),
        (&["--print-config", "--proxy", "/x=http://ada:SECRET@host"], None, "--proxy /x=http://(hidden)@host"),
        (&["--cors=https://ada:SECRET@host"], None, "--cors https://(hidden)@host: expected an origin"),
        (&["-b", "http://ada:SECRET@host"], None, "--bind http://(hidden)@host: expected an address"),
        (&["http://ada:SECRET@host"], None, "there is no folder or file 'http://(hidden)@host'"),
        (&["http://ada:SECRET@host/a/@b"], None, "there is no folder or file 'http://(hidden)@host/a/@b'"),
        (&["--log-file", "http://ada:SECRET@host"], None, "--log-file: 'http://(hidden)@host' can't be"),
        (&["--redirects", "rules"], None, "'rules', line 1: /a ftp://(hidden)@host/: TO must"),
        (&["--config", "proxy"], None, "'proxy': proxy /x=http://(hidden)@host: expected"),
        (&["--config", "header"], None, "'header': header X-A:(hidden): the value"),
        (&["--config", "name"], None, "there is no setting proxxy"),
        (&["-H", "X-A: SECRET\u{1}"], None, "--header X-A:(hidden): the value of a header field"),
        (&["-H", "X-A SECRET"], None, "--header X-A (hidden): expected a header field"),
        (&["-H", "X-A=SECRET"], None, "--header X-A=(hidden): expected a header field"),
        (&[], Some(("MODEST_PROXY", "/x=http://ada:SECRET@host")), "MODEST_PROXY /x=http://(hidden)@host: expected"),
        (&[], Some(("MODEST_HEADER", "X-A SECRET")), "MODEST_HEADER X-A (hidden): expected"),
    ] {
        for format in ["python", "json"] {
            let mut command = modest(["www", "-p", "0", "--log-format", format]);
            let (code, out, err) = run(command.args(words).envs(variable).current_dir(&files));
            assert!(code != Some(0) && out.is_empty() && err.lines().count() == 1, "{words:?}: {code:?} {out}{err}");
            assert!(err.contains(said) && !err.contains("SEC"), "{words:?}: {err}");
        }
    }
    // Also in the log.
    std::fs::write(files.path().join("rules"), "/a /b\n").unwrap();
    let modest = Built::start(modest(["www", "-p", "0", "--redirects", "rules"]).current_dir(&files));
    std::fs::write(files.path().join("rules"), "/a ftp://ada:SECRET@host/\n").unwrap();
    modest.signal(Signal::HUP);
    let line = modest.err_line().unwrap();
    assert!(line.contains("/a ftp://(hidden)@host/: TO must") && !line.contains("SEC"), "{line}");
    modest.get("/?to=http://ada:key@host"); // requests are logged as they were sent
    let line = modest.err_line().unwrap();
    assert!(line.contains("/?to=http://ada:key@host"), "{line}");
}

/// An error that is found later also names the source of the value.
#[test]
fn a_later_error_names_the_source_of_the_value() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    for (name, value, of_variable, of_file) in [
        ("spa", "nope.html", "MODEST_SPA: there is no file 'nope.html'", "'m.toml': spa: there is no file"),
        ("directory", "/nope", "MODEST_DIRECTORY: there is no folder", "'m.toml': directory: there is no folder"),
        (
            "directory",
            "7",
            "MODEST_DIRECTORY: there is no folder or file '7'",
            "'m.toml': directory: there is no folder",
        ),
        ("bind", "1.2.3.999", "MODEST_BIND: can't listen at 1.2.3.999:", "'m.toml': bind: can't listen at 1.2.3.999:"),
        ("auth", "/nope", "MODEST_AUTH: there is no file '/nope'", "'m.toml': auth: there is no file"),
        ("redirects", "/nope", "MODEST_REDIRECTS: '/nope' can't be read", "'m.toml': redirects: '/nope' can't"),
        ("log-file", "/no/log", "MODEST_LOG_FILE: '/no/log' can't be", "'m.toml': log-file: '/no/log' can't be"),
        ("tls-cert", "/nope", "MODEST_TLS_CERT: ", "'m.toml': tls-cert: "),
        ("upload", "/in", "MODEST_UPLOAD=/in/: no folder", "'m.toml': upload=/in/: no folder"),
        (
            "compress-to",
            "1m",
            "MODEST_COMPRESS_TO has no effect without --compress",
            "compress-to has no effect without --compress",
        ),
        ("hsts", "1d", "MODEST_HSTS has no effect without TLS: add", "'m.toml': hsts has no effect"),
        (
            "bind",
            &at,
            "MODEST_BIND: port PORT of 127.0.0.1 is already in use; choose another, or any free port with MODEST_BIND=127.0.0.1:0",
            "'m.toml': bind: port PORT of 127.0.0.1 is already in use; choose another, or any free port with bind = \"127.0.0.1:0\"",
        ),
        (
            "port",
            &at[10..],
            "MODEST_PORT: port PORT of 127.0.0.1 is already in use; choose another, or any free port with MODEST_PORT=0",
            "any free port with port = \"0\"",
        ),
        ("metrics-bind", &at, "MODEST_METRICS_BIND: port PORT of", "any free port with metrics-bind = \"127.0.0.1:0\""),
    ] {
        let files = folder(&[("m.toml", &format!("{name} = '{value}'")), ("www/a", "")]);
        let variable = format!("MODEST_{}", name.to_uppercase().replace('-', "_"));
        let port_words: &[&str] = if ["port", "bind"].contains(&name) { &[] } else { &["-p", "0"] };
        let words: &[&str] = if name == "directory" { &[] } else { &["www"] };
        let run = |command: &mut std::process::Command| {
            let (_, out, err) = run(command.args(port_words).current_dir(&files));
            assert_eq!((out.as_str(), err.lines().count()), ("", 1), "{name}: {err}");
            err.replace(&port.to_string(), "PORT")
        };
        let err = run(modest(words).env(variable, value));
        assert!(err.contains(of_variable), "{err}");
        let err = run(modest(words).args(["--config", "m.toml"]));
        assert!(err.contains(of_file), "{err}");
        let short = ["bind", "port"].contains(&name);
        let err = run(modest(["www"]).arg(format!("--{name}={value}")).env("MODEST_HIDDEN", "yes"));
        assert!(
            !err.contains("MODEST_") && !err.contains("m.toml") && (short || err.contains(&format!("--{name}"))),
            "{err}"
        );
    }
    let files = folder(&[("m.toml", "archive = true\nno-listing = true")]);
    let (_, _, err) = run(modest(["--config", "m.toml"]).current_dir(&files));
    assert!(err.contains("'m.toml': archive and no-listing contradict each other"), "{err}");
    let (_, _, err) = run(modest(["--archive"]).env("MODEST_NO_LISTING", "yes").current_dir(&files));
    assert!(err.contains("--archive and MODEST_NO_LISTING contradict each other"), "{err}");
    // The options of `modest-wsgi`, in the same environment.
    let modest = Built::start(modest(["0"]).env("MODEST_THREADS", "8").current_dir(&files));
    assert_eq!(modest.get("/").status, 200);
}

/// A pipe is read whole. While no program writes to it, a message is printed.
#[test]
fn files_of_options_can_be_pipes() {
    let files =
        folder(&[("www/a", "a file"), ("config", "header = ['X-A: b']"), ("redirects", "/old /a\n"), ("none", "")]);
    let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = identity.cert.pem() + &identity.signing_key.serialize_pem();
    let secret = files.path().join("pem");
    std::fs::write(&secret, pem).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap(); // otherwise there is a warning
    for words in [
        "--config PIPE(config)",
        "--redirects PIPE(redirects)",
        "--tls-cert PIPE(pem)",
        "--tls-cert PIPE(pem) --tls-key PIPE(pem)",
        "--tls-cert pem --tls-password-file PIPE(none)",
    ] {
        let shell = |script: String| {
            let mut bash = std::process::Command::new("bash");
            bash.args(["-c", &script, env!("CARGO_BIN_EXE_modest")]).current_dir(&files);
            bash
        };
        if !shell("exit 0".into()).status().is_ok_and(|status| status.success()) {
            return; // this system has no bash
        }
        let start = format!("exec \"$0\" www -p 0 {}", words.replace("PIPE(", "<(cat "));
        let modest = Built::start(&mut shell(start));
        let (status, _, err) = modest.stop();
        assert_eq!((status.code(), err), (Some(0), vec![]), "{words}");
        let fifo = files.path().join("fifo");
        _ = std::fs::remove_file(&fifo);
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (before, content) = words.rsplit_once("PIPE(").unwrap();
        let option = before.split_whitespace().next_back().unwrap();
        let before = before.replace("PIPE(pem)", "pem");
        let mut child = shell(format!("exec \"$0\" www -p 0 {before} fifo"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = [0; 200];
        let count = child.stderr.as_mut().unwrap().read(&mut told).unwrap();
        let told = String::from_utf8_lossy(&told[..count]);
        let expected = format!("modest: {option}: waiting for a program that writes to 'fifo'\n");
        _ = child.kill();
        child.wait().unwrap();
        assert_eq!(told, expected, "{words} {content}");
    }
}

/// Two options with one address are rejected, even if the address has two names.
#[test]
fn one_address_is_not_given_twice() {
    for (words, said) in [
        (
            &["-p", "29778", "-b", "127.0.0.1", "-b", "localhost"][..],
            "--bind 127.0.0.1:29778 and --bind localhost:29778 are the same",
        ),
        (&["-p", "0", "-b", "127.0.0.1", "-b", "localhost"], "--bind 127.0.0.1:0 and --bind localhost:0 are the same"),
        (
            &["-b", "127.0.0.1:29778", "-b", "127.0.0.1:29778"],
            "--bind 127.0.0.1:29778 and --bind 127.0.0.1:29778 are the same",
        ),
        (&["-b", "127.0.0.1", "-b", "::ffff:127.0.0.1"], "are the same address"),
        (&["-b", "*", "-b", "::"], "--bind *:8000 and --bind [::]:8000 are the same"),
        (&["-b", "127.0.0.1", "-b", "0.0.0.0"], "--bind 0.0.0.0:8000 includes --bind 127.0.0.1:8000; leave one"),
        (&["-b", "0.0.0.0", "-b", "127.0.0.1"], "--bind 0.0.0.0:8000 includes --bind 127.0.0.1:8000; leave one"),
        (&["-b", "::", "-b", "127.0.0.1"], "--bind [::]:8000 includes --bind 127.0.0.1:8000"),
        (&["-b", "::", "-b", "0.0.0.0"], "--bind [::]:8000 includes --bind 0.0.0.0:8000"),
        (
            &["-p", "29778", "--metrics-bind", "127.0.0.1:29778"],
            "--port 29778 and --metrics-bind 127.0.0.1:29778 are the same",
        ),
        (&["-b", "*:9464", "--metrics-bind", "127.0.0.1"], "--bind *:9464 includes --metrics-bind 127.0.0.1:9464"),
        (
            &["-p", "29778", "--tls-self-signed", "--redirect-to-https=29778"],
            "--port 29778 and --redirect-to-https 127.0.0.1:29778 are the same",
        ),
        (&["-b", "unix:s", "-b", "unix:s"], "--bind unix:s was given twice"),
        (&["-b", "127.0.0.1:0", "-b", "127.0.0.1:0"], ""),
        (&["-p", "0", "-b", "127.0.0.1", "--metrics-bind", "127.0.0.1:0"], ""),
        (
            &["-b", "systemd", "--metrics-bind", "systemd:metrics"],
            "--bind systemd already includes systemd:metrics; name each socket",
        ),
        (&["-p", "0", "-b", "127.0.0.1", "-b", "127.0.0.2"], ""),
    ] {
        let files = folder(&[]);
        if said.is_empty() {
            let modest = Built::start(modest(words).current_dir(&files));
            assert_eq!(modest.get("/").status, 200, "{words:?}");
            continue;
        }
        let (code, out, err) = run(modest(words).current_dir(&files));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{words:?}: {err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
}

/// Each option that has a value, with an invalid value and the expected error.
#[test]
fn each_option_reports_what_it_expects() {
    let files = folder(&[
        ("bad", "/a\n"),
        ("file", ""),
        ("query", "# none\n/a?b /c\n"),
        ("fragment", "/a#b /c\n"),
        ("loop", "/%61 /a?x=1 302\n"),
    ]);
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (bad, missing) = (path("bad"), path("missing"));
    let nowhere = ["www", "-b", "192.0.2.1"]; // this address fails, so that a wrongly accepted option ends the program
    let wrong = [
        ("--directory", "", "needs a value"),
        ("--index", "a/b", "expected a file name"),
        ("--spa", "..", "is not the name of a file"),
        ("--spa", "../app.html", "\"../app.html\": \"..\" is not the name of a file"),
        ("--error-page", "404", "such as 404=missing.html"),
        ("--error-page", "500=x.html", "400, 403 and 404"),
        ("--error-page", "404=../x", "is not the name of a file"),
        ("--redirects", &missing, "can't be read: no such file"),
        ("--redirects", &bad, "line 1: /a: expected FROM TO [STATUS]"),
        ("--redirects", &path("query"), "line 2: /a?b /c: FROM is a path without a query: write %3F"),
        ("--redirects", &path("fragment"), "line 1: /a#b /c: FROM is a path without a query"),
        ("--redirects", &path("loop"), "line 1: /%61 /a?x=1 302: FROM and TO are the same path"),
        ("--prefix", "x", "starts with a slash"),
        ("--prefix", "/..", "without '.' and '..'"),
        ("--follow-symlinks", "some", "expected within, anywhere or none"),
        ("--precompressed", "maybe", "expected yes or no"),
        ("--archives", "0", "expected a number of at least 1"),
        ("--archives", "many", "expected a number of at least 1"),
        ("--archives", "1", "has no effect without --archive"),
        ("--archive-depth", "1", "has no effect without --archive"),
        ("--archive-entries", "1", "has no effect without --archive"),
        ("--compress-from", "1k", "has no effect without --compress"),
        ("--compress-to", "1k", "has no effect without --compress"),
        ("--compressions", "1", "has no effect without --compress"),
        ("--compress-cache", "1m", "has no effect without --compress"),
        ("--archive-depth", "0", "expected a number of at least 1"),
        ("--archive-entries", "-1", "expected a number of at least 1"),
        ("--compress-from", "1kb", "expected a size"),
        ("--compress-to", "all", "expected a size"),
        ("--compressions", "x", "expected a number"),
        ("--compress-cache", "none", "expected a size"),
        ("--mime", "md", "such as md=text/markdown"),
        ("--mime", "md=text", "expected a media type"),
        ("--content-type", "text", "expected a media type"),
        ("--health", "up", "starts with a slash"),
        ("--health", "/{up}", "expected a path without '{'"),
        ("--health", "/h?x", "expected a path without '?'"),
        ("--health", "//h", "without percent-encodings and empty segments"),
        ("--health", "/a%20b", "without percent-encodings and empty segments"),
        ("--metrics", "/a%20b", "percent-encodings"),
        ("--metrics", "//m", "empty segments"),
        ("--allowed-host", "a..b", "expected a host name"),
        ("--allowed-host", "*.", "expected a host name"),
        ("--allowed-host", ".example.org", "expected a host name"),
        ("--allowed-host", "*example.org", "expected a host name"),
        ("--allowed-host", "a.example,b.example", "expected a host name"),
        ("--allowed-host", "a.example:80", "expected a host name"),
        ("--allowed-host", "a.test\r", "expected a host name"),
        ("--allowed-host", "münchen.de", "in ASCII: such as xn--"),
        ("--prefix", "/a?b", "expected a path without '?'"),
        ("--prefix", "/a%20b", "without percent-encodings"),
        ("--metrics", "/m*", "expected a path without '*'"),
        ("--metrics", "/m/", "without a slash at its end"),
        ("--upload", "/a#b", "expected a path without '#'"),
        ("--proxy", "/a}b=http://127.0.0.1:1", "expected a path without '}'"),
        ("--cache-control", "*.html", "expected directives, such as max-age=3600 or '*.css=no-cache"),
        ("--cache-control", "nonsense=", "expected directives"),
        ("--metrics", "metrics", "such as /metrics"),
        ("--memory", "much", "such as 500, 64k"),
        ("--memory", "0", "expected at least 8m"),
        ("--memory", "1", "expected at least 8m"),
        ("--memory", "8191k", "expected at least 8m"),
        ("--input-quota", "much", "or none"),
        ("--input-quota", "0", "expected at least 64k"),
        ("--input-quota", "65535", "expected at least 64k"),
        (
            "--auth",
            "nowhere/users",
            "there is no file 'nowhere/users'; create it with 'modest --hash-password USER > nowhere/users'",
        ),
        ("--shutdown-delay", "soon", "such as 500ms"),
        ("--metrics", "/", "such as /metrics"),
        ("--metrics-bind", "1:2:3", "[::1]:8000"),
        ("--upload", "inbox", "expected the path of a folder, such as /inbox"),
        ("--upload", "/nowhere", "--upload=/nowhere/: no folder is served there"),
        ("--overwrite", "always", "expected refuse, rename or replace"),
        ("--overwrite", "rename", "has no effect without --upload"),
        ("--upload-limit", "much", "such as 500, 64k"),
        ("--upload-limit", "1m", "has no effect without --upload"),
        ("--upload-reserve", "none", "such as 500, 64k"),
        ("--upload-reserve", "1m", "has no effect without --upload"),
        ("--upload-quota", "1g/", "such as 10g (per day)"),
        ("--upload-quota", "1g/0s", "(per day) or 1g/1h, or none"),
        ("--upload-quota", "1g", "has no effect without --upload"),
        ("--uploads-at-once", "0", "expected a number of at least 1"),
        ("--uploads-at-once", "9", "has no effect without --upload"),
        ("--uploads-each", "none", "expected a number of at least 1"),
        ("--uploads-each", "9", "has no effect without --upload"),
        ("--header", "X-A", "such as 'X-Frame-Options: DENY'"),
        ("--header", "X-A: \u{1}", "plain text"),
        ("--header", "ETag: \"x\"", "the server derives it for each response"),
        ("--cache-control", "", "such as max-age=3600"),
        ("--cors", "app.example", "such as https://app.example"),
        ("--cors", "https://app.example/", "such as https://app.example"),
        ("--server", "", "such as modest"),
        ("--server", "a\u{1}b", "such as modest"),
        ("--proxy", "/api", "such as /api=http://127.0.0.1:3000"),
        ("--proxy", "/api=127.0.0.1:3000", "expected the URL of a server"),
        ("--proxy-timeout", "soon", "expected a time"),
        ("--proxy-timeout", "3s", "has no effect without --proxy"),
        ("--proxy-at-once", "0", "at least 1"),
        ("--proxy-at-once", "3", "has no effect without --proxy"),
        ("--proxy-body-limit", "much", "expected a size"),
        ("--proxy-body-limit", "3m", "has no effect without --proxy"),
        ("--proxy-idle-connections", "many", "expected a number"),
        ("--proxy-idle-connections", "3", "has no effect without --proxy"),
        ("--proxy-idle-timeout", "soon", "expected a time"),
        ("--proxy-idle-timeout", "3s", "has no effect without --proxy"),
        ("--auth", &missing, "there is no file"),
        ("--auth", &bad, "line 1: expected NAME:HASH"),
        ("--auth", "ada:secret", "--hash-password USER > users"),
        ("--realm", "\u{e4}", "expected printable ASCII"),
        ("--realm", "x", "has no effect without --auth"),
        ("--allow", "/inbox", "expected PATH=USERS:RIGHTS"),
        ("--allow", "/inbox=ada:reed", "read, list, write"),
        ("--allow", "inbox=ada:read", "the path must start with a slash"),
        ("--group", "staff", "such as staff=ada,bob"),
        ("--group", "staff=ada, bob", "such as staff=ada,bob"),
        ("--group", "users=ada", "choose another name"),
        ("--bind", "1:2:3", "[::1]:8000"),
        ("--bind", "fe80::1", "such as fe80::1%eth0"),
        ("--bind", "fd:x", "expected a file descriptor"),
        ("--port", "http", "from 0 to 65535"),
        ("--allowed-host", "http://x", "expected a host name"),
        ("--trusted-proxy", "10.0.0.0/33", "such as 10.0.0.0/8"),
        ("--proxy-protocol", "proxy", "such as 10.0.0.0/8"),
        ("--backlog", "0", "a number of at least 1"),
        ("--socket-mode", "999", "in octal"),
        ("--workers", "0", "from 1 to 4096"),
        ("--max-connections", "0", "a number of at least 1"),
        ("--max-per-address", "0", "expected a number of at least 1, or none"),
        ("--max-requests", "-1", "expected a number of at least 1, or none"),
        ("--max-connection-age", "0", "such as 500ms, 10s"),
        ("--keep-alive", "2", "expected yes or no"),
        ("--idle-timeout", "10 s", "such as 500ms, 10s"),
        ("--head-timeout", "1w", "such as 500ms, 10s"),
        ("--body-timeout", "", "such as 500ms, 10s"),
        ("--write-timeout", "-1s", "such as 500ms, 10s"),
        ("--min-rate", "500/0s", "such as 500, or 1k/10s"),
        ("--shutdown-timeout", "soon", "1d, or none"),
        ("--slow-handler", "1.5s", "such as 500ms, 10s"),
        ("--queue-limit", "many", "expected a number"),
        ("--queue-timeout", "x", "such as 500ms, 10s"),
        ("--request-line-limit", "8kb", "expected a size from 1 to 60k"),
        ("--request-line-limit", "0", "expected a size from 1 to 60k"),
        ("--head-limit", "+1", "expected a size from 1 to 60k"),
        ("--head-limit", "61k", "expected a size from 1 to 60k"),
        ("--field-limit", "1k", "expected a number"),
        ("--field-limit", "0", "expected a number of at least 1"),
        ("--body-limit", "99999999t", "such as 500, 64k"),
        ("--memory", "x", "such as 500, 64k"),
        ("--body-memory", "x", "such as 500, 64k"),
        ("--body-memory-quota", "x", "such as 500, 64k"),
        ("--body-folder", &missing, "there is no such folder"),
        ("--body-quota", "1e9", "such as 500, 64k"),
        ("--chunked-bodies", "x", "expected yes or no"),
        ("--proxy-header-timeout", "x", "such as 500ms, 10s"),
        ("--cache-files", "x", "expected a number"),
        ("--cache-file-size", "x", "such as 500, 64k"),
        ("--cache-size", "x", "such as 500, 64k"),
        ("--open-files", "x", "expected a number"),
        ("--listing-cache", "x", "such as 500, 64k"),
        ("--listing-watches", "-1", "expected a number"),
        ("--inotify", "x", "expected yes or no"),
        ("--tls-cert", &missing, "missing: no such file"),
        ("--tls-key", "x", "has no effect without --tls-cert"),
        ("--tls-password-file", "x", "has no effect without --tls-cert"),
        ("--tls-self-signed", "a..b", "is neither the name of a host nor an IP address"),
        ("--tls-client-ca", "x", "add --tls-cert or --tls-self-signed"),
        ("--tls-client-auth", "maybe", "expected required or optional"),
        ("--tls-handshake-timeout", "soon", "1d, or none"),
        ("--redirect-to-https", "70000", "from 0 to 65535"),
        ("--hsts", "1w", "such as 500ms, 10s"),
        ("--hsts", "none", "expected a time"),
        ("--hsts", "1500ms", "expected whole seconds, such as 10m or 365d, or 0 to withdraw it"),
        ("--trusted-proxy", "10.0.0.1/8", "--trusted-proxy 10.0.0.1/8: is it 10.0.0.0/8 or 10.0.0.1/32?"),
        ("--trusted-proxy", "here", "expected a network, such as 10.0.0.0/8 or 2001:db8::7, or unix"),
        ("--header", "Accept-Ranges: none", "the field `accept-ranges` cannot be set"),
        ("--log-format", "xml", "expected python, common, combined or json"),
        ("--config", &missing, "can't be read: no such file"),
        ("--user", "", "such as www-data or www-data:www"),
        ("--user", ":www", "such as www-data or www-data:www"),
    ];
    for (option, value, said) in wrong {
        let (code, out, err) = run(modest(nowhere).arg(format!("{option}={value}")));
        assert_eq!((out.as_str(), err.lines().count()), ("", 1), "{option}={value}: {err}");
        assert!(matches!(code, Some(1 | 2)) && err.contains(said), "{option}={value}: {code:?}: {err}");
        let (variable, long) = (option[2..].to_uppercase().replace('-', "_"), &option[2..]);
        let (code, _, err) = run(modest(nowhere).env(format!("MODEST_{variable}"), value));
        let is_wrong = !err.contains("192.0.2.1") && code != Some(0);
        assert!(is_wrong || value.is_empty(), "{long}={value} in the environment: {err}");
    }
    let (_, help, _) = run(&mut modest(["--help"]));
    let has_value = |line: &&str| {
        let names = line.trim_start_matches(' ').split("  ").next().unwrap_or_default();
        (line.starts_with("  -") || line.starts_with("      --"))
            && names.trim_start_matches("-V").contains(|c: char| c.is_uppercase() || c == '=')
    };
    let rows: Vec<&str> = help.lines().filter(has_value).collect();
    assert!(rows.len() > 80, "{help}");
    for line in rows {
        let long = line.split_whitespace().find(|word| word.starts_with("--")).unwrap().split('[').next().unwrap();
        // These two are tested elsewhere: `--log-file`, which is opened last, by
        // `a_startup_failure_is_reported_in_one_line`, and `--hash-password`, which prompts, by `access`.
        let is_elsewhere = ["--log-file", "--hash-password"].contains(&long);
        assert!(is_elsewhere || wrong.iter().any(|(option, ..)| *option == long), "{long} is not in this table");
    }
}

/// The summary counts the bytes that were sent, not the whole length.
#[test]
fn an_interrupted_download_counts_the_bytes_sent() {
    let files = folder(&[("small", "12345")]);
    let large = std::fs::File::create(files.path().join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let modest = Built::start(modest([".", "-p", "0"]).current_dir(&files));
    let mut client = modest.connect();
    client.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 10_000]).unwrap();
    drop(client);
    assert_eq!(modest.get("/small").body, "12345");
    // The disconnect of the first client may be noticed only now.
    let (status, out, err) = modest.stop();
    let last = out.last().unwrap();
    assert!(status.success() && last.starts_with("2 requests, 0 errors, "), "{out:?} {err:?}");
    let number: f64 = last.split(' ').nth(4).unwrap().parse().unwrap();
    assert!(last.contains("KiB in") || last.contains("MiB in") && number < 100.0, "{last}");
}

/// A shutdown that cuts off a download logs that, with the bytes that were sent.
#[test]
fn a_download_that_the_end_cuts_off_is_in_the_log() {
    let files = folder(&[]);
    let large = std::fs::File::create(files.path().join("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    let words = [".", "-p", "0", "--shutdown-timeout", "300ms", "--log-format", "common"];
    let modest = Built::start(modest(words).current_dir(&files));
    let mut client = modest.connect();
    client.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    client.read_exact(&mut [0; 10_000]).unwrap();
    let (status, out, err) = modest.stop();
    let err = err.join("\n");
    assert!(status.success() && err.contains("the server ends and cuts off connections in use: 1"), "{out:?} {err}");
    let line = err.lines().find(|line| line.contains("\"GET /large HTTP/1.1\" 200 ")).expect("a line in the log");
    let sent: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((10_000..1 << 30).contains(&sent), "{err}");
}

/// An option whose value is not UTF-8 is named as its source names it. Paths can have any bytes.
#[test]
fn values_that_are_not_utf8_are_rejected_by_name() {
    let files = folder(&[("www/a", "")]);
    let not_utf8 = || OsString::from_vec(b"a\xff".to_vec());
    let joined = |option: &str| -> OsString { [OsString::from(option), not_utf8()].into_iter().collect() };
    for words in [
        vec!["--realm".into(), not_utf8()],
        vec![joined("--realm=")],
        vec!["--log-file".into(), not_utf8(), joined("--realm=")],
        vec!["-q".into(), not_utf8(), joined("--realm=")],
    ] {
        let (code, _, err) = run(modest(["--check"]).args(&words).current_dir(&files));
        assert_eq!(
            (code, err.as_str()),
            (Some(2), "modest: --realm: expected UTF-8 (see 'modest --help')\n"),
            "{words:?}"
        );
    }
    let (code, _, err) = run(modest(["--check", "www"]).env("MODEST_REALM", not_utf8()).current_dir(&files));
    assert_eq!((code, err.as_str()), (Some(2), "modest: MODEST_REALM: expected UTF-8 (see 'modest --help')\n"));
    std::fs::create_dir(files.path().join(not_utf8())).unwrap();
    let (code, out, err) = run(modest(["--print-config"]).arg(not_utf8()).current_dir(&files));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let line = "# directory = [\"a\u{fffd}\"]  # command line; not UTF-8, so a file can't contain it\n";
    assert!(out.contains(line), "{out}");
}

/// Options that are valid alone, but contradict each other or have no effect if they are combined.
#[test]
fn contradicting_options_are_rejected() {
    let files = folder(&[("www/a", ""), ("file", "")]);
    for (words, said) in [
        ("file --archive", "--archive has no effect without a folder to serve"),
        ("file --webdav", "--webdav has no effect without a folder to serve"),
        ("file --spa", "--spa has no effect without a folder to serve"),
        ("file --clean-urls", "--clean-urls has no effect without a folder to serve"),
        ("file /w=www --webdav", ""),
        (
            "www --archive --no-listing",
            "--archive and --no-listing contradict each other: only listed folders have archives",
        ),
        ("www --metrics=/x --health=/x", "--metrics and --health contradict each other: both are at /x"),
        ("www --metrics=/x --health=/x --metrics-bind 127.0.0.1:0", ""),
        ("/x=www --health=/x", "--health: something else is served at /x; choose another path"),
        ("/x=www --metrics=/x", "--metrics: something else is served at /x; choose another path"),
        ("www --health=/", "--health: something else is served at /; choose another path"),
        ("www --proxy /x=http://127.0.0.1:1 --health=/x", "--health: something else is served at /x"),
        ("www --proxy /x=http://127.0.0.1:1 --prefix /y --health=/y/x", "--health: something else is served at /y/x"),
        ("www --proxy /x=http://127.0.0.1:1 --prefix /y --health=/x", ""),
        ("file --health=/file", "--health: something else is served at /file"),
        ("file --metrics=/file", "--metrics: something else is served at /file"),
        (
            "www --tls-self-signed --redirect-to-https=unix:r --proxy-protocol 127.0.0.1",
            "--redirect-to-https unix: has no effect",
        ),
        ("www --allowed-host a --allowed-host *", "--allowed-host * and the other hosts contradict each other"),
        ("www --metrics-bind unix:m --socket-mode 600", ""),
        ("www --tls-self-signed --redirect-to-https=unix:r --socket-mode 600", ""),
        ("www --socket-mode 600", "--socket-mode has no effect without a Unix socket with a file"),
        ("www -b 127.0.0.1:0 --metrics-bind [::1]:0 --ipv6-only", ""),
        ("www -b 127.0.0.1:0 -b 127.0.0.1:0 --ipv6-only", "--ipv6-only has no effect without an IPv6 address"),
        ("www -b unix:p --proxy-protocol 127.0.0.1", "--bind unix: has no effect without --proxy-protocol unix"),
        ("www -b 127.0.0.1:0 -b unix:p --proxy-protocol unix --proxy-untrusted", ""),
        ("www -b 127.0.0.1:0 -b unix:p --proxy-protocol 127.0.0.1 --proxy-untrusted", ""),
        ("www --proxy-protocol unix", "--proxy-protocol unix has no effect without a Unix socket to listen on"),
        (
            "www -b unix:p --proxy-protocol unix --proxy-protocol ::1",
            "--proxy-protocol ::1/128 has no effect without an",
        ),
        ("www -b unix:p --trusted-proxy 10.0.0.0/8", "--trusted-proxy 10.0.0.0/8 has no effect without an IP address"),
        ("www -b 127.0.0.1:0 -b unix:p --trusted-proxy unix --trusted-proxy 10.0.0.0/8", ""),
        (
            "www --proxy /=http://127.0.0.1:1 --max-per-address 9 -b unix:p",
            "--max-per-address has no effect without an IP",
        ),
        ("www -b 127.0.0.1:0 -b unix:p --max-per-address 9", ""),
        ("--proxy /=http://127.0.0.1:1 --compress", "--compress has no effect without a folder or file to serve"),
        ("--proxy /=http://127.0.0.1:1 --mime a=b/c", "--mime has no effect without a folder or file to serve"),
        ("file --no-listing", "--no-listing has no effect without a folder to serve"),
        ("www --no-listing --listing-cache 1m", "--listing-cache has no effect without listings of a folder"),
        ("www --no-listing --webdav --listing-cache 1m", ""),
        ("www --spa=no", "--spa no: write --spa without a value, or leave it out"),
        ("www --tls-self-signed=yes", "--tls-self-signed yes: write --tls-self-signed without a value"),
        ("www --tls-self-signed --hsts=1 --redirect-to-https=0", ""),
        ("www --listing-watches 9 --inotify no", "--listing-watches has no effect without --inotify yes"),
        (
            "www --listing-watches 9 --listing-cache 0",
            "--listing-watches has no effect without a --listing-cache of at least 1",
        ),
        ("www --cache-files 0 --cache-size 1m", "--cache-size has no effect without a --cache-files of at least 1"),
        ("www --cache-files 0 --cache-file-size 1m", "--cache-file-size has no effect without a --cache-files"),
        ("www --cache-files 1 --cache-size 1m", ""),
        ("www -b unix:@modest-test --socket-mode 600", "--socket-mode has no effect without a Unix socket with a file"),
        ("/a=www /a/=www", "can't both be at '/a/'; give one another path, as in /docs=www"),
        ("www --metrics-bind 9464", "--metrics-bind 9464: expected an address, such as 127.0.0.1 or 127.0.0.1:9464"),
        ("www -b 70000", "--bind 70000: expected an address, such as 127.0.0.1 (see"),
        ("file --hidden", "--hidden has no effect without a folder to serve"),
        ("file --index x", "--index has no effect without a folder to serve"),
        (
            "www --compress --compress-from 2k --compress-to 1k",
            "--compress-from and --compress-to contradict each other",
        ),
        ("www --compress --compress-from 5m", "--compress-from and --compress-to contradict each other"),
        ("www --compress --compress-to 1023", "--compress-from and --compress-to contradict each other"),
        ("www --compress --compress-from 2k --compress-to 2k", ""),
        (
            "www -H Cache-Control:no-store --cache-control max-age=5",
            "--header and --cache-control contradict each other",
        ),
        ("www -H *.css=cache-control:x --cache-control /a=y", "--header and --cache-control contradict each other"),
        ("www -H Cache-Control:no-store", ""),
        ("www --keep-alive no --max-requests 9", "--max-requests has no effect without --keep-alive yes"),
        ("www --keep-alive no --max-connection-age 9s", "--max-connection-age has no effect without --keep-alive yes"),
        ("www --keep-alive no --max-requests none", ""),
        (
            "www --queue-limit 0 --queue-timeout 9s",
            "--queue-timeout has no effect without a --queue-limit of at least 1",
        ),
        ("www --socket-mode 600", "--socket-mode has no effect without a Unix socket with a file"),
        ("www --trusted-proxy unix", "--trusted-proxy unix has no effect without a Unix socket to listen on"),
        ("www --ipv6-only -b 127.0.0.1", "--ipv6-only has no effect without an IPv6 address to listen on"),
        ("www -b unix:sock --ipv6-only", "--ipv6-only has no effect without an IPv6 address to listen on"),
        ("www -b unix:sock --reuse-port", "--reuse-port has no effect without an IP address to listen on"),
        ("www -b unix:sock --open", "--open has no effect without an IP address to listen on"),
        ("www -b unix:sock --qr", "--qr has no effect without an IP address to listen on"),
        ("www --forwarded-host", "--forwarded-host has no effect without --trusted-proxy"),
        ("www --proxy-untrusted", "--proxy-untrusted has no effect without --proxy-protocol"),
        ("www --proxy-header-timeout 1s", "--proxy-header-timeout has no effect without --proxy-protocol"),
        ("www --max-per-address 9 --max-connections 8", "--max-per-address and --max-connections contradict"),
        ("www --max-per-address 8 --max-connections 8", ""),
        ("www --max-per-address none --max-connections 8", ""),
        ("www --request-line-limit 9k --head-limit 8k", "--request-line-limit and --head-limit contradict"),
        ("www --body-memory 2m --body-memory-quota 1m", "--body-memory and --body-memory-quota contradict"),
        ("www --body-limit 2m --body-quota 1m", "--body-limit and --body-quota contradict"),
        ("www --body-limit 2m --body-quota none", ""),
        (
            "www --cache-file-size 2k --cache-size 1k",
            "--cache-file-size and --cache-size contradict each other: the limit of one",
        ),
        ("www --open-files 3 --cache-files 2", "--open-files and --cache-files contradict each other"),
        ("www --upload --upload-limit 2m --upload-quota 1m", "--upload-limit and --upload-quota contradict each other"),
        ("www --upload --uploads-each 3 --uploads-at-once 2", "--uploads-each and --uploads-at-once contradict"),
        ("www --upload --uploads-at-once 3 --max-connections 2", "--uploads-at-once and --max-connections contradict"),
        (
            "www --confine --body-memory 1k",
            "--confine and --body-memory contradict each other: longer bodies go to files",
        ),
        ("www --tls-self-signed --auth users --auth-over-http", "--auth-over-http has no effect with TLS"),
    ] {
        let port = if words.contains("-b unix:") { &[][..] } else { &["-p", "0"] };
        let words: Vec<&str> = words.split(' ').chain(port.iter().copied()).collect();
        if is_rejected_by_the_system(&words) {
            continue;
        }
        if said.is_empty() {
            let modest = Built::start(modest(&words).current_dir(&files));
            assert_eq!(modest.stop().0.code(), Some(0), "{words:?}");
            continue;
        }
        let (code, out, err) = run(modest(&words).current_dir(&files));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{words:?}: {err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
}

#[test]
fn startup_and_shutdown_messages_are_printed() {
    let start = |words: &[&str]| {
        let modest = Built::start(modest(["www", "-p", "0"]).args(words));
        let port = modest.address.port().to_string();
        let (_, out, _) = modest.stop();
        (port, out.join("\n"))
    };
    let (port, out) = start(&["-b", "0.0.0.0"]);
    // By the name of the interface, or of this machine where a sandbox forbids listing interfaces.
    let names = ["lo)", "lo0)", "this machine)"].map(|name| format!("http://127.0.0.1:{port}/ ({name}"));
    assert!(names.iter().any(|name| out.contains(name)), "{out}");
    let (_, out) = start(&[]);
    let folder = std::fs::canonicalize(root().join("www")).unwrap();
    assert!(out.contains(&format!("folder '{}'", folder.display())), "{out}");
    assert!(out.contains("0 requests, 0 errors, 0 bytes in "), "{out}");
    let (_, out) = start(&["/docs=docs"]);
    assert!(out.contains("docs' at /docs/"), "{out}");
    let (port, out) = start(&["--qr"]);
    assert!(out.contains('█') && out.contains(&format!("http://127.0.0.1:{port}/")), "{out}");
    // A start that fails does not print that it serves.
    for limit in ["5", "6", "8", "14"] {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -n \"$1\"; exec \"$0\" www -p 0", env!("CARGO_BIN_EXE_modest"), limit]);
        let (code, out, err) = run(shell.current_dir(root()));
        assert!(code == Some(1) && out.is_empty() && err.contains("too many open files"), "{code:?} {out} {err}");
        assert!(err.contains("; allow more file descriptors, for example by 'ulimit -n 1024'"), "{limit}: {err}");
        assert!(err.matches("www").count() <= 1, "{limit}: {err}");
    }
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "mkdir \"$1/gone\" && cd \"$1/gone\" && rmdir \"$1/gone\"; exec \"$0\" -p 0",
        env!("CARGO_BIN_EXE_modest"),
    ]);
    let files = crate::built::folder(&[]);
    let (code, out, err) = run(shell.arg(files.path()));
    assert!(
        code == Some(1) && out.is_empty() && err.contains("the working directory was removed"),
        "{code:?} {out} {err}"
    );
}

/// A program of this name that writes its arguments to a file.
fn stand_in(folder: &Path, name: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\necho \"$@\" > {}\n", folder.join("told").display())).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn the_browser_is_opened() {
    let tools = folder(&[]);
    stand_in(tools.path(), "xdg-open");
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let modest = Built::start(modest(["www", "-p", "0", "-b", "0.0.0.0", "--open"]).env("PATH", path));
    let told = || std::fs::read_to_string(tools.path().join("told")).unwrap_or_default();
    wait_for(|| told().ends_with('\n'));
    assert_eq!(told(), format!("http://127.0.0.1:{}/\n", modest.address.port()));
    let missing = Built::start(crate::built::modest(["www", "-p", "0", "--open"]).env("PATH", "/nowhere"));
    assert!(missing.err_line().unwrap().contains("--open: xdg-open can't be started"));
}

#[test]
fn root_becomes_another_user() {
    if is_rejected_by_the_system(&["www", "-p", "0", "--user", "0:0"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        let (code, out, err) = run(&mut modest(["www", "-p", "0", "--user", "0:0"]));
        assert!(code == Some(1) && out.is_empty() && err.contains("can't switch to that user"), "{code:?} {out} {err}");
        return;
    }
    let files = folder(&[("open.txt", "open"), ("closed.txt", "closed")]);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(files.path(), 0o755);
    mode(&files.path().join("closed.txt"), 0o600);
    let modest = Built::start(modest(["-p", "0", "--user", "65534:65533"]).current_dir(&files));
    assert_eq!([modest.get("/open.txt").status, modest.get("/closed.txt").status], [200, 403]);
    for task in std::fs::read_dir(format!("/proc/{}/task", modest.pid().as_raw_nonzero())).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        for line in [
            "Uid:\t65534\t65534\t65534\t65534",
            "Gid:\t65533\t65533\t65533\t65533",
            "Groups:\t65533",
            "CapEff:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line} is not in {status}");
        }
    }
    mode(files.path(), 0o700);
    std::fs::create_dir(files.path().join("sub")).unwrap();
    let (_, _, err) = run(crate::built::modest(["-p", "0", "--user", "65534:65533"]).arg(files.path().join("sub")));
    assert!(err.contains(&format!("'chmod o+rX' of '{}')", files.path().display())), "{err}");
    for (user, said) in
        [("65534:65533", "no permission to read"), ("no-such-user", "there is no such user"), ("65531", "add a group")]
    {
        let (code, out, err) = run(crate::built::modest(["-p", "0", "--user", user]).current_dir(&files));
        assert!(
            code == Some(1) && out.is_empty() && err.contains(said) && err.lines().count() == 1,
            "{user}: {out} {err}"
        );
    }
}

/// A start that the file descriptor limit prevents says how to allow more, whatever it opens.
#[test]
fn a_start_with_too_few_descriptors_has_advice() {
    let files = folder(&[("www/open.txt", "open"), ("users", ADA)]);
    let mut failed = 0;
    for words in ["www", "www --user nobody", "www --confine", "www --auth users", "www --log-file log"] {
        for limit in 5..16 {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "ulimit -n \"$0\"; exec \"$@\"", &limit.to_string(), env!("CARGO_BIN_EXE_modest")]);
            let (_, _, err) = run(shell.args(["-p", "0", "--check"]).args(words.split(' ')).current_dir(&files));
            if err.to_lowercase().contains("too many open files") {
                failed += 1;
                let advice = "; allow more file descriptors, for example by 'ulimit -n 1024'\n";
                assert!(err.matches(';').count() == 1 && err.ends_with(advice), "{words}, {limit}: {err}");
            }
        }
    }
    assert!(failed > 5, "{failed} starts had too few descriptors");
}

/// A start that the system's limit of threads prevents says how to allow more.
#[test]
#[cfg(all(target_os = "linux", not(modest_portable)))]
fn a_start_with_too_few_threads_has_advice() {
    let files = folder(&[("open.txt", "open")]);
    std::fs::set_permissions(files.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let user = if rustix::process::geteuid().is_root() { "--user=65534:65533" } else { "--verbose" }; // no limit applies to root
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "{ ulimit -u 1 2>/dev/null || ulimit -p 1; } && exec \"$0\" -p 0 \"$1\"",
        env!("CARGO_BIN_EXE_modest"),
        user,
    ]);
    let (code, out, err) = run(shell.current_dir(&files));
    if err.contains("can't switch to that user") {
        return; // a sandbox without other users
    }
    let advice =
        "resource temporarily unavailable; allow more threads, for example by TasksMax= of systemd or 'ulimit -u'";
    assert!(code == Some(1) && out.is_empty() && err.trim_end().ends_with(advice), "{code:?} {out} {err}");
}

/// Whether this system or its kernel has no Landlock. Then `--confine` is rejected with an error.
pub fn landlock_is_missing() -> bool {
    if is_rejected_by_the_system(&["--confine"]) {
        return true;
    }
    let files = folder(&[]);
    let mut child = modest(["-p", "0", "--confine"])
        .current_dir(&files)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let begins = child.stdout.take().unwrap().read_exact(&mut [0; 7]).is_ok();
    if begins {
        child.kill().unwrap();
        child.wait().unwrap();
        return false;
    }
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let is_linux = modest::system_services().contains(&("listening sockets", "SO_ACCEPTCONN"));
    let (status, reason) = match is_linux {
        true => (1, "--confine: Landlock is not available"),
        false => (2, "--confine needs Linux"),
    };
    assert_eq!(child.wait().unwrap().code(), Some(status), "{err}");
    assert!(err.contains(reason) && err.lines().count() == 1, "{err}");
    true
}

#[test]
fn a_confined_program_opens_nothing_outside_its_folders() {
    let outside = folder(&[("file.txt", "outside")]);
    let files = folder(&[("file.txt", "inside"), ("log/x", "")]);
    std::os::unix::fs::symlink(outside.path().join("file.txt"), files.path().join("out")).unwrap();
    let words = ["-p", "0", "--confine", "--follow-symlinks", "anywhere"];
    let log = folder(&[]);
    let log_file = log.path().join("log");
    if landlock_is_missing() {
        return;
    }
    let modest = Built::start(modest(words).arg("--log-file").arg(&log_file).current_dir(&files));
    assert_eq!([modest.get("/file.txt").status, modest.get("/out").status, modest.get("/").status], [200, 403, 200]);
    modest.signal(Signal::HUP);
    modest.get("/file.txt");
    let (status, _, err) = modest.stop();
    assert_eq!((status.code(), err), (Some(0), vec![]));
    assert!(std::fs::read_to_string(&log_file).unwrap().contains("/out"));
}

/// If stderr is the journal's, a message begins with its priority; otherwise with its level and time.
#[test]
fn journal_lines_have_a_priority() {
    use std::os::unix::fs::MetadataExt;
    for is_journal in [true, false] {
        let files = folder(&[("a", "a")]);
        let path = files.path().join("err");
        let err = std::fs::File::create(&path).unwrap();
        let stat = err.metadata().unwrap();
        let stream = if is_journal { format!("{}:{}", stat.dev(), stat.ino()) } else { "1:1".to_owned() };
        let mut command = modest(["-p", "0", "--protocol", "HTTP/1.0", "--verbose"]);
        let modest = Built::start_with(command.env("JOURNAL_STREAM", &stream).arg(files.path()), err);
        modest.get("/a");
        modest.stop();
        let text = std::fs::read_to_string(&path).unwrap();
        let begins = |start: &str| text.lines().any(|line| line.starts_with(start));
        let (warning, debug) = if is_journal { ("<4>--protocol", "<7>") } else { ("[WARN] [", "[DEBUG] [") };
        assert!(begins(warning) && begins(debug) && begins("127.0.0.1 - -"), "{is_journal}: {text}");
        // The error that ends the program at its start.
        let error = if is_journal { "<3>" } else { "modest: " };
        for (words, said) in
            [(["-p", "x"], "--port x"), (["--no-such", "x"], "--no-such"), (["-d", "missing"], "missing")]
        {
            let err = std::fs::File::create(&path).unwrap();
            let status = crate::built::modest(words).env("JOURNAL_STREAM", &stream).stderr(err).status();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(error) && text.contains(said), "{is_journal}, {status:?}: {text}");
        }
    }
}

/// `--print-config` prints each setting with its source and hides secrets. Its output is a file for `--config` with the
/// same meaning.
#[test]
fn print_config_shows_each_setting_and_its_source() {
    let files =
        folder(&[("www/a", "a"), ("modest.toml", "port = 9000\nhealth = '/up'\nserver = 'file'\nindex = ['a', 'b']")]);
    let config = files.path().join("modest.toml");
    let words = [
        "--print-config",
        "--memory",
        "64m",
        "--server",
        "mine",
        "-H",
        "X-Token: abc",
        "-H",
        "X-A: \"é\\",
        "--auth",
        "ada:secret",
        "www",
    ];
    let mut command = modest(words);
    command
        .current_dir(&files)
        .arg("--config")
        .arg(&config)
        .env("MODEST_HEALTH", "/ok")
        .env("MODEST_CLEAN_URLS", "yes");
    let (status, out, err) = run(&mut command);
    assert_eq!((status, &*err), (Some(0), ""), "{out}");
    let file = format!("'{}'", config.display());
    for line in [
        "directory = [\"www\"]  # command line".to_owned(),
        "server = \"mine\"  # command line".to_owned(),
        "health = \"/ok\"  # environment".to_owned(),
        "clean-urls = true  # environment".to_owned(),
        format!("port = \"9000\"  # {file}"),
        format!("index = [\"a\", \"b\"]  # {file}"),
        "memory = \"64m\"  # command line".to_owned(),
        "# input-quota = \"8m\"  # default".to_owned(),
        "# max-connections = \"4096\"  # default".to_owned(),
        "# idle-timeout = 60s  # default".to_owned(),
        "# hidden = false  # default".to_owned(),
    ] {
        assert!(out.lines().any(|found| found == line), "no line {line}\n{out}");
    }
    for (name, value) in [("header", "X-Token: (hidden)"), ("header", "X-A: (hidden)"), ("auth", "(hidden)")] {
        let line = match name {
            "auth" => format!("# {name} = \"{value}\"  # command line"),
            _ => format!("# {name} = [\"{value}\"]  # command line"),
        };
        assert!(out.lines().any(|found| found == line), "no line {line}\n{out}");
    }
    assert!(!out.contains("abc") && !out.contains("secret"), "{out}");
    std::fs::write(&config, &out).unwrap();
    let mut command = modest(["--print-config"]);
    let (status, again, err) = run(command.current_dir(&files).arg("--config").arg(&config));
    let values = |text: &str| -> Vec<String> {
        let settings = text.lines().filter(|line| !line.contains("(hidden)") && !line.starts_with("# header"));
        let settings = settings.filter(|line| !line.starts_with("# auth ="));
        settings.filter_map(|line| line.rsplit_once("  # ")).map(|(setting, _)| setting.to_owned()).collect()
    };
    assert_eq!((status, values(&again)), (Some(0), values(&out)), "{err}");
}

/// A port and addresses of different sources are printed as a file with the same meaning, although a file can't contain
/// a port twice.
#[test]
fn print_config_shows_the_ports_in_use() {
    let files = folder(&[("modest.toml", ""), ("www/a", "")]);
    let config = files.path().join("modest.toml");
    let both = |bind: &str| format!("bind = {bind}");
    for (variables, in_file, words, bind, port) in [
        (
            &[("MODEST_PORT", "0")][..],
            both("['127.0.0.1:1', '[::1]:2']"),
            "",
            "bind = [\"127.0.0.1\", \"[::1]\"]",
            "port = \"0\"",
        ),
        (&[("MODEST_PORT", "0")], both("[':1']"), "", "bind = [\"*\"]", "port = \"0\""),
        (&[], "port = 1".into(), "-b 127.0.0.1:0", "bind = [\"127.0.0.1:0\"]", "# port = \"1\""),
        (&[], "port = 0".into(), "-b 127.0.0.1:0 -b ::1", "bind = [\"127.0.0.1:0\", \"::1\"]", "port = \"0\""),
        (&[("MODEST_BIND", "unix:s")], "port = 0".into(), "", "bind = [\"unix:s\"]", "# port = \"0\""),
        (&[], both("['unix:s', '[::1]:9']"), "0", "bind = [\"unix:s\", \"[::1]\"]", "port = \"0\""),
    ] {
        std::fs::write(&config, &in_file).unwrap();
        let print = |words: &str, variables: &[(&str, &str)]| {
            let mut command = modest(words.split_whitespace().chain(["--print-config", "--config"]));
            let (status, out, err) = run(command.current_dir(&files).arg(&config).envs(variables.iter().copied()));
            assert_eq!((status, &*err), (Some(0), ""), "{in_file} {words} {variables:?}");
            out
        };
        let out = print(words, variables);
        for line in [bind, port] {
            assert!(out.lines().any(|found| found.starts_with(&format!("{line}  # "))), "no line {line}\n{out}");
        }
        std::fs::write(&config, &out).unwrap();
        let is_about_ports = |line: &&str| line.starts_with("bind =") || line.starts_with("port =");
        let settings = |text: &str| -> Vec<String> {
            text.lines().filter(is_about_ports).map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(settings(&print("", &[])), settings(&out), "{in_file} {words} {variables:?}");
        let (status, _, err) = run(modest(["www", "--check", "--config"]).current_dir(&files).arg(&config));
        assert_eq!((status, &*err), (Some(0), ""), "{out}");
    }
}

/// Each switch is printed with the value that it has: the output is a file for `--config`, which must not turn
/// protections off.
#[test]
fn print_config_shows_switches_that_are_off() {
    let files = folder(&[("modest.toml", "")]);
    let config = files.path().join("modest.toml");
    let printed = |variable: Option<(&str, &str)>| {
        let mut command = modest(["--print-config", "--config"]);
        command.current_dir(&files).arg(&config).envs(variable);
        let (status, out, err) = run(&mut command);
        assert_eq!(status, Some(0), "{variable:?}: {err}");
        out
    };
    let all = printed(None);
    let switches: Vec<&str> = all.lines().filter_map(|line| line.strip_suffix(" = false  # default")).collect();
    assert!(switches.len() > 15, "{all}");
    for name in switches.iter().map(|line| line.trim_start_matches("# ")) {
        let variable = format!("MODEST_{}", name.to_uppercase().replace('-', "_"));
        for (value, of_variable) in [(true, "yes"), (false, "no")] {
            std::fs::write(&config, format!("{name} = {value}")).unwrap();
            let of_file = printed(None);
            assert!(of_file.contains(&format!("\n{name} = {value}  # '")), "{of_file}");
            std::fs::write(&config, format!("{name} = {}", !value)).unwrap();
            let out = printed(Some((&variable, of_variable)));
            assert!(out.contains(&format!("\n{name} = {value}  # environment\n")), "{out}");
        }
    }
}

/// A port 0 and an age of 1 second are not `no` and `yes`.
#[test]
#[cfg(feature = "tls")]
fn numbers_are_not_switches() {
    let files = folder(&[("modest.toml", "")]);
    let config = files.path().join("modest.toml");
    for (name, value) in [("redirect-to-https", "0"), ("redirect-to-https", "1"), ("hsts", "1")] {
        let on_the_line = run(&mut modest(["--tls-self-signed", "--print-config", &format!("--{name}={value}")]));
        let line = format!("\n{name} = \"{value}\"  # ");
        assert!(on_the_line.1.contains(&line), "{on_the_line:?}");
        std::fs::write(&config, format!("tls-self-signed = true\n{name} = {value}")).unwrap();
        let in_a_file = run(modest(["--print-config", "--config"]).arg(&config));
        assert!(in_a_file.1.contains(&line), "{in_a_file:?}");
        let variable = format!("MODEST_{}", name.to_uppercase().replace('-', "_"));
        let in_a_variable = run(modest(["--tls-self-signed", "--print-config"]).env(variable, value));
        assert!(in_a_variable.1.contains(&line), "{in_a_variable:?}");
    }
}

/// After SIGTERM the health check fails while clients are still served. Then each connection ends with a response, and
/// the server ends.
#[test]
fn the_health_check_announces_a_delayed_shutdown() {
    let files = folder(&[("a", "there")]);
    let words = ["-p", "0", "--health", "/up", "--shutdown-delay", "2s"];
    let modest = Built::start(modest(words).arg(files.path()));
    let mut kept = modest.connect();
    let mut ask = |path: &str| {
        kept.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        let answer = crate::built::read_answer(&mut kept);
        (answer.status, answer.field("connection").map(str::to_owned))
    };
    assert_eq!(ask("/up"), (200, None));
    let begun = std::time::Instant::now();
    modest.signal(Signal::TERM);
    wait_for(|| modest.get("/up").status == 503);
    assert_eq!(modest.get("/a").body, "there", "a new client is served");
    let mut responses = vec![];
    while responses.last().is_none_or(|(_, connection): &(u16, Option<String>)| connection.is_none()) {
        responses.push(ask("/a"));
    }
    let half = std::time::Duration::from_secs(1);
    assert!(begun.elapsed() >= half, "Connection: close came after {:?}", begun.elapsed());
    assert!(responses.iter().all(|(status, _)| *status == 200), "{:?}", responses.last());
    let (status, _, err) = modest.end();
    assert!(begun.elapsed() >= 2 * half, "it ended after {:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0), "{err:?}");
    let notices: Vec<_> = err.iter().filter(|line| line.contains("the shutdown begins in 2s")).collect();
    assert_eq!(notices.len(), 1, "{err:?}");
    assert!(notices[0].ends_with("in 2s; --health responds with 503 from now on"), "{err:?}");
    let without_check = Built::start(crate::built::modest(["-p", "0", "--shutdown-delay", "100ms"]).arg(files.path()));
    without_check.signal(Signal::TERM);
    let (_, _, err) = without_check.end();
    assert!(err.iter().any(|line| line.ends_with("the shutdown begins in 100ms")), "{err:?}");
}

/// If the path of a folder no longer leads to it, the health check fails, and a warning is logged once.
#[test]
fn a_folder_that_is_not_at_its_path_fails_the_health_check() {
    type Change = fn(&Path);
    let swap: Change = |at| {
        std::fs::rename(at.join("site"), at.join("old")).unwrap();
        std::fs::rename(at.join("new"), at.join("site")).unwrap();
    };
    let link: Change = |at| {
        std::os::unix::fs::symlink("new", at.join("next")).unwrap();
        std::fs::rename(at.join("next"), at.join("current")).unwrap();
    };
    let remove: Change = |at| std::fs::rename(at.join("site"), at.join("old")).unwrap();
    let swap_back: Change = |at| {
        std::fs::rename(at.join("site"), at.join("new")).unwrap();
        std::fs::rename(at.join("old"), at.join("site")).unwrap();
    };
    let link_back: Change = |at| {
        std::os::unix::fs::symlink("site", at.join("next")).unwrap();
        std::fs::rename(at.join("next"), at.join("current")).unwrap();
    };
    let put_back: Change = |at| std::fs::rename(at.join("old"), at.join("site")).unwrap();
    let no_landlock = landlock_is_missing();
    for (name, change, back, words, status) in [
        ("site", swap, swap_back, &["--confine"][..], 503),
        ("current", link, link_back, &["--confine"], 503),
        ("site", remove, put_back, &[], 503),
        ("site", swap, swap_back, &[], 200),
        ("current", link, link_back, &[], 200),
    ] {
        if no_landlock && !words.is_empty() {
            continue;
        }
        let files = folder(&[("site/a", "old"), ("new/a", "new")]);
        std::os::unix::fs::symlink("site", files.path().join("current")).unwrap();
        let path = files.path().join(name);
        let words = [&["-p", "0", "--health", "/up"], words].concat();
        let modest = Built::start(modest(&words).arg(&path));
        assert_eq!((modest.get("/up").status, &*modest.get("/a").body), (200, "old"), "{name}");
        change(files.path());
        let up = modest.get("/up");
        assert_eq!(up.status, status, "{name} {up:?}");
        assert_eq!(modest.get("/up").status, status, "{name}");
        assert_eq!(modest.get("/a").body, if status == 200 { "new" } else { "old" }, "{name}");
        if status == 503 {
            assert_eq!(up.body, "a folder is no longer at its path; the log names it\n", "{up:?}");
            back(files.path());
            assert_eq!(modest.get("/up").status, 200, "{name}");
        }
        let err = modest.stop().2;
        let warnings: Vec<_> = err.iter().filter(|line| line.contains("[WARN]")).collect();
        assert_eq!(warnings.len(), if status == 503 { 2 } else { 0 }, "{name}: {err:?}");
        assert!(warnings.iter().all(|line| line.contains(&*path.to_string_lossy())), "{err:?}");
        let why = if words.contains(&"--confine") { "another folder is at this path now" } else { "no such folder" };
        assert!(status == 200 || warnings.iter().any(|line| line.contains(why)), "{err:?}");
    }
}

/// Each reason why the folder is not at its path is logged once, even if only writes arrive.
#[test]
fn each_reason_for_a_missing_folder_is_logged() {
    for asked in ["GET", "PUT"] {
        let files = folder(&[("site/a", "old")]);
        let site = files.path().join("site");
        let modest = Built::start(modest(["-p", "0", "--upload"]).arg(&site));
        let ask = || _ = modest.ask(asked, "/b", &["Content-Length: 0"], "");
        std::fs::remove_dir_all(&site).unwrap();
        ask();
        ask();
        std::fs::write(&site, "").unwrap();
        ask();
        ask();
        std::fs::remove_file(&site).unwrap();
        std::fs::create_dir(&site).unwrap();
        ask();
        let err = modest.stop().2;
        let warnings: Vec<_> = err.iter().filter(|line| line.contains("[WARN]")).collect();
        let said = ["no such folder", "not a folder", "at its path again"];
        assert_eq!(warnings.len(), said.len(), "{asked}: {err:?}");
        assert!(warnings.iter().zip(said).all(|(line, said)| line.contains(said)), "{asked}: {warnings:?}");
    }
}

#[test]
fn folders_accept_uploads_only_where_enabled() {
    let files = folder(&[("in/there", "x"), ("other/there", "x"), ("file", "x")]);
    let put = |words: &[&str], target: &str| {
        let modest = Built::start(modest(["-p", "0"]).args(words).current_dir(&files));
        let answer = modest.ask("PUT", target, &[], "new");
        (modest, answer.status)
    };
    for (words, target, expected) in [
        (&["in"][..], "/new", 405),
        (&["in", "--upload"], "/new", 201),
        (&["in", "--upload"], "/there", 409),
        (&["in", "--upload=/"], "/new", 201),
        (&["in", "--upload", "--overwrite", "rename"], "/there", 201),
        (&["in", "--upload", "--overwrite=replace"], "/there", 204),
        (&["in", "--upload", "--upload-limit", "2"], "/new", 413),
        (&["in", "--upload", "--upload-limit", "none", "--fsync", "--resumable"], "/new", 201),
        (&["in", "--upload", "--upload-reserve", "1000000t"], "/new", 507),
        (&["in", "--upload", "--upload-reserve", "0"], "/new", 201),
        (&["in", "--upload", "--upload-quota", "2"], "/new", 413),
        (&["in", "--upload", "--upload-quota=4k/1h", "--uploads-at-once=9", "--uploads-each=1"], "/new", 201),
        (&["in", "--upload", "--upload-quota", "none", "--max-connections", "1"], "/new", 201),
        (&["in", "--upload", "--prefix", "/p"], "/p/new", 201),
        (&["in", "/o=other", "--upload"], "/o/new", 201),
        (&["in", "/o=other", "--upload=/o"], "/o/new", 201),
        (&["in", "/o=other", "--upload=/o/", "--prefix=/p"], "/p/o/new", 201),
        (&["in", "/o=other", "--upload=/o"], "/new", 405),
        (&["/i=in", "/o=other", "--upload=/o", "--upload=/i"], "/i/new", 201),
        (&["/i=in", "/f=file", "--upload"], "/f/", 405),
    ] {
        let (modest, status) = put(words, target);
        assert_eq!(status, expected, "{words:?} {target}");
        let deleted = modest.ask("DELETE", target, &[], "").status;
        assert_eq!(deleted, 405, "{words:?}: DELETE needs --allow-delete");
        for name in ["in/new", "other/new", "in/there (1)"] {
            let _ = std::fs::remove_file(files.path().join(name)); // in one of the two folders
        }
        std::fs::write(files.path().join("in/there"), "x").unwrap();
    }
    // A folder that is served twice is untrusted at both paths, and a lock at one path holds at the other one.
    let _ = std::fs::create_dir_all(files.path().join("in/sub"));
    std::os::unix::fs::symlink("in/sub", files.path().join("link")).unwrap();
    for (words, page, expected) in [
        (&["in", "/o=other", "--upload=/o"][..], "/p.html", false),
        (&["in", "/o=in/sub", "--upload=/o"], "/p.html", true),
        (&["in", "/o=link", "--upload=/"], "/o/p.html", true),
        (&["/i=in", "/o=link", "--upload=/i"], "/o/p.html", true),
        (&["/i=in", "/f=in/p.html", "--upload=/i"], "/f/p.html", true),
        (&["in", "/o=./in", "--upload=/o"], "/p.html", true),
        // A link can lead to the folder of uploads.
        (&["in", "/o=other", "--upload=/o", "--follow-symlinks", "anywhere"], "/p.html", true),
        (&["in", "/o=other", "--follow-symlinks", "anywhere"], "/p.html", false),
    ] {
        for path in ["in/p.html", "in/sub/p.html"] {
            std::fs::write(files.path().join(path), "<script>").unwrap();
        }
        let (modest, _) = put(words, "/no/such/folder");
        let got = modest.get(page);
        let policy = got.field("content-security-policy").unwrap_or_default();
        assert_eq!((got.status, policy.starts_with("sandbox")), (200, expected), "{words:?}");
    }
    std::fs::remove_file(files.path().join("in/p.html")).unwrap();
    std::fs::remove_dir_all(files.path().join("in/sub")).unwrap();
    let (modest, _) = put(&["in", "/o=other", "--upload", "--allow-delete"], "/new");
    assert_eq!(modest.ask("DELETE", "/new", &[], "").status, 204);
    assert_eq!([modest.out_line(), modest.out_line()].map(|line| line.unwrap().contains("folder")), [true; 2]);
    assert_eq!(modest.out_line().as_deref(), Some("  uploads are accepted at /"));
    assert_eq!(modest.out_line().as_deref(), Some("  uploads are accepted at /o/"));
    let (open, _) = put(&["in", "--upload", "-b", "0.0.0.0"], "/no/such");
    let said = std::iter::from_fn(|| open.out_line()).find(|line| line.contains("accepted"));
    assert_eq!(said.as_deref(), Some("  uploads are accepted at /; everyone who reaches this address can write there"));
    let (code, _, err) = run(crate::built::modest(["file", "--upload", "-p", "0"]).current_dir(&files));
    assert!(code == Some(2) && err.contains("no served folder can accept uploads"), "{code:?}: {err}");
    std::fs::create_dir(files.path().join("in/sub")).unwrap();
    let (code, _, err) = run(crate::built::modest(["in", "--upload=/sub", "-p", "0"]).current_dir(&files));
    let said = "--upload=/sub/: serve that folder at its own path, as in /sub=in/sub";
    assert!(code == Some(2) && err.contains(said), "{code:?}: {err}");
    put(&["in", "/sub=in/sub", "--upload=/sub"], "/sub/new");
}

/// A replaced file keeps its mode; a new file has the mode of the umask.
#[test]
fn a_replaced_file_keeps_its_mode() {
    let files = folder(&[]);
    let words = ["-p", "0", "--upload", "--overwrite", "replace"];
    let modest = Built::start(modest(words).current_dir(&files));
    let mode = |name: &str| std::fs::metadata(files.path().join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(modest.ask("PUT", "/new", &[], "x").status, 201);
    for (before, after) in [(0o640, 0o640), (0o600, 0o600), (0o664, 0o664), (0o755, 0o755), (0o4755, 0o755)] {
        let path = files.path().join("file");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(before)).unwrap();
        assert_eq!(modest.ask("PUT", "/file", &[], "new").status, 204, "{before:o}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(mode("file"), after, "{before:o}");
    }
    assert_eq!(mode("new") & 0o133, 0, "{:o}", mode("new"));
}

/// `--check` prints the errors and warnings of a start, and serves nothing. An address in use is not an error.
#[test]
fn settings_are_checked_without_serving() {
    let files = folder(&[("www/x", ""), ("users", "ada"), ("redirects", "/a /b 999\n"), ("toml", "port = 'x'")]);
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port().to_string();
    for (words, status, said) in [
        (&["www", "-p", "0"][..], 0, ""),
        (&["www", "-p", &port], 0, ""),
        (&["www", "-b", "systemd"], 0, ""),
        (&["www", "-b", "unix:socket", "--log-file", "log"], 0, ""),
        (&["www", "-b", "192.0.2.1:0"], 1, "192.0.2.1 is not an address of this machine"),
        (&["nowhere"], 1, "there is no folder or file 'nowhere'"),
        (&["www", "--allow", "/=ada:read"], 2, "--allow: rules for users need --auth"),
        (&["www", "--auth", "users"], 1, "--auth: "),
        (&["www", "--tls-cert", "users"], 1, "--tls-cert: "),
        (&["www", "--redirects", "redirects"], 2, "'redirects', "),
        (&["www", "--redirects", "none"], 1, "--redirects: 'none' can't be read: no such file"), // perhaps not mounted yet
        (&["www", "--body-folder", "none"], 1, "--body-folder none: there is no such folder"),
        (&["www", "--body-folder", "users"], 1, "--body-folder users: there is no such folder"),
        (&["www", "--config", "toml"], 2, "'toml'"),
        (&["www", "--log-file", "no/log"], 1, "--log-file: "),
        (&["www", "--user", "no-such-user"], 1, "--user no-such-user"),
    ] {
        if is_rejected_by_the_system(words) {
            continue;
        }
        let (found, out, err) = run(modest(words).arg("--check").current_dir(&files));
        let is_busy = words.contains(&&*port);
        let untried =
            if is_busy { format!("127.0.0.1:{port} is in use, so it was not bound.\n") } else { String::new() };
        let valid = format!("The settings are valid.\n{untried}");
        let lines = (found, if found == Some(0) { &out } else { &valid }, err.lines().count());
        assert_eq!(lines, (Some(status), &valid, status.min(1) as usize), "{words:?}: {out}{err}");
        assert!(err.contains(said), "{words:?}: {err}");
    }
    assert!(!files.path().join("socket").exists());
}

/// A reserve that is larger than the free space of the disk is a warning and not an error, because space may be freed.
#[test]
fn a_reserve_larger_than_the_disk_prints_a_warning() {
    let files = folder(&[("www/a.txt", "a")]);
    for (reserve, is_short) in [("1k", false), ("9000000g", true)] {
        let words = ["www", "-p", "0", "--upload", "--upload-reserve", reserve];
        let (code, _, err) = run(modest(words).arg("--check").current_dir(&files));
        let warned =
            err.contains("--upload-reserve: uploads to 'www' are rejected, because its disk has less free space");
        assert_eq!((code, warned), (Some(0), is_short), "{reserve}: {err}");
    }
}

/// The default reserve also needs space.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_smaller_than_the_default_reserve_prints_a_warning() {
    let files = folder(&[("www/a.txt", "a")]);
    let words = ["www", "-p", "0", "--upload", "--check"];
    let script = "mount -t tmpfs -o size=1m none www || exit 77; exec \"$0\" \"$@\"";
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_modest")]);
    let (code, _, err) = run(command.args(words).current_dir(&files));
    if !matches!(code, Some(0..=2)) {
        eprintln!("skipped: no mounts of its own: {err}");
        return;
    }
    let said =
        "--upload-reserve: uploads to 'www' are rejected, because its disk has less free space than this (64m by";
    assert!(code == Some(0) && err.contains(said), "{code:?}: {err}");
}

/// Long bodies of requests to a backend go to /var/tmp. In a container with a read-only root they can't.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_for_bodies_prints_a_warning() {
    let files = folder(&[("www/a.txt", "a")]);
    for (words, is_warned) in [
        ("www --proxy /api=http://127.0.0.1:1", true),
        ("www --proxy /api=http://127.0.0.1:1 --body-folder .", false),
        ("www", false),
    ] {
        let script = "mount -t tmpfs -o ro none /var/tmp || exit 77; exec \"$0\" \"$@\"";
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_modest")]);
        let (code, _, err) = run(command.args(words.split(' ')).args(["-p", "0", "--check"]).current_dir(&files));
        if !matches!(code, Some(0..=2)) {
            eprintln!("skipped: no mounts of its own: {err}");
            return;
        }
        let said = "long bodies of requests can't be stored in '/var/tmp': read-only file system; set --body-folder";
        assert_eq!((code, err.contains(said)), (Some(0), is_warned), "{words}: {err}");
    }
}

/// Settings with which the server does less than intended are warnings, also in a check.
#[test]
fn settings_without_an_effect_print_a_warning() {
    let files = folder(&[("www/a.txt", "a"), ("in/b", ""), ("password", "x\n"), ("users", ADA)]);
    crate::encrypted::certificate(files.path(), "a");
    for secret in ["a.both", "password", "users"] {
        std::fs::set_permissions(files.path().join(secret), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(files.path().join("rules"), "/old/* /new/*\n/old/a /b\n").unwrap();
    let useless = "--allow: the right to write has no effect without --upload";
    for (words, said) in [
        ("www --upload --allow /=*:read,write", ""),
        ("www --allow /x=*:all", ""),
        ("www --allow /x=*:read,list", ""),
        ("www --allow /x=*:read,write", useless),
        ("www --auth users --allow /=*:read --allow /x=ada:write", useless),
        ("www --allow /x=*:write --proxy /x=http://127.0.0.1:1", ""),
        (
            "www --tls-cert a.both --tls-password-file password",
            "--tls-password-file has no effect: no key is encrypted",
        ),
        ("www --tls-cert a.both", ""),
        ("www --redirects rules", "--redirects: /old/a is never used, because the earlier /old/* matches its paths"),
        ("www --redirects rules --prefix /p", "--redirects: /p/old/a is never used, because the earlier /p/old/*"),
    ] {
        let (code, out, err) = run(modest(words.split(' ')).args(["-p", "0", "--check"]).current_dir(&files));
        assert_eq!((code, err.lines().count()), (Some(0), usize::from(!said.is_empty())), "{words}: {out}{err}");
        assert!(said.is_empty() || err.starts_with("[WARN] [") && err.contains(said), "{words}: {err}");
    }
    std::fs::write(files.path().join("rules"), "/old/* /new/*\n").unwrap();
    let modest = Built::start(modest(["www", "-p", "0", "--redirects", "rules"]).current_dir(&files));
    std::fs::write(files.path().join("rules"), "/a* /b\n/a /c\n").unwrap();
    modest.signal(Signal::HUP);
    let (warning, line) = (modest.err_line().unwrap(), modest.err_line().unwrap());
    assert!(warning.contains("--redirects: /a is never used, because the earlier /a*"), "{warning}");
    assert!(line.contains("SIGHUP: reloaded: --redirects; "), "{line}");
}

/// A limit that the file descriptor limit makes useless is a warning that names both.
#[test]
fn more_clients_than_descriptors_print_a_warning() {
    let exceeds =
        |option: &str| format!("{option} 200 exceeds the limit of 100 file descriptors; allow more, for example");
    for (words, said) in [
        ("", None),
        ("--max-connections 100", None),
        ("--max-connections 200", Some(exceeds("--max-connections"))),
        ("--open-files 200", Some(exceeds("--open-files"))),
        ("--upload --uploads-at-once 200", Some(exceeds("--uploads-at-once"))),
    ] {
        let files = folder(&[("a.txt", "a")]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -n 100; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_modest"), "-p", "0", "--check"]);
        let (code, out, err) = run(shell.args(words.split_whitespace()).current_dir(&files));
        let found = err.lines().filter(|line| said.as_ref().is_some_and(|said| line.contains(said))).count();
        assert_eq!((code, err.lines().count()), (Some(0), found), "{words}: {out}{err}");
        assert_eq!(found, usize::from(said.is_some()), "{words}: {out}{err}");
    }
}

/// `--check` prints where a start would accept uploads, and from which clients.
#[test]
fn a_check_lists_the_folders_that_accept_uploads() {
    let files = folder(&[("www/a.txt", "a"), ("in/b", "")]);
    let (everyone, by_password) =
        ("; everyone who reaches this address can write there", ["--auth", "users", "--auth-over-http"]);
    let box_is_open = "; everyone who reaches this address can write at /in/a%20b/";
    std::fs::write(files.path().join("users"), ADA).unwrap();
    crate::encrypted::certificate(files.path(), "a");
    std::fs::set_permissions(files.path().join("a.both"), std::fs::Permissions::from_mode(0o600)).unwrap();
    for (bind, rights, open) in [
        ("127.0.0.1:0", &[][..], ""),
        ("0.0.0.0:0", &[], everyone),
        ("0.0.0.0:0", &["--allow", "/in=*:read"], ""),
        ("0.0.0.0:0", &["--allow", "/=*:read,list", "--allow", "/in=*:write"], everyone),
        ("0.0.0.0:0", &["--allow", "/=*:all", "--allow", "/in/new=*:none"], everyone),
        ("0.0.0.0:0", &by_password, ""),
        ("0.0.0.0:0", &[&by_password[..], &["--allow", "/=*:read", "--allow", "/in=ada:all"]].concat(), ""),
        ("0.0.0.0:0", &[&by_password[..], &["--allow", "/=@users:all", "--allow", "/in=*:write"]].concat(), everyone),
        ("0.0.0.0:0", &["--allow", "/=*:read", "--allow", "/in/a b=*:write"], box_is_open),
        ("0.0.0.0:0", &["--allow", "/=*:read", "--allow", "/inbox=*:write"], ""),
        ("0.0.0.0:0", &["--tls-cert", "a.both", "--tls-client-ca", "a.pem"], ""),
        ("0.0.0.0:0", &["--tls-cert", "a.both", "--tls-client-ca", "a.pem", "--tls-client-auth", "optional"], everyone),
    ] {
        let words = [&["www", "/in=in", "--upload=/in", "-b", bind][..], rights].concat();
        let (code, out, err) = run(modest(&words).arg("--check").current_dir(&files));
        let expected = format!("The settings are valid.\n  uploads are accepted at /in/{open}\n");
        assert_eq!((code, out, err), (Some(0), expected, String::new()), "{words:?}");
    }
}

#[test]
fn uploads_work_as_another_user() {
    let files = folder(&[("in/there", "x")]);
    let words = ["in", "-p", "0", "--user", "65534:65533", "--upload"];
    if !rustix::process::geteuid().is_root() || is_rejected_by_the_system(&words) {
        return;
    }
    let path = |name: &str| files.path().join(name);
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, _, err) = run(modest(words).current_dir(&files));
    assert!(code == Some(1) && err.contains("--upload: no permission to write to 'in'"), "{code:?}: {err}");
    let bodies = ["in", "-p", "0", "--user", "65534:65533", "--body-folder", "in"];
    let (code, _, err) = run(modest(bodies).current_dir(&files));
    assert!(code == Some(1) && err.contains("--body-folder: no permission to write to 'in'"), "{code:?}: {err}");
    std::fs::set_permissions(path("in"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let modest = Built::start(modest(words).current_dir(&files));
    assert_eq!(modest.ask("PUT", "/new", &[], "new").status, 201);
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path("in/new")).unwrap()), 65534);
}

/// Landlock allows writes only in folders that accept uploads.
#[test]
fn a_confined_program_accepts_uploads() {
    let files = folder(&[("in/sub/there", "x"), ("out/there", "x")]);
    let words = ["/i=in", "/o=out", "-p", "0", "--confine", "--upload=/i", "--overwrite=replace", "--allow-delete"];
    if landlock_is_missing() {
        return;
    }
    let modest = Built::start(modest(words).current_dir(&files));
    let ask = |method, target, body| modest.ask(method, target, &[], body).status;
    assert_eq!(ask("PUT", "/i/new", "new"), 201);
    assert_eq!(ask("PUT", "/i/sub/there", "new"), 204);
    assert_eq!(ask("MKCOL", "/i/made", ""), 201);
    assert_eq!(ask("PUT", "/i/made/new", "new"), 201);
    assert_eq!([ask("DELETE", "/i/made/new", ""), ask("DELETE", "/i/made", "")], [204, 204]);
    assert_eq!(ask("PUT", "/o/new", "new"), 405);
    std::os::unix::fs::symlink("there", files.path().join("in/sub/link")).unwrap();
    assert_eq!(modest.ask("MOVE", "/i/sub/link", &["Destination: /i/sub/link2"], "").status, 201);
    assert_eq!(modest.get("/i/sub/link2").body, "new");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let numbers: Vec<u32> = kernel.split(['.', '-']).map_while(|number| number.parse().ok()).collect();
    let moved = modest.ask("MOVE", "/i/new", &["Destination: /i/sub/moved"], "").status;
    assert_eq!(
        moved,
        if numbers >= vec![5, 19] { 201 } else { 409 },
        "between folders, by a rule that Landlock has since Linux 5.19"
    );
    assert_eq!(std::fs::read_to_string(files.path().join("in/sub/there")).unwrap(), "new");
}

/// Files that are reloaded may be links to another folder, and bodies have their own folder.
#[test]
fn a_confined_program_can_open_its_configured_files() {
    let files = folder(&[("www/a", "a"), ("elsewhere/file", "one"), ("bodies/x", ""), ("logs/x", "")]);
    if landlock_is_missing() {
        return;
    }
    let path = |name: &str| files.path().join(name);
    std::os::unix::fs::symlink("../elsewhere/file", path("www/link")).unwrap();
    std::os::unix::fs::symlink("../elsewhere/log", path("logs/log")).unwrap();
    std::fs::write(path("elsewhere/log"), "").unwrap();
    let words = ["www", "/one=www/link", "-p", "0", "--confine", "--webdav", "--log-file", "logs/log"];
    let words = [&words[..], &["--body-memory", "1k", "--body-folder", "bodies"]].concat();
    let modest = Built::start(modest(words).current_dir(&files));
    assert_eq!(modest.ask("PROPFIND", "/", &["Depth: 1"], &format!("<y>{}</y>", "<x/>".repeat(900))).status, 207);
    std::fs::write(path("elsewhere/file.new"), "two").unwrap();
    std::fs::rename(path("elsewhere/file.new"), path("elsewhere/file")).unwrap();
    assert_eq!(modest.get("/one/link").body, "two");
    std::fs::rename(path("elsewhere/log"), path("elsewhere/log.1")).unwrap();
    modest.signal(Signal::HUP);
    crate::built::wait_for(|| path("elsewhere/log").exists());
    assert_eq!(modest.get("/elsewhere").status, 404);
    assert_eq!(modest.stop().0.code(), Some(0));
}

#[test]
fn log_lines_in_each_format() {
    for (format, begins, has) in [
        ("python", "127.0.0.1 - - [", "\"GET /?q HTTP/1.1\" 200 -"),
        ("common", "127.0.0.1 - - [", " +0000] \"GET /?q HTTP/1.1\" 200 "),
        ("combined", "127.0.0.1 - - [", "\"-\" \"tea\""),
        ("json", "{\"time\":\"", "\"user_agent\":\"tea\""),
    ] {
        let modest = www(&["--log-format", format]);
        modest.ask("GET", "/?q", &["User-Agent: tea"], "");
        let line = modest.err_line().unwrap();
        assert!(line.starts_with(begins) && line.contains(has), "{format}: {line}");
    }
    let modest = www(&["--health", "/up"]);
    modest.get("/up");
    modest.get("/");
    let (_, out, err) = modest.stop();
    assert!(err.len() == 1 && out.last().unwrap().starts_with("1 request, "), "{out:?} {err:?}");
}

fn is_json(line: &str) -> bool {
    let object = line.starts_with("{\"time\":\"2") && line.ends_with('}');
    let python = ["-c", "import json,sys; json.loads(sys.argv[1])", line];
    object && std::process::Command::new("python3").args(python).status().unwrap().success()
}

/// With `--log-format json` each line on stderr and stdout is an object: the banner, warnings, debug lines, errors, the
/// summary.
#[test]
fn every_line_of_the_log_is_json() {
    let words = ["www", "-p", "0", "-v", "--log-format", "json", "--protocol", "HTTP/1.0"];
    let modest = Built::start(modest(words).env("TZ", "No/Where"));
    modest.get("/");
    let banner = modest.banner.clone();
    let (_, out, err) = modest.stop();
    for line in out.iter().chain(&err).chain([&banner]) {
        assert!(is_json(line), "{line}");
    }
    let has = |what: &str| err.iter().chain(&out).any(|line| line.contains(what));
    for what in ["\"level\":\"WARN\"", "\"level\":\"DEBUG\"", "\"status\":200", "\"message\":\"1 request, "] {
        assert!(has(what), "{what}: {out:?} {err:?}");
    }
}

/// The error of an invalid setting is in the format of the log, from each source of that setting.
#[test]
fn an_error_of_arguments_is_in_the_format_of_the_log() {
    let files = folder(&[
        ("json.toml", "log-format = \"json\"\nno-such = 1\n"),
        ("text.toml", "log-format = \"python\"\n"),
        ("cut.toml", "log-format = \"json\" # for a collector\nport = [\n"),
    ]);
    let json = ["--log-format", "json"].as_slice();
    for (words, variables, expected, said) in [
        (&["no\"such", json[0], json[1]][..], &[][..], Some(1), "no\\\"such"),
        (&["--log-format=json", "-p", "x"], &[], Some(2), "--port x"),
        (&["-p", "x", "--log-format", "python", json[0], json[1]], &[], Some(2), "--port x"),
        (json, &[("MODEST_NO_SUCH", "1")], Some(2), "MODEST_NO_SUCH"),
        (&["--no-such"], &[("MODEST_LOG_FORMAT", "json")], Some(2), "--no-such"),
        (&["--config", "json.toml"], &[], Some(2), "no-such"),
        (&["--config", "cut.toml"], &[], Some(2), "cut.toml', line 2"),
        (&["-p", "x"], &[("MODEST_CONFIG", "json.toml")], Some(2), "--port x"),
        (&["-p", "x", "--config=text.toml"], &[("MODEST_LOG_FORMAT", "json")], Some(2), "--port x"),
        (&["--config", "missing.toml"], &[("MODEST_LOG_FORMAT", "json")], Some(2), "missing.toml"),
    ] {
        let mut command = modest(words);
        let (status, _, err) = run(command.current_dir(&files).envs(variables.iter().copied()));
        assert!(status == expected && err.contains(said) && err.lines().count() == 1, "{words:?} {variables:?}: {err}");
        assert!(is_json(err.trim_end()), "{words:?} {variables:?}: {err}");
    }
    for words in [
        ["-p", "x"].as_slice(),
        &["--no-such", "--config", "text.toml"],
        &["-p", "x", json[0], json[1], "--log-format", "common"],
    ] {
        let (_, _, err) = run(modest(words).current_dir(&files));
        assert!(err.starts_with("modest: "), "{words:?}: {err}");
    }
}

/// SIGHUP does not end the server: it reloads the users, and logs one line about that.
#[test]
fn sighup_reads_files_again() {
    let files = folder(&[("users", ""), ("www/x", "")]);
    let users = files.path().join("users");
    let line = |name: &str| modest::layers::UserFile::line(name, "a long secret").unwrap() + "\n";
    std::fs::write(&users, line("ada")).unwrap();
    let words = ["www", "-p", "0", "--auth", "users"];
    let modest = Built::start(modest(words).current_dir(&files));
    for (content, level, said) in [
        (line("ada") + &line("bob"), "INFO", "SIGHUP: reloaded: --auth (2 users); all other settings"),
        ("ada".into(), "ERROR", "SIGHUP: reloaded: --auth failed, the previous content stays in use: "),
        (line("ada"), "INFO", "SIGHUP: reloaded: --auth (1 user); all other settings"),
    ] {
        std::fs::write(&users, content).unwrap();
        modest.signal(Signal::HUP);
        let line = modest.err_line().unwrap();
        assert!(line.starts_with(&format!("[{level}] [")) && line.contains(said), "{said}: {line}");
    }
    assert_eq!(modest.get("/").status, 401);
    assert_eq!(modest.stop().0.code(), Some(0));
    redirects_are_read_again();
    let modest = www(&["--log-format", "json"]);
    modest.signal(Signal::HUP);
    let line = modest.err_line().unwrap();
    assert!(line.contains("\"message\":\"SIGHUP: reloaded: nothing; all other settings"), "{line}");
}

/// SIGUSR1 reloads as SIGHUP does, and SIGUSR2 does not end the program.
#[test]
fn sigusr1_reads_files_again_and_sigusr2_has_no_effect() {
    let modest = www(&[]);
    modest.signal(Signal::USR2);
    assert!(modest.err_line().unwrap().ends_with("SIGUSR2 has no effect; SIGHUP and SIGUSR1 reload files"));
    modest.signal(Signal::USR1);
    assert!(modest.err_line().unwrap().contains("SIGUSR1: reloaded: nothing; "));
    assert_eq!((modest.get("/").status, modest.stop().0.code()), (200, Some(0)));
}

/// A log file that can't be opened again is a failure, and `--check` leaves none behind.
#[test]
fn a_log_that_cannot_be_opened_again_is_a_failed_reload() {
    let files = folder(&[("logs/keep", ""), ("www/x", "")]);
    let log = files.path().join("logs/r.log");
    let words = ["www", "-p", "0", "--log-file", "logs/r.log", "--metrics"];
    let (code, out, err) = run(modest(words).arg("--check").current_dir(&files));
    assert_eq!((code, err.as_str(), log.exists()), (Some(0), "", false), "{out}");
    let modest = Built::start(modest(words).current_dir(&files));
    let renamed = files.path().join("logs/old.log");
    std::fs::rename(&log, &renamed).unwrap();
    std::fs::create_dir(&log).unwrap();
    modest.signal(Signal::HUP);
    let said =
        "SIGHUP: reloaded: --log-file failed, the previous file stays in use: is a directory; all other settings";
    wait_for(|| std::fs::read_to_string(&renamed).unwrap().contains(said));
    let metrics = modest.get("/metrics").body;
    assert!(metrics.contains("modest_reloads_total{outcome=\"failed\"} 1\n"), "{metrics}");
    std::fs::remove_dir(&log).unwrap();
    modest.signal(Signal::HUP);
    wait_for(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("reloaded: --log-file;")));
    for method in ["POST", "PUT", "DELETE"] {
        let answer = modest.ask(method, "/metrics", &["Content-Length: 0"], "");
        assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD, OPTIONS")), "{method}");
    }
}

/// A value of `--cache-control` without a pattern applies to the other files, in any order, as with `--header`.
#[test]
fn values_without_a_pattern_apply_to_the_other_files() {
    let files = folder(&[("www/a.css", "a"), ("www/b", "b")]);
    let (pattern, general) = (["--cache-control", "*.css=no-store"], ["--cache-control", "max-age=60"]);
    for words in [[pattern, general].concat(), [general, pattern].concat()] {
        let modest = Built::start(modest(["www", "-p", "0"]).args(words).current_dir(&files));
        for (path, value) in [("/a.css", "no-store"), ("/b", "max-age=60")] {
            assert_eq!(modest.get(path).field("cache-control"), Some(value), "{path}");
        }
    }
}

/// A confined program reads the redirects again. It reports a changed file of settings, which it can't read.
fn redirects_are_read_again() {
    let files = folder(&[("own/rules", "/old /one"), ("modest.toml", "redirects = \"own/rules\"\n"), ("www/x", "")]);
    let confined: &[&str] = if landlock_is_missing() { &[] } else { &["--confine"] };
    let words = [&["www", "-p", "0", "--prefix", "/p", "--config", "modest.toml"][..], confined].concat();
    let modest = Built::start(modest(words).current_dir(&files));
    let location = || modest.get("/p/old").field("location").map(str::to_owned);
    let config = files.path().join("modest.toml");
    let config = config.canonicalize().unwrap();
    let end = "all other settings need a restart";
    let changed = format!("{end} ('{}' has changed since the start)", config.display());
    let unread = "--redirects failed, the previous content stays in use: 'own/rules'";
    for (rules, has_new_settings, to, said) in [
        (Some("/old /two"), false, "/p/two", format!("SIGHUP: reloaded: --redirects; {end}")),
        (Some("/old"), false, "/p/two", format!("SIGHUP: reloaded: {unread}, line 1: /old: expected FROM TO")),
        (Some("a pipe"), false, "/p/two", format!("SIGHUP: reloaded: {unread} is a pipe, which can't be read again")),
        (None, false, "/p/two", format!("SIGHUP: reloaded: {unread} can't be read: no such file or directory; {end}")),
        (Some("/old /three"), true, "/p/three", format!("SIGHUP: reloaded: --redirects; {changed}")),
    ] {
        let path = files.path().join("own/rules");
        match rules {
            Some("a pipe") => {
                std::fs::remove_file(&path).unwrap();
                assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            }
            Some(rules) => std::fs::write(path, rules).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        if has_new_settings {
            std::fs::write(files.path().join("new.toml"), "port = 1\n").unwrap();
            std::fs::rename(files.path().join("new.toml"), &config).unwrap();
        }
        modest.signal(Signal::HUP);
        let line = modest.err_line().unwrap();
        assert!(line.contains(&said) && (has_new_settings || !line.contains("changed")), "{said}: {line}");
        assert_eq!(location().as_deref(), Some(to), "{line}");
        assert!(modest.err_line().unwrap().contains("/p/old"));
    }
}

#[test]
fn sighup_reopens_the_log_file() {
    let files = folder(&[]);
    let (log, old) = (files.path().join("log"), files.path().join("log.1"));
    let modest = www(&["--log-file", log.to_str().unwrap()]);
    modest.get("/one");
    wait_for(|| std::fs::read_to_string(&log).unwrap().contains("/one"));
    std::fs::rename(&log, &old).unwrap();
    modest.signal(Signal::HUP);
    wait_for(|| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("SIGHUP: reloaded"))); // it is in use
    modest.get("/two");
    let (status, _, err) = modest.stop();
    assert_eq!((status.code(), err), (Some(0), vec![]));
    let read = |path| std::fs::read_to_string(path).unwrap();
    assert!(read(&old).contains("/one") && !read(&old).contains("/two"), "{}", read(&old));
    assert!(read(&log).contains("/two") && !read(&log).contains("/one"), "{}", read(&log));
}

/// A file that a link into a served folder has replaced is not used at a reload either.
#[test]
fn a_reload_uses_no_file_that_is_served() {
    let files = folder(&[("site/a.txt", "a"), ("site/rules", "/x /served\n"), ("rules", "/x /own\n")]);
    let [log, old, served] = ["log", "old", "site/stolen"].map(|name| files.path().join(name));
    let words = ["site", "-p", "0", "--log-file", "log", "--redirects", "rules"];
    let modest = Built::start(modest(words).current_dir(&files));
    std::fs::rename(&log, &old).unwrap();
    std::os::unix::fs::symlink("site/stolen", &log).unwrap();
    std::fs::remove_file(files.path().join("rules")).unwrap();
    std::os::unix::fs::symlink("site/rules", files.path().join("rules")).unwrap();
    modest.signal(Signal::HUP);
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    wait_for(|| text(&old).contains("SIGHUP"));
    let why =
        |kept: &str, file: &str| format!("failed, the previous {kept} stays in use: '{file}' is in 'site', which");
    for said in [why("content", "rules"), why("file", "log")] {
        assert!(text(&old).contains(&said), "{said}: {}", text(&old));
    }
    assert_eq!(modest.get("/x").field("location"), Some("/own"));
    assert!(!served.exists());
    std::fs::remove_file(&log).unwrap();
    modest.signal(Signal::HUP);
    wait_for(|| text(&log).contains("reloaded: --log-file; --redirects failed"));
}

/// A user who can't search a folder above the working directory can open files by their names, but can't find out what
/// is served: such files are rejected. Folders with files of clients are found.
#[test]
fn own_files_are_rejected_if_their_folders_are_unknown() {
    let files = folder(&[("srv/own/rules", "/x /y\n"), ("srv/rules", "/x /y\n"), ("srv/in/sub/a", "")]);
    let program = folder(&[("modest", "")]);
    let (mode, closed) = (std::fs::Permissions::from_mode, files.path());
    std::fs::set_permissions(closed.join("srv/in"), mode(0o777)).unwrap();
    let mut copy = modest([""; 0]).get_program().to_owned();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        // As in `an_unreadable_folder_is_reported`.
        let to = program.path().join("modest");
        let (copied, _, err) = run(std::process::Command::new("cp").arg("-p").arg(copy).arg(&to));
        assert_eq!(copied, Some(0), "{err}");
        std::fs::set_permissions(program.path(), mode(0o755)).unwrap();
        std::os::unix::fs::chown(closed, Some(65534), None).unwrap();
        copy = to.into();
    }
    let unknown = "may be in a folder that is served: a folder above the working directory can't be searched";
    for (words, status, said) in [
        (&["in"][..], 0, ""),
        (&["in", "--redirects", "own/rules"], 2, unknown),
        (&[".", "--redirects", "rules"], 2, unknown),
        (&[program.path().to_str().unwrap(), "--redirects", "own/rules"], 0, ""), // it is elsewhere
        (&["/a=.", "/b=in", "--upload=/b"], 0, "clients can put files into '.' through another folder"),
        (&["/a=in/sub", "/b=in", "--upload=/b"], 0, "clients can put files into 'in/sub' through another folder"),
    ] {
        std::fs::set_permissions(closed, mode(0o755)).unwrap();
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "chmod 0 .. && exec \"$0\" \"$@\""]).arg(&copy).args(["-p", "0", "--check"]).args(words);
        if is_root {
            command.uid(65534);
        }
        let (code, out, err) = run(command.current_dir(closed.join("srv")));
        std::fs::set_permissions(closed, mode(0o700)).unwrap(); // so that it can be removed
        assert!(
            code == Some(status) && err.contains(said) && said.is_empty() == err.is_empty(),
            "{words:?}: {out}{err}"
        );
    }
}

/// The path of such a folder can also be too long.
#[test]
fn own_files_are_rejected_if_their_path_is_too_long() {
    let files = folder(&[("a", "")]);
    let mut command = std::process::Command::new("sh");
    let deep = "for level in $(seq 20); do mkdir $1; cd -P $1; done; shift; echo '/x /y' > rules; exec \"$0\" \"$@\"";
    command.args(["-c", deep]).arg(modest([""; 0]).get_program()).arg("x".repeat(250));
    let (code, out, err) =
        run(command.args([".", "--redirects", "rules", "-p", "0", "--check"]).current_dir(files.path()));
    assert!(code == Some(2) && err.contains("'rules' may be in a folder that is served"), "{out}{err}");
}

/// Such files are also rejected at a reload, for the user named by `--user`.
#[test]
fn a_reload_rejects_files_whose_folders_are_unknown() {
    if !rustix::process::geteuid().is_root() || is_rejected_by_the_system(&["--user"]) {
        return;
    }
    let files = folder(&[("srv/own/rules", "/x /own\n"), ("srv/site/rules", "/x /served\n")]);
    std::fs::set_permissions(files.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let words = ["site", "-p", "0", "--redirects", "own/rules", "--user", "65534:65533"];
    let modest = Built::start(modest(words).current_dir(files.path().join("srv")));
    std::fs::remove_file(files.path().join("srv/own/rules")).unwrap();
    std::os::unix::fs::symlink("../site/rules", files.path().join("srv/own/rules")).unwrap();
    modest.signal(Signal::USR1);
    let line = modest.err_line().unwrap();
    assert!(line.contains("--redirects failed, the previous content stays in use: 'own/rules' may be in"), "{line}");
    assert_eq!(modest.get("/x").field("location"), Some("/own"));
}

/// Stdout as the log file, of any kind: no line overwrites another one, and nothing is opened again.
#[test]
fn stdout_can_be_the_log_file() {
    let files = folder(&[("site/a.txt", "a")]);
    let words = ["site", "-b", "unix:socket", "--log-file", "/dev/stdout"];
    let (socket, path) = (files.path().join("socket"), files.path().join("out"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    for is_file in [true, false] {
        let mut command = modest(words);
        match is_file {
            true => command.stdout(File::create(&path).unwrap()),
            false => command.stdout(std::os::fd::OwnedFd::from(theirs.try_clone().unwrap())),
        };
        let mut child = command.current_dir(&files).stderr(std::process::Stdio::null()).spawn().unwrap();
        wait_for(|| std::os::unix::net::UnixStream::connect(&socket).is_ok());
        let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"GET /a.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        std::io::copy(&mut client, &mut std::io::sink()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let text = match is_file {
            true => std::fs::read_to_string(&path).unwrap(),
            false => std::io::BufRead::lines(std::io::BufReader::new(&ours))
                .take(4)
                .map(|line| line.unwrap() + "\n")
                .collect(),
        };
        let lines: Vec<&str> = text.lines().collect();
        let has = |start: &str| lines.iter().any(|line| line.starts_with(start));
        assert!(lines.len() == 4 && ["Serving HTTP on ", "  folder ", "1 request, "].into_iter().all(has), "{text}");
        assert!(lines.iter().any(|line| line.ends_with("\"GET /a.txt HTTP/1.1\" 200 -")), "{text}");
    }
}

#[test]
fn a_full_disk_under_the_log_file_is_reported_on_stderr() {
    let modest = www(&["--log-file", "/dev/full"]);
    assert_eq!(modest.get("/").status, 200);
    let line = modest.err_line().unwrap();
    assert!(line.contains("the log \"/dev/full\" can't be written") && line.contains("No space left"), "{line}");
    assert_eq!(modest.stop().0.code(), Some(0));
}

#[test]
fn verbose_logs_why_a_name_is_not_served() {
    let outside = folder(&[("file.txt", "outside")]);
    let files = folder(&[(".hidden", "hidden"), ("a", "a")]);
    std::fs::write(files.path().join("a.gz"), b"\x1f\x8b").unwrap();
    std::os::unix::fs::symlink(outside.path(), files.path().join("out")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("file.txt"), files.path().join("link.txt")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(files.path().join("socket")).unwrap();
    let modest = Built::start(modest(["-p", "0", "-v"]).current_dir(&files));
    for (target, why) in [
        ("/a/", "/a.gz is not sent for its file: it is incomplete, has several members or belongs to another file"),
        ("/.hidden", "/.hidden is not served: hidden: a name in it begins with a dot"),
        ("/link.txt", "/link.txt is not served: a broken link, or one that leads where links are not followed"),
        ("/out/file.txt", "/out/file.txt is not served: a link on its path leads where links are not followed"),
        ("/socket", "/socket is not served: neither a file nor a folder"),
    ] {
        _ = modest.get("/a");
        assert_eq!(modest.get(target).status, 404, "{target}");
        let said = std::iter::from_fn(|| modest.err_line())
            .take_while(|line| !line.contains("HTTP/1.1\" 404"))
            .collect::<Vec<_>>();
        assert!(said.iter().any(|line| line.ends_with(why)), "{target}: {said:?}");
    }
}

/// `modest --markdown > docs/cli.md` writes the page.
#[test]
fn cli_md_is_generated_by_the_program() {
    let (code, page, err) = run(&mut modest(["--markdown"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let document = std::fs::read_to_string(root().join("docs/cli.md")).unwrap();
    assert!(document == page, "docs/cli.md is not what `modest --markdown` writes");
}

#[test]
fn a_startup_failure_is_reported_in_one_line() {
    let files = folder(&[("file.txt", "")]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    for (words, status, said) in [
        (
            vec!["www".into(), "-p".into(), port.clone()],
            1,
            format!("port {port} of 127.0.0.1 is already in use; choose another"),
        ),
        (vec![path("missing")], 1, format!("there is no folder or file '{}'", path("missing"))),
        (vec!["/dev/null".into()], 1, "'/dev/null' is neither a folder nor a regular file".into()),
        (
            vec!["www".into(), "-p".into(), "0".into(), "--log-file".into(), path("no/log")],
            1,
            "can't be written: no such file or directory".into(),
        ),
        (vec!["www".into(), "-b".into(), "192.0.2.1".into()], 1, "192.0.2.1 is not an address of this machine".into()),
        (
            vec!["www".into(), "-b".into(), "::1:8000".into()],
            1,
            "write an IPv6 address with a port as [::1]:8000".into(),
        ),
        (vec!["".into()], 2, "the folder's name is empty".into()),
        (vec!["--prot".into(), "1".into()], 2, "there is no option --prot; did you mean --port?".into()),
        (vec!["-p".into()], 2, "needs a value".into()),
        (
            vec!["www".into(), "-b".into(), format!("unix:{}", path("x.sock")), "--reuse-port".into()],
            2,
            "--reuse-port has no effect without an IP address to listen on".into(),
        ),
        (
            vec!["www".into(), "--proxy-untrusted".into()],
            2,
            "--proxy-untrusted has no effect without --proxy-protocol".into(),
        ),
        (vec!["-p".into(), "65536".into()], 2, "a port is a number from 0 to 65535".into()),
        (vec!["-b".into(), "127.0.0.1:65536".into()], 2, "a port is a number from 0 to 65535".into()),
        (vec!["90435".into()], 2, "is neither a folder nor a port".into()),
        (vec!["www".into(), "tests".into()], 2, "can't both be at '/'".into()),
        // The word after an option.
        (vec!["www".into(), "--spa".into(), "Cargo.toml".into()], 2, "write --spa=Cargo.toml".into()),
        (vec!["www".into(), "--spa".into(), "a.txt".into()], 2, "write --spa=a.txt".into()),
        (vec!["--hsts".into(), "1d".into(), "www".into()], 2, "to give it to --hsts, write --hsts=1d".into()),
        (vec!["www".into(), "--no-listing".into(), "yes".into()], 2, "--no-listing takes no value".into()),
        (vec!["www".into(), "--auth-over-http".into(), "yes".into()], 2, "--auth-over-http takes no value".into()),
        (vec!["www".into(), "-vq".into(), "yes".into()], 2, "-vq takes no value".into()),
        (vec!["www".into(), "nope".into()], 1, "there is no folder or file 'nope'".into()),
        (vec!["nope".into(), "www".into()], 1, "there is no folder or file 'nope'".into()),
        (vec!["help".into(), "nothing".into()], 2, "no option is about 'nothing'".into()),
        // A path without its slash.
        (
            vec!["docs=www".into()],
            1,
            "there is no folder or file 'docs=www'; to serve a folder at a path, write '/docs=www'".into(),
        ),
        (vec!["www".into(), "docs=www".into()], 1, "write '/docs=www'".into()),
        (vec!["docs=nope".into()], 1, "there is no folder or file 'docs=nope'; name one".into()),
        (vec!["/a?b=www".into()], 2, "expected a path without '?'".into()),
        (vec!["/a{b}=www".into()], 2, "expected a path without '{'".into()),
        // Header fields of two words.
        (vec!["-H".into(), "--auth".into(), "users".into()], 2, "--header needs a value".into()),
        (vec!["-H".into(), "-p".into(), "0".into()], 2, "--header needs a value".into()),
        (
            vec!["-H".into(), "X-A".into(), "www".into()],
            2,
            "--header X-A: the value is missing ('www' is a file".into(),
        ),
        // One port, by the option that set it.
        (
            vec!["www".into(), "-b".into(), format!("127.0.0.1:{port}")],
            1,
            format!(
                "--bind: port {port} of 127.0.0.1 is already in use; choose another, or any free port with -b 127.0.0.1:0"
            ),
        ),
        (
            vec!["www".into(), "-p".into(), "0".into(), "--metrics-bind".into(), format!("127.0.0.1:{port}")],
            1,
            "any free port with --metrics-bind=127.0.0.1:0".into(),
        ),
        (
            vec![
                "www".into(),
                "-p".into(),
                "0".into(),
                "--tls-self-signed".into(),
                format!("--redirect-to-https={port}"),
            ],
            1,
            "any free port with --redirect-to-https=127.0.0.1:0".into(),
        ),
        (vec![port.clone(), "www".into()], 1, "any free port with -p 0".into()),
        (vec!["-w".into(), "0".into()], 2, "a number from 1".into()),
        (vec!["-b".into(), "1:2:3".into()], 2, "[::1]:8000".into()),
        (vec![path("a\nb\x1b[31m")], 1, "a\\nb\\u{1b}[31m".into()),
    ] {
        let (code, out, err) = run(&mut modest(&words));
        assert_eq!((code, out.as_str()), (Some(status), ""), "{words:?}: {err}");
        assert!(err.starts_with("modest: ") && err.contains(&said), "{words:?}: {err}");
        assert_eq!((err.lines().count(), err.ends_with('\n')), (1, true), "{words:?}: {err}");
    }
}

#[test]
fn an_unreadable_folder_is_reported() {
    let files = folder(&[("closed/file.txt", ""), ("modest", "")]);
    let closed = files.path().join("closed");
    std::fs::set_permissions(files.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = modest([&closed]);
    if rustix::process::geteuid().is_root() {
        // Root may read everything, so the test runs as nobody, with a copy of the program that nobody may execute.
        let copy = files.path().join("modest");
        // A separate process copies the program. If this process opened the copy for writing, a child process of
        // another test could inherit the descriptor, and a file that is open for writing can't be executed (ETXTBSY).
        let (copied, _, err) = run(std::process::Command::new("cp").arg("-p").arg(command.get_program()).arg(&copy));
        assert_eq!(copied, Some(0), "{err}");
        command = std::process::Command::new(copy);
        command.arg(&closed).current_dir("/").uid(65534);
    }
    let (code, out, err) = run(&mut command);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap(); // so that it can be removed
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("; allow it") && err.lines().count() == 1, "{err}");
}

#[test]
fn help_and_version_are_printed_on_stdout() {
    let (code, help, err) = run(&mut modest(["--help"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for word in ["--bind", "--port", "--idle-timeout", "--quiet", "--verbose", "--help", "--version", "[DIR]"] {
        assert!(help.contains(word), "{word} is missing in: {help}");
    }
    assert!(help.lines().all(|line| line.len() <= 80), "a line of the help is longer than 80 columns: {help}");
    let (code, brief, err) = run(&mut modest(["-h"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(brief.contains("--bind") && !brief.contains("--idle-timeout"), "{brief}");
    assert!(
        brief.lines().count() <= 40 && brief.lines().all(|line| line.len() <= 80),
        "the short help does not fit on a screen: {brief}"
    );
    for (words, part) in [
        (&["--man"][..], ".TH modest"),
        (&["--man"], "\n.SH \"EXIT STATUS\"\n"),
        (&["--man"], "\n.ad l\n"),
        (&["--completions", "bash"], "complete -F _modest"),
        (&["--completions", "zsh"], "#compdef modest"),
        (&["--completions", "fish"], "complete -c modest"),
    ] {
        let (code, text, err) = run(&mut modest(words));
        assert!(code == Some(0) && err.is_empty() && text.contains(part), "{words:?}: {err} {text}");
    }
    // Only options with files as values complete file names.
    let (_, bash, _) = run(&mut modest(["--completions", "bash"]));
    for (option, offers) in [
        ("--port", "COMPREPLY=(\"${cur}\")"),
        ("--upload-limit", "COMPREPLY=(\"${cur}\")"),
        ("--overwrite", "compgen -W \"refuse rename replace\""),
        ("--keep-alive", "compgen -W \"yes no\""),
        ("--auth", "compgen -f"),
        ("--body-folder", "plusdirs"),
    ] {
        let offered = bash.split(&format!(" {option})\n")).nth(1).and_then(|rest| rest.split(";;").next());
        assert!(offered.is_some_and(|offered| offered.contains(offers)), "{option}: {offered:?}");
    }
    let (code, version, err) = run(&mut modest(["--version"]));
    assert_eq!((code, version, err), (Some(0), format!("modest {}\n", env!("CARGO_PKG_VERSION")), String::new()));
}

#[test]
fn access_lines_match_pythons_format() {
    let modest = www(&[]);
    modest.get("/?a=%20b");
    assert_access_line(&modest.err_line().unwrap(), r#""GET /?a=%20b HTTP/1.1" 200 -"#);
    modest.ask("HEAD", "/no-such-page", &[], "");
    assert_access_line(&modest.err_line().unwrap(), r#""HEAD /no-such-page HTTP/1.1" 404 -"#);
    modest.talk("GET /\x1b[31m\"\\ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_access_line(&modest.err_line().unwrap(), r#""GET /\x1b[31m\x22\x5c HTTP/1.1" 400 -"#);
    let (status, out, rest) = modest.stop();
    assert_eq!((status.code(), rest), (Some(0), vec![]));
    let summary = out.last().unwrap();
    assert!(summary.starts_with("3 requests, 2 errors, ") && summary.ends_with(" s"), "{out:?}");
}

/// Checks a line that begins like `127.0.0.1 - - [16/Jun/2022 06:34:59] ` and has this end.
fn assert_access_line(line: &str, end: &str) {
    let (time, found) = line
        .strip_prefix("127.0.0.1 - - [")
        .and_then(|rest| rest.split_once("] "))
        .unwrap_or_else(|| panic!("no access line: {line:?}"));
    assert_eq!(found, end, "{line:?}");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    let month = shape.get(3..6).unwrap_or_default().to_owned();
    assert_eq!(shape.replacen(&month, "Mon", 1), "99/Mon/9999 99:99:99", "{line:?}");
    assert!("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(' ').any(|name| name == month), "{line:?}");
}

#[test]
fn the_log_uses_local_time() {
    let hour = |zone: &str| -> i32 {
        // `Built` sets TZ=UTC, so env(1) sets the zone.
        let mut command = std::process::Command::new("env");
        command.arg(format!("TZ={zone}")).arg(env!("CARGO_BIN_EXE_modest")).args(["www", "-p", "0"]);
        let modest = Built::start(command.current_dir(root()));
        modest.get("/");
        let line = modest.err_line().unwrap();
        line.split([' ', ':']).nth(4).and_then(|hour| hour.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    };
    let ahead = (hour("XYZ-5") - hour("UTC0")).rem_euclid(24);
    assert!(ahead == 5 || ahead == 4, "five hours ahead of UTC, or four if a new hour has begun: {ahead}");
}

#[test]
fn quiet_is_silent() {
    let modest = www(&["-q"]);
    assert_eq!(modest.get("/").status, 200);
    assert_eq!(modest.get("/no-such-page").status, 404);
    let (status, out, err) = modest.stop();
    assert_eq!((status.code(), out, err), (Some(0), vec![], vec![]));
}

#[test]
fn verbose_logs_more_than_requests() {
    let modest = www(&["-v"]);
    modest.get("/");
    let (status, _, err) = modest.stop();
    assert_eq!(status.code(), Some(0));
    assert!(err.iter().any(|line| line.ends_with(r#""GET / HTTP/1.1" 200 -"#)), "{err:?}");
    assert!(err.iter().any(|line| line.starts_with("[DEBUG] [")), "{err:?}");
}

#[test]
fn a_closed_or_full_stderr_delays_no_client() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(3000));
    for closed in [true, false] {
        let (reader, writer) = std::io::pipe().unwrap();
        let reader = if closed { None } else { Some(reader) }; // dropped, or kept and never read
        let modest = Built::start_with(&mut modest(["www", "-p", "0"]), writer);
        let mut client = modest.connect();
        for _ in 0..1000 {
            client.write_all(long.as_bytes()).unwrap(); // 3 MB of log; the pipe and the buffer hold 1.1 MB
            assert_eq!(read_answer(&mut client).status, 404, "closed: {closed}");
        }
        drop(client);
        let (status, ..) = modest.stop();
        assert_eq!(status.code(), Some(0), "closed: {closed}");
        drop(reader);
    }
}

#[test]
fn a_log_on_a_full_disk_delays_no_client() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let modest = Built::start_with(&mut modest(["www", "-p", "0"]), full);
    for _ in 0..20 {
        assert_eq!(modest.get("/").status, 200);
    }
    let (status, ..) = modest.stop();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_soft_limit_of_descriptors_is_raised() {
    let modest = www(&[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", modest.pid().as_raw_nonzero())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
}

/// A client that has received the head of a large response and reads no more for now.
fn download(modest: &Built) -> TcpStream {
    let mut client = modest.connect();
    client.write_all(b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    read_until(&mut client, b"\r\n\r\n").unwrap();
    client
}

fn with_large_file() -> (tempfile::TempDir, Built) {
    let files = folder(&[]);
    File::create(files.path().join("large")).unwrap().set_len(LARGE).unwrap();
    let modest = Built::start(modest(["-p", "0"]).current_dir(&files));
    (files, modest)
}

#[test]
fn a_signal_lets_the_current_request_finish() {
    for (signal, is_said) in [(Signal::TERM, false), (Signal::INT, true)] {
        let (_files, modest) = with_large_file();
        let mut idle = modest.connect();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut idle).status, 200);
        let mut client = download(&modest);
        modest.signal(signal);
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).unwrap(); // the shutdown has begun
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.len() as u64 >= LARGE, "{signal:?}: {} bytes of {LARGE}", rest.len());
        let (status, out, _) = modest.end();
        let said = out.iter().any(|line| line == "Keyboard interrupt received, exiting.");
        assert_eq!((status.code(), said), (Some(0), is_said), "{signal:?}: {out:?}");
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::INT, Signal::TERM)] {
        let (_files, modest) = with_large_file();
        let mut idle = modest.connect();
        let mut client = download(&modest);
        modest.signal(first);
        assert!(ended(&mut idle), "the shutdown has begun");
        let asked = std::time::Instant::now();
        modest.signal(second);
        let (status, ..) = modest.end();
        assert_eq!(status.code(), Some(0), "{first:?} {second:?}");
        assert!(asked.elapsed() < PATIENCE / 6, "{first:?} {second:?}: {:?}", asked.elapsed());
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest); // an end or a reset
        assert!((rest.len() as u64) < LARGE, "the response must be cut short");
    }
}

/// Launchers such as `timeout` send two signals at once. (A machine that is busy can send the second one too late.)
#[test]
fn a_repeated_signal_is_one() {
    for (first, second) in [(Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let is_one = || {
            let (_files, modest) = with_large_file();
            let mut client = download(&modest);
            modest.signal(first);
            modest.signal(second);
            let mut rest = Vec::new();
            let read = client.read_to_end(&mut rest);
            assert_eq!(modest.end().0.code(), Some(0));
            read.is_ok() && rest.len() as u64 >= LARGE
        };
        assert!((0..4).any(|_| is_one()), "{first:?}, {second:?}");
    }
}

#[test]
fn the_port_can_be_reused_right_after_a_stop() {
    let first = www(&[]);
    let port = first.address.port().to_string();
    first.get("/");
    first.stop();
    let second = Built::start(&mut modest(["www", "-p", &port]));
    assert_eq!(second.get("/").status, 200);
}

/// A file that is served alone is saved under its name, which the banner and the QR code contain.
#[test]
fn a_single_file_is_served_at_its_name() {
    let files = folder(&[("linux 1.iso", "an image"), ("sub/x.txt", "x")]);
    for (words, asked, location) in [
        (&[][..], "/", Some("/linux%201.iso")),
        (&[], "/?a=b", Some("/linux%201.iso?a=b")),
        (&[], "/linux%201.iso", None),
        (&["--prefix", "/p q"], "/p%20q/", Some("/p%20q/linux%201.iso")),
        (&["--prefix", "/p q"], "/p%20q/linux%201.iso", None),
        (&["/x=sub"], "/", Some("/linux%201.iso")),
        (&["/x=sub"], "/linux%201.iso", None),
    ] {
        let modest = Built::start(modest(["linux 1.iso", "-p", "0"]).args(words).current_dir(&files));
        let answer = modest.get(asked);
        match location {
            Some(_) => assert_eq!((answer.status, answer.field("location")), (302, location), "{words:?} {asked}"),
            None => assert_eq!((answer.status, answer.body.as_str()), (200, "an image"), "{words:?} {asked}"),
        }
        let shown = modest.out_line().unwrap_or_default();
        assert!(shown.ends_with("linux%201.iso"), "{words:?}: {shown}");
    }
    for prefix in ["", "/p"] {
        let words = ["/iso=linux 1.iso", "sub", "-p", "0", "--prefix", prefix];
        let modest = Built::start(modest(&words[..if prefix.is_empty() { 4 } else { 6 }]).current_dir(&files));
        let name = format!("{prefix}/iso/linux%201.iso");
        let found = modest.get(&format!("{prefix}/iso/"));
        assert_eq!((found.status, found.field("location")), (302, Some(&*name)), "a file at a path of its own");
        assert_eq!(modest.get(&name).body, "an image");
        assert_eq!(modest.get(&format!("{prefix}/x.txt")).body, "x");
        let shown = modest.out_line().unwrap_or_default();
        assert!(shown.ends_with(&format!("linux 1.iso' at {name}")), "{shown}");
    }
}
