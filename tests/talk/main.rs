//! Bytes in, bytes out, without a socket: HTTP by hand, with one file for each topic. To add a case, add a row to the
//! table of its topic. Each row is sent in all ways (see `peer::Road`).

mod peer; // a client and the server's side of its connection
mod tables; // one row for each case, sent in all ways

#[path = "../serve/cipher.rs"]
#[allow(dead_code)] // some of it is for sockets
mod cipher; // a conversation around another
mod around; // HTTP inside a cipher
mod bodies; // the length of the body, chunks, limits, files
mod composed; // handlers that contain others, errors, routes
mod connections; // keep-alive, close, pipelines, shutdowns, timeouts
mod expect; // 100-continue
mod fields; // field lines, Host
mod grammar; // a reference grammar of a head
mod handlers; // handlers of users: methods, errors, panics, logs
mod layers; // the layers of the library
mod lines; // protocols of lines
mod model; // parser and grammar agree; and properties
mod order; // which of several layers decides
mod paths; // one path for routes, mounts and layers
mod request_lines; // methods, targets, versions
mod requests; // requests as handlers see them
mod rewriting; // paths that the program replaces
