//! The programs that are compared, on tokio without a framework: `bench-tokio ADDRESS` is a WebSocket that sends each text back, and with the path
//! `/chat` to all; `bench-tokio ADDRESS udp` sends each datagram back.

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::broadcast::{self, Sender};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

async fn serve(stream: TcpStream, chat: Sender<Utf8Bytes>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut everybody = false;
    #[allow(clippy::result_large_err)] // the type is tungstenite's
    let look = |request: &Request, response: Response| -> std::result::Result<Response, ErrorResponse> {
        everybody = request.uri().path() == "/chat";
        Ok(response)
    };
    let socket = accept_hdr_async(stream, look).await?;
    if everybody { talk(socket, chat).await } else { echo(socket).await }
}

async fn echo(mut socket: WebSocketStream<TcpStream>) -> Result<()> {
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn talk(socket: WebSocketStream<TcpStream>, chat: Sender<Utf8Bytes>) -> Result<()> {
    let mut news = chat.subscribe();
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
            let _ = chat.send(text);
        }
    }
    sending.abort();
    Ok(())
}

async fn datagrams(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address).await?;
    let mut buffer = [0; 8192];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..length], from).await?;
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    if std::env::args().nth(2).as_deref() == Some("udp") {
        return tokio::spawn(async move { datagrams(&address).await }).await.map_err(io::Error::other)?;
    }
    let (listener, chat) = (TcpListener::bind(address).await?, broadcast::channel(64).0);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve(stream, chat.clone()));
    }
}
