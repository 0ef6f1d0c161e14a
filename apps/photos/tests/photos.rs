//! The inbox for photos as browsers use it, over sockets.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use built::Built;

fn start(folder: &Path) -> Built {
    Built::start(Command::new(env!("CARGO_BIN_EXE_photos")).arg("127.0.0.1:0").arg(folder))
}

/// Photos of this many pixels, as a form.
fn form(photos: &[(&str, &str, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, kind, bytes) in photos {
        let head = format!(
            "--x\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        body.extend([head.as_bytes(), bytes, b"\r\n"].concat());
    }
    body.extend(b"--x--\r\n");
    let head = format!(
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [b"POST / HTTP/1.1\r\nHost: test\r\n", head.as_bytes(), &body].concat()
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::DynamicImage::new_rgb8(width, height).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn listen(inbox: &Built) -> impl Iterator<Item = String> + use<> {
    let mut client: TcpStream = inbox.connect();
    client.write_all(b"GET /events HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let lines = BufReader::new(client).lines().map(|line| line.expect("a line of an event"));
    lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
}

#[test]
fn thumbnails_are_made_and_announced_to_every_page() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = start(folder.path());
    let mut early = listen(&inbox);
    let photos = [
        ("a.png", "image/png", png(900, 600)),
        ("a.png", "image/png", png(10, 10)),
        ("b.png", "image/png", b"none".to_vec()),
    ];
    assert!(inbox.talk(form(&photos)).starts_with("HTTP/1.1 303"));
    assert_eq!([early.next(), early.next()], ["a.png", "a-1.png"].map(|name| Some(name.to_owned())));
    let mut names: Vec<_> = listen(&inbox).take(2).collect();
    names.sort();
    assert_eq!(names, ["a-1.png", "a.png"]);
    let thumb = image::open(folder.path().join("thumbs/a.png")).unwrap();
    assert_eq!((thumb.width(), thumb.height()), (320, 213));
    assert_eq!(inbox.get("/photos/thumbs/a.png").status, 200);
    assert!(inbox.get("/").body.contains("EventSource"));
    assert!(inbox.talk(form(&[("a.html", "text/html", b"<script>".to_vec())])).starts_with("HTTP/1.1 415"));
    let (status, _, log) = inbox.stop();
    assert!(status.success() && log.iter().any(|line| line.contains("b.png: ")), "{log:?}");
}

/// A shutdown waits for the thumbnails of photos that were accepted.
#[test]
fn a_shutdown_loses_no_thumbnail() {
    let folder = tempfile::tempdir().unwrap();
    let inbox = start(folder.path());
    let photos: Vec<_> = (0..5).map(|_| ("a.png", "image/png", png(800, 800))).collect();
    assert!(inbox.talk(form(&photos)).starts_with("HTTP/1.1 303"));
    assert!(inbox.stop().0.success());
    assert_eq!(std::fs::read_dir(folder.path().join("thumbs")).unwrap().count(), 5);
}
