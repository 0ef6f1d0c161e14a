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
    /// A new codec for the bytes. `None`: unchanged.
    pub codec: Option<Box<dyn Codec>>,
    pub(in super::super) place: Option<LivePlace>,
}

impl Handover {
    /// Continues the connection with this conversation.
    pub fn to(conversation: Box<dyn Conversation>) -> Handover {
        Handover { conversation, client: None, is_named: false, codec: None, place: None }
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

    /// Passes all further bytes through this codec, including those that have arrived and are unused.
    pub fn with_codec(mut self, codec: impl Codec + 'static) -> Handover {
        self.codec = Some(Box::new(codec));
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
    pub codec: Option<ContainedCodec>,
    pub place: Option<LivePlace>,
}

impl From<Box<Handover>> for Successor {
    fn from(handover: Box<Handover>) -> Successor {
        let Handover { conversation, client, is_named, codec, place } = *handover;
        let codec = codec.map(contained);
        Successor { conversation: Guarded::new(conversation), client, is_named, codec, place }
    }
}

/// A codec as the engine keeps it.
pub type ContainedCodec = Contained<Box<dyn Codec>>;

pub fn contained(codec: Box<dyn Codec>) -> ContainedCodec {
    Contained::new("dropping a codec", codec)
}

opaque!(Handover { client });
