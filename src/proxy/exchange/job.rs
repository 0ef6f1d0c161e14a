//! A request that has a thread: it connects, sends the request, and sends the response to the client.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use super::super::failure::Failure;
use super::super::fields;
use super::super::upstream::Upstream;
use super::receiving::{AT_ONCE, is_events, next_head};
use super::{BackendResponse, Exchange};
use crate::http::backend_response::{BackendBody, BackendHead};
use crate::http::{BodyStep, LivePlace};
use crate::live::{ChannelOptions, Sender};
use crate::{Body, Response, StatusCode};

/// A client that has closed its sending side counts as disconnected when it gets nothing for this long.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// A request for a thread. The exchange has failed if this is dropped before there is a response, as after a panic.
pub(super) struct Job {
    exchange: Arc<Exchange>,
    body: Body,
    /// Until the response is complete.
    place: Option<LivePlace>,
    /// Whether the connection can be kept.
    may_keep: bool,
    /// The connection of a response whose head was received without a thread.
    pub(super) begun: Option<(Upstream, BackendHead)>,
    is_running: bool,
    /// Whether the backend may have executed the request before.
    pub(super) was_sent: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.fail(if self.is_running { Failure::Ended("the exchange failed".into()) } else { Failure::NoThread });
    }
}

impl Job {
    /// Creates the job of an exchange that has not begun.
    pub(super) fn new(exchange: Arc<Exchange>, body: Body, place: LivePlace, may_keep: bool) -> Job {
        Job { exchange, body, place: Some(place), may_keep, begun: None, is_running: false, was_sent: false }
    }

    pub(super) fn start(self) -> io::Result<()> {
        let connector = Arc::clone(&self.exchange.connector);
        connector.run(move || self.run())
    }

    fn run(mut self) {
        self.is_running = true;
        if let Err(failure) = self.receive() {
            self.fail(failure);
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.place = None; // first, so that the client's next request can have it
        self.exchange.answer(Err(if self.was_sent { failure.after_sending() } else { failure }));
    }

    fn receive(&mut self) -> Result<(), Failure> {
        let (upstream, head) = match self.begun.take() {
            Some(begun) => begun,
            None => {
                let mut upstream = self.connect()?;
                let head = self.read_head(&mut upstream)?;
                (upstream, head)
            }
        };
        self.pass_on(upstream, head)
    }

    fn connect(&mut self) -> Result<Upstream, Failure> {
        let gone = || Failure::Ended("the client has disconnected".into());
        let stream = Arc::new(if self.exchange.is_over() { Err(gone()) } else { self.exchange.connector.connect() }?);
        if !self.exchange.hold(&stream) {
            return Err(gone());
        }
        let upstream = Upstream::new(stream, self.exchange.asked.head.clone(), mem::take(&mut self.body));
        upstream.map_err(|error| Failure::Ended(error.to_string()))
    }

    /// Passes on a response whose head was received.
    pub(super) fn pass_on(&mut self, mut upstream: Upstream, head: BackendHead) -> Result<(), Failure> {
        let exchange = Arc::clone(&self.exchange);
        let asked = &exchange.asked;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !asked.upgrade.as_ref().is_some_and(|asked| fields::is_offered(asked, &fields::protocol(&head))) {
                return Err(Failure::Invalid("it switches to a protocol that was not requested"));
            }
            exchange.release(); // the tunnel outlives the request, whose end must not close it
            upstream.place = self.place.take();
            exchange.answer(Ok(BackendResponse::Switched(head, upstream)));
            return Ok(());
        }
        let body = head.body(&asked.method).map_err(Failure::Invalid)?;
        self.may_keep &= head.keeps_connection(&asked.method);
        if body.is_empty() {
            self.finish(upstream);
            exchange.answer(Ok(BackendResponse::Whole(head)));
            return Ok(());
        }
        let channel = ChannelOptions::new().idle_timeout(None).half_close_timeout(LEFT_AFTER);
        let channel = if is_events(&head) { channel.breaks_at_shutdown() } else { channel };
        let (sender, response) = Response::channel_with(channel);
        let answer = Ok(BackendResponse::Streamed(head, response));
        let bytes = upstream.bytes();
        if body.clone().ends_within(&bytes[..bytes.len().min(AT_ONCE)]) {
            self.send(upstream, body, sender); // the client gets it with the head
            exchange.answer(answer);
        } else {
            exchange.answer(answer);
            self.send(upstream, body, sender);
        }
        Ok(())
    }

    /// Keeps the connection, or closes it. Called before the end of the response is passed on, so that the client's
    /// next request finds the connection and a place. A client that counts the bytes of a long body can be faster: the
    /// place is also the limit of threads, so it is kept until the last bytes are in the channel.
    fn finish(&mut self, upstream: Upstream) {
        let is_usable = self.exchange.release() && self.may_keep && upstream.is_at_end();
        self.place = None;
        if let Some(kept) = self.exchange.kept.upgrade().filter(|_| is_usable) {
            kept.keep(upstream, &self.exchange.server);
        }
    }

    /// Receives until the head of a final response is complete.
    fn read_head(&mut self, upstream: &mut Upstream) -> Result<BackendHead, Failure> {
        let mut limit_reached = false;
        loop {
            if let Some(head) = next_head(upstream, &mut self.may_keep)? {
                return Ok(head);
            }
            if limit_reached {
                return Err(Failure::Late); // it sends its head too slowly
            }
            match upstream.fill(self.exchange.asked.limit)? {
                0 if upstream.bytes().is_empty() => return Err(Failure::Ended("it sent nothing".into())),
                0 => return Err(Failure::Invalid("its head is incomplete")),
                _ if upstream.is_late(self.exchange.asked.limit) => limit_reached = true,
                _ => {}
            }
        }
    }

    /// Sends the body to the client, at the client's pace.
    fn send(&mut self, mut upstream: Upstream, body: BackendBody, sender: Sender) {
        match copy(&mut upstream, body, &sender, self.exchange.asked.pause) {
            Ok(()) => {
                self.finish(upstream);
                sender.finish();
            }
            Err(why) => {
                if !self.exchange.is_over() {
                    let name = &self.exchange.asked.name;
                    name.scope().run(|| log::warn!("{name}: the response was cut off: {why}"));
                }
                self.place = None; // first, so that the client's next request can have it
                sender.abort();
            }
        }
    }
}

/// Sends the body until its end. The error is the reason why it is incomplete: it may also have paused for too long.
fn copy(
    upstream: &mut Upstream,
    mut body: BackendBody,
    sender: &Sender,
    pause: Option<Duration>,
) -> Result<(), String> {
    loop {
        let (used, step) = body.step(upstream.bytes())?;
        match step {
            BodyStep::Data(piece) => sender.send_shared(Arc::from(piece), None).map_err(|error| error.to_string())?,
            BodyStep::End => {
                upstream.consume(used);
                return Ok(());
            }
            BodyStep::NeedInput => {
                upstream.consume(used);
                match upstream.fill_body(pause) {
                    Err(Failure::Late) => return Err("it paused for too long (`pause_timeout`)".into()),
                    Err(failure) => return Err(failure.to_string()),
                    Ok(0) if matches!(body, BackendBody::UntilClose) => return Ok(()),
                    Ok(0) => return Err("the connection ended before the response did".into()),
                    Ok(_) => continue,
                }
            }
        }
        upstream.consume(used);
    }
}
