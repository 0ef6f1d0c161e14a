//! Replaces `src/tcp/coded`: no simulated client has a stream above a codec; those are tested over sockets.

use super::input::Input;
use super::protocol::ContainedCodec;
use super::stream::Stream;

pub fn coded(_: Stream, _: ContainedCodec, _: Input) -> Stream {
    unreachable!("nobody here takes a stream above a codec")
}
