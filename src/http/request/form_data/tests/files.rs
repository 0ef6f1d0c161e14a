//! Files that are saved, their names, and forms of any content.

use super::*;

#[test]
fn files_are_saved_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved");
    let content = "line\r\n".repeat(20_000);
    let body = with_content(&content);
    let save = |body: &str| {
        let mut form = FormData::new(Slow(body.as_bytes(), 1000), TYPE, FormDataLimits::default()).unwrap();
        let saved = form.next_part().unwrap().unwrap().save(&path);
        saved.map_err(|err| err.status().as_u16())
    };
    assert_eq!(save(&body), Ok(content.len() as u64));
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
    assert_eq!(save(&with_content("other")), Err(409));
    assert_eq!(fs::read_to_string(&path).unwrap(), content, "the existing file is kept");
    fs::remove_file(&path).unwrap();
    assert_eq!(save(&body[..body.len() / 2]), Err(400));
    assert!(!path.exists(), "half a file is removed");
    std::os::unix::fs::symlink("elsewhere", &path).unwrap();
    assert_eq!(save(&body), Err(409));
    assert!(!folder.path().join("elsewhere").exists(), "a link is not followed");
    fs::remove_file(&path).unwrap();
    let panics = std::panic::catch_unwind(|| {
        let reader = Failing { bytes: body.as_bytes(), left: 1000, interrupted: false, panics: true };
        let mut form = FormData::new(reader, TYPE, FormDataLimits::default()).unwrap();
        form.next_part().unwrap().unwrap().save(&path).map_err(|err| err.status())
    });
    assert!(panics.is_err() && !path.exists(), "a partial file is removed even if the reader panics");
    let missing = folder.path().join("missing/saved");
    let mut form = FormData::new(body.as_bytes(), TYPE, FormDataLimits::default()).unwrap();
    assert_eq!(form.next_part().unwrap().unwrap().save(missing).unwrap_err().status(), 500);
}

/// Half of a file is never visible, and a name that is taken while the file arrives is not overwritten.
#[test]
fn a_file_has_its_name_when_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saved.txt");
    let names = || {
        let entries = fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with(crate::new_file::PREFIX)).collect();
        names.sort();
        names
    };
    /// Calls a function when a byte in the middle of the content is read.
    struct Between<'a, F>(&'a [u8], usize, F);
    impl<F: FnMut()> Read for Between<'_, F> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.len() < self.1 {
                (self.2)();
                self.1 = 0;
            }
            let most = buffer.len().min(100);
            self.0.read(&mut buffer[..most])
        }
    }
    let body = with_content(&"line\r\n".repeat(20_000)).replace("name=\"n\"", "name=\"n\"; filename=\"saved.txt\"");
    assert!(body.contains("filename"), "{}", &body[..100]);
    for (takes_name, by_path, expected) in [
        (false, true, Ok(vec!["saved.txt"])),
        (false, false, Ok(vec!["saved.txt"])),
        (true, true, Err(409)),
        (true, false, Ok(vec!["saved-1.txt", "saved.txt"])),
    ] {
        let meanwhile = || {
            assert_eq!(names(), [""; 0], "half a file is visible");
            takes_name.then(|| fs::write(&path, "another").unwrap());
        };
        let reader = Between(body.as_bytes(), body.len() / 2, meanwhile);
        let mut form = FormData::new(reader, TYPE, FormDataLimits::default()).unwrap();
        let mut part = form.next_part().unwrap().unwrap();
        let saved = if by_path { part.save(&path).map(drop) } else { part.save_in(folder.path()).map(drop) };
        let saved = saved.map(|()| names()).map_err(|err| err.status().as_u16());
        let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(saved, expected, "taken: {takes_name}, by path: {by_path}");
        if takes_name {
            assert_eq!(fs::read_to_string(&path).unwrap(), "another");
        }
        names().iter().for_each(|name| fs::remove_file(folder.path().join(name)).unwrap());
    }
}

/// It fails before the content is read.
#[test]
fn a_path_that_no_file_can_have_fails() {
    let folder = tempfile::tempdir().unwrap();
    let body = with_content("x");
    for (name, expected) in [(".", 409), ("..", 409), ("new/", 500), ("", 409), ("missing/x", 500), ("\0", 500)] {
        let mut form = FormData::new(body.as_bytes(), TYPE, FormDataLimits::default()).unwrap();
        let mut path = folder.path().join("x").into_os_string().into_string().unwrap();
        path.truncate(path.len() - 1);
        let saved = form.next_part().unwrap().unwrap().save(path + name);
        assert_eq!(saved.map_err(|err| err.status().as_u16()), Err(expected), "{name:?}");
    }
}

#[test]
fn a_form_without_a_chosen_file_has_no_file_name() {
    for (file_name, expected) in [("filename=\"\"", None), ("filename=\"/\"", Some("file")), ("x=y", None)] {
        let body = format!("--abc\r\nContent-Disposition: form-data; name=f; {file_name}\r\n\r\n\r\n--abc--");
        let mut form = FormData::new(body.as_bytes(), TYPE, FormDataLimits::default()).unwrap();
        assert_eq!(form.next_part().unwrap().unwrap().safe_file_name().as_deref(), expected, "{file_name}");
    }
}

#[test]
fn safe_file_names() {
    let long = "é".repeat(200);
    for (sent, expected) in [
        ("photo.jpg", "photo.jpg"),
        ("un été à la mer.tar.gz", "un été à la mer.tar.gz"),
        ("日本語.png", "日本語.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\dir\\x.txt", "x.txt"),
        ("/", "file"),
        ("a/", "file"),
        ("", "file"),
        (".", "file"),
        ("..", "file"),
        (" . . ", "file"),
        (".htaccess", "htaccess"),
        ("... .bashrc", "bashrc"),
        ("x.txt. . ", "x.txt"),
        ("x.txt\u{a0}", "x.txt"),
        ("a\0b\r\nc\u{1b}d\u{7f}e\u{9b}", "a_b__c_d_e_"),
        ("a<b>c:d\"e|f?g*h", "a_b_c_d_e_f_g_h"),
        ("x.txt::$DATA", "x.txt__$DATA"),
        ("harmless\u{202e}gpj.exe", "harmless_gpj.exe"),
        ("\u{61c}\u{200b}a\u{feff}\u{2028}", "__a__"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Aux .tar.gz", "_Aux .tar.gz"),
        ("com1", "_com1"),
        ("LPT³.x", "_LPT³.x"),
        (".con", "_con"),
        ("com10", "com10"),
        ("conin$", "_conin$"),
        ("console", "console"),
        (&format!("{long}.jpeg"), &format!("{}.jpeg", "é".repeat(125))),
        (&format!("x.{long}"), &format!("x.{}", "é".repeat(126))),
        (&long, &"é".repeat(127)),
        (&format!("CON{}x", " ".repeat(300)), "_CON"),
        (&format!("CON{}.txt", " ".repeat(248)), &format!("_CON{}.txt", " ".repeat(247))),
    ] {
        assert_eq!(file_name::safe(sent), expected, "{sent:?}");
    }
}

proptest! {
    #[test]
    fn a_safe_file_name_is_safe(sent in "\\PC{0,300}|[.a/\\\\ \u{0}-\u{ff}]{0,300}|(CON|com1|nul)[ .]{0,300}[a-z.]{0,80}") {
        let safe = file_name::safe(&sent);
        prop_assert!((1..=255).contains(&safe.len()), "{safe:?}");
        prop_assert!(!safe.starts_with('.') && !safe.ends_with(['.', ' ']), "{safe:?}");
        prop_assert!(!safe.contains(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c)), "{safe:?}");
        prop_assert_eq!(file_name::safe(&safe), safe);
    }

    /// The saved content equals the sent content, for all places at which the body is cut. The content has many
    /// beginnings of delimiters.
    #[test]
    fn written_content_is_read_back(contents in prop::collection::vec("(\r|\n|-|ab|\r\n--ab|x){0,40}", 0..5), cut in 1usize..40) {
        prop_assume!(contents.iter().all(|content| !format!("\r\n{content}").contains("\r\n--abc")));
        let part = |content| format!("--abc\r\nContent-Disposition: form-data; name=n\r\n\r\n{content}\r\n");
        let body = contents.iter().map(part).collect::<String>() + "--abc--";
        let seen = parts(body.as_bytes(), cut, TYPE, FormDataLimits::default());
        let seen: Vec<_> = seen.unwrap().into_iter().map(|part| String::from_utf8(part.3).unwrap()).collect();
        prop_assert_eq!(seen, contents);
    }
}

#[test]
fn a_free_file_name_is_chosen() {
    let long = |end: &str| format!("{}{end}", "é".repeat((255 - end.len()) / 2));
    for (file_name, there, expected) in [
        ("a.jpg", &[][..], "a.jpg".to_owned()),
        ("a.jpg", &["a.jpg"], "a-1.jpg".to_owned()),
        ("a.jpg", &["a.jpg", "a-1.jpg"], "a-2.jpg".to_owned()),
        ("a.jpg", &["a.jpg", "a-1.jpg", "a-2.jpg"], "a-3.jpg".to_owned()),
        ("a.jpg", &["a.jpg", "a-2.jpg"], "a-1.jpg".to_owned()),
        ("../a", &["a"], "a-1".to_owned()),
        ("a.tar.gz", &["a.tar.gz"], "a-1.tar.gz".to_owned()),
        ("", &["file"], "file-1".to_owned()),
        (&long(".jpg"), &[&long(".jpg")], long("-1.jpg")),
        (&long(""), &[&long("")], long("-1")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        // A dangling link also takes a name.
        there.iter().for_each(|name| std::os::unix::fs::symlink("nowhere", folder.path().join(name)).unwrap());
        let body = format!(
            "--abc\r\nContent-Disposition: form-data; name=f; filename=\"{file_name}\"\r\n\r\nphoto\r\n--abc--"
        );
        let mut form = FormData::new(body.as_bytes(), TYPE, FormDataLimits::default()).unwrap();
        let saved = form.next_part().unwrap().unwrap().save_in(folder.path()).unwrap();
        assert_eq!(saved, folder.path().join(expected), "{file_name} beside {there:?}");
        assert_eq!(fs::read_to_string(saved).unwrap(), "photo", "{file_name} beside {there:?}");
    }
    let body = with_content("x");
    let mut form = FormData::new(body.as_bytes(), TYPE, FormDataLimits::default()).unwrap();
    assert_eq!(form.next_part().unwrap().unwrap().save_in("/no/such/folder").unwrap_err().status(), 500);
}
