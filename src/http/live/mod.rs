//! What waits for something other than its client, and holds no worker meanwhile: server-sent events, bytes pushed by
//! other threads, long polls. Made by handlers, given to `response`; sent and waited for by `connection`.

mod broadcast; // one message, many listeners

mod event; // server-sent events
mod pushed; // bytes from any thread to one client
mod signal; // something has changed

pub use broadcast::{Broadcast, Listener, Overflow};
pub use event::ServerEvent;
pub use pushed::{Channel, SendError, Sender};
pub(crate) use pushed::{Pushed, PushedBody, PushedEnd};
pub(crate) use signal::{Registered, Wait};
pub use signal::{Signal, Ticket};
