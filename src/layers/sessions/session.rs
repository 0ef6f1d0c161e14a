//! The session of one request, for handlers. Changes are collected here and applied to the stored session afterwards.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::record::{Id, Record};
use crate::mutex::lock;
use crate::{Error, Request, Result, User, random};

/// The session of a browser, in a handler behind [`Sessions`](super::Sessions). Clones refer to the same session.
/// Changes are stored after the handler has returned, even if it returned an error. If it waits
/// ([`Response::wait_for`](crate::Response::wait_for)), they are stored after its last call, which sees them.
#[derive(Clone, Default)]
pub struct Session(Arc<Mutex<State>>);

type Change = Box<dyn Fn(&mut Record) + Send>;

#[derive(Default)]
struct State {
    /// `None` if nothing is stored yet.
    known: Option<Known>,
    loaded: Record,
    /// The session as the handler sees it, if that is different.
    changed: Option<Record>,
    changes: Vec<Change>,
    /// Messages that the response shows.
    shown: Vec<Value>,
    renews: bool,
    logs_in: bool,
    /// The session before it was ended.
    ended: Option<Known>,
}

/// A session that was stored when the request began.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) id: Id,
    pub(super) began: SystemTime,
}

pub(super) struct Changed {
    pub(super) ended: Option<Known>,
    pub(super) known: Option<Known>,
    /// For a login: the session as it was loaded.
    pub(super) loaded: Record,
    pub(super) renews: bool,
    pub(super) logs_in: bool,
    pub(super) changes: Vec<Change>,
}

impl State {
    fn record(&self) -> &Record {
        self.changed.as_ref().unwrap_or(&self.loaded)
    }

    fn changed_record(&mut self) -> &mut Record {
        self.changed.get_or_insert_with(|| self.loaded.clone())
    }

    fn change(&mut self, change: impl Fn(&mut Record) + Send + 'static) {
        change(self.changed_record());
        self.changes.push(Box::new(change));
    }

    /// Applies the changes to the loaded session. No message has been shown.
    fn apply_again(&mut self) {
        self.shown.clear();
        self.changed = None;
        if !self.changes.is_empty() {
            let record = self.changed.insert(self.loaded.clone());
            self.changes.iter().for_each(|change| change(record));
        }
    }
}

impl Session {
    /// Returns the session of this request.
    ///
    /// # Errors
    /// 500 if there is no layer [`Sessions`](super::Sessions) around the handler.
    pub fn of(request: &Request) -> Result<Session> {
        let missing =
            || Error::from("a handler needs a session, but there is no layer `Sessions` around it".to_owned());
        request.value::<Session>().map(|session| (*session).clone()).ok_or_else(missing)
    }

    /// Returns the value of this name, or `None` if there is none or it cannot be read as a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = lock(&self.0).record().values.get(name).cloned();
        value.and_then(|value| serde_json::from_value(value).ok())
    }

    /// Sets the value of this name.
    ///
    /// # Errors
    /// 500 if it cannot be serialized as JSON, or is nested too deeply (about 125 levels) to be read back.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let (name, value) = (name.to_owned(), serde_json::to_value(value)?);
        if !Record::can_have(&name, &value) {
            return Err(Error::from(format!("the value {name:?} of a session is nested too deeply")));
        }
        self.change(move |record| _ = record.values.insert(name.clone(), value.clone()));
        Ok(())
    }

    /// Removes the value of this name.
    pub fn remove(&self, name: &str) {
        let name = name.to_owned();
        self.change(move |record| _ = record.values.remove(&name));
    }

    /// Returns the user who has logged in. The layer also puts the user into the request ([`Request::user`], the access
    /// log).
    pub fn user(&self) -> Option<User> {
        let user = lock(&self.0).record().own.get("user")?.clone();
        let mut found = User::new(user.get("name")?.as_str()?);
        for role in user.get("roles")?.as_array()? {
            found = found.with_role(role.as_str()?);
        }
        for (name, value) in user.get("claims")?.as_object()? {
            found = found.with_claim(name, value.as_str()?);
        }
        Some(found)
    }

    /// Logs this user in. The session gets a new id, so that a client that knew the old id is not logged in (session
    /// fixation). The session's age starts again. Its values stay.
    pub fn log_in(&self, user: User) {
        let roles: Vec<&str> = user.roles().collect();
        let claims: serde_json::Map<String, Value> =
            user.claims().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let value = json!({ "name": user.name(), "roles": roles, "claims": claims });
        let mut state = lock(&self.0);
        (state.renews, state.logs_in) = (true, true);
        state.change(move |record| {
            record.own.insert("user".to_owned(), value.clone());
            record.own.remove("csrf");
        });
    }

    /// Ends the session with all its values. Values that are set afterwards, such as a [`flash`](Session::flash), are
    /// stored in a new session.
    pub fn log_out(&self) {
        let mut state = lock(&self.0);
        let ended = state.known.take().or(state.ended.take());
        *state = State { ended, ..State::default() };
    }

    /// Gives the session a new id. Call it when rights change; [`log_in`](Session::log_in) does so itself. The session
    /// keeps its age. Requests in progress save their changes for up to 10 minutes.
    pub fn renew(&self) {
        let mut state = lock(&self.0);
        state.renews = true;
        state.change(|_| {});
    }

    /// Adds a message for the next page.
    pub fn flash(&self, message: impl Into<String>) {
        let message = Value::from(message.into());
        self.change(move |record| record.flash(message.clone()));
    }

    /// Takes the messages for this page out of the session. They stay there if this is not a page: if the method is
    /// HEAD, or the handler returns an error or waits ([`Response::wait_for`](crate::Response::wait_for)).
    pub fn take_flashes(&self) -> Vec<String> {
        let mut state = lock(&self.0);
        if !state.record().own.contains_key("flashes") {
            return Vec::new();
        }
        let flashes = state.changed_record().take_flashes();
        let texts = flashes.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        state.shown.extend(flashes);
        texts
    }

    /// Returns the session's token for forms, which a page of another site cannot read: see
    /// [`Csrf`](crate::layers::Csrf). The first call creates it. It is stored only in a session that has something
    /// else, because `Csrf` does not check tokens of requests without a session.
    ///
    /// # Errors
    /// 500 if the system has no random bytes.
    pub fn csrf_token(&self) -> Result<String> {
        if let Some(token) = self.known_csrf_token() {
            return Ok(token);
        }
        let token = random::id()?;
        let value = Value::from(token.clone());
        self.change(move |record| _ = record.own.insert("csrf".to_owned(), value.clone()));
        Ok(token)
    }

    pub(crate) fn known_csrf_token(&self) -> Option<String> {
        lock(&self.0).record().own.get("csrf")?.as_str().map(str::to_owned)
    }

    /// Returns whether the browser has sent the cookie of a session that has not ended, or gets such a cookie with this
    /// response.
    pub(crate) fn exists(&self) -> bool {
        lock(&self.0).known.is_some()
    }

    pub(super) fn existing(known: Known, loaded: Record) -> Session {
        Session(Arc::new(Mutex::new(State { known: Some(known), loaded, ..State::default() })))
    }

    /// Returns the stored session to which the changes belong.
    pub(super) fn known(&self) -> Option<Known> {
        lock(&self.0).known.clone()
    }

    pub(super) fn had_user(&self) -> bool {
        lock(&self.0).loaded.has_user()
    }

    /// Replaces the session as it was loaded by its present state. The changes of this request stay.
    pub(super) fn reload(&self, loaded: Record) {
        let mut state = lock(&self.0);
        state.loaded = loaded;
        state.apply_again();
    }

    /// Called when the handler waits: no page has shown any messages yet.
    pub(super) fn keep_flashes(&self) {
        lock(&self.0).apply_again();
    }

    /// Returns the changes to store, or `None` if there are none. `shows`: whether the response is a page.
    pub(super) fn take_changes(&self, shows: bool) -> Option<Changed> {
        let mut state = lock(&self.0);
        let shown = std::mem::take(&mut state.shown);
        if shows && !shown.is_empty() {
            state.changes.push(Box::new(move |record| record.remove_flashes(&shown)));
        }
        if state.changes.is_empty() && state.ended.is_none() {
            return None;
        }
        Some(Changed {
            ended: state.ended.take(),
            known: state.known.clone(),
            loaded: if state.logs_in { state.loaded.clone() } else { Record::default() },
            renews: std::mem::take(&mut state.renews),
            logs_in: std::mem::take(&mut state.logs_in),
            changes: std::mem::take(&mut state.changes),
        })
    }

    /// Returns the stored session, if its last use was before this time.
    pub(super) fn unused_since(&self, time: SystemTime) -> Option<Known> {
        let state = lock(&self.0);
        state.known.as_ref().filter(|_| state.loaded.seen() < time).cloned()
    }

    pub(super) fn saved(&self, known: Known) {
        lock(&self.0).known = Some(known);
    }

    fn change(&self, change: impl Fn(&mut Record) + Send + 'static) {
        lock(&self.0).change(change);
    }
}

// Leaves out the id and the values.
opaque!(Session);
