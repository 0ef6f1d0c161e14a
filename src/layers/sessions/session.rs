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

struct Change {
    apply: Box<dyn Fn(&mut Record) + Send>,
    /// Whether the page shows what it takes, so that a response without the page does not.
    is_shown: bool,
}

#[derive(Default)]
struct State {
    /// `None` if nothing is stored yet.
    id: Option<Id>,
    /// The session as the handler sees it.
    record: Record,
    had_user: bool,
    /// Changes that are not stored yet.
    changes: Vec<Change>,
    renews: bool,
    begins: bool,
    /// The id of the session before it was ended.
    ended: Option<Id>,
}

/// Changes to be stored.
pub(super) struct Changed {
    pub(super) ended: Option<Id>,
    pub(super) id: Option<Id>,
    /// Whether the session gets a new id.
    pub(super) renews: bool,
    /// Whether a user has logged in: then its age starts again.
    pub(super) begins: bool,
    /// The session as the handler saw it.
    pub(super) seen: Record,
    changes: Vec<Change>,
}

impl Changed {
    /// Returns whether the handler has changed something. Otherwise only the time of the last use is stored.
    pub(super) fn is_by_handler(&self) -> bool {
        !self.changes.is_empty() || self.ended.is_some()
    }

    pub(super) fn apply_to(&self, record: &mut Record) {
        self.changes.iter().for_each(|change| (change.apply)(record));
    }
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
    /// 500 if it cannot be serialized as JSON, or is nested more than about 120 levels deep.
    pub fn insert<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let (name, value) = (name.to_owned(), serde_json::to_value(value)?);
        if !Record::can_have(&name, &value) {
            return Err(format!("the value {name:?} is nested too deeply for a session").into());
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
        lock(&self.0).begins = true;
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

    /// Gives the session a new id. Call it when rights change; [`log_in`](Session::log_in) does so itself. The session's
    /// age does not start again.
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

    /// Takes the messages for this page out of the session. A response to HEAD, which shows no page, and a handler that
    /// [waits](crate::Response::wait_for) leave them there.
    pub fn take_flashes(&self) -> Vec<String> {
        let flashes = lock(&self.0).record.own.get("flashes").cloned();
        let Some(Value::Array(flashes)) = flashes else { return Vec::new() };
        let count = flashes.len();
        self.change_shown(move |record| match record.own.get_mut("flashes") {
            Some(Value::Array(all)) if all.len() > count => _ = all.drain(..count),
            _ => _ = record.own.remove("flashes"),
        });
        flashes.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// Returns the session's token for forms, which a page of another site cannot read: see
    /// [`Csrf`](crate::layers::Csrf). All pages of a session have the same token. Before there is a session, each call
    /// creates one, which is stored only if something else is: `Csrf` does not check tokens of requests without a
    /// session.
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
        let state = lock(&self.0);
        match state.record.own.get("csrf") {
            Some(token) => token.as_str().map(str::to_owned),
            None => state.id.as_ref().filter(|_| !state.renews).map(Id::token),
        }
    }

    /// Returns whether the browser has sent the cookie of a session that has not ended, or gets such a cookie with this
    /// response.
    pub(crate) fn exists(&self) -> bool {
        lock(&self.0).id.is_some()
    }

    pub(super) fn existing(id: Id, record: Record) -> Session {
        let had_user = record.has_user();
        Session(Arc::new(Mutex::new(State { id: Some(id), record, had_user, ..State::default() })))
    }

    pub(super) fn id(&self) -> Option<Id> {
        lock(&self.0).id.clone()
    }

    /// Returns whether a user was logged in when the session was loaded.
    pub(super) fn had_user(&self) -> bool {
        lock(&self.0).had_user
    }

    /// Puts what the handler has taken for a page back, because it is called again. Returns whether there was anything;
    /// then the session has to be loaded again.
    pub(super) fn put_back(&self) -> bool {
        let mut state = lock(&self.0);
        let before = state.changes.len();
        state.changes.retain(|change| !change.is_shown);
        state.changes.len() < before
    }

    /// Sets the stored session, to which the handler's changes are applied.
    pub(super) fn set_stored(&self, mut record: Record) {
        let mut state = lock(&self.0);
        state.changes.iter().for_each(|change| (change.apply)(&mut record));
        state.record = record;
    }

    /// Returns `None` if there is nothing to store. `has_page`: the client gets the page.
    pub(super) fn take_changes(
        &self,
        has_page: bool,
        is_to_be_touched: impl FnOnce(&Record) -> bool,
    ) -> Option<Changed> {
        let mut state = lock(&self.0);
        if !has_page {
            state.changes.retain(|change| !change.is_shown);
        }
        let is_old = state.id.is_some() && is_to_be_touched(&state.record);
        if state.changes.is_empty() && state.ended.is_none() && !is_old {
            return None;
        }
        Some(Changed {
            ended: state.ended.take(),
            id: state.id.clone(),
            renews: std::mem::take(&mut state.renews),
            begins: std::mem::take(&mut state.begins),
            seen: state.record.clone(),
            changes: std::mem::take(&mut state.changes),
        })
    }

    pub(super) fn saved(&self, id: Id) {
        lock(&self.0).id = Some(id);
    }

    fn change(&self, apply: impl Fn(&mut Record) + Send + 'static) {
        self.add(Change { apply: Box::new(apply), is_shown: false });
    }

    fn change_shown(&self, apply: impl Fn(&mut Record) + Send + 'static) {
        self.add(Change { apply: Box::new(apply), is_shown: true });
    }

    fn add(&self, change: Change) {
        let mut state = lock(&self.0);
        (change.apply)(&mut state.record);
        state.changes.push(change);
    }
}

// Leaves out the id and the values.
opaque!(Session);
