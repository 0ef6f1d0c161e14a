//! Sessions as browsers and handlers use them, in memory and in files.

mod tokens; // tokens for forms
mod ends; // users who lose their access during a request
mod changes; // changes of several requests
mod stores; // stores by themselves
mod replaced; // responses that the server replaces

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;
use crate::layers::Csrf;
use crate::testing::{self, TestRequest};
use crate::{Http, Method, RequestHandler, SentResponse, User, handler_fn};

/// Returns a handler whose query changes the session, parameter by parameter. Each response shows the session.
fn app() -> impl RequestHandler {
    handler_fn(|request| {
        let session = Session::of(request)?;
        let mut shown = Vec::new();
        for (name, value) in request.params() {
            match &*name {
                "in" => session.log_in(User::new(&*value).with_role("editor").with_claim("sub", "7")),
                "out" => session.log_out(),
                "renew" => session.renew(),
                "flash" => session.flash(value),
                "flashes" => shown.extend(session.take_flashes()),
                "remove" => session.remove(&value),
                "get" => shown.push(session.get::<String>(&value).unwrap_or("none".into())),
                "token" => shown.push(session.csrf_token()?),
                "name" => shown.push(request.user().unwrap_or("nobody".into())),
                "user" => shown.push(format!("{:?} {:?}", session.user(), request.user())),
                "fail" => return Err(crate::Error::new(409, "as asked")),
                name => session.insert(name, &*value)?,
            }
        }
        Ok(Response::text(shown.join(", ")))
    })
}

/// A layer that sends the responses of two requests for `/both` after both have loaded the session.
fn both() -> impl Layer {
    let all = std::sync::Barrier::new(2);
    crate::layer_fn(move |request: &Request, next: Next<'_>| {
        let result = next.run(request);
        if request.path() == "/both" {
            all.wait();
        }
        result
    })
}

/// A browser with at most one cookie.
struct Browser<'a, H> {
    http: &'a Http<H>,
    cookie: Option<String>,
    now: SystemTime,
}

impl<'a, H: RequestHandler> Browser<'a, H> {
    fn new(http: &'a Http<H>) -> Browser<'a, H> {
        Browser { http, cookie: None, now: SystemTime::now() }
    }

    fn ask(&mut self, request: Request) -> SentResponse {
        let request = request.with_now(self.now);
        let request = match &self.cookie {
            Some(cookie) => request.with_header("cookie", cookie),
            None => request,
        };
        let sent = self.http.respond(&request);
        if let Some(cookie) = sent.header("set-cookie") {
            let is_removal = cookie.contains("Max-Age=0");
            self.cookie = Some(cookie.split(';').next().unwrap().to_owned()).filter(|_| !is_removal);
        }
        sent
    }

    #[track_caller]
    fn expect(&mut self, query: &str, wanted: &str) {
        let sent = self.ask(Request::get(&format!("/?{query}")));
        assert_eq!((sent.status().as_u16(), sent.text()), (200, wanted), "{query}: {sent:?}");
    }
}

fn stores(folder: &std::path::Path) -> [Http<Box<dyn RequestHandler>>; 2] {
    let files = FileSessions::open(folder.join("sessions")).unwrap();
    let boxed = |sessions: Sessions| Http::new(Box::new(app().layer(sessions)) as Box<dyn RequestHandler>);
    [boxed(Sessions::new(MemorySessions::new())), boxed(Sessions::new(files))]
}

#[test]
fn values_flashes_and_users() {
    let folder = tempfile::tempdir().unwrap();
    for http in stores(folder.path()) {
        let (mut ada, mut bob) = (Browser::new(&http), Browser::new(&http));
        let nothing = ada.ask(Request::get("/?get=a&flashes&user"));
        assert_eq!((nothing.header("set-cookie"), nothing.header("cache-control")), (None, None), "{nothing:?}");
        ada.expect("a=1&b=2&get=a", "1");
        ada.expect("get=a&get=b&get=c", "1, 2, none");
        bob.expect("get=a", "none");
        assert_eq!(bob.cookie, None);
        ada.expect("remove=a&get=a&get=b", "none, 2");
        ada.expect("flash=one&flash=two", "");
        ada.expect("flash=three&flashes", "one, two, three");
        ada.expect("flashes&get=a", "none");
        let first = ada.cookie.clone();
        let sent = ada.ask(Request::get("/?in=ada"));
        assert_eq!(sent.header("cache-control"), Some("private"), "{sent:?}");
        assert_ne!(ada.cookie, first, "the id must change at the login");
        let user = "Some(User { name: \"ada\", roles: [\"editor\"], claims: [\"sub\"] }) Some(\"ada\")";
        ada.expect("user&get=b", &format!("{user}, 2"));
        let (mut old, mut copy) = (Browser::new(&http), Browser::new(&http));
        (old.cookie, copy.cookie) = (first, ada.cookie.clone());
        old.expect("user&get=b", "None None, none");
        copy.expect("get=b", "2");
        ada.expect("out&get=b&flash=bye", "none");
        copy.expect("get=b&user", "none, None None");
        ada.expect("flashes&user", "bye, None None");
        // The changes of a handler that fails are stored.
        let sent = ada.ask(Request::get("/?c=3&fail"));
        assert_eq!(sent.status(), 409);
        ada.expect("get=c", "3");
        let sent = bob.ask(Request::get("/?c=4&fail"));
        assert!(sent.status() == 409 && sent.header("set-cookie").is_some(), "{sent:?}");
        bob.expect("get=c", "4");
        let gone = ada.ask(Request::get("/?out"));
        assert!(gone.header("set-cookie").unwrap().starts_with("modest-session=; Path=/;"), "{gone:?}");
        assert_eq!(ada.cookie, None);
    }
}

#[test]
fn ids_that_the_server_has_not_made_are_not_adopted() {
    let folder = tempfile::tempdir().unwrap();
    for http in stores(folder.path()) {
        for value in ["0123456789abcdef0123456789abcdef", "../../etc/passwd", "", "A"] {
            let cookie = &*format!("modest-session={value}");
            let mut browser = Browser::new(&http);
            browser.cookie = Some(cookie.to_owned());
            browser.expect("get=a", "none");
            browser.expect("a=1", "");
            assert_ne!(browser.cookie.as_deref(), Some(cookie));
            browser.expect("get=a", "1");
            // A cookie of another host before the session's does no harm.
            browser.cookie = browser.cookie.map(|own| format!("{cookie}; {own}"));
            browser.expect("get=a", "1");
        }
    }
}

#[test]
fn sessions_end() {
    let hour = Duration::from_secs(3600);
    let sessions = || Sessions::new(MemorySessions::new()).idle_timeout(2 * hour).max_age(5 * hour);
    let http = Http::new(app().layer(sessions()));
    let mut idle = Browser::new(&http);
    idle.expect("a=1", "");
    idle.now += 2 * hour - Duration::from_secs(10);
    idle.expect("get=a", "1");
    idle.now += 2 * hour + Duration::from_secs(1);
    idle.expect("get=a", "none");
    let mut busy = Browser::new(&http);
    busy.expect("a=1", "");
    for _ in 0..4 {
        busy.now += hour;
        busy.expect("get=a", "1");
    }
    busy.expect("in=ada", ""); // starts again
    for _ in 0..4 {
        busy.now += hour;
        busy.expect("get=a", "1");
    }
    busy.now += hour;
    busy.expect("get=a", "none");
}

#[test]
fn cookies_are_as_safe_as_can_be() {
    let proxies = crate::layers::TrustedProxies::new(["127.0.0.1".parse().unwrap()]).scheme(true);
    let sent = |sessions: Sessions, request: Request| {
        let http = Http::new(app().layer(sessions).layer(proxies.clone()));
        http.respond(&request).header("set-cookie").unwrap().split_once(';').unwrap().1.to_owned()
    };
    let sessions = || Sessions::new(MemorySessions::new());
    let behind_tls = || {
        let request = Request::get("/?a=1").with_header("x-forwarded-for", "1.2.3.4");
        request.with_header("x-forwarded-proto", "https")
    };
    assert_eq!(sent(sessions(), Request::get("/?a=1")), " Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(sent(sessions(), behind_tls()), " Path=/; HttpOnly; SameSite=Lax; Secure");
    let kept = sessions().keep(true).same_site(SameSite::Strict).max_age(Duration::from_secs(60));
    assert_eq!(sent(kept, Request::get("/?a=1")), " Path=/; HttpOnly; SameSite=Strict; Max-Age=60");
}

#[test]
fn changes_of_requests_at_the_same_time_are_kept() {
    let server = testing::serve(app().layer(Sessions::new(MemorySessions::new())));
    let sent = server.get("/?a=1");
    let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let ask = |target: &str| server.send(TestRequest::new(Method::GET, target).with_header("cookie", &cookie));
    std::thread::scope(|scope| {
        for number in 0..16 {
            scope.spawn(move || ask(&format!("/?n{number}={number}&flash={number}")));
        }
    });
    let names: Vec<String> = (0..16).map(|number| format!("get=n{number}")).collect();
    let values: Vec<String> = (0..16).map(|number: u8| number.to_string()).collect();
    assert_eq!(ask(&format!("/?{}", names.join("&"))).text(), values.join(", "));
    assert_eq!(ask("/?flashes").text().split(", ").count(), 16);
}

/// A store that does not return from a save until the test lets it.
struct Slow {
    sessions: MemorySessions,
    is_slow: AtomicBool,
    calls: crossbeam_channel::Sender<()>,
    returns: crossbeam_channel::Receiver<()>,
}

impl SessionStore for Slow {
    fn load(&self, key: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.sessions.load(key)
    }
    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> std::io::Result<()> {
        if self.is_slow.swap(false, Relaxed) {
            self.calls.send(()).unwrap();
            self.returns.recv().unwrap();
        }
        self.sessions.save(key, bytes, expires)
    }
    fn remove(&self, key: &str) -> std::io::Result<()> {
        self.sessions.remove(key)
    }
}

#[test]
fn a_slow_store_does_not_hold_up_other_sessions() {
    let ((calls, called), (lets, returns)) = (crossbeam_channel::bounded(1), crossbeam_channel::bounded(1));
    let slow = Slow { sessions: MemorySessions::new(), is_slow: AtomicBool::new(false), calls, returns };
    let store = Arc::new(slow);
    let http = Http::new(app().layer(Sessions::new(Arc::clone(&store))));
    let begun = || {
        let mut browser = Browser::new(&http);
        browser.expect("a=1", "");
        let id = Id::parse(browser.cookie.as_ref().unwrap().strip_prefix("modest-session=").unwrap()).unwrap();
        (browser, u8::from_str_radix(&id.key()[..2], 16).unwrap() % 64)
    };
    let (mut ada, of_ada) = begun();
    let (mut bob, _) = std::iter::repeat_with(begun).find(|(_, of_bob)| *of_bob != of_ada).unwrap();
    store.is_slow.store(true, Relaxed);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| ada.expect("b=2", ""));
        called.recv().unwrap();
        bob.expect("b=3&get=b", "3"); // otherwise it would wait forever
        assert!(!waits.is_finished());
        lets.send(()).unwrap();
    });
    ada.expect("get=b", "2");
}

/// A request in progress at a logout does not restore the session. A request in progress at a login does not remove the
/// new cookie.
#[test]
fn a_session_that_ended_or_got_a_new_id_meanwhile_is_left_alone() {
    let (entered, enter) = crossbeam_channel::bounded::<()>(0);
    let (leave, left) = crossbeam_channel::bounded::<()>(0);
    let slow = handler_fn(move |request| {
        let session = Session::of(request)?;
        match request.path() {
            "/slow" => {
                entered.send(()).unwrap();
                left.recv().unwrap();
                session.insert("a", "late")?;
            }
            "/out" => session.log_out(),
            "/in" => session.log_in(User::new("ada")),
            "/slowly-in" => {
                entered.send(()).unwrap();
                left.recv().unwrap();
                session.log_in(User::new("ada"));
            }
            _ => session.insert("a", "1")?,
        }
        Ok(Response::text(""))
    });
    let store = Arc::new(MemorySessions::new());
    let server = testing::serve(slow.layer(Sessions::new(Arc::clone(&store))));
    for (slow, meanwhile, stored) in
        [("/slow", "/out", 0), ("/slow", "/in", 1), ("/slowly-in", "/out", 2), ("/slowly-in", "/in", 4)]
    {
        let sent = server.get("/");
        let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let ask = |target: &str| server.send(TestRequest::new(Method::GET, target).with_header("cookie", &cookie));
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask(slow));
            enter.recv().unwrap();
            let sent = ask(meanwhile);
            assert!(sent.header("set-cookie").is_some(), "{sent:?}");
            leave.send(()).unwrap();
            let sent = asked.join().unwrap();
            assert_eq!(sent.status(), 200, "{sent:?}");
            assert_eq!(sent.header("set-cookie").is_some(), slow == "/slowly-in", "{sent:?}"); // a login is not lost
        });
        assert_eq!(store.len(), stored, "{meanwhile}");
    }
}

/// A logout holds, however its handler ends.
#[test]
fn a_logout_holds_after_an_error_and_a_panic() {
    let app = handler_fn(|request| {
        let session = Session::of(request)?;
        match request.path() {
            "/in" => session.log_in(User::new("ada")),
            "/who" => {
                return Ok(Response::text(session.user().map_or("nobody".to_owned(), |user| user.name().to_owned())));
            }
            _ => session.log_out(),
        }
        match request.path() {
            "/error" => Err("as asked".into()),
            "/panic" => panic!("as asked"),
            _ => Ok(Response::text("")),
        }
    });
    let server = testing::serve(app.layer(Sessions::new(Arc::new(MemorySessions::new()))));
    for (out, status) in [("/out", 200), ("/error", 500), ("/panic", 500)] {
        let sent = server.get("/in");
        let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let ask = |target: &str| server.send(TestRequest::new(Method::GET, target).with_header("cookie", &cookie));
        assert_eq!(ask("/who").text(), "ada", "{out}");
        assert_eq!(ask(out).status(), status, "{out}");
        assert_eq!(ask("/who").text(), "nobody", "{out}");
    }
}

/// The response after the wait sets the cookie.
#[test]
fn a_session_that_begins_before_a_wait_is_not_lost() {
    let signal = crate::live::Signal::new();
    let app = handler_fn(move |request| {
        if request.is_late() {
            return Ok(Response::text("late"));
        }
        Session::of(request)?.log_in(User::new("ada"));
        Ok(Response::wait_for(signal.ticket(), Duration::from_millis(1)))
    });
    let store = Arc::new(MemorySessions::new());
    let sent = testing::serve(app.layer(Sessions::new(Arc::clone(&store)))).get("/");
    assert!(sent.text() == "late" && sent.header("set-cookie").is_some() && store.len() == 1, "{sent:?}");
}

#[test]
fn a_client_begins_a_bounded_number_of_sessions() {
    let store = Arc::new(MemorySessions::new());
    let http = Http::new(app().layer(Sessions::new(Arc::clone(&store)).new_per_hour(3)));
    let from = |address: &str, query: &str| {
        let client = crate::Client::new(address.parse::<std::net::SocketAddr>().unwrap());
        http.respond(&Request::get(&format!("/?{query}")).with_client(client)).status().as_u16()
    };
    for (address, query, expected) in [
        ("192.0.2.1:1", "a=1", 200),
        ("192.0.2.1:2", "get=a", 200), // begins no session
        ("192.0.2.1:3", "flash=x", 200),
        ("192.0.2.1:4", "token", 200), // begins no session
        ("192.0.2.1:4", "flash=x&flashes&token&remove=a", 200),
        ("192.0.2.1:4", "a=1&token", 200),
        ("192.0.2.1:5", "a=1", 429),
        ("192.0.2.1:6", "in=ada", 200), // a login
        ("192.0.2.2:1", "a=1", 200),
        ("192.0.2.1:7", "get=a", 200),
    ] {
        assert_eq!(from(address, query), expected, "{address} {query}");
    }
    assert_eq!(store.len(), 5);
}

/// If several requests end one session at the same time, only one of them begins a new session that is not counted.
#[test]
fn ending_one_session_begins_one_session() {
    const REQUESTS: usize = 5;
    let all = std::sync::Barrier::new(REQUESTS);
    let app = handler_fn(move |request| {
        let session = Session::of(request)?;
        if request.path() == "/out" {
            all.wait();
            session.log_out();
        }
        session.flash("bye");
        Ok(Response::text(""))
    });
    let store = Arc::new(MemorySessions::new());
    let server = testing::serve(app.layer(Sessions::new(Arc::clone(&store)).new_per_hour(2)));
    let cookie = server.get("/").header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let ask = || server.send(TestRequest::new(Method::GET, "/out").with_header("cookie", &cookie)).status().as_u16();
    let mut statuses = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..REQUESTS).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>()
    });
    statuses.sort_unstable();
    assert_eq!((statuses, store.len()), (vec![200, 200, 429, 429, 429], 2));
}

/// A store that counts lookups.
struct Counting(MemorySessions, std::sync::atomic::AtomicUsize);
impl SessionStore for Counting {
    fn load(&self, key: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.1.fetch_add(1, Relaxed);
        self.0.load(key)
    }
    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> std::io::Result<()> {
        self.0.save(key, bytes, expires)
    }
    fn remove(&self, key: &str) -> std::io::Result<()> {
        self.0.remove(key)
    }
}

#[test]
fn only_a_few_cookies_are_looked_up() {
    let store = Arc::new(Counting(MemorySessions::new(), Default::default()));
    let http = Http::new(app().layer(Sessions::new(Arc::clone(&store))));
    let cookies: Vec<String> = (0..500).map(|number| format!("modest-session={number:032x}")).collect();
    assert_eq!(http.respond(&Request::get("/").with_header("cookie", cookies.join("; "))).status(), 200);
    assert_eq!(store.1.load(Relaxed), COOKIES);
}

#[test]
fn stores_are_bounded_and_outlive_programs() {
    let now = SystemTime::now();
    let store = MemorySessions::new().limit(16);
    for number in 0..100u64 {
        store.save(&number.to_string(), b"x", now + Duration::from_secs(number % 50)).unwrap();
        assert!(store.len() <= 16);
    }
    assert!(
        store.load("49").unwrap().is_some() || store.load("99").unwrap().is_some(),
        "the sessions that expire last must stay"
    );

    let folder = tempfile::tempdir().unwrap();
    let http = |folder: &std::path::Path| Http::new(app().layer(Sessions::new(FileSessions::open(folder).unwrap())));
    let before = http(folder.path());
    let mut ada = Browser::new(&before);
    ada.expect("a=1", "");
    let after = http(folder.path());
    let mut again = Browser { http: &after, cookie: ada.cookie.clone(), now };
    again.expect("get=a", "1");
    let id = ada.cookie.unwrap().split_once('=').unwrap().1.to_owned();
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() == 1 && !names[0].to_string_lossy().contains(&id), "the store has no ids: {names:?}");
    std::fs::write(&names[0], "damaged").unwrap();
    again.expect("get=a", "none");
    std::fs::File::open(&names[0]).unwrap().set_modified(now - Duration::from_secs(1)).unwrap();
    let cut_short = folder.path().join(".session-abc");
    std::fs::write(&cut_short, "").unwrap();
    drop(http(folder.path()));
    assert!(
        !names[0].exists() && cut_short.exists(),
        "the expired file is removed, and the one that may still be written stays"
    );
    std::fs::File::open(&cut_short).unwrap().set_modified(now - Duration::from_secs(4000)).unwrap();
    drop(http(folder.path()));
    assert!(!cut_short.exists());
    let far = Http::new(app().layer(Sessions::new(MemorySessions::new()).max_age(Duration::MAX)));
    assert_eq!(far.respond(&Request::get("/?a=1")).status(), 200);
}

#[test]
fn a_store_that_fails_is_an_error() {
    #[derive(Default)]
    struct Fails(AtomicBool);
    impl SessionStore for Fails {
        fn load(&self, _: &str) -> std::io::Result<Option<Vec<u8>>> {
            Err(std::io::Error::other("no disk"))
        }
        fn save(&self, _: &str, _: &[u8], _: SystemTime) -> std::io::Result<()> {
            if self.0.load(Relaxed) { Err(std::io::Error::other("full")) } else { Ok(()) }
        }
        fn remove(&self, _: &str) -> std::io::Result<()> {
            Ok(())
        }
    }
    let store = Arc::new(Fails::default());
    let http = Http::new(app().layer(Sessions::new(Arc::clone(&store))));
    let mut ada = Browser::new(&http);
    ada.expect("a=1", "");
    assert_eq!(ada.ask(Request::get("/?get=a")).status(), 500);
    store.0.store(true, Relaxed);
    assert_eq!(Browser::new(&http).ask(Request::get("/?a=1")).status(), 500);
    assert_eq!(Http::new(app()).respond(&Request::get("/")).status(), 500, "a handler without the layer must fail");
}

/// Each of two layers stores its own session. A handler gets the session of the layer next to it.
#[test]
fn nested_layers_have_sessions_of_their_own() {
    let between = crate::layer_fn(|request: &Request, next: Next<'_>| {
        Session::of(request)?.insert("outer", "o")?;
        next.run(request)
    });
    let layer = |name: &str| Sessions::new(MemorySessions::new()).cookie_name(name);
    let http = Http::new(app().layer(layer("inner")).layer(between).layer(layer("outer")));
    let sent = http.respond(&Request::get("/?inner=i"));
    let mut cookies: Vec<_> =
        sent.headers().get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    cookies.sort();
    let names: Vec<_> = cookies.iter().map(|cookie| cookie.split('=').next().unwrap()).collect();
    assert_eq!(names, ["inner", "outer"], "{sent:?}");
    let cookies: Vec<_> = cookies.iter().map(|cookie| cookie.split(';').next().unwrap()).collect();
    let again = http.respond(&Request::get("/?get=inner&get=outer").with_header("cookie", cookies.join("; ")));
    assert_eq!(again.text(), "i, none");
    assert_eq!(again.header("cache-control"), Some("private"), "{again:?}");
}

/// A cache must not give one user's response to another, nor an anonymous one to a user.
#[test]
fn responses_vary_by_cookie() {
    let http = Http::new(app().layer(Sessions::new(MemorySessions::new())));
    let mut browser = Browser::new(&http);
    for (target, is_private) in [("/?user=", false), ("/?fail=", false), ("/?in=ada", true), ("/?user=", true)] {
        let sent = browser.ask(Request::get(target));
        let control = sent.header("cache-control").unwrap_or_default();
        assert_eq!((sent.header("vary"), control.contains("private")), (Some("Cookie"), is_private), "{target}");
    }
}
