//! Replaces `src/tcp/layered`: no simulated client has a stream above a layer; those are tested over sockets.

use super::input::Input;
use super::protocol::Layer;
use super::stream::Stream;

pub fn layered(_: Stream, _: Box<dyn Layer>, _: Input) -> Stream {
    unreachable!("nobody here takes a stream above a layer")
}
