//! Conditional requests (RFC 9110, section 13): If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since,
//! If-Range. Called by `sending` for any GET or HEAD with a 200 response, and by handlers that modify resources. Pure
//! functions of fields and validators.

use std::time::SystemTime;

use http::{Method, StatusCode, header};

use crate::http::date;
use crate::http::error::Error;
use crate::http::etag::{self, ETag, ETagRef};
use crate::http::request::Request;

/// The validators of a resource's current state: see [`Request::check_preconditions`].
///
/// ```
/// use modest::{ETag, Validators};
///
/// let current = Validators::new().with_etag(ETag::strong("v7")?);
/// assert!(current.etag.is_some() && current.last_modified.is_none());
/// # Ok::<(), modest::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Validators {
    /// The entity tag of the resource, if it has one.
    pub etag: Option<ETag>,
    /// When the resource was last modified, if known.
    pub last_modified: Option<SystemTime>,
}

impl Validators {
    /// Creates the state of a resource that exists and has no validators.
    pub fn new() -> Validators {
        Validators::default()
    }

    /// Sets the entity tag.
    pub fn with_etag(mut self, etag: ETag) -> Validators {
        self.etag = Some(etag);
        self
    }

    /// Sets the time of the last change.
    pub fn with_last_modified(mut self, time: SystemTime) -> Validators {
        self.last_modified = Some(time);
        self
    }
}

impl Request {
    /// Evaluates the request's preconditions against the `current` state of the resource (`None`: it does not exist).
    ///
    /// For handlers that modify resources: call it before the change. (GET and HEAD don't need it: the preconditions
    /// are evaluated when a 200 with validators is sent.) All conditions of RFC 9110, section 13.2.2, are evaluated in
    /// that order.
    ///
    /// ```
    /// use modest::{ETag, Method, Request, Validators};
    ///
    /// let current = Validators::new().with_etag(ETag::strong("v2")?);
    /// let put = Request::new(Method::PUT, "/notes/1")?.with_header("if-match", "\"v1\"");
    /// assert_eq!(put.check_preconditions(Some(&current)).unwrap_err().status(), 412); // modified by someone else since
    ///
    /// let create = Request::new(Method::PUT, "/notes/2")?.with_header("if-none-match", "*");
    /// assert!(create.check_preconditions(None).is_ok());
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 412 if a condition is false; for GET and HEAD, 304 if the client's copy is current. For other methods, an
    /// `If-None-Match` that can't be read is false if the resource exists.
    pub fn check_preconditions(&self, current: Option<&Validators>) -> Result<(), Error> {
        let state = current.map(|current| ValidatorsRef {
            etag: current.etag.as_ref().map(ETag::view),
            modified: current.last_modified.and_then(date::seconds),
        });
        match evaluate(self, state, self.now()) {
            Evaluation::Proceed => Ok(()),
            Evaluation::Failed => Err(precondition_failed()),
            Evaluation::NotModified => {
                let unchanged = Error::new(StatusCode::NOT_MODIFIED, "");
                match current.and_then(|current| current.etag.clone()) {
                    Some(tag) => Err(unchanged.with_header(header::ETAG, tag)),
                    None => Err(unchanged),
                }
            }
        }
    }

    /// Returns whether a field is a condition on a date that is not ignored.
    pub(crate) fn has_date(&self, field: &'static str) -> bool {
        single_date(self, field, self.now()).is_some()
    }
}

/// Returns whether a field of that name can change a 200 into 206, 304, 412 or 416. Most requests have no such field.
pub(crate) fn is_conditional_or_range(name: &[u8]) -> bool {
    name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(b"if-")) || name.eq_ignore_ascii_case(b"range")
}

pub(crate) fn precondition_failed() -> Error {
    Error::new(StatusCode::PRECONDITION_FAILED, "The resource is not in the state that the request expects.")
}

/// The validators of an existing resource.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ValidatorsRef<'a> {
    pub(crate) etag: Option<ETagRef<'a>>,
    /// In whole seconds, as HTTP dates are.
    pub(crate) modified: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evaluation {
    Proceed,
    /// 304: the client's copy is current.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates steps 1 to 4 of section 13.2.2. `current`: `None` if the resource does not exist.
pub(crate) fn evaluate(request: &Request, current: Option<ValidatorsRef<'_>>, now: SystemTime) -> Evaluation {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let modified = current.and_then(|state| state.modified);
    // (1) and (2): a date is evaluated only if there is no tag condition.
    match tag_condition(request, "if-match", current, etag::strong_match) {
        Some(false) => return Evaluation::Failed,
        Some(true) => {}
        None => {
            if let Some(modified) = modified
                && single_date(request, "if-unmodified-since", now).is_some_and(|date| modified > date)
            {
                return Evaluation::Failed;
            }
        }
    }
    // (3) and (4)
    match tag_condition(request, "if-none-match", current, etag::weak_match) {
        Some(true) if is_read => Evaluation::NotModified,
        Some(true) => Evaluation::Failed,
        // An unreadable condition fails: ignoring it could overwrite what the client wanted to keep.
        Some(false) if !is_read && current.is_some() && !are_tags(request, "if-none-match") => Evaluation::Failed,
        Some(false) => Evaluation::Proceed,
        None => match modified {
            Some(modified)
                if is_read && single_date(request, "if-modified-since", now).is_some_and(|date| modified <= date) =>
            {
                Evaluation::NotModified
            }
            _ => Evaluation::Proceed,
        },
    }
}

/// Returns whether If-Range (section 13.1.5) matches the current state or is absent (section 13.2.2, step 5).
pub(crate) fn check_if_range(request: &Request, current: ValidatorsRef<'_>, now: SystemTime) -> bool {
    let value = match request.only_line("if-range") {
        Ok(Some(value)) => value,
        Ok(None) => return true,
        Err(_) => return false,
    };
    if let Some(tag) = ETagRef::parse(value) {
        return current.etag.is_some_and(|known| etag::strong_match(&known, &tag));
    }
    // A date is a strong validator if its second had passed when the request arrived (section 8.8.2.2).
    let strong = |modified: &i64| date::seconds(now).is_some_and(|now| *modified < now);
    let said = date::parse(value, now).and_then(date::seconds);
    said.is_some() && said == current.modified.filter(strong)
}

/// Returns whether a tag of `If-Match` or `If-None-Match` matches the current state, or `None` if there is no such
/// field. All lines of the field are one list (section 5.3). After a malformed member, the rest of the line matches
/// nothing.
fn tag_condition(
    request: &Request,
    field: &'static str,
    current: Option<ValidatorsRef<'_>>,
    same: fn(&ETagRef<'_>, &ETagRef<'_>) -> bool,
) -> Option<bool> {
    let mut lines = request.header_all(field);
    let (first, second) = (lines.next()?, lines.next());
    let Some(current) = current else { return Some(false) };
    if first == b"*" && second.is_none() {
        return Some(true);
    }
    let Some(known) = current.etag else { return Some(false) };
    let mut lines = [first].into_iter().chain(second).chain(lines);
    Some(lines.any(|line| ETagList(line).any(|tag| same(&known, &tag))))
}

/// Returns whether all lines of a field are lists of entity tags.
fn are_tags(request: &Request, field: &'static str) -> bool {
    request.header_all(field).all(|line| {
        let mut list = ETagList(line);
        list.by_ref().for_each(drop);
        list.rest().is_empty()
    })
}

/// `#entity-tag` (sections 5.6.1 and 8.8.3); empty members are skipped. It ends before a malformed member.
struct ETagList<'a>(&'a [u8]);

impl<'a> ETagList<'a> {
    /// Returns the next member and all after it.
    fn rest(&self) -> &'a [u8] {
        let start = self.0.iter().position(|byte| !b" \t,".contains(byte));
        &self.0[start.unwrap_or(self.0.len())..]
    }
}

impl<'a> Iterator for ETagList<'a> {
    type Item = ETagRef<'a>;

    fn next(&mut self) -> Option<ETagRef<'a>> {
        let (tag, rest) = ETagRef::split(self.rest())?;
        let rest = rest.trim_ascii_start();
        // A tag is followed by a comma or the end.
        if !matches!(rest.first(), None | Some(b',')) {
            return None;
        }
        self.0 = rest;
        Some(tag)
    }
}

/// Returns the date of a field. A field that occurs more than once, or is malformed, is ignored (sections 13.1.3 and
/// 13.1.4).
fn single_date(request: &Request, field: &'static str, now: SystemTime) -> Option<i64> {
    date::parse(request.only_line(field).ok()??, now).and_then(date::seconds)
}

#[cfg(test)]
mod tests;
