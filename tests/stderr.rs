//! `log_to_stderr` as a program sees it: this program starts itself, once for each case, and reads what its copy wrote.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use modest::{Response, handler_fn, testing};

/// Which case a copy of this program is to be; a program that is no copy is none.
const CASE: &str = "MODEST_STDERR_CASE";

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
