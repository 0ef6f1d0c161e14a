//! The session of one request, for handlers. Changes are collected here and applied to the stored session afterwards.

use std::sync::{Arc, Mutex};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::missing_layer;
use super::record::{Id, Record};
use crate::mutex::lock;
use crate::{Request, Result, User, random};

/// The session of a browser, in a handler behind [`Sessions`](super::Sessions). Clones refer to the same session.
/// Changes are stored after the handler has returned, even if it returned an error.
#[derive(Clone, Default)]
pub struct Session(Arc<Mutex<State>>);

type Change = Box<dyn Fn(&mut Record) + Send>;

#[derive(Default)]
struct State {
    /// `None` if nothing is stored yet.
    id: Option<Id>,
    /// The session as the handler sees it.
    record: Record,
    /// Changes that are not stored yet.
    changes: Vec<Change>,
    renews: bool,
    /// The id of the session before it was ended.
    ended: Option<Id>,
}

/// Changes to be stored.
pub(super) struct Changed {
    pub(super) ended: Option<Id>,
    pub(super) id: Option<Id>,
    pub(super) renews: bool,
    pub(super) changes: Vec<Change>,
}

impl Session {
    /// Returns the session of this request.
    ///
    /// # Errors
    /// 500 if there is no layer [`Sessions`](super::Sessions) around the handler.
    pub fn of(request: &Request) -> Result<Session> {
        request.value::<Session>().map(|session| (*session).clone()).ok_or_else(missing_layer)
    }

    /// Returns the value of this name, or `None` if there is none or it cannot be read as a `T`.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let value = lock(&self.0).record.values.get(name).cloned();
        value.and_then(|value| serde_json::from_value(value).ok())
    }

    /// Sets the value of this name.
    ///
    /// # Errors
    /// 500 if it cannot be serialized as JSON.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let (name, value) = (name.to_owned(), serde_json::to_value(value)?);
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
        let user = lock(&self.0).record.own.get("user")?.clone();
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
        self.renew();
        let roles: Vec<&str> = user.roles().collect();
        let claims: serde_json::Map<String, Value> =
            user.claims().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let value = json!({ "name": user.name(), "roles": roles, "claims": claims });
        self.change(move |record| {
            record.own.insert("user".to_owned(), value.clone());
            record.own.remove("csrf");
        });
    }

    /// Ends the session with all its values. Values that are set afterwards, such as a [`flash`](Session::flash), are
    /// stored in a new session.
    pub fn log_out(&self) {
        let mut state = lock(&self.0);
        let ended = state.id.take().or(state.ended.take());
        *state = State { ended, ..State::default() };
    }

    /// Gives the session a new id. Call it when rights change; [`log_in`](Session::log_in) does so itself.
    pub fn renew(&self) {
        lock(&self.0).renews = true;
        self.change(|_| {});
    }

    /// Adds a message for the next page.
    pub fn flash(&self, message: impl Into<String>) {
        let message = Value::from(message.into());
        self.change(move |record| match record.own.get_mut("flashes") {
            Some(Value::Array(flashes)) => flashes.push(message.clone()),
            _ => _ = record.own.insert("flashes".to_owned(), Value::Array(vec![message.clone()])),
        });
    }

    /// Takes the messages for this page out of the session.
    pub fn take_flashes(&self) -> Vec<String> {
        let flashes = lock(&self.0).record.own.get("flashes").cloned();
        let Some(Value::Array(flashes)) = flashes else { return Vec::new() };
        let count = flashes.len();
        self.change(move |record| match record.own.get_mut("flashes") {
            Some(Value::Array(all)) if all.len() > count => _ = all.drain(..count),
            _ => _ = record.own.remove("flashes"),
        });
        flashes.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Returns the session's token for forms, which a page of another site cannot read: see
    /// [`Csrf`](crate::layers::Csrf). The first call creates it. It is stored only in a session that has something else,
    /// because `Csrf` does not check tokens of requests without a session.
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
        lock(&self.0).record.own.get("csrf")?.as_str().map(str::to_owned)
    }

    /// Returns whether the browser has sent the cookie of a session that has not ended, or gets such a cookie with this
    /// response.
    pub(crate) fn exists(&self) -> bool {
        lock(&self.0).id.is_some()
    }

    pub(super) fn existing(id: Id, record: Record) -> Session {
        Session(Arc::new(Mutex::new(State { id: Some(id), record, ..State::default() })))
    }

    /// Returns `None` if there is nothing to store.
    pub(super) fn take_changes(&self, is_to_be_touched: impl FnOnce(&Record) -> bool) -> Option<Changed> {
        let mut state = lock(&self.0);
        let is_old = state.id.is_some() && is_to_be_touched(&state.record);
        if state.changes.is_empty() && state.ended.is_none() && !is_old {
            return None;
        }
        Some(Changed {
            ended: state.ended.take(),
            id: state.id.clone(),
            renews: std::mem::take(&mut state.renews),
            changes: std::mem::take(&mut state.changes),
        })
    }

    pub(super) fn saved(&self, id: Id) {
        lock(&self.0).id = Some(id);
    }

    fn change(&self, change: impl Fn(&mut Record) + Send + 'static) {
        let mut state = lock(&self.0);
        change(&mut state.record);
        state.changes.push(Box::new(change));
    }
}

// Leaves out the id and the values.
opaque!(Session);
