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
    let modest =
        start(&["--metrics", "--auth", users.to_str().unwrap(), "--allow", "/=*:read", "--allow=/metrics=prom:read"]);
    let credentials = format!("Authorization: Basic {}", crate::built::base64("prom:a long secret"));
    assert_eq!([modest.get("/").status, modest.get("/metrics").status], [200, 401]);
    assert_eq!(modest.ask("GET", "/metrics", &[&credentials], "").status, 200);
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
