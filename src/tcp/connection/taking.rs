//! A connection that leaves the engine: its socket is no longer polled, and blocks.

use std::io;

use super::super::client::Client;
use super::super::protocol::Conversation;
use super::super::sys::{Registry, Socket};
use super::{Connection, Registered};

/// What is left of a connection outside the engine.
pub struct Parts<R> {
    pub conversation: Box<dyn Conversation>,
    pub socket: Socket,
    pub client: Client,
    /// What had arrived and was not used.
    pub unread: Vec<u8>,
    /// The client had sent its last byte.
    pub ended: bool,
    pub registration: R,
}

impl<R: Registered> Connection<R> {
    /// Take it out of the engine.
    ///
    /// # Errors
    /// If the kernel does not let it go.
    pub fn take_apart(self, registry: &Registry) -> io::Result<Parts<R>> {
        let Connection { transport, client, conversation, under_way, ended, registration, .. } = self;
        let conversation = conversation.ok_or_else(|| io::Error::other("nobody talks with this client"))?;
        let socket = transport.into_socket(registry)?;
        Ok(Parts {
            conversation,
            socket,
            client,
            unread: under_way.unwrap_or_default().unused.into_vec(),
            ended,
            registration,
        })
    }
}
