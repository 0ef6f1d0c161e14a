//! The state of a connection that other threads can access: whether it is called, and whether its client is connected.
//! Shared by the connection's table entry, its holder, and the threads that call it.

use std::any::Any;
use std::sync::{Arc, Weak};

use super::super::sync::{AtomicU8, Ordering};
use super::token::Token;

/// The receiver of calls from other threads: the engine.
pub trait Callee: Any + Send + Sync {
    /// Makes these connections ready, whether parked, queued or held by a worker.
    fn call(self: Arc<Self>, tokens: &mut dyn Iterator<Item = Token>);
}

/// One connection, as other threads see it.
pub struct Link {
    token: Token,
    callee: Option<Arc<Weak<dyn Callee>>>, // one word: each connection has a link
    state: AtomicU8,
}

/// The client has closed its side, or the connection was reset: set by the poller's event.
const PEER_CLOSED: u8 = 1;
/// The connection has ended: set when its table entry is released.
const OVER: u8 = 2;
/// A call is on its way, and the conversation has not got it yet.
const CALLED: u8 = 4;
/// The connection is broken both ways.
const RESET: u8 = 8;
/// Another thread has aborted the connection.
const ABORTED: u8 = 16;

impl Link {
    pub fn new(token: Token, callee: Option<Arc<Weak<dyn Callee>>>) -> Link {
        Link { token, callee, state: AtomicU8::new(0) }
    }

    /// Creates a link without a connection: calls have no effect.
    pub fn alone() -> Arc<Link> {
        Arc::new(Link::new(Token::from_usize(usize::MAX), None))
    }

    pub fn token(&self) -> Token {
        self.token
    }

    /// Records the end of the client's bytes, or a reset.
    pub fn peer_closed(&self, reset: bool) {
        // Relaxed: nothing else is published by these flags.
        self.state.fetch_or(if reset { PEER_CLOSED | RESET } else { PEER_CLOSED }, Ordering::Relaxed);
    }

    /// Returns whether the connection is broken both ways: output does not arrive.
    pub fn is_reset(&self) -> bool {
        self.state.load(Ordering::Relaxed) & RESET != 0
    }

    /// Returns whether the client has closed its side, or has disconnected.
    pub fn is_peer_closed(&self) -> bool {
        self.state.load(Ordering::Relaxed) & (PEER_CLOSED | OVER) != 0
    }

    pub fn end(&self) {
        self.state.fetch_or(OVER, Ordering::Relaxed);
    }

    /// Records a call. Returns whether the caller has to pass it on, whether another call is on its way, or whether the
    /// connection has ended.
    ///
    /// AcqRel, the partner of [`Link::take_call`]: writes of the caller before a coalesced call are visible to the
    /// conversation, because the `fetch_and` that takes the call reads this value or a later one.
    pub fn note_call(&self) -> Call {
        let before = self.state.fetch_or(CALLED, Ordering::AcqRel);
        match before {
            before if before & OVER != 0 => Call::Over,
            before if before & CALLED != 0 => Call::OnItsWay,
            _ => Call::PassOn,
        }
    }

    /// Records that the connection is to be reset. The caller has to pass the abort on even if a call is on its way,
    /// because that call may have reached the connection before the abort.
    pub fn note_abort(&self) -> Call {
        let before = self.state.fetch_or(CALLED | ABORTED, Ordering::AcqRel);
        match before {
            before if before & OVER != 0 => Call::Over,
            before if before & ABORTED != 0 => Call::OnItsWay,
            _ => Call::PassOn,
        }
    }

    pub fn is_aborted(&self) -> bool {
        self.state.load(Ordering::Relaxed) & ABORTED != 0
    }

    /// Returns whether a call is on its way that the conversation has not got.
    pub fn is_called(&self) -> bool {
        self.state.load(Ordering::Relaxed) & CALLED != 0
    }

    fn callee(&self) -> Option<Arc<dyn Callee>> {
        self.callee.as_ref()?.upgrade()
    }

    /// Takes all calls so far for the conversation. Later calls are new calls.
    pub fn take_call(&self) -> bool {
        self.state.fetch_and(!CALLED, Ordering::AcqRel) & CALLED != 0
    }
}

/// The action that a call requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    PassOn,
    OnItsWay,
    Over,
}

/// Calls one connection from any thread: its conversation gets [`Event::Called`](crate::raw::Event::Called) soon after.
/// Created by [`Turn::waker`](crate::raw::Turn::waker).
///
/// The connection can be in any state. If it does not wait at the moment, for example because its handler runs, the
/// event comes as soon as it waits again. Calls are coalesced: the conversation gets one event for all calls before it.
/// Everything that a thread wrote before its call is then visible to the conversation.
#[derive(Clone)]
pub struct Waker {
    link: Arc<Link>,
}

impl Waker {
    pub(in super::super) fn new(link: Arc<Link>) -> Waker {
        Waker { link }
    }

    /// Calls the connection. Returns false if it has ended; all further calls will return false.
    ///
    /// It takes a lock of the engine's table and, if no worker is awake, makes a system call. While the server exits,
    /// it can also start a thread, which drops connections that are cut off. It never waits for the client.
    pub fn wake(&self) -> bool {
        self.pass_on(self.link.note_call())
    }

    /// Resets the connection in any state, even while it waits for its client to read. Use it to drop a slow client.
    /// The conversation gets [`Event::SendFailed`](crate::raw::Event::SendFailed). Returns false if the connection has
    /// ended.
    ///
    /// It has no effect on a connection that has left the engine ([`Action::Take`](crate::raw::Action::Take)), or has
    /// ended and is half-closed. It costs the same as [`wake`](Waker::wake).
    pub fn abort(&self) -> bool {
        self.pass_on(self.link.note_abort())
    }

    /// Calls the connection for the polling worker of its engine. Returns the token if that worker has to pass the call
    /// on. A connection of another engine is called as from any thread.
    pub(in super::super) fn note_call_by<E>(&self, engine: *const E) -> Option<Token> {
        if !self.link.callee.as_ref().is_some_and(|callee| std::ptr::addr_eq(callee.as_ptr(), engine)) {
            self.wake();
            return None;
        }
        (self.link.note_call() == Call::PassOn).then_some(self.link.token)
    }

    fn pass_on(&self, call: Call) -> bool {
        match call {
            Call::Over => false,
            Call::OnItsWay => true,
            Call::PassOn => match self.link.callee() {
                Some(callee) => {
                    callee.call(&mut std::iter::once(self.link.token));
                    true
                }
                None => false,
            },
        }
    }

    /// Calls many connections at once, which costs a short lock each, and at most one system call per thousand.
    /// Connections of the same server are called together. Returns how many have not ended.
    pub fn wake_all<'a>(wakers: impl IntoIterator<Item = &'a Waker>) -> usize {
        let mut there = 0;
        let mut engine: Option<Arc<dyn Callee>> = None;
        let mut tokens = Vec::new();
        for Waker { link } in wakers {
            let call = link.note_call();
            there += usize::from(call != Call::Over);
            let Some(callee) = Some(link).filter(|_| call == Call::PassOn).and_then(|link| link.callee()) else {
                continue;
            };
            let same = engine.as_ref().is_some_and(|engine| Arc::ptr_eq(engine, &callee));
            if !same || tokens.len() == BATCH {
                flush(engine.as_ref(), &mut tokens);
                engine = Some(callee);
            }
            tokens.push(link.token);
        }
        flush(engine.as_ref(), &mut tokens);
        there
    }

    /// Returns the engine, while it serves.
    pub(in super::super) fn callee(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let callee: Arc<dyn Callee> = self.link.callee()?;
        Some(callee)
    }

    /// Returns whether the client has closed its side of the connection, or the connection has ended. A client that
    /// has closed its sending side and still reads also counts as gone, because the two cannot be distinguished until
    /// something is sent.
    pub fn client_is_gone(&self) -> bool {
        self.link.is_peer_closed()
    }

    /// Returns whether the connection has ended.
    pub fn is_over(&self) -> bool {
        self.link.state.load(Ordering::Relaxed) & OVER != 0
    }
}

const BATCH: usize = 1024;

fn flush(engine: Option<&Arc<dyn Callee>>, tokens: &mut Vec<Token>) {
    if let Some(engine) = engine.filter(|_| !tokens.is_empty()) {
        engine.clone().call(&mut tokens.drain(..));
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waker").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::super::sync;
    use super::*;

    /// An engine that records its calls: the numbers of the connections in each.
    #[derive(Default)]
    struct Engine(Mutex<Vec<Vec<usize>>>);

    type Note = fn(&Link);

    impl Callee for Engine {
        fn call(self: Arc<Self>, tokens: &mut dyn Iterator<Item = Token>) {
            self.0.lock().unwrap().push(tokens.map(Token::to_usize).collect());
        }
    }

    impl Engine {
        fn waker(self: &Arc<Self>, number: usize) -> Waker {
            let engine: Arc<dyn Callee> = self.clone();
            Waker::new(Arc::new(Link::new(Token::from_usize(number), Some(Arc::new(Arc::downgrade(&engine))))))
        }

        fn calls(&self) -> Vec<Vec<usize>> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    #[test]
    fn only_noted_events_are_seen() {
        sync::test(|| {
            let notes: [(&str, Note, [bool; 5]); 6] = [
                ("nothing", |_| {}, [false, false, false, false, false]),
                ("an end", |link| link.peer_closed(false), [true, false, false, false, false]),
                ("a reset", |link| link.peer_closed(true), [true, true, false, false, false]),
                ("over", |link| link.end(), [true, false, true, false, false]),
                ("a call", |link| assert_eq!(link.note_call(), Call::PassOn), [false, false, false, true, false]),
                ("an abort", |link| assert_eq!(link.note_abort(), Call::PassOn), [false, false, false, true, true]),
            ];
            for (what, note, seen) in notes {
                let link = Link::alone();
                note(&link);
                let waker = Waker::new(link.clone());
                let sees =
                    [link.is_peer_closed(), link.is_reset(), waker.is_over(), link.is_called(), link.is_aborted()];
                assert_eq!(sees, seen, "{what}");
                assert_eq!(waker.client_is_gone(), seen[0], "{what}");
                assert!(format!("{waker:?}").contains(&format!("is_over: {}", seen[2])), "{what}: {waker:?}");
                assert_eq!([link.take_call(), link.take_call(), link.is_called()], [seen[3], false, false], "{what}");
                let sees = [link.is_peer_closed(), link.is_reset(), waker.is_over(), link.is_aborted()];
                assert_eq!(sees, [seen[0], seen[1], seen[2], seen[4]], "{what}, once the call has been received");
            }
        });
    }

    #[test]
    fn calls_and_aborts_are_passed_on_once() {
        sync::test(|| {
            use Call::{OnItsWay, Over, PassOn};
            const NOTES: [fn(&Link) -> Call; 2] = [Link::note_call, Link::note_abort];
            let before: [(&str, Note, [Call; 2]); 7] = [
                ("nothing", |_| {}, [PassOn, PassOn]),
                ("a reset", |link| link.peer_closed(true), [PassOn, PassOn]),
                ("a call", |link| assert_eq!(link.note_call(), PassOn), [OnItsWay, PassOn]),
                (
                    "a call that was taken",
                    |link| assert!(link.note_call() == PassOn && link.take_call()),
                    [PassOn, PassOn],
                ),
                ("an abort", |link| assert_eq!(link.note_abort(), PassOn), [OnItsWay, OnItsWay]),
                (
                    "an abort that was taken",
                    |link| assert!(link.note_abort() == PassOn && link.take_call()),
                    [PassOn, OnItsWay],
                ),
                ("over", Link::end, [Over, Over]),
            ];
            for (what, note, told) in before {
                let told_now = NOTES.map(|passed_on| {
                    let link = Link::alone();
                    note(&link);
                    passed_on(&link)
                });
                assert_eq!(told_now, told, "after {what}");
            }
        });
    }

    #[test]
    fn a_waker_calls_its_engine() {
        sync::test(|| {
            let engine = Arc::new(Engine::default());
            let waker = engine.waker(7);
            assert_eq!([waker.wake(), waker.wake(), waker.abort(), waker.abort()], [true; 4]);
            assert_eq!(engine.calls(), [[7], [7]], "the second call and the second abort are coalesced with the first");
            assert!(waker.link.take_call() && waker.wake());
            assert_eq!(engine.calls(), [[7]]);
            waker.link.end();
            assert_eq!(([waker.wake(), waker.abort()], engine.calls()), ([false; 2], vec![]));
            let (called, aborted) = (engine.waker(8), engine.waker(9));
            assert!(called.callee().is_some_and(|callee| callee.is::<Engine>()));
            drop(engine);
            assert_eq!([called.wake(), aborted.abort()], [false; 2], "calls fail once the engine has been dropped");
            assert!(called.callee().is_none());
            assert!(!Waker::new(Link::alone()).wake(), "a link without an engine can't be called");
        });
    }

    #[test]
    fn many_wakers_are_called_together() {
        sync::test(|| {
            let engines = [Arc::new(Engine::default()), Arc::new(Engine::default())];
            let mut wakers: Vec<Waker> = (0..2 * BATCH + 3).map(|number| engines[0].waker(number)).collect();
            wakers[1].link.end();
            assert!(wakers[2].wake() && engines[0].calls() == [[2]]);
            assert_eq!(Waker::wake_all(&wakers), 2 * BATCH + 2, "every connection except the one that has ended");
            let all: Vec<usize> = std::iter::once(0).chain(3..2 * BATCH + 3).collect();
            let calls = engines[0].calls();
            assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [BATCH, BATCH, 1]);
            assert_eq!(calls.concat(), all, "every connection except the one that had already been called");
            wakers =
                [(0, 1), (0, 2), (1, 3), (1, 4), (0, 5)].map(|(engine, number)| engines[engine].waker(number)).into();
            assert_eq!(Waker::wake_all(&wakers), 5);
            assert_eq!(engines.each_ref().map(|engine| engine.calls()), [vec![vec![1, 2], vec![5]], vec![vec![3, 4]]]);
            assert_eq!(Waker::wake_all(&wakers), 5, "connections that have already been called count as called");
            assert!(engines.iter().all(|engine| engine.calls().is_empty()));
        });
    }
}
