//! A connection that leaves the engine: its socket is no longer polled, and becomes blocking.

use std::io;

use super::super::client::Client;
use super::super::input::Input;
use super::super::protocol::{ContainedCodec, Guarded};
use super::super::sys::{Registry, Socket};
use super::{Connection, Registered, UnderWay};

/// The parts of a connection that leave the engine.
pub struct Parts<R> {
    pub conversation: Guarded,
    pub socket: Socket,
    pub client: Client,
    /// Bytes that have arrived and were not used.
    pub unread: Vec<u8>,
    /// Whether the client has closed its sending side.
    pub ended: bool,
    pub registration: R,
    /// The codec above the socket, and the opened bytes that were not used.
    pub codec: Option<(ContainedCodec, Input)>,
}

impl<R: Registered> Connection<R> {
    /// Takes the connection out of the engine.
    ///
    /// # Errors
    /// If the kernel cannot deregister the socket or make it blocking.
    pub fn take_apart(self, registry: &Registry) -> io::Result<Parts<R>> {
        let Connection { transport, client, conversation, under_way, ended, registration, .. } = self;
        let socket = transport.into_socket(registry)?;
        let under_way = under_way.map_or_else(UnderWay::default, |under_way| *under_way);
        let Some(carrier) = under_way.carrier else {
            let unread = under_way.unused.into_vec();
            return Ok(Parts { conversation, socket, client, unread, ended, registration, codec: None });
        };
        let plain = carrier.opened(&under_way.unused, ended);
        let (unread, ended) = (carrier.unread.into_vec(), carrier.ended);
        let codec = Some((carrier.codec, plain));
        Ok(Parts { conversation, socket, client, unread, ended, registration, codec })
    }
}
