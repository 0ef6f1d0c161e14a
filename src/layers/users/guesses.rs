//! Who sends wrong passwords is slowed: for one name of one address, and for one address. Never for a name alone, or
//! anybody could lock its owner out.

use std::net::IpAddr;
use std::time::Duration;

use super::super::buckets::{Buckets, ClientKey, client_key, too_many};
use crate::Result;

/// Buckets of guesses.
pub struct Guesses {
    for_name: Buckets<(ClientKey, u64)>,
    for_address: Buckets<ClientKey>,
}

/// A password that is being compared counts as a wrong one, so that many at once win nothing.
pub struct Guess<'a> {
    guesses: &'a Guesses,
    name: (ClientKey, u64),
    address: Option<ClientKey>,
}

const NAMES: u32 = 10;
const MOST_REMEMBERED: usize = 65_536;

impl Guesses {
    pub fn new(number: u32, per: Duration) -> Guesses {
        assert!(number > 0, "a user who may send no password at all can't be known");
        let interval = |number: u32| u64::try_from(per.as_nanos() / u128::from(number)).unwrap_or(u64::MAX);
        let all = number.saturating_mul(NAMES);
        assert!(interval(all) > 0, "{number} wrong passwords in {per:?} is no limit");
        let for_name = Buckets::new(interval(number), number, MOST_REMEMBERED);
        Guesses { for_name, for_address: Buckets::new(interval(all), all, MOST_REMEMBERED) }
    }

    /// `name`: its hash. Those who came by a Unix socket of whom no proxy has told share their names, and no more.
    pub fn begin(&self, client: Option<IpAddr>, name: u64) -> Result<Guess<'_>> {
        let address = client.map(client_key);
        let name = (address.unwrap_or_default(), name);
        let slow = |wait| too_many("too many wrong passwords; come again later", wait);
        self.for_name.take(name, self.for_name.now()).map_err(slow)?;
        if let Some(address) = address {
            let taken = self.for_address.take(address, self.for_address.now());
            taken.inspect_err(|_| self.for_name.give_back(name)).map_err(slow)?;
        }
        Ok(Guess { guesses: self, name, address })
    }
}

impl Guess<'_> {
    /// The password was not looked at. The address has asked for that all the same: else it could keep the slots from others
    /// for as long as it likes.
    pub fn was_not_looked_at(&self) {
        self.guesses.for_name.give_back(self.name);
    }

    /// The password was right.
    pub fn was_none(&self) {
        self.was_not_looked_at();
        if let Some(address) = self.address {
            self.guesses.for_address.give_back(address);
        }
    }
}
