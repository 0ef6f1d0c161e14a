//! Files and folders by a form, `multipart/form-data`.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, mpsc};

use modest::testing::serve;
use modest::{Http, Layer, Permissions, Request, RequestHandler, Uploads};

use super::super::Folder;
use super::{PATIENCE, accepting, answer, ask, connect, tree, wait_for_silence};

fn part(name: &str, file_name: Option<&str>, content: &str) -> String {
    let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
    format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n{content}\r\n")
}

#[test]
fn files_and_folders_of_a_form_are_stored_below_the_folder() {
    let attack = "../../escape";
    for (parts, status, expected, said) in [
        (
            vec![part("file", Some("a.txt"), "1"), part("file", Some("b.txt"), "2")],
            303,
            &["a.txt=1", "b.txt=2"][..],
            "",
        ),
        (vec![part("file", Some(""), ""), part("folder", None, "new")], 303, &["new/"], ""),
        (vec![part("folder", None, "new"), part("file", Some("new/a"), "1")], 303, &["new/", "new/a=1"], ""),
        (
            vec![part("file", Some("d/e/f"), "1"), part("file", Some("d/e/g"), "2")],
            303,
            &["d/", "d/e/", "d/e/f=1", "d/e/g=2"],
            "",
        ),
        (vec![part("folder", None, ""), part("other", None, "x")], 303, &[], ""),
        (vec![], 303, &[], ""),
        (
            vec![part("file", Some("a"), "1"), part("file", Some("a"), "2"), part("file", Some("b"), "3")],
            409,
            &["a=1"],
            "a: That name is taken. Stored before: a.",
        ),
        (
            vec![part("file", Some("a"), "1"), part("file", Some(""), "2")],
            400,
            &["a=1"],
            "has no name. Stored before: a.",
        ),
        (vec![part("file", Some(attack), "1")], 400, &[], "That is not a valid name."),
        (vec![part("file", Some("/etc/passwd"), "1")], 400, &[], "That is not a valid name."),
        (vec![part("file", Some(&("d/".repeat(64) + "f")), "1")], 400, &[], "at most 63 folders"),
        // A name that is rejected creates no folders.
        (vec![part("file", Some("a//b"), "1")], 400, &[], "That is not a valid name."),
        (vec![part("file", Some("n1/n2/.."), "1")], 400, &[], "That is not a valid name."),
        (vec![part("file", Some("a/"), "1")], 400, &[], "That is not a valid name."),
        (vec![part("file", Some("b/."), "1")], 400, &[], "That is not a valid name."),
        (vec![part("file", Some("a/b/.hidden"), "1")], 403, &[], "start with a dot"),
        (vec![part("file", Some("a/.hidden/b"), "1")], 403, &[], "start with a dot"),
        (vec![part("file", Some("a/b\\c"), "1")], 400, &[], "slashes"),
        (vec![part("file", Some(&format!("a/{}", "x".repeat(256))), "1")], 400, &[], "255"),
        (vec![part("file", Some(".well-known/x"), "1")], 403, &[], "well-known"),
        (vec![part("file", Some("a\\b"), "1")], 400, &[], "slashes"),
        (vec![part("file", Some(".profile"), "1")], 403, &[], "start with a dot"),
        (vec![part("file", Some(".git/hooks/x"), "1")], 403, &[], "start with a dot"),
        (vec![part("file", Some("a%0D%0Ab"), "1")], 400, &[], "control characters"),
        (vec![part("folder", None, "../up")], 400, &[], ""),
        (vec![part("folder", None, "a/b")], 400, &[], "slashes"),
        (vec![part("folder", None, "a"), part("folder", None, "a")], 409, &["a/"], ""),
        (vec!["--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"cut\"\r\n\r\nhalf".into()], 400, &[], ""),
    ] {
        let folder = Folder::new(&[]);
        let server = accepting(&folder, Uploads::new());
        let cut = parts.iter().any(|part| part.ends_with("half"));
        let body = parts.concat() + if cut { "" } else { "--x--\r\n" };
        let fields = [("content-type", "multipart/form-data; boundary=x")];
        let got = ask(&server, "POST", "/", &fields, body.as_bytes());
        assert_eq!(got.status(), status, "{parts:?}: {}", got.text());
        assert!(got.text().contains(said), "{parts:?}: {}", got.text());
        assert!(status != 303 || got.header("location") == Some("/"), "{got:?}");
        assert_eq!(tree(folder.as_ref()), expected, "{parts:?}");
    }
    let folder = Folder::new(&[("in/x", "")]);
    let server = serve(folder.handler().prefix("/p").unwrap().uploads(Uploads::new()));
    let body = part("file", Some("a"), &"1".repeat(200_000)) + "--x--\r\n";
    let got = ask(&server, "POST", "/p/in/", &[("content-type", "multipart/form-data; boundary=x")], body.as_bytes());
    assert_eq!((got.status().as_u16(), got.header("location")), (303, Some("/p/in/")));
    // A layer may need the query.
    for (target, status, location) in [
        ("/p/in/?token=a%20b&sort=size", 303, "/p/in/?token=a%20b&sort=size"),
        ("/p/in/?", 303, "/p/in/?"),
        ("/p/in?token=a%20b&sort=size", 308, "/p/in/?token=a%20b&sort=size"),
        ("/p/in?a=\"<>^`{|}", 308, "/p/in/?a=%22%3C%3E%5E%60%7B%7C%7D"),
    ] {
        let fields = [("content-type", "multipart/form-data; boundary=x")];
        let got = ask(&server, "POST", target, &fields, b"--x--\r\n");
        assert_eq!((got.status().as_u16(), got.header("location")), (status, Some(location)), "{target}");
    }
    assert_eq!(server.get("/p/in/a").body().len(), 200_000);
}

/// A condition in `If` is checked once for the whole form. A file that is rejected leaves no folders.
#[test]
fn conditions_of_forms() {
    let boundary = ("content-type", "multipart/form-data; boundary=x");
    let if_locked = ("if", "(<urn:uuid:none>)");
    for (field, part) in [
        (if_locked, part("folder", None, "new")),
        (if_locked, part("file", Some("a"), "1")),
        (if_locked, part("file", Some("new/sub/a"), "1")),
        (("if-match", "*"), part("file", Some("new/sub/a"), "1")),
    ] {
        let folder = Folder::new(&[("old/x", "x")]);
        let server = accepting(&folder, Uploads::new());
        let got = ask(&server, "POST", "/", &[boundary, field], format!("{part}--x--").as_bytes());
        assert_eq!(got.status(), 412, "{field:?} {part}: {}", got.text());
        assert_eq!(tree(folder.as_ref()), ["old/", "old/x=x"], "{field:?} {part}");
        let known = part.replace("new/sub", "old/sub");
        ask(&server, "POST", "/", &[boundary, field], format!("{known}--x--").as_bytes());
        assert_eq!(tree(folder.as_ref()), ["old/", "old/x=x"], "{field:?} {known}");
    }
    let folder = Folder::new(&[]);
    let server = accepting(&folder, Uploads::new());
    let mut client = connect(&server);
    let head =
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n";
    let more = "If: (<urn:uuid:none>)\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(format!("{head}{more}").as_bytes()).unwrap();
    let got = answer(&mut client);
    assert!(got.starts_with("HTTP/1.1 412 "), "{got}");
}

/// The page of the error replaces the page of the folder, so it has a link back.
#[test]
fn the_error_of_a_form_links_to_its_folder() {
    let folder = Folder::new(&[("box/a", "1")]);
    let uploads = Uploads::new().max_size(1000);
    let server = serve(Http::new(folder.handler().link_up(true).uploads(uploads)));
    let (one, large) = (form(["a".to_owned()].into_iter()), vec![b'x'; 1001]);
    let multipart = "multipart/form-data; boundary=x";
    for (target, content_type, accept, body, status, link) in [
        ("/box/", multipart, "text/html", &one, 409, Some("<./>; rel=\"up\"")),
        ("/box/", multipart, "text/html", &large, 413, Some("<./>; rel=\"up\"")),
        ("/box/", "text/plain", "text/html", &one, 415, Some("<./>; rel=\"up\"")),
        ("/box/", multipart, "*/*", &one, 409, None),
        ("/box", multipart, "text/html", &one, 308, None),
    ] {
        let fields = [("content-type", content_type), ("accept", accept)];
        let got = ask(&server, "POST", target, &fields, body);
        assert_eq!((got.status().as_u16(), got.header("link")), (status, link), "{target} {content_type} {accept}");
    }
}

fn form(names: impl Iterator<Item = String>) -> Vec<u8> {
    let parts: String = names.map(|name| part("file", Some(&name), "x")).collect();
    (parts + "--x--\r\n").into_bytes()
}

/// One form occupies a worker for a bounded time, and its error message is short.
#[test]
fn forms_are_bounded() {
    let folder = Folder::new(&[]);
    let server = accepting(&folder, Uploads::new());
    let fields = [("content-type", "multipart/form-data; boundary=x")];
    let send = |names: Vec<String>| ask(&server, "POST", "/", &fields, &form(names.into_iter()));
    // Folders are counted at any depth.
    let got = send((0..30).map(|number| format!("{number}/{}f", "d/".repeat(60))).collect());
    assert_eq!(got.status(), 413, "{}", got.text());
    assert!(got.text().contains("in at most 1000 folders"), "{}", got.text());
    let made = tree(folder.as_ref()).iter().filter(|name| name.ends_with('/')).count();
    assert_eq!(made, 16 * 61, "a name with too many folders creates none of them");
    // A form may have many files in one folder. Its error message names only some of them.
    let long = |number: usize| format!("many/{number}-{}", "n".repeat(200));
    assert_eq!(send((0..500).map(long).collect()).status(), 303);
    let mut names: Vec<String> = (500..600).map(long).collect();
    names.push(long(0));
    let got = send(names);
    assert_eq!(got.status(), 409, "{}", got.text());
    assert!(got.text().len() < 5000 && got.text().contains("and 90 more"), "{}", got.text());
}

/// The request waits at one name, and reports that, until its client has disconnected.
struct Waits(Mutex<Channels>);

type Channels = (mpsc::Sender<()>, mpsc::Receiver<()>);

impl Layer for Waits {
    fn before_body(&self, request: &Request, _: &mut modest::BodyPlan) -> modest::Result<()> {
        let none = (mpsc::channel().0, mpsc::channel().1);
        let waiting = Mutex::new(std::mem::replace(&mut *self.0.lock().unwrap(), none));
        let has_waited = AtomicBool::new(false);
        request.put(Permissions::new("x", move |_, path| {
            if path == b"/200" && !has_waited.swap(true, Relaxed) {
                let (begin, gone) = &*waiting.lock().unwrap();
                begin.send(()).unwrap();
                gone.recv().unwrap();
            }
            true
        }));
        Ok(())
    }
}

/// Sends a form whose client disconnects while the form waits at the name `200`. `begun`: a name that is stored before.
/// Returns the folder when the form has ended.
fn stored_of_a_client_that_disconnects(body: &[u8], begun: Option<&str>) -> Folder {
    let folder = Folder::new(&[]);
    let ((gone, waits), (begin, begins)) = (mpsc::channel(), mpsc::channel());
    let server = serve(folder.handler().uploads(Uploads::new()).layer(Waits(Mutex::new((begin, waits)))));
    let mut client = connect(&server);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(body).unwrap();
    begins.recv_timeout(PATIENCE).expect("the form waits");
    assert!(begun.is_none_or(|name| folder.path(name).exists()), "{begun:?} is stored");
    drop(client);
    gone.send(()).unwrap();
    wait_for_silence(&server);
    folder
}

#[test]
fn a_form_stops_when_its_client_disconnects() {
    let folder = stored_of_a_client_that_disconnects(&form((0..10_000).map(|number| number.to_string())), Some("199"));
    let stored = fs::read_dir(folder.as_ref()).unwrap().count();
    assert!((200..9000).contains(&stored), "{stored}");
}

/// A part can be as long as the form, and takes as long to copy, or to skip.
#[test]
fn a_long_part_stops_when_its_client_disconnects() {
    let (long, short) = ("c".repeat(40 << 20), "c".to_owned());
    for (of_file, of_field) in [(&long, &short), (&short, &long)] {
        let part =
            |about: &str, content: &str| format!("--x\r\nContent-Disposition: form-data; {about}\r\n\r\n{content}\r\n");
        let body = part("name=\"f\"; filename=\"200\"", of_file)
            + &part("name=\"ignored\"", of_field)
            + &part("name=\"f\"; filename=\"last\"", "c")
            + "--x--\r\n";
        let folder = stored_of_a_client_that_disconnects(body.as_bytes(), None);
        let lengths = (of_file.len(), of_field.len());
        assert_eq!(folder.path("200").exists(), of_file == &short, "{lengths:?}");
        assert!(!folder.path("last").exists(), "{lengths:?}");
    }
}
