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

    /// Returns the key in the store: a hash, from which the id cannot be computed.
    pub(super) fn key(&self) -> String {
        hexadecimal(&Sha256::digest(self.0.as_bytes()))
    }

    /// Returns the token for forms: equal for all pages of the session, because two of them can be created at once.
    pub(super) fn token(&self) -> String {
        hexadecimal(&Sha256::digest(format!("token for forms {}", self.0).as_bytes())[..16])
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
        let time = |name| record.get(name)?.as_u64().filter(|seconds| *seconds < LATEST);
        Some(Record { created: time("created")?, seen: time("seen")?, values, own })
    }

    /// Creates the record under the key of a session that has got another id, and now has this key.
    pub(super) fn moved_to(key: &str, now: SystemTime) -> Record {
        let own = Map::from_iter([("moved_to".to_owned(), Value::from(key))]);
        Record { own, ..Record::new(now) }
    }

    /// Returns the key to which the session has moved.
    pub(super) fn moved(&self) -> Option<&str> {
        self.own.get("moved_to")?.as_str()
    }

    /// Returns whether this value can be stored: serde_json reads only values up to some depth.
    pub(super) fn can_have(name: &str, value: &Value) -> bool {
        let values = Map::from_iter([(name.to_owned(), value.clone())]);
        Record::from_bytes(&Record { values, ..Record::default() }.to_bytes()).is_some()
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

    /// Takes over the values of another session, but not its times.
    pub(super) fn set_values(&mut self, other: &Record) {
        (self.values, self.own) = (other.values.clone(), other.own.clone());
    }

    /// Keeps the token of the pages that a session had under this id.
    pub(super) fn keep_token(&mut self, id: &Id) {
        self.own.entry("csrf").or_insert_with(|| id.token().into());
    }

    pub(super) fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.created)
    }

    pub(super) fn seen(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.seen)
    }

    /// Records the time of a use. `begins`: the maximum age also starts again.
    pub(super) fn touch(&mut self, now: SystemTime, begins: bool) {
        self.seen = seconds(now).max(self.seen);
        if begins {
            self.created = seconds(now);
        }
    }
}

/// A time of thousands of years, in seconds. A later one is damaged.
const LATEST: u64 = 1 << 40;

/// Returns the number of the part that contains this key, if all keys are divided into up to 256 equal parts.
pub(super) fn part(key: &str, parts: usize) -> usize {
    key.get(..2).and_then(|digits| usize::from_str_radix(digits, 16).ok()).unwrap_or_default() % parts
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
