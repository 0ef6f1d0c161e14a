//! What follows on a connection after its first conversation: after a handshake, a PROXY header or an upgrade. A
//! conversation passes it to its `Turn`; `connection` carries it out.

use super::super::client::Client;
use super::super::live::LivePlace;
use super::{Conversation, Layer};

/// The conversation that follows on a connection, given to [`Turn::hand_over`](crate::raw::Turn::hand_over).
#[non_exhaustive]
pub struct Handover {
    /// The conversation that follows.
    pub conversation: Box<dyn Conversation>,
    /// The client, if more is known about it now. `None`: unchanged.
    pub client: Option<Client>,
    /// The layer that the bytes pass through. `None`: unchanged.
    pub layer: Option<Box<dyn Layer>>,
    pub(in super::super) place: Option<LivePlace>,
}

impl Handover {
    /// Continues the connection with this conversation.
    pub fn to(conversation: Box<dyn Conversation>) -> Handover {
        Handover { conversation, client: None, layer: None, place: None }
    }

    /// Sets the client, as learned from a certificate or from the header of a proxy.
    pub fn with_client(mut self, client: Client) -> Handover {
        self.client = Some(client);
        self
    }

    /// Passes all further bytes through this layer, including those that have arrived and are unused.
    pub fn with_layer(mut self, layer: impl Layer + 'static) -> Handover {
        self.layer = Some(Box::new(layer));
        self
    }

    /// The conversation holds this place until it ends.
    pub(crate) fn with_place(mut self, place: Option<LivePlace>) -> Handover {
        self.place = place;
        self
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handover").field("client", &self.client).finish_non_exhaustive()
    }
}
