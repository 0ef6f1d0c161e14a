//! The server over real sockets, on port 0. The tests wait for events, never for a fixed time.

mod abandoned; // long polls whose clients have disconnected
mod accepting; // a listener that was shut down from outside
mod around; // a conversation around another
mod beside; // background threads, and jobs for them
mod blocking; // user code that blocks in the wrong place
mod bounds; // limits on what one client may use
mod broken; // resets and ends
mod busy; // four blocking handlers, five hundred incomplete requests
mod calls; // connections that other threads call
mod cipher; // a cipher for tests
mod cut; // what is complete, or cut off, when the server ends
mod destructors; // destructors that block
mod downloads; // files while all handlers block
mod ends; // responses to their end
mod engine; // raw protocols: the promises of `tcp`
mod full; // eviction for new clients
mod kept; // threads that handlers keep
mod lines; // protocols of lines
mod listeners; // several listeners, and addresses of all kinds
mod live; // responses that wait for something other than their client
mod logged; // a line per request in the access log
mod matrix; // bodies, responses, clients and ends, chosen by a seed
mod panics; // panics in unusual places
mod parallelism; // handlers that run an interpreter
mod permits; // more turns that may block than there are permits
mod proxied; // a backend, its responses, clients and layers, chosen by a seed
mod proxy_protocol; // the PROXY protocol
mod rates; // clients that send or read too slowly
mod script; // a protocol whose clients control it
mod sent; // whether a response was sent
mod server; // a server in its own thread, and clients with timeouts
mod shared; // one handler of files, two servers
mod slow; // handlers that run for a long time
mod stop; // shutdowns
mod stopped; // SIGSTOP, and SIGCONT
mod streaming; // bodies that handlers read while they arrive
mod streams; // connections that leave the engine
mod system; // differences between systems
mod tls; // TLS, with rustls as the client
#[allow(dead_code, unused_imports, reason = "two suites use it, each a part")]
#[path = "../transport/mod.rs"]
mod transport; // the same tests over another transport
mod tunnels; // CONNECT, lines that end in LF, and a server for one request
mod unix; // Unix sockets, and their files
mod unread; // bodies that no handler reads
mod uploads; // forms with files
mod websocket; // WebSocket, from the handshake to each kind of end

/// A third of the suites about bytes, their ends and limits, or all with `MODEST_TRANSPORTS=all`, over other transports.
/// Only one transport at a time, because some suites use the whole processor.
#[test]
fn all_transports_behave_alike() {
    let about_ends = [
        "cut::",
        "ends::",
        "sent::",
        "unread::",
        "streaming::",
        "live::",
        "logged::",
        "websocket::",
        "matrix::",
        "proxied::",
    ];
    let others = ["destructors::", "rates::slow_code", "shared::", "calls::", "lines::", "uploads::", "downloads::"];
    let all = [&about_ends[..], &others].concat();
    for (transport, suites) in [("tls", &all[..]), ("proxy", &all), ("unix", &about_ends)] {
        transport::run_over(transport, suites);
    }
}
