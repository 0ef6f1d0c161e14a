//! WebSocket (RFC 6455): a `raw::Conversation`, as your own protocol would be. From other levels it imports only public
//! items (`tests/floors.rs` checks this), and it calls a few methods of `Request` that are internal to the crate.
//! `tungstenite` reads and writes the frames. Each module uses only those below it.
//!
//! An idle client holds no worker and no thread. A [`WebSocketHandler`] is called with a permit, like request handlers,
//! once a message is complete. Any thread can send, with clones of the client's [`Socket`].
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
//! let app = Routes::new().get("/echo", echo).with_state(());
//! # let _ = app;
//! ```
//!
//! The module sends and responds to pings, joins fragments, checks that text is UTF-8, performs the closing handshake
//! from either side, and closes clients with 1001 when the server shuts down. Compression (`permessage-deflate`, RFC
//! 7692) is not supported, so a message is never larger than its frames.

mod settings; // limits, subprotocols, origins
mod handshake; // from HTTP to WebSocket
mod session; // one client's conversation
mod codec; // frames, in the bytes of one turn
mod handler; // the user's handler
mod socket; // sending from any thread
mod message; // messages and closes

pub use handler::WebSocketHandler;
pub use message::{Close, Message};
pub use settings::{WebSocket, accept};
pub use socket::{Socket, broadcast};
