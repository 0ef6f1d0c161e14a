//! The stored form of a session, as JSON, and the id by which a browser finds its session.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{Result, random};

/// A random id of 128 bits: the value of the cookie.
#[derive(Clone)]
pub(super) struct Id(String);

impl Id {
    pub(super) fn random() -> Result<Id> {
        Ok(Id(random::id()?))
    }

    /// Returns `None` for a text that cannot be an id.
    pub(super) fn parse(text: &str) -> Option<Id> {
        let is_one = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_one.then(|| Id(text.to_owned()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// Returns the number of the part that contains the id, if all ids are divided into up to 256 equal parts.
    pub(super) fn part(&self, parts: usize) -> usize {
        usize::from_str_radix(&self.0[..2], 16).unwrap_or_default() % parts
    }

    /// Returns the key in the store: a hash, from which the id cannot be computed.
    pub(super) fn key(&self) -> String {
        Sha256::digest(self.0.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The values of a session, by name: values of the program, and of this module.
#[derive(Clone, Default)]
pub(super) struct Record {
    created: u64,
    seen: u64,
    pub(super) values: Map<String, Value>,
    pub(super) own: Map<String, Value>,
}

impl Record {
    pub(super) fn new(now: SystemTime) -> Record {
        Record { created: seconds(now), seen: seconds(now), ..Record::default() }
    }

    /// Returns `None` if the bytes are damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Record> {
        let Value::Object(mut record) = serde_json::from_slice(bytes).ok()? else { return None };
        let mut map = |name| match record.remove(name) {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        };
        let (values, own) = (map("values")?, map("own")?);
        Some(Record { created: record.get("created")?.as_u64()?, seen: record.get("seen")?.as_u64()?, values, own })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let Record { created, seen, values, own } = self;
        json!({ "created": created, "seen": seen, "values": values, "own": own }).to_string().into_bytes()
    }

    /// Returns whether a new session has to be stored: a token alone needs no session, because without one no token is
    /// checked.
    pub(super) fn is_worth_storing(&self) -> bool {
        !self.values.is_empty() || self.own.keys().any(|name| name != "csrf")
    }

    pub(super) fn has_user(&self) -> bool {
        self.own.contains_key("user")
    }

    pub(super) fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.created)
    }

    pub(super) fn seen(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.seen)
    }

    /// Records the time of a use. `begins`: the maximum age also starts again.
    pub(super) fn touch(&mut self, now: SystemTime, begins: bool) {
        self.seen = seconds(now);
        if begins {
            self.created = seconds(now);
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
