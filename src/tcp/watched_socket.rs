//! Watching a socket through a `ServerHandle`, for code that owns it. Called by `proxy`.

use std::any::Any;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use super::engine::Engine;
use super::handle::ServerHandle;
use super::poller::WATCHED;
use super::sys;
use super::watched_sockets::{SocketWatcher, WatchedPlace};

/// A socket that a server watches until this is dropped. The socket must not be closed before that.
pub struct WatchedSocket {
    server: ServerHandle,
    socket: Arc<TcpStream>,
    _place: WatchedPlace,
}

impl ServerHandle {
    /// Watches a socket for bytes and its end until the result is dropped. `None` if the server does not run, or if the
    /// system can't watch another socket.
    pub(crate) fn watch(&self, socket: &Arc<TcpStream>, watcher: Arc<dyn SocketWatcher>) -> Option<WatchedSocket> {
        let engine = self.watching_engine()?;
        let place = engine.watched.add(watcher)?;
        sys::watch(engine.registry(), socket, sys::Token(WATCHED + place.number)).ok()?;
        Some(WatchedSocket { server: self.clone(), socket: Arc::clone(socket), _place: place })
    }

    /// Calls the watcher when the server exits, unless the result was dropped before. `None` if the server does not
    /// run.
    pub(crate) fn at_end(&self, watcher: Arc<dyn SocketWatcher>) -> Option<WatchedPlace> {
        self.watching_engine()?.watched.add(watcher)
    }

    fn watching_engine(&self) -> Option<Arc<Engine>> {
        let engine: Arc<dyn Any + Send + Sync> = self.engine()?;
        engine.downcast().ok()
    }
}

impl WatchedSocket {
    /// Returns whether this server watches it.
    pub(crate) fn is_of(&self, server: &ServerHandle) -> bool {
        self.server.is_same(server)
    }
}

impl Drop for WatchedSocket {
    fn drop(&mut self) {
        if let Some(engine) = self.server.watching_engine() {
            let _: io::Result<()> = sys::unwatch(engine.registry(), &self.socket); // an error: the poller is closed
        }
    }
}
