//! Entry points for the fuzz targets: modules of `http` as `connection` uses them, with plain types.
//! Built only with `--cfg fuzzing`, which `cargo fuzz` sets; no logic of its own.
#![allow(missing_docs)]

use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use super::date;
use super::request::framing::{self, BodyLength};
use super::request::head::{HeadLimits, HeadParser};
use super::request::incoming::{Incoming, Need};
use super::request::quotas::{BodyLimits, BodyQuotas};
use super::sending::range;

/// A parsed head, and its framing.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    pub length: usize,
    pub method: String,
    pub target: String,
    pub path: String,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
    /// `Err`: the framing is rejected with this status.
    pub framing: Result<Framing, u16>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Framing {
    /// `None`: chunked.
    pub body: Option<u64>,
    pub keep_alive: bool,
    pub expects_continue: bool,
}

/// Parses a head that arrives in steps, up to each of these positions. Returns `Ok(None)` if more bytes are needed, and
/// `Err` with the status of a rejection.
pub fn head(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> Result<Option<Head>, u16> {
    let limits = HeadLimits { line: 1024, head: 4096, fields: 20, bare_lf: false };
    let mut parser = HeadParser::default();
    for end in ends {
        match parser.parse(&bytes[..end], &limits) {
            Ok(None) => {}
            Ok(Some((length, head))) => return Ok(Some(shown(length, &head))),
            Err(rejection) => return Err(rejection.status.as_u16()),
        }
    }
    Ok(None)
}

fn shown(length: usize, head: &super::request::head::Head) -> Head {
    let framing = framing::parse(head).map_err(|rejection| rejection.status.as_u16());
    Head {
        length,
        method: head.method().to_string(),
        target: head.target().to_owned(),
        path: head.path().to_owned(),
        fields: head.fields().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        framing: framing.map(|framing| Framing {
            body: match framing.body {
                BodyLength::None => Some(0),
                BodyLength::Known(length) => Some(length),
                BodyLength::Chunked => None,
            },
            keep_alive: framing.keep_alive,
            expects_continue: framing.expects_continue,
        }),
    }
}

/// Decodes a chunked body that arrives in steps, up to each of these positions. Returns how many bytes are used, and
/// the body; `Ok(None)` if more bytes are needed, and `Err` with the status of a rejection.
pub fn chunked(
    bytes: &[u8],
    ends: impl IntoIterator<Item = usize>,
    memory: usize,
) -> Result<Option<(usize, Vec<u8>)>, u16> {
    let limits = BodyLimits {
        body: 1 << 20,
        memory,
        folder: Arc::new("/dev/shm".into()),
        quotas: BodyQuotas::new(1 << 20, 1 << 20),
    };
    let status = |rejection: super::rejection::Rejection| rejection.status.as_u16();
    let mut incoming = Incoming::new(BodyLength::Chunked, None, &limits).map_err(status)?;
    let mut used = 0;
    for end in ends {
        loop {
            let (count, need) = incoming.feed(&bytes[used..end], &limits).map_err(status)?;
            used += count;
            match need {
                Need::Input => break,
                Need::Spool => incoming.spool(&limits).map_err(|error| error.status().as_u16())?,
                Need::Nothing => {
                    let body = incoming.finish();
                    let body = body.bytes().expect("a readable body").into_owned();
                    return Ok(Some((used, body)));
                }
            }
        }
    }
    Ok(None)
}

/// Returns the ranges to send. `None`: the whole body; an empty list: 416.
pub fn range(field: &[u8], length: u64) -> Option<Vec<Range<u64>>> {
    match range::parse(field, length) {
        range::RequestedRange::Whole => None,
        range::RequestedRange::Parts(parts) => Some(parts),
        range::RequestedRange::Unsatisfiable => Some(Vec::new()),
    }
}

pub fn read_date(text: &[u8], now: SystemTime) -> Option<i64> {
    date::parse(text, now).and_then(date::seconds)
}

pub fn write_date(time: SystemTime) -> Option<String> {
    date::text(time)
}
