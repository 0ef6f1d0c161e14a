//! Selects the next thread by the seed, in one of several ways. The clock runs when no other thread can, and sometimes
//! in between.

use std::cell::Cell;
use std::collections::HashMap;

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

use crate::machine::{Chance, failure};

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
    static ALONE: Cell<bool> = const { Cell::new(false) };
    static STEPS: Cell<u64> = const { Cell::new(0) };
}

/// The seed of the current run.
pub fn seed() -> u64 {
    SEED.get()
}

/// Whether only the clock can run.
pub fn all_tasks_wait() -> bool {
    ALONE.get()
}

/// The number of steps of all runs of this thread.
pub fn steps() -> u64 {
    STEPS.get()
}

/// The number of the clock's task: the first one that the main task starts.
const CLOCK: usize = 1;

pub struct Seeded {
    seeds: std::ops::Range<u64>,
    chance: Chance,
    manner: Manner,
    clock_one_in: u64,
    priorities: HashMap<usize, u64>,
    changes: Vec<u64>,
    step: u64,
}

enum Manner {
    /// Any thread runs, at each step.
    Anybody,
    /// The previous thread continues, except for one of this many steps.
    Steady(u64),
    /// By priorities, which change at few steps (PCT). This finds errors that need one thread to run long at a certain
    /// moment.
    Priorities,
}

impl Seeded {
    pub fn new(seeds: std::ops::Range<u64>) -> Seeded {
        Seeded {
            seeds,
            chance: Chance::new(0),
            manner: Manner::Anybody,
            clock_one_in: 0,
            priorities: HashMap::new(),
            changes: Vec::new(),
            step: 0,
        }
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        let seed = self.seeds.next()?;
        SEED.set(seed);
        ALONE.set(false);
        self.chance = Chance::new(!seed);
        self.step = 0;
        self.priorities.clear();
        self.changes.clear();
        self.manner = match self.chance.below(4) {
            0 => Manner::Anybody,
            1 => Manner::Steady(self.chance.of(&[3, 10, 40])),
            _ => Manner::Priorities,
        };
        let length = self.chance.of(&[300, 1000, 4000]);
        for _ in 0..self.chance.between(1, 6) {
            let step = self.chance.below(length);
            self.changes.push(step);
        }
        self.clock_one_in = self.chance.of(&[0, 0, 3000, 300]);
        Some(Schedule::new(seed))
    }

    fn next_task(&mut self, runnable: &[&Task], current: Option<TaskId>, _is_yielding: bool) -> Option<TaskId> {
        if let Some(why) = failure() {
            panic!("{why}");
        }
        self.step += 1;
        STEPS.set(STEPS.get() + 1);
        let clock = runnable.iter().find(|task| usize::from(task.id()) == CLOCK).map(|task| task.id());
        let others: Vec<TaskId> =
            runnable.iter().map(|task| task.id()).filter(|id| usize::from(*id) != CLOCK).collect();
        ALONE.set(others.is_empty());
        if others.is_empty() || clock.is_some() && self.clock_one_in > 0 && self.chance.one_in(self.clock_one_in) {
            return clock;
        }
        let current = current.filter(|current| others.contains(current));
        Some(match self.manner {
            Manner::Anybody => self.chance.of(&others),
            Manner::Steady(one_in) => match current {
                Some(current) if !self.chance.one_in(one_in) => current,
                _ => self.chance.of(&others),
            },
            Manner::Priorities => {
                if self.changes.contains(&self.step)
                    && let Some(current) = current
                {
                    self.priorities.insert(current.into(), self.chance.below(1 << 16));
                }
                let (chance, priorities) = (&mut self.chance, &mut self.priorities);
                let mut priority =
                    |id: TaskId| *priorities.entry(id.into()).or_insert_with(|| (1 << 16) + chance.below(1 << 32));
                others.into_iter().max_by_key(|id| priority(*id)).expect("at least one other thread")
            }
        })
    }

    fn next_u64(&mut self) -> u64 {
        self.chance.next()
    }
}
