//! Limits wrong passwords per name and address, and per address. There is no limit per name alone, because anyone could
//! then lock the owner of a name out. Used by `basic_auth` and by `users`.

use std::net::IpAddr;
use std::time::Duration;

use super::buckets::{Buckets, too_many};
use crate::{IpNetwork, Result};

pub(super) struct Guesses {
    for_name: Buckets<(Option<IpNetwork>, u64)>,
    for_address: Buckets<IpNetwork>,
}

/// A guess. A password that is being compared counts as wrong, so that parallel guesses gain nothing.
pub(super) struct Guess<'a> {
    guesses: &'a Guesses,
    name: (Option<IpNetwork>, u64),
    address: Option<IpNetwork>,
}

const NAMES: u32 = 10;

impl Guesses {
    pub fn new(number: u32, per: Duration) -> Guesses {
        let what = "wrong passwords";
        let all = number.saturating_mul(NAMES);
        Guesses { for_name: Buckets::new(number, per, what), for_address: Buckets::new(all, per, what) }
    }

    /// Allows 10 wrong passwords per minute.
    pub fn by_default() -> Guesses {
        Guesses::new(10, Duration::from_secs(60))
    }

    /// Counts a guess, unless `is_remembered` returns true, which means that the password is known to be right. A
    /// client without guesses left gets an error before that is checked, and parallel requests cannot share a guess.
    /// Otherwise a client could try passwords as fast as it can send requests.
    ///
    /// `name` is the hash of the name. Clients of a Unix socket without a trusted proxy have only the buckets of names.
    pub fn begin(
        &self,
        client: Option<IpAddr>,
        name: u64,
        is_remembered: impl FnOnce() -> bool,
    ) -> Result<Option<Guess<'_>>> {
        let address = client.map(IpNetwork::of_client);
        let name = (address, name);
        let mut is_free = Ok(false);
        let of_name = || {
            is_free = self.for_name.take_unless(name, self.for_name.now(), is_remembered);
            !matches!(is_free, Ok(false)) // a name at its limit uses no guess of the address
        };
        let of_address = match address {
            Some(address) => self.for_address.take_unless(address, self.for_address.now(), of_name),
            None => Ok(of_name()),
        };
        match of_address.and(is_free) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(Guess { guesses: self, name, address })),
            Err(wait) => Err(too_many("too many wrong passwords; try again later", wait)),
        }
    }
}

impl Guess<'_> {
    /// Returns the guess, because the password was right.
    #[cfg_attr(
        not(feature = "users"),
        expect(dead_code, reason = "a list of users is compared immediately and never returns a guess")
    )]
    pub fn take_back(&self) {
        self.guesses.for_name.give_back(self.name);
        if let Some(address) = self.address {
            self.guesses.for_address.give_back(address);
        }
    }
}
