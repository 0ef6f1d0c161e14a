//! `--metrics` and `--metrics-bind` of the built program.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::built::{Answer, Built, PATIENCE, modest, root};

fn start(words: &[&str]) -> Built {
    Built::start(modest(["www", "-p", "0"]).args(words))
}

/// The value of a sample.
fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn metrics_are_served_beside_files() {
    for (words, path) in [(&["--metrics"][..], "/metrics"), (&["--metrics=/internal/figures"], "/internal/figures")] {
        let modest = start(words);
        assert_eq!([modest.get("/").status, modest.get("/missing").status], [200, 404]);
        modest.talk("nonsense\r\n\r\n");
        let answer = modest.get(path);
        assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let listener = format!("modest_connections_accepted_total{{listener=\"{}\"}}", modest.address);
        for (sample, expected) in [
            ("modest_http_requests_total{method=\"GET\",status=\"200\"}", 1.0),
            ("modest_http_requests_total{method=\"GET\",status=\"404\"}", 1.0),
            ("modest_http_requests_total{method=\"other\",status=\"400\"}", 1.0),
            (&listener, 4.0),
        ] {
            assert_eq!(value(&answer.body, sample), Some(expected), "{words:?} {sample}: {}", answer.body);
        }
    }
    assert_eq!(start(&[]).get("/metrics").status, 404, "metrics are served only with --metrics");
}

#[test]
fn metrics_have_their_own_address() {
    let modest = start(&["--metrics-bind", "127.0.0.1:0", "--allowed-host", "good.example"]);
    let line = std::iter::from_fn(|| modest.out_line()).find(|line| line.starts_with("Metrics at ")).unwrap();
    let address = line.strip_prefix("Metrics at http://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap();
    let scrape = |path: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        Answer::read(&text)
    };
    assert_eq!(
        [modest.get("/").status, modest.get("/metrics").status],
        [421, 421],
        "a rejected request is also counted"
    );
    let page = scrape("/metrics");
    assert_eq!(
        value(&page.body, "modest_http_requests_total{method=\"GET\",status=\"421\"}"),
        Some(2.0),
        "{}",
        page.body
    );
    let others = page.body.lines().filter(|line| line.starts_with("modest_connections_accepted_total{"));
    assert_eq!(others.count(), 1, "the listener of the metrics is not counted");
    assert_eq!(scrape("/").status, 404);
    let (status, _, err) = modest.stop();
    assert!(
        status.success() && !err.iter().any(|line| line.contains("/metrics HTTP") && line.contains("200")),
        "{err:?}"
    );
}

#[test]
fn metrics_can_require_authentication() {
    let users = "prom:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n";
    let files = crate::built::folder(&[("users", users)]);
    let users = files.path().join("users");
    let rules = ["--allow", "/=*:read", "--allow=/metrics=prom:read"];
    for (prefix, rules, anyone) in [
        ("", &rules[..], 200),
        ("/files", &rules, 200),
        ("", &[], 401),
        ("/files", &[], 401),
        ("", &["--allow=/=@users:all"], 401),
        ("/files", &["--allow=/=@users:all"], 401),
    ] {
        let prefixed = if prefix.is_empty() { &[][..] } else { &["--prefix", prefix] };
        let modest = start(&[&["--metrics", "--auth", users.to_str().unwrap()], prefixed, rules].concat());
        let credentials = format!("Authorization: Basic {}", crate::built::base64("prom:a long secret"));
        let root = format!("{prefix}/");
        let statuses = [&*root, "/metrics"].map(|path| modest.get(path).status);
        assert_eq!(statuses, [anyone, 401], "{prefix} {rules:?}");
        assert_eq!(modest.ask("GET", "/metrics", &[&credentials], "").status, 200, "{prefix} {rules:?}");
        assert_eq!(modest.ask("GET", &root, &[&credentials], "").status, 200, "{prefix} {rules:?}");
    }
}

/// The address at which the metrics are served, as the banner states it.
fn address(modest: &Built) -> String {
    let line = std::iter::from_fn(|| modest.out_line()).find(|line| line.starts_with("Metrics at ")).unwrap();
    line.strip_prefix("Metrics at http://").and_then(|rest| rest.strip_suffix("/metrics")).expect("a URL").to_owned()
}

fn exchange(mut stream: impl Read + Write, sent: &str) -> Answer {
    stream.write_all(sent.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Answer::read(&text)
}

/// The page at its own address has the fields and limits of all responses. On loopback, other sites can't read it by a
/// name that resolves to this machine.
#[test]
fn the_page_of_the_metrics_follows_the_rules_of_the_site() {
    let more = ["--server", "none", "--header", "X-A: b", "--request-line-limit", "100"];
    let long = "/a".repeat(100);
    for (words, request, status) in [
        (&["--metrics-bind", "127.0.0.1:0"][..], "GET /metrics HTTP/1.1\r\nHost: localhost", 200),
        (&["--metrics-bind", "127.0.0.1:0"], "GET /metrics HTTP/1.1\r\nHost: evil.example", 421),
        (&["--metrics-bind", "127.0.0.1:0"], "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 100000", 413),
        (&["--metrics-bind", "127.0.0.1:0"], &format!("GET {long} HTTP/1.1\r\nHost: a"), 414),
        (
            &["--metrics-bind", "127.0.0.1:0", "--allowed-host", "evil.example"],
            "GET /metrics HTTP/1.1\r\nHost: evil.example",
            200,
        ),
        (&["--metrics-bind", "0.0.0.0:0"], "GET /metrics HTTP/1.1\r\nHost: evil.example", 200),
    ] {
        let modest = start(&[&more[..], words].concat());
        let address = address(&modest).replace("0.0.0.0", "127.0.0.1");
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = exchange(stream, &format!("{request}\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.status, status, "{words:?} {request}: {answer:?}");
        assert_eq!((answer.field("server"), answer.field("x-a")), (None, Some("b")), "{answer:?}");
    }
}

/// Sockets of the metrics are created as the others are, and removed at the end by a confined server also.
#[test]
fn the_socket_of_the_metrics_has_the_mode_of_the_others() {
    use std::os::unix::fs::PermissionsExt;
    let files = crate::built::folder(&[("www/a", "a"), ("two/x", "")]);
    for more in [&[][..], &["--confine"]] {
        if !more.is_empty() && crate::command::landlock_is_missing() {
            continue;
        }
        let mut command = modest(["www", "-b", "127.0.0.1:0", "--metrics-bind", "unix:two/m", "--socket-mode", "600"]);
        let modest = Built::start(command.args(more).current_dir(&files));
        let socket = files.path().join("two/m");
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600, "{more:?}");
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let answer = exchange(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.status, 200, "{more:?}: {answer:?}");
        assert!(modest.stop().0.success());
        assert!(!socket.exists(), "{more:?}: the socket stays");
    }
}

/// A scraper that sends half a request, or reads nothing, does not delay the end of the program.
#[test]
fn a_scraper_does_not_delay_the_shutdown() {
    let modest = start(&["--metrics-bind", "127.0.0.1:0"]);
    let address = address(&modest);
    let half = "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX";
    let unread = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let _clients: Vec<TcpStream> = [half, &unread]
        .into_iter()
        .map(|sent| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
            let _ = stream.write_all(sent.as_bytes()); // the server may read no more of it
            stream
        })
        .collect();
    let begun = std::time::Instant::now();
    assert!(modest.stop().0.success());
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "the shutdown took {:?}", begun.elapsed());
}

/// Failed reloads, lost lines, and free space in the folders that accept uploads, by path.
#[test]
fn metrics_include_reloads_lost_lines_and_free_space() {
    let files = crate::built::folder(&[
        ("www/a", "a"),
        ("inbox/a", "a"),
        ("users", "ada:$2y$05$aaaaaaaaaaaaaaaaaaaaa.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"),
    ]);
    let mut command =
        modest(["www", "/inbox=inbox", "--upload=/inbox", "--auth=users", "--allow=/=*:read", "--metrics", "-p", "0"]);
    let log = files.path().join("log");
    let modest = Built::start(command.current_dir(&files).arg("--log-file").arg(&log));
    let page = || modest.get("/metrics").body;
    let reloads = |outcome: &str| value(&page(), &format!("modest_reloads_total{{outcome=\"{outcome}\"}}"));
    modest.signal(rustix::process::Signal::HUP);
    crate::built::wait_for(|| reloads("done") == Some(1.0));
    std::fs::remove_file(files.path().join("users")).unwrap();
    modest.signal(rustix::process::Signal::HUP);
    crate::built::wait_for(|| reloads("failed") == Some(1.0));
    let page = page();
    assert_eq!(value(&page, "modest_log_lines_lost_total"), Some(0.0), "{page}");
    for name in ["modest_folder_free_bytes", "modest_folder_free_inodes"] {
        assert!(value(&page, &format!("{name}{{folder=\"/inbox\"}}")).is_some_and(|free| free > 0.0), "{page}");
        assert_eq!(
            page.matches(&format!("{name}{{")).count(),
            1,
            "only folders that accept files are measured: {page}"
        );
    }
}

/// A process that can't open `/proc` has the metrics that the alerts need.
#[test]
fn a_confined_program_has_metrics_of_its_process() {
    if crate::command::landlock_is_missing() {
        return;
    }
    let modest = start(&["--metrics", "--confine"]);
    for _ in 0..2 {
        let page = modest.get("/metrics").body;
        for (name, least) in [
            ("process_open_fds", 5.0),
            ("process_max_fds", 5.0),
            ("process_cpu_seconds_total", 0.0),
            ("process_resident_memory_bytes", 1e5),
            ("process_start_time_seconds", 1.6e9),
        ] {
            assert!(value(&page, name).is_some_and(|value| value > least), "{name}: {page}");
        }
        assert!(value(&page, "modest_uptime_seconds").is_some_and(|seconds| seconds < 3600.0), "{page}");
    }
}

/// The table of docs/metrics.md contains each metric of the alert rules and of the page.
#[test]
fn alerts_and_the_page_have_metrics_that_are_documented() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let documented = read("docs/metrics.md");
    let files = crate::built::folder(&[("a", "a")]);
    let modest = Built::start(modest(["--upload", "--metrics", "-p", "0"]).arg(files.path()));
    let page = modest.get("/metrics").body;
    let of_page = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next().map(str::to_owned));
    let rules = read("docs/metrics-alerts.yml");
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let of_rules = rules.lines().filter(|line| line.trim_start().starts_with("expr:"));
    let words = of_rules.flat_map(|line| line.split(|c| !is_part(c))).map(str::to_owned);
    let of_rules = words.filter(|word| word.starts_with("modest_") || word.starts_with("process_"));
    let all: std::collections::BTreeSet<String> = of_page.chain(of_rules).collect();
    assert!(all.len() > 20, "{all:?}");
    for name in all {
        assert!(documented.contains(&format!("| `{name}` |")), "docs/metrics.md has no {name}");
    }
}
