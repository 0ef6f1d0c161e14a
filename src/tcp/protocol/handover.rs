//! What a connection becomes once its first conversation is over: after a handshake, a header, an upgrade.
//! Given by a conversation through its `Turn`; done by `connection`.

use super::super::client::Client;
use super::super::live::LivePlace;
use super::{Conversation, Layer};

/// The conversation that follows on a connection, given to [`Turn::hand_over`](crate::raw::Turn::hand_over).
#[non_exhaustive]
pub struct Handover {
    /// The conversation from then on.
    pub conversation: Box<dyn Conversation>,
    /// The client as it is known by now. `None`: as before.
    pub client: Option<Client>,
    /// What its bytes pass through. `None`: the bytes stay as they are.
    pub layer: Option<Box<dyn Layer>>,
    pub(in super::super) place: Option<LivePlace>,
}

impl Handover {
    /// The connection goes on with this conversation.
    pub fn to(conversation: Box<dyn Conversation>) -> Handover {
        Handover { conversation, client: None, layer: None, place: None }
    }

    /// The client was made known: by a certificate, by the header of a proxy.
    pub fn with_client(mut self, client: Client) -> Handover {
        self.client = Some(client);
        self
    }

    /// From then on the bytes of the connection pass through this layer, those that have arrived and are unused included.
    pub fn with_layer(mut self, layer: impl Layer + 'static) -> Handover {
        self.layer = Some(Box::new(layer));
        self
    }

    /// The conversation holds this place until its end.
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
