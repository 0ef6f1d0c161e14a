//! The valid outcomes of a case.

use std::collections::HashMap;

use super::app::{Line, content, sum};
use super::client::{Answer, End, Seen, is_cut, tail};
use super::{Behaviour, BodyKind, Case, Ending, Exchange, Reading, ResponseKind};
use crate::server::shows_resets;

pub fn judge(case: &Case, seen: &Seen, calls: &HashMap<usize, Vec<String>>, lines: &[Line]) {
    let told =
        || format!("{calls:?}\n{lines:?}\n{:?}\nand {} bytes, then {:?}", seen.responses, seen.rest.len(), seen.end);
    for (id, exchange) in case.exchanges.iter().enumerate() {
        let called = calls.get(&id).map_or(&[][..], |called| called);
        assert!(called.iter().filter(|word| *word == "called").count() <= 1, "exchange {id}: called twice\n{}", told());
        if is_cut(exchange.body) && arrives_first(exchange.reading) {
            assert!(called.is_empty(), "exchange {id}: called without its body\n{}", told());
        }
        if let Some(sum_seen) = called.iter().find(|word| *word != "called" && *word != "unread") {
            assert_eq!(*sum_seen, sent(exchange), "exchange {id}: what the handler saw\n{}", told());
        }
    }
    assert!(seen.responses.len() <= case.exchanges.len(), "more responses than requests\n{}", told());
    for (id, (exchange, answer)) in case.exchanges.iter().zip(&seen.responses).enumerate() {
        let why = wrong(case, exchange, answer, calls.contains_key(&id));
        assert!(why.is_none(), "exchange {id}: {why:?}\n{}", told());
    }
    let why = incomplete(case, seen);
    assert!(why.is_none(), "{why:?}\n{}", told());
    for id in 0..case.exchanges.len() {
        let of_this: Vec<&Line> = lines.iter().filter(|line| line.id == id).collect();
        let why = wrong_line(&of_this, seen.responses.get(id), calls.contains_key(&id));
        assert!(why.is_none(), "exchange {id}: {why:?}\n{}", told());
    }
}

/// The error in the lines of the access log for one request.
fn wrong_line(lines: &[&Line], answer: Option<&Answer>, was_called: bool) -> Option<String> {
    match (lines, answer) {
        ([], None) if !was_called => None,
        ([_], None) => None,
        ([line], Some(answer)) if line.status != answer.status => Some(format!("{} in the log", line.status)),
        ([line], Some(answer)) if line.bytes == answer.body.len() as u64 => None,
        ([_], Some(answer)) if answer.until_close && !shows_resets() => None,
        ([line], Some(answer)) => Some(format!("{} of {} bytes in the log", line.bytes, answer.body.len())),
        (lines, _) => Some(format!("{} lines in the log", lines.len())),
    }
}

/// Whether the unread rest of a chunked body is so long that the connection ends.
fn is_left(exchange: &Exchange) -> bool {
    let left = match exchange.reading {
        Reading::Half => exchange.length / 2,
        Reading::Unread => exchange.length,
        _ => 0,
    };
    exchange.body == BodyKind::Chunked && left > 60_000
}

/// Whether the handler is called only after the body has arrived.
fn arrives_first(reading: Reading) -> bool {
    matches!(reading, Reading::Whole | Reading::Ignored | Reading::Saved)
}

fn sent(exchange: &Exchange) -> String {
    match exchange.body {
        BodyKind::None => sum(b""),
        _ => sum(&content(exchange.length)),
    }
}

fn switches(exchange: &Exchange) -> bool {
    matches!(exchange.response, ResponseKind::Upgrade | ResponseKind::Switch)
}

/// The error in a response that looks complete.
fn wrong(case: &Case, exchange: &Exchange, answer: &Answer, was_called: bool) -> Option<String> {
    let is_whole = |body: &[u8]| *body == content(exchange.size);
    match answer.status {
        101 if switches(exchange) => None,
        200 if exchange.response == ResponseKind::Broken && answer.until_close => {
            Some("a broken stream looks whole".into()).filter(|_| shows_resets())
        }
        200 if exchange.response == ResponseKind::Broken && exchange.size > 1 => {
            Some("a broken stream looks whole".into())
        }
        200 if !was_called => Some("no handler was called".into()),
        200 if answer.until_close && !shows_resets() && content(exchange.size).starts_with(&answer.body) => None,
        200 if !is_whole(&answer.body) => Some(format!("{} bytes of {} look whole", answer.body.len(), exchange.size)),
        200 => None,
        500 if matches!(exchange.response, ResponseKind::Panic) => None,
        500 if exchange.response == ResponseKind::Broken => None, // it broke before its first byte
        400 if is_cut(exchange.body) && case.behaviour != Behaviour::Stalling => None,
        408 if case.behaviour == Behaviour::Stalling => None, // a busy machine can make any of its requests late
        // an upgrade takes no body
        400 if switches(exchange) && matches!(exchange.reading, Reading::Half | Reading::Unread) => None,
        status => Some(format!("a {status}")),
    }
}

/// A missing response without a valid reason.
fn incomplete(case: &Case, seen: &Seen) -> Option<String> {
    if case.behaviour == Behaviour::Vanishing {
        return None;
    }
    let last = case.exchanges.last().expect("at least one exchange");
    let arrived = seen.responses.len();
    let ended_before = seen.responses.last().is_some_and(|answer| answer.says_close() || answer.status == 101);
    // The end of an incomplete response has to be visible.
    if let Some(answer) = seen.responses.last().filter(|answer| answer.status == 101) {
        let id = arrived - 1;
        if !tail(id).starts_with(&seen.rest) && !is_cut(last.body) {
            return Some(format!("the new protocol said {:?} ({answer:?})", seen.rest.escape_ascii().to_string()));
        }
        let is_whole = seen.rest == tail(id) && seen.end == Some(End::Clean);
        let is_free = case.ending == Ending::Shutdown || case.behaviour == Behaviour::NeverReading || is_cut(last.body);
        return (!is_whole && !is_free).then(|| format!("the new protocol said {} bytes", seen.rest.len()));
    }
    if ended_before && !seen.rest.is_empty() {
        return Some("bytes after the last response".into());
    }
    // A body without a length may turn out to be too long to be read after its response.
    let was_too_long = arrived > 0 && is_left(&case.exchanges[arrived - 1]);
    // A reset also destroys unread parts of earlier responses.
    let is_reset = case.exchanges[arrived..].iter().any(|exchange| exchange.response == ResponseKind::Broken);
    let may_break = was_too_long
        || is_reset && seen.end == Some(End::Reset)
        || case.exchanges.get(arrived).is_some_and(|exchange| {
            matches!(exchange.response, ResponseKind::Broken | ResponseKind::Panic) || is_cut(exchange.body)
        });
    if arrived == case.exchanges.len() || ended_before {
        let clean = seen.end != Some(End::Reset) || case.behaviour == Behaviour::NeverReading;
        return (!clean && seen.sent_all && arrived == case.exchanges.len())
            .then(|| "a reset behind whole responses".into());
    }
    let explained = may_break
        || case.ending == Ending::Shutdown
        || case.ending == Ending::Idle && seen.rest.is_empty()
        || case.behaviour == Behaviour::NeverReading;
    (!explained).then(|| format!("{arrived} responses to {} requests", case.exchanges.len()))
}
