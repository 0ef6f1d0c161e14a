//! Deadlines for handlers: late requests are not handled, and handlers can read their deadline.

use std::time::{Duration, Instant};

use crate::{BodyPlan, Error, Layer, Next, Request, Response, Result, StatusCode};

/// Limits how long a response takes, as far as possible for handlers that block.
///
/// - A request whose head has waited longer than the limit for a worker is not handled: 503 with `Retry-After`. Its
///   client has probably given up. A later wait, after the body has arrived, does not count.
/// - Other requests have a [`Deadline`] among their values. Handlers check it between steps, and use its
///   [`time_left`](Deadline::time_left) as a timeout when they wait for a database, another server or a lock.
/// - An error that lateness can cause (500, 502 or 504) after the deadline becomes a 503 with `Retry-After`. A
///   successful late response is sent unchanged, because the client may still wait.
///
/// A handler cannot be stopped from outside, because Rust threads cannot be stopped, and the number of abandoned
/// threads would be unlimited. So a handler that never checks its deadline holds its worker, which
/// [`TcpServer::slow_handler`](crate::TcpServer::slow_handler) logs.
///
/// The limit counts from the end of the request's head. For a request with a body, which can arrive slowly, and for a
/// request that has waited for a signal ([`Response::wait_for`]), it counts from the start of the handler. If
/// several such layers are around a handler, the innermost sets its deadline.
///
/// ```
/// use modest::layers::{Deadline, Timeout};
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
/// use std::time::Duration;
///
/// let app = handler_fn(|request| {
///     let deadline = request.value::<Deadline>().unwrap();
///     let mut sum = 0;
///     for part in 0..10 {
///         deadline.check()?; // past it: 503
///         sum += part;
///     }
///     Ok(Response::text(format!("{sum}\n")))
/// });
/// let http = Http::new(app.layer(Timeout::new(Duration::from_secs(5))));
/// assert_eq!(http.respond(&Request::get("/")).text(), "45\n");
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct Timeout {
    limit: Duration,
}

impl Timeout {
    /// Creates a layer with this limit per request.
    pub fn new(limit: Duration) -> Timeout {
        Timeout { limit }
    }

    /// Rejects a request that has waited too long.
    fn begin(&self, waited: Duration) -> Result<Deadline> {
        match self.limit.checked_sub(waited) {
            Some(left) => Ok(Deadline::after(left)),
            None => Err(too_late("the request waited too long for a worker")),
        }
    }
}

/// Stored in a request that waits for a signal.
struct HasWaited;

/// The deadline of a handler: stored in the request by [`Timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Creates a deadline after this time, for tests and for parts of a task. A deadline that the clock cannot
    /// represent never passes.
    pub fn after(time: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(time))
    }

    /// Returns the time left; zero if the deadline has passed. Call [`check`](Deadline::check) first, because some
    /// functions treat a timeout of zero as "forever", and the sockets of `std` reject it.
    pub fn time_left(&self) -> Duration {
        self.0.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }

    /// Returns whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        self.time_left().is_zero()
    }

    /// Returns the time left.
    ///
    /// # Errors
    /// 503 with `Retry-After` if the deadline has passed.
    pub fn check(&self) -> Result<Duration, Error> {
        match self.time_left() {
            Duration::ZERO => Err(too_late("the request took too long")),
            left => Ok(left),
        }
    }
}

impl Layer for Timeout {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        request.put(self.begin(request.elapsed())?);
        Ok(())
    }

    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        // The request had a body, which may be empty although it arrived slowly, or it waited for a signal and is
        // handled again.
        let had_body = !request.body().is_empty() || request.header("transfer-encoding").is_some();
        if had_body || request.value::<HasWaited>().is_some() {
            request.put(Deadline::after(self.limit));
        }
        let deadline = request.value::<Deadline>();
        let result = next.run(request);
        if result.as_ref().is_ok_and(Response::is_to_wait) {
            request.put(HasWaited);
        }
        result.map_err(|error| {
            let is_late = deadline.is_some_and(|deadline| deadline.has_passed());
            match is_late && matches!(error.status().as_u16(), 500 | 502 | 504) {
                true => too_late("the request took too long").with_cause(error.to_string()),
                false => error,
            }
        })
    }
}

fn too_late(why: &str) -> Error {
    Error::new(StatusCode::SERVICE_UNAVAILABLE, why).with_header("retry-after", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, RequestHandler, TcpServer, handler_fn};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::{Arc, Barrier};

    #[test]
    fn a_deadline_passes_after_its_limit() {
        for (limit, has_passed) in [(Duration::ZERO, true), (Duration::from_secs(3600), false), (Duration::MAX, false)]
        {
            let deadline = Deadline::after(limit);
            assert_eq!(deadline.has_passed(), has_passed, "{limit:?}");
            assert_eq!(deadline.time_left().is_zero(), has_passed, "{limit:?}");
            assert_eq!(deadline.check().map_err(|error| error.status()).is_err(), has_passed, "{limit:?}");
        }
    }

    #[test]
    fn a_request_that_waited_too_long_is_not_started() {
        let timeout = Timeout::new(Duration::from_secs(5));
        for (waited, begins) in [(0, true), (5, true), (6, false), (1 << 40, false)] {
            let begun = timeout.begin(Duration::from_secs(waited));
            assert_eq!(begun.is_ok(), begins, "{waited}");
        }
        let refusal = timeout.begin(Duration::MAX).unwrap_err();
        assert_eq!((refusal.status().as_u16(), &refusal.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    }

    #[test]
    fn errors_after_the_deadline_become_503() {
        // The limit is short and the handler waits until it has passed, so the test needs no sleep.
        let fails = handler_fn(|request| {
            if request.param("late").is_some() {
                // The deadline was set before the handler was called and passes within 20 ms.
                while !request.value::<Deadline>().unwrap().has_passed() {}
            }
            match request.path() {
                "/500" => Err("the database is gone".into()),
                "/501" => Err(Error::new(501, "")),
                "/502" => Err(Error::new(502, "")),
                "/404" => Err(Error::new(404, "")),
                "/503" => Err(Error::new(503, "").with_header("retry-after", 9)),
                "/check" => Ok(Response::text(format!("{:?}", request.value::<Deadline>().unwrap().check()?))),
                _ => Ok(Response::text("done")),
            }
        });
        let http = Http::new(fails.layer(Timeout::new(Duration::from_millis(20))));
        for (target, status, again) in [
            ("/500?late=1", 503, Some("1")),
            ("/501?late=1", 501, None),
            ("/502?late=1", 503, Some("1")),
            ("/404?late=1", 404, None),
            ("/503?late=1", 503, Some("9")),
            ("/check?late=1", 503, Some("1")),
            ("/?late=1", 200, None),
        ] {
            for body in ["", "x"] {
                let request = Request::post(target, body);
                let sent = http.respond(&request);
                assert_eq!((sent.status().as_u16(), sent.header("retry-after")), (status, again), "{target} {body:?}");
            }
        }
        let patient = Http::new(handler_fn(|_| Err("no".into())).layer(Timeout::new(Duration::from_secs(3600))));
        assert_eq!(patient.respond(&Request::get("/")).status(), 500);
    }

    /// The time in which a request waits for a signal does not count, even if it is longer than the limit.
    #[test]
    fn time_waiting_for_a_signal_is_not_counted() {
        const LIMIT: Duration = Duration::from_millis(200);
        let signal = crate::live::Signal::new();
        let app = handler_fn(move |request| {
            let deadline = request.value::<Deadline>().unwrap();
            match request.is_late() {
                true => deadline.check().map(|left| Response::text(format!("{}", !left.is_zero()))),
                false => Ok(Response::wait_for(signal.ticket(), LIMIT * 2)),
            }
        });
        let server = crate::testing::serve(app.layer(Timeout::new(LIMIT)));
        let sent = server.get("/");
        assert_eq!((sent.status().as_u16(), sent.text()), (200, "true"));
    }

    /// The time in which a body arrives does not count, even if the body turns out to be empty.
    #[test]
    fn time_receiving_a_body_is_not_counted() {
        const LIMIT: Duration = Duration::from_millis(50);
        let app = handler_fn(|request| {
            let deadline = request.value::<Deadline>().unwrap();
            deadline.check().map(|_| Response::text("in time"))
        });
        let server = crate::testing::serve(app.layer(Timeout::new(LIMIT)));
        for (framing, body) in [
            ("Transfer-Encoding: chunked", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n"),
            ("Content-Length: 1", "x"),
        ] {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            write!(stream, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{framing}\r\n\r\n").unwrap();
            std::thread::sleep(LIMIT * 2); // a slow client
            stream.write_all(body.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200 "), "{framing}, {body:?}: {text}");
        }
    }

    /// The only worker is held until the second request has waited longer than its limit.
    #[test]
    fn queueing_counts_towards_the_timeout() {
        let (held, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (handler_held, handler_go_on) = (Arc::clone(&held), Arc::clone(&go_on));
        let app = handler_fn(move |request| {
            if request.path() == "/hold" {
                handler_held.wait();
                handler_go_on.wait();
            }
            Ok(Response::text("done"))
        });
        const LIMIT: Duration = Duration::from_millis(50);
        let server = TcpServer::bind("127.0.0.1:0", app.layer(Timeout::new(LIMIT))).unwrap().workers(1);
        let (address, handle) = (server.local_addr(), server.handle());
        let thread = std::thread::spawn(move || server.serve_forever());
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
            stream
        };
        let answer = |mut stream: TcpStream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        };
        let first = ask("/hold");
        held.wait();
        let second = ask("/second");
        while handle.stats().waiting == 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        let queued = Instant::now();
        while queued.elapsed() <= LIMIT * 2 {
            std::thread::sleep(Duration::from_micros(100));
        }
        go_on.wait();
        assert!(answer(first).starts_with("HTTP/1.1 200"));
        let late = answer(second);
        assert!(late.starts_with("HTTP/1.1 503") && late.contains("Retry-After: 1"), "{late}");
        assert!(answer(ask("/third")).starts_with("HTTP/1.1 200"));
        handle.shutdown();
        thread.join().unwrap().unwrap();
    }
}
