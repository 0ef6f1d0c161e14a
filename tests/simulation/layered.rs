//! Replaces `src/tcp/layered`: no simulated client has a stream above a layer; those are tested over sockets.

use super::input::Input;
use super::protocol::ContainedCodec;
use super::stream::Stream;

pub fn layered(_: Stream, _: ContainedCodec, _: Input) -> Stream {
    unreachable!("nobody here takes a stream above a layer")
}
