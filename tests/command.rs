//! The program `modest` as a user meets it: words, banner, log, errors, signals. Run as it was built.

mod built;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use built::{Built, PATIENCE, ended, folder, modest, read_answer, read_until, run};
use rustix::process::Signal;

/// More than any socket buffers: a client that does not read it all keeps the request in hand.
const LARGE: u64 = 64 << 20;

fn www(words: &[&str]) -> Built {
    Built::start(modest(["www", "-p", "0"]).args(words))
}

#[test]
fn the_banner_is_pythons_and_the_site_is_there() {
    let modest = www(&[]);
    let port = modest.address.port();
    assert_eq!(modest.banner, format!("Serving HTTP on 127.0.0.1 port {port} (http://127.0.0.1:{port}/) ..."));
    let page = modest.get("/");
    assert!(page.status == 200 && page.body.contains("It works"), "{page:?}");
    let missing = modest.get("/no-such-page");
    assert!(missing.status == 404 && missing.body.contains("Nothing lives at this address"), "{missing:?}");
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
    assert!(modest.get("/files/").body.contains("alphabet.txt"), "a listing where there is no index");
}

#[test]
fn the_current_folder_is_served_unless_told() {
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
fn options_of_the_folder() {
    let outside = folder(&[("file.txt", "outside")]);
    let files = folder(&[("file.txt", "inside"), (".hidden", "hidden"), (".well-known/file", "known")]);
    let link = |to: &std::path::Path, name: &str| std::os::unix::fs::symlink(to, files.path().join(name)).unwrap();
    link(&outside.path().join("file.txt"), "out");
    link(std::path::Path::new("file.txt"), "in");
    // The statuses of /in, /out, /.hidden and /.well-known/file, and what Cache-Control says.
    for (words, statuses, caching) in [
        (&[][..], [200, 404, 404, 200], "no-cache"),
        (&["--follow-symlinks", "within"], [200, 404, 404, 200], "no-cache"),
        (&["--follow-symlinks", "anywhere"], [200, 200, 404, 200], "no-cache"),
        (&["--follow-symlinks", "none", "--hidden"], [404, 404, 200, 200], "no-cache"),
        (&["--cache-control", "max-age=60"], [200, 404, 404, 200], "max-age=60"),
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
fn what_cannot_be_done_is_one_plain_line() {
    let files = folder(&[("file.txt", "")]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    for (words, status, said) in [
        (
            vec!["www".into(), "-p".into(), port.clone()],
            1,
            format!("port {port} of 127.0.0.1 is in use; choose another"),
        ),
        (vec![path("missing")], 1, format!("there is no folder '{}'", path("missing"))),
        (vec![path("file.txt")], 1, "is not a folder".into()),
        (vec!["www".into(), "-b".into(), "192.0.2.1".into()], 1, "192.0.2.1 is no address of this machine".into()),
        (vec!["www".into(), "-b".into(), "::1:8000".into()], 1, "one of IPv6 with a port is written [::1]:8000".into()),
        (vec!["".into()], 2, "the folder's name is empty".into()),
        (vec!["--prot".into(), "1".into()], 2, "there is no option --prot; --port is one".into()),
        (vec!["-p".into()], 2, "wants a value".into()),
        (vec!["-p".into(), "65536".into()], 2, "a port is a number from 0 to 65535".into()),
        (vec!["-b".into(), "127.0.0.1:65536".into()], 2, "a port is a number from 0 to 65535".into()),
        (vec!["90435".into()], 2, "no such folder, and as a port".into()),
        (vec!["www".into(), "tests".into()], 2, "one word too many".into()),
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
fn a_folder_that_may_not_be_read_says_so() {
    let files = folder(&[("closed/file.txt", ""), ("modest", "")]);
    let closed = files.path().join("closed");
    std::fs::set_permissions(files.path(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o000)).unwrap();
    let mut command = modest([&closed]);
    if rustix::process::geteuid().is_root() {
        // Root may read everything, so it is tried as nobody, with a copy of the program that nobody may run.
        let copy = files.path().join("modest");
        std::fs::copy(command.get_program(), &copy).unwrap();
        command = std::process::Command::new(copy);
        command.arg(&closed).current_dir("/").uid(65534);
    }
    let (code, out, err) = run(&mut command);
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap(); // so that it can be removed
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("may not be read; allow it") && err.lines().count() == 1, "{err}");
}

#[test]
fn help_and_version_are_told_on_stdout() {
    let (code, help, err) = run(&mut modest(["--help"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for word in ["--bind", "--port", "--workers", "--quiet", "--verbose", "--help", "--version", "[DIR]"] {
        assert!(help.contains(word), "{word} is not in: {help}");
    }
    let (code, version, err) = run(&mut modest(["--version"]));
    assert_eq!((code, version, err), (Some(0), format!("modest {}\n", env!("CARGO_PKG_VERSION")), String::new()));
}

#[test]
fn each_request_is_a_line_as_python_writes_it() {
    let modest = www(&[]);
    modest.get("/?a=%20b");
    assert_access_line(&modest.err_line().unwrap(), r#""GET /?a=%20b HTTP/1.1" 200 -"#);
    modest.ask("HEAD", "/no-such-page", &[], "");
    assert_access_line(&modest.err_line().unwrap(), r#""HEAD /no-such-page HTTP/1.1" 404 -"#);
    modest.talk("GET /\x1b[31m\"\\ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_access_line(&modest.err_line().unwrap(), r#""GET /\x1b[31m\x22\x5c HTTP/1.1" 400 -"#);
    let (status, _, rest) = modest.stop();
    assert_eq!((status.code(), rest), (Some(0), vec![]));
}

/// `127.0.0.1 - - [16/Jun/2022 06:34:59] ` and then the end.
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
fn the_log_tells_local_time() {
    let hour = |zone: &str| -> i32 {
        // `Built` sets TZ=UTC, so the zone is handed on by env(1).
        let mut command = std::process::Command::new("env");
        command.arg(format!("TZ={zone}")).arg(env!("CARGO_BIN_EXE_modest")).args(["www", "-p", "0"]);
        let modest = Built::start(command.current_dir(env!("CARGO_MANIFEST_DIR")));
        modest.get("/");
        let line = modest.err_line().unwrap();
        line.split([' ', ':']).nth(4).and_then(|hour| hour.parse().ok()).unwrap_or_else(|| panic!("{line:?}"))
    };
    let ahead = (hour("XYZ-5") - hour("UTC0")).rem_euclid(24);
    assert!(ahead == 5 || ahead == 4, "five hours east of Greenwich, or the hour turned meanwhile: {ahead}");
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
fn verbose_says_more_than_requests() {
    let modest = www(&["-v"]);
    modest.get("/");
    let (status, _, err) = modest.stop();
    assert_eq!(status.code(), Some(0));
    assert!(err.iter().any(|line| line.ends_with(r#""GET / HTTP/1.1" 200 -"#)), "{err:?}");
    assert!(err.iter().any(|line| line.starts_with("[DEBUG] [")), "{err:?}");
}

#[test]
fn a_stderr_that_is_closed_or_full_holds_nobody_up() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(3000));
    for closed in [true, false] {
        let (reader, writer) = std::io::pipe().unwrap();
        let reader = if closed { None } else { Some(reader) }; // dropped, or kept and never read
        let modest = Built::start_with(&mut modest(["www", "-p", "0"]), writer);
        let mut client = modest.connect();
        for _ in 0..1000 {
            client.write_all(long.as_bytes()).unwrap(); // 3 MB of log, when pipe and store hold 1.1
            assert_eq!(read_answer(&mut client).status, 404, "closed: {closed}");
        }
        drop(client);
        let (status, ..) = modest.stop();
        assert_eq!(status.code(), Some(0), "closed: {closed}");
        drop(reader);
    }
}

#[test]
fn a_log_on_a_full_disk_holds_nobody_up() {
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

/// A client that has the head of a large answer and takes no more for now.
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
fn a_signal_lets_the_request_in_hand_finish() {
    for (signal, said) in [(Signal::TERM, &[][..]), (Signal::INT, &["", "Keyboard interrupt received, exiting."])] {
        let (_files, modest) = with_large_file();
        let mut idle = modest.connect();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut idle).status, 200);
        let mut client = download(&modest);
        modest.signal(signal);
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).unwrap(); // the stop has begun
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.len() as u64 >= LARGE, "{signal:?}: {} bytes of {LARGE}", rest.len());
        let (status, out, _) = modest.end();
        assert_eq!((status.code(), out), (Some(0), said.iter().map(|line| line.to_string()).collect()), "{signal:?}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::INT, Signal::TERM)] {
        let (_files, modest) = with_large_file();
        let mut idle = modest.connect();
        let mut client = download(&modest);
        modest.signal(first);
        assert!(ended(&mut idle), "the stop has begun");
        let asked = std::time::Instant::now();
        modest.signal(second);
        let (status, ..) = modest.end();
        assert_eq!(status.code(), Some(0), "{first:?} {second:?}");
        assert!(asked.elapsed() < PATIENCE / 6, "{first:?} {second:?}: {:?}", asked.elapsed());
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest); // an end or a reset
        assert!((rest.len() as u64) < LARGE, "it was cut short");
    }
}

#[test]
fn after_a_stop_the_port_can_be_taken_again_at_once() {
    let first = www(&[]);
    let port = first.address.port().to_string();
    first.get("/");
    first.stop();
    let second = Built::start(&mut modest(["www", "-p", &port]));
    assert_eq!(second.get("/").status, 200);
}
