//! The guest book over sockets.

#[path = "../../../tests/built/mod.rs"]
mod built;

use std::process::Command;

use built::Built;

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn start() -> Built {
    Built::start(Command::new(env!("CARGO_BIN_EXE_pages")).arg("127.0.0.1:0"))
}

#[test]
fn pages_have_the_layout_and_escape_what_visitors_write() {
    let book = start();
    assert!(book.get("/").body.contains("No entries yet."));
    let signed = book.ask("POST", "/", &[FORM], "name=%3Cb%3EAda&text=a+%26+%22b%22");
    assert_eq!((signed.status, signed.field("location")), (303, Some("/")));
    for path in ["/", "/entries/0"] {
        let page = book.get(path).body;
        assert!(page.starts_with("<!doctype html>") && page.contains("Guest book</title>"), "{page}");
        assert!(!page.contains("<b>Ada") && page.contains(">&#60;b&#62;Ada</a>"), "{page}");
        assert!(page.contains("<p>a &#38; &#34;b&#34;</p>"), "{page}");
    }
    assert_eq!(book.get("/entries/1").status, 404);
    assert_eq!(book.ask("POST", "/", &[FORM], "name=a&text=+").status, 422);
}

#[test]
fn static_files_are_kept_for_a_year_under_the_name_of_their_content() {
    let book = start();
    let page = book.get("/").body;
    let (_, link) = page.split_once("href=\"/static/").unwrap();
    let name = link.split('"').next().unwrap();
    let style = book.get(&format!("/static/{name}"));
    assert_eq!((style.status, style.field("content-type")), (200, Some("text/css; charset=utf-8")), "{style:?}");
    assert_eq!(style.field("cache-control"), Some("public, max-age=31536000, immutable"));
    assert!(style.body.contains("font:"));
    for other in ["style.css", "style-0000000000000000.css", "..%2Fmain.rs"] {
        assert_eq!(book.get(&format!("/static/{other}")).status, 404, "{other}");
    }
}
