//! Bytes in, bytes out, no socket: HTTP by hand, a file a topic.
//! To add a case, add a row to the table of its topic: every row travels every road (see `peer::Road`).

mod peer; // a client and its server's side of the talk, by hand
mod tables; // one row a case, every road

#[path = "../serve/cipher.rs"]
#[allow(dead_code)] // some of it is for sockets
mod cipher; // a conversation around another

mod around; // HTTP inside a cipher
mod bodies; // how long the body is, chunks, limits, files
mod composed; // handlers that are put together, errors, routes
mod connections; // keep, close, pipelines, stops, lateness
mod expect; // 100-continue
mod fields; // field lines, Host
mod grammar; // a second reading of the grammar of a head
mod handlers; // what users write: methods, errors, panics, logs
mod layers; // ready layers
mod lines; // protocols of lines
mod model; // both readings agree, and properties
mod order; // which of several layers decides
mod paths; // one path for routes, mounts and layers
mod request_lines; // methods, targets, versions
mod requests; // what a handler sees
mod rewriting; // paths that the program replaces
