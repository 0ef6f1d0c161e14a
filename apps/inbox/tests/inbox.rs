//! The inbox over sockets, as browsers use it.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use built::{Answer, Built};

fn start(folder: &Path) -> Built {
    Built::start(Command::new(env!("CARGO_BIN_EXE_inbox")).arg("127.0.0.1:0").arg(folder))
}

const FORM: &str = "Content-Type: multipart/form-data; boundary=x";

/// A part of a form.
fn part(name: &str, kind: &str, content: &str) -> String {
    format!(
        "--x\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n{content}\r\n"
    )
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Waits until `/arriving` has this content. The time depends on the server's speed.
fn wait_for(inbox: &Built, wanted: impl Fn(&serde_json::Value) -> bool) {
    let begun = Instant::now();
    loop {
        let arriving = serde_json::from_str(&inbox.get("/arriving").body).unwrap();
        if wanted(&arriving) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{arriving}");
    }
}

#[test]
fn photos_arrive_and_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = start(folder.path());
    let large = "x".repeat(5 << 20);
    let form = format!(
        "{}{}{}--x--\r\n",
        part("a.jpg", "image/jpeg", "one"),
        part("a.jpg", "image/jpeg", &large),
        part("../../b.png", "image/png", "two")
    );
    let answer = inbox.ask("POST", "/", &[FORM], &form);
    assert_eq!((answer.status, answer.field("location")), (303, Some("/")), "{answer:?}");
    assert_eq!(names(folder.path()), ["a-1.jpg", "a.jpg", "b.png"]);
    let photo = inbox.get("/photos/a.jpg");
    assert_eq!(photo.body, "one");
    assert!(photo.head.contains("sandbox"), "{photo:?}");
    assert_eq!(inbox.get("/photos/a-1.jpg").body, large);
    let listing = inbox.get("/photos/");
    assert!(["a.jpg", "a-1.jpg", "b.png", "5.0 MiB"].iter().all(|text| listing.body.contains(text)), "{listing:?}");
    assert!(!listing.head.contains("sandbox"), "the listing must be able to run its script: {listing:?}");
    assert_eq!(inbox.get("/").status, 200);
    wait_for(&inbox, |arriving| *arriving == serde_json::json!([]));
}

#[test]
fn upload_progress_is_shown_and_a_cancelled_upload_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = start(folder.path());
    let mut client = inbox.connect();
    write!(client, "POST / HTTP/1.1\r\nHost: test\r\n{FORM}\r\nContent-Length: {}\r\n\r\n", 500 << 20).unwrap();
    client.write_all(part("a.jpg", "image/jpeg", &"x".repeat(32 << 20)).as_bytes()).unwrap();
    wait_for(&inbox, |arriving| {
        arriving[0]["length"] == 500 << 20 && arriving[0]["received"].as_u64() > Some(32 << 20)
    });
    assert_eq!(open_files(&inbox, folder.path()), 1, "the body must be an unnamed file in its final folder");
    assert!(names(folder.path()).is_empty());
    drop(client);
    wait_for(&inbox, |arriving| *arriving == serde_json::json!([]));
    assert_eq!((names(folder.path()).len(), open_files(&inbox, folder.path())), (0, 0));
}

/// The files of this folder that the program has open, including those without a name.
fn open_files(inbox: &Built, folder: &Path) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", inbox.pid().as_raw_nonzero())).unwrap();
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|path| path.starts_with(folder) && path != folder).count()
}

#[test]
fn invalid_requests_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = start(folder.path());
    let image = part("a.jpg", "image/jpeg", "one");
    let ask = |fields: &[&str], body: &str| inbox.ask("POST", "/", fields, body);
    let answers: [(u16, Answer); 7] = [
        (415, ask(&[FORM], &format!("{image}{}--x--\r\n", part("a.html", "text/html", "<script>")))),
        (415, ask(&[FORM], &format!("{}--x--\r\n", part("a.html", "text/html", "<script>")))),
        (422, ask(&[FORM], "--x--\r\n")),
        (422, ask(&[FORM], &format!("{}--x--\r\n", part("", "application/octet-stream", "")))),
        (415, ask(&["Content-Type: image/jpeg"], "one")),
        (400, ask(&[FORM], image.trim_end())),
        (413, ask(&[FORM, &format!("Content-Length: {}", (500 << 20) + 1)], "")),
    ];
    for (status, answer) in answers {
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}
