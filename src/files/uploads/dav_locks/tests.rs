//! Tests of locks: their tokens, depths and times.

use super::*;

#[test]
fn if_lists_are_parsed_and_evaluated() {
    let holds = |resource: Option<&str>, is_token: bool, value: &str| match resource {
        None | Some("http://h/a") => {
            if is_token {
                value == "urn:1"
            } else {
                value == "\"tag\""
            }
        }
        Some(_) => is_token && value == "urn:2",
    };
    for (line, expected) in [
        ("(<urn:1>)", Some(true)),
        ("(<urn:2>)", Some(false)),
        ("(<urn:1> [\"tag\"])", Some(true)),
        ("(<urn:1> [\"other\"])", Some(false)),
        ("(<urn:2>) ([\"tag\"])", Some(true)),
        ("(Not <urn:2>)", Some(true)),
        ("(<urn:1>)(Not <DAV:no-lock>)", Some(true)),
        ("(<DAV:no-lock>)", Some(false)),
        ("<http://h/a> (<urn:1>)", Some(true)),
        ("<http://h/b> (<urn:1>)", Some(false)),
        ("<http://h/b> (<urn:1>) (<urn:2>)", Some(true)),
        ("<http://h/b>(<urn:1>) <http://h/a>(<urn:1>)", Some(true)),
        ("( <urn:1>  [ \"tag\" ] )", Some(true)), // RFC 4918 allows white space between tokens
        ("([\"other]\"] [\"tag\"])", Some(false)),
        ("(Not [\"x]\"] [\"tag\"])", Some(true)),
        ("([W/\"tag\"])", Some(false)),
        ("([tag])", None),
        ("([\"tag\")", None),
        ("([\"tag])", None),
        ("([x\"tag\"])", None),
        ("", None),
        ("()", None),
        ("(<urn:1>", None),
        ("(<urn:1)", None),
        ("(urn:1)", None),
        ("(é)", None),
        ("<http://h/a>", None),
        ("(<urn:1>) x", None),
    ] {
        assert_eq!(IfLists::parse(line).map(|lists| lists.hold(holds)), expected, "{line}");
    }
    let lists = IfLists::parse("<u> (<a> [\"t\"]) (Not <b>)").unwrap();
    assert_eq!(lists.tokens(), ["a", "b"]);
}

#[test]
fn the_first_valid_timeout_counts_up_to_the_limit() {
    for (said, seconds) in [
        ("Second-30", 30),
        ("Infinite, Second-4100000000", 3600),
        ("Second-99999999999, Second-20", 20),
        ("Second-0", 1),
        ("Extended, Second-7", 7),
        ("", 600),
    ] {
        let request = Request::get("/").with_header("timeout", said);
        assert_eq!(timeout(&request), Duration::from_secs(seconds), "{said}");
    }
}

/// Returns a file with this name in the folder with this number.
fn spot(name: &str, folder: u64) -> Spot {
    let named = Named::new(((0, 1), folder), name.as_bytes());
    Spot { named, spelling: name.as_bytes().into(), folders: vec![((0, 1), folder), ((0, 1), 1)], folder: None }
}

fn folder(number: u64) -> Spot {
    let named = Named::new(((0, 1), 1), number.to_string().as_bytes());
    Spot {
        named,
        spelling: number.to_string().into_bytes().into(),
        folders: vec![((0, 1), 1)],
        folder: Some(((0, 1), number)),
    }
}

fn wanted(token: &str, is_shared: bool) -> Wanted {
    Wanted { token: token.to_owned(), is_shared, ..Wanted::default() }
}

#[test]
fn locks_are_limited_and_released() {
    let (locks, ada) = (DavLocks::default(), Request::get("/"));
    let take = |name: &str| locks.take(spot(name, 2), wanted(name, false), &ada);
    for number in 0..EACH {
        assert!(take(&number.to_string()).is_ok());
    }
    assert_eq!(take("more").unwrap_err().status(), 503);
    assert_eq!(take("7").unwrap_err().status(), 423);
    let at = spot("7", 2);
    assert!(!locks.release(&at, "8".into(), &ada) && locks.release(&at, "7".into(), &ada));
    let check = |at: &Spot, tokens: &[String]| locks.check(at, tokens, &ada).is_ok();
    assert!(check(&at, &[]) && !check(&spot("8", 2), &[]) && check(&spot("8", 2), &["8".into()]));
    assert!(check(&spot("8", 3), &[]) && !check(&folder(2), &[]) && check(&folder(3), &[]));
    locks.forget(&spot("8", 2), |_| false);
    assert!(check(&spot("8", 2), &[]) && !locks.find(&spot("80", 2)).is_empty());
    locks.forget(&folder(2), |_| false);
    assert!(locks.find(&spot("80", 2)).is_empty());
}

/// Anonymous clients together can have half of all locks, so that the rest is left for users.
#[test]
fn anonymous_clients_have_half_of_all_locks() {
    let locks = DavLocks::default();
    let client = |number: usize| {
        Request::get("/")
            .with_client(crate::Client::new(std::net::SocketAddr::from(([10, 0, (number / EACH) as u8, 1], 1))))
    };
    let take = |number: usize, request: &Request| {
        let name = number.to_string();
        locks.take(spot(&name, 2), wanted(&name, false), request).map_or_else(|error| error.status().as_u16(), |_| 0)
    };
    for number in 0..MOST_ANONYMOUS {
        assert_eq!(take(number, &client(number)), 0, "{number}");
    }
    assert_eq!(take(MOST, &client(MOST)), 503);
    for number in MOST_ANONYMOUS..MOST {
        let user = client(number);
        user.put(crate::User::new(format!("user {}", number / EACH)));
        assert_eq!(take(number, &user), 0, "{number}");
    }
    let user = client(0);
    user.put(crate::User::new("another"));
    assert_eq!(take(MOST, &user), 503);
}

/// Tests which locks can exist together, and what they cover.
#[test]
fn shared_locks_and_those_of_folders() {
    let ada = Request::get("/");
    for (first, first_shared, second, second_shared, fits) in [
        (spot("a", 2), false, spot("b", 2), false, true),
        (spot("a", 2), false, spot("a", 2), true, false),
        (spot("a", 2), true, spot("a", 2), false, false),
        (spot("a", 2), true, spot("a", 2), true, true),
        (folder(2), false, spot("a", 2), false, false),
        (folder(2), false, spot("a", 3), false, true),
        (folder(2), true, spot("a", 2), true, true),
        (spot("a", 2), false, folder(2), false, false),
        (spot("a", 2), true, folder(2), true, true),
        (spot("a", 3), false, folder(2), false, true),
    ] {
        let locks = DavLocks::default();
        locks.take(first.clone(), wanted("1", first_shared), &ada).unwrap();
        let taken = locks.take(second.clone(), wanted("2", second_shared), &ada);
        let row = format!("{first:?} {first_shared}, {second:?} {second_shared}");
        assert_eq!(taken.map_or_else(|error| error.status().as_u16(), |_| 0), if fits { 0 } else { 423 }, "{row}");
    }
    let locks = DavLocks::default();
    locks.take(folder(2), wanted("1", true), &ada).unwrap();
    locks.take(spot("a", 2), wanted("2", true), &ada).unwrap();
    let check = |at: Spot, tokens: &[&str]| {
        let tokens: Vec<String> = tokens.iter().map(|&token| token.to_owned()).collect();
        locks.check(&at, &tokens, &ada).is_ok()
    };
    for (at, tokens, expected) in [
        (spot("a", 2), &[][..], false),
        (spot("a", 2), &["1"], true),
        (spot("a", 2), &["2"], true),
        (spot("b", 2), &["2"], false),
        (spot("b", 2), &["1"], true),
        (folder(2), &["1"], false), // deleting the folder would also delete the file with the other lock
        (folder(2), &["1", "2"], true),
        (spot("a", 3), &[], true),
    ] {
        assert_eq!(check(at.clone(), tokens), expected, "{at:?} {tokens:?}");
    }
    assert!(
        locks.refresh(&spot("b", 2), &["1".into()], &ada).is_some(),
        "a lock is renewed through any path that it covers"
    );
    assert!(locks.refresh(&spot("b", 2), &["2".into()], &ada).is_none());
    assert!(locks.release(&spot("b", 2), "1".into(), &ada) && locks.find(&spot("b", 2)).is_empty());
}
