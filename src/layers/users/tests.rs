//! Tests of `users`: hashes of real tools, the cache of passwords, and limits of wrong passwords.

#[cfg(feature = "sessions")]
mod forms; // a form for logins

use std::fs;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use tempfile::TempDir;

use super::hash::StoredHash;
use super::table::Table;
use super::*;
use crate::layers::BasicAuth;
use crate::testing::TestRequest;
use crate::{Client, Http, Method, RequestHandler, Response, handler_fn, testing};

/// Cheap hashes of `a long secret`, created by `htpasswd -B -C 4` and `argon2 -t 1 -k 64`.
const BCRYPT: &str = "$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2";
const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQxMg$9cZOt57y3I95joP8WGtXTlGCZLSG+yEnsXl7hZcGfPE";

/// The hashes were created by `htpasswd`, `mkpasswd`, `openssl passwd` and `argon2`.
#[test]
fn hashes_of_real_tools() {
    for (password, hash) in [
        ("a long secret", BCRYPT),
        ("a long secret", ARGON2),
        ("a long secret", "$2a$05$1emnXW6pyq.XZlieNCCp7eeXxX5xEFRXD8Yz1z9davhPJQB5g0mii"),
        ("a long secret", "$2b$05$xZ1OaLI7uM8Ohi0ILX1ijOJyrTuL1fw26xpeNdPoT/AkV9Lw30PWK"),
        (
            "pässwörd:1",
            "$6$zfa5nA4AVQFSttLv$PJMWC2CySzE9wy4jedvb0h2HtoOQ1hwihAqOhs4CCDY1gKZIiiMY7668IZYcAgcC0HWhpl.bDEJxAcjekXveo.",
        ),
        ("x", "$5$rW1nZVrDqwo8p4JX$AmhwoYHb6LLjFNkXN3ovbq4nauqm0KLfwr7TK/0C5e6"),
        ("a long secret", "$5$vCUqTgn5wLQ.BAGs$jOZx3E5tMQGDcEy/.LZNO9/kMaoAFk73cX2B8nVTWw3"),
        (
            "a long secret",
            "$6$B8IZokH6LALLwN1.$nasNU/GYggq8ATPfmkiCjlWKFp/tHy.youuxrOaWMZy5phGGd0dcXUxTgtCtDdn2XoYs7RcHDXGK2OSaoWwWV.",
        ),
        (
            "a long secret",
            "$6$rounds=1000$/5n0FbGt1JIkX4AV$yrejcAOz/JLvVvxegBNX9ZQqGZK/3MoYnBvm3By.DDXk.7bC8hm1mOgbBRw643rBldm0H2SR38zggeNfGM3xd1",
        ),
        ("pässwörd:1", "$5$rounds=2000$2eMNpPL1YK.Advzq$tqJw0OEo9Bl4hQfgSbV5nSeavotBivnLyMpnujTzP26"),
        ("a long secret", "$argon2i$v=19$m=64,t=3,p=2$c29tZXNhbHQxMg$AbZzzfwz2U8cyXAK46h2g0lNN+oKwylmr35rEQ74Oa4"),
        ("a long secret", "$argon2d$v=19$m=64,t=1,p=1$c29tZXNhbHQxMg$ZUxPcPFhOnrhZrlwN902yd4pYzhc2XtjaSK6P2NgF9o"),
        ("a long secret", "$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQxMg$0Xe3bLPXdOBUNzhDFRDDACiPeJnt6NCRFE3O0wmKSjI"),
    ] {
        let stored = StoredHash::parse(hash).unwrap_or_else(|why| panic!("{hash}: {why}"));
        assert!(stored.is_of(password.as_bytes()), "{hash}");
        for wrong in ["", "a", "A long secret", "a long secret ", &format!("{password}{password}"), "x\0"] {
            assert!(!stored.is_of(wrong.as_bytes()), "{hash}: {wrong:?}");
        }
    }
}

#[test]
fn a_generated_hash_verifies() {
    let line = UserFile::line("ada", "pässwörd: 1").unwrap();
    assert_ne!(line, UserFile::line("ada", "pässwörd: 1").unwrap(), "each line has its own salt");
    let table = Table::parse(&line).ok().unwrap();
    assert!(table.get("ada").unwrap().hash.is_of("pässwörd: 1".as_bytes()));
    for password in ["", "x\ny"] {
        assert!(UserFile::line("a", password).is_err(), "{password:?}");
    }
    assert!(UserFile::line("a", &"x".repeat(1025)).is_err());
}

/// Each name that a users file accepts can be in a rule, and the rule is for that user.
#[test]
fn rules_can_name_each_user() {
    use crate::layers::PathRule;
    for (name, expected) in [
        ("ada", true),
        ("ada@example.org", true),
        ("Käthe-1_2.3/x;y", true),
        ("", false),
        ("a:b", false),
        ("a,b", false),
        ("a=b", false),
        ("a b", false),
        ("a*", false),
        ("*", false),
        ("@staff", false),
        ("#a", false),
        (" a", false),
        ("a\n", false),
        ("a\u{a0}b", false),
    ] {
        assert_eq!(UserFile::line(name, "x").is_ok(), expected, "{name:?}");
        let rule = format!("/p={name}:read").parse::<PathRule>();
        assert_eq!(rule.is_ok_and(|rule| rule.users().eq([name])), expected, "{name:?}");
    }
}

#[test]
fn invalid_lines_are_rejected_with_a_reason() {
    let rounds = "$6$rounds=999999999$/5n0FbGt1JIkX4AV$yrejcAOz/JLvVvxegBNX9ZQqGZK/3MoYnBvm3By.DDXk.7bC8hm1mOgbBRw643rBldm0H2SR38zggeNfGM3xd1";
    for (lines, why) in [
        ("ada", "line 1: expected NAME:HASH"),
        (":x", "line 1: expected the name of a user"),
        ("ada:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=", "line 1: ada: this is SHA-1 without salt"),
        ("\nada:$apr1$YWWNGi7W$Dc2h1itjJAkJ.lUDQydyc/", "line 2: ada: this is MD5"),
        ("ada:$1$5cYHTsat$/U0nZOPUjJrzn0QhcYBo5/", "this is MD5"),
        ("ada:uGM/Uv7tWpV4k", "this may be DES"),
        ("ada:secret", "this is not the hash"),
        ("ada:", "this is not the hash"),
        ("ada:$y$j9T$d5YMcasGR5sBQwC.pyC7L1$xNqcwnuf0mKbwLyWNPxxCDDYMfbEVe01m2KZKGqyZo8", "not supported"),
        ("ada:$2x$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2", "computed wrongly"),
        ("ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWx", "not a complete bcrypt hash"),
        ("ada:$2y$31$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2", "the cost of bcrypt must be 4 to 16"),
        ("ada:$5$salt$short", "not a complete SHA-crypt hash"),
        ("ada:$6$", "not a complete SHA-crypt hash"),
        (&format!("ada:{rounds}"), "the rounds of SHA-crypt"),
        ("ada:$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQxMg", "not a complete argon2 hash"),
        ("ada:$argon2id$v=19$m=524288,t=1,p=1$c29tZXNhbHQxMg$rkgW8JhKMmvjHe6t9Fi3igvEj6wa0EutUkpBgGZYc/4", "256 MiB"),
        (&format!("ada:{BCRYPT}\nbob:{BCRYPT}\nada:{BCRYPT}"), "line 3: ada is in the file twice"),
    ] {
        let error = Table::parse(lines).err().unwrap_or_else(|| panic!("{lines:?} is taken"));
        assert!(error.contains(why), "{lines:?}: {error}");
        let secret = lines.rsplit(':').next().unwrap_or_default();
        assert!(
            secret.len() < 3 || lines == "ada" || !error.contains(secret),
            "what may be a password is repeated: {error}"
        );
    }
    let error = UserFile::open("/nonexistent/users").unwrap_err().to_string();
    assert_eq!(error, "/nonexistent/users: No such file or directory");
    assert!(UserFile::open("/dev/zero").unwrap_err().to_string().contains("not a file of users"));
    for empty in ["", "# none\n\n"] {
        let (_folder, path) = file(empty);
        let error = UserFile::open(path).unwrap_err().to_string();
        assert!(error.contains("it contains no users"), "{error}");
    }
    assert!(Table::parse(&format!("# us\r\n\r\n  käthe:{BCRYPT}\r\n")).is_ok());
}

fn file(lines: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    fs::write(&path, lines).unwrap();
    (folder, path)
}

fn hashed(users: &UserFile) -> usize {
    users.hashed.load(Relaxed)
}

const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

#[test]
fn correct_passwords_are_cached() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap();
    let knows = |name, password| users.knows(HOME, name, password).unwrap();
    for (name, password, is, hashes) in [
        ("ada", "wrong", false, 1),
        ("ada", "wrong", false, 2),
        ("ada", "a long secret", true, 3),
        ("ada", "a long secret", true, 3),
        ("ada", "wrong", false, 4), // the right one is still cached
        ("ada", "a long secret", true, 4),
        ("bob", "a long secret", false, 5), // an unknown user also costs a hash, and is always rejected
        ("bob", "a long secret", false, 6),
        ("Ada", "a long secret", false, 7),
        ("ada", &"a long secret".repeat(100), false, 7), // a password this long is not hashed
        ("ada", "a long secret\n", false, 7),            // nor one with a control character
        ("ada\0", "a long secret", false, 7),
    ] {
        assert_eq!((knows(name, password), hashed(&users)), (is, hashes), "{name} {password}");
    }
    assert_eq!(users.remembered.len(), 1);
    let users = UserFile::open(&path).unwrap().remember(Duration::ZERO);
    assert!((0..3).all(|_| users.knows(HOME, "ada", "a long secret").unwrap()));
    assert_eq!(hashed(&users), 3);
}

/// An unknown name is compared with one of the file's hashes. A keyed hash of the name selects it: always the same for
/// one name, and any of them for different names.
#[test]
fn unknown_users_are_compared_with_any_hash_of_the_file() {
    let table = Table::parse(&format!("\u{feff}a:{BCRYPT}\nb:{ARGON2}\n")).ok().unwrap();
    assert!(table.get("a").is_some(), "after a byte order mark");
    let of = |name: &str, keys: &RandomState| table.stand_in(keys.hash_one(name)).unwrap().text.clone();
    let keys = RandomState::new();
    let names: Vec<String> = (0..200).map(|number| format!("user{number}")).collect();
    let drawn: Vec<String> = names.iter().map(|name| of(name, &keys)).collect();
    assert!(drawn.contains(&BCRYPT.to_owned()) && drawn.contains(&ARGON2.to_owned()));
    assert_eq!(drawn, names.iter().map(|name| of(name, &keys)).collect::<Vec<_>>());
}

#[test]
fn the_user_file_is_reloaded_unless_it_is_broken() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().reload(Duration::ZERO);
    let knows = |name, password| users.knows(HOME, name, password).unwrap();
    assert!(knows("ada", "a long secret") && !knows("bob", "a long secret"));
    fs::write(&path, format!("bob:{BCRYPT}\nada:{ARGON2}\n")).unwrap();
    assert!(knows("bob", "a long secret"));
    let before = hashed(&users);
    assert!(knows("ada", "a long secret"));
    assert_eq!(hashed(&users), before + 1, "a changed hash must be computed again");
    for broken in ["bob:plain\n", "x", "ada:$2y$04$\n"] {
        fs::write(&path, broken).unwrap();
        assert!(knows("bob", "a long secret") && knows("ada", "a long secret"), "{broken:?}");
    }
    fs::remove_file(&path).unwrap();
    assert!(knows("bob", "a long secret"));
    // Replaced by a rename, as careful editors do.
    let new = path.with_extension("new");
    fs::write(&new, format!("ada:{BCRYPT}\n")).unwrap();
    fs::rename(&new, &path).unwrap();
    assert!(!knows("bob", "a long secret"), "a deleted user is rejected");
    assert!(knows("ada", "a long secret"));
}

/// A removed user has no access, even if it was the only user, or had the same hash as another user.
#[test]
fn a_deleted_user_has_no_access() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\nbob:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().reload(Duration::ZERO).wrong_passwords(1000, Duration::from_secs(1));
    let known = || ["ada", "bob"].map(|name| users.knows(HOME, name, "a long secret").unwrap());
    for (lines, expected) in [
        (format!("ada:{BCRYPT}\nbob:{BCRYPT}\n"), [true, true]),
        (format!("ada:{BCRYPT}\n"), [true, false]),
        (format!("# {BCRYPT}\n\n"), [false, false]),
        (format!("bob:{BCRYPT}\n"), [false, true]),
        (String::new(), [false, false]),
        (format!("ada:{BCRYPT}\n"), [true, false]),
    ] {
        fs::write(&path, &lines).unwrap();
        assert_eq!(known(), expected, "{lines:?}");
    }
}

#[test]
fn a_guessing_client_is_slowed_and_others_are_not() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\nbob:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().wrong_passwords(3, Duration::from_secs(3600));
    let other = Some("192.0.2.2".parse().unwrap());
    for _ in 0..3 {
        assert!(!users.knows(HOME, "bob", "wrong").unwrap());
    }
    let before = hashed(&users);
    for password in ["wrong", "a long secret"] {
        let refusal = users.knows(HOME, "bob", password).unwrap_err();
        assert_eq!(refusal.status(), 429);
        let wait: u64 = refusal.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1000..=1200).contains(&wait), "{wait}");
    }
    assert_eq!(hashed(&users), before, "no hash is computed for a delayed client");
    assert!(users.knows(HOME, "ada", "a long secret").unwrap(), "the right password of another user was delayed");
    assert!(users.knows(other, "bob", "a long secret").unwrap(), "another address was delayed");
    // Unknown names also count for the address, whose limit is ten times as high.
    let refused = (0..60).filter(|number| users.knows(HOME, &format!("x{number}"), "x").is_err()).count();
    assert_eq!(refused, 60 - (30 - 3));
    // The right password is not a guess.
    let users = UserFile::open(&path).unwrap().wrong_passwords(3, Duration::from_secs(3600)).remember(Duration::ZERO);
    assert!((0..50).all(|_| users.knows(HOME, "ada", "a long secret").is_ok_and(|is| is)));
    // For clients of a Unix socket without a trusted proxy, the limit per name still applies.
    for number in 0..5 {
        assert_eq!(users.knows(None, "bob", "wrong").is_err(), number >= 3, "{number}");
    }
}

/// Up to the limit each wrong password costs a hash, whether the user is cached, not cached or unknown. Beyond the
/// limit the right password gets the same response.
#[test]
fn the_password_cache_is_not_an_oracle() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\nbob:{BCRYPT}\n"));
    let other = Some("192.0.2.2".parse().unwrap());
    for (guesser, name) in [(HOME, "ada"), (HOME, "bob"), (HOME, "eve"), (other, "ada"), (other, "eve"), (None, "ada")]
    {
        let users = UserFile::open(&path).unwrap().wrong_passwords(3, Duration::from_secs(3600));
        assert!((0..50).all(|_| users.knows(HOME, "ada", "a long secret").unwrap()));
        assert_eq!(hashed(&users), 1, "a client that has done nothing wrong costs one hash");
        let status = |password| users.knows(guesser, name, password).map_err(|refusal| refusal.status().as_u16());
        for number in 2..5 {
            assert_eq!((status("wrong"), hashed(&users)), (Ok(false), number), "{guesser:?} {name}");
        }
        for password in ["wrong", "a long secret", "wrong"] {
            assert_eq!((status(password), hashed(&users)), (Err(429), 4), "{guesser:?} {name} {password}");
        }
    }
    // This also holds while all slots are taken: a guess counts even if it got 503.
    let users = UserFile::open(&path).unwrap().hashes_at_once(1, 0).wrong_passwords(3, Duration::from_secs(3600));
    assert!(users.knows(HOME, "ada", "a long secret").unwrap());
    let _held = [users.slots.take().unwrap(), users.slots_of_familiar.take().unwrap()];
    assert!(
        users.knows(HOME, "ada", "a long secret").unwrap(),
        "a password is remembered for the address that sent it"
    );
    let status = |client, password| users.knows(client, "ada", password).unwrap_err().status().as_u16();
    assert_eq!(status(other, "a long secret"), 503, "a password is not remembered for other addresses");
    assert_eq!([0; 5].map(|_| status(HOME, "wrong")), [503, 503, 503, 429, 429]);
}

/// Concurrent requests get no more guesses than successive ones.
#[test]
fn concurrent_guesses_are_limited_like_sequential_ones() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().wrong_passwords(3, Duration::from_secs(3600)).hashes_at_once(8, 8);
    assert!(users.knows(HOME, "ada", "a long secret").unwrap());
    let start = Barrier::new(8);
    let looked = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                start.wait();
                let got = (0..20).filter(|number| users.knows(HOME, "ada", &format!("{number}")).is_ok()).count();
                looked.fetch_add(got, Relaxed);
            });
        }
    });
    assert_eq!((looked.load(Relaxed), hashed(&users)), (3, 4));
}

#[test]
fn concurrent_hashes_are_limited() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().hashes_at_once(1, 1);
    let held = users.slots.take().unwrap();
    let waits = Barrier::new(2);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            waits.wait();
            users.knows(HOME, "ada", "a long secret").unwrap()
        });
        waits.wait();
        while users.slots.waiting() == 0 {
            thread::sleep(std::time::Duration::from_micros(100));
        }
        let refusal = users.knows(HOME, "ada", "a long secret").unwrap_err(); // no user was cached before
        assert_eq!((refusal.status().as_u16(), &refusal.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        drop(held);
        assert!(waiting.join().unwrap());
    });
    assert!(users.slots.take().is_some() && users.slots.waiting() == 0);
    // A request that waits while the same password is hashed needs no hash of its own.
    let users = UserFile::open(&path).unwrap().hashes_at_once(1, 30);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(users.knows(HOME, "ada", "a long secret").unwrap()));
        }
    });
    assert_eq!(hashed(&users), 1);
}

/// A rejection because no slot is free counts as a guess, so one address cannot occupy the slots forever.
#[test]
fn a_flood_of_one_address_does_not_keep_the_slots() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().hashes_at_once(1, 0).wrong_passwords(3, Duration::from_secs(3600));
    let held = users.slots.take().unwrap();
    let status = |client, name: &str| users.knows(client, name, "x").unwrap_err().status().as_u16();
    for number in 0..40 {
        let expected = if number < 30 { 503 } else { 429 };
        assert_eq!(status(HOME, &format!("user{number}")), expected, "{number}");
    }
    let other = Some("192.0.2.2".parse().unwrap());
    assert_eq!([0; 2].map(|_| status(other, "ada")), [503, 503]);
    drop(held);
    assert!(users.knows(other, "ada", "a long secret").unwrap());
}

/// During a flood from other addresses, users at an address that has sent a correct password before can log in.
#[test]
fn familiar_addresses_have_a_slot_of_their_own() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().hashes_at_once(1, 0).remember(Duration::ZERO);
    let knows = |client| users.knows(client, "ada", "a long secret").map_err(|refusal| refusal.status().as_u16());
    assert_eq!(knows(HOME), Ok(true));
    let _flood = users.slots.take().unwrap();
    assert_eq!(knows(Some("192.0.2.2".parse().unwrap())), Err(503));
    assert_eq!(knows(HOME), Ok(true));
    let _other = users.slots_of_familiar.take().unwrap();
    assert_eq!(knows(HOME), Err(503), "familiar addresses have only as many slots as others");
}

fn whoami() -> impl RequestHandler {
    handler_fn(|request| Ok(Response::text(request.user().unwrap_or_else(|| "nobody".into()))))
}

const ADA: &str = "Basic YWRhOmEgbG9uZyBzZWNyZXQ=";

#[test]
fn credentials_are_checked_before_the_body_arrives() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let users = UserFile::open(&path).unwrap().wrong_passwords(2, Duration::from_secs(3600));
    let server = testing::serve(whoami().layer(BasicAuth::new("r").users(users)));
    let request = |field: &str| {
        let request = TestRequest::new(Method::POST, "/").with_header("authorization", field);
        server.send(request.with_header("content-length", "1000000")) // the body never arrives
    };
    assert_eq!(server.get("/").status(), 401);
    for status in [401, 401, 429] {
        assert_eq!(request("Basic YWRhOnNlY3JldA==").status(), status);
    }
    let bob = request("Basic Ym9iOmEgbG9uZyBzZWNyZXQ=");
    assert_eq!((bob.status().as_u16(), bob.header("www-authenticate").is_some()), (401, true));
}

#[test]
fn optional_credentials_make_responses_private() {
    let (_folder, path) = file(&format!("ada:{BCRYPT}\n"));
    let inside = || {
        handler_fn(|request| match (request.path(), request.user()) {
            ("/open", _) => Ok(Response::text("open").with_header("cache-control", "public, max-age=9")),
            (_, None) => Err(crate::Error::new(401, "")),
            (_, Some(user)) => Ok(Response::text(user)),
        })
    };
    let auth = |users| BasicAuth::new("r").users(users).optional(true);
    let http = Http::new(inside().layer(auth(UserFile::open(&path).unwrap())));
    for (path, credentials, status, caching, challenged) in [
        ("/open", "", 200, Some("public, max-age=9"), false),
        ("/open", ADA, 200, Some("private, max-age=9"), false),
        ("/open", "Basic YWRhOnNlY3JldA==", 401, None, true),
        ("/open", "Bearer x", 401, None, true),
        ("/", "", 401, None, true),
        ("/", ADA, 200, Some("private"), false),
    ] {
        let request = Request::get(path);
        let request = if credentials.is_empty() { request } else { request.with_header("authorization", credentials) };
        let sent = http.respond(&request);
        assert_eq!((sent.status().as_u16(), sent.header("cache-control")), (status, caching), "{path} {credentials}");
        assert_eq!(sent.header("www-authenticate").is_some(), challenged, "{path} {credentials}");
        assert_eq!(sent.header("vary"), Some("Authorization"), "{path} {credentials}");
    }
    // A client that would send its password in clear text is not asked for one.
    let safe = |request: &Request| request.client_ip() == HOME;
    let http = Http::new(inside().layer(auth(UserFile::open(&path).unwrap()).only_if(safe)));
    let from = |address: &str, path| {
        let client = Client::new(address.parse::<std::net::SocketAddr>().unwrap());
        http.respond(&Request::get(path).with_client(client).with_header("authorization", ADA))
    };
    assert_eq!(from("192.0.2.1:1", "/").status(), 200);
    let refused = from("192.0.2.2:1", "/open");
    assert_eq!((refused.status().as_u16(), refused.header("www-authenticate")), (403, None));
}
