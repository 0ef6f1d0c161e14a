//! A form for logins, beside Basic authentication with the same file.

use super::*;
use crate::layers::{MemorySessions, Session, Sessions, TrustedProxies};
use crate::{Routes, SentResponse};

/// The form at `/login`, and Basic authentication at `/basic`.
fn serve(users: &Arc<UserFile>) -> testing::TestServer {
    let app = Routes::new()
        .get("/", |_, request| {
            let session = Session::of(request)?;
            session.insert("visited", &true)?;
            Ok(Response::text(session.user().map_or("nobody".to_owned(), |user| user.name().to_owned())))
        })
        .post("/login", |users: &UserFile, request| {
            let form = request.form()?;
            let (name, password): (String, String) = (form.parse("name")?, form.parse("password")?);
            match users.verify(request, &name, &password)? {
                Some(user) => Session::of(request)?.log_in(user),
                None => return Err(Error::new(403, "Name or password is wrong.")),
            }
            Ok(Response::redirect("/"))
        })
        .mount("/basic", whoami().layer(BasicAuth::new("r").users(Arc::clone(users))))
        .with_shared_state(Arc::clone(users));
    let proxies = TrustedProxies::new(["127.0.0.1".parse().unwrap()]);
    testing::serve(app.layer(Sessions::new(MemorySessions::new())).layer(proxies))
}

fn login(client: &str, name: &str, password: &str) -> TestRequest {
    let request = TestRequest::new(Method::POST, "/login").with_header("x-forwarded-for", client);
    request.with_form(&[("name", name), ("password", password)])
}

/// Returns the status of a login, which never has a challenge, and has `Retry-After` if the password was not checked.
#[track_caller]
fn status(sent: &SentResponse) -> u16 {
    let status = sent.status().as_u16();
    sent.assert_no_header("www-authenticate");
    assert_eq!(sent.header("retry-after").is_some(), [429, 503].contains(&status), "{sent:?}");
    status
}

#[test]
fn a_form_has_the_rules_of_basic_authentication() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = Arc::new(UserFile::open(&path).unwrap().wrong_passwords(20, Duration::from_secs(3600)));
    let server = serve(&users);
    for (name, password, expected, hashes) in [
        ("ada", "wrong", 403, 1),
        ("ada", "a long secret", 303, 2),
        ("ada", "a long secret", 303, 2), // remembered
        ("bob", "a long secret", 403, 3), // an unknown name also costs a hash
        ("", "a long secret", 403, 4),
        ("", "", 403, 5),
        ("ada", "", 403, 6),
        ("ada:a long secret", "", 403, 7), // the name of no user has a colon
        ("ada:", "a long secret", 403, 8),
        ("Ada", "a long secret", 403, 9),
        ("ada\n", "a long secret", 403, 9), // neither a name nor a password has control characters
        ("ada", "a long secret\0", 403, 9),
        ("ada", &"a long secret".repeat(100), 403, 9), // a password this long is not hashed
        ("ada", &"x".repeat(50_000), 403, 9),
        (&"x".repeat(50_000), "a long secret", 403, 10),
    ] {
        let sent = server.send(login("192.0.2.1", name, password));
        assert_eq!((status(&sent), hashed(&users)), (expected, hashes), "{name:.20} {password:.20}");
    }
    // Both remember passwords for the address.
    let basic = |client: &str| {
        let request = TestRequest::new(Method::GET, "/basic").with_header("authorization", ADA);
        server.send(request.with_header("x-forwarded-for", client)).status().as_u16()
    };
    assert_eq!((basic("192.0.2.1"), hashed(&users)), (200, 10));
    assert_eq!((basic("192.0.2.2"), hashed(&users)), (200, 11));
    assert_eq!((status(&server.send(login("192.0.2.2", "ada", "a long secret"))), hashed(&users)), (303, 11));
}

#[test]
fn guesses_by_a_form_and_by_basic_authentication_have_one_limit() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().wrong_passwords(3, Duration::from_secs(3600)).hashes_at_once(1, 0);
    let users = Arc::new(users);
    let server = serve(&users);
    let login = |client, password| status(&server.send(login(client, "ada", password)));
    let basic = |client: &str, field: &str| {
        let request = TestRequest::new(Method::GET, "/basic").with_header("authorization", field);
        server.send(request.with_header("x-forwarded-for", client)).status().as_u16()
    };
    const WRONG: &str = "Basic YWRhOnNlY3JldA==";
    assert_eq!((login("192.0.2.1", "wrong"), basic("192.0.2.1", WRONG), login("192.0.2.1", "x")), (403, 401, 403));
    assert_eq!(["wrong", "a long secret"].map(|password| login("192.0.2.1", password)), [429, 429]);
    assert_eq!((basic("192.0.2.1", ADA), hashed(&users)), (429, 3));
    assert_eq!(login("192.0.2.2", "a long secret"), 303, "another client has its own limit");
    let _held = [users.slots.take().unwrap(), users.slots_of_familiar.take().unwrap()];
    assert_eq!([login("192.0.2.2", "a long secret"), login("192.0.2.3", "a long secret")], [303, 503]);
}

/// A client that knew the id from before the login is not logged in.
#[test]
fn a_login_gives_the_session_a_new_id() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let server = serve(&Arc::new(UserFile::open(&path).unwrap()));
    let (mut ada, mut eve) = (server.browser().follow_redirects(true), server.browser());
    ada.get("/").assert_text("nobody");
    let before = ada.cookie("modest-session").unwrap().to_owned();
    eve.set_cookie("modest-session", &before);
    ada.send(login("192.0.2.1", "ada", "wrong")).assert_status(403);
    assert_eq!(ada.cookie("modest-session"), Some(&*before), "only a login changes the id");
    ada.send(login("192.0.2.1", "ada", "a long secret")).assert_status(200).assert_text("ada");
    assert_ne!(ada.cookie("modest-session"), Some(&*before));
    eve.get("/").assert_text("nobody");
}

/// Clients with right and wrong passwords at once, while the file changes.
#[test]
fn many_clients_log_in_while_the_file_changes() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().reload(Duration::ZERO).hashes_at_once(2, 2);
    let server = serve(&Arc::new(users));
    let new = path.with_extension("new");
    let replace = |lines: &str| {
        fs::write(&new, lines).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    thread::scope(|scope| {
        let begin = |client| {
            let server = &server;
            scope.spawn(move || {
                for number in 0..30 {
                    let (name, password, possible) = match number % 3 {
                        0 => ("ada", "a long secret", [303, 429, 503]),
                        1 => ("ada", "wrong", [403, 429, 503]),
                        _ => ("bob", "a long secret", [403, 429, 503]),
                    };
                    let found = status(&server.send(login(&format!("192.0.2.{client}"), name, password)));
                    assert!(possible.contains(&found), "{name} {password}: {found}");
                }
            })
        };
        let clients: Vec<_> = (0..6).map(begin).collect();
        let files = [format!("ada:{ARGON2}\n"), "broken\n".into(), format!("ada:{BCRYPT}\n")];
        let mut files = files.iter().cycle();
        while clients.iter().any(|client| !client.is_finished()) {
            files.next().into_iter().for_each(|lines| replace(lines));
        }
    });
    replace(&format!("ada:{ARGON2}\n"));
    assert_eq!(status(&server.send(login("198.51.100.1", "ada", "a long secret"))), 303);
    replace(&format!("bob:{BCRYPT}\n"));
    let after = ["ada", "bob"].map(|name| status(&server.send(login("198.51.100.1", name, "a long secret"))));
    assert_eq!(after, [403, 303], "a deleted user can't log in, and a new one can");
}
