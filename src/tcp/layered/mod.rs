//! A stream inside another: what a taken connection reads and writes through a `Layer`. Put above a stream by `inner`.
//!
//! One thread may read while others write, and no one waits for the client with the layer in hand: a client that reads
//! only after it has sent all, and one that sends only after it has read all, get on as they do without a layer.

mod opening; // what is read

mod sealing; // what is written

use std::sync::Arc;

use super::client::Client;
use super::input::Input;
use super::layer::Layer;
use super::stream::Stream;
use opening::Opened;
use sealing::Layered;

/// This stream with a layer above it. `plain` is what the layer has made of its first bytes.
pub fn layered(stream: Stream, layer: Box<dyn Layer>, plain: Input, client: Client) -> Stream {
    stream.with_client(client.clone()).through(|below, sink, socket| {
        let layered = Arc::new(Layered::new(sink, layer));
        (Box::new(Opened::new(below, layered.clone(), socket.clone(), client, plain)), layered)
    })
}
