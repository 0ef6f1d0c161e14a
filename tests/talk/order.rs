//! If several layers have a response, the outermost of them decides: for requests with and without a body, and for all
//! places of layers. All combinations are checked against a small model.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::layers::{PathRights, Redirects};
use modest::live::Signal;
use modest::{
    BodyPlan, Error, Http, Layer, Method, Next, Request, RequestHandler, Response, Result, Routes, handler_fn,
    layer_fn, testing,
};

use crate::peer::{Answer, Peer};

/// The behaviour of a layer. Its status contains its place; 0 is the outermost.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Passes,
    RefusesFromHead,
    RespondsInHandle,
    /// Accepts only requests with the right body, and asks for the body from the head.
    ChecksBody,
    Panics,
}

const KINDS: [Kind; 5] = [Kind::Passes, Kind::RefusesFromHead, Kind::RespondsInHandle, Kind::ChecksBody, Kind::Panics];

/// The handler inside the layers.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Inside {
    Handler,
    Route,
    NoRoute,
    NoMethod,
    Panics,
}

const INSIDES: [Inside; 5] = [Inside::Handler, Inside::Route, Inside::NoRoute, Inside::NoMethod, Inside::Panics];

/// The name of a request, its head, and its body if the client sends it at once.
const REQUESTS: [(&str, &str, &str); 6] = [
    ("no body", "GET /here HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    ("options", "OPTIONS /here HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    ("short", "POST /here HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "right"),
    ("wrong", "POST /here HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "wrong"),
    ("chunked", "POST /here HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nright\r\n0\r\n\r\n"),
    ("held back", "POST /here HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n", "right"),
];

struct Told {
    kind: Kind,
    place: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Layer for Told {
    fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
        self.heard.lock().unwrap().push(format!("{} asked", self.place));
        match self.kind {
            Kind::RefusesFromHead => return Err(Error::new(410 + self.place, "")),
            Kind::ChecksBody => _ = plan.limit(100),
            _ => {}
        }
        Ok(())
    }

    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        self.heard.lock().unwrap().push(format!("{} handles", self.place));
        match self.kind {
            Kind::RespondsInHandle => return Ok(Response::text("").with_status(230 + self.place)),
            Kind::ChecksBody if *request.method() == Method::POST && request.bytes()?.as_ref() != b"right" => {
                return Err(Error::new(440 + self.place, ""));
            }
            Kind::Panics => panic!("a layer"),
            _ => {}
        }
        next.run(request)
    }

    fn finish_response(&self, _: &Request, response: Response) -> Response {
        response.with_added_header("x-finished", self.place.to_string())
    }
}

fn inside(inside: Inside) -> Box<dyn RequestHandler> {
    let found = |_: &(), _: &Request| Ok(Response::text("").with_status(250));
    match inside {
        Inside::Handler => Box::new(handler_fn(|_| Ok(Response::text("").with_status(250)))),
        Inside::Route => Box::new(
            Routes::new()
                .get("/here", found)
                .post("/here", found)
                .route(Method::OPTIONS, "/here", found)
                .with_state(()),
        ),
        Inside::NoRoute => Box::new(Routes::new().get("/there", found).with_state(())),
        Inside::NoMethod => Box::new(Routes::new().put("/here", found).with_state(())),
        Inside::Panics => Box::new(handler_fn(|_| panic!("a handler"))),
    }
}

/// The status that a client gets: of the outermost layer that has a response.
fn model(layers: &[Kind], within: Inside, request: &str) -> u16 {
    for (place, kind) in layers.iter().enumerate() {
        let place = place as u16;
        match kind {
            Kind::RefusesFromHead => return 410 + place,
            Kind::RespondsInHandle => return 230 + place,
            Kind::ChecksBody if request == "wrong" => return 440 + place,
            Kind::Panics => return 500,
            _ => {}
        }
    }
    match within {
        Inside::Handler | Inside::Route => 250,
        Inside::NoRoute => 404,
        Inside::NoMethod if request == "options" => 204,
        Inside::NoMethod => 405,
        Inside::Panics => 500,
    }
}

/// Layers around the handler, or around routes that delegate to it.
fn built(is_routed: bool, kinds: &[Kind], within: Inside, heard: &Arc<Mutex<Vec<String>>>) -> Box<dyn RequestHandler> {
    let layers = kinds.iter().enumerate().rev();
    let layers = layers.map(|(place, kind)| Told { kind: *kind, place: place as u16, heard: Arc::clone(heard) });
    let innermost: Box<dyn RequestHandler> = match is_routed {
        true => Box::new(Routes::<()>::new().fallback(inside(within)).with_state(())),
        false => inside(within),
    };
    layers.fold(innermost, |handler, layer| Box::new(handler.layer(layer)))
}

#[test]
fn the_outermost_layer_decides() {
    for code in 0..KINDS.len().pow(3) * INSIDES.len() * REQUESTS.len() * 2 {
        let mut rest = code;
        let mut draw = |most: usize| {
            let drawn = rest % most;
            rest /= most;
            drawn
        };
        let kinds = [KINDS[draw(5)], KINDS[draw(5)], KINDS[draw(5)]];
        let (within, (name, head, body)) = (INSIDES[draw(5)], REQUESTS[draw(6)]);
        let is_routed = draw(2) == 1;
        let heard = Arc::default();
        let mut peer = Peer::new(&Http::new(built(is_routed, &kinds, within, &heard)));
        peer.send(head);
        let status = || Answer::all(&peer.said, &[]).last().map(|answer| answer.status);
        if status().is_none_or(|status| status == 100) {
            peer.send(body);
        }
        let what = format!("{kinds:?} around {within:?}, routed: {is_routed}, {name}: {}", peer.text());
        let answer = Answer::all(&peer.said, &[]).pop().expect(&what);
        let expected = model(&kinds, within, name);
        assert_eq!(answer.status, expected, "{what}");
        // Without a body, no layer further inside is called.
        let first =
            kinds.iter().position(|kind| matches!(kind, Kind::RespondsInHandle | Kind::Panics | Kind::RefusesFromHead));
        let heard = heard.lock().unwrap();
        if let Some(first) = first.filter(|_| ["no body", "options"].contains(&name)) {
            let deeper = heard.iter().find(|line| line.as_bytes()[0] - b'0' > first as u8);
            assert_eq!(deeper, None, "{what}: {heard:?}");
        }
        // Each layer is called once, from the outermost one.
        let asked: Vec<_> = heard.iter().filter(|line| line.ends_with("asked")).cloned().collect();
        let in_order: Vec<_> = (0..asked.len()).map(|place| format!("{place} asked")).collect();
        assert_eq!(asked, in_order, "{what}");
        assert!(
            expected == 500 || peer.text().contains("X-Finished: 0") || peer.text().contains("x-finished: 0"),
            "{what}"
        );
    }
}

/// A protected handler that another handler calls runs its protection. The caller's own layers are unchanged.
#[test]
fn no_call_bypasses_a_handlers_layers() {
    struct App(Box<dyn RequestHandler>);
    impl RequestHandler for App {
        fn do_get(&self, request: &Request) -> Result<Response> {
            self.0.do_get(request)
        }
        fn do_post(&self, request: &Request) -> Result<Response> {
            self.0.do_post(request)
        }
    }
    let admin = || handler_fn(|_| Ok(Response::text("secret")));
    let routes = || {
        Routes::new().get("/", |_: &(), _| Ok(Response::text("secret"))).post("/", |_, _| Ok(Response::text("secret")))
    };
    for (what, protected) in [
        ("layered", Box::new(admin().layer(Members)) as Box<dyn RequestHandler>),
        ("boxed", Box::new(Box::new(admin().layer(Members)) as Box<dyn RequestHandler>)),
        ("shared", Box::new(Arc::new(admin().layer(Members)))),
        ("routes", Box::new(routes().layer(Members).with_state(()))),
        ("mounted", Box::new(Routes::<()>::new().fallback(admin().layer(Members)).with_state(()))),
        (
            "checked",
            Box::new(
                routes()
                    .before_body(|_, request, _| Members.before_body(request, &mut BodyPlan::default()))
                    .with_state(()),
            ),
        ),
        ("delegated", Box::new(admin().layer(Members).layer(layer_fn(|request, next| next.run(request))))),
    ] {
        let by_layer = Arc::new(protected);
        let inner = Arc::clone(&by_layer);
        // It is called from a handler, and from a layer that then calls the rest of the chain, which checks as well.
        let from_layer = layer_fn(move |request, next| match inner.do_get(request) {
            Ok(_) => next.run(request),
            Err(error) => Err(error),
        });
        let apps: [(&str, Box<dyn RequestHandler>); 2] = [
            ("a handler", Box::new(App(Box::new(Arc::clone(&by_layer))))),
            ("a layer", Box::new(admin().layer(Members).layer(from_layer))),
        ];
        for (by, app) in apps {
            let http = Http::new(app);
            for (key, method, expected) in
                [("wrong", "GET", 401), ("right", "GET", 200), ("wrong", "POST", 401), ("right", "POST", 200)]
            {
                if what == "checked" && method == "GET" {
                    continue; // the check belongs to the last route, POST
                }
                let mut peer = Peer::new(&http);
                let body = if method == "POST" { "Content-Length: 1\r\n\r\nx" } else { "\r\n" };
                peer.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n{body}"));
                let status = Answer::all(&peer.said, &[])[0].status;
                if what == "checked" && by == "a layer" {
                    continue; // it calls `do_get`
                }
                assert_eq!(status, expected, "{what} called by {by}, {method} with the {key} key");
            }
        }
    }
}

/// Accepts only members, from the head.
struct Members;

impl Layer for Members {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        match request.header("x-key") {
            Some("right") => Ok(()),
            _ => Err(Error::new(401, "")),
        }
    }

    fn finish_response(&self, _: &Request, response: Response) -> Response {
        response.with_header("x-members", "yes")
    }
}

fn secret() -> impl RequestHandler {
    handler_fn(|_| Ok(Response::text("secret")))
}

/// A request that was rejected is rejected again if it is handled once more, after a wait or because a test uses it
/// twice.
#[test]
fn a_rejection_holds_for_every_pass() {
    let waits = || {
        let signal = Signal::new();
        layer_fn(move |request: &Request, next: Next<'_>| {
            let ticket = signal.ticket();
            match next.run(request) {
                Err(_) if !request.is_late() => Ok(Response::wait_for(ticket, Duration::from_millis(20))),
                result => result,
            }
        })
    };
    let route = || Routes::<()>::new().get("/", |_, _| Ok(Response::text("secret")));
    let rows: [(&str, Box<dyn RequestHandler>); 4] = [
        ("layered", Box::new(secret().layer(Members).layer(waits()))),
        ("routes", Box::new(route().layer(Members).with_state(()).layer(waits()))),
        ("mounted", Box::new(Routes::<()>::new().fallback(secret().layer(Members)).with_state(()).layer(waits()))),
        ("rights", Box::new(secret().layer(PathRights::new().allow("/=ada:all".parse().unwrap())).layer(waits()))),
    ];
    for (what, app) in rows {
        let server = testing::serve(app);
        let sent = server.get("/");
        assert!([401, 403].contains(&sent.status().as_u16()), "{what}: {sent:?}");
    }
    let counted = Arc::new(AtomicUsize::new(0));
    struct Counts(Arc<AtomicUsize>);
    impl Layer for Counts {
        fn before_body(&self, _: &Request, _: &mut BodyPlan) -> Result<()> {
            self.0.fetch_add(1, Relaxed);
            Ok(())
        }
    }
    let http = Http::new(secret().layer(Members).layer(Counts(Arc::clone(&counted))));
    let request = Request::get("/");
    for round in 1..4 {
        let sent = http.respond(&request);
        assert_eq!((sent.status().as_u16(), counted.load(Relaxed)), (401, round), "{sent:?}");
        assert_eq!(sent.header("x-members"), Some("yes"), "{sent:?}");
    }
}

/// The caller chooses the method that runs. The response is finished, and limits apply.
#[test]
fn a_chain_called_by_hand_runs_completely() {
    struct Says;
    impl RequestHandler for Says {
        fn do_get(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("got"))
        }
        fn do_post(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("posted"))
        }
        fn do_delete(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("deleted"))
        }
    }
    struct Asks(Box<dyn RequestHandler>);
    impl RequestHandler for Asks {
        fn do_delete(&self, request: &Request) -> Result<Response> {
            self.0.do_get(request)
        }
        fn do_put(&self, request: &Request) -> Result<Response> {
            self.0.do_post(request)
        }
    }
    let routes = || {
        let said = |word: &'static str| move |_: &(), _: &Request| Ok(Response::text(word));
        Routes::new()
            .get("/", said("got"))
            .delete("/", said("deleted"))
            .post("/", said("posted"))
            .body_limit(2)
            .layer(Members)
            .with_state(())
    };
    for (what, app) in [
        ("layered", Asks(Box::new(Says.layer(Members)))),
        ("boxed", Asks(Box::new(Box::new(Says.layer(Members)) as Box<dyn RequestHandler>))),
        ("routes", Asks(Box::new(routes()))),
        ("fallback", Asks(Box::new(Routes::<()>::new().fallback(Says.layer(Members)).with_state(())))),
    ] {
        let http = Http::new(app);
        for (method, key, body, expected) in [
            ("DELETE", "right", "", "200 got"),
            ("DELETE", "wrong", "", "401 "),
            ("PUT", "right", "x", "200 posted"),
            ("PUT", "wrong", "x", "401 "),
            ("PUT", "right", "long", if what == "routes" { "413 " } else { "200 posted" }),
        ] {
            let request = Request::new(method.parse().unwrap(), "/").unwrap().with_header("x-key", key).with_body(body);
            let sent = http.respond(&request);
            let text = if sent.status() == 200 { sent.text() } else { "" };
            assert_eq!(format!("{} {text}", sent.status().as_str()), expected, "{what}, {method} {key} {body}");
            assert_eq!(sent.header("x-members"), Some("yes"), "{what}, {method} {key} {body}: {sent:?}");
        }
    }
}

/// If a handler delegates a request to a different handler than before, the new handler is also called with the head,
/// even between head and body.
#[test]
fn every_delegate_checks_the_request() {
    struct Flips(AtomicUsize, Box<dyn RequestHandler>, Box<dyn RequestHandler>);
    impl RequestHandler for Flips {
        fn delegate(&self, _: &Request) -> Option<&dyn RequestHandler> {
            Some(if self.0.fetch_add(1, Relaxed).is_multiple_of(2) { &*self.1 } else { &*self.2 })
        }
    }
    for begins in 0..2 {
        let http = Http::new(Flips(
            AtomicUsize::new(begins),
            Box::new(handler_fn(|_| Ok(Response::text("open")))),
            Box::new(secret().layer(Members)),
        ));
        for request in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"]
        {
            for _ in 0..2 {
                let mut peer = Peer::new(&http);
                peer.send(request);
                assert!(!peer.text().ends_with("secret"), "{begins}, {request}: {}", peer.text());
            }
        }
    }
}

/// Rules and redirects see the path that the handler inside them sees, also within a mount.
#[test]
fn layers_within_a_mount_see_its_root() {
    let inner = || {
        let rights = PathRights::new().allow("/=*:all".parse().unwrap()).allow("/private=ada:all".parse().unwrap());
        secret().layer(rights).layer(Redirects::parse("/old /new").unwrap())
    };
    let app = Routes::<()>::new().mount("/m/{any}", inner()).fallback(inner()).with_state(());
    let http = Http::new(app);
    for (path, status, location) in [
        ("/x", 200, None),
        ("/private/x", 401, None),
        ("/old", 301, Some("/new")),
        ("/m/a%20b/x", 200, None),
        ("/m/a/private/x", 401, None),
        ("/m/a/PRIVATE/x", 401, None),
        ("/m/a", 200, None),
        ("/m/a%20b/old", 301, Some("/m/a%20b/new")),
    ] {
        let sent = http.respond(&Request::get(path));
        assert_eq!((sent.status().as_u16(), sent.header("location")), (status, location), "{path}: {sent:?}");
    }
}

/// An open response passes the layers like any other: an event stream, a channel, a WebSocket, a long poll.
#[test]
fn the_outermost_layer_decides_about_live_responses() {
    use modest::live::Broadcast;
    use modest::websocket::{Message, Socket, WebSocketHandler};

    struct Echo;
    impl WebSocketHandler for Echo {
        fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
            Ok(socket.send(message)?)
        }
    }
    const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let live = |what: usize| -> Box<dyn RequestHandler> {
        let (broadcast, signal) = (Broadcast::new(), Signal::new());
        Box::new(handler_fn(move |request| match what {
            0 => Ok(Response::events(broadcast.listen(request)?)),
            1 => {
                let (sender, response) = Response::channel();
                sender.send("begun")?;
                sender.finish();
                Ok(response)
            }
            2 => modest::websocket::accept(request, Echo),
            _ if request.is_late() => Ok(Response::text("late")),
            _ => Ok(Response::wait_for(signal.ticket(), Duration::from_millis(5))),
        }))
    };
    for what in 0..4 {
        for (first, second) in KINDS.iter().flat_map(|first| KINDS.map(|second| (*first, second))) {
            let (kinds, heard) = ([first, second], Arc::default());
            let layers = kinds.iter().enumerate().rev();
            let layers =
                layers.map(|(place, kind)| Told { kind: *kind, place: place as u16, heard: Arc::clone(&heard) });
            let app = layers.fold(live(what), |handler, layer| Box::new(handler.layer(layer)));
            let server = testing::serve(app);
            let mut client = TcpStream::connect(server.address()).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let upgrade = if what == 2 { UPGRADE } else { "" };
            client.write_all(format!("GET /here HTTP/1.1\r\nHost: a\r\n{upgrade}\r\n").as_bytes()).unwrap();
            let mut line = String::new();
            BufReader::new(&client).read_line(&mut line).unwrap();
            let open = if what == 2 { 101 } else { 200 };
            let expected = match model(&kinds, Inside::Handler, "no body") {
                250 => open,
                status => status,
            };
            assert_eq!(line.split(' ').nth(1), Some(expected.to_string().as_str()), "{what}, {kinds:?}: {line:?}");
        }
    }
}

/// If a handler rejects a request, its plan for the body does not count: an outer layer that needs the body gets it.
#[test]
fn a_rejection_discards_the_body_plan() {
    struct Wants;
    impl Layer for Wants {
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            plan.limit(100);
            Ok(())
        }
        fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
            let length = request.bytes()?.len();
            Ok(next
                .run(request)
                .unwrap_or_else(|error| Response::text(format!("{length} bytes, {}", error.status().as_u16()))))
        }
    }
    #[derive(Clone, Default)]
    struct Tape(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    struct Plans(Tape);
    impl RequestHandler for Plans {
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            plan.limit(1).save_to(self.0.clone());
            Err(Error::new(403, ""))
        }
    }
    let tape = Tape::default();
    for (what, app) in [
        ("a handler", Box::new(RequestHandler::layer(Plans(tape.clone()), Wants)) as Box<dyn RequestHandler>),
        ("a fallback", Box::new(Routes::<()>::new().fallback(Plans(tape.clone())).with_state(()).layer(Wants))),
    ] {
        let mut peer = Peer::new(&Http::new(app));
        peer.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nright");
        assert!(peer.text().ends_with("5 bytes, 403"), "{what}: {}", peer.text());
        assert!(tape.0.lock().unwrap().is_empty(), "{what}: a rejected body was written");
    }
}
