//! The share of each sender: how many uploads are in progress, and how many bytes were added recently. `uploads` checks
//! it when the head of an upload arrives, and while bytes of unknown total length arrive.
//!
//! The counts are in memory, and start at zero with the process. Stored bytes count towards the sender's share.
//! Deleting a file does not reduce the count, because the server does not know who stored the file. Clones of one
//! `Uploads` share a table.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{StatusCode, header};

use super::super::free_space::Writer;
use super::responses::{busy, in_units, io_error};
use crate::mutex::lock;
use crate::words::in_words;
use crate::{Error, IpNetwork, Request};

/// The minimum number of bytes that a file or folder takes on a disk.
const BLOCK: u64 = 4096;
/// The number of steps in which added bytes expire.
const SLICES: u64 = 24;
/// How many owners have an account of their own; the rest share one.
const MAX_OWNERS: usize = 1 << 16;

/// The owner of uploads that are counted together: a user, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    User(String),
    Client(IpNetwork),
    /// A client of a Unix socket.
    Unknown,
    /// All owners after the first `MAX_OWNERS`.
    Others,
}

impl Owner {
    pub fn new(ip: Option<IpAddr>, user: Option<&str>) -> Owner {
        match (user, ip) {
            (Some(user), _) => Owner::User(user.to_owned()),
            (None, Some(ip)) => Owner::Client(IpNetwork::of_client(ip)),
            (None, None) => Owner::Unknown,
        }
    }

    pub fn of(request: &Request) -> Owner {
        Owner::new(request.client_ip(), request.user().as_deref())
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ShareLimits {
    pub in_all: usize,
    pub each: usize,
    /// How many bytes can be added within this time.
    pub quota: Option<(u64, Duration)>,
}

#[derive(Debug)]
pub(super) struct Accounts {
    table: Mutex<Table>,
    /// The origin of time.
    start: Instant,
}

#[derive(Debug, Default)]
struct Table {
    owners: HashMap<Owner, Account>,
    under_way: usize,
    /// The time slice in which empty accounts were last removed.
    looked: u64,
}

#[derive(Debug, Default)]
struct Account {
    under_way: usize,
    /// Bytes of uploads in progress, received or announced.
    held: u64,
    /// Slices of time, and the bytes that were stored in each.
    added: VecDeque<(u64, u64)>,
}

#[derive(Clone, Debug)]
pub(super) struct SenderLimits {
    limits: ShareLimits,
    accounts: Arc<Accounts>,
}

/// An upload in progress. Dropping it ends it.
#[derive(Debug)]
pub(super) struct UploadSlot {
    owner: Owner,
    accounts: Arc<Accounts>,
}

/// The bytes that an upload may still add. Bytes that are left when this is dropped no longer count.
#[derive(Debug)]
pub(super) struct Held {
    owner: Owner,
    bytes: Mutex<u64>,
    shares: SenderLimits,
}

/// The reason why an upload exceeds its share.
#[derive(Debug, PartialEq, Eq)]
enum LimitReached {
    /// The upload can never be added.
    Ever,
    After(Duration),
    /// The upload can be added when other uploads of this owner end, at an unknown time.
    Others,
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts { table: Mutex::default(), start: Instant::now() }
    }
}

impl SenderLimits {
    /// Returns how many uploads one client can have in progress.
    pub fn each(&self) -> usize {
        self.limits.each.min(self.limits.in_all)
    }

    pub fn new(limits: ShareLimits, accounts: Arc<Accounts>) -> SenderLimits {
        SenderLimits { limits, accounts }
    }

    /// Begins an upload, if the limit allows it.
    pub fn begin(&self, owner: Owner) -> Result<UploadSlot, Error> {
        let mut table = lock(&self.accounts.table);
        if table.under_way >= self.limits.in_all {
            return Err(busy("Too many uploads are in progress right now.", 10));
        }
        let owner = table.known(owner, self.slice(self.accounts.start.elapsed()));
        let account = table.owners.entry(owner.clone()).or_default();
        if account.under_way >= self.limits.each {
            return Err(busy("You have too many uploads in progress right now.", 10));
        }
        account.under_way += 1;
        table.under_way += 1;
        drop(table);
        Ok(UploadSlot { owner, accounts: Arc::clone(&self.accounts) })
    }

    /// Reserves this many bytes for a file, until it is stored.
    pub fn hold(&self, owner: Owner, bytes: u64) -> Result<Held, Error> {
        let owner = match self.limits.quota {
            Some(_) => lock(&self.accounts.table).known(owner, self.slice(self.accounts.start.elapsed())),
            None => owner,
        };
        let held = Held { owner, bytes: Mutex::new(0), shares: self.clone() };
        held.have(bytes)?;
        Ok(held)
    }

    fn slice(&self, now: Duration) -> u64 {
        let Some((_, over)) = self.limits.quota else { return 0 };
        u64::try_from(now.as_nanos() / slice_length(over)).unwrap_or(u64::MAX)
    }

    /// Reserves more bytes, if they fit.
    fn more(&self, owner: &Owner, bytes: u64, now: Duration) -> Result<(), LimitReached> {
        let Some((most, over)) = self.limits.quota else { return Ok(()) };
        if bytes > most {
            return Err(LimitReached::Ever);
        }
        let slice = self.slice(now);
        let mut table = lock(&self.accounts.table);
        let account = table.owners.entry(owner.clone()).or_default();
        account.forget(slice);
        let mut taken = account.held.saturating_add(account.added()).saturating_add(bytes);
        if taken <= most {
            account.held += bytes;
            return Ok(());
        }
        for (slice, added) in &account.added {
            taken -= added;
            if taken <= most {
                let forgotten = u128::from(slice + SLICES + 1) * slice_length(over);
                let wait = forgotten.saturating_sub(now.as_nanos());
                return Err(LimitReached::After(Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))));
            }
        }
        Err(LimitReached::Others)
    }

    /// Counts `stored` of the `held` bytes as added, and releases the others.
    fn settle(&self, owner: &Owner, held: u64, stored: u64, now: Duration) {
        if self.limits.quota.is_none() {
            return;
        }
        let slice = self.slice(now);
        let mut table = lock(&self.accounts.table);
        let Some(account) = table.owners.get_mut(owner) else { return };
        account.held = account.held.saturating_sub(held);
        match account.added.back_mut() {
            _ if stored == 0 => {}
            Some((last, added)) if *last == slice => *added = added.saturating_add(stored),
            _ => account.added.push_back((slice, stored)),
        }
        table.drop_empty(owner, slice);
    }

    fn error(&self, beyond: &LimitReached) -> Error {
        let (bytes, over) = self.limits.quota.unwrap_or_default();
        let each = format!("Each client can add {} per {}", in_units(bytes), in_words(over));
        let (what, wait) = match beyond {
            LimitReached::Ever => return Error::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{each}; this is longer.")),
            LimitReached::After(wait) => (format!("try again in {}", in_words(*wait)), wait.as_secs() + 1),
            LimitReached::Others => ("your other uploads use the rest".to_owned(), 60),
        };
        let error = Error::new(StatusCode::TOO_MANY_REQUESTS, format!("{each}: {what}."));
        error.with_header(header::RETRY_AFTER, wait)
    }
}

fn slice_length(over: Duration) -> u128 {
    (over.as_nanos() / u128::from(SLICES)).max(1)
}

impl Table {
    /// Returns the owner of the account, after creating it if there is room.
    fn known(&mut self, owner: Owner, slice: u64) -> Owner {
        if self.owners.len() >= MAX_OWNERS && !self.owners.contains_key(&owner) {
            if self.looked != slice {
                self.looked = slice;
                self.owners.retain(|_, account| {
                    account.forget(slice);
                    !account.is_empty()
                });
            }
            if self.owners.len() >= MAX_OWNERS {
                return Owner::Others;
            }
        }
        owner
    }

    fn drop_empty(&mut self, owner: &Owner, slice: u64) {
        if let Some(account) = self.owners.get_mut(owner) {
            account.forget(slice);
            if account.is_empty() {
                self.owners.remove(owner);
            }
        }
    }
}

impl Account {
    /// Drops slices that have expired.
    fn forget(&mut self, slice: u64) {
        while self.added.front().is_some_and(|(then, _)| then + SLICES < slice) {
            self.added.pop_front();
        }
    }

    fn added(&self) -> u64 {
        self.added.iter().fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    fn is_empty(&self) -> bool {
        self.under_way == 0 && self.held == 0 && self.added.is_empty()
    }
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        let mut table = lock(&self.accounts.table);
        table.under_way -= 1;
        if let Some(account) = table.owners.get_mut(&self.owner) {
            account.under_way -= 1;
            if account.is_empty() {
                table.owners.remove(&self.owner);
            }
        }
    }
}

impl Held {
    /// Extends the reservation to this many bytes for the file.
    ///
    /// # Errors
    /// 413 if it exceeds the whole quota, 429 if it exceeds the rest of it.
    pub fn have(&self, bytes: u64) -> Result<(), Error> {
        self.reach(bytes).map_err(|beyond| self.shares.error(&beyond))
    }

    fn reach(&self, bytes: u64) -> Result<(), LimitReached> {
        let wanted = bytes.max(BLOCK);
        let mut held = lock(&self.bytes);
        if wanted > *held {
            // The message contains the whole length if it exceeds the whole quota.
            if self.shares.limits.quota.is_some_and(|(most, _)| wanted > most) {
                return Err(LimitReached::Ever);
            }
            self.shares.more(&self.owner, wanted - *held, self.shares.accounts.start.elapsed())?;
            *held = wanted;
        }
        Ok(())
    }

    /// Records that a file of this many bytes is stored.
    pub fn keep(&self, bytes: u64) {
        let mut held = lock(&self.bytes);
        let stored = bytes.max(BLOCK);
        let of_held = stored.min(*held);
        *held -= of_held;
        self.shares.settle(&self.owner, of_held, stored, self.shares.accounts.start.elapsed());
    }

    /// Sets the reservation to this many bytes, for another file.
    ///
    /// # Errors
    /// The errors of [`have`](Held::have). Then the reservation stays.
    pub fn reuse(&self, bytes: u64) -> Result<(), Error> {
        self.have(bytes)?;
        self.give_back_beyond(bytes.max(BLOCK));
        Ok(())
    }

    /// Releases what is reserved beyond this many bytes.
    pub fn give_back_beyond(&self, bytes: u64) {
        let mut held = lock(&self.bytes);
        let beyond = held.saturating_sub(bytes);
        *held -= beyond;
        self.shares.settle(&self.owner, beyond, 0, self.shares.accounts.start.elapsed());
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.give_back_beyond(0);
    }
}

/// Writes as long as the sender's share has room. An error has the response, as for a body whose length is in its head.
pub(super) struct ChargedBytes {
    pub held: Arc<Held>,
    pub to: Writer,
}

impl io::Write for ChargedBytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.to.to.written().saturating_add(bytes.len() as u64);
        self.held.have(length)?;
        self.to.write(bytes).map_err(|error| io_error(error).into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);

    fn shares(in_all: usize, each: usize, quota: Option<(u64, Duration)>) -> SenderLimits {
        SenderLimits::new(ShareLimits { in_all, each, quota }, Arc::default())
    }

    fn owner(name: &str) -> Owner {
        Owner::User(name.to_owned())
    }

    fn len(shares: &SenderLimits) -> usize {
        lock(&shares.accounts.table).owners.len()
    }

    #[test]
    fn uploads_are_limited_in_total_and_per_owner() {
        let shares = shares(3, 2, None);
        let begin = |name| shares.begin(owner(name));
        let (one, two) = (begin("ada"), begin("ada"));
        assert!(one.is_ok() && two.is_ok());
        let refused = begin("ada").unwrap_err();
        assert_eq!(refused.status(), 503);
        assert!(refused.message().is_some_and(|text| text.contains("You have")), "{refused}");
        let bob = begin("bob");
        assert!(bob.is_ok());
        assert!(begin("eve").unwrap_err().message().is_some_and(|text| !text.contains("You have")));
        drop(one);
        assert!(begin("ada").is_ok());
        drop((two, bob));
        assert_eq!((len(&shares), lock(&shares.accounts.table).under_way), (0, 0));
    }

    /// No period of a day has more than the quota of a day. The error states when there is room again.
    #[test]
    fn quota_usage_expires() {
        let shares = shares(9, 9, Some((100, DAY)));
        let ada = owner("ada");
        let more = |bytes, now| shares.more(&ada, bytes, now);
        assert_eq!(more(101, Duration::ZERO), Err(LimitReached::Ever));
        assert_eq!(more(60, Duration::ZERO), Ok(()));
        assert_eq!(
            more(41, Duration::ZERO),
            Err(LimitReached::Others),
            "space held by uploads in progress has no known end"
        );
        shares.settle(&ada, 60, 60, HOUR / 2);
        assert_eq!(more(41, HOUR / 2), Err(LimitReached::After(DAY + HOUR / 2)));
        assert_eq!(more(40, HOUR * 5), Ok(()));
        shares.settle(&ada, 40, 40, HOUR * 5);
        assert_eq!(more(1, HOUR * 10), Err(LimitReached::After(HOUR * 15)));
        assert_eq!(
            more(61, HOUR * 10),
            Err(LimitReached::After(HOUR * 20)),
            "61 bytes fit only once the second addition has also expired"
        );
        assert_eq!(more(1, DAY + HOUR / 2), Err(LimitReached::After(HOUR / 2)));
        assert_eq!(more(60, DAY + HOUR), Ok(()));
        shares.settle(&ada, 60, 0, DAY + HOUR); // the upload was cut off
        assert_eq!(shares.more(&owner("bob"), 100, HOUR), Ok(()), "another owner has a quota of its own");
        shares.settle(&owner("bob"), 100, 0, HOUR);
        assert_eq!(len(&shares), 1);
        shares.settle(&ada, 0, 0, DAY * 3);
        assert_eq!(len(&shares), 0, "an owner without data has no entry");
    }

    #[test]
    fn held_quota_is_kept_or_returned() {
        let shares = shares(9, 9, Some((100_000, DAY)));
        let taken = || {
            let table = lock(&shares.accounts.table);
            table.owners.get(&owner("ada")).map_or((0, 0), |account| (account.held, account.added()))
        };
        let held = shares.hold(owner("ada"), 50_000).unwrap();
        assert_eq!(taken(), (50_000, 0));
        held.keep(10_000);
        held.keep(1); // counts as one block
        assert_eq!(taken(), (50_000 - 14_096, 14_096));
        assert!(held.have(85_904).is_ok());
        assert_eq!(held.have(85_905).unwrap_err().status(), 429);
        assert_eq!(held.have(100_001).unwrap_err().status(), 413);
        assert_eq!(shares.hold(owner("ada"), 0).unwrap_err().status(), 429);
        drop(held);
        assert_eq!(taken(), (0, 14_096));
        drop(self::shares(9, 9, None).hold(owner("ada"), u64::MAX).unwrap());
    }

    #[test]
    fn a_flood_of_owners_shares_one_account() {
        let shares = shares(usize::MAX, usize::MAX, Some((1 << 20, DAY)));
        let of = |number: u32| Owner::new(Some(std::net::Ipv4Addr::from_bits(number).into()), None);
        for number in 0..MAX_OWNERS as u32 {
            shares.hold(of(number), 0).unwrap().keep(0);
        }
        assert_eq!(len(&shares), MAX_OWNERS);
        let others: Vec<_> = (0..3).map(|number| shares.hold(of(u32::MAX - number), 0).unwrap()).collect();
        assert!(others.iter().all(|held| held.owner == Owner::Others) && len(&shares) == MAX_OWNERS + 1);
        assert_eq!(shares.hold(of(7), 0).unwrap().owner, of(7), "a known owner keeps its entry");
        let later = Duration::from_secs(4 * 86_400);
        assert_eq!(lock(&shares.accounts.table).known(of(u32::MAX), shares.slice(later)), of(u32::MAX));
    }
}
