//! Changes of two requests at the same time, against a simple model; messages, waits and times of use.

use std::collections::BTreeMap;

use super::*;
use crate::live::Signal;

/// A session as its browser sees it.
#[derive(Clone, Default, PartialEq, Debug)]
struct View {
    values: BTreeMap<String, String>,
    flashes: Vec<String>,
    user: Option<String>,
}

impl View {
    fn change(&mut self, query: &str) {
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "in" => self.user = Some(value.to_owned()),
                "flash" => self.flashes.push(value.to_owned()),
                "remove" => _ = self.values.remove(value),
                "out" => *self = View::default(),
                "renew" => {}
                name => _ = self.values.insert(name.to_owned(), value.to_owned()),
            }
        }
    }
}

/// A session with a slow request in progress, and its cookie. `at_start`: what the slow request has loaded.
#[derive(Default)]
struct Model {
    at_start: View,
    /// `None`: the session has ended.
    now: Option<View>,
    /// Whether the session's id has changed since the slow request began.
    is_moved: bool,
}

impl Model {
    /// A request of the browser that is handled as a whole.
    fn handle(&mut self, query: &str) {
        let (out, other) = (query.contains("out="), query.trim_start_matches("out=&"));
        if out {
            self.now = None;
        }
        if self.now.is_none() && (other.is_empty() || other == "out=" || other == "renew=") {
            return;
        }
        self.is_moved |= out || query.contains("in=") || query.contains("renew=");
        self.now.get_or_insert_default().change(query);
    }

    /// Ends the slow request. Returns the expected state for the browser that sent it.
    fn end_slow(mut self, query: &str, has_ended: bool) -> View {
        if query.contains("in=") {
            let mut own = match (has_ended, self.is_moved) {
                (true, _) => View::default(),
                (false, true) => self.at_start,
                (false, false) => self.now.unwrap_or_default(),
            };
            own.change(query);
            return own;
        }
        if query.contains("out=") {
            // A logout ends the session even if its id has changed.
            let mut own = View::default();
            own.change(query);
            return own;
        }
        if !has_ended && let Some(now) = &mut self.now {
            now.change(query);
        }
        self.now.unwrap_or_default()
    }
}

/// All changes of a slow request, beside all changes of others that begin later and end sooner.
#[test]
fn changes_of_two_requests_follow_the_model() {
    let (entered, enter) = crossbeam_channel::bounded::<()>(0);
    let (leave, left) = crossbeam_channel::bounded::<()>(0);
    let slow = crate::layer_fn(move |request: &Request, next: Next<'_>| {
        let result = next.run(request);
        if request.path() == "/slow" {
            entered.send(()).unwrap();
            left.recv().unwrap();
        }
        result
    });
    let http = Http::new(app().layer(slow).layer(Sessions::new(MemorySessions::new()).new_per_hour(1_000_000)));
    let slows = ["a=1", "flash=a", "remove=cart", "renew=", "renew=&a=1", "in=ann", "in=ann&a=1", "out=", "out=&a=1"];
    let others = ["", "b=2", "flash=b", "renew=", "renew=&b=2", "in=bob", "in=bob&b=2", "out=", "out=&b=2"];
    let sequences = others.iter().flat_map(|first| ["", "b=3", "renew=", "in=eve", "out="].map(|then| (*first, then)));
    for (first, then) in sequences {
        for (begin, query) in ["cart=1", "cart=1&in=old"].iter().flat_map(|begin| slows.map(|slow| (*begin, slow))) {
            let case = format!("{begin}; slow {query}; {first}; {then}");
            let mut at_start = View::default();
            at_start.change(begin);
            let mut model = Model { now: Some(at_start.clone()), at_start, is_moved: false };
            let mut browser = Browser::new(&http);
            browser.expect(begin, "");
            let before = browser.cookie.clone();
            let mut waiting = Browser { cookie: before.clone(), ..Browser::new(&http) };
            let mut has_ended = false;
            let set = std::thread::scope(|scope| {
                let asked = scope.spawn(|| {
                    let sent = waiting.ask(Request::get(&format!("/slow?{query}")));
                    assert_eq!(sent.status(), 200, "{case}");
                    sent.header("set-cookie").map(|_| waiting.cookie.clone())
                });
                enter.recv().unwrap();
                for query in [first, then] {
                    browser.expect(query, "");
                    model.handle(query);
                    has_ended |= query.contains("out=");
                }
                leave.send(()).unwrap();
                asked.join().unwrap()
            });
            let is_moved = model.is_moved || has_ended;
            let logs_in_or_out = query.contains("in=") || query.contains("out=");
            // If another request changes the id of the session, this request does not get the new id.
            let sets = if is_moved { logs_in_or_out } else { logs_in_or_out || query.contains("renew=") };
            assert_eq!(set.is_some(), sets, "{case}: sets the cookie");
            let ended_by_slow = query == "out=" || query.starts_with("out=&");
            let others_cookie = browser.cookie.clone();
            if let Some(cookie) = set {
                browser.cookie = cookie;
            }
            let expected = model.end_slow(query, has_ended);
            let seen = view(&mut browser);
            assert_eq!(seen, expected, "{case}");
            if ended_by_slow && !has_ended {
                let mut other = Browser { cookie: others_cookie, ..Browser::new(&http) };
                assert_eq!(view(&mut other), View::default(), "{case}: the session of the other request");
            }
            // The earlier cookie opens nothing if the id has changed.
            if is_moved || sets {
                let mut old = Browser { cookie: before, ..Browser::new(&http) };
                assert_eq!(view(&mut old), View::default(), "{case}: the earlier cookie");
            }
        }
    }
}

fn view(browser: &mut Browser<'_, impl RequestHandler>) -> View {
    let names = ["cart", "a", "b"];
    let sent = browser.ask(Request::get("/?get=cart&get=a&get=b&name&flashes"));
    let mut shown = sent.text().split(", ").map(str::to_owned);
    let values = names.iter().zip(&mut shown).filter(|(_, value)| value != "none");
    let values = values.map(|(name, value)| ((*name).to_owned(), value)).collect();
    let user = shown.next().filter(|user| user != "nobody");
    View { values, user, flashes: shown.collect() }
}

/// Messages are kept until a page shows them. A response to HEAD, a request that waits, an error and a panic do not
/// show them.
#[test]
fn messages_are_shown_once_and_by_a_page() {
    let signal = Signal::new();
    let waits_for = signal.clone();
    let app = handler_fn(move |request| {
        let session = Session::of(request)?;
        let shown = session.take_flashes().join(" ");
        for (name, value) in request.params() {
            match &*name {
                "flash" => session.flash(value),
                "again" => assert_eq!(session.take_flashes(), Vec::<String>::new()),
                "fail" => return Err(crate::Error::new(409, "")),
                "panic" => panic!("as asked"),
                "wait" if !request.is_late() => {
                    return Ok(Response::wait_for(waits_for.ticket(), Duration::from_millis(1)));
                }
                _ => {}
            }
        }
        Ok(Response::text(shown))
    });
    let server = testing::serve(app.layer(Sessions::new(MemorySessions::new())));
    let first = server.get("/?flash=one&flash=two");
    let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let ask = |method: Method, query: &str| {
        server.send(TestRequest::new(method, format!("/?{query}")).with_header("cookie", &cookie))
    };
    for (method, query, status, shown) in [
        (Method::HEAD, "", 200, ""),
        (Method::GET, "fail", 409, ""),
        (Method::GET, "panic", 500, ""),
        (Method::GET, "again&wait", 200, "one two"),
        (Method::GET, "", 200, ""),
        (Method::GET, "flash=three", 200, ""),
        (Method::HEAD, "flash=four", 200, ""),
        (Method::GET, "flash=five&fail", 409, ""),
        (Method::GET, "flash=lost&panic", 500, ""),
        (Method::POST, "again", 200, "three four five"),
        // Other changes of a handler that waits are kept, and this one is called twice.
        (Method::POST, "flash=twice&wait", 200, "twice"),
        (Method::GET, "", 200, "twice"),
        (Method::GET, "", 200, ""),
    ] {
        let sent = ask(method.clone(), query);
        let text = if sent.status() == 200 { sent.text() } else { "" };
        assert_eq!((sent.status().as_u16(), text), (status, shown), "{method} {query}");
    }
}

/// The last call of a handler that waits sees its own changes and those of others. A session that has not begun keeps
/// its messages as well.
#[test]
fn a_request_that_waits_sees_all_changes() {
    let signal = Signal::new();
    let (waits_for, notified) = (signal.clone(), Arc::new(AtomicBool::new(false)));
    let is_notified = notified.clone();
    let app = handler_fn(move |request| {
        let session = Session::of(request)?;
        let ticket = waits_for.ticket();
        if request.path() == "/waits" && !is_notified.load(Relaxed) {
            session.insert("mine", "m")?;
            session.flash("one");
            session.take_flashes();
            return Ok(Response::wait_for(ticket, None));
        }
        request.params().try_for_each(|(name, value)| session.insert(&name, &*value))?;
        let [cart, mine, other] = ["cart", "mine", "other"].map(|name| session.get::<String>(name).unwrap_or_default());
        Ok(Response::text(format!("{cart} {mine} {other} {}", session.take_flashes().join(" "))))
    });
    let server = testing::serve(app.layer(Sessions::new(MemorySessions::new())));
    for has_begun in [true, false] {
        notified.store(false, Relaxed);
        let first = server.get("/?cart=c");
        let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let request = |target: &str| {
            let request = TestRequest::new(Method::GET, target);
            if has_begun { request.with_header("cookie", &cookie) } else { request }
        };
        let waits = server.begin(request("/waits"));
        while signal.waiting() == 0 {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        server.send(request("/?other=o"));
        notified.store(true, Relaxed);
        signal.notify();
        let expected = if has_begun { "c m o one" } else { " m  one" };
        waits.response().assert_text(expected);
    }
}

/// A message that one page shows does not remove one that another request has added since.
#[test]
fn a_message_added_meanwhile_is_kept() {
    let http = Http::new(app().layer(both()).layer(Sessions::new(MemorySessions::new())));
    let mut ada = Browser::new(&http);
    ada.expect("flash=one&flash=two", "");
    let asked = |query: &str| {
        let mut browser = Browser { cookie: ada.cookie.clone(), ..Browser::new(&http) };
        browser.ask(Request::get(&format!("/both?{query}"))).text().to_owned()
    };
    let shown = std::thread::scope(|scope| {
        let asked = [scope.spawn(|| asked("flashes")), scope.spawn(|| asked("flashes&flash=three"))];
        asked.map(|asked| asked.join().unwrap())
    });
    assert_eq!(shown, ["one, two"; 2]);
    ada.expect("flashes", "three");
}

/// Only a login begins the maximum age again.
#[test]
fn a_new_id_does_not_extend_a_login() {
    let hour = Duration::from_secs(3600);
    let http = Http::new(app().layer(Sessions::new(MemorySessions::new()).max_age(5 * hour)));
    for (query, kept) in [("renew", false), ("a=1", false), ("in=ada", true)] {
        let mut ada = Browser::new(&http);
        ada.expect("in=ada", "");
        for _ in 0..4 {
            ada.now += hour;
            ada.expect(query, "");
        }
        ada.now += hour;
        ada.expect("name", if kept { "ada" } else { "nobody" });
    }
}

/// Values that could not be read back would end the session.
#[test]
fn a_value_that_could_not_be_read_is_rejected() {
    let app = handler_fn(|request| {
        let session = Session::of(request)?;
        match request.params().next() {
            Some((_, depth)) if depth == "user" => return Ok(Response::text(request.user().unwrap_or_default())),
            Some((_, depth)) => {
                let depth: usize = depth.parse().unwrap();
                let nested = (0..depth).fold(serde_json::json!(1), |value, _| serde_json::json!([value]));
                session.insert("deep", &nested)?;
            }
            None => session.log_in(User::new("ada")),
        }
        Ok(Response::text(""))
    });
    let http = Http::new(app.layer(Sessions::new(MemorySessions::new())));
    let mut statuses = Vec::new();
    for depth in 100..140 {
        let mut ada = Browser::new(&http);
        ada.ask(Request::get("/"));
        statuses.push(ada.ask(Request::get(&format!("/?depth={depth}"))).status().as_u16());
        assert_eq!(ada.ask(Request::get("/?show=user")).text(), "ada", "{depth}");
    }
    assert_eq!((statuses[20], statuses[39]), (200, 500));
}

/// A full disk ends no session, and fails no page that changes nothing.
#[test]
fn a_time_of_use_that_cannot_be_stored_is_not_an_error() {
    struct Full(MemorySessions, AtomicBool);
    impl SessionStore for Full {
        fn load(&self, key: &str) -> std::io::Result<Option<Vec<u8>>> {
            self.0.load(key)
        }
        fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> std::io::Result<()> {
            if self.1.load(Relaxed) { Err(std::io::Error::other("full")) } else { self.0.save(key, bytes, expires) }
        }
        fn remove(&self, key: &str) -> std::io::Result<()> {
            self.0.remove(key)
        }
    }
    let store = Arc::new(Full(MemorySessions::new(), AtomicBool::new(false)));
    let http = Http::new(app().layer(Sessions::new(Arc::clone(&store))));
    let mut ada = Browser::new(&http);
    ada.expect("in=ada", "");
    store.1.store(true, Relaxed);
    for minutes in [0, 2, 50] {
        ada.now += Duration::from_secs(60 * minutes);
        ada.expect("name", "ada");
        assert_eq!(ada.ask(Request::get("/?a=1")).status(), 500, "a change that is lost must be an error");
        assert_eq!(ada.ask(Request::get("/?renew")).status(), 500);
        assert_eq!(ada.ask(Request::get("/?fail")).status(), 409);
    }
    store.1.store(false, Relaxed);
    ada.expect("a=1&name&get=a", "ada, 1");
    store.1.store(true, Relaxed);
    ada.expect("out", "");
    ada.expect("name", "nobody");
}

/// A request that began earlier and ends later does not shorten the session.
#[test]
fn the_time_of_use_never_goes_back() {
    let hour = Duration::from_secs(3600);
    let layer = Sessions::new(MemorySessions::new());
    let http = Http::new(app().layer(layer));
    let mut ada = Browser::new(&http);
    ada.expect("in=ada", "");
    ada.now += hour;
    ada.expect("a=1", "");
    ada.now -= hour - Duration::from_secs(1);
    ada.expect("b=1", "");
    ada.now += 2 * hour + hour / 2;
    ada.expect("name", "ada");
}

/// A request that takes longer than the idle timeout keeps its session, and its changes. One that takes longer than the
/// maximum age does not.
#[test]
fn a_long_request_is_a_use() {
    let hour = Duration::from_secs(3600);
    for (hours, change, kept) in [(3, "v", true), (3, "", true), (22, "v", true), (25, "v", false), (25, "", false)] {
        let store = Arc::new(MemorySessions::new());
        let layer = Sessions::new(Arc::clone(&store));
        let http = Http::new(app().layer(Sessions::new(Arc::clone(&store))));
        let mut ada = Browser::new(&http);
        ada.expect("in=ada", "");
        let cookie = ada.cookie.clone().unwrap();
        let request = Request::get("/").with_header("cookie", cookie).with_now(ada.now);
        layer.before_body(&request, &mut crate::BodyPlan::default()).unwrap();
        let session = Session::of(&request).unwrap();
        if !change.is_empty() {
            session.insert(change, "late").unwrap();
        }
        let end = ada.now + hours * hour;
        assert!(layer.save(&request, &session, end, true).unwrap().is_none());
        ada.now = end + hour;
        ada.expect("name", if kept { "ada" } else { "nobody" });
        ada.expect("get=v", if kept && !change.is_empty() { "late" } else { "none" });
    }
}
