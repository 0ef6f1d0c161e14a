//! Users who lose their access while a request is in progress: in sessions, and in all other layers that authenticate.

use super::*;
use crate::layers::{BasicAuth, BearerAuth, UserFile};
use crate::live::Signal;
use crate::{BodyPlan, Layer};

/// How a request is spread over time. The user loses the access after its first part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Its head and its body, if any, arrive together.
    Whole,
    /// Its body arrives later.
    Body,
    /// The chunks of its body arrive later.
    Chunks,
    /// The body arrives while the handler reads it.
    Streamed,
    /// It waits for a signal.
    Waits,
    /// It waits until the server shuts down.
    Late,
    /// Its body arrives later, and then it waits for a signal.
    BodyThenWaits,
    /// It follows another request on the connection, whose body arrives later.
    Pipelined,
}

use Way::*;

const WAYS: [Way; 8] = [Whole, Body, Chunks, Streamed, Waits, Late, BodyThenWaits, Pipelined];

/// Streams the bodies of requests for `/streamed`.
struct Streams;

impl Layer for Streams {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        if request.path() == "/streamed" {
            plan.stream();
        }
        Ok(())
    }
}

/// A server and the signal for which requests wait. The handler responds with its user and the values `cart` and `new`,
/// and sets `mine`.
struct Stage {
    server: testing::TestServer,
    signal: Signal,
    is_ready: Arc<AtomicBool>,
    prefix: &'static str,
}

impl Stage {
    fn new(layer: impl Layer) -> Stage {
        Stage::with("", |app| Box::new(app.layer(layer)))
    }

    /// Puts the layer around a route.
    fn in_route(layer: impl Layer) -> Stage {
        Stage::with("/r", |app| Box::new(crate::Routes::new().mount("/r", app).layer(layer).with_state(())))
    }

    fn with(prefix: &'static str, around: impl FnOnce(Box<dyn RequestHandler>) -> Box<dyn RequestHandler>) -> Stage {
        let (signal, is_ready) = (Signal::new(), Arc::new(AtomicBool::new(false)));
        let (waits_for, ready) = (signal.clone(), is_ready.clone());
        let app = handler_fn(move |request| {
            request.bytes()?;
            let ticket = waits_for.ticket();
            if request.path() == "/waits" && !request.is_late() && !ready.load(Relaxed) {
                return Ok(Response::wait_for(ticket, None));
            }
            let user = request.user().unwrap_or_else(|| "nobody".into());
            let Ok(session) = Session::of(request) else { return Ok(Response::text(user)) };
            assert_eq!(session.user().map(|user| user.name().to_owned()), request.user());
            for (name, value) in request.params() {
                match &*name {
                    "in" => session.log_in(User::new(&*value)),
                    "out" => session.log_out(),
                    "renew" => session.renew(),
                    name => session.insert(name, &*value)?,
                }
            }
            let value = |name: &str| session.get::<String>(name).unwrap_or_default();
            let [cart, new, mine] = ["cart", "new", "mine"].map(value);
            Ok(Response::text(format!("{user} {cart} {new} {mine}")))
        });
        Stage { server: testing::serve(around(Box::new(app.layer(Streams)))), signal, is_ready, prefix }
    }

    /// Sends a request in this way. The access is lost when `meanwhile` is called.
    fn send(&self, way: Way, field: (&str, &str), query: &str, meanwhile: impl FnOnce()) -> SentResponse {
        self.is_ready.store(false, Relaxed);
        let mut connection = self.server.open();
        let path = match way {
            Waits | Late | BodyThenWaits => "waits",
            Streamed => "streamed",
            Whole | Body | Chunks | Pipelined => "",
        };
        let to = |path: &str, rest: &str| {
            let (prefix, (name, value)) = (self.prefix, field);
            format!("POST {prefix}/{path} HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\n{rest}\r\n")
        };
        let head = |rest: &str| to(&format!("{path}?{query}"), rest);
        let later = "Expect: 100-continue\r\nContent-Length: 2\r\n";
        match way {
            Whole => {
                meanwhile();
                connection.send(head("Content-Length: 2\r\n") + "ab");
            }
            Body | Streamed => {
                connection.send(head(later));
                went_on(&mut connection);
                meanwhile();
                connection.send("ab");
            }
            Chunks => {
                connection.send(head("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"));
                went_on(&mut connection);
                connection.send("1\r\na\r\n");
                meanwhile();
                connection.send("1\r\nb\r\n0\r\n\r\n");
            }
            Waits | Late => {
                connection.send(head(""));
                self.wait_until_a_request_waits();
                meanwhile();
            }
            BodyThenWaits => {
                connection.send(head(later));
                went_on(&mut connection);
                connection.send("ab");
                self.wait_until_a_request_waits();
                meanwhile();
            }
            Pipelined => {
                connection.send(to("", later));
                went_on(&mut connection);
                meanwhile();
                connection.send("ab".to_owned() + &head(""));
                connection.response("POST");
            }
        }
        match way {
            Waits | BodyThenWaits => {
                self.is_ready.store(true, Relaxed);
                self.signal.notify();
            }
            Late => self.server.handle().shutdown(),
            _ => {}
        }
        connection.response("POST")
    }

    fn wait_until_a_request_waits(&self) {
        while self.signal.waiting() == 0 {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
}

/// Waits until the handlers have accepted the head.
fn went_on(connection: &mut testing::TestConnection) {
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(connection.receive(interim.len()), interim.as_bytes());
}

/// A request of a session sees the session as it is when its handler begins. One that had a user is rejected if the
/// user has logged out in the meantime, or has a session with another id.
#[test]
fn a_session_that_ends_during_a_request_has_ended() {
    for way in WAYS {
        for (begin, meanwhile, expected) in [
            ("cart=1&in=ada", "", "ada 1  y"),
            ("cart=1&in=ada", "new=2", "ada 1 2 y"),
            ("cart=1&in=ada", "out", "403"),
            ("cart=1&in=ada", "renew", "403"),
            ("cart=1&in=ada", "in=eve", "403"),
            ("cart=1", "new=2", "nobody 1 2 y"),
            ("cart=1", "out", "nobody   y"),
            // The request has the values from before the login, and not the user.
            ("cart=1", "new=2&in=eve", "nobody 1  y"),
        ] {
            let store = Arc::new(MemorySessions::new());
            let stage = Stage::new(Sessions::new(Arc::clone(&store)));
            let first = stage.server.post(&format!("/?{begin}"), "");
            let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
            let change = || {
                let request = TestRequest::new(Method::POST, format!("/?{meanwhile}")).with_header("cookie", &cookie);
                stage.server.send(request).assert_status(200);
            };
            let sent = stage.send(way, ("Cookie", &cookie), "mine=y", change);
            let found = if sent.status() == 200 { sent.text().to_owned() } else { sent.status().as_u16().to_string() };
            let expected = match (way, meanwhile) {
                // The handler of a streamed body begins with the head.
                (Streamed, _) if begin.contains("in=") => "ada 1  y",
                (Streamed, _) => "nobody 1  y",
                // The whole request came after the change, with a cookie that is no longer valid.
                (Whole, "out" | "renew" | "in=eve" | "new=2&in=eve") => "nobody   y",
                (Pipelined, "out" | "renew" | "in=eve" | "new=2&in=eve") => "nobody   y",
                _ => expected,
            };
            assert_eq!(found, expected, "{way:?}: {begin}, {meanwhile}");
        }
    }
}

/// An application's own layer that authenticates.
struct Own(Arc<AtomicBool>);

impl Own {
    fn check(&self) -> Result<()> {
        if self.0.load(Relaxed) { Ok(()) } else { Err(crate::Error::new(401, "")) }
    }
}

impl Layer for Own {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        request.put(User::new("ada"));
        self.check()
    }

    fn check_again(&self, _: &Request) -> Result<()> {
        self.check()
    }
}

/// The layers that authenticate check a request again if its body arrived later, or if it has waited.
#[test]
fn a_user_who_is_removed_during_a_request_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let line = "ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n";
    let basic = ("Authorization", "Basic YWRhOmEgbG9uZyBzZWNyZXQ=");
    for way in WAYS {
        for kind in ["closure", "optional", "file", "token", "own", "of a route"] {
            for goes in [true, false] {
                let is_valid = Arc::new(AtomicBool::new(true));
                let valid = Arc::clone(&is_valid);
                let ada = move || valid.load(Relaxed).then(|| User::new("ada"));
                std::fs::write(&path, line).unwrap();
                let file = Arc::new(UserFile::open(&path).unwrap().reload(None));
                let layer: Box<dyn Layer> = match kind {
                    "closure" => Box::new(BasicAuth::checked_by("r", move |_, _, _| ada())),
                    "optional" => Box::new(BasicAuth::checked_by("r", move |_, _, _| ada()).optional(true)),
                    "file" => Box::new(BasicAuth::new("r").users(Arc::clone(&file))),
                    "token" => Box::new(BearerAuth::checked_by("r", move |_, _| ada())),
                    _ => Box::new(Some(Own(Arc::clone(&is_valid)))),
                };
                let stage = match kind {
                    "of a route" => Stage::in_route(layer),
                    _ => Stage::new(layer),
                };
                let field = if kind == "token" { ("Authorization", "Bearer t") } else { basic };
                let sent = stage.send(way, field, "", || {
                    if goes {
                        is_valid.store(false, Relaxed);
                        std::fs::write(&path, "").unwrap();
                        file.reloader()().unwrap();
                    }
                });
                let status = if goes && way != Streamed { 401 } else { 200 };
                assert_eq!(sent.status(), status, "{way:?}, {kind}, {goes}: {sent:?}");
            }
        }
    }
}

/// The checks of roles are in layers and handlers inside, which have seen the head.
#[test]
fn a_user_who_loses_a_role_during_a_request_is_rejected() {
    for way in WAYS {
        for scheme in ["Basic YTph", "Bearer t"] {
            for (before, after, status) in [("a,b", "b", 403), ("a", "a,b", 200), ("a", "a", 200), ("b", "b,a", 200)] {
                let roles = Arc::new(Mutex::new(before.to_owned()));
                let now = Arc::clone(&roles);
                let ada = move || {
                    let roles = now.lock().unwrap().clone();
                    Some(roles.split(',').fold(User::new("ada"), |user, role| user.with_role(role)))
                };
                let layer: Box<dyn Layer> = match scheme.starts_with("Basic") {
                    true => Box::new(BasicAuth::checked_by("r", move |_, _, _| ada())),
                    false => Box::new(BearerAuth::checked_by("r", move |_, _| ada())),
                };
                let stage = Stage::new(layer);
                let sent =
                    stage.send(way, ("Authorization", scheme), "", || after.clone_into(&mut roles.lock().unwrap()));
                let status = if matches!(way, Whole | Pipelined | Streamed) { 200 } else { status };
                assert_eq!(sent.status(), status, "{way:?}, {scheme}, {before} {after}: {sent:?}");
            }
        }
    }
}

/// A request that arrives at once is looked up once.
#[test]
fn a_look_up_is_repeated_only_after_a_pause() {
    for (way, looks) in [(Whole, 1), (Streamed, 1), (Body, 2), (Waits, 2), (BodyThenWaits, 3)] {
        let store = Arc::new(Counting(MemorySessions::new(), Default::default()));
        let stage = Stage::new(Sessions::new(Arc::clone(&store)));
        let first = stage.server.post("/?in=ada", "");
        let cookie = first.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        let before = store.1.load(Relaxed);
        stage.send(way, ("Cookie", &cookie), "", || {}).assert_status(200);
        assert_eq!(store.1.load(Relaxed) - before, looks, "{way:?}");
    }
}
