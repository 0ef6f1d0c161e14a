//! Floor 1: clients. Bytes, time and threads; no HTTP.

mod client; // who is there
mod conversation; // the stair: what the engine asks of a protocol
mod input; // bytes not yet used
mod output; // pieces to write

pub use client::Client;
pub use conversation::{Conversation, Event, IntoProtocol, Next, Protocol, Raw, Stage, Turn};
pub use input::Input;
pub use output::{Output, Piece, SharedBytes};
