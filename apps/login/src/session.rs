//! Sessions without a table: what is known of a client stands in its own cookie, signed, so that it can read it but not
//! change it. Who logs out loses the cookie; a copy of it would be good until it ends.

use std::time::{SystemTime, UNIX_EPOCH};

use cookie::{Cookie, CookieJar, Key, SameSite, time::Duration};
use modest::{Request, Response, Result};
use serde::{Deserialize, Serialize};

const NAME: &str = "session";
const HOURS: u64 = 12;

pub struct Sessions {
    key: Key,
}

#[derive(Deserialize, Serialize)]
pub struct Session {
    pub user: Option<String>,
    /// Stands in each form.
    pub token: String,
    /// To be shown on the next page.
    pub flash: Option<String>,
    until: u64,
}

impl Sessions {
    /// With a key of its own: they end with the program. To outlive it, keep `Key::master` in a secret place.
    pub fn new() -> Sessions {
        Sessions { key: Key::generate() }
    }

    /// The session of this client; a new one if there is none, or if it isn't ours, or over.
    pub fn read(&self, request: &Request) -> Result<Session> {
        let mut jar = CookieJar::new();
        let cookie = request.cookie(NAME).map(|value| Cookie::parse_encoded(format!("{NAME}={value}")));
        cookie.and_then(|parsed| parsed.ok()).into_iter().for_each(|cookie| jar.add_original(cookie));
        let signed = jar.signed(&self.key).get(NAME);
        let session: Option<Session> = signed.and_then(|cookie| serde_json::from_str(cookie.value()).ok());
        session.filter(|session| session.until > now()).map_or_else(|| Session::new(None), Ok)
    }

    pub fn write(&self, session: &Session, response: Response) -> Response {
        let text = serde_json::to_string(session).expect("strings and numbers are JSON");
        let cookie = Cookie::build((NAME, text)).path("/").http_only(true).same_site(SameSite::Lax); // `secure` behind TLS
        let mut jar = CookieJar::new();
        jar.signed_mut(&self.key).add(cookie.max_age(Duration::hours(HOURS as i64)));
        jar.delta()
            .fold(response, |response, cookie| response.with_added_header("set-cookie", cookie.encoded().to_string()))
    }
}

impl Session {
    pub fn new(user: Option<String>) -> Result<Session> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let token = format!("{:032x}", u128::from_ne_bytes(random));
        Ok(Session { user, token, flash: None, until: now() + HOURS * 3600 })
    }

    pub fn with_flash(mut self, message: impl Into<String>) -> Session {
        self.flash = Some(message.into());
        self
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
