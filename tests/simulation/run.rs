//! One run: a server, its clients, a shutdown, and the checks at the end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use crate::machine::{self, Chance, Key, after, fail, note, switch, wait_for, with};
use crate::plan::{Plan, Shutdown};
use crate::schedule::{self, Seeded};
use crate::tcp::{Raw, ServerHandle, TcpServer};
use crate::{client, user};

/// A run with more steps has an endless loop.
const MOST_STEPS: usize = 400_000;
/// A run with more simulated time hangs.
const LONGEST_RUN: Duration = Duration::from_secs(300);
/// The time in ns for which the process is stopped: longer than a client may be idle.
const STOP: u64 = 70_000_000_000;
/// In ns. The watchdog ticks every 4 ms if it has found nothing for a long time, and until the next tick a client may
/// wait for a blocked worker.
const LONGER_THAN_A_TICK: u64 = 5_000_000;

/// Runs these seeds. Returns the report of the first one that fails.
pub fn run(seeds: std::ops::Range<u64>, log: bool) -> Result<(), (u64, String)> {
    prepare();
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    let result = catch_unwind(AssertUnwindSafe(|| Runner::new(Seeded::new(seeds), config).run(move || one(log))));
    result.map(drop).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (schedule::seed(), text.unwrap_or_else(|| "a panic without a message".to_owned()))
    })
}

/// A panic with a message is never part of the plan.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // The engine may catch the scheduler's report of a failure, so the report is repeated unchanged.
            let again = panic.payload().downcast_ref::<String>();
            let again = again.filter(|_| panic.location().is_some_and(|at| at.file().ends_with("schedule.rs")));
            fail(again.cloned().unwrap_or_else(|| panic.to_string()));
            usual(panic);
        }));
        log::set_logger(&user::Logger).expect("the only logger of this process");
        log::set_max_level(log::LevelFilter::Warn);
    });
}

fn one(log: bool) {
    let seed = schedule::seed();
    let mut chance = Chance::new(seed);
    let plan = Plan::new(&mut chance);
    user::begin();
    machine::begin(plan.clone(), chance, log);
    note!("{plan:?}");
    shuttle::thread::spawn(clock);
    // It binds real sockets, which are then used as simulated ones.
    let mut server = TcpServer::bind("127.0.0.1:0", Raw(user::Script)).expect("a server");
    for _ in 1..plan.listeners {
        server = server.also("127.0.0.1:0").expect("one more address");
    }
    let server = server
        .workers(plan.handlers)
        .queue_limit(plan.queue_limit)
        .queue_timeout(plan.queue_timeout)
        .write_timeout(plan.write_timeout)
        .min_rate(plan.min_rate)
        .slow_handler(plan.slow_handler)
        .shutdown_timeout(plan.shutdown_timeout)
        .max_connections(plan.max_connections)
        .max_streams(plan.max_streams);
    let server = if seed.is_multiple_of(3) { server.parallelism(1) } else { server };
    let handle = server.handle();
    shuttle::thread::spawn(move || {
        let result = server.serve_forever();
        note!("serve_forever returns {result:?}");
        with(|machine| {
            machine.counts.failed |= result.is_err();
            machine.counts.served = true;
            machine.wake(Key::Counts);
        });
    });
    for number in 0..plan.clients.len() {
        shuttle::thread::spawn(move || client::run(number));
    }
    if !plan.calls.is_empty() {
        with(|machine| machine.counts.callers += 1);
        shuttle::thread::spawn(client::call);
    }
    conduct(&plan, &handle);
    drop(handle);
    with(|machine| machine.over = true);
}

/// Waits for the clients, shuts the server down, and checks that nothing is left.
fn conduct(plan: &Plan, handle: &ServerHandle) {
    match client::shutdown_after(plan.shutdown) {
        Some(then) => {
            wait_for(Key::Counts, then, |machine| machine.counts.served.then_some(()));
        }
        None => {
            until("all clients have left", LONGEST_RUN, |machine| machine.counts.clients_left == 0);
            settle(handle);
        }
    }
    let now = matches!(plan.shutdown, Shutdown::NowAfter(_));
    let cut_off_at = after(plan.shutdown_timeout);
    with(|machine| {
        machine.counts.shutdown = true;
        machine.counts.shutdown_now = now;
        machine.counts.cut_off_at = Some(cut_off_at);
    });
    note!("shutdown, now: {now}");
    if now {
        handle.shutdown_now();
    } else {
        handle.shutdown();
    }
    let limit = plan.shutdown_timeout + Duration::from_millis(1500);
    until("the shutdown ends in time", limit, |machine| machine.counts.served);
    until("all workers have ended", LONGEST_RUN, |machine| machine.counts.workers == 0);
    until("all clients have left", LONGEST_RUN, |machine| machine.counts.clients_left == 0);
    until("all callers are done", LONGEST_RUN, |machine| machine.counts.callers == 0);
    look_back(plan, handle);
}

/// Waits until the condition holds, for at most this time.
fn until(what: &str, limit: Duration, is_so: impl Fn(&machine::Machine) -> bool) {
    if wait_for(Key::Counts, after(limit), |machine| is_so(machine).then_some(())).is_none() {
        with(|machine| {
            let left = format!("{} clients, {} workers", machine.counts.clients_left, machine.counts.workers);
            fail(format!("it is not so that {what}, after {limit:?}: {left}; {}", machine.describe_waiting_tasks()));
        });
        switch();
    }
}

/// Checks without a shutdown that nothing is left of the clients.
fn settle(handle: &ServerHandle) {
    let limit = after(Duration::from_secs(100));
    loop {
        let stats = handle.stats();
        let taken = [stats.connections, stats.parked, stats.ready, stats.waiting, stats.running, stats.permits];
        if taken == [0; 6] && stats.streams == 0 || with(|machine| machine.counts.served) {
            return;
        }
        if with(|machine| machine.nanos()) > limit {
            fail(format!("with all clients gone: {stats:?}"));
            switch();
        }
        machine::sleep(Duration::from_millis(500));
    }
}

fn look_back(plan: &Plan, handle: &ServerHandle) {
    let stats = handle.stats();
    let wakers_left = user::subscribers().iter().filter(|waker| waker.wake() || !waker.is_over()).count();
    with(|machine| {
        let counts = &machine.counts;
        let open = machine.net.sockets.iter().filter(|socket| socket.server_open).count();
        let mut wrong = Vec::new();
        let mut expect = |what: &str, count: usize| {
            if count != 0 {
                wrong.push(format!("{what}: {count}"));
            }
        };
        expect("workers that died", counts.deaths);
        expect("conversations that were not dropped", counts.conversations);
        expect("shared bytes that were not dropped", counts.shared_bytes);
        expect("sockets that are open", open);
        expect("wakers of connections that seem to be there", wakers_left);
        if !machine.is_cut_off() && !counts.shutdown_now && !counts.failed {
            expect("connections in the end", stats.connections);
            expect("permits in the end", stats.permits);
            expect("running in the end", stats.running);
            expect("streams in the end", stats.streams);
            expect("waiting in the end", stats.waiting);
            expect("ready in the end", stats.ready);
        }
        if counts.failed && !plan.may_fail() {
            wrong.push("serve_forever failed".to_owned());
        }
        if !wrong.is_empty() {
            fail(wrong.join(", "));
        }
    });
    switch();
}

/// Advances the time: to the next due time when all threads wait, and a little at other moments.
fn clock() {
    loop {
        let alone = schedule::all_tasks_wait();
        let over = with(|machine| {
            if machine.over {
                return true;
            }
            let now = machine.nanos();
            if !alone
                && !machine.counts.shutdown
                && machine.plan.stops
                && machine.net.anything_listed()
                && machine.chance.one_in(8)
            {
                machine.stop_for(STOP);
                return false;
            }
            if !alone {
                let step = machine.chance.below(2_000_000);
                machine.advance(now + step);
                return false;
            }
            match machine.next_due() {
                Some(due) => {
                    let quiet = if due > now + LONGER_THAN_A_TICK { client::check_quiet(machine, due) } else { Ok(()) };
                    match quiet {
                        Ok(()) => machine.advance(due),
                        Err(why) => fail(why),
                    }
                }
                None => fail(format!("everybody waits forever: {}", machine.describe_waiting_tasks())),
            }
            false
        });
        if over {
            return;
        }
        shuttle::thread::sleep(Duration::ZERO);
    }
}

/// This many runs from this seed on, in this many threads. Panics with the command that replays the first failing one.
pub fn many(first: u64, count: u64, threads: u64) {
    let began = Instant::now();
    let share = count.div_ceil(threads);
    let runners: Vec<_> = (0..threads)
        .map(|thread| {
            let seeds = first + thread * share..(first + (thread + 1) * share).min(first + count);
            std::thread::spawn(move || {
                let result = run(seeds, false);
                (result, schedule::steps())
            })
        })
        .collect();
    let ends: Vec<_> = runners.into_iter().map(|runner| runner.join().expect("a runner that catches panics")).collect();
    let steps: u64 = ends.iter().map(|(_, steps)| steps).sum();
    let seconds = began.elapsed().as_secs_f64();
    println!("{count} runs, {steps} steps in {seconds:.1} s: {:.0} runs a second", count as f64 / seconds);
    for (thread, (result, _)) in ends.into_iter().enumerate() {
        if let Err((seed, why)) = result {
            let runs = seed - first - thread as u64 * share + 1;
            panic!(
                "run {runs} of thread {thread}: {why}\nSIMULATION_SEED={seed} cargo test --test simulation replays it"
            );
        }
    }
}
