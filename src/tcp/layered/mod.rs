//! A stream above a layer: what a taken connection reads and writes through a `Layer`. Made by `workers`.
//!
//! One thread may read while others write, and no one waits for the client with the layer in hand: a client that reads
//! only after it has sent all, and one that sends only after it has read all, get on as they do without a layer.

mod opening; // what is read

mod sealing; // what is written

use std::sync::Arc;

use super::input::Input;
use super::protocol::Layer;
use super::stream::Stream;
use opening::Opened;
use sealing::Layered;

/// This stream with a layer above it. `plain` is what the layer has made of its first bytes.
pub fn layered(stream: Stream, layer: Box<dyn Layer>, plain: Input) -> Stream {
    let client = stream.client().clone();
    stream.through(|below, sink, socket| {
        let layered = Arc::new(Layered::new(sink, layer));
        (Box::new(Opened::new(below, layered.clone(), socket.clone(), client, plain)), layered)
    })
}
