//! The programs that are compared, with axum: `bench-axum ADDRESS DATABASE`. Queries run on the runtime's own threads, which is the fastest form.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use futures_util::{Stream, StreamExt};
use tokio::sync::broadcast::{self, Sender};
use tokio_stream::wrappers::BroadcastStream;
use tower_http::compression::CompressionLayer;
use work::{Bill, HELLO, MESSAGE, Order, World};

struct App {
    page: String,
    news: Sender<String>,
    chat: Sender<Utf8Bytes>,
}

type Shared = State<Arc<App>>;

async fn order(Json(order): Json<Order>) -> Json<Bill> {
    Json(order.bill())
}

async fn queries(RawQuery(query): RawQuery) -> Json<Vec<World>> {
    Json(work::worlds(work::count_in(&query.unwrap_or_default())))
}

async fn events(State(app): Shared) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let news = BroadcastStream::new(app.news.subscribe());
    Sse::new(news.filter_map(async |text| Some(Ok(Event::default().data(text.ok()?)))))
}

async fn publish(State(app): Shared, text: String) -> StatusCode {
    let _ = app.news.send(text); // nobody listens
    StatusCode::NO_CONTENT
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn chat(socket: WebSocket, app: Arc<App>) {
    use futures_util::SinkExt;
    let mut news = app.chat.subscribe();
    let (mut to, mut from) = socket.split();
    let sending = tokio::spawn(async move {
        while let Ok(text) = news.recv().await {
            if to.send(Message::Text(text)).await.is_err() {
                return;
            }
        }
    });
    while let Some(Ok(message)) = from.next().await {
        if let Message::Text(text) = message {
            let _ = app.chat.send(text);
        }
    }
    sending.abort();
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let app = Arc::new(App { page: work::page(), news: broadcast::channel(64).0, chat: broadcast::channel(64).0 });
    let page = get(async |State(app): Shared| Html(app.page.clone())).layer(CompressionLayer::new());
    let router = Router::new()
        .route("/plaintext", get(async || HELLO))
        .route("/json", get(async || Json(MESSAGE)))
        .route("/order", post(order))
        .route("/query", get(async || Json(work::world())))
        .route("/queries", get(queries))
        .route("/page", page)
        .route("/echo", get(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo).into_response()))
        .route(
            "/chat",
            get(async |State(app): Shared, upgrade: WebSocketUpgrade| upgrade.on_upgrade(|socket| chat(socket, app))),
        )
        .route("/events", get(events))
        .route("/publish", post(publish))
        .with_state(app);
    let listener = tokio::net::TcpListener::bind(address).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await
}
