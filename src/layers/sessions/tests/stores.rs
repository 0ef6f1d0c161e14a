//! Stores by themselves: bounds, damaged and odd files.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// When a store is full, those that expire first are removed, even if others expire at the same time.
#[test]
fn the_sessions_that_expire_first_are_removed_first() {
    let now = SystemTime::now();
    for ties in [1, 4, 8, 14] {
        let store = MemorySessions::new().limit(16);
        let (late, early) = (now + Duration::from_secs(9), now + Duration::from_secs(1));
        for number in 0..16 {
            // The number of sessions that expire first is 16 - `ties`; the order in the table is random.
            store.save(&number.to_string(), b"x", if number < ties { late } else { early }).unwrap();
        }
        store.save("more", b"x", late).unwrap();
        let left = |numbers: std::ops::Range<i32>| {
            numbers.filter(|number| store.load(&number.to_string()).unwrap().is_some()).count()
        };
        let (late, early) = (left(0..ties), left(ties..16));
        assert!(late as i32 == ties || early == 0, "{late} of {ties} and {early} of {} are left", 16 - ties);
        assert!(late + early >= 12);
    }
}

fn files() -> (tempfile::TempDir, Http<impl RequestHandler>) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileSessions::open(folder.path()).unwrap();
    let http = Http::new(app().layer(Sessions::new(store)));
    (folder, http)
}

fn only_file(folder: &std::path::Path) -> std::path::PathBuf {
    let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.next().unwrap()
}

#[test]
fn damaged_files_are_ignored() {
    let (folder, http) = files();
    let mut ada = Browser::new(&http);
    ada.expect("in=ada", "");
    let path = only_file(folder.path());
    let whole = fs::read_to_string(&path).unwrap();
    let times = |created: u64, seen: u64| format!(r#"{{"created":{created},"seen":{seen},"own":{{}},"values":{{}}}}"#);
    let other = format!(r#"{{"moved":"{}"}}"#, "0".repeat(64));
    let itself = format!(r#"{{"moved":"{}"}}"#, path.file_name().unwrap().to_str().unwrap());
    let cut = (0..whole.len()).map(|length| whole[..length].to_owned());
    let odd = [
        "null",
        "[]",
        "{}",
        "\u{fe}",
        &times(u64::MAX, u64::MAX),
        &times(i64::MAX as u64, i64::MAX as u64),
        &times(1, u64::MAX),
        r#"{"moved":"../../etc/passwd"}"#,
        r#"{"moved":"ä"}"#,
        r#"{"moved":1}"#,
        &other,
        &itself,
    ];
    for text in cut.chain(odd.map(str::to_owned)) {
        fs::write(&path, &text).unwrap();
        ada.expect("name", "nobody");
    }
    // Damage during a request, whose changes are then lost.
    let layer = Sessions::new(FileSessions::open(folder.path()).unwrap());
    for text in odd {
        fs::write(&path, &whole).unwrap();
        let request = Request::get("/").with_header("cookie", ada.cookie.clone().unwrap());
        layer.before_body(&request, &mut crate::BodyPlan::default()).unwrap();
        let session = Session::of(&request).unwrap();
        fs::write(&path, text).unwrap();
        session.insert("a", "1").unwrap();
        assert!(layer.save(&request, &session, request.now(), true).unwrap().is_none(), "{text}");
        assert_eq!(layer.check_again(&request).unwrap_err().status(), 403, "{text}");
    }
}

/// Opening a FIFO would wait for a writer, forever.
#[test]
fn entries_that_are_not_files_are_ignored() {
    let (folder, http) = files();
    let mut ada = Browser::new(&http);
    ada.expect("in=ada", "");
    let path = only_file(folder.path());
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    let old = SystemTime::now() - Duration::from_secs(1_000_000);
    for kind in ["FIFO", "folder", "link", "link to itself"] {
        match kind {
            "FIFO" => assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()),
            "folder" => fs::create_dir(&path).unwrap(),
            "link" => symlink(&elsewhere, &path).unwrap(),
            _ => symlink(&path, &path).unwrap(),
        }
        if kind == "folder" {
            fs::File::open(&path).unwrap().set_modified(old).unwrap();
        }
        ada.expect("name", "nobody");
        ada.expect("name&out", "nobody");
        FileSessions::open(folder.path()).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let store = FileSessions::open(folder.path()).unwrap();
        let key = path.file_name().unwrap().to_str().unwrap();
        assert!(store.load(key).unwrap().is_none(), "{kind}");
        store.remove(key).unwrap();
        if fs::symlink_metadata(&path).is_ok() {
            if kind == "folder" { fs::remove_dir(&path).unwrap() } else { fs::remove_file(&path).unwrap() }
        }
        assert!(elsewhere.exists());
    }
}

/// The error names the folder. A change that was stored does not fail because of other files.
#[test]
fn errors_of_a_folder_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a-file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = FileSessions::open(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
    }
    let sessions = folder.path().join("sessions");
    let store = FileSessions::open(&sessions).unwrap();
    let key = |number: u32| format!("{number:064x}");
    let odd = sessions.join(key(9));
    fs::create_dir(&odd).unwrap();
    fs::File::open(&odd).unwrap().set_modified(SystemTime::now() - Duration::from_secs(9)).unwrap();
    for number in 0..2500 {
        store.save(&key(number % 3), b"x", SystemTime::now() + Duration::from_secs(9)).unwrap();
    }
    fs::remove_dir_all(&sessions).unwrap();
    assert!(store.save(&key(0), b"x", SystemTime::now()).is_err());
}
