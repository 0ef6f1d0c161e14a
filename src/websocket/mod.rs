//! WebSocket (RFC 6455), written with the crate's public API: `raw::Conversation`, as a protocol of one's own would be.
//! The frames are `tungstenite`'s, over each turn's bytes. Each module uses only those below it.
//!
//! A client costs no worker and no thread while nothing is said: a [`WebSocketHandler`] is called with a permit, as
//! request handlers are, once a message is whole. Any thread may send, by clones of the client's [`Socket`].
//!
//! ```
//! use modest::websocket::{self, Message, Socket, WebSocketHandler};
//! use modest::{Request, Response, Result, Routes};
//!
//! struct Echo;
//!
//! impl WebSocketHandler for Echo {
//!     fn message(&mut self, message: Message, socket: &Socket) -> Result<()> {
//!         Ok(socket.send(message)?)
//!     }
//! }
//!
//! fn echo(_: &(), request: &Request) -> Result<Response> {
//!     websocket::accept(request, Echo) // in a page: new WebSocket("wss://this.host/echo")
//! }
//!
//! let app = Routes::new().get("/echo", echo).serve(());
//! # let _ = app;
//! ```
//!
//! What is done by itself: pings are answered and sent, messages in fragments are put together, text is checked to be
//! UTF-8, the closing handshake is made from either side, and clients are told 1001 when the server shuts down.
//! Compression (`permessage-deflate`, RFC 7692) is not offered: a message is at most as large as it says.

mod settings; // limits, subprotocols, origins

mod handshake; // from HTTP to WebSocket
mod session; // one client's conversation

mod codec; // frames, in the bytes of one turn
mod handler; // what is called

mod socket; // what any thread may say to one client

mod message; // what is said

pub use handler::WebSocketHandler;
pub use message::{Close, Message};
pub use settings::{WebSocket, accept};
pub use socket::{Socket, broadcast};
