//! Bytes in both directions after a 101, until both have ended. On the thread of the client's stream, and one more.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;

use super::exchange::Upstream;
use crate::raw::{Stream, StreamWriter};

/// Copies both ways. The end of one side is passed on to the other; an error ends both.
pub(super) fn join(stream: Stream, upstream: Upstream) {
    if let Err(error) = copy_both(stream, upstream) {
        log::debug!("proxy: a connection of another protocol ended: {error}");
    }
}

fn copy_both(mut stream: Stream, upstream: Upstream) -> io::Result<()> {
    let (to_client, to_upstream) = (stream.writer(), Arc::clone(&upstream.stream));
    upstream.stream.set_read_timeout(None)?;
    to_upstream.set_write_timeout(None)?;
    let downstream = std::thread::Builder::new().name("proxy".into()).spawn(move || copy_down(upstream, to_client))?;
    let copied = io::copy(&mut stream, &mut &*to_upstream).map(drop);
    let _ = to_upstream.shutdown(how(copied.is_ok())); // an error: the backend has ended it
    downstream.join().unwrap_or(Ok(())).and(copied)
}

fn copy_down(upstream: Upstream, mut client: StreamWriter) -> io::Result<()> {
    let copied = client.write_all(upstream.bytes()).and_then(|()| io::copy(&mut &*upstream.stream, &mut client));
    client.shutdown(how(copied.is_ok()))?;
    copied.map(drop)
}

/// A side that has ended may still read.
fn how(is_complete: bool) -> Shutdown {
    if is_complete { Shutdown::Write } else { Shutdown::Both }
}
