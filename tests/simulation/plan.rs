//! The plan of one run, from its seed: the settings of the server, the clients and their requests, and the faults.

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
    /// These two wake the poller from time to time, which could hide a missing wake. So most runs have neither.
    pub min_rate: Option<(u64, Duration)>,
    pub slow_handler: Option<Duration>,
    pub shutdown_timeout: Duration,
    pub max_connections: usize,
    /// Threads for connections that leave the engine.
    pub max_streams: usize,
    pub descriptors: usize,
    /// The size of a socket's buffers.
    pub up_room: usize,
    pub down_room: usize,
    /// Each reading of the clock takes up to this many ns.
    pub clock_step: u64,
    /// The part of the time during which threads run.
    pub busy_percent: u64,
    /// The idle timeout of clients.
    pub idle: Duration,
    pub faults: Faults,
    pub clients: Vec<Vec<Visit>>,
    /// Another thread calls the subscribers, each time after this pause.
    pub calls: Vec<Pause>,
    /// One of this many calls aborts a connection.
    pub abort_one_in: u64,
    /// The whole process is stopped once, when a client has sent something.
    pub stops: bool,
    pub shutdown: Shutdown,
    pub accept_fails_from: Option<u64>,
}

/// The probability of each fault, per thousand calls.
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

/// The pause of a thread between two calls.
#[derive(Clone, Copy, Debug)]
pub enum Pause {
    /// It sleeps.
    Sleep(Duration),
    /// It takes this many steps: far less time than the server needs to fall asleep.
    Steps(usize),
    /// It waits until this client has this many responses, and then takes this many steps.
    Answers(usize, usize, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Once all clients have disconnected and nothing of them is left.
    Afterwards,
    /// At this time after the start.
    After(Duration),
    NowAfter(Duration),
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct Visit {
    pub delay: Duration,
    pub meeting: Meeting,
    pub asks: Vec<Ask>,
    /// All at once, or each after the previous response.
    pub pipelined: bool,
    /// The pause before the next request.
    pub pause: Duration,
    /// It sends segments of up to this many bytes.
    pub segment: usize,
    /// It reads up to this many bytes at once, and then pauses for this time.
    pub reads: (usize, Duration),
    pub end: End,
}

/// The reaction of the protocol to a new client.
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
    /// The client closes after the last response.
    Close,
    /// It closes its sending side after the last request, and reads to the end.
    HalfClose,
    /// It waits until the server closes.
    Wait,
    /// It resets after the last response.
    Reset,
    /// It disconnects after it has read this many bytes.
    Leave(usize),
}

/// A request, and the work for its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A response without a handler.
    Say(usize),
    /// A response by a handler.
    Handle(usize),
    /// A response by a handler that takes this time.
    Sleep(Duration, usize),
    /// A response by a handler that waits until that client has this many responses.
    Wait(usize, usize),
    /// A response in this many turns of a handler.
    Stream(usize, usize),
    /// A response in this many pieces of shared memory.
    Shared(usize, usize),
    /// A part of a file.
    File(usize),
    /// More bytes than the file has.
    FileShort(usize),
    /// A response, then a close.
    Bye(usize),
    /// A response, then a close with unread bytes of the client.
    Refuse(usize),
    /// A response by a handler that takes this time, then a close. Meanwhile the client sends a stray byte.
    Last(Duration, usize),
    /// Half a request, with nothing after it.
    Half,
    /// Half a request; its event panics, or blocks for this time.
    HalfPanic,
    HalfBlock(Duration),
    Abort,
    PanicTurn,
    PanicHandler,
    /// A panic whose payload panics when dropped.
    PanicPayload,
    /// A panic with output that panics when dropped.
    PanicBytes(usize),
    /// A panic after this many bytes of the response were sent.
    PanicPart(usize),
    /// A response; dropping the conversation panics.
    DropPanics,
    /// A response; dropping the conversation waits until that client has this many responses.
    DropWaits(usize, usize),
    DropBlocks(Duration),
    /// A response; from then on each `Call` calls the connection.
    Subscribe(usize),
    /// A handler calls the subscribers.
    Call,
    /// The connection leaves the engine. A separate thread responds to this request and to all later ones.
    Take(usize),
    /// The connection leaves the engine, and its thread panics.
    TakePanic,
}

/// The longest wait of a handler for another client.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// The idle time after which a client can be evicted.
const EVICTABLE_AFTER: Duration = Duration::from_millis(250);
/// The time limit of half a request.
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

    /// More clients than there is room for, and no faults: idle clients are evicted, often at the moment at which they
    /// send a request.
    fn crowd(&mut self, chance: &mut Chance) {
        let room = chance.between(1, 2);
        (self.max_connections, self.descriptors) = chance.of(&[(room, 1000), (1000, room)]);
        (self.idle, self.faults, self.accept_fails_from) = (Duration::from_secs(60), Faults::default(), None);
        (self.clock_step, self.shutdown) = (50, Shutdown::Afterwards);
        self.clients = (0..room + chance.between(1, 2))
            .map(|_| {
                let asks = (0..3).map(|_| chance.of(&[Ask::Say(20), Ask::Handle(20)])).collect();
                let mut visit = Visit::brief(chance, asks);
                if chance.one_in(2) {
                    visit.pause = EVICTABLE_AFTER + Duration::from_nanos(chance.below(1_000_000));
                }
                vec![visit]
            })
            .collect();
    }

    /// Subscribers and callers, without pauses between calls.
    fn spread_news(&mut self, chance: &mut Chance) {
        self.clock_step = 50;
        self.clients = (0..chance.between(1, 2))
            .map(|_| vec![Visit::brief(chance, vec![Ask::Say(1), Ask::Subscribe(3)])])
            .collect();
        self.clients.push(vec![Visit::brief(chance, vec![Ask::Call, Ask::Call])]);
        self.calls = (0..chance.between(1, 3)).map(|_| Pause::Steps(0)).collect();
    }

    /// Calls come in bursts, and otherwise the server has only a few requests. So the last call of a burst can come at
    /// any step of the worker that handles the previous one and then waits. Between two bursts almost all workers fall
    /// asleep.
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

    /// A client sends requests that need no permit, with pauses. A call comes at any step of the worker that has
    /// responded and is about to wait. Before each request the watchdog falls asleep, and only workers that begin code
    /// that may block wake another one. So no other worker corrects an error of that worker. (All calls of a burst
    /// except the first have a watchdog, because handling a call needs a permit.)
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

    /// Some milliseconds without requests, in which the watchdog ticks for the last time. Then a handler blocks, and
    /// other clients send requests in the meantime.
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

    /// More responses in many parts than there are permits, and short handlers beside them: permits change their
    /// connection at each turn.
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

    /// Subscribers that read their output slowly, and another thread that aborts them, usually while they wait for
    /// space. Then they must not be called.
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

    /// The number of connections before the server has no room.
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
        // Each run has only some of the faults, so that these reach places that runs rarely reach otherwise.
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
    /// Whether its last request is a subscription.
    pub fn subscribes(&self) -> bool {
        self.asks.last().is_some_and(|ask| ask.subscribes())
    }

    /// A short visit without incidents.
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
        let last = *asks.last().expect("at least one request");
        let end = match chance.below(10) {
            _ if last.closes() => End::Wait,
            0 | 1 => End::HalfClose,
            2 => End::Reset,
            3 => End::Leave(chance.between(0, 2 * largest)),
            4 if shutdown != Shutdown::Afterwards => End::Wait,
            _ => End::Close,
        };
        // A thread waits for its client forever.
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

    /// It is the last request.
    fn is_last(self) -> bool {
        self.closes() || self.subscribes()
    }

    /// The server closes or resets the connection.
    fn closes(self) -> bool {
        self.breaks() || self.is_goodbye() || self.is_half()
    }

    /// The server closes after the response.
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

    /// The resource for which its response may have to wait.
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

/// The resource that a waiting client needs from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Turn,
    Short,
    Handler,
    /// A separate thread, or data of its thread.
    Thread,
    /// None at once: it waits for a deadline.
    Nothing,
}
