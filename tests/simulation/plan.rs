//! What happens in one run, by its seed: the server's settings, who comes and asks for what, and what goes wrong.

use std::time::Duration;

use crate::machine::Chance;

#[derive(Clone, Debug)]
pub struct Plan {
    pub listeners: usize,
    pub handlers: usize,
    pub cores: usize,
    pub queue_limit: usize,
    pub queue_timeout: Option<Duration>,
    pub write_timeout: Duration,
    /// These two wake the poller from time to time, which hides where nobody else does: mostly there are none.
    pub min_rate: Option<(u64, Duration)>,
    pub slow_handler: Option<Duration>,
    pub shutdown_timeout: Duration,
    pub max_connections: usize,
    /// Threads for connections that are taken out of the engine.
    pub max_streams: usize,
    pub descriptors: usize,
    /// How much the socket's buffers hold.
    pub up_room: usize,
    pub down_room: usize,
    /// Each look at the clock takes up to so many ns.
    pub clock_step: u64,
    /// How much of the time threads are on the processor.
    pub busy_percent: u64,
    /// How long a client may be idle.
    pub idle: Duration,
    pub faults: Faults,
    pub clients: Vec<Vec<Visit>>,
    /// Another thread calls the subscribers, each time after this.
    pub calls: Vec<Pause>,
    /// One of so many calls aborts one of them.
    pub abort_one_in: u64,
    /// The whole process is stopped once, when somebody has sent something.
    pub stops: bool,
    pub shutdown: Shutdown,
    pub accept_fails_from: Option<u64>,
}

/// How often what goes wrong, in a thousand calls.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub interrupted: u32,
    pub short: u32,
    pub reset: u32,
    pub accept: u32,
    pub register: u32,
    pub poll: u32,
    pub spurious: u32,
    pub slow_disk: u32,
    pub disk: u32,
    pub spawn: u32,
    pub logger: u32,
}

/// What a thread does between two calls.
#[derive(Clone, Copy, Debug)]
pub enum Pause {
    /// It sleeps.
    Sleep(Duration),
    /// It takes so many steps: far less time than the server needs to sleep.
    Steps(usize),
    /// It waits until this client was answered so often, and takes so many steps.
    Answers(usize, usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Once all clients have left, and nothing of them is left.
    Afterwards,
    /// So long after the start.
    After(Duration),
    NowAfter(Duration),
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct Visit {
    pub delay: Duration,
    pub meeting: Meeting,
    pub asks: Vec<Ask>,
    /// All at once, or each after the answer to the one before.
    pub pipelined: bool,
    /// How long before the next request.
    pub pause: Duration,
    /// It sends in segments of up to so many bytes.
    pub segment: usize,
    /// It reads up to so many bytes at once, and rests as long after each time.
    pub reads: (usize, Duration),
    pub end: End,
}

/// What the protocol does when it meets the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    Plain,
    Greet,
    Refuse,
    Block(Duration),
    Panic,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client closes after the last answer.
    Close,
    /// It shuts down its side after the last request, and reads to the end.
    HalfClose,
    /// It waits for the server to close.
    Wait,
    /// It resets after the last answer.
    Reset,
    /// It leaves when it has read so many bytes.
    Leave(usize),
}

/// A request, and what its answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Answered at once.
    Say(usize),
    /// In a handler.
    Handle(usize),
    /// In a handler that takes so long.
    Sleep(Duration, usize),
    /// In a handler that waits until that client was answered so often.
    Wait(usize, usize),
    /// In so many handler's turns.
    Stream(usize, usize),
    /// In so many pieces of shared memory.
    Shared(usize, usize),
    /// A part of a file.
    File(usize),
    /// More than the file has.
    FileShort(usize),
    /// Answered, and the end.
    Bye(usize),
    /// The same, with bytes of the client unread.
    Refuse(usize),
    /// Answered by a handler that takes so long, and the end. Meanwhile its client sends a stray byte.
    Last(Duration, usize),
    /// Half a request: nothing follows it.
    Half,
    /// The same; the event panics, or blocks so long.
    HalfPanic,
    HalfBlock(Duration),
    Abort,
    PanicTurn,
    PanicHandler,
    /// The payload panics when dropped.
    PanicPayload,
    /// The output panics when dropped.
    PanicBytes(usize),
    /// After this many bytes of the answer were sent.
    PanicPart(usize),
    /// Answered; the conversation's drop panics.
    DropPanics,
    /// Answered; its drop waits until that client was answered so often.
    DropWaits(usize, usize),
    DropBlocks(Duration),
    /// Answered; from then on it is called whenever there is news.
    Subscribe(usize),
    /// A handler calls the subscribers.
    Call,
    /// The connection is taken out of the engine, and answers this and all that follows on a thread of its own.
    Take(usize),
    /// The same, and the thread panics.
    TakePanic,
}

/// The longest wait of a handler for another client.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How long a client has been idle when it is evicted, or a little less.
const EVICTABLE_AFTER: Duration = Duration::from_micros(249_995);
/// How long half a request may take.
pub const HALF: Duration = Duration::from_millis(50);

impl Plan {
    pub fn new(chance: &mut Chance) -> Plan {
        let handlers = chance.of(&[1, 1, 1, 2, 2, 3]);
        let count = chance.between(1, 4);
        let (down_room, largest) =
            chance.of(&[(1, 40), (64, 400), (700, 4000), (4096, 20_000), (16_384, 100_000), (1 << 20, 700_000)]);
        let faulty = chance.one_in(2);
        let quick = chance.one_in(3);
        let shutdown = match chance.below(6) {
            0 => Shutdown::NowAfter(Duration::from_micros(chance.below(20_000))),
            1 | 2 => Shutdown::After(Duration::from_micros(chance.below(60_000))),
            _ => Shutdown::Afterwards,
        };
        let scarce = chance.one_in(5);
        let room = if scarce { chance.between(1, 2) } else { 1000 };
        let descriptors = if scarce && chance.one_in(2) { chance.between(1, 2) } else { 1000 };
        let mut plan = Plan {
            listeners: chance.of(&[1, 1, 2, 3]),
            handlers,
            cores: chance.between(1, 4),
            queue_limit: chance.of(&[0, 1, 2, 1024, 1024, 1024]),
            queue_timeout: chance.of(&[None, None, Some(Duration::from_secs(10)), Some(Duration::from_millis(20))]),
            write_timeout: Duration::from_secs(30),
            min_rate: chance.of(&[None, None, Some((500, Duration::from_secs(30)))]),
            slow_handler: chance.of(&[None, None, Some(Duration::from_secs(10))]),
            shutdown_timeout: chance.of(&[10_000, 10_000, 100]).map_millis(),
            max_connections: room,
            max_streams: chance.of(&[1, 1, 2, 256]),
            descriptors,
            up_room: chance.of(&[8, 64, 4096, 65_536, 200_000]),
            down_room,
            clock_step: chance.of(&[50, 1000, 20_000, 200_000]),
            busy_percent: chance.of(&[0, 20, 100]),
            idle: chance.of(&[60_000, 60_000, 60_000, 100]).map_millis(),
            faults: if faulty { Faults::new(chance) } else { Faults::default() },
            clients: Vec::new(),
            calls: Vec::new(),
            abort_one_in: 16,
            stops: shutdown == Shutdown::Afterwards && chance.one_in(4),
            shutdown,
            accept_fails_from: chance.one_in(60).then(|| chance.below(20_000_000)),
        };
        plan.clients = (0..count)
            .map(|client| {
                let visits = chance.of(&[1, 1, 1, 2]);
                (0..visits).map(|_| Visit::new(chance, client, count, largest, quick, shutdown)).collect()
            })
            .collect();
        let subscribed =
            |plan: &Plan| plan.clients.iter().flatten().any(|visit| visit.asks.iter().any(|ask| ask.subscribes()));
        match chance.below(14) {
            0 => plan.crowd(chance),
            1 => plan.spread_news(chance),
            2 => plan.spread_news_in_bursts(chance),
            3 => plan.block_when_the_watchdog_rests(chance),
            4 => plan.pass_permits_round(chance),
            5 => plan.give_slow_readers_up(chance),
            6 => plan.spread_news_after_answers(chance),
            _ if subscribed(&plan) => {
                let pause = |chance: &mut Chance| if chance.one_in(2) { chance.below(10_000) } else { 0 };
                let pauses = (0..chance.between(1, 3)).map(|_| Pause::Sleep(Duration::from_micros(pause(chance))));
                plan.calls = pauses.collect();
            }
            _ => {}
        }
        plan
    }

    /// More clients than there is room for, and nothing else that goes wrong: who is idle is evicted, often at the moment
    /// when it asks.
    fn crowd(&mut self, chance: &mut Chance) {
        let room = chance.between(1, 2);
        (self.max_connections, self.descriptors) = chance.of(&[(room, 1000), (1000, room)]);
        (self.idle, self.faults, self.accept_fails_from) = (Duration::from_secs(60), Faults::default(), None);
        (self.clock_step, self.shutdown) = (50, Shutdown::Afterwards);
        self.clients = (0..room + chance.between(1, 2))
            .map(|_| {
                let asks = (0..3).map(|_| chance.of(&[Ask::Say(20), Ask::Handle(20)])).collect();
                let mut visit = Visit::brief(chance, asks);
                visit.pause += chance.of(&[Duration::ZERO, EVICTABLE_AFTER]);
                vec![visit]
            })
            .collect();
    }

    /// Subscribers and callers, and no time between calls.
    fn spread_news(&mut self, chance: &mut Chance) {
        self.clock_step = 50;
        self.clients = (0..chance.between(1, 2))
            .map(|_| vec![Visit::brief(chance, vec![Ask::Say(1), Ask::Subscribe(3)])])
            .collect();
        self.clients.push(vec![Visit::brief(chance, vec![Ask::Call, Ask::Call])]);
        self.calls = (0..chance.between(1, 3)).map(|_| Pause::Steps(0)).collect();
    }

    /// Calls come in bursts, with nothing else to do for the server but to answer somebody now and then: so the last of a
    /// burst may come at any step of the worker that tells of the one before, and goes to wait. Between two bursts all
    /// workers come to rest, or nearly.
    fn spread_news_in_bursts(&mut self, chance: &mut Chance) {
        (self.clock_step, self.faults, self.slow_handler, self.min_rate) = (50, Faults::default(), None, None);
        (self.max_connections, self.descriptors, self.accept_fails_from) = (1000, 1000, None);
        self.shutdown = Shutdown::Afterwards;
        self.clients = (0..chance.between(1, 2))
            .map(|_| vec![Visit::brief(chance, vec![Ask::Say(1), Ask::Subscribe(3)])])
            .collect();
        if chance.one_in(2) {
            let mut asks = Visit::brief(chance, vec![Ask::Say(1); 10]);
            asks.pause = Duration::from_millis(7);
            self.clients.push(vec![asks]);
        }
        for _ in 0..chance.between(2, 12) {
            self.calls.push(Pause::Sleep(Duration::from_millis(chance.of(&[3, 4, 5, 7, 7, 7]))));
            for _ in 0..chance.between(0, 2) {
                self.calls.push(Pause::Steps(chance.between(0, 120)));
            }
        }
    }

    /// A client asks now and then for what takes no permit, and a call comes at any step of the worker that has answered it,
    /// and goes to wait. Before each request the watchdog comes to rest, and only who runs code that may block sees to it that
    /// there is one again: so nobody mends what that worker misses. (The calls of a burst but the first come beside a
    /// watchdog: to be told of a call takes a permit.)
    fn spread_news_after_answers(&mut self, chance: &mut Chance) {
        (self.clock_step, self.faults, self.slow_handler, self.min_rate) = (50, Faults::default(), None, None);
        (self.max_connections, self.descriptors, self.accept_fails_from) = (1000, 1000, None);
        self.shutdown = Shutdown::Afterwards;
        let count = chance.between(2, 8);
        let mut asks = Visit::brief(chance, vec![Ask::Say(1); count]);
        asks.pause = Duration::from_millis(chance.of(&[7, 9]));
        self.clients = vec![vec![asks]];
        for _ in 0..chance.between(1, 2) {
            self.clients.push(vec![Visit::brief(chance, vec![Ask::Subscribe(3)])]);
        }
        self.calls = (2..=count).map(|answers| Pause::Answers(0, answers, chance.between(0, 60))).collect();
    }

    /// Some milliseconds of silence, in which the watchdog ticks for the last time, and then a handler that blocks and
    /// others who ask beside it.
    fn block_when_the_watchdog_rests(&mut self, chance: &mut Chance) {
        (self.faults, self.slow_handler, self.min_rate, self.queue_timeout) = (Faults::default(), None, None, None);
        (self.max_connections, self.descriptors, self.accept_fails_from) = (1000, 1000, None);
        (self.clock_step, self.queue_limit, self.shutdown) = (chance.of(&[1000, 20_000]), 1024, Shutdown::Afterwards);
        self.clients = (0..chance.between(2, 3))
            .map(|_| {
                let ask = |chance: &mut Chance| {
                    chance.of(&[Ask::Say(1), Ask::Handle(1), Ask::Sleep(Duration::from_millis(40), 1)])
                };
                let asks = (0..8).map(|_| ask(chance)).collect();
                let mut visit = Visit::brief(chance, asks);
                visit.pause = Duration::from_micros(3500 + chance.below(2500));
                vec![visit]
            })
            .collect();
    }

    /// More answers in many parts at once than there are permits, and short handlers beside them: permits go from hand to
    /// hand at each turn.
    fn pass_permits_round(&mut self, chance: &mut Chance) {
        (self.faults, self.slow_handler, self.min_rate, self.queue_timeout) = (Faults::default(), None, None, None);
        (self.max_connections, self.descriptors, self.accept_fails_from) = (1000, 1000, None);
        (self.clock_step, self.queue_limit, self.shutdown) = (50, 1024, Shutdown::Afterwards);
        (self.handlers, self.down_room) = (2, 1 << 20);
        self.clients = (0..chance.between(3, 4))
            .map(|_| {
                let asks =
                    (0..4).map(|_| chance.of(&[Ask::Stream(8, 40), Ask::Stream(8, 40), Ask::Handle(1)])).collect();
                let mut visit = Visit::brief(chance, asks);
                visit.pause = Duration::ZERO;
                vec![visit]
            })
            .collect();
    }

    /// Subscribers that read slowly what they are owed, and whom another thread gives up: mostly in a wait for room, in
    /// which they may be told of no call.
    fn give_slow_readers_up(&mut self, chance: &mut Chance) {
        (self.slow_handler, self.min_rate, self.shutdown) = (None, None, Shutdown::Afterwards);
        (self.max_connections, self.descriptors, self.accept_fails_from) = (1000, 1000, None);
        (self.down_room, self.abort_one_in) = (chance.of(&[4096, 16_384]), 2);
        self.clients = (0..chance.between(1, 2))
            .map(|_| {
                let mut visit = Visit::brief(chance, vec![Ask::Subscribe(200_000)]);
                visit.reads = (8192, Duration::from_millis(chance.of(&[0, 5, 50])));
                vec![visit]
            })
            .collect();
        let pauses = (0..chance.between(2, 4)).map(|_| match chance.below(2) {
            0 => Pause::Sleep(Duration::from_micros(chance.below(20_000))),
            _ => Pause::Steps(chance.between(0, 40)),
        });
        self.calls = pauses.collect();
    }

    /// Whether the server may end by itself, with an error.
    pub fn may_fail(&self) -> bool {
        self.accept_fails_from.is_some() || self.faults.spawn > 0
    }

    /// So many connections at once, before room is short.
    pub fn capacity(&self) -> usize {
        self.max_connections.min(self.descriptors)
    }
}

trait Millis {
    fn map_millis(self) -> Duration;
}

impl Millis for u64 {
    fn map_millis(self) -> Duration {
        Duration::from_millis(self)
    }
}

impl Faults {
    fn new(chance: &mut Chance) -> Faults {
        // In each run some of them only, so that the others can do harm at places that a run rarely reaches else.
        let mut often = |choices: &[u32]| if chance.one_in(3) { chance.of(choices) } else { 0 };
        Faults {
            interrupted: often(&[10, 100]),
            short: often(&[20, 200, 600]),
            reset: often(&[5, 30]),
            accept: often(&[100, 500]),
            register: often(&[50, 300]),
            poll: often(&[10]),
            spurious: often(&[50, 400]),
            slow_disk: often(&[300, 900]),
            disk: often(&[50]),
            spawn: if chance.one_in(20) { 30 } else { 0 },
            logger: if chance.one_in(4) { 500 } else { 0 },
        }
    }
}

impl Visit {
    /// In the end it wants to hear of news.
    pub fn subscribes(&self) -> bool {
        self.asks.last().is_some_and(|ask| ask.subscribes())
    }

    /// Soon over, and without incidents.
    fn brief(chance: &mut Chance, asks: Vec<Ask>) -> Visit {
        Visit {
            delay: Duration::from_nanos(chance.below(20_000)),
            meeting: Meeting::Plain,
            asks,
            pipelined: false,
            pause: Duration::from_nanos(chance.below(10_000)),
            segment: 100,
            reads: (1 << 20, Duration::ZERO),
            end: End::Close,
        }
    }

    fn new(
        chance: &mut Chance,
        client: usize,
        clients: usize,
        largest: usize,
        quick: bool,
        shutdown: Shutdown,
    ) -> Visit {
        let meeting = match chance.below(20) {
            0 => Meeting::Refuse,
            1 | 2 => Meeting::Greet,
            3 => Meeting::Block(Duration::from_millis(chance.below(2000))),
            4 => Meeting::Panic,
            _ => Meeting::Plain,
        };
        let mut asks = Vec::new();
        for _ in 0..chance.between(1, 3) {
            let is_taken = asks.iter().any(|ask| matches!(ask, Ask::Take(_)));
            let ask = match Ask::new(chance, client, clients, largest) {
                ask if is_taken && !matches!(ask, Ask::Say(_) | Ask::TakePanic) => Ask::Say(20),
                ask => ask,
            };
            asks.push(ask);
            if ask.is_last() {
                break;
            }
        }
        let last = *asks.last().expect("at least one");
        let end = match chance.below(10) {
            _ if last.closes() => End::Wait,
            0 | 1 => End::HalfClose,
            2 => End::Reset,
            3 => End::Leave(chance.between(0, 2 * largest)),
            4 if shutdown != Shutdown::Afterwards => End::Wait,
            _ => End::Close,
        };
        // A thread waits for its client for ever.
        let end = match (end, asks.iter().find_map(|ask| if let Ask::Take(size) = ask { Some(*size) } else { None })) {
            (End::Leave(bytes), Some(size)) => End::Leave(bytes.min(size)),
            (end, _) => end,
        };
        let slow = chance.one_in(6);
        let least = if largest > 10_000 { 10_000 } else { 1 };
        Visit {
            delay: Duration::from_micros(chance.below(if quick { 10 } else { 20_000 })),
            meeting,
            pipelined: chance.one_in(3),
            pause: Duration::from_micros(if chance.one_in(3) { chance.below(20_000) } else { 0 }),
            asks,
            segment: chance.of(&[1, 5, 100, 100, 100]),
            reads: if slow {
                (chance.between(least, least + 400), Duration::from_millis(chance.below(3)))
            } else {
                (1 << 20, Duration::ZERO)
            },
            end,
        }
    }
}

impl Ask {
    fn new(chance: &mut Chance, client: usize, clients: usize, largest: usize) -> Ask {
        let size = chance.of(&[0, 1, 20, largest / 10, largest]);
        let millis = chance.of(&[1, 5, 40, 300, 1500]).map_millis();
        let other = (client + 1) % clients;
        match chance.below(50) {
            0..6 => Ask::Say(size),
            6..12 => Ask::Handle(size),
            12..15 => Ask::Sleep(millis, size),
            15..18 if clients > 1 => Ask::Wait(other, chance.between(1, 2)),
            18..21 => Ask::Stream(chance.between(1, 4), size),
            21..23 => Ask::Shared(chance.between(1, 20), size),
            23..27 => Ask::File(size.min(60_000)),
            27 => Ask::FileShort(size.clamp(2, 60_000)),
            28 => Ask::Bye(size),
            29 => Ask::Refuse(size.min(2000)),
            30 => Ask::Half,
            31 => Ask::HalfPanic,
            32 => Ask::HalfBlock(millis),
            33 => Ask::Abort,
            34 => Ask::PanicTurn,
            35 => Ask::PanicHandler,
            36 => Ask::PanicPayload,
            37 => Ask::PanicBytes(size),
            38 => Ask::PanicPart(size.max(1)),
            39 => Ask::DropPanics,
            40 if clients > 1 => Ask::DropWaits(other, 1),
            41 => Ask::DropBlocks(millis),
            42 | 43 => Ask::Subscribe(size.max(3)),
            44 => Ask::Call,
            45..48 => Ask::Take(size),
            48 => Ask::TakePanic,
            _ => Ask::Last(millis, size),
        }
    }

    /// Nothing is asked after it.
    fn is_last(self) -> bool {
        self.closes() || self.subscribes()
    }

    /// The server closes, or breaks off.
    fn closes(self) -> bool {
        self.breaks() || self.is_goodbye() || self.is_half()
    }

    /// The server closes once it has answered.
    pub fn is_goodbye(self) -> bool {
        matches!(self, Ask::Bye(_) | Ask::Refuse(_) | Ask::Last(..))
    }

    pub fn subscribes(self) -> bool {
        matches!(self, Ask::Subscribe(_))
    }

    pub fn is_half(self) -> bool {
        matches!(self, Ask::Half | Ask::HalfPanic | Ask::HalfBlock(_))
    }

    /// It ends with a reset.
    pub fn breaks(self) -> bool {
        matches!(
            self,
            Ask::Abort
                | Ask::FileShort(_)
                | Ask::PanicTurn
                | Ask::PanicHandler
                | Ask::PanicPayload
                | Ask::PanicBytes(_)
                | Ask::PanicPart(_)
                | Ask::HalfPanic
                | Ask::TakePanic
        )
    }

    /// What its answer may have to wait for.
    pub fn need(self) -> Need {
        match self {
            Ask::Handle(_)
            | Ask::Sleep(..)
            | Ask::Last(..)
            | Ask::Wait(..)
            | Ask::Stream(..)
            | Ask::PanicHandler
            | Ask::PanicPart(_)
            | Ask::Call => Need::Handler,
            Ask::Take(_) | Ask::TakePanic => Need::Thread,
            Ask::File(_) | Ask::FileShort(_) | Ask::Subscribe(_) => Need::Short,
            _ if self.is_half() => Need::Nothing,
            _ => Need::Turn,
        }
    }
}

/// What a client that waits needs of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Turn,
    Short,
    Handler,
    /// A thread of its own, or what its thread has.
    Thread,
    /// Nothing at once: it waits for a deadline.
    Nothing,
}
