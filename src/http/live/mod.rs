//! Responses that wait for something other than their client, without a worker: server-sent events, bytes pushed by
//! other threads, long polls. Created by handlers, passed to `response`, sent by `connection`.

mod broadcast; // one message, many listeners
mod event; // server-sent events
mod pushed; // bytes from any thread to one client
mod sender; // the sender of these bytes
mod signal; // a notification for long polls
mod tee; // a function that copies a body

pub use broadcast::{Broadcast, Listener, Overflow};
pub use event::ServerEvent;
pub(crate) use pushed::{AtShutdown, Pushed, PushedBody, PushedEnd, Taken};
pub use pushed::{ChannelOptions, SendError};
pub use sender::{Sender, Unsent};
#[cfg(feature = "proxy")]
pub(crate) use signal::BackendWait;
pub(crate) use signal::{PassedOn, Registered, Wait};
pub use signal::{Signal, Signals, Ticket};
pub(crate) use tee::{HasAll, Tee};
