//! The sender of a pushed body, and a piece for which its queue had no room. Created by handlers, used by any thread;
//! the queue is in `pushed`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::pushed::{Pushed, SendError};
use crate::tcp::{self, Waker};

/// Sends the body of a response from any thread while the client receives it:
/// [`Response::channel`](crate::Response::channel). A shutdown waits for it, up to the shutdown timeout, unless the
/// body [ends at a shutdown](crate::live::ChannelOptions::ends_at_shutdown).
///
/// [`finish`](Sender::finish) ends the body. Dropping the sender also completes the body, unless a send has failed. If
/// a piece was refused with [`SendError::Full`] and not sent later, or if a panic drops the sender, the connection is
/// reset, so that the client does not mistake the incomplete body for the complete one.
#[must_use = "dropping it ends the response"]
pub struct Sender(Arc<Pushed>);

impl Sender {
    pub(crate) fn new(pushed: Arc<Pushed>) -> Sender {
        Sender(pushed)
    }

    /// Sends these bytes without waiting, by adding them to a bounded queue
    /// ([`ChannelOptions::queue`](crate::live::ChannelOptions::queue)). An empty queue also accepts a longer piece. A
    /// thread that can wait uses [`send_timeout`](Sender::send_timeout), and a thread that can send the bytes later
    /// uses [`try_send`](Sender::try_send).
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room: the bytes are dropped, so the body is incomplete. [`SendError::Gone`]
    /// if the client has disconnected.
    pub fn send(&self, bytes: impl Into<Vec<u8>>) -> Result<(), SendError> {
        self.try_send(bytes).map_err(|unsent| unsent.error)
    }

    /// Sends these bytes without waiting, as [`send`](Sender::send) does. If there is no room, they are returned. Send
    /// them again when [`on_drain`](Sender::on_drain) reports that there is room.
    ///
    /// # Errors
    /// The unsent bytes, with the reason. If they are dropped without being sent, the body is incomplete.
    pub fn try_send(&self, bytes: impl Into<Vec<u8>>) -> Result<(), Unsent> {
        self.send_by(Arc::from(bytes.into()), |piece| self.0.push(piece))
    }

    /// Sends these bytes, and waits for room in the queue up to the limit (`None`: without a limit), so that the client
    /// sets the pace. Call it from a thread that produces the body, not from the handler: the queue is sent only after
    /// the handler has returned the response.
    ///
    /// # Errors
    /// [`SendError::Full`] if there was no room in time; [`SendError::Gone`] as soon as the client disconnects.
    pub fn send_timeout(&self, bytes: impl Into<Vec<u8>>, limit: impl Into<Option<Duration>>) -> Result<(), SendError> {
        self.send_shared(Arc::from(bytes.into()), limit.into())
    }

    /// Does what [`send_timeout`](Sender::send_timeout) does, without a copy of the bytes.
    pub(crate) fn send_shared(&self, piece: Arc<[u8]>, limit: Option<Duration>) -> Result<(), SendError> {
        let deadline = limit.and_then(|limit| tcp::now().checked_add(limit));
        self.send_by(piece, |piece| self.0.push_before(deadline, piece)).map_err(|unsent| unsent.error)
    }

    /// Sets a function that is called when there is room again after a [`try_send`](Sender::try_send) has failed with
    /// [`SendError::Full`]. It runs on a worker with a permit for short work. It can send, or wake the thread that
    /// produces the body. So a relay that reads many connections on one thread needs no thread per client. The function
    /// is dropped when the client disconnects.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use modest::Response;
    /// use modest::live::{Sender, Unsent};
    ///
    /// /// One of the sources that a thread reads. Dropped, it ends the response.
    /// struct Relay<I> {
    ///     source: I,
    ///     sender: Sender,
    ///     /// A piece for which there was no room.
    ///     unsent: Option<Unsent>,
    /// }
    ///
    /// impl<I: Iterator<Item = Vec<u8>>> Relay<I> {
    ///     /// Sends pieces while there is room. Returns true once all are sent.
    ///     fn go_on(&mut self) -> bool {
    ///         if let Some(unsent) = self.unsent.take() {
    ///             self.unsent = unsent.try_send().err();
    ///         }
    ///         while self.unsent.is_none() {
    ///             let Some(piece) = self.source.next() else { return true };
    ///             self.unsent = self.sender.try_send(piece).err();
    ///         }
    ///         false
    ///     }
    /// }
    ///
    /// let (resume, resumed) = mpsc::channel();
    /// let (sender, response) = Response::channel();
    /// sender.on_drain(move || resume.send(7).unwrap_or_default()); // the thread calls `go_on` of source 7
    /// let pieces = (0..3).map(|number| format!("{number}\n").into_bytes());
    /// let mut relay = Relay { source: pieces, sender, unsent: None };
    /// assert!(relay.go_on());
    /// # drop((response, resumed));
    /// ```
    pub fn on_drain(&self, call: impl FnMut() + Send + 'static) {
        wake(self.0.on_drain(call));
    }

    fn send_by(
        &self,
        piece: Arc<[u8]>,
        push: impl FnOnce(Arc<[u8]>) -> Result<Option<Waker>, SendError>,
    ) -> Result<(), Unsent> {
        let pushed = match piece.is_empty() {
            true if self.is_gone() => Err(SendError::Gone),
            true => Ok(None),
            false => push(Arc::clone(&piece)),
        };
        match pushed {
            Ok(waker) => {
                wake(waker);
                Ok(())
            }
            Err(error) => Err(Unsent { piece, error, queue: Arc::clone(&self.0) }),
        }
    }

    /// Ends the body as complete after the queued bytes, even if a send has failed and its bytes are missing.
    pub fn finish(self) {
        wake(self.0.complete());
    }

    /// Returns whether the client has disconnected or never got the response, or the response has ended.
    pub fn is_gone(&self) -> bool {
        self.0.is_gone()
    }

    /// Returns whether the server is shutting down. End the body soon: if it is incomplete at the shutdown timeout, the
    /// connection is reset.
    pub fn is_shutting_down(&self) -> bool {
        self.0.is_shutting_down()
    }

    /// Resets the connection, so that the client does not mistake the incomplete body for the complete one.
    pub fn abort(self) {
        self.break_off();
    }

    fn break_off(&self) {
        if let Some(waker) = self.0.break_off() {
            waker.abort();
        }
    }
}

/// Bytes for which there was no room: [`Sender::try_send`]. They are part of the body. If the [`Sender`] is dropped
/// before they are sent, the connection is reset.
#[must_use = "the body is incomplete without it"]
pub struct Unsent {
    piece: Arc<[u8]>,
    error: SendError,
    queue: Arc<Pushed>,
}

impl Unsent {
    /// Sends the bytes without waiting.
    ///
    /// # Errors
    /// As [`Sender::try_send`].
    pub fn try_send(self) -> Result<(), Unsent> {
        if self.error == SendError::Gone {
            return Err(self);
        }
        match self.queue.push_again(Arc::clone(&self.piece)) {
            Ok(waker) => {
                wake(waker);
                Ok(())
            }
            Err(error) => Err(Unsent { error, ..self }),
        }
    }

    /// Returns the reason why the bytes were not sent.
    pub fn error(&self) -> SendError {
        self.error
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.piece
    }
}

impl fmt::Debug for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").field("bytes", &self.piece.len()).field("error", &self.error).finish()
    }
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Unsent {}

impl Drop for Sender {
    fn drop(&mut self) {
        if tcp::panicking() || self.0.has_gap() {
            self.break_off(); // not after `finish`: the body is complete
        } else {
            wake(self.0.complete());
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

opaque!(Sender { is_gone() });

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::pushed::{PushedBody, PushedEnd};
    use super::*;

    #[test]
    fn a_queue_is_bounded_but_takes_any_single_piece() {
        let pushed = Arc::new(Pushed::new(10));
        let (mut body, sender) = (PushedBody::new(Arc::clone(&pushed)), Sender::new(pushed));
        let mut take = |most| body.take(most).pieces.concat().len();
        for (length, wanted) in
            [(6, Ok(())), (5, Err(SendError::Full)), (4, Ok(())), (1, Err(SendError::Full)), (0, Ok(()))]
        {
            assert_eq!(sender.send(vec![b'x'; length]), wanted, "sending {length} bytes more");
        }
        assert_eq!((take(1), take(1), take(1)), (6, 4, 0), "each call takes one piece");
        assert_eq!(sender.send(vec![b'x'; 100]), Ok(()), "an empty queue takes a piece of any length");
        assert_eq!(sender.send("x"), Err(SendError::Full));
        sender.abort();
        let left = body.take(1000);
        assert_eq!((left.pieces.len(), left.end), (0, Some(PushedEnd::Broken)), "an aborted body keeps no data");
    }

    /// A refused piece counts as missing until it is sent again, whether the piece or the sender is dropped first.
    #[test]
    fn a_resent_piece_is_not_missing() {
        type Then = fn(Sender, Unsent);
        let rows: [(&str, Then, PushedEnd); 5] = [
            ("sent again", |_sender, unsent| unsent.try_send().unwrap(), PushedEnd::Complete),
            ("dropped before its sender", |_sender, unsent| drop(unsent), PushedEnd::Broken),
            ("dropped after its sender", |sender, _unsent| drop(sender), PushedEnd::Broken),
            ("left out on purpose", |sender, _unsent| sender.finish(), PushedEnd::Complete),
            (
                "refused twice",
                |sender, unsent| {
                    sender.send([b'x'; 10]).unwrap();
                    let unsent = unsent.try_send().unwrap_err();
                    assert_eq!((unsent.error(), unsent.bytes()), (SendError::Full, &b"y"[..]));
                    drop(sender);
                    drop(unsent);
                },
                PushedEnd::Broken,
            ),
        ];
        for (what, then, end) in rows {
            let pushed = Arc::new(Pushed::new(10));
            let (mut body, sender) = (PushedBody::new(Arc::clone(&pushed)), Sender::new(pushed));
            sender.send([b'x'; 10]).unwrap();
            let unsent = sender.try_send("y").unwrap_err();
            assert_eq!(body.take(100).pieces.len(), 1);
            then(sender, unsent);
            assert_eq!(body.take(100).end, Some(end), "{what}");
        }
    }

    #[test]
    fn a_complete_body_cannot_be_aborted() {
        let pushed = Arc::new(Pushed::new(10));
        let mut body = PushedBody::new(Arc::clone(&pushed));
        drop(Sender::new(Arc::clone(&pushed)));
        assert!(pushed.break_off().is_none());
        assert_eq!(body.take(10).end, Some(PushedEnd::Complete));
        drop(body);
        assert!(pushed.is_gone() && pushed.push(Arc::from(*b"x")).is_err());
    }
}
