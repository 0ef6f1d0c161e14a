//! Responses that wait for something other than their client: see `live`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::body::ResponseBody;
use super::{Continuation, Response};
use crate::http::live::{ChannelOptions, Listener, Pushed, PushedBody, Sender, Ticket, Wait};

/// Live responses, which hold no worker while they wait. If a limit is reached
/// ([`TcpServer::max_live`](crate::TcpServer::max_live), `max_live_per_address`), a 503 or a 429 is sent instead. The
/// handler has run by then, so only a request that is safe to repeat (GET, HEAD) gets `Retry-After`.
impl Response {
    /// Creates a 200 with server-sent events: `text/event-stream`, which `EventSource` in a browser reads. The listener
    /// holds no worker.
    ///
    /// See [`live::Broadcast`](crate::live::Broadcast).
    pub fn events(listener: Listener) -> Response {
        Response::of(ResponseBody::Pushed(listener.body))
            .set_field(header::CONTENT_TYPE, const { HeaderValue::from_static("text/event-stream") })
            .set_field(header::CACHE_CONTROL, const { HeaderValue::from_static("no-store") })
            // nginx buffers responses otherwise
            .set_field(const { HeaderName::from_static("x-accel-buffering") }, const { HeaderValue::from_static("no") })
    }

    /// Creates a 200 with a body that any thread sends piece by piece, and the [`Sender`] for it. It holds no worker:
    /// the handler returns the response at once and keeps the sender, or passes it to a thread. No Content-Type is set.
    ///
    /// If the handler sets a Content-Length, the connection is reset when the sender sends more bytes, or ends after
    /// fewer.
    ///
    /// ```
    /// use std::thread;
    /// use std::time::Duration;
    /// use modest::{Response, Result};
    ///
    /// fn count() -> Result<Response> {
    ///     let (sender, response) = Response::channel();
    ///     thread::spawn(move || {
    ///         for number in 1..=100_000 {
    ///             let limit = Duration::from_secs(30); // how long to wait for room in the queue
    ///             if sender.send_timeout(format!("{number}\n"), limit).is_err() {
    ///                 return; // the client has disconnected or read nothing for 30 s; the body ends with a reset
    ///             }
    ///         }
    ///         sender.finish();
    ///     });
    ///     Ok(response)
    /// }
    /// # count()?;
    /// # Ok::<(), modest::Error>(())
    /// ```
    pub fn channel() -> (Sender, Response) {
        Response::channel_with(ChannelOptions::new())
    }

    /// Creates a [`channel`](Response::channel) with other settings: the size of the queue, and the maximum time
    /// without bytes.
    pub fn channel_with(settings: ChannelOptions) -> (Sender, Response) {
        let mut pushed = Pushed::new(settings.queue);
        (pushed.idle, pushed.half_closed) = (settings.idle_timeout, settings.half_close_timeout);
        pushed.at_shutdown = settings.at_shutdown;
        let pushed = Arc::new(pushed);
        let body = PushedBody::new(Arc::clone(&pushed));
        (Sender::new(pushed), Response::of(ResponseBody::Pushed(body)))
    }

    /// Returns no response yet: the request waits, without a worker, until the signal is notified, and is then handled
    /// again. After this time (`None`: no limit), counted from the request's first wait, the request is handled once
    /// more, and [`Request::is_late`](crate::Request::is_late) returns true. If the client disconnects, the request is
    /// dropped.
    ///
    /// See [`live::Signal`](crate::live::Signal) for an example.
    pub fn wait_for(ticket: Ticket, within: impl Into<Option<Duration>>) -> Response {
        Response::of_wait(Wait { ticket, within: within.into(), backend: None })
    }

    /// Returns whether the body is pushed by other threads.
    pub(crate) fn is_pushed(&self) -> bool {
        matches!(self.body, ResponseBody::Pushed(_))
    }

    pub(crate) fn of_wait(wait: Wait) -> Response {
        let mut response = Response::new(StatusCode::SERVICE_UNAVAILABLE); // sent where waiting is not possible
        response.rare().instead = Some(Continuation::Wait(wait));
        response
    }
}
