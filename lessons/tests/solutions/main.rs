//! Solutions of the exercises in docs/lessons, one module per page, as tests: `cargo test`, or `cargo test s05` for one page.

use std::sync::atomic::AtomicBool;

use lessons::engine::{Action, Event, Turn};
use lessons::http::{Handler, Http};

mod s01;
mod s02;
mod s03;
mod s04;
mod s05;
mod s06;
mod s07;
mod s08;
mod s09;
mod s10;
mod s11;
mod s12;
mod s13;
mod s14;
mod s15;
mod s16;

/// Returns the bytes that `Http` sends if these pieces arrive one after the other: the loop of the engine, without
/// sockets and threads.
fn served(handler: &Handler, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut http, mut input, mut output) = (Http::meet(handler), Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut event = Event::Ready;
        loop {
            let turn = Turn { input: &mut input, output: &mut output, event, stopping: &AtomicBool::new(false) };
            event = match http.turn(turn) {
                Action::Read => break,
                Action::Again => Event::Ready,
                Action::Handle => Event::Permit,
                Action::Close => return output,
            }
        }
    }
    output
}
