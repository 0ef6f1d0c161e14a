//! A URL shortener over SQLite, with sessions, messages that are shown once, and a form that no other site can send.

use std::env;
use std::sync::{Arc, Mutex};

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use rusqlite::{Connection, OptionalExtension};
use serde_json::json;
use tower_http::limit::RequestBodyLimitLayer;
use tower_sessions::cookie::SameSite;
use tower_sessions::{MemoryStore, Session, SessionManagerLayer};
use url::Url;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS links (code TEXT PRIMARY KEY, url TEXT NOT NULL, visits INTEGER NOT NULL)";
const ADD: &str = "INSERT INTO links VALUES (lower(hex(randomblob(4))), ?1, 0) RETURNING code";
const FOLLOW: &str = "UPDATE links SET visits = visits + 1 WHERE code = ?1 RETURNING url";
const PAGE: &str = include_str!("../../../../shortener/src/page.html");

#[derive(Clone)]
struct Database(Arc<Mutex<Connection>>);

#[derive(serde::Deserialize)]
struct NewLink {
    url: Url,
    #[serde(default)]
    csrf_token: String,
}

/// An error: its status, and a text that is sent.
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Failed {
        eprintln!("{error}");
        Failed(StatusCode::INTERNAL_SERVER_ERROR, String::new())
    }
}

impl Database {
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Failed> {
        let Database(connection) = self.clone();
        Ok(tokio::task::spawn_blocking(move || work(&connection.lock().unwrap())).await??)
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

async fn token(session: &Session) -> Result<String, Failed> {
    if let Some(token) = session.get("csrf").await? {
        return Ok(token);
    }
    let token = format!("{:032x}", tower_sessions::session::Id::default().0.unsigned_abs());
    session.insert("csrf", &token).await?;
    Ok(token)
}

async fn list(State(database): State<Database>, session: Session) -> Result<Html<String>, Failed> {
    let mut rows = String::new();
    for code in session.get::<Vec<String>>("codes").await?.unwrap_or_default() {
        let known = code.clone();
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let sql = "SELECT url, visits FROM links WHERE code = ?1";
        let (url, visits) = database.call(move |database| database.query_row(sql, [known], row)).await?;
        rows += &format!("<tr><td><a href=\"/{code}\">/{code}</a><td>{}<td>{visits}\n", escape(&url));
    }
    let flash: String = session.remove("flash").await?.unwrap_or_default();
    let page = PAGE.replace("{token}", &token(&session).await?).replace("{rows}", &rows);
    Ok(Html(page.replace("{flash}", &escape(&flash))))
}

/// Reads a form or JSON, by the type of the body.
async fn new_link(request: Request) -> Result<(NewLink, bool), Failed> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/x-www-form-urlencoded") {
        let link = Form::from_request(request, &()).await;
        return link.map(|Form(link)| (link, true)).map_err(|e: FormRejection| Failed(e.status(), e.body_text()));
    }
    let link = Json::from_request(request, &()).await;
    link.map(|Json(link)| (link, false)).map_err(|e: JsonRejection| Failed(e.status(), e.body_text()))
}

async fn add(
    State(database): State<Database>,
    session: Session,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Failed> {
    let (NewLink { url, csrf_token }, is_form) = new_link(request).await?;
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    let is_own = matches!(site, Some("same-origin" | "none"));
    if is_form && !is_own && session.get::<String>("csrf").await?.is_none_or(|token| token != csrf_token) {
        return Err(Failed(StatusCode::FORBIDDEN, "another site has sent this form".into()));
    }
    if !["http", "https"].contains(&url.scheme()) || url.as_str().len() > 2000 {
        let message = "url: expected http:// or https://, and at most 2000 bytes";
        return Err(Failed(StatusCode::UNPROCESSABLE_ENTITY, message.into()));
    }
    let text = url.to_string();
    let code: String = database.call(move |database| database.query_row(ADD, [text], |row| row.get(0))).await?;
    if !is_form {
        let link = Json(json!({ "code": code, "url": url, "visits": 0 }));
        return Ok((StatusCode::CREATED, [(header::LOCATION, format!("/{code}"))], link).into_response());
    }
    session.insert("flash", format!("/{code} is made.")).await?;
    let codes: Vec<String> = session.get("codes").await?.unwrap_or_default();
    session.insert("codes", [vec![code], codes].concat()).await?;
    Ok(Redirect::to("/").into_response())
}

async fn follow(State(database): State<Database>, Path(code): Path<String>) -> Result<Response, Failed> {
    let url = database.call(move |database| database.query_row(FOLLOW, [code], |row| row.get(0)).optional()).await?;
    let url: String = url.ok_or_else(|| Failed(StatusCode::NOT_FOUND, String::new()))?;
    Ok((StatusCode::FOUND, [(header::LOCATION, &*url), (header::CACHE_CONTROL, "no-store")]).into_response())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = env::args().collect();
    let [_, address, path] = &words[..] else { return Err("expected ADDRESS FILE".into()) };
    let database = Connection::open(path)?;
    database.execute(TABLE, [])?;
    // In memory: tower-sessions has no store in files.
    let sessions = SessionManagerLayer::new(MemoryStore::default()).with_secure(false).with_same_site(SameSite::Lax);
    let app = Router::new()
        .route("/", get(list))
        .route("/links", post(add))
        .route("/{code}", get(follow))
        .with_state(Database(Arc::new(Mutex::new(database))))
        .layer(sessions)
        .layer(RequestBodyLimitLayer::new(16 << 10));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("Serving HTTP at http://{}/ ...", listener.local_addr()?);
    let stop = async { _ = tokio::signal::ctrl_c().await };
    Ok(axum::serve(listener, app).with_graceful_shutdown(stop).await?)
}
