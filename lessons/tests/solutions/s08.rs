//! Page 8.
//!
//! Exercise 2: between the look and the storing, `wake` finds the client away and leaves a note that no one reads. The
//! first test below does these steps in this order.

use lessons::table::Table;
use mio::Token;

const ME: Token = Token(1);

/// Exercise 1: a table that forgets events of clients that are away.
struct Forgetful(Option<&'static str>);

impl Forgetful {
    fn wake(&mut self) -> Option<&'static str> {
        self.0.take() // away: nothing is noted
    }

    fn park(&mut self, client: &'static str) -> Option<&'static str> {
        self.0 = Some(client);
        None
    }
}

/// Exercise 3: a position, and how many clients have had it. An event for an earlier client has a different key.
#[derive(Clone, Copy, PartialEq)]
struct Key {
    index: usize,
    generation: u32,
}

#[derive(Default)]
struct Slots(Vec<(u32, Option<&'static str>)>);

impl Slots {
    fn add(&mut self, client: &'static str) -> Key {
        let free = self.0.iter().position(|(_, client)| client.is_none());
        let index = free.unwrap_or(self.0.len());
        if free.is_none() {
            self.0.push((0, None));
        }
        self.0[index].1 = Some(client);
        Key { index, generation: self.0[index].0 }
    }

    fn remove(&mut self, key: Key) {
        if self.get(key).is_some() {
            self.0[key.index] = (key.generation + 1, None);
        }
    }

    fn get(&self, key: Key) -> Option<&'static str> {
        self.0.get(key.index).filter(|(generation, _)| *generation == key.generation).and_then(|(_, client)| *client)
    }
}

#[test]
fn an_event_during_a_turn_is_found_when_parking() {
    let (table, mut forgetful) = (Table::default(), Forgetful(Some("a client")));
    table.add(ME, "a client");
    let (client, other) = (table.wake(ME).unwrap(), forgetful.wake().unwrap());
    assert_eq!((table.wake(ME), forgetful.wake()), (None, None), "an event, while a worker has the client");
    assert_eq!(table.park(ME, client), Some("a client"), "another turn");
    assert_eq!(forgetful.park(other), None, "parked, and no event will wake it");
    assert_eq!(table.park(ME, "a client"), None);
    assert_eq!(table.wake(ME), Some("a client"));
}

#[test]
fn an_old_event_does_not_reach_a_new_client() {
    let mut slots = Slots::default();
    let old = slots.add("old");
    slots.remove(old);
    let new = slots.add("new");
    assert_eq!((old.index, new.index), (0, 0));
    assert_eq!((slots.get(old), slots.get(new)), (None, Some("new")));
    slots.remove(old);
    assert_eq!(slots.get(new), Some("new"), "an old key removes no one");
}
