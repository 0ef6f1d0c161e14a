//! A stream that reads and writes through a `Codec`, for a taken connection. Created by `workers`.
//!
//! One thread may read while others write, and no thread holds the codec while it waits for the client. So a client
//! that reads only after it has sent everything, or sends only after it has read everything, is served as without a
//! codec.

mod opening; // reading
mod sealing; // writing

use std::sync::Arc;

use super::input::Input;
use super::protocol::ContainedCodec;
use super::stream::Stream;
use opening::Opened;
use sealing::Coded;

/// Puts a codec below this stream. `plain`: the opened bytes that have not been used.
pub fn coded(stream: Stream, codec: ContainedCodec, plain: Input) -> Stream {
    let client = stream.client().clone();
    stream.through(|below, sink, socket| {
        let coded = Arc::new(Coded::new(sink, codec));
        (Box::new(Opened::new(below, coded.clone(), socket.clone(), client, plain)), coded)
    })
}
