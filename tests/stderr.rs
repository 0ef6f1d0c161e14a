//! `log_to_stderr` as a program sees it: this program starts itself, once for each case, and reads what its copy wrote.

use std::io::{self, Read};
use std::panic::AssertUnwindSafe;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use modest::layers::RequestIds;
use modest::testing::TestRequest;
use modest::{Method, RequestHandler, Response, handler_fn, testing};

/// Which case a copy of this program is to be; a program that is no copy is none.
const CASE: &str = "MODEST_STDERR_CASE";

/// A body that can't be read.
struct Breaks;

impl Read for Breaks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("no more"))
    }
}

fn start(case: &str) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", "copy", "--nocapture"])
        .env(CASE, case)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn copy() {
    match std::env::var(CASE).as_deref() {
        Ok("serve") => {
            let _log = modest::log_to_stderr();
            let _again = modest::log_to_stderr(); // does nothing
            log::info!("nobody wants to know");
            let app = handler_fn(|request| match request.path() {
                "/" => Ok(Response::text("hello\n")),
                _ => Err(format!("no table\nfor {}", request.path()).into()),
            });
            let server = testing::serve(app);
            assert_eq!(server.get("/").status(), 200);
            assert_eq!(server.get("/sums").status(), 500);
            assert!(!server.get("/sums").text().contains("table"));
        }
        Ok("ids") => {
            let _log = modest::log_to_stderr();
            let app = handler_fn(|request| match request.path() {
                "/panic" => panic!("at /panic"),
                "/broken" => Ok(Response::stream(Breaks)),
                "/page" => Ok(Response::text("a").with_header("a b", "c")),
                _ => Err("no table".into()),
            });
            let ids = RequestIds::new().trust("127.0.0.1".parse().unwrap());
            let server = testing::serve(app.layer(ids));
            for (id, path) in [("sums-1", "/sums"), ("panic-2", "/panic"), ("page-3", "/page")] {
                let request = TestRequest::new(Method::GET, path).with_header("x-request-id", id);
                assert_eq!(server.send(request).status(), 500);
            }
            let broken = TestRequest::new(Method::GET, "/broken").with_header("x-request-id", "broken-4");
            std::panic::catch_unwind(AssertUnwindSafe(|| server.send(broken))).expect_err("it is cut short");
            assert_eq!(server.send(TestRequest::new(Method::GET, "/sums")).status(), 500);
        }
        Ok("flood") => {
            let log = modest::log_to_stderr();
            let line = "x".repeat(1000);
            (0..20_000).for_each(|_| log::error!("{line}"));
            drop(log); // waits for a second at most
        }
        Ok("logger") => {
            struct Deaf;
            impl log::Log for Deaf {
                fn enabled(&self, _: &log::Metadata<'_>) -> bool {
                    false
                }
                fn log(&self, _: &log::Record<'_>) {}
                fn flush(&self) {}
            }
            log::set_logger(&Deaf).unwrap();
            log::set_max_level(log::LevelFilter::Warn);
            let _log = modest::log_to_stderr();
            log::error!("unheard");
            assert_eq!(log::max_level(), log::LevelFilter::Warn);
        }
        _ => {}
    }
}

#[test]
fn causes_and_access_lines() {
    let output = start("serve").wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    for (part, count) in [
        ("\"GET / HTTP/1.1\" 200 -\n", 1),
        ("\"GET /sums HTTP/1.1\" 500 -\n", 2),
        ("[ERROR] [", 2),
        ("no table\\nfor /sums\n", 2),
        ("nobody wants to know", 0),
    ] {
        assert_eq!(text.matches(part).count(), count, "{part:?} in {text}");
    }
}

/// What is said of a request can be brought together: its id stands in the answer and in the access log, too.
#[test]
fn errors_name_their_request_by_its_id() {
    let output = start("ids").wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "\"GET /sums HTTP/1.1\" [sums-1]: 500 Internal Server Error: no table\n",
        "\"GET /panic HTTP/1.1\" [panic-2]: the handler panicked: at /panic\n",
        "\"GET /page HTTP/1.1\" [page-3]: 500 Internal Server Error: a response field",
        "\"GET /broken HTTP/1.1\" [broken-4]: the answer broke off: no more\n",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part:?} in {text}");
    }
}

/// 20 MB, which nobody reads before the program has ended.
#[test]
fn a_reader_that_sleeps_stops_nobody() {
    let begun = Instant::now();
    let mut copy = start("flood");
    assert!(copy.wait().unwrap().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut text = Vec::new();
    copy.stderr.take().unwrap().read_to_end(&mut text).unwrap();
    assert!(text.len() < 1 << 20, "{}", text.len());
}

#[test]
fn a_logger_that_is_set_stays() {
    let output = start("logger").wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(!String::from_utf8_lossy(&output.stderr).contains("unheard"));
}
