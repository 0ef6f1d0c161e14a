//! The server over real sockets, on port 0, waiting for facts and never for a while.

mod abandoned; // long polls whose clients have left
mod accepting; // a listener that was shut down from outside
mod around; // a conversation around another
mod beside; // threads beside requests, and jobs for them
mod blocking; // user code that blocks where it should not
mod bounds; // limits to what one client may have
mod broken; // resets and ends
mod busy; // four handlers asleep, five hundred halves
mod calls; // connections that other threads call
mod cipher; // a cipher for tests
mod destructors; // that block
mod downloads; // files beside stuck handlers
mod ends; // answers to the end
mod engine; // raw protocols: what floor 1 promises
mod full; // who is let go for a newcomer
mod lines; // protocols of lines
mod listeners; // several listeners, and addresses of all kinds
mod live; // responses that wait for something other than their client
mod matrix; // bodies, responses, clients and ends, drawn from a seed
mod panics; // panics from where they are least expected
mod permits; // more turns that may block than there are permits
mod proxied; // the PROXY protocol
mod rates; // clients that send or take too slowly
mod script; // a protocol whose clients say what it should do
mod server; // a server on a thread of its own, and clients that don't wait for ever
mod shared; // one handler of files, two servers
mod slow; // handlers that run for long
mod stop; // shutdowns
mod stopped; // SIGSTOP, and SIGCONT
mod streaming; // ends of all kinds
mod streams; // connections that leave the engine
mod system; // what systems do differently
mod tls; // TLS, with rustls at the other end
#[allow(dead_code, unused_imports, reason = "two suites use it, each a part")]
#[path = "../transport/mod.rs"]
mod transport; // the same tests over another transport
mod tunnels; // CONNECT, lines that end in LF, and one request only
mod unix; // Unix sockets, and their files
mod unread; // bodies that nobody reads
mod uploads; // forms with files
mod websocket; // WebSocket, from the handshake to each way to end

/// The suites that are about bytes, their ends and their limits. One transport at a time: some of them fill the processor.
#[test]
fn what_holds_over_tcp_holds_over_each_transport() {
    let about_ends = ["ends::", "unread::", "streaming::", "live::", "websocket::", "matrix::"];
    let others = ["shared::", "calls::", "lines::", "uploads::", "downloads::"];
    let all = [&about_ends[..], &others].concat();
    for (transport, suites) in [("tls", &all[..]), ("proxy", &all), ("unix", &about_ends)] {
        transport::run_over(&[transport], suites);
    }
}
