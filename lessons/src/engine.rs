//! Page 9: workers that take turns with connections. It contains no HTTP: a conversation takes bytes and returns what
//! it waits for.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

pub use crate::connection::{Action, Connection, Conversation, Event, Then, Turn};
use crate::permits::{Admission, PERMITS, Permits};
use crate::table::{Table, lock};

const SHARE: usize = 64; // calls of one connection, before others come first
const SLOW: Duration = Duration::from_secs(1); // a handler that is reported
const STOP: Duration = Duration::from_secs(10); // for the last connections
const TICK: Duration = Duration::from_millis(100);
const LISTENER: Token = Token(0);

/// The state that all workers share.
struct Engine {
    table: Table<Connection>,
    queue: Sender<(Connection, Option<Event>)>,
    ready: Mutex<Receiver<(Connection, Option<Event>)>>,
    permits: Permits<Connection>,
    running: Mutex<HashMap<Token, Instant>>, // handlers, for the watchdog
    stopping: AtomicBool,
}

impl Engine {
    fn enqueue(&self, connection: Connection, event: Option<Event>) {
        let _ = self.queue.send((connection, event)); // cannot fail: the receiver is next to it
    }

    fn work(&self) {
        loop {
            let next = lock(&self.ready).recv();
            let Ok((connection, event)) = next else { return };
            if let Some((unfinished, event)) = self.turns(connection, event) {
                self.enqueue(unfinished, event);
            }
        }
    }

    /// Turns with one connection, until it is parked, queued or closed. Returns it if its share is used up.
    fn turns(&self, mut connection: Connection, mut event: Option<Event>) -> Option<(Connection, Option<Event>)> {
        let token = connection.token;
        for _ in 0..SHARE {
            if let Some(event) = event.take() {
                self.call(&mut connection, event);
            }
            match connection.proceed().unwrap_or(Then::Close) {
                Then::Call => event = Some(Event::Ready),
                Then::Permit => match self.permits.acquire(connection) {
                    Admission::Granted(granted) => (connection, event) = (granted, Some(Event::Permit)),
                    Admission::Full(refused) => (connection, event) = (refused, Some(Event::NoPermit)),
                    Admission::Waits => return None,
                },
                Then::Later => return Some((connection, None)),
                Then::Park => connection = self.table.park(token, connection)?,
                Then::Close => {
                    self.table.remove(token);
                    return None;
                }
            }
        }
        Some((connection, event))
    }

    /// Calls the conversation; with a permit, the call is watched, and the permit returned after it.
    fn call(&self, connection: &mut Connection, event: Event) {
        if event == Event::Permit {
            lock(&self.running).insert(connection.token, Instant::now());
        }
        connection.call(event, &self.stopping);
        if event == Event::Permit {
            lock(&self.running).remove(&connection.token);
            if let Some(heir) = self.permits.release() {
                self.enqueue(heir, Some(Event::Permit));
            }
        }
    }

    /// Reports handlers that have run for a long time, once each.
    fn watch(&self) {
        for (token, began) in lock(&self.running).iter_mut().filter(|(_, began)| began.elapsed() > SLOW) {
            println!("the handler of connection {} is slow", token.0);
            *began += Duration::from_secs(3600);
        }
    }
}

/// Serves until `stop` is set and the last connection has ended.
pub fn serve(address: &str, meet: impl Fn() -> Box<dyn Conversation>, stop: &AtomicBool) -> io::Result<()> {
    let mut listener = TcpListener::bind(address.parse().map_err(io::Error::other)?)?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut listener, mut end) = (Some(listener), None);
    let (queue, ready) = channel();
    let (table, permits, running) = (Table::default(), Permits::default(), Mutex::default());
    let engine = Engine { table, queue, ready: Mutex::new(ready), permits, running, stopping: false.into() };
    let engine = Arc::new(engine);
    for _ in 0..PERMITS + 1 {
        let engine = Arc::clone(&engine);
        thread::spawn(move || engine.work());
    }
    let (mut events, mut last) = (Events::with_capacity(1024), 0);
    while end.is_none_or(|end| engine.table.count() > 0 && Instant::now() < end) {
        match poll.poll(&mut events, Some(TICK)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for token in events.iter().map(|event| event.token()).filter(|token| *token != LISTENER) {
            engine.table.wake(token).into_iter().for_each(|connection| engine.enqueue(connection, None));
        }
        while let Some(Ok((mut socket, _))) = listener.as_ref().map(TcpListener::accept) {
            last += 1;
            poll.registry().register(&mut socket, Token(last), Interest::READABLE | Interest::WRITABLE)?;
            engine.table.add(Token(last), Connection::new(Token(last), socket, meet()));
        }
        if stop.load(Relaxed) && end.is_none() {
            (listener, end) = (None, Some(Instant::now() + STOP)); // closes the listener: new clients are refused
            engine.stopping.store(true, Relaxed);
        }
        let now = Instant::now();
        engine.table.retain(|connection| connection.deadline > now && !(end.is_some() && connection.is_idle()));
        engine.watch();
    }
    Ok(())
}
