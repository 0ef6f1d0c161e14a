//! The clients, and the responses that each may expect. Each complete request gets one complete response, or the
//! connection is reset for a known reason. A normal end after a part of a response is a failure in any case.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::machine::{self, FOR_EVER, Key, Machine, after, fail, note, switch, wait, with};
use crate::net::{Cause, Read, Socket};
use crate::plan::{Ask, End, Meeting, Need, Pause, Shutdown, Visit};
use crate::user::{self, GREETING, LATE, REFUSED};

/// A client that waits for a response. Checked when all threads wait.
#[derive(Clone, Copy, Debug)]
pub struct Awaiting {
    id: usize,
    need: Need,
    /// The number of the request whose response it waits for.
    number: usize,
    /// The time of the last byte.
    since: u64,
    /// For a subscriber that waits only for news: the last news that it has received.
    news: Option<u64>,
}

impl Awaiting {
    /// The need at this moment: unread news may have come since the client began to wait.
    fn need(&self, machine: &Machine) -> Need {
        match self.news {
            Some(news) if news < machine.counts.news => Need::Short,
            _ => self.need,
        }
    }
}

pub fn run(client: usize) {
    let visits = with(|machine| machine.plan.clients[client].clone());
    for visit in visits {
        machine::sleep(visit.delay);
        if let Some(id) = connect(client, &visit) {
            Talk::new(client, id, visit).run();
        }
    }
    note!("client {client} is done");
    with(|machine| {
        machine.counts.clients_left -= 1;
        machine.wake(Key::Counts);
    });
}

fn connect(client: usize, visit: &Visit) -> Option<usize> {
    loop {
        switch();
        let connected = with(|machine| {
            let room = (machine.plan.up_room, machine.plan.down_room);
            let connected = machine.on_net(None, |net, chance| net.connect(room, chance));
            if let Some(Some(id)) = connected {
                user::expect(id, visit.meeting, visit.asks.clone());
                machine.net.sockets[id].facts.may_break = visit.meeting == Meeting::Panic;
            }
            connected
        });
        match connected {
            None => {
                if !with(|machine| machine.counts.shutdown || machine.plan.may_fail()) {
                    fail("nobody listens".to_owned());
                }
                return None;
            }
            Some(None) => wait(Key::Backlog, FOR_EVER),
            Some(Some(id)) => {
                note!("client {client} has connected: {id}");
                return Some(id);
            }
        }
    }
}

/// A request that was sent or will be sent.
struct Asked {
    number: usize,
    ask: Ask,
    answer: Rc<[u8]>,
    /// The whole request was sent while no event was in progress that it could have crossed.
    peaceful: bool,
    sent: bool,
    /// Sent before the process is stopped for a long time: its remaining bytes may then be late.
    sent_before_a_stop: bool,
}

struct Talk {
    client: usize,
    id: usize,
    visit: Visit,
    to_send: VecDeque<u8>,
    next: usize,            // the next request
    asked: VecDeque<Asked>, // requests without a response
    got: Vec<u8>,           // bytes of the next response
    read: usize,
    greeted: bool,
    news: u64,
    half_closed: bool,
    strayed: bool,
}

impl Talk {
    fn new(client: usize, id: usize, visit: Visit) -> Talk {
        let greeted = visit.meeting != Meeting::Greet;
        let (to_send, asked) = (VecDeque::new(), VecDeque::new());
        Talk {
            client,
            id,
            visit,
            to_send,
            next: 0,
            asked,
            got: Vec::new(),
            read: 0,
            greeted,
            news: 0,
            half_closed: false,
            strayed: false,
        }
    }

    fn run(mut self) {
        loop {
            self.ask_more();
            if self.is_done() {
                return self.leave();
            }
            let sent = self.send();
            switch();
            let most = self.visit.reads.0;
            match with(|machine| machine.on_net(Some(self.id), |net, _| net.client_reads(self.id, most))) {
                Read::Bytes(bytes) => {
                    self.got.extend_from_slice(&bytes);
                    self.read += bytes.len();
                    self.take_answers();
                    if !self.visit.reads.1.is_zero() {
                        machine::sleep(self.visit.reads.1);
                    }
                }
                Read::Nothing if sent => {}
                Read::Nothing => self.wait(),
                Read::End => return self.ended(),
                Read::Reset(cause) => return self.was_reset(cause),
            }
        }
    }

    /// Prepares the next request.
    fn ask_more(&mut self) {
        while self.next < self.visit.asks.len() && (self.visit.pipelined || self.asked.is_empty()) {
            if self.next > 0 && !self.visit.pipelined && !self.visit.pause.is_zero() {
                machine::sleep(self.visit.pause);
            }
            let (number, ask) = (self.next, self.visit.asks[self.next]);
            self.to_send.extend(user::request(number, ask));
            let answer = if ask.is_half() { LATE.into() } else { user::answer(number, ask).into() };
            self.asked.push_back(Asked {
                number,
                ask,
                answer,
                peaceful: false,
                sent: false,
                sent_before_a_stop: false,
            });
            self.next += 1;
        }
        let has_sent_all = self.to_send.is_empty() && self.next == self.visit.asks.len();
        if self.visit.end == End::HalfClose && has_sent_all && !std::mem::replace(&mut self.half_closed, true) {
            note!("client {} of {} shuts down its side", self.client, self.id);
            with(|machine| machine.on_net(None, |net, _| net.client_shuts_down(self.id)));
        }
    }

    /// Sends a segment. Returns whether there was one.
    fn send(&mut self) -> bool {
        if self.to_send.is_empty() {
            return self.send_a_stray_byte();
        }
        switch();
        let sent = with(|machine| {
            let count = machine.chance.between(1, self.visit.segment.min(self.to_send.len()));
            let bytes: Vec<u8> = self.to_send.iter().copied().take(count).collect();
            let peaceful = self.is_peaceful(machine);
            let sent = machine.on_net(None, |net, chance| net.client_sends(self.id, &bytes, chance)).unwrap_or(0);
            self.to_send.drain(..sent);
            if self.to_send.is_empty() {
                for asked in self.asked.iter_mut().filter(|asked| !asked.sent) {
                    (asked.sent, asked.peaceful) = (true, peaceful);
                    asked.sent_before_a_stop = !machine.has_stopped;
                }
            }
            sent
        });
        sent > 0
    }

    /// Sends a byte that belongs to no request, while the handler of the last request runs.
    fn send_a_stray_byte(&mut self) -> bool {
        let is_last = self.asked.back().is_some_and(|asked| matches!(asked.ask, Ask::Last(..)));
        if !is_last || self.strayed {
            return false;
        }
        switch();
        self.strayed = with(|machine| {
            machine.net.sockets[self.id].facts.blocked
                && machine.on_net(None, |net, chance| net.client_sends(self.id, b"\n", chance)) == Some(1)
        });
        self.strayed
    }

    /// Whether no event is in progress that could end a connection whose client sends a request now.
    fn is_peaceful(&self, machine: &Machine) -> bool {
        !machine.counts.shutdown
            && !machine.room_was_short()
            && !machine.plan.may_fail()
            && machine.plan.idle.as_secs() > 1
            && !machine.net.sockets[self.id].facts.may_close
    }

    /// Removes complete responses from the received bytes.
    fn take_answers(&mut self) {
        if !self.greeted && self.take(GREETING) {
            self.greeted = true;
        }
        while self.greeted && !self.got.is_empty() {
            let Some(asked) = self.asked.front() else {
                if self.visit.subscribes() {
                    self.take_news();
                } else if !self.is_refusal() {
                    fail(format!("{}: more than was asked for: {:?}", self.id, self.got.escape_ascii().to_string()));
                }
                return;
            };
            if self.is_refusal() {
                return;
            }
            let answer = asked.answer.clone();
            if !self.take(&answer) {
                return;
            }
            let asked = self.asked.pop_front().expect("a request, which was just looked at");
            if asked.ask.breaks() {
                fail(format!("{}: request {} was answered, and should not have been", self.id, asked.number));
            }
            note!("client {} has its answer to {}", self.id, asked.number);
            with(|machine| {
                machine.counts.answers[self.client] += 1;
                machine.wake(Key::Counts);
            });
        }
    }

    /// Removes these bytes from the start of the received bytes. A part of them may be missing so far; any other byte
    /// is a failure.
    fn take(&mut self, expected: &[u8]) -> bool {
        let count = expected.len().min(self.got.len());
        if self.got[..count] != expected[..count] {
            let at = (0..count).find(|at| self.got[*at] != expected[*at]).unwrap_or(0);
            let got = self.got[at.saturating_sub(10)..count.min(at + 40)].escape_ascii().to_string();
            fail(format!("{}: a wrong answer, from byte {at} on: {got}", self.id));
        }
        let whole = count == expected.len();
        if whole {
            self.got.drain(..count);
        }
        whole
    }

    /// Whether this is the response without a permit, or the one to a late request.
    fn is_refusal(&self) -> bool {
        let may_be_late = self.asked.front().is_some_and(|asked| !asked.sent_before_a_stop && !asked.ask.is_half());
        let is_late = may_be_late && with(|machine| machine.has_stopped) && LATE.starts_with(&self.got);
        REFUSED.starts_with(&self.got) || is_late
    }

    fn take_news(&mut self) {
        while let Some(end) = self.got.iter().position(|byte| *byte == b'\n') {
            if self.got == LATE && with(|machine| machine.has_stopped) {
                return; // the process was stopped until the wait for news was too long: see `ended`
            }
            let line: Vec<u8> = self.got.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).into_owned();
            match line.trim_end().strip_prefix("news ").and_then(|number| number.parse().ok()) {
                Some(news) if news >= self.news => self.news = news,
                _ => fail(format!("{}: not news after {}: {line:?}", self.id, self.news)),
            }
        }
    }

    fn is_done(&self) -> bool {
        if let End::Leave(bytes) = self.visit.end
            && self.read >= bytes
        {
            return true;
        }
        let all_answered = self.next == self.visit.asks.len() && self.asked.is_empty() && self.greeted;
        let has_news =
            !self.visit.subscribes() || with(|machine| self.news >= machine.counts.news && machine.counts.callers == 0);
        let reads_on = self.visit.end == End::HalfClose && self.visit.subscribes();
        all_answered && has_news && (reads_on || matches!(self.visit.end, End::Close | End::Reset))
    }

    fn leave(self) {
        note!("client {} leaves {}: {:?}", self.client, self.id, self.visit.end);
        switch();
        with(|machine| {
            machine.net.sockets[self.id].facts.may_break = true;
            machine.on_net(None, |net, _| match self.visit.end {
                End::Reset => {
                    net.sockets[self.id].client_open = false;
                    net.reset_by_client(self.id);
                }
                _ => net.client_closes(self.id),
            });
        });
    }

    /// Waits for bytes to read or for space to write.
    fn wait(&self) {
        let refused = self.visit.meeting == Meeting::Refuse || self.is_refusal() && !self.got.is_empty();
        let (need, news) = match self.asked.front() {
            _ if refused => (Need::Nothing, None),
            Some(asked) if asked.sent => (asked.ask.need(), None),
            None if self.visit.subscribes() && self.next == self.visit.asks.len() => (Need::Nothing, Some(self.news)),
            _ => (Need::Nothing, None),
        };
        with(|machine| {
            let since = machine.nanos();
            let number = self.asked.front().map_or(self.next, |asked| asked.number);
            machine.awaiting[self.client] = Some(Awaiting { id: self.id, need, number, since, news });
        });
        wait(Key::Socket(self.id), FOR_EVER);
        with(|machine| machine.awaiting[self.client] = None);
    }

    /// The server has closed the connection.
    fn ended(&mut self) {
        note!("client {} has the end of {}", self.client, self.id);
        let is_whole =
            self.got == REFUSED || self.got == LATE && !self.asked.front().is_some_and(|asked| asked.ask.is_half());
        let refused = is_whole && with(|machine| machine.counts.refused > 0 || machine.has_stopped);
        if !self.got.is_empty() && !refused {
            fail(format!("{}: the end after a part: {:?}", self.id, self.got.escape_ascii().to_string()));
        }
        let (may_close, may_break) = with(|machine| {
            let facts = &machine.net.sockets[self.id].facts;
            // The server may drop an incomplete request if it has no room.
            let is_half = self.asked.front().is_some_and(|asked| asked.ask.is_half());
            let given_up = is_half && machine.room_was_short();
            let turned_away = self.visit.meeting == Meeting::Refuse;
            // A connection looks idle to a server that ends at once and has not read the request.
            let is_unread = machine.counts.shutdown_now && self.got.is_empty();
            (facts.may_close || given_up || turned_away || refused || is_unread, facts.may_break)
        });
        if let Some(asked) = self.asked.front().filter(|asked| asked.peaceful && !may_close) {
            if asked.ask.breaks() {
                fail(format!("{}: {:?} ends without a reset", self.id, asked.ask));
            } else if !may_break {
                fail(format!("{}: the end, and no answer to request {}, {:?}", self.id, asked.number, asked.ask));
            }
        }
        // The client has closed its side, and continues to read.
        let is_left = self.asked.is_empty() && self.half_closed && self.visit.subscribes();
        if is_left && !may_close && !may_break && with(|machine| self.is_peaceful(machine)) {
            fail(format!("{}: the end, and no more news", self.id));
        }
        with(|machine| machine.on_net(None, |net, _| net.client_closes(self.id)));
    }

    fn was_reset(&mut self, cause: Cause) {
        note!("client {} has a reset of {}: {cause:?}", self.client, self.id);
        let why_not = with(|machine| {
            let facts = &machine.net.sockets[self.id].facts;
            let ends = machine.is_cut_off() || machine.counts.shutdown_now || machine.counts.failed;
            let ends = ends || machine.plan.faults.spawn > 0;
            if facts.may_break || ends || cause == Cause::Elsewhere {
                return None;
            }
            let short = machine.room_was_short();
            let asked = self.asked.front();
            let peaceful = asked.is_some_and(|asked| asked.peaceful);
            match cause {
                Cause::Asked => Some("for no reason"),
                Cause::NotAccepted if short || machine.plan.may_fail() || !machine.net.accepting => None,
                Cause::NotAccepted => Some("not accepted"),
                _ if peaceful && !facts.may_close => Some("with a request unanswered"),
                // The server closed and lingers after its last response, so the response must arrive.
                _ if peaceful && asked.is_some_and(|asked| asked.ask.is_goodbye()) && !short => {
                    Some("with its last word lost")
                }
                _ => None,
            }
        });
        if let Some(why) = why_not.filter(|_| self.visit.meeting != Meeting::Refuse) {
            fail(format!("{}: reset {why} ({cause:?})", self.id));
        }
        with(|machine| machine.net.sockets[self.id].client_open = false);
    }
}

/// Another thread, which calls the subscribers.
pub fn call() {
    for pause in with(|machine| machine.plan.calls.clone()) {
        match pause {
            Pause::Sleep(limit) => machine::sleep(limit),
            Pause::Steps(steps) => (0..steps).for_each(|_| switch()),
            Pause::Answers(client, count, steps) => {
                user::wait_for_answers(client, count);
                (0..steps).for_each(|_| switch());
            }
        }
        user::call_subscribers();
    }
    with(|machine| {
        machine.counts.callers -= 1;
        for id in 0..machine.net.sockets.len() {
            machine.wake(Key::Socket(id)); // subscribers that have all news may disconnect
        }
    });
}

/// The maximum delay of a deadline, in ns.
const SLACK: u64 = 100_000_000;

/// Checks a moment at which all threads wait for a long time: each client that waits for the server must have a valid
/// reason.
pub fn check_quiet(machine: &Machine, due: u64) -> Result<(), String> {
    // Connections that a blocking worker has queued at the end are closed a second later, before `serve_forever`
    // returns.
    let cuts = machine.counts.shutdown_now || machine.is_cut_off() || machine.plan.faults.spawn > 0;
    let ends = cuts && !machine.counts.served;
    if machine.counts.engine_sleeps > 0 || machine.counts.failed || ends {
        return Ok(());
    }
    let (blocked, handlers) = (machine.counts.blocked, machine.plan.handlers);
    // A worker in a blocking logger may have a permit or none, and has the connection that it logs. There is one worker
    // more than permits.
    let logging = machine.counts.logging;
    if logging > 0 && blocked + logging >= handlers + 3 {
        return Ok(());
    }
    let (blocked, mut told_of) = (blocked + logging, logging);
    if machine.counts.shutdown && machine.net.has_open_listener() {
        return Err("all threads wait, and none has seen the shutdown".to_owned());
    }
    let aborted = |socket: &Socket| socket.facts.aborted && socket.server_open && !socket.facts.blocked;
    if blocked == 0 && machine.net.sockets.iter().any(aborted) {
        return Err("everybody waits, and a connection that was aborted is still there".to_owned());
    }
    let room_is_short = machine.room_was_short();
    let refused_after = machine.plan.queue_timeout.map(|limit| limit.as_nanos() as u64 + SLACK);
    for awaiting in machine.awaiting.iter().flatten() {
        let Awaiting { id, number, since, .. } = awaiting;
        let need = awaiting.need(machine);
        let socket = &machine.net.sockets[*id];
        if need == Need::Nothing || socket.facts.blocked || socket.is_pressed() {
            continue;
        }
        let reason = match need {
            // A worker in a blocking destructor counts until it has returned.
            _ if !socket.accepted => !machine.has_room() || blocked > 0 || machine.plan.accept_fails_from.is_some(),
            _ if !socket.facts.met => blocked >= handlers + 2,
            Need::Handler
                if blocked == handlers
                    && logging == 0
                    && !socket.facts.begun
                    && refused_after.is_some_and(|after| since.max(&socket.facts.blocked_until) + after < due) =>
            {
                return Err(format!("{id} waits for too long without a timeout"));
            }
            Need::Handler => blocked >= handlers,
            // A thread may be in the logger. User code is also notified if there is no thread.
            Need::Thread => machine.counts.streams + logging >= machine.plan.max_streams || blocked > handlers,
            Need::Short => blocked > handlers,
            // Pieces of an earlier response may have to be dropped first.
            Need::Turn if socket.facts.shared.iter().any(|shared| shared < number) => blocked > handlers,
            // The connection may have to be notified of an event or dropped first.
            Need::Turn if socket.facts.drop_blocks || machine.counts.shutdown || room_is_short => blocked > handlers,
            _ => false,
        };
        if reason {
            continue;
        }
        if told_of == 0 {
            return Err(format!("everybody waits, and nobody serves {id}, which needs {need:?}; {blocked} block"));
        }
        told_of -= 1;
    }
    Ok(())
}

/// The time to wait for a shutdown, from the plan of a run.
pub fn shutdown_after(shutdown: Shutdown) -> Option<u64> {
    match shutdown {
        Shutdown::Afterwards => None,
        Shutdown::After(limit) | Shutdown::NowAfter(limit) => Some(after(limit)),
    }
}
