//! Conversations that take their socket: a thread for each.

use std::io;
use std::sync::Arc;

use log::{debug, error};

use super::super::client::Client;
use super::super::coded::coded;
use super::super::connection::{Connection, Parts, Registered};
use super::super::contain::{catch, contain};
use super::super::engine::{BoxedConnection, Engine, Registration, cut_off};
use super::super::handle::ServerHandle;
use super::super::pace::SendLimits;
use super::super::scheduler::{Admission, Class};
use super::super::stream::{self, SocketSink, Stream};
use super::super::sync::{self, Instant, Mutex, lock};
use super::super::sys::{self, Socket};
use super::super::transport::Transport;
use super::WorkerLoop;

impl WorkerLoop<'_> {
    /// Handles a conversation that takes its socket: starts a thread, or queues it for one, or passes it the event that
    /// there is none.
    pub(super) fn take(&mut self, connection: BoxedConnection, now: Instant) -> Option<BoxedConnection> {
        self.engine.scheduler.table().leave(connection.token());
        match self.engine.taken.admit(connection, now) {
            Admission::Granted(connection, thread) => {
                start(self.engine, connection, thread);
                None
            }
            Admission::Queued => {
                self.engine.scheduler.wake_poller(); // the poller may wait for longer than this connection can
                None
            }
            Admission::Full(mut refused, _) => {
                refused.causes().no_thread = true;
                Some(refused)
            }
        }
    }
}

/// Starts a thread for this connection, and then for those that wait, one after the other. If no thread can be started,
/// passes all of them the event that there is none.
fn start(engine: &Arc<Engine>, connection: BoxedConnection, thread: Class) {
    let handed_over = Arc::new(Mutex::new(Some(connection)));
    let (theirs, at_work) = (handed_over.clone(), engine.begin_work(None));
    let started = engine.spawn(format!("modest-stream-{}", engine.taken.next_thread()), move || {
        let at_work = at_work;
        if let Some(connection) = take_out(&theirs) {
            run(&at_work.engine, connection);
            run_waiting(&at_work.engine, thread);
        }
    });
    let Err(err) = started else { return };
    contain("the logger", || error!("can't start a thread for a stream: {err}"));
    let waiting = std::iter::from_fn(|| engine.taken.release(thread));
    for mut refused in take_out(&handed_over).into_iter().chain(waiting) {
        refused.causes().no_thread = true;
        engine.scheduler.push(refused);
    }
}

/// Releases a thread that was not started. If a connection waits for it, starts a thread for that connection.
pub fn start_waiting(engine: &Arc<Engine>, thread: Class) {
    if let Some(connection) = engine.taken.release(thread) {
        start(engine, connection, thread);
    }
}

/// Releases a thread. First runs the connections that wait for it.
fn run_waiting(engine: &Arc<Engine>, thread: Class) {
    while let Some(connection) = engine.taken.release(thread) {
        run(engine, connection);
    }
}

fn take_out(handed_over: &Mutex<Option<BoxedConnection>>) -> Option<BoxedConnection> {
    lock(handed_over).take()
}

/// Passes the socket to the conversation's `take`, on the connection's own thread.
fn run(engine: &Arc<Engine>, connection: BoxedConnection) {
    let client = connection.client().clone();
    let taken = catch("a conversation", || -> io::Result<()> {
        let Parts { conversation, socket, client, unread, ended, registration, codec } =
            connection.take_apart(engine.registry())?;
        let socket = Arc::new(SocketSink::new(Arc::new(socket)));
        let number = engine.taken.enter(&socket);
        let place = Box::new(StreamPlace { engine: engine.clone(), number, registration: Some(registration) });
        let stream = Stream::new(socket, client, unread, ended, place);
        conversation.take(match codec {
            Some((codec, plain)) => coded(stream, codec, plain),
            None => stream,
        });
        Ok(())
    });
    match taken {
        Ok(Ok(())) => {}
        Ok(Err(err)) => _ = contain("the logger", || debug!("a connection could not be taken: {err}")),
        Err(panicked) => panicked.of(&client, None::<&str>).log(),
    }
}

/// A stream's place in its server.
struct StreamPlace {
    engine: Arc<Engine>,
    number: u64,
    registration: Option<Registration>, // until the engine takes it back
}

impl stream::Registered for StreamPlace {
    fn is_shutting_down(&self) -> bool {
        self.engine.scheduler.is_shutting_down()
    }

    fn server(&self) -> ServerHandle {
        self.engine.handle().clone()
    }

    fn send_limits(&self) -> SendLimits {
        self.engine.send_limits
    }

    fn linger(mut self: Box<Self>, socket: Arc<Socket>, client: Client, owed: Vec<u8>) {
        let Some(registration) = self.registration.take() else { return };
        self.engine.taken.leave(self.number); // releases the socket
        let token = sys::Token(registration.link().token().to_usize());
        // If the socket cannot be polled again, it is closed at once, with its registration.
        if let Ok(transport) = Transport::from_socket(socket, self.engine.registry(), token) {
            let connection = Box::new(Connection::returned(transport, client, registration, owed, sync::now()));
            // A connection that is returned because the server has ended holds a reference to the engine, so it is
            // dropped.
            drop(cut_off(self.engine.scheduler.push_from_outside(connection)));
        }
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.engine.taken.leave(self.number);
    }
}
