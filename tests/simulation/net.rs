//! Sockets, a listener and their readiness, as in Linux (tcp_poll, tcp_recvmsg, tcp_close, epoll).
//!
//! Readiness is edge-triggered. An event is listed when something happens: bytes, the end, a reset, space after the
//! buffer was full. When it is fetched it has the whole state at that time. So one event may stand for several, and
//! another may have nothing new.

use std::collections::VecDeque;

use rustix::io::Errno;

use crate::machine::{Chance, Key, Machine};
use crate::plan::Plan;

/// The bits of epoll.
pub mod bits {
    pub const IN: u32 = 1;
    pub const OUT: u32 = 4;
    pub const ERR: u32 = 8;
    pub const HUP: u32 = 16;
    pub const RDHUP: u32 = 0x2000;
}
use bits::{ERR, HUP, IN, OUT, RDHUP};

/// The reason for a reset on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server requested it (SO_LINGER of 0).
    Asked,
    /// The server closed with unread bytes.
    Unread,
    /// The client sent after the server had closed.
    SentAfterClose,
    /// The network, or the client itself.
    Elsewhere,
    /// The listener was closed before the connection was accepted.
    NotAccepted,
}

/// One connection, with both ends.
pub struct Socket {
    pub up: VecDeque<u8>,
    up_room: usize,
    pub up_fin: bool,
    pub down: VecDeque<u8>,
    down_room: usize,
    pub down_fin: bool,
    pub accepted: bool,
    pub server_open: bool,
    pub client_open: bool,
    pub reset: Option<Cause>, // the client sees it after it has read `down`
    error: Option<Errno>,     // the server sees it
    dead: bool,               // reset, on the server's side
    linger_zero: bool,
    no_space: bool,       // the server found the buffer full, and needs an event when there is space
    pressed: Option<u64>, // the kernel accepts nothing until then
    registered: Option<Registered>,
    /// The number of the server's descriptors.
    pub handles: usize,
    up_shut: bool, // the server has closed its reading side
    /// The number of its events.
    pub moves: u64,
    pub facts: Facts,
}

/// The possible ends of a connection's conversation.
#[derive(Default)]
pub struct Facts {
    /// It may be reset: after a panic, a request for a reset, or a fault.
    pub may_break: bool,
    /// It may be closed with requests in transit: after a goodbye, or after the idle timeout.
    pub may_close: bool,
    /// The protocol has accepted it.
    pub met: bool,
    /// Dropping its conversation and closing its socket needs a permit.
    pub drop_blocks: bool,
    /// The requests whose responses have shared bytes that are not dropped yet.
    pub shared: Vec<usize>,
    /// A handler has written a part of its response.
    pub begun: bool,
    /// User code waits on its behalf.
    pub blocked: bool,
    /// The end of the last such wait, in ns.
    pub blocked_until: u64,
    /// Another thread has aborted it while it could not be closed.
    pub aborted: bool,
}

struct Registered {
    token: usize,
    interest: u32,
    listed: bool,
}

/// An event of a poll: the token and its bits.
pub type Event = (usize, u32);

/// A listening socket.
struct Listener {
    backlog: VecDeque<usize>,
    registered: Option<Registered>,
    listening: bool,
}

pub struct Net {
    pub sockets: Vec<Socket>,
    listeners: Vec<Listener>,
    backlog_room: usize,
    /// The server has begun to accept. A server that is shut down before its start never does.
    pub accepting: bool,
    waker: Option<(usize, bool)>,
    list: VecDeque<Source>, // in the order of their edges
    pub descriptors: usize, // free ones
    pub accept_trouble_until: u64,
    pub accept_fails_from: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Listener(usize),
    Waker,
    Socket(usize),
}

impl Net {
    pub fn new(plan: &Plan, chance: &mut Chance) -> Net {
        Net {
            sockets: Vec::new(),
            listeners: Vec::new(),
            backlog_room: chance.of(&[1, 2, 16]),
            accepting: false,
            waker: None,
            list: VecDeque::new(),
            descriptors: plan.descriptors,
            accept_trouble_until: 0,
            accept_fails_from: plan.accept_fails_from,
        }
    }

    /// Adds a listening socket, and returns its number.
    pub fn listen(&mut self) -> usize {
        self.listeners.push(Listener { backlog: VecDeque::new(), registered: None, listening: true });
        self.listeners.len() - 1
    }

    pub fn has_open_listener(&self) -> bool {
        self.listeners.iter().any(|listener| listener.listening)
    }

    pub fn refuse_new_clients(&mut self, at: usize) {
        self.listeners[at].listening = false;
    }

    /// A client connects to one of the listeners. `None`: there is no listener. `Some(None)`: the queue is full.
    pub fn connect(&mut self, (up_room, down_room): (usize, usize), chance: &mut Chance) -> Option<Option<usize>> {
        let at = chance.below(self.listeners.len() as u64) as usize;
        if !self.listeners[at].listening {
            return None;
        }
        if self.listeners[at].backlog.len() >= self.backlog_room {
            return Some(None);
        }
        let id = self.sockets.len();
        self.sockets.push(Socket {
            up: VecDeque::new(),
            up_room,
            up_fin: false,
            down: VecDeque::new(),
            down_room,
            down_fin: false,
            accepted: false,
            server_open: false,
            client_open: true,
            reset: None,
            error: None,
            dead: false,
            linger_zero: false,
            no_space: false,
            pressed: None,
            registered: None,
            handles: 0,
            up_shut: false,
            moves: 0,
            facts: Facts::default(),
        });
        self.listeners[at].backlog.push_back(id);
        self.edge(Source::Listener(at), IN);
        Some(Some(id))
    }

    pub fn has_waiting_clients(&self, at: usize) -> bool {
        !self.listeners[at].backlog.is_empty()
    }

    pub fn accept(&mut self, at: usize) -> Result<usize, Errno> {
        if !self.has_waiting_clients(at) {
            return Err(Errno::AGAIN);
        }
        if self.descriptors == 0 {
            return Err(Errno::MFILE);
        }
        self.descriptors -= 1;
        let id = self.listeners[at].backlog.pop_front().expect("a waiting client, which was just looked at");
        let socket = &mut self.sockets[id];
        socket.accepted = true;
        socket.server_open = true;
        socket.handles = 1;
        Ok(id)
    }

    pub fn close_listener(&mut self, at: usize) {
        self.listeners[at].listening = false;
        self.deregister_listener(at);
        for id in std::mem::take(&mut self.listeners[at].backlog) {
            self.sockets[id].reset = Some(Cause::NotAccepted);
        }
    }

    pub fn is_closed(&self, at: usize) -> bool {
        self.listeners[at].registered.is_none()
    }

    // Readiness.

    pub fn register_listener(&mut self, at: usize, token: usize) {
        self.listeners[at].registered = Some(Registered { token, interest: IN, listed: false });
        if self.has_waiting_clients(at) {
            self.edge(Source::Listener(at), IN);
        }
    }

    pub fn deregister_listener(&mut self, at: usize) {
        self.listeners[at].registered = None;
        self.list.retain(|source| *source != Source::Listener(at));
    }

    pub fn register_waker(&mut self, token: usize) {
        self.waker = Some((token, false));
    }

    pub fn wake(&mut self) {
        if let Some((_, listed)) = &mut self.waker
            && !std::mem::replace(listed, true)
        {
            self.list.push_back(Source::Waker);
        }
    }

    /// Registers a socket, maybe again. Its current state is an event.
    pub fn register(&mut self, id: usize, token: usize, interest: u32) {
        let listed = self.sockets[id].registered.as_ref().is_some_and(|registered| registered.listed);
        self.sockets[id].registered = Some(Registered { token, interest: interest | RDHUP, listed });
        let now = self.sockets[id].now();
        self.edge(Source::Socket(id), now);
    }

    pub fn deregister(&mut self, id: usize) {
        self.list.retain(|source| *source != Source::Socket(id));
        self.sockets[id].registered = None;
    }

    fn registered(&mut self, source: Source) -> Option<&mut Registered> {
        match source {
            Source::Listener(at) => self.listeners[at].registered.as_mut(),
            Source::Waker => None,
            Source::Socket(id) => self.sockets[id].registered.as_mut(),
        }
    }

    /// Lists an event, if it is registered.
    fn edge(&mut self, source: Source, what: u32) {
        if let Source::Socket(id) = source {
            self.sockets[id].moves += 1; // also counted for sockets that are not polled
        }
        if let Some(registered) = self.registered(source)
            && what & (registered.interest | ERR | HUP) != 0
            && !std::mem::replace(&mut registered.listed, true)
        {
            self.list.push_back(source);
        }
    }

    /// Whether some of these bits are set now (poll).
    pub fn is_ready(&mut self, id: usize, what: u32) -> bool {
        self.sockets[id].now() & (what | ERR | HUP) != 0
    }

    pub fn anything_listed(&self) -> bool {
        !self.list.is_empty()
    }

    /// Up to this many events, in order.
    pub fn fetch(&mut self, most: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < most
            && let Some(source) = self.list.pop_front()
        {
            let now = match source {
                Source::Waker => {
                    let (token, listed) = self.waker.as_mut().expect("the waker is registered");
                    *listed = false;
                    events.push((*token, IN));
                    continue;
                }
                Source::Listener(at) => u32::from(self.has_waiting_clients(at)) * IN,
                Source::Socket(id) => self.sockets[id].now(),
            };
            if let Some(registered) = self.registered(source) {
                registered.listed = false;
                let told = now & (registered.interest | ERR | HUP);
                if told != 0 {
                    events.push((registered.token, told));
                }
            }
        }
        events
    }

    /// Lists a socket without an event, as merged events do.
    pub fn spurious(&mut self, chance: &mut Chance) {
        if !self.sockets.is_empty() {
            let id = chance.below(self.sockets.len() as u64) as usize;
            self.edge(Source::Socket(id), u32::MAX);
        }
    }

    pub fn next_due(&self) -> Option<u64> {
        self.sockets.iter().filter_map(|socket| socket.pressed).min()
    }

    /// The kernel has memory again: sockets that were full get an event.
    pub fn time_passes(&mut self, now: u64) -> bool {
        for id in 0..self.sockets.len() {
            if self.sockets[id].pressed.is_some_and(|until| until <= now) {
                self.sockets[id].pressed = None;
                self.room(id);
            }
        }
        self.anything_listed()
    }

    fn room(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        if socket.no_space && socket.is_writable() {
            socket.no_space = false;
            self.edge(Source::Socket(id), OUT);
        }
    }

    // The server's end.

    pub fn server_reads(&mut self, id: usize, room: &mut [u8]) -> Result<usize, Errno> {
        let socket = &mut self.sockets[id];
        let count = room.len().min(socket.up.len());
        if count > 0 {
            room[..count].copy_from_slice(&take(&mut socket.up, count));
            return Ok(count);
        }
        match socket.error.take() {
            Some(error) => Err(error),
            None if room.is_empty() || socket.up_fin || socket.up_shut || socket.dead => Ok(0),
            None => Err(Errno::AGAIN),
        }
    }

    /// Returns the number of accepted bytes. `shorten`: at most this many, as if the buffer were full.
    pub fn server_writes(
        &mut self,
        id: usize,
        bytes: &[u8],
        shorten: Option<usize>,
        until: u64,
    ) -> Result<usize, Errno> {
        let socket = &mut self.sockets[id];
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        if socket.dead || socket.down_fin {
            return Err(Errno::PIPE);
        }
        if !socket.client_open {
            self.reset_by_client(id);
            return Ok(bytes.len());
        }
        if let Some(most) = shorten.filter(|most| *most < bytes.len()) {
            socket.pressed = Some(until);
            socket.no_space = true;
            socket.down.extend(&bytes[..most]);
            return if most == 0 { Err(Errno::AGAIN) } else { Ok(most) };
        }
        let room = if socket.pressed.is_some() { 0 } else { socket.down_room.saturating_sub(socket.down.len()) };
        let count = room.min(bytes.len());
        socket.down.extend(&bytes[..count]);
        if count < bytes.len() {
            socket.no_space = true;
        }
        if count == 0 { Err(Errno::AGAIN) } else { Ok(count) }
    }

    /// The number of bytes that would be accepted now.
    pub fn room_of(&self, id: usize) -> usize {
        let socket = &self.sockets[id];
        if socket.pressed.is_some() { 0 } else { socket.down_room.saturating_sub(socket.down.len()) }
    }

    pub fn server_shuts_down(&mut self, id: usize) -> Result<(), Errno> {
        let socket = &mut self.sockets[id];
        if socket.dead {
            return Err(Errno::NOTCONN);
        }
        socket.down_fin = true;
        socket.moves += 1;
        if socket.up_fin {
            self.edge(Source::Socket(id), HUP | IN | OUT);
        }
        Ok(())
    }

    pub fn set_linger_zero(&mut self, id: usize, linger_zero: bool) {
        self.sockets[id].linger_zero = linger_zero;
    }

    pub fn server_shuts_down_reading(&mut self, id: usize) -> Result<(), Errno> {
        self.sockets[id].up_shut = true;
        self.sockets[id].moves += 1;
        if self.sockets[id].dead { Err(Errno::NOTCONN) } else { Ok(()) }
    }

    /// Like connect(2) without an address (tcp_disconnect).
    pub fn server_resets(&mut self, id: usize, chance: &mut Chance) {
        let socket = &mut self.sockets[id];
        socket.moves += 1;
        if !socket.dead {
            socket.dead = true;
            socket.error = Some(Errno::CONNRESET);
            socket.reset_client(Cause::Asked, chance);
        }
    }

    pub fn server_drops_a_handle(&mut self, id: usize, chance: &mut Chance) {
        self.sockets[id].handles -= 1;
        if self.sockets[id].handles == 0 {
            self.server_closes(id, chance);
        }
    }

    fn server_closes(&mut self, id: usize, chance: &mut Chance) {
        self.list.retain(|source| *source != Source::Socket(id));
        self.descriptors += 1;
        let socket = &mut self.sockets[id];
        socket.registered = None;
        socket.server_open = false;
        socket.pressed = None;
        match socket {
            _ if socket.dead => {}
            Socket { linger_zero: true, .. } => socket.reset_client(Cause::Asked, chance),
            _ if !socket.up.is_empty() => socket.reset_client(Cause::Unread, chance),
            _ => socket.down_fin = true,
        }
    }

    // The client's end.

    /// Returns the number of accepted bytes. `None`: the connection is reset.
    pub fn client_sends(&mut self, id: usize, bytes: &[u8], chance: &mut Chance) -> Option<usize> {
        let socket = &mut self.sockets[id];
        if socket.reset.is_some() {
            return None;
        }
        if socket.accepted && !socket.server_open {
            socket.reset_client(Cause::SentAfterClose, chance);
            return None;
        }
        let count = bytes.len().min(socket.up_room.saturating_sub(socket.up.len()));
        socket.up.extend(&bytes[..count]);
        if count > 0 {
            self.edge(Source::Socket(id), IN);
        }
        Some(count)
    }

    pub fn client_reads(&mut self, id: usize, most: usize) -> Read {
        let socket = &mut self.sockets[id];
        let count = most.min(socket.down.len());
        if count > 0 {
            let bytes = take(&mut socket.down, count);
            self.room(id);
            return Read::Bytes(bytes);
        }
        match socket {
            Socket { reset: Some(cause), .. } => Read::Reset(*cause),
            Socket { down_fin: true, .. } => Read::End,
            _ => Read::Nothing,
        }
    }

    pub fn client_shuts_down(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        socket.up_fin = true;
        let what = if socket.down_fin { IN | RDHUP | HUP } else { IN | RDHUP };
        self.edge(Source::Socket(id), what);
    }

    pub fn client_closes(&mut self, id: usize) {
        let unread = !self.sockets[id].down.is_empty();
        self.sockets[id].client_open = false;
        if unread {
            self.reset_by_client(id);
        } else {
            self.client_shuts_down(id);
        }
    }

    /// A reset by the client or the network.
    pub fn reset_by_client(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        socket.reset.get_or_insert(Cause::Elsewhere);
        if socket.dead {
            return;
        }
        socket.dead = true;
        socket.error = Some(Errno::CONNRESET);
        socket.no_space = false;
        self.edge(Source::Socket(id), IN | OUT | ERR | HUP | RDHUP);
    }
}

/// Removes this many bytes.
fn take(from: &mut VecDeque<u8>, count: usize) -> Vec<u8> {
    let (first, second) = from.as_slices();
    let split = count.min(first.len());
    let bytes = [&first[..split], &second[..count - split]].concat();
    from.drain(..count);
    bytes
}

/// The result of a client's read.
#[derive(Debug, PartialEq)]
pub enum Read {
    Bytes(Vec<u8>),
    Nothing,
    End,
    Reset(Cause),
}

impl Socket {
    /// The current state (tcp_poll).
    fn now(&mut self) -> u32 {
        let mut now = 0;
        if self.dead || self.up_fin && self.down_fin {
            now |= HUP;
        }
        if self.dead || self.up_fin {
            now |= IN | RDHUP;
        }
        if !self.up.is_empty() {
            now |= IN;
        }
        if self.dead || self.down_fin || self.is_writable() {
            now |= OUT;
        } else {
            self.no_space = true;
        }
        if self.error.is_some() {
            now |= ERR;
        }
        now
    }

    pub fn is_pressed(&self) -> bool {
        self.pressed.is_some()
    }

    fn is_writable(&self) -> bool {
        self.pressed.is_none() && self.down.len() < self.down_room && 3 * self.down.len() <= 2 * self.down_room
    }

    /// Bytes in transit to the client may be lost.
    fn reset_client(&mut self, cause: Cause, chance: &mut Chance) {
        if self.reset.is_some() {
            return;
        }
        self.reset = Some(cause);
        let kept = chance.between(0, self.down.len());
        self.down.truncate(kept);
    }
}

impl Machine {
    /// Accesses the network, and wakes the threads that are concerned.
    pub fn on_net<R>(&mut self, id: Option<usize>, action: impl FnOnce(&mut Net, &mut Chance) -> R) -> R {
        self.locks = 0;
        let result = action(&mut self.net, &mut self.chance);
        self.wake_streams();
        if let Some(id) = id {
            self.wake(Key::Socket(id));
        }
        if self.net.anything_listed() {
            self.wake(Key::Poll);
        }
        result
    }
}
