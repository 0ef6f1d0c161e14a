//! A worker's day: draw, take a turn, poll, wake the next, stand by. Panics end here.
//! Started by `server`; conducts `handover`, `waiting_room` and `connection`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, warn};
use rustix::time::{ClockId, clock_gettime};

use super::client::Client;
use super::connection::{Connection, Desk, Errand, Outcome, Pass};
use super::engine::{Engine, Guest, HeldPoller};
use super::handover::{Entry, Patience, Task, Wish, Worker};
use super::input::Input;
use super::output::Output;
use super::transport::Transport;
use super::waiting_room::Entrance;

/// At most so many newcomers a poll: those who are here come first.
const NEWCOMERS: usize = 64;

/// Work until the end. `me`: the worker's number.
pub fn work(engine: &Arc<Engine>, me: usize) {
    let desk = Desk { input: Input::new(), output: Output::new() };
    let mut day = Day { engine, worker: engine.hands.arrive(me), desk, catch: Vec::new() };
    let mut now = Instant::now();
    loop {
        match engine.hands.next(&mut day.worker, &mut now) {
            Task::Serve(guest) => now = day.serve(guest, now),
            Task::Wait(held) => now = day.wait(held),
            Task::Look(held) => now = day.look(held, now),
            Task::Leave => {
                // Whoever was parked or queued after the end came, by a handler that took longer, goes too.
                engine.clear_out();
                return;
            }
        }
    }
}

struct Day<'a> {
    engine: &'a Arc<Engine>,
    worker: Worker,
    desk: Desk,
    catch: Vec<Guest>, // empty between polls
}

impl Day<'_> {
    /// Wait with the poller, keep one of the catch for oneself, and serve it.
    fn wait(&mut self, mut held: HeldPoller<'_>) -> Instant {
        let patience = held.about_to_wait();
        let room_freed = self.engine.room_was_freed();
        let must_sweep = self.engine.hands.is_stopping() && !held.poller().door().is_closed();
        match patience {
            _ if must_sweep => held.poller().look(),
            Patience::None => held.poller().look(),
            Patience::Until(_) if room_freed || held.poller().door().is_due(Instant::now()) => held.poller().look(),
            Patience::Until(until) => held.poller().wait(until, Instant::now()),
        }
        held.waited();
        if room_freed {
            held.poller().door().end_pause();
        }
        let now = Instant::now();
        self.gather(&mut held, now);
        let mut catch = self.catch.drain(..);
        let kept = catch.next();
        catch.for_each(|guest| self.engine.hands.queue(guest));
        drop(held);
        self.engine.hands.wake_for_need();
        match kept {
            Some(guest) => self.serve(guest, now),
            None => now,
        }
    }

    /// Poll without waiting, and lay the whole catch into the queue.
    fn look(&mut self, mut held: HeldPoller<'_>, now: Instant) -> Instant {
        held.poller().look();
        self.gather(&mut held, now);
        self.catch.drain(..).for_each(|guest| self.engine.hands.queue(guest));
        drop(held);
        self.engine.hands.wake_for_need();
        now
    }

    /// The ready, the late and the newcomers.
    fn gather(&mut self, held: &mut HeldPoller<'_>, now: Instant) {
        let poll = held.polled(now);
        let mut late;
        {
            let mut seats = self.engine.hands.seats();
            for (token, mark) in held.poller().events() {
                if let Some((mut guest, mark)) = seats.event(token, mark) {
                    guest.saw(mark);
                    guest.brought_by(Some(poll));
                    self.catch.push(guest);
                }
            }
            late = seats.late(now);
        }
        late.iter_mut().for_each(|guest| guest.send_on(Errand::Late));
        self.catch.append(&mut late);
        let mut without_slot = self.engine.hands.slots().late(now);
        without_slot.iter_mut().for_each(|guest| guest.send_on(Errand::NoSlot));
        self.catch.append(&mut without_slot);
        if held.poller().door().is_due(now) {
            self.let_in(held, now, NEWCOMERS);
        }
        if self.engine.hands.is_stopping() && !held.poller().door().is_closed() {
            self.close_up(held, now);
        }
    }

    fn let_in(&mut self, held: &mut HeldPoller<'_>, now: Instant, most: usize) {
        for _ in 0..most {
            if self.engine.is_full() {
                if held.poller().door().somebody_waits() {
                    self.make_room(held, now, "as many clients as are allowed (max_connections) are connected");
                }
                return;
            }
            match held.poller().door().accept() {
                Entrance::Client(stream, address) => match self.engine.seat(stream) {
                    Ok((stream, seat)) => {
                        let transport = Transport::new(stream);
                        self.catch.push(Box::new(Connection::new(transport, Client::new(address), seat, now)));
                    }
                    Err(err) => {
                        // The kernel has no memory for one more to poll: the stream is closed by dropping it.
                        warn!("can't wait for {address}: {err}");
                        held.poller().door().pause(now);
                        return;
                    }
                },
                Entrance::Nobody => return,
                Entrance::NoRoom(err) => {
                    if held.poller().door().somebody_waits() {
                        self.make_room(held, now, &err.to_string());
                    }
                    return;
                }
            }
        }
    }

    /// Let the longest resting go, for those who wait outside; without any, pause until somebody leaves.
    fn make_room(&mut self, held: &mut HeldPoller<'_>, now: Instant, why: &str) {
        let door = held.poller().door();
        let count = door.make_room();
        door.pause(now);
        if door.may_complain(now) {
            warn!("no room for more clients: {why}; those at rest are let go first");
        }
        self.engine.want_room();
        let mut resting = self.engine.hands.seats().let_go(count);
        resting.iter_mut().for_each(|guest| guest.send_on(Errand::LetGo));
        self.catch.append(&mut resting);
    }

    /// The stop: whoever knocked is still let in, the door is closed, and everybody hears of it.
    fn close_up(&mut self, held: &mut HeldPoller<'_>, now: Instant) {
        self.let_in(held, now, usize::MAX);
        held.poller().door().close();
        let mut swept = self.engine.hands.seats().sweep();
        swept.iter_mut().for_each(|guest| guest.sweep());
        self.catch.append(&mut swept);
        self.engine.closed_up();
    }

    /// Take turns with a connection, and with whoever inherits its slot, until nobody is left in hand.
    fn serve(&mut self, guest: Guest, mut now: Instant) -> Instant {
        let mut pass = SlotPass { engine: self.engine, number: None, spent: false };
        let mut in_hand = Some(guest);
        while let Some(guest) = in_hand {
            let outcome;
            (outcome, now) = self.turn(guest, &mut pass, now);
            in_hand = match outcome {
                Some((guest, Outcome::Park(wish))) => self.park(guest, wish),
                Some((guest, Outcome::Queue)) => {
                    self.engine.hands.queue(guest);
                    None
                }
                Some((guest, Outcome::Enter)) => self.enter(guest, &mut pass, now),
                Some((guest, Outcome::Gone)) => {
                    let_leave(guest);
                    None
                }
                None => None,
            };
            in_hand = in_hand.or_else(|| pass.give_back(now));
        }
        now
    }

    /// One turn. A panic in it costs the connection, and nothing else.
    fn turn(
        &mut self,
        mut guest: Guest,
        pass: &mut SlotPass<'_>,
        start: Instant,
    ) -> (Option<(Guest, Outcome)>, Instant) {
        let cpu = self.engine.hands.measures_blocking(&mut self.worker).then(thread_time);
        let house = self.engine.house();
        let desk = &mut self.desk;
        let outcome = catch_unwind(AssertUnwindSafe(|| guest.turn(desk, pass, &house, start)));
        let end = Instant::now();
        let wall = end.saturating_duration_since(start);
        self.engine.hands.turn_took(wall, cpu.map(|cpu| wall.saturating_sub(thread_time().saturating_sub(cpu))));
        match outcome {
            Ok(outcome) => (Some((guest, outcome)), end),
            Err(_) => {
                // The panic hook has told where. Whatever lies on the desk belongs to nobody now.
                error!("a panic ended the connection of {}", guest.client());
                self.desk = Desk { input: Input::new(), output: Output::new() };
                let_leave(guest);
                (None, end)
            }
        }
    }

    fn park(&self, guest: Guest, wish: Wish) -> Option<Guest> {
        let token = guest.token();
        let (mut guest, mark) = self.engine.hands.park(token, guest, wish)?;
        guest.saw(mark);
        Some(guest)
    }

    /// It wants a slot and there was none, or others stand in line for the one it had.
    fn enter(&self, guest: Guest, pass: &mut SlotPass<'_>, now: Instant) -> Option<Guest> {
        let first_in_line = pass.give_back(now);
        match self.engine.hands.enter(guest, now) {
            Entry::Slot(number, guest) => {
                pass.number = Some(number);
                pass.spent = false;
                Some(guest)
            }
            Entry::InLine => first_in_line,
            Entry::Full(mut guest) => {
                guest.send_on(Errand::NoSlot);
                match first_in_line {
                    Some(first) => {
                        self.engine.hands.queue(guest);
                        Some(first)
                    }
                    None => Some(guest),
                }
            }
        }
    }
}

/// A slot in a worker's hands; given back when dropped.
struct SlotPass<'a> {
    engine: &'a Engine,
    number: Option<usize>,
    spent: bool,
}

impl SlotPass<'_> {
    /// Whoever stood first in line has the slot now, and is in hand next.
    fn give_back(&mut self, now: Instant) -> Option<Guest> {
        let number = self.number.take()?;
        let mut first = self.engine.hands.give_back(number, now)?;
        first.brought_by(None); // what the disk says now is younger than its poll
        self.number = Some(number);
        self.spent = false;
        Some(first)
    }
}

impl Pass for SlotPass<'_> {
    fn is_held(&self) -> bool {
        self.number.is_some()
    }

    fn spend(&mut self, now: Instant) -> bool {
        let fresh = match self.number {
            Some(_) if !self.spent => true,
            // Another turn in the same slot, if nobody stands in line for it.
            Some(_) => !self.engine.hands.slots().has_line(),
            None => {
                self.number = self.engine.hands.slots().try_enter(now);
                self.number.is_some()
            }
        };
        if fresh {
            self.spent = true;
            self.engine.hands.before_handler();
        }
        fresh
    }

    fn take_for_file(&mut self, now: Instant) -> bool {
        if self.number.is_none() {
            self.number = self.engine.hands.slots().try_enter(now);
            self.spent = false;
            if self.number.is_some() {
                self.engine.hands.before_handler(); // the disk may take its time
            }
        }
        self.number.is_some()
    }
}

impl Drop for SlotPass<'_> {
    fn drop(&mut self) {
        // Only after a panic of our own: in a worker's day every slot is handed on before.
        if let Some(first) = self.give_back(Instant::now()) {
            self.number = None;
            self.engine.hands.queue(first);
        }
    }
}

/// A connection is dropped in a turn, where a panic of its conversation's `drop` costs nothing else.
fn let_leave(guest: Guest) {
    if catch_unwind(AssertUnwindSafe(|| drop(guest))).is_err() {
        error!("a conversation panicked while it was dropped");
    }
}

/// How long this thread has been on the processor.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
