//! Files and folders by a form, `multipart/form-data`.

use modest::Uploads;
use modest::testing::serve;

use super::super::Folder;
use super::{ask, taking, tree};

fn part(name: &str, file_name: Option<&str>, content: &str) -> String {
    let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
    format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file_name}\r\n\r\n{content}\r\n")
}

#[test]
fn forms() {
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
            "a: There is a file of that name, and none is overwritten. Stored before: a.",
        ),
        (vec![part("file", Some(attack), "1")], 400, &[], "That is no name."),
        (vec![part("file", Some("/etc/passwd"), "1")], 400, &[], "That is no name."),
        (vec![part("file", Some(&("d/".repeat(64) + "f")), "1")], 400, &[], "at most 63 folders"),
        (vec![part("file", Some("a//b"), "1")], 400, &["a/"], "That is no name."),
        (vec![part("file", Some("a\\b"), "1")], 400, &[], "no slashes"),
        (vec![part("file", Some(".profile"), "1")], 403, &[], "begin with a dot"),
        (vec![part("file", Some(".git/hooks/x"), "1")], 403, &[], "begin with a dot"),
        (vec![part("file", Some("a%0D%0Ab"), "1")], 400, &[], "no control characters"),
        (vec![part("folder", None, "../up")], 400, &[], ""),
        (vec![part("folder", None, "a/b")], 400, &[], "no slashes"),
        (vec![part("folder", None, "a"), part("folder", None, "a")], 409, &["a/"], ""),
        (vec!["--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"cut\"\r\n\r\nhalf".into()], 400, &[], ""),
    ] {
        let folder = Folder::new(&[]);
        let server = taking(&folder, Uploads::new());
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
    assert_eq!(server.get("/p/in/a").body().len(), 200_000);
}
