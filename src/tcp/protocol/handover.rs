//! The handover of a connection from one conversation to the next, after a handshake, a PROXY header or an upgrade. A
//! conversation passes it to its `Turn`, and `connection` carries it out.

use super::super::client::Client;
use super::super::contain::Contained;
use super::super::live::LivePlace;
use super::{Codec, Conversation, Guarded};

/// The conversation that continues a connection: the argument of [`Turn::hand_over`](crate::raw::Turn::hand_over).
#[non_exhaustive]
pub struct Handover {
    /// The conversation that follows.
    pub conversation: Box<dyn Conversation>,
    /// New data about the client. `None`: unchanged.
    pub client: Option<Client>,
    /// Whether the client was named by a proxy, which was not counted for the limit per address.
    pub(in super::super) is_named: bool,
    /// A new layer for the bytes. `None`: unchanged.
    pub layer: Option<Box<dyn Codec>>,
    pub(in super::super) place: Option<LivePlace>,
}

impl Handover {
    /// Continues the connection with this conversation.
    pub fn to(conversation: Box<dyn Conversation>) -> Handover {
        Handover { conversation, client: None, is_named: false, layer: None, place: None }
    }

    /// Sets the client, as learned from a certificate or from the header of a proxy.
    pub fn with_client(mut self, client: Client) -> Handover {
        self.client = Some(client);
        self
    }

    /// Sets the client that a proxy has named.
    pub(in super::super) fn with_named_client(self, client: Client) -> Handover {
        Handover { is_named: true, ..self.with_client(client) }
    }

    /// Passes all further bytes through this layer, including those that have arrived and are unused.
    pub fn with_codec(mut self, layer: impl Codec + 'static) -> Handover {
        self.layer = Some(Box::new(layer));
        self
    }

    /// Sets the place that the conversation holds until it ends.
    pub(crate) fn with_place(mut self, place: Option<LivePlace>) -> Handover {
        self.place = place;
        self
    }
}

/// A handover as the engine keeps it. Destructors that panic have no effect on each other.
pub struct Successor {
    pub conversation: Guarded,
    pub client: Option<Client>,
    pub is_named: bool,
    pub layer: Option<ContainedCodec>,
    pub place: Option<LivePlace>,
}

impl From<Box<Handover>> for Successor {
    fn from(handover: Box<Handover>) -> Successor {
        let Handover { conversation, client, is_named, layer, place } = *handover;
        let layer = layer.map(contained);
        Successor { conversation: Guarded::new(conversation), client, is_named, layer, place }
    }
}

/// A layer as the engine keeps it.
pub type ContainedCodec = Contained<Box<dyn Codec>>;

pub fn contained(layer: Box<dyn Codec>) -> ContainedCodec {
    Contained::new("a layer, while it was dropped", layer)
}

opaque!(Handover { client });
