//! A relay for two backends, with a cache: event streams and WebSockets pass through.

use std::collections::HashMap;
use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const LARGEST: usize = 1 << 20;
const MOST: usize = 256;

#[derive(Clone)]
struct Relay {
    first: String,
    second: String,
    client: reqwest::Client,
    cache: Arc<Mutex<HashMap<String, Kept>>>,
}

#[derive(Clone)]
struct Kept {
    fields: HeaderMap,
    body: Bytes,
    begun: Instant,
    lifetime: Duration,
}

/// Connection-specific fields (RFC 9110, section 7.6.1).
fn without_hops(fields: &HeaderMap) -> HeaderMap {
    let named = fields.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        named.flat_map(|value| value.split(',')).filter_map(|name| name.trim().to_ascii_lowercase().parse().ok()).collect();
    let own = ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];
    let kept = fields.iter().filter(|(name, _)| !own.contains(&name.as_str()) && !named.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn lifetime(response: &reqwest::Response) -> Option<Duration> {
    let has = |name: HeaderName| response.headers().contains_key(name);
    let control = response.headers().get(header::CACHE_CONTROL)?.to_str().ok()?;
    let word = |name: &str| control.split(',').map(str::trim).find_map(|word| word.strip_prefix(name));
    let is_shared = word("public").is_some() && word("no-store").is_none() && word("no-cache").is_none();
    let seconds = word("s-maxage=").or(word("max-age="))?.parse().ok()?;
    (response.status() == 200 && is_shared && !has(header::VARY) && !has(header::SET_COOKIE) && !has(header::AGE))
        .then(|| Duration::from_secs(seconds))
}

impl Relay {
    fn keep(&self, key: String, kept: Kept) {
        let mut cache = self.cache.lock().unwrap();
        if cache.len() >= MOST {
            cache.retain(|_, kept| kept.begun.elapsed() < kept.lifetime);
        }
        if cache.len() < MOST {
            cache.insert(key, kept);
        }
    }

    fn url(&self, request: &Request) -> String {
        let path = request.uri().path();
        let backend = if path == "/api" || path.starts_with("/api/") { &self.first } else { &self.second };
        format!("{backend}{}", request.uri().path_and_query().map_or("/", |target| target.as_str()))
    }
}

async fn join(client: WebSocket, url: String, fields: HeaderMap) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut request = url.replacen("http", "ws", 1).into_client_request()?;
    for name in [header::COOKIE, header::AUTHORIZATION] {
        request.headers_mut().extend(fields.get(&name).map(|value| (name, value.clone())));
    }
    let (upstream, _) = tokio_tungstenite::connect_async(request).await?;
    let ((mut to_client, mut from_client), (mut to, mut from)) = (client.split(), upstream.split());
    let upwards = async {
        while let Some(Ok(message)) = from_client.next().await {
            to.send(match message {
                Message::Text(text) => Frame::text(text.as_str()),
                Message::Binary(bytes) => Frame::binary(bytes),
                _ => continue,
            })
            .await?;
        }
        to.close().await
    };
    let downwards = async {
        while let Some(Ok(message)) = from.next().await {
            to_client
                .send(match message {
                    Frame::Text(text) => Message::text(text.as_str()),
                    Frame::Binary(bytes) => Message::binary(bytes),
                    _ => continue,
                })
                .await?;
        }
        to_client.close().await
    };
    let (up, down) = tokio::join!(upwards, downwards);
    up?;
    Ok(down?)
}

async fn relay(
    State(relay): State<Relay>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let url = relay.url(&request);
    if let Ok(socket) = socket {
        let fields = request.headers().clone();
        return socket.on_upgrade(async move |client| _ = join(client, url, fields).await);
    }
    let fields = request.headers();
    let is_plain = *request.method() == Method::GET
        && [header::AUTHORIZATION, header::RANGE, header::CACHE_CONTROL].iter().all(|name| !fields.contains_key(name));
    let key = format!("{:?} {url}", fields.get(header::HOST));
    let kept = relay.cache.lock().unwrap().get(&key).filter(|kept| kept.begun.elapsed() < kept.lifetime).cloned();
    if let Some(kept) = kept.filter(|_| is_plain) {
        return (kept.fields, [(header::AGE, kept.begun.elapsed().as_secs().to_string())], kept.body).into_response();
    }
    let (parts, body) = request.into_parts();
    let mut fields = without_hops(&parts.headers);
    fields.insert("x-forwarded-for", client.ip().to_string().parse().expect("an address"));
    let body = reqwest::Body::wrap_stream(body.into_data_stream());
    let answer = match relay.client.request(parts.method, url).headers(fields).body(body).send().await {
        Ok(answer) => answer,
        Err(error) if error.is_timeout() => return StatusCode::GATEWAY_TIMEOUT.into_response(),
        Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    let (status, fields, lifetime) = (answer.status(), without_hops(answer.headers()), lifetime(&answer));
    let Some(lifetime) = lifetime.filter(|_| is_plain) else {
        return (status, fields, Body::from_stream(answer.bytes_stream())).into_response();
    };
    let (kept, begun, mut copy) = (fields.clone(), Instant::now(), Vec::new());
    let mut pieces = Box::pin(answer.bytes_stream());
    let body = async_stream(move |sender| async move {
        while let Some(piece) = pieces.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                broken => return drop(sender.send(broken).await),
            };
            copy.extend_from_slice(&piece[..piece.len().min((LARGEST + 1).saturating_sub(copy.len()))]);
            if sender.send(Ok(piece)).await.is_err() {
                return; // the client has disconnected
            }
        }
        if copy.len() <= LARGEST {
            relay.keep(key, Kept { fields: kept, body: copy.into(), begun, lifetime });
        }
    });
    (status, fields, body).into_response()
}

/// A body that a task sends.
fn async_stream<F: Future<Output = ()> + Send + 'static>(
    work: impl FnOnce(tokio::sync::mpsc::Sender<reqwest::Result<Bytes>>) -> F,
) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(work(sender));
    Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = env::args().collect();
    let [_, address, first, second] = &words[..] else { return Err("expected ADDRESS URL URL".into()) };
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).read_timeout(Duration::from_secs(60));
    let relay_state =
        Relay { first: first.clone(), second: second.clone(), client: client.build()?, cache: Arc::default() };
    let app = Router::new().fallback(relay).with_state(relay_state);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("Serving HTTP at http://{}/ ...", listener.local_addr()?);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::select! {
        served = async { axum::serve(listener, service).await } => served?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(())
}
