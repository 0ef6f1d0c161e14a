//! Permits, and the line for them: at most so many turns at once may block.
//! Who frees a permit takes the head of the line as its own next turn; a newcomer gets one only if the line is empty.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What became of a wait for a permit.
pub enum Admission<C> {
    /// Here is one; give it back.
    Granted(usize, C),
    /// Stands in line; somebody else will go on with it.
    Queued,
    /// The line is full.
    Full(C),
}

/// All permits and the line. One lock around it.
pub struct Permits<C> {
    free: Vec<usize>,
    since: Vec<Option<Instant>>, // what runs in each permit, since when
    line: VecDeque<(C, Instant)>,
    places: usize,
    patience: Option<Duration>,
    refused: u64,
}

impl<C> Permits<C> {
    pub fn new(permits: usize, places: usize, patience: Option<Duration>) -> Permits<C> {
        Permits {
            free: (0..permits).rev().collect(),
            since: vec![None; permits],
            line: VecDeque::new(),
            places,
            patience,
            refused: 0,
        }
    }

    /// Enter, or stand in line.
    pub fn enter(&mut self, connection: C, now: Instant) -> Admission<C> {
        // A permit is free only while nobody stands in line: see `give_back`.
        if let Some(permit) = self.free.pop() {
            self.since[permit] = Some(now);
            Admission::Granted(permit, connection)
        } else if self.line.len() < self.places {
            self.line.push_back((connection, now));
            Admission::Queued
        } else {
            self.refused += 1;
            Admission::Full(connection)
        }
    }

    /// Enter, if there is a free permit.
    pub fn try_enter(&mut self, now: Instant) -> Option<usize> {
        let permit = self.free.pop()?;
        self.since[permit] = Some(now);
        Some(permit)
    }

    /// A turn in this permit is over: the head of the line has it now and is yours to serve, or it is free.
    pub fn give_back(&mut self, permit: usize, now: Instant) -> Option<C> {
        match self.line.pop_front() {
            Some((connection, _)) => {
                self.since[permit] = Some(now);
                Some(connection)
            }
            None => {
                self.since[permit] = None;
                self.free.push(permit);
                None
            }
        }
    }

    /// Somebody stands in line.
    pub fn has_waiters(&self) -> bool {
        !self.line.is_empty()
    }

    /// When the head of the line has stood too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.line.front()?.1.checked_add(self.patience?)
    }

    /// Those who have stood too long.
    pub fn late(&mut self, now: Instant) -> Vec<C> {
        let mut late = Vec::new();
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            late.extend(self.line.pop_front().map(|(connection, _)| connection));
        }
        self.refused += late.len() as u64;
        late
    }

    /// Everybody in line.
    pub fn empty_out(&mut self) -> Vec<C> {
        self.line.drain(..).map(|(connection, _)| connection).collect()
    }

    /// How many stand in line.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// How many found no place in line, or stood there too long.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many permits are taken.
    pub fn taken(&self) -> usize {
        self.since.len() - self.free.len()
    }

    /// How many have been running longer than this.
    pub fn longer_than(&self, limit: Duration, now: Instant) -> usize {
        self.since.iter().flatten().filter(|since| now.saturating_duration_since(**since) > limit).count()
    }
}
