//! Tests of `metrics`: the counted values, and the format of the page.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::*;
use crate::testing::{self, TestRequest};
use crate::{Http, Method, Response, Routes, TcpServer};

fn app(metrics: &Metrics) -> impl RequestHandler + use<> {
    Routes::new()
        .get("/", |_: &(), _| Ok(Response::text("hello\n")))
        .post("/waits", |_, request: &Request| match request.is_late() {
            true => Ok(Response::text("late")),
            false => Ok(Response::wait_for(crate::live::Signal::new().ticket(), Duration::from_millis(1))),
        })
        .post("/", |_, request: &Request| Ok(Response::text(format!("{}", request.body().len()))))
        .mount("/metrics", metrics.page())
        .with_state(())
        .layer(metrics.clone())
}

fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn requests_and_connections_are_counted() {
    let metrics = Metrics::new();
    let server = testing::serve(app(&metrics));
    for _ in 0..3 {
        assert_eq!(server.get("/").status(), 200);
    }
    assert_eq!(server.get("/missing").status(), 404);
    assert_eq!(server.send(TestRequest::new(Method::POST, "/").with_body("12345")).status(), 200);
    assert_eq!(server.send(TestRequest::new(Method::from_bytes(b"BREW").unwrap(), "/")).status(), 405);
    assert_eq!(server.send(TestRequest::new(Method::POST, "/waits").with_body("67")).text(), "late");
    server.wait_until("the other connections are closed", |stats| stats.connections == 0);
    let page = server.get("/metrics");
    let page = page.text();
    for (sample, expected) in [
        ("modest_http_requests_total{method=\"GET\",status=\"200\"}", 3.0),
        ("modest_http_requests_total{method=\"GET\",status=\"404\"}", 1.0),
        ("modest_http_requests_total{method=\"POST\",status=\"200\"}", 2.0),
        ("modest_http_requests_total{method=\"other\",status=\"405\"}", 1.0),
        ("modest_http_request_duration_seconds_count{method=\"GET\"}", 4.0),
        ("modest_http_request_duration_seconds_bucket{method=\"GET\",le=\"+Inf\"}", 4.0),
        ("modest_http_request_duration_seconds_bucket{method=\"POST\",le=\"60\"}", 2.0),
        ("modest_http_request_body_bytes_total{method=\"POST\"}", 7.0),
        ("modest_http_request_body_bytes_total{method=\"GET\"}", 0.0),
        ("modest_http_response_body_bytes_total{method=\"POST\"}", 5.0),
        ("modest_connections{state=\"turn\"}", 1.0),
        ("modest_handlers_running", 1.0),
        ("modest_refused_total{limit=\"queue\"}", 0.0),
        ("modest_refused_total{limit=\"input\"}", 0.0),
        ("modest_refused_total{limit=\"threads\"}", 0.0),
        ("modest_connections{state=\"waiting_thread\"}", 0.0),
        ("modest_input_bytes", 0.0),
    ] {
        assert_eq!(value(page, sample), Some(expected), "{sample}: {page}");
    }
    let accepted =
        page.lines().find(|line| line.starts_with("modest_connections_accepted_total{listener=\"127.0.0.1:"));
    let accepted: u64 = accepted.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect(page);
    assert!((1..=8).contains(&accepted), "{accepted}");
    assert!(value(page, "process_cpu_seconds_total").unwrap() > 0.0);
    let of_proc = has_proc().then_some(true);
    assert_eq!(value(page, "process_resident_memory_bytes").map(|bytes| bytes > 100_000.0), of_proc);
    assert_eq!(value(page, "modest_uptime_seconds").map(|seconds| seconds < 3600.0), of_proc);
    assert!(!page.contains("BREW"), "no label contains text of a client");
}

/// A connection that waits for a thread is counted while it waits. A connection that gets no thread is counted as
/// refused.
#[test]
fn connections_waiting_for_a_thread_are_counted() {
    let metrics = Metrics::new();
    let app = Routes::new()
        .get("/take", |_: &(), _| {
            Ok(Response::upgrade("echo", |mut stream| {
                let _ = std::io::copy(&mut stream, &mut std::io::sink()); // until the client closes it
            }))
        })
        .mount("/metrics", metrics.page())
        .with_state(())
        .layer(metrics.clone());
    let server = TcpServer::bind("127.0.0.1:0", Http::new(app)).unwrap().max_streams(1).queue_limit(1);
    let (address, handle) = (server.local_addr().to_string(), server.handle());
    let serving = std::thread::spawn(move || server.serve_forever());
    let ask = |path: &str| {
        let mut client = TcpStream::connect(&address).unwrap();
        let fields = "Host: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n";
        client.write_all(format!("GET {path} HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap();
        client
    };
    let page = || {
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    };
    let wait_for = |sample: &str, expected: f64| {
        let begun = Instant::now();
        while value(&page(), sample) != Some(expected) {
            assert!(begun.elapsed() < Duration::from_secs(10), "{sample} is not {expected}: {}", page());
        }
    };
    let mut clients = Vec::new();
    for (sample, expected) in [
        ("modest_connections{state=\"thread\"}", 1.0),
        ("modest_connections{state=\"waiting_thread\"}", 1.0),
        ("modest_refused_total{limit=\"threads\"}", 1.0),
    ] {
        clients.push(ask("/take"));
        wait_for(sample, expected);
    }
    drop(clients);
    wait_for("modest_connections{state=\"waiting_thread\"}", 0.0);
    assert_eq!(value(&page(), "modest_refused_total{limit=\"threads\"}"), Some(1.0));
    handle.shutdown();
    serving.join().unwrap().unwrap();
}

#[test]
fn durations_and_many_threads() {
    let counts = Counts::default();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for milliseconds in [0, 1, 2, 100, 3_600_000] {
                    let took = std::time::Duration::from_millis(milliseconds);
                    counts.responded(Some(&Method::GET), crate::StatusCode::OK, 10, took);
                }
            });
        }
    });
    counts.responded(None, crate::StatusCode::BAD_REQUEST, 7, std::time::Duration::from_nanos(100_001));
    let sums: Vec<_> = counts.sums().collect();
    let get = &sums[0];
    assert_eq!((get.method, get.sent, get.received, &get.statuses[..]), ("GET", 800, 0, &[(200, 80)][..]));
    let expected = [16, 16, 16, 32, 48, 48, 48, 48, 48, 64, 64, 64, 64, 64, 64, 64, 80];
    assert_eq!((get.cumulated, get.nanoseconds), (expected, 16 * 3_600_103 * 1_000_000));
    let other = &sums[1];
    assert_eq!(
        (other.method, &other.statuses[..], other.cumulated[0], other.cumulated[1]),
        ("other", &[(400, 1)][..], 0, 1)
    );
    assert_eq!(sums.len(), 2);
}

#[test]
fn the_format_follows_accept() {
    let metrics = Metrics::new();
    let http = Http::new(app(&metrics));
    let page = |accept: &str| http.respond(&Request::get("/metrics").with_header("accept", accept));
    // `Accept` of Prometheus 2.42 and 3.0, and others.
    for (accept, is_open) in [
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            true,
        ),
        ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5", true),
        ("text/plain;version=0.0.4,application/openmetrics-text;q=0.5", false),
        ("text/html,*/*;q=0.8", false),
        ("application/openmetrics-text;q=0", false),
        ("", false),
    ] {
        let sent = page(accept);
        let kind = sent.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0");
        assert_eq!((kind, sent.text().ends_with("\n# EOF\n")), (is_open, is_open), "{accept}");
        assert_eq!(sent.text().contains("# TYPE modest_polls counter"), is_open, "{accept}");
        assert_eq!((sent.header("vary"), sent.header("cache-control")), (Some("Accept"), Some("no-store")));
    }
    assert_eq!(http.respond(&Request::post("/metrics", "")).status(), 405);
}

/// promtool accepts each line, help and type precede each family, and no sample occurs twice.
#[test]
fn the_metrics_format_is_valid() {
    let metrics = Metrics::new();
    let server = testing::serve(app(&metrics));
    server.get("/");
    let page = server.get("/metrics");
    let (mut family, mut families, mut seen) = ("", BTreeSet::new(), BTreeSet::new());
    for line in page.text().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap();
            assert!(rest.ends_with('.') && families.insert(family), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!((name, kind == "counter"), (family, family.ends_with("_total")), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&suffix) && seen.insert(sample), "{line}");
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        }
    }
}

/// The names and types of all metrics, in order. The dashboard uses no others.
#[test]
fn the_document_lists_all_metrics() {
    let document = include_str!("../../../docs/metrics.md");
    let dashboard = include_str!("../../../docs/metrics-dashboard.json");
    let metrics = Metrics::new();
    let expiry = metrics.0.certificate_expiry.set(Box::new(|| Some(SystemTime::UNIX_EPOCH)));
    assert!(expiry.is_ok());
    let sent = Http::new(app(&metrics)).respond(&Request::get("/metrics"));
    let shown: Vec<&str> = sent.text().lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    // Metrics of the program are tested with the program.
    let (before, program) = document.split_once("\n## The program\n").expect("the section of the program");
    let of_library = before.lines().chain(program.split_once("\n## ").expect("a section after it").1.lines());
    let rows = of_library.filter_map(|line| line.strip_prefix("| `"));
    let told: Vec<String> = rows
        .map(|row| {
            let mut cells = row.split('|').map(str::trim);
            format!("{} {}", cells.next().unwrap().trim_end_matches('`'), cells.next().unwrap())
        })
        .collect();
    let known: Vec<&String> = told.iter().filter(|row| has_proc() || !is_of_proc(row)).collect();
    assert_eq!(known, shown);
    let words = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<&str> =
        words.filter(|word| word.starts_with("modest_") || word.starts_with("process_")).collect();
    assert!(asked.len() > 10, "{asked:?}");
    for name in asked {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(told.iter().any(|known| known.starts_with(&format!("{family} "))), "{name} is not in the metrics");
    }
}

/// Returns whether this system has the metrics that are read from `/proc`.
fn has_proc() -> bool {
    super::SYSTEM_SERVICE.1.starts_with("/proc")
}

fn is_of_proc(metric: &str) -> bool {
    let name = metric.split(' ').next().unwrap();
    let is_of_process = name.starts_with("process_") || name == "modest_uptime_seconds";
    is_of_process && !["process_cpu_seconds_total", "process_max_fds"].contains(&name)
}

/// A function of the program can add to the metrics while the page is written.
#[test]
fn a_gauge_can_add_a_metric() {
    let metrics = Metrics::new();
    let others = metrics.clone();
    metrics.gauge("first", "First.", move || {
        others.new_counter("later_total", "Later.").add(&[], 1);
        vec![(None, 1.0)]
    });
    let server = testing::serve(app(&metrics));
    assert_eq!(value(server.get("/metrics").text(), "first"), Some(1.0));
    assert!(server.get("/metrics").text().contains("later_total"));
}

#[test]
fn counters_and_histograms_of_the_program() {
    let metrics = Metrics::new();
    let (count, size) =
        (metrics.new_counter("own_total", "Own."), metrics.new_histogram("size", "Sizes.", &[1.0, 2.5]));
    let server = testing::serve(app(&metrics));
    count.add(&[], 2);
    count.clone().add(&[("a", "x\"\n"), ("b", "")], 1);
    count.add(&[], u64::MAX);
    for value in [-1.0, 1.0, 1.5, 2.5, 3.0, f64::INFINITY, f64::NAN] {
        size.observe(&[("unit", "m")], value);
    }
    size.observe_time(&[], Duration::from_millis(1500));
    let page = server.get("/metrics");
    let page = page.text();
    for (sample, expected) in [
        ("own_total", u64::MAX as f64),
        ("own_total{a=\"x\\\"\\n\",b=\"\"}", 1.0),
        ("size_bucket{unit=\"m\",le=\"1\"}", 2.0),
        ("size_bucket{unit=\"m\",le=\"2.5\"}", 4.0),
        ("size_bucket{unit=\"m\",le=\"+Inf\"}", 6.0),
        ("size_sum{unit=\"m\"}", f64::INFINITY),
        ("size_count{unit=\"m\"}", 6.0),
        ("size_sum", 1.5),
        ("size_bucket{le=\"1\"}", 0.0),
    ] {
        assert_eq!(value(page, sample), Some(expected), "{sample}: {page}");
    }
    for number in 0..2000 {
        count.add(&[("client", &number.to_string())], 1);
    }
    let page = server.get("/metrics");
    let lines = page.text().lines().filter(|line| line.starts_with("own_total{client")).count();
    assert_eq!((lines, value(page.text(), "own_total{client=\"other\"}")), (999, Some(1002.0)));
    let falls = || metrics.new_histogram("a", "", &[2.0, 1.0]);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(falls)).is_err());
}
