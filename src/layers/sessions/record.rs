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
        Sha256::digest(self.0.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A value in the store: a session, or the key of one that has a new id.
pub(super) enum Stored {
    Session(Record),
    /// The session has a new id, and this is its key. Requests in progress use it to save their changes.
    Moved(String),
}

impl Stored {
    /// Returns `None` if the bytes are damaged.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Stored> {
        let Value::Object(mut record) = serde_json::from_slice(bytes).ok()? else { return None };
        match record.remove("moved") {
            Some(Value::String(key)) => is_key(&key).then_some(Stored::Moved(key)),
            _ => Record::from_map(record).map(Stored::Session),
        }
    }

    /// Returns the bytes to store for a session that has moved to this key.
    pub(super) fn moved(key: &str) -> Vec<u8> {
        json!({ "moved": key }).to_string().into_bytes()
    }
}

/// Returns whether a store can have this key: 64 hexadecimal digits.
pub(super) fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Later times, in seconds, are damage: a span added to them could overflow.
const LATEST: u64 = 1 << 40;

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

    fn from_map(mut record: Map<String, Value>) -> Option<Record> {
        let mut map = |name| match record.remove(name) {
            Some(Value::Object(map)) => Some(map),
            _ => None,
        };
        let (values, own) = (map("values")?, map("own")?);
        let seconds = |name| record.get(name)?.as_u64().filter(|seconds| *seconds < LATEST);
        Some(Record { created: seconds("created")?, seen: seconds("seen")?, values, own })
    }

    /// Returns whether a record with this value could be read back. A value that is nested too deeply could not.
    pub(super) fn can_have(name: &str, value: &Value) -> bool {
        let mut record = Record::default();
        record.values.insert(name.to_owned(), value.clone());
        Stored::from_bytes(&record.to_bytes()).is_some()
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

    /// Records the time of a use, unless there was a later one. `begins`: the maximum age also starts again.
    pub(super) fn touch(&mut self, now: SystemTime, begins: bool) {
        self.seen = self.seen.max(seconds(now));
        if begins {
            self.created = seconds(now);
        }
    }

    pub(super) fn flash(&mut self, message: Value) {
        match self.own.get_mut("flashes") {
            Some(Value::Array(flashes)) => flashes.push(message),
            _ => _ = self.own.insert("flashes".to_owned(), Value::Array(vec![message])),
        }
    }

    pub(super) fn take_flashes(&mut self) -> Vec<Value> {
        match self.own.remove("flashes") {
            Some(Value::Array(flashes)) => flashes,
            _ => Vec::new(),
        }
    }

    /// Removes these messages, each once. Others, which requests have added since, stay.
    pub(super) fn remove_flashes(&mut self, shown: &[Value]) {
        let mut flashes = self.take_flashes();
        for message in shown {
            if let Some(at) = flashes.iter().position(|known| known == message) {
                flashes.remove(at);
            }
        }
        flashes.into_iter().for_each(|message| self.flash(message));
    }

    /// Gives the session a token for forms, if it has none.
    pub(super) fn add_csrf_token(&mut self) -> Result<()> {
        if !self.own.contains_key("csrf") {
            self.own.insert("csrf".to_owned(), random::id()?.into());
        }
        Ok(())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
